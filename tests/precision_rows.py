"""The comparisons of metrics/PRECISION.md: each section yields its rows. ``precision`` makes the table of them."""

from __future__ import annotations

import itertools
import math
import os
import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from fractions import Fraction
from importlib import metadata
from pathlib import Path
from unittest import mock

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
REAL = Path(os.environ.get("FCTFG_TEST_DATA", ROOT.parent / "shared")) / "real"
SYNTHETIC = "3 synthetic clips x 4 distortions, every 7th frame"


@dataclass(frozen=True)
class Row:
    """One comparison. ``variants``: patterns of the registry's names that it covers. ``error``: relative, or absolute
    in a unit.
    """

    metric: str
    variants: tuple[str, ...]
    reference: str
    step: str
    data: str
    error: str
    largest: float
    tolerance: float

    @property
    def key(self) -> tuple[str, ...]:
        """What identifies the row, whatever the versions installed."""
        return self.metric, " ".join(self.variants), self.reference.rpartition(" ")[0], self.step, self.data

    def covers(self, name: str) -> bool:
        return any(fnmatchcase(name, pattern) for pattern in self.variants)

    @property
    def within(self) -> bool:
        return self.largest <= self.tolerance  # a NaN is not


def package(name: str) -> str:
    """ "name version"."""
    return f"{name} {metadata.version(name)}"


def relative(ours, theirs) -> float:
    """The largest difference over the largest value."""
    ours, theirs = np.asarray(ours, float), np.asarray(theirs, float)
    if ours.shape != theirs.shape:
        raise ValueError(f"shapes differ: {ours.shape} and {theirs.shape}")
    return float(np.abs(ours - theirs).max() / np.abs(theirs).max())


def absolute(ours, theirs) -> float:
    return float(np.abs(np.asarray(ours, float) - np.asarray(theirs, float)).max())


# -- pictures ---------------------------------------------------------------------------------------------------------


def synthetic_pairs() -> Iterator[tuple[np.ndarray, np.ndarray]]:
    from metrics.regression import material

    for clip in material.clips().values():
        truth = clip[: material.FRAMES]
        for how in material.DISTORTIONS:
            yield material.distorted(clip, how)[1::7], truth[1::7]


def real_pairs() -> Iterator[tuple[np.ndarray, np.ndarray]]:
    from scipy.ndimage import gaussian_filter

    from fctfg.media import read_video

    for name in ("id90001/clip_a/00015", "id90004/clip_d/00002"):
        clip = read_video(REAL / "voxceleb2/test/mp4" / f"{name}.mp4", size=(256, 256), stop=45)
        yield gaussian_filter(clip[:40:20], (0, 2, 2, 0)), clip[:40:20]
        yield clip[5:45:20], clip[:40:20]


def image() -> Iterator[Row]:
    yield from _image(synthetic_pairs, SYNTHETIC)
    if REAL.is_dir():
        yield from _image(real_pairs, "2 VoxCeleb2 clips, blurred and shifted (real sample)")


