"""Puppets' faces: truth against pixels, determinism, sizes, and that batches do not mix."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from fctfg.data.puppets import splat
from fctfg.data.puppets.face import CAMERA, MIDDLE, PIVOT, VIEW, render
from fctfg.data.puppets.identity import FACTORS, Identity, sample_identity
from fctfg.data.puppets.motion import MOTION, RANGES, index, neutral, rotation

ROOT = Path(__file__).resolve().parent.parent
SIZE = 128


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # more threads only wait for each other on pictures this small
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def plain() -> Identity:
    """Three people without glasses, fringe or beard: nothing hides their features."""
    return sample_identity(11, 3).replace(glasses=-1, beard=-1, moustache=-1, fringe=-1, light_softness=1)


def moved(batch: int, **columns: float | torch.Tensor) -> torch.Tensor:
    motion = neutral(batch)
    for name, value in columns.items():
        motion[:, index(name)] = value
    return motion


def changed(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Largest change of a channel, ``(B, H, W)``."""
    return (a - b).abs().amax(1)


def box(points: torch.Tensor, margin: float) -> torch.Tensor:
    """A mask ``(SIZE, SIZE)`` that is true within ``margin`` pixels of the points' bounding box."""
    y, x = torch.meshgrid(torch.arange(SIZE), torch.arange(SIZE), indexing="ij")
    low, high = points.amin(0) - margin, points.amax(0) + margin
    return (x >= low[0]) & (x <= high[0]) & (y >= low[1]) & (y <= high[1])


def test_names_and_ranges():
    assert len(FACTORS) == len(set(FACTORS)) >= 30
    assert set(RANGES) == set(MOTION)
    values = sample_identity(3, 500).values
    assert values.shape == (500, len(FACTORS))
    assert values.abs().max() <= 1
    assert values.std(0).min() > 0.3


def test_one_seed_one_population():
    same = sample_identity(torch.Generator().manual_seed(5), 4).values
    assert torch.equal(sample_identity(5, 4).values, same)
    assert not torch.equal(sample_identity(6, 4).values, same)


def test_a_blink_changes_its_eye_and_nothing_else(plain):
    still = render(plain, neutral(3), SIZE)
    blink = render(plain, moved(3, blink_l=1.0), SIZE)
    difference = changed(still.frames, blink.frames)
    for i in range(3):
        eye = box(still.landmarks[i, 42:48], 5)  # the subject's left eye is on the right of the image
        assert still.landmarks[i, 42:48, 0].mean() > still.landmarks[i, 36:42, 0].mean()
        assert difference[i][eye].max() > 0.2
        assert difference[i][~eye].max() < 0.02
    gap = lambda r: (r.landmarks[:, 46:48].mean(1) - r.landmarks[:, 43:45].mean(1))[:, 1]  # noqa: E731
    assert (gap(still) > 2).all()
    assert (gap(blink).abs() < 0.2).all()


def test_an_opening_mouth_changes_the_lower_face_only(plain):
    still = render(plain, neutral(3), SIZE)
    wide = render(plain, moved(3, mouth_open=0.8), SIZE)
    difference = changed(still.frames, wide.frames)
    for i in range(3):
        nose = int(still.landmarks[i, 33, 1])
        assert difference[i, : nose - 6].max() < 0.03
        assert difference[i, nose:].max() > 0.3
        # between the open lips it is darker than the lips were
        x, top, bottom = wide.landmarks[i, 66, 0], wide.landmarks[i, 62, 1], wide.landmarks[i, 66, 1]
        assert bottom - top > 5
        inside = wide.frames[i, :, int(bottom) - 2, int(x)]
        assert inside.mean() < still.frames[i, :, int(still.landmarks[i, 57, 1]) - 1, int(x)].mean()
    assert torch.allclose(still.landmarks[:, 17:31], wide.landmarks[:, 17:31], atol=0.05)
    assert torch.allclose(still.landmarks[:, 36:48], wide.landmarks[:, 36:48], atol=0.05)
    assert ((wide.landmarks[:, 8] - still.landmarks[:, 8])[:, 1] > 4).all()


@pytest.mark.parametrize(
    "turn", [{"yaw": 25.0}, {"pitch": 20.0}, {"roll": -30.0}, {"yaw": -40.0, "pitch": -10.0, "roll": 8.0}]
)
def test_landmarks_turn_as_projection_says(plain, turn):
    """Undo the neutral projection with a guessed depth: one depth per point must explain every other view."""
    views = [neutral(3), moved(3, yaw=15.0), moved(3, **turn)]
    seen = [render(plain, m, SIZE).landmarks + 0.5 for m in views]
    pivot = torch.tensor(PIVOT)

    def project(points: torch.Tensor, motion: torch.Tensor) -> torch.Tensor:
        p = (points - pivot) @ rotation(motion)[0].T + pivot
        near = SIZE * CAMERA / ((CAMERA - p[..., 2]) * VIEW)
        return torch.stack([SIZE / 2 + near * p[..., 0], SIZE / 2 - near * (p[..., 1] - MIDDLE)], -1)

    depths = torch.linspace(-0.4, 1.4, 721)
    scale = VIEW * (CAMERA - depths) / (SIZE * CAMERA)
    xy = (seen[0][:, :, None] - SIZE / 2) * torch.tensor([1.0, -1.0]) * scale[:, None]
    xy = xy + torch.tensor([0.0, MIDDLE])
    points = torch.cat([xy, depths[:, None].expand(*xy.shape[:-1], 1)], -1)
    best = (project(points, views[1]) - seen[1][:, :, None]).norm(dim=-1).argmin(-1)
    solved = points.gather(2, best[..., None, None].expand(-1, -1, 1, 3))[:, :, 0]
    error = (project(solved, views[2]) - seen[2]).norm(dim=-1)
    assert error.max() < 0.6, "pixels"
    assert (seen[2] - seen[0]).norm(dim=-1).max() > 5


