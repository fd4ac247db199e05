"""What watches a run: the trace, and the table that ends it."""

from __future__ import annotations

import struct
import sys
from typing import TYPE_CHECKING, Final, NamedTuple

from .emu.events import Kind, Who
from .emu.registers import RAX, RCX
from .emu.sinks import open_trace
from .emu.sinks.summary import Summary
from .guest import syscalls
from .lens import peek

if TYPE_CHECKING:
    from typing import IO

    from .emu.cpu import Cpu
    from .emu.events import Event
    from .emu.machine import Machine
    from .emu.sinks import Sink

_ENOSYS: Final = -38 & (1 << 64) - 1
_CALLS: Final = frozenset({Kind.SYSCALL, Kind.GATE_ENTER})
_RETURNS: Final = frozenset({Kind.SYSRET, Kind.GATE_EXIT})
_USER_LIMIT: Final = 1 << 47


class Sites(NamedTuple):
    """What became of a program's SYSCALL instructions: the container kernel's ``xgate_stats``."""

    found: int
    rewritten: int
    slow_calls: int
    gate_calls: int


class Missing:
    """Collects the numbers of the system calls that returned ENOSYS.

    Attributes:
        numbers: in the order of their first call.

    """

    def __init__(self, cpu: Cpu) -> None:
        self.numbers: dict[int, None] = {}
        self._cpu = cpu
        self._last: int | None = None

    def emit(self, event: Event) -> None:
        """Take one event.

        A call by ParaCell's slow path returns by the host's IRET, with the result in RAX.  Under PVM a SYSRET may lead to the
        container kernel, whose own SYSCALLs are no system calls.
        """
        kind = event.kind
        if kind is Kind.SYSCALL and event.who is Who.KERNEL:
            return
        if kind in _CALLS:
            self._last = event.data[0]
        elif kind is Kind.SYSRET and self._cpu.q[RCX] >= _USER_LIMIT:
            return
        elif self._last is not None and (kind in _RETURNS or (kind is Kind.IRET and event.data[0] < _USER_LIMIT)):
            result = self._cpu.q[RAX] if kind is Kind.IRET else event.data[0]
            if result == _ENOSYS:
                self.numbers[self._last] = None
            self._last = None

    def close(self) -> None:
        """Nothing is left to do."""


class Observers:
    """The sinks of one run.

    Attributes:
        trace: the sink that writes a trace, or None.
        summary: what is counted for the table, or None.

    """

    def __init__(
        self, machine: Machine, trace: tuple[str, IO[bytes]] | None, *, stats: bool, detail: bool = False
    ) -> None:
        self._machine = machine
        self._missing = Missing(machine.cpu)
        self.trace = (_detailed(machine, trace[1]) if detail else trace_sink(machine, *trace)) if trace else None
        self.summary = Summary() if stats else None
        if self.trace:
            machine.add_sink(self.trace)
        if self.summary:
            machine.add_sink(self.summary)
            machine.add_sink(self._missing)

    def finish(self) -> None:
        """End the trace, and print the table on stderr."""
        if self.trace:
            self.trace.close()
        if self.summary:
            counted = self._machine.clock.counted
            _print(self.summary, counted, list(self._missing.numbers), sites(self._machine))


def _detailed(machine: Machine, file: IO[bytes]) -> Sink:
    """Give the sink of a trace that keeps the state of the machine besides each event."""
    from .detail import Detail
    from .emu.sinks.detailed import DetailedLines

    return DetailedLines(file, machine.symbols.name, Detail(machine))


def trace_sink(machine: Machine, suffix: str, file: IO[bytes]) -> Sink:
    """Give the sink of a trace; only Perfetto's tells of containers besides what the events tell.  Raises what `open_trace` raises."""
    if suffix != ".pftrace":
        return open_trace(suffix, file, machine.symbols)
    from .tenants import Tenants

    return open_trace(
        suffix,
        file,
        machine.symbols,
        call=syscalls.name,
        memory=Tenants(machine),
        nested=machine.cpu.outer is not None,
        since=machine.clock.now,
    )


def sites(machine: Machine) -> Sites | None:
    """Read the container kernel's counters, by symbol, through the tables that the machine stopped with."""
    address = peek(machine, "xgate_stats")
    return None if address is None else Sites(*struct.unpack("<4Q", machine.memory.read(address, 32)))


def _print(summary: Summary, counted: int, missing: list[int], sites: Sites | None) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    console = Console(stderr=True, highlight=False)
    table = Table(box=SIMPLE_HEAD)
    table.add_column("event")
    for column in ("count", "cycles", "share"):
        table.add_column(column, justify="right")
    for line in summary.lines(counted):
        name = line.event.replace("_", " ")
        table.add_row(name, f"{line.times:,}", f"{line.cycles:,}", f"{line.share:.1%}")
    console.print(table)
    if sites:
        console.print(
            f"system-call sites: {sites.rewritten:,} of {sites.found:,} rewritten; "
            f"{sites.gate_calls:,} calls through the gate, {sites.slow_calls:,} by the slow path",
            soft_wrap=True,
        )
    for number in missing:
        console.print(f"not implemented: {syscalls.name(number)} ({number})")
    sys.stderr.flush()
