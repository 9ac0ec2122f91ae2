"""What metrics/SPEED.md times: each stage's own code beside another implementation of the same thing, on one clip."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from precision_rows import package

FRAMES = 100
LITERAL = "literal transcription (tests/sync_literal.py)"
Call = Callable[[], object]


@dataclass(frozen=True)
class Stage:
    """``ours`` and ``theirs`` each do the stage for the whole clip; ``rounds``: how often they take turns."""

    metric: str
    step: str
    ours: Call
    reference: str
    theirs: Call
    rounds: int = 3


@cache
def clip() -> tuple[np.ndarray, np.ndarray, np.ndarray, Path]:
    """A drawn person speaking for four seconds: frames (100, 256, 256, 3), the same re-encoded badly, samples, file."""
    from fctfg import media
    from fctfg.data.puppets.__main__ import main

    folder = Path(tempfile.mkdtemp(prefix="fctfg-speed-"))
    flags = ["--identities", "1", "--clips", "1", "--seconds", "4.2-4.2", "--seed", "7", "--workers", "1"]
    if main(["--layout", "voxceleb2", "--out", str(folder / "tree"), *flags]):
        raise RuntimeError("the clip could not be drawn")
    (video,), (audio,) = ((folder / "tree").rglob(f"*.{kind}") for kind in ("mp4", "m4a"))
    truth = media.read_video(video, size=(256, 256), stop=FRAMES)
    samples = media.read_audio(audio)[: FRAMES * 640]
    media.write_video(folder / "truth.mp4", truth)
    media.write_video(folder / "bad.mp4", truth, crf=35)
    return truth, media.read_video(folder / "bad.mp4"), samples, folder / "truth.mp4"


def reading() -> Iterator[Stage]:
    import cv2

    from fctfg import media

    path = clip()[3]

    def theirs() -> int:
        video, count = cv2.VideoCapture(str(path)), 0
        while True:
            found, frame = video.read()
            if not found:
                return count
            cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
            count += 1

    yield Stage("all", "H.264 file to RGB frames", lambda: media.read_video(path), package("opencv-python"), theirs)


def image() -> Iterator[Stage]:
    import pytorch_msssim
    import torch
    from skimage.metrics import peak_signal_noise_ratio, structural_similarity

    from metrics.image import image_scores

    truth, made = clip()[:2]
    names = ("ssim_wang_rgb", "ms_ssim_wang_rgb", "psnr_rgb")

    def batches(kind: torch.dtype) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        for i in range(0, len(truth), 16):
            yield tuple(torch.from_numpy(v[i : i + 16]).permute(0, 3, 1, 2).to(kind) for v in (made, truth))

    def ours() -> None:
        for x, y in batches(torch.uint8):
            image_scores(x, y, names)

    @torch.inference_mode()
    def vainf() -> None:
        for x, y in batches(torch.float32):
            pytorch_msssim.ssim(x, y, size_average=False)
            pytorch_msssim.ms_ssim(x, y, size_average=False)

    wang = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 255}

    def skimage() -> None:
        for x, y in zip(made, truth, strict=True):
            structural_similarity(x, y, channel_axis=2, **wang)
            peak_signal_noise_ratio(y, x, data_range=255)

    what = "frames to SSIM, MS-SSIM and PSNR"
    yield Stage("SSIM, MS-SSIM, PSNR", what, ours, f"{package('pytorch-msssim')} (SSIM, MS-SSIM)", vainf)
    yield Stage("SSIM, MS-SSIM, PSNR", what, ours, f"{package('scikit-image')} (SSIM, PSNR)", skimage)


def sync() -> Iterator[Stage]:
    import cv2
    import python_speech_features
    import sync_literal as literal
    import torch
    from test_metrics_sync_faces import draw, run_tracker

    from fctfg import face_s3fd
    from fctfg.face_pixels import resize_bilinear
    from metrics.mfcc import mfcc, to_int16
    from metrics.sync_score import lse
    from metrics.syncnet import LipEmbedder, embed_speech, load_syncnet

    frames, samples = clip()[0], to_int16(clip()[2])
    reference, folder = literal.draw_weights(), Path(tempfile.mkdtemp(prefix="fctfg-speed-"))
    literal.save_official(reference, folder / "syncnet_v2.model")
    net, windows = load_syncnet(folder / "syncnet_v2.model"), FRAMES - 5

    yield Stage("LSE", "sound to MFCC", lambda: mfcc(samples), package("python_speech_features"),
                lambda: python_speech_features.mfcc(samples, 16000))  # fmt: skip

    def ours() -> object:
        embedder = LipEmbedder(net)
        for i in range(0, FRAMES, 16):
            embedder.push(np.stack([resize_bilinear(frame, 224, 224) for frame in frames[i : i + 16]]))
        return lse(embedder.finish()[:windows], embed_speech(net, mfcc(samples), windows))

    def theirs() -> object:
        small = np.stack([cv2.resize(frame[..., ::-1], (224, 224)) for frame in frames])
        return literal.score(*literal.features(reference, small, samples)[:2])

    yield Stage("LSE", "frames and sound to LSE-C (whole frames)", ours, LITERAL, theirs, rounds=2)

    rng = np.random.default_rng(0)
    lips, speech = (torch.from_numpy(rng.normal(size=(windows, 1024)).astype(np.float32)) for _ in range(2))
    yield Stage("LSE", "embeddings to LSE-C", lambda: lse(lips, speech), LITERAL, lambda: literal.score(lips, speech))

    box = [(66.0, 62.0, 190.0, 198.0, 0.99)]
    long = np.concatenate([frames, frames[::-1]])[:110]  # a track counts from 101 frames on
    planted = [np.array(box)] * len(long)
    ((first, filled),) = literal.tracks([[b[:4] for b in box]] * len(long))
    yield Stage("LSE", "boxes to shot cuts, tracks, crops (110 frames)", lambda: run_tracker(long, planted, 16),
                f"{LITERAL}, crops alone",
                lambda: literal.crops(long, first, filled))  # fmt: skip

    state = draw(face_s3fd.OFFICIAL)
    torch.save(state, folder / "sfd_face.pth")
    detector = face_s3fd.S3FD(folder / "sfd_face.pth", threshold=1.0)

    def s3fd() -> None:
        for frame in frames:
            small = cv2.resize(frame, None, fx=0.25, fy=0.25).astype(np.float32) - np.float32([123, 117, 104])
            literal.s3fd_boxes(state, torch.from_numpy(small).permute(2, 0, 1), threshold=1.0)

    yield Stage("LSE", "frames to S3FD's boxes (quarter size)", lambda: detector(frames), LITERAL, s3fd, rounds=2)


def landmarks() -> Iterator[Stage]:
    import cv2
    import dlib

    from fctfg import weights
    from metrics.landmark_backends import backend

    frames, extractor = clip()[0], backend("dlib")
    detect, predict = dlib.get_frontal_face_detector(), dlib.shape_predictor(str(weights.require("dlib68")))

    def theirs() -> None:
        for frame in frames:
            grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
            for box in detect(grey, 0):
                predict(grey, box)

    reference = f"{package('dlib-bin')}, frame by frame"
    yield Stage("LMD", "frames to 68 points", lambda: extractor.extract(frames), reference, theirs)


def perceptual() -> Iterator[Stage]:
    import torch

    from metrics.perceptual import LPIPS, VARIANTS
    from metrics.regression import material
    from metrics.torchvision_shim import import_beside_torchvision

    package_lpips = import_beside_torchvision("lpips")
    x, y = (torch.from_numpy(v).permute(0, 3, 1, 2) for v in (clip()[1], clip()[0]))
    for name in VARIANTS:
        with tempfile.TemporaryDirectory() as folder:
            model = LPIPS(name, material.save(material.trunk_state(name), Path(folder) / "trunk.pth"))
        with warnings.catch_warnings(action="ignore"):
            theirs = package_lpips.LPIPS(net=VARIANTS[name][0], pnet_rand=True, verbose=False).eval()
        step = 16 if name == "lpips_alex" else 2

        @torch.inference_mode()
        def package_calls(theirs=theirs, step=step) -> None:
            for i in range(0, len(x), step):
                theirs(x[i : i + step] / 127.5 - 1, y[i : i + step] / 127.5 - 1)

        yield Stage("LPIPS", f"frames to `{name}`", lambda model=model: model(x, y), package("lpips"), package_calls,
                    rounds=2 if name == "lpips_alex" else 1)  # fmt: skip


def identity() -> Iterator[Stage]:
    from insightface.utils import face_align

    from metrics.identity import TEMPLATE, align

    frames = clip()[0]
    points = (TEMPLATE * 1.2 + 60).astype(np.float32)

    def theirs() -> None:
        with warnings.catch_warnings(action="ignore"):
            for frame in frames:
                face_align.norm_crop(frame, points)

    yield Stage("CSIM", "frame and five points to 112x112", lambda: [align(frame, points) for frame in frames],
                package("insightface"), theirs)  # fmt: skip


def distribution() -> Iterator[Stage]:
    import scipy.linalg

    from metrics.distribution import feature_distance

    x, y = np.random.default_rng(3).normal(size=(2, 1000, 1024))

    def theirs() -> float:
        moments = [(f.mean(0), np.cov(f, rowvar=False)) for f in (x, y)]
        root = scipy.linalg.sqrtm(moments[0][1] @ moments[1][1])
        return float(np.trace(moments[0][1] + moments[1][1] - 2 * np.asarray(root).real))

    yield Stage("FID", "1000 features of 1024 a side to the distance", lambda: feature_distance(x, y),
                f"{package('scipy')} (sqrtm)", theirs, rounds=1)  # fmt: skip


SECTIONS = (reading, image, landmarks, sync, perceptual, identity, distribution)
