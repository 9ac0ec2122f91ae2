"""``export``: one folder that runs from a disk, without a server, and gives the ratings back as a file."""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

from protocols.user_study import render
from protocols.user_study.store import Store
from protocols.user_study.study import MEDIA, Study, StudyError, load
from results.rows import write_atomic

FORMAT = "user-study-ratings"
#: as the server's policy; a page on file:// has no origin that 'self' could mean in every browser
POLICY = (
    "default-src 'none'; script-src 'self' file:; style-src 'self' file:; img-src 'self' file: data:; "
    "media-src 'self' file:; base-uri 'none'; form-action 'none'"
)


def add_arguments(p: argparse.ArgumentParser) -> None:
    p.add_argument("study", type=Path, metavar="STUDY")
    p.add_argument("out", type=Path, metavar="FOLDER", help="the folder to write; it may be zipped or put on any disk")
    p.add_argument("--participants", type=int, required=True, metavar="N", help="how many codes to make")


def run(args: argparse.Namespace) -> int:
    """Add participants, write the folder, print their codes on stdout."""
    if not 1 <= args.participants <= 1000:
        raise StudyError(f"--participants {args.participants}: give a number from 1 to 1000")
    if args.out.exists() and any(args.out.iterdir()):
        raise StudyError(f"{args.out}: is not empty; give another folder")
    study = load(args.study)
    store = Store(study)
    names = [name for name, _ in store.add(args.participants, "file")]
    plans = {person.id: list(person.plan) for person in store.participants() if person.id in names}
    store.close()
    write(study, plans, args.out)
    for name in names:
        print(name)
    print(
        f"{args.out}: open index.html in a browser; each participant takes one of the {len(names)} codes above, by "
        "typing it or as index.html?code=CODE. Read what comes back with: python -m protocols.user_study import "
        f"{args.study} FILE ...",
        file=sys.stderr,
    )
    return 0


def write(study: Study, plans: dict[str, list[str]], out: Path) -> None:
    """The folder for these participants' plans: the page, its style and script, the videos they see. No names."""
    items = {item for plan in plans.values() for item in plan}
    start = render.settings(study) | {
        "mode": "file",
        "format": FORMAT,
        "tones_file": study.record["settings"]["tones_file"],
        "plans": plans,
        "items": {item: render.video(study, item) for item in sorted(items)},
    }
    files = {study.record["settings"]["tones_file"]}
    for item in items:
        files |= {name for name in (study.items[item].media, study.items[item].reference) if name}
    (out / MEDIA).mkdir(parents=True, exist_ok=True)
    for name in sorted(files):
        shutil.copy2(study.folder / name, out / name)
    for name in render.ASSETS:
        write_atomic(out / name, render.asset(name))
    page = render.study_page(study, start, assets=".", policy=POLICY)
    write_atomic(out / "index.html", page.encode())
