"""The paper's own tables, always marked *published*: no interval, no count, no variant is known."""

from __future__ import annotations

from results import paper
from results.table import Cell, Column, Group, Notes, Table, TableRow
from results.tables import MOTIONS


def published(number: int = 1) -> Table:
    """Table ``number`` (1 to 4) of the paper as printed."""
    printed = paper.load(number)
    notes = Notes()
    methods = list(dict.fromkeys(item.method for item in printed))
    blocks = list(dict.fromkeys(item.block for item in printed))
    cells = {(item.block, item.method, item.metric): _printed(item, notes) for item in printed}
    groups = []
    for block in blocks:
        columns = {
            item.metric: Column(item.metric, item.metric, item.better) for item in printed if item.block == block
        }
        names = dict(MOTIONS) if block == paper.MOTIONS_BLOCK else {}
        label = "Controllable motions" if names else block
        shown = tuple(Column(c.key, names.get(c.key, c.label), c.better) for c in columns.values())
        groups.append(Group(label, shown, "" if names else "published"))
    rows = [
        TableRow(
            method,
            tuple(
                tuple(cells.get((block, method, column.key), Cell(text="–")) for column in group.columns)
                for block, group in zip(blocks, groups, strict=True)
            ),
        )
        for method in methods
    ]
    return Table(
        title=f"Published: Table {number} of the paper, as printed",
        stub="method",
        groups=tuple(groups),
        rows=tuple(rows),
        notes=tuple(notes.texts),
        remarks=(
            f"Published, not measured here: {paper.CITATION}. The paper states neither the clips nor the exact variant "
            "of each metric, so that these numbers and the ones above are not on one scale.",
        ),
        source="published",
    )


def _printed(item: paper.Printed, notes: Notes) -> Cell:
    if item.block == paper.MOTIONS_BLOCK:
        return Cell(check=item.text == "yes")
    return Cell(text=item.text or "–", notes=(notes.number(item.note),) if item.note else ())
