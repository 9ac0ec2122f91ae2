"""The mean of ratings when the participants and the clips are both a sample: crossed random effects by moments.

One score for each participant i and clip j (a rating, or the difference of two ratings), some of them missing:

    y_ij = mean + a_i + b_j + e_ij,      variances A, B, E

Everyone who rates all 20 clips shares those clips, and all ratings of one person share that person, so that 800 ratings
are not 800 independent numbers: taking them for such gives intervals that cover the truth about half of the time
(Clark 1973, doi 10.1016/S0022-5371(73)80014-3). The variance of the mean of n scores, n_i of them by participant i and
m_j of them of clip j, is

    (A * sum n_i^2 + B * sum m_j^2 + E * n) / n^2

A, B and E come from the moments of Gao & Owen (2017, doi 10.1214/17-EJS1236), which are unbiased whatever is missing
and equal the two-way analysis of variance when nothing is. The degrees of freedom are Satterthwaite's (1946): exact in
form for complete data; for incomplete data each factor counts with its effective number n^2 / sum n_i^2 (Kish).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

LEVEL = 0.95
NO_SCORE = "no rating"
ONE_PARTICIPANT = "one participant only"
ONE_CLIP = "one clip only"
EQUAL = "all values are the same"
NOT_CROSSED = "too few clips were rated by several participants"


@dataclass(frozen=True)
class Moments:
    """Estimates for a batch of (participants, clips) arrays; every field has the batch's shape.

    ``participant``, ``clip``, ``residual``: the variances A, B, E, unbiased and so at times negative. ``se`` and ``df``
    use them cut at 0. NaN where an estimate cannot be had.
    """

    mean: np.ndarray
    se: np.ndarray
    df: np.ndarray
    participant: np.ndarray
    clip: np.ndarray
    residual: np.ndarray
    n: np.ndarray
    n_participants: np.ndarray
    n_clips: np.ndarray


@dataclass(frozen=True)
class Mean:
    """One mean with its interval; ``lo``, ``hi``, ``se``, ``df`` and ``p`` (two-sided, of the mean being 0) are None
    where ``reason`` says why. ``mean`` is None without any score.
    """

    mean: float | None
    lo: float | None
    hi: float | None
    se: float | None
    df: float | None
    p: float | None
    n: int
    n_participants: int
    n_clips: int
    reason: str = ""


def moments(scores: np.ndarray) -> Moments:
    """Estimates from ``scores`` (..., participants, clips), NaN where there is none."""
    scores = np.asarray(scores, dtype=np.float64)
    there = ~np.isnan(scores)
    n_i, m_j = there.sum(-1), there.sum(-2)
    n = n_i.sum(-1)
    participants, clips = (n_i > 0).sum(-1), (m_j > 0).sum(-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = np.where(there, scores, 0).sum((-1, -2)) / n
        apart = np.where(there, scores - mean[..., None, None], 0)
        total = (apart**2).sum((-1, -2))
        within_i = total - (apart.sum(-1) ** 2 / np.maximum(n_i, 1)).sum(-1)
        within_j = total - (apart.sum(-2) ** 2 / np.maximum(m_j, 1)).sum(-1)
        squares_i, squares_j = (n_i.astype(float) ** 2).sum(-1), (m_j.astype(float) ** 2).sum(-1)

        # E[within_i] = (B + E)(n - participants); E[within_j] = (A + E)(n - clips);
        # E[n * total] = A (n^2 - squares_i) + B (n^2 - squares_j) + E (n^2 - n)
        b_e, a_e = within_i / (n - participants), within_j / (n - clips)
        known = a_e * (n**2 - squares_i) + b_e * (n**2 - squares_j) - n * total
        e = known / (n**2 - squares_i - squares_j + n)
        a, b = a_e - e, b_e - e

        e_part = np.maximum(e, 0) / n
        a_part = np.maximum(a, 0) * squares_i / n**2 + e_part
        b_part = np.maximum(b, 0) * squares_j / n**2 + e_part
        variance = a_part + b_part - e_part
        spread = (
            a_part**2 / (n**2 / squares_i - 1)
            + b_part**2 / (n**2 / squares_j - 1)
            + e_part**2 / np.maximum(n - participants - clips + 1, 1)
        )
        df = variance**2 / spread
    return Moments(mean, np.sqrt(variance), df, a, b, e, n, participants, clips)


def mean_of(scores: np.ndarray, *, level: float = LEVEL, limits: tuple[float, float] | None = None) -> Mean:
    """The mean of ``scores`` (participants, clips) with its interval, cut at ``limits`` where the scale ends there."""
    from scipy import stats

    scores = np.asarray(scores, dtype=np.float64)
    found = moments(scores)
    counts = (int(found.n), int(found.n_participants), int(found.n_clips))
    if counts[0] == 0:
        return Mean(None, None, None, None, None, None, *counts, NO_SCORE)
    mean, se, df = float(found.mean), float(found.se), float(found.df)
    if reason := _why_no_interval(scores, found):
        return Mean(mean, None, None, None, None, None, *counts, reason)
    half = float(stats.t.ppf((1 + level) / 2, df)) * se
    lo, hi = mean - half, mean + half
    if limits is not None:
        lo, hi = max(lo, limits[0]), min(hi, limits[1])
    return Mean(mean, lo, hi, se, df, float(2 * stats.t.sf(abs(mean) / se, df)), *counts)


def _why_no_interval(scores: np.ndarray, found: Moments) -> str:
    if found.n_participants < 2:
        return ONE_PARTICIPANT
    if found.n_clips < 2:
        return ONE_CLIP
    if np.nanmin(scores) == np.nanmax(scores):
        return EQUAL
    if not (np.isfinite(found.se) and np.isfinite(found.df) and found.se > 0):
        return NOT_CROSSED
    return ""


def holm(p_values: list[float | None]) -> list[float | None]:
    """P values corrected for all of them together (Holm 1979); None stays None and counts as a test all the same."""
    order = sorted((i for i, p in enumerate(p_values) if p is not None), key=lambda i: p_values[i])
    corrected: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for rank, i in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[i]))
        corrected[i] = largest
    return corrected
