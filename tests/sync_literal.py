"""The LSE scripts written out step by step, slowly and on purpose: what `metrics.sync` is held against.

Nothing here is shared with the code under test: three-dimensional convolutions straight from the published layer table,
the MFCC of python_speech_features, OpenCV and scipy for the crop, frames as BGR, batches of 20, and double loops.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import nn


class LiteralSyncNet(nn.Module):
    """The training form: Conv3d / Conv2d, BatchNorm, ReLU and pooling at the published indices."""

    def __init__(self):
        super().__init__()
        relu, pool2, pool3 = nn.ReLU, nn.MaxPool2d, nn.MaxPool3d
        self.netcnnaud = nn.Sequential(
            *(nn.Conv2d(1, 64, 3, 1, 1), nn.BatchNorm2d(64), relu(), pool2(1, 1)),
            *(nn.Conv2d(64, 192, 3, 1, 1), nn.BatchNorm2d(192), relu(), pool2(3, (1, 2))),
            *(nn.Conv2d(192, 384, 3, 1, 1), nn.BatchNorm2d(384), relu()),
            *(nn.Conv2d(384, 256, 3, 1, 1), nn.BatchNorm2d(256), relu()),
            *(nn.Conv2d(256, 256, 3, 1, 1), nn.BatchNorm2d(256), relu(), pool2(3, 2)),
            *(nn.Conv2d(256, 512, (5, 4)), nn.BatchNorm2d(512), relu()),
        )
        self.netcnnlip = nn.Sequential(
            *(nn.Conv3d(3, 96, (5, 7, 7), (1, 2, 2)), nn.BatchNorm3d(96), relu(), pool3((1, 3, 3), (1, 2, 2))),
            nn.Conv3d(96, 256, (1, 5, 5), (1, 2, 2), (0, 1, 1)),
            *(nn.BatchNorm3d(256), relu(), pool3((1, 3, 3), (1, 2, 2), (0, 1, 1))),
            *(nn.Conv3d(256, 256, (1, 3, 3), 1, (0, 1, 1)), nn.BatchNorm3d(256), relu()),
            *(nn.Conv3d(256, 256, (1, 3, 3), 1, (0, 1, 1)), nn.BatchNorm3d(256), relu()),
            *(nn.Conv3d(256, 256, (1, 3, 3), 1, (0, 1, 1)), nn.BatchNorm3d(256), relu(), pool3((1, 3, 3), (1, 2, 2))),
            *(nn.Conv3d(256, 512, (1, 6, 6)), nn.BatchNorm3d(512), relu()),
        )
        self.netfcaud = nn.Sequential(nn.Linear(512, 512), nn.BatchNorm1d(512), relu(), nn.Linear(512, 1024))
        self.netfclip = nn.Sequential(nn.Linear(512, 512), nn.BatchNorm1d(512), relu(), nn.Linear(512, 1024))

    def lips(self, x):
        x = self.netcnnlip(x)
        return self.netfclip(x.reshape(len(x), -1))

    def speech(self, x):
        x = self.netcnnaud(x)
        return self.netfcaud(x.reshape(len(x), -1))


def draw_weights(seed: int = 0) -> LiteralSyncNet:
    """A network whose features differ from window to window: every layer keeps the scale of what enters it.

    The first lip kernels sum to zero, so that the picture's brightness does not drown its movement, and every
    normalisation has statistics of its own.
    """
    torch.manual_seed(seed)
    net = LiteralSyncNet().eval()
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, nn.Conv2d | nn.Conv3d | nn.Linear):
                nn.init.normal_(module.weight, std=(2.0 / module.weight[0].numel()) ** 0.5)
                nn.init.normal_(module.bias, std=0.1)
            elif isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d):
                nn.init.uniform_(module.weight, 0.7, 1.3)
                nn.init.normal_(module.bias, std=0.1)
                nn.init.normal_(module.running_mean, std=0.1)
                nn.init.uniform_(module.running_var, 0.7, 1.3)
                module.num_batches_tracked.fill_(1000)
        first = net.netcnnlip[0].weight
        first.sub_(first.mean(dim=(1, 2, 3, 4), keepdim=True)).div_(20.0)
        net.netcnnaud[0].weight.div_(10.0)
    return net


def save_official(net: LiteralSyncNet, path, legacy: bool = False) -> None:
    """A plain state dict.

    ``legacy`` writes it as the original file is: in the format from before PyTorch 1.6 and, judging by that file's
    size, without the batch counters that PyTorch saves since 0.4.1.
    """
    state = {k: v for k, v in net.state_dict().items() if not (legacy and k.endswith("num_batches_tracked"))}
    torch.save(state, path, _use_new_zipfile_serialization=not legacy)


def features(net: LiteralSyncNet, frames_bgr: np.ndarray, samples: np.ndarray, batch: int = 20):
    """Frames (T, 224, 224, 3) BGR uint8 and 16-bit samples -> two tensors (usable - 5, 1024), and the MFCC (13, n)."""
    import python_speech_features

    coefficients = python_speech_features.mfcc(samples, 16000).T
    video = torch.from_numpy(frames_bgr.astype(float)).float().permute(3, 0, 1, 2)[None]
    audio = torch.from_numpy(coefficients.copy()).float()[None, None]
    last = min(len(frames_bgr), math.floor(len(samples) / 640)) - 5
    lips, speech = [], []
    with torch.no_grad():
        for first in range(0, last, batch):
            rows = range(first, min(last, first + batch))
            lips.append(net.lips(torch.cat([video[:, :, i : i + 5] for i in rows])))
            speech.append(net.speech(torch.cat([audio[:, :, :, 4 * i : 4 * i + 20] for i in rows])))
    return torch.cat(lips), torch.cat(speech), coefficients


def distances(lips, speech, vshift: int = 15):
    """The 2 vshift + 1 distances of every window, one by one, against speech padded with zeros; (N, 31)."""
    zeros = torch.zeros(vshift, lips.shape[1])
    padded = torch.cat([zeros, speech, zeros])
    table = torch.empty(len(lips), 2 * vshift + 1)
    for i in range(len(lips)):
        for k in range(2 * vshift + 1):
            table[i, k] = torch.nn.functional.pairwise_distance(lips[i : i + 1], padded[i + k : i + k + 1])[0]
    return table


def score(lips, speech, vshift: int = 15):
    """(LSE-C, LSE-D, offset) by the published definition."""
    mean = distances(lips, speech, vshift).mean(0)
    lowest, index = torch.min(mean, 0)
    return float(torch.median(mean) - lowest), float(lowest), int(vshift - index)


def overlap(a, b) -> float:
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    shared = width * height
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)


def tracks(faces, min_track=100, max_gap=25, min_face=100.0):
    """One shot's faces, a list of boxes for each frame -> [(first frame, boxes (n, 4))], track after track."""
    from scipy.interpolate import interp1d

    left = [[(number, box) for box in boxes] for number, boxes in enumerate(faces)]
    found = []
    while any(left):
        track = []
        for here in left:
            for face in list(here):
                if not track or (face[0] - track[-1][0] <= max_gap and overlap(face[1], track[-1][1]) > 0.5):
                    track.append(face)
                    here.remove(face)
        numbers, boxes = [n for n, _ in track], np.array([b for _, b in track])
        if len(track) <= min_track:
            continue
        every = np.arange(numbers[0], numbers[-1] + 1)
        filled = np.stack([interp1d(numbers, boxes[:, c])(every) for c in range(4)], axis=1)
        if max(np.mean(filled[:, 2] - filled[:, 0]), np.mean(filled[:, 3] - filled[:, 1])) > min_face:
            found.append((numbers[0], filled))
    return found


