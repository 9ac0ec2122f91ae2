"""Draws puppets_identities.png (64 puppets) and puppets_factors.png (what each column of a motion does).

    python docs/figures/puppets_sheet.py

Needs torch, numpy and Pillow; draws on the processor in under a minute and always draws the same pictures.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent.parent))

from fctfg.data.puppets.face import render  # noqa: E402
from fctfg.data.puppets.identity import Identity, sample_identity  # noqa: E402
from fctfg.data.puppets.motion import index, neutral  # noqa: E402

#: what a strip is called, the columns it moves together, and from where to where
STRIPS = (
    ("yaw, degrees", ("yaw",), -45, 45),
    ("pitch, degrees", ("pitch",), -30, 30),
    ("roll, degrees", ("roll",), -30, 30),
    ("tx", ("tx",), -0.1, 0.1),
    ("ty", ("ty",), -0.1, 0.1),
    ("scale", ("scale",), -0.15, 0.15),
    ("mouth_open", ("mouth_open",), 0, 1),
    ("mouth_width", ("mouth_width",), -1, 1),
    ("mouth_round", ("mouth_round",), 0, 1),
    ("smile", ("smile",), -1, 1),
    ("brow_raise, both", ("brow_raise_l", "brow_raise_r"), -1, 1),
    ("brow_furrow, both", ("brow_furrow_l", "brow_furrow_r"), 0, 1),
    ("blink, both", ("blink_l", "blink_r"), 0, 1),
    ("blink_l", ("blink_l",), 0, 1),
    ("gaze_x", ("gaze_x",), -1, 1),
    ("gaze_y", ("gaze_y",), -1, 1),
)
STEPS = 7


def mild_motion(n: int, generator: torch.Generator) -> torch.Tensor:
    """``(n, columns)``: heads a little turned, faces at ease."""
    motion = neutral(n)
    spans = {"yaw": (-20, 20), "pitch": (-7, 7), "roll": (-6, 6), "scale": (0.02, 0.10), "mouth_open": (-0.5, 0.35)}
    spans |= {"smile": (-0.1, 0.6), "mouth_width": (-0.2, 0.3), "gaze_x": (-0.5, 0.5), "gaze_y": (-0.2, 0.3)}
    for name, (low, high) in spans.items():
        motion[:, index(name)] = low + (high - low) * torch.rand(n, generator=generator)
    motion[:, index("mouth_open")].clamp_(min=0)
    raised = torch.rand(n, generator=generator) * 0.6 - 0.2
    motion[:, index("brow_raise_l")] = motion[:, index("brow_raise_r")] = raised
    return motion


def picture(who: Identity, motion: torch.Tensor, columns: int, size: int, zoom: float = 1.0) -> Image.Image:
    """Puppets in rows of ``columns``, ``size`` pixels each: drawn at twice the size; ``zoom`` comes closer."""
    drawn = round(size * zoom)
    frames = torch.nn.functional.avg_pool2d(render(who, motion, 2 * drawn).frames, 2)
    left, top = (drawn - size) // 2, round((drawn - size) * 0.55)
    frames = frames[:, :, top : top + size, left : left + size]
    pixels = (frames * 255).round().byte().permute(0, 2, 3, 1).numpy()
    rows = len(pixels) // columns
    sheet = pixels.reshape(rows, columns, size, size, 3).transpose(0, 2, 1, 3, 4)
    return Image.fromarray(np.ascontiguousarray(sheet.reshape(rows * size, columns * size, 3)))


def save(sheet: Image.Image, path: Path) -> None:
    """A palette of 256 colours, dithered, keeps the file small and the backgrounds smooth."""
    palette = sheet.quantize(256, method=Image.Quantize.MAXCOVERAGE)
    sheet.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG).save(path, optimize=True)
    print(f"{path.name}: {sheet.width} x {sheet.height}, {path.stat().st_size / 1e6:.2f} MB")


def factors(who: Identity, size: int, edge: int) -> Image.Image:
    """A strip per factor, in one column of strips per person: labels on the left, values under the faces."""
    font, foot = ImageFont.load_default(13), 18
    down = -(-len(STRIPS) // len(who))
    sheet = Image.new("RGB", (len(who) * (edge + STEPS * size), down * (size + foot)), "white")
    pen = ImageDraw.Draw(sheet)
    for strip, (label, columns, low, high) in enumerate(STRIPS):
        person, row = divmod(strip, down)
        left, top = person * (edge + STEPS * size) + edge, row * (size + foot)
        motion, steps = neutral(STEPS), np.linspace(low, high, STEPS)
        for column in columns:
            motion[:, index(column)] = torch.from_numpy(steps).float()
        closer = 1.0 if columns[0] in ("yaw", "pitch", "roll", "tx", "ty", "scale") else 1.5
        sheet.paste(picture(who.pick([person] * STEPS), motion, STEPS, size, closer), (left, top))
        pen.text((left - edge + 8, top + size / 2), label, fill="black", font=font, anchor="lm")
        for j, value in enumerate(steps):
            middle = (left + (j + 0.5) * size, top + size + foot / 2)
            pen.text(middle, f"{round(float(value), 3):g}", fill="black", font=font, anchor="mm")
    return sheet


def main() -> None:
    generator = torch.Generator().manual_seed(20)
    people = sample_identity(generator, 64)
    save(picture(people, mild_motion(64, generator), 8, 144), HERE / "puppets_identities.png")
    # two people whose features nothing hides
    two = people.pick([34, 61]).replace(glasses=-1, fringe=-0.6)
    save(factors(two, 104, 128), HERE / "puppets_factors.png")


if __name__ == "__main__":
    main()
