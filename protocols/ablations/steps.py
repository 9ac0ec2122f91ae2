"""The steps of one job, each skipped where what it makes is there already, by content.

    OUT/lstm-image-seed0/
        train/fctfg/            the training run of the last stage (``python -m fctfg.train fctfg``)
        model.safetensors       its moving average, as inference reads it; model.json: which checkpoint it is
        evaluation/             a run of the puppet protocol: run.json, rows/, generated/
        canonical.json          the pose of the canonical faces
        done.json               what all of it is; written last, and what the report goes by

The order is what makes a kill harmless: nothing is called done before it is whole, and the report reads nothing that
``done.json`` does not name by its hash.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from protocols import cli
from protocols.ablations.files import MODEL, MODEL_RECORD, read_json, write_json
from protocols.ablations.plan import VARIANTS, Job
from protocols.ablations.start import LAST, AblationError, Start, assignments, digest
from results.ablation import DONE, EVALUATION

if TYPE_CHECKING:
    from fctfg.recipes import Recipe
    from protocols.cliplist import ClipList

STOPPED = 75  # fctfg.train's exit status of a run that was asked to stop
#: what torchrun sets: a job is one process of its own
_TORCHRUN = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


class Stopped(Exception):
    """Training was asked to stop, and wrote a checkpoint."""


@dataclass(frozen=True)
class Bench:
    """What all jobs share. ``root``, ``clips``: the puppets that are scored; ``args``: the command line's options."""

    out: Path
    start: Start
    budget: int
    data: str
    root: Path
    clips: ClipList
    args: argparse.Namespace


def recipe_of(job: Job, bench: Bench) -> Recipe:
    """The job's recipe: the start's, the variant's choices, and the budget."""
    from fctfg import recipes

    return recipes.override(bench.start.recipe, *VARIANTS[job.variant], f"fctfg.steps={bench.budget}")


def run(job: Job, bench: Bench, say) -> int:
    """All steps of ``job``; the exit status of its evaluation. ``say(step, text)`` tells what goes on.

    AblationError where a step cannot be done; Stopped where training was asked to stop.
    """
    folder, status = job.folder(bench.out), cli.OK
    with alone(folder) as lock:
        for step in job.steps:
            began = time.monotonic()
            if step == "train":
                done = trained(job, bench)
                if not done:
                    say(step, f"to step {bench.budget}")
                    train(job, bench, lock)
            elif step == "export":
                done = exported(folder)
                if not done:
                    say(step, f"to {folder / MODEL}")
                    export(folder)
            elif step == "evaluate":
                done = False
                say(step, f"on {len(bench.clips.clips)} clips")
                status = max(status, evaluate(job, bench))
            elif step == "canonical":
                from protocols.ablations import canonical

                done = canonical.measured(folder, bench)
                if not done:
                    say(step, "faces of every clip")
                    canonical.measure(folder, bench)
            else:
                seal(job, bench)
                continue
            say(step, "already done" if done else f"took {time.monotonic() - began:.1f} s")
    return status


def check(job: Job, bench: Bench) -> None:
    """AblationError where the job's folder holds a training run other than the one that is asked for."""
    from fctfg.train import checkpoint
    from fctfg.train.fctfg import SECTIONS

    place = checkpoint.newest(job.folder(bench.out) / "train" / "fctfg")
    if place is None:
        return
    found = checkpoint.State.read(place)
    if wrong := checkpoint.differing(found.recipe, recipe_of(job, bench), SECTIONS):
        raise AblationError(f"{place}: of another recipe ({'; '.join(wrong)}); choose another --out, or --set it back")
    if found.step > bench.budget:
        raise AblationError(
            f"{place}: is trained for {found.step} steps, more than --steps {bench.budget}; give --steps {found.step}, "
            "or choose another --out"
        )


def trained(job: Job, bench: Bench) -> bool:
    """Whether the job's training has come to the budget's last step."""
    from fctfg.train import checkpoint

    place = checkpoint.newest(job.folder(bench.out) / "train" / "fctfg")
    return place is not None and checkpoint.State.read(place).step == bench.budget


