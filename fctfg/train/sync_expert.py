"""Stage three: Wav2Lip's expert, who tells whether five frames and a sound belong together (Prajwal et al. 2020).

Half of a batch is a window of frames with its own sound, half with the sound of another moment of the same clip.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from fctfg import losses
from fctfg.nets.sync_expert import FRAMES, SyncExpert, lower_half
from fctfg.recipes import Recipe
from fctfg.train.context import Context, follow

SECTIONS = ("sync_expert",)


class SyncExpertStage:
    """Batches: ``driving`` (b, 5 or more, 3, S, S) in [-1, 1], ``mel_window`` and ``wrong_window`` (b, 1, 80, 16)."""

    def __init__(self, recipe: Recipe, context: Context) -> None:
        self.recipe, self.settings, self.context = recipe, recipe.sync_expert, context
        self.frames = recipe.sync_expert.batch * FRAMES
        s = self.settings
        self.expert = context.place(SyncExpert(s.width))
        self.average_expert = context.average_of(self.expert)
        self.nets, self.ema = {"expert": self.expert}, {"expert": self.average_expert}
        self.optimizers = {"expert": context.adam(self.expert.parameters(), s.rate, s.betas)}
        self.embed = context.faster(self.expert)

    def step(self, batch: Mapping[str, Tensor], step: int) -> dict[str, Tensor]:
        order = torch.randperm(self.settings.batch, generator=self.context.draws(step, "matched").generator)
        matched = (self.context.world.rows(order) % 2 == 0).to(self.context.device)
        sound = torch.where(matched[:, None, None, None], batch["mel_window"], batch["wrong_window"])
        with self.context.autocast():
            video, audio = self.embed(self.faces(batch), sound)
        loss = losses.sync_expert(video.float(), audio.float(), matched)
        self.context.descend("expert", loss, self.optimizers["expert"])
        follow(self.average_expert, self.expert, self.settings.ema, step)
        return {"bce": loss.detach()}

    def faces(self, batch: Mapping[str, Tensor]) -> Tensor:
        """The lower halves of five frames' faces: (b, 15, 48, 96) in [0, 1]."""
        return lower_half(batch["driving"][:, :FRAMES].float(), self.recipe.losses.sync_box)

    @torch.no_grad()
    def sample(self, batch: Mapping[str, Tensor]) -> Tensor:
        """What the expert sees of eight windows' first frames, as (8, 3, 48, 96) RGB."""
        return self.faces(batch)[:8, [2, 1, 0]] * 2 - 1

    @torch.no_grad()
    def evaluate(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Held-out binary cross entropy, and accuracy in two senses: each pair judged by the cosine's half, and the
        right sound preferred to the wrong one.
        """
        faces = self.faces(batch)
        video, right = self.average_expert(faces, batch["mel_window"])
        wrong = self.average_expert.audio_encoder(batch["wrong_window"])
        right, wrong = (F.cosine_similarity(video, sound) for sound in (right, wrong))
        judged = torch.cat([right > 0.5, wrong <= 0.5]).float().mean()
        ones = torch.ones_like(right)
        bce = F.binary_cross_entropy(torch.cat([right, wrong]).clamp(0, 1), torch.cat([ones, 0 * ones]))
        return {"bce": bce, "accuracy": judged, "preferred": (right > wrong).float().mean()}

    def extra(self) -> dict[str, Tensor]:
        return {}

    def load_extra(self, tensors: Mapping[str, Tensor]) -> None:
        """Nothing but the network and its optimizer goes on from step to step."""
