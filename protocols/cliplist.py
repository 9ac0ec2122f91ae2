"""Clip lists: exactly which clips a protocol is run on, by a rule that anyone can re-draw, with a hash.

A list is drawn by rank: every clip has the rank ``sha256("<seed>:<clip id>")``, and a rule takes the lowest ranks in
each cell. The draw therefore depends on the seed and on which clips are there, never on file order, machine or
random-number library, and one missing file changes one place in the list and no other.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

from fctfg.data.clips import EMOTIONS, Clip, DataError, find_mead, find_voxceleb2, mead_clip_from_id, mead_clip_id
from results.rows import write_atomic

LISTS = Path(__file__).parent / "lists"
SEED = 2023  # the paper's year; the paper does not publish its own seed or list (A14, A15 in docs/ambiguities.md)

# The official MEAD test actors, less M041 (its sad level_2 sound is missing in the release). Methods may have been
# trained on the other actors, so the published list draws its five speakers from these.
MEAD_TEST_ACTORS = ("M037", "M039", "M040", "M042", "W037", "W038", "W040")
MEAD_SPEAKERS, MEAD_PER_EMOTION = 5, 5
PUPPETS = "puppets"
VOXCELEB2_PER_IDENTITY = 5


@dataclass(frozen=True)
class ClipList:
    """A protocol's clips.

    ``data``: "full" when the list covers what the protocol asks for, "sample" when the tree held less (or ``--limit``
    cut it), "puppets" for the procedural heads. ``problems``: clip id -> why it cannot be used (one line); such a
    clip stays on the list and fails its row. ``detector``: what found the faces for the crops, None when uncropped.
    """

    name: str
    version: int
    protocol: str
    rule: str
    seed: int
    data: str
    clips: tuple[Clip, ...]
    crop_rule: str = "the whole frame"
    detector: str | None = None
    problems: dict[str, str] = field(default_factory=dict)

    @property
    def selection_sha256(self) -> str:
        """Hash of the clip ids alone, in order: which clips."""
        return _sha256([clip.id for clip in self.clips])

    @property
    def sha256(self) -> str:
        """Hash of ids, spans and crops: which pixels."""
        return _sha256(
            [self.name, self.version, self.crop_rule, self.detector]
            + [[clip.id, clip.start, clip.stop, clip.crop] for clip in self.clips]
        )

    def limited(self, count: int | None) -> ClipList:
        """The first ``count`` clips, marked as a sample."""
        if count is None or count >= len(self.clips):
            return self
        data = self.data if self.data == PUPPETS else "sample"
        return replace(self, clips=self.clips[:count], data=data, rule=f"{self.rule}; first {count} only")

    def describe(self) -> dict:
        """What run.json says of the list."""
        return {
            "name": self.name,
            "version": self.version,
            "sha256": self.sha256,
            "selection_sha256": self.selection_sha256,
            "rule": self.rule,
            "crop_rule": self.crop_rule,
            "detector": self.detector,
            "seed": self.seed,
            "n_clips": len(self.clips),
        }

    def save(self, path: Path) -> None:
        """Write the list as JSON, one clip a line so that two lists can be compared with diff; atomic."""
        head = {"schema": 1, **self.describe(), "protocol": self.protocol, "data": self.data}
        lines = [json.dumps(_entry(clip, self.problems.get(clip.id)), ensure_ascii=False) for clip in self.clips]
        text = json.dumps(head, indent=1, ensure_ascii=False)[:-2] + ',\n "clips": [\n  '
        text += ",\n  ".join(lines) + "\n ]\n}\n"
        write_atomic(path, text.encode())


def load(path: str | os.PathLike) -> ClipList:
    """Read a list that :meth:`ClipList.save` wrote; its hash must match its content."""
    path = Path(path)
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        entries = record["clips"]
        clips = tuple(
            Clip(
                **{k: v for k, v in e.items() if k not in ("problem", "crop")},
                crop=tuple(e["crop"]) if e.get("crop") else None,
            )
            for e in entries
        )
        result = ClipList(
            **{k: record[k] for k in ("name", "version", "protocol", "rule", "seed", "data", "crop_rule", "detector")},
            clips=clips,
            problems={e["id"]: e["problem"] for e in entries if e.get("problem")},
        )
    except FileNotFoundError:
        raise DataError(f"{path}: no such clip list") from None
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
        raise DataError(f"{path}: not a clip list ({error}); make one with python -m protocols.prepare") from None
    if result.sha256 != record["sha256"]:
        raise DataError(
            f"{path}: was edited (its sha256 does not match its clips); make it anew with protocols.prepare"
        )
    return result


def voxceleb2(root: str | os.PathLike, per_identity: int = VOXCELEB2_PER_IDENTITY, seed: int = SEED) -> ClipList:
    """The VoxCeleb2 test list of a tree: per identity the lowest-ranked utterances, different videos first.

    "full" when all 118 official test identities are in the tree. The paper does not say how many clips it used (A15).
    """
    clips = find_voxceleb2(root)
    by_identity: dict[str, dict[str, list[Clip]]] = defaultdict(lambda: defaultdict(list))
    for clip in sorted(clips, key=lambda c: rank(c.id, seed)):
        by_identity[clip.identity][clip.id.split("/")[1]].append(clip)
    chosen: list[Clip] = []
    for videos in by_identity.values():
        # The n-th utterance of every video before the (n+1)-th of any: variety of recordings first.
        rounds = sorted((n, rank(c.id, seed), c) for group in videos.values() for n, c in enumerate(group))
        chosen += [c for _, _, c in rounds[:per_identity]]
    official = voxceleb2_test_identities()
    return ClipList(
        name="voxceleb2-first-frame",
        version=1,
        protocol="voxceleb2",
        rule=f"per identity the {per_identity} lowest sha256('{seed}:<id>'), one utterance of each video first",
        seed=seed,
        data=_data(root, official <= by_identity.keys()),
        clips=tuple(sorted(chosen, key=lambda c: c.id)),
    )


def voxceleb2_test_identities() -> set[str]:
    """The 118 identities of the official test split."""
    text = (LISTS / "voxceleb2_test_identities.txt").read_text()
    return {line for line in text.split("\n") if line.startswith("id")}


def mead(root: str | os.PathLike, which: str = "auto", seed: int = SEED) -> ClipList:
    """The MEAD list for a tree: 5 speakers x 5 videos x 8 emotions, front view (A14).

    ``which``: "published" takes the list in ``protocols/lists`` as it is (missing files fail their rows); "tree"
    draws by the same rule from the clips that are there; "auto" takes the published list when at least half of it is
    in the tree. A draw that comes out smaller than 200 clips is a "sample".
    """
    if which not in ("auto", "published", "tree"):
        raise DataError(f"unknown MEAD list '{which}'; use auto, published or tree")
    root = Path(root).expanduser()
    found = find_mead(root)
    if which != "tree":
        published = published_mead()
        there = {clip.id for clip in found}
        present = sum(clip.id in there for clip in published.clips)
        if which == "published" or 2 * present >= len(published.clips):
            clips = tuple(mead_clip_from_id(root, clip.id) for clip in published.clips)
            return replace(published, clips=clips)
    drawn = _draw_mead(found, seed)
    return replace(drawn, data=_data(root, drawn.data == "full"))


def published_mead() -> ClipList:
    """The published MEAD subset (``protocols/lists/mead-first-frame.v1.json``): names and numbers, no pixels."""
    return load(LISTS / "mead-first-frame.v1.json")


def draw_published_mead(seed: int = SEED) -> ClipList:
    """Draw the published list from MEAD's catalogue: neutral has 40 numbers at level_1, others 30 at each level."""
    catalogue = [
        mead_clip_from_id(Path("/nonexistent"), mead_clip_id(actor, "front", emotion, level, f"{number:03d}"))
        for actor in MEAD_TEST_ACTORS
        for emotion in EMOTIONS
        for level in ((1,) if emotion == "neutral" else (1, 2, 3))
        for number in range(1, (40 if emotion == "neutral" else 30) + 1)
    ]
    return _draw_mead(catalogue, seed)


