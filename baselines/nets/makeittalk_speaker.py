"""Who speaks: Resemblyzer's embedding, with its weights but without its package.

Wan, Wang, Papir, Lopez Moreno: "Generalized End-to-End Loss for Speaker Verification", ICASSP 2018, as in Resemblyzer
0.1.4 (Apache-2.0; ``audio.py``, ``voice_encoder.py``), asked as yzhou359/MakeItTalk (commit fad2fe4)
``thirdparty/resemblyer_util/speaker_emb.py`` asks it. The ends of the sound are followed by zeros, as with the librosa
that this version requires.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from baselines.nets import makeittalk_vad as vad
from baselines.nets.makeittalk_sound import filters

RATE, FFT, HOP, BANDS = 16000, 400, 160, 40
LOUDNESS = -30.0  # dB of full scale that a quieter sound is raised to
FULL = 32767
#: columns that are embedded together, columns between two such stretches, and how much of the last one must be sound
STRETCH, STEP, COVERED = 160, 50, 0.75
#: samples that have an embedding of their own, of which the mean is taken: a minute
SEGMENT = 960000
#: windows (30 ms) that a decision about voice is averaged over, and how far voice spreads into silence
SMOOTHED, SPREAD = 8, 3
WIDTH = 256


class SpeakerEncoder(nn.Module):
    """``pretrained.pt``: mel power (B, 160, 40) -> (B, 256), not negative, of length 1."""

    PART, UNUSED = "model_state", r"similarity_(weight|bias)"

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(BANDS, WIDTH, 3, batch_first=True)
        self.linear = nn.Linear(WIDTH, WIDTH)

    def forward(self, mels: Tensor) -> Tensor:
        raw = torch.relu(self.linear(self.lstm(mels)[1][0][-1]))
        return raw / raw.norm(dim=1, keepdim=True)

    @torch.inference_mode()
    def embedding(self, samples: np.ndarray) -> Tensor:
        """(N,) int16 at 16 kHz -> (256,): the mean over whole minutes (or all there is) of each minute's embedding."""
        wav = spoken(raised(samples.astype(np.float32) / np.float32(32768)))
        count = max(1, len(wav) // SEGMENT)
        return torch.stack([self._segment(wav[SEGMENT * i : SEGMENT * (i + 1)]) for i in range(count)]).mean(0)

    def _segment(self, wav: np.ndarray) -> Tensor:
        begins = stretches(len(wav))
        end = (begins[-1] + STRETCH) * HOP
        mels = mel(np.pad(wav, (0, max(0, end - len(wav)))))
        parts = np.stack([mels[begin : begin + STRETCH] for begin in begins])
        mean = self(torch.from_numpy(parts).to(self.linear.weight.device)).mean(0)
        return mean / mean.norm()


def raised(wav: np.ndarray) -> np.ndarray:
    """(N,) float32, made as loud as -30 dB of full scale if it is quieter."""
    rms = np.sqrt(np.mean((wav * np.float32(FULL)) ** 2))
    gain = LOUDNESS - 20 * np.log10(rms / FULL)
    return wav if gain < 0 else wav * np.float32(10 ** (gain / 20))


def spoken(wav: np.ndarray) -> np.ndarray:
    """(N,) float32 without its long silences: windows of 30 ms where voice is heard, and three on each side of them.
    What is left over at the end is dropped.
    """
    from scipy.ndimage import binary_dilation

    wav = wav[: len(wav) // vad.WINDOW * vad.WINDOW]
    pcm = np.clip(np.round(wav * FULL), -32768, 32767).astype(np.int16)
    flags = np.pad(vad.voiced(pcm).astype(int), ((SMOOTHED - 1) // 2, SMOOTHED // 2))
    if len(flags) < SMOOTHED:
        return wav[:0]
    most = np.lib.stride_tricks.sliding_window_view(flags, SMOOTHED).sum(1) * 2 > SMOOTHED
    return wav[np.repeat(binary_dilation(most, np.ones(2 * SPREAD + 1)), vad.WINDOW)]


def stretches(n: int) -> list[int]:
    """The columns at which the stretches of ``n`` samples begin."""
    columns = -(-(n + 1) // HOP)
    begins = list(range(0, max(1, columns - STRETCH + STEP + 1), STEP))
    if len(begins) > 1 and (n - begins[-1] * HOP) / (STRETCH * HOP) < COVERED:
        begins.pop()
    return begins


def mel(wav: np.ndarray) -> np.ndarray:
    """(N,) -> (N // 160 + 1, 40) float32: mel power, not its logarithm."""
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(wav.astype(np.float64), FFT // 2), FFT)[::HOP]
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(FFT) / FFT)
    bank = filters(BANDS, FFT, 0.0, RATE / 2).T
    parts = np.array_split(windows, len(windows) // 1024 + 1)
    return np.concatenate([np.abs(np.fft.rfft(part * hann)) ** 2 @ bank for part in parts]).astype(np.float32)
