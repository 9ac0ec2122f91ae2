"""Work on a list in a small pool of threads, with the amount in flight bounded by the pool and not by the list."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from multiprocessing import connection
from typing import TypeVar

Item = TypeVar("Item")
Outcome = TypeVar("Outcome")


def default_workers() -> int:
    """One thread for each core, at most 8: decoding, dlib and torch all release the interpreter lock."""
    return min(os.cpu_count() or 1, 8)


def results(work: Callable[[Item], Outcome], items: Iterable[Item], workers: int = 0) -> Iterator[Outcome]:
    """``work(item)`` for every item, as they finish, with never more than ``workers`` + 1 begun and not yet taken.

    An exception from ``work``, or leaving the iteration early, lets what has begun finish and begins nothing more.
    """
    workers = workers or default_workers()
    stopped = threading.Event()

    def guarded(item: Item) -> Outcome | None:
        return None if stopped.is_set() else work(item)

    waiting: set[Future] = set()
    with ThreadPoolExecutor(workers) as pool:
        try:
            for item in items:
                waiting.add(pool.submit(guarded, item))
                if len(waiting) > workers:
                    done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                    yield from (future.result() for future in done)
            while waiting:
                done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                yield from (future.result() for future in done)
        finally:
            stopped.set()


def start_worker() -> None:
    """What a process of a pool begins with: one torch thread, and an end when its parent ends."""
    import torch

    torch.set_num_threads(1)
    parent = multiprocessing.parent_process()

    def follow() -> None:  # a worker waits for work forever, also when its parent has been killed
        connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()
