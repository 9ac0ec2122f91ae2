"""What happens in a clip: speech, emotion, head, eyes and brows, drawn from one seed.

    rng = clip_rng(seed=0, split="train", identity=3, clip=0)
    script = draw(rng, seconds=4.0, speaker=speaker_of(0, "train", 3), emotion="happy", level=2)
    script.motion(np.arange(100) / 25)      # (100, len(MOTION)) float32
    synthesize([script.utterance])          # (1, 64000)

Every generator is derived by hashing from what it is for, never from global state, so any process draws the same clip.
Train and test seeds differ in their lowest bit: no identity of one can be an identity of the other, whatever the seed.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from fctfg.data.clips import EMOTIONS
from fctfg.data.puppets.articulation import lips
from fctfg.data.puppets.motion import MOTION, RANGES, index
from fctfg.data.puppets.utterance import Manner, Speaker, Utterance, babble, sample_speaker

GRID = 200  # motion is drawn this many times per second and read linearly between
SPLITS = ("train", "test")
LEVELS = {1: 0.35, 2: 0.65, 3: 1.0}  # how much of an emotion MEAD's three levels show


@dataclass(frozen=True)
class Mood:
    """An emotion at full strength, as offsets in ``motion``'s units and factors on timing; the defaults are neutral.

    ``raise_l``, ``raise_r``, ``furrow``: brows; ``lids``: how far the eyes are drawn shut; ``rest``: how open the mouth
    is in pauses; ``effort``, ``tone`` (semitones), ``melody``, ``rate``: the voice; ``blinks``, ``lively``,
    ``restless``: factors on how often one blinks, moves the head and looks away.
    """

    smile: float = 0.0
    raise_l: float = 0.0
    raise_r: float = 0.0
    furrow: float = 0.0
    lids: float = 0.0
    width: float = 0.0
    rest: float = 0.0
    pitch: float = 0.0
    roll: float = 0.0
    gaze_y: float = 0.0
    effort: float = 1.0
    tone: float = 0.0
    melody: float = 1.0
    rate: float = 1.0
    blinks: float = 1.0
    lively: float = 1.0
    restless: float = 1.0


MOODS = {
    "angry": Mood(-0.3, -0.5, -0.5, 0.9, 0.08, 0.0, 0.0, -3, 0, 0, 1.5, 2, 1.3, 1.1, 0.6, 1.5, 0.6),
    "contempt": Mood(0.25, 0.5, -0.15, 0.1, 0.25, -0.1, 0.0, 5, 3, -0.1, 0.9, -1, 0.8, 0.95, 0.9, 0.7, 1.0),
    "disgusted": Mood(-0.5, -0.35, -0.3, 0.65, 0.35, 0.1, 0.03, 3, -2, 0, 1.05, -0.5, 0.9, 0.9, 1.2, 1.0, 1.3),
    "fear": Mood(-0.2, 0.75, 0.7, 0.4, 0.0, 0.1, 0.1, 2, 0, 0, 1.1, 4, 1.1, 1.15, 1.8, 1.1, 1.8),
    "happy": Mood(0.9, 0.2, 0.2, 0.0, 0.15, 0.2, 0.04, 1, 1, 0, 1.15, 2, 1.4, 1.05, 1.0, 1.3, 1.0),
    "neutral": Mood(),
    "sad": Mood(-0.65, 0.25, 0.3, 0.45, 0.28, -0.1, 0.0, -6, 2, -0.3, 0.75, -1.5, 0.5, 0.85, 1.1, 0.5, 1.2),
    "surprised": Mood(0.0, 0.85, 0.85, 0.0, 0.0, -0.05, 0.2, 2, 0, 0, 1.25, 4, 1.5, 1.05, 0.8, 1.2, 0.8),
}


@dataclass(frozen=True)
class Script:
    """One clip. ``track``: (n, len(MOTION)) float64, ``GRID`` rows per second from time 0; ``blinks``: (k, 2) beginning
    and duration in seconds.
    """

    seconds: float
    emotion: str
    level: int
    utterance: Utterance
    track: np.ndarray
    blinks: np.ndarray

    def motion(self, times: np.ndarray) -> np.ndarray:
        """The motion at ``times`` (T,) in seconds: (T, len(MOTION)) float32, inside ``motion.RANGES``."""
        grid = np.arange(len(self.track)) / GRID
        return np.stack([np.interp(times, grid, column) for column in self.track.T], 1).astype(np.float32)


def identity_seed(seed: int, split: str, identity: int) -> int:
    """63 bits for ``sample_identity``: even for train, odd for test, so that the two splits share no seed."""
    return _hash(split, seed, "identity", identity) >> 1


def clip_rng(seed: int, split: str, identity: int, clip: int) -> np.random.Generator:
    """The generator of one clip."""
    return np.random.Generator(np.random.Philox(_hash(split, seed, "clip", identity, clip)))


def speaker_of(seed: int, split: str, identity: int, build: float | None = None) -> Speaker:
    """The voice of one identity; ``build`` as in ``sample_speaker``."""
    return sample_speaker(np.random.Generator(np.random.Philox(_hash(split, seed, "voice", identity))), build)


def _hash(split: str, *what: object) -> int:
    """64 bits whose second-lowest (the lowest once ``identity_seed`` has halved them) tells the split."""
    if split not in SPLITS:
        raise ValueError(f"unknown split {split!r}; use {' or '.join(SPLITS)}")
    digest = hashlib.sha256(":".join(map(str, ("puppets", split, *what))).encode()).digest()
    return int.from_bytes(digest[:8], "big") & ~2 | (2 if split == "test" else 0)


def draw(
    rng: np.random.Generator,
    seconds: float,
    speaker: Speaker | None = None,
    emotion: str | None = None,
    level: int | None = None,
    reach: float = 1.0,
) -> Script:
    """Draw a clip of ``seconds``. ``emotion``: one of MEAD's eight, ``level`` 1 to 3; None draws them (neutral in two
    of five). ``reach`` scales head turns; at 1 yaw rarely passes 25 degrees. Raises ValueError for an unknown emotion.
    """
    if emotion is None:
        emotion = "neutral" if rng.random() < 0.35 else EMOTIONS[int(rng.integers(len(EMOTIONS)))]
    level = level or (1 if emotion == "neutral" else int(rng.integers(1, 4)))
    if emotion not in MOODS or level not in LEVELS:
        raise ValueError(f"no emotion {emotion!r} at level {level}; emotions are {', '.join(MOODS)}, levels 1 to 3")
    mood, strength = MOODS[emotion], LEVELS[level]
    manner = Manner(
        effort=float((1 + strength * (mood.effort - 1)) * rng.uniform(0.9, 1.1)),
        pitch=float(strength * mood.tone + rng.normal(0, 0.5)),
        melody=1 + strength * (mood.melody - 1),
        rate=1 + strength * (mood.rate - 1),
        rest=strength * mood.rest + float(max(0.0, rng.normal(0, 0.015))),
    )
    utterance = babble(rng, seconds, speaker, manner)
    t = np.arange(int(np.ceil(seconds * GRID)) + 2) / GRID
    motion = dict.fromkeys(MOTION, np.zeros_like(t)) | _head(rng, t, utterance, mood, strength, reach)
    blinks = _blink_times(rng, seconds, utterance, 1 + strength * (mood.blinks - 1))
    motion |= _eyes(rng, t, motion, blinks, mood, strength)
    motion |= _brows(rng, t, utterance, mood, strength)
    motion |= _mouth(rng, t, utterance, mood, strength)
    track = np.stack([np.clip(motion[name], *RANGES[name]) for name in MOTION], 1)
    return Script(float(seconds), emotion, level, utterance, track, blinks)


def _head(rng, t, utterance, mood, strength, reach) -> dict[str, np.ndarray]:
    """Postures held and changed every few seconds, slow sway, and nods on stressed syllables."""
    lively = 1 + strength * (mood.lively - 1)
    spread = {"yaw": 9.0, "pitch": 4.5, "roll": 3.5, "tx": 0.012, "ty": 0.008, "scale": 0.02}
    sway = {"yaw": 1.2, "pitch": 0.8, "roll": 0.7, "tx": 0.003, "ty": 0.002, "scale": 0.004}
    changes = _events(rng, t[-1], 1.6 / lively, least=0.5)
    lasting = rng.uniform(0.35, 0.9, len(changes))
    head = {}
    for name, width in spread.items():
        track = np.full_like(t, rng.normal(0, width))
        for time, duration in zip(changes, lasting, strict=True):
            target = rng.normal(0, width)
            track += (target - track[-1]) * _ease((t - time) / duration)
        for _ in range(3):
            track += sway[name] * lively * rng.normal() * np.sin(2 * np.pi * (rng.uniform(0.1, 0.7) * t + rng.random()))
        head[name] = track * reach
    for time, stress in utterance.beats():
        bump = np.exp(-0.5 * ((t - time) / rng.uniform(0.08, 0.13)) ** 2)
        head["pitch"] -= lively * stress * rng.gamma(2.0, 1.0) * bump
        head["yaw"] += lively * rng.normal(0, 0.7) * bump
        head["roll"] += lively * rng.normal(0, 0.6) * bump
    head["pitch"] += strength * mood.pitch
    head["roll"] += strength * mood.roll * rng.choice((-1, 1))
    return head


def _blink_times(rng, seconds, utterance, often) -> np.ndarray:
    """Blinks come at random, one in about three seconds, and often as a pause begins; (k, 2) beginning, duration."""
    times = list(_events(rng, seconds, 3.2 / often, least=0.3))
    times += [a + rng.uniform(0, 0.15) for a, b in utterance.spans("sil")[1:] if b - a > 0.2 and rng.random() < 0.55]
    blinks: list[tuple[float, float]] = []
    for time in sorted(times):
        duration = rng.uniform(0.15, 0.30)
        if time + duration < seconds and (not blinks or time > sum(blinks[-1]) + 0.25):
            blinks.append((time, duration))
    return np.array(blinks, float).reshape(-1, 2)


def _eyes(rng, t, motion, blinks, mood, strength) -> dict[str, np.ndarray]:
    """Fixations joined by saccades of 30 to 60 ms; eyes turn against the head, which follows a look a little."""
    restless = 1 + strength * (mood.restless - 1)
    look_x, look_y, follow = np.zeros_like(t), np.zeros_like(t), np.zeros_like(t)
    away = False
    for time in _events(rng, t[-1], 0.9 / restless, least=0.18):
        away = rng.random() < (0.35 if away else 0.6) * min(restless, 1.4)
        aim_x, aim_y = (rng.normal(0, 0.42), rng.normal(-0.05, 0.28)) if away else rng.normal(0, 0.04, 2)
        step = _ease((t - time) / rng.uniform(0.03, 0.06))
        look_x, look_y = look_x + (aim_x - look_x[-1]) * step, look_y + (aim_y - look_y[-1]) * step
        follow = follow + (aim_x - follow[-1]) * _ease((t - time - 0.05) / 0.35)
    shut = np.zeros_like(t)
    for time, duration in blinks:
        u = (t - time) / duration  # lids fall in a third of the time, rest shut for a moment and rise slowly
        shut = np.maximum(shut, _ease(u / 0.36) * (1 - _ease((u - 0.46) / 0.54)))
    lids = strength * mood.lids
    uneven = rng.uniform(0.94, 1.0, 2)
    return {
        "yaw": motion["yaw"] + 4.0 * follow,
        "gaze_x": look_x - 0.45 * (motion["yaw"] + 4.0 * follow) / 30,
        "gaze_y": look_y + strength * mood.gaze_y - 0.45 * motion["pitch"] / 30,
        "blink_l": lids + (uneven[0] - lids) * shut,
        "blink_r": lids + (uneven[1] - lids) * shut,
    }


def _brows(rng, t, utterance, mood, strength) -> dict[str, np.ndarray]:
    """The emotion's brows, breathing a little, raised on some stressed syllables."""
    accent = np.zeros_like(t)
    for time, stress in utterance.beats():
        if rng.random() < 0.35:
            accent += stress * rng.uniform(0.1, 0.4) * np.exp(-0.5 * ((t - time) / 0.12) ** 2)
    mirrored = rng.random() < 0.5  # which side an uneven emotion lifts
    left, right = (mood.raise_r, mood.raise_l) if mirrored else (mood.raise_l, mood.raise_r)
    swell, furrow = _swell(rng, t), strength * mood.furrow * _swell(rng, t)
    return {
        "brow_raise_l": strength * left * swell + accent * rng.uniform(0.85, 1.0) + rng.normal(0, 0.04),
        "brow_raise_r": strength * right * swell + accent * rng.uniform(0.85, 1.0) + rng.normal(0, 0.04),
        "brow_furrow_l": furrow * rng.uniform(0.9, 1.0),
        "brow_furrow_r": furrow * rng.uniform(0.9, 1.0),
    }


