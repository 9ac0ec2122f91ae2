"""Two files or two folders, scored: what ``python -m metrics`` does."""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fctfg import media, parallel, progress
from fctfg.weights import sha256
from metrics import registry
from metrics.evaluate import Evaluator, Footage
from results import rows as row_files
from results import statistics

VIDEOS = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v")
PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff")
SIZE, FPS = 256, 25


class UsageError(ValueError):
    """A request that cannot be carried out; the message is one line and says what to do."""


@dataclass(frozen=True)
class Pair:
    """A reference and what was generated for it (None: missing)."""

    name: str
    reference: Path
    generated: Path | None

    @property
    def speaker(self) -> str:
        """The first folder of the name, as in VoxCeleb2 and MEAD: whose clips are resampled together."""
        return self.name.split("/")[0]


def run(args: argparse.Namespace) -> int:
    """Score, print, keep rows; the exit status."""
    pairs, extra = matched(args.reference, args.generated)
    pictures = _is_picture(pairs[0].reference)
    if any(_is_picture(p.reference) != pictures for p in pairs):
        raise UsageError(f"{args.reference}: holds both videos and pictures; score them in two commands")
    names = args.metrics or [n for n in DEFAULT if not (pictures and registry.get(n).group in MOVING)]
    try:
        evaluator = Evaluator(names, device=args.device, cache=args.cache)
    except ValueError as error:
        raise UsageError(str(error)) from None
    if args.metrics and len(evaluator.unavailable) == len(names):
        raise UsageError("; ".join(f"{k}: {v}" for k, v in evaluator.unavailable.items()))
    file = args.out / "rows" / "0-of-1.jsonl" if args.out else None
    before = {row["clip"]: row for row in row_files.read(args.out)} if args.out else {}
    versions = {n: registry.get(n).version for n in names if n not in evaluator.unavailable}

    def work(pair: Pair) -> dict:
        import torch

        torch.set_num_threads(1)  # sums in one order, whatever the machine
        key = _key(pair, versions)
        kept = before.get(pair.name)
        if kept and kept["key"] == key and kept["status"] == "scored":
            return kept
        return score(pair, evaluator, key)

    found = []
    with progress.bar(len(pairs), "score", "file") as bar:
        for row in parallel.results(work, pairs, args.workers):
            if file is not None and row is not before.get(row["clip"]):
                row_files.append(file, row | {"written_at": round(time.time(), 3)})
            found.append(row)
            bar.update()
    print(table(found, names, evaluator.unavailable))
    failed = [row for row in sorted(found, key=lambda r: r["clip"]) if row["status"] == "failed"]
    for row in failed:
        for metric, reason in row["failures"].items():
            print(f"failed {row['clip']}{'' if metric == '*' else f' [{metric}]'}: {reason}", file=sys.stderr)
    for row in sorted(found, key=lambda r: r["clip"]):
        for warning in row["warnings"]:
            print(f"note {row['clip']}: {warning}", file=sys.stderr)
    for path in extra:
        print(f"not used: {path} has no reference", file=sys.stderr)
    return 1 if failed and not args.allow_missing else 0


#: what is scored unless --metrics says otherwise
DEFAULT = (*registry.TABLE1, "lpips_alex", "csim_arcface_r50")
#: groups that need time or sound
MOVING = ("sync", "motion", "distribution")


def matched(reference: Path, generated: Path) -> tuple[list[Pair], list[Path]]:
    """Pairs by path within the folders (suffixes may differ), and the generated files that belong to no reference."""
    for path in (reference, generated):
        if not path.exists():
            raise UsageError(f"{path}: no such file or folder")
    if reference.is_dir() != generated.is_dir():
        raise UsageError(f"{reference} and {generated}: give two files or two folders, not one of each")
    if not reference.is_dir():
        return [Pair(generated.stem, reference, generated)], []
    truth, made = _listing(reference), _listing(generated)
    if not truth:
        raise UsageError(f"{reference}: holds no videos or pictures ({', '.join(VIDEOS + PICTURES)})")
    pairs = [Pair(name, path, made.pop(name, None)) for name, path in truth.items()]
    if all(pair.generated is None for pair in pairs):
        raise UsageError(f"{generated}: no file in it is named as one in {reference} (such as {pairs[0].name})")
    return pairs, list(made.values())


def score(pair: Pair, evaluator: Evaluator, key: str) -> dict:
    """The row of one pair."""
    row = {
        "schema": 1, "clip": pair.name, "identity": pair.speaker, "key": key, "status": "scored", "failures": {},
        "n_frames": 0, "metrics": {}, "details": {}, "warnings": [],
    }  # fmt: skip
    if pair.generated is None:
        row.update(status="failed", failures={"*": f"no generated file for {pair.reference}"})
        return row
    try:
        read = _pictures if _is_picture(pair.reference) else _videos
        generated, reference, row["n_frames"] = read(pair, key, row["warnings"])
        results = evaluator.score(generated, reference)
    except ValueError as error:  # media.MediaError among them
        row.update(status="failed", failures={"*": " ".join(str(error).split())})
        return row
    for name, result in results.items():
        row["metrics"][name] = result.value
        if result.details:
            row["details"][name] = result.details
        if result.failure:
            row["failures"][name] = result.failure
        row["warnings"] += [f"{name}: {text}" for text in result.warnings]
    if row["failures"]:
        row["status"] = "failed"
    return row


