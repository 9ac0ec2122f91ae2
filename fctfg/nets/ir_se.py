"""The IR-SE50 residual network: pSp's body and the ArcFace identity network.

Source: eladrich/pixel2style2pixel models/encoders/{helpers,model_irse}.py, from TreB1eN/InsightFace_Pytorch; ArcFace is
arXiv 1801.07698, squeeze and excitation arXiv 1709.01507. The names in a state dict are those of `model_ir_se50.pth`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

UNITS = (3, 4, 14, 3)
WIDTHS = (64, 128, 256, 512)


class SqueezeExcite(nn.Module):
    """The gates in (0,1) of a map's channels, from their means: (B,C,H,W) -> (B,C,1,1)."""

    def __init__(self, channels: int, reduction: int = 16) -> None:
        super().__init__()
        inner = max(1, channels // reduction)
        self.fc1 = nn.Conv2d(channels, inner, 1, bias=False)
        self.fc2 = nn.Conv2d(inner, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return torch.sigmoid(self.fc2(F.relu(self.fc1(x.mean((2, 3), keepdim=True)))))


class Unit(nn.Module):
    """One bottleneck: norm, conv, PReLU, conv (with the stride), norm, gate; plus the input or its 1x1 projection.

    (B, in, H, W) -> (B, out, H/stride, W/stride).
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.shortcut_layer = None
        if in_channels != out_channels:
            self.shortcut_layer = nn.Sequential(
                nn.Conv2d(in_channels, out_channels, 1, stride, bias=False), nn.BatchNorm2d(out_channels)
            )
        self.res_layer = nn.Sequential(
            nn.BatchNorm2d(in_channels),
            nn.Conv2d(in_channels, out_channels, 3, 1, 1, bias=False),
            nn.PReLU(out_channels),
            nn.Conv2d(out_channels, out_channels, 3, stride, 1, bias=False),
            nn.BatchNorm2d(out_channels),
            SqueezeExcite(out_channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        if self.shortcut_layer is None:
            shortcut = x[:, :, :: self.stride, :: self.stride]
        else:
            shortcut = self.shortcut_layer(x)
        norm, conv, act, strided, last_norm, gate = self.res_layer
        branch = last_norm(strided(act(conv(norm(x)))))
        return torch.addcmul(shortcut, branch, gate(branch))


class Backbone(nn.Module):
    """The stem and the units. Each stage begins with stride 2, so stage k (from 1) ends at 1/2^k of the input's size.

    ``units`` and ``widths``: how many units and channels a stage has; ``stem``: channels of the first convolution;
    ``in_channels``: 3, or more where pixels are folded into channels.
    """

    def __init__(
        self, units: Sequence[int] = UNITS, widths: Sequence[int] = WIDTHS, stem: int = 64, in_channels: int = 3
    ) -> None:
        super().__init__()
        if len(units) != len(widths) or min(units, default=0) < 1:
            raise ValueError(f"units {tuple(units)} and widths {tuple(widths)} must be as many, each stage with a unit")
        first = nn.Conv2d(in_channels, stem, 3, 1, 1, bias=False)
        self.input_layer = nn.Sequential(first, nn.BatchNorm2d(stem), nn.PReLU(stem))
        body: list[Unit] = []
        self.ends: list[int] = []
        for count, width in zip(units, widths, strict=True):
            for i in range(count):
                body.append(Unit(width if i else stem, width, 1 if i else 2))
            stem = width
            self.ends.append(len(body) - 1)
        self.body = nn.Sequential(*body)

    def stages(self, x: Tensor) -> list[Tensor]:
        """(B,3,S,S) -> each stage's last map: (B, widths[k], S/2^(k+1), S/2^(k+1))."""
        maps = []
        x = self.input_layer(x)
        for i, unit in enumerate(self.body):
            x = unit(x)
            if i in self.ends:
                maps.append(x)
        return maps


class ArcFace(Backbone):
    """An identity embedding: pictures (B,3,size,size) in [-1,1] -> (B,dim) of length 1.

    The defaults are the network of `model_ir_se50.pth` (size 112, 43.8 M parameters).
    """

    def __init__(
        self,
        size: int = 112,
        dim: int = 512,
        units: Sequence[int] = UNITS,
        widths: Sequence[int] = WIDTHS,
        stem: int = 64,
        dropout: float = 0.6,
    ) -> None:
        super().__init__(units, widths, stem)
        side, rest = divmod(size, 2 ** len(widths))
        if rest or not side:
            raise ValueError(f"size {size} must be a multiple of {2 ** len(widths)}")
        self.output_layer = nn.Sequential(
            nn.BatchNorm2d(widths[-1]),
            nn.Dropout(dropout),
            nn.Flatten(),
            nn.Linear(widths[-1] * side * side, dim),
            nn.BatchNorm1d(dim),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.output_layer(self.stages(x)[-1])
        return x / x.norm(dim=1, keepdim=True)


def face_crop(pictures: Tensor, size: int = 112) -> Tensor:
    """The part of an aligned face that pSp's identity loss looks at: (B,3,S,S) -> (B,3,size,size).

    Rows 35 to 223 and columns 32 to 220 of 256, in proportion at other sizes, then averaged to ``size``. Made for
    FFHQ's alignment. Source: pixel2style2pixel criteria/id_loss.py.
    """
    side = pictures.shape[-1]
    top, bottom, left, right = (round(side * edge / 256) for edge in (35, 223, 32, 220))
    return F.adaptive_avg_pool2d(pictures[:, :, top:bottom, left:right], size)
