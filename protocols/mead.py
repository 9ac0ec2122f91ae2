"""The first-frame-reference protocol on MEAD: ``python -m protocols.mead --help``."""

from __future__ import annotations

import sys
from pathlib import Path

from protocols import cli, cliplist, prepare

DESCRIPTION = """Score a method on MEAD clips, the first frame of each as identity reference.

DIR holds <actor>/video/front/<emotion>/level_<n>/<NNN>.mp4 (and <actor>/audio/...) as each actor's archives unpack.
The list is the published one (5 speakers x 5 videos x 8 emotions, protocols/lists/mead-first-frame.v1.json) when at
least half of it is in DIR, and otherwise drawn from DIR by the same rule. Faces are found and cropped as FOMM does;
the boxes are stored in the run's list.json, which --list takes, so that nobody needs to detect again.
"""


def main(argv: list[str] | None = None) -> int:
    p = cli.parser("python -m protocols.mead", DESCRIPTION)
    p.add_argument("--data", type=Path, required=True, metavar="DIR", help="the MEAD tree")
    p.add_argument("--method", required=True, help="what to score; see below")
    p.add_argument("--name", help="the method's name in tables (default: its own)")
    p.add_argument("--out", type=Path, help="folder for rows, run.json and videos (default: results/runs/mead/METHOD)")
    p.add_argument(
        "--list",
        default="auto",
        metavar="LIST",
        help="auto (default), published, tree, or a file made by protocols.prepare",
    )
    prepare.add_crop_options(p, default="fomm")
    args = p.parse_args(argv)
    return cli.guarded(lambda: _main(args))


def _main(args) -> int:
    out = args.out or Path("results/runs/mead") / cli.slug(args.name or args.method)
    return cli.evaluate(clip_list(args, args.data), args.data, args.method, out, args, args.name)


def clip_list(args, root: Path) -> cliplist.ClipList:
    """The list that the options ask for, with crops."""
    clips = cliplist.mead(root, args.list) if args.list in ("auto", "published", "tree") else cliplist.load(args.list)
    return prepare.with_crops(clips.limited(args.limit), root, args)


if __name__ == "__main__":
    sys.exit(main())
