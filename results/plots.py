"""Pictures of a summary: intervals, paired differences against the baseline, clip-by-clip scatter.

Every function returns a matplotlib figure that belongs to no window; :func:`save` writes it as PNG. A method has the
same colour and place in all of them; controls are grey squares below a line.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING

from results.rows import write_atomic
from results.runs import Block
from results.statistics import Estimate
from results.summary import MetricInfo, Summary

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DPI = 160
PER_ROW = 5
# Okabe & Ito's colours (colour-blind safe) in an order that keeps neighbours apart in lightness; yellow is too pale.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
GREY = "#7A7A7A"
INK, FAINT = "#222222", "#DDDDDD"
_STYLE = {
    "font.size": 8.5,
    "axes.titlesize": 9.5,
    "axes.labelsize": 8.5,
    "axes.edgecolor": "#AAAAAA",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "axes.axisbelow": True,
    "xtick.color": "#555555",
    "ytick.color": INK,
    "text.color": INK,
    "figure.titlesize": 11,
    "text.parse_math": False,  # a method may have dollar signs in its name
    "savefig.facecolor": "white",
}


def _styled(draw: Callable) -> Callable:
    """Draw with ``_STYLE`` whatever the user's own matplotlib settings are."""

    @wraps(draw)
    def styled(*arguments, **options):
        import matplotlib as mpl

        with mpl.rc_context({**mpl.rcParamsDefault, **_STYLE, "backend": "agg"}):
            return draw(*arguments, **options)

    return styled


def colour(summary: Summary, method: str) -> str:
    """The method's colour: by its place in the table, the same in every picture."""
    if method in summary.controls:
        return GREY
    methods = [name for name in summary.methods if name not in summary.controls]
    return COLOURS[methods.index(method) % len(COLOURS)]


@_styled
def intervals(summary: Summary, block: Block, metrics: Sequence[MetricInfo]) -> Figure | None:
    """Mean and interval of every method, one panel for each metric; None when no metric has a value."""
    found = {
        metric.name: {run.label: summary.estimates[run.label, block, metric.name] for run in summary.runs_of(block)}
        for metric in metrics
    }

    def draw(axes: Axes, metric: MetricInfo, methods: list[str]) -> None:
        _forest(axes, summary, methods, found[metric.name], filled=lambda method: True)
        axes.set_title(f"{metric.column} {metric.arrow}", fontweight="bold")
        axes.set_xlabel(_with_unit(metric, "better →" if metric.better == "higher" else "← better"))

    shown = [metric for metric in metrics if any(e.mean is not None for e in found[metric.name].values())]
    methods = [run.label for run in summary.runs_of(block)]
    title = f"{block.text}: mean over clips with 95 % interval"
    return _panels(shown, methods, draw, title, summary)


@_styled
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
        _forest(axes, summary, methods, {m: d.estimate for m, d in here.items()}, filled=decided.__contains__)
        low, high = axes.get_xlim()
        low, high = min(low, -0.05 * (high - low)), max(high, 0.05 * (high - low))
        axes.axvspan(*((0, high) if metric.better == "higher" else (low, 0)), color="#E8F1EC", zorder=0, lw=0)
        axes.axvline(0, color="#555555", lw=0.9, zorder=1)
        axes.set_xlim(low, high)
        axes.set_title(f"Δ {metric.column} {metric.arrow}", fontweight="bold")
        axes.set_xlabel(_with_unit(metric, f"shaded: better than {_short(summary.baseline)}"))

    shown = [metric for metric in metrics if any(d.estimate.mean is not None for d in found[metric.name].values())]
    methods = [run.label for run in summary.runs_of(block) if run.label != summary.baseline]
    title = f"{block.text}: difference to {_short(summary.baseline)}, clip by clip, with 95 % interval"
    return _panels(shown, methods, draw, title, summary)


@_styled
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
    figure, grid = _figure(len(methods), len(metrics), 2.15 * len(metrics) + 0.4, 2.15 * len(methods) + 0.75)
    for column, metric in enumerate(metrics):
        limits = _limits([v for method in methods for pair in pairs[method, metric.name] for v in pair])
        for row, method in enumerate(methods):
            axes = grid[row][column]
            _cloud(axes, pairs[method, metric.name], limits, colour(summary, method), metric)
            if row == 0:
                axes.set_title(f"{metric.column} {metric.arrow}", fontweight="bold")
            if column == 0:
                axes.set_ylabel(_short(method), fontweight="bold", color=colour(summary, method))
            if row == len(methods) - 1:
                axes.set_xlabel(f"{_short(summary.baseline)}{_unit(metric)}")
            else:
                axes.set_xticklabels([])
    figure.suptitle(f"{block.text}: each clip under a method and under {_short(summary.baseline)}", x=0.01, ha="left")
    return figure


