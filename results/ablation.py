"""Tables 3 and 4 from rows: the runs of every variant and seed, averaged over seeds clip by clip.

A folder of ablations holds ``ablations.json`` (what was asked for) and ``<variant>-seed<k>/`` with ``done.json`` (what
it is), ``evaluation/`` (a run) and, for Table 4, ``canonical.json``. A variant becomes one :class:`results.runs.Run`
whose rows hold, for each clip, the mean over seeds; what is resampled for an interval stays the speaker, and all that
``results.summary`` and ``results.tables`` know of runs holds for variants.
"""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from results import runs
from results.rows import ResultsError
from results.runs import CONTROL, Run
from results.summary import Summary, summarise

FULL = "full"
PLAN, DONE, EVALUATION, CANONICAL_FILE = "ablations.json", "done.json", "evaluation", "canonical.json"
#: the rows of our own run, which come along: a folder of ablations without its models
SHIPPED = Path(__file__).parent / "measured" / "ablations"
ANGLES = ("yaw", "pitch", "roll")
POSE = "canonical_pose_spread"
#: what the driving frames' own spread stands under, among the variants
DRIVING = "driving frames"
_POSE = {
    "column": "pose spread in canonical space",
    "unit": "degree",
    "better": "lower",
    "definition": "standard deviation of yaw, pitch and roll (the mean of the three) over the canonical faces of one "
    "clip's frames, read by the puppets' face reader; the paper measures nothing of the kind",
    "version": 1,
}


@dataclass(frozen=True)
class PaperTable:
    """``variants``: the paper's row label -> the variant, in the paper's order."""

    number: int
    what: str
    variants: Mapping[str, str]

    @property
    def full(self) -> str:
        """The label of the full model: the paper's own choice."""
        return next(label for label, name in self.variants.items() if name == FULL)


TABLES = {
    "table3": PaperTable(
        3,
        "temporal fusion and discriminator",
        {
            "LSTM, image D": "lstm-image",
            "LSTM, video D": "lstm-video",
            "1D-Conv, video D": "conv-video",
            "1D-Conv, image D": FULL,
        },
    ),
    "table4": PaperTable(
        4,
        "orthogonality of canonical and motion codes",
        {"no constraint": "ortho-none", "cosine": "ortho-cosine", "L_ortho": FULL},
    ),
}
#: tables with the column POSE
CANONICAL_TABLES = ("table4",)


@dataclass(frozen=True)
class Variant:
    """One row: ``runs`` holds the run of every seed that is there, ``missing`` why others are not.

    ``spread``: metric -> standard deviation of the seeds' means, None where fewer than two seeds have one.
    """

    label: str
    name: str
    runs: Mapping[int, Run]
    missing: tuple[str, ...]
    spread: Mapping[str, float | None]


@dataclass(frozen=True)
class Ablation:
    """``plan`` is ablations.json; ``summary`` has the variants as methods, the full model as baseline."""

    table: PaperTable
    plan: dict[str, Any]
    seeds: int
    variants: tuple[Variant, ...]
    summary: Summary
    missing: tuple[str, ...]

    @property
    def reduced(self) -> bool:
        """Whether training was shorter than the recipe asks for."""
        return self.plan["steps"] < self.plan["recipe_steps"]


def load(table: str, folder: Path) -> Ablation:
    """The ablation ``table`` ("table3", "table4") from the files in ``folder``.

    ResultsError: nothing was run there, a file is damaged, or runs are of different lists or metric versions.
    """
    about, plan = TABLES[table], _read(folder / PLAN, "run python -m protocols.ablations first")
    try:
        seeds = int(plan["tables"][table]["seeds"])
        wanted = int(plan["steps"])
    except KeyError:
        raise ResultsError(
            f"{folder / PLAN}: says nothing of {table}; run python -m protocols.ablations {table}"
        ) from None
    found = [
        _variant(label, name, folder, seeds, wanted, table in CANONICAL_TABLES)
        for label, name in about.variants.items()
    ]
    every = [run for variant in found for run in variant.runs.values()]
    if not every:
        why = f"{found[0].label}: {found[0].missing[0]}"
        raise ResultsError(
            f"{folder}: no run of {table} counts, for example {why}; give python -m protocols.ablations {table} again"
        )
    if mixed := runs.mismatches(every):
        raise ResultsError(f"{mixed[0]}; give python -m protocols.ablations {table} again to score all alike")
    shown = [averaged(variant) for variant in found if variant.runs]
    if table in CANONICAL_TABLES:
        shown += _driving(every)
    absent = {variant.label: "; ".join(variant.missing) for variant in found if not variant.runs}
    summary = summarise(shown, baseline=about.full, absent=absent)
    missing = [f"{v.label}: {why}" for v in found for why in v.missing]
    missing += [
        f"{run.label}: {run.n_scored} of {run.n_expected} clips scored under every seed" for run in summary.incomplete
    ]
    return Ablation(about, plan, seeds, tuple(found), summary, tuple(missing))


