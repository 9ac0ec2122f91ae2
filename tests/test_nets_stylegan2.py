"""The StyleGAN2 generator and discriminator, their growth and the fast inference form."""

from __future__ import annotations

import copy

import plain_stylegan2 as plain
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from fctfg.nets.discriminator import Discriminator
from fctfg.nets.generator import CONSTANT_SUFFIXES, Generator, channels_at, constants, layer_table
from fctfg.nets.grow import grow_discriminator, grow_generator
from fctfg.nets.ops import Upsample
from fctfg.nets.synthesis import FCTFG_CONSTANT, Synthesis

DIM = 24


def shaken(network, seed=0):
    """The network with every parameter that starts at zero or one moved off it."""
    source = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.endswith("bias") or "noise" in name:
                parameter += 0.3 * torch.randn(parameter.shape, generator=source)
    return network.eval()


def make_generator(size, **wanted):
    torch.manual_seed(size)
    return shaken(
        Generator(
            size, **{"style_dim": DIM, "mapping_layers": 3, "channel_multiplier": 0.125, "channel_max": 32} | wanted
        )
    )


def make_discriminator(size, **wanted):
    torch.manual_seed(size)
    return shaken(Discriminator(size, **{"channel_multiplier": 0.125, "channel_max": 32} | wanted))


def close(a, b, tolerance=1e-4):
    assert a.shape == b.shape
    assert (a - b).abs().max() < tolerance


@pytest.mark.parametrize("size", [8, 32, 64])
def test_generator_equals_the_plain_one(size):
    net = make_generator(size)
    state = net.state_dict()
    z = torch.randn(3, DIM)
    with torch.no_grad():
        w = net.mapping(z)
        close(w, plain.mapping(state, z))
        codes = torch.randn(3, net.n_styles, DIM)
        close(net.synthesis(codes), plain.generator(state, codes))
        noise = net.make_noise(3)
        close(net.synthesis(codes, noise), plain.generator(state, codes, noise))
        assert (net.synthesis(codes, noise) - net.synthesis(codes)).abs().max() > 0.1


@pytest.mark.parametrize("batch", [1, 3, 4, 8])
@pytest.mark.parametrize(("size", "frames"), [(32, 1), (64, 5)])
def test_discriminator_equals_the_plain_one(size, frames, batch):
    net = make_discriminator(size, in_frames=frames)
    x = torch.randn(batch, 3 * frames, size, size)
    with torch.no_grad():
        logits = net(x)
        close(logits, plain.discriminator(net.state_dict(), x))
        assert logits.shape == (batch, 1)
        maps = net.features(x)
    assert [tuple(m.shape[2:]) for m in maps] == [(size >> n,) * 2 for n in range(1, len(maps) + 1)]
    assert maps[-1].shape[-1] == 4


def test_minibatch_deviation_sees_the_other_pictures():
    net = make_discriminator(32)
    x = torch.randn(8, 3, 32, 32)
    with torch.no_grad():
        alone = net(x[:1])
        assert (net(x)[:1] - alone).abs() > 1e-4
        with pytest.raises(ValueError, match="a batch of 6"):
            net(x[:6])


@pytest.mark.parametrize("leading", [1, 2])
def test_weight_offsets(leading):
    net = make_generator(32)
    codes = torch.randn(2, net.n_styles, DIM)
    offsets = []
    for layer in net.layers:
        side = 1 if layer.index % 2 else layer.kernel
        offsets.append(0.3 * torch.randn(leading, layer.out_channels, layer.in_channels, side, side))
    offsets[3] = None
    with torch.no_grad():
        close(net.synthesis(codes, offsets=offsets), plain.generator(net.state_dict(), codes, offsets=offsets))


