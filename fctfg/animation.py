"""What a method gives back: the frames it made, and which frames of the clip they answer."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Animation:
    """A generated clip.

    ``frames``: (n, H, W, 3) uint8 RGB, or an iterable of such chunks or of single frames. Returning the very
    ``driving`` array that the method was given means "the driving frames themselves": nothing is stored.

    ``fps``: frames per second of ``frames``; anything but 25 is resampled to 25.

    ``first_frame``: the clip's frame number that ``frames[0]`` answers. The reference is frame 0, so a method that
    answers the first driving frame says 1 (the default), and one that drops the first two driving frames says 3.

    ``crop``: the part of the 256x256 frame that the method's picture shows, as (left, top, right, bottom) fractions
    in [0, 1]; the ground truth is put through the same crop before it is compared. None: the whole frame.
    """

    frames: np.ndarray | Iterable[np.ndarray]
    fps: float = 25.0
    first_frame: int = 1
    crop: tuple[float, float, float, float] | None = None
