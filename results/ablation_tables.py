"""An ablation as tables: means with the spread between seeds, differences to the full model, the paper's order."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from results import csv_text, formats, paper, published_table, tables
from results.ablation import POSE, Ablation
from results.runs import Block
from results.summary import MetricInfo, table1
from results.table import Cell, Table, TableRow

SEEDS_NOTE = (
    "Seeds are averaged within each clip first: the intervals are about other people and clips. Behind ±: the standard "
    "deviation between the seeds' means, which is how much training itself scatters; no ±: one seed."
)
_OF_DRIVING = "nothing is scored here: these are the frames that the variants are compared with"
PUBLISHED_NOTE = (
    f"Published, not measured here: {paper.CITATION}. How often each variant was trained, for how "
    "long, on which clips it was scored, and how uncertain the numbers are is not stated; those "
    "above are on another scale."
)
CSV = (
    *("table", "variant", "label", "metric", "metric_variant", "value", "ci_lo", "ci_hi", "n", "n_expected"),
    *("n_speakers", "n_seeds", "seed_sd", "difference", "difference_ci_lo", "difference_ci_hi", "verdict", "steps"),
    *("source", "better", "agreement"),
)


@dataclass(frozen=True)
class Agreement:
    """One column against the paper's. ``agrees``: None where it cannot be said."""

    metric: MetricInfo
    agrees: bool | None
    sentence: str


def block_of(ablation: Ablation) -> Block:
    """All runs are of one list, and so of one block."""
    return ablation.summary.blocks[0]


def columns(ablation: Ablation) -> list[MetricInfo]:
    """Table 1's metrics, then whatever else was measured."""
    block, summary = block_of(ablation), ablation.summary
    first = table1(summary)[block]
    rest = [m for m in summary.metrics_of(block) if m not in first and (m.name == POSE or not first)]
    return [*first, *rest]


def means(ablation: Ablation) -> Table:
    """Rows in the paper's order, cells with interval and spread between seeds; what is missing stands above it."""
    summary, block = ablation.summary, block_of(ablation)
    metrics = columns(ablation)
    made = tables.means(summary, {block: metrics}, title(ablation), motions=False)
    rows = {row.label: _with_spread(ablation, row, metrics) for row in made.rows}
    absent = Cell(text="unavailable")
    for variant in ablation.variants:
        if variant.label not in rows:
            cells = (Cell(text="–"), *(absent for _ in metrics))
            rows[variant.label] = TableRow(variant.label, (cells,))
    labels = [variant.label for variant in ablation.variants]
    ordered = sorted(rows.values(), key=lambda row: labels.index(row.label) if row.label in labels else len(labels))
    lacking = tuple(f"INCOMPLETE: {line}" for line in ablation.missing)
    return replace(
        made,
        stub="variant",
        rows=tuple(ordered),
        notes=tuple(_OF_DRIVING if text == "not asked for in this run" else text for text in made.notes),
        warnings=(*budget_warnings(ablation), *lacking, *(w for w in made.warnings if "INCOMPLETE" not in w)),
        remarks=(facts(ablation), SEEDS_NOTE, *made.remarks),
    )


def differences(ablation: Ablation) -> Table | None:
    """Each variant minus the full model, clip by clip; None where there is no full model to compare with."""
    summary = ablation.summary
    variants = replace(summary, methods=tuple(m for m in summary.methods if m not in summary.controls))
    made = tables.differences(variants, {block_of(ablation): columns(ablation)})
    title = f"Paired differences: each variant minus {ablation.table.full} (the full model)"
    return made and replace(made, title=title, stub="variant")


def published(ablation: Ablation) -> Table:
    """The paper's own numbers."""
    made = replace(published_table.published(ablation.table.number), stub="variant", remarks=(PUBLISHED_NOTE,))
    return replace(made, groups=tuple(replace(group, label="test set not stated") for group in made.groups))


