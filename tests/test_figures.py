"""The paper's figures: the right pictures in the right cells, the record that says so, and nothing dropped."""

from __future__ import annotations

import csv
import json
import shutil

import numpy as np
import pytest
import tiny_model
import trees
from PIL import Image
from test_ablations import PRINTED, write

from fctfg import animate, media, model_file
from fctfg.animation import Animation
from fctfg.weights import sha256
from protocols import table1
from protocols.figures import footage
from protocols.figures.__main__ import main
from protocols.methods import MethodError
from results import ablation, figures, rows
from results.figures import CELL, Band, Cell, Group, Row

COUNT = 40  # frames of each clip
PEOPLE, CLIPS = 3, 2
FAILS = ("id00001", 0)  # what Late cannot do


def number_of(picture: np.ndarray) -> int:
    """The frame number that a picture of the tree carries: its green level, 5 a frame, whatever the codec does."""
    return round((float(picture[64:192, 64:192, 1].mean()) - 20) / 5)


class Late:
    """Answers frames 3 to COUNT - 3; tells itself apart by red; fails where the picture is of clip FAILS."""

    name = "late"
    controls = frozenset({"pose"})

    def animate(self, reference, driving, audio):
        if reference[..., 2].mean() == pytest.approx(shade(*FAILS), abs=4):
            raise MethodError("late: no face found")
        frames = driving[2:-2].copy()
        frames[..., 0] = 240
        return Animation(frames, first_frame=3)


