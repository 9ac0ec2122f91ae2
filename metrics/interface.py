"""What passes between an evaluation and the metrics: footage in, results out. NumPy only."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np

#: What is done with extractions (landmarks, embeddings) of an earlier run. "never" makes them anew and stores them;
#: "only-missing" and "always" take what is stored and make the rest (they differ for rows, not for extractions);
#: "only-cache" makes none: a metric whose extraction is missing fails.
REUSE = ("only-missing", "always", "never", "only-cache")


class MetricFailure(ValueError):
    """A metric has no value for this clip; the message says why in one line."""


@dataclass(frozen=True)
class Footage:
    """A video as the metrics see it.

    ``chunks``: called once per scoring; yields (t, H, W, 3) uint8 RGB arrays, in order, of any t > 0.
    ``audio``: (N,) float32 mono at 16 kHz on the same clock, or a function that returns it, or None.
    ``key``: identifies exactly these frames; extractions are cached under it. None: nothing is cached.
    ``label``: the name that messages call it by, usually a file's.
    """

    chunks: Callable[[], Iterable[np.ndarray]]
    audio: np.ndarray | Callable[[], np.ndarray | None] | None = None
    key: str | None = None
    label: str = "video"
    fps: float = 25.0

    def waveform(self) -> np.ndarray | None:
        """(N,) float32, or None where there is no sound."""
        return self.audio() if callable(self.audio) else self.audio


@dataclass
class Result:
    """One metric of one clip: a value, or the reason why there is none."""

    value: float | None = None
    details: dict = field(default_factory=dict)
    failure: str | None = None
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Context:
    """What an accumulator may use besides the frames it is fed.

    ``source``: the picture that was animated, (H, W, 3) uint8 RGB, where it is known. ``truth``: for puppets, arrays
    with one row for each driving frame that is scored: "motion" (t, 18), "landmarks" (t, 68, 2) in its pixels.
    """

    generated: Footage
    reference: Footage | None = None
    device: str = "cpu"
    cache: Path | None = None
    reuse: str = "only-missing"
    source: np.ndarray | None = None
    truth: Mapping[str, np.ndarray] | None = None


class Accumulator(Protocol):
    """One group of metrics over one clip, built as ``Class(names, context)``.

    ``update`` is fed aligned chunks in order and must give the same result for any chunking; it does not write to
    them. Raising MetricFailure in any method fails all of the group's metrics; to fail one, return its Result.
    """

    def update(self, generated: np.ndarray, reference: np.ndarray | None) -> None: ...

    def result(self) -> dict[str, Result]: ...


def rebatched(chunks: Iterable[np.ndarray], size: int) -> Iterator[np.ndarray]:
    """The same frames in arrays of exactly ``size``, the last one shorter."""
    pending: list[np.ndarray] = []
    count = 0
    for chunk in chunks:
        start = 0
        while len(chunk) - start >= size - count:
            stop = start + size - count
            pending.append(chunk[start:stop])
            yield pending[0] if len(pending) == 1 else np.concatenate(pending)
            pending, count, start = [], 0, stop
        if start < len(chunk):
            pending.append(chunk[start:])
            count += len(chunk) - start
    if pending:
        yield pending[0] if len(pending) == 1 else np.concatenate(pending)
