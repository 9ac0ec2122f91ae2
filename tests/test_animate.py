"""Inference equals the model's own forward pass at any batch; memory stays bounded; nothing is computed twice."""

from __future__ import annotations

import gc
import threading
import weakref

import numpy as np
import pytest
import tiny_model
import torch

from fctfg import animate, media, model_file
from fctfg import model as model_type
from fctfg.animate import Animator, DeviceError
from fctfg.nets import mel
from fctfg.streaming import SoundWindows, ahead, limited, rechunked, to_and_fro

SIZE = 64


def noise(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*shape, SIZE, SIZE, 3)).astype(np.uint8)


def voice(seconds: float, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.1, round(seconds * 16000)).clip(-1, 1).astype(np.float32)


def hearing(*changes: str) -> model_type.FCTFG:
    """A tiny model in which the sound shows: drawn statistics would hide it."""
    model = tiny_model.build(*changes)
    with torch.no_grad():
        model.audio_encoder.train()
        for _ in range(30):
            model.audio_encoder(torch.randn(16, 1, 80, 16))
        model.audio_encoder.eval()
        model.motion.audiovisual.weights[-1].mul_(30)
    return model


@pytest.fixture
def as_floats(monkeypatch):
    """Frames come out as they leave the generator, before rounding."""
    monkeypatch.setattr(animate, "to_bytes", lambda pictures: pictures.permute(0, 2, 3, 1).numpy())


def collected(chunks) -> np.ndarray:
    return np.concatenate(list(chunks))


def by_hand(model, source, driving, audio) -> np.ndarray:
    """FCTFG.forward on windows one after the other, as plainly as it can be written."""
    t = model.recipe.latent.window
    rule = model.recipe.audio.window_rule
    mels = mel.mel_windows(mel.mel(torch.from_numpy(audio)), len(driving), rule=rule)
    pictures = torch.from_numpy(driving).permute(0, 3, 1, 2) / 127.5 - 1
    picture = torch.from_numpy(source[None]).permute(0, 3, 1, 2) / 127.5 - 1
    with torch.no_grad():
        made = [
            model(picture, pictures[None, i : i + t], mels[None, i : i + t])[0][0] for i in range(0, len(driving), t)
        ]
    return torch.cat(made).permute(0, 2, 3, 1).numpy()


@pytest.mark.parametrize(
    "changes",
    [
        (),
        ("latent.untouched=canonical",),
        ("latent.fusion=lstm",),
        ("latent.fusion=none",),
        ("latent.window=3", "latent.fusion_start=default"),
        ("audio.window_rule=inference", "latent.center=true"),
        ("latent.layers=4,3,1,2,8,7",),
        ("latent.count_from=1",),
        ("encoder.weight_offsets=true", "encoder.offset_iterations=2"),
    ],
    ids=lambda c: ",".join(c) or "default",
)
def test_it_is_the_forward_pass_on_windows(changes, as_floats):
    """13 frames: two whole windows and one of three."""
    model = hearing(*changes)
    if model.hypernetwork is not None:  # it starts at zero
        for parameter in model.hypernetwork.parameters():
            torch.nn.init.normal_(parameter, std=0.05)
    source, driving, audio = noise(0), noise(1, 13), voice(0.4)
    wanted = by_hand(model, source, driving, audio)
    made = collected(Animator(model, "cpu", batch=5).animate(source, driving, audio))
    assert made.shape == (13, SIZE, SIZE, 3)
    assert wanted.std() > 0.1
    np.testing.assert_allclose(made, wanted, atol=1e-4)
    deaf = by_hand(model, source, driving, np.roll(audio, 3 * 640))
    assert np.abs(deaf - wanted).max() > 0.01  # the right sound at the right frame is part of what is compared


def test_batch_and_chunks_do_not_matter(as_floats):
    """Between batch sizes float32 convolutions may sum in another order: within 2e-5 of a value of about 1."""
    model = hearing()
    source, driving, audio = noise(0), noise(1, 23), voice(1)
    one = collected(Animator(model, "cpu", batch=1).animate(source, driving, audio))
    for batch in (7, 20, 500):
        other = collected(Animator(model, "cpu", batch=batch).animate(source, driving, audio))
        np.testing.assert_allclose(other, one, atol=2e-5)
    for size in (1, 4, 23):
        chunks = (driving[i : i + size] for i in range(0, 23, size))
        assert np.array_equal(collected(Animator(model, "cpu", batch=1).animate(source, chunks, audio)), one)


