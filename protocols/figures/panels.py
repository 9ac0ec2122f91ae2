"""Figures 4, 5 and 6: which picture goes where, and what the record says of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fctfg.data.clips import Clip
from protocols.ablations.files import MODEL, read_json
from protocols.figures.footage import Material, NotShown, frames_at, one_of_each, times
from protocols.stages import Generated, Source
from results.ablation import DONE, TABLES
from results.figures import Band, Cell, Group, Row
from results.runs import Run

if TYPE_CHECKING:
    from fctfg.animate import Animator

#: clips side by side in Figure 4
ABREAST = 2
#: controls that Figure 4 leaves out unless asked: they show the driving frames again
LIKE_DRIVING = ("truth", "reencode", "shuffled-audio")


@dataclass(frozen=True)
class Sheet:
    """One figure. ``missing``: a line for each thing that has an empty cell."""

    bands: tuple[Band, ...]
    note: str
    missing: tuple[str, ...]


@dataclass(frozen=True)
class Model:
    """A model file, loaded. ``label``: its row in the figure."""

    label: str
    path: Path
    sha256: str
    animator: Animator


# -- Figure 4 ----------------------------------------------------------------------------------------------------------


def compared(runs: Iterable[Run], controls: bool) -> list[Run]:
    """The runs that Figure 4 has a row for, methods above controls as in the tables."""
    return [run for run in runs if controls or not (run.is_control and run.name in LIKE_DRIVING)]


def figure4(
    material: Material, clips: Sequence[Clip], runs: Sequence[Run], count: int, step: Callable[[], object]
) -> Sheet:
    """The reference and ``count`` driving frames of each clip; below them what each method made at the same times.

    ``step`` is called once for each clip and run.
    """
    parts, missing = [], []
    for clip in clips:
        parts.append(_compared_on(material, clip, runs, count, missing, step))
    bands = []
    labels = ["driving", *(run.label for run in runs)]
    for begin in range(0, len(parts), ABREAST):
        here = parts[begin : begin + ABREAST]
        rows = [Row(label, [c for _, found in here for c in found[i]]) for i, label in enumerate(labels)]
        bands.append(Band([group for group, _ in here], rows))
    note = f"{material.block.text}. Pictures below each other are of the same time; 25 frames a second."
    return Sheet(tuple(bands), note, tuple(missing))


def _compared_on(material, clip, runs, count, missing, step) -> tuple[Group, list[list[Cell | None]]]:
    """The group of one clip, and for each row its cells."""
    try:
        source = material.source(clip)
    except NotShown as why:
        missing.append(f"{clip.id}: {why}")
        cell = _empty(why, "", clip)
        for _ in runs:
            step()
        return Group(clip.id, [""] * (count + 1), 1), [[cell] * (count + 1), *([None, *[cell] * count] for _ in runs)]
    made: list[Generated | NotShown] = []
    for run in runs:
        try:
            made.append(material.generated(run, source))
        except NotShown as why:
            made.append(why)
    at = times(*_common(source, made), count)
    reference = _frame(source, 0, "reference")
    rows: list[list[Cell | None]] = [[reference, *(_frame(source, t, "driving") for t in at)]]
    for run, found in zip(runs, made, strict=True):
        cells, why = _generated(run, source, found, at)
        rows.append([None, *cells])
        if why:
            missing.append(f"{clip.id}: {run.label}: {why}")
        step()
    return Group(clip.id, ["reference", *(f"frame {t}" for t in at)], 1), rows


def _common(source: Source, made: Sequence[Generated | NotShown]) -> tuple[int, int]:
    """The frames that every method answered; all driving frames where there are none."""
    spans = [found.scored_range(len(source.frames)) for found in made if isinstance(found, Generated)]
    start = max((a for a, _ in spans), default=1)
    stop = min((b for _, b in spans), default=len(source.frames))
    return (start, stop) if stop > start else (1, len(source.frames))


def _generated(run: Run, source: Source, found: Generated | NotShown, at: Sequence[int]) -> tuple[list[Cell], str]:
    """A method's cells, and why some are empty."""
    about = {"source": run.path, "weights": _weights(run)}
    if isinstance(found, Generated):
        about["sha256"] = found.key
        try:
            frames = frames_at(found, source, at)
        except NotShown as why:
            found = why
    if isinstance(found, NotShown):
        return [_empty(found, "generated", source.clip, frame=t, **about) for t in at], str(found)
    cells, lacking = [], NotShown("no frame", "the method answers no frame of this time")
    for t in at:
        told = {"frame": t, **about}
        if t in frames:
            cells.append(_shown(frames[t], "generated", source.clip, **told))
        else:
            cells.append(_empty(lacking, "generated", source.clip, **told))
    return cells, "" if len(frames) == len(at) else str(lacking)


# -- Figures 5 and 6 ---------------------------------------------------------------------------------------------------


def figure5(
    material: Material,
    people: int,
    one: tuple[Material, Clip],
    count: int,
    model: Model,
    step: Callable[[], object],
) -> Sheet:
    """(a) the first frames of ``people`` and their canonical faces; (b) ``count`` frames of clip ``one`` and theirs.

    ``step`` is called once for each face.
    """
    missing: list[str] = []
    shown = one_of_each(material.clips.clips, people)
    _, rows = _canonical(material, shown, [0], 1, [model], missing, step)
    first = Band([Group("", [clip.identity for clip in shown])], rows, "(a)")
    groups, rows = _canonical(one[0], [one[1]], None, count, [model], missing, step)
    blocks = " and ".join(dict.fromkeys((material.block.text, one[0].block.text)))
    note = f"{blocks}. Model: {model.path.name}, sha256 {model.sha256[:12]}."
    return Sheet((first, Band(groups, rows, "(b)")), note, tuple(dict.fromkeys(missing)))


