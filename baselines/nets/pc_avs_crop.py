"""PC-AVS's crop, in memory: frames to the 224x224 pictures that the networks see, and what they make back to frames.

Source: Hangz-nju-cuhk/Talking-Face_PC-AVS ``scripts/align_68.py`` (the alignment) and ``data/voxtest_dataset.py`` (the
inner crop). A crop is a (2, 3) matrix from frame pixels to picture pixels, both counted from the centre of the first.

The original writes JPEGs between its steps and takes frames in the order that its folder listing happens to have, which
makes the smoothing over time depend on the file system; here frames stay in memory and in order.
"""

from __future__ import annotations

import numpy as np

SIZE = 224
#: where the left eye, the right eye and the mouth go, x and y
TARGETS = np.array([[87.0, 59.0], [137.0, 59.0], [112.0, 120.0]])
PARTS = (slice(36, 42), slice(42, 48), slice(60, 68))
SMOOTHING = 0.2  # share of the previous frame's shift
#: the networks see the rows 0..191 and the columns 16..207 of an aligned picture, enlarged to 224x224
INNER_LEFT, INNER_TOP, INNER_SIDE = 16, 0, 192


def anchors(points: np.ndarray) -> np.ndarray:
    """68 landmarks (..., 68, 2) -> (..., 3, 2): the centres of both eyes and of the inner lips."""
    return np.stack([points[..., part, :].mean(-2) for part in PARTS], -2)


def similarity(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """(n, 2) points -> the (2, 3) rotation, scale and shift that takes them nearest to ``target`` in least squares
    (Umeyama, PAMI 1991; in the plane it is one complex factor).
    """
    a, b = (points @ [1, 1j] for points in (source.astype(float), target.astype(float)))
    from_mean = a - a.mean()
    factor = (from_mean.conj() @ (b - b.mean())) / (from_mean.conj() @ from_mean).real
    shift = b.mean() - factor * a.mean()
    return np.array([[factor.real, -factor.imag, shift.real], [factor.imag, factor.real, shift.imag]])


def align_68(points: np.ndarray) -> np.ndarray:
    """Landmarks of a clip, (T, 68, 2), in order -> its crops (T, 2, 3).

    One rotation and scale for all, from the mean of the anchors; each frame's own shift puts the mouth on its target,
    smoothed as 0.2 of the shift before and 0.8 of its own.
    """
    three = anchors(np.asarray(points, float))
    common = similarity(three.mean(0), TARGETS)
    crops, shift = np.repeat(common[None], len(three), 0), None
    for crop, (_, _, mouth) in zip(crops, three, strict=True):
        own = TARGETS[2] - apply(common, mouth)
        shift = own if shift is None else SMOOTHING * shift + (1 - SMOOTHING) * own
        crop[:, 2] += shift
    return crops


def whole(side: int, n: int) -> np.ndarray:
    """Crops (n, 2, 3) of square frames that are taken as they are, resized to 224x224 (VoxCeleb2's own crop)."""
    scale = SIZE / side
    shift = 0.5 * scale - 0.5
    return np.repeat(np.array([[[scale, 0, shift], [0, scale, shift]]]), n, 0)


def inner(crops: np.ndarray) -> np.ndarray:
    """The crops (..., 2, 3) that also take the inner crop and its enlargement: from frame pixels to network pixels."""
    scale = SIZE / INNER_SIDE
    crops = crops * scale
    crops[..., 2] += 0.5 * scale - 0.5 - scale * np.array([INNER_LEFT, INNER_TOP])
    return crops


def apply(crop: np.ndarray, points: np.ndarray) -> np.ndarray:
    """(2, 3) and (..., 2) points -> (..., 2) points."""
    return points @ crop[:, :2].T + crop[:, 2]


def aligned(frame: np.ndarray, crop: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 -> the aligned (224, 224, 3) uint8: bilinear, black outside the frame."""
    matrix = np.linalg.inv(crop[:, :2])
    back = np.column_stack([matrix, -matrix @ crop[:, 2]])
    edged = np.pad(frame, ((1, 1), (1, 1), (0, 0)))
    return sampled(edged, apply(back, _grid(SIZE)) + 1)


def tightened(picture: np.ndarray) -> np.ndarray:
    """An aligned (224, 224, 3) uint8 -> its inner crop, enlarged to (224, 224, 3) uint8: what the networks see."""
    part = picture[INNER_TOP : INNER_TOP + INNER_SIDE, INNER_LEFT : INNER_LEFT + INNER_SIDE]
    return sampled(part, (_grid(SIZE) + 0.5) * (INNER_SIDE / SIZE) - 0.5)


def common_square(crops: np.ndarray, side: int) -> tuple[int, int, int]:
    """The largest square of frame pixels that all pictures show: left, top, length; length 0 when there is none.

    ``crops``: (n, 2, 3) from square frames of ``side`` pixels to network pixels (`inner`). Of equally large squares,
    the one in the middle.
    """
    pixels = _grid(side)
    shown = np.ones((side, side), bool)
    for crop in crops:
        place = apply(crop, pixels)
        shown &= ((place >= -0.5) & (place <= SIZE - 0.5)).all(-1)
    count = np.pad(shown.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    for length in range(side, 0, -1):
        inside = (
            count[length:, length:] - count[:-length, length:] - count[length:, :-length] + count[:-length, :-length]
        )
        tops, lefts = np.nonzero(inside == length * length)
        if len(tops):
            middle = len(tops) // 2
            return int(lefts[middle]), int(tops[middle]), length
    return 0, 0, 0


def put_back(picture: np.ndarray, crop: np.ndarray, square: tuple[int, int, int], side: int) -> np.ndarray:
    """A network's (224, 224, 3) uint8 picture where it belongs in the frame: the frame's ``square``, enlarged or
    reduced to (side, side, 3) uint8.
    """
    left, top, length = square
    pixels = (_grid(side) + 0.5) * (length / side) - 0.5 + (left, top)
    return sampled(picture, apply(crop, pixels))


def sampled(picture: np.ndarray, places: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 at (h, w, 2) places x, y -> (h, w, 3) uint8: bilinear, the edge goes on outside."""
    last = np.array(picture.shape[1::-1]) - 1
    places = np.clip(places, 0, last)
    low = np.minimum(places.astype(int), np.maximum(last - 1, 0))
    (x, y), share = np.moveaxis(low, -1, 0), (places - low)[..., None].astype(np.float32)
    x1, y1 = np.minimum(x + 1, last[0]), np.minimum(y + 1, last[1])
    right, down = share[..., 0, :], share[..., 1, :]
    upper = picture[y, x] * (1 - right) + picture[y, x1] * right
    lower = picture[y1, x] * (1 - right) + picture[y1, x1] * right
    return np.rint(upper * (1 - down) + lower * down).astype(np.uint8)


def _grid(side: int) -> np.ndarray:
    """(side, side, 2): x and y of every pixel."""
    return np.stack(np.meshgrid(np.arange(side), np.arange(side)), -1).astype(float)
