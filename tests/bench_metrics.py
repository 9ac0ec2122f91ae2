"""Speed of the image metrics beside their reference implementations, on 256x256 RGB frames.

    pytest tests/bench_metrics.py --benchmark-only

Never part of pass or fail. ``extra_info`` of ``test_ours_ssim_ms_ssim_and_psnr`` holds the milliseconds a frame of ours
and of each reference on one thread, best of rounds that took turns, so that whatever else the machine does hits all
alike; and how many times faster ours is.
"""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch

from metrics.image import image_scores

FRAMES = 16
OURS = ("ssim_wang_rgb", "ms_ssim_wang_rgb", "psnr_rgb")


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
    """(16, 3, 256, 256), channels last as decoded frames are: pytorch_msssim is several times slower on planes."""
    return [torch.from_numpy(side).permute(0, 3, 1, 2).to(kind) for side in pair]


@pytest.fixture(scope="module")
def contenders(pair):
    """Name -> (a call, the frames it handles)."""
    found = {}
    x, y = _tensors(pair, torch.uint8)
    found["ours: SSIM, MS-SSIM, PSNR"] = lambda: image_scores(x, y, OURS), FRAMES
    try:
        from skimage.metrics import structural_similarity
    except ImportError:
        pass
    else:
        how = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 255}
        a, b = (side[0] for side in pair)
        found["skimage: SSIM"] = lambda: structural_similarity(a, b, channel_axis=2, **how), 1
    try:
        import pytorch_msssim
    except ImportError:
        pass
    else:
        u, v = _tensors(pair, torch.float32)

        @torch.no_grad()
        def both():
            pytorch_msssim.ssim(u, v, size_average=False)
            pytorch_msssim.ms_ssim(u, v, size_average=False)

        found["pytorch_msssim: SSIM, MS-SSIM"] = both, FRAMES
    return found


def _record(benchmark, function, frames):
    benchmark.group = "256x256 RGB"
    benchmark.pedantic(function, rounds=15, warmup_rounds=3)
    benchmark.extra_info["ms_per_frame"] = round(benchmark.stats.stats.min / frames * 1e3, 3)


def test_ours_ssim_ms_ssim_and_psnr(benchmark, contenders):
    best = dict.fromkeys(contenders, float("inf"))
    for _ in range(20):
        for name, (call, frames) in contenders.items():
            start = time.perf_counter()
            call()
            best[name] = min(best[name], (time.perf_counter() - start) / frames * 1e3)
    ours = next(iter(best))
    _record(benchmark, *contenders[ours])
    for name, milliseconds in best.items():
        benchmark.extra_info[f"{name}, ms per frame"] = round(milliseconds, 2)
        if name != ours:
            benchmark.extra_info[f"times faster than {name}"] = round(milliseconds / best[ours], 2)


@pytest.mark.parametrize("name", ["skimage: SSIM", "pytorch_msssim: SSIM, MS-SSIM"])
def test_reference(benchmark, contenders, name):
    if name not in contenders:
        pytest.skip(f"{name.split(':')[0]} is not installed")
    _record(benchmark, *contenders[name])


@pytest.mark.parametrize("name", ["ssim_wang_rgb", "ssim_wang_luma", "ssim_skimage_default", "psnr_rgb", "l1_rgb"])
def test_ours_alone(benchmark, pair, name):
    x, y = _tensors(pair, torch.uint8)
    _record(benchmark, lambda: image_scores(x, y, [name]), FRAMES)


def test_ours_on_two_threads(benchmark, contenders):
    torch.set_num_threads(2)
    _record(benchmark, *next(iter(contenders.values())))
    torch.set_num_threads(1)