def figure6(
    material: Material, models: Sequence[Model | str], plan: dict, people: int, count: int, step: Callable[[], object]
) -> Sheet:
    """Frames of a clip of each of some people, and below them each variant's canonical faces.

    ``models``: in the paper's order; a line of text "label: reason" for a variant that is not there.
    """
    shown = one_of_each(material.clips.clips, people)
    missing: list[str] = [model for model in models if isinstance(model, str)]
    groups, rows = _canonical(material, shown, None, count, models, missing, step)
    budget = f"{plan['steps']} training steps" + (
        f" of the recipe's {plan['recipe_steps']} (REDUCED BUDGET)" if plan["steps"] < plan["recipe_steps"] else ""
    )
    seeds = sorted({model.path.parent.name.rpartition("-seed")[2] for model in models if isinstance(model, Model)})
    note = f"{material.block.text}. {budget}, seed {', '.join(seeds)}."
    return Sheet((Band(groups, rows),), note, tuple(dict.fromkeys(missing)))


def _canonical(
    material: Material,
    clips: Sequence[Clip],
    at: list[int] | None,
    count: int,
    models: Sequence[Model | str],
    missing: list[str],
    step: Callable[[], object],
) -> tuple[list[Group], list[Row]]:
    """A group for each clip; the row of its frames (``at``, or ``count`` spread over it) and one for each model."""
    groups, sources, faces = [], [], [[] for _ in models]
    for clip in clips:
        try:
            source = material.source(clip)
        except NotShown as why:
            missing.append(f"{clip.id}: {why}")
            n = len(at or range(count))
            groups.append(Group(clip.id, [""] * n))
            sources += [_empty(why, "source", clip)] * n
            for row, model in zip(faces, models, strict=True):
                row += [_empty(why, "canonical", clip, **_of(model))] * n
                for _ in range(n):
                    step()
            continue
        numbers = np.linspace(0, len(source.frames) - 1, count).round().astype(int).tolist() if at is None else at
        groups.append(Group(clip.id, [f"frame {t}" for t in numbers]))
        for t in numbers:
            sources.append(_frame(source, t, "source"))
            for row, model in zip(faces, models, strict=True):
                told = {"frame": t, **_of(model)}
                if isinstance(model, str):
                    row.append(_empty(NotShown("no model", model), "canonical", clip, **told))
                else:
                    row.append(_shown(model.animator.canonical(source.frames[t]), "canonical", clip, **told))
                step()
    labels = [model.partition(": ")[0] if isinstance(model, str) else model.label for model in models]
    return groups, [Row("source", sources), *(Row(a, b) for a, b in zip_longest(labels, faces))]


def variants(folder: Path, load: Callable[[str, Path, str], Model]) -> list[Model | str]:
    """The models of Table 4's variants, all of the lowest seed that most of them have; "label: reason" for the others.

    A model counts where done.json names it by its hash, as in the table. ``load(label, path, sha256)`` loads one.
    """
    from fctfg.weights import sha256

    wanted = TABLES["table4"].variants

    def why_not(name: str, seed: int) -> str:
        job = folder / f"{name}-seed{seed}"
        if not (job / DONE).is_file():
            return f"{job}: not done; give python -m protocols.ablations table4 again"
        if not (job / MODEL).is_file() or read_json(job / DONE).get("model") != sha256(job / MODEL):
            return f"{job / MODEL}: not the model that {DONE} names; give python -m protocols.ablations table4 again"
        return ""

    seeds = {int(s) for job in folder.glob("*-seed*") if (s := job.name.rpartition("-seed")[2]).isdecimal()}
    reasons = {seed: {name: why_not(name, seed) for name in wanted.values()} for seed in sorted(seeds | {0})}
    seed = min(reasons, key=lambda s: (sum(map(bool, reasons[s].values())), s))
    found: list[Model | str] = []
    for label, name in wanted.items():
        model = folder / f"{name}-seed{seed}" / MODEL
        why = reasons[seed][name]
        found.append(f"{label}: {why}" if why else load(label, model, sha256(model)))
    return found


# -- cells -------------------------------------------------------------------------------------------------------------


def _frame(source: Source, t: int, shows: str) -> Cell:
    return _shown(source.frames[t], shows, source.clip, frame=t, source=source.clip.video, sha256=source.key)


def _shown(picture: np.ndarray, shows: str, clip: Clip, **about: object) -> Cell:
    return Cell(picture, "", {"shows": shows, "clip": clip.id, "state": "shown", **about})


def _empty(why: NotShown, shows: str, clip: Clip, **about: object) -> Cell:
    return Cell(None, why.word, {"shows": shows, "clip": clip.id, "state": why.word, "reason": why, **about})


def _of(model: Model | str) -> dict[str, object]:
    return {} if isinstance(model, str) else {"source": model.path, "weights": f"{model.path.name}:{model.sha256}"}


def _weights(run: Run) -> str:
    return "; ".join(f"{name}:{digest}" for name, digest in (run.info["method"].get("weights") or {}).items())
