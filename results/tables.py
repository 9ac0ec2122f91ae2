"""Tables: rows of methods, groups of columns, cells that know where their number comes from.

A :class:`Table` is plain data; ``results.formats`` turns it into Markdown, CSV and LaTeX, the report's template into
HTML. Notes are numbered from 1; cells and columns refer to them by number.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from results import paper
from results.runs import Block, Run
from results.statistics import Difference, Estimate
from results.summary import MetricInfo, Summary

MOTIONS = (("lip", "lip"), ("pose", "pose"), ("blink", "eye blink"), ("gaze", "eye gaze"))
_DECIMALS = {"SSIM": 3, "MS-SSIM": 3, "PSNR": 2, "LMD": 2, "LSE-C": 2, "LSE-D": 2}
BOLD_NOTE = "Bold: the best method (controls aside), where a paired 95 % interval says that it beats the second best."
INTERVAL_NOTE = (
    "Brackets: 95 % interval of the mean over clips, bootstrapped over speakers and widened for their small number, so "
    "that it can reach beyond a metric's range. A count such as 7/9 beside a number: only so many of the expected "
    "clips have a value; no count: all have. Column n: clips with a value in every column that the run could compute, "
    "of those expected."
)


@dataclass(frozen=True)
class Column:
    """``decimals`` is None for columns of text; ``better`` is "higher", "lower" or "" for columns without direction."""

    key: str
    label: str
    better: str = ""
    decimals: int | None = None
    notes: tuple[int, ...] = ()

    @property
    def arrow(self) -> str:
        return {"higher": "↑", "lower": "↓"}.get(self.better, "")


@dataclass(frozen=True)
class Group:
    """Columns under one heading; ``mark`` (for example "puppets") stands beside the heading wherever it is shown."""

    label: str
    columns: tuple[Column, ...]
    mark: str = ""


@dataclass(frozen=True)
class Cell:
    """``value`` with ``lo`` and ``hi``, or ``text``. ``check`` is True or False for a check mark, else None.

    ``count`` is what stands beside the number ("7/9"), "" when every expected clip counts.
    """

    value: float | None = None
    lo: float | None = None
    hi: float | None = None
    text: str = ""
    check: bool | None = None
    count: str = ""
    bold: bool = False
    notes: tuple[int, ...] = ()


@dataclass(frozen=True)
class TableRow:
    """``cells`` holds one tuple for each group; ``section`` ("controls", "published", ...) is "" for the first part."""

    label: str
    cells: tuple[tuple[Cell, ...], ...]
    section: str = ""


@dataclass(frozen=True)
class Table:
    """``warnings`` stand above the table; ``notes`` below it, in the order of their numbers, then ``remarks``."""

    title: str
    stub: str
    groups: tuple[Group, ...]
    rows: tuple[TableRow, ...]
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    source: str = "run"

    @property
    def is_checks(self) -> tuple[bool, ...]:
        """For each group whether it holds check marks, and so describes methods instead of measuring them."""
        return tuple(
            bool(self.rows) and all(cell.check is not None for row in self.rows for cell in row.cells[i])
            for i in range(len(self.groups))
        )


@dataclass
class Notes:
    """Collects notes; the same text gets the same number."""

    texts: list[str] = field(default_factory=list)

    def number(self, text: str) -> int:
        if text not in self.texts:
            self.texts.append(text)
        return self.texts.index(text) + 1


def means(summary: Summary, metrics: Sequence[MetricInfo], title: str, *, motions: bool = True) -> Table:
    """The paper's Table 1 made from runs: declared motions, then for each block n and ``metrics`` with intervals.

    ``motions=False`` leaves the left half out, for tables of further metrics.
    """
    notes = Notes()
    groups = []
    if motions:
        declared = (notes.number("as the method declares them; not measured"),)
        groups.append(Group("Controllable motions", tuple(Column(key, text, notes=declared) for key, text in MOTIONS)))
    columns = {metric.name: _column(summary, metric, notes) for metric in metrics}
    groups += [
        Group(block.name, (Column("n", "n"), *(columns[metric.name] for metric in metrics)), block.mark)
        for block in summary.blocks
    ]
    rows = []
    for method in summary.methods:
        controls = {name for run in summary.runs if run.label == method for name in _controls(run)}
        cells = [tuple(Cell(check=key in controls) for key, _ in MOTIONS)] if motions else []
        cells += [
            (_count(summary.run(method, block)), *(_cell(summary, method, block, m, notes) for m in metrics))
            for block in summary.blocks
        ]
        rows.append(TableRow(method, tuple(cells), "controls" if method in summary.controls else ""))
    return Table(
        title=title,
        stub="method",
        groups=tuple(groups),
        rows=tuple(rows),
        warnings=tuple(warnings(summary)),
        notes=tuple(notes.texts),
        remarks=(INTERVAL_NOTE, *([BOLD_NOTE] if summary.best else []), *data_remarks(summary)),
    )


def differences(summary: Summary, metrics: Sequence[MetricInfo]) -> Table | None:
    """Each method minus the baseline, clip by clip; None when there is no baseline to compare with."""
    compared = [method for method in summary.methods if method != summary.baseline]
    metrics = [metric for metric in metrics if not metric.of_set]  # without a value for a clip there is no difference
    if summary.baseline is None or not compared or not metrics:
        return None
    notes = Notes()
    columns = {metric.name: _column(summary, metric, notes, "Δ ") for metric in metrics}
    blocks = [block for block in summary.blocks if summary.run(summary.baseline, block)]
    groups = [Group(block.name, tuple(columns[metric.name] for metric in metrics), block.mark) for block in blocks]
    rows = [
        TableRow(
            method,
            tuple(tuple(_difference(summary, method, block, metric, notes) for metric in metrics) for block in blocks),
            "controls" if method in summary.controls else "",
        )
        for method in compared
    ]
    return Table(
        title=f"Paired differences: each method minus {summary.baseline}",
        stub="method",
        groups=tuple(groups),
        rows=tuple(rows),
        notes=tuple(notes.texts),
        remarks=(
            f"Mean over the clips that both have, with its 95 % interval over speakers. ▲ better and ▼ worse than "
            f"{summary.baseline}: the interval excludes 0. No mark: it does not, and nothing can be said.",
        ),
    )


def published(number: int = 1) -> Table:
    """A table of the paper as printed: no interval, no count, no variant is known."""
    printed = paper.load(number)
    notes = Notes()
    methods = list(dict.fromkeys(item.method for item in printed))
    blocks = list(dict.fromkeys(item.block for item in printed))
    cells = {(item.block, item.method, item.metric): _printed(item, notes) for item in printed}
    groups = []
    for block in blocks:
        columns = {
            item.metric: Column(item.metric, item.metric, item.better) for item in printed if item.block == block
        }
        names = dict(MOTIONS) if block == paper.MOTIONS_BLOCK else {}
        label = "Controllable motions" if names else block
        shown = tuple(Column(c.key, names.get(c.key, c.label), c.better) for c in columns.values())
        groups.append(Group(label, shown, "" if names else "published"))
    rows = [
        TableRow(
            method,
            tuple(
                tuple(cells.get((block, method, column.key), Cell(text="–")) for column in group.columns)
                for block, group in zip(blocks, groups, strict=True)
            ),
        )
        for method in methods
    ]
    return Table(
        title=f"Published: Table {number} of the paper, as printed",
        stub="method",
        groups=tuple(groups),
        rows=tuple(rows),
        notes=tuple(notes.texts),
        remarks=(
            f"Published, not measured here: {paper.CITATION}. The paper states neither the clips nor the exact variant "
            "of each metric, so that these numbers and the ones above are not on one scale.",
        ),
        source="published",
    )


def warnings(summary: Summary) -> list[str]:
    """What has to stand on the face of a table: one line for each incomplete run and each mismatch."""
    found = [
        f"INCOMPLETE: {run.n_scored} of {run.n_expected} clips scored: {run.label} on {run.block.text} ({_counts(run)})"
        for run in summary.incomplete
    ]
    return found + [f"MIXED: {text}" for text in summary.mixed]


def data_remarks(summary: Summary) -> list[str]:
    """What each block is, in words, and notes on single runs."""
    said = []
    for block in summary.blocks:
        if block.data == "sample":
            said.append(f"{block.text}: a sample, not the {block.name} test set.")
        elif block.data == "puppets":
            said.append(
                f"{block.text}: procedurally drawn heads in the layout of {block.name}; no real face among them."
            )
    for run in summary.runs:
        said += [f"{run.label} on {run.block.text}: {note}." for note in run.notes]
    said += [f"{name}: unavailable: {reason}." for name, reason in summary.undescribed.items()]
    return said


def decimals(column: str, values: Sequence[float]) -> int:
    """Digits after the point: fixed for Table 1's metrics, otherwise three to four significant ones."""
    if column in _DECIMALS:
        return _DECIMALS[column]
    largest = max((abs(value) for value in values if abs(value) != float("inf")), default=0.0)
    return next((digits for limit, digits in ((0.1, 4), (2, 3), (100, 2), (1000, 1)) if largest < limit), 0)


