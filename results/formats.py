"""Tables as Markdown and LaTeX. The same table gives the same bytes."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from itertools import zip_longest

from results.table import Cell, Column, Group, Table

_SUPERSCRIPT = str.maketrans("0123456789,", "⁰¹²³⁴⁵⁶⁷⁸⁹·")
_LATEX = {
    "\\": r"\textbackslash{}",
    **{char: "\\" + char for char in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
    "Δ": r"$\Delta$",
    "▲": r"$\blacktriangle$",
    "▼": r"$\blacktriangledown$",
    "∞": r"$\infty$",
    "–": "--",
    "×": r"$\times$",
    "±": r"$\pm$",
    "−": "$-$",
    "°": r"$^\circ$",
    "·": r"$\cdot$",
    "✓": r"\checkmark{}",
    "✗": r"$\times$",
}


def number(amount: float, decimals: int | None) -> str:
    """``amount`` with ``decimals`` digits after the point, "∞" and "−∞" for infinities, and a real minus sign."""
    if math.isinf(amount):
        return "∞" if amount > 0 else "−∞"
    text = f"{amount:.{3 if decimals is None else decimals}f}"
    return text.replace("-", "−") if text.strip("-0.") else text.lstrip("-")


def value(cell: Cell, decimals: int | None) -> str:
    """The cell's number with its unit; ``decimals`` are the column's, where the cell has none of its own."""
    return number(cell.value, decimals if cell.decimals is None else cell.decimals) + cell.unit


def interval(cell: Cell, decimals: int | None) -> str:
    """``[lo, hi]``, or "" for a cell without an interval."""
    if cell.lo is None or cell.hi is None:
        return ""
    decimals = decimals if cell.decimals is None else cell.decimals
    return f"[{number(cell.lo, decimals)}, {number(cell.hi, decimals)}]"


def superscript(notes: Iterable[int]) -> str:
    """Note numbers as raised digits."""
    return ",".join(map(str, notes)).translate(_SUPERSCRIPT)


def heading(group: Group) -> str:
    """The group's label with the mark that must never be missing."""
    return f"{group.label} ({group.mark})" if group.mark else group.label


def to_markdown(table: Table, level: int = 2) -> str:
    """One Markdown table for each group of numbers, each with the columns of text before it.

    Groups of check marks have no numbers of their own; they are repeated at the left of every table.
    """
    marks = [i for i, is_checks in enumerate(table.is_checks) if is_checks]
    rest = [i for i in range(len(table.groups)) if i not in marks] or marks
    parts = [f"{'#' * level} {markdown_text(table.title)}"]
    parts += ["\n".join(f"> **{markdown_text(text)}**" for text in table.warnings)] if table.warnings else []
    for i in rest:
        shown = [*(j for j in marks if j != i), i]
        parts.append(f"**{markdown_text(heading(table.groups[i]))}**")
        parts.append(_markdown_grid(table, shown))
    notes = [f"{superscript([i])} {markdown_text(text)}" for i, text in enumerate(table.notes, start=1)]
    if notes:
        parts.append("  \n".join(notes))
    parts += [markdown_text(text) for text in table.remarks]
    return "\n\n".join(parts) + "\n"


def markdown_text(text: str) -> str:
    """``text`` so that Markdown shows it as it is; underscores inside words need no escape and keep none."""
    text = re.sub(r"([\\`*\[\]|])", r"\\\1", text).replace("<", "&lt;")
    text = re.sub(r"&(?=#?\w+;)(?!lt;)", "&amp;", text)
    return re.sub(r"(?<![^\W_])_|_(?![^\W_])", r"\\_", text)


