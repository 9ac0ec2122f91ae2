"""Stage two: pSp's encoder into the frozen generator, and HyperStyle's hypernetwork on top where it is wanted (A3)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from fctfg import losses, model, weights
from fctfg.nets.grow import grow_generator
from fctfg.recipes import Recipe
from fctfg.train import loss_networks
from fctfg.train.checkpoint import CheckpointError
from fctfg.train.context import Context, follow
from fctfg.train.predecessors import Predecessor

SECTIONS = ("generator", "encoder", "losses", "inversion")


class Inversion:
    """Batches: ``pictures`` (b, 3, S, S) in [-1, 1], of the larger of the encoder's and the generator's size.
    ``find(stage, sections)`` gives an earlier stage's networks.

    The encoder's loss is pSp's: squared error, perceptual and identity, between a picture and what the generator, its
    noise fixed, makes of the picture's code. A code is the encoder's output added to the average latent.
    """

    def __init__(self, recipe: Recipe, context: Context, find: Callable) -> None:
        self.recipe, self.settings, self.context = recipe, recipe.inversion, context
        self.frames = recipe.inversion.batch
        s = self.settings
        self.strengths = {"l2": s.l2, "perceptual": s.perceptual, "identity": s.identity}
        stage_one = find("stylegan2", ("generator",))
        self.features = self.identity = None
        if s.perceptual:
            self.features = loss_networks.perceptual(recipe, context, lambda: stage_one)
        if s.identity:
            self.identity = loss_networks.identity(recipe, context)
        whole = model.build(recipe)
        stage_one.into(whole.generator, "generator")
        self.generator = context.place(whole.generator, train=s.train_generator)
        self.generator.style.requires_grad_(False)  # the mapping network has no part in an inversion
        self.average = stage_one.average(self.generator).to(context.device)
        self.encoder = context.place(whole.encoder)
        self.average_encoder = context.average_of(self.encoder)
        self.nets, self.ema = {"encoder": self.encoder}, {"encoder": self.average_encoder}
        self.average_generator = self.generator
        groups = [{"params": list(self.encoder.parameters())}]
        if s.train_generator:
            self.average_generator = context.average_of(self.generator)
            self.nets["generator"], self.ema["generator"] = self.generator, self.average_generator
            trained = [p for p in self.generator.parameters() if p.requires_grad]
            groups.append({"params": trained, "lr": s.rate * s.generator_rate_ratio})
        self.optimizers = {"encoder": context.adam(groups, s.rate, s.betas)}
        self.encode = context.faster(self.encoder)
        self.synthesis = context.faster(self.generator.synthesis)
        self.hypernetwork = whole.hypernetwork
        if self.hypernetwork is not None:
            self.hypernetwork = context.place(self.hypernetwork)
            self.average_hypernetwork = context.average_of(self.hypernetwork)
            self.nets["hypernetwork"], self.ema["hypernetwork"] = self.hypernetwork, self.average_hypernetwork
            self.optimizers["hypernetwork"] = context.adam(self.hypernetwork.parameters(), s.rate, s.betas)

    def step(self, batch: Mapping[str, Tensor], step: int) -> dict[str, Tensor]:
        context, x = self.context, batch["pictures"]
        with context.autocast():
            codes = self.encode(model.shown(x, self.encoder.size)) + self.average
            x = model.shown(x, self.generator.size)
            parts = self.parts(self.synthesis(codes, noise="fixed"), x)
        loss = losses.total(parts, self.strengths)
        context.descend("encoder", loss, self.optimizers["encoder"])
        report = {name: value.detach() for name, value in parts.items()} | {"total": loss.detach()}
        follow(self.average_encoder, self.encoder, self.settings.ema, step)
        if self.settings.train_generator:
            follow(self.average_generator, self.generator, self.settings.ema, step)
        if self.hypernetwork is not None:
            report["hypernetwork"] = self.hypernetwork_step(x, codes.detach())
            follow(self.average_hypernetwork, self.hypernetwork, self.settings.ema, step)
        return report

    def hypernetwork_step(self, x: Tensor, codes: Tensor) -> Tensor:
        """HyperStyle: the same loss after every refinement, each backpropagated by itself; one optimizer step."""
        optimizer, total = self.optimizers["hypernetwork"], torch.zeros((), device=self.context.device)
        optimizer.zero_grad(set_to_none=True)
        with self.context.autocast():
            refinements = self.hypernetwork.refinements(x, self.generator, codes, self.recipe.encoder.offset_iterations)
            for _, picture in refinements:
                loss = losses.total(self.parts(picture, x), self.strengths)
                loss.backward()
                total = total + loss.detach()
        self.context.apply("hypernetwork", total, optimizer)
        return total / self.recipe.encoder.offset_iterations

    def parts(self, y: Tensor, x: Tensor) -> dict[str, Tensor]:
        """The losses of pictures ``y`` made from ``x``, those that have a weight."""
        parts = {}
        if self.settings.l2:
            parts["l2"] = nn.functional.mse_loss(y.float(), x.float())
        if self.features is not None:
            with torch.no_grad():
                target = self.features(x)
            maps = ([f.float() for f in m] for m in (self.features(y), target))
            parts["perceptual"] = losses.perceptual(*maps, self.recipe.losses.perceptual_norm)
        if self.identity is not None:
            with torch.no_grad():
                target = self.identity(x)
            parts["identity"] = losses.identity(self.identity(y).float(), target.float())
        return parts

    @torch.no_grad()
    def invert(self, x: Tensor) -> Tensor:
        """Pictures through the moving averages."""
        codes, offsets = self.average_encoder(model.shown(x, self.encoder.size)) + self.average, None
        if self.hypernetwork is not None:
            iterations = self.recipe.encoder.offset_iterations
            offsets = self.average_hypernetwork.refine(x, self.average_generator, codes, iterations)
        return self.average_generator.synthesis(codes, noise="fixed", offsets=offsets)

    def sample(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Eight pictures, each beside its reconstruction."""
        x = batch["pictures"][:8]
        return torch.stack([model.shown(x, self.generator.size), self.invert(x)], 1).flatten(0, 1)

    @torch.no_grad()
    def evaluate(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """PSNR (dB) and L1 of the reconstructions."""
        x, y = batch["pictures"].float(), self.invert(batch["pictures"]).float()
        x = model.shown(x, self.generator.size)
        return {"psnr": loss_networks.psnr(y, x), "l1": losses.reconstruction(y, x)}

    def extra(self) -> dict[str, Tensor]:
        return {}

    def load_extra(self, tensors: Mapping[str, Tensor]) -> None:
        """Nothing but networks and optimizers goes on from step to step."""

    def grow_from(self, trained: Predecessor) -> None:
        """Start from an encoder for smaller pictures: the body and the pyramid. The heads are new, for they see maps of
        another size; unless the encoder is shown the same size, where those that there are stay. A generator that
        learned with it grows.
        """
        same = model.build(trained.recipe).encoder.size == self.encoder.size
        state = trained.state("encoder")
        self._start_from({k: v for k, v in state.items() if same or not k.startswith("styles.")})
        if self.settings.train_generator and "generator" in trained.networks:
            small = trained.recipe.generator.size
            self.generator.load_state_dict(grow_generator(trained.state("generator"), small, self.generator))
            self.average_generator.load_state_dict(self.generator.state_dict())

    def start_from(self, file: Path) -> None:
        """Start the encoder from ArcFace's ``model_ir_se50.pth``, as pSp does, or from another encoder's weights.

        CheckpointError where nothing in ``file`` has the name and shape of a part of the encoder.
        """
        state = weights.load_state_dict(file)
        state = state.get("state_dict", state)
        if not self._start_from({k.removeprefix("encoder.").removeprefix("arcface."): v for k, v in state.items()}):
            raise CheckpointError(f"{file}: nothing in it fits the recipe's encoder; give model_ir_se50.pth or pSp's")

    def _start_from(self, state: Mapping[str, Tensor]) -> int:
        own = self.encoder.state_dict()
        same = {k: v for k, v in state.items() if k in own and own[k].shape == v.shape}
        self.encoder.load_state_dict({**own, **same})
        self.average_encoder.load_state_dict(self.encoder.state_dict())
        return sum(v.ndim > 1 for v in same.values())
