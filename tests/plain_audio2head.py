"""What Audio2Head's inference does around its networks, said slowly: one row, one pixel, one frame at a time.

Written from the facts (wangsuzhen/Audio2Head, commit 09e9b43; python_speech_features 0.6; OpenCV 4's lines), to hold
the fast code against. Also `official`: a checkpoint whose every value follows from its tensor's name.
"""

from __future__ import annotations

import math
import zlib
from functools import cache

import numpy as np
import torch

# ----------------------------------------------------------------------------------------------------------- weights

#: by which part of a name a tensor's values are multiplied, so that no activation dies or grows out of hand
GAINS = {
    "conv2.weight": 0.3,
    "audio2kp.kp.weight": 0.03,
    "kp_detector.kp.weight": 1.0,
    "audio2kp.jacobian.weight": 0.003,
    "kp_detector.jacobian.weight": 0.2,
    "mask.weight": 6.0,
    "final.weight": 5.0,
    "fc.weight": 0.2,
    "lstm.weight": 1.5,
    "output.weight": 1.0,
}
_STRIDES = (101, 13)  # between first and between second indices; the others lie side by side


@cache
def _noise(scale: float, shift: float) -> torch.Tensor:
    """A table of noise by formula, its variance ``scale`` squared."""
    wave = np.sin(np.arange(1 << 18) * 12.9898) * 43758.5453
    noise = (2 * (wave - np.floor(wave)) - 1) * math.sqrt(3)
    return torch.from_numpy((noise * scale + shift).astype(np.float32))


