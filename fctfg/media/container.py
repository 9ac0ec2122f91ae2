"""Opening media files: the one error, the clock, and what a file says about itself."""

from __future__ import annotations

import contextlib
import itertools
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
from av.stream import Disposition

# FFmpeg talks on stderr about every oddity it meets; what matters is raised as a MediaError instead.
av.logging.set_level(None)
av.logging.set_libav_level(av.logging.PANIC)

LONGEST_STANDSTILL = 60  # seconds; one picture for longer, or silence between samples, is a damaged time stamp
MOV = "mov,mp4,m4a,3gp,3g2,mj2"  # FFmpeg's name of the MP4 family, whose header and edit lists give exact lengths
# Formats whose header states a duration. FFmpeg works out the others' from what is there, which proves nothing.
_DECLARE_DURATION = frozenset({MOV, "matroska,webm"})
_NOT_WHOLE = "not a whole video or audio file (unknown, damaged, or cut short)"
_FETCH_AGAIN = "copy or download it again, or convert it to mp4"
_NOT_MEDIA = frozenset({"tty"})  # FFmpeg "plays" text files named .txt as terminal output


class MediaError(ValueError):
    """A file that cannot be read or written as asked. One line: ``<path>: <what is wrong>; <what to do>``."""

    def __init__(self, path: str | os.PathLike, wrong: str, remedy: str):
        self.path = Path(path)
        super().__init__(" ".join(f"{path}: {wrong}; {remedy}".splitlines()))

    def __reduce__(self):
        # The message has three parts: without this, an error raised in a worker process cannot travel back.
        return (_rebuild, (str(self.path), str(self)))


def _rebuild(path: str, message: str) -> MediaError:
    error = MediaError.__new__(MediaError)
    ValueError.__init__(error, message)
    error.path = Path(path)
    return error


@dataclass(frozen=True)
class MediaInfo:
    """What a file says about itself.

    ``width``, ``height``: of the picture as shown, that is after its rotation tag; None without video.
    ``fps``: the average frame rate, exact; None without video.
    ``duration``: seconds, of the video track if there is one, else of the sound; 0 where the file does not say.
    ``n_frames``: source frames, None where the header does not say.
    ``sample_rate``: of the sound, Hz, as stored; None without sound.
    ``variable_rate``: whether the frames are unevenly spaced; None where the file keeps no index to tell it from.
    """

    width: int | None
    height: int | None
    fps: Fraction | None
    duration: float
    n_frames: int | None
    has_video: bool
    has_audio: bool
    sample_rate: int | None
    variable_rate: bool | None


def as_rate(fps: float | Fraction) -> Fraction:
    """A frame rate as an exact fraction: 29.97 is 2997/100, and the float 30000/1001 is 30000/1001 again."""
    rate = Fraction(fps).limit_denominator(1_000_000)
    if rate <= 0:
        raise ValueError(f"fps must be positive, not {fps}")
    return rate


def round_half_up(value: Fraction) -> int:
    """Nearest integer, halves upwards (for times, which are not negative: away from zero, as FFmpeg's round=near)."""
    return (2 * value.numerator + value.denominator) // (2 * value.denominator)


@contextlib.contextmanager
def open_media(path: str | os.PathLike) -> Iterator[av.container.InputContainer]:
    """Open ``path`` for reading; every failure inside the block that is FFmpeg's becomes a MediaError."""
    try:
        status = os.stat(path)
    except FileNotFoundError as error:
        raise MediaError(path, "no such file", "check the path") from error
    except OSError as error:
        raise MediaError(path, f"cannot be read ({error.strerror})", "check the path and its permissions") from error
    if stat.S_ISDIR(status.st_mode):
        raise MediaError(path, "is a folder", "name a video or audio file")
    if status.st_size == 0:
        raise MediaError(path, "is empty (0 bytes)", "copy or download it again")
    try:
        # An absolute path, so that a name with a colon is not taken for a protocol ("http:", "concat:").
        container = av.open(os.path.abspath(path), metadata_errors="replace")
    except av.PermissionError as error:
        raise MediaError(path, "may not be read", "check its permissions") from error
    except av.FFmpegError as error:
        raise MediaError(path, f"is {_NOT_WHOLE}", _FETCH_AGAIN) from error
    with container:
        if container.format.name in _NOT_MEDIA:
            raise MediaError(path, "is not a video or audio file", "name one that is")
        if not container.streams:
            raise MediaError(path, f"is {_NOT_WHOLE}", _FETCH_AGAIN)
        try:
            yield container
        except av.FFmpegError as error:
            raise MediaError(path, f"is damaged ({error.strerror})", _FETCH_AGAIN) from error


def video_stream(container: av.container.InputContainer) -> av.VideoStream | None:
    """The first video track that FFmpeg has a decoder for and that is not a cover picture."""
    tracks = (s for s in container.streams.video if s.codec_context is not None)
    return next((s for s in tracks if not s.disposition & Disposition.attached_pic), None)