def test_styles_mixing_truncation_and_mean():
    net = make_generator(16)
    z = torch.randn(2, 2, DIM)
    with torch.no_grad():
        w = net.mapping(z.flatten(0, 1)).view(2, 2, DIM)
        codes = net.codes(w[0], w[1], 3)
        assert torch.equal(codes[:, :3], w[0][:, None].expand(-1, 3, -1))
        assert torch.equal(codes[:, 3:], w[1][:, None].expand(-1, net.n_styles - 3, -1))
        close(net(z[0], z[1], 3, noise="fixed"), net.synthesis(codes))
        mean = net.mean_latent(5000, torch.Generator().manual_seed(1))
        sample = net.mapping(torch.randn(5000, DIM, generator=torch.Generator().manual_seed(2)))
        assert (mean - sample.mean(0)).abs().max() < 5 * sample.std() / 5000**0.5
        still = net(z[0], noise="none", truncation=0.0, mean=mean)
        close(still[0], still[1])
        assert not torch.equal(net(z[0]), net(z[0]))
    with pytest.raises(ValueError, match="crossover 0"):
        net.codes(w[0], w[1], 0)


def test_w_plus_row_to_module():
    rows = {row: [layer.module for layer in layer_table(256) if layer.style == row] for row in range(14)}
    assert rows[0] == ["conv1"]
    assert rows[1] == ["to_rgb1", "convs.0"]
    assert rows[7] == ["to_rgbs.2", "convs.6"]
    assert rows[8] == ["convs.7"]
    assert rows[13] == ["to_rgbs.5"]
    where = {layer.style: (layer.resolution, layer.up) for layer in layer_table(256) if not layer.to_rgb}
    assert [where[row] for row in (7, 8, 9, 10)] == [(64, True), (64, False), (128, True), (128, False)]
    tuned = [layer.index for layer in layer_table(256) if not layer.to_rgb]
    assert tuned == [0, 2, 3, 5, 6, 8, 9, 11, 12, 14, 15, 17, 18]  # HyperStyle's default choice


def test_each_row_moves_the_picture_of_its_modules_alone():
    """Changing one row of W+ leaves the maps of earlier convolutions untouched and changes the picture."""
    net = make_generator(32)
    codes = torch.randn(1, net.n_styles, DIM)
    seen = {}
    for layer in net.layers:
        net.get_submodule(layer.module).register_forward_hook(
            lambda _, __, out, layer=layer: seen.__setitem__(layer.index, out.clone())
        )
    with torch.no_grad():
        picture = net.synthesis(codes)
        before = dict(seen)
        for row in range(net.n_styles):
            moved = codes.clone()
            moved[:, row] += 1.0
            assert not torch.equal(net.synthesis(moved), picture)
            first = min(layer.index for layer in net.layers if layer.style == row)
            for index in range(len(net.layers)):
                same = torch.equal(seen[index], before[index])
                assert same if index < first else index > first or not same


def test_public_keys_and_constants():
    net, judge = Generator(32, 16, 2), Discriminator(32)
    keys = set(net.state_dict())
    for name in (
        *("style.1.weight", "style.2.bias", "input.input", "to_rgb1.conv.weight", "to_rgb1.bias"),
        *("conv1.conv.weight", "conv1.conv.modulation.weight", "conv1.noise.weight", "conv1.activate.bias"),
        *("convs.5.conv.modulation.bias", "convs.5.activate.bias", "to_rgbs.2.conv.weight", "to_rgbs.2.bias"),
        *("noises.noise_0", "noises.noise_6"),
    ):
        assert name in keys
    assert net.conv1.conv.weight.shape == (1, 512, 512, 3, 3)
    assert net.to_rgbs[2].bias.shape == (1, 3, 1, 1)
    assert net.noises.noise_6.shape == (1, 1, 32, 32)
    theirs = constants(net)
    assert set(theirs) == {f"convs.{n}.conv.blur.kernel" for n in (0, 2, 4)} | {
        f"to_rgbs.{n}.upsample.kernel" for n in range(3)
    }
    assert all(value.sum() == 4 and value[0, 1] == 3 / 16 for value in theirs.values())
    keys = set(judge.state_dict())
    for name in (
        *("convs.0.0.weight", "convs.0.1.bias", "convs.1.conv1.0.weight", "convs.1.conv1.1.bias"),
        *("convs.1.conv2.1.weight", "convs.1.conv2.2.bias", "convs.3.skip.1.weight", "final_conv.0.weight"),
        *("final_conv.1.bias", "final_linear.0.weight", "final_linear.1.bias"),
    ):
        assert name in keys
    theirs = constants(judge)
    assert set(theirs) == {f"convs.{n}.{part}.0.kernel" for n in (1, 2, 3) for part in ("conv2", "skip")}
    assert all(value.sum() == 1 for value in theirs.values())
    assert all(name.endswith(CONSTANT_SUFFIXES) for name in {**theirs, **constants(net)})
    assert judge.final_conv[0].weight.shape == (512, 513, 3, 3)


