"""Runs the cells of a comparison that have no result yet, over several processes, and keeps each result as it comes."""

from __future__ import annotations

import multiprocessing
import os
import signal
from concurrent.futures import ProcessPoolExecutor, as_completed
from typing import TYPE_CHECKING, Any, Final

from .measure import measure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from .cells import Cell
    from .results import Results

_PR_SET_PDEATHSIG: Final = 1  # <linux/prctl.h>


def run(
    cells: Sequence[Cell],
    results: Results,
    *,
    jobs: int = 1,
    told: Callable[[int, int], None] = lambda _done, _all: None,
) -> dict[Cell, dict[str, Any]]:
    """Give the result of every cell, those that `results` has without a run.

    Args:
        cells: each once.
        results: where they are kept.
        jobs: processes at a time; 1 runs all in this one.
        told: gets how many have a result, and of how many.

    Raises:
        ValueError: there can be no such number of jobs.
        KeyboardInterrupt: it came from outside; what was finished is kept.

    """
    if jobs < 1:
        raise ValueError(f"{jobs} jobs: there is at least one")
    found = {cell: result for cell in cells if (result := results.get(cell)) is not None}
    missing = [cell for cell in cells if cell not in found]
    told(len(found), len(cells))
    for cell, result in _measured(missing, min(jobs, len(missing))):
        results.put(cell, result)
        found[cell] = result
        told(len(found), len(cells))
    return {cell: found[cell] for cell in cells}


def _measured(cells: Sequence[Cell], jobs: int) -> Iterator[tuple[Cell, dict[str, Any]]]:
    """Give results as they come: long ones are begun first, as they would keep a process busy at the end."""
    if jobs < 2:
        for cell in cells:
            yield cell, measure(cell)
        return
    context = multiprocessing.get_context("fork")  # leaves no semaphore behind, however this process ends
    pool = ProcessPoolExecutor(jobs, mp_context=context, initializer=_belong, initargs=(os.getpid(),))
    before = set(multiprocessing.active_children())
    try:
        waiting = {pool.submit(measure, cell): cell for cell in sorted(cells, key=_weight)}
        for done in as_completed(waiting):
            yield waiting[done], done.result()
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        for child in set(multiprocessing.active_children()) - before:
            child.kill()  # it writes no file, so nothing of it is half done
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _belong(parent: int) -> None:
    """Leave Ctrl-C, which a terminal sends to all processes, to the parent; end when it ends."""
    import ctypes

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def _weight(cell: Cell) -> int:
    return {"memory": 0, "application": 1}.get(cell.kind, 2)
