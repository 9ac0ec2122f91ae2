"""Checkpoints of a stage: complete or absent, the last two kept, and the newest found again.

    OUT/stylegan2/step-00001000/
        generator.safetensors  discriminator.safetensors      the networks
        generator.ema.safetensors                             their moving averages
        extra.safetensors                                     what else the stage and its log remember
        optimizers.pt                                         plain tensors, read with weights_only
        state.json                                            step, stage, recipe, data, seed, samples a step

A checkpoint is written into a hidden folder beside its place, flushed, and renamed; so a folder ``step-*`` is whole.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from fctfg import settings
from fctfg.recipes import Recipe

KEPT = 2


class CheckpointError(ValueError):
    """A checkpoint that is not there or does not fit; the message is one line and says what to do."""


@dataclass(frozen=True)
class State:
    """``state.json``: what the tensors belong to. ``data``: the settings that decide what the samples hold;
    ``samples``: how many of them a step takes.
    """

    stage: str
    step: int
    recipe: Recipe
    data: Mapping[str, Any]
    seed: int
    samples: int = 0

    def to_json(self) -> str:
        fields = {**self.__dict__, "recipe": json.loads(self.recipe.to_json())}
        return json.dumps(fields, indent=1)

    @classmethod
    def read(cls, folder: Path) -> State:
        try:
            fields = json.loads((folder / "state.json").read_text())
            return cls(**{**fields, "recipe": Recipe.from_json(json.dumps(fields["recipe"]))})
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise CheckpointError(f"{folder}: not a checkpoint ({str(error).splitlines()[0]})") from None


def save(folder: Path, state: State, stage: Any, extra: Mapping[str, Tensor]) -> Path:
    """Write ``stage`` (nets, ema, optimizers, extra()) as a checkpoint below ``folder`` and drop the oldest ones.

    ``extra``: further tensors to be kept. Returns the checkpoint's folder.
    """
    name = f"step-{state.step:08d}"
    place, hidden = folder / name, folder / f".{name}.partial"
    shutil.rmtree(hidden, ignore_errors=True)
    hidden.mkdir(parents=True)
    for key, net in stage.nets.items():
        _write(net.state_dict(), hidden / f"{key}.safetensors")
    for key, net in stage.ema.items():
        _write(net.state_dict(), hidden / f"{key}.ema.safetensors")
    _write({**stage.extra(), **extra}, hidden / "extra.safetensors")
    torch.save({key: o.state_dict() for key, o in stage.optimizers.items()}, hidden / "optimizers.pt")
    (hidden / "state.json").write_text(state.to_json())
    for file in hidden.iterdir():
        _flush(file)
    if place.exists():
        _remove(place)
    os.rename(hidden, place)
    _flush(folder)
    for old in _all(folder)[:-KEPT]:
        _remove(old)
    return place


def newest(folder: Path) -> Path | None:
    """The checkpoint of the highest step below ``folder``, or None."""
    return next(reversed(_all(folder)), None)


def load(place: Path, stage: Any) -> dict[str, Tensor]:
    """Put the checkpoint's tensors into ``stage``; returns the extra ones. CheckpointError where they do not fit."""
    for key, net in stage.nets.items():
        load_net(net, place / f"{key}.safetensors")
    for key, net in stage.ema.items():
        load_net(net, place / f"{key}.ema.safetensors")
    extra = tensors(place / "extra.safetensors")
    stage.load_extra(extra)
    states = torch.load(place / "optimizers.pt", map_location="cpu", weights_only=True)
    for key, optimizer in stage.optimizers.items():
        optimizer.load_state_dict(states[key])
    return extra


def tensors(file: Path) -> dict[str, Tensor]:
    """A safetensors file on the CPU. CheckpointError: absent or damaged."""
    try:
        return load_file(file)
    except FileNotFoundError:
        raise CheckpointError(f"{file}: no such file; train the stage that makes it, or name another") from None
    except Exception as error:  # safetensors' own type for a damaged file is not an exception class of its package
        raise CheckpointError(f"{file}: cannot be read ({str(error).splitlines()[0]}); copy it again") from None


def load_net(net: nn.Module, file: Path) -> None:
    """A strict load that says in one line what does not fit."""
    put(net, tensors(file), file)


def put(net: nn.Module, state: Mapping[str, Tensor], source: object) -> None:
    """``load_state_dict`` with a CheckpointError of one line that names ``source`` and the first tensor amiss."""
    own = net.state_dict()
    for name in [*own, *state]:
        if name not in state or name not in own:
            where = "lacks" if name not in state else "has an unknown"
            raise CheckpointError(f"{source}: {where} tensor {name}; is it of this recipe?")
        if own[name].shape != state[name].shape:
            shapes = f"{tuple(state[name].shape)}, not {tuple(own[name].shape)}"
            raise CheckpointError(f"{source}: tensor {name} is {shapes}; is it of this recipe?")
    net.load_state_dict(state)


def check(place: Path, wanted: State, sections: tuple[str, ...]) -> State:
    """The state of a checkpoint that ``wanted`` is to go on from.

    CheckpointError names what differs: a ``section.field`` of ``sections`` (the number of steps may), seed, or data.
    """
    found = State.read(place)
    wrong = differing(found.recipe, wanted.recipe, sections)
    was = {"stage": found.stage, "seed": found.seed} | {f"data.{k}": v for k, v in found.data.items()}
    now = {"stage": wanted.stage, "seed": wanted.seed} | {f"data.{k}": v for k, v in wanted.data.items()}
    wrong += [f"{k}: {was.get(k)!r}, not {now.get(k)!r}" for k in {**was, **now} if was.get(k) != now.get(k)]
    if wrong:
        raise CheckpointError(
            f"{place}: of another run ({'; '.join(wrong)}); run it as it was, or choose another --out"
        )
    return found


def differing(found: Recipe, wanted: Recipe, sections: tuple[str, ...]) -> list[str]:
    """Where two recipes part in ``sections``, their numbers of steps aside."""
    lines = []
    for section in sections:
        lines += [f"{section}.{x}" for x in settings.differences(getattr(found, section), getattr(wanted, section))]
    return [line for line in lines if not re.match(r"\w+\.steps:", line)]


def clean(folder: Path) -> None:
    """Remove what a killed run left half written or half removed."""
    for rest in folder.glob(".step-*"):
        shutil.rmtree(rest, ignore_errors=True)


def _all(folder: Path) -> list[Path]:
    return sorted(p for p in folder.glob("step-*") if re.fullmatch(r"step-\d{8,}", p.name))


def _write(state: Mapping[str, Tensor], file: Path) -> None:
    save_file({name: value.detach().cpu().contiguous().clone() for name, value in state.items()}, file)


def _remove(place: Path) -> None:
    gone = place.with_name(f".{place.name}.removed")  # renamed first: what is called step-* is whole
    shutil.rmtree(gone, ignore_errors=True)
    os.rename(place, gone)
    shutil.rmtree(gone, ignore_errors=True)


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
