"""The small files beside a job's model: what they are called, and how they are read and written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from results.rows import write_atomic

MODEL, MODEL_RECORD = "model.safetensors", "model.json"


def read_json(file: Path) -> dict[str, Any]:
    """What a file of ours holds; nothing where it is absent or damaged, so that it is made again."""
    try:
        found = json.loads(file.read_bytes())
    except (FileNotFoundError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def write_json(file: Path, content: dict[str, Any]) -> None:
    """Whole or not at all."""
    write_atomic(file, (json.dumps(content, indent=1) + "\n").encode())
