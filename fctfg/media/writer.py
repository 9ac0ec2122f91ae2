"""Writing video and sound: whole files or none.

Colour. yuv420p and yuv444p files hold BT.601, limited range, and say so in their header; BT.601 is also what readers
assume of a file that says nothing. FFmpeg's default conversion back from yuv420p (the one PyAV, OpenCV and
``fctfg.media`` use) cuts fractions off instead of rounding, which darkens coloured pictures by one grey level (0.9 to
1.2 on real faces) and leaves pure greys alone; the luma written is therefore one code value up. Faces then read back
within 0.2 of their brightness and 0.5 to 1.4 dB nearer to what was written, pure greys one level brighter.

The same frames and sound give the same bytes: one encoder thread, x264's cpu-independent mode, no dates.
"""

from __future__ import annotations

import contextlib
import errno
import math
import os
import uuid
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter

from fctfg.media.container import MediaError, as_rate, open_media

_AAC_RATES = (7350, 8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 64000, 88200, 96000)
_FROM_RGB = int(Interpolation.AREA | Interpolation.ACCURATE_RND | Interpolation.BITEXACT)
_LUMA_LIFT = 1  # see the module's docstring
_SMPTE170M, _LIMITED = 6, 1  # BT.601's matrix and the 16..235 range, as H.264 numbers them
_BLOCK = 1024  # samples in an AAC frame


def write_video(
    path: str | os.PathLike,
    frames: np.ndarray | Iterable[np.ndarray],
    *,
    fps: float | Fraction = 25,
    audio: np.ndarray | None = None,
    sample_rate: int = 16000,
    crf: float = 15,
    lossless: bool = False,
) -> Path:
    """Write an mp4 that starts at time 0, its header first (plays while loading), and return its path.

    ``frames``: (T, H, W, 3) uint8 RGB, or an iterable of (H, W, 3) pictures or (t, H, W, 3) chunks, read once and never
    held. ``audio``: (N,) mono float in [-1, 1] (clipped) or int16, first sample at time 0; any length.

    H.264 by x264, preset veryfast, constant quality ``crf`` (lower is better, 0 to 51), 8-bit yuv420p; with an odd
    width or height yuv444p, which alone can hold one, so that the file reads back at the same size. Sound is AAC. With
    ``lossless`` the pictures read back exactly (x264 in RGB, qp 0) and the sound is 24-bit ALAC; few players show it.

    Missing folders are made. The file appears whole or not at all: it is written under a temporary name in the same
    folder and renamed, and removed if anything fails, ``frames`` raising included. Raises MediaError: not .mp4, no
    frame, frames of another type or of changing size, an AAC sample rate that does not exist, no room, no permission.
    """
    path, rate = Path(path), as_rate(fps)
    if path.suffix.lower() != ".mp4":
        raise MediaError(path, f"video is written as .mp4, not {path.suffix or 'without a suffix'}", "rename it")
    # Track lengths in the header count in this unit: a common one of both tracks makes them exact.
    unit = math.lcm(rate.numerator, sample_rate)
    flags = {"movflags": "+faststart"} | ({"movie_timescale": str(unit)} if unit < 1 << 31 else {})
    with _whole_file(path) as temporary:
        with _output(path, temporary, "mp4", flags) as container:
            sound = None
            pictures = _checked(path, frames)
            first = next(pictures, None)
            if first is None:
                raise MediaError(path, "there are no frames to write", "give at least one")
            encoder = _PictureEncoder(path, container, first.shape, rate, crf, lossless)
            if audio is not None:
                sound = _Sound(path, container, audio, sample_rate, "alac" if lossless else "aac")
            count = 0
            for picture in _again(first, pictures):
                encoder.add(picture, count)
                count += 1
                if sound is not None:
                    sound.add_until(Fraction(count) / rate)
            encoder.finish()
            if sound is not None:
                sound.finish()
        _verify(path, temporary, count)
    return path


