"""How fast the metrics are beside other implementations: ``python tests/speed.py --write`` makes metrics/SPEED.md.

Everything is measured in one run; ours and the other take turns, and the best of the rounds counts, so that whatever
else the machine does hits both alike. Nothing here is part of pass or fail. ``--only NAME ...`` runs some sections.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from importlib import metadata
from pathlib import Path

import torch
from speed_stages import FRAMES, SECTIONS, Stage

FILE = Path(__file__).resolve().parent.parent / "metrics" / "SPEED.md"
TEN_SECONDS = 250  # frames
HEAD = """\
# Speed

Milliseconds for one clip of {frames} frames at 256x256 (4 s, a drawn person) on one thread, each stage of ours beside
another implementation of the same thing. Both took turns in one run; the best round counts. The other implementation
is the field's package where there is one, and otherwise the slow, literal transcription that the tests hold ours
against. How close the values are is in [PRECISION.md](PRECISION.md).

Made by `make bench` (`tests/speed.py`).

{machine}.

| metric | stage | ours, ms | other implementation | its ms | ratio |
| --- | --- | ---: | --- | ---: | ---: |"""
TEN_SECONDS_HEAD = """
## LSE of ten seconds

{frames} frames of 224x224 and their sound, with SyncNet weights drawn from a seed: embeddings, 31 offsets, LSE-D. The
share is that of the machine's own float32 matrix product, measured between the rounds.

| threads | ours, s | transcription, s | ratio | GFLOP/s | matrix product, GFLOP/s | share | LSE-D differs by |
| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"""


def seconds(call) -> float:
    begun = time.perf_counter()
    call()
    return time.perf_counter() - begun


def timed(stage: Stage) -> tuple[float, float]:
    """Milliseconds of ours and of theirs for the clip."""
    best = [float("inf"), float("inf")]
    for _ in range(stage.rounds):
        for i, call in enumerate((stage.ours, stage.theirs)):
            best[i] = min(best[i], 1e3 * seconds(call))
    return best[0], best[1]


def processor() -> str:
    names = [line.partition(":")[2].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
             if line.startswith("model name")] if Path("/proc/cpuinfo").exists() else []  # fmt: skip
    return f"{names[0] if names else platform.machine()}, {os.cpu_count()} cores"


def matmul_gflops() -> float:
    """float32 matrix product of 2048 x 2048 on the threads torch has now."""
    a, b = torch.randn(2048, 2048), torch.randn(2048, 2048)
    return 2 * 2048**3 / 1e9 / min(seconds(lambda: torch.mm(a, b)) for _ in range(7))


def ten_seconds(threads: int) -> str:
    """A table line: LSE of ten seconds, whole frames, ours and the transcription, beside the matrix product."""
    import numpy as np
    import sync_literal as literal
    from test_metrics_sync import moving_picture, our_features, speech_like

    from metrics.sync_score import lse
    from metrics.syncnet import load_syncnet, window_flops

    torch.set_num_threads(threads)
    reference = literal.draw_weights()
    file = Path(os.environ.get("TMPDIR", "/tmp")) / f"fctfg-speed-{os.getpid()}.model"
    literal.save_official(reference, file)
    net = load_syncnet(file)
    file.unlink()
    frames, samples = moving_picture(TEN_SECONDS), speech_like(TEN_SECONDS * 640)
    mirrored = np.ascontiguousarray(frames[..., ::-1])
    gflop, best, peak, found = (TEN_SECONDS - 5) * sum(window_flops().values()) / 1e9, [1e9, 1e9], 0.0, [0.0, 0.0]

    def ours() -> None:
        found[0] = lse(*our_features(net, frames, samples)).lse_d

    def theirs() -> None:
        found[1] = literal.score(*literal.features(reference, mirrored, samples)[:2])[1]

    for _ in range(3):
        peak = max(peak, matmul_gflops())
        best = [min(b, seconds(call)) for b, call in zip(best, (ours, theirs), strict=True)]
    difference = abs(found[0] - found[1]) / abs(found[1])
    return (
        f"| {threads} | {best[0]:.2f} | {best[1]:.2f} | {best[1] / best[0]:.2f} | {gflop / best[0]:.0f} | {peak:.0f} | "
        f"{100 * gflop / best[0] / peak:.0f} % | {difference:.0e} |"
    )


def page(only: list[str], progress=sys.stderr) -> str:
    versions = f"Python {platform.python_version()}, torch {metadata.version('torch')}"
    lines = [HEAD.format(frames=FRAMES, machine=f"{processor()}; {versions}")]
    torch.set_num_threads(1)
    missing = []
    for section in SECTIONS:
        if only and section.__name__ not in only:
            continue
        try:
            for stage in section():
                ours, theirs = timed(stage)
                lines.append(f"| {stage.metric} | {stage.step} | {ours:.1f} | {stage.reference} | {theirs:.1f} | "
                             f"{theirs / ours:.1f} |")  # fmt: skip
                print(lines[-1], file=progress)
        except (ModuleNotFoundError, metadata.PackageNotFoundError) as error:
            missing.append(f"Not measured: {section.__name__} ({error.name} is not installed).")
    lines += ["", *missing] if missing else []
    if not only or "ten_seconds" in only:
        lines.append(TEN_SECONDS_HEAD.format(frames=TEN_SECONDS))
        for threads in sorted({1, os.cpu_count() or 1}):
            lines.append(ten_seconds(threads))
            print(lines[-1], file=progress)
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="put the page into metrics/SPEED.md")
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME",
                        choices=[*(s.__name__ for s in SECTIONS), "ten_seconds"])  # fmt: skip
    args = parser.parse_args()
    if args.write and args.only:
        parser.error("--write wants every section")
    text = page(args.only)
    print(text)
    if args.write:
        FILE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
