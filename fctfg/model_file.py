"""One file with all that inference needs: safetensors, with the recipe in its metadata.

    save_model("demo.safetensors", model, steps={"fctfg": 60000})
    model = load_model("demo.safetensors")

The networks' weights are float16 unless asked otherwise (statistics of batch normalisation and the average latent stay
float32); the generator's mapping network, which inference has no use for, is left out.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from fctfg import recipes, settings
from fctfg.recipes import Recipe

if TYPE_CHECKING:
    from fctfg.model import FCTFG

FORMAT = "fctfg-model-1"
_MAPPING = "generator.style."
_FLOAT32 = ("running_mean", "running_var", "average")


class ModelFileError(ValueError):
    """A file that is not the model that is wanted; the message is one line: file, what is wrong, what to do."""


def save_model(
    path: str | os.PathLike, model: FCTFG, steps: Mapping[str, int] | None = None, float32: bool = False
) -> Path:
    """Write ``model`` to ``path`` (whole or not at all). ``steps``: stage -> steps it was trained for."""
    import torch
    from safetensors.torch import save_file

    tensors = {}
    for name, value in model.state_dict().items():
        if name.startswith(_MAPPING):
            continue
        value = value.detach().cpu()
        if value.is_floating_point():
            half = value.half()
            wide = float32 or name.endswith(_FLOAT32) or not torch.isfinite(half).all()
            value = value.float() if wide else half
        tensors[name] = value.contiguous().clone()
    about = {"format": FORMAT, "recipe": model.recipe.to_json(), "steps": json.dumps(dict(steps or {}))}
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        save_file(tensors, partial, metadata=about)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    return path


def load_model(path: str | os.PathLike, expected: Recipe | None = None) -> FCTFG:
    """The model in ``path``, float32, on the CPU, in evaluation mode, frozen.

    ModelFileError: no such file, not a model's, truncated, or of a recipe other than ``expected`` in what shapes the
    networks (it says in which fields).
    """
    from torch import nn

    from fctfg import model as models

    about, tensors = _read(Path(path))
    recipe = recipe_in(path, about)
    if expected is not None and (wrong := recipes.differences(recipe, expected)):
        raise ModelFileError(f"{path}: of another recipe ({'; '.join(wrong)}); ask for recipe '{recipe.name}'")
    net = models.build(recipe)
    net.generator.style = nn.Identity()
    wanted = {name: value.shape for name, value in net.state_dict().items()}
    for name in [*wanted, *tensors]:
        if name not in tensors or name not in wanted or tensors[name].shape != wanted[name]:
            raise ModelFileError(f"{path}: tensor {name} does not fit the recipe in it; export the model again")
    net.load_state_dict(tensors)
    net.generator.style = _no_mapping()
    return net.eval().requires_grad_(False)


def describe(path: str | os.PathLike) -> tuple[Recipe, dict[str, int]]:
    """The recipe of a model file and the steps of its stages, without reading the tensors. ModelFileError."""
    about = _about(Path(path))
    return recipe_in(path, about), json.loads(about.get("steps", "{}"))


def recipe_in(path: str | os.PathLike, about: Mapping[str, str]) -> Recipe:
    """The recipe in a file's metadata. ModelFileError where this version does not know its fields."""
    try:
        return Recipe.from_json(about["recipe"])
    except (KeyError, ValueError, settings.SettingsError) as error:
        raise ModelFileError(f"{path}: its recipe cannot be read ({error}); export the model again") from None


def _read(path: Path) -> tuple[dict[str, str], dict]:
    from safetensors import safe_open

    about = _about(path)
    with safe_open(path, "pt") as file:
        return about, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping


def _about(path: Path) -> dict[str, str]:
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise ModelFileError(f"{path}: no such file; make one with python -m fctfg.train export")
    try:
        with safe_open(path, "pt") as file:
            about = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        cause = str(error).splitlines()[0]
        raise ModelFileError(f"{path}: not a model file, or cut short ({cause}); copy or export it again") from None
    if about.get("format") != FORMAT:
        raise ModelFileError(f"{path}: not a model file; make one with python -m fctfg.train export")
    return about


def _no_mapping():
    """What stands where the mapping network was left out."""
    from torch import nn

    class NoMapping(nn.Module):
        def forward(self, _):
            raise RuntimeError("a model file has no mapping network; sample from a checkpoint of stage stylegan2")

    return NoMapping()
