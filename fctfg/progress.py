"""One progress bar for everything that takes over two seconds; silent when nobody is watching."""

from __future__ import annotations

import sys
from typing import Any


def bar(total: int | None, label: str, unit: str) -> Any:
    """A tqdm bar on stderr with counts and time left; it shows nothing when stderr is not a terminal."""
    from tqdm import tqdm

    return tqdm(
        total=total, desc=label, unit=unit, disable=not sys.stderr.isatty(), dynamic_ncols=True, leave=False, delay=1.0
    )
