"""Tables say what they know and no more: intervals, counts, reasons, marks, and the paper's numbers apart from ours."""

from __future__ import annotations

import csv
import io
import math
import re

import pytest
from test_results_fabricated import METRICS, fabricate
from test_results_runs import change_method, change_run

from results import csv_files, formats, paper, published_table, rows, runs, tables
from results.rows import ResultsError, read_run
from results.summary import summarise
from results.table import Cell, Column, Group, Table, TableRow

ODD = "a_b & <c> | `x` {y} 50% $#~^\\"


def summary_of(path, **options):
    loaded, mixed = runs.load_all([path], allow_mixed=options.pop("allow_mixed", False))
    return summarise(loaded, mixed=mixed, draws=500, **options)


def columns_of(summary):
    return {block: summary.metrics_of(block) for block in summary.blocks}


def table_of(summary):
    return tables.means(summary, columns_of(summary), "Table 1")


def cell(table, method, group, column):
    row = next(row for row in table.rows if row.label == method)
    place = [g.label for g in table.groups].index(group)
    return row.cells[place][[c.label for c in table.groups[place].columns].index(column)]


def test_the_columns_are_the_papers(tmp_path):
    fabricate(tmp_path / "v")
    fabricate(tmp_path / "m", block="MEAD")
    table = table_of(summary_of(tmp_path))
    assert [group.label for group in table.groups] == ["Controllable motions", "VoxCeleb2", "MEAD"]
    printed = [c.label for c in published_table.published(1).groups[1].columns]
    assert [c.label for c in table.groups[1].columns] == ["n", *printed]
    assert [c.arrow for c in table.groups[2].columns] == ["", "↑", "↑", "↑", "↓", "↑"]
    assert [c.label for c in table.groups[0].columns] == ["lip", "pose", "eye blink", "eye gaze"]


def test_motions_are_the_declared_ones(tmp_path):
    fabricate(tmp_path / "a", controls=("lip", "gaze"))
    table = table_of(summary_of(tmp_path))
    assert [c.check for c in table.rows[0].cells[0]] == [True, False, False, True]
    assert "declares them; not measured" in table.notes[table.groups[0].columns[0].notes[0] - 1]


@pytest.mark.parametrize(("data", "mark"), [("puppets", "puppets"), ("sample", "sample"), ("full", "")])
def test_what_is_not_the_whole_set_is_marked_in_every_format(tmp_path, data, mark):
    fabricate(tmp_path / "a", data=data)
    table = table_of(summary_of(tmp_path))
    assert table.groups[1].mark == mark
    for text in (formats.to_markdown(table), formats.to_latex(table)):
        assert ("VoxCeleb2 (" in text) == bool(mark)


def test_a_cell_has_its_mean_interval_and_count(tmp_path):
    fabricate(tmp_path / "a", failed=[0, 5], missing=[3])
    summary = summary_of(tmp_path)
    table = table_of(summary)
    lse, ssim = (cell(table, "fctfg", "VoxCeleb2", name) for name in ("LSE-C", "SSIM"))
    values = summary.runs[0].values("lse_c_official")
    assert lse.value == pytest.approx(sum(values.values()) / 9)
    assert lse.lo < lse.value < lse.hi
    assert (lse.count, ssim.count) == ("9/12", "11/12")
    assert cell(table, "fctfg", "VoxCeleb2", "n").text == "9/12"
    assert re.search(r"\d\.\d\d \[\d\.\d\d, \d\.\d\d\] 9/12 ", formats.to_markdown(table))


def test_an_incomplete_table_says_so_on_its_face_in_every_format(tmp_path):
    fabricate(tmp_path / "a", failed=[0], missing=[3])
    table = table_of(summary_of(tmp_path))
    said = "INCOMPLETE: 10 of 12 clips scored: fctfg on VoxCeleb2 (puppets) (1 failed, 1 not run)"
    assert table.warnings == (said,)
    assert said in formats.to_markdown(table)
    assert said in formats.to_latex(table)
    fabricate(tmp_path / "b", block="MEAD")
    assert table_of(summary_of(tmp_path / "b")).warnings == ()


