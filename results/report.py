"""The report: ``python -m results.report RUN...`` turns the folders of evaluations into tables, plots and a page."""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path

DESCRIPTION = """\
Turn evaluated runs into Table 1 with 95 % intervals, as Markdown, CSV, LaTeX and a
self-contained HTML page with plots, coverage, film strips and what it takes to reproduce it.

RUN is the --out folder of an evaluation, or any folder above several of them. Give as many as
you like: methods become rows, blocks (VoxCeleb2, MEAD) become groups of columns.
"""
EPILOG = """\
examples:
  python -m results.report runs/                      everything below runs/, to results/reports/table1.*
  python -m results.report runs/a runs/b --name mine  two runs, to results/reports/mine.*
  python -m results.report runs/ --baseline fctfg     paired differences against another method
  python -m results.report runs/ --allow-missing      exit with 0 although clips are missing

written to --out:
  NAME.md  NAME.csv  NAME.tex  NAME.html, and NAME_files/ with the plots, the film strips, paired.csv and,
  where control was measured (on puppets), control.csv

exit status:
  0  every expected clip of every run is scored
  1  clips are missing or failed; everything is written and marked INCOMPLETE (--allow-missing makes it 0)
  2  the arguments or the runs cannot be used; one line on stderr says why
"""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str):
        self.exit(2, f"error: {message}; see python -m results.report --help\n")


