"""Faces followed through a shot and cut out, as the LSE pipeline does it (joonson/syncnet_python, run_pipeline.py).

* A track takes, frame by frame, a face that overlaps its last one by more than half (intersection over union); the
  oldest track chooses first. No two boxes of one frame overlap by as much: detectors see to that. A track survives up
  to 25 frames without a face and ends at a cut. Gaps are filled linearly.
* A track counts when it has more than 100 detections, so four seconds, and its mean box more than 100 pixels on its
  longer side. A clip without one has no score in the published scripts, without a word; here it has a reason.
* The crop is a square of 2.8 s, where s is half the box's longer side, its centre 0.4 s below the box's centre; outside
  the frame it is grey, 110. Size and centre are median-filtered over 13 frames, with zeros beyond the track's ends.

The scripts hold a whole clip in memory and on disk. Here frames come once and in pieces, and only the last few dozen
are kept: a crop is made as soon as the six boxes after it are known.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from fctfg.face_pixels import crop_filled, resize_bilinear
from metrics.face_scenes import ShotCuts


@dataclass(frozen=True)
class TrackRules:
    """The pipeline's settings under its own names, lengths in frames and pixels."""

    min_track: int = 100
    num_failed_det: int = 25
    min_face_size: float = 100.0
    min_overlap: float = 0.5
    crop_scale: float = 0.40
    median: int = 13
    crop_size: int = 224
    fill: int = 110


@dataclass(frozen=True)
class FaceTrack:
    """One face through one shot: frames first_frame .. first_frame + n_frames - 1, filled gaps included."""

    first_frame: int
    n_frames: int
    n_detections: int
    face_size: float  # pixels: the longer of mean width and mean height


class CropSink(Protocol):
    """Takes the crops (n, 224, 224, 3) uint8 RGB of one track, in order."""

    def push(self, crops: np.ndarray, /) -> None: ...


#: Crops of a track held back until it is known to be long enough; then they are handed over and the rest follows.
_HELD_BACK = 128


@dataclass(eq=False)
class _Track:
    """A track being built. Box i is that of frame ``first + i``; the last one is always a detection.

    Boxes are tuples of Python floats: as arrays, allocated among the pictures and kept, they would pin the heap, which
    was seen to grow by a gigabyte a minute.
    """

    first: int
    boxes: list[tuple[float, ...]] = field(default_factory=list)
    n_detections: int = 0
    n_cropped: int = 0
    crops: list[np.ndarray] = field(default_factory=list)
    sink: CropSink | None = None

    @property
    def last(self) -> int:
        return self.first + len(self.boxes) - 1

    def add(self, frame: int, box: np.ndarray) -> None:
        """Append a detection, filling the frames since the last one along straight lines."""
        if self.boxes:
            start, before = self.last, np.array(self.boxes[-1])
            slope = (box - before) / (frame - start)
            self.boxes.extend(tuple((before + slope * (k - start)).tolist()) for k in range(start + 1, frame))
        self.boxes.append(tuple(box.tolist()))
        self.n_detections += 1

    def face_size(self) -> float:
        width, height = np.mean([(b[2] - b[0], b[3] - b[1]) for b in self.boxes], axis=0)
        return float(max(width, height))