def test_mixed_lists_are_said_on_the_face(tmp_path):
    fabricate(tmp_path / "a", "a")
    fabricate(tmp_path / "b", "b", list_version=2)
    (warning,) = table_of(summary_of(tmp_path, allow_mixed=True)).warnings
    assert warning.startswith("MIXED: VoxCeleb2 (puppets): different lists of clips")


def test_an_unavailable_column_gives_its_reason_and_no_number(tmp_path):
    fabricate(tmp_path / "a", unavailable={"lse_c_official": "no weights"})
    fabricate(tmp_path / "b", "b", metrics=("ssim_wang_rgb",))
    table = table_of(summary_of(tmp_path))
    missing = cell(table, "fctfg", "VoxCeleb2", "LSE-C")
    assert (missing.value, missing.text) == (None, "unavailable")
    assert table.notes[missing.notes[0] - 1] == "unavailable: no weights"
    unasked = cell(table, "b", "VoxCeleb2", "PSNR")
    assert table.notes[unasked.notes[0] - 1] == "not asked for in this run"


def test_an_unavailable_metric_that_no_run_describes_keeps_its_column(tmp_path):
    known = tuple(name for name in METRICS if name != "lse_c_official")
    out = fabricate(tmp_path / "a", metrics=known)
    change_run(out, unavailable={"lse_c_official": "no weights", "lpips_alex": "lpips is not installed"})
    table = table_of(summary_of(tmp_path))
    assert cell(table, "fctfg", "VoxCeleb2", "LSE-C").text == "unavailable"
    assert "lpips_alex: unavailable: lpips is not installed." in table.remarks


def test_a_metric_that_failed_everywhere_says_why(tmp_path):
    fabricate(tmp_path / "a", speakers=2, clips=1, failed=[0, 1])
    table = table_of(summary_of(tmp_path))
    failed = cell(table, "fctfg", "VoxCeleb2", "LSE-C")
    assert (failed.text, failed.count) == ("failed", "0/2")
    assert table.notes[failed.notes[0] - 1] == "failed on every clip: no face track of 7 frames or more"


def test_infinite_values_are_shown_and_counted(tmp_path):
    def perfect(first):
        def change(row):
            if not first or row["clip"].endswith("00000"):
                row["metrics"]["psnr_rgb"] = math.inf
            return row

        return change

    fabricate(tmp_path / "a", "all", change=perfect(False))
    fabricate(tmp_path / "b", "some", change=perfect(True))
    table = table_of(summary_of(tmp_path))
    infinite, some = (cell(table, name, "VoxCeleb2", "PSNR") for name in ("all", "some"))
    assert (infinite.value, infinite.lo) == (math.inf, None)
    assert math.isfinite(some.value)
    assert table.notes[some.notes[0] - 1] == "4 of 12 clips are infinite and not in the mean"
    assert "∞" in formats.to_markdown(table)
    assert r"$\infty$" in formats.to_latex(table)


def test_bold_needs_a_paired_interval_and_a_method(tmp_path):
    fabricate(tmp_path / "a", "weak", seed=1)
    fabricate(tmp_path / "b", "strong", seed=2, gain=1.0)
    fabricate(tmp_path / "c", "perfect", seed=3, gain=3.0, kind="control")
    table = table_of(summary_of(tmp_path))
    for column in ("SSIM", "PSNR", "LMD", "LSE-C"):
        assert [cell(table, name, "VoxCeleb2", column).bold for name in ("weak", "strong", "perfect")] == [0, 1, 0]
    assert tables.BOLD_NOTE in table.remarks


