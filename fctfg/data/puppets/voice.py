"""A formant synthesizer: utterances in, 16 kHz sound out, many at once on any device.

Source and filter (Fant 1960; the arrangement follows Klatt, JASA 67, 1980): a band-limited pulse train and noise go
through the vocal tract, whose response is written down in the frequency domain every 5 ms and applied to 10 ms slices
that overlap and add up. No loop runs over samples, so a batch costs a few FFTs. The randomness comes from each
utterance's seed on the CPU: a seed sounds the same everywhere, to rounding.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F

from fctfg.data.puppets import articulation
from fctfg.data.puppets.articulation import RATE
from fctfg.data.puppets.utterance import Utterance

SAMPLE_RATE = 16000
_HOP, _SLICE, _FFT = 80, 160, 512
_UP = SAMPLE_RATE // RATE
_GRID_PER_HOP = _HOP // _UP
#: resonances above the three that phonemes set, and all bandwidths, in Hz for an adult male
_UPPER_FORMANTS = (3500.0, 4500.0, 5500.0, 6500.0, 7500.0)
_BANDWIDTHS = (70.0, 90.0, 140.0, 220.0, 300.0, 400.0, 500.0, 600.0)
_NASAL_POLE, _NASAL_ZERO = 260.0, 950.0
_GAIN, _CEILING = 0.55, 0.95


@torch.no_grad()
def synthesize(utterances: Sequence[Utterance], device: torch.device | str | None = None) -> torch.Tensor:
    """The sound of ``utterances``: (B, N) float32 in (-1, 1), mono, 16 kHz, N that of the longest, 0 after the end.

    Sample i of row b is at i / 16000 s of utterance b's own clock. Any batch gives the same sound, to rounding.
    """
    if not utterances:
        raise ValueError("give at least one utterance")
    lengths = [round(u.seconds * SAMPLE_RATE) for u in utterances]
    n_hops = -(-max(lengths) // _HOP) + 1
    size = n_hops * _HOP
    grid = n_hops * _GRID_PER_HOP + 1
    made = [articulation.tracks(u) for u in utterances]
    track = {
        name: torch.from_numpy(np.stack([_fit(getattr(m, name), grid) for m in made])).to(device, torch.float32)
        for name in ("f0", "voice", "breath", "hiss", "cutoff", "nasal", "formants", "centre", "width")
    }
    white = torch.from_numpy(np.stack([_noise(u.seed, size) for u in utterances])).to(device)

    fine = {name: _upsampled(track[name], size) for name in ("f0", "voice", "breath", "hiss")}
    coarse = {name: value[:, ::_GRID_PER_HOP][:, : n_hops + 1] for name, value in track.items()}
    phase = torch.cumsum(fine["f0"].double() / SAMPLE_RATE, 1) % 1
    pulses = pulse_train(phase.float(), fine["f0"]) * fine["voice"]
    breathiness = _per_speaker(utterances, "breathiness", white)
    # Breath rides on the open half of each glottal cycle; a breathy voice has more of it.
    puffs = (0.08 + 0.5 * breathiness) * fine["voice"] * (0.5 - 0.5 * torch.cos(2 * torch.pi * phase.float()))
    breath = white[:, 0] * 0.03 * (fine["breath"] + puffs)

    mean_pitch = _per_speaker(utterances, "f0", white)
    tract = _tract(coarse, _per_speaker(utterances, "tract", white))
    # Impulses of unit area make a high voice the louder one.
    voiced = _filtered(pulses * (110 / mean_pitch) ** 0.6, tract * _glottis(mean_pitch, coarse["cutoff"]))
    breathed = _filtered(breath, tract)
    hissed = _filtered(white[:, 1] * fine["hiss"], _mouth_noise(coarse, _per_speaker(utterances, "tract", white)))
    sound = _GAIN * (5.0 * voiced + 4.0 * breathed + 0.22 * hissed)[:, :size]
    sound = _CEILING * torch.tanh(sound / _CEILING) + white[:, 2] * _per_speaker(utterances, "room", white)
    inside = torch.arange(size, device=sound.device) < torch.tensor(lengths, device=sound.device)[:, None]
    return (sound.clamp(-1, 1) * inside)[:, : max(lengths)]


def pulse_train(phase: torch.Tensor, f0: torch.Tensor) -> torch.Tensor:
    """Band-limited impulses, one whenever ``phase`` (cycles, in [0, 1)) wraps; (B, N) in, (B, N) out.

    The closed form of the sum of all harmonics below the Nyquist frequency, less the constant (Stilson & Smith, ICMC
    1996); each harmonic has the amplitude 2 f0 / sample rate, so an impulse has unit area at any pitch.
    """
    harmonics = torch.floor(0.5 * SAMPLE_RATE / f0)
    odd = 2 * harmonics + 1
    below = torch.sin(torch.pi * phase)
    flat = below.abs() < 1e-5
    total = torch.sin(torch.pi * torch.fmod(odd * phase, 2.0)) / torch.where(flat, torch.ones_like(below), below)
    return (torch.where(flat, odd, total) - 1) * f0 / SAMPLE_RATE


def _fit(track: np.ndarray, n: int) -> np.ndarray:
    """The first ``n`` rows, the last one repeated where there are fewer."""
    return track[np.minimum(np.arange(n), len(track) - 1)]


def _noise(seed: int, size: int) -> np.ndarray:
    """Three independent white noises; a longer draw begins like a shorter one."""
    words = np.random.SeedSequence(seed).spawn(3)
    return np.stack([np.random.Generator(np.random.Philox(w)).standard_normal(size, np.float32) for w in words])


def _per_speaker(utterances: Sequence[Utterance], name: str, like: torch.Tensor) -> torch.Tensor:
    return torch.tensor([[getattr(u.speaker, name)] for u in utterances], dtype=like.dtype, device=like.device)


def _upsampled(track: torch.Tensor, size: int) -> torch.Tensor:
    """Linear from the grid to samples: (B, n) -> (B, size)."""
    n = track.shape[1]
    return F.interpolate(track[:, None], size=(n - 1) * _UP + 1, mode="linear", align_corners=True)[:, 0, :size]


def _frequencies(like: torch.Tensor) -> torch.Tensor:
    return torch.arange(_FFT // 2 + 1, device=like.device, dtype=torch.float32) * (SAMPLE_RATE / _FFT)


def _quadratic(f: torch.Tensor, centre: torch.Tensor, width: torch.Tensor | float) -> torch.Tensor:
    """The inverse of a second-order resonance with gain 1 at 0 Hz: centre, width (...,), f (K,) -> complex (..., K)."""
    inverse = 1 / centre
    across = (width * inverse * inverse)[..., None]
    return torch.complex(1 - (f * inverse[..., None]) ** 2, f * across)


def _tract(coarse: dict[str, torch.Tensor], tract: torch.Tensor) -> torch.Tensor:
    """The vocal tract with a nasal branch: (B, hops, bins) complex."""
    f, nasal = _frequencies(tract), coarse["nasal"]
    inverse = _quadratic(f, torch.full_like(tract, _NASAL_POLE), 90.0)
    for centre, width in zip(_UPPER_FORMANTS, _BANDWIDTHS[3:], strict=True):
        inverse = inverse * _quadratic(f, centre * tract, width * tract)
    for i, centre in enumerate(coarse["formants"].unbind(-1)):
        # The nose damps what goes through it; shorter tracts ring a little wider.
        width = _BANDWIDTHS[i] * tract * (1 + nasal * (0.5 if i == 0 else 1.2))
        inverse = inverse * _quadratic(f, centre * tract, width)
    # The zero cancels the nasal pole until the velum opens.
    zero = _quadratic(f, _NASAL_POLE + (_NASAL_ZERO - _NASAL_POLE) * nasal, 90.0 + 60.0 * nasal)
    return zero / inverse * _higher_poles(f / tract)[:, None]


def _higher_poles(f: torch.Tensor) -> torch.Tensor:
    """What a tube's resonances above the eighth add below them (Fant's higher-pole correction); real, >= 1."""
    centres = torch.arange(9, 60, device=f.device) * 1000.0 - 500.0
    ratio = (
        f.clamp(max=7600.0)[..., None] / centres
    )  # short of the ninth, where only a real tract's losses hold it down
    return torch.exp(-torch.log1p(-(ratio**2)).sum(-1))


def _glottis(f0: torch.Tensor, cutoff: torch.Tensor) -> torch.Tensor:
    """The pulse's spectrum with the lips' radiation: +6 dB per octave up to about the mean pitch ``f0`` (B, 1), -6
    above, and a further -6 beyond ``cutoff`` (B, hops); complex (B, hops, bins).
    """
    f = _frequencies(cutoff)
    corner = torch.complex(torch.ones_like(f), f / (0.9 * f0 + 30))[:, None]
    radiation = torch.complex(torch.zeros_like(f), f / 120.0)
    return radiation / (corner * corner * torch.complex(torch.ones_like(cutoff[..., None] * f), f / cutoff[..., None]))


def _mouth_noise(coarse: dict[str, torch.Tensor], tract: torch.Tensor) -> torch.Tensor:
    """The spectrum of noise made at a narrowing: one broad hump over a low floor; (B, hops, bins), real."""
    f = _frequencies(tract)
    centre = (coarse["centre"] * tract**0.6)[..., None]
    width = coarse["width"][..., None]
    hump = torch.exp(-0.5 * ((f - centre) / torch.where(f < centre, width, 1.6 * width)) ** 2)
    floor = 0.06 * f**2 / (f**2 + 1500.0**2)
    return (hump + floor) * torch.rsqrt(width / 1500.0)


def _filtered(source: torch.Tensor, response: torch.Tensor) -> torch.Tensor:
    """``source`` (B, N) through ``response`` (B, hops + 1, bins), one per hop: slices, FFT, product, overlap-add."""
    size = source.shape[1]
    window = torch.hann_window(_SLICE, periodic=True, device=source.device)
    slices = F.pad(source, (_HOP, _HOP)).unfold(1, _SLICE, _HOP) * window
    shaped = torch.fft.irfft(torch.fft.rfft(slices, n=_FFT) * response[:, : slices.shape[1]], n=_FFT)
    if not response.is_complex():  # without phase the response rings both ways: bring its middle back
        shaped = torch.roll(shaped, _FFT // 2 - _SLICE // 2, -1)
        lead = _FFT // 2 - _SLICE // 2
    else:
        lead = 0
    length = (slices.shape[1] - 1) * _HOP + _FFT
    added = F.fold(shaped.transpose(1, 2), (1, length), (1, _FFT), stride=(1, _HOP))[:, 0, 0]
    start = _HOP + lead
    return F.pad(added, (0, max(0, start + size - length)))[:, start : start + size]
