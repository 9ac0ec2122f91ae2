"""Write puppets as files: the official trees, and beside them the truth of every clip.

The truth file ``truth/<clip id>.npz`` is written last and marks a clip as complete. It needs no pickle and holds:

======================================== ===============================================================================
``fps``, ``size``                        frames per second; (width, height) of the video in pixels
``motion`` (T, M), ``motion_names``      for every frame of the video; the columns of ``motion.MOTION``
``landmarks`` (T, 68, 2)                 x, y in pixels of the video, (0, 0) the centre of the top left one
``visible`` (T, 68)                      not hidden and inside the picture
``shown_25`` (T25,)                      which frame ``fctfg.media`` shows for each frame of a 25 fps reading
``motion_25``, ``landmarks_25``, ``visible_25``  the above for those frames
``phonemes``, ``start``, ``end``, ``release``, ``stress``   what is said, see ``utterance.Utterance``; seconds
``blinks`` (k, 2)                        beginning and duration in seconds
``identity`` (F,), ``identity_names``    the factors of ``identity.FACTORS``
``emotion``, ``level``, ``version``      ``version`` of this module's format and drawing
======================================== ===============================================================================
"""

from __future__ import annotations

import io
import json
import os
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from math import ceil
from pathlib import Path

import numpy as np
import torch

from fctfg import media
from fctfg.data.clips import FPS, SAMPLE_RATE
from fctfg.data.puppets import script as scripts
from fctfg.data.puppets.identity import FACTORS, Identity, sample_identity
from fctfg.data.puppets.layouts import LAYOUTS, Job, Layout
from fctfg.data.puppets.motion import MOTION
from fctfg.data.puppets.utterance import LEAST_SECONDS
from fctfg.data.puppets.voice import synthesize
from fctfg.media.video import at_constant_rate

VERSION = 4
_CHUNK = 16  # frames drawn at once, whatever the machine: the chunk may show in a picture's last bit
#: factors that belong to a recording rather than to a person
_SCENE = tuple(f for f in FACTORS if f.startswith(("light_", "rim_", "back_", "cloth_", "neckline")))

Renderer = Callable[..., object]  # as ``face.render``


@dataclass(frozen=True)
class Settings:
    """What all clips of a tree share; ``size`` None means the layout's own."""

    layout: str
    seed: int
    split: str = "test"
    seconds: tuple[float, float] = (3.0, 5.0)
    detail: float = 1.0
    size: int | None = None
    device: str = "cpu"

    def __post_init__(self) -> None:
        if not 0 <= self.detail <= 1:
            raise ValueError(f"detail must be between 0 and 1, not {self.detail}")

    def record(self) -> dict:
        """What must not change within one tree, for ``puppets.json``."""
        return {
            "kind": "puppets",
            "version": VERSION,
            "layout": self.layout,
            "seed": self.seed,
            "seconds": list(self.seconds),
            "detail": self.detail,
            "size": self.size or LAYOUTS[self.layout].size,
        }


class TreeError(ValueError):
    """A folder that cannot take these puppets; one line that says what to do."""


def claim(out: Path, settings: Settings) -> None:
    """Make ``out`` the tree of these settings, or check that it is. Raises TreeError when it is another's."""
    note, record = out / "puppets.json", settings.record()
    if note.exists():
        try:
            there = json.loads(note.read_text())
        except ValueError:
            raise TreeError(f"{note}: not readable; remove the folder or write to another one (--out)") from None
        changed = [k for k, v in record.items() if there.get(k) != v]
        if changed:
            was = ", ".join(f"{k} {there.get(k)!r} (now {record[k]!r})" for k in changed)
            raise TreeError(f"{out}: holds puppets with {was}; remove it or write to another folder (--out)")
        return
    try:
        write_atomic(note, (json.dumps(record, indent=1) + "\n").encode())
    except OSError as error:
        raise TreeError(f"{out}: cannot be written ({error.strerror}); choose another folder (--out)") from None


def is_complete(job: Job, out: Path) -> bool:
    """Whether all three files of a clip are there; the truth is written last and only whole."""
    return all((out / path).is_file() for path in (job.truth, job.video, job.audio))


def identity_of(settings: Settings, job: Job) -> Identity:
    """The face of a clip: the person's factors, with light, background and dress of the scene."""
    seed = scripts.identity_seed(settings.seed, settings.split, job.identity)
    who = sample_identity(torch.Generator().manual_seed(seed), 1)
    if job.scene == 0:
        return who
    other = sample_identity(torch.Generator().manual_seed(seed + 2 * job.scene), 1)
    return who.replace(**{name: other[name].flatten() for name in _SCENE})