def test_unknown_weights_stand_apart_and_win_nothing(tmp_path):
    """A checkpoint that is not known to be the authors' can never pass for their result."""
    fabricate(tmp_path / "a", "weak", seed=1)
    fabricate(tmp_path / "b", "strong", seed=2, gain=1.0)
    fabricate(tmp_path / "c", "random", seed=3, gain=3.0)
    change_method(tmp_path / "c", unofficial="not the official file: w.pth (sha256 0)")
    table = table_of(summary_of(tmp_path))
    assert [(row.label, row.section) for row in table.rows[-2:]] == [("weak", ""), ("random", tables.UNOFFICIAL)]
    for column in ("SSIM", "PSNR", "LMD", "LSE-C"):
        assert [cell(table, name, "VoxCeleb2", column).bold for name in ("weak", "strong", "random")] == [0, 1, 0]
    said = "WEIGHTS NOT KNOWN TO BE OFFICIAL: random: not the official file: w.pth (sha256 0)"
    assert table.warnings == (said,)
    for text in (formats.to_markdown(table), formats.to_latex(table)):
        assert tables.UNOFFICIAL in text
        assert "w.pth" in text


def test_a_method_that_could_not_be_run_has_a_row_with_the_reason(tmp_path):
    fabricate(tmp_path / "a", "ours", seed=1)
    fabricate(tmp_path / "b", "still", seed=2, kind="control")
    summary = summary_of(tmp_path, absent={"theirs": "theirs.pth is not here; fetch it"})
    table = table_of(summary)
    assert [row.label for row in table.rows] == ["ours", "theirs", "still"]
    for column in ("SSIM", "PSNR", "LMD", "LSE-C"):
        found = cell(table, "theirs", "VoxCeleb2", column)
        assert (found.text, found.value) == ("unavailable", None)
        assert table.notes[found.notes[0] - 1] == "theirs was not run: theirs.pth is not here; fetch it"
    assert cell(table, "theirs", "VoxCeleb2", "n").text == "–"
    assert "theirs" not in {row.label for row in tables.means(summary, columns_of(summary), "more", motions=False).rows}
    for text in (formats.to_markdown(table), formats.to_latex(table)):
        assert "theirs.pth is not here" in text


def test_equal_methods_and_a_single_method_are_never_bold(tmp_path):
    fabricate(tmp_path / "a", "one", seed=1)
    assert summary_of(tmp_path).best == {}
    fabricate(tmp_path / "b", "two", seed=1)
    assert summary_of(tmp_path).best == {}


def test_differences_are_marked_only_when_the_interval_excludes_zero(tmp_path):
    fabricate(tmp_path / "a", "better", gain=1.0, seed=1)
    fabricate(tmp_path / "b", "worse", gain=-1.0, seed=2)
    fabricate(tmp_path / "c", "still", kind="control", seed=3)
    fabricate(tmp_path / "d", "same", kind="control", seed=3)
    table = tables.differences(*(lambda s: (s, columns_of(s)))(summary_of(tmp_path)))
    assert [cell(table, name, "VoxCeleb2", "Δ LMD").text for name in ("better", "worse", "same")] == ["▲", "▼", ""]
    assert cell(table, "better", "VoxCeleb2", "Δ LMD").value < 0
    assert [row.label for row in table.rows] == ["better", "worse", "same"]


def test_there_are_no_differences_without_the_baseline(tmp_path):
    fabricate(tmp_path / "a")
    summary = summary_of(tmp_path)
    assert tables.differences(summary, columns_of(summary)) is None


def test_two_variants_of_one_metric_have_two_columns(tmp_path):
    def add(row):
        row["metrics"]["ssim_skimage_gray"] = 0.5
        return row

    out = fabricate(tmp_path / "a", change=add)
    metrics = read_run(out)["metrics"]
    change_run(out, metrics=metrics | {"ssim_skimage_gray": metrics["ssim_wang_rgb"]})
    labels = [column.label for column in table_of(summary_of(tmp_path)).groups[1].columns]
    assert labels == ["n", "SSIM", "MS-SSIM", "PSNR", "LMD", "LSE-C", "SSIM ssim_skimage_gray"]


