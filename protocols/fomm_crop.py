"""FOMM's face crop: one square box for a whole chunk of video, the union of the face boxes, enlarged.

Source: AliaksandrSiarohin/video-preprocessing, ``crop_vox.py`` and ``util.py``, by their rules. Three differences, all
for evaluation rather than harvesting: one chunk a clip (the longest), a face that is lost for at most five frames
stays where it was, and chunks from 25 frames on are kept (64 there). Without VoxCeleb's annotations the face to
follow is the largest of the chunk's first frame.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fctfg.face_crop import enlarge
from fctfg.media import Box

IOU_WITH_INITIAL = 0.25
MAX_FRAMES = 1024
MIN_SIZE = 256
MAX_GAP = 5
SIMILAR, OFTEN = 0.6, 0.5  # a second face this wide, in more than this share of frames, makes the clip ambiguous

RULE = (
    "FOMM tube (IoU with the first box >= 0.25, union of boxes, enlarged by 0.1 to a square), longest chunk, "
    "gaps of up to 5 frames bridged"
)


class NoCrop(ValueError):
    """A clip in which no usable face tube was found; the message says why."""


@dataclass(frozen=True)
class Tube:
    """A chunk of frames [start, stop) and its crop (left, top, right, bottom) in source pixels."""

    start: int
    stop: int
    crop: Box


def tube(detections: list[np.ndarray], width: int, height: int, min_frames: int, min_size: int = MIN_SIZE) -> Tube:
    """The crop of a clip from its face boxes, one (k, 4) array of left, top, right, bottom per frame.

    Raises NoCrop: no face, two faces, too short, too small, or a box that leaves the picture.
    """
    if not any(len(boxes) for boxes in detections):
        raise NoCrop("no face found in any frame; use a clip that shows one")
    _one_face(detections)
    chunks = _chunks(detections)
    start, stop, union = max(chunks, key=lambda c: (c[1] - c[0], -c[0]))
    if stop - start < min_frames:
        raise NoCrop(f"the face is followed for {stop - start} frames at most; at least {min_frames} are needed")
    left, top, right, bottom = union
    if max(right - left, bottom - top) < min_size:
        raise NoCrop(
            f"the face is {max(right - left, bottom - top):.0f} pixels large; {min_size} are needed (--min-size)"
        )
    crop = enlarge(union)
    if crop[0] < 0 or crop[1] < 0 or crop[2] > width or crop[3] > height:
        raise NoCrop(
            f"the face crop {crop} leaves the {width}x{height} picture; use a clip with more room around the face"
        )
    return Tube(start, stop, crop)


def iou(a: np.ndarray, b: np.ndarray) -> float:
    """Intersection over union of two boxes, sides counted in whole pixels (+1) as the source does."""
    left, top = max(a[0], b[0]), max(a[1], b[1])
    right, bottom = min(a[2], b[2]), min(a[3], b[3])
    inner = max(0.0, right - left + 1) * max(0.0, bottom - top + 1)
    area = (a[2] - a[0] + 1) * (a[3] - a[1] + 1) + (b[2] - b[0] + 1) * (b[3] - b[1] + 1) - inner
    return float(inner / area)


def _one_face(detections: list[np.ndarray]) -> None:
    seen = [boxes for boxes in detections if len(boxes)]
    crowded = 0
    for boxes in seen:
        widths = np.sort(boxes[:, 2] - boxes[:, 0])
        crowded += len(widths) > 1 and widths[-2] >= SIMILAR * widths[-1]
    if crowded > OFTEN * len(seen):
        raise NoCrop(f"two faces of similar size in {crowded} of {len(detections)} frames; use a clip that shows one")


def _chunks(detections: list[np.ndarray]) -> list[tuple[int, int, tuple[float, float, float, float]]]:
    chunks: list[tuple[int, int, list[np.ndarray]]] = []
    initial = last = None
    gap = 0
    for frame, boxes in enumerate(detections):
        box = _follow(boxes, last)
        if box is None and last is not None and gap < MAX_GAP:
            gap += 1
            continue  # bridged if the face comes back; a chunk ends with its last seen frame otherwise
        if box is None:
            initial = last = None
            continue
        if initial is not None and (iou(box, initial) < IOU_WITH_INITIAL or frame - chunks[-1][0] >= MAX_FRAMES):
            initial = None
            box = _follow(boxes, None)
        if initial is None:
            initial = box
            chunks.append((frame, frame + 1, [box]))
        else:
            start, _, members = chunks[-1]
            chunks[-1] = (start, frame + 1, [*members, box])
        last, gap = box, 0
    return [(start, stop, _union(boxes)) for start, stop, boxes in chunks]


def _follow(boxes: np.ndarray, last: np.ndarray | None) -> np.ndarray | None:
    if not len(boxes):
        return None
    if last is None:
        return boxes[np.argmax((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]))]
    return max(boxes, key=lambda box: iou(box, last))


def _union(boxes: list[np.ndarray]) -> tuple[float, float, float, float]:
    stacked = np.stack(boxes)
    low, high = stacked[:, :2].min(0), stacked[:, 2:].max(0)
    return float(low[0]), float(low[1]), float(high[0]), float(high[1])
