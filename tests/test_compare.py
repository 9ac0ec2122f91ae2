"""``python -m metrics``: two files, two folders, pictures, and what is wrong with them."""

from __future__ import annotations

import numpy as np
import pytest
import trees
from PIL import Image

from fctfg import media
from metrics.__main__ import main
from results import rows

METRICS = ["--metrics", "ssim_wang_rgb", "psnr_rgb"]


@pytest.fixture
def folders(tmp_path):
    """truth/ and made/ with two speakers' clips; made is truth with noise."""
    rng = np.random.default_rng(0)
    for seed, name in enumerate(("a/1", "a/2", "b/1")):
        clip = trees.frames(30, 64, seed)
        media.write_video(tmp_path / f"truth/{name}.mp4", clip, audio=trees.tone())
        noisy = np.clip(clip + rng.normal(0, 8, clip.shape), 0, 255).astype(np.uint8)
        media.write_video(tmp_path / f"made/{name}.mp4", noisy)
    return tmp_path / "truth", tmp_path / "made"


def test_two_files(folders, capsys):
    truth, made = folders
    assert main([str(truth / "a/1.mp4"), str(made / "a/1.mp4"), *METRICS]) == 0
    out = capsys.readouterr().out
    assert "ssim_wang_rgb" in out
    assert "1/1" in out


def test_folders_give_a_table_rows_and_coverage(folders, tmp_path, capsys):
    truth, made = folders
    (made / "b/1.mp4").unlink()
    media.write_video(made / "c/9.mp4", trees.frames())
    flags = [str(truth), str(made), *METRICS, "--out", str(tmp_path / "out")]
    assert main(flags) == 1
    said = capsys.readouterr()
    assert "2/3" in said.out
    assert "no generated file" in said.err
    assert "c/9.mp4 has no reference" in said.err
    assert main([*flags, "--allow-missing"]) == 0
    found = {row["clip"]: row for row in rows.read(tmp_path / "out")}
    assert found["b/1"]["status"] == "failed"
    assert 0.3 < found["a/1"]["metrics"]["ssim_wang_rgb"] < 1
    assert found["a/1"]["identity"] == "a"


def test_scored_files_are_not_redone_and_changed_ones_are(folders, tmp_path, monkeypatch):
    from metrics import compare

    truth, made = folders
    flags = [str(truth), str(made), *METRICS, "--out", str(tmp_path / "out")]
    assert main(flags) == 0
    media.write_video(made / "a/2.mp4", trees.frames(30, 64, 9))
    scored = []
    original = compare.score
    monkeypatch.setattr(compare, "score", lambda pair, *rest: scored.append(pair.name) or original(pair, *rest))
    assert main(flags) == 0
    assert scored == ["a/2"]


def test_length_size_and_rate_differ_with_a_note_each(tmp_path, capsys):
    media.write_video(tmp_path / "t.mp4", trees.frames(40, 64), audio=trees.tone(40))
    media.write_video(tmp_path / "g.mp4", np.repeat(trees.frames(30, (128, 128)), 2, 0), fps=50)
    assert main([str(tmp_path / "t.mp4"), str(tmp_path / "g.mp4"), *METRICS]) == 0
    said = capsys.readouterr().err
    assert "50 fps, read at 25" in said
    assert "128x128 against 64x64" in said
    assert "30 frames against 40: the first 30 are compared" in said


def test_pictures_keep_their_size(tmp_path, capsys):
    picture = trees.frames(1, 200)[0]
    Image.fromarray(picture).save(tmp_path / "t.png")
    Image.fromarray(picture).resize((100, 100)).save(tmp_path / "g.jpg")
    assert main([str(tmp_path / "t.png"), str(tmp_path / "t.png"), *METRICS]) == 0
    assert "1.0000" in capsys.readouterr().out
    assert main([str(tmp_path / "t.png"), str(tmp_path / "g.jpg"), *METRICS]) == 0
    assert "100x100 brought to the reference's 200x200" in capsys.readouterr().err


def test_grey_sixteen_bit_and_rotated_pictures_are_read(tmp_path):
    picture = trees.frames(1, 64)[0]
    Image.fromarray(picture).save(tmp_path / "t.png")
    Image.fromarray(picture[..., 0]).save(tmp_path / "grey.png")
    rotated = Image.fromarray(picture).rotate(90, expand=True)
    exif = rotated.getexif()
    exif[0x0112] = 6
    rotated.save(tmp_path / "turned.png", exif=exif)
    assert main([str(tmp_path / "t.png"), str(tmp_path / "grey.png"), *METRICS]) == 0
    assert main([str(tmp_path / "t.png"), str(tmp_path / "turned.png"), "--metrics", "psnr_rgb"]) == 0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: ("absent.mp4", "absent.mp4"), "no such file"),
        (lambda p: (p, p / "clip.mp4"), "two files or two folders"),
        (lambda p: (p / "empty", p / "empty"), "holds no videos"),
        (lambda p: (p / "text.mp4", p / "clip.mp4"), None),
    ],
)
def test_bad_input_is_one_line(tmp_path, capsys, make, message):
    media.write_video(tmp_path / "clip.mp4", trees.frames())
    (tmp_path / "text.mp4").write_text("not a video")
    (tmp_path / "empty").mkdir()
    status = main([*map(str, make(tmp_path)), *METRICS])
    said = capsys.readouterr().err.strip()
    assert status == (2 if message else 1)
    assert (message or "text.mp4") in said
    assert "Traceback" not in said
    assert len(said.split("\n")) == 1


def test_list_says_what_each_metric_is(capsys):
    assert main(["--list"]) == 0
    out = capsys.readouterr().out
    for text in ("ssim_wang_rgb", "higher is better", "lower is better", "source:", "lse_c_official", "px at 256"):
        assert text in out


def test_unknown_metric_lists_the_known(folders, capsys):
    assert main([str(folders[0]), str(folders[1]), "--metrics", "ssim"]) == 2
    assert "known: ssim_wang_rgb" in capsys.readouterr().err
