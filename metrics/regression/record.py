"""The recorded values, results/regression/metrics.csv: case, metric, value, tolerance (absolute)."""

from __future__ import annotations

import csv
import io
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

#: where the values are kept in a checkout
FILE = Path(str(resources.files("results"))) / "regression" / "metrics.csv"
COLUMNS = ("case", "metric", "value", "tolerance")

#: part or metric -> (absolute, relative) tolerance; a metric's own goes before its part's. Wide enough for another
#: processor's sums, and far narrower than what any change of a constant does.
TOLERANCES = {
    "image": (1e-5, 0),
    "psnr_rgb": (1e-4, 0),
    "l1_rgb": (1e-6, 0),
    "sync": (1e-4, 1e-4),
    "track": (1e-4, 1e-4),
    "track_frames": (0, 0),
    "crop_level": (1e-5, 0),
    "face_size": (0, 1e-7),
    "score": (1e-6, 1e-5),
    "sound": (1e-6, 1e-6),
    "landmarks": (0, 1e-6),
    "perceptual": (0, 1e-4),
    "identity": (0, 1e-6),
    "motion": (1e-8, 1e-6),
    "distribution": (0, 1e-5),
}

Key = tuple[str, str]
Tolerances = Mapping[str, tuple[float, float]]


class RecordError(ValueError):
    """The file of recorded values cannot be used; the message is one line and says what to do."""


@dataclass(frozen=True)
class Recorded:
    """One recorded value and how far from it a new one may lie."""

    value: float
    tolerance: float


def tolerance(case: str, metric: str, value: float, tolerances: Tolerances = TOLERANCES) -> float:
    """The absolute tolerance of a value; 0 for one that is infinite or counts frames."""
    if metric.startswith(("lse_lag", "offset")) or not math.isfinite(value):
        return 0.0
    absolute, relative = tolerances.get(metric) or tolerances[case.split("/")[0]]
    return absolute + relative * abs(value)


def read(path: Path = FILE) -> dict[Key, Recorded]:
    """{(case, metric): Recorded}. Raises RecordError for a file that is missing or holds something else."""
    try:
        with open(path, newline="", encoding="utf-8") as file:
            lines = csv.DictReader(file)
            if tuple(lines.fieldnames or ()) != COLUMNS:
                raise RecordError(f"{path}: its columns are not {', '.join(COLUMNS)}; write it anew with --update")
            return {(r["case"], r["metric"]): Recorded(float(r["value"]), float(r["tolerance"])) for r in lines}
    except FileNotFoundError:
        raise RecordError(f"{path}: no such file; write it with --update") from None
    except (TypeError, ValueError) as error:
        if isinstance(error, RecordError):
            raise
        raise RecordError(f"{path}: a line is not a value and its tolerance ({error}); restore the file") from None


def settle(
    measured: dict[str, dict[str, float]],
    recorded: dict[Key, Recorded],
    path: Path,
    update: bool,
    tolerances: Tolerances = TOLERANCES,
    failures: Sequence[str] = (),
) -> bool:
    """Print what has moved; with ``update`` write it down instead, unless there are ``failures``. True: all is well."""
    lines = [*failures, *moved(measured, recorded)]
    for line in lines:
        print(line)
    count = sum(map(len, measured.values()))
    if update and not failures:
        write(measured, path, tolerances)
        print(f"{path}: {len(lines)} of {count} values recorded anew")
        return True
    print(f"{count} values compared with {path}: " + (f"{len(lines)} moved" if lines else "none moved"))
    return not lines


def write(measured: dict[str, dict[str, float]], path: Path = FILE, tolerances: Tolerances = TOLERANCES) -> None:
    """Record what was measured. A value that has not moved keeps its digits; parts not measured keep their lines.

    ``tolerances``: part (what stands before a case's "/") or metric -> absolute and relative.
    """
    before = read(path) if path.exists() else {}
    parts = {case.split("/")[0] for case in measured}
    kept = {key: old for key, old in before.items() if key[0].split("/")[0] not in parts}
    for case, row in measured.items():
        for metric, value in row.items():
            old = before.get((case, metric))
            same = old is not None and not _differs(old, value)
            now = float(f"{value:.9g}")
            kept[case, metric] = (
                old if same else Recorded(now, float(f"{tolerance(case, metric, now, tolerances):.2g}"))
            )
    text = io.StringIO()
    out = csv.writer(text, lineterminator="\n")
    out.writerow(COLUMNS)
    out.writerows((*key, f"{kept[key].value:.9g}", f"{kept[key].tolerance:g}") for key in sorted(kept))
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(text.getvalue(), encoding="utf-8")
    os.replace(part, path)


def moved(measured: dict[str, dict[str, float]], recorded: dict[Key, Recorded]) -> list[str]:
    """One line for each value outside its tolerance, new, or no longer measured, of the parts that were measured."""
    parts = {case.split("/")[0] for case in measured}
    found = {(case, metric): value for case, row in measured.items() for metric, value in row.items()}
    lines = []
    for key in sorted(found.keys() | {key for key in recorded if key[0].split("/")[0] in parts}):
        what = " ".join(key)
        if key not in recorded:
            lines.append(f"{what}: new, {found[key]:.9g}; no value is recorded")
        elif key not in found:
            lines.append(f"{what}: recorded as {recorded[key].value:.9g}, and no longer measured")
        elif _differs(old := recorded[key], value := found[key]):
            by = f"by {value - old.value:+.2e}, tolerance {old.tolerance:.2g}"
            lines.append(f"{what}: from {old.value:.9g} to {value:.9g} ({by})")
    return lines


def _differs(old: Recorded, value: float) -> bool:
    if math.isinf(old.value):
        return value != old.value
    return not abs(value - old.value) <= old.tolerance  # a NaN differs
