"""The control table: declared beside measured, floors beside both, and a verdict that follows from intervals only."""

from __future__ import annotations

import numpy as np
import pytest
from test_results_fabricated import fabricate
from test_results_runs import change_run
from test_results_tables import summary_of

from results import control, control_plots, control_table, formats, tables
from results.rows import read_run
from results.statistics import Difference, Estimate
from results.summary import table1

BLOCK = "Puppets (VoxCeleb2 layout)"
MOTIONS = ("lip", "pose", "blink", "gaze")
DEGREES = ("pose", "yaw", "pitch", "roll")
FACTORS = ("lips", *DEGREES, "brow", "blink", "gaze_x", "gaze_y")
#: r and error of a network that reads well, and of a face that does not move
FLOOR = {f: (0.97, 0.6 if f in DEGREES else 0.02) for f in FACTORS} | {"identity": 0.9}
FROZEN = {f: (0.0, 6.0 if f in DEGREES else 0.25) for f in FACTORS} | {"identity": 0.95}
FOLLOWS = {f: (0.9, 1.5 if f in DEGREES else 0.06) for f in FACTORS} | {"identity": 0.7}
STRANGERS = 0.3


def describe(factors):
    """run.json's entries for the control metrics of ``factors``."""
    made = {}
    for f in factors:
        if f == "identity":
            made["control_identity"] = ("identity", "", "higher", "Mean cosine with the source picture. Puppets only")
            continue
        unit = "degree" if f in DEGREES else ""
        made[f"control_{f}_mae"] = (f"{f} error", unit, "lower", f"Mean absolute difference between {f} and the truth")
        made[f"control_{f}_r"] = (
            f"{f} r",
            "",
            "higher",
            f"Pearson correlation between {f} and the truth. Puppets only",
        )
    return {
        n: dict(zip(("column", "unit", "better", "definition"), d, strict=True)) | {"version": 1}
        for n, d in made.items()
    }


def run_of(
    out,
    method="fctfg",
    planted=FOLLOWS,
    *,
    spread=0.02,
    undefined=(),
    failed=(),
    block=BLOCK,
    seed=0,
    strangers=STRANGERS,
    **options,
):
    """A run on puppets in whose rows r, error and cosine are those ``planted``, up to a relative ``spread``.

    ``undefined``: factors whose r has no value on every second clip. ``failed``: positions of clips without control.
    """
    place = iter(range(10_000))

    def add(row):
        i = next(place)
        generator = np.random.default_rng([seed, i, sum(map(ord, method))])
        names = describe(planted)
        if i in failed:
            row.update(status="failed", failures=dict.fromkeys(names, "no face in any frame"))
            return row
        for factor, value in planted.items():
            noise = generator.normal(0, spread, 2)
            if factor == "identity":
                row["metrics"]["control_identity"] = float(np.clip(value + noise[0], -1, 1))
                if strangers is not None:
                    row["details"]["control_identity"] = {"strangers_95": strangers}
                continue
            r, mae = value
            row["metrics"][f"control_{factor}_mae"] = float(mae * (1 + noise[1]))
            row["metrics"][f"control_{factor}_r"] = float(np.clip(r + noise[0], -1, 1)) if r else 0.0
            if factor in undefined and i % 2:
                row["metrics"][f"control_{factor}_r"] = None
                row["details"][f"control_{factor}_r"] = {"undefined": "the driving face hardly moves"}
        return row

    fabricate(out, method, block=block, change=add, seed=seed, **{"metrics": ("ssim_wang_rgb",), **options})
    return change_run(out, metrics=read_run(out)["metrics"] | describe(planted))


def controls_of(folder, block=BLOCK, **options):
    """The runs of ``truth`` and ``still``."""
    run_of(folder / "truth", "truth", FLOOR, kind="control", controls=MOTIONS, block=block, **options)
    run_of(folder / "still", "still", FROZEN, kind="control", controls=(), block=block, **options)


