"""The protocol on puppets: drawn once, labelled, scored against the truth, controls ranked as they must be."""

from __future__ import annotations

import json

import numpy as np
import pytest

from fctfg.data.clips import find_voxceleb2
from fctfg.data.puppets.write import read_truth
from protocols import cliplist, methods, puppets, table1, voxceleb2
from protocols.methods import CONTROLS
from results import rows
from results.runs import Run

PEOPLE = 3
FLAGS = ("--identities", str(PEOPLE), "--clips", "1")


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Cache and puppets of this module, drawn once: three people, 1.6 s each."""
    folder = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FCTFG_CACHE", str(folder / "stages"))
        patch.setitem(puppets.AMOUNTS, "voxceleb2", puppets.Amount(PEOPLE, 1, (1.6, 1.6)))
        patch.setitem(puppets.AMOUNTS, "mead", puppets.Amount(1, 1, (1.6, 1.6)))
        yield folder


def evaluate(home, method: str, *more: str, layout: str = "voxceleb2") -> dict[str, dict]:
    out = home / "runs"
    flags = ["--method", method, "--layout", layout, "--out", str(out), "--no-strips", "--workers", "2", *more]
    puppets.main([*(FLAGS if layout == "voxceleb2" else ()), *flags])
    folder = out / layout / method
    return {"run": json.loads((folder / "run.json").read_text()), "rows": {r["clip"]: r for r in rows.read(folder)}}


def means(found: dict, name: str) -> float:
    values = [row["metrics"][name] for row in found["rows"].values()]
    assert len(values) == PEOPLE
    return float(np.mean(values))


@pytest.fixture(scope="module")
def controls(home):
    return {name: evaluate(home, name) for name in ("truth", "reencode", "still", "shuffled-audio")}


def test_everything_is_labelled_puppets(controls):
    for found in controls.values():
        run = found["run"]
        assert (run["data"], run["block"]) == ("puppets", "Puppets (VoxCeleb2 layout)")
        assert run["n_scored"] == run["n_expected"] == PEOPLE
        assert {"lmd_mouth_puppet", "lse_c_puppet", "control_pose_r"} <= run["metrics"].keys()
        assert not {"lmd_mouth_puppet", "lse_c_puppet"} & run["unavailable"].keys()


def test_the_controls_rank_as_they_must(controls):
    truth, again, still, shuffled = (controls[n] for n in ("truth", "reencode", "still", "shuffled-audio"))
    assert means(truth, "ssim_wang_rgb") == 1 > means(again, "ssim_wang_rgb") > means(still, "ssim_wang_rgb")
    assert means(truth, "lmd_mouth_puppet") == 0 < means(again, "lmd_mouth_puppet") < means(still, "lmd_mouth_puppet")
    assert means(truth, "lse_c_puppet") > 2 * max(means(still, "lse_c_puppet"), means(shuffled, "lse_c_puppet"))
    assert abs(means(again, "lse_c_puppet") - means(truth, "lse_c_puppet")) < 0.2
    assert means(shuffled, "ssim_wang_rgb") == 1


def test_control_is_measured_against_the_truth(controls):
    for factor in ("lips", "blink"):
        values = {
            name: [row["metrics"][f"control_{factor}_r"] for row in found["rows"].values()]
            for name, found in controls.items()
        }
        moving = [i for i, value in enumerate(values["truth"]) if value is not None]
        assert moving
        assert min(values["truth"][i] for i in moving) > 0.6
        assert [values["still"][i] for i in moving] == [0] * len(moving)
    assert means(controls["truth"], "control_pose_mae") < means(controls["still"], "control_pose_mae")
    assert means(controls["still"], "control_identity") > 0.9


def test_what_was_drawn_is_kept_and_a_smaller_question_takes_a_part_of_it(home, controls, monkeypatch):
    from fctfg.data.puppets import write

    monkeypatch.setattr(write, "write_clip", lambda *_, **__: pytest.fail("drawn again"))
    evaluate(home, "still", "--identities", "2", "--out", str(home / "fewer"))
    record = json.loads((home / "fewer/voxceleb2/still/run.json").read_text())
    assert record["clips"] == controls["still"]["run"]["clips"][:2]


def tree(home):
    (root,) = (home / "puppets").glob("voxceleb2-*")
    return root


def test_a_tree_of_puppets_is_called_that_by_the_other_protocols(home, controls, tmp_path):
    root = tree(home)
    assert cliplist.voxceleb2(root).data == "puppets"
    flags = ["--data", str(root), "--method", "truth", "--out", str(tmp_path / "out"), "--no-strips", "--limit", "1"]
    assert voxceleb2.main([*flags, "--metrics", "ssim_wang_rgb", "control_lips_mae"]) == 0
    record = json.loads((tmp_path / "out/run.json").read_text())
    assert record["data"] == "puppets"


def test_a_clip_without_its_truth_is_a_failure_of_one_line(home, controls, tmp_path):
    root = tree(home)
    clip = find_voxceleb2(root)[0]
    file = root / "truth" / f"{clip.id}.npz"
    whole = file.read_bytes()
    try:
        file.write_bytes(whole[:100])
        flags = ["--data", str(root), "--method", "truth", "--out", str(tmp_path / "out"), "--no-strips"]
        assert voxceleb2.main([*flags, "--metrics", "control_lips_mae"]) == 1
    finally:
        file.write_bytes(whole)
    row = next(r for r in rows.read(tmp_path / "out") if r["clip"] == clip.id)
    assert row["status"] == "failed"
    assert str(file) in row["failures"]["*"]
    assert "\n" not in row["failures"]["*"]


def test_the_truth_is_of_the_frames_that_are_scored(home, controls):
    """The reader's mouth opening, frame by frame, fits the truth at no other delay as well as at none."""
    from fctfg import media
    from metrics.puppets.instruments import load, part

    root, columns = tree(home), None
    best = []
    for clip in find_voxceleb2(root):
        truth = read_truth(root / "truth" / f"{clip.id}.npz")
        columns = truth["motion_names"].tolist().index("mouth_open")
        opened = truth["motion_25"][:, columns]
        seen = part(load()(media.read_video(root / clip.video, size=(256, 256))), "motion")[:, columns]
        assert len(seen) == len(opened)
        fit = {d: np.corrcoef(seen[5 + d : len(seen) - 5 + d], opened[5:-5])[0, 1] for d in range(-5, 6)}
        best.append(max(fit, key=fit.get))
    assert best == [0] * PEOPLE


