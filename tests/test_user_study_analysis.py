"""A rating study analysed: intervals that cover what they claim, comparisons that claim no more, nothing invented."""

from __future__ import annotations

import csv
import json

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
    study,
    subsets,
    tidy,
)
from scipy import stats

from results import opinion, opinion_agreement, opinion_csv, opinion_exclusions, opinion_page, opinion_tables, paper
from results.formats import to_markdown
from results.opinion_variance import holm, mean_of, moments
from results.rows import ResultsError

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


# --- a whole study -----------------------------------------------------------------------------------------------

CENTRES = {"fctfg": 4.2, "pc-avs": 3.0, "wav2lip": 2.0, "truth": 4.8}


def made(raters=12, seed=0, inattentive=(), thin=None, centres=CENTRES, clips=VIDEOS, **options):
    generator, record = np.random.default_rng(seed), study(tuple(centres), clips, **options)
    ratings = {}
    for name, _ in QUESTIONS:
        given = planted(generator, 1, raters, clips, list(centres.values()), MIXED)
        ratings[name] = (thin(generator, given) if thin else given)[0]
    return record, tidy(record, ratings, inattentive, generator)


@pytest.fixture(scope="module")
def analysed():
    record, ratings = made(raters=12, inattentive=(2, 7))
    return opinion.analyse(ratings, record)


def test_the_planted_order_is_recovered(analysed):
    for name, _ in QUESTIONS:
        found = {method: analysed.main.means[method, name] for method in CENTRES}
        assert sorted(CENTRES, key=lambda m: found[m].mean) == sorted(CENTRES, key=CENTRES.get)
        assert analysed.main.best[name] == "fctfg"
        against = next(c for c in analysed.main.comparisons if (c.question, c.a, c.b) == (name, "fctfg", "wav2lip"))
        assert against.verdict == "better"
        assert against.mean.lo > 0
        assert against.d > 0.5
        assert against.higher + against.equal + against.lower == pytest.approx(1)


def test_the_excluded_are_left_out_and_counted(analysed):
    assert [check.participant for check in analysed.excluded] == ["p00000002", "p00000007"]
    assert all(len(check.reasons) == 3 for check in analysed.excluded)
    assert (len(analysed.main.participants), len(analysed.everyone.participants)) == (10, 12)
    assert analysed.main.means["fctfg", "overall"].n == 10 * VIDEOS
    assert analysed.everyone.means["fctfg", "overall"].n == 12 * VIDEOS


def test_controls_neither_compete_nor_make_methods_harder_to_tell_apart(analysed):
    record, ratings = made(raters=12, inattentive=(2, 7))
    record["methods"] = [m for m in record["methods"] if m["name"] != "truth"]
    without = opinion.analyse(ratings[(ratings["method"] != "truth") | (ratings["kind"] != "rating")], record)
    mine = {(c.question, c.a, c.b): c.p for c in analysed.main.comparisons if not c.with_control}
    assert mine == {(c.question, c.a, c.b): c.p for c in without.main.comparisons}
    assert "truth" not in analysed.main.best.values()


def test_raters_who_stopped_keep_what_they_gave():
    record, ratings = made(raters=8, thin=stopped, seed=3)
    found = opinion.analyse(ratings, record)
    mean = found.main.means["fctfg", "overall"]
    mine = ratings[(ratings["kind"] == "rating") & (ratings["method"] == "fctfg") & (ratings["question"] == "overall")]
    assert mean.n == len(mine) < 8 * VIDEOS
    assert mean.mean == pytest.approx(mine["rating"].mean())
    assert mean.lo < mean.mean < mean.hi


@pytest.mark.parametrize(("raters", "clips", "reason"), [(1, 5, "one participant only"), (4, 1, "one clip only")])
def test_one_rater_or_one_clip_has_means_without_intervals(tmp_path, raters, clips, reason):
    record, ratings = made(raters=raters, clips=clips, seed=1)
    ratings = ratings[ratings["kind"] == "rating"]  # a study this small has no checks
    written = opinion_page.write(opinion.analyse(ratings, record), tmp_path, "analyse")
    assert f"no interval: {reason}" in written.table
    assert not opinion.analyse(ratings, record).main.best


def test_a_method_nobody_rated_stands_in_the_table_without_a_number(tmp_path):
    record, ratings = made(raters=3, clips=4)
    ratings = ratings[ratings["method"] != "wav2lip"]
    found = opinion.analyse(ratings, record)
    table = opinion_tables.means(found, found.main, "x")
    row = next(row for row in table.rows if row.label == "wav2lip")
    assert [cell.value for cell in row.cells[0]] == [None] * 4
    assert "wav2lip: no rating." in found.notes


