"""Bad and odd input to ``python -m metrics``, end to end: a stated rule and a note, or one line and a status."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
import sync_literal as literal
import torch
import trees
from PIL import Image

from fctfg import media
from metrics import sync
from metrics.__main__ import main
from results import rows

PLAIN = ("ssim_wang_rgb", "psnr_rgb")


@pytest.fixture
def score(tmp_path, capsys, caplog):
    """Scores two files or folders: (exit status, the rows by name, the lines on stderr)."""

    def run(reference, generated, *names, flags=()):
        out = tmp_path / "out"
        arguments = [*map(str, (reference, generated)), "--metrics", *(names or PLAIN), "--out", str(out), *flags]
        with caplog.at_level(logging.WARNING):
            status = main(arguments)
        said = capsys.readouterr().err
        assert "Traceback" not in said
        assert not caplog.records, "what is expected of bad input is no log entry"
        return status, {row["clip"]: row for row in rows.read(out)}, said.splitlines()

    return run


@pytest.fixture
def truth(tmp_path) -> Path:
    return media.write_video(tmp_path / "truth.mp4", trees.frames(30, 64), audio=trees.tone())


# ------------------------------------------------------------------------------------------- odd, and scored


def test_a_single_frame(tmp_path, score, truth):
    one = media.write_video(tmp_path / "one.mp4", trees.frames(30, 64)[:1])
    status, found, said = score(truth, one)
    assert status == 0
    assert found["one"]["n_frames"] == 1
    assert said == ["note one: 1 frames against 30: the first 1 are compared"]
    assert score(one, one)[0] == 0


def test_odd_sizes(tmp_path, score, truth):
    frames = trees.frames(30, (131, 97))
    odd = media.write_video(tmp_path / "odd.mp4", frames)
    again = media.write_video(tmp_path / "again.mp4", frames, crf=30)
    status, found, said = score(odd, again)
    assert status == 0
    assert found["again"]["metrics"]["ssim_wang_rgb"] > 0.8
    assert said == ["note again: not square: the picture is squeezed"]
    status, found, said = score(truth, odd)
    assert status == 0
    assert "note odd: 131x97 against 64x64, both brought to 256x256" in said


def test_one_missing_in_a_folder(tmp_path, score):
    for name in ("a/1", "a/2"):
        media.write_video(tmp_path / f"t/{name}.mp4", trees.frames(30, 64))
    media.write_video(tmp_path / "g/a/2.mp4", trees.frames(30, 64))
    status, found, said = score(tmp_path / "t", tmp_path / "g")
    assert (status, said) == (1, [f"failed a/1: no generated file for {tmp_path / 't/a/1.mp4'}"])
    assert [found[name]["status"] for name in ("a/1", "a/2")] == ["failed", "scored"]
    assert score(tmp_path / "t", tmp_path / "g", flags=["--allow-missing"])[0] == 0


@pytest.mark.parametrize("name", ["empty.mp4", "text.mp4", "cut.mp4", "sound.mp4"])
@pytest.mark.parametrize("side", ["reference", "generated"])
def test_what_is_no_whole_video(tmp_path, score, truth, name, side):
    bad = tmp_path / name
    if name == "cut.mp4":
        noise = np.random.default_rng(0).integers(0, 256, (60, 64, 64, 3), dtype=np.uint8)
        bad.write_bytes(media.write_video(tmp_path / "whole.mp4", noise).read_bytes()[:-20000])
    elif name == "sound.mp4":
        media.write_audio(tmp_path / "sound.m4a", trees.tone()).rename(bad)
    else:
        bad.write_text("not a video\n" * (name == "text.mp4"))
    status, _, said = score(*((bad, truth) if side == "reference" else (truth, bad)))
    assert status == 1
    (line,) = said
    assert str(bad) in line


def test_pictures_that_are_none(tmp_path, score):
    Image.fromarray(trees.frames(1, 64)[0]).save(tmp_path / "t.png")
    (tmp_path / "text.png").write_text("no picture")
    (tmp_path / "empty.png").touch()
    for name in ("text.png", "empty.png"):
        status, _, said = score(tmp_path / "t.png", tmp_path / name)
        assert status == 1
        (line,) = said
        assert str(tmp_path / name) in line


def test_the_same_trouble_of_many_files_is_said_once(tmp_path, score):
    for i in range(5):
        media.write_video(tmp_path / f"t/{i}.mp4", trees.frames(30, 64))
        media.write_video(tmp_path / f"g/{i}.mp4", trees.frames(20, 32))
    status, _, said = score(tmp_path / "t", tmp_path / "g")
    assert status == 0
    assert said == [
        "note 0 and 4 more: 32x32 against 64x64, both brought to 256x256",
        "note 0 and 4 more: 20 frames against 30: the first 20 are compared",
    ]


# --------------------------------------------------------------------------------------------------- sound


@pytest.fixture(scope="module")
def syncnet(tmp_path_factory) -> Path:
    """A folder with drawn weights in the published file's format."""
    folder = tmp_path_factory.mktemp("weights")
    literal.save_official(literal.draw_weights(), folder / "syncnet_v2.model")
    return folder


