"""Wav2Lip: the lower half of a face repainted to fit a sound; everything else stays as it is.

Our own inference, step by step that of the public repository's ``inference.py`` with its defaults (Rudrabha/Wav2Lip,
commit 5c90fa9; ``baselines/PARITY.md`` says how near): the face's box widened by 10 pixels below, in a video averaged
over 5 frames, resized to 96x96; its lower half made black, the face itself beside it as the reference, in BGR; a mel
window of 0.2 s that begins with the frame; the network's picture resized to the box and put back without blending.
The last frames of a clip have no whole window: Wav2Lip ends 3 frames before the sound does, and so do we.

Faces are found by S3FD, as in the official program, where its weights are here; else by YuNet, else by dlib, or by the
detector that is handed over: the method's description and version say which. The sound is what the protocol hands
over, not a file decoded by FFmpeg to 16 bits.

K R Prajwal, R. Mukhopadhyay, V. P. Namboodiri, C. V. Jawahar: "A Lip Sync Expert Is All You Need for Speech to Lip
Generation In the Wild", ACM Multimedia 2020. The weights were trained on LRS2: personal, research and non-commercial
use only. They are not part of this project: see ``python -m fctfg.weights list``.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fctfg import face_detection, weights
from fctfg.animation import Animation
from fctfg.weights import WeightsError

if TYPE_CHECKING:
    from baselines.nets.wav2lip import Generator

#: frames in one call of the network, and of the detector; neither changes the result beyond float32's rounding
BATCH = 32
FACES_BATCH = 16
_PAPER = "(Prajwal et al., ACM MM 2020; weights for research and personal use only)"


class Wav2LipError(ValueError):
    """A clip that Wav2Lip cannot animate: no face, or no sound to speak of. One line."""


class Wav2Lip:
    """Wav2Lip from one picture: the first frame throughout, its lips driven by the sound. The paper's setting (A20).

    ``detector``: finds the faces (``fctfg.face_detection.Detector``); None: S3FD, else the first that is there.
    Whatever it is, only its best box counts. S3FD is handed frames in BGR, as the official program does, although
    the detector takes RGB. ``device``: cpu, cuda:N or auto, set before the first clip.

    ``unofficial``: why the checkpoint is not known to be the authors' file; "" when it is. Built without
    weights or without a detector: WeightsError or DetectorError, one line with what to fetch.
    """

    name = "wav2lip"
    kind = "method"
    controls = frozenset({"lip"})
    description = f"Wav2Lip, one-shot: the first frame held still, its lips driven by the sound {_PAPER}"
    checkpoint = "wav2lip"
    one_shot = True

    def __init__(self, detector: face_detection.Detector | None = None) -> None:
        path = weights.require(self.checkpoint)
        self.detector = detector or face_detection.choose(_best_detector())
        self.weights = [path]
        self.version = f"1, faces: {self.detector.name} ({self.detector.version})"
        self.unofficial = weights.doubt(self.checkpoint, [path])
        if self.unofficial:
            _refuse_other_checkpoint(self.checkpoint, path)
        stand_in = "" if self.detector.name == "s3fd" else ", where the official program has S3FD"
        marked = f"; {self.unofficial}" if self.unofficial else ""
        self.description = f"{self.description}; faces found by {self.detector.name}{stand_in}{marked}"
        self.device = "auto"
        self._loading = threading.Lock()
        self._network: Generator | None = None

    def animate(self, reference: np.ndarray, driving: np.ndarray, audio: np.ndarray) -> Animation:
        """See ``protocols.methods.Method``. Frames, of the pictures' own size, are made as they are asked for; they
        answer the driving frames from the first on, all but the last 3 where sound and frames are equally long.
        Wav2LipError, when they are asked for: a picture without a face, sound shorter than 0.2 s or not finite.
        """
        pictures = reference[None] if self.one_shot else driving
        return Animation(self._frames(pictures, audio, len(driving)))

    def _frames(self, pictures: np.ndarray, audio: np.ndarray, wanted: int) -> Iterator[np.ndarray]:
        from baselines import wav2lip_steps as steps

        windows = self._windows(audio)[:wanted]
        if not len(windows):
            return
        pictures = pictures[: len(windows)]
        boxes = self._boxes(pictures)
        faces = np.stack(
            [
                steps.resize(np.ascontiguousarray(picture[top:bottom, left:right, ::-1]), (steps.SIZE, steps.SIZE))
                for picture, (left, top, right, bottom) in zip(pictures, boxes, strict=True)
            ]
        )
        for begin in range(0, len(windows), BATCH):
            # In a video each frame has its own face; the one picture of a one-shot serves all.
            which = np.arange(begin, min(begin + BATCH, len(windows))) % len(pictures)
            made = self._speak(windows[begin : begin + BATCH], steps.network_input(faces[which]))
            made = steps.network_output(made)[..., ::-1]
            yield np.stack([steps.pasted(pictures[i], face, boxes[i]) for i, face in zip(which, made, strict=True)])

    def _windows(self, audio: np.ndarray) -> Any:
        """The mel windows, (n, 1, 80, 16) float32 on the CPU."""
        import torch

        from baselines.wav2lip_steps import window_count
        from fctfg.nets import mel

        if not np.isfinite(audio).all():
            raise Wav2LipError(f"{self.name}: the sound has values that are no numbers; decode it again")
        spectrogram = mel.mel(torch.from_numpy(np.ascontiguousarray(audio, np.float32)))
        count = window_count(spectrogram.shape[1])
        if count == 0:
            seconds = len(audio) / mel.SAMPLE_RATE
            raise Wav2LipError(f"{self.name}: the sound lasts {seconds:.3f} s; one window is 0.2 s: use a longer clip")
        return mel.mel_windows(spectrogram, count, rule="inference")

    def _boxes(self, pictures: np.ndarray) -> np.ndarray:
        """One box per picture, (n, 4) int, each with an area."""
        from baselines import wav2lip_steps as steps

        boxes = []
        for begin in range(0, len(pictures), FACES_BATCH):
            batch = pictures[begin : begin + FACES_BATCH]
            found = self.detector(batch[..., ::-1] if self.detector.name == "s3fd" else batch)
            for number, faces in enumerate(found, begin):
                if not len(faces):
                    raise Wav2LipError(f"{self.name}: {self.detector.name} finds no face in {self._which(number)}")
                boxes.append(steps.padded(faces[0], *pictures.shape[1:3]))
        boxes = steps.smoothed(np.array(boxes))
        for number, (left, top, right, bottom) in enumerate(boxes):
            if right <= left or bottom <= top:
                raise Wav2LipError(f"{self.name}: the face in {self._which(number)} lies outside the picture")
        return boxes

    def _which(self, number: int) -> str:
        return "the first frame" if self.one_shot else f"driving frame {number} (frame {number + 1} of the clip)"

    def _speak(self, windows: Any, faces: np.ndarray) -> np.ndarray:
        import torch

        network = self._ready()
        device = next(network.parameters()).device
        # Channels last in memory, as the official program's arrays are: another layout takes other kernels, which round
        # otherwise, and here and there that decides between two grey levels.
        mels = windows.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
        with torch.inference_mode():
            return network(mels.to(device), torch.from_numpy(faces).to(device)).cpu().numpy()

    def _ready(self) -> Generator:
        import torch

        from baselines.nets import wav2lip
        from fctfg.animate import choose_device

        with self._loading:
            if self._network is None:
                device = choose_device(self.device)
                if device.type == "cuda":
                    # TF32's three digits would change grey levels. Set once for the process: switched on and off
                    # around each call it would be undone for, or by, what other threads compute meanwhile.
                    torch.backends.cudnn.allow_tf32 = False
                self._network = wav2lip.load(self.weights[0]).to(device)
            return self._network


class Wav2LipGAN(Wav2Lip):
    """As Wav2Lip, with the weights that were trained with the visual quality discriminator."""

    name = "wav2lip-gan"
    description = f"Wav2Lip + GAN, one-shot: the first frame held still, its lips driven by the sound {_PAPER}"
    checkpoint = "wav2lip_gan"


class Wav2LipFullVideo(Wav2Lip):
    """Wav2Lip on the driving video, as dubbing uses it. Head, eyes and all but the mouth are the driving frames' own
    pixels, and so is the reference that the network sees: its picture scores say nothing about one-shot methods.
    """

    name = "wav2lip-full-video"
    description = (
        "Wav2Lip repainting the mouth in the driving frames themselves: pose, eyes and all other pixels are copied, "
        f"so compare it with no one-shot method {_PAPER}"
    )
    one_shot = False


class Wav2LipGANFullVideo(Wav2LipFullVideo):
    """As Wav2LipFullVideo, with the weights of Wav2Lip + GAN."""

    name = "wav2lip-gan-full-video"
    description = Wav2LipFullVideo.description.replace("Wav2Lip", "Wav2Lip + GAN", 1)
    checkpoint = "wav2lip_gan"


def _best_detector() -> str:
    return "s3fd" if face_detection.S3FD.unavailable() is None else "auto"


def _refuse_other_checkpoint(name: str, path: Path) -> None:
    """WeightsError where the file is the other entry's under this one's name."""
    for other in {"wav2lip", "wav2lip_gan"} - {name}:
        file = weights.entry(other).files[0]
        if file.sha256 and weights.check(file, path) == "ok":
            raise WeightsError(f"{path}: is {file.name} under another name; rename it, or use the method for {other}")
