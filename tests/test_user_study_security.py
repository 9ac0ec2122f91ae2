"""What is refused: other people's files and ratings, forged ids, wrong bodies, foreign pages, floods."""

from __future__ import annotations

import json

import pytest
import study_runs
from starlette.testclient import TestClient

from protocols.user_study import app, store
from protocols.user_study.limits import Bucket, Limits

ORIGIN = {"Origin": "http://testserver"}


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    root = tmp_path_factory.mktemp("study")
    methods = ("reencode", "alpha-method", "beta-method")
    folders = study_runs.runs(root, methods)
    return study_runs.study(root, folders, "--per-participant", "3", "--desync", "1", "--repeats", "1")


@pytest.fixture(scope="module")
def database(study):
    opened = store.Store(study)
    yield opened
    opened.close()


@pytest.fixture
def limits():
    return Limits(clock=lambda: 0.0)


@pytest.fixture
def client(study, database, limits):
    with TestClient(app.create(study, database, limits=limits), headers=ORIGIN) as client:
        yield client


@pytest.fixture
def link(database):
    """A participant's link, consent given."""
    name, token = database.add(1, "link")[0]
    database.consent(database.by_id(name).number)
    return f"/s/{token}"


def answer(item, **more):
    ratings = {"lip_sync": 3, "head_movement": 2, "overall": 5}
    return {"item": item, "ratings": ratings, "watched": 1.0, "seconds": 8.5} | more


def next_item(database, link):
    who = database.by_token(link[3:])
    return who.plan[who.done]


@pytest.mark.parametrize(
    "path",
    [
        "/study.json",
        "/ratings.sqlite",
        "/",
        "/docs",
        "/media/",
        "/assets/../study.json",
        "/assets/%2e%2e/app.py",
        "/assets/study.html",
        "/assets/..%2f..%2fstudy.json",
        "{link}/media/../study.json",
        "{link}/media/..%2fstudy.json",
        "{link}/media/%2e%2e%2f%2e%2e%2fetc%2fpasswd",
        "{link}/media/....//study.json",
        "{link}/media/study.json",
        "{link}/media/%2e%2e",
        "{link}/media/",
        "{link}/media/%00.mp4",
        "{link}/../../study.json",
        "{link}%2f..%2f..%2fstudy.json",
        "/s/..%2f..%2fstudy.json",
        "/s//etc/passwd",
    ],
)
def test_no_path_leads_out(client, study, link, path):
    reply = client.get(path.format(link=link))
    assert reply.status_code in (404, 405), reply.text
    assert study.record["key"] not in reply.text
    assert "root:" not in reply.text


@pytest.mark.parametrize("token", ["", "x", "a" * 22, "a" * 43, "a" * 5000, "' OR 1=1 --", "é" * 43, "%00" * 30])
def test_a_forged_link_opens_nothing(client, study, token):
    for path in ("", "/state", f"/{next(iter(study.items.values())).media}"):
        assert client.get(f"/s/{token}{path}").status_code in (404, 429)
    for action, body in (("consent", {}), ("rating", answer("0" * 16)), ("stop", {"ratings": "erase"})):
        assert client.post(f"/s/{token}/{action}", json=body).status_code in (404, 405, 429)


def test_videos_of_another_plan_are_not_served(client, study, database, link):
    who = database.by_token(link[3:])
    own = {study.items[item].media for item in who.plan}
    others = {item.media for item in study.items.values()} - own
    assert others
    for name in sorted(others):
        assert client.get(f"{link}/{name}").status_code == 404
    for name in sorted(own):
        assert client.get(f"{link}/{name}").status_code == 200


def test_a_file_participants_code_is_no_link(client, database):
    name, token = database.add(1, "file")[0]
    assert client.get(f"/s/{token}").status_code == 404
    assert client.get(f"/s/{name}").status_code == 404


