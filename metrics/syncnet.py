"""SyncNet: how well lips and speech go together (Chung and Zisserman, "Out of time", 2016).

Two branches map a window of 0.2 s, five frames at 25 fps or twenty MFCC columns, to 1024 numbers each; the closer the
two, the better they fit. This is the network for inference, read from the official file (``syncnet_v2.model``) and
rearranged without changing what it computes:

* batch normalisation is folded into the convolution before it;
* the only convolution that spans frames, (5, 7, 7), is a 2-D one over 15 channels;
* the ReLU comes after the pooling, which commutes with it and leaves less to do;
* the last convolution covers its whole input and is a matrix product, done for many windows at once;
* frames come in as RGB, and the first convolution's weights are permuted (the network was trained on BGR).

Arithmetic of one window (2 x multiply-add): lips 3.11 GFLOP (1.68 + 0.83 + 3 x 0.20 + 0.01), speech 0.49. Neighbouring
windows share frames but not work: each frame meets the five temporal slices of the first kernel, all different, once
each, so summing per-frame convolutions costs as much; and the speech layers are padded at every window's own edge.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fctfg.exact_float32 import exact_float32
from fctfg.weights import check_state, load_state_dict, sha256

WINDOW = 5  # frames
COLUMNS = 20  # MFCC columns in a window
COLUMNS_PER_FRAME = 4
SIZE = 224  # pixels, both sides
FEATURES = 1024

#: Windows convolved at once. On a CPU the activations of a few windows stay in its caches.
BATCH = {"cpu": 4, "cuda": 64}
#: Windows that share one pass over the 5 million weights behind the convolutions.
HEAD_BATCH = 64


@dataclass(frozen=True)
class Conv:
    """One convolution of the published network, its place in the state dict, and the pooling that follows it."""

    index: int
    inputs: int
    outputs: int
    kernel: tuple[int, ...]
    stride: int = 1
    padding: int = 0
    pool: tuple[int, tuple[int, int], int] | None = None  # kernel, stride, padding


LIPS = (
    Conv(0, 3, 96, (5, 7, 7), stride=2, pool=(3, (2, 2), 0)),
    Conv(4, 96, 256, (1, 5, 5), stride=2, padding=1, pool=(3, (2, 2), 1)),
    Conv(8, 256, 256, (1, 3, 3), padding=1),
    Conv(11, 256, 256, (1, 3, 3), padding=1),
    Conv(14, 256, 256, (1, 3, 3), padding=1, pool=(3, (2, 2), 0)),
    Conv(18, 256, 512, (1, 6, 6)),
)
SPEECH = (
    Conv(0, 1, 64, (3, 3), padding=1),
    Conv(4, 64, 192, (3, 3), padding=1, pool=(3, (1, 2), 0)),
    Conv(8, 192, 384, (3, 3), padding=1),
    Conv(11, 384, 256, (3, 3), padding=1),
    Conv(14, 256, 256, (3, 3), padding=1, pool=(3, (2, 2), 0)),
    Conv(18, 256, 512, (5, 4)),
)
_BRANCHES = {"lip": LIPS, "aud": SPEECH}
_NORM = ("weight", "bias", "running_mean", "running_var")


def state_shapes() -> dict[str, tuple[int, ...]]:
    """Every key of the official state dict that inference reads, with its shape."""
    shapes: dict[str, tuple[int, ...]] = {}
    for branch, convs in _BRANCHES.items():
        for conv in convs:
            prefix = f"netcnn{branch}."
            shapes[f"{prefix}{conv.index}.weight"] = (conv.outputs, conv.inputs, *conv.kernel)
            shapes[f"{prefix}{conv.index}.bias"] = (conv.outputs,)
            shapes |= {f"{prefix}{conv.index + 1}.{name}": (conv.outputs,) for name in _NORM}
        for index, outputs in ((0, 512), (3, FEATURES)):
            shapes[f"netfc{branch}.{index}.weight"] = (outputs, 512)
            shapes[f"netfc{branch}.{index}.bias"] = (outputs,)
        shapes |= {f"netfc{branch}.1.{name}": (512,) for name in _NORM}
    return shapes


def load_syncnet(path: Path | str, device: str | torch.device = "cpu") -> SyncNet:
    """The network with the weights of ``path`` (the official format), ready on ``device``.

    Raises:
        WeightsError: when the file does not hold exactly SyncNet's tensors, or is no plain state dict.
    """
    state = load_state_dict(path)
    check_state(state, state_shapes(), path)
    return SyncNet(state, f"{Path(path).name} {sha256(path)[:8]}").to(device)


class SyncNet(nn.Module):
    """The two branches, built from a checked official state dict; ``version`` says where that came from."""

    def __init__(self, state: Mapping[str, Tensor], version: str = "") -> None:
        super().__init__()
        self.version = version
        for branch, convs in _BRANCHES.items():
            for conv in convs:
                weight, bias = _fold(state, f"netcnn{branch}.{conv.index}", f"netcnn{branch}.{conv.index + 1}")
                if branch == "lip":
                    # (out, colour BGR, time, h, w) -> (out, time x colour RGB, h, w): channel 3 t + c of a window.
                    weight = weight.flip(1) if conv.index == 0 else weight
                    weight = weight.transpose(1, 2).flatten(1, 2)
                if conv is convs[-1]:  # covers its whole input: a matrix product over (row, column, channel)
                    weight = weight.permute(0, 2, 3, 1).flatten(1)
                else:
                    weight = weight.contiguous(memory_format=torch.channels_last)
                self._keep(branch, conv.index, weight, bias)
            self._keep(branch, "hidden", *_fold(state, f"netfc{branch}.0", f"netfc{branch}.1"))
            self._keep(branch, "out", state[f"netfc{branch}.3.weight"], state[f"netfc{branch}.3.bias"])

    def _keep(self, branch: str, name: int | str, weight: Tensor, bias: Tensor) -> None:
        self.register_buffer(f"{branch}_{name}_weight", weight.float())
        self.register_buffer(f"{branch}_{name}_bias", bias.float())

    def _layer(self, branch: str, name: int | str) -> tuple[Tensor, Tensor]:
        return getattr(self, f"{branch}_{name}_weight"), getattr(self, f"{branch}_{name}_bias")

    @property
    def device(self) -> torch.device:
        return self.lip_out_bias.device

    @property
    def batch(self) -> int:
        """Windows to convolve at once on this device."""
        return BATCH.get(self.device.type, BATCH["cuda"])

    def trunk(self, branch: str, windows: Tensor) -> Tensor:
        """Windows (n, channels, h, w), channels last in memory -> the last convolution's input, (n, h * w * 256)."""
        x = windows
        for conv in _BRANCHES[branch][:-1]:
            x = F.conv2d(x, *self._layer(branch, conv.index), stride=conv.stride, padding=conv.padding)
            if conv.pool:
                x = F.max_pool2d(x, *conv.pool)
            x = x.relu_()
        return x.permute(0, 2, 3, 1).flatten(1)

    def head(self, branch: str, x: Tensor) -> Tensor:
        """The trunk's output (n, ...) -> embeddings (n, 1024), not normalised."""
        for name in (18, "hidden"):
            x = F.linear(x, *self._layer(branch, name)).relu_()
        return F.linear(x, *self._layer(branch, "out"))


