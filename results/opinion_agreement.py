"""How far raters agree: Krippendorff's alpha for ordinal ratings, and intraclass correlations.

Alpha asks how much closer two ratings of one video are than two ratings of any videos; the package `krippendorff`
computes it, whatever ratings are missing. ICC(2,1) is the share of a single rating's variance that the video makes,
ICC(2,k) the same of the mean of k raters (Shrout & Fleiss 1979, doi 10.1037/0033-2909.86.2.420: videos and raters both
a sample). A study's means can be precise although alpha is low: it speaks of single ratings, not of means.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from results.opinion_variance import moments

DRAWS = 1000
SEED = 0
MISSING = "needs the package krippendorff: pip install krippendorff"
TOO_FEW = "needs two raters and two videos"
EQUAL = "all ratings are the same"


@dataclass(frozen=True)
class Agreement:
    """A coefficient (1: perfect agreement, 0: none) with its 95 % interval; ``reason`` says why one is None."""

    value: float | None
    lo: float | None = None
    hi: float | None = None
    reason: str = ""


def alpha(
    ratings: np.ndarray, clips: list[str], scale: tuple[int, int], *, draws: int = DRAWS, seed: int = SEED
) -> Agreement:
    """Krippendorff's ordinal alpha of ``ratings`` (raters, videos), NaN where missing; ``clips``: each video's.

    The interval resamples clips with all of their videos; resampling raters would draw one of them twice, and nobody
    agrees with oneself by chance. ``scale``: the lowest and the highest rating.
    """
    try:
        import krippendorff
    except ImportError:
        return Agreement(None, reason=MISSING)
    domain = list(range(scale[0], scale[1] + 1))
    counts = np.stack([(ratings == value).sum(0) for value in domain], axis=1)
    counts = np.where(counts.sum(1, keepdims=True) >= 2, counts, 0)  # a video with one rating pairs with nothing
    if (counts.sum(1) > 0).sum() < 2:
        return Agreement(None, reason=TOO_FEW)

    def of(counted: np.ndarray) -> float | None:
        if (counted.sum(0) > 0).sum() < 2:
            return None
        return float(krippendorff.alpha(value_counts=counted, value_domain=domain, level_of_measurement="ordinal"))

    value = of(counts)
    if value is None:
        return Agreement(None, reason=EQUAL)
    names, index = np.unique(np.asarray(clips, dtype=str), return_inverse=True)
    if len(names) < 2:
        return Agreement(value, reason="one clip only")
    generator = np.random.default_rng(seed)
    videos_of = [np.flatnonzero(index == i) for i in range(len(names))]
    found = []
    for _ in range(draws):
        drawn = generator.integers(len(names), size=len(names))
        again = of(counts[np.concatenate([videos_of[i] for i in drawn])])
        if again is not None:
            found.append(again)
    low, high = np.quantile(found, [0.025, 0.975])
    return Agreement(value, float(low), float(high))


def icc(ratings: np.ndarray) -> tuple[Agreement, Agreement, float]:
    """ICC(2,1), ICC(2,k) and k of ``ratings`` (raters, videos), NaN where missing.

    Complete ratings: Shrout & Fleiss's estimates and F intervals. Otherwise the estimates come from the variance
    components of ``results.opinion_variance`` (for complete ratings the same numbers), k is the harmonic mean of the
    raters of a video, and there is no interval.
    """
    ratings = ratings[~np.isnan(ratings).all(1)][:, ~np.isnan(ratings).all(0)]
    k, n = ratings.shape
    if k < 2 or n < 2:
        return Agreement(None, reason=TOO_FEW), Agreement(None, reason=TOO_FEW), float(k)
    if np.nanmin(ratings) == np.nanmax(ratings):
        return Agreement(None, reason=EQUAL), Agreement(None, reason=EQUAL), float(k)
    if np.isnan(ratings).any():
        return _from_components(ratings)
    grand = ratings.mean()
    of_videos = k * ((ratings.mean(0) - grand) ** 2).sum() / (n - 1)
    of_raters = n * ((ratings.mean(1) - grand) ** 2).sum() / (k - 1)
    rest = ratings - ratings.mean(0) - ratings.mean(1, keepdims=True) + grand
    residual = (rest**2).sum() / ((n - 1) * (k - 1))
    single = (of_videos - residual) / (of_videos + (k - 1) * residual + k * (of_raters - residual) / n)
    mean = (of_videos - residual) / (of_videos + (of_raters - residual) / n)
    lo, hi = _interval(of_videos, of_raters, residual, single, n, k)
    raised = [x * k / (1 + (k - 1) * x) if x is not None else None for x in (lo, hi)]
    return Agreement(float(single), lo, hi), Agreement(float(mean), *raised), float(k)


def _interval(bms: float, jms: float, ems: float, rho: float, n: int, k: int) -> tuple[float | None, float | None]:
    """Shrout & Fleiss's 95 % interval of ICC(2,1), from the mean squares of n videos and k raters."""
    from scipy import stats

    if ems <= 0:
        return None, None
    ratio = jms / ems
    top = (k - 1) * (n - 1) * (k * rho * ratio + n * (1 + (k - 1) * rho) - k * rho) ** 2
    bottom = (n - 1) * k**2 * rho**2 * ratio**2 + (n * (1 + (k - 1) * rho) - k * rho) ** 2
    v = top / bottom
    upper, lower = stats.f.ppf(0.975, n - 1, v), stats.f.ppf(0.975, v, n - 1)
    both = k * jms + (k * n - k - n) * ems
    lo = n * (bms - upper * ems) / (upper * both + n * bms)
    hi = n * (lower * bms - ems) / (both + n * lower * bms)
    return float(lo), float(hi)


def _from_components(ratings: np.ndarray) -> tuple[Agreement, Agreement, float]:
    found = moments(ratings)
    there = (~np.isnan(ratings)).sum(0)
    k = float(len(there) / (1 / there).sum())
    rater, video, residual = float(found.participant), float(found.clip), float(found.residual)
    total = video + rater + residual
    if not np.isfinite(total) or total <= 0:
        return Agreement(None, reason=TOO_FEW), Agreement(None, reason=TOO_FEW), k
    reason = "no interval: not everybody rated every video"
    single = Agreement(video / total, reason=reason)
    return single, Agreement(video / (video + (rater + residual) / k), reason=reason), k
