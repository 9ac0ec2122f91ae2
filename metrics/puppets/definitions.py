"""The metric variants of the group "puppets", as plain data: importing this loads no torch."""

from __future__ import annotations

from metrics.definition import Metric

_REQUIRES = "metrics.puppets.bundled:unavailable"
_SOURCE = "metrics/puppets: networks trained on puppets; docs/instruments.md"
_ONLY = " For puppets only: the networks have seen no real face."
_FACTORS = {
    # factor: (heading, unit of the error, range of the error, what it is)
    "lips": ("lips", "", "[0, 1]", "mouth opening"),
    "heard": ("lips to the sound", "", "[0, 1]", "mouth opening"),
    "yaw": ("yaw", "degree", "[0, 180]", "head yaw"),
    "pitch": ("pitch", "degree", "[0, 180]", "head pitch"),
    "roll": ("roll", "degree", "[0, 180]", "head roll"),
    "pose": ("pose", "degree", "[0, 180]", "head rotation (r: mean of yaw, pitch and roll)"),
    "brow": ("brow", "", "[0, 2]", "brow raise, mean of both"),
    "blink": ("blink", "", "[0, 1]", "lid closure, mean of both eyes"),
    "gaze_x": ("gaze x", "", "[0, 2]", "horizontal gaze in the head, where the true eyes are open"),
    "gaze_y": ("gaze y", "", "[0, 2]", "vertical gaze in the head, where the true eyes are open"),
}
_LSE = {
    "c": ("LSE-C", "", "[0, 2]", "higher", "Median minus minimum over 31 offsets of the mean distance"),
    "d": ("LSE-D", "", "[0, 2]", "lower", "Least over 31 offsets of the mean distance"),
    "lag": ("lag", "frames", "[0, 15]", "lower", "Size of the offset at which the mean distance is least"),
}

PUPPETS = (
    *(
        Metric(
            f"lmd_{part}_puppet", f"{column} (puppet)", "puppets", "px at 256", "[0, inf)", "lower", _SOURCE,
            f"As lmd_{part}_dlib, with the points of the puppets' face reader.{_ONLY}",
            requires=_REQUIRES,
        )
        for part, column in (("mouth", "LMD"), ("face", "F-LMD"))
    ),
    *(
        Metric(
            f"lse_{number}_puppet", f"{column} (puppet)", "puppets", unit, span, better, _SOURCE,
            f"{what} between unit embeddings of lips and speech by the puppets' lip-sync network; each offset averaged "
            f"over the windows that have speech there.{_ONLY}",
            requires=_REQUIRES,
        )
        for number, (column, unit, span, better, what) in _LSE.items()
    ),
    *(
        Metric(
            f"control_{factor}_{number}", f"control: {heading} {sign}", "puppets", unit if number == "mae" else "",
            span if number == "mae" else "[-1, 1]", better, _SOURCE,
            f"{kind} between {what} read in the generated frames and the truth of "
            + ("the clip whose sound was heard" if factor == "heard" else "the driving ones")
            + ("." if number == "mae" else "; undefined where the truth hardly moves.") + _ONLY,
            requires=_REQUIRES,
        )
        for factor, (heading, unit, span, what) in _FACTORS.items()
        for number, sign, better, kind in (
            ("mae", "error", "lower", "Mean absolute difference"),
            ("r", "r", "higher", "Pearson correlation"),
        )
    ),
    Metric(
        "control_identity", "control: identity", "puppets", "", "[-1, 1]", "higher", _SOURCE,
        "Mean cosine between the geometry embeddings of the generated faces and of the source picture; strangers are "
        f"near 0.{_ONLY}",
        requires=_REQUIRES,
    ),
)  # fmt: skip
