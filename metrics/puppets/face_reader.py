"""The face reader: a puppet's frame in; 68 landmarks, motion, an identity embedding and "is there a face" out.

A small residual network. Landmarks are the means of 68 maps (soft-argmax; Sun et al., "Integral human pose regression",
ECCV 2018). Everything else is told from the features found at the landmarks, from the landmarks' shape and from patches
of the eyes and the mouth, which costs little and does not have to be learned anew for every place in the picture; so is
a correction of the landmarks.

The identity embedding holds the person's standardised geometric factors as far as the picture shows them, at unit
length: what cannot be seen is regressed to the population's mean, 0, and plays no part in a cosine. Strangers have a
cosine near 0.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fctfg.data.puppets.identity import FACTORS
from fctfg.data.puppets.motion import MOTION, RANGES
from metrics.puppets.geometry import EYE, MOUTH, eye_patches, mouth_patches, resized

#: pixels per side that the network looks at
SIZE = 112
POINTS = 68
#: the factors that make a face's geometry, head to mouth
GEOMETRY = FACTORS[: FACTORS.index("mouth_forward") + 1]
SPREAD = 1 / 3**0.5  # the standard deviation of a factor, uniform in [-1, 1]
#: what one unit of the motion outputs is: half of a column's range, angles 15 degrees
SCALES = torch.tensor([15.0 if name in ("yaw", "pitch", "roll") else max(map(abs, RANGES[name])) for name in MOTION])


def conv(inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    pad = (kernel - 1) // 2
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, pad, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)
    )


class Block(nn.Module):
    """x + relu(norm(conv(x)))."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = conv(width, width)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x)


def patch_net(height: int, width: int) -> nn.Sequential:
    """Patches (B, 3, height, width) -> (B, 64)."""
    return nn.Sequential(
        conv(3, 16, 3, 2), conv(16, 32, 3, 2), Block(32), conv(32, 64, 3, 2), nn.Flatten(),
        nn.Linear(64 * (height // 8) * (width // 8), 64, bias=False), nn.BatchNorm1d(64), nn.ReLU(inplace=True),
    )  # fmt: skip


class FaceReader(nn.Module):
    """Frames (B, 3, H, W) in [0, 1] -> a dict: ``landmarks`` (B, 68, 2) in [0, 1] of the frame (x, y; may leave it),
    ``motion`` (B, 18) in the units of ``fctfg.data.puppets.motion``, ``factors`` (B, len(GEOMETRY)) standardised,
    ``identity`` the same at unit length, ``presence`` (B,) logit.
    """

    def __init__(self, widths: tuple[int, ...] = (16, 32, 64, 128), blocks: tuple[int, ...] = (2, 3, 3)) -> None:
        super().__init__()
        a, b, c, d = widths
        self.stem = nn.Sequential(conv(3, a, 3, 2), conv(a, b, 3, 2), *(Block(b) for _ in range(blocks[0])))
        self.middle = nn.Sequential(conv(b, c, 3, 2), *(Block(c) for _ in range(blocks[1])))
        self.deep = nn.Sequential(conv(c, d, 3, 2), *(Block(d) for _ in range(blocks[2])))
        self.up_deep, self.up_middle = conv(d, c, 1), conv(c, b, 1)
        self.join_middle, self.join_stem = conv(c, c, 1), conv(b, b)
        self.maps = nn.Conv2d(b, POINTS, 1)
        self.eye, self.mouth = patch_net(EYE, EYE), patch_net(*MOUTH)
        self.trunk = nn.Sequential(
            nn.Linear(POINTS * b + d + 2 * POINTS + 3 + 3 * 64, 256, bias=False),
            nn.BatchNorm1d(256),
            nn.ReLU(inplace=True),
        )
        self.to_points = nn.Linear(256, 2 * POINTS)
        self.to_motion = nn.Sequential(nn.Linear(256, 128), nn.ReLU(inplace=True), nn.Linear(128, len(MOTION)))
        self.to_factors = nn.Sequential(nn.Linear(256, 128), nn.ReLU(inplace=True), nn.Linear(128, len(GEOMETRY)))
        self.to_presence = nn.Linear(256, 1)
        nn.init.zeros_(self.to_points.weight)
        self.register_buffer("scales", SCALES.clone())

    def forward(self, frames: Tensor) -> dict[str, Tensor]:
        x = resized(frames, SIZE) if frames.shape[-1] != SIZE else frames
        x = (x - 0.5) * 4
        stem = self.stem(x)
        middle = self.middle(stem)
        deep = self.deep(middle)
        m = self.join_middle(middle + F.interpolate(self.up_deep(deep), scale_factor=2, mode="nearest"))
        s = self.join_stem(stem + F.interpolate(self.up_middle(m), scale_factor=2, mode="bilinear"))
        points = soft_argmax(4 * self.maps(s))
        at = points.detach()
        local = F.grid_sample(s, at[:, :, None] * 2 - 1, align_corners=False, padding_mode="border")
        right, left = self.eye(eye_patches(x, at)).chunk(2)
        mouth = self.mouth(mouth_patches(x, at))
        whole = self.trunk(torch.cat([local.flatten(1), deep.mean((2, 3)), shape(at), right, left, mouth], 1))
        factors = self.to_factors(whole)
        return {
            "landmarks": points + self.to_points(whole).view(-1, POINTS, 2) / 10,
            "motion": self.to_motion(whole) * self.scales,
            "factors": factors,
            "identity": F.normalize(factors, dim=1),
            "presence": self.to_presence(whole)[:, 0],
        }


def shape(points: Tensor) -> Tensor:
    """Points (B, 68, 2) in [0, 1] -> (B, 139): their shape free of place and size, then place and size."""
    middle = points.mean(1, keepdim=True)
    size = (points - middle).square().sum((1, 2), keepdim=True).div(POINTS).sqrt().clamp(min=1e-3)
    return torch.cat([((points - middle) / size).flatten(1), 5 * (middle[:, 0] - 0.5), 5 * size[:, 0]], 1)


def soft_argmax(maps: Tensor) -> Tensor:
    """Maps (B, P, h, w) -> the mean position (B, P, 2) of each map's softmax, x and y in [0, 1] of the map."""
    b, p, h, w = maps.shape
    share = maps.flatten(2).softmax(-1).view(b, p, h, w)
    x = (torch.arange(w, device=maps.device) + 0.5) / w
    y = (torch.arange(h, device=maps.device) + 0.5) / h
    return torch.stack([(share.sum(2) * x).sum(-1), (share.sum(3) * y).sum(-1)], -1)
