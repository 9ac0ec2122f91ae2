"""A real server process: killed in the middle of ratings, and with two hundred raters at once."""

from __future__ import annotations

import asyncio
import random
import threading
import time

import httpx2 as httpx
import numpy as np
import pytest
import study_browser
import study_runs

from protocols.user_study import store

RATERS, VIDEOS_EACH = 200, 8


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return study_runs.runs(tmp_path_factory.mktemp("runs"), ("reencode", "alpha"))


def invited(study, count):
    opened = store.Store(study)
    tokens = [token for _, token in opened.add(count, "link")]
    plans = [opened.by_token(token).plan for token in tokens]
    opened.close()
    return tokens, plans


def answer(item, rng):
    ratings = {question: rng.randint(1, 5) for question in ("lip_sync", "head_movement", "overall")}
    return {"item": item, "ratings": ratings, "watched": 1.0, "seconds": 5.0}


@pytest.mark.slow
def test_twenty_kills_lose_nothing_that_was_acknowledged(runs, tmp_path):
    """Raters send as fast as they can; the server dies by SIGKILL at a random moment, twenty times.

    A rater who had no answer does not know whether the rating was kept, and goes on from the state that the next
    server tells, as the page does.
    """
    study = study_runs.study(tmp_path, runs)
    tokens, plans = invited(study, 60)
    acknowledged, attempted, lock = {}, {}, threading.Lock()
    queue = list(range(len(tokens)))
    rng = random.Random(5)
    kills_under_way = 0

    def rate(url, die):
        """Rate as one participant after another until the server is gone."""
        own = random.Random(threading.get_ident())
        while not die.is_set():
            with lock:
                if not queue:
                    return
                number = queue.pop(0)
            link = f"{url}/s/{tokens[number]}"
            try:
                with httpx.Client(headers={"Origin": url}, timeout=10) as client:
                    state = client.get(f"{link}/state").json()
                    if state["stage"] == "consent":
                        state = client.post(f"{link}/consent", json={}).json()
                    while state["stage"] == "rate":
                        item = state["coming"][0]["item"]
                        given = answer(item, own)
                        with lock:
                            attempted.setdefault((number, item), []).append(given["ratings"])
                        reply = client.post(f"{link}/rating", json=given)
                        assert reply.status_code == 200
                        with lock:
                            acknowledged[number, item] = given["ratings"]
                        state = reply.json()
            except httpx.HTTPError:
                with lock:
                    queue.insert(0, number)

    for round_ in range(21):
        server = study_browser.Server(study.folder)
        die = threading.Event()
        before = len(acknowledged)
        threads = [threading.Thread(target=rate, args=(server.url, die)) for _ in range(4)]
        for thread in threads:
            thread.start()
        if round_ < 20:
            while len(acknowledged) < before + 5 and any(t.is_alive() for t in threads):
                time.sleep(0.002)
            time.sleep(rng.uniform(0, 0.05))
            kills_under_way += any(t.is_alive() for t in threads)
            server.kill()
            die.set()
        for thread in threads:
            thread.join()
        if round_ == 20:
            server.stop()
        table = store.ratings(study)
        kept = {key: dict(zip(g.question, g.rating, strict=True)) for key, g in table.groupby(["participant", "item"])}
        opened = store.Store(study)
        names = {p.number: p.id for p in opened.participants()}
        opened.close()
        for (number, item), ratings in acknowledged.items():
            assert kept[names[number], item] == ratings
        numbers = {name: number for number, name in names.items()}
        for (name, item), ratings in kept.items():
            assert ratings in attempted[numbers[name], item]  # whole answers, each one that was really sent
    assert kills_under_way == 20
    assert len(kept) == sum(map(len, plans))


async def one_rater(url, token, plan, start, times):
    """A session of VIDEOS_EACH videos as a browser takes it: page, videos in ranges, ratings."""
    rng = random.Random(token)
    link = f"{url}/s/{token}"
    async with httpx.AsyncClient(headers={"Origin": url}, timeout=60) as client:
        await start.wait()

        async def timed(kind, method, path, **more):
            began = time.perf_counter()
            reply = await client.request(method, path, **more)
            times[kind].append(time.perf_counter() - began)
            assert reply.status_code in (200, 206), (kind, reply.status_code, reply.text)
            return reply

        await timed("page", "GET", link)
        state = (await timed("consent", "POST", f"{link}/consent", json={})).json()
        for item in plan[:VIDEOS_EACH]:
            this = state["coming"][0]
            assert this["item"] == item
            await timed("video", "GET", url + this["media"], headers={"Range": "bytes=0-"})
            await asyncio.sleep(rng.uniform(0.5, 1.5))  # watching: far shorter than anybody's
            state = (await timed("rating", "POST", f"{link}/rating", json=answer(item, rng))).json()
        assert state["done"] == VIDEOS_EACH


@pytest.mark.slow
def test_two_hundred_raters_at_once_meet_no_error(runs, tmp_path):
    study = study_runs.study(tmp_path, runs)
    tokens, plans = invited(study, RATERS)
    times = {kind: [] for kind in ("page", "consent", "video", "rating")}

    async def everybody(url):
        start = asyncio.Event()
        raters = [one_rater(url, token, plan, start, times) for token, plan in zip(tokens, plans, strict=True)]
        tasks = [asyncio.create_task(rater) for rater in raters]
        await asyncio.sleep(0.5)
        start.set()
        await asyncio.gather(*tasks)

    with study_browser.serving(study.folder) as server:
        began = time.perf_counter()
        asyncio.run(everybody(server.url))
        took = time.perf_counter() - began
    assert len(store.ratings(study)) == 3 * RATERS * VIDEOS_EACH
    print(f"\n{RATERS} raters, {sum(map(len, times.values()))} requests in {took:.1f} s")
    for kind, values in times.items():
        median, late = np.percentile(values, [50, 99])
        print(f"{kind:8} n {len(values):5}  median {1000 * median:6.0f} ms  99 % {1000 * late:6.0f} ms")
