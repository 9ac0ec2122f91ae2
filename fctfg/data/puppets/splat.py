"""From shaded surfaces to a picture: patches are diced finer than the picture's samples and kept by depth.

Every patch is a grid of shaded points. It is diced by bilinear interpolation until neighbouring points lie closer than
a sample of the picture, and every point writes one 64-bit key, depth above colour, into its sample; the largest key
wins. So hidden surfaces vanish without sorting, the result does not depend on any order, and anti-aliasing is the mean
over a pixel's samples (after REYES: Cook, Carpenter and Catmull, "The Reyes image rendering architecture", 1987).
"""

from __future__ import annotations

import torch
from torch.nn.functional import pad

#: samples per pixel along each axis
SAMPLES = 2
_DEPTH_BITS, _BITS = 24, 10  # of the depth and of one colour channel
_DEPTH_RANGE = 8.0  # depths lie in (-4, 4)
_FAR = 0.6  # a gap shows something far behind when it is this much deeper
_FULL, _DEEP = 2**_BITS - 1, 2**_DEPTH_BITS - 1
_REACH = 2  # samples between a pinhole and what fills it, at most
#: points that a processor works on at once, so that what it does to them stays in its cache
_BLOCK = 2**16
#: a patch's cells are sorted out one by one where fewer than this share of them can be seen
_SPARSE = 0.9


def _pack(channels: torch.Tensor) -> torch.Tensor:
    """Integer channels ``(3, ...)`` up to 2**_BITS - 1 to one int32 each."""
    red, green, blue = channels
    return torch.add(blue, torch.add(green, red, alpha=2**_BITS), alpha=2**_BITS)


