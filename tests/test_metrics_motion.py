"""Motion: angles of known rotations, mirrored and turned pictures, the rules of the correlation, the stored values."""

from __future__ import annotations

import importlib.util
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fctfg.media import read_video
from fctfg.weights import WeightsError
from metrics import motion
from metrics.frame_values import Extractor, FrameValues, stored_path
from metrics.interface import Context, Footage, MetricFailure
from metrics.motion import FACTORS, agreement

needs_mediapipe = pytest.mark.skipif(
    importlib.util.find_spec("mediapipe") is None, reason="needs the package mediapipe"
)
FRONTAL = "id90007/clip_g/00473"


@pytest.fixture
def model(weights_dir, monkeypatch) -> Path:
    monkeypatch.setenv("FCTFG_WEIGHTS", str(weights_dir))
    return weights_dir / "face_landmarker.task"


def frames_of(real: Path, clip: str, step: int = 8, n: int = 12) -> np.ndarray:
    return read_video(real / "voxceleb2/test/mp4" / f"{clip}.mp4", size=(256, 256), stop=step * n)[::step]


def column(values: np.ndarray, factor: str) -> np.ndarray:
    return values[:, FACTORS.index(factor)]


@pytest.mark.parametrize("angles", [(0, 0, 0), (40, 0, 0), (0, 25, 0), (0, 0, -30), (-50, 20, 15)])
def test_angles_of_a_known_rotation(angles):
    """Elementary rotations written out: yaw about y, then pitch (up is positive) about x, then roll about z."""
    yaw, pitch, roll = np.radians(angles)
    c, s = np.cos, np.sin
    about_y = np.array([[c(yaw), 0, s(yaw)], [0, 1, 0], [-s(yaw), 0, c(yaw)]])
    about_x = np.array([[1, 0, 0], [0, c(-pitch), -s(-pitch)], [0, s(-pitch), c(-pitch)]])
    about_z = np.array([[c(roll), -s(roll), 0], [s(roll), c(roll), 0], [0, 0, 1]])
    transform = np.eye(4)
    transform[:3, :3] = 1.3 * about_y @ about_x @ about_z
    transform[:3, 3] = (3, -2, -40)
    assert motion.head_angles(transform) == pytest.approx(angles, abs=1e-9)
    gaze = transform[:3, :3] @ (0, 0, 1)  # where the nose points
    assert np.sign(np.round(gaze[:2], 9)) == pytest.approx(np.sign(angles[:2]))


def test_factors_of_a_drawn_face():
    points = np.zeros((478, 3))
    points[33], points[263] = (60, 100, 0), (160, 100, 0)
    points[13], points[14] = (110, 180, 0), (110, 204, 7)
    names = ("eyeBlinkLeft", "eyeBlinkRight", "eyeLookOutLeft", "eyeLookInLeft", "eyeLookInRight", "eyeLookOutRight",
             "eyeLookUpLeft", "eyeLookUpRight", "eyeLookDownLeft", "eyeLookDownRight", "jawOpen")  # fmt: skip
    blend = dict(zip(names, (0.8, 0.2, 0.6, 0, 0.4, 0, 0, 0, 0.3, 0.1, 0.55), strict=True))
    found = dict(zip(FACTORS, motion.factors(points, blend, np.eye(4)), strict=True))
    assert found == pytest.approx(
        {"yaw": 0, "pitch": 0, "roll": 0, "blink_left": 0.8, "blink_right": 0.2, "blink": 0.5,
         "gaze_x": 0.5, "gaze_y": -0.2, "mouth": 0.25, "jaw": 0.55}, abs=1e-12,
    )  # fmt: skip


@needs_mediapipe
def test_a_mirrored_picture_and_a_turned_one(model, real):
    cv2 = pytest.importorskip("cv2")
    frames = frames_of(real, FRONTAL)
    find = motion.load().extract
    plain, mirrored = find(frames), find(np.ascontiguousarray(frames[:, :, ::-1]))
    for factor, sign in {"yaw": -1, "roll": -1, "gaze_x": -1, "pitch": 1, "blink": 1, "mouth": 1}.items():
        assert sign * np.corrcoef(column(plain, factor), column(mirrored, factor))[0, 1] > 0.6, factor
    assert np.abs(column(plain, "yaw") + column(mirrored, "yaw")).mean() < 1.5
    assert np.corrcoef(column(plain, "blink_left"), column(mirrored, "blink_right"))[0, 1] > 0.6

    turn = cv2.getRotationMatrix2D((128, 128), 12, 1)  # counter-clockwise as the viewer sees it
    turned = find(np.stack([cv2.warpAffine(frame, turn, (256, 256)) for frame in frames]))
    assert (column(turned, "roll") - column(plain, "roll")).mean() == pytest.approx(12, abs=1.5)


