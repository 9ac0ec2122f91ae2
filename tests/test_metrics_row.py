"""A row from results: one place for values, details, failures, warnings and the status."""

from __future__ import annotations

from metrics.interface import Result
from metrics.row import fill


def empty() -> dict:
    return {"metrics": {}, "details": {}, "failures": {}, "warnings": ["before"], "status": "?"}


def test_every_part_has_its_place():
    row = empty()
    fill(row, {"a": Result(1.5, {"frames": 3}), "b": Result(None, {"undefined": "still"}), "c": Result(2.0)})
    assert row["metrics"] == {"a": 1.5, "b": None, "c": 2.0}
    assert row["details"] == {"a": {"frames": 3}, "b": {"undefined": "still"}}
    assert (row["status"], row["failures"], row["warnings"]) == ("scored", {}, ["before"])
    fill(row, {"d": Result(failure="no face")})
    assert (row["status"], row["failures"]) == ("failed", {"d": "no face"})


def test_metrics_share_a_warning():
    row = empty()
    fill(row, {name: Result(1.0, warnings=["late", name]) for name in "ab"})
    assert row["warnings"][1:] == ["a, b: late", "a: a", "b: b"]
    row = empty()
    fill(row, {name: Result(1.0, warnings=["late"]) for name in "abcde"})
    assert row["warnings"][1:] == ["a and 4 more: late"]


def test_a_value_from_few_frames_is_a_warning_and_none_is_not():
    row = empty()
    results = {
        "few": Result(1.0, {"detected_both": 0.4}),
        "many": Result(1.0, {"detected_both": 0.95}),
        "none": Result(None, {"detected_both": 0.0}, "no face"),
    }
    fill(row, results)
    assert row["warnings"][1:] == ["few: measured on 40 % of the frames, those in which both show a face"]