def test_batches_are_whole_windows():
    model = tiny_model.build()
    assert [Animator(model, "cpu", batch=b).batch for b in (1, 5, 6, 32)] == [5, 5, 10, 35]
    chunks = list(Animator(model, "cpu", batch=10).animate(noise(0), noise(1, 23)))
    assert [len(c) for c in chunks] == [10, 10, 3]
    assert all(c.dtype == np.uint8 and c.shape[1:] == (SIZE, SIZE, 3) for c in chunks)


def test_the_canonical_face():
    model = tiny_model.build("latent.fusion_start=default")
    source = noise(0)
    with torch.no_grad():
        wanted = model.canonical_face(torch.from_numpy(source[None]).permute(0, 3, 1, 2) / 127.5 - 1)
    wanted = ((wanted[0].permute(1, 2, 0) + 1) * 127.5).clamp(0, 255).numpy()
    made = Animator(model, "cpu").canonical(source)
    assert made.dtype == np.uint8
    assert made.std() > 1
    np.testing.assert_allclose(made, wanted, atol=0.51)


def test_nothing_is_computed_twice(monkeypatch):
    """The source passes the encoder once; driving frames only the heads of manipulated layers; no head for the rest."""
    model = tiny_model.build()
    asked: list[tuple[int, object]] = []
    animator = Animator(model, "cpu", batch=10)
    for name, net in (("source", model.encoder), ("driving", animator._encoder)):
        whole = type(net).forward

        def spy(self, x, layers=None, name=name, whole=whole):
            asked.append((name, len(x), layers))
            return whole(self, x, layers)

        monkeypatch.setattr(net, "forward", spy.__get__(net))
    heads = []
    for number, head in enumerate(animator._encoder.styles):
        head.register_forward_hook(lambda *_, number=number: heads.append(number))
    collected(animator.animate(noise(0), noise(1, 25), voice(1)))
    assert asked == [("source", 1, None), *[("driving", n, model.layers) for n in (10, 10, 5)]]
    assert set(heads) == set(model.layers) != set(range(model.n_styles))


def test_lengths():
    animator = Animator(tiny_model.build(), "cpu", batch=5)
    source, driving = noise(0), noise(1, 12)

    def frames(seconds, length):
        return len(collected(animator.animate(source, driving, voice(seconds), length)))

    assert frames(0.2, "driving") == frames(3, "driving") == 12
    assert frames(3, "shortest") == 12
    assert frames(0.2, "shortest") == 5
    assert frames(0.2001, "shortest") == 6  # the last frame begun is shown
    assert frames(0.2, "audio") == 5
    assert frames(3, "audio") == 75
    assert list(animator.animate(source, driving, None, "audio")) == []


def test_the_driving_frames_go_back_and_forth(as_floats):
    model = tiny_model.build("latent.fusion=none")  # no neighbours: a frame's picture is its own
    animator = Animator(model, "cpu", batch=5)
    driving = noise(1, 4)
    made = collected(animator.animate(noise(0), driving, np.zeros(11 * 640, np.float32), "audio"))
    there = [0, 1, 2, 3, 2, 1, 0, 1, 2, 3, 2]
    again = collected(animator.animate(noise(0), driving[there], np.zeros(11 * 640, np.float32)))
    np.testing.assert_allclose(made, again, atol=2e-5)


def test_memory_does_not_grow_with_the_video():
    """Of a long stream only what is in work is alive, and it is not read ahead by more than a few batches."""
    animator = Animator(tiny_model.build(size=32), "cpu", batch=5)
    alive: list[weakref.ref] = []
    most = given = taken = 0

    def stream():
        nonlocal given
        for k in range(120):
            chunk = np.full((5, 32, 32, 3), k, np.uint8)
            alive.append(weakref.ref(chunk))
            given += 5
            yield chunk
            del chunk

    for made in animator.animate(np.zeros((32, 32, 3), np.uint8), stream(), voice(24)):
        taken += len(made)
        assert given - taken <= 5 * 5
        most = max(most, sum(r() is not None for r in alive))
    gc.collect()
    assert taken == 600
    assert most <= 6
    assert sum(r() is not None for r in alive) <= 1


