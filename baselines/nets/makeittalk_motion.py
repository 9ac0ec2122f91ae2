"""MakeItTalk's two networks from sound to landmarks: what is said moves the mouth, who says it moves the head.

Zhou et al., SIGGRAPH Asia 2020, sections 4.2 and 4.3, as in yzhou359/MakeItTalk (commit fad2fe4)
``src/models/model_audio2landmark.py``. Both hear windows of 18 columns (0.288 s) that begin with the frame that they
move. Module names are those of the public files.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

COLUMNS, BANDS = 18, 80
POINTS = 68 * 3
SPEAKER, CODE, NOISE, AUDIO = 256, 128, 128, 256
HEADS, MODEL, LAYERS = 2, 64, 2
#: windows that are attended to together
SEGMENT = 512
#: by which the public inference multiplies speaker embeddings for this branch
SPEAKER_GAIN = 3.0


class ContentBranch(nn.Module):
    """``ckpt_content_branch.pth``: windows (B, 18, 80) and the face at rest (1 or B, 204) -> displacements (B, 204)."""

    PART, UNUSED = "model_g_face_id", r"(?!)"

    def __init__(self) -> None:
        super().__init__()
        width, inner = 161, 256
        self.fc_prior = nn.Sequential(
            nn.Linear(BANDS, 256), nn.BatchNorm1d(256), nn.LeakyReLU(0.2), nn.Linear(256, width)
        )
        self.bilstm = nn.LSTM(width, inner, 3, batch_first=True)
        self.fc = nn.Sequential(
            nn.Linear(inner + POINTS, 512),
            nn.BatchNorm1d(512),
            nn.LeakyReLU(0.2),
            nn.Linear(512, 256),
            nn.BatchNorm1d(256),
            nn.LeakyReLU(0.2),
            nn.Linear(256, POINTS),
        )

    def forward(self, windows: Tensor, face: Tensor) -> Tensor:
        inputs = self.fc_prior(windows.reshape(-1, BANDS)).reshape(-1, COLUMNS, self.bilstm.input_size)
        heard = self.bilstm(inputs)[0][:, -1]
        return self.fc(torch.cat((heard, face.expand(len(heard), -1)), 1))


class Norm(nn.Module):
    """Layer norm with the sample's deviation, to which epsilon is added."""

    def __init__(self) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.ones(MODEL))
        self.bias = nn.Parameter(torch.zeros(MODEL))

    def forward(self, x: Tensor) -> Tensor:
        return self.alpha * (x - x.mean(-1, keepdim=True)) / (x.std(-1, keepdim=True) + 1e-6) + self.bias


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.q_linear, self.v_linear, self.k_linear, self.out = (nn.Linear(MODEL, MODEL) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (
            linear(x).unflatten(-1, (HEADS, -1)).transpose(1, 2)
            for linear in (self.q_linear, self.k_linear, self.v_linear)
        )
        weight = torch.softmax(q @ k.transpose(-2, -1) / math.sqrt(MODEL // HEADS), -1)
        return self.out((weight @ v).transpose(1, 2).flatten(2))


class FeedForward(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear_1, self.linear_2 = nn.Linear(MODEL, 2048), nn.Linear(2048, MODEL)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear_2(F.relu(self.linear_1(x)))


class Layer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm_1, self.norm_2 = Norm(), Norm()
        self.attn, self.ff = Attention(), FeedForward()

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm_1(x))
        return x + self.ff(self.norm_2(x))


class Transformer(nn.Module):
    """(1, T, 512) -> (1, T, 64), T <= 512. The table of places is the file's own."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Module()
        self.embed.embed = nn.Linear(AUDIO + CODE + NOISE, MODEL)
        self.pe = nn.Module()
        self.pe.register_buffer("pe", torch.zeros(1, SEGMENT, MODEL))
        self.layers = nn.ModuleList(Layer() for _ in range(LAYERS))
        self.norm = Norm()

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed.embed(x) * math.sqrt(MODEL) + self.pe.pe[:, : x.shape[1]]
        for layer in self.layers:
            x = layer(x)
        return self.norm(x)


class SpeakerBranch(nn.Module):
    """``ckpt_speaker_branch.pth``: a segment's windows (T, 18, 80) and the speaker (256,) -> displacements (T, 204).

    The noise that the network was trained with is zero in the public inference.
    """

    PART = "G"
    #: the transformer's decoder, which inference leaves alone, and a layer that the public inference drops by name
    UNUSED = r"(decoder|comb_mlp)\..+"

    def __init__(self) -> None:
        super().__init__()
        self.audio_content_encoder = nn.LSTM(BANDS, AUDIO, 3, batch_first=True)
        self.spk_emb_encoder = _three_layers(SPEAKER, 256, 128, CODE)
        self.encoder = Transformer()
        self.out = _three_layers(MODEL + NOISE, 512, 256, POINTS)

    def forward(self, windows: Tensor, speaker: Tensor) -> Tensor:
        heard = self.audio_content_encoder(windows)[0][:, -1]
        code = self.spk_emb_encoder(speaker[None] * SPEAKER_GAIN).expand(len(heard), -1)
        noise = heard.new_zeros(len(heard), NOISE)
        moved = self.encoder(torch.cat((heard, code, noise), 1)[None])[0]
        return self.out(torch.cat((moved, noise), 1))


def _three_layers(inputs: int, first: int, second: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(inputs, first),
        nn.LeakyReLU(0.02),
        nn.Linear(first, second),
        nn.LeakyReLU(0.02),
        nn.Linear(second, outputs),
    )
