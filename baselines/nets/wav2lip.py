"""Wav2Lip's generator: a half-masked face, a reference face and 0.2 s of sound in, the face with new lips out.

Source: Rudrabha/Wav2Lip (commit 5c90fa9) ``models/{wav2lip,conv}.py``. A U-Net: seven encoder stages from 96x96 to 1x1,
the sound's embedding at the bottom, seven decoder stages that each take the encoder's map of their size. The sound's
encoder is FC-TFG's too (``fctfg.nets.audio``). Keys and shapes are those of ``wav2lip.pth`` and ``wav2lip_gan.pth``.
"""

from __future__ import annotations

import os

import torch
from torch import nn

from fctfg.nets.audio import AudioEncoder, ConvBlock, part_of_checkpoint, stack
from fctfg.weights import WeightsError, load_state_dict

#: side of the face pictures
SIZE = 96

#: per encoder stage: (channels, kernel, stride, padding) of its blocks that are not residual, residual 3x3 ones after
_ENCODER = (
    (((16, 7, 1, 3),), (0,)),
    (((32, 3, 2, 1),), (2,)),
    (((64, 3, 2, 1),), (3,)),
    (((128, 3, 2, 1),), (2,)),
    (((256, 3, 2, 1),), (2,)),
    (((512, 3, 2, 1),), (1,)),
    (((512, 3, 1, 0), (512, 1, 1, 0)), (0, 0)),
)
#: per decoder stage after the first: channels in (the stage before and the encoder's map beside it), out, residual ones
_DECODER = ((1024, 512, 1), (1024, 512, 2), (768, 384, 2), (512, 256, 2), (320, 128, 2), (160, 64, 2))
#: what Wav2Lip's other checkpoints are known by
_OTHERS = {
    "face_encoder.0.conv_block.0.weight": "the sync expert, lipsync_expert.pth",
    "binary_pred.0.weight": "the visual quality discriminator, visual_quality_disc.pth",
}


class UpBlock(nn.Module):
    """Transposed 3x3 convolution with bias, batch normalisation, ReLU: 1x1 to 3x3, and from there doubling the side."""

    def __init__(self, inputs: int, outputs: int, double: bool):
        super().__init__()
        stride, padding, output_padding = (2, 1, 1) if double else (1, 0, 0)
        self.conv_block = nn.Sequential(
            nn.ConvTranspose2d(inputs, outputs, 3, stride, padding, output_padding), nn.BatchNorm2d(outputs)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.conv_block(x))


class Generator(nn.Module):
    """The public network; nothing about its size can be chosen."""

    def __init__(self) -> None:
        super().__init__()
        stages, inputs = [], 6
        for plain, residual in _ENCODER:
            stages.append(nn.Sequential(*stack(inputs, plain, residual, 1.0)))
            inputs = plain[-1][0]
        self.face_encoder_blocks = nn.ModuleList(stages)
        self.audio_encoder = AudioEncoder()
        stages = [nn.Sequential(ConvBlock(512, 512, 1))]
        for number, (inputs, outputs, residual) in enumerate(_DECODER):
            kept = [ConvBlock(outputs, outputs, 3, 1, 1, residual=True) for _ in range(residual)]
            stages.append(nn.Sequential(UpBlock(inputs, outputs, double=number > 0), *kept))
        self.face_decoder_blocks = nn.ModuleList(stages)
        self.output_block = nn.Sequential(ConvBlock(80, 32, 3, 1, 1), nn.Conv2d(32, 3, 1), nn.Sigmoid())

    def forward(self, mels: torch.Tensor, faces: torch.Tensor) -> torch.Tensor:
        """Windows (B, 1, 80, 16) of ``fctfg.nets.mel`` and faces (B, 6, 96, 96) in [0, 1], BGR, the masked one before
        the reference -> (B, 3, 96, 96) in [0, 1], BGR.
        """
        maps = []
        for stage in self.face_encoder_blocks:
            faces = stage(faces)
            maps.append(faces)
        x = self.audio_encoder(mels)[..., None, None]
        for stage in self.face_decoder_blocks:
            x = torch.cat((stage(x), maps.pop()), 1)
        return self.output_block(x)


def load(path: str | os.PathLike) -> Generator:
    """The generator with the weights of an official checkpoint, float32, on the CPU, ready for inference.

    ``path``: ``{"state_dict": ...}`` as Wav2Lip's training writes it, with or without the "module." of a parallel
    training, or the tensors alone; read with ``weights_only=True``. WeightsError (one line): damaged, more than
    tensors, or not exactly this network's tensors.
    """
    with torch.device("meta"):
        net = Generator()
    try:
        tensors = part_of_checkpoint(load_state_dict(path))
    except WeightsError:
        raise
    except (AttributeError, ValueError):
        raise WeightsError(f"{path}: holds no named tensors; get wav2lip.pth or wav2lip_gan.pth") from None
    wrong = _differences({name: value.shape for name, value in net.state_dict().items()}, tensors)
    if wrong:
        raise WeightsError(f"{path}: is not Wav2Lip's generator: {wrong}; get wav2lip.pth or wav2lip_gan.pth")
    net.load_state_dict(tensors, assign=True)
    return net.float().eval().requires_grad_(False)


def _differences(expected: dict[str, torch.Size], found: dict) -> str:
    """In words, what is not as expected; '' when all is."""
    for sign, name in _OTHERS.items():
        if sign in found:
            return f"it is {name}"
    missing = [name for name in expected if name not in found]
    unknown = [name for name in found if name not in expected]
    shapes = {name: tuple(getattr(found[name], "shape", ())) for name in expected if name in found}
    unlike = [name for name, shape in shapes.items() if shape != tuple(expected[name])]
    parts = [
        f"{len(names)} tensors {what} ({names[0]})"
        for names, what in ((missing, "missing"), (unknown, "unknown"))
        if names
    ]
    if unlike:
        first = unlike[0]
        parts.append(f"{len(unlike)} of another shape ({first}: {shapes[first]}, not {tuple(expected[first])})")
    return ", ".join(parts)
