"""Draw puppets: identities and motion in, frames, the 68 landmarks and their visibility out.

    who = sample_identity(0, batch=4)
    drawn = render(who, neutral(4), size=256)
    drawn.frames        # (4, 3, 256, 256) in [0, 1]

Everything is batched tensor arithmetic on one device: nothing waits for the device and nothing is random, so the same
inputs give the same picture. On a processor half of the time goes into the million points that a picture of 256 pixels
is diced into (interpolating them, and finding the nearest in each sample), the rest into shading the vertices, which is
bound by memory; below some 100 pixels the cost of starting small operations counts, so draw large batches.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from fctfg.data.puppets import body, eyes, hair, head, inside, paint
from fctfg.data.puppets.expression import expression
from fctfg.data.puppets.identity import Identity
from fctfg.data.puppets.landmarks import landmarks
from fctfg.data.puppets.light import develop, hue, light, normals, palette, shade
from fctfg.data.puppets.motion import MOTION, clamp, index, rotation
from fctfg.data.puppets.relief import mouth, relief
from fctfg.data.puppets.splat import Canvas

#: the camera's distance (1.6 m where the eyes' outer corners are 9 cm apart: from nearer by, perspective draws out a
#: head that nods) and the picture's height in head units; the height that is drawn at the picture's middle
CAMERA, VIEW, MIDDLE = 18.0, 3.2, -0.17
#: the head turns about this point of its own frame
PIVOT = (0.0, -0.62, -0.12)


@dataclass(frozen=True)
class Rendered:
    """``frames`` (B, 3, size, size) float in [0, 1]; ``landmarks`` (B, 68, 2) x, y in pixels of that size, where
    (0, 0) is the centre of the top left pixel; ``visible`` (B, 68): nothing lies in front of the landmark and it is
    inside the picture.
    """

    frames: torch.Tensor
    landmarks: torch.Tensor
    visible: torch.Tensor


def render(
    identity: Identity,
    motion: torch.Tensor,
    size: int = 256,
    detail: float = 1.0,
    device: torch.device | str | None = None,
    chunk: int | None = None,
) -> Rendered:
    """Draw a batch.

    ``identity``: B people; ``motion``: ``(B, len(MOTION))``, clamped to its ranges; ``size``: pixels per side, at least
    16; ``detail``: 1 for everything, less for fainter texture, 0 for a plain background, smooth skin and plain hair;
    ``device``: where to draw, by default where ``motion`` lies; ``chunk``: frames drawn at once, which bounds memory
    (some 15 MB a frame at 256 on a processor, more elsewhere).

    Raises ValueError where the batch sizes or the number of motion columns do not fit.
    """
    if motion.ndim != 2 or motion.shape[1] != len(MOTION):
        raise ValueError(f"motion must be (B, {len(MOTION)}), not {tuple(motion.shape)}")
    if len(identity) != len(motion):
        raise ValueError(f"{len(identity)} identities but {len(motion)} rows of motion")
    if size < 16:
        raise ValueError(f"size must be at least 16 pixels, not {size}")
    device = torch.device(device) if device is not None else motion.device
    identity, motion = identity.to(device), clamp(motion.to(device=device, dtype=torch.float32))
    if chunk is None:
        chunk = max(1, min(128, int(6 * (256 / size) ** 2))) if device.type == "cpu" else 32
    parts = [
        _draw(identity.pick(slice(i, i + chunk)), motion[i : i + chunk], size, float(detail))
        for i in range(0, len(motion), chunk)
    ]
    return Rendered(*(torch.cat([getattr(p, name) for p in parts]) for name in ("frames", "landmarks", "visible")))


def _background(who: Identity, size: int, detail: float) -> torch.Tensor:
    """A soft backdrop ``(B, 3, size, size)``: a gradient, and patches of light far out of focus."""
    device = who.values.device
    vivid = (who["back_colour"][:, None] + 1) / 2 * 0.45
    colour = (hue(who["back_hue"]) * vivid + 0.5 * (1 - vivid)) * (0.42 + 0.34 * who["back_light"][:, None])
    y = torch.linspace(0, 1, size, device=device)[None, None, :, None]
    x = torch.linspace(-1, 1, size, device=device)[None, None, None, :]
    side = torch.sign(who["light_side"])[:, None] * 0.10 * x
    out = colour * (1.18 - 0.42 * y + side - 0.16 * x * x)
    if detail > 0:
        cells = 3 + 3
        a = paint.noise(31, size, size, cells, cells, str(device))[None]
        b = paint.noise(32, size, size, cells, cells + 2, str(device))[None]
        angle = torch.pi * who["back_blur"][:, None]
        out = out * (1 + detail * 0.22 * (a * angle.cos() + b * angle.sin()))
    return develop(out * 0.9)


def _draw(who: Identity, motion: torch.Tensor, size: int, detail: float) -> Rendered:
    density = round(min(max(size / 256, 0.3125), 4.0) * 16) / 16
    device = str(motion.device)
    mesh = head.grid(density, device)
    turn = rotation(motion)
    pivot = torch.tensor(PIVOT, device=device)[None, :, None]
    grow = VIEW / (1 + motion[:, index("scale")])
    shift = motion[:, [index("tx"), index("ty")]]

    def pose(points: torch.Tensor) -> torch.Tensor:
        """Points of the head ``(B, 3, rows, columns)`` as the camera sees them."""
        return (turn @ (points.flatten(2) - pivot) + pivot).view_as(points)

    def project(points: torch.Tensor) -> torch.Tensor:
        """Seen points to pixels and depth: a pinhole camera at z = CAMERA."""
        near = size * CAMERA / ((CAMERA - points[:, 2]) * grow[:, None, None])
        x = size * (0.5 + shift[:, 0, None, None]) + near * points[:, 0]
        y = size * (0.5 + shift[:, 1, None, None]) - near * (points[:, 1] - MIDDLE)
        return torch.stack([x, y, points[:, 2]], 1)

    colours, lamp = palette(who), light(who)
    eye, lips = eyes.eyes(who, motion), mouth(who)
    bare = head.base(mesh, who)
    bulge, hang, depth = relief(bare, who, eye, lips)
    face = expression(mesh, bare, who, eye, lips, motion)
    skull = torch.stack([bare.px + face.dx, bare.py + hang + face.dy, bare.pz + bulge + face.dz], 1)
    canvas = Canvas(_background(who, size, detail))

    def dice(down: int, across: int) -> tuple[int, int]:
        """Points per grid step, given those that a picture of 256 pixels needs."""
        return tuple(max(1, math.ceil(k * size / 256 / density - 0.05)) for k in (down, across))

    # the head: one surface, slit along the lip line
    seen = pose(skull)
    upper, lower = seen[:, :, : mesh.seam], seen[:, :, mesh.seam :]
    n_upper, n_lower = normals(upper), normals(lower)
    beside = head.smoothstep(bare.x[:, mesh.seam].abs() / lips.half[:, 0], 0.95, 1.15)[:, None]
    mean = torch.nn.functional.normalize(n_upper[:, :, -1] + n_lower[:, :, 0], dim=1)
    n_upper[:, :, -1] += (mean - n_upper[:, :, -1]) * beside
    n_lower[:, :, 0] += (mean - n_lower[:, :, 0]) * beside
    grows, shadow = hair.scalp(mesh, bare.height, who, detail)
    lids = eyes.opening(eye, bare.x, bare.y)
    albedo, occlusion, gloss = paint.skin(bare, who, eye, lids, lips, face, colours, grows, detail)
    normal = torch.cat([n_upper, n_lower], 2)
    lit = shade(albedo, normal, lamp, occlusion, shadow[:, None], gloss, bleed=1.0)
    # the skin's inner side is seen only through the open mouth, where it is dark
    lit = lit * (0.10 + 0.90 * head.smoothstep(normal[:, 2:], -0.30, -0.04))
    hole = torch.where((lids.e.abs() < 1.2) & (bare.pz > 0), -torch.maximum(lids.above, lids.below), -1.0)
    screen, shown = project(seen), develop(lit)
    s = mesh.seam
    canvas.draw(screen[:, :, :s], shown[:, :, :s], hole[:, :s], dice(3, 4))
    canvas.draw(screen[:, :, s:], shown[:, :, s:], None, dice(4, 3))

    # eyes
    lift = torch.tensor([0.0, 0.06, 0.0], device=device)[None, :, None, None]
    for sign in (1.0, -1.0):
        ball, normal, along = eyes.eyeball(eye, depth, sign, max(int(30 * density), 16), max(int(46 * density), 22))
        painted, iris, cut = eyes.eyeball_colour(eye, who, ball, along, sign, colours.iris)
        normal = (turn @ normal.flatten(2)).view_as(normal)
        glint = (normal * (lamp.half + lift)).sum(1)
        lit = shade(painted, normal, lamp, 0.95, 0.85)
        glint = head.smoothstep(glint / (lamp.half + lift).norm(dim=1), 0.982, 0.994)
        lit = lit + (0.9 * glint * (0.25 + 0.75 * iris))[:, None]
        canvas.draw(project(pose(ball)), develop(lit), cut, dice(2, 2))

    for part, lit in inside.inside(bare, lips, motion, lamp, turn, density):
        canvas.draw(project(pose(part)), develop(lit), None, dice(8, 3))

    # ears, neck and shoulders
    covered = hair.style(who, detail).long
    for sign in (1.0, -1.0):
        part, dark, cut = body.ear(bare, mesh.ear, who, sign, density, covered)
        part = pose(part)
        flesh = (
            colours.skin * (1 + 0 * dark[:, None]) * torch.tensor([1.0, 0.9, 0.88], device=device)[None, :, None, None]
        )
        lit = shade(flesh, normals(part), lamp, 1 - dark[:, None], 1 - 0.6 * dark[:, None], 0.05, bleed=1.5)
        canvas.draw(project(part), develop(lit), cut, dice(2, 2))
    rest, follow, skin_share = body.bust(who, density)
    bust = rest + (pose(rest) - rest) * follow[:, None]
    lit = body.bust_colour(bust, rest, skin_share, bare.chin, colours, lamp, detail)
    canvas.draw(project(bust), develop(lit), None, dice(8, 10))

    strands, lit, cut = hair.hair(density, who, colours.hair, colours.skin, lamp, turn, detail)
    canvas.draw(project(pose(strands)), develop(lit), cut, dice(6, 6))

    tone = (0.02 + 0.16 * who["glasses_tone"].clamp(min=0))[:, None]
    for part, cut in body.glasses(eye, bare, who, depth, density):
        part = pose(part)
        lit = shade(tone.expand(-1, 3, -1, -1), normals(part), lamp, gloss=0.35, shine=20.0)
        canvas.draw(project(part), develop(lit), cut, dice(2, 5))

    frames, nearest = canvas.picture()
    found = landmarks(mesh, bare, eye, paint.brow(who, eye), lips, screen)
    points = found[..., :2] - 0.5
    cell = points.round().long()
    within = ((cell >= 0) & (cell < size)).all(-1)
    cell = cell.clamp(0, size - 1)
    front = nearest.flatten(1).gather(1, cell[..., 1] * size + cell[..., 0])
    return Rendered(frames, points, within & (found[..., 2] > front - 0.07))
