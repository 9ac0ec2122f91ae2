"""Two files or two folders, scored: what ``python -m metrics`` does."""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from fctfg import parallel, progress
from fctfg.weights import sha256
from metrics import registry, set_scores
from metrics.evaluate import Evaluator
from metrics.pairs import FPS, SIZE, Pair, UsageError, matched, read
from metrics.row import fill
from results import rows as row_files
from results import statistics

#: what is scored unless --metrics says otherwise
DEFAULT = (*registry.TABLE1, "lpips_alex", "csim_arcface_r50")
#: groups that need time or sound
MOVING = ("sync", "motion")


def run(args: argparse.Namespace) -> int:
    """Score, print, keep rows; the exit status."""
    try:
        for name in args.metrics or ():
            registry.get(name)
    except ValueError as error:
        raise UsageError(str(error)) from None
    pairs, extra = matched(args.reference, args.generated)
    names = args.metrics or [n for n in DEFAULT if not (pairs[0].is_picture and registry.get(n).group in MOVING)]
    with _cache(args, names) as cache:
        evaluator = Evaluator(names, device=args.device, cache=cache)
        if args.metrics and len(evaluator.unavailable) == len(set(names)):
            raise UsageError("; ".join(f"{k}: {v}" for k, v in evaluator.unavailable.items()))
        available = [n for n in names if n not in evaluator.unavailable]
        found = _rows(pairs, evaluator, available, args)
        sets = set_scores.compute(available, found, len(pairs), cache, _read_sets(args.out))
    whole = sets | {
        n: set_scores.missing(evaluator.unavailable[n], len(pairs)) for n in set_scores.names_in(evaluator.unavailable)
    }
    if args.out and whole:
        row_files.write_atomic(args.out / "set.json", (json.dumps(whole, indent=1) + "\n").encode())
    print(table(found, names, evaluator.unavailable, sets))
    _say(found, sets, extra)
    failed = any(row["status"] == "failed" for row in found) or any(s["value"] is None for s in sets.values())
    return 1 if failed and not args.allow_missing else 0


def _rows(pairs: list[Pair], evaluator: Evaluator, available: list[str], args: argparse.Namespace) -> list[dict]:
    """Every pair's row, sorted by name; those of before are kept while they say everything, the others appended."""
    file = args.out / "rows" / "0-of-1.jsonl" if args.out else None
    before = {row["clip"]: row for row in row_files.read(args.out)} if args.out else {}
    versions = {name: registry.get(name).version for name in available}

    def work(pair: Pair) -> dict:
        import torch

        torch.set_num_threads(1)  # sums in one order, whatever the machine
        key = _key(pair, versions)
        kept = before.get(pair.name)
        current = kept is not None and kept["key"] == key and kept["status"] == "scored"
        if current and set_scores.stored(kept, available, evaluator.cache):
            return kept
        return score(pair, evaluator, key)

    found = []
    with progress.bar(len(pairs), "score", "file") as bar:
        for row in parallel.results(work, pairs, args.workers):
            if file is not None and row is not before.get(row["clip"]):
                row_files.append(file, row | {"written_at": round(time.time(), 3)})
            found.append(row)
            bar.update()
    return sorted(found, key=lambda row: row["clip"])


def score(pair: Pair, evaluator: Evaluator, key: str) -> dict:
    """The row of one pair."""
    row = {
        "schema": 1, "clip": pair.name, "identity": pair.speaker, "key": key, "status": "scored", "failures": {},
        "n_frames": 0, "metrics": {}, "details": {}, "warnings": [],
    }  # fmt: skip
    if pair.generated is None:
        row.update(status="failed", failures={"*": f"no generated file for {pair.reference}"})
        return row
    try:
        generated, reference, row["n_frames"] = read(pair, row["warnings"])
        first = next(iter(reference.chunks()), None)  # stands in for the animated picture, which nobody names here
        fill(row, evaluator.score(generated, reference, None if first is None else first[0]))
    except ValueError as error:  # media.MediaError among them
        row.update(status="failed", failures={"*": " ".join(str(error).split())})
    return row


