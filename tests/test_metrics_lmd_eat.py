"""EAT's aligned landmark distances: against scikit-image and dlib called one step after the other."""

from __future__ import annotations

import lmd_literal as literal
import numpy as np
import pytest
from scipy import ndimage

from fctfg.media import read_video
from metrics import landmark_eat
from metrics.evaluate import Evaluator, Footage
from metrics.landmark_backends import backend, dlib_missing
from metrics.landmark_eat import TEMPLATE, aligned, sampled
from metrics.landmark_rows import SECOND, WIDTH, points_of

NAMES = ("lmd_eat_mouth_dlib", "lmd_eat_face_dlib")
CLIPS = ("id90001/clip_a/00015", "id90007/clip_g/00473")
needs_dlib = pytest.mark.skipif(dlib_missing() is not None, reason=f"dlib: {dlib_missing()}")


def faces_of(real, clip=CLIPS[0], start=0, step=20, n=3):
    frames = read_video(
        real / "voxceleb2/test/mp4" / f"{clip}.mp4", size=(256, 256), start=start, stop=start + step * n
    )
    return frames[::step]


def score(generated, reference, names=NAMES, chunk=2, keys=(None, None), **settings):
    def footage(frames, key, label):
        return Footage(lambda: (frames[i : i + chunk] for i in range(0, len(frames), chunk)), key=key, label=label)

    sides = (footage(f, k, n) for f, k, n in zip((generated, reference), keys, ("made.mp4", "true.mp4"), strict=True))
    return Evaluator(names, **settings).score(*sides)


# -- the alignment ----------------------------------------------------------------------------------------------


def test_a_face_that_lies_on_the_template_stays_as_it_is():
    frame = np.random.default_rng(0).integers(0, 256, (140, 150, 3), dtype=np.uint8)
    points = np.zeros((68, 2))
    points[27:45] = TEMPLATE
    found = aligned(frame, points).astype(int)
    assert np.abs(found - frame[1:129, 1:129]).max() <= 1  # cut, not rounded


def test_the_alignment_is_scikit_images():
    pytest.importorskip("skimage")
    rng = np.random.default_rng(1)
    for size in ((256, 256, 3), (90, 120, 3)):  # the smaller one leaves black around it
        frame = rng.integers(0, 256, size, dtype=np.uint8)
        frame[:50] = 77
        for _ in range(10):
            turn = np.exp(1j * rng.uniform(-0.6, 0.6)) * rng.uniform(0.5, 2.5)
            moved = (TEMPLATE @ (1, 1j)) * turn + complex(*rng.uniform(-40, 60, 2))
            points = np.zeros((68, 2))
            points[27:45] = np.column_stack([moved.real, moved.imag]) + rng.normal(0, 2, TEMPLATE.shape)
            ours = aligned(frame, points.round())
            assert np.array_equal(ours, literal.align(frame, points.round()))
            chance = literal.align(frame, points.round(), hair=0)
            assert set(np.unique(ours.astype(int) - chance)) <= {0, 1}


def test_sampling_between_pixels_and_outside():
    frame = np.zeros((2, 3, 3), np.uint8)
    frame[..., 0] = [[0, 100, 200], [40, 140, 240]]
    x, y = np.array([[0.5, 1.25, -0.5, 5.0]]), np.array([[0.0, 0.5, 1.0, 0.0]])
    assert sampled(frame, x, y)[0, :, 0] == pytest.approx([50, 145, 20, 0], abs=1)


# -- on faces ---------------------------------------------------------------------------------------------------


