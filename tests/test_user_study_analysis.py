"""A rating study analysed, from its ratings to its files: nothing lost, nothing invented."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from opinion_rater import (
    MIXED,
    QUESTIONS,
    planted,
    stopped,
    study,
    tidy,
)

from results import opinion, opinion_csv, opinion_exclusions, opinion_page, opinion_tables, paper
from results.formats import to_markdown
from results.rows import ResultsError

VIDEOS = 20


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
