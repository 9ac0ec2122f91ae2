"""PC-AVS's network of the sound (``latest_net_A_sync.pth``): a ResNet-34 with squeeze and excitation on a spectrogram.

Source: Zhou et al., CVPR 2021, section 3.1; the network is that of Chung et al., "In defence of metric learning for
speaker recognition" (clovaai/voxceleb_trainer), with self-attentive pooling over time. Module names are those of the
public files.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

BANDS, COLUMNS, CODE = 80, 20, 512
#: (blocks, width, stride) of the four stages
STAGES = ((3, 32, 1), (4, 64, 2), (6, 128, 2), (3, 256, 2))


class SqueezeExcite(nn.Module):
    """Each channel times a factor in (0, 1) that two linear layers make of all channels' means."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = channels // 8
        self.fc = nn.Sequential(nn.Linear(channels, inner), nn.ReLU(), nn.Linear(inner, channels), nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        return x * self.fc(x.mean((2, 3)))[:, :, None, None]


class Block(nn.Module):
    """Two 3x3 convolutions, `SqueezeExcite`, a shortcut. The first ReLU comes before its batch norm."""

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.se = SqueezeExcite(width)
        self.downsample = None
        if stride != 1 or channels != width:
            self.downsample = nn.Sequential(nn.Conv2d(channels, width, 1, stride, bias=False), nn.BatchNorm2d(width))

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        x = self.bn1(F.relu(self.conv1(x)))
        return F.relu(self.se(self.bn2(self.conv2(x))) + shortcut)


class Trunk(nn.Module):
    """(B, 1, 80, 20) -> (B, 512): convolutions to a (2560, 3) sequence, its attention-weighted sum, a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, STAGES[0][1], 3, 1, 1)
        self.bn1 = nn.BatchNorm2d(STAGES[0][1])
        channels = STAGES[0][1]
        for number, (blocks, width, stride) in enumerate(STAGES, 1):
            layers = [Block(channels, width, stride)] + [Block(width, width, 1) for _ in range(blocks - 1)]
            self.add_module(f"layer{number}", nn.Sequential(*layers))
            channels = width
        rows = channels * BANDS // 8
        self.attention = nn.Sequential(
            nn.Conv1d(rows, 128, 1), nn.ReLU(), nn.BatchNorm1d(128), nn.Conv1d(128, rows, 1), nn.Softmax(2)
        )
        self.fc = nn.Linear(rows, CODE)

    def forward(self, x: Tensor) -> Tensor:
        x = self.bn1(F.relu(self.conv1(x)))
        for number in range(1, len(STAGES) + 1):
            x = self.get_submodule(f"layer{number}")(x)
        x = x.flatten(1, 2)
        return self.fc(torch.sum(x * self.attention(x), 2))


class MouthEncoder(nn.Module):
    """What is said: windows of a spectrogram (B, 1, 80, 20) in [0, 1] -> mouth codes (B, 512).

    ``UNUSED``: keys of the public file that inference needs no more, the classifier of training.
    """

    UNUSED = r"fc\.(weight|bias)"

    def __init__(self) -> None:
        super().__init__()
        self.model = Trunk()

    def forward(self, windows: Tensor) -> Tensor:
        return self.model(windows)
