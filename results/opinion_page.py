"""The page and the files of a rating study: Table 2 with its intervals, plots, checks, and the paper's numbers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from results import formats, opinion_csv, opinion_plots, opinion_tables
from results.filling import fill
from results.rows import write_atomic

if TYPE_CHECKING:
    from results.opinion import Opinion
    from results.table import Table

NAME = "table2"
_ABOUT = {
    "means": "Mean opinion score of every method with its 95 % interval over participants and clips. Grey squares are "
    "controls.",
    "ratings": "The ratings themselves: how often each number was given. Two methods of one mean can be rated alike by "
    "all, or be loved by half and disliked by the other half.",
    "differences": "Paired differences of all pairs of methods with their 95 % intervals. Filled and blue: different, "
    "p < 0.05 after Holm's correction. Hollow: nothing can be said.",
}


@dataclass(frozen=True)
class Picture:
    """A plot beside the page; ``width`` in CSS pixels."""

    kind: str
    file: str
    width: int

    @property
    def alt(self) -> str:
        return _ABOUT[self.kind]


@dataclass(frozen=True)
class Written:
    """``table``: Table 2 and its companions as Markdown. ``files``: what was written."""

    table: str
    files: tuple[Path, ...]


def write(opinion: Opinion, out: Path, command: str) -> Written:
    """Write every table, plot and the page to ``out``; ``command`` is shown as what made them."""
    main = opinion_tables.means(opinion, opinion.main, _title(opinion))
    everyone = None
    if opinion.everyone:
        everyone = opinion_tables.means(opinion, opinion.everyone, "With the excluded participants")
    paired = opinion_tables.comparisons(opinion, opinion.main)
    agreed, printed = opinion_tables.agreement(opinion, opinion.main), opinion_tables.published()
    shown = [table for table in (main, everyone, paired, agreed, printed) if table]
    markdown = "\n".join([*(formats.to_markdown(table) for table in shown), _exclusions(opinion)])
    latex = "\n".join(formats.to_latex(t, f"tab:{NAME}{i or ''}") for i, t in enumerate(shown))
    texts = {
        f"{NAME}.md": markdown,
        f"{NAME}.tex": latex,
        f"{NAME}.csv": opinion_csv.means(opinion, published=True),
        "mos.csv": opinion_csv.means(opinion),
        "comparisons.csv": opinion_csv.comparisons(opinion),
        "checks.csv": opinion_csv.checks(opinion.checks),
    }
    pictures = _draw(opinion, out)
    texts[f"{NAME}.html"] = _render(opinion, main, everyone, paired, agreed, printed, pictures, [*texts], command)
    for name, text in texts.items():
        write_atomic(out / name, text.encode())
    return Written(markdown, tuple(sorted(out / name for name in (*texts, *(picture.file for picture in pictures)))))


def _title(opinion: Opinion) -> str:
    return "Mean opinion scores" + (", without the excluded participants" if opinion.excluded else "")


def _exclusions(opinion: Opinion) -> str:
    """Who was left out and why, as Markdown."""
    lines = ["## Exclusions", "", _rules_are(opinion), ""]
    lines += [f"* {formats.markdown_text(text)}" for text in opinion.about.rules.texts]
    left, whole = len(opinion.excluded), len(opinion.checks)
    lines += ["", f"{left} of {whole} participants excluded.", ""]
    for check in opinion.excluded:
        lines.append(f"* {formats.markdown_text(check.participant)}: {formats.markdown_text('; '.join(check.reasons))}")
    lines += [f"* {formats.markdown_text(note)}" for note in opinion.notes]
    return "\n".join(lines).rstrip() + "\n"


def _rules_are(opinion: Opinion) -> str:
    return "Rules, from study.json:" if opinion.about.rules_given else "Default rules (study.json states none):"


def _draw(opinion: Opinion, out: Path) -> list[Picture]:
    from results import drawing

    made = []
    for kind in _ABOUT:
        figure = getattr(opinion_plots, kind)(opinion)
        if figure is not None:
            file = f"{NAME}-{kind}.png"
            drawing.save(figure, out / file)
            made.append(Picture(kind, file, round(100 * figure.get_figwidth())))
    return made


def _render(
    opinion: Opinion,
    main: Table,
    everyone: Table | None,
    paired: Table | None,
    agreed: Table,
    printed: Table,
    pictures: list[Picture],
    files: list[str],
    command: str,
) -> str:
    """The page as text. Everything that comes from the study is escaped."""
    return fill(
        "opinion.html",
        opinion=opinion,
        about=opinion.about,
        main=main,
        everyone=everyone,
        paired=paired,
        agreed=agreed,
        printed=printed,
        pictures={picture.kind: picture for picture in pictures},
        colours=opinion_plots.colours(opinion),
        counts=opinion_tables.counts(opinion.main),
        remark=opinion_tables.data_remark(opinion.about) if opinion.about.mark else "",
        files=files,
        command=command,
    )
