"""Controls on real clips: each must move the metrics that ought to move, and leave the others. ``-s`` prints the table.

Three clips of three people, every fifth of their first hundred frames. Blurred: a Gaussian of sigma 3. Shifted: the
frames five later. Frozen: the first frame. Other: the next person's clip.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fctfg.media import read_video
from metrics import distribution, identity, motion, perceptual
from metrics.interface import Context, Footage

CLIPS = ("id90002/clip_b/00086", "id90007/clip_g/00473", "id90008/clip_i/00105")
FACTORS = ("yaw", "pitch", "roll", "blink", "mouth")
GROUPS = (
    (perceptual.PerceptualScores, ("lpips_alex",)),
    (identity.IdentityScores, ("csim_arcface_mbf", "csim_source_arcface_mbf")),
    (motion.MotionScores, tuple(f"motion_{factor}_{number}" for factor in FACTORS for number in ("r", "mae"))),
)


def controls(clips: list[np.ndarray]) -> dict[str, list[np.ndarray]]:
    import cv2

    truth = [clip[:100:5] for clip in clips]
    return {
        "truth": truth,
        "blurred": [np.stack([cv2.GaussianBlur(frame, (0, 0), 3) for frame in clip]) for clip in truth],
        "shifted": [clip[5:105:5] for clip in clips],
        "frozen": [np.repeat(clip[:1], len(clip), axis=0) for clip in truth],
        "other": truth[1:] + truth[:1],
    }


def scored(name: str, number: int, generated: np.ndarray, truth: np.ndarray, cache: Path) -> dict[str, float]:
    footage = [Footage(lambda: [], key=f"{key} {number}", label=key) for key in (name, "truth")]
    context = Context(*footage, cache=cache, source=truth[0])
    values = {}
    for group, names in GROUPS:
        accumulator = group(names, context)
        accumulator.update(generated, truth)
        for metric, result in accumulator.result().items():
            assert result.failure is None, result.failure
            values[metric] = result.value
    return values


def fids(made: dict[str, list[np.ndarray]]) -> dict[str, float]:
    """FID of each control; empty where the network is not here, which the rest of the table does not need."""
    if distribution.unavailable():
        return {}
    extract = distribution.load("cpu").extract
    features = {name: [extract(video[::4]) for video in made[name]] for name in made if name != "other"}
    features["other"] = features["truth"][1:] + features["truth"][:1]
    return {
        name: distribution.feature_distance(np.concatenate(found), np.concatenate(features["truth"]))
        for name, found in features.items()
    }


@pytest.fixture(scope="module")
def table(real, weights_dir, tmp_path_factory) -> dict[str, dict[str, float]]:
    """{control: {metric: mean over the clips}}."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FCTFG_WEIGHTS", str(weights_dir), prepend=":")
        for reason in (perceptual.alex_unavailable(), identity.mbf_unavailable(), motion.unavailable()):
            if reason:
                pytest.skip(reason)
        cache = tmp_path_factory.mktemp("cache")
        files = [real / "voxceleb2/test/mp4" / f"{clip}.mp4" for clip in CLIPS]
        made = controls([read_video(file, size=(256, 256), stop=105) for file in files])
        means = {}
        for name, videos in made.items():
            rows = [scored(name, i, g, t, cache) for i, (g, t) in enumerate(zip(videos, made["truth"], strict=True))]
            means[name] = {metric: float(np.mean([row[metric] for row in rows])) for metric in rows[0]}
        for name, value in fids(made).items():
            means[name]["fid"] = value
    metrics = list(means["truth"])
    print("\n" + " " * 24 + "".join(f"{name:>10}" for name in means))
    for metric in metrics:
        print(f"{metric:24}" + "".join(f"{row[metric]:10.3f}" for row in means.values()))
    return means


def of(row: dict[str, float], number: str, factors=FACTORS) -> list[float]:
    return [row[f"motion_{factor}_{number}"] for factor in factors]


def test_the_truth_is_perfect(table):
    truth = table["truth"]
    assert truth["lpips_alex"] == 0
    assert truth["csim_arcface_mbf"] == pytest.approx(1, abs=1e-6)
    assert of(truth, "r") == pytest.approx([1] * 5)
    assert of(truth, "mae") == [0] * 5
    assert truth.get("fid", 0) == pytest.approx(0, abs=1e-6)


def test_blur_moves_the_picture_metric_alone(table):
    blurred, others = table["blurred"], [table[name] for name in ("shifted", "frozen")]
    assert blurred["lpips_alex"] > 0.2
    assert all(blurred["lpips_alex"] > row["lpips_alex"] for row in others)
    assert blurred["csim_arcface_mbf"] > 0.75
    assert min(of(blurred, "r")) > 0.8
    assert min(of(blurred, "r", ("yaw", "roll"))) > 0.95
    if "fid" in blurred:
        assert blurred["fid"] > 1.5 * max(row["fid"] for row in others)


def test_a_shift_moves_what_is_fast_and_not_the_person(table):
    shifted = table["shifted"]
    assert max(of(shifted, "r", ("mouth", "blink"))) < 0.6
    assert min(of(shifted, "r", ("yaw", "roll"))) > 0.7  # a head takes longer than a fifth of a second to turn
    assert all(np.array(of(shifted, "r")) < np.array(of(table["blurred"], "r")))
    assert shifted["csim_arcface_mbf"] > 0.85
    assert shifted["lpips_alex"] < 0.12


def test_freezing_leaves_the_person_and_no_motion(table):
    frozen = table["frozen"]
    assert of(frozen, "r") == [0] * 5
    assert all(
        np.array(of(frozen, "mae", ("yaw", "pitch", "roll")))
        > np.array(of(table["shifted"], "mae", ("yaw", "pitch", "roll")))
    )
    assert frozen["csim_arcface_mbf"] > 0.8
    assert frozen["csim_source_arcface_mbf"] == pytest.approx(1, abs=1e-6)


def test_another_person_moves_identity_and_all_that_compares_frames(table):
    other = table["other"]
    assert abs(other["csim_arcface_mbf"]) < 0.2
    assert abs(other["csim_source_arcface_mbf"]) < 0.2
    assert all(row["csim_arcface_mbf"] > 0.75 for name, row in table.items() if name != "other")
    assert other["lpips_alex"] > 1.5 * table["blurred"]["lpips_alex"]
    assert np.mean(of(other, "r")) < 0.3
    assert other["motion_yaw_mae"] > 3 * table["frozen"]["motion_yaw_mae"]
    if "fid" in other:  # the set of frames is the same: FID cannot see who is where
        assert other["fid"] == pytest.approx(0, abs=1e-6)
