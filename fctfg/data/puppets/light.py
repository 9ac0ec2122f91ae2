"""Light and colour: one key light, soft ambient light from above, and a rim from behind; colours of skin and hair."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from fctfg.data.puppets.head import power
from fctfg.data.puppets.identity import Identity

# linear-light colours of skin from pale to deep, and of hair from black to blond
_SKIN = ((0.80, 0.575, 0.465), (0.72, 0.47, 0.345), (0.63, 0.375, 0.245), (0.39, 0.205, 0.125), (0.19, 0.098, 0.062))
_HAIR = ((0.014, 0.011, 0.010), (0.045, 0.024, 0.015), (0.125, 0.060, 0.028), (0.30, 0.155, 0.060), (0.62, 0.42, 0.20))
_IRIS = ((0.10, 0.045, 0.018), (0.17, 0.085, 0.030), (0.17, 0.16, 0.05), (0.09, 0.19, 0.14), (0.10, 0.22, 0.38))


def ramp(table: tuple[tuple[float, ...], ...], at: torch.Tensor) -> torch.Tensor:
    """A colour ramp read at ``(B, 1, 1)`` values in [-1, 1]: ``(B, 3, 1, 1)``."""
    colours = torch.tensor(table, device=at.device)
    place = (at[:, 0, 0].clamp(-1, 1) + 1) / 2 * (len(table) - 1)
    knots = torch.arange(len(table), device=at.device)
    weight = (1 - (place[:, None] - knots).abs()).clamp(min=0)
    return (weight @ colours)[:, :, None, None]


def hue(angle: torch.Tensor) -> torch.Tensor:
    """A fully coloured RGB, mean 0.5, for hues in [-1, 1]: ``(B, 1, 1)`` to ``(B, 3, 1, 1)``."""
    phase = torch.tensor([0.0, 2.0944, 4.1888], device=angle.device)[None, :, None, None]
    return 0.5 + 0.5 * torch.cos(torch.pi * angle[:, None] - phase)


@dataclass(frozen=True)
class Palette:
    """Linear-light albedos, each ``(B, 3, 1, 1)``."""

    skin: torch.Tensor
    lips: torch.Tensor
    hair: torch.Tensor
    brow: torch.Tensor
    iris: torch.Tensor
    cloth: torch.Tensor


def palette(who: Identity) -> Palette:
    warm = torch.tensor([0.03, 0.0, -0.05], device=who.values.device)[None, :, None, None]
    skin = ramp(_SKIN, who["skin_tone"]) * (1 + 1.2 * who["skin_warmth"][:, None] * warm)
    red = torch.tensor([0.86, 0.50, 0.50], device=skin.device)[None, :, None, None]
    rose = torch.tensor([0.62, 0.16, 0.17], device=skin.device)[None, :, None, None]
    strength = 0.37 + 0.22 * who["lip_colour"][:, None]
    lips = skin * red * (1 - strength) + rose * strength * (0.35 + skin.mean(1, keepdim=True))
    hair = ramp(_HAIR, who["hair_tone"])
    red_hair = torch.tensor([1.35, 0.85, 0.60], device=skin.device)[None, :, None, None]
    hair = hair * (1 + (red_hair - 1) * who["hair_warmth"][:, None].clamp(min=0))
    grey = who["hair_grey"][:, None].clamp(min=0) * 0.8
    hair = hair + (0.36 - hair) * grey
    brow = hair * 0.55 * (1 - 0.3 * grey) + 0.006
    tone = who["brow_tone"][:, None]
    brow = brow * (1 + 0.6 * tone.clamp(max=0))
    brow = brow + (skin * 0.55 - brow) * 0.75 * tone.clamp(min=0)
    iris = ramp(_IRIS, who["iris_hue"]) * (1 + 0.35 * who["iris_light"][:, None])
    vivid = (who["cloth_colour"][:, None] + 1) / 2 * 0.75
    cloth = (hue(who["cloth_hue"]) * vivid + 0.5 * (1 - vivid)) * (0.36 + 0.27 * who["cloth_light"][:, None])
    return Palette(skin, lips, hair, brow, iris, cloth)


@dataclass(frozen=True)
class Light:
    """Directions ``(B, 3, 1, 1)`` towards the lights in the camera's frame; colours ``(B, 3, 1, 1)``."""

    key: torch.Tensor
    half: torch.Tensor
    back: torch.Tensor
    key_colour: torch.Tensor
    sky: torch.Tensor
    ground: torch.Tensor
    rim: torch.Tensor
    wrap: torch.Tensor


