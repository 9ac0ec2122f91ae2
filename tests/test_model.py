"""FC-TFG's own part: canonical space, motion space, fusion; what each ambiguous field of the recipe does."""

import pytest
import tiny_model
import torch
from torch.nn import functional as F

from fctfg import model, recipes
from fctfg.nets.latent import CanonicalEncoder, LayeredMLP, MotionEncoder, TemporalFusion


@pytest.fixture(scope="module")
def tiny():
    return tiny_model.build()


@pytest.fixture(scope="module")
def inputs():
    return tiny_model.inputs()


@torch.no_grad()
def codes_of(net, inputs):
    return net.codes(*inputs)


# -- the parts, written out by hand -----------------------------------------------------------------------------------


def test_layered_mlp_is_one_small_mlp_for_each_layer():
    torch.manual_seed(0)
    mlp = LayeredMLP(3, (4, 6, 6, 5), slope=0.2)
    for bias in mlp.biases:
        torch.nn.init.normal_(bias)
    x = torch.randn(7, 3, 4)
    out = mlp(x)
    for layer in range(3):
        h = x[:, layer]
        for i, (weight, bias) in enumerate(zip(mlp.weights, mlp.biases, strict=True)):
            h = F.leaky_relu(h, 0.2) if i else h
            h = h @ weight[layer] + bias[layer]
        torch.testing.assert_close(out[:, layer], h)


def test_canonical_encoder_has_two_linear_layers_and_motion_encoder_three():
    assert len(CanonicalEncoder(8, 16, 16).weights) == 2
    motion = MotionEncoder([False] * 4 + [True] * 2 + [False] * 2, 16, 12, 16)
    assert (len(motion.visual.weights), len(motion.audiovisual.weights)) == (3, 3)
    assert motion.visual.weights[0].shape == (6, 16, 16)
    assert motion.audiovisual.weights[0].shape == (2, 28, 16)


def test_motion_encoder_joins_audio_by_concatenation_in_its_rows():
    torch.manual_seed(0)
    motion = MotionEncoder([False, True, False, True], 4, 3, 8)
    codes, audio = torch.randn(5, 4, 4), torch.randn(5, 3)
    out = motion(codes, audio)
    torch.testing.assert_close(out[:, [0, 2]], motion.visual(codes[:, [0, 2]]))
    joined = torch.cat([codes[:, [1, 3]], audio[:, None].expand(-1, 2, -1)], 2)
    torch.testing.assert_close(out[:, [1, 3]], motion.audiovisual(joined))


def test_fusion_by_convolution_is_a_sum_over_neighbouring_frames():  # A7
    torch.manual_seed(0)
    fusion = TemporalFusion("conv", 2, 4, kernel=3, start="default")
    codes = torch.randn(1, 5, 2, 4)
    out = fusion(codes)
    weight, bias = fusion.conv.weight.view(2, 4, 4, 3), fusion.conv.bias.view(2, 4)
    for layer in range(2):
        for t in range(5):
            expected = bias[layer].clone()
            for k in range(3):
                if 0 <= t + k - 1 < 5:  # nothing is known of what lies outside the window
                    expected = expected + weight[layer, :, :, k] @ codes[0, t + k - 1, layer]
            torch.testing.assert_close(out[0, t, layer], expected)


@pytest.mark.parametrize("kind", ["conv", "lstm"])
@pytest.mark.parametrize("shared", [False, True])
def test_fusion_keeps_windows_apart(kind, shared):  # A7
    torch.manual_seed(0)
    fusion = TemporalFusion(kind, 3, 8, shared=shared)
    codes = torch.randn(4, 5, 3, 8)
    whole = fusion(codes)
    assert whole.shape == codes.shape
    torch.testing.assert_close(fusion(codes[2:3]), whole[2:3])
    moved = codes.clone()
    moved[0] += 1
    torch.testing.assert_close(fusion(moved)[1:], whole[1:])


