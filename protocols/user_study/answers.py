"""What a participant may send, checked. Both the server and the import of files go through here."""

from __future__ import annotations

import math
import re

from protocols.user_study.store import Answer
from protocols.user_study.study import Study

LONGEST = 1e6  # seconds, and shares of a video: more is no measurement
_ITEM = re.compile(r"[0-9a-f]{16}")
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z")


class BadAnswer(ValueError):
    """An answer that no page of ours sends; the message is one line."""


def answer(value: object, study: Study, *, timed: bool = False) -> Answer:
    """The answer to one item, from JSON: {"item", "ratings": {question: 1..5}, "watched", "seconds"} and, ``timed``,
    "at". Raises BadAnswer for anything else: a missing or further key, another type, a number out of range.
    """
    keys = {"item", "ratings", "watched", "seconds"} | ({"at"} if timed else set())
    if not isinstance(value, dict) or set(value) != keys:
        raise BadAnswer(f"an answer has the keys {', '.join(sorted(keys))}")
    if not isinstance(value["item"], str) or not _ITEM.fullmatch(value["item"]):
        raise BadAnswer("item is not the id of one")
    ratings, wanted = value["ratings"], [question["name"] for question in study.questions]
    if not isinstance(ratings, dict) or sorted(ratings) != sorted(wanted):
        raise BadAnswer(f"ratings answer the questions {', '.join(wanted)}")
    for question, rating in ratings.items():
        if type(rating) is not int or not 1 <= rating <= len(study.record["scale"]):
            raise BadAnswer(f"the rating of {question} is not a whole number from 1 to {len(study.record['scale'])}")
    for key in ("watched", "seconds"):
        number = value[key]
        if isinstance(number, bool) or not isinstance(number, int | float) or not math.isfinite(number):
            raise BadAnswer(f"{key} is not a number")
        if not 0 <= number <= LONGEST:
            raise BadAnswer(f"{key} is out of range")
    at = value.get("at")
    if timed and not (isinstance(at, str) and TIME.fullmatch(at)):
        raise BadAnswer("at is not a time like 2026-01-31T09:30:00.000Z")
    ordered = {question: ratings[question] for question in wanted}
    return Answer(value["item"], ordered, round(float(value["watched"]), 3), round(float(value["seconds"]), 3), at)
