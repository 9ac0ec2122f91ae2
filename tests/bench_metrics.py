"""Speed of the image metrics beside their reference implementations, one 256x256 RGB frame pair.

    pytest tests/bench_metrics.py --benchmark-only

Never part of pass or fail. ``extra_info`` holds the milliseconds a frame, and for ours how many times faster it is than
each reference, all measured in this run on one thread.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from metrics.image import image_scores

FRAMES = 16
OURS = ("ssim_wang_rgb", "ms_ssim_wang_rgb", "psnr_rgb")
_milliseconds: dict[str, float] = {}


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def pair():
    """(16, 256, 256, 3) uint8 twice."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:256, :256] / 256
    base = 128 + 90 * np.sin(9 * x + 4 * np.arange(FRAMES)[:, None, None]) * np.cos(7 * y)
    frames = np.repeat(base[..., None], 3, axis=3)
    return tuple((frames + rng.normal(0, sd, frames.shape)).clip(0, 255).astype(np.uint8) for sd in (3, 12))


def _tensors(pair, kind):
    return [torch.from_numpy(side).permute(0, 3, 1, 2).to(kind) for side in pair]


def _record(benchmark, name, function, frames):
    benchmark.group = "256x256 RGB, one thread"
    benchmark.pedantic(function, rounds=15, warmup_rounds=3)
    _milliseconds[name] = benchmark.stats.stats.min / frames * 1e3
    benchmark.extra_info["ms_per_frame"] = round(_milliseconds[name], 3)


def test_skimage_gaussian_ssim_alone(benchmark, pair):
    metrics = pytest.importorskip("skimage.metrics")
    how = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 255}
    x, y = (side[0] for side in pair)
    _record(benchmark, "skimage SSIM", lambda: metrics.structural_similarity(x, y, channel_axis=2, **how), 1)


def test_pytorch_msssim_ssim_and_ms_ssim(benchmark, pair):
    package = pytest.importorskip("pytorch_msssim")
    x, y = _tensors(pair, torch.float32)

    def both():
        package.ssim(x, y, size_average=False)
        package.ms_ssim(x, y, size_average=False)

    _record(benchmark, "pytorch_msssim SSIM + MS-SSIM", both, FRAMES)


def test_ours_ssim_ms_ssim_and_psnr(benchmark, pair):
    x, y = _tensors(pair, torch.uint8)
    _record(benchmark, "ours", lambda: image_scores(x, y, OURS), FRAMES)
    for name, milliseconds in _milliseconds.items():
        if name != "ours":
            benchmark.extra_info[f"times faster than {name}"] = round(milliseconds / _milliseconds["ours"], 2)


@pytest.mark.parametrize("name", ["ssim_wang_rgb", "ssim_wang_luma", "ssim_skimage_default", "psnr_rgb", "l1_rgb"])
def test_ours_alone(benchmark, pair, name):
    x, y = _tensors(pair, torch.uint8)
    _record(benchmark, name, lambda: image_scores(x, y, [name]), FRAMES)


def test_ours_two_threads(benchmark, pair):
    torch.set_num_threads(2)
    x, y = _tensors(pair, torch.uint8)
    _record(benchmark, "ours, two threads", lambda: image_scores(x, y, OURS), FRAMES)
    torch.set_num_threads(1)
