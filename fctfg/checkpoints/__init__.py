"""Where the model's weights are: the bundled file, or the one that FCTFG_CHECKPOINT names."""

from __future__ import annotations

import os
from pathlib import Path

BUNDLED = Path(__file__).parent / "demo.safetensors"


class MissingCheckpoint(ValueError):
    """There is no such file. One line: which, and what to do."""


def checkpoint_path(checkpoint: str | os.PathLike | None = None) -> Path:
    """``checkpoint`` if given, else the file that FCTFG_CHECKPOINT names, else the bundled one. MissingCheckpoint."""
    named = checkpoint or os.environ.get("FCTFG_CHECKPOINT")
    path = Path(named).expanduser() if named else BUNDLED
    if path.is_file():
        return path
    if checkpoint:
        raise MissingCheckpoint(f"{path}: no such file; check the path")
    if named:
        raise MissingCheckpoint(f"{path}: no such file; FCTFG_CHECKPOINT must name a checkpoint")
    raise MissingCheckpoint(
        f"{path}: there is no bundled model in this copy; name one with --checkpoint or FCTFG_CHECKPOINT, or train one "
        "(python -m fctfg.train --help)"
    )
