"""The Frechet distance of two sets of feature vectors: its value, its interval over speakers, its bias. NumPy only.

Everything is float64. A set is made of clips, and what is resampled or left out is always a whole clip, both sides of
it together. See ``metrics.distribution`` for what the features of FID are and how to read the value.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np


def frechet_distance(mean1: np.ndarray, cov1: np.ndarray, mean2: np.ndarray, cov2: np.ndarray) -> float:
    """The squared Frechet distance of two Gaussians: |m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)); float64.

    Means are (d,), covariances (d, d), symmetric and positive semidefinite; singular ones are welcome.

    C1 C2 has the eigenvalues of the symmetric C1^(1/2) C2 C1^(1/2), which are real and not negative.
    """
    mean1, cov1, mean2, cov2 = (np.asarray(a, dtype=np.float64) for a in (mean1, cov1, mean2, cov2))
    values, vectors = np.linalg.eigh(cov1)
    root = (vectors * np.sqrt(values.clip(min=0))) @ vectors.T
    overlap = np.sqrt(np.linalg.eigvalsh(root @ cov2 @ root).clip(min=0)).sum()
    return float((mean1 - mean2) @ (mean1 - mean2) + np.trace(cov1) + np.trace(cov2) - 2 * overlap)


def feature_distance(x: np.ndarray, y: np.ndarray) -> float:
    """``frechet_distance`` of the Gaussians fitted to (n, d) and (m, d) features, without forming a covariance.

    With X'X and Y'Y the covariances, tr((X'X Y'Y)^(1/2)) is the sum of the singular values of X Y': no square root of
    a square, and with n < d a small problem. Raises ValueError below two rows a side.
    """
    if min(len(x), len(y)) < 2:
        raise ValueError(f"{min(len(x), len(y))} frames make no covariance; at least 2 are needed")
    (mean1, root1), (mean2, root2) = _gaussian(x), _gaussian(y)
    overlap = np.linalg.svd(root1 @ root2.T, compute_uv=False).sum()
    trace = np.square(root1).sum() + np.square(root2).sum()
    return max(0.0, float((mean1 - mean2) @ (mean1 - mean2) + trace - 2 * overlap))


def _gaussian(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean, and a matrix R of at most d rows with R'R the n - 1 covariance."""
    x = x.astype(np.float64)
    mean = x.mean(0)
    root = (x - mean) / np.sqrt(len(x) - 1)
    return mean, np.linalg.qr(root, mode="r") if len(root) > root.shape[1] else root


@dataclass(frozen=True)
class ClipFeatures:
    """One clip's features, (n, d) generated and (m, d) true. ``cluster``: who speaks; resampled as one."""

    generated: np.ndarray
    reference: np.ndarray
    cluster: str


@dataclass(frozen=True)
class SetScore:
    """A value of a set of clips.

    ``interval``: 95 %, None below two clusters. ``curve``: (clips, mean value of random subsets of so many clips).
    ``extrapolated``: the value's limit for infinitely many clips, or None, with the reason in ``warnings``.
    """

    value: float
    interval: tuple[float, float] | None
    n_clips: int
    n_clusters: int
    n_frames: int
    curve: tuple[tuple[int, float], ...] = ()
    extrapolated: float | None = None
    warnings: tuple[str, ...] = field(default=())


def fid(clips: Sequence[ClipFeatures], *, replicates: int | None = None, seed: int = 0) -> SetScore:
    """FID of all clips' generated frames against all their true frames.

    ``replicates`` bootstrap samples of whole clusters: 200 by default, 60 for more than 500 frames, where
    each takes from a tenth of a second to some seconds. Same seed, same numbers, whatever the order in which the clips
    were made; their order in ``clips`` counts. ValueError without clips, or with fewer than two frames.
    """
    if not clips:
        raise ValueError("no clip has features")
    n_frames = min(sum(len(c.generated) for c in clips), sum(len(c.reference) for c in clips))
    d = clips[0].generated.shape[1]
    every = _Reweighted(clips)
    value = feature_distance(every.generated, every.reference)
    notes = []
    if n_frames <= d:
        notes.append(f"{n_frames} frames for {d} features: mostly bias; compare only with the same clips")
    clusters: dict[str, list[int]] = {}
    for index, clip in enumerate(clips):
        clusters.setdefault(clip.cluster, []).append(index)
    if replicates is None:
        replicates = 200 if n_frames <= 500 else 60
    interval = _interval(every, list(clusters.values()), value, replicates, seed) if len(clusters) > 1 else None
    curve = _curve(every, value, seed=seed)
    extrapolated, why = _extrapolate(curve, n_frames / len(clips), d)
    if why:
        notes.append(why)
    return SetScore(value, interval, len(clips), len(clusters), n_frames, curve, extrapolated, tuple(notes))


