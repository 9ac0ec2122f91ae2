"""``python -m metrics.regression``: compare the metrics' values with the recorded ones."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

DESCRIPTION = """Has any metric's value moved?

  python -m metrics.regression                     compare everything, some twenty seconds
  python -m metrics.regression --only image sound  compare these parts
  python -m metrics.regression --update            record the values of today

Three small clips, drawn by a script from fixed seeds, are blurred, shifted, made noisy and frozen, and scored with
every metric that needs no download: SSIM, MS-SSIM, PSNR and L1 whole; LSE with drawn SyncNet weights, on whole frames
and from a planted face on; LPIPS with drawn trunks; LMD, identity, motion and FID from the landmarks, embeddings or
features on, which are drawn too. The values mean nothing in themselves. Each is compared with
results/regression/metrics.csv (case, metric, value, absolute tolerance); each that lies outside is printed: which, from
what, to what.

A value moved and was meant to: raise the version of that metric in metrics/definitions.py, so that stored scores are
made anew, and run --update; the change of the file then shows in review. It was not meant to: a change to a constant,
a window, a border or a dependency did it.
"""

EPILOG = """exit status: 0 every value is where it was; 1 some have moved; 2 the command cannot run."""


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(
        prog="python -m metrics.regression",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    p.add_argument("--only", nargs="+", metavar="PART", help="image, sync, track, sound, landmarks, perceptual, ...")
    p.add_argument("--update", action="store_true", help="record today's values instead of failing on them")
    p.add_argument("--file", type=Path, metavar="CSV", help="the recorded values (default: the project's)")
    return p


def main(argv: list[str] | None = None) -> int:
    args = parser().parse_args(argv)
    from metrics.regression import record
    from metrics.regression.measure import measure

    file = args.file or record.FILE
    try:
        recorded = {} if args.update and not file.exists() else record.read(file)
        measured = measure(args.only)
    except (ValueError, RuntimeError, ImportError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    return 0 if record.settle(measured, recorded, file, args.update) else 1


if __name__ == "__main__":
    sys.exit(main())