def title(ablation: Ablation) -> str:
    """Which table, and what the budget was: on the table's face."""
    summary, block = ablation.summary, block_of(ablation)
    runs = [run for run in summary.runs_of(block) if not run.is_control]
    clips = max(run.n_expected for run in runs)
    return (
        f"Ablation of {ablation.table.what} (Table {ablation.table.number}), measured: {ablation.plan['steps']} steps, "
        f"{_plural(ablation.seeds, 'seed')}, {_plural(clips, 'clip')}"
    )


def budget_warnings(ablation: Ablation) -> tuple[str, ...]:
    """What has to stand above the table where training was shorter than the recipe's."""
    if not ablation.reduced:
        return ()
    return (
        f"REDUCED BUDGET: {ablation.plan['steps']} training steps of the last stage; recipe {ablation.plan['recipe']} "
        f"asks for {ablation.plan['recipe_steps']}. An order found here need not hold for whole training.",
    )


def facts(ablation: Ablation) -> str:
    """Budget, data, start and device in one remark."""
    plan = ablation.plan
    stages = ", ".join(f"{name} step {stage['step']}" for name, stage in plan["start"]["stages"].items())
    people = {s for run in ablation.summary.runs for s in run.identity_of.values()}
    changed = f"; set: {', '.join(plan['set'])}" if plan["set"] else ""
    return (
        f"Every variant: {plan['steps']} steps of the last stage at batch {plan['batch']} on {plan['data']}, from the "
        f"same checkpoints ({stages}), seeds 0 to {ablation.seeds - 1}; recipe {plan['recipe']}{changed}. "
        f"Scored: held-out clips of {_plural(len(people), 'speaker')}. Device: {plan['device']}."
    )


def agreements(ablation: Ablation) -> list[Agreement]:
    """For each column that the paper prints, whether the variants come in its order, in a sentence."""
    return [_agreement(ablation, m) for m in columns(ablation) if _printed(ablation, m)]


def agreement_lines(found: Sequence[Agreement]) -> str:
    """The sentences as Markdown."""
    lines = ["## The paper's order", ""]
    return "\n".join([*lines, *(f"* {formats.markdown_text(item.sentence)}" for item in found)]) + "\n"


def to_csv(ablation: Ablation) -> str:
    """Every cell, one a line, then the paper's; see ``CSV``."""
    summary, block, lines = ablation.summary, block_of(ablation), []
    said = {item.metric.name: item for item in agreements(ablation)}
    for run in summary.runs_of(block):
        variant = next((v for v in ablation.variants if v.label == run.label), None)
        for metric in columns(ablation):
            if metric.name not in run.info["metrics"]:
                continue
            mean = summary.estimates[run.label, block, metric.name]
            line = {
                "variant": variant.name if variant else "",
                "label": run.label,
                "metric": metric.column,
                "metric_variant": metric.name,
                "value": _fixed(mean.mean),
                "ci_lo": _fixed(mean.lo),
                "ci_hi": _fixed(mean.hi),
                "n": mean.n,
                "n_expected": run.n_expected,
                "n_speakers": mean.clusters,
                "n_seeds": len(variant.runs) if variant else "",
                "seed_sd": _fixed(variant.spread.get(metric.name)) if variant else "",
                "steps": ablation.plan["steps"] if variant else "",
                "source": "run",
                "better": metric.better,
                "agreement": {None: "", True: "yes", False: "no"}[said[metric.name].agrees]
                if metric.name in said
                else "",
            }
            if (difference := summary.differences.get((run.label, block, metric.name))) and variant:
                estimate = difference.estimate
                line |= {"difference": _fixed(estimate.mean), "verdict": difference.verdict}
                line |= {"difference_ci_lo": _fixed(estimate.lo), "difference_ci_hi": _fixed(estimate.hi)}
            lines.append(line)
    for item in paper.load(ablation.table.number):
        lines.append(
            {"variant": ablation.table.variants[item.method], "label": item.method, "metric": item.metric}
            | {"value": item.text, "source": "published", "better": item.better}
        )
    return csv_text.written(CSV, ({"table": ablation.table.number, **line} for line in lines))


