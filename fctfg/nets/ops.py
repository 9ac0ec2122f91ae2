"""The operations that StyleGAN2 is made of: equalised layers, the [1, 3, 3, 1] filter, the modulated convolution.

Plain PyTorch throughout, so everything differentiates twice (R1 and path-length regularisation need it) and
compiles. Pictures and maps are float (B, C, H, W). Sources: Karras et al. 2018 (ProGAN) for equalised learning rates
and PixelNorm; Karras et al. 2020 (StyleGAN2), section 2 and appendix B, for the rest. Module and parameter names
are those of the public PyTorch port (rosinality/stylegan2-pytorch), whose files load here.
"""

from __future__ import annotations

import math
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn
from torch.nn import functional as F

SLOPE = 0.2
GAIN = math.sqrt(2.0)
EPSILON = 1e-8


def full_precision(device_type: str) -> AbstractContextManager:
    """Autocast off inside; nothing on devices without autocast (``meta``)."""
    if torch.amp.is_autocast_available(device_type):
        return torch.autocast(device_type, enabled=False)
    return nullcontext()


def scaled_leaky_relu(x: Tensor, bias: Tensor | None = None) -> Tensor:
    """sqrt(2) * leaky_relu(x + bias, 0.2), which keeps the variance. ``bias``: (C,), added along dimension 1."""
    if bias is not None:
        x = x + bias.view(1, -1, *[1] * (x.ndim - 2))
    return F.leaky_relu(x, SLOPE) * GAIN


class ScaledLeakyReLU(nn.Module):
    """`scaled_leaky_relu` with a learnt bias: (B, channels, ...) -> the same shape."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        return scaled_leaky_relu(x, self.bias)


class PixelNorm(nn.Module):
    """Each vector along dimension 1 scaled to unit mean square (ProGAN section 4.2): (B, D, ...) -> the same."""

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.rsqrt(x.square().mean(1, keepdim=True) + EPSILON)


class EqualLinear(nn.Module):
    """A linear layer whose stored weights have variance 1/lr_mul^2 and are scaled by lr_mul/sqrt(in) when used.

    (..., in_features) -> (..., out_features). ``lr_mul`` also scales the bias; ``bias_init`` is the bias as used.
    ``activate``: `scaled_leaky_relu` after it. (ProGAN section 4.1; the mapping network's lr_mul is 0.01.)
    """

    def __init__(
        self, in_features: int, out_features: int, bias_init: float = 0.0, lr_mul: float = 1.0, activate: bool = False
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_features, in_features) / lr_mul)
        self.bias = nn.Parameter(torch.full((out_features,), float(bias_init) / lr_mul))
        self.scale = lr_mul / math.sqrt(in_features)
        self.lr_mul = lr_mul
        self.activate = activate

    def forward(self, x: Tensor) -> Tensor:
        x = F.linear(x, self.weight * self.scale, self.bias * self.lr_mul)
        return F.leaky_relu(x, SLOPE) * GAIN if self.activate else x


class EqualConv2d(nn.Module):
    """A convolution whose stored weights have unit variance and are scaled by 1/sqrt(in * kernel^2) when used.

    (B, in_channels, H, W) -> (B, out_channels, H', W') with conv2d's sizes.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel: int, stride: int = 1, padding: int = 0, bias: bool = True
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(out_channels)) if bias else None
        self.scale = 1.0 / math.sqrt(in_channels * kernel * kernel)
        self.stride = stride
        self.padding = padding

    def forward(self, x: Tensor, bias: Tensor | None = None, gain: float = 1.0) -> Tensor:
        """(B, in, H, W) -> gain * (convolution + bias); ``bias`` (out,) stands in where the layer has none."""
        bias = self.bias if bias is None else bias
        bias = bias if bias is None or gain == 1.0 else bias * gain
        return F.conv2d(x, self.weight * (self.scale * gain), bias, self.stride, self.padding)


class ActivatedConv2d(nn.Sequential):
    """[filter,] `EqualConv2d` without bias, `ScaledLeakyReLU`: what they do one after the other, in fewer passes.

    A leaky ReLU passes positive factors through, so its sqrt(2), and ``gain`` on top, go into the weights and bias.
    """

    def __init__(self, *parts: nn.Module, gain: float = 1.0) -> None:
        super().__init__(*parts)
        self.gain = gain

    def forward(self, x: Tensor) -> Tensor:
        *before, conv, activate = self
        for part in before:
            x = part(x)
        return F.leaky_relu(conv(x, activate.bias, GAIN * self.gain), SLOPE)


class Fir(nn.Module):
    """The separable low-pass filter [1, 3, 3, 1] (x) [1, 3, 3, 1], each channel by itself, zeros outside the map.

    ``kernel``, (4, 4), sums to ``gain``. It is a constant and so no part of the state dict.
    """

    def __init__(self, gain: float = 1.0) -> None:
        super().__init__()
        taps = torch.tensor([1.0, 3.0, 3.0, 1.0])
        self.register_buffer("kernel", torch.outer(taps, taps) * (gain / 64.0), persistent=False)

    def weight(self, channels: int) -> Tensor:
        return self.kernel.expand(channels, 1, 4, 4)


