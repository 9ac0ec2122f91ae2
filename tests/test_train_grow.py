"""A stage that starts from another's end: from half the size, or from its own with other settings."""

from __future__ import annotations

import pytest
import tiny_training as tiny
import torch

from fctfg import model, model_file
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


def test_an_exported_model_can_be_trained_on_without_the_stages_before_it(tmp_path, capsys):
    torch.manual_seed(3)
    recipe = tiny.recipe()
    file = model_file.save_model(tmp_path / "model.safetensors", model.build(recipe), float32=True)
    wanted = model_file.load_model(file).state_dict()
    begun = predecessors.find(tmp_path, "fctfg", file, recipe, predecessors.LAST_SECTIONS)
    fresh = ("losses.sync=0", "losses.perceptual=0", "losses.gan=0.1", "losses.discriminator_start=fresh")

    def none_there(stage, sections):
        return predecessors.find(tmp_path, stage, None, recipe, sections)

    built = FCTFGStage(tiny.recipe(*fresh), tiny.context(), none_there, None, begun)
    for net in (built.model, built.average_model):
        state = net.state_dict()
        assert all(torch.equal(state[name], value) for name, value in wanted.items())
        assert {n for n in state if n not in wanted} == {n for n in state if n.startswith("generator.style.")}
    with pytest.raises(CheckpointError, match="no checkpoint of stylegan2"):  # whose discriminator is asked for
        FCTFGStage(tiny.recipe(*fresh[:3]), tiny.context(), none_there, None, begun)

    # by the command, and it goes on from its own checkpoint
    tiny.train("fctfg", tmp_path / "on", 2, *fresh, start_from=file)
    assert predecessors.find(tmp_path / "on", "fctfg", None, None, ()).step == 2
    with pytest.raises(CheckpointError, match=r"of another recipe \(generator.size"):
        predecessors.find(tmp_path, "fctfg", file, tiny.recipe("generator.size=64"), predecessors.LAST_SECTIONS)
    (tmp_path / "broken.safetensors").write_bytes(b"none")
    with pytest.raises(model_file.ModelFileError, match="not a model file"):
        predecessors.find(tmp_path, "fctfg", tmp_path / "broken.safetensors", recipe, ())


def test_a_narrower_discriminator_begins_anew_and_a_run_of_it_is_gone_on_with(earlier, tmp_path):
    for name in tiny.STAGES[:3]:
        (tmp_path / name).symlink_to(earlier / name)
    narrow = ("losses.discriminator_width=0.5", "losses.discriminator_start=fresh", "losses.gan=0.2")
    rates = ("fctfg.rate=1e-3", "fctfg.discriminator_rate_ratio=5", "losses.r1=0")
    built = tiny.in_hand(tmp_path, *narrow, *rates)
    wide = tiny.in_hand(tmp_path, "losses.gan=0.2")
    shapes = [net.discriminator.convs[0][0].weight.shape[0] for net in (built, wide)]
    assert 2 * shapes[0] == shapes[1]
    assert built.optimizers["discriminator"].param_groups[0]["lr"] == pytest.approx(5e-3)
    with pytest.raises(ValueError, match=r"use --set losses\.discriminator_start=fresh"):
        tiny.in_hand(tmp_path, "losses.discriminator_width=0.5", "losses.gan=0.2")
    with pytest.raises(ValueError, match="leaves no channel at 32 x 32"):
        tiny.in_hand(tmp_path, "losses.discriminator_width=0.01", *narrow[1:])

    tiny.train("fctfg", tmp_path, 2, *narrow)
    first = predecessors.find(tmp_path, "fctfg", None, None, ())
    built.start_from(first)
    assert torch.equal(
        built.discriminator.state_dict()["convs.0.0.weight"], first.state("discriminator")["convs.0.0.weight"]
    )
    kept = {name: value.clone() for name, value in wide.discriminator.state_dict().items()}
    wide.start_from(first)
    assert all(torch.equal(value, kept[name]) for name, value in wide.discriminator.state_dict().items())
