"""A table as plain data: rows of methods, groups of columns, cells that know where their number comes from.

``results.formats`` turns a :class:`Table` into Markdown and LaTeX, the report's template into HTML. Notes are numbered
from 1; cells and columns refer to them by number.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Column:
    """``decimals`` is None for columns of text; ``better`` is "higher", "lower" or "" for columns without direction."""

    key: str
    label: str
    better: str = ""
    decimals: int | None = None
    notes: tuple[int, ...] = ()

    @property
    def arrow(self) -> str:
        return {"higher": "↑", "lower": "↓"}.get(self.better, "")


@dataclass(frozen=True)
class Group:
    """Columns under one heading; ``mark`` (for example "puppets") stands beside the heading wherever it is shown."""

    label: str
    columns: tuple[Column, ...]
    mark: str = ""


@dataclass(frozen=True)
class Cell:
    """``value`` with ``lo`` and ``hi``, or ``text``. ``check`` is True or False for a check mark, else None.

    ``count`` is what stands beside the number ("7/9"), "" when every expected clip counts. ``below``: lines of small
    print, left out where a format has none. ``decimals`` and ``unit`` (a sign after the number): where they are the
    cell's own and not the column's. ``tone``: how the cell is shaded where there are colours ("controlled",
    "not", "undecided", "mismatch"), "" for not at all; it never says what the text does not.
    """

    value: float | None = None
    lo: float | None = None
    hi: float | None = None
    text: str = ""
    check: bool | None = None
    count: str = ""
    bold: bool = False
    notes: tuple[int, ...] = ()
    below: tuple[str, ...] = ()
    tone: str = ""
    decimals: int | None = None
    unit: str = ""


@dataclass(frozen=True)
class TableRow:
    """``cells`` holds one tuple for each group; ``section`` ("controls", "published", ...) is "" for the first part."""

    label: str
    cells: tuple[tuple[Cell, ...], ...]
    section: str = ""


@dataclass(frozen=True)
class Table:
    """``warnings`` stand above the table; ``notes`` below it, in the order of their numbers, then ``remarks``."""

    title: str
    stub: str
    groups: tuple[Group, ...]
    rows: tuple[TableRow, ...]
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    source: str = "run"

    @property
    def is_checks(self) -> tuple[bool, ...]:
        """For each group whether it holds check marks, and so describes methods instead of measuring them."""
        return tuple(
            bool(self.rows) and all(cell.check is not None for row in self.rows for cell in row.cells[i])
            for i in range(len(self.groups))
        )


@dataclass
class Notes:
    """Collects notes; the same text gets the same number."""

    texts: list[str] = field(default_factory=list)

    def number(self, text: str) -> int:
        if text not in self.texts:
            self.texts.append(text)
        return self.texts.index(text) + 1
