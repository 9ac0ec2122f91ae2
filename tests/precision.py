"""How far the metrics are from their reference implementations: ``python tests/precision.py --write``.

Measures on synthetic data, prints the table, and with ``--write`` puts it into metrics/PRECISION.md. Exit status 1 when
an error is above its tolerance. A reference whose package is not installed is listed as not measured.
"""

from __future__ import annotations

import argparse
import platform
import sys
from importlib import metadata
from pathlib import Path

from precision_rows import ROOT, SECTIONS, Row

FILE = ROOT / "metrics" / "PRECISION.md"
HEADINGS = ("metric", "variants", "reference", "step", "data", "error", "largest", "tolerance")
VERSIONS = ("torch", "numpy", "scipy", "scikit-image", "pytorch-msssim", "python_speech_features", "opencv-python",
            "insightface", "lpips", "av")  # fmt: skip


def measure() -> tuple[list[Row], list[str]]:
    """Every row, and for each section that lacks a package, which; one thread."""
    import torch

    threads, rows, missing = torch.get_num_threads(), [], []
    torch.set_num_threads(1)
    try:
        for section in SECTIONS:
            try:
                rows += section()
            except (ModuleNotFoundError, metadata.PackageNotFoundError) as error:
                missing.append(f"{section.__name__}: {error.name} is not installed")
    finally:
        torch.set_num_threads(threads)
    return rows, missing


def cells(row: Row) -> tuple[str, ...]:
    """What stands in the table."""
    variants = " ".join(f"`{pattern}`" for pattern in row.variants)
    words = row.metric, variants, row.reference, row.step, row.data, row.error
    return *words, f"{row.largest:.1e}", f"{row.tolerance:.1e}"


def table(rows: list[Row], missing: list[str]) -> str:
    """The page."""
    versions = ", ".join(f"{name} {_version(name)}" for name in VERSIONS)
    lines = [
        "# Precision",
        "",
        "Each line compares one step of a metric with an implementation that is not ours and gives the largest error "
        "found, with the tolerance that the tests allow it.",
        "Relative errors are the largest difference over the largest value; absolute ones have the unit given, and "
        "none where the metric has none.",
        "",
        "Made by `make precision` (`tests/precision.py`) on one CPU thread, from synthetic clips and weights drawn "
        'from fixed seeds; lines marked "real sample" need the real clips and are left out elsewhere.',
        "",
        f"Python {platform.python_version()}, {versions}.",
        "",
        "| " + " | ".join(HEADINGS) + " |",
        "|" + " --- |" * (len(HEADINGS) - 2) + " ---: | ---: |",
    ]
    lines += ["| " + " | ".join(cells(row)) + " |" for row in rows]
    lines += ["", *(f"Not measured: {line}." for line in missing)] if missing else []
    return "\n".join(lines) + "\n"


def committed(path: Path = FILE) -> list[Row]:
    """The rows of a written page."""
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines():
        found = [cell.strip() for cell in line.strip("| ").split(" | ")]
        if len(found) == len(HEADINGS) and found[0] not in (HEADINGS[0], "---"):
            metric, variants, *words, largest, tolerance = found
            rows.append(Row(metric, tuple(variants.replace("`", "").split()), *words, float(largest), float(tolerance)))
    return rows


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"


def main() -> int:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--write", action="store_true", help="write metrics/PRECISION.md")
    write = p.parse_args().write
    rows, missing = measure()
    page = table(rows, missing)
    print(page, end="")
    if write:
        FILE.write_text(page, encoding="utf-8")
    wrong = [row for row in rows if not row.within]
    for row in wrong:
        print(f"above its tolerance: {' | '.join(cells(row))}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
