"""LPIPS: how different two pictures look to a network whose layers were weighted by human judgements.

Zhang et al., "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric", CVPR 2018, version 0.1 of the
heads, which come with the package ``lpips``. The trunks are torchvision's ImageNet networks, found by
``fctfg.weights``; nothing is downloaded.

lpips_alex   AlexNet trunk, the authors' default for evaluation
lpips_vgg    VGG-16 trunk (the losses called "LPIPS with VGG-19" are something else)

Unit: none. Range: [0, inf), in practice below about 1; 0 for equal pictures. Lower is better. A clip's value is the
mean over its frames, whole pictures as they are, without resizing.
"""

from __future__ import annotations

import importlib.util
import threading
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fctfg import weights
from metrics.interface import Context, MetricFailure, Result

if TYPE_CHECKING:
    from torch import Tensor

#: metric -> the package's name of the network, the catalogue's name of the trunk, smallest side the network takes,
#: frames to compare at once on a CPU (at most some 300 MB of activations)
VARIANTS = {"lpips_alex": ("alex", "alexnet", 31, 16), "lpips_vgg": ("vgg", "vgg16", 16, 2)}
_GPU_BATCH = 16
_BUILDING = threading.Lock()


def unavailable(name: str) -> str | None:
    """Why the variant cannot be computed on this machine, in one line; None when it can."""
    absent = [package for package in ("lpips", "torchvision") if importlib.util.find_spec(package) is None]
    if absent:
        return f"needs the package {' and '.join(absent)} (pip install 'fctfg[lpips]')"
    trunk = VARIANTS[name][1]
    return None if weights.find(trunk) else weights.missing(trunk)


def alex_unavailable() -> str | None:
    """``unavailable("lpips_alex")``."""
    return unavailable("lpips_alex")


def vgg_unavailable() -> str | None:
    """``unavailable("lpips_vgg")``."""
    return unavailable("lpips_vgg")


class LPIPS:
    """One variant, ready on a device.

    ``trunk`` is torchvision's whole checkpoint or its ``features.*`` alone, and must hold exactly the layers that the
    network has. WeightsError for a file that does not; MissingWeights when ``trunk`` is None and there is none.
    """

    def __init__(self, name: str, trunk: Path | None = None, device: str = "cpu") -> None:
        net, catalogue_name, self.smallest, self.batch = VARIANTS[name]
        self.name, self.device = name, device
        self.trunk = trunk or weights.require(catalogue_name)
        if device != "cpu":
            self.batch = _GPU_BATCH
        self._model = _model(net, self.trunk).to(device)

    def __call__(self, generated: Tensor, reference: Tensor) -> Tensor:
        """(B, 3, H, W) uint8 RGB, twice -> (B,) float64. A frame's value does not depend on the others.

        Raises ValueError for unequal shapes and for frames smaller than the network takes.
        """
        import torch

        from fctfg.exact_float32 import exact_float32

        if generated.shape != reference.shape:
            raise ValueError(f"frames of {tuple(generated.shape)} cannot be compared with {tuple(reference.shape)}")
        if reason := self.too_small(*generated.shape[2:]):
            raise ValueError(reason)
        distances = torch.zeros(len(generated), dtype=torch.float64)
        differing = (generated != reference).flatten(1).any(1).cpu().nonzero()[:, 0]  # the truth costs nothing
        with exact_float32(torch.device(self.device)):
            for some in differing.split(self.batch):
                distances[some] = self._distance(generated[some], reference[some])
        return distances

    def too_small(self, height: int, width: int) -> str | None:
        """Why frames of this size have no value; None when they have."""
        if min(height, width) >= self.smallest:
            return None
        side = self.smallest
        return f"{self.name} needs frames of at least {side}x{side} pixels, these are {width}x{height}"

    def _distance(self, generated: Tensor, reference: Tensor) -> Tensor:
        import torch

        n, model = len(generated), self._model
        # What the package's own forward computes; reducing each layer as it comes keeps one layer in memory, not all.
        both = torch.cat([generated, reference]).to(self.device, torch.float32) / 127.5 - 1
        features = model.scaling_layer(both)
        total = torch.zeros(n, dtype=torch.float64, device=self.device)
        for level, head in enumerate(model.lins):
            features = getattr(model.net, f"slice{level + 1}")(features)
            unit = features / (features.square().sum(1, keepdim=True).sqrt() + 1e-10)
            total += head((unit[:n] - unit[n:]).square_()).double().mean((1, 2, 3))
        return total.cpu()


