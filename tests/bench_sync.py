"""How fast the LSE of a ten-second clip is, beside the literal transcription, and how much of the machine it uses.

    python -m pytest tests/bench_sync.py -o addopts= --benchmark-only

``extra_info`` of each benchmark: GFLOP of the networks alone, the fastest round's GFLOP/s by the clock, and the share
of the machine's own float32 matrix product, measured between the rounds. The share compares CPU seconds on one thread,
because a clock also counts what other programs do meanwhile; with all threads, read it on an idle machine only.
"""

from __future__ import annotations

import subprocess
import sys
import time

import numpy as np
import pytest
import sync_literal as literal
import torch
from test_metrics_sync import moving_picture, speech_like
from test_metrics_sync_clip import Planted, nodding
from test_metrics_sync_faces import draw

from fctfg import face_s3fd, sync
from fctfg.face_pixels import resize_bilinear
from metrics.interface import Context, Footage
from metrics.syncnet import load_syncnet, window_flops

THREADS = torch.get_num_threads()
N = 250  # frames: ten seconds
WINDOWS = N - 5
S3FD_GFLOP = 2.571  # one image of 64 x 64, counted by torch


@pytest.fixture(autouse=True, params=[1, THREADS] if THREADS > 1 else [1], ids=lambda n: f"{n}-threads")
def threads(request):
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(THREADS)


def timed(run) -> tuple[float, float]:
    """Seconds by the clock and CPU seconds of all threads."""
    clock, cpu = time.perf_counter(), time.process_time()
    run()
    return time.perf_counter() - clock, time.process_time() - cpu


def matmul_seconds() -> tuple[float, float]:
    """The same for a float32 matrix product, 2048 x 2048, best of five."""
    a, b = torch.randn(2048, 2048), torch.randn(2048, 2048)
    rounds = [timed(lambda: torch.mm(a, b)) for _ in range(5)]
    return min(clock for clock, _ in rounds), min(cpu for _, cpu in rounds)


def measure(benchmark, run, gflop, rounds=3):
    """Benchmark ``run`` with the matrix product measured before every round; fill in the shares."""
    product, ours = [], []

    def prepare():
        product.append(matmul_seconds())

    benchmark.pedantic(lambda: ours.append(timed(run)), setup=prepare, rounds=rounds)
    clock, cpu = (min(values) for values in zip(*ours, strict=True))
    product_clock, product_cpu = (min(values) for values in zip(*product, strict=True))
    peak = 2 * 2048**3 / 1e9
    benchmark.extra_info |= {
        "GFLOP": round(gflop, 1),
        "GFLOP/s": round(gflop / clock, 1),
        "matmul GFLOP/s": round(peak / product_clock, 1),
        "GFLOP per CPU second": round(gflop / cpu, 1),
        "matmul GFLOP per CPU second": round(peak / product_cpu, 1),
        "share of matmul": round((gflop / cpu) / (peak / product_cpu), 3),
        "CPU ms per frame": round(cpu / N * 1e3, 2),
    }


@pytest.fixture(scope="module")
def reference():
    return literal.draw_weights()


@pytest.fixture(scope="module")
def net(reference, tmp_path_factory):
    path = tmp_path_factory.mktemp("syncnet") / "syncnet_v2.model"
    literal.save_official(reference, path)
    return load_syncnet(path)


@pytest.fixture(scope="module")
def clip():
    """Frames (250, 256, 256, 3), their sound, and where the face is."""
    frames = np.stack([resize_bilinear(frame, 256, 256) for frame in moving_picture(N)])
    return frames, speech_like(N * 640), nodding(N, size=130, at=128)


def scorer(net, clip, monkeypatch, names, detector):
    frames, samples, _ = clip
    monkeypatch.setattr(sync, "network", lambda device: net)
    monkeypatch.setattr(sync, "face_detector", lambda name, device: detector())
    context = Context(Footage(lambda: [], samples.astype(np.float32) / 32768))

    def run():
        metrics = sync.SyncScores(names, context)
        for start in range(0, N, 16):
            metrics.update(frames[start : start + 16], None)
        results = metrics.result()
        assert all(result.failure is None for result in results.values())

    return run


