"""A reference and what was generated for it: two files or two folders, matched by name and read as footage."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fctfg import media
from fctfg.weights import sha256
from metrics.interface import Footage

VIDEOS = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v")
PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff")
SIZE, FPS = 256, 25
SILENCE = 1e-4  # three steps of 16-bit sound: what a codec makes of zeros


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

    @property
    def is_picture(self) -> bool:
        return self.reference.suffix.lower() in PICTURES


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
    if len({pair.is_picture for pair in pairs}) > 1:
        raise UsageError(f"{reference}: holds both videos and pictures; score them in two commands")
    return pairs, list(made.values())


def read(pair: Pair, warnings: list[str]) -> tuple[Footage, Footage, int]:
    """(generated, reference, number of frames) of a pair that is complete; ``warnings`` is added to.

    Both have the same frames' number and size: videos the first frames of each, as many as the shorter one has, at 25
    fps and 256x256; pictures the reference's size. Raises MediaError or UsageError for a file that cannot be read.
    """
    return (_pictures if pair.is_picture else _videos)(pair, warnings)


def _videos(pair: Pair, warnings: list[str]) -> tuple[Footage, Footage, int]:
    files = (pair.generated, pair.reference)
    infos = [media.probe(path) for path in files]
    counts = [media.count_frames(path, fps=FPS) for path in files]
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
    if counts[0] != counts[1]:
        warnings.append(f"{counts[0]} frames against {counts[1]}: the first {min(counts)} are compared")
    length = min(counts)

    def footage(path: Path) -> Footage:
        return Footage(
            chunks=lambda: media.iter_video(path, fps=FPS, size=(SIZE, SIZE), stop=length),
            audio=lambda: _sound(pair, length, warnings),
            key=hashlib.sha256(f"{sha256(path)} {length} {SIZE}".encode()).hexdigest(),
            label=str(path),
        )

    return footage(files[0]), footage(files[1]), length


def _sound(pair: Pair, length: int, warnings: list[str]) -> np.ndarray | None:
    """The generated video's sound, where it has none the reference's; read only for a metric that listens."""
    path = next((path for path in (pair.generated, pair.reference) if media.probe(path).has_audio), None)
    if path is None:
        return None
    sound = media.read_audio(path, stop=length / FPS)
    if path is pair.reference:
        warnings.append("the generated video has no sound: lip-sync is measured against the reference's")
    if np.abs(sound).max(initial=0) < SILENCE:
        warnings.append("the sound is silent: lip-sync measures nothing")
    return sound


def _pictures(pair: Pair, warnings: list[str]) -> tuple[Footage, Footage, int]:
    truth, made = (_picture(path) for path in (pair.reference, pair.generated))
    if truth.shape != made.shape:
        (h, w), (gh, gw) = truth.shape[1:3], made.shape[1:3]
        warnings.append(f"{gw}x{gh} brought to the reference's {w}x{h}")
        made = media.resize(made, (w, h))

    def footage(frames: np.ndarray, path: Path) -> Footage:
        def chunks() -> Iterator[np.ndarray]:
            return iter([frames])

        key = hashlib.sha256(f"{sha256(path)} {frames.shape}".encode()).hexdigest()
        return Footage(chunks=chunks, key=key, label=str(path))

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
