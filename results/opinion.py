"""A rating study analysed: mean opinion scores, paired comparisons, agreement, and who was left out.

It begins at the tidy table of a study, one line for each participant, item and question (see ``COLUMNS``), and the
content of its study.json. Participants and clips are both taken for samples of larger populations: what is estimated
is what other people would say of other clips (``results.opinion_variance``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from results import opinion_agreement, opinion_exclusions
from results.opinion_agreement import Agreement
from results.opinion_exclusions import Check, Rules
from results.opinion_variance import Mean, holm, mean_of
from results.rows import ResultsError
from results.runs import Block

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ("participant", "item", "clip", "method", "kind", "repeats", "question", "rating", "watched", "at")
KINDS = ("rating", "desync", "repeat")
SCALE = (1, 5)
ALPHA = 0.05
FULL, PUPPETS = "full", "puppets"


class NoRatings(ResultsError):
    """There is nothing to analyse; the message says why in one line."""


@dataclass(frozen=True)
class Question:
    """``label`` stands in tables, ``name`` in files; ``ask`` is what participants read."""

    name: str
    label: str
    ask: str


@dataclass(frozen=True)
class About:
    """What study.json says. ``data``: "puppets", "sample" or "full"; ``block``: the data set's name, "" when unknown.

    ``people``: how many different people the clips show, 0 when unknown. ``methods`` in the order of the study;
    ``controls`` those of them that are no methods (truth, still, ...).
    """

    title: str
    block: str
    data: str
    questions: tuple[Question, ...]
    methods: tuple[str, ...]
    controls: tuple[str, ...]
    clips: tuple[str, ...]
    rules: Rules
    rules_given: bool
    people: int
    facts: tuple[tuple[str, str], ...]

    @property
    def mark(self) -> str:
        """The word that has to stand beside every number, "" for the full data."""
        return "" if self.data == FULL else self.data

    @property
    def shown(self) -> Block:
        """The data that the clips are of, whose name says the mark where it can."""
        return Block(self.block or "User study", self.data)


@dataclass(frozen=True)
class Comparison:
    """Method ``a`` minus method ``b`` over the clips that one participant rated under both.

    ``p`` is Holm's, corrected for all pairs of methods and all questions; pairs with a control (``with_control``) are
    corrected for themselves, so that controls in a study do not make its methods harder to tell apart. ``d``: the mean
    difference over the standard deviation of the single ones (Cohen's d_z), None when that is 0. ``higher``,
    ``equal``, ``lower``: the shares of pairs in which a was rated above, like and below b. ``verdict``: "better" or
    "worse" (a than b) where p < 0.05, "unclear" where not, "unavailable" without an interval.
    """

    question: str
    a: str
    b: str
    mean: Mean
    p: float | None
    d: float | None
    higher: float
    equal: float
    lower: float
    with_control: bool

    @property
    def verdict(self) -> str:
        if self.p is None:
            return "unavailable"
        if self.p >= ALPHA:
            return "unclear"
        return "better" if self.mean.mean > 0 else "worse"


@dataclass(frozen=True)
class Analysis:
    """All numbers of one set of participants. ``means``: by method and question; ``best``: by question, the method
    that a corrected comparison puts above the second best (controls aside), else left out.
    """

    participants: tuple[str, ...]
    clips: tuple[str, ...]
    ratings: pd.DataFrame
    means: Mapping[tuple[str, str], Mean]
    comparisons: tuple[Comparison, ...]
    alphas: Mapping[str, Agreement]
    iccs: Mapping[str, tuple[Agreement, Agreement, float]]
    best: Mapping[str, str]


@dataclass(frozen=True)
class Opinion:
    """``main``: without the excluded; ``everyone``: with them, None when nobody is excluded."""

    about: About
    main: Analysis
    everyone: Analysis | None
    checks: tuple[Check, ...]
    notes: tuple[str, ...]

    @property
    def excluded(self) -> tuple[Check, ...]:
        return tuple(check for check in self.checks if check.reasons)


def about(study: Mapping) -> About:
    """What study.json says about the study. Raises :class:`ResultsError` naming what it lacks."""
    try:
        questions = tuple(Question(q["name"], q["label"], q.get("ask", q["label"])) for q in study["questions"])
        listed = [m if isinstance(m, Mapping) else {"name": m} for m in study["methods"]]
        methods = tuple(m["name"] for m in listed)
        clips = tuple(c if isinstance(c, str) else c["clip"] for c in study["clips"])
    except (KeyError, TypeError) as error:
        raise ResultsError(f"study.json: {error} is missing or of another form; build the study again") from None
    rules, given = opinion_exclusions.rules_of(study)
    runs = [run for run in study.get("runs", ()) if isinstance(run, Mapping)]
    return About(
        title=study.get("title") or "User study",
        block=_one(study, runs, "block"),
        data=_one(study, runs, "data") or "data of unknown kind",
        questions=questions,
        methods=methods,
        controls=tuple(m["name"] for m in listed if m.get("kind") == "control"),
        clips=clips,
        rules=rules,
        rules_given=given,
        people=len(set((study.get("identities") or {}).values())),
        facts=_facts(study, runs),
    )


def analyse(ratings: pd.DataFrame, study: Mapping) -> Opinion:
    """Everything that the report shows, from the tidy ``ratings`` and the content of study.json.

    Raises :class:`NoRatings` when there are none or nobody passes the checks, :class:`ResultsError` for a broken table.
    """
    described = about(study)
    check_table(ratings, described)
    if not (ratings["kind"] == "rating").any():
        raise NoRatings("no ratings yet: there is nothing to analyse, and no table is written")
    checks = tuple(opinion_exclusions.check(ratings, described.rules))
    out = {check.participant for check in checks if check.reasons}
    kept = ratings[~ratings["participant"].astype(str).isin(out)]
    if not (kept["kind"] == "rating").any():
        raise NoRatings(
            f"all {len(out)} participants fail the attention checks: no table is written; checks.csv says why"
        )
    rated = set(ratings["method"][ratings["kind"] == "rating"])
    notes = [f"{method}: no rating." for method in described.methods if method not in rated]
    if not described.rules_given:
        notes.append("study.json states no rules of exclusion; the default ones are applied.")
    if 0 < described.people < len(described.clips):
        notes.append(
            f"{len(described.clips)} clips show {described.people} people; intervals take clips for independent and "
            "are too narrow where clips of one person are rated alike."
        )
    return Opinion(described, _of(kept, described), _of(ratings, described) if out else None, checks, tuple(notes))


def check_table(ratings: pd.DataFrame, described: About) -> None:
    """Raise :class:`ResultsError` unless the table is one that the numbers can be trusted of."""
    if missing := [name for name in COLUMNS if name not in ratings.columns]:
        raise ResultsError(f"ratings: column {', '.join(missing)} is missing; take them from the study's database")
    if not len(ratings):
        return
    for column, known in (
        ("kind", KINDS),
        ("question", [q.name for q in described.questions]),
        ("clip", described.clips),
        ("rating", range(SCALE[0], SCALE[1] + 1)),
    ):
        if strange := sorted({str(value) for value in ratings[column][~ratings[column].isin(known)]}):
            raise ResultsError(f"ratings: {column} {strange[0]} is none of this study's; take them from its database")
    rated = ratings[ratings["kind"] == "rating"]
    if strange := sorted(set(rated["method"].astype(str)) - set(described.methods)):
        raise ResultsError(f"ratings: method {strange[0]} is none of this study's; take them from its database")
    twice = rated.duplicated(["participant", "clip", "method", "question"])
    if twice.any():
        line = rated[twice].iloc[0]
        raise ResultsError(
            f"ratings: participant {line['participant']} rated {line['clip']} under {line['method']} twice; "
            "a second showing is of kind 'repeat'"
        )


def _of(ratings: pd.DataFrame, described: About) -> Analysis:
    ratings = ratings[ratings["kind"] == "rating"]
    participants = sorted(set(ratings["participant"].astype(str)))
    present = set(ratings["clip"])
    clips = [clip for clip in described.clips if clip in present]
    methods = [method for method in described.methods if method in set(ratings["method"])]
    cells = {
        (method, question.name): grid(ratings, question.name, method, participants, clips)
        for method in methods
        for question in described.questions
    }
    comparisons = _comparisons(cells, methods, described)
    alphas, iccs = {}, {}
    for question in described.questions:
        stacked = np.concatenate([cells[method, question.name] for method in methods], axis=1)
        alphas[question.name] = opinion_agreement.alpha(stacked, clips * len(methods), SCALE)
        iccs[question.name] = opinion_agreement.icc(stacked)
    means = {key: mean_of(cell, limits=SCALE) for key, cell in cells.items()}
    best = _best(means, comparisons, [m for m in methods if m not in described.controls], described)
    return Analysis(tuple(participants), tuple(clips), ratings, means, comparisons, alphas, iccs, best)


def grid(ratings: pd.DataFrame, question: str, method: str, participants: list[str], clips: list[str]) -> np.ndarray:
    """The ratings of one method and question as (participants, clips), NaN where there is none."""
    asked = ratings[(ratings["question"] == question) & (ratings["method"] == method)]
    rows = {name: i for i, name in enumerate(participants)}
    columns = {name: j for j, name in enumerate(clips)}
    found = np.full((len(participants), len(clips)), np.nan)
    found[[rows[name] for name in asked["participant"].astype(str)], [columns[name] for name in asked["clip"]]] = asked[
        "rating"
    ].to_numpy(dtype=float)
    return found


def _comparisons(cells: Mapping, methods: list[str], described: About) -> tuple[Comparison, ...]:
    pairs = [(q.name, a, b) for q in described.questions for a, b in combinations(methods, 2)]
    differences = [cells[a, question] - cells[b, question] for question, a, b in pairs]
    means = [mean_of(difference) for difference in differences]
    with_control = [a in described.controls or b in described.controls for _, a, b in pairs]
    corrected: dict[int, float | None] = {}
    for family in (False, True):
        members = [i for i, of in enumerate(with_control) if of is family]
        corrected |= zip(members, holm([means[i].p for i in members]), strict=True)
    return tuple(
        Comparison(*pair, means[i], corrected[i], *_sizes(differences[i]), with_control[i])
        for i, pair in enumerate(pairs)
    )


def _sizes(difference: np.ndarray) -> tuple[float | None, float, float, float]:
    """d_z, and the shares of differences above, at and below 0."""
    given = difference[~np.isnan(difference)]
    if not len(given):
        return None, 0.0, 0.0, 0.0
    spread = float(given.std(ddof=1)) if len(given) > 1 else 0.0
    shares = (float((given > 0).mean()), float((given == 0).mean()), float((given < 0).mean()))
    return (float(given.mean()) / spread if spread else None), *shares


def _best(means: Mapping, comparisons: tuple[Comparison, ...], methods: list[str], described: About) -> dict[str, str]:
    found = {}
    for question in (q.name for q in described.questions):
        ranked = [m for m in methods if means[m, question].mean is not None]
        ranked.sort(key=lambda method: -means[method, question].mean)
        if len(ranked) < 2:
            continue
        verdicts = {frozenset((c.a, c.b)): c for c in comparisons if c.question == question}
        top = verdicts[frozenset(ranked[:2])]
        if top.verdict == ("better" if top.a == ranked[0] else "worse"):
            found[question] = ranked[0]
    return found


def _one(study: Mapping, runs: list[Mapping], key: str) -> str:
    """``study[key]``, or what its runs agree on under that name."""
    found = [study[key]] if study.get(key) else sorted({str(run[key]) for run in runs if run.get(key)})
    return " and ".join(map(str, found))


def _facts(study: Mapping, runs: list[Mapping]) -> tuple[tuple[str, str], ...]:
    """What it takes to say which study this is, as (name, value) pairs; what study.json lacks is left out."""
    versions = ", ".join(f"{name} {version}" for name, version in (study.get("versions") or {}).items())
    design = ", ".join(
        f"{name} {value}" for name, value in (study.get("design") or {}).items() if name != "desync_clips"
    )
    found = [
        ("study", study.get("study")),
        ("made", study.get("created_at")),
        ("seed", study.get("seed")),
        ("design", design),
        ("git commit", study.get("git_commit")),
        ("versions", versions),
    ]
    for run in runs:
        method, clips = run.get("method") or {}, run.get("list") or {}
        text = f"{run.get('protocol', '?')}, list {clips.get('name', '?')} version {clips.get('version', '?')}"
        name = method.get("name", "?") if isinstance(method, Mapping) else method
        found.append((f"run of {name}", f"{text}, sha256 {clips.get('sha256', '?')}"))
    return tuple((name, str(value)) for name, value in found if value not in (None, ""))
