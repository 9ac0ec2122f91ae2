"""What the lip-sync network is trained on: talking clips; a window of lips is to find its sound among all of the batch.

InfoNCE in both directions (van den Oord et al., 2018) over every window of a few clips at once, so that most negatives
are other moments of the same clip. The crops are shifted, turned and degraded, the sound filtered and made noisy.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metrics.mfcc import mfcc, to_int16
from metrics.puppets.degrade import degraded, from_bytes, rand
from metrics.puppets.draw import LENGTH, SAMPLES_PER_FRAME, STORED
from metrics.puppets.geometry import CROP
from metrics.puppets.lip_sync import WINDOW, LipSync, coefficients, columns_of
from metrics.sync_score import lse

BATCH = 8
#: the last window of a clip lacks the end of its sound
WINDOWS = LENGTH - WINDOW
SECONDS_2 = 50  # frames of the clips that the figures are about


def jittered(crops: Tensor, generator: torch.Generator) -> Tensor:
    """Stored crops (n, t, 3, H, W) with their margin -> (n t, 3, h, w): one shift, turn and size for each clip and a
    little of each from frame to frame, as found landmarks would have it; half of the clips in a mirror.
    """
    n, t = crops.shape[:2]

    def drawn(clip: float, frame: float) -> Tensor:
        whole, part = torch.randn(n, 1, generator=generator), torch.randn(n, t, generator=generator)
        return (clip * whole.clamp(-2, 2) + frame * part.clamp(-2, 2)).flatten()

    turn, size = drawn(0.05, 0.012), 1 + drawn(0.05, 0.012)
    mirror = (torch.rand(n, generator=generator) < 0.5).float().mul(-2).add(1).repeat_interleave(t)
    share_y, share_x = CROP[0] / STORED[0], CROP[1] / STORED[1]
    aspect = CROP[0] / CROP[1]
    theta = torch.zeros(n * t, 2, 3)
    theta[:, 0, 0] = share_x * size * turn.cos() * mirror
    theta[:, 0, 1] = -share_x * size * turn.sin() * aspect
    theta[:, 1, 0] = share_y * size * turn.sin() / aspect * mirror
    theta[:, 1, 1] = share_y * size * turn.cos()
    theta[:, 0, 2], theta[:, 1, 2] = drawn(0.04, 0.012), drawn(0.05, 0.012)
    grid = F.affine_grid(theta, (n * t, 3, *CROP), align_corners=False)
    return F.grid_sample(crops.flatten(0, 1), grid, mode="bilinear", padding_mode="border", align_corners=False)


def smeared(crops: Tensor, generator: torch.Generator) -> Tensor:
    """(n, t, 3, h, w) with some clips' frames blended with their neighbours: lips that move too little."""
    if bool(torch.rand(1, generator=generator) < 0.7):
        return crops
    before, after = torch.cat([crops[:, :1], crops[:, :-1]], 1), torch.cat([crops[:, 1:], crops[:, -1:]], 1)
    weight = rand(generator, 0, 0.3, len(crops), 1, 1, 1, 1)
    return (1 - 2 * weight) * crops + weight * (before + after)


