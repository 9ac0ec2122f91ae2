"""The stages: what is trained by which loss, and what a missing network says."""

from __future__ import annotations

import csv
import dataclasses
import math

import pytest
import tiny_training as tiny
import torch

from fctfg import losses, weights
from fctfg.nets.audio import AudioEncoder
from fctfg.nets.discriminator import Discriminator
from fctfg.nets.generator import Generator
from fctfg.train import checkpoint, launch, loss_networks, predecessors, start_audio
from fctfg.train.context import channels_last, follow
from fctfg.train.distributed import World
from fctfg.train.fctfg import FCTFGStage
from fctfg.train.inversion import Inversion


def batch(kind="fctfg", n=4) -> dict[str, torch.Tensor]:
    return tiny.Moving(kind, n).held_out()[0]


def test_the_first_losses_of_a_fixed_run_are_those_on_file():
    with tiny.GOLDEN.open() as file:
        golden = list(csv.DictReader(file))
    found = tiny.golden_losses()
    assert [row["step"] for row in found] == [int(row["step"]) for row in golden]
    for row, wanted in zip(found, golden, strict=True):
        for name, text in wanted.items():
            if text:
                assert row[name] == pytest.approx(float(text), rel=1e-3), (row["step"], name)
            else:
                assert name not in row


def test_path_lengths_are_those_of_the_jacobian():
    torch.manual_seed(0)
    net = Generator(8, 4, 1, 1 / 512, 4)
    codes = torch.randn(2, net.n_styles, 4, requires_grad=True)
    direction = torch.randn(2, 3, 8, 8)
    pictures = net.synthesis(codes)
    found = losses.path_lengths(pictures, codes, direction)
    for i in range(2):
        jacobian = torch.autograd.functional.jacobian(lambda w: net.synthesis(w[None])[0], codes[i].detach())
        pulled = torch.einsum("chwld,chw->ld", jacobian, direction[i] / 8)
        assert found[i].item() == pytest.approx(pulled.square().sum(1).mean().sqrt().item(), rel=1e-4)


def test_adam_of_a_lazily_regularised_network_is_scaled():
    optimizer = tiny.context().adam([torch.nn.Parameter(torch.zeros(1))], 0.002, (0.0, 0.99), lazy=16)
    group = optimizer.param_groups[0]
    assert group["lr"] == pytest.approx(0.002 * 16 / 17)
    assert group["betas"] == (0.0, pytest.approx(0.99 ** (16 / 17)))


def test_the_layout_for_tensor_cores_changes_no_number():
    """And no step of Adam, which a network of another layout than its optimizer's state would stumble over."""
    torch.manual_seed(0)
    net = Discriminator(8, 1 / 512, 4)
    x = torch.randn(4, 3, 8, 8)
    plain = net(x)
    channels_last(net)
    channels_last(Generator(8, 4, 1, 1 / 512, 4))  # has weights of five dimensions
    assert net.convs[1].conv1[0].weight.is_contiguous(memory_format=torch.channels_last)
    assert torch.allclose(net(x), plain, atol=1e-6)
    average = tiny.context().average_of(net)
    tiny.context().descend("test", net(x).mean(), tiny.context().adam(net.parameters(), 0.1, (0.5, 0.9)))
    follow(average, net, 0.5, 100)
    assert all(torch.isfinite(p).all() for p in average.parameters())


def test_the_moving_average():
    net, average = torch.nn.BatchNorm1d(1), torch.nn.BatchNorm1d(1)
    net.weight.data.fill_(3.0)
    net.running_mean.fill_(5.0)
    follow(average, net, 0.9, step=10**6)
    assert average.weight.item() == pytest.approx(1.2)
    assert average.running_mean.item() == 5
    follow(average, net, 0.9, step=0)  # the first step hardly remembers where it began
    assert average.weight.item() == pytest.approx(0.1 * 1.2 + 0.9 * 3)


def test_lazy_terms_come_when_they_are_due(tmp_path):
    tiny.train("stylegan2", tmp_path, 5)
    lines = tiny.log(tmp_path, "stylegan2")
    assert [line["step"] for line in lines if "r1" in line] == [1, 5]
    assert [line["step"] for line in lines if "path" in line] == [1, 3, 5]
    tensors = checkpoint.tensors(checkpoint.newest(tmp_path / "stylegan2") / "extra.safetensors")
    assert tensors["average"].shape == (16,)
    assert tensors["path_mean"] > 0