class Canvas:
    """Samples of a batch of pictures. Draw patches in any order, then take the picture."""

    def __init__(self, background: torch.Tensor) -> None:
        """``background``: display colours ``(B, 3, size, size)``."""
        self.batch, _, self.size, _ = background.shape
        self.side = self.size * SAMPLES + 2  # a border of one sample takes what falls outside or through a hole
        packed = _pack(background.mul(_FULL).to(torch.int32).unbind(1)).long()[:, :, None, :, None]
        packed = packed.expand(-1, -1, SAMPLES, -1, SAMPLES)
        self.keys = packed.new_zeros(self.batch, self.side, self.side)
        inner = self.keys[:, 1:-1, 1:-1].unfold(1, SAMPLES, SAMPLES).unfold(2, SAMPLES, SAMPLES)
        inner.copy_(packed.transpose(2, 3))
        self.on_processor = background.device.type == "cpu"

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
        corners, base = self._cells(screen, colour, hole)
        device = screen.device
        down, across = (torch.arange(k, device=device)[:, None] / k for k in dice)
        block = max(_BLOCK // (dice[0] * dice[1]), 1) if self.on_processor else base.numel()
        for i in range(0, base.numel(), block):
            left, right = (torch.lerp(*(c[:, None, i : i + block] for c in pair), down) for pair in corners)
            fine = torch.lerp(left[:, :, None], right[:, :, None], across)  # (channels, down, across, cells)
            fine[:2].clamp_(0, self.side - 1)
            if hole is not None:
                fine[6].le_(0)
            whole = fine.to(torch.int32)
            place = torch.add(whole[0], whole[1], alpha=self.side)
            if hole is not None:
                place.mul_(whole[6])
            place = place.long().add_(base[i : i + block])
            keys = whole[2].long().bitwise_left_shift_(3 * _BITS).bitwise_or_(_pack(whole[3:6]))
            self.keys.view(-1).scatter_reduce_(0, place.view(-1), keys.view(-1), "amax")

    def _cells(
        self, screen: torch.Tensor, colour: torch.Tensor, hole: torch.Tensor | None
    ) -> tuple[tuple[tuple[torch.Tensor, torch.Tensor], ...], torch.Tensor]:
        """The patch's cells: their corners (top left, bottom left), (top right, bottom right), each ``(channels,
        cells)`` in the canvas's units, and where their picture begins in the keys, ``(cells,)``.

        The last row and column get a cell of no extent, so that every point belongs to the cell that begins with it.
        On a processor cells without a visible point are left out; elsewhere that would mean to wait for the device.
        """
        batch, _, rows, columns = screen.shape
        grid = screen.new_empty(6 if hole is None else 7, batch, rows + 1, columns + 1)
        inner = grid[:, :, :-1, :-1]
        torch.add(screen[:, :2].transpose(0, 1) * SAMPLES, 1, out=inner[:2])
        torch.add(screen[:, 2] * (_DEEP / _DEPTH_RANGE), _DEEP / 2, out=inner[2])
        torch.mul(colour.transpose(0, 1), _FULL, out=inner[3:6])
        if hole is not None:
            inner[6] = hole
        grid[:, :, -1, :-1] = grid[:, :, -2, :-1]
        grid[..., -1] = grid[..., -2]
        base = torch.arange(batch, device=screen.device)[:, None, None] * self.side**2
        base = base.expand(-1, rows, columns)
        corner = (slice(None, -1), slice(1, None))
        if self.on_processor:
            x, y = grid[:2]
            hidden = [x < 1, x >= self.side - 1, y < 1, y >= self.side - 1]
            if hole is not None:
                hidden.append(grid[6] > 0)
            code = sum(h.to(torch.uint8) << i for i, h in enumerate(hidden))
            rowwise = code[:, :-1] & code[:, 1:]
            seen = (rowwise[:, :, :-1] & rowwise[:, :, 1:]) == 0
            if seen.count_nonzero() < _SPARSE * seen.numel():
                at = pad(seen, (0, 1, 0, 1)).flatten().nonzero()[:, 0]
                flat = grid.flatten(1)
                pick = lambda step: flat.index_select(1, at + step)  # noqa: E731
                below = columns + 1
                return ((pick(0), pick(below)), (pick(1), pick(below + 1))), base[seen]
        pairs = ((grid[:, :, r, c].flatten(1) for r in corner) for c in corner)
        return tuple(tuple(p) for p in pairs), base.flatten()

    def _closed(self, keys: torch.Tensor) -> torch.Tensor:
        """Keys ``(B, rows, columns)`` with pinholes filled from both neighbours across them: gaps of one sample, and
        gaps of three through which something far behind shows. (Narrow true gaps, such as between parted lips, have
        something close behind.)
        """
        out = keys.clone()
        for reach, behind in ((1, 0), (_REACH, int(_FAR / _DEPTH_RANGE * _DEEP) << (3 * _BITS))):
            inner = slice(reach, -reach)
            across = torch.minimum(keys[:, :, : -2 * reach], keys[:, :, 2 * reach :])
            down = torch.minimum(keys[:, : -2 * reach], keys[:, 2 * reach :])
            for filled, old in ((across, out[:, :, inner]), (down, out[:, inner])):
                old.copy_(torch.where(filled - old > behind, filled, old) if behind else torch.maximum(filled, old))
        return out

    def picture(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The picture ``(B, 3, size, size)`` in [0, 1] and the nearest depth of each pixel ``(B, size, size)``."""
        keys, end = self.keys[:, 1:-1, 1:-1], self.size * SAMPLES
        few, band = self.batch, end
        if self.on_processor:
            few, band = max(_BLOCK // end**2, 1), max(_BLOCK // end // SAMPLES, 8) * SAMPLES
        frames = torch.empty(self.batch, 3, self.size, self.size, device=keys.device)
        nearest = torch.empty(self.batch, self.size, self.size, device=keys.device)
        for i in range(0, self.batch, few):
            for top in range(0, end, band):
                start = max(top - _REACH, 0)  # rows beyond the band fill its pinholes
                closed = self._closed(keys[i : i + few, start : top + band + _REACH])
                rows = slice(top // SAMPLES, (top + band) // SAMPLES)
                whole = closed[:, top - start : top - start + band]
                frames[i : i + few, :, rows], nearest[i : i + few, rows] = self._resolve(whole)
        return frames, nearest

    def _resolve(self, keys: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Samples to pixels: the mean of the colours and the nearest depth."""
        depth, colour = (keys >> (3 * _BITS)).to(torch.int32), (keys & (2 ** (3 * _BITS) - 1)).to(torch.int32)
        # red and blue are added in one integer, far enough apart not to meet
        red_blue, green = _sums(colour & (_FULL << (2 * _BITS) | _FULL)), _sums(colour & (_FULL << _BITS))
        wide = 2 ** (_BITS + 2) - 1  # the sum of four may reach the sign bit, which a shift drags along
        channels = [red_blue >> (2 * _BITS) & wide, green >> _BITS, red_blue & wide]
        depth = torch.maximum(depth[:, ::2], depth[:, 1::2])
        depth = torch.maximum(depth[..., ::2], depth[..., 1::2]).float()
        return (
            torch.stack(channels, 1).float().div_(SAMPLES**2 * _FULL),
            (depth - _DEEP / 2) * (_DEPTH_RANGE / _DEEP),
        )


def _sums(samples: torch.Tensor) -> torch.Tensor:
    """Sums over the two by two samples of each pixel."""
    rows = samples[:, ::2] + samples[:, 1::2]
    return rows[..., ::2] + rows[..., 1::2]
