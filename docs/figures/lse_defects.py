"""Draws lse_defects.png: what the official LSE definition does to clip length and to a constant lag.

    python docs/figures/lse_defects.py

Embeddings are drawn at random: lips and speech share a slowly changing content (to a stated strength) around a centre
far from zero, as SyncNet's embeddings do. No network, no video: what shows here is the formula alone.
"""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import torch

from metrics.sync_score import lse

DRAWS = 20
BLUE, ORANGE = "#0072b2", "#d55e00"


def embeddings(n: int, strength: float, late: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """(n, 1024) of lips, and of speech that says ``late`` windows later what the lips said."""
    generator = torch.Generator().manual_seed(seed)
    content = torch.randn(n + 2 * abs(late), 1024, generator=generator)
    for i in range(1, len(content)):
        content[i] = 0.9 * content[i - 1] + (1 - 0.81) ** 0.5 * content[i]
    lips = content[abs(late) : abs(late) + n]
    said = content[abs(late) - late : abs(late) - late + n]
    noise, centre = torch.randn(n, 1024, generator=generator), 0.15 * torch.randn(1024, generator=generator)
    return 0.25 * lips + centre, 0.25 * (strength * said + (1 - strength**2) ** 0.5 * noise) + centre


def confidence(n: int, strength: float, padding: str, late: int = 0) -> np.ndarray:
    return np.array([lse(*embeddings(n, strength, late, seed), padding=padding).lse_c for seed in range(DRAWS)])


def main() -> None:
    plt.rcParams.update({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False})
    figure, axes = plt.subplots(1, 3, figsize=(11, 3.4), layout="constrained")
    lengths = [17, 24, 35, 50, 70, 95, 140, 200, 300, 500]
    for axis, strength, title in (
        (axes[0], 0.0, "sound that has nothing to do with the lips"),
        (axes[1], 0.5, "sound that goes with the lips"),
    ):
        for padding, colour, label in (("zero", ORANGE, "official (zeros at the ends)"), ("valid", BLUE, "valid")):
            found = np.stack([confidence(n, strength, padding) for n in lengths])
            axis.plot(lengths, found.mean(1), "o-", color=colour, label=label, ms=4)
            axis.fill_between(lengths, *np.percentile(found, (5, 95), axis=1), color=colour, alpha=0.15, lw=0)
        axis.set(xscale="log", xlabel="windows in the clip (25 = one second)", title=title, ylabel="LSE-C")
        axis.set_xticks([17, 50, 100, 200, 500], ["17", "50", "100", "200", "500"])
        axis.minorticks_off()
        axis.set_ylim(0)
    axes[0].legend(frameon=False)
    lags = list(range(-14, 15, 2))
    scores = [[lse(*embeddings(200, 0.5, lag, seed)) for seed in range(DRAWS)] for lag in lags]
    axis = axes[2]
    axis.plot(lags, [np.mean([s.lse_c for s in row]) for row in scores], "o-", color=ORANGE, ms=4)
    axis.set(xlabel="frames by which the sound is late (40 ms each)", ylabel="LSE-C", title="a constant lag")
    axis.set_ylim(0)
    zero = axis.twinx()
    excess = [np.mean([s.distance_at_zero - s.lse_d for s in row]) for row in scores]
    zero.plot(lags, excess, "s--", color=BLUE, ms=3)
    zero.set_ylabel("distance at offset 0, above the best", color=BLUE)
    zero.spines["right"].set_visible(True)
    axis.text(0, 2.12, "a lag does not lower the score", color=ORANGE, fontsize=8, ha="center")
    figure.savefig(Path(__file__).with_suffix(".png"), dpi=150)


if __name__ == "__main__":
    main()
