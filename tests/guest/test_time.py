"""Virtual time adds up, and an observer changes nothing, over programs of many kinds."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections import Counter
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from paracell.emu.cost import CHARGED, DEFAULT, NAMES, Costs, charged
from paracell.emu.events import Kind
from paracell.emu.sinks import open_trace
from paracell.emu.sinks.summary import Summary
from paracell.tenants import Tenants

from .programs import PROGRAMS, RUNTIMES, SAID, machine_with

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from paracell.emu.events import Event
    from paracell.emu.machine import Machine
    from paracell.emu.sinks import Sink

over_runtimes = pytest.mark.parametrize("runtime", RUNTIMES)
# Each its own prime, so that one charge cannot stand for another.
PRIMES = [n for n in range(11, 200) if all(n % d for d in range(2, n))]
ODD = Costs(**dict(zip(NAMES, PRIMES[: len(NAMES)], strict=True)))


class Auditor:
    """Adds up what it is told, and compares it with the clock at each event."""

    def __init__(self, machine: Machine) -> None:
        self._machine, self._costs = machine, machine.cpu.costs
        self.spent = 0
        self.count: Counter[Kind] = Counter()
        self.wrong: list[tuple[Event, int]] = []
        self._last = 0

    def emit(self, event: Event) -> None:
        machine = self._machine
        self.spent += event.cost
        self.count[event.kind] += 1
        at = self.spent + machine.clock.counted
        price = charged(self._costs, event.kind, event.data)
        if event.at != at or event.at < self._last or event.cost < 0 or price not in {None, event.cost}:
            self.wrong.append((event, at))
        self._last = event.at

    def close(self) -> None:
        """Nothing is left to do."""


# ---- the sum --------------------------------------------------------------------------------------------------


@over_runtimes
@pytest.mark.parametrize("program", PROGRAMS)
def test_the_clock_is_the_sum(runtime: str, program: str) -> None:
    machine, console = machine_with(runtime, program, ODD if len(program) % 2 else DEFAULT)
    auditor = Auditor(machine)
    machine.add_sink(auditor)
    assert machine.run().reason == "exit"
    assert not auditor.wrong, (len(auditor.wrong), auditor.wrong[:3])
    assert machine.clock.cycles == auditor.spent + machine.clock.counted
    assert bool(machine.clock.counted) >= (program.startswith("lat ") and "-e" not in program)
    if program == "script":
        assert bytes(console.sent[0]) == SAID
        assert {Kind.IDLE, Kind.INTERRUPT, Kind.HLT} <= set(auditor.count)
    machine.close()


# The timer and the end of an interrupt: by the local APIC's MSRs, by its page, by the 8254 and the 8259s.
@over_runtimes
@pytest.mark.parametrize("cpu", ["pks", "pks,-x2apic", "pks,-tsc-deadline"])
@pytest.mark.skipif("script" not in PROGRAMS, reason="busybox is not installed")
def test_every_kind_of_timer_rings(runtime: str, cpu: str) -> None:
    machine, console = machine_with(runtime, "script", cpu=cpu)
    counted: Counter[int] = Counter()

    class Deadlines:
        def emit(self, event: Event) -> None:
            if event.kind is Kind.MSR and event.data[1]:
                counted[event.data[0]] += 1

        def close(self) -> None:
            pass

    machine.add_sink(Deadlines())
    assert machine.run().reason == "exit"
    assert bytes(console.sent[0]) == SAID
    by_msr = counted[0x80B]  # EOI
    assert bool(by_msr) == (cpu == "pks"), counted
    assert bool(counted[0x6E0]) == ("tsc-deadline" not in cpu), counted
    machine.close()


def test_each_kind_says_what_it_may_cost() -> None:
    assert set(CHARGED) == set(Kind)
    assert {name for names in CHARGED.values() for name in names} == set(NAMES) - {"block"}


@pytest.mark.parametrize("runtime", ["native", "paracell"])
@pytest.mark.parametrize("argv", [["hello"], ["lat", "pipe", "3"]])
def test_the_command_line_shows_the_sum(tmp_path: Path, runtime: str, argv: list[str]) -> None:
    """With the events that a runtime's lens adds or renames: the table's cycles end where the trace does."""
    trace = tmp_path / "trace.jsonl"
    command = [sys.executable, "-m", "paracell", "run", "--runtime", runtime, "--stats", "--trace", str(trace), *argv]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    events = [json.loads(line) for line in trace.read_text(encoding="utf-8").splitlines()]
    retired = [0]
    spent = 0
    for event in events:
        spent += event["cost"]
        retired.append(event["at"] - spent)
    assert all(before <= after for before, after in pairwise(retired))
    rows = [line.split() for line in done.stderr.splitlines() if line.rstrip().endswith("%")]
    table = {" ".join(row[:-3]): int(row[-2].replace(",", "")) for row in rows}
    assert table.get("plain code", 0) >= retired[-1]
    assert sum(table.values()) == events[-1]["at"] - retired[-1] + table.get("plain code", 0)
    assert ("plain code" in table) == (argv[0] == "lat")


# ---- observers ------------------------------------------------------------------------------------------------


class Deaf:
    """A sink that does nothing."""

    def emit(self, event: Event) -> None:
        """Take one event."""

    def close(self) -> None:
        """Nothing is left to do."""


def _sinks(machine: Machine) -> dict[str, Callable[[], list[Sink]]]:
    symbols = machine.symbols
    return {
        "none": list,
        "one": lambda: [Deaf()],
        "several": lambda: [
            Summary(),
            *(open_trace(s, io.BytesIO(), symbols, memory=Tenants(machine)) for s in (".jsonl", ".pftrace")),
            Auditor(machine),
        ],
    }


@over_runtimes
@pytest.mark.parametrize("program", [name for name in PROGRAMS if name != "threads"])  # it takes seconds
def test_an_observer_changes_nothing(runtime: str, program: str) -> None:
    """The same end, console, clock, and all state to the byte: registers, devices, memory, and which of its pages were written."""
    ends = {}
    for who in ("none", "one", "several") if program in {"hello", "segv", "signals"} else ("none", "several"):
        machine, console = machine_with(runtime, program)
        for sink in _sinks(machine)[who]():
            machine.add_sink(sink)
        stop = machine.run()
        saved = io.BytesIO()
        machine.save(saved)
        clock = machine.clock.cycles, machine.clock.counted
        ends[who] = stop, clock, list(map(bytes, console.sent)), sorted(machine.memory.dirty), saved.getvalue()
        machine.close()
    assert ends["none"][0].reason == "exit"
    for end in ends.values():
        for mine, theirs in zip(end, ends["none"], strict=True):
            assert mine == theirs
