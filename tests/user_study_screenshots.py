"""Takes a picture of every page of a study, wide and narrow: look at them after a change of protocols/user_study/pages.

    python tests/user_study_screenshots.py STUDY PICTURES

STUDY is a built study (its participants grow by a few; use a copy). Needs playwright and a Chromium on the PATH.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import sys
import tempfile
from pathlib import Path

import study_browser

from protocols.user_study import store
from protocols.user_study.__main__ import main as command
from protocols.user_study.study import load

SIZES = {"wide": (1280, 800), "narrow": (390, 844)}


def main(argv: list[str] | None = None) -> int:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("study", type=Path)
    p.add_argument("pictures", type=Path)
    args = p.parse_args(argv)
    args.pictures.mkdir(parents=True, exist_ok=True)
    with study_browser.serving(args.study) as server, study_browser.browser() as browser:
        for name, (width, height) in SIZES.items():
            context = browser.new_context(
                viewport={"width": width, "height": height}, has_touch=name == "narrow", is_mobile=name == "narrow"
            )
            take(context, args, server.url, name)
            context.close()
    print(*sorted(args.pictures.glob("*.png")), sep="\n")
    return 0


def take(context, args, url: str, size: str) -> None:
    """Every page at one size."""
    opened = store.Store(load(args.study))
    link, other, last = (f"{url}/s/{token}" for _, token in opened.add(3, "link"))
    finish(opened, last.rpartition("/")[2])
    opened.close()
    page = context.new_page()
    rater = study_browser.Rater(page, lambda item, question: 4)

    def picture(name: str, whole: bool = True) -> None:
        page.wait_for_timeout(250)
        page.screenshot(path=args.pictures / f"{name}-{size}.png", full_page=whole)

    rater.open(link)
    picture("1-consent")
    page.check("#agree")
    page.click("#consent-form button")
    picture("2-prepare")
    page.click('[data-tones="2"]')
    picture("3-prepare-wrong")
    page.click('[data-tones="3"]')
    page.click("#ready")
    page.wait_for_function("() => document.querySelector('#frame video').readyState === 4")
    picture("4-rate-before")
    rater.start()
    page.wait_for_timeout(600)
    picture("5-rate-playing")
    page.wait_for_selector("#rating-form fieldset:enabled", timeout=60000)
    picture("6-rate-open")
    for key in "42":  # the third scale then shows where the keyboard is
        page.keyboard.press(key)
    picture("7-rate-half")
    rater.choose(rater.item())
    picture("8-rate-ready")
    page.click("#leave")
    picture("9-stop", whole=False)
    page.click("#stop-keep")
    picture("10-stopped")
    page.click("#erase-stopped")
    picture("11-erase", whole=False)
    page.click("#erase-yes")
    picture("12-erased")
    rater.open(last)
    picture("13-done")
    rater.open(f"{url}/s/{'x' * 43}")
    picture("14-unknown-link")
    context.set_offline(False)
    rater.open(other)
    context.set_offline(True)
    page.check("#agree")
    page.click("#consent-form button")
    page.wait_for_selector("#trouble:visible")
    picture("15-no-connection", whole=False)
    context.set_offline(False)
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        command(["export", str(args.study), f"{folder}/out", "--participants", "1"])
        rater.open(Path(folder, "out/index.html").as_uri())
        picture("16-code")


def finish(opened: store.Store, token: str) -> None:
    """A participant who has rated everything."""
    who = opened.by_token(token)
    opened.consent(who.number)
    for item in who.plan:
        opened.rate(who.number, store.Answer(item, {q["name"]: 3 for q in opened.study.questions}, 1.0, 9.0))


if __name__ == "__main__":
    sys.exit(main())
