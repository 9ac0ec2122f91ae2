"""The numbers of the regression set, part by part: {case: {metric: value}}.

The parts "image" and "sync" go the whole way, through ``metrics.evaluate``. Where a metric begins with a network that
has to be downloaded, its part begins behind that network, with drawn landmarks, boxes or features.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from metrics.regression import material

Values = dict[str, dict[str, float]]
IMAGE = ("ssim_wang_rgb", "ssim_wang_luma", "ssim_skimage_default", "ms_ssim_wang_rgb", "psnr_rgb", "l1_rgb")
SYNC = ("lse_c_lrs", "lse_d_lrs", "lse_lag_lrs")


def measure(parts: Sequence[str] | None = None) -> Values:
    """{"<part>/<case>": {metric: value}} of the given parts (default: all), on one thread.

    Raises:
        ValueError: for an unknown part.
        RuntimeError: when a metric has no value where it ought to have one.
    """
    import torch

    parts = list(PARTS) if parts is None else list(parts)
    for part in parts:
        if part not in PARTS:
            raise ValueError(f"unknown part {part!r}; known: {', '.join(PARTS)}")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with material.drawn_weights(syncnet=bool({"sync", "track"} & set(parts))) as folder:
            return {f"{part}/{case}": row for part in parts for case, row in PARTS[part](folder).items()}
    finally:
        torch.set_num_threads(threads)


def image(folder: Path) -> Values:
    """SSIM in its variants, MS-SSIM, PSNR, L1 of every clip and distortion."""
    return _evaluated(IMAGE)


def sync(folder: Path) -> Values:
    """LSE on whole frames of every clip and distortion, against the clip's sound."""
    return _evaluated(SYNC)


def _evaluated(names: Sequence[str]) -> Values:
    from metrics.evaluate import Evaluator, Footage

    evaluator = Evaluator(names)
    if evaluator.unavailable:
        raise RuntimeError("; ".join(f"{name}: {reason}" for name, reason in evaluator.unavailable.items()))
    values: Values = {}
    for seed, (name, clip) in enumerate(material.clips().items()):
        sound, truth = material.sound(seed=seed), clip[: material.FRAMES]
        reference = Footage(lambda truth=truth: [truth], sound, label=f"{name}, truth")
        for how in material.DISTORTIONS:
            made = material.distorted(clip, how)
            generated = Footage(lambda made=made: [made], sound, label=f"{name}, {how}")
            results = evaluator.score(generated, reference)
            if failures := [result.failure for result in results.values() if result.failure]:
                raise RuntimeError(failures[0])
            values[f"{name}/{how}"] = {metric: result.value for metric, result in results.items()}
    return values


class _Beginning:
    """Takes a track's crops: sums all of them, and embeds the first FRAMES, which is what costs time."""

    def __init__(self, embedder) -> None:
        self.embedder, self.taken, self.total = embedder, 0, 0.0
        weights = np.random.default_rng(8).uniform(0, 1, (224, 224, 3))
        self._weights = weights / weights.sum()

    def push(self, crops: np.ndarray) -> None:
        self.embedder.push(crops[: max(0, material.FRAMES - self.taken)])
        self.taken += len(crops)
        self.total += float((crops * self._weights).sum())


def track(folder: Path) -> Values:
    """A planted face followed and cut out, its first frames scored: LSE as from a detector's boxes on."""
    from metrics.face_tracks import FaceTracker
    from metrics.mfcc import to_int16
    from metrics.sync import clip_score, network, stretch
    from metrics.sync_lips import LipTrack
    from metrics.syncnet import LipEmbedder

    n = 110
    net = network("cpu")
    tracker = FaceTracker(lambda: _Beginning(LipEmbedder(net)))
    tracker.push(material.waves(n), material.boxes(n))
    ((found, crops),) = tracker.finish()
    row = {
        "track_frames": float(found.n_frames),
        "face_size": found.face_size,
        "crop_level": crops.total / crops.taken,
    }
    lips = LipTrack(found.first_frame, material.FRAMES, crops.embedder.finish().numpy(), found.face_size)
    paired = stretch(net, lips, to_int16(material.sound(seed=9)))
    for variant, padding in (("official", "zero"), ("valid", "valid")):
        values, details = clip_score([paired], padding)
        row |= {f"lse_{number}_{variant}": value for number, value in values.items()}
        row[f"distance_at_zero_{variant}"] = details["distance_at_zero"]
    return {"nodding": row}


def score(folder: Path) -> Values:
    """LSE from drawn embeddings with planted delays."""
    import torch

    from metrics.sync_score import lse

    values: Values = {}
    for late in (-7, 0, 4):
        lips, speech = map(torch.from_numpy, material.embeddings(late))
        row = {}
        for variant, padding in (("official", "zero"), ("valid", "valid")):
            found = lse(lips, speech, padding=padding)
            row |= {f"lse_c_{variant}": found.lse_c, f"lse_d_{variant}": found.lse_d}
            row |= {f"lse_lag_{variant}": float(abs(found.offset)), f"offset_{variant}": float(found.offset)}
        values[f"late by {late}"] = row
    return values


def sound(folder: Path) -> Values:
    """The MFCC: the mean of each coefficient, and of all their sizes."""
    from metrics.mfcc import mfcc, to_int16

    found = mfcc(to_int16(material.sound(50)))
    means = {f"mfcc_{i}": float(value) for i, value in enumerate(found.mean(axis=0))}
    return {"swelling": means | {"mfcc_size": float(np.abs(found).mean())}}


