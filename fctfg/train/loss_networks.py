"""The frozen networks that losses look through: perceptual and identity. One that a weight of 0 switches off is not
loaded; one that is wanted and missing is an error, never left out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fctfg import weights
from fctfg.nets.ir_se import ArcFace
from fctfg.nets.vgg import VGG19Features
from fctfg.recipes import Recipe
from fctfg.train.checkpoint import put
from fctfg.train.context import Context

if TYPE_CHECKING:
    from fctfg.train.predecessors import Predecessor

#: the names in ``fctfg.weights``
VGG19, ARCFACE = "vgg19", "ir_se50"
Features = Callable[[Tensor], Sequence[Tensor]]


def perceptual(recipe: Recipe, context: Context, trained: Callable[[], Predecessor]) -> Features:
    """Pictures (N, 3, S, S) in [-1, 1] -> the feature maps that A9 compares, by ``recipe.losses.perceptual_network``.

    ``trained`` gives stage one's networks, asked for the discriminator only where that stands in for VGG-19.
    MissingWeights where VGG-19 is wanted and is not on this machine.
    """
    if recipe.losses.perceptual_network == "vgg19":
        return context.faster(context.place(public(VGG19Features(), VGG19), train=False))
    from fctfg.train.stylegan2 import networks

    discriminator = networks(recipe)[1]
    trained().into(discriminator, "discriminator")
    return context.faster(context.place(discriminator, train=False).features)


def identity(recipe: Recipe, context: Context) -> Callable[[Tensor], Tensor] | None:
    """Pictures (N, 3, S, S) in [-1, 1] -> embeddings (N, 512) of what ``identity_box`` shows of them (A12).

    None where the recipe has no identity network. MissingWeights where ArcFace's are not on this machine.
    """
    if recipe.losses.identity_network == "none":
        return None
    embed = context.faster(context.place(public(ArcFace(), ARCFACE), train=False))
    box = recipe.losses.identity_box
    return lambda pictures: embed(crop(pictures, box, 112))


def public(net: nn.Module, name: str) -> nn.Module:
    """``net`` with the public weights ``name`` of ``fctfg.weights``, of which it may use a part (VGG-19's features).

    MissingWeights, in one line with how to get them, where they are not on this machine.
    """
    place, own = weights.require(name), net.state_dict()
    state = {k: v for k, v in weights.load_state_dict(place).items() if k in own}
    # files older than the counter of batches lack it, and nothing here counts
    counters = {k: v for k, v in own.items() if k.endswith("num_batches_tracked")}
    put(net, counters | state, place)
    return net


def crop(pictures: Tensor, box: tuple[float, float, float, float], size: int) -> Tensor:
    """The part ``box`` (left, top, right, bottom as fractions) of (N, 3, S, S), resized to (N, 3, size, size)."""
    side = pictures.shape[-1]
    left, top, right, bottom = (round(side * edge) for edge in box)
    return F.interpolate(
        pictures[:, :, top:bottom, left:right], (size, size), mode="bilinear", align_corners=False, antialias=True
    )


def psnr(generated: Tensor, wanted: Tensor) -> Tensor:
    """Mean over pictures (N, 3, S, S) in [-1, 1] of the peak signal-to-noise ratio in dB, peak to peak 2; without
    rounding to bytes. At most 100, for a picture that is met exactly.
    """
    error = (generated.float().clamp(-1, 1) - wanted.float()).square().flatten(1).mean(1)
    return (10 * torch.log10(4 / error.clamp(min=4e-10))).mean()
