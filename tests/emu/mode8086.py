"""Machines in real-address and virtual-8086 mode that run a few bytes on TCG and tell which interrupt came."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

import pytest
from attrs import evolve

from paracell.emu.descriptors import Segment, Table
from paracell.emu.machine import Machine
from paracell.emu.registers import CS, DS, ES, FS, GS, RIP, RSP, SS, VM
from paracell.emu.state import State
from paracell.emu.stop import Reason

from .world import KERNEL_CS, STACK0, TSS_AT, TSS_SELECTOR, World

if TYPE_CHECKING:
    from collections.abc import Iterator

CODE, STACK, DATA, EXTRA = 0x1000, 0x2000, 0x3000, 0x4000  # paragraphs
START, TOP = 0x100, 0x800
IVT_HANDLER: Final = 0x5000  # the paragraph of the handlers: IP is 16 × vector
SIX: Final = (ES, CS, SS, DS, FS, GS)


def paragraph(selector: int, access: int = 0x93) -> Segment:
    return Segment(selector, selector << 4, 0xFFFF, access)


class Real:
    """A machine in real mode whose every interrupt ends at a HLT of its own."""

    def __init__(self) -> None:
        self.machine = Machine(16 << 20)
        self.cpu, self.memory = self.machine.cpu, self.machine.memory

    def reset(self, *, flags: int = 2, cr0: int = 0x10) -> None:
        for vector in range(256):
            self.memory.write(4 * vector, struct.pack("<2H", 16 * vector, IVT_HANDLER))
        self.memory.write(IVT_HANDLER << 4, b"\xf4" * 0x1000)
        for selector in (CODE, STACK, DATA, EXTRA):
            self.memory.write(selector << 4, bytes(0x10000))
        self.cpu.load(
            State(
                rip=START,
                rflags=flags,
                cr0=cr0,
                cr4=0x200,
                registers=(0,) * 4 + (TOP,) + (0,) * 11,
                idtr=Table(0, 0x3FF),
                segments=tuple(
                    paragraph(EXTRA if number == ES else CODE if number == CS else STACK if number == SS else DATA)
                    for number in SIX
                ),
            )
        )
        self.cpu.translation.reset()
        self.machine.forget_events()

    def run(self, code: str) -> int | None:
        """Run code that ends in a HLT; the vector of the interrupt that came instead."""
        self.memory.write((CODE << 4) + START, bytes.fromhex(code + "f4"))
        self.memory.drop_stale_code()
        stop = self.machine.run()
        assert stop.reason is Reason.HALTED, (stop.reason, stop.report[:1])
        cpu = self.cpu
        if cpu.segments[CS].selector == IVT_HANDLER:
            return cpu.q[RIP] - 1 >> 4
        return None

    def frame(self, words: int = 3) -> tuple[int, ...]:
        """Give what lies on top of the stack."""
        at = self.cpu.segments[SS].base + (self.cpu.q[RSP] & 0xFFFF)
        return struct.unpack(f"<{words}H", self.memory.ram[at : at + 2 * words])

    def word(self, selector: int, offset: int, size: int = 2) -> int:
        at = (selector << 4) + offset
        return int.from_bytes(self.memory.ram[at : at + size], "little")


@pytest.fixture(scope="module")
def module_real() -> Iterator[Real]:
    real = Real()
    yield real
    real.machine.close()


@pytest.fixture
def real(module_real: Real) -> Real:
    module_real.reset()
    return module_real


def q(real: Real, number: int) -> int:
    return real.cpu.q[number]


class Virtual(Real):
    """A virtual-8086 task, without paging, under a 32-bit monitor whose every gate ends at a HLT at ring 0."""

    HANDLERS: Final = 0x12000

    def reset(self, *, flags: int = 2, cr0: int = 0x11) -> None:
        super().reset(flags=flags | VM, cr0=cr0)
        world = World(long=False, machine=self.machine)
        state = self.cpu.state()
        for vector in range(256):
            world.gate(vector, KERNEL_CS, self.HANDLERS + 16 * vector, kind=0xEE)
        self.memory.write(self.HANDLERS, b"\xf4" * 0x1000)
        self.memory.write(TSS_AT + 102, struct.pack("<H", 104) + bytes(0x80))
        self.memory.write(STACK0 - 64, bytes(64))
        segments = tuple(
            paragraph(EXTRA if n == ES else CODE if n == CS else STACK if n == SS else DATA, 0xF3) for n in SIX
        )
        self.cpu.load(
            evolve(
                state, cpl=3, rip=START, rflags=flags | VM | 2, segments=segments,
                registers=(0,) * 4 + (TOP,) + (0,) * 11, tr=Segment(TSS_SELECTOR, TSS_AT, 104 + 0x20, 0x8B), activity=0,
            )
        )  # fmt: skip
        self.machine.forget_events()

    def run(self, code: str) -> int | None:
        """Run code that the monitor stops; the vector, with the frame in `pushed`."""
        self.memory.write((CODE << 4) + START, bytes.fromhex(code))
        self.memory.drop_stale_code()
        stop = self.machine.run()
        assert stop.reason is Reason.HALTED, (stop.reason, stop.report[:1])
        assert (self.cpu.cpl, self.cpu.v86, self.cpu.segments[CS].selector) == (0, False, KERNEL_CS)
        rsp = self.cpu.q[RSP]
        words = (STACK0 - rsp) // 4
        self.pushed = struct.unpack(f"<{words}I", self.memory.ram[rsp : rsp + 4 * words])
        return self.cpu.q[RIP] - 1 - self.HANDLERS >> 4


@pytest.fixture(scope="module")
def module_v86() -> Iterator[Virtual]:
    virtual = Virtual()
    yield virtual
    virtual.machine.close()


@pytest.fixture
def v86(module_v86: Virtual) -> Virtual:
    module_v86.reset()
    return module_v86
