"""Refining a source's codes draws the source better, and other frames of the same person, too; nothing else changes."""

from __future__ import annotations

import numpy as np
import pytest
import tiny_model
import torch

from fctfg import animate, generate, model_file
from fctfg.animate import Animator
from fctfg.checkpoints import BUNDLED
from fctfg.model import FCTFG
from fctfg.nets import mel
from fctfg.refine import refined

QUIET = torch.full((1, 1, mel.N_MELS, mel.WINDOW_COLUMNS), float(mel.SILENCE))


def drawn(model: FCTFG, picture: torch.Tensor, z_s: torch.Tensor, z_c: torch.Tensor) -> torch.Tensor:
    """The person of two codes, moved as ``picture`` is, silent."""
    with torch.no_grad():
        own = model.encode(picture)[:, list(model.layers)]
        motion = model.motion_code(own, model.audio_encoder(QUIET))[:, None]
        return model.generator.synthesis(model.styles(z_s, z_c, motion)[:, 0])


@pytest.mark.parametrize("untouched", ["source", "canonical"])
def test_a_planted_code_is_approached_and_the_model_left_alone(untouched):
    model = tiny_model.build(f"latent.untouched={untouched}").requires_grad_(False)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    picture = tiny_model.inputs(batch=1)[0]
    with torch.no_grad():
        z_s = model.encode(picture)
        z_c = model.canonical_code(z_s)
    torch.manual_seed(5)
    planted = drawn(model, picture, z_s + 0.3 * torch.randn_like(z_s), z_c + 0.3 * torch.randn_like(z_c))
    # The planted picture moves as the encoder reads it; what is left to find is the person.
    begin = (drawn(model, planted, z_s, z_c) - planted).abs().mean()
    found = refined(model, planted, z_s, z_c, QUIET, 60)
    assert (drawn(model, planted, *found) - planted).abs().mean() < 0.7 * begin
    again = refined(model, planted, z_s, z_c, QUIET, 60)
    assert all(torch.equal(a, b) and not a.requires_grad for a, b in zip(found, again, strict=True))
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_refinement_is_for_all_frames_of_a_source_and_off_unless_asked_for():
    model = tiny_model.build()
    source, driving = (np.random.default_rng(n).integers(0, 256, (n, 64, 64, 3)).astype(np.uint8) for n in (1, 7))
    plain, refining = Animator(model, "cpu"), Animator(model, "cpu", refine=5)
    kept = plain.bind(source), refining.bind(source)
    assert not torch.equal(kept[0].canonical, kept[1].canonical)
    made = [np.concatenate(list(a.animate(source, driving))) for a in (plain, refining, plain, refining)]
    assert np.array_equal(made[0], made[2])
    assert np.array_equal(made[1], made[3])
    assert not np.array_equal(made[0], made[1])
    with pytest.raises(ValueError, match="refine -1: give a number of steps, or 0"):
        Animator(model, "cpu", refine=-1)


def test_the_command_takes_steps(capsys):
    arguments = ["--source", "a.png", "--driving", "b.mp4", "--out", "c.mp4", "--refine", "-3"]
    assert generate.main(arguments) == generate.UNUSABLE
    assert "--refine -3: give a number of steps, or 0" in capsys.readouterr().err


def test_the_method_says_that_it_is_not_the_papers():
    from protocols import methods

    record = methods.describe(methods.load("fctfg-refined"), "fctfg-refined")
    assert record["name"] == "fctfg-refined"
    assert "optimised" in record["description"]
    assert methods.load("fctfg-refined")._ready().refine == 60
    assert methods.load("fctfg")._ready().refine == 0


@pytest.mark.skipif(not BUNDLED.is_file(), reason="no bundled checkpoint in this copy")
def test_other_frames_of_unseen_people_get_better_from_one():
    """Twelve drawn people, of each one picture that is refined on and one of another moment, pose and look."""
    from fctfg.train.framing import Framed
    from fctfg.train.puppet_data import PuppetData

    model = model_file.load_model(BUNDLED).eval().requires_grad_(False)
    r = model.recipe
    people = PuppetData(
        r.generator.size,
        "cpu",
        seed=11,
        window=1,
        source=r.fctfg.source,
        rule=r.audio.window_rule,
        workers=1,
        detail=r.detail,
        clips=r.pool,
    )
    window = Framed(people, r.generator.size, 2.0).windows(range(12))
    errors: dict[str, list[float]] = {"encoded": [], "refined": []}
    for k in range(12):
        source, driving = window.source[k : k + 1], window.driving[k : k + 1]
        with torch.no_grad():
            z_s = model.encode(source)
            z_c, motion = model.canonical_code(z_s), model.codes(source, driving, window.mels[k : k + 1]).motion
            for name, codes in (("encoded", (z_s, z_c)), ("refined", refined(model, source, z_s, z_c, QUIET, 40))):
                frame = model.generator.synthesis(model.styles(*codes, motion)[:, 0])
                errors[name].append((frame - driving[:, 0]).square().mean().item())
    mean = {name: float(np.mean(values)) for name, values in errors.items()}
    assert mean["refined"] < 0.9 * mean["encoded"], mean


def test_loading_hands_the_steps_on(tmp_path):
    model_file.save_model(tmp_path / "tiny.safetensors", tiny_model.build())
    assert animate.load(tmp_path / "tiny.safetensors", "cpu", refine=4).refine == 4
