"""A clip's row of results: filled in one way, whoever asked for the scores."""

from __future__ import annotations

from collections.abc import Mapping

from metrics.interface import Result

#: A value from fewer of the frames than this is worth a warning: the rest showed no face.
SEEN = 0.9


def fill(row: dict, results: Mapping[str, Result]) -> None:
    """Put every metric's value, details, failure and warnings into ``row``, and the status that follows from them.

    A metric without value has None there, so that it can be told from one that was not asked for. Metrics that share
    a warning (those of one detector, say) share its line. ``row`` holds "metrics", "details", "failures", "warnings".
    """
    said: dict[str, list[str]] = {}
    for name, result in results.items():
        row["metrics"][name] = result.value
        if result.details:
            row["details"][name] = result.details
        if result.failure:
            row["failures"][name] = result.failure
        for text in [*result.warnings, *_unseen(result)]:
            said.setdefault(text, []).append(name)
    row["warnings"] += [f"{_names(names)}: {text}" for text, names in said.items()]
    row["status"] = "failed" if row["failures"] else "scored"


def _unseen(result: Result) -> list[str]:
    """A face that leaves the picture, or is not found, leaves frames out of a value."""
    seen = result.details.get("detected_both")
    if result.value is None or seen is None or seen >= SEEN:
        return []
    return [f"measured on {100 * seen:.0f} % of the frames, those in which both show a face"]


def _names(names: list[str]) -> str:
    return ", ".join(names) if len(names) < 4 else f"{names[0]} and {len(names) - 1} more"
