"""The control table, Table 1's left half measured: what methods declare beside what their faces do.

:func:`matrix` is read at a glance, one cell for each method and factor; :func:`detail` gives every number a column of
its own, for formats without small print.
"""

from __future__ import annotations

from dataclasses import replace

from results.control import CONTROLLED, FLOOR, IDENTITY_RULE, MARKS, NOT, NOTHING, RULE, Control, Factor, Measured
from results.formats import interval, value
from results.runs import Run
from results.statistics import Estimate
from results.summary import MetricInfo, Summary
from results.table import Cell, Column, Group, Notes, Table, TableRow
from results.tables import (
    INTERVAL_NOTE,
    count_cell,
    data_remarks,
    declared_cells,
    declared_group,
    section_of,
    warnings,
    why_nothing,
)

DECLARED_ONLY = "mismatch"  # the tone of a cell whose method declares what the measurement does not find
_SCORE_DECIMALS = 2
_WHAT = (
    f"Each cell: r, Pearson's correlation with the truth over a clip (a mean over clips, without those in which the "
    f"driving face hardly moves the factor), and the error, the mean absolute difference. Floor: the same numbers for "
    f"{FLOOR}, the driving video measured by the same network, and so what a perfect method would score."
)
_TINT = "Shaded green: controlled. Shaded amber: declared, but measured as not controlled."


def matrix(summary: Summary, control: Control) -> Table:
    """Methods by factors: declared motions, then r with its mark; interval, error and floor in small print."""
    notes = Notes()
    declared = declared_group(notes, "Declared")
    columns = tuple(_column(summary, factor, notes) for factor in control.factors)
    group = Group(f"Measured: {control.block.name}", (Column("n", "n"), *columns), control.block.mark)
    rows = []
    for method in control.methods:
        run = summary.run(method, control.block)
        cells = (_cell(control, control.cells[method, factor.key], notes) for factor in control.factors)
        rows.append(TableRow(method, (declared_cells([run]), (count_cell(run), *cells)), section_of(summary, method)))
    identity = [IDENTITY_RULE] if any(factor.is_identity for factor in control.factors) else []
    return Table(
        title=f"Control, measured: {control.block.text}",
        stub="method",
        groups=(declared, group),
        rows=tuple(rows),
        warnings=(*warnings(summary, [control.block]), *lacking(control)),
        notes=tuple(notes.texts),
        remarks=(
            *(_WHAT, RULE, *identity, "Every cell is judged alone; nothing corrects for their number.", _TINT),
            *(INTERVAL_NOTE, *data_remarks(summary, [control.block])),
        ),
    )


def detail(summary: Summary, control: Control) -> Table:
    """Every number of :func:`matrix` in a column of its own, a section for each factor."""
    rows = []
    for factor in control.factors:
        floor = control.floor(factor)
        section = f"{factor.label} (cosine)" if factor.is_identity else factor.label
        for method in control.methods:
            found = control.cells[method, factor.key]
            rows.append(TableRow(method, (_detail_cells(control, found, floor),), section))
    columns = (
        Column("declared", "declared"),
        Column("verdict", "measured"),
        Column("r", "r", "higher", _SCORE_DECIMALS),
        Column("r_floor", "floor"),
        Column("error", "error", "lower"),
        Column("error_floor", "floor"),
        Column("gain", f"minus {NOTHING}'s"),
        Column("why", "why not ✓"),
    )
    return Table(
        title=f"Control in numbers: {control.block.text}",
        stub="method",
        groups=(Group(control.block.name, columns, control.block.mark),),
        rows=tuple(rows),
        remarks=(
            f"Floor: the same number for {FLOOR}. Minus {NOTHING}'s: the paired difference over the clips that both "
            f"have, with its 95 % interval; of identity the cosine minus the 95th percentile of strangers' cosines.",
        ),
    )


def lacking(control: Control) -> list[str]:
    """What the table cannot say for want of a run, for its face."""
    said = []
    if control.named(FLOOR) is None:
        said.append(
            f"FLOOR UNKNOWN: no run of {FLOOR} on {control.block.text}: how well the network itself reads is not "
            f"known, and nothing is called not controlled; run {FLOOR} too"
        )
    if control.named(NOTHING) is None:
        said.append(
            f"NOTHING TO COMPARE WITH: no run of {NOTHING} on {control.block.text}: nothing but identity is called "
            f"controlled; run {NOTHING} too"
        )
    return said


