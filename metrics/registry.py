"""Every metric variant by name, and what computes it. Importing this imports no torch.

To add a group: a class after ``metrics.interface.Accumulator``, its line in GROUPS, and its variants in
``metrics.definitions``.
"""

from __future__ import annotations

from metrics.definition import Metric, load
from metrics.definitions import ALL
from metrics.puppets.definitions import PUPPETS

__all__ = ["GROUPS", "METRICS", "TABLE1", "TABLE1_PUPPETS", "Metric", "default", "get", "load"]

#: group -> the accumulator that computes it
GROUPS = {
    "image": "metrics.image_scores:ImageScores",
    "landmarks": "metrics.landmark_scores:LandmarkScores",
    "sync": "metrics.sync:SyncScores",
    "perceptual": "metrics.perceptual:PerceptualScores",
    "identity": "metrics.identity:IdentityScores",
    "motion": "metrics.motion:MotionScores",
    "distribution": "metrics.distribution:FrameFeatures",
    "puppets": "metrics.puppets.scores:PuppetScores",
}

METRICS: dict[str, Metric] = {metric.name: metric for metric in (*ALL, *PUPPETS)}

#: the columns of the paper's Table 1
TABLE1 = ("ssim_wang_rgb", "ms_ssim_wang_rgb", "psnr_rgb", "lmd_mouth_dlib", "lse_c_official")
#: the same columns on puppets, by the networks that were trained on them, and the control table
TABLE1_PUPPETS = (
    *("ssim_wang_rgb", "ms_ssim_wang_rgb", "psnr_rgb", "lmd_mouth_puppet", "lse_c_puppet"),
    *(name for name in METRICS if name.startswith("control_")),
)


def default(puppets: bool) -> tuple[str, ...]:
    """What a protocol scores unless asked otherwise."""
    return TABLE1_PUPPETS if puppets else TABLE1


def get(name: str) -> Metric:
    """The variant called ``name``; ValueError lists the known ones."""
    if name not in METRICS:
        raise ValueError(f"unknown metric {name!r}; known: {', '.join(METRICS)}")
    return METRICS[name]
