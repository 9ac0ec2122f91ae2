"""Audio2Head's four networks together: a picture and sound to the picture speaking.

Source: wangsuzhen/Audio2Head (commit 09e9b43) ``inference.py``, ``modules/audio2pose.py``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from baselines.audio2head_box import boxes
from baselines.audio2head_sound import ROWS, SIZE
from baselines.nets.audio2head_fomm import Generator, KeypointDetector, Keypoints
from baselines.nets.audio2head_motion import WINDOW, HeadPoses, SpokenKeypoints
from fctfg.exact_float32 import exact_float32
from fctfg.weights import WeightsError, check_state, load_state_dict

#: the checkpoint's parts
NETWORKS = {
    "kp_detector": KeypointDetector,
    "generator": Generator,
    "audio2kp": SpokenKeypoints,
    "audio2pose": HeadPoses,
}
#: frames between two windows' beginnings
HOP = WINDOW // 2
#: frames that the generator makes in one go; it does not change them beyond float32's rounding
BATCH = 8
#: the poses that -1 and 1 stand for: a rotation vector in radians, then a translation
LOWEST = np.array([-0.639, -0.501, -0.47, -102.6, -32.5, 184.6], np.float32)
HIGHEST = np.array([0.411, 0.547, 0.433, 159.1, 116.5, 376.5], np.float32)


class Model:
    """The networks with the weights of ``audio2head.pth.tar``, ready for inference. WeightsError."""

    def __init__(self, path: Path, device: str | torch.device = "cpu") -> None:
        self.device = torch.device(device)
        nets = {name: net.to(self.device) for name, net in load(path).items()}
        self.detector, self.generator, self.spoken, self.poses = (nets[name] for name in NETWORKS)
        # Channels last in memory: the same sums, a quarter sooner.
        self.generator.to(memory_format=torch.channels_last)

    def frames(self, picture: np.ndarray, rows: np.ndarray, wanted: int | None = None) -> Iterator[np.ndarray]:
        """``picture`` (256, 256, 3) uint8 speaking: chunks (b, 256, 256, 3) uint8, one frame for every four of
        ``rows`` (r, 41), at most ``wanted``.

        The first 48 frames come from the first window of 64 and then 32 from the middle of each next.
        """
        heard = self._tensor(rows[: len(rows) // ROWS * ROWS].reshape(-1, ROWS, SIZE))
        count = len(heard) if wanted is None else min(wanted, len(heard))
        face = self._tensor(picture).permute(2, 0, 1)[None] * (1 / 255)
        with exact_float32(self.device):
            poses = self.poses(face, heard).cpu().numpy()
            here, seen = self.detector(face), self.generator.look(face)
        for start, first, last in spans(count):
            with exact_float32(self.device):
                there = self.spoken(face, *self.window(heard, poses, start))
            for begin in range(first, last, BATCH):
                part = slice(begin - start, min(begin + BATCH, last) - start)
                with exact_float32(self.device):
                    made = self.generator(seen, here, Keypoints(there.place[part], there.jacobian[part]))
                    yielded = (made * 255).to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
                yield yielded

    def window(self, heard: Tensor, poses: np.ndarray, start: int) -> tuple[Tensor, Tensor]:
        """Sound (64, 4, 41) and boxes (64, 256, 256) of the frames from ``start`` on. After the sound's end there are
        zeros, and the pose is the very last one.
        """
        part = heard[start : start + WINDOW]
        sound = torch.cat((part, part.new_zeros((WINDOW - len(part), ROWS, SIZE))))
        which = np.arange(start, start + WINDOW)
        pose = scaled(poses[np.where(which < len(heard), which, len(poses) - 1)])
        return sound, self._tensor(boxes(pose[:, :3], pose[:, 3:]))

    def _tensor(self, values: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(values)).to(self.device).float()


def load(path: Path) -> dict[str, nn.Module]:
    """NETWORKS with the weights of a checkpoint, float32, on the CPU.

    ``path``: ``{part: state dict}``; other parts are let be, as the public code lets them. WeightsError (one line):
    damaged, a part missing, or a part that is not exactly its network's tensors.
    """
    state = load_state_dict(path)
    absent = [name for name in NETWORKS if not isinstance(state.get(name), Mapping)]
    if absent:
        raise WeightsError(f"{path}: is not Audio2Head's, it has no {', '.join(absent)}; get audio2head.pth.tar")
    with torch.device("meta"):
        nets = {name: network() for name, network in NETWORKS.items()}
    shapes = {
        f"{part}.{key}": tuple(value.shape) for part, net in nets.items() for key, value in net.state_dict().items()
    }
    check_state({f"{part}.{key}": value for part in NETWORKS for key, value in state[part].items()}, shapes, path)
    for part, net in nets.items():
        net.load_state_dict(dict(state[part]), assign=True)
        net.float().eval().requires_grad_(False)
    return nets


def spans(count: int) -> Iterator[tuple[int, int, int]]:
    """For ``count`` frames: each window's first frame, and from which frame to before which its frames are used."""
    start, first = 0, 0
    while first < count:
        last = min(start + WINDOW * 3 // 4, count)
        yield start, first, last
        start, first = start + HOP, last


def scaled(poses: np.ndarray) -> np.ndarray:
    """The network's poses (n, 6) -> rotation vectors in radians and translations, (n, 6) float32."""
    return (poses + 1) / 2 * (HIGHEST - LOWEST) + LOWEST
