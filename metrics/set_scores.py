"""Metrics that have one value for a set of clips and none for a clip: found in its rows, and computed from them.

A clip's row holds, in the details of such a metric, where in the cache its share of the value is. The value is
computed from all rows at once; where a share is missing there is a reason and no number.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from metrics import registry

DECIMALS = 4  # below these the last bits of linear algebra show, which differ between machines
_GROUP = "distribution"
_UNREADABLE = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile)


def names_in(names: Iterable[str]) -> list[str]:
    """Those of ``names`` whose value belongs to a set of clips."""
    return [name for name in names if registry.get(name).group == _GROUP]


def stored(row: dict, names: Iterable[str], cache: Path | None) -> bool:
    """Whether the cache still holds, whole, what the set's metrics among ``names`` need of this row.

    A row that failed in such a metric, or was made without it, needs nothing.
    """
    from metrics import distribution

    for name in names_in(names):
        details = row["details"].get(name)
        if details is None:
            continue
        try:
            clip = distribution.read_clip(_folder(cache), details, "")
        except _UNREADABLE:
            return False
        if not len(clip.generated) == len(clip.reference) == details["frames"]:
            return False
    return True


def compute(
    names: Iterable[str], rows: Sequence[dict], expected: int, cache: Path | None, known: dict[str, dict] | None = None
) -> dict[str, dict]:
    """{name: record} of every set metric among ``names``, over ``rows`` (in any order) of ``expected`` clips.

    A record holds "value", "lo", "hi" (95 %, bootstrapped over the rows' identities; None for a single one),
    "n_clips", "n_expected", "n_speakers", "n_frames", "extrapolated" and "notes", or a "value" of None and a "reason".
    Clips that failed are not in it, and "n_clips" says so. ``known``: records of before; one with the "key" of the same
    features is taken as it is.
    """
    return {name: _record(name, rows, expected, cache, (known or {}).get(name) or {}) for name in names_in(names)}


def missing(reason: str, expected: int) -> dict:
    """The record of a value that there is not."""
    return {"value": None, "reason": reason, "n_clips": 0, "n_expected": expected}


def line(record: dict) -> str:
    """A record in words: ``12.3456 [11.2, 13.4], 240 frames of 8 of 9 clips``."""
    if record["value"] is None:
        return f"unavailable: {record['reason']}"
    interval = "" if record["lo"] is None else f" [{record['lo']:.4f}, {record['hi']:.4f}]"
    return f"{record['value']:.4f}{interval}, {record['n_frames']} frames of {record['n_clips']} of " + (
        f"{record['n_expected']} clip(s)"
    )


def _record(name: str, rows: Sequence[dict], expected: int, cache: Path | None, known: dict) -> dict:
    from metrics import distribution

    done = sum(bool({"*", name} & {*row["failures"], *row["details"]}) for row in rows)
    if done < expected:
        return missing(f"{expected - done} of {expected} clips are not scored for it yet; finish the run", expected)
    shares = sorted(
        (row["clip"], str(row.get("identity") or row["clip"]), row["details"][name])
        for row in rows
        if row["details"].get(name) and name not in row["failures"]
    )
    if not shares:
        return missing(f"no clip of {expected} could be scored for it", expected)
    key = hashlib.sha256(json.dumps([registry.get(name).version, expected, shares]).encode()).hexdigest()
    if known.get("key") == key:
        return known
    clips, gone = [], []
    for clip, speaker, details in shares:
        try:
            clips.append(distribution.read_clip(_folder(cache), details, speaker))
        except _UNREADABLE:
            gone.append(clip)
    if gone:
        return missing(
            f"the features of {len(gone)} of {len(shares)} scored clips, such as {gone[0]}, are not in the cache "
            f"{cache}; score again with the cache that holds them, or anew",
            expected,
        )
    try:
        score = distribution.fid(clips)
    except ValueError as error:
        return missing(" ".join(str(error).split()), expected)
    lo, hi = score.interval or (None, None)
    rounded = {"value": score.value, "lo": lo, "hi": hi, "extrapolated": score.extrapolated}
    return {
        **{part: None if number is None else round(number, DECIMALS) for part, number in rounded.items()},
        "n_clips": score.n_clips,
        "n_expected": expected,
        "n_speakers": score.n_clusters,
        "n_frames": score.n_frames,
        "notes": [distribution.BIAS, *score.warnings],
        "key": key,
    }


def _folder(cache: Path | None) -> Path:
    if cache is None:
        raise ValueError("there is no cache")
    return cache
