"""The square that training clips are cut to, for pictures and videos that come as they are.

A clip for training is cut by FOMM's rule: the box of the face, over all its frames, grown by a tenth on each side and
to a square (AliaksandrSiarohin/video-preprocessing, ``util.py``). Here one picture, or the first seconds of a video,
stand for the clip; one box holds for all of a video, so that the head moves in it as it does in training clips.
"""

from __future__ import annotations

import os

import numpy as np

from fctfg import media
from fctfg.face_detection import Detector
from fctfg.media import Box

INCREASE = 0.1
DETECTION_HEIGHT = 720  # larger pictures are searched at this height: FOMM's own is 360
SIMILAR = 0.6  # a second face as wide as this share of the widest makes it unclear who is meant
WATCHED = 100  # frames of a video that decide on its box: 4 s
EVERY = 4  # of these, every fourth is searched


class CropError(ValueError):
    """No crop could be made. One line: ``<path>: <why>; <what to do>``."""


def enlarge(box: tuple[float, float, float, float], increase: float = INCREASE) -> Box:
    """A box grown by at least ``increase`` of its side on each side, and to a square."""
    left, top, right, bottom = box
    width, height = right - left, bottom - top
    grow_x = max(increase, ((1 + 2 * increase) * height - width) / (2 * width))
    grow_y = max(increase, ((1 + 2 * increase) * width - height) / (2 * height))
    return (
        int(left - grow_x * width),
        int(top - grow_y * height),
        int(right + grow_x * width),
        int(bottom + grow_y * height),
    )


def within(box: Box, width: int, height: int) -> Box:
    """An exact square about ``box`` that lies in the picture: moved inside where it leaves it, shrunk where it must."""
    left, top, right, bottom = box
    side = min(max(right - left, bottom - top), width, height)
    left = min(max(0, (left + right - side) // 2), width - side)
    top = min(max(0, (top + bottom - side) // 2), height - side)
    return left, top, left + side, top + side


def of_picture(picture: np.ndarray, detector: Detector, path: str | os.PathLike) -> Box:
    """The crop of an (H, W, 3) uint8 picture. CropError: no face, or two of similar size. ``path``: for the message."""
    return _crop(_faces(picture[None], detector), picture.shape[1], picture.shape[0], path)


def of_video(path: str | os.PathLike, detector: Detector) -> Box:
    """The crop of a video: the union of the faces in its first seconds. CropError, MediaError."""
    width, height, boxes = 0, 0, []
    for chunk in media.iter_video(path, stop=WATCHED, chunk=EVERY):
        height, width = chunk.shape[1:3]
        boxes += _faces(chunk[:1], detector)
    return _crop(boxes, width, height, path)


def _faces(frames: np.ndarray, detector: Detector) -> list[np.ndarray]:
    """For each frame (k, 4) boxes in its pixels."""
    height, width = frames.shape[1:3]
    scale = min(1.0, DETECTION_HEIGHT / height)
    if scale < 1:
        frames = media.resize(frames, (max(1, round(width * scale)), DETECTION_HEIGHT))
    return [np.asarray(found, float).reshape(-1, 5)[:, :4] / scale for found in detector(frames)]


def _crop(boxes: list[np.ndarray], width: int, height: int, path: str | os.PathLike) -> Box:
    seen = [found for found in boxes if len(found)]
    if not seen:
        raise CropError(f"{path}: no face found; if it is cut to a face already, use --crop none, else show one larger")
    largest = []
    crowded = 0
    for found in seen:
        widths = found[:, 2] - found[:, 0]
        crowded += int((widths >= SIMILAR * widths.max()).sum() > 1)
        largest.append(found[widths.argmax()])
    if crowded > len(seen) / 2:
        raise CropError(f"{path}: two faces of similar size; cut it to the one that is meant and use --crop none")
    low, high = np.min(largest, 0), np.max(largest, 0)
    return within(enlarge((*low[:2], *high[2:])), width, height)
