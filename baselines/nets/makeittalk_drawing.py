"""Landmarks as the lines that MakeItTalk's picture network was trained on.

Source: yzhou359/MakeItTalk (commit fad2fe4) ``src/dataset/image_translation/data_preparation.py``: OpenCV's lines of
two pixels' width, on white. Their ends are whole pixels.
"""

from __future__ import annotations

from importlib import util

import numpy as np

#: (first point, last point, closed, colour) of each line through the 68 points; the later ones lie on top
LINES = (
    (0, 16, False, (255, 144, 25)),  # jaw
    (17, 21, False, (50, 205, 50)),  # brows
    (22, 26, False, (50, 205, 50)),
    (27, 35, False, (208, 224, 63)),  # nose
    (36, 41, True, (71, 99, 255)),  # eyes
    (42, 47, True, (71, 99, 255)),
    (48, 59, True, (238, 130, 238)),  # lips
    (60, 67, True, (238, 130, 238)),
)
WIDTH = 2
#: farther out than any line that shows; OpenCV's fixed point ends at 32768
FARTHEST = 10_000


def missing() -> str | None:
    """Why nothing can be drawn here, in one line; None when it can."""
    return None if util.find_spec("cv2") else "MakeItTalk draws with OpenCV: pip install 'fctfg[makeittalk]'"


def drawn(points: np.ndarray, side: int) -> np.ndarray:
    """Points (n, 68, 2) int -> pictures (n, side, side, 3) uint8, to be taken for BGR."""
    import cv2

    pictures = np.full((len(points), side, side, 3), 255, np.uint8)
    for picture, face in zip(pictures, points.clip(-FARTHEST, FARTHEST).tolist(), strict=True):
        for first, last, closed, colour in LINES:
            for a, b in [(i, i + 1) for i in range(first, last)] + [(first, last)] * closed:
                cv2.line(picture, face[a], face[b], colour, WIDTH)
    return pictures
