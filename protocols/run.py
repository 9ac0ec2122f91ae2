"""A run: one method on one list, resumable, shardable, its rows on disk as they are made.

Rows are appended and synced one clip at a time, so a killed run loses at most the clips under way. Clips are handed
to a small pool of threads: one clip's decoding and scoring overlaps another's generation, and the frames in memory are
bounded by the pool, not by the list.
"""

from __future__ import annotations

import contextlib
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from fctfg import parallel, progress
from fctfg.data.clips import Clip
from protocols import environment
from protocols.first_frame import Evaluation
from protocols.methods import MethodError
from protocols.stages import ClipError, OutputError
from results import rows as row_files

BLOCKS = {
    "voxceleb2": "VoxCeleb2",
    "mead": "MEAD",
    "puppets-voxceleb2": "Puppets (VoxCeleb2 layout)",
    "puppets-mead": "Puppets (MEAD layout)",
}


@dataclass
class Outcome:
    """What a run came to. ``computed``: clips evaluated now, as against kept from before. ``sets``: see set_scores."""

    out: Path
    expected: int
    scored: int = 0
    failed: int = 0
    computed: int = 0
    kept: int = 0
    seconds: float = 0.0
    failures: dict[str, dict[str, str]] = field(default_factory=dict)
    unused_videos: list[str] = field(default_factory=list)
    sets: dict[str, dict] = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        return self.scored == self.expected


def run(
    evaluation: Evaluation,
    *,
    shard: tuple[int, int] = (0, 1),
    workers: int = 0,
    command: str = "",
) -> Outcome:
    """Evaluate this shard's clips, keep what is already complete, and write run.json.

    ``shard`` (i, n) takes clips i, i+n, i+2n ... of the list; rows merge by clip id, whatever n was.
    Raises OutputError when the output folder cannot be written: complete rows stay, and the same command resumes.
    """
    began = time.monotonic()
    out = evaluation.out
    try:
        (out / "rows").mkdir(parents=True, exist_ok=True)
        evaluation.clips.save(out / "list.json")
        record = _describe(evaluation, command)
        known = _known_sets(out)
        row_files.write_run(out, record)
        mine = list(evaluation.clips.clips[shard[0] :: shard[1]])
        outcome = _evaluate(evaluation, mine, out / "rows" / f"{shard[0]}-of-{shard[1]}.jsonl", workers)
        _conclude(evaluation, record, outcome, known)
    except OSError as error:
        raise OutputError(f"{error.filename or out}: cannot write ({error.strerror})") from None
    outcome.seconds = time.monotonic() - began
    if hasattr(evaluation.method, "unused"):
        outcome.unused_videos = evaluation.method.unused([clip.id for clip in evaluation.clips.clips])
    return outcome


def _evaluate(evaluation: Evaluation, clips: list[Clip], file: Path, workers: int) -> Outcome:
    import torch

    from metrics import set_scores

    outcome = Outcome(evaluation.out, len(clips))
    available, cache = _available(evaluation), evaluation.evaluator.cache
    before = {row["clip"]: row for row in row_files.read(evaluation.out)}

    def work(clip: Clip) -> dict | None:
        torch.set_num_threads(1)  # per thread; see first_frame.all_threads
        keys = None
        kept = before.get(clip.id)
        if kept is not None and evaluation.reuse != "never":
            with contextlib.suppress(ClipError, MethodError, OSError):  # row() meets the same trouble and records it
                keys = evaluation.keys(clip)
            current = keys is not None and kept["key"] == keys[2]
            current = current and (kept["status"] == "scored" or evaluation.reuse in ("always", "only-cache"))
            if current and (evaluation.reuse == "only-cache" or set_scores.stored(kept, available, cache)):
                return None
        return evaluation.row(clip, keys=(lambda _: keys) if keys else None)

    label = f"{evaluation.clips.protocol} {evaluation.method.name}"
    with progress.bar(len(clips), label, "clip") as bar:
        for row in parallel.results(work, clips, workers):
            if row is None:
                outcome.kept += 1
            else:
                row_files.append(file, row | {"written_at": round(time.time(), 3)})
                outcome.computed += 1
                if row["status"] == "failed":
                    outcome.failed += 1
                    bar.set_postfix_str(f"{outcome.failed} failed", refresh=False)
            bar.update()
    return outcome


