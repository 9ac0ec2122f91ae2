"""A recipe and data small enough to train on one thread within a test: 32 x 32 pictures, some channels.

python tests/tiny_training.py      # record tests/golden/train_fctfg.csv anew, after a change that is meant
"""

from __future__ import annotations

import csv
import dataclasses
import itertools
import json
import multiprocessing
import os
import socket
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch

from fctfg import recipes
from fctfg.train import distributed, launch, predecessors
from fctfg.train.context import Context
from fctfg.train.fctfg import FCTFGStage
from fctfg.train.loop import Every

GOLDEN = Path(__file__).parent / "golden" / "train_fctfg.csv"
GOLDEN_STEPS = 20
STAGES = ("stylegan2", "inversion", "sync-expert", "fctfg")
TINY = (
    "generator.size=32",
    "generator.style_dim=16",
    "generator.mapping_layers=2",
    "generator.channel_multiplier=0.0078125",
    "generator.channel_max=8",
    "encoder.units=1,1,1,1",
    "encoder.widths=4,8,8,8",
    "encoder.stem=4",
    "encoder.feature_width=8",
    "encoder.head_width=0",
    "encoder.size=0",
    "encoder.tile=1",
    "latent.hidden=16",
    "audio.width=0.03125",
    "sync_expert.width=0.03125",
    # so narrow an expert normalises eight numbers a channel: at its own rate, a change of the input by 1e-7 moves the
    # fourth step's loss by 6e-3, and rounding differs between machines and numbers of processes
    "sync_expert.rate=1e-6",
    "stylegan2.batch=8",
    "stylegan2.r1_every=4",
    "stylegan2.path_every=2",
    "inversion.batch=8",
    "sync_expert.batch=8",
    "fctfg.batch=4",
    "fctfg.gan_from=2",
    "losses.r1_every=3",
)


def recipe(*assignments: str) -> recipes.Recipe:
    return dataclasses.replace(recipes.override(recipes.demo(), *TINY, *assignments), name="tiny")


class Moving:
    """Coloured waves that move with a sound: every stage's batches, a function of (seed, step) and sample alone.

    ``pause``: seconds before each batch; ``broken``: the sample whose picture is not a number.
    """

    def __init__(self, stage, batch, rank=0, size=1, side=32, pause=0.0, broken=None) -> None:
        self.stage, self.batch, self.rank, self.size, self.side = stage, batch, rank, size, side
        self.pause, self.broken = pause, broken

    def batches(self, start: int):
        for step in itertools.count(start):
            time.sleep(self.pause)
            yield self._batch(range(step * self.batch + self.rank, (step + 1) * self.batch, self.size))

    def held_out(self):
        return [self._batch(range(10**6 + self.rank, 10**6 + self.batch, self.size))]

    def describe(self):
        return {"waves": self.side}

    def _batch(self, numbers) -> dict[str, torch.Tensor]:
        samples = [self._sample(n) for n in numbers]
        return {name: torch.stack([s[name] for s in samples]) for name in samples[0]}

    def _sample(self, number: int) -> dict[str, torch.Tensor]:
        random = torch.Generator().manual_seed(number)
        colour, phase = torch.rand(3, 1, 1, generator=random) * 2 - 1, torch.rand(6, generator=random) * 6
        axis = torch.linspace(-3, 3, self.side)

        def picture(shift):
            wave = torch.sin(axis[None, :] * 2 + shift) * torch.cos(axis[:, None] + shift)
            return (colour * 0.5 + 0.4 * wave[None]).clamp(-1, 1)

        frames = torch.stack([picture(p) for p in phase])
        if number == self.broken:
            frames[:, 0, 0, 0] = torch.nan
        bands, columns = torch.linspace(0, 3, 80)[:, None], torch.linspace(0, 1, 16)[None]
        mels = torch.stack([2 * torch.sin(bands * (1 + p) + columns) for p in phase])[:, None]
        if self.stage in ("stylegan2", "inversion"):
            return {"pictures": frames[0]}
        heard = mels[:5].mean(0)
        sync = {"driving": frames[:5], "mel_window": heard, "wrong_window": heard.flip(1)}
        return sync if self.stage == "sync-expert" else {**sync, "source": frames[5], "mels": mels[:5]}


