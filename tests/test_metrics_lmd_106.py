"""LMD of insightface's 106 points: against the package's own class, and against dlib's points of the same faces."""

from __future__ import annotations

import importlib.util

import lmd_literal as literal
import numpy as np
import pytest

from fctfg.face_detection import choose
from fctfg.media import read_video
from fctfg.weights import WeightsError
from metrics import landmark_106
from metrics.evaluate import Evaluator, Footage
from metrics.landmark_106 import DLIB_MOUTH, POINTS
from metrics.landmark_backends import backend, dlib_missing
from metrics.landmark_rows import SECOND, WIDTH, points_of, row

CLIPS = ("id90001/clip_a/00015", "id90002/clip_b/00086", "id90007/clip_g/00473")
NAME = "lmd_mouth_106"
needs_both = pytest.mark.skipif(
    importlib.util.find_spec("cv2") is None or importlib.util.find_spec("onnxruntime") is None,
    reason="needs the packages opencv and onnxruntime",
)


@pytest.fixture
def files(weights_dir, monkeypatch):
    monkeypatch.setenv("FCTFG_WEIGHTS", str(weights_dir))
    if reason := landmark_106.missing():
        pytest.skip(reason)
    return weights_dir


def faces_of(real, clip=CLIPS[0], start=0, step=20, n=3):
    frames = read_video(
        real / "voxceleb2/test/mp4" / f"{clip}.mp4", size=(256, 256), start=start, stop=start + step * n
    )
    return frames[::step]


def score(generated, reference, chunk=2, keys=(None, None), **settings):
    def footage(frames, key, label):
        return Footage(lambda: (frames[i : i + chunk] for i in range(0, len(frames), chunk)), key=key, label=label)

    sides = (footage(f, k, n) for f, k, n in zip((generated, reference), keys, ("made.mp4", "true.mp4"), strict=True))
    return Evaluator([NAME], **settings).score(*sides)[NAME]


def test_the_mouth_is_twenty_points():
    assert sorted(DLIB_MOUTH) == list(range(52, 72))


