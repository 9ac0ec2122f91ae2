"""Reading sound as mono float32 on the clip's clock.

Clock. Time 0 is the presentation time of the first video frame; for a file without video it is 0 of the container's
edited timeline (MP4, M4A, MOV, MKV, WAV) or its first time stamp (the rest). Every decoded block is placed by its time
stamp: sound before 0 is cut, a later start or a gap is filled with zeros, an overlap is cut. Encoder priming that the
file declares (edit lists, CodecDelay) has been removed by FFmpeg by then; raw ADTS .aac files declare none. A
difference of up to two ticks of the track's time base, at least 1 ms, is rounding and is left alone.

The first audio track is read; mono is the mean of its channels. Another sample rate is made by FFmpeg's swresample (its
default windowed sinc, no phase shift) in one continuous pass over the placed samples, flushed at the end; at the stored
rate samples pass untouched.

Length. N sound samples at the stored rate r, counted from time 0, give round(N * sample_rate / r) samples. Nothing is
padded at the end: sound may be shorter or longer than the video. The AAC padding after the end that an MP4 header
declares is cut.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from fractions import Fraction

import av
import numpy as np

from fctfg.media.container import (
    LONGEST_STANDSTILL,
    MOV,
    MediaError,
    audio_stream,
    decode,
    first_video_frame,
    open_media,
    round_half_up,
)

_BLOCK = 1 << 16  # samples given to the resampler, and zeros made, at once


def read_audio(
    path: str | os.PathLike, *, sample_rate: int = 16000, start: float = 0.0, stop: float | None = None
) -> np.ndarray:
    """Mono sound of ``path`` from ``start`` to ``stop`` seconds on the clip's clock (None: to the end).

    Returns (N,) float32 in [-1, 1] at ``sample_rate``: samples round(start * sample_rate) to round(stop * sample_rate),
    or up to where the sound ends. Clock, channels, resampling and length: see the module. Raises MediaError: no such
    file, no audio track, a damaged or shortened file, over a minute without any samples.
    """
    blocks = list(iter_audio(path, sample_rate=sample_rate, start=start, stop=stop))
    return np.concatenate(blocks) if blocks else np.zeros(0, np.float32)


def iter_audio(
    path: str | os.PathLike,
    *,
    sample_rate: int = 16000,
    start: float = 0.0,
    stop: float | None = None,
    chunk: int = 16000,
) -> Iterator[np.ndarray]:
    """``read_audio`` in blocks of ``chunk`` samples (the last may be shorter), holding about one block at a time."""
    first = round_half_up(Fraction(start) * sample_rate)
    last = None if stop is None else round_half_up(Fraction(stop) * sample_rate)
    if first < 0 or chunk < 1 or sample_rate < 1 or (last is not None and last < first):
        raise ValueError(
            f"needs 0 <= start <= stop, chunk and sample_rate >= 1, not {start}, {stop}, {chunk}, {sample_rate}"
        )
    return _rechunked(_span(_resampled(path, sample_rate), first, last), chunk)


def _span(blocks: Iterator[np.ndarray], first: int, last: int | None) -> Iterator[np.ndarray]:
    """Samples ``first`` to ``last`` of a stream of blocks; stops reading at ``last``."""
    position = 0
    for block in blocks:
        end = len(block) if last is None else last - position
        yield block[max(0, first - position) : max(0, end)]
        position += len(block)
        if last is not None and position >= last:
            return


def _rechunked(blocks: Iterator[np.ndarray], chunk: int) -> Iterator[np.ndarray]:
    held: list[np.ndarray] = []
    waiting = 0
    for block in blocks:
        held.append(block)
        waiting += len(block)
        if waiting >= chunk:
            joined = np.concatenate(held)
            whole = len(joined) - len(joined) % chunk
            yield from np.split(joined[:whole], range(chunk, whole, chunk))
            held, waiting = [joined[whole:]], len(joined) - whole
    if waiting:
        yield np.concatenate(held)


def _resampled(path, sample_rate: int) -> Iterator[np.ndarray]:
    """Blocks of mono float32 at ``sample_rate`` from time 0 on, clipped to [-1, 1]."""
    first_video = first_video_frame(path)
    with open_media(path) as container:
        stream = audio_stream(container)
        if stream is None:
            raise MediaError(path, "has no audio track", "name a file with sound")
        rate = stream.rate
        placed = _placed(container, stream, path, _clock_zero(container, first_video))
        for block in placed if rate == sample_rate else _at_rate(placed, rate, sample_rate):
            yield np.clip(block, -1.0, 1.0)


def _clock_zero(container, first_video: tuple[av.VideoFrame, Fraction] | None) -> Fraction:
    if first_video is not None:
        return first_video[1]
    if container.format.name in (MOV, "matroska,webm", "wav"):
        return Fraction(0)
    return Fraction(container.start_time or 0, av.time_base)


def _placed(container, stream, path, zero: Fraction) -> Iterator[np.ndarray]:
    """Blocks of mono float32 at the stored rate, without hole or overlap, the first sample at time ``zero``."""
    rate, position, heard = stream.rate, 0, False
    slack = max(2 * stream.time_base, Fraction(1, 1000)) * rate
    # In an MP4 with a sample table the header knows where the sound ends; what follows in the last block is padding.
    end = None
    if container.format.name == MOV and stream.frames and stream.duration:
        end = round_half_up(((stream.start_time or 0) + stream.duration) * stream.time_base * rate - zero * rate)
    surplus = None
    for frame in decode(container, stream, path):
        if frame.sample_rate != rate:
            raise MediaError(path, f"the sample rate changes from {rate} to {frame.sample_rate}", "convert it first")
        if surplus is not None:
            # More sound follows, so the header was wrong about the end.
            yield surplus
            position, end, surplus = position + len(surplus), None, None
        block = _mono(frame)
        drift = 0
        if frame.pts is not None:
            drift = round_half_up((frame.pts * frame.time_base - zero) * rate) - position
        if drift > LONGEST_STANDSTILL * rate:
            wrong = f"has {drift / rate:.0f} s without sound at {position / rate:.0f} s"
            raise MediaError(path, wrong, "check its time stamps, or convert it first")
        if abs(drift) > (slack if heard else 0):
            for done in range(0, drift, _BLOCK):
                yield np.zeros(min(_BLOCK, drift - done), np.float32)
            position += max(0, drift)
            block = block[max(0, -drift) :]
        if end is not None and position + len(block) > end:
            keep = max(0, end - position)
            block, surplus = block[:keep], block[keep:]
        heard = heard or len(block) > 0
        position += len(block)
        yield block
    if not heard:
        raise MediaError(path, "has an audio track but no sound in it", "copy or download it again")


def _mono(frame: av.AudioFrame) -> np.ndarray:
    """(n,) float32: the mean of a decoded block's channels, full scale 1."""
    samples = frame.to_ndarray()
    if not frame.format.is_planar:
        samples = samples.reshape(-1, frame.layout.nb_channels).T
    if samples.dtype == np.uint8:
        samples = (samples.astype(np.float32) - 128) / 128
    elif samples.dtype.kind == "i":
        samples = samples / np.float64(1 << (8 * samples.dtype.itemsize - 1))
    return (
        samples[0].astype(np.float32)
        if len(samples) == 1
        else samples.mean(axis=0, dtype=np.float64).astype(np.float32)
    )


def _at_rate(blocks: Iterator[np.ndarray], rate: int, sample_rate: int) -> Iterator[np.ndarray]:
    """Swresample over a continuous stream, flushed; exactly round(N * sample_rate / rate) samples for N."""
    resampler = av.AudioResampler(format="fltp", layout="mono", rate=sample_rate)
    taken = given = 0
    for block in blocks:
        if not len(block):
            continue
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(block[None]), format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = rate, taken, Fraction(1, rate)
        taken += len(block)
        for out in resampler.resample(frame):
            given += out.samples
            yield out.to_ndarray()[0]
    total = round_half_up(Fraction(taken * sample_rate, rate))
    for out in resampler.resample(None) if taken else ():
        tail = out.to_ndarray()[0][: max(0, total - given)]
        given += len(tail)
        yield tail
    if given < total:
        yield np.zeros(total - given, np.float32)
