"""Figures of pictures: rows and columns of frames with labels, for print, and a record of what each cell shows.

Pixels are what counts here, so cells are not plotted but pasted: a picture of the cell's size goes in as it is, a
smaller one whose size divides the cell's has its pixels repeated, and nothing is ever interpolated without need.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from results import csv_text
from results.drawing import GREY, INK, panels, styled
from results.rows import write_atomic

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from PIL.Image import Image
    from PIL.ImageFont import FreeTypeFont

    from results.ablation import Ablation
    from results.statistics import Estimate

CELL = 256  # pixels; the size of a clip's frames
GAP, WIDE_GAP, BAND_GAP, MARGIN = 6, 28, 56, 16
FONT, SMALL_FONT, LABEL_WIDTH = 40, 30, 270
WIDTH = 7.0  # inches: the text of a two-column paper
PLOT_DPI = 300
OUTLINE = "#BBBBBB"
#: the record's columns; those that a cell does not fill are empty
RECORD = (
    *("panel", "row", "shows", "clip", "frame", "state", "reason", "left", "top", "right", "bottom"),
    *("source", "sha256", "weights"),
)


@dataclass(frozen=True)
class Cell:
    """One picture (H, W, 3) uint8 RGB, or in its place a ``word`` in an empty box.

    ``about``: what it shows, for the record: values for some of the columns RECORD.
    """

    picture: np.ndarray | None
    word: str = ""
    about: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Row:
    """``cells``: one for each column of the band; None: nothing is there, not even a box."""

    label: str
    cells: Sequence[Cell | None]


@dataclass(frozen=True)
class Group:
    """Columns that belong together, under one ``label``. The first ``apart`` columns stand off from the rest."""

    label: str
    columns: Sequence[str]
    apart: int = 0


@dataclass(frozen=True)
class Band:
    """Rows over groups of columns. ``title`` names the panel, such as "(a)"."""

    groups: Sequence[Group]
    rows: Sequence[Row]
    title: str = ""

    @property
    def labels(self) -> list[str]:
        return [label for group in self.groups for label in group.columns]


@dataclass(frozen=True)
class Drawing:
    """``record``: a line for each cell, in reading order, with its box in the picture's pixels."""

    image: Image
    record: tuple[dict, ...]


def draw(bands: Sequence[Band], note: str = "") -> Drawing:
    """The bands below each other, columns aligned; ``note`` in small print at the bottom.

    Raises ValueError for a row whose cells are not as many as the columns.
    """
    from PIL import Image, ImageDraw

    for band in bands:
        for row in band.rows:
            if len(row.cells) != len(band.labels):
                raise ValueError(f"row '{row.label}' has {len(row.cells)} cells for {len(band.labels)} columns")
    labels = {row.label: _wrapped(row.label) for band in bands for row in band.rows}
    font, line = _font(FONT), _line_height(FONT)
    left = MARGIN + max(int(font.getlength(text)) for lines in labels.values() for text in lines) + 3 * GAP
    width = max(left + _columns(band)[-1] + CELL for band in bands) + MARGIN
    height = 2 * MARGIN + sum(_height(band) for band in bands) + BAND_GAP * (len(bands) - 1)
    notes = _lines(note, _font(SMALL_FONT), width - 2 * MARGIN) if note else []
    height += (len(notes) * _line_height(SMALL_FONT) + 2 * GAP) if notes else 0
    image = Image.new("RGB", (width, height), "white")
    pen, record, top = ImageDraw.Draw(image), [], MARGIN
    for band in bands:
        if band.title:
            pen.text((MARGIN, top), band.title, INK, font)
        top = _head(pen, band, left, top)
        for row in band.rows:
            lines = labels[row.label]
            for i, text in enumerate(lines):
                middle = top + CELL / 2 + (i - (len(lines) - 1) / 2) * line
                pen.text((left - 3 * GAP, middle), text, INK, font, anchor="rm")
            for x, cell in zip(_columns(band), row.cells, strict=True):
                if cell is None:
                    continue
                box = (left + x, top, left + x + CELL, top + CELL)
                if cell.picture is not None:
                    image.paste(Image.fromarray(fitted(cell.picture)), box[:2])
                else:
                    pen.rectangle((*box[:2], box[2] - 1, box[3] - 1), outline=OUTLINE, width=2)
                    pen.text((left + x + CELL / 2, top + CELL / 2), cell.word, GREY, font, anchor="mm")
                sides = dict(zip(("left", "top", "right", "bottom"), box, strict=True))
                record.append({"panel": band.title, "row": row.label, **sides, **cell.about})
            top += CELL + GAP
        top += BAND_GAP - GAP
    for i, text in enumerate(notes):
        pen.text((MARGIN, height - MARGIN - (len(notes) - i) * _line_height(SMALL_FONT)), text, GREY, _font(SMALL_FONT))
    return Drawing(image, tuple(record))


