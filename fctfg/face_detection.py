"""Face detectors behind one small interface: frames in, boxes out.

Used to crop full frames and to follow faces. A detector's name and version go into every list and key, because boxes,
and so crops, differ between detectors.
"""

from __future__ import annotations

import threading
from importlib import metadata, util
from typing import Protocol

import numpy as np

from fctfg import weights

#: In this order "auto" looks for one that is there.
ORDER = ("yunet", "dlib")


class DetectorError(ValueError):
    """A detector that cannot be had; the message is one line and says what to do."""


class Detector(Protocol):
    """``detector(frames)``: (t, H, W, 3) uint8 RGB in; out a list of t arrays (k, 5): left, top, right, bottom in
    pixels and a score, best first. Safe to call from several threads.
    """

    name: str
    version: str

    def __call__(self, frames: np.ndarray) -> list[np.ndarray]: ...


def choose(name: str = "auto", device: str = "cpu") -> Detector:
    """The named detector, or for "auto" the first of ORDER whose package and weights are there.

    ``device``: for S3FD; the others know only the CPU. Raises DetectorError naming what is missing.
    """
    if name != "auto" and name not in DETECTORS:
        raise DetectorError(f"unknown face detector '{name}'; known are auto, {', '.join(DETECTORS)}")
    reasons = {}
    for candidate in ORDER if name == "auto" else (name,):
        reasons[candidate] = DETECTORS[candidate].unavailable()
        if reasons[candidate] is None:
            return DETECTORS[candidate](device)
    raise DetectorError("no face detector: " + "; ".join(f"{k}: {v}" for k, v in reasons.items()))


class YuNet:
    """YuNet (OpenCV's FaceDetectorYN), score threshold 0.7."""

    name = "yunet"
    threshold = 0.7

    def __init__(self, device: str = "cpu") -> None:
        self.version = f"opencv {metadata.version('opencv-python')}, {weights.require('yunet').name}"
        self._local = threading.local()

    @staticmethod
    def unavailable() -> str | None:
        if util.find_spec("cv2") is None:
            return "needs opencv (pip install opencv-python)"
        return None if weights.find("yunet") else "needs its weights (python -m fctfg.weights fetch yunet)"

    def __call__(self, frames: np.ndarray) -> list[np.ndarray]:
        import cv2

        height, width = frames.shape[1:3]
        if getattr(self._local, "size", None) != (width, height):
            cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)  # it warns of its own defaults
            path = str(weights.require("yunet"))
            self._local.net = cv2.FaceDetectorYN.create(path, "", (width, height), self.threshold, 0.3, 5000)
            self._local.size = (width, height)
        found = []
        for frame in frames:
            _, faces = self._local.net.detect(np.ascontiguousarray(frame[..., ::-1]))
            if faces is None:
                found.append(np.zeros((0, 5)))
                continue
            boxes = np.column_stack([faces[:, :2], faces[:, :2] + faces[:, 2:4], faces[:, 14]]).astype(float)
            found.append(boxes[np.argsort(-boxes[:, 4], kind="stable")])
        return found


class DlibHog:
    """dlib's frontal HOG detector, no upsampling. Needs no weights file."""

    name = "dlib"

    def __init__(self, device: str = "cpu") -> None:
        self.version = metadata.version("dlib-bin")
        self._local = threading.local()

    @staticmethod
    def unavailable() -> str | None:
        return None if util.find_spec("dlib") else "needs dlib (pip install dlib-bin)"

    def __call__(self, frames: np.ndarray) -> list[np.ndarray]:
        if not hasattr(self._local, "detector"):
            import dlib

            self._local.detector = dlib.get_frontal_face_detector()
        found = []
        for frame in frames:
            boxes, scores, _ = self._local.detector.run(np.ascontiguousarray(frame), 0, 0.0)
            rows = [[b.left(), b.top(), b.right() + 1, b.bottom() + 1, s] for b, s in zip(boxes, scores, strict=True)]
            found.append(np.array(rows, float).reshape(-1, 5))
        return found


class S3FD:
    """S3FD as face-alignment runs it for FOMM's crops: frames searched at the size given, score over 0.5, overlap 0.3.

    LSE's own search, a quarter of the size and a score over 0.9, is ``fctfg.face_s3fd.S3FD`` by default. "auto" never
    takes it: were it, weights that were fetched for LSE would change the crops of the next list without a word.
    """

    name = "s3fd"

    def __init__(self, device: str = "cpu") -> None:
        from fctfg import face_s3fd  # imports torch

        self._search = face_s3fd.S3FD(weights.require("s3fd"), device, scale=1.0, threshold=0.5, overlaps=(0.3,))
        self.version = f"{self._search.version}, whole size, score 0.5"

    @staticmethod
    def unavailable() -> str | None:
        return None if weights.find("s3fd") else weights.missing("s3fd")

    def __call__(self, frames: np.ndarray) -> list[np.ndarray]:
        return self._search(frames)


DETECTORS: dict[str, type] = {"yunet": YuNet, "dlib": DlibHog, "s3fd": S3FD}
