"""SyncNet, its features and the LSE numbers against a slow literal transcription; planted offsets; the length bias."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import sync_literal as literal
import torch

from fctfg.weights import WeightsError
from metrics import mfcc as mel
from metrics import syncnet
from metrics.sync_score import lse, offset_curve, offset_distances

TOLERANCE = 1e-4  # the largest relative error allowed at any step against the transcription


def relative(ours, theirs) -> float:
    ours, theirs = np.asarray(ours, dtype=np.float64), np.asarray(theirs, dtype=np.float64)
    assert ours.shape == theirs.shape
    return float(np.abs(ours - theirs).max() / np.abs(theirs).max())


def read_clip(path: Path, n_frames: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Frames (T, H, W, 3) RGB and 16-bit mono samples at 16 kHz."""
    import av

    with av.open(str(path)) as file:
        frames = []
        for frame in file.decode(video=0):
            if n_frames is not None and len(frames) == n_frames:
                break
            frames.append(frame.to_ndarray(format="rgb24"))
    with av.open(str(path)) as file:
        resampler = av.AudioResampler("s16", "mono", 16000)
        pieces = [out for frame in file.decode(audio=0) for out in resampler.resample(frame)] + resampler.resample(None)
    samples = np.concatenate([piece.to_ndarray()[0] for piece in pieces])
    return np.stack(frames), samples if n_frames is None else samples[: n_frames * 640]


