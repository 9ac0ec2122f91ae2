"""The bundled networks, loaded once, and what they make of a frame: one row of numbers that can be stored."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from fctfg.weights import sha256
from metrics.frame_values import Extractor
from metrics.puppets.bundled import FILES
from metrics.puppets.face_reader import GEOMETRY, MOTION, POINTS, SIZE, FaceReader
from metrics.puppets.geometry import mouth_crops, resized
from metrics.puppets.lip_sync import FEATURES, LipSync
from metrics.puppets.training import weights_of

#: what a stored row holds; goes up when that changes
LAYOUT = 1
#: frames that pass the networks at once; a shorter rest is filled up, so that a frame always meets the same kernels
BATCH = 16
#: points are in pixels of a frame of this width, as all landmark metrics'
UNIT = 256
_LOADING = threading.Lock()
_WIDTHS = {"points": 2 * POINTS, "motion": len(MOTION), "identity": len(GEOMETRY), "lips": FEATURES}
_ENDS = dict(zip(_WIDTHS, np.cumsum(list(_WIDTHS.values())).tolist(), strict=True))
_SPANS = {name: slice(end - _WIDTHS[name], end) for name, end in _ENDS.items()}
WIDTH = sum(_WIDTHS.values())


def part(rows: np.ndarray, name: str) -> np.ndarray:
    """(T, WIDTH) rows -> the columns of "points" as (T, 68, 2) in pixels at 256, of "motion" (T, 18), of "identity" or
    "lips"; NaN where no face was seen.
    """
    values = rows[:, _SPANS[name]]
    return values.reshape(len(rows), POINTS, 2) if name == "points" else values


@dataclass(frozen=True)
class Instruments:
    """Both networks, ready on ``device``; ``version`` names their files. ``strangers``: (n, d) embeddings of people."""

    reader: FaceReader
    sync: LipSync
    strangers: Tensor
    device: str
    version: str

    def __call__(self, frames: np.ndarray) -> np.ndarray:
        """(t, H, W, 3) uint8 RGB -> (t, WIDTH) float32, each row of its frame alone, NaN where there is no face."""
        return np.concatenate([self._rows(frames[at : at + BATCH]) for at in range(0, len(frames), BATCH)])

    def _rows(self, frames: np.ndarray) -> np.ndarray:
        filled = np.concatenate([frames, np.repeat(frames[-1:], BATCH - len(frames), axis=0)])
        with torch.inference_mode():
            whole = torch.from_numpy(filled).to(self.device).permute(0, 3, 1, 2).float() / 255
            seen = self.reader(resized(whole, SIZE).contiguous(memory_format=torch.channels_last))
            crops = mouth_crops(resized(whole), seen["landmarks"])
            lips = self.sync.features(crops.contiguous(memory_format=torch.channels_last))
            # from [0, 1] of the frame to pixels, (0, 0) the centre of the top left one
            points = seen["landmarks"] * UNIT - 0.5
            rows = torch.cat([points.flatten(1), seen["motion"], seen["identity"], lips], 1)
            rows[seen["presence"] < 0] = torch.nan
        return rows[: len(frames)].cpu().numpy()

    def extractor(self) -> Extractor:
        return Extractor("puppets", self.version, self)


def load(device: str = "cpu") -> Instruments:
    """The bundled networks on ``device``, made once. WeightsError or OSError where a file is damaged or missing."""
    with _LOADING:
        return _load(FILES["reader"], FILES["sync"], device)


@lru_cache(maxsize=4)
def _load(reader_file: Path, sync_file: Path, device: str) -> Instruments:
    state = weights_of(reader_file)
    strangers = state.pop("strangers")
    reader, sync = opened(FaceReader(), state, device), opened(LipSync(), weights_of(sync_file), device)
    version = f"{LAYOUT}; reader {sha256(reader_file)[:12]}, sync {sha256(sync_file)[:12]}"
    return Instruments(reader, sync, strangers, device, version)


def opened(net: torch.nn.Module, state: dict[str, Tensor], device: str) -> torch.nn.Module:
    net.load_state_dict(state)
    return net.to(device, memory_format=torch.channels_last).eval().requires_grad_(False)
