"""The sounds a puppet can make: how each is heard and how it is seen.

Names follow ARPABET (https://en.wikipedia.org/wiki/ARPABET), lower case, with ``ax`` for schwa and ``sil`` for silence.
Formants of vowels and loci of consonants are those of an adult male voice, rounded, after Klatt, "Software for a
cascade/parallel formant synthesizer", JASA 67 (1980), tables II and III, and Peterson & Barney, JASA 24 (1952).
Mouth targets are ours, in the units of ``motion``: what phonetics calls open, spread and rounded.
"""

from __future__ import annotations

from dataclasses import dataclass

KINDS = ("silence", "vowel", "glide", "nasal", "fricative", "plosive", "affricate")


@dataclass(frozen=True)
class Phoneme:
    """One sound.

    ``formants``: F1, F2, F3 in Hz at its beginning and end (the same twice unless a diphthong).
    ``lips``: (mouth_open, mouth_width, mouth_round) at its beginning and end, at full articulation.
    ``firmness``: how strongly the lips insist on their target against the neighbours', 0 to 1.
    ``seal``: how far the lips shut whatever the neighbours are; 1 for p, b, m, .85 for lip on teeth (f, v).
    ``seconds``: duration in unhurried speech. ``noise``: (centre Hz, width Hz, level) of its hiss, level 0 for none.
    """

    symbol: str
    kind: str
    voiced: bool
    seconds: float
    formants: tuple[tuple[float, float, float], tuple[float, float, float]]
    lips: tuple[tuple[float, float, float], tuple[float, float, float]]
    firmness: float = 1.0
    seal: float = 0.0
    noise: tuple[float, float, float] = (3000.0, 1500.0, 0.0)

    @property
    def syllabic(self) -> bool:
        return self.kind == "vowel"


def _vowel(symbol, seconds, first, lips, last=None, lips_last=None) -> Phoneme:
    return Phoneme(symbol, "vowel", True, seconds, (first, last or first), (lips, lips_last or lips))


def _consonant(symbol, kind, voiced, seconds, locus, lips, firmness, seal=0.0, noise=(3000.0, 1500.0, 0.0)) -> Phoneme:
    return Phoneme(symbol, kind, voiced, seconds, (locus, locus), (lips, lips), firmness, seal, noise)


