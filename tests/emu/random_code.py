"""Random instruction sequences on random states, by a seed: what a guest gone wild does to the machine.

::

    0x1000 … 0x5000 page tables      0x8000 GDT   0x9000 IDT   0xB000 TSS      0x12000 HLT for each vector
    0x10000 code    0x20000 and 0x30000 stacks    0x50000 data      the APIC's page and nothing at 0x600000 and 0x800000
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from attrs import evolve

from paracell.emu.descriptors import Segment, parse
from paracell.emu.machine import Machine
from paracell.emu.registers import RCX, RSP

from ..model.instructions import INSTRUCTIONS
from .stage import CODE16, KERNEL_CS16, USER_CS16
from .world import (
    CODE,
    DPL3,
    GDT,
    HANDLER,
    KERNEL_CS,
    KERNEL_CS32,
    KERNEL_SS,
    NONCANONICAL,
    STACK0,
    STACK3,
    SUPERVISOR,
    TSS_AT,
    UNMAPPED,
    USER_CS,
    USER_CS32,
    USER_SS,
    World,
)

if TYPE_CHECKING:
    from random import Random

    from paracell.emu.stop import Stop

DATA, APIC, NOTHING_THERE = 0x50000, 0x600000, 0x800000
STEPS: Final = (10, 200, 200, 2000)  # instructions that a sequence may run
_CS: Final = {
    (64, 0): KERNEL_CS, (64, 3): USER_CS, (32, 0): KERNEL_CS32, (32, 3): USER_CS32, (16, 0): KERNEL_CS16, (16, 3): USER_CS16,
}  # fmt: skip
_PREFIXES: Final = bytes.fromhex("2636262e3e646566676667f0f2f3") + bytes(range(0x40, 0x50))
# What most sequences need to get far: plain instructions between the others.
_PLAIN: Final = tuple(
    bytes.fromhex(code)
    for code in (
        "90", "50", "58", "9c", "9d", "f8", "f9", "fc", "fd", "99", "c9", "c3", "eb00", "ebfe", "e2fe", "7400",
        "89c8", "31c0", "48ffc0", "8b03", "8903", "488b03", "488903", "f00103", "a4", "aa", "f3a4", "f3aa", "f3a6",
        "0f58c1", "f30f1003", "0f2903", "660f6f03", "d9e8", "dfe0", "dbf1", "dd1b", "0f77", "cd80", "cc", "0f0b",
        "f4", "fa", "fb", "0f05", "48cf", "cb", "8ed0", "8ed8", "e6f1", "e4e0", "0f30", "0f32", "0f22d8", "0f22e0",
        "0f22c0", "0f20c0", "0f23c0", "0f23f8", "0f21f0", "0f013b", "0f01ef", "f36e", "f36c",
    )
)  # fmt: skip
_SYSTEM: Final = tuple(instruction.code for instruction in INSTRUCTIONS)
_MSRS: Final = (
    0x10,
    0x1B,
    0x3B,
    0x1D9,
    0x277,
    0x6E0,
    0x6E1,
    0x80B,
    0x832,
    0x838,
    0xC0000080,
    0xC0000081,
    0xC0000082,
    0xC0000100,
    0xC0000101,
)


class Wild:
    """One machine, on which one sequence after another runs."""

    def __init__(self) -> None:
        self.machine = Machine(16 << 20)
        self.world = world = World(machine=self.machine)
        memory = world.memory
        memory.write(0x3010, struct.pack("<3Q", 0, 0xFEE00087, 0xF1200087))
        memory.write(0x3018, struct.pack("<2Q", 0xFEE00087, 0xF1200087))
        world.describe(KERNEL_CS16, CODE16)
        world.describe(USER_CS16, CODE16 | DPL3)
        for vector in range(256):
            world.gate(vector, target=HANDLER + vector, kind=0xEE if vector & 1 else 0x8E, ist=vector % 3 == 1)
        memory.write(TSS_AT + 36, struct.pack("<Q", STACK0 - 0x4000))
        memory.write(HANDLER, b"\xf4" * 256)
        self._start = world.cpu.state()
        self._pages = {at: memory.read(at, 0x1000) for at in (0x1000, 0x2000, 0x3000, GDT, 0x9000, TSS_AT, HANDLER)}
        self._devices = self.machine.devices.save()

    def close(self) -> None:
        """Free the machine."""
        self.machine.close()

    def play(self, code: bytes, random: Random) -> Stop:
        """Run code on a state that `random` chooses, up to the first HLT or a limit."""
        machine, cpu, memory = self.machine, self.world.cpu, self.world.memory
        machine.forget_events()
        machine.devices.load(self._devices)
        for at, page in self._pages.items():
            memory.write(at, page)
        bits, cpl = random.choice((64, 64, 64, 32, 16)), random.choice((0, 0, 3))
        at = CODE + random.choice((0, 0, 0xFF0, 0xFFF, 0x1000 - len(code) & 0xFFF))
        memory.write(CODE, bytes(0x2000))
        memory.write(at, code)
        memory.write(DATA, random.randbytes(256))
        cs, ss = _CS[bits, cpl], USER_SS if cpl else KERNEL_SS
        data = parse(ss, self.world.descriptor(ss))
        null = Segment(0, 0, 0, 0x10000)
        segments = [random.choice((data, data, null)) for _ in range(6)]
        segments[1], segments[2] = parse(cs, self.world.descriptor(cs)), data
        cr0 = 0x80000031 | random.choice((0, 0, 1 << 3, 1 << 2, 1 << 1, 1 << 16, 1 << 18))
        cr4 = 0x20 | random.getrandbits(24) & cpu.features.cr4 if random.random() < 0.5 else 0x20 | 1 << 9
        if cpl == 0 and random.random() < 0.5:
            memory.write(0x3000, struct.pack("<Q", 0x83))  # no user's page: SMEP and SMAP may be on
        else:
            cr4 &= ~(1 << 20 | 1 << 21)
        flags = 2 | (random.getrandbits(22) & 0x254DD5 if random.random() < 0.3 else random.getrandbits(12) & 0x8D5)
        dr = [0] * 8
        dr[6], dr[7] = 0xFFFF0FF0, 0x400
        if random.random() < 0.1:
            dr[:4] = [random.choice((at, at + 3, DATA, DATA + 5, 0xF1)) for _ in range(4)]
            dr[7] |= random.getrandbits(32) & 0xFFFF03FF
        state = evolve(
            self._start, registers=self._registers(random, cpl), rip=at, rflags=flags, cpl=cpl, cr0=cr0, cr4=cr4, segments=segments, dr=dr,
            efer=self._start.efer | random.choice((0, 1, 1 << 11)), pkru=random.choice((0, 0, random.getrandbits(32))),
            xcr0=random.choice((1, 3)),
        )  # fmt: skip
        cpu.load(state)
        cpu.translation.flush_all()
        if random.random() < 0.2:  # a timer that comes soon
            machine.devices.lapic.mmio_write(0xF0, 0x1FF)
            machine.devices.lapic.mmio_write(0x320, random.choice((0x40, 1 << 17 | 0x41)))
            machine.devices.lapic.mmio_write(0x380, random.randrange(1, 300))
        return machine.run(
            STEPS[0] if dr[7] & 0xFF else random.choice(STEPS)
        )  # with a breakpoint each step takes a millisecond

    def _registers(self, random: Random, cpl: int) -> list[int]:
        chosen = [
            random.choice(
                (
                    DATA, DATA + random.randrange(256), CODE, STACK0, SUPERVISOR, UNMAPPED, NONCANONICAL,
                    APIC + 0x30 * random.randrange(90),
                    NOTHING_THERE, random.choice(_MSRS), random.getrandbits(3), random.getrandbits(16), random.getrandbits(32),
                    random.getrandbits(64), (1 << 64) - random.randrange(1, 64), 0,
                )
            )
            for _ in range(16)
        ]  # fmt: skip
        chosen[RSP] = random.choice((STACK3 if cpl else STACK0,) * 6 + (chosen[RSP],))
        chosen[RCX] = random.choice((random.randrange(64), random.choice(_MSRS), random.getrandbits(12)))
        return chosen


def sequence(random: Random) -> bytes:
    """Give up to a dozen instructions, or what looks like some."""
    code = b""
    for _ in range(random.randrange(1, 13)):
        prefixes = bytes(random.choices(_PREFIXES, k=random.choice((0, 0, 0, 1, 1, 2, 4))))
        kind = random.random()
        if kind < 0.4:
            code += random.choice(_PLAIN)
        elif kind < 0.7:
            code += prefixes + random.choice(_SYSTEM) + random.randbytes(random.choice((0, 0, 1, 4)))
        elif kind < 0.9:
            opcode = random.choice(
                (b"", b"", b"\x0f", b"\x0f", b"\x0f\x38", b"\x0f\x3a", b"\xc5", b"\x62")
            ) + random.randbytes(1)
            code += prefixes + opcode + random.choice((b"\x03", b"\x43\x08", b"\xc1", b"\x04\x24", random.randbytes(1)))
            code += random.choice((b"", b"\x01", random.randbytes(4)))
        else:
            code += random.randbytes(random.randrange(1, 16))
    return code
