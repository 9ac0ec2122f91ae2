"""What training reads: the same for any number of ranks, with the sound that belongs to it, and nothing lost unsaid."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from fctfg import media
from fctfg.data.clips import DataError
from fctfg.data.puppets import farm, layouts, script, write
from fctfg.data.puppets.face import render
from fctfg.data.puppets.motion import index as column
from fctfg.nets.mel import mel, mel_windows
from fctfg.train import clip_index, puppet_pool
from fctfg.train.clip_data import ClipData, _Recent
from fctfg.train.data import GAP, KINDS, batches, least_frames, places, uniform
from fctfg.train.puppet_data import PuppetData

ROOT = Path(__file__).resolve().parent.parent
PARTS = ("source", "driving", "mels", "mel_window", "wrong_window")


def close(ours, theirs, rows=slice(None), tolerance=1e-5) -> bool:
    """Whether a batch equals rows of another one; drawing in other chunks may show in a picture's last bits."""
    return all(torch.allclose(getattr(ours, n), getattr(theirs, n)[rows], atol=tolerance) for n in PARTS)


def correlation(a, b) -> float:
    return float(np.corrcoef(np.ravel(a), np.ravel(b))[0, 1])


# --- ranks, steps, random numbers ---


class Numbers:
    """A source whose samples are their own numbers."""

    def frames(self, indices):
        return torch.tensor(list(indices))


def test_ranks_and_a_resumed_run_read_the_same_global_batches():
    alone = [b.tolist() for b in batches(Numbers(), "frames", 8, stop_step=4)]
    assert alone == [list(range(8 * s, 8 * s + 8)) for s in range(4)]
    ranks = [list(batches(Numbers(), "frames", 8, 2, 4, rank, 4)) for rank in range(4)]
    for step in range(2):
        assert [r for pair in zip(*(rank[step].tolist() for rank in ranks), strict=True) for r in pair] == alone[
            2 + step
        ]
    ahead, asked = (list(batches(Numbers(), "frames", 8, 1, 9, 1, 2, prefetch=p)) for p in (3, 0))
    assert [a.tolist() for a in ahead] == [a.tolist() for a in asked]


def test_batches_go_on_for_ever_and_can_be_left():
    endless = batches(Numbers(), "frames", 2, start_step=10**9)
    assert next(endless).tolist() == [2 * 10**9, 2 * 10**9 + 1]
    assert next(endless).tolist() == [2 * 10**9 + 2, 2 * 10**9 + 3]
    endless.close()


def test_an_error_is_raised_at_its_step():
    class Broken:
        def frames(self, indices):
            if indices[0] >= 4:
                raise DataError("clip.mp4: broken")
            return torch.tensor(list(indices))

    made = batches(Broken(), "frames", 2)
    assert [next(made).tolist() for _ in range(2)] == [[0, 1], [2, 3]]
    with pytest.raises(DataError, match=r"clip\.mp4"):
        next(made)


def test_batches_say_what_is_wrong():
    with pytest.raises(ValueError, match=", ".join(KINDS)):
        batches(Numbers(), "pictures", 8)
    with pytest.raises(ValueError, match="a batch of 8 does not divide over 3 ranks"):
        batches(Numbers(), "frames", 8, world=3)


def test_uniform_numbers_depend_on_their_row_alone_and_are_uniform():
    u = uniform(7, range(20000), 3)
    assert np.array_equal(u[[5, 17]], uniform(7, [5, 17], 3))
    assert np.array_equal(uniform(7, [10**12], 2), uniform(7, [10**12], 4)[:, :2])
    assert u.min() >= 0
    assert u.max() < 1
    assert np.abs(np.histogram(u, 20, (0, 1))[0] / 3000 - 1).max() < 0.08
    following = [correlation(u[:-1, 0], u[1:, 0]), correlation(u[:, 0], u[:, 1]), correlation(u[:-1, 1], u[1:, 2])]
    other = correlation(u[:, 0], uniform(8, range(20000), 1)[:, 0])
    assert max(map(abs, [*following, other])) < 0.03


