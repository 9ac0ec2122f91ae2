"""The web application: a session from consent to the end, resumed, repeated, stopped."""

from __future__ import annotations

import json
import re
import signal
import sqlite3
import subprocess
import sys
import threading

import httpx2 as httpx
import pytest
import study_browser
import study_runs
from starlette.testclient import TestClient

from protocols.user_study import app, store
from protocols.user_study.__main__ import main
from protocols.user_study.study import Study

ORIGIN = {"Origin": "http://testserver"}


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    root = tmp_path_factory.mktemp("study")
    return study_runs.study(root, study_runs.runs(root, ("reencode", "alpha")), "--contact", "lab <a@b.org>", videos=3)


@pytest.fixture
def study(built, tmp_path):
    """The study with a database of its own."""
    (tmp_path / "media").symlink_to(built.folder / "media")
    (tmp_path / "study.json").write_text(json.dumps(built.record))
    return Study(tmp_path, built.record)


@pytest.fixture
def database(study):
    opened = store.Store(study)
    yield opened
    opened.close()


@pytest.fixture
def client(study, database):
    with TestClient(app.create(study, database), headers=ORIGIN) as client:
        yield client


@pytest.fixture
def link(database):
    return "/s/" + database.add(1, "link")[0][1]


def answer(item, rating=3, **more):
    ratings = {"lip_sync": rating, "head_movement": 2, "overall": 5}
    return {"item": item, "ratings": ratings, "watched": 1.0, "seconds": 8.5} | more


def start_of(page: str) -> dict:
    return json.loads(re.search(r'<script id="start"[^>]*>(.*?)</script>', page)[1])


def test_a_whole_session(client, study, database, link):
    page = client.get(link)
    assert page.status_code == 200
    assert "lab &lt;a@b.org&gt;" in page.text
    state = start_of(page.text)["state"]
    assert (state["stage"], state["coming"]) == ("consent", [])
    state = client.post(f"{link}/consent", json={}).json()
    who = database.by_token(link[3:])
    for number, item in enumerate(who.plan):
        assert (state["stage"], state["done"], state["total"]) == ("rate", number, len(who.plan))
        assert [entry["item"] for entry in state["coming"]] == list(who.plan[number : number + 2])
        assert client.get(state["coming"][0]["media"]).headers["content-type"] == "video/mp4"
        state = client.post(f"{link}/rating", json=answer(item, 1 + number % 5)).json()
    assert state["stage"] == "done"
    table = store.ratings(study)
    assert list(table.columns) == list(store.COLUMNS)
    assert len(table) == 3 * len(who.plan)
    assert list(table[table.question == "lip_sync"]["rating"]) == [1 + n % 5 for n in range(len(who.plan))]
    assert set(table["participant"]) == {who.id}
    assert set(table.kind) == {"rating", "desync", "repeat"}
    assert table[table.kind == "repeat"].repeats.notna().all()
    assert table["at"].str.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z").all()
    done = database.by_id(who.id)
    assert done.consented_at < done.finished_at


def test_a_study_without_ratings_has_an_empty_table(built):
    table = store.ratings(built.folder)
    assert table.empty
    assert list(table.columns) == list(store.COLUMNS)


def test_a_session_goes_on_where_it_was(study, link, client, database):
    client.post(f"{link}/consent", json={})
    plan = database.by_token(link[3:]).plan
    for item in plan[:3]:
        client.post(f"{link}/rating", json=answer(item))
    again = store.Store(study)  # another process, after a crash
    with TestClient(app.create(study, again)) as other:
        state = start_of(other.get(link).text)["state"]
    again.close()
    assert (state["stage"], state["done"], state["coming"][0]["item"]) == ("rate", 3, plan[3])


def test_the_same_answer_twice_counts_once_and_another_changes_nothing(client, study, database, link):
    client.post(f"{link}/consent", json={})
    first, second, third, *_ = database.by_token(link[3:]).plan
    for _ in range(3):  # a double click, an answer lost on its way back
        reply = client.post(f"{link}/rating", json=answer(first))
        assert reply.status_code == 200
        assert reply.json()["done"] == 1
    reply = client.post(f"{link}/rating", json=answer(first, 5))  # an older tab
    assert reply.status_code == 409
    assert reply.json()["coming"][0]["item"] == second
    reply = client.post(f"{link}/rating", json=answer(third))  # out of order
    assert reply.status_code == 409
    assert reply.json()["done"] == 1
    assert list(store.ratings(study).rating) == [2, 3, 5]


