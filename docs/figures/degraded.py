"""Spoil videos in four known ways, to see which metric notices which.

    python docs/figures/degraded.py TRUTH OUT            folders of videos; writes OUT/{shifted,blurred,frozen,other}
    python -m metrics TRUTH OUT/shifted

shifted   each frame is the one five later (the last five repeat), with the sound of the truth
blurred   a Gaussian of sigma 3 pixels at 256x256
frozen    the first frame, held
other     another person's clip (the next folder's first), cut or repeated to the same length, with the truth's sound
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

from fctfg import media, progress

SIZE, SHIFT, SIGMA = 256, 5, 3.0
VIDEOS = (".mp4", ".avi", ".mov", ".mkv", ".webm")


def blurred(frames: np.ndarray) -> np.ndarray:
    from scipy.ndimage import gaussian_filter

    return np.stack([gaussian_filter(frame, (SIGMA, SIGMA, 0)) for frame in frames])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("truth", type=Path)
    parser.add_argument("out", type=Path)
    args = parser.parse_args()
    files = sorted(p for p in args.truth.rglob("*") if p.suffix.lower() in VIDEOS)
    if not files:
        print(f"error: {args.truth}: holds no videos", file=sys.stderr)
        return 2
    with progress.bar(len(files), "spoil", "video") as bar:
        for file in files:
            frames = media.read_video(file, size=(SIZE, SIZE))
            person = file.relative_to(args.truth).parts[:-2]
            strangers = [f for f in files if f.relative_to(args.truth).parts[:-2] != person]
            after = [f for f in strangers if f > file] or strangers
            made = {
                "shifted": np.concatenate([frames[SHIFT:], np.repeat(frames[-1:], min(SHIFT, len(frames)), 0)]),
                "blurred": blurred(frames),
                "frozen": np.repeat(frames[:1], len(frames), 0),
            }
            if after:
                stranger = media.read_video(after[0], size=(SIZE, SIZE))
                made["other"] = stranger[np.arange(len(frames)) % len(stranger)]
            sound = media.read_audio(file) if media.probe(file).has_audio else None
            for how, video in made.items():
                place = args.out / how / file.relative_to(args.truth).with_suffix(".mp4")
                place.parent.mkdir(parents=True, exist_ok=True)
                media.write_video(place, video[: len(frames)], audio=sound)
            bar.update()
    return 0


if __name__ == "__main__":
    sys.exit(main())
