"""What every variant starts from: the finished stages of one training run, by content, and their recipe.

A last stage may be among them, which all variants then train on: what they have in common is learned but once.
"""

from __future__ import annotations

import dataclasses
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fctfg.recipes import Recipe

#: stage -> the sections of the recipe in which it must agree with the variant (as ``fctfg.train.fctfg`` asks for)
STAGES: dict[str, tuple[str, ...]] = {
    "stylegan2": ("generator",),
    "inversion": ("generator", "encoder"),
    "sync-expert": (),
}
#: a last stage that is trained on; temporal fusion of another kind begins as new
LAST = "fctfg"


class AblationError(ValueError):
    """What keeps the ablations from being run; one line that says what to do."""


@dataclass(frozen=True)
class Stage:
    """A checkpoint: its folder, the step, how many steps it was to have, and the digest of its networks."""

    place: Path
    step: int
    wanted: int
    sha256: str

    def record(self) -> dict[str, Any]:
        return {"place": str(self.place), "step": self.step, "sha256": self.sha256}


@dataclass(frozen=True)
class Start:
    """``recipe``: that of the stages with what the command line set; ``stages``: one for each of STAGES, and LAST where
    a last stage is trained on.
    """

    run: Path
    recipe: Recipe
    stages: dict[str, Stage]

    def record(self) -> dict[str, Any]:
        """For the files beside the results."""
        return {"run": str(self.run), "stages": {name: stage.record() for name, stage in self.stages.items()}}


def read(run: Path, assignments: tuple[str, ...] = (), last: Path | None = None) -> Start:
    """The newest checkpoints of ``run`` and their recipe with ``assignments`` (``section.field=value``) on top.

    ``last``: the run whose last stage all variants train on, instead of beginning it anew.

    AblationError: a stage is absent, the stages are not of one recipe, or what was set does not fit them.
    SettingsError: an assignment that does not exist.
    """
    from fctfg import recipes
    from fctfg.train import checkpoint, predecessors

    if not run.is_dir():
        raise AblationError(f"{run}: no such folder; --base is the --out of python -m fctfg.train")
    places = {stage: checkpoint.newest(run / stage) for stage in STAGES}
    if absent := [stage for stage, place in places.items() if place is None]:
        raise AblationError(
            f"{run}: holds no {' and no '.join(absent)}; train {'it' if len(absent) == 1 else 'them'} first: "
            f"python -m fctfg.train {absent[0]} --out {run}"
        )
    wanted = dict(STAGES)
    if last is not None:
        places[LAST], wanted[LAST] = checkpoint.newest(last / LAST), predecessors.LAST_SECTIONS
        if places[LAST] is None:
            raise AblationError(
                f"{last}: holds no last stage; --start-from is the --out of python -m fctfg.train {LAST}"
            )
    states = {stage: checkpoint.State.read(place) for stage, place in places.items()}
    recipe = dataclasses.replace(
        states["inversion"].recipe,
        stylegan2=states["stylegan2"].recipe.stylegan2,
        sync_expert=states["sync-expert"].recipe.sync_expert,
    )
    recipe = recipes.override(recipe, *assignments)
    for stage, sections in wanted.items():
        wrong = checkpoint.differing(states[stage].recipe, recipe, sections)
        if stage == "sync-expert" and (wide := states[stage].recipe.sync_expert.width) != recipe.sync_expert.width:
            wrong.append(f"sync_expert.width: {wide!r}, not {recipe.sync_expert.width!r}")
        if wrong:
            raise AblationError(
                f"{places[stage]}: of another recipe ({'; '.join(wrong)}); train {stage} with this one, or name "
                "another --base or --set"
            )
    stages = {
        stage: Stage(
            place.resolve(),
            states[stage].step,
            getattr(states[stage].recipe, stage.replace("-", "_")).steps,
            digest(place),
        )
        for stage, place in places.items()
    }
    return Start(run, recipe, stages)


def digest(place: Path) -> str:
    """The sha256 of a checkpoint's networks (the optimisers aside, which no later stage reads)."""
    from fctfg.weights import sha256

    whole = hashlib.sha256()
    for file in sorted(place.glob("*.safetensors")):
        whole.update(f"{file.name} {sha256(file)}\n".encode())
    return whole.hexdigest()


def assignments(recipe: Recipe) -> tuple[str, list[str]]:
    """``recipe`` as the training command takes it: a recipe's name, and a ``section.field=value`` for each change."""
    from fctfg import recipes

    name = recipe.name if recipe.name in recipes.RECIPES else "demo"
    return name, list(_changes(recipes.get(name), recipe))


def _changes(one: Any, other: Any, path: str = ""):
    for field in dataclasses.fields(one):
        a, b = getattr(one, field.name), getattr(other, field.name)
        if dataclasses.is_dataclass(a):
            yield from _changes(a, b, f"{path}{field.name}.")
        elif a != b:
            yield f"{path}{field.name}={','.join(map(str, b)) if isinstance(b, tuple) else b}"
