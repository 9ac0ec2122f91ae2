"""FC-TFG: a source picture, a driving window and its sound in; the source's face with the driver's motion out.

    model = build(recipes.demo())
    frames, codes = model(source, driving, mels)     # (B, 3, S, S), (B, T, 3, S, S), (B, T, 1, 80, 16)

Paper: "That's What I Said: Fully-Controllable Talking Face Generation" (MM'23), Fig. 3 and Eq. 1 and 2. Every
picture is float RGB in [-1, 1]; S is the recipe's size, L its number of style layers (14 at 256), D the width of a
style, M the number of manipulated layers (8).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fctfg.nets.audio import AudioEncoder
from fctfg.nets.generator import Generator
from fctfg.nets.latent import CanonicalEncoder, MotionEncoder, TemporalFusion
from fctfg.nets.psp import PSPEncoder
from fctfg.recipes import Recipe


class Codes(NamedTuple):
    """The latent codes of one forward pass; the losses and the figures read them."""

    source: Tensor  # z_s (B, L, D)
    canonical: Tensor  # z_{s->c} (B, M, D); all L rows where the recipe says untouched="canonical"
    motion: Tensor  # z_{c->d} (B, T, M, D)
    styles: Tensor  # what the generator is given (B, T, L, D)
    audio: Tensor  # z_a (B, T, A)


class FCTFG(nn.Module):
    """The whole model: E_inv, E_a, E_can, E_m, TF and G; built from a recipe by ``build``."""

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        self.recipe = recipe
        g, e, z = recipe.generator, recipe.encoder, recipe.latent
        self.n_styles = g.n_styles
        #: zero-based W+ layers that are manipulated, and those of them that hear the sound
        self.layers = z.manipulated(self.n_styles)
        self.audio_layers = z.with_audio(self.n_styles)
        self.generator = Generator(
            g.size, g.style_dim, g.mapping_layers, channel_multiplier=g.channel_multiplier, channel_max=g.channel_max
        )
        self.encoder = PSPEncoder(
            size=e.size or g.size,
            n_styles=self.n_styles,
            style_dim=g.style_dim,
            units=e.units,
            widths=e.widths,
            stem=e.stem,
            feature_width=e.feature_width,
            head_width=e.head_width or None,
            tile=e.tile,
        )
        self.audio_encoder = AudioEncoder(width=recipe.audio.width, blocks=recipe.audio.encoder)
        of_canonical = self.n_styles if z.untouched == "canonical" else len(self.layers)
        self.canonical = CanonicalEncoder(of_canonical, g.style_dim, z.hidden, z.slope)
        hears = [i in self.audio_layers for i in self.layers]
        self.motion = MotionEncoder(hears, g.style_dim, self.audio_encoder.dim, z.hidden, z.slope)
        self.fusion = TemporalFusion(
            z.fusion, len(self.layers), g.style_dim, z.fusion_kernel, z.fusion_shared, z.fusion_start
        )
        self.hypernetwork = None
        if e.weight_offsets:
            from fctfg.nets.hyperstyle import HyperNetwork

            self.hypernetwork = HyperNetwork(self.generator)
        self.register_buffer("average", torch.zeros(self.n_styles, g.style_dim))

    @torch.no_grad()
    def start_at(self, average: Tensor) -> None:
        """Take the average latent (D,) or (L, D) of the pre-trained generator; codes are offsets from it (A2, A5)."""
        self.average.copy_(average.expand_as(self.average))
        if self.recipe.latent.start_at_average:
            rows = self.average if self.recipe.latent.untouched == "canonical" else self.average[list(self.layers)]
            self.canonical.start_at(rows)

    def encode(self, pictures: Tensor, layers: Sequence[int] | None = None) -> Tensor:
        """E_inv: pictures (N, 3, S, S) -> W+ codes (N, L, D), or only the rows ``layers``; average included (A2)."""
        codes = self.encoder(shown(pictures, self.encoder.size), layers)
        return codes + (self.average if layers is None else self.average[list(layers)])

    def canonical_code(self, source: Tensor) -> Tensor:
        """E_can: z_s (B, L, D) -> z_{s->c}."""
        if self.recipe.latent.center:
            source = source - self.average
        return self.canonical(source if self.recipe.latent.untouched == "canonical" else source[:, list(self.layers)])

    def motion_code(self, driving: Tensor, audio: Tensor) -> Tensor:
        """E_m (Eq. 2): manipulated rows of z_d (N, M, D) and the audio code (N, A) -> z_{c->d} (N, M, D)."""
        if self.recipe.latent.center:
            driving = driving - self.average[list(self.layers)]
        return self.motion(driving, audio)

    def styles(self, source: Tensor, canonical: Tensor, motion: Tensor) -> Tensor:
        """Eq. 1 and temporal fusion: z_s (B, L, D), z_{s->c}, z_{c->d} (B, T, M, D) -> (B, T, L, D).

        The manipulated rows are fused sums; the others are the source's, whatever the driver does (A4).
        """
        rows = list(self.layers)
        on_all = self.recipe.latent.untouched == "canonical"
        fused = self.fusion((canonical[:, rows] if on_all else canonical)[:, None] + motion)
        base = (canonical if on_all else source)[:, None].expand(-1, motion.shape[1], -1, -1)
        return base.to(fused.dtype).index_copy(2, torch.tensor(rows, device=fused.device), fused)

    def codes(self, source: Tensor, driving: Tensor, mels: Tensor) -> Codes:
        """All codes of one window: source (B, 3, S, S), driving (B, T, 3, S, S), mels (B, T, 1, 80, 16)."""
        b, t = driving.shape[:2]
        z_s = self.encode(source)
        z_d = self.encode(driving.flatten(0, 1), self.layers)
        z_a = self.audio_encoder(mels.flatten(0, 1))
        motion = self.motion_code(z_d, z_a).unflatten(0, (b, t))
        canonical = self.canonical_code(z_s)
        return Codes(z_s, canonical, motion, self.styles(z_s, canonical, motion), z_a.unflatten(0, (b, t)))

    def offsets(self, source: Tensor, z_s: Tensor) -> list[Tensor | None] | None:
        """HyperStyle's weight offsets of the source, held for all its frames (A3); None where the recipe has none."""
        if self.hypernetwork is None:
            return None
        return self.hypernetwork.refine(source, self.generator, z_s, self.recipe.encoder.offset_iterations)

    def forward(self, source: Tensor, driving: Tensor, mels: Tensor, noise: str = "fixed") -> tuple[Tensor, Codes]:
        """Generated frames (B, T, 3, S, S) and the codes that made them."""
        codes = self.codes(source, driving, mels)
        offsets = self.offsets(source, codes.source)
        b, t = driving.shape[:2]
        if offsets is not None:
            offsets = [None if o is None else o.repeat_interleave(t, 0) for o in offsets]
        frames = self.generator.synthesis(codes.styles.flatten(0, 1), noise=noise, offsets=offsets)
        return frames.unflatten(0, (b, t)), codes

    def canonical_face(self, source: Tensor) -> Tensor:
        """The face of the canonical space (Fig. 5): z_{s->c} alone through the generator, (B, 3, S, S)."""
        z_s = self.encode(source)
        canonical = self.canonical_code(z_s)
        nothing = canonical.new_zeros(len(source), 1, len(self.layers), canonical.shape[-1])
        return self.generator.synthesis(self.styles(z_s, canonical, nothing)[:, 0], offsets=self.offsets(source, z_s))


def shown(pictures: Tensor, size: int) -> Tensor:
    """What an encoder of ``size`` is shown of (N, 3, S, S): the picture, averaged down where it is larger."""
    return pictures if pictures.shape[-1] == size else F.adaptive_avg_pool2d(pictures, size)


def build(recipe: Recipe) -> FCTFG:
    """An untrained model. ValueError where the recipe's manipulated layers lack one that hears the sound."""
    missing = set(recipe.latent.with_audio(recipe.generator.n_styles)) - set(
        recipe.latent.manipulated(recipe.generator.n_styles)
    )
    if missing:
        raise ValueError(f"recipe {recipe.name}: audio layers {sorted(missing)} are not among the manipulated layers")
    return FCTFG(recipe)
