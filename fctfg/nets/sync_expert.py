"""Wav2Lip's lip-sync expert (SyncNet_color): do these five frames and this sound belong together?

Source: Rudrabha/Wav2Lip ``models/syncnet.py``, ``color_syncnet_train.py``. FC-TFG's L_sync uses a "modified SyncNet"
that was never released (StyleTalker's); this is the public network nearest to it.
"""

from __future__ import annotations

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import nn

from fctfg.nets.audio import AudioEncoder, scaled, stack

FRAMES = 5
SIZE = 96
#: left, top, right, bottom of the face in fractions of the picture's width and height
Box = tuple[float, float, float, float]
#: Tight face boxes, hairline to chin, as detectors give them. VoxCeleb2 as released: the median of YuNet's boxes over
#: nine clips is .23 .00 .76 .70. Crops as FOMM makes them: a still head fills 1 / 1.2 of the side. Puppets in their own
#: picture: .27 .19 .72 .85, widened so that the lower half holds every mouth and 95 % of the chins.
VOXCELEB2_BOX: Box = (0.20, 0.00, 0.80, 0.73)
FOMM_BOX: Box = (0.09, 0.09, 0.91, 0.91)
PUPPET_BOX: Box = (0.22, 0.10, 0.78, 0.92)
ORDERS = {"rgb": [0, 1, 2], "bgr": [2, 1, 0]}

_PLAIN = (
    (32, 7, 1, 3),
    (64, 5, (1, 2), 1),
    (128, 3, 2, 1),
    (256, 3, 2, 1),
    (512, 3, 2, 1),
    (512, 3, 2, 1),
    (512, 3, 1, 0),
    (512, 1, 1, 0),
)
_RESIDUAL = (0, 2, 3, 2, 2, 0, 0, 0)


class SyncExpert(nn.Module):
    """Two encoders into one space. ``width`` multiplies all channels; 1, with ``size`` 96, is the public network.

    ``size``: side of the face pictures whose lower halves come in, 96 or (with one stride of 2 less) 48.
    ``dim``: length of an embedding, 512 ``width``.
    """

    def __init__(self, width: float = 1.0, size: int = SIZE):
        super().__init__()
        if size not in (SIZE, SIZE // 2):
            raise ValueError(f"size must be {SIZE} or {SIZE // 2}, not {size}")
        plain = [*_PLAIN]
        if size != SIZE:
            plain[4] = (512, 3, 1, 1)
        self.size, self.dim = size, scaled(_PLAIN[-1][0], width)
        self.face_encoder = nn.Sequential(*stack(3 * FRAMES, plain, _RESIDUAL, width))
        self.audio_encoder = AudioEncoder(width, blocks="expert")

    def forward(self, face: torch.Tensor, mel: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Faces (B, 15, size / 2, size) of ``lower_half`` and mel windows (B, 1, 80, 16), rule "sync" -> (video, audio)
        embeddings, each (B, dim), of length 1 with entries >= 0: their product is a cosine between 0 and 1.
        """
        video = F.normalize(self.face_encoder(face).flatten(1), dim=1)
        return video, F.normalize(self.audio_encoder(mel), dim=1)


def lower_half(frames: torch.Tensor, box: Box = VOXCELEB2_BOX, size: int = SIZE, order: str = "bgr") -> torch.Tensor:
    """What the expert sees of pictures: (B, 5, 3, S, S) RGB in [-1, 1] -> (B, 15, size / 2, size) in [0, 1].

    ``box`` of the picture is resized to ``size`` x ``size`` and the lower half kept; channels are frame after frame,
    each in ``order`` ("bgr": what the public weights were trained on, pictures as OpenCV reads them). The resize is
    linear, widened by the factor when shrinking so that every pixel of the box counts (and gets a gradient), and two
    matrix products: differentiable twice, and repeatable on any device. Where the paper crops is unstated: the box is
    fixed in the frame, as VoxCeleb2's crops hold the face in place.
    """
    batch, time, colours, height, width = frames.shape
    if (time, colours) != (FRAMES, 3):
        raise ValueError(f"frames must be (B, {FRAMES}, 3, S, S), not {tuple(frames.shape)}")
    if order not in ORDERS:
        raise ValueError(f"unknown order {order!r}; use {' or '.join(ORDERS)}")
    left, top, right, bottom = box
    if not (0 <= left < right <= 1 and 0 <= top < bottom <= 1):
        raise ValueError(f"box must be fractions 0 <= left < right <= 1, 0 <= top < bottom <= 1, not {box}")
    down = _resampling(height, top, bottom, size, frames.device, frames.dtype)[size // 2 :]
    across = _resampling(width, left, right, size, frames.device, frames.dtype).T
    small = (down @ frames @ across + 1) / 2
    return small[:, :, ORDERS[order]].reshape(batch, time * colours, size // 2, size)


@lru_cache(maxsize=32)
def _resampling(n: int, start: float, stop: float, out: int, device, dtype) -> torch.Tensor:
    """(out, n) weights that sample the span ``start``..``stop`` (fractions of ``n`` pixels) at ``out`` places:
    triangles as wide as the step, at least a pixel each way, of sum 1; at the picture's edge they are cut.
    """
    step = (stop - start) * n / out
    centre = start * n + (torch.arange(out, dtype=torch.float64) + 0.5) * step
    pixel = torch.arange(n, dtype=torch.float64) + 0.5
    weight = (1 - (pixel - centre[:, None]).abs() / max(step, 1.0)).clamp(min=0)
    return (weight / weight.sum(1, keepdim=True)).to(device, dtype)
