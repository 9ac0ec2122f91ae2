"""``python -m fctfg.generate``: a picture talks, with the pose, eyes and brows of a video and the lips of a sound."""

from __future__ import annotations

import argparse
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

    from fctfg.animate import Animator
    from fctfg.face_detection import Detector

DESCRIPTION = """\
A picture talks: pose, eyes and brows follow a driving video, lips follow a sound.

examples
  a face, moved by one clip and speaking another:
    python -m fctfg.generate --source face.png --driving motion.mp4 --audio speech.wav --out talk.mp4
  everything from one clip, its own sound included:
    python -m fctfg.generate --source face.png --driving clip.mp4 --motion-only --out talk.mp4
  as long as the sound lasts (the driving video plays forwards and backwards):
    python -m fctfg.generate --source face.png --driving nod.mp4 --audio speech.wav --length audio --out talk.mp4
  pictures and clips that are cut to the face already (puppets, prepared clips), a model of your own:
    python -m fctfg.generate --source face.png --driving clip.mp4 --crop none --checkpoint my.safetensors --out a.mp4
  more like the source, after some seconds of optimisation (not part of the paper's method):
    python -m fctfg.generate --source face.png --driving clip.mp4 --motion-only --refine 60 --out talk.mp4
  the canonical face, the same person without any motion (Fig. 5 of the paper):
    python -m fctfg.generate --source face.png --canonical face.canonical.png
"""

EPILOG = """\
The source is a PNG, JPEG or WebP with one face. Videos and sounds are anything that FFmpeg reads; video is taken at 25
frames a second, sound as mono at 16 kHz. The result is an mp4 at the model's size with the sound in it.

exit status: 0 written; 2 something is wrong with the command or a file, said in one line; 130 interrupted. Nothing is
left half written.
"""

OK, UNUSABLE, INTERRUPTED = 0, 2, 130
RATE = 16000
SLACK = 0.1  # seconds that sound and video of one recording may differ by without a word


class UsageError(ValueError):
    """Options that do not go together; one line."""


