"""PC-AVS: lips from the sound, pose from the driving frames, identity from the reference.

Zhou, Sun, Wu, Loy, Wang, Liu: "Pose-Controllable Talking Face Generation by Implicitly Modularized Audio-Visual
Representation", CVPR 2021. The public inference (Hangz-nju-cuhk/Talking-Face_PC-AVS, commit 201d2b9; CC BY 4.0) in our
own code, on the public weights; ``PARITY.md`` has the figures.

The networks see faces that are aligned to fixed places (``align_68``) and then cropped further. What they make is put
back where the driving frame had it, and ``Animation.crop`` is the largest square that the pictures of all frames show:
an alignment turns and shifts frame by frame, which no box can say, so the picture and not the ground truth is moved,
and the ground truth is cut to the same square. The reference is aligned by itself, as the repository's folder with one
identity picture is; the driving frames are aligned together, in order.

Not as in the original: no JPEGs between the steps; one fixed noise per frame where the original draws anew at each run.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fctfg import weights
from fctfg.animation import Animation

if TYPE_CHECKING:
    from baselines.nets.pc_avs_model import Model
    from baselines.nets.pc_avs_points import Points

ENTRY = "pc_avs"
NAMES = ("G", "V", "E", "A_sync")
LEAST = 64  # pixels of a frame that the pictures must share

_WHAT = "PC-AVS (Zhou et al., CVPR 2021; CC BY 4.0): lips from the sound, pose from the driving frames"


class FaceLeaves(ValueError):
    """The face moves so far that aligned frames share too little of the picture."""


class PCAVS:
    """PC-AVS with FAN's landmarks for its alignment, as the original has them; where FAN cannot be had here, with
    dlib's, and then its description and version say so.

    Weights: the files of ``pc_avs`` and, for the alignment, of ``fan`` and ``s3fd``, or dlib's. MissingWeights, one
    line, when built without them. ``device``: cpu, cuda:N or auto, set before the first clip. ``unofficial``: why the
    four files are not known to be the authors', or "".
    """

    name = "pc-avs"
    kind = "method"
    controls = frozenset({"lip", "pose"})
    landmarks: str | None = "fan"
    description = f"{_WHAT}; aligned by FAN's points"
    stand_in = "dlib"

    def __init__(self) -> None:
        weights.require(ENTRY)
        self._files = {name: weights.require(ENTRY, f"latest_net_{name}.pth") for name in NAMES}
        self.weights = list(self._files.values())
        said = type(self).description
        if self.landmarks is not None:
            found, files = self._alignment()
            if found != self.landmarks:
                said = f"{_WHAT}; aligned by {found}'s points, where the original has FAN's"
            self.landmarks, self.weights = found, self.weights + files
        self.version = f"2, alignment: {self.landmarks or 'none'}"
        self.unofficial = weights.doubt(ENTRY, self._files.values())
        self.description = "; ".join(filter(None, (said, self.unofficial)))
        self.device = "auto"
        self._loading = threading.Lock()
        self._model: Model | None = None
        self._points: Points | None = None

    def animate(self, reference: np.ndarray, driving: np.ndarray, audio: np.ndarray) -> Animation:
        """``reference`` (256, 256, 3) uint8 speaking ``audio`` with the head pose of ``driving`` (n, 256, 256, 3).

        The first two driving frames and the last have no answer: frame 0 made answers the clip's frame 3.
        ValueError, one line: not exactly one face in a frame, fewer than four frames, a face that moves out of reach.
        """
        from baselines.nets import pc_avs_audio, pc_avs_crop

        side = driving.shape[1]
        frames, heard = pc_avs_audio.heard(audio, len(driving))
        model = self._ready()
        identity, _ = self._seen(reference[None], "reference frame")
        poses, crops = self._seen(driving, "driving frame")
        answered = slice(frames.start, frames.stop)
        square = pc_avs_crop.common_square(crops[answered], side)
        left, top, length = square
        if length < LEAST:
            raise FaceLeaves(
                f"the aligned pictures of this clip share only {length} pixels of the frame's {side}: the face moves "
                "too far for PC-AVS to be compared with one crop"
            )
        made = model.pictures(identity[0], poses[answered], heard, frames.start)
        box = tuple(edge / side for edge in (left, top, left + length, top + length))
        return Animation(_placed(made, crops[answered], square, side), first_frame=frames.start + 1, crop=box)

    def _alignment(self) -> tuple[str, list[Path]]:
        """The landmark backend to be used and its files."""
        from baselines.nets import pc_avs_points

        try:
            return self.landmarks, pc_avs_points.files(self.landmarks)
        except weights.WeightsError:
            if self.stand_in is None:
                raise
            try:
                return self.stand_in, pc_avs_points.files(self.stand_in)
            except weights.WeightsError:
                pass  # what is missing of the original's own is the better advice
            raise

    def _seen(self, frames: np.ndarray, what: str) -> tuple[np.ndarray, np.ndarray]:
        """Frames (n, s, s, 3) -> what the networks see, (n, 224, 224, 3), and the crops to there, (n, 2, 3)."""
        from baselines.nets import pc_avs_crop as crop
        from baselines.nets import pc_avs_points
        from fctfg import media

        if self.landmarks is None:
            crops = crop.whole(frames.shape[1], len(frames))
            pictures = media.resize(frames, (crop.SIZE, crop.SIZE))
        else:
            crops = crop.align_68(pc_avs_points.one_face(self._points, frames, what))
            pictures = [crop.aligned(frame, matrix) for frame, matrix in zip(frames, crops, strict=True)]
        return np.stack([crop.tightened(picture) for picture in pictures]), crop.inner(crops)

    def _ready(self) -> Model:
        from baselines.nets import pc_avs_points
        from baselines.nets.pc_avs_model import Model
        from fctfg.animate import choose_device

        with self._loading:
            if self._model is None:
                device = choose_device(self.device)
                if self.landmarks is not None:
                    self._points = pc_avs_points.backend(self.landmarks, str(device))
                self._model = Model(self._files, device)
            return self._model


def _placed(
    chunks: Iterator[np.ndarray], crops: np.ndarray, square: tuple[int, int, int], side: int
) -> Iterator[np.ndarray]:
    """The networks' pictures put back into the square of the frame that all of them show, (n, side, side, 3)."""
    from baselines.nets.pc_avs_crop import put_back

    pictures = (picture for chunk in chunks for picture in chunk)
    for picture, crop in zip(pictures, crops, strict=True):
        yield put_back(picture, crop, square, side)


class PCAVSDlib(PCAVS):
    """PC-AVS aligned by dlib's 68 points instead of FAN's: for where FAN's weights are not."""

    name = "pc-avs-dlib"
    landmarks, stand_in = "dlib", None
    description = f"{_WHAT}; aligned by dlib's points"


class PCAVSVox(PCAVS):
    """PC-AVS without the alignment: VoxCeleb2's own crops go to its networks as they are, as in its demo."""

    name = "pc-avs-vox"
    landmarks = None
    description = f"{_WHAT}; not aligned, for VoxCeleb2's own crops"
