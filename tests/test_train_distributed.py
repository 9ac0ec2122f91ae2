"""Two processes on gloo are one: the same losses and weights for the same global batch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import tiny_training as tiny
import torch
from safetensors.torch import load_file, save_file

from fctfg.train import checkpoint, distributed
from fctfg.train.distributed import Draws, World

ROOT = Path(__file__).parent.parent
STEPS = 4
#: statistics of batch normalisation are learned in every stage; four windows for each process, so that the
#: discriminator's minibatch deviation forms the same groups
CHOICES = ("fctfg.freeze_batchnorm=false", "fctfg.batch=8")


def all_stages(out, environment):
    """Every stage, one after the other, as one of several processes."""
    os.environ.update(environment)
    torch.set_num_threads(1)
    try:
        world = distributed.start("cpu")
        for stage in tiny.STAGES:
            tiny.train(stage, out, STEPS, *CHOICES, world=world)
    finally:
        distributed.stop()


def test_two_processes_give_the_losses_and_weights_of_one(tmp_path):
    tiny.together(2, all_stages, tmp_path / "two")
    for stage in tiny.STAGES:
        tiny.train(stage, tmp_path / "one", STEPS, *CHOICES)
    for stage in tiny.STAGES:
        one, two = (tiny.log(tmp_path / n, stage) for n in ("one", "two"))
        assert len(one) == len(two)
        for a, b in zip(one, two, strict=True):
            assert a == pytest.approx(b, rel=1e-4, abs=1e-4), stage
        places = [checkpoint.newest(tmp_path / n / stage) for n in ("one", "two")]
        for file in places[0].glob("*.safetensors"):
            ours, theirs = load_file(file), load_file(places[1] / file.name)
            for name, value in ours.items():
                # Adam's first steps are as long as the rate whatever the gradient: where that is nothing but rounding
                # they go either way, as with a bias in front of batch normalisation (and so the mean that this
                # normalisation has seen), and rarely elsewhere
                if value.is_floating_point() and not name.endswith(("conv_block.0.bias", "running_mean")):
                    error = (value - theirs[name]).abs().median()
                    assert error <= 1e-4 * max(1, value.abs().max()), (stage, file.name, name)


def apart(out, environment):
    """A stage in which two processes meet in every third step only."""
    os.environ.update(environment)
    torch.set_num_threads(1)
    try:
        world = distributed.start("cpu")
        met = []
        whole = World.mean
        World.mean = lambda self, values: met.append(len(values)) or whole(self, values)
        tiny.train("inversion", out, 7, world=world, apart=3, every=(0, 0, 0, 0))
        (out / f"met-{world.rank}.json").write_text(json.dumps(met))
    finally:
        distributed.stop()


def test_processes_that_work_apart_meet_now_and_then_and_at_the_end(tmp_path):
    tiny.train("stylegan2", tmp_path, 1)
    tiny.together(2, apart, tmp_path)
    met = [json.loads((tmp_path / f"met-{rank}.json").read_text()) for rank in (0, 1)]
    sizes = [n for n in met[0] if n > 1000]
    assert len(sizes) == 3 * 2, met  # after steps 3, 6 and 7: the encoder and its moving average
    assert met[0] == met[1]
    alone = tmp_path / "alone"
    alone.mkdir()
    (alone / "stylegan2").symlink_to(tmp_path / "stylegan2")
    tiny.train("inversion", alone, 7, every=(0, 0, 0, 0))
    mean, one = (
        checkpoint.tensors(checkpoint.newest(p / "inversion") / "encoder.safetensors") for p in (tmp_path, alone)
    )
    assert any(not torch.equal(mean[name], one[name]) for name in one)


def test_networks_apart_become_their_mean(monkeypatch):
    """Each of two replicas, told the other's numbers by the mean over processes."""
    from fctfg.train.context import Context

    first, second = (torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3)) for _ in range(2))
    flat = torch.cat([t.reshape(-1) for t in [*second.parameters(), *second.buffers()] if t.is_floating_point()])
    expected = [(a.detach() + b.detach()) / 2 for a, b in zip(first.parameters(), second.parameters(), strict=True)]
    monkeypatch.setattr(World, "mean", lambda self, values: (values + flat.detach()) / 2)
    Context(World(torch.device("cpu"), 0, 2), apart=4).meet([first])
    assert all(torch.equal(p, e) for p, e in zip(first.parameters(), expected, strict=True))


