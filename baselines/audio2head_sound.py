"""What Audio2Head hears: 41 numbers every 10 ms, four of them for a video frame.

13 cepstral coefficients and 26 logarithmic filter energies as ``python_speech_features`` makes them with its defaults
(25 ms windows without a taper, pre-emphasis 0.97, power spectrum of 512 points divided by 512, triangular mel filters
whose corners fall on whole bins, lifter 22, the window's energy in place of coefficient 0), then the fundamental
frequency in Hz as WORLD's Harvest estimates it (Morise, Interspeech 2017), drawn on through what is not voiced, and
whether there was a voice (1 or 0). The sound is first cut to 16 bits, freed of its mean and scaled to a peak of 1.

Source: wangsuzhen/Audio2Head (commit 09e9b43) ``inference.py``. Harvest itself is the package ``pyworld``'s.
"""

from __future__ import annotations

from functools import cache
from types import ModuleType

import numpy as np

SAMPLE_RATE = 16_000
STEP = 160  # samples between two rows
WINDOW = 400
N_FFT = 512
FILTERS = 26
COEFFICIENTS = 13
#: numbers in a row
SIZE = COEFFICIENTS + FILTERS + 2
#: rows for one video frame at 25 fps
ROWS = 4
#: the fewest samples that make the rows of one frame
LEAST = WINDOW + (ROWS - 2) * STEP + 1

_CHUNK = 4096  # windows transformed at once


class SoundError(ValueError):
    """A sound that Audio2Head cannot follow, or no package to hear it with. One line."""


def pyworld() -> ModuleType:
    """The package with WORLD's Harvest. SoundError: it is not installed."""
    try:
        import pyworld
    except ImportError:
        raise SoundError(
            "audio2head needs the package pyworld for the voice's pitch: pip install 'fctfg[audio2head]'"
        ) from None
    return pyworld


def features(audio: np.ndarray) -> np.ndarray:
    """Mono sound (N,) in [-1, 1] at 16 kHz -> rows (1 + ceil((N - 400) / 160), 41), float32.

    SoundError: not a vector of finite samples, shorter than one frame needs.
    """
    audio = np.asarray(audio)
    if audio.ndim != 1 or not len(audio):
        raise SoundError(f"audio2head: no sound to follow (shape {audio.shape}); give one channel at 16 kHz")
    if len(audio) < LEAST:
        seconds = len(audio) / SAMPLE_RATE
        raise SoundError(f"audio2head: the sound lasts {seconds:.3f} s; {LEAST / SAMPLE_RATE:.3f} s are needed")
    if not np.isfinite(audio).all():
        raise SoundError("audio2head: the sound has values that are no numbers; decode it again")
    samples = levelled(audio)
    spectral = cepstra_and_energies(samples)
    pitch, voiced = melody(samples)
    rows = min(len(spectral), len(pitch))
    return np.column_stack((spectral[:rows], pitch[:rows], voiced[:rows])).astype(np.float32)


def levelled(audio: np.ndarray) -> np.ndarray:
    """Samples in [-1, 1] -> float64 with mean 0 and peak 1, by way of a wav file's 16 bits. Silence stays silent,
    where the public code divides by zero.
    """
    whole = np.clip(np.rint(audio.astype(np.float64) * 32768), -32768, 32767)
    centred = whole - whole.mean()
    peak = np.abs(centred).max()
    return centred / peak if peak else centred


def cepstra_and_energies(samples: np.ndarray) -> np.ndarray:
    """Float64 samples -> rows (n, 39): 13 cepstral coefficients, then 26 logarithms of filter energies."""
    count = 1 + max(0, -(-(len(samples) - WINDOW) // STEP))
    sharpened = np.zeros((count - 1) * STEP + WINDOW)
    sharpened[: len(samples)] = samples
    sharpened[1 : len(samples)] -= 0.97 * samples[:-1]
    windows = np.lib.stride_tricks.sliding_window_view(sharpened, WINDOW)[::STEP]
    basis, filters = _cosines(), _filters()
    rows = np.empty((count, COEFFICIENTS + FILTERS))
    for begin in range(0, count, _CHUNK):
        part = slice(begin, begin + _CHUNK)
        power = np.abs(np.fft.rfft(windows[part], N_FFT)) ** 2 / N_FFT
        energies = _logarithm(power @ filters.T)
        rows[part, COEFFICIENTS:] = energies
        rows[part, :COEFFICIENTS] = energies @ basis.T
        rows[part, 0] = _logarithm(power.sum(1))
    return rows


def melody(samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Float64 samples -> pitch (m,) in Hz without gaps and whether there is a voice (m,), m = 1 + N // 160.

    Between voiced rows the pitch is a straight line, before the first and after the last it stays; without any, 0.
    """
    pitch, _ = pyworld().harvest(np.ascontiguousarray(samples), SAMPLE_RATE, frame_period=1000 * STEP / SAMPLE_RATE)
    return without_gaps(pitch), pitch != 0


def without_gaps(pitch: np.ndarray) -> np.ndarray:
    """Zeros replaced by a line between their neighbours, and by the nearest value at the ends."""
    voiced = np.flatnonzero(pitch)
    return np.interp(np.arange(len(pitch)), voiced, pitch[voiced]) if len(voiced) else pitch


def _logarithm(energy: np.ndarray) -> np.ndarray:
    return np.log(np.where(energy == 0, np.finfo(np.float64).eps, energy))


@cache
def _filters() -> np.ndarray:
    """Triangles (26, 257) over the bins of the spectrum, from 0 to 8000 Hz; the peak's own bin falls to the right."""
    mels = np.linspace(0, 2595 * np.log10(1 + SAMPLE_RATE / 2 / 700), FILTERS + 2)
    corners = np.floor((N_FFT + 1) * 700 * (10 ** (mels / 2595) - 1) / SAMPLE_RATE)
    bins = np.arange(N_FFT // 2 + 1)
    triangles = np.zeros((FILTERS, len(bins)))
    for triangle, low, peak, high in zip(triangles, corners, corners[1:], corners[2:], strict=False):
        rising, falling = (bins >= low) & (bins < peak), (bins >= peak) & (bins < high)
        triangle[rising] = (bins[rising] - low) / (peak - low)
        triangle[falling] = (high - bins[falling]) / (high - peak)
    return triangles


@cache
def _cosines() -> np.ndarray:
    """The orthonormal cosine transform with its lifter, (13, 26)."""
    order = np.arange(COEFFICIENTS)[:, None]
    cosines = np.cos(np.pi * order * (np.arange(FILTERS) + 0.5) / FILTERS) * np.sqrt(2 / FILTERS)
    cosines[0] /= np.sqrt(2)
    return cosines * (1 + 11 * np.sin(np.pi * order / 22))
