"""Frames and sound in pieces: what lets an hour of video pass through in the memory of a few seconds of it."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from fctfg.nets import mel

Item = TypeVar("Item")

#: columns of a piece of spectrogram that its cut ends spoil: half a window of 800 samples and one of pre-emphasis
_SPOILT = 3


def ahead(items: Iterable[Item], depth: int = 2) -> Iterator[Item]:
    """``items``, worked out in a thread of their own, at most ``depth`` of them before they are asked for.

    An error there is raised here, in its place. Leaving the iteration early ends the thread after the item in work.
    """
    waiting: queue.Queue[tuple[Item | None, BaseException | None]] = queue.Queue(depth)
    left = threading.Event()

    def put(item: Item | None, error: BaseException | None = None) -> bool:
        while not left.is_set():
            try:
                waiting.put((item, error), timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    end: Any = object()

    def work() -> None:
        source = iter(items)
        try:
            for item in source:
                if not put(item):
                    return
            put(end)
        except BaseException as error:
            put(None, error)
        finally:
            # Generators close their files where they ran, not whenever the garbage collector comes by.
            close = getattr(source, "close", None)
            if close is not None:
                close()

    thread = threading.Thread(target=work, daemon=True, name="ahead")
    thread.start()
    try:
        while True:
            item, error = waiting.get()
            if error is not None:
                raise error
            if item is end:
                return
            yield item
    finally:
        left.set()
        thread.join()


def rechunked(blocks: Iterable[Any], size: int, join: Callable[[Sequence[Any]], Any]) -> Iterator[Any]:
    """The rows of ``blocks`` in blocks of ``size``, the last one maybe shorter. ``join``: concatenation."""
    held: list[Any] = []
    count = 0
    for block in blocks:
        while len(block):
            taken = block[: size - count]
            held.append(taken)
            count += len(taken)
            block = block[len(taken) :]
            if count == size:
                yield held[0] if len(held) == 1 else join(held)
                held, count = [], 0
    if held:
        yield held[0] if len(held) == 1 else join(held)


def limited(blocks: Iterable[Any], total: int) -> Iterator[Any]:
    """The first ``total`` rows of ``blocks``; asks for no block that is not needed."""
    for block in blocks if total > 0 else ():
        yield block[:total]
        total -= len(block)
        if total <= 0:
            return


def to_and_fro(blocks: Iterable[Tensor], total: int) -> Iterator[Tensor]:
    """``total`` rows: ``blocks`` forwards, then backwards, then forwards ..., the end rows once at each turn.

    All rows are kept: for codes, which are small, not for frames.
    """
    kept: list[Tensor] = []
    count = 0
    for block in limited(blocks, total):
        kept.append(block)
        count += len(block)
        yield block
    if not kept or count >= total:
        return
    rows = torch.cat(kept)
    period = max(2 * (count - 1), 1)
    for start in range(count, total, count):
        place = torch.arange(start, min(start + count, total), device=rows.device) % period
        yield rows[torch.minimum(place, period - place).clamp(max=count - 1)]


class SoundWindows:
    """The mel windows that belong to video frames at 25 fps, worked out as they are asked for.

    Equal to ``mel_windows(mel(audio), ...)``; the spectrogram of an hour at once would take gigabytes. ``audio``: (N,)
    float in [-1, 1] at 16 kHz; None: silence. ``rule``: see ``mel.first_column`` (A23).
    """

    def __init__(self, audio: np.ndarray | None, rule: str = "training") -> None:
        self.audio = np.zeros(0, np.float32) if audio is None else audio
        self.rule = rule
        self.columns = 1 + len(self.audio) // mel.HOP

    def __call__(self, first: int, n_frames: int, device: torch.device | str = "cpu") -> Tensor:
        """The windows of frames ``first`` to ``first + n_frames`` (exclusive): (n_frames, 1, 80, 16)."""
        begin = mel.first_column(torch.arange(first, first + n_frames), rule=self.rule)
        if self.rule == "inference":  # the window is moved back, so that it ends with the sound
            begin = begin.clamp(max=max(self.columns - mel.WINDOW_COLUMNS, 0))
        places = begin[:, None] + torch.arange(mel.WINDOW_COLUMNS)
        low = min(max(0, int(places[0, 0]) - _SPOILT), self.columns)
        high = min(int(places[-1, -1]) + 1 + _SPOILT, self.columns)
        inside = (places >= 0) & (places < self.columns)
        if high <= low or not inside.any():
            return torch.full((n_frames, 1, mel.N_MELS, mel.WINDOW_COLUMNS), float(mel.SILENCE), device=device)
        stop = len(self.audio) if high == self.columns else high * mel.HOP
        piece = torch.from_numpy(np.asarray(self.audio[low * mel.HOP : stop], np.float32)).to(device)
        spectrogram = mel.mel(piece)
        index = (places - low).clamp(0, spectrogram.shape[-1] - 1).to(device)
        picked = spectrogram.t()[index].transpose(1, 2)[:, None]
        return torch.where(inside[:, None, None].to(device), picked, float(mel.SILENCE))