def measured(folder, **options):
    """The summary of the runs in ``folder`` and what is measured on its first block with control."""
    summary = summary_of(folder, **options)
    return summary, control.measure(summary)[0]


def table_cell(table, method, label):
    row = next(row for row in table.rows if row.label == method)
    return row.cells[1][[column.label for column in table.groups[1].columns].index(label)]


def said(table, cell):
    return [table.notes[i - 1] for i in cell.notes]


def example(folder):
    """Truth, still, a method that follows everything, one that moves only its lips but declares pose too."""
    controls_of(folder)
    run_of(folder / "all", "fctfg", FOLLOWS, controls=MOTIONS)
    run_of(folder / "lips", "pc-avs", FROZEN | {"lips": FOLLOWS["lips"]}, controls=("lip", "pose"))
    return folder


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return example(tmp_path_factory.mktemp("control"))


def test_a_cell_has_r_and_error_with_intervals_and_both_floors(runs):
    summary, found = measured(runs)
    table = control_table.matrix(summary, found)
    yaw = table_cell(table, "fctfg", "yaw")
    values = [list(summary.run("fctfg", found.block).values(f"control_yaw_{n}").values()) for n in ("r", "mae")]
    floor = [np.mean(list(summary.run("truth", found.block).values(f"control_yaw_{n}").values())) for n in ("r", "mae")]
    assert yaw.value == pytest.approx(np.mean(values[0]))
    interval, first, error, error_interval, second = yaw.below
    assert interval == "[0.90, 0.91]"
    assert (first, second) == (f"floor {floor[0]:.2f}", f"floor {floor[1]:.1f}°")
    assert error == f"error {np.mean(values[1]):.1f}°"
    assert error_interval == "[1.5, 1.5]"
    assert not any("floor" in line for line in table_cell(table, "truth", "yaw").below)
    assert table_cell(table, "fctfg", "identity").below[1:] == ("floor 0.90",)


def test_what_is_declared_stands_beside_what_is_measured(runs):
    summary, found = measured(runs)
    table = control_table.matrix(summary, found)
    row = next(row for row in table.rows if row.label == "pc-avs")
    assert [cell.check for cell in row.cells[0]] == [True, True, False, False]
    assert [column.label for column in table.groups[1].columns] == [
        *("n", "lips", "pose", "yaw", "pitch", "roll", "brows", "blink", "gaze x", "gaze y", "identity")
    ]
    assert [cell.text for cell in row.cells[1][1:]] == ["✓", *"✗✗✗✗✗✗✗✗", "✓"]
    tones = {column.label: cell.tone for column, cell in zip(table.groups[1].columns, row.cells[1], strict=True)}
    assert (tones["lips"], tones["yaw"], tones["blink"], tones["brows"]) == ("controlled", "mismatch", "not", "not")
    assert control.RULE in table.remarks
    assert [row.section for row in table.rows] == ["", "", "controls", "controls"]


def estimate(lo, hi):
    return Estimate((lo + hi) / 2, lo, hi, 12, 0, 4)


@pytest.mark.parametrize(
    ("lo", "hi", "gain", "visible", "verdict", "why"),
    [
        (0.51, 0.7, "better", True, "controlled", ""),
        (0.51, 0.7, "better", None, "controlled", ""),
        (0.49, 0.9, "better", True, "undecided", "includes 0.5"),
        (0.51, 0.7, "unclear", True, "undecided", "cannot be said"),
        (0.51, 0.7, None, True, "undecided", "no error of still"),
        (0.51, 0.7, "worse", True, "not", "error is larger"),
        (0.1, 0.49, "better", True, "not", "r stays below"),
        (0.1, 0.49, None, True, "not", "r stays below"),
        (0.1, 0.49, "better", False, "undecided", "even in truth"),
        (0.1, 0.49, "better", None, "undecided", "floor is unknown"),
        (0.1, 0.5, "better", True, "undecided", "includes 0.5"),
    ],
)
def test_the_rule(lo, hi, gain, visible, verdict, why):
    difference = gain and Difference(estimate(-1, 1), gain)
    found = control.judge(estimate(lo, hi), difference, visible)
    assert found[0] == verdict
    assert why in found[1]
    assert bool(found[1]) == (verdict != "controlled")


