"""Blocks of puppets in every format: their own columns, the control table, its CSV, its plots and the report."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

import pytest
from test_results_control import BLOCK, FLOOR, FOLLOWS, FROZEN, example, measured, run_of
from test_results_fabricated import fabricate
from test_results_report import Page
from test_results_runs import change_run
from test_results_tables import summary_of

from results import control_plots, control_table, csv_files, formats, report, tables
from results.rows import read_run
from results.summary import further, table1


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return example(tmp_path_factory.mktemp("control"))


def test_puppets_come_after_real_blocks_and_each_block_has_its_own_columns(tmp_path):
    def puppet_values(row):
        row["metrics"] |= {"lmd_mouth_puppet": 1.5, "lse_c_puppet": 0.4321}
        return row

    for i, block in enumerate(("Puppets (MEAD layout)", BLOCK)):
        out = fabricate(
            tmp_path / str(i), block=block, metrics=("ssim_wang_rgb", "lmd_mouth_dlib"), change=puppet_values
        )
        about = {"unit": "", "definition": "by a network", "version": 1}
        own = {
            "lmd_mouth_puppet": about | {"column": "LMD (puppet)", "better": "lower"},
            "lse_c_puppet": about | {"column": "LSE-C (puppet)", "better": "higher"},
        }
        change_run(out, metrics=read_run(out)["metrics"] | own)
    fabricate(tmp_path / "v", data="sample")
    fabricate(tmp_path / "m", block="MEAD", data="full")
    summary = summary_of(tmp_path)
    assert [block.text for block in summary.blocks] == [*("VoxCeleb2 (sample)", "MEAD", BLOCK, "Puppets (MEAD layout)")]
    table = tables.means(summary, table1(summary), "Table 1")
    printed = ["n", "SSIM", "MS-SSIM", "PSNR", "LMD", "LSE-C"]
    labels = [[column.label for column in group.columns] for group in table.groups[1:]]
    assert labels == [printed, printed, ["n", "SSIM", "LMD", "LSE-C"], ["n", "SSIM", "LMD", "LSE-C"]]
    noted = [
        [column.label for column in group.columns if tables.PUPPETS_NOTE in [table.notes[i - 1] for i in column.notes]]
        for group in table.groups
    ]
    assert noted == [[], [], [], ["LMD", "LSE-C"], ["LMD", "LSE-C"]]
    lse = table.groups[3].columns[3]
    assert (lse.key, lse.decimals) == ("lse_c_puppet", 3)
    more = tables.means(summary, further(summary), "Further metrics", motions=False)
    assert [group.label for group in more.groups] == [BLOCK, "Puppets (MEAD layout)"]
    assert [column.label for column in more.groups[0].columns] == ["n", "LMD lmd_mouth_dlib"]


def test_real_blocks_alone_never_speak_of_puppets(tmp_path):
    fabricate(tmp_path / "v", data="full")
    summary = summary_of(tmp_path)
    assert "uppet" not in formats.to_markdown(tables.means(summary, table1(summary), "Table 1"))


def test_methods_that_a_table_does_not_concern_have_no_row(tmp_path):
    fabricate(tmp_path / "v", "real", data="full", metrics=("ssim_wang_rgb",))
    run_of(tmp_path / "m", "drawn", FOLLOWS, metrics=("ssim_wang_rgb", "psnr_rgb"))
    summary = summary_of(tmp_path)
    psnr = {block: [m for m in summary.metrics_of(block) if m.name == "psnr_rgb"] for block in summary.blocks}
    assert [row.label for row in tables.means(summary, psnr, "PSNR").rows] == ["drawn"]


GOLDEN = """\
## Control, measured: Puppets (VoxCeleb2 layout)

**Measured: Puppets (VoxCeleb2 layout)**

| method     | lip¹ | pose¹ | eye blink¹ | eye gaze¹ | n   | lips²  | yaw³   | identity⁴ |
|------------|:----:|:-----:|:----------:|:---------:|:---:|:------:|:------:|:---------:|
| m          | ✓    | ✓     | ✗          | ✗         | 6/6 | 0.90 ✓ | 0.00 ✗ | 0.30 ?⁵   |
| *controls* |      |       |            |           |     |        |        |           |
| truth      | ✓    | ✓     | ✗          | ✗         | 6/6 | 0.97 ✓ | 0.97 ✓ | 0.90 ✓    |
| still      | ✓    | ✓     | ✗          | ✗         | 6/6 | 0.00 ✗ | 0.00 ✗ | 0.95 ✓    |

