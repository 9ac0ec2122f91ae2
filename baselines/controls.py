"""Controls: methods that are no methods. They bound the scale of every column.

* ``truth`` -- the driving frames themselves: the best value a metric can give.
* ``reencode`` -- the driving frames through the same video codec as every method's frames: each metric's noise floor.
* ``still`` -- the reference held still: what doing nothing scores.
* ``shuffled-audio`` -- the driving frames with another speaker's sound: what a lip-sync metric gives when lips and
  sound have nothing to do with each other.
"""

from __future__ import annotations

import numpy as np

from fctfg.animation import Animation


class Truth:
    """The driving frames themselves; nothing is stored or re-encoded."""

    name = "truth"
    kind = "control"
    version = "1"
    controls = frozenset({"lip", "pose", "blink", "gaze"})
    description = "the driving frames themselves"

    def animate(self, reference: np.ndarray, driving: np.ndarray, audio: np.ndarray) -> Animation:
        return Animation(driving)


class Reencode(Truth):
    """The driving frames after one pass through the writer that every method's frames go through."""

    name = "reencode"
    description = "the driving frames, encoded and decoded once: each metric's noise floor"

    def animate(self, reference: np.ndarray, driving: np.ndarray, audio: np.ndarray) -> Animation:
        return Animation(iter(driving))  # not the driving array itself, so the frames go through the encoder


class Still:
    """The reference frame, held for the whole clip."""

    name = "still"
    kind = "control"
    version = "1"
    controls = frozenset()
    description = "the first frame held still"

    def animate(self, reference: np.ndarray, driving: np.ndarray, audio: np.ndarray) -> Animation:
        return Animation(np.broadcast_to(reference, driving.shape))


class ShuffledAudio(Truth):
    """The driving frames beside the sound of the next clip on the list that another person speaks."""

    name = "shuffled-audio"
    controls = frozenset({"pose", "blink", "gaze"})
    audio_of = "another-speaker"
    description = "the driving frames with another speaker's sound"
