"""What a training step reads, and how it stays the same whoever reads it.

Sample i of the whole (global) batch of B at step s is sample number s B + i, and what it holds depends on the source's
seed and that number alone: not on the rank, the number of ranks or workers, nor on where a run was resumed. Rank r of W
takes the samples r, r + W, ... of each global batch.

    source = PuppetData(size=64, device="cuda", seed=0)
    for step, batch in enumerate(batches(source, "windows", global_batch=64, start_step=1000), 1000):
        ...                 # batch: Windows
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, fields
from itertools import count
from typing import Protocol

import numpy as np
import torch

KINDS = ("frames", "windows", "sync")
SPLITS = ("train", "held-out")
#: frames by which the wrong sound lies off the right one, so that the two windows of 0.2 s share nothing
GAP = 5


@dataclass(frozen=True)
class SyncWindows:
    """What the sync expert learns from. Pictures are RGB in [-1, 1], sound as ``fctfg.nets.mel`` makes it.

    ``driving`` (n, T, 3, S, S): consecutive frames at 25 per second; ``mel_window`` (n, 1, 80, 16): their sound by the
    expert's own rule, for the first five of them; ``wrong_window`` (n, 1, 80, 16): the same clip's at another time.
    """

    driving: torch.Tensor
    mel_window: torch.Tensor
    wrong_window: torch.Tensor

    def named(self) -> dict[str, torch.Tensor]:
        """What there is, by name."""
        return {f.name: value for f in fields(self) if (value := getattr(self, f.name)) is not None}

    def to(self, device: torch.device | str):
        return type(self)(**{name: value.to(device, non_blocking=True) for name, value in self.named().items()})

    def __len__(self) -> int:
        return len(self.driving)


@dataclass(frozen=True)
class Windows(SyncWindows):
    """What FC-TFG learns from: also ``source`` (n, 3, S, S), a frame of the same clip, and ``mels`` (n, T, 1, 80, 16),
    the sound of each driving frame (A23: by Wav2Lip's training rule unless the source was told otherwise).

    ``target`` (n, T, 3, S, S): what should come out where that is not the driving frames themselves.

    Only of puppets, and where they are asked for: ``landmarks`` (n, T, 68, 2), of the frames that should come out, in
    fractions of the picture; ``motion`` (n, 1 + T, M), of the source and of those frames, and ``person`` (n, F): what
    they show, standardised.
    """

    source: torch.Tensor
    mels: torch.Tensor
    target: torch.Tensor | None = None
    landmarks: torch.Tensor | None = None
    motion: torch.Tensor | None = None
    person: torch.Tensor | None = None


class Source(Protocol):
    """Pictures and sound by sample number. Every method gives the same for the same ``indices``, sample by sample."""

    size: int
    device: torch.device

    def frames(self, indices: Sequence[int]) -> torch.Tensor:
        """Single frames (n, 3, S, S) in [-1, 1], for StyleGAN2 and the inversion."""

    def windows(self, indices: Sequence[int]) -> Windows:
        """For FC-TFG."""

    def sync(self, indices: Sequence[int]) -> SyncWindows:
        """For the sync expert: five frames, and no time spent on what it does not look at."""

    def describe(self) -> dict[str, object]:
        """The settings that decide what the samples hold, for logs and checkpoints; JSON-able."""


def batches(
    source: Source,
    kind: str,
    global_batch: int,
    start_step: int = 0,
    stop_step: int | None = None,
    rank: int = 0,
    world: int = 1,
    prefetch: int = 2,
) -> Iterator[torch.Tensor | Windows | SyncWindows]:
    """One rank's batches of steps ``start_step``, ``start_step`` + 1, ... (to before ``stop_step``; None: for ever).

    ``kind``: "frames", "windows" or "sync". ``prefetch`` batches are made ahead in one thread; 0 makes each when it is
    asked for. An error in the making is raised here, at its step. Raises ValueError for an unknown kind and for a
    ``global_batch`` that ``world`` does not divide: the ranks' mean gradient would not be the batch's.
    """
    if kind not in KINDS:
        raise ValueError(f"unknown kind {kind!r}; use {', '.join(KINDS)}")
    if global_batch % world or not 0 <= rank < world:
        raise ValueError(f"a batch of {global_batch} does not divide over {world} ranks (this is rank {rank})")
    steps = count(start_step) if stop_step is None else range(start_step, stop_step)

    def make(step: int):
        with torch.no_grad():
            return getattr(source, kind)(range(step * global_batch + rank, (step + 1) * global_batch, world))

    return (make(step) for step in steps) if prefetch < 1 else _ahead(make, steps, prefetch)


def _ahead(make, steps, prefetch: int) -> Iterator:
    waiting: deque[Future] = deque()
    with ThreadPoolExecutor(1, thread_name_prefix="batches") as thread:
        try:
            for step in steps:
                waiting.append(thread.submit(make, step))
                if len(waiting) > prefetch:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            thread.shutdown(wait=True, cancel_futures=True)


def key(*what: object) -> int:
    """64 bits that stand for ``what``: the seed of one purpose's random numbers."""
    return int.from_bytes(hashlib.sha256(":".join(map(str, what)).encode()).digest()[:8], "big")


def uniform(seed: int, indices: Sequence[int], columns: int) -> np.ndarray:
    """(n, columns) float64 in [0, 1): row j depends on ``seed`` and ``indices[j]`` alone.

    Counter-based: the finaliser of SplitMix64 (Steele, Lea & Flood, OOPSLA 2014) over seed, index and column, so that a
    batch costs no loop.
    """
    step = np.uint64(0x9E3779B97F4A7C15)
    rows = _mixed(np.asarray(indices, np.uint64)[:, None] * step + np.uint64(seed & 0xFFFFFFFFFFFFFFFF))
    words = _mixed(rows + step * np.arange(1, columns + 1, dtype=np.uint64))
    return (words >> np.uint64(16)) * 2.0**-48  # so short that u * n never rounds up to n


def _mixed(x: np.ndarray) -> np.ndarray:
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


@dataclass(frozen=True)
class Places:
    """Where samples lie, all (n,) int64: the clip's number, and in it the frame numbers of the source picture, of the
    first driving frame, and of the first of the five frames whose sound is the wrong one.
    """

    clip: np.ndarray
    source: np.ndarray
    start: np.ndarray
    wrong: np.ndarray


def least_frames(window: int) -> int:
    """A clip needs so many: more than three windows, which is the least that Wav2Lip's training takes."""
    return 3 * max(window, 5) + 1


def places(draws: np.ndarray, clip: np.ndarray, n_frames: np.ndarray, window: int, source: str) -> Places:
    """Turn uniform ``draws`` (n, 3) into places within the clips ``clip`` (n,), which have ``n_frames`` (n,) frames.

    Driving windows keep off the first frame and the last three: the sound windows of all their frames then lie inside
    the clip, as in Wav2Lip's training. The wrong sound begins at least ``GAP`` frames away (less in clips of under
    three windows). ``source``: "random" for any frame of the clip, "first" for frame 0 (the paper says neither).
    """
    if source not in ("random", "first"):
        raise ValueError(f"unknown source {source!r}; use random or first")
    room = n_frames - max(window, 2) - 3
    start = np.floor(draws[:, 0] * room).astype(np.int64)
    gap = np.minimum(GAP, room // 2)
    shift = gap + np.floor(draws[:, 1] * (room - 2 * gap + 1)).astype(np.int64)
    any_frame = np.floor(draws[:, 2] * n_frames).astype(np.int64)
    return Places(clip, any_frame if source == "random" else any_frame * 0, 1 + start, 1 + (start + shift) % room)


def settled(device: torch.device | str) -> torch.device:
    """The device with its number: "cuda" alone means another one in another thread."""
    device = torch.device(device)
    if device.type == "cuda" and device.index is None:
        return torch.device("cuda", torch.cuda.current_device())
    return device
