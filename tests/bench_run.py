"""How long a run takes beside its stages alone: decoding, encoding and scoring overlap on the cores there are.

pytest tests/bench_run.py --benchmark-only -s
"""

from __future__ import annotations

import os
import time

import numpy as np
import pytest
import torch
import trees

from fctfg import media
from metrics.evaluate import Evaluator, Footage
from protocols import voxceleb2

CLIPS, FRAMES = 8, 100


@pytest.mark.benchmark(group="run")
def test_a_run_is_not_slower_than_its_slowest_stage(benchmark, tmp_path, monkeypatch):
    monkeypatch.setenv("FCTFG_CACHE", str(tmp_path / "cache"))
    data = trees.voxceleb2(tmp_path / "data", identities=4, clips=2, count=FRAMES)
    files = sorted((data / "test/mp4").rglob("*.mp4"))
    stages: dict[str, float] = {}

    def timed(name, call):
        began = time.perf_counter()
        result = call()
        stages[name] = time.perf_counter() - began
        return result

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    pictures = timed("decode", lambda: [media.read_video(f, size=(256, 256)) for f in files])
    made = [tmp_path / f"{i}.mp4" for i in range(len(files))]
    timed("encode", lambda: [media.write_video(p, v[1:]) for p, v in zip(made, pictures, strict=True)])
    evaluator = Evaluator(trees.PLAIN)

    def footage(frames: np.ndarray) -> Footage:
        return Footage(chunks=lambda: iter([frames]))

    generated = timed("decode again", lambda: [media.read_video(p) for p in made])
    timed(
        "score",
        lambda: [evaluator.score(footage(g), footage(p[1:])) for g, p in zip(generated, pictures, strict=True)],
    )
    torch.set_num_threads(threads)
    flags = ["--data", str(data), "--method", "reencode", "--reuse", "never", "--no-strips", "--metrics", *trees.PLAIN]
    benchmark.pedantic(lambda: voxceleb2.main([*flags, "--out", str(tmp_path / "run")]), rounds=3, warmup_rounds=1)
    run = benchmark.stats.stats.median
    generate = stages["decode"] + stages["encode"]
    score = stages["decode again"] + stages["score"]
    benchmark.extra_info.update({k: round(v, 2) for k, v in stages.items()})
    print(
        f"\n{CLIPS} clips x {FRAMES} frames, one thread: "
        + ", ".join(f"{k} {v:.2f} s" for k, v in stages.items())
        + f"; generating (decode, encode) {generate:.2f} s, scoring (decode, score) {score:.2f} s, one after the other "
        + f"{generate + score:.2f} s; the run on {os.cpu_count()} cores {run:.2f} s"
    )
