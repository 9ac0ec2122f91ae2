"""Runs: one method on one list of clips, checked against its list, and the rules for showing several side by side."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from results import rows as rows_
from results.rows import ResultsError

CONTROL = "control"
PUPPETS = "puppets"
DATA = ("full", "sample", PUPPETS)
_BLOCK_ORDER = ("VoxCeleb2", "MEAD", "Puppets (VoxCeleb2 layout)", "Puppets (MEAD layout)")
_METHOD_ORDER = ("wav2lip", "makeittalk", "audio2head", "pc-avs")  # the paper's order; its own method comes last
_METHOD_LAST = "fctfg"
_CONTROL_ORDER = ("truth", "reencode", "shuffled-audio", "still")  # from the top of the scale to its bottom
NOT_RUN = "no row: the clip has not been run"


@dataclass(frozen=True)
class Block:
    """The data that a group of columns stands for. ``data`` is "full" only for the whole of what ``name`` says."""

    name: str
    data: str

    @property
    def mark(self) -> str:
        """What has to stand beside the name so that nobody takes it for the whole set; "" when the name says it."""
        said = self.data == "full" or (self.data == PUPPETS and self.name.lower().startswith(PUPPETS))
        return "" if said else self.data

    @property
    def text(self) -> str:
        return f"{self.name} ({self.mark})" if self.mark else self.name

    @property
    def slug(self) -> str:
        """The block in file names."""
        text = f"{self.name}-full" if self.data == "full" else self.text
        return re.sub(r"[ ()]+", "-", text.lower()).strip("-")


@dataclass(frozen=True)
class Run:
    """``info`` is run.json; ``rows`` maps the list's clips that have a row, in sorted order, to that row.

    ``stray``: clips with a row that are not of the list; they are reported and never counted. ``label`` names the
    method in tables.
    """

    path: Path
    info: dict
    rows: dict[str, dict]
    stray: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    label: str = ""

    @property
    def block(self) -> Block:
        return Block(self.info["block"], self.info["data"])

    @property
    def is_control(self) -> bool:
        return self.info["method"].get("kind") == CONTROL

    @property
    def unofficial(self) -> str:
        """Why the method's weights are not known to be its authors', or not for such data; ''."""
        known = self.info["method"].get("trained_on")
        if known and known != self.block.data:
            return f"its weights have seen {known} alone"
        return str(self.info["method"].get("unofficial") or "")

    @property
    def name(self) -> str:
        """The method's own name; ``label`` may say more."""
        return str(self.info["method"]["name"])

    @property
    def controls(self) -> list[str]:
        """The motions that the method declares to control."""
        return self.info["method"].get("controls") or []

    @property
    def clips(self) -> list[str]:
        return self.info["clips"]

    @property
    def list_sha256(self) -> str:
        return self.info["list"]["sha256"]

    @property
    def unavailable(self) -> dict[str, str]:
        return self.info.get("unavailable") or {}

    @property
    def set_metrics(self) -> dict[str, dict]:
        """What run.json holds of metrics that belong to the whole set: value, interval and counts, or the reason."""
        return self.info.get("set_metrics") or {}

    @property
    def available(self) -> list[str]:
        """The metrics that every row of this run should have."""
        return [name for name in self.info["metrics"] if name not in self.unavailable]

    @cached_property
    def method_sha256(self) -> str:
        """A fingerprint of the method: its name, its specification, and the digests of its weights."""
        method = self.info["method"]
        identity = {key: method.get(key) for key in ("name", "spec", "weights")}
        return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()

    @cached_property
    def identity_of(self) -> dict[str, str]:
        """Clip id to speaker. A row without one counts as a speaker of its own."""
        return {clip: str(row.get("identity") or f"clip {clip}") for clip, row in self.rows.items()}

    def values(self, metric: str) -> dict[str, float]:
        """Clip id to value, in sorted order, for the clips that have one; empty for an unavailable metric."""
        if metric not in self.available:
            return {}
        found = ((clip, row["metrics"].get(metric)) for clip, row in self.rows.items())
        return {clip: float(value) for clip, value in found if value is not None}

    @cached_property
    def failures(self) -> dict[str, dict[str, str]]:
        """Clip id to {metric or "*": reason} for each clip of the list that is not fully scored, in list order."""
        found = {}
        for clip in self.clips:
            if (row := self.rows.get(clip)) is None:
                found[clip] = {"*": NOT_RUN}
                continue
            reasons = dict(row.get("failures") or {})
            if "*" not in reasons:
                for name in self.available:
                    if row["metrics"].get(name) is None and not _undefined(row, name):
                        reasons.setdefault(name, "its row has no value and gives no reason")
            if row["status"] == "failed" and not reasons:
                reasons = {"*": "its row gives no reason"}
            if reasons:
                found[clip] = reasons
        return found

    @property
    def n_expected(self) -> int:
        return len(self.clips)

    @property
    def n_scored(self) -> int:
        return len(self.clips) - len(self.failures)

    @property
    def n_not_run(self) -> int:
        return sum(clip not in self.rows for clip in self.clips)

    @property
    def n_failed(self) -> int:
        return len(self.failures) - self.n_not_run