def bias_curve(clips: Sequence[ClipFeatures], *, points: int = 5, draws: int = 4, seed: int = 0) -> tuple:
    """((k, mean value over ``draws`` random subsets of k clips), ...), k from a third of the clips to all."""
    every = _Reweighted(clips)
    return _curve(every, feature_distance(every.generated, every.reference), points=points, draws=draws, seed=seed)


class _Reweighted:
    """The distance when clip i counts ``weights[i]`` times, for many weights of the same clips.

    The overlap tr((C1 C2)^(1/2)) is the sum of the singular values of X Y', X and Y the centred and weighted features.
    The inner products of all frames are formed once; a reweighting takes the rows that count, and centres and scales
    them. Above as many frames as features the d x d covariances are the smaller problem. Singular values come from the
    eigenvalues of a square, which halves their digits: enough for an interval, not for the value itself.
    """

    def __init__(self, clips: Sequence[ClipFeatures]) -> None:
        self.generated, self.reference = (
            np.concatenate([getattr(c, side) for c in clips]).astype(np.float64) for side in ("generated", "reference")
        )
        self.n_clips = len(clips)
        self._lengths = [[len(getattr(c, side)) for c in clips] for side in ("generated", "reference")]
        about = self.reference.mean(0)  # the distance does not change, and the products keep their digits
        self._x, self._y = self.generated - about, self.reference - about
        small = max(len(self._x), len(self._y)) <= 2 * self._x.shape[1]
        self._products = self._x @ self._y.T if small else None

    def distance(self, weights: np.ndarray) -> float:
        """``weights``: (n_clips,) whole numbers, not negative."""
        (rows_x, scale_x, mean_x, trace_x), (rows_y, scale_y, mean_y, trace_y) = (
            _moments(side, np.repeat(weights, lengths))
            for side, lengths in zip((self._x, self._y), self._lengths, strict=True)
        )
        if self._products is not None and min(len(rows_x), len(rows_y)) <= len(mean_x):
            inner = self._products[np.ix_(rows_x, rows_y)] - (self._x[rows_x] @ mean_y)[:, None]
            inner += mean_x @ mean_y - self._y[rows_y] @ mean_x
            inner *= scale_x[:, None] * scale_y
            square = inner @ inner.T if len(inner) <= inner.shape[1] else inner.T @ inner
        else:
            x, y = (self._x[rows_x] - mean_x) * scale_x[:, None], (self._y[rows_y] - mean_y) * scale_y[:, None]
            root = np.linalg.qr(x, mode="r")
            square = root @ (y.T @ y) @ root.T
        overlap = np.sqrt(np.linalg.eigvalsh(square).clip(min=0)).sum()
        return max(0.0, float(np.square(mean_x - mean_y).sum() + trace_x + trace_y - 2 * overlap))


def _moments(rows: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """Which rows count, the square root of each one's share of the n - 1 covariance, the mean, the trace."""
    kept = np.flatnonzero(weights)
    weights = weights[kept].astype(np.float64)
    n = weights.sum()
    if n < 2:
        raise ValueError(f"{n:.0f} frames make no covariance; at least 2 are needed")
    mean = weights @ rows[kept] / n
    trace = float(weights @ np.square(rows[kept] - mean).sum(1)) / (n - 1)
    return kept, np.sqrt(weights / (n - 1)), mean, trace


def _curve(every: _Reweighted, value: float, *, points: int = 5, draws: int = 4, seed: int = 0) -> tuple:
    rng, n = np.random.default_rng(seed), every.n_clips
    sizes = sorted({max(2, round(k)) for k in np.linspace(n / 3, n, points)} & set(range(n)))
    curve = []
    for size in sizes:
        subsets = [rng.choice(n, size, replace=False) for _ in range(draws)]
        values = [every.distance(np.bincount(subset, minlength=n)) for subset in subsets]
        curve.append((size, float(np.mean(values))))
    return (*curve, (n, value))


def _extrapolate(curve: Sequence[tuple[int, float]], frames_per_clip: float, d: int) -> tuple[float | None, str | None]:
    """The intercept of the straight line through value against 1 / clips (Chong, Forsyth: "FID infinity")."""
    if len(curve) < 3:
        return None, "too few clips to extrapolate the bias"
    if curve[0][0] * frames_per_clip <= d:
        return None, f"not extrapolated: subsets of {curve[0][0]} clips have no more frames than features ({d})"
    line = np.polyfit([1 / k for k, _ in curve], [value for _, value in curve], 1)
    return float(line[1]), None


def _interval(
    every: _Reweighted, clusters: list[list[int]], value: float, replicates: int, seed: int
) -> tuple[float, float]:
    rng = np.random.default_rng(seed)
    samples = []
    for _ in range(replicates):
        drawn = rng.integers(len(clusters), size=len(clusters))
        clips = np.concatenate([clusters[i] for i in drawn])
        samples.append(every.distance(np.bincount(clips, minlength=every.n_clips)))
    low, high = np.quantile(samples, [0.025, 0.975]) - np.mean(samples) + value
    return max(0.0, float(low)), float(high)
