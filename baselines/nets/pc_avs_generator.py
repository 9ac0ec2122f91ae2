"""PC-AVS's generator (``latest_net_G.pth``): StyleGAN2's synthesis from 7x7 to 224x224, started by the identity's map.

Source: Zhou et al., CVPR 2021, section 3.3; Karras et al., CVPR 2020 (StyleGAN2). The blocks are those of
``fctfg.nets.generator``. One style, of identity, mouth and pose, modulates every layer; there is no mapping network in
use (the public file still holds one), and the learnt constant gives way to the identity's map.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from fctfg.nets.generator import Layer, StyledConv, ToRGB

STYLE = 2560
#: side of the maps -> their channels
CHANNELS = {7: 512, 14: 512, 28: 512, 56: 512, 112: 256, 224: 128}
SIDES = tuple(CHANNELS)
#: sides of the maps that get noise, in order
NOISE_SIDES = (SIDES[0], *(side for side in SIDES[1:] for _ in range(2)))


def _layer(module: str, side: int, channels: int, out: int, up: bool = False) -> Layer:
    """A `Layer`, of which the blocks read side, channels and ``up``; one style serves them all."""
    return Layer(0, module, 0, side, channels, out, 1 if module == "rgb" else 3, up, None)


class Generator(nn.Module):
    """Styles and an identity's map to pictures.

    ``UNUSED``: keys of the public file that inference needs no more: the mapping network, the learnt constant and the
    stored noise. ``CONSTANTS``: ends of the keys that hold the filter [1, 3, 3, 1] (x) [1, 3, 3, 1] / 16.
    """

    UNUSED = r"style\.\d+\.(weight|bias)|input\.input|noises\.noise_\d+"
    CONSTANTS = ("conv.blur.kernel", "upsample.kernel")

    def __init__(self) -> None:
        super().__init__()
        first = CHANNELS[SIDES[0]]
        self.conv1 = StyledConv(_layer("conv", SIDES[0], first, first), STYLE)
        self.to_rgb1 = ToRGB(_layer("rgb", SIDES[0], first, 3), STYLE)
        self.convs, self.to_rgbs = nn.ModuleList(), nn.ModuleList()
        for below, side in pairwise(SIDES):
            self.convs.append(StyledConv(_layer("conv", side, CHANNELS[below], CHANNELS[side], up=True), STYLE))
            self.convs.append(StyledConv(_layer("conv", side, CHANNELS[side], CHANNELS[side]), STYLE))
            self.to_rgbs.append(ToRGB(_layer("rgb", side, CHANNELS[side], 3), STYLE))

    def forward(self, style: Tensor, identity: Tensor, noise: Sequence[Tensor]) -> Tensor:
        """``style`` (B, 2560), ``identity`` (B, 512, 7, 7) -> pictures (B, 3, 224, 224) in [-1, 1].

        ``noise``: one map (1 or B, 1, s, s) for each s of NOISE_SIDES; the public inference draws fresh normal ones.
        """
        x = identity.contiguous(memory_format=torch.channels_last)
        x = self.conv1(x, style, noise[0])
        picture = self.to_rgb1(x, style, None)
        for block, to_rgb in enumerate(self.to_rgbs):
            x = self.convs[2 * block](x, style, noise[2 * block + 1])
            x = self.convs[2 * block + 1](x, style, noise[2 * block + 2])
            picture = to_rgb(x, style, picture)
        return torch.tanh(picture)


def frame_noise(frame: int) -> list[Tensor]:
    """The noise of one frame, standard normal: a map (1, 1, s, s) for each s of NOISE_SIDES, seeded by its number.

    So a frame does not depend on the batch that it is made in, nor on the device.
    """
    generator = torch.Generator().manual_seed(frame)
    return [torch.randn(1, 1, side, side, generator=generator) for side in NOISE_SIDES]
