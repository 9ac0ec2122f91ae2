"""Lip-sync metrics of a clip: LSE-C, LSE-D and the lag, in named variants.

A name is ``lse_<number>_<variant>``, and ``_<detector>`` behind it where the faces were not found by S3FD:

* ``c`` confidence (higher is better), ``d`` distance (lower), ``lag`` the size of the offset in frames (lower);
* ``official``: the published scripts for real videos (joonson/syncnet_python, run_pipeline.py and run_syncnet.py;
  Wav2Lip's calculate_scores_real_videos): faces are tracked and cut out, each track is scored against its own stretch
  of sound, and missing speech counts as zeros. The scripts print one line a track; a clip's value is the plain mean
  over its tracks.
* ``lrs``: Wav2Lip's calculate_scores_LRS: whole frames squashed to 224 x 224, no detector.
* ``valid``: the crop of ``official``, with each offset averaged over the windows that have speech there; no zeros,
  whose weight depends on the clip's length.

What is not reproduced: the scripts encode the video four times with losses on the way (MPEG-4, JPEG, XVID, JPEG); here
frames are read once, as they are. ``python -m metrics.sync_detour`` measures what that changes.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fctfg import weights
from metrics.interface import Context, MetricFailure, Result
from metrics.mfcc import SAMPLE_RATE, mfcc, to_int16
from metrics.sync_lips import LipTrack, LipTracks
from metrics.sync_score import VSHIFT, SyncScore, lse
from metrics.syncnet import WINDOW, SyncNet, embed_speech, load_syncnet

FPS = 25
SAMPLES_PER_FRAME = 640
_NAME = re.compile(r"lse_(?P<number>c|d|lag)_(?P<variant>official|valid|lrs)(_(?P<detector>yunet|dlib))?")


class TooShort(ValueError):
    """A stretch with too few frames or too little sound for one number; the message says how many."""


@dataclass(frozen=True)
class Stretch:
    """A track with its sound: ``lips`` and ``speech`` are the embeddings of the same n windows, (n, 1024)."""

    track: LipTrack
    lips: Tensor
    speech: Tensor


def parse(name: str) -> tuple[str, str, str | None]:
    """A metric's name -> number ("c", "d", "lag"), variant, detector (None for "lrs", which has none).

    Raises:
        ValueError: for any other name.
    """
    match = _NAME.fullmatch(name)
    if not match or (match["variant"] == "lrs" and match["detector"]):
        raise ValueError(f"unknown lip-sync metric '{name}'")
    return match["number"], match["variant"], None if match["variant"] == "lrs" else match["detector"] or "s3fd"


def stretch(net: SyncNet, track: LipTrack, samples: np.ndarray) -> Stretch:
    """Pair a track's lip embeddings with its sound, 16-bit samples from its first frame on.

    As in the scripts, of min(frames, floor(samples / 640)) usable frames the last five start no window. The pictures
    would allow one more, but a sound of just that length lacks the last of its twenty MFCC columns.

    Raises:
        TooShort: when no window is left.
    """
    n_windows = min(track.n_frames, len(samples) // SAMPLES_PER_FRAME) - WINDOW
    if n_windows < 1:
        seconds = len(samples) / SAMPLE_RATE
        raise TooShort(f"too short: {track.n_frames} frames and {seconds:.2f} s of sound; 6 frames are needed")
    speech = embed_speech(net, mfcc(samples), n_windows)
    return Stretch(track, torch.from_numpy(track.features[:n_windows]), speech)


def clip_score(stretches: Sequence[Stretch], padding: str) -> tuple[dict[str, float], dict[str, Any]]:
    """The numbers "c", "d" and "lag" of a clip, each the mean over its stretches, and what to know about each."""
    scores = [lse(s.lips, s.speech, VSHIFT, padding) for s in stretches]
    values = {
        "c": float(np.mean([s.lse_c for s in scores])),
        "d": float(np.mean([s.lse_d for s in scores])),
        "lag": float(np.mean([abs(s.offset) for s in scores])),
    }
    longest = max(scores, key=lambda s: s.n_windows)
    details = {
        "offset": longest.offset,
        "distance_at_zero": longest.distance_at_zero,
        "n_windows": sum(s.n_windows for s in scores),
        "tracks": [_track_details(s.track, score) for s, score in zip(stretches, scores, strict=True)],
    }
    return values, details


def _track_details(track: LipTrack, score: SyncScore) -> dict[str, Any]:
    curve = [round(distance, 4) for distance in score.curve]
    place = {"first_frame": track.first_frame, "n_frames": track.n_frames, "face_size": track.face_size}
    return place | asdict(replace(score, curve=())) | {"curve": curve}


class SyncScores:
    """The accumulator of the group "sync" for one clip.

    The sound is the generated clip's, its first sample at the first frame. ``result`` ends the clip and is called once.

    Raises:
        ValueError: for a name that is not a lip-sync metric.
        MetricFailure: for a clip that does not have 25 frames a second.
    """

    def __init__(self, names: Sequence[str], context: Context) -> None:
        self._parsed = {name: parse(name) for name in names}
        if context.generated.fps != FPS:
            raise MetricFailure(f"lip-sync needs {FPS} frames a second, and the clip has {context.generated.fps:g}")
        self._footage = context.generated
        self._net = network(context.device)
        self._lips = {
            name: LipTracks(self._net, None if name is None else face_detector(name, context.device), context)
            for name in dict.fromkeys(detector for _, _, detector in self._parsed.values())
        }

    def update(self, generated: np.ndarray, reference: np.ndarray | None = None) -> None:
        """The next frames (t, H, W, 3), uint8 RGB; the reference plays no part."""
        for lips in self._lips.values():
            lips.push(generated)

    def result(self) -> dict[str, Result]:
        """A ``Result`` for every name; a clip that cannot be scored is a failure with its reason."""
        sound = self._footage.waveform()
        if sound is None:
            return {name: Result(failure="the clip has no sound") for name in self._parsed}
        samples = to_int16(sound)
        stretches = {detector: self._stretches(lips, samples) for detector, lips in self._lips.items()}
        scored = {
            (variant, detector): _score(*stretches[detector], "valid" if variant == "valid" else "zero")
            for _, variant, detector in self._parsed.values()
        }
        results = {}
        for name, (number, variant, detector) in self._parsed.items():
            values, details, failure = scored[variant, detector]
            warnings = self._lips[detector].warnings + _warnings(details)
            results[name] = Result(values.get(number), details, failure, warnings)
        return results

    def _stretches(self, lips: LipTracks, samples: np.ndarray) -> tuple[list[Stretch], dict[str, Any], str | None]:
        """What can be scored, what is to be known about it, and, if nothing can, the reason."""
        tracks, reason = lips.finish()
        details = {"detector": lips.detector, "coverage": _coverage(tracks, lips.n_frames)}
        stretches, too_short = [], []
        for track in tracks:
            sound = samples[track.first_frame * SAMPLES_PER_FRAME :][: track.n_frames * SAMPLES_PER_FRAME]
            try:
                stretches.append(stretch(self._net, track, sound))
            except TooShort as error:
                too_short.append(str(error))
        if stretches and too_short:
            details["tracks_left_out"] = too_short
        return stretches, details, None if stretches else (reason or too_short[0])


def _score(
    stretches: list[Stretch], details: dict[str, Any], failure: str | None, padding: str
) -> tuple[dict[str, float], dict[str, Any], str | None]:
    if failure is not None:
        return {}, details, failure
    try:
        values, more = clip_score(stretches, padding)
    except ValueError as error:
        return {}, details, str(error)
    return values, details | more, None


def _warnings(details: dict[str, Any]) -> list[str]:
    edge = [t for t in details.get("tracks", []) if abs(t["offset"]) == VSHIFT]
    return [f"the best offset is {edge[0]['offset']} frames, the end of the range searched"] if edge else []


def _coverage(tracks: list[LipTrack], n_frames: int) -> float:
    """The fraction of the clip's frames that some track covers, 0..1."""
    covered = np.zeros(n_frames, dtype=bool)
    for track in tracks:
        covered[track.first_frame : track.first_frame + track.n_frames] = True
    return float(covered.mean()) if n_frames else 0.0


def network(device: str) -> SyncNet:
    """SyncNet with the official weights, loaded once for each device."""
    return _load_network(str(weights.require("syncnet")), device)


def face_detector(name: str, device: str) -> Any:
    """The named detector, made once: "s3fd", "yunet" or "dlib"."""
    if name != "s3fd":
        return _open_detector(name)
    return _load_s3fd(str(weights.require("s3fd")), device)


@lru_cache(maxsize=2)
def _load_network(path: str, device: str) -> SyncNet:
    return load_syncnet(path, device)


@lru_cache(maxsize=2)
def _load_s3fd(path: str, device: str) -> Any:
    from fctfg.face_s3fd import S3FD

    return S3FD(path, device)


@lru_cache(maxsize=2)
def _open_detector(name: str) -> Any:
    from fctfg.face_detection import choose

    return choose(name)
