"""Wav2Lip's sound and networks written out literally, for the tests to hold ours against.

Figures: Rudrabha/Wav2Lip ``hparams.py``, ``audio.py``, ``models/{wav2lip,syncnet}.py``; the mel filters: librosa's
documentation of ``filters.mel`` (Slaney's scale and norm).
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F


def hertz(mel: float) -> float:
    return mel * 200 / 3 if mel < 15 else 1000 * 6.4 ** ((mel - 15) / 27)


def mel_of(frequency: float) -> float:
    return frequency * 3 / 200 if frequency < 1000 else 15 + 27 * np.log(frequency / 1000) / np.log(6.4)


def mel_filters() -> np.ndarray:
    low, high = mel_of(55.0), mel_of(7600.0)
    corner = [hertz(low + (high - low) * i / 81) for i in range(82)]
    bank = np.zeros((80, 401))
    for band in range(80):
        a, b, c = corner[band : band + 3]
        for k in range(401):
            f = k * 16000 / 800
            if a < f <= b:
                bank[band, k] = (f - a) / (b - a)
            elif b < f < c:
                bank[band, k] = (c - f) / (c - b)
        bank[band] *= 2 / (c - a)
    return bank


def melspectrogram(wav: np.ndarray) -> np.ndarray:
    wav = np.asarray(wav, np.float64)
    filtered = wav.copy()
    for i in range(1, len(wav)):
        filtered[i] = wav[i] - 0.97 * wav[i - 1]
    padded = np.pad(filtered, 400, mode="reflect")
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(800) / 800)
    bank, columns = mel_filters(), []
    for c in range(1 + len(wav) // 200):
        spectrum = np.abs(np.fft.rfft(padded[200 * c : 200 * c + 800] * window))
        decibel = 20 * np.log10(np.maximum(1e-5, bank @ spectrum)) - 20
        columns.append(np.clip(8 * ((decibel + 100) / 100) - 4, -4, 4))
    return np.array(columns).T


def training_window(spectrogram: np.ndarray, frame: int) -> np.ndarray | None:
    """``get_segmented_mels`` for one frame (numbered from 0): None where training skips it."""
    number = frame + 1
    if number - 2 < 0:
        return None
    first = int(80.0 * ((number - 2) / 25.0))
    window = spectrogram[:, first : first + 16]
    return window if window.shape[1] == 16 else None


def sync_window(spectrogram: np.ndarray, frame: int) -> np.ndarray | None:
    """``crop_audio_window`` of the five frames from ``frame`` on."""
    first = int(80.0 * (frame / 25.0))
    window = spectrogram[:, first : first + 16]
    return window if window.shape[1] == 16 else None


def inference_windows(spectrogram: np.ndarray, fps: float = 25.0) -> list[np.ndarray]:
    """The loop of ``inference.py``."""
    chunks, i = [], 0
    while True:
        start = int(i * 80.0 / fps)
        if start + 16 > spectrogram.shape[1]:
            chunks.append(spectrogram[:, -16:])
            return chunks
        chunks.append(spectrogram[:, start : start + 16])
        i += 1


#: (stride, padding, residual) of every block; channels and kernels are in the weights
RESIDUAL = (1, 1, True)
AUDIO_GENERATOR = [
    (1, 1, False), RESIDUAL, RESIDUAL,
    ((3, 1), 1, False), RESIDUAL, RESIDUAL,
    (3, 1, False), RESIDUAL, RESIDUAL,
    ((3, 2), 1, False), RESIDUAL,
    (1, 0, False),
    (1, 0, False),
]  # fmt: skip
AUDIO_EXPERT = [*AUDIO_GENERATOR[:11], RESIDUAL, (1, 0, False), (1, 0, False)]
FACE_EXPERT = [
    (1, 3, False),
    ((1, 2), 1, False), RESIDUAL, RESIDUAL,
    (2, 1, False), RESIDUAL, RESIDUAL, RESIDUAL,
    (2, 1, False), RESIDUAL, RESIDUAL,
    (2, 1, False), RESIDUAL, RESIDUAL,
    (2, 1, False),
    (1, 0, False),
    (1, 0, False),
]  # fmt: skip
#: the public weights' shapes, block by block
AUDIO_EXPERT_SHAPES = [
    (32, 1, 3, 3), (32, 32, 3, 3), (32, 32, 3, 3), (64, 32, 3, 3), (64, 64, 3, 3), (64, 64, 3, 3), (128, 64, 3, 3),
    (128, 128, 3, 3), (128, 128, 3, 3), (256, 128, 3, 3), (256, 256, 3, 3), (256, 256, 3, 3), (512, 256, 3, 3),
    (512, 512, 1, 1),
]  # fmt: skip
AUDIO_GENERATOR_SHAPES = AUDIO_EXPERT_SHAPES[:11] + AUDIO_EXPERT_SHAPES[12:]
FACE_EXPERT_SHAPES = [
    (32, 15, 7, 7), (64, 32, 5, 5), (64, 64, 3, 3), (64, 64, 3, 3), (128, 64, 3, 3), (128, 128, 3, 3),
    (128, 128, 3, 3), (128, 128, 3, 3), (256, 128, 3, 3), (256, 256, 3, 3), (256, 256, 3, 3), (512, 256, 3, 3),
    (512, 512, 3, 3), (512, 512, 3, 3), (512, 512, 3, 3), (512, 512, 3, 3), (512, 512, 1, 1),
]  # fmt: skip


def random_state(shapes, prefix: str, seed: int) -> dict[str, torch.Tensor]:
    """A state dict as Wav2Lip would save it, with every number random."""
    g, state = torch.Generator().manual_seed(seed), {}
    for i, shape in enumerate(shapes):
        name, out = f"{prefix}{i}.conv_block.", shape[0]
        state[name + "0.weight"] = torch.randn(shape, generator=g) * (2 / (shape[1] * shape[2] * shape[3])) ** 0.5
        state[name + "0.bias"] = torch.randn(out, generator=g) * 0.1
        state[name + "1.weight"] = torch.rand(out, generator=g) * 0.6 + 0.5
        state[name + "1.bias"] = torch.randn(out, generator=g) * 0.1
        state[name + "1.running_mean"] = torch.randn(out, generator=g) * 0.1
        state[name + "1.running_var"] = torch.rand(out, generator=g) + 0.5
        state[name + "1.num_batches_tracked"] = torch.tensor(7)
    return state


def run(blocks, state: dict[str, torch.Tensor], prefix: str, x: torch.Tensor) -> torch.Tensor:
    """The blocks one after the other, as at inference: (B, ...) -> (B, 512)."""
    for i, (stride, padding, residual) in enumerate(blocks):
        name = f"{prefix}{i}.conv_block."
        y = F.conv2d(x, state[name + "0.weight"], state[name + "0.bias"], stride, padding)
        mean, variance = (state[f"{name}1.running_{k}"][:, None, None] for k in ("mean", "var"))
        gain, shift = (state[f"{name}1.{k}"][:, None, None] for k in ("weight", "bias"))
        y = (y - mean) / (variance + 1e-5).sqrt() * gain + shift
        x = (y + x if residual else y).clamp(min=0)
    return x.flatten(1)
