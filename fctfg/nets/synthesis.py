"""The generator for inference: the same numbers as `Generator.synthesis`, with all that a source fixes worked out once.

FC-TFG moves eight of the fourteen rows of W+ and leaves six as the source has them (paper, section 3.2). Those six
rows' modulation and demodulation are folded into their weights, and the maps before the first moving row are
computed once. What is left for each frame is the convolutions, in the dense form and channels_last, with the
factor sqrt(2) of the activations moved into the numbers around them (a leaky ReLU passes positive factors through)
and everything between two convolutions done in place.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from fctfg.nets.generator import Generator, Layer
from fctfg.nets.ops import EPSILON, GAIN, SLOPE, Blur, Upsample, demodulation

FCTFG_CONSTANT = (0, 5, 6, 11, 12, 13)
"""The rows of W+ at 256 that FC-TFG leaves alone: the complement of the paper's 1, 2, 3, 4, 7, 8, 9, 10."""

LAST = torch.channels_last


@dataclass(frozen=True)
class Prepared:
    """One convolution with its source's numbers in it.

    ``weight``: (out, in, k, k), transposed to (in, out, k, k) for an up-convolution, (in, 3) for a toRGB. ``shift``:
    what is added to the result, bias and noise times sqrt(2), (1, out, H, W); for a toRGB the bias, (1, 3, 1, 1).
    ``affine``: the weight and bias that make a style from a row of W+, None where the style is in the weight already;
    ``energy`` (out, in): squared weights summed over the kernel, from which a style's demodulation follows.
    """

    weight: Tensor
    shift: Tensor
    affine: tuple[Tensor, Tensor] | None
    energy: Tensor | None

    def style(self, w: Tensor) -> Tensor:
        """(B, D) -> (B, in)."""
        return F.linear(w, *self.affine)

    def gain(self, style: Tensor) -> Tensor:
        """sqrt(2) times the demodulation, as maps are scaled with it: (B, in) -> (B, out, 1, 1)."""
        return (GAIN * torch.rsqrt(F.linear(style.square(), self.energy) + EPSILON))[:, :, None, None]


