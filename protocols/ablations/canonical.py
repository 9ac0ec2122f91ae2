"""How still the canonical space holds the head: the pose of one person's canonical faces, frame by frame.

Canonical faces of one person should show one pose (paper, section 3.1 and Fig. 5), whatever the head did in the frame
that each comes from. The paper shows pictures; here the puppets' face reader tells yaw, pitch and roll of each, and
their standard deviation over a clip's frames is the spread. The same is read from the driving frames themselves.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from protocols.ablations.files import MODEL, MODEL_RECORD, read_json, write_json
from results.ablation import ANGLES, CANONICAL_FILE

if TYPE_CHECKING:
    from protocols.ablations.steps import Bench

#: frames of each clip, evenly spaced
FRAMES = 12
#: a spread needs so many in which a face is found
LEAST = 6


def measured(folder: Path, bench: Bench) -> bool:
    """Whether the file is of this model, these clips and this instrument."""
    found, about = read_json(folder / CANONICAL_FILE), _about(folder, bench)
    return {name: found.get(name) for name in about} == about


def measure(folder: Path, bench: Bench) -> None:
    """Write the spread of every clip to the job's folder."""
    from fctfg import animate
    from metrics.puppets import instruments
    from protocols import cli, stages

    device = cli.device_of(bench.args)
    animator, reader = animate.load(folder / MODEL, device), instruments.load(device)
    clips: dict[str, Any] = {}
    for clip in bench.clips.clips:
        try:
            frames = stages.read_source(clip, bench.root, stages.clip_key(clip, bench.root)).frames
        except stages.ClipError as error:
            clips[clip.id] = {"failure": str(error)}
            continue
        shown = frames[np.linspace(0, len(frames) - 1, FRAMES).round().astype(int)]
        faces = np.stack([animator.canonical(frame) for frame in shown])
        clips[clip.id] = {
            "identity": clip.identity,
            "canonical": spread(instruments.part(reader(faces), "motion")),
            "driving": spread(instruments.part(reader(shown), "motion")),
        }
    write_json(folder / CANONICAL_FILE, {**_about(folder, bench), "clips": clips})


def spread(motion: np.ndarray) -> dict[str, Any]:
    """What the reader read, (T, 18), NaN without a face -> the standard deviations of yaw, pitch and roll in degrees,
    or the reason why there is none.
    """
    from fctfg.data.puppets.motion import index

    read = motion[np.isfinite(motion).all(1)]
    if len(read) < LEAST:
        return {"failure": f"the face reader finds a face in {len(read)} of {len(motion)} frames; needs {LEAST}"}
    return {angle: float(read[:, index(angle)].std(dtype=np.float64)) for angle in ANGLES} | {"frames": len(read)}


def _about(folder: Path, bench: Bench) -> dict[str, Any]:
    from fctfg.weights import sha256
    from metrics.puppets.bundled import FILES

    return {
        "schema": 1,
        "model": read_json(folder / MODEL_RECORD).get("model"),
        "list": bench.clips.sha256,
        "reader": sha256(FILES["reader"]),
        "frames": FRAMES,
    }