@dataclass(frozen=True)
class Sound:
    """What is heard. ``samples``: (N,) float32 at 16 kHz, for the lips; ``track``, ``rate``: what is written."""

    samples: np.ndarray
    track: np.ndarray
    rate: int


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    p = argparse.ArgumentParser(
        prog="python -m fctfg.generate",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    p.add_argument("--source", type=Path, required=True, metavar="PICTURE", help="whose face it is")
    p.add_argument("--driving", type=Path, metavar="VIDEO", help="whose pose, eyes and brows it takes on")
    p.add_argument("--audio", type=Path, metavar="SOUND", help="what it says (default: the driving video's own sound)")
    p.add_argument("--out", type=Path, metavar="MP4", help="where to write the video")
    p.add_argument("--motion-only", action="store_true", help="lips, too, follow the driving video and its own sound")
    p.add_argument("--canonical", type=Path, metavar="PNG", help="write the canonical face; works without --driving")
    p.add_argument(
        "--length",
        choices=("driving", "audio", "shortest"),
        default="driving",
        help="driving: as long as the video (default); audio: until the sound ends; shortest: until either ends",
    )
    p.add_argument(
        "--crop",
        choices=("auto", "none"),
        default="auto",
        help="auto: find the face and cut to it as training clips are cut (default); none: square and cut already",
    )
    p.add_argument(
        "--checkpoint", type=Path, metavar="FILE", help="a model (default: FCTFG_CHECKPOINT, or the bundled)"
    )
    p.add_argument("--device", default="auto", help="cpu, cuda, cuda:1 ... (default: a GPU when there is one)")
    p.add_argument(
        "--precision", choices=("auto", "fp32", "bf16"), default="auto", help="auto: bf16 on a GPU that has it"
    )
    p.add_argument("--batch", type=int, metavar="N", help="driving frames in one pass, rounded up to whole windows")
    p.add_argument(
        "--refine",
        type=int,
        default=0,
        metavar="STEPS",
        help="optimise the source's codes until it is drawn well: 60 are a good start (default: 0, the paper's method)",
    )
    p.add_argument("--compile", action="store_true", help="torch.compile: for hours of video on a GPU")
    return p


def check(args: argparse.Namespace) -> None:
    """UsageError where options contradict each other, before anything is read."""
    if args.driving is None and args.canonical is None:
        raise UsageError("nothing to do: give --driving VIDEO and --out MP4, or --canonical PNG")
    if (args.driving is None) != (args.out is None):
        raise UsageError("--driving VIDEO and --out MP4 go together")
    if args.audio is not None and args.driving is None:
        raise UsageError("--audio needs --driving VIDEO, whose pose and eyes the face takes on")
    if args.motion_only and args.audio is not None:
        raise UsageError("--motion-only takes the driving video's own sound; leave out --audio")
    if args.motion_only and args.driving is None:
        raise UsageError("--motion-only needs --driving VIDEO")
    if args.batch is not None and args.batch < 1:
        raise UsageError(f"--batch {args.batch}: give at least 1")
    if args.refine < 0:
        raise UsageError(f"--refine {args.refine}: give a number of steps, or 0")
    if args.canonical is not None and args.canonical.suffix.lower() != ".png":
        raise UsageError(f"{args.canonical}: the canonical face is written as .png; rename it")
    if args.out is not None and args.out.suffix.lower() != ".mp4":
        raise UsageError(f"{args.out}: video is written as .mp4; rename it")
    inputs = {p.resolve() for p in (args.source, args.driving, args.audio, args.checkpoint) if p is not None}
    for written in (args.out, args.canonical):
        if written is not None and written.resolve() in inputs:
            raise UsageError(f"{written}: is read and would be overwritten; choose another name")


def run(args: argparse.Namespace) -> int:
    """Carry out a checked command. Raises the one-line errors of what it reads and writes."""
    from fctfg import animate, face_crop, media, pictures
    from fctfg.checkpoints import checkpoint_path

    checkpoint = checkpoint_path(args.checkpoint)
    n_driving = 0
    if args.driving is not None:
        if args.crop == "none":
            _check_square(args.driving)
        n_driving = media.count_frames(args.driving)
    detector = _detector() if args.crop == "auto" else None
    animator = animate.load(checkpoint, args.device, args.precision, args.batch, args.compile, args.refine)
    source = pictures.face(args.source, animator.seen, detector)
    if args.canonical is not None:
        _write_png(args.canonical, animator.canonical(source))
        print(f"{args.canonical}: the canonical face of {args.source}, {animator.size}x{animator.size}")
    if args.driving is None:
        return OK
    box = face_crop.of_video(args.driving, detector) if detector is not None else None
    sound, n_frames = _sound(args, n_driving)
    _animate(args, animator, source, box, sound, n_frames)
    return OK


def _animate(
    args: argparse.Namespace, animator: Animator, source: np.ndarray, box, sound: Sound, n_frames: int
) -> None:
    from fctfg import media, progress
    from fctfg.streaming import ahead

    driving = media.iter_video(
        args.driving, size=(animator.seen, animator.seen), box=box, chunk=animator.batch, stop=n_frames
    )
    begun = time.monotonic()
    with progress.bar(n_frames, args.out.name, "frame") as bar:

        def counted():
            for chunk in ahead(animator.animate(source, driving, sound.samples, args.length)):
                yield chunk
                bar.update(len(chunk))

        media.write_video(args.out, counted(), audio=sound.track, sample_rate=sound.rate)
    seconds = time.monotonic() - begun
    print(
        f"{args.out}: {n_frames} frames ({n_frames / 25:.2f} s) at {animator.size}x{animator.size}, "
        f"{n_frames / seconds:.1f} frames/s on {animator.device.type} in {animator.precision}"
    )


def _sound(args: argparse.Namespace, n_driving: int) -> tuple[Sound, int]:
    """The sound, and how many frames will be made; what is cut or silent is said."""
    import numpy as np

    from fctfg import media
    from fctfg.animate import frames_of

    path = args.audio or args.driving
    stop = None if args.length == "audio" else n_driving / 25 + 2 * SLACK
    info = media.probe(path)
    samples = np.zeros(0, np.float32)
    if not info.has_audio and args.audio is not None:
        raise media.MediaError(path, "has no audio track", "name a file with sound")
    if info.has_audio:
        samples = _read(path, RATE, stop)
    seconds = len(samples) / RATE
    if not len(samples):
        if args.length != "driving":
            raise media.MediaError(path, f"has no sound, and --length {args.length} goes by it", "use --length driving")
        _say(f"{path}: has no sound in it: taken as silence")
    n_frames = n_driving
    if args.length == "audio":
        n_frames = frames_of(samples)
    elif args.length == "shortest":
        n_frames = min(n_driving, frames_of(samples))
    elif len(samples) and seconds < n_frames / 25 - SLACK:
        _say(f"{path}: the sound ends at {seconds:.2f} s of {n_frames / 25:.2f} s: silence follows")
    if seconds > n_frames / 25 + SLACK:
        _say(f"{path}: the sound is cut at {n_frames / 25:.2f} s, where the video ends (--length audio plays it all)")
    # Lips need 16 kHz; ears deserve more where the recording has it.
    rate = 48000 if info.has_audio and info.sample_rate > RATE else RATE
    track = samples if rate == RATE or not len(samples) else _read(path, rate, n_frames / 25)
    wanted = n_frames * rate // 25
    track = np.pad(track[:wanted], (0, max(0, wanted - len(track))))
    return Sound(samples, track, rate), n_frames


def _read(path: Path, rate: int, stop: float | None) -> np.ndarray:
    """Sound, or no samples from a track that has none."""
    import numpy as np

    from fctfg import media

    try:
        return media.read_audio(path, sample_rate=rate, stop=stop)
    except media.MediaError as error:
        if "no sound in it" in str(error):
            return np.zeros(0, np.float32)
        raise


def _detector() -> Detector:
    from fctfg import face_detection

    try:
        return face_detection.choose()
    except face_detection.DetectorError as error:
        raise UsageError(f"{error}; or cut source and driving to the face and use --crop none") from None


def _check_square(path: Path) -> None:
    from fctfg import media

    info = media.probe(path)
    if info.has_video and info.width != info.height:
        wrong = f"is {info.width}x{info.height}, not square"
        raise media.MediaError(path, wrong, "use --crop auto, or cut it to a square about the face first")


def _write_png(path: Path, picture: np.ndarray) -> None:
    """Whole or not at all."""
    from PIL import Image

    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(temporary, format="PNG")
        temporary.replace(path)
    except OSError as error:
        raise UsageError(f"{path}: cannot be written ({error.strerror}); check its folder and disk") from None
    finally:
        temporary.unlink(missing_ok=True)


def _say(line: str) -> None:
    print(line, file=sys.stderr)


def main(argv: list[str] | None = None) -> int:
    """The command."""
    args = parser().parse_args(argv)
    try:
        check(args)
        return run(args)
    except KeyboardInterrupt:
        _say("interrupted; nothing was written")
        return INTERRUPTED
    except ValueError as error:
        if not isinstance(error, UsageError) and not _one_line(error):
            raise
        _say(str(error))
        return UNUSABLE


def _one_line(error: ValueError) -> bool:
    """Whether ``error`` is one of those written for the user to read."""
    from fctfg.animate import DeviceError
    from fctfg.checkpoints import MissingCheckpoint
    from fctfg.face_crop import CropError
    from fctfg.media import MediaError
    from fctfg.model_file import ModelFileError
    from fctfg.pictures import PictureError
    from fctfg.weights import WeightsError

    known = (DeviceError, MissingCheckpoint, CropError, MediaError, PictureError)
    return isinstance(error, (*known, ModelFileError, WeightsError))


if __name__ == "__main__":
    sys.exit(main())
