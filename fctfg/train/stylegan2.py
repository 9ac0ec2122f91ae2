"""Stage one: StyleGAN2 on single frames (Karras et al. 2020; the settings are those of rosinality's port).

Every step: the discriminator's logistic loss, its R1 penalty now and then, the generator's non-saturating loss, its
path length penalty now and then, and the generator's moving average.
"""

from __future__ import annotations

import torch
from torch import Tensor

from fctfg import losses
from fctfg.nets.discriminator import Discriminator
from fctfg.nets.generator import Generator
from fctfg.nets.grow import grow_discriminator, grow_generator
from fctfg.recipes import Recipe
from fctfg.train.context import Context, follow
from fctfg.train.predecessors import AVERAGED, Predecessor

#: sections of the recipe that this stage depends on
SECTIONS = ("generator", "stylegan2")


def networks(recipe: Recipe) -> tuple[Generator, Discriminator]:
    """The untrained generator and discriminator of a recipe."""
    g = recipe.generator
    widths = {"channel_multiplier": g.channel_multiplier, "channel_max": g.channel_max}
    return Generator(g.size, g.style_dim, g.mapping_layers, **widths), Discriminator(g.size, **widths)


class StyleGAN2:
    """Batches: ``pictures`` (b, 3, S, S) in [-1, 1]."""

    def __init__(self, recipe: Recipe, context: Context) -> None:
        self.recipe, self.settings, self.context = recipe, recipe.stylegan2, context
        self.frames = recipe.stylegan2.batch
        generator, discriminator = networks(recipe)
        self.generator, self.discriminator = context.place(generator), context.place(discriminator)
        self.average_generator = context.average_of(generator)
        self.nets = {"generator": generator, "discriminator": discriminator}
        self.ema = {"generator": self.average_generator}
        s = self.settings
        self.optimizers = {
            "generator": context.adam(generator.parameters(), s.rate, s.betas, lazy=s.path_every if s.path else 0),
            "discriminator": context.adam(discriminator.parameters(), s.rate, s.betas, lazy=s.r1_every if s.r1 else 0),
        }
        context.share(s.batch, "stylegan2.batch")
        if s.path:
            context.share(max(s.batch // s.path_shrink, 1), "stylegan2.batch / stylegan2.path_shrink")
        self.path_mean = torch.zeros((), device=context.device)
        self.synthesis, self.judge = context.faster(generator.synthesis), context.faster(discriminator)

    def step(self, batch: dict[str, Tensor], step: int) -> dict[str, Tensor]:
        s, context, generator, discriminator = self.settings, self.context, self.generator, self.discriminator
        real = batch["pictures"]
        report = {}

        # the discriminator: logistic loss
        generator.requires_grad_(False)
        discriminator.requires_grad_(True)
        codes, noise = self.inputs(step, "discriminator")
        with context.autocast():
            fake = self.synthesis(codes, noise)
            scores_fake, scores_real = self.judge(fake), self.judge(real)
        loss = losses.adversarial_discriminator(scores_real.float(), scores_fake.float())
        context.descend("discriminator", loss, self.optimizers["discriminator"])
        report["discriminator"] = loss.detach()
        report["score_real"], report["score_fake"] = scores_real.detach().mean(), scores_fake.detach().mean()

        # R1, every r1_every steps and that much stronger; in float32, for it is differentiated twice
        if s.r1 and step % s.r1_every == 0:
            pictures = real.detach().float().requires_grad_(True)
            penalty = losses.r1(discriminator(pictures), pictures)
            context.descend("r1", s.r1 / 2 * s.r1_every * penalty, self.optimizers["discriminator"])
            report["r1"] = penalty.detach()

        # the generator: non-saturating logistic loss
        generator.requires_grad_(True)
        discriminator.requires_grad_(False)
        codes, noise = self.inputs(step, "generator")
        with context.autocast():
            scores = self.judge(self.synthesis(codes, noise))
        loss = losses.adversarial_generator(scores.float())
        context.descend("generator", loss, self.optimizers["generator"])
        report["generator"] = loss.detach()

        # path length, every path_every steps and that much stronger, on a smaller batch; in float32
        if s.path and step % s.path_every == 0:
            penalty = self.path_penalty(step)
            context.descend("path", s.path * s.path_every * penalty, self.optimizers["generator"])
            report["path"], report["path_length"] = penalty.detach(), self.path_mean.clone()

        follow(self.average_generator, generator, s.ema, step)
        return report

    def inputs(self, step: int, name: str, shrink: int = 1) -> tuple[Tensor, list[Tensor]]:
        """W+ codes, with style mixing, and noise maps for this process's part of the batch."""
        draws = self.context.draws(step, name)
        n, dim = max(self.settings.batch // shrink, 1), self.recipe.generator.style_dim
        w, other, crossover = self.generator.mapping(draws.normal(n, dim)), None, None
        if draws.chance(self.settings.mixing):
            other = self.generator.mapping(draws.normal(n, dim))
            crossover = draws.integer(1, self.generator.n_styles)
        return self.generator.codes(w, other, crossover), draws.noise(self.generator.make_noise, n)

    def path_penalty(self, step: int) -> Tensor:
        """Path length regularisation (Karras 2020, 3.2); the running mean is that of the global batch."""
        codes, noise = self.inputs(step, "path", self.settings.path_shrink)
        pictures = self.generator.synthesis(codes, noise)
        n = max(self.settings.batch // self.settings.path_shrink, 1)
        (direction,) = self.context.draws(step, "path direction").noise(
            lambda n, generator: [torch.randn(n, *pictures.shape[1:], generator=generator, device=pictures.device)], n
        )
        lengths = losses.path_lengths(pictures, codes, direction)
        here = self.context.world.mean(lengths.detach().mean())
        self.path_mean = torch.lerp(self.path_mean, here, self.settings.path_decay)
        return (lengths - self.path_mean).square().mean()

    @torch.no_grad()
    def sample(self, batch: dict[str, Tensor]) -> Tensor:
        """Pictures (16, 3, S, S) of the moving average, always of the same noise."""
        z = torch.randn(16, self.recipe.generator.style_dim, generator=torch.Generator().manual_seed(0))
        average = self.average_generator
        return average.synthesis(average.codes(average.mapping(z.to(self.context.device))))

    def extra(self) -> dict[str, Tensor]:
        """The running path length, and the average latent (D,) that encoders start from (A2)."""
        average = self.average_generator.mean_latent(AVERAGED, torch.Generator().manual_seed(0))
        return {"path_mean": self.path_mean, "average": average}

    def load_extra(self, tensors: dict[str, Tensor]) -> None:
        self.path_mean = tensors["path_mean"].to(self.context.device)

    def grow_from(self, trained: Predecessor) -> None:
        """Start from networks of half the size (or less) that were trained with the same widths."""
        small = trained.recipe.generator.size
        trained_generator = trained.state("generator")
        self.generator.load_state_dict(grow_generator(trained_generator, small, self.generator))
        self.average_generator.load_state_dict(self.generator.state_dict())
        grown = grow_discriminator(trained.state("discriminator"), small, self.discriminator)
        self.discriminator.load_state_dict(grown)
