"""Full-reference image metrics, frame by frame: SSIM, MS-SSIM, PSNR, L1.

Every function takes ``generated`` and ``reference``, (B, 3, H, W) RGB, both uint8 or both float in [0, 1], on any
device, and returns (B,) float64: one value per frame, independent of the other frames in the batch. The variants:

ssim_wang_rgb         Wang et al. 2004: Gaussian window 11, sigma 1.5, K = .01 / .03, range 255, windows wholly inside
                      the picture, mean of the three channels. Equals pytorch-msssim's ``ssim``, and scikit-image's
                      ``structural_similarity(gaussian_weights=True, sigma=1.5, use_sample_covariance=False,
                      data_range=255, channel_axis=2)``, which reflects the borders and then cuts those 5 pixels away.
ssim_wang_luma        the same on one channel, as Wang's ``ssim_index.m`` is run: the BT.601 luma
                      .299 R + .587 G + .114 B rounded (half up) to whole levels.
ssim_skimage_default  scikit-image's defaults: 7x7 equal weights, sample covariance, 3 border pixels cut, channel mean.
ms_ssim_wang_rgb      five scales with Wang's weights and 2x2 means between them; equals pytorch-msssim's ``ms_ssim``.
                      Needs both sides above 160 pixels.
psnr_rgb              10 log10(255^2 / mean squared error over all pixels and channels), dB; +inf for equal frames.
l1_rgb                mean absolute difference over all pixels and channels, in [0, 1].
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from metrics.ssim import Window, similarity

NAMES = ("ssim_wang_rgb", "ssim_wang_luma", "ssim_skimage_default", "ms_ssim_wang_rgb", "psnr_rgb", "l1_rgb")
_SMALLEST = {"ssim_wang_rgb": 11, "ssim_wang_luma": 11, "ssim_skimage_default": 7, "ms_ssim_wang_rgb": 161}
_LUMA = (299, 587, 114)  # BT.601 weights in thousandths


def too_small(name: str, height: int, width: int) -> str | None:
    """Why the metric ``name`` has no value for frames of this size, in one line; None when it has."""
    smallest = _SMALLEST.get(name, 1)
    if min(height, width) >= smallest:
        return None
    return f"{name} needs frames of at least {smallest}x{smallest} pixels, these are {width}x{height}"


def image_scores(generated: Tensor, reference: Tensor, names: Sequence[str] = NAMES) -> dict[str, Tensor]:
    """{name: (B,) float64} for the variants in ``names``, sharing what they have in common.

    SSIM is MS-SSIM's first scale, and the squared error falls out of the same pass.
    Raises ValueError for unequal shapes or types, other layouts, unknown names, and frames too small for a variant.
    """
    _check(generated, reference, names)
    frames, channels = generated.shape[:2]
    scores: dict[str, Tensor] = {}
    x, y = _levels(generated), _levels(reference)

    def mean(planes: Tensor) -> Tensor:
        return planes.view(frames, channels).mean(1)

    squared_error = None
    if {"ssim_wang_rgb", "ms_ssim_wang_rgb"} & set(names):
        found = similarity(_planes(x), _planes(y), Window.gaussian(), multiscale="ms_ssim_wang_rgb" in names)
        scores["ssim_wang_rgb"] = mean(found.ssim)
        if found.ms_ssim is not None:
            scores["ms_ssim_wang_rgb"] = mean(found.ms_ssim)
        squared_error = mean(found.squared_error)
    if "ssim_skimage_default" in names:
        found = similarity(_planes(x), _planes(y), Window.uniform())
        scores["ssim_skimage_default"] = mean(found.ssim)
        squared_error = mean(found.squared_error)
    if "ssim_wang_luma" in names:
        scores["ssim_wang_luma"] = similarity(_luma(x), _luma(y), Window.gaussian()).ssim
    if "psnr_rgb" in names:
        if squared_error is None:
            squared_error = _mean_difference(x, y, torch.square)
        scores["psnr_rgb"] = 10 * torch.log10(255.0**2 / squared_error)
    if "l1_rgb" in names:
        scores["l1_rgb"] = _mean_difference(x, y, torch.abs) / 255
    return {name: scores[name] for name in names}


def ssim_wang_rgb(generated: Tensor, reference: Tensor) -> Tensor:
    """(B,) SSIM, Wang's window, mean of R, G, B; in [-1, 1]."""
    return image_scores(generated, reference, ["ssim_wang_rgb"])["ssim_wang_rgb"]


