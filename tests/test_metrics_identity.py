"""Identity similarity: against insightface's own alignment and network code; the same person and others."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from fctfg.media import read_video
from fctfg.weights import WeightsError
from metrics import identity
from metrics.identity import TEMPLATE, similarity_transform
from metrics.interface import Context, Footage, MetricFailure

needs_cv2 = pytest.mark.skipif(importlib.util.find_spec("cv2") is None, reason="needs the package opencv")
needs_both = pytest.mark.skipif(
    importlib.util.find_spec("cv2") is None or importlib.util.find_spec("onnxruntime") is None,
    reason="needs the packages opencv and onnxruntime",
)
PEOPLE = ("id90001/clip_a/00015", "id90002/clip_b/00086", "id90003/clip_c/00373", "id90006/clip_f/00098",
          "id90007/clip_g/00473", "id90008/clip_i/00105")  # fmt: skip


@pytest.fixture
def files(weights_dir, monkeypatch) -> Path:
    monkeypatch.setenv("FCTFG_WEIGHTS", str(weights_dir))
    return weights_dir


def frames_of(real: Path, clip: str, step: int = 25, n: int = 4) -> np.ndarray:
    return read_video(real / "voxceleb2/test/mp4" / f"{clip}.mp4", size=(256, 256), stop=step * n)[::step]


def context(generated: np.ndarray, reference: np.ndarray | None, **more) -> Context:
    sides = [None if side is None else Footage(lambda side=side: [side]) for side in (generated, reference)]
    return Context(*sides, **more)


def scored(names: list[str], generated: np.ndarray, reference: np.ndarray, chunk: int = 16, where=None) -> dict:
    accumulator = identity.IdentityScores(names, where or context(generated, reference))
    for start in range(0, len(generated), chunk):
        accumulator.update(generated[start : start + chunk], reference[start : start + chunk])
    return accumulator.result()


def test_the_transform_recovers_a_known_one_and_is_the_best():
    rng = np.random.default_rng(0)
    angle, scale, shift = 0.4, 1.7, np.array([30.0, -12.0])
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    found = similarity_transform(TEMPLATE, TEMPLATE @ (scale * turn).T + shift)
    assert found == pytest.approx(np.column_stack([scale * turn, shift]), abs=1e-9)

    points = TEMPLATE * 0.8 + rng.normal(0, 4, TEMPLATE.shape)

    def error(m: np.ndarray) -> float:
        return np.square(points @ m[:, :2].T + m[:, 2] - TEMPLATE).sum()

    best = similarity_transform(points)
    for _ in range(50):
        a, b, x, y = rng.normal(0, [0.01, 0.01, 0.5, 0.5])
        assert error(best + np.array([[a, -b, x], [b, a, y]])) > error(best)
    with pytest.raises(ValueError, match="coincide"):
        similarity_transform(np.ones((5, 2)))


def test_the_transform_is_insightfaces_and_scikit_images():
    face_align = pytest.importorskip("insightface.utils.face_align")
    rng = np.random.default_rng(1)
    for _ in range(20):
        points = (TEMPLATE * rng.uniform(0.5, 3) + rng.normal(0, 5, (5, 2))).astype(np.float32)
        assert similarity_transform(points) == pytest.approx(face_align.estimate_norm(points), abs=2e-4)


@needs_both
def test_alignment_and_embedding_equal_insightfaces(files, real):
    """insightface's norm_crop and its ArcFace class on the same frames and points."""
    face_align = pytest.importorskip("insightface.utils.face_align")
    arcface = pytest.importorskip("insightface.model_zoo.arcface_onnx")
    frames = frames_of(real, PEOPLE[0])
    points = identity.FivePoints(files / "face_detection_yunet_2023mar.onnx")(frames)
    ours = np.stack([identity.align(frame, p) for frame, p in zip(frames, points, strict=True)])
    theirs = np.stack([face_align.norm_crop(f, p.astype(np.float32)) for f, p in zip(frames, points, strict=True)])
    assert np.abs(ours.astype(int) - theirs).max() <= 1  # their float32 matrix rounds the odd pixel the other way
    vectors = identity.ArcFace(files / "w600k_mbf.onnx")(theirs)
    reference = arcface.ArcFaceONNX(str(files / "w600k_mbf.onnx"))
    wanted = np.concatenate([reference.get_feat(face[..., ::-1]) for face in theirs])  # they take BGR
    wanted /= np.linalg.norm(wanted, axis=1, keepdims=True)
    assert np.abs(vectors - wanted).max() < 1e-5
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1, abs=1e-6)


@needs_both
def test_a_vector_depends_on_its_face_alone(files):
    faces = np.random.default_rng(2).integers(0, 256, (5, 112, 112, 3), dtype=np.uint8)
    net = identity.ArcFace(files / "w600k_mbf.onnx")
    together = net(faces)
    assert np.abs(together - np.concatenate([net(face[None]) for face in faces])).max() < 1e-6
    assert net(faces[:0]).shape == (0, 512)


