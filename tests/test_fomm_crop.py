"""FOMM's crop rule on planted boxes."""

from __future__ import annotations

import numpy as np
import pytest

from protocols.fomm_crop import NoCrop, enlarge, iou, tube


def boxes(*rows):
    return np.array(rows, float).reshape(-1, 4)


FACE = (700, 300, 1100, 800)


def test_enlarge_makes_a_square_ten_percent_larger_than_the_longer_side():
    left, top, right, bottom = enlarge(FACE)
    # height 500 grows by 10 % above and below; the width grows to match
    assert bottom - top == 600
    assert abs((right - left) - 600) <= 1
    assert (left + right) / 2 == pytest.approx(900, abs=1)
    assert (top + bottom) / 2 == pytest.approx(550, abs=1)


def test_iou_counts_whole_pixels():
    assert iou(np.array([0, 0, 9, 9]), np.array([0, 0, 9, 9])) == 1
    assert iou(np.array([0, 0, 9, 9]), np.array([5, 0, 14, 9])) == pytest.approx(50 / 150)
    assert iou(np.array([0, 0, 9, 9]), np.array([20, 20, 29, 29])) == 0


def test_union_over_a_moving_face():
    moving = [boxes((700 + t, 300, 1100 + t, 800)) for t in range(100)]
    found = tube(moving, 1920, 1080, 25)
    assert (found.start, found.stop) == (0, 100)
    assert found.crop == enlarge((700, 300, 1199, 800))


def test_a_jump_closes_the_chunk_and_the_longest_is_kept():
    track = [boxes((300, 300, 700, 700))] * 30 + [boxes((1200, 300, 1600, 700))] * 50
    found = tube(track, 1920, 1080, 25)
    assert (found.start, found.stop) == (30, 80)


def test_short_gaps_are_bridged_long_ones_are_not():
    def gap(n):
        return tube([boxes(FACE)] * 30 + [boxes()] * n + [boxes(FACE)] * 40, 1920, 1080, 25)

    assert (gap(5).start, gap(5).stop) == (0, 75)
    assert (gap(6).start, gap(6).stop) == (36, 76)


def test_frames_after_the_last_sight_of_the_face_do_not_belong():
    found = tube([boxes(FACE)] * 30 + [boxes()] * 4, 1920, 1080, 25)
    assert (found.start, found.stop) == (0, 30)


def test_follows_one_face_past_a_smaller_second():
    both = [boxes(FACE, (1500, 300, 1600, 400))] * 40
    assert tube(both, 1920, 1080, 25).crop == enlarge(FACE)


@pytest.mark.parametrize(
    ("detections", "message"),
    [
        ([boxes()] * 50, "no face found"),
        ([boxes(FACE, (1200, 300, 1600, 800))] * 50, "two faces"),
        ([boxes(FACE)] * 10, "followed for 10 frames"),
        ([boxes((700, 300, 800, 400))] * 50, "100 pixels"),
        ([boxes((20, 300, 420, 800))] * 50, "leaves the 1920x1080 picture"),
    ],
)
def test_unusable_clips_say_why(detections, message):
    with pytest.raises(NoCrop, match=message):
        tube(detections, 1920, 1080, 25)
