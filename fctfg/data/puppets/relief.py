"""The face's relief: how far nose, lips, sockets, cheeks and chin stand out from the bare head."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from fctfg.data.puppets.eyes import Eyes
from fctfg.data.puppets.head import Base, bell, bump, power, smoothstep
from fctfg.data.puppets.identity import Identity


@dataclass(frozen=True)
class Mouth:
    """The mouth at rest, ``(B, 1, 1)``: half width and the heights of the two lips' red."""

    half: torch.Tensor
    upper: torch.Tensor
    lower: torch.Tensor

    def upper_edge(self, s: torch.Tensor) -> torch.Tensor:
        """Height of the upper lip's red above the lip line at s in [-1, 1]: a cupid's bow."""
        bow = 1 - 0.16 * bell(s, 0.0, 0.16)
        return self.upper * (1.06 - power(s.abs().clamp_(max=1), 1.6)) * bow

    def lower_edge(self, s: torch.Tensor) -> torch.Tensor:
        """Depth of the lower lip's red below the lip line."""
        return self.lower * (1.10 - power(s.abs().clamp_(max=1), 2.4))


def mouth(who: Identity) -> Mouth:
    return Mouth(
        half=0.262 * (1 + 0.20 * who["mouth_width"]),
        upper=0.082 * (1 + 0.40 * who["lip_upper"]),
        lower=0.100 * (1 + 0.22 * who["lip_lower"]),
    )


def _nose(head: Base, who: Identity) -> tuple[torch.Tensor, torch.Tensor]:
    """How far the nose stands out, and how far its tip hangs."""
    ax, y = head.x.abs(), head.y
    width = 1 + 0.63 * who["nose_width"]
    out = 0.285 * (1 + 0.30 * who["nose_forward"])
    tip = head.nose + 0.085 + 0.026 * who["nose_tip"]
    top = 0.10
    q = (top - y) / (top - tip)  # 0 between the brows, 1 at the tip
    ridge = 0.10 * smoothstep(q, -0.10, 0.55) + 0.84 * power(q.clamp(0, 1.25), 1.55)
    ridge = ridge + (0.28 * who["nose_bridge"] + 0.05) * bell(q, 0.25, 0.26)
    ridge = ridge + 0.15 * who["nose_hump"] * bell(q, 0.55, 0.22)
    below = smoothstep(y, head.nose - 0.045, head.nose + 0.085)
    spread = (0.070 * (1 + 0.75 * who["nose_root"]) + 0.052 * smoothstep(q, 0.20, 1.0)) * width
    body = (out * 0.86 * (1 - torch.exp(-2.4 * ridge.clamp(min=0))) * below) * bell(ax, 0.0, spread)
    ball = (0.070 * bell(y, tip, 0.085)) * bell(ax, 0.0, 0.105 * width)
    wing_x, wing_y = 0.132 * width, head.nose + 0.048
    wing = (0.098 * bell(y, wing_y, 0.068)) * bell(ax, wing_x, 0.064 * width)
    crease = (0.022 * bell(y, wing_y, 0.075)) * bell(ax, wing_x + 0.085, 0.045)
    hang = (-0.035 * (1 - 0.8 * who["nose_tip"]) * bell(y, tip - 0.03, 0.07)) * bell(ax, 0.0, 0.10 * width)
    return body.add_(ball).add_(wing).sub_(crease), hang


def relief(head: Base, who: Identity, eye: Eyes, lips: Mouth) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Displacements along z and y of every vertex of the head at rest, and the depth of the eyeballs' centres.

    The first two are ``(B, rows, columns)``, zero behind the ears; the third is ``(B, 1, 1)``.
    """
    ax, y, line = head.x.abs(), head.y, head.lip
    s = ax / lips.half
    over = y - line  # height above the lip line
    z, hang = _nose(head, who)

    def raised(by_ring: torch.Tensor, across: torch.Tensor) -> None:
        """What varies by ring comes first, so that only one product covers the whole grid."""
        z.addcmul_(by_ring, across)

    # muzzle, lips, the hollows above and below them
    raised((0.070 + 0.035 * who["mouth_forward"]) * bell(over, 0.0, 0.26), bell(ax, 0.0, 0.30))
    fade = (1 - power(s.clamp(max=1), 2.2)).clamp_(min=0)
    up, down = over / lips.upper, -over / lips.lower
    raised(0.040 * (1 + 0.3 * who["lip_upper"]) * bell(up, 0.50, 0.55) * (over >= 0), fade)
    raised(0.062 * (1 + 0.3 * who["lip_lower"]) * bell(down, 0.48, 0.52) * (over < 0), fade)
    raised(-0.028 * bell(over, 0.0, 0.022), bump(((s / 1.08) ** 3) ** 2))
    raised(-0.020 * bell(over, 0.0, 0.06), bell(ax, lips.half * 1.04, 0.05))
    raised(-0.014 * bell(y, (line + head.nose) / 2 + 0.03, 0.075), bell(ax, 0.0, 0.035))
    raised(-0.042 * bell(over, -0.205, 0.055), bell(ax, 0.0, 0.22))
    raised(0.050 * bell(y, head.chin + 0.115, 0.13), bell(ax, 0.0, 0.20 + 0.03 * who["chin_width"]))
    # cheeks, cheekbones, temples
    raised((0.045 + 0.075 * who["cheeks"]) * bell(y, -0.36, 0.20), bell(ax, 0.36, 0.20))
    raised(0.032 * who["cheekbones"] * bell(y, -0.20, 0.10), bell(ax, 0.47, 0.14))
    raised(-0.035 * (1 - who["cheeks"]) * bell(y, -0.68, 0.20), bell(ax, 0.47, 0.16))
    # brow ridge, sockets
    raised((0.030 + 0.078 * who["brow_ridge"]) * bell(y, eye.y + 0.235, 0.085), bell(ax, 0.28, 0.26))
    raised(-(0.085 + 0.050 * who["eye_depth"]) * bell(y, eye.y + 0.005, 0.16), bell(ax, eye.x, 0.24))
    raised(-0.034 * bell(y, eye.y - 0.01, 0.13), bell(ax, eye.x - eye.half * 1.05, 0.075))
    face = smoothstep(head.pz, 0.0, 0.25)
    z.mul_(face)
    # lids: the skin is pulled over a sphere a lid's thickness larger than the eyeball
    sine = eye.x / (0.747 * (1 + 0.15 * who["head_width"]))  # of the angle at which the eye sits on its ring
    at_eye = 0.82 * (1 - sine**2).sqrt() * (1 + 0.20 * sine**2)
    centre = at_eye - 0.042 - 0.030 * who["eye_depth"] - eye.radius
    aside = (ax - eye.x) ** 2
    apart = aside + (y - eye.y) ** 2
    rim = 1.06 * eye.half
    ball = ((eye.radius + 0.014) ** 2 - torch.minimum(apart, rim**2)).sqrt_().add_(centre)
    ball.sub_((apart.sqrt() - rim).clamp_(min=0), alpha=1.1)
    lift = ball.sub_(head.pz).sub_(z)
    # round the opening the lids lie on the sphere whatever is beside them; further out they only stand out
    over_ball = ((lift + (lift * lift + 0.0006).sqrt_()) / 2 - 0.004) * (
        1 - smoothstep(apart.add_(aside, alpha=0.6), 0.045, 0.095)
    )
    near = aside / (eye.half * 1.04) ** 2 + ((y - eye.y) / (eye.above + 0.045)) ** 2
    z.addcmul_(face, torch.lerp(lift, over_ball, smoothstep(near, 1.0, 2.4)))
    return z, hang * face, centre