def _image(pairs: Callable, data: str) -> Iterator[Row]:
    from test_metrics_image import TOLERANCE, WANG, _reference_luma, _reference_msssim, _reference_ssim, tensor

    from metrics.image import image_scores

    skimage, msssim = package("scikit-image"), package("pytorch-msssim")
    worst = dict.fromkeys(("wang", "luma", "default", "vainf", "multi", "psnr", "l1"), 0.0)

    def note(what: str, ours, theirs) -> None:
        worst[what] = max(worst[what], absolute(ours, theirs))

    from skimage.metrics import peak_signal_noise_ratio

    for x, y in pairs():
        ours = {name: values.numpy() for name, values in image_scores(tensor(x), tensor(y)).items()}
        note("vainf", ours["ssim_wang_rgb"], _reference_msssim(x, y, "ssim"))
        note("multi", ours["ms_ssim_wang_rgb"], _reference_msssim(x, y, "ms_ssim"))
        for i, (a, b) in enumerate(zip(x, y, strict=True)):
            note("wang", ours["ssim_wang_rgb"][i], _reference_ssim(a, b, **WANG))
            note("luma", ours["ssim_wang_luma"][i], _reference_ssim(_reference_luma(a), _reference_luma(b), **WANG))
            note("default", ours["ssim_skimage_default"][i], _reference_ssim(a, b))
            note("psnr", ours["psnr_rgb"][i], peak_signal_noise_ratio(b, a, data_range=255))
            note("l1", ours["l1_rgb"][i], np.abs(a.astype(float) - b).mean() / 255)
    wang = "per frame, Gaussian window"
    yield Row("SSIM", ("ssim_wang_rgb",), msssim, wang, data, "absolute", worst["vainf"], TOLERANCE)
    yield Row("SSIM", ("ssim_wang_rgb",), skimage, wang, data, "absolute", worst["wang"], TOLERANCE)
    yield Row("SSIM", ("ssim_wang_luma",), skimage, wang, data, "absolute", worst["luma"], TOLERANCE)
    default = "per frame, its defaults"
    yield Row("SSIM", ("ssim_skimage_default",), skimage, default, data, "absolute", worst["default"], TOLERANCE)
    yield Row("MS-SSIM", ("ms_ssim_wang_rgb",), msssim, "per frame", data, "absolute", worst["multi"], TOLERANCE)
    yield Row("PSNR", ("psnr_rgb",), skimage, "per frame", data, "absolute, dB", worst["psnr"], 1e-9)
    yield Row("L1", ("l1_rgb",), package("numpy"), "per frame", data, "absolute", worst["l1"], 1e-12)


# -- landmarks --------------------------------------------------------------------------------------------------------


def landmarks() -> Iterator[Row]:
    from metrics.landmark_scores import VARIANTS, Variant
    from metrics.landmarks import mean_over_frames
    from metrics.puppets.scores import LMD
    from metrics.regression import material

    def literal(generated, reference, numbers, total: bool) -> float:
        frames = []
        for a, b in zip(generated, reference, strict=True):
            if np.isnan(a).any() or np.isnan(b).any():
                continue
            a, b = a.tolist(), b.tolist()
            ax, ay, bx, by = (sum(side[p][c] for p in numbers) / len(numbers) for side in (a, b) for c in (0, 1))
            distances = [math.hypot(a[p][0] - ax - (b[p][0] - bx), a[p][1] - ay - (b[p][1] - by)) for p in numbers]
            frames.append(sum(distances) / (1 if total else len(numbers)))
        return sum(frames) / len(frames)

    parts = {
        "lmd_face_dlib": range(68),
        "lmd_face_puppet": range(68),
        "lmd_eat_face_dlib": range(68),
        "lmd_mouth_106": range(52, 72),
    }
    puppets = {name: Variant("puppets", part) for name, part in LMD.items()}
    for name, variant in (VARIANTS | puppets).items():
        numbers, total = parts.get(name, range(48, 68)), "atvgnet" in name
        worst = max(
            relative(mean_over_frames(variant.distance(*sides, variant.part)), literal(*sides, numbers, total))
            for sides in material.landmarks(variant.n_points).values()
        )
        step, data = "points to value", "3 drawn sets of points"
        yield Row("LMD", (name,), "literal transcription (tests/precision.py)", step, data, "relative", worst, 1e-12)


def landmark_pictures() -> Iterator[Row]:
    import lmd_literal as literal

    from metrics.landmark_eat import FITTED, TEMPLATE, aligned
    from metrics.regression import material

    rng, levels = np.random.default_rng(4), 0.0
    for frame in material.blobs(5):
        points = np.zeros((68, 2))
        points[FITTED] = (TEMPLATE * rng.uniform(0.5, 2) + rng.normal(0, 4, TEMPLATE.shape) + (20, 10)).round()
        levels = max(levels, absolute(aligned(frame, points), literal.align(frame, points)))
    yield Row("LMD", ("lmd_eat_*",), package("scikit-image"), "points to aligned picture", "5 synthetic frames",
              "absolute, levels", levels, 1)  # fmt: skip
    if REAL.is_dir():
        yield from _landmarks_of_faces("2 VoxCeleb2 clips, 3 frames each, and 9 frames later (real sample)")


