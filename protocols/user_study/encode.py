"""The study's videos: every method's frames cut to the same span, with one sound, through one encoder.

Whatever could tell methods apart beside the pictures is made equal: size, length, frame rate, codec, quality, sound,
metadata, file times.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fctfg import media
from fctfg.data.clips import FPS, SAMPLE_RATE, SAMPLES_PER_FRAME, Clip
from protocols import stages
from protocols.methods import one_line
from protocols.user_study.sources import Eligible, Run, Video
from protocols.user_study.study import StudyError

CRF = 15
LEAST_SHIFT = 0.5  # seconds; a quarter of that goes unnoticed by many
_SEAM = SAMPLE_RATE // 50  # 20 ms, over which the ends of a rotated sound are blended
_SAME_TIME = 946684800  # 1 January 2000, the time stamp of every file
#: the sound check: how many tones are to be counted
TONES = 3


@dataclass(frozen=True)
class Encoder:
    """How videos are written: ``size`` pixels square, at most ``seconds`` long, ``data`` the tree of the clips."""

    runs: tuple[Run, ...]
    data: Path | None
    size: int
    seconds: float

    def span(self, entry: Eligible) -> tuple[int, int]:
        """The clip frames that are shown."""
        return entry.start, min(entry.stop, entry.start + round(self.seconds * FPS))

    def write(self, entry: Eligible, run: Run, path: Path) -> float:
        """Write a run's video of a clip; its length in seconds."""
        start, stop = self.span(entry)
        video = entry.videos[run.method]
        sound = self._own_sound(run, entry) if run.own_sound else self.sound(entry)
        return self._write(path, self._frames(entry.clip, video, start, stop), sound, stop - start)

    def write_desync(self, entry: Eligible, path: Path) -> tuple[float, float]:
        """Write the truth with its sound displaced; (length, displacement) in seconds."""
        start, stop = self.span(entry)
        sound, shift = displaced(self.sound(entry))
        return self._write(path, self._frames(entry.clip, self._truth(entry), start, stop), sound, stop - start), shift

    def has_truth(self, entry: Eligible) -> bool:
        """Whether the driving frames of a clip can be had."""
        return self.data is not None or any(run.shows_truth for run in self.runs)

    def write_reference(self, entry: Eligible, path: Path) -> None:
        """Write the first frame, what every method was given, as a JPEG."""
        from PIL import Image

        frame = stages.read_source(entry.clip, self._tree(), "").frames[0]
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(frame).resize((self.size, self.size), Image.LANCZOS).save(path, "JPEG", quality=92)
        os.utime(path, (_SAME_TIME, _SAME_TIME))

    def sound(self, entry: Eligible) -> np.ndarray:
        """The clip's own sound over the span: from the data tree, or as a method's video carries it.

        Every method is shown with the same one, as every method is scored against the same one.
        """
        start, stop = self.span(entry)
        if self.data is not None:
            sound = stages.read_sound(entry.clip, self.data)
            return stages.fit_audio(sound[start * SAMPLES_PER_FRAME :], stop - start)
        for run in self.runs:
            video = entry.videos[run.method]
            if not run.own_sound and video.path is not None and media.probe(video.path).has_audio:
                return self._file_sound(video, start, stop)
        raise StudyError(f"{entry.clip.id}: no run's video carries its sound; give the data tree with --data DIR")

    def _own_sound(self, run: Run, entry: Eligible) -> np.ndarray:
        """The sound that a run with another's has: in its video, or of the speaker whom the protocol chose."""
        start, stop = self.span(entry)
        video = entry.videos[run.method]
        if video.path is not None:
            return self._file_sound(video, start, stop)
        sound = stages.read_sound(run.donor(entry.clip), self._tree())
        return np.resize(sound, entry.stop * SAMPLES_PER_FRAME)[start * SAMPLES_PER_FRAME : stop * SAMPLES_PER_FRAME]

    def _truth(self, entry: Eligible) -> Video:
        if self.data is None:
            return next(entry.videos[run.method] for run in self.runs if run.shows_truth)
        return Video(None, 1, entry.stop - 1)

    def _frames(self, clip: Clip, video: Video, start: int, stop: int) -> Iterator[np.ndarray]:
        if video.path is None:
            frames = stages.read_source(clip, self._tree(), "").frames[start:stop]
            yield from (media.resize(frames[i : i + 32], (self.size, self.size)) for i in range(0, len(frames), 32))
            return
        offset, size = video.first_frame, (self.size, self.size)
        yield from media.iter_video(video.path, fps=FPS, size=size, start=start - offset, stop=stop - offset)

    def _tree(self) -> Path:
        if self.data is None:
            raise StudyError("the clips' own frames are asked for; give the data tree with --data DIR")
        return self.data

    def _file_sound(self, video: Video, start: int, stop: int) -> np.ndarray:
        begin = start - video.first_frame
        sound = media.read_audio(video.path, sample_rate=SAMPLE_RATE, start=begin / FPS)
        return stages.fit_audio(sound, stop - start)

    def _write(self, path: Path, frames: Iterator[np.ndarray], sound: np.ndarray, n_frames: int) -> float:
        try:
            media.write_video(path, frames, fps=FPS, audio=sound, sample_rate=SAMPLE_RATE, crf=CRF)
            written = media.count_frames(path, fps=FPS)
        except (media.MediaError, stages.ClipError) as error:
            raise StudyError(one_line(error)) from None
        if written != n_frames:
            raise StudyError(f"{path}: {written} frames where {n_frames} were expected; evaluate the runs again")
        os.utime(path, (_SAME_TIME, _SAME_TIME))
        return n_frames / FPS


def displaced(sound: np.ndarray) -> tuple[np.ndarray, float]:
    """Sound (N,) rotated by half its length, at least LEAST_SHIFT: the same voice, out of step; and the shift in s.

    The old end now meets the old beginning; 20 ms on either side are faded so that the seam does not click.
    """
    shift = max(len(sound) // 2, round(LEAST_SHIFT * SAMPLE_RATE))
    rotated = np.roll(sound, shift).astype(np.float32)
    seam = shift % len(sound)
    fade = np.linspace(0, 1, _SEAM, dtype=np.float32)
    before, after = rotated[max(0, seam - _SEAM) : seam], rotated[seam : seam + _SEAM]
    before *= fade[::-1][len(fade) - len(before) :]
    after *= fade[: len(after)]
    return rotated, shift / SAMPLE_RATE


def write_tones(path: Path) -> None:
    """The sound check: TONES soft tones to be counted."""
    t = np.arange(round(0.35 * SAMPLE_RATE)) / SAMPLE_RATE
    tone = 0.25 * np.sin(2 * np.pi * 440 * t) * np.minimum(1, np.minimum(t, t[::-1]) / 0.03)
    gap = np.zeros(round(0.3 * SAMPLE_RATE))
    media.write_audio(path, np.concatenate([gap, *[tone, gap] * TONES]).astype(np.float32))
    os.utime(path, (_SAME_TIME, _SAME_TIME))
