"""Puppets that are drawn once and kept: the same pictures as drawn anew, with the sound that belongs to them."""

from __future__ import annotations

import resource

import numpy as np
import pytest
import torch

from fctfg import recipes
from fctfg.data.clips import DataError
from fctfg.data.puppets.motion import MOTION, RANGES, index
from fctfg.nets.mel import windows_at
from fctfg.train.distributed import World
from fctfg.train.feeding import open_data
from fctfg.train.framing import Framed
from fctfg.train.kept_puppets import KeptPuppets
from fctfg.train.puppet_data import LIPS, SHOWN, UPPER, PuppetData

LEVEL = 1 / 127  # a byte's rounding, of pictures in [-1, 1]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def drawn(folder):
    return PuppetData(32, clips=4, cache=folder, workers=1, other_lips=True)


@pytest.fixture(scope="module")
def kept(drawn, folder):
    return KeptPuppets(drawn, 6, folder)


def test_the_driver_s_lips_alone_are_another_moment_s(drawn):
    shown = []

    class Seen(PuppetData):
        def _drawn(self, who, motion):
            shown.append(motion)
            return super()._drawn(who, motion)

    seen = object.__new__(Seen)
    seen.__dict__.update(drawn.__dict__)
    made = seen.windows([3, 8])
    true, driving = shown[0][:, 1:], shown[1]
    others = [i for i in range(len(MOTION)) if i not in LIPS]
    assert [MOTION[i] for i in LIPS] == ["mouth_open", "mouth_width", "mouth_round"]
    assert torch.equal(true[..., others], driving[..., others])
    at = drawn.places([3, 8])
    wrong = torch.from_numpy(at.wrong)[:, None] + torch.arange(5)
    expected = drawn.pool.motion[torch.from_numpy(at.clip)[:, None], wrong]
    assert torch.equal(driving[..., LIPS], expected[..., LIPS])
    assert not torch.equal(true[..., LIPS], driving[..., LIPS])
    # the pictures differ about the mouth and nowhere in the upper half
    difference = (made.target - made.driving).abs()
    assert difference[..., 16:, :].max() > 0.1
    assert difference[..., :12, :].max() < 1e-4


def test_kept_windows_are_those_drawn_anew(drawn, kept):
    ours, theirs = kept.windows([0, 5, 2]), drawn.windows([0, 5, 2])
    for name in ("source", "driving", "target"):
        assert (getattr(ours, name) - getattr(theirs, name)).abs().max() <= LEVEL, name
    for name in ("mels", "mel_window", "wrong_window"):
        assert torch.equal(getattr(ours, name), getattr(theirs, name)), name
    again = kept.windows([6, 11, 8])  # modulo six
    assert torch.equal(again.target, ours.target)
    assert torch.equal(kept.sync([5]).driving, ours.target[1:2])  # the expert sees the lips that belong to the sound
    assert torch.equal(kept.sync([5]).mel_window, ours.mel_window[1:2])


def test_what_is_kept_is_not_drawn_again(drawn, kept, folder, monkeypatch):
    before = kept.windows(range(6))

    def never(*_):
        raise AssertionError("drawn again")

    monkeypatch.setattr(PuppetData, "windows", never)
    again = KeptPuppets(drawn, 6, folder)
    assert torch.equal(again.windows(range(6)).driving, before.driving)
    assert again.describe() == kept.describe()
    assert again.describe() != drawn.describe()


def test_other_settings_are_other_files(drawn, folder):
    plain = PuppetData(32, clips=4, cache=folder, workers=1)
    assert KeptPuppets(plain, 6, folder).pictures.filename != KeptPuppets(drawn, 6, folder).pictures.filename
    assert KeptPuppets(plain, 6, folder).windows([1]).target is None


def test_shorter_windows_are_stretches_of_the_kept_ones_with_their_own_sound(folder, kept):
    single = KeptPuppets(PuppetData(32, clips=4, cache=folder, workers=1, window=1, other_lips=True), 6, folder)
    assert single.pictures.filename == kept.pictures.filename
    at = single.drawn.places(np.arange(60) % 6)
    made = single.windows(range(60))
    whole = kept.windows(range(6))
    shifts = set()
    for i in range(60):
        (shift,) = [s for s in range(5) if torch.equal(made.target[i, 0], whole.target[i % 6, s])]
        assert torch.equal(made.driving[i, 0], whole.driving[i % 6, shift])
        heard = kept.drawn.pool.mels[at.clip[i]][None]
        frame = torch.tensor([[int(at.start[i]) + shift]])
        assert torch.equal(made.mels[i], windows_at(heard, frame, rule="training")[0])
        shifts.add(shift)
    assert shifts == set(range(5))


def test_frames_are_the_source_or_one_of_the_window(kept):
    frames, whole = kept.frames(range(48)), kept.windows(range(6))
    seen = set()
    for i, frame in enumerate(frames):
        pictures = torch.cat([whole.source[i % 6][None], whole.target[i % 6]])
        seen |= {k for k in range(6) if torch.equal(frame, pictures[k])}
        assert any(torch.equal(frame, p) for p in pictures)
    assert seen == set(range(6))


