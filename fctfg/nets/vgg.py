"""VGG-19's feature maps, for perceptual losses.

Source: Simonyan and Zisserman, arXiv 1409.1556 (configuration E); the state-dict names are torchvision's `features.N`,
and the inputs are normalised as its ImageNet weights expect.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

#: channels and number of convolutions of the five blocks, each followed by 2x2 max pooling
BLOCKS = ((64, 2), (128, 2), (256, 4), (512, 4), (512, 4))
TAPS = tuple(f"relu{block}_1" for block in range(1, 6))
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)


def layer_names() -> list[str]:
    """The names of `features` in order: conv1_1, relu1_1, conv1_2, relu1_2, pool1, conv2_1, ... pool5 (37)."""
    names = []
    for block, (_, count) in enumerate(BLOCKS, 1):
        for i in range(1, count + 1):
            names += [f"conv{block}_{i}", f"relu{block}_{i}"]
        names.append(f"pool{block}")
    return names


class VGG19Features(nn.Module):
    """Pictures (B,3,H,W) in [-1,1] -> the maps after the named ReLUs, in the network's order.

    relu``b``_``i`` is (B, C, H/2^(b-1), W/2^(b-1)) with C = 64, 128, 256, 512, 512. Nothing behind the last tap is
    computed. The weights are frozen; gradients reach the pictures. Without ImageNet's weights the values mean little.
    """

    def __init__(self, taps: Sequence[str] = TAPS) -> None:
        super().__init__()
        names = layer_names()
        unknown = [tap for tap in taps if tap not in names or not tap.startswith("relu")]
        if unknown or not taps:
            raise ValueError(f"taps {list(taps)} must be among {', '.join(n for n in names if n.startswith('relu'))}")
        self.taps = sorted({names.index(tap) for tap in taps})
        layers: list[nn.Module] = []
        before = 3
        for channels, count in BLOCKS:
            for _ in range(count):
                layers += [nn.Conv2d(before, channels, 3, padding=1), nn.ReLU()]
                before = channels
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(STD).view(1, 3, 1, 1), persistent=False)
        self.requires_grad_(False)

    def forward(self, x: Tensor) -> list[Tensor]:
        x = ((x + 1) / 2 - self.mean) / self.std
        maps = []
        for i in range(self.taps[-1] + 1):
            x = self.features[i](x)
            if i in self.taps:
                maps.append(x)
        return maps
