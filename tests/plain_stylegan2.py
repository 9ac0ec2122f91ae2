"""StyleGAN2 written out plainly, to hold `fctfg.nets` against: numbers in a state dict in, pictures or logits out.

Nothing is shared with the package. Weights are modulated sample by sample and convolved in groups; a transposed
convolution is zeros between the pixels, padding and a convolution with the turned kernel; the filter is a sum of
sixteen shifted maps; the minibatch deviation is a loop over groups.
"""

from __future__ import annotations

import math

import torch
from torch.nn import functional as F

TAPS = (1.0, 3.0, 3.0, 1.0)


def lrelu(x):
    return torch.where(x > 0, x, 0.2 * x) * math.sqrt(2.0)


def fir(x, before, after, gain=1.0):
    """Pads by ``before`` and ``after`` on both axes and filters: each result is the weighted sum of a 4x4 window."""
    x = F.pad(x, (before, after, before, after))
    height, width = x.shape[2] - 3, x.shape[3] - 3
    total = 0.0
    for i, a in enumerate(TAPS):
        for j, b in enumerate(TAPS):
            total = total + a * b * gain / 64.0 * x[:, :, i : i + height, j : j + width]
    return total


def insert_zeros(x):
    batch, channels, height, width = x.shape
    wide = torch.zeros(batch, channels, 2 * height, 2 * width, dtype=x.dtype)
    wide[:, :, ::2, ::2] = x
    return wide


def upsample(x):
    """upfirdn: zeros after each pixel, 2 before and 1 after, gain 4."""
    return fir(insert_zeros(x), 2, 1, 4.0)


def linear(state, name, x, lr_mul=1.0):
    weight = state[f"{name}.weight"]
    return x @ (weight * lr_mul / math.sqrt(weight.shape[1])).t() + state[f"{name}.bias"] * lr_mul


def modulated(state, name, x, w, demodulate=True, up=False, offset=None):
    weight = state[f"{name}.weight"][0]
    out, channels, k, _ = weight.shape
    weight = weight / math.sqrt(channels * k * k)
    if offset is not None:
        weight = weight * (1.0 + offset)
    style = linear(state, f"{name}.modulation", w)
    batch = x.shape[0]
    each = weight * style.reshape(batch, 1, channels, 1, 1)
    if demodulate:
        each = each / (each.pow(2).sum((2, 3, 4), keepdim=True) + 1e-8).sqrt()
    padding = k // 2
    if up:
        x = insert_zeros(x)[:, :, :-1, :-1]  # zeros between the pixels only
        each = each.flip(3, 4)
        padding = 2
    x = x.reshape(1, batch * channels, *x.shape[2:])
    x = F.conv2d(x, each.reshape(batch * out, channels, k, k), padding=padding, groups=batch)
    x = x.reshape(batch, out, *x.shape[2:])
    return fir(x, 1, 1, 4.0) if up else x


def styled(state, name, x, w, noise, up=False, offset=None):
    x = modulated(state, f"{name}.conv", x, w, up=up, offset=offset)
    if noise is not None:
        x = x + state[f"{name}.noise.weight"] * noise
    return lrelu(x + state[f"{name}.activate.bias"].reshape(1, -1, 1, 1))


def to_rgb(state, name, x, w, picture, offset=None):
    x = modulated(state, f"{name}.conv", x, w, demodulate=False, offset=offset) + state[f"{name}.bias"]
    return x if picture is None else x + upsample(picture)


def mapping(state, z):
    w = z / (z.pow(2).mean(1, keepdim=True) + 1e-8).sqrt()
    number = 1
    while f"style.{number}.weight" in state:
        w = lrelu(linear(state, f"style.{number}", w, lr_mul=0.01))
        number += 1
    return w


def generator(state, w, noise=None, offsets=None):
    """``w`` (B, L, D); ``noise``: list of maps (default: the stored ones); ``offsets``: one per convolution."""
    blocks = sum(name.startswith("to_rgbs.") and name.endswith(".conv.weight") for name in state)
    noise = noise or [state[f"noises.noise_{n}"] for n in range(2 * blocks + 1)]
    offset = iter(offsets or [None] * (3 * blocks + 2))
    x = state["input.input"].repeat(w.shape[0], 1, 1, 1)
    x = styled(state, "conv1", x, w[:, 0], noise[0], offset=next(offset))
    picture = to_rgb(state, "to_rgb1", x, w[:, 1], None, offset=next(offset))
    row = 1
    for block in range(blocks):
        x = styled(state, f"convs.{2 * block}", x, w[:, row], noise[row], up=True, offset=next(offset))
        x = styled(state, f"convs.{2 * block + 1}", x, w[:, row + 1], noise[row + 1], offset=next(offset))
        picture = to_rgb(state, f"to_rgbs.{block}", x, w[:, row + 2], picture, offset=next(offset))
        row += 2
    return picture


def conv(state, name, x, stride=1, padding=0):
    weight = state[f"{name}.weight"]
    return F.conv2d(x, weight / math.sqrt(weight[0].numel()), stride=stride, padding=padding)


def biased(state, name, x):
    return lrelu(x + state[f"{name}.bias"].reshape(1, -1, *[1] * (x.ndim - 2)))


def deviation(x):
    """The minibatch deviation of groups of four (or of the whole batch, if smaller), as one more channel."""
    batch, _, height, width = x.shape
    groups = max(1, batch // 4)
    channel = torch.zeros(batch, 1, height, width, dtype=x.dtype)
    for first in range(groups):
        members = list(range(first, batch, groups))
        spread = x[members] - x[members].mean(0)
        channel[members] = (spread.pow(2).mean(0) + 1e-8).sqrt().mean()
    return torch.cat([x, channel], 1)


def discriminator(state, x):
    blocks = sum(name.endswith(".skip.1.weight") for name in state)
    x = biased(state, "convs.0.1", conv(state, "convs.0.0", x))
    for number in range(1, blocks + 1):
        name = f"convs.{number}"
        y = biased(state, f"{name}.conv1.1", conv(state, f"{name}.conv1.0", x, padding=1))
        y = biased(state, f"{name}.conv2.2", conv(state, f"{name}.conv2.1", fir(y, 2, 2), stride=2))
        x = (y + conv(state, f"{name}.skip.1", fir(x, 1, 1), stride=2)) / math.sqrt(2.0)
    x = biased(state, "final_conv.1", conv(state, "final_conv.0", deviation(x), padding=1))
    x = lrelu(linear(state, "final_linear.0", x.reshape(x.shape[0], -1)))
    return linear(state, "final_linear.1", x)
