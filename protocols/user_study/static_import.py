"""``import``: the files that came back from an exported folder, checked, then kept like every other rating.

The checksum tells a file that was damaged or edited by hand. It is no signature: whoever makes up ratings on purpose
can make up a checksum, as they could have clicked them.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from pathlib import Path

from protocols.user_study.answers import TIME, BadAnswer, answer
from protocols.user_study.static_export import FORMAT
from protocols.user_study.store import ERASE, KEEP, Answer, Conflict, Participant, Store
from protocols.user_study.study import load

LARGEST_FILE = 4 << 20


class BadFile(ValueError):
    """A file that is not taken; the message is one line."""


def add_arguments(p: argparse.ArgumentParser) -> None:
    p.add_argument("study", type=Path, metavar="STUDY")
    p.add_argument("files", type=Path, nargs="+", metavar="FILE", help="ratings-CODE.json, as participants sent them")


def run(args: argparse.Namespace) -> int:
    """Take each file whole or not at all; exit 1 when one was refused. The same file again changes nothing."""
    store = Store(load(args.study))
    refused = 0
    for path in args.files:
        try:
            print(f"{path}: {take(store, path)}", file=sys.stderr)
        except BadFile as error:
            refused += 1
            print(f"{path}: refused: {error}", file=sys.stderr)
    store.close()
    if refused:
        print(f"{refused} of {len(args.files)} files refused; nothing of them was kept", file=sys.stderr)
    return 1 if refused else 0


def take(store: Store, path: Path) -> str:
    """Keep what one file holds; a line on what it came to. Raises BadFile, and then nothing of it is kept."""
    record = _record(path)
    who = _participant(store, record)
    answers = [_answer(store, who, value) for value in record["answers"]]
    if [given.item for given in answers] != list(who.plan[: len(answers)]):
        raise BadFile(f"its videos are not those of {who.id}, in their order; ask for the file again")
    if who.stopped == ERASE:
        raise BadFile(f"{who.id} had their ratings deleted")
    with store.transaction():
        if record["stopped"] == ERASE:
            store.stop(who.number, ERASE)
            return f"{who.id}: ratings deleted, as they asked"
        if answers:
            store.consent(who.number, record["consented_at"])
        try:
            for given in answers:
                if who.stopped and given.item in who.plan[who.done :]:
                    raise Conflict("more ratings after an earlier file said that they had stopped")
                store.rate(who.number, given)
        except Conflict as error:
            raise BadFile(f"another file of {who.id} says otherwise ({error}); keep one of the two") from None
        if record["stopped"] == KEEP:
            store.stop(who.number, KEEP)
    new = max(0, len(answers) - who.done)
    whole = "complete" if len(answers) == len(who.plan) else f"{len(answers)} of {len(who.plan)}"
    return f"{who.id}: {new} new videos, {len(answers) - new} known before ({whole})"


def _record(path: Path) -> dict:
    """The record inside a file, its frame and checksum in order."""
    try:
        with open(path, "rb") as opened:
            content = opened.read(LARGEST_FILE + 1)
    except OSError as error:
        raise BadFile(f"cannot be read ({error.strerror})") from None
    if len(content) > LARGEST_FILE:
        raise BadFile("is too large to be a file of ratings")
    try:
        file = json.loads(content)
    except (ValueError, RecursionError):
        raise BadFile("is not JSON; ask for the file again") from None
    if not isinstance(file, dict) or file.get("format") != FORMAT or not isinstance(file.get("record"), str):
        raise BadFile("is not a file of ratings from an exported study")
    if file.get("schema") != 1:
        raise BadFile(f"has schema {file.get('schema')}, this version reads 1")
    if hashlib.sha256(file["record"].encode("utf-8", "surrogatepass")).hexdigest() != file.get("sha256"):
        raise BadFile("was edited or damaged (its checksum does not match); ask for the file again")
    try:
        record = json.loads(file["record"])
    except (ValueError, RecursionError):
        raise BadFile("holds no record; ask for the file again") from None
    if not isinstance(record, dict) or set(record) != {"study", "participant", "consented_at", "stopped", "answers"}:
        raise BadFile("holds a record of another form")
    if not isinstance(record["answers"], list) or record["stopped"] not in (None, KEEP, ERASE):
        raise BadFile("holds a record of another form")
    consented = record["consented_at"]
    if not (isinstance(consented, str) and TIME.fullmatch(consented)):
        raise BadFile("was saved without consent")
    return record


def _participant(store: Store, record: dict) -> Participant:
    if record["study"] != store.study.id:
        raise BadFile("belongs to another study")
    who = store.by_id(record["participant"]) if isinstance(record["participant"], str) else None
    if who is None or who.via != "file":
        raise BadFile("is of a participant whom no export of this study made")
    return who


def _answer(store: Store, who: Participant, value: object) -> Answer:
    try:
        given = answer(value, store.study, timed=True)
    except BadAnswer as error:
        raise BadFile(f"holds a rating that the page cannot give: {error}") from None
    if given.item not in who.plan:
        raise BadFile(f"rates a video that {who.id} was not to see ({given.item})")
    return given