def ssim_wang_luma(generated: Tensor, reference: Tensor) -> Tensor:
    """(B,) SSIM, Wang's window, on the rounded BT.601 luma; in [-1, 1]."""
    return image_scores(generated, reference, ["ssim_wang_luma"])["ssim_wang_luma"]


def ssim_skimage_default(generated: Tensor, reference: Tensor) -> Tensor:
    """(B,) SSIM with scikit-image's default window and covariance, mean of R, G, B; in [-1, 1]."""
    return image_scores(generated, reference, ["ssim_skimage_default"])["ssim_skimage_default"]


def ms_ssim_wang_rgb(generated: Tensor, reference: Tensor) -> Tensor:
    """(B,) MS-SSIM over five scales, mean of R, G, B; in [0, 1]. ValueError unless both sides exceed 160 pixels."""
    return image_scores(generated, reference, ["ms_ssim_wang_rgb"])["ms_ssim_wang_rgb"]


def psnr_rgb(generated: Tensor, reference: Tensor) -> Tensor:
    """(B,) peak signal-to-noise ratio in dB; +inf for equal frames."""
    return image_scores(generated, reference, ["psnr_rgb"])["psnr_rgb"]


def l1_rgb(generated: Tensor, reference: Tensor) -> Tensor:
    """(B,) mean absolute difference; in [0, 1]."""
    return image_scores(generated, reference, ["l1_rgb"])["l1_rgb"]


def _check(generated: Tensor, reference: Tensor, names: Sequence[str]) -> None:
    unknown = [name for name in names if name not in NAMES]
    if unknown:
        raise ValueError(f"unknown image metric {unknown[0]!r}; known: {', '.join(NAMES)}")
    if generated.shape != reference.shape:
        raise ValueError(
            f"generated frames are {tuple(generated.shape)}, reference frames {tuple(reference.shape)}: "
            "resize one to the other first"
        )
    if generated.dtype != reference.dtype or not (generated.dtype == torch.uint8 or generated.is_floating_point()):
        raise ValueError(f"frames must both be uint8 or both float, not {generated.dtype} and {reference.dtype}")
    if generated.ndim != 4 or generated.shape[1] != 3 or not generated.numel():
        raise ValueError(f"frames must be (B, 3, H, W) with B > 0, not {tuple(generated.shape)}")
    for name in names:
        if reason := too_small(name, *generated.shape[2:]):
            raise ValueError(reason)


def _levels(frames: Tensor) -> Tensor:
    """uint8 as it is; float [0, 1] as float32 levels 0..255."""
    return frames.contiguous() if frames.dtype == torch.uint8 else (frames.float() * 255).contiguous()


def _planes(levels: Tensor) -> Tensor:
    """(B, C, H, W) levels -> (B C, H, W) levels minus 128, int8 or float32."""
    planes = levels.flatten(0, 1)
    if planes.dtype == torch.uint8:
        return planes.bitwise_xor(128).view(torch.int8)
    return planes - 128


def _luma(levels: Tensor) -> Tensor:
    """(B, 3, H, W) levels -> (B, H, W) whole levels of luma, minus 128, int8.

    In thousandths the sums of 8-bit levels are whole numbers; the quarter keeps float input off the rounding boundary.
    """
    red, green, blue = _LUMA

    def one(frame: Tensor) -> Tensor:  # frame by frame, which stays within a CPU's caches
        r, g, b = frame.float()
        thousandths = (r * red).add_(g, alpha=green).add_(b, alpha=blue)
        return thousandths.add_(500.25).div_(1000).floor_().sub_(128).to(torch.int8)

    return torch.stack([one(frame) for frame in levels])


def _mean_difference(x: Tensor, y: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
    """(B, C, H, W) levels -> (B,) float64: the mean of a function of x - y.

    Columns first: float32 sums of 8-bit squares are exact up to 258 rows.
    """
    sums = [function(a.float() - b.float()).sum(1).double().sum() for a, b in zip(x, y, strict=True)]
    return torch.stack(sums) / x[0].numel()
