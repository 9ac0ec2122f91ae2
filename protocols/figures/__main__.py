"""The command ``python -m protocols.figures``."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from protocols import cli
from results.ablation import PLAN
from results.rows import ResultsError

if TYPE_CHECKING:
    from fctfg.data.clips import Clip
    from protocols.figures.footage import Material
    from protocols.figures.panels import Model, Sheet

DESCRIPTION = """Draw the paper's Figures 4, 5 and 6 from runs and models on disk, and the spread of pose beside Fig. 6.

  python -m protocols.figures                       (the runs of make table1; the model that comes along)
  python -m protocols.figures --only 4 --clips 2 --runs results/runs/table1/puppets-mead
  python -m protocols.figures --only 4 --clip id70003/pufKv9kdbgJ/00001 id70005/p7NcfDemoeN/00002
  python -m protocols.figures --only 5 --checkpoint mine.safetensors --people 6
  python -m protocols.figures --only 6 --ablations results/runs/ablations
  python -m protocols.figures --runs /my/runs --voxceleb2 /data/vox2 --mead /data/mead

Figure 4: reference, driving frames, and what every method made of them at the same times. Figure 5: canonical faces of
many people, and of many frames of one. Figure 6: the same for each orthogonality variant of Table 4. docs/figures.md
says more.
"""
EPILOG = """\
Beside each PNG lies a CSV that says of every picture in it which clip, frame, run and model it shows.

