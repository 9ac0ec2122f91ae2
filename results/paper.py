"""The numbers that the FC-TFG paper prints, read from ``published/``; shown only marked *published*."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from pathlib import Path

FOLDER = Path(__file__).parent / "published"
CITATION = "That's What I Said: Fully-Controllable Talking Face Generation (ACM Multimedia 2023, arXiv 2304.03275)"
MOTIONS_BLOCK = "controllable motions"


@dataclass(frozen=True)
class Printed:
    """One number of the paper. ``text`` is what is printed, "" for a dash (then ``note`` says so)."""

    table: int
    block: str
    method: str
    metric: str
    better: str
    text: str
    note: str

    @property
    def value(self) -> float | None:
        """The printed number; None for a dash and for Table 1's check marks."""
        return None if self.text in ("", "yes", "no") else float(self.text)


@cache
def load(table: int) -> tuple[Printed, ...]:
    """Every number of Table ``table`` (1 to 4) in the paper's order. Raises ValueError for another table."""
    if table not in (1, 2, 3, 4):
        raise ValueError(f"the paper has tables 1 to 4, not {table}")
    with open(FOLDER / f"table{table}.csv", encoding="utf-8", newline="") as file:
        return tuple(
            Printed(
                int(line["table"]),
                line["block"],
                line["method"],
                line["metric"],
                line["better"],
                line["value"],
                line["note"],
            )
            for line in csv.DictReader(file)
        )