def to_latex(table: Table, label: str = "tab:results") -> str:
    r"""A table* environment with booktabs rules: each method's numbers, and below them its intervals in small print.

    The preamble needs ``\usepackage{booktabs,amssymb,graphicx}``.
    """
    columns = [column for group in table.groups for column in group.columns]
    spans = _spans(table.groups)
    top = " & ".join(
        ["", *(f"\\multicolumn{{{len(g.columns)}}}{{c}}{{{latex_text(heading(g))}}}" for g in table.groups)]
    )
    names = " & ".join([latex_text(table.stub), *(_latex_name(column) for column in columns)])
    lines = [
        "% needs \\usepackage{booktabs,amssymb,graphicx}",
        "\\begin{table*}[t]",
        "\\centering",
        *(f"\\textbf{{{latex_text(text)}}}\\par" for text in table.warnings),
        "\\setlength{\\tabcolsep}{3pt}",
        "\\resizebox{\\textwidth}{!}{%",
        f"\\begin{{tabular}}{{l{'c' * len(columns)}}}",
        "\\toprule",
        f"{top} \\\\",
        " ".join(f"\\cmidrule(lr){{{first}-{last}}}" for first, last in spans),
        f"{names} \\\\",
        "\\midrule",
    ]
    section = ""
    for row in table.rows:
        if row.section != section:
            section = row.section
            lines += ["\\midrule", f"\\multicolumn{{{len(columns) + 1}}}{{l}}{{\\emph{{{latex_text(section)}}}}} \\\\"]
        cells = [cell for group in row.cells for cell in group]
        pairs = list(zip(cells, columns, strict=True))
        lines.append(" & ".join([latex_text(row.label), *(_latex_cell(*pair) for pair in pairs)]) + " \\\\")
        lines += _latex_small_print(pairs)
    notes = [f"$^{{{i}}}$ {latex_text(text)}" for i, text in enumerate(table.notes, start=1)]
    small_print = "\\\\\n".join([*notes, *map(latex_text, table.remarks)])
    lines += ["\\bottomrule", "\\end{tabular}}", f"\\caption{{{latex_text(table.title)}}}", f"\\label{{{label}}}"]
    if small_print:
        lines.append(
            f"\\par\\smallskip\\begin{{minipage}}{{\\textwidth}}\\raggedright\\scriptsize\n{small_print}\n\\end{{minipage}}"
        )
    return "\n".join([*lines, "\\end{table*}"]) + "\n"


def latex_text(text: str) -> str:
    """``text`` with every character that LaTeX would interpret escaped."""
    return "".join(_LATEX.get(char, char) for char in text)


def _markdown_grid(table: Table, shown: list[int]) -> str:
    columns = [column for i in shown for column in table.groups[i].columns]
    head = [table.stub, *(_markdown_name(column) for column in columns)]
    lines = [head]
    section = ""
    for row in table.rows:
        if row.section != section:
            section = row.section
            lines.append([f"*{markdown_text(section)}*"] + [""] * len(columns))
        cells = [cell for i in shown for cell in row.cells[i]]
        texts = [_markdown_cell(cell, column) for cell, column in zip(cells, columns, strict=True)]
        lines.append([markdown_text(row.label), *texts])
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    padded = [
        "| " + " | ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)) + " |" for line in lines
    ]
    rule = (
        "|" + "|".join("-" * (width + 2) if i == 0 else ":" + "-" * width + ":" for i, width in enumerate(widths)) + "|"
    )
    return "\n".join([padded[0], rule, *padded[1:]])


def _markdown_name(column: Column) -> str:
    return f"{markdown_text(column.label)} {column.arrow}".strip() + superscript(column.notes)


def _markdown_cell(cell: Cell, column: Column) -> str:
    if cell.check is not None:
        return "✓" if cell.check else "✗"
    parts = []
    if cell.value is not None:
        text = value(cell, column.decimals)
        parts.append(f"**{text}**" if cell.bold else text)
        parts.append(interval(cell, column.decimals))  # brackets with a blank after them make no Markdown link
    parts += [markdown_text(cell.text), cell.count]
    return " ".join(part for part in parts if part) + superscript(cell.notes)


def _latex_name(column: Column) -> str:
    notes = f"$^{{{','.join(map(str, column.notes))}}}$" if column.notes else ""
    return f"{latex_text(column.label)}{latex_text(column.arrow)}{notes}"


def _latex_cell(cell: Cell, column: Column) -> str:
    notes = f"$^{{{','.join(map(str, cell.notes))}}}$" if cell.notes else ""
    if cell.check is not None:
        return "\\checkmark" if cell.check else "$\\times$"
    parts = []
    if cell.value is not None:
        text = latex_text(value(cell, column.decimals))
        parts.append(f"\\textbf{{{text}}}" if cell.bold else text)
    parts += [latex_text(cell.text), f"{{\\scriptsize {cell.count}}}" if cell.count else ""]
    return " ".join(part for part in parts if part) + notes


def _latex_small_print(pairs: Sequence[tuple[Cell, Column]]) -> list[str]:
    """The rows of small print below a row: intervals, then the cells' own lines."""
    stacks = []
    for cell, column in pairs:
        shown = interval(cell, column.decimals)
        stacks.append([*([shown] if shown else []), *cell.below])
    lines = []
    for level in zip_longest(*stacks, fillvalue=""):
        texts = (f"{{\\scriptsize {latex_text(text)}}}" if text else "" for text in level)
        lines.append(" & ".join(["", *texts]) + " \\\\")
    return lines


def _spans(groups: tuple[Group, ...]) -> list[tuple[int, int]]:
    """The first and last column of each group, counted from 1, the stub being column 1."""
    spans, first = [], 2
    for group in groups:
        spans.append((first, first + len(group.columns) - 1))
        first += len(group.columns)
    return spans
