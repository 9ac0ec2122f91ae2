"""FID: the Frechet distance between two sets of frames, in the features of an Inception network.

Heusel et al., NeurIPS 2017, by the definition of github.com/toshas/torch-fidelity, which equals the original
TensorFlow code: frames as uint8, resized to 299x299 as TensorFlow 1 did, the 2048 features before the last layer of
the 2015 Inception v3, Gaussians fitted with the n - 1 covariance. The network is torch-fidelity's, its weights are
found by ``fctfg.weights``; nothing is downloaded. The arithmetic after the features is ours, in float64.

Unit: none. Range: [0, inf). Lower is better; 0 for equal sets.

FID belongs to a set of clips, not to a clip: ``FrameFeatures`` stores the features of every fifth frame of a clip,
generated and true (8 KB a frame and side), and ``fid`` makes one value of all clips' features. To know when reading it:

* It is biased upwards in the number of frames n, by a term that shrinks like 1 / n and differs between methods (Chong,
  Forsyth, CVPR 2020). Compare only values of the same clips. With fewer than 2048 frames the covariance is singular
  and the bias is most of the value. ``bias_curve`` shows it; the extrapolation to infinitely many clips is given where
  every subset behind it has more frames than features.
* Generated and true frames are of the same times of the same clips, so the bias of a faithful method cancels: the truth
  itself scores 0, not the value of two independent samples.
* The interval is a bootstrap over clusters (speakers where given, else clips), both sides together. A resampled set has
  fewer different frames and so more bias; the replicates are therefore centred on the value.
"""

from __future__ import annotations

import importlib.util
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fctfg import weights
from metrics.frame_values import Extractor, Pair, read
from metrics.interface import Context, MetricFailure, Result

if TYPE_CHECKING:
    from torch import nn

DIMENSION = 2048
STRIDE = 5  # neighbouring frames are nearly equal: they cost time and tell the Gaussian nothing
_BATCH = {"cpu": 8, "cuda": 64}
_LOADING = threading.Lock()


def unavailable() -> str | None:
    """Why FID cannot be computed on this machine, in one line; None when it can."""
    absent = [name for name in ("torch_fidelity", "torchvision") if importlib.util.find_spec(name) is None]
    if absent:
        return f"needs the package {' and '.join(absent).replace('_', '-')} (pip install 'fctfg[fid]')"
    return None if weights.find("inception") else weights.missing("inception")


class Inception:
    """The network of FID on a device: frames in, features out.

    WeightsError for a file that does not hold exactly this network.
    """

    def __init__(self, path: Path, device: str = "cpu") -> None:
        import torch

        self.device = device
        self._net = _network(path).to(device, memory_format=torch.channels_last)

    def __call__(self, frames: np.ndarray) -> np.ndarray:
        """(n, H, W, 3) uint8 RGB -> (n, 2048) float32. A frame's features do not depend on the others."""
        import torch

        from metrics.syncnet import exact_float32

        found = [np.zeros((0, DIMENSION), np.float32)]
        size = _BATCH["cpu" if self.device == "cpu" else "cuda"]
        for start in range(0, len(frames), size):
            batch = torch.from_numpy(np.ascontiguousarray(frames[start : start + size])).permute(0, 3, 1, 2)
            with exact_float32(torch.device(self.device)):
                found.append(self._net(batch.to(self.device))[0].cpu().numpy())
        return np.concatenate(found)


def _network(path: Path) -> nn.Module:
    from metrics.torchvision_shim import import_beside_torchvision

    extractor = import_beside_torchvision("torch_fidelity.feature_extractor_inceptionv3")
    weights.load_state_dict(path)  # refuses a file that asks for more than tensors: the package's own reading would not
    try:
        net = extractor.FeatureExtractorInceptionV3("fid", ["2048"], feature_extractor_weights_path=str(path))
    except RuntimeError as error:
        wrong = str(error).splitlines()[1:2] or [str(error)]
        raise weights.WeightsError(f"{path}: is not FID's Inception ({wrong[0].strip()[:160]}); get it again") from None
    return net.requires_grad_(False).eval()


