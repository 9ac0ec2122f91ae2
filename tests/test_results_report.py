"""The report's command line: what it writes, what it says, and the status it exits with."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image
from test_results_fabricated import fabricate, fabricate_strips
from test_results_tables import ODD

from results import report, strips

ROOT = Path(__file__).resolve().parent.parent
TWO = ("ssim_wang_rgb", "lmd_mouth_dlib")


class Page(HTMLParser):
    """Collects tags and checks that they nest."""

    VOID = ("meta", "img", "br", "wbr", "link", "hr")

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.text = [], [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)

    def attributes(self, tag, name):
        return [attrs[name] for found, attrs in self.tags if found == tag and name in attrs]


@pytest.fixture(scope="module")
def complete(tmp_path_factory):
    """A folder of complete runs and the folder of the report made from them."""
    folder = tmp_path_factory.mktemp("report")
    for name, kind, gain in (("fctfg", "method", 1.0), (ODD, "method", 0.0), ("still", "control", -0.5)):
        out = fabricate(
            folder / "runs" / f"{kind}{gain}", name, kind=kind, gain=gain, metrics=TWO, seed=int(gain * 2) + 1
        )
        fabricate_strips(out)
    status = report.main([str(folder / "runs"), "--out", str(folder / "out"), "--strips", "3"])
    assert status == 0
    return folder


def test_everything_promised_is_written(complete):
    files = sorted(str(path.relative_to(complete / "out")) for path in (complete / "out").rglob("*") if path.is_file())
    plots = [f"table1_files/voxceleb2-puppets-{kind}.png" for kind in ("differences", "intervals", "scatter")]
    pictures = [name for name in files if "/strips/" in name]
    assert [name for name in files if name not in pictures] == [
        *("table1.csv", "table1.html", "table1.md", "table1.tex", "table1_files/paired.csv"),
        *plots,
    ]
    assert len(pictures) == 3 * (1 + 3)


def test_the_page_is_well_formed_asks_nobody_and_finds_its_pictures(complete):
    text = (complete / "out/table1.html").read_text()
    assert text.startswith("<!doctype html>")
    page = Page(text)
    for address in page.attributes("img", "src") + page.attributes("a", "href"):
        assert address.startswith("#") or (complete / "out" / address).is_file()
    assert not re.search(r"https?:|//[a-z]|@import|url\(", text)
    assert "script" not in [tag for tag, _ in page.tags]
    assert all(page.attributes("img", "alt"))
    anchors = {address[1:] for address in page.attributes("a", "href") if address.startswith("#")}
    assert anchors <= {attrs.get("id") for _, attrs in page.tags}


def test_the_page_escapes_what_runs_say(complete):
    text = (complete / "out/table1.html").read_text()
    assert "<c>" not in text
    assert "&lt;c&gt;" in text
    assert ODD in "".join(Page(text).text)


def test_the_page_tells_what_was_run_and_how_to_repeat_it(complete):
    said = "".join(Page((complete / "out/table1.html").read_text()).text)
    for expected in (
        "python -m protocols.voxceleb2 --method fctfg",
        "python -m results.report",
        "torch 2.13.0",
        "0123456789abcdef",
        "SSIM with a Gaussian window of 11 on RGB",
        "as printed",
        "procedurally drawn heads",
        "Complete: every expected clip",
    ):
        assert expected in said


def test_the_pictures_of_a_clip_end_together(complete):
    (block,) = (complete / "out/table1_files/strips").iterdir()
    clips = list(block.iterdir())
    assert len(clips) == 3
    for clip in clips:
        sizes = {path.stem: Image.open(path).size for path in clip.iterdir()}
        width, height = sizes.pop("driving")
        assert {(w + height, h) for w, h in sizes.values()} == {(width, height)}


def test_the_same_runs_give_the_same_bytes(complete, tmp_path):
    assert report.main([str(complete / "runs"), "--out", str(tmp_path), "--strips", "3"]) == 0
    for path in (complete / "out").rglob("*"):
        if path.is_file():
            assert path.read_bytes() == (tmp_path / path.relative_to(complete / "out")).read_bytes()


def test_missing_clips_are_said_on_the_face_and_by_the_status(tmp_path, capsys):
    fabricate(tmp_path / "run", failed=[1], missing=[2], metrics=(*TWO, "lse_c_official"))
    arguments = [str(tmp_path / "run"), "--out", str(tmp_path / "out"), "--name", "mine"]
    assert report.main(arguments) == 1
    out, err = capsys.readouterr()
    assert "INCOMPLETE: 10 of 12 clips scored: fctfg" in out
    assert "10 of 12 clips scored, 1 failed, 1 not run; the first is id00000/vox/00001 (lse_c_official: no face" in err
    assert "--allow-missing" in err
    page = Page((tmp_path / "out/mine.html").read_text())
    said = "".join(page.text)
    assert "INCOMPLETE: 10 of 12" in said
    assert "no face track of 7 frames or more" in said
    assert "no row: the clip has not been run" in said
    assert report.main([*arguments, "--allow-missing"]) == 0
    assert "INCOMPLETE: 10 of 12" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["absent"], "absent: no such folder"),
        (["."], "no run.json in it or below"),
        (["run", "--baseline", "nobody"], "--baseline nobody: no such method among the runs; there are fctfg"),
        (["run", "--name", "a/b"], "--name a/b"),
        (["run", "--draws", "7"], "--draws 7"),
        (["run", "other"], "different lists"),
        (["broken"], "broken/run.json: not JSON"),
        (["run", "--out", "run/run.json"], "Not a directory; check --out"),
    ],
)
def test_unusable_arguments_are_one_line_and_status_2(tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    if arguments == ["."]:
        monkeypatch.chdir(tmp_path / "empty")
    fabricate(tmp_path / "run", metrics=TWO, speakers=2, clips=1)
    fabricate(tmp_path / "other", "other", metrics=TWO, speakers=2, clips=1, list_version=2)
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken/run.json").write_text("{")
    assert report.main(arguments) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("arguments", [[], ["run", "--strips", "-1"], ["run", "--unknown"]])
def test_arguments_that_do_not_parse_are_one_line_and_status_2(capsys, arguments):
    with pytest.raises(SystemExit) as caught:
        report.main(arguments)
    assert caught.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_mixed_lists_are_shown_only_when_asked_for(tmp_path, capsys):
    fabricate(tmp_path / "a", "a", metrics=TWO, speakers=2, clips=1)
    fabricate(tmp_path / "b", "b", metrics=TWO, speakers=2, clips=1, list_version=2)
    assert report.main([str(tmp_path), "--out", str(tmp_path / "out"), "--allow-mixed"]) == 0
    assert "MIXED: VoxCeleb2 (puppets): different lists of clips" in capsys.readouterr().out
    assert "MIXED: VoxCeleb2" in (tmp_path / "out/table1.html").read_text()


def test_a_broken_strip_does_not_stop_the_report(tmp_path):
    out = fabricate(tmp_path / "run", metrics=TWO, speakers=1, clips=1)
    fabricate_strips(out)
    next((out / "strips").rglob("00000.jpg")).write_bytes(b"no picture")
    assert report.main([str(out), "--out", str(tmp_path / "out")]) == 0
    assert "the picture cannot be read" in (tmp_path / "out/table1.html").read_text()


def test_strips_are_spread_over_the_list(tmp_path):
    clips = [f"c{i}" for i in range(10)]
    assert strips._spread(clips, 3) == ["c0", "c3", "c6"]
    assert strips._spread(clips, 20) == clips
    assert strips._spread(clips, 0) == []


def test_file_names_are_plain_and_distinct():
    names = ["a/b", "a_b", "A_b", "a b", "", "..", "x" * 300, "ü"]
    made = [strips.file_name(name) for name in names]
    assert len({name.lower() for name in made}) == len(names)
    assert all(re.fullmatch(r"[a-z0-9_][a-z0-9._-]*", name) and len(name) < 100 for name in made)
    assert strips.file_name("pc_avs") == "pc_avs"


def test_help_is_quick_and_teaches():
    started = time.perf_counter()
    done = subprocess.run([sys.executable, "-m", "results.report", "--help"], cwd=ROOT, capture_output=True, text=True)
    assert time.perf_counter() - started < 1.0  # 0.05 s on an idle machine
    assert done.returncode == 0
    for word in ("examples:", "exit status:", "written to --out:", "--allow-missing"):
        assert word in done.stdout


def test_importing_the_command_line_imports_nothing_heavy():
    code = (
        "import sys, results.report, results.rows, results.runs; results.report.parser();"
        "print([m for m in ('numpy', 'pandas', 'matplotlib', 'jinja2', 'PIL', 'torch', 'scipy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_results_imports_nothing_of_ours_and_no_torch(tmp_path):
    out = fabricate(tmp_path / "run", metrics=TWO, speakers=2, clips=1)
    code = (
        f"import sys; from results import report; report.main([{str(out)!r}, '--out', {str(tmp_path / 'out')!r}]);"
        "print([m for m in ('torch', 'scipy', 'fctfg', 'metrics', 'baselines', 'protocols') if m in sys.modules],"
        " file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stderr.strip().splitlines()[-1] == "[]"


def test_a_closed_pipe_is_no_error(tmp_path):
    out = fabricate(tmp_path / "run", metrics=TWO, speakers=2, clips=1)
    command = f"{sys.executable} -m results.report {out} --out {tmp_path / 'out'} | true"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], cwd=ROOT, capture_output=True, text=True)
    assert "Traceback" not in done.stderr
