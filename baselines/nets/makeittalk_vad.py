"""Where there is voice: WebRTC's voice activity detector at its most aggressive, bit for bit, for 30 ms at 16 kHz.

Source: WebRTC ``common_audio/vad`` (as the package webrtcvad 2.0.10 has it; mode 3), in whole numbers throughout: six
bands' energies, for each band two Gaussians of noise and two of speech that follow what they hear, and a decision by
the ratio of their likelihoods. Where a comment says Qn, a number stands for itself / 2**n.
"""

from __future__ import annotations

from bisect import bisect_right

import numpy as np

#: samples of one decision
WINDOW = 480
CHANNELS = 6
Pair = tuple[int, int]

# Bands from low to high; energies are logarithms, Q4.
OFFSETS = (368, 368, 272, 176, 176, 176)
LOUD_ENOUGH = 10
# Start of the Gaussians: for each band the first of noise, then the second. Weights and means and deviations, Q7.
NOISE_WEIGHTS = ((34, 94), (62, 66), (72, 56), (66, 62), (53, 75), (25, 103))
SPEECH_WEIGHTS = ((48, 80), (82, 46), (45, 83), (87, 41), (50, 78), (47, 81))
NOISE_MEANS = ((6738, 7646), (4892, 3863), (7065, 7820), (6715, 7266), (6771, 5020), (3369, 4362))
SPEECH_MEANS = ((8306, 9473), (10085, 9571), (10078, 10879), (11823, 7581), (11843, 8180), (6309, 7483))
NOISE_DEVIATIONS = ((378, 474), (1064, 697), (493, 475), (582, 688), (688, 421), (593, 455))
SPEECH_DEVIATIONS = ((555, 509), (505, 828), (567, 492), (524, 1540), (585, 1079), (1231, 850))
LEAST_DEVIATION = 384
BAND_WEIGHTS = (6, 8, 10, 12, 14, 16)
APART = (544, 544, 576, 576, 576, 576)  # Q5
HIGHEST_SPEECH = (11392, 11392, 11520, 11520, 11520, 11520)
HIGHEST_NOISE = (9216, 9088, 8960, 8832, 8704, 8576)
LOWEST_SPEECH = (640, 768)
# Mode 3 at 30 ms.
ONE_BAND, ALL_BANDS = 94, 1100
HANGOVER, LONG_HANGOVER, LONG = 2, 3, 6


def voiced(samples: np.ndarray) -> np.ndarray:
    """(N,) int16 at 16 kHz -> (N // 480,) bool."""
    count = len(samples) // WINDOW
    if count == 0:
        return np.zeros(0, bool)
    bands, loud = _features(samples[: count * WINDOW].tolist(), count)
    detector = _Detector()
    return np.array([detector.decide(each, enough) for each, enough in zip(bands, loud, strict=True)], bool)


# ------------------------------------------------------------------------------------------------------------ energies


def _features(samples: list[int], count: int) -> tuple[list[list[int]], list[bool]]:
    """For each window the log energies of the six bands, Q4, and whether it is loud enough to be looked at."""
    narrow = _halved(samples)
    low, high = _split(narrow, 120)
    band4, band5 = _split(high, 60)
    low, band3 = _split(low, 60)
    low, band2 = _split(low, 30)
    low, band1 = _split(low, 15)
    bands = [_high_passed(low), band1, band2, band3, band4, band5]
    energies = [_log_energy(np.array(b, np.int64).reshape(count, -1), o) for b, o in zip(bands, OFFSETS, strict=True)]
    features = [[energy[i][0] for energy in energies] for i in range(count)]
    powers = [[energy[i][1] for energy in reversed(energies)] for i in range(count)]
    return features, [_power(each) > LOUD_ENOUGH for each in powers]


def _halved(samples: list[int]) -> list[int]:
    """16 kHz to 8 kHz: the mean of two all-pass branches."""
    branches = []
    for begin, coefficient in enumerate((5243, 1392)):
        out, state = [], 0
        for x in samples[begin::2]:
            y = (state >> 1) + (coefficient * x >> 14)
            state = x - (coefficient * y >> 12)
            out.append(y)
        branches.append(out)
    return _sixteen(np.array(branches[0]) + branches[1])


def _all_pass(samples: list[int], coefficient: int, block: int) -> list[int]:
    """The filter's memory loses its last 16 bits after every ``block`` samples, which are one window."""
    out, state = [], 0
    for begin in range(0, len(samples), block):
        state &= -65536
        for x in samples[begin : begin + block]:
            y = (state + coefficient * x) >> 16
            state = ((x << 14) - coefficient * y) << 1
            out.append(y)
    return out