class Synthesis:
    """`Generator.synthesis` with fixed noise for pictures that share the rows ``constant`` of W+.

    Use: ``Synthesis(generator).bind(w_source)(rows)``. `bind` copies the weights, so a generator that trains on
    does not change a bound Synthesis. ``dtype``: of the weights and maps (the generator's unless given; bfloat16 for a
    GPU); styles and the picture itself stay float32. For inference only: no gradients.
    """

    def __init__(
        self, generator: Generator, constant: Iterable[int] = FCTFG_CONSTANT, dtype: torch.dtype | None = None
    ) -> None:
        self.generator = generator
        self.constant = frozenset(constant)
        wrong = sorted(self.constant - set(range(generator.n_styles)))
        if wrong:
            raise ValueError(f"constant rows {wrong}: this generator's rows are 0 to {generator.n_styles - 1}")
        self.varying = tuple(row for row in range(generator.n_styles) if row not in self.constant)
        self.dtype = dtype or generator.input.input.dtype
        self.layers: list[Prepared] = []

    @torch.no_grad()
    def bind(self, w: Tensor, offsets: Sequence[Tensor | None] | None = None) -> Synthesis:
        """Prepares for one source ``w`` (L, D), of which the constant rows are used; returns itself.

        ``offsets``: the source's weight offsets (`Generator.synthesis`), with a leading dimension of 1 each.
        """
        net = self.generator
        if w.shape != (net.n_styles, net.style_dim):
            raise ValueError(f"a source of shape {tuple(w.shape)}: bind needs ({net.n_styles}, {net.style_dim})")
        offsets = offsets or [None] * len(net.layers)
        self.layers = [self._prepare(layer, w[layer.style], offsets[layer.index]) for layer in net.layers]
        self.blur = Blur(padding=1, gain=4.0).to(w.device, self.dtype)
        self.upsample = Upsample().to(w.device)
        self.first = min(self.varying, default=net.n_styles)
        x = net.input.input.to(self.dtype).clone(memory_format=LAST)
        self.start = self._rows(x, None, {}, range(self.first))
        return self

    def _prepare(self, layer: Layer, w: Tensor, offset: Tensor | None) -> Prepared:
        part = self.generator.get_submodule(layer.module)
        weight = part.conv.weight[0] * part.conv.scale
        if offset is not None:
            if offset.shape[0] != 1:
                raise ValueError(
                    "Synthesis shares its weights over the batch: give offsets with a leading dimension of 1"
                )
            weight = weight * (1.0 + offset[0])
        linear = part.conv.modulation
        affine, energy = (linear.weight * linear.scale, linear.bias * linear.lr_mul), None
        if layer.to_rgb:
            shift = part.bias.clone()
        else:
            noise = part.noise.weight * self.generator.noises.get_buffer(f"noise_{layer.noise}")
            shift = GAIN * (noise + part.activate.bias[:, None, None])
        if layer.style in self.constant:
            style = F.linear(w[None], *affine)
            if not layer.to_rgb:
                weight = weight * (GAIN * demodulation(weight, style)[0][:, None, None, None])
            weight, affine = weight * style[0][:, None, None], None
        elif not layer.to_rgb:
            energy = weight.square().sum((2, 3))
        if layer.to_rgb:
            weight = weight[:, :, 0, 0].t()
        else:
            weight = (weight.transpose(0, 1) if layer.up else weight).contiguous(memory_format=LAST)
            shift = shift.to(self.dtype).contiguous(memory_format=LAST)
        return Prepared(weight.to(self.dtype), shift, affine, energy)

    @torch.no_grad()
    def __call__(self, rows: Tensor) -> Tensor:
        """The varying rows (B, n_varying, D), in the order of ``varying`` -> pictures (B, 3, size, size), float32."""
        if not self.layers:
            raise ValueError("Synthesis is not bound to a source; call bind first")
        if rows.ndim != 3 or rows.shape[1] != len(self.varying):
            raise ValueError(f"rows of shape {tuple(rows.shape)}: this Synthesis needs (B, {len(self.varying)}, D)")
        batch = rows.shape[0]
        x, picture = (None if part is None else part.expand(batch, -1, -1, -1).clone() for part in self.start)
        codes = {row: rows[:, place].float() for place, row in enumerate(self.varying)}
        return self._rows(x, picture, codes, range(self.first, self.generator.n_styles))[1]

    def _rows(
        self, x: Tensor, picture: Tensor | None, codes: dict[int, Tensor], rows: Iterable[int]
    ) -> tuple[Tensor, Tensor | None]:
        """All that the given rows of W+ modulate, in order; ``x`` is overwritten."""
        for row in rows:
            if row == 0:
                x = self._conv(x, self.layers[0], codes.get(0), up=False)
            elif row % 2 == 0:
                x = self._conv(x, self.layers[row * 3 // 2], codes.get(row), up=False)
            else:
                to_rgb = row * 3 // 2
                picture = self._to_rgb(x, self.layers[to_rgb], codes.get(row), picture)
                if to_rgb + 1 < len(self.layers):
                    x = self._conv(x, self.layers[to_rgb + 1], codes.get(row), up=True)
        return x, picture

    def _conv(self, x: Tensor, layer: Prepared, w: Tensor | None, up: bool) -> Tensor:
        """A styled convolution, its blur, noise, bias and leaky ReLU; ``x`` is overwritten."""
        if w is not None:
            style = layer.style(w)
            x.mul_(style[:, :, None, None])
        if up:
            x = self.blur(F.conv_transpose2d(x, layer.weight, stride=2))
        else:
            x = F.conv2d(x, layer.weight, padding=1)
        if w is not None:
            x.mul_(layer.gain(style))
        return F.leaky_relu_(x.add_(layer.shift), SLOPE)

    def _to_rgb(self, x: Tensor, layer: Prepared, w: Tensor | None, below: Tensor | None) -> Tensor:
        """The block's picture on top of the one below, upsampled: x (B, C, H, W) -> (B, 3, H, W) float32."""
        weight = layer.weight
        if w is not None:
            weight = weight * layer.style(w)[:, :, None].to(weight.dtype)
        batch, channels, height, width = x.shape
        pixels = torch.matmul(x.permute(0, 2, 3, 1).reshape(batch, height * width, channels), weight)
        picture = pixels.float().transpose(1, 2).reshape(batch, 3, height, width) + layer.shift
        return picture if below is None else picture.add_(self.upsample(below))
