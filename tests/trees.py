"""Small data trees in the official layouts, drawn by numpy: no faces, but real mp4 and m4a files."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fctfg import media

#: metrics that need neither a face nor weights
PLAIN = ["ssim_wang_rgb", "ms_ssim_wang_rgb", "psnr_rgb"]


def frames(count: int = 30, size: int | tuple[int, int] = 64, seed: int = 0) -> np.ndarray:
    """(count, H, W, 3) uint8: smooth colour waves drifting over time."""
    width, height = size if isinstance(size, tuple) else (size, size)
    phase = np.random.default_rng(seed).uniform(0, 6.28, 6)
    t, y, x = np.meshgrid(np.arange(count), np.linspace(0, 6, height), np.linspace(0, 6, width), indexing="ij")
    waves = [np.sin(x * (1 + k) + phase[k] + 0.15 * t) + np.cos(y * 1.5 + phase[k + 3] - 0.1 * t) for k in range(3)]
    return ((np.stack(waves, -1) + 2) * 63).astype(np.uint8)


def tone(count: int = 30, seed: int = 0) -> np.ndarray:
    """Sound for ``count`` frames."""
    t = np.arange(count * 640) / 16000
    return (0.3 * np.sin(2 * np.pi * (200 + 50 * seed) * t)).astype(np.float32)


def voxceleb2(root: Path, identities: int = 2, clips: int = 2, count: int = 30) -> Path:
    """A VoxCeleb2 tree."""
    for i in range(identities):
        for c in range(clips):
            seed = i * clips + c
            media.write_video(
                root / f"test/mp4/id{i:05d}/v{c}/00001.mp4", frames(count, 64, seed), audio=tone(count, seed)
            )
            media.write_audio(root / f"test/aac/id{i:05d}/v{c}/00001.m4a", tone(count, seed))
    return root


def csv_of(reports: Path, name: str = "table1") -> bytes:
    """The report's table as bytes."""
    return (reports / f"{name}.csv").read_bytes()
