"""Importing torchvision, and what imports it, beside a PyTorch that its compiled part was not built for.

The torchvision wheel of PyPI is built against the CUDA build of PyTorch. Beside a CPU-only PyTorch its compiled part
cannot be loaded, which it tolerates, but then ``import torchvision`` registers shape functions for its two
non-maximum-suppression operators, which nobody has declared, and stops with "operator torchvision::nms does not exist".
Declaring the two schemas first is enough: the plain PyTorch networks (AlexNet, VGG) that are used here need none of the
compiled operators, and whoever calls one still gets an error. Where the compiled part loads, nothing is declared.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
from types import ModuleType
from typing import Any

_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)


def import_beside_torchvision(name: str) -> ModuleType:
    """The module ``name`` ("torchvision", "lpips", "torch_fidelity"), imported after the missing operators are there.

    Raises ImportError as a plain import does.
    """
    _declare_missing_operators()
    return importlib.import_module(name)


@functools.cache
def _declare_missing_operators() -> Any:
    """Declares torchvision's missing operators, once; returns the library object, which keeps them declared."""
    import torch

    found = importlib.util.find_spec("torchvision")
    if found is None or _compiled_part_loads(found.submodule_search_locations[0]):
        return None
    library = torch.library.Library("torchvision", "FRAGMENT")
    for schema in _SCHEMAS:
        if not hasattr(torch.ops.torchvision, schema.partition("(")[0]):
            library.define(schema)
    return library


def _compiled_part_loads(folder: str) -> bool:
    from pathlib import Path

    import torch

    for path in sorted(Path(folder).glob("_C*")):
        try:
            torch.ops.load_library(str(path))
        except OSError:
            continue
        return True
    return False