def test_with_another_s_sound_its_own_mouth_is_known(home, controls, tmp_path):
    """The truth of "heard" is the donor's, at the sound's own time, and begins anew where the sound does."""
    from types import SimpleNamespace

    from fctfg.data.clips import SAMPLES_PER_FRAME
    from fctfg.data.puppets.motion import index
    from protocols import stages
    from protocols.first_frame import Evaluation

    root = tree(home)
    clips = cliplist.voxceleb2(root)
    other = SimpleNamespace(name="other", audio_of="another-speaker")
    ours = Evaluation(root, tmp_path, clips, other, {}, (), SimpleNamespace(cache=None), "never")
    own = Evaluation(root, tmp_path, clips, SimpleNamespace(name="own"), {}, (), SimpleNamespace(cache=None), "never")
    for number, clip in enumerate(clips.clips):
        donor = clips.clips[(number + 1) % PEOPLE]
        truth = ours._truth(clip, 1, 90)  # longer than the donor's clip of 40 frames
        mouth = read_truth(root / "truth" / f"{donor.id}.npz")["motion_25"]
        assert np.array_equal(truth["heard"][:38], mouth[1:39])
        assert np.array_equal(truth["motion"][:39], read_truth(root / "truth" / f"{clip.id}.npz")["motion_25"][1:])
        assert "heard" not in own._truth(clip, 1, 30)
        source = stages.read_source(clip, root, stages.clip_key(clip, root))
        heard = ours._audio(source)
        loud = np.sqrt(np.square(heard.reshape(-1, SAMPLES_PER_FRAME)).mean(1))[1:]
        opened = truth["heard"][: len(loud), index("mouth_open")]
        assert np.corrcoef(loud[:-1], opened[:-1])[0, 1] > 0.3


def test_all_names_every_method_of_table_1_and_says_why_one_cannot_be_had(monkeypatch, tmp_path, capsys):
    """Run, or unavailable with the reason; never left out without a word."""
    for name in ("FCTFG_WEIGHTS", "XDG_CACHE_HOME", "TORCH_HOME"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.setenv("FCTFG_CHECKPOINT", str(tmp_path / "none.safetensors"))
    specs, absent = table1._specs("all videos:/mine", on_puppets=True)
    assert specs == [*CONTROLS, "videos:/mine"]
    assert list(absent) == ["wav2lip", "makeittalk", "audio2head", "pc-avs", "fctfg"]
    assert absent["wav2lip"].startswith("wav2lip.pth not found")
    assert "unpack it into a folder pc_avs" in absent["pc-avs"]
    assert all("\n" not in why for why in absent.values())
    assert len(capsys.readouterr().err.splitlines()) == 5
    # named by itself, a method is not left out: its turn comes, and fails
    assert table1._specs("wav2lip still", True) == (["wav2lip", "still"], {})
    assert "wav2lip" in table1._specs("all wav2lip", True)[0]


def test_the_bundled_weights_know_puppets_alone(monkeypatch, tmp_path):
    """They compete on puppets. On people, "all" leaves them out with the reason; named, they stand apart."""
    monkeypatch.delenv("FCTFG_CHECKPOINT", raising=False)
    assert "fctfg" in table1._specs("all", on_puppets=True)[0]
    _, absent = table1._specs("all", on_puppets=False)
    assert "seen puppets alone; FCTFG_CHECKPOINT" in absent["fctfg"]
    assert table1._specs("fctfg", on_puppets=False) == (["fctfg"], {})
    record = methods.describe(methods.load("fctfg"), "fctfg")
    for data, why in (("puppets", ""), ("full", "its weights have seen puppets alone")):
        info = {"method": record, "block": "puppets: voxceleb2" if data == "puppets" else "VoxCeleb2", "data": data}
        assert Run(tmp_path, info, {}).unofficial == why
    own = tmp_path / "own.safetensors"
    own.write_bytes(b"")
    monkeypatch.setenv("FCTFG_CHECKPOINT", str(own))
    assert methods.describe(methods.load("fctfg"), "fctfg")["trained_on"] == ""
    assert "fctfg" in table1._specs("all", on_puppets=False)[0]


@pytest.mark.slow
def test_table1_without_data_runs_on_puppets_of_both_layouts(home, tmp_path, capsys):
    flags = ["--methods", "truth still", "--out", str(tmp_path / "runs"), "--reports", str(tmp_path / "reports")]
    monkey = {"--identities": "1", "--clips": "1"}
    assert table1.main([*flags, *(v for pair in monkey.items() for v in pair)]) == 0
    text = (tmp_path / "reports/table1.md").read_text()
    assert "Puppets (VoxCeleb2 layout)" in text
    assert "Puppets (MEAD layout)" in text
    assert "unavailable" not in text.partition("## ")[0]
