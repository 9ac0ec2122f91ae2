"""Reading video at a constant frame rate.

Which frame is shown when. Let t_i be the presentation time of source frame i, counted from the first frame. Output
frame k (at ``fps``) shows the last source frame with round(t_i * fps) <= k, halves rounded up, and there are
max(1, round(end * fps)) output frames, where end is the last frame's time plus its duration. This is the rule of
FFmpeg's ``fps`` filter with its defaults (round=near, eof_action=round), counted from the first frame; a constant
25 fps source comes through frame for frame. Times are exact fractions. A frame without a time stamp is placed one
frame duration after the one before it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from fractions import Fraction

import av
import numpy as np

from fctfg.media.container import (
    LONGEST_STANDSTILL,
    MediaError,
    as_rate,
    decode,
    frame_duration,
    open_media,
    probe,
    round_half_up,
    video_stream,
)
from fctfg.media.pixels import Box, Converter, Resizer

_AT_MOST_UNASKED = 2048  # frames reserved on the header's word alone
_NO_FRAME = "has a video track but no frame in it", "copy or download it again"
_THREADED_FROM = 640 * 480  # below this, decoder threads cost more than they give


def _timed(
    frames: Iterable[av.VideoFrame], stream: av.VideoStream
) -> Iterator[tuple[Fraction, Fraction, av.VideoFrame]]:
    """(time from the first frame, duration, frame)."""
    origin = upcoming = None
    for frame in frames:
        time = frame.pts * frame.time_base if frame.pts is not None else upcoming or Fraction(0)
        origin = time if origin is None else origin
        duration = frame_duration(frame, stream)
        upcoming = time + duration
        yield time - origin, duration, frame


def at_constant_rate(timed: Iterable[tuple[Fraction, Fraction, object]], fps: Fraction) -> Iterator[tuple[object, int]]:
    """The module's rule: for (time, duration, frame) in order, (frame, for how many output frames it is shown)."""
    shown, given, end = None, 0, Fraction(0)
    for time, duration, frame in timed:
        first = round_half_up(time * fps)
        if shown is not None and first > given:
            yield shown, first - given
            given = first
        shown, end = frame, time + duration
    total = max(1, round_half_up(end * fps))
    if shown is not None and total > given:
        yield shown, total - given


def iter_video(
    path: str | os.PathLike,
    *,
    fps: float | Fraction = 25,
    size: tuple[int, int] | None = None,
    box: Box | None = None,
    start: int = 0,
    stop: int | None = None,
    chunk: int = 64,
) -> Iterator[np.ndarray]:
    """Frames ``start`` to ``stop`` (exclusive; None: to the end) of a video at a constant ``fps``, in chunks.

    Yields (t, H, W, 3) uint8 RGB arrays, t = ``chunk`` except for the last, each its own memory; no more than one chunk
    and the decoder's frames are held. ``start`` and ``stop`` are numbers of output frames; frames before ``start`` are
    decoded but not converted. ``box`` (left, top, right, bottom; source pixels) is cut out first, then resized to
    ``size`` = (width, height). A rotation tag (phone videos) is applied before the box; mirror tags and the pixels'
    aspect ratio are not. Colour and resize: see ``fctfg.media.pixels``.

    Raises MediaError, when the first chunk is asked for or later: no such file, not a video, no video track, a damaged
    frame, one frame shown for over a minute, a box outside the picture, a file that ends before its header says it does
    (only when read to the end), fewer than ``start`` + 1 frames.
    """
    rate = as_rate(fps)
    if start < 0 or chunk < 1 or (stop is not None and stop <= start):
        raise ValueError(f"needs 0 <= start < stop and chunk >= 1, not start={start} stop={stop} chunk={chunk}")
    return _chunks(path, rate, size, box, start, stop, chunk)


def _chunks(path, rate, size, box, start, stop, chunk) -> Iterator[np.ndarray]:
    buffer, filled, position = None, 0, 0
    with open_media(path) as container:
        for picture, repeats in _pictures(container, path, rate, size, box, start):
            first, last = max(position, start), position + repeats if stop is None else min(position + repeats, stop)
            position += repeats
            for _ in range(first, last):
                if buffer is None:
                    buffer = np.empty((chunk, *picture.shape), np.uint8)
                elif buffer.shape[1:] != picture.shape:
                    wrong = (
                        f"the picture changes from {_wxh(buffer[0])} to {_wxh(picture)} at frame {position - repeats}"
                    )
                    raise MediaError(path, wrong, "give a size to bring them together, or split the file")
                buffer[filled] = picture
                filled += 1
                if filled == chunk:
                    yield buffer
                    buffer, filled = None, 0
            if stop is not None and position >= stop:
                break
    if filled:
        yield buffer[:filled]
    if position == 0:
        raise MediaError(path, *_NO_FRAME)
    if position <= start:
        raise MediaError(path, f"has {position} frames at {float(rate):g} fps, none from {start} on", "ask for less")


