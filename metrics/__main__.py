"""``python -m metrics REFERENCE GENERATED``: score two files, or two folders, without any protocol."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

DESCRIPTION = """Score generated videos or pictures against their references.

  python -m metrics truth.mp4 generated.mp4
  python -m metrics truth/ generated/ --out scores/          (files are matched by their path within the folder)
  python -m metrics truth.png generated.png --metrics ssim_wang_rgb psnr_rgb
  python -m metrics --list                                   (every metric: unit, range, direction, definition, source)

Videos are read at 25 frames a second and 256x256 with their sound; pictures keep the reference's size. Where the two
differ in length, the first frames of both are compared; where they differ in size or frame rate, the generated one is
brought to the reference's. Each such thing is a warning on the row. Lip-sync is measured against the sound of the
generated file, or where it has none, of the reference. Identity against the animated picture (csim_source_*) takes the
reference's first frame for that picture.

FID has one value for all files together (--metrics fid, on folders): the table gives it with its interval over speakers
and its number of frames, and --out DIR keeps it in DIR/set.json.
"""

EPILOG = """exit status: 0 every file scored; 1 some failed or were missing (unless --allow-missing); 2 the command
cannot run.
"""


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(
        prog="python -m metrics",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    p.add_argument("reference", nargs="?", type=Path, help="the truth: a video, a picture, or a folder of them")
    p.add_argument("generated", nargs="?", type=Path, help="what is scored: likewise")
    p.add_argument("--metrics", nargs="+", metavar="NAME", help="variants (default: Table 1's, LPIPS and identity)")
    p.add_argument("--list", action="store_true", help="say what each metric is, and whether it can run here")
    p.add_argument(
        "--out", type=Path, metavar="DIR", help="keep the rows here (JSON lines); scored files are not redone"
    )
    p.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1 ... (default: cpu)")
    p.add_argument(
        "--cache",
        type=Path,
        metavar="DIR",
        help="keep landmarks and embeddings here for the next time; FID without it uses DIR/cache of --out, or a "
        "temporary folder",
    )
    p.add_argument("--workers", type=int, default=0, help="files in work at the same time (default: one per core)")
    p.add_argument("--allow-missing", action="store_true", help="exit 0 although files failed or were missing")
    return p


def main(argv: list[str] | None = None) -> int:
    p = parser()
    args = p.parse_args(argv)
    if args.list:
        try:
            return list_metrics()
        except BrokenPipeError:  # `| head`
            sys.stderr.close()
            return 0
    if args.reference is None or args.generated is None:
        p.error("give a reference and a generated file or folder, or --list")
    from fctfg.weights import WeightsError
    from metrics import compare
    from results.rows import ResultsError

    try:
        return compare.run(args)
    except (compare.UsageError, WeightsError, ResultsError, OSError) as error:
        text = f"{error.filename}: {error.strerror}" if isinstance(error, OSError) and error.filename else str(error)
        print(f"error: {text}", file=sys.stderr)
        return 2


def list_metrics() -> int:
    """Print every metric's definition, unit, range, direction and source."""
    import textwrap

    from metrics.registry import METRICS

    for metric in METRICS.values():
        reason = metric.unavailable()
        unit = metric.unit or "no unit"
        print(f"{metric.name}  ({metric.column}; {unit}; range {metric.range}; {metric.better} is better)")
        print(textwrap.indent(textwrap.fill(metric.definition, 110), "    "))
        print(f"    source: {metric.source}")
        if reason:
            print(f"    cannot run here: {reason}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