def _column(summary: Summary, metric: MetricInfo, notes: Notes, prefix: str = "") -> Column:
    found = [e.mean for (_, _, name), e in summary.estimates.items() if name == metric.name and e.mean is not None]
    version = f" (version {metric.version})" if metric.version else ""
    unit = f", in {metric.unit}" if metric.unit else ""
    text = f"{metric.column}{unit}: {metric.name}{version}"
    if metric.definition:
        text += f": {metric.definition.rstrip('.')}"
    shared = sum(other.column == metric.column for other in summary.metrics) > 1
    label = metric.column if not shared or metric in _preferred(summary) else f"{metric.column} {metric.name}"
    if metric.of_set:
        label += " (set)"
        text += ". One value of the whole set, not a mean over clips; the interval resamples speakers"
    return Column(
        metric.name, prefix + label, metric.better, decimals(metric.column, found), (notes.number(text + "."),)
    )


def _preferred(summary: Summary) -> list[MetricInfo]:
    """For each label the first variant, which keeps the bare label."""
    return list({metric.column: metric for metric in reversed(summary.metrics)}.values())


def _controls(run: Run) -> list[str]:
    return run.info["method"].get("controls") or []


def _count(run: Run | None) -> Cell:
    return Cell(text=f"{run.n_scored}/{run.n_expected}" if run else "–")


