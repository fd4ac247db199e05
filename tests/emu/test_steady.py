"""``clock="steady"``: plain code takes time without a timer, so a guest can measure it with the time-stamp counter."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import pytest

from paracell.emu.events import Kind
from paracell.emu.machine import Machine
from paracell.emu.registers import RAX, RCX, RDX, RIP
from paracell.emu.sinks import Listener
from paracell.emu.stop import Reason

from .world import CODE, World

if TYPE_CHECKING:
    from paracell.emu.events import Event
    from paracell.emu.machine import ClockKind

TURNS = 1000
# rdtsc; mov rbx, rax; mov rcx, TURNS; turn: dec rcx; jnz turn; rdtsc; sub rax, rbx; out 0xf4, al
LOOP = bytes.fromhex("0f31 4889c3 48c7c1e8030000 48ffc9 75fb 0f31 4829d8 e6f4")


def at_loop(clock: ClockKind) -> World:
    world = World(machine=Machine(16 << 20, clock=clock))
    world.memory.write(CODE, LOOP)
    world.cpu.q[RIP] = CODE
    return world


@pytest.mark.parametrize("clock", ["blocks", "exact", "steady"])
def test_what_a_loop_takes(clock: ClockKind) -> None:
    world = at_loop(clock)
    machine = world.machine
    assert machine
    assert machine.run().reason is Reason.EXIT
    cost = world.cpu.costs
    blocks = TURNS + 1  # the turns; RDTSC begins and ends one
    assert world.cpu.q[RAX] == cost.rdtsc + (blocks * cost.block if clock == "steady" else 0)
    assert machine.clock_kind == clock
    machine.close()


def test_a_snapshot_goes_on_steadily() -> None:
    ends = []
    for stops in (False, True):
        machine = at_loop("steady").machine
        assert machine
        if stops:
            machine.request_stop()
            machine.run()
            file = io.BytesIO()
            machine.save(file)
            machine.close()
            file.seek(0)
            machine = Machine.restore(file)
            assert machine.clock_kind == "steady"
        assert machine.run().reason is Reason.EXIT
        ends.append((machine.cpu.q[RAX], machine.cpu.q[RCX], machine.cpu.q[RDX], machine.clock.save()))
        machine.close()
    assert ends[0] == ends[1]


def test_a_halt_that_nothing_ends_is_told() -> None:
    world = World(machine=Machine(16 << 20, clock="steady"))
    world.memory.write(CODE, b"\xf4")
    world.cpu.q[RIP] = CODE
    assert world.machine
    assert world.machine.run().reason is Reason.HALTED
    world.machine.close()


@pytest.mark.parametrize("clock", ["steady", "blocks"])
def test_the_end_tells_what_has_counted(clock: ClockKind) -> None:
    """It comes when the guest ends the machine, not whenever a run ends."""
    machine = at_loop(clock).machine
    assert machine
    told: list[Event] = []
    machine.add_sink(Listener(told.append))
    machine.request_stop()
    assert machine.run().reason is Reason.INTERRUPTED
    assert Kind.END not in {event.kind for event in told}
    assert machine.run().reason is Reason.EXIT
    time = machine.clock
    assert [event.kind for event in told].index(Kind.END) == len(told) - 1
    assert (told[-1].at, told[-1].data) == (time.cycles, (time.blocks, time.instructions))
    assert bool(time.blocks) == (clock == "steady")
    assert time.counted == 4 * time.blocks + time.instructions
    machine.close()
