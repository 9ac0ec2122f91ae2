"""What the catalogue is made of: an entry that is asked for by name, and its files."""

from __future__ import annotations

from dataclasses import dataclass


class WeightsError(ValueError):
    """One line: which file or name, what is wrong, what to do."""


@dataclass(frozen=True)
class File:
    """One file.

    ``name``: as it is looked for, relative to a weights folder. ``url``: official address of the file, of its .bz2, or
    of the zip that holds it as ``member``. ``size``: bytes.
    """

    name: str
    url: str | None = None
    member: str | None = None
    sha256: str | None = None
    size: int | None = None


@dataclass(frozen=True)
class Entry:
    """What is asked for by name.

    ``files``: all are needed, or with ``any_of`` the first one found serves. ``needed_by``: column or method.
    ``page``: the project. ``how``: what to do there when there is no address, or another way to get the file.
    """

    name: str
    files: tuple[File, ...]
    needed_by: str
    licence: str
    page: str
    how: str = ""
    any_of: bool = False
