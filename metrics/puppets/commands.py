"""What the subcommands of ``python -m metrics.puppets`` do with their arguments."""

from __future__ import annotations

import argparse
import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial

import numpy as np
import torch

from metrics.puppets import reader_training, sync_training
from metrics.puppets.bundled import DATA, FILES
from metrics.puppets.degrade import UNSEEN, degraded
from metrics.puppets.draw import Recipe, read_set, shard_path, write_shard
from metrics.puppets.face_reader import SIZE, FaceReader
from metrics.puppets.geometry import resized
from metrics.puppets.lip_sync import LipSync
from metrics.puppets.training import Plan, Trainer, weights_of
from metrics.puppets.training import export as export_weights

#: steps of a whole training
STEPS = {"reader": 12000, "sync": 1500}
#: people whose embeddings go with the face reader, for the floor of "identity kept"
STRANGERS = 128


def draw(args: argparse.Namespace) -> None:
    """Draw the shards that are missing on ``workers`` processes of one thread each."""
    from tqdm import tqdm

    recipe = Recipe(args.kind, args.split, args.seed)
    missing = [n for n in range(args.shards) if not shard_path(args.out, args.kind, n).exists()]
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(max(1, args.workers), context, _one_thread) as pool:
        done = pool.map(partial(write_shard, args.out, recipe), missing)
        for _ in tqdm(done, total=len(missing), desc=f"{args.kind} ({args.split})", unit="shard"):
            pass


def train(args: argparse.Namespace) -> None:
    """Train to the end or to ``until``; the log goes to standard output, a line of JSON each."""
    torch.set_num_threads(args.threads)
    torch.set_flush_denormal(True)
    data = read_set(args.data, DATA[args.net])
    held_out = None if args.held_out is None else read_set(args.held_out, DATA[args.net])
    make = reader_training.ReaderTask if args.net == "reader" else sync_training.SyncTask
    task = make(data, held_out, args.seed)
    if args.start is not None:
        state = weights_of(args.start)
        state.pop("strangers", None)
        task.net.load_state_dict(state)
    Trainer(task, Plan(args.steps or STEPS[args.net], args.rate), args.checkpoint).run(args.until)


def evaluate(args: argparse.Namespace) -> Iterator[dict]:
    """Figures as drawn, with the degradations of the training, and with each that it never saw."""
    state = weights_of(args.weights or FILES[args.net])
    state.pop("strangers", None)
    net, figures = {
        "reader": (FaceReader, reader_training.figures),
        "sync": (LipSync, sync_training.figures),
    }[args.net]
    net = net()
    net.load_state_dict(state)
    net.eval()
    data = read_set(args.held_out, DATA[args.net])
    with torch.inference_mode():
        for name, change in {"as drawn": None, "degraded": degraded, **UNSEEN}.items():
            yield {"frames": name, **{k: round(v, 4) for k, v in figures(net, data, change).items()}}


def export(args: argparse.Namespace) -> None:
    """Write the averaged weights; the face reader's go with embeddings of strangers."""
    extra = {}
    if args.net == "reader":
        net = FaceReader()
        net.load_state_dict(weights_of(args.checkpoint))
        frames = read_set(args.held_out, "frames", most=2)["frames"][:STRANGERS]
        with torch.inference_mode():
            whole = torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2).float() / 255
            extra["strangers"] = net.eval()(resized(whole, SIZE))["identity"]
    export_weights(args.checkpoint, args.out or FILES[args.net], extra)


def _one_thread() -> None:
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
