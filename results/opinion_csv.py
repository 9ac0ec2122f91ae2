"""A rating study as CSV, one number a line: mean opinion scores, paired comparisons, attention checks."""

from __future__ import annotations

from collections.abc import Sequence

from results import paper
from results.csv_text import number, written
from results.opinion import Analysis, Opinion
from results.opinion_exclusions import Check
from results.opinion_variance import Mean

MOS = (
    *("method", "kind", "block", "data", "participants", "question", "label", "mos", "ci_lo", "ci_hi", "se", "df"),
    *("n_ratings", "n_participants", "n_clips", "source", "better", "note"),
)
COMPARISONS = (
    *("question", "a", "b", "block", "data", "participants", "difference", "ci_lo", "ci_hi", "se", "df", "p", "p_holm"),
    *("d_z", "share_a_higher", "share_equal", "share_b_higher", "n_pairs", "n_participants", "n_clips", "verdict"),
    "note",
)
CHECKS = ("participant", "n_ratings", "desync_lip_sync", "repeat_apart", "watched", "excluded", "reasons")
KEPT, EVERYONE = "without the excluded", "all"


def means(opinion: Opinion, *, published: bool = False) -> str:
    """Every mean opinion score, one a line, with ``published`` also the paper's; see ``MOS``."""
    about, lines = opinion.about, []
    for who, analysis in _sets(opinion):
        for (method, question), mean in analysis.means.items():
            label = next(q.label for q in about.questions if q.name == question)
            kind = "control" if method in about.controls else "method"
            lines.append(
                {"method": method, "kind": kind, "block": about.block, "data": about.data, "participants": who}
                | {"question": question, "label": label, "source": "study", "better": "higher"}
                | _numbers(mean, "mos", "n_ratings")
            )
    for item in paper.load(2) if published else ():
        lines.append(
            {"method": item.method, "block": item.block, "data": "as published", "label": item.metric}
            | {"mos": item.text, "source": "published", "better": item.better, "note": item.note}
        )
    return written(MOS, lines)


def comparisons(opinion: Opinion) -> str:
    """Every paired comparison, one a line; see ``COMPARISONS``."""
    about, lines = opinion.about, []
    for who, analysis in _sets(opinion):
        for c in analysis.comparisons:
            lines.append(
                {"question": c.question, "a": c.a, "b": c.b, "block": about.block, "data": about.data}
                | {"participants": who, "p": number(c.mean.p), "p_holm": number(c.p), "d_z": number(c.d)}
                | {
                    "share_a_higher": number(c.higher),
                    "share_equal": number(c.equal),
                    "share_b_higher": number(c.lower),
                }
                | {"verdict": c.verdict}
                | _numbers(c.mean, "difference", "n_pairs")
            )
    return written(COMPARISONS, lines)


def checks(found: Sequence[Check]) -> str:
    """What the attention checks found of every participant; see ``CHECKS``."""
    return written(
        CHECKS,
        [
            {
                "participant": check.participant,
                "n_ratings": check.n_ratings,
                "desync_lip_sync": " ".join(map(str, check.desync)),
                "repeat_apart": " ".join(map(str, check.apart)),
                "watched": number(check.watched),
                "excluded": "yes" if check.reasons else "no",
                "reasons": "; ".join(check.reasons),
            }
            for check in found
        ],
    )


def _sets(opinion: Opinion) -> list[tuple[str, Analysis]]:
    return [(KEPT if opinion.excluded else EVERYONE, opinion.main)] + (
        [(EVERYONE, opinion.everyone)] if opinion.everyone else []
    )


def _numbers(mean: Mean, value: str, n: str) -> dict:
    return {
        value: number(mean.mean),
        "ci_lo": number(mean.lo),
        "ci_hi": number(mean.hi),
        "se": number(mean.se),
        "df": number(mean.df),
        n: mean.n,
        "n_participants": mean.n_participants,
        "n_clips": mean.n_clips,
        "note": f"no interval: {mean.reason}" if mean.reason else "",
    }
