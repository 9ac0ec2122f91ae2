"""What the face reader is trained on and for: drawn frames, cropped, mirrored and degraded; and pictures of no face."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from fctfg.data.puppets.identity import FACTORS
from fctfg.data.puppets.motion import MOTION, index
from metrics.puppets.degrade import degraded, from_bytes, rand
from metrics.puppets.face_reader import GEOMETRY, SIZE, SPREAD, FaceReader
from metrics.puppets.geometry import resized

BATCH, NEGATIVES = 56, 8
_GEOMETRY = [FACTORS.index(name) for name in GEOMETRY]
_MIRRORED_POINTS = [
    *range(16, -1, -1), *range(26, 16, -1), *range(27, 31), *range(35, 30, -1),
    45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40,
    *range(54, 47, -1), *range(59, 54, -1), *range(64, 59, -1), *range(67, 64, -1),
]  # fmt: skip
_MIRRORED_COLUMNS = [
    index(name[:-2] + {"_l": "_r", "_r": "_l"}[name[-2:]] if name.endswith(("_l", "_r")) else name) for name in MOTION
]
_SIGNS = torch.tensor([-1.0 if name in ("yaw", "roll", "tx", "gaze_x") else 1.0 for name in MOTION])


@dataclass
class Batch:
    """Frames (B, 3, h, w) in [0, 1] with their truth; the rows behind ``len(landmarks)`` show no face."""

    frames: Tensor
    landmarks: Tensor
    motion: Tensor
    factors: Tensor


def mirrored(batch: Batch, which: Tensor) -> Batch:
    """The rows ``which`` (B,) bool as in a mirror; the geometry of a face is the same on both sides."""
    frames, points, motion = batch.frames.clone(), batch.landmarks.clone(), batch.motion.clone()
    frames[which] = frames[which].flip(3)
    points[which] = points[which][:, _MIRRORED_POINTS]
    points[which, :, 0] = 1 - points[which, :, 0]
    motion[which] = motion[which][:, _MIRRORED_COLUMNS] * _SIGNS
    return Batch(frames, points, motion, batch.factors)


def framed(batch: Batch, zoom: Tensor, shift: Tensor, size: int = SIZE) -> Batch:
    """Crops: enlarged ``zoom`` (B,) times round the frame's middle plus ``shift`` (B, 2) in frame widths, edges carried
    on; the motion's tx, ty and scale are those that would have drawn the crop.
    """
    theta = torch.zeros(len(zoom), 2, 3)
    theta[:, 0, 0] = theta[:, 1, 1] = 1 / zoom
    theta[:, :, 2] = 2 * shift
    grid = F.affine_grid(theta, (len(zoom), 3, size, size), align_corners=False)
    frames = F.grid_sample(batch.frames, grid, mode="bilinear", padding_mode="border", align_corners=False)
    points = (batch.landmarks - 0.5 - shift[:, None]) * zoom[:, None, None] + 0.5
    motion, at = batch.motion.clone(), [index("tx"), index("ty")]
    motion[:, at] = (motion[:, at] - shift) * zoom[:, None]
    motion[:, index("scale")] = (1 + motion[:, index("scale")]) * zoom - 1
    return Batch(frames, points, motion, batch.factors)


def no_faces(frames: Tensor, generator: torch.Generator) -> Tensor:
    """One picture without a face for every frame given: its background, its shuffled tiles, one colour, or noise."""
    h, w = frames.shape[2:]
    out = []
    for i, frame in enumerate(frames):
        kind = (i + int(torch.randint(4, (1,), generator=generator))) % 4
        if kind == 0:  # a corner above the shoulders, enlarged
            corner = frame[:, : h // 6, : w // 8] if i % 2 else frame[:, : h // 6, -w // 8 :]
            out.append(F.interpolate(corner[None], (h, w), mode="bicubic", align_corners=False)[0].clamp(0, 1))
        elif kind == 1:
            n = (4, 8)[i % 2]
            tiles = frame.view(3, n, h // n, n, w // n).permute(1, 3, 0, 2, 4).flatten(0, 1)
            tiles = tiles[torch.randperm(n * n, generator=generator)].view(n, n, 3, h // n, w // n)
            out.append(tiles.permute(2, 0, 3, 1, 4).reshape(3, h, w))
        elif kind == 2:
            slope = torch.linspace(-1, 1, h)[None, :, None] * rand(generator, -0.2, 0.2, 3, 1, 1)
            out.append((rand(generator, 0, 1, 3, 1, 1) + slope).expand(3, h, w).clamp(0, 1))
        else:
            cells = 2 ** int(torch.randint(1, 8, (1,), generator=generator))
            grain = torch.rand(1, 3, cells, cells, generator=generator)
            out.append(F.interpolate(grain, (h, w), mode=("nearest", "bilinear")[i % 2])[0])
    return torch.stack(out)


class ReaderTask:
    """``data``, ``held_out``: sets of frames as ``draw.read_set`` gives them."""

    def __init__(self, data: dict[str, np.ndarray], held_out: dict[str, np.ndarray] | None, seed: int = 0) -> None:
        torch.manual_seed(seed)
        self.net, self._data, self._held_out, self._seed = FaceReader(), data, held_out, seed
        self.net.to(memory_format=torch.channels_last)

    def batch(self, step: int) -> Batch:
        """The frames of one step: BATCH faces, then NEGATIVES others, at the network's size."""
        g = torch.Generator().manual_seed(self._seed * 1_000_003 + step)
        rows = torch.randint(len(self._data["frames"]), (BATCH,), generator=g).numpy()
        whole = taken(self._data, rows)
        whole = mirrored(whole, torch.rand(BATCH, generator=g) < 0.5)
        close = torch.rand(BATCH, generator=g) < 0.5
        zoom = torch.where(close, rand(g, 0.95, 1.55, BATCH), rand(g, 0.97, 1.03, BATCH))
        face = whole.landmarks[:, 17:].mean(1) - 0.5
        towards = torch.where(close, rand(g, 0.4, 1.1, BATCH), torch.zeros(BATCH))[:, None]
        crop = framed(whole, zoom, face * towards + rand(g, -0.03, 0.03, BATCH, 2))
        others = no_faces(crop.frames[:NEGATIVES], g)
        order = torch.randperm(BATCH, generator=g)  # neighbours are degraded alike
        crop = Batch(crop.frames[order], crop.landmarks[order], crop.motion[order], crop.factors[order])
        clean = rand(g, 0, 1, 1).item() < 0.15
        frames = crop.frames if clean else degraded(crop.frames, g)
        crop.frames = torch.cat([frames, degraded(others, g)])
        return crop

    def loss(self, step: int) -> tuple[Tensor, dict[str, float]]:
        batch = self.batch(step)
        out = self.net(batch.frames.contiguous(memory_format=torch.channels_last))
        n = len(batch.landmarks)
        points = 100 * (out["landmarks"][:n] - batch.landmarks).abs()
        points = (points[:, :48].sum(1) + 2 * points[:, 48:].sum(1)).mean() / 88
        difference = (out["motion"][:n] - batch.motion) / self.net.scales
        motion = F.smooth_l1_loss(difference, torch.zeros_like(difference), beta=0.1, reduction="none")
        motion = (motion * seen(batch.motion)).mean()
        factors = F.mse_loss(out["factors"][:n], batch.factors)
        is_face = (torch.arange(len(batch.frames)) < n).float()
        presence = F.binary_cross_entropy_with_logits(out["presence"], is_face)
        loss = points + 10 * motion + factors + 0.3 * presence
        parts = {"points": points, "motion": motion, "factors": factors, "presence": presence}
        return loss, {name: float(value.detach()) for name, value in parts.items()}

    def evaluate(self, net: FaceReader) -> dict[str, float]:
        if self._held_out is None:
            return {}
        return figures(net, self._held_out)