def with_fid(out, **record):
    """The run with a column of one value for the whole set."""
    about = {"column": "FID", "unit": "", "better": "lower", "definition": "a distance of sets", "version": 1}

    def undefined(path):
        for row in rows.read(out):
            row["metrics"]["fid"], row["details"]["fid"] = None, {"frames": 20, "generated": "x", "reference": "y"}
            rows.append(path, row)

    undefined(next((out / "rows").glob("*.jsonl")))
    change_run(out, metrics=read_run(out)["metrics"] | {"fid": about}, set_metrics={"fid": record})
    return out


def test_a_value_of_the_set_is_marked_as_one_and_has_no_difference(tmp_path):
    value = {
        "value": 12.25,
        "lo": 10.5,
        "hi": 15.0,
        "n_clips": 12,
        "n_speakers": 4,
        "n_frames": 240,
        "notes": ["biased"],
    }
    with_fid(fabricate(tmp_path / "a"), **value)
    with_fid(fabricate(tmp_path / "b", "still", kind="control"), **value | {"n_clips": 9, "lo": None, "hi": None})
    summary = summary_of(tmp_path)
    table = table_of(summary)
    ours, theirs = (cell(table, name, "VoxCeleb2", "FID (set)") for name in ("fctfg", "still"))
    assert (ours.value, ours.lo, ours.hi, ours.count, ours.bold) == (12.25, 10.5, 15.0, "", False)
    assert (theirs.value, theirs.lo, theirs.count) == (12.25, None, "9/12")
    assert table.notes[ours.notes[0] - 1] == "240 frames. biased"
    assert any("One value of the whole set, not a mean over clips" in note for note in table.notes)
    assert cell(table, "fctfg", "VoxCeleb2", "n").text == "12/12"
    assert "Δ FID" not in formats.to_markdown(tables.differences(summary, columns_of(summary)))
    assert tables.differences(summary, {summary.blocks[0]: [summary.metric("fid")]}) is None
    lines = {(line["method"], line["variant"]): line for line in csv.DictReader(io.StringIO(csv_files.means(summary)))}
    ours = lines["fctfg", "fid"]
    assert [ours[k] for k in ("value", "ci_lo", "ci_hi", "n", "n_failed")] == ["12.25", "10.5", "15", "12", "0"]
    assert ours["note"] == "one value of the set"
    assert "fid" not in csv_files.paired(summary)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"set_metrics": {"fid": {"value": None, "reason": "not complete"}}}, "unavailable: not complete"),
        ({"unavailable": {"fid": "no weights"}}, "unavailable: no weights"),
    ],
)
def test_a_set_without_a_value_gives_its_reason(tmp_path, change, reason):
    change_run(with_fid(fabricate(tmp_path / "a"), value=1.0), **change)
    summary = summary_of(tmp_path)
    table = table_of(summary)
    found = cell(table, "fctfg", "VoxCeleb2", "FID (set)")
    assert (found.value, found.text, table.notes[found.notes[0] - 1]) == (None, "unavailable", reason)
    line = next(x for x in csv.DictReader(io.StringIO(csv_files.means(summary))) if x["variant"] == "fid")
    assert (line["value"], line["n_failed"]) == ("", "")
    assert reason.removeprefix("unavailable: ") in line["note"]


def test_a_broken_record_of_a_set_is_refused(tmp_path):
    with_fid(fabricate(tmp_path / "a"), value=None)
    with pytest.raises(ResultsError, match="set metric fid has neither value nor reason; run it again"):
        runs.load(tmp_path / "a")


