"""Trees of puppets: the official layouts, whole files, the same truth however they are written."""

from __future__ import annotations

import hashlib
import os
import re
import signal
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from fctfg import media
from fctfg.data.clips import EMOTIONS, find_mead, find_voxceleb2
from fctfg.data.puppets import __main__ as command
from fctfg.data.puppets import farm, layouts, write
from fctfg.data.puppets.layouts import LAYOUTS, plan
from fctfg.data.puppets.motion import MOTION, index
from fctfg.data.puppets.write import Settings, read_truth

ROOT = Path(__file__).resolve().parent.parent


def fake_render(identity, motion, size=256, detail=1.0):
    """A grey picture with a bright square that yaw moves and a bar as high as the mouth is open; one landmark on it."""
    frames = torch.full((len(motion), 3, size, size), 0.4)
    landmarks = torch.zeros(len(motion), 68, 2)
    for i, row in enumerate(motion):
        x = int(size / 2 + size / 200 * row[index("yaw")])
        frames[i, :, size // 2 - 8 : size // 2 + 9, x - 8 : x + 9] = 0.9
        frames[i, 0, : int(size / 4 * row[index("mouth_open")]) + 1, :8] = 1.0
        landmarks[i, :, 0], landmarks[i, :, 1] = x, size // 2
    return SimpleNamespace(frames=frames, landmarks=landmarks, visible=torch.ones(len(motion), 68, dtype=torch.bool))


def slow_render(*args, **kwargs):
    time.sleep(0.15)
    return fake_render(*args, **kwargs)


def settings(layout="voxceleb2", **kw) -> Settings:
    return Settings(layout, seed=kw.pop("seed", 0), seconds=kw.pop("seconds", (1.0, 1.4)), **kw)


def make(out: Path, layout="voxceleb2", identities=2, clips=2, split="test", **kw) -> list:
    chosen = settings(layout, split=split, **kw)
    jobs = plan(layout, split, chosen.seed, identities, clips)
    farm.write_all(jobs, out, chosen, workers=0, render=fake_render)
    return jobs


def digests(root: Path) -> dict[str, str]:
    files = (p for p in root.rglob("*") if p.is_file())
    return {p.relative_to(root).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


@pytest.fixture(scope="module")
def vox(tmp_path_factory):
    out = tmp_path_factory.mktemp("vox")
    return out, make(out, identities=2, clips=5)


@pytest.fixture(scope="module")
def mead(tmp_path_factory):
    out = tmp_path_factory.mktemp("mead")
    return out, make(out, "mead", identities=1, clips=4, size=96)


def test_the_loaders_find_every_clip_and_its_truth(vox, mead):
    for (out, jobs), find in ((vox, find_voxceleb2), (mead, find_mead)):
        clips = find(out)
        assert {c.id for c in clips} == {j.id for j in jobs}
        for clip in clips:
            assert clip.audio is not None
            truth = read_truth(out / "truth" / f"{clip.id}.npz")
            assert str(truth["emotion"]) in EMOTIONS
            assert clip.emotion in (None, str(truth["emotion"]))
            assert clip.level in (None, int(truth["level"]))


def test_the_trees_look_like_the_real_ones(vox, mead, real):
    def shapes(root):
        paths = (p.relative_to(root).as_posix() for p in root.rglob("*.m[p4][4a]"))
        return {_shape(path) for path in paths if not path.startswith(".")}

    def _shape(path):
        parts = path.split("/")
        if "mp4" in parts or "aac" in parts:
            assert re.fullmatch(r"test/(mp4|aac)/id\d{5}/[^/]+/\d{5}\.(mp4|m4a)", path), path
            return "/".join((*parts[:2], f"id*/*/*{Path(path).suffix}"))
        pattern = rf"[A-Z]\d+/(video/front|audio)/({'|'.join(EMOTIONS)})/level_[123]/\d{{3}}\.(mp4|m4a)"
        assert re.fullmatch(pattern, path), path
        return "/".join(p for p in parts[1:] if p in ("video", "front", "audio")) + Path(path).suffix

    assert shapes(vox[0]) == shapes(real / "voxceleb2")
    assert shapes(mead[0]) == shapes(real / "mead")
    ours, theirs = (media.probe(root / find_voxceleb2(root)[0].video) for root in (vox[0], real / "voxceleb2"))
    same = ("width", "height", "fps", "has_video", "has_audio", "sample_rate", "variable_rate")
    assert {k: getattr(ours, k) for k in same} == {k: getattr(theirs, k) for k in same}
    ours, theirs = (media.probe(root / find_mead(root)[0].video) for root in (mead[0], real / "mead"))
    assert Fraction(ours.width, ours.height) == Fraction(theirs.width, theirs.height)
    assert ours.has_audio


def test_sound_video_and_truth_have_one_length(vox, mead):
    for out, jobs in (vox, mead):
        job, fps = jobs[0], LAYOUTS["voxceleb2" if out == vox[0] else "mead"].fps
        truth, info = read_truth(out / job.truth), media.probe(out / job.video)
        assert info.fps == fps == truth["fps"]
        assert info.n_frames == len(truth["motion"]) == len(truth["landmarks"]) == len(truth["visible"])
        assert truth["end"][-1] == pytest.approx(info.n_frames / fps, abs=1e-9)
        for path in (job.video, job.audio):
            assert len(media.read_audio(out / path)) / 16000 == pytest.approx(info.n_frames / fps, abs=0.07)
        shown = len(media.read_video(out / job.video))
        assert shown == len(truth["shown_25"]) == len(truth["motion_25"]) == len(truth["landmarks_25"])
        assert tuple(truth["motion_names"]) == MOTION
        assert truth["phonemes"][0] == "sil"


def test_the_truth_says_what_a_reader_sees(vox, mead):
    for out, jobs in (vox, mead):
        job = jobs[0]
        truth, frames = read_truth(out / job.truth), media.read_video(out / job.video).astype(float)
        for picture, points in zip(frames, truth["landmarks_25"], strict=True):
            bright = np.clip(picture.mean(-1) - 160, 0, None)
            bright[: len(bright) // 3] = 0
            rows, columns = np.indices(bright.shape)
            centre = np.array([(columns * bright).sum(), (rows * bright).sum()]) / bright.sum()
            assert np.abs(centre - points[0]).max() < 0.7


def test_the_sound_in_the_files_is_the_one_that_goes_with_the_lips(vox):
    from fctfg.data.puppets.voice import synthesize

    out, jobs = vox
    chosen = settings()
    script = write.script_of(chosen, jobs[1], write.identity_of(chosen, jobs[1]))
    spoken = synthesize([script.utterance])[0].numpy()
    for path in (jobs[1].video, jobs[1].audio):
        heard = media.read_audio(out / path)
        n = min(len(heard), len(spoken))
        spectrum = np.fft.rfft(heard[:n], 2 * n) * np.conj(np.fft.rfft(spoken[:n], 2 * n))
        lag = int(np.argmax(np.fft.irfft(spectrum)))
        assert abs(lag if lag < n else lag - 2 * n) <= 2
        assert np.corrcoef(heard[:n], spoken[:n])[0, 1] > 0.9


def test_a_face_scaled_onto_a_wide_canvas_takes_its_landmarks_along():
    picture = np.zeros((1, 96, 96, 3), np.uint8)
    picture[0, 40:44, 60:64] = 255
    points = np.array([[[61.5, 41.5]]])
    wide, moved = write.on_canvas(picture, points, LAYOUTS["mead"])
    assert wide.shape == (1, 648, 1152, 3)
    rows, columns = np.indices(wide.shape[1:3])
    weight = wide[0, :, :, 0].astype(float)
    centre = (columns * weight).sum() / weight.sum(), (rows * weight).sum() / weight.sum()
    assert np.allclose(moved[0, 0], centre, atol=0.1)


def test_one_video_is_one_scene_of_one_person(vox):
    out, jobs = vox
    vectors = [read_truth(out / j.truth)["identity"] for j in jobs if j.identity == 0]
    assert all(np.array_equal(vectors[0], v) for v in vectors[:4])
    names = read_truth(out / jobs[0].truth)["identity_names"]
    changed = {n for n, a, b in zip(names, vectors[0], vectors[4], strict=True) if a != b}
    assert changed == set(write._SCENE)
    other = next(read_truth(out / j.truth)["identity"] for j in jobs if j.identity == 1)
    assert (other != vectors[0]).mean() > 0.9


def test_splits_share_neither_names_nor_people(tmp_path):
    train, test = (plan(layout, s, 0, 50, 3) for layout in ("voxceleb2",) for s in ("train", "test"))
    assert not {j.id.split("/")[0] for j in train} & {j.id.split("/")[0] for j in test}
    make(tmp_path, identities=1, clips=1, split="train")
    make(tmp_path, identities=1, clips=1, split="test")
    a, b = (read_truth(p) for p in sorted((tmp_path / "truth").rglob("*.npz")))
    assert not np.array_equal(a["identity"], b["identity"])
    assert not np.array_equal(a["motion"][:20], b["motion"][:20])
    assert len(find_voxceleb2(tmp_path / "dev")) == len(find_voxceleb2(tmp_path)) == 1


def test_mead_takes_turns_through_emotions_and_levels():
    jobs = plan("mead", "test", 0, 1, 48)
    assert len({j.id for j in jobs}) == 48
    assert [j.emotion for j in jobs[:8]] == list(EMOTIONS)
    assert {j.level for j in jobs if j.emotion == "neutral"} == {1}
    assert sorted(j.level for j in jobs if j.emotion == "sad") == [1, 1, 2, 2, 3, 3]


def test_more_clips_only_add(tmp_path):
    make(tmp_path, identities=1, clips=1)
    before = digests(tmp_path)
    stamps = {p: (tmp_path / p).stat().st_mtime_ns for p in before}
    make(tmp_path, identities=2, clips=2)
    after = digests(tmp_path)
    assert len(after) == 1 + 4 * 3
    assert all(after[p] == d and (tmp_path / p).stat().st_mtime_ns == stamps[p] for p, d in before.items())


def test_other_settings_are_refused_and_missing_parts_written_again(tmp_path):
    jobs = make(tmp_path, identities=1, clips=1)
    with pytest.raises(write.TreeError, match=r"seed 0 \(now 1\)"):
        make(tmp_path, identities=1, clips=1, seed=1)
    before = digests(tmp_path)
    (tmp_path / jobs[0].audio).unlink()
    assert farm.write_all(jobs, tmp_path, settings(), 0, fake_render)[0] == 1
    assert digests(tmp_path) == before
    (tmp_path / "puppets.json").write_text('{"see')
    with pytest.raises(write.TreeError, match="not readable"):
        make(tmp_path, identities=1, clips=1)


KILLED = """
import sys
from pathlib import Path
import test_puppets_write as t
from fctfg.data.puppets import farm
from fctfg.data.puppets.layouts import plan
if __name__ == "__main__":
    farm.write_all(plan("voxceleb2", "test", 0, 3, 2), Path(sys.argv[1]), t.settings(), 2, t.slow_render)
"""


def test_killed_and_resumed_on_other_workers_gives_the_same_tree(tmp_path):
    out = tmp_path / "killed"
    environment = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"}
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(out)], env=environment, start_new_session=True)
    deadline = time.monotonic() + 60
    while len(list((out / "truth").rglob("*.npz"))) < 2:
        assert process.poll() is None, "it ended by itself"
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    _wait_until_nobody_is_left(process.pid)
    complete = {p for p in out.rglob("*.npz") if not p.name.startswith(".")}
    assert 2 <= len(complete) < 6
    for file in complete:
        read_truth(file)
    for file in out.rglob("*.mp4"):
        media.read_video(file)  # what bears its final name is whole
    for part in out.rglob(".*.part"):
        os.utime(part, (0, 0))  # as if an hour had gone by
    make(out, identities=3, clips=2)
    make(tmp_path / "whole", identities=3, clips=2)
    assert digests(out) == digests(tmp_path / "whole")


def _wait_until_nobody_is_left(session: int) -> None:
    """Workers of a killed parent end by themselves."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            os.killpg(session, 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)
    raise AssertionError("a worker outlived its parent")


def test_the_command_teaches_without_torch():
    code = (
        "import runpy, sys\n"
        "sys.argv = ['x', '--help']\n"
        "try:\n"
        "    runpy.run_module('fctfg.data.puppets', run_name='__main__')\n"
        "except SystemExit as e:\n"
        "    assert e.code == 0\n"
        "assert not {'torch', 'scipy', 'av', 'matplotlib'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert "--identities" in done.stdout
    assert "truth" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--identities", "0"], "--identities must be between 1"),
        (["--clips", "0"], "--clips must be at least 1"),
        (["--seconds", "5-3"], "0.5 <= A <= B"),
        (["--seconds", "long"], "is not A-B"),
        (["--detail", "2"], "--detail must be between 0 and 1"),
    ],
)
def test_wrong_numbers_are_told_in_a_line(arguments, message, tmp_path, capsys):
    with pytest.raises(SystemExit) as stopped:
        command.main(["--layout", "mead", "--out", str(tmp_path), *arguments])
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err.splitlines()[-1]


def test_an_output_folder_that_is_a_file_is_told_in_a_line(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert command.main(["--layout", "mead", "--out", str(tmp_path / "file"), "--workers", "1"]) == 2
    assert capsys.readouterr().err.strip().count("\n") == 0


def test_the_real_renderer_fits(tmp_path):
    chosen = settings(seconds=(0.5, 0.5), size=64, detail=0.0)
    (job,) = plan("voxceleb2", "test", 0, 1, 1)
    written, n = farm.write_all([job], tmp_path, chosen, workers=0)
    truth = read_truth(tmp_path / job.truth)
    assert written == 1
    assert len(truth["landmarks"]) == n == 13  # half a second, rounded up to whole frames
    inside = (truth["landmarks"] > 0) & (truth["landmarks"] < 224)
    assert inside.mean() > 0.95
    assert media.read_video(tmp_path / job.video).std() > 10
    assert layouts.LAYOUTS["voxceleb2"].canvas == (224, 224)
