"""The accumulator of the group "image": a clip's value is the mean over its frames, each frame counting once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from metrics.image import image_scores, too_small
from metrics.interface import Context, MetricFailure, Result


class ImageScores:
    """SSIM, MS-SSIM, PSNR and L1 of one clip.

    The mean is over the frames with a finite value, and infinite where none is finite (PSNR of equal videos); details
    give the number of frames, of infinite ones where there are any, and the least and greatest finite value.
    """

    def __init__(self, names: Sequence[str], context: Context):
        if context.reference is None:
            raise MetricFailure(f"{context.generated.label}: image metrics need a reference video")
        self._label, self._device = context.generated.label, torch.device(context.device)
        self._values: dict[str, list[Tensor]] = {name: [] for name in names}
        self._failures: dict[str, str] = {}

    def update(self, generated: np.ndarray, reference: np.ndarray) -> None:
        """The next aligned frames, (t, H, W, 3) uint8 RGB each. ValueError where their sizes differ."""
        x, y = self._frames(generated), self._frames(reference)
        for name in self._values:
            if name not in self._failures and (reason := too_small(name, *x.shape[2:])):
                self._failures[name] = f"{self._label}: {reason}"
        for name, values in image_scores(x, y, [n for n in self._values if n not in self._failures]).items():
            self._values[name].append(values.cpu())

    def result(self) -> dict[str, Result]:
        return {name: self._result(name) for name in self._values}

    def _frames(self, frames: np.ndarray) -> Tensor:
        writable = frames if frames.flags.writeable else frames.copy()  # torch warns of memory it may not write
        return torch.from_numpy(writable).to(self._device).permute(0, 3, 1, 2)

    def _result(self, name: str) -> Result:
        if name in self._failures:
            return Result(failure=self._failures[name])
        if not self._values[name]:
            return Result(failure=f"{self._label}: no frames")
        values = torch.cat(self._values[name]).numpy()
        finite = values[np.isfinite(values)]
        details: dict[str, float | int] = {"frames": len(values)}
        if len(finite) < len(values):
            details["infinite"] = len(values) - len(finite)
        if not len(finite):
            return Result(float("inf"), details)
        return Result(float(finite.mean()), details | {"least": float(finite.min()), "greatest": float(finite.max())})
