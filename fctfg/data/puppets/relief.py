"""The face's relief: how far nose, lips, sockets, cheeks and chin stand out from the bare head."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from fctfg.data.puppets.eyes import Eyes
from fctfg.data.puppets.head import Base, bump, smoothstep
from fctfg.data.puppets.identity import Identity


@dataclass(frozen=True)
class Mouth:
    """The mouth at rest, ``(B, 1, 1)``: half width and the heights of the two lips' red."""

    half: torch.Tensor
    upper: torch.Tensor
    lower: torch.Tensor

    def upper_edge(self, s: torch.Tensor) -> torch.Tensor:
        """Height of the upper lip's red above the lip line at s in [-1, 1]: a cupid's bow."""
        bow = 1 - 0.16 * bump((s / 0.16) ** 2)
        return self.upper * (1.06 - s.abs().clamp(max=1) ** 1.6) * bow

    def lower_edge(self, s: torch.Tensor) -> torch.Tensor:
        """Depth of the lower lip's red below the lip line."""
        return self.lower * (1.10 - s.abs().clamp(max=1) ** 2.4)


def mouth(who: Identity) -> Mouth:
    return Mouth(
        half=0.262 * (1 + 0.21 * who["mouth_width"]),
        upper=0.082 * (1 + 0.38 * who["lip_upper"]),
        lower=0.100 * (1 + 0.28 * who["lip_lower"]),
    )


def _nose(head: Base, who: Identity) -> tuple[torch.Tensor, torch.Tensor]:
    """How far the nose stands out, and how far its tip hangs."""
    ax, y = head.x.abs(), head.y
    width = 1 + 0.44 * who["nose_width"]
    out = 0.305 * (1 + 0.30 * who["nose_forward"])
    tip = head.nose + 0.085 + 0.026 * who["nose_tip"]
    top = 0.10
    q = (top - y) / (top - tip)  # 0 between the brows, 1 at the tip
    ridge = 0.10 * smoothstep(q, -0.10, 0.55) + 0.84 * q.clamp(0, 1.25) ** 1.55
    ridge = ridge + (0.16 * who["nose_bridge"] + 0.05) * bump(((q - 0.25) / 0.26) ** 2)
    ridge = ridge + 0.15 * who["nose_hump"] * bump(((q - 0.55) / 0.22) ** 2)
    below = smoothstep(y, head.nose - 0.045, head.nose + 0.085)
    spread = (0.070 + 0.052 * smoothstep(q, 0.20, 1.0)) * width
    body = out * 0.86 * (1 - torch.exp(-2.4 * ridge.clamp(min=0))) * below * bump((ax / spread) ** 2)
    ball = 0.070 * bump((ax / (0.105 * width)) ** 2 + ((y - tip) / 0.085) ** 2)
    wing_x, wing_y = 0.132 * width, head.nose + 0.048
    wing = 0.098 * bump(((ax - wing_x) / (0.064 * width)) ** 2 + ((y - wing_y) / 0.068) ** 2)
    crease = -0.022 * bump(((ax - wing_x - 0.085) / 0.045) ** 2 + ((y - wing_y) / 0.075) ** 2)
    hang = -0.035 * bump((ax / (0.10 * width)) ** 2 + ((y - tip + 0.03) / 0.07) ** 2)
    return body + ball + wing + crease, hang * (1 - 0.8 * who["nose_tip"])


