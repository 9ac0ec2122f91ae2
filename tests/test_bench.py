"""The benchmark measures what it says: its reference form, its counts, its csv."""

from __future__ import annotations

import csv
import subprocess
import sys

import numpy as np
import pytest
import tiny_model
import torch

from fctfg import bench, bench_stages
from fctfg.animate import Animator

STAGES = [
    "generator_reference",
    "generator_dense",
    "generator",
    "encoder_reference",
    "encoder",
    "audio",
    "latent",
    "chain",
]


@pytest.fixture(scope="module")
def animator():
    return Animator(tiny_model.build(), "cpu", batch=5)


def test_the_reference_form_makes_the_same_pictures():
    model = tiny_model.build()
    codes = torch.randn(3, model.n_styles, 16)
    with torch.no_grad():
        wanted = model.generator.synthesis(codes)
        torch.testing.assert_close(
            bench_stages.reference_synthesis(model.generator, codes), wanted, atol=1e-4, rtol=1e-4
        )


def test_every_stage_runs_and_counts_its_operations(animator):
    with torch.no_grad():
        work = {name: bench_stages.flop(step) for name, step in bench_stages.stages(animator, 5)}
    assert list(work) == STAGES
    assert len(work) + 3 == bench_stages.count(animator, [5])
    assert work["generator_reference"] >= work["generator"] > 0.8 * work["generator_dense"]
    assert work["encoder"] < work["encoder_reference"]
    parts = sum(work[name] for name in ("generator", "encoder", "audio", "latent"))
    assert work["chain"] == pytest.approx(parts, rel=0.01)


def test_operations_are_those_of_the_convolutions():
    """Two for each multiply and add: a 3x3 convolution of 4 to 8 channels on 10x10 pixels, a matrix product."""
    conv = torch.nn.Conv2d(4, 8, 3, padding=1, bias=False)
    assert bench_stages.flop(lambda: conv(torch.zeros(2, 4, 10, 10))) == 2 * 2 * 4 * 8 * 9 * 100
    assert bench_stages.flop(lambda: torch.zeros(3, 5) @ torch.zeros(5, 7)) == 2 * 3 * 5 * 7


def test_timing_is_bounded_and_leaves_the_first_pass_out():
    calls = []
    times = bench_stages.timed(lambda: calls.append(1), torch.device("cpu"), 0.01, most=50)
    assert len(times) == 50
    assert len(calls) == 51
    slow = bench_stages.timed(lambda: torch.zeros(1) if not calls.append(1) else None, torch.device("cpu"), 0.0)
    assert len(slow) == 1  # one pass alone takes longer than asked for


def test_a_row_by_hand():
    """4 frames in 0.2 s are 20 a second; 8 GFLOP in 0.2 s are 40 GFLOP/s, a fifth of a peak of 200."""
    row = bench.summary("chain", 4, [0.1, 0.2, 0.2, 0.2, 1.0], int(8e9), 200e9)
    assert (row.frames_per_second, row.median_ms, row.runs) == (20, 200, 5)
    assert row.p95_ms == pytest.approx(1000 * np.percentile([0.1, 0.2, 0.2, 0.2, 1.0], 95))
    assert (row.gflop_per_frame, row.tflop_per_second, row.share_of_peak) == (2, 0.04, 0.2)
    bare = bench.summary("end_to_end", 5, [0.5], None, 200e9)
    assert (bare.gflop_per_frame, bare.tflop_per_second, bare.share_of_peak) == (None, None, None)


def test_the_command_writes_a_csv_named_by_what_it_measured(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(bench_stages.PEAK_SIDE, "cpu", 64)
    monkeypatch.setattr(bench_stages, "DRIVING", (96, (8, 8, 88, 88)))
    shrink = ["generator.size=64", "generator.style_dim=16", "generator.channel_max=16", "encoder.units=1,1,1,1",
              "encoder.widths=8,8,16,16", "encoder.stem=8", "encoder.feature_width=16", "encoder.head_width=0",
              "latent.hidden=16", "audio.width=0.03125"]  # fmt: skip
    argv = ["--recipe", "demo", "--device", "cpu", "--precision", "fp32", "--batch", "1", "4", "--seconds", "0.01"]
    assert bench.main([*argv, "--write", str(tmp_path), "--set", *shrink]) == 0
    said = capsys.readouterr().out
    (file,) = tmp_path.iterdir()
    assert str(file) in said
    assert file.name.endswith(f"_demo-changed_fp32_channels-last_torch{torch.__version__.partition('+')[0]}.csv")
    rows = list(csv.DictReader(file.open()))
    assert [(r["stage"], r["batch"]) for r in rows] == [
        ("matmul", "1"), *[(s, b) for b in ("1", "4") for s in STAGES], ("source", "1"), ("end_to_end", "5")
    ]  # fmt: skip
    for row in rows:
        assert float(row["frames_per_second"]) > 0
        assert float(row["p95_ms"]) >= float(row["median_ms"]) > 0
        assert (row["gflop_per_frame"] == "") == (row["stage"] in ("source", "end_to_end"))
    assert "generator_reference" in said
    assert "of peak" in said


def test_what_cannot_be_measured_is_one_line(capsys):
    assert bench.main(["--recipe", "paper512"]) == 2
    assert capsys.readouterr().err == "unknown recipe 'paper512'; known are paper256, demo, demo64\n"
    assert bench.main(["--recipe", "demo", "--device", "cuda:9"]) == 2
    assert capsys.readouterr().err.startswith("device 'cuda:9' cannot be had here")
    with pytest.raises(SystemExit):
        bench.main(["--batch", "0"])


def test_file_names_are_plain():
    name = bench.file_name("Intel(R) Xeon(R) Processor 2 threads", "paper256", "bf16", "channels-last", "2.13.0")
    assert name == "Intel-R-Xeon-R-Processor-2-threads_paper256_bf16_channels-last_torch2.13.0.csv"


def test_help_imports_nothing_heavy():
    code = (
        "import runpy, sys\nsys.argv = ['x', '--help']\n"
        "try:\n    runpy.run_module('fctfg.bench', run_name='__main__')\n"
        "except SystemExit as e:\n    assert e.code == 0\n"
        "assert not {'torch', 'numpy', 'av'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "generator_reference" in done.stdout
