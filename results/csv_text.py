"""How the CSV files are written: numbers that do not tell machines apart, lines that end alike everywhere."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence


def number(value: float | None) -> str:
    """Six significant digits: too few for rounding noise between machines to show, more than anyone prints."""
    if value is None:
        return ""
    text = f"{value:.6g}"
    return "0" if text == "-0" else text


def written(columns: Sequence[str], lines: Iterable[dict]) -> str:
    """The file's text: the columns' names, then each line; what a line lacks is empty."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue()
