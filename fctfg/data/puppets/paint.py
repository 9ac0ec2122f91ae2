"""The skin's colours: complexion, lips, brows, lids, nostrils, folds, stubble, and the scalp under the hair."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch.nn.functional import interpolate

from fctfg.data.puppets.expression import Expression
from fctfg.data.puppets.eyes import Eyes, Opening
from fctfg.data.puppets.head import Base, bell, bump, smoothstep
from fctfg.data.puppets.identity import Identity
from fctfg.data.puppets.light import Palette
from fctfg.data.puppets.relief import Mouth


@lru_cache(maxsize=64)
def noise(seed: int, rows: int, columns: int, down: int, across: int, device: str) -> torch.Tensor:
    """Fixed smooth noise in about [-1, 1], ``(1, rows, columns)``, with ``down`` x ``across`` cells."""
    cells = np.random.default_rng(seed).uniform(-1, 1, (1, 1, down + 1, across + 1)).astype(np.float32)
    smooth = interpolate(torch.from_numpy(cells), size=(rows, columns), mode="bicubic", align_corners=True)
    return smooth[0].to(device)


@dataclass(frozen=True)
class Brow:
    """The brow's centre line and half thickness along t: 0 at the inner end, 1 at the outer; ``(B, 1, 1)`` each."""

    inner: torch.Tensor
    outer: torch.Tensor
    height: torch.Tensor
    arch: torch.Tensor
    tilt: torch.Tensor
    thick: torch.Tensor

    def x(self, t: torch.Tensor) -> torch.Tensor:
        return self.inner + (self.outer - self.inner) * t

    def y(self, t: torch.Tensor) -> torch.Tensor:
        rise = 1 - ((t.clamp(-0.2, 1.2) - 0.60) / 0.62) ** 2
        return self.height + self.arch * rise + self.tilt * (t - 0.4)

    def half(self, t: torch.Tensor) -> torch.Tensor:
        return self.thick * (0.30 + 0.70 * (1 - smoothstep(t, 0.35, 1.05)))


def brow(who: Identity, eye: Eyes) -> Brow:
    return Brow(
        inner=eye.x - 0.195 + 0.055 * who["brow_gap"],
        outer=eye.x + 0.215 + 0.040 * who["brow_length"],
        height=eye.y + 0.222 + 0.036 * who["brow_height"],
        arch=0.042 + 0.030 * who["brow_arch"],
        tilt=0.046 * who["brow_tilt"],
        thick=0.036 * torch.exp(0.8 * who["brow_thickness"]),
    )


def _over(colour: torch.Tensor, paint: torch.Tensor, alpha: torch.Tensor) -> torch.Tensor:
    return torch.lerp(colour, paint, alpha[:, None])


def _colour(red: float, green: float, blue: float, device: torch.device) -> torch.Tensor:
    return torch.tensor([red, green, blue], device=device)[None, :, None, None]


