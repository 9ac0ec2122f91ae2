"""One vector per frame of a video (an embedding, head angles): extracted while it streams by, or from the cache."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from metrics.interface import Context, Footage, MetricFailure


@dataclass(frozen=True)
class Extractor:
    """``extract``: (t, H, W, 3) uint8 RGB -> (t, d), each row of its frame alone, NaN where there is nothing to find.

    ``name`` is the cache's folder; ``version`` says everything else that a value depends on besides the frame.
    """

    name: str
    version: str
    extract: Callable[[np.ndarray], np.ndarray]


class FrameValues:
    """The vectors of one video, frame by frame.

    A stored extraction stands in for the extractor; whatever is extracted anew is stored, if the footage has a key and
    the context a cache. Raises MetricFailure where the context's ``reuse`` is "only-cache" and nothing is stored.
    """

    def __init__(self, footage: Footage, extractor: Extractor, context: Context) -> None:
        self._footage, self._extractor = footage, extractor
        self.warnings: list[str] = []
        self.path = stored_path(footage, extractor, context.cache)
        self._rows: list[np.ndarray] = []
        self._last: np.ndarray | None = None
        self._seen = 0
        self._stored = context.reuse != "never" and self._read()
        if context.reuse == "only-cache" and not self._stored:
            raise MetricFailure(
                f"{footage.label}: its {extractor.name} values are not in the cache, and reuse is only-cache; "
                "run once with only-missing"
            )

    def add(self, frames: np.ndarray, twin: FrameValues | None = None, twins: np.ndarray | None = None) -> None:
        """The next (t, H, W, 3) frames. ``twins``: the frames of the same times that ``twin`` has just been given.

        A frame equal, pixel for pixel, to its twin or to the frame before it is not looked at again.
        """
        start = self._seen
        self._seen += len(frames)
        if self._stored or not len(frames):
            return
        rows: list[np.ndarray | None] = [None] * len(frames)
        new = []
        for i, frame in enumerate(frames):
            before = frames[i - 1] if i else self._last
            if twin is not None and start + i < len(twin._rows) and np.array_equal(frame, twins[i]):
                rows[i] = twin._rows[start + i]
            elif before is None or not np.array_equal(frame, before):
                new.append(i)
        if new:
            for i, row in zip(new, self._extractor.extract(frames[new]), strict=True):
                rows[i] = row
        for row in rows:  # those still open repeat the one before
            self._rows.append(self._rows[-1] if row is None else row)
        self._last = frames[-1].copy()

    def finish(self) -> np.ndarray:
        """(T, d), after storing them. MetricFailure: an empty video, or a stored extraction of another length."""
        if not self._seen:
            raise MetricFailure(f"{self._footage.label}: has no frames")
        if len(self._rows) != self._seen:
            counts = f"{self._seen} frames, but {len(self._rows)} stored values"
            raise MetricFailure(f"{self._footage.label}: has {counts}; delete {self.path}")
        values = np.stack(self._rows)
        if not self._stored and self.path is not None:
            _write(self.path, values, self._extractor.version)
        return values

    def _read(self) -> bool:
        if self.path is None or not self.path.exists():
            return False
        try:
            self._rows = list(read(self.path, self._extractor.version))
        except (ValueError, KeyError, TypeError, OSError, EOFError, zipfile.BadZipFile) as error:
            self.warnings.append(f"stored values {self.path} cannot be read ({error}); extracted anew")
            return False
        return True


class Pair:
    """The vectors of a generated video and of its reference."""

    def __init__(self, extractor: Extractor, context: Context) -> None:
        if context.reference is None:
            raise MetricFailure(f"{context.generated.label}: {extractor.name} needs a reference video")
        self.reference = FrameValues(context.reference, extractor, context)
        self.generated = FrameValues(context.generated, extractor, context)

    def add(self, generated: np.ndarray, reference: np.ndarray) -> None:
        """The next aligned frames, (t, H, W, 3) uint8 RGB each."""
        self.reference.add(reference)
        self.generated.add(generated, self.reference, reference)

    def finish(self) -> tuple[np.ndarray, np.ndarray]:
        """(T, d) of the generated and of the reference video."""
        reference = self.reference.finish()
        return self.generated.finish(), reference

    def warnings(self) -> list[str]:
        return self.reference.warnings + self.generated.warnings


def stored_path(footage: Footage, extractor: Extractor, cache: Path | None) -> Path | None:
    """Where the values are stored: named by the frames' key and the extractor's version. None: they are not stored."""
    if cache is None or footage.key is None:
        return None
    name = hashlib.sha256(json.dumps([footage.key, extractor.name, extractor.version]).encode()).hexdigest()
    return cache / extractor.name / name[:2] / f"{name}.npz"


def read(path: Path, version: str | None = None) -> np.ndarray:
    """(T, d) stored values. ValueError where they are something else, or of another version than the one given."""
    with np.load(path, allow_pickle=False) as stored:
        values, made_by = stored["values"], str(stored["version"])
    if version is not None and made_by != version:
        raise ValueError(f"made by {made_by}")
    if values.ndim != 2 or values.dtype.kind != "f":
        raise ValueError(f"values {values.shape} {values.dtype}")
    return values


def _write(path: Path, values: np.ndarray, version: str) -> None:
    """Whole or not at all: a reader never meets half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, part = tempfile.mkstemp(dir=path.parent, suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            np.savez(file, values=values, version=np.array(version))
        os.replace(part, path)
    except BaseException:
        os.unlink(part)
        raise
