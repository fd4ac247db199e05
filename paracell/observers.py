"""What listens while the machine runs: the trace and the table of `--stats`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from .emu.events import Who
from .emu.sinks import open_trace
from .emu.sinks.summary import Summary

if TYPE_CHECKING:
    from collections.abc import Callable

    from .emu.cpu import Cpu
    from .emu.machine import Machine
    from .session import Job

_COUNTERS = ("sites found", "sites rewritten", "calls by the slow path", "calls by the gate")


class Observers:
    """The sinks of one run."""

    def __init__(self, machine: Machine, job: Job, trace: str | None, *, suffix: str, stats: bool) -> None:
        from .guest.elf import parse

        for name, data in job.programs:
            machine.symbols.add(name, parse(data, name).symbols)
        self._machine = machine
        self._file = Path(trace).open("wb") if trace else None  # noqa: SIM115  (closed by `finish`)
        self._trace = open_trace(suffix, self._file, machine.symbols) if self._file else None
        self._summary = Summary() if stats else None
        if any(name == "kernel" for name, _ in job.programs):
            machine.cpu.who_is = _with_keys
        for sink in (self._trace, self._summary):
            if sink is not None:
                machine.add_sink(sink)

    def finish(self, wipe: Callable[[], None]) -> None:
        """End the trace and print the table."""
        if self._trace is not None and self._file is not None:
            self._trace.close()
            self._file.close()
        if self._summary is not None:
            wipe()
            self._print(self._summary)

    def _print(self, summary: Summary) -> None:
        from rich.console import Console
        from rich.table import Table

        console = Console(file=sys.stderr, highlight=False, width=None if sys.stderr.isatty() else 100)
        table = Table("event", "count", "virtual cycles", "share", box=None, pad_edge=False)
        for column in table.columns[1:]:
            column.justify = "right"
        for line in summary.lines():
            table.add_row(line.event, f"{line.count:,}", f"{line.cycles:,}", f"{line.share:.1%}")
        console.print(table)
        for text in self._gate_lines():
            console.print(text)

    def _gate_lines(self) -> list[str]:
        """Read what the gates' own counters say, from the container kernel's memory by their symbol."""
        address = self._machine.symbols.address("xgate_stats")
        if address is None:
            return []
        walk = self._machine.cpu.translation.explain(address, 1, user=False)
        if walk.physical is None:
            return []
        memory = self._machine.memory
        values = [memory.read64(walk.physical + 8 * i) for i in range(len(_COUNTERS))]
        return [f"{name}: {value:,}" for name, value in zip(_COUNTERS, values, strict=True)]


def _with_keys(cpu: Cpu) -> Who:
    """Tell who runs where the container kernel is at ring 3: the one whose PKRU opens the kernel's key 1."""
    if cpu.cpl == 0:
        return Who.HOST
    return Who.USER if cpu.pkru >> 2 & 1 else Who.KERNEL