def averaged(variant: Variant) -> Run:
    """One run whose rows hold each clip's mean over seeds.

    A metric that one seed lacks on a clip is lacking there, so that every variant's mean is over whole clips.
    """
    first, *others = variant.runs.values()
    rows = {}
    for clip in first.clips:
        here = {seed: run.rows.get(clip) for seed, run in variant.runs.items()}
        if all(here.values()):
            rows[clip] = _mean_row(here, first.available)
    notes = tuple(dict.fromkeys(note for run in (first, *others) for note in run.notes))
    method = {**first.info["method"], "name": variant.label}
    return replace(first, info={**first.info, "method": method}, rows=rows, notes=notes, label=variant.label)


def _mean_row(rows: Mapping[int, dict], names: Sequence[str]) -> dict:
    first = next(iter(rows.values()))
    failures = {
        name: f"seed {seed}: {reason}" for seed, row in rows.items() for name, reason in row.get("failures", {}).items()
    }
    metrics: dict[str, float | None] = {}
    for name in names:
        values = [row["metrics"].get(name) for row in rows.values()]
        metrics[name] = None if None in values else _mean(values)
    details = {name: detail for row in rows.values() for name, detail in row["details"].items()}
    status = "failed" if any(row["status"] == "failed" for row in rows.values()) else "scored"
    return {**first, "metrics": metrics, "details": details, "failures": failures, "status": status}


def _mean(values: Sequence[float]) -> float:
    """Infinite where one is: the mean of PSNR over seeds of which one copies the truth is no number either."""
    return math.fsum(values) / len(values) if all(map(math.isfinite, values)) else math.inf


def _variant(label: str, name: str, folder: Path, seeds: int, steps: int, canonical: bool) -> Variant:
    found, missing = {}, []
    for seed in range(seeds):
        try:
            found[seed] = _run(folder / f"{name}-seed{seed}", steps, canonical)
        except _NotDone as why:
            missing.append(f"seed {seed}: {why}")
    return Variant(label, name, found, tuple(missing), _spread(found))


class _NotDone(Exception):
    """Why a run does not count."""


def _run(folder: Path, steps: int, canonical: bool) -> Run:
    """The run of one seed; _NotDone unless it is whole, of this budget, and of the model that done.json names."""
    if not (folder / DONE).is_file():
        raise _NotDone("not done")
    done = _read(folder / DONE, "give the same command again")
    if done["steps"] != steps:
        raise _NotDone(f"trained for {done['steps']} of {steps} steps")
    run = runs.load(folder / EVALUATION)
    if done["model"] not in (run.info["method"].get("weights") or {}).values():
        raise _NotDone("scored with another model than it was trained to")
    if not canonical:
        return run
    file = folder / CANONICAL_FILE
    found = _read(file, "give the same command again") if file.is_file() else {}
    if found.get("model") != done["model"] or found.get("list") != run.list_sha256:
        raise _NotDone("the pose of its canonical faces is not measured")
    rows = {clip: _with_pose(row, found["clips"].get(clip, {}).get("canonical")) for clip, row in run.rows.items()}
    info = {**run.info, "metrics": {**run.info["metrics"], POSE: _POSE}, "driving": found["clips"]}
    return replace(run, rows=rows, info=info)


def _with_pose(row: dict, found: dict | None) -> dict:
    """``row`` with the metric POSE, or why it has none."""
    if found is None or "failure" in found:
        reason = found["failure"] if found else "the clip was not read"
        return {**row, "status": "failed", "failures": {**row.get("failures", {}), POSE: reason}}
    details = {**row["details"], POSE: found}
    return {**row, "metrics": {**row["metrics"], POSE: _mean([found[a] for a in ANGLES])}, "details": details}


def _driving(every: Sequence[Run]) -> list[Run]:
    """The driving frames' own pose spread, as a control that has no other metric."""
    first = every[0]
    rows = {}
    for clip, row in first.rows.items():
        bare = {**row, "metrics": {}, "details": {}, "failures": {}, "status": "scored"}
        rows[clip] = _with_pose(bare, first.info["driving"].get(clip, {}).get("driving"))
    method = {"name": DRIVING, "kind": CONTROL, "description": "the pose of the frames that the faces were made from"}
    info = {**first.info, "method": method, "metrics": {POSE: _POSE}, "unavailable": {}, "set_metrics": {}}
    return [replace(first, info=info, rows=rows, notes=(), label=DRIVING)]


def _spread(found: Mapping[int, Run]) -> dict[str, float | None]:
    """Standard deviation (n - 1) of the seeds' means over the clips that have a value under every seed."""
    names = dict.fromkeys(name for run in found.values() for name in run.available)
    spread: dict[str, float | None] = {}
    for name in names:
        values = [run.values(name) for run in found.values()]
        common = set.intersection(*(set(v) for v in values))
        common = {clip for clip in common if all(math.isfinite(v[clip]) for v in values)}
        enough = len(values) > 1 and common
        means = [math.fsum(v[c] for c in sorted(common)) / len(common) for v in values] if enough else []
        spread[name] = statistics.stdev(means) if enough else None
    return spread


def _read(file: Path, hint: str) -> dict[str, Any]:
    try:
        found = json.loads(file.read_bytes())
    except FileNotFoundError:
        raise ResultsError(f"{file}: no such file; {hint}") from None
    except ValueError as error:
        raise ResultsError(f"{file}: not JSON ({error}); delete it, and {hint}") from None
    if not isinstance(found, dict) or found.get("schema") != 1:
        raise ResultsError(f"{file}: not of a schema that this version reads; delete it, and {hint}")
    return found
