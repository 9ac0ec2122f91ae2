"""Fetching files of the catalogue: whole and checked, or not at all."""

from __future__ import annotations

import bz2
import contextlib
import http.client
import shutil
import urllib.request
import uuid
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

from fctfg.weights.catalogue import Entry, File, WeightsError, entry
from fctfg.weights.lookup import MissingWeights, cache_folder, locate, missing, sha256, wanted


def fetch(name: str, folder: Path | None = None, file: str | None = None) -> list[Path]:
    """Download what is missing of ``name`` into ``folder`` (default: the cache), check the sums, return the paths.

    Of an ``any_of`` entry one file is enough: one that is here, else the first; ``file`` asks for a certain one. Files
    appear whole and checked or not at all. WeightsError: no address, network, a wrong sum (also of a file that is
    already here), no room.
    """
    weights, files = entry(name), wanted(name, file)
    if weights.any_of:
        files = [f for f in files if locate(f) is not None][:1] or files[:1]
    paths = []
    for each in files:
        path = locate(each)
        if path is None:
            if each.url is None:
                raise MissingWeights(missing(name, file))
            path = _download(each, folder or cache_folder(), weights)
        elif (verdict := check(each, path)).startswith("WRONG"):
            raise WeightsError(f"{path}: {verdict}; remove it and fetch {name} again")
        paths.append(path)
    return paths


def check(file: File, path: Path) -> str:
    """'ok', 'no sum published', or what is wrong."""
    if file.size is not None and path.stat().st_size != file.size:
        return f"WRONG: {path.stat().st_size} bytes, should be {file.size}"
    if file.sha256 is None:
        return "no sum published"
    found = sha256(path)
    return "ok" if found == file.sha256 else f"WRONG: sha256 {found[:12]}..., should be {file.sha256[:12]}..."


def doubt(name: str, paths: Iterable[Path]) -> str:
    """Why the files of the entry ``name``, at ``paths``, are not known to be the official ones; "" where they are."""
    official = {Path(file.name).name: file for file in entry(name).files}
    wrong, unknown = [], []
    for path in paths:
        found = check(official[path.name], path)
        if found == "no sum published":
            unknown.append(path.name)
        elif found != "ok":
            wrong.append(f"{path.name} (sha256 {sha256(path)[:12]}...)")
    said = [f"not the official file: {', '.join(wrong)}"] if wrong else []
    said += [f"not verified, for no official sum is known: {', '.join(unknown)}"] if unknown else []
    return "; ".join(said)


def _download(file: File, folder: Path, weights: Entry) -> Path:
    target = folder / file.name
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with _temporary(target) as packed, _temporary(target) as unpacked:
            _copy_from(file.url, packed, target.name)
            if file.member:
                with zipfile.ZipFile(packed) as archive, open(unpacked, "wb") as out:
                    inside = next(m for m in archive.namelist() if PurePosixPath(m).name == file.member)
                    shutil.copyfileobj(archive.open(inside), out, 1 << 20)
            elif file.url.endswith(".bz2"):
                with bz2.open(packed) as archive, open(unpacked, "wb") as out:
                    shutil.copyfileobj(archive, out, 1 << 20)
            else:
                packed.replace(unpacked)
            verdict = check(file, unpacked)
            if verdict.startswith("WRONG"):
                raise WeightsError(f"{file.url}: {verdict[7:]}; not kept; see {weights.page}")
            unpacked.replace(target)
    except (OSError, EOFError, StopIteration, zipfile.BadZipFile, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or error or type(error).__name__
        raise WeightsError(
            f"{file.url}: could not be fetched into {folder} ({reason}); see {weights.page}, or try again"
        ) from error
    return target


def _copy_from(url: str, path: Path, label: str) -> None:
    from tqdm import tqdm

    request = urllib.request.Request(url, headers={"User-Agent": "fctfg"})
    with urllib.request.urlopen(request, timeout=60) as source, open(path, "wb") as out:
        total = int(source.headers.get("Content-Length") or 0)
        with tqdm(total=total or None, unit="B", unit_scale=True, desc=label, disable=None) as bar:
            while block := source.read(1 << 18):
                out.write(block)
                bar.update(len(block))
        if total and out.tell() != total:
            raise EOFError(f"stopped at {out.tell()} of {total} bytes")


@contextlib.contextmanager
def _temporary(target: Path) -> Iterator[Path]:
    path = target.parent / f".{uuid.uuid4().hex}.part"
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)
