"""The stages of an evaluation before scoring: read a clip, generate, keep what was generated.

Each result is stored under a key of content and settings, never of rank or order: change the clip, the method's
version or weights, or the encoder, and the key changes; run again on another machine or shard, and it does not.
"""

from __future__ import annotations

import errno
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fctfg import media
from fctfg.data.clips import FPS, SAMPLE_RATE, SAMPLES_PER_FRAME, SIZE, Clip
from fctfg.weights import sha256
from protocols.methods import MethodError, one_line
from protocols.ready_made import infer_first_frame
from results.rows import write_atomic

MIN_FRAMES = 25  # one second: less than this shows neither speech nor motion
CHUNK = 32
ENCODER = {
    "codec": "h264",
    "crf": 15,
    "pixel_format": "yuv420p",
}  # fctfg.media.write_video's default, part of every key


class OutputError(RuntimeError):
    """The output folder cannot be written (full, read-only): the run stops, and what is complete stays."""


#: errors of writing that are no clip's fault: every further clip would meet them too
NO_WRITING = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EFBIG})


class ClipError(ValueError):
    """A clip that cannot be evaluated; the message is one line naming the file and what to do."""


@dataclass(frozen=True)
class Source:
    """A clip, read: ``frames`` (T, 256, 256, 3) uint8 at 25 fps, ``audio`` float32 at 16 kHz from frame 0 on."""

    clip: Clip
    key: str
    frames: np.ndarray
    audio: np.ndarray


@dataclass(frozen=True)
class Generated:
    """What a method made of a clip, on disk. ``path`` None: the driving frames themselves (``truth``)."""

    key: str
    path: Path | None
    first_frame: int
    n_frames: int
    crop: tuple[float, float, float, float] | None
    size: tuple[int, int]
    warnings: tuple[str, ...] = ()

    def scored_range(self, clip_frames: int) -> tuple[int, int]:
        """The clip frames that are compared: those the method answered, without the reference (frame 0)."""
        return max(1, self.first_frame), min(clip_frames, self.first_frame + self.n_frames)

    def chunks(self, source: Source) -> Iterator[np.ndarray]:
        """The generated frames of the scored range, 256x256, in chunks."""
        start, stop = self.scored_range(len(source.frames))
        if self.path is None:
            yield from _in_chunks(source.frames[start:stop])
            return
        offset = self.first_frame
        yield from media.iter_video(
            self.path, fps=FPS, size=(SIZE, SIZE), start=start - offset, stop=stop - offset, chunk=CHUNK
        )

    def reference_chunks(self, source: Source) -> Iterator[np.ndarray]:
        """The ground truth of the scored range, put through the method's crop."""
        start, stop = self.scored_range(len(source.frames))
        box = self.pixel_crop()
        for chunk in _in_chunks(source.frames[start:stop]):
            if box is not None:
                left, top, right, bottom = box
                chunk = media.resize(np.ascontiguousarray(chunk[:, top:bottom, left:right]), (SIZE, SIZE))
            yield chunk

    def pixel_crop(self) -> tuple[int, int, int, int] | None:
        """The crop in pixels of the 256x256 frame; None for the whole frame."""
        if self.crop is None or self.crop == (0, 0, 1, 1):
            return None
        left, top, right, bottom = (round(v * SIZE) for v in self.crop)
        return left, top, right, bottom


def clip_key(clip: Clip, root: Path) -> str:
    """Key of a clip's pixels and sound: file contents, span, crop and the reading rule.

    Raises ClipError when a file is missing.
    """
    files = {}
    for role, name in (("video", clip.video), ("audio", clip.audio)):
        if name is not None:
            try:
                files[role] = sha256(root / name)
            except FileNotFoundError:
                raise ClipError(
                    f"{root / name}: missing; fetch it again, or draw a list from what is there (--list tree)"
                ) from None
            except OSError as error:
                raise ClipError(f"{root / name}: cannot be read ({error.strerror})") from None
    return digest({"files": files, "span": [clip.start, clip.stop], "crop": clip.crop, "fps": FPS, "size": SIZE})


