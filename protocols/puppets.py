"""The first-frame-reference protocol on puppets, drawn here and now: ``python -m protocols.puppets --help``.

Puppets are procedural talking heads of which everything is known (``fctfg.data.puppets``). They are written as trees in
the official layouts of VoxCeleb2 and MEAD, and go through the same code as the real ones. Nothing has to be downloaded.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

from fctfg import parallel
from fctfg.data.clips import DataError, find_mead, find_voxceleb2
from fctfg.data.puppets.layouts import LAYOUTS, plan
from protocols import cli, cliplist, prepare

DESCRIPTION = """Score a method on puppets: drawn talking heads with known truth, in the layouts of VoxCeleb2 and MEAD.

  python -m protocols.puppets --method still
  python -m protocols.puppets --method mymethods.fast:Fast --layout voxceleb2 --identities 40 --clips 2

The clips are drawn on the first run and kept. LMD and LSE are measured by two small networks that were trained on
puppets and come with the package (docs/instruments.md); the columns "control" compare the motion of the generated
video with the truth of the driving one.
"""


@dataclass(frozen=True)
class Amount:
    """How much is drawn: people, clips of each, and the clips' lengths in seconds."""

    identities: int
    clips: int
    seconds: tuple[float, float] = (3.0, 4.0)


#: What is drawn unless asked otherwise: enough for intervals over speakers, and a few minutes of two cores.
AMOUNTS = {"voxceleb2": Amount(8, 2), "mead": Amount(8, 1)}
CROPS = {"voxceleb2": "released", "mead": "fomm"}
#: a drawing in which dlib finds the face in every first frame (it misses one in some 200)
SEED = 2024


def add_options(p: argparse.ArgumentParser) -> None:
    """How many puppets, and where they are kept."""
    own = p.add_argument_group("puppets")
    default = "; ".join(f"{name}: {a.identities} people x {a.clips} clips" for name, a in AMOUNTS.items())
    own.add_argument("--identities", type=int, metavar="N", help=f"people in each layout (default: {default})")
    own.add_argument("--clips", type=int, metavar="N", help="clips of each person")
    own.add_argument("--seed", type=int, default=SEED, help="another seed, other people (default %(default)s)")
    own.add_argument("--detail", type=float, default=1.0, help="0 (plain, easy) to 1 (default)")
    own.add_argument(
        "--puppets", type=Path, metavar="DIR", help="folder that keeps what was drawn (default: beside the cache)"
    )


def main(argv: list[str] | None = None) -> int:
    p = cli.parser("python -m protocols.puppets", DESCRIPTION)
    p.add_argument("--method", required=True, help="what to score; see below")
    p.add_argument("--name", help="the method's name in tables (default: its own)")
    p.add_argument("--layout", choices=(*LAYOUTS, "both"), default="both", help="(default: %(default)s)")
    p.add_argument("--out", type=Path, help="folder for the runs (default: results/runs/puppets)")
    add_options(p)
    prepare.add_crop_options(p, default=None)
    args = p.parse_args(argv)
    return cli.guarded(lambda: _main(args))


def _main(args: argparse.Namespace) -> int:
    status, base = cli.OK, args.out or Path("results/runs/puppets")
    for layout in LAYOUTS if args.layout == "both" else (args.layout,):
        own = argparse.Namespace(**{**vars(args), "crop": args.crop or CROPS[layout]})
        root, clips = data(layout, own)
        out = base / layout / cli.slug(args.name or args.method)
        status = max(status, cli.evaluate(clips, root, args.method, out, own, args.name))
    return status


def data(layout: str, args: argparse.Namespace) -> tuple[Path, cliplist.ClipList]:
    """The tree's root and the list of what is asked for, drawing what is not there yet.

    Under shards each process draws for itself what is missing: files appear whole or not at all, and equal ones do no
    harm. Raises DataError where the tree cannot be written.
    """
    from fctfg.data.puppets import farm, write
    from fctfg.media import MediaError

    usual = AMOUNTS[layout]
    amount = Amount(
        usual.identities if args.identities is None else args.identities,
        usual.clips if args.clips is None else args.clips,
        usual.seconds,
    )
    name = f"{layout}-v{write.VERSION}-seed{args.seed}-{amount.seconds[0]:g}-{amount.seconds[1]:g}s-{args.detail:g}"
    root = (args.puppets or cli.cache_of(args).parent / "puppets") / name
    try:
        settings = write.Settings(layout, args.seed, "test", amount.seconds, args.detail)
        jobs = plan(layout, "test", args.seed, amount.identities, amount.clips)
        farm.write_all(jobs, root, settings, max(1, args.workers or parallel.default_workers()))
    except (ValueError, MediaError) as error:
        raise DataError(str(error)) from None
    wanted = {job.id for job in jobs}
    found = find_voxceleb2(root) if layout == "voxceleb2" else find_mead(root)
    chosen = tuple(clip for clip in found if clip.id in wanted)
    clips = cliplist.ClipList(
        name=f"puppets-{layout}",
        version=write.VERSION,
        protocol=f"puppets-{layout}",
        rule=f"puppets {amount.identities} x {amount.clips}, {name}",
        seed=args.seed,
        data=cliplist.PUPPETS,
        clips=chosen,
    )
    return root, prepare.with_crops(clips.limited(args.limit), root, args)


if __name__ == "__main__":
    sys.exit(main())
