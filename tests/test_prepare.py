"""Crops: found once, stored in the list, the same for every shard."""

from __future__ import annotations

import argparse
import json

import pytest

from fctfg import media
from protocols import cliplist, mead, prepare


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch, weights_dir):
    monkeypatch.setenv("FCTFG_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("FCTFG_WEIGHTS", str(weights_dir))


def options(**changed):
    defaults = {"crop": "fomm", "detector": "yunet", "min_size": 256, "cache": None, "reuse": "only-missing",
                "workers": 2, "shard": None, "device": "cpu"}  # fmt: skip
    return argparse.Namespace(**defaults | changed)


@pytest.fixture
def one_clip(real, tmp_path):
    """A MEAD tree of one real clip."""
    name = "M030/video/front/sad/level_3/001.mp4"
    (tmp_path / "mead" / name).parent.mkdir(parents=True)
    (tmp_path / "mead" / name).symlink_to(real / "mead" / name)
    return tmp_path / "mead"


def test_a_real_face_is_framed_and_the_boxes_are_kept(one_clip, tmp_path, monkeypatch):
    clips = prepare.with_crops(cliplist.mead(one_clip), one_clip, options())
    (clip,) = clips.clips
    left, top, right, bottom = clip.crop
    assert abs((right - left) - (bottom - top)) <= 1
    assert 500 < right - left < 900
    assert "yunet" in clips.detector
    info = media.probe(one_clip / clip.video)
    assert left >= 0
    assert top >= 0
    assert right <= info.width
    assert bottom <= info.height

    monkeypatch.setattr(prepare, "_detect", None)  # the boxes are cached by content: no second detection
    assert prepare.with_crops(cliplist.mead(one_clip), one_clip, options(shard=(1, 3))) == clips
    clips.save(tmp_path / "list.json")
    loaded = cliplist.load(tmp_path / "list.json")
    monkeypatch.setenv("FCTFG_CACHE", str(tmp_path / "empty"))
    assert prepare.with_crops(loaded, one_clip, options()) == clips  # the list brings its boxes along


def test_half_a_cached_file_is_detected_again(one_clip, tmp_path):
    clips = prepare.with_crops(cliplist.mead(one_clip), one_clip, options())
    (file,) = (tmp_path / "cache/boxes").rglob("*.json")
    whole = file.read_text()
    file.write_text(whole[:100])
    assert prepare.with_crops(cliplist.mead(one_clip), one_clip, options()) == clips
    assert json.loads(file.read_text()) == json.loads(whole)


def test_a_clip_without_a_face_keeps_its_place_with_the_reason(tmp_path):
    import trees

    clip = "M003/video/front/angry/level_1/001.mp4"
    media.write_video(tmp_path / clip, trees.frames(40, (640, 360)), audio=trees.tone(40))
    clips = prepare.with_crops(cliplist.mead(tmp_path), tmp_path, options())
    (problem,) = clips.problems.values()
    assert "no face found" in problem
    assert clip in problem
    out = tmp_path / "run"
    status = mead.main(["--data", str(tmp_path), "--method", "still", "--out", str(out), "--metrics", "psnr_rgb"])
    assert status == 1
    assert (
        "no face found"
        in json.loads((out / "run.json").read_text())["failures"][clip[:4] + "/front/angry/level_1/001"]["*"]
    )


def test_unknown_detector_is_one_line(tmp_path, one_clip, capsys):
    flags = ["--data", str(one_clip), "--method", "still", "--out", str(tmp_path / "run"), "--detector", "eyes"]
    assert mead.main(flags) == 2
    assert "known are auto, yunet, dlib" in capsys.readouterr().err