def test_method_and_clip_names_reach_no_browser(client, study, database, link):
    item = next_item(database, link)
    texts = [client.get(link), client.get(f"{link}/state"), client.post(f"{link}/rating", json=answer(item))]
    texts += [client.get("/assets/study.js"), client.get(f"{link}/{study.items[item].media}")]
    secrets = [*study.record["clips"], study.record["key"], "alpha-method", "beta-method", "reencode", "desync"]
    for reply in texts:
        everything = reply.content + json.dumps(dict(reply.headers)).encode()
        assert not [word for word in secrets if word.encode() in everything]


@pytest.mark.parametrize(
    "change",
    [
        {"item": "0" * 16},
        {"item": "../study.json"},
        {"item": 7},
        {"item": None},
        {"ratings": {"lip_sync": 0, "head_movement": 2, "overall": 5}},
        {"ratings": {"lip_sync": 6, "head_movement": 2, "overall": 5}},
        {"ratings": {"lip_sync": 3.5, "head_movement": 2, "overall": 5}},
        {"ratings": {"lip_sync": True, "head_movement": 2, "overall": 5}},
        {"ratings": {"lip_sync": "3", "head_movement": 2, "overall": 5}},
        {"ratings": {"lip_sync": 3, "head_movement": 2}},
        {"ratings": {"lip_sync": 3, "head_movement": 2, "overall": 5, "more": 1}},
        {"ratings": [3, 2, 5]},
        {"watched": -1},
        {"watched": "1"},
        {"watched": 1e300},
        {"seconds": None},
        {"seconds": True},
        {"extra": 1},
        {"participant": 0},
    ],
)
def test_answers_that_no_page_sends_are_refused(client, study, database, link, change):
    reply = client.post(f"{link}/rating", json=answer(next_item(database, link)) | change)
    assert reply.status_code == 422
    assert database.by_token(link[3:]).done == 0


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '"x"', "NaN", '{"item": NaN}', "[" * 4000, "\x00\xff"])
def test_bodies_that_are_no_answer_are_refused(client, link, text):
    headers = {"Content-Type": "application/json"}
    assert client.post(f"{link}/rating", content=text.encode("latin-1"), headers=headers).status_code in (400, 422)


def test_nan_is_not_a_number(client, database, link):
    body = json.dumps(answer(next_item(database, link), watched=float("nan")))
    reply = client.post(f"{link}/rating", content=body, headers={"Content-Type": "application/json"})
    assert reply.status_code == 422


def test_another_participants_item_is_refused(client, study, database, link):
    who = database.by_token(link[3:])
    foreign = next(item for item in study.items if item not in who.plan)
    assert client.post(f"{link}/rating", json=answer(foreign)).status_code == 422
    assert database.by_token(link[3:]).done == 0


def test_large_bodies_are_refused_with_and_without_a_length(client, database, link):
    big = json.dumps(answer(next_item(database, link)) | {"pad": "x" * 5000}).encode()
    headers = {"Content-Type": "application/json"}
    assert client.post(f"{link}/rating", content=big, headers=headers).status_code == 413
    assert client.post(f"{link}/rating", content=iter([big[:3000], big[3000:]]), headers=headers).status_code == 413
    assert client.post(f"{link}/rating", content=b"{}", headers=headers | {"Content-Length": "x"}).status_code == 413
    assert database.by_token(link[3:]).done == 0


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://[bad"}, 403),
        ({"Origin": "http://testserver.evil.example"}, 403),
        ({"Origin": "http://testserver:81"}, 403),
        ({"Origin": "http://testserver", "Sec-Fetch-Site": "cross-site"}, 403),
        ({"Origin": "http://testserver", "Sec-Fetch-Site": "same-site"}, 403),
        ({"Origin": ""}, 403),
        ({"Origin": "http://testserver", "Content-Type": "text/plain"}, 415),
        ({"Origin": "http://testserver", "Content-Type": "application/x-www-form-urlencoded"}, 415),
        ({"Origin": "http://testserver", "Sec-Fetch-Site": "same-origin"}, 200),
    ],
)
def test_only_the_studys_own_page_changes_anything(client, database, link, headers, status):
    body = json.dumps(answer(next_item(database, link)))
    reply = client.post(f"{link}/rating", content=body, headers={"Content-Type": "application/json"} | headers)
    assert reply.status_code == status
    assert database.by_token(link[3:]).done == (status == 200)


