"""insightface's 106 points of the largest face: the network 2d106det.onnx in boxes that YuNet finds.

Source: github.com/deepinsight/insightface (alignment/coordinate_reg; the class ``Landmark`` of its package). A square
of one and a half times the box's longer side, centred on the box, is resampled to 192x192, bilinear and black outside;
the network sees RGB, 0 to 255, and answers with x and y from -1 to 1 across that square. The package finds its boxes
with a detector of its own (SCRFD), ours are YuNet's, so points differ by what the boxes do.

The mouth is points 52 to 71. ``DLIB_MOUTH`` says which of them stands for which of dlib's 48 to 67, as published
(stackoverflow.com/questions/67174339); it is also the assignment with the least total distance to dlib's points on
real faces. LMD needs only that the same points are compared on both sides.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np

from fctfg import weights
from fctfg.face_detection import YuNet
from metrics.landmark_rows import described, installed, row

POINTS = 106
SIDE = 192  # of the network's input, pixels
MARGIN = 1.5
#: the points that stand for dlib's 48 to 67, in dlib's order: the outer lips from the viewer's left, then the inner
DLIB_MOUTH = (52, 64, 63, 71, 67, 68, 61, 58, 59, 53, 56, 55, 65, 66, 62, 70, 69, 57, 60, 54)


def missing() -> str | None:
    """Why this backend cannot run here, in one line; None when it can."""
    absent = [package for package in ("onnxruntime", "cv2") if importlib.util.find_spec(package) is None]
    if absent:
        return f"needs the package {' and '.join(absent)} (pip install 'fctfg[identity]')"
    lacking = [name for name in ("yunet", "landmarks106") if weights.find(name) is None]
    return "; ".join(weights.missing(name) for name in lacking) or None


class Points106:
    """The network. Safe to use from many threads.

    WeightsError for a file that is no network from 3x192x192 pictures to 106 points.
    """

    def __init__(self, path: Path) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = 1  # one small picture at a time: more threads only wait for each other
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's exceptions have no common base of their own
            why = str(error).splitlines()[0][:160]
            raise weights.WeightsError(f"{path}: onnxruntime cannot read it ({why}); get it again") from None
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        shape, found = list(inputs[0].shape[1:]), list(outputs[0].shape[1:])
        if len(inputs) != 1 or shape != [3, SIDE, SIDE] or found != [2 * POINTS]:
            raise weights.WeightsError(
                f"{path}: is no network from 3x{SIDE}x{SIDE} pictures to {POINTS} points; get it again"
            )
        self._input = inputs[0].name

    def __call__(self, frame: np.ndarray, box: np.ndarray) -> np.ndarray:
        """(H, W, 3) uint8 RGB and a face's box (left, top, right, bottom, ...) -> (106, 2) points in the frame."""
        import cv2

        left, top, right, bottom = (float(edge) for edge in box[:4])
        centre = np.array([(left + right) / 2, (top + bottom) / 2])
        scale = SIDE / (MARGIN * max(right - left, bottom - top))
        to_crop = np.column_stack([np.eye(2) * scale, SIDE / 2 - centre * scale])
        crop = cv2.warpAffine(np.ascontiguousarray(frame), to_crop, (SIDE, SIDE), borderValue=0)
        picture = crop.astype(np.float32).transpose(2, 0, 1)[None]
        (answer,) = self._session.run(None, {self._input: picture})
        return answer.reshape(POINTS, 2).astype(float) * (SIDE / 2 / scale) + centre


class Insightface106:
    """The backend "106": rows of 106 points."""

    def __init__(self, device: str) -> None:
        path = weights.require("landmarks106")
        self._boxes, self._points = YuNet(), Points106(path)
        self.version = f"1; {described(path)}, onnxruntime {installed('onnxruntime')}; boxes {self._boxes.version}"

    def __call__(self, frames: np.ndarray) -> np.ndarray:
        found = zip(frames, self._boxes(frames), strict=True)
        return np.stack([self._one(frame, boxes) for frame, boxes in found])

    def _one(self, frame: np.ndarray, boxes: np.ndarray) -> np.ndarray:
        return row(boxes, frame.shape, lambda box: self._points(frame, box), POINTS)
