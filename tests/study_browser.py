"""A study's server as a process of its own, and raters in a real browser."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


class Server:
    """``python -m protocols.user_study serve`` on a free port of loopback."""

    def __init__(self, study: Path, *options: str) -> None:
        command = [sys.executable, "-m", "protocols.user_study", "serve", str(study), "--port", "0", *options]
        self.process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
        line = self.process.stderr.readline()
        found = re.search(r"http://\S+:(\d+)", line)
        assert found, line + self.process.stderr.read()
        self.port = int(found[1])
        self.url = f"http://127.0.0.1:{self.port}"
        # The line stands before the first request can be answered, and before signals are handled.
        with contextlib.suppress(urllib.error.HTTPError):
            urllib.request.urlopen(self.url, timeout=20).close()

    def kill(self) -> None:
        """SIGKILL: no handler runs, nothing is flushed."""
        self.process.kill()
        self.process.wait()
        self.process.stderr.close()

    def stop(self) -> str:
        """SIGTERM; what it said from then on."""
        self.process.terminate()
        said = self.process.communicate(timeout=20)[1]
        assert self.process.returncode == 0, said
        return said


@contextlib.contextmanager
def serving(study: Path, *options: str) -> Iterator[Server]:
    server = Server(study, *options)
    try:
        yield server
    finally:
        if server.process.poll() is None:
            server.stop()


@contextlib.contextmanager
def browser() -> Iterator:
    """Headless Chromium of this machine; the test is skipped where it, or playwright, is absent."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        pytest.skip(f"no browser on this machine (looked for {', '.join(BROWSERS)})")
    options = ["--mute-audio", "--autoplay-policy=user-gesture-required"]
    if os.geteuid() == 0:
        options.append("--no-sandbox")
    with playwright.sync_playwright() as p:
        started = p.chromium.launch(executable_path=path, args=options)
        try:
            yield started
        finally:
            started.close()


class Rater:
    """Takes part with the mouse. ``opinion``: item -> question -> rating. Notes what the console complains of."""

    def __init__(self, page, opinion: Callable[[str, str], int]) -> None:
        self.page, self.opinion, self.complaints, self.asked = page, opinion, [], set()
        page.set_default_timeout(15000)
        page.on("console", lambda m: self.complaints.append(m.text) if m.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", lambda request: self.asked.add(request.url))

    def open(self, link: str) -> None:
        self.page.goto(link)

    def begin(self) -> None:
        """Consent and the sound check."""
        self.page.check("#agree")
        self.page.click("#consent-form button")
        self.prepare()

    def prepare(self) -> None:
        self.page.wait_for_selector("#prepare:visible")
        self.page.click('[data-tones="3"]')
        self.page.click("#ready")

    def until(self, script: str) -> None:
        """Wait until ``script`` is true in the page. Asked from outside: the page's own policy forbids evaluation."""
        for _ in range(300):
            if self.page.evaluate(script):
                return
            self.page.wait_for_timeout(50)
        raise AssertionError(f"never true: {script}")

    def at(self, number: int) -> None:
        """Wait until video ``number`` (1, 2, ...) is on the screen."""
        self.page.wait_for_selector(f'#count:text-matches("^{number} of")')

    def item(self) -> str:
        """The item on the screen."""
        return self.page.get_attribute("#frame video:not(.waiting)", "data-item")

    def start(self) -> None:
        """Begin to play this video."""
        self.page.wait_for_selector("#rate:visible")
        self.page.click("#play")

    def watch(self) -> str:
        """Play this video to its end; its item."""
        self.start()
        item = self.item()
        self.page.wait_for_selector("#rating-form fieldset:enabled")
        return item

    def choose(self, item: str) -> None:
        for question in ("lip_sync", "head_movement", "overall"):
            self.page.check(f'input[name="{question}"][value="{self.opinion(item, question)}"]', force=True)

    def rate(self) -> str:
        """Watch, rate, send, and wait until it is acknowledged; the item."""
        self.start()
        return self.finish()

    def finish(self) -> str:
        """The rest of :meth:`rate` after :meth:`start`."""
        item = self.item()
        self.page.wait_for_selector("#rating-form fieldset:enabled")
        self.choose(item)
        with self.page.expect_response(lambda r: r.url.endswith("/rating")) as response:
            self.page.click("#send")
        assert response.value.status == 200
        return item
