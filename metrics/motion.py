"""Motion control, measured: do head pose, blinks, gaze and mouth of the generated face follow the driving face?

mediapipe's FaceLandmarker (478 points, 52 blendshapes, head transform), each frame on its own. "Left" and "right" are
the person's. The factors:

yaw, pitch, roll   head rotation in degrees, from the head transform R = Ry(yaw) Rx(-pitch) Rz(roll) in mediapipe's
                   camera frame (x right, y up, z towards the viewer); positive: towards the person's left, up, and
                   counter-clockwise as the viewer sees it
blink_left, blink_right, blink   blendshapes eyeBlinkLeft, eyeBlinkRight and their mean; 0 open .. 1 closed
gaze_x, gaze_y     eye rotation in the head from the eight eyeLook blendshapes, mean of both eyes, in [-1, 1];
                   positive: towards the person's left, up
mouth              distance of the inner lips (points 13, 14) over that of the outer eye corners (33, 263), both in
                   3-D, so that a turned head does not change it; 0 closed
jaw                blendshape jawOpen, 0..1: a second opinion on the mouth, unreliable in profile

A name is ``motion_<factor>_mae`` or ``motion_<factor>_r``:

mae   mean absolute difference, in the factor's unit; range [0, inf); lower is better
r     Pearson correlation over the clip; range [-1, 1]; higher is better. It has no value where the driving face hardly
      moves (standard deviation below MOVES) or is found in fewer than 10 frames, and it is 0 where only the generated
      face stands still.

Frames in which either side has no face are left out; the details count them.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from fctfg import weights
from metrics.frame_values import Extractor, Pair
from metrics.interface import Context, Result

FACTORS = ("yaw", "pitch", "roll", "blink_left", "blink_right", "blink", "gaze_x", "gaze_y", "mouth", "jaw")
NAMES = tuple(f"motion_{factor}_{number}" for factor in FACTORS for number in ("mae", "r"))
UNITS = {factor: "degree" if factor in ("yaw", "pitch", "roll") else "" for factor in FACTORS}
#: least standard deviation of the driving side for a correlation: twice what re-encoding at crf 23 changes (median of
#: nine VoxCeleb2 clips), where the re-encoded truth itself would reach no more than about .9
MOVES = {"yaw": 0.8, "pitch": 1.0, "roll": 0.5, "blink_left": 0.05, "blink_right": 0.05, "blink": 0.05,
         "gaze_x": 0.15, "gaze_y": 0.1, "mouth": 0.02, "jaw": 0.02}  # fmt: skip
MIN_FRAMES = 10
_NAME = re.compile(rf"motion_(?P<factor>{'|'.join(FACTORS)})_(?P<number>mae|r)")
_UPPER_LIP, _LOWER_LIP, _RIGHT_EYE, _LEFT_EYE = 13, 14, 33, 263
_QUIET, _LOADING = threading.Lock(), threading.Lock()


def unavailable() -> str | None:
    """Why motion cannot be measured on this machine, in one line; None when it can."""
    if importlib.util.find_spec("mediapipe") is None:
        return "needs the package mediapipe (pip install 'fctfg[motion]')"
    return None if weights.find("face_landmarker") else weights.missing("face_landmarker")


def head_angles(transform: np.ndarray) -> tuple[float, float, float]:
    """Yaw, pitch, roll in degrees of a head transform, whose upper left (3, 3) is a rotation times a scale."""
    rotation = transform[:3, :3] / np.cbrt(np.linalg.det(transform[:3, :3]))
    yaw = np.arctan2(rotation[0, 2], rotation[2, 2])
    pitch = np.arcsin(np.clip(rotation[1, 2], -1, 1))
    roll = np.arctan2(rotation[1, 0], rotation[1, 1])
    return tuple(np.degrees((yaw, pitch, roll)).tolist())


def factors(points: np.ndarray, blend: dict[str, float], transform: np.ndarray) -> np.ndarray:
    """One face's factors, in the order of FACTORS.

    Args:
        points: (478, 3), x and y in pixels, z in the scale of x, as FaceLandmarker has them.
        blend: blendshapes by name.
        transform: (4, 4), from the model's head to the camera.
    """
    both = [blend["eyeBlinkLeft"], blend["eyeBlinkRight"]]
    left = [blend["eyeLookOutLeft"] - blend["eyeLookInLeft"], blend["eyeLookInRight"] - blend["eyeLookOutRight"]]
    up = [blend[f"eyeLookUp{side}"] - blend[f"eyeLookDown{side}"] for side in ("Left", "Right")]
    gap = np.linalg.norm(points[_UPPER_LIP] - points[_LOWER_LIP])
    eyes = np.linalg.norm(points[_RIGHT_EYE] - points[_LEFT_EYE])
    values = [*head_angles(transform), *both, np.mean(both), np.mean(left), np.mean(up), gap / eyes, blend["jawOpen"]]
    return np.array(values, dtype=float)


class FaceMotion:
    """Frames in, factors out. Safe to use from many threads: each makes its own FaceLandmarker when it first needs it.

    WeightsError for a file that mediapipe cannot read.
    """

    def __init__(self, model: Path) -> None:
        self.model = model
        self._local = threading.local()

    def __call__(self, frames: np.ndarray) -> np.ndarray:
        """(t, H, W, 3) uint8 RGB -> (t, 10) float64, NaN where no face is found. Of several, mediapipe's first."""
        import mediapipe

        if not hasattr(self._local, "landmarker"):
            self._local.landmarker = self._open()
        height, width = frames.shape[1:3]
        found = np.full((len(frames), len(FACTORS)), np.nan)
        for i, frame in enumerate(frames):
            image = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=np.ascontiguousarray(frame))
            seen = self._local.landmarker.detect(image)
            if seen.face_landmarks:
                points = np.array([(p.x * width, p.y * height, p.z * width) for p in seen.face_landmarks[0]])
                blend = {shape.category_name: shape.score for shape in seen.face_blendshapes[0]}
                found[i] = factors(points, blend, np.asarray(seen.facial_transformation_matrixes[0]))
        return found

    def _open(self) -> Any:
        with _silence():
            import mediapipe
            from mediapipe.tasks.python import BaseOptions, vision

            options = vision.FaceLandmarkerOptions(
                base_options=BaseOptions(model_asset_path=str(self.model)),
                running_mode=vision.RunningMode.IMAGE,  # no memory of earlier frames: order and chunks do not matter
                num_faces=1,
                output_face_blendshapes=True,
                output_facial_transformation_matrixes=True,
            )
            try:
                landmarker = vision.FaceLandmarker.create_from_options(options)
            except (RuntimeError, ValueError, OSError) as error:
                why = str(error).splitlines()[0][:160]
                raise weights.WeightsError(f"{self.model}: mediapipe cannot read it ({why}); get it again") from None
            blank = np.zeros((64, 64, 3), np.uint8)  # the rest of its messages come with the first picture
            landmarker.detect(mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=blank))
            return landmarker


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Keeps back what mediapipe's compiled part writes on standard error; it has no switch. Shown after a crash."""
    with _QUIET, tempfile.TemporaryFile() as said:
        sys.stderr.flush()
        terminal = os.dup(2)
        os.dup2(said.fileno(), 2)
        try:
            yield
        except weights.WeightsError:
            raise
        except BaseException:
            os.dup2(terminal, 2)
            said.seek(0)
            os.write(2, said.read())
            raise
        finally:
            os.dup2(terminal, 2)
            os.close(terminal)