def weight(name: str, shape: tuple[int, ...]) -> torch.Tensor:
    """The tensor ``name``: windows of the table, so that a whole checkpoint takes little room."""
    if name.endswith("num_batches_tracked"):
        return torch.tensor(0)
    if "down" in name and name.endswith("weight") and len(shape) == 4 and shape[2:] == (13, 13):
        taps = torch.tensor([[math.exp(-(x * x + y * y) / 4.5) for x in range(-6, 7)] for y in range(-6, 7)])
        return (taps / taps.sum()).expand(shape)
    scale, shift = 0.1, 0.0
    if name.endswith("running_var"):
        scale, shift = 0.25, 1.0
    elif len(shape) > 1:
        scale = math.sqrt(2 / math.prod(shape[1:]))
    elif name.endswith("weight"):
        shift = 1.0
    for part, gain in GAINS.items():
        if part in name:
            scale *= gain
    strides = [*_STRIDES[: len(shape)], *(math.prod(shape[axis + 1 :]) for axis in range(2, len(shape)))]
    if len(shape) == 1:
        strides = [1]
    begin = zlib.crc32(name.encode()) % 4096
    values = torch.as_strided(_noise(round(scale, 7), shift), shape, strides, begin)
    return values + torch.tensor([1.0, 0, 0, 1] * (shape[0] // 4)) if name.endswith("jacobian.bias") else values


def official(shapes: dict[str, dict[str, list[int]]]) -> dict[str, dict[str, torch.Tensor]]:
    """A checkpoint in the official form, of the rule's values."""
    return {
        part: {key: weight(f"{part}.{key}", tuple(shape)) for key, shape in keys.items()}
        for part, keys in shapes.items()
    }


def numbers(shape: tuple[int, ...], seed: int) -> torch.Tensor:
    """An input by formula: smooth along its last index, in [0, 1]."""
    count = math.prod(shape)
    index = torch.arange(count, dtype=torch.float64)
    wave = torch.sin(index * 0.031 + seed) + torch.sin(index * 0.00077 * (seed + 2)) + torch.sin(index * 0.31)
    return (0.5 + wave / 6).float().view(shape)


def picture(seed: int = 0) -> torch.Tensor:
    """(1, 3, 256, 256) in [0, 1]: waves of other lengths in each colour."""
    y, x = torch.meshgrid(torch.arange(256.0), torch.arange(256.0), indexing="ij")
    waves = [torch.sin(x / (9 + 4 * c + seed)) * torch.cos(y / (14 - 3 * c)) for c in range(3)]
    return (0.5 + 0.4 * torch.stack(waves))[None]


def heard(frames: int) -> torch.Tensor:
    """(frames, 4, 41): what sound gives, roughly."""
    return numbers((frames, 4, 41), 3) * 12 - 10


# ------------------------------------------------------------------------------------------------------------- sound


def spectral_rows(samples: list[float]) -> np.ndarray:
    """Rows (n, 39) of 13 cepstral coefficients and 26 filter energies, window by window."""
    sharp = [samples[0]] + [samples[i] - 0.97 * samples[i - 1] for i in range(1, len(samples))]
    count = 1 if len(sharp) <= 400 else 1 + math.ceil((len(sharp) - 400) / 160)
    sharp += [0.0] * (count * 160 + 400)
    mels = [2595 * math.log10(1 + 8000 / 700) * i / 27 for i in range(28)]
    corners = [math.floor(513 * 700 * (10 ** (mel / 2595) - 1) / 16000) for mel in mels]
    rows = []
    for n in range(count):
        spectrum = np.fft.fft(sharp[160 * n : 160 * n + 400], 512)[:257]
        power = [abs(complex(value)) ** 2 / 512 for value in spectrum]
        logs = []
        for left, top, right in zip(corners, corners[1:], corners[2:], strict=False):
            energy = sum(power[k] * (k - left) / (top - left) for k in range(left, top))
            energy += sum(power[k] * (right - k) / (right - top) for k in range(top, right))
            logs.append(math.log(energy or 2.0**-52))
        coefficients = [math.log(sum(power) or 2.0**-52)]
        for k in range(1, 13):
            whole = sum(logs[i] * math.cos(math.pi * k * (2 * i + 1) / 52) for i in range(26))
            coefficients.append(whole * math.sqrt(2 / 26) * (1 + 11 * math.sin(math.pi * k / 22)))
        rows.append(coefficients + logs)
    return np.array(rows)


def without_gaps(pitch: list[float]) -> list[float]:
    out = list(pitch)
    voiced = [i for i, value in enumerate(pitch) if value]
    for i in range(len(pitch)):
        before = [v for v in voiced if v <= i]
        after = [v for v in voiced if v >= i]
        if before and after and before[-1] != after[0]:
            part = (i - before[-1]) / (after[0] - before[-1])
            out[i] = pitch[before[-1]] * (1 - part) + pitch[after[0]] * part
        elif before or after:
            out[i] = pitch[before[-1] if before else after[0]]
    return out


# ------------------------------------------------------------------------------------------------------------- boxes

ONE = 1 << 16


def box(rotation: list[float], translation: list[float]) -> np.ndarray:
    """One picture (256, 256), 0 or 255."""
    angle = math.sqrt(sum(r * r for r in rotation)) or 1e-300
    axis = [r / angle for r in rotation]
    places = []
    for half, depth in ((75, 0), (100, 100)):
        for sx, sy in ((-1, -1), (-1, 1), (1, 1), (1, -1), (-1, -1)):
            point = [sx * half, sy * half, depth]
            along = sum(a * p for a, p in zip(axis, point, strict=True))
            turned = []
            for i in range(3):
                j, k = (i + 1) % 3, (i + 2) % 3
                cross = axis[j] * point[k] - axis[k] * point[j]
                turned.append(
                    point[i] * math.cos(angle) + cross * math.sin(angle) + axis[i] * along * (1 - math.cos(angle))
                )
            x, y, z = (value + move for value, move in zip(turned, translation, strict=True))
            places.append((int(x / z * 233.333 + 128), int(y / z * 233.333 + 128)))
    out = np.zeros((256, 256))
    joined = [(i, (i + 1) % 10) for i in range(10)] + [(1, 6), (2, 7), (3, 8)]
    for number, (a, b) in enumerate(joined):
        line(out, places[a], places[b])
        for x, y in (places[a], places[b]) if number >= 10 else (places[b],):
            for dx, dy in ((0, 0), (1, 0), (-1, 0), (0, 1), (0, -1)):
                dot(out, x + dx, y + dy)
    return out


def dot(out: np.ndarray, x: int, y: int) -> None:
    if 0 <= x < 256 and 0 <= y < 256:
        out[y, x] = 255


def line(out: np.ndarray, begin: tuple[int, int], end: tuple[int, int]) -> None:
    """A line two pixels wide, without its ends' crosses."""
    if begin == end:
        return
    dx, dy = end[0] - begin[0], end[1] - begin[1]
    ax, ay = (round(v * ONE / math.hypot(dx, dy)) for v in (dy, -dx))
    corners = [(begin[0] * ONE + s * ax, begin[1] * ONE + s * ay) for s in (1, -1)]
    corners += [(end[0] * ONE + s * ax, end[1] * ONE + s * ay) for s in (-1, 1)]
    for i in range(4):
        edge(out, corners[i - 1], corners[i])
    for y in range(256):
        crossings = []
        for i in range(4):
            upper, lower = sorted((corners[i - 1], corners[i]), key=lambda place: place[1])
            top, bottom = ((place[1] + ONE // 2) // ONE for place in (upper, lower))
            if top <= y < bottom:
                slope = towards_zero(2 * (lower[0] - upper[0]) + bottom - top, 2 * (bottom - top))
                crossings.append((upper[0] + (y - top) * slope + ONE // 2) // ONE)
        if crossings:
            for x in range(max(0, min(crossings)), min(255, max(crossings)) + 1):
                dot(out, x, y)


def edge(out: np.ndarray, begin: tuple[int, int], end: tuple[int, int]) -> None:
    """A thin line in 1/65536 pixel, cut to the picture."""
    limit = 256 * ONE - 1
    ends = [list(begin), list(end)]
    for axis in (1, 0):
        for one, other in ((0, 1), (1, 0)):
            for border, outside in ((0, lambda v: v < 0), (limit, lambda v: v > limit)):
                if all(outside(place[side]) for place in ends for side in (axis,)):
                    return
                if outside(ends[one][axis]):
                    if any(all(t(place[0]) for place in ends) for t in (lambda v: v < 0, lambda v: v > limit)):
                        return
                    way = [b - a for a, b in zip(ends[one], ends[other], strict=True)]
                    ends[one][1 - axis] += int(float(border - ends[one][axis]) * way[1 - axis] / way[axis])
                    ends[one][axis] = border
    if not all(0 <= value <= limit for place in ends for value in place):
        return
    (x, y), (until_x, until_y) = ends
    flat = abs(until_x - x) > abs(until_y - y)
    if (flat and until_x < x) or (not flat and until_y < y):
        x, y, until_x, until_y = until_x, until_y, x, y
    dot(out, (until_x + ONE // 2) // ONE, (until_y + ONE // 2) // ONE)
    length, rise = (until_x - x, until_y - y) if flat else (until_y - y, until_x - x)
    slope = towards_zero(rise * ONE, length | 1)
    for step in range(length // ONE + 1):
        if flat:
            dot(out, (x + ONE // 2) // ONE + step, (y + ONE // 2 + step * slope) // ONE)
        else:
            dot(out, (x + ONE // 2 + step * slope) // ONE, (y + ONE // 2) // ONE + step)


def towards_zero(a: int, b: int) -> int:
    return a // b if a >= 0 else -(-a // b)


# --------------------------------------------------------------------------------------------------------- inference


def which_frames(frames: int) -> list[tuple[int, int]]:
    """(window, place in it) of each frame in turn."""
    out = []
    for number in range(len(range(0, frames, 32))):
        for place in range(0 if number == 0 else 16, 48):
            out.append((number, place))
            if len(out) == frames:
                return out
    return out


def window(rows: np.ndarray, poses: np.ndarray, number: int) -> tuple[np.ndarray, np.ndarray]:
    """Sound (64, 4, 41) and boxes (64, 256, 256) of a window; ``poses`` as the network gives them, one more."""
    low = [-0.639, -0.501, -0.47, -102.6, -32.5, 184.6]
    high = [0.411, 0.547, 0.433, 159.1, 116.5, 376.5]
    frames, sound, drawn = len(rows) // 4, [], []
    for i in range(32 * number, 32 * number + 64):
        sound.append(rows[4 * i : 4 * i + 4] if i < frames else np.zeros((4, 41)))
        pose = poses[i] if i < frames else poses[-1]
        real = [
            np.float32((p + 1) / 2 * np.float32(b - a) + np.float32(a)) for p, a, b in zip(pose, low, high, strict=True)
        ]
        real = [float(value) for value in real]
        drawn.append(box(real[:3], real[3:]))
    return np.array(sound, np.float32), np.array(drawn, np.float32)
