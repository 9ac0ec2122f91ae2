"""The ablations of Tables 3 and 4: what is trained, that nothing is done twice, and what the table says."""

from __future__ import annotations

import argparse
import csv
import dataclasses
import json
import shutil
import sys

import pytest
import tiny_training

from fctfg import recipes, settings
from protocols import puppets
from protocols.ablations import plan, start, steps
from protocols.ablations.__main__ import main
from results import ablation, ablation_page, ablation_tables, paper, rows

TWO = {"LSTM, image D": "lstm-image", "1D-Conv, image D": "full"}


# -- planning --------------------------------------------------------------------------------------------------------


def test_both_tables_share_the_full_model_and_nothing_else():
    three, four = ({job.name for job in plan.jobs(table, 2)} for table in ("table3", "table4"))
    assert three & four == {"full-seed0", "full-seed1"}
    assert (len(three), len(four)) == (8, 6)
    assert plan.jobs("table4", 1)[0].steps == ("train", "export", "evaluate", "canonical", "seal")
    assert "canonical" not in plan.jobs("table3", 1)[0].steps


@pytest.mark.parametrize(("table", "number"), [("table3", 3), ("table4", 4)])
def test_rows_are_the_paper_s_and_every_variant_is_one_change_of_the_full_model(table, number):
    about = ablation.TABLES[table]
    assert list(about.variants) == list(dict.fromkeys(item.method for item in paper.load(number)))
    full = recipes.override(recipes.demo(), *plan.VARIANTS["full"])
    found = [recipes.override(recipes.demo(), *plan.VARIANTS[name]) for name in about.variants.values()]
    assert len(set(found)) == len(found)
    assert full == recipes.demo()
    assert full in found
    changed = {line.split(":")[0] for other in found for line in settings.differences(full, other)}
    assert changed == ({"latent.fusion", "losses.discriminator"} if number == 3 else {"losses.ortho_form"})


def test_a_recipe_goes_through_the_command_line_whole():
    wanted = tiny_training.recipe("losses.ortho_center=false", "fctfg.fine_tuned=encoder", "losses.sync_box=0,0.1,1,1")
    name, changes = start.assignments(wanted)
    assert name == "demo"
    assert recipes.override(recipes.get(name), *changes) == wanted
    assert start.assignments(recipes.paper256()) == ("paper256", [])


# -- real runs of a tiny model ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with the tiny recipe's first stages; two people of 1.2 s."""
    folder = tmp_path_factory.mktemp("ablations")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FCTFG_CACHE", str(folder / "stages"))
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.setitem(puppets.AMOUNTS, "voxceleb2", puppets.Amount(2, 1, (1.2, 1.2)))
        tiny_training.earlier_stages(folder / "base", steps=1)
        yield folder


def command(home, *more: str, out: str = "out", budget: int = 2) -> int:
    flags = ["--identities", "2", "--clips", "1", "--device", "cpu", "--set", "pool=2", "--workers", "1", "--no-strips"]
    flags += [
        "--allow-missing",
        "--base",
        str(home / "base"),
        "--out",
        str(home / out),
        "--reports",
        str(home / "reports"),
    ]
    flags += ["--metrics", "ssim_wang_rgb", "psnr_rgb", "--puppets", str(home / "puppets"), "--steps", str(budget)]
    with pytest.MonkeyPatch.context() as patch:  # two of the four variants are enough
        two = dataclasses.replace(plan.TABLES["table3"], variants=TWO)
        patch.setattr(plan, "TABLES", {"table3": two})
        return main(["table3", "--seeds", "1", *flags, *more])


@pytest.fixture(scope="module")
def trained(home):
    """Two variants, trained and scored: the first in a process of its own, the second here, where torch is loaded."""
    from fctfg.train.__main__ import main as train

    apart, words = steps._child, []

    def child(given, *rest):
        words.append(given)
        return apart(given, *rest) if len(words) == 1 else train(given[3:])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(steps, "_child", child)
        assert command(home) == 0
    assert [given[:4] for given in words] == [[sys.executable, "-m", "fctfg.train", "fctfg"]] * 2
    return home / "out"


