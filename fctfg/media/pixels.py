"""Pictures between decoder and array: colour conversion, crop, resize.

Colour. A stream's own matrix (BT.601, BT.709, BT.2020) and range (limited, full) are used; a stream that names no
matrix is BT.601 at every size, and one that names no range is limited, which is what FFmpeg's swscale, PyAV and OpenCV
do. The conversion is swscale's default one, so that at native size the pixels equal
``frame.to_ndarray(format="rgb24")`` and OpenCV's to the bit on the same processor family.

Resize. One filter everywhere: bicubic (FFmpeg's: B = 0, C = 0.6), widened by the scale factor when shrinking
(anti-aliased), each of R, G and B by itself. It runs in swscale with its bit-exact flags, single-threaded: the same
bytes on every machine.
"""

from __future__ import annotations

import av
import numpy as np
from av.video.reformatter import Interpolation, VideoReformatter

Box = tuple[int, int, int, int]
"""left, top, right, bottom in source pixels; right and bottom exclusive."""

_RESIZE = int(Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.BITEXACT)


class Converter:
    """Decoded frames to RGB arrays. One per stream: it keeps swscale's tables between frames."""

    def __init__(self):
        self._reformatter = VideoReformatter()

    def __call__(self, frame: av.VideoFrame) -> np.ndarray:
        """(H, W, 3) uint8 RGB, upright: the display matrix's rotation (in quarter turns) is applied."""
        rgb = self._reformatter.reformat(frame, format="rgb24", threads=1).to_ndarray()
        turns = round(frame.rotation / 90)
        return np.rot90(rgb, turns) if turns else rgb


class Resizer:
    """Resize (h, w, 3) uint8 pictures to ``size`` = (width, height) with the filter of this module."""

    def __init__(self, size: tuple[int, int]):
        width, height = (int(side) for side in size)
        if width < 1 or height < 1:
            raise ValueError(f"size must be (width, height) of at least one pixel each, not {tuple(size)}")
        self.size = (width, height)
        self._reformatter = VideoReformatter()

    def __call__(self, picture: np.ndarray) -> np.ndarray:
        height, width = picture.shape[:2]
        if (width, height) == self.size:
            return picture
        # The three planes go in under the name of a 4:4:4 format: swscale then filters each plane as it is. Given
        # RGB by its own name it would go through YUV and halve the colour resolution.
        planes = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture.transpose(2, 0, 1)), format="yuv444p")
        scaled = self._reformatter.reformat(
            planes, width=self.size[0], height=self.size[1], interpolation=_RESIZE, threads=1
        )
        return scaled.to_ndarray().transpose(1, 2, 0)


def resize(frames: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize pictures.

    ``frames``: (t, h, w, 3) uint8. ``size``: (width, height). Returns (t, height, width, 3) uint8, and ``frames``
    itself when it already has that size. The filter is the module's: FFmpeg's bicubic, anti-aliased, bit-exact.
    """
    frames = np.asarray(frames)
    if frames.ndim != 4 or frames.shape[3] != 3 or frames.dtype != np.uint8:
        raise ValueError(f"resize takes (t, h, w, 3) uint8, not {frames.shape} {frames.dtype}")
    resizer = Resizer(size)
    if frames.shape[2::-1][:2] == resizer.size:
        return frames
    out = np.empty((len(frames), resizer.size[1], resizer.size[0], 3), np.uint8)
    for index, picture in enumerate(frames):
        out[index] = resizer(picture)
    return out