def test_every_loss_of_the_paper_is_there_with_its_weight(earlier):
    built = tiny.in_hand(earlier)
    torch.manual_seed(1)
    generated, codes = built.model(*(batch()[k] for k in ("source", "driving", "mels")))
    parts = built.parts(generated, codes, batch())
    assert set(parts) == {"ortho", "sync", "reconstruction", "perceptual"}  # demo has no identity network
    l1 = (generated - batch()["driving"]).abs().mean()
    assert parts["reconstruction"].item() == pytest.approx(l1.item())
    report = built.step(batch(), 2)
    wanted = sum(getattr(built.recipe.losses, name) * report[name] for name in [*parts, "gan"])
    assert report["total"].item() == pytest.approx(wanted.item(), rel=1e-6)


def test_a_weight_of_nothing_loads_no_network(earlier):
    asked = []
    built = tiny.in_hand(
        earlier, "losses.sync=0", "losses.perceptual=0", "losses.gan=0", "losses.identity_network=arcface",
        "losses.identity=0", asked=asked,
    )  # fmt: skip
    assert (built.expert, built.features, built.identity, built.discriminator) == (None, None, None, None)
    assert set(built.step(batch(), 5)) == {"ortho", "reconstruction", "total", "hearing"}


@pytest.mark.parametrize(
    ("kind", "assignment", "file"),
    [
        (FCTFGStage, "losses.perceptual_network=vgg19", "vgg19"),
        (FCTFGStage, "losses.identity_network=arcface", "ir_se50"),
        (Inversion, "losses.perceptual_network=vgg19", "vgg19"),
    ],
)
def test_a_network_that_is_missing_is_one_line_with_how_to_get_it(kind, assignment, file, earlier, monkeypatch):
    monkeypatch.setattr("fctfg.weights.lookup._places", lambda file: iter(()))
    with pytest.raises(weights.MissingWeights) as missing:
        tiny.in_hand(earlier, assignment, kind=kind)
    assert f"weights '{file}'" in str(missing.value)
    assert "python -m fctfg.weights" in str(missing.value)
    assert "\n" not in str(missing.value)


def test_the_discriminator_joins_when_it_should(earlier):
    built = tiny.in_hand(earlier, "fctfg.gan_from=1")
    before = built.discriminator.state_dict()["final_linear.1.weight"].clone()
    assert "gan" not in built.step(batch(), 0)
    assert torch.equal(built.discriminator.final_linear[1].weight, before)
    assert {"gan", "discriminator"} <= set(built.step(batch(), 1))
    assert not torch.equal(built.discriminator.final_linear[1].weight, before)


@pytest.mark.parametrize(
    ("assignment", "part"),
    [
        ("losses.ortho_form=cosine", "ortho"),  # A8
        ("losses.ortho_absolute=false", "ortho"),  # A8
        ("losses.ortho_channels=sum", "ortho"),  # A8
        ("losses.ortho_center=false", "ortho"),  # A8: the demo's is true
        ("losses.perceptual_norm=square", "perceptual"),  # A9
        ("losses.gan_form=minimax", "gan"),  # A10
        ("losses.sync_box=0.1,0.3,0.7,0.9", "sync"),  # A11
    ],
)
def test_a_choice_of_the_losses_changes_its_term_alone(assignment, part, earlier):
    plain, other = (tiny.in_hand(earlier, *choice).step(batch(), 2) for choice in ((), (assignment,)))
    terms = ("ortho", "sync", "reconstruction", "perceptual", "gan")
    changed = [name for name in terms if not torch.allclose(plain[name], other[name], rtol=1e-5)]
    assert changed == [part]


def test_rate_betas_and_batch_are_the_recipe_s(earlier):  # A6
    built = tiny.in_hand(earlier, "fctfg.rate=3e-4", "fctfg.betas=0.5,0.9")
    group = built.optimizers["model"].param_groups[0]
    assert (group["lr"], group["betas"]) == (3e-4, (0.5, 0.9))
    assert tiny.recipe("fctfg.batch=6").fctfg.batch == 6


