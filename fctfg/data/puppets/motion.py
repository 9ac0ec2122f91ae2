"""What moves in a puppet: the columns of a motion tensor, their units and ranges.

Left and right are the *subject's*: the subject's left eye is on the right-hand side of the image. Directions of
rotation and gaze are the *viewer's*, because that is what a picture shows:

=============== ============ ==========================================================================
column          range        meaning
=============== ============ ==========================================================================
yaw             -45..45      degrees; positive turns the nose to the right of the image
pitch           -45..45      degrees; positive lifts the chin (the nose moves up in the image)
roll            -45..45      degrees; positive tilts the head clockwise as the viewer sees it
tx, ty          -0.1..0.1    shift of the whole puppet in image widths; right and down are positive
scale           -0.15..0.15  the puppet is drawn 1 + scale times as large
mouth_open      0..1         jaw drop; 0 closed, 1 as wide as a shouted "ah"
mouth_width     -1..1        corners drawn together (-1) or apart (1)
mouth_round     0..1         lips pursed forward as in "oo"
smile           -1..1        corners up with raised cheeks (1), corners down (-1)
brow_raise_l/r  -1..1        brow lowered (-1) or raised (1)
brow_furrow_l/r 0..1         inner end of the brow drawn down and inwards
blink_l/r       0..1         0 open, 1 shut
gaze_x          -1..1        eyes to the left (-1) or right (1) of the image, relative to the head
gaze_y          -1..1        eyes down (-1) or up (1), relative to the head
=============== ============ ==========================================================================

Rotations are applied to the head in the order roll (about the view axis), pitch, yaw: R = Rz(roll) Rx(pitch) Ry(yaw).
"""

from __future__ import annotations

import torch

MOTION = (
    "yaw", "pitch", "roll", "tx", "ty", "scale",
    "mouth_open", "mouth_width", "mouth_round", "smile",
    "brow_raise_l", "brow_raise_r", "brow_furrow_l", "brow_furrow_r",
    "blink_l", "blink_r", "gaze_x", "gaze_y",
)  # fmt: skip

#: lowest and highest value of every column
RANGES = {
    **dict.fromkeys(("yaw", "pitch", "roll"), (-45.0, 45.0)),
    **dict.fromkeys(("tx", "ty"), (-0.1, 0.1)),
    "scale": (-0.15, 0.15),
    **dict.fromkeys(("mouth_open", "mouth_round"), (0.0, 1.0)),
    **dict.fromkeys(("mouth_width", "smile", "brow_raise_l", "brow_raise_r"), (-1.0, 1.0)),
    **dict.fromkeys(("brow_furrow_l", "brow_furrow_r", "blink_l", "blink_r"), (0.0, 1.0)),
    **dict.fromkeys(("gaze_x", "gaze_y"), (-1.0, 1.0)),
}
_INDEX = {name: i for i, name in enumerate(MOTION)}


def index(name: str) -> int:
    """The column of a motion tensor that holds ``name``; KeyError names the known columns."""
    if name not in _INDEX:
        raise KeyError(f"no motion column {name!r}; the columns are {', '.join(MOTION)}")
    return _INDEX[name]


def neutral(batch: int, device: torch.device | str | None = None) -> torch.Tensor:
    """``(batch, len(MOTION))`` float32: a frontal face at rest, eyes open, mouth closed."""
    return torch.zeros(batch, len(MOTION), device=device)


def clamp(motion: torch.Tensor) -> torch.Tensor:
    """The motion with every column brought into its range; the shape is kept."""
    low = torch.tensor([RANGES[name][0] for name in MOTION], device=motion.device)
    high = torch.tensor([RANGES[name][1] for name in MOTION], device=motion.device)
    return torch.minimum(torch.maximum(motion, low), high)


def rotation(motion: torch.Tensor) -> torch.Tensor:
    """``(B, 3, 3)`` head rotations in a frame with x right, y up and z towards the viewer."""
    yaw, pitch, roll = (torch.deg2rad(motion[:, index(name)]) for name in ("yaw", "pitch", "roll"))
    zero, one = torch.zeros_like(yaw), torch.ones_like(yaw)
    cy, sy, cp, sp, cr, sr = yaw.cos(), yaw.sin(), pitch.cos(), pitch.sin(), roll.cos(), roll.sin()
    about_y = torch.stack([cy, zero, sy, zero, one, zero, -sy, zero, cy], -1).view(-1, 3, 3)
    about_x = torch.stack([one, zero, zero, zero, cp, sp, zero, -sp, cp], -1).view(-1, 3, 3)
    about_z = torch.stack([cr, sr, zero, -sr, cr, zero, zero, zero, one], -1).view(-1, 3, 3)
    return about_z @ about_x @ about_y
