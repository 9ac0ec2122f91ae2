"""``invite`` adds participants and prints their links; ``status`` says how far each is."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from protocols.user_study.store import Store
from protocols.user_study.study import StudyError, load

LOCAL = "http://127.0.0.1:8000"
MOST = 10_000


def add_arguments(p: argparse.ArgumentParser) -> None:
    p.add_argument("study", type=Path, metavar="STUDY")
    p.add_argument("count", type=int, metavar="N", help="how many participants to add")
    p.add_argument("--base-url", default=LOCAL, metavar="URL", help="where the study is served (default %(default)s)")


def run(args: argparse.Namespace) -> int:
    """Print one link a line on stdout. Links are not stored: only their hashes are."""
    if not 1 <= args.count <= MOST:
        raise StudyError(f"invite {args.count}: give a number from 1 to {MOST}")
    base = args.base_url.rstrip("/")
    if not base.startswith(("http://", "https://")):
        raise StudyError(f"--base-url {args.base_url}: begins with http:// or https://")
    store = Store(load(args.study))
    for _, token in store.add(args.count, "link"):
        print(f"{base}/s/{token}")
    store.close()
    print(f"{args.count} links, one for each participant; keep them, they cannot be printed again", file=sys.stderr)
    return 0


def status_add_arguments(p: argparse.ArgumentParser) -> None:
    p.add_argument("study", type=Path, metavar="STUDY")


def status_run(args: argparse.Namespace) -> int:
    """Print a line for each participant, without their ratings."""
    study = load(args.study)
    store = Store(study)
    people = store.participants()
    store.close()
    print(f"{'participant':12} {'by':5} {'rated':>9}  state")
    for p in people:
        state = {"consent": "not begun", "rate": "under way", "done": "complete"}.get(p.stage)
        state = state or ("stopped, ratings kept" if p.stopped == "keep" else "stopped, ratings erased")
        print(f"{p.id:12} {p.via:5} {p.done:4}/{len(p.plan):<4}  {state}")
    complete = sum(p.stage == "done" for p in people)
    print(f"{len(people)} invited, {sum(p.done > 0 for p in people)} have begun, {complete} complete")
    return 0