def test_csv_bytes_do_not_depend_on_the_order_of_rows_shards_or_arguments(tmp_path):
    for name, shards in (("one", 1), ("many", 5)):
        fabricate(tmp_path / name / "a", "fctfg", shards=shards, failed=[1])
        fabricate(tmp_path / name / "b", "still", kind="control", seed=4, shards=shards)
    for path in (tmp_path / "many/a/rows").iterdir():
        path.write_text("".join(reversed(path.read_text().splitlines(keepends=True))))
    texts = []
    for order in ([tmp_path / "one"], [tmp_path / "many/b", tmp_path / "many/a"]):
        summary = summarise(runs.load_all(order)[0], draws=500)
        texts.append((csv_files.means(summary), csv_files.paired(summary), formats.to_markdown(table_of(summary))))
    assert texts[0] == texts[1]


def test_csv_holds_runs_and_published_numbers_apart(tmp_path):
    out = fabricate(tmp_path / "a", failed=[1], unavailable={"psnr_rgb": "no, really"})
    summary = summary_of(tmp_path)
    lines = list(csv.DictReader(io.StringIO(csv_files.means(summary))))
    ours = {line["variant"]: line for line in lines if line["source"] == "run"}
    theirs = [line for line in lines if line["source"] == "published"]
    assert len(ours) == 5
    assert len(theirs) == 50
    assert {line["data"] for line in theirs} == {"as published"}
    lse = ours["lse_c_official"]
    assert (lse["n"], lse["n_expected"], lse["n_failed"], lse["data"]) == ("11", "12", "1", "puppets")
    assert lse["list_sha256"] == read_run(out)["list"]["sha256"]
    assert float(lse["ci_lo"]) < float(lse["value"]) < float(lse["ci_hi"])
    assert (ours["psnr_rgb"]["value"], ours["psnr_rgb"]["note"]) == ("", "unavailable: no, really")


def test_csv_holds_no_time_and_no_machine(tmp_path):
    out = fabricate(tmp_path / "a")
    text = csv_files.means(summary_of(tmp_path))
    assert not re.search(r"\d\d:\d\d|20\d\d-\d\d", text)
    assert "cpu" not in text
    assert str(out) not in text


def test_odd_names_are_escaped_in_markdown_and_latex(tmp_path):
    fabricate(tmp_path / "a", ODD, unavailable={"psnr_rgb": "needs <b> & c_d"})
    table = table_of(summary_of(tmp_path))
    markdown, latex = formats.to_markdown(table), formats.to_latex(table)
    line = next(line for line in markdown.splitlines() if "a_b" in line)
    assert r"a_b & &lt;c> \| \`x\` {y} 50% $#~^\\" in line
    assert len(re.split(r"(?<!\\)\|", line)) == len(re.split(r"(?<!\\)\|", markdown.splitlines()[4]))
    assert (
        r"a\_b \& \textless{}c\textgreater{} \textbar{} `x` \{y\} 50\% "
        r"\$\#\textasciitilde{}\textasciicircum{}\textbackslash{}" in latex
    )


@pytest.mark.parametrize("name", ["_x_", "a_b", "__init__", "a*b*c", "&amp;"])
def test_markdown_shows_a_name_as_it_is(name):
    text = formats.markdown_text(name)
    assert (
        text
        == {
            "_x_": r"\_x\_",
            "a_b": "a_b",
            "__init__": r"\_\_init\_\_",
            "a*b*c": r"a\*b\*c",
            "&amp;": "&amp;amp;",
        }[name]
    )


def test_latex_has_balanced_braces_and_even_rows(tmp_path):
    fabricate(tmp_path / "a", ODD, failed=[1])
    fabricate(tmp_path / "b", "still", kind="control", seed=4)
    fabricate(tmp_path / "m", "still", kind="control", block="MEAD")
    summary = summary_of(tmp_path)
    for table in (table_of(summary), tables.differences(summary, columns_of(summary)), published_table.published(1)):
        text = re.sub(r"\\[{}\\&%]", lambda m: "\\\\" if m[0] == "\\\\" else "", formats.to_latex(table))
        assert text.count("{") == text.count("}")
        columns = 1 + sum(len(group.columns) for group in table.groups)
        body = text[text.index("\\midrule") : text.index("\\bottomrule")]
        counts = {line.count("&") for line in body.splitlines() if "&" in line}
        assert counts == {columns - 1}
        assert text.count("\\begin{") == text.count("\\end{")
        assert text.isascii()