def _fold(state: Mapping[str, Tensor], layer: str, norm: str, eps: float = 1e-5) -> tuple[Tensor, Tensor]:
    """Weight and bias of a convolution or linear layer with the batch normalisation after it, in float64."""
    weight, bias = state[f"{layer}.weight"].double(), state[f"{layer}.bias"].double()
    gain, shift, mean, variance = (state[f"{norm}.{name}"].double() for name in _NORM)
    scale = gain / torch.sqrt(variance + eps)
    return weight * scale.view(-1, *[1] * (weight.dim() - 1)), (bias - mean) * scale + shift


class _Rows:
    """Embeddings, kept as they come. The room is taken in blocks of 32 MiB, which malloc maps on their own: 256 KiB at
    a time between the activations, they would pin the heap, and an hour of video was seen to grow it by gigabytes.
    """

    _BLOCK = 8192

    def __init__(self) -> None:
        self._blocks: list[Tensor] = []
        self._n = 0

    def append(self, rows: Tensor) -> None:
        """Take (n, 1024)."""
        while len(rows):
            place = self._n % self._BLOCK
            if place == 0:
                self._blocks.append(torch.empty(self._BLOCK, FEATURES))  # not touched yet, so not taken yet
            n = min(len(rows), self._BLOCK - place)
            self._blocks[-1][place : place + n] = rows[:n]
            rows, self._n = rows[n:], self._n + n

    def all(self) -> Tensor:
        """Everything, (N, 1024); each block is freed as it is copied."""
        out, first = torch.empty(self._n, FEATURES), 0
        for k, block in enumerate(self._blocks):
            self._blocks[k] = None
            n = min(self._BLOCK, self._n - first)
            out[first : first + n] = block[:n]
            first += n
        return out


