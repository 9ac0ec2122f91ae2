"""Where landmarks come from: frames in, the points of the largest face out.

dlib   HOG frontal face detector on the grey frame, without upsampling, and dlib's 68-point predictor (Kazemi, Sullivan,
       CVPR 2014). The usual detector of LMD.
fan    S3FD boxes and 2D-FAN-4 points (Bulat, Tzimiropoulos, ICCV 2017), as the package face-alignment runs them,
       without its second pass on the mirrored picture.
eat    dlib's 68 points of the frame once it is aligned to a template (``metrics.landmark_eat``).
106    YuNet boxes and insightface's 106 points (``metrics.landmark_106``).

No file is ever downloaded from here: ``fctfg.weights`` says where the files are, or how to get them.
"""

from __future__ import annotations

import threading
from functools import lru_cache
from importlib import metadata, util

import numpy as np

from fctfg import weights
from fctfg.fan import open_fan
from metrics.definition import load
from metrics.frame_values import Extractor
from metrics.landmark_rows import described, grey, installed, row

_FAN_FILES = (("fan", "2DFAN4-11f355bf06.pth.tar"), ("s3fd", "s3fd-619a316812.pth"))
#: name -> what finds the points: made as ``Class(device)``, with ``version``, called with (t, H, W, 3) uint8 RGB
BACKENDS = {
    "dlib": "metrics.landmark_backends:Dlib68",
    "fan": "metrics.landmark_backends:Fan68",
    "eat": "metrics.landmark_eat:AlignedDlib68",
    "106": "metrics.landmark_106:Insightface106",
}


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


@lru_cache(maxsize=len(BACKENDS))
def backend(name: str, device: str = "cpu") -> Extractor:
    """One of BACKENDS, made once for each device; any thread may use it. MissingWeights without its files.

    It extracts the rows of ``metrics.landmark_rows``.
    """
    found = load(BACKENDS[name])(device)
    return Extractor(f"landmarks_{name}", found.version, found)


class Dlib:
    """dlib's detector and its 68-point predictor. Its objects carry scratch memory, so each thread makes its own."""

    def __init__(self) -> None:
        self._path = weights.require("dlib68")
        self.version = f"dlib {installed('dlib-bin', 'dlib')}, {described(self._path)}"
        self._local = threading.local()

    def boxes(self, picture: np.ndarray, upsample: int = 0) -> list[tuple[int, int, int, int]]:
        """(H, W) uint8, doubled ``upsample`` times for the search -> left, top, right, bottom; the best score first."""
        import dlib

        if not hasattr(self._local, "detect"):
            self._local.detect = dlib.get_frontal_face_detector()
        return [(b.left(), b.top(), b.right() + 1, b.bottom() + 1) for b in self._local.detect(picture, upsample)]

    def points(self, picture: np.ndarray, box: tuple[int, int, int, int]) -> list[tuple[int, int]]:
        """(H, W) uint8 and a face's box -> its 68 points, whole pixels."""
        import dlib

        if not hasattr(self._local, "predict"):
            self._local.predict = dlib.shape_predictor(str(self._path))
        left, top, right, bottom = box
        parts = self._local.predict(picture, dlib.rectangle(left, top, right - 1, bottom - 1)).parts()
        return [(part.x, part.y) for part in parts]


class Dlib68:
    def __init__(self, device: str) -> None:
        self._dlib = Dlib()
        self.version = f"{self._dlib.version}, grey, no upsampling"

    def __call__(self, frames: np.ndarray) -> np.ndarray:
        return np.stack([self._one(grey(frame)) for frame in frames])

    def _one(self, picture: np.ndarray) -> np.ndarray:
        return row(self._dlib.boxes(picture), picture.shape, lambda box: self._dlib.points(picture, box))


class Fan68:
    def __init__(self, device: str) -> None:
        points, boxes = (weights.require(*wanted) for wanted in _FAN_FILES)
        package = f"face-alignment {metadata.version('face-alignment')}"
        self.version = f"{package}, {described(points)}, {described(boxes)}, not mirrored"
        self._net = open_fan(points, boxes, device)

    def __call__(self, frames: np.ndarray) -> np.ndarray:
        return np.stack([self._one(frame) for frame in frames])

    def _one(self, frame: np.ndarray) -> np.ndarray:
        boxes = self._net.face_detector.detect_from_image(frame.copy())
        return row(boxes, frame.shape, lambda box: self._net.get_landmarks_from_image(frame, [box])[0])
