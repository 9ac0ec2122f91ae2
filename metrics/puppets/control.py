"""Does the generated puppet do what the driving one does? The face reader's motion against the known truth.

========== ========= ===============================================================================
factor     unit      what is compared (columns of ``fctfg.data.puppets.motion``)
========== ========= ===============================================================================
lips       0..1      mouth_open
heard      0..1      mouth_open, with the truth of the clip whose sound the method heard: another's, where it was given
                     another's sound; then "lips" says how far the driver's lips shine through
yaw ...    degree    yaw, pitch, roll, each on its own
pose       degree    the angle of the rotation between both heads; r: the mean of the three angles' r
brow       -1..1     the mean of both brows' brow_raise
blink      0..1      the mean of both eyes' blink
gaze_x, _y -1..1     over the frames in which the true eyes are at least half open
========== ========= ===============================================================================

``mae`` is the mean absolute difference. ``r``, Pearson's correlation over the clip, has no value where the truth hardly
moves (standard deviation below MOVES) or fewer than 10 frames count, and is 0 where only the generated face stands
still (moves less than a fifth of that, which is what encoding makes of a held picture). "reader_mae" and "reader_r" in
the details are the same numbers for the true frames: the instrument's own error.
"""

from __future__ import annotations

import re

import numpy as np

from fctfg.data.puppets.motion import index
from metrics.interface import MetricFailure, Result

COLUMNS = {
    "lips": ("mouth_open",),
    "heard": ("mouth_open",),
    "yaw": ("yaw",),
    "pitch": ("pitch",),
    "roll": ("roll",),
    "pose": ("yaw", "pitch", "roll"),
    "brow": ("brow_raise_l", "brow_raise_r"),
    "blink": ("blink_l", "blink_r"),
    "gaze_x": ("gaze_x",),
    "gaze_y": ("gaze_y",),
}
FACTORS = tuple(COLUMNS)
#: least standard deviation of the truth for a correlation
MOVES = {
    "lips": 0.03,
    "heard": 0.03,
    "yaw": 0.8,
    "pitch": 0.8,
    "roll": 0.8,
    "brow": 0.05,
    "blink": 0.05,
    "gaze_x": 0.05,
    "gaze_y": 0.05,
}
MIN_FRAMES = 10
#: of that, what the reading of a still face moves by once the video has been encoded
STILL = 0.2
_NAME = re.compile(rf"control_(?P<factor>{'|'.join(FACTORS)})_(?P<number>mae|r)")


def parse(name: str) -> tuple[str, str]:
    """A metric's name -> factor and "mae" or "r". Raises ValueError for any other name."""
    match = _NAME.fullmatch(name)
    if not match:
        raise ValueError(f"unknown puppet metric '{name}'")
    return match["factor"], match["number"]


def value(motion: np.ndarray, factor: str) -> np.ndarray:
    """(T, 18) -> the factor (T,), the mean over its columns."""
    return motion[:, [index(name) for name in COLUMNS[factor]]].astype(np.float64).mean(1)


def counted(truth: np.ndarray, factor: str) -> np.ndarray:
    """(T, 18) -> (T,) bool: the frames in which the factor can be seen."""
    return value(truth, "blink") < 0.5 if factor.startswith("gaze") else np.ones(len(truth), bool)


def mae(motion: np.ndarray, truth: np.ndarray, factor: str) -> float:
    """Mean absolute difference over rows of (T, 18), T > 0; of "pose" the mean angle in degrees."""
    if factor != "pose":
        return float(np.abs(value(motion, factor) - value(truth, factor)).mean())
    between = np.einsum("tij,tij->t", rotations(motion), rotations(truth))  # the trace of A^T B
    return float(np.degrees(np.arccos(np.clip((between - 1) / 2, -1, 1))).mean())


def correlation(motion: np.ndarray, truth: np.ndarray, factor: str) -> tuple[float | None, str | None]:
    """Pearson's r over rows of (T, 18) and None, or None and why there is none."""
    if factor == "pose":
        parts = [correlation(motion, truth, angle) for angle in COLUMNS["pose"]]
        values = [r for r, _ in parts if r is not None]
        return (float(np.mean(values)), None) if values else parts[0]
    x, y = value(truth, factor), value(motion, factor)
    if len(x) < MIN_FRAMES:
        return None, f"{len(x)} frames count, {MIN_FRAMES} are needed"
    if x.std() < MOVES[factor]:
        return None, f"the driving face hardly moves (standard deviation {x.std():.3g}, below {MOVES[factor]:g})"
    return (0.0, None) if y.std() < STILL * MOVES[factor] else (float(np.corrcoef(x, y)[0, 1]), None)


def rotations(motion: np.ndarray) -> np.ndarray:
    """(T, 18) -> (T, 3, 3) head rotations, see ``fctfg.data.puppets.motion.rotation``."""
    import torch

    from fctfg.data.puppets.motion import rotation

    return rotation(torch.from_numpy(np.ascontiguousarray(motion, dtype=np.float64))).numpy()


def score(
    factor: str, number: str, motion: np.ndarray, truth: np.ndarray, reference: np.ndarray | None, label: str
) -> Result:
    """What was read in the generated frames (T, 18), NaN where no face is, against the truth (T, 18).

    ``reference``: what was read in the driving frames, for the instrument's own error. MetricFailure without a frame.
    """
    rows = np.isfinite(motion).all(1) & counted(truth, factor)
    if not rows.any():
        raise MetricFailure(f"{label}: no frame shows a face whose {factor} can be compared with the truth")
    details: dict = {"frames_counted": int(rows.sum())}
    if reference is not None:
        own = np.isfinite(reference).all(1) & counted(truth, factor)
        if own.any():
            details["reader_mae"] = mae(reference[own], truth[own], factor)
            details["reader_r"] = correlation(reference[own], truth[own], factor)[0]
    if number == "mae":
        return Result(mae(motion[rows], truth[rows], factor), details)
    found, why = correlation(motion[rows], truth[rows], factor)
    if why is not None:
        details["undefined"] = why
    return Result(found, details)


def identity(generated: np.ndarray, shown: np.ndarray, reference: np.ndarray | None, strangers: np.ndarray) -> Result:
    """The mean cosine between unit embeddings (T, d), NaN without a face, and the one of the source picture (d,).

    Details: "truth", the same for the driving frames (what a perfect answer scores, where they show the same person);
    "strangers" and "strangers_95", mean and 95th percentile of the cosine between other people (n, d) and the source.
    """
    known = generated[np.isfinite(generated).all(1)].astype(np.float64)
    shown = shown.astype(np.float64)
    others = strangers.astype(np.float64) @ shown
    details: dict = {"strangers": float(others.mean()), "strangers_95": float(np.quantile(others, 0.95))}
    if reference is not None:
        true = reference[np.isfinite(reference).all(1)].astype(np.float64)
        details["truth"] = float((true @ shown).mean()) if len(true) else None
    return Result(float((known @ shown).mean()), details)
