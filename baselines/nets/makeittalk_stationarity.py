"""How much the sound changes from frame to frame, as RAPT weighs it: spectra by Itakura's distance, and loudness.

Source: SPTK (as pysptk 1.0.1 has it) ``bin/pitch/snack`` (``get_stationarity``), with its float32 arithmetic; see
``makeittalk_rapt``.
"""

from __future__ import annotations

import numpy as np

WINDOW, BEFORE = 480, 80  # samples; how far the window begins before its frame
ORDER = 18
PREEMPHASIS = np.float32(0.4)
#: 30 dB less of white noise are added to the spectrum
DAMPED = np.float32(1 / (1 + 10 ** (-30 / 20)))
#: where there is nothing to compare with
FIRST, SECOND = np.float32(0.01) * np.float32(0.2), np.float32(0.02)


def change(samples: np.ndarray, frames: int, step: int) -> tuple[np.ndarray, np.ndarray]:
    """(N,) float32 -> for each frame, (frames,) float32 both: 0.2 / (distance of its spectrum from the frame before -
    0.8), and how many times as loud as that it is. The first two frames have fixed values.
    """
    similar, ratio = np.ones((2, frames), np.float32)
    similar[:2] = (FIRST, SECOND)[:frames]
    if frames > 2:
        padded = np.concatenate((samples, np.zeros(WINDOW, np.float32)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[step - BEFORE :: step][: frames - 1]
        loud = np.sqrt((total(np.square(windows * _hann(WINDOW))) / np.float32(WINDOW)).astype(np.float64))
        loud = loud.astype(np.float32)
        spectrum = _autocorrelation((windows[:, 1:] - PREEMPHASIS * windows[:, :-1]) * _hann(WINDOW - 1))
        predictor, error = _durbin(spectrum)
        distance = _itakura(predictor[1:], spectrum[:-1]) / error[:-1] - np.float32(0.8)
        similar[2:] = 0.2 / distance.astype(np.float64)
        ratio[2:] = (np.float32(0.001) + loud[1:]) / loud[:-1]
    return similar, ratio


def total(terms: np.ndarray) -> np.ndarray:
    """Sum over the last axis in float32, term by term."""
    return np.add.accumulate(terms, axis=-1, dtype=np.float32)[..., -1]


def _hann(n: int) -> np.ndarray:
    return (0.5 - 0.5 * np.cos((0.5 + np.arange(n)) * (3.1415927 * 2 / n))).astype(np.float32)


def _autocorrelation(windows: np.ndarray) -> np.ndarray:
    """(n, w) -> (n, 19) float32, damped, its first column 1."""
    scale = (1.0 / total(np.square(windows)).astype(np.float64)).astype(np.float32)
    lags = [total(windows[:, : windows.shape[1] - lag] * windows[:, lag:]) * scale for lag in range(1, ORDER + 1)]
    return np.stack([np.ones_like(scale), *(DAMPED * lag for lag in lags)], axis=1)


def _durbin(r: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(n, 19) autocorrelation -> (n, 18) predictor and (n,) its error, by Durbin's recursion."""
    error = r[:, 0].copy()
    a = np.zeros((len(r), ORDER), np.float32)
    for i in range(ORDER):
        s = np.zeros(len(r), np.float32)
        for j in range(i):
            s = s - a[:, j] * r[:, i - j]
        k = (s - r[:, i + 1]) / error
        a[:, :i] += k[:, None] * a[:, :i][:, ::-1]
        a[:, i] = k
        error = error * (1.0 - (k * k).astype(np.float64)).astype(np.float32)
    return a, error


def _itakura(a: np.ndarray, r: np.ndarray) -> np.ndarray:
    """(n,) energy that the predictors ``a`` (n, 18) leave of sounds with the autocorrelation ``r`` (n, 19)."""
    one = np.ones((len(a), 1), np.float32)
    parts = [total(np.concatenate((one, a * a), axis=1))]
    for lag in range(1, ORDER + 1):
        terms = a[:, : ORDER - lag] * a[:, lag:]
        parts.append(np.float32(2) * total(np.concatenate((a[:, lag - 1 : lag], terms), axis=1)) * r[:, lag])
    return total(np.stack(parts, axis=1))
