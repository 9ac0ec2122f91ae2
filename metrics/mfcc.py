"""Mel-frequency cepstral coefficients, as SyncNet was trained on them.

The definition is that of the ``python_speech_features`` package with every default (James Lyons; its ``base.py`` and
``sigproc.py``): 25 ms windows every 10 ms with no taper, pre-emphasis 0.97, a 512-point power spectrum divided by 512,
26 triangular mel filters from 0 to 8000 Hz whose corners fall on whole FFT bins, natural logarithm, orthonormal DCT-II,
13 coefficients, lifter 22, and the logarithm of the frame's energy in place of coefficient 0.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import scipy.fft

SAMPLE_RATE = 16_000
WINDOW = 400  # samples, 25 ms
STEP = 160  # samples, 10 ms: four columns for each video frame at 25 fps
N_FFT = 512
N_FILTERS = 26
N_COEFFICIENTS = 13
PRE_EMPHASIS = 0.97
LIFTER = 22

_PIECE = 1 << 20  # samples converted at once
_CHUNK = 4096  # frames transformed at once: about 50 MB of workspace


def to_int16(samples: np.ndarray) -> np.ndarray:
    """Float samples in [-1, 1] -> the 16-bit samples of a wav file (rounded, clipped); integers pass through."""
    if np.issubdtype(samples.dtype, np.integer):
        return samples.astype(np.int16, copy=False)
    out = np.empty(samples.shape, np.int16)
    for first in range(0, len(samples), _PIECE):
        piece = samples[first : first + _PIECE].astype(np.float64) * 32768.0
        out[first : first + _PIECE] = np.clip(np.rint(piece), -32768, 32767)
    return out


def mfcc(samples: np.ndarray) -> np.ndarray:
    """Mono 16 kHz samples (N,), in 16-bit units and not in [-1, 1] -> coefficients (n_frames, 13), float64.

    ``n_frames`` is 1 + ceil((N - 400) / 160), the tail padded with zeros, and 1 for a signal shorter than a window.

    Raises:
        ValueError: when ``samples`` is not a vector or is empty.
    """
    if samples.ndim != 1 or not len(samples):
        raise ValueError(f"mfcc wants mono samples of shape (N,), N > 0, and got shape {samples.shape}")
    n_frames = 1 if len(samples) <= WINDOW else 1 + -(-(len(samples) - WINDOW) // STEP)
    out = np.empty((n_frames, N_COEFFICIENTS))
    for first in range(0, n_frames, _CHUNK):
        last = min(first + _CHUNK, n_frames)
        out[first:last] = _transform(_frames(samples, first, last))
    return out


def _frames(samples: np.ndarray, first: int, last: int) -> np.ndarray:
    """Pre-emphasised, zero-padded windows first..last-1, shape (last - first, 400)."""
    start, stop = first * STEP, (last - 1) * STEP + WINDOW
    signal = np.zeros(stop - start)
    piece = samples[start : min(stop, len(samples))].astype(np.float64)
    before = float(samples[start - 1]) if start else 0.0
    signal[: len(piece)] = piece - PRE_EMPHASIS * np.concatenate(([before], piece[:-1]))
    return np.lib.stride_tricks.sliding_window_view(signal, WINDOW)[::STEP]


def _transform(frames: np.ndarray) -> np.ndarray:
    """Windows (n, 400) -> coefficients (n, 13)."""
    spectrum = scipy.fft.rfft(frames, N_FFT)
    power = (spectrum.real**2 + spectrum.imag**2) / N_FFT
    # A silent frame has no energy: the smallest step of float64 keeps its logarithm finite.
    tiny = np.finfo(np.float64).eps
    energy = power.sum(axis=1)
    filtered = power @ filterbank().T
    logs = np.log(np.where(filtered == 0, tiny, filtered))
    coefficients = logs @ _cosines().T
    coefficients[:, 0] = np.log(np.where(energy == 0, tiny, energy))
    return coefficients


@cache
def filterbank() -> np.ndarray:
    """Triangular mel filters (26, 257) over the bins of a 512-point spectrum at 16 kHz."""

    def mel(hz: float) -> float:
        return 2595.0 * np.log10(1.0 + hz / 700.0)

    mels = np.linspace(mel(0.0), mel(SAMPLE_RATE / 2), N_FILTERS + 2)
    corners = np.floor((N_FFT + 1) * 700.0 * (10.0 ** (mels / 2595.0) - 1.0) / SAMPLE_RATE)[:, None]
    left, centre, right = corners[:-2], corners[1:-1], corners[2:]
    bins = np.arange(N_FFT // 2 + 1)[None, :]
    rising = (bins - left) / (centre - left)
    falling = (right - bins) / (right - centre)
    # The rising side owns left <= bin < centre, the falling side centre <= bin < right.
    return np.where((bins >= left) & (bins < centre), rising, 0.0) + np.where(
        (bins >= centre) & (bins < right), falling, 0.0
    )


@cache
def _cosines() -> np.ndarray:
    """The lifted orthonormal DCT-II, (13, 26): coefficients = log filter energies @ this, transposed."""
    dct = scipy.fft.dct(np.eye(N_FILTERS), type=2, norm="ortho", axis=0)[:N_COEFFICIENTS]
    lift = 1.0 + LIFTER / 2.0 * np.sin(np.pi * np.arange(N_COEFFICIENTS) / LIFTER)
    return dct * lift[:, None]
