"""The ratings, in SQLite. What is acknowledged is on disk: each answer is one transaction, committed with a full sync.

No name, address or IP is stored: a participant is a number, an opaque short id, and the hash of a token.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import secrets
import sqlite3
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from protocols.user_study.study import DATABASE, Study, StudyError, load, now

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = (
    "participant", "item", "clip", "method", "kind", "question", "rating", "at", "watched", "seconds", "repeats",
)  # fmt: skip
KEEP, ERASE = "keep", "erase"

_TABLES = """
CREATE TABLE IF NOT EXISTS participant (
    number INTEGER PRIMARY KEY,      -- 0, 1, ...: the plan is drawn from it
    id TEXT NOT NULL UNIQUE,         -- opaque, in every table and file
    token_sha256 TEXT NOT NULL UNIQUE,
    via TEXT NOT NULL CHECK (via IN ('link', 'file')),
    plan TEXT NOT NULL,              -- JSON list of items, frozen
    invited_at TEXT NOT NULL,
    consented_at TEXT,
    finished_at TEXT,
    stopped_at TEXT,
    stopped TEXT CHECK (stopped IN ('keep', 'erase'))
);
CREATE TABLE IF NOT EXISTS rating (
    participant INTEGER NOT NULL REFERENCES participant(number),
    item TEXT NOT NULL,
    question TEXT NOT NULL,
    rating INTEGER NOT NULL CHECK (rating BETWEEN 1 AND 5),
    at TEXT NOT NULL,
    watched REAL NOT NULL,           -- shares of the video's length that were played
    seconds REAL NOT NULL,           -- from showing the page to sending the answer
    PRIMARY KEY (participant, item, question)
) WITHOUT ROWID;
"""


class Conflict(Exception):
    """An answer that does not fit the participant's present state; the message is one line."""


@dataclass(frozen=True)
class Participant:
    """A participant as the database knows them. ``done``: how many items of the plan are rated, always a prefix."""

    number: int
    id: str
    via: str
    plan: tuple[str, ...]
    done: int
    consented_at: str | None
    finished_at: str | None
    stopped: str | None

    @property
    def stage(self) -> str:
        """consent, rate, done or stopped."""
        if self.stopped:
            return "stopped"
        if not self.consented_at:
            return "consent"
        return "done" if self.done == len(self.plan) else "rate"


@dataclass(frozen=True)
class Answer:
    """The answers to one item. ``ratings``: question -> 1..5."""

    item: str
    ratings: dict[str, int]
    watched: float
    seconds: float
    at: str | None = None