def light(who: Identity) -> Light:
    side = torch.deg2rad(48 * who["light_side"])[:, 0]
    high = torch.deg2rad(34 + 20 * who["light_height"])[:, 0]
    key = torch.stack([side.sin() * high.cos(), high.sin(), side.cos() * high.cos()], 1)[..., None]
    half = torch.nn.functional.normalize(key + torch.tensor([0.0, 0.0, 1.0], device=key.device)[None, :, None, None])
    back = torch.cat(
        [-torch.sign(key[:, :1] + 1e-4) * 0.80, torch.full_like(key[:, :1], 0.35), 0 * key[:, :1] - 0.5], 1
    )
    tint = torch.tensor([0.10, 0.0, -0.12], device=key.device)[None, :, None, None] * who["light_warmth"][:, None]
    soft = (who["light_softness"][:, None] + 1) / 2
    sky = (0.40 + 0.22 * soft) * (1 - 0.7 * tint)
    ground = (
        (0.20 + 0.15 * soft) * (1 + 0.6 * tint) * torch.tensor([1.08, 0.97, 0.90], device=key.device)[:, None, None]
    )
    rim = 0.5 * (who["rim_light"][:, None] + 1) * (1 + tint)
    return Light(key, half, back, (1.28 - 0.32 * soft) * (1 + tint), sky, ground, rim, 0.12 + 0.30 * soft)


def shade(
    albedo: torch.Tensor,
    normal: torch.Tensor,
    lamp: Light,
    occlusion: torch.Tensor | float = 1.0,
    shadow: torch.Tensor | float = 1.0,
    gloss: torch.Tensor | float = 0.0,
    shine: float = 24.0,
    bleed: float = 0.0,
) -> torch.Tensor:
    """Albedo and unit normals ``(B, 3, rows, columns)`` to linear light.

    ``occlusion`` dims the ambient light and ``shadow`` the key light (``(B, 1, rows, columns)``); ``gloss`` is the
    strength of the highlight and ``shine`` its exponent; ``bleed`` lets red light creep round into the shade as it does
    through skin.
    """
    towards = torch.cat([lamp.key, lamp.half, lamp.back], -1)[:, :, 0].transpose(1, 2)
    facing, shiny, back = (towards @ normal.flatten(2)).view_as(normal).split(1, 1)
    reach = lamp.wrap + bleed * torch.tensor([0.30, 0.06, 0.0], device=normal.device)[None, :, None, None]
    share = 1 / (1 + reach)
    direct = torch.addcmul(reach * share, facing, share).clamp_(min=0).mul_(shadow)
    middle, swing = (lamp.sky + lamp.ground) / 2, (lamp.sky - lamp.ground) / 2
    ambient = torch.addcmul(middle, normal[:, 1:2], swing).mul_(occlusion)
    out = ambient.addcmul_(direct, lamp.key_colour).mul(albedo)
    if not (isinstance(gloss, float) and gloss == 0.0):
        # the lower end keeps the power of it a normal number
        out.addcmul_(power(shiny.clamp(min=0.03), shine) * gloss * shadow, lamp.key_colour)
    edge = (1 - normal[:, 2:3].clamp(0, 1)) ** 3
    rim = edge.mul_(back.clamp(min=0)).mul_(occlusion)
    return out.addcmul_((albedo * 0.8 + 0.05) * lamp.rim, rim)


def develop(linear: torch.Tensor) -> torch.Tensor:
    """Linear light to display values in [0, 1]: a soft shoulder and the usual gamma."""
    return power((1 - linear.clamp(min=0).mul_(-1.55).exp_()).clamp_(min=1e-5), 1 / 2.2)


def normals(position: torch.Tensor) -> torch.Tensor:
    """Unit normals of a grid of points ``(B, 3, rows, columns)``; rows run down, columns to the right of the image."""
    right = torch.empty_like(position)
    right[..., 1:-1] = position[..., 2:] - position[..., :-2]
    right[..., 0], right[..., -1] = position[..., 1] - position[..., 0], position[..., -1] - position[..., -2]
    down = torch.empty_like(position)
    down[:, :, 1:-1] = position[:, :, 2:] - position[:, :, :-2]
    down[:, :, 0], down[:, :, -1] = position[:, :, 1] - position[:, :, 0], position[:, :, -1] - position[:, :, -2]
    (dx, dy, dz), (rx, ry, rz) = down.unbind(1), right.unbind(1)
    cross = torch.stack([dy * rz - dz * ry, dz * rx - dx * rz, dx * ry - dy * rx], 1)
    return cross * torch.rsqrt((cross * cross).sum(1, keepdim=True).clamp(min=1e-14))
