"""What a stage needs to know of its run: the processes, the seed, the precision, and how to take a step down."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn

from fctfg.train.distributed import Draws, World, synchronise_batchnorm


class Watch:
    """Remembers, without waiting for the device, the first step whose loss or gradient was not finite."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.step = 0
        self.first: dict[str, Tensor] = {}

    def look(self, name: str, loss: Tensor, gradients: list[Tensor]) -> None:
        """Take note of ``loss`` and ``gradients`` of the pass called ``name`` in the current step."""
        total = loss.detach().float()
        if gradients:
            total = total + torch.stack(torch._foreach_norm(gradients)).float().sum()
        before = self.first.get(name)
        if before is None:
            before = torch.full((), -1, dtype=torch.int64, device=self.device)
        self.first[name] = torch.where((before < 0) & ~torch.isfinite(total), self.step, before)

    def found(self) -> tuple[int, str] | None:
        """The first bad step and its pass, or None. Waits for the device."""
        seen = [(int(step), name) for name, step in self.first.items()]
        return min((s for s in seen if s[0] >= 0), default=None, key=lambda s: s[0])


class Context:
    """The run as a stage sees it. ``precision``: "bf16" (autocast; regularisers and losses stay float32) or "fp32".

    ``apart``: so many steps each process takes by itself before their networks are averaged (local SGD, Stich 2019);
    0: gradients are averaged in every step, and batch normalisation sees the whole batch.
    """

    def __init__(
        self, world: World, seed: int = 0, precision: str = "fp32", compiled: bool = False, apart: int = 0
    ) -> None:
        self.world, self.seed, self.precision, self.compiled = world, seed, precision, compiled
        self.apart = apart if world.size > 1 else 0
        self.device = world.device
        self.watch = Watch(world.device)

    def autocast(self) -> AbstractContextManager:
        """The networks' precision."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16")

    def draws(self, step: int, name: str) -> Draws:
        """Random numbers of one purpose in one step."""
        return Draws(self.world, self.seed, step, name)

    def share(self, batch: int, what: str) -> int:
        """The part of each process in a global batch. ValueError where it cannot be divided."""
        if batch % self.world.size:
            raise ValueError(f"{what} of {batch} does not divide over {self.world.size} processes; choose a multiple")
        return batch // self.world.size

    def place(self, net: nn.Module, train: bool = True) -> nn.Module:
        """``net`` on the device, in the memory format that convolutions like there; frozen unless ``train``."""
        net.to(self.device)
        if self.device.type == "cuda":
            channels_last(net)
        net.requires_grad_(train).train(train)
        if train and not self.apart:
            synchronise_batchnorm(net, self.world)
        return net

    def average_of(self, net: nn.Module) -> nn.Module:
        """A frozen copy of ``net`` that will follow it as its moving average."""
        return copy.deepcopy(net).requires_grad_(False).eval()

    def faster(self, function):
        """``function`` compiled where the run asks for it. Not for passes that are differentiated twice."""
        return torch.compile(function, dynamic=False) if self.compiled else function

    def adam(
        self, parameters: Iterable[nn.Parameter | dict], rate: float, betas: tuple[float, float], lazy: int = 0
    ) -> torch.optim.Adam:
        """Adam; with a regulariser every ``lazy`` steps, its rate and betas by StyleGAN2's ratio (appendix B).

        ``parameters``: or groups of them, of which one may have a rate ("lr") of its own.
        """
        ratio = lazy / (lazy + 1) if lazy else 1.0
        betas = (betas[0] ** ratio, betas[1] ** ratio)
        # one pass over memory; on a processor, too, ten times faster than operation after operation
        return torch.optim.Adam(list(parameters), lr=rate * ratio, betas=betas, fused=True)

    def descend(self, name: str, loss: Tensor, optimizer: torch.optim.Optimizer) -> None:
        """Backward, averaging over processes, one step of ``optimizer``; watched under ``name``."""
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.apply(name, loss, optimizer)

    def apply(self, name: str, loss: Tensor, optimizer: torch.optim.Optimizer) -> None:
        """``descend`` where backward has been done, in one go or several."""
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        self.watch.look(name, loss, [p.grad for p in parameters if p.grad is not None])
        if not self.apart:
            self.world.average_gradients(parameters)
        optimizer.step()

    def meet(self, nets: Iterable[nn.Module]) -> None:
        """Everybody's parameters and buffers become their mean over processes."""
        for net in nets:
            tensors = [t.data for t in [*net.parameters(), *net.buffers()] if t.is_floating_point()]
            flat = self.world.mean(torch.cat([t.reshape(-1) for t in tensors]))
            for tensor, mean in zip(tensors, flat.split([t.numel() for t in tensors]), strict=True):
                tensor.copy_(mean.view_as(tensor))


def channels_last(net: nn.Module) -> None:
    """Lay out the weights of convolutions as tensor cores read them. (``net.to(memory_format=...)`` refuses networks
    that have weights of five dimensions, as modulated convolutions do; those are left as they are.)
    """
    for parameter in net.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)


@torch.no_grad()
def follow(average: nn.Module, net: nn.Module, decay: float, step: int) -> None:
    """One step of the moving average: average = decay * average + (1 - decay) * net; buffers are copied.

    In the first steps the decay is smaller, (1 + step) / (10 + step), so that the untrained start is soon forgotten.
    """
    decay = min(decay, (1 + step) / (10 + step))
    ours, theirs = list(average.parameters()), list(net.parameters())
    torch._foreach_lerp_(ours, [p.detach() for p in theirs], 1 - decay)
    for mine, its in zip(average.buffers(), net.buffers(), strict=True):
        mine.copy_(its)
