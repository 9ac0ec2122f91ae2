"""Where a study's videos come from: the output folders of evaluations, one method each."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from fctfg import media
from fctfg.data.clips import FPS, Clip
from protocols import cliplist
from protocols.methods import MethodError
from protocols.stages import MIN_FRAMES
from protocols.user_study.study import StudyError
from results import rows as row_files

#: methods whose videos are the driving frames with their own sound: what a desynchronised clip is made of
TRUTHS = ("truth", "reencode")


class NoVideo(Exception):
    """A run has no video of a clip; the message is the reason."""


@dataclass(frozen=True)
class Video:
    """A run's video of a clip. ``path`` None: the driving frames themselves, to be read from the data tree.

    Frame 0 of the file answers clip frame ``first_frame``; it has ``n_frames`` frames at 25 fps.
    """

    path: Path | None
    first_frame: int
    n_frames: int


@dataclass(frozen=True)
class Run:
    """One evaluation's output folder."""

    folder: Path
    info: dict
    clips: dict[str, Clip]

    @property
    def method(self) -> str:
        return self.info["method"]["name"]

    @property
    def own_sound(self) -> bool:
        """Whether its videos carry another sound than the clip's (the control ``shuffled-audio``)."""
        return self.info["method"].get("audio_of", "the-clip") != "the-clip"

    @property
    def shows_truth(self) -> bool:
        return self.info["method"].get("spec") in TRUTHS

    @cached_property
    def _rows(self) -> dict[str, dict]:
        return {row["clip"]: row for row in row_files.read(self.folder)}

    @cached_property
    def _ready_made(self):
        from protocols.ready_made import ReadyMadeVideos

        kind, _, folder = str(self.info["method"].get("spec", "")).partition(":")
        return ReadyMadeVideos(folder) if kind == "videos" else None

    def video(self, clip: str) -> Video:
        """The video of a clip. Raises NoVideo with the reason."""
        row = self._rows.get(clip)
        if self._ready_made is not None:
            return self._recording(clip, row)
        path = self.folder / "generated" / f"{clip}.mp4"
        try:
            made = json.loads(path.with_suffix(".json").read_bytes())
            video = Video(path if made["video"] else None, made["first_frame"], made["n_frames"])
        except FileNotFoundError:
            raise NoVideo(_reason(row)) from None
        except (ValueError, KeyError, TypeError):
            raise NoVideo(f"{path.with_suffix('.json')} is broken; run the evaluation again") from None
        if video.path is not None and not video.path.is_file():
            raise NoVideo("its mp4 is missing")
        return video

    def donor(self, clip: Clip) -> Clip:
        """The next clip of the list by another speaker: whose sound the control ``shuffled-audio`` was given."""
        clips = list(self.clips.values())
        begin = clips.index(clip)
        others = (other for other in clips[begin:] + clips[:begin] if other.identity != clip.identity)
        found = next(others, None)
        if found is None:
            raise StudyError(f"{self.folder}: the list has no clip by another speaker than {clip.identity}'s")
        return found

    def _recording(self, clip: str, row: dict | None) -> Video:
        if row is None or row.get("first_frame") is None:
            raise NoVideo(_reason(row))
        try:
            path = self._ready_made.recording(clip).path
            return Video(path, row["first_frame"], media.count_frames(path, fps=FPS))
        except (MethodError, media.MediaError) as error:
            raise NoVideo(str(error)) from None


@dataclass(frozen=True)
class Eligible:
    """A clip that every run has. ``start``, ``stop``: the clip frames that every video answers."""

    clip: Clip
    start: int
    stop: int
    videos: dict[str, Video]


def read_runs(folders: Iterable[Path]) -> list[Run]:
    """Read the runs. Raises StudyError unless they are different methods on the same data."""
    runs = []
    for folder in folders:
        info = row_files.read_run(folder)
        clips = cliplist.load(Path(folder) / "list.json").clips
        runs.append(Run(Path(folder), info, {clip.id: clip for clip in clips}))
    for name, count in Counter(run.method for run in runs).items():
        if count > 1:
            same = ", ".join(str(run.folder) for run in runs if run.method == name)
            raise StudyError(f"{count} runs are of the method '{name}' ({same}); give one, or evaluate with --name")
    for run in runs[1:]:
        for part in ("protocol", "data"):
            if run.info[part] != runs[0].info[part]:
                raise StudyError(
                    f"{run.folder}: {part} is {run.info[part]}, that of {runs[0].folder} {runs[0].info[part]}; "
                    "a study compares methods on the same clips"
                )
    return runs


def eligible(runs: list[Run], data: Path | None) -> tuple[list[Eligible], dict[str, str]]:
    """The clips that every run has a video of, and why the others are dropped ({clip id: reason}).

    Raises StudyError for a run of ``truth`` without ``data``: its frames are in the data tree alone.
    """
    found, dropped = [], {}
    everywhere = list(dict.fromkeys(clip for run in runs for clip in run.clips))
    for clip in everywhere:
        try:
            found.append(_common(clip, runs))
        except NoVideo as reason:
            dropped[clip] = str(reason)
    for run in runs:
        if data is None and any(entry.videos[run.method].path is None for entry in found):
            raise StudyError(
                f"{run.folder}: stores no videos, for they are the data itself; give the tree with --data DIR, "
                "or a run of 'reencode' in its place"
            )
    return found, dropped


def grouped(dropped: dict[str, str]) -> list[str]:
    """Reasons with their number of clips, the most frequent first."""
    return [f"{count} x {reason}" for reason, count in Counter(dropped.values()).most_common()]


def choose(found: list[Eligible], count: int, seed: int) -> list[Eligible]:
    """``count`` clips by rank (see protocols.cliplist), one of every speaker before a second of any."""
    turn: Counter[str] = Counter()
    ordered = []
    for entry in sorted(found, key=lambda e: cliplist.rank(e.clip.id, seed)):
        ordered.append((turn[entry.clip.identity], cliplist.rank(entry.clip.id, seed), entry))
        turn[entry.clip.identity] += 1
    return [entry for *_, entry in sorted(ordered, key=lambda o: o[:2])][:count]


def _common(clip: str, runs: list[Run]) -> Eligible:
    videos = {}
    for run in runs:
        entry = run.clips.get(clip)
        if entry is None:
            raise NoVideo(f"not on the list of {run.method}")
        if entry != runs[0].clips[clip]:
            raise NoVideo(f"another span or crop in {run.method} than in {runs[0].method}")
        try:
            videos[run.method] = run.video(clip)
        except NoVideo as reason:
            raise NoVideo(f"{run.method}: {reason}") from None
    start = max(1, *(video.first_frame for video in videos.values()))
    stop = min(video.first_frame + video.n_frames for video in videos.values())
    if stop - start < MIN_FRAMES:
        raise NoVideo(f"the methods have less than {MIN_FRAMES} frames in common")
    return Eligible(entry, start, stop, videos)


def _reason(row: dict | None) -> str:
    if row is None:
        return "not evaluated yet"
    return str(row["failures"].get("*", "no video"))
