"""``serve``: the web application under uvicorn, one process, until SIGTERM or Ctrl-C."""

from __future__ import annotations

import argparse
import signal
import socket
import sys
from pathlib import Path
from urllib.parse import urlsplit

from protocols.user_study.store import Store
from protocols.user_study.study import StudyError, load

BACKLOG = 1024
LOOPBACK = ("127.0.0.1", "localhost", "::1")


def add_arguments(p: argparse.ArgumentParser) -> None:
    p.add_argument("study", type=Path, metavar="STUDY")
    p.add_argument("--host", default="127.0.0.1", help="address to bind to (default %(default)s: this machine only)")
    p.add_argument("--port", type=int, default=8000, help="0 takes a free one (default %(default)s)")
    p.add_argument(
        "--base-url", metavar="URL", help="the address that participants see, where a reverse proxy stands in front"
    )


def run(args: argparse.Namespace) -> int:
    """Serve until stopped: requests under way are answered, then the database is closed."""
    try:
        import uvicorn

        from protocols.user_study import app
    except ImportError as error:
        raise StudyError(f"{error.name} is missing; install it with pip install 'fctfg[study]'") from None
    study = load(args.study)
    store = Store(study)
    hosts, origins = _hosts(args)
    if args.host not in LOOPBACK and not args.base_url:
        print(
            f"warning: {args.host} is open to the network, without encryption: links and ratings can be read on the "
            "way. Put a reverse proxy with TLS in front, bind to loopback and give --base-url (docs/user-study.md).",
            file=sys.stderr,
        )
    listening = _bind(args.host, args.port)
    config = uvicorn.Config(
        app.create(study, store, hosts=hosts, origins=origins),
        access_log=False,  # it would keep addresses and links
        log_level="warning",
        server_header=False,
        lifespan="off",
        limit_concurrency=1000,
        backlog=BACKLOG,
        timeout_keep_alive=15,
        timeout_graceful_shutdown=10,
        h11_max_incomplete_event_size=16384,
        ws="none",
        http="h11",
    )
    name = f"[{args.host}]" if ":" in args.host else args.host
    people = store.participants()
    print(f"serving {study.record['title']} on http://{name}:{listening.getsockname()[1]}", file=sys.stderr, flush=True)
    if not people:
        print(f"nobody is invited yet: python -m protocols.user_study invite {args.study} N", file=sys.stderr)
    # uvicorn stops in order on either signal and then raises it again: both end here, as Ctrl-C does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        uvicorn.Server(config).run([listening])
    except KeyboardInterrupt:
        pass
    finally:
        store.close()
    print("stopped; every acknowledged rating is kept", file=sys.stderr)
    return 0


def _hosts(args: argparse.Namespace) -> tuple[frozenset[str] | None, frozenset[str]]:
    """(host names that are answered, or None for any; origins besides that of the Host header)."""
    names, origins = set(LOOPBACK), set()
    if args.base_url:
        parts = urlsplit(args.base_url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise StudyError(f"--base-url {args.base_url}: give an address like https://study.example.org")
        if parts.path not in ("", "/"):
            raise StudyError(f"--base-url {args.base_url}: the study needs a host name of its own, without a path")
        names.add(parts.hostname)
        origins.add(f"{parts.scheme}://{parts.netloc}")
    elif args.host not in LOOPBACK:
        return None, frozenset()
    return frozenset(names), frozenset(origins)


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With the protocol named, asyncio turns Nagle's algorithm off; without, every answer waits 40 ms for an ACK.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
        listening.listen(BACKLOG)  # now: until somebody listens, SO_REUSEADDR lets a second server bind, too
    except (OSError, OverflowError) as error:
        listening.close()
        raise StudyError(f"{host}:{port}: cannot be bound ({error}); give another --port or --host") from None
    return listening
