"""Draw what the two networks learn from: single frames with random faces and motion, and talking clips of mouths.

Sets are folders of shards, ``<kind>-<number>.npz``; a shard depends on (kind, split, seed, number) alone, so that any
number of processes draws the same set and a set can be added to. Frames are drawn from people that no clip of the
"test" split shows and the other way round (see ``script.identity_seed``).
"""

from __future__ import annotations

import os
import uuid
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from fctfg.data.puppets import script as scripts
from fctfg.data.puppets.face import render
from fctfg.data.puppets.identity import Identity, sample_identity
from fctfg.data.puppets.motion import MOTION, RANGES, index
from fctfg.data.puppets.voice import synthesize
from metrics.puppets.geometry import CROP, FRAME, mouth_crops

#: frames in a shard of frames; clips in a shard of clips and frames in a clip
FRAMES, CLIPS, LENGTH = 256, 8, 64
FPS, SAMPLES_PER_FRAME = 25, 640
#: stored crops are this much larger than the network's, so that they can be shifted and turned
MARGIN = 1.25
STORED = (int(CROP[0] * MARGIN), int(CROP[1] * MARGIN))
_CHUNK = 16


@dataclass(frozen=True)
class Recipe:
    """What a set is drawn from: ``kind`` "frames" or "clips", the ``split`` of people, and a ``seed``."""

    kind: str
    split: str = "train"
    seed: int = 0

    def seed_of(self, number: int, what: str) -> int:
        """63 bits for one shard's ``what``; train and test differ in their lowest bit."""
        return scripts.identity_seed(self.seed, self.split, f"{self.kind} {what} {number}")


def random_motion(n: int, generator: torch.Generator) -> torch.Tensor:
    """``(n, len(MOTION))``: one half as in conversation, the other over the columns' whole ranges; everything moves at
    once, lips are not pursed and smiling together, and eyes mostly blink together.
    """

    def uniform(low: float, high: float) -> torch.Tensor:
        return low + (high - low) * torch.rand(n, generator=generator)

    def either(wide: torch.Tensor, spread: float) -> torch.Tensor:
        return torch.where(calm, spread * torch.randn(n, generator=generator), wide)

    calm = uniform(0, 1) < 0.5
    columns = {name: uniform(*RANGES[name]) for name in MOTION}
    spreads = {"yaw": 12, "pitch": 7, "roll": 6, "tx": 0.02, "ty": 0.015, "scale": 0.03, "gaze_x": 0.4, "gaze_y": 0.3}
    columns |= {name: either(columns[name], spread) for name, spread in spreads.items()}
    columns["mouth_open"] = torch.where(uniform(0, 1) < 0.15, torch.zeros(n), uniform(0, 1) ** 1.5)
    columns["mouth_width"] = either(columns["mouth_width"], 0.35)
    columns["smile"] = either(columns["smile"], 0.4)
    columns["mouth_round"] = uniform(-1, 1).clamp(min=0) * (1 - 0.7 * columns["smile"].clamp(0, 1))
    raised, frown, shut = either(uniform(-1, 1), 0.25), uniform(-1, 1).clamp(min=0), uniform(-1, 1).clamp(min=0)
    alone = uniform(0, 1) < 0.2
    for side in "lr":
        columns[f"brow_raise_{side}"] = raised + either(uniform(-0.4, 0.4), 0.05)
        columns[f"brow_furrow_{side}"] = (frown + uniform(-0.2, 0.2)) * (frown > 0)
        columns[f"blink_{side}"] = torch.where(alone, uniform(-1, 1).clamp(min=0), shut + uniform(-0.05, 0.05))
    return torch.stack([columns[name].clamp(*RANGES[name]) for name in MOTION], 1)


def people(n: int, generator: torch.Generator) -> Identity:
    return sample_identity(generator, n)


