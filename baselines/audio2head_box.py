"""Head poses as Audio2Head's second network sees them: the edges of a box, drawn in white on black.

Source: wangsuzhen/Audio2Head (commit 09e9b43) ``inference.py``, which draws with OpenCV on an image of float64. OpenCV
does not smooth lines there; what it does instead, in whole numbers of 1/65536 pixel, is done here for all frames at
once, pixel for pixel the same (``baselines/PARITY.md``):

* a line of 2 pixels is a quadrilateral, one pixel to either side, with a cross of five pixels at its end;
* the quadrilateral is its four edges, each stepped along its longer side, and the rows between them.
"""

from __future__ import annotations

import numpy as np

SIDE = 256
#: pixels: focal length, and the middle of the picture
FOCAL = 233.333
CENTRE = 128.0

_BITS = 16
_ONE = 1 << _BITS
_HALF = _ONE >> 1
_FAR = 1 << 24  # pixels; what lies farther out is as good as there


def _corners() -> np.ndarray:
    """A square of 150 in the head's plane and one of 200, 100 behind it, each closed, (10, 3)."""
    ring = np.array([(-1, -1), (-1, 1), (1, 1), (1, -1), (-1, -1)], np.float64)
    squares = [np.column_stack((half * ring, np.full(5, depth))) for half, depth in ((75, 0.0), (100, 100.0))]
    return np.concatenate(squares)


CORNERS = _corners()
#: which corners are joined: both squares round and round, from one to the other, back, and three more edges
JOINED = np.array([(9, 0), *((i, i + 1) for i in range(9)), (1, 6), (2, 7), (3, 8)])


def boxes(rotations: np.ndarray, translations: np.ndarray) -> np.ndarray:
    """Rotation vectors (n, 3) in radians and translations (n, 3) -> pictures (n, 256, 256) float32, 0 or 255."""
    points = projected(rotations, translations)
    pictures = np.zeros((len(points), SIDE, SIDE), bool)
    begin, end = points[:, JOINED[:, 0]], points[:, JOINED[:, 1]]
    _crosses(pictures, end)
    # All but the last three lines are one polyline, which has crosses at ends only; each of those is begun somewhere.
    _crosses(pictures, begin[:, -3:])
    _thick_lines(pictures, begin, end)
    return np.where(pictures, np.float32(255), np.float32(0))


def projected(rotations: np.ndarray, translations: np.ndarray) -> np.ndarray:
    """Where the corners fall in the picture, (n, 10, 2) int64, x before y; fractions are dropped."""
    turned = CORNERS @ np.swapaxes(_matrices(np.asarray(rotations, np.float64)), 1, 2)
    seen = turned + np.asarray(translations, np.float64)[:, None]
    depth = np.where(seen[..., 2:] == 0, 1.0, seen[..., 2:])
    places = seen[..., :2] * (1 / depth) * FOCAL + CENTRE
    return np.trunc(places.clip(-_FAR, _FAR)).astype(np.int64)


def _matrices(vectors: np.ndarray) -> np.ndarray:
    """Rodrigues' formula, (n, 3) -> (n, 3, 3)."""
    angle = np.linalg.norm(vectors, axis=1)[:, None, None]
    x, y, z = (vectors / np.where(angle == 0, 1, angle)[:, 0]).T
    zero = np.zeros_like(x)
    cross = np.stack([zero, -z, y, z, zero, -x, -y, x, zero], 1).reshape(-1, 3, 3)
    axis = np.stack([x, y, z], 1)
    outer = axis[:, :, None] * axis[:, None]
    return np.cos(angle) * np.eye(3) + (1 - np.cos(angle)) * outer + np.sin(angle) * cross


def _crosses(pictures: np.ndarray, places: np.ndarray) -> None:
    for dx, dy in ((0, 0), (1, 0), (-1, 0), (0, 1), (0, -1)):
        _dots(pictures, np.arange(len(places))[:, None], places[..., 0] + dx, places[..., 1] + dy)


def _dots(pictures: np.ndarray, number: np.ndarray, x: np.ndarray, y: np.ndarray, which: np.ndarray | None = None):
    """White where ``x``, ``y`` are within the picture (and ``which`` holds)."""
    inside = (x >= 0) & (x < SIDE) & (y >= 0) & (y < SIDE)
    inside &= True if which is None else which
    pictures[np.broadcast_to(number, inside.shape)[inside], y[inside], x[inside]] = True


