"""The networks of inversion and of the losses' features: pSp, IR-SE50's ArcFace, HyperStyle, VGG-19."""

from __future__ import annotations

import plain_psp as plain
import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from fctfg.nets.generator import Generator
from fctfg.nets.hyperstyle import HyperNetwork
from fctfg.nets.ir_se import ArcFace, face_crop
from fctfg.nets.psp import PSPEncoder, folded
from fctfg.nets.vgg import VGG19Features

SMALL = {"widths": (4, 8, 12, 16), "stem": 4, "feature_width": 16, "style_dim": 10}


def randomised(net: nn.Module, seed: int = 0) -> nn.Module:
    """Weights that keep a signal through the depth, norms with moments of their own; in eval mode."""
    g = torch.Generator().manual_seed(seed)

    def draw(like, low, high):
        return torch.rand(like.shape, generator=g) * (high - low) + low

    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, nn.BatchNorm2d | nn.BatchNorm1d):
                module.running_mean.copy_(draw(module.running_mean, -0.3, 0.3))
                module.running_var.copy_(draw(module.running_var, 0.5, 1.5))
                module.weight.copy_(draw(module.weight, 0.7, 1.3) * 0.7)
                module.bias.copy_(draw(module.bias, -0.3, 0.3))
            elif isinstance(module, nn.PReLU):
                module.weight.copy_(draw(module.weight, -0.2, 0.6))
            elif isinstance(module, nn.Conv2d):
                fan = module.weight[0].numel()
                module.weight.copy_(torch.randn(module.weight.shape, generator=g) * (2 / fan) ** 0.5)
    return net.eval()


