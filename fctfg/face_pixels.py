"""The two OpenCV operations that the LSE pipeline's numbers rest on, bit for bit: bilinear resizing and RGB -> HSV.

Both are integer arithmetic with fixed roundings (OpenCV's imgproc, 8-bit images). OpenCV itself is used where it is
installed because it is some eight times faster; without it numpy computes the same bytes, so that no number depends on
what is installed.
"""

from __future__ import annotations

from functools import cache, lru_cache
from types import ModuleType

import numpy as np

_ONE = 2048  # a weight of 1, in the 11 fractional bits of OpenCV's resizing


@cache
def opencv() -> ModuleType | None:
    """The cv2 module, or None where it is not installed."""
    try:
        import cv2
    except ImportError:
        return None
    return cv2


def resize_bilinear(image: np.ndarray, width: int, height: int, factor: float | None = None) -> np.ndarray:
    """Image (h, w, 3) uint8 -> (height, width, 3) uint8, as ``cv2.resize(image, (width, height))`` computes it.

    There is no anti-aliasing: each output pixel mixes its four nearest input pixels. With ``factor`` the grid is spaced
    exactly 1 / factor apart, as ``cv2.resize(image, None, fx=factor, fy=factor)`` spaces it.
    """
    cv2 = opencv()
    if cv2 is None:
        return resize_bilinear_numpy(image, width, height, factor)
    if factor is None:
        return cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
    return cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_LINEAR)


def resize_bilinear_numpy(image: np.ndarray, width: int, height: int, factor: float | None = None) -> np.ndarray:
    """``resize_bilinear`` without OpenCV: the same bytes."""
    rows, columns = image.shape[:2]
    left, right, w_left, w_right = _taps(columns, width, 1.0 / factor if factor else columns / width, True)
    above, below, w_above, w_below = _taps(rows, height, 1.0 / factor if factor else rows / height, False)
    wide = image.astype(np.int32)
    across = (wide.take(left, axis=1) * w_left[:, None] + wide.take(right, axis=1) * w_right[:, None]) >> 4
    top = (across.take(above, axis=0) * w_above[:, None, None]) >> 16
    bottom = (across.take(below, axis=0) * w_below[:, None, None]) >> 16
    return ((top + bottom + 2) >> 2).astype(np.uint8)


@lru_cache(maxsize=64)
def _taps(source: int, target: int, spacing: float, pinned: bool) -> tuple[np.ndarray, ...]:
    """Two input indices and their integer weights for each output position along one axis.

    Columns outside the image are ``pinned`` to the border pixel with weight 1; rows are clipped and keep both weights,
    which after rounding is not quite the same.
    """
    at = ((np.arange(target) + 0.5) * spacing - 0.5).astype(np.float32)
    first = np.floor(at)
    part = at - first
    first = first.astype(np.int64)
    if pinned:
        part = np.where((first < 0) | (first >= source - 1), np.float32(0), part)
    weights = [np.rint(w * np.float32(_ONE)).astype(np.int32) for w in (np.float32(1) - part, part)]
    return np.clip(first, 0, source - 1), np.clip(first + 1, 0, source - 1), *weights


def rgb_to_hsv(image: np.ndarray) -> np.ndarray:
    """RGB (h, w, 3) uint8 -> hue 0..179 (two degrees a step), saturation 0..255, value 0..255, uint8."""
    cv2 = opencv()
    return rgb_to_hsv_numpy(image) if cv2 is None else cv2.cvtColor(image, cv2.COLOR_RGB2HSV)


def rgb_to_hsv_numpy(image: np.ndarray) -> np.ndarray:
    """``rgb_to_hsv`` without OpenCV: the same bytes."""
    red, green, blue = (np.ascontiguousarray(image[..., c]).astype(np.int32) for c in range(3))
    value = np.maximum(np.maximum(red, green), blue)
    spread = value - np.minimum(np.minimum(red, green), blue)
    by_value, by_spread = _reciprocals()
    saturation = (spread * by_value[value] + 2048) >> 12
    sector = np.where(
        value == red, green - blue, np.where(value == green, blue - red + 2 * spread, red - green + 4 * spread)
    )
    hue = (sector * by_spread[spread] + 2048) >> 12
    return np.stack((hue + 180 * (hue < 0), saturation, value), axis=-1).astype(np.uint8)


@cache
def _reciprocals() -> tuple[np.ndarray, np.ndarray]:
    """255 / i and 30 / i in 12 fractional bits, for i = 0..255, 0 standing for the reciprocal of 0."""
    i = np.arange(1, 256)
    return tuple(np.concatenate(([0], np.rint(x * 4096.0 / i))).astype(np.int32) for x in (255.0, 30.0))


def crop_filled(image: np.ndarray, top: int, left: int, bottom: int, right: int, fill: int) -> np.ndarray:
    """Rows top..bottom-1, columns left..right-1 of (h, w, 3); what lies outside the image has the value ``fill``."""
    height, width = image.shape[:2]
    if min(top, left) >= 0 and bottom <= height and right <= width:
        return image[top:bottom, left:right]
    out = np.full((bottom - top, right - left, 3), fill, dtype=image.dtype)
    t, b, l, r = max(top, 0), min(bottom, height), max(left, 0), min(right, width)  # noqa: E741
    if t < b and l < r:
        out[t - top : b - top, l - left : r - left] = image[t:b, l:r]
    return out
