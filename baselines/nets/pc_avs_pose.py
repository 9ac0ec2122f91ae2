"""PC-AVS's network of what is not identity (``latest_net_E.pth``): a face-alignment network (FAN) and its mappers.

Source: Zhou et al., CVPR 2021, section 3.1; FAN: Bulat and Tzimiropoulos, ICCV 2017 (one hourglass). From its code of
512 numbers one mapper takes the head pose, 12 numbers; mouth codes, which here come from the sound, are mapped to 500.
Module names are those of the public files.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

POSE, MOUTH, CODE = 12, 500, 512
LANDMARKS = 68


class ConvBlock(nn.Module):
    """Three 3x3 convolutions, batch norm and ReLU before each, whose outputs are stacked: half, quarter, quarter."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        widths = (channels, out // 2, out // 4, out // 4)
        for number in (1, 2, 3):
            self.add_module(f"bn{number}", nn.BatchNorm2d(widths[number - 1]))
            self.add_module(f"conv{number}", nn.Conv2d(widths[number - 1], widths[number], 3, padding=1, bias=False))
        self.downsample = None
        if channels != out:
            self.downsample = nn.Sequential(
                nn.BatchNorm2d(channels), nn.ReLU(), nn.Conv2d(channels, out, 1, bias=False)
            )

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        first = self.conv1(F.relu(self.bn1(x)))
        second = self.conv2(F.relu(self.bn2(first)))
        third = self.conv3(F.relu(self.bn3(second)))
        return torch.cat((first, second, third), 1) + shortcut


class Hourglass(nn.Module):
    """Blocks at four halvings of the map and back up by bilinear interpolation: (B, 256, H, W) -> the same shape."""

    DEPTH = 4

    def __init__(self) -> None:
        super().__init__()
        names = [f"{part}_{level}" for level in range(1, self.DEPTH + 1) for part in ("b1", "b2", "b3")]
        for name in (*names, "b2_plus_1"):
            self.add_module(name, ConvBlock(256, 256))

    def forward(self, x: Tensor) -> Tensor:
        return self._level(self.DEPTH, x)

    def _level(self, level: int, x: Tensor) -> Tensor:
        kept = self.get_submodule(f"b1_{level}")(x)
        low = self.get_submodule(f"b2_{level}")(F.max_pool2d(x, 2))
        low = self._level(level - 1, low) if level > 1 else self.b2_plus_1(low)
        low = self.get_submodule(f"b3_{level}")(low)
        return kept + F.interpolate(low, size=kept.shape[2:], mode="bilinear", align_corners=False)


class FAN(nn.Module):
    """(B, 3, 224, 224) in [-1, 1] -> (B, 512): heat maps of 68 landmarks, folded into one 28x28 map and mapped."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3)
        self.bn1 = nn.BatchNorm2d(64)
        self.conv2 = ConvBlock(64, 128)
        self.conv3 = ConvBlock(128, 128)
        self.conv4 = ConvBlock(128, 256)
        self.m0 = Hourglass()
        self.top_m_0 = ConvBlock(256, 256)
        self.conv_last0 = nn.Conv2d(256, 256, 1)
        self.bn_end0 = nn.BatchNorm2d(256)
        self.l0 = nn.Conv2d(256, LANDMARKS, 1)
        self.bn5 = nn.BatchNorm2d(LANDMARKS)
        self.conv6 = nn.Conv2d(LANDMARKS, 1, 3, 2, 1)
        self.fc = nn.Linear(28 * 28, CODE)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(self.conv2(F.relu(self.bn1(self.conv1(x)))), 2)
        x = self.top_m_0(self.m0(self.conv4(self.conv3(x))))
        heat = self.l0(F.relu(self.bn_end0(self.conv_last0(x))))
        folded = self.conv6(F.relu(self.bn5(heat)))
        return self.fc(F.relu(folded.flatten(1)))


class PoseEncoder(nn.Module):
    """How the head is held: pictures to pose codes; and the mapper that mouth codes pass through.

    ``UNUSED``: keys of the public file that inference needs no more: classifiers, and the mouth of the picture.
    ``pure_pose`` is a mapper that the public training options name and the public network no longer has.
    """

    UNUSED = r"(classifier|mouth_fc|headpose_fc|to_mouth|pure_pose)\..*"

    def __init__(self) -> None:
        super().__init__()
        self.model = FAN()
        self.to_headpose = nn.Sequential(nn.Linear(CODE, CODE), nn.ReLU(), nn.Linear(CODE, CODE))
        self.headpose_embed = nn.Sequential(nn.ReLU(), nn.Linear(CODE, POSE))
        self.mouth_embed = nn.Sequential(nn.ReLU(), nn.Linear(CODE, MOUTH))

    def forward(self, pictures: Tensor) -> Tensor:
        """(B, 3, 224, 224) in [-1, 1] -> pose codes (B, 12)."""
        return self.headpose_embed(self.to_headpose(self.model(pictures)))

    def mouth(self, code: Tensor) -> Tensor:
        """Mouth codes (B, 512), from the sound -> (B, 500)."""
        return self.mouth_embed(code)
