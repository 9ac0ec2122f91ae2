"""What all pictures of a summary share: the style, a method's colour, panels of intervals, and saving as PNG.

Figures belong to no window. A method has the same colour and place in all of them; controls are grey squares below a
line.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from results.rows import write_atomic
from results.statistics import Estimate
from results.summary import Summary

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DPI = 160
PER_ROW = 5
# Okabe & Ito's colours (colour-blind safe) in an order that keeps neighbours apart in lightness; yellow is too pale.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
GREY = "#7A7A7A"
INK, FAINT = "#222222", "#DDDDDD"
T = TypeVar("T")
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


def styled(draw: Callable) -> Callable:
    """Draw with ``_STYLE`` whatever the user's own matplotlib settings are."""

    @wraps(draw)
    def wrapped(*arguments, **options):
        import matplotlib as mpl

        with mpl.rc_context({**mpl.rcParamsDefault, **_STYLE, "backend": "agg"}):
            return draw(*arguments, **options)

    return wrapped


def colour(summary: Summary, method: str) -> str:
    """The method's colour: by its place in the table, the same in every picture."""
    if method in summary.controls:
        return GREY
    methods = [name for name in summary.methods if name not in summary.controls]
    return COLOURS[methods.index(method) % len(COLOURS)]


def save(figure: Figure, path: str | Path) -> Path:
    """Write ``figure`` as PNG at ``DPI``; the same figure gives the same bytes."""
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=DPI, metadata={"Software": None})
    write_atomic(path, data.getvalue())
    return Path(path)


def panels(
    shown: list[T],
    methods: list[str],
    draw: Callable[[Axes, T, list[str]], None],
    title: str,
    summary: Summary,
) -> Figure | None:
    """A grid of panels, one for each of ``shown``, with ``methods`` on their y axis; None where either is empty."""
    if not shown or not methods:
        return None
    across = min(PER_ROW, len(shown))
    down = math.ceil(len(shown) / across)
    height = 0.27 * max(len(methods), 2) + 0.85
    figure, grid = new_figure(down, across, max(2.15 * across + 1.3, 6.4), down * height + 0.4)
    split = sum(method not in summary.controls for method in methods)
    for i, axes in enumerate(axes for row in grid for axes in row):
        if i >= len(shown):
            axes.set_visible(False)
            continue
        draw(axes, shown[i], methods)
        axes.set_ylim(len(methods) - 0.4, -0.6)
        axes.set_yticks(range(len(methods)), [short(m) for m in methods] if i % across == 0 else [""] * len(methods))
        for label, method in zip(axes.get_yticklabels(), methods, strict=True):
            label.set_color("#666666" if method in summary.controls else INK)
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="x", color=FAINT, lw=0.6)
        axes.locator_params(axis="x", nbins=4)
        if 0 < split < len(methods):
            axes.axhline(split - 0.5, color="#BBBBBB", lw=0.8)
    figure.suptitle(title, x=0.01, ha="left")
    return figure


def forest(
    axes: Axes, summary: Summary, methods: list[str], estimates: dict[str, Estimate], filled: Callable[[str], bool]
) -> None:
    """One point with its interval for each method; infinite means stand at the edge with an arrow."""
    found = {method: estimate for method, estimate in estimates.items() if estimate.mean is not None}
    finite = [v for e in found.values() for v in (e.mean, e.lo, e.hi) if v is not None and math.isfinite(v)]
    low, high = limits_of(finite)
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


def new_figure(down: int, across: int, width: float, height: float):
    """A figure of ``width`` x ``height`` inches and its grid of axes, a list for each of ``down`` rows."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(down, across, squeeze=False)


def limits_of(values: Sequence[float]) -> tuple[float, float]:
    """The range of the finite values with a margin; a range around it when there is only one."""
    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        return 0.0, 1.0
    low, high = min(finite), max(finite)
    margin = 0.07 * (high - low) or 0.05 * abs(high) or 0.5
    return low - margin, high + margin


def short(name: str) -> str:
    """``name``, cut where it would not fit beside a panel."""
    return name if len(name) <= 26 else name[:25] + "…"
