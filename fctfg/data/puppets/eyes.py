"""Eyes: where they sit, the curves of the lids, and the eyeballs behind the opening.

An eye's own coordinate e runs from -1 at the inner corner to 1 at the outer one; heights are canonical (see head.py).
The lids are smooth skin over a sphere; the opening between the two lid curves is cut out of the skin.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from fctfg.data.puppets.head import power, smoothstep
from fctfg.data.puppets.identity import Identity
from fctfg.data.puppets.motion import index, rotation

#: how far in front of the eyeball the iris seems to lie: real corneas bulge and refract
CORNEA = 0.050


@dataclass(frozen=True)
class Eyes:
    """All ``(B, 1, 1)``: distance from the midline, height, half width, openings above and below, tilt, the
    eyeball's radius and how the motion changes them. Both eyes share a shape; blinks are per side. ``parallax``
    ``(B, 2)``: how far the cornea shifts the iris for a viewer who stands aside, to the right and up.
    """

    x: torch.Tensor
    y: torch.Tensor
    half: torch.Tensor
    above: torch.Tensor
    below: torch.Tensor
    tilt: torch.Tensor
    radius: torch.Tensor
    iris: torch.Tensor
    blink_l: torch.Tensor
    blink_r: torch.Tensor
    gaze_x: torch.Tensor
    gaze_y: torch.Tensor
    parallax: torch.Tensor

    def lower(self, e: torch.Tensor) -> torch.Tensor:
        return self.y + self.tilt * e - self.below * (1 - power(e.abs().clamp_(max=1), 2.2))

    def upper_open(self, e: torch.Tensor) -> torch.Tensor:
        """The upper lid's edge with the eye open, looking where it looks."""
        skew = e + 0.10 * (1 - e * e).clamp(min=0)
        return self.y + self.tilt * e + self.above * (1 - power(skew.abs_().clamp_(max=1), 2.4))

    def upper(self, e: torch.Tensor, blink: torch.Tensor) -> torch.Tensor:
        return torch.lerp(self.upper_open(e), self.lower(e), blink**0.5)

    def side(self, x: torch.Tensor) -> torch.Tensor:
        """The blink that belongs to canonical x: the subject's left eye has positive x."""
        return torch.where(x > 0, self.blink_l, self.blink_r)


def eyes(who: Identity, motion: torch.Tensor) -> Eyes:
    def move(name: str) -> torch.Tensor:
        return motion[:, index(name), None, None]

    gaze_y, smile = move("gaze_y"), move("smile").clamp(min=0)
    raised = (move("brow_raise_l") + move("brow_raise_r")) / 2
    half = 0.172 * (1 + 0.22 * who["eye_size"])
    above = 0.090 * (1 + 0.16 * who["eye_size"]) * (1 + 0.15 * who["eye_opening"])
    below = 0.055 * (1 + 0.16 * who["eye_size"]) * (1 + 0.12 * who["eye_opening"])
    # The lids ride on the eyeball: they follow the gaze up and down, so that an iris that looks down is still seen;
    # raised brows and smiles reach them a little.
    above = above + 0.050 * gaze_y * torch.where(gaze_y < 0, 0.80, 1.2) + 0.012 * raised
    below = below - torch.where(gaze_y < 0, 0.030, 0.020) * gaze_y - 0.016 * smile
    return Eyes(
        x=0.325 + 0.048 * who["eye_spacing"] + 0.008 * who["eye_size"],
        y=0.022 * who["eye_height"],
        half=half,
        above=above,
        below=below,
        tilt=0.010 + 0.026 * who["eye_tilt"],
        radius=0.285 * (1 + 0.06 * who["eye_size"]),
        iris=0.091 * (1 + 0.07 * who["eye_size"]),
        blink_l=move("blink_l"),
        blink_r=move("blink_r"),
        gaze_x=move("gaze_x"),
        gaze_y=gaze_y,
        parallax=-CORNEA * rotation(motion)[:, 2, :2],
    )


@dataclass(frozen=True)
class Opening:
    """The skin as seen from its eye, all ``(B, rows, columns)``: ``e``, the heights ``above`` the upper lid's edge and
    ``below`` the lower's, and the height above where the upper edge is with the eye ``open``. The eye is open where
    ``above`` and ``below`` are negative and |e| < 1.
    """

    e: torch.Tensor
    above: torch.Tensor
    below: torch.Tensor
    open: torch.Tensor


