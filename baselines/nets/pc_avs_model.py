"""PC-AVS's networks together: an identity picture, pose pictures and sound to talking pictures.

Source: Hangz-nju-cuhk/Talking-Face_PC-AVS ``models/av_model.py`` (``inference``, with the options of
``experiments/demo_vox.sh``), ``util/util.py`` (pictures to bytes).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from baselines.nets.pc_avs_checkpoint import load
from baselines.nets.pc_avs_generator import Generator, frame_noise
from baselines.nets.pc_avs_identity import IdentityEncoder
from baselines.nets.pc_avs_mouth import MouthEncoder
from baselines.nets.pc_avs_pose import PoseEncoder

NETWORKS = {"G": Generator, "V": IdentityEncoder, "E": PoseEncoder, "A_sync": MouthEncoder}
#: by which the public inference multiplies mouth codes
MOUTH_GAIN = 1.2
BATCH = 8


class Model:
    """The four networks with the weights of the public files ``paths``: NETWORKS' names -> file. WeightsError."""

    def __init__(self, paths: Mapping[str, Path], device: str | torch.device = "cpu") -> None:
        self.device = torch.device(device)
        nets = {name: load(network(), paths[name]).to(self.device) for name, network in NETWORKS.items()}
        self.generator, self.identity, self.pose, self.mouth = (nets[name] for name in NETWORKS)

    @torch.inference_mode()
    def pictures(
        self, identity: np.ndarray, poses: np.ndarray, heard: np.ndarray, first: int = 0
    ) -> Iterator[np.ndarray]:
        """Talking pictures (b, 224, 224, 3) uint8 in chunks, one for each of ``poses``.

        ``identity`` (224, 224, 3) and ``poses`` (n, 224, 224, 3) uint8 RGB in the networks' crop; ``heard``
        (n, 1, 80, 20) what each frame hears; ``first`` numbers the first frame, for the noise.
        """
        code, start = self.identity(self._tensor(identity[None]))
        for begin in range(0, len(poses), BATCH):
            part = slice(begin, begin + BATCH)
            sound = torch.from_numpy(np.ascontiguousarray(heard[part])).to(self.device)
            mouth = self.pose.mouth(MOUTH_GAIN * self.mouth(sound))
            pose = self.pose(self._tensor(poses[part]))
            style = torch.cat((code.expand(len(pose), -1), mouth, pose), 1)
            each = [frame_noise(first + begin + i) for i in range(len(pose))]
            noise = [torch.cat(maps).to(self.device) for maps in zip(*each, strict=True)]
            yield to_bytes(self.generator(style, start.expand(len(pose), -1, -1, -1), noise))

    def _tensor(self, pictures: np.ndarray) -> Tensor:
        scaled = torch.from_numpy(np.ascontiguousarray(pictures)).to(self.device).permute(0, 3, 1, 2).float()
        return scaled / 127.5 - 1


def to_bytes(pictures: Tensor) -> np.ndarray:
    """(B, 3, H, W) in [-1, 1] -> (B, H, W, 3) uint8, rounded down as the original does."""
    return ((pictures + 1) / 2 * 255).clamp(0, 255).permute(0, 2, 3, 1).to(torch.uint8).cpu().numpy()
