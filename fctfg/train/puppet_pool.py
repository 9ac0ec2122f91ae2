"""The clips that training draws its puppets from: how the head moves in each, and what is heard.

A clip's script and voice cost some 40 ms of processor time, drawing its frames costs the device: so scripts and
spectrograms are drawn once, on all cores, into a pool that is kept in a file.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import uuid
from collections.abc import Iterator
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from fctfg import parallel
from fctfg.data.clips import FPS, DataError
from fctfg.data.puppets import articulation, motion, phonemes, script, utterance, voice
from fctfg.nets import mel as mels
from fctfg.train import cache
from fctfg.train.data import key

SECONDS = 4.0
_ALONE = 64  # up to so many clips, starting processes costs more than they save
_MADE_BY = (articulation, motion, phonemes, script, utterance, voice, mels)


@dataclass(frozen=True)
class Pool:
    """N clips: ``motion`` (N, frames, len(MOTION)) at 25 per second, ``mels`` (N, 80, columns), both float32."""

    motion: torch.Tensor
    mels: torch.Tensor

    def to(self, device: torch.device) -> Pool:
        return Pool(self.motion.to(device), self.mels.to(device))


def stream(seed: int, split: str, *what: object) -> int:
    """64 bits for one purpose. Bit 1 is never set, so no seed here is one of the test puppets' (see ``script``), and
    bit 2 tells held-out from training: the three populations share nobody and no clip, whatever the seed.
    """
    return key("puppet pool", seed, split, *what) & ~0b110 | (0b100 if split == "held-out" else 0)


def pool(seed: int, split: str, clips: int, folder: str | os.PathLike | None = None, workers: int = 0) -> Pool:
    """The first ``clips`` clips of a seed and split, from the cache ``folder``, or drawn into it by ``workers``
    processes (0: one per core) with a progress bar. The file's name tells seed, split, number and the code that draws.

    Raises DataError when the folder cannot be written or a worker is killed.
    """
    where = cache.folder(folder, "puppets")
    path = where / f"{split}-seed{seed}-{clips}x{SECONDS:g}s-{_version()}.safetensors"
    with cache.alone(path):
        if not path.is_file():
            _save(_drawn(seed, split, clips, workers or parallel.default_workers()), path)
        tensors = load_file(path)
    return Pool(tensors["motion"], tensors["mels"])


def _version() -> str:
    """Changes with the code that draws, so that a cached pool is never another version's."""
    digest = hashlib.sha256()
    for module in _MADE_BY:
        digest.update(Path(module.__file__).read_bytes())
    return digest.hexdigest()[:12]


def _save(drawn: Pool, path: Path) -> None:
    temporary = path.with_name(f".{uuid.uuid4().hex}.part")
    try:
        save_file({"motion": drawn.motion, "mels": drawn.mels}, temporary)
        temporary.replace(path)
    except OSError as error:
        raise DataError(f"{path}: cannot be written ({error.strerror}); name another cache folder") from None
    finally:
        temporary.unlink(missing_ok=True)


def _drawn(seed: int, split: str, clips: int, workers: int) -> Pool:
    motions, spectrograms = [], []
    try:
        with _bar(clips) as bar:
            for moved, heard in _results([(seed, split, i) for i in range(clips)], workers):
                motions.append(moved)
                spectrograms.append(heard)
                bar.update()
    except BrokenExecutor:
        raise DataError("a process drawing puppets was killed, perhaps for memory; use fewer workers") from None
    return Pool(torch.from_numpy(np.stack(motions)), torch.from_numpy(np.stack(spectrograms)))


def _results(jobs: list[tuple], workers: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    if workers == 1 or len(jobs) <= _ALONE:
        yield from map(draw_clip, jobs)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=parallel.start_worker) as processes:
        yield from processes.map(draw_clip, jobs, chunksize=8)


def draw_clip(job: tuple[int, str, int]) -> tuple[np.ndarray, np.ndarray]:
    """Clip number i of (seed, split, i): motion (frames, M) and spectrogram (80, columns), float32. The same clip in a
    pool of any size.
    """
    seed, split, i = job
    speaker = utterance.sample_speaker(np.random.Generator(np.random.Philox(stream(seed, split, "voice", i))))
    told = script.draw(np.random.Generator(np.random.Philox(stream(seed, split, "clip", i))), SECONDS, speaker)
    moved = told.motion(np.arange(round(SECONDS * FPS)) / FPS)
    return moved, np.ascontiguousarray(mels.mel(voice.synthesize([told.utterance])[0]).numpy())


class _NoBar:
    def update(self) -> None:
        """Nobody is watching."""


def _bar(clips: int):
    try:
        from fctfg import progress

        return progress.bar(clips, "puppets' scripts and voices", "clip")
    except ModuleNotFoundError:  # a machine with torch and little else, where tqdm is not
        return nullcontext(_NoBar())
