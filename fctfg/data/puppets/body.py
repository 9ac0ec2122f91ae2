"""What carries and frames the face: ears, neck and shoulders with clothes, and glasses."""

from __future__ import annotations

import numpy as np
import torch

from fctfg.data.puppets.eyes import Eyes
from fctfg.data.puppets.head import Base, bump, smoothstep, spline
from fctfg.data.puppets.identity import Identity
from fctfg.data.puppets.light import Light, Palette, normals, shade
from fctfg.data.puppets.paint import noise

#: height, half width, half depth and z of the centre of rings from inside the jaw down to the chest
_BUST = np.array(
    [
        [-0.50, 0.40, 0.36, -0.20],
        [-0.85, 0.395, 0.36, -0.19],
        [-1.15, 0.395, 0.36, -0.17],
        [-1.36, 0.42, 0.37, -0.16],
        [-1.46, 0.54, 0.39, -0.16],
        [-1.53, 0.82, 0.41, -0.15],
        [-1.60, 1.12, 0.43, -0.14],
        [-1.70, 1.34, 0.47, -0.13],
        [-1.90, 1.47, 0.52, -0.12],
        [-2.20, 1.52, 0.56, -0.11],
        [-2.50, 1.54, 0.60, -0.10],
    ]
)


def ear(
    base: Base, ring: int, who: Identity, sign: float, density: float, covered: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """An ear: positions in the head's frame ``(B, 3, rows, columns)``, its hollows' darkness, and the cut.

    ``ring`` is the row of the head that carries it; ``covered`` flattens ears under long hair and then hides them.
    """
    device = base.x.device
    rows, columns = max(int(34 * density), 14), max(int(24 * density), 11)
    b = torch.linspace(1.08, -1.08, rows, device=device)[None, :, None]
    a = torch.linspace(-1.08, 1.08, columns, device=device)[None, None, :]
    size = 1 + 0.14 * who["ear_size"]
    flare = torch.deg2rad(34 + 13 * who["ear_flare"]) * (1 - 0.75 * covered)
    narrow = 0.80 + 0.20 * smoothstep(b, -1.0, 0.4)
    r = ((a / narrow) ** 2 + b * b).sqrt()
    helix = 0.030 * bump(((r - 0.88) / 0.13) ** 2) * smoothstep(b - a * 0.3, -0.75, -0.1)
    bowl = bump(((a + 0.28) / 0.34) ** 2 + ((b + 0.10) / 0.36) ** 2)
    fold = 0.018 * bump(((r - 0.58) / 0.12) ** 2) * smoothstep(a + 0.3 * b, -0.4, 0.2)
    bulge = helix + fold - 0.045 * bowl + 0.015 * bump(((a + 0.8) / 0.2) ** 2 + ((b + 0.25) / 0.2) ** 2)
    reach = (a + 1) * 0.118 * size
    px = base.width[:, ring, None] * 0.955 + reach * flare.sin() + bulge * flare.cos()
    pz = 0.05 - reach * flare.cos() + bulge * flare.sin() - 0.05 * b
    py = -0.135 + 0.235 * size * b + 0.03 * (a + 1) + 0 * px
    dark = 0.55 * bowl + 0.30 * bump(((r - 0.70) / 0.08) ** 2) * smoothstep(a, -0.5, 0.3)
    position = torch.stack([sign * px, py, pz.expand_as(px)], 1)
    if sign < 0:  # columns run to the right of the image on both sides
        position, dark, r = position.flip(3), dark.flip(-1), r.flip(-1)
    batch = px.shape[0]
    return position, dark.expand(batch, -1, -1), (r - 1.0 + smoothstep(covered, 0.7, 1.0)).expand(batch, -1, -1)


def bust(who: Identity, density: float) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Neck and shoulders at rest ``(B, 3, rows, columns)``, how far each row follows the head, and the skin's share."""
    device = who.values.device
    rows, columns = max(int(54 * density), 22), max(int(72 * density), 33)
    table = torch.as_tensor(spline(np.linspace(0, 1, rows), _BUST), dtype=torch.float32, device=device)
    theta = torch.deg2rad(torch.linspace(-102, 102, columns, device=device))[None, None]
    y, width, depth, centre = (table[None, :, i, None] for i in range(4))
    neck = smoothstep(y, -1.62, -1.32)
    width = width * (1 + 0.13 * who["neck_width"] * neck + 0.07 * who["shoulders"] * (1 - neck))
    drop = 0.05 * who["shoulders"]
    x = width * theta.sin()
    z = centre + depth * theta.cos()
    # the shoulders slope down from the neck; the chest comes forward; tendons and the hollow between the collar bones
    slope = 0.16 * smoothstep(x.abs(), 0.35, 1.35) * (1 - neck)
    z = z + 0.10 * smoothstep(-y, 1.45, 2.2) * bump((x / 0.8) ** 2)
    cord = bump(((x.abs() - 0.10 - 0.28 * (y + 1.50).clamp(0, 1)) / 0.055) ** 2) * neck
    z = z + 0.022 * cord
    edge = -1.455 - (0.105 + 0.10 * who["neckline"]) * bump((x / (0.36 - 0.06 * who["neckline"])) ** 2)
    edge = edge + 0.10 * bump(((x.abs() - 0.52) / 0.16) ** 2)
    cloth = smoothstep(edge - y, -0.012, 0.016)
    z = z + 0.028 * cloth * (z > 0)
    batch = len(who)
    shape = torch.stack([x * (1 + 0.02 * cloth), (y - slope - drop * (1 - neck)).expand_as(x), z.expand_as(x)], 1)
    follow = smoothstep(y, -1.50, -0.95).expand(batch, -1, -1)
    return shape.expand(batch, -1, -1, -1), follow, 1 - cloth.expand(batch, -1, -1)


def bust_colour(
    seen: torch.Tensor,
    rest: torch.Tensor,
    bare: torch.Tensor,
    chin: torch.Tensor,
    colours: Palette,
    lamp: Light,
    detail: float,
) -> torch.Tensor:
    """Linear light of neck and shoulders. ``seen``/``rest``: positions as seen and at rest; ``chin``: its height."""
    normal = normals(seen)
    rows, columns = seen.shape[2:]
    weave = noise(21, rows, columns, rows - 1, columns - 1, str(seen.device))
    y, x = rest[:, 1], rest[:, 0]
    # the chin's shadow falls away from the light
    aside = x + 0.30 * lamp.key[:, 0] * (chin - y)
    shadow = 1 - 0.72 * smoothstep(y - chin + 0.38, 0.0, 0.22) * bump((aside / 0.50) ** 4)
    hidden = 1 - 0.55 * smoothstep(y - chin + 0.30, 0.0, 0.3)
    hem = bump(((bare - 0.35) / 0.30) ** 2)
    cloth = colours.cloth * (1 + detail * 0.05 * weave)[:, None] * (1 - 0.25 * hem[:, None])
    albedo = cloth + (colours.skin * 0.97 - cloth) * bare[:, None]
    gloss = 0.05 * bare[:, None]
    return shade(albedo, normal, lamp, hidden[:, None], (shadow + (1 - shadow) * (1 - bare))[:, None], gloss, bleed=1.0)


def glasses(
    eye: Eyes, base: Base, who: Identity, depth: torch.Tensor, density: float
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """The frame's parts in the head's frame, each a tube ``(B, 3, 5, columns)`` with its cut ``(B, 5, columns)``."""
    device = base.x.device
    batch = base.x.shape[0]
    worn = smoothstep(who["glasses"], 0.42, 0.50)
    radius = 0.0135 + 0.007 * who["glasses_tone"].abs()
    ring = torch.linspace(0, 2 * torch.pi, 5, device=device)[None, :, None]
    front = depth + eye.radius + 0.12

    def tube(points: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """A tube along ``(B, 3, columns)``: its cross-section lies in the plane of the path's normal and z."""
        ahead = torch.gradient(points, dim=2)[0]
        flat = torch.stack([-ahead[:, 1], ahead[:, 0], torch.zeros_like(ahead[:, 0])], 1)
        flat = torch.nn.functional.normalize(flat + 1e-6, dim=1)[:, :, None]
        deep = torch.tensor([0.0, 0.0, 1.0], device=device)[None, :, None, None]
        skin = points[:, :, None] + radius[:, None] * (flat * ring.cos()[:, None] + deep * ring.sin()[:, None])
        return skin, (0.5 - worn).expand(batch, skin.shape[2], skin.shape[3])

    columns = max(int(72 * density), 40)
    phi = torch.linspace(0, 2 * torch.pi, columns, device=device)[None, None]
    round_ = 2.0 + 1.4 * (who["glasses_shape"] + 1)
    cos, sin = phi.cos(), phi.sin()
    norm = (cos.abs() ** round_ + sin.abs() ** round_) ** (-1 / round_)
    half_x, half_y = 0.212 + 0 * worn, 0.158 - 0.02 * who["glasses_shape"]
    parts = []
    for sign in (1.0, -1.0):
        x = eye.x + 0.012 + half_x * cos * norm
        y = eye.y - 0.022 + half_y * sin * norm
        z = front - 0.42 * (x - 0.25).clamp(min=0) ** 2 - 0.03 * (y - eye.y)
        parts.append(tube(torch.cat([sign * x, y.expand_as(x), z], 1)))
        t = torch.linspace(0, 1, max(int(30 * density), 16), device=device)[None, None]
        start = eye.x + 0.012 + half_x
        x = start + (base.width.amax(1, keepdim=True) * 1.01 - start) * t**0.5
        z = (front - 0.42 * (start - 0.25) ** 2) * (1 - t) + 0.02 * t
        parts.append(tube(torch.cat([sign * x, (eye.y + 0.02 + 0 * x), z], 1)))
    t = torch.linspace(-1, 1, max(int(16 * density), 10), device=device)[None, None]
    gap = eye.x + 0.012 - half_x
    parts.append(tube(torch.cat([t * gap, eye.y + 0.03 * (1 - t * t) + 0 * gap, front + 0.02 * (1 - t * t)], 1)))
    return parts
