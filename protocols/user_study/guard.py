"""What stands between the network and the pages: headers, hosts, sizes, rates, origins."""

from __future__ import annotations

import asyncio
import json
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from protocols.user_study.limits import Limits

LARGEST_BODY = 4096  # bytes; an answer takes some 200
BODY_SECONDS = 10
#: the page's own files and nothing else: no inline script or style, no frame, no third party
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; media-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=(), interest-cohort=()",
    "X-Robots-Tag": "noindex, nofollow",
}


class Refused(Exception):
    """A request that is not answered; ``status`` is the HTTP status, the message one line."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class Guard:
    """ASGI middleware: a bounded rate, known hosts only, and the headers on every response.

    ``hosts`` None takes any Host; a server on loopback takes only its own names, so that no foreign page can reach it
    under a name of its own (DNS rebinding).
    """

    def __init__(self, app: ASGIApp, limits: Limits, hosts: frozenset[str] | None) -> None:
        self.app, self.limits, self.hosts = app, limits, hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def send_with_headers(message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        app = self.app
        if self.hosts is not None and _host_name(Headers(scope=scope).get("host", "")) not in self.hosts:
            app = PlainTextResponse("unknown host", 421)
        elif not self.limits.any_request():
            app = PlainTextResponse("busy; try again in a moment", 429, {"Retry-After": "2"})
        await app(scope, receive, send_with_headers)


def check_origin(request: Request, origins: frozenset[str]) -> None:
    """Let only the study's own page change anything: browsers say where a request comes from. Raises Refused.

    The origin is that of the Host header or one of ``origins`` (the address that participants see, behind a proxy).
    """
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    if site is None and origin is None:
        raise Refused(403, "the request does not say which page it comes from")
    if site not in (None, "same-origin"):
        raise Refused(403, "the request comes from another site")
    if origin is not None and origin not in origins and not _is_of_host(origin, request.headers.get("host", "")):
        raise Refused(403, "the request comes from another origin")


async def read_json(request: Request) -> object:
    """A small JSON body. Raises Refused: another type, too large, too slow, not JSON."""
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        raise Refused(415, "send application/json")
    length = request.headers.get("content-length", "0")
    if not length.isdigit() or int(length) > LARGEST_BODY:
        raise Refused(413, "the body is too large")
    body = b""
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for piece in request.stream():
                body += piece
                if len(body) > LARGEST_BODY:
                    raise Refused(413, "the body is too large")
    except TimeoutError:
        raise Refused(408, "the body took too long") from None
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise Refused(400, "the body is not JSON") from None


def _is_of_host(origin: str, host: str) -> bool:
    return origin in (f"http://{host}", f"https://{host}")


def _host_name(host: str) -> str:
    """The name in a Host header, without the port; "" for what is none."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""
