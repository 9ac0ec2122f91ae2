"""What MakeItTalk's inference does around its networks, said slowly: one frame, one point, one number at a time.

Written from the facts (yzhou359/MakeItTalk, commit fad2fe4; Resemblyzer 0.1.4), to hold the fast code against. Also
`weight`: a rule that gives every tensor of a public file values that depend on its name alone.
"""

from __future__ import annotations

import math
import zlib

import numpy as np
from scipy.signal import savgol_filter

STRIDES = {1: (1,), 2: (101, 1), 3: (101, 9, 1), 4: (101, 9, 3, 1)}


def weight(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Values for the tensor ``name``, float32: noise by formula that keeps activations near one. Rows share memory."""
    if name.endswith("num_batches_tracked"):
        return np.zeros(shape, np.int64)
    strides = STRIDES[len(shape)]
    count = 1 + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
    wave = np.sin(np.arange(count) * 12.9898 + zlib.crc32(name.encode()) % 1000) * 43758.5453
    noise = 2 * (wave - np.floor(wave)) - 1
    if name.endswith("running_var"):
        values = 1 + 0.5 * noise
    elif name == "model.model.6.weight":  # what makes the picture: bright enough
        values = (0.4 + 0.6 * noise) / math.prod(shape[1:])
    elif len(shape) > 1:
        values = noise * math.sqrt((6 if "lstm" in name else 3) / math.prod(shape[1:]))
    elif name.endswith(("weight", "alpha")):
        values = 1 + 0.1 * noise
    else:
        values = 0.1 * noise
    steps = tuple(4 * stride for stride in strides)
    return np.lib.stride_tricks.as_strided(values.astype(np.float32), shape, steps)


def numbers(shape: tuple[int, ...], name: str) -> np.ndarray:
    """An input called ``name``: uniform in (-1, 1), float32."""
    return np.ascontiguousarray(2 * weight(f"{name}.running_var", shape) - 2)


def voice(seconds: float, pitch: float = 170.0) -> np.ndarray:
    """Something like speech, float64 in [-1, 1] at 16 kHz: a gliding pitch with overtones, pauses, and breath."""
    t = np.arange(round(16000 * seconds)) / 16000
    phase = 2 * np.pi * np.cumsum(pitch * (1 + 0.25 * np.sin(2.1 * t))) / 16000
    tone = sum(np.sin(k * phase) / k * (1 + math.cos(k)) for k in range(1, 19))
    breath = np.sin(np.arange(len(t)) * 12.9898) * 43758.5453 % 1 - 0.5
    loud = np.clip(np.sin(2 * np.pi * 1.7 * t) + 0.4, 0, 1) * (0.6 + 0.4 * np.sin(2 * np.pi * 5.3 * t))
    return 0.09 * loud * tone + 0.01 * breath


def average_face() -> np.ndarray:
    """68 points of a face in a picture of 256 pixels, and their depths."""
    rng = np.random.default_rng(3)
    angle = np.linspace(0, np.pi, 17)
    jaw = np.stack((128 - 85 * np.cos(angle), 110 + 110 * np.sin(angle)), 1)
    brows = [(60 + 14 * i + 16 * (i > 4), 85) for i in range(10)]
    nose = [(128, 100 + 15 * i) for i in range(4)] + [(112 + 8 * i, 150) for i in range(5)]
    eyes = [(x + dx, 105 + dy) for x in (90, 166) for dx, dy in ((-14, 0), (-5, -6), (5, -6), (14, 0), (5, 6), (-5, 6))]
    outer, inner = (np.arange(n) / n * 2 * np.pi for n in (12, 8))
    lips = np.stack((128 - 30 * np.cos(outer), 185 - 12 * np.sin(outer)), 1)
    inside = np.stack((128 - 20 * np.cos(inner), 185 - 4 * np.sin(inner)), 1)
    xy = np.concatenate((jaw, brows, nose, eyes, lips, inside))
    return np.concatenate((xy, rng.standard_normal((68, 1))), 1)


# ------------------------------------------------------------------------------------------------------------- sound


def levelled(samples: np.ndarray) -> list[int]:
    rms = int(math.sqrt(sum(int(s) ** 2 for s in samples) / len(samples)))
    factor = 10 ** ((-20 - 20 * math.log(rms / 32768, 10)) / 20)
    return [max(-32768, min(32767, math.floor(int(s) * factor))) for s in samples]


def mel_column(x: np.ndarray, column: int) -> list[float]:
    """One column of the spectrogram, by the sum that a Fourier transform is."""
    part = []
    for n in range(1024):
        place = abs(256 * column - 512 + n)
        if place >= len(x):
            place = 2 * (len(x) - 1) - place
        part.append(x[place] * (0.5 - 0.5 * math.cos(2 * math.pi * n / 1024)))
    amplitude = [
        abs(np.dot(part, np.exp(-2j * np.pi * frequency * np.arange(1024) / 1024))) for frequency in range(513)
    ]
    bands = slaney(80, 1024, 90, 7600) @ amplitude
    return [(20 * math.log10(max(1e-5, band)) - 16 + 100) / 100 for band in bands]


def slaney(bands: int, fft: int, lowest: float, highest: float) -> np.ndarray:
    """Triangles, one weight at a time."""

    def to_mel(f: float) -> float:
        return f / (200 / 3) if f < 1000 else 15 + math.log(f / 1000) / (math.log(6.4) / 27)

    def to_hertz(m: float) -> float:
        return m * 200 / 3 if m < 15 else 1000 * math.exp((m - 15) * math.log(6.4) / 27)

    low, high = to_mel(lowest), to_mel(highest)
    edges = [to_hertz(low + (high - low) * i / (bands + 1)) for i in range(bands + 2)]
    rows = np.zeros((bands, fft // 2 + 1))
    for band in range(bands):
        left, top, right = edges[band : band + 3]
        for frequency in range(fft // 2 + 1):
            f = frequency * 16000 / fft
            if left < f < right:
                height = (f - left) / (top - left) if f <= top else (right - f) / (right - top)
                rows[band, frequency] = height * 2 / (right - left)
    return rows


def pitch_level(log_f0: list[float]) -> list[int]:
    """Which of the 257 is 1."""
    voiced = [f for f in log_f0 if f > -1e9]
    mean = sum(voiced) / len(voiced)
    spread = math.sqrt(sum((f - mean) ** 2 for f in voiced) / len(voiced))
    levels = []
    for f in log_f0:
        away = max(-1.0, min(1.0, (f - mean) / spread / 4)) if f > -1e9 else 0
        levels.append(1 + round((away + 1) / 2 * 255) if f > -1e9 else 0)
    return levels


def stretches(n: int) -> list[int]:
    """Where the stretches of ``n`` samples begin, in columns."""
    columns, begins = math.ceil((n + 1) / 160), []
    for begin in range(0, max(1, columns - 160 + 50 + 1), 50):
        begins.append(begin)
    if len(begins) > 1 and (n - begins[-1] * 160) / 25600 < 0.75:
        begins = begins[:-1]
    return begins


def kept_windows(flags: list[bool]) -> list[bool]:
    """Which windows of 30 ms stay: where most of eight around them have voice, and three on each side of those."""
    most = []
    for i in range(len(flags)):
        around = [flags[j] for j in range(i - 3, i + 5) if 0 <= j < len(flags)]
        most.append(sum(around) / 8 > 0.5)
    return [any(most[max(0, i - 3) : i + 4]) for i in range(len(flags))]


# ------------------------------------------------------------------------------------------------------------- faces


def at_rest(points: np.ndarray, depths: np.ndarray) -> tuple[np.ndarray, float, np.ndarray]:
    points = points.astype(float).copy()
    for i in (49, 50, 51, 52, 53):
        points[i, 1] += 1
    for i in (55, 56, 57, 58, 59):
        points[i, 1] -= 1
    for i in (37, 38, 43, 44):
        points[i, 1] -= 2
    for i in (40, 41, 46, 47):
        points[i, 1] += 2
    scale = 1.6 / (points[0, 0] - points[16, 0])
    shift = -(points[0] + points[16]) / 2
    face = [
        [-(x + shift[0]) * scale, -(y + shift[1]) * scale, 0.1 * z] for (x, y), z in zip(points, depths, strict=True)
    ]
    return np.array(face).ravel(), scale, shift


def moved(face: np.ndarray, spoken: np.ndarray, turned: np.ndarray) -> np.ndarray:
    turned = savgol_filter(turned, int(min(len(turned) - 1, 31) // 2 * 2 + 1), 3, axis=0)
    out = np.zeros_like(turned)
    calm = [np.mean(sorted(spoken[:, i])[: int(len(spoken) * 0.5)]) for i in range(204)]
    pairs = [(49, 59), (50, 58), (51, 57), (52, 56), (53, 55), (61, 67), (62, 66), (63, 65)]
    for t in range(len(turned)):
        head = turned[t].reshape(68, 3).copy()
        for a, b in pairs:
            middle = 0.5 * head[a] + 0.5 * head[b]
            head[a], head[b] = middle * 0.99 + head[a] * 0.01, middle * 0.99 + head[b] * 0.01
        lips = (spoken[t] - calm).reshape(68, 3)
        for i in range(48, 68):
            lips[i] *= (2, 2, 1)
        out[t] = head.ravel() * 0.5 + lips.ravel() + face
    return unturned(out)


def unturned(faces: np.ndarray) -> np.ndarray:
    faces = faces.reshape(-1, 68, 3).copy()
    for t, face in enumerate(faces):
        area = 0.0
        for i in range(61, 67):
            a, b = face[i, :2] - face[60, :2], face[i + 1, :2] - face[60, :2]
            area += (a[0] * b[1] - a[1] * b[0]) / 2
        if area < 0:
            for a, b in ((63, 65), (62, 66), (61, 67)):
                face[a] = face[b] = 0.5 * (face[a] + face[b])
            before = faces[max(t - 1, 0)].copy()
            below = ((55, 64), (56, 65), (57, 66), (58, 67), (59, 60))
            for outer, inner in (*below, *((i, i + 11) for i in range(49, 54))):
                face[outer, 1] = face[inner, 1] + before[outer, 1] - before[inner, 1]
    return faces.reshape(-1, 204)


def placed(faces: np.ndarray, scale: float, shift: np.ndarray) -> np.ndarray:
    """Points with fractions, (n, 68, 2)."""
    faces = faces.copy()
    for face in faces.reshape(-1, 68, 3):
        face[27] = face[28] * 2 - face[29]
    faces = savgol_filter(faces, 5, 3, axis=0).reshape(-1, 68, 3)
    points = np.zeros((len(faces), 68, 2))
    for t, face in enumerate(faces):
        for i in range(68):
            points[t, i] = -np.array([float(f"{v:.6f}") for v in face[i, :2]]) / scale - shift
    points = blinking(points).reshape(-1, 136)
    points[:, :96] = savgol_filter(points[:, :96], 15, 3, axis=0)
    points[:, 96:] = savgol_filter(points[:, 96:], 5, 3, axis=0)
    return points.reshape(-1, 68, 2)


def blinking(points: np.ndarray) -> np.ndarray:
    points, lids = points.copy(), ((37, 41), (38, 40), (43, 47), (44, 46))
    for face in points:
        for a, b in lids:
            face[a], face[b] = 0.95 * face[a] + 0.05 * face[b], 0.05 * face[a] + 0.95 * face[b]
    np.random.seed(0)
    shut, t, n = [30], 30, len(points)
    while t < n - 1 - 15:
        t += 60
        t += np.random.randint(30, 90)
        if t < n - 1 - 15:
            shut.append(t)
    for t in shut if n > 45 else ():
        for a, b in lids:
            points[t, a] = points[t, b] = 0.25 * points[t, a] + 0.75 * points[t, b]
            for i in (a, b):
                for s in range(t - 9, t):
                    r = (t - s) / 10
                    points[s, i] = r * points[t - 10, i] + (1 - r) * points[t, i]
                for s in range(t + 1, t + 15):
                    r = (t + 14 - s) / 15
                    points[s, i] = r * points[t, i] + (1 - r) * points[t + 15, i]
    return points
