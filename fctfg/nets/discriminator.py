"""The StyleGAN2 discriminator (Karras et al. 2020, section 4.1 and appendix B: residual, minibatch deviation)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from fctfg.nets.generator import channels_at, log2_size
from fctfg.nets.ops import ActivatedConv2d, Blur, EqualConv2d, EqualLinear, ScaledLeakyReLU

GROUP = 4
HALF = math.sqrt(0.5)


def activated(in_channels: int, out_channels: int, kernel: int) -> ActivatedConv2d:
    """A convolution that keeps the size, with its bias and activation."""
    conv = EqualConv2d(in_channels, out_channels, kernel, padding=kernel // 2, bias=False)
    return ActivatedConv2d(conv, ScaledLeakyReLU(out_channels))


class ResBlock(nn.Module):
    """Two 3x3 convolutions, the second after the filter and with stride 2, beside a filtered 1x1 shortcut.

    (B, in, H, W) -> (B, out, H/2, W/2); both branches are divided by sqrt(2). The shortcut's filter keeps every
    second pixel before the 1x1 convolution instead of after it: the same numbers for a quarter of the work.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv1 = activated(in_channels, in_channels, 3)
        self.conv2 = ActivatedConv2d(
            Blur(padding=2),
            EqualConv2d(in_channels, out_channels, 3, stride=2, bias=False),
            ScaledLeakyReLU(out_channels),
            gain=HALF,
        )
        self.skip = nn.Sequential(Blur(padding=1, stride=2), EqualConv2d(in_channels, out_channels, 1, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        blur, conv = self.skip
        return self.conv2(self.conv1(x)) + conv(blur(x), gain=HALF)


def minibatch_deviation(x: Tensor) -> Tensor:
    """Appends one channel: the deviation over groups of four samples, averaged over channels and pixels.

    (B, C, H, W) -> (B, C+1, H, W). B of at most 4 is one group; a larger B must be a multiple of 4 (ValueError), and
    the samples i, i + B/4, i + 2B/4, i + 3B/4 form a group. ProGAN section 3.
    """
    batch, _, height, width = x.shape
    group = min(batch, GROUP)
    if batch % group:
        raise ValueError(
            f"a batch of {batch}: the minibatch deviation needs at most {GROUP} pictures or a multiple of it"
        )
    samples = x.float().reshape(group, batch // group, *x.shape[1:])
    deviation = (samples.var(0, unbiased=False) + 1e-8).sqrt().mean((1, 2, 3))
    channel = deviation.to(x.dtype).repeat(group).view(batch, 1, 1, 1).expand(-1, -1, height, width)
    return torch.cat([x, channel], 1)


class Discriminator(nn.Module):
    """Pictures to realness logits.

    ``size``: side of the pictures, a power of two from 8; widths as the generator's (`channels_at`). ``in_frames``:
    above 1 the network judges that many consecutive frames, laid one behind the other along the channels.
    """

    def __init__(self, size: int, channel_multiplier: float = 2.0, channel_max: int = 512, in_frames: int = 1) -> None:
        super().__init__()
        self.size = size
        self.in_frames = in_frames
        width = {2**n: channels_at(2**n, channel_multiplier, channel_max) for n in range(2, log2_size(size) + 1)}
        from_rgb = activated(3 * in_frames, width[size], 1)
        sides = sorted(width, reverse=True)[:-1]
        self.convs = nn.Sequential(from_rgb, *(ResBlock(width[side], width[side // 2]) for side in sides))
        self.final_conv = activated(width[4] + 1, width[4], 3)
        self.final_linear = nn.Sequential(EqualLinear(width[4] * 16, width[4], activate=True), EqualLinear(width[4], 1))

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3 * in_frames, size, size) in [-1, 1] -> logits (B, 1); B at most 4 or a multiple of 4."""
        x = minibatch_deviation(self.convs(x.contiguous(memory_format=torch.channels_last)))
        return self.final_linear(self.final_conv(x).flatten(1))

    def features(self, x: Tensor) -> list[Tensor]:
        """The maps after each residual block of pictures as in `forward`: (B, C, size/2, size/2), ..., (B, C, 4, 4)."""
        x = self.convs[0](x.contiguous(memory_format=torch.channels_last))
        maps = []
        for block in self.convs[1:]:
            x = block(x)
            maps.append(x)
        return maps
