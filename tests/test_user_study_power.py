"""How many participants a rating study needs: the closed form against simulation, and where no number suffices."""

from __future__ import annotations

import csv
import math

import numpy as np
import pytest
from opinion_rater import MIXED, QUESTIONS, RATERS, planted, study, tidy
from scipy import stats

from results import opinion, opinion_power
from results.opinion_power import (
    Question,
    Variances,
    ceiling,
    of_shares,
    participants_for,
    power,
    smallest_difference,
    videos_for,
)
from results.opinion_power_report import answer, write
from results.opinion_variance import moments


def simulated(variances: Variances, difference: float, raters: int, videos: int, level: float, studies: int) -> float:
    """The share of simulated studies in which the analysis finds ``difference`` at ``level``."""
    generator, found = np.random.default_rng([raters, videos]), 0
    for _ in range(studies // 1000):

        def effect(variance, *shape):
            return np.sqrt(2 * variance) * generator.standard_normal((1000, *shape), dtype=np.float32)

        apart = effect(variances.participant, raters, 1) + effect(variances.clip, 1, videos)
        got = moments(difference + apart + effect(variances.residual, raters, videos))
        found += (2 * stats.t.sf(np.abs(got.mean) / got.se, got.df) < level).sum()
    return found / (1000 * (studies // 1000))


CASES = [
    (of_shares(), 0.5, 12, 20, 0.05),
    (of_shares(), 0.75, 12, 20, 0.05 / 30),
    (of_shares(), 0.5, 40, 40, 0.05 / 30),
    (Variances(0.1, 0.02, 0.4), 0.2, 20, 20, 0.05),
    (Variances(0.02, 0.2, 0.3), 0.5, 40, 20, 0.05),
]


@pytest.mark.parametrize(("variances", "difference", "raters", "videos", "level"), CASES)
def test_the_closed_form_is_what_simulation_gives(variances, difference, raters, videos, level):
    # 2000 studies: a standard error of 1.1 points at most; the approximation of the degrees of freedom adds some 2
    expected = power(variances, difference, raters, videos, level)
    assert 0.1 < expected < 0.95
    assert simulated(variances, difference, raters, videos, level, 2000) == pytest.approx(expected, abs=0.05)


@pytest.mark.slow
@pytest.mark.parametrize(("variances", "difference", "raters", "videos", "level"), CASES)
def test_the_closed_form_is_what_long_simulation_gives(variances, difference, raters, videos, level):
    expected = power(variances, difference, raters, videos, level)
    assert simulated(variances, difference, raters, videos, level, 12_000) == pytest.approx(expected, abs=0.025)


def test_without_a_difference_the_power_is_the_level():
    assert power(of_shares(), 0.0, 12, 20, 0.05) == pytest.approx(0.05, abs=1e-6)


def test_the_noncentral_t_is_right_far_out_too():
    generator = np.random.default_rng(0)
    for variances, difference, raters, videos in (
        (Variances(0.01, 0.01, 0.01), 2.0, 2, 20),
        (Variances(0.2, 0.2, 0.3), 1.0, 1000, 20),
        (Variances(0.2, 0.2, 0.3), 1.0, math.inf, 20),
    ):
        v, df = opinion_power._variance(variances, raters, videos)
        t = (difference + math.sqrt(v) * generator.standard_normal(400_000)) / (
            math.sqrt(v) * np.sqrt(generator.chisquare(df, 400_000) / df)
        )
        expected = (np.abs(t) > stats.t.ppf(0.975, df)).mean()
        assert power(variances, difference, raters, videos) == pytest.approx(expected, abs=0.004)


def test_the_number_of_participants_is_the_smallest_that_suffices():
    question = Question(difference=0.5, videos=60)
    needed = participants_for(of_shares(), question)
    level = question.level / question.tests
    assert power(of_shares(), 0.5, needed, 60, level) >= 0.8 > power(of_shares(), 0.5, needed - 1, 60, level)


def test_more_of_anything_helps():
    needed = [participants_for(of_shares(), Question(difference=0.5, videos=n)) for n in (40, 60, 80, 160)]
    assert needed == sorted(needed, reverse=True)
    needed = [participants_for(of_shares(), Question(difference=d, videos=80)) for d in (0.3, 0.5, 1.0)]
    assert needed == sorted(needed, reverse=True)
    assert participants_for(of_shares(), Question(0.5, videos=80, tests=1)) < participants_for(
        of_shares(), Question(0.5, videos=80, tests=30)
    )


def test_with_few_clips_no_number_of_participants_suffices():
    question = Question(difference=0.2, videos=20, tests=1)
    assert participants_for(of_shares(), question) is None
    assert power(of_shares(), 0.2, 1e6, 20) == pytest.approx(ceiling(of_shares(), question), abs=1e-3)
    assert ceiling(of_shares(), question) < 0.8
    at_least = videos_for(of_shares(), question)
    assert participants_for(of_shares(), Question(0.2, videos=at_least + 1, tests=1)) is not None
    assert participants_for(of_shares(), Question(0.2, videos=at_least - 1, tests=1)) is None


def test_without_clip_by_method_variance_participants_always_suffice():
    assert participants_for(Variances(0.2, 0.0, 0.3), Question(0.2, videos=2)) is not None


def test_the_smallest_difference_is_the_one_with_that_power():
    question = Question(videos=20, tests=30)
    found = smallest_difference(of_shares(), question, 40)
    assert power(of_shares(), found, 40, 20, question.level / 30) == pytest.approx(0.8, abs=1e-3)


def test_without_variance_two_participants_show_anything():
    nothing = Variances(0.0, 0.0, 0.0)
    assert participants_for(nothing, Question()) == 2
    assert smallest_difference(nothing, Question(), 40) == 0


def test_variances_are_recovered_from_a_study():
    record, generator = study(("a", "b", "c"), clips=40), np.random.default_rng(2)
    for planted_variances in (MIXED, RATERS):
        ratings = {name: planted(generator, 1, 60, 40, [3.0] * 3, planted_variances)[0] for name, _ in QUESTIONS}
        analysed = opinion.analyse(tidy(record, ratings, generator=generator), record)
        found = opinion_power.of_study(analysed)
        assert found.participant == pytest.approx(planted_variances["pm"], rel=0.25)
        assert found.clip == pytest.approx(planted_variances["cm"], abs=0.05)
        # rounding to whole points adds nearly 1/12
        assert found.residual == pytest.approx(planted_variances["rest"] + 1 / 12, abs=0.05)


def test_the_tests_are_counted():
    assert opinion_power.tests(5, 3) == 30
    with pytest.raises(ValueError, match="two methods"):
        opinion_power.tests(1, 3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"difference": 0.0}, "--difference 0"),
        ({"power": 1.0}, "--power 1"),
        ({"videos": 1}, "--videos 1"),
        ({"level": 0.9}, "--level 0.9"),
    ],
)
def test_questions_without_an_answer_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Question(**options)


