"""Which clips a tree of puppets holds and what they are called: the official folder layouts, by the official names.

Puppets' names are never those of real people: VoxCeleb2 ends at id09272 and MEAD's actors are M... and W...
Nothing heavy is imported here.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass

from fctfg.data.clips import EMOTIONS, mead_clip_id

UTTERANCES_PER_VIDEO = 4
_FIRST = {"voxceleb2": {"train": 20000, "test": 70000}, "mead": {"train": 2000, "test": 7000}}
_MOST = {"voxceleb2": 20000, "mead": 2000}


@dataclass(frozen=True)
class Layout:
    """A layout's pictures: ``fps``; ``canvas`` (width, height) of the video; ``height`` of the puppet's picture in it;
    ``size`` to draw that picture at before scaling, unless asked otherwise.
    """

    name: str
    fps: int
    canvas: tuple[int, int]
    height: int
    size: int


#: MEAD is 1920x1080. The puppets' smaller canvas, of the same shape, still has what FOMM's crop asks for: faces of over
#: 256 pixels, and room around them. That crop comes out at two thirds to nine tenths of the puppet's picture, so that
#: drawing it at 384 brings the detail that 256x256 can show.
LAYOUTS = {
    "voxceleb2": Layout("voxceleb2", fps=25, canvas=(224, 224), height=224, size=224),
    "mead": Layout("mead", fps=30, canvas=(1152, 648), height=540, size=384),
}


@dataclass(frozen=True)
class Job:
    """One clip to write; ``id`` as ``find_voxceleb2`` and ``find_mead`` give it, paths relative to the tree's root.
    ``scene``: clips of one identity and scene share light, background and dress.
    """

    id: str
    identity: int
    clip: int
    scene: int
    video: str
    audio: str
    emotion: str | None = None
    level: int | None = None

    @property
    def truth(self) -> str:
        return f"truth/{self.id}.npz"


def plan(layout: str, split: str, seed: int, identities: int, clips: int) -> list[Job]:
    """Every clip of a tree, in a fixed order: all identities' first clips, then the second ones.

    VoxCeleb2: four utterances to a video. MEAD: one clip of each emotion, then again at the next level. More identities
    or clips only add to the list. Raises ValueError for numbers the names have no room for.
    """
    if layout not in LAYOUTS:
        raise ValueError(f"unknown layout {layout!r}; use {' or '.join(LAYOUTS)}")
    if not 1 <= identities <= _MOST[layout]:
        raise ValueError(f"--identities must be between 1 and {_MOST[layout]} for {layout}, not {identities}")
    if clips < 1:
        raise ValueError(f"--clips must be at least 1, not {clips}")
    make = _voxceleb2 if layout == "voxceleb2" else _mead
    first = _FIRST[layout][split]
    return [
        make(split, seed, first + identity, identity, clip) for clip in range(clips) for identity in range(identities)
    ]


def _voxceleb2(split: str, seed: int, name: int, identity: int, clip: int) -> Job:
    scene, utterance = divmod(clip, UTTERANCES_PER_VIDEO)
    digest = hashlib.sha256(f"video:{split}:{seed}:{identity}:{scene}".encode()).digest()
    video = "p" + base64.urlsafe_b64encode(digest).decode()[:10]  # eleven characters, as on YouTube
    clip_id = f"id{name:05d}/{video}/{utterance + 1:05d}"
    folder = "dev" if split == "train" else "test"
    return Job(clip_id, identity, clip, scene, f"{folder}/mp4/{clip_id}.mp4", f"{folder}/aac/{clip_id}.m4a")


def _mead(split: str, seed: int, name: int, identity: int, clip: int) -> Job:
    turn, which = divmod(clip, len(EMOTIONS))
    emotion, actor = EMOTIONS[which], f"P{name:04d}"
    number, level = (turn, 0) if emotion == "neutral" else divmod(turn, 3)
    folder = f"{emotion}/level_{level + 1}/{number + 1:03d}"
    return Job(
        id=mead_clip_id(actor, "front", emotion, level + 1, f"{number + 1:03d}"),
        identity=identity,
        clip=clip,
        scene=0,
        video=f"{actor}/video/front/{folder}.mp4",
        audio=f"{actor}/audio/{folder}.m4a",
        emotion=emotion,
        level=level + 1,
    )
