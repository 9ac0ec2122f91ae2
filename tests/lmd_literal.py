"""EAT's landmark distance, frame by frame with scikit-image and dlib, and insightface's points by its own class.

Nothing here is the project's own code: what the metrics are held against in tests and in metrics/PRECISION.md.
"""

from __future__ import annotations

import math
import warnings
from functools import cache

import numpy as np

#: points 27 to 44 of EAT's template face, (x, y)
NOSE_AND_EYES = [(65, 37), (65, 47), (65, 57), (66, 68), (54, 75), (60, 77), (66, 78), (71, 76), (77, 75), (28, 39),
                 (35, 35), (43, 35), (50, 40), (43, 42), (34, 42), (79, 40), (86, 34), (94, 34)]  # fmt: skip


def swapped_grey(frame: np.ndarray) -> np.ndarray:
    """OpenCV's weights for blue, green and red, on a picture that is red, green and blue."""
    red, green, blue = (frame[..., c].astype(int) for c in range(3))
    return ((114 * red + 587 * green + 299 * blue + 500) // 1000).astype(np.uint8)


def align(frame: np.ndarray, points: np.ndarray, hair: float = 1e-6) -> np.ndarray:
    """(128, 128, 3) uint8, the face of ``frame`` with the (68, 2) points brought onto the template.

    Levels are cut to whole ones; one that is within a ``hair`` of the next is that one. The scripts' hair is 0.
    """
    from skimage import transform

    form, target = transform.SimilarityTransform, np.asarray(points, np.float64)[27:45]
    if hasattr(form, "from_estimate"):
        fitted = form.from_estimate(np.array(NOSE_AND_EYES, np.float64), target)
    else:
        fitted = form()
        assert fitted.estimate(np.array(NOSE_AND_EYES, np.float64), target)
    return np.array(transform.warp(frame, fitted, output_shape=(163, 163)) * 255 + hair, np.uint8)[1:129, 1:129]


@cache
def dlib_models(predictor_file: str) -> tuple:
    import dlib

    return dlib.get_frontal_face_detector(), dlib.shape_predictor(predictor_file)


def eat_points(frame: np.ndarray, predictor_file: str, hair: float = 1e-6) -> list[tuple[int, int]] | None:
    """The 68 points in the aligned picture, or None."""
    detector, predictor = dlib_models(predictor_file)
    for doubled in (1, 0):
        picture = swapped_grey(frame)
        boxes = detector(picture, doubled)
        if not boxes:
            return None
        points = [(part.x, part.y) for part in predictor(picture, boxes[0]).parts()]
        frame = align(frame, np.array(points), hair) if doubled else frame
    return points


def distance(a: list[tuple[float, float]], b: list[tuple[float, float]]) -> float:
    """Mean distance of two sets of points, each less its centroid."""
    n = len(a)
    ax, ay, bx, by = (sum(p[c] for p in points) / n for points in (a, b) for c in (0, 1))
    return sum(math.hypot(p[0] - ax - (q[0] - bx), p[1] - ay - (q[1] - by)) for p, q in zip(a, b, strict=True)) / n


def eat(generated: np.ndarray, reference: np.ndarray, predictor_file: str, hair: float = 1e-6) -> tuple[float, float]:
    """M-LMD and F-LMD of two videos (T, H, W, 3)."""
    mouth, face = [], []
    for made, true in zip(generated, reference, strict=True):
        a, b = (eat_points(frame, predictor_file) for frame in (made, true))
        if a is None or b is None:
            continue
        mouth.append(distance(a[48:], b[48:]))
        face.append(distance(a, b))
    return sum(mouth) / len(mouth), sum(face) / len(face)


def insightface_points(frame: np.ndarray, box: np.ndarray, model_file: str) -> np.ndarray:
    """(106, 2) by the class of the package insightface, in a face's box (left, top, right, bottom)."""
    from insightface.model_zoo.landmark import Landmark

    class Face(dict):
        bbox = np.asarray(box, float)[:4]

    with warnings.catch_warnings(action="ignore"):
        return Landmark(model_file).get(np.ascontiguousarray(frame[..., ::-1]), Face())


def mouth_106(generated: np.ndarray, reference: np.ndarray, boxes: list, model_file: str) -> float:
    """LMD of points 52 to 71; ``boxes``: for each side, a list of one (k, 5) array of boxes a frame, best first."""
    found = []
    for made, true, ours, theirs in zip(generated, reference, *boxes, strict=True):
        if len(ours) and len(theirs):
            a, b = (insightface_points(f, widest(x), model_file)[52:72] for f, x in ((made, ours), (true, theirs)))
            found.append(distance(a.tolist(), b.tolist()))
    return sum(found) / len(found)


def widest(boxes: np.ndarray) -> np.ndarray:
    return max(boxes, key=lambda box: box[2] - box[0])
