"""The 68 landmarks that MakeItTalk begins with: of the one face in the picture.

``fan``: what the original uses, S3FD boxes and 3D-FAN-4 points as the package face-alignment runs them, the mirrored
picture looked at as well. Of their three coordinates the original keeps two and takes the depths of an average face, so
the network that measures depths is not needed. ``dlib``: dlib's detector and 68-point predictor, whose jaw is the
visible outline and not the jaw behind it: another choice with another name. Nothing is downloaded from here.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from baselines.nets import pc_avs_points
from baselines.nets.pc_avs_points import Points

FILES = {"fan": (("fan3d", None), ("s3fd", "s3fd-619a316812.pth")), "dlib": (("dlib68", None),)}


def files(name: str) -> list[Path]:
    """The files of a backend, "fan" or "dlib". MissingWeights, one line: a file or the package is missing."""
    return pc_avs_points.files(name, FILES, "MakeItTalk's landmarks need")


def backend(name: str, device: str = "cpu") -> Points:
    """The landmark finder called "fan" or "dlib"."""
    if name == "dlib":
        return pc_avs_points.backend("dlib")
    from fctfg.fan import open_fan

    net = open_fan(*files("fan"), device)
    net.flip_input = True

    def points(frame: np.ndarray) -> np.ndarray:
        # The original reads its picture with OpenCV and hands it on in BGR, which the package takes for RGB.
        faces = net.get_landmarks_from_image(np.ascontiguousarray(frame[..., ::-1]))
        return np.asarray(faces if faces is not None else [], float).reshape(-1, 68, 2)

    return points