@pytest.mark.parametrize("scale", [1.0, 20.0])  # a trained model's codes are large
@pytest.mark.parametrize("kind", ["conv", "lstm"])
@pytest.mark.parametrize("shared", [False, True])
def test_fusion_starts_as_the_identity(kind, shared, scale):  # A7
    torch.manual_seed(0)
    codes = scale * torch.randn(2, 5, 3, 64)
    near = (TemporalFusion(kind, 3, 64, shared=shared)(codes) - codes).std()
    far = (TemporalFusion(kind, 3, 64, shared=shared, start="default")(codes) - codes).std()
    assert near < 0.1 * scale < far


def test_an_lstm_looks_at_earlier_frames_of_the_window():
    torch.manual_seed(0)
    fusion, codes = TemporalFusion("lstm", 3, 8), torch.randn(1, 5, 3, 8)
    before = fusion(codes)
    codes[:, 0] += 1
    assert (fusion(codes) - before)[:, 1:].abs().amax((0, 2, 3)).min() > 0


def test_fusion_refuses_what_it_cannot_do():
    with pytest.raises(ValueError, match="conv, lstm or none"):
        TemporalFusion("gru", 2, 4)
    with pytest.raises(ValueError, match="odd"):
        TemporalFusion("conv", 2, 4, kernel=4)


# -- Eq. 1 and Eq. 2 --------------------------------------------------------------------------------------------------


def test_styles_are_the_fused_sum_of_canonical_and_motion_codes(tiny, inputs):  # Eq. 1
    codes = codes_of(tiny, inputs)
    with torch.no_grad():
        fused = tiny.fusion(codes.canonical[:, None] + codes.motion)
    assert torch.equal(codes.styles[:, :, list(tiny.layers)], fused)


def test_untouched_layers_are_bit_equal_to_the_source_s(tiny, inputs):  # A4
    codes = codes_of(tiny, inputs)
    untouched = [i for i in range(tiny.n_styles) if i not in tiny.layers]
    assert untouched == [0, 5, 6]
    for t in range(5):
        assert torch.equal(codes.styles[:, t, untouched], codes.source[:, untouched])


def test_untouched_canonical_gives_the_driver_no_say_either(inputs):  # A4
    net = tiny_model.build("latent.untouched=canonical")
    codes = codes_of(net, inputs)
    untouched = [i for i in range(net.n_styles) if i not in net.layers]
    assert codes.canonical.shape[1] == net.n_styles
    assert torch.equal(codes.styles[:, 0, untouched], codes.canonical[:, untouched])
    assert not torch.equal(codes.styles[:, 0, untouched], codes.source[:, untouched])


def test_audio_changes_its_layers_only(tiny, inputs):
    source, driving, mels = inputs
    one = codes_of(tiny, inputs).styles
    other = codes_of(tiny, (source, driving, mels + 1)).styles
    changed = [i for i in range(tiny.n_styles) if not torch.equal(one[:, :, i], other[:, :, i])]
    assert tuple(changed) == tiny.audio_layers == (7, 8)


def test_audio_layers_move_with_counting_from_one(inputs):  # A1
    net = tiny_model.build("latent.count_from=1")
    assert (net.layers, net.audio_layers) == ((0, 1, 2, 3, 6, 7, 8, 9), (6, 7))
    source, driving, mels = inputs
    one, other = codes_of(net, inputs).styles, codes_of(net, (source, driving, mels + 1)).styles
    assert [i for i in range(10) if not torch.equal(one[:, :, i], other[:, :, i])] == [6, 7]


def test_the_driver_s_other_rows_are_never_looked_at(tiny, inputs):
    """Only the manipulated rows of z_d enter Eq. 2, so that inference may leave the other heads out."""
    driving = inputs[1]
    with torch.no_grad():
        whole = tiny.encode(driving.flatten(0, 1))[:, list(tiny.layers)]
        only = tiny.encode(driving.flatten(0, 1), tiny.layers)
    torch.testing.assert_close(whole, only)


def test_codes_include_the_average_latent(tiny, inputs):  # A2
    with torch.no_grad():
        torch.testing.assert_close(tiny.encode(inputs[0]) - tiny.average, tiny.encoder(inputs[0]))


