"""Landmark distances: planted truths, faces that are not there or too many, and the cache."""

from __future__ import annotations

import itertools
import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from metrics import landmark_backends, landmark_scores
from metrics.frame_values import Extractor, stored_path
from metrics.interface import Context, Footage, MetricFailure
from metrics.landmark_backends import dlib_missing
from metrics.landmark_rows import SECOND, WIDTH, grey, no_face, points_of
from metrics.landmark_scores import VARIANTS, LandmarkScores
from metrics.landmarks import FACE, MOUTH_106, detected, landmark_distances, landmark_sums, mean_over_frames

DLIB_NAMES = [name for name, variant in VARIANTS.items() if variant.backend == "dlib"]
needs_dlib = pytest.mark.skipif(dlib_missing() is not None, reason=f"dlib: {dlib_missing()}")


def _points(seed=0, n=5):
    return np.random.default_rng(seed).uniform(60, 190, (n, 68, 2)).astype(np.float32)


# -- the reductions ---------------------------------------------------------------------------------------------


def test_a_translated_face_is_at_no_distance():
    a = _points()
    for part in (slice(48, 68), FACE):
        assert landmark_distances(a + np.float32([12, -7]), a, part) == pytest.approx(np.zeros(5), abs=1e-5)


def test_a_mouth_that_opens_by_v_is_at_distance_v():
    a = _points()
    b = a.copy()
    b[:, 48:58] += np.float32([0, 3])
    b[:, 58:68] -= np.float32([0, 3])
    assert landmark_distances(b, a) == pytest.approx(np.full(5, 3.0), abs=1e-5)
    assert landmark_sums(b, a) == pytest.approx(np.full(5, 60.0), abs=1e-4)


def test_a_mouth_moved_in_the_face():
    a = _points()
    b = a.copy()
    b[:, 48:] += np.float32([3, 4])  # its centroid goes along; the face's goes 20/68 of the way
    assert landmark_distances(b, a) == pytest.approx(np.zeros(5), abs=1e-5)
    expected = 5 * (20 * 48 / 68 + 48 * 20 / 68) / 68
    assert landmark_distances(b, a, FACE) == pytest.approx(np.full(5, expected), abs=1e-4)


def test_atvgnet_sums_over_twenty_points():
    a, b = _points(1), _points(2)
    assert landmark_sums(a, b) == pytest.approx(20 * landmark_distances(a, b))


def test_frames_without_a_face_are_left_out():
    a, b = _points(1), _points(2)
    everywhere = landmark_distances(a, b)
    a[1], b[3] = np.nan, np.nan
    found = landmark_distances(a, b)
    assert np.isnan(found).tolist() == [False, True, False, True, False]
    assert mean_over_frames(found) == pytest.approx(everywhere[[0, 2, 4]].mean())
    assert detected(a).tolist() == [True, False, True, True, True]
    assert math.isnan(mean_over_frames(found[[1, 3]]))


def test_other_shapes_are_refused():
    with pytest.raises(ValueError, match=r"\(T, P, 2\)"):
        landmark_distances(_points(n=3), _points(n=4))
    with pytest.raises(ValueError, match="points 52 to 71 are not among 68 landmarks"):
        landmark_distances(_points(), _points(), MOUTH_106)


# -- a clip, with a detector that knows the answer --------------------------------------------------------------


class Planted:
    """Finds a face whose points depend on the frame's first pixel; none where that is zero, two where it is 255."""

    version = "planted 1"

    def __init__(self):
        self.searched = 0

    def extractor(self):
        return Extractor("landmarks_dlib", self.version, self)

    def __call__(self, frames):
        self.searched += len(frames)
        return np.stack([self._row(int(frame[0, 0, 0])) for frame in frames])

    @staticmethod
    def _row(level):
        if level == 0:
            return no_face(68)
        points = np.tile(np.arange(68, dtype=np.float32)[:, None], (1, 2))
        points[48:58, 1] += level
        points[58:68, 1] -= level
        return np.append(points.ravel(), [100.0, 70.0 if level == 255 else 0.0]).astype(np.float32)