def landmarks(folder: Path) -> Values:
    """LMD in its variants, from planted points; and a picture brought onto EAT's template."""
    from metrics.landmark_eat import FITTED, TEMPLATE, aligned
    from metrics.landmark_scores import VARIANTS
    from metrics.landmarks import mean_over_frames

    values: Values = {}
    for name, variant in VARIANTS.items():
        for case, sides in material.landmarks(variant.n_points).items():
            values.setdefault(case, {})[name] = mean_over_frames(variant.distance(*sides, variant.part))
    rng, points = np.random.default_rng(14), np.zeros((68, 2))
    points[FITTED] = TEMPLATE * 1.3 + rng.normal(0, 3, TEMPLATE.shape) + (20, 5)
    picture = aligned(material.blobs(1)[0], points)
    weights = rng.uniform(0, 1, picture.shape)
    values["aligned"] = {"eat_level": float((picture * weights).sum() / weights.sum())}
    return values


def perceptual(folder: Path) -> Values:
    """LPIPS with the package's heads on trunks of drawn weights."""
    import torch

    from metrics.perceptual import LPIPS

    clip = material.blobs()[:, :96, :96]
    truth = torch.from_numpy(clip[: material.FRAMES : 8].copy()).permute(0, 3, 1, 2)
    values: Values = {how: {} for how in material.DISTORTIONS}
    for name in material.TRUNKS:
        model = LPIPS(name, material.save(material.trunk_state(name), folder / f"{name}.pth"))
        for how in material.DISTORTIONS:
            made = torch.from_numpy(material.distorted(clip, how)[::8].copy()).permute(0, 3, 1, 2)
            values[how][name] = float(model(made, truth).mean())
    return values


def identity(folder: Path) -> Values:
    """The similarity transform onto ArcFace's template from displaced points, and the cosine of drawn embeddings."""
    from metrics.identity import TEMPLATE, cosines, similarity_transform

    rng = np.random.default_rng(10)
    points = TEMPLATE * 1.7 + rng.normal(0, 5, TEMPLATE.shape) + (40, 20)
    matrix = similarity_transform(points)
    a, b = rng.normal(size=(2, 20, 512)).astype(np.float32)
    a, b = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in (a, a + b))
    named = {f"transform_{i}{j}": float(matrix[i, j]) for i in range(2) for j in range(3)}
    return {"drawn": named | {"csim": float(cosines(a, b).mean())}}


def motion(folder: Path) -> Values:
    """Every motion factor of drawn heads: the truth against one that follows late and with noise."""
    from metrics.motion import FACTORS, agreement, factors

    rng, n = np.random.default_rng(11), 60
    t = np.arange(n + 2)
    names = [f"eye{what}{side}" for what in ("Blink", "LookOut", "LookIn", "LookUp", "LookDown")
             for side in ("Left", "Right")] + ["jawOpen"]  # fmt: skip
    blend = {name: 0.5 + 0.4 * np.sin(t / rng.uniform(2, 6) + rng.uniform(0, 6)) for name in names}
    angles = [20 * np.sin(t / rng.uniform(3, 8)) for _ in range(3)]
    face = rng.uniform(60, 190, (478, 3))
    rows = []
    for i in t:
        points = face.copy()
        points[14, 1] = points[13, 1] + 8 + 6 * np.sin(i / 3)
        values = {name: float(column[i]) for name, column in blend.items()}
        rows.append(factors(points, values, _head(*(angle[i] for angle in angles))))
    rows = np.array(rows)
    driving, generated = rows[2:], rows[:-2] + rng.normal(0, 0.03, (n, len(FACTORS)))
    generated[7] = np.nan
    row = {}
    for column, factor in enumerate(FACTORS):
        found = agreement(driving[:, column], generated[:, column], factor)
        row |= {f"motion_{factor}_{number}": found[number] for number in ("r", "mae")}
    return {"late": {metric: float("nan") if value is None else value for metric, value in row.items()}}


def _head(*degrees: float) -> np.ndarray:
    """(4, 4): turned about x, y and z in that order, 1.2 times as large, 40 away."""
    transform = np.eye(4)
    for axis, angle in enumerate(np.radians(degrees)):
        i, j = [k for k in range(3) if k != axis]
        turn = np.eye(3)
        turn[i, i] = turn[j, j] = np.cos(angle)
        turn[i, j], turn[j, i] = -np.sin(angle), np.sin(angle)
        transform[:3, :3] = transform[:3, :3] @ turn
    transform[:3, :3] *= 1.2
    transform[2, 3] = -40
    return transform


def distribution(folder: Path) -> Values:
    """FID with its interval and its extrapolation, from drawn features of 12 clips by 4 people."""
    from metrics.distribution import ClipFeatures, fid

    rng = np.random.default_rng(12)
    clips = []
    for i in range(12):
        truth = rng.normal(size=(40, 16)).astype(np.float32) * np.linspace(0.5, 2, 16, dtype=np.float32)
        made = truth + rng.normal(0.1 * (1 + i % 4), 0.5, truth.shape).astype(np.float32)
        clips.append(ClipFeatures(made, truth, str(i % 4)))
    score = fid(clips, replicates=20)
    low, high = score.interval
    return {"drawn": {"fid": score.value, "fid_low": low, "fid_high": high, "fid_extrapolated": score.extrapolated}}


PARTS = {
    "image": image,
    "sync": sync,
    "track": track,
    "score": score,
    "sound": sound,
    "landmarks": landmarks,
    "perceptual": perceptual,
    "identity": identity,
    "motion": motion,
    "distribution": distribution,
}
