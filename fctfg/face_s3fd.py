"""S3FD, the face detector of the published LSE scripts (Zhang et al., "S3FD", 2017).

One network in two files that are not quite the same network, both read here by their own rules:

* ``sfd_face.pth`` (the scripts' file): sees RGB, its third pooling rounds sizes up, ``fc6`` is dilated by 6;
* ``s3fd-619a316812.pth`` (the face-alignment package): sees BGR, rounds down, ``fc6`` is plain with a border of 3.

Boxes come from six maps of stride 4 to 128, one square prior of four strides at each place. As in the scripts, a
frame is searched at a quarter of its size, boxes with a score over 0.9 are kept, and overlapping ones are thinned out
twice, at an intersection over union of 0.3 and then 0.1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fctfg.exact_float32 import exact_float32
from fctfg.face_pixels import resize_bilinear
from fctfg.weights import WeightsError, check_state, load_state_dict, sha256

#: name, inputs, outputs, kernel; "pool" halves the map.
_TRUNK = (
    *(("conv1_1", 3, 64, 3), ("conv1_2", 64, 64, 3), "pool"),
    *(("conv2_1", 64, 128, 3), ("conv2_2", 128, 128, 3), "pool"),
    *(("conv3_1", 128, 256, 3), ("conv3_2", 256, 256, 3), ("conv3_3", 256, 256, 3), "pool"),
    *(("conv4_1", 256, 512, 3), ("conv4_2", 512, 512, 3), ("conv4_3", 512, 512, 3), "pool"),
    *(("conv5_1", 512, 512, 3), ("conv5_2", 512, 512, 3), ("conv5_3", 512, 512, 3), "pool"),
    *(("fc6", 512, 1024, 3), ("fc7", 1024, 1024, 1)),
    *(("conv6_1", 1024, 256, 1), ("conv6_2", 256, 512, 3)),
    *(("conv7_1", 512, 128, 1), ("conv7_2", 128, 256, 3)),
)
_STRIDE_2 = ("conv6_2", "conv7_2")
#: Layers whose output is searched for faces; the first three are normalised over channels first.
_SOURCES = (("conv3_3", 256), ("conv4_3", 512), ("conv5_3", 512), ("fc7", 1024), ("conv6_2", 512), ("conv7_2", 256))
_NORMED = ("conv3_3", "conv4_3", "conv5_3")
_BATCH_PIXELS = 16 * 64 * 64  # searched at once; the activations of so many stay within some 60 MB


@dataclass(frozen=True, eq=False)
class Format:
    """What differs between the two files."""

    bgr: bool
    round_up: bool
    fc6: tuple[int, int]  # padding, dilation
    keys: Mapping[str, str]  # our layer name -> the file's


def _face_alignment_names() -> dict[str, str]:
    """Layers under their own names; a head is called after what it reads."""
    names = {layer[0]: layer[0] for layer in _TRUNK if layer != "pool"}
    names |= {f"{source}_norm": f"{source}_norm" for source in _NORMED}
    for source, _ in _SOURCES:
        stem = f"{source}_norm" if source in _NORMED else source
        names |= {f"{source}_{kind}": f"{stem}_mbox_{kind}" for kind in ("conf", "loc")}
    return names


def _official_names() -> dict[str, str]:
    """``vgg.N`` counts every convolution, ReLU and pooling; the rest is numbered by kind."""
    names, at = {}, 0
    for layer in _TRUNK:
        if layer == "pool":
            at += 1
        elif layer[0][:5] in ("conv6", "conv7"):
            names[layer[0]] = f"extras.{('conv6_1', 'conv6_2', 'conv7_1', 'conv7_2').index(layer[0])}"
        else:
            names[layer[0]] = f"vgg.{at}"
            at += 2
    names |= {f"{source}_norm": f"L2Norm{source[-3:]}" for source in _NORMED}
    for k, (source, _) in enumerate(_SOURCES):
        names |= {f"{source}_{kind}": f"{kind}.{k}" for kind in ("conf", "loc")}
    return names


OFFICIAL = Format(bgr=False, round_up=True, fc6=(6, 6), keys=_official_names())
FACE_ALIGNMENT = Format(bgr=True, round_up=False, fc6=(3, 1), keys=_face_alignment_names())


def state_shapes(form: Format) -> dict[str, tuple[int, ...]]:
    """Every key of such a file with its shape."""
    shapes: dict[str, tuple[int, ...]] = {}
    for layer in _TRUNK:
        if layer != "pool":
            name, inputs, outputs, kernel = layer
            shapes[f"{form.keys[name]}.weight"] = (outputs, inputs, kernel, kernel)
            shapes[f"{form.keys[name]}.bias"] = (outputs,)
    for source, channels in _SOURCES:
        if source in _NORMED:
            shapes[f"{form.keys[source + '_norm']}.weight"] = (channels,)
        # The finest map tells three kinds of background from a face.
        for kind, outputs in (("conf", 4 if source == "conv3_3" else 2), ("loc", 4)):
            shapes[f"{form.keys[f'{source}_{kind}']}.weight"] = (outputs, channels, 3, 3)
            shapes[f"{form.keys[f'{source}_{kind}']}.bias"] = (outputs,)
    return shapes


class S3FDNet(nn.Module):
    """The network: images in, a face score and a box at every place of six maps out."""

    def __init__(self, state: Mapping[str, Tensor], form: Format) -> None:
        super().__init__()
        self.form = form
        for layer in _TRUNK:
            if layer != "pool":
                self._keep(layer[0], state[f"{form.keys[layer[0]]}.weight"], state[f"{form.keys[layer[0]]}.bias"])
        for source, _ in _SOURCES:
            if source in _NORMED:
                gain = state[f"{form.keys[source + '_norm']}.weight"].float()
                self.register_buffer(f"{source}_gain", gain.view(1, -1, 1, 1))
            parts = [
                [state[f"{form.keys[f'{source}_{kind}']}.{p}"] for kind in ("conf", "loc")] for p in ("weight", "bias")
            ]
            self._keep(f"{source}_head", *(torch.cat(part) for part in parts))

    def _keep(self, name: str, weight: Tensor, bias: Tensor) -> None:
        self.register_buffer(f"{name}_weight", weight.float().contiguous(memory_format=torch.channels_last))
        self.register_buffer(f"{name}_bias", bias.float())

    def _conv(self, name: str, x: Tensor, **settings: int) -> Tensor:
        return F.conv2d(x, getattr(self, f"{name}_weight"), getattr(self, f"{name}_bias"), **settings)

    def maps(self, images: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Images (n, 3, h, w), mean subtracted -> on six maps logits (n, 2, ...), face last, and offsets (n, 4, ...)"""
        found, x, pools = {}, images, 0
        for layer in _TRUNK:
            if layer == "pool":
                pools += 1
                x = F.max_pool2d(x, 2, 2, ceil_mode=pools == 3 and self.form.round_up)
                continue
            name, _, _, kernel = layer
            padding, dilation = self.form.fc6 if name == "fc6" else (kernel // 2, 1)
            stride = 2 if name in _STRIDE_2 else 1
            x = self._conv(name, x, stride=stride, padding=padding, dilation=dilation).relu_()
            found[name] = x
        out = []
        for source, _ in _SOURCES:
            x = found[source]
            if source in _NORMED:
                # Channels lie side by side in memory: as the last dimension they are summed five times faster.
                length = torch.linalg.vector_norm(x.permute(0, 2, 3, 1), dim=-1)[:, None]
                x = x / (length + 1e-10) * getattr(self, f"{source}_gain")
            x = self._conv(f"{source}_head", x, padding=1)
            logits, offsets = x[:, :-4], x[:, -4:]
            if source == "conv3_3":
                logits = torch.cat((logits[:, :3].amax(dim=1, keepdim=True), logits[:, 3:]), dim=1)
            out.append((logits, offsets))
        return out


def candidates(maps: list[tuple[Tensor, Tensor]], threshold: float) -> list[np.ndarray]:
    """For each image the boxes with a score over ``threshold``, (k, 5): left, top, right, bottom in pixels, score."""
    n = len(maps[0][0])
    found: list[list[np.ndarray]] = [[] for _ in range(n)]
    for level, (logits, offsets) in enumerate(maps):
        stride = 4 << level
        side = 4 * stride
        scores = torch.softmax(logits, dim=1)[:, 1]
        image, row, column = torch.nonzero(scores > threshold, as_tuple=True)
        # Centres are moved by tenths of the prior's side; sizes are its multiples, as logarithms times five.
        dx, dy, log_w, log_h = offsets[image, :, row, column].T.double()
        x, y = (column + 0.5) * stride + 0.1 * dx * side, (row + 0.5) * stride + 0.1 * dy * side
        half_w, half_h = (side / 2 * torch.exp(0.2 * size) for size in (log_w, log_h))
        score = scores[image, row, column].double()
        rows = torch.stack((x - half_w, y - half_h, x + half_w, y + half_h, score), dim=1)
        rows, image = rows.cpu().numpy(), image.cpu().numpy()
        for k in np.unique(image):
            found[k].append(rows[image == k])
    return [np.concatenate(rows) if rows else np.zeros((0, 5)) for rows in found]


def thin_out(boxes: np.ndarray, limit: float) -> np.ndarray:
    """Boxes (k, 5), best first, without those that overlap a better one by more than ``limit``."""
    boxes = boxes[np.argsort(-boxes[:, 4], kind="stable")]
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    kept = []
    left = np.arange(len(boxes))
    while len(left):
        best, left = left[0], left[1:]
        kept.append(best)
        width = np.minimum(boxes[left, 2], boxes[best, 2]) - np.maximum(boxes[left, 0], boxes[best, 0])
        height = np.minimum(boxes[left, 3], boxes[best, 3]) - np.maximum(boxes[left, 1], boxes[best, 1])
        both = np.maximum(width, 0) * np.maximum(height, 0)
        left = left[both <= limit * (areas[left] + areas[best] - both)]
    return boxes[kept]


class S3FD:
    """The detector: frames (t, H, W, 3) uint8 RGB in; out t arrays (k, 5), best first, in the frames' pixels.

    ``scale``: how much of a frame's size is searched. ``threshold``: the least score. ``overlaps``: the intersections
    over union at which boxes are thinned out, one after the other. The defaults are the LSE scripts'. Nothing is found
    in frames that are too small for the network once scaled (28 pixels, or 32 with face-alignment's file).

    Raises:
        WeightsError: when ``path`` holds neither of the two files' tensors.
    """

    name = "s3fd"

    def __init__(
        self,
        path: Path | str,
        device: str = "cpu",
        scale: float = 0.25,
        threshold: float = 0.9,
        overlaps: Sequence[float] = (0.3, 0.1),
    ) -> None:
        state = load_state_dict(path)
        form = OFFICIAL if any(key.startswith("vgg.") for key in state) else FACE_ALIGNMENT
        if form is FACE_ALIGNMENT and "conv1_1.weight" not in state:
            raise WeightsError(f"{path}: key 'vgg.0.weight' is missing, and so is 'conv1_1.weight': not an S3FD file")
        check_state(state, state_shapes(form), path)
        self.version = f"{Path(path).name} {sha256(path)[:8]}"
        self.scale = scale
        self.threshold = threshold
        self.overlaps = overlaps
        self._net = S3FDNet(state, form).to(device)
        self._device = torch.device(device)
        # Smaller images have nothing left after five halvings: a frame under 112 (or 128) pixels shows no face of 100.
        self._smallest = 28 if form.round_up else 32

    def __call__(self, frames: np.ndarray) -> list[np.ndarray]:
        height, width = (max(1, round(side * self.scale)) for side in frames.shape[1:3])
        step = max(1, _BATCH_PIXELS // (height * width))
        mean = torch.tensor([123.0, 117.0, 104.0], device=self._device)
        found: list[np.ndarray] = []
        if min(height, width) < self._smallest:
            return [np.zeros((0, 5)) for _ in frames]
        with exact_float32(self._device):
            for first in range(0, len(frames), step):
                small = [resize_bilinear(f, width, height, self.scale) for f in frames[first : first + step]]
                images = torch.from_numpy(np.stack(small)).to(self._device).float() - mean
                images = images.flip(-1) if self._net.form.bgr else images
                found += candidates(self._net.maps(images.permute(0, 3, 1, 2)), self.threshold)
        # A box of the searched image, as fractions of its sides, is that of the frame.
        grow = np.array([frames.shape[2] / width, frames.shape[1] / height] * 2 + [1.0])
        found = [boxes * grow for boxes in found]
        for limit in self.overlaps:
            found = [thin_out(boxes, limit) for boxes in found]
        return found
