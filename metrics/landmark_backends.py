"""Where landmarks come from: frames in, 68 points of the largest face out.

dlib   HOG frontal face detector on the grey frame, without upsampling, and dlib's 68-point predictor (Kazemi, Sullivan,
       CVPR 2014). The usual detector of LMD.
fan    S3FD boxes and 2D-FAN-4 points (Bulat, Tzimiropoulos, ICCV 2017), as the package face-alignment runs them,
       without its second pass on the mirrored picture.

No file is ever downloaded from here: ``fctfg.weights`` says where the files are, or how to get them.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from functools import lru_cache
from importlib import metadata, util
from pathlib import Path
from typing import Any

import numpy as np

from fctfg import weights
from metrics.frame_values import Extractor

SIZE = 256  # landmarks are given in pixels of a frame whose longer side is this
WIDTH, SECOND = 136, 137  # where a row holds the widths; its points come first, x and y in turn
NO_FACE = np.full(138, np.nan, np.float32)
_FAN_FILES = (("fan", "2DFAN4-11f355bf06.pth.tar"), ("s3fd", "s3fd-619a316812.pth"))


def dlib_missing() -> str | None:
    """Why the dlib backend cannot run here, in one line; None when it can."""
    if util.find_spec("dlib") is None:
        return "needs the package dlib (pip install 'fctfg[dlib]')"
    return None if weights.find("dlib68") else weights.missing("dlib68")


def fan_missing() -> str | None:
    """Why the FAN backend cannot run here, in one line; None when it can."""
    if util.find_spec("face_alignment") is None:
        return "needs the package face-alignment (pip install 'fctfg[fan]')"
    version = metadata.version("face-alignment")
    if tuple(int(part) for part in version.split(".")[:2]) < (1, 5):
        return f"needs face-alignment 1.5 or later, not {version} (pip install -U face-alignment)"
    lacking = [wanted for wanted in _FAN_FILES if weights.find(*wanted) is None]
    return "; ".join(weights.missing(*wanted) for wanted in lacking) or None


@lru_cache(maxsize=4)
def backend(name: str, device: str = "cpu") -> Extractor:
    """The backend "dlib" or "fan", made once for each device; any thread may use it. MissingWeights without its files.

    A row of what it extracts: 68 points (x, y), the width of the face's box, and that of the next largest face, 0
    without one; float32, pixels at 256. NaN throughout where no face is found.
    """
    found = {"dlib": _Dlib, "fan": _Fan}[name](device)
    return Extractor(f"landmarks_{name}", found.version, found)


def points_of(rows: np.ndarray) -> np.ndarray:
    """(T, 138) rows -> (T, 68, 2) points."""
    return rows[:, :WIDTH].reshape(-1, 68, 2)


def grey(frame: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 RGB -> (H, W) uint8: .299 R + .587 G + .114 B, rounded half up."""
    thousandths = frame.astype(np.float32) @ np.array([299, 587, 114], np.float32)  # whole numbers, exact
    return ((thousandths + np.float32(500.25)) * np.float32(1e-3)).astype(np.uint8)


def _row(boxes: Sequence[Sequence[float]], shape: tuple[int, ...], points: Callable[[Any], Any]) -> np.ndarray:
    """Boxes (left, top, right, bottom, ...) in pixels, and a function from one box to its (68, 2) points -> a row."""
    if not len(boxes):
        return NO_FACE
    widths = [float(box[2] - box[0]) for box in boxes]
    order = sorted(range(len(boxes)), key=lambda i: -widths[i])
    second = widths[order[1]] if len(order) > 1 else 0.0
    row = np.concatenate([np.asarray(points(boxes[order[0]]), np.float64).ravel(), [widths[order[0]], second]])
    return (row * (SIZE / max(shape[:2]))).astype(np.float32)


class _Dlib:
    """dlib's objects carry scratch memory, so each thread makes its own."""

    def __init__(self, device: str):
        self._path = weights.require("dlib68")
        self.version = f"dlib {_version('dlib-bin', 'dlib')}, {_file(self._path)}, grey, no upsampling"
        self._local = threading.local()

    def __call__(self, frames: np.ndarray) -> np.ndarray:
        import dlib

        if not hasattr(self._local, "detect"):
            self._local.detect = dlib.get_frontal_face_detector()
            self._local.predict = dlib.shape_predictor(str(self._path))
        return np.stack([self._one(dlib, frame) for frame in frames])

    def _one(self, dlib: Any, frame: np.ndarray) -> np.ndarray:
        picture = grey(frame)

        def points(box: tuple[int, int, int, int]) -> list[tuple[int, int]]:
            left, top, right, bottom = box
            parts = self._local.predict(picture, dlib.rectangle(left, top, right - 1, bottom - 1)).parts()
            return [(part.x, part.y) for part in parts]

        boxes = [(b.left(), b.top(), b.right() + 1, b.bottom() + 1) for b in self._local.detect(picture, 0)]
        return _row(boxes, frame.shape, points)


class _Fan:
    def __init__(self, device: str):
        points, boxes = (weights.require(*wanted) for wanted in _FAN_FILES)
        self.version = (
            f"face-alignment {metadata.version('face-alignment')}, {_file(points)}, {_file(boxes)}, not mirrored"
        )
        self._net = _face_alignment(points, boxes, device)

    def __call__(self, frames: np.ndarray) -> np.ndarray:
        return np.stack([self._one(frame) for frame in frames])

    def _one(self, frame: np.ndarray) -> np.ndarray:
        boxes = self._net.face_detector.detect_from_image(frame.copy())
        return _row(boxes, frame.shape, lambda box: self._net.get_landmarks_from_image(frame, [box])[0])


def _face_alignment(points: Path, boxes: Path, device: str) -> Any:
    """face-alignment's networks with the given files, where the package itself would go and download them."""
    import face_alignment
    import torch
    from face_alignment.models import FAN

    class Local(face_alignment.FaceAlignment):
        def _load_native(
            self, network_name: str, network_size: int, device: str, dtype: torch.dtype
        ) -> torch.nn.Module:
            net = FAN(network_size)
            net.load_state_dict(weights.load_state_dict(points))
            return net.to(device, dtype=dtype).eval()

    return Local(
        face_alignment.LandmarksType.TWO_D,
        device=device,
        flip_input=False,
        face_detector="sfd",
        face_detector_kwargs={"path_to_detector": str(boxes)},
        compile=False,
    )


def _version(*packages: str) -> str:
    """The version of the first of these distributions that is installed (wheels of one module differ in name)."""
    for package in packages:
        try:
            return metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return "of unknown version"


def _file(path: Path) -> str:
    return f"{path.name} ({path.stat().st_size} bytes)"