def write(drawing: Drawing, path: Path) -> list[Path]:
    """The picture as ``path`` (PNG; the page's width at the resolution it says) and its record beside it as CSV."""
    data = io.BytesIO()
    dpi = max(PLOT_DPI, drawing.image.width / WIDTH)
    drawing.image.save(data, "PNG", dpi=(dpi, dpi))
    write_atomic(path, data.getvalue())
    return [path, write_csv(path.with_suffix(".csv"), RECORD, drawing.record)]


def write_plot(figure: Figure, path: Path) -> Path:
    """A plot as PNG for print; the same plot gives the same bytes."""
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=PLOT_DPI, metadata={"Software": None})
    write_atomic(path, data.getvalue())
    return path


def write_csv(path: Path, columns: Sequence[str], lines: Sequence[dict]) -> Path:
    """A record as CSV."""
    write_atomic(path, csv_text.written(columns, lines).encode())
    return path


def fitted(picture: np.ndarray) -> np.ndarray:
    """A picture (H, W, 3) uint8 at the cell's size: itself, its pixels repeated, or where neither fits resampled."""
    height, width = picture.shape[:2]
    if height == width and CELL % height == 0:
        return np.ascontiguousarray(picture).repeat(CELL // height, 0).repeat(CELL // height, 1)
    from PIL import Image

    return np.asarray(Image.fromarray(np.ascontiguousarray(picture)).resize((CELL, CELL), Image.Resampling.LANCZOS))


# -- the spread of pose ------------------------------------------------------------------------------------------------

POSE_COLUMNS = ("row", "angle", "degrees", "ci_lo", "ci_hi", "n", "n_speakers", "n_seeds", "source")


def pose_spreads(found: Ablation) -> dict[str, dict[str, Estimate]]:
    """Angle -> row of the table -> standard deviation in degrees over a clip's frames, its mean over clips.

    The angles are yaw, pitch, roll, and "all three": their mean, the table's column. Seeds are averaged within each
    clip first; a clip counts where every seed has a value.
    """
    from results.ablation import ANGLES, POSE
    from results.statistics import mean_interval

    def angles(row: dict) -> dict[str, float] | None:
        read = row["details"].get(POSE) if row["metrics"].get(POSE) is not None else None
        return read and {"all three": row["metrics"][POSE], **{angle: read[angle] for angle in ANGLES}}

    seeds = {variant.label: list(variant.runs.values()) for variant in found.variants if variant.runs}
    spreads: dict[str, dict[str, Estimate]] = {angle: {} for angle in ("all three", *ANGLES)}
    for run in found.summary.runs:
        clips = {}
        for clip in run.rows:
            read = [angles(one.rows[clip]) for one in seeds.get(run.label, [run]) if clip in one.rows]
            if all(read) and len(read) == len(seeds.get(run.label, [run])):
                clips[clip] = {angle: float(np.mean([r[angle] for r in read])) for angle in spreads}
        people = [run.identity_of[clip] for clip in clips]
        for angle, rows in spreads.items():
            rows[run.label] = mean_interval([values[angle] for values in clips.values()], people)
    return spreads


@styled
def pose_spread(found: Ablation) -> Figure | None:
    """Each variant's spread with its interval, a panel for each angle; dashed: that of the driving frames."""
    from results.ablation import DRIVING
    from results.drawing import forest

    spreads = pose_spreads(found)
    methods = [*(variant.label for variant in found.variants), DRIVING]  # one without a value keeps its line
    high = max(
        (v for rows in spreads.values() for e in rows.values() for v in (e.mean, e.hi) if v is not None), default=1
    )

    def plot(axes, angle: str, shown: list[str]) -> None:
        forest(axes, found.summary, shown, spreads[angle], filled=lambda method: True)
        for text in axes.texts:  # "no value", which the dashed line must not strike out
            text.set_bbox({"facecolor": "white", "edgecolor": "none", "pad": 1.5})
        axes.set_xlim(-0.03 * high, 1.06 * high)
        driving = spreads[angle].get(DRIVING)
        if driving is not None and driving.mean is not None:
            axes.axvline(driving.mean, color="#888888", lw=0.8, ls=(0, (2, 2)), zorder=1)
        axes.set_title(angle, fontweight="bold")
        axes.set_xlabel("degrees")

    reduced = f" ({found.plan['steps']} of the recipe's {found.plan['recipe_steps']} steps)" if found.reduced else ""
    title = f"Pose of canonical faces of one clip: standard deviation, mean over clips with 95 % interval{reduced}"
    return panels(list(spreads), methods, plot, title, found.summary)


def pose_record(found: Ablation, source: Path) -> list[dict]:
    """The plot's numbers, a line for each interval; empty where a variant has none."""
    from results.ablation import DRIVING

    seeds = {variant.label: len(variant.runs) for variant in found.variants}
    lines = []
    for angle, rows in pose_spreads(found).items():
        for label in (*seeds, DRIVING):
            line = {"row": label, "angle": angle, "n": 0, "n_seeds": seeds.get(label, ""), "source": source}
            if (e := rows.get(label)) is not None:
                numbers = {"degrees": e.mean, "ci_lo": e.lo, "ci_hi": e.hi}
                line |= {name: csv_text.number(value) for name, value in numbers.items()}
                line |= {"n": e.n, "n_speakers": e.clusters}
            lines.append(line)
    return lines


# -- places and text ---------------------------------------------------------------------------------------------------


def _columns(band: Band) -> list[int]:
    """Where each column begins, from the first one's left side."""
    found, x = [], 0
    for group in band.groups:
        for i in range(len(group.columns)):
            found.append(x)
            x += CELL + (2 * GAP if i + 1 == group.apart else GAP)
        x += WIDE_GAP - GAP
    return found


def _height(band: Band) -> int:
    return _head_height(band) + len(band.rows) * (CELL + GAP) - GAP


def _head_height(band: Band) -> int:
    lines = any(group.label for group in band.groups) + any(band.labels)
    lines = max(lines, bool(band.title))
    return lines * (_line_height(FONT) + GAP)


def _head(pen, band: Band, left: int, top: int) -> int:
    """Write the groups' and columns' labels; where the rows begin."""
    font, line, columns = _font(FONT), _line_height(FONT), _columns(band)
    bottom = top + _head_height(band)
    column = 0
    for group in band.groups:
        here = columns[column : column + len(group.columns)]
        if group.label:
            width = here[-1] + CELL - here[0]
            place = (left + (here[0] + here[-1] + CELL) / 2, bottom - (GAP + line) * (1 + any(band.labels)))
            pen.text(place, _cut(group.label, font, width), INK, font, anchor="ma")
        for x, text in zip(here, group.columns, strict=True):
            pen.text((left + x + CELL / 2, bottom - GAP - line), _cut(text, font, CELL), INK, font, anchor="ma")
        column += len(group.columns)
    return bottom


@lru_cache
def _font(size: int) -> FreeTypeFont:
    """The font of the plots, which comes with matplotlib."""
    import matplotlib as mpl
    from PIL import ImageFont

    return ImageFont.truetype(Path(mpl.get_data_path(), "fonts/ttf/DejaVuSans.ttf"), size)


def _line_height(size: int) -> int:
    return sum(_font(size).getmetrics())


def _wrapped(label: str) -> list[str]:
    """A row's label in lines that fit beside the pictures."""
    font = _font(FONT)
    return [_cut(text, font, LABEL_WIDTH) for text in _lines(label, font, LABEL_WIDTH)]


def _lines(text: str, font: FreeTypeFont, width: float) -> list[str]:
    """``text`` broken at spaces, and behind hyphens and underscores, where it gets wider than ``width``."""
    lines = [""]
    for word in text.replace("-", "-\0").replace("_", "_\0").replace(" ", " \0").split("\0"):
        if lines[-1] and font.getlength((lines[-1] + word).rstrip()) > width:
            lines.append("")
        lines[-1] += word
    return [line.rstrip() for line in lines]


def _cut(text: str, font: FreeTypeFont, width: float) -> str:
    """``text`` without its middle where it is wider than ``width``: ids differ at both ends."""
    for kept in range(len(text), 0, -1):
        shown = text if kept == len(text) else f"{text[: kept - kept // 2]}…{text[len(text) - kept // 2 :]}"
        if font.getlength(shown) <= width:
            return shown
    return "…"
