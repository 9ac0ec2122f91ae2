"""MakeItTalk: one picture speaks, and moves its head as this speaker might; both come from the sound alone.

Zhou, Han, Shechtman, Echevarria, Kalogerakis, Li: "MakeItTalk: Speaker-Aware Talking-Head Animation", SIGGRAPH Asia
2020. The public inference (yzhou359/MakeItTalk, commit fad2fe4, ``main_end2end.py`` with its defaults; CC BY-NC 4.0) in
our own code, on the public weights; ``PARITY.md`` has the figures. The speaker's embedding is Resemblyzer's (weights:
Apache-2.0).

The method makes 62.5 faces a second. Frame k, at k / 25 s, shows the face that is then on screen, number floor(2.5 k):
it is no more than 8 ms old, nothing is blended, and the sound's clock is kept. A window of sound begins with its face
and lasts 0.29 s, so the last 7 frames or so of a clip have no answer. The driving frames' pixels are not looked at.

Not as in the original: no JPEG, no mp4 and no decoding in between; a clip too short to blink in does not blink, where
the original breaks. Its blinks look random, but always come at the same times: so do ours.
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
    from baselines.nets.makeittalk_model import Model
    from baselines.nets.makeittalk_points import Points

_WHAT = (
    "MakeItTalk (Zhou et al., SIGGRAPH Asia 2020; CC BY-NC 4.0): lips and head from the sound, the first frame's face; "
    "lips amplified 2x, head 0.5x, as by default"
)


class MakeItTalkError(ValueError):
    """A clip that MakeItTalk cannot animate: not one face, or no sound to speak of. One line."""


class MakeItTalk:
    """MakeItTalk with 3D-FAN's landmarks, as the original has them.

    Weights: the files of ``makeittalk``, ``makeittalk_data`` and ``resemblyzer``, and for the landmarks those of
    ``fan3d`` and ``s3fd``. MissingWeights, one line, when built without them. ``device``: cpu, cuda:N or auto, set
    before the first clip.
    ``unofficial``: why the files are not known to be the authors', or "".
    """

    name = "makeittalk"
    kind = "method"
    version = "1"
    controls = frozenset({"lip"})
    landmarks = "fan"
    description = f"{_WHAT}; landmarks: 3D-FAN's"

    def __init__(self) -> None:
        from baselines.nets import makeittalk_drawing, makeittalk_points

        self._files: dict[str, Path] = {}
        doubts = []
        for entry in ("makeittalk", "makeittalk_data", "resemblyzer"):
            weights.require(entry)
            names = [Path(file.name).name for file in weights.entry(entry).files]
            found = {name: weights.require(entry, name) for name in names}
            doubts.append(weights.doubt(entry, found.values()))
            self._files |= found
        self.weights = [*self._files.values(), *makeittalk_points.files(self.landmarks)]
        if lacking := makeittalk_drawing.missing():
            raise weights.MissingWeights(lacking)
        self.unofficial = "; ".join(filter(None, doubts))
        self.description = "; ".join(filter(None, (type(self).description, self.unofficial)))
        self.device = "auto"
        self._loading = threading.Lock()
        self._model: Model | None = None
        self._points: Points | None = None

    def animate(self, reference: np.ndarray, driving: np.ndarray, audio: np.ndarray) -> Animation:
        """``reference`` (256, 256, 3) uint8 RGB speaking ``audio``, (N,) float at 16 kHz, one frame for each of
        ``driving`` from the first on, all but the last 7 or so. Frames are made as they are asked for.

        MakeItTalkError, when they are: not exactly one face; sound that is silent, not finite or under 0.51 s.
        """
        return Animation(self._frames(reference, len(driving), audio))

    def _frames(self, reference: np.ndarray, wanted: int, audio: np.ndarray) -> Iterator[np.ndarray]:
        from baselines.nets import makeittalk_face as face
        from baselines.nets import makeittalk_sound as sound
        from baselines.nets.makeittalk_picture import SIDE

        if reference.shape != (SIDE, SIDE, 3):
            raise MakeItTalkError(f"{self.name}: the picture is {reference.shape}, not ({SIDE}, {SIDE}, 3)")
        if np.ndim(audio) != 1 or not np.isfinite(audio).all():
            raise MakeItTalkError(f"{self.name}: the sound must be one channel of finite samples; decode it again")
        model = self._ready()
        found = self._points(reference)
        if len(found) != 1:
            raise MakeItTalkError(
                f"{self.name}: {len(found) or 'no'} face{'s' * (len(found) != 1)} found in the first frame by "
                f"{self.landmarks}; exactly one is needed"
            )
        try:
            rest = face.at_rest(found[0], model.depths)
            points = model.faces(sound.sixteen_bits(audio), rest)
        except ValueError as error:
            raise MakeItTalkError(f"{self.name}: {error}") from None
        yield from model.pictures(reference, points[face.frames_at_25(len(points), wanted)])

    def _ready(self) -> Model:
        import torch

        from baselines.nets import makeittalk_points
        from baselines.nets.makeittalk_model import Model
        from fctfg.animate import choose_device

        with self._loading:
            if self._model is None:
                device = choose_device(self.device)
                if device.type == "cuda":
                    # TF32's three digits would change grey levels. Set once, since other threads compute, too.
                    torch.backends.cudnn.allow_tf32 = False
                self._points = makeittalk_points.backend(self.landmarks, str(device))
                self._model = Model(self._files, device)
            return self._model


class MakeItTalkDlib(MakeItTalk):
    """MakeItTalk with dlib's 68 points instead of 3D-FAN's: for where FAN's weights are not. On a face that is turned
    away, dlib's jaw is the visible outline, where 3D-FAN's is the jaw itself.
    """

    name = "makeittalk-dlib"
    landmarks = "dlib"
    description = f"{_WHAT}; landmarks: dlib's, where the original has 3D-FAN's"
