"""The lip embeddings of a video, track by track: extracted while it streams by, or taken from the cache.

They depend on the pictures alone, so a video scored again, or with another sound, is not looked at again.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fctfg.face_pixels import resize_bilinear
from metrics.face_tracks import FaceTracker
from metrics.interface import Context, MetricFailure
from metrics.syncnet import SIZE, LipEmbedder, SyncNet

#: Goes up when the embeddings of any video change.
VERSION = 1


@dataclass(frozen=True)
class LipTrack:
    """One face through one shot, or a whole video: ``features`` are (max(n_frames - 4, 0), 1024) float32."""

    first_frame: int
    n_frames: int
    features: np.ndarray
    face_size: float | None = None  # pixels; None for whole frames


class LipTracks:
    """The tracks of one video, found by ``detector``, or with None its whole frames squashed to 224 x 224.

    Raises:
        MetricFailure: where the context's ``reuse`` is "only-cache" and nothing is stored.
    """

    def __init__(self, net: SyncNet, detector: Any | None, context: Context) -> None:
        self._detector = detector
        self.detector = None if detector is None else f"{detector.name} ({detector.version})"
        self.version = json.dumps([VERSION, net.version, self.detector])
        self.warnings: list[str] = []
        self.n_frames = 0
        footage = context.generated
        self._label = footage.label
        self._path = None if None in (context.cache, footage.key) else _place(context.cache, footage.key, self.version)
        self._stored = self._read() if context.reuse != "never" else None
        if self._stored is None and context.reuse == "only-cache":
            raise MetricFailure(
                f"{self._label}: its lip embeddings are not in the cache, and reuse is only-cache; "
                "run once with only-missing"
            )
        self._whole = LipEmbedder(net) if detector is None else None
        self._tracker = None if detector is None else FaceTracker(lambda: LipEmbedder(net))

    def push(self, frames: np.ndarray) -> None:
        """The next frames (t, H, W, 3), uint8 RGB."""
        self.n_frames += len(frames)
        if self._stored is not None:
            return
        if self._tracker is None:
            self._whole.push(np.stack([resize_bilinear(frame, SIZE, SIZE) for frame in frames]))
        else:
            self._tracker.push(frames, self._detector(frames))

    def finish(self) -> tuple[list[LipTrack], str]:
        """The tracks worth scoring, in order of their first frame, and in one line why there is none; stored.

        Raises:
            MetricFailure: when what was stored is of a video of another length.
        """
        if self._stored is None:
            self._stored = self.n_frames, *self._extracted()
            if self._path is not None:
                _write(self._path, self.version, *self._stored)
        n_frames, tracks, reason = self._stored
        if n_frames != self.n_frames:
            counts = f"{self.n_frames} frames, but lip embeddings of {n_frames} are stored"
            raise MetricFailure(f"{self._label}: has {counts}; delete {self._path}")
        return tracks, reason

    def _extracted(self) -> tuple[list[LipTrack], str]:
        if self._tracker is None:
            return [LipTrack(0, self.n_frames, self._whole.finish().numpy())], ""
        tracks = [
            LipTrack(track.first_frame, track.n_frames, embedder.finish().numpy(), track.face_size)
            for track, embedder in self._tracker.finish()
        ]
        return tracks, "" if tracks else self._tracker.reason()

    def _read(self) -> tuple[int, list[LipTrack], str] | None:
        if self._path is None or not self._path.exists():
            return None
        try:
            return read(self._path, self.version)
        except (ValueError, KeyError, TypeError, OSError, EOFError, zipfile.BadZipFile) as error:
            self.warnings.append(f"stored lip embeddings {self._path} cannot be read ({error}); extracted anew")
            return None


def _place(cache: Path, key: str, version: str) -> Path:
    name = hashlib.sha256(json.dumps([key, version]).encode()).hexdigest()
    return cache / "lips" / name[:2] / f"{name}.npz"


def read(path: Path, version: str) -> tuple[int, list[LipTrack], str]:
    """Number of frames, tracks and reason, as stored.

    Raises:
        ValueError: when the file holds something else, or another version.
    """
    with np.load(path, allow_pickle=False) as stored:
        if str(stored["version"]) != version:
            raise ValueError(f"made by {stored['version']}")
        n_frames, reason = int(stored["n_frames"]), str(stored["reason"])
        spans, sizes, features = stored["spans"], stored["sizes"], stored["features"]
    n_windows = np.maximum(spans[:, 1] - 4, 0)
    if features.shape != (n_windows.sum(), 1024) or features.dtype != np.float32 or sizes.shape != (len(spans),):
        raise ValueError(f"features {features.shape} {features.dtype} for spans {spans.tolist()}")
    pieces = np.split(features, np.cumsum(n_windows))[:-1]
    tracks = [
        LipTrack(int(first), int(n), piece, None if np.isnan(size) else float(size))
        for (first, n), size, piece in zip(spans, sizes, pieces, strict=True)
    ]
    return n_frames, tracks, reason


def _write(path: Path, version: str, n_frames: int, tracks: list[LipTrack], reason: str) -> None:
    """Whole or not at all: a reader never meets half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, part = tempfile.mkstemp(dir=path.parent, suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            np.savez(
                file,
                version=np.array(version),
                n_frames=np.array(n_frames),
                reason=np.array(reason),
                spans=np.array([(t.first_frame, t.n_frames) for t in tracks], np.int64).reshape(-1, 2),
                sizes=np.array([np.nan if t.face_size is None else t.face_size for t in tracks], np.float64),
                features=_joined([t.features for t in tracks]),
            )
        os.replace(part, path)
    except BaseException:
        os.unlink(part)
        raise


def _joined(features: list[np.ndarray]) -> np.ndarray:
    """All embeddings in one array; a single track's as they are, since an hour of them is 370 MB."""
    if len(features) == 1:
        return features[0]
    return np.concatenate(features) if features else np.empty((0, 1024), np.float32)
