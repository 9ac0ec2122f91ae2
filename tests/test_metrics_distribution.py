"""FID's arithmetic against scipy and closed forms, its bias and interval on known Gaussians, the features of a clip."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import scipy.linalg

from fctfg.weights import WeightsError
from metrics import distribution
from metrics.distribution import ClipFeatures, bias_curve, feature_distance, fid, frechet_distance
from metrics.frame_values import Extractor
from metrics.frechet import _Reweighted
from metrics.interface import Context, Footage, MetricFailure

needs_fidelity = pytest.mark.skipif(
    importlib.util.find_spec("torch_fidelity") is None, reason="needs the package torch-fidelity"
)


def spd(d: int, seed: int, rank: int | None = None) -> np.ndarray:
    a = np.random.default_rng(seed).normal(size=(d, rank or 2 * d))
    return a @ a.T / a.shape[1]


def sample(n: int, d: int, seed: int, mean: float = 0.0, scale: float = 1.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (mean + scale * rng.normal(size=(n, d)) * np.linspace(0.5, 2, d)).astype(np.float32)


def test_closed_forms():
    """One dimension: (m1 - m2)^2 + (s1 - s2)^2; covariances that commute: the same for every axis; equal ones: 0."""
    one = frechet_distance(np.array([3.0]), np.array([[4.0]]), np.array([-1.0]), np.array([[9.0]]))
    assert one == pytest.approx(16 + 1, rel=1e-14)
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(6, 6)))[0]
    a, b = np.array([1, 4, 9, 16, 25, 0.0]), np.array([4, 4, 1, 0, 36, 0.0])
    found = frechet_distance(np.zeros(6), turn @ np.diag(a) @ turn.T, np.ones(6), turn @ np.diag(b) @ turn.T)
    assert found == pytest.approx(6 + ((np.sqrt(a) - np.sqrt(b)) ** 2).sum(), rel=1e-7)
    assert frechet_distance(a, spd(6, 1), a, spd(6, 1)) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("d", [1, 5, 40, 200])
def test_equals_the_formula_by_scipys_matrix_square_root(d):
    mean1, mean2 = np.random.default_rng(2).normal(size=(2, d))
    cov1, cov2 = spd(d, 3), 2 * spd(d, 4)
    root = np.asarray(scipy.linalg.sqrtm(cov1 @ cov2)).real
    wanted = ((mean1 - mean2) ** 2).sum() + np.trace(cov1 + cov2 - 2 * root)
    assert frechet_distance(mean1, cov1, mean2, cov2) == pytest.approx(wanted, rel=1e-9)
    assert frechet_distance(mean2, cov2, mean1, cov1) == pytest.approx(wanted, rel=1e-9)


@pytest.mark.parametrize(("n", "m", "d"), [(300, 200, 30), (20, 25, 60), (400, 20, 60), (2, 2, 8)])
def test_from_features_it_is_the_same_without_a_covariance(n, m, d):
    """More frames than features, fewer (singular covariances), and one of each."""
    x, y = sample(n, d, 5), sample(m, d, 6, mean=0.3, scale=1.4)
    moments = [(f.astype(float).mean(0), np.cov(f.astype(float), rowvar=False)) for f in (x, y)]
    assert feature_distance(x, y) == pytest.approx(frechet_distance(*moments[0], *moments[1]), rel=1e-6)
    assert feature_distance(x, x) == pytest.approx(0, abs=1e-9)
    assert feature_distance(x, x + np.float32(2)) == pytest.approx(4 * d, rel=1e-5)
    with pytest.raises(ValueError, match="1 frames make no covariance"):
        feature_distance(x[:1], y)


@needs_fidelity
@pytest.mark.parametrize("n", [50, 900])
def test_equals_torch_fidelity(n):
    import torch

    from metrics.torchvision_shim import import_beside_torchvision

    theirs = import_beside_torchvision("torch_fidelity.metric_fid")
    x, y = sample(n, 128, 7).astype(float), sample(n, 128, 8, mean=0.1, scale=1.2).astype(float)
    moments = [theirs.fid_features_to_statistics(torch.from_numpy(f)) for f in (x, y)]
    wanted = theirs.fid_statistics_to_metric(*moments, verbose=False)["frechet_inception_distance"]
    assert feature_distance(x, y) == pytest.approx(wanted, rel=1e-6)


# Sets of clips drawn from Gaussians whose distance is known.


def clips(n: int, frames: int = 40, d: int = 16, seed: int = 0, shift: float = 0.0, paired: bool = False, per: int = 1):
    """``n`` clips of independent frames, both sides of one Gaussian but for ``shift``: the distance is d shift^2."""
    made = []
    for i in range(n):
        truth = sample(frames, d, seed + 2 * i)
        other = truth if paired else sample(frames, d, seed + 2 * i + 1)
        made.append(ClipFeatures(other + np.float32(shift), truth, f"speaker {i // per}"))
    return made


def test_the_bias_falls_like_one_over_n_and_the_extrapolation_removes_it():
    values = {n: np.mean([fid(clips(n, seed=1000 * s), replicates=1).value for s in range(8)]) for n in (5, 20, 80)}
    assert values[5] / values[20] == pytest.approx(4, rel=0.25)
    assert values[20] / values[80] == pytest.approx(4, rel=0.25)
    left = [fid(clips(20, seed=1000 * s), replicates=1) for s in range(8)]
    assert abs(np.mean([score.extrapolated for score in left])) < 0.15 * values[20]
    shifted = fid(clips(60, shift=0.5), replicates=1)
    assert shifted.extrapolated == pytest.approx(16 * 0.25, rel=0.05)
    assert shifted.extrapolated < shifted.value


def test_frames_of_the_same_times_have_no_bias_to_speak_of():
    """A faithful method's features are the truth's and a little noise: the sampling error is shared and cancels."""
    made = clips(6, paired=True)
    noisy = [
        ClipFeatures(c.reference + sample(40, 16, 90 + i, scale=0.01), c.reference, c.cluster)
        for i, c in enumerate(made)
    ]
    assert fid(made, replicates=2).value == pytest.approx(0, abs=1e-9)
    assert fid(noisy, replicates=2).value < 0.01 * fid(clips(6), replicates=2).value


def test_the_interval_holds_the_value_is_wider_for_fewer_speakers_and_repeats():
    """Speakers differ in how far off they are, so the value depends on who is in the set."""
    made = clips(24, per=4)
    made = [ClipFeatures(c.generated + np.float32(0.3 * int(c.cluster[8:])), c.reference, c.cluster) for c in made]
    by_speaker = fid(made, replicates=60)
    alone = [ClipFeatures(c.generated, c.reference, str(i)) for i, c in enumerate(made)]
    by_clip = fid(alone, replicates=60)
    assert (by_speaker.n_clips, by_speaker.n_clusters, by_clip.n_clusters) == (24, 6, 24)
    assert by_speaker.value == by_clip.value
    for score in (by_speaker, by_clip):
        assert score.interval[0] < score.value < score.interval[1]
    assert np.ptp(by_speaker.interval) > 1.4 * np.ptp(by_clip.interval)
    assert fid(made, replicates=60) == by_speaker
    assert fid(made, replicates=60, seed=1).interval != by_speaker.interval


@pytest.mark.parametrize(("n", "frames", "d"), [(8, 20, 30), (8, 3, 30), (8, 9, 40), (6, 5, 64)])
def test_a_reweighted_set_is_the_set_with_its_clips_repeated(n, frames, d):
    """More frames than features, fewer, and between: clips that count twice, once and not at all."""
    made, weights = clips(n, frames, d, seed=5, shift=0.2), np.array([2, 0, 1, 1, 3, 0, 1, 1][:n])
    repeated = [clip for clip, times in zip(made, weights, strict=True) for _ in range(times)]
    wanted = feature_distance(*(np.concatenate([getattr(c, s) for c in repeated]) for s in ("generated", "reference")))
    assert _Reweighted(made).distance(weights) == pytest.approx(wanted, rel=1e-6)
    still = [ClipFeatures(np.repeat(c.generated[:1], frames, 0), c.reference, c.cluster) for c in made]
    wanted = feature_distance(*(np.concatenate([getattr(c, s) for c in still]) for s in ("generated", "reference")))
    assert _Reweighted(still).distance(np.ones(n, int)) == pytest.approx(wanted, rel=1e-5)


def test_small_sets_say_what_they_are():
    one = fid(clips(1, frames=10))
    assert (one.interval, one.extrapolated, one.n_frames) == (None, None, 10)
    assert one.warnings[0] == "10 frames for 16 features: mostly bias; compare only with the same clips"
    few = fid(clips(6, frames=6), replicates=5)
    assert few.extrapolated is None
    assert any("have no more frames than features" in note for note in few.warnings)
    assert fid(clips(20, frames=40), replicates=2).warnings == ()
    with pytest.raises(ValueError, match="no clip has features"):
        fid([])


def test_the_bias_curve_ends_at_the_whole_set():
    made = clips(12)
    curve = bias_curve(made)
    assert [k for k, _ in curve] == sorted({k for k, _ in curve})
    assert curve[-1] == (12, pytest.approx(fid(made, replicates=1).value))
    assert curve[0][1] > curve[-1][1]


# A clip's features.


@pytest.fixture
def colours(monkeypatch) -> list[int]:
    """Instead of the network: the mean of each colour. The list says of how many frames."""
    asked = []

    def extract(frames: np.ndarray) -> np.ndarray:
        asked.append(len(frames))
        return frames.mean((1, 2)).astype(np.float32)

    monkeypatch.setattr(distribution, "load", lambda device: Extractor("colours", "test", extract))
    return asked


def video(seed: int, n: int = 23, key: str | None = None) -> Footage:
    frames = np.random.default_rng(seed).integers(0, 256, (n, 4, 4, 3), dtype=np.uint8)
    return Footage(lambda: [frames], key=key, label=f"{key}.mp4")


def collect(generated: Footage, reference: Footage, cache: Path | None, chunk: int = 16, **more):
    collector = distribution.FrameFeatures(["fid"], Context(generated, reference, cache=cache, **more))
    (ours,), (theirs,) = generated.chunks(), reference.chunks()
    for start in range(0, len(ours), chunk):
        collector.update(ours[start : start + chunk], theirs[start : start + chunk])
    return collector.result()["fid"]


@pytest.mark.parametrize("chunk", [1, 3, 7, 23])
def test_every_fifth_frame_is_kept_however_the_clip_is_cut(chunk, colours, tmp_path):
    generated, reference = video(1, key="g"), video(2, key="r")
    result = collect(generated, reference, tmp_path, chunk)
    assert (result.value, result.failure, result.details["frames"]) == (None, None, 5)
    clip = distribution.read_clip(tmp_path, result.details, "id1")
    for stored, footage in ((clip.generated, generated), (clip.reference, reference)):
        (frames,) = footage.chunks()
        assert stored == pytest.approx(frames[[0, 5, 10, 15, 20]].mean((1, 2)), rel=1e-6)
    assert sum(colours) == 10
    assert collect(generated, reference, tmp_path, reuse="only-cache") == result
    assert sum(colours) == 10


def test_there_must_be_a_place_for_the_features(colours, tmp_path):
    for generated, reference, cache in (
        (video(1, key="g"), video(2, key="r"), None),
        (video(1), video(2, key="r"), tmp_path),
        (video(1, key="g"), None, tmp_path),
    ):
        with pytest.raises(MetricFailure, match="FID needs a cache folder and keys"):
            distribution.FrameFeatures(["fid"], Context(generated, reference, cache=cache))
    with pytest.raises(OSError, match="gone"):
        distribution.read_clip(tmp_path, {"generated": "gone.npz", "reference": "gone.npz"}, "id1")


def test_what_is_missing_is_said_in_one_line(monkeypatch, tmp_path):
    for name in ("FCTFG_WEIGHTS", "XDG_CACHE_HOME", "TORCH_HOME"):
        monkeypatch.setenv(name, str(tmp_path))
    reason = distribution.unavailable()
    assert "\n" not in reason
    assert "fetch inception" in reason or "pip install" in reason


# The network, with weights drawn from a seed in the official file's format.


@pytest.fixture(scope="module")
def drawn(tmp_path_factory) -> Path:
    import torch

    from metrics.torchvision_shim import import_beside_torchvision

    extractor = import_beside_torchvision("torch_fidelity.feature_extractor_inceptionv3")

    class Drawn(extractor.FeatureExtractorInceptionV3):
        def load_state_dict(self, *args, **kwargs):
            """Keeps the weights as they were drawn."""

    path = tmp_path_factory.mktemp("weights") / "weights-inception-2015-12-05-6726825d.pth"
    torch.save({}, path)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        torch.save(Drawn("drawn", ["2048"], feature_extractor_weights_path=str(path)).state_dict(), path)
    return path


@needs_fidelity
def test_the_network_gives_torch_fidelitys_features_in_any_batch(drawn):
    import torch

    from metrics.torchvision_shim import import_beside_torchvision

    extractor = import_beside_torchvision("torch_fidelity.feature_extractor_inceptionv3")
    frames = np.random.default_rng(3).integers(0, 256, (3, 96, 96, 3), dtype=np.uint8)
    theirs = extractor.FeatureExtractorInceptionV3("x", ["2048"], feature_extractor_weights_path=str(drawn))
    wanted = theirs(torch.from_numpy(frames).permute(0, 3, 1, 2))[0].numpy()
    net = distribution.Inception(drawn)
    found = net(frames)
    assert found.shape == (3, 2048)
    scale = np.abs(wanted).max()
    assert np.abs(found - wanted).max() < 1e-5 * scale
    assert np.abs(np.concatenate([net(f[None]) for f in frames]) - found).max() < 1e-5 * scale
    assert np.abs(found[0] - found[1]).max() > 1e-3 * scale
    assert net(frames[:0]).shape == (0, 2048)


@needs_fidelity
def test_weights_of_another_network_or_with_code_in_them(drawn, tmp_path):
    import torch

    state = torch.load(drawn, weights_only=True)
    state.pop("Mixed_5b.branch1x1.conv.weight")
    torch.save(state, tmp_path / "short.pth")
    with pytest.raises(WeightsError) as error:
        distribution.Inception(tmp_path / "short.pth")
    assert str(error.value).startswith(f"{tmp_path / 'short.pth'}: is not FID's Inception (Missing key(s)")
    assert "\n" not in str(error.value)
    torch.save({"a": Path("/")}, tmp_path / "code.pth")
    with pytest.raises(WeightsError, match=r"code\.pth: .*refused"):
        distribution.Inception(tmp_path / "code.pth")
