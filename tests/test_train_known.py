"""What puppets know of their pictures, and the losses of the last stage that ask for it."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import tiny_training as tiny
import torch

from fctfg import losses, model, recipes
from fctfg.data.clips import DataError
from fctfg.data.puppets.face import render
from fctfg.data.puppets.identity import N_FACTORS
from fctfg.data.puppets.motion import MOTION, index
from fctfg.train.data import Windows
from fctfg.train.distributed import World
from fctfg.train.fctfg import FCTFGStage, LabelReader
from fctfg.train.feeding import open_data
from fctfg.train.framing import Framed
from fctfg.train.kept_puppets import KeptPuppets
from fctfg.train.predecessors import Predecessor
from fctfg.train.puppet_data import SHOWN, PuppetData


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def drawn(folder):
    return PuppetData(32, clips=4, cache=folder, workers=1, other_lips=True, known=True)


def test_landmarks_and_motion_are_those_of_the_frames_that_should_come_out(drawn):
    made, at = drawn.windows([3, 8]), drawn.places([3, 8])
    start = torch.from_numpy(at.start)[:, None]
    clip = torch.from_numpy(at.clip)[:, None]
    motion = drawn.pool.motion[clip, start + torch.arange(5)]
    source = drawn.pool.motion[clip, torch.from_numpy(at.source)[:, None]]
    who = drawn.people("windows", [3, 8], at.clip)
    for i in range(2):
        seen = render(dataclasses.replace(who, values=who.values[[i] * 5]), motion[i], 128).landmarks
        assert (made.landmarks[i] * 128 - (seen + 0.5)).abs().max() < 0.6  # pixels of 128
    every = drawn.pool.motion.flatten(0, 1)
    column = [MOTION[i] for i in SHOWN].index("mouth_open")
    lips = every[:, index("mouth_open")]
    expected = (torch.cat([source, motion], 1)[..., index("mouth_open")] - lips.mean()) / lips.std()
    assert torch.allclose(made.motion[..., column], expected, atol=1e-5)
    assert len(SHOWN) == len(MOTION) - 3
    assert torch.equal(made.person, who.values * 3**0.5)


def test_nobody_is_told_unless_asked(folder, drawn):
    silent = PuppetData(32, clips=4, cache=folder, workers=1, other_lips=True)
    told, untold = drawn.windows([5]), silent.windows([5])
    assert set(told.named()) - set(untold.named()) == {"landmarks", "motion", "person"}
    assert all(torch.equal(told.named()[name], value) for name, value in untold.named().items())
    assert silent.describe() == drawn.describe()  # the pictures are the same: so is the file that keeps them


@pytest.mark.parametrize("window", [1, 5])
def test_kept_windows_tell_of_the_stretch_that_is_shown(folder, drawn, window):
    source = PuppetData(32, clips=4, cache=folder, workers=1, other_lips=True, known=True, window=window)
    kept, whole = KeptPuppets(source, 6, folder), drawn.windows(range(6))
    made = kept.windows(range(6))
    assert made.landmarks.shape == (6, window, 68, 2)
    for i in range(6):
        pictures = (whole.target[i] * 127.5).round() / 127.5
        stretch = [int((pictures - frame).abs().mean((1, 2, 3)).argmin()) for frame in made.target[i]]
        assert torch.allclose(made.landmarks[i], whole.landmarks[i, stretch], atol=2e-3)
        assert torch.allclose(made.motion[i], whole.motion[i, [0, *(1 + k for k in stretch)]], atol=1e-5)
    assert torch.equal(made.person, whole.person)


class Ramps:
    """Pictures whose red says how far right a pixel lies and whose green how far down, as fractions; and a landmark."""

    size, device = 64, torch.device("cpu")

    def describe(self):
        return {"seed": 0, "split": "train"}

    def windows(self, indices):
        n, at = len(indices), (torch.arange(64) + 0.5) / 64
        picture = torch.stack([at.expand(64, 64), at[:, None].expand(64, 64), 0 * at.expand(64, 64)])
        frames = picture.expand(n, 1, 3, 64, 64)
        nothing = torch.zeros(n, 1, 80, 16)
        points = torch.full((n, 1, 68, 2), 0.5) + torch.tensor([0.03, 0.06])
        return Windows(frames, nothing, nothing, picture.expand(n, 3, 64, 64), nothing[:, None], frames, points)


def test_landmarks_move_with_the_framing():
    framed = Framed(Ramps(), 64, 1.5)
    sides = framed._squares("windows", range(40))[:, 2]
    assert sides.min() < 0.75
    made = framed.windows(range(40))
    moved = 0
    for target, points in zip(made.target[:, 0], made.landmarks[:, 0], strict=True):
        moved += not torch.allclose(points[0], torch.tensor([0.53, 0.56]))
        column, row = (points[0] * 64 - 0.5).round().int().tolist()
        assert target[0, row, column] == pytest.approx(0.53, abs=1.5 / 64)
        assert target[1, row, column] == pytest.approx(0.56, abs=1.5 / 64)
    assert moved > 10


def test_brows_eyes_and_lips_count_more():
    points = torch.rand(3, 68, 2, generator=torch.Generator().manual_seed(1))
    points[0] = points[0] * 0.1 + 0.4
    points[1] = points[1] + 2  # out of the picture
    weight = losses.around_parts(points, 9.0, 40)
    assert weight.shape == (3, 1, 40, 40)
    assert torch.allclose(weight.mean((1, 2, 3)), torch.ones(3))
    assert torch.allclose(weight[1], torch.ones(1, 40, 40))
    literal = np.ones((40, 40))
    for part in (range(17, 22), range(22, 27), range(36, 42), range(42, 48), range(48, 68)):
        box = points[0, list(part)].numpy()
        (left, top), (right, bottom) = box.min(0) - 0.015, box.max(0) + 0.015
        for row in range(40):
            for column in range(40):
                x, y = (column + 0.5) / 40, (row + 0.5) / 40
                if left + 0.0126 < x < right - 0.0126 and top + 0.0126 < y < bottom - 0.0126:
                    literal[row, column] = 9  # wholly within
                elif left - 0.0126 < x < right + 0.0126 and top - 0.0126 < y < bottom + 0.0126:
                    literal[row, column] = np.nan if literal[row, column] == 1 else literal[row, column]
    sure = np.isfinite(literal)
    ratio = weight[0, 0] / weight[0, 0].min()
    assert np.allclose(ratio.numpy()[sure], literal[sure], rtol=1e-4)
    assert (literal == 9).sum() > 4
    assert ((ratio >= 1) & (ratio <= 9 + 1e-4)).all()


def told(n=4, window=5) -> dict[str, torch.Tensor]:
    random = torch.Generator().manual_seed(3)
    return {
        "landmarks": torch.rand(n, window, 68, 2, generator=random),
        "motion": torch.randn(n, 1 + window, len(SHOWN), generator=random),
        "person": torch.randn(n, N_FACTORS, generator=random),
    }


def stage(earlier, *assignments) -> FCTFGStage:
    alone = ("losses.gan=0", "losses.sync=0", "losses.perceptual=0", "losses.ortho=0")
    return tiny.in_hand(earlier, *alone, *assignments)


def test_the_weights_of_parts_and_of_the_box_are_multiplied(earlier):
    built = stage(earlier, "losses.parts_gain=5", "losses.reconstruction_gain=2")
    batch = {**tiny.Moving("fctfg", 4).held_out()[0], **told()}
    with torch.no_grad():
        generated, codes = built.model(batch["source"], batch["driving"], batch["mels"])
        part = built.parts(generated, codes, batch)["reconstruction"]
    expected = 0.0
    box = losses.inside_box(built.recipe.losses.reconstruction_box, 2.0, 32)
    for b in range(4):
        for t in range(5):
            parts = losses.around_parts(batch["landmarks"][b, t][None], 5.0, 32)[0, 0]
            difference = (generated[b, t] - batch["driving"][b, t]).abs()
            expected += float((difference * parts * box).mean()) / 20
    assert float(part) == pytest.approx(expected, rel=1e-5)


def test_labels_are_read_from_the_codes_that_should_hold_them(earlier):
    built = stage(earlier, "losses.labels=0.5")
    assert isinstance(built.reader, LabelReader)
    batch = {**tiny.Moving("fctfg", 4).held_out()[0], **told()}
    _, codes = built.model(batch["source"], batch["driving"], batch["mels"])
    loss = built.reader(built.model, codes, batch["motion"], batch["person"])
    wrt = torch.autograd.grad(loss, [codes.motion, codes.canonical, codes.source], allow_unused=True)
    assert all(g is not None and g.abs().sum() > 0 for g in wrt)
    manipulated = list(built.model.layers)
    assert (wrt[2][:, [i for i in range(wrt[2].shape[1]) if i not in manipulated]] != 0).any()
    # another driver says nothing of the person, and another source nothing of the driver's motion
    other = model.Codes(codes.source, codes.canonical, codes.motion.flip(0), codes.styles, codes.audio)
    motion, nobody = batch["motion"].clone(), torch.zeros_like(batch["person"])
    before = built.reader(built.model, codes, motion, nobody).detach()
    motion[:, 1:] = motion[:, 1:].flip(0)
    assert float(built.reader(built.model, other, motion, nobody).detach()) == pytest.approx(float(before), rel=1e-5)
    motion[:, 0, built.reader.lips] += 100  # the source's lips are not asked for
    assert float(built.reader(built.model, other, motion, nobody).detach()) == pytest.approx(float(before), rel=1e-5)
    motion[:, 0] += 100
    assert float(built.reader(built.model, other, motion, nobody).detach()) > 2 * float(before)


def test_motion_is_read_from_what_was_drawn_and_neither_reader_nor_average_learns_from_it(earlier):
    built = stage(earlier, "losses.labels=0.5", "losses.labels_drawn=0.5")
    batch = {**tiny.Moving("fctfg", 4).held_out()[0], **told()}
    generated, codes = built.model(batch["source"], batch["driving"], batch["mels"])
    loss = built.parts(generated, codes, batch)["labels_drawn"]
    net, expected = built.average_model, 0.0
    lips = [MOTION.index(name) for name in ("mouth_open", "mouth_width", "mouth_round")]
    columns = [k for k, i in enumerate(SHOWN) if i not in lips]
    with torch.no_grad():
        for b in range(4):
            for t in range(5):
                rows = net.encode(generated[b, t][None])[:, list(net.layers)]
                code = net.motion_code(rows, torch.zeros(1, net.audio_encoder.dim))
                off = (built.reader.motion(code.flatten(1))[0] - batch["motion"][b, 1 + t]).abs()[columns]
                expected += float(torch.where(off < 1, off**2 / 2, off - 0.5).mean()) / 20
    assert float(loss.detach()) == pytest.approx(expected, rel=1e-4)
    loss.backward()
    assert all(p.grad is None for p in [*built.reader.parameters(), *net.parameters()])
    assert built.model.generator.convs[0].conv.weight.grad.abs().sum() > 0


def test_reading_what_was_drawn_needs_a_reader(earlier):
    with pytest.raises(ValueError, match=r"--set losses\.labels=0\.2"):
        stage(earlier, "losses.labels_drawn=0.5")


def test_the_reader_learns_and_is_kept_but_not_exported(earlier, tmp_path):
    built = stage(earlier, "losses.labels=1", "losses.reconstruction=0", "fctfg.rate=3e-3")
    batch = {**tiny.Moving("fctfg", 4).held_out()[0], **told()}
    first = float(built.step(batch, 0)["labels"])
    for step in range(1, 60):
        last = float(built.step(batch, step)["labels"])
    assert last < 0.5 * first
    assert set(built.nets) == {"model", "reader"}
    assert set(built.ema) == {"model"}
    trained = Predecessor(tmp_path, {name: net.state_dict() for name, net in built.nets.items()}, built.recipe, 60)
    on = stage(earlier, "losses.labels=1")
    on.start_from(trained)  # what was learned to be read goes on being read
    assert all(torch.equal(a, b) for a, b in zip(on.reader.parameters(), built.reader.parameters(), strict=True))


def test_only_puppets_know(tmp_path):
    recipe = recipes.override(recipes.demo(), "losses.parts_gain=3", "other_lips=false")
    with pytest.raises(DataError, match="need drawn puppets"):
        open_data("fctfg", recipe, str(tmp_path), World(torch.device("cpu")))
