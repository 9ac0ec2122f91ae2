"""Audio2Head's own networks: head poses from sound, and keypoints from sound, head poses and a picture.

Source: wangsuzhen/Audio2Head (commit 09e9b43) ``modules/{audio2pose,audio2kp,util,resnet}.py``,
``config/parameters.yaml``. Keys and shapes are those of ``audio2pose`` and ``audio2kp`` in ``audio2head.pth.tar``.
Sound comes as ``baselines.audio2head_sound.features``, four rows of 41 for each frame.
"""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from baselines.nets.audio2head_fomm import ConvNorm, Keypoints, ResBlock, Shrink, hourglass_widths, keypoints

#: frames that the keypoint network sees at once; it was trained on no other number
WINDOW = 64
POINTS = 10


class BasicBlock(nn.Module):
    """ResNet's block of two 3x3 convolutions."""

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        inner = self.bn2(self.conv2(F.relu_(self.bn1(self.conv1(x)))))
        return F.relu_(inner.add_(x if self.downsample is None else self.downsample(x)))


class ResNet34(nn.Module):
    """He, Zhang, Ren, Sun: "Deep Residual Learning", CVPR 2016: (B, inputs, h, w) -> (B, outputs)."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        width = 64
        for stage, blocks in enumerate((3, 4, 6, 3), 1):
            begin, width = width, 64 << (stage - 1)
            first = BasicBlock(begin, width, 1 if stage == 1 else 2)
            rest = [BasicBlock(width, width, 1) for _ in range(blocks - 1)]
            self.add_module(f"layer{stage}", nn.Sequential(first, *rest))
        self.fc = nn.Linear(width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu_(self.bn1(self.conv1(x))), 3, 2, 1)
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(x.mean((2, 3)))


class HeadPoses(nn.Module):
    """Head poses of a speech, begun at the pose in a picture: an LSTM that is fed its own last output."""

    def __init__(self) -> None:
        super().__init__()
        self.em_audio = nn.ModuleDict({"resnet": ResNet34(1, 256)})
        self.em_img = nn.ModuleDict({"resnet": ResNet34(3, 256)})
        self.lstm = nn.LSTM(512, 256, 2, batch_first=True)
        self.output = nn.Linear(256, 6)

    def forward(self, picture: Tensor, heard: Tensor) -> Tensor:
        """A picture (1, 3, 256, 256) in [0, 1] and n frames' sound (n, 4, 41) -> poses (n + 1, 6), scaled to about
        [-1, 1]: the picture's own, then one after each frame's sound.
        """
        sounds = torch.cat([self.em_audio["resnet"](part[:, None]) for part in heard.split(4 * WINDOW)])
        code, state = self.em_img["resnet"](picture), None
        codes = [code]
        for sound in sounds:
            output, state = self.lstm(torch.cat((sound[None], code), 1)[:, None], state)
            code = output[:, 0]
            codes.append(code)
        return self.output(torch.cat(codes))


class Up3d(nn.Module):
    """Twice the size in space and time, convolution, ReLU, a residual block, ReLU."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.conv = nn.Conv3d(inputs, outputs, 3, padding=1)
        self.norm = nn.BatchNorm3d(outputs)
        self.res = ResBlock(outputs, 3)
        self.norm2 = nn.BatchNorm3d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu_(self.norm(self.conv(F.interpolate(x, scale_factor=2.0))))
        return F.relu_(self.norm2(self.res(x)))


class Down3d(ConvNorm):
    """A residual block, ReLU, convolution, ReLU, then half the size in space and time."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__(inputs, outputs, 3, 3)
        self.res = ResBlock(inputs, 3)
        self.norm_res = nn.BatchNorm3d(inputs)

    def forward(self, x: Tensor) -> Tensor:
        return F.avg_pool3d(super().forward(F.relu_(self.norm_res(self.res(x)))), 2)


class Hourglass3d(nn.Module):
    """A U-Net in space and time, a residual block on every way across; what came in comes out last, so treated."""

    def __init__(self, expansion: int, inputs: int, blocks: int, most: int):
        super().__init__()
        down, up = hourglass_widths(expansion, inputs, blocks, most)
        downs = [Down3d(*pair) for pair in pairwise(down)]
        levels = range(blocks, 0, -1)
        ups = [Up3d((1 if level == blocks else 2) * up[level], up[level - 1]) for level in levels]
        across = [down[level - 1] for level in levels]
        sides = [nn.Sequential(ResBlock(width, 3), nn.BatchNorm3d(width), nn.ReLU(inplace=True)) for width in across]
        self.encoder = nn.ModuleDict({"down_blocks": nn.ModuleList(downs)})
        self.decoder = nn.ModuleDict({"up_blocks": nn.ModuleList(ups), "res_blocks": nn.ModuleList(sides)})
        self.outputs = expansion + inputs

    def forward(self, x: Tensor) -> Tensor:
        maps = [x]
        for block in self.encoder["down_blocks"]:
            maps.append(block(maps[-1]))
        x = maps.pop()
        for block, side in zip(self.decoder["up_blocks"], self.decoder["res_blocks"], strict=True):
            x = torch.cat((block(x), side(maps.pop())), 1)
        return x


class SpokenKeypoints(nn.Module):
    """Keypoints of a picture while it speaks, one window of 64 frames at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.down_id = Shrink(3)
        self.down_pose = Shrink(WINDOW)
        self.embedding = nn.Sequential(
            nn.ConvTranspose2d(1, 8, (29, 14), padding=(0, 11)),
            nn.BatchNorm2d(8),
            nn.ReLU(inplace=True),
            nn.Conv2d(8, 2, 13, padding=6),
        )
        self.predictor = Hourglass3d(32, 6, 5, 512)
        self.kp = nn.Conv3d(self.predictor.outputs, POINTS, 7, padding=(3, 0, 0))
        self.jacobian = nn.Conv2d(self.predictor.outputs, 4 * POINTS, 7)

    def forward(self, picture: Tensor, heard: Tensor, boxes: Tensor) -> Keypoints:
        """A picture (1, 3, 256, 256) in [0, 1], 64 frames' sound (64, 4, 41) and pictures of their head poses
        (64, 256, 256), 0 or 255 -> the keypoints of 64 frames.
        """
        sound = F.interpolate(self.embedding(heard[:, None]), scale_factor=2.0)
        face = self.down_id(picture)[0, :, None].expand(-1, WINDOW, -1, -1)
        pose = self.down_pose(boxes[None])
        features = self.predictor(torch.cat((sound.transpose(0, 1), face, pose))[None])
        scores = self.kp(features)[0].transpose(0, 1)
        return keypoints(scores.contiguous(), self.jacobian(features[0].transpose(0, 1)))
