"""Identity similarity: the cosine between ArcFace embeddings of the generated and the true face.

Deng et al., "ArcFace", CVPR 2019; networks and 112x112 template of github.com/deepinsight/insightface, run by
onnxruntime. The name says against what, and by which network; values of two networks do not compare.

csim_<network>          against the true frame of the same time, as in FC-TFG's identity loss (eq. 5: one minus this)
csim_source_<network>   against the clip's reference frame: does the person remain the one in the given picture?

arcface_r50             ResNet-50 trained on WebFace600K (insightface's buffalo_l, w600k_r50.onnx)
arcface_mbf             MobileFaceNet, same data (buffalo_s, w600k_mbf.onnx)

Unit: none. Range: [-1, 1]; about 0 for two people, 1 for equal faces. Higher is better. A clip's value is the mean over
the frames in which both faces were found; the details say how many those were.

The largest face of a frame is taken. Its five points are YuNet's (OpenCV); a similarity transform by least squares
(Umeyama 1991) brings them onto ArcFace's template, as insightface's ``face_align`` does with its own detector's points.
"""

from __future__ import annotations

import importlib.util
import threading
from collections.abc import Sequence
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from fctfg import weights
from metrics.frame_values import Extractor, Pair
from metrics.interface import Context, Result

NETWORKS = ("arcface_r50", "arcface_mbf")
NAMES = tuple(f"csim_{against}{network}" for network in NETWORKS for against in ("", "source_"))
SIZE = 112
#: where the eyes, the nose and the corners of the mouth belong, (x, y) in the 112x112 picture, the viewer's left first
TEMPLATE = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
)
_SCORE, _OVERLAP, _TOP = 0.7, 0.3, 5000  # YuNet: least score, non-maximum suppression, candidates kept
_BATCH = 16
_LOADING = threading.Lock()


def unavailable(network: str) -> str | None:
    """Why the network cannot be used on this machine, in one line; None when it can."""
    absent = [package for package in ("onnxruntime", "cv2") if importlib.util.find_spec(package) is None]
    if absent:
        return f"needs the package {' and '.join(absent)} (pip install 'fctfg[identity]')"
    lacking = [name for name in ("yunet", network) if weights.find(name) is None]
    return "; ".join(weights.missing(name) for name in lacking) or None


def r50_unavailable() -> str | None:
    """``unavailable("arcface_r50")``."""
    return unavailable("arcface_r50")


def mbf_unavailable() -> str | None:
    """``unavailable("arcface_mbf")``."""
    return unavailable("arcface_mbf")


def similarity_transform(points: np.ndarray, target: np.ndarray = TEMPLATE) -> np.ndarray:
    """(2, 3) matrix of the rotation, scale and shift that brings (k, 2) ``points`` closest to ``target``.

    Least squares, no mirroring (Umeyama 1991). In the plane, with points as complex numbers, that is a regression with
    one complex slope. Raises ValueError when all points are one.
    """
    z, w = (np.asarray(side, float) @ (1, 1j) for side in (points, target))
    spread = z - z.mean()
    power = np.vdot(spread, spread).real
    if not power > 0:
        raise ValueError("points that all coincide fix no transform")
    slope = np.vdot(spread, w - w.mean()) / power
    shift = w.mean() - slope * z.mean()
    return np.array([[slope.real, -slope.imag, shift.real], [slope.imag, slope.real, shift.imag]])


def align(frame: np.ndarray, points: np.ndarray) -> np.ndarray:
    """(112, 112, 3) uint8: the face of ``frame`` (H, W, 3) whose five (x, y) points are given, on the template."""
    import cv2

    return cv2.warpAffine(np.ascontiguousarray(frame), similarity_transform(points), (SIZE, SIZE), borderValue=0)