@needs_both
def test_what_it_lacks_is_one_line(monkeypatch, tmp_path):
    for name in ("FCTFG_WEIGHTS", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.setenv(name, str(tmp_path))
    reason = landmark_106.missing()
    assert "2d106det.onnx not found" in reason
    assert "python -m fctfg.weights fetch landmarks106" in reason
    assert "\n" not in reason


class Echo:
    """A network that knows the answer: a grid of points over its square, and remembers what it was shown."""

    def __init__(self):
        steps = np.linspace(-1, 1, POINTS)
        self.answer, self.seen = np.column_stack([steps, -steps]).astype(np.float32), []

    def run(self, _, inputs):
        self.seen.append(inputs["data"])
        return [self.answer.reshape(1, -1)]


def planted():
    net = object.__new__(landmark_106.Points106)
    net._session, net._input = Echo(), "data"
    return net


@pytest.mark.skipif(importlib.util.find_spec("cv2") is None, reason="needs the package opencv")
def test_the_square_around_the_box_and_back():
    """Without weights: where the network's -1 and 1 lie in the frame, and what it is shown."""
    net = planted()
    frame = np.zeros((300, 400, 3), np.uint8)
    frame[100:228, 150:278] = (250, 20, 60)
    box = np.array([170.0, 100.0, 258.0, 228.0, 0.9])  # 88 x 128 around (214, 164): a square of 192, one to one
    points = net(frame, box)
    assert points[0] == pytest.approx([214 - 96, 164 + 96])
    assert points[-1] == pytest.approx([214 + 96, 164 - 96])
    (shown,) = net._session.seen
    assert shown.shape == (1, 3, 192, 192)
    assert shown.dtype == np.float32
    assert np.array_equal(shown[0].transpose(1, 2, 0), frame[164 - 96 : 164 + 96, 214 - 96 : 214 + 96])
    net(frame, np.array([0.0, 0.0, 100.0, 100.0]))
    assert (net._session.seen[1][0][:, :20, :20] == 0).all(), "black outside the frame"


def test_a_row_holds_the_widest_face_at_256():
    boxes = np.array([[0, 0, 40, 60, 0.99], [100, 100, 200, 220, 0.8]])
    found = row(boxes, (512, 512, 3), lambda box: np.full((POINTS, 2), box[0]), POINTS)
    assert found.shape == (2 * POINTS + 2,)
    assert (points_of(found[None]) == 50).all()
    assert found[[WIDTH, SECOND]].tolist() == [50, 20]
    assert np.isnan(row([], (512, 512, 3), None, POINTS)).all()


@needs_both
@pytest.mark.real
def test_points_and_values_are_insightfaces(real, files):
    """The package's own class in the same boxes, of three people."""
    pytest.importorskip("insightface.model_zoo.landmark")
    model, detect = str(files / "2d106det.onnx"), choose("yunet")
    for clip in CLIPS:
        true, made = faces_of(real, clip), faces_of(real, clip, start=9)
        boxes = [detect(made), detect(true)]
        points = points_of(backend("106").extract(true))
        wanted = [literal.insightface_points(f, literal.widest(b), model) for f, b in zip(true, boxes[1], strict=True)]
        assert np.abs(points - wanted).max() < 0.02  # float32 in their way back to the frame, and in our row
        value = score(made, true)
        assert value.value == pytest.approx(literal.mouth_106(made, true, boxes, model), rel=1e-3)
        assert value.details == {
            "frames": 3, "detected_generated": 1.0, "detected_reference": 1.0, "detected_both": 1.0,
        }  # fmt: skip


@needs_both
@pytest.mark.real
@pytest.mark.skipif(dlib_missing() is not None, reason=f"dlib: {dlib_missing()}")
def test_its_mouth_is_dlibs(real, files):
    """Of all ways to pair the 106 with dlib's twenty points, the published one has the least total distance."""
    from scipy.optimize import linear_sum_assignment

    frames = np.concatenate([faces_of(real, clip) for clip in CLIPS])
    ours, dlib = (points_of(backend(name).extract(frames)) for name in ("106", "dlib"))
    distances = np.linalg.norm(dlib[:, 48:, None] - ours[:, None], axis=3).mean(axis=0)
    _, pairs = linear_sum_assignment(distances)
    assert tuple(pairs) == DLIB_MOUTH
    assert distances[np.arange(20), pairs].mean() < 5


@needs_both
@pytest.mark.real
def test_a_frames_points_depend_on_it_alone(real, files):
    frames, extract = faces_of(real), backend("106").extract
    assert np.array_equal(extract(frames), np.concatenate([extract(frame[None]) for frame in frames]))
    assert score(frames[::-1], frames, chunk=1) == score(frames[::-1], frames, chunk=3)
    large = points_of(extract(frames.repeat(2, axis=1).repeat(2, axis=2)))
    assert np.abs(large - points_of(extract(frames))).mean() < 2, "pixels at 256, whatever the size"


@needs_both
@pytest.mark.real
def test_the_reference_is_searched_once_for_all_methods(real, files, monkeypatch, tmp_path):
    searched, search = [], landmark_106.Insightface106.__call__
    monkeypatch.setattr(
        landmark_106.Insightface106, "__call__",
        lambda self, frames: searched.append(len(frames)) or search(self, frames),
    )  # fmt: skip
    true = faces_of(real)
    first = score(true[::-1], true, keys=("a", "true"), cache=tmp_path)
    assert sum(searched) == 5  # the middle frame is the reference's own
    searched.clear()
    assert score(true[::-1], true, keys=("a", "true"), cache=tmp_path) == first
    assert not searched
    score(true[[1, 2, 0]], true, keys=("b", "true"), cache=tmp_path)
    assert sum(searched) == 3


@needs_both
@pytest.mark.real
def test_frames_without_a_face_and_with_two(real, files):
    true = faces_of(real)
    made = true[::-1].copy()
    made[1] = 0
    found = score(made, true)
    assert found.details["detected_generated"] == pytest.approx(2 / 3)
    assert found.value == pytest.approx(score(made[[0, 2]], true[[0, 2]]).value)
    assert score(np.zeros_like(true), true).failure == "made.mp4: no face found in any of its 3 frames (106)"
    twins = np.concatenate([true, true], axis=2)
    assert "two faces of like size in 3 of 3 frames" in score(twins, twins).failure


@needs_both
def test_other_files_are_refused(weights_dir, tmp_path):
    with pytest.raises(WeightsError, match=r"w600k_mbf.onnx: is no network from 3x192x192"):
        landmark_106.Points106(weights_dir / "w600k_mbf.onnx")
    (tmp_path / "x.onnx").write_text("hello")
    with pytest.raises(WeightsError, match=r"x.onnx: onnxruntime cannot read it"):
        landmark_106.Points106(tmp_path / "x.onnx")