exit status: 0 complete (figures for which nothing was run are left out and said, unless --only names them); 1 something
asked for is missing, which is said, unless --allow-missing; 2 the command cannot be carried out.
"""
ALL = (4, 5, 6)
CLIPS, FRAMES, PEOPLE, OF_ONE = 4, 4, 8, 8
OF_EACH = 4  # frames of each person in Figure 6


def parser() -> argparse.ArgumentParser:
    """The command's options; building it imports nothing heavy."""
    p = argparse.ArgumentParser(
        prog="python -m protocols.figures",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    p.add_argument("--only", type=int, nargs="+", choices=ALL, metavar="N", help="which figures (default: 4 5 6)")
    p.add_argument(
        "--runs",
        type=Path,
        nargs="+",
        default=[Path("results/runs/table1")],
        metavar="DIR",
        help="folders of evaluations, or of folders of them (default: results/runs/table1)",
    )
    p.add_argument("--checkpoint", metavar="FILE", help="model for Fig. 5 (default: FCTFG_CHECKPOINT, else bundled)")
    p.add_argument(
        "--ablations", type=Path, default=Path("results/runs/ablations"), metavar="DIR", help="(default: %(default)s)"
    )
    p.add_argument(
        "--out", type=Path, default=Path("results/reports/figures"), metavar="DIR", help="(default: %(default)s)"
    )
    p.add_argument("--clips", type=cli.at_least_1, default=CLIPS, metavar="N", help="clips in Fig. 4 (%(default)s)")
    p.add_argument("--clip", nargs="+", metavar="ID", help="these clips in Fig. 4; the first of them in Fig. 5b")
    p.add_argument("--frames", type=cli.at_least_1, default=FRAMES, metavar="N", help="times in Fig. 4 (%(default)s)")
    p.add_argument("--controls", action="store_true", help="rows in Fig. 4 for truth, reencode and shuffled-audio, too")
    p.add_argument("--people", type=cli.at_least_1, default=PEOPLE, metavar="N", help="people in Fig. 5a (%(default)s)")
    p.add_argument("--voxceleb2", type=Path, metavar="DIR", help="the VoxCeleb2 tree that runs are of")
    p.add_argument("--mead", type=Path, metavar="DIR", help="the MEAD tree that runs are of")
    p.add_argument("--puppets", type=Path, metavar="DIR", help="folder that keeps what was drawn")
    p.add_argument("--cache", type=Path, help="folder of stage outputs (default: ~/.cache/fctfg/stages)")
    p.add_argument("--device", default="auto", help="cpu, cuda, cuda:1 ... (default: a GPU when there is one)")
    p.add_argument("--allow-missing", action="store_true", help="exit 0 although something is missing")
    return p


def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    args = parser().parse_args(argv)
    return cli.guarded(lambda: _guarded(args))


class LeftOut(Exception):
    """A figure for which nothing was run; the message is one line: which, why, and how to make it."""


def _guarded(args: argparse.Namespace) -> int:
    from fctfg.animate import DeviceError
    from fctfg.checkpoints import MissingCheckpoint
    from fctfg.model_file import ModelFileError
    from protocols.stages import OutputError

    try:
        return _main(args)
    except (DeviceError, MissingCheckpoint, ModelFileError) as error:
        raise cli.UsageError(str(error)) from None
    except OSError as error:
        raise OutputError(f"{error.filename or args.out}: cannot be read or written ({error.strerror})") from None


def _main(args: argparse.Namespace) -> int:
    from fctfg.checkpoints import checkpoint_path

    chosen = tuple(sorted(set(args.only or ALL)))
    if 5 in chosen and _named(args):
        checkpoint_path(args.checkpoint)  # a wrong name is said before anything is drawn
    blocks: list[Material] = []
    if {4, 5} & set(chosen):
        blocks = _blocks(args)
        _named_clips(args, blocks)
    files: list[Path] = []
    missing: list[str] = []
    left_out = False
    for number in chosen:
        try:
            _FIGURES[number](args, blocks, files, missing)
        except LeftOut as why:
            print(why, file=sys.stderr)
            left_out = True
    for line in missing:
        print(f"missing: {line}", file=sys.stderr)
    for path in files:
        print(path)
    lacking = missing or (left_out and args.only)
    return cli.INCOMPLETE if lacking and not args.allow_missing else cli.OK


def _blocks(args: argparse.Namespace) -> list[Material]:
    from protocols.figures import footage

    if args.runs == [Path("results/runs/table1")] and not args.runs[0].is_dir():
        raise ResultsError(f"{args.runs[0]}: no such folder; make table1 first, or name runs with --runs DIR")
    return footage.material(args.runs, args)


def _named_clips(args: argparse.Namespace, blocks: Sequence[Material]) -> list[tuple[Material, Clip]]:
    """The clips of --clip in the order of the command line, with what they belong to. UsageError for an unknown id."""
    found = []
    for name in dict.fromkeys(args.clip or ()):
        here = [(material, clip) for material in blocks for clip in material.clips.clips if clip.id == name]
        if not here:
            raise cli.UsageError(f"{name}: no clip of {', '.join(map(str, args.runs))} has this id")
        found += here
    return found


def _figure4(args: argparse.Namespace, blocks: Sequence[Material], files: list[Path], missing: list[str]) -> None:
    from fctfg import progress
    from protocols.figures import footage, panels
    from results.strips import file_name

    named = _named_clips(args, blocks)
    chosen = []
    for material in blocks:
        listed = material.clips.clips
        clips = [c for m, c in named if m is material] if args.clip else footage.choose(listed, args.clips)
        if clips:
            chosen.append((material, clips, panels.compared(material.runs, args.controls)))
    with progress.bar(sum(len(clips) * len(runs) for _, clips, runs in chosen), "figure 4", "clip") as bar:
        for material, clips, runs in chosen:
            if not runs:
                missing.append(
                    f"figure 4: {material.block.text}: no method has been run, and --controls shows those that have"
                )
                continue
            sheet = panels.figure4(material, clips, runs, args.frames, bar.update)
            _write(sheet, args.out / f"figure4_{file_name(material.block.slug)}.png", files, missing)


def _figure5(args: argparse.Namespace, blocks: Sequence[Material], files: list[Path], missing: list[str]) -> None:
    from fctfg import progress
    from fctfg.checkpoints import MissingCheckpoint, checkpoint_path
    from fctfg.weights import sha256
    from protocols.figures import panels

    try:
        path = checkpoint_path(args.checkpoint)
    except MissingCheckpoint as why:
        if _named(args):
            raise
        raise LeftOut(f"Fig. 5 left out: {why}") from None
    model = _loader(args)("canonical", path, sha256(path))
    people = min(args.people, len({clip.identity for clip in blocks[0].clips.clips}))
    one = (*_named_clips(args, blocks), (blocks[0], blocks[0].clips.clips[0]))[0]
    with progress.bar(people + OF_ONE, "figure 5", "face") as bar:
        sheet = panels.figure5(blocks[0], people, one, OF_ONE, model, bar.update)
    _write(sheet, args.out / "figure5.png", files, missing)


def _figure6(args: argparse.Namespace, _: Sequence[Material], files: list[Path], missing: list[str]) -> None:
    """The canonical faces of each variant, and the plot of how far their pose is spread."""
    from fctfg import progress
    from protocols.ablations.files import read_json
    from protocols.figures import footage, panels
    from results import ablation, figures, runs
    from results.ablation import EVALUATION

    plan = read_json(args.ablations / PLAN)
    if "table4" not in plan.get("tables", {}):
        raise LeftOut(
            f"Fig. 6 left out: no variants of Table 4 in {args.ablations}; train them with make table4 BASE=RUN "
            "STEPS=N, or name their folder with --ablations"
        )
    models = panels.variants(args.ablations, _loader(args))
    there = [model for model in models if not isinstance(model, str)]
    if not there:
        raise LeftOut(f"Fig. 6 left out: {models[0]}")
    material = footage.of_runs([runs.load(there[0].path.parent / EVALUATION)], args)
    with progress.bar(2 * OF_EACH * len(models), "figure 6", "face") as bar:
        sheet = panels.figure6(material, models, plan, 2, OF_EACH, bar.update)
    _write(sheet, args.out / "figure6.png", files, missing)
    found = ablation.load("table4", args.ablations)
    missing += [f"pose spread: {line}" for line in found.missing]
    plot = figures.pose_spread(found)
    if plot is not None:
        path = args.out / "pose_spread.png"
        files.append(figures.write_plot(plot, path))
        record = figures.pose_record(found, args.ablations)
        files.append(figures.write_csv(path.with_suffix(".csv"), figures.POSE_COLUMNS, record))


_FIGURES = {4: _figure4, 5: _figure5, 6: _figure6}


def _named(args: argparse.Namespace) -> bool:
    """Whether a model was asked for by name, as against the one that may have come along."""
    return bool(args.checkpoint or os.environ.get("FCTFG_CHECKPOINT"))


def _loader(args: argparse.Namespace) -> Callable[[str, Path, str], Model]:
    from fctfg import animate
    from protocols.figures.panels import Model

    return lambda label, path, digest: Model(label, path, digest, animate.load(path, args.device))


def _write(sheet: Sheet, path: Path, files: list[Path], missing: list[str]) -> None:
    from results import figures

    files += figures.write(figures.draw(sheet.bands, sheet.note), path)
    missing += [f"{path.stem}: {line}" for line in sheet.missing]


if __name__ == "__main__":
    sys.exit(main())