def _landmarks_of_faces(data: str) -> Iterator[Row]:
    import lmd_literal as literal
    from test_metrics_lmd_eat import CLIPS, NAMES, faces_of, score

    from fctfg import weights
    from metrics.landmark_106 import missing
    from metrics.landmark_backends import dlib_missing

    script = "literal transcription (tests/lmd_literal.py)"
    pairs = [(faces_of(REAL, clip, start=9), faces_of(REAL, clip)) for clip in CLIPS]
    if dlib_missing() is None:
        predictor = str(weights.require("dlib68"))
        wanted = [literal.eat(*pair, predictor) for pair in pairs]
        ours = [[score(*pair)[name].value for name in NAMES] for pair in pairs]
        yield Row("LMD", ("lmd_eat_*",), script, "frames to value", data, "relative", relative(ours, wanted), 1e-9)
    with mock.patch.dict(os.environ, {"FCTFG_WEIGHTS": str(REAL.parent / "weights")}):
        if missing() is None:
            from fctfg.face_detection import choose

            detect, name = choose("yunet"), "lmd_mouth_106"
            model = str(weights.require("landmarks106"))
            wanted = [literal.mouth_106(*pair, [detect(side) for side in pair], model) for pair in pairs]
            ours = [score(*pair, (name,))[name].value for pair in pairs]
            yield Row("LMD", (name,), package("insightface"), "frames and boxes to value", data, "relative",
                      relative(ours, wanted), 1e-3)  # fmt: skip


# -- lip-sync ---------------------------------------------------------------------------------------------------------


def sync() -> Iterator[Row]:
    import sync_literal as literal
    from test_metrics_sync import TOLERANCE, moving_picture, our_features, related, speech_like

    from metrics import mfcc, syncnet
    from metrics.sync_score import lse, offset_curve, offset_distances

    speech_features, script = package("python_speech_features"), "literal transcription (tests/sync_literal.py)"
    frames, samples = moving_picture(30), speech_like(30 * 640 + 200)
    net = literal.draw_weights(seed=0)
    lips, speech, columns = literal.features(net, frames[..., ::-1], samples)
    with tempfile.TemporaryDirectory() as folder:
        literal.save_official(net, Path(folder) / "syncnet_v2.model", legacy=True)
        ours, ours_speech = our_features(syncnet.load_syncnet(Path(folder) / "syncnet_v2.model"), frames, samples)
    drawn = "30 synthetic frames and noise, drawn weights"

    def row(
        step, largest, tolerance, variants=("lse_*",), reference=script, data=drawn, error="relative", metric="LSE"
    ):
        return Row(metric, variants, reference, step, data, error, largest, tolerance)

    yield row("MFCC", relative(mfcc.mfcc(samples).T, columns), 1e-6, reference=speech_features)
    yield row("video features", relative(ours, lips), TOLERANCE)
    yield row("audio features", relative(ours_speech, speech), TOLERANCE)
    yield row("31 distances a window", relative(offset_distances(ours, ours_speech), literal.distances(lips, speech)),
              TOLERANCE)  # fmt: skip
    confidence, distance, offset = literal.score(lips, speech)
    score = lse(ours, ours_speech)

    def of(number: str) -> tuple[str, ...]:
        return f"lse_{number}_official*", f"lse_{number}_lrs"

    yield row("frames to LSE-C", relative(score.lse_c, confidence), TOLERANCE, of("c"), metric="LSE-C")
    yield row("frames to LSE-D", relative(score.lse_d, distance), TOLERANCE, of("d"), metric="LSE-D")
    yield row("frames to offset", abs(score.offset - offset), 0, of("lag"), error="absolute, frames", metric="offset")

    planted, worst = "embeddings of 130 windows with 5 planted delays", dict.fromkeys("cdov", 0.0)
    for late in (-12, -1, 0, 4, 15):
        pair = related(130, 0.8, late)
        confidence, distance, offset = literal.score(*pair)
        score = lse(*pair)
        pairs = [[(i, i + k) for i in range(130) if 0 <= i + k < 130] for k in range(-15, 16)]
        valid = [np.mean([float((pair[0][i] - pair[1][j] + 1e-6).norm()) for i, j in some]) for some in pairs]
        for key, error in (
            ("c", relative(score.lse_c, confidence)),
            ("d", relative(score.lse_d, distance)),
            ("o", float(abs(score.offset - offset))),
            ("v", relative(offset_curve(*pair, padding="valid"), valid)),
        ):
            worst[key] = max(worst[key], error)
    score_of = "embeddings to"
    yield row(f"{score_of} LSE-C", worst["c"], TOLERANCE, of("c"), data=planted, metric="LSE-C")
    yield row(f"{score_of} LSE-D", worst["d"], TOLERANCE, of("d"), data=planted, metric="LSE-D")
    yield row(f"{score_of} offset", worst["o"], 0, of("lag"), data=planted, error="absolute, frames", metric="offset")
    double_loop, valid = "double loop (tests/precision.py)", ("lse_*_valid*", "lse_*_puppet")
    yield row("curve without padding", worst["v"], 1e-6, valid, reference=double_loop, data=planted)


