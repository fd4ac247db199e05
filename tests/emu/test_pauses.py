"""Runs that pause: before an instruction, after so many, at an event; the guest sees nothing of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from paracell.emu.machine import Machine
from paracell.emu.registers import RAX, RBX, RCX, RDX, RIP
from paracell.emu.sinks import Listener
from paracell.emu.stop import Reason

if TYPE_CHECKING:
    from collections.abc import Iterator

    from paracell.emu.events import Event, Kind

CODE = 0x10000
# 10000 inc eax | 10002 out dx, al | 10003 inc ebx | 10005 smsw esi | 10008 inc ecx | 1000a jmp 10000
LOOP = bytes.fromhex("ffc0 ee ffc3 0f01e6 ffc1 ebf4")
SITES = (0x10000, 0x10002, 0x10003, 0x10005, 0x10008, 0x1000A)
COUNTS = {
    0x10000: (0, 0, 0),
    0x10002: (1, 0, 0),
    0x10003: (1, 0, 0),
    0x10005: (1, 1, 0),
    0x10008: (1, 1, 0),
    0x1000A: (1, 1, 1),
}


@pytest.fixture
def machine() -> Iterator[Machine]:
    made = Machine(1 << 20)
    made.memory.write(CODE, LOOP)
    made.cpu.q[RIP], made.cpu.q[RDX] = CODE, 0x80
    yield made
    made.close()


def counts(machine: Machine) -> tuple[int, ...]:
    return tuple(machine.cpu.q[r] for r in (RAX, RBX, RCX))


@pytest.mark.parametrize("place", SITES, ids=hex)
def test_before_an_instruction(machine: Machine, place: int) -> None:
    """SMSW is sensitive: its hook and the pause share an address."""
    machine.run(100)
    machine.pause_at([place])
    first = None
    for turn in range(5):
        assert machine.run().reason is Reason.REACHED
        assert machine.cpu.q[RIP] == place
        first = first or counts(machine)
        assert counts(machine) == tuple(n + turn for n in first)
    machine.pause_at([])
    assert machine.run(1000).reason is Reason.LIMIT


@pytest.mark.parametrize("place", SITES[1:], ids=hex)
def test_before_code_that_never_ran(machine: Machine, place: int) -> None:
    machine.pause_at([place])
    assert machine.run().reason is Reason.REACHED
    assert counts(machine) == COUNTS[place]


def test_the_instruction_that_a_run_begins_with_runs(machine: Machine) -> None:
    machine.pause_at([CODE])
    assert machine.run().reason is Reason.REACHED
    assert counts(machine) == (1, 1, 1)


def test_one_instruction_after_the_other(machine: Machine) -> None:
    seen = []
    for _ in range(12):
        seen.append(machine.cpu.q[RIP])
        assert machine.run(1).reason is Reason.LIMIT
    assert tuple(seen) == SITES * 2


def test_at_an_event_in_the_middle_of_a_block(machine: Machine) -> None:
    """The rest of the block runs as far as the next hook; then everything goes on where it was."""
    ports: list[Event] = []

    def listen(event: Event) -> None:
        ports.append(event)
        machine.request_stop(Reason.REACHED)

    machine.add_sink(Listener(listen))
    for turn in range(1, 20):
        assert machine.run().reason is Reason.REACHED
        assert (len(ports), machine.cpu.q[RAX]) == (turn, turn)
        machine.traps.sites.hook(0x20000 + turn)  # while TCG has been told to leave: no hook may be lost by it
    assert 0 <= machine.cpu.q[RAX] - machine.cpu.q[RCX] <= 1
    machine.pause_at([0x10008])
    assert machine.run().reason is Reason.REACHED


@pytest.mark.parametrize("counted", [False, True])
def test_a_request_that_comes_while_unicorn_starts(monkeypatch: pytest.MonkeyPatch, *, counted: bool) -> None:
    """Another thread asks behind the last look and before TCG runs: Unicorn forgets that request, and the guest never ends."""
    machine = Machine(1 << 20)
    machine.memory.write(0x8000, b"\xeb\xfe")
    machine.cpu.q[RIP] = 0x8000
    start = machine.engine.start

    def stop_and_start(rip: int, limit: int) -> int:
        machine.request_stop()
        return start(rip, limit)

    monkeypatch.setattr(machine.engine, "start", stop_and_start)
    assert machine.run(1 << 40 if counted else 0).reason is Reason.INTERRUPTED
    machine.close()


def test_hooks_added_while_tcg_leaves_stay(machine: Machine) -> None:
    machine.run(100)
    machine.request_stop(Reason.REACHED)  # nothing runs: Unicorn's list of hooks looks empty from here to the next run
    machine.pause_at([0x10003])
    machine.pause_at([0x10008])
    assert machine.run().reason is Reason.REACHED
    assert machine.run().reason is Reason.REACHED
    assert machine.cpu.q[RIP] == 0x10008


def test_counting_passes_no_time(machine: Machine) -> None:
    before = machine.clock.cycles
    outs = machine.cpu.q[RAX]
    machine.run(600)
    assert machine.cpu.q[RAX] - outs == 100
    assert machine.clock.cycles - before == 100 * machine.cpu.costs.port


def test_a_reason_of_ones_own_needs_no_report(machine: Machine) -> None:
    machine.request_stop(Reason.REACHED)
    assert machine.run().report == ()
    machine.request_stop()
    stop = machine.run()
    assert stop.reason is Reason.INTERRUPTED
    assert stop.report


def test_python_looks_at_code_without_a_trace(machine: Machine) -> None:
    kinds: list[Kind] = []
    machine.add_sink(Listener(lambda e: kinds.append(e.kind)))
    assert machine.cpu.code_at(CODE, 4) == LOOP[:4]
    assert machine.cpu.code_at(CODE + 4096 - 4, 8)
    assert kinds == []
    assert not machine.cpu.translation.tlb.current
