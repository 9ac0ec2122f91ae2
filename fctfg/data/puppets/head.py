"""The bare head as a loft: horizontal rings from the crown to the underside of the chin.

Units: 1 is about ten centimetres. x points to the right of the image, y up, z towards the viewer; the origin lies
between the ears at the height of the eyes. A vertex is addressed by a ring (row) and an angle theta (column).
Its *canonical* coordinates are X = width of the ring times sin(theta) and Y = the ring's height: features are placed,
painted and moved in them, and the 68 landmarks are looked up in them, which makes truth exact by construction.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch

from fctfg.data.puppets.identity import Identity

#: Rings of the average head as control points of a cubic B-spline:
#: height, half width, depth in front, depth behind, and how far the ring rises from the front to the sides.
_RINGS = np.array(
    [
        [1.160, 0.00, 0.00, 0.00, 0.00],
        [1.160, 0.14, 0.13, 0.18, 0.00],
        [1.125, 0.36, 0.37, 0.46, 0.00],
        [1.020, 0.54, 0.58, 0.70, 0.00],
        [0.850, 0.665, 0.715, 0.87, 0.00],
        [0.630, 0.735, 0.785, 0.97, 0.00],
        [0.390, 0.755, 0.825, 1.00, 0.00],
        [0.160, 0.750, 0.835, 0.98, 0.00],
        [-0.050, 0.745, 0.815, 0.92, 0.00],
        [-0.260, 0.735, 0.820, 0.82, 0.00],
        [-0.460, 0.705, 0.835, 0.70, 0.02],
        [-0.640, 0.655, 0.840, 0.60, 0.06],
        [-0.800, 0.595, 0.835, 0.53, 0.12],
        [-0.940, 0.530, 0.825, 0.48, 0.19],
        [-1.060, 0.450, 0.785, 0.44, 0.26],
        [-1.150, 0.375, 0.715, 0.42, 0.32],
        [-1.205, 0.320, 0.640, 0.40, 0.35],
        [-1.190, 0.260, 0.470, 0.38, 0.33],
        [-1.120, 0.240, 0.300, 0.36, 0.28],
        [-1.050, 0.220, 0.200, 0.34, 0.22],
    ]
)
_THETA_MAX = np.deg2rad(122)
LIP_LINE, NOSE_BASE, CHIN = -0.72, -0.47, -1.13  # of the average head


def spline(t: np.ndarray, points: np.ndarray) -> np.ndarray:
    """A clamped uniform cubic B-spline: parameters in [0, 1] to points ``(len(t), D)``."""
    n = len(points)
    padded = np.concatenate([2 * points[:1] - points[1:2], points, 2 * points[-1:] - points[-2:-1]])
    place = np.clip(t, 0, 1) * (n - 1)
    i = np.minimum(place.astype(int), n - 2)
    f = (place - i)[:, None]
    b = [(1 - f) ** 3 / 6, (3 * f**3 - 6 * f**2 + 4) / 6, (-3 * f**3 + 3 * f**2 + 3 * f + 1) / 6, f**3 / 6]
    return sum(weight * padded[i + k] for k, weight in enumerate(b))


@dataclass(frozen=True)
class Grid:
    """The constant part of the head mesh. ``rings`` is ``(rows, 5)``; the lip line's ring occurs twice, so that the
    mouth can open between ``seam - 1`` (the upper lip's edge) and ``seam`` (the lower lip's).
    """

    rings: torch.Tensor
    theta: torch.Tensor
    seam: int
    lower: torch.Tensor  # (rows, 1): 1 on the lower part
    ear: int  # the row that carries the ears
    end: int  # the last row before the head's underside turns up again


@lru_cache(maxsize=16)
def grid(density: float, device: str) -> Grid:
    """The head's mesh for a picture of 256 * density pixels."""
    t = np.linspace(0, 1, 4001)
    curve = spline(t, _RINGS)
    step = np.hypot(*np.diff(curve[:, [0, 2]], axis=0).T)
    y = (curve[1:, 0] + curve[:-1, 0]) / 2
    front = t[1:] < 0.82
    wanted = (
        0.70
        + 0.75 * ((y < 0.62) & (y > -1.0) & front)
        + 0.6 * (np.abs(y + 0.46) < 0.08)
        + 0.4 * ((y > 0.08) & (y < 0.30) & front)
    )
    length = np.concatenate([[0], np.cumsum(step * np.convolve(wanted, np.ones(101) / 101, "same"))])
    rising = np.argmax(curve[:, 0] < LIP_LINE)
    before, after = curve[rising - 1, 0], curve[rising, 0]
    t_lip = t[rising - 1] + (t[rising] - t[rising - 1]) * (before - LIP_LINE) / (before - after)
    at_lip = np.interp(t_lip, t, length)
    upper, lower = max(int(144 * density), 24), max(int(64 * density), 14)
    lengths = [np.linspace(length[3], at_lip, upper), np.linspace(at_lip, length[-1], lower)]
    rows = spline(np.interp(np.concatenate(lengths), length, t), _RINGS)
    u = np.linspace(-1, 1, max(int(154 * density) | 1, 31))
    theta = _THETA_MAX * (0.62 * u + 0.38 * u**3)
    part = np.concatenate([np.zeros(upper), np.ones(lower)])[:, None]
    tensor = lambda a: torch.as_tensor(a, dtype=torch.float32, device=device)  # noqa: E731
    ear = int(np.argmax(rows[:, 0] < -0.14))
    return Grid(tensor(rows), tensor(theta), upper, tensor(part), ear, int(rows[:, 0].argmin()))


