"""What Wav2Lip's inference does before and after its network, step by step, on arrays.

Source: Rudrabha/Wav2Lip (commit 5c90fa9) ``inference.py``. Pictures are uint8; boxes are left, top, right, bottom in
whole pixels, right and bottom exclusive.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from baselines.nets.wav2lip import SIZE

#: how far each box is widened: top, bottom, left, right (``--pads``)
PADS = (0, 10, 0, 0)
#: frames over which boxes are averaged
SMOOTHED = 5
#: spectrogram columns of one window, 0.2 s
WINDOW = 16


def window_count(columns: int) -> int:
    """How many frames the sound is enough for: one for each window that fits into ``columns`` columns at 3.2 a frame,
    and one more that ends with the sound. 0 where not one window fits (the official program breaks there).
    """
    return 0 if columns < WINDOW else -(-5 * (columns - WINDOW + 1) // 16) + 1


def padded(face: np.ndarray, height: int, width: int, pads: Sequence[int] = PADS) -> tuple[int, int, int, int]:
    """A detector's box (left, top, right, bottom, ...) without fractions, widened by ``pads``, within the picture."""
    left, top, right, bottom = np.clip(face[:4], 0, None).astype(int).tolist()
    above, below, before, after = pads
    return max(0, left - before), max(0, top - above), min(width, right + after), min(height, bottom + below)


def smoothed(boxes: np.ndarray, frames: int = SMOOTHED) -> np.ndarray:
    """Boxes (n, 4) int averaged with the ``frames`` - 1 after them; means lose their fractions.

    The last ones share the last window, which by then holds averages; of fewer than ``frames`` boxes the window
    ``boxes[n - frames :]`` counts from the end. Both as the official program has it.
    """
    boxes = np.array(boxes)
    for i in range(len(boxes)):
        begin = len(boxes) - frames if i + frames > len(boxes) else i
        boxes[i] = boxes[begin:][:frames].mean(axis=0)
    return boxes


def network_input(faces: np.ndarray) -> np.ndarray:
    """Faces (B, 96, 96, 3) uint8 BGR -> (B, 6, 96, 96) float32 in [0, 1]: the face with its lower half black, then
    the face as it is.
    """
    masked = faces.copy()
    masked[:, SIZE // 2 :] = 0
    both = np.concatenate((masked, faces), axis=3) / 255.0
    return both.transpose(0, 3, 1, 2).astype(np.float32)  # channels last in memory: see baselines.wav2lip._speak


def network_output(made: np.ndarray) -> np.ndarray:
    """(B, 3, 96, 96) float32 in [0, 1] -> (B, 96, 96, 3) uint8; fractions of a grey level are dropped, not rounded."""
    return (made.transpose(0, 2, 3, 1) * np.float32(255)).astype(np.uint8)


def pasted(picture: np.ndarray, face: np.ndarray, box: Sequence[int]) -> np.ndarray:
    """A copy of ``picture`` (H, W, 3) with ``face`` (96, 96, 3) stretched over ``box``; nothing is blended."""
    left, top, right, bottom = box
    out = picture.copy()
    out[top:bottom, left:right] = resize(face, (right - left, bottom - top))
    return out


def resize(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(h, w, C) uint8 resized to ``size`` (width, height) as OpenCV's ``resize`` does by default, bit for bit.

    Bilinear between pixel centres, without anti-aliasing, in fixed point: weights of 11 bits, four bits dropped after
    the rows, 16 and then (rounded) two after the columns. Halving both sides is a rounded mean of four pixels. Beyond
    the border the last pixel is repeated, across with weight one, down with two weights that add up to one: in fixed
    point that is not quite the same.
    """
    (height, width), (new_width, new_height) = picture.shape[:2], size
    if (width, height) == (new_width, new_height):
        return picture.copy()
    wide = picture.astype(np.int32)
    if (width, height) == (2 * new_width, 2 * new_height):
        return ((wide[::2, ::2] + wide[::2, 1::2] + wide[1::2, ::2] + wide[1::2, 1::2] + 2) >> 2).astype(np.uint8)
    near, far, near_weight, far_weight = _taps(width, new_width, border_is_one=True)
    across = (wide[:, near] * near_weight[:, None] + wide[:, far] * far_weight[:, None]) >> 4
    near, far, near_weight, far_weight = _taps(height, new_height, border_is_one=False)
    upper = (across[near] * near_weight[:, None, None]) >> 16
    lower = (across[far] * far_weight[:, None, None]) >> 16
    return ((upper + lower + 2) >> 2).clip(0, 255).astype(np.uint8)


def _taps(old: int, new: int, border_is_one: bool) -> tuple[np.ndarray, ...]:
    """Per new pixel the two old ones that it lies between, and their weights times 2048."""
    place = ((np.arange(new) + 0.5) * (old / new) - 0.5).astype(np.float32)
    near = np.floor(place).astype(np.int32)
    part = place - near.astype(np.float32)
    if border_is_one:
        part[(near < 0) | (near >= old - 1)] = 0
    weights = [np.rint(w * np.float32(2048)).astype(np.int32) for w in (np.float32(1) - part, part)]
    return near.clip(0, old - 1), (near + 1).clip(0, old - 1), *weights
