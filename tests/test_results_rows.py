"""Rows survive crashes, and merging them does not depend on how many processes wrote them."""

from __future__ import annotations

import json
import math
import random

import numpy as np
import pytest

from results import rows
from results.rows import ResultsError


def row(clip="a/b/1", status="scored", key="k", **metrics):
    return {
        "schema": 1,
        "clip": clip,
        "identity": clip.split("/")[0],
        "key": key,
        "status": status,
        "failures": {} if status == "scored" else {"*": "no video"},
        "metrics": metrics,
        "details": {},
    }


def test_a_row_comes_back_as_it_was_with_infinities(tmp_path):
    path = tmp_path / "rows" / "0-of-1.jsonl"
    rows.append(path, row(psnr=math.inf, low=-math.inf, ssim=np.float64(0.1) + 0.2))
    assert '"psnr":"inf"' in path.read_text()
    assert '"low":"-inf"' in path.read_text()
    assert path.read_text().count("\n") == 1
    assert rows.read(tmp_path)[0]["metrics"] == {"psnr": math.inf, "low": -math.inf, "ssim": 0.1 + 0.2}


def test_infinities_in_details_come_back_and_other_strings_stay(tmp_path):
    written = row(psnr=1.0) | {"details": {"psnr": {"worst": math.inf, "list": [-math.inf, 2]}}, "emotion": "inf"}
    rows.append(tmp_path / "rows/0-of-1.jsonl", written)
    (found,) = rows.read(tmp_path)
    assert found["details"] == {"psnr": {"worst": math.inf, "list": [-math.inf, 2]}}
    assert found["emotion"] == "inf"


def test_nan_is_refused_before_anything_is_written(tmp_path):
    path = tmp_path / "rows/0-of-1.jsonl"
    with pytest.raises(ResultsError, match="NaN"):
        rows.append(path, row(ssim=math.nan))
    assert not path.exists()


@pytest.mark.parametrize("cut", [1, 5, 40])
def test_a_torn_last_line_is_ignored_and_the_next_append_removes_it(tmp_path, cut):
    path = tmp_path / "rows/0-of-1.jsonl"
    rows.append(path, row("a/1", x=1.0))
    rows.append(path, row("a/2", x=2.0))
    whole = path.read_bytes()
    last = whole.rindex(b"\n", 0, -1) + 1
    path.write_bytes(whole[: last + cut])
    assert [r["clip"] for r in rows.read(tmp_path)] == ["a/1"]
    rows.append(path, row("a/3", x=3.0))
    assert [r["clip"] for r in rows.read(tmp_path)] == ["a/1", "a/3"]
    assert all(json.loads(line) for line in path.read_text().splitlines())


def test_a_whole_last_line_without_its_newline_is_kept(tmp_path):
    path = tmp_path / "rows/0-of-1.jsonl"
    rows.append(path, row("a/1", x=1.0))
    path.write_bytes(path.read_bytes()[:-1])
    assert [r["clip"] for r in rows.read(tmp_path)] == ["a/1"]
    rows.append(path, row("a/2", x=2.0))
    assert [r["clip"] for r in rows.read(tmp_path)] == ["a/1", "a/2"]


def test_a_torn_line_longer_than_a_block_is_removed(tmp_path):
    path = tmp_path / "rows/0-of-1.jsonl"
    rows.append(path, row("a/1", x=1.0))
    with open(path, "ab") as file:
        file.write(b'{"clip":"' + b"x" * 200_000)
    rows.append(path, row("a/2", x=2.0))
    assert [r["clip"] for r in rows.read_file(path)] == ["a/1", "a/2"]


def test_a_broken_line_in_the_middle_is_an_error_that_names_it(tmp_path):
    path = tmp_path / "rows/0-of-1.jsonl"
    rows.append(path, row("a/1", x=1.0))
    path.write_bytes(b'{"clip": \n' + path.read_bytes())
    with pytest.raises(ResultsError, match=r"0-of-1.jsonl:1: not a JSON line; delete it"):
        rows.read(tmp_path)


