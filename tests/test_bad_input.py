"""Bad input: each costs its own row, with one line that names the file and says what to do; nothing else is lost."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import trees

from fctfg import media
from protocols import voxceleb2
from results import rows

ROOT = Path(__file__).resolve().parent.parent
GOOD = "id00000/v0/00001"


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FCTFG_CACHE", str(tmp_path / "cache"))


def one(root: Path, make) -> Path:
    """A tree with one good clip and one that ``make(path)`` writes."""
    trees.voxceleb2(root, identities=1, clips=1)
    path = root / "test/mp4/id00009/odd one ☂/00001.mp4"
    path.parent.mkdir(parents=True)
    make(path)
    return root


def variable_rate(path):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        milliseconds = np.cumsum(np.random.default_rng(0).integers(15, 60, 60))
        for picture, at in zip(trees.frames(60), milliseconds, strict=True):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = int(at), Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    sound = Path(str(path).replace("/mp4/", "/aac/")).with_suffix(".m4a")
    media.write_audio(sound, trees.tone(80))


def truncated(path):
    media.write_video(path, trees.frames(200), audio=trees.tone(200))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def audio_only(path):
    media.write_audio(path.with_suffix(".m4a"), trees.tone())
    path.with_suffix(".m4a").rename(path)


BROKEN = {
    "truncated": (truncated, "stops at .* declares"),
    "without audio": (lambda p: media.write_video(p, trees.frames()), "audio|sound"),
    "audio only": (audio_only, "video|picture"),
    "0 bytes": (lambda p: p.touch(), "empty|0 bytes"),
    "text": (lambda p: p.write_text("I am not a video\n" * 50), "not a|cannot"),
    "3 frames": (lambda p: media.write_video(p, trees.frames(3), audio=trees.tone(3)), "has 3 frames"),
    "not square": (lambda p: media.write_video(p, trees.frames(30, (128, 72)), audio=trees.tone()), "--crop fomm"),
    "a folder": (lambda p: p.mkdir(), "folder|directory|cannot be read"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_clip_costs_its_own_row_only(tmp_path, capsys, kind):
    make, message = BROKEN[kind]
    data = one(tmp_path / "data", make)
    out = tmp_path / "out"
    flags = ["--data", str(data), "--method", "still", "--out", str(out), "--metrics", *trees.PLAIN]
    assert voxceleb2.main(flags) == 1
    found = {row["clip"]: row for row in rows.read(out)}
    assert found[GOOD]["status"] == "scored"
    (bad,) = (row for clip, row in found.items() if clip != GOOD)
    assert bad["status"] == "failed"
    reason = bad["failures"]["*"]
    assert "00001" in reason, "names the file"
    assert "\n" not in reason
    assert "Traceback" not in reason
    import re

    assert re.search(message, reason), reason
    assert reason in capsys.readouterr().err
    assert not (out / "errors").exists(), "a bad file is expected, not a crash"


ODD = {
    "odd size": lambda p: media.write_video(p, trees.frames(30, (223, 225)), audio=trees.tone()),
    "variable frame rate": variable_rate,
    "sound shorter": lambda p: media.write_video(p, trees.frames(), audio=trees.tone(20)),
    "stereo 44.1 kHz": lambda p: stereo(p),
}


def stereo(path):
    media.write_video(path, trees.frames(), audio=trees.tone())
    sound = Path(str(path).replace("/mp4/", "/aac/")).with_suffix(".m4a")
    sound.parent.mkdir(parents=True)
    with av.open(str(sound), "w", format="ipod") as container:
        stream = container.add_stream("aac", rate=44100, layout="stereo")
        wave = np.sin(np.arange(2 * 44100) * 0.05).astype(np.float32)
        frame = av.AudioFrame.from_ndarray(np.stack([wave, wave]), format="fltp", layout="stereo")
        frame.sample_rate, frame.pts = 44100, 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode())


@pytest.mark.parametrize("kind", ODD)
def test_odd_but_sound_clips_are_scored(tmp_path, kind):
    data = one(tmp_path / "data", ODD[kind])
    out = tmp_path / "out"
    flags = ["--data", str(data), "--method", "reencode", "--out", str(out), "--metrics", *trees.PLAIN]
    assert voxceleb2.main(flags) == 0
    assert all(row["metrics"]["ssim_wang_rgb"] > 0.9 for row in rows.read(out))


def run(*flags, **more):
    return subprocess.run(
        [sys.executable, "-m", "protocols.voxceleb2", *map(str, flags), "--metrics", *trees.PLAIN],
        cwd=ROOT, capture_output=True, text=True, **more,
    )  # fmt: skip


def test_output_folder_that_cannot_be_written(tmp_path):
    data = trees.voxceleb2(tmp_path / "data", 1, 1)
    (tmp_path / "file").write_text("in the way")
    done = run("--data", data, "--method", "still", "--out", tmp_path / "file/out")
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert str(tmp_path / "file") in done.stderr
    assert len(done.stderr.strip().split("\n")) == 1


def mounted(folder: Path, *options: str) -> bool:
    folder.mkdir(parents=True)
    command = ["mount", "-t", "tmpfs", *options, "tmpfs", str(folder)]
    return os.geteuid() == 0 and shutil.which("mount") and subprocess.run(command, capture_output=True).returncode == 0


def test_read_only_output_folder(tmp_path):
    data = trees.voxceleb2(tmp_path / "data", 1, 1)
    out = tmp_path / "ro"
    if not mounted(out, "-o", "ro"):
        pytest.skip("mounting a read-only folder needs root")
    try:
        done = run("--data", data, "--method", "still", "--out", out / "run")
    finally:
        subprocess.run(["umount", str(out)], check=True)
    assert done.returncode == 2
    assert "Read-only file system" in done.stderr
    assert len(done.stderr.strip().split("\n")) == 1


def test_full_disk_stops_with_one_line_and_resumes(tmp_path):
    data = trees.voxceleb2(tmp_path / "data", identities=4, clips=2, count=60)
    out = tmp_path / "small"
    if not mounted(out, "-o", "size=600k"):
        pytest.skip("mounting a small disk needs root")
    try:
        flags = ("--data", data, "--method", "reencode", "--out", out / "run", "--workers", 1)
        done = run(*flags)
        assert done.returncode == 2, done.stderr
        assert "No space left" in done.stderr
        assert len(done.stderr.strip().split("\n")) == 1
        kept = rows.read(out / "run")
        assert all(row["status"] == "scored" for row in kept), "a full disk is no clip's fault"
        assert len(kept) < 8
        subprocess.run(["mount", "-o", "remount,size=50m", str(out)], check=True)
        again = run(*flags)
        assert again.returncode == 0, again.stderr
        assert "8 of 8 clips scored" in again.stderr
        assert {row["clip"]: row for row in rows.read(out / "run")}.items() >= {r["clip"]: r for r in kept}.items()
    finally:
        subprocess.run(["umount", str(out)], check=True)


def test_unknown_metric_and_shard_are_one_line(tmp_path, capsys):
    data = trees.voxceleb2(tmp_path / "data", 1, 1)
    flags = ["--data", data, "--method", "still", "--out", tmp_path / "o", "--metrics", "ssim"]
    assert voxceleb2.main(list(map(str, flags))) == 2
    assert "unknown metric 'ssim'; known: ssim_wang_rgb" in capsys.readouterr().err
    done = run("--data", data, "--method", "still", "--out", tmp_path / "o", "--shard", "3/3")
    assert done.returncode == 2
    assert "shards count from 0" in done.stderr
