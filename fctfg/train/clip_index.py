"""Which clips of a folder can be trained on, and how many frames each has: looked up once, kept in a file."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fctfg import media, parallel, progress
from fctfg.data.clips import FPS, Clip, DataError, find_voxceleb2
from fctfg.train import cache

LAYOUTS = ("voxceleb2", "prepared")
_SOUNDS = (".m4a", ".wav")
_FORMAT = 1


@dataclass(frozen=True)
class Index:
    """Clips that can be trained on, sorted by id, with their lengths in frames at 25 per second (N,) int64, and what
    was left out: ``broken`` lines, one a file, and the number of clips that are too ``short``. Paths are relative to
    ``root``.
    """

    root: Path
    clips: tuple[Clip, ...]
    n_frames: np.ndarray
    broken: tuple[str, ...]
    short: int

    def pick(self, rows: Iterable[int]) -> Index:
        """The same with some of the clips."""
        rows = list(rows)
        return Index(self.root, tuple(self.clips[i] for i in rows), self.n_frames[rows], self.broken, self.short)


def say(line: str) -> None:
    """To stderr, for whoever watches."""
    print(line, file=sys.stderr, flush=True)


def find(root: str | os.PathLike, layout: str) -> tuple[Path, list[Clip]]:
    """The clips of a folder and the root that their paths are relative to.

    ``voxceleb2``: the official tree, ``dev`` where there is one: ``dev/mp4/<id>/<video>/<utterance>.mp4`` with the
    sound in ``dev/aac/.../<utterance>.m4a`` or in the mp4 itself. ``prepared``: any folder of square mp4 crops with
    their sound, in the file or beside it as .m4a or .wav; the person is what stands before the first "#" of the name
    (as in FOMM's crops), else the first folder, else the file itself. Raises DataError.
    """
    root = Path(root).expanduser()
    if layout not in LAYOUTS:
        raise ValueError(f"unknown layout {layout!r}; use {' or '.join(LAYOUTS)}")
    if layout == "voxceleb2":
        base = root / "dev" if (root / "dev" / "mp4").is_dir() else root
        return base, find_voxceleb2(base)
    if not root.is_dir():
        raise DataError(f"{root}: no such folder; give the folder that holds the prepared crops")
    clips = []
    for file in sorted(root.rglob("*.mp4")):
        path = file.relative_to(root)
        beside = next((file.with_suffix(s) for s in _SOUNDS if file.with_suffix(s).is_file()), None)
        named = "#" in file.name
        clips.append(
            Clip(
                id=path.with_suffix("").as_posix(),
                identity=file.name.partition("#")[0] if named else path.parts[0],
                video=path.as_posix(),
                audio=beside.relative_to(root).as_posix() if beside is not None else None,
            )
        )
    if not clips:
        raise DataError(f"{root}: holds no mp4; give the folder that holds the prepared crops")
    return root, clips


def index(
    root: str | os.PathLike,
    layout: str,
    least: int,
    folder: str | os.PathLike | None = None,
    workers: int = 0,
    report: Callable[[str], None] = say,
) -> Index:
    """All usable clips of ``root``: those with a picture, sound and at least ``least`` frames.

    Only headers are read (some 4 ms a file, in ``workers`` threads, with a progress bar): what is wrong further in
    shows when a frame is asked for. The lengths are kept in a file of the cache ``folder``, written as they are found,
    so that a killed run goes on; a file whose size has changed is looked at again. Broken clips are reported in a line
    each, short ones in one line together. Raises DataError when nothing is left.
    """
    base, clips = find(root, layout)
    digest = hashlib.sha256(str(base.resolve()).encode()).hexdigest()[:16]
    file = cache.folder(folder, "clips") / f"{layout}-{digest}-v{_FORMAT}.jsonl"
    with cache.alone(file):
        found = _looked_at(base, clips, file, workers)
    broken = [found[clip.video] for clip in clips if isinstance(found[clip.video], str)]
    for line in broken:
        report(f"left out: {line}")
    whole = [(clip, found[clip.video]) for clip in clips if isinstance(found[clip.video], int)]
    kept = [(clip, n) for clip, n in whole if n >= least]
    short = len(whole) - len(kept)
    if short:
        report(f"{base}: {short} of {len(clips)} clips left out, with fewer than {least} frames")
    if not kept:
        raise DataError(f"{base}: none of its {len(clips)} clips can be used ({len(broken)} broken, {short} short)")
    return Index(base, tuple(c for c, _ in kept), np.array([n for _, n in kept], np.int64), tuple(broken), short)


def _looked_at(base: Path, clips: list[Clip], file: Path, workers: int) -> dict[str, int | str]:
    """Video path -> number of frames, or the line that says what is wrong."""
    sizes = {clip.video: _size(base / clip.video) for clip in clips}
    found: dict[str, int | str] = {}
    for path, size, result in _records(file):
        if sizes.get(path) == size:
            found[path] = result
    missing = [clip for clip in clips if clip.video not in found]
    with progress.bar(len(missing), f"{base.name}: headers", "clip") as bar, file.open("a") as out:
        for clip, result in parallel.results(lambda clip: (clip, _length(base, clip)), missing, workers):
            found[clip.video] = result
            out.write(json.dumps([clip.video, sizes[clip.video], result]) + "\n")
            bar.update()
    return found


def _records(file: Path):
    if not file.is_file():
        return
    with file.open() as lines:
        for line in lines:
            try:
                path, size, result = json.loads(line)
            except ValueError:  # the last line of a killed run
                continue
            yield path, size, result


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1


def _length(base: Path, clip: Clip) -> int | str:
    try:
        info = media.probe(base / clip.video)
        heard = info.has_audio if clip.audio is None else media.probe(base / clip.audio).has_audio
    except media.MediaError as error:
        return str(error)
    if not info.has_video:
        return f"{base / clip.video}: has no video track; remove it"
    if not heard:
        return f"{base / (clip.audio or clip.video)}: has no sound; put it beside the video as .m4a or .wav"
    if info.fps == FPS and info.n_frames and not info.variable_rate:
        return info.n_frames
    return int(info.duration * FPS)
