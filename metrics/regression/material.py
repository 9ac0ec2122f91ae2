"""What regression scores: clips, sound, landmarks and network weights, all drawn by NumPy from fixed seeds."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

#: Frames of a clip. 17 SyncNet windows: the fewest, and two more, that leave each of 31 offsets a partner.
FRAMES = 22
DISTORTIONS = ("blurred", "shifted", "noisy", "frozen")
_LATE = 3  # frames by which the shifted clip is late


def clips() -> dict[str, np.ndarray]:
    """{name: (FRAMES + 3, H, W, 3) uint8}: the last three frames are for the shifted version.

    Colour waves; blobs with texture and a flat border, an odd number of pixels to each side; hard edges on a slope.
    """
    return {"waves": waves(), "blobs": blobs(), "edges": edges()}


def waves(n: int = FRAMES + _LATE, height: int = 192, width: int = 176) -> np.ndarray:
    """(n, height, width, 3) uint8: smooth waves of colour that drift."""
    y, x = np.mgrid[:height, :width]
    frames = []
    for t in range(n):
        planes = [np.sin(x / (9 + 5 * c) + t * (0.3 + 0.2 * c)) * np.cos(y / (13 - 3 * c) - 0.25 * t) for c in range(3)]
        frames.append(128 + 100 * np.stack(planes, axis=-1))
    return np.stack(frames).astype(np.uint8)


def blobs(n: int = FRAMES + _LATE, height: int = 181, width: int = 203, seed: int = 1) -> np.ndarray:
    """(n, height, width, 3) uint8: smooth blobs with fine texture that slide two pixels a frame, a flat strip below."""
    from scipy.ndimage import gaussian_filter

    rng = np.random.default_rng(seed)
    shape = (height, width + 2 * n, 3)
    picture = 128 + 900 * gaussian_filter(rng.normal(0, 1, shape), (12, 12, 0))
    picture += 25 * gaussian_filter(rng.normal(0, 1, shape), (1, 1, 0))
    picture[-20:] = 190
    picture = np.clip(picture, 0, 255).astype(np.uint8)
    return np.stack([picture[:, 2 * t : 2 * t + width] for t in range(n)])


def edges(n: int = FRAMES + _LATE, side: int = 192, seed: int = 2) -> np.ndarray:
    """(n, side, side, 3) uint8: rectangles that move, each at its own speed, over a slope that begins black."""
    rng = np.random.default_rng(seed)
    slope = np.linspace(-60, 220, side).clip(2)[None, :, None] * np.array([1, 0.8, 0.6])
    frames = np.broadcast_to(slope, (n, side, side, 3)).astype(np.uint8)
    for _ in range(12):
        top, left = rng.integers(0, side - 40, 2)
        h, w = rng.integers(8, 40, 2)
        speed, colour = rng.integers(-3, 4, 2), rng.integers(0, 256, 3)
        for t in range(n):
            y, x = max(0, top + t * speed[0]), max(0, left + t * speed[1])
            frames[t, y : y + h, x : x + w] = colour
    return frames


def distorted(clip: np.ndarray, how: str) -> np.ndarray:
    """A clip's first FRAMES frames gone wrong in one of DISTORTIONS, uint8."""
    truth = clip[:FRAMES]
    if how == "blurred":
        from scipy.ndimage import gaussian_filter

        return gaussian_filter(truth, (0, 1.5, 1.5, 0))
    if how == "shifted":
        return clip[_LATE : FRAMES + _LATE].copy()
    if how == "noisy":
        noise = np.random.default_rng(3).normal(0, 12, truth.shape)
        return np.clip(truth + noise, 0, 255).astype(np.uint8)
    if how == "frozen":
        return np.repeat(truth[:1], FRAMES, axis=0)
    raise ValueError(f"unknown distortion {how!r}; known: {', '.join(DISTORTIONS)}")


