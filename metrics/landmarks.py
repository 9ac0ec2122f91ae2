"""Landmark distance (LMD): pure reductions of (T, P, 2) float arrays of points, in the pixels they come in.

A row of NaN is a frame in which no face was found. 68 points are numbered as in iBUG 300-W: jaw 0-16, brows 17-26,
nose 27-35, eyes 36-47, mouth 48-67; of insightface's 106, 52-71 are the same twenty of the mouth in another order.

The distance is taken after each image's own points have lost their mean ("centred"), so a head that is elsewhere costs
nothing; rotation, scale and lip shape do. Sources: the formula of Chen et al., CVPR 2019 (ATVGnet), a mean over points
and frames; its code (evaluation_matrix.py) sums over the 20 points instead.
"""

from __future__ import annotations

import numpy as np

MOUTH = slice(48, 68)
FACE = slice(0, 68)
MOUTH_106 = slice(52, 72)


def centred(points: np.ndarray) -> np.ndarray:
    """(T, P, 2) -> the same less each frame's mean over its P points."""
    return points - points.mean(axis=1, keepdims=True)


def landmark_distances(generated: np.ndarray, reference: np.ndarray, part: slice = MOUTH) -> np.ndarray:
    """(T, P, 2) twice -> (T,) float64: mean distance of the centred points of ``part``; NaN without both faces.

    Raises ValueError unless both are (T, P, 2) of the same T and P, and have the points of ``part``.
    """
    if generated.shape != reference.shape or generated.ndim != 3 or generated.shape[2] != 2:
        raise ValueError(f"landmarks must be (T, P, 2) twice, not {generated.shape} and {reference.shape}")
    if generated.shape[1] < part.stop:
        raise ValueError(f"points {part.start} to {part.stop - 1} are not among {generated.shape[1]} landmarks")
    difference = centred(generated[:, part].astype(np.float64)) - centred(reference[:, part].astype(np.float64))
    return np.linalg.norm(difference, axis=2).mean(axis=1)


def landmark_sums(generated: np.ndarray, reference: np.ndarray, part: slice = MOUTH) -> np.ndarray:
    """(T,) as ``landmark_distances``, but the sum over the points (ATVGnet's code)."""
    return landmark_distances(generated, reference, part) * (part.stop - part.start)


def mean_over_frames(distances: np.ndarray) -> float:
    """(T,) -> the mean over the frames that have a distance; NaN when none has."""
    seen = distances[~np.isnan(distances)]
    return float(seen.mean()) if len(seen) else float("nan")


def detected(points: np.ndarray) -> np.ndarray:
    """(T, P, 2) -> (T,) bool: a face was found."""
    return ~np.isnan(points).any(axis=(1, 2))