def _mouth(rng, t, utterance, mood, strength) -> dict[str, np.ndarray]:
    mouth = lips(utterance, t)
    # Rounded lips leave less room for a smile.
    mouth["smile"] = (strength * mood.smile * _swell(rng, t) + rng.normal(0, 0.05)) * (1 - 0.5 * mouth["mouth_round"])
    mouth["mouth_width"] = mouth["mouth_width"] + strength * mood.width * (1 - mouth["mouth_round"])
    return mouth


def _swell(rng, t) -> np.ndarray:
    """A slow factor between .75 and 1."""
    return 0.875 + 0.125 * np.sin(2 * np.pi * (rng.uniform(0.1, 0.35) * t + rng.random()))


def _events(rng, seconds, mean, least) -> np.ndarray:
    """Times in (0, seconds) whose gaps are ``least`` plus an exponential, ``mean`` on the whole."""
    gaps = least + rng.exponential(max(mean - least, 0.05), int(seconds / least) + 2)
    times = np.cumsum(gaps) - least * rng.random()
    return times[times < seconds]


def _ease(u: np.ndarray) -> np.ndarray:
    """0 to 1 with the least jerk (Flash & Hogan, J. Neurosci. 5, 1985)."""
    u = np.clip(u, 0, 1)
    return u**3 * (10 - 15 * u + 6 * u**2)


def column(motion: np.ndarray, name: str) -> np.ndarray:
    """One named column of (T, len(MOTION)) motion."""
    return motion[:, index(name)]
