"""Pictures of the control table: r and error of every method on every factor, with the measuring network's floor."""

from __future__ import annotations

from typing import TYPE_CHECKING

from results.control import CONTROLLED, FLOOR, NOTHING, THRESHOLD, Control, Factor
from results.drawing import forest, panels, styled
from results.statistics import Estimate
from results.summary import Summary

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FLOOR_INK, FLOOR_TINT = "#17693F", "#DDEEE4"


@styled
def scores(summary: Summary, control: Control) -> Figure | None:
    """Correlations (of identity the cosine), a panel for each factor on one scale; None when no method has a value."""
    shown = [factor for factor in control.factors if _has_score(control, factor)]
    found = [control.cells[method, factor.key].score for factor in shown for method in control.methods]
    low = min([0.0, *(v for e in found for v in (e.mean, e.lo) if v is not None)])
    high = max([1.0, *(v for e in found for v in (e.mean, e.hi) if v is not None)])

    def draw(axes: Axes, factor: Factor, methods: list[str]) -> None:
        cells = {method: control.cells[method, factor.key] for method in methods}
        controlled = {method for method, cell in cells.items() if cell.verdict == CONTROLLED}
        forest(axes, summary, methods, {m: cell.score for m, cell in cells.items()}, filled=controlled.__contains__)
        axes.set_xlim(low - 0.06 * (high - low), high + 0.06 * (high - low))
        floor = control.floor(factor)
        _band(axes, floor.score if floor else None)
        if not factor.is_identity:
            axes.axvline(THRESHOLD, color="#888888", lw=0.8, ls=(0, (2, 2)), zorder=1)
        axes.set_title(factor.label, fontweight="bold")
        axes.set_xlabel("cosine" if factor.is_identity else "r")

    title = f"{control.block.text}: r with the truth, mean over clips with 95 % interval{_legend(control)}"
    return panels(shown, control.methods, draw, title, summary)


@styled
def errors(summary: Summary, control: Control) -> Figure | None:
    """The error, one panel for each factor, each on a scale of its own from 0; None when no method has a value."""
    shown = [f for f in control.factors if any(e is not None and e.mean is not None for e in _errors(control, f))]

    def draw(axes: Axes, factor: Factor, methods: list[str]) -> None:
        cells = {method: control.cells[method, factor.key] for method in methods}
        controlled = {method for method, cell in cells.items() if cell.verdict == CONTROLLED}
        forest(axes, summary, methods, {m: cell.error for m, cell in cells.items()}, filled=controlled.__contains__)
        high = axes.get_xlim()[1]
        axes.set_xlim(-0.04 * high, high)
        floor = control.floor(factor)
        _band(axes, floor.error if floor else None)
        still = next((cell.error for cell in cells.values() if cell.run.name == NOTHING), None)
        if still is not None and still.mean is not None:
            axes.axvline(still.mean, color="#888888", lw=0.8, ls=(0, (2, 2)), zorder=1)
        axes.set_title(factor.label, fontweight="bold")
        unit = control.units.get(factor.key)
        axes.set_xlabel(f"error ({unit})" if unit else "error")

    title = f"{control.block.text}: error against the truth, mean over clips with 95 % interval{_legend(control)}"
    return panels(shown, control.methods, draw, title, summary)


def _band(axes: Axes, floor: Estimate | None) -> None:
    """The floor and its interval, behind the points."""
    if floor is None or floor.mean is None:
        return
    if floor.lo is not None:
        axes.axvspan(floor.lo, floor.hi, color=FLOOR_TINT, lw=0, zorder=0)
    axes.axvline(floor.mean, color=FLOOR_INK, lw=1, zorder=1)


def _legend(control: Control) -> str:
    return f"; green: floor ({FLOOR})" if control.named(FLOOR) else "; floor unknown"


def _has_score(control: Control, factor: Factor) -> bool:
    return any(control.cells[method, factor.key].score.mean is not None for method in control.methods)


def _errors(control: Control, factor: Factor) -> list[Estimate | None]:
    return [control.cells[method, factor.key].error for method in control.methods]