@needs_mediapipe
def test_mouth_opening_follows_dlibs_lips(model, real):
    """Our 3-D ratio against the gap of dlib's inner lips over its outer eye corners, in the picture's plane."""
    dlib = pytest.importorskip("dlib")
    from fctfg import weights

    if weights.find("dlib68") is None:
        pytest.skip("needs dlib's 68-point predictor")
    predictor = dlib.shape_predictor(str(weights.require("dlib68")))
    detector = dlib.get_frontal_face_detector()
    frames = frames_of(real, FRONTAL, step=3, n=40)
    theirs = np.full(len(frames), np.nan)
    for i, frame in enumerate(frames):
        if boxes := detector(frame):
            p = np.array([(q.x, q.y) for q in predictor(frame, boxes[0]).parts()])
            theirs[i] = np.linalg.norm(p[62] - p[66]) / np.linalg.norm(p[36] - p[45])
    values = motion.load().extract(frames)
    seen = np.isfinite(theirs)
    assert seen.mean() > 0.9
    assert np.corrcoef(theirs[seen], column(values, "mouth")[seen])[0, 1] > 0.8


@needs_mediapipe
def test_order_company_and_threads_do_not_matter(model, real):
    frames = frames_of(real, FRONTAL, n=4)
    find = motion.FaceMotion(model)
    once = find(frames)
    assert np.array_equal(find(frames[::-1])[::-1], once)
    assert np.array_equal(np.concatenate([find(frame[None]) for frame in frames]), once)
    elsewhere = []
    thread = threading.Thread(target=lambda: elsewhere.append(find(frames)))
    thread.start()
    thread.join()
    assert np.array_equal(elsewhere[0], once)
    assert np.isnan(find(np.full((1, 64, 64, 3), 127, np.uint8))).all()


@needs_mediapipe
def test_it_is_quiet_and_a_file_that_is_no_model_is_one_line(model, tmp_path, capfd):
    motion.FaceMotion(model)(np.zeros((1, 64, 64, 3), np.uint8))
    (tmp_path / "face_landmarker.task").write_bytes(b"nothing")
    with pytest.raises(WeightsError) as error:
        motion.FaceMotion(tmp_path / "face_landmarker.task")(np.zeros((1, 64, 64, 3), np.uint8))
    assert str(error.value).startswith(f"{tmp_path / 'face_landmarker.task'}: mediapipe cannot read it")
    assert "\n" not in str(error.value)
    assert capfd.readouterr() == ("", "")


def test_what_is_missing_is_said_in_one_line(monkeypatch, tmp_path):
    for name in ("FCTFG_WEIGHTS", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, str(tmp_path))
    reason = motion.unavailable()
    assert "\n" not in reason
    assert "fetch face_landmarker" in reason or "pip install" in reason
    with pytest.raises(ValueError, match="unknown motion metric 'motion_ears_r'; known: motion_yaw_mae"):
        motion.parse("motion_ears_r")


# The rules of the numbers.

T = np.arange(100)
DRIVING = 10 * np.sin(T / 7)


def test_agreement_of_signals_whose_answer_is_known():
    same = agreement(DRIVING, DRIVING, "yaw")
    assert (same["mae"], same["undefined"], same["frames"]) == (0, None, 100)
    assert same["r"] == pytest.approx(1)
    scaled = agreement(DRIVING, 3 - 0.5 * DRIVING, "yaw")
    assert scaled["r"] == pytest.approx(-1)
    assert scaled["mae"] == pytest.approx(np.abs(1.5 * DRIVING - 3).mean())
    noise = np.random.default_rng(0).normal(size=100)
    assert agreement(DRIVING, noise, "yaw")["r"] == pytest.approx(np.corrcoef(DRIVING, noise)[0, 1])


def test_a_driver_who_hardly_moves_leaves_no_correlation():
    for scale, defined in ((0.99, False), (1.01, True)):
        x = DRIVING / DRIVING.std() * motion.MOVES["yaw"] * scale
        found = agreement(x, x, "yaw")
        assert (found["r"] is not None) == defined
        assert found["mae"] == 0
    assert agreement(DRIVING / 100, DRIVING, "yaw")["undefined"] == (
        "the driving face hardly moves (standard deviation 0.0703, below 0.8)"
    )


def test_a_generated_face_that_stands_still_correlates_with_nothing():
    found = agreement(DRIVING, np.full(100, 3.3), "yaw")
    assert (found["r"], found["undefined"], found["generated_std"]) == (0.0, None, pytest.approx(0, abs=1e-9))
    assert found["mae"] == pytest.approx(np.abs(DRIVING - 3.3).mean())


def test_frames_without_a_face_do_not_count():
    x, y = DRIVING.copy(), DRIVING + 1
    x[:30], y[20:50] = np.nan, np.nan
    found = agreement(x, y, "yaw")
    assert (found["frames"], found["mae"]) == (50, pytest.approx(1))
    y[:91] = np.nan
    assert agreement(x, y, "yaw")["undefined"] == "9 frames with both faces, 10 are needed"
    y[:] = np.nan
    assert agreement(x, y, "yaw")["mae"] is None


# Values that are stored and taken from the store.


class Counting:
    """The mean colour of each frame, dark ones without a face; counts the frames that it was asked for."""

    def __init__(self) -> None:
        self.asked = 0

    def __call__(self, frames: np.ndarray) -> np.ndarray:
        self.asked += len(frames)
        values = np.tile(frames.mean((1, 2, 3))[:, None], (1, len(FACTORS)))
        values[values < 1] = np.nan
        return values


