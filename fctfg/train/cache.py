"""Files that are made once and read by every rank and every later run."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fctfg.data.clips import DataError
from fctfg.weights.lookup import cache_folder


def folder(given: str | os.PathLike | None, name: str) -> Path:
    """``given``, or ``name`` beside the user's weights cache; made if it is not there. Raises DataError."""
    path = Path(given).expanduser() if given is not None else cache_folder().parent / name
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"{path}: cannot be made ({error.strerror}); name another cache folder") from None
    return path


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """One process at a time for ``path``: the ranks of a machine wait for the first to make it. Raises DataError."""
    try:
        lock = open(path.with_name(f".{path.name}.lock"), "w")  # noqa: SIM115 (closed by the with below)
    except OSError as error:
        raise DataError(f"{path.parent}: cannot be written ({error.strerror}); name another cache folder") from None
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