def test_no_ratings_no_table():
    record, ratings = made(raters=2)
    with pytest.raises(opinion.NoRatings, match="no ratings yet"):
        opinion.analyse(ratings[:0], record)
    with pytest.raises(opinion.NoRatings, match="no ratings yet"):
        opinion.analyse(ratings[ratings["kind"] != "rating"], record)


def test_when_everybody_fails_the_checks_there_is_no_table():
    record, ratings = made(raters=2, inattentive=(0, 1))
    with pytest.raises(opinion.NoRatings, match="all 2 participants fail"):
        opinion.analyse(ratings, record)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.drop(columns="watched"), "column watched is missing"),
        (lambda t: t.assign(rating=t["rating"].where(t.index != 3, 6)), "rating 6"),
        (lambda t: t.assign(question="beauty"), "question beauty"),
        (lambda t: t.assign(clip="id9/other"), "clip id9/other"),
        (lambda t: t.assign(method="unheard-of"), "method unheard-of"),
        (lambda t: t.assign(kind="guess"), "kind guess"),
        (lambda t: t.iloc[[*range(len(t)), 0]], "twice"),
    ],
)
def test_a_broken_table_is_refused_in_one_line(change, message):
    record, ratings = made(raters=2, clips=3)
    with pytest.raises(ResultsError, match=message) as caught:
        opinion.analyse(change(ratings), record)
    assert "\n" not in str(caught.value)


def test_a_study_without_questions_is_refused():
    record, ratings = made(raters=2, clips=3)
    del record["questions"]
    with pytest.raises(ResultsError, match="'questions' is missing"):
        opinion.analyse(ratings, record)


# --- exclusions --------------------------------------------------------------------------------------------------


def reasons(ratings, **rules):
    return opinion_exclusions.check(ratings, opinion_exclusions.Rules(**rules))[0].reasons


def attentive():
    return made(raters=1, clips=4)[1]


def test_an_attentive_participant_stays():
    assert reasons(attentive()) == ()


def test_each_rule_by_itself():
    ratings = attentive()
    desync = (ratings["kind"] == "desync") & (ratings["question"] == "lip_sync")
    assert (
        "desynchronised truth: lip sync rated 4" in reasons(ratings.assign(rating=ratings["rating"].mask(desync, 4)))[0]
    )
    assert reasons(ratings.assign(rating=ratings["rating"].mask(desync, 3))) == ()
    again, first = ratings["kind"] == "repeat", ratings["item"].isin(ratings["repeats"].dropna())
    apart = ratings.assign(rating=ratings["rating"].mask(again, 1).mask(first, 4))
    assert reasons(apart) == ("repeated item: 3 points apart",)
    assert reasons(apart, repeat_apart_over=3) == ()
    skipped = ratings.assign(watched=0.5)
    assert "not watched: 0 %" in reasons(skipped)[0]
    assert reasons(skipped, watched_share=0.5) == ()


def test_what_is_not_known_breaks_no_rule():
    ratings = attentive()
    assert reasons(ratings.assign(watched=np.nan)) == ()
    assert reasons(ratings[ratings["kind"] == "rating"]) == ()


def test_rules_come_from_study_json_and_strange_ones_are_refused():
    assert opinion_exclusions.rules_of({}) == (opinion_exclusions.Rules(), False)
    rules, given = opinion_exclusions.rules_of({"exclusions": {"repeat_apart_over": 1}})
    assert (rules.repeat_apart_over, rules.desync_lip_sync_from, given) == (1, 4, True)
    with pytest.raises(ResultsError, match="unknown rule 'speed'"):
        opinion_exclusions.rules_of({"exclusions": {"speed": 1}})
    with pytest.raises(ResultsError, match="give a number"):
        opinion_exclusions.rules_of({"exclusions": {"watched_share": "all"}})


# --- files -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def written(analysed, tmp_path_factory):
    out = tmp_path_factory.mktemp("analysis")
    return out, opinion_page.write(analysed, out, "python -m protocols.user_study analyse STUDY")


def test_every_file_is_written(written):
    out, found = written
    names = {"table2.md", "table2.tex", "table2.csv", "table2.html", "mos.csv", "comparisons.csv", "checks.csv"}
    pictures = {"table2-means.png", "table2-ratings.png", "table2-differences.png"}
    assert {path.name for path in found.files} == names | pictures == {path.name for path in out.iterdir()}


def test_the_table_is_labelled_and_the_published_numbers_are_apart(written):
    out, found = written
    assert "VoxCeleb2 (puppets)" in found.table
    assert "(published)" in found.table
    page = (out / "table2.html").read_text()
    for item in paper.load(2):
        assert item.text in page.partition('id="published"')[2].partition("</section>")[0]
    assert "2 excluded by attention checks" in page
    assert "With the excluded participants" in page
    assert "http" not in page.replace("http-equiv", "")  # asks nobody for anything
    with open(out / "table2.csv", newline="") as file:
        lines = list(csv.DictReader(file))
    assert {line["source"] for line in lines} == {"study", "published"}
    assert [line["mos"] for line in lines if line["source"] == "published"] == [item.text for item in paper.load(2)]
    assert {line["participants"] for line in lines} == {"without the excluded", "all", ""}
    assert all(line["data"] == "puppets" for line in lines if line["source"] == "study")