def agreement(driving: np.ndarray, generated: np.ndarray, factor: str) -> dict[str, Any]:
    """How one factor of the generated face follows the driving one over a clip.

    ``driving`` and ``generated`` are (t,), NaN where no face was found; ``factor`` decides what counts as moving.

    Returns:
        ``mae`` and ``r`` (None without a value), ``undefined`` (why ``r`` has none, else None), ``frames`` (counted),
        ``driving_std`` and ``generated_std`` (None without frames).
    """
    both = np.isfinite(driving) & np.isfinite(generated)
    x, y, n = driving[both], generated[both], int(both.sum())
    about: dict[str, Any] = {"mae": None, "r": None, "undefined": None, "frames": n}
    about |= {"driving_std": float(x.std()) if n else None, "generated_std": float(y.std()) if n else None}
    if n:
        about["mae"] = float(np.abs(x - y).mean())
    if n < MIN_FRAMES:
        about["undefined"] = f"{n} frames with both faces, {MIN_FRAMES} are needed"
    elif about["driving_std"] < MOVES[factor]:
        moved = f"standard deviation {about['driving_std']:.3g}, below {MOVES[factor]:g}"
        about["undefined"] = f"the driving face hardly moves ({moved})"
    elif about["generated_std"] < 1e-9:
        about["r"] = 0.0
    else:
        about["r"] = float(np.corrcoef(x, y)[0, 1])
    return about


def parse(name: str) -> tuple[str, str]:
    """A metric's name -> factor and "mae" or "r". Raises ValueError for any other name."""
    match = _NAME.fullmatch(name)
    if not match:
        raise ValueError(f"unknown motion metric '{name}'; known: {', '.join(NAMES)}")
    return match["factor"], match["number"]


class MotionScores:
    """The accumulator of the group "motion" for one clip; the reference video is the driving one.

    A correlation that has no value is no failure of the clip: its Result has neither value nor failure, and its details
    say why under "undefined".
    """

    def __init__(self, names: Sequence[str], context: Context) -> None:
        self._parsed = {name: parse(name) for name in names}
        self._label = context.generated.label
        self._pair = Pair(load(), context)

    def update(self, generated: np.ndarray, reference: np.ndarray) -> None:
        """The next aligned frames, (t, H, W, 3) uint8 RGB each."""
        self._pair.add(generated, reference)

    def result(self) -> dict[str, Result]:
        """A Result for every name."""
        generated, driving = self._pair.finish()
        ours, theirs = (np.isfinite(side[:, 0]) for side in (generated, driving))
        shared = {
            "frames": len(ours),
            "detected_generated": float(ours.mean()),
            "detected_reference": float(theirs.mean()),
            "detected_both": float((ours & theirs).mean()),
        }
        results = {}
        for name, (factor, number) in self._parsed.items():
            column = FACTORS.index(factor)
            found = agreement(driving[:, column], generated[:, column], factor)
            details = shared | {key: found[key] for key in ("driving_std", "generated_std")}
            failure = (
                None if found["frames"] else f"{self._label}: in no frame do both it and its reference show a face"
            )
            if number == "r" and failure is None and found["undefined"]:
                details["undefined"] = found["undefined"]
            results[name] = Result(found[number], details, failure, self._pair.warnings())
        return results


def load() -> Extractor:
    """The extractor with the model that is here, made once."""
    with _LOADING:
        return _load(weights.require("face_landmarker"))


@lru_cache(maxsize=2)
def _load(model: Path) -> Extractor:
    version = f"1; mediapipe {metadata.version('mediapipe')}, {model.name} {weights.sha256(model)[:12]}"
    return Extractor("motion", version, FaceMotion(model))
