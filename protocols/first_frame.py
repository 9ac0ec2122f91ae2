"""The first-frame-reference protocol on one clip: from files to a row.

The first frame of a clip is the identity reference; the frames after it, and the sound, drive the method; what the
method made is compared with those same frames (paper, section 4.2.3, after PC-AVS).
"""

from __future__ import annotations

import math
import threading
import traceback
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fctfg import media
from fctfg.data.clips import SAMPLES_PER_FRAME, Clip
from fctfg.weights import sha256
from protocols import stages
from protocols.cliplist import PUPPETS, ClipList
from protocols.methods import MethodError, one_line
from protocols.stages import NO_WRITING, ClipError, Generated, OutputError, Source
from results.rows import write_atomic

if TYPE_CHECKING:
    from metrics.evaluate import Evaluator

PROTOCOL_VERSION = 1
STRIP_FRAMES, STRIP_HEIGHT = 6, 112
#: what is said of a method and changes no frame that it makes
SAID = ("name", "description", "unofficial", "trained_on")


@dataclass
class Evaluation:
    """One method on one list: everything that a clip's row depends on."""

    root: Path
    out: Path
    clips: ClipList
    method: Any
    method_record: dict
    metrics: tuple[str, ...]
    evaluator: Evaluator
    reuse: str = "only-missing"
    strips: bool = True

    def __post_init__(self) -> None:
        self._generating = threading.Lock()
        self._order = {clip.id: index for index, clip in enumerate(self.clips.clips)}

    # -- keys ---------------------------------------------------------------------------------------------------

    def generation_key(self, clip: Clip, clip_key: str) -> str:
        """Key of what the method makes of a clip: the clip, the method with its weights, the encoder."""
        parts: dict = {
            "clip": clip_key,
            "method": {k: v for k, v in self.method_record.items() if k not in SAID},
            "encoder": stages.ENCODER,
        }
        if hasattr(self.method, "recording"):
            recording = self.method.recording(clip.id)
            parts["recording"] = [sha256(recording.path), recording.first_frame, recording.crop]
        donor = self.audio_donor(clip)
        if donor is not clip:
            parts["audio_of"] = stages.clip_key(donor, self.root)
        return stages.digest(parts)

    def row_key(self, generation_key: str) -> str:
        """Key of a row: what was generated, and how it is scored."""
        return stages.digest(
            {"generated": generation_key, "metrics": self._metric_versions(), "protocol": PROTOCOL_VERSION}
        )

    def _metric_versions(self) -> dict[str, int]:
        from metrics import registry

        return {n: registry.get(n).version for n in self.metrics if n not in self.evaluator.unavailable}

    # -- one clip -----------------------------------------------------------------------------------------------

    def keys(self, clip: Clip) -> tuple[str, str, str]:
        """(clip key, generation key, row key). Raises ClipError or MethodError when a file is missing."""
        if clip.id in self.clips.problems:
            raise ClipError(self.clips.problems[clip.id])
        clip_key = stages.clip_key(clip, self.root)
        generation_key = self.generation_key(clip, clip_key)
        return clip_key, generation_key, self.row_key(generation_key)

    def row(self, clip: Clip, keys: Callable[[Clip], tuple[str, str, str]] | None = None) -> dict:
        """Evaluate one clip. Whatever is wrong with the clip or the method becomes a failed row, never an exception;
        only an output folder that cannot be written raises (OutputError).
        """
        row = self._empty_row(clip)
        stage = "read"
        try:
            clip_key, generation_key, row["key"] = (keys or self.keys)(clip)
            source = stages.read_source(clip, self.root, clip_key, self.evaluator.cache)
            row["n_expected"] = len(source.frames) - 1
            stage = "generate"
            generated = self._generated(source, generation_key)
            start, stop = generated.scored_range(len(source.frames))
            row.update(
                n_frames=max(0, stop - start),
                first_frame=generated.first_frame,
                size=list(generated.size),
                warnings=list(generated.warnings),
            )
            if 2 * (stop - start) < row["n_expected"]:
                raise MethodError(
                    f"{self.method.name}: answers {max(0, stop - start)} of {row['n_expected']} driving frames; "
                    "at least half are needed"
                )
            if stop - start < row["n_expected"]:
                row["warnings"].append(f"answers {stop - start} of {row['n_expected']} driving frames")
            stage = "score"
            self._score(source, generated, row)
            if self.strips:
                self._write_strips(source, generated)
        except OutputError:
            raise
        except (ClipError, MethodError, media.MediaError) as error:
            self._fail(row, stage, one_line(error))
        except OSError as error:
            if error.errno in NO_WRITING:
                where = error.filename or f"{self.out} or the cache {self.evaluator.cache}"
                raise OutputError(
                    f"{where}: cannot write ({error.strerror}); make room and give the command again"
                ) from None
            self._fail(row, stage, one_line(error))
        except Exception as error:  # a method's or a decoder's own bug: its clip fails, with the traceback kept
            self._fail(row, stage, f"{type(error).__name__}: {one_line(error)}")
            log = self.out / "errors" / f"{clip.id}.txt"
            write_atomic(log, traceback.format_exc().encode())
        row["status"] = "failed" if row["failures"] else "scored"
        return row

    def audio_donor(self, clip: Clip) -> Clip:
        """Whose sound the method hears: the clip's own, or that of the next clip on the list by another person."""
        if getattr(self.method, "audio_of", "the-clip") != "another-speaker":
            return clip
        clips = self.clips.clips
        begin = self._order[clip.id]
        for step in range(1, len(clips)):
            other = clips[(begin + step) % len(clips)]
            if other.identity != clip.identity and other.id not in self.clips.problems:
                return other
        raise ClipError(f"{clip.id}: {self.method.name} needs a clip by another speaker, and the list has none")

    # -- steps --------------------------------------------------------------------------------------------------

    def _generated(self, source: Source, key: str) -> Generated:
        clip = source.clip
        if hasattr(self.method, "recording"):
            return stages.ready_made(self.method.recording(clip.id), source)
        path = self.out / "generated" / f"{clip.id}.mp4"
        if self.reuse != "never" and (kept := stages.stored(path, key)) is not None:
            return kept
        if self.reuse == "only-cache":
            raise MethodError(f"{clip.id}: not generated yet, and --reuse only-cache computes nothing")
        audio = self._audio(source)[SAMPLES_PER_FRAME:]
        with self._generating, all_threads():  # one clip at a time: a method has the device and all cores to itself
            return stages.generate(self.method, source, audio, path, key)

    def _audio(self, source: Source) -> np.ndarray:
        donor = self.audio_donor(source.clip)
        if donor is source.clip:
            return source.audio
        other, wanted = self._sound(donor), len(source.audio)
        return np.tile(other, math.ceil(wanted / max(1, len(other))))[:wanted]

    def _sound(self, donor: Clip) -> np.ndarray:
        try:
            return stages.read_sound(donor, self.root)
        except media.MediaError as error:
            raise ClipError(one_line(error)) from None

    def _score(self, source: Source, generated: Generated, row: dict) -> None:
        from metrics.evaluate import Footage
        from metrics.row import fill

        start, stop = generated.scored_range(len(source.frames))
        span = slice(start * SAMPLES_PER_FRAME, stop * SAMPLES_PER_FRAME)
        audio = self._audio(source)[span]
        reference_key = stages.digest({"clip": source.key, "range": [start, stop], "crop": generated.pixel_crop()})
        generated_key = reference_key if generated.path is None else stages.digest([generated.key, start, stop])
        reference = Footage(
            chunks=lambda: generated.reference_chunks(source),
            audio=source.audio[span],
            key=reference_key,
            label=str(self.root / source.clip.video),
        )
        made = Footage(
            chunks=lambda: generated.chunks(source),
            audio=audio,
            key=generated_key,
            label=str(generated.path or self.root / source.clip.video),
        )
        truth = self._truth(source.clip, start, stop)
        fill(row, self.evaluator.score(made, reference, source.frames[0], truth))

    def _truth(self, clip: Clip, start: int, stop: int) -> dict[str, np.ndarray] | None:
        """Of a puppet: what its head, eyes and mouth do in the scored frames; "heard": what those of the one do whose
        sound the method was given, where that is another. None for real clips.
        """
        if self.clips.data != PUPPETS:
            return None
        truth = {"motion": self._motion(clip)[start:stop]}
        if (donor := self.audio_donor(clip)) is not clip:
            heard = self._motion(donor)  # its sound is repeated where it is the shorter one
            length = len(self._sound(donor)) / SAMPLES_PER_FRAME
            truth["heard"] = heard[(np.arange(start, stop) % length).astype(int).clip(max=len(heard) - 1)]
        return truth

    def _motion(self, puppet: Clip) -> np.ndarray:
        """(T, M) at 25 a second, from the clip's frame 0 on."""
        from fctfg.data.puppets.write import read_truth

        path = self.root / "truth" / f"{puppet.id}.npz"
        try:
            return read_truth(path)["motion_25"][puppet.start :]
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise ClipError(f"{path}: not the truth of a puppet ({one_line(error)}); draw the clip again") from None

    def _write_strips(self, source: Source, generated: Generated) -> None:
        start, stop = generated.scored_range(len(source.frames))
        times = np.linspace(start, stop - 1, STRIP_FRAMES).round().astype(int)
        picked, position = [], start
        for chunk in generated.chunks(source):
            picked += [chunk[t - position] for t in times if position <= t < position + len(chunk)]
            position += len(chunk)
        base = self.out / "strips" / source.clip.id
        write_atomic(base.with_name(f"{base.name}.jpg"), _jpeg(picked))
        driving = [source.frames[0], *source.frames[times]]
        write_atomic(base.with_name(f"{base.name}.driving.jpg"), _jpeg(driving))

    def _empty_row(self, clip: Clip) -> dict:
        return {
            "schema": 1,
            "clip": clip.id,
            "identity": clip.identity,
            "protocol": self.clips.protocol,
            "method": self.method.name,
            "key": "",
            "status": "failed",
            "failures": {},
            "n_frames": 0,
            "n_expected": None,
            "first_frame": None,
            "size": None,
            "emotion": clip.emotion,
            "level": clip.level,
            "metrics": {},
            "details": {},
            "warnings": [],
        }

    def _fail(self, row: dict, stage: str, reason: str) -> None:
        row["failures"]["*"] = f"{stage}: {reason}"


class all_threads:
    """Gives torch every core within the block; outside it, scoring keeps to one thread per worker so that sums are
    taken in the same order on every machine.
    """

    def __enter__(self) -> None:
        import os

        import torch

        self.before = torch.get_num_threads()
        torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", 0)) or os.cpu_count() or 1)

    def __exit__(self, *_: object) -> None:
        import torch

        torch.set_num_threads(self.before)


def _jpeg(frames: list[np.ndarray]) -> bytes:
    import io

    from PIL import Image

    width = STRIP_HEIGHT  # frames are square
    strip = Image.new("RGB", (width * len(frames), STRIP_HEIGHT))
    for index, frame in enumerate(frames):
        strip.paste(
            Image.fromarray(np.ascontiguousarray(frame)).resize((width, STRIP_HEIGHT), Image.LANCZOS),
            (index * width, 0),
        )
    buffer = io.BytesIO()
    strip.save(buffer, "JPEG", quality=88)
    return buffer.getvalue()