class FivePoints:
    """YuNet's eyes, nose and corners of the mouth of the largest face in each frame. Safe to use from many threads."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._local = threading.local()  # a detector keeps a frame size and buffers

    def __call__(self, frames: np.ndarray) -> list[np.ndarray | None]:
        """(t, H, W, 3) uint8 RGB -> t times (5, 2) in pixels, or None where no face is found."""
        detector = self._detector(frames.shape[2], frames.shape[1])
        found: list[np.ndarray | None] = []
        for frame in frames:
            _, faces = detector.detect(np.ascontiguousarray(frame[..., ::-1]))
            if faces is None:
                found.append(None)
                continue
            largest = faces[np.argmax(faces[:, 2] * faces[:, 3])]
            found.append(largest[4:14].reshape(5, 2).astype(float))
        return found

    def _detector(self, width: int, height: int) -> Any:
        import cv2

        if getattr(self._local, "size", None) != (width, height):
            level = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)  # OpenCV 5 warns about itself
            try:
                self._local.net = cv2.FaceDetectorYN.create(
                    str(self._path), "", (width, height), _SCORE, _OVERLAP, _TOP
                )
            except cv2.error as error:
                raise weights.WeightsError(f"{self._path}: OpenCV cannot read it ({error.err}); get it again") from None
            finally:
                cv2.utils.logging.setLogLevel(level)
            self._local.size = (width, height)
        return self._local.net


class ArcFace:
    """An ArcFace network in ONNX. Safe to use from many threads.

    WeightsError for a file that is no network from 3x112x112 to one vector.
    """

    def __init__(self, path: Path, device: str = "cpu") -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # the files declare a batch of one, take any, and would warn each time
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # leave the cores to the others
        providers = ["CPUExecutionProvider"]
        if device.startswith("cuda") and "CUDAExecutionProvider" in onnxruntime.get_available_providers():
            providers.insert(0, "CUDAExecutionProvider")
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=providers)
        except Exception as error:  # onnxruntime's exceptions have no common base of their own
            why = str(error).splitlines()[0][:160]
            raise weights.WeightsError(f"{path}: onnxruntime cannot read it ({why}); get it again") from None
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        if len(inputs) != 1 or list(inputs[0].shape[1:]) != [3, SIZE, SIZE] or len(outputs[0].shape) != 2:
            raise weights.WeightsError(f"{path}: is no network from 3x{SIZE}x{SIZE} pictures to vectors; get it again")
        self._input, self.path = inputs[0].name, path
        self.dimension = outputs[0].shape[1]

    def __call__(self, faces: np.ndarray) -> np.ndarray:
        """(n, 112, 112, 3) uint8 RGB, aligned -> (n, dimension) float32 of length one."""
        found = [np.zeros((0, self.dimension), np.float32)]
        for start in range(0, len(faces), _BATCH):
            pixels = (faces[start : start + _BATCH].astype(np.float32) - 127.5) / 127.5
            vectors = self._session.run(None, {self._input: pixels.transpose(0, 3, 1, 2)})[0]
            found.append(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))
        return np.concatenate(found)


class FaceEmbedder:
    """Frames in, ArcFace embeddings out."""

    def __init__(self, points: FivePoints, net: ArcFace) -> None:
        self.points, self.net = points, net

    def __call__(self, frames: np.ndarray) -> np.ndarray:
        """(t, H, W, 3) uint8 RGB -> (t, dimension) float32 of length one, NaN where no face is found."""
        embeddings = np.full((len(frames), self.net.dimension), np.nan, np.float32)
        points = self.points(frames)
        seen = [i for i, found in enumerate(points) if found is not None]
        if seen:
            embeddings[seen] = self.net(np.stack([align(frames[i], points[i]) for i in seen]))
        return embeddings


def cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(t, d) twice, of length one -> (t,) float64 cosines, NaN where either side is NaN."""
    return np.einsum("td,td->t", a.astype(float), np.broadcast_to(b, a.shape).astype(float))


class IdentityScores:
    """The accumulator of the group "identity" for one clip.

    ``csim_source_*`` needs ``context.source``, the reference frame (H, W, 3) uint8 RGB, and fails without it.
    """

    def __init__(self, names: Sequence[str], context: Context) -> None:
        self._context = context
        self._variants = {name: parse(name) for name in names}
        networks = dict.fromkeys(network for _, network in self._variants.values())
        self._extractors = {network: load(network, context.device) for network in networks}
        self._pairs = {network: Pair(extractor, context) for network, extractor in self._extractors.items()}

    def update(self, generated: np.ndarray, reference: np.ndarray) -> None:
        """The next aligned frames, (t, H, W, 3) uint8 RGB each."""
        for pair in self._pairs.values():
            pair.add(generated, reference)

    def result(self) -> dict[str, Result]:
        """A Result for every name."""
        embeddings = {network: pair.finish() for network, pair in self._pairs.items()}
        return {name: self._result(*variant, *embeddings[variant[1]]) for name, variant in self._variants.items()}

    def _result(self, against: str, network: str, generated: np.ndarray, truth: np.ndarray) -> Result:
        label, warnings = self._context.generated.label, self._pairs[network].warnings()
        found = {"generated": np.isfinite(generated[:, 0]), "reference": np.isfinite(truth[:, 0])}
        details = {"frames": len(truth), "points": "yunet"}
        details |= {f"detected_{side}": float(seen.mean()) for side, seen in found.items()}
        if against == "truth":
            details["detected_both"] = float((found["generated"] & found["reference"]).mean())
            scores = cosines(generated, truth)
            reason = f"{label}: in no frame do both it and its reference show a face"
        else:
            if self._context.source is None:
                return Result(None, details, f"{label}: no reference frame was given to compare with", warnings)
            picture = self._extractors[network].extract(self._context.source[None])
            if not np.isfinite(picture).all():
                return Result(None, details, f"{label}: no face found in its reference frame", warnings)
            scores = cosines(generated, picture)
            reason = f"{label}: no face found in any of its {len(generated)} frames"
        counted = scores[np.isfinite(scores)]
        if not len(counted):
            return Result(None, details, reason, warnings)
        return Result(float(counted.mean()), details, None, warnings)


def parse(name: str) -> tuple[str, str]:
    """A metric's name -> "truth" or "source", and the network. Raises ValueError for any other name."""
    for against, prefix in (("source", "csim_source_"), ("truth", "csim_")):
        if name.startswith(prefix) and name.removeprefix(prefix) in NETWORKS:
            return against, name.removeprefix(prefix)
    raise ValueError(f"unknown identity metric '{name}'; known: {', '.join(NAMES)}")


def load(network: str, device: str) -> Extractor:
    """The named network and YuNet with the weights that are here, loaded once for each device."""
    with _LOADING:
        return _load(network, weights.require(network), weights.require("yunet"), device)


@lru_cache(maxsize=4)
def _load(name: str, network: Path, yunet: Path, device: str) -> Extractor:
    files = ", ".join(f"{path.name} {weights.sha256(path)[:12]}" for path in (network, yunet))
    version = f"1; {files}; opencv {metadata.version('opencv-python')}"
    return Extractor(name, version, FaceEmbedder(FivePoints(yunet), ArcFace(network, device)))