def _split(samples: list[int], block: int) -> tuple[list[int], list[int]]:
    """The lower and the upper half of a band, each at half the rate; ``block`` samples of them are one window."""
    upper = np.array(_all_pass(samples[::2], 20972, block))
    lower = np.array(_all_pass(samples[1::2], 5571, block))
    return _sixteen(upper + lower), _sixteen(upper - lower)


def _sixteen(values: np.ndarray) -> list[int]:
    """In 16 bits: what is too loud for them turns over."""
    return values.astype(np.int16).tolist()


def _high_passed(samples: list[int]) -> list[int]:
    """Without what lies below 80 Hz, of sound at 500 Hz."""
    out = []
    x1 = x2 = y1 = y2 = 0
    for x in samples:
        y = (6631 * x - 13262 * x1 + 6631 * x2 + 7756 * y1 - 5620 * y2) >> 14
        x1, x2, y1, y2 = x, x1, y, y1
        out.append(y)
    return out


def _log_energy(windows: np.ndarray, offset: int) -> list[tuple[int, int]]:
    """(n, k) -> for each window its log energy, Q4, and what it adds to the power."""
    bits = windows.shape[1].bit_length()
    found = []
    for window, peak in zip(windows, np.abs(windows).max(1).tolist(), strict=True):
        room = 31 - (peak * peak).bit_length()
        shift = 0 if peak == 0 or room > bits else bits - room
        energy = int((window * window >> shift).sum())
        if energy == 0:
            found.append((offset, 0))
            continue
        normal = energy.bit_length() - 15
        energy = energy >> normal if normal >= 0 else energy << -normal
        shift += normal
        level = (24660 * (14336 + ((energy & 0x3FFF) >> 4)) >> 19) + (shift * 24660 >> 9)
        found.append((max(level, 0) + offset, LOUD_ENOUGH + 1 if shift >= 0 else energy >> -shift))
    return found


def _power(parts: list[int]) -> int:
    """The sum of ``parts`` until it is enough."""
    total = 0
    for part in parts:
        if total <= LOUD_ENOUGH:
            total += part
    return total


# ----------------------------------------------------------------------------------------------------------- decisions


class _Detector:
    """The models as they stand, and the decisions so far."""

    def __init__(self) -> None:
        noise = zip(NOISE_WEIGHTS, NOISE_MEANS, NOISE_DEVIATIONS, strict=True)
        speech = zip(SPEECH_WEIGHTS, SPEECH_MEANS, SPEECH_DEVIATIONS, strict=True)
        self.noise = [_Gaussians(*each, unlikely=(16384, 0)) for each in noise]
        self.speech = [_Gaussians(*each, unlikely=(0, 0)) for each in speech]
        self.quiet = [_Quiet() for _ in range(CHANNELS)]
        self.frames = self.hangover = self.run = 0

    def decide(self, features: list[int], loud: bool) -> bool:
        speech = False
        if loud:
            models = list(zip(features, self.noise, self.speech, strict=True))
            ratios = [h1.look(x).bit_length() - h0.look(x).bit_length() for x, h0, h1 in models]
            total = sum(ratio * weight for ratio, weight in zip(ratios, BAND_WEIGHTS, strict=True))
            speech = total >= ALL_BANDS or any(4 * ratio > ONE_BAND for ratio in ratios)
            highest = 12800
            for channel in range(CHANNELS):
                self._follow(channel, features[channel], speech, highest)
                highest = HIGHEST_SPEECH[channel]
            self.frames += 1
        if speech:
            self.hangover = LONG_HANGOVER if self.run >= LONG else HANGOVER
            self.run += 1
            return True
        self.run = 0
        held = self.hangover > 0
        self.hangover = max(0, self.hangover - 1)
        return held

    def _follow(self, channel: int, feature: int, speech: bool, highest: int) -> None:
        """Move a band's Gaussians towards what was heard, and keep them apart and in bounds."""
        noise, voice = self.noise[channel], self.speech[channel]
        background = (self.quiet[channel].level(feature, self.frames) << 4) - (noise.mean() >> 6)
        for k in range(2):
            before = noise.means[k]
            moved = before
            if not speech:
                moved += _i16(_i16(noise.share[k] * noise.delta[k] >> 11) * 655 >> 22)
            moved += _i16(background * 154 >> 9)
            noise.means[k] = min(max(moved, (k + 5) << 7), (72 + k - channel) << 7)
            if speech:
                before = voice.means[k]
                step = _i16(_i16(voice.share[k] * voice.delta[k] >> 11) * 6554 >> 21)
                voice.means[k] = min(max(before + ((step + 1) >> 1), LOWEST_SPEECH[k]), highest + 640)
                spread = (voice.delta[k] * (feature - ((before + 4) >> 3)) >> 3) - 4096
                step = _divided(_i32((voice.share[k] >> 2) * spread) >> 4, voice.deviations[k] * 10)
                voice.deviations[k] = max(voice.deviations[k] + ((step + 128) >> 8), LEAST_DEVIATION)
            else:
                spread = (noise.delta[k] * (feature - (before >> 3)) >> 3) - 4096
                step = _divided(_i32(((noise.share[k] + 2) >> 2) * spread) >> 14, noise.deviations[k])
                noise.deviations[k] = max(noise.deviations[k] + ((step + 32) >> 6), LEAST_DEVIATION)
        near = APART[channel] - ((voice.mean() >> 9) - (noise.mean() >> 9))
        if near > 0:
            voice.shift(13 * near >> 2)
            noise.shift(-(3 * near >> 2))
        # Both means as they were after the shift.
        voice.shift(-max(0, (voice.mean() >> 7) - HIGHEST_SPEECH[channel]))
        noise.shift(-max(0, (noise.mean() >> 7) - HIGHEST_NOISE[channel]))


