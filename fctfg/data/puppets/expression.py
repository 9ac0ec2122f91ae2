"""How a face moves: displacements of the skin by jaw, lips, smile and brows."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from fctfg.data.puppets.eyes import Eyes
from fctfg.data.puppets.head import Base, Grid, bump, smoothstep
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
    return (1 - s * s).clamp(min=0) ** 0.75


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
    near = bump(((ax - lips.half).clamp(min=0) / 0.20) ** 2 + (over / 0.20) ** 2)
    narrow = (0.108 * purse - 0.050 * wide.clamp(max=0)) * (1 - 0.55 * open_ / GAPE)  # a wide gape is never a slit
    out = 0.050 * wide.clamp(min=0) + 0.082 * smile.clamp(min=0) + 0.010 * smile.clamp(max=0)
    out = out - narrow - 0.030 * open_ / GAPE
    dx = sign * s.clamp(max=1) * out * near
    corner = s.clamp(max=1.15) ** 2
    rest = 0.012 + 0.016 * who["mouth_curve"]
    lift = (rest + 0.125 * smile.clamp(min=0) + 0.090 * smile.clamp(max=0) - 0.080 * open_) * corner
    dy = lift * bump(((ax - lips.half).clamp(min=0) / 0.17) ** 2 + (over / 0.17) ** 2)
    # a lip line is no ruler: a dip in the middle, a swell on either side
    dy = dy + 0.010 * (bump(((s - 0.38) / 0.25) ** 2) - bump((s / 0.22) ** 2)) * bump((over / 0.05) ** 2)

    # lips part and the jaw turns
    close = bump((over / 0.15) ** 2)
    part = profile(s)
    chin = bump((ax / 0.56) ** 4) * smoothstep(-over, 0.0, 0.14)
    dy = dy + (1 - lower) * UPPER_SHARE * open_ * part * close
    jaw = (close * part + (1 - close) * chin) * lower
    dy = dy - (1 - UPPER_SHARE) * open_ * jaw
    dz = -0.20 * open_ * jaw - 0.03 * open_ * chin
    # open lips roll outwards a little
    pout = bump((ax / 0.22) ** 4 + (over / 0.13) ** 2)
    dz = dz + 0.13 * purse * pout
    # pursed lips grow taller, stretched ones thinner
    tall = 0.20 * purse - 0.16 * smile.clamp(min=0) - 0.10 * wide
    dy = dy + tall * over * bump((over / 0.10) ** 2) * bump((s / 1.0) ** 4)
    dz = dz - 0.030 * smile.clamp(min=0) * bump((ax / 0.3) ** 2 + (over / 0.13) ** 2)

    # cheeks rise with a smile and the fold beside the nose deepens
    apple = bump(((ax - 0.40) / 0.15) ** 2 + ((y + 0.30) / 0.14) ** 2)
    dy = dy + 0.040 * smile.clamp(min=0) * apple
    dz = dz + 0.050 * smile.clamp(min=0) * apple
    at = (y - head.nose) / (head.lip - head.nose)  # 0 beside the nose, 1 at the corner
    line = 0.175 + (lips.half + 0.075 - 0.175) * at.clamp(-0.3, 1.25)
    fold = bump(((ax - line) / 0.030) ** 2) * smoothstep(at, -0.45, 0.1) * (1 - smoothstep(at, 0.75, 1.2))
    smile_fold = fold * (0.16 + 0.16 * who["age"] + 0.75 * smile.clamp(min=0)).clamp(min=0)
    dz = dz - 0.020 * smile_fold

    # brows
    left = x > 0
    lifted = torch.where(left, move("brow_raise_l"), move("brow_raise_r"))
    drawn = torch.where(left, move("brow_furrow_l"), move("brow_furrow_r"))
    base = eye.y + 0.13
    reach = smoothstep(y, base - 0.02, base + 0.11) * bump((y - base - 0.20).clamp(min=0) ** 2 / 0.030)
    across = bump(((ax - 0.34) / 0.30).abs() ** 3) * smoothstep(ax, -0.02, 0.10)
    up = lifted * torch.where(lifted > 0, 0.088, 0.055)
    dy = dy + up * reach * across
    inner = bump(((ax - 0.17) / 0.15) ** 2) * reach * smoothstep(ax, 0.0, 0.05)
    dy = dy - 0.055 * drawn * inner
    dx = dx - sign * 0.042 * drawn * inner
    dz = dz + 0.012 * drawn * inner
    band = bump(((y - eye.y - 0.26) / 0.10) ** 2)
    frown_fold = drawn * band * bump(((ax - 0.065) / 0.022) ** 2)
    wrinkle = sum(bump(((y - eye.y - h) / 0.016) ** 2) for h in (0.44, 0.54))
    raise_fold = lifted.clamp(min=0) * wrinkle * bump((ax / 0.42) ** 4)
    return Expression(dx * face, dy * face, dz * face, smile_fold * face, frown_fold, raise_fold)
