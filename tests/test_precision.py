"""metrics/PRECISION.md: measured again, every line is within its tolerance, and no line is missing."""

from __future__ import annotations

import itertools
import re
from dataclasses import replace

import precision
import precision_rows
import pytest
from precision_rows import Row

from metrics import registry


@pytest.fixture(scope="module")
def measured() -> tuple[list[Row], list[str]]:
    return precision.measure()


def test_every_error_is_within_its_tolerance(measured):
    rows, missing = measured
    print("\n" + precision.table(rows, missing))
    for row in rows:
        assert row.within, f"{' | '.join(precision.cells(row))}"


def test_the_written_table_is_within_the_tolerances_of_today(measured):
    """Errors may differ from machine to machine; the lines and the tolerances may not."""
    written = {row.key: row for row in precision.committed()}
    assert len(written) == len(precision.committed()), "no two lines are of one comparison"
    rows, missing = measured
    for row in rows:
        assert row.key in written, f"not in the table, run make precision: {row.key}"
        assert written[row.key].tolerance == row.tolerance, row.key
    if not missing:
        gone = {key for key in written.keys() - {row.key for row in rows} if "real sample" not in key[-1]}
        assert not gone, f"in the table and no longer measured, run make precision: {gone}"
    for row in written.values():
        assert row.within, row


def test_every_metric_has_a_line():
    rows = precision.committed()
    for name in registry.METRICS:
        assert any(row.covers(name) for row in rows), name
    for row in rows:
        for pattern in row.variants:
            assert any(replace(row, variants=(pattern,)).covers(name) for name in registry.METRICS), pattern
    assert any(row.metric == "frame selection" for row in rows)
    text = precision.FILE.read_text(encoding="utf-8")
    assert all(re.search(rf"\b{tool} \d", text) for tool in precision.VERSIONS)


def test_an_error_above_its_tolerance_is_not_within():
    row = Row("SSIM", ("ssim_wang_rgb",), "x 1", "s", "d", "absolute", 1e-6, 1e-5)
    assert row.within
    assert not replace(row, largest=2e-5).within
    assert not replace(row, largest=float("nan")).within


def test_a_table_is_read_as_it_was_written(measured, tmp_path):
    file = tmp_path / "table.md"
    file.write_text(precision.table(*measured), encoding="utf-8")
    assert [row.key for row in precision.committed(file)] == [row.key for row in measured[0]]


@pytest.mark.parametrize("changed", ["C2", "CENTRE"])
def test_a_changed_constant_is_beyond_the_tolerance(changed, monkeypatch):
    from metrics import ssim

    monkeypatch.setattr(ssim, changed, {"C2": (0.0301 * 255) ** 2, "CENTRE": 127.0}[changed])
    some = list(itertools.islice(precision_rows.synthetic_pairs(), 3))
    wrong = {row.metric for row in precision_rows._image(lambda: some, "three pairs") if not row.within}
    assert "SSIM" in wrong
    assert "PSNR" not in wrong
