"""Planted raters: simulated ratings of known means and variances, and small studies of them, for tests only."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import stats

#: variances of an opinion before rounding: participant, clip, each by method, participant by clip, and the rest
MIXED = {"p": 0.10, "c": 0.10, "pm": 0.20, "cm": 0.20, "pc": 0.10, "rest": 0.30}
RATERS = {"p": 0.30, "c": 0.05, "pm": 0.15, "cm": 0.05, "pc": 0.05, "rest": 0.40}
CLIPS = {"p": 0.05, "c": 0.30, "pm": 0.05, "cm": 0.30, "pc": 0.05, "rest": 0.25}
NO_CLIPS = {"p": 0.20, "c": 0.0, "pm": 0.20, "cm": 0.0, "pc": 0.10, "rest": 0.50}
NOTHING = {"p": 0.0, "c": 0.0, "pm": 0.0, "cm": 0.0, "pc": 0.0, "rest": 1.0}
QUESTIONS = (
    ("lip_sync", "Lip sync quality"),
    ("head_movement", "Head movement naturalness"),
    ("overall", "Overall quality"),
)


def planted(generator, studies: int, participants: int, clips: int, centres, variances) -> np.ndarray:
    """(studies, methods, participants, clips) ratings 1..5, each method's opinion centred on one of ``centres``."""

    def effect(part, *shape):
        return np.sqrt(np.float32(variances[part])) * generator.standard_normal(shape, dtype=np.float32)

    methods = len(centres)
    opinion = np.asarray(centres, dtype=np.float32).reshape(1, -1, 1, 1)
    opinion = opinion + effect("p", studies, 1, participants, 1) + effect("c", studies, 1, 1, clips)
    opinion = opinion + effect("pm", studies, methods, participants, 1) + effect("cm", studies, methods, 1, clips)
    opinion = opinion + effect("pc", studies, 1, participants, clips)
    opinion = opinion + effect("rest", studies, methods, participants, clips)
    return np.clip(np.rint(opinion), 1, 5).astype(np.float64)


def population_mean(centre: float, variances) -> float:
    """The mean rating over all people and clips there could be: of a normal opinion rounded into 1..5."""
    spread = np.sqrt(sum(variances.values()))
    return 1 + sum(stats.norm.sf((edge - centre) / spread) for edge in (1.5, 2.5, 3.5, 4.5))


def stopped(generator, ratings: np.ndarray, share: float = 0.33) -> np.ndarray:
    """The same with ``share`` of the participants stopping somewhere in their own order of clips, after two or more."""
    studies, _, participants, clips = ratings.shape
    last = np.where(
        generator.random((studies, participants)) < share, generator.integers(2, clips, (studies, participants)), clips
    )
    place = generator.random((studies, participants, clips)).argsort(-1)
    return np.where((place >= last[..., None])[:, None], np.nan, ratings)


def subsets(generator, ratings: np.ndarray, each: int) -> np.ndarray:
    """The same with every participant seeing only ``each`` of the clips, drawn for them."""
    studies, _, participants, clips = ratings.shape
    place = generator.random((studies, participants, clips)).argsort(-1)
    return np.where((place >= each)[:, None], np.nan, ratings)


def study(methods=("fctfg", "pc-avs", "wav2lip", "truth"), clips: int = 20, data: str = "puppets") -> dict:
    """What study.json says, as far as the analysis reads it."""
    return {
        "schema": 1,
        "study": "0123456789abcdef",
        "title": "Talking faces",
        "seed": 1,
        "created_at": "2025-05-01T10:00:00.000Z",
        "questions": [{"name": name, "label": text, "ask": f"{text}?"} for name, text in QUESTIONS],
        "methods": [{"name": m, "kind": "control" if m in ("truth", "still") else "method"} for m in methods],
        "clips": [f"id{i:05d}/clip/00001" for i in range(clips)],
        "identities": {f"id{i:05d}/clip/00001": f"id{i:05d}" for i in range(clips)},
        "design": {"per_participant": clips, "desync": 1, "desync_clips": ["id00000/clip/00001"], "repeats": 1},
        "runs": [
            {"method": {"name": m}, "protocol": "voxceleb2", "block": "VoxCeleb2", "data": data,
             "list": {"name": f"voxceleb2-{data}", "version": 1, "sha256": "ab" * 32, "n_clips": 40}}
            for m in methods
        ],
        "exclusions": {"desync_lip_sync_from": 4, "repeat_apart_over": 2, "watched_share": 0.9, "watched_items": 0.8},
        "versions": {"fctfg": "0.1.0", "python": "3.11.9"},
    }  # fmt: skip


def tidy(record: dict, ratings: dict[str, np.ndarray], inattentive=(), generator=None) -> pd.DataFrame:
    """The tidy table of a study. ``ratings``: for each question (methods, participants, clips), NaN where missing.

    Everyone sees a desynchronised truth and one repeat; the positions in ``inattentive`` fail both and skip videos.
    """
    generator = generator or np.random.default_rng(0)
    methods, clips, lines = [m["name"] for m in record["methods"]], record["clips"], []

    def add(person, item, clip, method, kind, question, rating, repeats=None):
        watched = 0.2 if person in inattentive else 1.0
        name = f"p{person:08x}"
        lines.append(
            (name, item, clip, method, kind, question, int(rating), "2025-05-01T10:00:00.000Z", watched, 9.0, repeats)
        )

    for question, given in ratings.items():
        for m, person, c in np.argwhere(~np.isnan(given)):
            add(person, f"i{m}{c:03d}", clips[c], methods[m], "rating", question, given[m, person, c])
        for person in range(given.shape[1]):
            seen = np.argwhere(~np.isnan(given[:, person]))
            if not len(seen):
                continue
            m, c = seen[0]
            bad = person in inattentive
            add(person, "idesync", clips[0], "truth", "desync", question, 5 if bad else generator.integers(1, 3))
            first = given[m, person, c]
            again = (1 if first > 3 else 5) if bad else np.clip(first + generator.integers(-1, 2), 1, 5)
            add(person, f"r{m}{c:03d}", clips[c], methods[m], "repeat", question, again, f"i{m}{c:03d}")
    columns = [
        "participant",
        "item",
        "clip",
        "method",
        "kind",
        "question",
        "rating",
        "at",
        "watched",
        "seconds",
        "repeats",
    ]
    return pd.DataFrame(lines, columns=columns)
