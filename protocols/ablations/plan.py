"""What Tables 3 and 4 train: variants, seeds, and what has to be done for each."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from results.ablation import CANONICAL_TABLES, FULL, TABLES

#: variant -> what of the recipe it sets. All three choices are spelled out, so that a variant is the same whatever the
#: run that it starts from had chosen.
VARIANTS: dict[str, tuple[str, ...]] = {
    name: (f"latent.fusion={fusion}", f"losses.discriminator={discriminator}", f"losses.ortho_form={form}")
    for name, fusion, discriminator, form in (
        (FULL, "conv", "image", "l_ortho"),
        ("lstm-image", "lstm", "image", "l_ortho"),
        ("lstm-video", "lstm", "video", "l_ortho"),
        ("conv-video", "conv", "video", "l_ortho"),
        ("ortho-none", "conv", "image", "none"),
        ("ortho-cosine", "conv", "image", "cosine"),
    )
}


@dataclass(frozen=True)
class Job:
    """One variant under one seed. ``canonical``: the pose of its canonical faces is measured, too."""

    variant: str
    seed: int
    canonical: bool = False

    @property
    def name(self) -> str:
        """The folder's name: tables that share a variant share its folder, and so its training."""
        return f"{self.variant}-seed{self.seed}"

    @property
    def text(self) -> str:
        return f"{self.variant} seed {self.seed}"

    @property
    def steps(self) -> tuple[str, ...]:
        """What is done, in this order: each step reads what the one before it left on disk."""
        return ("train", "export", "evaluate", *(("canonical",) if self.canonical else ()), "seal")

    def folder(self, out: Path) -> Path:
        return out / self.name


def jobs(table: str, seeds: int) -> tuple[Job, ...]:
    """The jobs of ``table`` ("table3" or "table4"), seed by seed, so that what is there early can be compared.

    The full model comes first under every seed: every difference is one to it.
    """
    names = sorted(TABLES[table].variants.values(), key=lambda name: name != FULL)
    return tuple(Job(name, seed, table in CANONICAL_TABLES) for seed in range(seeds) for name in names)
