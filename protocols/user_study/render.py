"""The pages, rendered. Server and exported folder share one template, one style sheet and one script."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

from protocols.user_study.store import Participant
from protocols.user_study.study import Study

FOLDER = Path(__file__).parent / "pages"
#: name -> content type; nothing else of the folder is ever served
ASSETS = {"study.css": "text/css; charset=utf-8", "study.js": "text/javascript; charset=utf-8"}


def asset(name: str) -> bytes:
    return (FOLDER / name).read_bytes()


def study_page(study: Study, start: dict, *, assets: str, policy: str | None = None) -> str:
    """The study's page. ``start``: what the script begins with; ``assets``: where the style sheet and script lie."""
    count, minutes = study.session
    return _template("study.html").render(
        record=study.record,
        minutes=minutes,
        count=count,
        start=json.dumps(start, ensure_ascii=True).replace("<", "\\u003c"),
        assets=assets,
        policy=policy,
        in_files=start["mode"] == "file",
    )


def message(title: str, text: str, assets: str = "/assets") -> str:
    """A page with nothing but a message."""
    return _template("message.html").render(title=title, text=text, assets=assets)


def settings(study: Study) -> dict:
    """What the script must know of the study beside the participant's state."""
    return {
        "study": study.id,
        "questions": [question["name"] for question in study.questions],
        "tones": study.record["settings"]["tones"],
    }


def video(study: Study, item_id: str) -> dict:
    """What the script must know of one item: nothing that tells one method from another."""
    item = study.items[item_id]
    return {"item": item.id, "media": item.media, "reference": item.reference, "seconds": item.seconds}


def state(study: Study, who: Participant) -> dict:
    """A participant's state for the script: the stage, the progress, this video and the next."""
    coming = who.plan[who.done : who.done + 2] if who.stage == "rate" else ()
    return {
        "stage": who.stage,
        "done": who.done,
        "total": len(who.plan),
        "stopped": who.stopped,
        "coming": [video(study, item) for item in coming],
    }


@cache
def _template(name: str):
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name)