def taken(data: dict[str, np.ndarray], rows: np.ndarray) -> Batch:
    """Rows of a set as a batch."""
    factors = data["identity"][rows][:, _GEOMETRY] / SPREAD
    columns = [np.ascontiguousarray(c, np.float32) for c in (data["landmarks"][rows], data["motion"][rows], factors)]
    return Batch(from_bytes(data["frames"][rows]), *map(torch.from_numpy, columns))


def seen(motion: Tensor) -> Tensor:
    """(B, 18) weights: gaze counts as far as an eye is open."""
    weight = torch.ones_like(motion)
    shut = torch.minimum(motion[:, index("blink_l")], motion[:, index("blink_r")])
    weight[:, [index("gaze_x"), index("gaze_y")]] = (1 - 1.4 * shut).clamp(min=0)[:, None]
    return weight


def figures(net: FaceReader, data: dict[str, np.ndarray], change=None, most: int = 512) -> dict[str, float]:
    """Accuracy on a set, degraded by ``change`` (frames, generator) where given: landmark error in % of the frame's
    width (mean, mouth), the correlation of every factor of motion, R2 of the geometric factors, faces found.
    """
    g = torch.Generator().manual_seed(0)
    outs, truths = [], []
    for at in range(0, min(most, len(data["frames"])), 64):
        batch = taken(data, np.arange(at, min(at + 64, len(data["frames"]))))
        frames = batch.frames if change is None else change(batch.frames, g)
        outs.append(net(resized(frames, SIZE)))
        truths.append(batch)
    out = {name: torch.cat([o[name] for o in outs]) for name in outs[0]}
    points, motion, factors = (torch.cat([getattr(t, n) for t in truths]) for n in ("landmarks", "motion", "factors"))
    error = 100 * (out["landmarks"] - points).norm(dim=-1)
    found = {"error": float(error.mean()), "mouth": float(error[:, 48:].mean())}
    weight = seen(motion)
    for name in MOTION:
        rows = weight[:, index(name)] > 0.3
        pair = torch.stack([out["motion"][rows, index(name)], motion[rows, index(name)]])
        found[name] = float(torch.corrcoef(pair)[0, 1])
    found["factors_r2"] = 1 - float(F.mse_loss(out["factors"], factors))
    found["found"] = float((out["presence"] > 0).float().mean())
    return found