def audio_stream(container: av.container.InputContainer) -> av.AudioStream | None:
    """The first audio track that FFmpeg has a decoder for."""
    return next((s for s in container.streams.audio if s.codec_context is not None), None)


def decode(container: av.container.InputContainer, stream: av.stream.Stream, path: str | os.PathLike) -> Iterator:
    """Every decoded frame of ``stream``; raises MediaError at the end when the file stops before it says it should.

    Tolerated: two frames, or 0.1 s if that is more, of the track; 0.5 s of a Matroska file, 4096 bytes of a WAV or AVI.
    """
    reach, end, longest = Fraction(0), Fraction(0), Fraction(1, 20)
    for packet in container.demux():
        stamp = packet.pts if packet.pts is not None else packet.dts
        if stamp is not None and packet.time_base:
            reach = max(reach, (stamp + (packet.duration or 0)) * packet.time_base)
        if packet.stream is not stream:
            continue
        for frame in packet.decode():
            length = frame_duration(frame, stream)
            if frame.pts is not None:
                end, longest = frame.pts * frame.time_base + length, max(longest, min(length, Fraction(1)))
            else:
                end += length
            yield frame
    if container.format.name in ("wav", "avi"):
        _check_riff_bytes(path)
    if container.format.name not in _DECLARE_DURATION:
        return
    if stream.duration:
        declared = (stream.duration + (stream.start_time or 0)) * stream.time_base
        reached, tolerance = end, 2 * longest
    elif container.duration:
        declared = Fraction(container.duration, av.time_base)  # Matroska: the end of its last track
        reached, tolerance = max(reach, end), Fraction(1, 2)
    else:
        return
    if reached < declared - tolerance:
        wrong = f"stops at {float(reached):.2f} s of the {float(declared):.2f} s that its header declares"
        raise MediaError(path, wrong, "copy or download it again")


def _check_riff_bytes(path: str | os.PathLike) -> None:
    """FFmpeg takes the length of a WAV or AVI from the bytes that are there; what the header declares is read here."""
    with open(path, "rb") as file:
        declared = int.from_bytes(file.read(8)[4:], "little") + 8
    there = os.path.getsize(path)
    streamed = declared >= 0xFFFFFF00  # written to a pipe: the length was not known
    if not streamed and there < declared - 4096:
        raise MediaError(path, f"stops at {there} of the {declared} bytes that its header declares", "copy it again")


def frame_duration(frame: av.frame.Frame, stream: av.stream.Stream) -> Fraction:
    """How long a decoded frame lasts, in seconds; one average frame (25 fps if unknown) where it does not say."""
    if isinstance(frame, av.AudioFrame):
        return Fraction(frame.samples, frame.sample_rate)
    if frame.duration and frame.time_base:
        return frame.duration * frame.time_base
    return 1 / (stream.average_rate or stream.guessed_rate or Fraction(25))


def first_video_frame(path: str | os.PathLike) -> tuple[av.VideoFrame, Fraction] | None:
    """The first frame shown and its presentation time on the container's clock; None for a file without video."""
    with open_media(path) as container:
        stream = video_stream(container)
        if stream is None:
            return None
        stream.thread_type = "NONE"  # frame threads would decode many frames to give the first
        for frame in container.decode(stream):
            return frame, Fraction(0) if frame.pts is None else frame.pts * frame.time_base
    raise MediaError(path, "has a video track but no frame in it", "copy or download it again")


def _variable_rate(container: av.container.InputContainer, stream: av.VideoStream) -> bool | None:
    if container.format.name not in (MOV, "avi"):
        return None
    stamps = sorted(entry.timestamp for entry in stream.index_entries if not entry.is_discard)
    steps = [b - a for a, b in itertools.pairwise(stamps)]
    # One tick either way is rounding: 29.97 fps in milliseconds alternates 33 and 34.
    return max(steps) - min(steps) > 1 if steps else None


def probe(path: str | os.PathLike) -> MediaInfo:
    """What ``path`` is, from its header and its first frame. MediaError where it is no video or audio file."""
    first = first_video_frame(path)
    with open_media(path) as container:
        video, audio = video_stream(container), audio_stream(container)
        if video is None and audio is None:
            raise MediaError(path, "holds neither video nor sound", "name a video or audio file")
        stream = video or audio
        if stream.duration:
            duration = float(stream.duration * stream.time_base)
        else:
            duration = (container.duration or 0) / av.time_base
        width = height = fps = None
        if first is not None:
            frame, _ = first
            width, height = (frame.width, frame.height)[:: -1 if frame.rotation % 180 else 1]
            fps = video.average_rate or video.guessed_rate
        return MediaInfo(
            width=width,
            height=height,
            fps=fps,
            duration=duration,
            n_frames=(video.frames or None) if video else None,
            has_video=video is not None,
            has_audio=audio is not None,
            sample_rate=audio.rate if audio else None,
            variable_rate=_variable_rate(container, video) if video else None,
        )