def frechet_distance(mean1: np.ndarray, cov1: np.ndarray, mean2: np.ndarray, cov2: np.ndarray) -> float:
    """The squared Frechet distance of two Gaussians: |m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)); float64.

    Means are (d,), covariances (d, d), symmetric and positive semidefinite; singular ones are welcome.

    C1 C2 has the eigenvalues of the symmetric C1^(1/2) C2 C1^(1/2), which are real and not negative.
    """
    mean1, cov1, mean2, cov2 = (np.asarray(a, dtype=np.float64) for a in (mean1, cov1, mean2, cov2))
    values, vectors = np.linalg.eigh(cov1)
    root = (vectors * np.sqrt(values.clip(min=0))) @ vectors.T
    overlap = np.sqrt(np.linalg.eigvalsh(root @ cov2 @ root).clip(min=0)).sum()
    return float((mean1 - mean2) @ (mean1 - mean2) + np.trace(cov1) + np.trace(cov2) - 2 * overlap)


def feature_distance(x: np.ndarray, y: np.ndarray) -> float:
    """``frechet_distance`` of the Gaussians fitted to (n, d) and (m, d) features, without forming a covariance.

    With X'X and Y'Y the covariances, tr((X'X Y'Y)^(1/2)) is the sum of the singular values of X Y': no square root of
    a square, and with n < d a small problem. Raises ValueError below two rows a side.
    """
    if min(len(x), len(y)) < 2:
        raise ValueError(f"{min(len(x), len(y))} frames make no covariance; at least 2 are needed")
    (mean1, root1), (mean2, root2) = _gaussian(x), _gaussian(y)
    overlap = np.linalg.svd(root1 @ root2.T, compute_uv=False).sum()
    trace = np.square(root1).sum() + np.square(root2).sum()
    return max(0.0, float((mean1 - mean2) @ (mean1 - mean2) + trace - 2 * overlap))


