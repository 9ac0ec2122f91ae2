"""Rows (one JSON line for each clip) and run.json: how they are written so that a crash loses nothing, and read back.

A run's folder holds ``run.json`` and ``rows/<i>-of-<n>.jsonl``. Every process appends to its own file only; reading
merges all files by clip id, so the outcome does not depend on how many processes there were. JSON knows no infinity:
infinite values are the strings ``"inf"`` and ``"-inf"`` in the files and floats everywhere else. NaN is refused.
"""

from __future__ import annotations

import json
import math
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SCHEMA = 1
STATUSES = ("scored", "failed")
_NUMERIC = ("metrics", "details")  # the parts of a row in which the string "inf" means infinity
_RUN_KEYS = ("protocol", "block", "data", "list", "method", "metrics", "clips")


class ResultsError(ValueError):
    """Something about the given results that a user can put right; the message is one line that says how."""


@dataclass(frozen=True)
class Merged:
    """``rows``: one row per clip, sorted by clip id. ``notes``: one line for each oddity of the merge."""

    rows: tuple[dict, ...]
    notes: tuple[str, ...]


def encode(value: Any) -> Any:
    """``value`` with infinities as the strings "inf" / "-inf", ready for JSON. NumPy scalars become Python numbers.

    Raises :class:`ResultsError` for NaN: a metric that has no value has no entry, and a reason under ``failures``.
    """
    if isinstance(value, dict):
        return {str(key): encode(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [encode(item) for item in value]
    if hasattr(value, "tolist") and not isinstance(value, str | bytes):  # a NumPy scalar or array
        return encode(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        if math.isnan(value):
            raise ResultsError("a row holds NaN; give the metric a failure reason and leave its value out")
        return "inf" if value > 0 else "-inf"
    return value


def decode(value: Any) -> Any:
    """The inverse of :func:`encode` for the numeric parts of a row."""
    if isinstance(value, dict):
        return {key: decode(item) for key, item in value.items()}
    if isinstance(value, list):
        return [decode(item) for item in value]
    return float(value) if value in ("inf", "-inf") else value


def append(path: str | Path, row: dict) -> None:
    """Add ``row`` to the JSON-lines file ``path`` as one line that is on disk when this returns.

    A last line that an earlier crash cut short is removed first; only the process that owns the file may append to it.
    """
    path = Path(path)
    check(row, str(path))
    line = json.dumps(encode(row), allow_nan=False, ensure_ascii=False, separators=(",", ":")) + "\n"
    fresh = not path.exists()
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a+b") as file:
        keep, mended = _whole_lines(file)
        if keep < file.seek(0, os.SEEK_END):
            file.truncate(keep)
        file.write((mended + line).encode())
        file.flush()
        os.fsync(file.fileno())
    if fresh:
        _sync_folder(path.parent)


def check(row: dict, where: str) -> None:
    """Raise :class:`ResultsError` unless ``row`` has what every reader relies on."""
    if not isinstance(row, dict) or not isinstance(row.get("clip"), str) or not row["clip"]:
        raise ResultsError(f"{where}: a row without a clip id; every row is an object with a 'clip'")
    if row.get("status") not in STATUSES:
        raise ResultsError(f"{where}: clip {row['clip']} has status {row.get('status')!r}; it is 'scored' or 'failed'")
    if row.get("schema", SCHEMA) != SCHEMA:
        raise ResultsError(
            f"{where}: clip {row['clip']} has row schema {row['schema']}, this version reads {SCHEMA}; "
            "use the version that wrote it"
        )
    for part in (*_NUMERIC, "failures"):
        if not isinstance(row.get(part, {}), dict):
            raise ResultsError(f"{where}: clip {row['clip']}: '{part}' is not an object; score the clip again")


def read_file(path: str | Path) -> list[dict]:
    """All rows of one JSON-lines file in file order; a last line that was cut short is left out.

    Raises :class:`ResultsError` naming file and line for anything else that is no row.
    """
    path = Path(path)
    lines = path.read_bytes().split(b"\n")
    rows = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError:  # broken JSON or broken UTF-8
            if number == len(lines):
                break
            raise ResultsError(f"{path}:{number}: not a JSON line; delete it to have its clip scored again") from None
        check(row, f"{path}:{number}")
        for part in _NUMERIC:
            row[part] = decode(row.get(part, {}))
        for name, value in row["metrics"].items():
            if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
                raise ResultsError(f"{path}:{number}: metric {name} of clip {row['clip']} is {value!r}, not a number")
        rows.append(row)
    return rows


def merge(run_dir: str | Path) -> Merged:
    """The rows of ``run_dir/rows/*.jsonl``, one per clip.

    Within a file the later line wins. Of two files that hold the same clip the row that was written last wins (an
    evaluation repeated with another number of shards, or under other settings, writes new rows); of rows without a
    time, the scored one, then the greater key: arbitrary, but the same whatever the files' number and names.
    """
    best: dict[str, dict] = {}
    disputed: set[str] = set()
    for path in sorted((Path(run_dir) / "rows").glob("*.jsonl")):
        latest = {row["clip"]: row for row in read_file(path)}
        for clip, row in latest.items():
            timed = "written_at" in row
            if clip in best and not timed and best[clip].get("key") != row.get("key"):
                disputed.add(clip)
            if clip not in best or _precedence(row) > _precedence(best[clip]):
                best[clip] = row
    notes = ()
    if disputed:
        notes = (
            f"{len(disputed)} clip(s) were scored under different settings in different shard files, for example "
            f"{min(disputed)}; empty {Path(run_dir) / 'rows'} and run again to be sure of one setting",
        )
    return Merged(tuple(best[clip] for clip in sorted(best)), notes)


def read(run_dir: str | Path) -> list[dict]:
    """The rows of a run, one per clip, sorted by clip id; see :func:`merge`."""
    return list(merge(run_dir).rows)


def write_run(run_dir: str | Path, run: dict) -> Path:
    """Write ``run_dir/run.json`` in one step: a reader sees the old file or the new one, never half of one."""
    path = Path(run_dir) / "run.json"
    text = json.dumps({"schema": SCHEMA, **encode(run)}, allow_nan=False, ensure_ascii=False, indent=1) + "\n"
    write_atomic(path, text.encode())
    return path


def read_run(run_dir: str | Path) -> dict:
    """The content of ``run_dir/run.json``. Raises :class:`ResultsError` when it is missing, broken or too new."""
    path = Path(run_dir) / "run.json"
    try:
        run = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise ResultsError(f"{path}: no such file; give the --out folder of an evaluation") from None
    except ValueError as error:
        raise ResultsError(f"{path}: not JSON ({error}); run the evaluation again") from None
    if not isinstance(run, dict):
        raise ResultsError(f"{path}: not a JSON object; run the evaluation again")
    if run.get("schema", SCHEMA) != SCHEMA:
        raise ResultsError(
            f"{path}: schema {run['schema']}, this version reads {SCHEMA}; use the version that wrote it"
        )
    lacking = [key for key in _RUN_KEYS if key not in run]
    if lacking:
        raise ResultsError(f"{path}: lacks {', '.join(lacking)}; run the evaluation again")
    if not isinstance(run["clips"], list) or len(set(run["clips"])) != len(run["clips"]):
        raise ResultsError(f"{path}: 'clips' is not a list of distinct clip ids; run the evaluation again")
    for part, key in (("method", "name"), ("list", "sha256")):
        if not isinstance(run[part], dict) or key not in run[part]:
            raise ResultsError(f"{path}: lacks {part}.{key}; run the evaluation again")
    return run


def write_atomic(path: str | Path, data: bytes) -> None:
    """Write ``data`` to a temporary file beside ``path``, flush it to disk, and rename it into place."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)  # mkstemp's files are readable by their owner only
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def _whole_lines(file) -> tuple[int, str]:
    """(bytes to keep, text that completes them) of an open JSON-lines file.

    A last line without its newline is kept only when it is whole: a JSON object that was cut short never parses.
    """
    size = file.seek(0, os.SEEK_END)
    start, tail = size, b""
    while start > 0 and b"\n" not in tail:
        step = min(start, 1 << 16)
        start -= step
        file.seek(start)
        tail = file.read(step) + tail
    last = tail.rpartition(b"\n")[2]
    if not last:
        return size, ""
    try:
        json.loads(last)
    except ValueError:
        return size - len(last), ""
    return size, "\n"


def _precedence(row: dict) -> tuple:
    return (
        row.get("written_at", 0.0),
        row["status"] == "scored",
        str(row.get("key", "")),
        json.dumps(encode(row), sort_keys=True),
    )


def _sync_folder(folder: Path) -> None:
    """Flush a new directory entry to disk; without it a power cut can lose a file that was itself flushed."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
