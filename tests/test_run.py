"""A run: every clip counted, resumable, shardable, the same table every time."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import trees

from fctfg import media
from protocols import table1, voxceleb2
from results import report, rows

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return trees.voxceleb2(tmp_path_factory.mktemp("vox2"))


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FCTFG_CACHE", str(tmp_path / "cache"))


def options(data, tmp_path, methods="truth still", **more):
    flags = ["--voxceleb2", data, "--methods", methods, "--out", tmp_path / "runs", "--reports", tmp_path / "reports"]
    for key, value in more.items():
        flags += [f"--{key.replace('_', '-')}"] + ([] if value is True else [value])
    return [*map(str, flags), "--metrics", *trees.PLAIN]


def scores(out, metric="ssim_wang_rgb"):
    return {row["clip"]: row["metrics"].get(metric) for row in rows.read(out)}


def test_table1_counts_every_clip_and_ranks_the_controls(data, tmp_path):
    assert table1.main(options(data, tmp_path, "truth reencode still shuffled-audio")) == 0
    runs = tmp_path / "runs/voxceleb2"
    truth, again, still = (scores(runs / name) for name in ("truth", "reencode", "still"))
    assert len(truth) == 4
    assert set(truth.values()) == {1.0}
    assert all(0.9 < again[clip] < 1 for clip in again)
    assert all(still[clip] < again[clip] - 0.05 for clip in still)
    assert scores(runs / "truth", "psnr_rgb") == dict.fromkeys(truth, float("inf"))
    assert scores(runs / "shuffled-audio") == truth
    record = json.loads((runs / "still/run.json").read_text())
    assert (record["n_expected"], record["n_scored"], record["n_failed"]) == (4, 4, 0)
    assert record["data"] == "sample"
    assert (tmp_path / "runs/voxceleb2/still/generated/id00000/v0/00001.mp4").is_file()
    assert not list((runs / "truth/generated").rglob("*.mp4"))  # truth stores nothing
    for suffix in ("md", "csv", "tex", "html"):
        assert (tmp_path / f"reports/table1.{suffix}").stat().st_size > 500


def test_a_second_run_computes_nothing(data, tmp_path, monkeypatch):
    from protocols import first_frame

    table1.main(options(data, tmp_path))
    before = trees.csv_of(tmp_path / "reports")

    def refuse(*_):
        raise AssertionError("a complete clip was computed again")

    monkeypatch.setattr(first_frame.Evaluation, "_score", refuse)
    monkeypatch.setattr(first_frame.stages, "generate", refuse)
    assert table1.main(options(data, tmp_path)) == 0
    assert trees.csv_of(tmp_path / "reports") == before


def test_scoring_again_never_generates_again(data, tmp_path, monkeypatch):
    from protocols import first_frame

    table1.main(options(data, tmp_path, "still"))
    monkeypatch.setattr(first_frame.stages, "generate", None)
    flags = options(data, tmp_path, "still")
    assert table1.main([*flags, "ssim_skimage_default"]) == 0
    assert all(v is not None for v in scores(tmp_path / "runs/voxceleb2/still", "ssim_skimage_default").values())


def test_reuse_never_computes_and_only_cache_does_not(data, tmp_path):
    table1.main(options(data, tmp_path, "still"))
    file = tmp_path / "runs/voxceleb2/still/generated/id00000/v0/00001.mp4"
    stamp = file.stat().st_mtime_ns
    table1.main(options(data, tmp_path, "still", reuse="never"))
    assert file.stat().st_mtime_ns > stamp
    other = options(data, tmp_path / "other", "still", reuse="only-cache")
    assert table1.main(other) == 1
    failed = rows.read(tmp_path / "other/runs/voxceleb2/still")
    assert all("only-cache" in row["failures"]["*"] for row in failed)


def test_a_changed_clip_is_computed_again_and_no_other(data, tmp_path):
    mine = tmp_path / "data"
    trees.voxceleb2(mine)
    table1.main(options(mine, tmp_path, "still"))
    before = {row["clip"]: row["key"] for row in rows.read(tmp_path / "runs/voxceleb2/still")}
    media.write_video(mine / "test/mp4/id00001/v1/00001.mp4", trees.frames(30, 64, 99), audio=trees.tone())
    table1.main(options(mine, tmp_path, "still"))
    after = {row["clip"]: row["key"] for row in rows.read(tmp_path / "runs/voxceleb2/still")}
    assert {clip for clip in before if before[clip] != after[clip]} == {"id00001/v1/00001"}


def test_shards_merge_to_the_same_table(data, tmp_path):
    table1.main(options(data, tmp_path / "one"))
    for shard in ("2/3", "0/3", "1/3"):
        table1.main(options(data, tmp_path / "three", shard=shard, no_report=True))
    runs = sorted((tmp_path / "three/runs/voxceleb2").iterdir())
    assert sorted(p.name for p in (runs[0] / "rows").iterdir()) == ["0-of-3.jsonl", "1-of-3.jsonl", "2-of-3.jsonl"]
    assert report.main([*map(str, runs), "--out", str(tmp_path / "three/reports"), "--name", "table1"]) == 0
    assert trees.csv_of(tmp_path / "one/reports") == trees.csv_of(tmp_path / "three/reports")


def test_workers_change_nothing(data, tmp_path):
    table1.main(options(data, tmp_path / "one", workers=1))
    table1.main(options(data, tmp_path / "four", workers=4))
    assert trees.csv_of(tmp_path / "one/reports") == trees.csv_of(tmp_path / "four/reports")


@pytest.mark.slow
def test_torchrun_gives_the_same_table(data, tmp_path):
    table1.main(options(data, tmp_path / "one"))
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "protocols.table1"]
    done = subprocess.run(
        [*launcher, *options(data, tmp_path / "two", no_report=True)], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    runs = sorted((tmp_path / "two/runs/voxceleb2").iterdir())
    report.main([*map(str, runs), "--out", str(tmp_path / "two/reports"), "--name", "table1"])
    assert trees.csv_of(tmp_path / "one/reports") == trees.csv_of(tmp_path / "two/reports")


@pytest.mark.slow
def test_sigkill_at_ten_moments_then_resume_gives_identical_bytes(tmp_path):
    data = trees.voxceleb2(tmp_path / "data", identities=4, clips=3, count=40)
    undisturbed = options(data, tmp_path / "calm", "reencode still")
    began = time.monotonic()
    assert subprocess.run([sys.executable, "-m", "protocols.table1", *undisturbed], cwd=ROOT).returncode == 0
    whole = time.monotonic() - began
    disturbed = options(data, tmp_path / "hard", "reencode still")
    chance = random.Random(5)
    complete: dict[str, str] = {}
    kills = 0
    while kills < 10:
        process = subprocess.Popen(
            [sys.executable, "-m", "protocols.table1", *disturbed], cwd=ROOT, stderr=subprocess.DEVNULL
        )
        time.sleep(chance.uniform(0.2, 0.9) * whole)
        if process.poll() is None:
            kills += 1
        process.kill()
        process.wait()
        for out in (tmp_path / "hard/runs/voxceleb2").glob("*"):
            lines = [line for f in out.glob("rows/*.jsonl") for line in f.read_text().split("\n")[:-1]]
            clips = [json.loads(line)["clip"] for line in lines]
            assert len(clips) == len(set(clips)), "a complete clip was computed twice"
            for clip, line in zip(clips, lines, strict=True):
                assert complete.setdefault(f"{out.name} {clip}", line) == line
        if len(complete) == 24:  # all done: start over, so that every kill hits work
            import shutil

            shutil.rmtree(tmp_path / "hard")
            complete.clear()
    assert subprocess.run([sys.executable, "-m", "protocols.table1", *disturbed], cwd=ROOT).returncode == 0
    assert trees.csv_of(tmp_path / "calm/reports") == trees.csv_of(tmp_path / "hard/reports")


def test_shuffled_audio_scores_with_another_speakers_sound(data, tmp_path):
    from protocols import cliplist, methods
    from protocols.first_frame import Evaluation

    clips = cliplist.voxceleb2(data)
    evaluation = Evaluation(data, tmp_path, clips, methods.load("shuffled-audio"), {}, (), None)
    for clip in clips.clips:
        assert evaluation.audio_donor(clip).identity != clip.identity


def test_without_data_puppets_of_both_layouts_are_taken(data, tmp_path, monkeypatch):
    from protocols import cliplist, puppets

    asked = []
    monkeypatch.setattr(puppets, "data", lambda layout, _: asked.append(layout) or (data, cliplist.voxceleb2(data)))
    assert table1.main(["--methods", "", "--no-report", "--out", str(tmp_path / "runs")]) == 0
    assert asked == ["voxceleb2", "mead"]
    asked.clear()
    assert table1.main([*options(data, tmp_path, ""), "--no-report"]) == 0
    assert asked == []


# -- ready-made videos ------------------------------------------------------------------------------------------------


def test_videos_of_any_size_rate_and_start(data, tmp_path, capsys):
    folder = tmp_path / "ours"
    videos = [
        ("id00000/v0/00001", 25, 256, 0),
        ("id00000/v1/00001", 50, 128, 0),
        ("id00001/v0/00001", 25, (223, 225), 3),
    ]
    for clip, fps, size, first in videos:
        source = media.read_video(data / f"test/mp4/{clip}.mp4", size=size if isinstance(size, tuple) else (size, size))
        source = np.repeat(source, fps // 25, axis=0)[first * fps // 25 :]
        media.write_video(folder / f"{clip}.mp4", source, fps=fps)
    (folder / "stray.mp4").write_bytes(b"not asked for")
    (folder / "manifest.json").write_text(
        json.dumps({"files": {"id00001/v0/00001": {"file": "id00001/v0/00001.mp4", "first_frame": 3}}})
    )
    out = tmp_path / "run"
    flags = ["--data", str(data), "--method", f"videos:{folder}", "--out", str(out), "--metrics", *trees.PLAIN]
    assert voxceleb2.main(flags) == 1
    said = capsys.readouterr().err
    assert "3 of 4 clips scored, 1 failed" in said
    assert "no video for clip id00001/v1/00001" in said
    assert "stray.mp4" in said
    found = {row["clip"]: row for row in rows.read(out)}
    assert found["id00001/v1/00001"]["status"] == "failed"
    for clip in ("id00000/v0/00001", "id00000/v1/00001", "id00001/v0/00001"):
        assert found[clip]["metrics"]["ssim_wang_rgb"] > 0.9, clip  # aligned: a shift by one frame scores far less
    assert found["id00001/v0/00001"]["n_frames"] == 27
    assert any("50 fps" in w for w in found["id00000/v1/00001"]["warnings"])
    assert voxceleb2.main([*flags, "--allow-missing"]) == 0


def test_a_methods_crop_is_applied_to_the_truth(data, tmp_path, monkeypatch):
    (tmp_path / "cropping.py").write_text(
        "import numpy as np\n"
        "from fctfg import media\n"
        "from fctfg.animation import Animation\n"
        "class Lower:\n"
        "    name, controls = 'lower', frozenset()\n"
        "    def animate(self, reference, driving, audio):\n"
        "        half = np.ascontiguousarray(driving[:, 128:, 64:192])\n"
        "        return Animation(media.resize(half, (224, 224)), crop=(0.25, 0.5, 0.75, 1.0))\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    table1.main(options(data, tmp_path, "cropping:Lower"))
    assert all(v > 0.9 for v in scores(tmp_path / "runs/voxceleb2/cropping-Lower").values())


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("raise RuntimeError('out of ideas')", "RuntimeError: out of ideas"),
        ("return driving", "return fctfg.animation.Animation"),
        ("return Animation(driving.astype(float))", "frames must be uint8"),
        ("return Animation(iter(()))", "no frames"),
        ("return Animation(driving[:5].copy())", "answers 5 of 29 driving frames"),
    ],
)
def test_a_failing_method_fails_its_rows_with_the_reason(data, tmp_path, monkeypatch, body, message):
    name = f"failing_{abs(hash(body))}"
    (tmp_path / f"{name}.py").write_text(
        "from fctfg.animation import Animation\n"
        "class Bad:\n"
        "    name, controls = 'bad', frozenset()\n"
        "    def animate(self, reference, driving, audio):\n"
        f"        {body}\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    assert table1.main(options(data, tmp_path, f"{name}:Bad", limit="1")) == 1
    (row,) = rows.read(tmp_path / f"runs/voxceleb2/{name}-Bad")
    assert message in row["failures"]["*"]
    assert "\n" not in row["failures"]["*"]
