"""Frames for figures: of the clips that runs are of, and of what their methods made of these clips.

Everything is found as the protocol finds it, under the same keys: what is shown is what was scored, or it is not shown.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from fctfg import media
from fctfg.data.clips import Clip, DataError
from protocols import cli, cliplist, methods, stages
from protocols.cliplist import PUPPETS, ClipList
from protocols.first_frame import Evaluation
from protocols.stages import ClipError, Generated, Source
from results import runs as run_files
from results.runs import NOT_RUN, Block, Run


class NotShown(Exception):
    """Why there is no picture; ``word`` is what stands in the cell, the message the reason."""

    def __init__(self, word: str, reason: str) -> None:
        super().__init__(reason)
        self.word = word


@dataclass(frozen=True)
class Material:
    """All runs of one list, and the tree that its clips are in. ``cache``: the protocol's own."""

    block: Block
    runs: tuple[Run, ...]
    clips: ClipList
    root: Path
    cache: Path

    def source(self, clip: Clip) -> Source:
        """The clip's frames, as methods get them. Raises NotShown."""
        try:
            if clip.id in self.clips.problems:
                raise ClipError(self.clips.problems[clip.id])
            return stages.read_source(clip, self.root, stages.clip_key(clip, self.root), self.cache)
        except ClipError as error:
            raise NotShown("no clip", str(error)) from None

    def generated(self, run: Run, source: Source) -> Generated:
        """What ``run`` made of the clip, as it was scored. Raises NotShown: it failed, was not run, or is not there."""
        clip = source.clip
        why = run.failures.get(clip.id, {}).get("*")
        if why:
            raise NotShown("not run" if why == NOT_RUN else "failed", why)
        spec, about = str(run.info["method"].get("spec") or run.name), run.info["method"]
        try:
            ready = methods.load(spec) if spec.startswith("videos:") else None
            if ready is not None:
                return stages.ready_made(ready.recording(clip.id), source)
            standing_in = SimpleNamespace(name=run.name, audio_of=about.get("audio_of", "the-clip"))
            evaluation = Evaluation(self.root, run.path, self.clips, standing_in, about, (), evaluator=None)
            key = evaluation.generation_key(clip, source.key)
        except (ClipError, methods.MethodError) as error:
            raise NotShown("missing", str(error)) from None
        path = run.path / "generated" / f"{clip.id}.mp4"
        found = stages.stored(path, key)
        if found is None:
            raise NotShown(
                "missing", f"{path}: not there, or made from another clip or model; run the evaluation again"
            )
        return found


def material(folders: Sequence[Path], args: argparse.Namespace) -> list[Material]:
    """What the runs at or below ``folders`` are of, block by block in the tables' order.

    Raises ResultsError where runs do not go together or are not there, DataError where a tree is not.
    """
    found, _ = run_files.load_all(folders)
    blocks = sorted({run.block for run in found}, key=run_files.block_order)
    return [of_runs([run for run in found if run.block == block], args) for block in blocks]


def of_runs(runs: Sequence[Run], args: argparse.Namespace) -> Material:
    """Runs of one list."""
    clips = cliplist.load(runs[0].path / "list.json")
    return Material(runs[0].block, tuple(runs), clips, root_of(clips, runs[0], args), cli.cache_of(args))


def root_of(clips: ClipList, run: Run, args: argparse.Namespace) -> Path:
    """Where the clips of a list are. Puppets are where they were drawn, other trees are named on the command line."""
    drawn = clips.protocol.startswith(f"{PUPPETS}-")
    if drawn:
        # the rule ends with the tree's name, and with "; first N only" where the list was cut
        tree = clips.rule.rpartition(", ")[2].partition(";")[0]
        root = (args.puppets or cli.cache_of(args).parent / "puppets") / tree
        hint = "give the command of that run again (it draws them), or name their folder with --puppets"
    else:
        root = {"voxceleb2": args.voxceleb2, "mead": args.mead}.get(clips.protocol)
        hint = f"name the tree with --{clips.protocol} DIR"
        if root is None:
            raise DataError(f"{run.path}: is of clips of {clips.protocol}; {hint}")
    if not root.expanduser().is_dir():
        raise DataError(f"{root}: no such folder, and {run.path} is of clips in it; {hint}")
    return root.expanduser()


def choose(clips: Sequence[Clip], count: int) -> list[Clip]:
    """``count`` clips in list order: of people spread evenly over the list, a second of anybody when all have one.

    Of each next person it is their next clip: everybody's first would in MEAD's layout be all of one emotion.
    """
    of: dict[str, list[Clip]] = {}
    for clip in clips:
        of.setdefault(clip.identity, []).append(clip)
    people = list(of.values())
    if count < len(people):
        people = [people[i * len(people) // count] for i in range(count)]
    turns = [
        own[(place + turn) % len(own)]
        for turn in range(max(map(len, people), default=0))
        for place, own in enumerate(people)
        if turn < len(own)
    ]
    chosen = {clip.id for clip in turns[:count]}
    return [clip for clip in clips if clip.id in chosen]


def one_of_each(clips: Sequence[Clip], count: int) -> list[Clip]:
    """The first clips of ``count`` people, evenly spread over the list."""
    of: dict[str, Clip] = {}
    for clip in clips:
        of.setdefault(clip.identity, clip)
    first = list(of.values())
    return first if count >= len(first) else [first[i * len(first) // count] for i in range(count)]


def times(start: int, stop: int, count: int) -> list[int]:
    """``count`` frame numbers of [start, stop), each the middle one of an equal part."""
    return [start + int((i + 0.5) * (stop - start) / count) for i in range(count)]


def frames_at(generated: Generated, source: Source, at: Sequence[int]) -> dict[int, np.ndarray]:
    """Clip frame number -> the picture that answers it, 256x256; frames that were not answered are not among them.

    Raises NotShown where the video cannot be read.
    """
    wanted, found = set(at), {}
    position, _ = generated.scored_range(len(source.frames))
    try:
        for chunk in generated.chunks(source):
            found |= {t: chunk[t - position] for t in wanted if position <= t < position + len(chunk)}
            position += len(chunk)
            if position > max(wanted):
                break
    except media.MediaError as error:
        raise NotShown("missing", methods.one_line(error)) from None
    return found
