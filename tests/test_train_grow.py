"""A stage that starts from another's end: from half the size, or from its own with other settings."""

from __future__ import annotations

import pytest
import tiny_training as tiny
import torch

from fctfg import model
from fctfg.nets.generator import Generator
from fctfg.nets.ops import Upsample
from fctfg.train import checkpoint, launch, predecessors, stylegan2
from fctfg.train.checkpoint import CheckpointError
from fctfg.train.distributed import World
from fctfg.train.fctfg import FCTFGStage
from fctfg.train.grow_model import grow_model
from fctfg.train.inversion import Inversion


def test_a_generator_grows_from_half_the_size(tmp_path):
    half = ("generator.size=16",)
    tiny.train("stylegan2", tmp_path / "half", 2, *half)
    recipe = tiny.recipe("stylegan2.steps=1")
    options = launch.Options(tmp_path / "whole", grow_from=tmp_path / "half")
    world = World(torch.device("cpu"))
    built = stylegan2.StyleGAN2(recipe, tiny.context())
    built.grow_from(predecessors.find(tmp_path / "half", "stylegan2", None, None, ()))
    small = Generator(16, 16, 2, 2**-7, 8)
    small.load_state_dict(predecessors.find(tmp_path / "half", "stylegan2", None, None, ()).state("generator"))
    w = torch.randn(2, 1, 16)
    large = built.generator.synthesis(w.expand(-1, 8, -1))
    enlarged = built.generator.to_rgbs[-1].upsample(small.synthesis(w.expand(-1, 6, -1)))
    assert torch.allclose(large, enlarged, atol=1e-5)
    assert launch.launch("stylegan2", recipe, tiny.Moving("stylegan2", 8), world, options)


def test_an_encoder_may_see_more_than_the_generator_draws_and_keeps_its_heads_as_that_grows(earlier, tmp_path):
    seen = ("encoder.size=64", "encoder.tile=2", "inversion.train_generator=true")
    small = tiny.in_hand(earlier, *seen, kind=Inversion)
    pictures = {"pictures": torch.rand(8, 3, 64, 64) * 2 - 1}
    small.step(pictures, 0)
    assert small.sample(pictures).shape == (16, 3, 32, 32)
    assert small.evaluate(pictures)["l1"] < 2
    states = {"encoder": small.encoder.state_dict(), "generator": small.generator.state_dict()}
    trained = predecessors.Predecessor(tmp_path, states, small.recipe, 1)
    tiny.train("stylegan2", tmp_path, 1, "generator.size=64")
    larger = tiny.recipe("generator.size=64", *seen)
    found = predecessors.find
    grown = Inversion(larger, tiny.context(), lambda s, sections: found(tmp_path, s, None, None, ()))
    grown.grow_from(trained)
    kept = grown.encoder.state_dict()
    assert all(torch.equal(kept[name], value) for name, value in states["encoder"].items())
    assert sum(name.startswith("styles.") for name in kept) > sum(
        name.startswith("styles.") for name in states["encoder"]
    )


@pytest.mark.parametrize(
    "choice",
    [(), ("latent.fusion=lstm",), ("latent.fusion_shared=true",), ("latent.untouched=canonical", "latent.fusion=none")],
)
def test_a_grown_model_draws_at_first_what_the_small_one_drew(choice):
    seen = ("encoder.size=64", "encoder.tile=2", *choice)
    torch.manual_seed(1)
    small, large = (model.build(tiny.recipe(f"generator.size={size}", *seen)).eval() for size in (32, 64))
    for parameter in small.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    small.average.normal_()
    for noise in small.generator.noises.buffers():
        noise.zero_()
    large.load_state_dict(grow_model(small.state_dict(), small, large))
    wide = tiny.Moving("fctfg", 2, side=64).held_out()[0]
    with torch.no_grad():
        (ours, _), (theirs, _) = (m(wide["source"], wide["driving"], wide["mels"]) for m in (large, small))
        enlarged = Upsample()(theirs.flatten(0, 1)).unflatten(0, theirs.shape[:2])
    assert theirs.std() > 0.05
    assert (ours - enlarged).abs().max() < 1e-4 * theirs.abs().max()
    other = model.build(tiny.recipe("generator.size=64", *seen, "latent.hidden=8"))
    with pytest.raises(ValueError, match="grow with the same style_dim and widths"):
        grow_model(small.state_dict(), small, other)


def test_the_last_stage_grows(earlier, tmp_path):
    for name in tiny.STAGES[:3]:
        (tmp_path / name).symlink_to(earlier / name)
    tiny.train("fctfg", tmp_path, 1)
    trained = predecessors.find(tmp_path, "fctfg", None, None, ())
    tiny.earlier_stages(tmp_path / "large", "generator.size=64", steps=1)
    built = tiny.in_hand(tmp_path / "large", "generator.size=64")
    built.grow_from(trained)
    kept = trained.state("model")["generator.conv1.conv.weight"]
    for net in (built.model, built.average_model):
        assert torch.equal(net.generator.conv1.conv.weight, kept)


def test_a_trained_last_stage_can_be_trained_on_with_other_settings(earlier, tmp_path):
    for name in tiny.STAGES[:3]:
        (tmp_path / name).symlink_to(earlier / name)
    tiny.train("fctfg", tmp_path, 2)
    first = predecessors.find(tmp_path, "fctfg", None, None, ())
    built = tiny.in_hand(tmp_path, "latent.window=6", "losses.gan=0.2")
    built.start_from(first)
    for net in (built.model, built.average_model):
        assert all(torch.equal(value, first.state("model")[name]) for name, value in net.state_dict().items())
    judge = built.discriminator.state_dict()
    assert all(torch.equal(value, first.state("discriminator")[name]) for name, value in judge.items())

    # fusion of another kind begins as new: all else is taken over
    other = tiny.in_hand(tmp_path, "latent.fusion=lstm", "losses.gan=0.2")
    new = {name: value.clone() for name, value in other.model.state_dict().items() if name.startswith("fusion.")}
    other.start_from(first)
    for net in (other.model, other.average_model):
        wanted = first.state("model") | new
        assert all(torch.equal(value, wanted[name]) for name, value in net.state_dict().items())

    # an audio encoder that is named comes before the run's own
    file = checkpoint.newest(earlier / "sync-expert") / "expert.safetensors"
    recipe = tiny.recipe()
    named = FCTFGStage(
        recipe, tiny.context(), lambda s, sections: predecessors.find(earlier, s, None, recipe, sections), file
    )
    named.start_from(first)
    heard = checkpoint.tensors(file)
    for net in (named.model, named.average_model):
        assert torch.equal(net.encoder.input_layer[0].weight, first.state("model")["encoder.input_layer.0.weight"])
        for name, value in net.audio_encoder.state_dict().items():
            assert torch.equal(value, heard[f"audio_encoder.{name}"])


@pytest.mark.parametrize("stage", ["stylegan2", "fctfg"])
def test_growing_takes_the_folder_of_a_run_and_says_so(stage, earlier, tmp_path):
    file = checkpoint.newest(earlier / "stylegan2") / "generator.safetensors"
    options = launch.Options(tmp_path, grow_from=file)
    for name in tiny.STAGES[:3]:
        (tmp_path / name).symlink_to(earlier / name)
    data = tiny.Moving(stage, 4)
    with pytest.raises(CheckpointError, match="--grow-from takes the folder of a run") as raised:
        launch.launch(stage, tiny.recipe(), data, World(torch.device("cpu")), options)
    assert "\n" not in str(raised.value)
