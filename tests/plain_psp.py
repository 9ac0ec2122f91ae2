"""pSp's encoder, IR-SE50's ArcFace and HyperStyle's hypernetwork again, as plain functions of a state dict.

Written from the facts of the networks (docs of pixel2style2pixel and hyperstyle), without modules, in float64, one step
after the other: what the project's modules are held against. The ``*_keys`` functions enumerate the official files.
"""

from __future__ import annotations

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor

State = dict[str, Tensor]


def under(state: State, prefix: str) -> State:
    return {k[len(prefix) :]: v.double() for k, v in state.items() if k.startswith(prefix)}


def norm(s: State, name: str, x: Tensor) -> Tensor:
    """Batch norm with stored moments, over dimension 1."""
    to = (1, -1) + (1,) * (x.ndim - 2)
    mean, var = s[f"{name}.running_mean"].view(to), s[f"{name}.running_var"].view(to)
    return (x - mean) / torch.sqrt(var + 1e-5) * s[f"{name}.weight"].view(to) + s[f"{name}.bias"].view(to)


def conv(s: State, name: str, x: Tensor, stride: int = 1) -> Tensor:
    """A convolution as unfolded patches times a matrix; padding k // 2."""
    weight, bias = s[f"{name}.weight"], s.get(f"{name}.bias")
    k = weight.shape[-1]
    patches = F.unfold(x, k, padding=k // 2, stride=stride)
    side = (x.shape[-1] + 2 * (k // 2) - k) // stride + 1
    out = (weight.flatten(1) @ patches).unflatten(-1, (side, side))
    return out if bias is None else out + bias[:, None, None]


def prelu(s: State, name: str, x: Tensor) -> Tensor:
    return torch.where(x > 0, x, x * s[f"{name}.weight"].view(1, -1, 1, 1))


def leaky(x: Tensor) -> Tensor:
    return torch.where(x > 0, x, 0.01 * x)


def equal_linear(s: State, name: str, x: Tensor) -> Tensor:
    return x @ s[f"{name}.weight"].T / x.shape[-1] ** 0.5 + s[f"{name}.bias"]


# ------------------------------------------------------------------------------------------------------------ IR-SE50


def backbone(s: State, x: Tensor, units: tuple[int, ...]) -> list[Tensor]:
    """The last map of every stage."""
    x = prelu(s, "input_layer.2", norm(s, "input_layer.1", conv(s, "input_layer.0", x)))
    maps, index = [], 0
    for count in units:
        for position in range(count):
            stride, unit = (2 if position == 0 else 1), f"body.{index}"
            y = conv(s, f"{unit}.res_layer.1", norm(s, f"{unit}.res_layer.0", x))
            y = conv(s, f"{unit}.res_layer.3", prelu(s, f"{unit}.res_layer.2", y), stride)
            y = norm(s, f"{unit}.res_layer.4", y)
            squeezed = y.mean((-1, -2), keepdim=True)
            gate = conv(s, f"{unit}.res_layer.5.fc2", conv(s, f"{unit}.res_layer.5.fc1", squeezed).clamp(min=0))
            if f"{unit}.shortcut_layer.0.weight" in s:
                x = norm(s, f"{unit}.shortcut_layer.1", conv(s, f"{unit}.shortcut_layer.0", x, stride))
            else:
                x = F.max_pool2d(x, 1, stride)
            x = x + y / (1 + torch.exp(-gate))
            index += 1
        maps.append(x)
    return maps


def psp(state: State, x: Tensor, units: tuple[int, ...] = (3, 4, 14, 3)) -> Tensor:
    """Pictures -> (B, styles, D)."""
    s = under(state, "")
    _, c1, c2, c3 = backbone(s, x.double(), units)

    def enlarged(a: Tensor, b: Tensor) -> Tensor:
        return F.interpolate(a, b.shape[-2:], mode="bilinear", align_corners=True) + b

    p2 = enlarged(c3, conv(s, "latlayer1", c2))
    p1 = enlarged(p2, conv(s, "latlayer2", c1))
    codes = []
    while f"styles.{len(codes)}.linear.weight" in s:
        n = len(codes)
        x = c3 if n <= 2 else p2 if n <= 6 else p1
        step = 0
        while x.shape[-1] > 1:
            x = leaky(conv(s, f"styles.{n}.convs.{2 * step}", x, 2))
            step += 1
        codes.append(equal_linear(s, f"styles.{n}.linear", x[..., 0, 0]))
    return torch.stack(codes, 1)


def arcface(state: State, x: Tensor, units: tuple[int, ...] = (3, 4, 14, 3)) -> Tensor:
    """Pictures -> (B, dim) of length 1."""
    s = under(state, "")
    x = norm(s, "output_layer.0", backbone(s, x.double(), units)[-1])
    x = x.reshape(len(x), -1) @ s["output_layer.3.weight"].T + s["output_layer.3.bias"]
    x = norm(s, "output_layer.4", x)
    return x / (x * x).sum(1, keepdim=True).sqrt()


# ----------------------------------------------------------------------------------------------------------- HyperStyle


def hypernet(
    state: State, x: Tensor, y_hat: Tensor, shapes: dict[int, tuple[int, int]], stages: tuple[int, ...]
) -> dict[int, Tensor]:
    """Offsets by convolution; ``shapes``: (out, in) of each tuned one; ``stages``: blocks of each body stage."""
    s = under(state, "")
    x = conv(s, "conv1", torch.cat([x, y_hat], 1).double(), 2)
    x = prelu(s, "relu", norm(s, "bn1", x))
    index = 0
    for stage, blocks in enumerate(stages):
        for block in range(blocks):
            name, stride = f"body.{index}", (2 if stage > 0 and block == 0 else 1)
            y = norm(s, f"{name}.bn1", conv(s, f"{name}.conv1", x, stride)).clamp(min=0)
            y = norm(s, f"{name}.bn2", conv(s, f"{name}.conv2", y))
            if f"{name}.downsample.0.weight" in s:
                x = norm(s, f"{name}.downsample.1", conv(s, f"{name}.downsample.0", x, stride))
            x = (x + y).clamp(min=0)
            index += 1
    offsets = {}
    for n, (out, inputs) in shapes.items():
        name = f"refinement_blocks.{n}"
        whole = f"{name}.linear.weight" in s
        y, step = x, 0
        while f"{name}.convs.{2 * step}.weight" in s:
            y = leaky(conv(s, f"{name}.convs.{2 * step}", y, 1 if whole and step == 0 else 2))
            step += 1
        if whole:
            code = equal_linear(s, f"{name}.linear", y[..., 0, 0])
            w1, b1, w2, b2 = (s[f"shared_weight_hypernet.{k}"] for k in ("w1", "b1", "w2", "b2"))
            rows = torch.stack([(c @ w2 + b2).reshape(inputs, -1) @ w1 + b1 for c in code])
            offsets[n] = rows.reshape(len(x), out, inputs, 3, 3)
        else:
            y = conv(s, f"{name}.output.1", y.mean((-1, -2), keepdim=True))
            offsets[n] = y.reshape(len(x), out, inputs, 1, 1).expand(-1, -1, -1, 3, 3)
    return offsets


# ------------------------------------------------------------------------------------------ keys of the official files


def norm_keys(name: str, channels: int) -> dict[str, tuple[int, ...]]:
    kept = {f"{name}.{k}": (channels,) for k in ("weight", "bias", "running_mean", "running_var")}
    return kept | {f"{name}.num_batches_tracked": ()}


def body_keys() -> dict[str, tuple[int, ...]]:
    """input_layer and body of the IR-SE50 files."""
    keys = {"input_layer.0.weight": (64, 3, 3, 3), **norm_keys("input_layer.1", 64), "input_layer.2.weight": (64,)}
    widths = [64] * 3 + [128] * 4 + [256] * 14 + [512] * 3
    for i, (before, width) in enumerate(zip([64, *widths], widths, strict=False)):
        unit = f"body.{i}"
        if before != width:
            keys[f"{unit}.shortcut_layer.0.weight"] = (width, before, 1, 1)
            keys |= norm_keys(f"{unit}.shortcut_layer.1", width)
        keys |= norm_keys(f"{unit}.res_layer.0", before) | norm_keys(f"{unit}.res_layer.4", width)
        keys[f"{unit}.res_layer.1.weight"] = (width, before, 3, 3)
        keys[f"{unit}.res_layer.2.weight"] = (width,)
        keys[f"{unit}.res_layer.3.weight"] = (width, width, 3, 3)
        keys[f"{unit}.res_layer.5.fc1.weight"] = (width // 16, width, 1, 1)
        keys[f"{unit}.res_layer.5.fc2.weight"] = (width, width // 16, 1, 1)
    return keys


def psp_keys(n_styles: int) -> dict[str, tuple[int, ...]]:
    keys = body_keys()
    for n in range(n_styles):
        for step in range(4 if n < 3 else 5 if n < 7 else 6):
            keys[f"styles.{n}.convs.{2 * step}.weight"] = (512, 512, 3, 3)
            keys[f"styles.{n}.convs.{2 * step}.bias"] = (512,)
        keys |= {f"styles.{n}.linear.weight": (512, 512), f"styles.{n}.linear.bias": (512,)}
    for name, width in (("latlayer1", 256), ("latlayer2", 128)):
        keys |= {f"{name}.weight": (512, width, 1, 1), f"{name}.bias": (512,)}
    return keys


def arcface_keys() -> dict[str, tuple[int, ...]]:
    linear = {"output_layer.3.weight": (512, 512 * 7 * 7), "output_layer.3.bias": (512,)}
    return body_keys() | norm_keys("output_layer.0", 512) | linear | norm_keys("output_layer.4", 512)


def hypernet_keys(blocks: int) -> dict[str, tuple[int, ...]]:
    """For a generator of ``blocks`` resolutions above 4 (6: 256), with the copies of the shared predictor."""
    keys = {"conv1.weight": (64, 6, 7, 7), **norm_keys("bn1", 64), "relu.weight": (64,)}
    widths = [64] * 3 + [128] * 4 + [256] * 6 + [512] * 3
    for i, (before, width) in enumerate(zip([64, *widths], widths, strict=False)):
        keys |= {f"body.{i}.conv1.weight": (width, before, 3, 3), f"body.{i}.conv2.weight": (width, width, 3, 3)}
        keys |= norm_keys(f"body.{i}.bn1", width) | norm_keys(f"body.{i}.bn2", width)
        if before != width:
            keys[f"body.{i}.downsample.0.weight"] = (width, before, 1, 1)
            keys |= norm_keys(f"body.{i}.downsample.1", width)
    shared = {"w1": (512, 512 * 9), "b1": (512 * 9,), "w2": (512, 512 * 512), "b2": (512 * 512,)}
    keys |= {f"shared_weight_hypernet.{k}": v for k, v in shared.items()}
    channels = {2**n: min(512, 2 ** (15 - n)) for n in range(2, blocks + 3)}
    tuned = {0: (512, 512)}
    for block in range(blocks):
        below, here = channels[4 * 2**block], channels[8 * 2**block]
        tuned |= {3 * block + 2: (here, below), 3 * block + 3: (here, here)}
    for n, (out, inputs) in tuned.items():
        name = f"refinement_blocks.{n}"
        whole = out == inputs == 512
        inner = [512, *([128] * 4 if whole else [256] * 2), 512]
        for step, (before, width) in enumerate(itertools.pairwise(inner)):
            keys[f"{name}.convs.{2 * step}.weight"] = (width, before, 3, 3)
            keys[f"{name}.convs.{2 * step}.bias"] = (width,)
        if whole:
            keys |= {f"{name}.linear.weight": (512, 512), f"{name}.linear.bias": (512,)}
            keys |= {f"{name}.hypernet.{k}": v for k, v in shared.items()}
        else:
            keys |= {f"{name}.output.1.weight": (out * inputs, 512, 1, 1), f"{name}.output.1.bias": (out * inputs,)}
    return keys