@pytest.mark.parametrize(("data", "mark"), [("sample", "VoxCeleb2 (sample)"), ("full", "**VoxCeleb2**")])
def test_every_kind_of_data_says_what_it_is(data, mark):
    record, ratings = made(raters=3, clips=3, data=data)
    found = opinion.analyse(ratings, record)
    assert mark in to_markdown(opinion_tables.means(found, found.main, "x"))
    assert bool(found.about.mark) == (data != "full")


def test_names_from_a_study_are_escaped(tmp_path):
    record, ratings = made(raters=2, clips=3, centres={"<b>bold</b>": 3.0, "b": 2.0})
    record["title"] = "<script>alert(1)</script>"
    opinion_page.write(opinion.analyse(ratings, record), tmp_path, "analyse")
    page = (tmp_path / "table2.html").read_text()
    assert "<script>" not in page
    assert "<b>bold" not in page


def test_the_same_ratings_give_the_same_bytes_in_any_order(analysed):
    record, ratings = made(raters=12, inattentive=(2, 7))
    again = opinion.analyse(ratings.sample(frac=1, random_state=0), record)
    for text in (opinion_csv.means, opinion_csv.comparisons):
        assert text(again) == text(analysed)


# --- from the database, through the command line -----------------------------------------------------------------


def stored(folder, ratings_too: bool):
    """A study folder with four raters in its SQLite database, made through the store."""
    from protocols.user_study import store
    from protocols.user_study import study as studies

    methods, clips = ("fctfg", "wav2lip"), 4
    record = study(methods, clips) | {"study": "s", "key": "00" * 16, "versions": {}}
    record["design"] = {"per_participant": clips, "desync": 0, "desync_clips": [], "repeats": 0}
    record["items"] = [
        {
            "item": f"i{m}{c}",
            "clip": clip,
            "method": method,
            "kind": "rating",
            "repeats": None,
            "media": "x",
            "seconds": 2.0,
        }
        for m, method in enumerate(methods)
        for c, clip in enumerate(record["clips"])
    ]
    folder.mkdir()
    (folder / "study.json").write_text(json.dumps(record))
    made = studies.load(folder)
    database = store.Store(made)
    database.add(4, "link")
    generator = np.random.default_rng(0)
    for person in database.participants() if ratings_too else ():
        database.consent(person.number)
        for item in person.plan:
            best = made.items[item].method == "fctfg"
            given = {
                q["name"]: int(generator.integers(4, 6) if best else generator.integers(1, 4))
                for q in record["questions"]
            }
            database.rate(person.number, store.Answer(item, given, 1.0, 5.0))
    database.close()
    return folder


def test_analyse_goes_from_the_database_to_table_2(tmp_path, capsys):
    from protocols.user_study.__main__ import main

    folder = stored(tmp_path / "study", ratings_too=True)
    assert main(["analyse", str(folder)]) == 0
    out = folder / "analysis"
    assert "fctfg" in (out / "table2.md").read_text()
    assert str(out / "table2.html") in capsys.readouterr().out
    with open(out / "ratings.csv", newline="") as file:
        assert len(list(csv.DictReader(file))) == 4 * 8 * 3


def test_power_takes_its_variances_from_a_study(tmp_path, capsys):
    from protocols.user_study.__main__ import main

    folder = stored(tmp_path / "study", ratings_too=True)
    assert main(["power", "--study", str(folder), "--out", str(tmp_path / "power")]) == 0
    assert f"estimated from {folder}: 4 participants, 4 clips" in capsys.readouterr().out
    assert (tmp_path / "power" / "power.html").exists()
    assert main(["power", "--study", str(folder), "--sd", "1"]) == 2
    assert "--study measures the variances" in capsys.readouterr().err


def test_analyse_without_ratings_says_so_and_writes_nothing(tmp_path, capsys):
    from protocols.user_study.__main__ import main

    folder = stored(tmp_path / "study", ratings_too=False)
    assert main(["analyse", str(folder)]) == 1
    said = capsys.readouterr()
    assert said.err.count("\n") == 1
    assert "no ratings yet" in said.err
    assert said.out == ""
    assert not (folder / "analysis").exists()


def test_analyse_of_no_study_is_one_line(tmp_path, capsys):
    from protocols.user_study.__main__ import main

    assert main(["analyse", str(tmp_path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1