def recorded(audio: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Sound (N,) in [-1, 1] at another loudness, dulled or sharpened, in some noise."""
    audio = audio.astype(np.float32) * 10 ** rng.uniform(-0.6, 0.15)
    if rng.random() < 0.5:
        tilt = rng.uniform(-0.5, 0.5)
        audio = audio + tilt * np.concatenate([[0.0], audio[:-1]]).astype(np.float32)
    level = np.sqrt(np.mean(audio**2) + 1e-9) * 10 ** rng.uniform(-2.5, -0.8)
    return np.clip(audio + level * rng.standard_normal(len(audio), np.float32), -1, 1)


class SyncTask:
    """``data``, ``held_out``: sets of clips as ``draw.read_set`` gives them."""

    def __init__(self, data: dict[str, np.ndarray], held_out: dict[str, np.ndarray] | None, seed: int = 0) -> None:
        torch.manual_seed(seed)
        self.net, self._data, self._held_out, self._seed = LipSync(), data, held_out, seed
        self.net.frame.to(memory_format=torch.channels_last)
        sample = np.concatenate([mfcc(to_int16(a.astype(np.float32))) for a in data["audio"][:200]])
        self.net.mfcc_mean.copy_(torch.from_numpy(sample.mean(0)))
        self.net.mfcc_std.copy_(torch.from_numpy(sample.std(0)))

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        """Crops (BATCH, LENGTH, 3, 48, 64) in [0, 1] and MFCC columns (BATCH, n, 13)."""
        seed = self._seed * 1_000_003 + step
        g, rng = torch.Generator().manual_seed(seed), np.random.default_rng(seed)
        rows = torch.randint(len(self._data["crops"]), (BATCH,), generator=g).numpy()
        stored = self._data["crops"][rows]
        crops = from_bytes(stored.reshape(-1, *stored.shape[2:])).unflatten(0, (BATCH, LENGTH))
        crops = jittered(crops, g).unflatten(0, (BATCH, LENGTH))
        crops = smeared(crops, g).flatten(0, 1)
        crops = degraded(crops, g, group=LENGTH)
        columns = [mfcc(to_int16(recorded(self._data["audio"][row], rng)))[: columns_of(WINDOWS)] for row in rows]
        return crops.unflatten(0, (BATCH, LENGTH)), torch.from_numpy(np.stack(columns)).float()

    def loss(self, step: int) -> tuple[Tensor, dict[str, float]]:
        crops, columns = self.batch(step)
        features = self.net.features(crops.flatten(0, 1).contiguous(memory_format=torch.channels_last))
        lips = self.net.lips(features.unflatten(0, (BATCH, LENGTH)))[:, :WINDOWS].flatten(0, 1)
        speech = self.net.speech(columns).flatten(0, 1)
        alike = lips @ speech.T * self.net.log_scale.exp().clamp(max=30)
        same = torch.arange(len(alike))
        loss = F.cross_entropy(alike, same) + F.cross_entropy(alike.T, same)
        hit = (alike.detach().argmax(1) - same).abs() <= 1
        return loss, {"loss": float(loss.detach()), "hit": float(hit.float().mean())}

    def evaluate(self, net: nn.Module) -> dict[str, float]:
        return {} if self._held_out is None else figures(net, self._held_out)


def figures(net: LipSync, data: dict[str, np.ndarray], change=None, length: int = SECONDS_2) -> dict[str, float]:
    """On clips of ``length`` frames, degraded by ``change`` where given: the share whose offset is found to a frame,
    for the true pair, a frozen picture and another clip's sound; the numbers' means.
    """
    g = torch.Generator().manual_seed(0)
    top, left = ((s - c) // 2 for s, c in zip(STORED, CROP, strict=True))
    lips, frozen, speech = [], [], []
    for stored, audio in zip(data["crops"], data["audio"], strict=True):
        crops = from_bytes(stored[:length])[:, :, top : top + CROP[0], left : left + CROP[1]]
        features = net.features(crops if change is None else change(crops, g))
        lips.append(net.lips(features)[:-1])
        frozen.append(net.lips(features[:1].expand(length, -1))[:-1])
        sound = audio[: length * SAMPLES_PER_FRAME].astype(np.float32)
        speech.append(net.speech(coefficients(sound, len(lips[-1]))))
    pairs = {"true": (lips, speech), "frozen": (frozen, speech), "swapped": (lips, speech[1:] + speech[:1])}
    found = {}
    for name, (ours, theirs) in pairs.items():
        scores = [lse(a, b, padding="valid") for a, b in zip(ours, theirs, strict=True)]
        found[f"{name}_found"] = float(np.mean([abs(s.offset) <= 1 for s in scores]))
        found[f"{name}_c"] = float(np.mean([s.lse_c for s in scores]))
        found[f"{name}_d"] = float(np.mean([s.lse_d for s in scores]))
    return found