def _counts(run: Run) -> str:
    parts = [f"{run.n_failed} failed"] if run.n_failed else []
    return ", ".join(parts + ([f"{run.n_not_run} not run"] if run.n_not_run else []))


def _cell(summary: Summary, method: str, block: Block, metric: MetricInfo, notes: Notes) -> Cell:
    run = summary.run(method, block)
    if run is None:
        return Cell(text="–", notes=(notes.number("not run on this data"),))
    if metric.name in run.unavailable:
        return Cell(text="unavailable", notes=(notes.number(f"unavailable: {run.unavailable[metric.name]}"),))
    if metric.name not in run.info["metrics"]:
        return Cell(text="–", notes=(notes.number("not asked for in this run"),))
    estimate = summary.estimates[method, block, metric.name]
    count = "" if estimate.n == run.n_expected else f"{estimate.n}/{run.n_expected}"
    if metric.of_set:
        return _set_cell(run, metric, estimate, count, notes)
    if estimate.mean is None:
        return Cell(text="failed", count=count, notes=(notes.number(_why_nothing(run, metric)),))
    return Cell(
        value=estimate.mean,
        lo=estimate.lo,
        hi=estimate.hi,
        count=count,
        bold=summary.best.get((block, metric.name)) == method,
        notes=tuple(notes.number(text) for text in _about(estimate)),
    )


def _set_cell(run: Run, metric: MetricInfo, estimate: Estimate, count: str, notes: Notes) -> Cell:
    if estimate.mean is None:
        return Cell(text="unavailable", notes=(notes.number(f"unavailable: {estimate.reason}"),))
    record = run.set_metrics[metric.name]
    said = [f"{record.get('n_frames', '?')} frames", *record.get("notes", ()), *_about(estimate)]
    return Cell(estimate.mean, estimate.lo, estimate.hi, count=count, notes=(notes.number(". ".join(said)),))


def _about(estimate: Estimate) -> list[str]:
    if estimate.n_infinite == estimate.n:
        return ["infinite for every clip, as PSNR is for identical pictures"]
    said = []
    if estimate.n_infinite:
        said.append(f"{estimate.n_infinite} of {estimate.n} clips are infinite and not in the mean")
    if estimate.reason:
        said.append(f"no interval: {estimate.reason}")
    return said


def _why_nothing(run: Run, metric: MetricInfo) -> str:
    reasons = [found.get(metric.name) or found.get("*") for found in run.failures.values()]
    reasons = sorted({reason for reason in reasons if reason})
    more = f" (and {len(reasons) - 1} other reasons)" if len(reasons) > 1 else ""
    return f"failed on every clip: {reasons[0] if reasons else 'no reason given'}{more}"


def _difference(summary: Summary, method: str, block: Block, metric: MetricInfo, notes: Notes) -> Cell:
    difference: Difference | None = summary.differences.get((method, block, metric.name))
    if difference is None:
        return Cell(text="–", notes=(notes.number("not run on this data"),))
    for run in (summary.run(method, block), summary.run(summary.baseline, block)):
        if metric.name in run.unavailable:
            return Cell(text="unavailable", notes=(notes.number(f"unavailable: {run.unavailable[metric.name]}"),))
    estimate = difference.estimate
    if estimate.mean is None:
        return Cell(text="–", notes=(notes.number(estimate.reason),))
    return Cell(
        value=estimate.mean,
        lo=estimate.lo,
        hi=estimate.hi,
        text={"better": "▲", "worse": "▼"}.get(difference.verdict, ""),
        notes=tuple(notes.number(text) for text in _about(estimate)),
    )


def _printed(item: paper.Printed, notes: Notes) -> Cell:
    if item.block == paper.MOTIONS_BLOCK:
        return Cell(check=item.text == "yes")
    return Cell(text=item.text or "–", notes=(notes.number(item.note),) if item.note else ())
