"""The first-frame-reference protocol on VoxCeleb2's test split: ``python -m protocols.voxceleb2 --help``."""

from __future__ import annotations

import sys
from pathlib import Path

from protocols import cli, cliplist, prepare

DESCRIPTION = """Score a method on VoxCeleb2 clips, the first frame of each as identity reference.

DIR holds test/mp4/<id>/<video>/<utterance>.mp4 (and test/aac for the sound) as the official archives unpack.
By default 5 utterances of each identity are taken, by a rule that gives the same list on the same tree.
"""


def main(argv: list[str] | None = None) -> int:
    p = cli.parser("python -m protocols.voxceleb2", DESCRIPTION)
    p.add_argument("--data", type=Path, required=True, metavar="DIR", help="the VoxCeleb2 tree")
    p.add_argument("--method", required=True, help="what to score; see below")
    p.add_argument("--name", help="the method's name in tables (default: its own)")
    p.add_argument(
        "--out", type=Path, help="folder for rows, run.json and videos (default: results/runs/voxceleb2/METHOD)"
    )
    p.add_argument(
        "--list", metavar="FILE", help="a clip list made by protocols.prepare (default: drawn from the tree)"
    )
    p.add_argument(
        "--per-identity", type=int, default=cliplist.VOXCELEB2_PER_IDENTITY, help="utterances per person (default 5)"
    )
    prepare.add_crop_options(p, default="released")
    args = p.parse_args(argv)
    return cli.guarded(lambda: _main(args))


def _main(args) -> int:
    out = args.out or Path("results/runs/voxceleb2") / cli.slug(args.name or args.method)
    return cli.evaluate(clip_list(args, args.data), args.data, args.method, out, args, args.name)


def clip_list(args, root: Path) -> cliplist.ClipList:
    """The list that the options ask for, with crops."""
    clips = cliplist.load(args.list) if args.list else cliplist.voxceleb2(root, args.per_identity)
    return prepare.with_crops(clips.limited(args.limit), root, args)


if __name__ == "__main__":
    sys.exit(main())
