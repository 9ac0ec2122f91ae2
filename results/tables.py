"""Tables made from runs: means with their intervals, and paired differences to the baseline.

Each block has its own columns: the metrics that one of its runs has, or lists as unavailable.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from results import control
from results.runs import PUPPETS, Block, Run
from results.statistics import Difference, Estimate
from results.summary import OWN_OF_PUPPETS, MetricInfo, Summary
from results.table import Cell, Column, Group, Notes, Table, TableRow

Columns = Mapping[Block, Sequence[MetricInfo]]
MOTIONS = (("lip", "lip"), ("pose", "pose"), ("blink", "eye blink"), ("gaze", "eye gaze"))
_DECIMALS = {"lse_c_puppet": 3, "SSIM": 3, "MS-SSIM": 3, "PSNR": 2, "LMD": 2, "LSE-C": 2, "LSE-D": 2}
#: the heading over methods whose weights are not known to be their authors'; they compete for no bold figure
UNOFFICIAL = "weights not known to be official"
BOLD_NOTE = (
    "Bold: the best method (controls and unknown weights aside), where a paired 95 % interval says that it beats the "
    "second best."
)
INTERVAL_NOTE = (
    "Brackets: 95 % interval of the mean over clips, bootstrapped over speakers and widened for their small number, so "
    "that it can reach beyond a metric's range. A count such as 7/9 beside a number: only so many of the expected "
    "clips have a value; no count: all have. Column n: clips with a value in every column that the run could compute, "
    "of those expected."
)
PUPPETS_NOTE = (
    "On puppets the columns LMD and LSE are measured by two small networks trained on puppets, which have seen no real "
    "face: these numbers do not compare with LMD and LSE on real faces."
)


def means(summary: Summary, metrics: Columns, title: str, *, motions: bool = True) -> Table:
    """The paper's Table 1 made from runs: declared motions, then for each block n and its ``metrics`` with intervals.

    Blocks without metrics are left out, unless all are without; so are methods that were run on none of those shown.
    ``motions=False`` leaves the left half out, for tables of further metrics.
    """
    notes = Notes()
    blocks = [block for block in summary.blocks if metrics.get(block)] or summary.blocks
    groups = [declared_group(notes)] if motions else []
    groups += [
        Group(block.name, (Column("n", "n"), *(_column(summary, block, m, notes) for m in metrics[block])), block.mark)
        for block in blocks
    ]
    rows = []
    for method in summary.methods:
        if not any(summary.run(method, block) for block in blocks):
            continue
        cells = [declared_cells(run for run in summary.runs if run.label == method)] if motions else []
        cells += [
            (
                count_cell(summary.run(method, block)),
                *(_cell(summary, method, block, metric, notes) for metric in metrics[block]),
            )
            for block in blocks
        ]
        rows.append(TableRow(method, tuple(cells), section_of(summary, method)))
    if motions:  # tables of further metrics say nothing new of a method that was not run
        place = next((i for i, row in enumerate(rows) if row.section), len(rows))
        rows[place:place] = [_absent(name, why, groups, notes) for name, why in summary.absent.items()]
    return Table(
        title=title,
        stub="method",
        groups=tuple(groups),
        rows=tuple(rows),
        warnings=tuple(warnings(summary, blocks)),
        notes=tuple(notes.texts),
        remarks=(INTERVAL_NOTE, *([BOLD_NOTE] if summary.best else []), *data_remarks(summary, blocks)),
    )


def differences(summary: Summary, metrics: Columns) -> Table | None:
    """Each method minus the baseline, clip by clip; None when there is no baseline to compare with."""
    # without a value for a clip there is no difference
    metrics = {block: [metric for metric in found if not metric.of_set] for block, found in metrics.items()}
    blocks = [block for block in summary.blocks if metrics.get(block) and summary.run(summary.baseline, block)]
    compared = [m for m in summary.methods if m != summary.baseline and any(summary.run(m, b) for b in blocks)]
    if summary.baseline is None or not compared:
        return None
    notes = Notes()
    groups = [
        Group(block.name, tuple(_column(summary, block, metric, notes, "Δ ") for metric in metrics[block]), block.mark)
        for block in blocks
    ]
    rows = [
        TableRow(
            method,
            tuple(tuple(_difference(summary, method, block, m, notes) for m in metrics[block]) for block in blocks),
            section_of(summary, method),
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


def _absent(method: str, why: str, groups: Sequence[Group], notes: Notes) -> TableRow:
    """The row of a method that could not be run: the reason, and no number."""
    said = Cell(text="unavailable", notes=(notes.number(f"{method} was not run: {why}"),))
    nothing = Cell(text="–")
    first, *blocks = groups
    cells = [(nothing,) * len(first.columns), *((nothing, *(said,) * (len(g.columns) - 1)) for g in blocks)]
    return TableRow(method, tuple(cells))


def declared_group(notes: Notes, label: str = "Controllable motions") -> Group:
    """The left half of Table 1, of check marks."""
    said = (notes.number("as the method declares them; not measured"),)
    return Group(label, tuple(Column(key, text, notes=said) for key, text in MOTIONS))


def declared_cells(runs: Iterable[Run]) -> tuple[Cell, ...]:
    """The check marks of one method, given its ``runs``."""
    declared = {motion for run in runs for motion in run.controls}
    return tuple(Cell(check=key in declared) for key, _ in MOTIONS)


def count_cell(run: Run | None) -> Cell:
    """Scored and expected clips."""
    return Cell(text=f"{run.n_scored}/{run.n_expected}" if run else "–")


def section_of(summary: Summary, method: str) -> str:
    """Where the method's row stands: controls have a section of their own, and so have unknown weights."""
    if method in summary.controls:
        return "controls"
    return UNOFFICIAL if method in summary.unofficial else ""