def skin(
    head: Base,
    who: Identity,
    eye: Eyes,
    lids: Opening,
    lips: Mouth,
    face: Expression,
    colours: Palette,
    scalp: torch.Tensor,
    detail: float,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Albedo ``(B, 3, rows, columns)``, ambient occlusion and gloss ``(B, 1, rows, columns)`` of the head's skin.

    ``scalp`` is 1 where hair grows over the skin. ``detail`` scales the skin's texture.
    """
    x, y, ax = head.x, head.y, head.x.abs()
    rows, columns = x.shape[1:]
    front = smoothstep(head.pz, 0.0, 0.25)
    grain = noise(1, rows, columns, rows // 2, columns // 2, str(x.device))
    blotch = noise(2, rows, columns, 14, 12, str(x.device))
    s, over = ax / lips.half, y - head.lip

    # complexion: redder cheeks, nose and chin; paler round the eyes; freckles
    cheek = bell(ax, 0.42, 0.19) * bell(y, -0.32, 0.17)
    tip = bell(ax, 0.0, 0.17) * bell(y, head.nose + 0.07, 0.12)
    chin = bell(ax, 0.0, 0.2) * (0.4 * bell(y, head.chin + 0.1, 0.1))
    red = cheek.add_(tip, alpha=0.7).add_(chin).mul_((0.13 + 0.10 * who["blush"]) * front)
    red = red + detail * 0.030 * blotch
    skin_colour = colours.skin * (1 + detail * 0.025 * grain)[:, None]
    albedo = torch.addcmul(skin_colour, skin_colour, red[:, None] * _colour(0.12, -0.85, -0.75, x.device))
    spots = smoothstep(grain + 0.35 * blotch, 0.55, 0.95) * bell(y, -0.28, 0.2)
    dots = spots * (detail * 0.42 * who["freckles"].clamp(min=0)) * bell(ax, 0.26, 0.26) * front
    albedo.mul_(1 - dots[:, None] * _colour(0.5, 0.8, 1.0, x.device))

    # beard and moustache, then lips over them
    hairs = 0.72 + 0.28 * detail * noise(3, rows, columns, rows // 3, columns - 1, str(x.device))
    jaw = smoothstep(-(y + 0.26 + 0.10 * blotch), 0.0, 0.34) * smoothstep(
        ax + 1.1 * (-over - 0.05).clamp(min=0), 0.24, 0.44
    )
    jaw = jaw * (1 - smoothstep(-(y - head.chin), -0.02, 0.14))
    tash = bump((((ax - 0.11) / 0.17) ** 2) ** 2 + (((over - 0.125 + 0.30 * ax * ax) / 0.062) ** 2) ** 2)
    grown = smoothstep(who["beard"], 0.10, 0.85) * jaw
    grown = torch.maximum(grown, smoothstep(torch.maximum(who["moustache"], who["beard"] - 0.15), 0.15, 0.8) * tash)
    grown = grown * front
    albedo = _over(albedo, colours.hair * 0.69 + 0.008, (grown * hairs).clamp_(0, 0.93))

    edge = torch.where(over >= 0, lips.upper_edge(s) - over, lips.lower_edge(s) + over)
    lip = smoothstep(edge, -0.010, 0.016) * (s < 1.02) * front
    rough = (1 - 0.10 * (over > 0)) * (1 + detail * 0.03 * grain)
    albedo = _over(albedo, colours.lips * rough[:, None], lip * 0.92)
    inner = (1 - smoothstep(s, 0.98, 1.10)) * (0.72 * bell(over, 0.0, 0.015)) * front
    albedo.mul_(1 - inner[:, None])

    # brows: soft at the ends, combed by noise
    line = brow(who, eye)
    t = (ax - line.inner) / (line.outer - line.inner)
    off = (y - line.y(t)) / line.half(t)
    ragged = 0.22 * detail * noise(4, rows, columns, rows // 2, columns - 1, str(x.device))
    hair = (
        (1 - smoothstep(off.abs_() + ragged, 0.55, 1.12)) * smoothstep(t, -0.05, 0.10) * (1 - smoothstep(t, 0.93, 1.06))
    )
    albedo = _over(albedo, colours.brow, 0.90 * hair * front)

    # lids: lash lines along the edges, the crease above, a little shade in the socket
    e, above, below = lids.e, lids.above, lids.below
    aside = e.abs()
    near = 1 - smoothstep(aside, 0.97, 1.10)
    wing = (0.011 + 0.007 * smoothstep(e, -0.6, 0.9)) * (1 + 0.4 * who["lashes"])
    lash = (1 - smoothstep(above.abs(), wing, wing + 0.012)) * near * smoothstep(e, -1.02, -0.80)
    under = (1 - smoothstep(below.abs(), 0.004, 0.014)) * near * 0.45
    fold = bell(lids.open, 0.050 + 0.012 * who["lid_fold"], 0.013)
    crease = fold * (1 - smoothstep(aside, 0.80, 1.20)) * (0.42 + 0.14 * who["lid_fold"])
    closed = eye.side(x)  # a shut lid is stretched: its crease fades
    crease = crease * (1 - 0.75 * closed)
    under = under * (1 - 0.6 * closed)
    bag = bell(below, 0.075 - 0.02 * e * e, 0.020) * near * (0.10 + 0.12 * who["age"]).clamp(min=0)
    dark = torch.maximum(lash, under).mul_(0.92).add_(crease).add_(bag).clamp_(0, 0.94)
    albedo.mul_(1 - (dark * front)[:, None])

    # nostrils, folds of smile and frown
    nostril = ((ax - 0.068) / 0.036) ** 2 + ((y - head.nose + 0.004) / 0.021) ** 2
    nostril = bump(nostril * nostril.sqrt())
    folds = 0.40 * face.smile_fold + 0.30 * face.frown_fold + 0.14 * face.raise_fold
    albedo.mul_(1 - (front * folds.add_(nostril, alpha=0.80).clamp_(0, 0.9))[:, None])
    albedo = _over(albedo, colours.hair * 1.1, scalp)

    # light that does not reach corners: sockets, beside and under the nose, under the lower lip
    hidden = bell(ax, eye.x - eye.half * 1.1, 0.08) * (0.28 * bell(y, eye.y, 0.12))
    hidden.addcmul_(bell(ax, eye.x, 0.22), 0.14 * bell(y, eye.y + 0.12, 0.05))
    hidden.addcmul_(bell(ax, 0.0, 0.17), 0.34 * bell(y, head.nose - 0.035, 0.045))
    hidden.addcmul_(bell(ax, 0.0, 0.19), 0.26 * bell(over, -lips.lower - 0.045, 0.035))
    hidden.addcmul_(bell(ax, lips.half * 1.03, 0.04), 0.20 * bell(over, 0.0, 0.05))
    under_chin = smoothstep(-(head.py - head.chin), -0.06, 0.16)
    occlusion = (1 - hidden * front) * (1 - 0.55 * under_chin)
    gloss = 0.075 + 0.10 * lip + 0.045 * tip * front - 0.05 * scalp - 0.05 * grown
    return albedo, occlusion[:, None], gloss.clamp_(min=0)[:, None]
