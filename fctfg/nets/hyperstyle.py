"""HyperStyle's hypernetwork: from a picture and its reconstruction to relative changes of the generator's weights.

Source: Alaluf et al., arXiv 2111.15666; yuval-alaluf/hyperstyle models/hypernetworks/* (SharedWeightsHyperNetResNet),
whose state-dict names these are, without the copies of the shared predictor that each block holds there. Which
convolutions are tuned, and how, follows from the generator's own table, so any size and width will do.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fctfg.nets.generator import Generator, Layer
from fctfg.nets.ops import EqualLinear

Offsets = list[Tensor | None]


class BasicBlock(nn.Module):
    """ResNet's two 3x3 convolutions beside the input or its projection: (B,in,H,W) -> (B,out,H/stride,W/stride)."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.downsample = None
        if stride != 1 or in_channels != out_channels:
            self.downsample = nn.Sequential(
                nn.Conv2d(in_channels, out_channels, 1, stride, bias=False), nn.BatchNorm2d(out_channels)
            )

    def forward(self, x: Tensor) -> Tensor:
        branch = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(branch + (x if self.downsample is None else self.downsample(x)))


class SharedPredictor(nn.Module):
    """A code (B,code) -> offsets (B,width,width,3,3), by two matrices used for all the widest convolutions.

    The first makes a code for each of ``width`` channels, the second a filter row from each. The public network draws
    the second from a normal distribution; here it starts at zero, and so do the offsets.
    """

    def __init__(self, code: int, width: int) -> None:
        super().__init__()
        self.w1 = nn.Parameter(torch.zeros(code, width * 9))
        self.b1 = nn.Parameter(torch.zeros(width * 9))
        self.w2 = nn.Parameter(torch.randn(code, width * code) / 40)
        self.b2 = nn.Parameter(torch.randn(width * code) / 40)
        self.code, self.width = code, width

    def forward(self, z: Tensor) -> Tensor:
        rows = torch.addmm(self.b2, z, self.w2).view(-1, self.width, self.code)
        return (rows @ self.w1 + self.b1).reshape(-1, self.width, self.width, 3, 3)


class SharedBlock(nn.Module):
    """A map (B,C,side,side) -> a code (B,code) for the shared predictor."""

    def __init__(self, side: int, in_channels: int, inner: int, code: int) -> None:
        super().__init__()
        self.convs = _strided(in_channels, inner, code, int(math.log2(side)), first_stride=1)
        self.linear = EqualLinear(code, code)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(self.convs(x).flatten(1))