def test_every_variant_is_trained_from_one_start_and_scored(trained):
    done = {name: json.loads((trained / f"{name}-seed0/done.json").read_text()) for name in ("full", "lstm-image")}
    assert done["full"]["start"] == done["lstm-image"]["start"]
    assert done["full"]["start"]["stages"]["inversion"]["step"] == 1
    assert {d["steps"] for d in done.values()} == {2}
    from fctfg import model_file

    for name, fusion in (("full", "conv"), ("lstm-image", "lstm")):
        recipe, taken = model_file.describe(trained / f"{name}-seed0/model.safetensors")
        assert (recipe.latent.fusion, taken["fctfg"]) == (fusion, 2)
        run = rows.read_run(trained / f"{name}-seed0/evaluation")
        assert done[name]["model"] in run["method"]["weights"].values()
        assert run["n_scored"] == run["n_expected"] == 2
    found = ablation.load("table3", trained)
    lstm, conv = (run.values("ssim_wang_rgb") for run in found.summary.runs)
    assert len(lstm) == len(conv) == 2
    assert lstm != conv
    assert found.reduced
    assert found.missing == ("LSTM, video D: seed 0: not done", "1D-Conv, video D: seed 0: not done")


def test_the_same_command_does_nothing_again(home, trained, monkeypatch, capsys):
    from fctfg.method import FCTFG

    made = ("rows/*.jsonl", "done.json", "model.*", "train/fctfg/log.jsonl", "train/fctfg/*/state.json")
    kept = {
        p: (p.read_bytes(), p.stat().st_mtime_ns) for job in trained.glob("*-seed0") for g in made for p in job.rglob(g)
    }
    assert len(kept) >= 12
    for module, name in ((steps, "train"), (steps, "export"), (FCTFG, "animate")):
        monkeypatch.setattr(module, name, lambda *_: pytest.fail("done again"))
    assert command(home) == 0
    assert "1 of 6] full seed 0: train: already done" in capsys.readouterr().err
    assert {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in kept} == kept


def bench_of(home, budget: int) -> steps.Bench:
    args = argparse.Namespace(device="cpu", precision="fp32")
    return steps.Bench(home / "out", start.read(home / "base", ("pool=2",)), budget, "puppets", None, None, args)


def test_more_steps_go_on_and_fewer_are_refused(home, trained):
    job = plan.Job("full", 0)
    longer = bench_of(home, 3)
    steps.check(job, longer)
    assert not steps.trained(job, longer)
    words = steps.command(job, longer)
    assert "--set=fctfg.steps=3" in words
    assert words[words.index("--inversion") + 1].endswith("base/inversion/step-00000001")
    assert words[words.index("--out") + 1] == str(trained / "full-seed0/train")
    with pytest.raises(start.AblationError, match="trained for 2 steps, more than --steps 1"):
        steps.check(job, bench_of(home, 1))
    other = dataclasses.replace(longer, start=start.read(home / "base", ("losses.sync=0.5",)))
    with pytest.raises(start.AblationError, match=r"of another recipe \(losses.sync: 0.1, not 0.5\)"):
        steps.check(job, other)


def test_an_export_that_was_cut_short_is_made_again(home, trained, tmp_path):
    folder = tmp_path / "full-seed0"
    shutil.copytree(trained / "full-seed0", folder)
    assert steps.exported(folder)
    model = folder / "model.safetensors"
    model.write_bytes(model.read_bytes()[:-1])
    assert not steps.exported(folder)
    steps.export(folder)
    assert steps.exported(folder)
    (folder / "model.json").unlink()
    assert not steps.exported(folder)


def test_one_line_errors(home, tmp_path, capsys):
    def said(*flags: str) -> str:
        assert command(home, *flags, out="elsewhere") == 2
        text = capsys.readouterr().err.strip()
        assert text.count("\n") == 0, text
        return text

    assert "no such folder; --base is the --out of python -m fctfg.train" in said("--base", str(tmp_path / "none"))
    (tmp_path / "part").mkdir()
    shutil.copytree(home / "base/stylegan2", tmp_path / "part/stylegan2")
    assert "holds no inversion and no sync-expert; train them first" in said("--base", str(tmp_path / "part"))
    assert "of another recipe (generator.size: 32, not 64)" in said("--set", "generator.size=64")
    assert "sync_expert.width" in said("--set", "sync_expert.width=2")
    assert "no field 'losses.nothing'" in said("--set", "losses.nothing=1")
    assert main(["table4", "--report-only", "--out", str(tmp_path / "nothing")]) == 2
    assert "no such file; run python -m protocols.ablations first" in capsys.readouterr().err
    assert not (home / "elsewhere").exists()