def parser() -> argparse.ArgumentParser:
    """The command line; building it imports nothing heavy."""
    made = _Parser(
        prog="python -m results.report",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("runs", nargs="+", metavar="RUN", help="folder of a run, or a folder with runs below it")
    made.add_argument("--out", default="results/reports", metavar="DIR", help="where to write (default: %(default)s)")
    made.add_argument("--name", default="table1", help="name of the files written (default: %(default)s)")
    made.add_argument("--title", default="Talking faces: Table 1", help="title of the report (default: %(default)s)")
    made.add_argument(
        "--baseline",
        metavar="METHOD",
        help="method that the others are compared with, clip by clip (default: still, where it is among the runs)",
    )
    made.add_argument(
        "--strips",
        type=_count,
        default=24,
        metavar="N",
        help="clips of each block to show as film strips (default: 24)",
    )
    made.add_argument(
        "--draws", type=_count, default=2000, metavar="N", help="bootstrap draws behind every interval (default: 2000)"
    )
    made.add_argument(
        "--unavailable",
        action="append",
        default=[],
        metavar="METHOD=WHY",
        help="list a method that could not be run, with the reason; repeatable",
    )
    made.add_argument(
        "--allow-missing", action="store_true", help="exit with 0 although clips are missing; the table still says so"
    )
    made.add_argument(
        "--allow-mixed",
        action="store_true",
        help="show runs made with different lists or metric definitions side by side; the table says so",
    )
    return made


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit status. Errors of the user's are one line on stderr."""
    given = parser().parse_args(arguments)
    from results.rows import ResultsError

    try:
        return _report(given)
    except ResultsError as error:
        print(f"error: {error}", file=sys.stderr)
    except BrokenPipeError:
        raise
    except OSError as error:
        print(
            f"error: {error.filename or given.out}: {error.strerror or error}; check --out and the runs",
            file=sys.stderr,
        )
    return 2


def _report(given: argparse.Namespace) -> int:
    from results import csv_files, formats, page, published_table, runs, strips, tables
    from results.control import measure
    from results.rows import ResultsError, write_atomic
    from results.summary import BASELINE, further, summarise, table1

    if given.name != Path(given.name).name or given.name in ("", ".", ".."):
        raise ResultsError(f"--name {given.name}: give a plain file name without a folder or ending")
    if given.draws < 100:
        raise ResultsError(f"--draws {given.draws}: an interval needs at least 100")
    loaded, mixed = runs.load_all(given.runs, allow_mixed=given.allow_mixed)
    methods = list(dict.fromkeys(run.label for run in loaded))
    if given.baseline is not None and given.baseline not in methods:
        raise ResultsError(
            f"--baseline {given.baseline}: no such method among the runs; there are {', '.join(methods)}"
        )
    absent = dict(text.partition("=")[::2] for text in given.unavailable)
    options = {"mixed": mixed, "absent": absent, "draws": given.draws}
    summary = summarise(loaded, baseline=given.baseline or BASELINE, **options)

    main, more = table1(summary), further(summary)
    for block in summary.blocks:
        if not main[block]:
            main[block], more[block] = more[block], []
    control = measure(summary)
    shown = [tables.means(summary, main, given.title)] if any(main.values()) or not control else []
    if any(more.values()):
        shown.append(tables.means(summary, more, "Further metrics", motions=False))
    controls, details = _control_tables(summary, control)
    paired = tables.differences(summary, {block: [*main[block], *more[block]] for block in summary.blocks})
    printed = published_table.published(1)

    out = Path(given.out)
    folder = out / f"{given.name}_files"
    after = [*([paired] if paired else []), printed]
    markdown = "\n".join(formats.to_markdown(table) for table in (*shown, *controls, *details, *after))
    label = f"tab:{strips.file_name(given.name)}"
    latex = [formats.to_latex(t, f"{label}{i or ''}") for i, t in enumerate((*shown, *controls, *after))]
    files = {
        out / f"{given.name}.md": markdown,
        out / f"{given.name}.csv": csv_files.means(summary),
        out / f"{given.name}.tex": "\n".join(latex),
        folder / "paired.csv": csv_files.paired(summary),
    }
    if control:
        files[folder / "control.csv"] = csv_files.control(control)
    content = page.Content(
        title=given.title,
        summary=summary,
        tables=tuple(shown),
        controls=tuple(zip((found.block for found in control), controls, strict=True)),
        paired=paired,
        published=printed,
        pictures=tuple(_draw(summary, (main, more), control, folder)),
        clips=tuple(strips.collect(summary, main, given.strips, folder)),
        files=tuple(path.relative_to(out).as_posix() for path in files),
        command=_command(given),
    )
    files[out / f"{given.name}.html"] = page.render(content)
    for path, text in files.items():
        write_atomic(path, text.encode())

    print(markdown)
    for path in sorted(files):
        print(path)
    return _verdict(summary, given.allow_missing)


def _control_tables(summary, control) -> tuple[list, list]:
    """The control table of each block that has one, and its numbers at length."""
    from results import control_table

    return (
        [control_table.matrix(summary, found) for found in control],
        [control_table.detail(summary, found) for found in control],
    )


def _draw(summary, columns, control, folder: Path):
    """Write every plot to ``folder``; yields what the page has to know of each."""
    from results import control_plots, drawing, page, plots, strips

    made = [
        (kind, f"{kind}{part}", block, getattr(plots, kind)(summary, block, metrics[block]))
        for block in summary.blocks
        for kind in ("intervals", "differences", "scatter")
        for part, metrics in zip(("", "-more"), columns, strict=True)
    ]
    for found in control:
        made.append(("control-r", "control-r", found.block, control_plots.scores(summary, found)))
        made.append(("control-error", "control-error", found.block, control_plots.errors(summary, found)))
    for kind, name, block, figure in made:
        if figure is not None:
            file = f"{strips.file_name(f'{block.slug}-{name}')}.png"
            drawing.save(figure, folder / file)
            yield page.Picture(kind, block, f"{folder.name}/{file}", round(100 * figure.get_figwidth()))


def _verdict(summary, allow_missing: bool) -> int:
    """The exit status; on stderr one line for each incomplete run."""
    for run in summary.incomplete:
        clip, reasons = next(iter(run.failures.items()))
        metric, reason = next(iter(reasons.items()))
        what = reason if metric == "*" else f"{metric}: {reason}"
        print(
            f"incomplete: {run.path}: {run.n_scored} of {run.n_expected} clips scored, {run.n_failed} failed, "
            f"{run.n_not_run} not run; the first is {clip} ({what})",
            file=sys.stderr,
        )
    if not summary.incomplete:
        return 0
    if not allow_missing:
        print("run the evaluation again to fill the gaps, or accept them with --allow-missing", file=sys.stderr)
    return 0 if allow_missing else 1


def _command(given: argparse.Namespace) -> str:
    words = ["python", "-m", "results.report", *given.runs, "--name", given.name]
    words += ["--baseline", given.baseline] if given.baseline else []
    words += ["--allow-mixed"] if given.allow_mixed else []
    return shlex.join(words)


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text} is not a whole number")
    return int(text)


if __name__ == "__main__":
    try:
        sys.stdout.reconfigure(encoding="utf-8")  # the table has arrows and raised digits, also in an ASCII locale
        sys.exit(main())
    except BrokenPipeError:  # for example: piped to head
        sys.stderr.close()
        sys.exit(0)
