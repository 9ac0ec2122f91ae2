"""Table 2 made from a rating study, the paired comparisons, the agreement, and the paper's own Table 2."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from results import paper, published_table
from results.opinion import About, Analysis, Comparison, Opinion
from results.opinion_agreement import Agreement
from results.opinion_variance import Mean
from results.table import Cell, Column, Group, Notes, Table, TableRow

INTERVAL_NOTE = (
    "Brackets: 95 % interval of the mean opinion score with participants and clips both taken for samples (crossed "
    "variance components by moments, Satterthwaite's t), cut at the scale's ends. It says where the mean of other "
    "people on other clips lies."
)
BOLD_NOTE = (
    "Bold: the best method (controls aside), where a paired comparison, Holm-corrected over all pairs of methods and "
    "all questions, puts it above the second best."
)
PAIRED_NOTE = (
    "First minus second, over the clips that one person rated under both, with its 95 % interval (not corrected). p: "
    "of no difference, Holm-corrected over all pairs of methods and all questions; pairs with a control are corrected "
    "for themselves. ▲ the first is better, ▼ the second is: p < 0.05; "
    "no mark: nothing can be said. d: mean over standard deviation of the single differences. Last column: the share "
    "of pairs in which the first was rated above, like and below the second."
)
AGREEMENT_NOTE = (
    "Krippendorff's alpha for ordinal ratings, interval over clips; ICC(2,1) of a single rating and ICC(2,k) of the "
    "mean of k raters, after Shrout & Fleiss (1979). They say how far two people, or two panels, would agree; a low "
    "alpha does not make a mean uncertain, its interval says that."
)
PUBLISHED_NOTE = (
    f"Published, not measured here: {paper.CITATION}. A study of 40 people on 20 videos. Who they were, which videos, "
    "how the questions were worded and how uncertain the means are is not stated; the paper's text calls the third "
    "question video realness. Ratings of two studies are not on one scale."
)


def means(opinion: Opinion, analysis: Analysis, title: str) -> Table:
    """Mean opinion scores of ``analysis``, a row for each method, a column for each question."""
    about, notes = opinion.about, Notes()
    columns = (Column("n", "ratings"), *(Column(q.name, q.label, "higher", 2) for q in about.questions))
    rows = []
    for method in ordered(about):
        if not any(name == method for name, _ in analysis.means):
            rows.append(_unrated(method, columns, about, notes))
            continue
        found = [analysis.means[method, q.name] for q in about.questions]
        cells = [Cell(text=" / ".join(dict.fromkeys(str(mean.n) for mean in found)))]
        cells += [
            _mean_cell(mean, notes, bold=analysis.best.get(q.name) == method)
            for mean, q in zip(found, about.questions, strict=True)
        ]
        rows.append(TableRow(method, (tuple(cells),), section_of(about, method)))
    said = [data_remark(about)] if about.mark else []
    return Table(
        title=title,
        stub="method",
        groups=(Group(about.shown.name, columns, about.shown.mark),),
        rows=tuple(rows),
        notes=tuple(notes.texts),
        remarks=(counts(analysis), INTERVAL_NOTE, *([BOLD_NOTE] if analysis.best else []), *said),
    )


def comparisons(opinion: Opinion, analysis: Analysis) -> Table | None:
    """Every pair of methods, a group of columns for each question; None when there is one method only."""
    about, notes = opinion.about, Notes()
    found = {(c.question, c.a, c.b): c for c in analysis.comparisons}
    pairs = sorted_pairs(analysis)
    if not pairs:
        return None
    columns = (
        Column("diff", "Δ", "", 2),
        Column("p", "p"),
        Column("d", "d", "", 2),
        Column("shares", "1st / = / 2nd, %"),
    )
    return Table(
        title="Paired comparisons",
        stub="first − second",
        groups=tuple(Group(q.label, columns, about.mark) for q in about.questions),
        rows=tuple(
            TableRow(
                f"{a} − {b}",
                tuple(_pair_cells(found[q.name, a, b], notes) for q in about.questions),
                "with a control" if with_control else "",
            )
            for a, b, with_control in pairs
        ),
        notes=tuple(notes.texts),
        remarks=(PAIRED_NOTE,),
    )


def agreement(opinion: Opinion, analysis: Analysis) -> Table:
    """Krippendorff's alpha and the intraclass correlations, a row for each question."""
    notes = Notes()
    rows = []
    for question in opinion.about.questions:
        single, mean, k = analysis.iccs[question.name]
        cells = [_agreement_cell(found, notes) for found in (analysis.alphas[question.name], single, mean)]
        rows.append(TableRow(question.label, ((*cells, Cell(text=f"{k:.4g}")),)))
    columns = (
        Column("alpha", "Krippendorff's α", "", 2),
        *(Column(key, label, "", 2) for key, label in (("icc1", "ICC(2,1)"), ("icck", "ICC(2,k)"))),
        Column("k", "k"),
    )
    return Table(
        title="Agreement between raters",
        stub="question",
        groups=(Group(counts(analysis), columns, opinion.about.mark),),
        rows=tuple(rows),
        notes=tuple(notes.texts),
        remarks=(AGREEMENT_NOTE,),
    )