class ChannelBlock(nn.Module):
    """A map (B,C,side,side) -> offsets (B,out,in,1,1): one for each filter, the same for its 3x3 taps.

    Starts at zero (the public network: at PyTorch's default for a convolution).
    """

    def __init__(self, side: int, in_channels: int, inner: int, code: int, layer: Layer) -> None:
        super().__init__()
        self.convs = _strided(in_channels, inner, code, max(2, int(math.log2(side)) - 1))
        filters = nn.Conv2d(code, layer.in_channels * layer.out_channels, 1)
        nn.init.zeros_(filters.weight)
        nn.init.zeros_(filters.bias)
        self.output = nn.Sequential(nn.AdaptiveAvgPool2d(1), filters)
        self.shape = (layer.out_channels, layer.in_channels, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.output(self.convs(x)).view(-1, *self.shape)


class HyperNetwork(nn.Module):
    """Two pictures -> an offset for each 3x3 convolution of ``generator``; a weight W becomes W * (1 + offset).

    Only the generator's table of layers and its size are read. Convolutions as wide as its first, in and out, get a
    full (out,in,3,3) from one shared predictor, the others one number per filter; toRGB layers are not tuned.

    ``picture``: side of the pictures looked at, the generator's size but at most 256 unless given; ``units`` and
    ``widths``: blocks and channels of the body's four stages; ``stem``: channels of the 7x7 convolution; ``inner``:
    inside the blocks that feed the shared predictor, and inside the others; ``code``: length of the codes. What is None
    goes by the generator's width; for 512 channels that is the public network (ResNet-34 on six channels, 0.31 G
    parameters at 256).
    """

    def __init__(
        self,
        generator: Generator,
        picture: int | None = None,
        units: Sequence[int] = (3, 4, 6, 3),
        widths: Sequence[int] | None = None,
        stem: int | None = None,
        inner: Sequence[int] | None = None,
        code: int | None = None,
    ) -> None:
        super().__init__()
        self.layers = generator.layers
        widest = self.layers[0].in_channels
        widths = widths or [max(1, widest // n) for n in (8, 4, 2, 1)]
        stem = stem or widths[0]
        inner = inner or (max(1, widest // 4), max(1, widest // 2))
        code = code or widest
        self.picture = picture or min(generator.size, 256)
        if self.picture < 32 or self.picture & (self.picture - 1):
            raise ValueError(f"picture {self.picture} must be a power of two, at least 32")
        if len(units) != 4 or len(widths) != 4 or len(inner) != 2:
            raise ValueError(f"units {units} and widths {widths} must be four each, inner {inner} two")
        self.conv1 = nn.Conv2d(6, stem, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(stem)
        self.relu = nn.PReLU(stem)
        blocks, before = [], stem
        for stage, (count, width) in enumerate(zip(units, widths, strict=True)):
            for i in range(count):
                blocks.append(BasicBlock(before, width, 2 if stage and i == 0 else 1))
                before = width
        self.body = nn.Sequential(*blocks)
        self.shared = [layer.index for layer in self.layers if layer.in_channels == layer.out_channels == widest]
        self.shared_weight_hypernet = SharedPredictor(code, widest)
        side = self.picture // 16
        self.refinement_blocks = nn.ModuleDict(
            {
                str(layer.index): SharedBlock(side, before, inner[0], code)
                if layer.index in self.shared
                else ChannelBlock(side, before, inner[1], code, layer)
                for layer in self.layers
                if not layer.to_rgb
            }
        )

    def forward(self, x: Tensor, y_hat: Tensor) -> Offsets:
        """Pictures and their reconstructions, (B,3,picture,picture) in [-1,1] -> one entry per layer of the generator.

        None for a toRGB layer, else (B,out,in,3,3) or (B,out,in,1,1), for ``offsets`` of `Generator.synthesis`.
        """
        maps = self.body(self.relu(self.bn1(self.conv1(torch.cat([x, y_hat], 1)))))
        offsets: Offsets = [None] * len(self.layers)
        for name, block in self.refinement_blocks.items():
            found = block(maps)
            offsets[int(name)] = self.shared_weight_hypernet(found) if int(name) in self.shared else found
        return offsets

    def refinements(
        self, x: Tensor, generator: Generator, w: Tensor, iterations: int = 5
    ) -> Iterator[tuple[Offsets, Tensor]]:
        """The iterations one by one, for training: (offsets so far, the pictures made with them) of each.

        x: (B,3,S,S), averaged down to ``picture`` where larger; w: (B,L,D). Offsets add up; gradients do not flow from
        one iteration into the one before, so each may be backpropagated before the next is asked for, and one optimiser
        step follows them all, as in the public training.
        """
        x = self._sized(x)
        y_hat = generator.synthesis(w, noise="fixed").detach()
        total: Offsets = [None] * len(self.layers)
        for _ in range(iterations):
            found = self(x, self._sized(y_hat))
            total = [a if b is None else b if a is None else a + b for a, b in zip(total, found, strict=True)]
            picture = generator.synthesis(w, noise="fixed", offsets=total)
            yield total, picture
            y_hat = picture.detach()
            total = [a if a is None else a.detach() for a in total]

    def refine(self, x: Tensor, generator: Generator, w: Tensor, iterations: int = 5) -> Offsets:
        """The offsets for the pictures x (B,3,S,S) with codes w (B,L,D), after ``iterations`` rounds (at least 1).

        With gradients enabled they flow through the last round only.
        """
        if iterations < 1:
            raise ValueError(f"iterations {iterations} must be at least 1")
        x = self._sized(x)
        total: Offsets | None = None
        for _ in range(iterations):
            with torch.no_grad():
                y_hat = generator.synthesis(w, noise="fixed", offsets=total)
            found = self(x, self._sized(y_hat))
            before = total or [None] * len(found)
            total = [b if a is None else a.detach() + b for a, b in zip(before, found, strict=True)]
        return total

    def _sized(self, pictures: Tensor) -> Tensor:
        if pictures.shape[-1] == self.picture:
            return pictures
        return F.adaptive_avg_pool2d(pictures, self.picture)


def _strided(in_channels: int, inner: int, out: int, halvings: int, first_stride: int = 2) -> nn.Sequential:
    """3x3 convolutions with leaky ReLU .01: in_channels -> inner ... inner -> out, ``halvings`` of them of stride 2."""
    count = halvings + (first_stride == 1)
    widths = [in_channels, *[inner] * (count - 1), out]
    layers: list[nn.Module] = []
    for i in range(count):
        stride = first_stride if i == 0 else 2
        layers += [nn.Conv2d(widths[i], widths[i + 1], 3, stride, 1), nn.LeakyReLU(0.01)]
    return nn.Sequential(*layers)