class _Gaussians:
    """Two Gaussians over one band's energy: means, deviations (Q7); what they made of the last value."""

    def __init__(self, weights: Pair, means: Pair, deviations: Pair, unlikely: Pair) -> None:
        self.weights, self.means, self.deviations = weights, list(means), list(deviations)
        self.unlikely = unlikely  # the shares where neither can be
        self.delta, self.share = [0, 0], [0, 0]  # (x - mean) / deviation^2, Q11; part of the likelihood, Q14

    def look(self, feature: int) -> int:
        """The likelihood of ``feature``, Q27."""
        likely = [0, 0]
        for k in range(2):
            inverse = (131072 + (self.deviations[k] >> 1)) // self.deviations[k]  # Q10
            away = (feature << 3) - self.means[k]
            self.delta[k] = _i16(((inverse >> 2) ** 2 >> 2) * away >> 10)
            exponent = self.delta[k] * away >> 9  # Q10
            if exponent < 22005:
                power = -(5909 * exponent >> 12)
                likely[k] = self.weights[k] * inverse * ((0x400 | (power & 0x3FF)) >> ((~power >> 10) + 1))
        total = sum(likely)
        if total >> 12 > 0:
            first = ((likely[0] >> 12 << 12) << 2) // (total >> 12)
            self.share = [first, 16384 - first]
        else:
            self.share = list(self.unlikely)
        return total

    def mean(self) -> int:
        """Q14."""
        return sum(mean * weight for mean, weight in zip(self.means, self.weights, strict=True))

    def shift(self, by: int) -> None:
        self.means = [mean + by for mean in self.means]


class _Quiet:
    """The level of a band when nothing is said: from the 16 least values of the last 100 frames."""

    def __init__(self) -> None:
        self.values, self.ages, self.smooth = [10000] * 16, [0] * 16, 1600

    def level(self, feature: int, frames: int) -> int:
        for i in range(16):
            if self.ages[i] != 100:
                self.ages[i] += 1
            else:
                del self.values[i], self.ages[i]
                self.values.append(10000)
                self.ages.append(101)
        place = bisect_right(self.values, feature)
        if place < 16:
            self.values.insert(place, feature)
            self.ages.insert(place, 1)
            del self.values[16], self.ages[16]
        least = self.values[2] if frames > 2 else self.values[0] if frames > 0 else 1600
        keep = (6553 if least < self.smooth else 32439) if frames > 0 else 0  # Q15
        self.smooth = ((keep + 1) * self.smooth + (32767 - keep) * least + 16384) >> 15
        return self.smooth


def _divided(number: int, by: int) -> int:
    """Quotient without its fraction, in 16 bits."""
    return _i16(number // by) if number > 0 else -_i16(-number // by)


def _i16(x: int) -> int:
    return ((x + 32768) & 65535) - 32768


def _i32(x: int) -> int:
    return ((x + (1 << 31)) & 0xFFFFFFFF) - (1 << 31)
