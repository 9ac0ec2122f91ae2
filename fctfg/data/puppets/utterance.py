"""What a puppet says and how: word-like strings of phonemes with durations, stress and melody.

Everything is drawn from one ``numpy.random.Generator``, on the CPU, so that an utterance depends on its seed alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from fctfg.data.puppets.phonemes import CODAS, NUCLEI, NUMBER, ONSETS, PHONEMES, SYMBOLS

LEAST_SECONDS = 0.5
_BRISK = 1.18  # running speech is quicker than its sounds said one by one
_TRIES, _STRETCH = 6, 1.12
_SYLLABLES = (0.32, 0.40, 0.20, 0.08)  # words of one, two, three, four syllables


@dataclass(frozen=True)
class Speaker:
    """A voice. ``f0``: mean pitch in Hz. ``tract``: formants over those of an adult male (1 / tract length).
    ``breathiness``: 0..1. ``articulation``: how far the mouth moves. ``rate``: speed, 1 is unhurried.
    ``tilt``: Hz above which the voice loses another 6 dB per octave. ``room``: level of the recording's own hiss.
    """

    f0: float = 120.0
    tract: float = 1.0
    breathiness: float = 0.15
    articulation: float = 1.0
    rate: float = 1.0
    tilt: float = 3500.0
    room: float = 0.0005


@dataclass(frozen=True)
class Manner:
    """How something is said: ``effort`` (0.5 mumbled, 1 plain, 1.6 shouted: louder, brighter, wider mouth), ``pitch``
    in semitones above the speaker's mean, ``melody`` (scale of the pitch movements), ``rate``, and ``rest`` (how open
    the mouth is in pauses).
    """

    effort: float = 1.0
    pitch: float = 0.0
    melody: float = 1.0
    rate: float = 1.0
    rest: float = 0.0


@dataclass(frozen=True)
class Utterance:
    """One utterance. Arrays have one entry per phoneme, in order, without gaps from 0 to ``seconds``.

    ``phoneme``: numbers into ``phonemes.SYMBOLS``. ``start``, ``end``: seconds. ``release``: where a plosive's or an
    affricate's closure ends (``end`` for all others). ``stress``: 0..1, that of the syllable. ``seed``: of the noise.
    """

    seconds: float
    phoneme: np.ndarray
    start: np.ndarray
    end: np.ndarray
    release: np.ndarray
    stress: np.ndarray
    speaker: Speaker = field(default_factory=Speaker)
    manner: Manner = field(default_factory=Manner)
    seed: int = 0

    def symbols(self) -> list[str]:
        return [SYMBOLS[i] for i in self.phoneme]

    def spans(self, *symbols: str) -> list[tuple[float, float]]:
        """(start, end) of every phoneme among ``symbols``."""
        wanted = [NUMBER[s] for s in symbols]
        return [(float(s), float(e)) for p, s, e in zip(self.phoneme, self.start, self.end, strict=True) if p in wanted]

    def beats(self) -> np.ndarray:
        """(n, 2): the middle of every stressed vowel in seconds and its stress."""
        vowel = np.array([PHONEMES[s].syllabic for s in self.symbols()], bool) & (self.stress > 0.5)
        return np.stack([(self.start + self.end)[vowel] / 2, self.stress[vowel]], 1)


def sample_speaker(rng: np.random.Generator, build: float | None = None) -> Speaker:
    """Draw a voice: half of them low (85-150 Hz), half high (165-255 Hz) with a vocal tract shorter by a sixth.

    ``build`` in [-1, 1] (a heavy jaw, a beard) makes the low half likelier; None leaves it at one half.
    """
    low = rng.random() < 0.5 + 0.5 * (build or 0.0)
    f0 = np.exp(rng.uniform(np.log(85), np.log(150))) if low else np.exp(rng.uniform(np.log(165), np.log(255)))
    return Speaker(
        f0=float(f0),
        tract=float(rng.uniform(0.93, 1.07) * (1.0 if low else 1.16)),
        breathiness=float(rng.beta(2, 5)),
        articulation=float(rng.uniform(0.85, 1.15)),
        rate=float(rng.uniform(0.92, 1.12)),
        tilt=float(rng.uniform(2200, 5500)),
        room=float(10 ** rng.uniform(-3.6, -3.0)),
    )


def say(
    words: list[list[str]], speaker: Speaker | None = None, manner: Manner | None = None, seed: int = 0,
    pause: float = 0.2, stress: float = 0.8,
) -> Utterance:  # fmt: skip
    """A fixed text, phonemes given by name word by word, with unvaried durations and a pause at both ends."""
    speaker, manner = speaker or Speaker(), manner or Manner()
    rows = [("sil", pause, 0.0)]
    for word in words:
        rows += [(symbol, PHONEMES[symbol].seconds / (speaker.rate * manner.rate), stress) for symbol in word]
    rows.append(("sil", pause, 0.0))
    return _utterance(rows, sum(row[1] for row in rows), speaker, manner, seed)


def babble(
    rng: np.random.Generator, seconds: float, speaker: Speaker | None = None, manner: Manner | None = None
) -> Utterance:
    """Random word-like speech of exactly ``seconds`` at four to five syllables a second.

    Words have one to four syllables, phrases three to seven words, with pauses of a quarter to half a second
    between phrases; it begins and ends in silence. Raises ValueError for less than half a second.
    """
    if not seconds >= LEAST_SECONDS:
        raise ValueError(f"an utterance needs at least {LEAST_SECONDS} seconds, not {seconds}")
    speaker, manner = speaker or Speaker(), manner or Manner()
    hurry = _BRISK * speaker.rate * manner.rate
    rows = [("sil", min(rng.uniform(0.10, 0.35), seconds / 4), 0.0)]
    used, room = rows[0][1], seconds - min(0.12, seconds / 5)
    while True:
        n_words, said = int(rng.integers(3, 8)), 0
        for _ in range(n_words + _TRIES):  # the last words are redrawn until short ones fill the time
            word = _word(rng, hurry, last=said == n_words - 1)
            length = sum(row[1] for row in word)
            if used + length <= room and said < n_words:
                rows, used, said = rows + word, used + length, said + 1
        if said < n_words:
            break
        rest = rng.uniform(0.25, 0.65) / hurry
        rows, used = [*rows, ("sil", rest, 0.0)], used + rest
    if rows[-1][0] == "sil":
        used -= rows.pop()[1]
    stretch = min(room / used, _STRETCH)
    rows = [(symbol, length * stretch, stress) for symbol, length, stress in rows]
    rows.append(("sil", seconds - used * stretch, 0.0))
    return _utterance(rows, seconds, speaker, manner, int(rng.integers(2**63)))


def _word(rng: np.random.Generator, hurry: float, last: bool) -> list[tuple[str, float, float]]:
    n = int(rng.choice(4, p=_SYLLABLES)) + 1
    stressed = 0 if n == 1 else int(rng.integers(0, 2))
    rows = []
    for i in range(n):
        strong = i == stressed and (n > 1 or rng.random() < 0.75)
        stress = rng.uniform(0.7, 1.0) if strong else rng.uniform(0.1, 0.45)
        nucleus = "ax" if not strong and n > 1 and rng.random() < 0.4 else _pick(rng, NUCLEI)
        parts = [*_pick(rng, ONSETS).split(), nucleus, *(_pick(rng, CODAS).split() if i == n - 1 or strong else ())]
        for symbol in parts:
            vowel = PHONEMES[symbol].syllabic
            stretch = (1.25 if strong else 0.85) if vowel else 0.95
            stretch *= 1.35 if last and i == n - 1 and vowel else 1.0  # final lengthening
            rows.append((symbol, PHONEMES[symbol].seconds * stretch * rng.uniform(0.85, 1.2) / hurry, stress))
    # The same sound twice in a row is one sound.
    return [row for j, row in enumerate(rows) if j == 0 or row[0] != rows[j - 1][0]]


def _pick(rng: np.random.Generator, table: dict[str, float]) -> str:
    weights = np.array(list(table.values()), float)
    return list(table)[int(rng.choice(len(table), p=weights / weights.sum()))]


def _utterance(
    rows: list[tuple[str, float, float]], seconds: float, speaker: Speaker, manner: Manner, seed: int
) -> Utterance:
    end = np.cumsum([row[1] for row in rows])
    end[-1] = seconds  # free of the sum's rounding
    start = np.concatenate([[0.0], end[:-1]])
    release = end.copy()
    for i, (symbol, length, _) in enumerate(rows):
        phoneme = PHONEMES[symbol]
        if phoneme.kind == "plosive":  # the burst and, without voice, a breath before the vowel come after it
            release[i] = end[i] - length * (0.20 if phoneme.voiced else 0.42)
        elif phoneme.kind == "affricate":
            release[i] = start[i] + length * 0.45
    return Utterance(
        seconds=float(seconds),
        phoneme=np.array([NUMBER[row[0]] for row in rows], np.int64),
        start=start,
        end=end,
        release=release,
        stress=np.array([row[2] for row in rows]),
        speaker=speaker,
        manner=manner,
        seed=seed,
    )