@pytest.fixture
def weights(tmp_path, monkeypatch):
    """Where weights are looked for: nowhere but in the folder given."""

    def use(folder: Path) -> Path:
        for name in ("XDG_CACHE_HOME", "TORCH_HOME", "HOME"):
            monkeypatch.setenv(name, str(tmp_path / "nothing"))
        monkeypatch.setenv("FCTFG_WEIGHTS", str(folder))
        sync._load_network.cache_clear()
        return folder

    yield use
    sync._load_network.cache_clear()


LSE = ("lse_c_lrs", "lse_d_lrs")


def test_no_sound_on_either_side_fails_lip_sync_alone(tmp_path, score, weights, syncnet):
    weights(syncnet)
    mute = media.write_video(tmp_path / "mute.mp4", trees.frames(30, 64))
    status, found, said = score(mute, mute, *LSE, *PLAIN)
    assert status == 1
    assert said == [f"failed mute [{name}]: the clip has no sound" for name in LSE]
    assert found["mute"]["metrics"]["ssim_wang_rgb"] == 1


def test_without_sound_the_references_is_taken(tmp_path, score, weights, syncnet, truth):
    weights(syncnet)
    mute = media.write_video(tmp_path / "mute.mp4", trees.frames(30, 64))
    status, found, said = score(truth, mute, *LSE)
    assert status == 0
    assert said[0] == "note mute: the generated video has no sound: lip-sync is measured against the reference's"
    loud = media.write_video(tmp_path / "loud.mp4", trees.frames(30, 64), audio=trees.tone())
    assert found["mute"]["metrics"] == score(truth, loud, *LSE)[1]["loud"]["metrics"]


def test_silence_is_scored_and_finite(tmp_path, score, weights, syncnet, truth):
    weights(syncnet)
    silent = media.write_video(tmp_path / "silent.mp4", trees.frames(30, 64), audio=np.zeros(30 * 640, np.float32))
    status, found, said = score(truth, silent, *LSE)
    assert (status, said[0]) == (0, "note silent: the sound is silent: lip-sync measures nothing")
    assert all(np.isfinite(found["silent"]["metrics"][name]) for name in LSE)


# ------------------------------------------------------------------------------------------------- weights


class Trap:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def spoiled(syncnet: Path, kind: str, folder: Path) -> Path:
    path = folder / "syncnet_v2.model"
    state = torch.load(syncnet / "syncnet_v2.model", weights_only=True)
    if kind == "missing key":
        state.pop("netcnnlip.4.weight")
    elif kind == "wrong shape":
        state["netcnnlip.0.weight"] = torch.zeros(96, 15, 7, 7)
    elif kind == "code":
        state = {"netcnnlip.0.weight": Trap(folder / "sprung")}
    torch.save(state, path)
    if kind in ("empty", "text"):
        path.write_text("no weights" * (kind == "text"))
    return path


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("missing key", "key 'netcnnlip.4.weight' is missing"),
        ("wrong shape", "key 'netcnnlip.0.weight' has shape (96, 15, 7, 7), and (96, 3, 5, 7, 7) is expected"),
        ("code", "is refused"),
        ("empty", ""),
        ("text", ""),
    ],
)
def test_weights_that_are_not_what_they_should_be(tmp_path, score, weights, syncnet, truth, kind, reason):
    (tmp_path / "w").mkdir()
    path = spoiled(syncnet, kind, weights(tmp_path / "w"))
    status, found, said = score(truth, truth, "lse_c_lrs", *PLAIN)
    assert status == 1
    (line,) = said
    assert line.startswith(f"failed truth [lse_c_lrs]: {path}: ")
    assert reason in line
    assert not (tmp_path / "w/sprung").exists(), "code in a weights file must not run"
    assert found["truth"]["metrics"]["ssim_wang_rgb"] == 1


def test_absent_weights_are_one_line(tmp_path, score, weights, truth):
    weights(tmp_path / "w")
    status, _, said = score(truth, truth, "lse_c_lrs")
    assert status == 2
    (line,) = said
    assert "syncnet" in line


# --------------------------------------------------------------------------------------------------- faces


@pytest.mark.real
def test_a_face_that_leaves_the_picture(tmp_path, real, score):
    pytest.importorskip("dlib")
    clip = media.read_video(next(iter(sorted(real.glob("voxceleb2/**/*.mp4")))), size=(256, 256), stop=10)
    gone = clip.copy()
    gone[6:] = 90
    reference = media.write_video(tmp_path / "t.mp4", clip)
    status, found, said = score(reference, media.write_video(tmp_path / "gone.mp4", gone), "lmd_mouth_dlib")
    assert status == 0
    row = found["gone"]
    assert row["details"]["lmd_mouth_dlib"]["detected_generated"] == pytest.approx(0.6)
    assert row["details"]["lmd_mouth_dlib"]["detected_reference"] == 1
    expected = "lmd_mouth_dlib: measured on 60 % of the frames, those in which both show a face"
    assert row["warnings"] == [expected]
    assert said == [f"note gone: {expected}"]
    status, found, said = score(reference, media.write_video(tmp_path / "none.mp4", 0 * clip + 90), "lmd_mouth_dlib")
    assert status == 1
    assert "no face found in any of its 10 frames" in said[0]
    assert score(reference, reference, "lmd_mouth_dlib")[2] == []