def test_any_table_can_be_built_by_hand():
    table = Table(
        "T", "row", (Group("g", (Column("a", "A", "lower", 1),)),), (TableRow("r", ((Cell(2.25, 1.0, -0.04),),)),)
    )
    assert "| r   | 2.2 [1.0, 0.0] |" in formats.to_markdown(table)


@pytest.mark.parametrize(
    ("value", "decimals", "text"),
    [(0.12349, 3, "0.123"), (-0.5, 1, "−0.5"), (-0.0001, 2, "0.00"), (math.inf, 2, "∞"), (-math.inf, 2, "−∞")],
)
def test_numbers(value, decimals, text):
    assert formats.number(value, decimals) == text


@pytest.mark.parametrize(
    ("table", "block", "method", "metric", "text"),
    [
        (1, "VoxCeleb2", "Wav2Lip", "LSE-C", "8.66"),
        (1, "VoxCeleb2", "Wav2Lip", "MS-SSIM", ""),
        (1, "VoxCeleb2", "Audio2Head", "PSNR", "15.98"),
        (1, "VoxCeleb2", "FC-TFG", "SSIM", "0.69"),
        (1, "VoxCeleb2", "FC-TFG", "LMD", "1.58"),
        (1, "MEAD", "MakeItTalk", "PSNR", "23.6"),
        (1, "MEAD", "PC-AVS", "MS-SSIM", "0.7"),
        (1, "MEAD", "Wav2Lip", "SSIM", "0.85"),
        (1, "MEAD", "FC-TFG", "PSNR", "26.19"),
        (1, "controllable motions", "PC-AVS", "pose", "yes"),
        (1, "controllable motions", "PC-AVS", "gaze", "no"),
        (2, "VoxCeleb2 test split", "FC-TFG", "Head movement naturalness", "4.14"),
        (2, "VoxCeleb2 test split", "PC-AVS", "Overall quality", "2.91"),
        (3, "not stated", "LSTM, image D", "LSE-C", "8.66"),
        (3, "not stated", "LSTM, video D", "PSNR", "20.64"),
        (3, "not stated", "1D-Conv, video D", "LMD", "1.98"),
        (4, "not stated", "no constraint", "LMD", "1.70"),
        (4, "not stated", "cosine", "PSNR", "21"),
    ],
)
def test_published_numbers_are_the_papers(table, block, method, metric, text):
    (item,) = [i for i in paper.load(table) if (i.block, i.method, i.metric) == (block, method, metric)]
    assert item.text == text
    assert bool(item.note) == (text == "")


def test_published_tables_are_whole_and_end_in_the_same_row():
    assert [len(paper.load(i)) for i in (1, 2, 3, 4)] == [5 * (4 + 5 + 5), 15, 20, 15]
    ours = [i.value for i in paper.load(1) if (i.block, i.method) == ("VoxCeleb2", "FC-TFG")]
    for table, method in ((3, "1D-Conv, image D"), (4, "L_ortho")):
        assert [i.value for i in paper.load(table) if i.method == method] == ours
    assert {i.better for i in paper.load(1) if i.metric == "LMD"} == {"lower"}
    with pytest.raises(ValueError, match="1 to 4"):
        paper.load(5)


@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_published_tables_are_marked_wherever_they_are_shown(number):
    table = published_table.published(number)
    for text in (formats.to_markdown(table), formats.to_latex(table)):
        assert "Published: Table" in text
        assert "(published)" in text
        assert "not measured here" in text
