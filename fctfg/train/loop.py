"""The training loop of every stage.

A stage is a plain object (``Stage`` below lists what it has); its file is where the algorithm is read. What the loop
adds: going on where a run stopped, the log, samples, the held-out evaluation, checkpoints, and stopping in good order.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from fctfg.train import checkpoint
from fctfg.train.checkpoint import State
from fctfg.train.context import Context
from fctfg.train.distributed import rates
from fctfg.train.log import Averages, Log

Batch = dict[str, Tensor]


class Stage(Protocol):
    """What the loop needs of a stage."""

    nets: dict[str, nn.Module]  # what is trained
    ema: dict[str, nn.Module]  # their moving averages
    optimizers: dict[str, torch.optim.Optimizer]
    frames: int  # frames that a step of the global batch is made from, for the log's speed

    def step(self, batch: Batch, step: int) -> Mapping[str, Tensor]:
        """Forward, backward, optimizer steps, moving averages; returns detached losses, on the device."""

    def sample(self, batch: Batch) -> Tensor:
        """Pictures (N, 3, S, S) in [-1, 1] to look at, from held-out data."""

    def extra(self) -> dict[str, Tensor]:
        """What else must be kept to go on, or is wanted by later stages."""

    def load_extra(self, tensors: Mapping[str, Tensor]) -> None: ...

    # and, where there is something to be measured: evaluate(batch) -> dict of figures, the mean over a batch


class Data(Protocol):
    """Where batches come from: this process's rows of the global batch, a function of (seed, step) alone."""

    def batches(self, start: int) -> Iterator[Batch]:
        """The batches of steps ``start``, ``start`` + 1, ..."""

    def held_out(self) -> Sequence[Batch]:
        """Batches that are never trained on."""

    def describe(self) -> Mapping[str, object]:
        """What decides the samples' content, as plain data: a run goes on only where it is the same."""


@dataclass(frozen=True)
class Every:
    """After how many steps a report, a grid of samples, an evaluation, a checkpoint; 0: after the last one only."""

    report: int = 50
    sample: int = 1000
    evaluate: int = 1000
    checkpoint: int = 1000

    def due(self, done: int) -> bool:
        """Whether anything is, after ``done`` steps."""
        return any(_due(done, n) for n in (self.report, self.sample, self.evaluate, self.checkpoint))


class NotFinite(RuntimeError):
    """A loss or gradient was not finite; the message is one line with step, process and samples."""


def train(
    stage: Stage,
    data: Data,
    folder: Path,
    state: State,
    sections: tuple[str, ...],
    context: Context,
    steps: int,
    every: Every = Every(),
) -> bool:
    """Train ``stage`` up to step ``steps``, going on from the newest checkpoint in ``folder`` if there is one.

    ``state`` (of step 0) says what the run is; a folder of another run is refused in what ``sections`` of the recipe
    say (CheckpointError). True when it is done, False when SIGTERM or SIGINT stopped it, after a checkpoint.
    NotFinite: see there; no checkpoint is written after the step that failed.
    """
    world = context.world
    if world.first:
        folder.mkdir(parents=True, exist_ok=True)
        checkpoint.clean(folder)
    place = world.gather(checkpoint.newest(folder) if world.first else None)[0]
    averages, start = Averages(world), 0
    if place:
        start = checkpoint.check(place, state, sections).step
        averages.load(checkpoint.load(place, stage))
    world.broadcast([*stage.nets.values(), *stage.ema.values()])
    world.wait()

    log = Log(folder, world, start, steps, state.stage)
    if place:
        log.say(f"{state.stage}: going on from step {start}")
    batches = data.batches(start)
    with _Interrupt() as interrupt, contextlib.closing(log):
        for step in range(start, steps):
            context.watch.step = step
            averages.add(stage.step(_place(next(batches), context), step))
            done = step + 1
            log.step()
            together = not context.apart or done % context.apart == 0 or done == steps or every.due(done)
            if context.apart and together:
                context.meet([*stage.nets.values(), *stage.ema.values()])
            stopped = together and world.agree(interrupt.asked)
            last = stopped or done == steps
            if _due(done, every.report) or _due(done, every.checkpoint) or last:
                _demand_finite(context, data, folder, state)
            if _due(done, every.report) or done == steps:
                values = averages.take()
                log.report(done, values, **rates_of(stage), **log.speed(done, stage.frames))
            if _due(done, every.sample) or done == steps:
                pictures = stage.sample(_place(data.held_out()[0], context))
                log.picture(done, pictures, getattr(stage, "columns", 4))
            if hasattr(stage, "evaluate") and (_due(done, every.evaluate) or done == steps):
                log.report(done, evaluate(stage, data, context))
            if _due(done, every.checkpoint) or last:
                kept = averages.state()
                if world.first:
                    checkpoint.save(folder, dataclasses.replace(state, step=done), stage, kept)
                world.wait()
            if stopped and done < steps:
                log.say(f"{state.stage}: stopped after step {done} of {steps}; the same command goes on from there")
                return False
        if start >= steps:
            log.say(f"{state.stage}: step {start} of {steps}: already done")
    return True


