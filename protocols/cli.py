"""What ``python -m protocols.voxceleb2``, ``protocols.mead`` and ``protocols.table1`` have in common."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Callable
from pathlib import Path

from fctfg.data.clips import DataError
from protocols.cliplist import PUPPETS, ClipList
from protocols.methods import REGISTRY, MethodError

#: Exit statuses: everything scored; some clip failed; the command itself cannot be carried out.
OK, INCOMPLETE, UNUSABLE = 0, 1, 2

EPILOG = f"""methods:
  {", ".join(REGISTRY)}
  videos:DIR            ready-made videos in DIR named by clip id, any size and frame rate
  command:PROGRAM ARGS  an external program ({{reference}} {{driving}} {{audio}} {{output}} are its files)
  module:Class          a class of your own
  `python -m protocols.methods` says more of each.

exit status: 0 every clip scored; 1 some failed (see run.json) unless --allow-missing; 2 the command cannot run.
An interrupted run resumes: give the same command again. Several machines: --shard 0/8 ... 7/8 with one --out on a
shared disk, or the same command under torchrun; rows merge by clip id.
"""


class UsageError(ValueError):
    """Options that do not go together; the message is one line."""


def parser(prog: str, description: str) -> argparse.ArgumentParser:
    """A parser with the options that every evaluation takes."""
    p = argparse.ArgumentParser(
        prog=prog, description=description, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument(
        "--metrics",
        nargs="+",
        metavar="NAME",
        help="metric variants (default: Table 1's; on puppets the control columns, too)",
    )
    p.add_argument(
        "--reuse",
        choices=("always", "only-missing", "never", "only-cache"),
        default="only-missing",
        help="what to do with earlier work: only-missing keeps scored clips and tries failed ones again (default); "
        "always keeps failures too; never computes everything anew; only-cache computes no frames and no landmarks",
    )
    p.add_argument(
        "--shard",
        type=shard,
        metavar="I/N",
        help="take clips I, I+N, ... of the list (default 0/1, or torchrun's rank)",
    )
    p.add_argument(
        "--workers", type=int, default=0, help="clips in work at the same time (default: one per core, at most 8)"
    )
    p.add_argument("--device", default="auto", help="cpu, cuda, cuda:1 ... (default: a GPU when there is one)")
    p.add_argument(
        "--cache", type=Path, help="folder of landmarks and boxes shared by all runs (default: ~/.cache/fctfg/stages)"
    )
    p.add_argument(
        "--limit", type=int, metavar="N", help="only the first N clips of the list; the run is then a sample"
    )
    p.add_argument("--allow-missing", action="store_true", help="exit 0 although clips failed; tables still say so")
    p.add_argument("--no-strips", action="store_true", help="write no film strips for the report")
    return p


def shard(text: str) -> tuple[int, int]:
    """``"2/8"`` -> (2, 8)."""
    try:
        index, count = (int(part) for part in text.split("/"))
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}' is not I/N, such as 0/3") from None
    if not 0 <= index < count:
        raise argparse.ArgumentTypeError(
            f"'{text}': shards count from 0, so 0/{max(count, 1)} ... {max(count, 1) - 1}/{max(count, 1)}"
        )
    return index, count


def at_least_1(text: str) -> int:
    """A count, as an argument is read."""
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text}: give a whole number, at least 1")
    return int(text)


def shard_of(args: argparse.Namespace) -> tuple[int, int]:
    """--shard if given, else torchrun's RANK and WORLD_SIZE, else everything."""
    if args.shard:
        return args.shard
    return int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))


def device_of(args: argparse.Namespace) -> str:
    """The torch device name; under torchrun each process takes the GPU of its LOCAL_RANK."""
    if args.device != "auto":
        return args.device
    import torch

    return f"cuda:{os.environ.get('LOCAL_RANK', 0)}" if torch.cuda.is_available() else "cpu"


def cache_of(args: argparse.Namespace) -> Path:
    """The folder of stage outputs that all runs share."""
    if args.cache:
        return args.cache
    if os.environ.get("FCTFG_CACHE"):
        return Path(os.environ["FCTFG_CACHE"])
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "fctfg" / "stages"


def evaluate(
    clips: ClipList, root: Path, spec: str, out: Path, args: argparse.Namespace, name: str | None = None
) -> int:
    """Run one method on one list into ``out``; the exit status."""
    from metrics import registry
    from metrics.evaluate import Evaluator
    from protocols import methods, run
    from protocols.first_frame import Evaluation

    method = methods.load(spec, name)
    device = device_of(args)
    if hasattr(method, "device"):
        method.device = device
    for name in args.metrics or ():
        try:
            registry.get(name)
        except ValueError as error:
            raise UsageError(str(error)) from None
    names = tuple(dict.fromkeys(args.metrics or registry.default(clips.data == PUPPETS)))
    evaluator = Evaluator(names, device=device, cache=cache_of(args), reuse=args.reuse)
    evaluation = Evaluation(
        root=root,
        out=out,
        clips=clips,
        method=method,
        method_record=methods.describe(method, spec),
        metrics=names,
        evaluator=evaluator,
        reuse=args.reuse,
        strips=not args.no_strips,
    )
    outcome = run.run(evaluation, shard=shard_of(args), workers=args.workers, command=command_line())
    return run.report(outcome, args.allow_missing)


def guarded(main: Callable[[], int]) -> int:
    """Run a command; what a user can put right ends as one line on stderr, not as a traceback."""
    from protocols.stages import OutputError
    from results.rows import ResultsError

    try:
        return main()
    except (DataError, MethodError, ResultsError, OutputError, UsageError) as error:
        print(f"error: {error}", file=sys.stderr)
        return UNUSABLE
    except KeyboardInterrupt:
        print("\ninterrupted; what is complete is kept, and the same command goes on from there", file=sys.stderr)
        return 130


def command_line() -> str:
    """The command as it was given, for run.json."""
    program = sys.argv[0]
    if program.endswith(".py"):
        parts = [part for part in Path(program).with_suffix("").parts if part != "__main__"]
        program = f"python -m {'.'.join(parts[-2:])}"
    return " ".join([program, *(shlex.quote(a) for a in sys.argv[1:])])


def slug(name: str) -> str:
    """A method's name as a folder name."""
    return "".join(c if c.isalnum() or c in "-_." else "-" for c in name).strip("-") or "method"
