"""A trained small StyleGAN2 becomes the start of a larger one (the idea of ProGAN section 2, without the fade).

Widths belong to resolutions, so every layer that both networks have keeps its shape. The generator's names count
from 4x4 upwards and stay; the discriminator's count from the picture downwards and shift.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from fctfg.nets.discriminator import Discriminator
from fctfg.nets.generator import Generator, log2_size

State = Mapping[str, Tensor]


def _blocks(small: int, large: int) -> int:
    """How many resolutions are new; ValueError unless ``large`` is the larger."""
    new = log2_size(large) - log2_size(small)
    if new <= 0:
        raise ValueError(f"a {small} network cannot grow into a {large} one: choose a larger size")
    return new


def _check(moved: State, own: State, small: int, large: int) -> None:
    """ValueError, naming the first tensor, unless every moved one has a place of its shape."""
    for name, value in moved.items():
        if name not in own:
            raise ValueError(f"{name} of the {small} network has no place in the {large} one; are both of one recipe?")
        if own[name].shape != value.shape:
            shapes = f"{tuple(value.shape)} in the {small} network, {tuple(own[name].shape)} in the {large} one"
            raise ValueError(f"{name} is {shapes}: grow with the same style_dim and channel settings")


def grow_generator(state: State, small: int, large: Generator) -> dict[str, Tensor]:
    """The state dict that starts the generator ``large`` from ``state``, one of size ``small``.

    All of ``state`` is kept; the new convolutions are as ``large`` has them (freshly initialised), the new toRGB
    layers are zero. So the larger picture begins as the small one's, put through the skip path's upsampling, and the
    new layers' first gradients flow through their toRGB.
    """
    new = _blocks(small, large.size)
    own = large.state_dict()
    _check(state, own, small, large.size)
    grown = {**own, **state}
    for block in range(len(large.to_rgbs) - new, len(large.to_rgbs)):
        for name in (f"to_rgbs.{block}.conv.weight", f"to_rgbs.{block}.bias"):
            grown[name] = torch.zeros_like(own[name])
    return grown


def grow_discriminator(state: State, small: int, large: Discriminator) -> dict[str, Tensor]:
    """The state dict that starts the discriminator ``large`` from ``state``, one of size ``small``.

    The residual blocks from ``small`` down and the head are kept; the layer from RGB and the blocks above are as
    ``large`` has them, for the small network's layer from RGB reads a picture that the large one does not have.
    """
    new = _blocks(small, large.size)
    moved = {}
    for name, value in state.items():
        part, number, rest = name.split(".", 2)
        if part == "convs":
            if number == "0":
                continue
            name = f"convs.{int(number) + new}.{rest}"
        moved[name] = value
    own = large.state_dict()
    _check(moved, own, small, large.size)
    return {**own, **moved}
