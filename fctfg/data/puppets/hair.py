"""Hair: a shell that follows the skull down to the ears and hangs from there, cut by a hairline, shaded as strands."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch

from fctfg.data.puppets.head import _RINGS, Grid, bell, bump, power, ring_points, rings, smoothstep, spline
from fctfg.data.puppets.identity import Identity
from fctfg.data.puppets.light import Light, normals, shade
from fctfg.data.puppets.paint import noise

#: rings below the ears: hair hangs, whatever the head does beneath it
_HANGING = np.array(
    [
        [-0.06, 0.765, 0.80, 0.96, 0.0],
        [-0.30, 0.775, 0.77, 0.95, 0.0],
        [-0.60, 0.775, 0.72, 0.90, 0.0],
        [-0.95, 0.775, 0.68, 0.82, 0.0],
        [-1.30, 0.790, 0.66, 0.76, 0.0],
        [-1.80, 0.800, 0.66, 0.74, 0.0],
    ]
)


@dataclass(frozen=True)
class Style:
    """What the factors say about the cut, ``(B, 1, 1)`` each: 0..1 except where noted."""

    long: torch.Tensor
    length: torch.Tensor  # how far down long hair reaches, head units below the eyes
    fringe: torch.Tensor
    quiff: torch.Tensor
    thick: torch.Tensor  # head units
    height: torch.Tensor  # of the hairline above the eyes, head units
    parting: torch.Tensor  # -1..1


def style(who: Identity, detail: float) -> Style:
    long = smoothstep(who["hair_length"], -0.05, 0.12)
    short = smoothstep(-who["hair_length"], 0.55, 0.95)  # cropped close
    fringe = smoothstep(who["fringe"], 0.05, 0.75) * (1 - 0.8 * short)
    return Style(
        long=long,
        length=0.50 + 1.05 * who["hair_length"].clamp(min=0),
        fringe=fringe,
        quiff=(-who["fringe"]).clamp(min=0) * (1 - short) * (1 - 0.6 * long),
        thick=(0.085 + 0.035 * who["hair_volume"]) * (1 - 0.72 * short),
        height=0.715 + 0.09 * who["hairline"] + 0.02 * who["forehead"],
        parting=who["parting"] * (1 if detail > 0 else 0),
    )


def hairline(theta: torch.Tensor, cut: Style) -> torch.Tensor:
    """The height above which hair grows at angle theta, ``(B, rows or 1, columns)``."""
    az = torch.rad2deg(theta.abs())
    side = torch.sin(theta * 1.6) * smoothstep(-az, -70.0, -8.0)
    plain = 1 - cut.fringe
    # a soft peak in the middle, corners that recede, and a curve down the temples
    front = cut.height + plain * (0.030 * smoothstep(az, 4.0, 24.0) - 0.27 * smoothstep(az, 24.0, 62.0))
    front = front - cut.fringe * (0.29 + 0.16 * cut.parting * side)
    front = front + 0.05 * cut.parting * side * plain
    burn = 0.03 - 0.15 * bell(az, 78.0, 6.0)
    nape = burn + 0.10 * bell(az, 97.0, 12.0) - 0.56 * smoothstep(az, 104.0, 130.0)
    below = nape + (-cut.length - nape) * cut.long
    return front + (below - front) * smoothstep(az, 38.0 + 14.0 * cut.fringe + 8.0 * cut.long, 77.0 + 22.0 * cut.long)


@lru_cache(maxsize=16)
def hair_grid(density: float, device: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Rings ``(rows, 5)`` and angles ``(columns,)`` of the shell."""
    table = np.concatenate([_RINGS[_RINGS[:, 0] > 0.1], _HANGING])
    t = np.linspace(0.012, 1, 2001)
    curve = spline(t, table)
    length = np.concatenate([[0], np.cumsum(np.hypot(*np.diff(curve[:, [0, 2]], axis=0).T))])
    rows = spline(np.interp(np.linspace(0, length[-1], max(int(110 * density), 28)), length, t), table)
    u = np.linspace(-1, 1, max(int(176 * density) | 1, 41))
    theta = np.pi * (0.80 * u + 0.20 * u**3)
    as_tensor = lambda a: torch.as_tensor(a, dtype=torch.float32, device=device)  # noqa: E731
    return as_tensor(rows), as_tensor(theta)


