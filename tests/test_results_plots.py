"""Every plot can be drawn from what runs really leave: one method, one clip, infinities, missing metrics."""

from __future__ import annotations

import io
import math

import numpy as np
import pytest
from PIL import Image
from test_results_fabricated import fabricate
from test_results_tables import ODD, summary_of

from results import drawing, plots


def draw(kind, summary):
    return getattr(plots, kind)(summary, summary.blocks[0], summary.metrics)


def perfect(row):
    row["metrics"]["psnr_rgb"] = math.inf
    return row


def panels(figure):
    return [axes for axes in figure.axes if axes.get_visible()]


@pytest.fixture(scope="module")
def summary(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    two = ("psnr_rgb", "lmd_mouth_dlib")
    fabricate(folder / "a", "fctfg", gain=1.0, seed=1, metrics=two)
    fabricate(folder / "b", "pc_avs", gain=0.0, seed=1, metrics=two)
    fabricate(folder / "c", "still", kind="control", seed=1, metrics=two)
    fabricate(folder / "d", "ground_truth", kind="control", change=perfect, metrics=two)
    return summary_of(folder)


def test_a_method_has_one_colour_and_controls_are_grey(summary):
    colours = [drawing.colour(summary, method) for method in summary.methods]
    assert len(set(colours[:2])) == 2
    assert colours[2:] == [drawing.GREY, drawing.GREY]


@pytest.mark.parametrize("kind", ["intervals", "differences"])
def test_there_is_one_panel_for_each_metric_with_the_methods_in_order(summary, kind):
    figure = draw(kind, summary)
    found = panels(figure)
    assert len(found) == 2
    shown = [label.get_text() for label in found[0].get_yticklabels()]
    assert shown == [m for m in summary.methods if kind == "intervals" or m != "still"]
    assert "(puppets)" in figure.get_suptitle()


def test_an_infinite_mean_is_marked_at_the_edge(summary):
    axes = panels(draw("intervals", summary))[0]
    assert "∞" in [text.get_text() for text in axes.texts]
    assert axes.get_xlim()[1] < 100


def test_a_difference_whose_interval_includes_zero_is_hollow(summary):
    axes = panels(draw("differences", summary))[1]
    faces = {
        int(line.get_ydata()[0]): line.get_markerfacecolor() for line in axes.lines if line.get_marker() in ("o", "s")
    }
    assert summary.methods[:2] == ("pc_avs", "fctfg")
    assert faces[0] == "white"
    assert faces[1] == drawing.colour(summary, "fctfg")


def test_scatter_shows_every_common_clip_and_says_how_many_are_infinite(summary):
    found = panels(draw("scatter", summary))
    assert len(found) == 3 * 2
    assert len(found[0].collections[-1].get_offsets()) == 12
    said = [text.get_text() for axes in found for text in axes.texts]
    assert said == ["12 infinite"]


def test_saved_pictures_are_sharp_and_reproducible(summary, tmp_path):
    first, second = (drawing.save(draw("intervals", summary), tmp_path / f"{i}.png").read_bytes() for i in (1, 2))
    assert first == second
    with Image.open(io.BytesIO(first)) as picture:
        assert picture.info["dpi"][0] >= 150
        pixels = np.asarray(picture.convert("RGB"))
    blue = (np.abs(pixels.astype(int) - (0x00, 0x72, 0xB2)).sum(-1) < 12).sum()
    assert blue > 100


def test_one_method_with_one_clip_and_an_odd_name_can_be_drawn(tmp_path):
    fabricate(tmp_path / "a", ODD, speakers=1, clips=1, change=perfect, unavailable={"lse_c_official": "no weights"})
    summary = summary_of(tmp_path)
    figure = draw("intervals", summary)
    drawing.save(figure, tmp_path / "a.png")
    assert len(panels(figure)) == 4
    assert draw("differences", summary) is None
    assert draw("scatter", summary) is None


def test_nothing_to_draw_is_no_picture(tmp_path):
    fabricate(tmp_path / "a", speakers=1, clips=2, missing=[0, 1])
    assert draw("intervals", summary_of(tmp_path)) is None


def test_one_clip_against_the_baseline_can_be_drawn(tmp_path):
    fabricate(tmp_path / "a", "still", kind="control", speakers=1, clips=1, metrics=("psnr_rgb",), change=perfect)
    fabricate(tmp_path / "b", "fctfg", speakers=1, clips=1, metrics=("psnr_rgb",))
    figure = draw("scatter", summary_of(tmp_path))
    drawing.save(figure, tmp_path / "a.png")
    assert [text.get_text() for text in panels(figure)[0].texts] == ["1 infinite"]
