"""The estimates of a rating study: intervals that cover what they claim, comparisons that claim no more, agreement."""

from __future__ import annotations

import numpy as np
import pytest
from opinion_rater import (
    CLIPS,
    MIXED,
    NO_CLIPS,
    NOTHING,
    QUESTIONS,
    RATERS,
    planted,
    population_mean,
    stopped,
    subsets,
)
from scipy import stats

from results import opinion_agreement
from results.opinion_variance import holm, mean_of, moments

VIDEOS = 20


def covered(ratings, truth: float) -> float:
    """The share of the studies in ``ratings`` (studies, participants, clips) whose 95 % interval holds ``truth``."""
    found = moments(ratings)
    return float((np.abs(found.mean - truth) <= stats.t.ppf(0.975, found.df) * found.se).mean())


def coverage(raters: int, variances, centre: float, studies: int, thin=None, seed: int = 0) -> float:
    generator = np.random.default_rng([seed, raters, round(10 * centre)])
    hits = []
    for _ in range(max(1, studies // 1000)):
        ratings = planted(generator, min(studies, 1000), raters, VIDEOS, [centre], variances)
        ratings = thin(generator, ratings) if thin else ratings
        hits.append(covered(ratings[:, 0], population_mean(centre, variances)))
    return float(np.mean(hits))


def half_of_the_clips(generator, ratings):
    return subsets(generator, ratings, 10)


# --- intervals ---------------------------------------------------------------------------------------------------


def test_the_planted_mean_is_that_of_a_large_simulation():
    generator = np.random.default_rng(1)
    for centre, variances in ((3.0, MIXED), (4.4, RATERS), (1.4, CLIPS)):
        opinions = centre + np.sqrt(sum(variances.values())) * generator.standard_normal(4_000_000)
        simulated = np.clip(np.rint(opinions), 1, 5).mean()
        assert population_mean(centre, variances) == pytest.approx(simulated, abs=0.002)  # 4 standard errors


@pytest.mark.parametrize("raters", [12, 40])
@pytest.mark.parametrize(("variances", "centre"), [(MIXED, 3.4), (RATERS, 3.4), (CLIPS, 3.4), (MIXED, 2.0)])
def test_intervals_cover_the_planted_mean_95_times_in_100(raters, variances, centre):
    # 1000 studies: the standard error of the coverage is 0.7 points; the slow test below is stricter
    assert coverage(raters, variances, centre, 1000) == pytest.approx(0.95, abs=0.03)


@pytest.mark.parametrize("thin", [stopped, half_of_the_clips])
def test_intervals_cover_when_raters_stop_or_see_a_part_only(thin):
    assert coverage(12, MIXED, 3.4, 1000, thin) == pytest.approx(0.95, abs=0.03)


@pytest.mark.slow
@pytest.mark.parametrize("raters", [12, 40])
@pytest.mark.parametrize("thin", [None, stopped, half_of_the_clips])
@pytest.mark.parametrize("variances", [MIXED, RATERS, CLIPS, NO_CLIPS])
@pytest.mark.parametrize("centre", [2.0, 3.0, 4.4])
def test_coverage_lies_between_93_and_97_percent(raters, thin, variances, centre):
    # 8000 studies: the standard error of the coverage is 0.24 points
    assert 0.93 <= coverage(raters, variances, centre, 8000, thin, seed=1) <= 0.97


def test_without_any_effect_intervals_are_too_wide_and_never_too_narrow():
    assert coverage(12, NOTHING, 3.0, 1000) > 0.97


def test_ratings_taken_for_independent_cover_half_of_the_time():
    ratings = planted(np.random.default_rng(5), 1000, 12, VIDEOS, [3.4], MIXED)[:, 0].reshape(1000, -1)
    half = 1.96 * ratings.std(1, ddof=1) / np.sqrt(ratings.shape[1])
    assert (np.abs(ratings.mean(1) - population_mean(3.4, MIXED)) <= half).mean() < 0.6


def test_one_mean_is_what_the_batch_gives():
    ratings = stopped(np.random.default_rng(2), planted(np.random.default_rng(2), 3, 8, 6, [3.0], MIXED))[:, 0]
    batch = moments(ratings)
    for i, one in enumerate(ratings):
        found = mean_of(one)
        half = stats.t.ppf(0.975, batch.df[i]) * batch.se[i]
        assert found.mean == pytest.approx(np.nanmean(one))
        assert (found.lo, found.hi) == (pytest.approx(found.mean - half), pytest.approx(found.mean + half))


def test_the_components_of_complete_ratings_are_those_of_the_analysis_of_variance():
    y = planted(np.random.default_rng(3), 1, 9, 7, [3.0], MIXED)[0, 0]
    found, grand = moments(y), y.mean()
    of_raters = 7 * ((y.mean(1) - grand) ** 2).sum() / 8
    of_clips = 9 * ((y.mean(0) - grand) ** 2).sum() / 6
    residual = ((y - y.mean(0) - y.mean(1, keepdims=True) + grand) ** 2).sum() / 48
    assert found.residual == pytest.approx(residual)
    assert found.participant == pytest.approx((of_raters - residual) / 7)
    assert found.clip == pytest.approx((of_clips - residual) / 9)
    assert found.se**2 == pytest.approx((of_raters + of_clips - residual) / 63)


def test_the_components_of_incomplete_ratings_have_no_bias():
    generator = np.random.default_rng(4)
    thinned = stopped(generator, planted(generator, 4000, 10, 8, [0.0], MIXED)[:, :1], 0.5)
    exact = np.where(np.isnan(thinned), np.nan, 0.0)  # normal values instead of rounded ones: variances are as planted
    exact = exact + np.sqrt(0.3) * generator.standard_normal((4000, 1, 10, 1))
    exact = exact + np.sqrt(0.2) * generator.standard_normal((4000, 1, 1, 8)) + generator.standard_normal(exact.shape)
    found = moments(exact[:, 0])
    for name, variance in (("participant", 0.3), ("clip", 0.2), ("residual", 1.0)):
        values = getattr(found, name)
        assert values.mean() == pytest.approx(variance, abs=4 * values.std() / np.sqrt(len(values)))


@pytest.mark.slow
def test_a_mixed_model_of_statsmodels_gives_the_same_standard_error():
    smf = pytest.importorskip("statsmodels.formula.api")
    import pandas as pd

    for seed in (1, 2, 4):
        y = planted(np.random.default_rng(seed), 1, 12, VIDEOS, [3.0], MIXED)[0, 0]
        lines = pd.DataFrame(
            {"y": y.ravel(), "p": np.repeat(np.arange(12), 20), "c": np.tile(np.arange(20), 12), "g": 1}
        )
        model = smf.mixedlm("y ~ 1", lines, groups="g", re_formula="0", vc_formula={"p": "0+C(p)", "c": "0+C(c)"})
        fit = model.fit(reml=True)
        found = mean_of(y)
        assert found.mean == pytest.approx(fit.params["Intercept"], abs=1e-6)
        assert found.se == pytest.approx(fit.bse["Intercept"], rel=2e-3)


@pytest.mark.parametrize(
    ("scores", "reason"),
    [
        (np.full((3, 4), np.nan), "no rating"),
        (np.array([[1.0, 2.0, 5.0]]), "one participant only"),
        (np.array([[1.0], [2.0]]), "one clip only"),
        (np.full((3, 4), 5.0), "all values are the same"),
        (np.where(np.eye(4) > 0, [1.0, 2.0, 3.0, 4.0], np.nan), "too few clips were rated by several participants"),
    ],
)
def test_where_there_is_no_interval_the_reason_is_said(scores, reason):
    found = mean_of(scores)
    assert (found.lo, found.hi, found.p, found.reason) == (None, None, None, reason)
    assert (found.mean is None) == np.isnan(scores).all()


def test_intervals_end_where_the_scale_ends():
    scores = np.array([[5.0, 5, 4], [5, 5, 5], [5, 4, 5]])
    assert mean_of(scores, limits=(1, 5)).hi == 5.0 < mean_of(scores).hi


# --- comparisons -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("raters", "variances"), [(12, MIXED), (40, MIXED), (12, CLIPS)])
def test_equal_methods_differ_one_time_in_twenty(raters, variances):
    ratings = planted(np.random.default_rng(raters), 2000, raters, VIDEOS, [3.4, 3.4], variances)
    assert 1 - covered(ratings[:, 0] - ratings[:, 1], 0.0) == pytest.approx(0.05, abs=0.016)  # 3.3 standard errors


def false_claims(studies: int, raters: int, seed: int) -> float:
    """The share of studies of five equal methods and three questions in which any corrected p is below 0.05."""
    generator, claims = np.random.default_rng(seed), 0
    first, second = np.triu_indices(5, 1)
    p = []
    for _ in QUESTIONS:
        ratings = planted(generator, studies, raters, VIDEOS, [3.4] * 5, MIXED)
        found = moments(ratings[:, first] - ratings[:, second])
        p.append(2 * stats.t.sf(np.abs(found.mean) / found.se, found.df))
    for of_study in np.concatenate(p, axis=1):
        claims += min(holm(of_study.tolist())) < 0.05
    return claims / studies


def test_among_thirty_comparisons_of_equal_methods_a_false_claim_is_rare():
    assert false_claims(300, 12, 1) < 0.05 + 0.03


@pytest.mark.slow
@pytest.mark.parametrize("raters", [12, 40])
def test_false_claims_stay_below_five_percent(raters):
    assert sum(false_claims(500, raters, seed) for seed in range(6)) / 6 < 0.05 + 0.008  # 2 standard errors


def test_holm_is_that_of_statsmodels():
    multitest = pytest.importorskip("statsmodels.stats.multitest")
    for seed in range(20):
        p = np.random.default_rng(seed).random(15) ** 3
        assert holm(p.tolist()) == pytest.approx(multitest.multipletests(p, method="holm")[1])
    assert holm([None, 0.01, 0.04]) == [None, 0.03, 0.08]  # a test that could not be made still counts


# --- agreement ---------------------------------------------------------------------------------------------------

#: Krippendorff (2011), "Computing Krippendorff's Alpha-Reliability", example C: ordinal alpha 0.815
NAN = np.nan
EXAMPLE = np.array(
    [
        [1, 2, 3, 3, 2, 1, 4, 1, 2, NAN, NAN, NAN],
        [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, NAN, 3],
        [NAN, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, NAN],
        [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, NAN],
    ]
)
#: Shrout & Fleiss (1979), table 2: six targets (columns) and four judges (rows)
TARGETS = np.array([[9, 6, 8, 7, 10, 6], [2, 1, 4, 1, 5, 2], [5, 3, 6, 2, 6, 4], [8, 2, 8, 6, 9, 7]], dtype=float)


def plain_alpha(ratings) -> float:
    """Ordinal alpha from its definition: pairs of ratings within a video against pairs of all ratings."""
    columns = [column[~np.isnan(column)] for column in ratings.T]
    columns = [column for column in columns if len(column) > 1]
    everything = np.concatenate(columns)
    count = {value: int((everything == value).sum()) for value in range(1, 6)}

    def apart(a, b):
        low, high = int(min(a, b)), int(max(a, b))
        between = sum(count[value] for value in range(low, high + 1))
        return (between - (count[low] + count[high]) / 2) ** 2

    observed = sum(apart(a, b) / (len(column) - 1) for column in columns for a in column for b in column)
    expected = sum(apart(a, b) for a in everything for b in everything) / (len(everything) - 1)
    return 1 - observed / expected


def test_alpha_is_krippendorffs():
    krippendorff = pytest.importorskip("krippendorff")
    found = opinion_agreement.alpha(EXAMPLE, [str(i) for i in range(12)], (1, 5), draws=50)
    assert found.value == pytest.approx(0.815, abs=5e-4)
    ratings = stopped(np.random.default_rng(0), planted(np.random.default_rng(0), 1, 7, 15, [3.0], MIXED))[0, 0]
    found = opinion_agreement.alpha(ratings, [str(i // 3) for i in range(15)], (1, 5), draws=200)
    assert found.value == pytest.approx(plain_alpha(ratings))
    assert found.value == pytest.approx(krippendorff.alpha(ratings, level_of_measurement="ordinal"))
    assert found.lo < found.value < found.hi


def test_without_the_package_alpha_says_what_to_install(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "krippendorff", None)
    found = opinion_agreement.alpha(EXAMPLE, list("abcdefghijkl"), (1, 5))
    assert found.value is None
    assert "pip install krippendorff" in found.reason


def test_alpha_without_enough_ratings():
    pytest.importorskip("krippendorff")
    one = opinion_agreement.alpha(EXAMPLE[:1], list("abcdefghijkl"), (1, 5))
    assert (one.value, one.reason) == (None, opinion_agreement.TOO_FEW)
    same = opinion_agreement.alpha(np.full((3, 4), 2.0), list("abcd"), (1, 5))
    assert (same.value, same.reason) == (None, opinion_agreement.EQUAL)


def test_icc_is_that_of_shrout_and_fleiss():
    single, mean, k = opinion_agreement.icc(TARGETS)
    assert (round(single.value, 2), round(mean.value, 2), k) == (0.29, 0.62, 4)
    assert (single.lo, single.hi) == (pytest.approx(0.019, abs=5e-4), pytest.approx(0.761, abs=5e-4))
    assert (mean.lo, mean.hi) == (pytest.approx(0.071, abs=5e-4), pytest.approx(0.927, abs=5e-4))


def test_icc_of_incomplete_ratings_goes_on_from_that_of_complete_ones():
    assert opinion_agreement._from_components(TARGETS)[0].value == pytest.approx(
        opinion_agreement.icc(TARGETS)[0].value
    )
    thin = TARGETS.copy()
    thin[0, 0] = np.nan
    single, mean, k = opinion_agreement.icc(thin)
    assert 3.5 < k < 4
    assert 0.2 < single.value < mean.value < 0.75
    assert single.lo is None
    assert "not everybody" in single.reason
