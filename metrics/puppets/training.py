"""The training loop that both networks share: resumable, with averaged weights, checkpoints in safetensors."""

from __future__ import annotations

import json
import math
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn


class Task(Protocol):
    """What is trained: ``net``, and for every step the loss of a batch that depends on (seed, step) alone."""

    net: nn.Module

    def loss(self, step: int) -> tuple[Tensor, dict[str, float]]: ...

    def evaluate(self, net: nn.Module) -> dict[str, float]: ...


@dataclass(frozen=True)
class Plan:
    """``steps`` in all, the highest learning rate ``rate`` (warmed up over ``warm`` steps, then a cosine to nothing),
    and every how many steps there is a line in the log, a checkpoint and an evaluation.
    """

    steps: int
    rate: float = 2e-3
    warm: int = 200
    decay: float = 0.02
    average: float = 0.998
    report: int = 50
    save: int = 250
    evaluate: int = 1000

    def rate_at(self, step: int) -> float:
        warm = min(1.0, (step + 1) / self.warm)
        return self.rate * warm * 0.5 * (1 + math.cos(math.pi * min(step / self.steps, 1.0)))


class Trainer:
    """AdamW on one task; ``checkpoint`` is read where it exists and written every ``plan.save`` steps."""

    def __init__(self, task: Task, plan: Plan, checkpoint: Path) -> None:
        self.task, self.plan, self.path, self.step = task, plan, checkpoint, 0
        self.average = {name: value.clone() for name, value in task.net.state_dict().items()}
        decayed = [p for p in task.net.parameters() if p.ndim > 1]
        plain = [p for p in task.net.parameters() if p.ndim <= 1]
        groups = [{"params": decayed, "weight_decay": plan.decay}, {"params": plain, "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW(groups, lr=plan.rate, betas=(0.9, 0.99))
        if checkpoint.exists():
            self._resume()

    def run(self, until: int | None = None) -> None:
        """Train to ``plan.steps`` or, short of that, to step ``until``."""
        stop = min(self.plan.steps, until or self.plan.steps)
        net, began, sums, n = self.task.net, time.monotonic(), {}, 0
        cpu = time.process_time()
        net.train()
        while self.step < stop:
            for group in self.optimizer.param_groups:
                group["lr"] = self.plan.rate_at(self.step)
            loss, parts = self.task.loss(self.step)
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(net.parameters(), 5.0)
            self.optimizer.step()
            self.step += 1
            self._average()
            for name, value in parts.items():
                sums[name] = sums.get(name, 0.0) + value
            n += 1
            last = self.step == stop
            if self.step % self.plan.report == 0 or last:
                took, busy = (time.monotonic() - began) / n, (time.process_time() - cpu) / n
                means = {name: round(total / n, 4) for name, total in sums.items()}
                self._say({"step": self.step, "seconds": round(took, 3), "cpu": round(busy, 3), **means})
                began, cpu, sums, n = time.monotonic(), time.process_time(), {}, 0
            if self.step % self.plan.save == 0 or last:
                self.save()
            if self.step % self.plan.evaluate == 0 or last:
                self._say({"step": self.step, "held_out": self.evaluate()})
                net.train()

    def evaluate(self) -> dict[str, float]:
        """The task's figures with the averaged weights."""
        own = {name: value.clone() for name, value in self.task.net.state_dict().items()}
        self.task.net.load_state_dict(self.average)
        self.task.net.eval()
        try:
            with torch.inference_mode():
                return {name: round(value, 4) for name, value in self.task.evaluate(self.task.net).items()}
        finally:
            self.task.net.load_state_dict(own)

    def save(self) -> None:
        """Weights, averaged weights and the optimizer's state, whole or not at all."""
        from safetensors.torch import save_file

        tensors = {f"net.{name}": value for name, value in self.task.net.state_dict().items()}
        tensors |= {f"average.{name}": value for name, value in self.average.items()}
        for i, state in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{i}.{name}": torch.as_tensor(value) for name, value in state.items()}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        part = self.path.with_suffix(".part")
        kept = {name: value.detach().clone().contiguous() for name, value in tensors.items()}
        save_file(kept, part, metadata={"step": str(self.step)})
        os.replace(part, self.path)

    def _resume(self) -> None:
        tensors, about = read_tensors(self.path)
        self.step = int(about.get("step", 0))
        self.task.net.load_state_dict(part_of(tensors, "net."))
        self.average = {name: value.clone() for name, value in part_of(tensors, "average.").items()}
        state = self.optimizer.state_dict()
        for name, value in part_of(tensors, "optimizer.").items():
            number, _, key = name.partition(".")
            state["state"].setdefault(int(number), {})[key] = value
        self.optimizer.load_state_dict(state)
        self._say({"step": self.step, "resumed": str(self.path)})

    def _average(self) -> None:
        keep = min(self.plan.average, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for name, value in self.task.net.state_dict().items():
                if value.dtype.is_floating_point:
                    self.average[name].lerp_(value, 1 - keep)
                else:
                    self.average[name].copy_(value)

    @staticmethod
    def _say(line: dict) -> None:
        print(json.dumps(line), file=sys.stdout, flush=True)


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """A safetensors file's tensors and its metadata. ValueError where it is none."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path}: cannot be read ({error}); train or export it (python -m metrics.puppets)") from None


def part_of(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name[len(prefix) :]: value for name, value in tensors.items() if name.startswith(prefix)}


def weights_of(path: Path) -> dict[str, Tensor]:
    """The state dict in an exported file or, averaged, in a checkpoint."""
    tensors, _ = read_tensors(path)
    return part_of(tensors, "average.") or {
        name: value.float() if value.dtype == torch.float16 else value for name, value in tensors.items()
    }


def export(checkpoint: Path, out: Path, extra: dict[str, Tensor] | None = None, about: dict | None = None) -> None:
    """Write a checkpoint's averaged weights in half precision, the form in which they are bundled."""
    from safetensors.torch import save_file

    _, metadata = read_tensors(checkpoint)
    tensors = weights_of(checkpoint) | (extra or {})
    half = {
        name: (value.half() if value.dtype == torch.float32 else value).contiguous() for name, value in tensors.items()
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    part = out.with_suffix(".part")
    save_file(half, part, metadata={"steps": metadata.get("step", ""), **{k: str(v) for k, v in (about or {}).items()}})
    part.chmod(0o644)
    os.replace(part, out)
