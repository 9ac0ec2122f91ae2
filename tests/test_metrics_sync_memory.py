"""The memory of LSE over a long video: bounded, but for the embeddings it keeps (8 KiB a frame).

Boxes kept as arrays among the pictures once pinned the heap: 3000 frames took 1.4 GB, and an hour would have taken 40.
``python tests/test_metrics_sync_memory.py 90000`` measures any number of frames.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

FRAMES = 3000


def peak(n: int, weights: Path) -> tuple[float, float]:
    """Mebibytes before the clip and, beyond them, at the most while n frames are tracked, cut out and scored.

    The convolutions are left out, for time: what they would return is made up, in its size. Their own working memory is
    that of one batch, whatever the length (bench_sync.py).
    """
    import numpy as np
    import torch
    from test_metrics_sync_clip import nodding

    from metrics import sync, syncnet
    from metrics.interface import Context, Footage

    def mebibytes(key: str) -> float:
        return int(Path("/proc/self/status").read_text().split(key + ":")[1].split()[0]) / 1024

    class Planted:
        name, version = "planted", "1"

        def __call__(self, frames: np.ndarray) -> list:
            return [nodding(1, size=130, at=128)[0]] * len(frames)

    torch.set_num_threads(1)
    net = syncnet.load_syncnet(weights)
    width = {branch: net._layer(branch, 18)[0].shape[1] for branch in ("lip", "aud")}
    net.trunk = lambda branch, windows: windows.flatten(1)[:, :1].float().repeat(1, width[branch])
    sync.network, sync.face_detector = lambda device: net, lambda name, device: Planted()
    rng = np.random.default_rng(0)
    frames = np.repeat(rng.integers(0, 256, (1, 256, 256, 3), dtype=np.uint8), 16, 0)
    sound = 0.1 * rng.standard_normal(n * 640, dtype=np.float32)
    scores = sync.SyncScores(["lse_c_official", "lse_c_valid"], Context(Footage(lambda: [], sound)))
    before = mebibytes("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
    for first in range(0, n, 16):
        scores.update(frames[: min(16, n - first)], None)
    assert all(result.failure is None for result in scores.result().values())
    return before, mebibytes("VmHWM") - before


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads the peak from /proc")
def test_a_long_video_takes_little():
    command = [sys.executable, __file__, str(FRAMES)]
    out = subprocess.run(command, check=True, capture_output=True, text=True, cwd=Path(__file__).parent.parent).stdout
    assert float(out.split()[-1]) < 700, out


if __name__ == "__main__":
    import tempfile

    sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent.parent)]
    import sync_literal as literal

    with tempfile.TemporaryDirectory() as folder:
        literal.save_official(literal.draw_weights(), Path(folder) / "syncnet_v2.model")
        print("MiB before, and at the most beyond that:", *peak(int(sys.argv[1]), Path(folder) / "syncnet_v2.model"))
