"""Many processes as one: the global batch is the same, and so are the losses, whatever their number.

Process r of W holds samples r, r + W, r + 2W, ... of the global batch. Random numbers are drawn for the global batch
from (seed, step) on every process, of which each keeps its rows. Gradients are averaged after backward, in buckets:
a GAN's several passes through the same networks are more than DistributedDataParallel's wrapper expects.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

#: numbers in one bucket of gradients: 64 MB of float32
BUCKET = 16 * 2**20


@dataclass(frozen=True)
class World:
    """Which process this is (``rank`` of ``size``) and its ``device``. ``control``: a gloo group for small talk
    between hosts that must not wait for a GPU; None in a single process.
    """

    device: torch.device
    rank: int = 0
    size: int = 1
    control: Any = None

    @property
    def first(self) -> bool:
        """Whether this is the process that writes files."""
        return self.rank == 0

    def __deepcopy__(self, memo: dict) -> World:
        return self  # networks that know their world are copied for their moving average

    def rows(self, whole: Tensor) -> Tensor:
        """Our rows of a tensor of the global batch: (n, ...) -> (n / size, ...)."""
        return whole[self.rank :: self.size]

    def agree(self, flag: bool) -> bool:
        """True on all where it is true on any. Does not wait for a GPU."""
        if self.size == 1:
            return flag
        told = torch.tensor([int(flag)])
        dist.all_reduce(told, dist.ReduceOp.MAX, group=self.control)
        return bool(told)

    def gather(self, value: Any) -> list[Any]:
        """Each process's ``value`` (small, plain data), in the order of ranks."""
        if self.size == 1:
            return [value]
        told = [None] * self.size
        dist.all_gather_object(told, value, group=self.control)
        return told

    def wait(self) -> None:
        """Until all are here."""
        if self.size > 1:
            dist.barrier(group=self.control)

    def mean(self, values: Tensor) -> Tensor:
        """The mean over processes of a tensor that all have; no gradient."""
        if self.size > 1:
            values = values.detach().clone()
            dist.all_reduce(values)
            values /= self.size
        return values

    def broadcast(self, nets: Iterable[nn.Module]) -> None:
        """Everybody's parameters and buffers become those of rank 0."""
        if self.size == 1:
            return
        for net in nets:
            for tensor in [*net.parameters(), *net.buffers()]:
                with torch.no_grad():
                    whole = tensor.detach().contiguous()
                    dist.broadcast(whole, 0)
                    tensor.copy_(whole)

    def average_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Each gradient becomes its mean over processes; parameters without one have none anywhere."""
        if self.size == 1:
            return
        bucket, count = [], 0
        for gradient in [p.grad for p in parameters if p.grad is not None] + [None]:
            if bucket and (gradient is None or count + gradient.numel() > BUCKET):
                flat = torch.cat([g.reshape(-1) for g in bucket])
                dist.all_reduce(flat)
                flat /= self.size
                for g, part in zip(bucket, flat.split([g.numel() for g in bucket]), strict=True):
                    g.copy_(part.view_as(g))
                bucket, count = [], 0
            if gradient is not None:
                bucket.append(gradient)
                count += gradient.numel()


def start(device: str = "auto") -> World:
    """The world that ``torchrun`` describes in the environment, or one process. ``device``: auto, cpu, cuda, cuda:1.

    ValueError for a GPU that this machine does not have.
    """
    size, local = int(os.environ.get("WORLD_SIZE", 1)), int(os.environ.get("LOCAL_RANK", 0))
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    kind = torch.device(device)
    if kind.type == "cuda":
        here = torch.cuda.device_count()
        place = local if size > 1 or kind.index is None else kind.index
        if place >= here:
            raise ValueError(f"--device {device}: process {local} of this machine needs GPU {place}, and it has {here}")
        kind = torch.device("cuda", place)
        torch.cuda.set_device(kind)
    if size == 1:
        return World(kind)
    if not dist.is_initialized():
        dist.init_process_group("nccl" if kind.type == "cuda" else "gloo")
    return World(kind, dist.get_rank(), size, dist.new_group(backend="gloo"))


def stop() -> None:
    """Leave the world that ``start`` entered."""
    if dist.is_initialized():
        dist.destroy_process_group()


class Draws:
    """The random numbers of one purpose in one step, the same whatever the number of processes and the device.

    ``name`` keeps the draws of different purposes apart.
    """

    def __init__(self, world: World, seed: int, step: int, name: str) -> None:
        digest = hashlib.blake2b(f"{seed}/{step}/{name}".encode(), digest_size=8).digest()
        self.seed = int.from_bytes(digest, "little") >> 1
        self.world = world
        self.generator = torch.Generator().manual_seed(self.seed)

    def normal(self, n: int, *shape: int) -> Tensor:
        """Our rows of ``n`` standard normal samples: (n / processes, *shape)."""
        return self.world.rows(torch.randn(n, *shape, generator=self.generator)).to(self.world.device)

    def chance(self, probability: float) -> bool:
        """True with that probability; the same on all processes."""
        return bool(torch.rand((), generator=self.generator) < probability)

    def integer(self, low: int, high: int) -> int:
        """A whole number from ``low`` to ``high`` - 1; the same on all processes."""
        return int(torch.randint(low, high, (), generator=self.generator))

    def noise(self, make: Callable[[int, torch.Generator], Sequence[Tensor]], n: int) -> list[Tensor]:
        """Our rows of what ``make(n, generator)`` draws on the device (``Generator.make_noise``).

        For what is too large to be drawn elsewhere and carried there; it differs between kinds of device.
        """
        generator = torch.Generator(self.world.device).manual_seed(self.seed)
        return [self.world.rows(noise) for noise in make(n, generator)]


class _Sum(torch.autograd.Function):
    """The sum over processes; what flows back is the sum of what flows back everywhere."""

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        x = x.contiguous().clone()
        dist.all_reduce(x)
        return x

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        gradient = gradient.contiguous().clone()
        dist.all_reduce(gradient)
        return gradient


def _normalise(self: nn.modules.batchnorm._BatchNorm, x: Tensor) -> Tensor:
    """Batch normalisation over the global batch, in float32 as ``torch.nn.functional.batch_norm`` does it."""
    if not self.training:
        return type(self).plain.forward(self, x)
    world, dims = self.world, [0, *range(2, x.ndim)]
    wide = x.float()
    var, mean = torch.var_mean(wide, dims, correction=0)
    # every process's (mean, variance) in its own row; variances and means are put together without cancellation
    mine = torch.stack([mean, var])[None]
    rows = _Sum.apply(nn.functional.pad(mine, (0, 0, 0, 0, world.rank, world.size - 1 - world.rank)))
    mean = rows[:, 0].mean(0)
    var = rows[:, 1].mean(0) + rows[:, 0].var(0, correction=0)
    if self.track_running_stats:
        with torch.no_grad():
            n = world.size * x.numel() / x.shape[1]
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(var * (n / max(n - 1, 1)), self.momentum)
    shape = [1, -1] + [1] * (x.ndim - 2)
    scale = self.weight.float() * torch.rsqrt(var + self.eps)
    return ((wide - mean.view(shape)) * scale.view(shape) + self.bias.float().view(shape)).to(x.dtype)


def synchronise_batchnorm(net: nn.Module, world: World) -> None:
    """Let the batch normalisations of ``net`` see the global batch. The state dict stays as it is.

    Unlike ``nn.SyncBatchNorm`` it runs on gloo too. Every process must hold the same number of samples.
    """
    if world.size == 1:
        return
    for module in net.modules():
        if type(module) in (nn.BatchNorm1d, nn.BatchNorm2d):
            plain = type(module)
            module.__class__ = type(f"Global{plain.__name__}", (plain,), {"forward": _normalise, "plain": plain})
            module.world = world


def rates(optimizers: Mapping[str, torch.optim.Optimizer]) -> dict[str, float]:
    """The learning rate of each optimizer."""
    return {name: optimizer.param_groups[0]["lr"] for name, optimizer in optimizers.items()}