def test_a_request_that_names_no_origin_changes_nothing(study, database, link):
    with TestClient(app.create(study, database)) as bare:
        assert bare.post(f"{link}/rating", json=answer(next_item(database, link))).status_code == 403


def test_behind_a_proxy_the_public_origin_counts(study, database, link):
    public = app.create(study, database, origins=frozenset({"https://study.example.org"}))
    with TestClient(public, headers={"Origin": "https://study.example.org"}) as client:
        assert client.post(f"{link}/rating", json=answer(next_item(database, link))).status_code == 200


def test_unknown_hosts_are_not_answered(study, database, link):
    with TestClient(app.create(study, database, hosts=frozenset({"localhost"}))) as client:
        assert client.get(link).status_code == 421
        assert client.get(link, headers={"Host": "localhost:8000"}).status_code == 200
        assert client.get(link, headers={"Host": "localhost.evil.example"}).status_code == 421
        assert client.get(link, headers={"Host": "[bad"}).status_code == 421


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "POST"])
def test_pages_are_only_read(client, link, method):
    assert client.request(method, link).status_code == 405


def test_every_response_carries_the_headers(client, study, database, link):
    media = study.items[next_item(database, link)].media
    for path in (link, f"{link}/state", "/assets/study.css", f"{link}/{media}", "/nothing", "/s/x"):
        reply = client.get(path)
        policy = reply.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert "http" not in policy
        assert reply.headers["x-content-type-options"] == "nosniff"
        assert reply.headers["referrer-policy"] == "no-referrer"
        assert "set-cookie" not in reply.headers
        assert "server" not in reply.headers
    assert client.get(link).headers["cache-control"] == "no-store"
    assert "private" in client.get(f"{link}/{media}").headers["cache-control"]


def test_the_page_asks_nobody_else_for_anything(client, link):
    page = client.get(link).text
    for text in (page, client.get("/assets/study.css").text, client.get("/assets/study.js").text):
        assert "http://" not in text
        assert "https://" not in text
        assert "//cdn" not in text
    assert "<style" not in page
    assert " style=" not in page
    assert " onclick=" not in page


def test_floods_are_cut_off_for_one_participant_only(client, database, limits, link):
    other = "/s/" + database.add(1, "link")[0][1]
    replies = [client.get(f"{link}/state").status_code for _ in range(200)]
    assert replies.count(200) == limits.each[1]
    assert replies[-1] == 429
    assert client.get(f"{link}/state").headers["retry-after"]
    assert client.get(f"{other}/state").status_code == 200


def test_guessing_links_is_cut_off_and_disturbs_nobody(client, link):
    replies = [client.get(f"/s/{'x' * 30}{i:05d}").status_code for i in range(100)]
    assert replies.count(404) == 60
    assert client.get(link).status_code == 200


def test_a_flood_from_everybody_is_cut_off(study, database, link):
    tight = Limits(everybody=Bucket(1, 5), clock=lambda: 0.0)
    with TestClient(app.create(study, database, limits=tight)) as client:
        assert [client.get("/assets/study.css").status_code for _ in range(7)] == [200] * 5 + [429] * 2


def test_a_bucket_fills_again():
    bucket = Bucket(rate=2, burst=4)
    assert [bucket.take(10.0) for _ in range(5)] == [True] * 4 + [False]
    assert [bucket.take(11.0) for _ in range(3)] == [True, True, False]
    assert sum(bucket.take(1000.0) for _ in range(9)) == 4


def test_the_database_holds_no_personal_data(study, database, client, link):
    client.post(f"{link}/rating", json=answer(next_item(database, link)), headers={"User-Agent": "agent-of-somebody"})
    stored = b"".join(path.read_bytes() for path in study.folder.glob("ratings.sqlite*"))
    for trace in (b"agent-of-somebody", b"testclient", b"127.0.0.1", link[3:].encode()):
        assert trace not in stored
