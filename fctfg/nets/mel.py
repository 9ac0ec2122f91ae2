"""Wav2Lip's mel spectrogram, number for number, and the window of it that belongs to a video frame.

Source: Rudrabha/Wav2Lip ``audio.py``, ``hparams.py`` (the figures), ``wav2lip_train.py``, ``color_syncnet_train.py``,
``inference.py`` (the windows). It was made with librosa 0.7, whose conventions hold here: a periodic Hann window,
frames centred on multiples of the hop over a signal mirrored at its ends (librosa from 0.10 on would pad zeros, which
changes the first and last two columns), and mel filters of the Slaney kind with unit area.

All arithmetic is in float64: the quietest bins lie 100 dB below the loudest, where float32's rounding would show.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
import torch.nn.functional as F

SAMPLE_RATE = 16000
N_FFT = WINDOW = 800
HOP = 200
N_MELS = 80
PREEMPHASIS = 0.97
LOWEST, HIGHEST = 55.0, 7600.0  # Hz, of the mel bands
MIN_LEVEL_DB, REFERENCE_DB = -100.0, 20.0
LIMIT = 4.0
#: columns per second, and columns of one window: 0.2 s, five frames at 25 fps
COLUMNS_PER_SECOND = SAMPLE_RATE // HOP
WINDOW_COLUMNS = 16
#: the value of silence, of which windows that reach over an end of the sound are made there
SILENCE = -LIMIT

#: where a frame's window begins, and what happens where it would reach over the end of the sound; see ``mel_windows``
RULES = ("training", "sync", "inference")


@torch.no_grad()
def mel(audio: torch.Tensor) -> torch.Tensor:
    """Normalised log-mel spectrogram: (..., N) samples at 16 kHz in [-1, 1] -> (..., 80, 1 + N // 200) float32.

    Column c is centred on sample 200 c, so there are 80 columns a second; values lie in [-4, 4] and silence is -4.
    Runs where ``audio`` lies. No sound at all (N = 0) gives one column of silence. Not differentiable.
    """
    samples = audio.to(torch.float64)
    if samples.shape[-1] == 0:
        return torch.full((*audio.shape[:-1], N_MELS, 1), SILENCE, device=audio.device)
    lead = samples.shape[:-1]
    samples = samples.reshape(-1, samples.shape[-1])
    samples = samples - PREEMPHASIS * F.pad(samples[:, :-1], (1, 0))
    samples = samples[:, _mirrored(samples.shape[-1], N_FFT // 2, samples.device)]
    window = torch.hann_window(WINDOW, dtype=torch.float64, device=samples.device)
    amplitude = torch.fft.rfft(samples.unfold(-1, N_FFT, HOP) * window).abs()
    bands = amplitude @ filters(samples.device).T
    decibel = 20 * torch.log10(bands.clamp(min=10 ** (MIN_LEVEL_DB / 20))) - REFERENCE_DB
    level = 2 * LIMIT * (decibel - MIN_LEVEL_DB) / -MIN_LEVEL_DB - LIMIT
    return level.clamp(-LIMIT, LIMIT).transpose(1, 2).reshape(*lead, N_MELS, -1).float()


def _mirrored(n: int, margin: int, device: torch.device) -> torch.Tensor:
    """Sample numbers of a signal of ``n`` mirrored about its first and last sample, as often as ``margin`` asks."""
    period = max(2 * (n - 1), 1)
    place = torch.arange(-margin, n + margin, device=device) % period
    return torch.minimum(place, period - place) if n > 1 else torch.zeros_like(place)


@lru_cache(maxsize=8)
def filters(device: torch.device | str = "cpu") -> torch.Tensor:
    """(80, 401) float64: triangles of unit area over Hz, spaced evenly on Slaney's mel scale (Auditory Toolbox, 1998):
    linear, 3 mel per 200 Hz, below 1 kHz, and logarithmic, 27 mel per factor of 6.4, above.
    """
    low, high = (_to_mel(f) for f in (LOWEST, HIGHEST))
    edges = _to_hertz(torch.linspace(low, high, N_MELS + 2, dtype=torch.float64))[:, None]
    bins = torch.arange(N_FFT // 2 + 1, dtype=torch.float64) * (SAMPLE_RATE / N_FFT)
    rising = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    return (torch.minimum(rising, falling).clamp(min=0) * 2 / (edges[2:] - edges[:-2])).to(device)


def _to_mel(hertz: float) -> float:
    return hertz * 3 / 200 if hertz < 1000 else 15 + 27 * math.log(hertz / 1000) / math.log(6.4)


def _to_hertz(mels: torch.Tensor) -> torch.Tensor:
    return torch.where(mels < 15, mels * 200 / 3, 1000 * torch.exp((mels - 15) * math.log(6.4) / 27))


def first_column(frames: torch.Tensor, fps: float = 25.0, rule: str = "training") -> torch.Tensor:
    """The first of the 16 spectrogram columns that belong to video frames; (...) int64 -> (...) int64.

    ``rule`` "training": floor(80 (f - 1) / fps), what Wav2Lip's generator is trained with (``get_segmented_mels``): the
    window of 0.2 s begins one frame before its own; frame 0, which training leaves out, begins at column -4.
    "sync", "inference": floor(80 f / fps), where the sync expert's window for the five frames from f on begins
    (``crop_audio_window``) and where ``inference.py`` begins that of frame f, a frame later than in training.
    """
    if rule not in RULES:
        raise ValueError(f"unknown rule {rule!r}; use {', '.join(RULES)}")
    place = frames - 1 if rule == "training" else frames
    if fps == 25:  # 3.2 columns a frame, free of rounding
        return torch.div(16 * place, 5, rounding_mode="floor")
    return torch.floor(COLUMNS_PER_SECOND * (place.double() / fps)).long()


def windows_at(
    spectrogram: torch.Tensor, frames: torch.Tensor, fps: float = 25.0, rule: str = "training"
) -> torch.Tensor:
    """The windows of given frames: (B, 80, C) and (B, ...) int64 frame numbers -> (B, ..., 1, 80, 16).

    A window that reaches over an end of the sound holds silence (-4) there. The rule "inference" alone does as
    ``inference.py`` and moves it back, so that it ends with the sound.
    """
    columns = spectrogram.shape[-1]
    first = first_column(frames, fps, rule)
    if rule == "inference":
        first = first.clamp(max=max(columns - WINDOW_COLUMNS, 0))
    place = first[..., None] + torch.arange(WINDOW_COLUMNS, device=frames.device)
    inside = (place >= 0) & (place < columns)
    row = torch.arange(len(place), device=frames.device).view(-1, *[1] * (place.ndim - 1))
    # One gather for the whole batch: (B, ..., 16, 80).
    picked = spectrogram.transpose(1, 2)[row, place.clamp(0, columns - 1)]
    return torch.where(inside[..., None], picked, SILENCE).transpose(-1, -2).unsqueeze(-3)


def mel_windows(
    spectrogram: torch.Tensor, n_frames: int, fps: float = 25.0, first: int = 0, rule: str = "training"
) -> torch.Tensor:
    """One window for each of ``n_frames`` video frames, from frame ``first`` on: (80, C) -> (n_frames, 1, 80, 16).

    ``rule``: see ``first_column``; ends: see ``windows_at``. A clip's frames may outlast its sound: silence follows.
    """
    frames = torch.arange(first, first + n_frames, device=spectrogram.device)
    return windows_at(spectrogram[None], frames[None], fps, rule)[0]
