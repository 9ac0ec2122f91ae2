"""The log of a run: one JSON line a report, TensorBoard where it is installed, and grids of samples as PNG."""

from __future__ import annotations

import json
import os
import struct
import sys
import time
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fctfg.train.distributed import World


class Averages:
    """Means of the losses since the last report, added up on the device; the same on every process at the report."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.sums: dict[str, Tensor] = {}

    def add(self, values: Mapping[str, Tensor]) -> None:
        for name, value in values.items():
            pair = torch.stack([value.detach().float(), torch.ones((), device=value.device)])
            self.sums[name] = self.sums[name] + pair if name in self.sums else pair

    def take(self) -> dict[str, float]:
        """Their means, over processes too; begins anew. Waits for the device."""
        if not self.sums:
            return {}
        rows = self.world.mean(torch.stack(list(self.sums.values()))).cpu()
        means = dict(zip(self.sums, (rows[:, 0] / rows[:, 1]).tolist(), strict=True))
        self.sums = {}
        return means

    def state(self) -> dict[str, Tensor]:
        """For a checkpoint between two reports: the sums as the means over processes."""
        if not self.sums:
            return {}
        rows = self.world.mean(torch.stack(list(self.sums.values())))
        return {f"log.{name}": row.clone() for name, row in zip(self.sums, rows, strict=True)}

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        self.sums = {k.removeprefix("log."): v.to(self.world.device) for k, v in tensors.items() if k[:4] == "log."}


class Log:
    """``log.jsonl`` in ``folder``, TensorBoard files beside it, a progress bar, and lines on stderr.

    ``start``: the step the run goes on from; lines of later steps, of a run that was killed after its last checkpoint,
    are cut off. Silent unless this is the first process.
    """

    def __init__(self, folder: Path, world: World, start: int, steps: int, label: str) -> None:
        self.active, self.folder = world.first, folder
        self.board = self.bar = None
        self.started, self.at = time.monotonic(), start
        self.steps = steps
        if self.active:
            self.file = folder / "log.jsonl"
            cut_back(self.file, start)
            self.board = _board(folder / "tensorboard", start)
            self.bar = _bar(steps, label)
            self.bar.update(start)

    def report(self, step: int, values: Mapping[str, float], **more: Any) -> None:
        """One line: ``step``, ``values`` and ``more``. The line is on the disk when this returns."""
        if not self.active:
            return
        with self.file.open("a") as file:
            file.write(json.dumps({"step": step, **values, **more}) + "\n")
            file.flush()
            os.fsync(file.fileno())
        if self.board:
            for name, value in {**values, **more}.items():
                if isinstance(value, int | float):
                    self.board.add_scalar(name, value, step)
        shown = "  ".join(f"{name} {value:.4g}" for name, value in values.items())
        if sys.stderr.isatty():
            self.bar.set_postfix_str(shown)
        else:
            print(f"step {step}/{self.steps}  {shown}", file=sys.stderr, flush=True)

    def speed(self, step: int, frames: int) -> dict[str, float]:
        """Frames a second since the last call, seconds left, memory; ``frames`` a step of the whole world."""
        now = time.monotonic()
        seconds, done = max(now - self.started, 1e-9), step - self.at
        self.started, self.at = now, step
        left = (self.steps - step) * seconds / max(done, 1)
        return {"frames_per_s": round(frames * done / seconds, 2), "s_left": round(left), "memory_mb": _memory()}

    def step(self) -> None:
        """One step further on the progress bar."""
        if self.active:
            self.bar.update(1)

    def picture(self, step: int, pictures: Tensor, columns: int = 4) -> None:
        """A grid of ``pictures`` (N, 3, S, S) in [-1, 1] as ``samples/step-N.png``, and on TensorBoard."""
        if not self.active:
            return
        image = grid(pictures, columns)
        place = self.folder / "samples" / f"step-{step:08d}.png"
        place.parent.mkdir(exist_ok=True)
        place.write_bytes(png(image))
        if self.board:
            self.board.add_image("samples", image, step)

    def say(self, text: str) -> None:
        """A line for the person who watches."""
        if self.active:
            self.bar.clear()
            print(text, file=sys.stderr, flush=True)

    def close(self) -> None:
        if self.active:
            self.bar.close()
        if self.board:
            self.board.close()


def cut_back(file: Path, step: int) -> None:
    """Keep the lines up to ``step``; a torn last line goes too."""
    if not file.exists():
        return
    kept = []
    for line in file.read_text().splitlines(keepends=True):
        try:
            if json.loads(line)["step"] <= step and line.endswith("\n"):
                kept.append(line)
        except ValueError:
            break
    partial = file.with_name(".log.jsonl.partial")
    partial.write_text("".join(kept))
    os.replace(partial, file)


def grid(pictures: Tensor, columns: int | None = None) -> Tensor:
    """(N, 3, S, S) in [-1, 1] -> one picture (3, H, W) uint8, about square unless ``columns`` is given."""
    n, _, height, width = pictures.shape
    columns = columns or max(int(n**0.5 + 0.999), 1)
    rows = -(-n // columns)
    tiles = pictures.float().clamp(-1, 1).add(1).mul(127.5).round().byte().cpu()
    whole = torch.zeros(rows * columns, 3, height, width, dtype=torch.uint8)
    whole[:n] = tiles
    whole = whole.view(rows, columns, 3, height, width).permute(2, 0, 3, 1, 4)
    return whole.reshape(3, rows * height, columns * width)


def png(image: Tensor) -> bytes:
    """A PNG file of (3, H, W) uint8. The format is small enough that no library is needed for it (RFC 2083)."""
    _, height, width = image.shape
    lines = torch.zeros(height, 1 + 3 * width, dtype=torch.uint8)  # each line begins with its filter, 0: none
    lines[:, 1:] = image.permute(1, 2, 0).reshape(height, 3 * width)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = zlib.compress(lines.numpy().tobytes(), 6)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


class _NoBar:
    """Where tqdm is not installed."""

    def update(self, n: int) -> None: ...
    def set_postfix_str(self, text: str) -> None: ...
    def clear(self) -> None: ...
    def close(self) -> None: ...


def _bar(steps: int, label: str) -> Any:
    from fctfg import progress

    try:
        return progress.bar(steps, label, "step")
    except ImportError:
        return _NoBar()


def _board(folder: Path, start: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder), purge_step=start + 1)


def _memory() -> int:
    """The most memory in use so far, MB: the GPU's where there is one, else the process's."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() // 2**20
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak // (2**20 if sys.platform == "darwin" else 2**10)
