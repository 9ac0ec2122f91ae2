"""FID: the Frechet distance between two sets of frames, in the features of an Inception network.

Heusel et al., NeurIPS 2017, by the definition of github.com/toshas/torch-fidelity, which equals the original
TensorFlow code: frames as uint8, resized to 299x299 as TensorFlow 1 did, the 2048 features before the last layer of
the 2015 Inception v3, Gaussians fitted with the n - 1 covariance. The network is torch-fidelity's, its weights are
found by ``fctfg.weights``; nothing is downloaded. The arithmetic after the features is in ``metrics.frechet``.

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
from collections.abc import Mapping, Sequence
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fctfg import weights
from metrics.frame_values import Extractor, Pair, read
from metrics.frechet import ClipFeatures, SetScore, bias_curve, feature_distance, fid, frechet_distance
from metrics.interface import Context, MetricFailure, Result

if TYPE_CHECKING:
    from torch import nn

__all__ = [
    "BIAS",
    "ClipFeatures",
    "FrameFeatures",
    "Inception",
    "SetScore",
    "bias_curve",
    "feature_distance",
    "fid",
    "frechet_distance",
    "load",
    "read_clip",
    "unavailable",
]

#: what has to stand beside every value
BIAS = "FID is biased upwards, the more so the fewer the frames: compare it only between methods on the same clips"
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

        from fctfg.exact_float32 import exact_float32

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
