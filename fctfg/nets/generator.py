"""The StyleGAN2 generator (Karras et al. 2020, section 2 and appendix B, configuration F, skip architecture)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fctfg.nets.ops import GAIN, SLOPE, EqualLinear, ModulatedConv2d, PixelNorm, ScaledLeakyReLU, Upsample

Noise = str | Sequence[Tensor]
CONSTANT_SUFFIXES = ("blur.kernel", "upsample.kernel", "conv2.0.kernel", "skip.0.kernel")
"""Ends of the keys that public files hold and our state dicts do not: the filters' constants (`constants`)."""


def log2_size(size: int) -> int:
    """log2 of a picture's side; ValueError unless it is a power of two from 8 upwards."""
    if size < 8 or size & (size - 1):
        raise ValueError(f"size {size}: StyleGAN2 pictures have a side of 8, 16, 32, ... pixels; choose a power of two")
    return size.bit_length() - 1


def channels_at(resolution: int, channel_multiplier: float = 2.0, channel_max: int = 512) -> int:
    """Channels of the maps of one resolution: min(channel_max, 16384 * channel_multiplier / resolution).

    With a multiplier of 1 or 2 and a maximum of 512 this is the public table: 512 up to 32, then halving from
    256 * multiplier at 64.
    """
    return min(channel_max, int(16384 * channel_multiplier / resolution))


def style_count(size: int) -> int:
    """Rows of a W+ code: 2 log2(size) - 2, which is 14 at 256."""
    return 2 * log2_size(size) - 2


@dataclass(frozen=True)
class Layer:
    """One convolution of the generator.

    ``index`` counts all convolutions (HyperStyle's numbering, and the position in ``offsets``); ``style`` is the row
    of W+ that modulates it; ``noise`` the number of its noise map (None for toRGB, which has none).
    """

    index: int
    module: str
    style: int
    resolution: int
    in_channels: int
    out_channels: int
    kernel: int
    up: bool
    noise: int | None

    @property
    def to_rgb(self) -> bool:
        return self.noise is None


