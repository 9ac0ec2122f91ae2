"""``build``: clips and videos of several runs -> a study folder, blinded."""

from __future__ import annotations

import argparse
import secrets
import shutil
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from fctfg import parallel, progress
from protocols import environment
from protocols.user_study import encode, plan, sources
from protocols.user_study import study as studies
from protocols.user_study.sources import Eligible, Run
from protocols.user_study.study import MEDIA, StudyError, opaque

TITLE = "Ratings of talking-face videos"
SHOWS = ("video", "reference")


def add_arguments(p: argparse.ArgumentParser) -> None:
    p.add_argument("--runs", type=Path, nargs="+", required=True, metavar="RUN", help="evaluations, one method each")
    p.add_argument("--out", type=Path, required=True, metavar="STUDY", help="the study's folder, made anew")
    p.add_argument("--videos", type=int, default=20, metavar="N", help="how many clips (default %(default)s)")
    p.add_argument("--seed", type=int, default=2023, help="draws the clips and the orders (default %(default)s)")
    p.add_argument("--data", type=Path, metavar="DIR", help="the tree the runs were made from: for truth and sound")
    p.add_argument(
        "--per-participant", type=int, metavar="N", help="clips that each participant sees, in balance (default: all)"
    )
    p.add_argument("--desync", type=int, default=2, metavar="N", help="desynchronised truths in a session (default 2)")
    p.add_argument("--repeats", type=int, default=2, metavar="N", help="repeated videos in a session (default 2)")
    p.add_argument(
        "--show",
        choices=SHOWS,
        default="video",
        help="what is seen: the video alone, as in the paper (default), or with the reference picture beside it",
    )
    p.add_argument("--size", type=int, default=256, help="width and height of the videos (default %(default)s)")
    p.add_argument("--seconds", type=float, default=12, help="longest video; longer ones are cut (default %(default)s)")
    p.add_argument(
        "--static", type=int, metavar="N", help="also write STUDY/static, which N participants rate without a server"
    )
    p.add_argument("--title", default=TITLE, help="what participants read at the top (default: %(default)s)")
    p.add_argument("--contact", default="", metavar="TEXT", help="whom participants can write to, shown with consent")
    p.add_argument(
        "--information", type=Path, metavar="FILE", help="plain text shown before consent; empty lines part paragraphs"
    )


def run(args: argparse.Namespace) -> int:
    """Build the study that the options ask for; say in a few lines what it came to."""
    _check_options(args)
    runs = sources.read_runs(args.runs)
    found, dropped = sources.eligible(runs, args.data)
    _say(f"{len(found)} clips are in every run, {len(dropped)} dropped")
    for line in sources.grouped(dropped):
        _say(f"  {line}")
    if args.videos > len(found):
        raise StudyError(
            f"--videos {args.videos}: only {len(found)} clips have a video in every run; "
            f"give --videos {len(found)} or less, or evaluate more clips"
        )
    chosen = sources.choose(found, args.videos, args.seed)
    encoder = encode.Encoder(tuple(runs), args.data, args.size, args.seconds)
    builder = _Builder(encoder, chosen, secrets.token_hex(32), args)
    record = builder.record(dropped)
    builder.write()
    studies.save(args.out, record)
    count, minutes = studies.load(args.out).session
    _say(
        f"{args.out}: {len(runs)} methods x {len(chosen)} clips; a session has {count} videos, about {minutes} minutes"
    )
    if args.static is not None:
        from protocols.user_study import static_export

        return static_export.run(argparse.Namespace(study=args.out, out=args.out / "static", participants=args.static))
    _say(f"next: python -m protocols.user_study invite {args.out} 40, then serve {args.out}")
    return 0


def _check_options(args: argparse.Namespace) -> None:
    if (args.out / studies.RECORD).exists() or (args.out / studies.DATABASE).exists():
        raise StudyError(f"{args.out}: holds a study already, perhaps with ratings; give another --out")
    each = args.videos if args.per_participant is None else args.per_participant
    if not plan.FEWEST_CLIPS <= each <= args.videos:
        raise StudyError(
            f"{each} clips a participant out of --videos {args.videos}; it takes {plan.FEWEST_CLIPS} to {args.videos}"
        )
    if args.desync < 0 or args.repeats < 0 or max(args.desync, args.repeats) > each:
        raise StudyError(f"--desync and --repeats are between 0 and the {each} clips of a session")
    if args.size % 2 or not 64 <= args.size <= 1024:
        raise StudyError(f"--size {args.size}: give an even number from 64 to 1024")
    if args.static is not None and not 1 <= args.static <= 1000:
        raise StudyError(f"--static {args.static}: give a number of participants from 1 to 1000")
    if args.seconds < 1:
        raise StudyError(f"--seconds {args.seconds:g}: give 1 or more")
    if args.show == "reference" and args.data is None:
        raise StudyError("--show reference needs the clips' first frames; give the data tree with --data DIR")