def crops() -> Iterator[Row]:
    import cv2
    import sync_literal as literal
    import torch
    from test_metrics_sync_faces import draw, noise, run_tracker

    from fctfg import face_s3fd
    from fctfg.face_pixels import resize_bilinear
    from metrics.regression import material

    levels, script = "absolute, levels", "literal transcription (tests/sync_literal.py)"
    whole = max(absolute(resize_bilinear(f, 224, 224), cv2.resize(f, (224, 224))) for f in material.blobs(3))
    yield Row("LSE", ("lse_*_lrs",), package("opencv-python"), "whole frame to 224x224", "3 synthetic frames", levels,
              whole, 0)  # fmt: skip

    frames, boxes = material.waves(110), material.boxes(110)
    ((first, filled),) = literal.tracks([[tuple(box[:4]) for box in here] for here in boxes])
    _, ((_, kept),), _ = run_tracker(frames, boxes, 16)
    error = absolute(np.stack(kept.crops), literal.crops(frames, first, filled))
    tracked = ("lse_*_official*", "lse_*_valid*")
    yield Row("LSE", tracked, script, "boxes to crops", "110 synthetic frames, planted face", levels, error, 0)

    state = draw(face_s3fd.OFFICIAL)
    small = cv2.resize(noise(6, 240, 256, 3), None, fx=0.25, fy=0.25).astype(np.float32) - np.float32([123, 117, 104])
    picture = torch.from_numpy(small).permute(2, 0, 1)
    with tempfile.TemporaryDirectory() as folder:
        torch.save(state, Path(folder) / "sfd_face.pth")
        net = face_s3fd.S3FD(Path(folder) / "sfd_face.pth")._net
    with torch.no_grad():
        ours = face_s3fd.candidates(net.maps(picture[None]), 0.05)[0]
    error = relative(ours, literal.s3fd_boxes(state, picture))
    s3fd = ("lse_*_official", "lse_*_valid")
    yield Row("LSE", s3fd, script, "S3FD, frame to boxes", "noise, drawn weights", "relative", error, 1e-3)


# -- networks and sets ------------------------------------------------------------------------------------------------


def perceptual() -> Iterator[Row]:
    import torch

    from metrics.perceptual import LPIPS, VARIANTS
    from metrics.regression import material
    from metrics.torchvision_shim import import_beside_torchvision

    lpips = import_beside_torchvision("lpips")
    clip = material.blobs()[:, :96, :96]
    x, y = (
        torch.from_numpy(v[::11].copy()).permute(0, 3, 1, 2) for v in (clip[:22], material.distorted(clip, "noisy"))
    )
    for name in VARIANTS:
        with tempfile.TemporaryDirectory() as folder:
            model = LPIPS(name, material.save(material.trunk_state(name), Path(folder) / "trunk.pth"))
        with warnings.catch_warnings(action="ignore"):  # torchvision's, of the package's old arguments
            theirs = lpips.LPIPS(net=VARIANTS[name][0], pnet_rand=True, verbose=False).eval()
        theirs.load_state_dict(model._model.state_dict())
        with torch.inference_mode():
            wanted = theirs(x / 127.5 - 1, y / 127.5 - 1).flatten()
        data = "2 synthetic frames, drawn trunk, the package's heads"
        error = relative(model(x, y), wanted)
        yield Row("LPIPS", (name,), package("lpips"), "per frame", data, "relative", error, 1e-5)


