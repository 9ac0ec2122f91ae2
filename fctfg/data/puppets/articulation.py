"""From phonemes to movements: what the lips, the tract and the glottis do at every millisecond.

Lips and sound come from the same targets. A target is held with its phoneme's firmness and blended with its neighbours'
by a moving weighted mean (dominance blending, after Cohen & Massaro, "Modeling coarticulation in synthetic visual
speech", 1993); the lips look ``LIP_LEAD`` ahead of the sound, and a seal (p b m, f v) overrides whatever is around it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fctfg.data.puppets.phonemes import PHONEMES, SYMBOLS
from fctfg.data.puppets.utterance import Utterance

RATE = 1000  # grid of all tracks, per second
LIP_LEAD = 0.03  # seconds by which the lips' targets precede the sound's
SEAL_BEFORE, SEAL_AFTER = 0.06, 0.05  # seconds in which the lips close before a seal and part after it
_LIP_BLEND, _FORMANT_BLEND, _NASAL_BLEND = 0.11, 0.08, 0.07  # width of the blending windows in seconds
_PLAIN_OPENING = 0.62  # of the widest possible, for an "aa" of plain effort
_MARGIN = 0.2  # seconds of grid before and after the utterance, for the blending windows

_TABLE = [PHONEMES[s] for s in SYMBOLS]
_FORMANTS = np.array([p.formants for p in _TABLE], float)  # (P, 2, 3)
_LIPS = np.array([p.lips for p in _TABLE], float)
_FIRM = np.array([p.firmness for p in _TABLE])
_SEAL = np.array([p.seal for p in _TABLE])
_NOISE = np.array([p.noise for p in _TABLE], float)
_KIND = np.array([p.kind for p in _TABLE])
_VOICED = np.array([p.voiced for p in _TABLE])
_NO_LOCUS = np.isin(np.array(SYMBOLS), ("sil", "hh"))  # sounds that take the formants of their neighbours
_VELAR = np.isin(np.array(SYMBOLS), ("k", "g", "ng"))

#: loudness of the voice and the cutoff of its extra low-pass (a fraction of the speaker's) by kind of sound
_LEVEL = {"vowel": 1.0, "glide": 0.75, "nasal": 0.75, "fricative": 0.35, "plosive": 0.7, "affricate": 0.5}
_CUTOFF = {"vowel": 1.0, "glide": 0.8, "nasal": 0.6, "fricative": 0.4, "plosive": 0.9, "affricate": 0.7, "silence": 1.0}
_LEVELS = np.array([_LEVEL.get(k, 0.0) for k in _KIND]) * _VOICED
_CUTOFFS = np.array([_CUTOFF[k] for k in _KIND])
_VOICE_BAR, _BAR_CUTOFF = 0.3, 0.08  # during a voiced closure only a dull hum comes through the cheeks


@dataclass(frozen=True)
class Tracks:
    """Movements on a grid of ``RATE`` per second from time 0; all (n,) float64, ``formants`` (n, 3) in Hz.

    ``f0`` Hz; ``voice``, ``breath``, ``hiss``: amplitudes of the glottal pulses, of noise through the whole tract and
    of noise made in the mouth; ``cutoff`` Hz: the voice's extra low-pass; ``nasal`` 0..1; ``centre``, ``width`` Hz: the
    hiss's spectrum.
    """

    f0: np.ndarray
    voice: np.ndarray
    breath: np.ndarray
    hiss: np.ndarray
    cutoff: np.ndarray
    nasal: np.ndarray
    formants: np.ndarray
    centre: np.ndarray
    width: np.ndarray


def lips(utterance: Utterance, times: np.ndarray) -> dict[str, np.ndarray]:
    """The mouth at ``times`` (seconds, any shape (T,)): ``mouth_open`` and ``mouth_round`` in [0, 1], ``mouth_width``
    in [-1, 1], as ``motion`` defines them. Shut lips are exactly 0 open through every closure of p, b and m.
    """
    t = _grid(utterance, _MARGIN)
    row, u = _place(utterance, t + LIP_LEAD)
    target = _between(_LIPS, utterance.phoneme[row], u)
    speaker, manner = utterance.speaker, utterance.manner
    reach = speaker.articulation * (0.55 + 0.45 * manner.effort)
    target[:, 0] *= _PLAIN_OPENING * reach * (0.72 + 0.36 * utterance.stress[row])
    target[:, 1:] *= np.clip(reach, 0.6, 1.1)[..., None] * (0.8 + 0.2 * utterance.stress[row])[:, None]
    target[_KIND[utterance.phoneme[row]] == "silence", 0] = manner.rest
    firm = _FIRM[utterance.phoneme[row]][:, None] * _segment_weight(utterance)[row][:, None]
    blended = _blend(target, firm, _LIP_BLEND)
    opening = np.clip(blended[:, 0], 0, 1) * (1 - _sealed(utterance, t))
    tracks = (opening, np.clip(blended[:, 1], -1, 1), np.clip(blended[:, 2], 0, 1))
    return {
        name: np.interp(times, t, track)
        for name, track in zip(("mouth_open", "mouth_width", "mouth_round"), tracks, strict=True)
    }


def tracks(utterance: Utterance) -> Tracks:
    """What drives the synthesizer; see ``Tracks``."""
    t = _grid(utterance, 0.0)
    row, u = _place(utterance, t)
    phoneme, stress = utterance.phoneme[row], utterance.stress[row]
    manner, speaker = utterance.manner, utterance.speaker
    released = t >= utterance.release[row]
    stopped = np.isin(_KIND[phoneme], ("plosive", "affricate"))

    formants = _between(_FORMANTS, phoneme, u)
    vowel = _KIND[phoneme] == "vowel"
    slack = np.where(vowel, 0.28 * (1 - stress), 0.0)[:, None]  # unstressed vowels drift towards schwa
    formants = formants + slack * (np.array([500.0, 1450.0, 2450.0]) - formants)
    firm = np.where(_NO_LOCUS[phoneme], 0.02, 1.0)[:, None]
    formants = _blend(formants, firm, _FORMANT_BLEND)

    closed = stopped & ~released
    loud = manner.effort**0.8 * (0.62 + 0.45 * stress)
    voice = np.where(closed, _VOICE_BAR * _VOICED[phoneme], _LEVELS[phoneme]) * loud
    cutoff = np.log(np.where(closed, _BAR_CUTOFF, _CUTOFFS[phoneme]) * speaker.tilt * manner.effort)
    nasal = _smooth((_KIND[phoneme] == "nasal").astype(float), _NASAL_BLEND)

    voiceless_stop = (_KIND[phoneme] == "plosive") & ~_VOICED[phoneme]
    breath = np.where(phoneme == SYMBOLS.index("hh"), 0.55, np.where(voiceless_stop & released, 0.42, 0.0)) * loud
    centre = np.where(_VELAR[phoneme], 1.08 * formants[:, 1], _NOISE[phoneme, 0])
    return Tracks(
        f0=_melody(utterance, t),
        voice=_smooth(voice, 0.03),
        breath=_smooth(breath, 0.012),
        hiss=_hiss(utterance, t, row) * manner.effort**0.6,
        cutoff=np.exp(_smooth(cutoff, 0.02)),
        nasal=nasal,
        formants=formants,
        centre=_smooth(centre, 0.012),
        width=_smooth(_NOISE[phoneme, 1], 0.012),
    )


def _hiss(utterance: Utterance, t: np.ndarray, row: np.ndarray) -> np.ndarray:
    """Fricatives swell and fade; a burst jumps up at its release and dies within hundredths of a second."""
    phoneme = utterance.phoneme[row]
    kind, level = _KIND[phoneme], _NOISE[phoneme, 2] * (0.8 + 0.25 * utterance.stress[row])
    since = t - utterance.release[row]
    sustained = np.where((kind == "fricative") | ((kind == "affricate") & (since >= 0)), level, 0.0)
    fading = np.exp(-np.maximum(since, 0) / 0.009)
    burst = np.where((kind == "plosive") & (since >= 0), level * fading, 0.0)
    return _smooth(sustained, 0.024) + burst


def _melody(utterance: Utterance, t: np.ndarray) -> np.ndarray:
    """Pitch in Hz: it declines through a phrase, rises on stressed vowels and falls (or, asking, rises) at the end."""
    rng = np.random.Generator(np.random.Philox(utterance.seed))
    speaker, manner = utterance.speaker, utterance.manner
    semitones = np.zeros_like(t)
    for start, end in _phrases(utterance):
        u = np.clip((t - start) / max(end - start, 0.1), 0, 1)
        inside = _smooth(((t >= start - 0.05) & (t <= end + 0.05)).astype(float), 0.05)
        final = 4.5 if rng.random() < 0.2 else -3.5
        semitones += inside * (2.0 - 4.0 * u + final * np.clip((t - end + 0.25) / 0.25, 0, 1) ** 2)
    for time, stress in utterance.beats():
        semitones += rng.uniform(1.5, 4.5) * stress * np.exp(-0.5 * ((t - time - 0.02) / 0.08) ** 2)
    wander = np.interp(t, np.arange(0, t[-1] + 0.5, 0.12), rng.normal(0, 0.35, int((t[-1] + 0.5) / 0.12) + 1))
    jitter = rng.normal(0, 0.004, len(t) // 8 + 2)[np.arange(len(t)) // 8]
    shift = manner.pitch + manner.melody * semitones + wander
    return np.clip(speaker.f0 * 2 ** (shift / 12) * (1 + jitter), 55, 520)


def _phrases(utterance: Utterance) -> list[tuple[float, float]]:
    silent = _KIND[utterance.phoneme] == "silence"
    edges = np.flatnonzero(np.diff(np.concatenate([[1], silent.astype(int), [1]])))
    return [(utterance.start[a], utterance.end[b - 1]) for a, b in zip(edges[::2], edges[1::2], strict=True)]


def _sealed(utterance: Utterance, t: np.ndarray) -> np.ndarray:
    seal = np.zeros_like(t)
    for i in np.flatnonzero(_SEAL[utterance.phoneme] > 0):
        before = (utterance.start[i] - t) / SEAL_BEFORE
        after = (t - utterance.release[i]) / SEAL_AFTER
        away = np.clip(np.maximum(before, after), 0, 1)
        seal = np.maximum(seal, _SEAL[utterance.phoneme[i]] * (0.5 + 0.5 * np.cos(np.pi * away)))
    return seal


def _segment_weight(utterance: Utterance) -> np.ndarray:
    """Long pauses must not outweigh the sounds beside them, nor short vowels vanish between consonants."""
    return 1.0 / np.clip((utterance.end - utterance.start) / 0.1, 0.7, 1.5)


def _grid(utterance: Utterance, margin: float) -> np.ndarray:
    return np.arange(round(-margin * RATE), int(np.ceil((utterance.seconds + margin) * RATE)) + 1) / RATE


def _place(utterance: Utterance, t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For every time the phoneme's place in the utterance and how far its glide has got, 0 to 1."""
    row = np.clip(np.searchsorted(utterance.start, t, side="right") - 1, 0, len(utterance.start) - 1)
    u = (t - utterance.start[row]) / (utterance.end - utterance.start)[row]
    return row, 0.5 - 0.5 * np.cos(np.pi * np.clip((u - 0.2) / 0.65, 0, 1))


def _between(table: np.ndarray, phoneme: np.ndarray, u: np.ndarray) -> np.ndarray:
    first, last = table[phoneme, 0], table[phoneme, 1]
    return first + (last - first) * u[:, None]


def _smooth(x: np.ndarray, seconds: float) -> np.ndarray:
    """A moving raised-cosine mean, ``seconds`` wide; the ends are held. ``x``: (n,) or (n, C)."""
    half = max(1, round(seconds * RATE / 2))
    window = np.hanning(2 * half + 3)[1:-1]
    window /= window.sum()
    padded = np.pad(x, ((half, half),) + ((0, 0),) * (x.ndim - 1), mode="edge")
    columns = padded[:, None] if x.ndim == 1 else padded
    result = np.stack([np.convolve(column, window, mode="valid") for column in columns.T], 1)
    return result[:, 0] if x.ndim == 1 else result


def _blend(target: np.ndarray, weight: np.ndarray, seconds: float) -> np.ndarray:
    """Weighted moving mean of (n, C) targets with (n, 1) weights."""
    return _smooth(target * weight, seconds) / _smooth(weight, seconds)