def _describe(evaluation: Evaluation, command: str) -> dict:
    clips = evaluation.clips
    return {
        "schema": 1,
        "protocol": clips.protocol,
        "protocol_version": 1,
        "block": BLOCKS.get(clips.protocol, clips.protocol),
        "data": clips.data,
        "list": clips.describe() | {"path": "list.json"},
        "method": evaluation.method_record,
        "metrics": {name: _metric(name) for name in evaluation.metrics},
        "unavailable": evaluation.evaluator.unavailable,
        "set_metrics": _sets_before(evaluation),
        "clips": [clip.id for clip in clips.clips],
        "n_expected": len(clips.clips),
        "n_scored": 0,
        "n_failed": 0,
        "failures": {},
        **environment.describe(evaluation.evaluator.device),
        "seed": clips.seed,
        "settings": {"fps": 25, "size": 256, "reuse": evaluation.reuse},
        "command": command,
    }


def _metric(name: str) -> dict:
    from metrics import registry

    metric = registry.get(name)
    return {k: getattr(metric, k) for k in ("column", "unit", "better", "range", "definition", "source", "version")}


def _conclude(evaluation: Evaluation, record: dict, outcome: Outcome, known: dict[str, dict]) -> None:
    """Count over every shard's rows, those of this process and those found on disk, and write run.json again.

    Another shard may append while this one counts, and write its run.json first; so whoever finds other rows after
    writing than before counts again, and the last file written is of all rows.
    """
    from metrics import set_scores

    listed = {clip.id for clip in evaluation.clips.clips}
    rows = None
    while rows != (rows := [row for row in row_files.read(evaluation.out) if row["clip"] in listed]):
        failures = {row["clip"]: row["failures"] for row in rows if row["status"] == "failed"}
        known = set_scores.compute(_available(evaluation), rows, len(listed), evaluation.evaluator.cache, known)
        record.update(n_scored=len(rows) - len(failures), n_failed=len(failures), failures=failures)
        record["set_metrics"] |= known
        row_files.write_run(evaluation.out, record)
    outcome.failures, outcome.sets = failures, known
    outcome.expected, outcome.scored, outcome.failed = len(listed), len(rows) - len(failures), len(failures)


def _available(evaluation: Evaluation) -> list[str]:
    return [name for name in evaluation.metrics if name not in evaluation.evaluator.unavailable]


def _sets_before(evaluation: Evaluation) -> dict[str, dict]:
    """For run.json while the run goes on: the reason why metrics of the set have no value yet, or never will."""
    from metrics import set_scores

    reasons = dict.fromkeys(evaluation.metrics, "the run is not complete; give the same command again")
    reasons |= evaluation.evaluator.unavailable
    n = len(evaluation.clips.clips)
    return {name: set_scores.missing(reasons[name], n) for name in set_scores.names_in(evaluation.metrics)}


def _known_sets(out: Path) -> dict[str, dict]:
    """Values of sets that an earlier run wrote; each carries the key of what it was computed from."""
    try:
        return row_files.read_run(out).get("set_metrics") or {}
    except row_files.ResultsError:  # none yet, or broken: computed anew
        return {}


def report(outcome: Outcome, allow_missing: bool, stream=None) -> int:
    """Say in a few lines what a run came to; the exit status: 0 when every clip, and then the set, was scored."""
    from metrics import set_scores

    stream = stream or sys.stderr
    pending = outcome.expected - outcome.scored - outcome.failed
    parts = [f"{outcome.scored} of {outcome.expected} clips scored", f"{outcome.failed} failed"]
    if pending:
        parts.append(f"{pending} in other shards or not begun")
    if outcome.kept:
        parts.append(f"{outcome.kept} kept from before")
    print(f"{outcome.out}: {', '.join(parts)} ({outcome.seconds:.0f} s)", file=stream)
    shown = list(outcome.failures.items())
    for clip, reasons in shown[:20]:
        for metric, reason in reasons.items():
            print(f"  failed {clip}{'' if metric == '*' else f' [{metric}]'}: {reason}", file=stream)
    if len(shown) > 20:
        print(f"  ... and {len(shown) - 20} more; all are in {outcome.out / 'run.json'}", file=stream)
    if outcome.unused_videos:
        names = ", ".join(outcome.unused_videos[:5]) + (" ..." if len(outcome.unused_videos) > 5 else "")
        print(f"  not used: {len(outcome.unused_videos)} video(s) that belong to no clip: {names}", file=stream)
    for name, record in outcome.sets.items():
        print(f"  {name} of the set: {set_scores.line(record)}", file=stream)
    lacking = not pending and any(record["value"] is None for record in outcome.sets.values())
    return 0 if (outcome.failed == 0 and not lacking) or allow_missing else 1