def read_source(clip: Clip, root: Path, key: str, cache: Path | None = None) -> Source:
    """Read a clip at 25 fps, cropped and resized to 256x256, with its sound. Raises ClipError.

    A cropped clip is kept in ``cache`` as a lossless 256x256 video: decoding MEAD's 1920x1080 for every method again
    would take longer than scoring.
    """
    video = root / clip.video
    kept = cache / "sources" / key[:2] / f"{key}.mp4" if cache and clip.crop else None
    try:
        if kept is not None and kept.is_file():
            frames = media.read_video(kept)
        else:
            if clip.crop is None:
                _check_square(video)
            frames = media.read_video(
                video, fps=FPS, size=(SIZE, SIZE), box=clip.crop, start=clip.start, stop=clip.stop
            )
        if len(frames) < MIN_FRAMES:
            raise ClipError(
                f"{video}: has {len(frames)} frames at {FPS} fps; the protocol needs at least {MIN_FRAMES} (1 s)"
            )
        audio = fit_audio(read_sound(clip, root), len(frames))
    except media.MediaError as error:
        raise ClipError(one_line(error)) from None
    if kept is not None and not kept.is_file():
        _write_video(kept, frames, lossless=True)
    return Source(clip, key, frames, audio)


def read_sound(clip: Clip, root: Path) -> np.ndarray:
    """A clip's sound, float32 mono at 16 kHz from its first frame on. Raises media.MediaError."""
    stop = None if clip.stop is None else clip.stop / FPS
    return media.read_audio(
        root / (clip.audio or clip.video), sample_rate=SAMPLE_RATE, start=clip.start / FPS, stop=stop
    )


def fit_audio(audio: np.ndarray, n_frames: int) -> np.ndarray:
    """Sound cut or zero-padded to exactly ``n_frames`` video frames (640 samples each)."""
    wanted = n_frames * SAMPLES_PER_FRAME
    return np.pad(audio[:wanted], (0, max(0, wanted - len(audio)))).astype(np.float32, copy=False)


def generate(method: Any, source: Source, audio: np.ndarray, path: Path, key: str) -> Generated:
    """Let a method animate a clip and store the frames (mp4 and sidecar, both atomic).

    ``audio``: what the method hears, aligned with the driving frames. Raises MethodError.
    """
    driving = source.frames[1:]
    animation = method.animate(source.frames[0], driving, audio)
    if isinstance(animation, np.ndarray):
        raise MethodError(f"{method.name}: animate() returned an array; return fctfg.animation.Animation(frames)")
    if animation.frames is driving:
        generated = Generated(key, None, 1, len(driving), None, (SIZE, SIZE))
    else:
        n_frames, (height, width) = _store(method, animation, audio, path)
        generated = Generated(key, path, int(animation.first_frame), n_frames, animation.crop, (width, height))
    _write_sidecar(path.with_suffix(".json"), generated)
    return generated


def stored(path: Path, key: str) -> Generated | None:
    """What :func:`generate` stored under this key, or None when it is absent, older or half-written."""
    try:
        record = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError, UnicodeDecodeError):
        return None
    if record.get("key") != key or (record["video"] and not path.is_file()):
        return None
    crop = record["crop"]
    return Generated(
        key,
        path if record["video"] else None,
        record["first_frame"],
        record["n_frames"],
        tuple(crop) if crop else None,
        tuple(record["size"]),
        tuple(record["warnings"]),
    )