class LipEmbedder:
    """Frames in, in order and in pieces of any length; one embedding for every five neighbouring frames out.

    The result does not depend on the pieces, to the last bit: windows are always convolved in the same groups. Memory
    does not grow with the clip beyond the 4 KiB of each embedding: about 60 MB of weights and 60 MB of activations.
    """

    def __init__(self, net: SyncNet) -> None:
        self._net = net
        self._frames: list[np.ndarray] = []  # not yet the first frame of a finished window
        self._waiting = 0
        self._trunks: list[Tensor] = []
        self._features = _Rows()

    def push(self, frames: np.ndarray) -> None:
        """Take frames (t, 224, 224, 3), uint8 RGB.

        Raises:
            ValueError: when the frames have another shape or type.
        """
        if frames.shape[1:] != (SIZE, SIZE, 3) or frames.dtype != np.uint8:
            raise ValueError(f"SyncNet wants uint8 frames of shape (t, 224, 224, 3), got {frames.dtype} {frames.shape}")
        self._frames.append(frames)
        self._waiting += len(frames)
        if self._waiting - (WINDOW - 1) >= self._net.batch:
            self._run(final=False)

    def finish(self) -> Tensor:
        """All embeddings, (max(T - 4, 0), 1024) float32 on the CPU. Nothing can be pushed afterwards."""
        if self._waiting >= WINDOW:
            self._run(final=True)
        if self._trunks:
            with exact_float32(self._net.device):
                self._features.append(self._net.head("lip", torch.cat(self._trunks)).cpu())
            self._trunks = []
        return self._features.all()

    def _run(self, *, final: bool) -> None:
        frames = np.concatenate(self._frames)
        n_windows = len(frames) - (WINDOW - 1)
        step = self._net.batch
        stop = n_windows if final else n_windows - n_windows % step
        with exact_float32(self._net.device):
            for first in range(0, stop, step):
                n = min(step, stop - first)
                piece = torch.from_numpy(frames[first : first + n + WINDOW - 1]).to(self._net.device)
                windows = torch.cat([piece[t : t + n] for t in range(WINDOW)], dim=-1).float()  # (n, 224, 224, 15)
                self._trunks.append(self._net.trunk("lip", windows.permute(0, 3, 1, 2)))
                if sum(map(len, self._trunks)) >= HEAD_BATCH:
                    self._features.append(self._net.head("lip", torch.cat(self._trunks)).cpu())
                    self._trunks = []
        self._frames = [frames[stop:].copy()]
        self._waiting = len(frames) - stop


def embed_speech(net: SyncNet, coefficients: np.ndarray, n_windows: int) -> Tensor:
    """MFCC columns (n_columns, 13) -> embeddings (n_windows, 1024) float32 on the CPU; window i is columns 4i .. 4i+19.

    Raises:
        ValueError: when there are fewer than 4 (n_windows - 1) + 20 columns.
    """
    if n_windows < 1:
        return torch.empty(0, FEATURES)
    needed = COLUMNS_PER_FRAME * (n_windows - 1) + COLUMNS
    if len(coefficients) < needed:
        raise ValueError(f"{n_windows} windows need {needed} MFCC columns, and there are {len(coefficients)}")
    columns = torch.from_numpy(np.ascontiguousarray(coefficients.T)).float()
    windows = columns.unfold(1, COLUMNS, COLUMNS_PER_FRAME)[:, :n_windows].transpose(0, 1)[:, None]  # (n, 1, 13, 20)
    features = torch.empty(n_windows, FEATURES)
    with exact_float32(net.device):
        for first in range(0, n_windows, HEAD_BATCH):
            batch = windows[first : first + HEAD_BATCH].to(net.device).contiguous(memory_format=torch.channels_last)
            features[first : first + HEAD_BATCH] = net.head("aud", net.trunk("aud", batch))
    return features


def window_flops() -> dict[str, int]:
    """Floating-point operations (2 x multiply-add) of one window: {"lip": ..., "aud": ...}, convolutions and linear."""
    total = {}
    for branch, side in (("lip", (SIZE, SIZE)), ("aud", (13, COLUMNS))):
        height, width = side
        flops = 2 * (512 * 512 + 512 * FEATURES)
        for conv in _BRANCHES[branch]:
            depth, rows, columns = (1, *conv.kernel)[-3:]
            height = (height + 2 * conv.padding - rows) // conv.stride + 1
            width = (width + 2 * conv.padding - columns) // conv.stride + 1
            flops += 2 * height * width * conv.outputs * conv.inputs * depth * rows * columns
            if conv.pool:
                kernel, stride, padding = conv.pool
                height = (height + 2 * padding - kernel) // stride[0] + 1
                width = (width + 2 * padding - kernel) // stride[1] + 1
        total[branch] = flops
    return total