def _thick_lines(pictures: np.ndarray, begin: np.ndarray, end: np.ndarray) -> None:
    """Lines from ``begin`` to ``end``, both (n, lines, 2) whole pixels."""
    number = np.broadcast_to(np.arange(len(begin))[:, None], begin.shape[:2])
    apart = (begin != end).any(-1)
    number, begin, end = number[apart], begin[apart], end[apart]
    way = (end - begin).astype(np.float64)
    aside = np.rint(way[:, ::-1] * (_ONE / np.hypot(*way.T))[:, None]).astype(np.int64) * (-1, 1)
    begin, end = begin << _BITS, end << _BITS
    corners = np.stack((begin - aside, begin + aside, end + aside, end - aside), 1)
    _fill(pictures, number, corners)
    _edges(pictures, np.repeat(number, 4), np.roll(corners, 1, 1).reshape(-1, 2), corners.reshape(-1, 2))


def _fill(pictures: np.ndarray, number: np.ndarray, corners: np.ndarray) -> None:
    """What lies between the edges of convex quadrilaterals (m, 4, 2), row by row; the lowest row has none."""
    swap = corners[:, :, 1] > np.roll(corners[:, :, 1], -1, 1)
    upper = np.where(swap[..., None], np.roll(corners, -1, 1), corners)
    lower = np.where(swap[..., None], corners, np.roll(corners, -1, 1))
    top, bottom = (upper[..., 1] + _HALF) >> _BITS, (lower[..., 1] + _HALF) >> _BITS
    rows = np.maximum(bottom - top, 1)
    slope = _divided(2 * (lower[..., 0] - upper[..., 0]) + rows, 2 * rows)[..., None]
    y = np.arange(SIDE)
    crossed = (y >= top[..., None]) & (y < bottom[..., None])
    x = upper[..., :1] + (y - top[..., None]) * slope
    far = np.iinfo(np.int64).max >> 1
    left = (np.where(crossed, x, far).min(1) + _HALF) >> _BITS
    right = (np.where(crossed, x, -far).max(1) + _HALF) >> _BITS
    some = crossed.any(1) & (right >= 0) & (left < SIDE)
    begun = np.zeros((len(pictures), SIDE, SIDE + 1), np.int32)
    which, row = np.nonzero(some)
    np.add.at(begun, (number[which], row, left[some].clip(0)), 1)
    np.add.at(begun, (number[which], row, right[some].clip(max=SIDE - 1) + 1), -1)
    pictures |= begun.cumsum(2)[..., :SIDE] > 0


def _edges(pictures: np.ndarray, number: np.ndarray, begin: np.ndarray, end: np.ndarray) -> None:
    """Thin lines (m, 2) in 1/65536 pixel: a pixel for each step along the longer side, and the one at the end."""
    begin, end, seen = _clipped(begin.copy(), end.copy())
    number, begin, end = number[seen], begin[seen], end[seen]
    way = end - begin
    flat = np.abs(way[:, 0]) > np.abs(way[:, 1])
    # Steps go right, or down: x is handled as y where the line is the steeper.
    along = np.where(flat[:, None], begin, begin[:, ::-1])
    until = np.where(flat[:, None], end, end[:, ::-1])
    back = until[:, 0] < along[:, 0]
    along, until = np.where(back[:, None], until, along), np.where(back[:, None], along, until)
    length, rise = (until - along).T
    slope = _divided(rise * _ONE, length | 1)
    step = np.arange(SIDE + 1)
    first = ((along[:, 0] + _HALF) >> _BITS)[:, None] + step
    second = (along[:, 1, None] + _HALF + step * slope[:, None]) >> _BITS
    which = step <= (length >> _BITS)[:, None]
    x, y = np.where(flat[:, None], first, second), np.where(flat[:, None], second, first)
    _dots(pictures, number[:, None], x, y, which)
    last = (np.where(flat[:, None], until, until[:, ::-1]) + _HALF) >> _BITS
    _dots(pictures, number, last[:, 0], last[:, 1])


def _clipped(begin: np.ndarray, end: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Lines cut to the picture, first above and below, then at the sides; the last says which are seen at all."""
    limit = (SIDE << _BITS) - 1
    seen = np.ones(len(begin), bool)
    for axis in (1, 0):
        # What lies beyond one side altogether is not cut, and not seen.
        for side in (0, 1):
            out = (begin[:, side] < 0) & (end[:, side] < 0) | (begin[:, side] > limit) & (end[:, side] > limit)
            seen &= ~out
        for one, other in ((begin, end), (end, begin)):
            beyond = seen & ((one[:, axis] < 0) | (one[:, axis] > limit))
            border = np.where(one[beyond, axis] < 0, 0, limit)
            way = (other - one)[beyond]
            part = (border - one[beyond, axis]).astype(np.float64) * way[:, 1 - axis] / way[:, axis]
            one[beyond, 1 - axis] += part.astype(np.int64)
            one[beyond, axis] = border
    inside = [(ends >= 0) & (ends <= limit) for ends in (begin, end)]
    return begin, end, seen & inside[0].all(1) & inside[1].all(1)


def _divided(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Whole division towards zero, ``b`` > 0."""
    return np.sign(a) * (np.abs(a) // b)
