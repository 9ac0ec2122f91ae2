"""The answer to "how many participants?": in words, as a table over differences and videos, and as a plot."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from results import formats
from results.drawing import COLOURS, FAINT, new_figure, save, styled
from results.filling import environment
from results.opinion_power import (
    Question,
    Variances,
    ceiling,
    participants_for,
    power,
    smallest_difference,
    videos_for,
)
from results.rows import write_atomic
from results.table import Cell, Column, Group, Table, TableRow

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DIFFERENCES = (0.1, 0.2, 0.3, 0.5, 0.75, 1.0)
VIDEOS = (10, 20, 40, 80, 160, 320)
PAPER = 40  # participants of the paper's study
NONE = "none"
TABLE_NOTE = (
    '"none": no number of participants suffices with so many videos; what remains is how differently the methods do on '
    "different videos, and only more videos help."
)


def answer(variances: Variances, question: Question, source: str) -> str:
    """The whole answer as Markdown: the sentences, then the table."""
    tables = [formats.to_markdown(table) for table in (grid(variances, question), doubt(variances, question))]
    return "\n\n".join([*sentences(variances, question, source), *tables])


def sentences(variances: Variances, question: Question, source: str) -> list[str]:
    """The answer in words, a paragraph each."""
    q = question
    needed = participants_for(variances, q)
    aim = f"a difference of {q.difference:g} points on {q.videos} videos with a power of {q.power:g}"
    if needed is None:
        first = (
            f"No number of participants shows {aim}: the power stays below {ceiling(variances, q):.2f}. "
            + _more_videos(variances, q)
        )
    else:
        first = f"{needed} participants show {aim}."
    each = f"One comparison at level {q.level:g}."
    if q.tests > 1:
        each = (
            f"Level {q.level:g} for {q.tests} comparisons together: each is tested at {q.level / q.tests:.2g} (the "
            "strictest step of Holm's correction)."
        )
        alone = participants_for(variances, replace(q, tests=1))
        each += f" For one comparison planned beforehand: {alone if alone is not None else 'no number suffices'}"
        each += " participants." if alone is not None else "."
    smallest = smallest_difference(variances, q, PAPER)
    measured = (
        f"Variances of one method's ratings, in squared points: participant x method {variances.participant:.3g}, clip "
        f"x method {variances.clip:.3g}, residual {variances.residual:.3g} ({source})."
    )
    reach = (
        f"With {PAPER} participants, as many as in the paper's study, on {q.videos} videos the smallest difference "
        f"with that power is {smallest:.2f} points."
    )
    return [first, each, reach, measured]


def _more_videos(variances: Variances, question: Question) -> str:
    at_least = videos_for(variances, question)
    if at_least is None:
        return "Neither does any number of videos."
    plan = next((n for n in (PAPER, 100, 400, 1600) if videos_for(variances, question, n) is not None), None)
    with_plan = f"; with {plan} participants it takes {videos_for(variances, question, plan)}" if plan else ""
    return f"It takes at least {at_least} videos{with_plan}."


def grid(variances: Variances, question: Question) -> Table:
    """Participants needed, a row for each difference and a column for each number of videos."""
    videos = sorted({*VIDEOS, question.videos})
    rows = []
    for difference in sorted({*DIFFERENCES, question.difference}):
        asked = [replace(question, difference=difference, videos=n) for n in videos]
        rows.append(TableRow(f"{difference:g}", (tuple(_cell(participants_for(variances, q)) for q in asked),)))
    return Table(
        title=f"Participants needed for a power of {question.power:g}",
        stub="difference",
        groups=(Group("videos", tuple(Column(str(n), str(n)) for n in videos)),),
        rows=tuple(rows),
        remarks=(TABLE_NOTE,),
    )


def doubt(variances: Variances, question: Question) -> Table:
    """The same for the difference asked about, if the variances were other than they are thought to be."""
    videos = sorted({*VIDEOS, question.videos})
    cases = [
        ("as stated", variances),
        ("clip x method halved", replace(variances, clip=variances.clip / 2)),
        ("clip x method a quarter", replace(variances, clip=variances.clip / 4)),
        ("no clip x method", replace(variances, clip=0.0)),
        ("participant x method halved", replace(variances, participant=variances.participant / 2)),
        ("all doubled", Variances(*(2 * v for v in (variances.participant, variances.clip, variances.residual)))),
    ]
    rows = [
        TableRow(name, (tuple(_cell(participants_for(case, replace(question, videos=n))) for n in videos),))
        for name, case in cases
    ]
    return Table(
        title=f"Participants needed for a difference of {question.difference:g}, should the variances be others",
        stub="variances",
        groups=(Group("videos", tuple(Column(str(n), str(n)) for n in videos)),),
        rows=tuple(rows),
    )


def write(variances: Variances, question: Question, source: str, out: Path) -> list[Path]:
    """Write power.md, power.csv, power.png and power.html to ``out``."""
    save(curves(variances, question), out / "power.png")
    templates = environment()
    templates.filters["breakable"] = lambda name: name  # numbers stay in one piece
    page = templates.get_template("opinion_power.html").render(
        sentences=sentences(variances, question, source),
        tables=[grid(variances, question), doubt(variances, question)],
    )
    texts = {
        "power.md": f"# How many participants?\n\n{answer(variances, question, source)}",
        "power.csv": _csv(variances, question),
        "power.html": page,
    }
    for name, text in texts.items():
        write_atomic(out / name, text.encode())
    return sorted(out / name for name in (*texts, "power.png"))


@styled
def curves(variances: Variances, question: Question) -> Figure:
    """Power against the number of participants: left for the difference asked about on several numbers of videos,
    right for several differences on the number of videos asked about. Dotted: where each curve ends.
    """
    import numpy as np

    people = np.unique(np.geomspace(3, 1000, 60).round().astype(int))
    figure, grid_of_axes = new_figure(1, 2, 9.2, 3.5)
    videos = [n for n in sorted({*VIDEOS, question.videos}) if n != 10 or question.videos == 10]
    differences = sorted({0.2, 0.3, 0.5, 0.75, 1.0, question.difference})
    panels = (
        (f"a difference of {question.difference:g}", [(f"{n} videos", replace(question, videos=n)) for n in videos]),
        (
            f"{question.videos} videos",
            [(f"{d:g} point{'s' if d != 1 else ''}", replace(question, difference=d)) for d in differences],
        ),
    )
    for axes, (title, lines) in zip(grid_of_axes[0], panels, strict=True):
        ends = []
        for (label, asked), tint in zip(lines, COLOURS * 2, strict=False):
            level = asked.level / asked.tests
            found = [power(variances, asked.difference, int(n), asked.videos, level) for n in people]
            emphasised = asked == question
            axes.plot(people, found, color=tint, lw=2.4 if emphasised else 1.4)
            top = ceiling(variances, asked)
            axes.plot([people[-1], 1250], [found[-1], top], color=tint, lw=1, ls=(0, (1, 1.5)))
            ends.append([top, label, tint, emphasised])
        for height, (_, label, tint, emphasised) in zip(_apart([e[0] for e in ends]), ends, strict=True):
            weight = "bold" if emphasised else "normal"
            axes.text(1350, height, label, color=tint, fontsize=7.5, va="center", fontweight=weight, clip_on=False)
        axes.axhline(question.power, color="#888888", lw=0.8, ls=(0, (4, 3)), zorder=1)
        axes.set_xscale("log")
        axes.set_xlim(3, 1250)
        axes.set_ylim(0, 1.02)
        axes.set_xticks([3, 10, 30, 100, 300, 1000], ["3", "10", "30", "100", "300", "1000"])
        axes.minorticks_off()
        axes.grid(color=FAINT, lw=0.6)
        axes.set_title(title, fontweight="bold")
        axes.set_xlabel("participants")
        axes.set_ylabel("power")
    figure.suptitle(
        f"Power of a paired comparison, one of {question.tests} at level {question.level:g} together", x=0.01, ha="left"
    )
    return figure


def _apart(heights: list[float], least: float = 0.055) -> list[float]:
    """``heights`` moved so that labels there do not touch, their order kept."""
    order = sorted(range(len(heights)), key=lambda i: (heights[i], i))
    placed = dict(zip(order, sorted(heights), strict=True))
    for lower, upper in pairwise(order):
        placed[upper] = max(placed[upper], placed[lower] + least)
    over = max(0.0, max(placed.values(), default=0.0) - 1.0)
    for upper, lower in zip([None, *order[::-1]], order[::-1], strict=False):
        placed[lower] = min(placed[lower], 1.0 if upper is None else placed[upper] - least) if over else placed[lower]
    return [placed[i] for i in range(len(heights))]


def _cell(participants: int | None) -> Cell:
    return Cell(text=NONE if participants is None else str(participants))


def _csv(variances: Variances, question: Question) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("difference", "videos", "power", "level", "tests", "participants", "highest_power"))
    for difference in sorted({*DIFFERENCES, question.difference}):
        for videos in sorted({*VIDEOS, question.videos}):
            q = replace(question, difference=difference, videos=videos)
            needed, top = participants_for(variances, q), ceiling(variances, q)
            amount = "" if needed is None else needed
            writer.writerow((f"{difference:g}", videos, f"{q.power:g}", f"{q.level:g}", q.tests, amount, f"{top:.6g}"))
    return text.getvalue()
