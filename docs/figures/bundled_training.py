"""Draw bundled_training.png from bundled_training.csv; with run folders, add what their logs say to the csv first.

python docs/figures/bundled_training.py [name=RUN/stage ...]
"""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

from results.drawing import COLOURS, DPI, INK, styled

CSV = Path(__file__).with_suffix(".csv")
COLUMNS = ("part", "size", "step", "samples", "psnr", "l1", "sharpness")


def read() -> list[dict[str, str]]:
    with CSV.open() as file:
        return list(csv.DictReader(file))


def gather(parts: list[str]) -> None:
    """Adds a line for each evaluation on held-out puppets; ``samples`` counts on from part to part."""
    lines = [tuple(row.get(name) or "" for name in COLUMNS) for row in read()] if CSV.is_file() else []
    before = int(lines[-1][COLUMNS.index("samples")]) if lines else 0
    for part in parts:
        name, _, folder = part.partition("=")
        places = sorted(Path(folder).glob("step-*/state.json"))
        state = json.loads(places[-1].read_text())
        size, batch = state["recipe"]["generator"]["size"], state["samples"]
        for line in map(json.loads, (Path(folder) / "log.jsonl").read_text().splitlines()):
            if "held_out.psnr" in line:
                seen = before + line["step"] * batch
                measured = (f"{line['held_out.psnr']:.2f}", f"{line['held_out.l1']:.5f}")
                sharp = f"{line['held_out.sharpness']:.3f}" if "held_out.sharpness" in line else ""
                lines.append((name, size, line["step"], seen, *measured, sharp))
        before += state["step"] * batch
    with CSV.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([COLUMNS, *lines])


@styled
def draw() -> None:
    from matplotlib.figure import Figure

    rows = read()
    figure = Figure(figsize=(7, 3.6), layout="constrained")
    axes = figure.subplots()
    for number, part in enumerate(dict.fromkeys(row["part"] for row in rows)):
        own = [row for row in rows if row["part"] == part]
        x, y = ([float(row[k]) for row in own] for k in ("samples", "psnr"))
        colour = COLOURS[number % len(COLOURS)]
        mark = "os^"[number // len(COLOURS)] + "-"  # colours come round again
        axes.plot([v / 1000 for v in x], y, mark, color=colour, markersize=3, linewidth=1.2, label=part)
    figure.legend(frameon=False, fontsize="x-small", loc="outside right upper")
    axes.set(
        xlabel="thousands of samples seen",
        ylabel="dB",
        title="PSNR on puppets that are held out, at the size in training",
    )
    axes.grid(axis="y", color="#DDDDDD")
    axes.tick_params(colors=INK)
    figure.savefig(CSV.with_suffix(".png"), dpi=DPI)


if __name__ == "__main__":
    if sys.argv[1:]:
        gather(sys.argv[1:])
    draw()
