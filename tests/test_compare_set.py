"""FID through ``python -m metrics``: one value of all files, from features that are there, or a reason."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
import trees
from PIL import Image

from fctfg import media
from metrics import distribution, set_scores
from metrics.__main__ import main
from metrics.frame_values import Extractor
from results import rows


@pytest.fixture
def folders(tmp_path):
    for seed, name in enumerate(("a/1", "a/2", "b/1", "c/1")):
        clip = trees.frames(31, 64, seed)
        media.write_video(tmp_path / f"truth/{name}.mp4", clip)
        media.write_video(tmp_path / f"made/{name}.mp4", clip // 2 + 10 * seed)
    return tmp_path / "truth", tmp_path / "made"


def run(folders, *more) -> int:
    return main([*map(str, folders), "--metrics", "fid", "psnr_rgb", *map(str, more)])


def value(out: Path) -> dict:
    return json.loads((out / "set.json").read_text())["fid"]


def test_one_value_of_all_files_with_and_without_a_cache(folders, tmp_path, looked_at, capsys, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "scratch"))
    (tmp_path / "scratch").mkdir()
    assert run(folders) == 0
    said = capsys.readouterr()
    assert list((tmp_path / "scratch").iterdir()) == [], "the temporary folder is removed"
    assert run(folders, "--cache", tmp_path / "cache", "--out", tmp_path / "out") == 0
    again = capsys.readouterr()
    assert again == said
    (line,) = (line for line in said.out.splitlines() if line.startswith("fid "))
    assert "4/4" in line
    assert "one value of the whole set (28 frames)" in line
    assert "biased upwards" in said.err
    found = value(tmp_path / "out")
    assert f"{found['value']:.4f}" in line
    assert f"[{found['lo']:.4f}, {found['hi']:.4f}]" in line
    assert (found["n_clips"], found["n_expected"], found["n_speakers"], found["n_frames"]) == (4, 4, 3, 28)


def test_the_value_is_that_of_the_frames_themselves(folders, tmp_path, looked_at):
    run(folders, "--out", tmp_path / "out")
    sides = [
        np.concatenate([media.read_video(p, size=(256, 256))[::5].mean((1, 2)) for p in sorted(folder.rglob("*.mp4"))])
        for folder in folders[::-1]
    ]
    assert value(tmp_path / "out")["value"] == pytest.approx(distribution.feature_distance(*sides), abs=1e-3)
    assert run((folders[0], folders[0]), "--out", tmp_path / "same") == 0
    assert value(tmp_path / "same")["value"] == 0


def test_few_frames_are_said_to_be_mostly_bias(folders, looked_at, monkeypatch, capsys):
    def wide(frames):
        return np.random.default_rng(0).normal(size=(len(frames), 2048)).astype(np.float32)

    monkeypatch.setattr(distribution, "load", lambda device: Extractor("wide", "test", wide))
    assert run(folders) == 0
    assert "note fid: 28 frames for 2048 features: mostly bias" in capsys.readouterr().err


def test_two_files_have_a_value_and_no_interval(folders, looked_at, capsys):
    truth, made = folders
    assert run((truth / "a/1.mp4", made / "a/1.mp4")) == 0
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("fid "))
    assert "[" not in line
    assert "1/1" in line


def test_folders_of_pictures(tmp_path, looked_at, capsys):
    for i in range(6):
        picture = trees.frames(1, 64, i)[0]
        for folder, made in (("t", picture), ("g", picture // 2)):
            (tmp_path / folder).mkdir(exist_ok=True)
            Image.fromarray(made).save(tmp_path / folder / f"{i}.png")
    assert run((tmp_path / "t", tmp_path / "g")) == 0
    assert "6/6  lower is better; one value of the whole set (6 frames)" in capsys.readouterr().out
    assert run((tmp_path / "t/0.png", tmp_path / "g/0.png")) == 1
    assert "failed the set [fid]: 1 frames make no covariance" in capsys.readouterr().err


def test_kept_rows_whose_features_are_gone_are_scored_again(folders, tmp_path, looked_at, capsys):
    flags = ("--out", tmp_path / "out", "--cache", tmp_path / "cache")
    assert run(folders, *flags) == 0
    whole, first = value(tmp_path / "out"), capsys.readouterr().out
    looked_at.clear()
    assert run(folders, *flags) == 0
    assert looked_at == []
    stored = sorted((tmp_path / "cache").rglob("*.npz"))
    stored[0].unlink()
    stored[3].write_bytes(stored[3].read_bytes()[:100])
    assert run(folders, *flags) == 0
    assert 0 < sum(looked_at) <= 14
    looked_at.clear()
    shutil.rmtree(tmp_path / "cache")
    assert run(folders, *flags) == 0
    assert sum(looked_at) == 56
    assert value(tmp_path / "out") == whole
    assert {row["clip"] for row in rows.read(tmp_path / "out")} == {"a/1", "a/2", "b/1", "c/1"}
    assert capsys.readouterr().out == 3 * first


def test_out_without_a_cache_keeps_the_features_beside_the_rows(folders, tmp_path, looked_at):
    assert run(folders, "--out", tmp_path / "out") == 0
    looked_at.clear()
    assert run(folders, "--out", tmp_path / "out") == 0
    assert looked_at == []
    assert len(list((tmp_path / "out/cache").rglob("*.npz"))) == 8


def test_files_that_are_missing_are_not_in_the_value_and_counted(folders, tmp_path, looked_at, capsys):
    made = folders[1]
    (made / "b/1.mp4").unlink()
    (made / "c/1.mp4").write_text("no video")
    assert run(folders, "--out", tmp_path / "out") == 1
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("fid "))
    assert "2/4" in line
    assert "(14 frames)" in line
    assert value(tmp_path / "out")["n_clips"] == 2


def test_features_gone_at_the_end_are_a_reason_and_no_number(folders, tmp_path, looked_at):
    run(folders, "--out", tmp_path / "out", "--cache", tmp_path / "cache")
    found = rows.read(tmp_path / "out")
    sorted((tmp_path / "cache").rglob("*.npz"))[0].unlink()
    for cache in (tmp_path / "cache", None):
        record = set_scores.compute(["fid", "psnr_rgb"], found, 4, cache)["fid"]
        assert record["value"] is None
        assert "features of " in record["reason"]
        assert "\n" not in set_scores.line(record)
    assert set_scores.compute(["fid"], found[1:], 4, None)["fid"]["reason"].startswith("1 of 4 clips are not scored")
    assert set_scores.compute(["psnr_rgb"], found, 4, None) == {}


def test_without_weights_it_is_unavailable(folders, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(distribution, "unavailable", lambda: "needs something")
    assert run(folders, "--out", tmp_path / "out") == 0
    assert "unavailable" in capsys.readouterr().out
    assert value(tmp_path / "out")["reason"] == "needs something"
    assert main([*map(str, folders), "--metrics", "fid"]) == 2
    assert capsys.readouterr().err == "error: fid: needs something\n"