def _column(summary: Summary, factor: Factor, notes: Notes) -> Column:
    """The factor's column; its note says which metrics and versions stand in it."""
    known = {metric.name: metric for metric in summary.metrics}
    said = []
    if (score := known.get(factor.score)) is not None:
        said.append(f"{_versioned(score)}, {score.definition.split('. ')[0].rstrip('.')}")
    if (error := known.get(factor.error)) is not None and not factor.is_identity:
        said.append(f"error: {_versioned(error)}{f', in {error.unit}' if error.unit else ''}")
    text = f"{factor.label}: {'; '.join(said)}."
    return Column(factor.key, factor.label, decimals=_SCORE_DECIMALS, notes=(notes.number(text),))


def _versioned(metric: MetricInfo) -> str:
    return f"{metric.name} (version {metric.version})" if metric.version else metric.name


def _cell(control: Control, found: Measured, notes: Notes) -> Cell:
    run, factor, score = found.run, found.factor, found.score
    if factor.score in run.unavailable:
        return Cell(text="unavailable", notes=(notes.number(f"unavailable: {run.unavailable[factor.score]}"),))
    if factor.score not in run.info["metrics"]:
        return Cell(text="–", notes=(notes.number("not asked for in this run"),))
    failed = run.n_expected - score.n - found.n_undefined
    below = _below(control, found, control.floor(factor))
    if score.mean is None:
        why = why_nothing(run, factor.score) if failed else "undefined: on every clip the driving face hardly moves it"
        return Cell(text="failed" if failed else "–", count=_count(run, score), below=below, notes=(notes.number(why),))
    return Cell(
        value=score.mean,
        text=MARKS[found.verdict],
        count=_count(run, score),
        below=below,
        tone=_tone(found),
        notes=(notes.number(found.why),) if found.verdict not in (CONTROLLED, NOT) else (),
    )


def _below(control: Control, found: Measured, floor: Measured | None) -> tuple[str, ...]:
    """The small print: the interval of r and its floor, the error, its interval and its floor."""
    others = floor is None or floor.run is not found.run
    lines = [interval(_number(found.score), _SCORE_DECIMALS)]
    if others:
        lines.append(f"floor {_score_text(floor)}")
    if found.error is not None and found.error.mean is not None:
        error = _error(control, found.factor, found.error)
        lines += [f"error {value(error, None)}", interval(error, None)]
        if others:
            lines.append(f"floor {_error_text(control, floor)}")
    return tuple(line for line in lines if line)


def _tone(found: Measured) -> str:
    return DECLARED_ONLY if found.verdict == NOT and found.declared else found.verdict


def _detail_cells(control: Control, found: Measured, floor: Measured | None) -> tuple[Cell, ...]:
    factor, nothing = found.factor, Cell(text="")
    score = _number(found.score)
    gain = nothing
    if found.gain is not None and (factor.is_identity or found.run.name != NOTHING):
        make = _number if factor.is_identity else lambda estimate: _error(control, factor, estimate)
        gain = make(found.gain.estimate)
    error = nothing
    if found.error is not None:
        error = replace(_error(control, factor, found.error), count=_count(found.run, found.error))
    return (
        Cell(text="" if found.declared is None else "✓" if found.declared else "✗"),
        Cell(text=f"{MARKS[found.verdict]} {found.verdict}"),
        replace(score, count=_count(found.run, found.score)),
        Cell(text=_score_text(floor)),
        error,
        nothing if factor.is_identity else Cell(text=_error_text(control, floor)),
        gain,
        Cell(text=found.why),
    )


def _count(run: Run, estimate: Estimate) -> str:
    """How many clips have a value, where not all have."""
    return "" if estimate.n == run.n_expected else f"{estimate.n}/{run.n_expected}"


def _number(estimate: Estimate) -> Cell:
    """The correlation, or the cosine."""
    if estimate.mean is None:
        return Cell(text="–")
    return Cell(estimate.mean, estimate.lo, estimate.hi, decimals=_SCORE_DECIMALS)


def _error(control: Control, factor: Factor, estimate: Estimate) -> Cell:
    """An error, or a difference of errors, in its unit."""
    if estimate.mean is None:
        return Cell(text="–")
    in_degrees = control.units.get(factor.key) == "degree"
    return Cell(
        estimate.mean, estimate.lo, estimate.hi, decimals=1 if in_degrees else 3, unit="°" if in_degrees else ""
    )


def _score_text(floor: Measured | None) -> str:
    """The floor's r without its interval."""
    if floor is None:
        return "unknown"
    cell = _number(floor.score)
    return cell.text or value(cell, None)


def _error_text(control: Control, floor: Measured | None) -> str:
    """The floor's error without its interval."""
    if floor is None or floor.error is None:
        return "unknown"
    cell = _error(control, floor.factor, floor.error)
    return cell.text or value(cell, None)