def published() -> Table:
    """The paper's Table 2 as printed."""
    return replace(published_table.published(2), remarks=(PUBLISHED_NOTE,))


def sorted_pairs(analysis: Analysis) -> list[tuple[str, str, bool]]:
    """(first, second, whether one is a control) of every pair, those with a control last."""
    return sorted(dict.fromkeys((c.a, c.b, c.with_control) for c in analysis.comparisons), key=lambda pair: pair[2])


def ordered(about: About) -> list[str]:
    """Methods in the study's order, then controls."""
    return sorted(about.methods, key=lambda method: method in about.controls)


def section_of(about: About, method: str) -> str:
    """The heading of the method's row: controls have a section of their own."""
    return "controls" if method in about.controls else ""


def counts(analysis: Analysis) -> str:
    """Participants, clips and ratings in one line."""
    people, clips, ratings = len(analysis.participants), len(analysis.clips), len(analysis.ratings)
    return f"{_plural(people, 'participant')}, {_plural(clips, 'clip')}, {_plural(ratings, 'rating')}"


def data_remark(about: About) -> str:
    """What the data are, in a sentence; for anything but the full data."""
    if about.data == "puppets":
        return "Puppets: procedurally drawn heads; no real face among them."
    if about.data == "sample":
        return f"A sample, not the {about.block or 'full'} test set."
    return f"Data: {about.data}."


def p_text(p: float | None) -> str:
    """A p value as it is printed."""
    if p is None:
        return "–"
    return "< 0.001" if p < 0.001 else f"{p:.3f}" if p < 0.995 else "1"


def _mean_cell(mean: Mean, notes: Notes, *, bold: bool = False, text: str = "") -> Cell:
    why = (notes.number(f"no interval: {mean.reason}"),) if mean.reason else ()
    if mean.mean is None:
        return Cell(text="–", notes=why)
    return Cell(mean.mean, mean.lo, mean.hi, text=text, bold=bold, notes=why)


def _pair_cells(c: Comparison, notes: Notes) -> tuple[Cell, ...]:
    mark = {"better": "▲", "worse": "▼"}.get(c.verdict, "")
    shares = " / ".join(f"{100 * share:.0f}" for share in (c.higher, c.equal, c.lower)) if c.mean.n else "–"
    d = Cell(value=c.d) if c.d is not None else Cell(text="–")
    return _mean_cell(c.mean, notes, text=mark), Cell(text=p_text(c.p)), d, Cell(text=shares)


def _agreement_cell(found: Agreement, notes: Notes) -> Cell:
    why = (notes.number(found.reason),) if found.reason else ()
    if found.value is None:
        return Cell(text="unavailable", notes=why)
    return Cell(found.value, found.lo, found.hi, notes=why)


def _unrated(method: str, columns: Sequence[Column], about: About, notes: Notes) -> TableRow:
    nothing = Cell(text="–", notes=(notes.number("in the study, but not rated yet"),))
    return TableRow(method, ((Cell(text="0"), *(nothing,) * (len(columns) - 1)),), section_of(about, method))


def _plural(n: int, word: str) -> str:
    return f"{n} {word}" + ("s" if n != 1 else "")