@pytest.fixture
def planted(monkeypatch):
    found = Planted()
    monkeypatch.setattr(landmark_scores, "backend", lambda name, device: found.extractor())
    return found


def _clip(*levels):
    frames = np.zeros((len(levels), 16, 16, 3), np.uint8)
    frames[:, 0, 0, 0] = levels
    frames[:, 5, 5, 1] = np.arange(len(levels))  # no two frames alike
    return frames


def _score(generated, reference, names=("lmd_mouth_dlib",), chunk=4, keys=(None, None), **context):
    footage = [
        Footage(lambda: iter(()), key=key, label=label)
        for key, label in zip(keys, ("made.mp4", "true.mp4"), strict=True)
    ]
    scores = LandmarkScores(names, Context(*footage, **context))
    for i in range(0, len(generated), chunk):
        scores.update(generated[i : i + chunk], reference[i : i + chunk])
    return scores.result()


def test_a_clip_however_it_is_cut(planted):
    x, y = _clip(5, 6, 0, 8, 9, 4, 4), _clip(1, 1, 1, 0, 1, 1, 1)
    found = [_score(x, y, DLIB_NAMES, chunk) for chunk in (1, 3, 7)]
    assert found[0] == found[1] == found[2]
    mouth = found[0]["lmd_mouth_dlib"]
    assert mouth.value == pytest.approx(np.mean([4, 5, 8, 3, 3]))
    assert mouth.details == {
        "frames": 7,
        "detected_generated": pytest.approx(6 / 7),
        "detected_reference": pytest.approx(6 / 7),
        "detected_both": pytest.approx(5 / 7),
    }
    assert found[0]["lmd_atvgnet_dlib"].value == pytest.approx(20 * mouth.value)


def test_no_face_names_the_side(planted):
    face, none = _clip(5, 5, 5), _clip(0, 0, 0)
    assert "made.mp4: no face found in any of its 3 frames" in _score(none, face)["lmd_mouth_dlib"].failure
    assert "true.mp4: no face found in any of its 3 frames" in _score(face, none)["lmd_mouth_dlib"].failure
    never_both = _score(_clip(5, 0), _clip(0, 5))["lmd_mouth_dlib"]
    assert never_both.value is None
    assert "in no frame do both" in never_both.failure


def test_two_faces_in_more_than_half_of_the_frames(planted):
    assert _score(_clip(5, 5, 255, 255), _clip(1, 1, 1, 1))["lmd_mouth_dlib"].failure is None
    assert "made.mp4: two faces of like size in 3 of 4 frames; crop" in (
        _score(_clip(5, 255, 255, 255, 0), _clip(1, 1, 1, 1, 1))["lmd_mouth_dlib"].failure
    )


def test_frames_seen_before_are_not_searched_again(planted):
    x = _clip(1, 2, 3, 4)
    still = np.repeat(x[:1], 6, axis=0)
    _score(still, np.concatenate([x, x[:2]]), chunk=4)
    assert planted.searched == 6 + 0  # the still is the reference's own first frame
    planted.searched = 0
    _score(still + 9, np.concatenate([x, x[:2]]), chunk=4)
    assert planted.searched == 6 + 1
    planted.searched = 0
    _score(x, x.copy(), chunk=3)
    assert planted.searched == 4


def test_the_cache_spares_the_detector(planted, tmp_path):
    x, y = _clip(5, 6, 0, 8), _clip(1, 2, 3, 4)
    first = _score(x, y, keys=("x", "y"), cache=tmp_path)
    assert planted.searched == 8
    assert _score(x, y, DLIB_NAMES, keys=("x", "y"), cache=tmp_path)["lmd_mouth_dlib"] == first["lmd_mouth_dlib"]
    assert _score(x, y, keys=("x", "y"), cache=tmp_path, reuse="only-cache") == first
    assert planted.searched == 8
    _score(_clip(9, 9, 9, 9), y, keys=("z", "y"), cache=tmp_path)
    assert planted.searched == 12, "only the new video is searched"
    _score(x, y, keys=("x", "y"), cache=tmp_path, reuse="never")
    assert planted.searched == 20
    planted.version = "planted 2"
    _score(x, y, keys=("x", "y"), cache=tmp_path)
    assert planted.searched == 28, "another version's extractions are not taken"
    assert not list(tmp_path.rglob("*.part"))


