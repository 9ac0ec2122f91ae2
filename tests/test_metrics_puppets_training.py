"""How the puppets' instruments are trained: what a batch is made of, drawing sets, stopping and going on."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from fctfg.data.puppets.face import render
from fctfg.data.puppets.identity import sample_identity
from fctfg.data.puppets.motion import MOTION, index
from metrics.puppets import draw, reader_training, sync_training
from metrics.puppets.__main__ import main
from metrics.puppets.degrade import KINDS, UNSEEN, degraded, from_bytes, to_bytes
from metrics.puppets.draw import Recipe, random_motion, read_set, write_shard
from metrics.puppets.geometry import CROP, mouth_crops, mouth_frame, resized
from metrics.puppets.reader_training import Batch, ReaderTask, framed, mirrored, no_faces
from metrics.puppets.sync_training import SyncTask
from metrics.puppets.training import Plan, Trainer, export, read_tensors, weights_of


def drawn(motion, seed=5, size=64):
    with torch.inference_mode():
        made = render(sample_identity(seed, len(motion)), motion, size=size)
    factors = torch.zeros(len(motion), len(reader_training.GEOMETRY))
    return Batch(made.frames.clamp(0, 1).clone(), (made.landmarks + 0.5).clone() / size, motion, factors)


@pytest.fixture(scope="module")
def moved():
    return random_motion(4, torch.Generator().manual_seed(3)) * 0.6


@pytest.fixture(scope="module")
def batch(moved):
    return drawn(moved)


# -- truth goes along with what is done to a picture -------------------------------------------------------------


def test_a_mirrored_puppet_is_the_puppet_of_the_mirrored_motion(batch):
    """The renderer's faces are symmetric, so it can judge: landmarks of the mirrored motion, drawn."""
    other = mirrored(batch, torch.tensor([True, True, False, True]))
    assert torch.equal(other.motion[2], batch.motion[2])
    assert torch.equal(other.landmarks[2], batch.landmarks[2])
    again = drawn(other.motion)
    assert (again.landmarks - other.landmarks).abs().max() < 0.01
    assert (batch.landmarks[[0, 1, 3]] - other.landmarks[[0, 1, 3]]).abs().max() > 0.05


def test_a_crop_is_what_its_motion_would_have_drawn(moved):
    motion = moved.clone()
    motion[:, index("scale")], motion[:, [index("tx"), index("ty")]] = 0.0, 0.02
    zoom, shift = (
        torch.tensor([1.1, 0.95, 1.0, 1.05]),
        torch.tensor([[0.03, 0.0], [0.0, 0.02], [-0.02, 0.01], [0, 0.0]]),
    )
    whole = drawn(motion)
    crop = framed(whole, zoom, shift, size=64)
    again = drawn(crop.motion)
    assert (again.landmarks - crop.landmarks).abs().max() < 0.004
    assert (again.frames - crop.frames).abs().mean() < 0.5 * (again.frames - whole.frames).abs().mean()


def test_random_motion_fills_its_ranges():
    motion = random_motion(2000, torch.Generator().manual_seed(0))
    assert motion.shape == (2000, len(MOTION))
    for name in ("yaw", "pitch", "roll"):
        assert motion[:, index(name)].min() < -40
        assert motion[:, index(name)].max() > 40
    assert (motion[:, index("mouth_open")] == 0).float().mean() > 0.1
    left, right = motion[:, index("blink_l")], motion[:, index("blink_r")]
    assert torch.corrcoef(torch.stack([left, right]))[0, 1] > 0.6


def test_the_mouth_crop_follows_the_mouth(batch):
    """Landmarks of the mouth fall on the same place of the crop whatever the head does; a wrong unit would spread."""
    middle, right, unit = mouth_frame(batch.landmarks)
    corners = (batch.landmarks[:, 48] + batch.landmarks[:, 54]) / 2 - middle
    down = torch.stack([-right[:, 1], right[:, 0]], 1)
    assert ((corners * right).sum(1) / unit).abs().max() < 1e-5
    assert torch.allclose((corners * down).sum(1) / unit, torch.full((4,), -0.11), atol=1e-5)
    spots = torch.zeros(4, 3, 64, 64)
    for i, (x, y) in enumerate((middle * 64 - 0.5).round().long().tolist()):
        spots[i, :, y, x] = 1
    crops = mouth_crops(spots, batch.landmarks)
    assert crops.shape == (4, 3, *CROP)
    for crop in crops[:, 0]:
        y, x = divmod(int(crop.argmax()), CROP[1])
        assert abs(y - (CROP[0] - 1) / 2) < 2.5
        assert abs(x - (CROP[1] - 1) / 2) < 2.5


@pytest.mark.parametrize("change", [degraded, *(kind for kind, _ in KINDS), *UNSEEN.values()])
def test_degraded_frames_stay_frames(batch, change):
    out = change(batch.frames, torch.Generator().manual_seed(0))
    assert out.shape == batch.frames.shape
    assert torch.isfinite(out).all()
    assert -1e-4 <= out.min() <= out.max() <= 1 + 1e-4
    assert torch.equal(out, change(batch.frames, torch.Generator().manual_seed(0)))
    if change is not degraded:  # a mixture may leave a group as it is
        assert (out - batch.frames).abs().max() > 0.01


