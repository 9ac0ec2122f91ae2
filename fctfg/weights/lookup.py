"""Where weights are on this machine."""

from __future__ import annotations

import hashlib
import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from fctfg.weights.catalogue import File, WeightsError, entry


class MissingWeights(WeightsError):
    """Weights that something needs are not on this machine; the line says what, for which column, how to get them."""


def cache_folder() -> Path:
    """Where ``fetch`` puts files: ``$XDG_CACHE_HOME/fctfg/weights``, or ``~/.cache/fctfg/weights``."""
    return _user_cache() / "fctfg" / "weights"


def find(name: str, file: str | None = None) -> Path | None:
    """Where the weights ``name`` are on this machine, or None. Looks, does not read or download.

    With ``file``, that file of the entry. Without: the first file found of an ``any_of`` entry, else the first file if
    all are there. WeightsError for an unknown name or file.
    """
    places = [locate(f) for f in wanted(name, file)]
    if entry(name).any_of:
        return next((place for place in places if place is not None), None)
    return places[0] if None not in places else None


def require(name: str, file: str | None = None) -> Path:
    """``find``, or MissingWeights: one line with what is missing, what for, and how to get it."""
    path = find(name, file)
    if path is None:
        raise MissingWeights(missing(name, file))
    return path


def missing(name: str, file: str | None = None) -> str:
    """The line that MissingWeights shows."""
    weights = entry(name)
    absent = [f for f in wanted(name, file) if locate(f) is None]
    names = (" or " if weights.any_of else ", ").join(f.name for f in absent)
    what = f"{names} not found (weights '{name}', for {weights.needed_by})"
    if all(f.url is None for f in absent):
        way = f" ({weights.how})" if weights.how else ""
        return f"{what}: see {weights.page}{way} and put it in {cache_folder()} or a folder of FCTFG_WEIGHTS"
    other = f" ({weights.how})" if weights.how else ""
    only = f" --file {file}" if file else ""
    return f"{what}: run python -m fctfg.weights fetch {name}{only}{other}, or name its folder in FCTFG_WEIGHTS"


def wanted(name: str, file: str | None) -> tuple[File, ...]:
    """The files of an entry, or the one of them that is called ``file`` (with or without its folder)."""
    weights = entry(name)
    if file is None:
        return weights.files
    chosen = tuple(f for f in weights.files if file in (f.name, PurePosixPath(f.name).name))
    if not chosen:
        known = ", ".join(f.name for f in weights.files)
        raise WeightsError(f"the weights '{name}' have no file '{file}'; they have {known}")
    return chosen


def sha256(path: str | os.PathLike) -> str:
    """SHA-256 of a file, 64 hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _user_cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")


def locate(file: File) -> Path | None:
    """The first place that has ``file``, in the package's order, or None."""
    return next((place for place in _places(file) if place.is_file()), None)


def _places(file: File) -> Iterator[Path]:
    base = PurePosixPath(file.name).name
    named = [Path(f).expanduser() for f in os.environ.get("FCTFG_WEIGHTS", "").split(os.pathsep) if f]
    for folder in (*named, cache_folder()):
        yield folder / file.name
        yield folder / base
    torch_home = Path(os.environ.get("TORCH_HOME") or _user_cache() / "torch").expanduser()
    yield torch_home / "hub" / "checkpoints" / base
    if file.member and file.url:
        yield Path.home() / ".insightface" / "models" / PurePosixPath(file.url).stem / base
    # Located, not imported: importing the package needs pkg_resources, which newer Pythons lack.
    package = importlib.util.find_spec("face_recognition_models")
    if package is not None:
        yield from (Path(folder) / "models" / base for folder in package.submodule_search_locations or ())
