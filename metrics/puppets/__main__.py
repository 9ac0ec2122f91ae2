"""Train the puppets' measuring instruments anew: ``python -m metrics.puppets --help``."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

from metrics.puppets.bundled import DATA

DESCRIPTION = """Train the two networks that measure puppets: the face reader and the lip-sync network.

  python -m metrics.puppets draw frames --out puppets/frames --shards 160
  python -m metrics.puppets draw frames --out puppets/frames-test --shards 2 --split test
  python -m metrics.puppets draw clips --out puppets/clips --shards 60
  python -m metrics.puppets draw clips --out puppets/clips-test --shards 8 --split test
  python -m metrics.puppets train reader --data puppets/frames --held-out puppets/frames-test --checkpoint reader.st
  python -m metrics.puppets train sync --data puppets/clips --held-out puppets/clips-test --checkpoint sync.st
  python -m metrics.puppets evaluate reader --held-out puppets/frames-test --weights reader.st
  python -m metrics.puppets export reader --held-out puppets/frames-test --checkpoint reader.st
  python -m metrics.puppets export sync --checkpoint sync.st
"""
EPILOG = """draw      adds the shards that are missing: 256 frames each, or 8 clips of 64 frames.
train     goes on from the checkpoint where it exists. --start begins with another file's weights: to go on with a
          finished network on frames drawn anew. Another --seed or another set gives another network.
evaluate  prints figures on held-out people, as drawn and degraded, as one line of JSON each.
export    writes the averaged weights in half precision to metrics/puppets/weights, or --out.
What the networks are and how good they are: docs/instruments.md.
"""


def main(argv: list[str] | None = None) -> int:
    p = argparse.ArgumentParser(
        prog="python -m metrics.puppets",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = p.add_subparsers(dest="command", required=True)
    draw = commands.add_parser("draw", help="draw a set of frames or clips")
    draw.add_argument("kind", choices=tuple(DATA.values()))
    draw.add_argument("--out", type=Path, required=True, metavar="DIR")
    draw.add_argument("--shards", type=int, default=60, metavar="N", help="how many there are to be (default 60)")
    draw.add_argument("--split", choices=("train", "test"), default="train")
    draw.add_argument("--seed", type=int, default=0)
    draw.add_argument("--workers", type=int, default=os.cpu_count() or 1, metavar="W")

    train = commands.add_parser("train", help="train a network, or go on with it")
    train.add_argument("net", choices=tuple(DATA))
    train.add_argument("--data", type=Path, required=True, metavar="DIR")
    train.add_argument("--held-out", type=Path, metavar="DIR", help="for the figures in the log")
    train.add_argument("--checkpoint", type=Path, required=True, metavar="FILE")
    train.add_argument("--steps", type=int, help="in all (default: 12000 for reader, 1500 for sync)")
    train.add_argument("--until", type=int, help="stop at this step, to go on later")
    train.add_argument("--rate", type=float, default=2e-3, help="highest learning rate (default 2e-3)")
    train.add_argument("--seed", type=int, default=0)
    train.add_argument("--start", type=Path, metavar="FILE", help="weights to begin with")
    train.add_argument("--threads", type=int, default=1)

    evaluate = commands.add_parser("evaluate", help="figures on held-out people")
    evaluate.add_argument("net", choices=tuple(DATA))
    evaluate.add_argument("--held-out", type=Path, required=True, metavar="DIR")
    evaluate.add_argument("--weights", type=Path, metavar="FILE", help="exported or a checkpoint (default: bundled)")

    export = commands.add_parser("export", help="write the weights that are bundled")
    export.add_argument("net", choices=tuple(DATA))
    export.add_argument("--checkpoint", type=Path, required=True, metavar="FILE")
    export.add_argument("--held-out", type=Path, metavar="DIR", help="for reader: the strangers that it keeps")
    export.add_argument("--out", type=Path, metavar="FILE")
    args = p.parse_args(argv)
    if args.command == "export" and args.net == "reader" and args.held_out is None:
        p.error("export reader needs --held-out, a set of frames of the test split")
    from metrics.puppets import commands as run

    try:
        for line in getattr(run, args.command)(args) or ():
            print(json.dumps(line), flush=True)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from the last checkpoint or shard", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