@needs_dlib
@pytest.mark.real
def test_the_values_are_the_scripts(real):
    """Every step of the published scripts in their order, on two people."""
    pytest.importorskip("skimage")
    from fctfg import weights

    predictor = str(weights.require("dlib68"))
    for clip in CLIPS:
        true, made = faces_of(real, clip), faces_of(real, clip, start=9)
        found = score(made, true)
        mouth, face = literal.eat(made, true, predictor)
        assert 0.3 < mouth < 6
        assert found["lmd_eat_mouth_dlib"].value == pytest.approx(mouth, rel=1e-9)
        assert found["lmd_eat_face_dlib"].value == pytest.approx(face, rel=1e-9)
        assert found["lmd_eat_mouth_dlib"].details == {
            "frames": 3, "detected_generated": 1.0, "detected_reference": 1.0, "detected_both": 1.0,
        }  # fmt: skip
        # Levels that chance takes one off, as in the scripts themselves, move some of dlib's points by a pixel.
        scripts = np.array([literal.eat_points(frame, predictor, hair=0) for frame in true])
        assert np.abs(points_of(backend("eat").extract(true)) - scripts).mean() < 0.5


@needs_dlib
@pytest.mark.real
def test_a_head_that_is_turned_and_smaller_costs_little(real):
    true = faces_of(real)
    angle, scale, centre = np.radians(8), 1.12, np.array([128.0, 128.0])
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    moved = np.stack([
        np.dstack([ndimage.affine_transform(f[..., c], turn, centre - turn @ centre, order=1) for c in range(3)])
        for f in true
    ])  # fmt: skip
    found = score(moved, true, (*NAMES, "lmd_mouth_dlib", "lmd_face_dlib"))
    for part in ("mouth", "face"):  # in the aligned picture a face is some 1.3 times smaller
        assert found[f"lmd_eat_{part}_dlib"].value < 0.4 * found[f"lmd_{part}_dlib"].value
    assert score(true, true)["lmd_eat_mouth_dlib"].value == 0


@needs_dlib
@pytest.mark.real
def test_a_frames_points_depend_on_it_alone(real):
    frames, extract = faces_of(real), backend("eat").extract
    together = extract(frames)
    assert np.array_equal(together, np.concatenate([extract(frame[None]) for frame in frames]))
    points = points_of(together)
    assert (np.abs(points[:, 27:45] - TEMPLATE) < 12).all(), "the nose and the eyes lie on the template"
    assert (together[:, WIDTH] > 90).all()
    assert (together[:, SECOND] == 0).all()
    values = [score(frames[::-1], frames, chunk=chunk)["lmd_eat_mouth_dlib"] for chunk in (1, 3)]
    assert values[0] == values[1]


@needs_dlib
@pytest.mark.real
def test_the_reference_is_searched_once_for_all_methods(real, monkeypatch, tmp_path):
    searched, search = [], landmark_eat.AlignedDlib68.__call__
    monkeypatch.setattr(
        landmark_eat.AlignedDlib68,
        "__call__",
        lambda self, frames: searched.append(len(frames)) or search(self, frames),
    )
    true = faces_of(real)
    first = score(true[::-1], true, keys=("a", "true"), cache=tmp_path)
    assert sum(searched) == 5  # the middle frame is the reference's own
    searched.clear()
    assert score(true[::-1], true, keys=("a", "true"), cache=tmp_path) == first
    assert not searched
    score(true[[1, 2, 0]], true, keys=("b", "true"), cache=tmp_path)
    assert sum(searched) == 3


@needs_dlib
@pytest.mark.real
def test_frames_without_a_face_and_with_two(real):
    true = faces_of(real)
    made = true[::-1].copy()
    made[1] = np.random.default_rng(0).integers(0, 256, made[1].shape)
    found = score(made, true)["lmd_eat_mouth_dlib"]
    assert found.details["detected_generated"] == found.details["detected_both"] == pytest.approx(2 / 3)
    assert found.value == pytest.approx(score(made[[0, 2]], true[[0, 2]])["lmd_eat_mouth_dlib"].value)
    nobody = score(np.zeros_like(true), true)["lmd_eat_face_dlib"]
    assert nobody.failure == "made.mp4: no face found in any of its 3 frames (eat)"
    twins = np.concatenate([true, true], axis=2)
    assert "two faces of like size in 3 of 3 frames" in score(twins, twins)["lmd_eat_mouth_dlib"].failure
