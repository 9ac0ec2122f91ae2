"""``python -m fctfg.bench``: how fast each part of inference is here, and how near to what the machine can do."""

from __future__ import annotations

import argparse
import csv
import os
import platform
import re
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from fctfg.animate import Animator

DESCRIPTION = """\
Frames per second of every part of inference, GFLOP of one frame, and the share of the device's own matrix product.

  python -m fctfg.bench                                    the paper's model, some minutes on a GPU
  python -m fctfg.bench --recipe demo --batch 5 --seconds 2
  python -m fctfg.bench --precision all --batch 1 8 32 --write

stages
  matmul                 a large matrix product: the peak that shares are of
  generator_reference    StyleGAN2's plain form: weights for each sample, grouped convolutions, nothing prepared
  generator_dense        the same numbers by one dense convolution for the batch, nothing prepared
  generator              what inference runs: constant layers prepared for the source
  encoder_reference      a driving frame through the whole encoder
  encoder                what inference runs: norms folded in, heads of the manipulated layers only
  audio                  the audio encoder
  latent                 motion encoder, sum and temporal fusion
  chain                  driving frame in, generated frame out, the source's codes at hand
  chain_graph            the same replayed as a CUDA graph (a GPU, batches up to one window)
  source                 what a new source costs once
  end_to_end             a 512x512 video decoded and cropped, animated, encoded and written with its sound

Weights are drawn: speed does not depend on them. Times are medians after a warm-up, with CUDA events on a GPU.
"""


@dataclass(frozen=True)
class Row:
    """One measurement; a line of the csv. Times are of one pass over ``batch`` frames."""

    stage: str
    batch: int
    frames_per_second: float
    median_ms: float
    p95_ms: float
    runs: int
    gflop_per_frame: float | None
    tflop_per_second: float | None
    share_of_peak: float | None


def file_name(device: str, recipe: str, precision: str, layout: str, version: str) -> str:
    """<device>_<recipe>_<precision>_<layout>_torch<version>.csv"""
    parts = (device, recipe, precision, layout, f"torch{version}")
    return "_".join(re.sub(r"[^A-Za-z0-9.]+", "-", part).strip("-") for part in parts) + ".csv"


def summary(stage: str, batch: int, times: list[float], work: int | None, peak: float | None) -> Row:
    """A row from the times of single passes, the operations of one, and the peak in operations a second."""
    import numpy as np

    median = float(np.median(times))
    rate = work / median if work else None
    return Row(
        stage=stage,
        batch=batch,
        frames_per_second=round(batch / median, 2),
        median_ms=round(1000 * median, 3),
        p95_ms=round(1000 * float(np.percentile(times, 95)), 3),
        runs=len(times),
        gflop_per_frame=round(work / batch / 1e9, 3) if work else None,
        tflop_per_second=round(rate / 1e12, 4) if rate else None,
        share_of_peak=round(rate / peak, 4) if rate and peak else None,
    )


def run(animator: Animator, batches: list[int], seconds: float, done: Callable[[], object]) -> Iterator[Row]:
    """All rows of one model, device and precision, as they are measured; ``done`` is called after each."""
    import numpy as np

    from fctfg import bench_stages as bench

    device = animator.device
    times, work = bench.matmul_peak(device, animator.dtype, seconds)
    peak = work / min(times)
    yield summary("matmul", 1, times, work, peak)
    done()
    for batch in batches:
        for stage, step in bench.stages(animator, batch):
            # what is recorded or compiled does the work of the chain that it was made from, out of the counter's sight
            hidden = stage == "chain_graph" or (animator.compiled and stage in bench.COMPILED)
            work = None if hidden else bench.flop(step)
            yield summary(stage, batch, bench.timed(step, device, seconds), work, peak)
            done()
    source = np.random.default_rng(0).integers(0, 256, (1, animator.size, animator.size, 3), np.uint8)
    yield summary("source", 1, bench.timed(lambda: animator.bind(source), device, seconds), None, None)
    done()
    with tempfile.TemporaryDirectory() as folder:
        yield summary("end_to_end", animator.batch, bench.end_to_end(animator, Path(folder), seconds), None, None)
    done()


