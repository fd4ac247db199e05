"""A file of a run, a trace or a snapshot, as a page."""

from __future__ import annotations

import sys
from pathlib import PurePath
from typing import TYPE_CHECKING, Final

from ..emu.snapshot import MAGIC
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
    timeline = Timeline(path)
    if sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        columns = (
            TextColumn("paracell: reads the trace"),
            BarColumn(),
            TextColumn("{task.percentage:.0f} %"),
            TimeElapsedColumn(),
        )
        total = file.seek(0, 2)
        file.seek(0)
        with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
            task = progress.add_task("", total=total)
            timeline.read(file, lambda done: progress.update(task, completed=done))
    else:
        timeline.read(file)
    lead = f"{timeline.count:,} events"
    return page(PurePath(path).name, [timeline.section()], lead)
