"""How many participants a rating study needs, in closed form.

Two methods are rated by the same P participants on the same C clips. What participants have in common about both
methods, and clips, cancels in the difference; what remains are the variances (of one method's ratings) of
participant x method, clip x method and the rest:

    variance of the difference = 2 * (participant / P + clip / C + residual / (P * C))

The test is the one of ``results.opinion_variance``; its power is that of the noncentral t distribution with
Satterthwaite's degrees of freedom (Westfall, Kenny & Judd 2014, doi 10.1037/xge0000014). As P grows the variance does
not fall below 2 * clip / C: with few clips there is a power that no number of participants exceeds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from results.opinion_variance import moments
from results.rows import ResultsError

if TYPE_CHECKING:
    from results.opinion import Opinion

#: Shares of a single rating's variance: participant x method, clip x method, residual. They are the example that
#: Westfall, Kenny & Judd (2014) calculate with (0.1 for the interaction of either factor with the condition, as half
#: the difference of two methods, which is 0.2 for one method; 0.3 residual), not a measurement on talking faces.
SHARES = (0.2, 0.2, 0.3)
SD = 1.0
ASSUMED = (
    "assumed, not measured: ratings with a standard deviation of 1 point and the variance shares that Westfall, Kenny "
    "& Judd (2014) calculate with; run a pilot and give it with --study"
)
MOST = 100_000


@dataclass(frozen=True)
class Variances:
    """Variances of one method's ratings, in squared points."""

    participant: float
    clip: float
    residual: float


@dataclass(frozen=True)
class Question:
    """``tests``: how many comparisons share the ``level``; the power is that of the strictest step of Holm's."""

    difference: float = 0.2
    power: float = 0.8
    videos: int = 20
    tests: int = 30
    level: float = 0.05

    def __post_init__(self) -> None:
        if not self.difference > 0:
            raise ValueError(f"--difference {self.difference:g}: give a positive number of points")
        if not 0 < self.level < 1 or not self.level < self.power < 1:
            raise ValueError(f"--power {self.power:g}, --level {self.level:g}: give shares with 0 < level < power < 1")
        if self.videos < 2:
            raise ValueError(f"--videos {self.videos}: with fewer than 2 there is no interval")


def of_shares(sd: float = SD, shares: tuple[float, float, float] = SHARES) -> Variances:
    """Variances from the standard deviation of single ratings and the shares of its square. ValueError otherwise."""
    if not sd > 0:
        raise ValueError(f"--sd {sd:g}: give a positive number of points")
    if min(shares) < 0 or not 0 < sum(shares) <= 1:
        raise ValueError(f"--shares {' '.join(f'{s:g}' for s in shares)}: none below 0, together at most 1")
    return Variances(*(share * sd**2 for share in shares))


def of_study(opinion: Opinion) -> Variances:
    """The variances in a study's ratings: the mean over all pairs of methods and all questions, cut at 0.

    Controls are left out where there are two methods without them: whether ratings of the truth vary says little.

    Raises :class:`ResultsError` where no pair has two participants who rated two clips under both methods.
    """
    from itertools import combinations

    from results.opinion import grid

    analysis, found = opinion.main, []
    rated = list(dict.fromkeys(method for method, _ in analysis.means))
    methods = [method for method in rated if method not in opinion.about.controls]
    methods = methods if len(methods) > 1 else rated
    for question in (q.name for q in opinion.about.questions):
        cells = [
            grid(analysis.ratings, question, m, list(analysis.participants), list(analysis.clips)) for m in methods
        ]
        for a, b in combinations(cells, 2):
            m = moments(a - b)
            found.append([float(m.participant) / 2, float(m.clip) / 2, float(m.residual) / 2])
    found = [three for three in found if np.isfinite(three).all()]
    if not found:
        raise ResultsError("too few ratings to estimate variances: two methods, two participants, two clips are needed")
    return Variances(*(max(0.0, float(v)) for v in np.mean(found, axis=0)))


def tests(methods: int, questions: int) -> int:
    """How many paired comparisons there are. ValueError for fewer than two methods or no question."""
    if methods < 2 or questions < 1:
        raise ValueError(f"--methods {methods} --questions {questions}: two methods and one question are needed")
    return methods * (methods - 1) // 2 * questions


def power(variances: Variances, difference: float, participants: float, videos: int, level: float = 0.05) -> float:
    """The chance that the two-sided test at ``level`` finds ``difference``; ``participants`` may be infinite."""
    from scipy import stats

    v, df = _variance(variances, participants, videos)
    if v == 0:
        return 1.0
    bound, shift = stats.t.ppf(1 - level / 2, df), difference / math.sqrt(v)
    if shift < 3:
        return float(stats.nct.sf(bound, df, shift) + stats.nct.cdf(-bound, df, shift))
    # Far out SciPy's noncentral t is not a number at times: the mean over the estimated spread instead, by quantiles.
    spread = np.sqrt(stats.chi2.ppf((np.arange(1000) + 0.5) / 1000, df) / df)
    return float(stats.norm.sf(bound * spread - shift).mean())


def participants_for(variances: Variances, question: Question) -> int | None:
    """The smallest number of participants with the power asked for; None when no number has it."""
    return _smallest(lambda n: _power(variances, question, n, question.videos), question.power)


def videos_for(variances: Variances, question: Question, participants: float = math.inf) -> int | None:
    """The smallest number of videos with the power asked for, given ``participants``; None when no number has it."""
    return _smallest(lambda n: _power(variances, question, participants, n), question.power)


def ceiling(variances: Variances, question: Question) -> float:
    """The power that is never exceeded with ``question.videos``, however many participants there are."""
    return _power(variances, question, math.inf, question.videos)


def smallest_difference(variances: Variances, question: Question, participants: float) -> float:
    """The smallest difference that ``participants`` show with the power asked for."""
    from scipy.optimize import brentq

    def short(difference: float) -> float:
        found = power(variances, difference, participants, question.videos, question.level / question.tests)
        return found - question.power

    if short(1e-9) >= 0:  # no variance at all
        return 0.0
    high = 1.0
    while short(high) < 0:
        high *= 2
    return float(brentq(short, 1e-9, high, xtol=1e-4))


def _power(variances: Variances, question: Question, participants: float, videos: int) -> float:
    return power(variances, question.difference, participants, videos, question.level / question.tests)


def _variance(variances: Variances, participants: float, videos: int) -> tuple[float, float]:
    """Variance of the mean difference, and Satterthwaite's degrees of freedom at the true variances."""
    rest = variances.residual / (participants * videos)
    a, b = variances.participant / participants + rest, variances.clip / videos + rest
    v = a + b - rest
    if v == 0:
        return 0.0, math.inf
    spread = a**2 / (participants - 1) + b**2 / (videos - 1) + rest**2 / ((participants - 1) * (videos - 1))
    return 2 * v, v**2 / spread


def _smallest(power_of, wanted: float) -> int | None:
    """The smallest n from 2 on with ``power_of(n)`` >= ``wanted``, which grows with n."""
    high = 2
    while power_of(high) < wanted:
        if high >= MOST:
            return None
        high = min(2 * high, MOST)
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if power_of(middle) >= wanted else (middle, high)
    return max(high, 2)