def layer_table(size: int, channel_multiplier: float = 2.0, channel_max: int = 512) -> tuple[Layer, ...]:
    """All convolutions in order: conv1, to_rgb1, then from 8 up an up-convolution, a convolution and a toRGB each.

    A toRGB and the up-convolution after it share one row of W+ (at 256, row 7 is toRGB of 32 and the step up to 64).
    """
    top = log2_size(size)
    width = {2**n: channels_at(2**n, channel_multiplier, channel_max) for n in range(2, top + 1)}
    table = [
        Layer(0, "conv1", 0, 4, width[4], width[4], 3, False, 0),
        Layer(1, "to_rgb1", 1, 4, width[4], 3, 1, False, None),
    ]
    for block, n in enumerate(range(3, top + 1)):
        side, index, row = 2**n, 3 * block + 2, 2 * block + 1
        below, here = width[side // 2], width[side]
        table += [
            Layer(index, f"convs.{2 * block}", row, side, below, here, 3, True, 2 * block + 1),
            Layer(index + 1, f"convs.{2 * block + 1}", row + 1, side, here, here, 3, False, 2 * block + 2),
            Layer(index + 2, f"to_rgbs.{block}", row + 2, side, here, 3, 1, False, None),
        ]
    return tuple(table)


def constants(network: nn.Module) -> dict[str, Tensor]:
    """The filters that a public file of this network holds as buffers: key -> (4, 4) value that it must have.

    They are ``convs.N.conv.blur.kernel`` and ``to_rgbs.N.upsample.kernel`` of a generator, ``convs.N.conv2.0.kernel``
    and ``convs.N.skip.0.kernel`` of a discriminator. An importer checks the values and drops the keys.
    """
    kept = network.state_dict()
    return {name: buffer for name, buffer in network.named_buffers() if name not in kept}


class ConstantInput(nn.Module):
    """The learnt 4x4 map that every picture starts from: batch size -> (B, channels, 4, 4).

    It comes in the channels_last layout, and so do all maps made from it: convolutions run faster on CPU and GPU.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.input = nn.Parameter(torch.randn(1, channels, 4, 4))

    def forward(self, batch: int) -> Tensor:
        return self.input.expand(batch, -1, -1, -1).contiguous(memory_format=torch.channels_last)


class NoiseInjection(nn.Module):
    """Noise (1 or B, 1, H, W) times one learnt weight for all channels, zero at the start."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, noise: Tensor) -> Tensor:
        return self.weight * noise


class StyledConv(nn.Module):
    """Modulated 3x3 convolution, noise, bias, scaled leaky ReLU: (B, in, H, W) -> (B, out, H or 2H, W or 2W)."""

    def __init__(self, layer: Layer, style_dim: int) -> None:
        super().__init__()
        self.conv = ModulatedConv2d(layer.in_channels, layer.out_channels, layer.kernel, style_dim, up=layer.up)
        self.noise = NoiseInjection()
        self.activate = ScaledLeakyReLU(layer.out_channels)

    def forward(self, x: Tensor, w: Tensor, noise: Tensor | None, offset: Tensor | None = None) -> Tensor:
        x = self.conv(x, w, GAIN * self.activate.bias[:, None, None], offset, GAIN)
        if noise is not None:
            x = x + (GAIN * self.noise(noise)).to(x.dtype)
        return F.leaky_relu(x, SLOPE)


class ToRGB(nn.Module):
    """1x1 modulated convolution to RGB without demodulation, added to the upsampled picture of the block below."""

    def __init__(self, layer: Layer, style_dim: int) -> None:
        super().__init__()
        self.conv = ModulatedConv2d(layer.in_channels, 3, layer.kernel, style_dim, demodulate=False)
        self.bias = nn.Parameter(torch.zeros(1, 3, 1, 1))
        if layer.resolution > 4:
            self.upsample = Upsample()

    def forward(self, x: Tensor, w: Tensor, below: Tensor | None, offset: Tensor | None = None) -> Tensor:
        picture = self.conv(x, w, self.bias, offset)
        return picture if below is None else picture + self.upsample(below)


class Generator(nn.Module):
    """Noise or style codes to RGB pictures in about [-1, 1] (not clamped).

    ``size``: side of the picture, a power of two from 8. ``style_dim``: D, of z and w. ``channel_multiplier`` and
    ``channel_max``: see `channels_at`. Attributes: ``n_styles`` (L, rows of W+) and ``layers`` (`layer_table`).
    """

    def __init__(
        self,
        size: int,
        style_dim: int = 512,
        mapping_layers: int = 8,
        channel_multiplier: float = 2.0,
        channel_max: int = 512,
    ) -> None:
        super().__init__()
        self.size = size
        self.style_dim = style_dim
        self.n_styles = style_count(size)
        self.layers = layer_table(size, channel_multiplier, channel_max)
        mapping = [EqualLinear(style_dim, style_dim, lr_mul=0.01, activate=True) for _ in range(mapping_layers)]
        self.style = nn.Sequential(PixelNorm(), *mapping)
        self.input = ConstantInput(self.layers[0].in_channels)
        self.conv1 = StyledConv(self.layers[0], style_dim)
        self.to_rgb1 = ToRGB(self.layers[1], style_dim)
        above = self.layers[2:]
        self.convs = nn.ModuleList(StyledConv(layer, style_dim) for layer in above if not layer.to_rgb)
        self.to_rgbs = nn.ModuleList(ToRGB(layer, style_dim) for layer in above if layer.to_rgb)
        self.noises = nn.Module()
        for layer in self.layers:
            if not layer.to_rgb:
                shape = (1, 1, layer.resolution, layer.resolution)
                self.noises.register_buffer(f"noise_{layer.noise}", torch.randn(shape))

    def mapping(self, z: Tensor) -> Tensor:
        """Standard normal z (B, D) -> w (B, D) (StyleGAN section 2)."""
        return self.style(z)

    def mean_latent(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """The mean of ``n`` mapped samples, (D,): the centre for truncation and the start of an encoder's codes.

        ``generator``: a CPU random generator, so that the mean is the same on every device.
        """
        total = torch.zeros(self.style_dim, device=self.input.input.device)
        with torch.no_grad():
            for start in range(0, n, 4096):
                z = torch.randn(min(4096, n - start), self.style_dim, generator=generator)
                total += self.mapping(z.to(total.device)).sum(0)
        return total / n

    def codes(self, w: Tensor, other: Tensor | None = None, crossover: int | None = None) -> Tensor:
        """W to W+: w (B, D) on every row -> (B, L, D); style mixing: ``other`` (B, D) from row ``crossover`` on.

        StyleGAN section 3.1; ``crossover`` in 1..L-1.
        """
        if other is None:
            return w[:, None].expand(-1, self.n_styles, -1)
        if crossover is None or not 0 < crossover < self.n_styles:
            raise ValueError(f"crossover {crossover}: style mixing needs a row number from 1 to {self.n_styles - 1}")
        rows = torch.arange(self.n_styles, device=w.device)[None, :, None]
        return torch.where(rows < crossover, w[:, None], other[:, None])

    def make_noise(self, batch: int = 1, generator: torch.Generator | None = None) -> list[Tensor]:
        """Fresh maps for `synthesis`, one (batch, 1, r, r) for each 3x3 convolution; ``generator`` on our device."""
        like = self.input.input
        sides = [layer.resolution for layer in self.layers if not layer.to_rgb]
        return [torch.randn(batch, 1, r, r, generator=generator, device=like.device) for r in sides]

    def fixed_noise(self) -> list[Tensor]:
        """The stored noise maps, in order."""
        return [self.noises.get_buffer(f"noise_{n}") for n in range(len(self.convs) + 1)]

    def _noise(self, noise: Noise, batch: int) -> Sequence[Tensor | None]:
        if not isinstance(noise, str):
            if len(noise) != len(self.convs) + 1:
                raise ValueError(f"{len(noise)} noise maps for {len(self.convs) + 1} convolutions; see make_noise")
            return noise
        if noise == "fixed":
            return self.fixed_noise()
        if noise == "random":
            return self.make_noise(batch)
        if noise == "none":
            return [None] * (len(self.convs) + 1)
        raise ValueError(f"noise {noise!r}: choose 'fixed', 'random' or 'none', or give a list of maps")

    def synthesis(self, w: Tensor, noise: Noise = "fixed", offsets: Sequence[Tensor | None] | None = None) -> Tensor:
        """W+ codes (B, L, D) -> pictures (B, 3, size, size).

        ``noise``: "fixed" (the stored maps), "random" (fresh), "none", or one map per 3x3 convolution. ``offsets``:
        one entry for each of ``layers``: a relative change of its weights (`ModulatedConv2d.forward`) or None.
        """
        if w.ndim != 3 or w.shape[1] != self.n_styles:
            raise ValueError(f"codes of shape {tuple(w.shape)}: synthesis at {self.size} needs (B, {self.n_styles}, D)")
        if offsets is not None and len(offsets) != len(self.layers):
            raise ValueError(f"{len(offsets)} weight offsets for {len(self.layers)} convolutions")
        delta = offsets or [None] * len(self.layers)
        maps = self._noise(noise, w.shape[0])
        x = self.conv1(self.input(w.shape[0]), w[:, 0], maps[0], delta[0])
        picture = self.to_rgb1(x, w[:, 1], None, delta[1])
        for block, to_rgb in enumerate(self.to_rgbs):
            row, index = 2 * block + 1, 3 * block + 2
            x = self.convs[2 * block](x, w[:, row], maps[row], delta[index])
            x = self.convs[2 * block + 1](x, w[:, row + 1], maps[row + 1], delta[index + 1])
            picture = to_rgb(x, w[:, row + 2], picture, delta[index + 2])
        return picture

    def forward(
        self,
        z: Tensor,
        other: Tensor | None = None,
        crossover: int | None = None,
        noise: Noise = "random",
        truncation: float = 1.0,
        mean: Tensor | None = None,
    ) -> Tensor:
        """Standard normal z (B, D) -> pictures (B, 3, size, size).

        ``other``, ``crossover``: a second z for style mixing (see `codes`). ``truncation`` below 1 pulls w towards
        ``mean`` (D,) (StyleGAN appendix B).
        """
        codes = self.codes(self.mapping(z), None if other is None else self.mapping(other), crossover)
        if truncation != 1.0:
            if mean is None:
                raise ValueError("truncation needs the mean latent; see mean_latent")
            codes = mean + truncation * (codes - mean)
        return self.synthesis(codes, noise)
