"""The accumulator of the group "puppets": LMD, LSE and control, read by networks that know nothing but puppets.

``lmd_mouth_puppet``, ``lmd_face_puppet``      as ``metrics.landmarks`` defines them, with the face reader's points
``lse_c_puppet``, ``lse_d_puppet``, ``lse_lag_puppet``   as ``metrics.sync_score`` ("valid"), with the lip-sync network
``control_<factor>_mae``, ``control_<factor>_r``   what the reader sees in the generated frames against the truth
``control_identity``                            cosine of the generated faces with the source's, see ``control``

Never used on real faces: the networks have seen none.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from fctfg.data.puppets.motion import MOTION
from metrics.frame_values import FrameValues
from metrics.interface import Context, MetricFailure, Result
from metrics.landmarks import FACE, MOUTH, detected, landmark_distances, mean_over_frames
from metrics.puppets import control
from metrics.puppets.instruments import Instruments, load, part
from metrics.puppets.lip_sync import SAMPLES_PER_FRAME, WINDOW, coefficients
from metrics.sync_score import VSHIFT, lse

FPS = 25
LMD = {"lmd_mouth_puppet": MOUTH, "lmd_face_puppet": FACE}
LSE = {"lse_c_puppet": "c", "lse_d_puppet": "d", "lse_lag_puppet": "lag"}
IDENTITY = "control_identity"


class PuppetScores:
    """One clip. Frames without a face are left out and counted in the details.

    Raises ValueError for a name that is none of the group's.
    """

    def __init__(self, names: Sequence[str], context: Context) -> None:
        self._control = {n: control.parse(n) for n in names if n not in LMD and n not in LSE and n != IDENTITY}
        self._names, self._context = list(names), context
        self._tools: Instruments = load(context.device)
        extractor = self._tools.extractor()
        self._reference = None if context.reference is None else FrameValues(context.reference, extractor, context)
        self._generated = FrameValues(context.generated, extractor, context)

    def update(self, generated: np.ndarray, reference: np.ndarray | None = None) -> None:
        """The next aligned frames, (t, H, W, 3) uint8 RGB each."""
        if self._reference is not None:
            self._reference.add(reference)
        self._generated.add(generated, self._reference, reference)

    def result(self) -> dict[str, Result]:
        """A Result for every name."""
        reference = None if self._reference is None else self._reference.finish()
        generated = self._generated.finish()
        seen = {"frames": len(generated), "detected_generated": float(found(generated).mean())}
        warnings = list(self._generated.warnings)
        if reference is not None:
            warnings += self._reference.warnings
            seen["detected_reference"] = float(found(reference).mean())
            seen["detected_both"] = float((found(generated) & found(reference)).mean())
        results: dict[str, Result] = {}
        sync: dict[str, Result] | None = None
        for name in self._names:
            try:
                if name in LMD:
                    made = self._lmd(generated, reference, LMD[name])
                elif name in LSE:
                    sync = sync or self._lse(generated)
                    made = sync[LSE[name]]
                elif name == IDENTITY:
                    made = self._identity(generated, reference)
                else:
                    made = self._controlled(name, generated, reference)
            except MetricFailure as failure:
                made = Result(failure=str(failure))
            results[name] = Result(made.value, seen | made.details, made.failure, warnings + made.warnings)
        return results

    @property
    def _label(self) -> str:
        return self._context.generated.label

    def _lmd(self, generated: np.ndarray, reference: np.ndarray | None, which: slice) -> Result:
        if reference is None:
            raise MetricFailure(f"{self._label}: landmark distances need a reference video")
        if not (found(generated) & found(reference)).any():
            raise MetricFailure(f"{self._label}: in no frame do both it and its reference show a face")
        return Result(mean_over_frames(landmark_distances(part(generated, "points"), part(reference, "points"), which)))

    def _lse(self, generated: np.ndarray) -> dict[str, Result]:
        if self._context.generated.fps != FPS:
            raise MetricFailure(f"{self._label}: has {self._context.generated.fps:g} frames a second, not {FPS}")
        sound = self._context.generated.waveform()
        if sound is None:
            raise MetricFailure(f"{self._label}: has no sound")
        first, stop = longest_run(found(generated))
        sound = sound[first * SAMPLES_PER_FRAME : stop * SAMPLES_PER_FRAME]
        # as in metrics.sync: the picture would allow one window more, but its sound lacks the last MFCC column
        n_windows = min(stop - first, len(sound) // SAMPLES_PER_FRAME) - WINDOW
        if n_windows <= VSHIFT:
            least = VSHIFT + WINDOW + 1
            raise MetricFailure(
                f"{self._label}: too short: {stop - first} frames with a face and {len(sound) / 16000:.2f} s of sound; "
                f"{least} frames are needed"
            )
        features = torch.from_numpy(np.ascontiguousarray(part(generated, "lips")[first:stop]))
        tools = self._tools
        with torch.inference_mode():
            lips = tools.sync.lips(features.to(tools.device))[:n_windows].cpu()
            speech = tools.sync.speech(coefficients(sound, n_windows).to(tools.device)).cpu()
        score = lse(lips, speech, VSHIFT, "valid")
        values = {"c": score.lse_c, "d": score.lse_d, "lag": float(abs(score.offset))}
        details = {
            "offset": score.offset,
            "distance_at_zero": score.distance_at_zero,
            "n_windows": score.n_windows,
            "curve": [round(distance, 4) for distance in score.curve],
            "first_frame": first,
        }
        edge = abs(score.offset) == VSHIFT
        warnings = [f"the best offset is {score.offset} frames, the end of the range searched"] if edge else []
        return {number: Result(value, details, None, warnings) for number, value in values.items()}

    def _identity(self, generated: np.ndarray, reference: np.ndarray | None) -> Result:
        source = self._context.source
        if source is not None:
            shown = self._tools(source[None])
        elif reference is not None:
            shown = reference[found(reference)][:1]
        else:
            raise MetricFailure(f"{self._label}: identity needs the source picture or a reference video")
        if not len(shown) or not found(shown).any():
            raise MetricFailure(f"{self._label}: no face in the source picture")
        if not found(generated).any():
            raise MetricFailure(f"{self._label}: no face in any of its {len(generated)} frames")
        return control.identity(
            part(generated, "identity"),
            part(shown, "identity")[0],
            None if reference is None else part(reference, "identity"),
            self._tools.strangers.numpy(),
        )

    def _controlled(self, name: str, generated: np.ndarray, reference: np.ndarray | None) -> Result:
        truth = self._context.truth
        if truth is None or "motion" not in truth:
            raise MetricFailure(f"{self._label}: no truth to compare with; control is measured on puppets only")
        motion = np.asarray(truth["motion"], dtype=np.float64)
        if motion.shape != (len(generated), len(MOTION)):
            wanted = (len(generated), len(MOTION))
            raise MetricFailure(f"{self._label}: the truth's motion is {motion.shape}, and {wanted} is needed")
        factor, number = self._control[name]
        if factor == "heard":
            motion = np.asarray(truth.get("heard", motion), dtype=np.float64)
        read = None if reference is None else part(reference, "motion")
        return control.score(factor, number, part(generated, "motion"), motion, read, self._label)


def found(rows: np.ndarray) -> np.ndarray:
    """(T, WIDTH) rows -> (T,) bool: a face was seen."""
    return detected(part(rows, "points"))


def longest_run(present: np.ndarray) -> tuple[int, int]:
    """(T,) bool -> first and stop of the longest run of True; (0, 0) where there is none."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], present, [False]]).astype(np.int8)))
    if not len(edges):
        return 0, 0
    starts, stops = edges[::2], edges[1::2]
    longest = int(np.argmax(stops - starts))
    return int(starts[longest]), int(stops[longest])
