"""The study as a folder without a server, and the files that come back."""

from __future__ import annotations

import hashlib
import json

import pytest
import study_browser
import study_runs

from protocols.user_study import store
from protocols.user_study.__main__ import main
from protocols.user_study.static_export import FORMAT
from protocols.user_study.study import load

METHODS = ("reencode", "alpha-method", "beta-method")


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    root = tmp_path_factory.mktemp("study")
    folders = study_runs.runs(root, METHODS)
    return study_runs.study(root, folders, "--desync", "1", "--repeats", "1", "--per-participant", "3", videos=4)


@pytest.fixture
def study(built, tmp_path):
    """The study with a database of its own."""
    folder = tmp_path / "study"
    folder.mkdir()
    (folder / "media").symlink_to(built.folder / "media")
    (folder / "study.json").write_text(json.dumps(built.record))
    return load(folder)


@pytest.fixture
def exported(study, tmp_path, capsys):
    """(folder, codes)"""
    assert main(["export", str(study.folder), str(tmp_path / "out"), "--participants", "3"]) == 0
    return tmp_path / "out", capsys.readouterr().out.split()


def ratings_file(study, code, path, count=None, **change):
    """A file as the page saves it."""
    opened = store.Store(study)
    plan = opened.by_id(code).plan
    opened.close()
    answers = [
        {"item": item, "ratings": {"lip_sync": 1 + n % 5, "head_movement": 2, "overall": 3}, "watched": 1,
         "seconds": 9.5, "at": f"2026-01-31T09:{n:02d}:00.000Z"}
        for n, item in enumerate(plan[:count])
    ]  # fmt: skip
    record = {
        "study": study.id,
        "participant": code,
        "consented_at": "2026-01-31T08:59:00.000Z",
        "stopped": None,
        "answers": answers,
    }
    return write(path, record | change)


def write(path, record):
    text = json.dumps(record)
    digest = hashlib.sha256(text.encode()).hexdigest()
    path.write_text(json.dumps({"format": FORMAT, "schema": 1, "sha256": digest, "record": text}))
    return path


def take(study, *paths):
    return main(["import", str(study.folder), *map(str, paths)])


def test_the_folder_is_whole_and_names_nothing(study, exported):
    out, codes = exported
    assert len(set(codes)) == 3
    names = {path.name for path in out.iterdir()}
    assert names == {"index.html", "study.css", "study.js", "media"}
    page = (out / "index.html").read_text()
    assert all(code in page for code in codes)
    words = [*METHODS, "reencode", "desync", "truth", study.record["key"], *study.record["clips"]]
    for path in out.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert not [word for word in words if word.encode() in content], path
            assert b"https://" not in content
    shown = {study.items[item].media for person in participants(study) for item in person.plan}
    assert {f"media/{path.name}" for path in (out / "media").glob("*.mp4")} == shown


def test_build_writes_the_folder_at_once(tmp_path, capsys):
    folders, out = study_runs.runs(tmp_path), tmp_path / "built"
    assert (
        main(
            ["build", "--runs", *map(str, folders), "--out", str(out), "--size", "64", "--videos", "4", "--static", "2"]
        )
        == 0
    )
    codes = capsys.readouterr().out.split()
    assert len(codes) == 2
    assert all(code in (out / "static" / "index.html").read_text() for code in codes)


def participants(study):
    opened = store.Store(study)
    people = opened.participants()
    opened.close()
    return people


def test_codes_go_on_where_links_left_off(study, tmp_path, capsys):
    main(["invite", str(study.folder), "2"])
    main(["export", str(study.folder), str(tmp_path / "more"), "--participants", "2"])
    people = participants(study)
    assert [p.number for p in people] == [0, 1, 2, 3]
    assert [p.via for p in people] == ["link", "link", "file", "file"]
    assert [p.plan for p in people] == [study.plan(k) for k in range(4)]
    assert main(["export", str(study.folder), str(tmp_path / "more"), "--participants", "2"]) == 2
    assert "is not empty" in capsys.readouterr().err


def test_a_file_is_imported_once_however_often_it_comes(study, exported, tmp_path, capsys):
    code = exported[1][0]
    path = ratings_file(study, code, tmp_path / "a.json")
    assert take(study, path) == 0
    first = store.ratings(study)
    assert len(first) == 3 * 11
    assert first["at"].iloc[0] == "2026-01-31T09:00:00.000Z"
    assert participants(study)[0].stage == "done"
    assert take(study, path, path) == 0
    assert store.ratings(study).equals(first)
    assert "0 new videos, 11 known before (complete)" in capsys.readouterr().err


def test_a_longer_file_adds_what_is_new(study, exported, tmp_path):
    code = exported[1][0]
    short = ratings_file(study, code, tmp_path / "short.json", 4)
    whole = ratings_file(study, code, tmp_path / "whole.json")
    assert take(study, short) == 0
    assert len(store.ratings(study)) == 12
    assert take(study, whole) == 0
    assert take(study, short) == 0
    assert len(store.ratings(study)) == 33


def edit(path, change):
    file = json.loads(path.read_text())
    record = json.loads(file["record"])
    change(record)
    return write(path, record)


def other_rating(record):
    record["answers"][0]["ratings"]["lip_sync"] = 5


