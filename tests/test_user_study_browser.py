"""The study in real headless Chromium: twelve automatic raters, the keyboard alone, reloads, tabs, a lost server."""

from __future__ import annotations

import json
import random
import re

import pytest
import study_browser
import study_runs

from protocols.user_study import store
from protocols.user_study.__main__ import main
from protocols.user_study.study import Study, load
from results import opinion

QUESTIONS = ("lip_sync", "head_movement", "overall")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return study_runs.runs(tmp_path_factory.mktemp("runs"), ("reencode", "alpha", "beta"), count=25)


@pytest.fixture(scope="module")
def built(runs, tmp_path_factory):
    """The smallest study there is: three clips of two methods, no checks."""
    root = tmp_path_factory.mktemp("study")
    return study_runs.study(root, runs[:2], "--desync", "0", "--repeats", "0", videos=3)


@pytest.fixture(scope="module")
def chromium():
    with study_browser.browser() as started:
        yield started


@pytest.fixture
def study(built, tmp_path):
    """The study with a database of its own."""
    (tmp_path / "media").symlink_to(built.folder / "media")
    (tmp_path / "study.json").write_text(json.dumps(built.record))
    return Study(tmp_path, built.record)


@pytest.fixture
def server(study):
    with study_browser.serving(study.folder) as started:
        yield started


@pytest.fixture
def rater(study, server, chromium, capsys):
    """A rater at the first page of their link."""
    context = chromium.new_context(viewport={"width": 1280, "height": 800})
    rater = study_browser.Rater(context.new_page(), lambda item, question: 1 + QUESTIONS.index(question))
    rater.open(link(study, server.url))
    yield rater
    context.close()


def link(study, url, count=1):
    opened = store.Store(study)
    tokens = [token for _, token in opened.add(count, "link")]
    opened.close()
    links = [f"{url}/s/{token}" for token in tokens]
    return links[0] if count == 1 else links


def given(study):
    """What the database holds: (item, ratings in the order of the questions)."""
    table = store.ratings(study)
    wide = table.pivot(index="item", columns="question", values="rating")
    return {item: tuple(int(wide.loc[item, q]) for q in QUESTIONS) for item in table["item"].drop_duplicates()}


def test_the_keyboard_alone_is_enough(rater, study):
    page, press = rater.page, rater.page.keyboard.press

    def focus():
        return page.evaluate("document.activeElement.id || document.activeElement.name")

    def tab_to(target):
        for _ in range(12):
            press("Tab")
            if focus() == target:
                # the ring that shows where the keyboard is
                assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"
                return
        raise AssertionError(f"no way to {target} by Tab")

    tab_to("agree")
    press("Space")
    press("Tab")
    press("Enter")
    page.wait_for_selector("#prepare:visible")
    tab_to("play-tones")
    press("Enter")
    for _ in range(3):
        press("Tab")
    press("Enter")  # three tones
    assert focus() == "ready"
    press("Enter")
    keys = random.Random(1)
    expected = {}
    for number in range(6):
        rater.at(number + 1)
        assert focus() == "play"
        item = rater.item()
        press("3")  # nothing yet: the video has not been seen
        press("Enter")
        page.wait_for_selector("#rating-form fieldset:enabled")
        assert focus() == "lip_sync"
        wanted = [keys.randint(1, 5) for _ in QUESTIONS]
        if number == 0:  # as radio buttons, by arrow keys
            for rating in wanted:
                press("Space")
                for _ in range(rating - 1):
                    press("ArrowRight")
                press("Tab")
        else:
            for rating in wanted:
                press(str(rating))
        assert focus() == "send"
        press("Enter")
        expected[item] = tuple(wanted)
    page.wait_for_selector("#done:visible")
    assert given(study) == expected
    assert not rater.complaints


def test_reload_second_tab_and_double_click_lose_and_double_nothing(rater, study):
    rater.begin()
    first = rater.rate()
    rater.page.reload()
    second = rater.watch()
    assert second != first
    rater.choose(second)
    rater.page.reload()  # a half answered page is as if it had not been answered
    assert rater.item() == second
    assert rater.page.is_disabled("#send")
    tab = study_browser.Rater(rater.page.context.new_page(), lambda item, question: 5)
    tab.open(rater.page.url)
    assert tab.item() == second
    rater.watch()
    rater.choose(second)
    tab.watch()
    tab.choose(second)
    rater.page.dblclick("#send")
    rater.at(3)
    tab.page.click("#send")  # refused: the first answer stands, and the tab catches up
    tab.at(3)
    assert tab.item() == rater.item()
    assert given(study) == {first: (1, 2, 3), second: (1, 2, 3)}
    assert not [c for c in rater.complaints + tab.complaints if "409" not in c]


def test_a_server_that_dies_loses_no_answer(rater, study, server):
    rater.begin()
    item = rater.watch()
    rater.choose(item)
    server.kill()
    rater.page.click("#send")
    rater.page.wait_for_selector("#trouble:visible")
    assert "Nothing is lost" in rater.page.inner_text("#trouble")
    with study_browser.serving(study.folder, "--port", str(server.port)):
        rater.at(2)
        assert rater.page.is_hidden("#trouble")
    assert given(study) == {item: (1, 2, 3)}


def test_the_next_video_is_there_before_it_is_asked_for(rater, study):
    rater.begin()
    rater.watch()
    rater.until("document.querySelectorAll('#frame video').length === 2")
    rater.until("document.querySelector('#frame video.waiting').readyState === 4")
    ahead = rater.page.get_attribute("#frame video.waiting", "data-item")
    rater.choose(rater.item())
    rater.page.click("#send")
    rater.at(2)
    assert rater.item() == ahead
    host = rater.page.url.split("/s/")[0]
    assert all(url.startswith((host, "data:")) for url in rater.asked)  # no third party


