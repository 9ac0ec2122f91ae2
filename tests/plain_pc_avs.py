"""What PC-AVS's inference does before and after its networks, said slowly: one sample, one pixel, one frame at a time.

Written from the facts (Hangz-nju-cuhk/Talking-Face_PC-AVS, commit 201d2b9; lws 1.2.8), to hold the fast code against.
Also `weight`: a rule that gives every tensor of a public file values that depend on its name alone.
"""

from __future__ import annotations

import math
import zlib

import numpy as np


def weight(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Values for the tensor ``name``, float32: noise by formula, at a scale that keeps activations near one."""
    if name.endswith("num_batches_tracked"):
        return np.zeros(shape, np.int64)
    if name.endswith("kernel"):
        return np.outer([1, 3, 3, 1], [1, 3, 3, 1]).astype(np.float32) / 16
    count = math.prod(shape)
    wave = np.sin(np.arange(count) * 12.9898 + zlib.crc32(name.encode()) % 1000) * 43758.5453
    noise = 2 * (wave - np.floor(wave)) - 1
    if name.endswith("running_var"):
        values = 1 + 0.5 * noise
    elif name.endswith("modulation.bias"):
        values = 1 + 0.1 * noise
    elif name.endswith(("modulation.weight", "conv.weight")):
        values = noise * (0.3 if name.startswith("to_rgb") and len(shape) == 5 else 1) * math.sqrt(3)
    elif len(shape) > 1 and not name.endswith("bias"):
        values = noise * math.sqrt(3 / math.prod(shape[1:]))
    elif name.endswith("weight") and not name.endswith("noise.weight"):
        values = 1 + 0.1 * noise
    else:
        values = 0.1 * noise
    return values.reshape(shape).astype(np.float32)


def numbers(shape: tuple[int, ...], name: str) -> np.ndarray:
    """An input called ``name``: uniform in (-1, 1), float32."""
    return (weight(f"{name}.running_var", shape) - 1) * 2


# ------------------------------------------------------------------------------------------------------------- sound


def spectrogram(audio: np.ndarray) -> np.ndarray:
    """Columns one after the other: (N,) -> (columns, 80)."""
    loudness = math.sqrt(sum(float(s) ** 2 for s in audio) / len(audio))
    samples = [float(s) * 0.1 / max(1e-4, loudness) for s in audio]
    while len(samples) % 160:
        samples.append(0.0)
    samples = [0.0] * 1120 + samples
    n_columns = len(samples) // 160
    samples += [0.0] * 1120
    bands, rows = mel_bands(), []
    for column in range(n_columns):
        part = [samples[160 * column + n] * 0.5 * math.sin(math.pi * (n + 0.5) / 1280) for n in range(1280)]
        amplitude = np.abs(np.fft.fft(part))[:641]
        row = []
        for band in bands:
            level = max(1e-5, float(sum(band[k] * amplitude[k] for k in np.nonzero(band)[0])))
            row.append(min(1.0, max(0.0, (20 * math.log10(level) - 20 + 100) / 100)))
        rows.append(row)
    return np.array(rows)


def mel_bands() -> np.ndarray:
    def hertz(mel: float) -> float:
        return 1000 * 6.4 ** ((mel - 15) / 27) if mel >= 15 else mel * 200 / 3

    low, high = 125 * 3 / 200, 15 + 27 * math.log(7.6, 6.4)
    edges = [hertz(low + (high - low) * i / 81) for i in range(82)]
    bands = np.zeros((80, 641))
    for b in range(80):
        left, top, right = edges[b : b + 3]
        for k in range(641):
            f = k * 12.5
            if left < f <= top:
                bands[b, k] = (f - left) / (top - left) * 2 / (right - left)
            elif top < f < right:
                bands[b, k] = (right - f) / (right - top) * 2 / (right - left)
    return bands


def heard(rows: np.ndarray) -> tuple[list[int], list[np.ndarray]]:
    """The loader's frames and windows: from 2 to a quarter of the columns less two; columns 4 (f - 2) and 19 more."""
    frames, windows = [], []
    frame = 2
    while frame < len(rows) // 4 - 2:
        frames.append(frame)
        windows.append(np.array([[rows[4 * (frame - 2) + c][band] for c in range(20)] for band in range(80)]))
        frame += 1
    return frames, windows


# ---------------------------------------------------------------------------------------------------------- pictures


def align(points: np.ndarray) -> list[np.ndarray]:
    """The script's matrices: least squares of a, b, tx, ty, and the mouth's shift with its memory."""
    triples = []
    for face in points:
        groups = [range(36, 42), range(42, 48), range(60, 68)]
        triples.append([[sum(face[i][c] for i in group) / len(group) for c in (0, 1)] for group in groups])
    mean = np.mean(triples, 0)
    left, right = [], []
    for (x, y), (u, v) in zip(mean, [(87, 59), (137, 59), (112, 120)], strict=True):
        left += [[x, -y, 1, 0], [y, x, 0, 1]]
        right += [u, v]
    a, b, tx, ty = np.linalg.lstsq(np.array(left, float), np.array(right, float), rcond=None)[0]
    matrices, before = [], None
    for _, _, (x, y) in triples:
        shift = np.array([112 - (a * x - b * y + tx), 120 - (b * x + a * y + ty)])
        if before is not None:
            shift = 0.2 * before + 0.8 * shift
        before = shift
        matrices.append(np.array([[a, -b, tx + shift[0]], [b, a, ty + shift[1]]]))
    return matrices


def warp(frame: np.ndarray, matrix: np.ndarray, pixels: list[tuple[int, int]]) -> np.ndarray:
    """Some pixels (x, y) of the aligned picture, not rounded: bilinear, black outside the frame."""
    whole = np.vstack([matrix, [0, 0, 1]])
    found = []
    for u, v in pixels:
        x, y, _ = np.linalg.solve(whole, [u, v, 1])
        x0, y0 = math.floor(x), math.floor(y)
        total = np.zeros(3)
        for xi, yi in ((x0, y0), (x0 + 1, y0), (x0, y0 + 1), (x0 + 1, y0 + 1)):
            if 0 <= xi < frame.shape[1] and 0 <= yi < frame.shape[0]:
                total += (1 - abs(x - xi)) * (1 - abs(y - yi)) * frame[yi, xi]
        found.append(total)
    return np.array(found)


def tighten(picture: np.ndarray, pixels: list[tuple[int, int]]) -> np.ndarray:
    """Some pixels of the inner crop: rows 0..191 and columns 16..207, resized to 224 from pixel edge to pixel edge."""
    part, found = picture[:192, 16:208].astype(float), []
    for u, v in pixels:
        x, y = (min(191.0, max(0.0, (w + 0.5) * 192 / 224 - 0.5)) for w in (u, v))
        x0, y0 = min(190, int(x)), min(190, int(y))
        dx, dy = x - x0, y - y0
        top = part[y0, x0] * (1 - dx) + part[y0, x0 + 1] * dx
        found.append(top * (1 - dy) + (part[y0 + 1, x0] * (1 - dx) + part[y0 + 1, x0 + 1] * dx) * dy)
    return np.array(found)


def to_byte(value: float) -> int:
    """-1..1 to 0..255, rounded down."""
    return int(min(255.0, max(0.0, (value + 1) / 2 * 255)))


def largest_square(crops: np.ndarray, side: int) -> int:
    """The length of the largest square of frame pixels that all 224x224 pictures show."""
    shown = np.ones((side, side), bool)
    for m in crops:
        for y in range(side):
            for x in range(side):
                u, v = m[0, 0] * x + m[0, 1] * y + m[0, 2], m[1, 0] * x + m[1, 1] * y + m[1, 2]
                shown[y, x] &= -0.5 <= u <= 223.5 and -0.5 <= v <= 223.5
    best = np.zeros((side, side), int)
    for y in range(side):
        for x in range(side):
            if shown[y, x]:
                best[y, x] = 1 + (min(best[y - 1, x], best[y, x - 1], best[y - 1, x - 1]) if x and y else 0)
    return int(best.max())
