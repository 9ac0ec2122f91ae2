"""What ``fctfg.bench`` times: every part of inference by itself, the whole chain, and a file from end to end."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from fctfg import media
from fctfg.animate import Animator, Recorded, to_bytes, to_floats
from fctfg.nets.generator import Generator
from fctfg.nets.ops import EPSILON, GAIN, SLOPE, batched_conv
from fctfg.streaming import ahead

DRIVING = 512, (64, 64, 448, 448)  # side of the end-to-end test's video, and its crop
#: stages that run as compiled code where the animator does
COMPILED = frozenset({"generator", "encoder", "chain"})
_EACH = 8  # stages at each batch size, the recorded one left out
PEAK_SIDE = {"cuda": 8192, "cpu": 2048}


def timed(step: Callable[[], object], device: torch.device, seconds: float, most: int = 1000) -> list[float]:
    """Times of single passes, in seconds, of about ``seconds`` in all; at least three unless one alone takes longer."""
    cuda = device.type == "cuda"
    begun = time.perf_counter()
    for _ in range(20 if cuda else 1):  # the first passes choose kernels and fill caches
        step()
    if cuda:
        torch.cuda.synchronize(device)
    least = 1 if time.perf_counter() - begun > seconds else 3
    times: list[float] = []
    while len(times) < least or (sum(times) < seconds and len(times) < most):
        if cuda:
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            step()
            end.record()
            end.synchronize()
            times.append(start.elapsed_time(end) / 1000)
        else:
            start = time.perf_counter()
            step()
            times.append(time.perf_counter() - start)
    return times


def flop(step: Callable[[], object]) -> int:
    """Floating-point operations of one pass: convolutions and matrix products, two for each multiply and add."""
    from torch.utils.flop_counter import FlopCounterMode

    counter = FlopCounterMode(display=False)
    with counter:
        step()
    return counter.get_total_flops()


def reference_synthesis(generator: Generator, w: Tensor) -> Tensor:
    """``generator.synthesis(w)`` in StyleGAN2's plain form: each sample's own weights, every operation by itself.

    Codes (B, L, D) -> pictures (B, 3, size, size). The filters are those of the generator's modules.
    """
    noises, picture = iter(generator.fixed_noise()), None
    x = generator.input.input.expand(len(w), -1, -1, -1).contiguous()
    for layer in generator.layers:
        part = generator.get_submodule(layer.module)
        conv = part.conv
        weight = conv.weight * conv.scale * conv.modulation(w[:, layer.style])[:, None, :, None, None]
        if layer.to_rgb:
            rgb = batched_conv(x, weight, False) + part.bias
            picture = rgb if picture is None else rgb + part.upsample(picture)
            continue
        weight = weight * torch.rsqrt(weight.square().sum((2, 3, 4), keepdim=True) + EPSILON)
        x = batched_conv(x, weight, layer.up)
        x = conv.blur(x) if layer.up else x
        x = x + part.noise.weight * next(noises)
        x = F.leaky_relu(x + part.activate.bias[:, None, None], SLOPE) * GAIN
    return picture


def matmul_peak(device: torch.device, dtype: torch.dtype, seconds: float) -> tuple[list[float], int]:
    """Times and operations of a large matrix product; TF32 where convolutions in float32 use it."""
    side = PEAK_SIDE.get(device.type, 2048)
    a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high" if torch.backends.cudnn.allow_tf32 else "highest")
    try:
        return timed(lambda: a @ b, device, seconds), 2 * side**3
    finally:
        torch.set_float32_matmul_precision(before)


def stages(animator: Animator, batch: int) -> Iterator[tuple[str, Callable[[], object]]]:
    """Every stage at a batch size as (name, one pass over ``batch`` frames)."""
    model, device, size = animator.model, animator.device, animator.size
    draw = np.random.default_rng(0)
    source = draw.integers(0, 256, (1, size, size, 3), np.uint8)
    frames = torch.from_numpy(draw.integers(0, 256, (batch, size, size, 3), np.uint8)).to(device)
    pictures = to_floats(frames)
    mels = torch.randn(batch, 1, 80, 16, device=device).clamp(-4, 4)
    face = animator.bind(source)
    rows = animator.codes(frames)
    heard = animator.listen(mels)
    moving = animator.fuse(face.canonical, rows, heard)
    styles = torch.randn(batch, model.n_styles, animator.recipe.generator.style_dim, device=device)
    half = animator.precision == "bf16"

    def plain(call: Callable[[Tensor], Tensor], x: Tensor) -> Callable[[], Tensor]:
        def step() -> Tensor:
            with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=half):
                return call(x)

        return step

    yield "generator_reference", plain(partial(reference_synthesis, model.generator), styles)
    yield "generator_dense", plain(model.generator.synthesis, styles)
    yield "generator", lambda: face.paint(moving)
    yield "encoder_reference", plain(model.encode, pictures)
    yield "encoder", lambda: animator.codes(frames)
    yield "audio", lambda: animator.listen(mels)
    yield "latent", lambda: animator.fuse(face.canonical, rows, heard)

    def chain(frames: Tensor) -> Tensor:
        return face.paint(animator.fuse(face.canonical, animator.codes(frames), animator.listen(mels)))

    yield "chain", lambda: to_bytes(chain(frames))
    if _recordable(animator, batch):
        recorded = Recorded(chain)
        yield "chain_graph", lambda: to_bytes(recorded(frames))


def count(animator: Animator, batches: list[int]) -> int:
    """How many measurements ``stages`` at these batch sizes and the three beside them make."""
    return 3 + sum(_EACH + _recordable(animator, batch) for batch in batches)


def _recordable(animator: Animator, batch: int) -> bool:
    return animator.device.type == "cuda" and batch <= animator.window and not animator.compiled


def end_to_end(animator: Animator, folder: Path, seconds: float) -> list[float]:
    """Seconds for one batch of frames, file to file, of two whole videos of about ``seconds`` / 2 each."""
    _, box = DRIVING
    source = np.zeros((animator.size, animator.size, 3), np.uint8)

    def once(batches: int) -> float:
        count = batches * animator.batch
        driving = folder / f"driving{batches}.mp4"
        media.write_video(driving, map(_moving, range(count)), audio=np.zeros(count * 640, np.float32))
        begun = time.perf_counter()
        size = (animator.size, animator.size)
        frames = media.iter_video(driving, size=size, box=box, chunk=animator.batch)
        sound = media.read_audio(driving)
        media.write_video(folder / "out.mp4", ahead(animator.animate(source, frames, sound)), audio=sound)
        return (time.perf_counter() - begun) / batches

    batches = int(min(max(seconds / 2 / once(1), 1), 50))
    return [once(batches) for _ in range(2)]


def _moving(t: int) -> np.ndarray:
    """A frame of colour ramps that move at three speeds: (side, side, 3) uint8."""
    ramp = np.tile(np.linspace(0, 255, DRIVING[0]).astype(np.uint8), (DRIVING[0], 1))
    return np.stack([np.roll(ramp, 3 * t * k, k % 2) for k in (1, 2, 3)], -1)