@pytest.mark.parametrize(("multiplier", "parameters", "gflop"), [(2.0, 27.9, 90.7), (1.0, 22.7, 30.1)])
def test_parameters_and_flops_at_256(multiplier, parameters, gflop):
    """Of the synthesis network; the mapping network adds 2.1 M parameters."""
    with torch.device("meta"):
        net = Generator(256, channel_multiplier=multiplier)
        codes = torch.empty(1, 14, 512)
    with FlopCounterMode(display=False) as counter:
        assert net.synthesis(codes).shape == (1, 3, 256, 256)
    assert counter.get_total_flops() / 1e9 == pytest.approx(gflop, abs=0.05)
    count = sum(p.numel() for p in net.parameters()) - sum(p.numel() for p in net.style.parameters())
    assert count / 1e6 == pytest.approx(parameters, abs=0.05)


def test_widths():
    assert [channels_at(2**n) for n in range(2, 9)] == [512, 512, 512, 512, 512, 256, 128]
    assert [channels_at(2**n, 1.0) for n in range(5, 9)] == [512, 256, 128, 64]
    demo = Generator(128, 192, 2, 0.25, 192)
    assert [layer.out_channels for layer in demo.layers if layer.up] == [192, 192, 128, 64, 32]
    with pytest.raises(ValueError, match="size 48"):
        Generator(48)


def test_gradients_reach_every_parameter_and_differentiate_again():
    net, judge = make_generator(32), make_discriminator(32)
    z = torch.randn(4, DIM)
    codes = net.codes(net.mapping(z))
    picture = net.synthesis(codes, "random")
    judge(picture).square().sum().backward(retain_graph=True)
    for parameter in (*net.parameters(), *judge.parameters()):
        assert torch.isfinite(parameter.grad).all()
        assert parameter.grad.abs().sum() > 0
    # the second derivatives of path-length regularisation and of R1
    net.zero_grad()
    (slope,) = torch.autograd.grad((picture * torch.randn_like(picture)).sum(), codes, create_graph=True)
    slope.square().sum(2).mean(1).sqrt().sum().backward()
    silent = {name for name, p in net.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0}
    assert silent == {"to_rgb1.bias", "to_rgbs.0.bias", "to_rgbs.1.bias", "to_rgbs.2.bias"}  # they only add
    judge.zero_grad()
    x = torch.randn(4, 3, 32, 32, requires_grad=True)
    (slope,) = torch.autograd.grad(judge(x).sum(), x, create_graph=True)
    slope.square().sum((1, 2, 3)).mean().backward()
    assert all(torch.isfinite(p.grad).all() for p in judge.parameters() if p.grad is not None)
    assert judge.convs[0][0].weight.grad.abs().sum() > 0


def test_derivatives_are_right():
    """First and second derivatives against finite differences, in float64."""
    net, judge = make_generator(8, channel_max=3).double(), make_discriminator(8, channel_max=3).double()
    codes = torch.randn(2, net.n_styles, DIM, dtype=torch.float64, requires_grad=True)
    pixels = torch.randn(2, 3, 8, 8, dtype=torch.float64, requires_grad=True)
    for function, x in ((net.synthesis, codes), (judge, pixels)):
        assert torch.autograd.gradcheck(function, (x,), fast_mode=True)
        assert torch.autograd.gradgradcheck(function, (x,), fast_mode=True)


def test_grown_generator_starts_as_the_upsampled_small_one():
    small, large = make_generator(64), make_generator(128)
    large.load_state_dict(grow_generator(small.state_dict(), 64, large))
    codes = torch.randn(2, large.n_styles, DIM)
    with torch.no_grad():
        close(large.synthesis(codes), Upsample()(small.synthesis(codes[:, :10])), 1e-5)
    large.synthesis(codes).square().sum().backward()
    assert large.to_rgbs[-1].conv.weight.grad.abs().sum() > 0