def save(figure: Figure, path: str | Path) -> Path:
    """Write ``figure`` as PNG at ``DPI``; the same figure gives the same bytes."""
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=DPI, metadata={"Software": None})
    write_atomic(path, data.getvalue())
    return Path(path)


def _panels(
    metrics: list[MetricInfo],
    methods: list[str],
    draw: Callable[[Axes, MetricInfo, list[str]], None],
    title: str,
    summary: Summary,
) -> Figure | None:
    """A grid of panels, one for each metric, that share the methods on their y axis."""
    if not metrics or not methods:
        return None
    across = min(PER_ROW, len(metrics))
    down = math.ceil(len(metrics) / across)
    height = 0.27 * max(len(methods), 2) + 0.85
    figure, grid = _figure(down, across, max(2.15 * across + 1.3, 6.4), down * height + 0.4)
    split = sum(method not in summary.controls for method in methods)
    for i, axes in enumerate(axes for row in grid for axes in row):
        if i >= len(metrics):
            axes.set_visible(False)
            continue
        draw(axes, metrics[i], methods)
        axes.set_ylim(len(methods) - 0.4, -0.6)
        axes.set_yticks(range(len(methods)), [_short(m) for m in methods] if i % across == 0 else [""] * len(methods))
        for label, method in zip(axes.get_yticklabels(), methods, strict=True):
            label.set_color("#666666" if method in summary.controls else INK)
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="x", color=FAINT, lw=0.6)
        axes.locator_params(axis="x", nbins=4)
        if 0 < split < len(methods):
            axes.axhline(split - 0.5, color="#BBBBBB", lw=0.8)
    figure.suptitle(title, x=0.01, ha="left")
    return figure


def _forest(
    axes: Axes, summary: Summary, methods: list[str], estimates: dict[str, Estimate], filled: Callable[[str], bool]
) -> None:
    """One point with its interval for each method; infinite means stand at the edge with an arrow."""
    found = {method: estimate for method, estimate in estimates.items() if estimate.mean is not None}
    finite = [v for e in found.values() for v in (e.mean, e.lo, e.hi) if v is not None and math.isfinite(v)]
    low, high = _limits(finite)
    room = 0.12 * (high - low)
    infinite = [e.mean for e in found.values() if math.isinf(e.mean)]
    low, high = low - room * (-math.inf in infinite), high + room * (math.inf in infinite)
    axes.set_xlim(low, high)
    for y, method in enumerate(methods):
        if (estimate := found.get(method)) is None:
            axes.text(
                0.5,
                y,
                "infinite" if method in estimates and estimates[method].n_infinite else "no value",
                transform=axes.get_yaxis_transform(),
                ha="center",
                va="center",
                color="#999999",
                fontsize=7,
            )
            continue
        tint = colour(summary, method)
        marker = "s" if method in summary.controls else "o"
        if math.isinf(estimate.mean):
            right = estimate.mean > 0
            axes.plot([high if right else low], [y], ">" if right else "<", color=tint, ms=6, clip_on=False)
            axes.annotate(
                "∞" if right else "−∞",
                (high if right else low, y),
                (-7 if right else 7, 0),
                textcoords="offset points",
                ha="right" if right else "left",
                va="center",
                color=tint,
                fontsize=9,
            )
            continue
        if estimate.lo is not None:
            axes.plot([estimate.lo, estimate.hi], [y, y], color=tint, lw=2, solid_capstyle="round", alpha=0.75)
        face = tint if filled(method) else "white"
        axes.plot([estimate.mean], [y], marker, mfc=face, mec=tint, mew=1.4, ms=5.5, clip_on=False)


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


def _figure(down: int, across: int, width: float, height: float):
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(down, across, squeeze=False)


def _limits(values: Sequence[float]) -> tuple[float, float]:
    """The range of the finite values with a margin; a range around it when there is only one."""
    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        return 0.0, 1.0
    low, high = min(finite), max(finite)
    margin = 0.07 * (high - low) or 0.05 * abs(high) or 0.5
    return low - margin, high + margin


def _with_unit(metric: MetricInfo, text: str) -> str:
    return f"{metric.unit}    {text}" if metric.unit else text


def _unit(metric: MetricInfo) -> str:
    return f" ({metric.unit})" if metric.unit else ""


def _short(name: str) -> str:
    return name if len(name) <= 26 else name[:25] + "…"