def speech_like(n: int, seed: int = 0) -> np.ndarray:
    """16-bit noise that swells and fades four times a second, with a stretch of silence."""
    rng = np.random.default_rng(seed)
    swell = 0.6 + 0.4 * np.sin(np.arange(n) * 2 * np.pi * 4 / 16000)
    samples = rng.normal(size=n) * 3000 * swell
    samples[n // 2 : n // 2 + min(1500, n // 8)] = 0
    return np.clip(np.rint(samples), -32768, 32767).astype(np.int16)


def moving_picture(n: int, seed: int = 0) -> np.ndarray:
    """(n, 224, 224, 3): a smooth texture that drifts, with noise."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:224, :224]
    frames = []
    for t in range(n):
        waves = [np.sin(x / (9 + 5 * c) + t * (0.3 + 0.2 * c)) * np.cos(y / (13 - 3 * c) - 0.25 * t) for c in range(3)]
        frames.append(128 + 80 * np.stack(waves, axis=-1) + rng.normal(size=(224, 224, 3)) * 8)
    return np.clip(frames, 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def reference() -> literal.LiteralSyncNet:
    return literal.draw_weights(seed=0)


@pytest.fixture(scope="module")
def weights_file(reference, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("syncnet") / "syncnet_v2.model"
    literal.save_official(reference, path, legacy=True)
    return path


@pytest.fixture(scope="module")
def net(weights_file) -> syncnet.SyncNet:
    return syncnet.load_syncnet(weights_file)


def our_features(net, frames, samples):
    embedder = syncnet.LipEmbedder(net)
    embedder.push(frames)
    n = min(len(frames), len(samples) // 640) - 5
    return embedder.finish()[:n], syncnet.embed_speech(net, mel.mfcc(samples), n)


# --- MFCC


@pytest.mark.parametrize("n", [1, 399, 400, 401, 560, 561, 16_000, 111_616, 4096 * 160 + 777])
def test_mfcc_is_that_of_python_speech_features(n):
    package = pytest.importorskip("python_speech_features")
    samples = speech_like(n)
    theirs = package.mfcc(samples, 16000)
    ours = mel.mfcc(samples)
    np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-9)


def test_mfcc_of_silence_is_finite():
    assert np.isfinite(mel.mfcc(np.zeros(16000, dtype=np.int16))).all()


@pytest.mark.parametrize("samples", [np.zeros(0), np.zeros((2, 800))])
def test_mfcc_refuses_what_is_not_mono_sound(samples):
    with pytest.raises(ValueError, match="mono samples"):
        mel.mfcc(samples)


def test_float_samples_become_the_samples_of_a_wav_file():
    as_float = np.array([-1.0, -0.5, 0.0, 1 / 32768, 0.49 / 32768, 0.99999, 1.0], dtype=np.float32)
    assert mel.to_int16(as_float).tolist() == [-32768, -16384, 0, 1, 0, 32767, 32767]
    every = np.arange(-32768, 32768).astype(np.int16)
    assert (mel.to_int16(every.astype(np.float32) / 32768) == every).all()
    assert mel.to_int16(every) is every


# --- the network and its file


def test_state_shapes_are_those_of_the_published_network(reference):
    state = {k: tuple(v.shape) for k, v in reference.state_dict().items() if not k.endswith("num_batches_tracked")}
    assert syncnet.state_shapes() == state


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("netcnnlip.4.weight"), r"key 'netcnnlip\.4\.weight' is missing"),
        (lambda s: s.pop("netfcaud.1.running_var"), r"key 'netfcaud\.1\.running_var' is missing"),
        (
            lambda s: s.update({"netcnnlip.0.weight": torch.zeros(96, 15, 7, 7)}),
            r"'netcnnlip\.0\.weight' has shape \(96, 15, 7, 7\), and \(96, 3, 5, 7, 7\) is expected",
        ),
        (lambda s: s.update({"netfclip.3.bias": 1.0}), r"key 'netfclip\.3\.bias' is no tensor but a float"),
        (lambda s: s.update({"netfclip.5.weight": torch.zeros(3)}), r"key 'netfclip\.5\.weight' is not expected"),
    ],
)
def test_a_file_that_is_not_syncnet_is_refused_by_the_key(reference, tmp_path, change, message):
    state = reference.state_dict()
    change(state)
    torch.save(state, tmp_path / "bad.model")
    with pytest.raises(WeightsError, match=message) as raised:
        syncnet.load_syncnet(tmp_path / "bad.model")
    assert str(raised.value).startswith(str(tmp_path / "bad.model"))
    assert "\n" not in str(raised.value)


class Trap:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_a_pickle_that_would_run_code_is_refused_and_not_run(tmp_path):
    torch.save({"netcnnlip.0.weight": Trap(tmp_path / "sprung")}, tmp_path / "trap.model")
    (tmp_path / "plain.pkl").write_bytes(pickle.dumps(Trap(tmp_path / "sprung"), protocol=2))
    for name in ("trap.model", "plain.pkl"):
        with pytest.raises(WeightsError, match="refused") as raised:
            syncnet.load_syncnet(tmp_path / name)
        assert "\n" not in str(raised.value)
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("content", [b"", b"not weights at all", b"PK\x03\x04 half a zip"])
def test_a_damaged_file_is_one_line(tmp_path, content):
    (tmp_path / "bad.model").write_bytes(content)
    with pytest.raises(WeightsError, match=r"bad\.model") as raised:
        syncnet.load_syncnet(tmp_path / "bad.model")
    assert "\n" not in str(raised.value)


def test_new_and_old_file_formats_hold_the_same_network(reference, net, tmp_path):
    """The old one lacks the batch counters, which inference does not use."""
    literal.save_official(reference, tmp_path / "new.model")
    other = syncnet.load_syncnet(tmp_path / "new.model")
    assert all(torch.equal(a, b) for a, b in zip(net.buffers(), other.buffers(), strict=True))


def test_features_and_scores_equal_the_transcription(reference, net):
    frames, samples = moving_picture(36), speech_like(36 * 640 + 200)
    lips, speech, coefficients = literal.features(reference, frames[..., ::-1], samples)
    ours, ours_speech = our_features(net, frames, samples)
    assert len(lips) == 31
    assert relative(mel.mfcc(samples).T, coefficients) < 1e-6
    assert relative(ours, lips) < TOLERANCE
    assert relative(ours_speech, speech) < TOLERANCE
    assert relative(offset_distances(ours, ours_speech), literal.distances(lips, speech)) < TOLERANCE
    confidence, distance, offset = literal.score(lips, speech)
    score = lse(ours, ours_speech)
    assert score.lse_d == pytest.approx(distance, rel=TOLERANCE)
    assert score.lse_c == pytest.approx(confidence, rel=TOLERANCE)
    assert (score.offset, score.n_windows) == (offset, 31)


def test_features_differ_from_window_to_window(net):
    lips, speech = our_features(net, moving_picture(30), speech_like(30 * 640))
    for features in (lips, speech):
        spread = (features - features.mean(0)).norm(dim=1).mean() / features.norm(dim=1).mean()
        assert spread > 0.05


def test_colours_are_taken_as_rgb(net):
    frames = moving_picture(6)
    one, other = syncnet.LipEmbedder(net), syncnet.LipEmbedder(net)
    one.push(frames)
    other.push(frames[..., ::-1])
    assert relative(one.finish(), other.finish()) > 1e-2


def test_pieces_do_not_change_a_bit(net):
    frames = moving_picture(15)
    found = []
    for pieces in ([15], [1] * 15, [7, 7, 1], [4, 0, 11]):
        embedder = syncnet.LipEmbedder(net)
        start = 0
        for n in pieces:
            embedder.push(frames[start : start + n])
            start += n
        found.append(embedder.finish())
    assert all(torch.equal(found[0], other) for other in found[1:])


def test_batch_sizes_agree(net, monkeypatch):
    frames = moving_picture(11)
    found = []
    for batch in (1, 3, 20):
        monkeypatch.setitem(syncnet.BATCH, "cpu", batch)
        embedder = syncnet.LipEmbedder(net)
        embedder.push(frames)
        found.append(embedder.finish())
    assert relative(found[1], found[0]) < 1e-5
    assert relative(found[2], found[0]) < 1e-5


def test_too_few_frames_make_no_window(net):
    embedder = syncnet.LipEmbedder(net)
    embedder.push(moving_picture(4))
    assert embedder.finish().shape == (0, 1024)


def test_frames_of_another_size_are_refused(net):
    with pytest.raises(ValueError, match=r"\(t, 224, 224, 3\)"):
        syncnet.LipEmbedder(net).push(np.zeros((2, 256, 256, 3), dtype=np.uint8))


def test_operations_are_counted_as_torch_counts_them(reference):
    from torch.utils.flop_counter import FlopCounterMode

    counted = {}
    with torch.no_grad():
        for branch, run, shape in (("lip", reference.lips, (3, 5, 224, 224)), ("aud", reference.speech, (1, 13, 20))):
            with FlopCounterMode(display=False) as counter:
                run(torch.zeros(1, *shape))
            counted[branch] = counter.get_total_flops()
    assert syncnet.window_flops() == counted


# --- the score


def related(n: int, strength: float, late: int = 0, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Embeddings of n windows: speech says what lips said ``late`` windows before, with a strength of 0 to 1."""
    generator = torch.Generator().manual_seed(seed)
    content = torch.randn(n + 2 * abs(late), 1024, generator=generator)
    for i in range(1, len(content)):
        content[i] = 0.9 * content[i - 1] + (1 - 0.9**2) ** 0.5 * content[i]
    lips = content[abs(late) : abs(late) + n]
    said = content[abs(late) - late : abs(late) - late + n]
    noise = torch.randn(n, 1024, generator=generator)
    # Real embeddings lie around a common centre far from zero.
    centre = 0.15 * torch.randn(1024, generator=generator)
    return 0.25 * lips + centre, 0.25 * (strength * said + (1 - strength**2) ** 0.5 * noise) + centre


@pytest.mark.parametrize("padding", ["zero", "valid"])
@pytest.mark.parametrize("late", [-15, -7, -1, 0, 1, 4, 12, 15])
def test_a_planted_delay_is_found_with_its_sign(late, padding):
    score = lse(*related(150, 0.8, late), padding=padding)
    assert score.offset == -late  # late sound has a negative offset, early sound a positive one
    assert score.lse_d == min(score.curve)
    assert score.distance_at_zero == score.curve[15]


@pytest.mark.parametrize("n", [1, 14, 40, 130])
@pytest.mark.parametrize("vshift", [15, 10])
def test_distances_equal_the_double_loop(n, vshift):
    lips, speech = related(n, 0.5, seed=3)
    assert relative(offset_distances(lips, speech, vshift), literal.distances(lips, speech, vshift)) < 1e-6
    score, (confidence, distance, offset) = lse(lips, speech, vshift), literal.score(lips, speech, vshift)
    assert (score.lse_c, score.lse_d) == (pytest.approx(confidence, abs=1e-5), pytest.approx(distance, rel=1e-6))
    assert score.offset == offset


@pytest.mark.parametrize("m", [5, 100, 128, 144, 400])
def test_other_amounts_of_speech_count_as_zeros_or_not_at_all(m):
    lips, speech = related(130, 0.5, seed=6)
    speech = torch.cat([speech, speech, speech, speech])[:m]
    padded = torch.cat([speech, torch.zeros(130, 1024)])[: max(m, 130)]
    assert relative(offset_distances(lips, speech), literal.distances(lips, padded)) < 1e-6


def test_valid_averages_only_windows_with_a_partner():
    lips, speech = related(25, 0.5, seed=4)
    expected = []
    for k in range(-15, 16):
        pairs = [(i, i + k) for i in range(25) if 0 <= i + k < 25]
        expected.append(np.mean([float((lips[i] - speech[j] + 1e-6).norm()) for i, j in pairs]))
    assert relative(offset_curve(lips, speech, padding="valid"), expected) < 1e-6


def test_confidence_is_the_median_less_the_minimum():
    score = lse(*related(60, 0.6, seed=5))
    assert score.lse_c == pytest.approx(sorted(score.curve)[15] - min(score.curve), abs=1e-12)
    assert len(score.curve) == 31


def test_zero_padding_depends_on_length_and_valid_does_not():
    """The same strength of synchrony, clips of 24 and 300 windows: mean confidence over four draws each."""

    def mean(n, strength, padding):
        return np.mean([lse(*related(n, strength, seed=s), padding=padding).lse_c for s in range(4)])

    # Unrelated sound: zeros lie nearer to the lips than wrong speech does, and so they win the search.
    assert mean(24, 0.0, "zero") > 5 * mean(300, 0.0, "zero")
    assert mean(24, 0.0, "zero") > 0.5
    # Related sound: the zeros pull the median down.
    assert mean(300, 0.5, "zero") - mean(24, 0.5, "zero") > 0.15
    for strength in (0.0, 0.5):
        assert abs(mean(24, strength, "valid") - mean(300, strength, "valid")) < 0.1


def test_the_search_hides_a_lag():
    """A clip 0.4 s late has the confidence of one in time; only the offset and the distance at 0 tell."""
    on_time, late = lse(*related(200, 0.8), padding="valid"), lse(*related(200, 0.8, late=10), padding="valid")
    assert late.lse_c > 0.95 * on_time.lse_c
    assert (on_time.offset, late.offset) == (0, -10)
    assert late.distance_at_zero - late.lse_d > 0.8 * on_time.lse_c


def test_impossible_scores_are_refused():
    lips, speech = related(12, 0.5)
    with pytest.raises(ValueError, match="no window"):
        lse(lips[:0], speech)
    with pytest.raises(ValueError, match="too short: 12 windows"):
        lse(lips, speech, padding="valid")
    with pytest.raises(ValueError, match="padding"):
        lse(lips, speech, padding="reflect")
    with pytest.raises(ValueError, match="shapes"):
        lse(lips, speech[:, :512])
