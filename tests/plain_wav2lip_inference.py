"""Wav2Lip's inference written out literally, one pixel and one block at a time, for the tests to hold ours against.

Figures: Rudrabha/Wav2Lip (commit 5c90fa9) ``inference.py``, ``models/wav2lip.py``; the resize: what OpenCV's
documentation says of it (bilinear, 11-bit weights) and what it gives. The sound's windows: ``plain_wav2lip.py``.
"""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F

# ------------------------------------------------------------------------------------------------------ the pictures


def weights_of(place: float) -> tuple[int, int, int]:
    """The pixel below ``place`` and the two weights."""
    place = np.float32(place)
    low = math.floor(place)
    part = np.float32(place - np.float32(low))
    return low, int(np.rint((np.float32(1) - part) * np.float32(2048))), int(np.rint(part * np.float32(2048)))


def resize(picture: np.ndarray, width: int, height: int) -> np.ndarray:
    old_height, old_width, colours = picture.shape
    if (old_width, old_height) == (width, height):
        return picture
    out = np.zeros((height, width, colours), np.uint8)
    halved = (old_width, old_height) == (2 * width, 2 * height)
    for y in range(height):
        row, upper, lower = weights_of((y + 0.5) * (old_height / height) - 0.5)
        rows = [min(max(r, 0), old_height - 1) for r in (row, row + 1)]
        for x in range(width):
            column, left, right = weights_of((x + 0.5) * (old_width / width) - 0.5)
            if column < 0:
                column, left, right = 0, 2048, 0
            if column >= old_width - 1:
                column, left, right = old_width - 1, 2048, 0
            beside = min(column + 1, old_width - 1)
            for c in range(colours):
                if halved:
                    square = picture[2 * y : 2 * y + 2, 2 * x : 2 * x + 2, c]
                    out[y, x, c] = (int(square.sum()) + 2) // 4
                    continue
                sums = [int(picture[r, column, c]) * left + int(picture[r, beside, c]) * right for r in rows]
                value = (upper * (sums[0] // 16)) // 65536 + (lower * (sums[1] // 16)) // 65536
                out[y, x, c] = min((value + 2) // 4, 255)
    return out


def boxes_of(faces: list[np.ndarray], height: int, width: int) -> list[list[int]]:
    """left, top, right, bottom of each frame from the detector's: clipped, cut to whole pixels, padded, averaged."""
    boxes = []
    for face in faces:
        x1, y1, x2, y2 = (int(max(v, 0)) for v in face[:4])
        boxes.append([max(0, x1 - 0), max(0, y1 - 0), min(width, x2 + 0), min(height, y2 + 10)])
    for i in range(len(boxes)):
        window = boxes[len(boxes) - 5 :] if i + 5 > len(boxes) else boxes[i : i + 5]
        boxes[i] = [int(sum(box[k] for box in window) / len(window)) for k in range(4)]
    return boxes


def six_channels(face: np.ndarray) -> np.ndarray:
    """(96, 96, 3) BGR -> (6, 96, 96)."""
    out = np.zeros((6, 96, 96))
    for y in range(96):
        for c in range(3):
            out[3 + c, y] = face[y, :, c] / 255.0
            if y < 48:
                out[c, y] = face[y, :, c] / 255.0
    return out.astype(np.float32)


def repaint(pictures, faces, windows, network) -> list[np.ndarray]:
    """RGB frames -> RGB frames, one for each window; a single picture serves all."""
    boxes = boxes_of(faces, *pictures[0].shape[:2])
    out = []
    for i, window in enumerate(windows):
        picture, (x1, y1, x2, y2) = pictures[i % len(pictures)][..., ::-1].copy(), boxes[i % len(pictures)]
        face = resize(picture[y1:y2, x1:x2], 96, 96)
        made = network(
            torch.tensor(np.asarray(window, np.float32))[None, None], torch.tensor(six_channels(face))[None]
        )[0]
        grey = np.floor(made.numpy().transpose(1, 2, 0) * np.float32(255)).astype(np.uint8)
        picture[y1:y2, x1:x2] = resize(grey, x2 - x1, y2 - y1)
        out.append(picture[..., ::-1])
    return out


# ------------------------------------------------------------------------------------------------------- the network

#: per stage its blocks: (stride, padding, residual)
RESIDUAL = (1, 1, True)
FACE = [
    [(1, 3, False)],
    [(2, 1, False), RESIDUAL, RESIDUAL],
    [(2, 1, False), RESIDUAL, RESIDUAL, RESIDUAL],
    [(2, 1, False), RESIDUAL, RESIDUAL],
    [(2, 1, False), RESIDUAL, RESIDUAL],
    [(2, 1, False), RESIDUAL],
    [(1, 0, False), (1, 0, False)],
]
SOUND = [
    (1, 1, False), RESIDUAL, RESIDUAL,
    ((3, 1), 1, False), RESIDUAL, RESIDUAL,
    (3, 1, False), RESIDUAL, RESIDUAL,
    ((3, 2), 1, False), RESIDUAL,
    (1, 0, False),
    (1, 0, False),
]  # fmt: skip
#: how many residual blocks follow the transposed convolution of stages 1 to 6
DECODER = (1, 2, 2, 2, 2, 2)
#: what the last layer of random weights is multiplied by, so that a sigmoid of it is neither flat nor 0 and 1 only
CONTRAST = 0.04


def block(state, name, x, stride, padding, residual, transposed=False):
    weight, bias = state[f"{name}.conv_block.0.weight"], state[f"{name}.conv_block.0.bias"]
    if transposed:
        y = F.conv_transpose2d(x, weight, bias, stride, padding, output_padding=1 if stride == 2 else 0)
    else:
        y = F.conv2d(x, weight, bias, stride, padding)
    norm = {
        k: state[f"{name}.conv_block.1.{k}"][:, None, None] for k in ("weight", "bias", "running_mean", "running_var")
    }
    y = (y - norm["running_mean"]) / (norm["running_var"] + 1e-5).sqrt() * norm["weight"] + norm["bias"]
    return (y + x if residual else y).clamp(min=0)


def generator(state, mels, faces):
    maps, x = [], faces
    for i, blocks in enumerate(FACE):
        for j, figures in enumerate(blocks):
            x = block(state, f"face_encoder_blocks.{i}.{j}", x, *figures)
        maps.append(x)
    x = mels
    for i, figures in enumerate(SOUND):
        x = block(state, f"audio_encoder.{i}", x, *figures)
    x = block(state, "face_decoder_blocks.0.0", x, 1, 0, False)
    x = torch.cat([x, maps[6]], 1)
    for i, residual in enumerate(DECODER, 1):
        stride, padding = (1, 0) if i == 1 else (2, 1)
        x = block(state, f"face_decoder_blocks.{i}.0", x, stride, padding, False, transposed=True)
        for j in range(1, residual + 1):
            x = block(state, f"face_decoder_blocks.{i}.{j}", x, *RESIDUAL)
        x = torch.cat([x, maps[6 - i]], 1)
    x = block(state, "output_block.0", x, 1, 1, False)
    return torch.sigmoid(F.conv2d(x, state["output_block.1.weight"], state["output_block.1.bias"]))


def random_state(shapes: dict[str, list[int]], seed: int = 0) -> dict[str, torch.Tensor]:
    """Every number of a checkpoint random, such that pictures have contrast and depend on the sound."""
    g, state = torch.Generator().manual_seed(seed), {}
    for name, shape in shapes.items():
        if name.endswith("num_batches_tracked"):
            state[name] = torch.tensor(7)
        elif name.endswith(("running_var", "1.weight")) and len(shape) == 1:
            state[name] = torch.rand(shape, generator=g) * 0.6 + 0.6
        elif len(shape) == 1:
            state[name] = torch.randn(shape, generator=g) * 0.1
        else:
            state[name] = torch.randn(shape, generator=g) * (2 / (shape[1] * shape[2] * shape[3])) ** 0.5
    state["output_block.1.weight"] *= CONTRAST
    return state
