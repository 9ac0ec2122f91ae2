"""FID in a run: one value of all clips, the same for any shards, or a reason; never a number from fewer unsaid."""

from __future__ import annotations

import json
import re
import shutil

import pytest
import trees
from test_run import options

from protocols import table1
from results import report, rows


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return trees.voxceleb2(tmp_path_factory.mktemp("vox2"))


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FCTFG_CACHE", str(tmp_path / "cache"))


def of_the_set(folder):
    return json.loads((folder / "runs/voxceleb2/still/run.json").read_text())["set_metrics"]["fid"]


def with_fid(data, folder, **more):
    return table1.main([*options(data, folder, "still", **more), "fid"])


def test_fid_is_in_run_json_and_in_the_report(data, tmp_path, looked_at, capsys):
    assert table1.main([*options(data, tmp_path, "truth still"), "fid"]) == 0
    record = of_the_set(tmp_path)
    assert (record["n_clips"], record["n_expected"], record["n_speakers"], record["n_frames"]) == (4, 4, 2, 24)
    assert 0 < record["lo"] < record["value"] < record["hi"]
    assert any("biased upwards" in note for note in record["notes"])
    said = capsys.readouterr()
    assert f"fid of the set: {record['value']:.4f} [" in said.err
    text = (tmp_path / "reports/table1.md").read_text()
    assert "FID (set) ↓" in text
    assert "24 frames. FID is biased upwards" in text
    assert "Δ FID" not in text
    (line,) = (
        x for x in trees.csv_of(tmp_path / "reports").decode().splitlines() if x.startswith("still") and ",fid," in x
    )
    assert f"fid,{record['value']:.6g}," in line
    assert "one value of the set" in line
    (line,) = (
        x for x in trees.csv_of(tmp_path / "reports").decode().splitlines() if x.startswith("truth") and ",fid," in x
    )
    assert "fid,0,0,0,4,4,0," in line
    looked_at.clear()
    assert with_fid(data, tmp_path) == 0
    assert looked_at == []


def test_fid_of_shards_in_any_order_is_that_of_one(data, tmp_path, looked_at):
    with_fid(data, tmp_path / "one")
    whole = of_the_set(tmp_path / "one")
    for name, shards in (("three", ("2/3", "0/3", "1/3")), ("two", ("1/2", "0/2"))):
        for shard in shards:
            assert with_fid(data, tmp_path / name, shard=shard, no_report=True) == 0
            done = of_the_set(tmp_path / name)
            assert (done["value"] is None) == (shard != shards[-1])
            assert done["value"] is not None or "not scored for it yet" in done["reason"]
        assert of_the_set(tmp_path / name) == whole


def test_fid_is_counted_again_when_another_shard_ends_meanwhile(data, tmp_path, looked_at, monkeypatch):
    """The other shard's last row lands after this one has read the rows: run.json must not stay as it was."""
    with_fid(data, tmp_path / "one")
    with_fid(data, tmp_path / "two", shard="0/2", no_report=True)
    out = tmp_path / "two/runs/voxceleb2/still"
    write, late = rows.write_run, rows.read(tmp_path / "one/runs/voxceleb2/still")
    asked = []

    def meanwhile(folder, record):
        asked.append(record["n_scored"])
        if len(asked) == 2:  # after the first is the start of the run
            for row in late:
                rows.append(out / "rows/1-of-2.jsonl", row)
        return write(folder, record)

    monkeypatch.setattr(rows, "write_run", meanwhile)
    assert with_fid(data, tmp_path / "two", shard="0/2", no_report=True) == 0
    assert asked == [0, 2, 4]
    assert of_the_set(tmp_path / "two") == of_the_set(tmp_path / "one")


def test_features_that_are_gone_are_made_again_or_said(data, tmp_path, looked_at, capsys):
    with_fid(data, tmp_path)
    whole = of_the_set(tmp_path)
    shutil.rmtree(tmp_path / "cache")
    looked_at.clear()
    assert with_fid(data, tmp_path, reuse="always") == 0
    assert sum(looked_at) > 0
    assert of_the_set(tmp_path) == whole
    for shard in ("0/2", "1/2"):  # two machines, each with a cache of its own
        status = with_fid(data, tmp_path / "two", shard=shard, no_report=True, cache=tmp_path / f"cache {shard[0]}")
    assert status == 1
    said = capsys.readouterr().err
    assert "fid of the set: unavailable: the features of 2 of 4 scored clips, such as id0000" in said
    assert of_the_set(tmp_path / "two")["value"] is None
    assert report.main([str(tmp_path / "two/runs"), "--out", str(tmp_path / "two/reports")]) == 0
    assert "unavailable: the features of 2 of 4 scored clips" in (tmp_path / "two/reports/table1.md").read_text()
    assert with_fid(data, tmp_path / "two", no_report=True, cache=tmp_path / "cache 0") == 0
    assert of_the_set(tmp_path / "two") == whole


def test_a_failed_clip_is_not_in_the_fid_and_the_table_counts_it(tmp_path, looked_at):
    mine = trees.voxceleb2(tmp_path / "data")
    (mine / "test/mp4/id00001/v1/00001.mp4").write_text("no video")
    assert with_fid(mine, tmp_path) == 1
    assert (of_the_set(tmp_path)["n_clips"], of_the_set(tmp_path)["n_expected"]) == (3, 4)
    text = (tmp_path / "reports/table1.md").read_text()
    assert re.search(r"\| [\d.]+ \[[\d.]+, [\d.]+\] 3/4", text)
    assert len(re.findall(r"INCOMPLETE: 3 of 4", text)) >= 1


def test_fid_without_weights_is_unavailable_with_the_reason(data, tmp_path, monkeypatch):
    from metrics import distribution

    monkeypatch.setattr(distribution, "unavailable", lambda: "needs its weights")
    assert with_fid(data, tmp_path) == 0
    assert of_the_set(tmp_path)["reason"] == "needs its weights"
    assert "unavailable: needs its weights" in (tmp_path / "reports/table1.md").read_text()
