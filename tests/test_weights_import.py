"""python -m fctfg.weights import: small files in the official form of every kind, read back, or refused when wrong."""

from __future__ import annotations

import argparse
import json
import os

import pytest
import torch
from safetensors import safe_open

from fctfg.nets.audio import AudioEncoder
from fctfg.nets.discriminator import Discriminator
from fctfg.nets.generator import Generator
from fctfg.nets.hyperstyle import HyperNetwork
from fctfg.nets.ir_se import ArcFace
from fctfg.nets.psp import PSPEncoder
from fctfg.nets.sync_expert import SyncExpert
from fctfg.nets.vgg import VGG19Features
from fctfg.weights import WeightsError, importing, sha256
from fctfg.weights.__main__ import main
from fctfg.weights.formats import KINDS

NARROW = {"widths": (4, 8, 12, 16), "stem": 4}
GENERATOR = {"size": 32, "style_dim": 8, "mapping_layers": 2, "channel_multiplier": 8 * 32 / 16384, "channel_max": 16}
TAPS = torch.tensor([1.0, 3.0, 3.0, 1.0])
FILTER = torch.outer(TAPS, TAPS) / 64


def generator() -> tuple[Generator, dict]:
    """A generator, and its state dict as rosinality's files have it: with the filters' constants."""
    net = Generator(**GENERATOR)
    state = dict(net.state_dict())
    for block in range(3):
        state[f"convs.{2 * block}.conv.blur.kernel"] = FILTER * 4
        state[f"to_rgbs.{block}.upsample.kernel"] = FILTER * 4
    return net, state


def discriminator() -> tuple[Discriminator, dict]:
    net = Discriminator(32, GENERATOR["channel_multiplier"], 16)
    state = dict(net.state_dict())
    for block in range(1, 4):
        state |= {f"convs.{block}.conv2.0.kernel": FILTER, f"convs.{block}.skip.0.kernel": FILTER}
    return net, state


def under(prefix: str, state: dict) -> dict:
    return {prefix + key: value for key, value in state.items()}


def stylegan2():
    (g, g_state), (d, d_state) = generator(), discriminator()
    _, raw = generator()
    trained = {
        "g": raw, "g_ema": g_state, "d": d_state, "g_optim": {"state": {}, "param_groups": [{"lr": 0.002}]},
        "args": argparse.Namespace(size=32, batch=4), "ada_aug_p": 0.0, "latent_avg": torch.arange(8.0),
    }  # fmt: skip
    return trained, {"g_ema": g, "d": d}


def psp():
    encoder = PSPEncoder(size=32, n_styles=8, style_dim=8, units=(1, 2, 1, 1), feature_width=16, head_width=6, **NARROW)
    decoder, state = generator()
    tensors = under("encoder.", encoder.state_dict()) | under("decoder.", state)
    average = torch.arange(8.0).repeat(8, 1)
    return {"state_dict": tensors, "opts": {"size": 32}, "latent_avg": average}, {
        "encoder": encoder,
        "decoder": decoder,
    }


def hyperstyle():
    decoder, state = generator()
    net = HyperNetwork(decoder, units=(1, 1, 2, 1), widths=(4, 6, 8, 10), stem=4, inner=(3, 7), code=9, picture=32)
    for p in net.shared_weight_hypernet.parameters():
        torch.nn.init.normal_(p)
    tensors = under("hypernet.", net.state_dict()) | under("decoder.", state)
    for n in net.shared:
        copies = {f"{k}": v.clone() for k, v in net.shared_weight_hypernet.state_dict().items()}
        tensors |= under(f"hypernet.refinement_blocks.{n}.hypernet.", copies)
    checkpoint = {"state_dict": tensors, "latent_avg": torch.randn(8, 8), "opts": {}, "global_step": 3}
    return checkpoint, {"hypernet": net, "decoder": decoder}


def wav2lip():
    net = AudioEncoder(width=1 / 8)
    rest = {"face_decoder_blocks.0.0.conv_block.0.weight": torch.zeros(1), "output_block.1.bias": torch.zeros(3)}
    tensors = under("module.", under("audio_encoder.", net.state_dict()) | rest)
    return {"state_dict": tensors, "optimizer": None, "global_step": 7}, {"audio_encoder": net}