def identity() -> Iterator[Row]:
    from insightface.utils import face_align

    from metrics.identity import TEMPLATE, align, cosines, similarity_transform
    from metrics.regression import material

    rng, frame = np.random.default_rng(1), material.blobs(1, 256, 256)[0]
    matrix = levels = 0.0
    for _ in range(20):
        points = TEMPLATE * rng.uniform(0.8, 2) + rng.normal(0, 5, (5, 2))
        points = points.astype(np.float32)
        with warnings.catch_warnings(action="ignore"):  # scikit-image's, of the package's old call
            transform, picture = face_align.estimate_norm(points), face_align.norm_crop(frame, points)
        matrix = max(matrix, absolute(similarity_transform(points), transform))
        levels = max(levels, absolute(align(frame, points), picture))
    names, theirs, data = ("csim_*",), package("insightface"), "20 drawn sets of points, a synthetic frame"
    yield Row("CSIM", names, theirs, "points to transform", data, "absolute, pixels", matrix, 2e-4)
    yield Row("CSIM", names, theirs, "aligned picture", data, "absolute, levels", levels, 1)
    a, b = rng.normal(size=(2, 20, 512))
    a, b = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in (a, a + b))
    from scipy.spatial.distance import cosine

    wanted = [1 - cosine(u, v) for u, v in zip(a, b, strict=True)]
    yield Row("CSIM", names, package("scipy"), "embeddings to cosine", "20 drawn pairs", "absolute",
              absolute(cosines(a, b), wanted), 1e-12)  # fmt: skip


def motion() -> Iterator[Row]:
    from scipy.spatial.transform import Rotation
    from scipy.stats import pearsonr

    from metrics.motion import FACTORS, agreement, head_angles

    rng, scipy = np.random.default_rng(2), package("scipy")
    worst = 0.0
    for _ in range(50):
        angles = rng.uniform(-80, 80, 3)
        transform = np.eye(4)
        # y, x, z in the head's own axes, pitch counted upwards
        transform[:3, :3] = 1.3 * Rotation.from_euler("YXZ", angles * (1, -1, 1), degrees=True).as_matrix()
        worst = max(worst, absolute(head_angles(transform), angles))
    angles = ("motion_yaw_*", "motion_pitch_*", "motion_roll_*")
    yield Row("motion", angles, scipy, "transform to angles", "50 drawn rotations", "absolute, degrees", worst, 1e-9)
    r = mae = 0.0
    for factor in FACTORS:
        x, y = rng.normal(size=(2, 80)) * 5
        found = agreement(x, x + y, factor)
        r = max(r, absolute(found["r"], pearsonr(x, x + y).statistic))
        mae = max(mae, relative(found["mae"], math.fsum(abs(v) for v in y) / 80))
    for number, value in (("r", r), ("mae", mae)):
        names = (f"motion_*_{number}",)
        error = "absolute" if number == "r" else "relative"
        yield Row("motion", names, scipy if number == "r" else "sum (tests/precision.py)", f"factors to {number}",
                  "10 drawn series of 80", error, value, 1e-12)  # fmt: skip


def control() -> Iterator[Row]:
    from scipy.spatial.distance import cosine
    from scipy.spatial.transform import Rotation
    from scipy.stats import pearsonr

    from fctfg.data.puppets.motion import MOTION, index
    from metrics.puppets import control

    rng, scipy, data = np.random.default_rng(5), package("scipy"), "80 drawn rows of motion"
    spread = np.array([20.0 if name in ("yaw", "pitch", "roll") else 0.2 for name in MOTION])
    truth, read = rng.normal(size=(2, 80, len(MOTION))) * spread
    read = truth + 0.5 * read
    r = mae = 0.0
    for factor in set(control.FACTORS) - {"pose"}:
        open_eyes = (truth[:, index("blink_l")] + truth[:, index("blink_r")]) / 2 < 0.5
        rows = open_eyes if factor.startswith("gaze") else np.ones(80, bool)
        x, y = (m[rows][:, [index(n) for n in control.COLUMNS[factor]]].mean(1) for m in (truth, read))
        found = {n: control.score(factor, n, read, truth, None, "").value for n in ("r", "mae")}
        r = max(r, absolute(found["r"], pearsonr(x, y).statistic))
        mae = max(mae, relative(found["mae"], math.fsum(abs(a - b) for a, b in zip(x, y, strict=True)) / rows.sum()))
    yield Row("control", ("control_*_r",), scipy, "motion to r", data, "absolute", r, 1e-12)
    reference = "sum (tests/precision.py)"
    yield Row("control", ("control_*_mae",), reference, "motion to mae", data, "relative", mae, 1e-12)

    def turned(motion: np.ndarray) -> Rotation:
        # the picture's y points down and the viewer's signs are used, so yaw is as it is, pitch and roll are reversed
        angles = motion[:, [index(n) for n in ("roll", "pitch", "yaw")]] * (-1, -1, 1)
        return Rotation.from_euler("ZXY", angles, degrees=True)

    wanted = np.degrees((turned(read).inv() * turned(truth)).magnitude()).mean()
    error = relative(control.mae(read, truth, "pose"), wanted)
    yield Row("control", ("control_pose_mae",), scipy, "motion to angle", data, "relative", error, 1e-9)
    people = rng.normal(size=(40, 12))
    people /= np.linalg.norm(people, axis=1, keepdims=True)
    found = control.identity(people[:20], people[30], None, people[20:30]).value
    error = absolute(found, np.mean([1 - cosine(one, people[30]) for one in people[:20]]))
    yield Row("control", ("control_identity",), scipy, "embeddings to cosine", "20 drawn people", "absolute", error,
              1e-12)  # fmt: skip