def test_bytes_and_back():
    levels = np.random.default_rng(0).integers(0, 256, (2, 5, 6, 3), dtype=np.uint8)
    assert np.array_equal(to_bytes(from_bytes(levels)), levels)
    assert resized(from_bytes(levels), 4).shape == (2, 3, 4, 4)


def test_no_faces_are_other_pictures(batch):
    others = no_faces(batch.frames.repeat(2, 1, 1, 1), torch.Generator().manual_seed(1))
    assert others.shape == (8, 3, 64, 64)
    assert ((others - batch.frames.repeat(2, 1, 1, 1)).abs().mean((1, 2, 3)) > 0.03).all()


# -- sets ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    """Small sets of both kinds: 16 frames, 2 clips of 22 frames."""
    folder = tmp_path_factory.mktemp("sets")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(draw, "FRAMES", 16)
        patch.setattr(draw, "CLIPS", 2)
        patch.setattr(draw, "LENGTH", 22)
        write_shard(folder, Recipe("frames"), 0)
        write_shard(folder, Recipe("clips"), 0)
        yield folder


def test_a_shard_is_drawn_once_and_always_the_same(sets, tmp_path):
    first = read_set(sets, "frames")
    assert first["frames"].shape == (16, 128, 128, 3)
    assert first["landmarks"].shape == (16, 68, 2)
    assert 0.3 < first["landmarks"].mean() < 0.7
    clips = read_set(sets, "clips")
    assert clips["crops"].shape == (2, 22, *draw.STORED, 3)
    assert clips["audio"].shape == (2, 22 * 640)
    assert np.abs(clips["audio"]).max() > 0.01
    stamp = (sets / "frames-00000.npz").stat().st_mtime_ns
    write_shard(sets, Recipe("frames"), 0)
    assert (sets / "frames-00000.npz").stat().st_mtime_ns == stamp
    again = draw.spoken(Recipe("clips"), 1, 22 / 25)[1].motion(np.arange(22) / 25)
    assert np.array_equal(again, clips["motion"][1])
    other = draw.spoken(Recipe("clips", "test"), 1, 22 / 25)[1].motion(np.arange(22) / 25)
    assert not np.array_equal(again, other)
    assert Recipe("frames").seed_of(0, "a") != Recipe("frames", seed=1).seed_of(0, "a")
    with pytest.raises(ValueError, match="holds no frames; draw some"):
        read_set(tmp_path, "frames")


# -- training -----------------------------------------------------------------------------------------------------


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(reader_training, "BATCH", 6)
    monkeypatch.setattr(reader_training, "NEGATIVES", 2)
    monkeypatch.setattr(sync_training, "BATCH", 2)
    monkeypatch.setattr(sync_training, "LENGTH", 22)
    monkeypatch.setattr(sync_training, "WINDOWS", 17)


def make(net, sets, seed=0):
    kind, task = {"reader": ("frames", ReaderTask), "sync": ("clips", SyncTask)}[net]
    return task(read_set(sets, kind), None, seed)


@pytest.mark.parametrize("net", ["reader", "sync"])
def test_training_goes_on_where_it_stopped(net, sets, small, tmp_path, capsys):
    plan = Plan(steps=4, rate=1e-3, warm=2)
    whole = Trainer(make(net, sets), plan, tmp_path / "whole.st")
    whole.run()
    Trainer(make(net, sets), plan, tmp_path / "parts.st").run(until=2)
    rest = Trainer(make(net, sets), plan, tmp_path / "parts.st")
    assert rest.step == 2
    rest.run()
    one, two = read_tensors(tmp_path / "whole.st")[0], read_tensors(tmp_path / "parts.st")[0]
    assert one.keys() == two.keys()
    for name, value in one.items():
        assert torch.allclose(value.float(), two[name].float(), atol=2e-5), name
    begun = make(net, sets).net.state_dict()
    assert any(not torch.equal(begun[name], one[f"net.{name}"]) for name in begun)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert any("resumed" in line for line in lines)
    export(tmp_path / "whole.st", tmp_path / "net.safetensors")
    exported = weights_of(tmp_path / "net.safetensors")
    assert exported.keys() == begun.keys()
    assert (tmp_path / "net.safetensors").stat().st_size < 4e6
    other = make(net, sets, seed=1).net.state_dict()
    assert any(not torch.equal(other[name], begun[name]) for name in begun)


def test_the_command_line_trains_exports_and_judges(sets, small, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(reader_training, "BATCH", 8)
    data, checkpoint = str(sets), str(tmp_path / "reader.st")
    train = ["train", "reader", "--data", data, "--checkpoint", checkpoint, "--steps", "2"]
    assert main([*train, "--until", "1"]) == 0
    assert main(train) == 0
    out = tmp_path / "out.safetensors"
    assert main(["export", "reader", "--checkpoint", checkpoint, "--held-out", data, "--out", str(out)]) == 0
    assert weights_of(out)["strangers"].shape == (16, len(reader_training.GEOMETRY))
    start = ["train", "reader", "--data", data, "--checkpoint", str(tmp_path / "b.st"), "--steps", "1"]
    assert main([*start, "--start", str(out)]) == 0
    capsys.readouterr()
    assert main(["evaluate", "reader", "--held-out", data, "--weights", str(out)]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["frames"] for row in rows] == ["as drawn", "degraded", *UNSEEN]
    assert all(row["error"] > 0 for row in rows)
    assert main(["evaluate", "reader", "--held-out", str(tmp_path / "none")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