def test_the_sound_check_wants_the_right_number(rater):
    rater.page.check("#agree")
    rater.page.click("#consent-form button")
    rater.page.click('[data-tones="2"]')
    assert "not the number" in rater.page.inner_text("#tones-answer")
    assert rater.page.is_disabled("#ready")
    rater.page.click('[data-tones="3"]')
    assert rater.page.is_enabled("#ready")


def test_stopping_and_what_becomes_of_the_ratings(rater, study):
    rater.begin()
    rater.rate()
    rater.page.click("#leave")
    rater.page.keyboard.press("Escape")
    assert rater.page.is_visible("#rate")
    rater.page.click("#leave")
    rater.page.click("#stop-keep")
    rater.page.wait_for_selector("#stopped:visible")
    assert len(given(study)) == 1
    rater.page.click("#erase-stopped")
    rater.page.click("#erase-yes")
    rater.page.wait_for_selector("#stopped-erase:visible")
    assert store.ratings(study).empty
    rater.page.reload()
    rater.page.wait_for_selector("#stopped-erase:visible")


def test_names_roles_and_contrast(rater):
    """What a screen reader is told, and colours that can be read (WCAG 2.2 AA)."""
    page = rater.page
    assert contrast(page, "#consent .kicker") >= 4.5
    assert contrast(page, "#consent-form button") >= 4.5
    rater.begin()
    tree = page.locator("body").aria_snapshot()
    assert 'group "Lip sync quality How well do the lips move with what is said?"' in tree
    assert 'radio "1 Bad" [disabled]' in tree
    assert 'button "Play"' in tree
    assert 'progressbar "Videos rated"' in tree
    rater.watch()
    assert 'radio "5 Excellent"' in page.locator("body").aria_snapshot()
    assert page.get_by_role("status").first.inner_text() == "The video has ended. Please rate it."
    for selector in ("figcaption", ".question legend span", ".mark small", "#leave", "#count", "#play"):
        assert contrast(page, selector) >= 4.5, selector
    rater.choose(rater.item())
    assert contrast(page, "input:checked + .mark small") >= 4.5
    for width, height in ((1280, 800), (390, 844)):
        page.set_viewport_size({"width": width, "height": height})
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        boxes = [box.bounding_box() for box in page.locator(".mark, #send, #play").all()]
        assert all(box["height"] >= 44 and box["width"] >= 44 for box in boxes)


def contrast(page, selector) -> float:
    """The contrast of a text with what is behind it, by WCAG's formula."""
    found = page.evaluate(
        """selector => {
            let element = document.querySelector(selector);
            const ink = getComputedStyle(element).color;
            while (getComputedStyle(element).backgroundColor === 'rgba(0, 0, 0, 0)') element = element.parentElement;
            return [ink, getComputedStyle(element).backgroundColor];
        }""",
        selector,
    )
    light = []
    for colour in found:
        channels = [int(c) / 255 for c in re.findall(r"\d+", colour)[:3]]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        light.append(0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2] + 0.05)
    return max(light) / min(light)


PLANTED = {"reencode": 4.3, "alpha": 3.1, "beta": 1.9}


@pytest.mark.slow
def test_twelve_raters_with_known_preferences(runs, tmp_path, chromium, capsys):
    """Built, served, rated to the end by twelve; all arrives, and the analysis finds the order that was planted."""
    study = study_runs.study(tmp_path, runs, "--desync", "1", "--repeats", "1", videos=3)
    people = 12

    def opinion_of(number):
        taste = random.Random(number).gauss(0, 0.3)

        def opinion(item, question):
            entry = study.items[item]
            seen = entry.repeats or item
            if entry.kind == "desync":
                return {"lip_sync": 1, "head_movement": 4, "overall": 3}[question]
            noise = random.Random(f"{number}{seen}{question}").gauss(0, 0.4)
            return min(5, max(1, round(PLANTED[entry.method] + taste + noise)))

        return opinion

    with study_browser.serving(study.folder) as server:
        raters = []
        for number, address in enumerate(link(study, server.url, people)):
            context = chromium.new_context()
            raters.append(study_browser.Rater(context.new_page(), opinion_of(number)))
            raters[-1].open(address)
            raters[-1].begin()
        for _ in range(11):  # all videos play at the same time
            for rater in raters:
                rater.start()
            for rater in raters:
                rater.finish()
        for rater in raters:
            rater.page.wait_for_selector("#done:visible")
            assert not rater.complaints
            rater.page.context.close()
    table = store.ratings(study)
    assert len(table) == people * 11 * 3
    assert table.groupby("participant")["item"].nunique().tolist() == [11] * people
    assert (table.watched >= 1).all()
    for number, name in enumerate(table.participant.drop_duplicates()):
        mine = table[table.participant == name]
        assert [opinion_of(number)(item, q) for item, q in zip(mine["item"], mine.question, strict=True)] == list(
            mine.rating
        )
        assert list(mine["item"].drop_duplicates()) == list(study.plan(number))
    assert main(["status", str(study.folder)]) == 0
    assert f"{people} invited, {people} have begun, {people} complete" in capsys.readouterr().out
    recovered(study, tmp_path / "analysis")


def recovered(study, out):
    """The analysis puts the methods in the planted order on every question, and the checks fail nobody."""
    assert main(["analyse", str(study.folder), "--out", str(out)]) == 0
    found = opinion.analyse(store.ratings(load(study.folder)), study.record)
    for question in QUESTIONS:
        means = {method: found.main.means[method, question].mean for method in PLANTED}
        assert sorted(means, key=means.get, reverse=True) == list(PLANTED)
        assert all(abs(means[method] - PLANTED[method]) < 0.6 for method in PLANTED)