def command(job: Job, bench: Bench) -> list[str]:
    """The training command of ``job``: the same stages, the same number of steps, the job's seed."""
    name, changes = assignments(recipe_of(job, bench))
    words = [sys.executable, "-m", "fctfg.train", "fctfg", "--recipe", name, "--data", bench.data]
    words += ["--out", str(job.folder(bench.out) / "train"), "--seed", str(job.seed), "--device", bench.args.device]
    words += ["--precision", bench.args.precision]
    for stage, found in bench.start.stages.items():
        words += ["--start-from" if stage == LAST else f"--{stage}", str(found.place)]
    # a short run is worth keeping more often than every thousand steps
    words += ["--checkpoint-every", str(max(50, min(1000, bench.budget // 10)))]
    return [*words, *(f"--set={change}" for change in changes)]


def train(job: Job, bench: Bench, lock: int) -> None:
    """Train, or train on. The lock goes to the child: nobody trains beside it, even when this process is killed."""
    environment = {name: value for name, value in os.environ.items() if name not in _TORCHRUN}
    status = _child(command(job, bench), environment, lock)
    if status == STOPPED:
        raise Stopped
    if status:
        raise AblationError(
            f"{job.folder(bench.out)}: training ended with status {status}; put right what the line above says and "
            "give the same command again"
        )


def exported(folder: Path) -> bool:
    """Whether the model file is that of the newest checkpoint, and whole."""
    from fctfg.weights import sha256

    about, file = read_json(folder / MODEL_RECORD), folder / MODEL
    return bool(about) and file.is_file() and about == {"checkpoint": _checkpoint(folder), "model": sha256(file)}


def export(folder: Path) -> None:
    """Write the model file, then what it is."""
    from fctfg.train.export import export as write
    from fctfg.weights import sha256

    write(folder / "train", folder / MODEL)
    write_json(folder / MODEL_RECORD, {"checkpoint": _checkpoint(folder), "model": sha256(folder / MODEL)})


def evaluate(job: Job, bench: Bench) -> int:
    """Score the model as method ``fctfg`` by the puppets' protocol, which keeps what is scored; the exit status."""
    own = argparse.Namespace(**{**vars(bench.args), "shard": (0, 1)})
    folder = job.folder(bench.out)
    with _environment("FCTFG_CHECKPOINT", str(folder / MODEL)):
        return cli.evaluate(bench.clips, bench.root, "fctfg", folder / EVALUATION, own, job.text)


def seal(job: Job, bench: Bench) -> None:
    """Write what the job's results are, last of all, where it does not say so already."""
    from fctfg.train import checkpoint

    folder = job.folder(bench.out)
    state = checkpoint.State.read(checkpoint.newest(folder / "train" / "fctfg"))
    record = {
        "schema": 1,
        "variant": job.variant,
        "seed": job.seed,
        "steps": state.step,
        "batch": state.samples,
        "set": list(VARIANTS[job.variant]),
        "data": bench.data,
        "start": bench.start.record(),
        **read_json(folder / MODEL_RECORD),
    }
    if read_json(folder / DONE) != record:
        write_json(folder / DONE, record)


def _checkpoint(folder: Path) -> str:
    from fctfg.train import checkpoint

    return digest(checkpoint.newest(folder / "train" / "fctfg"))


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[int]:
    """The job's lock, held by this process and by the training that it starts. AblationError: another has it."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / ".lock", "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise AblationError(f"{folder}: another process is at work on it; wait for it, or end it") from None
        yield file.fileno()


@contextlib.contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


def _child(words: list[str], environment: dict[str, str], lock: int) -> int:
    """Run a command to its end; its exit status. SIGTERM is handed on, and SIGINT reaches it by itself: it then writes
    a checkpoint, which is waited for.
    """
    process = subprocess.Popen(words, env=environment, pass_fds=(lock,))
    before = signal.signal(signal.SIGTERM, lambda *_: process.send_signal(signal.SIGTERM))
    try:
        while True:
            with contextlib.suppress(KeyboardInterrupt):
                return process.wait()
    finally:
        signal.signal(signal.SIGTERM, before)
