"""FC-TFG as a method that the protocols run: registered as ``fctfg``."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from fctfg.animation import Animation
from fctfg.checkpoints import BUNDLED, checkpoint_path

if TYPE_CHECKING:
    from fctfg.animate import Animator

SIZE = 256


class FCTFG:
    """FC-TFG: pose, expression and gaze from the driving frames, lips from the sound.

    The weights are the file that FCTFG_CHECKPOINT names, else the bundled one. ``device``: cpu, cuda:N or auto, set
    before the first clip. ``trained_on``: "puppets" for the bundled weights, "" where it is not known. Raises
    MissingCheckpoint when built without a file.
    """

    name = "fctfg"
    kind = "method"
    version = "1"
    controls = frozenset({"lip", "pose", "blink", "gaze"})
    description = "FC-TFG: pose, expression and gaze from the driving frames, lips from the sound"
    #: steps that refine each reference's codes
    refine = 0

    def __init__(self, checkpoint: str | None = None) -> None:
        self.weights = [checkpoint_path(checkpoint)]
        self.trained_on = "puppets" if self.weights[0] == BUNDLED else ""
        self.device = "auto"
        self._loading = threading.Lock()
        self._animator: Animator | None = None

    def animate(self, reference: np.ndarray, driving: np.ndarray, audio: np.ndarray) -> Animation:
        """``reference`` (H, W, 3) with the motion of ``driving`` (n, H, W, 3) uint8; see protocols.methods.Method.

        The frames are made as they are asked for, at the model's own size, and resized to 256x256.
        """
        return Animation(self._frames(reference, driving, audio))

    def _frames(self, reference: np.ndarray, driving: np.ndarray, audio: np.ndarray) -> Iterator[np.ndarray]:
        from fctfg import media

        for frames in self._ready().animate(reference, driving, audio):
            yield media.resize(frames, (SIZE, SIZE))

    def _ready(self) -> Animator:
        from fctfg import animate

        with self._loading:
            if self._animator is None:
                self._animator = animate.load(self.weights[0], self.device, refine=self.refine)
            return self._animator


class FCTFGOtherSound(FCTFG):
    """FC-TFG given the sound of the next clip that another person speaks: do its lips follow what it hears, and only
    they? ``control_heard_r`` compares them with the mouth that made the sound.
    """

    name = "fctfg-other-sound"
    audio_of = "another-speaker"
    description = "FC-TFG with another speaker's sound: the lips should follow that, all else the driving frames"


class FCTFGRefined(FCTFG):
    """FC-TFG whose codes of the reference are optimised until the generator draws it (`fctfg.refine`).

    The paper does not do that, hence a method of its own. Only the reference is fitted, no driving frame.
    """

    name = "fctfg-refined"
    description = "FC-TFG whose codes of the reference are optimised for sixty steps, which the paper's are not"
    refine = 60
