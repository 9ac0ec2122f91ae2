"""Write puppets in an official layout: ``python -m fctfg.data.puppets --help``."""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

from fctfg.data.puppets.layouts import LAYOUTS, plan

DESCRIPTION = """Write talking puppets as a VoxCeleb2 or MEAD tree: video, sound, and the truth of every frame.

  python -m fctfg.data.puppets --layout voxceleb2 --out puppets/voxceleb2 --identities 8 --clips 2 --seed 0
  python -m fctfg.data.puppets --layout mead --out puppets/mead --identities 5 --clips 8 --seed 0

Everything that reads the real trees reads these: protocols.voxceleb2 --data puppets/voxceleb2, and so on.
"""
EPILOG = """what is written:
  voxceleb2   test/mp4/<id>/<video>/<utterance>.mp4 (224x224, 25 fps, as released) and test/aac/.../<utterance>.m4a;
              --split train writes dev/ instead of test/; four utterances to a video, with any of eight emotions
  mead        <actor>/video/front/<emotion>/level_<n>/<NNN>.mp4 (1152x648, 30 fps, head in the middle) and
              <actor>/audio/<emotion>/level_<n>/<NNN>.m4a; eight clips are one of each emotion, the next at level 2
  both        truth/<clip id>.npz: motion, 68 landmarks, phonemes, identity (see fctfg/data/puppets/write.py), and
              puppets.json: the settings. Pictures are H.264, sound is AAC, mono, 16 kHz.

The same seed gives the same truth, however many workers write it. Train and test people never overlap. More
--identities or --clips add to a tree; an interrupted or killed run resumes: give the same command again.
exit status: 0 everything is there; 2 it cannot be written; 130 interrupted.
"""


def main(argv: list[str] | None = None) -> int:
    p = argparse.ArgumentParser(
        prog="python -m fctfg.data.puppets",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    p.add_argument("--layout", choices=tuple(LAYOUTS), required=True)
    p.add_argument("--out", type=Path, required=True, metavar="DIR", help="the tree's root; made if missing")
    p.add_argument("--identities", type=int, default=8, metavar="N", help="people (default 8)")
    p.add_argument("--clips", type=int, default=2, metavar="N", help="clips of each (default 2)")
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--split", choices=("train", "test"), default="test", help="which people (default test)")
    p.add_argument("--seconds", type=_seconds, default=(3.0, 5.0), metavar="A-B", help="lengths (default 3-5)")
    p.add_argument("--detail", type=float, default=1.0, help="0 (plain, easy) to 1 (default): texture, hair, backdrop")
    p.add_argument(
        "--size", type=int, help="pixels the head is drawn at before scaling (default: 224, and 384 for mead)"
    )
    p.add_argument(
        "--workers", type=int, default=os.cpu_count() or 1, metavar="W", help="processes (default: one per core)"
    )
    p.add_argument("--device", default="cpu", help="cpu (default) or cuda, whose last bits differ")
    args = p.parse_args(argv)
    if not 0 <= args.detail <= 1:
        p.error(f"--detail must be between 0 and 1, not {args.detail}")
    if args.size is not None and args.size < 64:
        p.error(f"--size must be at least 64, not {args.size}")
    try:
        jobs = plan(args.layout, args.split, args.seed, args.identities, args.clips)
    except ValueError as error:
        p.error(str(error))
    return _write(args, jobs)


def _write(args: argparse.Namespace, jobs: list) -> int:
    from fctfg.data.puppets import farm, write
    from fctfg.media import MediaError

    settings = write.Settings(
        args.layout, args.seed, args.split, args.seconds, args.detail, args.size, device=args.device
    )
    began = time.monotonic()
    try:
        clips, frames = farm.write_all(jobs, args.out, settings, max(args.workers, 1))
    except (write.TreeError, MediaError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from here", file=sys.stderr)
        return 130
    took = time.monotonic() - began
    kept = f", {len(jobs) - clips} were there" if clips < len(jobs) else ""
    print(f"{args.out}: {clips} clips written ({frames} frames in {took:.1f} s){kept}")
    return 0


def _seconds(text: str) -> tuple[float, float]:
    """``"3-5"`` -> (3.0, 5.0); ``"4"`` -> (4.0, 4.0)."""
    low, _, high = text.partition("-")
    try:
        span = float(low), float(high or low)
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}' is not A-B, such as 3-5") from None
    if not 0.5 <= span[0] <= span[1] <= 600:
        raise argparse.ArgumentTypeError(f"'{text}': needs 0.5 <= A <= B <= 600 seconds")
    return span


if __name__ == "__main__":
    sys.exit(main())
