"""Wav2Lip's audio encoders: a mel window in, one embedding out.

Source: Rudrabha/Wav2Lip ``models/wav2lip.py`` (the generator's, 13 blocks, which FC-TFG takes as its E_a; sec. 4.1.2 of
the paper: "the audio encoder introduced in [33]") and ``models/syncnet.py`` (the sync expert's, 14 blocks). They differ
in one residual block. State-dict keys are ``N.conv_block.{0,1}.*``, the public ones without ``audio_encoder.``.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

#: (channels, kernel, stride, padding) of the blocks that are not residual, and how many residual 3x3 ones follow each
_PLAIN = (
    (32, 3, 1, 1),
    (64, 3, (3, 1), 1),
    (128, 3, 3, 1),
    (256, 3, (3, 2), 1),
    (512, 3, 1, 0),
    (512, 1, 1, 0),
)
_RESIDUAL = {"generator": (2, 2, 2, 1, 0, 0), "expert": (2, 2, 2, 2, 0, 0)}


class ConvBlock(nn.Module):
    """Convolution with bias, batch normalisation, the input added where ``residual``, ReLU."""

    def __init__(self, inputs, outputs, kernel, stride=1, padding=0, residual=False):
        super().__init__()
        self.conv_block = nn.Sequential(nn.Conv2d(inputs, outputs, kernel, stride, padding), nn.BatchNorm2d(outputs))
        self.residual = residual

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = self.conv_block(x)
        return torch.relu(out + x if self.residual else out)


def stack(inputs: int, plain, residual, width: float) -> list[ConvBlock]:
    """Blocks from a table: each of ``plain`` (channels, kernel, stride, padding), then its residual 3x3 ones;
    ``width`` multiplies the channels.
    """
    blocks = []
    for (channels, kernel, stride, padding), repeats in zip(plain, residual, strict=True):
        outputs = scaled(channels, width)
        blocks.append(ConvBlock(inputs, outputs, kernel, stride, padding))
        blocks += [ConvBlock(outputs, outputs, 3, 1, 1, residual=True) for _ in range(repeats)]
        inputs = outputs
    return blocks


def scaled(channels: int, width: float) -> int:
    """``channels`` times ``width``, at least 1."""
    return max(1, round(channels * width))


class AudioEncoder(nn.Sequential):
    """(B, 1, 80, 16) windows of ``fctfg.nets.mel`` -> (B, dim), dim = 512 ``width``; entries are >= 0 (a ReLU ends it).

    ``blocks``: "generator" (13 of them) or "expert" (14). Width 1 is the public network.
    """

    def __init__(self, width: float = 1.0, blocks: str = "generator"):
        if blocks not in _RESIDUAL:
            raise ValueError(f"unknown blocks {blocks!r}; use {' or '.join(_RESIDUAL)}")
        super().__init__(*stack(1, _PLAIN, _RESIDUAL[blocks], width))
        self.dim = scaled(_PLAIN[-1][0], width)

    def forward(self, mels: torch.Tensor) -> torch.Tensor:
        return super().forward(mels).flatten(1)


def part_of_checkpoint(checkpoint: Mapping, prefix: str = "") -> dict[str, torch.Tensor]:
    """The tensors below ``prefix`` of a Wav2Lip checkpoint, without it: "audio_encoder." of ``wav2lip.pth`` is a strict
    load for ``AudioEncoder()``, and all of ``lipsync_expert.pth`` one for ``SyncExpert()``.

    ``checkpoint``: as ``fctfg.weights.load_state_dict`` gives it, ``{"state_dict": ...}`` or the tensors themselves,
    with or without the "module." of a parallel training. ValueError when nothing is called so.
    """
    tensors = checkpoint.get("state_dict", checkpoint)
    named = {name.removeprefix("module."): value for name, value in tensors.items()}
    found = {name.removeprefix(prefix): value for name, value in named.items() if name.startswith(prefix)}
    if not found:
        raise ValueError(f"no tensor called {prefix}... in it; give a Wav2Lip checkpoint")
    return found