def load(path: str | Path) -> Run:
    """The run in folder ``path``. Raises :class:`ResultsError` when it cannot be read."""
    path = Path(path)
    info = rows_.read_run(path)
    if info["data"] not in DATA:
        raise ResultsError(f"{path / 'run.json'}: 'data' is {info['data']!r}; it is one of {', '.join(DATA)}")
    for name, metric in info["metrics"].items():
        if not isinstance(metric, dict) or metric.get("better") not in ("higher", "lower") or "column" not in metric:
            raise ResultsError(f"{path / 'run.json'}: metric {name} lacks a column or a direction; run it again")
    for name, record in (info.get("set_metrics") or {}).items():
        if not isinstance(record, dict) or (record.get("value") is None and not record.get("reason")):
            raise ResultsError(f"{path / 'run.json'}: set metric {name} has neither value nor reason; run it again")
    merged = rows_.merge(path)
    listed = set(info["clips"])
    found = {row["clip"]: row for row in merged.rows}
    stray = tuple(sorted(found.keys() - listed))
    notes = merged.notes
    if stray:
        notes += (f"{len(stray)} row(s) of clips that are not in the list, for example {stray[0]}: not counted",)
    run = Run(
        path=path,
        info=info,
        rows={clip: found[clip] for clip in sorted(found.keys() & listed)},
        stray=stray,
        notes=notes,
        label=str(info["method"]["name"]),
    )
    unknown = sum(not row.get("identity") for row in run.rows.values())
    if unknown:
        run = replace(run, notes=(*run.notes, f"{unknown} row(s) name no speaker; each counts as one of its own"))
    return run


def find(paths: Iterable[str | Path]) -> list[Path]:
    """The run folders at or below ``paths``, each once, in sorted order for each path.

    Raises :class:`ResultsError` for a path that does not exist or has no run.json at or below it.
    """
    found: dict[Path, Path] = {}
    for given in map(Path, paths):
        if given.name == "run.json" and given.is_file():
            given = given.parent
        if not given.is_dir():
            raise ResultsError(f"{given}: no such folder; give the --out folder of an evaluation, or a folder of them")
        here = []
        for folder, below, files in os.walk(given):
            if "run.json" in files:
                here.append(Path(folder))
                below.clear()  # a run's folder may hold tens of thousands of videos, and never another run
            below.sort()
        if not here:
            raise ResultsError(f"{given}: no run.json in it or below; give the --out folder of an evaluation")
        for folder in here:
            found.setdefault(folder.resolve(), folder)
    return list(found.values())


