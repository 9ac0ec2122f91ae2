"""Many clips on several processes: resumable, with a progress bar, leaving nothing behind when killed."""

from __future__ import annotations

import multiprocessing
import sys
import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, ProcessPoolExecutor, wait
from pathlib import Path

import torch

from fctfg import parallel
from fctfg.data.puppets import write
from fctfg.data.puppets.layouts import Job

_STALE = 3600  # seconds after which a temporary file is a killed process's


def write_all(
    jobs: list[Job], out: Path, settings: write.Settings, workers: int = 1, render: write.Renderer | None = None
) -> tuple[int, int]:
    """Write the clips of ``jobs`` that ``out`` lacks; (clips written, frames written).

    Each clip is drawn by one thread of one process, so the number of ``workers`` changes nothing but the time it takes;
    0 works in this process. ``render`` stands in for ``face.render`` and must be importable where ``workers`` > 0.
    Raises MediaError, and TreeError where the tree cannot be written or a worker was killed.
    """
    from tqdm import tqdm

    write.claim(out, settings)
    _sweep(out)
    missing = [job for job in jobs if not write.is_complete(job, out)]
    frames = 0
    hidden = not sys.stderr.isatty()
    with tqdm(total=len(jobs), initial=len(jobs) - len(missing), desc="puppets", unit="clip", disable=hidden) as bar:
        try:
            for n in _results(missing, out, settings, min(workers, len(missing)), render):
                frames += n
                bar.update()
        except BrokenExecutor:
            raise write.TreeError(
                "a worker was killed, perhaps for memory; the same command goes on from here, with fewer --workers"
            ) from None
        except OSError as error:
            where = error.filename or out
            raise write.TreeError(f"{where}: cannot be written ({error.strerror}); the same command goes on") from None
    return len(missing), frames


def _results(missing, out, settings, workers, render) -> Iterator[int]:
    if not workers:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            for job in missing:
                yield write.write_clip(job, out, settings, render)
        finally:
            torch.set_num_threads(threads)
        return
    queue = iter(missing)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=parallel.start_worker) as pool:
        running = set()
        try:
            while True:
                # No more than one clip a worker is handed out: an interrupt has little to wait for.
                for job in queue:
                    running.add(pool.submit(write.write_clip, job, out, settings, render))
                    if len(running) == workers:
                        break
                if not running:
                    return
                done, running = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    yield future.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _sweep(out: Path) -> None:
    """Remove what killed processes left half written."""
    for file in out.rglob(".*.part"):
        try:
            if time.time() - file.stat().st_mtime > _STALE:
                file.unlink()
        except FileNotFoundError:  # its owner was alive after all and has finished
            continue
