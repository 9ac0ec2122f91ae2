"""The 68 landmarks that PC-AVS's alignment needs: of every face in a frame, since it wants exactly one.

``fan``: what the original uses, S3FD boxes and 2D-FAN-4 points as the package face-alignment runs them.
``dlib``: dlib's detector and 68-point predictor, another choice with another name. Nothing is downloaded from here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import metadata, util
from pathlib import Path

import numpy as np

from fctfg import weights
from fctfg.face_detection import DlibHog

#: (H, W, 3) uint8 RGB -> (k, 68, 2): x and y in pixels, for each of k faces
Points = Callable[[np.ndarray], np.ndarray]
_FILES = {"fan": (("fan", "2DFAN4-11f355bf06.pth.tar"), ("s3fd", "s3fd-619a316812.pth")), "dlib": (("dlib68", None),)}
_PACKAGES = {"fan": ("face_alignment", "face-alignment", "fctfg[fan]"), "dlib": ("dlib", "dlib", "fctfg[dlib]")}


class NoSingleFace(ValueError):
    """A frame shows no face or several; the line says which frame."""


def files(name: str, wanted: Mapping[str, Sequence] = _FILES, needs: str = "PC-AVS's alignment needs") -> list[Path]:
    """The files of a backend, "fan" or "dlib". WeightsError, one line: a file or the package is missing.

    ``wanted``: names in ``fctfg.weights`` by backend; ``needs``: how the line begins.
    """
    module, package, extra = _PACKAGES[name]
    if util.find_spec(module) is None:
        raise weights.MissingWeights(f"{needs} the package {package}: pip install '{extra}'")
    if name == "fan" and tuple(int(part) for part in metadata.version(package).split(".")[:2]) < (1, 5):
        raise weights.MissingWeights(f"{needs} {package} 1.5 or later: pip install -U {package}")
    return [weights.require(*each) for each in wanted[name]]


def backend(name: str, device: str = "cpu") -> Points:
    """The landmark finder called "fan" or "dlib"."""
    return _fan(*files(name), device) if name == "fan" else _dlib(*files(name))


def one_face(points: Points, frames: np.ndarray, what: str) -> np.ndarray:
    """(T, H, W, 3) uint8 -> landmarks (T, 68, 2). NoSingleFace when a frame has not exactly one face; the original
    gives such a clip up, too. ``what`` names the frames.
    """
    found = []
    for number, frame in enumerate(frames):
        faces = points(frame)
        if len(faces) != 1:
            raise NoSingleFace(
                f"{what} {number}: {len(faces) or 'no'} face{'s' * (len(faces) != 1)} found; PC-AVS's alignment needs "
                "exactly one in every frame (VoxCeleb2's own crops can go without it: pc-avs-vox)"
            )
        found.append(faces[0])
    return np.stack(found)


def _dlib(path: Path) -> Points:
    import dlib

    detect, predict = DlibHog(), dlib.shape_predictor(str(path))

    def points(frame: np.ndarray) -> np.ndarray:
        frame = np.ascontiguousarray(frame)
        boxes = detect(frame[None])[0][:, :4].astype(int)
        faces = [predict(frame, dlib.rectangle(a, b, c - 1, d - 1)).parts() for a, b, c, d in boxes.tolist()]
        return np.array([[(part.x, part.y) for part in face] for face in faces], float).reshape(-1, 68, 2)

    return points


def _fan(points_file: Path, boxes_file: Path, device: str) -> Points:
    from fctfg.fan import open_fan

    net = open_fan(points_file, boxes_file, device)

    def points(frame: np.ndarray) -> np.ndarray:
        boxes = net.face_detector.detect_from_image(frame.copy())
        faces = net.get_landmarks_from_image(frame, boxes) if len(boxes) else None
        return np.asarray(faces if faces is not None else [], float).reshape(-1, 68, 2)

    return points
