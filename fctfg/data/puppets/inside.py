"""Inside the mouth: a dark cavity, two rows of teeth and a tongue, seen when the lips part."""

from __future__ import annotations

import torch

from fctfg.data.puppets.expression import UPPER_SHARE, gape
from fctfg.data.puppets.head import Base, bump, smoothstep
from fctfg.data.puppets.light import Light, normals, shade
from fctfg.data.puppets.relief import Mouth


def inside(
    head: Base, lips: Mouth, motion: torch.Tensor, lamp: Light, turn: torch.Tensor, density: float
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Parts as (position in the head's frame, linear colour), each ``(B, 3, rows, columns)``."""
    device = head.x.device
    batch = head.x.shape[0]
    columns, rows = max(int(48 * density), 21), max(int(20 * density), 9)
    a = torch.linspace(-1, 1, columns, device=device)[None, None, :]
    b = torch.linspace(0, 1, rows, device=device)[None, :, None]
    open_ = gape(motion)
    jaw = (1 - UPPER_SHARE) * open_
    face = 0.865
    parts = []

    def colour(rgb: tuple[float, float, float]) -> torch.Tensor:
        return torch.tensor(rgb, device=device)[None, :, None, None]

    def place(x: torch.Tensor, y: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
        return torch.stack([v.expand(batch, rows, columns) for v in (x, y, z)], 1)

    def add(position: torch.Tensor, albedo: torch.Tensor, light: torch.Tensor, gloss: float) -> None:
        normal = normals((turn @ position.flatten(2)).view_as(position))
        light = light.expand(batch, rows, columns)[:, None]
        parts.append((position, shade(albedo, normal, lamp, light, light, gloss)))

    # The cavity is a shallow bowl, darkest in the middle of its height.
    y = head.lip + 0.22 - b * (0.44 + jaw)
    z = face - 0.22 - 0.14 * a * a - 0.25 * (1 - a * a) * (1 - (2 * b - 1) ** 2)
    add(
        place(0.29 * a * (1 - 0.45 * b), y, z),
        colour((0.20, 0.030, 0.028)),
        0.30 + 0.25 * (2 * b - 1).abs() + 0 * a,
        0.0,
    )

    # Teeth: an arch, each tooth rounded, gums above; the lower row moves with the jaw.
    wide = 0.205 * (lips.half / 0.262)
    tooth = (a * 5.0).abs() % 1.0
    gap = 1 - 0.30 * bump(((tooth - 0.5).abs() - 0.5).abs() ** 2 / 0.004)
    shade_in = (1 - 0.55 * a.abs() ** 3) * gap
    enamel, gum = colour((0.80, 0.765, 0.69)), colour((0.55, 0.20, 0.20))
    for upper in (True, False):
        if upper:
            y = head.lip + 0.135 - b * (0.135 + 0.012 * (1 - a * a)) + 0.006 * (tooth - 0.5).abs()
            root, reach = smoothstep(-b, -0.30, -0.18), face - 0.075
        else:
            y = head.lip - jaw - 0.045 - b * 0.10
            root, reach = smoothstep(b, 0.72, 0.85), face - 0.105 - 0.10 * open_
        z = reach - 0.16 * a * a + 0.02 * (1 - (2 * b - 1) ** 2)
        albedo = enamel + (gum - enamel) * (root + 0 * a)[:, None]
        light = shade_in * (0.42 + 0.58 * smoothstep(open_, 0.0, 0.16)) * (0.92 if upper else 0.62) + 0 * b
        add(place(wide * a, y, z), albedo, light, 0.10)

    # The tongue lies behind the lower teeth.
    y = head.lip - jaw * 0.93 - 0.035 - b * 0.12 - 0.05 * a * a
    z = face - 0.17 - 0.10 * open_ + 0.05 * torch.sin(b * torch.pi) - 0.10 * a * a
    groove = 1 - 0.25 * bump((a / 0.08) ** 2)
    add(place(0.17 * a, y, z), colour((0.56, 0.17, 0.165)), 0.60 * groove + 0 * b, 0.06)
    return parts
