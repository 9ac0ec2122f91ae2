"""Table 1: every method on every data set, then the report. ``make table1`` calls this; see ``--help``."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

from protocols import cli, mead, prepare, puppets, voxceleb2
from protocols.cliplist import PUPPETS, VOXCELEB2_PER_IDENTITY, ClipList
from protocols.methods import CONTROLS, MethodError, load

#: what "all" stands for: the methods of the paper's Table 1 that there is a wrapper for, then the controls
ALL = ("wav2lip", "makeittalk", "audio2head", "pc-avs", "fctfg", *CONTROLS)
#: what is run on puppets beside the controls unless methods are named
PUPPETS_TOO = ("fctfg", "fctfg-refined")

DESCRIPTION = """Run the paper's Table 1: methods x {VoxCeleb2, MEAD}, scored by the first-frame-reference protocol.

  make table1                          (no data: FC-TFG, plain and refined, and the controls on puppets, drawn first)
  make table1 VOXCELEB2=/data/vox2 MEAD=/data/mead
  make table1 VOXCELEB2=/data/vox2 METHODS=all
  make table1 VOXCELEB2=/data/vox2 METHODS="still videos:/my/results command:'python infer.py ...'"

Rows go to OUT/<data set>/<method>, the table, plots and HTML page to REPORTS. Run it again and it goes on where it was.
"""


def main(argv: list[str] | None = None) -> int:
    p = cli.parser("python -m protocols.table1", DESCRIPTION)
    p.add_argument("--voxceleb2", type=Path, metavar="DIR", help="the VoxCeleb2 tree")
    p.add_argument("--mead", type=Path, metavar="DIR", help="the MEAD tree")
    p.add_argument(
        "--methods",
        help='methods in one string, split as a shell splits words; "all": those of the paper, the ones without '
        f'weights here listed with the reason (default: "{" ".join(CONTROLS)}"; on puppets '
        f"{' and '.join(PUPPETS_TOO)}, too, whose bundled weights know puppets alone)",
    )
    p.add_argument(
        "--out", type=Path, default=Path("results/runs/table1"), help="folder for the runs (default: %(default)s)"
    )
    p.add_argument(
        "--reports", type=Path, default=Path("results/reports"), help="folder for the table (default: %(default)s)"
    )
    p.add_argument("--name", default="table1", help="name of the report's files (default: %(default)s)")
    p.add_argument(
        "--no-report", action="store_true", help="rows only; make the report later with python -m results.report"
    )
    p.add_argument("--list", default="auto", help="MEAD's list: auto, published, tree or a file")
    p.add_argument("--per-identity", type=int, default=VOXCELEB2_PER_IDENTITY, help="VoxCeleb2 utterances per person")
    puppets.add_options(p)
    prepare.add_crop_options(p, default=None)
    args = p.parse_args(argv)
    return cli.guarded(lambda: _main(args))


def _main(args: argparse.Namespace) -> int:
    on_puppets = args.voxceleb2 is None and args.mead is None
    unless_named = " ".join((*PUPPETS_TOO * on_puppets, *CONTROLS))
    specs, absent = _specs(unless_named if args.methods is None else args.methods, on_puppets)
    status, folders = cli.OK, []
    for name, root, clips, own in _data(args):
        for spec in specs:
            out = args.out / name / cli.slug(spec)
            status = max(status, cli.evaluate(clips, root, spec, out, own))
            folders.append(out)
    if args.no_report or cli.shard_of(args)[0] != 0:
        return status
    from results import report

    options = ["--out", str(args.reports), "--name", args.name] + ["--allow-missing"] * args.allow_missing
    options += [f"--unavailable={name}={why}" for name, why in absent.items()]
    return max(status, report.main([*map(str, folders), *options]))


def _specs(methods: str, on_puppets: bool) -> tuple[list[str], dict[str, str]]:
    """The methods asked for, "all" spelled out, and those of "all" that cannot be had here, with the reason.

    What is named by itself is not left out: it fails when its turn comes.
    """
    words, absent = shlex.split(methods), {}
    if "all" not in words:
        return words, absent
    place = words.index("all")
    specs = list(dict.fromkeys([*words[:place], *ALL, *words[place + 1 :]]))
    for spec in ALL:
        if spec in words:
            continue
        if why := _why_not(spec, on_puppets):
            absent[spec] = why
            print(f"{spec}: not run: {why}", file=sys.stderr)
    return [spec for spec in specs if spec not in absent], absent


def _why_not(spec: str, on_puppets: bool) -> str:
    """Why a method of "all" cannot be run here; ''."""
    try:
        method = load(spec)
    except MethodError as error:
        return str(error).removeprefix(f"{spec}: ")
    if not on_puppets and getattr(method, "trained_on", "") == PUPPETS:
        return "the bundled weights have seen puppets alone; FCTFG_CHECKPOINT names others"
    return ""


def _data(args: argparse.Namespace) -> Iterator[tuple[str, Path, ClipList, argparse.Namespace]]:
    """Folder name, root, list and options of every block: the trees that were given, or puppets when none was."""
    given = [
        ("voxceleb2", args.voxceleb2, voxceleb2, "released"),
        ("mead", args.mead, mead, "fomm"),
    ]
    given = [entry for entry in given if entry[1] is not None]
    for name, root, module, crop in given:
        own = argparse.Namespace(**{**vars(args), "crop": args.crop or crop})
        own.list = args.list if module is mead else None
        yield name, root, module.clip_list(own, root), own
    for layout in () if given else puppets.CROPS:
        own = argparse.Namespace(**{**vars(args), "crop": args.crop or puppets.CROPS[layout]})
        yield f"puppets-{layout}", *puppets.data(layout, own), own


if __name__ == "__main__":
    sys.exit(main())
