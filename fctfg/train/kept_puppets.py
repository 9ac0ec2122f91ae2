"""Drawn samples that are kept on disk and shown again and again, for machines that draw more slowly than they learn.

    source = KeptPuppets(PuppetData(size=128), 8000)      # a Source: draws each of 8000 windows once, when first asked

On two processor cores a frame of 128 x 128 takes as long to draw as it takes to learn a small network from it.
"""

from __future__ import annotations

import copy
import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from fctfg.data import puppets
from fctfg.data.clips import DataError
from fctfg.nets.mel import windows_at
from fctfg.nets.sync_expert import FRAMES
from fctfg.train import cache
from fctfg.train.data import SyncWindows, Windows, uniform
from fctfg.train.puppet_data import PuppetData
from fctfg.train.puppet_pool import stream

_AT_ONCE = 8  # samples drawn in one go


class KeptPuppets:
    """``count`` windows of ``drawn`` (a `PuppetData`), as bytes in a file that is mapped into memory.

    Sample i shows window i modulo ``count``; where ``window`` is shorter than the ``frames`` (or more) that are kept, a
    stretch of them chosen by i; single frames are one of the window's, or its source picture. ``folder``: where the
    file lies (default: the cache). Its name tells everything that decides what is drawn. Several processes may draw
    into it: they draw the same.

    DataError where the folder cannot be written.
    """

    def __init__(
        self, drawn: PuppetData, count: int, folder: str | os.PathLike | None = None, frames: int = FRAMES
    ) -> None:
        self.window, self.count = drawn.window, count
        self.drawn = copy.copy(drawn)
        self.drawn.window = max(frames, drawn.window)
        self.size, self.device = drawn.size, drawn.device
        # the source picture, the true frames, and, where they are others, the driving ones
        self.frames_each = 1 + self.drawn.window * (2 if drawn.other_lips else 1)
        name = f"kept-{drawn.split}-seed{drawn.seed}-{count}x{self.frames_each}x{self.size}-{self._version()}"
        path = cache.folder(folder, "puppets") / f"{name}.u8"
        with cache.alone(path):
            self.pictures = _mapped(path, (count, self.frames_each, 3, self.size, self.size))
            self.there = _mapped(path.with_suffix(".there"), (count,))

    def describe(self) -> dict[str, object]:
        return self.drawn.describe() | {"kept": self.count, "window": self.window}

    @torch.no_grad()
    def frames(self, indices: Sequence[int]) -> torch.Tensor:
        """(n, 3, S, S) in [-1, 1]."""
        seed = stream(self.drawn.seed, self.drawn.split, "kept frames")
        which = np.floor(uniform(seed, indices, 1)[:, 0] * (1 + self.drawn.window)).astype(np.int64)
        return self._shown(indices, which[:, None])[:, 0]

    @torch.no_grad()
    def windows(self, indices: Sequence[int]) -> Windows:
        at, long = self.drawn.places(np.asarray(indices) % self.count), self.drawn.window
        draw = uniform(stream(self.drawn.seed, self.drawn.split, "kept windows"), indices, 1)[:, 0]
        shift = np.floor(draw * (long - self.window + 1)).astype(np.int64)
        stretch = shift[:, None] + np.arange(self.window)
        true = 1 + stretch
        shown = self._shown(indices, np.concatenate([0 * true[:, :1], true], 1))
        driving, target = shown[:, 1:], None
        if self.drawn.other_lips:
            driving, target = self._shown(indices, true + long), driving
        heard = self.drawn.pool.mels[self._there(at.clip)]
        start = self._there(at.start + shift)
        rows = np.asarray(indices) % self.count
        return Windows(
            **(self.drawn.what_is_known(rows, self._there(stretch)) if self.drawn.known else {}),
            source=shown[:, 0],
            driving=driving,
            target=target,
            mels=windows_at(heard, self._there(at.start)[:, None] + self._there(stretch), rule=self.drawn.rule),
            mel_window=windows_at(heard, start, rule="sync"),
            wrong_window=windows_at(heard, self._there(at.wrong), rule="sync"),
        )

    @torch.no_grad()
    def sync(self, indices: Sequence[int]) -> SyncWindows:
        if self.drawn.window < FRAMES:
            raise DataError(f"kept_frames is {self.drawn.window}: the sync expert looks at {FRAMES}")
        at = self.drawn.places(np.asarray(indices) % self.count)
        true = np.broadcast_to(1 + np.arange(FRAMES), (len(at.clip), FRAMES))
        heard = self.drawn.pool.mels[self._there(at.clip)]
        return SyncWindows(
            driving=self._shown(indices, true),
            mel_window=windows_at(heard, self._there(at.start), rule="sync"),
            wrong_window=windows_at(heard, self._there(at.wrong), rule="sync"),
        )

    def _shown(self, indices: Sequence[int], which: np.ndarray) -> torch.Tensor:
        """Pictures ``which`` (n, k) of samples ``indices``: (n, k, 3, S, S), drawn first where they are not there."""
        rows = np.asarray(indices, np.int64) % self.count
        lacking = sorted({int(r) for r in rows if not self.there[r]})
        for start in range(0, len(lacking), _AT_ONCE):
            self._draw(lacking[start : start + _AT_ONCE])
        return self._there(self.pictures[rows[:, None], which]).float() / 127.5 - 1

    def _draw(self, rows: list[int]) -> None:
        made = self.drawn.windows(rows)
        parts = [made.source[:, None], made.driving]
        if made.target is not None:
            parts.insert(1, made.target)
        levels = (torch.cat(parts, 1).add(1) * 127.5).round().clamp(0, 255).to(torch.uint8)
        self.pictures[rows] = levels.cpu().numpy()
        self.there[rows] = 1

    def _there(self, numbers: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(numbers)).to(self.device)

    def _version(self) -> str:
        """Changes with the settings and with the code that draws."""
        digest = hashlib.sha256(json.dumps(self.drawn.describe(), sort_keys=True).encode())
        for file in sorted(Path(puppets.__file__).parent.glob("*.py")):
            digest.update(file.read_bytes())
        return digest.hexdigest()[:12]


def _mapped(path: Path, shape: tuple[int, ...]) -> np.memmap:
    """A file of that many bytes, zeros where nothing is written yet. DataError: it cannot be had; a full disk."""
    size = int(np.prod(shape))
    try:
        with open(path, "ab") as file:
            os.posix_fallocate(file.fileno(), 0, size)  # a full disk is met here, not as a bus error while drawing
        return np.memmap(path, dtype=np.uint8, mode="r+", shape=shape)
    except OSError as error:
        raise DataError(
            f"{path}: {size / 1e9:.1f} GB cannot be kept ({error.strerror}); make room, or --set kept=0"
        ) from None
