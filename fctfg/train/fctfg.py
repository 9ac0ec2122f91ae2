"""The last stage: the whole model, end to end, by Eq. 9 (paper, 3.3 and 4.1.2)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fctfg import losses, model
from fctfg.data.puppets.identity import N_FACTORS
from fctfg.nets.discriminator import GROUP, Discriminator
from fctfg.nets.generator import channels_at
from fctfg.nets.sync_expert import FRAMES, SyncExpert, lower_half
from fctfg.nets.widen import widen
from fctfg.recipes import Recipe
from fctfg.train import loss_networks
from fctfg.train.checkpoint import CheckpointError, put
from fctfg.train.context import Context, follow
from fctfg.train.grow_model import grow_model
from fctfg.train.predecessors import Predecessor
from fctfg.train.puppet_data import LIPS, SHOWN
from fctfg.train.start_audio import start_audio_encoder

SECTIONS = ("generator", "encoder", "latent", "audio", "losses", "fctfg")
#: the parts that are new, and those that earlier stages trained (A21)
NEW, TRAINED = ("canonical", "motion", "fusion"), ("encoder", "audio_encoder", "generator", "hypernetwork")

#: of a state dict: the generator's mapping network, which this stage neither uses nor trains
MAPPING = "generator.style."


class LabelReader(nn.Module):
    """Linear maps from codes to what puppets are known to show: motion from z_{c->d}, the person from all else that the
    generator is given. They are thrown away after training.
    """

    def __init__(self, net: model.FCTFG) -> None:
        super().__init__()
        width = net.average.shape[1]
        self.lips = [SHOWN.index(i) for i in LIPS]
        self.motion = nn.Linear(len(net.layers) * width, len(SHOWN))
        self.person = nn.Linear(net.n_styles * width, N_FACTORS)

    def forward(self, net: model.FCTFG, codes: model.Codes, motion: Tensor, person: Tensor) -> Tensor:
        """The sum of both readings' errors, of standardised ``motion`` (B, 1 + T, M) and ``person`` (B, F).

        The first row of ``motion`` is the source's, read as if it were a silent driving frame: of its lips the sound
        says nothing.
        """
        at_rest = net.styles(codes.source, codes.canonical, torch.zeros_like(codes.motion[:, :1]))
        of_source = net.motion_code(codes.source[:, list(net.layers)], torch.zeros_like(codes.audio[:, 0]))
        read = self.motion(torch.cat([of_source[:, None], codes.motion], 1).flatten(2))
        counts = torch.ones_like(motion)
        counts[:, 0, self.lips] = 0
        error = F.smooth_l1_loss(read.float(), motion, reduction="none")
        return (error * counts).sum() / counts.sum() + F.smooth_l1_loss(self.person(at_rest.flatten(1)).float(), person)

    def of_drawn(self, net: model.FCTFG, pictures: Tensor, motion: Tensor) -> Tensor:
        """The error of the motion that is read from generated ``pictures`` (N, 3, S, S), standardised ``motion``
        (N, M), the lips aside. ``net`` looks at them in silence; neither it nor this reader learns from that.
        """
        rows = net.encode(pictures, net.layers)
        codes = net.motion_code(rows, rows.new_zeros(len(rows), net.audio_encoder.dim)).flatten(1)
        read = F.linear(codes, self.motion.weight.detach(), self.motion.bias.detach())
        seen = [i for i in range(len(SHOWN)) if i not in self.lips]
        return F.smooth_l1_loss(read[:, seen].float(), motion[:, seen])


class FCTFGStage:
    """Batches: ``source`` (b, 3, S, S), ``driving`` (b, T, 3, S, S), in [-1, 1]; ``mels`` (b, T, 1, 80, 16), a window
    of sound for every frame; ``mel_window`` (b, 1, 80, 16), that of the first five frames; ``target``, like
    ``driving``: what should come out, where that is not the driving frames themselves.

    ``find(stage, sections)`` gives an earlier stage's networks; ``audio_encoder``: a file to start that part from;
    ``start``: a trained last stage to begin with (``start_from``): earlier ones are then asked for what losses need.
    """

    #: of what ``sample`` draws
    columns = 5

    def __init__(
        self,
        recipe: Recipe,
        context: Context,
        find: Callable,
        audio_encoder: Path | None = None,
        start: Predecessor | None = None,
    ) -> None:
        self.recipe, self.settings, self.context = recipe, recipe.fctfg, context
        self.frames = recipe.fctfg.batch * recipe.latent.window
        self.strengths = {
            "ortho": recipe.losses.ortho,
            "sync": recipe.losses.sync,
            "identity": recipe.losses.identity,
            "reconstruction": recipe.losses.reconstruction,
            "perceptual": recipe.losses.perceptual,
            "gan": recipe.losses.gan,
            "labels": recipe.losses.labels,
            "labels_drawn": recipe.losses.labels_drawn,
            "texture": recipe.losses.texture,
        }
        if self.strengths["labels_drawn"] and not self.strengths["labels"]:
            raise ValueError("losses.labels_drawn needs the reader that losses.labels trains: --set losses.labels=0.2")
        self.box_weight, box = None, recipe.losses.reconstruction_box
        if (gain := recipe.losses.reconstruction_gain) != 1.0:
            self.box_weight = losses.inside_box(box, gain, recipe.generator.size, context.device)
        self.audio_file = audio_encoder
        self.expert = self.features = self.identity = None
        if self.strengths["sync"]:
            self.expert = self._expert(find)
        if self.strengths["perceptual"]:
            self.features = loss_networks.perceptual(recipe, context, lambda: find("stylegan2", ("generator",)))
        if self.strengths["identity"]:
            self.identity = loss_networks.identity(recipe, context)

        net = model.build(recipe)
        if start is None:
            self._begin_with_earlier_stages(net, find)
        self.model = context.place(net)
        self._choose_what_is_trained()
        self.run = context.faster(net)
        self.average_model = context.average_of(net)
        self.nets, self.ema = {"model": net}, {"model": self.average_model}
        if self.strengths["labels"]:
            self.reader = self.nets["reader"] = context.place(LabelReader(net))
        s = self.settings
        self.optimizers = {"model": context.adam(self._groups(), s.rate, s.betas)}
        self.discriminator = None
        if self.strengths["gan"]:
            self.discriminator = context.place(self._discriminator(find, start))
            self.judge = context.faster(self.discriminator)
            self.nets["discriminator"] = self.discriminator
            lazy = recipe.losses.r1_every if recipe.losses.r1 else 0
            rate = s.rate * s.discriminator_rate_ratio
            self.optimizers["discriminator"] = context.adam(self.discriminator.parameters(), rate, s.betas, lazy)
        if start is not None:
            self.start_from(start)

    def step(self, batch: Mapping[str, Tensor], step: int) -> dict[str, Tensor]:
        context, driving, target = self.context, batch["driving"], self.wanted(batch)
        adversarial = self.discriminator is not None and step >= self.settings.gan_from
        if self.discriminator is not None:
            self.discriminator.requires_grad_(False)
        with context.autocast():
            generated, codes = self.run(batch["source"], driving, batch["mels"], noise="fixed")
            parts = self.parts(generated, codes, batch)
            if adversarial:
                scores = self.judge(self.to_judge(generated, step))
                parts["gan"] = losses.adversarial_generator(scores.float(), self.recipe.losses.gan_form)
        if step < self.settings.ortho_from:
            parts.pop("ortho", None)
        loss = losses.total(parts, self.strengths)
        context.descend("model", loss, self.optimizers["model"])
        report = {name: value.detach() for name, value in parts.items()} | {"total": loss.detach()}
        # the share of the sound's code that is not zero: an encoder whose last ReLU gives nothing no longer learns
        report["hearing"] = (codes.audio.detach() > 0).float().mean()
        if adversarial:
            report |= self.discriminator_step(target, generated.detach(), step)
        follow(self.average_model, self.model, self.settings.ema, step)
        return report

    def parts(self, generated: Tensor, codes: model.Codes, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Eq. 3 to 7, those that have a weight; ``step`` adds the adversarial term."""
        c, w = self.recipe.losses, self.strengths
        x_g, x_d = generated.flatten(0, 1), self.wanted(batch).flatten(0, 1)
        parts = {}
        if w["ortho"]:
            canonical, rows = codes.canonical, list(self.model.layers)
            if canonical.shape[1] != len(rows):  # untouched="canonical": it has all layers
                canonical = canonical[:, rows]
            if c.ortho_center:
                canonical = canonical - self.model.average[rows]
            with torch.autocast(x_g.device.type, enabled=False):
                parts["ortho"] = losses.orthogonality(
                    canonical.float(), codes.motion.float(), c.ortho_form, c.ortho_absolute, c.ortho_channels
                )
        if w["sync"]:
            faces = lower_half(generated[:, :FRAMES].float(), c.sync_box)
            video, audio = self.expert(faces, batch["mel_window"])
            parts["sync"] = losses.synchronisation(video.float(), audio.float())
        if w["identity"] and self.identity is not None:
            with torch.no_grad():
                target = self.identity(x_d)
            parts["identity"] = losses.identity(self.identity(x_g).float(), target.float())
        if w["reconstruction"]:
            parts["reconstruction"] = losses.reconstruction(x_g.float(), x_d.float(), self.pixel_weight(batch))
        if w["texture"]:
            parts["texture"] = losses.texture(x_g.float(), x_d.float())
        if w["labels"]:
            parts["labels"] = self.reader(self.model, codes, batch["motion"], batch["person"])
        if w["labels_drawn"]:
            parts["labels_drawn"] = self.reader.of_drawn(self.average_model, x_g, batch["motion"][:, 1:].flatten(0, 1))
        if w["perceptual"]:
            with torch.no_grad():
                target = self.features(x_d)
            maps = ([f.float() for f in m] for m in (self.features(x_g), target))
            parts["perceptual"] = losses.perceptual(*maps, c.perceptual_norm)
        return parts

    def pixel_weight(self, batch: Mapping[str, Tensor]) -> Tensor | None:
        """How much each pixel of the reconstruction counts: (S, S), or (B T, 1, S, S) where landmarks decide."""
        gain, size = self.recipe.losses.parts_gain, self.recipe.generator.size
        if gain == 1.0:
            return self.box_weight
        parts = losses.around_parts(batch["landmarks"].flatten(0, 1), gain, size)
        return parts if self.box_weight is None else parts * self.box_weight

    def wanted(self, batch: Mapping[str, Tensor]) -> Tensor:
        """The frames that should come out (b, T, 3, S, S): the driving ones, as in the paper, or ``target``."""
        frames = batch.get("target", batch["driving"])
        return model.shown(frames.flatten(0, 1), self.model.generator.size).unflatten(0, frames.shape[:2])

    def discriminator_step(self, wanted: Tensor, generated: Tensor, step: int) -> dict[str, Tensor]:
        """Eq. 8's other side: the logistic loss, and R1 every so often, in float32."""
        c, context = self.recipe.losses, self.context
        self.discriminator.requires_grad_(True)
        real, fake = self.to_judge(wanted, step), self.to_judge(generated, step)
        with context.autocast():
            scores_real, scores_fake = self.judge(real), self.judge(fake)
        loss = losses.adversarial_discriminator(scores_real.float(), scores_fake.float())
        context.descend("discriminator", loss, self.optimizers["discriminator"])
        report = {"discriminator": loss.detach()}
        if c.r1 and step % c.r1_every == 0:
            pictures = real.detach().float().requires_grad_(True)
            penalty = losses.r1(self.discriminator(pictures), pictures)
            context.descend("r1", c.r1 / 2 * c.r1_every * penalty, self.optimizers["discriminator"])
            report["r1"] = penalty.detach()
        return report

    def to_judge(self, frames: Tensor, step: int) -> Tensor:
        """What the discriminator sees of windows (b, T, 3, S, S): the frames one by one, or each window as one (T3).

        The minibatch deviation takes multiples of four: where the number is none, one to three are left out, other
        ones in every step.
        """
        if self.recipe.losses.discriminator == "video":
            pictures = frames.flatten(1, 2)
        else:
            pictures = frames.flatten(0, 1)
        n = len(pictures)
        if n <= GROUP or n % GROUP == 0:
            return pictures
        return pictures.roll(step, 0)[: n - n % GROUP]

    @torch.no_grad()
    def sample(self, batch: Mapping[str, Tensor]) -> Tensor:
        """For each of four windows: source, canonical face, first driving frame, generated, what was wanted."""
        n = min(4, len(batch["source"]))
        source, driving, mels = (batch[name][:n] for name in ("source", "driving", "mels"))
        generated, _ = self.average_model(source, driving, mels)
        canonical = self.average_model.canonical_face(source)
        reference, first = (model.shown(x, self.model.generator.size) for x in (source, driving[:, 0]))
        return torch.stack([reference, canonical, first, generated[:, 0], self.wanted(batch)[:n, 0]], 1).flatten(0, 1)

    @torch.no_grad()
    def evaluate(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """PSNR (dB) and L1 of the moving average's frames against those that should come out, and how steep their edges
        are beside those (``sharpness``, 1: as steep).
        """
        generated, _ = self.average_model(batch["source"], batch["driving"], batch["mels"])
        x_g, x_d = generated.flatten(0, 1).float(), self.wanted(batch).flatten(0, 1).float()
        return {
            "psnr": loss_networks.psnr(x_g, x_d),
            "l1": losses.reconstruction(x_g, x_d),
            "sharpness": losses.steepness(x_g) / losses.steepness(x_d),
        }

    def grow_from(self, trained: Predecessor) -> None:
        """Start from the last stage of a run at a smaller size; the discriminator stays the one of this size."""
        small = model.build(trained.recipe)
        self._begin_with(grow_model(trained.state("model"), small, self.model))

    def start_from(self, trained: Predecessor) -> None:
        """Start from the last stage of another run: with other windows, losses, data or fusion, or with more channels
        in encoder or generator, which change nothing at first (`widen`).

        Temporal fusion of another kind cannot be taken over: this run's own then stays as new. So does the mapping
        network, which has no part in this stage, where ``trained`` is a model file, and a discriminator where the
        other is of another kind.
        """
        own = self.model.state_dict()
        state = {name: value for name, value in own.items() if name.startswith(MAPPING)} | trained.state("model")
        if trained.recipe is not None and trained.recipe.latent.fusion != self.recipe.latent.fusion:
            state = {name: value for name, value in state.items() if not name.startswith("fusion.")}
            state |= {name: value for name, value in own.items() if name.startswith("fusion.")}
        if any(own[name].shape != value.shape for name, value in state.items() if name in own):
            try:
                state = widen(state, self.model)
            except ValueError as error:
                raise CheckpointError(f"{trained.place}: {error}; is it of this recipe?") from None
        put(self.model, state, trained.place)
        self._begin_with(state)
        if self.discriminator is not None and self._judged_alike(trained):
            trained.into(self.discriminator, "discriminator")
        if "reader" in self.nets and "reader" in trained.networks:
            trained.into(self.reader, "reader")

    def _begin_with(self, state: Mapping[str, Tensor]) -> None:
        """Both networks; an audio encoder that was named by itself comes before the one in ``state``."""
        self.model.load_state_dict(state)
        if self.audio_file is not None:
            start_audio_encoder(self.model.audio_encoder, self.recipe, self.audio_file, None)
        self.average_model.load_state_dict(self.model.state_dict())

    def extra(self) -> dict[str, Tensor]:
        return {}

    def load_extra(self, tensors: Mapping[str, Tensor]) -> None:
        """Nothing but networks and optimizers goes on from step to step."""

    def _choose_what_is_trained(self) -> None:
        """A21: the new parts, and those of ``fine_tuned``; batch normalisation's statistics stay where it says so."""
        unknown = set(self.settings.fine_tuned) - set(TRAINED)
        if unknown:
            raise ValueError(f"fctfg.fine_tuned: no part {', '.join(sorted(unknown))}; there are {', '.join(TRAINED)}")
        for name in TRAINED:
            part = getattr(self.model, name)
            if part is not None and name not in self.settings.fine_tuned:
                part.requires_grad_(False).eval()
        self.model.generator.style.requires_grad_(False)  # the mapping network has no part in Fig. 3
        if self.settings.freeze_batchnorm:
            for module in self.model.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()

    def _groups(self) -> list[dict]:
        """What is trained, for the optimizer; the generator at a rate of its own where the recipe has one."""
        s, generator = self.settings, set(self.model.generator.parameters())
        trained = [p for p in self.model.parameters() if p.requires_grad]
        if "reader" in self.nets:
            trained += self.nets["reader"].parameters()
        if s.generator_rate_ratio == 1.0:
            return [{"params": trained}]
        return [
            {"params": [p for p in trained if p not in generator]},
            {"params": [p for p in trained if p in generator], "lr": s.rate * s.generator_rate_ratio},
        ]

    def _expert(self, find: Callable) -> nn.Module:
        if self.recipe.latent.window < FRAMES:
            raise ValueError(
                f"latent.window is {self.recipe.latent.window}: the sync expert sees {FRAMES} frames; use --set "
                f"latent.window={FRAMES} (or more), or --set losses.sync=0"
            )
        expert = SyncExpert(self.recipe.sync_expert.width)
        find("sync-expert", ()).into(expert, "expert")
        return self.context.place(expert, train=False)

    def _begin_with_earlier_stages(self, net: model.FCTFG, find: Callable) -> None:
        stage_one, stage_two = find("stylegan2", ("generator",)), find("inversion", ("generator", "encoder"))
        # where the generator learned with the encoder, it is stage two's; a public encoder's decoder is stage one's
        learned = stage_two.recipe is not None and stage_two.recipe.inversion.train_generator
        (stage_two if learned else stage_one).into(net.generator, "generator")
        stage_two.into(net.encoder, "encoder")
        net.start_at(stage_one.average(net.generator))
        if net.hypernetwork is not None:
            stage_two.into(net.hypernetwork, "hypernetwork")
        start_audio_encoder(net.audio_encoder, self.recipe, self.audio_file, find)

    def _discriminator(self, find: Callable, start: Predecessor | None) -> Discriminator:
        """A10: stage one's, or a fresh one. A video discriminator starts as the image one of the frames' mean layer
        from RGB: its weights for every frame, over the root of their number (equalised learning rate does the rest).
        """
        g, c, frames = self.recipe.generator, self.recipe.losses, 1
        if c.discriminator == "video":
            frames = self.recipe.latent.window
        width = c.discriminator_width
        multiplier, most = g.channel_multiplier * width, int(g.channel_max * width)
        if channels_at(g.size, multiplier, most) < 1:
            raise ValueError(f"losses.discriminator_width is {width}: that leaves no channel at {g.size} x {g.size}")
        net = Discriminator(g.size, multiplier, most, in_frames=frames)
        if c.discriminator_start == "fresh" or (start is not None and self._judged_alike(start)):
            return net
        if width != 1.0:
            raise ValueError(
                f"losses.discriminator_width is {width}: stage one's discriminator has other channels; use --set "
                f"losses.discriminator_start=fresh"
            )
        stage_one = find("stylegan2", ("generator",))
        state = stage_one.state("discriminator")
        first = "convs.0.0.weight"
        if first not in state:
            raise CheckpointError(f"{stage_one.place}: its discriminator has no {first}; is it StyleGAN2's?")
        tiled = state[first].repeat(1, frames, 1, 1) / frames**0.5
        net.load_state_dict({**state, first: tiled})
        return net

    def _judged_alike(self, trained: Predecessor) -> bool:
        """Whether a run has a discriminator that fits this one's."""
        if "discriminator" not in trained.networks or trained.recipe is None:
            return False
        ours, theirs = self.recipe, trained.recipe
        if ours.losses.discriminator == "video" and ours.latent.window != theirs.latent.window:
            return False
        kind = ("discriminator", "discriminator_width")
        alike = all(getattr(ours.losses, name) == getattr(theirs.losses, name) for name in kind)
        return alike and ours.generator == theirs.generator  # whose channels it has
