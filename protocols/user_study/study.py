"""A study folder: what ``study.json`` says, and how opaque names are made."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

from protocols.cli import UsageError
from protocols.user_study.plan import Design, Trial, trials
from results.rows import write_atomic

SCHEMA = 1
RECORD, DATABASE, MEDIA = "study.json", "ratings.sqlite", "media"

#: The five words of absolute category rating (ITU-T P.800, P.910).
SCALE = ("Bad", "Poor", "Fair", "Good", "Excellent")
#: The three questions of the paper's Table 2, from 1 to 5.
QUESTIONS = (
    {
        "name": "lip_sync",
        "label": "Lip sync quality",
        "ask": "How well do the lips move with what is said?",
        "low": SCALE[0],
        "high": SCALE[-1],
    },
    {
        "name": "head_movement",
        "label": "Head movement naturalness",
        "ask": "How natural is the movement of the head?",
        "low": SCALE[0],
        "high": SCALE[-1],
    },
    {
        "name": "overall",
        "label": "Overall quality",
        "ask": "How good is the video as a whole?",
        "low": SCALE[0],
        "high": SCALE[-1],
    },
)


class StudyError(UsageError):
    """Something about a study that its maker can put right; the message is one line that says how."""


@dataclass(frozen=True)
class Item:
    """One video of the study. ``kind``: "rating", "desync" (its sound is displaced) or "repeat" (of ``repeats``)."""

    id: str
    clip: str
    method: str
    kind: str
    repeats: str | None
    media: str
    seconds: float
    reference: str | None = None


@dataclass(frozen=True)
class Study:
    """A study as it was built. ``record`` is the content of study.json."""

    folder: Path
    record: dict

    @property
    def id(self) -> str:
        """Tells this study from others; no secret."""
        return self.record["study"]

    @property
    def questions(self) -> list[dict]:
        return self.record["questions"]

    @property
    def database(self) -> Path:
        return self.folder / DATABASE

    @cached_property
    def items(self) -> dict[str, Item]:
        """Every item by its opaque id."""
        keys = ("clip", "method", "kind", "repeats", "media", "seconds", "reference")
        return {e["item"]: Item(e["item"], *(e.get(k) for k in keys)) for e in self.record["items"]}

    @cached_property
    def design(self) -> Design:
        """What plans are drawn from."""
        d = self.record["design"]
        return Design(
            self.record["seed"],
            tuple(self.record["clips"]),
            tuple(method["name"] for method in self.record["methods"]),
            d["per_participant"],
            tuple(d["desync_clips"]),
            d["desync"],
            d["repeats"],
        )

    @cached_property
    def _by_trial(self) -> dict[Trial, str]:
        return {Trial(item.kind, item.clip, item.method): item.id for item in self.items.values()}

    def plan(self, number: int) -> tuple[str, ...]:
        """The items that participant ``number`` (0, 1, ...) sees, in order."""
        return tuple(self._by_trial[trial] for trial in trials(self.design, number))

    @cached_property
    def session(self) -> tuple[int, int]:
        """(videos, about how many minutes) of a participant: watching, and some twelve seconds of answering each."""
        plan = self.plan(0)
        return len(plan), max(1, round(sum(self.items[i].seconds * 1.2 + 12 for i in plan) / 60))


def opaque(key: str, *parts: str) -> str:
    """A name that says nothing and that nobody can guess: 128 bits of HMAC-SHA256 under the study's secret key."""
    return hmac.new(bytes.fromhex(key), "\0".join(parts).encode(), hashlib.sha256).hexdigest()[:32]


def now() -> str:
    """The time as ISO 8601 in UTC, to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def save(folder: Path, record: dict) -> Path:
    """Write study.json in one step, readable by its owner alone: it holds the study's key."""
    path = folder / RECORD
    write_atomic(path, (json.dumps(record, indent=1, ensure_ascii=False) + "\n").encode())
    os.chmod(path, 0o600)
    return path


def load(folder: str | os.PathLike) -> Study:
    """Read a study folder. Raises StudyError where there is none, or it is of another schema."""
    folder = Path(folder)
    path = folder / RECORD
    try:
        record = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise StudyError(f"{path}: no such file; make a study with python -m protocols.user_study build") from None
    except (OSError, ValueError) as error:
        raise StudyError(f"{path}: cannot be read ({error}); take it from a copy, or build the study again") from None
    if not isinstance(record, dict) or record.get("schema") != SCHEMA:
        found = record.get("schema") if isinstance(record, dict) else None
        raise StudyError(f"{path}: schema {found}, this version reads {SCHEMA}; use the version that wrote it")
    return Study(folder, record)
