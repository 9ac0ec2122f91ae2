"""A trained network becomes the start of one with more channels that computes the same (after Net2Net, 1511.05641)."""

from __future__ import annotations

import math
from collections.abc import Mapping

from torch import Tensor, nn

from fctfg.nets.generator import ConstantInput
from fctfg.nets.ops import SLOPE, EqualLinear, ModulatedConv2d


def widen(state: Mapping[str, Tensor], wide: nn.Module) -> dict[str, Tensor]:
    """The state dict that starts ``wide`` from ``state``, one of the same network with fewer channels.

    The channels that were there come first and hear only one another, so that they carry what they carried; new ones
    are as ``wide`` has them (freshly initialised) and hear all. Whoever reads them does so with weights of zero, which
    learn from the first step on: unlike copies of old channels, new ones are of use in ways of their own. Equalised
    layers divide by the root of their inputs, which their weights make good.

    ValueError: a tensor of ``wide`` is narrower, or not there, or not in ``wide``.
    """
    own = wide.state_dict()
    if odd := sorted(own.keys() ^ state.keys()):
        raise ValueError(f"{odd[0]} is in one network alone: only channels may differ")
    return {name: _widened(name, state[name], value, wide) for name, value in own.items()}


def _widened(name: str, old: Tensor, own: Tensor, wide: nn.Module) -> Tensor:
    if old.shape == own.shape:
        return old.clone()
    if old.ndim != own.ndim or any(o > n for o, n in zip(old.shape, own.shape, strict=True)):
        raise ValueError(f"{name} is {tuple(old.shape)} and cannot be widened to {tuple(own.shape)}")
    module = wide.get_submodule(name.rpartition(".")[0])
    made, kept = own.clone(), tuple(slice(n) for n in old.shape)
    if old.ndim == 1 or isinstance(module, ConstantInput):  # one value, or one map, for each channel
        made[kept] = old
        return made
    if isinstance(module, ModulatedConv2d):
        outputs, inputs = 1, 2  # (1, out, in, k, k)
    elif isinstance(module, (nn.Conv2d, EqualLinear)):
        outputs, inputs = 0, 1
    else:
        raise ValueError(f"{name} is {tuple(old.shape)}, not {tuple(own.shape)}: it has no channels to be widened")
    gain = 1.0
    if isinstance(module, nn.Conv2d):  # He's start: norms whose statistics stay as they are make up for no other
        nn.init.kaiming_normal_(made, a=SLOPE)
    else:
        gain = math.sqrt(own.shape[inputs] / old.shape[inputs])
    made.narrow(outputs, 0, old.shape[outputs]).zero_()
    made[kept] = old * gain
    return made
