"""Reading PC-AVS's public files: every tensor is accounted for, or the file is refused with one line."""

from __future__ import annotations

import re
from pathlib import Path

import torch
from torch import Tensor, nn

from fctfg.weights import WeightsError, load_state_dict

#: what training on several GPUs puts before every name
WRAPPED = "module."
_SHOWN = 3


def load(network: nn.Module, path: Path) -> nn.Module:
    """``network`` with the weights of the public file ``path``, in eval mode.

    The file's names and shapes must be exactly the network's, besides those that match its ``UNUSED`` and the filters
    that end in its ``CONSTANTS``, whose values are checked. WeightsError, one line, names what does not fit.
    """
    state = _unwrapped(load_state_dict(path), path)
    wanted = network.state_dict()
    unused = re.compile(network.UNUSED)
    kept: dict[str, Tensor] = {}
    unknown: list[str] = []
    for name, value in state.items():
        if name.endswith(getattr(network, "CONSTANTS", ())):
            _check_filter(name, value, path)
        elif name in wanted:
            # The file keeps a bias as (1, C, 1, 1) that is (C,) here.
            same = name.endswith("activate.bias") and value.shape == (1, *wanted[name].shape, 1, 1)
            kept[name] = value.flatten() if same else value
        elif not unused.fullmatch(name):
            unknown.append(name)
    kind = f"a PC-AVS {type(network).__name__}"
    _refuse(path, f"has tensors that {kind} has not", unknown)
    _refuse(path, f"lacks tensors of {kind}", [name for name in wanted if name not in kept])
    wrong = [
        f"{name} {tuple(kept[name].shape)} instead of {tuple(wanted[name].shape)}"
        for name in wanted
        if kept[name].shape != wanted[name].shape
    ]
    _refuse(path, f"has tensors of another shape than {kind}", wrong)
    network.load_state_dict(kept)
    return network.eval()


def _unwrapped(state: dict, path: Path) -> dict[str, Tensor]:
    strays = [str(name) for name, value in state.items() if not isinstance(value, Tensor)]
    _refuse(path, "is no state dict: not tensors are", strays)
    if state and all(name.startswith(WRAPPED) for name in state):
        return {name.removeprefix(WRAPPED): value for name, value in state.items()}
    return dict(state)


def _check_filter(name: str, value: Tensor, path: Path) -> None:
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0])
    if value.shape != (4, 4) or not torch.allclose(value.float(), torch.outer(taps, taps) / 16):
        raise WeightsError(f"{path}: {name} is not the filter 1 3 3 1; get the official file")


def _refuse(path: Path, what: str, names: list[str]) -> None:
    if names:
        more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        raise WeightsError(f"{path}: {what}: {', '.join(names[:_SHOWN])}{more}; get the official file")
