"""The puppets' voice: it sounds as phonetics says, and the lips go with it."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from fctfg.data.puppets.articulation import lips, tracks
from fctfg.data.puppets.phonemes import CODAS, NUCLEI, ONSETS, PHONEMES
from fctfg.data.puppets.utterance import Manner, Speaker, babble, sample_speaker, say
from fctfg.data.puppets.voice import SAMPLE_RATE, pulse_train, synthesize

ROOT = Path(__file__).resolve().parent.parent
CLEAR = Speaker(f0=100, breathiness=0.0, tilt=6000, room=1e-5)
SLOW = Manner(rate=0.25, melody=0.0)


@pytest.fixture(autouse=True)
def one_thread():
    """Short sounds: threads only wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def sound_of(utterance) -> np.ndarray:
    return synthesize([utterance])[0].numpy()


def middle(utterance, symbol: str, part: float = 0.5) -> np.ndarray:
    """The middle ``part`` of the first ``symbol``."""
    (start, end), *_ = utterance.spans(symbol)
    trim = (end - start) * (1 - part) / 2
    return sound_of(utterance)[round((start + trim) * SAMPLE_RATE) : round((end - trim) * SAMPLE_RATE)]


def power(x: np.ndarray, low: float, high: float) -> float:
    """The share of the power between two frequencies."""
    spectrum = np.abs(np.fft.rfft(x * np.hanning(len(x)))) ** 2
    f = np.fft.rfftfreq(len(x), 1 / SAMPLE_RATE)
    return float(spectrum[(f >= low) & (f < high)].sum() / spectrum.sum())


def formants(x: np.ndarray) -> np.ndarray:
    """Resonances below 4 kHz in Hz by linear prediction."""
    x = np.append(x[0], x[1:] - 0.95 * x[:-1]) * np.hamming(len(x))
    r = np.correlate(x, x, "full")[len(x) - 1 :][:21]
    order = 20
    matrix = r[np.abs(np.subtract.outer(np.arange(order), np.arange(order)))]
    roots = np.roots(np.append(1, -np.linalg.solve(matrix + 1e-9 * r[0] * np.eye(order), r[1 : order + 1])))
    roots = roots[(roots.imag > 0) & (np.abs(roots) > 0.9)]
    f = np.sort(np.angle(roots) * SAMPLE_RATE / (2 * np.pi))
    return f[(f > 150) & (f < 4000)]


def near(found: np.ndarray, wanted: float) -> float:
    return float(found[np.argmin(np.abs(found - wanted))])


@pytest.mark.parametrize("vowel", ["iy", "eh", "ae", "aa", "uw", "ah"])
@pytest.mark.parametrize("tract", [1.0, 1.16])
def test_formants_are_where_the_vowel_and_the_tract_put_them(vowel, tract):
    utterance = say([[vowel]], Speaker(f0=100, tract=tract, breathiness=0, tilt=6000, room=1e-5), SLOW)
    found = formants(middle(utterance, vowel))
    for target in PHONEMES[vowel].formants[0][:2]:
        # Off by half a harmonic at most, beside slight reduction of the vowel.
        assert near(found, target * tract) == pytest.approx(target * tract, abs=55 + 0.04 * target * tract)


def test_a_diphthong_moves():
    utterance = say([["ay"]], CLEAR, SLOW)
    (start, end), *_ = utterance.spans("ay")
    second = tracks(utterance).formants[:, 1]
    assert second[round(1000 * (start + 0.1 * (end - start)))] < 1350
    assert second[round(1000 * (start + 0.9 * (end - start)))] > 1800


def test_sounds_have_their_energy_where_they_should():
    slow = Manner(rate=0.4)
    alone = {p: middle(say([["aa", p, "aa"]], CLEAR, slow), p, 0.4) for p in ("s", "sh", "f", "m", "n", "z", "aa")}
    assert power(alone["s"], 4000, 8000) > 0.85
    assert power(alone["sh"], 2000, 5000) > 0.75
    assert power(alone["sh"], 4500, 8000) < 0.4 < power(alone["s"], 4500, 8000)
    assert power(alone["m"], 0, 700) > 0.9
    assert power(alone["n"], 0, 700) > 0.9
    assert power(alone["aa"], 0, 3000) > 0.95
    assert power(alone["z"], 0, 1000) > 0.03  # hiss with a voice in it
    assert power(alone["s"], 0, 1000) < 0.02
    loud = {p: float(np.sqrt((x**2).mean())) for p, x in alone.items()}
    assert loud["aa"] > 2 * loud["m"] > 2 * loud["f"]
    assert loud["s"] > 2 * loud["f"]


