"""The canonical encoder, the multimodal motion encoder and temporal fusion (paper, 3.1 and 3.2)."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class LayeredMLP(nn.Module):
    """``layers`` independent MLPs of the same widths, each for one style layer, run as one batched matrix product.

    ``widths``: input, hidden and output widths; leaky ReLU between, nothing at the end (A5).
    """

    def __init__(self, layers: int, widths: Sequence[int], slope: float = 0.2) -> None:
        super().__init__()
        self.slope = slope
        pairs = list(itertools.pairwise(widths))
        self.weights = nn.ParameterList(nn.Parameter(_start(layers, i, o, slope)) for i, o in pairs)
        self.biases = nn.ParameterList(nn.Parameter(torch.zeros(layers, 1, o)) for _, o in pairs)

    def forward(self, x: Tensor) -> Tensor:
        """(N, layers, width in) -> (N, layers, width out)."""
        x = x.transpose(0, 1)
        for i, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            if i:
                x = F.leaky_relu(x, self.slope)
            x = torch.baddbmm(bias.to(x.dtype), x, weight.to(x.dtype))
        return x.transpose(0, 1)


class CanonicalEncoder(LayeredMLP):
    """E_can: z_s -> z_{s->c}, a 2-layer MLP for each style layer (3.1)."""

    def __init__(self, layers: int, style_dim: int = 512, hidden: int = 512, slope: float = 0.2) -> None:
        super().__init__(layers, (style_dim, hidden, style_dim), slope)

    @torch.no_grad()
    def start_at(self, average: Tensor) -> None:
        """Let the output start at ``average`` (layers, style_dim), so that training starts from a face."""
        self.biases[-1].copy_(average[:, None])
        self.weights[-1].mul_(0.1)


class MotionEncoder(nn.Module):
    """E_m: a 3-layer MLP for each style layer (3.2, Eq. 2); some layers also hear the sound, by concatenation.

    ``hears``: for every manipulated layer, whether the audio code is joined to its input.
    """

    def __init__(
        self, hears: Sequence[bool], style_dim: int = 512, audio_dim: int = 512, hidden: int = 512, slope: float = 0.2
    ) -> None:
        super().__init__()
        deaf = [i for i, h in enumerate(hears) if not h]
        hearing = [i for i, h in enumerate(hears) if h]
        self.visual = LayeredMLP(len(deaf), (style_dim, hidden, hidden, style_dim), slope)
        self.audiovisual = LayeredMLP(len(hearing), (style_dim + audio_dim, hidden, hidden, style_dim), slope)
        for mlp in (self.visual, self.audiovisual):  # motion starts small beside the canonical face
            mlp.weights[-1].data.mul_(0.1)
        order = sorted(range(len(hears)), key=(deaf + hearing).__getitem__)
        self.register_buffer("deaf", torch.tensor(deaf, dtype=torch.long), persistent=False)
        self.register_buffer("hearing", torch.tensor(hearing, dtype=torch.long), persistent=False)
        self.register_buffer("order", torch.tensor(order, dtype=torch.long), persistent=False)

    def forward(self, codes: Tensor, audio: Tensor) -> Tensor:
        """Driving ``codes`` (N, layers, style_dim) and ``audio`` (N, audio_dim) -> (N, layers, style_dim)."""
        parts = []
        if len(self.deaf):
            parts.append(self.visual(codes[:, self.deaf]))
        if len(self.hearing):
            heard = audio.to(codes.dtype)[:, None].expand(-1, len(self.hearing), -1)
            parts.append(self.audiovisual(torch.cat([codes[:, self.hearing], heard], 2)))
        return torch.cat(parts, 1)[:, self.order]


class TemporalFusion(nn.Module):
    """TF: codes of one window of frames -> the same, consistent over time (3.2; A7).

    ``kind``: "conv" one 1-D convolution over time, "lstm" for the ablation, "none". A window is at its own length,
    with nothing known of what lies outside it. ``shared``: one for all layers, else one for each. ``start``: "identity"
    hands codes through nearly unchanged before anything is learned; an LSTM's last layer then sees the code, too, for
    codes are far larger than what an LSTM gives, and the two kinds would not begin alike.
    """

    def __init__(
        self,
        kind: str,
        layers: int,
        style_dim: int = 512,
        kernel: int = 3,
        shared: bool = False,
        start: str = "identity",
    ) -> None:
        super().__init__()
        if kind not in ("conv", "lstm", "none"):
            raise ValueError(f"temporal fusion is conv, lstm or none, not {kind!r}")
        if kernel % 2 == 0:
            raise ValueError(f"the kernel must be odd to keep the window's length, not {kernel}")
        self.kind, self.layers, self.shared = kind, layers, shared
        groups = 1 if shared else layers
        if kind == "conv":
            self.conv = nn.Conv1d(
                groups * style_dim, groups * style_dim, kernel, padding=kernel // 2, groups=groups, bias=True
            )
            if start == "identity":
                with torch.no_grad():
                    self.conv.weight.mul_(0.02)
                    self.conv.bias.zero_()
                    rows = torch.arange(groups * style_dim)
                    self.conv.weight[rows, rows % style_dim, kernel // 2] += 1
        elif kind == "lstm":
            self.lstm = nn.ModuleList(nn.LSTM(style_dim, style_dim, batch_first=True) for _ in range(groups))
            # an LSTM's own output lies within (-1, 1): a linear layer lets it reach every code
            self.skips = start == "identity"
            seen = 2 * style_dim if self.skips else style_dim
            self.out = nn.ModuleList(nn.Linear(seen, style_dim) for _ in range(groups))
            if self.skips:
                for out in self.out:
                    with torch.no_grad():
                        out.weight.mul_(0.02)
                        out.weight[:, style_dim:] = torch.eye(style_dim)
                        out.bias.zero_()

    def forward(self, codes: Tensor) -> Tensor:
        """(B, T, layers, style_dim) -> the same shape; each row of the batch is one window."""
        b, t, m, d = codes.shape
        if self.kind == "none":
            return codes
        if self.kind == "conv":
            if self.shared:
                fused = self.conv(codes.permute(0, 2, 3, 1).reshape(b * m, d, t))
            else:
                fused = self.conv(codes.permute(0, 2, 3, 1).reshape(b, m * d, t))
            return fused.reshape(b, m, d, t).permute(0, 3, 1, 2)
        if self.shared:
            fused = self._recurrent(0, codes.transpose(1, 2).reshape(b * m, t, d))
            return fused.reshape(b, m, t, d).transpose(1, 2)
        return torch.stack([self._recurrent(i, codes[:, :, i]) for i in range(m)], 2)

    def _recurrent(self, i: int, codes: Tensor) -> Tensor:
        """(B, T, style_dim) -> the same, by the LSTM ``i``."""
        over_time = self.lstm[i](codes)[0]
        return self.out[i](torch.cat([over_time, codes], 2) if self.skips else over_time)


def _start(layers: int, fan_in: int, fan_out: int, slope: float) -> Tensor:
    """He's start for leaky ReLU: (layers, fan_in, fan_out)."""
    return torch.randn(layers, fan_in, fan_out) * math.sqrt(2 / ((1 + slope**2) * fan_in))