def crops(frames: np.ndarray, first: int, boxes: np.ndarray, crop_scale: float = 0.4) -> np.ndarray:
    """Frames (T, H, W, 3) and one track -> (n, 224, 224, 3)."""
    import cv2
    from scipy.signal import medfilt

    size = medfilt([max(b[3] - b[1], b[2] - b[0]) / 2 for b in boxes], 13)
    x = medfilt([(b[0] + b[2]) / 2 for b in boxes], 13)
    y = medfilt([(b[1] + b[3]) / 2 for b in boxes], 13)
    out = []
    for k in range(len(boxes)):
        s = size[k]
        pad = int(s * (1 + 2 * crop_scale))
        padded = np.pad(frames[first + k], ((pad, pad), (pad, pad), (0, 0)), constant_values=110)
        cx, cy = x[k] + pad, y[k] + pad
        rows = slice(int(cy - s), int(cy + s * (1 + 2 * crop_scale)))
        columns = slice(int(cx - s * (1 + crop_scale)), int(cx + s * (1 + crop_scale)))
        out.append(cv2.resize(padded[rows, columns], (224, 224)))
    return np.stack(out)


def s3fd_boxes(state, image, threshold=0.05):
    """The scripts' S3FD on one image (3, h, w), RGB less its mean: every box over the threshold, (k, 5).

    ``state`` has the official names: vgg.N, L2Norm, extras, loc, conf.
    """
    import torch.nn.functional as F

    def conv(name, x, **how):
        return F.conv2d(x, state[name + ".weight"], state[name + ".bias"], **how)

    def norm(name, x):
        return x / (x.pow(2).sum(1, keepdim=True).sqrt() + 1e-10) * state[name + ".weight"][None, :, None, None]

    x, sources = image[None], []
    for index, kind in enumerate("crcrp crcrp crcrcrp crcrcrp crcrcrp drer".replace(" ", "")):
        if kind == "p":
            x = F.max_pool2d(x, 2, 2, ceil_mode=index == 16)
        elif kind == "r":
            x = F.relu(x)
        elif kind == "d":
            x = conv(f"vgg.{index}", x, padding=6, dilation=6)
        else:
            x = conv(f"vgg.{index}", x, padding=0 if kind == "e" else 1)
        if index in (15, 22, 29):
            sources.append(norm({15: "L2Norm3_3", 22: "L2Norm4_3", 29: "L2Norm5_3"}[index], x))
    sources.append(x)
    for k in range(4):
        x = F.relu(conv(f"extras.{k}", x, stride=1 + k % 2, padding=k % 2))
        if k % 2:
            sources.append(x)
    rows = []
    for k, source in enumerate(sources):
        logits, offset = conv(f"conf.{k}", source, padding=1)[0], conv(f"loc.{k}", source, padding=1)[0]
        if k == 0:
            logits = torch.stack([logits[:3].max(0).values, logits[3]])
        face = torch.softmax(logits, 0)[1]
        step, prior = 2 ** (k + 2), 2 ** (k + 4)
        for i in range(face.shape[0]):
            for j in range(face.shape[1]):
                if face[i, j] > threshold:
                    o = [float(value) for value in offset[:, i, j]]
                    x, y = (j + 0.5) * step + o[0] * 0.1 * prior, (i + 0.5) * step + o[1] * 0.1 * prior
                    w, h = prior * math.exp(0.2 * o[2]), prior * math.exp(0.2 * o[3])
                    rows.append([x - w / 2, y - h / 2, x + w / 2, y + h / 2, float(face[i, j])])
    return np.array(rows).reshape(-1, 5)
