"""PC-AVS's spectrogram, number for number but without the package ``lws``, and the window of it that a frame hears.

Source: Hangz-nju-cuhk/Talking-Face_PC-AVS ``config/AudioConfig.py``, ``data/voxtest_dataset.py``. What ``lws`` (1.2.8)
does there is a short-time Fourier transform: its default window is half a sine arch, sampled at half samples, and the
sound is padded so that the first column holds 160 samples of sound and 1120 zeros. Column c is so centred on sample
160 (c - 3), and T frames of sound (640 T samples) make 4 T + 7 columns.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

SAMPLE_RATE = 16000
WINDOW, HOP = 1280, 160
BANDS, LOWEST, HIGHEST = 80, 125.0, 7600.0  # Hz
LOUDNESS, QUIETEST = 0.1, 1e-4  # root mean square that sound is scaled to, and the least that is taken for sound
MIN_LEVEL_DB, REFERENCE_DB = -100.0, 20.0
COLUMNS_PER_FRAME = SAMPLE_RATE // HOP // 25
#: a frame hears the sound of five frames, of which it is the middle one
FRAMES = 5
COLUMNS = FRAMES * COLUMNS_PER_FRAME
MARGIN = FRAMES // 2


def spectrogram(audio: np.ndarray) -> np.ndarray:
    """(N,) samples at 16 kHz -> (ceil(N / 160) + 7, 80) float32 in [0, 1]: loudness-normalised log-mel amplitudes.

    All of the sound is scaled to a root mean square of 0.1 first, so its loudness does not matter. 0 is -80 dB, 1 is
    +20 dB. ValueError for anything but one channel of finite samples.
    """
    audio = np.asarray(audio, np.float64)
    if audio.ndim != 1 or not audio.size or not np.isfinite(audio).all():
        raise ValueError(f"PC-AVS needs one channel of finite samples at 16 kHz, not {audio.shape} samples")
    audio = audio * (LOUDNESS / max(QUIETEST, math.sqrt(np.mean(audio**2))))
    before = WINDOW - HOP
    columns = before // HOP + math.ceil(len(audio) / HOP)
    padded = np.zeros(HOP * (columns - 1) + WINDOW)
    padded[before : before + len(audio)] = audio
    arch = 0.5 * np.sin(np.pi * (np.arange(WINDOW) + 0.5) / WINDOW)
    windows = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::HOP]
    amplitude = np.concatenate(
        [np.abs(np.fft.rfft(part * arch)) for part in np.array_split(windows, columns // 512 + 1)]
    )
    bands = amplitude @ filters().T
    decibel = 20 * np.log10(np.maximum(bands, 10 ** (MIN_LEVEL_DB / 20))) - REFERENCE_DB
    return np.clip(1 - decibel / MIN_LEVEL_DB, 0, 1).astype(np.float32)


def heard(audio: np.ndarray, n_frames: int) -> tuple[range, np.ndarray]:
    """The frames that ``audio`` (N,) drives, out of ``n_frames`` that begin with it; what each hears, (n, 1, 80, 20).

    They begin at frame 2 and, where sound and frames are equally long, leave out the last: the public inference stops
    two before the end of its own count of frames, which is one too many. ValueError: too short for a single frame.
    """
    rows = spectrogram(audio)
    frames = range(MARGIN, min(len(rows) // COLUMNS_PER_FRAME - MARGIN, n_frames))
    if not frames:
        raise ValueError(
            f"{n_frames} driving frames with {len(audio) / SAMPLE_RATE:.2f} s of sound are too short: PC-AVS hears "
            f"{FRAMES} frames at once and needs at least {MARGIN + 2}"
        )
    return frames, windows(rows, frames)


def windows(rows: np.ndarray, frames: range) -> np.ndarray:
    """(N, 80) spectrogram, frames out of `heard` -> (n, 1, 80, 20) float32: what each frame hears."""
    starts = [COLUMNS_PER_FRAME * (frame - MARGIN) for frame in frames]
    return np.stack([rows[start : start + COLUMNS].T for start in starts])[:, None]


@lru_cache(maxsize=1)
def filters() -> np.ndarray:
    """(80, 641) float64: triangles of unit area over Hz, spaced evenly on Slaney's mel scale (Auditory Toolbox, 1998),
    as ``librosa.filters.mel`` makes them.
    """
    mels = np.linspace(*(_to_mel(hertz) for hertz in (LOWEST, HIGHEST)), BANDS + 2)
    edges = np.where(mels < 15, mels * 200 / 3, 1000 * np.exp((mels - 15) * math.log(6.4) / 27))[:, None]
    bins = np.arange(WINDOW // 2 + 1) * (SAMPLE_RATE / WINDOW)
    rising = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    return np.maximum(np.minimum(rising, falling), 0) * 2 / (edges[2:] - edges[:-2])


def _to_mel(hertz: float) -> float:
    return hertz * 3 / 200 if hertz < 1000 else 15 + 27 * math.log(hertz / 1000) / math.log(6.4)