class Blur(Fir):
    """The filter at stride 1 or 2: (B, C, H, W) -> (B, C, H', W'), H' = (H + 2 padding - 4) // stride + 1."""

    def __init__(self, padding: int, stride: int = 1, gain: float = 1.0) -> None:
        super().__init__(gain)
        self.padding = padding
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight(x.shape[1]), None, self.stride, self.padding, 1, x.shape[1])


class Upsample(Fir):
    """Zeros between the pixels, then the filter with gain 4: (B, C, H, W) -> (B, C, 2H, 2W).

    Inside the picture this is bilinear interpolation: each new pixel is 3/4 of the nearer and 1/4 of the farther one.
    """

    def __init__(self) -> None:
        super().__init__(gain=4.0)

    def forward(self, x: Tensor) -> Tensor:
        return F.conv_transpose2d(x, self.weight(x.shape[1]), None, 2, 1, 0, x.shape[1])


def demodulation(weight: Tensor, style: Tensor) -> Tensor:
    """One over the expected deviation of each output: 1/sqrt(sum over in, ky, kx of (weight * style)^2 + 1e-8).

    ``weight`` (out, in, k, k), or (B, out, in, k, k) where each sample has its own; ``style`` (B, in) -> (B, out).
    StyleGAN2 equation 3.
    """
    energy = weight.square().sum((-2, -1))
    power = style.square()
    total = F.linear(power, energy) if weight.ndim == 4 else (energy * power[:, None]).sum(-1)
    return torch.rsqrt(total + EPSILON)


def batched_conv(x: Tensor, weight: Tensor, up: bool) -> Tensor:
    """A convolution, or with ``up`` a transposed one of stride 2, of each sample with its own weights.

    ``x`` (B, in, H, W), ``weight`` (B, out, in, k, k) -> (B, out, H, W), or (B, out, 2H+1, 2W+1) for k = 3 with ``up``.
    """
    batch, out, channels, k, _ = weight.shape
    x = x.reshape(1, batch * channels, *x.shape[2:])
    if up:
        weight = weight.transpose(1, 2).reshape(batch * channels, out, k, k)
        x = F.conv_transpose2d(x, weight, stride=2, groups=batch)
    else:
        x = F.conv2d(x, weight.reshape(batch * out, channels, k, k), padding=k // 2, groups=batch)
    return x.view(batch, out, *x.shape[2:])


class ModulatedConv2d(nn.Module):
    """The convolution whose weights a style scales, in the dense form (StyleGAN2 section 2.2, appendix B).

    A weight w of output j, input i becomes s_i w / |s w|_j. Because s depends on the input channel alone and the norm
    on the output channel alone, scaling the maps before and after one ordinary convolution gives the same numbers:
    one dense convolution serves the whole batch. ``up``: a transposed convolution of stride 2, then the filter.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int,
        style_dim: int,
        demodulate: bool = True,
        up: bool = False,
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(1, out_channels, in_channels, kernel, kernel))
        self.modulation = EqualLinear(style_dim, in_channels, bias_init=1.0)
        self.scale = 1.0 / math.sqrt(in_channels * kernel * kernel)
        self.demodulate = demodulate
        if up:
            self.blur = Blur(padding=1, gain=4.0)
        self.up = up

    def forward(self, x: Tensor, w: Tensor, bias: Tensor, offset: Tensor | None = None, gain: float = 1.0) -> Tensor:
        """``x`` (B, in, H, W), ``w`` (B, style_dim) -> gain * result + bias, (B, out, H, W) or, with ``up``, 2H x 2W.

        ``bias``: broadcastable to the result. ``offset``: relative change of the weights (HyperStyle), broadcastable
        to (1 or B, out, in, k, k): the weights used are weight * (1 + offset). With a leading 1 the batch still
        shares one convolution.
        """
        with full_precision(x.device.type):  # styles are few and every pixel inherits their precision
            weight = self.weight * self.scale
            if offset is not None:
                weight = weight * (1.0 + offset)
            shared = weight.shape[0] == 1
            if shared:
                weight = weight[0]
            style = self.modulation(w.to(self.modulation.weight.dtype))
            after = gain * demodulation(weight, style) if self.demodulate else None
        x = x * style[:, :, None, None].to(x.dtype)
        if not shared:
            x = batched_conv(x, weight.to(x.dtype), self.up)
        elif self.up:
            x = F.conv_transpose2d(x, weight.transpose(0, 1), stride=2)
        else:
            x = F.conv2d(x, weight, padding=weight.shape[-1] // 2)
        if self.up:
            x = self.blur(x)
        if after is None:
            return x * gain + bias
        return torch.addcmul(bias.to(x.dtype), x, after[:, :, None, None].to(x.dtype))
