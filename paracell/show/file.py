"""A file of a run, a trace or a snapshot, as a page."""

from __future__ import annotations

import os
from pathlib import PurePath
from typing import TYPE_CHECKING, Final

from ..emu.snapshot import MAGIC
from ..progress import Progress
from .page import page
from .trace import BadTrace, Timeline

if TYPE_CHECKING:
    from typing import IO

_PERFETTO: Final = ".pftrace"


def show(path: str) -> str:
    """Give the page of a trace or of a snapshot.

    Raises:
        BadTrace, BadSnapshot: it is neither, or damaged; the message names it.
        OSError: it cannot be read.

    """
    with open(path, "rb") as file:  # noqa: PTH123  (the path goes into OSError as the user wrote it)
        first = file.read(len(MAGIC))
        if first.startswith(MAGIC[:6]):
            from .snapshot import sections

            found, lead = sections(path)
            return page(f"Snapshot {PurePath(path).name}", found, lead)
        if PurePath(path).suffix == _PERFETTO:
            raise BadTrace(
                f"a Perfetto trace is for ui.perfetto.dev or its trace_processor; show draws a .jsonl trace: {path}"
            )
        file.seek(0)
        return _trace(path, file)


def _trace(path: str, file: IO[bytes]) -> str:
    timeline, size, done = Timeline(path), max(os.fstat(file.fileno()).st_size, 1), 0

    def tell(read: int) -> None:
        nonlocal done
        done = read

    with Progress(lambda: "the trace is read", lambda: done / size):
        timeline.read(file, tell)
    return page(PurePath(path).name, [timeline.section()], f"{timeline.count:,} events")