def test_grown_discriminator_keeps_its_lower_blocks():
    small, large = make_discriminator(16), make_discriminator(64)
    fresh = copy.deepcopy(large.state_dict())
    large.load_state_dict(grow_discriminator(small.state_dict(), 16, large))
    with torch.no_grad():
        y = torch.randn(4, 3, 64, 64)
        below = large.convs[:3](y)
        for block in small.convs[1:]:
            below = block(below)
        close(large.convs(y), below, 1e-6)
    for name in ("final_conv.0.weight", "final_linear.1.bias"):
        assert torch.equal(large.state_dict()[name], small.state_dict()[name])
    for name in ("convs.0.0.weight", "convs.1.conv1.0.weight", "convs.2.skip.1.weight"):
        assert torch.equal(large.state_dict()[name], fresh[name])


def test_growing_the_wrong_way_is_one_line():
    with pytest.raises(ValueError, match="choose a larger size"):
        grow_generator({}, 64, make_generator(32))
    with pytest.raises(ValueError, match="same style_dim"):
        grow_generator(make_generator(16).state_dict(), 16, make_generator(32, style_dim=8))
    with pytest.raises(ValueError, match="same style_dim"):
        grow_discriminator(make_discriminator(16, channel_max=16).state_dict(), 16, make_discriminator(32))


@pytest.mark.parametrize(
    ("size", "constant"),
    [(8, ()), (32, ()), (32, (0, 1, 2, 4)), (64, (0, 5, 6)), (64, range(10)), (64, (3, 9)), (256, FCTFG_CONSTANT)],
)
def test_synthesis_equals_the_generator(size, constant):
    net = make_generator(size, channel_max=16)
    fast = Synthesis(net, constant)
    source, rows = torch.randn(net.n_styles, DIM), torch.randn(3, len(fast.varying), DIM)
    codes = source.repeat(3, 1, 1)
    codes[:, fast.varying] = rows
    offsets = [
        None if layer.index % 3 else 0.3 * torch.randn(1, layer.out_channels, layer.in_channels, 1, 1)
        for layer in net.layers
    ]
    with torch.no_grad():
        for given in (None, offsets):
            fast.bind(source, given)
            expected = net.synthesis(codes, offsets=given)
            close(fast(rows), expected)
            close(fast(rows), expected)  # a call leaves nothing behind


def test_synthesis_says_what_is_wrong():
    net = make_generator(32)
    with pytest.raises(ValueError, match=r"constant rows \[8\]"):
        Synthesis(net, (0, 8))
    fast = Synthesis(net, (0,))
    with pytest.raises(ValueError, match="call bind first"):
        fast(torch.zeros(1, 7, DIM))
    fast.bind(torch.zeros(8, DIM))
    with pytest.raises(ValueError, match=r"needs \(B, 7, D\)"):
        fast(torch.zeros(1, 8, DIM))
    with pytest.raises(ValueError, match="leading dimension of 1"):
        fast.bind(torch.zeros(8, DIM), [torch.zeros(2, 32, 32, 1, 1)] + [None] * 10)


def test_bfloat16_stays_near():
    net = make_generator(32)
    codes = torch.randn(2, 8, DIM)
    with torch.no_grad():
        exact = net.synthesis(codes)
        with torch.autocast("cpu", torch.bfloat16):
            mixed = net.synthesis(codes)
        fast = Synthesis(net, (), torch.bfloat16).bind(codes[0])(codes)
    for rough in (mixed.float(), fast):
        assert 0 < (rough - exact).square().mean().sqrt() / exact.std() < 0.03


def test_nothing_breaks_the_graph_of_a_compiler():
    net, judge = make_generator(16), make_discriminator(16)
    fast = Synthesis(net, (0, 5)).bind(torch.randn(6, DIM))
    codes, rows = torch.randn(2, 6, DIM), torch.randn(2, 4, DIM)
    for function, x in ((net.synthesis, codes), (judge, torch.randn(2, 3, 16, 16)), (fast.__call__, rows)):
        compiled = torch.compile(function, backend="eager", fullgraph=True)
        with torch.no_grad():
            close(compiled(x), function(x), 1e-6)
