"""Fabricated runs for the tests of `results`, and the test that they are what a real evaluation leaves behind."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from results import rows

METRICS = {
    "ssim_wang_rgb": ("SSIM", "", "higher", "SSIM with a Gaussian window of 11 on RGB", 0.75, 0.08),
    "ms_ssim_wang_rgb": ("MS-SSIM", "", "higher", "five-scale SSIM on RGB", 0.80, 0.06),
    "psnr_rgb": ("PSNR", "dB", "higher", "peak signal-to-noise ratio over RGB", 22.0, 2.0),
    "lmd_mouth_dlib": ("LMD", "px", "lower", "mean distance of 20 mouth points at 256 px", 2.2, 0.5),
    "lse_c_official": ("LSE-C", "", "higher", "confidence of the official SyncNet", 6.0, 1.0),
}


def fabricate(
    out: Path,
    method: str = "fctfg",
    *,
    block: str = "VoxCeleb2",
    data: str = "puppets",
    kind: str = "method",
    controls=("lip", "pose"),
    speakers: int = 4,
    clips: int = 3,
    gain: float = 0.0,
    seed: int = 0,
    shards: int = 1,
    failed=(),
    missing=(),
    metrics=tuple(METRICS),
    unavailable=None,
    list_version: int = 1,
    metric_version: int = 1,
    change=lambda row: row,
) -> Path:
    """A run folder with ``speakers`` x ``clips`` clips; ``gain`` is how many speaker spreads better every value is.

    ``failed`` and ``missing``: positions of clips whose LSE-C failed, and of clips without a row.
    """
    unavailable = unavailable or {}
    generator = np.random.default_rng(seed)
    names = [f"id{s:05d}/{block[:3].lower()}/{c:05d}" for s in range(speakers) for c in range(clips)]
    lines = []
    for i, clip in enumerate(names):
        common = np.random.default_rng([7, i // clips]).normal(0, 1, len(METRICS))  # what a speaker does to any method
        row = {
            "schema": 1,
            "clip": clip,
            "identity": clip.split("/")[0],
            "protocol": block.lower(),
            "method": method,
            "key": hashlib.sha256(f"{method}/{clip}".encode()).hexdigest(),
            "status": "scored",
            "failures": {},
            "n_frames": 100,
            "n_expected": 100,
            "first_frame": 1,
            "size": [256, 256],
            "emotion": None,
            "level": None,
            "metrics": {},
            "details": {},
            "warnings": [],
        }
        for j, (name, (_, _, better, _, centre, spread)) in enumerate(METRICS.items()):
            sign = 1 if better == "higher" else -1
            if name in metrics and name not in unavailable:
                noise = common[j] + 0.3 * generator.normal() + sign * gain
                row["metrics"][name] = float(min(centre + spread * noise, 0.999 if centre < 1 else 99))
        if i in failed:
            row["metrics"].pop("lse_c_official", None)
            row.update(status="failed", failures={"lse_c_official": "no face track of 7 frames or more"})
        if i not in missing:
            lines.append(change(row))
    for i, row in enumerate(lines):
        rows.append(out / "rows" / f"{i % shards}-of-{shards}.jsonl", row)
    rows.write_run(
        out,
        {
            "protocol": block.lower(),
            "protocol_version": 1,
            "block": block,
            "data": data,
            "list": {
                "name": f"{block.lower()}-{data}",
                "version": list_version,
                "sha256": hashlib.sha256(f"{block}{data}{list_version}{names}".encode()).hexdigest(),
                "rule": "all",
                "seed": 0,
                "n_clips": len(names),
                "path": "lists/x.csv",
            },
            "method": {
                "name": method,
                "spec": method,
                "controls": list(controls),
                "kind": kind,
                "weights": {},
                "description": f"the method {method}",
            },
            "metrics": {
                name: {
                    "column": METRICS[name][0],
                    "unit": METRICS[name][1],
                    "better": METRICS[name][2],
                    "definition": METRICS[name][3],
                    "version": metric_version,
                }
                for name in metrics
            },
            "unavailable": unavailable,
            "clips": names,
            "n_expected": len(names),
            "n_scored": len(lines) - len(failed),
            "n_failed": len(failed),
            "failures": {},
            "versions": {"fctfg": "0.1.0", "python": "3.11.9", "torch": "2.13.0"},
            "git_commit": "0123456789abcdef",
            "device": "cpu",
            "seed": 0,
            "settings": {},
            "command": f"python -m protocols.{block.lower()} --method {method}",
        },
    )
    return out


def fabricate_strips(out: Path, frames: int = 6, size: int = 64) -> None:
    """Film strips drawn with NumPy for every clip of the run in ``out``: a disc that moves with the frame number."""
    from PIL import Image

    run = rows.read_run(out)
    y, x = np.mgrid[:size, :size]
    for i, clip in enumerate(run["clips"]):
        hue = np.array([90 + 30 * (i % 5), 140 - 15 * (i % 4), 120 + 20 * (i % 6)])
        tiles = []
        for t in range(frames + 1):
            disc = (x - size * (0.35 + 0.05 * t)) ** 2 + (y - size * 0.5) ** 2 < (size * 0.28) ** 2
            mouth = (np.abs(x - size * (0.35 + 0.05 * t)) < size * 0.1) & (
                np.abs(y - size * 0.62) < 1 + (t * 7 + i) % 5
            )
            tile = np.full((size, size, 3), hue // 3, np.uint8)
            tile[disc] = hue + 60
            tile[mouth] = (90, 30, 30)
            tiles.append(tile)
        folder = (out / "strips" / clip).parent
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.concatenate(tiles, 1)).save(out / "strips" / f"{clip}.driving.jpg")
        Image.fromarray(np.concatenate(tiles[1:], 1)).save(out / "strips" / f"{clip}.jpg")


def test_a_fabricated_run_reads_back(tmp_path):
    out = fabricate(tmp_path / "run", speakers=2, clips=2, failed=[1], shards=2)
    assert rows.read_run(out)["method"]["name"] == "fctfg"
    found = rows.read(out)
    assert [row["status"] for row in found] == ["scored", "failed", "scored", "scored"]
    assert found[0]["metrics"].keys() == METRICS.keys()