_ALL = (
    Phoneme("sil", "silence", False, 0.3, ((500, 1500, 2500),) * 2, ((0.0, 0.0, 0.0),) * 2, firmness=0.7),
    # vowels: seconds, formants, (open, width, round)
    _vowel("iy", 0.120, (300, 2250, 3000), (0.30, 0.75, 0.00)),
    _vowel("ih", 0.090, (400, 1900, 2550), (0.40, 0.40, 0.00)),
    _vowel("eh", 0.105, (550, 1750, 2500), (0.60, 0.40, 0.00)),
    _vowel("ae", 0.140, (670, 1680, 2430), (0.85, 0.45, 0.00)),
    _vowel("aa", 0.140, (730, 1120, 2500), (1.00, 0.00, 0.00)),
    _vowel("ao", 0.135, (590, 880, 2540), (0.75, -0.20, 0.55)),
    _vowel("uh", 0.090, (450, 1080, 2300), (0.38, -0.20, 0.55)),
    _vowel("uw", 0.120, (320, 880, 2250), (0.25, -0.50, 0.95)),
    _vowel("ah", 0.100, (640, 1220, 2500), (0.65, 0.05, 0.00)),
    _vowel("er", 0.120, (470, 1270, 1600), (0.40, -0.10, 0.45)),
    _vowel("ax", 0.060, (500, 1450, 2450), (0.38, 0.05, 0.00)),
    # diphthongs: from, to
    _vowel("ay", 0.160, (690, 1200, 2550), (0.95, 0.05, 0.00), (380, 2000, 2600), (0.40, 0.55, 0.00)),
    _vowel("aw", 0.165, (690, 1250, 2550), (0.95, 0.00, 0.00), (400, 900, 2350), (0.30, -0.35, 0.85)),
    _vowel("oy", 0.165, (560, 900, 2450), (0.60, -0.30, 0.75), (380, 1950, 2600), (0.38, 0.50, 0.00)),
    _vowel("ey", 0.140, (500, 1850, 2550), (0.55, 0.45, 0.00), (340, 2150, 2750), (0.32, 0.65, 0.00)),
    _vowel("ow", 0.140, (540, 1020, 2400), (0.60, -0.20, 0.60), (380, 820, 2300), (0.28, -0.45, 0.95)),
    # glides and liquids
    _consonant("w", "glide", True, 0.070, (290, 640, 2200), (0.15, -0.50, 0.95), 1.0),
    _consonant("y", "glide", True, 0.060, (270, 2150, 3000), (0.25, 0.60, 0.00), 0.6),
    _consonant("l", "glide", True, 0.065, (330, 1050, 2850), (0.42, 0.10, 0.00), 0.45),
    _consonant("r", "glide", True, 0.070, (320, 1080, 1450), (0.28, -0.20, 0.55), 0.7),
    # nasals
    _consonant("m", "nasal", True, 0.080, (300, 1000, 2200), (0.0, -0.05, 0.0), 0.35, seal=1.0),
    _consonant("n", "nasal", True, 0.070, (300, 1500, 2550), (0.28, 0.10, 0.0), 0.40),
    _consonant("ng", "nasal", True, 0.080, (300, 1950, 2550), (0.32, 0.05, 0.0), 0.30),
    # fricatives; noise: centre, width, level
    _consonant("f", "fricative", False, 0.100, (340, 1100, 2080), (0.10, 0.10, 0.0), 0.6, 0.85, (5200, 3500, 0.16)),
    _consonant("v", "fricative", True, 0.065, (260, 1100, 2080), (0.10, 0.10, 0.0), 0.6, 0.85, (5200, 3500, 0.07)),
    _consonant("th", "fricative", False, 0.090, (320, 1290, 2540), (0.30, 0.15, 0.0), 0.7, 0.0, (6300, 2600, 0.14)),
    _consonant("dh", "fricative", True, 0.050, (270, 1290, 2540), (0.30, 0.15, 0.0), 0.6, 0.0, (6300, 2600, 0.05)),
    _consonant("s", "fricative", False, 0.105, (320, 1450, 2530), (0.16, 0.50, 0.0), 0.8, 0.0, (6000, 1300, 0.80)),
    _consonant("z", "fricative", True, 0.080, (260, 1450, 2530), (0.16, 0.50, 0.0), 0.8, 0.0, (6000, 1300, 0.38)),
    _consonant("sh", "fricative", False, 0.110, (320, 1840, 2600), (0.28, -0.35, 0.75), 0.9, 0.0, (3300, 900, 0.75)),
    _consonant("zh", "fricative", True, 0.080, (270, 1840, 2600), (0.28, -0.35, 0.75), 0.9, 0.0, (3300, 900, 0.36)),
    _consonant("hh", "fricative", False, 0.065, (500, 1500, 2500), (0.45, 0.0, 0.0), 0.05),
    # plosives and affricates; noise: that of the burst
    _consonant("p", "plosive", False, 0.105, (250, 850, 2150), (0.0, -0.05, 0.0), 0.35, 1.0, (1000, 1200, 0.45)),
    _consonant("b", "plosive", True, 0.085, (220, 850, 2150), (0.0, -0.05, 0.0), 0.35, 1.0, (1000, 1200, 0.28)),
    _consonant("t", "plosive", False, 0.095, (300, 1750, 2650), (0.24, 0.20, 0.0), 0.50, 0.0, (4500, 1800, 0.70)),
    _consonant("d", "plosive", True, 0.075, (250, 1750, 2650), (0.24, 0.20, 0.0), 0.50, 0.0, (4300, 1800, 0.40)),
    _consonant("k", "plosive", False, 0.100, (300, 1950, 2400), (0.34, 0.05, 0.0), 0.25, 0.0, (2100, 700, 0.70)),
    _consonant("g", "plosive", True, 0.080, (250, 1950, 2400), (0.34, 0.05, 0.0), 0.25, 0.0, (2000, 700, 0.40)),
    _consonant("ch", "affricate", False, 0.125, (320, 1800, 2700), (0.26, -0.35, 0.75), 0.9, 0.0, (3500, 1000, 0.75)),
    _consonant("jh", "affricate", True, 0.105, (260, 1800, 2700), (0.26, -0.35, 0.75), 0.9, 0.0, (3500, 1000, 0.45)),
)  # fmt: skip

#: every phoneme by name; ``SYMBOLS[i]`` is the name of the number i that timelines store
PHONEMES = {p.symbol: p for p in _ALL}
SYMBOLS = tuple(PHONEMES)
NUMBER = {symbol: i for i, symbol in enumerate(SYMBOLS)}

#: Syllables are built from these: what may come before and after a vowel, and how often.
ONSETS = {
    "": 6, "p": 5, "b": 6, "m": 6, "f": 3, "v": 2, "w": 4, "t": 6, "d": 5, "n": 4, "s": 6, "z": 1, "l": 4, "r": 4,
    "k": 5, "g": 3, "sh": 3, "ch": 2, "jh": 1.5, "hh": 3, "y": 2, "th": 1.5, "dh": 2, "zh": 0.3,
    "p l": 0.6, "p r": 0.8, "b r": 0.8, "b l": 0.5, "t r": 0.8, "k r": 0.6, "f l": 0.5, "f r": 0.6, "s t": 1.2,
    "s p": 0.8, "s m": 0.4, "s w": 0.4, "s k": 0.5, "g r": 0.5, "d r": 0.4,
}  # fmt: skip
NUCLEI = {
    "iy": 5, "ih": 6, "eh": 6, "ae": 6, "aa": 7, "ao": 4, "uh": 2, "uw": 5, "ah": 4, "er": 2,
    "ay": 4, "aw": 2, "oy": 1, "ey": 4, "ow": 4,
}  # fmt: skip
CODAS = {
    "": 22, "n": 5, "m": 3, "s": 3, "z": 2, "t": 4, "d": 3, "l": 3, "k": 2.5, "p": 2, "b": 1, "f": 1.2, "v": 1,
    "ng": 1, "sh": 0.8, "r": 1.5, "n t": 0.6, "s t": 0.6, "m p": 0.4, "th": 0.4, "ch": 0.4,
}  # fmt: skip