def test_another_file_of_the_same_participant_is_refused_whole(study, exported, tmp_path, capsys):
    code = exported[1][0]
    assert take(study, ratings_file(study, code, tmp_path / "a.json", 2)) == 0
    other = edit(ratings_file(study, code, tmp_path / "b.json"), other_rating)
    assert take(study, other) == 1
    assert "says otherwise" in capsys.readouterr().err
    assert len(store.ratings(study)) == 6


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda r: r["answers"][0].update(item="0" * 16), "was not to see"),
        (lambda r: r["answers"][0].update(item="x"), "item is not the id"),
        (lambda r: r["answers"][1]["ratings"].update(overall=6), "from 1 to 5"),
        (lambda r: r["answers"][1]["ratings"].update(overall=2.5), "from 1 to 5"),
        (lambda r: r["answers"][1]["ratings"].pop("overall"), "answer the questions"),
        (lambda r: r["answers"][1].update(at="yesterday"), "at is not a time"),
        (lambda r: r["answers"][1].update(watched=-1), "watched is out of range"),
        (lambda r: r["answers"].reverse(), "in their order"),
        (lambda r: r["answers"].append(r["answers"][0]), "in their order"),
        (lambda r: r["answers"].pop(0), "in their order"),
        (lambda r: r.update(study="0" * 16), "another study"),
        (lambda r: r.update(participant="p00000000"), "no export of this study"),
        (lambda r: r.update(participant=["p"]), "no export of this study"),
        (lambda r: r.update(consented_at=None), "without consent"),
        (lambda r: r.update(stopped="perhaps"), "another form"),
        (lambda r: r.pop("answers"), "another form"),
    ],
)
def test_what_the_page_cannot_save_is_refused(study, exported, tmp_path, capsys, change, said):
    path = edit(ratings_file(study, exported[1][1], tmp_path / "a.json"), change)
    good = ratings_file(study, exported[1][2], tmp_path / "good.json")
    assert take(study, path, good) == 1
    assert said in capsys.readouterr().err
    assert set(store.ratings(study).participant) == {exported[1][2]}  # the good file beside it is taken


def test_edited_and_foreign_files_are_refused(study, exported, tmp_path, capsys):
    path = ratings_file(study, exported[1][0], tmp_path / "a.json")
    path.write_text(path.read_text().replace('\\"lip_sync\\": 1', '\\"lip_sync\\": 5', 1))
    others = [tmp_path / name for name in ("b.json", "c.json", "d.json", "none.json")]
    others[0].write_text("{")
    others[1].write_text("[1, 2]")
    others[2].write_bytes(b" " * (5 << 20))
    assert take(study, path, *others) == 1
    said = capsys.readouterr().err
    for reason in ("was edited or damaged", "is not JSON", "not a file of ratings", "too large", "cannot be read"):
        assert reason in said
    assert "5 of 5 files refused" in said
    assert store.ratings(study).empty


def test_a_link_participant_cannot_come_as_a_file(study, tmp_path, capsys):
    main(["invite", str(study.folder), "1"])
    assert take(study, ratings_file(study, participants(study)[0].id, tmp_path / "a.json")) == 1
    assert "no export of this study" in capsys.readouterr().err


def test_who_stopped_keeps_or_erases(study, exported, tmp_path, capsys):
    keep, erase, _ = exported[1]
    assert take(study, ratings_file(study, keep, tmp_path / "keep.json", 3, stopped="keep")) == 0
    assert take(study, ratings_file(study, erase, tmp_path / "all.json", 3)) == 0
    assert len(store.ratings(study)) == 18
    assert take(study, ratings_file(study, erase, tmp_path / "erase.json", 0, stopped="erase")) == 0
    assert set(store.ratings(study).participant) == {keep}
    assert take(study, tmp_path / "all.json") == 1
    assert "had their ratings deleted" in capsys.readouterr().err
    assert take(study, ratings_file(study, keep, tmp_path / "more.json")) == 1
    assert take(study, tmp_path / "keep.json") == 0


@pytest.mark.slow
def test_rated_in_a_browser_from_a_disk_and_imported(study, exported, tmp_path):
    out, codes = exported
    with study_browser.browser() as chromium:
        context = chromium.new_context(accept_downloads=True)
        rater = study_browser.Rater(context.new_page(), lambda item, question: 1 + int(item, 16) % 5)
        rater.open((out / "index.html").as_uri())
        rater.page.fill("#code-field", "nobody")
        rater.page.click("#code-form button")
        assert "not known" in rater.page.inner_text("#code-wrong")
        rater.page.fill("#code-field", codes[0])
        rater.page.click("#code-form button")
        rater.begin()
        seen = [rate(rater) for _ in range(4)]
        rater.page.reload()  # back at the same place, without a server
        rater.page.fill("#code-field", codes[0])
        rater.page.click("#code-form button")
        second = study_browser.Rater(context.new_page(), rater.opinion)
        second.open((out / "index.html").as_uri() + f"?code={codes[0]}")
        assert second.item() == rater.item()
        seen.append(rate(second))
        rater.at(6)  # the other tab
        seen += [rate(rater) for _ in range(6)]
        rater.page.wait_for_selector("#done:visible")
        with rater.page.expect_download() as download:
            rater.page.click("#done .save")
        saved = tmp_path / download.value.suggested_filename
        download.value.save_as(saved)
        assert not rater.complaints
        assert all(url.startswith(("file:", "blob:", "data:")) for url in rater.asked)
    assert saved.name == f"ratings-{codes[0]}.json"
    assert take(study, saved) == 0
    table = store.ratings(study)
    assert list(table["item"].drop_duplicates()) == seen == list(participants(study)[0].plan)
    assert (table.rating == [1 + int(item, 16) % 5 for item in table["item"]]).all()
    assert (table.watched >= 1).all()


def rate(rater):
    """Rate this video; without a server there is no response to wait for."""
    item = rater.watch()
    rater.choose(item)
    rater.page.click("#send")
    rater.until(
        "document.body.dataset.page === 'done' || "
        f"document.querySelector('#frame video:not(.waiting)').dataset.item !== '{item}'"
    )
    return item