def sound(n_frames: int = FRAMES, seed: int = 0) -> np.ndarray:
    """(n_frames * 640,) float32 at 16 kHz: noise that swells four times a second, with a stretch of silence."""
    n = n_frames * 640
    rng = np.random.default_rng(seed)
    samples = rng.normal(size=n) * 0.1 * (0.6 + 0.4 * np.sin(np.arange(n) * 2 * np.pi * 4 / 16000))
    samples[n // 2 : n // 2 + n // 8] = 0
    return np.clip(samples, -1, 1).astype(np.float32)


def boxes(n: int, seed: int = 4) -> list[np.ndarray]:
    """One face that nods and is missed now and then, so far left that its crop leaves the frame: (k, 5) boxes for each
    of ``n`` frames.
    """
    rng = np.random.default_rng(seed)
    found = []
    for t in range(n):
        x, y = 62 + 6 * np.sin(t / 9), 90 + 4 * np.cos(t / 7)
        half = 55 * (1 + 0.02 * rng.normal())
        missed = rng.random() < 0.05 and 0 < t < n - 1
        found.append(np.array([[x - half, y - half, x + half, y + half, 0.99]])[: 0 if missed else 1])
    return found


def landmarks(n_points: int = 68) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """{name: (generated, reference)}, (30, n_points, 2) float32 each; in some frames one side shows no face (NaN)."""
    rng = np.random.default_rng(5)
    reference = (rng.uniform(60, 190, (1, n_points, 2)) + rng.normal(0, 2, (30, n_points, 2))).astype(np.float32)
    opened = reference.copy()
    opened[:, 48:58, 1] += (4 * np.sin(np.arange(30) / 3) ** 2)[:, None].astype(np.float32)
    jittered = reference + rng.normal(0, 1.5, reference.shape).astype(np.float32)
    jittered[[3, 17]] = np.nan
    turned = reference[:, :, ::-1] * np.float32(1.1) + np.float32(7)
    return {"opened": (opened, reference), "jittered": (jittered, reference), "turned": (turned, reference)}


def syncnet_state(seed: int = 6) -> dict[str, np.ndarray]:
    """SyncNet's official state dict, drawn so that every layer keeps the scale of what enters it.

    The first lip kernels sum to zero: the picture's brightness does not drown its movement. Lips and speech end at
    about the same length.
    """
    from metrics.syncnet import state_shapes

    rng, state = np.random.default_rng(seed), {}
    for key, shape in state_shapes().items():
        kind = key.rpartition(".")[2]
        normed = f"{key.rpartition('.')[0]}.running_mean" in state_shapes()
        if len(shape) > 1:
            state[key] = rng.standard_normal(shape, dtype=np.float32) * np.float32((2 / np.prod(shape[1:])) ** 0.5)
        elif kind == "running_var" or (kind == "weight" and normed):
            state[key] = rng.uniform(0.7, 1.3, shape).astype(np.float32)
        else:
            state[key] = rng.normal(0, 0.1, shape).astype(np.float32)
    first = state["netcnnlip.0.weight"]
    state["netcnnlip.0.weight"] = (first - first.mean(axis=(1, 2, 3, 4), keepdims=True)) / 20
    state["netcnnaud.0.weight"] = state["netcnnaud.0.weight"] / 10
    for branch, length in (("lip", 20), ("aud", 10)):
        state[f"netfc{branch}.3.weight"] = state[f"netfc{branch}.3.weight"] / np.float32(length)
    return state


#: network -> {layer: (outputs, inputs, kernel side)} of its convolutions, as torchvision numbers them
_VGG_WIDTHS = ((0, 64), (2, 64), (5, 128), (7, 128), (10, 256), (12, 256), (14, 256), (17, 512), (19, 512), (21, 512),
               (24, 512), (26, 512), (28, 512))  # fmt: skip
TRUNKS = {
    "lpips_alex": {0: (64, 3, 11), 3: (192, 64, 5), 6: (384, 192, 3), 8: (256, 384, 3), 10: (256, 256, 3)},
    "lpips_vgg": {
        layer: (width, before, 3)
        for (layer, width), (_, before) in zip(_VGG_WIDTHS, ((0, 3), *_VGG_WIDTHS[:-1]), strict=True)
    },
}


def trunk_state(name: str, seed: int = 7) -> dict[str, np.ndarray]:
    """The convolutions of an LPIPS trunk, drawn, under torchvision's keys."""
    rng, state = np.random.default_rng(seed), {}
    for layer, (outputs, inputs, side) in TRUNKS[name].items():
        scale = np.float32((2 / (inputs * side**2)) ** 0.5)
        state[f"features.{layer}.weight"] = rng.standard_normal((outputs, inputs, side, side), np.float32) * scale
        state[f"features.{layer}.bias"] = rng.normal(0, 0.1, outputs).astype(np.float32)
    return state


def save(state: dict[str, np.ndarray], path: Path) -> Path:
    """Write a state dict as torch does; the file."""
    import torch

    torch.save({key: torch.from_numpy(np.ascontiguousarray(value)) for key, value in state.items()}, path)
    return path


def embeddings(late: int, n: int = 60, seed: int = 13) -> tuple[np.ndarray, np.ndarray]:
    """Lips and speech, (n, 1024) float32 each: speech says, not too clearly, what lips said ``late`` windows before."""
    rng = np.random.default_rng(seed)
    margin = abs(late)
    content = rng.normal(size=(n + 2 * margin, 1024))
    for i in range(1, len(content)):
        content[i] = 0.9 * content[i - 1] + (1 - 0.9**2) ** 0.5 * content[i]
    centre = rng.normal(0, 0.15, 1024)
    said = 0.8 * content[margin - late : margin - late + n] + 0.6 * rng.normal(size=(n, 1024))
    return tuple((0.25 * v + centre).astype(np.float32) for v in (content[margin : margin + n], said))


@contextmanager
def drawn_weights(syncnet: bool = True) -> Iterator[Path]:
    """A folder with the drawn SyncNet under its official name, the only one that FCTFG_WEIGHTS names meanwhile.

    Without ``syncnet`` the folder is empty, which saves the second that drawing 14 million numbers takes.
    """
    before = os.environ.get("FCTFG_WEIGHTS")
    with tempfile.TemporaryDirectory(prefix="fctfg-regression-") as folder:
        if syncnet:
            save(syncnet_state(), Path(folder) / "syncnet_v2.model")
        os.environ["FCTFG_WEIGHTS"] = folder
        try:
            yield Path(folder)
        finally:
            if before is None:
                del os.environ["FCTFG_WEIGHTS"]
            else:
                os.environ["FCTFG_WEIGHTS"] = before