def relief(head: Base, who: Identity, eye: Eyes, lips: Mouth) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Displacements along z and y of every vertex of the head at rest, and the depth of the eyeballs' centres.

    The first two are ``(B, rows, columns)``, zero behind the ears; the third is ``(B, 1, 1)``.
    """
    ax, y, line = head.x.abs(), head.y, head.lip
    s = ax / lips.half
    over = y - line  # height above the lip line
    nose, hang = _nose(head, who)
    z = nose
    # muzzle, lips, the hollows above and below them
    z = z + (0.070 + 0.035 * who["mouth_forward"]) * bump((ax / 0.30) ** 2 + (over / 0.26) ** 2)
    fade = (1 - s.clamp(max=1) ** 2.2).clamp(min=0)
    up, down = over / lips.upper, -over / lips.lower
    z = z + 0.040 * (1 + 0.3 * who["lip_upper"]) * fade * bump(((up - 0.50) / 0.55) ** 2) * (over >= 0)
    z = z + 0.062 * (1 + 0.3 * who["lip_lower"]) * fade * bump(((down - 0.48) / 0.52) ** 2) * (over < 0)
    z = z - 0.028 * bump((over / 0.022) ** 2) * bump((s / 1.08) ** 6)
    z = z - 0.020 * bump(((ax - lips.half * 1.04) / 0.05) ** 2 + (over / 0.06) ** 2)
    z = z - 0.014 * bump((ax / 0.035) ** 2 + ((y - (line + head.nose) / 2 - 0.03) / 0.075) ** 2)
    z = z - 0.042 * bump((ax / 0.22) ** 2 + ((over + 0.205) / 0.055) ** 2)
    z = z + 0.050 * bump((ax / (0.20 + 0.03 * who["chin_width"])) ** 2 + ((y - head.chin - 0.115) / 0.13) ** 2)
    # cheeks, cheekbones, temples
    z = z + (0.045 + 0.042 * who["cheeks"]) * bump(((ax - 0.36) / 0.20) ** 2 + ((y + 0.36) / 0.20) ** 2)
    z = z + 0.032 * who["cheekbones"] * bump(((ax - 0.47) / 0.14) ** 2 + ((y + 0.20) / 0.10) ** 2)
    z = z - 0.035 * (1 - who["cheeks"]) * bump(((ax - 0.47) / 0.16) ** 2 + ((y + 0.68) / 0.20) ** 2)
    # brow ridge, sockets
    brow = eye.y + 0.235
    z = z + (0.030 + 0.034 * who["brow_ridge"]) * bump(((ax - 0.28) / 0.26) ** 2 + ((y - brow) / 0.085) ** 2)
    deep = 0.085 + 0.035 * who["eye_depth"]
    z = z - deep * bump(((ax - eye.x) / 0.24) ** 2 + ((y - eye.y - 0.005) / 0.16) ** 2)
    z = z - 0.034 * bump(((ax - eye.x + eye.half * 1.05) / 0.075) ** 2 + ((y - eye.y + 0.01) / 0.13) ** 2)
    face = smoothstep(head.pz, 0.0, 0.25)
    z = z * face
    # lids: the skin is pulled over a sphere a lid's thickness larger than the eyeball
    sine = eye.x / (0.747 * (1 + 0.125 * who["head_width"]))  # of the angle at which the eye sits on its ring
    at_eye = 0.82 * (1 - sine**2).sqrt() * (1 + 0.20 * sine**2)
    centre = at_eye - 0.042 - 0.030 * who["eye_depth"] - eye.radius
    apart = (ax - eye.x) ** 2 + (y - eye.y) ** 2
    rim = 1.06 * eye.half
    ball = centre + ((eye.radius + 0.014) ** 2 - torch.minimum(apart, rim**2)).sqrt()
    ball = ball - 1.1 * (apart.sqrt() - rim).clamp(min=0)
    lift = ball - head.pz - z
    # round the opening the lids lie on the sphere whatever is beside them; further out they only stand out
    over_ball = ((lift + (lift * lift + 0.0006).sqrt()) / 2 - 0.004) * (
        1 - smoothstep(apart + 0.6 * (ax - eye.x) ** 2, 0.045, 0.095)
    )
    near = ((ax - eye.x) / (eye.half * 1.04)) ** 2 + ((y - eye.y) / (eye.above + 0.045)) ** 2
    z = z + face * (over_ball + (lift - over_ball) * (1 - smoothstep(near, 1.0, 2.4)))
    return z, hang * face, centre