def _data(root: str | os.PathLike, complete: bool) -> str:
    """What a tree is called in tables. ``fctfg.data.puppets`` leaves its mark, so that its trees are called puppets."""
    if (Path(root).expanduser() / "puppets.json").is_file():
        return PUPPETS
    return "full" if complete else "sample"


def _draw_mead(found: Iterable[Clip], seed: int) -> ClipList:
    cells: dict[str, dict[str, list[Clip]]] = defaultdict(lambda: defaultdict(list))
    for clip in sorted(found, key=lambda c: rank(c.id, seed)):
        if clip.emotion != "neutral" or clip.level == 1:
            cells[clip.identity][clip.emotion].append(clip)
    speakers = sorted(cells, key=lambda actor: (actor not in MEAD_TEST_ACTORS, rank(actor, seed)))[:MEAD_SPEAKERS]
    chosen = [c for s in speakers for emotion in EMOTIONS for c in cells[s][emotion][:MEAD_PER_EMOTION]]
    return ClipList(
        name="mead-first-frame",
        version=1,
        protocol="mead",
        rule=f"{MEAD_SPEAKERS} speakers (official test actors first) x {MEAD_PER_EMOTION} videos per emotion, "
        f"front view, by the lowest sha256('{seed}:<id>'); neutral at level_1",
        seed=seed,
        data="full" if len(chosen) == MEAD_SPEAKERS * MEAD_PER_EMOTION * len(EMOTIONS) else "sample",
        clips=tuple(sorted(chosen, key=lambda c: c.id)),
    )


def rank(name: str, seed: int) -> str:
    """The rank of a clip or speaker in a draw: a hash, so that it depends on nothing but name and seed."""
    return hashlib.sha256(f"{seed}:{name}".encode()).hexdigest()


def _entry(clip: Clip, problem: str | None) -> dict:
    entry = {k: v for k, v in vars(clip).items() if v is not None and (k != "start" or v)}
    if clip.crop:
        entry["crop"] = list(clip.crop)
    if problem:
        entry["problem"] = problem
    return entry


def _sha256(value: object) -> str:
    return hashlib.sha256(json.dumps(value, ensure_ascii=False).encode()).hexdigest()