def load_all(paths: Iterable[str | Path], *, allow_mixed: bool = False) -> tuple[list[Run], list[str]]:
    """All runs at or below ``paths`` in table order, and one line for each way in which they do not match.

    Raises :class:`ResultsError` when they do not match (unless ``allow_mixed``) or when one method is given twice.
    """
    found = label([load(path) for path in find(paths)])
    mixed = mismatches(found)
    if mixed and not allow_mixed:
        more = f" (and {len(mixed) - 1} more such)" if len(mixed) > 1 else ""
        raise ResultsError(f"{mixed[0]}{more}; leave one out, or pass --allow-mixed to have it said on the table")
    return sorted(found, key=_order), mixed


def mismatches(runs: Sequence[Run]) -> list[str]:
    """One line for each pair of runs that share a block but not its list, or a metric's name but not its definition."""
    found = []
    first_of_block: dict[Block, Run] = {}
    first_of_metric: dict[str, Run] = {}
    for run in sorted(runs, key=lambda run: str(run.path)):
        other = first_of_block.setdefault(run.block, run)
        if (a := _list_identity(other)) != (b := _list_identity(run)):
            found.append(f"{run.block.text}: different lists of clips: {other.path} has {a[0]}, {run.path} has {b[0]}")
        for name, metric in run.info["metrics"].items():
            other = first_of_metric.setdefault(name, run)
            theirs = other.info["metrics"][name]
            for key in ("version", "definition", "better", "unit", "column"):
                if theirs.get(key) != metric.get(key):
                    a, b = (_short(m.get(key)) for m in (theirs, metric))
                    found.append(f"{name}: different {key}: {other.path} has {a}, {run.path} has {b}")
                    break
    return found


def label(runs: Sequence[Run]) -> list[Run]:
    """``runs`` with labels that tell methods apart: the name, where that is not enough the spec, then the weights.

    Raises :class:`ResultsError` when the same method is there twice for the same block.
    """
    seen: dict[tuple, Run] = {}
    for run in runs:
        key = (run.block, run.method_sha256)
        if (other := seen.setdefault(key, run)) is not run:
            raise ResultsError(
                f"{run.label} on {run.block.text} is there twice, in {other.path} and in {run.path}; leave one out"
            )
    labels = {run.path: run.label for run in runs}
    for extra in (lambda run: str(run.info["method"].get("spec") or ""), lambda run: run.method_sha256[:8]):
        methods = {(labels[run.path], run.method_sha256) for run in runs}
        shared = {name for name, count in Counter(name for name, _ in methods).items() if count > 1}
        for run in runs:
            name, added = labels[run.path], extra(run)
            if name in shared and added and added != name:
                labels[run.path] = added if added.startswith(name) else f"{name} {added}"
    return [replace(run, label=labels[run.path]) for run in runs]


def _undefined(row: dict, metric: str) -> bool:
    """Whether the row says that the metric has no value on this clip, which is no failure.

    A correlation is undefined where the driving face does not move; FID belongs to the set and not to a clip. Such a
    metric is there, empty, with details.
    """
    return metric in row["metrics"] and bool(row["details"].get(metric)) and metric not in (row.get("failures") or {})


def block_order(block: Block) -> tuple:
    """Sorting key: real before puppets, the paper's blocks first and in its order, the whole set before a sample."""
    known = _BLOCK_ORDER.index(block.name) if block.name in _BLOCK_ORDER else len(_BLOCK_ORDER)
    return block.data == PUPPETS, known, block.name, DATA.index(block.data)


def _order(run: Run) -> tuple:
    name = run.info["method"]["name"]
    order = _CONTROL_ORDER if run.is_control else _METHOD_ORDER
    place = order.index(name) if name in order else len(order) + (name == _METHOD_LAST)
    section = (run.is_control, bool(run.unofficial))
    return *section, place, run.label.casefold(), run.label, block_order(run.block), str(run.path)


def _list_identity(run: Run) -> tuple[str, tuple[str, ...]]:
    clips = hashlib.sha256("\n".join(run.clips).encode()).hexdigest()
    about = run.info["list"]
    text = f"{about.get('name', 'a list')} version {about.get('version', '?')}, sha256 {str(about['sha256'])[:12]}"
    return f"{text}, {len(run.clips)} clips", (str(about["sha256"]), clips)


def _short(value) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