def write(rows: list[Row], path: Path) -> Path:
    """The rows as csv, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    with open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [f.name for f in fields(Row)], lineterminator="\n")
        writer.writeheader()
        writer.writerows({k: "" if v is None else v for k, v in asdict(row).items()} for row in rows)
    temporary.replace(path)
    return path


def device_name(device: torch.device) -> str:
    """The GPU's name, or the processor's with the number of threads used."""
    import torch

    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().split("\n") if cpuinfo.is_file() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{models[0] if models else platform.machine()} {torch.get_num_threads()} threads"


def table(rows: list[Row]) -> str:
    """The rows as aligned text."""
    head = ("stage", "batch", "frames/s", "median ms", "p95 ms", "GFLOP/frame", "TFLOP/s", "of peak")
    cells = [head] + [
        (
            r.stage, str(r.batch), f"{r.frames_per_second:.1f}", f"{r.median_ms:.2f}", f"{r.p95_ms:.2f}",
            *("" if v is None else f"{v:{f}}" for v, f in
              ((r.gflop_per_frame, ".2f"), (r.tflop_per_second, ".3f"), (r.share_of_peak, ".0%"))),
        )
        for r in rows
    ]  # fmt: skip
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join(
        "  ".join(c.ljust(w) if i == 0 else c.rjust(w) for i, (c, w) in enumerate(zip(line, widths, strict=True)))
        for line in cells
    )


def main(argv: list[str] | None = None) -> int:
    """The command."""
    p = argparse.ArgumentParser(
        prog="python -m fctfg.bench", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument("--recipe", default="paper256", help="whose networks (default: paper256; demo: the bundled model's)")
    p.add_argument("--set", nargs="+", default=[], metavar="SECTION.FIELD=VALUE", help="change the recipe")
    p.add_argument("--device", default="auto", help="cpu, cuda, cuda:1 ... (default: a GPU when there is one)")
    p.add_argument("--precision", choices=("auto", "fp32", "bf16", "all"), default="auto")
    p.add_argument("--batch", type=int, nargs="+", default=[1, 8, 32], metavar="N", help="frames in one pass")
    p.add_argument("--seconds", type=float, default=5.0, help="for each measurement (default 5)")
    p.add_argument("--compile", action="store_true", help="through torch.compile")
    p.add_argument(
        "--write", nargs="?", const=Path("results/benchmarks"), type=Path, metavar="FOLDER",
        help="write a csv for each precision (default folder: results/benchmarks)",
    )  # fmt: skip
    args = p.parse_args(argv)
    if min(args.batch) < 1 or args.seconds <= 0:
        p.error("--batch and --seconds must be positive")
    from fctfg.animate import DeviceError
    from fctfg.settings import SettingsError

    try:
        return measure(args)
    except (SettingsError, DeviceError) as error:
        print(error, file=sys.stderr)
        return 2


def measure(args: argparse.Namespace) -> int:
    """What the command asks for: a table on stdout and, with --write, a csv for each precision."""
    import torch

    from fctfg import model, progress, recipes
    from fctfg.animate import Animator, choose_device, choose_precision
    from fctfg.bench_stages import count

    recipe = recipes.override(recipes.get(args.recipe), *args.set)
    device = choose_device(args.device)
    named = ("fp32", "bf16") if args.precision == "all" else (choose_precision(args.precision, device),)
    for precision in named:
        torch.manual_seed(0)
        animator = Animator(model.build(recipe), device, precision, max(args.batch), args.compile, graphs=False)
        with progress.bar(count(animator, args.batch), f"{args.recipe} {precision}", "measurement") as bar:
            rows = list(run(animator, args.batch, args.seconds, bar.update))
        layout = "channels-last-compiled" if args.compile else "channels-last"
        name = args.recipe if not args.set else f"{args.recipe}-changed"
        print(f"{device_name(device)}, {name}, {precision}, {layout}, torch {torch.__version__}\n{table(rows)}")
        if args.write is not None:
            file = file_name(device_name(device), name, precision, layout, torch.__version__.partition("+")[0])
            print(write(rows, args.write / file))
    return 0


if __name__ == "__main__":
    sys.exit(main())
