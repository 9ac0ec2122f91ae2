"""Where the bundled networks are, and what each learns from; imports no torch."""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).resolve().parent / "weights"
FILES = {"reader": FOLDER / "face_reader.safetensors", "sync": FOLDER / "lip_sync.safetensors"}
#: the kind of set that a network is trained on
DATA = {"reader": "frames", "sync": "clips"}


def unavailable() -> str | None:
    """Why the instruments cannot be used here, in one line; None when they can."""
    missing = [path.name for path in FILES.values() if not path.is_file()]
    if not missing:
        return None
    return f"{FOLDER}: {' and '.join(missing)} missing; train with python -m metrics.puppets (docs/instruments.md)"
