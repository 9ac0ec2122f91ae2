"""pSp's encoder: a picture becomes one style per generator layer (W+).

Source: Richardson et al., arXiv 2008.00951; eladrich/pixel2style2pixel models/encoders/psp_encoders.py
(GradualStyleEncoder), whose state-dict names these are. The mean latent is not in here: the caller adds it.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fctfg.nets.fold import fold_backbone
from fctfg.nets.ir_se import UNITS, WIDTHS, Backbone
from fctfg.nets.ops import EqualLinear

#: heads below the first number read the map at 1/16 of the picture, below the second at 1/8, the others at 1/4
COARSE, MIDDLE = 3, 7


class StyleHead(nn.Module):
    """A map (B,C,side,side) -> one style (B,style_dim): log2(side) convolutions of stride 2, then a linear layer."""

    def __init__(self, side: int, in_channels: int, width: int, style_dim: int) -> None:
        super().__init__()
        convs: list[nn.Module] = []
        for i in range(int(math.log2(side))):
            convs += [nn.Conv2d(width if i else in_channels, width, 3, 2, 1), nn.LeakyReLU(0.01)]
        self.convs = nn.Sequential(*convs)
        self.linear = EqualLinear(width, style_dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(self.convs(x).flatten(1))


class PSPEncoder(Backbone):
    """Pictures (B,3,size,size) in [-1,1] -> styles (B,n_styles,style_dim), relative to the mean latent.

    Maps at 1/16, 1/8 and 1/4 of the size come from a feature pyramid over the stages of IR-SE50; heads 0-2 read the
    first, 3-6 the second, 7 and up the third. The defaults are the public network for a 256 generator: 209 M
    parameters, 119 GFLOP a picture. ``feature_width``: channels of the pyramid, equal to the last of ``widths``;
    ``head_width``: channels inside a head, ``feature_width`` unless given (512 for both in the public one).

    ``tile``: so many pixels each way come in as channels of one, so that nothing of the picture is lost and all maps
    are that many times smaller: a 128 picture in tiles of 4 costs what one of 32 does. 1 is the public network.
    """

    def __init__(
        self,
        size: int = 256,
        n_styles: int = 14,
        style_dim: int = 512,
        units: Sequence[int] = UNITS,
        widths: Sequence[int] = WIDTHS,
        stem: int = 64,
        feature_width: int = 512,
        head_width: int | None = None,
        tile: int = 1,
    ) -> None:
        super().__init__(units, widths, stem, 3 * tile**2)
        side = size // tile
        if side < 32 or size & (size - 1) or tile & (tile - 1):
            raise ValueError(f"size {size} and tile {tile} must be powers of two, the size at least 32 tiles")
        if len(widths) != 4 or widths[-1] != feature_width:
            raise ValueError(f"widths {tuple(widths)} must be four, the last of them feature_width ({feature_width})")
        head_width = head_width or feature_width
        self.size = size
        self.tile = tile
        self.n_styles = n_styles
        self.style_dim = style_dim
        self.styles = nn.ModuleList(
            StyleHead(side // _fraction(i), feature_width, head_width, style_dim) for i in range(n_styles)
        )
        self.latlayer1 = nn.Conv2d(widths[2], feature_width, 1)
        self.latlayer2 = nn.Conv2d(widths[1], feature_width, 1)

    def forward(self, x: Tensor, layers: Sequence[int] | None = None) -> Tensor:
        """(B,3,size,size) -> (B,len(layers),style_dim): the heads named, in that order; all of them by default.

        A head that is not named is not computed, nor the part of the pyramid that only such heads read; the values of
        the others are the same. IndexError for a layer that does not exist.
        """
        layers = range(self.n_styles) if layers is None else layers
        if not all(0 <= i < self.n_styles for i in layers):
            raise IndexError(f"layers {list(layers)} must be within 0..{self.n_styles - 1}")
        maps = self.maps(x, max(layers, default=0))
        return torch.stack([self.styles[i](maps[_fraction(i)]) for i in layers], 1)

    def stages(self, x: Tensor) -> list[Tensor]:
        return super().stages(F.pixel_unshuffle(x, self.tile) if self.tile > 1 else x)

    def maps(self, x: Tensor, layer: int) -> dict[int, Tensor]:
        """The pyramid as far up as head ``layer`` reads: {16: (B,C,size/16,size/16), 8: ..., 4: ...}."""
        _, fine, middle, coarse = self.stages(x)
        maps = {16: coarse}
        if layer >= COARSE:
            maps[8] = _up_and_add(coarse, self.latlayer1(middle))
        if layer >= MIDDLE:
            maps[4] = _up_and_add(maps[8], self.latlayer2(fine))
        return maps


class FoldedPSPEncoder(PSPEncoder):
    """`PSPEncoder` for inference, made by `folded`: the same call, pictures of exactly ``size``, no gradients."""

    #: this many stages see one picture at a time: their maps are so large that a batch of them leaves the caches
    SINGLE = 2

    def __init__(self, encoder: PSPEncoder) -> None:
        nn.Module.__init__(self)
        self.size, self.n_styles, self.style_dim = encoder.size, encoder.n_styles, encoder.style_dim
        self.tile = encoder.tile
        self.ends = encoder.ends
        self.input_layer, self.body = fold_backbone(encoder, encoder.size // encoder.tile)
        self.styles = copy.deepcopy(encoder.styles)
        self.latlayer1 = copy.deepcopy(encoder.latlayer1)
        self.latlayer2 = copy.deepcopy(encoder.latlayer2)
        for module in self.styles.modules():
            if isinstance(module, nn.LeakyReLU):
                module.inplace = True
        self.requires_grad_(False).eval().to(memory_format=torch.channels_last)

    def forward(self, x: Tensor, layers: Sequence[int] | None = None) -> Tensor:
        """As `PSPEncoder.forward`. ValueError for pictures of another size."""
        if x.shape[-2:] != (self.size, self.size):
            raise ValueError(f"pictures are {tuple(x.shape[-2:])}, this encoder was folded for {self.size}")
        with torch.no_grad():
            return super().forward(x.contiguous(memory_format=torch.channels_last), layers)

    def stages(self, x: Tensor) -> list[Tensor]:
        split = self.ends[self.SINGLE - 1] + 1
        if self.tile > 1:
            x = F.pixel_unshuffle(x, self.tile).contiguous(memory_format=torch.channels_last)
        pictures = x.split(1) if x.device.type == "cpu" else [x]
        parts = [self._through(self.input_layer(part), 0, split) for part in pictures]
        early = [torch.cat(maps) for maps in zip(*parts, strict=True)]
        return early + self._through(early[-1], split, len(self.body))

    def _through(self, x: Tensor, start: int, stop: int) -> list[Tensor]:
        maps = []
        for i in range(start, stop):
            x = self.body[i](x)
            if i in self.ends:
                maps.append(x)
        return maps


def folded(encoder: PSPEncoder) -> FoldedPSPEncoder:
    """A copy of ``encoder`` for inference: norms folded into convolutions, channels last, frozen in eval mode.

    Equal to ``encoder.eval()`` up to float32 rounding. Later changes to ``encoder`` do not reach it.
    """
    return FoldedPSPEncoder(encoder)


def _fraction(layer: int) -> int:
    """Which map a head reads, as a fraction of the picture's side."""
    return 16 if layer < COARSE else 8 if layer < MIDDLE else 4


def _up_and_add(small: Tensor, large: Tensor) -> Tensor:
    return F.interpolate(small, size=large.shape[-2:], mode="bilinear", align_corners=True) + large
