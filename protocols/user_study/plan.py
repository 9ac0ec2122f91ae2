"""Which participant sees which video when. Pure functions: the plan depends on the design and the number, no more.

A session runs in as many rounds as there are methods. In each round every clip of the participant comes once, in
shuffled order, each with another method; over the rounds the methods of one clip follow a row of a Williams square
(E. J. Williams, 1949: a Latin square in which every ordered pair of neighbours occurs equally often). Which row is
taken moves on by one with every participant who sees the clip, so that for each clip, over any full set of rows, every
method comes equally often first, second, ..., and follows every other method equally often. Two videos of one clip
never stand beside each other.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

FEWEST_CLIPS = 3  # with two, a check would have to stand beside its own clip


class PlanError(ValueError):
    """A design for which there is no order; the message is one line and says what to change."""


@dataclass(frozen=True)
class Design:
    """What a plan is drawn from. ``per_participant``: clips each sees; ``desync``, ``repeats``: checks each gets."""

    seed: int
    clips: tuple[str, ...]
    methods: tuple[str, ...]
    per_participant: int
    desync_clips: tuple[str, ...] = ()
    desync: int = 0
    repeats: int = 0


@dataclass(frozen=True)
class Trial:
    """One video shown. ``kind``: "rating", "desync", "repeat"; a desync's method is the truth's name."""

    kind: str
    clip: str
    method: str


def williams(n: int) -> list[tuple[int, ...]]:
    """Rows of a Williams square of ``n`` treatments: n rows for even n, 2n (each row and its mirror) for odd n."""
    zigzag = [(j + 1) // 2 if j % 2 else (n - j // 2) % n for j in range(n)]
    rows = [tuple((first + start) % n for first in zigzag) for start in range(n)]
    return rows if n % 2 == 0 else rows + [row[::-1] for row in rows]


def trials(design: Design, number: int) -> list[Trial]:
    """The session of participant ``number`` (0, 1, ...). Raises PlanError when there are too few clips for it."""
    if design.per_participant < FEWEST_CLIPS:
        raise PlanError(f"a session needs {FEWEST_CLIPS} clips or more, not {design.per_participant}; show more")
    rows, rounds = _rows(design, number), []
    for index in range(len(design.methods)):
        order = sorted(rows, key=lambda clip: _rank(design.seed, number, index, clip))
        if rounds and rounds[-1].clip == order[0]:
            order.append(order.pop(0))
        rounds += [Trial("rating", clip, design.methods[rows[clip][index]]) for clip in order]
    sequence = _with_desync(design, number, rounds)
    return _with_repeats(design, number, sequence)


def repeated(design: Design) -> dict[str, str]:
    """Clip -> the method whose video of that clip may be shown a second time; the methods take turns."""
    return {clip: design.methods[i % len(design.methods)] for i, clip in enumerate(_circle(design))}


def _rows(design: Design, number: int) -> dict[str, tuple[int, ...]]:
    """The clips of a participant, each with its order of methods.

    Clips lie on a circle and each participant takes the next ``per_participant`` of them: at any time no clip has been
    given out more than once more than another. A clip's row is that of its turn, moved by its place on the circle.
    """
    circle, square = _circle(design), williams(len(design.methods))
    taken = {}
    for step in range(design.per_participant):
        turn, place = divmod(number * design.per_participant + step, len(circle))
        taken[circle[place]] = square[(turn + place) % len(square)]
    return taken


def _circle(design: Design) -> list[str]:
    return sorted(design.clips, key=lambda clip: _rank(design.seed, "circle", clip))


def _with_desync(design: Design, number: int, sequence: list[Trial]) -> list[Trial]:
    """Desynchronised clips, spread over the session."""
    clips = sorted(design.desync_clips, key=lambda clip: _rank(design.seed, number, "desync", clip))
    for index, clip in enumerate(clips[: design.desync]):
        target = round(len(sequence) * (index + 0.5) / design.desync)
        if not _insert(sequence, Trial("desync", clip, "truth"), target, 1):
            raise PlanError(_too_few(design))
    return sequence


def _with_repeats(design: Design, number: int, sequence: list[Trial]) -> list[Trial]:
    """Repeated videos, spread over the second half, each long after its first showing."""
    shown = {trial.clip for trial in sequence if trial.kind == "rating"}
    pool = [Trial("rating", clip, method) for clip, method in repeated(design).items() if clip in shown]
    pool.sort(key=lambda trial: _rank(design.seed, number, "repeat", trial.clip))
    for index in range(design.repeats):
        target = round(len(sequence) * (0.5 + 0.5 * (index + 1) / design.repeats))
        first = {trial: sequence.index(trial) for trial in pool}
        # Those first seen a third of a session before come first, in their shuffled order; then the earliest seen.
        pool.sort(key=lambda trial: max(0, first[trial] - (target - len(sequence) // 3)))
        for trial in pool:
            again = Trial("repeat", trial.clip, trial.method)
            if _insert(sequence, again, target, first[trial] + 2):
                pool.remove(trial)
                break
        else:
            raise PlanError(_too_few(design))
    return sequence


def _insert(sequence: list[Trial], trial: Trial, target: int, lowest: int) -> bool:
    """Put ``trial`` as near to ``target`` as can be: beside no trial of its clip, and beside no other check."""
    gaps = sorted(range(lowest, len(sequence) + 1), key=lambda gap: (abs(gap - target), gap))
    for beside in (("rating",), ("rating", "desync", "repeat")):
        for gap in gaps:
            neighbours = sequence[max(0, gap - 1) : gap + 1]
            if all(n.clip != trial.clip and n.kind in beside for n in neighbours):
                sequence.insert(gap, trial)
                return True
    return False


def _too_few(design: Design) -> str:
    return (
        f"{design.per_participant} clips leave no room for {design.desync} + {design.repeats} attention checks; "
        "show more clips or lower --desync and --repeats"
    )


def _rank(*parts: object) -> str:
    """A place in a shuffled order: a hash, so that it is the same on every machine and in every version."""
    return hashlib.sha256(":".join(map(str, parts)).encode()).hexdigest()
