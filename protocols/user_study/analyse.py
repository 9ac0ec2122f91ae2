"""``analyse``: from a study's ratings to Table 2. ``power``: how many participants a study needs.

The numbers are made in ``results.opinion`` and its siblings; here are the command lines.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path

from protocols.cli import OK, UsageError

NOTHING = 1  # the exit status where there is nothing to analyse

DESCRIPTION = """Turn a study's ratings into Table 2: mean opinion scores with 95 % intervals (participants and clips
both random), all paired comparisons (Holm-corrected), agreement, exclusions by attention checks, plots and a page.

  python -m protocols.user_study analyse STUDY

Written to STUDY/analysis (or --out): table2.md .tex .csv .html, mos.csv, comparisons.csv, checks.csv, ratings.csv.
Exit status: 0 a table was written; 1 there are no ratings, and no table; 2 the study cannot be used.
"""
POWER_DESCRIPTION = """How many participants show a difference between two methods?

  python -m protocols.user_study power                                   0.2 points, 20 videos, 5 methods, 3 questions
  python -m protocols.user_study power --difference 0.5 --videos 40
  python -m protocols.user_study power --study STUDY                     with the variances of its ratings (a pilot)

Participants and videos are both samples. With few videos no number of participants suffices: what is left is how
differently the methods do on different videos, and only more videos help. The answer then says how many.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``analyse``."""
    _describe(parser, DESCRIPTION)
    parser.add_argument("study", type=Path, metavar="STUDY", help="the study's folder")
    parser.add_argument("--out", type=Path, metavar="DIR", help="where to write (default: STUDY/analysis)")


def run(args: argparse.Namespace) -> int:
    """Analyse ``args.study``; the exit status. Nothing but ratings.csv and checks.csv is written without ratings."""
    from protocols.user_study import store
    from protocols.user_study.study import load
    from results import opinion, opinion_csv, opinion_exclusions, opinion_page
    from results.rows import ResultsError, write_atomic

    study = load(args.study)
    out = args.out or study.folder / "analysis"
    try:
        ratings = store.ratings(study)
        if len(ratings):
            found = opinion_exclusions.check(ratings, opinion.about(study.record).rules)
            write_atomic(out / "ratings.csv", ratings.to_csv(index=False, lineterminator="\n").encode())
            write_atomic(out / "checks.csv", opinion_csv.checks(found).encode())
        analysed = opinion.analyse(ratings, study.record)
        written = opinion_page.write(analysed, out, _command("analyse", args.study))
    except opinion.NoRatings as error:
        print(f"{args.study}: {error}", file=sys.stderr)
        return NOTHING
    except ResultsError as error:
        raise UsageError(f"{args.study}: {error}") from None
    print(written.table)
    for path in sorted({*written.files, out / "ratings.csv"}):
        print(path)
    return OK


def power_add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``power``."""
    _describe(parser, POWER_DESCRIPTION)
    parser.add_argument(
        "--difference", type=float, default=0.2, metavar="POINTS", help="to show (default: %(default)s)"
    )
    parser.add_argument(
        "--power", type=float, default=0.8, metavar="P", help="chance to show it (default: %(default)s)"
    )
    parser.add_argument(
        "--videos", type=int, default=20, metavar="N", help="clips, each under every method (default: 20)"
    )
    parser.add_argument("--methods", type=int, metavar="N", help="(default: 5, or the study's)")
    parser.add_argument("--questions", type=int, metavar="N", help="(default: 3, or the study's)")
    parser.add_argument("--level", type=float, default=0.05, help="of the tests taken together (default: %(default)s)")
    parser.add_argument("--sd", type=float, metavar="POINTS", help="standard deviation of single ratings (default: 1)")
    parser.add_argument(
        "--shares",
        type=float,
        nargs=3,
        metavar=("PARTICIPANT", "CLIP", "REST"),
        help="shares of that variance: participant x method, clip x method, residual (default: 0.2 0.2 0.3)",
    )
    parser.add_argument("--study", type=Path, metavar="STUDY", help="take the variances from this study's ratings")
    parser.add_argument("--out", type=Path, metavar="DIR", help="also write power.html, .md, .csv and .png there")


def power_run(args: argparse.Namespace) -> int:
    """Answer the question of ``power``; the exit status is 0 also when no number of participants suffices."""
    from results import opinion_power, opinion_power_report

    variances, source, methods, questions = _variances(args)
    try:
        question = opinion_power.Question(
            difference=args.difference,
            power=args.power,
            videos=args.videos,
            tests=opinion_power.tests(args.methods or methods, args.questions or questions),
            level=args.level,
        )
        report = opinion_power_report.answer(variances, question, source)
    except ValueError as error:
        raise UsageError(str(error)) from None
    print(report)
    if args.out:
        for path in opinion_power_report.write(variances, question, source, args.out):
            print(path)
    return OK


def _variances(args: argparse.Namespace):
    """Variances, where they come from, and how many methods and questions there are."""
    from results import opinion_power

    if args.study is None:
        sd = 1.0 if args.sd is None else args.sd
        shares = tuple(args.shares) if args.shares else opinion_power.SHARES
        try:
            given = opinion_power.of_shares(sd, shares)
        except ValueError as error:
            raise UsageError(str(error)) from None
        assumed = args.sd is None or args.shares is None
        return given, opinion_power.ASSUMED if assumed else "given on the command line", 5, 3
    if args.sd is not None or args.shares:
        raise UsageError("--study measures the variances; leave --sd and --shares out, or --study")
    from protocols.user_study import store
    from protocols.user_study.study import load
    from results import opinion
    from results.rows import ResultsError

    study = load(args.study)
    try:
        analysed = opinion.analyse(store.ratings(study), study.record)
        given = opinion_power.of_study(analysed)
    except ResultsError as error:
        raise UsageError(f"{args.study}: {error}") from None
    source = (
        f"estimated from {args.study}: {len(analysed.main.participants)} participants, {len(analysed.main.clips)} clips"
    )
    methods = [m for m in analysed.about.methods if m not in analysed.about.controls]
    return given, source, max(2, len(methods)), len(analysed.about.questions)


def _command(name: str, study: Path) -> str:
    return shlex.join(["python", "-m", "protocols.user_study", name, str(study)])


def _describe(parser: argparse.ArgumentParser, text: str) -> None:
    parser.description = text
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
