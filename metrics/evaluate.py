"""Score one generated clip against its reference: both are read once and fed to every group of metrics."""

from __future__ import annotations

import errno
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path

import numpy as np

from fctfg.weights import WeightsError
from metrics import registry
from metrics.interface import REUSE, Accumulator, Context, Footage, MetricFailure, Result, rebatched

__all__ = ["Evaluator", "Footage", "MetricFailure", "Result"]

#: Frames are regrouped by this many from the clip's start, so that a score does not depend on the caller's chunks.
BATCH = 16

_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM})
_log = logging.getLogger(__name__)


class Evaluator:
    """Scores clips on a fixed set of metrics.

    ``names``: variants of ``metrics.registry``. Those that cannot run here are left out and listed with the reason in
    ``unavailable``; nothing takes their place. ``cache``: a folder for extractions. ``reuse``: one of REUSE.
    One evaluator may score on several threads at once. Raises ValueError for unknown names and words.
    """

    def __init__(
        self, names: Sequence[str], device: str = "cpu", cache: Path | None = None, reuse: str = "only-missing"
    ):
        if reuse not in REUSE:
            raise ValueError(f"unknown reuse {reuse!r}; known: {', '.join(REUSE)}")
        self.device, self.reuse = device, reuse
        self.cache = None if cache is None else Path(cache)
        self.unavailable: dict[str, str] = {}
        self._groups: dict[str, list[str]] = {}
        for name in dict.fromkeys(names):
            metric = registry.get(name)
            reason = metric.unavailable()
            if reason is None:
                self._groups.setdefault(metric.group, []).append(name)
            else:
                self.unavailable[name] = reason

    def score(
        self,
        generated: Footage,
        reference: Footage | None,
        source: np.ndarray | None = None,
        truth: Mapping[str, np.ndarray] | None = None,
    ) -> dict[str, Result]:
        """{name: Result} of every available metric. ``source``: the animated picture, (H, W, 3) uint8, where known;
        ``truth``: of puppets, see ``interface.Context``.

        A metric that fails on this clip says so in its Result and leaves the others alone. Raises ValueError when the
        two videos differ in frame size or number, and whatever reading them raises.
        """
        context = Context(generated, reference, self.device, self.cache, self.reuse, source, truth)
        results: dict[str, Result] = {}
        running: dict[str, Accumulator] = {}

        def step(group: str, call):
            try:
                return call()
            except Exception as error:  # one group's trouble must not cost the clip its other metrics
                if isinstance(error, OSError) and error.errno in _NO_ROOM:
                    raise  # a full or read-only cache is no clip's fault
                running.pop(group, None)
                failure = _one_line(error, generated.label)
                results.update({name: Result(failure=failure) for name in self._groups[group]})
                return None

        for group, names in self._groups.items():
            make = registry.load(registry.GROUPS[group])
            if (made := step(group, lambda make=make, names=names: make(names, context))) is not None:
                running[group] = made
        for pair in aligned(generated, reference):
            for group, accumulator in list(running.items()):
                step(group, lambda accumulator=accumulator, pair=pair: accumulator.update(*pair))
        for group, accumulator in list(running.items()):
            results.update(step(group, accumulator.result) or {})
        return {name: results[name] for names in self._groups.values() for name in names}


def aligned(generated: Footage, reference: Footage | None) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
    """Both videos' frames in step, BATCH at a time. ValueError where they differ in size or number."""
    if reference is None:
        yield from ((chunk, None) for chunk in _frames(generated))
        return
    for ours, theirs in zip_longest(_frames(generated), _frames(reference)):
        n, m = (0 if chunk is None else len(chunk) for chunk in (ours, theirs))
        if n != m:
            longer, shorter = (generated, reference) if n > m else (reference, generated)
            raise ValueError(f"{longer.label} has more frames than {shorter.label}: give both the same span")
        if ours.shape != theirs.shape:
            raise ValueError(
                f"{generated.label} is {ours.shape[2]}x{ours.shape[1]}, "
                f"{reference.label} {theirs.shape[2]}x{theirs.shape[1]}: resize one to the other first"
            )
        yield ours, theirs


def _frames(footage: Footage) -> Iterator[np.ndarray]:
    return rebatched(_checked(footage), BATCH)


def _checked(footage: Footage) -> Iterable[np.ndarray]:
    for chunk in footage.chunks():
        if chunk.ndim != 4 or chunk.shape[3] != 3 or chunk.dtype != np.uint8:
            raise ValueError(f"{footage.label}: frames must be (t, H, W, 3) uint8, not {chunk.shape} {chunk.dtype}")
        yield chunk


def _one_line(error: Exception, label: str) -> str:
    if isinstance(error, MetricFailure | WeightsError):  # both are meant for the user, and name the file
        return str(error)
    _log.error("a metric broke on %s", label, exc_info=error)
    return f"{label}: {type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
