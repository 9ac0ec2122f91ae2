"""Real clips for training: VoxCeleb2, or crops prepared from it, read as they are needed."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path

import numpy as np
import torch

from fctfg import media, parallel
from fctfg.data.clips import DataError
from fctfg.nets.mel import mel, windows_at
from fctfg.nets.sync_expert import FRAMES
from fctfg.train.clip_index import Index, index, say
from fctfg.train.data import SPLITS, SyncWindows, Windows, key, least_frames, places, settled, uniform


class ClipData:
    """A ``fctfg.train.data.Source`` of clips from a folder; see ``clip_index.find`` for the layouts.

    Pictures are read at 25 frames per second, only those that are needed, and resized as wholes to ``size`` x ``size``
    with ``fctfg.media``'s filter; clips are decoded in ``workers`` threads. The spectrograms of whole clips are kept,
    the last used ones, up to ``memory`` bytes.

    ``split``: "held-out" is a fiftieth of the people, at least one, chosen by their names; "train" the others; None
    all. ``clips``: only the first so many. ``source``: "random" or "first" frame of the clip. ``rule``: where a frame's
    window of sound begins (``fctfg.nets.mel.first_column``, A23). ``cache``: folder for the index.

    A clip that cannot be read is reported in one line and counted, and the sample comes from the next clip instead:
    which one depends on the files alone, so a run that is resumed reads the same. Once more than ``tolerated`` of the
    clips are broken, DataError.
    """

    def __init__(
        self,
        root: str | os.PathLike,
        layout: str,
        size: int,
        device: torch.device | str = "cpu",
        seed: int = 0,
        split: str | None = "train",
        window: int = FRAMES,
        source: str = "random",
        clips: int | None = None,
        rule: str = "training",
        cache: str | os.PathLike | None = None,
        workers: int = 0,
        memory: int = 256 << 20,
        tolerated: float = 0.01,
        report: Callable[[str], None] = say,
    ):
        if split not in (*SPLITS, None):
            raise ValueError(f"unknown split {split!r}; use {' or '.join(SPLITS)}")
        self.size, self.device, self.seed, self.split = size, settled(device), seed, split
        self.window, self.source, self.workers = window, source, workers
        self.tolerated, self.report, self.rule = tolerated, report, rule
        found = index(root, layout, least_frames(window), cache, workers, report)
        self.broken = {line.partition(":")[0]: line for line in found.broken}
        self._all = len(found.clips) + len(found.broken)
        self._lock = threading.Lock()
        self._stop_if_too_many()
        self.index = _split(found, split)
        if clips is not None:
            self.index = self.index.pick(range(min(clips, len(self.index.clips))))
        self._spectrograms = _Recent(memory)

    def describe(self) -> dict[str, object]:
        """``clips``: ids and lengths, as one hash."""
        listed = "\n".join(f"{c.id} {n}" for c, n in zip(self.index.clips, self.index.n_frames, strict=True))
        digest = sha256(listed.encode()).hexdigest()
        names = ("seed", "split", "size", "window", "source", "rule")
        return {"data": str(self.index.root), "n_clips": len(self.index.clips), "clips": digest} | {
            name: getattr(self, name) for name in names
        }

    def frames(self, indices: Sequence[int]) -> torch.Tensor:
        """(n, 3, S, S) in [-1, 1]: random frames of random clips."""
        draws = uniform(key(self.seed, self.split, "frames"), indices, 2)

        def read(row: int, clip: int) -> dict[str, np.ndarray]:
            frame = int(draws[row, 0] * self.index.n_frames[clip])
            return {"frames": self._read(clip, frame, frame + 1)[0]}

        return self._pictures(self._samples(draws[:, 1], read)["frames"])

    def windows(self, indices: Sequence[int]) -> Windows:
        made = self._moments(indices, self.window, with_source=True)
        pictures = ("source", "driving")
        return Windows(**{k: self._pictures(v) if k in pictures else self._there(v) for k, v in made.items()})

    def sync(self, indices: Sequence[int]) -> SyncWindows:
        made = self._moments(indices, FRAMES, with_source=False)
        return SyncWindows(**{k: self._pictures(v) if k == "driving" else self._there(v) for k, v in made.items()})

    def _moments(self, indices: Sequence[int], window: int, with_source: bool) -> dict[str, np.ndarray]:
        draws = uniform(key(self.seed, self.split, "windows"), indices, 4)

        def read(row: int, clip: int) -> dict[str, np.ndarray]:
            at = places(draws[row : row + 1, :3], np.array([clip]), self.index.n_frames[[clip]], window, self.source)
            start, source = int(at.start[0]), int(at.source[0])
            heard = self._spectrogram(clip)[None]
            one = torch.tensor([start])
            sample = {
                "driving": self._read(clip, start, start + window),
                "mel_window": windows_at(heard, one, rule="sync")[0].numpy(),
                "wrong_window": windows_at(heard, torch.from_numpy(at.wrong), rule="sync")[0].numpy(),
            }
            if with_source:
                sample["source"] = self._read(clip, source, source + 1)[0]
                sample["mels"] = windows_at(heard, one[:, None] + torch.arange(window), rule=self.rule)[0].numpy()
            return sample

        return self._samples(draws[:, 3], read)

    def _samples(self, choice: np.ndarray, read: Callable[[int, int], dict]) -> dict[str, np.ndarray]:
        """``read(row, clip)`` for every row of a batch, stacked; ``choice`` (n,) in [0, 1) says the clip."""
        count = len(self.index.clips)

        def whole(row: int) -> tuple[int, dict]:
            first = int(choice[row] * count)
            for clip in (*range(first, count), *range(first)):
                try:
                    return row, read(row, clip)
                except media.MediaError as error:
                    self._note(clip, str(error))
            raise DataError(f"{self.index.root}: none of its clips can be read; see the lines above")

        rows = dict(parallel.results(whole, range(len(choice)), self.workers))
        return {name: np.stack([rows[i][name] for i in range(len(rows))]) for name in rows[0]} if rows else {}

    def _note(self, clip: int, line: str) -> None:
        """Report a broken clip once, and stop when there are too many."""
        name = str(self.index.root / self.index.clips[clip].video)
        with self._lock:
            if name not in self.broken:
                self.broken[name] = line
                self.report(f"broken, the next clip stands in ({len(self.broken)} of {self._all} so far): {line}")
            self._stop_if_too_many()

    def _stop_if_too_many(self) -> None:
        if len(self.broken) > self.tolerated * self._all:
            raise DataError(
                f"{len(self.broken)} of {self._all} clips cannot be read, more than {self.tolerated:.0%}; "
                f"mend or remove them, beginning with: {next(iter(self.broken.values()))}"
            )

    def _read(self, clip: int, start: int, stop: int) -> np.ndarray:
        """(stop - start, S, S, 3) uint8. Raises MediaError, also for fewer frames than the header promised."""
        path = self.index.root / self.index.clips[clip].video
        size = (self.size, self.size)
        parts = list(media.iter_video(path, size=size, start=start, stop=stop, chunk=stop - start))
        frames = np.concatenate(parts)
        if len(frames) < stop - start:
            raise media.MediaError(path, f"ends before its frame {stop - 1}", "copy or download it again")
        return frames

    def _spectrogram(self, clip: int) -> torch.Tensor:
        heard = self._spectrograms.get(clip)
        if heard is None:
            what = self.index.clips[clip]
            path: Path = self.index.root / (what.audio or what.video)
            heard = mel(torch.from_numpy(media.read_audio(path)))
            self._spectrograms.put(clip, heard)
        return heard

    def _there(self, values: np.ndarray) -> torch.Tensor:
        tensor = torch.from_numpy(values)
        if self.device.type == "cuda":
            tensor = tensor.pin_memory()
        return tensor.to(self.device, non_blocking=True)

    def _pictures(self, frames: np.ndarray) -> torch.Tensor:
        """(..., S, S, 3) uint8 -> (..., 3, S, S) float in [-1, 1], on the device."""
        return (self._there(frames).movedim(-1, -3).float() / 127.5 - 1).contiguous()


def _split(found: Index, split: str | None) -> Index:
    if split is None:
        return found
    people = sorted({c.identity for c in found.clips}, key=lambda name: sha256(name.encode()).digest())
    if len(people) < 2:
        raise DataError(f"{found.root}: has one person only, so none can be held out; add clips of others")
    held_out = set(people[: max(1, round(len(people) / 50))])
    wanted = split == "held-out"
    return found.pick(i for i, clip in enumerate(found.clips) if (clip.identity in held_out) == wanted)


class _Recent:
    """The last used tensors, up to a number of bytes; safe between threads."""

    def __init__(self, most: int):
        self.most, self.held = most, 0
        self._kept: OrderedDict[int, torch.Tensor] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, name: int) -> torch.Tensor | None:
        with self._lock:
            if name in self._kept:
                self._kept.move_to_end(name)
            return self._kept.get(name)

    def put(self, name: int, value: torch.Tensor) -> None:
        with self._lock:
            if name in self._kept:
                return
            self._kept[name] = value
            self.held += value.nbytes
            while self.held > self.most:
                self.held -= self._kept.popitem(last=False)[1].nbytes