def table(found: list[dict], names: list[str], unavailable: dict[str, str]) -> str:
    """Mean, 95 % interval and coverage of every metric, as text."""
    lines = [f"{'metric':24} {'mean':>9}  {'95 % interval':19} {'n':>9}  direction, unit"]
    for name in names:
        metric = registry.get(name)
        about = f"{metric.better} is better" + (f", {metric.unit}" if metric.unit else "")
        if name in unavailable:
            lines.append(f"{name:24} {'-':>9}  {'unavailable':19} {'':>9}  {unavailable[name]}")
            continue
        scored = [row for row in found if row["metrics"].get(name) is not None]
        count = f"{len(scored)}/{len(found)}"
        if not scored:
            lines.append(f"{name:24} {'-':>9}  {'':19} {count:>9}  {about}")
            continue
        values = np.array([row["metrics"][name] for row in scored], float)
        estimate = statistics.mean_interval(values, [row["identity"] for row in scored])
        interval = "" if estimate.lo is None else f"[{estimate.lo:.4f}, {estimate.hi:.4f}]"
        lines.append(f"{name:24} {estimate.mean:9.4f}  {interval:19} {count:>9}  {about}")
    speakers = len({row["identity"] for row in found})
    lines.append(f"{len(found)} file(s) of {speakers} speaker(s) (first folder of a name); intervals resample speakers")
    return "\n".join(lines)


def _videos(pair: Pair, key: str, warnings: list[str]) -> tuple[Footage, Footage, int]:
    files = (pair.generated, pair.reference)
    infos = [media.probe(path) for path in files]
    for path, info in zip(files, infos, strict=True):
        if info.fps is not None and abs(float(info.fps) - FPS) > 0.01:
            warnings.append(f"{path.name} has {float(info.fps):.6g} fps, read at {FPS}")
    sizes = [(info.width, info.height) for info in infos]
    if sizes[0] != sizes[1]:
        warnings.append(
            f"{sizes[0][0]}x{sizes[0][1]} against {sizes[1][0]}x{sizes[1][1]}, both brought to {SIZE}x{SIZE}"
        )
    if any(abs(w - h) > 0.02 * max(w, h) for w, h in sizes):
        warnings.append("not square: the picture is squeezed")
    counts = [sum(len(c) for c in media.iter_video(path, fps=FPS)) for path in files]
    if counts[0] != counts[1]:
        warnings.append(f"{counts[0]} frames against {counts[1]}: the first {min(counts)} are compared")
    length = min(counts)

    def footage(path: Path) -> Footage:
        return Footage(
            chunks=lambda: media.iter_video(path, fps=FPS, size=(SIZE, SIZE), stop=length),
            audio=lambda: _sound(pair, length),
            key=hashlib.sha256(f"{sha256(path)} {length} {SIZE}".encode()).hexdigest(),
            label=str(path),
        )

    return footage(files[0]), footage(files[1]), length


def _sound(pair: Pair, length: int) -> np.ndarray | None:
    for path in (pair.generated, pair.reference):
        if media.probe(path).has_audio:
            return media.read_audio(path, stop=length / FPS)
    return None


def _pictures(pair: Pair, key: str, warnings: list[str]) -> tuple[Footage, Footage, int]:
    truth, made = (_picture(path) for path in (pair.reference, pair.generated))
    if truth.shape != made.shape:
        (h, w), (gh, gw) = truth.shape[1:3], made.shape[1:3]
        warnings.append(f"{gw}x{gh} brought to the reference's {w}x{h}")
        made = media.resize(made, (w, h))

    def footage(frames: np.ndarray, path: Path) -> Footage:
        def chunks() -> Iterator[np.ndarray]:
            return iter([frames])

        return Footage(chunks=chunks, label=str(path))

    return footage(made, pair.generated), footage(truth, pair.reference), 1


def _picture(path: Path) -> np.ndarray:
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))[None]
    except (UnidentifiedImageError, OSError) as error:
        raise UsageError(f"{path}: not a picture that can be read ({error})") from None


def _listing(folder: Path) -> dict[str, Path]:
    files: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in VIDEOS + PICTURES and path.is_file() and not path.name.startswith("."):
            name = path.relative_to(folder).with_suffix("").as_posix()
            if name in files:
                raise UsageError(f"{folder}: {path.name} and {files[name].name} have the same name; keep one")
            files[name] = path
    return files


def _is_picture(path: Path) -> bool:
    return path.suffix.lower() in PICTURES


def _key(pair: Pair, versions: dict[str, int]) -> str:
    files = [sha256(path) if path else None for path in (pair.reference, pair.generated)]
    return hashlib.sha256(json.dumps([files, versions, SIZE, FPS], sort_keys=True).encode()).hexdigest()