def distribution() -> Iterator[Row]:
    import scipy.linalg

    from metrics.distribution import feature_distance, frechet_distance

    rng, worst = np.random.default_rng(3), 0.0
    for d in (5, 40, 200):
        m1, m2 = rng.normal(size=(2, d))
        c1, c2 = (a @ a.T / a.shape[1] for a in rng.normal(size=(2, d, 2 * d)))
        root = np.asarray(scipy.linalg.sqrtm(c1 @ c2)).real
        wanted = ((m1 - m2) ** 2).sum() + np.trace(c1 + c2 - 2 * root)
        worst = max(worst, relative(frechet_distance(m1, c1, m2, c2), wanted))
    yield Row("FID", ("fid",), package("scipy"), "moments to distance (sqrtm)", "Gaussians in 5, 40, 200 dimensions",
              "relative", worst, 1e-9)  # fmt: skip
    x, y = rng.normal(size=(900, 128)), 1.2 * rng.normal(size=(900, 128)) + 0.1
    moments = [(f.mean(0), np.cov(f, rowvar=False)) for f in (x, y)]
    root = np.asarray(scipy.linalg.sqrtm(moments[0][1] @ moments[1][1])).real
    wanted = ((moments[0][0] - moments[1][0]) ** 2).sum() + np.trace(moments[0][1] + moments[1][1] - 2 * root)
    yield Row("FID", ("fid",), package("scipy"), "features to distance (sqrtm)", "900 drawn features of 128 a side",
              "relative", relative(feature_distance(x, y), wanted), 1e-6)  # fmt: skip


# -- which frame is when ----------------------------------------------------------------------------------------------


def selection() -> Iterator[Row]:
    from test_media import ffmpeg_fps, numbered, numbers, pixels, write_timed

    from fctfg import media

    wrong = counted = 0
    rng = np.random.default_rng(3)
    with tempfile.TemporaryDirectory() as folder:
        clips = [
            media.write_video(Path(folder) / f"{i}.mp4", (numbered(k) for k in range(60)), fps=Fraction(rate))
            for i, rate in enumerate(("30", "30000/1001", "24", "50"))
        ]
        for i in range(2):
            steps = rng.choice([1, 5, 19, 20, 21, 33, 40, 60, 100, 333], size=60)
            clips.append(write_timed(Path(folder) / f"v{i}.mp4", np.concatenate([[0], np.cumsum(steps)]).tolist()))
        for clip in clips:
            ours, theirs = numbers(media.read_video(clip)), numbers(pixels(ffmpeg_fps(clip, 25)))
            wrong += sum(a != b for a, b in itertools.zip_longest(ours, theirs))
            counted += len(theirs)
    from av import library_versions

    reference = f"libavfilter fps {'.'.join(map(str, library_versions['libavfilter']))}"
    yield Row("frame selection", (), reference, "25 fps from other rates", "4 constant, 2 variable synthetic videos",
              "absolute, frames that differ", wrong, 0)  # fmt: skip


SECTIONS = (
    image,
    landmarks,
    landmark_pictures,
    sync,
    crops,
    perceptual,
    identity,
    motion,
    control,
    distribution,
    selection,
)
