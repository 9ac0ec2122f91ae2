"""An FC-TFG small enough for tests: 64 x 64, 16 channels; every part is there."""

from dataclasses import replace

import torch

from fctfg import model, recipes


def recipe(*assignments: str, size: int = 64) -> recipes.Recipe:
    """``demo`` at a few channels, with ``section.field=value`` set."""
    small = recipes.demo()
    small = replace(
        small,
        name="tiny",
        generator=recipes.Generator(
            size=size, style_dim=16, mapping_layers=2, channel_multiplier=0.0625, channel_max=16
        ),
        encoder=recipes.Encoder(units=(1, 1, 1, 1), widths=(8, 8, 16, 16), stem=8, feature_width=16),
        latent=recipes.Latent(hidden=16),
        audio=recipes.Audio(width=0.03125),
    )
    return recipes.override(small, *assignments)


def build(*assignments: str, size: int = 64, seed: int = 0) -> model.FCTFG:
    """The model of ``recipe(...)``, drawn by ``seed``, in evaluation mode, with an average latent that is not zero."""
    torch.manual_seed(seed)
    net = model.build(recipe(*assignments, size=size))
    net.start_at(torch.randn(net.average.shape[1]))
    return net.eval()


def inputs(batch: int = 2, frames: int = 5, size: int = 64, seed: int = 1) -> tuple[torch.Tensor, ...]:
    """Source (B, 3, S, S), driving (B, T, 3, S, S) and mels (B, T, 1, 80, 16)."""
    g = torch.Generator().manual_seed(seed)
    source = torch.rand(batch, 3, size, size, generator=g) * 2 - 1
    driving = torch.rand(batch, frames, 3, size, size, generator=g) * 2 - 1
    mels = torch.randn(batch, frames, 1, 80, 16, generator=g)
    return source, driving, mels