@lru_cache(maxsize=16)
def _swept(seed: int, rows: int, columns: int, device: str) -> torch.Tensor:
    """Noise of strands that lean to one side as they go down, ``(1, rows, columns)``."""
    cells = np.random.default_rng(seed).uniform(-1, 1, (max(rows // 20, 2), columns))
    down = np.linspace(0, len(cells) - 1, rows)
    lean = np.linspace(0, 0.35, rows)[:, None] * columns
    across = (np.arange(columns)[None] + lean) % columns
    near, part = np.floor(across).astype(int), across % 1
    row = np.rint(down).astype(int)[:, None]
    swept = cells[row, near] * (1 - part) + cells[row, (near + 1) % columns] * part
    return torch.as_tensor(swept[None], dtype=torch.float32, device=device)


def scalp(mesh: Grid, height: torch.Tensor, who: Identity, detail: float) -> tuple[torch.Tensor, torch.Tensor]:
    """On the head's own grid: how much hair grows over the skin, and how much light the hair takes from it."""
    cut = style(who, detail)
    rows, columns = height.shape[1], mesh.theta.shape[0]
    ragged = 0.035 * noise(11, rows, columns, rows // 8, columns - 1, str(height.device))
    over = height - hairline(mesh.theta[None, None], cut)
    grows = smoothstep(over + ragged, -0.05, 0.09)
    reach = 0.07 + 0.12 * cut.fringe + 0.05 * cut.long
    shadow = smoothstep(over, -reach, 0.02) * (0.30 + 0.25 * cut.fringe)
    return grows, 1 - shadow


def hair(
    density: float,
    who: Identity,
    colour: torch.Tensor,
    skin: torch.Tensor,
    lamp: Light,
    turn: torch.Tensor,
    detail: float,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Positions in the head's frame ``(B, 3, rows, columns)``, linear colours, and the cut ``(B, rows, columns)``.

    ``colour`` and ``skin``: albedos, for the skin shows between the roots;
    ``turn``: the head's rotation ``(B, 3, 3)``, for shading. ``detail`` scales strands and waves.
    """
    table, angle = hair_grid(density, str(who.values.device))
    device = str(table.device)
    cut = style(who, detail)
    height, width, front, back, _ = rings(table, who)
    theta = angle[None, None]
    width = width.clamp(max=0.88)  # hair does not follow a wide chin
    x, z = ring_points(theta, width, front, back)
    y = height
    rows, columns = x.shape[1:]
    az = torch.rad2deg(theta.abs())

    fine = noise(12, rows, columns, max(rows // 14, 2), columns - 1, device)
    lock = noise(13, rows, columns, max(rows // 18, 2), columns // 5, device)
    sweep = _swept(15, rows, columns, device) * torch.sign(cut.parting)
    lump = noise(14, rows, columns, 12, 16, device)
    ragged = detail * (0.030 * fine + 0.035 * lock)
    over = y - hairline(theta, cut)
    # at the hairline strands thin out over the skin instead of ending in an edge
    comb = sweep * cut.parting.abs() + fine * (1 - cut.parting.abs())
    inside = over + ragged * (0.45 - 0.05 * cut.fringe) + detail * (0.030 - 0.018 * cut.fringe) * comb

    thick = cut.thick * (0.05 + 0.30 * cut.fringe + (0.95 - 0.30 * cut.fringe) * smoothstep(over, -0.01, 0.30))
    thick = (
        thick
        + 0.030 * cut.fringe * bump((az / 60.0) ** 4)
        + 0.11 * cut.quiff * bell(az, 0.0, 50.0) * bell(over, 0.20, 0.22)
    )
    thick = thick * (1 - 0.35 * (1 - cut.long) * bump((((az - 85.0) / 35.0) ** 2) ** 2)) + 0.05 * smoothstep(
        y, 0.75, 1.1
    )
    thick = thick * (1 + 0.16 * detail * lock * smoothstep(over, 0.0, 0.2))
    curl = who["waves"].clamp(min=0) * detail
    hangs = smoothstep(-y, -0.35, 0.6)
    thick = thick + curl * (0.035 + 0.03 * hangs) * lump + 0.02 * hangs * cut.long
    part = bell(torch.rad2deg(theta), 22.0 * cut.parting, 3.2) * smoothstep(y, 0.55, 0.85) * (az < 90)
    thick = thick * (1 - 0.30 * part * (1 - cut.fringe) * smoothstep(cut.parting.abs(), 0.25, 0.5))
    shell = torch.stack([x, y.expand_as(x), z], 1)
    out = normals(shell)
    wave = curl * 0.05 * hangs * torch.sin(9.0 * y + 2.0 * lock)
    placed = shell + out * (thick + wave)[:, None]
    # long hair is tucked in a little below the jaw, and falls to the front of the shoulders
    placed[:, 2] += 0.10 * hangs * cut.long

    seen = turn @ placed.flatten(2)
    seen = seen.view_as(placed)
    normal = normals(seen)
    strand = torch.nn.functional.pad(seen[:, :, 1:] - seen[:, :, :-1], (0, 0, 0, 1), mode="replicate")
    strand = strand * torch.rsqrt((strand * strand).sum(1, keepdim=True).clamp(min=1e-12))
    along = (strand * lamp.half).sum(1, keepdim=True) + 0.10 * detail * (lock + 0.5 * fine)[:, None]
    sheen = (1 - along * along).clamp_(min=0.01)  # the lower end keeps the power of it a normal number
    leaning = cut.parting.abs() * (1 - cut.fringe) * (az < 80)
    tone = 1 + detail * (0.26 * (fine + (sweep - fine) * leaning) + 0.16 * lock)
    depth = 1 - (0.10 + 0.38 * cut.fringe) * (1 - smoothstep(over, -0.02, 0.16))
    root = depth * (1 - 0.22 * part * (1 - cut.fringe))
    albedo = colour * (tone * root)[:, None]
    thin = (
        (1 - 0.30 * cut.fringe)
        * (1 - smoothstep(inside + 0.03 * detail * comb, -0.005, 0.10 - 0.045 * cut.fringe))
        * (1 - smoothstep(az, 46.0, 60.0))
    )
    albedo = torch.lerp(albedo, skin, (0.72 * thin)[:, None])
    behind = 1 - 0.55 * smoothstep(az, 85.0, 130.0) * hangs
    lit = shade(albedo, normal, lamp, occlusion=(behind * root)[:, None], shadow=behind[:, None])
    facing = (normal * lamp.key).sum(1, keepdim=True).clamp(min=0) ** 0.5
    lit = lit + (0.25 * colour + 0.018) * 1.5 * power(sheen, 18.0) * facing * lamp.key_colour * root[:, None]
    return placed, lit, -inside