¹ as the method declares them; not measured  
² lips: control_lips_r (version 1), Pearson correlation between lips and the truth; error: control_lips_mae (version 1).  
³ yaw: control_yaw_r (version 1), Pearson correlation between yaw and the truth; error: control_yaw_mae (version 1), in degree.  
⁴ identity: control_identity (version 1), Mean cosine with the source picture.  
⁵ the interval of the cosine includes the strangers' 95th percentile
"""  # noqa: E501, W291
GOLDEN_DETAIL = """\
| method | declared | measured | r ↑ | floor | error ↓ | floor | minus still's | why not ✓ |
| *lips* | | | | | | | | |
| m | ✓ | ✓ controlled | 0.90 [0.90, 0.90] | 0.97 | 0.060 [0.060, 0.060] | 0.020 | −0.190 [−0.190, −0.190] | |
| truth | ✓ | ✓ controlled | 0.97 [0.97, 0.97] | 0.97 | 0.020 [0.020, 0.020] | 0.020 | −0.230 [−0.230, −0.230] | |
| still | ✓ | ✗ not | 0.00 [0.00, 0.00] | 0.97 | 0.250 [0.250, 0.250] | 0.020 | | r stays below 0.5 |
| *yaw* | | | | | | | | |
| m | ✓ | ✗ not | 0.00 [0.00, 0.00] | 0.97 | 6.0° [6.0, 6.0] | 0.6° | 0.0° [0.0, 0.0] | r stays below 0.5 |
| truth | ✓ | ✓ controlled | 0.97 [0.97, 0.97] | 0.97 | 0.6° [0.6, 0.6] | 0.6° | −5.4° [−5.4, −5.4] | |
| still | ✓ | ✗ not | 0.00 [0.00, 0.00] | 0.97 | 6.0° [6.0, 6.0] | 0.6° | | r stays below 0.5 |
| *identity (cosine)* | | | | | | | | |
| m | | ? undecided | 0.30 [0.30, 0.30] | 0.90 | | | 0.00 [0.00, 0.00] | \
the interval of the cosine includes the strangers' 95th percentile |
| truth | | ✓ controlled | 0.90 [0.90, 0.90] | 0.90 | | | 0.60 [0.60, 0.60] | |
| still | | ✓ controlled | 0.95 [0.95, 0.95] | 0.90 | | | 0.65 [0.65, 0.65] | |
"""


def test_the_tables_in_markdown(tmp_path):
    three = ("lips", "yaw", "identity")
    options = {"spread": 0.0, "speakers": 3, "clips": 2}
    for name, planted, kind in (("truth", FLOOR, "control"), ("still", FROZEN, "control"), ("m", FOLLOWS, "method")):
        planted = {key: planted[key] for key in three}
        if name == "m":
            planted |= {"yaw": (0.0, 6.0), "identity": 0.3}
        run_of(tmp_path / name, name, planted, kind=kind, **options)
    summary, found = measured(tmp_path)
    assert formats.to_markdown(control_table.matrix(summary, found)).startswith(GOLDEN)
    detail = formats.to_markdown(control_table.detail(summary, found)).splitlines(keepends=True)
    assert "".join(re.sub(" +", " ", line) for line in detail if line.startswith("| ")) == GOLDEN_DETAIL


def test_csv_has_every_number_with_its_floor_and_verdict(runs):
    _, found = measured(runs)
    lines = list(csv.DictReader(io.StringIO(csv_files.control([found]))))
    assert len(lines) == 4 * (9 * 2 + 1)
    by = {(line["method"], line["factor"], line["number"]): line for line in lines}
    r, error, kept = (by["pc-avs", *key] for key in (("yaw", "r"), ("yaw", "error"), ("identity", "cosine")))
    assert (r["declared"], r["verdict"], r["variant"], r["n"]) == ("yes", "not", "control_yaw_r", "12")
    assert float(r["floor_ci_lo"]) < float(r["floor"]) == pytest.approx(0.97, abs=0.02)
    assert (error["unit"], error["difference_to"]) == ("degree", "still")
    assert float(error["difference_ci_lo"]) < 0.3
    assert (kept["declared"], kept["difference_to"]) == ("", "strangers' 95th percentile")
    assert float(kept["difference"]) == pytest.approx(0.65, abs=0.05)


def test_the_plot_fills_what_is_controlled_and_shows_the_floor(runs):
    summary, found = measured(runs)
    figure = control_plots.scores(summary, found)
    panels = {axes.get_title(loc="left"): axes for axes in figure.axes if axes.get_visible()}
    assert list(panels) == [factor.label for factor in found.factors]
    faces = {
        label: [
            line.get_markerfacecolor() != "white"
            for line in sorted(axes.lines, key=lambda line: line.get_ydata()[0])
            if line.get_marker() in ("o", "s")
        ]
        for label, axes in panels.items()
    }
    assert faces["lips"] == [True, True, True, False]
    assert faces["yaw"] == [False, True, True, False]
    assert faces["identity"] == [True] * 4
    floor = found.floor(found.factors[2]).score.mean
    assert floor in [line.get_xdata()[0] for line in panels["yaw"].lines]
    errors = [axes for axes in control_plots.errors(summary, found).axes if axes.get_visible()]
    assert len(errors) == 9
    assert errors[1].get_xlabel() == "error (degree)"


def test_the_report_shows_control_once_in_every_format(runs, tmp_path):
    assert report.main([str(runs), "--out", str(tmp_path), "--draws", "200"]) == 0
    markdown, latex, html = ((tmp_path / f"table1.{ending}").read_text() for ending in ("md", "tex", "html"))
    for text in (markdown, latex, html):
        assert "Control, measured" in text
    assert "Δ control" not in markdown
    assert "Further metrics" not in markdown
    assert latex.isascii()
    assert latex.count("{") - latex.count("\\{") == latex.count("}") - latex.count("\\}")
    assert r"{\scriptsize floor 0.6$^\circ$}" in latex
    page = Page(html)
    files = [name for name in page.attributes("img", "src") if "control" in name]
    assert [Path(name).name for name in files] == [
        *(f"puppets-voxceleb2-layout-control-{kind}.png" for kind in ("r", "error"))
    ]
    assert all((tmp_path / name).is_file() for name in files)
    assert "table1_files/control.csv" in page.attributes("a", "href")
    assert "#control" in page.attributes("a", "href")
    shaded = [classes.split()[-1] for classes in page.attributes("td", "class") if " tone " in classes]
    assert shaded.count("mismatch") == 4
    assert shaded.count("controlled") == 2 * 10 + 2 + 1


def test_a_report_of_real_blocks_has_no_control(tmp_path):
    fabricate(tmp_path / "v", data="full")
    assert report.main([str(tmp_path / "v"), "--out", str(tmp_path / "out"), "--draws", "200"]) == 0
    assert not (tmp_path / "out/table1_files/control.csv").exists()
    assert "Control, measured" not in (tmp_path / "out/table1.html").read_text()
