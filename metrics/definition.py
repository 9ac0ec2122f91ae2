"""What a metric variant is, as plain data."""

from __future__ import annotations

import importlib
from dataclasses import dataclass


@dataclass(frozen=True)
class Metric:
    """One variant. ``column`` is its heading in tables, ``group`` the accumulator that computes it.

    ``requires``: "module:function"; the function returns None where the metric can run, else the reason in one line.
    ``version`` goes up when the value of any clip changes.
    """

    name: str
    column: str
    group: str
    unit: str
    range: str
    better: str
    source: str
    definition: str
    version: int = 1
    requires: str | None = None

    def unavailable(self) -> str | None:
        """None where the metric can be computed here, else the reason in one line."""
        return None if self.requires is None else load(self.requires)()


def load(path: str):
    """The object that "module:name" stands for."""
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module), name)