def test_the_generators_rate_is_a_multiple_of_the_others(earlier):
    """Equalised weights have unit size; at one rate for all they would hardly move."""
    built = tiny.in_hand(earlier, "fctfg.rate=1e-3", "fctfg.generator_rate_ratio=5")
    others, generator = built.optimizers["model"].param_groups
    assert (others["lr"], generator["lr"]) == (1e-3, 5e-3)
    own = {id(p) for p in built.model.generator.parameters() if p.requires_grad}
    assert {id(p) for p in generator["params"]} == own
    everything = {id(p) for p in built.model.parameters() if p.requires_grad}
    assert {id(p) for p in others["params"]} == everything - own
    before = built.model.generator.state_dict()["conv1.conv.weight"].clone()
    built.step(batch(), 0)
    step = (built.model.generator.state_dict()["conv1.conv.weight"] - before).abs().max()
    assert 4e-3 < step < 6e-3  # Adam's first step is the rate


def test_orthogonality_joins_when_the_recipe_says(earlier):
    built = tiny.in_hand(earlier, "fctfg.ortho_from=2")
    assert ["ortho" in built.step(batch(), step) for step in range(4)] == [False, False, True, True]
    assert "ortho" in tiny.in_hand(earlier).step(batch(), 0)


def test_what_is_fine_tuned_moves_and_the_rest_stays(earlier):  # A21
    for parts in (("encoder",), ("audio_encoder", "generator")):
        built = tiny.in_hand(earlier, f"fctfg.fine_tuned={','.join(parts)}")
        before = {name: value.clone() for name, value in built.model.state_dict().items()}
        expert = {name: value.clone() for name, value in built.expert.state_dict().items()}
        built.step(batch(), 0)
        moved = {n.split(".")[0] for n, v in built.model.state_dict().items() if not torch.equal(v, before[n])}
        assert moved == {"canonical", "motion", "fusion", *parts}
        assert all(torch.equal(v, expert[n]) for n, v in built.expert.state_dict().items())
        for name, value in built.model.state_dict().items():
            if "running_" in name or ".style." in name or ".noises." in name:
                assert torch.equal(value, before[name]), name


def test_statistics_of_batch_normalisation_move_where_the_recipe_says_so(earlier):
    built = tiny.in_hand(earlier, "fctfg.freeze_batchnorm=false")
    name = "encoder.input_layer.1.running_mean"
    before = built.model.state_dict()[name].clone()
    built.step(batch(), 0)
    assert not torch.equal(built.model.state_dict()[name], before)
    assert torch.equal(built.average_model.state_dict()[name], built.model.state_dict()[name])


def test_an_unknown_part_is_an_error(earlier):
    with pytest.raises(ValueError, match=r"no part mouth; there are encoder, audio_encoder"):
        tiny.in_hand(earlier, "fctfg.fine_tuned=mouth")


def test_a_video_discriminator_starts_as_the_image_one(earlier):  # A10
    built = tiny.in_hand(earlier, "losses.discriminator=video")
    image = Discriminator(32, 2**-7, 8)
    predecessors.find(earlier, "stylegan2", None, None, ()).into(image, "discriminator")
    pictures = torch.randn(4, 3, 32, 32)
    still = pictures.repeat(1, 5, 1, 1)
    assert torch.allclose(built.discriminator(still), image(pictures), atol=1e-5)
    assert {"gan", "discriminator"} <= set(built.step(batch(), 2))


@pytest.mark.parametrize(("windows", "seen"), [(1, 4), (2, 8), (4, 20)])
def test_the_discriminator_sees_a_number_that_its_deviation_can_group(earlier, windows, seen):
    built = tiny.in_hand(earlier)
    frames = torch.arange(windows * 5.0).view(windows, 5, 1, 1, 1)
    shown = [built.to_judge(frames, step).flatten().tolist() for step in range(5)]
    assert {len(s) for s in shown} == {seen}
    assert {i for s in shown for i in s} == set(range(windows * 5))  # over some steps, all


