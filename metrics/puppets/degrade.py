"""What generated frames suffer from, as random changes of a batch: blur, lost detail, noise, colour, ghosts, blocks.

Batches are (B, 3, h, w) float in [0, 1] on the CPU; each function takes a ``torch.Generator`` and returns new frames. A
batch is split in groups that share a parameter where one that differs by frame would cost too much.
"""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

Change = Callable[[Tensor, torch.Generator], Tensor]


def rand(generator: torch.Generator, low: float, high: float, *shape: int) -> Tensor:
    return low + (high - low) * torch.rand(*shape, generator=generator)


def one(generator: torch.Generator, low: float, high: float) -> float:
    return float(rand(generator, low, high, 1))


def gaussian_blur(frames: Tensor, sigma: float) -> Tensor:
    """A separable Gaussian, sigma in pixels, edges repeated."""
    radius = max(1, int(3 * sigma + 0.5))
    x = torch.arange(-radius, radius + 1, dtype=frames.dtype)
    kernel = torch.exp(-0.5 * (x / sigma) ** 2)
    kernel = (kernel / kernel.sum()).expand(3, 1, 1, -1)
    padded = F.pad(frames, (radius,) * 4, mode="replicate")
    return F.conv2d(F.conv2d(padded, kernel, groups=3), kernel.transpose(2, 3), groups=3)


def blur(frames: Tensor, generator: torch.Generator) -> Tensor:
    """Up to 2 % of the frame's width."""
    return gaussian_blur(frames, one(generator, 0.3, 0.02 * frames.shape[-1]))


def low_resolution(frames: Tensor, generator: torch.Generator) -> Tensor:
    """Shrunk to between a third and all of its size and enlarged again."""
    size = frames.shape[-2:]
    share = one(generator, 0.33, 0.9)
    small = [max(8, int(share * s)) for s in size]
    mode = ("bilinear", "bicubic", "nearest")[int(torch.randint(3, (1,), generator=generator))]
    shrunk = F.interpolate(frames, small, mode="bilinear", antialias=True, align_corners=False)
    kwargs = {} if mode == "nearest" else {"align_corners": False}
    return F.interpolate(shrunk, size, mode=mode, **kwargs).clamp(0, 1)


