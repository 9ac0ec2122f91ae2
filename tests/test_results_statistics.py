"""Intervals that cover what they claim, and comparisons that claim no more."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats

from results.statistics import mean_interval, paired_difference, small_sample_factor, t_quantile

TRUTH = 3.0


def clustered(generator, speakers):
    """3 to 7 clips for each speaker, of expectation ``TRUTH``; speakers differ twice as much as their clips."""
    sizes = generator.integers(3, 8, size=speakers)
    index = np.repeat(np.arange(speakers), sizes)
    values = TRUTH + generator.normal(0, 1, speakers)[index] + generator.normal(0, 0.5, len(index))
    return values, [f"id{i:03d}" for i in index]


def coverage(speakers, repeats=600, by_speaker=True, **options):
    generator = np.random.default_rng(1)
    hits = 0
    for _ in range(repeats):
        values, names = clustered(generator, speakers)
        if not by_speaker:
            names = [f"clip{i:04d}" for i in range(len(values))]
        found = mean_interval(values, names, draws=1000, **options)
        hits += found.lo <= TRUTH <= found.hi
    return hits / repeats


@pytest.mark.parametrize("speakers", [3, 5, 12, 40])
def test_the_interval_covers_the_planted_mean_95_times_in_100(speakers):
    # 600 repeats: the standard error of the coverage is 0.9 points.
    assert coverage(speakers) == pytest.approx(0.95, abs=0.03)


def test_without_the_correction_five_speakers_get_too_narrow_an_interval():
    assert coverage(5, small_sample=False) < 0.88


def test_without_clusters_the_interval_is_far_too_narrow():
    assert coverage(12, by_speaker=False) < 0.75


def test_one_clip_a_speaker_equals_scipy():
    values = np.random.default_rng(5).gamma(2, size=60)
    ours = mean_interval(values, [f"{i:02d}" for i in range(60)], draws=20_000, small_sample=False)
    for method in ("percentile", "BCa"):
        theirs = scipy.stats.bootstrap(
            (values,), np.mean, n_resamples=20_000, method=method, rng=np.random.default_rng(3)
        ).confidence_interval
        width = theirs.high - theirs.low
        tolerance = 0.03 if method == "percentile" else 0.08  # BCa moves both ends by the skewness
        assert ours.lo == pytest.approx(theirs.low, abs=tolerance * width)
        assert ours.hi == pytest.approx(theirs.high, abs=tolerance * width)
    assert ours.mean == pytest.approx(values.mean(), abs=1e-12)


@pytest.mark.parametrize("df", [1, 2, 3, 4, 5, 10, 117, 500, 501, 4000])
@pytest.mark.parametrize("level", [0.5, 0.95, 0.999])
def test_t_quantiles_are_scipys(df, level):
    assert t_quantile(df, level) == pytest.approx(scipy.stats.t.ppf((1 + level) / 2, df), rel=1e-5)


def test_the_correction_fades_with_the_number_of_speakers():
    factors = [small_sample_factor(k) for k in (2, 5, 30, 1000)]
    assert factors == sorted(factors, reverse=True)
    assert factors[-1] == pytest.approx(1, abs=2e-3)


def test_the_estimate_is_the_mean_over_clips_not_over_speakers():
    found = mean_interval([1, 1, 1, 5], ["a", "a", "a", "b"])
    assert found.mean == 2
    assert found.clusters == 2
    assert found.lo < 2 < found.hi


def test_the_interval_is_reproducible_and_moves_with_the_seed():
    values, names = clustered(np.random.default_rng(0), 6)
    assert mean_interval(values, names) == mean_interval(values, names)
    assert mean_interval(values, names).lo != mean_interval(values, names, seed=1).lo


def test_equal_values_have_an_interval_without_width():
    found = mean_interval([0.1] * 6, list("aabbcc"))
    assert (found.mean, found.lo, found.hi) == (pytest.approx(0.1),) * 3
    assert found.hi - found.lo == pytest.approx(0, abs=1e-15)


def test_one_speaker_has_no_interval():
    found = mean_interval([1.0, 2.0], ["a", "a"])
    assert (found.mean, found.lo, found.hi) == (1.5, None, None)
    assert found.reason == "fewer than two speakers"


def test_infinite_clips_leave_the_mean_and_are_counted():
    found = mean_interval([1.0, math.inf, 3.0, math.inf], list("abcd"))
    assert (found.mean, found.n, found.n_infinite, found.clusters) == (2.0, 4, 2, 2)


def test_only_infinite_clips_give_an_infinite_mean():
    found = mean_interval([math.inf] * 3, list("abc"))
    assert (found.mean, found.lo, found.n, found.n_infinite) == (math.inf, None, 3, 3)


def test_no_clip_gives_no_mean():
    found = mean_interval([], [])
    assert (found.mean, found.n, found.reason) == (None, 0, "no clip has a value")


def test_nan_and_unequal_lengths_are_errors():
    with pytest.raises(ValueError, match="NaN"):
        mean_interval([math.nan], ["a"])
    with pytest.raises(ValueError, match="one cluster for each value"):
        mean_interval([1.0], [])


def scores(gain, seed, speakers=8, clips=4):
    common = np.random.default_rng(9).normal(0, 5, speakers)
    noise = np.random.default_rng(seed).normal(0, 0.3, (speakers, clips))
    return {f"s{s}/{c}": float(common[s] + gain + noise[s, c]) for s in range(speakers) for c in range(clips)}


SPEAKER_OF = {clip: clip.split("/")[0] for clip in scores(0, 0)}


@pytest.mark.parametrize(("better", "verdict"), [("higher", "better"), ("lower", "worse")])
def test_pairing_sees_a_difference_that_hides_in_overlapping_intervals(better, verdict):
    a, b = scores(1.0, 1), scores(0.0, 2)
    apart = [mean_interval(list(x.values()), [SPEAKER_OF[c] for c in x]) for x in (a, b)]
    assert apart[0].lo < apart[1].hi
    found = paired_difference(a, b, SPEAKER_OF, better)
    assert found.verdict == verdict
    assert found.estimate.lo < 1.0 < found.estimate.hi


def test_no_difference_is_unclear():
    assert paired_difference(scores(0, 1), scores(0, 2), SPEAKER_OF, "higher").verdict == "unclear"


def test_a_true_null_is_called_a_win_about_one_time_in_twenty():
    verdicts = [
        paired_difference(scores(0, i), scores(0, 1000 + i), SPEAKER_OF, "higher", draws=500).verdict
        for i in range(300)
    ]
    assert sum(verdict != "unclear" for verdict in verdicts) / 300 == pytest.approx(0.05, abs=0.035)


def test_pairs_are_common_clips_with_finite_values():
    a = {"s0/0": 1.0, "s1/0": 2.0, "s2/0": math.inf, "s3/0": 9.0}
    b = {"s0/0": 0.0, "s1/0": 0.5, "s2/0": 1.0, "s4/0": 9.0}
    found = paired_difference(a, b, SPEAKER_OF, "higher").estimate
    assert (found.mean, found.n, found.n_infinite, found.clusters) == (1.25, 3, 1, 2)


@pytest.mark.parametrize(
    ("a", "b", "reason"),
    [
        ({"s0/0": 1.0}, {"s1/0": 1.0}, "no common clip"),
        ({"s0/0": math.inf}, {"s0/0": 1.0}, "every common clip is infinite"),
        ({"s0/0": 1.0}, {"s0/0": 2.0}, "fewer than two speakers"),
    ],
)
def test_without_an_interval_there_is_no_verdict(a, b, reason):
    found = paired_difference(a, b, SPEAKER_OF, "higher")
    assert (found.verdict, found.estimate.reason) == ("unavailable", reason)


def test_an_unknown_direction_is_an_error():
    with pytest.raises(ValueError, match="'higher' or 'lower'"):
        paired_difference({}, {}, {}, "up")
