"""Reading checkpoints without running what is in them."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fctfg.weights.catalogue import WeightsError

_REMEDY = "save its state dict alone, on a machine where it is trusted"


def load_state_dict(path: str | os.PathLike) -> Mapping[str, Any]:
    """The tensors of a checkpoint, on the CPU: ``.safetensors``, or a PyTorch file read with ``weights_only=True``.

    A checkpoint that nests them (``{"state_dict": ...}``) comes back as it is. WeightsError: no such file, damaged, not
    a mapping, or a pickle that asks for more than tensors, which is refused because it could run any code.
    """
    import torch

    try:
        if Path(path).suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path, device="cpu")
        with warnings.catch_warnings(action="ignore"):  # advice to torch's own developers about foreign files
            state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise WeightsError(f"{path}: no such file; check the path") from None
    except Exception as error:
        # torch and safetensors raise a dozen types (pickle, zip, struct, runtime) for files that are not what they seem
        raise WeightsError(f"{path}: {_reason(str(error) or type(error).__name__)}") from None
    if not isinstance(state, Mapping):
        raise WeightsError(f"{path}: holds a {type(state).__name__}, not named tensors; give a state dict")
    return state


def check_state(state: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]], path: str | os.PathLike) -> None:
    """Hold ``state`` against ``shapes``.

    ``num_batches_tracked`` plays no part in inference and may be there or not: PyTorch before 0.4.1 did not save it.

    Raises:
        WeightsError: naming the first key that is missing, no tensor, of the wrong shape, or not expected.
    """
    import torch

    for key, shape in shapes.items():
        if key not in state:
            raise WeightsError(f"{path}: key '{key}' is missing")
        if not isinstance(state[key], torch.Tensor):
            raise WeightsError(f"{path}: key '{key}' is no tensor but a {type(state[key]).__name__}")
        if tuple(state[key].shape) != shape:
            raise WeightsError(f"{path}: key '{key}' has shape {tuple(state[key].shape)}, and {shape} is expected")
    for key in state:
        if key not in shapes and not key.endswith(".num_batches_tracked"):
            raise WeightsError(f"{path}: key '{key}' is not expected")


def _reason(message: str) -> str:
    if asked := re.search(r"GLOBAL (\S+)", message):
        return f"asks for {asked[1]}, which is more than tensors, and is refused; {_REMEDY}"
    if "TorchScript" in message:
        return f"is a TorchScript program, not tensors, and is refused; {_REMEDY}"
    if "Weights only" in message:
        return f"is no checkpoint of plain tensors, and is refused; get the file again, or {_REMEDY}"
    return f"cannot be read ({message.splitlines()[0].split('. ')[0][:160]}); get the file again"
