"""Crops for a clip list, and lists as files: ``python -m protocols.prepare --help``.

VoxCeleb2 as released is cropped already (224x224): it is resized as a whole. Full frames such as MEAD's 1920x1080 are
cropped as FOMM does. The boxes go into the list, so whoever has the list and the data needs no detector.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from fctfg import media, parallel, progress
from fctfg.data.clips import FPS, Clip
from fctfg.weights import sha256
from protocols import cli, cliplist, fomm_crop, stages
from protocols.cliplist import ClipList
from protocols.methods import one_line
from results.rows import write_atomic

CROPS = ("released", "fomm")
DETECTION_HEIGHT = 360  # FOMM's: every frame is searched at this height
WHOLE = "the whole frame (released crop) resized to 256x256"

DESCRIPTION = """Make a clip list with face crops, as a file for --list.

  python -m protocols.prepare mead --data /data/mead --out mead.json
  python -m protocols.prepare voxceleb2 --data /data/vox2 --per-identity 10 --out vox2.json

The list holds ids, spans and boxes, no pixels: publish it with your results, and others score the same pixels.
"""


def add_crop_options(p: argparse.ArgumentParser, default: str) -> None:
    """--crop, --detector and --min-size."""
    p.add_argument(
        "--crop",
        choices=CROPS,
        default=default,
        help=f"released: the whole, already square frame; fomm: find the face and crop around it (default: {default})",
    )
    p.add_argument(
        "--detector",
        default="auto",
        help="face detector for --crop fomm (default: the first of yunet and dlib that is there; s3fd by name)",
    )
    p.add_argument(
        "--min-size",
        type=int,
        default=fomm_crop.MIN_SIZE,
        help="smallest face for --crop fomm, in source pixels (default 256)",
    )


def with_crops(clips: ClipList, root: Path, args: argparse.Namespace) -> ClipList:
    """The list with its crop rule applied. A clip without a usable face keeps its place, with the reason.

    Boxes are cached by file content; under shards every process starts with its own clips, so they share the work.
    """
    if args.crop == "released":
        return clips if clips.detector else replace(clips, crop_rule=WHOLE)
    if clips.detector:  # the list brought its boxes along
        return clips
    from fctfg.face_detection import DetectorError, choose

    try:
        detector = choose(args.detector, cli.device_of(args))
    except DetectorError as error:
        raise cli.UsageError(str(error)) from None
    done: dict[str, Clip | str] = {}
    index, count = cli.shard_of(args)
    ordered = [c for offset in range(count) for c in clips.clips[(index + offset) % count :: count]]

    def work(clip: Clip) -> tuple[str, Clip | str]:
        try:
            return clip.id, _cropped(clip, root, detector, args.min_size, cli.cache_of(args), args.reuse)
        except fomm_crop.NoCrop as error:
            return clip.id, f"{root / clip.video}: {error}"
        except (media.MediaError, stages.ClipError) as error:
            return clip.id, one_line(error)

    with progress.bar(len(ordered), f"{clips.protocol} faces ({detector.name})", "clip") as bar:
        for clip_id, result in parallel.results(work, ordered, args.workers):
            done[clip_id] = result
            bar.update()
    problems = {i: result for i, result in done.items() if isinstance(result, str)}
    return replace(
        clips,
        clips=tuple(clip if clip.id in problems else done[clip.id] for clip in clips.clips),
        problems=dict(sorted(problems.items())),
        detector=f"{detector.name} {detector.version}",
        crop_rule=f"{fomm_crop.RULE}; smallest face {args.min_size} px",
    )


def _cropped(clip: Clip, root: Path, detector, min_size: int, cache: Path, reuse: str) -> Clip:
    video = root / clip.video
    try:
        content = sha256(video)
    except OSError:
        raise stages.ClipError(
            f"{video}: missing; fetch it again, or draw a list from what is there (--list tree)"
        ) from None
    key = stages.digest(
        ["face boxes", content, clip.start, clip.stop, detector.name, detector.version, DETECTION_HEIGHT]
    )
    file = cache / "boxes" / key[:2] / f"{key}.json"
    record = None
    if reuse != "never" and file.is_file():
        try:
            record = json.loads(file.read_text())
        except ValueError:  # half a file from a full disk: detect again
            record = None
    if record is None:
        if reuse == "only-cache":
            raise stages.ClipError(f"{video}: faces not detected yet, and --reuse only-cache computes nothing")
        record = _detect(video, clip, detector)
        write_atomic(file, json.dumps(record).encode())
    boxes = [np.array(b, float).reshape(-1, 4) for b in record["boxes"]]
    found = fomm_crop.tube(boxes, record["width"], record["height"], stages.MIN_FRAMES, min_size)
    return replace(clip, start=clip.start + found.start, stop=clip.start + found.stop, crop=found.crop)


def _detect(video: Path, clip: Clip, detector) -> dict:
    info = media.probe(video)
    scale = min(1.0, DETECTION_HEIGHT / info.height)
    small = (round(info.width * scale), round(info.height * scale))
    boxes: list[list] = []
    for chunk in media.iter_video(video, fps=FPS, size=small, start=clip.start, stop=clip.stop):
        for found in detector(chunk):
            boxes.append([[round(max(0.0, v / scale), 1) for v in box[:4]] for box in np.asarray(found).tolist()])
    return {"width": info.width, "height": info.height, "boxes": boxes}


def main(argv: list[str] | None = None) -> int:
    p = argparse.ArgumentParser(
        prog="python -m protocols.prepare",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    p.add_argument("protocol", choices=("voxceleb2", "mead"))
    p.add_argument("--data", type=Path, required=True, metavar="DIR", help="the data tree")
    p.add_argument("--out", type=Path, required=True, metavar="FILE", help="where to write the list")
    p.add_argument("--list", default="auto", help="MEAD: auto, published or tree (see protocols.mead)")
    p.add_argument(
        "--per-identity", type=int, default=cliplist.VOXCELEB2_PER_IDENTITY, help="VoxCeleb2: utterances per person"
    )
    p.add_argument("--limit", type=int, help="only the first N clips")
    p.add_argument("--cache", type=Path, help="folder of boxes shared by all runs (default: ~/.cache/fctfg/stages)")
    p.add_argument("--reuse", choices=("always", "only-missing", "never", "only-cache"), default="only-missing")
    p.add_argument("--workers", type=int, default=0)
    p.add_argument("--device", default="auto", help="where --detector s3fd runs (default: a GPU when there is one)")
    p.add_argument("--shard", type=cli.shard, help=argparse.SUPPRESS)
    add_crop_options(p, default=None)
    args = p.parse_args(argv)
    args.crop = args.crop or ("fomm" if args.protocol == "mead" else "released")
    return cli.guarded(lambda: _main(args))


def _main(args: argparse.Namespace) -> int:
    if args.protocol == "mead":
        clips = cliplist.mead(args.data, args.list)
    else:
        clips = cliplist.voxceleb2(args.data, args.per_identity)
    clips = with_crops(clips.limited(args.limit), args.data, args)
    clips.save(args.out)
    print(
        f"{args.out}: {len(clips.clips)} clips ({clips.data}), {len(clips.problems)} without a crop, "
        f"sha256 {clips.sha256}"
    )
    for clip_id, problem in clips.problems.items():
        print(f"  {clip_id}: {problem}", file=sys.stderr)
    return cli.INCOMPLETE if clips.problems else cli.OK


if __name__ == "__main__":
    sys.exit(main())
