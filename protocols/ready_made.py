"""``videos:DIR``: ready-made videos, one a clip. The way most results come to be scored."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from protocols.methods import MOTIONS, MethodError

MANIFEST = "manifest.json"
SUFFIXES = (".mp4", ".avi", ".mov", ".mkv", ".webm")
KEYS = {"name", "controls", "first_frame", "crop", "description", "files"}

#: Without a declared first frame, a video this many frames shorter or longer than the clip still counts as starting
#: with it: audio-driven methods end a few frames early or late, where their last audio window ends.
SLACK = 5


@dataclass(frozen=True)
class Recording:
    """One ready-made video. ``first_frame`` None: to be inferred from the number of frames."""

    path: Path
    first_frame: int | None = None
    crop: tuple[float, float, float, float] | None = None


class ReadyMadeVideos:
    """A folder of videos named by clip id, of any size and frame rate.

    The video of clip ``id00017/01dfn2spqyE/00001`` is ``id00017/01dfn2spqyE/00001.mp4``, or in one flat folder
    ``id00017#01dfn2spqyE#00001.mp4`` (``_`` or ``__`` in place of ``#`` are taken too).
    ``manifest.json`` in the folder may say, all optional: ``name`` and ``description`` of the method, ``controls``
    (of lip, pose, blink, gaze), ``first_frame`` (which frame of the clip a video's frame 0 shows: 0 is the reference
    itself, 1 the first driving frame), ``crop`` (what part of the 256x256 frame the videos show, as left, top, right,
    bottom fractions), ``files`` ({clip id: file name, or an object with "file", "first_frame", "crop"}).
    """

    kind = "videos"

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder).expanduser()
        if not self.folder.is_dir():
            raise MethodError(f"videos:{folder}: no such folder")
        manifest = _read_manifest(self.folder / MANIFEST)
        self.name = manifest.get("name") or self.folder.resolve().name
        self.controls = frozenset(manifest.get("controls", ()))
        self.description = manifest.get("description", f"ready-made videos in {self.folder.name}/")
        self.version = "1"
        self._first_frame, self._crop = manifest.get("first_frame"), manifest.get("crop")
        self._files = manifest.get("files", {})
        # Flat names are compared with "/" and its stand-ins made alike; a collision is an error, never a guess.
        self._found: dict[str, list[Path]] = {}
        for path in sorted(self.folder.rglob("*")):
            if path.suffix.lower() in SUFFIXES and not path.name.startswith("."):
                self._found.setdefault(_flat(path.relative_to(self.folder).with_suffix("").as_posix()), []).append(path)

    def recording(self, clip_id: str) -> Recording:
        """The video of a clip. Raises MethodError when there is none, or more than one."""
        entry = self._files.get(clip_id)
        if entry is not None:
            entry = {"file": entry} if isinstance(entry, str) else entry
            path = self.folder / entry["file"]
            if not path.is_file():
                raise MethodError(f"{path}: missing, though {MANIFEST} names it for {clip_id}")
        else:
            entry, paths = {}, self._found.get(_flat(clip_id), [])
            if not paths:
                raise MethodError(
                    f"{self.folder}: no video for clip {clip_id}; add {clip_id}.mp4 (or list it in {MANIFEST})"
                )
            if len(paths) > 1:
                raise MethodError(
                    f"{self.folder}: {len(paths)} videos for clip {clip_id} "
                    f"({paths[0].name}, {paths[1].name}); keep one"
                )
            path = paths[0]
        first = entry.get("first_frame", self._first_frame)
        crop = entry.get("crop", self._crop)
        return Recording(path, first, tuple(crop) if crop else None)

    def unused(self, clip_ids: list[str]) -> list[str]:
        """Videos that belong to no clip of the list, by name: a folder with one too many says so."""
        wanted = {_flat(i) for i in clip_ids}
        named = {(self.folder / (e if isinstance(e, str) else e["file"])).resolve() for e in self._files.values()}
        return [
            path.relative_to(self.folder).as_posix()
            for key, paths in self._found.items()
            if key not in wanted
            for path in paths
            if path.resolve() not in named
        ]


def infer_first_frame(n_frames: int, clip_frames: int, path: Path) -> int:
    """Which clip frame a video starts with, judged by its length.

    One frame short of the clip: it starts with the first driving frame. About as long (within SLACK): with the
    reference. Anything else is not guessed. Raises MethodError.
    """
    if n_frames == clip_frames - 1:
        return 1
    if abs(n_frames - clip_frames) <= SLACK:
        return 0
    raise MethodError(
        f"{path}: has {n_frames} frames at 25 fps, its clip {clip_frames}; "
        f'say which clip frame it starts with: "first_frame" in {MANIFEST}'
    )


def _flat(name: str) -> str:
    return name.replace("__", "#").replace("/", "#").replace("_", "#").casefold()


def _read_manifest(path: Path) -> dict:
    if not path.is_file():
        return {}
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise MethodError(f"{path}: not JSON ({error})") from None
    if not isinstance(manifest, dict):
        raise MethodError(f"{path}: must be a JSON object")
    unknown = set(manifest) - KEYS
    if unknown:
        raise MethodError(f"{path}: unknown key {sorted(unknown)[0]!r}; known are {', '.join(sorted(KEYS))}")
    if set(manifest.get("controls", ())) - set(MOTIONS):
        raise MethodError(f"{path}: controls must be among {', '.join(MOTIONS)}")
    entries = [manifest, *(e for e in manifest.get("files", {}).values() if isinstance(e, dict))]
    for entry in entries:
        first, crop = entry.get("first_frame"), entry.get("crop")
        if first is not None and (not isinstance(first, int) or first < 0):
            raise MethodError(f"{path}: first_frame must be a frame number, 0 or more")
        if crop is not None and not _is_crop(crop):
            raise MethodError(f"{path}: crop must be four fractions [left, top, right, bottom] within 0..1")
    if any(isinstance(e, dict) and not isinstance(e.get("file"), str) for e in manifest.get("files", {}).values()):
        raise MethodError(f'{path}: each entry of files is a file name or an object with "file"')
    return manifest


def _is_crop(crop: object) -> bool:
    return (
        isinstance(crop, list)
        and len(crop) == 4
        and all(isinstance(v, (int, float)) and 0 <= v <= 1 for v in crop)
        and crop[0] < crop[2]
        and crop[1] < crop[3]
    )