def _due(done: int, every: int) -> bool:
    return every > 0 and done % every == 0


def evaluate(stage: Stage, data: Data, context: Context) -> dict[str, float]:
    """The stage's figures on held-out data, as ``held_out.<figure>``; the mean over batches and processes."""
    averages = Averages(context.world)
    for batch in data.held_out():
        averages.add(stage.evaluate(_place(batch, context)))
    return {f"held_out.{name}": value for name, value in averages.take().items()}


def rates_of(stage: Stage) -> dict[str, float]:
    """Learning rates by the name under which the log holds them."""
    return {f"rate.{name}": rate for name, rate in rates(stage.optimizers).items()}


def _place(batch: Batch, context: Context) -> Batch:
    """The batch on the device; pictures that come as bytes become float in [-1, 1] there."""
    placed = {name: value.to(context.device, non_blocking=True) for name, value in batch.items()}
    return {n: v.float() / 127.5 - 1 if v.dtype == torch.uint8 else v for n, v in placed.items()}


def _demand_finite(context: Context, data: Data, folder: Path, state: State) -> None:
    """NotFinite, the batch kept in a file, if any process saw what is not finite. Waits for the device."""
    world = context.world
    told = world.gather(context.watch.found())
    seen = [(found[0], rank, found[1]) for rank, found in enumerate(told) if found]
    if not seen:
        return
    step, rank, name = min(seen)
    file = folder / f"not-finite-step-{step:08d}-rank-{rank}.safetensors"
    if world.rank == rank:
        batch = next(data.batches(step))
        save_file({key: value.contiguous() for key, value in batch.items()}, file)
    world.wait()
    numbers = list(range(step * state.samples + rank, (step + 1) * state.samples, world.size))
    raise NotFinite(
        f"{state.stage}: step {step}, rank {rank}: loss or gradient of the {name} pass is not finite; samples "
        f"{', '.join(map(str, numbers[:8]))}{', ...' if len(numbers) > 8 else ''} are kept in {file}; no checkpoint "
        f"was written after it: the same command goes on from the last good one, as does one with --precision fp32"
    )


class _Interrupt:
    """SIGTERM and SIGINT ask the loop to stop after its step; a second one is obeyed at once."""

    def __init__(self) -> None:
        self.asked = False
        self.before: dict[int, Callable | int | None] = {}

    def __enter__(self) -> _Interrupt:
        for number in (signal.SIGTERM, signal.SIGINT):
            with contextlib.suppress(ValueError):  # signals reach the main thread only
                self.before[number] = signal.signal(number, self._ask)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def _ask(self, number: int, _: object) -> None:
        self.asked = True
        for each, handler in self.before.items():
            signal.signal(each, handler)
        os.write(2, b"\nfinishing this step and writing a checkpoint; once more to stop at once\n")
