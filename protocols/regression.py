"""``python -m protocols.regression``: has anything moved that the bundled FC-TFG makes of a few puppet clips?"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from protocols import cli, prepare, puppets

DESCRIPTION = """Has any number of the bundled FC-TFG moved?

  python -m protocols.regression             draw, generate, score, compare: about a minute
  python -m protocols.regression --update    record the values of today

A few puppet clips go the whole way of `make table1`: drawn, read, prepared, animated by the bundled model, written,
scored. Every value of every clip is compared with results/regression/fctfg.csv (case, metric, value, absolute
tolerance), and each that lies outside is printed: which, from what, to what.

A value moved and was meant to (another checkpoint, another drawing): run --update; the change of the file then shows in
review. It was not meant to: a layer's number, the window of sound, a crop, a border or a dependency did it.
"""

EPILOG = """exit status: 0 every value is where it was; 1 some have moved or a clip failed; 2 the command cannot run."""

#: people in each layout, of one clip each: the first of those that `make table1` draws
PEOPLE = {"voxceleb2": 2, "mead": 1}
#: metric -> (absolute, relative): some five times what rounding does through the video encoder (another number of
#: threads moves LSE-C by 0.0016, a gaze that is hardly followed by 0.023), below what the sound of the next frame does
TOLERANCES = {
    "ssim_wang_rgb": (1e-3, 0),
    "ms_ssim_wang_rgb": (1e-3, 0),
    "psnr_rgb": (0.02, 0),
    "lmd_mouth_puppet": (0.03, 0),
    "lse_c_puppet": (8e-3, 0),
    "control_lips_r": (5e-3, 0),
    "control_pose_r": (5e-3, 0),
    "control_blink_r": (1e-2, 0),
    "control_gaze_x_r": (0.1, 0),
    "control_identity": (8e-3, 0),
}


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(
        prog="python -m protocols.regression",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    p.add_argument("--update", action="store_true", help="record today's values instead of failing on them")
    p.add_argument("--file", type=Path, metavar="CSV", help="the recorded values (default: the project's)")
    p.add_argument("--method", default="fctfg", help=argparse.SUPPRESS)  # tests break it and look
    return p


def main(argv: list[str] | None = None) -> int:
    args = parser().parse_args(argv)
    return cli.guarded(lambda: _main(args))


def _main(args: argparse.Namespace) -> int:
    from metrics.regression import record

    file = args.file or record.FILE.with_name("fctfg.csv")
    try:
        recorded = {} if args.update and not file.exists() else record.read(file)
    except record.RecordError as error:
        raise cli.UsageError(str(error)) from None
    with tempfile.TemporaryDirectory() as folder:
        measured, failures = measure(args.method, Path(folder))
    well = record.settle(measured, recorded, file, args.update, TOLERANCES, failures)
    return cli.OK if well else cli.INCOMPLETE


def measure(method: str, folder: Path) -> tuple[dict[str, dict[str, float]], list[str]]:
    """Clip ("layout/id") -> metric -> value, of ``method`` on the few clips; and a line for each clip that failed."""
    import torch

    from results import runs

    torch.set_num_threads(1)  # the same sums in the same order wherever this runs
    measured: dict[str, dict[str, float]] = {}
    failures: list[str] = []
    for layout, people in PEOPLE.items():
        out = folder / layout
        _evaluate(method, layout, people, out)
        found = runs.load(out)
        failures += [
            f"{layout}/{clip}: {name}: {why}" for clip, all_ in found.failures.items() for name, why in all_.items()
        ]
        for clip, row in found.rows.items():
            measured[f"{layout}/{clip}"] = _values(row["metrics"])
    return measured, failures


def _evaluate(method: str, layout: str, people: int, out: Path) -> None:
    p = cli.parser("", "")
    puppets.add_options(p)
    prepare.add_crop_options(p, default=None)
    options = ["--identities", str(people), "--clips", "1", "--reuse", "never", "--no-strips", "--device", "cpu"]
    args = p.parse_args([*options, "--metrics", *TOLERANCES])
    args.crop = puppets.CROPS[layout]
    root, clips = puppets.data(layout, args)
    cli.evaluate(clips, root, method, out, args)


def _values(found: Mapping[str, float | str | None]) -> dict[str, float]:
    return {name: float(found[name]) for name in TOLERANCES if found.get(name) is not None}


if __name__ == "__main__":
    sys.exit(main())
