"""PC-AVS's identity network (``latest_net_V.pth``): ResNeXt-50 (32x4d) on one picture.

Source: Zhou et al., CVPR 2021, section 3.2; ResNeXt: Xie et al., CVPR 2017. Module names are those of the public files.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

#: (blocks, inner width, stride) of the four stages; each puts out twice its inner width
STAGES = ((3, 128, 1), (4, 256, 2), (6, 512, 2), (3, 1024, 2))
GROUPS = 32
MAP_CHANNELS = 512


class Bottleneck(nn.Module):
    """1x1, grouped 3x3 (which has the stride), 1x1, each with batch norm, and a shortcut: (B, c, H, W) -> 2 * inner."""

    def __init__(self, channels: int, inner: int, stride: int) -> None:
        super().__init__()
        out = 2 * inner
        self.conv1 = nn.Conv2d(channels, inner, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(inner)
        self.conv2 = nn.Conv2d(inner, inner, 3, stride, 1, groups=GROUPS, bias=False)
        self.bn2 = nn.BatchNorm2d(inner)
        self.conv3 = nn.Conv2d(inner, out, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out)
        self.downsample = None
        if stride != 1 or channels != out:
            self.downsample = nn.Sequential(nn.Conv2d(channels, out, 1, stride, bias=False), nn.BatchNorm2d(out))

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        x = F.relu(self.bn1(self.conv1(x)))
        x = F.relu(self.bn2(self.conv2(x)))
        return F.relu(self.bn3(self.conv3(x)) + shortcut)


class Trunk(nn.Module):
    """The convolutions of ResNeXt-50: (B, 3, H, W) -> (B, 2048, H / 32, W / 32)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        channels = 64
        for number, (blocks, inner, stride) in enumerate(STAGES, 1):
            layers = [Bottleneck(channels, inner, stride)]
            channels = 2 * inner
            layers += [Bottleneck(channels, inner, 1) for _ in range(blocks - 1)]
            self.add_module(f"layer{number}", nn.Sequential(*layers))

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        for number in range(1, len(STAGES) + 1):
            x = self.get_submodule(f"layer{number}")(x)
        return x


class IdentityEncoder(nn.Module):
    """Who it is: (B, 3, 224, 224) in [-1, 1] -> a code (B, 2048) and a map (B, 512, 7, 7), where the generator starts.

    ``UNUSED``: keys of the public file that inference needs no more, the classifiers of training.
    """

    UNUSED = r"(model\.)?fc\.(weight|bias)"

    def __init__(self) -> None:
        super().__init__()
        self.model = Trunk()
        self.conv1x1 = nn.Conv2d(2048, MAP_CHANNELS, 1)

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        features = self.model(pictures)
        return features.mean((2, 3)), self.conv1x1(features)