@dataclass
class _Builder:
    encoder: encode.Encoder
    chosen: list[Eligible]
    key: str
    args: argparse.Namespace

    def __post_init__(self) -> None:
        self._by_id = {entry.clip.id: entry for entry in self.chosen}
        self._runs = {run.method: run for run in self.encoder.runs}
        self._items = self._plan_items()

    def _plan_items(self) -> list[dict]:
        items = [self._item("rating", c, m) for c in self._by_id for m in self._runs]
        for clip in self._desync_clips():
            items.append(self._item("desync", clip, "truth") | {"shift_seconds": None})
        if self.args.repeats:
            for clip, method in plan.repeated(self._design()).items():
                items.append(
                    self._item("repeat", clip, method) | {"repeats": self._name("item", "rating", clip, method)}
                )
        return sorted(items, key=lambda item: item["item"])  # an order that tells nothing

    def _item(self, kind: str, clip: str, method: str) -> dict:
        item = {
            "item": self._name("item", kind, clip, method),
            "clip": clip,
            "method": method,
            "kind": kind,
            "repeats": None,
            "media": f"{MEDIA}/{self._name('media', kind, clip, method)}.mp4",
            "seconds": None,
        }
        if self.args.show == "reference":
            item["reference"] = f"{MEDIA}/{self._name('reference', clip)}.jpg"
        return item

    def _name(self, *parts: str) -> str:
        name = opaque(self.key, *parts)
        return name[:16] if parts[0] == "item" else name

    def _desync_clips(self) -> list[str]:
        if not self.args.desync:
            return []
        if not self.encoder.has_truth(self.chosen[0]):
            _say(
                "no desynchronised truths: no run shows the truth; give --data DIR or a run of 'reencode' to have them"
            )
            return []
        return [entry.clip.id for entry in self.chosen[-self.args.desync :]]

    def _design(self) -> plan.Design:
        desync = [item["clip"] for item in getattr(self, "_items", ()) if item["kind"] == "desync"]
        each = self.args.per_participant or len(self.chosen)
        repeats = self.args.repeats
        return plan.Design(
            self.args.seed, tuple(self._by_id), tuple(self._runs), each, tuple(sorted(desync)), len(desync), repeats
        )

    def record(self, dropped: dict[str, str]) -> dict:
        """study.json. Raises StudyError when the checks do not fit into the sessions."""
        design = self._design()
        for number in range(4 * len(self.chosen)):
            try:
                plan.trials(design, number)
            except plan.PlanError as error:
                raise StudyError(str(error)) from None
        from results.opinion_exclusions import Rules

        args = self.args
        return {
            "schema": studies.SCHEMA,
            "study": secrets.token_hex(8),
            "key": self.key,
            "title": args.title,
            "contact": args.contact,
            "information": _paragraphs(args.information),
            "seed": args.seed,
            "created_at": studies.now(),
            "questions": list(studies.QUESTIONS),
            "scale": list(studies.SCALE),
            "methods": [_method(run) for run in self.encoder.runs],
            "clips": list(design.clips),
            "identities": {clip: entry.clip.identity for clip, entry in self._by_id.items()},
            "design": {
                "per_participant": design.per_participant,
                "desync": design.desync,
                "desync_clips": list(design.desync_clips),
                "repeats": design.repeats,
            },
            "exclusions": asdict(Rules()),  # stated before the first rating; the analysis goes by what stands here
            "items": self._items,
            "runs": [_facts(run) for run in self.encoder.runs],
            "eligible": {"clips_dropped": len(dropped), "reasons": sources.grouped(dropped)},
            "settings": {
                "show": args.show,
                "size": args.size,
                "crf": encode.CRF,
                "fps": encode.FPS,
                "longest_seconds": args.seconds,
                "tones": encode.TONES,
                "tones_file": f"{MEDIA}/{self._name('tones')}.m4a",
            },
            "versions": environment.versions(),
            "git_commit": environment.git_commit(),
        }

    def write(self) -> None:
        """All media files. Items learn their length."""
        folder = self.args.out
        encode.write_tones(folder / MEDIA / f"{self._name('tones')}.m4a")
        if self.args.show == "reference":
            for clip, entry in self._by_id.items():
                self.encoder.write_reference(entry, folder / MEDIA / f"{self._name('reference', clip)}.jpg")
        first = [item for item in self._items if item["kind"] != "repeat"]
        with progress.bar(len(first), "videos", "video") as bar:
            for _ in parallel.results(self._write_item, first, 0):
                bar.update()
        by_id = {item["item"]: item for item in first}
        for item in self._items:
            if item["kind"] == "repeat":
                original = by_id[item["repeats"]]
                shutil.copy2(folder / original["media"], folder / item["media"])
                item["seconds"] = original["seconds"]

    def _write_item(self, item: dict) -> None:
        entry, path = self._by_id[item["clip"]], self.args.out / item["media"]
        if item["kind"] == "desync":
            item["seconds"], item["shift_seconds"] = self.encoder.write_desync(entry, path)
        else:
            item["seconds"] = self.encoder.write(entry, self._runs[item["method"]], path)


def _paragraphs(file: Path | None) -> list[str]:
    if file is None:
        return []
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise StudyError(f"{file}: cannot be read ({error}); give a UTF-8 text file") from None
    return [" ".join(block.split()) for block in text.split("\n\n") if block.strip()]


def _method(run: Run) -> dict:
    return {"name": run.method, "kind": run.info["method"].get("kind", "method")}


def _facts(run: Run) -> dict:
    return {
        "folder": str(run.folder),
        "method": run.info["method"],
        "protocol": run.info["protocol"],
        "block": run.info["block"],
        "data": run.info["data"],
        "list": {key: run.info["list"].get(key) for key in ("name", "version", "sha256", "n_clips")},
        "git_commit": run.info.get("git_commit"),
    }


def _say(line: str) -> None:
    print(line, file=sys.stderr)
