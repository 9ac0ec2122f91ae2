"""The face detectors of evaluation: those of ``fctfg.face_detection``, and S3FD by name.

S3FD, which FOMM's preprocessing used, is never taken by "auto": were it, weights that were fetched for LSE would change
the crops of the next list without a word.
"""

from __future__ import annotations

import numpy as np

from fctfg import face_detection, weights
from fctfg.face_detection import Detector


def choose(name: str = "auto", device: str = "cpu") -> Detector:
    """``fctfg.face_detection.choose`` among these: by name, or for "auto" YuNet, else dlib. ``device``: S3FD's."""
    return face_detection.choose(name, device, DETECTORS)


class WholeSizeS3FD:
    """S3FD as face-alignment runs it for FOMM's crops: frames searched at the size given, score over 0.5, overlap 0.3.

    LSE's own search, a quarter of the size and a score over 0.9, is ``metrics.face_s3fd.S3FD`` by default.
    """

    name = "s3fd"

    def __init__(self, device: str = "cpu") -> None:
        from metrics.face_s3fd import S3FD  # imports torch

        self._search = S3FD(weights.require("s3fd"), device, scale=1.0, threshold=0.5, overlaps=(0.3,))
        self.version = f"{self._search.version}, whole size, score 0.5"

    @staticmethod
    def unavailable() -> str | None:
        return None if weights.find("s3fd") else weights.missing("s3fd")

    def __call__(self, frames: np.ndarray) -> list[np.ndarray]:
        return self._search(frames)


DETECTORS: dict[str, type] = {**face_detection.DETECTORS, "s3fd": WholeSizeS3FD}
