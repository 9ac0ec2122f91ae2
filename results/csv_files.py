"""Results as CSV, one number a line. The same rows give the same bytes: no time, no machine, no order of files."""

from __future__ import annotations

from collections.abc import Sequence

from results import paper
from results.control import NOTHING, Control
from results.csv_text import number, written
from results.statistics import Estimate
from results.summary import Summary

MEANS = (
    *("method", "block", "data", "metric", "variant", "value", "ci_lo", "ci_hi", "n", "n_expected", "n_failed"),
    *("source", "list_sha256", "method_sha256", "kind", "better", "version", "n_infinite", "n_speakers"),
    *("list_name", "list_version", "note"),
)
CONTROL = (
    *("method", "block", "data", "factor", "declared", "number", "unit", "variant", "value", "ci_lo", "ci_hi", "n"),
    *("n_infinite", "n_speakers", "n_expected", "floor", "floor_ci_lo", "floor_ci_hi", "difference", "difference_to"),
    *("difference_ci_lo", "difference_ci_hi", "verdict", "why"),
)
PAIRED = (
    *("method", "baseline", "block", "data", "metric", "variant", "difference", "ci_lo", "ci_hi", "n", "n_infinite"),
    *("n_speakers", "better", "verdict", "note"),
)


def means(summary: Summary) -> str:
    """Every mean of every run with its interval, then the paper's numbers, one a line; see ``MEANS``."""
    lines = []
    for method in summary.methods:
        for block in summary.blocks:
            if (run := summary.run(method, block)) is None:
                continue
            about = {
                "method": method,
                "block": block.name,
                "data": block.data,
                "source": "run",
                "kind": run.info["method"].get("kind", ""),
                "list_sha256": run.list_sha256,
                "list_name": run.info["list"].get("name", ""),
                "list_version": run.info["list"].get("version", ""),
                "method_sha256": run.method_sha256,
                "n_expected": run.n_expected,
            }
            for metric in summary.metrics:
                if metric.name not in run.info["metrics"] and metric.name not in run.unavailable:
                    continue
                estimate = summary.estimates[method, block, metric.name]
                reason = run.unavailable.get(metric.name)
                note = f"unavailable: {reason}" if reason else estimate.reason or ""
                if metric.of_set and not reason:
                    reason = estimate.mean is None
                    note = "; ".join(filter(None, ["one value of the set", note]))
                lines.append(
                    {
                        **about,
                        "metric": metric.column,
                        "variant": metric.name,
                        "better": metric.better,
                        "version": metric.version,
                        "n_failed": "" if reason else len(run.rows) - estimate.n,
                        "note": note,
                        **_csv_estimate(estimate, "value"),
                    }
                )
    for item in paper.load(1):
        if item.block != paper.MOTIONS_BLOCK:
            lines.append(
                {
                    "method": item.method,
                    "block": item.block,
                    "data": "as published",
                    "metric": item.metric,
                    "value": item.text,
                    "source": "published",
                    "better": item.better,
                    "note": item.note,
                }
            )
    return written(MEANS, lines)


def paired(summary: Summary) -> str:
    """Every paired difference against the baseline, one a line; see ``PAIRED``."""
    lines = []
    for (method, block, name), difference in summary.differences.items():
        metric = summary.metric(name)
        about = {
            "method": method,
            "baseline": summary.baseline,
            "block": block.name,
            "data": block.data,
            "metric": metric.column,
            "variant": name,
            "better": metric.better,
            "verdict": difference.verdict,
            "note": difference.estimate.reason or "",
        }
        lines.append({**about, **_csv_estimate(difference.estimate, "difference")})
    return written(PAIRED, lines)


def control(found: Sequence[Control]) -> str:
    """Every number of the control tables, one a line: r and error of each factor, the cosine of identity.

    ``difference`` is to what the verdict compares with: the error of ``still``, for identity the strangers' 95th
    percentile. ``floor`` is empty where ``truth`` has not been run.
    """
    lines = []
    for here in found:
        for cell in here.cells.values():
            floor = here.floor(cell.factor)
            compared = {}
            if cell.gain is not None:
                compared = {
                    "difference_to": "strangers' 95th percentile" if cell.factor.is_identity else NOTHING,
                    "difference": number(cell.gain.estimate.mean),
                    "difference_ci_lo": number(cell.gain.estimate.lo),
                    "difference_ci_hi": number(cell.gain.estimate.hi),
                }
            about = {
                "method": cell.run.label,
                "block": here.block.name,
                "data": here.block.data,
                "factor": cell.factor.key,
                "declared": {None: "", True: "yes", False: "no"}[cell.declared],
                "n_expected": cell.run.n_expected,
                "verdict": cell.verdict,
                "why": cell.why,
            }
            score = _csv_estimate(cell.score, "value") | _csv_floor(floor.score if floor else None)
            if cell.factor.is_identity:
                lines.append({**about, "number": "cosine", "variant": cell.factor.score, **score, **compared})
                continue
            unit = here.units.get(cell.factor.key, "")
            error = _csv_estimate(cell.error, "value") | _csv_floor(floor.error if floor else None)
            lines.append({**about, "number": "r", "variant": cell.factor.score, **score})
            lines.append({**about, "number": "error", "variant": cell.factor.error, "unit": unit, **error, **compared})
    return written(CONTROL, lines)


def _csv_floor(estimate: Estimate | None) -> dict:
    if estimate is None:
        return {}
    return {
        "floor": number(estimate.mean),
        "floor_ci_lo": number(estimate.lo),
        "floor_ci_hi": number(estimate.hi),
    }


def _csv_estimate(estimate: Estimate, value: str) -> dict:
    return {
        value: number(estimate.mean),
        "ci_lo": number(estimate.lo),
        "ci_hi": number(estimate.hi),
        "n": estimate.n,
        "n_infinite": estimate.n_infinite,
        "n_speakers": estimate.clusters,
    }