def sync_expert():
    net = SyncExpert(width=1 / 8)
    return {"state_dict": net.state_dict(), "global_epoch": 1}, {"sync_expert": net}


def arcface():
    net = ArcFace(size=32, dim=6, units=(1, 2, 3, 1), **NARROW)
    return net.state_dict(), {"arcface": net}


def vgg19():
    net = VGG19Features()
    return net.state_dict() | {"classifier.0.weight": torch.zeros(2, 2), "classifier.6.bias": torch.zeros(2)}, {
        "vgg19": net
    }


MADE = {
    "stylegan2": stylegan2, "psp": psp, "hyperstyle": hyperstyle, "wav2lip-audio": wav2lip, "sync-expert": sync_expert,
    "arcface": arcface, "vgg19": vgg19,
}  # fmt: skip
CHEAP = [kind for kind in MADE if kind != "vgg19"]


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def saved(tmp_path, kind: str, change=None):
    checkpoint, nets = MADE[kind]()
    if change:
        change(checkpoint)
    torch.save(checkpoint, tmp_path / f"{kind}.pth")
    return tmp_path / f"{kind}.pth", nets


def test_every_kind_is_tested():
    assert set(MADE) == set(KINDS)


@pytest.mark.parametrize("kind", MADE)
def test_a_file_of_each_kind_becomes_ours(tmp_path, kind, capsys):
    source, nets = saved(tmp_path, kind)
    assert main(["import", kind, str(source)]) == 0
    shown = capsys.readouterr().out
    path = source.with_suffix(".safetensors")
    assert shown.startswith(f"{path}\n")
    with safe_open(path, "pt") as file:
        about = file.metadata()
    assert about["kind"] == kind
    assert about["source"] == source.name
    assert about["source_sha256"] == sha256(source)
    imported = importing.read(path)
    assert nets.keys() <= imported.tensors.keys()
    for name, net in nets.items():
        assert f"\n    {name}" in shown
        built = imported.build(name)
        assert not built.training
        for key, value in net.state_dict().items():
            assert torch.equal(built.state_dict()[key], value), key
    with pytest.raises(WeightsError, match="had no 'nothing'; it had"):
        imported.build("nothing")


def test_sizes_are_read_off_the_shapes(tmp_path):
    args = importing.read(importing.convert("psp", saved(tmp_path, "psp")[0], tmp_path / "to/psp.safetensors")).args
    assert args["decoder"] == GENERATOR
    expected = {"size": 32, "n_styles": 8, "style_dim": 8, "units": [1, 2, 1, 1], "feature_width": 16, "head_width": 6}
    assert args["encoder"] == expected | {"widths": [4, 8, 12, 16], "stem": 4}
    args = importing.read(importing.convert("stylegan2", saved(tmp_path, "stylegan2")[0])).args
    assert args["d"] == {"size": 32, "channel_multiplier": 1 / 64, "channel_max": 16, "in_frames": 1}
    args = importing.read(importing.convert("hyperstyle", saved(tmp_path, "hyperstyle")[0])).args["hypernet"]
    assert (args["picture"], args["inner"], args["code"], args["generator"]) == (32, [3, 7], 9, GENERATOR)
    assert importing.read(importing.convert("wav2lip-audio", saved(tmp_path, "wav2lip-audio")[0])).args == {
        "audio_encoder": {"width": 1 / 8, "blocks": "generator"}
    }


def test_the_public_widths_are_told_from_each_other():
    from fctfg.weights.formats import discriminator_args, generator_args

    for size, multiplier in ((256, 1.0), (256, 2.0), (1024, 2.0), (64, 1.0)):
        with torch.device("meta"):
            nets = Generator(size, channel_multiplier=multiplier), Discriminator(size, multiplier)
        expected = {"size": size, "channel_multiplier": multiplier, "channel_max": 512}
        assert generator_args(nets[0].state_dict()) == expected | {"style_dim": 512, "mapping_layers": 8}
        assert discriminator_args(nets[1].state_dict()) == expected | {"in_frames": 1}