class Store:
    """The database of one study. Safe to use from many threads; other processes may use the same file."""

    def __init__(self, study: Study) -> None:
        self.study = study
        self._lock = threading.RLock()
        try:
            self._db = sqlite3.connect(study.database, timeout=10, isolation_level=None, check_same_thread=False)
            for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "secure_delete=ON"):
                self._db.execute(f"PRAGMA {pragma}")
            self._db.executescript(_TABLES)
        except sqlite3.Error as error:
            raise StudyError(f"{study.database}: cannot be opened ({error}); check the disk and permissions") from None

    def close(self) -> None:
        with self._lock:
            self._db.close()

    def add(self, count: int, via: str, token: Callable[[], str] | None = None) -> list[tuple[str, str]]:
        """Add participants; (id, token) of each. Only the hash of a token is kept: it cannot be shown again."""
        made = []
        with self.transaction():
            first = self._db.execute("SELECT COALESCE(MAX(number) + 1, 0) FROM participant").fetchone()[0]
            for number in range(first, first + count):
                name, secret = f"p{secrets.token_hex(4)}", (token or secrets.token_urlsafe)()
                plan = json.dumps(self.study.plan(number))
                self._db.execute(
                    "INSERT INTO participant (number, id, token_sha256, via, plan, invited_at) VALUES (?,?,?,?,?,?)",
                    (number, name, _hash(secret), via, plan, now()),
                )
                made.append((name, secret))
        return made

    def by_token(self, token: str) -> Participant | None:
        """Whose link a token is; None for an unknown one."""
        return self._one("token_sha256 = ? AND via = 'link'", _hash(token))

    def by_id(self, name: str) -> Participant | None:
        return self._one("id = ?", name)

    def participants(self) -> list[Participant]:
        """Everyone, in order of number."""
        with self._lock:
            rows = self._db.execute(f"{_SELECT} ORDER BY number").fetchall()
        return [_participant(row) for row in rows]

    def consent(self, number: int, at: str | None = None) -> None:
        """Note the consent; a second one changes nothing."""
        with self.transaction():
            self._db.execute(
                "UPDATE participant SET consented_at = ? WHERE number = ? AND consented_at IS NULL",
                (at or now(), number),
            )

    def rate(self, number: int, answer: Answer) -> None:
        """Keep the answers to one item; on disk when this returns.

        The same answers again change nothing. Raises Conflict: no consent, stopped, an item that is not the next one,
        other answers to an item that is rated already.
        """
        with self.transaction():
            who = _participant(self._db.execute(f"{_SELECT} WHERE number = ?", (number,)).fetchone())
            if self._is_known(number, answer):
                return
            if who.stage != "rate":
                raise Conflict(f"no rating is expected at stage '{who.stage}'")
            if who.plan[who.done] != answer.item:
                raise Conflict("another video is next")
            at = answer.at or now()
            self._db.executemany(
                "INSERT INTO rating VALUES (?,?,?,?,?,?,?)",
                [
                    (number, answer.item, question, rating, at, answer.watched, answer.seconds)
                    for question, rating in answer.ratings.items()
                ],
            )
            if who.done + 1 == len(who.plan):
                self._db.execute("UPDATE participant SET finished_at = ? WHERE number = ?", (at, number))

    def stop(self, number: int, what: str) -> None:
        """End a participation. "keep" leaves the ratings, "erase" deletes them for good; erasing can follow keeping."""
        with self.transaction():
            self._db.execute(
                "UPDATE participant SET stopped = ?, stopped_at = ? WHERE number = ? AND stopped IS NOT 'erase'",
                (what, now(), number),
            )
            if what == ERASE:
                self._db.execute("DELETE FROM rating WHERE participant = ?", (number,))
                self._db.execute("UPDATE participant SET finished_at = NULL WHERE number = ?", (number,))
        with self._lock:
            if what == ERASE and not self._db.in_transaction:  # the write-ahead log, too, forgets them; so does close()
                self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """All of the block or nothing, committed to disk at its end. Blocks may nest: the outermost commits."""
        with self._lock:
            if self._db.in_transaction:  # by this thread: the lock is held until the end
                yield
                return
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                self._db.execute("ROLLBACK")
                raise

    def _is_known(self, number: int, answer: Answer) -> bool:
        rows = self._db.execute(
            "SELECT question, rating FROM rating WHERE participant = ? AND item = ?", (number, answer.item)
        ).fetchall()
        if rows and dict(rows) != answer.ratings:
            raise Conflict("this video is rated already; the first answers stand")
        return bool(rows)

    def _one(self, condition: str, value: str) -> Participant | None:
        with self._lock:
            row = self._db.execute(f"{_SELECT} WHERE {condition}", (value,)).fetchone()
        return _participant(row) if row else None


_SELECT = (
    "SELECT number, id, via, plan, (SELECT COUNT(DISTINCT item) FROM rating WHERE participant = number), "
    "consented_at, finished_at, stopped FROM participant"
)


def _participant(row: tuple) -> Participant:
    number, name, via, plan, *rest = row
    return Participant(number, name, via, tuple(json.loads(plan)), *rest)


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def ratings(study: Study | str | Path) -> pd.DataFrame:
    """Every rating of a study, one line per participant x item x question, in the order they were given.

    Columns: COLUMNS. ``participant`` opaque id, ``rating`` int 1..5, ``at`` ISO UTC, ``watched`` shares of the video's
    length that were played, ``seconds`` from page to answer, ``repeats`` the item that a repeat repeats, else None.
    Ratings that a participant had erased are not there; those of one who stopped and kept them are.
    """
    import pandas as pd

    study = study if isinstance(study, Study) else load(study)
    rows = []
    if study.database.exists():
        try:
            with contextlib.closing(sqlite3.connect(study.database, timeout=10)) as db:
                rows = db.execute(
                    "SELECT id, item, question, rating, at, watched, seconds FROM rating "
                    "JOIN participant ON participant.number = rating.participant ORDER BY number, at, item, question"
                ).fetchall()
        except sqlite3.Error as error:
            raise StudyError(f"{study.database}: cannot be read ({error}); take {DATABASE} from a copy") from None
    table = []
    for name, item, question, rating, at, watched, seconds in rows:
        of = study.items[item]
        line = (name, item, of.clip, of.method, of.kind, question, rating, at, watched, seconds, of.repeats)
        table.append(line)
    return pd.DataFrame(table, columns=list(COLUMNS))