def _model(net: str, trunk: Path) -> Any:
    """The package's network with the file's trunk and the package's heads, for evaluation."""
    import warnings

    import torch

    from metrics.torchvision_shim import import_beside_torchvision

    lpips = import_beside_torchvision("lpips")
    # A random trunk first (pnet_rand), so that nothing is downloaded; torchvision warns about lpips' old arguments.
    with warnings.catch_warnings(action="ignore"), torch.random.fork_rng(devices=[]):
        model = lpips.LPIPS(net=net, version="0.1", pnet_rand=True, verbose=False)
    model.net.load_state_dict(_trunk_state(trunk, model.net.state_dict()))
    return model.requires_grad_(False).eval()


def _trunk_state(path: Path, wanted: dict[str, Tensor]) -> dict[str, Tensor]:
    """The file's ``features.N.*`` under the package's keys ``sliceK.N.*``; every one, of the right shape, no other."""
    found = {key: value for key, value in weights.load_state_dict(path).items() if key.startswith("features.")}
    state = {}
    for key, tensor in wanted.items():
        theirs = "features." + key.partition(".")[2]
        if theirs not in found:
            raise weights.WeightsError(f"{path}: key '{theirs}' is missing; give torchvision's file or its features.*")
        if found[theirs].shape != tensor.shape:
            shapes = f"{tuple(found[theirs].shape)}, not {tuple(tensor.shape)}"
            raise weights.WeightsError(f"{path}: key '{theirs}' has shape {shapes}; is it another network's file?")
        state[key] = found.pop(theirs)
    if found:
        raise weights.WeightsError(f"{path}: unexpected key '{min(found)}'; is it another network's file?")
    return state


class PerceptualScores:
    """The accumulator of the group "perceptual" for one clip: the mean over frames of each named variant."""

    def __init__(self, names: Sequence[str], context: Context) -> None:
        self._label = context.generated.label
        if context.reference is None:
            raise MetricFailure(f"{self._label}: LPIPS needs a reference video")
        self._models = {name: load(name, context.device) for name in names}
        self._sums = dict.fromkeys(names, 0.0)
        self._failures: dict[str, str] = {}
        self._n = 0

    def update(self, generated: np.ndarray, reference: np.ndarray) -> None:
        """The next frames of both sides, (t, H, W, 3) uint8 RGB."""
        import torch

        x, y = (torch.from_numpy(np.ascontiguousarray(side)).permute(0, 3, 1, 2) for side in (generated, reference))
        self._n += len(x)
        for name, model in self._models.items():
            if reason := model.too_small(*x.shape[2:]):
                self._failures[name] = f"{self._label}: {reason}"
            else:
                # one by one, so that the sum is the same however the clip was cut into chunks
                for value in model(x, y).tolist():
                    self._sums[name] += value

    def result(self) -> dict[str, Any]:
        """A ``Result`` for every name."""
        results = {}
        for name, model in self._models.items():
            failure = self._failures.get(name) or (None if self._n else f"{self._label}: has no frames")
            value = None if failure else self._sums[name] / self._n
            results[name] = Result(value, {"frames": self._n, "trunk": model.trunk.name}, failure, [])
        return results


def load(name: str, device: str) -> LPIPS:
    """The variant with the weights that are here, loaded once for each device."""
    with _BUILDING:
        return _load(name, weights.require(VARIANTS[name][1]), device)


@lru_cache(maxsize=4)
def _load(name: str, trunk: Path, device: str) -> LPIPS:
    return LPIPS(name, trunk, device)
