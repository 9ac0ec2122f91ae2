"""Normalisation folded into the convolutions beside it: the same function for inference, with fewer passes over memory.

Batch norm at inference is a scale and a shift per channel. After a convolution both go into its weights and bias.
Before one, so does the scale; the shift does too except at the edge, where the convolution's zero padding comes after
the norm: there the taps that fall outside must not see the shift, which four strips of corrections undo.
"""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fctfg.nets.ir_se import Backbone, Unit


def scale_and_shift(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """The norm at inference as x * scale + shift, (C,) each, in float64."""
    scale = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
    return scale, norm.bias.double() - norm.running_mean.double() * scale


def conv_then_norm(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> nn.Conv2d:
    """One convolution with a bias, equal to ``norm(conv(x))``."""
    scale, shift = scale_and_shift(norm)
    bias = shift if conv.bias is None else conv.bias.double() * scale + shift
    return _with(conv, conv.weight.double() * scale[:, None, None, None], bias)


def norm_then_conv(norm: nn.BatchNorm2d, conv: nn.Conv2d, side: int) -> tuple[nn.Conv2d, Tensor, Tensor]:
    """``conv(norm(x))`` of a 3x3 convolution with padding 1 and stride 1, for maps of ``side`` x ``side`` pixels.

    Returns the convolution, and what must be added to the first and last row, (2,C,1,side), corners included, and to
    the first and last column between them, (2,C,side-2,1).
    """
    scale, shift = scale_and_shift(norm)
    taps = (conv.weight.double() * shift[None, :, None, None]).sum(1)  # what each tap adds: (C,3,3)
    outside = F.conv2d(
        F.pad(torch.zeros(1, 1, side, side, dtype=taps.dtype), (1, 1, 1, 1), value=1.0), taps[:, None]
    )  # the share of the padding in each pixel: (1,C,side,side)
    rows = -torch.stack([outside[0, :, :1], outside[0, :, -1:]])
    columns = -torch.stack([outside[0, :, 1:-1, :1], outside[0, :, 1:-1, -1:]])
    folded = _with(conv, conv.weight.double() * scale[None, :, None, None], taps.sum((1, 2)))
    return folded, rows.to(conv.weight.dtype), columns.to(conv.weight.dtype)


class FoldedUnit(nn.Module):
    """An IR-SE unit at inference, for maps of ``side`` pixels; same shapes and, up to rounding, same values."""

    def __init__(self, unit: Unit, side: int) -> None:
        super().__init__()
        norm, conv, act, strided, last_norm, gate = unit.res_layer
        self.stride = unit.stride
        self.side = side
        self.conv, rows, columns = norm_then_conv(norm, conv, side)
        self.register_buffer("rows", rows)
        self.register_buffer("columns", columns)
        self.act = copy.deepcopy(act)
        self.strided = conv_then_norm(strided, last_norm)
        self.gate = copy.deepcopy(gate)
        self.shortcut = None if unit.shortcut_layer is None else conv_then_norm(*unit.shortcut_layer)

    def forward(self, x: Tensor) -> Tensor:
        if self.shortcut is None:
            shortcut = x[:, :, :: self.stride, :: self.stride]
        else:
            shortcut = self.shortcut(x)
        x = self.conv(x)
        x[:, :, :1] += self.rows[0]
        x[:, :, -1:] += self.rows[1]
        x[:, :, 1:-1, :1] += self.columns[0]
        x[:, :, 1:-1, -1:] += self.columns[1]
        x = self.strided(self.act(x))
        return torch.addcmul(shortcut, x, self.gate(x))


def fold_backbone(network: Backbone, size: int) -> tuple[nn.Sequential, nn.Sequential]:
    """The stem and the body of ``network`` folded, for pictures of ``size`` x ``size``."""
    conv, norm, act = network.input_layer
    stem = nn.Sequential(conv_then_norm(conv, norm), copy.deepcopy(act))
    units = []
    for unit in network.body:
        units.append(FoldedUnit(unit, size))
        size //= unit.stride
    return stem, nn.Sequential(*units)


def _with(conv: nn.Conv2d, weight: Tensor, bias: Tensor) -> nn.Conv2d:
    """``conv`` with other weights (float64, stored as its own type)."""
    made = nn.utils.skip_init(
        nn.Conv2d, conv.in_channels, conv.out_channels, conv.kernel_size, conv.stride, conv.padding,
        device=conv.weight.device, dtype=conv.weight.dtype,
    )  # fmt: skip
    with torch.no_grad():
        made.weight.copy_(weight)
        made.bias.copy_(bias)
    return made