def opening(eye: Eyes, x: torch.Tensor, y: torch.Tensor) -> Opening:
    """For skin at canonical (x, y)."""
    e = (x.abs() - eye.x) / eye.half
    high, low = eye.upper_open(e), eye.lower(e)
    return Opening(e, y - torch.lerp(high, low, eye.side(x) ** 0.5), low - y, y - high)


def gaze_direction(eye: Eyes, sign: float) -> torch.Tensor:
    """Unit vectors ``(B, 3)`` in the head's frame to where the iris is seen; ``sign`` 1 is the subject's left eye."""
    radius = eye.radius[:, 0, 0]
    side, up = eye.gaze_x[:, 0, 0], eye.gaze_y[:, 0, 0]
    x = (0.101 * side + 0.008 * sign + eye.parallax[:, 0]) / radius  # the eyes' axes open slightly outwards
    y = (torch.where(up < 0, 0.076, 0.114) * up + eye.parallax[:, 1]) / radius
    return torch.stack([x, y, (1 - x * x - y * y).sqrt()], -1)


def eyeball(
    eye: Eyes, depth: torch.Tensor, sign: float, rows: int, columns: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The visible cap of an eyeball whose centre lies at ``depth`` ``(B, 1, 1)`` behind the lids.

    Returns positions ``(B, 3, rows, columns)`` in the head's frame, outward normals of the same shape, and the cosine
    ``(B, rows, columns)`` between the normal and the gaze.
    """
    device = depth.device
    b = torch.linspace(1, -1, rows, device=device)[None, :, None]
    a = torch.linspace(-1, 1, columns, device=device)[None, None, :]
    dx = (a * eye.half * 1.12).expand(-1, rows, -1)
    dy = (b * (eye.half * 0.95)).expand(-1, -1, columns)
    dz = (eye.radius**2 - dx**2 - dy**2).clamp(min=1e-3).sqrt()
    centre = torch.stack([sign * eye.x, eye.y, depth], 1)
    offset = torch.stack([dx, dy, dz], 1)
    normal = offset / eye.radius[:, None]
    gaze = gaze_direction(eye, sign)[:, :, None, None]
    return centre + offset, normal, (normal * gaze).sum(1)


def eyeball_colour(
    eye: Eyes, who: Identity, position: torch.Tensor, along: torch.Tensor, sign: float, iris: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Albedo ``(B, 3, rows, columns)`` of the eyeball, the iris mask, and the cut ``(B, rows, columns)`` that keeps the
    eyeball from showing anywhere but behind the opening; ``iris`` is the iris colour ``(B, 3, 1, 1)``.
    """
    r = (1 - along * along).clamp(min=0).sqrt() * eye.radius / eye.iris  # 1 on the iris's rim
    e = (position[:, 0].abs() - eye.x) / eye.half
    upper = eye.upper(e, eye.blink_l if sign > 0 else eye.blink_r)
    inside = 1 - smoothstep(r, 0.93, 1.05)
    pupil = 1 - smoothstep(r, 0.36, 0.46)
    rim = smoothstep(r, 0.72, 1.0)
    lit = 0.75 + 0.75 * smoothstep(-(position[:, 1] - eye.y) / eye.iris, -0.5, 0.9) * (1 - rim)
    coloured = iris * (lit * (1 - 0.72 * rim) * (1 - 0.96 * pupil))[:, None]
    # The white is never white: warm, pink towards the inner corner, in the shade of the upper lid.
    white = torch.tensor([0.86, 0.84, 0.82], device=position.device)[None, :, None, None]
    red = smoothstep(-e, 0.74, 1.0)[:, None]
    flesh = torch.tensor([0.62, 0.30, 0.27], device=position.device)[None, :, None, None]
    white = white + (flesh - white) * 0.5 * red
    colour = white + (coloured - white) * inside[:, None]
    shade = 0.55 + 0.45 * smoothstep(upper - position[:, 1], 0.0, 0.050)
    edges = 0.84 + 0.16 * (1 - e.abs().clamp(max=1) ** 3)
    height = position[:, 1]
    outside = torch.maximum(torch.maximum(height - upper, eye.lower(e) - height) - 0.04, (e.abs() - 1.08) * eye.half)
    return colour * (shade * edges)[:, None], inside, outside