def test_variants_train_a_last_stage_on(home, trained, capsys):
    last = ["--start-from", str(trained / "full-seed0/train")]
    assert command(home, *last) == 2
    assert "was begun without --start-from" in capsys.readouterr().err

    from fctfg.train.__main__ import main as train

    words = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(steps, "_child", lambda given, *rest: words.append(given) or train(given[3:]))
        assert command(home, *last, out="on", budget=1) == 0
    begun = json.loads((home / "on/lstm-image-seed0/done.json").read_text())["start"]["stages"]["fctfg"]
    assert begun["step"] == 2
    assert all(given[given.index("--start-from") + 1] == begun["place"] for given in words)
    assert "fctfg step 2" in (home / "reports/table3-measured.md").read_text()
    assert command(home, out="on", budget=1) == 2
    assert "was begun with --start-from" in capsys.readouterr().err
    assert command(home, "--start-from", str(home / "base"), out="other") == 2
    assert "holds no last stage" in capsys.readouterr().err


def test_another_start_is_refused(home, trained, tmp_path, capsys):
    other = tmp_path / "base"
    shutil.copytree(home / "base", other)
    file = next((other / "inversion").glob("step-*/encoder.safetensors"))
    content = file.read_bytes()
    file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert command(home, "--base", str(other)) == 2
    assert "was begun from another checkpoint of inversion" in capsys.readouterr().err


# -- order of steps --------------------------------------------------------------------------------------------------


@pytest.fixture
def recorded(monkeypatch):
    """Steps that do nothing but say that they were asked."""
    asked = []
    monkeypatch.setattr(steps, "trained", lambda *_: False)
    monkeypatch.setattr(steps, "exported", lambda *_: False)
    for name in ("train", "export", "evaluate", "seal"):
        monkeypatch.setattr(steps, name, lambda *_, name=name: asked.append(name) or 0)
    return asked