def test_no_interval_no_verdict():
    lone = Estimate(0.9, None, None, 1, 0, 1, "fewer than two speakers")
    assert control.judge(lone, Difference(estimate(-2, -1), "better"), True) == (
        "undecided",
        "r has no interval: fewer than two speakers",
    )


@pytest.mark.parametrize(
    ("cosine", "strangers", "mark"), [(0.6, 0.3, "✓"), (0.1, 0.3, "✗"), (0.3, 0.3, "?"), (0.6, None, "?")]
)
def test_identity_is_kept_when_it_is_nearer_than_strangers_are(tmp_path, cosine, strangers, mark):
    controls_of(tmp_path)
    run_of(tmp_path / "m", "m", FOLLOWS | {"identity": cosine}, strangers=strangers)
    summary, found = measured(tmp_path)
    assert table_cell(control_table.matrix(summary, found), "m", "identity").text == mark


def test_the_error_counts_and_not_only_the_correlation(tmp_path):
    """A face that follows the truth in step, but far off its scale."""
    controls_of(tmp_path)
    run_of(tmp_path / "m", "m", FOLLOWS | {"yaw": (0.95, 9.0), "roll": (0.95, 6.0)}, spread=0.05)
    _, found = measured(tmp_path)
    cells = {label: found.cells["m", label] for label in ("yaw", "roll")}
    assert (cells["yaw"].verdict, cells["yaw"].why) == ("not", "the error is larger than that of still")
    assert cells["roll"].verdict == "undecided"


def test_the_comparison_is_with_still_whatever_the_baseline(runs):
    verdicts = [
        {key: (cell.verdict, cell.gain) for key, cell in measured(runs, baseline=name)[1].cells.items()}
        for name in ("still", "truth", None)
    ]
    assert verdicts[0] == verdicts[1] == verdicts[2]


def test_where_the_network_is_blind_nothing_is_called_not_controlled(tmp_path):
    run_of(tmp_path / "truth", "truth", FLOOR | {"gaze_y": (0.2, 0.2)}, kind="control")
    run_of(tmp_path / "still", "still", FROZEN, kind="control")
    run_of(tmp_path / "m", "m", FROZEN)
    summary, found = measured(tmp_path)
    table = control_table.matrix(summary, found)
    for method in ("truth", "still", "m"):
        cell = table_cell(table, method, "gaze y")
        assert cell.text == "?"
        assert said(table, cell) == ["even in truth the network does not see the factor on these clips"]
    assert table_cell(table, "m", "gaze x").text == "✗"


def test_without_truth_the_floor_is_unknown_and_says_so(tmp_path):
    run_of(tmp_path / "still", "still", FROZEN, kind="control")
    run_of(tmp_path / "m", "m", FOLLOWS | {"yaw": (0.0, 6.0), "identity": 0.1})
    summary, found = measured(tmp_path)
    table = control_table.matrix(summary, found)
    (warning,) = table.warnings
    assert warning.startswith(f"FLOOR UNKNOWN: no run of truth on {BLOCK}")
    assert "run truth too" in warning
    lips, yaw, identity = (table_cell(table, "m", label) for label in ("lips", "yaw", "identity"))
    assert (lips.text, yaw.text, identity.text) == ("✓", "?", "?")
    assert lips.below.count("floor unknown") == 2
    assert "the floor is unknown" in said(table, yaw)[0]
    assert "✗" not in [cell.text for row in table.rows for cell in row.cells[1]]
    text = formats.to_markdown(control_table.detail(summary, found))
    assert "unknown" in next(line for line in text.splitlines() if line.startswith("| m "))
    assert "floor unknown" in control_plots.scores(summary, found).get_suptitle()