def test_the_average_latent_comes_along(tmp_path):
    average = importing.read(importing.convert("psp", saved(tmp_path, "psp")[0])).latent_avg
    assert torch.equal(average, torch.arange(8.0))  # equal rows are one
    assert importing.read(importing.convert("hyperstyle", saved(tmp_path, "hyperstyle")[0])).latent_avg.shape == (8, 8)
    assert importing.read(importing.convert("arcface", saved(tmp_path, "arcface")[0])).latent_avg is None

    def longer(checkpoint):
        checkpoint["latent_avg"] = torch.zeros(9)

    with pytest.raises(WeightsError, match=r"latent_avg of shape \(9,\) for codes of length 8"):
        importing.convert("psp", saved(tmp_path, "psp", longer)[0])


def test_half_precision_and_missing_counters_are_accepted(tmp_path):
    def old(checkpoint):
        for key in list(checkpoint):
            if key.endswith("num_batches_tracked"):
                del checkpoint[key]
            else:
                checkpoint[key] = checkpoint[key].half()

    source, nets = saved(tmp_path, "arcface", old)
    built = importing.read(importing.convert("arcface", source)).build("arcface")
    expected = nets["arcface"].state_dict()["body.0.res_layer.1.weight"]
    assert built.body[0].res_layer[1].weight.dtype == torch.float32
    assert torch.equal(built.body[0].res_layer[1].weight, expected.half().float())


def test_tensors_that_share_memory_are_written_apart(tmp_path):
    def same(checkpoint):
        checkpoint["g"] = checkpoint["g_ema"]

    tensors = importing.read(importing.convert("stylegan2", saved(tmp_path, "stylegan2", same)[0])).tensors
    assert all(torch.equal(tensors["g"][key], value) for key, value in tensors["g_ema"].items())


# ------------------------------------------------------------------------------------------------------------- refusals


def refused(kind, source) -> str:
    with pytest.raises(WeightsError) as excinfo:
        importing.convert(kind, source)
    line = str(excinfo.value)
    assert "\n" not in line
    assert line.startswith(f"{source}: ")
    assert sorted(p.suffix for p in source.parent.iterdir()) == [".pth"]  # nothing is left behind
    return line


def test_a_file_of_another_kind_is_named(tmp_path):
    for actual in CHEAP:
        folder = tmp_path / actual
        folder.mkdir()
        source, _ = saved(folder, actual)
        for asked in KINDS:
            if asked != actual:
                assert f"looks like '{actual}'" in refused(asked, source), (asked, actual)
    other = tmp_path / "other"
    other.mkdir()
    torch.save({"a.weight": torch.ones(1)}, other / "x.pth")
    line = refused("psp", other / "x.pth")
    assert "encoder.styles.0.linear.weight is missing; it begins with a.weight" in line
    normed = {
        "features.0.weight": torch.ones(1),
        "features.34.weight": torch.ones(1),
        "features.1.weight": torch.ones(1),
    }
    torch.save(normed, other / "x.pth")
    assert "it has features.1.weight" in refused("vgg19", other / "x.pth")


def test_missing_unexpected_and_misshapen_keys_are_counted_and_named(tmp_path):
    def spoil(checkpoint):
        state = checkpoint["state_dict"]
        for name in ("latlayer1.bias", "styles.5.linear.bias", "body.0.res_layer.2.weight", "styles.4.linear.bias"):
            del state[f"encoder.{name}"]
        state["encoder.extra"] = torch.ones(1)
        state["encoder.latlayer2.bias"] = torch.ones(3)

    line = refused("psp", saved(tmp_path, "psp", spoil)[0])
    assert "does not fit 'psp': 4 missing (encoder." in line
    assert line.count("encoder.") == 5
    assert "...); 1 unexpected (encoder.extra); 1 of another shape (encoder.latlayer2.bias (3,) for (16,))" in line


