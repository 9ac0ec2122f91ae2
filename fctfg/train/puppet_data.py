"""Puppets drawn as training asks for them, on the device that trains: nobody is ever seen twice.

Each sample is a person drawn for it alone, moving and heard as one of a pool of clips (``fctfg.train.puppet_pool``) at
a random time. So voice and look are drawn apart: a bearded man may speak with a child's voice, unlike in the puppets
that are written as files. Needs torch, numpy and safetensors alone.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Sequence
from functools import cached_property, lru_cache

import numpy as np
import torch
import torch.nn.functional as F

from fctfg.data.clips import FPS
from fctfg.data.puppets.face import render
from fctfg.data.puppets.identity import Identity, sample_identity
from fctfg.data.puppets.motion import MOTION, index
from fctfg.nets.mel import windows_at
from fctfg.nets.sync_expert import FRAMES
from fctfg.train.data import SPLITS, Places, SyncWindows, Windows, least_frames, places, settled, uniform
from fctfg.train.puppet_pool import SECONDS, pool, stream

LIPS = [index(name) for name in ("mouth_open", "mouth_width", "mouth_round")]  # what speech moves
#: what ``lively`` draws at random
UPPER = [
    index(name)
    for name in ("smile", "brow_raise_l", "brow_raise_r", "brow_furrow_l", "brow_furrow_r", "blink_l", "blink_r",
                 "gaze_x", "gaze_y")
]  # fmt: skip
#: what ``Windows.motion`` holds: all that another framing of the picture leaves as it is
SHOWN = [i for i, name in enumerate(MOTION) if name not in ("tx", "ty", "scale")]
_BLOCK = 4096  # people are drawn in blocks of so many sample numbers


class PuppetData:
    """A ``fctfg.train.data.Source`` of puppets.

    ``size``: pixels per side, at least 16; ``detail``: as in ``face.render``; ``split``: "train" or "held-out", which
    share no person and no clip (nor does either with the puppets written for tests); ``clips``: how many the pool
    holds; ``window``: driving frames per sample; ``source``: "random" or "first" frame of the clip; ``oversample``:
    draw so many times larger and average, nearer to pictures that went through a larger video, at that factor's square
    in time; ``cast``: each clip has one person, always the same, so that N clips show N people; ``rule``: where a
    frame's window of sound begins (``fctfg.nets.mel.first_column``, A23); ``cache``: folder for the pool; ``workers``:
    processes that draw it (0: one per core); ``other_lips``: the driving frames' lips are another moment's of the clip,
    and ``target`` shows those that belong to the sound; ``known``: windows tell what they show (``Windows.landmarks``,
    ``motion`` and ``person``); ``lively``: so many of the samples wear two looks that are drawn at random, over their
    whole range, one in the source picture and one in all driving frames: in the clips a gaze moves the iris by half a
    pixel of 128, and the brows belong to the mood of the clip.

    Raises ValueError for an unknown split and a window that the pool's clips are too short for.
    """

    def __init__(
        self,
        size: int,
        device: torch.device | str = "cpu",
        seed: int = 0,
        split: str = "train",
        detail: float = 1.0,
        clips: int = 200,
        window: int = FRAMES,
        source: str = "random",
        oversample: int = 1,
        cast: bool = False,
        rule: str = "training",
        cache: str | os.PathLike | None = None,
        workers: int = 0,
        other_lips: bool = False,
        known: bool = False,
        lively: float = 0.0,
    ):
        if split not in SPLITS:
            raise ValueError(f"unknown split {split!r}; use {' or '.join(SPLITS)}")
        if window < 1 or least_frames(window) > SECONDS * FPS:
            raise ValueError(f"a window of {window} frames does not fit the pool's clips of {SECONDS * FPS:.0f}")
        if not 0 <= lively <= 1:
            raise ValueError(f"lively {lively}: a share of the samples, from 0 to 1")
        self.size, self.device, self.seed, self.split = size, settled(device), seed, split
        self.detail, self.window, self.source, self.oversample = detail, window, source, oversample
        self.cast, self.rule, self.other_lips, self.known = cast, rule, other_lips, known
        self.lively = lively
        self.pool = pool(seed, split, clips, cache, workers).to(self.device)

    def at(self, size: int) -> PuppetData:
        """The same samples at another size, sharing the pool."""
        other = copy.copy(self)
        other.size = size
        return other

    def describe(self) -> dict[str, object]:
        names = ("seed", "split", "size", "detail", "window", "source", "oversample", "cast", "rule", "other_lips")
        names += ("lively",) * bool(self.lively)
        return {"data": "puppets", "clips": len(self.pool.motion)} | {name: getattr(self, name) for name in names}

    @torch.no_grad()
    def frames(self, indices: Sequence[int]) -> torch.Tensor:
        """(n, 3, S, S) in [-1, 1]: random moments of random clips."""
        draws = uniform(stream(self.seed, self.split, "frames"), indices, 2)
        clip, frame = (np.floor(draws * self.pool.motion.shape[:2]).astype(np.int64)).T
        who = self.people("frames", indices, clip)
        return self._drawn(who, self.pool.motion[self._there(clip), self._there(frame)])

    def places(self, indices: Sequence[int], window: int | None = None) -> Places:
        """Which clip and which of its frames ``windows`` (or, with a window of five, ``sync``) shows."""
        draws = uniform(stream(self.seed, self.split, "windows"), indices, 4)
        clips, frames = self.pool.motion.shape[:2]
        clip = np.floor(draws[:, 3] * clips).astype(np.int64)
        return places(draws[:, :3], clip, np.full(len(clip), frames), window or self.window, self.source)

    @torch.no_grad()
    def windows(self, indices: Sequence[int]) -> Windows:
        at = self.places(indices)
        clip, start = self._there(at.clip), self._there(at.start)
        frames = torch.arange(self.window, device=self.device).expand(len(clip), -1)
        shown = start[:, None] + frames
        moving = self._moving(indices, at, frames)
        who = self.people("windows", indices, at.clip)
        pictures = self._drawn(who, moving)
        driving, target = pictures[:, 1:], None
        if self.other_lips:
            moved, wrong = moving[:, 1:].clone(), self._there(at.wrong)[:, None] + torch.arange(self.window)
            moved[..., LIPS] = self.pool.motion[clip[:, None], wrong.to(self.device)][..., LIPS]
            driving, target = self._drawn(who, moved), driving
        heard = self.pool.mels[clip]
        return Windows(
            **(self.what_is_known(indices, frames) if self.known else {}),
            source=pictures[:, 0],
            driving=driving,
            target=target,
            mels=windows_at(heard, shown, rule=self.rule),
            mel_window=windows_at(heard, start, rule="sync"),
            wrong_window=windows_at(heard, self._there(at.wrong), rule="sync"),
        )

    @torch.no_grad()
    def sync(self, indices: Sequence[int]) -> SyncWindows:
        at = self.places(indices, FRAMES)
        start, heard = self._there(at.start), self.pool.mels[self._there(at.clip)]
        moving = self._moving(indices, at, torch.arange(FRAMES, device=self.device).expand(len(start), -1))[:, 1:]
        return SyncWindows(
            driving=self._drawn(self.people("windows", indices, at.clip), moving),
            mel_window=windows_at(heard, start, rule="sync"),
            wrong_window=windows_at(heard, self._there(at.wrong), rule="sync"),
        )

    @torch.no_grad()
    def what_is_known(self, indices: Sequence[int], frames: torch.Tensor) -> dict[str, torch.Tensor]:
        """``landmarks``, ``motion`` and ``person`` of ``Windows``, for ``frames`` (n, T), counted from their first."""
        at = self.places(indices)
        moving = self._moving(indices, at, frames)
        who = self.people("windows", indices, at.clip)
        mean, deviation = self._usual
        return {
            "landmarks": self._landmarks(who, moving[:, 1:]),
            "motion": (moving[..., SHOWN] - mean) / deviation,
            "person": (who.values * 3**0.5).to(self.device),  # factors are about uniform
        }

    @cached_property
    def _usual(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and standard deviation of ``SHOWN`` over the pool."""
        every = self.pool.motion[..., SHOWN].flatten(0, 1)
        return every.mean(0), every.std(0).clamp(min=0.01)

    def people(self, purpose: str, indices: Sequence[int], clip: np.ndarray) -> Identity:
        """The person of each sample (on the CPU): light, background and dress are part of it. ``purpose``: "frames" or
        "windows", whose samples of one number show different people; ``clip`` (n,): the clips' numbers.
        """
        if self.cast:
            purpose, indices = "cast", clip
        block, row = np.divmod(np.asarray(indices, np.int64), _BLOCK)
        values = torch.empty(len(block), _block(self.seed, self.split, purpose, 0).shape[1])
        for b in np.unique(block):
            chosen = torch.from_numpy(np.flatnonzero(block == b))
            values[chosen] = _block(self.seed, self.split, purpose, int(b))[torch.from_numpy(row)[chosen]]
        return Identity(values)

    def _there(self, numbers: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(numbers).to(self.device)

    def _moving(self, indices: Sequence[int], at: Places, frames: torch.Tensor) -> torch.Tensor:
        """Motion (n, 1 + T, M) of the source picture and of ``frames`` (n, T), counted from the window's first."""
        shown = torch.cat([self._there(at.source)[:, None], self._there(at.start)[:, None] + frames], 1)
        moving = self.pool.motion[self._there(at.clip)[:, None], shown]
        if self.lively:
            draws = uniform(stream(self.seed, self.split, "lively"), indices, 13)
            chosen = self._there(draws[:, 0] < self.lively)[:, None, None]
            looks = self._there(_looks(draws[:, 1:].reshape(-1, 2, 6)).astype(np.float32))
            looks = torch.cat([looks[:, :1], looks[:, 1:].expand(-1, frames.shape[1], -1)], 1)
            moving[..., UPPER] = torch.where(chosen, looks, moving[..., UPPER])
        return moving

    def _landmarks(self, who: Identity, motion: torch.Tensor) -> torch.Tensor:
        """(n, T, 68, 2) in fractions of the picture. They lie on the surface: the smallest picture has them, too."""
        people = Identity(who.values.to(self.device).repeat_interleave(motion.shape[1], 0))
        points = render(people, motion.flatten(0, 1), 16, 0.0, chunk=32).landmarks
        return ((points + 0.5) / 16).unflatten(0, motion.shape[:2])

    def _drawn(self, who: Identity, motion: torch.Tensor) -> torch.Tensor:
        """Pictures (n, ..., 3, S, S) of n people, ``motion`` (n, ..., M)."""
        each = motion[..., 0].numel() // len(motion)
        people = Identity(who.values.to(self.device).repeat_interleave(each, 0))
        size = self.size * self.oversample
        # On a GPU small pictures are drawn more at once, in the memory of 32 at 256: starting operations is what costs.
        chunk = None if self.device.type == "cpu" else max(32, min(512, int(32 * (256 / size) ** 2)))
        drawn = render(people, motion.flatten(0, -2), size, self.detail, chunk=chunk).frames
        if self.oversample > 1:
            drawn = F.avg_pool2d(drawn, self.oversample)
        return (drawn.clamp(0, 1) * 2 - 1).view(*motion.shape[:-1], 3, self.size, self.size)


def _looks(draws: np.ndarray) -> np.ndarray:
    """Uniform draws (..., 6) -> the columns ``UPPER`` (..., 9): both sides alike, brows drawn together in half of the
    looks, eyes more or less shut in a third.
    """
    smile, brows, furrow, shut, x, y = np.moveaxis(draws, -1, 0)
    brows, furrow, shut = 2 * brows - 1, np.maximum(2 * furrow - 1, 0), np.maximum(3 * shut - 2, 0)
    return np.stack([2 * smile - 1, brows, brows, furrow, furrow, shut, shut, 2 * x - 1, 2 * y - 1], -1)


@lru_cache(maxsize=8)
def _block(seed: int, split: str, purpose: str, number: int) -> torch.Tensor:
    """(4096, factors): one block's people. The seed is halved as ``script.identity_seed`` does."""
    return sample_identity(stream(seed, split, "people", purpose, number) >> 1, _BLOCK).values
