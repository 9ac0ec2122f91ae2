"""What MakeItTalk hears: loudness, spectrogram, pitch, voice activity, silences: against slow forms and libraries."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import plain_makeittalk as plain
import pytest

from baselines.nets import makeittalk_rapt as rapt
from baselines.nets import makeittalk_sound as sound
from baselines.nets import makeittalk_speaker as speaker
from baselines.nets import makeittalk_vad as vad

ROOT = Path(__file__).resolve().parent.parent
FACTS = json.loads((ROOT / "tests" / "data" / "makeittalk_keys.json").read_text())


def test_loudness_is_the_literal_one():
    samples = sound.sixteen_bits(plain.voice(0.2))
    for part in (samples, samples // 40, np.clip(samples.astype(int) * 9, -32768, 32767).astype(np.int16)):
        assert sound.levelled(part).tolist() == plain.levelled(part)
    assert sound.sixteen_bits(np.array([-2.0, -1, 0, 1, 2])).tolist() == [-32768, -32768, 0, 32767, 32767]


def test_mel_is_the_literal_one_and_has_a_column_for_each_256_samples_begun():
    x = plain.voice(0.3)[:4608]
    ours = sound.mel(x)
    assert ours.shape == (19, 80)
    assert ours.std() > 0.05
    for column in (0, 1, 7, 17, 18):
        assert np.abs(ours[column] - plain.mel_column(x, column)).max() < 1e-5
    for n in (4607, 4608, 4609):
        mel, pitch = sound.features(sound.sixteen_bits(x[:n] if n <= 4608 else np.append(x, 0)))
        assert len(mel) == len(pitch) == n // 256 + 1


def test_pitch_is_that_of_sptk():
    """Figures of the package pysptk on a sound that a formula gives."""
    ours = rapt.log_f0((plain.voice(3.0) * 32768).astype(np.float32))
    theirs = np.array([rapt.UNVOICED if f is None else f for f in FACTS["log_f0"]], np.float32)
    assert np.array_equal(ours == rapt.UNVOICED, theirs == rapt.UNVOICED)
    assert 40 < (ours != rapt.UNVOICED).sum() < 150
    assert np.abs(ours - theirs).max() < 2e-6


def test_pitch_of_a_tone_and_of_too_little():
    tone = 8000 * np.sin(2 * np.pi * 220 * np.arange(8000) / 16000).astype(np.float32)
    found = np.exp(rapt.log_f0(tone)[4:26].astype(float))
    assert np.abs(found / 220 - 1).max() < 0.01
    assert (rapt.log_f0(np.zeros(700, np.float32)) == rapt.UNVOICED).all()
    with pytest.raises(ValueError, match="too few"):
        rapt.log_f0(tone[:631])


def test_pitch_levels_are_the_literal_ones():
    values = np.array([-1e10, 4.6, 4.7, 5.1, -1e10, 4.65, 4.66, 4.7, 4.71, 4.72, 4.66, 4.64] + [4.68] * 30, np.float32)
    ours = sound.one_hot(values)
    assert ours.shape == (len(values), 257)
    assert (ours.sum(1) == 1).all()
    assert np.abs(ours.argmax(1) - plain.pitch_level(values.tolist())).max() <= 1  # half-way cases
    assert (ours.argmax(1) == plain.pitch_level(values.tolist())).mean() > 0.9
    assert sound.one_hot(np.full(3, np.float32(4.7))).argmax(1).tolist() == [129] * 3
    assert sound.one_hot(np.full(3, rapt.UNVOICED)).argmax(1).tolist() == [0] * 3


def test_voice_activity_is_that_of_webrtc():
    """Figures of the package webrtcvad on a sound that a formula gives."""
    theirs = np.array(list(FACTS["voiced"])) == "1"
    assert np.array_equal(vad.voiced(sound.sixteen_bits(plain.voice(6.0, 120))), theirs)
    assert 0.3 < theirs.mean() < 0.9
    assert not vad.voiced(np.zeros(4800, np.int16)).any()
    assert len(vad.voiced(np.zeros(479, np.int16))) == 0


def test_libraries_on_real_speech(real):
    from fctfg import media

    sptk, webrtcvad = pytest.importorskip("pysptk"), pytest.importorskip("webrtcvad")
    samples = sound.sixteen_bits(media.read_audio(sorted(real.rglob("*.mp4"))[-1]))
    detector = webrtcvad.Vad(3)
    theirs = [detector.is_speech(samples[i : i + 480].tobytes(), 16000) for i in range(0, len(samples) - 479, 480)]
    assert vad.voiced(samples).tolist() == theirs
    theirs = sptk.sptk.rapt(samples.astype(np.float32), 16000, 256, min=100, max=600, otype=2)
    assert (np.abs(rapt.log_f0(samples.astype(np.float32)) - theirs) < 1e-6).mean() > 0.99  # its noise has a memory


@pytest.mark.parametrize("n", [0, 100, 25600, 25601, 39999, 44800, 200000])
def test_stretches_are_the_literal_ones(n):
    assert speaker.stretches(n) == plain.stretches(n)


def test_long_silences_are_cut_as_literally(monkeypatch):
    rng = np.random.default_rng(0)
    flags = np.repeat(rng.random(12) > 0.5, 7)
    monkeypatch.setattr(vad, "voiced", lambda pcm: flags[: len(pcm) // 480])
    wav = np.arange(len(flags) * 480 + 100, dtype=np.float32) / 1e6
    kept = np.repeat(plain.kept_windows(flags.tolist()), 480)
    assert 0.2 < kept.mean() < 0.9
    assert np.array_equal(speaker.spoken(wav), wav[: len(kept)][kept])
    assert len(speaker.spoken(wav[:400])) == 0
