"""Drawn samples at another size and in nearer framings: a face fills less of a puppet's picture than of FOMM's crops.

source = Framed(PuppetData(size=128), size=64, nearest=1.5)         # a Source; half of the samples are framed nearer
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F

from fctfg.train.data import Source, SyncWindows, Windows, uniform
from fctfg.train.puppet_pool import stream


class Framed:
    """``source`` at ``size``; every second sample, by chance, framed up to ``nearest`` times nearer (1: none).

    Puppets fill less of their own picture than faces fill FOMM's crops. The cut is a square within the picture that
    keeps the face: its place is drawn with its size, one for all frames of a sample.
    """

    def __init__(self, source: Source, size: int, nearest: float = 1.0) -> None:
        if nearest < 1:
            raise ValueError(f"nearest {nearest}: 1 or more, times nearer")
        self.source, self.size, self.nearest, self.device = source, size, nearest, source.device

    def describe(self) -> dict[str, object]:
        return self.source.describe() | {"size": self.size, "nearest": self.nearest}

    def frames(self, indices: Sequence[int]) -> torch.Tensor:
        return self._cut(self.source.frames(indices)[:, None], self._squares("frames", indices))[:, 0]

    def windows(self, indices: Sequence[int]) -> Windows:
        batch = self._all(self.source.windows(indices), ("source", "driving", "target"), indices)
        if batch.landmarks is None:
            return batch
        corner, side = torch.from_numpy(self._squares("windows", indices)).float().to(self.device).split((2, 1), 1)
        placed = (batch.landmarks - corner[:, None, None]) / side[:, None, None]
        return dataclasses.replace(batch, landmarks=placed)

    def sync(self, indices: Sequence[int]) -> SyncWindows:
        return self._all(self.source.sync(indices), ("driving",), indices)

    def _all(self, batch, names: tuple[str, ...], indices: Sequence[int]):
        squares, cut = self._squares("windows", indices), {}
        for name in names:
            pictures = getattr(batch, name)
            if pictures is not None:
                several = pictures if pictures.ndim == 5 else pictures[:, None]
                cut[name] = self._cut(several, squares).reshape(*pictures.shape[:-2], self.size, self.size)
        return dataclasses.replace(batch, **cut)

    def _squares(self, purpose: str, indices: Sequence[int]) -> np.ndarray:
        """(n, 3): left, top and side as fractions of the picture."""
        about = self.source.describe()
        draws = uniform(stream(about["seed"], about["split"], "framing", purpose), indices, 4)
        side = np.where(draws[:, 0] < 0.5, 1.0, 1 / (1 + draws[:, 1] * (self.nearest - 1)))
        left, top = 0.25 + 0.5 * draws[:, 2], 0.35 + 0.5 * draws[:, 3]  # the face is in the middle, a little below it
        return np.stack([(1 - side) * left, (1 - side) * top, side], 1)

    def _cut(self, pictures: torch.Tensor, squares: np.ndarray) -> torch.Tensor:
        """(n, k, 3, S, S) -> (n, k, 3, size, size)."""
        whole = pictures.shape[-1]
        made = []
        for sample, (left, top, side) in zip(pictures, np.round(squares * whole).astype(int), strict=True):
            part = sample[..., top : top + side, left : left + side]
            if side != self.size:
                part = F.interpolate(part, (self.size, self.size), mode="bilinear", antialias=side > self.size)
            made.append(part)
        return torch.stack(made)