def write_audio(path: str | os.PathLike, samples: np.ndarray, sample_rate: int = 16000) -> Path:
    """Write mono sound to ``path``: ``.wav`` (16-bit PCM) or ``.m4a`` (AAC), whole or not at all, and return the path.

    ``samples``: (N,) float in [-1, 1] (clipped; rounded to 1/32768 in a wav) or int16. Raises MediaError: another
    suffix, no samples, an AAC sample rate that does not exist, no room, no permission.
    """
    path = Path(path)
    kinds = {".wav": ("wav", "pcm_s16le"), ".m4a": ("ipod", "aac")}
    if path.suffix.lower() not in kinds:
        raise MediaError(path, "sound is written as .wav or .m4a", "rename it")
    format_name, codec = kinds[path.suffix.lower()]
    flags = {} if codec != "aac" else {"movflags": "+faststart", "movie_timescale": str(sample_rate)}
    if not np.size(samples):
        raise MediaError(path, "there are no samples to write", "give at least one")
    with _whole_file(path) as temporary:
        with _output(path, temporary, format_name, flags) as container:
            _Sound(path, container, samples, sample_rate, codec).finish()
        _verify(path, temporary, None)
    return path


class _PictureEncoder:
    def __init__(self, path: Path, container, shape: tuple[int, ...], rate: Fraction, crf: float, lossless: bool):
        self._path, self._container, self._reformatter = path, container, VideoReformatter()
        height, width = shape[:2]
        options = {"preset": "veryfast", "x264-params": "cpu-independent=1"}
        options |= {"qp": "0"} if lossless else {"crf": str(crf)}
        with _translated(path):
            stream = container.add_stream("libx264rgb" if lossless else "libx264", rate=rate, options=options)
            stream.width, stream.height = width, height
            if lossless:
                stream.pix_fmt = "rgb24"
            else:
                stream.pix_fmt = "yuv444p" if width % 2 or height % 2 else "yuv420p"
                stream.codec_context.colorspace, stream.codec_context.color_range = _SMPTE170M, _LIMITED
            stream.codec_context.time_base = 1 / rate
            stream.codec_context.thread_count = 1
        self._stream = stream

    def add(self, picture: np.ndarray, number: int) -> None:
        with _translated(self._path):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            if self._stream.pix_fmt != "rgb24":
                frame = self._to_yuv(frame)
            frame.pts, frame.time_base = number, self._stream.codec_context.time_base
            self._container.mux(self._stream.encode(frame))

    def _to_yuv(self, frame: av.VideoFrame) -> av.VideoFrame:
        yuv = self._reformatter.reformat(
            frame,
            format=self._stream.pix_fmt,
            dst_colorspace=Colorspace.ITU601,
            dst_color_range=ColorRange.MPEG,
            interpolation=_FROM_RGB,
            threads=1,
        )
        if self._stream.pix_fmt == "yuv420p":
            luma = np.frombuffer(yuv.planes[0], np.uint8)  # at most 235 and 255 in the padding: no overflow that counts
            luma += _LUMA_LIFT
        return yuv

    def finish(self) -> None:
        with _translated(self._path):
            self._container.mux(self._stream.encode(None))