def test_the_answer_says_when_none_suffice_and_when_some_do(tmp_path):
    none = answer(of_shares(), Question(), "assumed")
    assert none.startswith("No number of participants")
    assert f"It takes at least {videos_for(of_shares(), Question())} videos" in none
    assert "(assumed)" in none
    some = answer(of_shares(), Question(difference=0.75, videos=40), "assumed")
    assert some.startswith(f"{participants_for(of_shares(), Question(difference=0.75, videos=40))} participants show")
    files = write(of_shares(), Question(), "assumed", tmp_path)
    assert {path.name for path in files} == {"power.md", "power.csv", "power.html", "power.png"}
    with open(tmp_path / "power.csv", newline="") as file:
        lines = list(csv.DictReader(file))
    for line in lines:
        assert (line["participants"] == "") == (float(line["highest_power"]) < 0.8)


def test_the_command_line(capsys):
    from protocols.user_study.__main__ import main

    assert main(["power", "--difference", "1"]) == 0
    said = capsys.readouterr().out
    assert "14 participants show a difference of 1 points on 20 videos" in said
    assert "assumed, not measured" in said
    assert main(["power", "--difference", "1", "--sd", "0.8", "--shares", "0.1", "0.1", "0.5"]) == 0
    assert "given on the command line" in capsys.readouterr().out


@pytest.mark.parametrize(
    "words", [["--sd", "-1"], ["--shares", "0.9", "0.9", "0"], ["--videos", "1"], ["--methods", "1"], ["--power", "2"]]
)
def test_what_cannot_be_is_one_line(words, capsys):
    from protocols.user_study.__main__ import main

    assert main(["power", *words]) == 2
    assert capsys.readouterr().err.count("\n") == 1
