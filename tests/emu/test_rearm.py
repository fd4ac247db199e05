"""A timer that is armed anew for an earlier moment, while code is counted for a later one: it comes in time.

An itimer came 2 s late once, for TCG ran on to the limit that the old deadline had given it.
"""

from __future__ import annotations

import struct

import pytest

from paracell.emu.machine import ClockKind, Machine
from paracell.emu.registers import EFLAGS, RBX, RCX, RIP
from paracell.emu.stop import Reason

from .world import CODE, HANDLER, World

APIC, TIMER, IF = 0x600000, 0x40, 1 << 9
LATER, SOONER = 50_000_000, 2_000
# Ways to arm it: the page's count by a store, TSC-deadline by WRMSR.
STORE = f"c70425 80036000 {struct.pack('<I', SOONER).hex()}"  # mov dword [APIC + 0x380], SOONER
DEADLINE = f"0f31 05 {struct.pack('<I', SOONER).hex()} b9e0060000 0f30"  # rdtsc; add eax, SOONER; mov ecx, 0x6e0; wrmsr
SPIN = "ebfe"


@pytest.mark.parametrize("clock", ["blocks", "exact"])
@pytest.mark.parametrize(("mode", "arm"), [(0, STORE), (2 << 17, DEADLINE)], ids=["count", "deadline"])
@pytest.mark.parametrize("turns", [0, 10, 5_000])
def test_an_earlier_timer_is_not_kept_waiting(clock: ClockKind, mode: int, arm: str, turns: int) -> None:
    machine = Machine(16 << 20, clock=clock)
    try:
        world = World(machine=machine)
        world.memory.write(0x3018, struct.pack("<Q", 0xFEE00083))
        world.gate(TIMER)
        world.memory.write(HANDLER, bytes.fromhex("e6f4ebfe"))
        lapic = machine.devices.lapic
        lapic.mmio_write(0xF0, 0x1FF)
        lapic.mmio_write(0x3E0, 0xB)
        lapic.mmio_write(0x320, mode | TIMER)
        if mode:
            lapic.set_deadline(LATER)
        else:
            lapic.mmio_write(0x380, LATER)
        # 1: dec ebx; jns 1b; …; spin
        world.memory.write(CODE, bytes.fromhex(f"ffcb 79fc {arm} {SPIN}"))
        q = world.cpu.q
        q[RIP], q[RBX], q[RCX], q[EFLAGS] = CODE, turns, 0, 2 | IF
        assert machine.run().reason is Reason.EXIT
        assert machine.clock.now < 10 * (turns + 100) + 3 * SOONER
    finally:
        machine.close()
