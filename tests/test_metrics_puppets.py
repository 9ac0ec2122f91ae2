"""The scores of the group "puppets": planted readings in, the arithmetic and the failures out."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch

from fctfg.data.puppets.motion import MOTION, index
from metrics import registry
from metrics.evaluate import Evaluator
from metrics.interface import Context, Footage
from metrics.puppets import bundled, control, scores
from metrics.puppets.definitions import PUPPETS
from metrics.puppets.face_reader import GEOMETRY
from metrics.puppets.instruments import WIDTH, part
from metrics.puppets.lip_sync import EMBEDDING, FEATURES
from metrics.puppets.scores import PuppetScores, longest_run

NAMES = [metric.name for metric in PUPPETS]
T = 60
IDENTITY = len(GEOMETRY)


class Planted:
    """Instruments that read what was planted: a frame's first two pixels are the number of a row, 0 is no face."""

    device, version = "cpu", "planted"

    def __init__(self, rows):
        self.rows = np.concatenate([np.full((1, WIDTH), np.nan), rows]).astype(np.float32)
        self.strangers = torch.nn.functional.normalize(
            torch.randn(50, IDENTITY, generator=torch.Generator().manual_seed(9))
        )
        self.sync = self
        self.calls = 0

    def __call__(self, frames):
        self.calls += 1
        return self.rows[frames[:, 0, 0, :2].astype(int) @ [1, 256]]

    def extractor(self):
        from metrics.frame_values import Extractor

        return Extractor("puppets", self.version, self)

    def lips(self, features):
        return torch.nn.functional.normalize(features[: len(features) - 4, :EMBEDDING], dim=1)

    def speech(self, columns):
        return self.heard[: (len(columns) - 16) // 4]


def frames(rows):
    """Frames that show these rows (numbers from 1; 0: no face)."""
    made = np.zeros((len(rows), 8, 8, 3), np.uint8)
    made[:, 0, 0, 0], made[:, 0, 0, 1] = np.asarray(rows) % 256, np.asarray(rows) // 256
    return made


def row(points=None, motion=None, identity=None, lips=None):
    rng = np.random.default_rng(0)
    identity = np.eye(IDENTITY)[0] if identity is None else identity
    parts = (rng.uniform(50, 200, (68, 2)) if points is None else points, np.zeros(18) if motion is None else motion)
    return np.concatenate([np.ravel(p) for p in (*parts, identity, np.zeros(FEATURES) if lips is None else lips)])


def driving(seed=0):
    """(T, 18) motion in which everything moves."""
    t = np.arange(T)[:, None] / 10
    phase = np.random.default_rng(seed).uniform(0, 6, 18)
    motion = 0.4 * np.sin(t * np.linspace(0.7, 2.1, 18) + phase)
    motion[:, :3] *= 30
    for name in ("brow_raise", "blink"):
        motion[:, index(f"{name}_r")] = 0.9 * motion[:, index(f"{name}_l")]
    motion[:, [index(n) for n in ("mouth_open", "blink_l", "blink_r")]] += 0.4
    return motion


@pytest.fixture
def plant(monkeypatch):
    def planted(rows):
        tools = Planted(np.stack(rows))
        monkeypatch.setattr(scores, "load", lambda device: tools)
        return tools

    return planted


def score(names, generated, reference=None, truth=None, chunk=16, **more):
    def footage(label):
        return Footage(lambda: iter(()), label=label, audio=more.pop("audio", None) if label == "made.mp4" else None)

    made, true = footage("made.mp4"), None if reference is None else footage("true.mp4")
    accumulator = PuppetScores(names, Context(made, true, truth=truth, **more))
    for at in range(0, len(generated), chunk):
        rows = slice(at, at + chunk)
        accumulator.update(frames(generated[rows]), None if reference is None else frames(reference[rows]))
    return accumulator.result()


# -- control ------------------------------------------------------------------------------------------------------


def test_what_is_read_as_it_is_true_scores_perfectly(plant):
    motion = driving()
    plant([row(motion=m) for m in motion])
    names = [n for n in NAMES if n.startswith("control") and n != "control_identity"]
    found = score(names, np.arange(1, T + 1), truth={"motion": motion})
    assert len(names) == 20
    for name in names:
        assert found[name].failure is None
        assert found[name].value == pytest.approx(1 if name.endswith("_r") else 0, abs=2e-2 if "pose" in name else 1e-5)


def test_planted_errors_come_out(plant):
    motion, read = driving(), driving()
    read[:, index("yaw")] += 5
    read[:, index("mouth_open")] = 0.5 - read[:, index("mouth_open")]
    read[:, index("brow_raise_l")] += 0.2
    read[:, index("gaze_x")] = 0.3
    plant([row(motion=m) for m in read])
    names = ["control_yaw_mae", "control_yaw_r", "control_pitch_mae", "control_pose_mae", "control_lips_r"]
    names += ["control_brow_mae", "control_gaze_x_r", "control_pose_r"]
    found = {name: result.value for name, result in score(names, np.arange(1, T + 1), truth={"motion": motion}).items()}
    assert found["control_yaw_mae"] == pytest.approx(5, abs=1e-4)
    assert found["control_yaw_r"] == pytest.approx(1, abs=1e-6)
    assert found["control_pitch_mae"] == pytest.approx(0, abs=1e-5)
    assert found["control_pose_mae"] == pytest.approx(5, abs=0.05)  # yaw is the innermost rotation
    assert found["control_pose_r"] == pytest.approx(1, abs=1e-6)
    assert found["control_lips_r"] == pytest.approx(-1, abs=1e-6)
    assert found["control_brow_mae"] == pytest.approx(0.1, abs=1e-6)
    assert found["control_gaze_x_r"] == 0, "a generated face that stands still follows nothing"


def test_lips_that_follow_another_s_sound_are_held_against_the_mouth_that_made_it(plant):
    motion, heard, read = driving(), driving(), driving()
    heard[:, index("mouth_open")] = np.roll(heard[:, index("mouth_open")], 17)
    read[:, index("mouth_open")] = heard[:, index("mouth_open")]
    plant([row(motion=m) for m in read])
    names = ["control_lips_r", "control_heard_r", "control_heard_mae", "control_pose_r"]
    truth = {"motion": motion, "heard": heard}
    found = {name: result.value for name, result in score(names, np.arange(1, T + 1), truth=truth).items()}
    assert found["control_heard_r"] == pytest.approx(1, abs=1e-6)
    assert found["control_heard_mae"] == pytest.approx(0, abs=1e-6)
    assert found["control_lips_r"] < 0.9
    assert found["control_pose_r"] == pytest.approx(1, abs=1e-2)


def test_gaze_counts_where_the_true_eyes_are_open(plant):
    motion, read = driving(), driving()
    shut = control.value(motion, "blink") >= 0.5
    assert 5 < shut.sum() < 50
    read[shut, index("gaze_x")] += 1
    plant([row(motion=m) for m in read])
    found = score(["control_gaze_x_mae"], np.arange(1, T + 1), truth={"motion": motion})["control_gaze_x_mae"]
    assert found.value == pytest.approx(0, abs=1e-6)
    assert found.details["frames_counted"] == T - shut.sum()


def test_a_driving_face_that_does_not_move_has_no_correlation(plant):
    motion = np.zeros((T, 18))
    plant([row(motion=m) for m in driving()])
    found = score(["control_lips_r", "control_pose_r"], np.arange(1, T + 1), truth={"motion": motion})
    for result in found.values():
        assert result.value is None
        assert result.failure is None
        assert "hardly moves" in result.details["undefined"]


def test_the_readers_own_error_stands_beside(plant):
    motion = driving()
    off = motion + 0.25
    plant([row(motion=m) for m in np.concatenate([motion, off])])
    found = score(["control_lips_mae"], np.arange(1, T + 1), np.arange(T + 1, 2 * T + 1), {"motion": motion})
    assert found["control_lips_mae"].value == pytest.approx(0, abs=1e-6)
    assert found["control_lips_mae"].details["reader_mae"] == pytest.approx(0.25, abs=1e-6)
    assert found["control_lips_mae"].details["reader_r"] == pytest.approx(1)


def test_frames_without_a_face_are_left_out_and_counted(plant):
    motion = driving()
    plant([row(motion=m) for m in motion])
    shown = np.arange(1, T + 1)
    shown[::4] = 0
    found = score(["control_yaw_mae", "control_yaw_r"], shown, truth={"motion": motion})
    assert found["control_yaw_mae"].value == pytest.approx(0, abs=1e-5)
    assert found["control_yaw_mae"].details["detected_generated"] == 0.75
    assert found["control_yaw_mae"].details["frames_counted"] == 45
    nothing = score(["control_yaw_mae", "control_identity"], 0 * shown, np.arange(1, T + 1), {"motion": motion})
    assert "no frame shows a face" in nothing["control_yaw_mae"].failure
    assert "no face in any of its 60 frames" in nothing["control_identity"].failure


def test_without_truth_or_with_another_clips(plant):
    plant([row(motion=m) for m in driving()])
    found = score(["control_yaw_mae"], np.arange(1, T + 1))["control_yaw_mae"]
    assert found.failure == "made.mp4: no truth to compare with; control is measured on puppets only"
    short = score(["control_yaw_mae"], np.arange(1, T + 1), truth={"motion": np.zeros((T - 1, 18))})["control_yaw_mae"]
    assert "the truth's motion is (59, 18), and (60, 18) is needed" in short.failure


def test_unknown_names_are_refused(plant):
    plant([row()])
    with pytest.raises(ValueError, match="unknown puppet metric 'control_nose_r'"):
        PuppetScores(["control_nose_r"], Context(Footage(lambda: iter(()))))


# -- identity -----------------------------------------------------------------------------------------------------


def test_identity_is_the_mean_cosine_with_the_source(plant):
    me, half = np.eye(IDENTITY)[0], np.eye(IDENTITY)[0] * 0.6 + np.eye(IDENTITY)[1] * 0.8
    tools = plant([row(identity=me), row(identity=half), row(identity=-me)])
    source = frames([1])[0]
    found = score(["control_identity"], [1, 2, 2, 3], [1, 1, 1, 2], source=source)["control_identity"]
    assert found.value == pytest.approx((1 + 0.6 + 0.6 - 1) / 4, abs=1e-6)
    assert found.details["truth"] == pytest.approx((1 + 1 + 1 + 0.6) / 4, abs=1e-6)
    assert found.details["strangers"] == pytest.approx(float(tools.strangers[:, 0].mean()), abs=1e-6)
    by_reference = score(["control_identity"], [1, 2], [2, 2])["control_identity"]
    assert by_reference.value == pytest.approx((0.6 + 1) / 2, abs=1e-6)
    assert (
        "no face in the source picture"
        in score(["control_identity"], [1], source=frames([0])[0])["control_identity"].failure
    )
    assert "needs the source picture" in score(["control_identity"], [1])["control_identity"].failure


# -- landmarks ----------------------------------------------------------------------------------------------------


def test_lmd_is_the_landmark_metrics_definition(plant):
    a = np.random.default_rng(1).uniform(50, 200, (68, 2))
    b = a + np.array([7, -3])
    b[48:58, 1] += 2
    b[58:68, 1] -= 2
    plant([row(points=a), row(points=b)])
    found = score(["lmd_mouth_puppet", "lmd_face_puppet"], [2, 2, 0], [1, 1, 1])
    assert found["lmd_mouth_puppet"].value == pytest.approx(2, abs=1e-4)
    assert found["lmd_face_puppet"].value == pytest.approx(20 * 2 / 68, abs=1e-4)
    assert found["lmd_mouth_puppet"].details["detected_both"] == pytest.approx(2 / 3)
    assert "need a reference" in score(["lmd_mouth_puppet"], [1])["lmd_mouth_puppet"].failure
    assert "in no frame do both" in score(["lmd_mouth_puppet"], [0, 1], [1, 0])["lmd_mouth_puppet"].failure


# -- lip-sync -----------------------------------------------------------------------------------------------------


def speaking(tools_of, late):
    """Rows whose lips show, at every frame, one of T known directions; the sound's come ``late`` frames later."""
    known = torch.nn.functional.normalize(torch.randn(T + 30, FEATURES, generator=torch.Generator().manual_seed(1)))
    tools = tools_of([row(lips=known[i + 15]) for i in range(T)])
    heard = torch.zeros(T, EMBEDDING)
    heard[:, :FEATURES] = known[15 - late : 15 - late + T]
    tools.heard, tools.lips = heard, lambda f: torch.nn.functional.pad(f[:-4], (0, EMBEDDING - FEATURES))
    return np.zeros(T * 640, np.float32)


@pytest.mark.parametrize("late", [0, 4, -7, 15])
def test_a_planted_lag_is_found(plant, late):
    audio = speaking(plant, late)
    found = score(["lse_c_puppet", "lse_d_puppet", "lse_lag_puppet"], np.arange(1, T + 1), audio=audio)
    assert found["lse_lag_puppet"].value == abs(late)
    assert found["lse_lag_puppet"].details["offset"] == -late, "late sound is a negative offset, as in metrics.sync"
    assert found["lse_d_puppet"].value == pytest.approx(0, abs=1e-3)
    assert found["lse_c_puppet"].value == pytest.approx(2**0.5, abs=0.1)
    assert bool(found["lse_c_puppet"].warnings) == (abs(late) == 15)


def test_sync_uses_the_longest_run_of_faces(plant):
    audio = speaking(plant, 2)
    shown = np.arange(1, T + 1)
    shown[8] = 0
    found = score(["lse_lag_puppet"], shown, audio=audio)["lse_lag_puppet"]
    assert found.details["first_frame"] == 9
    assert found.details["n_windows"] == T - 9 - 5
    shown[::15] = 0
    assert "too short: 14 frames with a face" in score(["lse_c_puppet"], shown, audio=audio)["lse_c_puppet"].failure
    assert "has no sound" in score(["lse_c_puppet"], shown)["lse_c_puppet"].failure


def test_longest_run():
    assert longest_run(np.array([False, True, True, False, True])) == (1, 3)
    assert longest_run(np.zeros(3, bool)) == (0, 0)
    assert longest_run(np.ones(3, bool)) == (0, 3)


# -- the group ----------------------------------------------------------------------------------------------------


def test_any_chunking_and_the_cache(plant, tmp_path):
    motion = driving()
    tools = plant([row(motion=m, identity=np.eye(IDENTITY)[i % 3]) for i, m in enumerate(motion)])
    names = [n for n in NAMES if "lse" not in n]
    shown = np.arange(1, T + 1)
    results = [score(names, shown, shown[::-1], {"motion": motion}, chunk=c) for c in (1, 7, T)]
    assert results[0] == results[1] == results[2]
    assert part(tools(frames(shown)), "points").shape == (T, 68, 2)
    footage = [Footage(lambda: iter(()), key=key, label=key) for key in ("made", "true")]
    calls = []
    for _ in range(2):
        accumulator = PuppetScores(["lmd_mouth_puppet"], Context(*footage, cache=tmp_path))
        before = tools.calls
        accumulator.update(frames(shown), frames(shown[::-1]))
        calls.append((accumulator.result(), tools.calls - before))
    assert calls[0][1] > 0
    assert calls[1][1] == 0
    assert calls[0][0] == calls[1][0]


def test_the_evaluator_hands_the_truth_on(plant, monkeypatch):
    motion = driving()
    plant([row(motion=m) for m in motion])
    monkeypatch.setitem(registry.GROUPS, "puppets", "metrics.puppets.scores:PuppetScores")
    for metric in PUPPETS:
        monkeypatch.setitem(registry.METRICS, metric.name, metric)
        monkeypatch.setattr(bundled, "unavailable", lambda: None)
    clip = Footage(lambda: iter([frames(np.arange(1, T + 1))]), label="made.mp4")
    evaluator = Evaluator(["control_roll_mae", "control_identity"])
    found = evaluator.score(clip, clip, source=frames([1])[0], truth={"motion": motion + 1})
    assert found["control_roll_mae"].value == pytest.approx(1, abs=1e-5)
    assert found["control_identity"].value == pytest.approx(1)
    without = evaluator.score(clip, clip)
    assert "no truth" in without["control_roll_mae"].failure
    assert without["control_identity"].failure is None


def test_definitions_say_puppets_only_and_load_nothing_heavy():
    assert len(set(NAMES)) == len(NAMES) == 26
    for metric in PUPPETS:
        assert metric.group == "puppets"
        assert "puppets only" in metric.definition
        assert metric.better in ("higher", "lower")
    code = "import sys, metrics.puppets.definitions as d; d.PUPPETS[0].unavailable(); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_name_is_computed(plant):
    audio = speaking(plant, 0)
    motion = driving()
    found = score(NAMES, np.arange(1, T + 1), np.arange(1, T + 1), {"motion": motion}, audio=audio)
    assert list(found) == NAMES
    assert all(result.failure is None for result in found.values()), found
    assert len(MOTION) == 18