def test_merging_shards_equals_one_file_in_any_order(tmp_path):
    all_rows = [row(f"id{i % 3}/{i}", key=str(i), x=float(i)) for i in range(20)]
    for r in all_rows:
        rows.append(tmp_path / "one/rows/0-of-1.jsonl", r)
    random.Random(0).shuffle(all_rows)
    for i, r in enumerate(all_rows):
        rows.append(tmp_path / f"many/rows/{i % 3}-of-3.jsonl", r)
    assert rows.read(tmp_path / "one") == rows.read(tmp_path / "many")


def test_the_later_line_wins_within_a_file(tmp_path):
    path = tmp_path / "rows/0-of-1.jsonl"
    rows.append(path, row("a/1", "failed", "old"))
    rows.append(path, row("a/1", "scored", "new", x=1.0))
    assert [r["status"] for r in rows.read(tmp_path)] == ["scored"]


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_between_files_the_scored_row_wins_then_the_greater_key(tmp_path, order):
    candidates = [row("a/1", "failed", "z"), row("a/1", "scored", "b", x=2.0), row("a/1", "scored", "a", x=1.0)]
    for place, which in enumerate(order):
        rows.append(tmp_path / f"rows/{place}-of-3.jsonl", candidates[which])
    merged = rows.merge(tmp_path)
    assert [r["key"] for r in merged.rows] == ["b"]
    assert "different settings" in merged.notes[0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"clip": ""}, "without a clip id"),
        ({"status": "done"}, "status 'done'"),
        ({"schema": 2}, "schema 2"),
        ({"metrics": []}, "'metrics' is not an object"),
    ],
)
def test_rows_that_nobody_could_read_are_refused(tmp_path, change, message):
    with pytest.raises(ResultsError, match=message) as caught:
        rows.append(tmp_path / "rows/0-of-1.jsonl", row(x=1.0) | change)
    assert "\n" not in str(caught.value)


def test_a_value_that_is_no_number_is_an_error(tmp_path):
    rows.append(tmp_path / "rows/0-of-1.jsonl", row(x="0.9"))
    with pytest.raises(ResultsError, match=r"metric x of clip a/b/1 is '0\.9'"):
        rows.read(tmp_path)


RUN = {
    "protocol": "p",
    "block": "b",
    "data": "full",
    "list": {"sha256": "0"},
    "method": {"name": "m"},
    "metrics": {},
    "clips": ["a"],
}


def test_run_json_is_written_in_one_step_and_read_back(tmp_path):
    rows.write_run(tmp_path, RUN)
    rows.write_run(tmp_path, RUN | {"seed": 1})
    assert rows.read_run(tmp_path) == {"schema": 1, **RUN, "seed": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]


def test_a_failed_write_leaves_the_old_run_json(tmp_path, monkeypatch):
    rows.write_run(tmp_path, RUN)

    def refuse(*arguments):
        raise OSError("no space left")

    monkeypatch.setattr(rows.os, "replace", refuse)
    with pytest.raises(OSError, match="no space left"):
        rows.write_run(tmp_path, RUN | {"seed": 1})
    assert "seed" not in rows.read_run(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "no such file"),
        ("{", "not JSON"),
        ("[]", "not a JSON object"),
        (json.dumps(RUN | {"schema": 9}), "schema 9"),
        (json.dumps({key: value for key, value in RUN.items() if key != "clips"}), "lacks clips"),
        (json.dumps(RUN | {"clips": ["a", "a"]}), "distinct"),
        (json.dumps(RUN | {"list": {}}), "lacks list.sha256"),
    ],
)
def test_unusable_run_json_is_one_line(tmp_path, text, message):
    if text is not None:
        (tmp_path / "run.json").write_text(text)
    with pytest.raises(ResultsError, match=message) as caught:
        rows.read_run(tmp_path)
    assert "\n" not in str(caught.value)
    assert "run.json" in str(caught.value)
