"""The loop: a run that is killed, stopped or broken goes on, or stops, exactly as it should."""

from __future__ import annotations

import io
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tiny_training as tiny
import torch
from PIL import Image
from safetensors.torch import load_file

from fctfg import model, model_file, recipes
from fctfg.train import __main__ as command
from fctfg.train import checkpoint, loop
from fctfg.train import log as logs
from fctfg.train.checkpoint import CheckpointError

STEPS, EVERY = 7, (2, 100, 3, 3)  # reports, evaluations and checkpoints out of step with each other


def a_run(out: Path, earlier: Path) -> Path:
    out.mkdir()
    for stage in tiny.STAGES[:3]:
        (out / stage).symlink_to(earlier / stage)
    return out


def weights(folder: Path) -> dict[str, torch.Tensor]:
    place = checkpoint.newest(folder)
    return {f"{file.name}:{k}": v for file in place.glob("*.safetensors") for k, v in load_file(file).items()}


@pytest.mark.parametrize("stage", ["stylegan2", "fctfg"])
def test_killed_at_any_moment_and_run_again_it_is_the_undisturbed_run(stage, earlier, tmp_path):
    runs = [tmp_path / "undisturbed", tmp_path / "killed"]
    for out in runs:
        out.mkdir() if stage == "stylegan2" else a_run(out, earlier)
    tiny.train(stage, runs[0], STEPS, every=EVERY)

    moment = random.Random(stage)
    kills = 0
    for at_least in (2, 4):  # the step to be logged before it is killed, so that all of the run is covered
        process = tiny.processes().Process(
            target=tiny.child, args=(stage, runs[1], STEPS, (), {"every": EVERY, "pause": 0.05})
        )
        process.start()
        wait_for(lambda least=at_least: logged(runs[1] / stage) >= least, process)
        time.sleep(moment.random() * 0.3)
        process.kill()
        process.join()
        kills += process.exitcode == -signal.SIGKILL
    assert kills
    tiny.train(stage, runs[1], STEPS, every=EVERY)

    assert tiny.log(runs[1], stage) == tiny.log(runs[0], stage)
    one, other = (weights(out / stage) for out in runs)
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)
    states = [torch.load(checkpoint.newest(o / stage) / "optimizers.pt", weights_only=True) for o in runs]
    assert str(states[0]) == str(states[1])


def logged(folder: Path) -> int:
    """The last step in a log that somebody may be writing."""
    steps = [0]
    for line in (folder / "log.jsonl").read_text().split("\n")[:-1] if (folder / "log.jsonl").exists() else []:
        steps.append(json.loads(line)["step"])
    return max(steps)


def wait_for(happened, process, seconds=60):
    for _ in range(seconds * 100):
        if happened() or not process.is_alive():
            return
        time.sleep(0.01)
    raise AssertionError("it did not happen")


def test_asked_to_stop_it_finishes_the_step_saves_and_says_how_to_go_on(tmp_path, capfd):
    process = tiny.processes().Process(
        target=tiny.child, args=("stylegan2", tmp_path, 500, (), {"every": (1, 999, 999, 999), "pause": 0.02})
    )
    process.start()
    wait_for(lambda: logged(tmp_path / "stylegan2") >= 2, process)
    os.kill(process.pid, signal.SIGTERM)
    process.join(30)
    assert process.exitcode == command.STOPPED
    place = checkpoint.newest(tmp_path / "stylegan2")
    step = checkpoint.State.read(place).step
    assert step == logged(tmp_path / "stylegan2") < 500
    assert tiny.train("stylegan2", tmp_path, step + 2)  # and goes on
    assert [line["step"] for line in tiny.log(tmp_path, "stylegan2")] == list(range(1, step + 3))


def test_a_signal_between_reports_keeps_the_sums_of_the_log(tmp_path, monkeypatch):
    """Stopped in the middle of a report's span, the report is still the mean over all of it."""
    tiny.train("sync-expert", tmp_path / "whole", 6, every=(6, 99, 99, 99))
    agree = iter([False, False, True])
    monkeypatch.setattr(tiny.distributed.World, "agree", lambda self, flag: next(agree, False))
    assert not tiny.train("sync-expert", tmp_path / "halved", 6, every=(6, 99, 99, 99))
    assert tiny.train("sync-expert", tmp_path / "halved", 6, every=(6, 99, 99, 99))
    assert tiny.log(tmp_path / "halved", "sync-expert") == tiny.log(tmp_path / "whole", "sync-expert")


def test_the_last_two_checkpoints_are_kept_and_half_written_ones_go(tmp_path):
    folder = tmp_path / "sync-expert"
    (folder / ".step-00000099.partial").mkdir(parents=True)
    tiny.train("sync-expert", tmp_path, 7, every=(0, 0, 0, 2))
    assert sorted(p.name for p in folder.glob("*step-*")) == ["step-00000006", "step-00000007"]


def test_a_folder_of_another_run_is_refused_in_one_line_that_names_the_fields(tmp_path):
    tiny.train("sync-expert", tmp_path, 2)
    with pytest.raises(CheckpointError) as refused:
        tiny.train("sync-expert", tmp_path, 4, "sync_expert.rate=0.5", "sync_expert.betas=0.5,0.9")
    line = str(refused.value)
    assert "sync_expert.rate: 1e-06, not 0.5" in line
    assert "sync_expert.betas" in line
    assert "steps" not in line
    assert "\n" not in line
    assert tiny.train("sync-expert", tmp_path, 3, "latent.fusion=lstm")  # of no matter to this stage; more steps may be


