"""The accumulator of the group "landmarks": LMD in its variants, from one extraction per video and backend."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from metrics.frame_values import Pair
from metrics.interface import Context, MetricFailure, Result
from metrics.landmark_backends import backend
from metrics.landmark_rows import SECOND, WIDTH, points_of
from metrics.landmarks import FACE, MOUTH, MOUTH_106, detected, landmark_distances, landmark_sums, mean_over_frames

#: Two faces are of like size, and which one speaks is a guess, where the smaller is at least this much of the larger.
LIKE_SIZE = 0.6


@dataclass(frozen=True)
class Variant:
    backend: str
    part: slice = field(default_factory=lambda: MOUTH)  # a slice is unhashable, which dataclass takes for mutable
    distance: Callable[[np.ndarray, np.ndarray, slice], np.ndarray] = landmark_distances
    n_points: int = 68


VARIANTS = {
    "lmd_mouth_dlib": Variant("dlib"),
    "lmd_mouth_fan": Variant("fan"),
    "lmd_atvgnet_dlib": Variant("dlib", distance=landmark_sums),
    "lmd_face_dlib": Variant("dlib", FACE),
    "lmd_mouth_106": Variant("106", MOUTH_106, n_points=106),
    "lmd_eat_mouth_dlib": Variant("eat"),
    "lmd_eat_face_dlib": Variant("eat", FACE),
}


class LandmarkScores:
    """One clip's landmark distances. A backend that fails takes only its own variants with it."""

    def __init__(self, names: Sequence[str], context: Context):
        if context.reference is None:
            raise MetricFailure(f"{context.generated.label}: landmark distances need a reference video")
        self._names, self._context = names, context
        self._pairs: dict[str, Pair] = {}
        self._failures: dict[str, str] = {}
        for name in dict.fromkeys(VARIANTS[name].backend for name in names):
            self._guard(
                name, lambda name=name: self._pairs.update({name: Pair(backend(name, context.device), context)})
            )

    def update(self, generated: np.ndarray, reference: np.ndarray) -> None:
        """The next aligned frames, (t, H, W, 3) uint8 RGB each."""
        for name, pair in list(self._pairs.items()):
            self._guard(name, lambda pair=pair: pair.add(generated, reference))

    def result(self) -> dict[str, Result]:
        """A Result for every name; details say in which part of the frames each side showed a face."""
        points: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        for name, pair in list(self._pairs.items()):
            self._guard(name, lambda name=name, pair=pair: points.update({name: self._points(name, pair)}))
        return {name: self._result(VARIANTS[name], points) for name in self._names}

    def _points(self, name: str, pair: Pair) -> tuple[np.ndarray, np.ndarray]:
        """(T, P, 2) of the generated and of the reference video; MetricFailure where either cannot be measured."""
        generated, reference = pair.finish()
        for rows, footage in ((reference, self._context.reference), (generated, self._context.generated)):
            if reason := unusable(rows):
                raise MetricFailure(f"{footage.label}: {reason} ({name})")
        return points_of(generated), points_of(reference)

    def _result(self, variant: Variant, points: dict[str, tuple[np.ndarray, np.ndarray]]) -> Result:
        if variant.backend in self._failures:
            return Result(failure=self._failures[variant.backend])
        generated, reference = points[variant.backend]
        ours, theirs = detected(generated), detected(reference)
        details = {
            "frames": len(ours),
            "detected_generated": float(ours.mean()),
            "detected_reference": float(theirs.mean()),
            "detected_both": float((ours & theirs).mean()),
        }
        warnings = self._pairs[variant.backend].warnings()
        if not (ours & theirs).any():
            label = self._context.generated.label
            return Result(None, details, f"{label}: in no frame do both it and its reference show a face", warnings)
        value = mean_over_frames(variant.distance(generated, reference, variant.part))
        return Result(value, details, None, warnings)

    def _guard(self, name: str, step: Callable[[], object]) -> None:
        try:
            step()
        except MetricFailure as failure:
            self._failures[name] = str(failure)
            self._pairs.pop(name, None)


def unusable(rows: np.ndarray) -> str | None:
    """(T, 2 P + 2) rows of one video -> why it cannot be measured: no face at all, or two to choose from; or None."""
    found = rows[detected(points_of(rows))]
    if not len(found):
        return f"no face found in any of its {len(rows)} frames"
    crowded = int((found[:, SECOND] >= LIKE_SIZE * found[:, WIDTH]).sum())
    if crowded > len(found) / 2:
        return f"two faces of like size in {crowded} of {len(found)} frames; crop the video to the speaker"
    return None