def _pictures(container, path, rate, size, box, start) -> Iterator[tuple[np.ndarray | None, int]]:
    """(converted picture, for how many output frames it is shown); None for those before ``start`` (None: for all)."""
    stream = video_stream(container)
    if stream is None:
        raise MediaError(path, "has no video track", "name a file with video")
    if stream.width * stream.height >= _THREADED_FROM:
        stream.thread_type, stream.codec_context.thread_count = "AUTO", min(4, os.cpu_count() or 1)
    else:
        stream.thread_type = "NONE"
    if start is None:
        stream.codec_context.options = {"skip_loop_filter": "all"}
    convert, fit = Converter(), Resizer(size) if size is not None else None
    position = 0
    for frame, repeats in at_constant_rate(_timed(decode(container, stream, path), stream), rate):
        if frame.is_corrupt:
            raise MediaError(path, f"frame {position} is damaged", "copy or download it again")
        if repeats > LONGEST_STANDSTILL * rate:
            wrong = f"frame {position} is shown for {float(repeats / rate):.0f} s"
            raise MediaError(path, wrong, "check its time stamps, or convert it first")
        position += repeats
        if start is None or position <= start:
            yield None, repeats
            continue
        picture = convert(frame)
        if box is not None:
            picture = _crop(picture, box, path)
        yield picture if fit is None else fit(picture), repeats


def count_frames(path: str | os.PathLike, *, fps: float | Fraction = 25) -> int:
    """How many frames ``iter_video`` gives at ``fps``: every frame is decoded and none is converted to RGB.

    The header and the packets' time stamps are not enough: they count frames that turn out to be damaged, that an edit
    list leaves out, or that the decoder drops before the first key frame. What a picture looks like does not matter
    here, so H.264's deblocking is left out. Raises the MediaErrors of ``iter_video``, except that pictures of changing
    sizes are counted (as they are given when a size is asked for).
    """
    rate = as_rate(fps)
    with open_media(path) as container:
        total = sum(repeats for _, repeats in _pictures(container, path, rate, None, None, None))
    if total == 0:
        raise MediaError(path, *_NO_FRAME)
    return total


def _crop(picture: np.ndarray, box: Box, path) -> np.ndarray:
    left, top, right, bottom = box
    height, width = picture.shape[:2]
    if not (0 <= left < right <= width and 0 <= top < bottom <= height):
        raise MediaError(path, f"box {tuple(box)} does not lie in the {width}x{height} picture", "give one that does")
    return picture[top:bottom, left:right]


def _wxh(picture: np.ndarray) -> str:
    return f"{picture.shape[1]}x{picture.shape[0]}"


def read_video(
    path: str | os.PathLike,
    *,
    fps: float | Fraction = 25,
    size: tuple[int, int] | None = None,
    box: Box | None = None,
    start: int = 0,
    stop: int | None = None,
    chunk: int = 64,
) -> np.ndarray:
    """All of ``iter_video`` in one (T, H, W, 3) uint8 RGB array; the same arguments, rules and errors."""
    expected = round(probe(path).duration * float(as_rate(fps))) + 1
    expected = min(max(chunk, (expected if stop is None else min(stop, expected)) - start), _AT_MOST_UNASKED)
    frames, filled = None, 0
    for part in iter_video(path, fps=fps, size=size, box=box, start=start, stop=stop, chunk=chunk):
        if frames is None:
            # Sized from the header, so that a clip is held once and not twice; grown if the header was wrong.
            frames = np.empty((max(expected, len(part)), *part.shape[1:]), np.uint8)
        if filled + len(part) > len(frames):
            frames = np.concatenate([frames[:filled], np.empty((max(filled, len(part)), *part.shape[1:]), np.uint8)])
        frames[filled : filled + len(part)] = part
        filled += len(part)
    return frames[:filled]