@pytest.mark.parametrize("kind", tiny.STAGES)
def test_half_precision_trains(kind, earlier, tmp_path):
    """On a CPU, bfloat16 is slow, but the same types meet as on a GPU."""
    for name in tiny.STAGES[:3]:
        if name != kind:
            (tmp_path / name).symlink_to(earlier / name)
    assert tiny.train(kind, tmp_path, 3, precision="bf16")
    for line in tiny.log(tmp_path, kind):
        assert all(math.isfinite(value) for value in line.values())


def test_weight_offsets_are_trained_and_used(earlier, tmp_path):  # A3
    choice = ("encoder.weight_offsets=true", "encoder.offset_iterations=2", "inversion.batch=4", "fctfg.batch=4")
    for name in ("stylegan2", "sync-expert"):
        (tmp_path / name).symlink_to(earlier / name)
    tiny.train("inversion", tmp_path, 2, *choice)
    assert all("hypernetwork" in line for line in tiny.log(tmp_path, "inversion") if "total" in line)
    assert tiny.train("fctfg", tmp_path, 1, *choice)
    with pytest.raises(checkpoint.CheckpointError, match=r"encoder.weight_offsets: True, not False"):
        tiny.in_hand(tmp_path)


def test_a_generator_can_learn_with_the_encoder_and_is_then_the_last_stage_s(earlier, tmp_path):
    choice = ("inversion.train_generator=true", "inversion.generator_rate_ratio=4")
    for name in ("stylegan2", "sync-expert"):
        (tmp_path / name).symlink_to(earlier / name)
    tiny.train("inversion", tmp_path, 2, *choice)
    first, second = (predecessors.find(tmp_path, name, None, None, ()) for name in ("stylegan2", "inversion"))
    learned, before = second.state("generator"), first.state("generator")
    moved = {name.split(".")[0] for name, value in learned.items() if not torch.equal(value, before[name])}
    assert moved == {"input", "conv1", "to_rgb1", "convs", "to_rgbs"}  # neither the mapping network nor the noise
    built = tiny.in_hand(tmp_path, *choice)
    assert torch.equal(built.model.generator.state_dict()["conv1.conv.weight"], learned["conv1.conv.weight"])
    assert "generator" not in predecessors.find(earlier, "inversion", None, None, ()).networks

    # and it grows: a larger picture begins as the small one's, enlarged
    larger = ("generator.size=64", *choice)
    tiny.train("stylegan2", tmp_path / "large", 1, "generator.size=64")
    found = predecessors.find
    grown = Inversion(
        tiny.recipe(*larger), tiny.context(), lambda s, sections: found(tmp_path / "large", s, None, None, ())
    )
    grown.grow_from(second)
    assert torch.equal(grown.generator.state_dict()["conv1.conv.weight"], learned["conv1.conv.weight"])
    assert grown.average_generator.to_rgbs[-1].conv.weight.abs().max() == 0


def test_the_last_stage_sees_and_draws_in_sizes_of_their_own(earlier, tmp_path):
    for name in ("stylegan2", "sync-expert"):
        (tmp_path / name).symlink_to(earlier / name)
    choice = ("encoder.size=64", "encoder.tile=2")
    recipe = tiny.recipe(*choice)
    world = World(torch.device("cpu"))
    data = tiny.Moving("inversion", 8, side=64)
    assert launch.launch("inversion", recipe_steps(recipe, "inversion", 1), data, world, launch.Options(tmp_path))
    built = tiny.in_hand(tmp_path, *choice)
    wide = tiny.Moving("fctfg", 4, side=64).held_out()[0]
    report = built.step(wide, 0)
    assert math.isfinite(report["total"])
    assert built.sample(wide).shape == (20, 3, 32, 32)


def recipe_steps(recipe, stage_name, steps):
    section = dataclasses.replace(getattr(recipe, stage_name), steps=steps)
    return dataclasses.replace(recipe, **{stage_name: section})