def test_what_is_not_finite_stops_the_run_and_leaves_the_last_good_checkpoint(tmp_path):
    with pytest.raises(loop.NotFinite) as stopped:  # sample 29 is in step 3 of eight samples each
        tiny.train("stylegan2", tmp_path, 9, every=(99, 99, 99, 2), broken=29)
    line = str(stopped.value)
    assert "step 3, rank 0" in line
    assert "24, 25, 26, 27, 28, 29, 30, 31" in line
    assert "\n" not in line
    (file,) = (tmp_path / "stylegan2").glob("not-finite-*")
    assert torch.isnan(load_file(file)["pictures"][5]).any()
    assert checkpoint.State.read(checkpoint.newest(tmp_path / "stylegan2")).step == 2
    assert all(v.isfinite().all() for v in weights(tmp_path / "stylegan2").values())
    tiny.train("stylegan2", tmp_path, 6)  # with the data mended it goes on from there
    assert tiny.log(tmp_path, "stylegan2")[0]["step"] == 3


def test_a_log_is_cut_back_to_the_checkpoint(tmp_path):
    file = tmp_path / "log.jsonl"
    file.write_text('{"step": 1}\n{"step": 2}\n{"step": 3}\n{"st')
    logs.cut_back(file, 2)
    assert file.read_text() == '{"step": 1}\n{"step": 2}\n'


def test_png_grid():
    pictures = torch.rand(5, 3, 4, 6) * 2 - 1
    image = np.asarray(Image.open(io.BytesIO(logs.png(logs.grid(pictures, columns=3)))))
    assert image.shape == (8, 18, 3)
    wanted = ((pictures[4].permute(1, 2, 0) + 1) * 127.5).round().byte().numpy()
    assert np.array_equal(image[4:, 6:12], wanted)
    assert not image[4:, 12:].any()


def test_without_tqdm_and_tensorboard_it_trains(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tqdm", None)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    assert tiny.train("sync-expert", tmp_path, 1, every=(1, 1, 1, 1))
    assert list((tmp_path / "sync-expert" / "samples").glob("*.png"))


@pytest.mark.parametrize("float32", [True, False])
def test_a_model_file_gives_the_model_back(float32, tmp_path):
    torch.manual_seed(0)
    net = model.build(tiny.recipe()).eval()
    net.start_at(torch.randn(net.average.shape[1]))
    file = model_file.save_model(tmp_path / "m.safetensors", net, {"fctfg": 7}, float32)
    loaded = model_file.load_model(file, tiny.recipe())
    assert model_file.describe(file) == (tiny.recipe(), {"fctfg": 7})
    assert not loaded.training
    batch = tiny.Moving("fctfg", 2).held_out()[0]
    with torch.no_grad():
        one, other = (m(batch["source"], batch["driving"], batch["mels"])[0] for m in (net, loaded))
    error = (one - other).abs().max() / one.abs().max()
    assert error == 0 if float32 else error < 5e-3
    with pytest.raises(RuntimeError, match="no mapping network"):
        loaded.generator.mapping(torch.zeros(1, 16))


def test_a_model_file_that_is_none_is_one_line(tmp_path):
    file = model_file.save_model(tmp_path / "m.safetensors", model.build(tiny.recipe()))
    with pytest.raises(model_file.ModelFileError, match=r"latent.hidden: 16, not 8\); "):
        model_file.load_model(file, tiny.recipe("latent.hidden=8"))
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(file.read_bytes()[:-1000])
    text = tmp_path / "text.safetensors"
    text.write_text("no model")
    for path, said in ((cut, "cut short"), (text, "not a model file"), (tmp_path / "none", "no such file")):
        with pytest.raises(model_file.ModelFileError, match=said) as error:
            model_file.load_model(path)
        assert str(error.value).startswith(str(path))
        assert "\n" not in str(error.value)


def test_help_teaches_without_torch():
    code = (
        "import sys, runpy; sys.argv = ['x', *sys.argv[1:], '--help']\n"
        "try: runpy.run_module('fctfg.train', run_name='__main__')\n"
        "except SystemExit as end: assert not end.code\n"
        "assert not {'torch', 'numpy', 'safetensors'} & set(sys.modules)"
    )
    root = Path(__file__).parent.parent
    for stage, word in (((), "examples"), (("fctfg",), "--sync-expert"), (("export",), "--float32")):
        run = subprocess.run([sys.executable, "-c", code, *stage], capture_output=True, text=True, cwd=root)
        assert run.returncode == 0, run.stderr
        assert word in run.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["fctfg", "--set", "fctfg.speed=9"], "no field 'fctfg.speed'"),
        (
            ["inversion", "--set", "generator.size=32"],
            "no checkpoint of stylegan2; run python -m fctfg.train stylegan2",
        ),
        (["stylegan2", "--data", "/nowhere"], "/nowhere: no such folder"),
        (["stylegan2", "--device", "cuda:7"], "GPU"),
    ],
)
def test_a_mistake_is_one_line(arguments, said, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    if "cuda:7" in arguments and torch.cuda.device_count() > 7:
        pytest.skip("this machine has so many")
    assert command.main([*arguments, "--clips", "1", "--out", str(tmp_path / "run")]) == 2
    line = capsys.readouterr().err
    assert said in line
    assert line.count("\n") == 1


def test_steps_and_batch_are_the_stage_s():
    args = command.parser().parse_args(
        ["sync-expert", "--out", "x", "--steps", "5", "--batch", "4", "--set", "sync_expert.rate=1"]
    )
    wanted = recipes.override(recipes.demo(), "sync_expert.rate=1", "sync_expert.steps=5", "sync_expert.batch=4")
    assert command.recipe_of(args) == wanted
