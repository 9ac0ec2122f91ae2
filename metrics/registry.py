"""Every metric variant by name, as plain data. Importing this imports no torch.

To add a group: a class after ``metrics.interface.Accumulator``, its line in GROUPS, and its variants in METRICS.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass


@dataclass(frozen=True)
class Metric:
    """One variant. ``column`` is its heading in tables, ``group`` the accumulator that computes it.

    ``requires``: "module:function"; the function returns None where the metric can run, else the reason in one line.
    ``version`` goes up when the value of any clip changes.
    """

    name: str
    column: str
    group: str
    unit: str
    range: str
    better: str
    source: str
    definition: str
    version: int = 1
    requires: str | None = None

    def unavailable(self) -> str | None:
        """None where the metric can be computed here, else the reason in one line."""
        return None if self.requires is None else load(self.requires)()


GROUPS = {
    "image": "metrics.image_scores:ImageScores",
    "landmarks": "metrics.landmark_scores:LandmarkScores",
    "sync": "metrics.sync:SyncScores",
}

_WANG = "Wang, Bovik, Sheikh, Simoncelli, IEEE TIP 2004"
_MULTI = "Wang, Simoncelli, Bovik, Asilomar 2003; weights and pooling of github.com/VainF/pytorch-msssim"
_CHEN = "Chen, Maddox, Duan, Xu, CVPR 2019 (ATVGnet)"
_DLIB = "metrics.landmark_backends:dlib_missing"
_FAN = "metrics.landmark_backends:fan_missing"

_ALL = (
    Metric(
        "ssim_wang_rgb", "SSIM", "image", "", "[-1, 1]", "higher", _WANG,
        "SSIM of full RGB frames: Gaussian window 11, sigma 1.5, K .01/.03, range 255, windows inside the frame; "
        "mean over channels, then frames.",
    ),
    Metric(
        "ssim_wang_luma", "SSIM (luma)", "image", "", "[-1, 1]", "higher", _WANG,
        "SSIM with the same window on BT.601 luma rounded to whole levels; mean over frames.",
    ),
    Metric(
        "ssim_skimage_default", "SSIM (7x7)", "image", "", "[-1, 1]", "higher",
        "scikit-image structural_similarity, default options",
        "SSIM of full RGB frames with a 7x7 uniform window and sample covariance; mean over channels, then frames.",
    ),
    Metric(
        "ms_ssim_wang_rgb", "MS-SSIM", "image", "", "[0, 1]", "higher", _MULTI,
        "Five-scale SSIM of full RGB frames above 160 pixels; mean over channels, then frames.",
    ),
    Metric(
        "psnr_rgb", "PSNR", "image", "dB", "[0, inf]", "higher", "10 log10(255^2 / MSE)",
        "PSNR per frame from the squared error over all pixels and channels; mean over the frames where it is finite.",
    ),
    Metric(
        "l1_rgb", "L1", "image", "", "[0, 1]", "lower", "mean absolute difference",
        "Mean absolute difference over all pixels and channels, levels scaled to [0, 1]; mean over frames.",
    ),
    Metric(
        "lmd_mouth_dlib", "LMD", "landmarks", "px at 256", "[0, inf)", "lower", _CHEN,
        "Mean distance of the 20 mouth points (dlib, 68-point predictor) after each image's mouth centroid is removed, "
        "in pixels of a 256-pixel frame; mean over the frames where both show a face.",
        requires=_DLIB,
    ),
    Metric(
        "lmd_mouth_fan", "LMD (FAN)", "landmarks", "px at 256", "[0, inf)", "lower",
        f"{_CHEN}; points of Bulat, Tzimiropoulos, ICCV 2017",
        "As lmd_mouth_dlib, with S3FD boxes and 2D-FAN-4 points (no flipped second pass).",
        requires=_FAN,
    ),
    Metric(
        "lmd_atvgnet_dlib", "LMD (sum)", "landmarks", "px at 256", "[0, inf)", "lower",
        "lelechen63/ATVGnet, evaluation_matrix.py",
        "The sum, not the mean, over the 20 centred mouth points (dlib), as the ATVGnet code reduces it.",
        requires=_DLIB,
    ),
    Metric(
        "lmd_face_dlib", "F-LMD", "landmarks", "px at 256", "[0, inf)", "lower",
        "yuangan/evaluation_eat, test_lmd.py (without its alignment to a template)",
        "As lmd_mouth_dlib, for all 68 points after their centroid is removed.",
        requires=_DLIB,
    ),
    Metric(
        "lse_c_official", "LSE-C", "sync", "", "(-inf, inf)", "higher",
        "Chung, Zisserman, ACCV 2016 workshops; Prajwal et al., ACM MM 2020",
        "Median minus minimum over offsets of SyncNet's mean audio-video distance, on the official face track.",
        requires="metrics.sync_requirements:s3fd",
    ),
)  # fmt: skip

METRICS: dict[str, Metric] = {metric.name: metric for metric in _ALL}

#: the columns of the paper's Table 1
TABLE1 = ("ssim_wang_rgb", "ms_ssim_wang_rgb", "psnr_rgb", "lmd_mouth_dlib", "lse_c_official")


def get(name: str) -> Metric:
    """The variant called ``name``; ValueError lists the known ones."""
    if name not in METRICS:
        raise ValueError(f"unknown metric {name!r}; known: {', '.join(METRICS)}")
    return METRICS[name]


def load(path: str):
    """The object that "module:name" stands for."""
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module), name)
