"""Refining a source's codes: steps of descent from what the encoder says, so that the generator draws its picture.

One pass of the encoder leaves a gap: the generator can draw a person better than the encoder describes them. Hybrid
inversion closes part of it: encode, then optimise (Zhu et al., "Generative Visual Manipulation on the Natural Image
Manifold", 2016; "In-Domain GAN Inversion for Real Image Editing", 2020). Weights stay as they are, motion comes from
the driving frames as before, and only the source is fitted: nothing of the driving video is looked at. It is not part
of the paper's method, and off unless asked for.
"""

from __future__ import annotations

import torch
from torch import Tensor

from fctfg import losses
from fctfg.model import FCTFG, shown

#: the rate at the beginning; it falls with the square root of what is left of the steps
RATE = 0.02
#: weight of the texture loss beside a mean absolute error, lest edges get softer
TEXTURE = 1.0
#: weight of the mean squared way from the encoder's codes: one picture does not show all of a person
NEAR = 0.05


def refined(
    model: FCTFG, picture: Tensor, source: Tensor, canonical: Tensor, silence: Tensor, steps: int
) -> tuple[Tensor, Tensor]:
    """z_s (1, L, D) and z_{s->c} after ``steps`` of Adam that make the person, moved as ``picture`` is, look like it.

    ``picture``: (1, 3, S, S) in [-1, 1]; ``silence``: its mel window (1, 1, 80, 16). What the picture says is not
    known: an audio code is fitted along, from that of silence, and thrown away. Frames of other moments get better for
    some tens of steps and worse in the end, as the codes learn this one picture by heart.
    """
    rows = list(model.layers)
    with torch.no_grad():
        offsets = model.offsets(picture, source)
        own, heard = source[:, rows], model.audio_encoder(silence)
    z_s, z_c, z_a = (z.detach().clone().requires_grad_(True) for z in (source, canonical, heard))
    optimizer = torch.optim.Adam([z_s, z_c, z_a], lr=RATE, betas=(0.9, 0.99))
    wanted = shown(picture, model.recipe.generator.size)
    with torch.enable_grad():
        for step in range(steps):
            optimizer.param_groups[0]["lr"] = RATE * (1 - step / steps) ** 0.5
            motion = model.motion_code(own, z_a)[:, None]
            drawn = model.generator.synthesis(model.styles(z_s, z_c, motion)[:, 0], offsets=offsets)
            loss = losses.reconstruction(drawn, wanted) + TEXTURE * losses.texture(drawn, wanted)
            loss = loss + NEAR * ((z_s - source).square().mean() + (z_c - canonical).square().mean())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return z_s.detach(), z_c.detach()
