"""The web application: one page for each participant's link, its videos, and three things that can be sent.

    GET  /s/<token>                  the page, at the participant's present state
    GET  /s/<token>/state            that state alone
    GET  /s/<token>/media/<name>     a video of the participant's own plan
    POST /s/<token>/consent          {}
    POST /s/<token>/rating           {"item", "ratings", "watched", "seconds"}
    POST /s/<token>/stop             {"ratings": "keep" | "erase"}

A POST is answered with the new state, after it is on disk; where it does not fit the present state, with 409 and that
state, so that a second tab catches up. study.json and the database lie outside everything that is served.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from protocols.user_study import render
from protocols.user_study.answers import BadAnswer, answer
from protocols.user_study.guard import Guard, Refused, check_origin, read_json
from protocols.user_study.limits import Limits
from protocols.user_study.store import ERASE, KEEP, Conflict, Participant, Store
from protocols.user_study.study import Study

_TOKEN = re.compile(r"[A-Za-z0-9_-]{22,64}")
UNKNOWN_LINK = "This link is not known. Please open the link exactly as it was sent to you."


@dataclass
class _Context:
    """What every request needs. ``media``: item -> the names of its files; ``files``: name -> path."""

    study: Study
    store: Store
    limits: Limits
    origins: frozenset[str]
    files: dict[str, Path] = field(init=False)
    media: dict[str, frozenset[str]] = field(init=False)

    def __post_init__(self) -> None:
        folder, items = self.study.folder, self.study.items.values()
        of = {item.id: [name for name in (item.media, item.reference) if name] for item in items}
        tones = self.study.record["settings"]["tones_file"]
        self.files = {Path(name).name: folder / name for names in (*of.values(), [tones]) for name in names}
        self.media = {item: frozenset(Path(name).name for name in names) for item, names in of.items()}
        self.tones = Path(tones).name


def create(
    study: Study,
    store: Store,
    *,
    limits: Limits | None = None,
    hosts: frozenset[str] | None = None,
    origins: frozenset[str] = frozenset(),
) -> Starlette:
    """The application. ``hosts``, ``origins``: see guard.Guard and guard.check_origin."""
    limits = limits or Limits()
    app = Starlette(
        routes=[
            Route("/assets/{name}", _asset),
            Route("/s/{token}", _page),
            Route("/s/{token}/state", _state),
            Route("/s/{token}/media/{name}", _media),
            Route("/s/{token}/consent", _post(_consent), methods=["POST"]),
            Route("/s/{token}/rating", _post(_rating), methods=["POST"]),
            Route("/s/{token}/stop", _post(_stop), methods=["POST"]),
        ],
        middleware=[Middleware(Guard, limits=limits, hosts=hosts)],
        exception_handlers={Refused: _refused, HTTPException: _not_found, ClientDisconnect: _gone},
    )
    app.state.context = _Context(study, store, limits, origins)
    return app


async def _asset(request: Request) -> Response:
    name = request.path_params["name"]
    if name not in render.ASSETS:
        raise Refused(404, "no such file")
    return Response(render.asset(name), media_type=render.ASSETS[name], headers={"Cache-Control": "no-cache"})


async def _page(request: Request) -> Response:
    context, who = await _known(request)
    base = f"/s/{request.path_params['token']}"
    start = render.settings(context.study) | {
        "mode": "server",
        "base": base,
        "tones_file": f"{base}/media/{context.tones}",
        "state": _seen_by(context, who, request),
    }
    return HTMLResponse(render.study_page(context.study, start, assets="/assets"))


async def _state(request: Request) -> Response:
    context, who = await _known(request)
    return JSONResponse(_seen_by(context, who, request))


async def _media(request: Request) -> Response:
    """A file of the participant's plan; FileResponse answers Range requests."""
    context, who = await _known(request)
    name = request.path_params["name"]
    allowed = name == context.tones or any(name in context.media[item] for item in who.plan)
    if not allowed or (who.stage in ("consent", "stopped") and name != context.tones):
        raise Refused(404, "no such file")
    return FileResponse(context.files[name], headers={"Cache-Control": "private, max-age=3600"})


def _post(change: Callable[[_Context, Participant, object], None]) -> Callable[[Request], Awaitable[Response]]:
    """The endpoint of a change: checks, then the change on disk, then the new state."""

    @functools.wraps(change)
    async def endpoint(request: Request) -> Response:
        context = request.app.state.context
        check_origin(request, context.origins)
        context, who = await _known(request)
        body = await read_json(request)
        status = 200
        try:
            await run_in_threadpool(change, context, who, body)
        except BadAnswer as error:
            raise Refused(422, str(error)) from None
        except Conflict:
            status = 409
        context, who = await _known(request, counted=False)
        return JSONResponse(_seen_by(context, who, request), status)

    return endpoint


def _consent(context: _Context, who: Participant, body: object) -> None:
    if body != {}:
        raise BadAnswer("consent carries nothing")
    context.store.consent(who.number)


def _rating(context: _Context, who: Participant, body: object) -> None:
    given = answer(body, context.study)
    if given.item not in who.plan:
        raise BadAnswer("no such video in this session")
    context.store.rate(who.number, given)


def _stop(context: _Context, who: Participant, body: object) -> None:
    if body not in ({"ratings": KEEP}, {"ratings": ERASE}):
        raise BadAnswer(f'say {{"ratings": "{KEEP}"}} or {{"ratings": "{ERASE}"}}')
    context.store.stop(who.number, body["ratings"])


async def _known(request: Request, counted: bool = True) -> tuple[_Context, Participant]:
    """The participant whose link it is. Raises Refused for an unknown link, or too many requests."""
    context, token = request.app.state.context, request.path_params["token"]
    who = await run_in_threadpool(context.store.by_token, token) if _TOKEN.fullmatch(token) else None
    if who is None:
        if not context.limits.unknown_link():
            raise Refused(429, "too many requests")
        raise Refused(404, UNKNOWN_LINK)
    if counted and not context.limits.participant(who.number):
        raise Refused(429, "too many requests; wait a moment")
    return context, who


def _seen_by(context: _Context, who: Participant, request: Request) -> dict:
    """The state with addresses that this participant's token opens."""
    seen, base = render.state(context.study, who), f"/s/{request.path_params['token']}"
    for entry in seen["coming"]:
        entry["media"] = f"{base}/{entry['media']}"
        entry["reference"] = entry["reference"] and f"{base}/{entry['reference']}"
    return seen


async def _refused(request: Request, error: Exception) -> Response:
    status = error.status if isinstance(error, Refused) else 500
    headers = {"Retry-After": "2"} if status == 429 else {}
    if request.method == "GET" and "text/html" in request.headers.get("accept", ""):
        title = "Page not found" if status == 404 else "One moment, please"
        return HTMLResponse(render.message(title, str(error)), status, headers)
    return JSONResponse({"error": str(error)}, status, headers)


async def _not_found(request: Request, error: Exception) -> Response:
    status = getattr(error, "status_code", 404)
    return await _refused(request, Refused(status, UNKNOWN_LINK if status == 404 else "not possible here"))


async def _gone(request: Request, error: Exception) -> Response:
    """The browser went away while it was sending: nothing was changed, and nobody reads the answer."""
    return Response(status_code=400)
