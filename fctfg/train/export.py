"""``python -m fctfg.train export``: a run's model as the one file that inference reads."""

from __future__ import annotations

from pathlib import Path

from fctfg import model, model_file
from fctfg.train import checkpoint, predecessors
from fctfg.train.launch import CLASSES


def export(out: Path, to: Path, float32: bool = False) -> str:
    """Write the moving average of the newest checkpoint of ``out`` to ``to``; returns a line that says what it is.

    CheckpointError where the run has no checkpoint of its last stage.
    """
    trained = predecessors.find(out, "fctfg", None, None, ())
    net = model.build(trained.recipe)
    trained.into(net, "model")
    places = {stage: checkpoint.newest(out / stage) for stage in CLASSES}
    steps = {stage: checkpoint.State.read(place).step for stage, place in places.items() if place}
    file = model_file.save_model(to, net, steps, float32)
    megabytes = file.stat().st_size / 1e6
    return f"{file}: recipe {trained.recipe.name}, step {trained.step}, {megabytes:.1f} MB, from {trained.place}"
