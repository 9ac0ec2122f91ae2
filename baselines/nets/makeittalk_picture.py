"""MakeItTalk's image-to-image network (``ckpt_116_i2i_comb.pth``): a face and drawn landmarks to the face so posed.

Zhou et al., SIGGRAPH Asia 2020, section 4.4, as in yzhou359/MakeItTalk (commit fad2fe4)
``src/models/model_image_translation.py`` (``ResUnetGenerator``). Module names are those of the public file.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

#: channels on the way down, from the outermost level to the innermost
WIDTHS = (64, 128, 256, 512, 512, 512)
SIDE = 256


class Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.block = nn.Sequential(
            nn.Conv2d(width, width, 3, 1, 1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, 1, 1, bias=False),
            nn.BatchNorm2d(width),
        )

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.block(x) + x)


class Level(nn.Module):
    """One level of the U: halves the picture, hands it to the ``deeper`` ones, doubles it; puts its input beside it."""

    def __init__(self, inputs: int, inner: int, outputs: int, deeper: Level | None, top: bool = False) -> None:
        super().__init__()
        layers = [nn.Conv2d(inputs, inner, 3, 2, 1, bias=False)]
        if not top and deeper is not None:
            layers.append(nn.BatchNorm2d(inner))
        layers += [nn.ReLU(), Residual(inner), Residual(inner)]
        if deeper is not None:
            layers.append(deeper)
        layers += [nn.Upsample(scale_factor=2), _conv(inner if deeper is None else 2 * inner, outputs)]
        if not top:
            layers += [nn.BatchNorm2d(outputs), nn.ReLU(), Residual(outputs), Residual(outputs)]
        self.top = top
        self.model = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        made = self.model(x)
        return made if self.top else torch.cat((x, made), 1)


def _conv(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, 1, 1, bias=False)


class PictureNetwork(nn.Module):
    """Drawn landmarks (white ground) and the face, both BGR in [0, 1], (B, 6, 256, 256) -> BGR (B, 3, 256, 256) in
    [0, 1]: what the hyperbolic tangent leaves below zero is black.
    """

    PART, UNUSED = "G", r"(?!)"

    def __init__(self) -> None:
        super().__init__()
        level = None
        for outer, inner in zip(reversed(WIDTHS[:-1]), reversed(WIDTHS[1:]), strict=True):
            level = Level(outer, inner, outer, level)
        self.model = Level(6, WIDTHS[0], 3, level, top=True)

    def forward(self, pictures: Tensor) -> Tensor:
        return torch.tanh(self.model(pictures)).clamp(min=0)