def test_a_job_is_sealed_last_and_only_when_all_before_it_came_to_an_end(recorded, monkeypatch, tmp_path):
    bench = steps.Bench(tmp_path, None, 2, "puppets", None, argparse.Namespace(clips=()), None)
    steps.run(plan.Job("full", 0), bench, lambda *_: None)
    assert recorded == ["train", "export", "evaluate", "seal"]
    recorded.clear()
    monkeypatch.setattr(steps, "evaluate", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        steps.run(plan.Job("full", 0), bench, lambda *_: None)
    assert recorded == ["train", "export"]


def test_training_that_was_asked_to_stop_stops_the_command(home, trained, monkeypatch, capsys):
    monkeypatch.setattr(steps, "_child", lambda *_: steps.STOPPED)
    assert command(home, budget=3, out="stopped") == steps.STOPPED
    assert "the same command goes on" in capsys.readouterr().err


def test_nobody_works_beside_another_on_one_job(tmp_path):
    with (
        steps.alone(tmp_path),
        pytest.raises(start.AblationError, match="another process is at work"),
        steps.alone(tmp_path),
    ):
        pass


# -- the table, from rows written by hand ----------------------------------------------------------------------------

PEOPLE, CLIPS = 6, 2
SSIM = {"column": "SSIM", "unit": "", "better": "higher", "definition": "by hand", "version": 1}


def write(folder, table: str, offsets: dict[str, float], seeds=(0, 1), seed_step=0.01, drop=None) -> None:
    """Runs whose SSIM is 0.5 + the variant's offset + 0.01 a person + ``seed_step`` a seed; ``drop``: (job, clip)."""
    folder.mkdir(parents=True, exist_ok=True)
    clips = [f"p{p}/c{c}" for p in range(PEOPLE) for c in range(CLIPS)]
    stages = {name: {"step": 7, "sha256": "0"} for name in start.STAGES}
    about = {
        "schema": 1,
        "steps": 300,
        "recipe_steps": 60000,
        "batch": 8,
        "recipe": "demo",
        "set": [],
        "data": "puppets",
    }
    about |= {"device": "cpu (test)", "tables": {table: {"seeds": 2, "clips": len(clips)}}, "start": {"stages": stages}}
    (folder / "ablations.json").write_text(json.dumps(about))
    for name, offset in offsets.items():
        for seed in seeds:
            job = folder / f"{name}-seed{seed}"
            metrics = {"ssim_wang_rgb": SSIM}
            info = {"protocol": "puppets-voxceleb2", "block": "Puppets (VoxCeleb2 layout)", "data": "puppets"}
            info |= {"list": {"name": "by hand", "sha256": "1"}, "clips": clips, "metrics": metrics}
            info["method"] = {
                "name": f"{name} seed {seed}",
                "spec": "fctfg",
                "weights": {"model.safetensors": job.name},
            }
            rows.write_run(job / "evaluation", info)
            for i, clip in enumerate(clips):
                if drop == (job.name, clip):
                    continue
                # the noise differs between variants, so that differences have a width
                value = 0.5 + offset + 0.01 * (i // CLIPS) + seed_step * seed + 0.001 * ((i * len(name)) % 5)
                row = {"schema": 1, "clip": clip, "identity": clip[:2], "status": "scored", "key": "k"}
                rows.append(job / "evaluation/rows/0-of-1.jsonl", row | {"metrics": {"ssim_wang_rgb": value}})
            (job / "done.json").write_text(json.dumps({"schema": 1, "steps": 300, "model": job.name}))
            spread = {"yaw": 3 + offset, "pitch": 2.0, "roll": 1.0}
            driving = {"yaw": 12.0, "pitch": 6.0, "roll": 3.0}
            faces = {clip: {"canonical": spread, "driving": driving} for clip in clips}
            (job / "canonical.json").write_text(
                json.dumps({"schema": 1, "model": job.name, "list": "1", "clips": faces})
            )


#: as the paper prints SSIM: the full model first, the two others alike
PRINTED = {"ortho-none": -0.05, "ortho-cosine": -0.04, "full": 0.0}


def report(folder, *flags: str, table="table4") -> int:
    return main([table, "--report-only", "--out", str(folder), "--reports", str(folder / "reports"), *flags])


def test_the_table_of_table_4(tmp_path, capsys):
    write(tmp_path, "table4", PRINTED)
    assert report(tmp_path) == 0
    text = capsys.readouterr().out
    assert "measured: 300 steps, 2 seeds, 12 clips" in text
    assert "REDUCED BUDGET: 300 training steps of the last stage; recipe demo asks for 60000" in text
    assert "INCOMPLETE" not in text
    found = ablation.load("table4", tmp_path)
    full = found.summary.runs[-2]
    assert full.label == "L_ortho"
    # seeds are averaged within a clip: 0.5, two seeds 0.01 apart, person 0, no noise in clip 0
    assert full.values("ssim_wang_rgb")["p0/c0"] == pytest.approx(0.505)
    assert found.variants[0].spread["ssim_wang_rgb"] == pytest.approx(0.01 / 2**0.5)
    assert " ± 0.007 [" in text
    said = ablation_tables.agreements(found)
    assert [(item.metric.column, item.agrees) for item in said] == [("SSIM", True)]
    assert "the order agrees with the paper's in 2 of the 2 pairs that it tells apart" in said[0].sentence
    assert "excludes 0 for no constraint (worse), cosine (worse)." in said[0].sentence
    assert "Published: Table 4 of the paper, as printed" in text
    assert "| driving frames | 12/12 |" in text
    with open(tmp_path / "reports/table4-measured.csv") as file:
        lines = list(csv.DictReader(file))
    pose = {line["label"]: float(line["value"]) for line in lines if line["metric_variant"] == ablation.POSE}
    assert pose == pytest.approx({"no constraint": 5.95 / 3, "cosine": 5.96 / 3, "L_ortho": 2.0, "driving frames": 7.0})
    worse = next(line for line in lines if (line["label"], line["metric"]) == ("no constraint", "SSIM"))
    assert (worse["verdict"], worse["n_seeds"], worse["n_speakers"], worse["agreement"]) == ("worse", "2", "6", "yes")
    assert sum(line["source"] == "published" for line in lines) == 15
    page = (tmp_path / "reports/table4-measured.html").read_text()
    assert "REDUCED BUDGET" in page
    assert "Complete: every variant is trained and scored under every seed." in page
    assert "$\\pm$ 0.007" in (tmp_path / "reports/table4-measured.tex").read_text()


def test_an_order_other_than_the_paper_s_is_said(tmp_path):
    write(tmp_path, "table4", {"ortho-none": 0.05, "ortho-cosine": -0.04, "full": 0.0})
    (said,) = ablation_tables.agreements(ablation.load("table4", tmp_path))
    assert said.agrees is False
    assert "differs from the paper's: 1 of the 2 pairs" in said.sentence
    assert "'no constraint' > 'L_ortho' > 'cosine'" in said.sentence
    assert "no constraint (better), cosine (worse)" in said.sentence


def test_an_order_within_the_noise_may_be_chance(tmp_path):
    def sentence(offsets: dict[str, float], folder: str) -> str:
        write(tmp_path / folder, "table4", offsets)
        return ablation_tables.agreements(ablation.load("table4", tmp_path / folder))[0].sentence

    # the noise of write() lifts the full model above ortho-none by as much as is added here
    said = sentence({"ortho-none": 0.002, "ortho-cosine": 0.0, "full": 0.0}, "none")
    assert said.endswith("excludes 0 for no variant, so that the order may be chance.")
    said = sentence({"ortho-none": -0.0008, "ortho-cosine": -0.0002, "full": 0.0}, "one")
    assert said.endswith("excludes 0 for no constraint (worse), and does not for cosine.")


def test_what_is_missing_stands_on_the_face(tmp_path, capsys):
    write(tmp_path, "table4", {k: PRINTED[k] for k in ("ortho-none", "full")})
    shutil.rmtree(tmp_path / "ortho-none-seed1")
    assert report(tmp_path) == 1
    text = capsys.readouterr()
    assert "INCOMPLETE: cosine: seed 0: not done" in text.out
    assert "INCOMPLETE: no constraint: seed 1: not done" in text.out
    assert "unavailable" in next(line for line in text.out.split("\n") if line.startswith("| cosine"))
    assert "SSIM: the order cannot be compared with the paper's, for want of cosine." in text.out
    assert "incomplete: cosine: seed 0: not done" in text.err
    assert report(tmp_path, "--allow-missing") == 0


def test_a_clip_that_one_seed_lacks_is_not_counted(tmp_path):
    write(tmp_path, "table4", PRINTED, drop=("full-seed1", "p0/c0"))
    found = ablation.load("table4", tmp_path)
    assert found.missing == ("L_ortho: 11 of 12 clips scored under every seed",)
    assert "p0/c0" not in found.summary.runs[-2].values("ssim_wang_rgb")


def test_results_of_another_model_or_budget_do_not_count(tmp_path):
    write(tmp_path, "table4", PRINTED)
    done = tmp_path / "full-seed0/done.json"
    done.write_text(done.read_text().replace("300", "200"))
    other = tmp_path / "ortho-none-seed0/done.json"
    other.write_text(other.read_text().replace("ortho-none-seed0", "trained since"))
    assert ablation.load("table4", tmp_path).missing == (
        "no constraint: seed 0: scored with another model than it was trained to",
        "L_ortho: seed 0: trained for 200 of 300 steps",
    )


def test_the_report_needs_nothing_but_rows(tmp_path):
    write(tmp_path, "table3", dict.fromkeys(["full", "lstm-image", "lstm-video", "conv-video"], 0.0))
    written = ablation_page.write("table3", tmp_path, tmp_path / "r", "name", "the command")
    assert sorted(p.suffix for p in written.files) == [".csv", ".html", ".md", ".png", ".png", ".tex"]
    assert "pose spread" not in written.markdown


def test_the_spread_of_a_still_head_is_nothing():
    import numpy as np

    from fctfg.data.puppets.motion import MOTION, index
    from protocols.ablations.canonical import spread

    motion = np.zeros((12, len(MOTION)), np.float32)
    assert spread(motion) == {"yaw": 0, "pitch": 0, "roll": 0, "frames": 12}
    motion[:, index("yaw")] = [5, -5] * 6
    motion[:2] = np.nan
    assert spread(motion) == {"yaw": 5, "pitch": 0, "roll": 0, "frames": 10}
    motion[:7] = np.nan
    assert "5 of 12 frames" in spread(motion)["failure"]


@pytest.mark.parametrize(("table", "variants"), [("table3", 4), ("table4", 3)])
def test_the_rows_that_come_along_make_whole_tables(table, variants, tmp_path, capsys):
    assert main([table, "--reports", str(tmp_path)]) == 0
    said = capsys.readouterr()
    assert "--base RUN trains and measures your own" in said.err
    assert "REDUCED BUDGET" in said.out
    assert "INCOMPLETE" not in said.out
    found = ablation.load(table, ablation.SHIPPED)
    assert (found.seeds, len(found.variants), found.missing) == (2, variants, ())
    assert all(run.n_scored == 16 for variant in found.variants for run in variant.runs.values())
    text = "".join(file.read_text() for file in ablation.SHIPPED.rglob("*.json*"))
    assert not [word for word in text.split('"') if word.startswith("/")], "a path of one machine"
