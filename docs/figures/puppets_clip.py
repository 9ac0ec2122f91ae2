"""Draws docs/figures/puppets_talking.webp (no sound) and .mp4 (with it): three puppets speak, one after the other.

python docs/figures/puppets_clip.py
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from fctfg import media
from fctfg.data.puppets import farm, write
from fctfg.data.puppets.layouts import plan

HERE = Path(__file__).parent
SEED, SECONDS, SIDE, PEOPLE = 11, 2.4, 224, (0, 3, 5)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        jobs = [job for job in plan("voxceleb2", "test", SEED, max(PEOPLE) + 1, 1) if job.identity in PEOPLE]
        farm.write_all(jobs, Path(folder), write.Settings("voxceleb2", SEED, seconds=(SECONDS, SECONDS)), workers=2)
        clips = [media.read_video(Path(folder) / job.video, size=(SIDE, SIDE)) for job in jobs]
        sounds = [media.read_audio(Path(folder) / job.audio) for job in jobs]
    rows = []
    for speaking, clip in enumerate(clips):
        # the others hold still, a little darker, while one speaks
        shown = [c if i == speaking else np.repeat(c[:1] // 4 * 3, len(clip), 0) for i, c in enumerate(clips)]
        rows.append(np.concatenate(shown, axis=2))
    frames = np.concatenate(rows)
    sound = np.concatenate([np.resize(s, len(c) * 640) for s, c in zip(sounds, clips, strict=True)])
    media.write_video(HERE / "puppets_talking.mp4", frames, audio=sound, crf=26)
    pictures = [Image.fromarray(frame) for frame in frames[::2]]
    options = {"save_all": True, "append_images": pictures[1:], "duration": 80, "loop": 0}
    pictures[0].save(HERE / "puppets_talking.webp", quality=55, method=4, **options)


if __name__ == "__main__":
    main()