def test_without_still_nothing_but_identity_is_called_controlled(tmp_path):
    run_of(tmp_path / "truth", "truth", FLOOR, kind="control")
    run_of(tmp_path / "m", "m", FOLLOWS | {"yaw": (0.0, 6.0)})
    summary, found = measured(tmp_path)
    table = control_table.matrix(summary, found)
    assert table.warnings[0].startswith("NOTHING TO COMPARE WITH: no run of still")
    assert [table_cell(table, "m", label).text for label in ("lips", "yaw", "identity")] == ["?", "✗", "✓"]


def test_another_blocks_truth_is_no_floor(tmp_path):
    other = "Puppets (MEAD layout)"
    controls_of(tmp_path / "v")
    run_of(tmp_path / "m", "m", FOLLOWS, block=other)
    summary = summary_of(tmp_path)
    first, second = control.measure(summary)
    assert (first.block.name, second.block.name) == (BLOCK, other)
    assert first.floor(first.factors[0]) is not None
    assert second.floor(second.factors[0]) is None


def test_a_factor_that_no_run_has_has_no_column(tmp_path):
    few = {key: FLOOR[key] for key in ("lips", "blink")}
    run_of(tmp_path / "truth", "truth", few, kind="control")
    run_of(tmp_path / "m", "m", {key: FOLLOWS[key] for key in ("lips", "blink", "gaze_x")})
    summary, found = measured(tmp_path)
    table = control_table.matrix(summary, found)
    assert [column.label for column in table.groups[1].columns] == ["n", "lips", "blink", "gaze x"]
    cell = table_cell(table, "truth", "gaze x")
    assert (cell.value, cell.text, said(table, cell)) == (None, "–", ["not asked for in this run"])
    assert table_cell(table, "m", "gaze x").below[1] == "floor –"
    assert control.IDENTITY_RULE not in table.remarks


def test_a_method_with_failed_clips_says_how_many_count(tmp_path):
    controls_of(tmp_path)
    run_of(tmp_path / "m", "m", FOLLOWS, failed=(0, 5))
    summary, found = measured(tmp_path)
    table = control_table.matrix(summary, found)
    assert table.warnings == (f"INCOMPLETE: 10 of 12 clips scored: m on {BLOCK} (2 failed)",)
    cell = table_cell(table, "m", "lips")
    assert (cell.count, cell.text) == ("10/12", "✓")
    assert table_cell(table, "m", "n").text == "10/12"
    assert table_cell(table, "truth", "lips").count == ""


def test_a_method_that_failed_everywhere_has_no_verdict_and_a_reason(tmp_path):
    controls_of(tmp_path)
    run_of(tmp_path / "m", "m", FOLLOWS, failed=range(12))
    summary, found = measured(tmp_path)
    table = control_table.matrix(summary, found)
    cell = table_cell(table, "m", "lips")
    assert (cell.value, cell.text, cell.count, cell.tone) == (None, "failed", "0/12", "")
    assert said(table, cell) == ["failed on every clip: no face in any frame"]


def test_an_undefined_correlation_is_counted_and_is_no_failure(tmp_path):
    controls_of(tmp_path, undefined=("brow",))
    run_of(tmp_path / "m", "m", FOLLOWS, undefined=("brow",))
    summary, found = measured(tmp_path)
    assert summary.incomplete == []
    assert found.cells["m", "brow"].n_undefined == 6
    cell = table_cell(control_table.matrix(summary, found), "m", "brows")
    assert (cell.count, cell.text) == ("6/12", "✓")


def test_there_is_no_table_where_control_was_not_measured(tmp_path):
    fabricate(tmp_path / "real", data="sample")
    out = run_of(tmp_path / "m", "m", FOLLOWS)
    change_run(out, unavailable=dict.fromkeys(describe(FOLLOWS), "the networks are not there"))
    summary = summary_of(tmp_path)
    assert control.measure(summary) == []
    table = tables.means(summary, table1(summary), "Table 1")
    assert f"{BLOCK}: control is not measured: the networks are not there." in table.remarks