class _Sound:
    """Encodes one array of samples a little at a time, so that sound and pictures lie side by side in the file."""

    def __init__(self, path: Path, container, samples: np.ndarray, sample_rate: int, codec: str):
        samples = np.asarray(samples)
        if samples.ndim != 1 or not (samples.dtype.kind == "f" or samples.dtype == np.int16):
            wrong = f"sound must be (N,) float or int16, not {samples.shape} {samples.dtype}"
            raise MediaError(path, wrong, "give mono samples")
        if samples.dtype.kind == "f" and not np.isfinite(samples).all():
            raise MediaError(path, "the sound holds NaN or infinite samples", "give finite ones")
        if codec == "aac" and sample_rate not in _AAC_RATES:
            raise MediaError(path, f"AAC has no sample rate {sample_rate} Hz", f"use one of {_AAC_RATES}")
        self._path, self._container, self._samples, self._done = path, container, samples, 0
        with _translated(path):
            stream = container.add_stream(codec, rate=sample_rate, layout="mono")
            if codec == "aac":
                stream.codec_context.bit_rate = min(6 * sample_rate, 192_000)  # 6 bits a sample is AAC's upper limit
            elif codec == "alac":
                stream.codec_context.format = "s32p"
            stream.codec_context.time_base = Fraction(1, sample_rate)
            stream.codec_context.thread_count = 1
        self._stream, self._codec = stream, codec

    def add_until(self, seconds: Fraction) -> None:
        """Encode whole blocks up to ``seconds``."""
        while self._done + _BLOCK <= min(len(self._samples), seconds * self._stream.rate):
            self._add()

    def finish(self) -> None:
        while self._done < len(self._samples):
            self._add()
        with _translated(self._path):
            self._container.mux(self._stream.encode(None))

    def _add(self) -> None:
        block = self._samples[self._done : self._done + _BLOCK]
        if block.dtype == np.int16:
            block = block / 32768.0
        block = np.clip(block.astype(np.float64), -1.0, 1.0)[None]
        if self._codec == "pcm_s16le":
            data, kind = np.clip(np.round(block * 2**15), -(2**15), 2**15 - 1).astype(np.int16), "s16"
        elif self._codec == "alac":
            data, kind = np.clip(np.round(block * 2**23), -(2**23), 2**23 - 1).astype(np.int32) << 8, "s32p"
        else:
            data, kind = block.astype(np.float32), "fltp"
        with _translated(self._path):
            frame = av.AudioFrame.from_ndarray(data, format=kind, layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = (
                self._stream.rate,
                self._done,
                Fraction(1, self._stream.rate),
            )
            self._container.mux(self._stream.encode(frame))
        self._done += block.shape[1]


def _checked(path: Path, frames: np.ndarray | Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Single (H, W, 3) uint8 pictures, all of one size."""
    shape = None
    for item in [frames] if getattr(frames, "ndim", 4) == 3 else frames:
        item = np.asarray(item)
        if item.dtype != np.uint8 or item.ndim not in (3, 4) or item.shape[-1] != 3 or 0 in item.shape[-3:-1]:
            wrong = f"frames must be (H, W, 3) or (t, H, W, 3) uint8, not {item.shape} {item.dtype}"
            raise MediaError(path, wrong, "convert them to 8-bit RGB")
        for picture in item[None] if item.ndim == 3 else item:
            shape = shape or picture.shape
            if picture.shape != shape:
                wrong = f"the frames change from {shape[1]}x{shape[0]} to {picture.shape[1]}x{picture.shape[0]}"
                raise MediaError(path, wrong, "resize them to one size")
            yield picture


def _again(first: np.ndarray, rest: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    yield first
    yield from rest


@contextlib.contextmanager
def _output(path: Path, temporary: Path, format_name: str, flags: dict[str, str]) -> Iterator:
    with _translated(path):
        container = av.open(os.fspath(temporary), "w", format=format_name, options={"fflags": "+bitexact"} | flags)
    try:
        yield container
    except BaseException:
        # Closing writes the header of a file that is about to be removed: its own complaint would hide the cause.
        with contextlib.suppress(av.FFmpegError, OSError):
            container.close()
        raise
    with _translated(path):
        container.close()


def _verify(path: Path, temporary: Path, n_frames: int | None) -> None:
    """Not every failed write is reported by FFmpeg when the disk fills up, so the header is read back."""
    try:
        with open_media(temporary) as container:
            whole = n_frames is None or container.streams.video[0].frames == n_frames
    except MediaError:
        whole = False
    if not whole:
        raise MediaError(path, "the written file is not whole", "check that its disk has room left")


@contextlib.contextmanager
def _whole_file(path: Path) -> Iterator[Path]:
    """A temporary name in ``path``'s folder: renamed to ``path`` when the block ends well, removed otherwise."""
    with _translated(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    # Short, whatever the final name's length, and hidden, so that no listing of a folder takes it for a clip.
    temporary = path.parent.absolute() / f".{uuid.uuid4().hex}.part"
    try:
        yield temporary
        with _translated(path):
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


_REMEDIES = {
    errno.ENOSPC: "free some room or write elsewhere",
    errno.EDQUOT: "free some room or write elsewhere",
    errno.EFBIG: "raise the limit on file sizes or write elsewhere",
    errno.EACCES: "choose a folder you may write to",
    errno.EPERM: "choose a folder you may write to",
    errno.EROFS: "choose a folder you may write to",
    errno.EISDIR: "name a file, not a folder",
    errno.ENOTDIR: "a part of the path is a file, not a folder; choose another",
    errno.EEXIST: "a part of the path is a file, not a folder; choose another",
}


@contextlib.contextmanager
def _translated(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, av.FFmpegError) as error:
        remedy = _REMEDIES.get(error.errno, "check the folder, its disk and the settings")
        raise MediaError(path, f"cannot be written ({error.strerror})", remedy) from error