def test_pixels_in_the_box_count_more(earlier):
    weight = losses.inside_box((0.25, 0.5, 0.75, 1.0), 3.0, 32)
    assert weight.mean() == pytest.approx(1)
    assert weight[16:, 8:24].min() == pytest.approx(3 * float(weight[0, 0]))
    assert (weight == weight.max()).sum() == 16 * 16
    made, wanted = torch.zeros(2, 3, 32, 32), torch.zeros(2, 3, 32, 32)
    made[:, :, 20, 10] = 1
    assert losses.reconstruction(made, wanted, weight) == pytest.approx(float(weight.max()) / 1024)
    assert losses.reconstruction(made, wanted) == pytest.approx(1 / 1024)
    plain, choice = batch(), ("losses.reconstruction_box=0.25,0.5,0.75,1", "losses.reconstruction_gain=3")
    built = tiny.in_hand(earlier, *choice)
    with torch.no_grad():
        generated, codes = built.model(plain["source"], plain["driving"], plain["mels"])
        part = built.parts(generated, codes, plain)["reconstruction"]
    assert part == pytest.approx(float(((generated - plain["driving"]).abs() * weight).mean()), rel=1e-5)


def test_what_should_come_out_need_not_be_what_drives(earlier):
    built = tiny.in_hand(earlier, "losses.gan=0", "losses.sync=0", "losses.ortho=0", "losses.texture=1")
    plain = batch()
    target = plain["driving"].flip(-1)
    with torch.no_grad():
        generated, codes = built.model(plain["source"], plain["driving"], plain["mels"])
        parts = built.parts(generated, codes, {**plain, "target": target})
    expected = (generated - target).abs().mean()
    assert parts["reconstruction"] == pytest.approx(float(expected), rel=1e-5)
    assert parts["reconstruction"] != pytest.approx(float((generated - plain["driving"]).abs().mean()), rel=1e-3)
    local = losses.texture(generated.flatten(0, 1), target.flatten(0, 1))
    assert parts["texture"] == pytest.approx(float(local), rel=1e-5)


def test_the_log_tells_when_the_model_no_longer_hears(earlier):
    built = tiny.in_hand(earlier, "losses.gan=0")
    assert built.step(batch(), 0)["hearing"] > 0
    last = built.model.audio_encoder[-1]
    for parameter in last.parameters():
        parameter.data.zero_()
    assert built.step(batch(), 1)["hearing"] == 0


def test_the_expert_s_batch_is_half_matched():
    from fctfg.train.sync_expert import SyncExpertStage

    built = SyncExpertStage(tiny.recipe(), tiny.context())
    heard = []
    built.embed = lambda faces, sound: heard.append(sound) or built.expert(faces, sound)
    sounds = {"mel_window": torch.ones(8, 1, 80, 16), "wrong_window": -torch.ones(8, 1, 80, 16)}
    for step in range(3):
        built.step({**batch("sync-expert", 8), **sounds}, step)
    kinds = [sound[:, 0, 0, 0].tolist() for sound in heard]
    assert all(sorted(k) == [-1] * 4 + [1] * 4 for k in kinds)
    assert kinds[0] != kinds[1] or kinds[1] != kinds[2]


def test_the_audio_encoder_starts_from_the_expert_s_without_its_surplus_block():  # A13
    torch.manual_seed(0)
    expert, ours = AudioEncoder(1 / 32, "expert"), AudioEncoder(1 / 32, "generator")
    ours.load_state_dict(start_audio.without_block(expert.state_dict(), start_audio.SURPLUS))
    blocks = [block for i, block in enumerate(expert) if i != start_audio.SURPLUS]
    sound = torch.randn(2, 1, 80, 16)
    assert torch.equal(ours.eval()(sound), torch.nn.Sequential(*blocks).eval()(sound).flatten(1))


def test_nothing_to_start_the_audio_encoder_from_is_an_error(earlier):
    with pytest.raises(checkpoint.CheckpointError, match="--audio-encoder"):
        tiny.in_hand(earlier, "audio.width=0.0625")


def test_psnr():
    x = torch.zeros(2, 3, 4, 4)
    assert loss_networks.psnr(x + torch.tensor([0.2, 0.02]).view(2, 1, 1, 1), x).item() == pytest.approx(30)


def test_the_identity_network_sees_its_box():  # A12
    pictures = torch.zeros(1, 3, 100, 100)
    pictures[:, :, 20:60, 30:70] = 1
    assert loss_networks.crop(pictures, (0.3, 0.2, 0.7, 0.6), 112).min() == 1