def shade(person: str, clip: int) -> int:
    return 40 + 30 * int(person[2:]) + 15 * clip


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A tree whose frames carry their number, runs of two controls and ``Late`` on it, and a tiny model."""
    folder = tmp_path_factory.mktemp("figures")
    for person in (f"id{i:05d}" for i in range(PEOPLE)):
        for c in range(CLIPS):
            frames = np.zeros((COUNT, 64, 64, 3), np.uint8)
            frames[..., 1] = 20 + 5 * np.arange(COUNT)[:, None, None]
            frames[..., 2] = shade(person, c)
            path = folder / f"data/test/mp4/{person}/v{c}/00001.mp4"
            media.write_video(path, frames, audio=trees.tone(COUNT), lossless=True)
            media.write_audio(folder / f"data/test/aac/{person}/v{c}/00001.m4a", trees.tone(COUNT))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FCTFG_CACHE", str(folder / "stages"))
        patch.delenv("FCTFG_CHECKPOINT", raising=False)
        flags = ["--voxceleb2", folder / "data", "--out", folder / "runs", "--metrics", "psnr_rgb", "--no-report"]
        flags += ["--methods", "truth still test_figures:Late", "--no-strips"]
        assert table1.main(list(map(str, flags))) == 1  # Late fails on one clip
        for seed, name in enumerate(("a", "b")):
            model_file.save_model(folder / f"{name}.safetensors", tiny_model.build(seed=seed), float32=True)
        yield folder


def command(home, out, *flags: object, runs: str = "runs") -> int:
    fixed = ["--voxceleb2", home / "data", "--runs", home / runs, "--out", out, "--device", "cpu"]
    return main([str(word) for word in (*fixed, "--ablations", home / "ablations", *flags)])


def read(png) -> tuple[np.ndarray, list[dict]]:
    with open(png.with_suffix(".csv")) as file:
        return np.asarray(Image.open(png)), list(csv.DictReader(file))


def cut(picture: np.ndarray, line: dict) -> np.ndarray:
    left, top, right, bottom = (int(line[side]) for side in ("left", "top", "right", "bottom"))
    return picture[top:bottom, left:right]


def frames_of(home, clip: str) -> np.ndarray:
    return media.read_video(home / f"data/test/mp4/{clip}.mp4", size=(CELL, CELL))


# -- drawing ---------------------------------------------------------------------------------------------------------


def noise(size: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (size, size, 3), dtype=np.uint8)


def test_every_picture_is_in_its_cell_pixel_for_pixel():
    pictures = [noise(CELL, 1), noise(CELL, 2), noise(64, 3), noise(128, 4)]
    cells = [Cell(picture, "", {"frame": i}) for i, picture in enumerate(pictures)]
    rows_ = [Row("one", [*cells[:2], None]), Row("two", [*cells[2:], Cell(None, "failed")])]
    band = Band([Group("left", ["a", "b"], 1), Group("right", ["c"])], rows_, "(a)")
    drawn = figures.draw([band, band], "a note")
    canvas = np.asarray(drawn.image)
    assert [line.get("frame") for line in drawn.record] == [0, 1, 2, 3, None] * 2
    inked = np.zeros(canvas.shape[:2], bool)
    for line in drawn.record:
        inked[line["top"] : line["bottom"], line["left"] : line["right"]] = True
        if "frame" in line:
            picture = pictures[line["frame"]]
            scale = CELL // len(picture)
            assert np.array_equal(cut(canvas, line), np.kron(picture, np.ones((scale, scale, 1), np.uint8)))
    lefts = [line["left"] for line in drawn.record[:5]]
    assert lefts[:2] == lefts[2:4]  # columns are aligned
    assert [line["left"] for line in drawn.record[5:]] == lefts
    # in the empty cell a word and its outline; where nothing belongs, nothing; no label reaches into a picture's row
    empty = cut(canvas, drawn.record[4])
    assert (empty[60:196] < 200).any()
    assert (empty[4:60, 4:-4] == 255).all()
    nothing = canvas[drawn.record[0]["top"] : drawn.record[0]["bottom"], drawn.record[4]["left"] : -20]
    assert (nothing == 255).all()
    assert (canvas[~inked] == 255).mean() > 0.9
    assert {tuple(canvas[y, x]) for y in (0, -1) for x in (0, -1)} == {(255, 255, 255)}


def test_cells_must_be_as_many_as_columns():
    with pytest.raises(ValueError, match="row 'one' has 1 cells for 2 columns"):
        figures.draw([Band([Group("", ["a", "b"])], [Row("one", [Cell(None, "x")])])])


def test_a_long_label_stays_beside_the_pictures():
    name = "a_method-whose_name_is_long and-then-some-more"
    drawn = figures.draw([Band([Group("g" * 200, ["c" * 99])], [Row(name, [Cell(noise(CELL, 0))])])])
    canvas, line = np.asarray(drawn.image), drawn.record[0]
    assert line["left"] < figures.LABEL_WIDTH + 60
    assert np.array_equal(cut(canvas, line), noise(CELL, 0))
    assert (canvas[:, :8] == 255).all()
    assert (canvas[:, line["right"] :] == 255).all()


# -- Figure 4 --------------------------------------------------------------------------------------------------------


def test_figure_4_shows_the_frames_that_its_record_names(home, tmp_path, capsys):
    assert command(home, tmp_path, "--only", 4, "--clips", 3, "--frames", 12) == 0
    said = capsys.readouterr()
    png = tmp_path / "figure4_voxceleb2-sample.png"
    assert said.out.split() == [str(png), str(png.with_suffix(".csv"))]
    picture, lines = read(png)
    assert list(dict.fromkeys(line["row"] for line in lines)) == ["driving", "late", "still"]
    clips = list(dict.fromkeys(line["clip"] for line in lines))
    assert clips == ["id00000/v0/00001", "id00001/v1/00001", "id00002/v0/00001"]
    # for each clip a reference, twelve driving frames, and the frames of both methods
    assert len(lines) == 3 * (1 + 12 + 2 * 12)
    truth = {clip: frames_of(home, clip) for clip in clips}
    for line in lines:
        assert line["state"] == "shown"
        shown, t = cut(picture, line), int(line["frame"])
        if line["row"] == "driving":
            assert np.array_equal(shown, truth[line["clip"]][t])
            assert (t == 0) == (line["shows"] == "reference")
        elif line["row"] == "late":
            assert 3 <= t < COUNT - 2
            assert number_of(shown) == t
            assert shown[..., 0].mean() > 200
        else:
            assert number_of(shown) == 0
            assert line["source"] == str(home / "runs/voxceleb2/still")
        assert abs(shown[..., 2].mean() - truth[line["clip"]][0, ..., 2].mean()) < 6  # of that clip
    for row in ("driving", "late", "still"):  # the same times, in the same places
        assert [
            (line["left"], line["frame"]) for line in lines if line["row"] == row and line["shows"] != "reference"
        ] == [(line["left"], line["frame"]) for line in lines if line["row"] == "late"]
    assert not said.err


def test_a_failed_clip_has_empty_cells_and_is_said(home, tmp_path, capsys):
    clip = "id00001/v0/00001"
    flags = ["--only", 4, "--frames", 2, "--clip", clip, "id00002/v1/00001"]
    assert command(home, tmp_path, *flags) == 1
    assert "missing: figure4_voxceleb2-sample: id00001/v0/00001: late: generate: late: no face found" in (
        capsys.readouterr().err
    )
    picture, lines = read(tmp_path / "figure4_voxceleb2-sample.png")
    assert len(lines) == 2 * (1 + 2 + 2 * 2)
    failed = [line for line in lines if line["state"] != "shown"]
    assert [(line["row"], line["clip"], line["state"]) for line in failed] == [("late", clip, "failed")] * 2
    for line in failed:
        assert "no face found" in line["reason"]
        shown = cut(picture, line)
        assert (shown == 255).all(-1).mean() > 0.9
        assert 100 < (shown[90:170] < 160).any(-1).sum() < 9000  # the word
    assert command(home, tmp_path, *flags, "--allow-missing") == 0


def test_a_time_that_a_method_did_not_answer_is_an_empty_cell(home, tmp_path, capsys, monkeypatch):
    from protocols.figures import panels

    monkeypatch.setattr(panels, "_common", lambda source, made: (1, 5))
    assert command(home, tmp_path, "--only", 4, "--clip", "id00000/v0/00001") == 1
    _, lines = read(tmp_path / "figure4_voxceleb2-sample.png")
    late = {int(line["frame"]): line["state"] for line in lines if line["row"] == "late"}
    assert late == {1: "no frame", 2: "no frame", 3: "shown", 4: "shown"}
    assert "late: the method answers no frame of this time" in capsys.readouterr().err


def test_controls_that_show_the_driving_frames_again_are_left_out_unless_asked(home, tmp_path):
    assert command(home, tmp_path, "--only", 4, "--controls", "--clips", 1) == 0
    picture, lines = read(tmp_path / "figure4_voxceleb2-sample.png")
    truth = [line for line in lines if line["row"] == "truth"]
    driving = [line for line in lines if line["row"] == "driving" and line["frame"] != "0"]
    assert len(truth) == 4
    assert all(np.array_equal(cut(picture, a), cut(picture, b)) for a, b in zip(truth, driving, strict=True))


def test_what_was_not_scored_is_not_shown(home, tmp_path, capsys):
    """A clip that was replaced, a video that was removed, and a row that is not there."""
    shutil.copytree(home / "runs/voxceleb2/still", tmp_path / "runs/still")
    shutil.copytree(home / "data", tmp_path / "data")
    (tmp_path / "runs/still/generated/id00001/v0/00001.mp4").unlink()
    shutil.copy(tmp_path / "data/test/mp4/id00002/v1/00001.mp4", tmp_path / "data/test/mp4/id00002/v0/00001.mp4")
    (tmp_path / "data/test/mp4/id00001/v1/00001.mp4").unlink()
    file = next((tmp_path / "runs/still/rows").iterdir())
    kept = [line for line in file.read_text().splitlines(True) if "id00000/v1" not in line]
    file.write_text("".join(kept))
    assert command(
        home, tmp_path, "--voxceleb2", tmp_path / "data", "--runs", tmp_path / "runs", "--clips", 6, "--only", 4
    )
    _, lines = read(tmp_path / "figure4_voxceleb2-sample.png")
    states = {line["clip"]: line["state"] for line in lines if line["row"] == "still"}
    assert states == {
        "id00000/v0/00001": "shown",
        "id00000/v1/00001": "not run",
        "id00001/v0/00001": "missing",
        "id00001/v1/00001": "no clip",
        "id00002/v0/00001": "missing",
        "id00002/v1/00001": "shown",
    }
    assert capsys.readouterr().err.count("missing: ") == 4


def test_times_are_the_middles_of_equal_parts():
    assert footage.times(1, 41, 4) == [6, 16, 26, 36]
    assert footage.times(3, 6, 4) == [3, 4, 4, 5]


def test_ready_made_videos_are_shown(home, tmp_path):
    made = tmp_path / "made"
    for source in (home / "data/test/mp4").rglob("*.mp4"):
        name = source.relative_to(home / "data/test/mp4")
        (made / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, made / name)
    (made / "manifest.json").write_text(json.dumps({"name": "theirs", "first_frame": 0}))
    flags = ["--voxceleb2", home / "data", "--out", tmp_path / "runs", "--metrics", "psnr_rgb", "--no-report"]
    assert table1.main([*map(str, flags), "--methods", f"videos:{made}", "--no-strips"]) == 0
    assert command(home, tmp_path, "--runs", tmp_path / "runs", "--only", 4, "--clips", 1) == 0
    picture, lines = read(tmp_path / "figure4_voxceleb2-sample.png")
    theirs = [line for line in lines if line["row"] == "theirs"]
    assert [number_of(cut(picture, line)) for line in theirs] == [int(line["frame"]) for line in theirs]
    assert len({line["frame"] for line in theirs}) == 4


# -- Figures 5 and 6 -------------------------------------------------------------------------------------------------


def test_figure_5_shows_the_canonical_face_of_what_stands_above_it(home, tmp_path):
    model = home / "a.safetensors"
    clip = "id00002/v1/00001"
    assert command(home, tmp_path, "--only", 5, "--checkpoint", model, "--clip", clip) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["figure5.csv", "figure5.png"]
    picture, lines = read(tmp_path / "figure5.png")
    animator = animate.load(model, "cpu")
    above = {(line["panel"], line["left"]): line for line in lines if line["row"] == "source"}
    below = [line for line in lines if line["row"] == "canonical"]
    assert [(line["panel"], line["clip"]) for line in below] == [
        *(("(a)", f"id0000{i}/v0/00001") for i in range(PEOPLE)),
        *[("(b)", clip)] * 8,
    ]
    assert [int(line["frame"]) for line in below] == [0] * PEOPLE + [0, 6, 11, 17, 22, 28, 33, 39]
    for line in below:
        over, t = above[line["panel"], line["left"]], int(line["frame"])
        assert (over["clip"], int(over["frame"])) == (line["clip"], t)
        source = frames_of(home, line["clip"])[t]
        assert np.array_equal(cut(picture, over), source)
        face = animator.canonical(source)
        assert np.array_equal(cut(picture, line)[:: CELL // len(face), :: CELL // len(face)], face)
        assert line["weights"] == f"a.safetensors:{sha256(model)}"


def ablations(home, folder, names=("ortho-none", "ortho-cosine", "full"), seed: int = 0) -> None:
    """Table 4 with tiny models, scored on the tree: what protocols.ablations leaves."""
    run = home / "runs/voxceleb2/still"
    plan = {"schema": 1, "steps": 2, "recipe_steps": 60, "tables": {"table4": {"seeds": 1, "clips": 6}}}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "ablations.json").write_text(json.dumps(plan))
    for name in names:
        job = folder / f"{name}-seed{seed}"
        shutil.copytree(run, job / "evaluation", ignore=shutil.ignore_patterns("generated"))
        shutil.copy(home / ("a.safetensors" if name == "full" else "b.safetensors"), job / "model.safetensors")
        digest = sha256(job / "model.safetensors")
        info = rows.read_run(run)
        info["method"] |= {"kind": "method", "weights": {"model.safetensors": digest}}
        rows.write_run(job / "evaluation", info)
        (job / "done.json").write_text(json.dumps({"schema": 1, "steps": 2, "model": digest}))
        spread = {"canonical": {"yaw": 1, "pitch": 1, "roll": 1}, "driving": {"yaw": 9, "pitch": 9, "roll": 9}}
        found = {"schema": 1, "model": digest, "list": info["list"]["sha256"]}
        found["clips"] = dict.fromkeys(info["clips"], spread)
        (job / "canonical.json").write_text(json.dumps(found))


def test_figure_6_has_a_row_for_each_variant(home, tmp_path, capsys):
    ablations(home, tmp_path / "ablations")
    assert command(home, tmp_path / "out", "--only", 6, "--ablations", tmp_path / "ablations") == 0
    names = ["figure6.png", "figure6.csv", "pose_spread.png", "pose_spread.csv"]
    assert capsys.readouterr().out.split() == [str(tmp_path / "out" / name) for name in names]
    picture, lines = read(tmp_path / "out/figure6.png")
    labels = ["source", "no constraint", "cosine", "L_ortho"]
    assert [line["row"] for line in lines] == [label for label in labels for _ in range(8)]
    faces = {name: animate.load(home / f"{name}.safetensors", "cpu") for name in "ab"}
    for line in lines[8:]:
        face = faces["a" if line["row"] == "L_ortho" else "b"].canonical(
            frames_of(home, line["clip"])[int(line["frame"])]
        )
        assert np.array_equal(cut(picture, line), figures.fitted(face))
    assert [int(line["frame"]) for line in lines[:8]] == [0, 13, 26, 39] * 2


def test_a_variant_that_is_not_there_keeps_its_row(home, tmp_path, capsys):
    ablations(home, tmp_path / "ablations")
    (tmp_path / "ablations/ortho-cosine-seed0/done.json").unlink()
    model = tmp_path / "ablations/ortho-none-seed0/model.safetensors"
    model.write_bytes(model.read_bytes() + b" ")
    assert command(home, tmp_path / "out", "--only", 6, "--ablations", tmp_path / "ablations") == 1
    _, lines = read(tmp_path / "out/figure6.png")
    states = {line["row"]: line["state"] for line in lines}
    assert states == {"source": "shown", "no constraint": "no model", "cosine": "no model", "L_ortho": "shown"}
    said = capsys.readouterr().err
    assert "cosine: " in said
    assert (tmp_path / "out/pose_spread.png").is_file()
    plot = figures.pose_spread(ablation.load("table4", tmp_path / "ablations"))
    texts = [text.get_text() for axes in plot.axes for text in axes.texts]
    assert texts == ["no value"] * 4  # cosine, in each of four panels
    with open(tmp_path / "out/pose_spread.csv") as file:
        told = [(line["row"], line["n"], line["degrees"] != "") for line in csv.DictReader(file)]
    wanted = {"no constraint": "6", "cosine": "0", "L_ortho": "6", "driving frames": "6"}
    assert told[:4] == [(label, n, n != "0") for label, n in wanted.items()]
    assert "not done" in said
    assert "not the model that done.json names" in said


def test_the_seed_is_the_one_that_most_variants_have(home, tmp_path):
    from protocols.figures.panels import Model, variants

    ablations(home, tmp_path, ("full",), 0)
    ablations(home, tmp_path, ("full", "ortho-none"), 1)
    found = variants(tmp_path, lambda label, path, digest: Model(label, path, digest, None))
    assert [m if isinstance(m, str) else m.path.parent.name for m in found] == [
        "ortho-none-seed1",
        f"cosine: {tmp_path / 'ortho-cosine-seed1'}: not done; give python -m protocols.ablations table4 again",
        "full-seed1",
    ]


def test_the_spread_of_pose_is_the_table_s_seeds_averaged(tmp_path):
    write(tmp_path, "table4", PRINTED)
    file = tmp_path / "full-seed1/canonical.json"
    record = json.loads(file.read_text())
    for clip in record["clips"].values():
        clip["canonical"]["yaw"] += 2
    file.write_text(json.dumps(record))
    found = ablation.load("table4", tmp_path)
    spreads = figures.pose_spreads(found)
    assert {label: e.mean for label, e in spreads["yaw"].items()} == pytest.approx(
        {"no constraint": 2.95, "cosine": 2.96, "L_ortho": 4.0, "driving frames": 12.0}
    )
    for label, e in spreads["all three"].items():  # Table 4's own column
        assert e == found.summary.estimates[label, found.summary.blocks[0], ablation.POSE]
    figure = figures.pose_spread(found)
    assert [axes.get_title("left") for axes in figure.axes] == ["all three", "yaw", "pitch", "roll"]
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == [
        *("no constraint", "cosine", "L_ortho", "driving frames")
    ]
    dashed = [line.get_xdata()[0] for axes in figure.axes for line in axes.lines if line.get_linestyle() == "--"]
    assert dashed == [7.0, 12.0, 6.0, 3.0]
    assert "300 of the recipe's 60000 steps" in figure.get_suptitle()
    lines = figures.pose_record(found, tmp_path)
    assert len(lines) == 16
    assert (lines[2]["row"], lines[2]["n"], lines[2]["n_speakers"], lines[2]["n_seeds"]) == ("L_ortho", 12, 6, 2)
    assert figures.write_plot(figure, tmp_path / "a.png").stat().st_size > 10_000


# -- the command -----------------------------------------------------------------------------------------------------


def test_figures_for_which_nothing_was_run_are_left_out_and_said(home, tmp_path, capsys, monkeypatch):
    from fctfg import checkpoints

    monkeypatch.setattr(checkpoints, "BUNDLED", tmp_path / "none.safetensors")
    assert command(home, tmp_path, "--clips", 1) == 0
    said = capsys.readouterr()
    assert [line.partition(":")[0] for line in said.err.splitlines()] == ["Fig. 5 left out", "Fig. 6 left out"]
    assert "make table4 BASE=RUN STEPS=N" in said.err
    assert len(said.out.split()) == 2
    assert command(home, tmp_path, "--only", 6) == 1
    assert command(home, tmp_path, "--only", 6, "--allow-missing") == 0
    assert not (tmp_path / "figure6.png").exists()


def test_one_line_errors(home, tmp_path, capsys):
    def said(*flags: object) -> str:
        assert command(home, tmp_path / "out", *flags) == 2
        text = capsys.readouterr().err.strip()
        assert text.startswith("error: ")
        assert text.count("\n") == 0, text
        return text

    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(b"nothing")
    assert "no such folder" in said("--runs", tmp_path / "none")
    assert "no such folder, and" in said("--voxceleb2", tmp_path / "none")
    assert "none.safetensors: no such file" in said("--checkpoint", tmp_path / "none.safetensors")
    assert "not a model file" in said("--checkpoint", broken, "--only", 5)
    assert "id00009/x: no clip of" in said("--clip", "id00009/x")
    assert "device 'nowhere' cannot be had" in said(
        "--checkpoint", home / "a.safetensors", "--device", "nowhere", "--only", 5
    )
    assert not (tmp_path / "out").exists()
    (tmp_path / "out").write_text("a file")
    assert "cannot be read or written" in said("--only", 4, "--clips", 1)


def test_runs_of_a_tree_need_its_name(home, tmp_path, capsys):
    assert main(["--runs", str(home / "runs"), "--out", str(tmp_path), "--only", "4"]) == 2
    assert "name the tree with --voxceleb2 DIR" in capsys.readouterr().err


def test_puppets_are_found_where_they_were_drawn(tmp_path, monkeypatch, capsys):
    from protocols import puppets

    monkeypatch.setenv("FCTFG_CACHE", str(tmp_path / "stages"))
    monkeypatch.setitem(puppets.AMOUNTS, "voxceleb2", puppets.Amount(2, 1, (1.2, 1.2)))
    flags = ["--method", "still", "--layout", "voxceleb2", "--metrics", "psnr_rgb", "--no-strips", "--limit", "1"]
    flags += ["--detail", "0", "--workers", "1", "--out", str(tmp_path / "runs")]
    assert puppets.main(flags) == 0
    own = ["--runs", str(tmp_path / "runs"), "--only", "4", "--out", str(tmp_path / "out")]
    assert main(own) == 0
    _, lines = read(tmp_path / "out/figure4_puppets-voxceleb2-layout.png")
    assert {line["state"] for line in lines} == {"shown"}
    capsys.readouterr()
    assert main([*own, "--puppets", str(tmp_path / "elsewhere")]) == 2
    assert "name their folder with --puppets" in capsys.readouterr().err
