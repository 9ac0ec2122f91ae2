"""A stage that starts from a trained one with fewer channels: nothing changes at first, and all that is new learns."""

from __future__ import annotations

import pytest
import tiny_training as tiny
import torch

from fctfg import model, model_file
from fctfg.nets.widen import widen
from fctfg.train import predecessors
from fctfg.train.checkpoint import CheckpointError
from fctfg.train.fctfg import FCTFGStage

WIDER = {
    "encoder": ("encoder.stem=6", "encoder.widths=6,12,12,12", "encoder.feature_width=12", "encoder.head_width=10"),
    "generator": ("generator.channel_multiplier=0.015625", "generator.channel_max=12"),
}
WIDER["both"] = WIDER["encoder"] + WIDER["generator"]


def trained(*choice):
    """A model none of whose weights, biases, statistics or noises is what it starts with."""
    torch.manual_seed(1)
    net = model.build(tiny.recipe(*choice))
    for value in net.state_dict().values():
        if value.is_floating_point():
            value += 0.1 * torch.rand_like(value)
    return net.eval()


@pytest.mark.parametrize("what", WIDER)
def test_a_widened_model_draws_what_the_narrow_one_drew(what):
    narrow = trained()
    wide = model.build(tiny.recipe(*WIDER[what])).eval()
    batch = tiny.Moving("fctfg", 2).held_out()[0]
    given = batch["source"], batch["driving"], batch["mels"]
    with torch.no_grad():
        before = wide(*given)[0]
        wide.load_state_dict(widen(narrow.state_dict(), wide))
        (ours, codes), (theirs, wanted) = wide(*given), narrow(*given)
    assert sum(p.numel() for p in wide.parameters()) > 1.1 * sum(p.numel() for p in narrow.parameters())
    assert (ours - theirs).abs().max() < 1e-4 * theirs.std()
    assert torch.allclose(codes.source, wanted.source, atol=1e-5)
    assert (before - theirs).abs().mean() > 0.1 * theirs.std()  # which is not because all wide models draw the same

    # what reads the new channels learns at once, and they do as soon as it has
    names = {"encoder": "encoder.body.1.res_layer.3.weight", "generator": "generator.convs.1.conv.weight"}
    names = [name for part, name in names.items() if what in (part, "both")]
    weights = dict(wide.named_parameters())
    for learns in (False, True):
        wide.zero_grad()
        (wide(*given)[0] - batch["driving"]).square().mean().backward()
        for name in names:
            gradient = weights[name].grad.reshape(-1, *weights[name].shape[-3:])  # (out, in, k, k)
            assert gradient[:8, 8:].any()
            assert gradient[8:].any() == learns, name
        with torch.no_grad():
            for weight in weights.values():
                if weight.grad is not None:
                    weight -= 0.1 * weight.grad / (weight.grad.norm() + 1e-12)


def test_only_channels_may_be_more():
    narrow = trained()
    for choice in ("latent.hidden=24", "generator.style_dim=24", "encoder.head_width=4", "audio.width=0.0625"):
        with pytest.raises(ValueError, match=r"cannot be widened|no channels to be widened"):
            widen(narrow.state_dict(), model.build(tiny.recipe(choice)))
    with pytest.raises(ValueError, match="in one network alone: only channels may differ"):
        widen(narrow.state_dict(), model.build(tiny.recipe("encoder.units=1,2,1,1")))


def test_a_run_begins_with_a_narrower_model_by_the_command(earlier, tmp_path):
    file = model_file.save_model(tmp_path / "model.safetensors", trained(), float32=True)
    fresh = ("losses.sync=0", "losses.perceptual=0", "losses.gan=0", *WIDER["both"])
    tiny.train("fctfg", tmp_path / "on", 2, *fresh, start_from=file)
    made = predecessors.find(tmp_path / "on", "fctfg", None, None, ())
    assert made.step == 2
    assert made.state("model")["encoder.input_layer.0.weight"].shape[0] == 6
    with pytest.raises(CheckpointError, match="cannot be widened to"):
        tiny.train("fctfg", tmp_path / "less", 2, *fresh[:3], "encoder.head_width=4", start_from=file)
    with pytest.raises(CheckpointError, match=r"of another recipe \(generator.size"):
        tiny.train("fctfg", tmp_path / "other", 2, *fresh, "generator.size=64", start_from=file)

    # a discriminator has its generator's channels: where those are more, it begins anew
    for name in tiny.STAGES[:3]:
        (tmp_path / name).symlink_to(earlier / name)
    tiny.train("fctfg", tmp_path, 2)
    first = predecessors.find(tmp_path, "fctfg", None, None, ())
    judged = ("losses.sync=0", "losses.perceptual=0", "losses.gan=0.2", "losses.discriminator_start=fresh")

    def begun_with_first(*choice):
        return FCTFGStage(tiny.recipe(*judged, *choice), tiny.context(), None, None, first).discriminator.state_dict()

    taken = begun_with_first(*WIDER["encoder"])
    assert all(torch.equal(value, first.state("discriminator")[name]) for name, value in taken.items())
    fresh = begun_with_first(*WIDER["both"])
    assert fresh["convs.0.0.weight"].shape[0] > taken["convs.0.0.weight"].shape[0]
