"""Pictures of a summary: intervals, paired differences against the baseline, clip-by-clip scatter.

Every function returns a matplotlib figure, or None where there is nothing to show; see ``results.drawing``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from results.drawing import colour, forest, limits_of, new_figure, panels, short, styled
from results.runs import Block
from results.summary import MetricInfo, Summary

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@styled
def intervals(summary: Summary, block: Block, metrics: Sequence[MetricInfo]) -> Figure | None:
    """Mean and interval of every method, one panel for each metric; None when no metric has a value."""
    found = {
        metric.name: {run.label: summary.estimates[run.label, block, metric.name] for run in summary.runs_of(block)}
        for metric in metrics
    }

    def draw(axes: Axes, metric: MetricInfo, methods: list[str]) -> None:
        forest(axes, summary, methods, found[metric.name], filled=lambda method: True)
        axes.set_title(f"{metric.column} {metric.arrow}", fontweight="bold")
        axes.set_xlabel(_with_unit(metric, "better →" if metric.better == "higher" else "← better"))

    shown = [metric for metric in metrics if any(e.mean is not None for e in found[metric.name].values())]
    methods = [run.label for run in summary.runs_of(block)]
    title = f"{block.text}: mean over clips with 95 % interval"
    return panels(shown, methods, draw, title, summary)


@styled
def differences(summary: Summary, block: Block, metrics: Sequence[MetricInfo]) -> Figure | None:
    """Paired difference of every method to the baseline, one panel for each metric; None when there is nothing."""
    if summary.baseline is None:
        return None
    found = {
        metric.name: {
            method: summary.differences[method, block, metric.name]
            for method in summary.methods
            if (method, block, metric.name) in summary.differences
        }
        for metric in metrics
    }

    def draw(axes: Axes, metric: MetricInfo, methods: list[str]) -> None:
        here = found[metric.name]
        decided = {method for method, difference in here.items() if difference.verdict in ("better", "worse")}
        forest(axes, summary, methods, {m: d.estimate for m, d in here.items()}, filled=decided.__contains__)
        low, high = axes.get_xlim()
        low, high = min(low, -0.05 * (high - low)), max(high, 0.05 * (high - low))
        axes.axvspan(*((0, high) if metric.better == "higher" else (low, 0)), color="#E8F1EC", zorder=0, lw=0)
        axes.axvline(0, color="#555555", lw=0.9, zorder=1)
        axes.set_xlim(low, high)
        axes.set_title(f"Δ {metric.column} {metric.arrow}", fontweight="bold")
        # better than what, the title says: beneath narrow panels long names would run into each other
        axes.set_xlabel(_with_unit(metric, "shaded: better"))

    shown = [metric for metric in metrics if any(d.estimate.mean is not None for d in found[metric.name].values())]
    methods = [run.label for run in summary.runs_of(block) if run.label != summary.baseline]
    title = f"{block.text}: difference to {short(summary.baseline)}, clip by clip, with 95 % interval"
    return panels(shown, methods, draw, title, summary)


@styled
def scatter(summary: Summary, block: Block, metrics: Sequence[MetricInfo]) -> Figure | None:
    """Each clip's value under a method against its value under the baseline; None when there is nothing to compare.

    One row of panels for each method and one column for each metric; above the diagonal the method's value is higher.
    """
    base = summary.run(summary.baseline, block) if summary.baseline else None
    if base is None:
        return None
    reference = {metric.name: base.values(metric.name) for metric in metrics}
    metrics = [metric for metric in metrics if reference[metric.name]]
    values = {
        run.label: {metric.name: run.values(metric.name) for metric in metrics}
        for run in summary.runs_of(block)
        if run.label != summary.baseline
    }
    pairs = {
        (method, metric.name): [
            (reference[metric.name][c], here[metric.name][c]) for c in here[metric.name] if c in reference[metric.name]
        ]
        for method, here in values.items()
        for metric in metrics
    }
    metrics = [metric for metric in metrics if any(pairs[method, metric.name] for method in values)]
    methods = [method for method in values if any(pairs[method, metric.name] for metric in metrics)]
    if not methods or not metrics:
        return None
    figure, grid = new_figure(len(methods), len(metrics), 2.15 * len(metrics) + 0.4, 2.15 * len(methods) + 0.75)
    for column, metric in enumerate(metrics):
        limits = limits_of([v for method in methods for pair in pairs[method, metric.name] for v in pair])
        for row, method in enumerate(methods):
            axes = grid[row][column]
            _cloud(axes, pairs[method, metric.name], limits, colour(summary, method), metric)
            if row == 0:
                axes.set_title(f"{metric.column} {metric.arrow}", fontweight="bold")
            if column == 0:
                axes.set_ylabel(short(method), fontweight="bold", color=colour(summary, method))
            if row == len(methods) - 1:
                axes.set_xlabel(f"{short(summary.baseline)}{_unit(metric)}")
            else:
                axes.set_xticklabels([])
    figure.suptitle(f"{block.text}: each clip under a method and under {short(summary.baseline)}", x=0.01, ha="left")
    return figure


def _cloud(
    axes: Axes, pairs: list[tuple[float, float]], limits: tuple[float, float], tint: str, metric: MetricInfo
) -> None:
    """Points on a square with its diagonal; an infinite coordinate stands on the edge as an arrow."""
    from matplotlib.ticker import MaxNLocator

    low, high = limits
    better = [high, high] if metric.better == "higher" else [low, low]
    axes.fill_between([low, high], [low, high], better, color="#E8F1EC", lw=0, zorder=0)
    axes.plot([low, high], [low, high], color="#888888", lw=0.8, zorder=1)
    axes.set_xlim(low, high)
    axes.set_ylim(low, high)
    axes.set_box_aspect(1)
    ticks = [tick for tick in MaxNLocator(4).tick_values(low, high) if low <= tick <= high]
    axes.set_xticks(ticks)
    axes.set_yticks(ticks)
    alpha = 0.85 if len(pairs) <= 40 else 0.45 if len(pairs) <= 400 else 0.2
    finite = [pair for pair in pairs if all(map(math.isfinite, pair))]
    infinite = [pair for pair in pairs if not all(map(math.isfinite, pair))]
    size = 16 if len(pairs) <= 40 else 9 if len(pairs) <= 400 else 4
    axes.scatter(*zip(*finite, strict=True), s=size, color=tint, alpha=alpha, lw=0) if finite else None
    for x, y in infinite:
        at = [min(max(v, low), high) for v in (x, y)]
        marker = "^" if y == math.inf else "v" if y == -math.inf else ">" if x == math.inf else "<"
        axes.plot([at[0]], [at[1]], marker, color=tint, ms=4.5, alpha=alpha, clip_on=False)
    if infinite:
        axes.text(
            0.97, 0.04, f"{len(infinite)} infinite", transform=axes.transAxes, ha="right", fontsize=7, color="#555555"
        )
    if not pairs:
        axes.text(0.5, 0.5, "no common clip", transform=axes.transAxes, ha="center", fontsize=7, color="#999999")


def _with_unit(metric: MetricInfo, text: str) -> str:
    return f"{metric.unit}    {text}" if metric.unit else text


def _unit(metric: MetricInfo) -> str:
    return f" ({metric.unit})" if metric.unit else ""