def ready_made(recording: Any, source: Source) -> Generated:
    """A ready-made video as if it had been generated. Raises ClipError or MethodError with what to do."""
    try:
        info = media.probe(recording.path)
        n_frames = media.count_frames(recording.path, fps=FPS)
    except media.MediaError as error:
        raise ClipError(one_line(error)) from None
    first, warnings = recording.first_frame, []
    if first is None:
        first = infer_first_frame(n_frames, len(source.frames), recording.path)
        if n_frames not in (len(source.frames), len(source.frames) - 1):
            warnings.append(f"{n_frames} frames for a clip of {len(source.frames)}: taken to start with the reference")
    if info.fps is not None and abs(float(info.fps) - FPS) > 0.01:
        warnings.append(f"{float(info.fps):g} fps, resampled to {FPS}")
    if (info.width, info.height) != (SIZE, SIZE):
        warnings.append(f"{info.width}x{info.height}, resized to {SIZE}x{SIZE}")
    key = digest({"file": sha256(recording.path), "first_frame": first, "crop": recording.crop})
    return Generated(key, recording.path, first, n_frames, recording.crop, (info.width, info.height), tuple(warnings))


def digest(value: object) -> str:
    """SHA-256 of a JSON-able value, in hex: the key of whatever depends on exactly that value."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def _store(method: Any, animation: Any, audio: np.ndarray, path: Path) -> tuple[int, tuple[int, int]]:
    counted = _Counted(method.name, animation.frames)
    path.parent.mkdir(parents=True, exist_ok=True)
    # The sound starts where frame 0 of the animation does, so that the stored file plays in step.
    skip = round((animation.first_frame - 1) * SAMPLES_PER_FRAME)
    sound = audio[skip:] if skip >= 0 else np.pad(audio, (-skip, 0))
    _write_video(path, counted, fps=animation.fps, audio=sound, sample_rate=SAMPLE_RATE)
    n_frames = counted.count
    if animation.fps != FPS:
        n_frames = media.count_frames(path, fps=FPS)
    return n_frames, counted.size


def _write_video(path: Path, frames: Any, **settings: Any) -> None:
    try:
        media.write_video(path, frames, **settings)
    except media.MediaError as error:
        # The frames were checked on their way, so what is left is the disk; a cause tells more.
        if error.__cause__ is None or getattr(error.__cause__, "errno", None) in NO_WRITING:
            raise OutputError(one_line(error)) from None
        raise


class _Counted:
    """Frames on their way to the encoder, checked and counted."""

    def __init__(self, name: str, frames: Any) -> None:
        self.name, self.frames, self.count, self.size = name, frames, 0, (0, 0)

    def __iter__(self) -> Iterator[np.ndarray]:
        for item in self.frames:
            array = np.asarray(item)
            if array.dtype != np.uint8 or array.ndim not in (3, 4) or array.shape[-1] != 3:
                raise MethodError(
                    f"{self.name}: frames must be uint8 (H, W, 3) or (n, H, W, 3), got {array.dtype} {array.shape}"
                )
            for frame in array if array.ndim == 4 else array[None]:
                if self.count and frame.shape[:2] != self.size:
                    raise MethodError(
                        f"{self.name}: frame {self.count} is {frame.shape[:2]}, the first was {self.size}"
                    )
                self.size = frame.shape[:2]
                self.count += 1
                yield frame
        if not self.count:
            raise MethodError(f"{self.name}: made no frames")


def _write_sidecar(path: Path, generated: Generated) -> None:
    record = {
        "key": generated.key,
        "video": generated.path is not None,
        "first_frame": generated.first_frame,
        "n_frames": generated.n_frames,
        "crop": generated.crop,
        "size": generated.size,
        "warnings": list(generated.warnings),
    }
    write_atomic(path, json.dumps(record).encode())


def _check_square(video: Path) -> None:
    info = media.probe(video)
    if info.width and abs(info.width - info.height) > 0.02 * max(info.width, info.height):
        raise ClipError(
            f"{video}: is {info.width}x{info.height}, not a square face crop; crop it around the face with --crop fomm"
        )


def _in_chunks(frames: np.ndarray) -> Iterator[np.ndarray]:
    for begin in range(0, len(frames), CHUNK):
        yield frames[begin : begin + CHUNK]