def draw_frames(recipe: Recipe, number: int) -> dict[str, np.ndarray]:
    """One shard: ``frames`` (n, 128, 128, 3) uint8, ``landmarks`` (n, 68, 2) in [0, 1] of the frame, ``motion`` (n, 18)
    and ``identity`` (n, F). One frame in eight is drawn at 256 and shrunk, one shard in three with less detail.
    """
    generator = torch.Generator().manual_seed(recipe.seed_of(number, "people"))
    who, motion = people(FRAMES, generator), random_motion(FRAMES, generator)
    parts = []
    for at in range(0, FRAMES, _CHUNK):
        size = 2 * FRAME if (at // _CHUNK) % 8 == 7 else FRAME
        detail = 1.0 if (at // _CHUNK) % 3 else float(torch.rand(1, generator=generator))
        rows = slice(at, at + _CHUNK)
        parts.append(_pictures(who.pick(rows), motion[rows], size, detail))
    frames, points = (np.concatenate(part) for part in zip(*parts, strict=True))
    return {"frames": frames, "landmarks": points, "motion": motion.numpy(), "identity": who.values.numpy()}


def draw_clips(recipe: Recipe, number: int) -> dict[str, np.ndarray]:
    """One shard: ``crops`` (n, LENGTH, h, w, 3) uint8 round the true mouth, ``audio`` (n, LENGTH * 640) float16 and
    ``motion`` (n, LENGTH, 18). Every clip shows another person with another voice.
    """
    drawn = [_clip(recipe, number * CLIPS + i) for i in range(CLIPS)]
    sound = synthesize([clip[2] for clip in drawn])[:, : LENGTH * SAMPLES_PER_FRAME]
    return {
        "crops": np.stack([clip[0] for clip in drawn]),
        "motion": np.stack([clip[1] for clip in drawn]),
        "audio": sound.numpy().astype(np.float16),
    }


def spoken(recipe: Recipe, number: int, seconds: float) -> tuple[Identity, scripts.Script]:
    """The person and the script of one clip, before anything is drawn."""
    who = people(1, torch.Generator().manual_seed(recipe.seed_of(number, "person")))
    rng = scripts.clip_rng(recipe.seed, recipe.split, f"{recipe.kind} {number}", 0)
    speaker = scripts.speaker_of(recipe.seed, recipe.split, f"{recipe.kind} {number}")
    return who, scripts.draw(rng, seconds, speaker)


def _clip(recipe: Recipe, number: int):
    who, script = spoken(recipe, number, LENGTH / FPS)
    motion = torch.from_numpy(script.motion(np.arange(LENGTH) / FPS))
    crops = []
    for at in range(0, LENGTH, _CHUNK):
        rows = motion[at : at + _CHUNK]
        frames, points = _pictures(who.pick([0] * len(rows)), rows, FRAME, 1.0)
        frames = torch.from_numpy(frames).permute(0, 3, 1, 2).float()
        crops.append(mouth_crops(frames, torch.from_numpy(points), STORED).round().byte().permute(0, 2, 3, 1).numpy())
    return np.concatenate(crops), motion.numpy(), script.utterance


def _pictures(who: Identity, motion: torch.Tensor, size: int, detail: float) -> tuple[np.ndarray, np.ndarray]:
    with torch.inference_mode():
        drawn = render(who, motion, size=size, detail=detail, chunk=_CHUNK)
        frames = drawn.frames.clamp(0, 1)
        if size != FRAME:
            frames = torch.nn.functional.avg_pool2d(frames, size // FRAME)
        pictures = (frames * 255).round().byte().permute(0, 2, 3, 1)
        return pictures.numpy(), ((drawn.landmarks + 0.5) / size).numpy().astype(np.float32)


def shard_path(folder: Path, kind: str, number: int) -> Path:
    return folder / f"{kind}-{number:05d}.npz"


def write_shard(folder: Path, recipe: Recipe, number: int) -> Path:
    """Draw one shard unless it is there; a shard appears whole or not at all."""
    path = shard_path(folder, recipe.kind, number)
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        arrays = {"frames": draw_frames, "clips": draw_clips}[recipe.kind](recipe, number)
        part = folder / f".{uuid.uuid4().hex}.part"
        try:
            with part.open("wb") as file:
                np.savez(file, **arrays)
            os.replace(part, path)
        finally:
            part.unlink(missing_ok=True)
    return path


def read_set(folder: Path, kind: str, most: int | None = None) -> dict[str, np.ndarray]:
    """All shards of a set in one dict of arrays. ValueError where there is none."""
    paths = sorted(folder.glob(f"{kind}-*.npz"))[:most]
    if not paths:
        raise ValueError(f"{folder}: holds no {kind}; draw some with: python -m metrics.puppets draw {kind} --out DIR")
    shards = []
    for path in paths:
        with np.load(path, allow_pickle=False) as archive:
            shards.append({name: archive[name] for name in archive.files})
    return {name: np.concatenate([shard[name] for shard in shards]) for name in shards[0]}


__all__ = ["Recipe", "draw_clips", "draw_frames", "index", "random_motion", "read_set", "spoken", "write_shard"]