def _gaussian(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean, and a matrix R of at most d rows with R'R the n - 1 covariance."""
    x = x.astype(np.float64)
    mean = x.mean(0)
    root = (x - mean) / np.sqrt(len(x) - 1)
    return mean, np.linalg.qr(root, mode="r") if len(root) > root.shape[1] else root


@dataclass(frozen=True)
class ClipFeatures:
    """One clip's features, (n, d) generated and (m, d) true. ``cluster``: who speaks; resampled as one."""

    generated: np.ndarray
    reference: np.ndarray
    cluster: str


@dataclass(frozen=True)
class SetScore:
    """A value of a set of clips.

    ``interval``: 95 %, None below two clusters. ``curve``: (clips, mean value of random subsets of so many clips).
    ``extrapolated``: the value's limit for infinitely many clips, or None, with the reason in ``warnings``.
    """

    value: float
    interval: tuple[float, float] | None
    n_clips: int
    n_clusters: int
    n_frames: int
    curve: tuple[tuple[int, float], ...] = ()
    extrapolated: float | None = None
    warnings: tuple[str, ...] = field(default=())


def fid(clips: Sequence[ClipFeatures], *, replicates: int = 200, seed: int = 0) -> SetScore:
    """FID of all clips' generated frames against all their true frames.

    ``replicates`` bootstrap samples of whole clusters; above 2048 frames each takes some seconds. Same seed, same
    numbers, whatever the order in which the clips were made; their order in ``clips`` counts. ValueError without clips.
    """
    if not clips:
        raise ValueError("no clip has features")
    value = _distance(clips)
    n_frames = min(sum(len(c.generated) for c in clips), sum(len(c.reference) for c in clips))
    d = clips[0].generated.shape[1]
    notes = []
    if n_frames <= d:
        notes.append(f"{n_frames} frames for {d} features: mostly bias; compare only with the same clips")
    clusters: dict[str, list[ClipFeatures]] = {}
    for clip in clips:
        clusters.setdefault(clip.cluster, []).append(clip)
    interval = _interval(list(clusters.values()), value, replicates, seed) if len(clusters) > 1 else None
    curve = bias_curve(clips, seed=seed)
    extrapolated, why = _extrapolate(curve, n_frames / len(clips), d)
    if why:
        notes.append(why)
    return SetScore(value, interval, len(clips), len(clusters), n_frames, curve, extrapolated, tuple(notes))


def bias_curve(clips: Sequence[ClipFeatures], *, points: int = 5, draws: int = 4, seed: int = 0) -> tuple:
    """((k, mean value over ``draws`` random subsets of k clips), ...), k from a third of the clips to all."""
    rng = np.random.default_rng(seed)
    sizes = sorted({max(2, round(k)) for k in np.linspace(len(clips) / 3, len(clips), points)} & set(range(len(clips))))
    curve = []
    for size in sizes:
        subsets = [rng.choice(len(clips), size, replace=False) for _ in range(draws)]
        curve.append((size, float(np.mean([_distance([clips[i] for i in subset]) for subset in subsets]))))
    return (*curve, (len(clips), _distance(clips)))


def _extrapolate(curve: Sequence[tuple[int, float]], frames_per_clip: float, d: int) -> tuple[float | None, str | None]:
    """The intercept of the straight line through value against 1 / clips (Chong, Forsyth: "FID infinity")."""
    if len(curve) < 3:
        return None, "too few clips to extrapolate the bias"
    if curve[0][0] * frames_per_clip <= d:
        return None, f"not extrapolated: subsets of {curve[0][0]} clips have no more frames than features ({d})"
    line = np.polyfit([1 / k for k, _ in curve], [value for _, value in curve], 1)
    return float(line[1]), None


def _interval(groups: list[list[ClipFeatures]], value: float, replicates: int, seed: int) -> tuple[float, float]:
    rng = np.random.default_rng(seed)
    samples = []
    for _ in range(replicates):
        drawn = rng.integers(len(groups), size=len(groups))
        samples.append(_distance([clip for i in drawn for clip in groups[i]]))
    low, high = np.quantile(samples, [0.025, 0.975]) - np.mean(samples) + value
    return max(0.0, float(low)), float(high)


def _distance(clips: Iterable[ClipFeatures]) -> float:
    clips = list(clips)
    return feature_distance(np.concatenate([c.generated for c in clips]), np.concatenate([c.reference for c in clips]))


class FrameFeatures:
    """The accumulator of the group "distribution": stores the features of a clip's frames 0, 5, 10, ...

    FID has no value for a clip: the Result of "fid" has neither value nor failure, and its details say where in the
    cache the features of both sides are. ``read_clip`` takes them from there, and ``fid`` makes the set's one value.
    """

    def __init__(self, names: Sequence[str], context: Context) -> None:
        label = context.generated.label
        if unknown := set(names) - {"fid"}:
            raise ValueError(f"unknown distribution metric '{min(unknown)}'; known: fid")
        if context.cache is None or None in (context.generated.key, context.reference and context.reference.key):
            raise MetricFailure(f"{label}: FID needs a cache folder and keys to keep the clip's features under")
        self._cache, self._seen = context.cache, 0
        self._pair = Pair(load(context.device), context)

    def update(self, generated: np.ndarray, reference: np.ndarray) -> None:
        """The next aligned frames, (t, H, W, 3) uint8 RGB each."""
        first = -self._seen % STRIDE
        self._seen += len(generated)
        self._pair.add(generated[first::STRIDE], reference[first::STRIDE])

    def result(self) -> dict[str, Result]:
        """{"fid": Result}, with the paths relative to the cache."""
        generated, _ = self._pair.finish()
        sides = {"generated": self._pair.generated, "reference": self._pair.reference}
        details = {side: str(values.path.relative_to(self._cache)) for side, values in sides.items()}
        return {"fid": Result(None, {"frames": len(generated), **details}, None, self._pair.warnings())}


def read_clip(cache: Path, details: Mapping[str, Any], cluster: str) -> ClipFeatures:
    """A clip's features, from the details of its "fid" and the cache it was scored with.

    ValueError or OSError where the files are no longer there or whole.
    """
    return ClipFeatures(read(cache / details["generated"]), read(cache / details["reference"]), cluster)


def load(device: str) -> Extractor:
    """The network with the weights that are here, loaded once for each device."""
    with _LOADING:
        return _load(weights.require("inception"), device)


@lru_cache(maxsize=2)
def _load(path: Path, device: str) -> Extractor:
    version = f"1; torch-fidelity {metadata.version('torch-fidelity')}, {path.name} {weights.sha256(path)[:12]}"
    return Extractor(f"inception_every_{STRIDE}", version, Inception(path, device))
