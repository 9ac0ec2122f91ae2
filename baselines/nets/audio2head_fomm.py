"""The first-order motion model: keypoints of a picture, and the picture redrawn with its keypoints elsewhere.

Siarohin, Lathuilière, Tulyakov, Ricci, Sebe: "First Order Motion Model for Image Animation", NeurIPS 2019 (MIT), in
the size of its ``vox-256`` configuration. Sources: AliaksandrSiarohin/first-order-model and, the same networks,
wangsuzhen/Audio2Head (commit 09e9b43) ``modules/{util,keypoint_detector,dense_motion,generator}.py``. Keys and shapes
are those of the ``kp_detector`` and ``generator`` of either's checkpoints; nothing here knows of sound.

Pictures are (B, 3, H, W) in [0, 1], H and W multiples of 4 * 2**5. Places run from -1, the middle of the first pixel,
to 1, the middle of the last, x before y; sampling takes them as if they ran from edge to edge
(``align_corners=False``), as both programs do since PyTorch 1.3.
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_CONVOLUTION = {2: nn.Conv2d, 3: nn.Conv3d}
_NORM = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
_POOL = {2: F.avg_pool2d, 3: F.avg_pool3d}


class Keypoints(NamedTuple):
    """``place`` (..., K, 2); ``jacobian`` (..., K, 2, 2), how the surroundings of each are turned and stretched."""

    place: Tensor
    jacobian: Tensor


class Source(NamedTuple):
    """What the generator keeps of the picture that it redraws: its feature map and a small copy."""

    features: Tensor
    small: Tensor


class ConvNorm(nn.Module):
    """Convolution, batch normalisation, ReLU in ``dims`` dimensions."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 3, dims: int = 2):
        super().__init__()
        self.dims = dims
        self.conv = _CONVOLUTION[dims](inputs, outputs, kernel, padding=kernel // 2)
        self.norm = _NORM[dims](outputs)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu_(self.norm(self.conv(x)))


class Down(ConvNorm):
    """As ConvNorm, then half the size."""

    def forward(self, x: Tensor) -> Tensor:
        return _POOL[self.dims](super().forward(x), 2)


class Up(ConvNorm):
    """Twice the size, then as ConvNorm."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(F.interpolate(x, scale_factor=2.0))


class ResBlock(nn.Module):
    """Twice normalisation, ReLU and 3x3 convolution, added to what came in."""

    def __init__(self, width: int, dims: int = 2):
        super().__init__()
        for number in (1, 2):
            self.add_module(f"conv{number}", _CONVOLUTION[dims](width, width, 3, padding=1))
            self.add_module(f"norm{number}", _NORM[dims](width))

    def forward(self, x: Tensor) -> Tensor:
        inner = self.conv1(F.relu_(self.norm1(x)))
        return self.conv2(F.relu_(self.norm2(inner))).add_(x)


def hourglass_widths(expansion: int, inputs: int, blocks: int, most: int) -> tuple[list[int], list[int]]:
    """Channels from the top down, ``blocks`` + 1 each: of the maps on the way down, and of those on the way up
    without the map of their size that is put beside each.
    """
    widths = [min(most, expansion << level) for level in range(blocks + 1)]
    return [inputs, *widths[1:]], widths


class Hourglass(nn.Module):
    """A U-Net of ``blocks`` halvings; ``outputs`` channels come out, those that came in among them, last."""

    def __init__(self, expansion: int, inputs: int, blocks: int, most: int):
        super().__init__()
        down, up = hourglass_widths(expansion, inputs, blocks, most)
        downs = [Down(*pair) for pair in pairwise(down)]
        ups = [Up((1 if level == blocks else 2) * up[level], up[level - 1]) for level in range(blocks, 0, -1)]
        self.encoder = nn.ModuleDict({"down_blocks": nn.ModuleList(downs)})
        self.decoder = nn.ModuleDict({"up_blocks": nn.ModuleList(ups)})
        self.outputs = expansion + inputs

    def forward(self, x: Tensor) -> Tensor:
        maps = [x]
        for block in self.encoder["down_blocks"]:
            maps.append(block(maps[-1]))
        x = maps.pop()
        for block in self.decoder["up_blocks"]:
            x = torch.cat((block(x), maps.pop()), 1)
        return x


class Shrink(nn.Module):
    """A quarter of the size: a Gaussian of standard deviation 1.5 pixels, 13 wide, then every fourth pixel. The taps
    are in the checkpoints.
    """

    def __init__(self, channels: int):
        super().__init__()
        taps = torch.exp(-((torch.arange(13.0) - 6) ** 2) / (2 * 1.5**2))
        taps = torch.outer(taps, taps)
        self.register_buffer("weight", (taps / taps.sum()).repeat(channels, 1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight, stride=4, padding=6, groups=len(self.weight))


def grid(height: int, width: int, like: Tensor) -> Tensor:
    """The places of a picture's pixels, (height, width, 2)."""
    x, y = (2 * torch.arange(n, dtype=like.dtype, device=like.device) / (n - 1) - 1 for n in (width, height))
    return torch.stack((x.expand(height, -1), y[:, None].expand(-1, width)), -1)


def keypoints(scores: Tensor, jacobians: Tensor, temperature: float = 0.1) -> Keypoints:
    """Scores (B, K, h, w) and a jacobian for every pixel (B, 4 K, h, w) -> their means under the scores' softmax."""
    batch, count, height, width = scores.shape
    heat = F.softmax((scores / temperature).flatten(2), 2).view_as(scores)
    place = torch.einsum("bkhw,hwc->bkc", heat, grid(height, width, heat))
    jacobian = (heat[:, :, None] * jacobians.view(batch, count, 4, height, width)).sum((3, 4))
    return Keypoints(place, jacobian.view(batch, count, 2, 2))


class KeypointDetector(nn.Module):
    """Pictures (B, 3, H, W) -> their ``count`` keypoints."""

    def __init__(self, count: int = 10, expansion: int = 32, blocks: int = 5, most: int = 1024):
        super().__init__()
        self.down = Shrink(3)
        self.predictor = Hourglass(expansion, 3, blocks, most)
        self.kp = nn.Conv2d(self.predictor.outputs, count, 7)
        self.jacobian = nn.Conv2d(self.predictor.outputs, 4 * count, 7)

    def forward(self, pictures: Tensor) -> Keypoints:
        features = self.predictor(self.down(pictures))
        return keypoints(self.kp(features), self.jacobian(features))


class DenseMotion(nn.Module):
    """Where each pixel of the new picture comes from, and how much of it can be seen in the old one."""

    def __init__(self, count: int, expansion: int, blocks: int, most: int):
        super().__init__()
        self.down = Shrink(3)
        self.hourglass = Hourglass(expansion, 4 * (count + 1), blocks, most)
        self.mask = nn.Conv2d(self.hourglass.outputs, count + 1, 7, padding=3)
        self.occlusion = nn.Conv2d(self.hourglass.outputs, 1, 7, padding=3)

    def forward(self, small: Tensor, source: Keypoints, driving: Keypoints) -> tuple[Tensor, Tensor]:
        """The small source picture (1 or B, 3, h, w) and the keypoints of source (1 or B) and driving (B) ->
        places (B, h, w, 2) in the source and visibility (B, 1, h, w) in [0, 1].
        """
        batch = len(driving.place)
        _, colours, height, width = small.shape
        here = grid(height, width, small)
        change = _bumps(driving.place, here) - _bumps(source.place, here)
        change = F.pad(change, (0, 0, 0, 0, 1, 0))  # first the background, which stays where it is

        turn = source.jacobian @ torch.linalg.inv(driving.jacobian)
        away = here - driving.place[:, :, None, None]
        moved = (turn[:, :, None, None] @ away[..., None])[..., 0] + source.place[:, :, None, None]
        moves = torch.cat((here.expand(batch, 1, -1, -1, -1), moved), 1)

        # One tall picture for all keypoints' moves: they sample the same source.
        tall = moves.reshape(batch, -1, width, 2)
        seen = F.grid_sample(small.expand(batch, -1, -1, -1), tall, align_corners=False)
        seen = seen.view(batch, colours, -1, height, width).transpose(1, 2)
        features = self.hourglass(torch.cat((change[:, :, None], seen), 2).flatten(1, 2))
        share = F.softmax(self.mask(features), 1)
        return (share[..., None] * moves).sum(1), torch.sigmoid(self.occlusion(features))


class Generator(nn.Module):
    """Redraws a picture with its keypoints elsewhere."""

    def __init__(
        self,
        count: int = 10,
        expansion: int = 64,
        most: int = 512,
        motion: tuple[int, int, int] = (64, 5, 1024),
        blocks: int = 6,
    ):
        super().__init__()
        widths = [min(most, expansion << level) for level in range(3)]
        self.dense_motion_network = DenseMotion(count, *motion)
        self.first = ConvNorm(3, widths[0], 7)
        self.down_blocks = nn.ModuleList([Down(*pair) for pair in pairwise(widths)])
        self.bottleneck = nn.Sequential()
        for number in range(blocks):
            self.bottleneck.add_module(f"r{number}", ResBlock(widths[-1]))
        self.up_blocks = nn.ModuleList([Up(*pair) for pair in pairwise(widths[::-1])])
        self.final = nn.Conv2d(widths[0], 3, 7, padding=3)

    def look(self, pictures: Tensor) -> Source:
        """What is needed of the pictures that are redrawn; once for all frames made from one."""
        features = self.first(pictures)
        for block in self.down_blocks:
            features = block(features)
        return Source(features, self.dense_motion_network.down(pictures))

    def forward(self, seen: Source, source: Keypoints, driving: Keypoints) -> Tensor:
        """What was seen (of 1 or B pictures), their keypoints and those of B new pictures -> (B, 3, H, W)."""
        places, visible = self.dense_motion_network(seen.small, source, driving)
        features = seen.features.expand(len(places), -1, -1, -1)
        x = F.grid_sample(features, places, align_corners=False) * visible
        x = self.bottleneck(x)
        for block in self.up_blocks:
            x = block(x)
        return torch.sigmoid(self.final(x))


def _bumps(place: Tensor, here: Tensor) -> Tensor:
    """Gaussians of variance 0.01 around places (B, K, 2) -> (B, K, h, w)."""
    return torch.exp(-0.5 * ((here - place[:, :, None, None]) ** 2).sum(-1) / 0.01)
