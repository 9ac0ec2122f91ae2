"""Reading MakeItTalk's public files: every tensor is accounted for, or the file is refused with one line."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import nn

from fctfg.weights import WeightsError, check_state, load_state_dict

#: what training on several GPUs puts before every name
WRAPPED = "module."
Network = TypeVar("Network", bound=nn.Module)


class _Optimiser:
    """Stands for the optimiser that the training of the picture network pickles whole: keeps nothing, does nothing."""

    def __setstate__(self, state: Any) -> None:
        pass


def _mapping(*_: Any) -> dict:
    return {}


#: what such an optimiser is made of, and what is made instead
_HARMLESS = (
    (_Optimiser, "torch.optim.adam.Adam"),
    (_mapping, "collections.defaultdict"),
    (_mapping, "builtins.dict"),
)


def load(network: Network, path: Path) -> Network:
    """``network`` with the weights of the public file ``path``, in eval mode.

    The file holds them under ``network.PART``; names and shapes must be exactly the network's, but for those that match
    its ``UNUSED``. WeightsError, one line, names the first that does not fit.
    """
    with torch.serialization.safe_globals([*_HARMLESS]):
        whole = load_state_dict(path)
    state = whole.get(network.PART)
    if not isinstance(state, Mapping) or not state:
        found = ", ".join(str(name) for name in list(whole)[:3]) or "nothing"
        raise WeightsError(f"{path}: holds no weights under '{network.PART}' but {found}; get the official file")
    if all(name.startswith(WRAPPED) for name in state):
        state = {name.removeprefix(WRAPPED): value for name, value in state.items()}
    state = {name: value for name, value in state.items() if not re.fullmatch(network.UNUSED, name)}
    shapes = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    check_state(state, {k: shape for k, shape in shapes.items() if not k.endswith("num_batches_tracked")}, path)
    network.load_state_dict({name: value for name, value in state.items() if name in shapes}, strict=False)
    return network.eval()


def table(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    """The numbers of a text file, float64. WeightsError, one line: they are not ``shape``."""
    try:
        values = np.loadtxt(path, dtype=np.float64)
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise WeightsError(f"{path}: cannot be read as numbers ({reason}); get the file again") from None
    if values.shape != shape:
        raise WeightsError(f"{path}: holds {values.shape} numbers, not {shape}; get the official file")
    return values
