"""How a face moves: displacements of the skin by jaw, lips, smile and brows."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from fctfg.data.puppets.eyes import Eyes
from fctfg.data.puppets.head import Base, Grid, bell, bump, power, smoothstep
from fctfg.data.puppets.identity import Identity
from fctfg.data.puppets.motion import index
from fctfg.data.puppets.relief import Mouth

#: how far the lips part at mouth_open = 1, and the share of it that the upper lip does
GAPE, UPPER_SHARE = 0.34, 0.15


@dataclass(frozen=True)
class Expression:
    """Displacements ``(B, rows, columns)``, and the strength of folds that the paint shows."""

    dx: torch.Tensor
    dy: torch.Tensor
    dz: torch.Tensor
    smile_fold: torch.Tensor
    frown_fold: torch.Tensor
    raise_fold: torch.Tensor


def gape(motion: torch.Tensor) -> torch.Tensor:
    """How far the lips part, in head units, ``(B, 1, 1)``."""
    return GAPE * motion[:, index("mouth_open"), None, None]


def profile(s: torch.Tensor) -> torch.Tensor:
    """The shape of the open mouth along its width: 1 in the middle, 0 from the corners on."""
    return power((1 - s * s).clamp_(min=0), 0.75)


def expression(mesh: Grid, head: Base, who: Identity, eye: Eyes, lips: Mouth, motion: torch.Tensor) -> Expression:
    def move(name: str) -> torch.Tensor:
        return motion[:, index(name), None, None]

    x, y, ax = head.x, head.y, head.x.abs()
    sign = torch.sign(x)
    over = y - head.lip
    s = ax / lips.half
    lower = mesh.lower[None]
    face = smoothstep(head.pz, 0.0, 0.3)

    # corners of the mouth
    smile, wide, purse, open_ = move("smile"), move("mouth_width"), move("mouth_round"), gape(motion)
    glad = smile.clamp(min=0)
    aside = (ax - lips.half).clamp_(min=0)
    # pursed lips are about as narrow on everybody; a wide gape is never a slit
    pursed = (0.114 + 0.8 * (lips.half - 0.262)) * purse
    narrow = (pursed - 0.050 * wide.clamp(max=0)) * (1 - 0.55 * open_ / GAPE)
    out = 0.050 * wide.clamp(min=0) + 0.092 * glad + 0.010 * smile.clamp(max=0)
    out = out - narrow - 0.030 * open_ / GAPE
    dx = (s.clamp(max=1) * sign) * bell(aside, 0.0, 0.20) * (out * bell(over, 0.0, 0.20))
    rest = 0.012 + 0.010 * who["mouth_curve"]
    lift = rest + 0.128 * glad + 0.100 * smile.clamp(max=0) - 0.060 * open_
    dy = s.clamp(max=1.15) ** 2 * bell(aside, 0.0, 0.17) * (lift * bell(over, 0.0, 0.17))
    # a lip line is no ruler: a dip in the middle, a swell on either side
    dy.addcmul_(bell(s, 0.38, 0.25) - bell(s, 0.0, 0.22), 0.010 * bell(over, 0.0, 0.05))

    # lips part and the jaw turns
    close = bell(over, 0.0, 0.15)
    part = profile(s)
    chin = bump(((ax / 0.56) ** 2) ** 2) * smoothstep(-over, 0.0, 0.14)
    dy.addcmul_(part, (1 - lower) * UPPER_SHARE * open_ * close)
    jaw = torch.lerp(chin, part, close) * lower
    dy.addcmul_(jaw, -(1 - UPPER_SHARE) * open_)
    dz = jaw * (-0.20 * open_) - chin * (0.03 * open_)
    # open lips roll outwards a little
    dz.addcmul_(bump(((ax / 0.22) ** 2) ** 2), 0.165 * purse * bell(over, 0.0, 0.13))
    # pursed lips grow taller, stretched ones thinner
    tall = 0.20 * purse - 0.16 * glad - 0.10 * wide
    dy.addcmul_(bump((s**2) ** 2), tall * over * bell(over, 0.0, 0.10))
    dz.addcmul_(bell(ax, 0.0, 0.3), -0.030 * glad * bell(over, 0.0, 0.13))

    # cheeks rise with a smile and the fold beside the nose deepens
    apple = bell(ax, 0.40, 0.15) * (glad * bell(y, -0.30, 0.14))
    dy.add_(apple, alpha=0.040)
    dz.add_(apple, alpha=0.050)
    at = (y - head.nose) / (head.lip - head.nose)  # 0 beside the nose, 1 at the corner
    line = 0.175 + (lips.half + 0.075 - 0.175) * at.clamp(-0.3, 1.25)
    strength = (0.16 + 0.16 * who["age"] + 0.75 * glad).clamp(min=0)
    smile_fold = bell(ax, line, 0.030) * (strength * smoothstep(at, -0.45, 0.1) * (1 - smoothstep(at, 0.75, 1.2)))
    dz.sub_(smile_fold, alpha=0.020)

    # brows
    left = x > 0
    lifted = torch.where(left, move("brow_raise_l"), move("brow_raise_r"))
    drawn = torch.where(left, move("brow_furrow_l"), move("brow_furrow_r"))
    base = eye.y + 0.13
    reach = smoothstep(y, base - 0.02, base + 0.11) * bump((y - base - 0.20).clamp(min=0) ** 2 / 0.030)
    across = bump(((ax - 0.34) / 0.30).abs_() ** 3) * smoothstep(ax, -0.02, 0.10)
    dy.addcmul_(lifted * torch.where(lifted > 0, 0.088, 0.055) * across, reach)
    inner = bell(ax, 0.17, 0.15) * smoothstep(ax, 0.0, 0.05) * reach * drawn
    dy.sub_(inner, alpha=0.055)
    dx.addcmul_(sign, inner, value=-0.042)
    dz.add_(inner, alpha=0.012)
    frown_fold = drawn * bell(ax, 0.065, 0.022) * bell(y, eye.y + 0.26, 0.10)
    wrinkle = sum(bell(y, eye.y + h, 0.016) for h in (0.44, 0.54))
    raise_fold = lifted.clamp(min=0) * bump(((ax / 0.42) ** 2) ** 2) * wrinkle
    return Expression(dx * face, dy * face, dz * face, smile_fold * face, frown_fold, raise_fold)