@needs_both
def test_people_are_told_apart(files, real):
    """Frames a second apart of one person are nearer than any of two people."""
    embed = identity.load("arcface_mbf", "cpu").extract
    people = np.stack([embed(frames_of(real, clip)) for clip in PEOPLE])
    flat = people.reshape(-1, people.shape[-1])
    who = np.repeat(np.arange(len(PEOPLE)), people.shape[1])
    cosine = flat @ flat.T
    same = who[:, None] == who
    assert cosine[same].min() > 0.3
    assert cosine[~same].max() < 0.25
    assert cosine[same].mean() > 0.65
    assert abs(cosine[~same].mean()) < 0.1


@needs_both
def test_against_the_truth_and_against_the_source(files, real):
    names = ["csim_arcface_mbf", "csim_source_arcface_mbf"]
    truth, other = (frames_of(real, clip) for clip in PEOPLE[:2])
    mixed = np.concatenate([truth[:2], other[2:]])
    where = context(mixed, truth, source=truth[0])
    embed = identity.load("arcface_mbf", "cpu").extract
    for chunk in (1, 3, 4):
        found = scored(names, mixed, truth, chunk, where)
        assert found[names[0]].value == pytest.approx(identity.cosines(embed(mixed), embed(truth)).mean(), abs=1e-6)
        assert found[names[1]].value == pytest.approx((embed(mixed) @ embed(truth[:1])[0]).mean(), abs=1e-6)
    assert found[names[0]].details == {
        "frames": 4, "points": "yunet", "detected_generated": 1.0, "detected_reference": 1.0, "detected_both": 1.0,
    }  # fmt: skip
    assert scored(names, truth, truth)[names[0]].value == pytest.approx(1, abs=1e-6)
    assert scored(names, truth, truth)[names[1]].failure == "video: no reference frame was given to compare with"


@needs_both
def test_frames_without_a_face_are_left_out_and_counted(files, real):
    truth = frames_of(real, PEOPLE[0])
    generated = truth.copy()
    generated[1] = 127
    result = scored(["csim_arcface_mbf"], generated, truth)["csim_arcface_mbf"]
    assert result.value == pytest.approx(1, abs=1e-6)
    assert (result.details["detected_generated"], result.details["detected_both"]) == (0.75, 0.75)
    generated[:] = 127
    nothing = scored(["csim_arcface_mbf"], generated, truth)["csim_arcface_mbf"]
    assert (nothing.value, nothing.failure) == (None, "video: in no frame do both it and its reference show a face")
    with pytest.raises(MetricFailure, match="needs a reference video"):
        identity.IdentityScores(["csim_arcface_mbf"], context(generated, None))


@needs_both
def test_the_largest_face_counts(files, real):
    big, small = frames_of(real, PEOPLE[0])[0], frames_of(real, PEOPLE[1])[0]
    both = np.concatenate([np.pad(small[::2, ::2], ((64, 64), (0, 0), (0, 0))), big], axis=1)
    find = identity.FivePoints(files / "face_detection_yunet_2023mar.onnx")
    together, alone = find(both[None])[0], find(big[None])[0]
    assert together - [128, 0] == pytest.approx(alone, abs=4)


@needs_both
@pytest.mark.parametrize("content", [b"", b"not a network"])
def test_files_that_are_no_networks(content, files, tmp_path):
    path = tmp_path / "w600k_mbf.onnx"
    path.write_bytes(content)
    with pytest.raises(WeightsError) as error:
        identity.ArcFace(path)
    assert str(error.value).startswith(f"{path}: onnxruntime cannot read it")
    assert "\n" not in str(error.value)
    with pytest.raises(WeightsError, match=r"face_detection_yunet_2023mar.onnx: is no network from 3x112x112"):
        identity.ArcFace(files / "face_detection_yunet_2023mar.onnx")


@needs_cv2
def test_a_detector_that_cannot_be_read(tmp_path):
    (tmp_path / "yunet.onnx").write_bytes(b"nothing")
    with pytest.raises(WeightsError, match=r"yunet\.onnx: OpenCV cannot read it"):
        identity.FivePoints(tmp_path / "yunet.onnx")(np.zeros((1, 64, 64, 3), np.uint8))


def test_what_is_missing_is_said_in_one_line(monkeypatch, tmp_path):
    for name in ("FCTFG_WEIGHTS", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.setenv(name, str(tmp_path))
    for reason, network in ((identity.r50_unavailable(), "arcface_r50"), (identity.mbf_unavailable(), "arcface_mbf")):
        assert "\n" not in reason
        assert f"fetch {network}" in reason or "pip install" in reason
    with pytest.raises(ValueError, match="unknown identity metric 'csim'; known: csim_arcface_r50"):
        identity.parse("csim")
