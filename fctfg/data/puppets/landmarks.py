"""The 68 landmarks of iBUG 300-W (dlib's order), read off the very surface that is drawn.

Each landmark is a canonical place on the head (see head.py); its picture coordinates are interpolated between the
drawn vertices around it. Points 0-16 run along the jaw from the left of the image to the right, 17-21 and 22-26 along
the brows' centre lines, 27-30 down the bridge of the nose, 31-35 under it, 36-41 and 42-47 round the eyes' openings,
48-59 round the lips and 60-67 round the mouth's opening. The jaw's points are fixed to the skin: they do not slide
to the silhouette when the head turns.
"""

from __future__ import annotations

import torch

from fctfg.data.puppets.eyes import Eyes
from fctfg.data.puppets.head import Base, Grid
from fctfg.data.puppets.paint import Brow
from fctfg.data.puppets.relief import Mouth

#: jaw points on one side as (angle in degrees, height: 0 at the eyes, 1 at the chin), from the ear to the chin
_JAW = (
    (-83, 0.00), (-83, 0.16), (-82, 0.32), (-80, 0.48), (-77, 0.635), (-70, 0.775), (-56, 0.895), (-32, 0.985),
    (0, 1.02),
)  # fmt: skip


def _canonical(head: Base, eye: Eyes, brow: Brow, lips: Mouth) -> tuple[torch.Tensor, torch.Tensor]:
    """Canonical x and y of points 17-67, ``(B, 51)`` each."""
    device = head.x.device
    one = torch.ones_like(eye.x[:, 0])  # (B, 1)

    def row(values: tuple[float, ...]) -> torch.Tensor:
        return torch.tensor(values, device=device)[None, None]

    xs, ys = [], []

    def add(x: torch.Tensor, y: torch.Tensor) -> None:
        xs.append(x.reshape(len(one), -1))
        ys.append(y.reshape(len(one), -1))

    t = row((0.97, 0.74, 0.50, 0.26, 0.03))
    add(-brow.x(t), brow.y(t))
    add(brow.x(t.flip(-1)), brow.y(t.flip(-1)))
    tip = head.nose + 0.105
    down = row((0.0, 1 / 3, 2 / 3, 1.0))
    top = eye.y + 0.03
    add(0 * down * one[:, None], top + (tip - top) * down)
    under = row((-0.140, -0.068, 0.0, 0.068, 0.140))
    add(under * one[:, None], head.nose - row((-0.012, 0.010, 0.022, 0.010, -0.012)))
    for sign in (-1.0, 1.0):
        e = row((-0.98, -0.36, 0.36, 0.98, 0.36, -0.36)) * sign  # from the left of the image
        x = sign * (eye.x + eye.half * e)
        blink = eye.blink_l if sign > 0 else eye.blink_r
        upper, lower = eye.upper(e, blink), eye.lower(e)
        is_upper = torch.tensor([True, True, True, True, False, False], device=device)
        add(x, torch.where(is_upper, upper, lower))
    s = row((-1.0, -0.62, -0.22, 0.0, 0.22, 0.62, 1.0))
    add(s * lips.half, head.lip + lips.upper_edge(s))
    s = row((0.62, 0.24, 0.0, -0.24, -0.62))
    add(s * lips.half, head.lip - 0.93 * lips.lower_edge(s))
    s = row((-0.90, -0.36, 0.0, 0.36, 0.90, 0.36, 0.0, -0.36))
    add(s * lips.half, head.lip + 0 * s)
    return torch.cat(xs, 1), torch.cat(ys, 1)


def _between(knots: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """Fractional index of ``values`` (B, P) in increasing ``knots`` (B, N)."""
    i = torch.searchsorted(knots.contiguous(), values.contiguous()).clamp(1, knots.shape[1] - 1)
    low, high = knots.gather(1, i - 1), knots.gather(1, i)
    return i - 1 + ((values - low) / (high - low).clamp(min=1e-6)).clamp(0, 1)


def landmarks(mesh: Grid, head: Base, eye: Eyes, brow: Brow, lips: Mouth, surface: torch.Tensor) -> torch.Tensor:
    """``(B, 68, C)``: the channels of ``surface`` (B, C, rows, columns) at the landmarks."""
    batch, seam = head.x.shape[0], mesh.seam
    x, y = _canonical(head, eye, brow, lips)
    # rows: heights fall from top to bottom; the upper and the lower part are searched on their own
    falling = -head.height[..., 0]  # (B, rows)
    falling = falling[:, : mesh.end - 1]  # a person's lowest ring may lie a little above the average head's
    end = falling.shape[1]
    upper = _between(falling[:, :seam], -y)
    lower = seam + _between(falling[:, seam:], -y)
    on_lower = torch.zeros(51, dtype=torch.bool, device=x.device)
    on_lower[[38, 39, 40, 41, 42, 48, 49, 50]] = True  # points 55-59 and 65-67
    row = torch.where(on_lower, lower, upper)
    floor = row.long().clamp(max=end - 2)
    part = (row - floor)[..., None]
    width = head.width[..., 0]
    at = width.gather(1, floor) + (width.gather(1, floor + 1) - width.gather(1, floor)) * part[..., 0]
    theta = torch.asin((x / at).clamp(-1, 1))
    # the jaw
    jaw = torch.tensor([*_JAW, *[(-a, h) for a, h in _JAW[-2::-1]]], device=x.device)
    chin = head.chin[:, 0]
    depth = -(jaw[None, :, 1] * chin)
    on_upper = depth < -head.lip[:, 0]
    jaw_row = torch.where(on_upper, _between(falling[:, :seam], depth), seam + _between(falling[:, seam:], depth))
    row = torch.cat([jaw_row, row], 1)
    theta = torch.cat([torch.deg2rad(jaw[:, 0])[None].expand(batch, -1), theta], 1)
    column = _between(mesh.theta[None].expand(batch, -1), theta)
    rows, columns = surface.shape[2:]
    where = torch.stack([column / (columns - 1), row / (rows - 1)], -1) * 2 - 1
    read = torch.nn.functional.grid_sample(surface, where[:, :, None], mode="bilinear", align_corners=True)
    return read[..., 0].transpose(1, 2)