def normalised(out, environment):
    """Batch normalisation of two halves of a batch, forward and backward; and averaged gradients."""
    os.environ.update(environment)
    torch.set_num_threads(1)
    world = distributed.start("cpu")
    net, x, target = an_example()
    distributed.synchronise_batchnorm(net, world)
    mine = world.rows(x).clone().requires_grad_(True)
    loss = (net(mine) * world.rows(target)).mean()
    loss.backward()
    world.average_gradients(list(net.parameters()))
    gradients = {f"gradient.{name}": p.grad for name, p in net.named_parameters()}
    save_file({**net.state_dict(), **gradients, "x": mine.grad}, out / f"{world.rank}.safetensors")
    (out / f"{world.rank}.json").write_text(json.dumps([world.agree(world.rank == 1), world.gather(world.rank)]))
    distributed.stop()


def an_example():
    torch.manual_seed(3)
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.Tanh(), torch.nn.Flatten())
    return net, torch.randn(6, 3, 5, 5) * 3 + 20, torch.randn(6, 36)


def test_batch_normalisation_sees_the_global_batch(tmp_path, monkeypatch):
    tiny.together(2, normalised, tmp_path)
    net, x, target = an_example()
    x.requires_grad_(True)
    (net(x) * target).mean().backward()
    for rank in (0, 1):
        found = load_file(tmp_path / f"{rank}.safetensors")
        for name, value in net.state_dict().items():
            assert torch.allclose(found[name], value, atol=1e-6), name
        for name, p in net.named_parameters():
            assert torch.allclose(found[f"gradient.{name}"], p.grad, atol=1e-5), name
        assert torch.allclose(found["x"] / 2, x.grad[rank::2], atol=1e-7)
        assert json.loads((tmp_path / f"{rank}.json").read_text()) == [True, [0, 1]]


def buckets(out, environment):
    os.environ.update(environment)
    world = distributed.start("cpu")
    distributed.BUCKET = 10  # so that there are several, and parameters larger than one
    shapes = ((3,), (4, 2), (20,), (), (5,), (6,))
    parameters = [torch.nn.Parameter(torch.zeros(shape)) for shape in shapes]
    for i, p in enumerate(parameters):
        p.grad = None if i == 4 else torch.full(p.shape, float(10 * i + world.rank))
    world.average_gradients(parameters)
    means = [None if p.grad is None else p.grad.unique().tolist() for p in parameters]
    (out / f"{world.rank}.json").write_text(json.dumps(means))
    distributed.stop()


def test_gradients_are_averaged_in_buckets(tmp_path):
    tiny.together(2, buckets, tmp_path)
    for rank in (0, 1):
        means = json.loads((tmp_path / f"{rank}.json").read_text())
        assert means == [[0.5], [10.5], [20.5], [30.5], None, [50.5]]


def test_draws_belong_to_seed_step_and_purpose_and_are_dealt_out_in_turn():
    cpu = torch.device("cpu")
    whole = Draws(World(cpu), 1, 2, "a").normal(6, 3)
    dealt = [Draws(World(cpu, rank, 2), 1, 2, "a").normal(6, 3) for rank in (0, 1)]
    assert torch.equal(torch.stack(dealt, 1).flatten(0, 1), whole)
    for other in (Draws(World(cpu), 0, 2, "a"), Draws(World(cpu), 1, 3, "a"), Draws(World(cpu), 1, 2, "b")):
        assert not torch.equal(other.normal(6, 3), whole)


def test_a_batch_that_cannot_be_divided_is_refused():
    world = World(torch.device("cpu"), 0, 3)
    with pytest.raises(ValueError, match="a batch of 8 does not divide over 3 processes; choose a multiple"):
        tiny.train("sync-expert", "unused", 1, world=world)


@pytest.mark.slow
def test_torchrun_is_the_same_command(tmp_path):
    """The real command on puppets under torchrun, against the same without it."""
    small = [*(f"--set={a}" for a in tiny.TINY), "--clips=1", "--steps=3", "--report-every=1"]
    arguments = ["-m", "fctfg.train", "sync-expert", *small, "--device", "cpu", "--seed", "5"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "XDG_CACHE_HOME": str(tmp_path)}
    launchers = {"one": [sys.executable], "two": [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2"]}
    for name, launcher in launchers.items():
        command = [*launcher, *arguments, "--out", str(tmp_path / name)]
        run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
        assert run.returncode == 0, run.stderr
    one, two = (tiny.log(tmp_path / name, "sync-expert") for name in launchers)
    for a, b in zip(one, two, strict=True):
        assert a == pytest.approx(b, rel=1e-4, abs=1e-4)
