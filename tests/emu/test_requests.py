"""A request to stop may come at any moment: the guest goes on as if there had been none."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import pytest

from paracell.emu.callbacks import MEM
from paracell.emu.cpuid import cpuid
from paracell.emu.events import Kind
from paracell.emu.machine import ClockKind, Machine
from paracell.emu.registers import RAX, RBX, RCX, RDI, RDX, RIP, RSI, RSP
from paracell.emu.sinks import Listener
from paracell.emu.stop import Reason

if TYPE_CHECKING:
    from collections.abc import Iterator

    from paracell.emu.events import Event

CODE, DATA = 0x10000, 0x20000
TURNS = 20_000_000


@pytest.fixture(params=["blocks", "exact", "steady"])
def machine(request: pytest.FixtureRequest) -> Iterator[Machine]:
    clock: ClockKind = request.param
    made = Machine(1 << 20, clock=clock)
    made.cpu.q[RIP], made.cpu.q[RBX], made.cpu.q[RDX] = CODE, DATA, 0x80
    yield made
    made.close()


def word(machine: Machine, number: int = 0) -> int:
    return int.from_bytes(machine.memory.read(DATA + 4 * number, 4), "little")


def run_to_halt(machine: Machine) -> int:
    """Run to HLT, however often something asks for a stop; how often."""
    stops = 0
    while (stop := machine.run()).reason is Reason.INTERRUPTED:
        stops += 1
        assert stops < 100_000
    assert stop.reason is Reason.HALTED
    return stops


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("830601", 1),  # add dword [esi], 1
        ("ff06", 1),  # inc dword [esi]
        ("0fc13e", 5),  # xadd [esi], edi
        ("873e", 5),  # xchg [esi], edi
        ("f716", (1 << 32) - 1),  # not dword [esi]
        ("0fba3e07", 0x80),  # btc dword [esi], 7
        ("8f06", 7),  # pop dword [esi]
    ],
)
def test_what_follows_in_the_block_is_done_once(machine: Machine, code: str, expected: int) -> None:
    """The stop is asked for in the middle of a block; the instruction behind writes what it has read."""
    machine.memory.write(CODE, bytes.fromhex("0fa2" + code + "90f4"))  # cpuid; …; nop; hlt
    machine.memory.write(DATA + 0x100, (7).to_bytes(4, "little"))
    machine.cpu.q[RDI], machine.cpu.q[RSI], machine.cpu.q[RSP] = 5, DATA, DATA + 0x100

    def ask(event: Event) -> None:
        if event.kind is Kind.CPUID:
            machine.request_stop()

    machine.add_sink(Listener(ask))
    assert run_to_halt(machine) == 1
    assert word(machine) == expected
    assert machine.cpu.q[RDI] == (0 if code in {"0fc13e", "873e"} else 5)


def test_a_cpuid_that_follows_in_the_block_is_the_guests(machine: Machine) -> None:
    machine.memory.write(CODE, bytes.fromhex("ee 89c8 0fa2 89c6 31c0 31c9 0fa2 f4"))  # leaf 1 to ESI, then leaf 0
    kinds: list[Kind] = []

    def ask(event: Event) -> None:
        kinds.append(event.kind)
        machine.request_stop()

    machine.cpu.q[RCX] = 1
    machine.add_sink(Listener(ask))
    run_to_halt(machine)
    assert kinds.count(Kind.CPUID) == 2
    assert (machine.cpu.q[RSI], machine.cpu.q[RAX]) == (cpuid(machine.cpu, 1, 0)[0], cpuid(machine.cpu, 0, 0)[0])


def test_requests_of_another_thread_lose_nothing_and_double_nothing(machine: Machine) -> None:
    # add dword [ebx], 1; xadd [ebx+4], eax; xchg [ebx+8], edi; dec ecx; jnz
    machine.memory.write(CODE, bytes.fromhex("830301 0fc14304 877b08 49 75f3 f4"))
    turns = TURNS // 5 if machine.clock_kind == "exact" else TURNS
    machine.cpu.q[RCX], machine.cpu.q[RAX], machine.cpu.q[RDI] = turns, 1, 1
    ended = threading.Event()

    def ask() -> None:
        while not ended.is_set():
            machine.request_stop()
            time.sleep(0.0005)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        stops = run_to_halt(machine)
    finally:
        ended.set()
        thread.join()
    assert stops  # one in ten of them doubled an addition
    assert word(machine) == turns
    assert (machine.cpu.q[RDI], word(machine, 2)) == (turns + 1 & 1, turns & 1)


def test_where_instructions_are_counted_a_request_is_met_behind_one(machine: Machine) -> None:
    """A watchpoint asks for the stop, in the middle of a block; by each clock, while it charges."""
    # mov [ebx], eax; inc eax; mov [ebx+8], eax; inc eax; nop; hlt
    machine.memory.write(CODE, bytes.fromhex("8903 40 894308 40 90 f4"))
    machine.devices.lapic.mmio_write(0x320, 0x40)  # a timer …
    machine.devices.lapic.mmio_write(0x380, 0xFFFFFFF)  # … that is armed

    def touch(_engine: int, _kind: int, address: int, _size: int, _value: int, _user: object) -> None:
        if address == DATA + 8:
            machine.request_stop(Reason.REACHED)

    machine.engine.hook_memory(MEM(touch))
    machine.engine.drop_all_code()
    machine.cpu.q[RAX] = 0
    assert machine.run(1000).reason is Reason.REACHED
    assert machine.cpu.q[RIP] == CODE + 6
    assert (word(machine), word(machine, 2)) == (0, 1)
