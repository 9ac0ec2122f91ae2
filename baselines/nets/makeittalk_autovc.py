"""MakeItTalk's content embedding (``ckpt_autovc.pth``): AutoVC turning any voice into one voice.

Qian, Zhang, Chang, Yang, Hasegawa-Johnson: "AutoVC: Zero-Shot Voice Style Transfer with Only Autoencoder Loss", ICML
2019, with pitch (Qian et al., ICASSP 2020), as in yzhou359/MakeItTalk (commit fad2fe4)
``src/autovc/retrain_version/model_vc_37_1.py``. Module names are those of the public file.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

BANDS, SPEAKER, PITCHES = 80, 256, 257
NECK, WIDTH, GROUPS = 16, 512, 32
#: columns that share one code
FREQ = 16
#: columns that are converted together; less than that is filled up with zeros to a multiple of ``GRAIN``
CHUNK, GRAIN = 4096, 32


class Conv(nn.Module):
    """1-D convolution of 5 columns; a module of its own because the file's names say so."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(inputs, outputs, 5, padding=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


def _block(inputs: int, outputs: int, groups: int) -> nn.Sequential:
    return nn.Sequential(Conv(inputs, outputs), nn.GroupNorm(groups, outputs))


class Encoder(nn.Module):
    """(B, 80 + 256, T) mel and speaker -> one code (32) for each 16 columns, (B, T / 16, 32)."""

    def __init__(self) -> None:
        super().__init__()
        sizes = (BANDS + SPEAKER, WIDTH, WIDTH)
        self.convolutions = nn.ModuleList(_block(size, WIDTH, GROUPS) for size in sizes)
        self.lstm = nn.LSTM(WIDTH, NECK, 2, batch_first=True, bidirectional=True)

    def forward(self, x: Tensor) -> Tensor:
        for convolution in self.convolutions:
            x = F.relu(convolution(x))
        states, _ = self.lstm(x.transpose(1, 2))
        # What each direction knows when it has heard all the columns of a code.
        return torch.cat((states[:, FREQ - 1 :: FREQ, :NECK], states[:, ::FREQ, NECK:]), 2)


class Decoder(nn.Module):
    """(B, T, 32 + 256 + 257) codes, speaker and pitch -> mel (B, T, 80)."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(2 * NECK + SPEAKER + PITCHES, WIDTH, 3, batch_first=True)
        self.linear_projection = nn.Module()
        self.linear_projection.linear_layer = nn.Linear(WIDTH, BANDS)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear_projection.linear_layer(self.lstm(x)[0])


class Postnet(nn.Module):
    """What is added to a mel (B, 80, T) to make it sharper."""

    def __init__(self) -> None:
        super().__init__()
        sizes = [BANDS, WIDTH, WIDTH, WIDTH, WIDTH, BANDS]
        groups = [GROUPS] * 4 + [5]
        pairs = zip(sizes[:-1], sizes[1:], groups, strict=True)
        self.convolutions = nn.ModuleList(_block(*each) for each in pairs)

    def forward(self, x: Tensor) -> Tensor:
        for convolution in self.convolutions[:-1]:
            x = torch.tanh(convolution(x))
        return self.convolutions[-1](x)


class AutoVC(nn.Module):
    """``PART``: where the file keeps the tensors. ``UNUSED``: names in it that inference does not need."""

    PART, UNUSED = "model", r"(?!)"

    def __init__(self) -> None:
        super().__init__()
        self.encoder = Encoder()
        self.decoder = Decoder()
        self.postnet = Postnet()

    def forward(self, mel: Tensor, speaker: Tensor, pitch: Tensor, target: Tensor) -> Tensor:
        """What was said, in the target's voice: mel (B, T, 80), speaker and target (B, 256), pitch (B, T, 257) -> mel
        (B, T, 80). T is a multiple of 16.
        """
        columns = mel.shape[1]
        codes = self.encoder(torch.cat((mel.transpose(1, 2), speaker[:, :, None].expand(-1, -1, columns)), 1))
        said = (codes.repeat_interleave(FREQ, 1), target[:, None].expand(-1, columns, -1), pitch)
        made = self.decoder(torch.cat(said, 2))
        return made + self.postnet(made.transpose(1, 2)).transpose(1, 2)

    def converted(self, mel: Tensor, speaker: Tensor, pitch: Tensor, target: Tensor) -> Tensor:
        """One sound of any length: mel (T, 80), speaker (256,), pitch (T, 257), target (256,) -> mel (T, 80).

        4096 columns (66 s) are converted at once, each such stretch without knowing of the others.
        """
        parts = []
        for begin in range(0, len(mel), CHUNK):
            part, tones = mel[begin : begin + CHUNK], pitch[begin : begin + CHUNK]
            fill = (0, 0, 0, -len(part) % GRAIN)
            made = self(F.pad(part, fill)[None], speaker[None], F.pad(tones, fill)[None], target[None])
            parts.append(made[0, : len(part)])
        return torch.cat(parts)