def noise(frames: Tensor, generator: torch.Generator) -> Tensor:
    """White noise of up to .08, or of one value for every 4 x 4 pixels."""
    b, c, h, w = frames.shape
    coarse = bool(torch.rand(1, generator=generator) < 0.3)
    shape = (b, c, -(-h // 4), -(-w // 4)) if coarse else (b, c, h, w)
    grain = torch.randn(shape, generator=generator)
    if coarse:
        grain = F.interpolate(grain, (h, w), mode="nearest")
    return (frames + grain * rand(generator, 0, 0.08, b, 1, 1, 1)).clamp(0, 1)


def colour(frames: Tensor, generator: torch.Generator) -> Tensor:
    """Gain and offset of every channel, gamma, saturation."""
    b = len(frames)
    frames = frames * rand(generator, 0.75, 1.25, b, 3, 1, 1) * rand(generator, 0.8, 1.2, b, 1, 1, 1)
    frames = frames + rand(generator, -0.08, 0.08, b, 3, 1, 1)
    grey = frames.mean(1, keepdim=True)
    frames = grey + (frames - grey) * rand(generator, 0.3, 1.4, b, 1, 1, 1)
    return frames.clamp(1e-4, 1) ** rand(generator, 0.75, 1.35, b, 1, 1, 1)


def jpeg(frames: Tensor, generator: torch.Generator) -> Tensor:
    """Every frame through a JPEG file of quality 12 to 80, as a stand-in for a video codec's blocks."""
    from PIL import Image

    quality = torch.randint(12, 81, (len(frames),), generator=generator)
    out = np.empty((len(frames), *frames.shape[2:], 3), np.uint8)
    for i, (frame, q) in enumerate(zip(to_bytes(frames), quality.tolist(), strict=True)):
        buffer = io.BytesIO()
        Image.fromarray(frame).save(buffer, "JPEG", quality=q)
        out[i] = np.asarray(Image.open(buffer))
    return from_bytes(out)


def ghost(frames: Tensor, generator: torch.Generator) -> Tensor:
    """Blended with itself, shifted by up to 3 % of its width: what a generator that cannot decide shows."""
    reach = 0.03 * frames.shape[-1]
    dx, dy = (round(one(generator, -reach, reach)) for _ in range(2))
    return frames.lerp(torch.roll(frames, (dy, dx), (2, 3)), rand(generator, 0.1, 0.45, len(frames), 1, 1, 1))


def smooth_texture(frames: Tensor, generator: torch.Generator) -> Tensor:
    """Small differences from the blurred frame fade, edges stay: the waxy skin of generators."""
    base = gaussian_blur(frames, one(generator, 0.006, 0.016) * frames.shape[-1])
    detail = frames - base
    keep = detail.abs() / (detail.abs() + one(generator, 0.02, 0.12))
    return (base + detail * keep).clamp(0, 1)


def block(frames: Tensor, generator: torch.Generator) -> Tensor:
    """A patch of up to a sixth of the frame's width on a side is covered by one colour."""
    b, _, h, w = frames.shape
    size = rand(generator, 0.04, 0.17, b, 2, 1, 1) * torch.tensor([h, w])[None, :, None, None]
    at = rand(generator, 0, 1, b, 2, 1, 1) * torch.tensor([h, w])[None, :, None, None]
    y, x = torch.arange(h)[None, :, None], torch.arange(w)[None, None]
    inside = ((y - at[:, 0]).abs() < size[:, 0] / 2) & ((x - at[:, 1]).abs() < size[:, 1] / 2)
    return torch.where(inside[:, None], rand(generator, 0, 1, b, 3, 1, 1), frames)


#: every kind with the share of the groups that suffer it, in the order in which they are applied
KINDS: tuple[tuple[Change, float], ...] = (
    (colour, 0.5), (ghost, 0.15), (smooth_texture, 0.2), (block, 0.15), (blur, 0.25), (low_resolution, 0.3),
    (noise, 0.3), (jpeg, 0.25),
)  # fmt: skip


def degraded(frames: Tensor, generator: torch.Generator, group: int = 8) -> Tensor:
    """A random mixture for each ``group`` neighbouring frames."""
    parts = []
    for part in frames.split(group):
        for change, share in KINDS:
            if bool(torch.rand(1, generator=generator) < share):
                part = change(part, generator)
        parts.append(part)
    return torch.cat(parts)


def to_bytes(frames: Tensor) -> np.ndarray:
    """(B, 3, h, w) in [0, 1] -> (B, h, w, 3) uint8."""
    return (frames.clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).contiguous().numpy()


def from_bytes(frames: np.ndarray) -> Tensor:
    """(B, h, w, 3) uint8 -> (B, 3, h, w) float32 in [0, 1]."""
    return torch.from_numpy(frames).permute(0, 3, 1, 2).float() / 255


def h264(frames: Tensor, generator: torch.Generator) -> Tensor:
    """All frames as one video of 256 pixels through H.264 at crf 36, as strangers to each other as they may be."""
    import tempfile
    from pathlib import Path

    from fctfg import media

    large = F.interpolate(frames, (256, 256), mode="bilinear", align_corners=False)
    with tempfile.TemporaryDirectory() as folder:
        media.write_video(Path(folder) / "a.mp4", to_bytes(large), crf=36)
        read = from_bytes(media.read_video(Path(folder) / "a.mp4"))
    return F.interpolate(read, frames.shape[2:], mode="bilinear", antialias=True, align_corners=False)


def motion_blur(frames: Tensor, generator: torch.Generator) -> Tensor:
    """Smeared over 4 % of the frame's width in one direction."""
    angle, n = one(generator, 0, 3.14), 9
    reach = 0.04 * frames.shape[-1]
    out = torch.zeros_like(frames)
    for i in range(n):
        along = reach * (i / (n - 1) - 0.5)
        theta = torch.eye(2, 3)
        theta[:, 2] = 2 * along * torch.tensor([np.cos(angle), np.sin(angle)]).float() / frames.shape[-1]
        grid = F.affine_grid(theta.expand(len(frames), -1, -1), list(frames.shape), align_corners=False)
        out += F.grid_sample(frames, grid, padding_mode="border", align_corners=False) / n
    return out


def posterised(frames: Tensor, generator: torch.Generator) -> Tensor:
    """Eight levels for each channel."""
    return (frames * 7).round() / 7


def sharpened(frames: Tensor, generator: torch.Generator) -> Tensor:
    """Edges with halos: twice the difference from a blurred copy is added."""
    return (frames + 2 * (frames - gaussian_blur(frames, 0.01 * frames.shape[-1]))).clamp(0, 1)


def salt_and_pepper(frames: Tensor, generator: torch.Generator) -> Tensor:
    """Two pixels in a hundred turn black or white."""
    hit = torch.rand(len(frames), 1, *frames.shape[2:], generator=generator)
    return torch.where(hit < 0.01, 0.0, torch.where(hit > 0.99, 1.0, frames))


#: never used in training
UNSEEN: dict[str, Change] = {
    "h264": h264,
    "motion_blur": motion_blur,
    "posterised": posterised,
    "sharpened": sharpened,
    "salt_and_pepper": salt_and_pepper,
}