@pytest.mark.parametrize(
    ("kind", "spoil", "said"),
    [
        ("psp", lambda c: c["state_dict"].update({"head.weight": torch.ones(1)}), r"1 unexpected \(head\.weight\)"),
        ("stylegan2", lambda c: c["g_ema"].pop("style.1.weight"), r"style\.1\.weight is missing"),
        ("stylegan2", lambda c: c["g_ema"].update({"conv1.conv.weight": torch.ones(2)}), "not 5 dimensions"),
        ("stylegan2", lambda c: c["d"].pop("final_linear.1.bias"), r"1 missing \(d\.final_linear\.1\.bias\)"),
        (
            "arcface",
            lambda c: c.update({"body.0.res_layer.1.weight": torch.ones(7, 4, 3, 3)}),
            "four stages|of another",
        ),
    ],
)
def test_other_faults_are_one_line(tmp_path, kind, spoil, said):
    source, _ = saved(tmp_path, kind, spoil)
    with pytest.raises(WeightsError, match=said) as excinfo:
        importing.convert(kind, source)
    assert "\n" not in str(excinfo.value)


def test_filters_with_other_values_are_refused_and_right_ones_dropped(tmp_path):
    def flatter(checkpoint):
        checkpoint["g_ema"]["to_rgbs.1.upsample.kernel"] = torch.full((4, 4), 1 / 4)

    assert "1 with other values (g_ema.to_rgbs.1.upsample.kernel)" in refused(
        "stylegan2", saved(tmp_path, "stylegan2", flatter)[0]
    )
    imported = importing.read(importing.convert("stylegan2", saved(tmp_path, "stylegan2")[0]))
    assert not any("kernel" in key for state in imported.tensors.values() for key in state)


def test_copies_that_differ_are_refused(tmp_path):
    def disagree(checkpoint):
        checkpoint["state_dict"]["hypernet.refinement_blocks.2.hypernet.b1"] += 1

    line = refused("hyperstyle", saved(tmp_path, "hyperstyle", disagree)[0])
    assert "hypernet.refinement_blocks.2.hypernet.b1 differs from hypernet.shared_weight_hypernet.b1" in line


class Harmful:
    def __reduce__(self):
        return (os.mkdir, ("harm",))


def test_damaged_and_dangerous_files_are_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    source, _ = saved(tmp_path, "arcface")
    source.write_bytes(source.read_bytes()[:5000])
    assert "cannot be read" in refused("arcface", source)
    torch.save({"g_ema": {}, "args": Harmful()}, source)
    assert "asks for posix.mkdir, which is more than tensors" in refused("stylegan2", source)
    assert not (tmp_path / "harm").exists()


def test_the_command_says_what_is_wrong(tmp_path, capsys):
    source, _ = saved(tmp_path, "arcface")
    assert main(["import", "pspp", str(source)]) == 2
    assert capsys.readouterr().err == (f"no kind of checkpoint is called 'pspp'; known are {', '.join(KINDS)}\n")
    assert main(["import", "psp", str(tmp_path / "none.pt")]) == 2
    assert capsys.readouterr().err == f"{tmp_path / 'none.pt'}: no such file; check the path\n"
    assert main(["import", "arcface", str(source), "--out", str(tmp_path / "x.pt")]) == 2
    assert "must end in .safetensors" in capsys.readouterr().err
    assert main(["import", "arcface", str(source), "--out", str(tmp_path / "new/x.safetensors")]) == 0
    assert main(["import", "arcface", str(tmp_path / "new/x.safetensors")]) == 2
    assert "would be overwritten" in capsys.readouterr().err
    assert main(["import", "arcface", str(source), "--out", str(source / "x.safetensors")]) == 2
    assert "cannot be written" in (line := capsys.readouterr().err)
    assert line.count("\n") == 1
    with pytest.raises(WeightsError, match="was not made by"):
        importing.read(source)
    with pytest.raises(SystemExit):
        main(["import", "--help"])
    shown = capsys.readouterr().out
    assert all(kind in shown for kind in KINDS)
    assert "examples" in shown


def test_metadata_is_readable_without_torch(tmp_path):
    path = importing.convert("arcface", saved(tmp_path, "arcface")[0])
    raw = path.read_bytes()
    header = json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])
    assert json.loads(header["__metadata__"]["args"])["arcface"]["units"] == [1, 2, 3, 1]
