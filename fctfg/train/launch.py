"""From the command line's choices to a stage in the loop."""

from __future__ import annotations

import importlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from fctfg.recipes import Recipe
from fctfg.train import loop, predecessors
from fctfg.train.checkpoint import CheckpointError, State
from fctfg.train.context import Context
from fctfg.train.distributed import World
from fctfg.train.loop import Data, Every

#: stage -> its class; the module's SECTIONS are the parts of the recipe that it depends on
CLASSES = {
    "stylegan2": "fctfg.train.stylegan2:StyleGAN2",
    "inversion": "fctfg.train.inversion:Inversion",
    "sync-expert": "fctfg.train.sync_expert:SyncExpertStage",
    "fctfg": "fctfg.train.fctfg:FCTFGStage",
}


@dataclass(frozen=True)
class Options:
    """What the command line says beside stage, recipe and data. ``trained``: stage -> where to take it from."""

    out: Path
    seed: int = 0
    precision: str = "auto"
    compiled: bool = False
    apart: int = 0
    every: Every = field(default_factory=Every)
    grow_from: Path | None = None
    trained: dict[str, Path] = field(default_factory=dict)
    audio_encoder: Path | None = None
    encoder: Path | None = None
    start_from: Path | None = None


def settings_of(recipe: Recipe, stage: str) -> Any:
    """The recipe's section for a stage: its batch, steps and rate."""
    return getattr(recipe, stage.replace("-", "_"))


def launch(stage: str, recipe: Recipe, data: Data, world: World, options: Options) -> bool:
    """Train ``stage`` of ``recipe`` on ``data``. See ``loop.train``."""
    module, _, name = CLASSES[stage].partition(":")
    module = importlib.import_module(module)
    precision = options.precision
    if precision == "auto":
        precision = "bf16" if world.device.type == "cuda" else "fp32"
    if precision == "fp32" and world.device.type == "cuda":
        torch.set_float32_matmul_precision("high")
        torch.backends.cudnn.allow_tf32 = True
    context = Context(world, options.seed, precision, options.compiled, options.apart)
    settings = settings_of(recipe, stage)
    context.share(settings.batch, f"{stage}: a batch")
    torch.manual_seed(options.seed)  # the start of the networks; all else is drawn from (seed, step)
    built = getattr(module, name)(recipe, context, *_inputs(stage, recipe, options))
    if options.grow_from is not None:
        if not hasattr(built, "grow_from"):
            raise CheckpointError(f"--grow-from: {stage} does not grow; stylegan2, inversion and fctfg do")
        if options.grow_from.is_file():
            raise CheckpointError(f"{options.grow_from}: a file of weights; --grow-from takes the folder of a run")
        built.grow_from(predecessors.find(options.grow_from, stage, None, None, ()))
    if options.encoder is not None and stage == "inversion":
        built.start_from(options.encoder)
    folder = options.out / stage
    state = State(stage, 0, recipe, data.describe(), options.seed, settings.batch)
    return loop.train(built, data, folder, state, module.SECTIONS, context, settings.steps, options.every)


def _inputs(stage: str, recipe: Recipe, options: Options) -> list[Any]:
    """The finder of earlier stages' networks that every stage after the first is given."""
    if stage in ("stylegan2", "sync-expert"):
        return []

    def find(earlier: str, sections: tuple[str, ...]) -> predecessors.Predecessor:
        return predecessors.find(options.out, earlier, options.trained.get(earlier), recipe, sections)

    if stage == "inversion":
        return [find]
    start = None
    if options.start_from is not None:
        sections, free = predecessors.LAST_SECTIONS, predecessors.WIDTHS
        start = predecessors.find(options.start_from, stage, options.start_from, recipe, sections, free)
    return [find, options.audio_encoder, start]
