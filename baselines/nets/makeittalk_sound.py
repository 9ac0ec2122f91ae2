"""What MakeItTalk hears: loudness, mel spectrogram and quantised pitch, number for number.

Source: yzhou359/MakeItTalk (commit fad2fe4) ``src/autovc/AutoVC_mel_Convertor_retrain_version.py``,
``vocoder_spec/extract_f0_func.py``, ``src/autovc/utils.py``. Columns are 256 samples (16 ms) apart: 62.5 a second.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

from baselines.nets import makeittalk_rapt as rapt

RATE, HOP, FFT = 16000, 256, 1024
BANDS, LOWEST, HIGHEST = 80, 90.0, 7600.0  # Hz
LOUDNESS = -20.0  # dB of full scale, root mean square
MIN_LEVEL = 1e-5
PITCHES = 256


def sixteen_bits(audio: np.ndarray) -> np.ndarray:
    """(N,) float in [-1, 1] -> (N,) int16, as the wav file has it that the public program reads."""
    return np.clip(np.rint(np.asarray(audio, np.float64) * 32768), -32768, 32767).astype(np.int16)


def levelled(samples: np.ndarray) -> np.ndarray:
    """(N,) int16, not silent -> the same at -20 dB of full scale, rounded down and clipped, as pydub does it."""
    rms = math.floor(math.sqrt(np.square(samples, dtype=np.float64).mean()))
    if rms == 0:
        raise ValueError("the sound is silent")
    gain = 10 ** ((LOUDNESS - 20 * math.log(rms / 32768, 10)) / 20)
    return np.floor(np.clip(samples * gain, -32768, 32767)).astype(np.int16)


def features(samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(N,) int16 -> mel (N // 256 + 1, 80) and pitch (N // 256 + 1, 257), float32 both.

    mel: 1 at +16 dB, 0 at -84 dB, -0.16 at the least. pitch: one of 257 is 1: the first without voice, else the log
    frequency's place among 256 levels up to four deviations on each side of the clip's mean: nothing else of the
    pitch is heard.
    """
    heard = _filtered(samples / 32768)
    return mel(heard), one_hot(rapt.log_f0(heard.astype(np.float32) * 32768))


def _filtered(x: np.ndarray) -> np.ndarray:
    """Without what lies below 30 Hz, and with noise (always the same) 120 dB below full scale."""
    from scipy import signal

    if len(x) % HOP == 0:
        x = np.append(x, 1e-6)
    y = signal.filtfilt(*signal.butter(5, 30 / (RATE / 2), btype="high"), x)
    return y * 0.95 + (np.random.RandomState(0).rand(len(y)) - 0.5) * 1e-6


def mel(x: np.ndarray) -> np.ndarray:
    """(N,) float64 -> (N // 256 + 1, 80) float32; the ends are mirrored."""
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(x, FFT // 2, mode="reflect"), FFT)[::HOP]
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(FFT) / FFT)
    parts = np.array_split(windows, len(windows) // 512 + 1)
    bands = np.concatenate(
        [np.abs(np.fft.rfft(part * hann)) @ filters(BANDS, FFT, LOWEST, HIGHEST).T for part in parts]
    )
    return ((20 * np.log10(np.maximum(bands, MIN_LEVEL)) - 16 + 100) / 100).astype(np.float32)


def one_hot(log_f0: np.ndarray) -> np.ndarray:
    """(T,) natural log of the pitch, or ``rapt.UNVOICED`` -> (T, 257) float32. A pitch that never changes is in the
    middle (the public program breaks there).
    """
    voiced = log_f0 != rapt.UNVOICED
    level = np.zeros(len(log_f0), int)
    if voiced.any():
        spread = log_f0[voiced].std()
        away = (log_f0[voiced].astype(np.float64) - log_f0[voiced].mean()) / (spread if spread > 0 else 1) / 4
        level[voiced] = 1 + np.round((np.clip(away, -1, 1) + 1) / 2 * (PITCHES - 1)).astype(int)
    return np.eye(PITCHES + 1, dtype=np.float32)[level]


@lru_cache(maxsize=4)
def filters(bands: int, fft: int, lowest: float, highest: float) -> np.ndarray:
    """(bands, fft / 2 + 1) float32: triangles of unit area over Hz, spaced evenly on Slaney's mel scale (Auditory
    Toolbox, 1998), as ``librosa.filters.mel`` makes them for 16 kHz.
    """
    mels = np.linspace(*(_to_mel(hertz) for hertz in (lowest, highest)), bands + 2)
    edges = np.where(mels < 15, mels * 200 / 3, 1000 * np.exp((mels - 15) * math.log(6.4) / 27))[:, None]
    bins = np.arange(fft // 2 + 1) * (RATE / fft)
    rising = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    return (np.maximum(np.minimum(rising, falling), 0) * 2 / (edges[2:] - edges[:-2])).astype(np.float32)


def _to_mel(hertz: float) -> float:
    return hertz * 3 / 200 if hertz < 1000 else 15 + 27 * math.log(hertz / 1000) / math.log(6.4)