@pytest.fixture
def counting(monkeypatch) -> Counting:
    extractor = Counting()
    monkeypatch.setattr(motion, "load", lambda: Extractor("motion", "test", extractor))
    return extractor


def video(levels, key: str | None = None) -> Footage:
    frames = np.repeat(np.asarray(levels, np.uint8), 4 * 4 * 3).reshape(-1, 4, 4, 3)
    return Footage(lambda: [frames], key=key, label=f"{key}.mp4")


def run(generated: Footage, reference: Footage, chunk: int = 16, **more) -> dict:
    scores = motion.MotionScores(["motion_yaw_r", "motion_yaw_mae"], Context(generated, reference, **more))
    (ours,), (theirs,) = generated.chunks(), reference.chunks()
    for start in range(0, len(ours), chunk):
        scores.update(ours[start : start + chunk], theirs[start : start + chunk])
    return scores.result()


LEVELS = np.array([10, 30, 20, 50, 40, 60, 80, 70, 90, 100, 20, 30])


def test_the_clip_is_scored_the_same_however_it_is_cut(counting):
    results = [run(video(LEVELS[::-1]), video(LEVELS), chunk) for chunk in (1, 5, 12)]
    assert results[0] == results[1] == results[2]
    assert results[0]["motion_yaw_mae"].value == pytest.approx(np.abs(LEVELS[::-1] - LEVELS).mean())
    assert results[0]["motion_yaw_r"].value == pytest.approx(np.corrcoef(LEVELS[::-1], LEVELS)[0, 1])


def test_an_undefined_correlation_is_no_failure_and_no_face_is_one(counting):
    still = run(video(LEVELS), video([50] * 12))["motion_yaw_r"]
    assert (still.value, still.failure) == (None, None)
    assert still.details["undefined"].startswith("the driving face hardly moves")
    dark = run(video([0] * 12, "a"), video(LEVELS))
    assert dark["motion_yaw_r"].failure == "a.mp4: in no frame do both it and its reference show a face"
    assert dark["motion_yaw_mae"].failure == dark["motion_yaw_r"].failure
    with pytest.raises(MetricFailure, match="needs a reference video"):
        motion.MotionScores(["motion_yaw_r"], Context(video(LEVELS), None))
    with pytest.raises(MetricFailure, match="has no frames"):
        run(video([], "a"), video([], "b"))


def test_equal_frames_are_looked_at_once(counting):
    run(video(LEVELS), video(LEVELS))
    assert counting.asked == 12
    run(video([7] * 12), video(LEVELS), chunk=5)
    assert counting.asked == 12 + 12 + 1


def test_stored_values_stand_in_and_only_for_the_same_frames_and_version(counting, tmp_path):
    generated, reference = video(LEVELS[::-1], "g"), video(LEVELS, "r")
    first = run(generated, reference, cache=tmp_path)
    assert counting.asked == 24
    again = run(generated, reference, cache=tmp_path)
    assert (again, counting.asked) == (first, 24)
    assert run(generated, reference, cache=tmp_path, reuse="only-cache") == first
    run(video(LEVELS + 1, "other"), reference, cache=tmp_path)
    assert counting.asked == 36
    run(generated, reference, cache=tmp_path, reuse="never")
    assert counting.asked == 60
    with pytest.raises(
        MetricFailure, match=r"new\.mp4: its motion values are not in the cache, and reuse is only-cache"
    ):
        run(video(LEVELS, "new"), reference, cache=tmp_path, reuse="only-cache")
    with pytest.raises(MetricFailure, match=r"g\.mp4: has 11 frames, but 12 stored values; delete .*npz"):
        run(video(LEVELS[:11], "g"), video(LEVELS[:11], "r11"), cache=tmp_path)
    old = Extractor("motion", "test", counting)
    assert stored_path(generated, old, tmp_path) != stored_path(generated, replace(old, version="2"), tmp_path)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 torn", None])
def test_a_torn_file_is_replaced_with_a_warning(content, counting, tmp_path):
    generated, reference = video(LEVELS[::-1], "g"), video(LEVELS, "r")
    first = run(generated, reference, cache=tmp_path)
    path = stored_path(reference, Extractor("motion", "test", counting), tmp_path)
    if content is None:
        np.savez(path, values=np.zeros(3), version=np.array("test"))
    else:
        path.write_bytes(content)
    result = run(generated, reference, cache=tmp_path)["motion_yaw_mae"]
    assert (result.value, counting.asked) == (first["motion_yaw_mae"].value, 36)
    assert str(path) in result.warnings[0]
    assert run(generated, reference, cache=tmp_path)["motion_yaw_mae"].warnings == []
    assert not list(tmp_path.rglob("*.part"))


def test_a_video_without_a_key_is_not_stored(counting, tmp_path):
    values = FrameValues(video(LEVELS), Extractor("motion", "test", counting), Context(video(LEVELS), cache=tmp_path))
    values.add(next(iter(video(LEVELS).chunks())))
    assert values.finish().shape == (12, len(FACTORS))
    assert not list(tmp_path.iterdir())
