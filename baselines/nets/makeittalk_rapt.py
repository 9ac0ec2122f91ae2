"""Pitch by RAPT, number for number that of SPTK, for 16 kHz sound in steps of 256 samples.

D. Talkin: "A robust algorithm for pitch tracking (RAPT)", Speech Coding and Synthesis, Elsevier, 1995; as in SPTK
(``bin/pitch/snack``), which the package pysptk 1.0.1 wraps, with the range of 100 to 600 Hz that MakeItTalk asks for.
Peaks of the normalised cross-correlation, found at 2 kHz and refined at 16 kHz, and the hypothesis that there is no
voice, are the candidates of a frame; dynamic programming picks the cheapest path through them.

The path is settled piece by piece as the sound is read, 12 frames at a time, which decides where it has not converged
within a second. Sums run in float32 from the first term to the last, as SPTK's do: hence ``total``.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from baselines.nets.makeittalk_stationarity import change, total

RATE, STEP = 16000, 256
LOWEST, HIGHEST = 100, 600  # Hz
#: what a frame without voice has in place of its log frequency
UNVOICED = np.float32(-1e10)

WINDOW = 120  # samples that are correlated
FIRST, LAST = 27, 160  # lags: the periods of 600 and 100 Hz
LAGS = LAST - FIRST + 1
DECIMATION, TAPS = 8, 81
COARSE_WINDOW, COARSE_FIRST, COARSE_LAGS = 1 + WINDOW // DECIMATION, FIRST // DECIMATION, 1 + LAGS // DECIMATION
PATCH = 7  # lags that are looked at around a coarse peak
MOST = 20  # candidates, "no voice" among them
PIECE, MARGIN = 12, 440  # frames read at once; samples that must follow the beginning of the last one
SETTLE, FORCE = 31, 62  # frames before a path is looked for, and before it is decided without
NOISE = 50.0  # deviation of the noise that is added, of a range of 32768

f32 = np.float32
THRESHOLD, LAG_WEIGHT, OCTAVE, SWITCH, AMPLITUDE, SPECTRUM = (
    f32(0.3),
    f32(0.3),
    f32(0.35),
    f32(0.005),
    f32(0.5),
    f32(0.5),
)
FREQUENCY = f32(0.02) / f32(STEP / RATE)
_LN2 = f32(np.log(2.0))


def log_f0(samples: np.ndarray) -> np.ndarray:
    """(N,) float32 in [-32768, 32768] at 16 kHz -> (ceil(N / 256),) float32: natural log of the pitch in Hz, UNVOICED
    where there is none. ValueError: fewer than 632 samples, of which SPTK can say nothing either.
    """
    samples = np.asarray(samples, np.float32)
    if len(samples) < 2 * STEP + WINDOW:
        raise ValueError(f"{len(samples)} samples are too few for a pitch; {2 * STEP + WINDOW} are the least")
    out = np.full(-(-len(samples) // STEP), UNVOICED)
    pieces = _pieces(len(samples))
    frames = sum(pieces)
    if frames:
        noisy = samples + (NOISE * gaussian(len(samples))).astype(np.float32)
        correlation, lags, peaks, highest = _candidates(noisy, frames)
        stationary, ratio = change(noisy, frames, STEP)
        hertz = _path(pieces, correlation, lags, peaks, highest, stationary, ratio)[: len(out)]
        voiced = hertz > 0
        out[: len(hertz)][voiced] = np.log(hertz[voiced].astype(np.float64))
    return out


def _pieces(n: int) -> list[int]:
    """How many frames each reading of ``n`` samples holds."""
    whole, hop = PIECE * STEP + MARGIN, PIECE * STEP
    pieces = []
    while n > whole:
        pieces.append(PIECE)
        n -= hop
    return [*pieces, max(0, n - MARGIN) // STEP]


@lru_cache(maxsize=1)
def _lowpass() -> np.ndarray:
    """(81,) float32: 1/16 of the rate passes; a sinc under a Hann window."""
    half = TAPS // 2 + 1
    i = np.arange(1, half)
    sinc = np.concatenate(([2 * f32(0.5 / DECIMATION)], np.sin(i * 2 * np.pi * f32(0.5 / DECIMATION)) / (np.pi * i)))
    hann = (0.5 - 0.5 * np.cos(2 * np.pi / TAPS * (np.arange(half) + 0.5)))[::-1]
    side = sinc.astype(np.float32) * hann.astype(np.float32)
    return np.concatenate((side[:0:-1], side))


def _decimated(samples: np.ndarray, frames: int) -> np.ndarray:
    """The sound at 2 kHz, as much of it as the frames need."""
    count = ((frames - 1) * STEP + WINDOW + LAST + 1) // DECIMATION
    reach = TAPS // 2
    padded = np.concatenate((np.zeros(reach, np.float32), samples, np.zeros(TAPS, np.float32)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, TAPS)[::DECIMATION][:count]
    sums = np.concatenate([total(part * _lowpass()) for part in np.array_split(windows, count // 4096 + 1)])
    return sums + np.where(sums < 0, f32(-0.5), f32(0.5))


def _centred(samples: np.ndarray, step: int, frames: int, window: int, length: int) -> np.ndarray:
    """(frames, length) float32 stretches ``step`` apart, less the mean of their first ``window`` samples."""
    padded = np.concatenate((samples, np.zeros(length, np.float32)))
    stretches = np.lib.stride_tricks.sliding_window_view(padded, length)[::step][:frames]
    return stretches - (total(stretches[:, :window]) / f32(window))[:, None]


def _correlated(data: np.ndarray, at: np.ndarray, other: np.ndarray, lags: int, window: int, fine: bool) -> np.ndarray:
    """Normalised cross-correlation (n, lags) of each ``data`` row's first ``window`` samples with ``other``, whose
    rows begin at the first lag; ``at`` says which row of ``data`` belongs to each row of ``other``.
    """
    reference = data[:, :window]
    energy = total(reference * reference)[at].astype(np.float64)
    moving = total(other[:, :window] * other[:, :window]).astype(np.float64)
    squares = other * other
    out = np.zeros((len(other), lags), np.float32)
    for lag in range(lags):
        product = total(reference[at] * other[:, lag : lag + window])
        if fine:
            moving = np.maximum(moving, 1.0)
        scale = np.sqrt((10000.0 if fine else 0.0) + moving * energy)
        np.divide(product, scale, out=out[:, lag], where=energy > 0, casting="unsafe")
        moving = moving - squares[:, lag] + squares[:, lag + window]
        if not fine:
            moving = np.maximum(moving, 1.0)
    return out


def _peaks(row: np.ndarray, highest: np.float32) -> np.ndarray:
    """Where ``row`` is no lower than beside it and above the threshold; the last two places are not looked at."""
    middle = row[1:-2]
    return 1 + np.flatnonzero((middle > THRESHOLD * highest) & (middle >= row[2:-1]) & (middle >= row[:-3]))


def _candidates(samples: np.ndarray, frames: int) -> tuple[np.ndarray, list, list, np.ndarray]:
    """Correlations (frames, 134), zero where they were not computed; per frame the lags and heights of its peaks; and
    the greatest correlation (frames,).
    """
    length = COARSE_WINDOW + COARSE_FIRST + COARSE_LAGS
    data = _centred(_decimated(samples, frames), STEP // DECIMATION, frames, COARSE_WINDOW, length)
    coarse = _correlated(data, np.arange(frames), data[:, COARSE_FIRST:], COARSE_LAGS, COARSE_WINDOW, fine=False)
    owners, guesses = [], []
    for frame, row in enumerate(coarse):
        for place in _peaks(row, max(row.max(), f32(0))):
            owners.append(frame)
            guesses.append(_refined(row[place - 1 : place + 2], place + COARSE_FIRST))
    data = _centred(samples, STEP, frames, WINDOW, WINDOW + FIRST + LAGS)
    owner = np.array(owners, int)
    begin = np.maximum(np.array(guesses, int) - PATCH // 2, FIRST)
    other = data[owner[:, None], begin[:, None] + np.arange(WINDOW + PATCH)]
    found = _correlated(data, owner, other, PATCH, WINDOW, fine=True)
    correlation, highest = np.zeros((frames, LAGS), np.float32), np.zeros(frames, np.float32)
    for frame, start, values in zip(owner, begin - FIRST, found, strict=True):
        correlation[frame, start : start + PATCH] = values
        highest[frame] = max(highest[frame], values.max())
    lags, heights = [], []
    for row, most in zip(correlation, highest, strict=True):
        places = _peaks(row, most)
        if len(places) >= MOST:
            places = places[np.argsort(-row[places], kind="stable")[: MOST - 1]]
        lags.append(places + FIRST)
        heights.append(row[places])
    return correlation, lags, heights, highest


def _refined(three: np.ndarray, lag: int) -> int:
    """The lag at 16 kHz of a peak at 2 kHz, from the parabola through it and its neighbours."""
    before, top, after = three
    bend = f32(float(after - top) + 0.5 * float(before - after))
    shift = f32(float(before - after) / (4.0 * float(bend))) if abs(bend) > 1e-6 else f32(0)
    return int(lag) * DECIMATION + int(0.5 + float(shift * DECIMATION))


def _path(
    pieces: list[int],
    correlation: np.ndarray,
    lags: list,
    heights: list,
    highest: np.ndarray,
    stationary: np.ndarray,
    ratio: np.ndarray,
) -> np.ndarray:
    """The pitch in Hz of each frame, 0 without voice, along the cheapest path."""
    hertz = np.zeros(len(lags), np.float32)
    back: list[np.ndarray] = []
    costs = np.zeros(0, np.float32)
    settled = 0
    for number, frames in enumerate(pieces):
        for frame in range(len(back), len(back) + frames):
            local = 1 - heights[frame] * (1 - lags[frame].astype(np.float32) * (LAG_WEIGHT / f32(LAST)))
            local = np.append(local, highest[frame])
            if frame:
                steps = _steps(lags[frame - 1], lags[frame], stationary[frame], ratio[frame]) + costs
                back.append(steps.argmin(1))
                costs = steps.min(1) + local
            else:
                back.append(np.zeros(len(local), int))
                costs = local
        last = number == len(pieces) - 1
        if len(back) - settled >= SETTLE or last:
            end, best = _converged(back, settled, int(costs.argmin()), last)
            for frame in range(end, settled - 1, -1):
                if best < len(lags[frame]):
                    hertz[frame] = _hertz(correlation[frame], int(lags[frame][best]))
                best = back[frame][best]
            settled = max(settled, end + 1)
    return hertz


def _steps(before: np.ndarray, now: np.ndarray, stationary: np.float32, ratio: np.float32) -> np.ndarray:
    """What it costs to go on from each candidate before (columns, "no voice" last) to each one now (rows)."""
    steps = np.zeros((len(now) + 1, len(before) + 1), np.float32)
    jump = np.log(now[:, None] / before[None].astype(np.float64)).astype(np.float32)
    octaves = [(np.abs(jump + shift).astype(np.float64) + OCTAVE).astype(np.float32) for shift in (_LN2, -_LN2)]
    steps[:-1, :-1] = np.minimum(np.abs(jump), np.minimum(*octaves)) * FREQUENCY
    steps[:-1, -1] = SWITCH + SPECTRUM * stationary + AMPLITUDE / ratio
    steps[-1, :-1] = SWITCH + SPECTRUM * stationary + AMPLITUDE * ratio
    return steps


def _converged(back: list[np.ndarray], settled: int, best: int, last: bool) -> tuple[int, int]:
    """Up to which frame the path is known by now, and its candidate there; ``settled`` - 1: no further than before."""
    head = len(back) - 1
    if last:
        return head, best
    paths = back[head]
    for frame in range(head - 1, settled - 1, -1):
        if (paths == paths[0]).all():
            return frame, int(paths[0])
        paths = back[frame][paths]
    return (head, best) if len(back) - settled >= FORCE else (settled - 1, 0)


def _hertz(row: np.ndarray, lag: int) -> np.float32:
    """The pitch at the top of the parabola through a peak of the correlation and its neighbours."""
    period = f32(lag)
    if FIRST < lag < LAST:
        before, top, after = row[lag - FIRST - 1 : lag - FIRST + 2]
        bend = f32(2.0 * (float(before + after) - 2.0 * float(top)))
        if abs(bend) > 1e-6:
            period += f32(2) - (f32(5) * after + f32(3) * before - f32(8) * top) / bend
    return f32(RATE / float(period))


def gaussian(n: int) -> np.ndarray:
    """(n,) float64: SPTK's noise, the same at every call: a linear congruential generator and the polar method."""
    values = np.zeros(0)
    state, drawn = 1, int(1.3 * n) + 64
    while len(values) < n:
        powers = np.cumprod(np.full(2 * drawn, 1103515245, np.uint64))
        sums = np.concatenate((np.ones(1, np.uint64), powers[:-1])).cumsum(dtype=np.uint64)
        states = powers * np.uint64(state) + sums * np.uint64(12345)
        state = int(states[-1])
        pairs = 2 * ((states >> np.uint64(16)) % np.uint64(32768)).astype(np.float64).reshape(-1, 2) / 32767 - 1
        radius = np.square(pairs).sum(1)
        kept = (radius <= 1) & (radius > 0)
        scaled = pairs[kept] * np.sqrt(-2 * np.log(radius[kept]) / radius[kept])[:, None]
        values = np.concatenate((values, scaled.ravel()))
    return values[:n]