def test_positive_directions(plain):
    at = {name: render(plain, moved(3, **{name: 20.0}), SIZE).landmarks for name in ("yaw", "pitch", "roll")}
    still = render(plain, neutral(3), SIZE).landmarks
    assert (at["yaw"][:, 30, 0] > still[:, 30, 0] + 5).all()
    assert (at["pitch"][:, 30, 1] < at["pitch"][:, 0, 1] + still[:, 30, 1] - still[:, 0, 1] - 3).all()
    assert (at["roll"][:, 45, 1] > at["roll"][:, 36, 1] + 5).all()
    shifted = render(plain, moved(3, tx=0.05, ty=-0.05), SIZE).landmarks
    assert torch.allclose(shifted - still, torch.tensor([0.05, -0.05]) * SIZE, atol=1e-3)


def darkest(frame: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
    """Centroid of darkness inside an eye's polygon box, x and y in pixels."""
    x0, y0 = points.amin(0).ceil().int().tolist()
    x1, y1 = points.amax(0).floor().int().tolist()
    dark = (0.55 - frame[:, y0 : y1 + 1, x0 : x1 + 1].mean(0)).clamp(min=0) ** 2
    y, x = torch.meshgrid(torch.arange(y0, y1 + 1.0), torch.arange(x0, x1 + 1.0), indexing="ij")
    return torch.stack([(dark * x).sum(), (dark * y).sum()]) / dark.sum()


def test_gaze_moves_the_iris(plain):
    who = plain.replace(iris_light=-1.0, skin_tone=-0.6, eye_tilt=0.0)
    looks = {g: render(who, moved(3, gaze_x=g), 256) for g in (-1.0, 0.0, 1.0)}
    for i in range(3):
        for eye in (slice(36, 42), slice(42, 48)):
            left, ahead, right = (darkest(r.frames[i], r.landmarks[i, eye])[0] for r in looks.values())
            assert left < ahead - 2 < right - 4
    # the eye's opening is where the landmarks say: dark iris in it, centred when looking ahead
    ahead = looks[0.0]
    for i in range(3):
        centre = ahead.landmarks[i, 36:42].mean(0)
        assert (darkest(ahead.frames[i], ahead.landmarks[i, 36:42]) - centre).abs().max() < 3


def test_lips_lie_between_their_landmarks(plain):
    """The reddest part of the mouth's neighbourhood is centred between the lips' landmarks."""
    who = plain.replace(lip_colour=1.0, skin_tone=-0.7, lip_upper=0.5, lip_lower=0.5)
    drawn = render(who, neutral(3), 256, detail=0.0)
    for frame, points in zip(drawn.frames, drawn.landmarks, strict=True):
        lips = points[48:60]
        x0, y0 = (lips.amin(0) - 8).int().tolist()
        x1, y1 = (lips.amax(0) + 8).int().tolist()
        patch = frame[:, y0:y1, x0:x1]
        red = (patch[0] - patch[1]) / patch.sum(0)
        strong = red > red.amin() + 0.6 * (red.amax() - red.amin())
        y, x = torch.meshgrid(torch.arange(y0, float(y1)), torch.arange(x0, float(x1)), indexing="ij")
        centre = torch.stack([x[strong].mean(), y[strong].mean()])
        middle = (lips.amin(0) + lips.amax(0)) / 2
        assert (centre - middle).abs().max() < 4
        assert abs((x[strong].max() - x[strong].min()) / (lips[:, 0].max() - lips[:, 0].min()) - 1) < 0.25


def test_the_far_side_is_hidden(plain):
    frontal = render(plain, neutral(3), SIZE)
    # a hanging tip may hide what lies under the nose
    assert frontal.visible[:, 27:31].all()
    assert frontal.visible[:, 36:68].float().mean() > 0.97
    turned = render(plain.replace(hair_length=-1), moved(3, yaw=45.0), SIZE)
    # the nose points to the right of the image, so the ear on the right is behind the cheek
    assert not turned.visible[:, 14:17].any()
    assert turned.visible[:, 36:42].all()
    outside = render(plain, moved(3, tx=0.1, roll=45.0), SIZE)
    inside = ((outside.landmarks > -0.5) & (outside.landmarks < SIZE - 0.5)).all(-1)
    assert not (outside.visible & ~inside).any()


@pytest.mark.parametrize("size", [16, 37, 64, 200])
def test_any_size(size, plain):
    drawn = render(plain, neutral(3), size)
    assert drawn.frames.shape == (3, 3, size, size)
    assert drawn.frames.min() >= 0
    assert drawn.frames.max() <= 1
    big = render(plain, neutral(3), 256).landmarks
    assert torch.allclose((drawn.landmarks + 0.5) / size, (big + 0.5) / 256, atol=0.006)


def test_a_batch_equals_one_by_one():
    who = sample_identity(2, 3)
    motion = moved(3, yaw=torch.tensor([-20.0, 0.0, 30.0]), mouth_open=torch.tensor([0.0, 0.5, 1.0]))
    together = render(who, motion, 64)
    for i in range(3):
        alone = render(who.pick([i]), motion[i : i + 1], 64)
        assert (together.frames[i] - alone.frames[0]).abs().mean() < 1e-4
        assert torch.allclose(together.landmarks[i], alone.landmarks[0], atol=1e-3)
        assert torch.equal(together.visible[i], alone.visible[0])
    chunked = render(who, motion, 64, chunk=2)
    assert (chunked.frames - together.frames).abs().mean() < 1e-4


def test_leaving_out_what_cannot_be_seen_changes_nothing(monkeypatch):
    """Processors skip hidden cells and work in blocks; other devices draw everything at once."""
    who, motion = sample_identity(2, 3), moved(3, yaw=torch.tensor([-40.0, 0.0, 20.0]), tx=0.1, scale=0.15)
    skipped = render(who, motion, SIZE)
    monkeypatch.setattr(splat, "_SPARSE", 0.0)
    monkeypatch.setattr(splat, "_BLOCK", 2**30)
    complete = render(who, motion, SIZE)
    assert torch.equal(skipped.frames, complete.frames)
    assert torch.equal(skipped.visible, complete.visible)


def test_two_processes_draw_the_same():
    code = (
        "import hashlib, torch; torch.set_num_threads(1)\n"
        "from fctfg.data.puppets.face import render\n"
        "from fctfg.data.puppets.identity import sample_identity\n"
        "from fctfg.data.puppets.motion import neutral\n"
        "r = render(sample_identity(9, 2), neutral(2), 64)\n"
        "print(hashlib.sha256(r.frames.numpy().tobytes() + r.landmarks.numpy().tobytes()).hexdigest())\n"
    )
    runs = [subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT) for _ in range(2)]
    assert runs[0].returncode == 0, runs[0].stderr
    assert runs[0].stdout == runs[1].stdout
    assert len(runs[0].stdout.strip()) == len(hashlib.sha256().hexdigest())


