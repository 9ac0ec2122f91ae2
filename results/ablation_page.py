"""The files of an ablation: the table as Markdown, CSV, LaTeX and a page with its intervals."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from results import ablation, ablation_tables, formats
from results.ablation import Ablation
from results.filling import fill
from results.rows import write_atomic
from results.table import Table

_ABOUT = {
    "intervals": "Mean over clips of every variant, seeds averaged, with its 95 % interval over speakers.",
    "differences": "Paired differences to the full model, clip by clip, with 95 % intervals. In the shaded half the "
    "variant is better. Filled: the interval excludes 0. Hollow: nothing can be said.",
}


@dataclass(frozen=True)
class Written:
    """``markdown``: all tables. ``missing``: one line for each thing that was asked for and is not there."""

    markdown: str
    files: tuple[Path, ...]
    missing: tuple[str, ...]


@dataclass(frozen=True)
class Picture:
    """A plot beside the page; ``width`` in CSS pixels."""

    file: str
    width: int
    alt: str


def write(table: str, folder: Path, out: Path, name: str, command: str) -> Written:
    """Make the report of ``table`` from the runs in ``folder``; files ``name``.* go to ``out``. ResultsError."""
    found = ablation.load(table, folder)
    main, paired = ablation_tables.means(found), ablation_tables.differences(found)
    agreed, printed = ablation_tables.agreements(found), ablation_tables.published(found)
    before = [main, *([paired] if paired else [])]
    markdown = "\n".join(
        [
            *(formats.to_markdown(item) for item in before),
            ablation_tables.agreement_lines(agreed),
            formats.to_markdown(printed),
        ]
    )
    pictures = _draw(found, out, name)
    texts = {
        f"{name}.md": markdown,
        f"{name}.tex": "\n".join(formats.to_latex(t, f"tab:{name}{i or ''}") for i, t in enumerate([*before, printed])),
        f"{name}.csv": ablation_tables.to_csv(found),
    }
    texts[f"{name}.html"] = _render(found, main, paired, agreed, printed, pictures, [*texts], command)
    for file, text in texts.items():
        write_atomic(out / file, text.encode())
    files = sorted(out / file for file in (*texts, *(picture.file for picture in pictures.values())))
    return Written(markdown, tuple(files), found.missing)


def _draw(found: Ablation, out: Path, name: str) -> dict[str, Picture]:
    from results import drawing, plots

    made = {}
    block = ablation_tables.block_of(found)
    # a panel has no room for the whole name
    metrics = [
        replace(m, column="pose spread") if m.name == ablation.POSE else m for m in ablation_tables.columns(found)
    ]
    for kind, about in _ABOUT.items():
        figure = getattr(plots, kind)(found.summary, block, metrics)
        if figure is not None:
            file = f"{name}-{kind}.png"
            drawing.save(figure, out / file)
            made[kind] = Picture(file, round(100 * figure.get_figwidth()), about)
    return made


def _render(
    found: Ablation,
    main: Table,
    paired: Table | None,
    agreed: list,
    printed: Table,
    pictures: dict[str, Picture],
    files: list[str],
    command: str,
) -> str:
    """The page as text; everything from runs is escaped."""
    from results import drawing

    return fill(
        "ablation.html",
        ablation=found,
        main=main,
        paired=paired,
        agreed=agreed,
        printed=printed,
        pictures=pictures,
        block=ablation_tables.block_of(found),
        colours={method: drawing.colour(found.summary, method) for method in found.summary.methods},
        files=files,
        command=command,
    )