def train(
    stage,
    out,
    steps,
    *assignments,
    every=(1, 100, 100, 100),
    world=None,
    precision="fp32",
    apart=0,
    start_from=None,
    **data,
) -> bool:
    """Train a stage of the tiny recipe; what ``launch`` returns. ``data``: for ``Moving``."""
    torch.set_num_threads(1)
    section = stage.replace("-", "_")
    wanted = recipe(f"{section}.steps={steps}", *assignments)
    world = world or distributed.World(torch.device("cpu"))
    source = Moving(stage, getattr(wanted, section).batch, world.rank, world.size, wanted.generator.size, **data)
    options = launch.Options(Path(out), precision=precision, every=Every(*every), apart=apart, start_from=start_from)
    return launch.launch(stage, wanted, source, world, options)


def context(precision="fp32") -> Context:
    return Context(distributed.World(torch.device("cpu")), precision=precision)


def in_hand(earlier, *assignments, kind=FCTFGStage, asked=None):
    """A stage of the tiny recipe upon the run ``earlier``; ``asked``: the stages that it looks for are put there."""
    wanted = recipe(*assignments)

    def find(name, sections):
        if asked is not None:
            asked.append(name)
        return predecessors.find(earlier, name, None, wanted, sections)

    torch.manual_seed(0)
    return kind(wanted, context(), find)


def earlier_stages(out, *assignments, steps=2) -> None:
    """What the last stage builds upon."""
    for stage in STAGES[:3]:
        assert train(stage, out, steps, *assignments)


def log(out, stage, name=None) -> list[dict]:
    """The lines of a stage's log that report losses, without what depends on the machine."""
    lines = map(json.loads, (Path(out) / stage / "log.jsonl").read_text().splitlines())
    machine = ("frames_per_s", "s_left", "memory_mb")
    return [{k: v for k, v in line.items() if k not in machine} for line in lines]


def processes():
    """A context in which processes start fast: torch is imported once."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["pytest", "fctfg.train.launch", "fctfg.train.stylegan2", "fctfg.train.fctfg"])
    return context


def child(stage, out, steps, assignments, keywords, environment=None) -> None:
    """``train`` in a process of its own, which may be one of several."""
    os.environ.update(environment or {})
    try:
        done = train(stage, out, steps, *assignments, world=distributed.start("cpu"), **keywords)
    finally:
        distributed.stop()
    sys.exit(0 if done else 75)


def together(size: int, target, *arguments) -> None:
    """``target(*arguments, environment)`` in ``size`` processes as ``torchrun`` would start them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    started = []
    for rank in range(size):
        place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": size, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        environment = {name: str(value) for name, value in place.items()}
        started.append(processes().Process(target=target, args=(*arguments, environment)))
    for process in started:
        process.start()
    for process in started:
        process.join(120)
    assert [p.exitcode for p in started] == [0] * size


def golden_losses() -> list[dict[str, float]]:
    """The losses of the first steps of the last stage, from the same start on every machine."""
    with tempfile.TemporaryDirectory() as out:
        earlier_stages(out)
        train("fctfg", out, GOLDEN_STEPS)
        lines = [line for line in log(out, "fctfg") if "total" in line]
    return [{k: v for k, v in line.items() if not k.startswith("rate.")} for line in lines]


def record() -> None:
    rows = golden_losses()
    names = list(dict.fromkeys(name for row in rows for name in row))
    GOLDEN.parent.mkdir(exist_ok=True)
    with GOLDEN.open("w", newline="") as file:
        writer = csv.DictWriter(file, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows({k: f"{v:.7g}" for k, v in row.items()} for row in rows)
    print(GOLDEN)


if __name__ == "__main__":
    record()