def test_identities_and_factors_show():
    who = sample_identity(4, 6)
    drawn = render(who, neutral(6), 64)
    for i in range(6):
        for j in range(i):
            assert (drawn.frames[i] - drawn.frames[j]).abs().mean() > 0.01
    # every factor leaves a trace in the picture or would be dead weight
    base = sample_identity(8, 1).replace(age=0.2, glasses=0.9, beard=0.6, moustache=0.6, fringe=-0.3, hair_length=0.2,
                                         waves=0.5, hair_warmth=0.4, hair_grey=0.4, freckles=0.4)  # fmt: skip
    base = base.replace(back_colour=0.8, cloth_colour=0.8, skin_tone=-0.3)
    pairs = Identity(base.values.repeat(2 * len(FACTORS), 1))
    for i, name in enumerate(FACTORS):
        low, high = {"glasses": (-1.0, 1.0)}.get(name, (0.1, 0.9))
        pairs.values[2 * i, i], pairs.values[2 * i + 1, i] = low, high
        if name.startswith("ear"):  # long hair covers the ears
            pairs.values[2 * i : 2 * i + 2, FACTORS.index("hair_length")] = -0.4
    frames = render(pairs, moved(len(pairs), yaw=12.0), 64).frames
    trace = (frames[::2] - frames[1::2]).abs().flatten(1).amax(1)
    dead = [name for name, t in zip(FACTORS, trace, strict=True) if t < 0.01]
    assert not dead


def test_less_detail_is_plainer(plain):
    full, less = render(plain, neutral(3), SIZE), render(plain, neutral(3), SIZE, detail=0.0)
    assert torch.equal(full.landmarks, less.landmarks)
    rough = lambda f: (f[..., 1:] - f[..., :-1]).abs().mean()  # noqa: E731
    assert rough(less.frames) < rough(full.frames)


def test_what_does_not_fit_is_said():
    who = sample_identity(0, 2)
    with pytest.raises(ValueError, match="motion must be"):
        render(who, torch.zeros(2, 3))
    with pytest.raises(ValueError, match="2 identities but 3"):
        render(who, neutral(3))
    with pytest.raises(ValueError, match="at least 16"):
        render(who, neutral(2), 8)
    with pytest.raises(KeyError, match="the columns are"):
        index("nod")
    with pytest.raises(KeyError, match="the factors are"):
        who.replace(height=1.0)
    with pytest.raises(ValueError, match="identity values"):
        Identity(torch.zeros(2, 3))
