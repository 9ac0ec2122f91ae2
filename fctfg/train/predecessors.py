"""What earlier stages made: from the newest checkpoint of the same run, or from a file that was named.

A named place is a checkpoint's folder, a stage's folder, a run's folder, a file of public weights that
``python -m fctfg.weights import`` made, or, for the last stage, a model that ``python -m fctfg.train export`` wrote.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from fctfg import model_file
from fctfg.nets.generator import Generator
from fctfg.recipes import Recipe
from fctfg.train import checkpoint
from fctfg.train.checkpoint import CheckpointError, State

#: the parts of imported files by the names of our networks
OURS = {
    "g_ema": "generator",
    "decoder": "generator",
    "d": "discriminator",
    "hypernet": "hypernetwork",
    "sync_expert": "expert",
}
#: what must agree for a trained last stage to be gone on with; fusion may begin anew, all else may be another choice
LAST_SECTIONS = ("generator", "encoder", "audio")
#: of these, what may be more than in the trained one (`fctfg.nets.widen`)
WIDTHS = (
    "generator.channel_multiplier",
    "generator.channel_max",
    "encoder.widths",
    "encoder.stem",
    "encoder.feature_width",
    "encoder.head_width",
)
#: samples of the mapping network that the average latent is the mean of
AVERAGED = 65536


class Predecessor:
    """The networks of a trained stage: moving averages where there are some. ``place`` is for messages."""

    def __init__(self, place: Path, networks: dict[str, dict[str, Tensor]], recipe: Recipe | None, step: int) -> None:
        self.place, self.networks, self.recipe, self.step = place, networks, recipe, step

    def into(self, net: nn.Module, name: str) -> None:
        """Load the network called ``name``. CheckpointError where it is absent or of another shape."""
        checkpoint.put(net, self.state(name), f"{self.place} ({name})")

    def state(self, name: str) -> dict[str, Tensor]:
        """The state dict of the network called ``name``."""
        if name not in self.networks:
            raise CheckpointError(f"{self.place}: holds no {name}, only {', '.join(sorted(self.networks))}")
        return self.networks[name]

    def average(self, generator: Generator) -> Tensor:
        """The average latent (D,) or (L, D) that was kept with ``generator``; measured where it was not."""
        if "average" in self.networks.get("extra", {}):
            return self.networks["extra"]["average"]
        return generator.mean_latent(AVERAGED, torch.Generator().manual_seed(0))


def find(
    out: Path,
    stage: str,
    given: Path | None,
    recipe: Recipe | None,
    sections: tuple[str, ...],
    free: tuple[str, ...] = (),
) -> Predecessor:
    """The trained ``stage`` of the run ``out``, or ``given``.

    CheckpointError: there is none (the line says how to make it), or it was trained with another recipe in one of
    ``sections`` (only what shapes networks need be named; None: whatever recipe it is), fields in ``free`` aside.
    """
    if given is not None and Path(given).is_file():
        if stage == "fctfg":
            return _from_model_file(Path(given), recipe, sections, free)
        return _from_file(Path(given))
    folder = Path(given) if given is not None else out
    places = [folder] if (folder / "state.json").is_file() else []
    places += filter(None, (checkpoint.newest(f) for f in (folder / stage, folder)))
    if not places:
        line = f"{folder}: no checkpoint of {stage}; run python -m fctfg.train {stage} --out {out}"
        named = "" if stage == "fctfg" else f", or name a trained one with --{stage} (a run's folder or a file)"
        raise CheckpointError(line + named)
    found = State.read(places[0])
    if found.stage != stage:
        raise CheckpointError(f"{places[0]}: a checkpoint of {found.stage}, not of {stage}; name another")
    _agree(places[0], found.recipe, recipe, sections, free, f"train {stage} with this one")
    networks = {}
    for file in sorted(places[0].glob("*.safetensors")):  # x.ema.safetensors comes before x.safetensors
        networks.setdefault(file.name.split(".")[0], checkpoint.tensors(file))
    return Predecessor(places[0], networks, found.recipe, found.step)


def _agree(
    place: Path, found: Recipe, wanted: Recipe | None, sections: tuple[str, ...], free: tuple[str, ...], advice: str
) -> None:
    if wanted is None:
        return
    wrong = [line for line in checkpoint.differing(found, wanted, sections) if line.partition(":")[0] not in free]
    if wrong:
        raise CheckpointError(f"{place}: of another recipe ({'; '.join(wrong)}); {advice}")


def _from_model_file(
    file: Path, recipe: Recipe | None, sections: tuple[str, ...], free: tuple[str, ...]
) -> Predecessor:
    """The one network in it, float32. ModelFileError where it is no model file."""
    found, steps = model_file.describe(file)
    _agree(file, found, recipe, sections, free, "choose these with --recipe and --set")
    state = model_file.load_model(file).state_dict()
    return Predecessor(file, {"model": state}, found, steps.get("fctfg", 0))


def _from_file(file: Path) -> Predecessor:
    networks: dict[str, dict[str, Tensor]] = {}
    for name, value in checkpoint.tensors(file).items():
        network, _, rest = name.partition(".")
        networks.setdefault(OURS.get(network, network), {})[rest] = value
    if "latent_avg" in networks:
        networks["extra"] = {"average": networks.pop("latent_avg")[""]}
    return Predecessor(file, networks, None, 0)