class FaceTracker:
    """Frames and their detections in, in order; the crops of every track worth scoring go to a sink each.

    ``open_sink()`` is called once for a track that has come far enough; a track may still be dropped at its
    end for its size, and then ``finish`` does not list it. Memory: some 35 frames, and 128 crops for each face in view.
    """

    def __init__(self, open_sink: Callable[[], CropSink], rules: TrackRules | None = None) -> None:
        self.rules = rules or TrackRules()
        self._open_sink = open_sink
        self._cuts = ShotCuts()
        self._frames: dict[int, np.ndarray] = {}
        self._number = 0
        self._n_faces = 0
        self._active: list[_Track] = []
        self._ended: list[tuple[FaceTrack, CropSink | None]] = []

    def push(self, frames: np.ndarray, detections: Sequence[np.ndarray]) -> None:
        """Frames (t, H, W, 3) uint8 RGB and, for each, boxes (k, 4 or more): left, top, right, bottom in pixels."""
        for frame, cut, boxes in zip(frames, self._cuts.push(frames), detections, strict=True):
            if cut:
                self._end(self._active)
            self._frames[self._number] = frame
            self._step([np.asarray(box[:4], dtype=np.float64) for box in boxes])
            self._number += 1
        for track in self._active:
            self._crop(track, ended=False)
        keep = min((t.first + t.n_cropped for t in self._active), default=self._number)
        # Copies, so that a few kept frames do not keep the whole piece they came in.
        self._frames = {n: np.array(f) for n, f in self._frames.items() if n >= keep}

    def finish(self) -> list[tuple[FaceTrack, CropSink]]:
        """End the clip: its tracks that count, each with the sink its crops went to, in order of their first frame."""
        self._end(self._active)
        counted = [(track, sink) for track, sink in self._ended if sink is not None]
        return sorted(counted, key=lambda pair: pair[0].first_frame)

    def reason(self) -> str:
        """Why ``finish`` lists no track, in one line."""
        rules = self.rules
        if not self._n_faces:
            return f"no face was found in any of its {self._number} frames"
        long = [track for track, _ in self._ended if track.n_detections > rules.min_track]
        if long:
            size = max(track.face_size for track in long)
            return f"face too small: {size:.0f} pixels, and more than {rules.min_face_size:.0f} are needed"
        longest = max((track.n_detections for track, _ in self._ended), default=0)
        return (
            f"too short: the longest face track has {longest} detections in {self._number} frames, "
            f"and more than {rules.min_track} are needed"
        )

    def _counts(self, track: FaceTrack) -> bool:
        return track.n_detections > self.rules.min_track and track.face_size > self.rules.min_face_size

    def _step(self, boxes: list[np.ndarray]) -> None:
        """Give this frame's boxes to the tracks, oldest first; a box nobody takes starts a track."""
        self._n_faces += len(boxes)
        self._end([t for t in self._active if self._number - t.last > self.rules.num_failed_det])
        for track in self._active:
            taken = next((k for k, b in enumerate(boxes) if overlap(b, track.boxes[-1]) > self.rules.min_overlap), None)
            if taken is not None:
                track.add(self._number, boxes.pop(taken))
        for box in boxes:
            self._active.append(_Track(self._number))
            self._active[-1].add(self._number, box)

    def _end(self, tracks: list[_Track]) -> None:
        for track in list(tracks):
            self._active.remove(track)
            if track.n_detections > self.rules.min_track:
                self._crop(track, ended=True)
            done = FaceTrack(track.first, len(track.boxes), track.n_detections, track.face_size())
            self._ended.append((done, track.sink if self._counts(done) else None))

    def _crop(self, track: _Track, *, ended: bool) -> None:
        """Make the crops whose smoothed boxes are final, and hand them over when the track deserves it."""
        stop = len(track.boxes) if ended else len(track.boxes) - self.rules.median // 2
        if stop > track.n_cropped:
            near = max(0, track.n_cropped - self.rules.median // 2)
            places = crop_boxes(np.array(track.boxes[near:]), track.n_cropped - near, stop - near, self.rules)
            for k, place in enumerate(places, start=track.n_cropped):
                square = crop_filled(self._frames[track.first + k], *place, self.rules.fill)
                track.crops.append(resize_bilinear(square, self.rules.crop_size, self.rules.crop_size))
            track.n_cropped = stop
        if track.crops and (track.n_detections > self.rules.min_track or len(track.crops) >= _HELD_BACK):
            if track.sink is None:
                track.sink = self._open_sink()
            track.sink.push(np.stack(track.crops))
            track.crops = []


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    """Intersection over union of two boxes (left, top, right, bottom), 0..1."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    both = width * height
    return float(both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both))


def crop_boxes(boxes: np.ndarray, start: int, stop: int, rules: TrackRules) -> list[tuple[int, int, int, int]]:
    """Boxes (n, 4) of a track -> where to cut frames start..stop-1 of it: top, left, bottom, right, whole pixels.

    The smoothing looks ``rules.median // 2`` boxes beyond ``stop``, and takes zeros where the track has none.
    """
    left, top, right, bottom = boxes.T
    size = running_median(np.maximum(right - left, bottom - top) / 2, start, stop, rules.median)
    x = running_median((left + right) / 2, start, stop, rules.median)
    y = running_median((top + bottom) / 2, start, stop, rules.median)
    below = 1 + 2 * rules.crop_scale
    beside = 1 + rules.crop_scale
    places = []
    for s, cx, cy in zip(size, x, y, strict=True):
        # The scripts pad the frame by this much and cut there; the roundings are theirs.
        pad = int(s * below)
        rows = int(cy + pad - s) - pad, int(cy + pad + s * below) - pad
        columns = int(cx + pad - s * beside) - pad, int(cx + pad + s * beside) - pad
        places.append((rows[0], columns[0], rows[1], columns[1]))
    return places


def running_median(values: np.ndarray, start: int, stop: int, length: int) -> np.ndarray:
    """The median of each value in start..stop-1 with ``length // 2`` neighbours each side, zeros beyond the ends."""
    half = length // 2
    padded = np.concatenate((np.zeros(half), values, np.zeros(half)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, length)[start:stop]
    return np.median(windows, axis=1)
