"""Clips: one utterance of one person, and where the official trees keep them.

Nothing here opens a file: a clip whose file turns out to be broken costs its own row later, not the listing.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

FPS = 25
SAMPLE_RATE = 16000
SIZE = 256
SAMPLES_PER_FRAME = SAMPLE_RATE // FPS

EMOTIONS = ("angry", "contempt", "disgusted", "fear", "happy", "neutral", "sad", "surprised")

Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class Clip:
    """One utterance of one person.

    ``id``: unique within its data set, path-like (``id00017/01dfn2spqyE/00001``, ``M003/front/angry/level_1/002``).
    ``video``/``audio``: paths relative to the data root; ``audio`` None means the video file carries the sound.
    ``start``/``stop``: span in frames at 25 fps; ``stop`` None means the end of the file.
    ``crop``: (left, top, right, bottom) in source pixels, right and bottom exclusive, which may reach over the edge
    of the picture; None means the whole frame. ``emotion``/``level``: MEAD's labels, None elsewhere.
    """

    id: str
    identity: str
    video: str
    audio: str | None = None
    start: int = 0
    stop: int | None = None
    crop: Box | None = None
    emotion: str | None = None
    level: int | None = None


class DataError(ValueError):
    """A data folder that is not what it should be; the message is one line and says what to do."""


def find_voxceleb2(root: str | os.PathLike) -> list[Clip]:
    """Every clip of a VoxCeleb2 tree, sorted by id.

    ``root`` holds ``test/mp4/<id>/<video>/<utterance>.mp4`` as the official archives unpack (sound in
    ``test/aac/.../<utterance>.m4a``); a root that starts at ``mp4`` works too.
    Source of the layout: the VoxCeleb2 archives ``vox2_test_mp4.zip`` and ``vox2_test_aac.zip``.
    """
    root = _existing(root, "VoxCeleb2")
    for split in ("test", "."):
        base = root / split
        if (base / "mp4").is_dir():
            break
    else:
        raise DataError(
            f"{root}: no VoxCeleb2 test videos (looked for test/mp4 and mp4); "
            "give the folder into which vox2_test_mp4.zip was unpacked"
        )
    clips = []
    for file in sorted((base / "mp4").glob("*/*/*.mp4")):
        identity, video, _ = parts = file.relative_to(base / "mp4").with_suffix("").parts
        audio = base / "aac" / identity / video / f"{file.stem}.m4a"
        clips.append(
            Clip(
                id="/".join(parts),
                identity=identity,
                video=file.relative_to(root).as_posix(),
                audio=audio.relative_to(root).as_posix() if audio.is_file() else None,
            )
        )
    if not clips:
        raise DataError(f"{base / 'mp4'}: holds no <id>/<video>/<utterance>.mp4; unpack vox2_test_mp4.zip here")
    return clips


def find_mead(root: str | os.PathLike, view: str = "front") -> list[Clip]:
    """Every clip of a MEAD tree seen from ``view``, sorted by id.

    ``root`` holds ``<actor>/video/<view>/<emotion>/level_<n>/<NNN>.mp4`` as ``video.tar`` unpacks, and the sound in
    ``<actor>/audio/<emotion>/level_<n>/<NNN>.m4a``. Source of the layout: the MEAD repository's README.
    """
    root = _existing(root, "MEAD")
    clips = []
    for file in sorted(root.glob(f"*/video/{view}/*/level_*/*.mp4")):
        actor, _, _, emotion, level, _ = file.relative_to(root).parts
        number = level.removeprefix("level_")
        if emotion not in EMOTIONS or not number.isdigit():
            continue  # not MEAD's naming: a folder of the user's own
        clips.append(_mead_clip(root, actor, view, emotion, int(number), file.stem))
    if not clips:
        raise DataError(
            f"{root}: no MEAD videos (looked for <actor>/video/{view}/<emotion>/level_<n>/<NNN>.mp4); "
            "give the folder into which each actor's video.tar was unpacked"
        )
    return clips


def mead_clip_id(actor: str, view: str, emotion: str, level: int, number: str) -> str:
    """The id under which a MEAD clip is listed: ``M003/front/angry/level_1/002``."""
    return f"{actor}/{view}/{emotion}/level_{level}/{number}"


def mead_clip_from_id(root: Path, clip_id: str) -> Clip:
    """The clip of a listed MEAD id, whether or not its files are there."""
    actor, view, emotion, level, number = clip_id.split("/")
    return _mead_clip(root, actor, view, emotion, int(level.removeprefix("level_")), number)


def _mead_clip(root: Path, actor: str, view: str, emotion: str, level: int, number: str) -> Clip:
    audio = f"{actor}/audio/{emotion}/level_{level}/{number}.m4a"
    return Clip(
        id=mead_clip_id(actor, view, emotion, level, number),
        identity=actor,
        video=f"{actor}/video/{view}/{emotion}/level_{level}/{number}.mp4",
        audio=audio if (root / audio).is_file() else None,
        emotion=emotion,
        level=level,
    )


def _existing(root: str | os.PathLike, name: str) -> Path:
    root = Path(root).expanduser()
    if not root.is_dir():
        raise DataError(f"{root}: no such folder; give the folder that holds {name}")
    return root
