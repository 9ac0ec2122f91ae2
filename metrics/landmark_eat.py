"""EAT's landmark distances: every frame is aligned to a template face first (Gan et al., ICCV 2023).

Source: github.com/yuangan/evaluation_eat (code/utils_crop.py, code/test_lmd.py), whose steps for a frame are

1. dlib's detector on the frame, doubled in size, and its 68-point predictor;
2. the similarity transform that brings points 27 to 44 of a template (the nose, one eye and half of the other) closest
   to the same points of the face, by least squares over the face's pixels;
3. the frame resampled through it, bilinear and black outside, to 128x128 (one pixel right of and below the template's
   own coordinates, cut out of 163x163);
4. dlib's detector, without doubling, and its predictor once more, on the aligned picture.

Distances are taken between points of 4, in pixels at 128, so the head's place, size and tilt hardly count. dlib is
shown a grey in which red and blue have changed places, as the code does. The template is stored in two files, for open
and for closed eyes, which are equal byte for byte.

Three things differ. There the aligned frames go through a lossy video. There frames without a face are cut out, which
shifts what follows, and the longer video is then thinned out to the other's length; here such frames are left out on
both sides. There the face with the best score is taken; here the largest, and two of like size are refused.
"""

from __future__ import annotations

import numpy as np

from metrics.identity import similarity_transform
from metrics.landmark_backends import Dlib
from metrics.landmark_rows import SIZE, grey, largest_first, no_face

CROP = 128  # pixels, both sides
FITTED = slice(27, 45)
#: (x, y) of points 27 to 44 of the template
TEMPLATE = np.array(
    [
        *((65, 37), (65, 47), (65, 57), (66, 68)),  # the bridge of the nose
        *((54, 75), (60, 77), (66, 78), (71, 76), (77, 75)),  # below its tip
        *((28, 39), (35, 35), (43, 35), (50, 40), (43, 42), (34, 42)),  # the eye on the viewer's left
        *((79, 40), (86, 34), (94, 34)),  # the other eye, its inner corner and upper lid
    ],
    float,
)


def aligned(frame: np.ndarray, points: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 and its face's (68, 2) points -> (128, 128, 3) uint8, the face on the template."""
    to_frame = similarity_transform(TEMPLATE, np.asarray(points, float)[FITTED])
    column, line = np.meshgrid(np.arange(1, CROP + 1), np.arange(1, CROP + 1))
    x, y = (m[0] * column + m[1] * line + m[2] for m in to_frame)
    return sampled(frame, x, y)


def sampled(frame: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 at the places (x, y), two (h, w) arrays in pixels -> (h, w, 3) uint8, bilinear.

    What lies outside is black, also as a neighbour. Levels are cut to whole ones, not rounded. One that is whole but
    for the last bits of the arithmetic, as wherever neighbours are equal, stays; in the scripts chance takes one off.
    """
    height, width = frame.shape[:2]
    left, top = np.floor(x).astype(int), np.floor(y).astype(int)
    beside, below = (x - left)[..., None], (y - top)[..., None]
    padded = np.pad(frame, ((1, 1), (1, 1), (0, 0)))  # a black border, onto which everything outside is clipped

    def at(line: np.ndarray, column: np.ndarray) -> np.ndarray:
        return padded[np.clip(line + 1, 0, height + 1), np.clip(column + 1, 0, width + 1)]

    upper = (1 - beside) * at(top, left) + beside * at(top, left + 1)
    lower = (1 - beside) * at(top + 1, left) + beside * at(top + 1, left + 1)
    return ((1 - below) * upper + below * lower + 1e-6).astype(np.uint8)


class AlignedDlib68:
    """The backend "eat". The points of a row are in pixels at 128; its widths, of the faces of step 1, at 256."""

    def __init__(self, device: str) -> None:
        self._dlib = Dlib()
        self.version = f"1; {self._dlib.version}, on faces aligned to 128x128"

    def __call__(self, frames: np.ndarray) -> np.ndarray:
        return np.stack([self._one(frame) for frame in frames])

    def _one(self, frame: np.ndarray) -> np.ndarray:
        picture = grey(frame[..., ::-1])
        faces = self._dlib.boxes(picture, upsample=1)
        if not faces:
            return no_face(68)
        largest, *widths = largest_first(faces)
        face = grey(aligned(frame, self._dlib.points(picture, faces[largest]))[..., ::-1])
        again = self._dlib.boxes(face)
        if not again:
            return no_face(68)
        points = np.ravel(self._dlib.points(face, again[0])).astype(np.float32)
        return np.append(points, np.float32(widths) * np.float32(SIZE / max(frame.shape[:2])))