def test_centred_codes_are_what_the_mlps_see(inputs):  # A2
    plain, centred = tiny_model.build(), tiny_model.build("latent.center=true")
    with torch.no_grad():
        z = plain.encode(inputs[0])
        torch.testing.assert_close(centred.canonical_code(z + 0), plain.canonical_code(z - plain.average))
        rows, audio = z[:, list(plain.layers)], torch.zeros(2, plain.audio_encoder.dim)
        shifted = rows - plain.average[list(plain.layers)]
        torch.testing.assert_close(centred.motion_code(rows, audio), plain.motion_code(shifted, audio))


def test_training_starts_from_the_average_face(inputs):  # A5
    net = tiny_model.build()
    with torch.no_grad():
        off = (net.canonical_code(net.encode(inputs[0])) - net.average[list(net.layers)]).abs().mean()
        other = tiny_model.build("latent.start_at_average=false")
        far = (other.canonical_code(other.encode(inputs[0])) - other.average[list(other.layers)]).abs().mean()
    assert off < far / 3


def test_hidden_width_and_slope_reach_the_mlps():  # A5
    net = tiny_model.build("latent.hidden=24", "latent.slope=0.1")
    assert net.canonical.weights[0].shape[-1] == net.motion.visual.weights[1].shape[-1] == 24
    assert net.canonical.slope == net.motion.audiovisual.slope == 0.1


@pytest.mark.parametrize("blocks", ["generator", "expert"])
def test_audio_encoder_kind(blocks):  # A13
    net = tiny_model.build(f"audio.encoder={blocks}")
    assert len(net.audio_encoder) == {"generator": 13, "expert": 14}[blocks]


# -- the whole --------------------------------------------------------------------------------------------------------


def test_frames_come_from_the_styles(tiny, inputs):
    with torch.no_grad():
        frames, codes = tiny(*inputs)
        expected = tiny.generator.synthesis(codes.styles.flatten(0, 1)).unflatten(0, (2, 5))
    assert frames.shape == (2, 5, 3, 64, 64)
    torch.testing.assert_close(frames, expected)


def test_weight_offsets_are_the_source_s_and_the_same_for_all_frames(inputs):  # A3
    net = tiny_model.build("encoder.weight_offsets=true", "encoder.offset_iterations=2")
    source, driving, mels = inputs
    with torch.no_grad():
        z_s = net.encode(source)
        offsets = net.offsets(source, z_s)
        frames, codes = net(source, driving, mels)
        one = net.generator.synthesis(codes.styles[:, 2], offsets=offsets)
        other_driver, _ = net(source, driving.flip(0), mels)
    torch.testing.assert_close(frames[:, 2], one, rtol=1e-4, atol=1e-5)
    assert not torch.equal(frames, other_driver)
    assert tiny_model.build().offsets(source, z_s) is None


def test_every_parameter_has_a_gradient(inputs):
    net = tiny_model.build().train()
    frames, codes = net(*inputs)
    (frames.square().mean() + codes.canonical.square().mean()).backward()
    without = [name for name, p in net.named_parameters() if p.grad is None or not torch.isfinite(p.grad).all()]
    assert all(name.startswith("generator.style.") for name in without), without  # the mapping network is not in use


def test_canonical_face_needs_the_source_alone(tiny, inputs):
    with torch.no_grad():
        face = tiny.canonical_face(inputs[0])
    assert face.shape == (2, 3, 64, 64)


def test_audio_layers_must_be_manipulated():
    recipe = recipes.override(tiny_model.recipe(), "latent.audio_layers=5")
    with pytest.raises(ValueError, match=r"audio layers \[5\] are not among the manipulated"):
        model.build(recipe)


@pytest.mark.parametrize("fusion", ["conv", "lstm", "none"])
def test_a_window_of_one_frame_works(fusion):
    net = tiny_model.build(f"latent.fusion={fusion}")
    with torch.no_grad():
        frames, _ = net(*tiny_model.inputs(batch=1, frames=1))
    assert frames.shape == (1, 1, 3, 64, 64)
