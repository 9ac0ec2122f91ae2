"""The lip-sync network: five frames of a puppet's mouth and 0.2 s of its sound to unit vectors that agree in sync.

SyncNet's interface (Chung and Zisserman, "Out of time", 2016) on small crops: a frame's crop becomes a feature of its
own, which neighbouring windows share and which can be stored; five features in a row become the window's embedding. The
sound comes in as SyncNet's MFCC, 20 columns for a window. Both embeddings have unit length, so distances are in [0, 2].
"""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metrics.mfcc import N_COEFFICIENTS, mfcc, to_int16
from metrics.puppets.face_reader import Block, conv
from metrics.puppets.geometry import CROP

WINDOW, COLUMNS, COLUMNS_PER_FRAME = 5, 20, 4
SAMPLES_PER_FRAME = 640
FEATURES, EMBEDDING = 96, 128


class LipSync(nn.Module):
    """Three steps: ``features`` of crops, ``lips`` of windows of features, ``speech`` of windows of MFCC."""

    def __init__(self, widths: tuple[int, ...] = (24, 48, 96, 128)) -> None:
        super().__init__()
        a, b, c, d = widths
        self.frame = nn.Sequential(
            conv(3, a, 3, 2), conv(a, b, 3, 2), Block(b), conv(b, c, 3, 2), Block(c), conv(c, d, 3, 2), nn.Flatten(),
            nn.Linear(d * (CROP[0] // 16) * (CROP[1] // 16), FEATURES), nn.BatchNorm1d(FEATURES),
        )  # fmt: skip
        self.window = nn.Sequential(
            nn.Linear(WINDOW * FEATURES, 256), nn.BatchNorm1d(256), nn.ReLU(inplace=True), nn.Linear(256, EMBEDDING)
        )
        self.sound = nn.Sequential(
            _conv1d(N_COEFFICIENTS, 96, 3), _conv1d(96, 128, 3, 2), _conv1d(128, 192, 3, 2), nn.Flatten(),
            nn.Linear(192 * COLUMNS // 4, 256), nn.BatchNorm1d(256), nn.ReLU(inplace=True), nn.Linear(256, EMBEDDING),
        )  # fmt: skip
        self.log_scale = nn.Parameter(torch.tensor(math.log(10.0)))
        self.register_buffer("mfcc_mean", torch.zeros(N_COEFFICIENTS))
        self.register_buffer("mfcc_std", torch.ones(N_COEFFICIENTS))

    def features(self, crops: Tensor) -> Tensor:
        """Mouth crops (B, 3, 48, 64) in [0, 1] -> (B, FEATURES), each of its frame alone."""
        return self.frame((crops - 0.5) * 4)

    def lips(self, features: Tensor) -> Tensor:
        """Features (..., T, FEATURES) of T frames in a row -> unit embeddings (..., T - 4, EMBEDDING)."""
        windows = features.unfold(-2, WINDOW, 1).transpose(-1, -2)  # (..., T - 4, 5, FEATURES)
        flat = windows.reshape(-1, WINDOW * FEATURES)
        return F.normalize(self.window(flat), dim=1).view(*windows.shape[:-2], EMBEDDING)

    def speech(self, columns: Tensor) -> Tensor:
        """MFCC (..., n, 13) -> unit embeddings (..., windows, EMBEDDING); window i is columns 4 i .. 4 i + 19."""
        normal = (columns - self.mfcc_mean) / self.mfcc_std
        windows = normal.unfold(-2, COLUMNS, COLUMNS_PER_FRAME)  # (..., windows, 13, 20)
        flat = windows.reshape(-1, N_COEFFICIENTS, COLUMNS)
        return F.normalize(self.sound(flat), dim=1).view(*windows.shape[:-2], EMBEDDING)


def _conv1d(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv1d(inputs, outputs, kernel, stride, kernel // 2, bias=False),
        nn.BatchNorm1d(outputs),
        nn.ReLU(inplace=True),
    )


def columns_of(n_windows: int) -> int:
    """MFCC columns that ``n_windows`` neighbouring windows need."""
    return COLUMNS_PER_FRAME * (n_windows - 1) + COLUMNS


def coefficients(audio: np.ndarray, n_windows: int) -> Tensor:
    """Sound (N,) float32 at 16 kHz -> the MFCC columns (4 n + 16, 13) float32 of ``n_windows`` windows.

    Raises ValueError where the sound is too short for them.
    """
    needed = columns_of(n_windows)
    columns = mfcc(to_int16(audio))[:needed]
    if len(columns) < needed:
        raise ValueError(f"{n_windows} windows need {needed} MFCC columns, and there are {len(columns)}")
    return torch.from_numpy(columns).float()
