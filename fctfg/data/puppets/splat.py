"""From shaded surfaces to a picture: patches are diced finer than the picture's samples and kept by depth.

Every patch is a grid of shaded points. It is diced by bilinear interpolation until neighbouring points lie closer than
a sample of the picture, and every point writes one 64-bit key, depth above colour, into its sample; the largest key
wins. So hidden surfaces vanish without sorting, the result does not depend on any order, and anti-aliasing is the mean
over a pixel's samples (after REYES: Cook, Carpenter and Catmull, "The Reyes image rendering architecture", 1987).
"""

from __future__ import annotations

import torch
from torch.nn.functional import interpolate

#: samples per pixel along each axis
SAMPLES = 2
_DEPTH_BITS, _BITS = 24, 10  # of the depth and of one colour channel
_DEPTH_RANGE = 8.0  # depths lie in (-4, 4)
_FAR = 0.6  # a gap shows something far behind when it is this much deeper
_FULL, _DEEP = 2**_BITS - 1, 2**_DEPTH_BITS - 1


def _pack(colour: torch.Tensor) -> torch.Tensor:
    """Display colours ``(B, 3, ...)`` in [0, 1] to one int32 each."""
    r, g, b = colour.mul(_FULL).to(torch.int32).unbind(1)
    return r.bitwise_left_shift_(2 * _BITS).bitwise_or_(g.bitwise_left_shift_(_BITS)).bitwise_or_(b)


class Canvas:
    """Samples of a batch of pictures. Draw patches in any order, then take the picture."""

    def __init__(self, background: torch.Tensor) -> None:
        """``background``: display colours ``(B, 3, size, size)``."""
        self.batch, _, self.size, _ = background.shape
        self.side = self.size * SAMPLES + 2  # a border of one sample takes what falls outside or through a hole
        packed = _pack(background)[:, :, None, :, None].expand(-1, -1, SAMPLES, -1, SAMPLES)
        packed = packed.reshape(self.batch, self.side - 2, self.side - 2)
        self.keys = torch.nn.functional.pad(packed, (1, 1, 1, 1)).long().flatten(1)

    def draw(
        self,
        screen: torch.Tensor,
        colour: torch.Tensor,
        hole: torch.Tensor | None = None,
        dice: tuple[int, int] = (3, 3),
    ) -> None:
        """Draw a patch.

        ``screen``: x, y in pixels from the picture's top left corner and depth towards the viewer,
        ``(B, 3, rows, columns)``; ``colour``: display colours in [0, 1] of the same shape; ``hole``:
        ``(B, rows, columns)``, the patch is cut away where it is positive; ``dice``: points per grid step down and
        across.
        """
        parts = [screen, colour] + ([] if hole is None else [hole[:, None]])
        size = [(n - 1) * k + 1 for n, k in zip(screen.shape[2:], dice, strict=True)]
        fine = interpolate(torch.cat(parts, 1), size=size, mode="bilinear", align_corners=True)
        place = fine[:, :2].mul_(SAMPLES).add_(1).floor_().clamp_(0, self.side - 1)
        place = place[:, 1].mul_(self.side).add_(place[:, 0]).long()
        if hole is not None:
            place.mul_(fine[:, 6] <= 0)
        keys = fine[:, 2].mul_(_DEEP / _DEPTH_RANGE).add_(_DEEP / 2).long()
        keys = keys.bitwise_left_shift_(3 * _BITS).bitwise_or_(_pack(fine[:, 3:6]))
        self._keep(place.flatten(1), keys.flatten(1))

    def _keep(self, place: torch.Tensor, keys: torch.Tensor) -> None:
        if self.batch > 1:
            self.keys.scatter_reduce_(1, place, keys, "amax")
            return
        # torch's one-row case is many times slower on processors than two rows, so a single picture is split in two
        if place.shape[1] % 2:
            place, keys = (torch.nn.functional.pad(t, (0, 1)) for t in (place, keys))
        both = torch.cat([self.keys, torch.zeros_like(self.keys)])
        both.scatter_reduce_(1, place.view(2, -1), keys.view(2, -1), "amax")
        self.keys = both.amax(0, keepdim=True)

    def _closed(self) -> torch.Tensor:
        """Keys with pinholes filled from both neighbours across them: gaps of one sample, and gaps of three through
        which something far behind shows. (Narrow true gaps, such as between parted lips, have something close behind.)
        """
        keys = self.keys.view(self.batch, self.side, self.side)[:, 1:-1, 1:-1]
        out = keys.clone()
        for reach, behind in ((1, 0), (2, int(_FAR / _DEPTH_RANGE * _DEEP) << (3 * _BITS))):
            inner = slice(reach, -reach)
            across = torch.minimum(keys[:, :, : -2 * reach], keys[:, :, 2 * reach :])
            down = torch.minimum(keys[:, : -2 * reach], keys[:, 2 * reach :])
            for filled, old in ((across, out[:, :, inner]), (down, out[:, inner])):
                old.copy_(torch.where(filled - old > behind, filled, old))
        return out

    def picture(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The picture ``(B, 3, size, size)`` in [0, 1] and the nearest depth of each pixel ``(B, size, size)``."""
        keys = self._closed().view(self.batch, self.size, SAMPLES, self.size, SAMPLES)
        four = [keys[:, :, i, :, j] for i in range(SAMPLES) for j in range(SAMPLES)]
        # red and blue are added in one integer, far enough apart not to meet
        red_blue = sum(k & (_FULL << (2 * _BITS) | _FULL) for k in four)
        green = sum(k & (_FULL << _BITS) for k in four)
        channels = [red_blue >> (2 * _BITS), green >> _BITS, red_blue & (2 ** (2 * _BITS) - 1)]
        depth = (torch.maximum(torch.maximum(four[0], four[1]), torch.maximum(four[2], four[3])) >> (3 * _BITS)).float()
        return torch.stack(channels, 1).float() / (SAMPLES**2 * _FULL), (depth - _DEEP / 2) * (_DEPTH_RANGE / _DEEP)