def test_nothing_is_stored_without_a_key(planted, tmp_path):
    _score(_clip(5), _clip(1), cache=tmp_path)
    assert not list(tmp_path.rglob("*"))


def test_only_cache_fails_where_nothing_is_stored(planted, tmp_path):
    found = _score(_clip(5), _clip(1), keys=("x", "y"), cache=tmp_path, reuse="only-cache")["lmd_mouth_dlib"]
    assert "true.mp4: its landmarks_dlib values are not in the cache" in found.failure
    assert planted.searched == 0


@pytest.mark.parametrize("damage", ["empty", "cut short", "text", "an array", "pickled", "wrong shape"])
def test_a_damaged_cache_file_is_made_anew(planted, tmp_path, damage):
    x, y = _clip(5, 6), _clip(1, 2)
    whole = _score(x, y, keys=("x", "y"), cache=tmp_path)["lmd_mouth_dlib"]
    path = stored_path(Footage(lambda: iter(()), key="y"), planted.extractor(), tmp_path)
    good = path.read_bytes()
    if damage == "an array":
        with path.open("wb") as file:
            np.save(file, np.zeros(3))
    elif damage in ("pickled", "wrong shape"):
        values = np.array([{}], object) if damage == "pickled" else np.zeros((2, 5, 2), np.float32)
        with path.open("wb") as file:
            np.savez(file, values=values, version=np.array(planted.version))
    else:
        path.write_bytes({"empty": b"", "cut short": good[: len(good) // 2], "text": b"hello there"}[damage])
    again = _score(x, y, keys=("x", "y"), cache=tmp_path)["lmd_mouth_dlib"]
    assert again.value == whole.value
    assert "cannot be read" in again.warnings[0]
    assert "\n" not in again.warnings[0]
    assert path.read_bytes() == good


def test_a_stored_extraction_of_another_length_is_not_taken(planted, tmp_path):
    _score(_clip(5, 6), _clip(1, 2), keys=("x", "y"), cache=tmp_path)
    found = _score(_clip(5, 6, 7), _clip(1, 2, 3), keys=("x", "y"), cache=tmp_path)["lmd_mouth_dlib"]
    assert found.value is None
    assert "3 frames, but 2 stored values; delete" in found.failure
    mixed = _score(_clip(1, 2, 3), _clip(1, 2, 3), keys=("new", "y"), cache=tmp_path)["lmd_mouth_dlib"]
    assert "true.mp4" in mixed.failure


def test_a_reference_is_needed():
    with pytest.raises(MetricFailure, match="need a reference"):
        LandmarkScores(["lmd_mouth_dlib"], Context(Footage(lambda: iter(()))))


# -- the detectors themselves -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def faces(real):
    """(2, 256, 256, 3): two frames of a real clip."""
    import av

    with av.open(str(real / "voxceleb2/test/mp4/id90001/clip_a/00015.mp4")) as container:
        frames = [
            frame.reformat(256, 256, "rgb24").to_ndarray() for frame in itertools.islice(container.decode(video=0), 21)
        ]
    return np.stack([frames[0], frames[20]])


def test_grey_is_luma_rounded_half_up():
    levels = np.random.default_rng(0).integers(0, 256, (200, 300, 3), dtype=np.uint8)
    r, g, b = (levels[..., c].astype(int) for c in range(3))
    assert np.array_equal(grey(levels), (299 * r + 587 * g + 114 * b + 500) // 1000)


@pytest.fixture(scope="module")
def find():
    return landmark_backends.backend("dlib").extract


@needs_dlib
@pytest.mark.real
class TestDlib:
    def test_points_are_pixels_at_256(self, faces, find):
        row = find(faces[:1])
        assert row.shape == (1, 138)
        points = points_of(row)[0]
        left_eye, right_eye, mouth = (points[s].mean(0) for s in (slice(36, 42), slice(42, 48), slice(48, 68)))
        assert left_eye[0] < mouth[0] < right_eye[0]
        assert mouth[1] > max(left_eye[1], right_eye[1]) + 20
        large = find(faces[:1].repeat(2, axis=1).repeat(2, axis=2))
        assert np.abs(points_of(large)[0] - points).mean() < 2
        assert large[0, WIDTH] == pytest.approx(row[0, WIDTH], rel=0.2)
        assert row[0, SECOND] == 0

    def test_equals_dlib_called_directly(self, faces, find):
        import dlib

        from fctfg import weights

        picture = grey(faces[1])
        (box,) = dlib.get_frontal_face_detector()(picture, 0)
        parts = dlib.shape_predictor(str(weights.require("dlib68")))(picture, box).parts()
        row = find(faces[1:])
        assert points_of(row)[0].tolist() == [[part.x, part.y] for part in parts]
        assert row[0, WIDTH] == box.width()

    def test_a_picture_without_a_face(self, find):
        noise = np.random.default_rng(0).integers(0, 256, (2, 256, 256, 3), dtype=np.uint8)
        assert np.isnan(find(noise)).all()

    def test_the_larger_of_two_faces_is_taken(self, faces, find):
        alone = points_of(find(faces[:1]))
        beside = np.zeros((1, 256, 512, 3), np.uint8)
        beside[:, :, 256:], beside[:, 64:192, 64:192] = faces[0], faces[0, ::2, ::2]
        both = find(beside.repeat(2, axis=1).repeat(2, axis=2))
        assert 0 < both[0, SECOND] < 0.6 * both[0, WIDTH]
        assert np.abs(points_of(both) * 2 - [256, 0] - alone).mean() < 3

    def test_two_like_faces_fail_the_clip(self, faces):
        twins = np.concatenate([faces, faces], axis=2)
        for result in _score(twins, twins, DLIB_NAMES).values():
            assert "true.mp4: two faces of like size in 2 of 2 frames" in result.failure

    def test_threads_agree(self, faces, find):
        with ThreadPoolExecutor(3) as pool:
            for rows in pool.map(find, [faces] * 3):
                assert np.array_equal(rows, find(faces))

    def test_a_shifted_face_is_near(self, faces):
        moved = np.roll(faces, (3, -4), axis=(1, 2))
        assert _score(moved, faces)["lmd_mouth_dlib"].value < 1.5
        assert _score(faces, faces)["lmd_mouth_dlib"].value == 0


def test_fan_says_what_it_lacks(monkeypatch, tmp_path):
    monkeypatch.setenv("FCTFG_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    reason = landmark_backends.fan_missing()
    assert "\n" not in reason
    assert "face-alignment" in reason or "python -m fctfg.weights fetch fan" in reason


@pytest.mark.slow
@pytest.mark.real
def test_fan_reads_local_files_and_nothing_else(faces, monkeypatch, tmp_path):
    """Random weights in the official files' format: what is tested is the way from file to points."""
    pytest.importorskip("face_alignment")
    import torch
    from face_alignment import api
    from face_alignment.detection.sfd import sfd_detector
    from face_alignment.models import FAN

    def download(*_):
        raise AssertionError("tried to download")

    monkeypatch.setattr(api, "load_file_from_url", download)
    monkeypatch.setattr(sfd_detector, "load_state_dict_from_url", download)
    torch.manual_seed(0)
    torch.save(FAN(4).state_dict(), tmp_path / "2DFAN4-11f355bf06.pth.tar")
    torch.save(sfd_detector.s3fd().state_dict(), tmp_path / "s3fd-619a316812.pth")
    monkeypatch.setenv("FCTFG_WEIGHTS", str(tmp_path))
    assert landmark_backends.fan_missing() is None
    found = landmark_backends.backend.__wrapped__("fan", "cpu")
    assert "2DFAN4" in found.version
    detector = found.extract._net.face_detector
    detector.detect_from_image = lambda frame: [[40, 30, 200, 220, 0.9], [0, 0, 50, 50, 0.8]]
    row = found.extract(faces[:1])
    assert row[0, [WIDTH, SECOND]].tolist() == [160, 50]
    assert np.isfinite(points_of(row)).all()
    detector.detect_from_image = lambda frame: []
    assert np.isnan(found.extract(faces[:1])).all()