@pytest.mark.parametrize("window", [1, 5, 12])
def test_places_lie_inside_the_clip_and_the_wrong_sound_lies_elsewhere(window):
    n = np.repeat([least_frames(window), 60, 250], 4000)
    at = places(uniform(1, range(len(n)), 3), np.arange(len(n)), n, window, "random")
    assert at.start.min() == 1
    last = at.start + window - 1
    assert (n - 1 - last).min() == (3 if window > 1 else 4)
    # the training rule's last column, and the sync window's, lie inside the sound
    assert (np.maximum(16 * (last - 1) // 5, 16 * np.maximum(at.start, at.wrong) // 5) + 16 <= n * 16 // 5 + 1).all()
    away = np.abs(at.wrong - at.start)
    assert away[4000:].min() == GAP
    assert away.min() >= 1
    assert at.source.min() == 0
    assert (at.source < n).all()
    assert at.source[8000:].max() > 240
    first = places(uniform(1, range(9), 3), np.arange(9), n[:9], window, "first")
    assert not first.source.any()  # A22


# --- puppets ---


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("pools")


@pytest.fixture(scope="module")
def puppets(folder) -> PuppetData:
    return PuppetData(24, seed=3, clips=10, cache=folder)


def test_the_sound_s_windows_follow_the_recipe_s_rule(puppets, folder):  # A23
    one = puppets.windows([0, 1])
    late = PuppetData(24, seed=3, clips=10, cache=folder, rule="inference").windows([0, 1])
    assert torch.equal(one.driving, late.driving)
    # a window of inference begins a frame later: the next frame's of training, but for the last
    assert torch.equal(one.mels[:, 1:], late.mels[:, :-1])
    assert not torch.equal(one.mels, late.mels)


def test_puppets_are_the_same_again_and_for_two_ranks(puppets, folder):
    whole = next(batches(puppets, "windows", 4, start_step=5))
    assert whole.source.shape == (4, 3, 24, 24)
    assert whole.driving.shape == (4, 5, 3, 24, 24)
    assert whole.mels.shape == (4, 5, 1, 80, 16)
    assert whole.mel_window.shape == whole.wrong_window.shape == (4, 1, 80, 16)
    assert -1 <= whole.driving.min() < -0.3 < 0.3 < whole.driving.max() <= 1
    again = PuppetData(24, seed=3, clips=10, cache=folder)
    for rank in range(2):
        assert close(next(batches(again, "windows", 4, 5, rank=rank, world=2)), whole, slice(rank, None, 2))
    other = PuppetData(24, seed=4, clips=10, cache=folder)
    assert not torch.allclose(other.windows(range(20, 24)).driving, whole.driving, atol=0.1)


def test_puppets_frames(puppets):
    frames = puppets.frames(range(6))
    assert frames.shape == (6, 3, 24, 24)
    assert torch.allclose(puppets.frames([4]), frames[4:5], atol=1e-5)
    assert (frames[:-1] - frames[1:]).abs().mean((1, 2, 3)).min() > 0.05  # all different people
    assert puppets.at(16).frames([0]).shape == (1, 3, 16, 16)
    assert torch.allclose(puppets.at(48).frames([1]).mean(), frames[1].mean(), atol=0.05)  # and the same ones


def test_puppets_driving_frames_are_the_pools_motion_on_one_person(puppets):
    at, windows = puppets.places([8, 9]), puppets.windows([8, 9])
    who = puppets.people("windows", [8, 9], at.clip)
    for i in range(2):
        moving = puppets.pool.motion[at.clip[i], at.start[i] : at.start[i] + 5]
        assert torch.allclose(render(who.pick([i] * 5), moving, 24).frames * 2 - 1, windows.driving[i], atol=1e-4)
        still = puppets.pool.motion[at.clip[i], at.source[i]][None]
        assert torch.allclose(render(who.pick([i]), still, 24).frames[0] * 2 - 1, windows.source[i], atol=1e-4)


def test_puppets_sound_belongs_to_their_mouths(puppets):
    indices = range(240)
    at = puppets.places(indices)
    silent = PuppetData.__new__(PuppetData)  # the same without the drawing, which takes the time
    silent.__dict__ |= vars(puppets)
    silent._drawn = lambda who, motion: torch.zeros(*motion.shape[:-1], 3, 1, 1)
    made = silent.windows(indices)
    shown = at.start[:, None] + np.arange(5)
    opening = puppets.pool.motion[at.clip[:, None], shown, column("mouth_open")].numpy()
    # The window begins one frame, 3.2 columns, before its frame.
    loudness = made.mels[:, :, 0, :30, 3:7].mean((-1, -2)).numpy()
    assert correlation(opening, loudness) > 0.5
    assert correlation(opening, np.roll(loudness, 1, 0)) < 0.2
    window = made.mel_window[:, 0, :30].mean((-1, -2)).numpy()
    assert correlation(opening.mean(1), window) > 0.5
    assert correlation(opening.mean(1), made.wrong_window[:, 0, :30].mean((-1, -2)).numpy()) < 0.25


def test_puppets_for_the_sync_expert_are_those_of_the_windows(puppets):
    made, whole = puppets.sync([2, 7]), puppets.windows([2, 7])
    for name in ("driving", "mel_window", "wrong_window"):
        assert torch.allclose(getattr(made, name), getattr(whole, name), atol=1e-5), name


def test_held_out_puppets_share_nobody_and_no_clip(puppets, folder):
    held_out = PuppetData(24, seed=3, split="held-out", clips=10, cache=folder)
    for a in puppets.pool.motion[:, ::10]:
        assert not torch.isclose(held_out.pool.motion[:, ::10], a).all((1, 2)).any()
    one = np.zeros(64, np.int64)
    ours, theirs = (s.people("windows", range(64), one).values for s in (puppets, held_out))
    assert not set(map(tuple, ours.tolist())) & set(map(tuple, theirs.tolist()))
    numbers = range(200)
    streams = {s: {puppet_pool.stream(0, s, "people", i) for i in numbers} for s in ("train", "held-out")}
    assert not streams["train"] & streams["held-out"]
    assert {bool(v & 4) for v in streams["train"]} == {False}
    assert {bool(v & 4) for v in streams["held-out"]} == {True}
    # The puppets written for tests have odd seeds, ours even ones.
    assert {script.identity_seed(0, "test", i) & 1 for i in numbers} == {1}
    assert {(v >> 1) & 1 for v in streams["train"] | streams["held-out"]} == {0}


def test_a_cast_is_as_many_people_as_clips(folder):
    two = PuppetData(16, seed=3, clips=2, cast=True, cache=folder)
    at = two.places(range(30))
    assert set(at.clip) == {0, 1}
    assert len(set(map(tuple, two.people("windows", range(30), at.clip).values.tolist()))) == 2


def test_a_pool_is_drawn_once_and_begins_like_a_larger_one(puppets, folder, monkeypatch):
    first = PuppetData(16, seed=3, clips=2, cache=folder).pool
    assert torch.equal(first.motion, puppets.pool.motion[:2])
    assert torch.equal(first.mels, puppets.pool.mels[:2])
    monkeypatch.setattr(puppet_pool, "_drawn", None)  # would raise
    assert torch.equal(PuppetData(16, seed=3, clips=2, cache=folder).pool.mels, first.mels)
    assert sorted(p.suffix for p in folder.iterdir() if p.suffix == ".part") == []


def test_processes_draw_the_same_pool(puppets, tmp_path, monkeypatch):
    monkeypatch.setattr(puppet_pool, "_ALONE", 0)
    drawn = puppet_pool.pool(3, "train", 2, tmp_path, workers=2)
    assert torch.equal(drawn.motion, puppets.pool.motion[:2])
    assert torch.allclose(drawn.mels, puppets.pool.mels[:2], atol=1e-4)


def test_puppets_need_torch_numpy_and_safetensors_alone(folder, puppets):
    code = (
        "import sys\n"
        "for name in ('av', 'scipy', 'tqdm', 'pandas', 'matplotlib', 'PIL', 'cv2'): sys.modules[name] = None\n"
        "from fctfg.train.data import batches\n"
        "from fctfg.train.puppet_data import PuppetData\n"
        f"source = PuppetData(16, clips=1, seed=99, cache={str(folder)!r})\n"
        "print(next(batches(source, 'windows', 2)).driving.shape)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert "[2, 5, 3, 16, 16]" in done.stdout


def test_puppets_say_what_is_wrong(folder):
    with pytest.raises(ValueError, match="train or held-out"):
        PuppetData(16, split="test", cache=folder)
    with pytest.raises(ValueError, match="a window of 40 frames"):
        PuppetData(16, window=40, cache=folder)
    blocked = folder / "file"
    blocked.write_bytes(b"")
    with pytest.raises(DataError, match="cannot be made"):
        PuppetData(16, clips=1, cache=blocked / "inside")


# --- clips ---


def flashes(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Frames of random brightness, each as loud as it is bright; the lower half's grey says which clip it is."""
    rng = np.random.default_rng(seed)
    bright = rng.uniform(0, 1, count)
    frames = np.zeros((count, 32, 32, 3), np.uint8)
    frames[:] = (20 + 215 * bright[:, None, None, None]).astype(np.uint8)
    frames[:, 16:] = 20 * (seed % 12)
    loud = np.repeat(0.5 * bright**2, 640)
    return frames, (loud * rng.normal(0, 0.5, len(loud))).clip(-1, 1).astype(np.float32)


def tree(root: Path, people: int = 3, clips: int = 2, count: int = 40) -> Path:
    """A VoxCeleb2 tree of flashes."""
    for i in range(people):
        for c in range(clips):
            frames, sound = flashes(count, i * clips + c)
            name = f"id{i:05d}/v/{c:05d}"
            media.write_video(root / f"dev/mp4/{name}.mp4", frames, audio=sound, crf=5)
            media.write_audio(root / f"dev/aac/{name}.m4a", sound)
    return root


def shown_clips(frames: torch.Tensor) -> np.ndarray:
    """Which clip frames (n, 3, S, S) are of."""
    return ((frames[:, 1, -8:].mean((1, 2)) + 1) * 127.5 / 20).round().int().numpy()


def brightness(frames: torch.Tensor) -> torch.Tensor:
    """That of the upper half: (..., 3, S, S) -> (...)."""
    return frames[..., 1, : frames.shape[-1] // 2 - 4, :].mean((-1, -2))


@pytest.fixture(scope="module")
def vox(tmp_path_factory) -> Path:
    return tree(tmp_path_factory.mktemp("vox"))


def opened(root: Path, **settings) -> ClipData:
    settings = {"size": 32, "split": None, "cache": root.parent / f"{root.name}-cache"} | settings
    return ClipData(root, settings.pop("layout", "voxceleb2"), **settings)


def test_clips_are_the_same_again_and_for_two_ranks(vox):
    whole = next(batches(opened(vox), "windows", 6, start_step=3))
    assert whole.driving.shape == (6, 5, 3, 32, 32)
    for rank in range(2):
        half = next(batches(opened(vox, workers=1), "windows", 6, 3, rank=rank, world=2))
        assert close(half, whole, slice(rank, None, 2), 0)
    assert not close(opened(vox, seed=1).windows(range(18, 24)), whole)


def test_clips_hold_what_is_in_the_files(vox):
    data = opened(vox)
    made = data.windows(range(12))
    for row, clip in enumerate(shown_clips(made.driving[:, 0])):
        what = data.index.clips[clip]
        frames = torch.from_numpy(media.read_video(vox / "dev" / what.video)).permute(0, 3, 1, 2) / 127.5 - 1
        fives = brightness(frames).unfold(0, 5, 1)
        start = int((fives - brightness(made.driving[row])).abs().sum(1).argmin())
        assert torch.allclose(frames[start : start + 5], made.driving[row], atol=1e-6)
        assert (frames - made.source[row]).abs().amax((1, 2, 3)).min() < 1e-6
        heard = mel(torch.from_numpy(media.read_audio(vox / "dev" / what.audio)))
        assert torch.equal(mel_windows(heard, 5, first=start), made.mels[row])
        assert torch.equal(mel_windows(heard, 1, first=start, rule="sync")[0], made.mel_window[row])
        every = mel_windows(heard, 40, rule="sync")
        assert (every - made.wrong_window[row]).abs().amax((1, 2, 3)).argmin() != start
        assert (every - made.wrong_window[row]).abs().amax((1, 2, 3)).min() == 0


def test_clips_sound_belongs_to_their_frames(vox):
    made = opened(vox).windows(range(60))
    bright = brightness(made.driving).numpy()
    loud = made.mels[:, :, 0, :, 3:7].mean((-1, -2)).numpy()
    assert correlation(bright, loud) > 0.6
    assert abs(correlation(bright, np.roll(loud, 1, 0))) < 0.3
    assert correlation(bright.mean(1), made.mel_window.mean((1, 2, 3)).numpy()) > 0.6
    assert correlation(bright.mean(1), made.wrong_window.mean((1, 2, 3)).numpy()) < 0.4


def test_clips_frames_and_sync(vox):
    data = opened(vox, size=16)
    assert data.frames(range(4)).shape == (4, 3, 16, 16)
    made, whole = data.sync([3, 4]), data.windows([3, 4])
    assert torch.equal(made.driving, whole.driving)
    assert torch.equal(made.wrong_window, whole.wrong_window)
    assert data.describe()["n_clips"] == 6
    assert data.describe()["clips"] != opened(vox, clips=2).describe()["clips"]


def test_held_out_people_are_not_trained_on(vox):
    train, held_out = opened(vox, split="train"), opened(vox, split="held-out")
    people = [{c.identity for c in d.index.clips} for d in (train, held_out)]
    assert not people[0] & people[1]
    assert people[0] | people[1] == {"id00000", "id00001", "id00002"}
    assert len(people[1]) == 1


def test_headers_are_read_once(vox, tmp_path, monkeypatch):
    first = opened(vox, cache=tmp_path).index
    index_file = next(tmp_path.glob("*.jsonl"))
    index_file.write_text(index_file.read_text() + '["dev/mp4/half a li')  # a run killed while writing
    monkeypatch.setattr(clip_index.media, "probe", None)  # would raise
    again = opened(vox, cache=tmp_path).index
    assert again.clips == first.clips
    assert again.n_frames.tolist() == [40] * 6


def damage(path: Path) -> None:
    """Overwrite the second half of the pictures and leave the header."""
    content = bytearray(path.read_bytes())
    at = content.index(b"mdat")
    length = int.from_bytes(content[at - 4 : at], "big") - 8
    content[at + 4 + length // 2 : at + 4 + length] = b"\xff" * (length - length // 2)
    path.write_bytes(bytes(content))


def test_a_broken_clip_is_replaced_by_the_next_and_said(tmp_path):
    vox = tree(tmp_path / "vox")
    bad = vox / "dev/mp4/id00001/v/00000.mp4"
    damage(bad)
    lines: list[str] = []
    data = opened(vox, tolerated=0.5, report=lines.append)
    backwards = opened(vox, tolerated=0.5, report=lambda line: None)
    chosen = np.floor(uniform(clip_key(data), range(24), 4)[:, 3] * 6).astype(int)
    assert (chosen == 2).sum() >= 2
    made = data.windows(range(24))
    shown = shown_clips(made.driving[:, 0])
    assert (shown == 3)[chosen == 2].any()  # what lies in the broken half
    assert shown.tolist() == np.where((chosen == 2) & (shown != 2), 3, chosen).tolist()
    assert len(lines) == 1
    assert str(bad) in lines[0]
    assert "\n" not in lines[0]
    assert list(data.broken) == [str(bad)]
    # What was read before makes no difference.
    for i in (23, 11, 0):
        one = backwards.windows([i])
        assert all(torch.equal(getattr(one, n)[0], getattr(made, n)[i]) for n in PARTS)


def clip_key(data: ClipData) -> int:
    from fctfg.train.data import key

    return key(data.seed, data.split, "windows")


def test_more_than_a_hundredth_broken_stops(tmp_path):
    vox = tree(tmp_path / "vox", people=2, clips=1)
    bad = vox / "dev/mp4/id00001/v/00000.mp4"
    damage(bad)
    with pytest.raises(DataError, match="1 of 2 clips cannot be read, more than 1%") as caught:
        opened(vox, report=lambda line: None).windows(range(8))
    assert str(bad) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_cannot_be_used_is_left_out_aloud(tmp_path):
    vox = tree(tmp_path / "vox", people=2)
    frames, sound = flashes(10, 7)
    media.write_video(vox / "dev/mp4/id00000/v/short.mp4", frames, audio=sound)
    (vox / "dev/mp4/id00000/v/text.mp4").write_text("not a video")
    media.write_video(vox / "dev/mp4/id00000/v/mute.mp4", flashes(40, 8)[0])
    lines: list[str] = []
    data = opened(vox, tolerated=0.5, report=lines.append)
    assert len(data.index.clips) == 4
    assert len(data.broken) == 2
    assert len(lines) == 3
    assert any("text.mp4" in line for line in lines)
    assert any("mute.mp4: has no sound" in line for line in lines)
    assert any("1 of 7 clips left out, with fewer than 16 frames" in line for line in lines)
    with pytest.raises(DataError, match="more than 1%"):
        opened(vox, report=lambda line: None)
    with pytest.raises(DataError, match="no such folder"):
        opened(tmp_path / "nowhere")


def test_prepared_crops_with_their_sound_beside(tmp_path):
    root = tmp_path / "crops"
    for i, person in enumerate(("id1", "id1", "id2")):
        frames, sound = flashes(30, i)
        video = media.write_video(root / f"train/{person}#video#00001.txt#{i:03d}.mp4", frames)
        media.write_audio(video.with_suffix(".wav"), sound)
    data = opened(root, layout="prepared")
    assert [c.identity for c in data.index.clips] == ["id1", "id1", "id2"]
    made = data.windows(range(30))
    bright = brightness(made.driving).numpy()
    assert correlation(bright, made.mels[:, :, 0, :, 3:7].mean((-1, -2)).numpy()) > 0.6


def test_spectrograms_are_kept_within_their_memory():
    recent = _Recent(1000)
    for i in range(5):
        recent.put(i, torch.zeros(100))  # 400 bytes
    assert recent.held == 800
    assert recent.get(2) is None
    assert recent.get(3) is not None
    recent.put(5, torch.zeros(100))
    assert recent.get(4) is None  # 3 was asked for since
    assert recent.get(3) is not None


def mouths(identity, motion, size=256, detail=1.0):
    """Stands in for the renderer: a picture as bright as the mouth is open."""
    bright = (0.2 + 0.8 * motion[:, column("mouth_open")])[:, None, None, None]
    points = torch.zeros(len(motion), 68, 2)
    return SimpleNamespace(
        frames=bright.expand(-1, 3, size, size),
        landmarks=points,
        visible=torch.ones(points.shape[:2], dtype=torch.bool),
    )


def test_a_written_tree_of_puppets(tmp_path):
    settings = write.Settings("voxceleb2", seed=0, split="train", seconds=(2.4, 2.8))
    farm.write_all(layouts.plan("voxceleb2", "train", 0, 2, 2), tmp_path / "tree", settings, workers=0, render=mouths)
    made = opened(tmp_path / "tree").windows(range(80))
    bright = made.driving.mean((2, 3, 4)).numpy()
    assert correlation(bright, made.mels[:, :, 0, :30, 3:7].mean((-1, -2)).numpy()) > 0.45
    assert abs(correlation(bright.mean(1), made.wrong_window[:, 0, :30].mean((-1, -2)).numpy())) < 0.35


@pytest.mark.real
def test_real_clips(real, tmp_path):
    data = ClipData(real / "voxceleb2/test", "voxceleb2", 64, split="train", cache=tmp_path)
    assert len(data.index.clips) >= 7
    made = data.windows(range(3))
    assert made.driving.shape == (3, 5, 3, 64, 64)
    assert made.driving.std() > 0.2
    assert -4 <= made.mels.min() < made.mels.max() <= 4
    assert (made.driving[:, 1:] - made.driving[:, :-1]).abs().mean() < 0.2  # consecutive
    assert not data.broken
