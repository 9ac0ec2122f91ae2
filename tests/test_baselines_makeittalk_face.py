"""MakeItTalk's landmarks: from the picture, moved, smoothed, blinking, drawn: against slow literal forms."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import pairwise

import numpy as np
import plain_makeittalk as plain
import pytest

from baselines.nets import makeittalk_face as face
from baselines.nets.makeittalk_drawing import drawn


def noise_of(n: int, scale: float) -> np.ndarray:
    rng = np.random.default_rng(n)
    return (scale * np.cumsum(rng.standard_normal((n, 204)), 0) / math.sqrt(n)).astype(np.float32)


def test_rest_is_the_literal_one():
    xyz = plain.average_face()
    rest = face.at_rest(xyz[:, :2], xyz[:, 2])
    theirs, scale, shift = plain.at_rest(xyz[:, :2], xyz[:, 2])
    assert np.abs(rest.face - theirs).max() < 1e-6
    assert abs(rest.scale - scale) < 1e-7
    assert np.abs(rest.shift - shift).max() < 1e-4
    assert np.ptp(rest.face.reshape(68, 3)[:17, 0]) == pytest.approx(1.6)
    with pytest.raises(ValueError, match="no width"):
        face.at_rest(np.zeros((68, 2)), xyz[:, 2])


@pytest.mark.parametrize("n", [10, 11, 32, 60])
def test_motion_is_the_literal_one(n):
    xyz = plain.average_face()
    rest = face.at_rest(xyz[:, :2], xyz[:, 2])
    spoken, turned = noise_of(n, 0.06), noise_of(n + 1000, 0.2)[:n]
    ours = face.moved(rest, spoken.copy(), turned.copy())
    assert np.abs(ours - plain.moved(rest.face, spoken.astype(float), turned.astype(float))).max() < 1e-5


def test_mouths_that_are_inside_out_are_closed_as_literally():
    xyz = plain.average_face()
    faces = face.at_rest(xyz[:, :2], xyz[:, 2]).face + noise_of(80, 0.1)
    ours, theirs = face.unturned(faces.reshape(-1, 68, 3)).reshape(-1, 204), plain.unturned(faces.astype(float))
    assert np.abs(ours - theirs).max() < 1e-5
    touched = (np.abs(ours - faces) > 1e-6).any(1)
    assert 0.2 < touched.mean() < 0.8


@pytest.mark.parametrize("n", [15, 45, 46, 62, 200, 330])
def test_points_are_the_literal_ones(n):
    xyz = plain.average_face()
    rest = face.at_rest(xyz[:, :2], xyz[:, 2])
    faces = rest.face + noise_of(n, 0.05)
    ours, theirs = face.placed(faces, rest), plain.placed(faces, rest.scale, rest.shift)
    assert np.abs(ours - (theirs - 0.5)).max() <= 0.5 + 1e-6, "not the whole pixels below"
    assert (ours == theirs.astype(int)).mean() > 0.9999
    if n > 45:
        lids = face.LIDS
        assert np.abs(face.blinking(theirs)[30, lids[0]] - face.blinking(theirs)[30, lids[1]]).max() < 1e-9


def test_eyes_shut_where_there_is_time():
    assert face.blinks(45) == []
    assert face.blinks(46) == [30]
    many = face.blinks(2000)
    assert all(90 <= b - a < 150 for a, b in pairwise(many))
    assert many[-1] + 15 < 2000
    assert face.blinks(1000) == [t for t in many if t + 16 < 1000]


def test_frames_are_those_on_screen():
    for count in (1, 2, 3, 4, 5, 148, 149):
        ours = face.frames_at_25(count, 1000).tolist()
        times = [Fraction(k, 25) for k in range(1000)]
        assert ours == [n for n in (int(t * Fraction(125, 2)) for t in times) if n < count]
    assert face.frames_at_25(148, 7).tolist() == [0, 2, 5, 7, 10, 12, 15]


def test_lines_are_drawn_where_the_points_are():
    pytest.importorskip("cv2")
    where = plain.average_face()[None, :, :2].astype(int)
    lines = drawn(np.concatenate((where, where + 40_000, where - 600)), 256)
    assert (lines[1:] == 255).all(), "lines outside the picture"
    assert 0.02 < (lines[0] != 255).any(-1).mean() < 0.2
    jaw, brow, nose, eye, lip = (255, 144, 25), (50, 205, 50), (208, 224, 63), (71, 99, 255), (238, 130, 238)
    for point, colour in ((8, jaw), (19, brow), (30, nose), (40, eye), (62, lip)):
        x, y = where[0, point]
        assert tuple(lines[0, y, x]) == colour