def test_a_voiceless_closure_is_silent_and_a_burst_follows():
    utterance = say([["aa", "p", "aa"], ["aa", "t", "aa"]], CLEAR, Manner(rate=0.7))
    sound = sound_of(utterance)
    for i in (2, 5):
        start, release = utterance.start[i], utterance.release[i]
        closure = sound[round((start + 0.03) * SAMPLE_RATE) : round((release - 0.005) * SAMPLE_RATE)]
        burst = sound[round(release * SAMPLE_RATE) : round((release + 0.015) * SAMPLE_RATE)]
        assert np.abs(closure).max() < 0.01
        assert np.abs(burst).max() > 0.03


def test_pitch_is_the_speakers():
    for f0 in (90, 140, 230):
        x = middle(say([["aa"]], Speaker(f0=f0, breathiness=0.0), SLOW), "aa")
        r = np.correlate(x, x, "full")[len(x) - 1 :]
        lag = 40 + np.argmax(r[40:280])
        assert SAMPLE_RATE / lag == pytest.approx(f0, rel=0.12)


def test_the_pulse_train_has_equal_harmonics_up_to_nyquist():
    f0 = torch.full((1, 16000), 125.0)
    pulses = pulse_train((torch.arange(16000).double()[None] * 125 / 16000 % 1).float(), f0)[0].numpy()
    spectrum = np.abs(np.fft.rfft(pulses)) / 8000
    assert np.allclose(spectrum[125:7900:125], 2 * 125 / 16000, rtol=0.02)
    rest = np.delete(spectrum, np.arange(0, 8001, 125))
    assert rest.max() < 1e-4


def test_effort_is_heard_and_seen():
    text = [["b", "aa", "d", "eh"], ["m", "ae", "n"]]
    quiet, loud = (say(text, CLEAR, Manner(effort=e)) for e in (0.7, 1.5))
    assert sound_of(loud).std() > 1.5 * sound_of(quiet).std()
    t = np.arange(0, quiet.seconds, 0.04)
    assert lips(loud, t)["mouth_open"].max() > 1.15 * lips(quiet, t)["mouth_open"].max()


def test_lips_are_shut_through_every_closure_and_part_after_it():
    rng = np.random.default_rng(1)
    n = 0
    for _ in range(6):
        utterance = babble(rng, 5.0, sample_speaker(rng), Manner(effort=1.2, rest=0.2))
        frames = np.arange(0, 5, 1 / 25)
        opening = lips(utterance, frames)["mouth_open"]
        for i, symbol in enumerate(utterance.symbols()):
            if symbol in ("p", "b", "m"):
                inside = (frames >= utterance.start[i]) & (frames <= utterance.release[i])
                assert (opening[inside] < 1e-9).all()
                n += inside.sum()
            if symbol in ("f", "v"):
                inside = (frames >= utterance.start[i] + 0.01) & (frames <= utterance.end[i] - 0.01)
                assert (opening[inside] < 0.16).all()
    assert n > 25
    said = say([["aa", "b", "aa"]], CLEAR)
    closed, opened = said.start[2], said.release[2]
    before, after = lips(said, np.array([closed - 0.08, opened + 0.07]))["mouth_open"]
    assert min(before, after) > 0.3


def test_the_mouth_opens_as_far_as_its_vowels_ask():
    rng = np.random.default_rng(2)
    wanted, found, rounding, rounded = [], [], [], []
    for _ in range(8):
        utterance = babble(rng, 6.0)
        for i, symbol in enumerate(utterance.symbols()):
            if symbol in NUCLEI and utterance.stress[i] > 0.6:
                t = np.linspace(utterance.start[i], utterance.end[i], 12)
                mouth = lips(utterance, t)
                target = np.array(PHONEMES[symbol].lips)
                wanted.append(target[:, 0].max()), found.append(mouth["mouth_open"].max())
                rounding.append(target[:, 2].max()), rounded.append(mouth["mouth_round"].max())
    assert np.corrcoef(wanted, found)[0, 1] > 0.85
    assert np.corrcoef(rounding, rounded)[0, 1] > 0.8


def test_lips_precede_the_sound():
    said = say([["iy", "uw"]], CLEAR)
    boundary = said.start[2]
    t = np.arange(0, said.seconds, 0.001)
    rounding = lips(said, t)["mouth_round"]
    halfway = t[np.argmax(rounding > rounding.max() / 2)]
    assert boundary - 0.07 < halfway < boundary - 0.01


