"""Audio2Head: one picture speaks, and moves its head, to a sound alone.

Our own inference with the public networks, step by step that of ``inference.py`` in wangsuzhen/Audio2Head (commit
09e9b43; ``baselines/PARITY.md`` says how near). 41 numbers every 10 ms are heard (``audio2head_sound``); an LSTM makes
head poses of them, begun at the picture's; these are drawn as boxes (``audio2head_box``); a network in space and time
makes keypoints of sound, boxes and picture, 64 frames at a time; and the generator of the first-order motion model
moves the picture's keypoints there. The head's motion is made up from the sound: it cannot follow the driving frames,
whose pixels are not looked at.

A frame needs four whole rows, and the last row of a clip needs 25 ms of sound: where sound and frames are equally
long, the last driving frame has no answer.

What differs: sound and pictures stay in memory, where the public program resamples to a wav file and writes an mp4;
silence is heard as silence, where it divides by zero.

S. Wang, L. Li, Y. Ding, C. Fan, X. Yu: "Audio2Head: Audio-driven One-shot Talking-head Generation with Natural Head
Motion", IJCAI 2021. The repository states no licence; its weights are not part of this project: see ``python -m
fctfg.weights list``.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import numpy as np

from fctfg import weights
from fctfg.animation import Animation

if TYPE_CHECKING:
    from baselines.nets.audio2head_model import Model

ENTRY = "audio2head"
#: side of the pictures
SIDE = 256


class Audio2Head:
    """Audio2Head from the first frame and the sound.

    Weights: ``audio2head.pth.tar``. Built without it, MissingWeights, and without the package ``pyworld``, SoundError:
    one line with what to get. ``device``: cpu, cuda:N or auto, set before the first clip. ``unofficial``: why the file
    is not known to be the authors', or "".
    """

    name = "audio2head"
    kind = "method"
    version = "1"
    controls = frozenset({"lip"})
    description = "Audio2Head (Wang et al., IJCAI 2021; no licence stated): lips and head motion from the sound alone"

    def __init__(self) -> None:
        from baselines import audio2head_sound

        path = weights.require(ENTRY)
        audio2head_sound.pyworld()
        self.weights = [path]
        self.unofficial = weights.doubt(ENTRY, self.weights)
        self.description = "; ".join(filter(None, (type(self).description, self.unofficial)))
        self.device = "auto"
        self._loading = threading.Lock()
        self._model: Model | None = None

    def animate(self, reference: np.ndarray, driving: np.ndarray, audio: np.ndarray) -> Animation:
        """``reference`` (256, 256, 3) uint8 speaking ``audio``; of ``driving`` (n, ...) only the number counts.

        Frames are made as they are asked for, and answer the driving frames from the first on: as many as the sound
        has four rows for, n - 1 where it lasts n frames. A picture of another size is resized to 256x256, as the
        public program does. SoundError, one line: no sound, shorter than 45 ms, or not finite.
        """
        from baselines import audio2head_sound
        from baselines.wav2lip_steps import resize

        rows = audio2head_sound.features(audio)
        picture = resize(reference, (SIDE, SIDE))
        return Animation(self._ready().frames(picture, rows, len(driving)), first_frame=1)

    def _ready(self) -> Model:
        from baselines.nets.audio2head_model import Model
        from fctfg.animate import choose_device

        with self._loading:
            if self._model is None:
                self._model = Model(self.weights[0], choose_device(self.device))
            return self._model
