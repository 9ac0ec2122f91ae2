"""MakeItTalk's networks together: sound and a face at rest to faces that speak, and these to pictures.

Source: yzhou359/MakeItTalk (commit fad2fe4) ``main_end2end.py``, ``src/approaches/train_audio2landmark.py``,
``src/approaches/train_image_translation.py``, ``src/dataset/audio2landmark/audio2landmark_dataset.py``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from baselines.nets import makeittalk_face as face
from baselines.nets import makeittalk_sound as sound
from baselines.nets.makeittalk_autovc import SPEAKER, AutoVC
from baselines.nets.makeittalk_checkpoint import load, table
from baselines.nets.makeittalk_drawing import drawn
from baselines.nets.makeittalk_motion import COLUMNS, SEGMENT, ContentBranch, SpeakerBranch
from baselines.nets.makeittalk_picture import SIDE, PictureNetwork
from baselines.nets.makeittalk_speaker import SpeakerEncoder

NETWORKS = {
    "ckpt_autovc.pth": AutoVC,
    "ckpt_content_branch.pth": ContentBranch,
    "ckpt_speaker_branch.pth": SpeakerBranch,
    "ckpt_116_i2i_comb.pth": PictureNetwork,
    "pretrained.pt": SpeakerEncoder,
}
#: numbers in text files: the voice that all are turned into; means and deviations of what comes out; the average face
TABLES = {
    "obama_emb.txt": (SPEAKER,),
    "MEAN_STD_AUTOVC_RETRAIN_MEL_AU.txt": (2 * sound.BANDS,),
    "STD_FACE_LANDMARKS.txt": (68, 3),
}
#: pictures made at once. On a CPU more than one is hardly faster, and is rounded otherwise than the original's, here
#: and there across the border of two grey levels; so is another order of the channels in memory.
BATCH, BATCH_ON_CPU = 8, 1


class Model:
    """The networks with the weights of the public files ``paths``: the names of NETWORKS and TABLES -> file.

    WeightsError, one line: a file that is not what it should be.
    """

    def __init__(self, paths: Mapping[str, Path], device: str | torch.device = "cpu") -> None:
        self.device = torch.device(device)
        nets = [load(network(), paths[name]).to(self.device) for name, network in NETWORKS.items()]
        self.autovc, self.content, self.speaker, self.picture, self.voice = nets
        target, scale, average = (table(paths[name], shape) for name, shape in TABLES.items())
        self.target = torch.from_numpy(target.astype(np.float32)).to(self.device)
        self.mean, self.deviation = scale[: sound.BANDS], scale[sound.BANDS :]
        self.depths = average[:, 2]

    @torch.inference_mode()
    def heard(self, samples: np.ndarray) -> tuple[Tensor, Tensor]:
        """(N,) int16 at 16 kHz -> what the branches hear: windows (N // 256 + 1 - 18, 18, 80) and the speaker (256,).

        ValueError: silence, or too short for one window.
        """
        level = sound.levelled(samples)
        mel, pitch = (torch.from_numpy(each).to(self.device) for each in sound.features(level))
        made = self.autovc.converted(mel, self.voice.embedding(level), pitch, self.target).cpu().numpy()
        columns = torch.from_numpy(((made - self.mean) / self.deviation).astype(np.float32)).to(self.device)
        # One window less than there is room for, as the public program counts them.
        return columns.unfold(0, COLUMNS, 1)[:-1].transpose(1, 2), self.voice.embedding(samples)

    @torch.inference_mode()
    def faces(self, samples: np.ndarray, rest: face.Rest) -> np.ndarray:
        """(N,) int16 and a face at rest -> (n, 68, 2) points in whole pixels, 62.5 times a second from 0 on, 0.29 s
        less than the sound lasts. ValueError: silence, or fewer than 15 faces.
        """
        if (count := len(samples) // sound.HOP + 1 - COLUMNS) < face.LEAST:
            least = (face.LEAST + COLUMNS - 1) * sound.HOP / sound.RATE
            raise ValueError(f"the sound lasts {len(samples) / sound.RATE:.3f} s and {least:.3f} s are the least")
        windows, speaker = self.heard(samples)
        resting = torch.from_numpy(rest.face).to(self.device)[None]
        parts = []
        for begin in range(0, count, SEGMENT):
            part = windows[begin : begin + SEGMENT]
            if len(part) >= face.LEAST_OF_SEGMENT:
                spoken, turned = self.content(part, resting), self.speaker(part, speaker)
                parts.append(face.moved(rest, spoken.cpu().numpy(), turned.cpu().numpy()))
        return face.placed(np.concatenate(parts), rest)

    @torch.inference_mode()
    def pictures(self, reference: np.ndarray, points: np.ndarray) -> Iterator[np.ndarray]:
        """``reference`` (256, 256, 3) uint8 RGB with the landmarks (n, 68, 2) -> chunks (b, 256, 256, 3) uint8 RGB."""
        still = np.ascontiguousarray(reference[..., ::-1])
        batch = BATCH_ON_CPU if self.device.type == "cpu" else BATCH
        for begin in range(0, len(points), batch):
            lines = drawn(points[begin : begin + batch], SIDE)
            both = np.concatenate((lines, np.broadcast_to(still, lines.shape)), axis=3)
            inputs = torch.from_numpy(both).to(self.device).permute(0, 3, 1, 2).contiguous().float() / 255
            made = (self.picture(inputs) * 255).to(torch.uint8)  # fractions of a grey level are dropped
            yield made.permute(0, 2, 3, 1).flip(3).cpu().numpy()
