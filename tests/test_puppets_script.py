"""The puppets' scripts: natural timing, moods that show, and the same draw everywhere."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fctfg.data.clips import EMOTIONS
from fctfg.data.puppets.motion import MOTION, RANGES
from fctfg.data.puppets.script import MOODS, clip_rng, column, draw, identity_seed, speaker_of

ROOT = Path(__file__).resolve().parent.parent
TIMES = np.arange(0, 5, 1 / 25)


@pytest.fixture(scope="module")
def scripts():
    return [draw(clip_rng(0, "test", i, 0), 5.0, speaker_of(0, "test", i)) for i in range(30)]


def test_motion_has_the_columns_and_stays_in_range(scripts):
    for script in scripts:
        motion = script.motion(TIMES)
        assert motion.shape == (125, len(MOTION))
        assert motion.dtype == np.float32
        for name, (low, high) in RANGES.items():
            assert low <= column(motion, name).min() <= column(motion, name).max() <= high, name


def test_nothing_stands_still_in_every_clip(scripts):
    everything = np.concatenate([s.motion(TIMES) for s in scripts])
    assert (everything.std(0) > 0.005).all()
    assert 5 < column(everything, "yaw").std() < 13


def test_every_frame_rate_reads_the_same_movement(scripts):
    script = scripts[0]
    at_25, at_30 = (script.motion(np.arange(round(5 * fps)) / fps) for fps in (25, 30))
    assert np.array_equal(at_25[::5], at_30[::6])  # both hit every fifth of a second


def test_the_head_moves_smoothly(scripts):
    for script in scripts:
        motion = script.motion(TIMES)
        for name in ("yaw", "pitch", "roll"):
            speed = np.abs(np.diff(column(motion, name))) * 25
            assert speed.max() < 200  # degrees per second; quick turns of real heads reach some 300


def test_nods_fall_on_stressed_syllables(scripts):
    dips = []
    for script in scripts:
        beats = script.utterance.beats()[:, 0]
        beats = beats[(beats > 0.3) & (beats < 4.7)]
        pitch = [column(script.motion(beats + d), "pitch") for d in (-0.2, 0.0, 0.2)]
        dips += list(pitch[1] - (pitch[0] + pitch[2]) / 2)
    assert np.mean(dips) < -0.3
    assert len(dips) > 100


def test_blinks_last_as_long_as_blinks_do(scripts):
    n = 0
    for script in scripts:
        t = np.arange(0, 5, 0.001)
        shut = column(script.motion(t), "blink_l")
        for begin, duration in script.blinks:
            assert 0.15 <= duration <= 0.30
            inside = (t >= begin) & (t <= begin + duration)
            assert shut[inside].max() > 0.9
            above = t[inside][shut[inside] > shut.min() + 0.05]
            assert 0.4 * duration < above[-1] - above[0] <= duration
            falls = t[inside][np.argmax(shut[inside])] - begin
            assert falls < 0.55 * duration  # lids fall faster than they rise
            n += 1
        between = np.ones_like(t, bool)
        for begin, duration in script.blinks:
            between &= (t < begin - 0.01) | (t > begin + duration + 0.01)
        assert shut[between].max() < 0.4
    assert 0.15 < n / 150 < 0.8  # per second


def test_gaze_jumps_and_rests(scripts):
    jumps = 0
    for script in scripts:
        t = np.arange(0, 5, 0.01)
        motion = script.motion(t)
        eyes = column(motion, "gaze_x") + 0.45 * column(motion, "yaw") / 30  # in the room, the head's turn undone
        inside = np.abs(column(motion, "gaze_x")) < 0.99
        moving = np.abs(np.diff(eyes))[inside[1:]] > 0.02
        jumps += (np.diff(moving.astype(int)) == 1).sum()
        assert moving.mean() < 0.25
    assert jumps > 60


def test_moods_show_and_grow_with_the_level():
    def mean(emotion, level, *names):
        motions = [draw(clip_rng(1, "test", i, 0), 3.0, None, emotion, level).motion(TIMES[:75]) for i in range(6)]
        return np.mean([[column(m, name).mean() for name in names] for m in motions])

    assert set(MOODS) == set(EMOTIONS)
    smiles = [mean("happy", level, "smile") for level in (1, 2, 3)]
    assert smiles[0] + 0.1 < smiles[1] < smiles[2] - 0.1
    assert mean("sad", 3, "smile") < -0.4 < abs(mean("neutral", 1, "smile")) < 0.1
    assert mean("surprised", 3, "brow_raise_l", "brow_raise_r") > 0.6
    assert mean("angry", 3, "brow_raise_l", "brow_raise_r") < -0.2
    assert mean("angry", 3, "brow_furrow_l", "brow_furrow_r") > 0.6
    assert mean("sad", 3, "pitch") < mean("neutral", 1, "pitch") - 3
    contempt = draw(clip_rng(1, "test", 0, 0), 3.0, None, "contempt", 3).motion(TIMES[:75])
    assert abs(column(contempt, "brow_raise_l") - column(contempt, "brow_raise_r")).mean() > 0.3
    with pytest.raises(ValueError, match="emotions are"):
        draw(clip_rng(0, "test", 0, 0), 3.0, None, "bored")


def test_the_mouth_is_the_speechs(scripts):
    from fctfg.data.puppets.articulation import lips

    for script in scripts[:5]:
        spoken = lips(script.utterance, TIMES)["mouth_open"]
        # The script's grid is read linearly: a hundredth of the range at most.
        assert np.abs(column(script.motion(TIMES), "mouth_open") - spoken).max() < 0.01


def test_train_and_test_share_nobody():
    people = {split: {identity_seed(s, split, i) for s in range(5) for i in range(3000)} for split in ("train", "test")}
    assert {seed % 2 for seed in people["train"]} == {0}  # by construction, whatever the seed
    assert {seed % 2 for seed in people["test"]} == {1}
    assert all(len(p) == 15000 for p in people.values())
    with pytest.raises(ValueError, match="split"):
        identity_seed(0, "val", 0)


def test_what_differs_is_drawn_anew():
    seen = {
        draw(clip_rng(*key), 1.0).track.tobytes()
        for key in [(0, "train", 0, 0), (1, "train", 0, 0), (0, "test", 0, 0), (0, "train", 1, 0), (0, "train", 0, 1)]
    }
    assert len(seen) == 5


def test_two_processes_draw_the_same():
    code = (
        "import hashlib\n"
        "from fctfg.data.puppets.script import clip_rng, draw, speaker_of\n"
        "s = draw(clip_rng(11, 'test', 2, 5), 2.0, speaker_of(11, 'test', 2))\n"
        "digest = hashlib.sha256(s.track.tobytes() + s.blinks.tobytes()).hexdigest()\n"
    )
    np.random.seed(123)  # global state must not matter
    here: dict = {}
    exec(code, here)
    there = subprocess.run(
        [sys.executable, "-c", code + "print(digest)"], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert there.stdout.strip() == here["digest"]
