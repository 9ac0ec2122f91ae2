"""Where things are in a frame: resampling to the networks' sizes, upright patches of mouth and eyes. Differentiable."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

#: pixels per side that every frame is brought to first
FRAME = 128
#: height and width of a mouth crop, and a crop pixel's size in face units (see ``mouth_frame``)
CROP = (48, 64)
PIXEL = 1.12 / CROP[1]
#: an eye's patch: pixels per side, the side in face units, and how far its middle lies above the eye's
EYE, EYE_SPAN, ABOVE = 32, 0.66, 0.08
#: the face reader's patch of the mouth: height and width in pixels, the width in face units
MOUTH, MOUTH_SPAN = (32, 40), 0.95
#: the crop's middle lies this far below the corners of the mouth, in face units
BELOW = 0.11


def resized(frames: Tensor, size: int = FRAME) -> Tensor:
    """Frames (B, 3, H, W) -> (B, 3, size, size): bilinear, low-passed where it shrinks; a frame that fits is kept."""
    if frames.shape[-2:] == (size, size):
        return frames
    return F.interpolate(frames, (size, size), mode="bilinear", align_corners=False, antialias=True)


def mouth_frame(points: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Landmarks (B, 68, 2) -> the crop's middle (B, 2), the direction to the right of the face (B, 2) and the face unit
    (B,), in the units of ``points``.

    The unit is the hypotenuse of the distance between the eyes and that from eyes to mouth, which a turned head changes
    less than either. Only the corners of the mouth are used, which speech moves least.
    """
    right_eye, left_eye = points[:, 36:42].mean(1), points[:, 42:48].mean(1)
    corners = (points[:, 48] + points[:, 54]) / 2
    across, eyes = left_eye - right_eye, (left_eye + right_eye) / 2
    unit = torch.sqrt(across.square().sum(1) + (corners - eyes).square().sum(1)).clamp(min=1e-3)
    right = across / across.norm(dim=1, keepdim=True).clamp(min=1e-3)
    down = torch.stack([-right[:, 1], right[:, 0]], 1)
    return corners + BELOW * unit[:, None] * down, right, unit


def mouth_crops(frames: Tensor, points: Tensor, size: tuple[int, int] = CROP) -> Tensor:
    """Upright crops of the mouth (B, 3, h, w) of frames (B, 3, H, W); ``points`` (B, 68, 2) in [0, 1] of the frame.

    Outside the frame its edge is carried on.
    """
    middle, right, unit = mouth_frame(points)
    return upright(frames, middle, right, unit * PIXEL, size)


def eye_patches(frames: Tensor, points: Tensor) -> Tensor:
    """Patches of each eye with its brow (2 B, 3, EYE, EYE): the right eyes, mirrored, then the left eyes."""
    _, right, unit = mouth_frame(points)
    up = torch.stack([right[:, 1], -right[:, 0]], 1)
    step = unit * (EYE_SPAN / EYE)
    patches = []
    for eye, side in ((slice(36, 42), -1), (slice(42, 48), 1)):
        middle = points[:, eye].mean(1) + ABOVE * unit[:, None] * up
        patches.append(upright(frames, middle, right, step, (EYE, EYE), side))
    return torch.cat(patches)


def mouth_patches(frames: Tensor, points: Tensor) -> Tensor:
    """Patches of the mouth (B, 3, *MOUTH), a coarser view of what ``mouth_crops`` shows."""
    middle, right, unit = mouth_frame(points)
    return upright(frames, middle, right, unit * (MOUTH_SPAN / MOUTH[1]), MOUTH)


def upright(
    frames: Tensor, middle: Tensor, right: Tensor, step: Tensor, size: tuple[int, int], mirror: int = 1
) -> Tensor:
    """Patches (B, 3, h, w) round ``middle`` (B, 2) whose rows run along ``right`` (B, 2), a unit vector, or against it
    where ``mirror`` is -1; ``step`` (B,) is a pixel's size. All in [0, 1] of the frame; its edges are carried on.
    """
    height, width = size
    x = mirror * (torch.arange(width, device=middle.device) - (width - 1) / 2)
    y = torch.arange(height, device=middle.device) - (height - 1) / 2
    down = torch.stack([-right[:, 1], right[:, 0]], 1)
    spot = x[None, None, :, None] * right[:, None, None] + y[None, :, None, None] * down[:, None, None]
    grid = (middle[:, None, None] + step[:, None, None, None] * spot) * 2 - 1
    return F.grid_sample(frames, grid, mode="bilinear", padding_mode="border", align_corners=False)
