"""Film strips for the report: which clips, and small copies of their pictures beside the page."""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from results.rows import write_atomic
from results.runs import Block
from results.summary import MetricInfo, Summary
from results.tables import decimals

HEIGHT = 144  # pixels; strips that are higher are scaled down


@dataclass(frozen=True)
class Strip:
    """One row of pictures. ``file`` is relative to the page; ``width`` and ``height`` in pixels."""

    label: str
    alt: str
    file: str
    width: int
    height: int
    values: str = ""
    is_control: bool = False


@dataclass(frozen=True)
class ClipStrips:
    """The strips of one clip, all of one scale and ending at the same time: driving first, then one for each method."""

    clip: str
    block: Block
    strips: tuple[Strip, ...]
    failures: tuple[str, ...] = ()

    @property
    def aspect(self) -> float:
        """Width over height of the longest strip, 1 when there is none."""
        return max((strip.width / strip.height for strip in self.strips if strip.height), default=1.0)


def collect(
    summary: Summary, metrics: Mapping[Block, Sequence[MetricInfo]], count: int, folder: Path
) -> list[ClipStrips]:
    """Copy the strips of ``count`` clips of each block, spread evenly over its list, to ``folder``/strips.

    Pictures are scaled to at most ``HEIGHT`` pixels. Clips of which no run left a strip are not among them. ``metrics``
    are those whose values stand beside a strip.
    """
    found = []
    for block in summary.blocks:
        runs = summary.runs_of(block)
        there = {
            str(path.relative_to(run.path / "strips")) for run in runs for path in run.path.glob("strips/**/*.jpg")
        }
        clips = [
            clip
            for clip in dict.fromkeys(clip for run in runs for clip in run.clips)
            if f"{clip}.jpg" in there or f"{clip}.driving.jpg" in there
        ]
        for clip in _spread(clips, count):
            strips = []
            driving = next((p for run in runs if (p := _path(run.path, clip, ".driving")).is_file()), None)
            if driving:
                alt = f"{clip}: the reference frame, then frames of the driving video"
                strips.append(_copy(driving, folder, "driving", block, clip, alt))
            failures = []
            for run in runs:
                if (picture := _path(run.path, clip)).is_file():
                    alt = f"{clip}: frames made by {run.label} at the times of the driving frames above"
                    strips.append(
                        _copy(
                            picture,
                            folder,
                            run.label,
                            block,
                            clip,
                            alt,
                            _values(run, clip, metrics[block]),
                            run.is_control,
                        )
                    )
                for metric, reason in run.failures.get(clip, {}).items():
                    failures.append(f"{run.label}: {reason if metric == '*' else f'{metric}: {reason}'}")
            found.append(ClipStrips(clip, block, tuple(strips), tuple(failures)))
    return found


def file_name(text: str) -> str:
    """``text`` as a file name of plain characters; different texts give different names, also where case is ignored."""
    plain = re.sub(r"[^a-z0-9._-]+", "_", text.lower())[:80].strip("._-")
    return plain if plain and plain == text else f"{plain or 'x'}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def _path(run: Path, clip: str, suffix: str = "") -> Path:
    return run / "strips" / f"{clip}{suffix}.jpg"


def _spread(clips: list[str], count: int) -> list[str]:
    if len(clips) <= count:
        return clips
    return [clips[i * len(clips) // count] for i in range(count)]


def _copy(
    source: Path,
    folder: Path,
    label: str,
    block: Block,
    clip: str,
    alt: str,
    values: str = "",
    is_control: bool = False,
) -> Strip:
    from PIL import Image

    name = Path("strips", file_name(block.slug), file_name(clip), f"{file_name(label)}.jpg")
    try:
        with Image.open(source) as picture:
            picture = picture.convert("RGB")
    except OSError:  # Pillow's errors for broken pictures are OSErrors too
        return Strip(label, f"{alt} (the picture cannot be read)", "", 0, 0, values, is_control)
    if picture.height > HEIGHT:
        picture = picture.resize(
            (max(1, round(picture.width * HEIGHT / picture.height)), HEIGHT), Image.Resampling.LANCZOS
        )
    data = io.BytesIO()
    picture.save(data, "JPEG", quality=88)
    write_atomic(folder / name, data.getvalue())
    return Strip(label, alt, f"{folder.name}/{name.as_posix()}", picture.width, picture.height, values, is_control)


def _values(run, clip: str, metrics: Sequence[MetricInfo]) -> str:
    from results.formats import number

    said = []
    for metric in metrics:
        value = run.rows.get(clip, {}).get("metrics", {}).get(metric.name)
        if value is not None and metric.name in run.available:
            said.append(f"{metric.column} {number(value, decimals(metric, [value]))}")
    return " · ".join(said)