def test_frames_of_another_size_are_resized_and_others_refused():
    animator = Animator(tiny_model.build(), "cpu", batch=5)
    driving = noise(1, 5)
    large = media.resize(driving, (96, 96))
    one = collected(animator.animate(noise(0), media.resize(large, (SIZE, SIZE))))
    assert np.array_equal(collected(animator.animate(noise(0), large)), one)
    with pytest.raises(ValueError, match=r"frames are 64x32; cut them"):
        animator.animate(noise(0)[:32], driving)
    with pytest.raises(ValueError, match=r"uint8 RGB, not .* float64"):
        list(animator.animate(noise(0), driving / 255))
    with pytest.raises(ValueError, match=r"audio must be \(N,\) float at 16 kHz, not \(2, 640\)"):
        animator.animate(noise(0), driving, np.zeros((2, 640), np.float32))
    with pytest.raises(ValueError, match="length 'longest': choose from driving, audio, shortest"):
        animator.animate(noise(0), driving, None, "longest")
    with pytest.raises(ValueError, match="must be one picture"):
        animator.animate(noise(0, 2), driving)
    with pytest.raises(ValueError, match="batch 0: give at least one frame"):
        Animator(tiny_model.build(), "cpu", batch=0)


def test_one_frame_and_no_sound():
    animator = Animator(tiny_model.build(), "cpu")
    one = collected(animator.animate(noise(0), noise(1, 1)))
    assert len(one) == 1
    assert np.array_equal(one, collected(animator.animate(noise(0), noise(1, 1), np.zeros(0, np.float32))))
    assert list(animator.animate(noise(0), [])) == []


def test_sound_moves_the_lips_layers_only_through_its_rows(as_floats):
    """Another sound changes the picture; the animator hears it at the right frame."""
    animator = Animator(hearing("latent.fusion=none"), "cpu", batch=5)
    audio = voice(1)
    late = audio.copy()
    late[12 * 640 :] = 0
    one, other = (collected(animator.animate(noise(0), noise(1, 25), a)) for a in (audio, late))
    changed = np.abs(one - other).max((1, 2, 3)) > 1e-5
    # the training rule's window begins one frame early and spans five frames; the spectrogram looks 25 ms further
    assert not changed[:8].any()
    assert changed[9:17].all()


