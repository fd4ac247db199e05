"""A processor with a GDT, an IDT and a TSS in identity-mapped memory, on which single instructions are tried.

::

    0x1000 page tables   0x8000 GDT   0x9000 IDT   0xB000 TSS   0x10000 code   0x20000 ring-0 stack   0x30000 ring-3 stack
    2 MiB … 4 MiB supervisor pages       from 4 MiB on nothing is mapped (in long mode)
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

from attrs import evolve

from paracell.emu import instructions
from paracell.emu.clock import Clock
from paracell.emu.cpu import Cpu
from paracell.emu.decode import decode
from paracell.emu.descriptors import Segment, Table, parse
from paracell.emu.engine import Engine
from paracell.emu.memory import Memory
from paracell.emu.registers import RIP, RSP, SS
from paracell.emu.table import HANDLERS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from paracell.emu.machine import Machine

GDT, IDT, TSS_AT, CODE, STACK0, STACK3 = 0x8000, 0x9000, 0xB000, 0x10000, 0x20000, 0x30000
SUPERVISOR, UNMAPPED, NONCANONICAL = 0x200000, 0x400000, 1 << 47

CODE64, DATA, CODE32 = 0x00AF9B000000FFFF, 0x00CF93000000FFFF, 0x00CF9B000000FFFF
PRESENT, DPL3, ACCESSED = 1 << 47, 3 << 45, 1 << 40
KERNEL_CS, KERNEL_SS, KERNEL_CS32, USER_CS32, USER_SS, USER_CS = 0x08, 0x10, 0x18, 0x23, 0x2B, 0x33
TSS_SELECTOR, SPARE = 0x40, 0x60  # SPARE and all above it are free
HANDLER = 0x12000

assert instructions.__all__


class World:
    """One processor, of its own or of `machine`; `long` is 64-bit mode with paging, else 32-bit protected mode without."""

    def __init__(self, *, long: bool = True, machine: Machine | None = None) -> None:
        self.long, self.machine = long, machine
        if machine is not None:
            self.memory, self.cpu = machine.memory, machine.cpu
        else:
            engine = Engine()
            self.memory = Memory(16 << 20)
            self.memory.attach(engine)
            self.cpu = Cpu(engine, self.memory, Clock())
        cpu = self.cpu
        code = CODE64 if long else CODE32
        for selector, raw in (
            (KERNEL_CS, code), (KERNEL_SS, DATA), (KERNEL_CS32, CODE32),
            (USER_CS32 & ~3, CODE32 | DPL3), (USER_SS & ~3, DATA | DPL3), (USER_CS & ~3, code | DPL3),
        ):  # fmt: skip
            self.describe(selector, raw)
        control: dict[str, Any] = {}
        if long:
            self.memory.write(0x1000, struct.pack("<Q", 0x2007))
            self.memory.write(0x2000, struct.pack("<Q", 0x3007))
            self.memory.write(0x3000, struct.pack("<QQ", 0x87, SUPERVISOR | 0x83))
            control = {"cr3": 0x1000, "cr0": 0x80000031, "cr4": 0x20, "efer": 0x501}
            self.memory.write(TSS_AT + 4, struct.pack("<3Q", STACK0, 0, 0))
        else:
            self.memory.write(TSS_AT + 4, struct.pack("<2I", STACK0, KERNEL_SS))
        tr = Segment(TSS_SELECTOR, TSS_AT, 0x67, 0x8B)
        cpu.load(evolve(cpu.state(), gdtr=Table(GDT, 0xFFF), idtr=Table(IDT, 0xFFF), tr=tr, **control))
        self.at_ring(0)

    def describe(self, selector: int, raw: int, high: int | None = None) -> None:
        """Put a descriptor into the GDT."""
        self.memory.write(GDT + (selector & ~7), struct.pack("<Q", raw))
        if high is not None:
            self.memory.write(GDT + (selector & ~7) + 8, struct.pack("<Q", high))

    def descriptor(self, selector: int) -> int:
        """Read one back."""
        return self.memory.read64(GDT + (selector & ~7))

    def at_ring(self, cpl: int, *, compatible: bool = False) -> None:
        """Stand at CODE in ring 0 or 3, with a fresh stack; `compatible` takes 32-bit code."""
        user = cpl == 3
        cs = (USER_CS32 if user else KERNEL_CS32) if compatible else (USER_CS if user else KERNEL_CS)
        ss = USER_SS if user else KERNEL_SS
        cpu = self.cpu
        cpu.set_cs(parse(cs, self.descriptor(cs)), cpl)
        cpu.set_segment(SS, parse(ss, self.descriptor(ss)))
        cpu.q[RIP], cpu.q[RSP] = CODE, STACK3 if user else STACK0

    def warm(self) -> None:
        """Have every page translated beforehand, so that the short ways through gates and IRETQ are taken."""
        for page in (0x5000, GDT, IDT, TSS_AT, STACK0 - 4096, STACK0, STACK3 - 4096, STACK3):
            self.cpu.read_system(page, 8)
            self.cpu.write(page + 0xFF0, 8, self.memory.read64(page + 0xFF0))

    def in_64_bit_mode(self) -> bool:
        """Ask the processor."""
        return self.cpu.code64

    def gate(
        self, vector: int, selector: int = KERNEL_CS, target: int = HANDLER, kind: int = 0x8E, ist: int = 0
    ) -> None:
        """Put a gate into the IDT; `kind` is its type, DPL and P byte."""
        low = target & 0xFFFF | selector << 16 | ist << 32 | kind << 40 | (target >> 16 & 0xFFFF) << 48
        if self.long:
            self.memory.write(IDT + 16 * vector, struct.pack("<QQ", low, target >> 32))
        else:
            self.memory.write(IDT + 8 * vector, struct.pack("<Q", low))

    def do(self, code: str) -> None:
        """Run one instruction, given in hexadecimal, at RIP; its fault is raised."""
        cpu = self.cpu
        raw = bytes.fromhex(code)
        size = 64 if cpu.code64 else 32
        insn = decode(raw + bytes(15 - len(raw)), size)
        assert insn.bytes == raw, f"{insn.mnemonic} is {insn.bytes.hex(' ')}"
        HANDLERS[insn.mnemonic](cpu, insn)

    def words(self, address: int, count: int, size: int = 8) -> tuple[int, ...]:
        """Read `count` words of `size` bytes."""
        return struct.unpack(f"<{count}{ {8: 'Q', 4: 'I', 2: 'H'}[size] }", self.memory.read(address, count * size))

    def push(self, *values: int, size: int = 8) -> None:
        """Put words on the stack, the first of them on top."""
        cpu = self.cpu
        cpu.q[RSP] -= size * len(values)
        data = b"".join(v.to_bytes(size, "little") for v in values)
        self.memory.write(cpu.q[RSP], data)


def worlds(*, long: bool, warm: bool = False) -> Iterator[World]:
    """Make a world for a fixture, and free it."""
    world = World(long=long)
    if warm:
        world.warm()
    yield world
    world.cpu.engine.close()