def bump(d: torch.Tensor) -> torch.Tensor:
    """exp(-d) without the denormal numbers that make processors crawl."""
    return d.neg().clamp_(min=-30.0).exp_()


def bell(x: torch.Tensor, centre: float | torch.Tensor, width: float | torch.Tensor) -> torch.Tensor:
    """bump(((x - centre) / width)**2). A bell over x and y is a product of two, of which y's varies by ring only."""
    t = (x - centre) / width
    return t.mul_(t).neg_().clamp_(min=-30.0).exp_()


def power(x: torch.Tensor, exponent: float | torch.Tensor) -> torch.Tensor:
    """x**exponent for x >= 0 and fractional exponents; on processors this is several times faster than pow."""
    return x.log().mul_(exponent).exp_()


def smoothstep(x: torch.Tensor, low: float | torch.Tensor, high: float | torch.Tensor) -> torch.Tensor:
    t = ((x - low) / (high - low)).clamp_(0, 1)
    return (3 - 2 * t).mul_(t).mul_(t)


@dataclass(frozen=True)
class Base:
    """The head before relief and expression, ``(B, rows, columns)`` or broadcastable to it.

    ``height``, ``width``, ``front``, ``back`` are per ring ``(B, rows, 1)``; ``x``/``y`` are canonical coordinates, and
    ``y`` is per ring too, so that what varies with height alone costs next to nothing; ``px``, ``py``, ``pz`` the
    position. ``lip``, ``nose``, ``chin`` are the heights of those features ``(B, 1, 1)``.
    """

    height: torch.Tensor
    width: torch.Tensor
    front: torch.Tensor
    back: torch.Tensor
    x: torch.Tensor
    y: torch.Tensor
    px: torch.Tensor
    py: torch.Tensor
    pz: torch.Tensor
    lip: torch.Tensor
    nose: torch.Tensor
    chin: torch.Tensor


def _stretch(y: torch.Tensor, who: Identity) -> torch.Tensor:
    """Moves heights of the average head to this person's: longer faces, lower noses, higher crowns."""
    out = y + 0.075 * who["nose_length"] * -bell(y, NOSE_BASE, 0.20)
    out = out + 0.050 * who["mouth_height"] * bell(y, LIP_LINE, 0.20)
    out = out - 0.08 * who["chin_length"] * smoothstep(-y, 0.75, 1.15)
    scale = torch.where(y < 0, 1 + 0.080 * who["face_length"], 1 + 0.06 * who["cranium"])
    return out * scale


def rings(table: torch.Tensor, who: Identity) -> tuple[torch.Tensor, ...]:
    """A person's rings: height, width, front, back, rise, each ``(B, rows, 1)``."""
    y, width, front, back, rise = (table[None, :, i, None] for i in range(5))
    width = width * (1 + 0.15 * who["head_width"])
    width = width * (1 + 0.22 * who["cheekbones"] * bell(y, -0.22, 0.22))
    width = width * (1 + 0.17 * who["jaw_width"] * bell(y, -0.85, 0.30))
    width = width * (1 + 0.13 * who["jaw_square"] * (bell(y, -0.98, 0.16) - bell(y, -0.45, 0.2) / 3))
    width = width * (1 + 0.28 * who["chin_width"] * smoothstep(-y, 0.95, 1.2))
    width = width * (1 + 0.13 * who["forehead"] * bell(y, 0.45, 0.30))
    front = front + 0.06 * who["forehead"] * bell(y, 0.62, 0.30)
    front = front + 0.07 * who["chin_forward"] * bell(y, -1.10, 0.18)
    front = front + 0.04 * who["brow_ridge"] * bell(y, 0.2, 0.14)
    return _stretch(y, who), width, front, back.expand_as(width), rise.expand_as(width)


def ring_points(
    theta: torch.Tensor, width: torch.Tensor, front: torch.Tensor, back: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """X and z of rings at angles: a rounded ellipse, flatter over the face than a plain one."""
    sin, cos = theta.sin(), theta.cos()
    depth = torch.where(cos > 0, front, back)
    return width * sin, depth * cos * (1 + 0.20 * sin * sin * (cos > 0))


def base(mesh: Grid, who: Identity) -> Base:
    height, width, front, back, rise = rings(mesh.rings, who)
    theta = mesh.theta[None, None, :]
    x, z = ring_points(theta, width, front, back)
    # the seam and the features' heights go through the same stretch as the rings
    lip, nose, chin = (_stretch(torch.full_like(who["age"], y), who) for y in (LIP_LINE, NOSE_BASE, CHIN))
    y = height + rise * (1 - theta.cos()) ** 2
    return Base(height, width, front, back, x, height, x, y, z, lip, nose, chin)
