"""Attention checks: who is left out of a study's main table, by rules that stand in study.json before any rating."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING

from results.rows import ResultsError

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Rules:
    """The rules, under these names in study.json's "exclusions"; a participant who breaks one of them is excluded.

    ``desync_lip_sync_from``: the true video with another moment's sound was given this lip sync rating or a higher one,
    on more than half of such items. ``repeat_apart_over``: an item shown twice was rated more than this many points
    apart on some question, on more than half of such items. ``watched_share`` and ``watched_items``: less than this
    share of the rated videos was played for at least this share of its length. Items whose playing time is not known
    (NaN) and checks that a participant has not reached break no rule.
    """

    desync_lip_sync_from: int = 4
    repeat_apart_over: int = 2
    watched_share: float = 0.9
    watched_items: float = 0.8

    @property
    def texts(self) -> tuple[str, ...]:
        """Each rule as a sentence."""
        return (
            f"Desynchronised truth: lip sync rated {self.desync_lip_sync_from} or higher on more than half of the true "
            "videos whose sound was moved.",
            f"Repeated item: some question rated more than {self.repeat_apart_over} points apart on more than half of "
            "the items shown twice.",
            f"Not watched: less than {100 * self.watched_items:g} % of the rated videos played for at least "
            f"{100 * self.watched_share:g} % of their length.",
        )


@dataclass(frozen=True)
class Check:
    """One participant: what the checks found. None where there was nothing to check. ``reasons`` is empty for those
    who stay.
    """

    participant: str
    n_ratings: int
    desync: tuple[int, ...]
    apart: tuple[int, ...]
    watched: float | None
    reasons: tuple[str, ...]


def rules_of(study: Mapping) -> tuple[Rules, bool]:
    """The rules in ``study["exclusions"]`` and whether they stand there; the defaults for what is left out.

    Raises :class:`ResultsError` for a name that is no rule or a value that is no number.
    """
    given = study.get("exclusions")
    if given is None:
        return Rules(), False
    known = {field.name for field in fields(Rules)}
    for name, value in given.items():
        if name not in known:
            raise ResultsError(f"study.json: exclusions: unknown rule {name!r}; there are {', '.join(sorted(known))}")
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ResultsError(f"study.json: exclusions: {name} is {value!r}; give a number")
    return Rules(**{**asdict(Rules()), **given}), True


def check(ratings: pd.DataFrame, rules: Rules) -> list[Check]:
    """What the checks say of every participant in the tidy ``ratings`` (all kinds), sorted by participant."""
    return [_check(str(name), given, rules) for name, given in ratings.groupby("participant", sort=True)]


def _check(participant: str, ratings: pd.DataFrame, rules: Rules) -> Check:
    desync = ratings[(ratings["kind"] == "desync") & (ratings["question"] == "lip_sync")]["rating"].tolist()
    apart = _apart(ratings)
    watched = _watched(ratings, rules.watched_share)
    reasons = []
    failed = sum(rating >= rules.desync_lip_sync_from for rating in desync)
    if 2 * failed > len(desync):
        given = ", ".join(map(str, desync))
        reasons.append(f"desynchronised truth: lip sync rated {given}")
    failed = sum(points > rules.repeat_apart_over for points in apart)
    if 2 * failed > len(apart):
        reasons.append(f"repeated item: {', '.join(map(str, apart))} points apart")
    if watched is not None and watched < rules.watched_items:
        long = f"{100 * rules.watched_share:g} % of their length"
        reasons.append(f"not watched: {100 * watched:.0f} % of the videos played for {long}")
    rated = int((ratings["kind"] == "rating").sum())
    return Check(participant, rated, tuple(map(int, desync)), tuple(apart), watched, tuple(reasons))


def _apart(ratings: pd.DataFrame) -> list[int]:
    """For each repeated item rated both times: how far apart the two ratings are at most."""
    first = ratings[ratings["kind"] == "rating"].set_index(["item", "question"])["rating"]
    again = ratings[ratings["kind"] == "repeat"]
    found = []
    for _, asked in again.groupby("item", sort=True):
        points = [
            abs(int(rating) - int(first.loc[original, question]))
            for original, question, rating in zip(asked["repeats"], asked["question"], asked["rating"], strict=True)
            if (original, question) in first.index
        ]
        if points:
            found.append(max(points))
    return found


def _watched(ratings: pd.DataFrame, share: float) -> float | None:
    """The share of rated items that were played for ``share`` of their length; None when no playing time is known."""
    played = ratings.groupby("item")["watched"].max().dropna()
    return float((played >= share).mean()) if len(played) else None
