"""Pictures of a rating study: means with intervals, the ratings themselves, and paired differences.

Every function returns a matplotlib figure, or None where there is nothing to show; see ``results.drawing``.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING

from results.drawing import FAINT, INK, colour, forest, new_figure, panels, short, styled
from results.opinion import SCALE, Opinion, Question
from results.opinion_tables import counts, ordered, sorted_pairs
from results.statistics import Estimate

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from results.opinion_variance import Mean

#: from the lowest rating to the highest: diverging, readable without colour vision, grey in the middle
SHADES = ("#B2601A", "#E5B280", "#D9D9D9", "#8DBBDD", "#2368A2")
TITLE = {"fontweight": "bold", "fontsize": 8.5}
DIFFERENT, ALIKE = "#0072B2", "#8A8A8A"


@styled
def means(opinion: Opinion) -> Figure | None:
    """Mean opinion score and interval of every method, a panel for each question, all on the scale from 1 to 5."""
    methods, palette = _methods(opinion)

    def draw(axes: Axes, question: Question, shown: list[str]) -> None:
        found = {method: _estimate(opinion.main.means[method, question.name]) for method in shown}
        forest(axes, palette, shown, found, filled=lambda method: True)
        axes.set_xlim(SCALE[0] - 0.1, SCALE[1] + 0.1)
        axes.set_title(f"{question.label} ↑", **TITLE)
        axes.set_xlabel("mean opinion score")

    title = f"{opinion.about.shown.text}: mean opinion score with 95 % interval; {counts(opinion.main)}"
    figure = panels(list(opinion.about.questions), methods, draw, title, palette)
    for axes in figure.axes if figure is not None else ():
        axes.set_xticks(range(SCALE[0], SCALE[1] + 1))
    return figure


@styled
def ratings(opinion: Opinion) -> Figure | None:
    """How often each rating was given: a bar of shares for each method, a panel for each question."""
    methods, palette = _methods(opinion)
    table, values = opinion.main.ratings, range(SCALE[0], SCALE[1] + 1)

    def draw(axes: Axes, question: Question, shown: list[str]) -> None:
        asked = table[table["question"] == question.name]
        for y, method in enumerate(shown):
            given = asked["rating"][asked["method"] == method]
            left = 0.0
            for value, shade in zip(values, SHADES, strict=True):
                share = 100 * float((given == value).mean()) if len(given) else 0.0
                axes.barh(y, share, left=left, height=0.72, color=shade, edgecolor="white", linewidth=0.6)
                if share >= 9:
                    ink = "white" if value in SCALE else INK
                    axes.text(left + share / 2, y, f"{share:.0f}", ha="center", va="center", fontsize=7, color=ink)
                left += share
        axes.set_xlim(0, 100)
        axes.set_title(question.label, **TITLE)
        axes.set_xlabel("share of ratings, %")

    title = f"{opinion.about.shown.text}: the ratings given; {counts(opinion.main)}"
    figure = panels(list(opinion.about.questions), methods, draw, title, palette)
    if figure is not None:
        from matplotlib.patches import Patch

        keys = [Patch(facecolor=shade, label=str(value)) for value, shade in zip(values, SHADES, strict=True)]
        figure.legend(
            handles=keys, loc="outside lower right", ncols=len(keys), frameon=False, handlelength=1.1, title="rating"
        )
    return figure


@styled
def differences(opinion: Opinion) -> Figure | None:
    """Paired differences of all pairs, a panel for each question; None when there is one method only."""
    listed = sorted_pairs(opinion.main)
    pairs, split = [pair[:2] for pair in listed], sum(not with_control for *_, with_control in listed)
    found = {(c.question, c.a, c.b): c for c in opinion.main.comparisons}
    if not pairs:
        return None
    questions = opinion.about.questions
    height = 0.24 * max(len(pairs), 2) + 1.25
    figure, grid = new_figure(1, len(questions), max(2.3 * len(questions) + 1.8, 6.4), height)
    reach = max([0.5, *(abs(v) for c in found.values() for v in (c.mean.lo, c.mean.hi, c.mean.mean) if v is not None)])
    for axes, question in zip(grid[0], questions, strict=True):
        for y, (a, b) in enumerate(pairs):
            c = found[question.name, a, b]
            if c.mean.mean is None:
                continue
            tint = DIFFERENT if c.verdict in ("better", "worse") else ALIKE
            if c.mean.lo is not None:
                axes.plot([c.mean.lo, c.mean.hi], [y, y], color=tint, lw=2, solid_capstyle="round", alpha=0.75)
            face = tint if tint == DIFFERENT else "white"
            axes.plot([c.mean.mean], [y], "o", mfc=face, mec=tint, mew=1.4, ms=5)
        axes.axvline(0, color="#555555", lw=0.9, zorder=1)
        if 0 < split < len(pairs):
            axes.axhline(split - 0.5, color="#BBBBBB", lw=0.8)
        axes.set_xlim(-1.08 * reach, 1.08 * reach)
        axes.set_ylim(len(pairs) - 0.4, -0.6)
        first = axes is grid[0][0]
        axes.set_yticks(range(len(pairs)), [f"{short(a)} − {short(b)}" if first else "" for a, b in pairs])
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="x", color=FAINT, lw=0.6)
        axes.set_title(f"Δ {question.label}", **TITLE)
        axes.locator_params(axis="x", nbins=7)
        axes.set_xlabel("← second better · first better →", fontsize=7.5)
    figure.suptitle(f"{opinion.about.shown.text}: paired differences with 95 % interval", x=0.01, ha="left")
    return figure


def colours(opinion: Opinion) -> dict[str, str]:
    """The colour of each method, the same in tables and pictures."""
    palette = SimpleNamespace(methods=ordered(opinion.about), controls=opinion.about.controls)
    return {method: colour(palette, method) for method in palette.methods}


def _methods(opinion: Opinion) -> tuple[list[str], SimpleNamespace]:
    """The methods that were rated, and what ``results.drawing`` asks of a summary: the order and the controls."""
    palette = SimpleNamespace(methods=ordered(opinion.about), controls=opinion.about.controls)
    rated = {method for method, _ in opinion.main.means}
    return [method for method in palette.methods if method in rated], palette


def _estimate(mean: Mean) -> Estimate:
    return Estimate(mean.mean, mean.lo, mean.hi, mean.n, 0, mean.n_clips, mean.reason or None)
