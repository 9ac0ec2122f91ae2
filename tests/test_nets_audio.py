"""The audio front end, the audio encoders and the sync expert against literal re-implementations."""

from __future__ import annotations

import numpy as np
import plain_wav2lip as plain
import pytest
import torch
import torch.nn.functional as F

from fctfg.nets.audio import AudioEncoder, part_of_checkpoint
from fctfg.nets.mel import first_column, mel, mel_windows, windows_at
from fctfg.nets.sync_expert import PUPPET_BOX, SyncExpert, lower_half


@pytest.fixture(scope="module")
def wave() -> np.ndarray:
    """A second and a bit: a chirp with noise, then silence."""
    t = np.arange(19130) / 16000
    wave = 0.4 * np.sin(2 * np.pi * (200 + 1500 * t) * t) + np.random.default_rng(0).normal(0, 0.01, len(t))
    wave[14000:] = 0
    return wave.astype(np.float32)


@pytest.fixture(scope="module")
def spectrogram(wave) -> torch.Tensor:
    return mel(torch.from_numpy(wave))


def test_mel_is_wav2lips(wave, spectrogram):
    literal = plain.melspectrogram(wave)
    assert spectrogram.shape == literal.shape == (80, 1 + 19130 // 200)
    assert np.abs(spectrogram.numpy() - literal).max() < 1e-5
    assert literal.max() > 1  # loud enough to tell
    assert (spectrogram[:, -20:-4] == -4).all()  # and silent at the end


def test_mel_of_a_batch_is_the_mel_of_each(wave):
    batch = torch.from_numpy(np.stack([wave, wave[::-1].copy()]))[None]
    together = mel(batch)
    assert together.shape == (1, 2, 80, 96)
    assert torch.equal(together[0, 1], mel(batch[0, 1]))


@pytest.mark.parametrize("samples", [1, 2, 150, 401])
def test_mel_of_sound_shorter_than_its_mirrored_margin(wave, samples):
    short = wave[100 : 100 + samples]
    assert np.abs(mel(torch.from_numpy(short)).numpy() - plain.melspectrogram(short)).max() < 1e-5


def test_silence_and_no_sound_at_all():
    assert (mel(torch.zeros(3200)) == -4).all()
    empty = mel(torch.zeros(2, 0))
    assert empty.shape == (2, 80, 1)
    windows = mel_windows(empty[0], 3)
    assert windows.shape == (3, 1, 80, 16)
    assert (windows == -4).all()


@pytest.mark.parametrize(("rule", "literal"), [("training", plain.training_window), ("sync", plain.sync_window)])
def test_windows_of_training(spectrogram, rule, literal):
    ours, compared = mel_windows(spectrogram, 31, rule=rule), 0
    for frame, window in enumerate(ours[:, 0]):
        expected = literal(spectrogram.numpy(), frame)
        if expected is not None:
            assert np.array_equal(window.numpy(), expected), frame
            compared += 1
    assert compared >= 25


def test_windows_of_inference(spectrogram):
    literal = plain.inference_windows(spectrogram.numpy())
    ours = mel_windows(spectrogram, len(literal), rule="inference")
    assert np.array_equal(ours[:, 0].numpy(), np.stack(literal))


def test_training_windows_begin_one_frame_before_those_of_inference(spectrogram):
    training, inference = mel_windows(spectrogram, 20), mel_windows(spectrogram, 20, rule="inference")
    assert torch.equal(training[1:], inference[:-1])
    assert not torch.equal(training, inference)


def test_windows_over_the_ends_hold_silence(spectrogram):
    loud = torch.ones_like(spectrogram)
    windows = mel_windows(loud, 40)
    assert (windows[0, 0, :, :4] == -4).all()  # frame 0 begins at column -4
    assert (windows[0, 0, :, 4:] == 1).all()
    assert (windows[39] == -4).all()  # the sound has 96 columns, this window begins at 121
    assert (mel_windows(loud[:, :5], 1, rule="inference")[0, 0, :, 5:] == -4).all()


@pytest.mark.parametrize("fps", [25.0, 30.0, 29.97])
def test_first_column_at_other_rates(fps):
    frames = torch.arange(1, 2000)
    assert first_column(frames, fps).tolist() == [int(80.0 * ((f - 1) / fps)) for f in frames.tolist()]


def test_windows_of_a_batch_and_from_a_first_frame(spectrogram):
    both = torch.stack([spectrogram, spectrogram.flip(1)])
    frames = torch.tensor([[3, 4, 5], [9, 2, 9]])
    windows = windows_at(both, frames)
    assert windows.shape == (2, 3, 1, 80, 16)
    assert torch.equal(windows[0], mel_windows(spectrogram, 3, first=3))
    assert torch.equal(windows[1, 1], mel_windows(both[1], 1, first=2)[0])
    assert torch.equal(windows_at(both, frames[:, 0], rule="sync")[0], mel_windows(spectrogram, 1, 25, 3, "sync")[0])


def test_an_unknown_rule_is_named(spectrogram):
    with pytest.raises(ValueError, match="training, sync, inference"):
        mel_windows(spectrogram, 1, rule="nearest")


@pytest.mark.parametrize(
    ("kind", "blocks", "shapes"),
    [
        ("generator", plain.AUDIO_GENERATOR, plain.AUDIO_GENERATOR_SHAPES),
        ("expert", plain.AUDIO_EXPERT, plain.AUDIO_EXPERT_SHAPES),
    ],
)
def test_audio_encoder_loads_and_equals_the_public_one(kind, blocks, shapes):
    state = plain.random_state(shapes, "audio_encoder.", 1)
    checkpoint = {"state_dict": {f"module.{k}": v for k, v in state.items()}, "global_step": 3}
    ours = AudioEncoder(blocks=kind).eval()
    ours.load_state_dict(part_of_checkpoint(checkpoint, "audio_encoder."), strict=True)
    ours, state = ours.double(), in_double(state)  # so that only a different formula makes a difference
    x = torch.rand(3, 1, 80, 16, generator=torch.Generator().manual_seed(2)).double() * 8 - 4
    with torch.no_grad():
        expected, found = plain.run(blocks, state, "audio_encoder.", x), ours(x)
    assert found.shape == (3, 512)
    assert expected.std() > 0.05
    torch.testing.assert_close(found, expected, atol=1e-10, rtol=1e-10)


def in_double(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: value.double() if value.is_floating_point() else value for name, value in state.items()}


def test_sync_expert_loads_and_equals_the_public_one():
    state = plain.random_state(plain.FACE_EXPERT_SHAPES, "face_encoder.", 3)
    state |= plain.random_state(plain.AUDIO_EXPERT_SHAPES, "audio_encoder.", 4)
    ours = SyncExpert().eval()
    ours.load_state_dict(part_of_checkpoint({"state_dict": state}), strict=True)
    ours, state = ours.double(), in_double(state)
    g = torch.Generator().manual_seed(5)
    face, sound = (
        torch.rand(2, 15, 48, 96, generator=g).double(),
        torch.rand(2, 1, 80, 16, generator=g).double() * 8 - 4,
    )
    with torch.no_grad():
        video, audio = ours(face, sound)
        seen = plain.run(plain.FACE_EXPERT, state, "face_encoder.", face)
        heard = plain.run(plain.AUDIO_EXPERT, state, "audio_encoder.", sound)
    torch.testing.assert_close(video, seen / seen.norm(dim=1, keepdim=True), atol=1e-10, rtol=1e-10)
    torch.testing.assert_close(audio, heard / heard.norm(dim=1, keepdim=True), atol=1e-10, rtol=1e-10)
    assert (video >= 0).all()


def test_a_checkpoint_of_something_else_is_said_to_be_so():
    with pytest.raises(ValueError, match="Wav2Lip checkpoint"):
        part_of_checkpoint({"state_dict": {"decoder.weight": torch.zeros(1)}}, "audio_encoder.")


@pytest.mark.parametrize(("width", "size"), [(0.125, 96), (0.25, 48)])
def test_widths_and_the_smaller_face(width, size):
    net = SyncExpert(width, size)
    video, audio = net(torch.rand(2, 15, size // 2, size), torch.rand(2, 1, 80, 16))
    assert video.shape == audio.shape == (2, net.dim)
    assert net.dim == int(512 * width)
    (1 - (video * audio).sum(1)).mean().backward()
    assert all(p.grad is not None for p in net.parameters())
    assert AudioEncoder(width).dim == net.dim


def pictures(size: int = 64) -> torch.Tensor:
    return torch.rand(2, 5, 3, size, size, generator=torch.Generator().manual_seed(6)) * 2 - 1


def test_lower_half_of_a_box_on_whole_pixels_is_an_antialiased_linear_resize():
    """A box on whole pixels whose border is constant: cropping first and cropping in the weights then agree."""
    frames = pictures(256)
    frames[..., :60, :] = frames[..., 200:, :] = frames[..., :60] = frames[..., 200:] = 0.3
    box = (48 / 256, 32 / 256, 240 / 256, 224 / 256)
    cut = frames[..., 32:224, 48:240]
    small = F.interpolate(cut.flatten(0, 1), size=(96, 96), mode="bilinear", antialias=True)
    expected = (small.flip(1)[:, :, 48:] + 1) / 2  # BGR, the lower half
    torch.testing.assert_close(lower_half(frames, box).view(10, 3, 48, 96), expected, atol=1e-5, rtol=0)


def test_lower_half_of_the_whole_picture_at_its_own_size_is_its_lower_half():
    frames = pictures(96)
    seen = lower_half(frames, (0, 0, 1, 1), order="rgb")
    assert seen.shape == (2, 15, 48, 96)
    torch.testing.assert_close(seen[:, 6:9], (frames[:, 2, :, 48:] + 1) / 2)
    torch.testing.assert_close(lower_half(frames, (0, 0, 1, 1))[:, 6], (frames[:, 2, 2, 48:] + 1) / 2)


@pytest.mark.parametrize("size", [32, 64, 256])
def test_lower_half_stays_in_range_and_reaches_every_pixel_of_the_box(size):
    frames = pictures(size).requires_grad_()
    seen = lower_half(frames, PUPPET_BOX)
    assert seen.min() >= 0
    assert seen.max() <= 1
    (grad,) = torch.autograd.grad(seen.sum(), frames)
    left, top, right, bottom = (round(f * size) for f in PUPPET_BOX)
    middle = (top + bottom) // 2
    assert (grad[..., middle + 1 : bottom - 1, left + 1 : right - 1] > 0).all()
    assert (grad[..., : middle - 2, :] == 0).all()
    assert (grad[..., :, right + 2 :] == 0).all()


def test_lower_half_says_what_it_needs():
    with pytest.raises(ValueError, match=r"\(B, 5, 3, S, S\)"):
        lower_half(pictures()[:, :4])
    with pytest.raises(ValueError, match="fractions"):
        lower_half(pictures(), (0.5, 0.1, 0.4, 0.9))
    with pytest.raises(ValueError, match="rgb or bgr"):
        lower_half(pictures(), order="gbr")