def test_several_threads_may_share_one_animator():
    animator = Animator(tiny_model.build(), "cpu", batch=5)
    wanted = [collected(animator.animate(noise(k), noise(9, 10), voice(0.4, k))) for k in range(3)]
    made: dict[int, np.ndarray] = {}

    def work(k):
        made[k] = collected(animator.animate(noise(k), noise(9, 10), voice(0.4, k)))

    threads = [threading.Thread(target=work, args=(k,)) for k in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for k in range(3):
        np.testing.assert_allclose(made[k].astype(int), wanted[k], atol=1)


def test_bf16_stays_near_fp32():
    """Half a per cent of the range, root mean square, on a model of drawn weights."""
    model = tiny_model.build()
    source, driving, audio = noise(0), noise(1, 10), voice(0.4)
    full = collected(Animator(model, "cpu", "fp32", batch=5).animate(source, driving, audio)).astype(float)
    half = collected(Animator(model, "cpu", "bf16", batch=5).animate(source, driving, audio)).astype(float)
    error = np.sqrt(np.mean((full - half) ** 2))
    assert 0 < error < 0.005 * 255 * 3
    assert error < full.std() / 10


def test_compiled_code_serves_every_source(monkeypatch):
    """Compiled once for the encoder and once for the generator, not anew for each source or for the last batch."""
    from torch._dynamo.testing import CompileCounter

    counter = CompileCounter()
    compile_ = torch.compile
    monkeypatch.setattr(torch, "compile", lambda f, **options: compile_(f, backend=counter, **options))
    model = tiny_model.build(size=32)
    compiled, plain = Animator(model, "cpu", batch=5, compiled=True), Animator(model, "cpu", batch=5)
    driving = np.random.default_rng(0).integers(0, 256, (7, 32, 32, 3)).astype(np.uint8)
    for k in range(3):
        one = collected(compiled.animate(driving[k], driving, voice(0.3)))
        two = collected(plain.animate(driving[k], driving, voice(0.3)))
        np.testing.assert_allclose(one.astype(int), two, atol=1)
        assert counter.frame_count == 2


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_cuda_graphs_and_batches_agree_on_a_gpu():
    model = tiny_model.build()
    source, driving, audio = noise(0), noise(1, 13), voice(0.5)
    wanted = collected(Animator(model, "cpu").animate(source, driving, audio)).astype(int)
    for batch in (5, 20):
        made = collected(Animator(model, "cuda", "fp32", batch=batch).animate(source, driving, audio))
        np.testing.assert_allclose(made.astype(int), wanted, atol=2)


def test_devices_and_precisions_that_are_not_there():
    with pytest.raises(DeviceError, match="device 'tpu9' cannot be had here; use cpu, cuda"):
        animate.choose_device("tpu9")
    with pytest.raises(DeviceError, match="precision 'fp8': choose from auto, fp32, bf16"):
        animate.choose_precision("fp8", torch.device("cpu"))
    assert animate.choose_precision("auto", torch.device("cpu")) == "fp32"


def test_load_reads_a_file(tmp_path, monkeypatch):
    model = tiny_model.build()
    model_file.save_model(tmp_path / "a.safetensors", model, float32=True)
    monkeypatch.setenv("FCTFG_CHECKPOINT", str(tmp_path / "a.safetensors"))
    wanted = collected(Animator(model, "cpu").animate(noise(0), noise(1, 5)))
    assert np.array_equal(collected(animate.load(device="cpu").animate(noise(0), noise(1, 5))), wanted)


# -- streams ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", ["training", "inference", "sync"])
@pytest.mark.parametrize("samples", [0, 1, 399, 400, 1000, 5000, 16001, 40000])
def test_sound_in_pieces_is_the_spectrogram_of_the_whole(rule, samples):
    audio = voice(samples / 16000)
    wanted = mel.mel_windows(mel.mel(torch.from_numpy(audio)), 70, rule=rule)
    windows = SoundWindows(audio, rule)
    for step in (1, 7, 70):
        made = torch.cat([windows(first, min(step, 70 - first)) for first in range(0, 70, step)])
        torch.testing.assert_close(made, wanted, atol=1e-5, rtol=0)


def test_ahead_keeps_order_errors_and_stops_when_left():
    assert list(ahead(range(20))) == list(range(20))

    def failing():
        yield 1
        raise ValueError("broken file")

    stream = ahead(failing())
    assert next(stream) == 1
    with pytest.raises(ValueError, match="broken file"):
        next(stream)
    begun, closed = [], []

    def endless():
        try:
            while True:
                begun.append(1)
                yield 1
        finally:
            closed.append(threading.current_thread().name)

    stream = ahead(endless(), depth=2)
    next(stream)
    stream.close()
    assert len(begun) <= 5
    assert closed == ["ahead"]
    assert "ahead" not in {thread.name for thread in threading.enumerate()}


def test_pieces():
    blocks = [np.arange(3), np.arange(3, 4), np.arange(4, 11)]
    assert [list(b) for b in rechunked(blocks, 4, np.concatenate)] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10]]
    assert [list(b) for b in limited(blocks, 5)] == [[0, 1, 2], [3], [4]]
    assert list(limited(blocks, 0)) == []
    for total, wanted in ((2, [0, 1]), (9, [0, 1, 2, 3, 2, 1, 0, 1, 2])):
        assert torch.cat(list(to_and_fro([torch.arange(3), torch.arange(3, 4)], total))).tolist() == wanted
    assert torch.cat(list(to_and_fro([torch.tensor([7])], 3))).tolist() == [7, 7, 7]
    assert list(to_and_fro([], 3)) == []
