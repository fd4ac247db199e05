"""A machine that runs a few bytes at ring 0 of 64-bit mode and says which exception came of them."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from paracell.emu.machine import Machine
from paracell.emu.registers import RAX, RBX, RCX, RDX, RIP
from paracell.emu.stop import Reason

from .world import CODE, HANDLER, World

if TYPE_CHECKING:
    from paracell.emu.features import Features
    from paracell.emu.nesting import NestedOptions

UD, NM, GP, PF = 6, 7, 13, 14
VECTORS: Final = (UD, NM, GP, PF)


class Guest(World):
    """A machine in 64-bit mode at ring 0 that runs a few bytes and says which exception came of them."""

    def __init__(self, features: Features, *, nested: NestedOptions | bool = False) -> None:
        super().__init__(machine=Machine(16 << 20, features=features, nested=nested))
        for vector in VECTORS:
            self.gate(vector, target=HANDLER + vector)
            self.memory.write(HANDLER + vector, b"\xf4")
        self.memory.write(0x3000, struct.pack("<Q", 0x83))  # not a user's page: SMEP and SMAP may be set
        # CR4 with all that enables instructions, as far as there is such a bit.
        self.cr4 = self.cpu.cr4 | features.cr4 & (1 << 16 | 1 << 18 | 1 << 22)

    def vector(self, code: str, **registers: int) -> int | None:
        """Run code and HLT; the vector of the exception, or None."""
        cpu, machine = self.cpu, self.machine
        assert machine is not None
        self.at_ring(0)
        cpu.set_cr4(self.cr4)
        cpu.halted = False
        for number, name in ((RAX, "rax"), (RBX, "rbx"), (RCX, "rcx"), (RDX, "rdx")):
            cpu.q[number] = registers.get(name, 0)
        self.memory.write(CODE, bytes.fromhex(code) + b"\xf4")
        self.memory.drop_stale_code()
        assert machine.run().reason is Reason.HALTED
        at = cpu.q[RIP] - 1
        return at - HANDLER if HANDLER <= at < HANDLER + 32 else None

    def cpuid(self, leaf: int, subleaf: int = 0) -> dict[int, int]:
        assert self.vector("0fa2", rax=leaf, rcx=subleaf) is None
        return {register: self.cpu.q[register] for register in (RAX, RBX, RCX, RDX)}

    def rdmsr(self, number: int) -> int | None:
        return self.vector("0f32", rcx=number)

    def wrmsr(self, number: int, value: int) -> int | None:
        return self.vector("0f30", rcx=number, rax=value & 0xFFFFFFFF, rdx=value >> 32)

    def close(self) -> None:
        self.cpu.engine.close()