def pictures(batch: int, side: int, seed: int = 1) -> torch.Tensor:
    return torch.rand(batch, 3, side, side, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def shapes(net: nn.Module) -> dict[str, tuple[int, ...]]:
    return {k: tuple(v.shape) for k, v in net.state_dict().items()}


# ------------------------------------------------------------------------------------------------------ official form


def test_keys_and_shapes_are_the_official_files():
    with torch.device("meta"):
        assert shapes(PSPEncoder()) == plain.psp_keys(14)
        assert shapes(PSPEncoder(n_styles=18)) == plain.psp_keys(18)
        assert shapes(ArcFace()) == plain.arcface_keys()
        for size, blocks in ((256, 6), (1024, 8)):
            official = {k: v for k, v in plain.hypernet_keys(blocks).items() if ".hypernet." not in k}
            assert shapes(HyperNetwork(Generator(size))) == official


def test_full_size_costs_what_the_public_network_costs():
    def flops(layers=None):
        with FlopCounterMode(display=False) as counter:
            net(torch.empty(1, 3, 256, 256, device="meta"), layers)
        return counter.get_total_flops() / 1e9

    with torch.device("meta"):
        net = PSPEncoder()
    assert sum(p.numel() for p in net.parameters()) == pytest.approx(209.45e6, rel=1e-4)
    assert flops() == pytest.approx(119.2, abs=0.05)
    assert flops([0, 1, 2]) == pytest.approx(66.9, abs=0.05)  # neither pyramid map
    assert flops(range(7)) == pytest.approx(73.6, abs=0.05)  # no map at 1/4
    assert flops([1, 2, 3, 4, 7, 8, 9, 10]) == pytest.approx(96.3, abs=0.05)  # the motion code's


# ---------------------------------------------------------------------------------------------------------------- pSp


@pytest.mark.parametrize(
    ("size", "n_styles", "units", "changes"),
    [
        (64, 10, (3, 4, 14, 3), {}),
        (256, 14, (1, 1, 1, 1), {"widths": (2, 4, 4, 6), "stem": 3, "feature_width": 6, "style_dim": 4}),
        (32, 8, (2, 1, 2, 1), {"widths": (4, 8, 16, 16), "head_width": 12}),
    ],
)
def test_psp_equals_a_plain_implementation(size, n_styles, units, changes):
    net = randomised(PSPEncoder(size=size, n_styles=n_styles, units=units, **SMALL | changes))
    x = pictures(3, size)
    with torch.no_grad():
        codes = net(x)
    expected = plain.psp(net.state_dict(), x, units)
    assert codes.shape == (3, n_styles, (SMALL | changes)["style_dim"])
    assert expected.std(0).mean() > 0.05  # the pictures are seen, not only the biases
    assert (codes - expected).abs().max() < 1e-4 * expected.abs().max().clamp(min=1)


def test_only_the_heads_asked_for_are_computed_and_they_are_the_same():
    net = randomised(PSPEncoder(size=64, n_styles=10, units=(1, 1, 1, 1), **SMALL))
    fast, x = folded(net), pictures(2, 64)
    with torch.no_grad():
        for encoder in (net, fast):
            everything = encoder(x)
            for layers in ([0], [2, 1], [3, 6], [7], [9, 0, 4], range(10), (5, 5)):
                assert torch.equal(encoder(x, layers), everything[:, list(layers)])
    called = []
    for i, head in enumerate(net.styles):
        head.register_forward_hook(lambda *_, i=i: called.append(i))
    net.latlayer2.register_forward_hook(lambda *_: called.append("p1"))
    net(x, [4, 1])
    assert called == [4, 1]


def test_folded_equals_the_encoder():
    for size, n_styles in ((64, 10), (32, 8)):
        net = randomised(PSPEncoder(size=size, n_styles=n_styles, units=(3, 4, 14, 3), **SMALL))
        fast, x = folded(net), pictures(3, size)
        with torch.no_grad():
            expected = net(x)
        found = fast(x)
        assert (found - expected).abs().max() < 2e-5 * expected.abs().max().clamp(min=1)
        assert not found.requires_grad
        assert not any(isinstance(m, nn.BatchNorm2d) for m in fast.modules())
    for p in net.parameters():
        p.data.zero_()
    assert torch.equal(fast(x), found)  # a copy
    with pytest.raises(ValueError, match="folded for 32"):
        fast(pictures(1, 64))


def test_tiles_are_channels_and_nothing_of_the_picture_is_lost():
    net = randomised(PSPEncoder(size=64, n_styles=8, units=(1, 1, 1, 1), tile=2, **SMALL))
    whole = randomised(PSPEncoder(size=32, n_styles=8, units=(1, 1, 1, 1), **SMALL))
    assert [m.shape for m in net.styles.parameters()] == [m.shape for m in whole.styles.parameters()]
    x = pictures(2, 64)
    tiles = x.view(2, 3, 32, 2, 32, 2).permute(0, 1, 3, 5, 2, 4).reshape(2, 12, 32, 32)
    seen = []
    net.input_layer.register_forward_hook(lambda _, given, made: seen.append(given[0]))
    with torch.no_grad():
        expected = net(x)
    assert torch.equal(seen[0], tiles)
    found = folded(net)(x)
    assert (found - expected).abs().max() < 2e-5 * expected.abs().max().clamp(min=1)
    with pytest.raises(ValueError, match="tile 4"):
        PSPEncoder(size=64, tile=4)


def test_folding_needs_its_corrections_at_the_edge():
    """The norm before a convolution shifts; the zeros outside the map are not shifted."""
    net = randomised(PSPEncoder(size=32, n_styles=3, units=(1, 1, 1, 1), **SMALL))
    fast, x = folded(net), pictures(1, 32)
    expected = fast(x)
    for unit in fast.body:
        unit.rows.zero_()
        unit.columns.zero_()
    assert (fast(x) - expected).abs().max() > 1e-3


def test_psp_differentiates_twice():
    net = randomised(PSPEncoder(size=32, n_styles=8, units=(1, 1, 1, 1), **SMALL)).train()
    x = pictures(2, 32).requires_grad_()
    (slope,) = torch.autograd.grad(net(x).square().sum(), x, create_graph=True)
    slope.square().sum().backward()
    assert all(p.grad is not None for p in net.body.parameters())
    assert all(torch.isfinite(p.grad).all() for p in net.parameters() if p.grad is not None)


def test_psp_refuses_what_it_cannot_be():
    with pytest.raises(ValueError, match="size 48 and tile 1 must be powers of two"):
        PSPEncoder(size=48)
    with pytest.raises(ValueError, match="last of them feature_width"):
        PSPEncoder(widths=(4, 8, 12, 16))
    with pytest.raises(ValueError, match="as many"):
        PSPEncoder(units=(1, 2))
    with pytest.raises(IndexError, match=r"within 0\.\.7"):
        PSPEncoder(size=32, n_styles=8, units=(1, 1, 1, 1), **SMALL)(pictures(1, 32), [8])


# ------------------------------------------------------------------------------------------------------------ ArcFace


def test_arcface_equals_a_plain_implementation():
    net = randomised(ArcFace(size=32, dim=10, widths=(4, 8, 12, 16), stem=4))
    x = pictures(3, 32)
    with torch.no_grad():
        found = net(x)
    expected = plain.arcface(net.state_dict(), x)
    assert (found - expected).abs().max() < 1e-4
    assert torch.allclose(found.norm(dim=1), torch.ones(3))
    assert (found[0] - found[1]).abs().max() > 0.01
    with pytest.raises(ValueError, match="multiple of 16"):
        ArcFace(size=100)


def test_the_face_crop_is_psps():
    x = torch.arange(256.0).expand(1, 3, 256, 256)
    assert face_crop(x, 188)[0, 0, 0].tolist() == list(range(32, 220))
    assert face_crop(x.mT, 188)[0, 0, :, 0].tolist() == list(range(35, 223))
    assert face_crop(pictures(2, 64)).shape == (2, 3, 112, 112)


# --------------------------------------------------------------------------------------------------------- HyperStyle


def hyper(size: int = 32, **changes) -> tuple[HyperNetwork, Generator]:
    """A hypernetwork whose offsets are not zero, and its generator (two widths, so both sorts of predictor)."""
    torch.manual_seed(0)
    generator = Generator(size, style_dim=6, mapping_layers=1, channel_multiplier=8 * 16 / 16384, channel_max=16)
    net = randomised(HyperNetwork(generator, units=(1, 2, 1, 1), widths=(4, 6, 8, 10), stem=5, inner=(3, 7), **changes))
    for p in (net.shared_weight_hypernet.w1, net.shared_weight_hypernet.b1):
        nn.init.normal_(p, std=0.05)
    return net, generator


@pytest.mark.parametrize("size", [32, 64])
def test_the_hypernetwork_equals_a_plain_implementation(size):
    net, generator = hyper(size, code=9)
    x, y = pictures(2, size), pictures(2, size, seed=2)
    with torch.no_grad():
        found = net(x, y)
    tuned = {layer.index: (layer.out_channels, layer.in_channels) for layer in generator.layers if not layer.to_rgb}
    assert 0 < len(net.shared) < len(tuned)
    expected = plain.hypernet(net.state_dict(), x, y, tuned, (1, 2, 1, 1))
    assert [i for i, offset in enumerate(found) if offset is not None] == sorted(tuned)
    for i, offset in expected.items():
        assert (found[i] - offset).abs().max() < 1e-4 * offset.abs().max()
        assert offset[0].sub(offset[1]).abs().max() > 1e-4


def test_offsets_start_at_zero_and_can_be_learned():
    torch.manual_seed(0)
    generator = Generator(32, style_dim=6, mapping_layers=1, channel_multiplier=8 * 16 / 16384, channel_max=16)
    net = HyperNetwork(generator)
    w = torch.randn(2, generator.n_styles, 6)
    x = pictures(2, 32)
    offsets = net.refine(x, generator, w, 2)
    assert all(o is None or not o.any() for o in offsets)
    made = generator.synthesis(w, offsets=offsets)
    assert torch.allclose(made, generator.synthesis(w), atol=1e-5)
    optimiser = torch.optim.Adam(net.parameters(), 1e-2)
    before = (made - x).square().mean().item()
    for _ in range(4):
        optimiser.zero_grad()
        for _, picture in net.refinements(x, generator, w, 2):
            loss = (picture - x).square().mean()
            loss.backward()
        optimiser.step()
    assert loss.item() < 0.9 * before


def test_refinement_adds_up_and_feeds_back():
    net, generator = hyper()
    w, x = torch.randn(2, generator.n_styles, 6), pictures(2, 32)
    with torch.no_grad():
        y, total = generator.synthesis(w), [0] * len(generator.layers)
        for _ in range(3):
            total = [None if o is None else t + o for t, o in zip(total, net(x, y), strict=True)]
            y = generator.synthesis(w, offsets=total)
        found = net.refine(x, generator, w, 3)
        *_, (offsets, picture) = net.refinements(x, generator, w, 3)
    assert torch.allclose(picture, y, atol=1e-5)
    for a, b, c in zip(total, found, offsets, strict=True):
        assert (a is None and b is None and c is None) or (torch.allclose(a, b) and torch.allclose(a, c))
    with pytest.raises(ValueError, match="at least 1"):
        net.refine(x, generator, w, 0)


def test_pictures_larger_than_the_hypernetwork_looks_at_are_averaged():
    net, generator = hyper(64, picture=32)
    w, x = torch.randn(1, generator.n_styles, 6), pictures(1, 64)
    small = nn.functional.avg_pool2d(x, 2), nn.functional.avg_pool2d(generator.synthesis(w), 2)
    for a, b in zip(net.refine(x, generator, w, 1), net(*small), strict=True):
        assert (a is None and b is None) or torch.allclose(a, b, atol=1e-6)


# ------------------------------------------------------------------------------------------------------------- VGG-19


def test_vgg_taps_are_those_of_the_plain_network():
    torch.manual_seed(0)
    net = VGG19Features()
    layers, before = [], 3
    for width in [64, 64, 0, 128, 128, 0, *[256] * 4, 0, *[512] * 4, 0, *[512] * 4, 0]:
        if width == 0:
            layers.append(nn.MaxPool2d(2, 2))
        else:
            layers += [nn.Conv2d(before, width, 3, padding=1), nn.ReLU()]
            before = width
    reference = nn.ModuleDict({"features": nn.Sequential(*layers)})
    reference.load_state_dict(net.state_dict())
    x = pictures(2, 32)
    colours = (x / 2 + 0.5 - torch.tensor([0.485, 0.456, 0.406])[:, None, None]) / torch.tensor([0.229, 0.224, 0.225])[
        :, None, None
    ]
    found = net(x)
    assert [tuple(m.shape[1:]) for m in found] == [(64, 32, 32), (128, 16, 16), (256, 8, 8), (512, 4, 4), (512, 2, 2)]
    for end, maps in zip((2, 7, 12, 21, 30), found, strict=True):
        assert torch.allclose(maps, reference["features"][:end](colours), atol=1e-6)
    assert not any(p.requires_grad for p in net.parameters())
    assert [m.shape[1] for m in VGG19Features(("relu4_2", "relu1_2"))(x)] == [64, 512]
    with pytest.raises(ValueError, match="must be among relu1_1"):
        VGG19Features(("conv1_1",))


def test_vgg_gradients_reach_the_picture():
    net, x = VGG19Features(("relu2_1",)), pictures(1, 16).requires_grad_()
    net(x)[0].sum().backward()
    assert x.grad.abs().max() > 0
