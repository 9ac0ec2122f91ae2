"""What a landmark backend returns for a frame, as one row of numbers: its points, and how large the faces are.

A row of P points has 2 P + 2 float32: x and y of each point in turn, the width of the face they belong to, and the
width of the next largest face, 0 without one. Pixels of a frame whose longer side is ``SIZE``, unless the backend says
otherwise. NaN throughout where no face is found.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

SIZE = 256
WIDTH, SECOND = -2, -1  # where a row holds the widths


def points_of(rows: np.ndarray) -> np.ndarray:
    """(T, 2 P + 2) rows -> (T, P, 2) points."""
    return rows[:, :WIDTH].reshape(len(rows), -1, 2)


def no_face(n_points: int) -> np.ndarray:
    """The row of a frame without a face."""
    return np.full(2 * n_points + 2, np.nan, np.float32)


def largest_first(boxes: Sequence[Sequence[float]]) -> tuple[int, float, float]:
    """The number of the widest of some boxes (left, top, right, bottom, ...), its width, and the next one's or 0."""
    widths = [float(box[2] - box[0]) for box in boxes]
    order = sorted(range(len(boxes)), key=lambda i: -widths[i])
    return order[0], widths[order[0]], widths[order[1]] if len(order) > 1 else 0.0


def row(
    boxes: Sequence[Sequence[float]], shape: tuple[int, ...], points: Callable[[Any], Any], n_points: int = 68
) -> np.ndarray:
    """Boxes in pixels of a frame of ``shape``, and a function from one box to its (P, 2) points -> the frame's row."""
    if not len(boxes):
        return no_face(n_points)
    largest, width, second = largest_first(boxes)
    found = np.concatenate([np.asarray(points(boxes[largest]), np.float64).ravel(), [width, second]])
    return (found * (SIZE / max(shape[:2]))).astype(np.float32)


def grey(frame: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 RGB -> (H, W) uint8: .299 R + .587 G + .114 B, rounded half up."""
    thousandths = frame.astype(np.float32) @ np.array([299, 587, 114], np.float32)  # whole numbers, exact
    return ((thousandths + np.float32(500.25)) * np.float32(1e-3)).astype(np.uint8)


def installed(*packages: str) -> str:
    """The version of the first of these distributions that is installed (wheels of one module differ in name)."""
    for package in packages:
        try:
            return metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return "of unknown version"


def described(path: Path) -> str:
    """A weights file as a backend's version names it."""
    return f"{path.name} ({path.stat().st_size} bytes)"