def table(found: list[dict], names: list[str], unavailable: dict[str, str], sets: dict[str, dict]) -> str:
    """Mean, 95 % interval and coverage of every metric, as text."""
    lines = [f"{'metric':24} {'mean':>9}  {'95 % interval':19} {'n':>9}  direction, unit"]
    for name in dict.fromkeys(names):
        metric = registry.get(name)
        about = f"{metric.better} is better" + (f", {metric.unit}" if metric.unit else "")
        if name in unavailable:
            lines.append(f"{name:24} {'-':>9}  {'unavailable':19} {'':>9}  {unavailable[name]}")
            continue
        if name in sets:
            lo, mean, hi, n = (sets[name].get(part) for part in ("lo", "value", "hi", "n_clips"))
            frames = f" ({sets[name]['n_frames']} frames)" if mean is not None else ""
            about += f"; one value of the whole set{frames}, not a mean"
        else:
            scored = [row for row in found if row["metrics"].get(name) is not None]
            values = np.array([row["metrics"][name] for row in scored], float)
            estimate = statistics.mean_interval(values, [row["identity"] for row in scored])
            lo, mean, hi, n = estimate.lo, estimate.mean, estimate.hi, len(scored)
        value = "-" if mean is None else f"{mean:.4f}"
        interval = "" if lo is None else f"[{lo:.4f}, {hi:.4f}]"
        lines.append(f"{name:24} {value:>9}  {interval:19} {f'{n}/{len(found)}':>9}  {about}")
    speakers = len({row["identity"] for row in found})
    lines.append(f"{len(found)} file(s) of {speakers} speaker(s) (first folder of a name); intervals resample speakers")
    return "\n".join(lines)


def _say(found: list[dict], sets: dict[str, dict], extra: list[Path]) -> None:
    """Failures, warnings and leftovers on stderr, each reason once, however many files it stands for."""
    failures: dict[tuple[str, str], list[str]] = {}
    warnings: dict[str, list[str]] = {}
    for row in found:
        for metric, reason in row["failures"].items():
            failures.setdefault((metric, reason), []).append(row["clip"])
        for warning in row["warnings"]:
            warnings.setdefault(warning, []).append(row["clip"])
    for (metric, reason), clips in failures.items():
        print(f"failed {_clips(clips)}{'' if metric == '*' else f' [{metric}]'}: {reason}", file=sys.stderr)
    for name, record in sets.items():
        if record["value"] is None:
            print(f"failed the set [{name}]: {record['reason']}", file=sys.stderr)
        for note in record.get("notes", ()):
            print(f"note {name}: {note}", file=sys.stderr)
    for warning, clips in warnings.items():
        print(f"note {_clips(clips)}: {warning}", file=sys.stderr)
    for path in extra:
        print(f"not used: {path} has no reference", file=sys.stderr)


def _clips(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"


@contextlib.contextmanager
def _cache(args: argparse.Namespace, names: list[str]) -> Iterator[Path | None]:
    """Where extractions go: --cache; else, for a metric of the set, OUT/cache, or a folder that is removed again."""
    if args.cache or not set_scores.names_in(names):
        yield args.cache
    elif args.out:
        yield args.out / "cache"
    else:
        with tempfile.TemporaryDirectory(prefix="metrics-") as folder:
            yield Path(folder)


def _read_sets(out: Path | None) -> dict[str, dict]:
    """The set's values of before; those that no longer fit are told by their keys."""
    try:
        return json.loads((out / "set.json").read_bytes()) if out else {}
    except (FileNotFoundError, ValueError):
        return {}


def _key(pair: Pair, versions: dict[str, int]) -> str:
    files = [sha256(path) if path else None for path in (pair.reference, pair.generated)]
    return hashlib.sha256(json.dumps([files, versions, SIZE, FPS], sort_keys=True).encode()).hexdigest()
