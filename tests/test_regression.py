"""The recorded values hold, and a changed constant anywhere is found and named."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from metrics import face_tracks, mfcc, registry, ssim, sync
from metrics.regression import __main__ as command
from metrics.regression import material, record
from metrics.regression.measure import PARTS, measure

ROOT = Path(__file__).resolve().parent.parent


def found(capsys, *arguments: str) -> tuple[int, list[str]]:
    """Exit status and printed lines of the command."""
    status = command.main(list(arguments))
    return status, capsys.readouterr().out.splitlines()


def named(lines: list[str]) -> set[str]:
    """The metrics that the lines say have moved."""
    return {line.split(": from ")[0].split()[-1] for line in lines if ": from " in line}


def test_no_value_has_moved(capsys):
    status, lines = found(capsys)
    assert status == 0, lines
    assert lines == [f"{len(record.read())} values compared with {record.FILE}: none moved"]


def test_every_metric_that_needs_no_download_is_recorded():
    """The detector or network before it may need one; what follows is still scored."""
    recorded = {metric for _, metric in record.read()}
    plain = {name for name, metric in registry.METRICS.items() if metric.requires is None}
    behind = {name for name, metric in registry.METRICS.items() if metric.group in ("landmarks", "motion")}
    lse = {f"lse_{number}_{variant}" for number in ("c", "d", "lag") for variant in ("official", "valid", "lrs")}
    assert plain | behind | lse | {"lpips_alex", "lpips_vgg", "fid", "csim"} <= recorded
    assert {case.split("/")[0] for case, _ in record.read()} == set(PARTS)


SSIMS = {"ssim_wang_rgb", "ssim_wang_luma", "ssim_skimage_default"}
MULTI, OTHERS = {"ms_ssim_wang_rgb"}, {"psnr_rgb", "l1_rgb"}
SYNC, TRACK = {"lse_c_official", "lse_d_official", "lse_lag_official"}, {"track_frames", "face_size"}


def grey_outside(patch, level: int) -> None:
    defaults = (*face_tracks.TrackRules.__init__.__defaults__[:-1], level)
    patch.setattr(face_tracks.TrackRules.__init__, "__defaults__", defaults)


#: what is changed, the part that is scored, the metrics that must be named, and those that must not
CHANGES = {
    "K1 of SSIM, .01 to .02": (
        lambda patch: patch.setattr(ssim, "C1", (0.02 * 255) ** 2), "image", SSIMS, OTHERS
    ),
    "K2 of SSIM, .03 to .04": (
        lambda patch: patch.setattr(ssim, "C2", (0.04 * 255) ** 2), "image", SSIMS | MULTI, OTHERS
    ),
    "sigma of SSIM's window, 1.5 to 1.6": (
        lambda patch: patch.setattr(ssim.Window.gaussian.__func__, "__defaults__", (11, 1.6)),
        "image", SSIMS - {"ssim_skimage_default"} | MULTI, OTHERS | {"ssim_skimage_default"},
    ),
    "second weight of MS-SSIM, .2856 to .2866": (
        lambda patch: patch.setattr(ssim, "SCALE_WEIGHTS", (0.0448, 0.2866, 0.3001, 0.2363, 0.1333)),
        "image", MULTI, OTHERS | SSIMS,
    ),
    "pre-emphasis of the MFCC, .97 to .95": (
        lambda patch: patch.setattr(mfcc, "PRE_EMPHASIS", 0.95),
        "sound", {"mfcc_size", *(f"mfcc_{i}" for i in range(13))}, set(),
    ),
    "largest offset of LSE, 15 to 14 frames": (
        lambda patch: patch.setattr(sync, "VSHIFT", 14), "track", SYNC, TRACK | {"crop_level"}
    ),
    "grey outside the frame in a face's crop, 110 to 111": (
        lambda patch: grey_outside(patch, 111), "track", {"crop_level"}, TRACK
    ),
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_constant_turns_it_red_and_names_the_metric(change, monkeypatch, capsys):
    patch, part, must, must_not = CHANGES[change]
    patch(monkeypatch)
    status, lines = found(capsys, "--only", part)
    assert status == 1
    moved = named(lines)
    assert must <= moved
    assert not must_not & moved
    assert lines[-1].endswith(f"{len(lines) - 1} moved")


def test_what_is_printed_and_updated(tmp_path, capsys, monkeypatch):
    file = tmp_path / "metrics.csv"
    arguments = ("--only", "landmarks", "identity", "--file", str(file))
    assert found(capsys, *arguments, "--update")[0] == 0
    before = file.read_bytes()
    assert found(capsys, *arguments, "--update")[1] == [f"{file}: 0 of 29 values recorded anew"]
    assert file.read_bytes() == before
    text = before.decode().replace("opened,lmd_face_dlib,0.474732", "opened,lmd_face_dlib,0.474742")
    file.write_text(text.replace("identity/drawn,csim", "identity/drawn,old"))
    status, lines = found(capsys, *arguments)
    assert status == 1
    assert lines[0].startswith("identity/drawn csim: new, 0.69603")
    assert lines[1].startswith("identity/drawn old: recorded as 0.69603")
    assert lines[1].endswith("and no longer measured")
    assert lines[2].startswith("landmarks/opened lmd_face_dlib: from 0.474742")
    assert "(by -1.00e-05, tolerance 4.7e-07)" in lines[2]
    assert lines[3] == f"29 values compared with {file}: 3 moved"
    assert found(capsys, "--only", "landmarks", "--file", str(file), "--update")[0] == 0
    assert ("identity/drawn", "old") in record.read(file), "parts that were not measured keep their lines"


def test_a_value_that_is_no_number_has_moved():
    recorded = {("image/x", "psnr_rgb"): record.Recorded(30.0, 1e-4)}
    assert record.moved({"image/x": {"psnr_rgb": float("nan")}}, recorded)
    assert record.moved({"image/x": {"psnr_rgb": float("inf")}}, recorded)
    recorded = {("image/x", "psnr_rgb"): record.Recorded(float("inf"), 0.0)}
    assert not record.moved({"image/x": {"psnr_rgb": float("inf")}}, recorded)
    assert record.moved({"image/x": {"psnr_rgb": 99.0}}, recorded)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (None, "no such file"),
        ("a,b\n1,2\n", "its columns are not"),
        ("case,metric,value,tolerance\nx,y,one,2\n", "one"),
    ],
)
def test_a_file_that_cannot_be_used_is_one_line(text, says, tmp_path, capsys):
    file = tmp_path / "metrics.csv"
    if text is not None:
        file.write_text(text)
    assert command.main(["--file", str(file)]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {file}: ")
    assert says in error
    assert error.count("\n") == 1
    assert command.main(["--only", "images", "--file", str(record.FILE)]) == 2
    assert "unknown part 'images'; known: image, sync" in capsys.readouterr().err


def test_the_set_is_the_same_each_time_and_leaves_no_trace(monkeypatch):
    monkeypatch.setenv("FCTFG_WEIGHTS", "/as/it/was")
    for a, b in zip(material.clips().values(), material.clips().values(), strict=True):
        assert (a == b).all()
        assert a.std() > 20
    one = measure(["distribution"])
    assert one == measure(["distribution"])
    import os

    assert os.environ["FCTFG_WEIGHTS"] == "/as/it/was"


def test_help_teaches_and_loads_no_torch():
    code = (
        "import sys\nfrom metrics.regression.__main__ import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        "sys.exit(bool({'torch', 'scipy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert "--update" in done.stdout
    assert len(done.stdout.splitlines()) > 20
