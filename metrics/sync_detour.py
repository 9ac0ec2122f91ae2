"""How much the published LSE scripts' four encodings move the number: a measurement, not a metric.

    python -m metrics.sync_detour clip.mp4 [--detector s3fd|yunet|dlib] [--device cpu]

The scripts write a clip as MPEG-4 (quality 2) and as JPEG (quality 2) before they look for faces, and each track as
XVID (OpenCV's bit rate: 2 bits a pixel) and as JPEG at FFmpeg's default of 200 kbit/s before SyncNet sees it. This
module puts frames through the same encoders and scores the clip's longest track both ways, the clip held in memory.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from metrics.face_tracks import FaceTracker
from metrics.mfcc import to_int16
from metrics.sync import FPS, SAMPLES_PER_FRAME, face_detector, network, stretch
from metrics.sync_lips import LipTrack
from metrics.sync_score import SyncScore, lse
from metrics.syncnet import LipEmbedder, SyncNet


@dataclass(frozen=True)
class Encoding:
    """One encoder of FFmpeg's and how it is told to trade quality for size."""

    codec: str
    quality: int | None = None  # the quantiser, 2 (best) to 31
    bits_per_pixel: float | None = None  # of a frame; with neither, the encoder's default of 200 kbit/s


#: Before faces are looked for, and after they are cut out.
WHOLE = (Encoding("mpeg4", quality=2), Encoding("mjpeg", quality=2))
CROPPED = (Encoding("mpeg4", bits_per_pixel=2.0), Encoding("mjpeg"))
_LAMBDA = 118  # FFmpeg's scale of global_quality


def reencode(frames: Iterable[np.ndarray], encoding: Encoding) -> Iterator[np.ndarray]:
    """Frames (H, W, 3) uint8 RGB, sides even -> the same number of them, once encoded and decoded."""
    import av

    coder = decoder = None
    pixel_format = "yuvj420p" if encoding.codec == "mjpeg" else "yuv420p"
    for frame in frames:
        if coder is None:
            coder = av.CodecContext.create(encoding.codec, "w")
            coder.height, coder.width = frame.shape[:2]
            coder.pix_fmt, coder.time_base, coder.framerate = pixel_format, Fraction(1, FPS), Fraction(FPS)
            coder.options = _options(encoding, frame.shape[0] * frame.shape[1])
            decoder = av.CodecContext.create(encoding.codec, "r")
        picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24").reformat(format=pixel_format)
        yield from _decoded(decoder, coder.encode(picture))
    if coder is not None:
        yield from _decoded(decoder, coder.encode(None))
        yield from _decoded(decoder, [None])


def _options(encoding: Encoding, n_pixels: int) -> dict[str, str]:
    if encoding.quality is not None:
        return {"flags": "+qscale", "global_quality": str(encoding.quality * _LAMBDA)}
    if encoding.bits_per_pixel is not None:
        return {"b": str(int(encoding.bits_per_pixel * n_pixels * FPS))}
    return {}


def _decoded(decoder: Any, packets: Iterable[Any]) -> Iterator[np.ndarray]:
    for packet in packets:
        for frame in decoder.decode(packet):
            yield frame.to_ndarray(format="rgb24")


def through(frames: Iterable[np.ndarray], encodings: Iterable[Encoding]) -> Iterator[np.ndarray]:
    """Frames through one encoder after another."""
    stream = iter(frames)
    for encoding in encodings:
        stream = reencode(stream, encoding)
    return stream


class _Crops:
    """A sink that keeps a track's crops: they are encoded when the track is complete."""

    def __init__(self) -> None:
        self.crops: list[np.ndarray] = []

    def push(self, crops: np.ndarray) -> None:
        self.crops.extend(crops)


def score(net: SyncNet, detector: Any, frames: np.ndarray, samples: np.ndarray, detour: bool) -> SyncScore:
    """The ``official`` score of the clip's longest track: frames (T, H, W, 3) uint8 RGB, 16-bit samples.

    Raises:
        ValueError: when the clip has no track, with the reason.
    """
    if detour:
        frames = np.stack(list(through(frames, WHOLE)))
    tracker = FaceTracker(_Crops)
    for first in range(0, len(frames), 64):
        piece = frames[first : first + 64]
        tracker.push(piece, detector(piece))
    found = tracker.finish()
    if not found:
        raise ValueError(tracker.reason())
    track, sink = max(found, key=lambda pair: pair[0].n_frames)
    embedder = LipEmbedder(net)
    embedder.push(np.stack(list(through(sink.crops, CROPPED if detour else ()))))
    sound = samples[track.first_frame * SAMPLES_PER_FRAME :][: track.n_frames * SAMPLES_PER_FRAME]
    made = stretch(net, LipTrack(track.first_frame, track.n_frames, embedder.finish().numpy()), sound)
    return lse(made.lips, made.speech)


def main(argv: list[str] | None = None) -> int:
    """Print the score of each clip read directly and after the scripts' encodings."""
    parser = argparse.ArgumentParser(prog="python -m metrics.sync_detour", description=__doc__.splitlines()[0])
    parser.add_argument("clips", nargs="+", help="video files with sound")
    parser.add_argument("--detector", choices=("s3fd", "yunet", "dlib"), default="s3fd")
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args(argv)
    from fctfg.media import read_audio, read_video

    try:
        net, detector = network(options.device), face_detector(options.detector, options.device)
        print(f"{'clip':40} {'reading':8} {'LSE-C':>8} {'LSE-D':>8} {'offset':>6} {'windows':>7}")
        for clip in options.clips:
            frames, samples = read_video(clip, fps=FPS), to_int16(read_audio(clip))
            for name, detour in (("direct", False), ("encoded", True)):
                s = score(net, detector, frames, samples, detour)
                print(f"{clip[-40:]:40} {name:8} {s.lse_c:8.3f} {s.lse_d:8.3f} {s.offset:6d} {s.n_windows:7d}")
    except ValueError as error:
        parser.exit(1, f"{parser.prog}: {error}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