def test_framing_cuts_a_square_the_same_for_all_frames_of_a_sample(kept):
    same = Framed(kept, 32)
    assert torch.equal(same.windows([0, 1]).driving, kept.windows([0, 1]).driving)
    near = Framed(kept, 16, 1.5)
    squares = near._squares("windows", range(400))
    sides = squares[:, 2]
    assert (squares[:, :2] >= 0).all()
    assert (squares[:, 0] + sides <= 1 + 1e-9).all()
    assert (squares[:, 1] + sides <= 1 + 1e-9).all()
    assert 0.4 < (sides == 1).mean() < 0.6
    assert sides.min() < 0.7
    assert sides.min() >= 1 / 1.5 - 1e-9
    made = near.windows(range(8))
    assert made.source.shape == (8, 3, 16, 16)
    assert made.target.shape == (8, 5, 3, 16, 16)
    wide = Framed(kept, 16).windows(range(8)).target
    for i, side in enumerate(sides[:8]):
        assert torch.equal(made.target[i], wide[i]) == (side == 1)
    with pytest.raises(ValueError, match="nearest"):
        Framed(kept, 16, 0.5)


def test_the_recipe_says_what_is_kept_and_how_it_is_framed(monkeypatch, tmp_path):
    monkeypatch.setenv("FCTFG_CACHE", str(tmp_path))
    monkeypatch.setattr("fctfg.train.cache.cache_folder", lambda: tmp_path / "weights")
    recipe = recipes.override(
        recipes.demo(), "pool=2", "kept=3", "generator.size=16", "encoder.size=0", "drawn_size=32"
    )
    feed = open_data("fctfg", recipe, "puppets", World(torch.device("cpu")), workers=1)
    assert isinstance(feed.source, Framed)
    assert isinstance(feed.source.source, KeptPuppets)
    assert {"kept": 3, "size": 16, "nearest": 1.5, "other_lips": True}.items() <= feed.describe().items()
    batch = next(feed.batches(0))
    assert batch["driving"].shape == (recipe.fctfg.batch, 5, 3, 16, 16)
    assert not torch.equal(batch["driving"], batch["target"])
    with pytest.raises(DataError, match="lively is for drawn puppets"):
        open_data("stylegan2", recipes.override(recipe, "lively=0.5"), str(tmp_path), World(torch.device("cpu")))
    with pytest.raises(DataError, match="other_lips is for drawn puppets"):
        open_data("fctfg", recipe, str(tmp_path), World(torch.device("cpu")))


def test_fewer_frames_can_be_kept_but_not_for_the_expert(drawn, folder):
    single = KeptPuppets(
        PuppetData(32, clips=4, cache=folder, workers=1, window=1, other_lips=True), 3, folder, frames=1
    )
    assert single.pictures.shape == (3, 3, 3, 32, 32)
    made, straight = single.windows([1, 4]), single.drawn.windows([1])
    assert torch.equal(made.target[0], made.target[1])
    for name in ("source", "driving", "target", "mels"):
        assert (getattr(made, name)[0] - getattr(straight, name)[0]).abs().max() < LEVEL
    with pytest.raises(DataError, match="kept_frames is 1"):
        single.sync([0])


def test_lively_samples_wear_looks_of_their_own_and_the_sound_s_lips(drawn, folder):
    settings = {"clips": 4, "cache": folder, "workers": 1, "other_lips": True, "known": True}
    lively = PuppetData(32, lively=0.6, **settings)
    plain = PuppetData(32, **settings)
    assert "lively" not in plain.describe()
    assert lively.describe()["lively"] == 0.6
    which = range(200)
    at, frames = plain.places(which), torch.arange(5).expand(200, 5)
    ours, theirs = (data._moving(which, at, frames) for data in (lively, plain))
    changed = (ours != theirs).any(-1).any(-1)
    assert 0.5 < changed.float().mean() < 0.7
    others = [i for i in range(len(MOTION)) if i not in UPPER]
    assert torch.equal(ours[..., others], theirs[..., others])
    looks = ours[changed][..., UPPER]
    assert (looks[:, 1:] == looks[:, 1:2]).all()  # one look for the window
    assert (looks[:, 0] - looks[:, 1]).abs().mean() > 0.3  # another one for the source
    low, high = (torch.tensor([RANGES[MOTION[i]][k] for i in UPPER]) for k in (0, 1))
    assert ((looks >= low) & (looks <= high)).all()
    assert (looks[:, 1].std(0) > 1.2 * theirs[:, 1][..., UPPER].std(0)).all()
    some = [int(i) for i in changed.nonzero()[:3]]
    kept = KeptPuppets(lively, 200, folder)
    assert (kept.sync(some).driving - lively.sync(some).driving).abs().max() < LEVEL
    with pytest.raises(ValueError, match="a share of the samples, from 0 to 1"):
        PuppetData(32, lively=2, **settings)
    # what is told is what is drawn
    one = [int(changed.nonzero()[0])]
    told, drawn_plain = lively.windows(one), plain.windows(one)
    assert not torch.equal(told.target, drawn_plain.target)
    gaze = [MOTION[i] for i in SHOWN].index("gaze_x")
    every = plain.pool.motion.flatten(0, 1)[:, index("gaze_x")]
    expected = (ours[one[0], :, index("gaze_x")] - every.mean()) / every.std()
    assert torch.allclose(told.motion[0, :, gaze], expected, atol=1e-4)


def test_a_full_disk_is_met_before_anything_is_drawn(drawn, tmp_path):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(DataError, match=r"cannot be kept \(File too large\); make room, or --set kept=0"):
            KeptPuppets(drawn, 6, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
