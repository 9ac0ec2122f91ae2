"""Who sees what when: counterbalanced, deterministic, no clip twice in a row."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest

from protocols.user_study.plan import Design, PlanError, Trial, repeated, trials, williams


def design(clips=6, methods=4, each=None, desync=2, repeats=2, seed=3) -> Design:
    names = tuple(f"clip{i:02d}" for i in range(clips))
    methods = tuple(f"m{i}" for i in range(methods))
    return Design(seed, names, methods, each or clips, names[:2], desync, repeats)


def rated(session: list[Trial]) -> list[Trial]:
    return [trial for trial in session if trial.kind == "rating"]


@pytest.mark.parametrize("n", range(1, 10))
def test_a_williams_square_balances_places_and_neighbours(n):
    rows = williams(n)
    assert len(rows) == (n if n % 2 == 0 else 2 * n)
    for place in range(n):
        assert set(Counter(row[place] for row in rows).values()) == {len(rows) // n}
    if n > 1:
        follows = Counter(pair for row in rows for pair in pairwise(row))
        assert set(follows.values()) == {len(rows) // n}
        assert len(follows) == n * (n - 1)


@pytest.mark.parametrize(("methods", "people"), [(2, 2), (3, 6), (4, 4), (5, 10), (5, 40)])
def test_over_a_full_set_of_participants_every_clip_balances_its_methods(methods, people):
    d = design(methods=methods)
    sessions = [rated(trials(d, k)) for k in range(people)]
    places, follows = Counter(), Counter()
    for session in sessions:
        for clip in d.clips:
            order = [trial.method for trial in session if trial.clip == clip]
            places.update((clip, method, place) for place, method in enumerate(order))
            follows.update((clip, *pair) for pair in pairwise(order))
    assert set(places.values()) == {people // methods}
    assert len(places) == len(d.clips) * methods * methods
    assert len(set(follows.values())) == 1
    assert len(follows) == len(d.clips) * methods * (methods - 1)


def test_within_a_session_methods_spread_over_the_rounds():
    d = design(clips=20, methods=5, desync=0, repeats=0)
    for number in range(20):
        session = trials(d, number)
        for begin in range(0, len(session), 20):
            counts = Counter(trial.method for trial in session[begin : begin + 20])
            assert set(counts.values()) == {4}  # 20 clips, 5 methods: each four times in every round


@pytest.mark.parametrize("clips", [3, 4, 6, 20])
@pytest.mark.parametrize("methods", [1, 2, 5])
def test_no_clip_comes_twice_in_a_row_and_every_video_once(clips, methods):
    d = design(clips, methods)
    for number in range(60):
        session = trials(d, number)
        assert all(a.clip != b.clip for a, b in pairwise(session))
        assert Counter(rated(session)) == {Trial("rating", c, m): 1 for c in d.clips for m in d.methods}
        assert Counter(trial.kind for trial in session) == {"rating": clips * methods, "desync": 2, "repeat": 2}


def test_a_plan_depends_on_seed_and_number_alone():
    d = design()
    assert trials(d, 5) == trials(design(), 5)
    assert len({tuple(trials(d, k)) for k in range(50)}) == 50
    assert trials(d, 0) != trials(design(seed=4), 0)


def test_a_subset_gives_every_clip_to_equally_many_and_still_balances():
    d = design(clips=10, methods=4, each=4, desync=1, repeats=1)
    seen = Counter()
    for number in range(37):
        clips = {trial.clip for trial in rated(trials(d, number))}
        assert len(clips) == 4
        seen.update(clips)
        assert max(seen.values()) - min(seen[c] for c in d.clips) <= 1
    places = Counter()
    for number in range(40):  # 40 x 4 = 160 = 10 clips x 16 turns
        for clip in d.clips:
            order = [trial.method for trial in rated(trials(d, number)) if trial.clip == clip]
            places.update((clip, method, place) for place, method in enumerate(order))
    assert set(places.values()) == {4}


def test_checks_are_spread_and_a_repeat_comes_long_after_its_first_showing():
    d = design(clips=20, methods=5)
    pool = repeated(d)
    assert set(Counter(pool.values()).values()) == {4}  # the methods take turns
    thirds = Counter()
    for number in range(60):
        session = trials(d, number)
        for place, trial in enumerate(session):
            if trial.kind == "desync":
                assert trial.method == "truth"
                thirds[3 * place // len(session)] += 1
            if trial.kind == "repeat":
                assert pool[trial.clip] == trial.method
                assert place - session.index(Trial("rating", trial.clip, trial.method)) >= len(session) // 4
        kinds = [trial.kind == "rating" for trial in session]
        assert all(a or b for a, b in pairwise(kinds))  # no two checks in a row
    assert thirds.keys() == {0, 2}


def test_too_few_clips_are_refused_in_a_line():
    with pytest.raises(PlanError, match="3 clips or more"):
        trials(design(clips=2, desync=0, repeats=0), 0)
    with pytest.raises(PlanError, match="no room"):
        trials(design(clips=3, methods=1, repeats=4), 0)