def test_different_lips_for_different_sounds():
    def seen(symbol):
        said = say([[symbol]], CLEAR, SLOW)
        mouth = lips(said, np.array([said.start[1] + 0.45 * (said.end[1] - said.start[1])]))
        return np.array([mouth["mouth_open"][0], mouth["mouth_width"][0], mouth["mouth_round"][0]])

    shapes = {s: seen(s) for s in ("iy", "eh", "aa", "ao", "uw", "m", "s", "sh", "f", "w")}
    for a in shapes:
        for b in shapes:
            if a < b and {a, b} != {"uw", "w"}:
                assert np.abs(shapes[a] - shapes[b]).max() > 0.07, (a, b)


def test_babble_is_paced_like_speech_and_has_the_length_asked_for():
    rng = np.random.default_rng(3)
    syllables = spoken = 0
    for seconds in (0.5, 1.0, 3.96, 4.0, 7.5, 10.0):
        utterance = babble(rng, seconds)
        assert utterance.end[-1] == utterance.seconds == seconds
        assert utterance.start[0] == 0
        assert (utterance.start[1:] == utterance.end[:-1]).all()
        assert (utterance.end > utterance.start).all()
        assert utterance.symbols()[0] == utterance.symbols()[-1] == "sil"
        assert sound_of(utterance).shape == (round(seconds * SAMPLE_RATE),)
        syllables += sum(s in NUCLEI or s == "ax" for s in utterance.symbols())
        spoken += seconds - sum(end - start for start, end in utterance.spans("sil"))
    assert 3.8 < syllables / spoken < 5.2
    with pytest.raises(ValueError, match="at least"):
        babble(rng, 0.2)


def test_every_sound_has_a_use_and_every_use_a_sound():
    used = {s for table in (ONSETS, NUCLEI, CODAS) for cluster in table for s in cluster.split()} | {"sil", "ax"}
    assert used == set(PHONEMES)


def test_no_clipping_no_nan_over_all_kinds_of_voices():
    rng = np.random.default_rng(4)
    people = [sample_speaker(rng, build) for build in (-1, -0.5, 0, 0.5, 1) for _ in range(3)]
    people += [Speaker(f0=60, tract=0.9, breathiness=1.0), Speaker(f0=400, tract=1.3, tilt=8000)]
    sounds = synthesize([babble(rng, 2.0, p, Manner(effort=1.6, pitch=4)) for p in people])
    assert sounds.isfinite().all()
    assert 0.1 < sounds.abs().max() < 0.99
    level = sounds.square().mean(1).sqrt()
    assert (level > 0.02).all(), level
    assert level.max() / level.min() < 8


def test_a_batch_sounds_like_one_by_one_and_ends_in_silence():
    rng = np.random.default_rng(5)
    short, long = babble(rng, 1.0), babble(rng, 2.0, Speaker(f0=200, tract=1.16))
    both = synthesize([short, long])
    assert both.shape == (2, 32000)
    assert both.dtype == torch.float32
    assert torch.allclose(both[0, :16000], synthesize([short])[0], atol=2e-4)
    assert torch.allclose(both[1], synthesize([long])[0], atol=2e-4)
    assert (both[0, 16000:] == 0).all()


DIGEST = """
import hashlib, torch
torch.set_num_threads(1)
from fctfg.data.puppets.script import clip_rng, speaker_of
from fctfg.data.puppets.utterance import babble
from fctfg.data.puppets.voice import synthesize
u = babble(clip_rng(7, "train", 3, 1), 1.5, speaker_of(7, "train", 3))
digest = hashlib.sha256(synthesize([u]).numpy().tobytes() + u.start.tobytes() + u.phoneme.tobytes()).hexdigest()
"""


def test_two_processes_say_the_same():
    here: dict = {}
    exec(DIGEST, here)
    there = subprocess.run(
        [sys.executable, "-c", DIGEST + "print(digest)"], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert here["digest"] == there.stdout.strip()
    assert here["digest"] != hashlib.sha256(b"").hexdigest()


def test_nothing_to_say_is_an_error():
    with pytest.raises(ValueError, match="at least one"):
        synthesize([])


@pytest.mark.benchmark(group="puppets")
def test_synthesis_speed(benchmark):
    rng = np.random.default_rng(6)
    utterances = [babble(rng, 4.0, sample_speaker(rng)) for _ in range(16)]
    benchmark(synthesize, utterances)
