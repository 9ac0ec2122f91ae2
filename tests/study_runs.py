"""Small evaluations to build studies from: folders as protocols.run leaves them, drawn by numpy in a second."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import trees

from fctfg import media
from fctfg.data.clips import Clip
from protocols.cliplist import ClipList
from protocols.stages import Generated, _write_sidecar
from protocols.user_study.__main__ import main
from protocols.user_study.study import Study, load
from results import rows

METHODS = ("reencode", "alpha", "beta", "gamma")


def clip(index: int) -> Clip:
    """Clip ``index``: two of each person."""
    name = f"id{index // 2:05d}/v{index}/00001"
    return Clip(name, f"id{index // 2:05d}", f"test/mp4/{name}.mp4")


def speech(count: int, index: int) -> np.ndarray:
    """A tone that grows over ``count`` frames, so that its beginning is not its end."""
    tone = trees.tone(count, index)
    return tone * np.linspace(0.2, 1, len(tone), dtype=np.float32)


def run(
    out: Path,
    method: str,
    clips: int = 4,
    count: int = 30,
    *,
    size: int = 64,
    first_frame: int = 1,
    without: tuple[int, ...] = (),
    sound: bool = True,
    audio_of: str = "the-clip",
    **info,
) -> Path:
    """One run: ``clips`` clips of ``count`` frames, those numbered in ``without`` failed."""
    everything = tuple(clip(i) for i in range(clips))
    listed = ClipList("drawn", 1, "voxceleb2", "drawn", 0, "sample", everything)
    listed.save(out / "list.json")
    shade = sum(method.encode()) % 90
    for index, entry in enumerate(everything):
        row = {"clip": entry.id, "status": "scored", "key": "k", "failures": {}, "metrics": {}, "first_frame": 1}
        if index in without:
            row |= {"status": "failed", "failures": {"*": "generate: no face found"}}
        else:
            path = out / "generated" / f"{entry.id}.mp4"
            frames = np.maximum(trees.frames(count, size, index), shade).astype(np.uint8)
            media.write_video(path, frames, audio=speech(count, index) if sound else None)
            _write_sidecar(path.with_suffix(".json"), Generated("k", path, first_frame, count, None, (size, size)))
        rows.append(out / "rows/0-of-1.jsonl", row)
    control = method in ("reencode", "still", "truth")
    record = {
        "protocol": "voxceleb2",
        "block": "VoxCeleb2",
        "data": "sample",
        "list": listed.describe(),
        "method": {"name": method, "spec": method, "kind": "control" if control else "method"} | {"audio_of": audio_of},
        "metrics": {},
        "clips": [entry.id for entry in everything],
    }
    rows.write_run(out, record | info)
    return out


def runs(root: Path, methods: tuple[str, ...] = METHODS, **settings) -> list[Path]:
    """One run for each method."""
    return [run(root / method, method, **settings) for method in methods]


def study(root: Path, folders: list[Path], *options: str, videos: int = 4, seed: int = 7) -> Study:
    """A study of these runs, built as the command builds it."""
    out = root / "study"
    flags = ["build", "--runs", *map(str, folders), "--out", str(out), "--videos", str(videos), "--seed", str(seed)]
    assert main([*flags, "--size", "64", *options]) == 0
    return load(out)