def _with_spread(ablation: Ablation, row: TableRow, metrics: Sequence[MetricInfo]) -> TableRow:
    variant = next((v for v in ablation.variants if v.label == row.label), None)
    if variant is None:
        return row
    ((count, *cells),) = row.cells
    found = [ablation.summary.estimates[v.label, block_of(ablation), m.name].mean for v in [variant] for m in metrics]
    made = []
    for cell, metric, mean in zip(cells, metrics, found, strict=True):
        deviation = variant.spread.get(metric.name)
        if deviation is not None and mean is not None and cell.value is not None:
            cell = replace(cell, unit=f" ± {formats.number(deviation, _decimals(ablation, metric))}")
        made.append(cell)
    return replace(row, cells=((count, *made),))


def _decimals(ablation: Ablation, metric: MetricInfo) -> int:
    estimates = ablation.summary.estimates
    return tables.decimals(
        metric, [e.mean for (_, _, n), e in estimates.items() if n == metric.name and e.mean is not None]
    )


def _printed(ablation: Ablation, metric: MetricInfo) -> dict[str, float]:
    """Label -> the paper's number in the metric's column."""
    items = paper.load(ablation.table.number)
    return {item.method: item.value for item in items if item.metric == metric.column and item.value is not None}


def _agreement(ablation: Ablation, metric: MetricInfo) -> Agreement:
    summary, block, printed = ablation.summary, block_of(ablation), _printed(ablation, metric)
    estimates = {label: summary.estimates.get((label, block, metric.name)) for label in printed}
    measured = {label: e.mean for label, e in estimates.items() if e is not None and e.mean is not None}
    if lacking := [label for label in printed if label not in measured or not math.isfinite(measured[label])]:
        why = f"cannot be compared with the paper's, for want of {', '.join(lacking)}"
        return Agreement(metric, None, f"{metric.column}: the order {why}.")
    sign = 1 if metric.better == "higher" else -1
    labels = list(printed)
    pairs = [(a, b) for a in labels for b in labels if sign * (printed[a] - printed[b]) > 0]
    held = [pair for pair in pairs if sign * (measured[pair[0]] - measured[pair[1]]) > 0]
    agrees = len(held) == len(pairs)
    orders = f"measured, best first: {_order(measured, sign)}; printed: {_order(printed, sign)}"
    verdict = (
        f"the order agrees with the paper's in {len(held)} of the {len(pairs)} pairs that it tells apart"
        if agrees
        else f"the order differs from the paper's: {len(held)} of the {len(pairs)} pairs that it tells apart agree"
    )
    return Agreement(metric, agrees, f"{metric.column}: {verdict} ({orders}); {_excluding(ablation, metric)}.")


def _excluding(ablation: Ablation, metric: MetricInfo) -> str:
    """For which variants the interval of the difference to the full model excludes 0."""
    full, block = ablation.table.full, block_of(ablation)
    verdicts = {
        variant.label: found.verdict
        for variant in ablation.variants
        if (found := ablation.summary.differences.get((variant.label, block, metric.name))) is not None
    }
    decided = [f"{label} ({verdict})" for label, verdict in verdicts.items() if verdict in ("better", "worse")]
    open_ = [label for label, verdict in verdicts.items() if verdict not in ("better", "worse")]
    what = f"the interval of the difference to {full}"
    if not decided:
        return f"{what} excludes 0 for no variant, so that the order may be chance"
    rest = f", and does not for {', '.join(open_)}" if open_ else ""
    return f"{what} excludes 0 for {', '.join(decided)}{rest}"


def _order(values: dict[str, float], sign: int) -> str:
    """``a > b = c``, best first. The labels have commas, and stand in quotes."""
    ranked = sorted(values, key=lambda label: -sign * values[label])
    text = f"'{ranked[0]}'"
    for before, label in pairwise(ranked):
        text += f" {'=' if values[before] == values[label] else '>'} '{label}'"
    return text


def _fixed(number: float | None) -> str:
    return "" if number is None else f"{number:.6f}"


def _plural(n: int, word: str) -> str:
    return f"{n} {word}" + ("s" if n != 1 else "")
