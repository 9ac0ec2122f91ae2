"""Cuts between shots, as the LSE pipeline finds them: a sudden change of a frame's colours.

The rule is PySceneDetect's ContentDetector (version 0.5.1, which joonson/syncnet_python pins): a frame starts a new
shot when hue, saturation and value, each on OpenCV's 8-bit scale, differ from the frame before by a threshold or more,
averaged over pixels and the three channels, and the last cut is at least 15 frames back.
"""

from __future__ import annotations

import numpy as np

from fctfg.face_pixels import rgb_to_hsv

#: The default of version 0.5.1. From 0.6 on it is 27, and cuts close together are merged.
THRESHOLD = 30.0
MIN_SHOT = 15  # frames
#: Frames this wide or wider are thinned out by this factor on both sides before they are compared.
THINNING = ((3200, 12), (2100, 8), (1700, 6), (1200, 5), (900, 4), (600, 3), (400, 2))


class ShotCuts:
    """Frames in, in order and in pieces; for each, whether it starts a new shot (the very first does not)."""

    def __init__(self, threshold: float = THRESHOLD, min_shot: int = MIN_SHOT) -> None:
        self.threshold = threshold
        self.min_shot = min_shot
        self._before: np.ndarray | None = None
        self._number = 0
        self._last_cut: int | None = None

    def push(self, frames: np.ndarray) -> np.ndarray:
        """Frames (t, H, W, 3) uint8 RGB -> (t,) bool."""
        cuts = np.zeros(len(frames), dtype=bool)
        for k, change in enumerate(self.changes(frames)):
            far = self._last_cut is None or self._number - self._last_cut >= self.min_shot
            if change >= self.threshold and far:
                cuts[k] = True
                self._last_cut = self._number
            self._number += 1
        return cuts

    def changes(self, frames: np.ndarray) -> list[float]:
        """How much each frame's colours differ from the frame before it, 0..255; 0 for the very first frame."""
        step = next((factor for width, factor in THINNING if frames.shape[2] >= width), 1)
        found = []
        for frame in frames:
            now = rgb_to_hsv(np.ascontiguousarray(frame[::step, ::step])).astype(np.int16)
            found.append(0.0 if self._before is None else float(np.abs(now - self._before).mean()))
            self._before = now
        return found