def script_of(settings: Settings, job: Job, who: Identity) -> scripts.Script:
    """The script of a clip; its length is a whole number of frames."""
    beard = float(who["beard"]) > 0.45
    build = float(np.clip(0.3 * float(who["jaw_width"]) + 0.7 * beard, -1, 1))
    speaker = scripts.speaker_of(settings.seed, settings.split, job.identity, build)
    rng = scripts.clip_rng(settings.seed, settings.split, job.identity, job.clip)
    fps = LAYOUTS[settings.layout].fps
    frames = max(ceil(LEAST_SECONDS * fps), round(rng.uniform(*settings.seconds) * fps))
    return scripts.draw(rng, frames / fps, speaker, job.emotion, job.level)


def write_clip(job: Job, out: Path, settings: Settings, render: Renderer | None = None) -> int:
    """Write one clip's video, sound and truth (in this order) and return its number of frames.

    ``render``: stands in for ``face.render``. Each file appears whole or not at all. Raises MediaError.
    """
    if render is None:
        from fctfg.data.puppets.face import render
    layout = LAYOUTS[settings.layout]
    who = identity_of(settings, job)
    script = script_of(settings, job, who)
    motion = script.motion(np.arange(round(script.seconds * layout.fps)) / layout.fps)
    sound = synthesize([script.utterance])[0].numpy()
    points: list[np.ndarray] = []
    seen: list[np.ndarray] = []

    def frames() -> Iterator[np.ndarray]:
        for at in range(0, len(motion), _CHUNK):
            rows = torch.from_numpy(motion[at : at + _CHUNK]).to(settings.device)
            size = settings.size or layout.size
            drawn = render(who.pick([0] * len(rows)).to(settings.device), rows, size=size, detail=settings.detail)
            pictures = (drawn.frames.clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1)
            pictures, landmarks = on_canvas(pictures.cpu().numpy(), drawn.landmarks.cpu().numpy(), layout)
            points.append(landmarks)
            seen.append(drawn.visible.cpu().numpy())
            yield pictures

    with torch.no_grad():
        media.write_video(out / job.video, frames(), fps=layout.fps, audio=sound, sample_rate=SAMPLE_RATE)
    media.write_audio(out / job.audio, sound, SAMPLE_RATE)
    landmarks, visible = np.concatenate(points), np.concatenate(seen).astype(bool)
    visible &= ((landmarks >= -0.5) & (landmarks < np.array(layout.canvas) - 0.5)).all(-1)
    truth = _truth(script, motion, landmarks, visible, who, layout)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **truth)
    write_atomic(out / job.truth, buffer.getvalue())
    return len(motion)


def on_canvas(pictures: np.ndarray, landmarks: np.ndarray, layout: Layout) -> tuple[np.ndarray, np.ndarray]:
    """Square pictures (t, s, s, 3) scaled to ``layout.height`` and put in the middle of the canvas, what they show at
    their edges carried on to the canvas' edges; landmarks (t, 68, 2) go along.
    """
    side, (width, height) = layout.height, layout.canvas
    scale = side / pictures.shape[1]
    if scale != 1:
        pictures = media.resize(pictures, (side, side))
    left, top = (width - side) // 2, (height - side) // 2
    if (width, height) != (side, side):
        around = ((0, 0), (top, height - side - top), (left, width - side - left), (0, 0))
        pictures = np.pad(pictures, around, mode="edge")
    return pictures, ((landmarks + 0.5) * scale - 0.5 + np.array([left, top])).astype(np.float32)


def shown_at_25(n_frames: int, fps: int) -> np.ndarray:
    """Which of ``n_frames`` frames a 25 fps reading by ``fctfg.media`` shows, one number per frame read."""
    timed = ((Fraction(i, fps), Fraction(1, fps), i) for i in range(n_frames))
    return np.array([i for i, times in at_constant_rate(timed, Fraction(FPS)) for _ in range(times)], np.int64)


def read_truth(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """A truth file as a dict of arrays; see this module's table."""
    with np.load(path, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


def _truth(script, motion, landmarks, visible, who, layout) -> dict[str, np.ndarray]:
    shown, said = shown_at_25(len(motion), layout.fps), script.utterance
    return {
        "version": np.int64(VERSION),
        "fps": np.int64(layout.fps),
        "size": np.array(layout.canvas),
        "motion": motion,
        "motion_names": np.array(MOTION),
        "landmarks": landmarks,
        "visible": visible,
        "shown_25": shown,
        "motion_25": motion[shown],
        "landmarks_25": landmarks[shown],
        "visible_25": visible[shown],
        "phonemes": np.array(said.symbols()),
        "start": said.start,
        "end": said.end,
        "release": said.release,
        "stress": said.stress,
        "blinks": script.blinks,
        "identity": who.values[0].numpy(),
        "identity_names": np.array(FACTORS),
        "emotion": np.array(script.emotion),
        "level": np.int64(script.level),
    }


def write_atomic(path: Path, content: bytes) -> None:
    """Write a whole file or none: a hidden temporary file, then a rename."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.parent / f".{uuid.uuid4().hex}.part"
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