def warnings(summary: Summary, blocks: Sequence[Block]) -> list[str]:
    """What has to stand on the face of a table, a line each: incomplete runs, unknown weights, mismatches."""
    found = [
        f"INCOMPLETE: {run.n_scored} of {run.n_expected} clips scored: {run.label} on {run.block.text} ({_counts(run)})"
        for run in summary.incomplete
        if run.block in blocks
    ]
    doubted = {run.label: run.unofficial for run in summary.runs if run.unofficial and run.block in blocks}
    found += [f"{UNOFFICIAL.upper()}: {label}: {why}" for label, why in doubted.items()]
    return found + [f"MIXED: {text}" for text in summary.mixed]


def data_remarks(summary: Summary, blocks: Sequence[Block]) -> list[str]:
    """What each block is, in words, and notes on single runs."""
    said = []
    for block in blocks:
        if block.data == "sample":
            said.append(f"{block.text}: a sample, not the {block.name} test set.")
        elif block.data == PUPPETS:
            said.append(f"{block.text}: procedurally drawn heads; no real face among them.")
    for run in summary.runs:
        if run.block in blocks:
            said += [f"{run.label} on {run.block.text}: {note}." for note in run.notes]
    said += control.absent(summary, blocks)
    said += [f"{name}: unavailable: {reason}." for name, reason in summary.undescribed.items()]
    return said


def decimals(metric: MetricInfo, values: Sequence[float]) -> int:
    """Digits after the point: fixed for Table 1's metrics, otherwise three to four significant ones."""
    for name in (metric.name, metric.column):
        if name in _DECIMALS:
            return _DECIMALS[name]
    largest = max((abs(value) for value in values if abs(value) != float("inf")), default=0.0)
    return next((digits for limit, digits in ((0.1, 4), (2, 3), (100, 2), (1000, 1)) if largest < limit), 0)


def _column(summary: Summary, block: Block, metric: MetricInfo, notes: Notes, prefix: str = "") -> Column:
    found = [e.mean for (_, _, name), e in summary.estimates.items() if name == metric.name and e.mean is not None]
    version = f" (version {metric.version})" if metric.version else ""
    unit = f", in {metric.unit}" if metric.unit else ""
    text = f"{metric.column}{unit}: {metric.name}{version}"
    if metric.definition:
        text += f": {metric.definition.rstrip('.')}"
    label = metric.column if summary.preferred(block)[metric.column] == metric else f"{metric.column} {metric.name}"
    if metric.of_set:
        label += " (set)"
        text += ". One value of the whole set, not a mean over clips; the interval resamples speakers"
    numbers = (notes.number(text + "."),)
    if metric.name.endswith(OWN_OF_PUPPETS):
        numbers += (notes.number(PUPPETS_NOTE),)
    return Column(metric.name, prefix + label, metric.better, decimals(metric, found), tuple(sorted(numbers)))


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
        return Cell(text="failed", count=count, notes=(notes.number(why_nothing(run, metric.name)),))
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


def why_nothing(run: Run, metric: str) -> str:
    """Why ``metric`` has no value on any clip of ``run``."""
    reasons = [found.get(metric) or found.get("*") for found in run.failures.values()]
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
