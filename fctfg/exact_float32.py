"""Inference in true float32.

A GPU rounds what enters a convolution to TF32, three digits, unless it is told not to. Scores and boxes would then
differ between a CPU and a GPU, and between two GPUs, in the third digit. Every network that measures, and every one
that detects, runs inside this.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

_TURNS = threading.Lock()


@contextmanager
def exact_float32(device: torch.device) -> Iterator[None]:
    """No gradients, and no TF32 or timing-dependent choice of algorithm in cuDNN's convolutions.

    The setting belongs to the process, so threads take turns on a GPU; on a CPU nothing is set and none waits.
    """
    if device.type == "cpu":
        with torch.inference_mode():
            yield
    else:
        flags = torch.backends.cudnn.flags(enabled=True, benchmark=False, allow_tf32=False)
        with _TURNS, torch.inference_mode(), flags:
            yield