GFLOP = WINDOWS * sum(window_flops().values()) / 1e9


def test_whole_frames(benchmark, net, clip, monkeypatch):
    """``lse_*_lrs``: resizing, MFCC, SyncNet, 31 offsets."""
    run = scorer(net, clip, monkeypatch, ("lse_c_lrs", "lse_d_lrs"), lambda: None)
    measure(benchmark, run, GFLOP)


def test_tracked(benchmark, net, clip, monkeypatch):
    """``lse_*_official`` and ``valid`` with the boxes given: shot cuts, tracking, crops, SyncNet."""
    names = ("lse_c_official", "lse_d_official", "lse_c_valid")
    run = scorer(net, clip, monkeypatch, names, lambda: Planted(clip[2]))
    measure(benchmark, run, GFLOP)


class Searching(Planted):
    """S3FD searches every frame; as its weights are drawn by lot, what it finds is replaced."""

    search = None

    def __call__(self, frames):
        self.search(frames)
        return super().__call__(frames)


def test_tracked_with_s3fd(benchmark, net, clip, monkeypatch, tmp_path):
    """``lse_*_official`` as the scripts do it, S3FD on every frame at a quarter of its size."""
    torch.save(draw(face_s3fd.OFFICIAL), tmp_path / "sfd_face.pth")
    monkeypatch.setattr(Searching, "search", face_s3fd.S3FD(tmp_path / "sfd_face.pth", threshold=1.0))
    run = scorer(net, clip, monkeypatch, ("lse_c_official", "lse_d_official"), lambda: Searching(clip[2]))
    measure(benchmark, run, GFLOP + N * S3FD_GFLOP)


def test_literal_whole_frames(benchmark, reference, clip):
    """The transcription on the same clip: resized frames as BGR, MFCC, Conv3d in batches of 20, double loop."""
    import cv2

    frames, samples, _ = clip

    def run():
        small = np.stack([cv2.resize(frame[..., ::-1], (224, 224)) for frame in frames])
        lips, speech, _ = literal.features(reference, small, samples)
        literal.score(lips, speech)

    measure(benchmark, run, GFLOP, rounds=2)


MEMORY = """
import sys
from pathlib import Path
import numpy as np, torch
sys.path.insert(0, "tests")
import sync_literal as literal
from metrics.mfcc import mfcc
from metrics.sync_score import lse
from metrics.syncnet import LipEmbedder, embed_speech, load_syncnet

def mebibytes(key):
    return int(Path("/proc/self/status").read_text().split(key + ":")[1].split()[0]) / 1024

how, n, path = sys.argv[1], int(sys.argv[2]), sys.argv[3]
torch.set_num_threads(int(sys.argv[4]))
rng = np.random.default_rng(0)
samples = rng.integers(-3000, 3000, n * 640).astype(np.int16)
pieces = (rng.integers(0, 256, (16, 224, 224, 3), dtype=np.uint8) for _ in range(-(-n // 16)))
net = load_syncnet(path) if how == "ours" else literal.LiteralSyncNet().eval()
before = mebibytes("VmRSS")
Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
if how == "ours":
    embedder = LipEmbedder(net)
    for piece in pieces:
        embedder.push(piece)
    lse(embedder.finish()[: n - 5], embed_speech(net, mfcc(samples), n - 5))
else:
    literal.score(*literal.features(net, np.concatenate(list(pieces)), samples)[:2])
print(mebibytes("VmHWM") - before, mebibytes("VmHWM"))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads the peak from /proc")
@pytest.mark.parametrize(("how", "n"), [("ours", 250), ("ours", 750), ("literal", 250)])
def test_memory(benchmark, reference, tmp_path, threads, how, n):
    """Peak resident memory of scoring n frames of 224 x 224, and how much of it the program and its weights are not."""
    literal.save_official(reference, tmp_path / "syncnet_v2.model")
    command = [sys.executable, "-c", MEMORY, how, str(n), str(tmp_path / "syncnet_v2.model"), str(threads)]
    found = []

    def run():
        found.extend(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split())

    benchmark.pedantic(run, rounds=1)
    benchmark.extra_info |= {"MiB for the clip": round(float(found[0])), "peak MiB": round(float(found[1]))}