def test_twenty_double_clicks_at_once_are_one_answer(study, client, database, link):
    client.post(f"{link}/consent", json={})
    who = database.by_token(link[3:])
    given = store.Answer(who.plan[0], {"lip_sync": 1, "head_movement": 2, "overall": 3}, 1.0, 1.0)
    threads = [threading.Thread(target=database.rate, args=(who.number, given)) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(store.ratings(study)) == 3


def test_nothing_is_rated_before_consent(client, study, database, link):
    item = database.by_token(link[3:]).plan[0]
    assert client.post(f"{link}/rating", json=answer(item)).status_code == 409
    media = study.items[item].media
    assert client.get(f"{link}/{media}").status_code == 404
    assert store.ratings(study).empty
    client.post(f"{link}/consent", json={})
    first = database.by_token(link[3:]).consented_at
    client.post(f"{link}/consent", json={})
    assert database.by_token(link[3:]).consented_at == first


def test_a_full_disk_acknowledges_nothing(study, database, link, monkeypatch):
    def full(*_):
        raise sqlite3.OperationalError("database or disk is full")

    with TestClient(app.create(study, database), headers=ORIGIN, raise_server_exceptions=False) as client:
        client.post(f"{link}/consent", json={})
        first = database.by_token(link[3:]).plan[0]
        with monkeypatch.context() as m:
            m.setattr(database, "rate", full)
            assert client.post(f"{link}/rating", json=answer(first)).status_code == 500  # the page tries again
        assert client.get(f"{link}/state").json()["done"] == 0
        assert client.post(f"{link}/rating", json=answer(first)).json()["done"] == 1


def test_half_an_answer_is_none(study, database, link):
    database.consent(0)
    first = database.by_token(link[3:]).plan[0]
    with pytest.raises(sqlite3.IntegrityError):
        database.rate(0, store.Answer(first, {"lip_sync": 3, "head_movement": 2, "overall": 9}, 1.0, 1.0))
    assert store.ratings(study).empty
    assert database.by_token(link[3:]).done == 0


def test_stopping_keeps_or_erases_the_ratings(client, study, database):
    links = ["/s/" + token for _, token in database.add(2, "link")]
    for link in links:
        client.post(f"{link}/consent", json={})
        client.post(f"{link}/rating", json=answer(database.by_token(link[3:]).plan[0]))
    keep, erase = links
    assert client.post(f"{keep}/stop", json={"ratings": "keep"}).json()["stage"] == "stopped"
    assert client.post(f"{erase}/stop", json={"ratings": "erase"}).json()["stopped"] == "erase"
    assert set(store.ratings(study).participant) == {database.by_token(keep[3:]).id}
    plan = database.by_token(keep[3:]).plan
    assert client.post(f"{keep}/rating", json=answer(plan[1])).status_code == 409
    assert client.get(f"{keep}/{study.items[plan[0]].media}").status_code == 404
    assert client.post(f"{keep}/stop", json={"ratings": "erase"}).json()["stopped"] == "erase"
    assert store.ratings(study).empty
    client.post(f"{keep}/stop", json={"ratings": "keep"})  # what is deleted stays deleted
    assert database.by_token(keep[3:]).stopped == "erase"


def test_videos_are_sent_in_ranges(client, study, database, link):
    client.post(f"{link}/consent", json={})
    name = study.items[database.by_token(link[3:]).plan[0]].media
    whole = (study.folder / name).read_bytes()
    part = client.get(f"{link}/{name}", headers={"Range": "bytes=100-199"})
    assert (part.status_code, part.content) == (206, whole[100:200])
    assert part.headers["content-range"] == f"bytes 100-199/{len(whole)}"
    assert client.get(f"{link}/{name}", headers={"Range": "bytes=99999999-"}).status_code == 416


def test_invite_prints_links_and_status_says_how_far(study, capsys):
    assert main(["invite", str(study.folder), "3", "--base-url", "https://study.example.org/"]) == 0
    links = capsys.readouterr().out.split()
    assert len(set(links)) == 3
    for link in links:
        assert re.fullmatch(r"https://study\.example\.org/s/[A-Za-z0-9_-]{43}", link)  # 256 bits
        assert link.rpartition("/")[2].encode() not in study.database.read_bytes()
    assert main(["invite", str(study.folder), "1"]) == 0
    database = store.Store(study)
    who = database.participants()[0]
    database.consent(who.number)
    database.rate(who.number, store.Answer(who.plan[0], {"lip_sync": 1, "head_movement": 1, "overall": 1}, 1, 1))
    assert [p.plan for p in database.participants()] == [study.plan(k) for k in range(4)]
    database.close()
    capsys.readouterr()
    assert main(["status", str(study.folder)]) == 0
    said = capsys.readouterr().out
    assert "4 invited, 1 have begun, 0 complete" in said
    assert "1/10" in said
    assert main(["invite", str(study.folder), "0"]) == 2


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_the_server_stops_in_order(study, how):
    server = study_browser.Server(study.folder)
    assert httpx.get(f"{server.url}/s/{'x' * 43}").status_code == 404
    server.process.send_signal(how)
    said = server.process.communicate(timeout=20)[1]
    assert server.process.returncode == 0
    assert "every acknowledged rating is kept" in said


def test_serving_to_the_network_warns(study):
    command = [sys.executable, "-m", "protocols.user_study", "serve", str(study.folder), "--port", "0"]
    server = subprocess.Popen([*command, "--host", "0.0.0.0"], stderr=subprocess.PIPE, text=True)
    first = server.stderr.readline()
    server.stderr.readline()  # it listens: signals are taken in order from here
    server.terminate()
    server.communicate(timeout=20)
    assert first.startswith("warning: 0.0.0.0 is open to the network, without encryption")


def test_a_port_in_use_is_one_line(study, capsys):
    with study_browser.serving(study.folder) as server:
        assert main(["serve", str(study.folder), "--port", str(server.port)]) == 2
    assert "give another --port" in capsys.readouterr().err
    assert main(["serve", str(study.folder), "--base-url", "https://a.org/path"]) == 2
