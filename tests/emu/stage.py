"""A machine on which one encoding after another is run in one mode, and what came of each: `Stage.play` gives an `Outcome`.

::

    0x4000 page table     0xA000 the stack      0xC000 the memory operand     0xD000 code, targets of far branches
    0x12000 for each vector 16 bytes of HLT     0x13000 HLT: SYSCALL, SYSENTER      0x20000 the handlers' stack
    from 0x40000 on the page of code again and again, and nothing behind each

Each encoding stands at a linear address where none stood before: what the machine has learned of an address cannot help it.  In 64-bit
mode code, stack and operand are used at linear addresses of 47 bits, where the same pages are mapped once more: an address
that is cut to 32 or 16 bits is another one, and leads to the breakpoints all the same.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Self

from paracell.emu.descriptors import Segment, Table, parse
from paracell.emu.instructions.syscall import LSTAR, SFMASK, STAR, SYSENTER_CS, SYSENTER_EIP, SYSENTER_ESP
from paracell.emu.machine import Machine
from paracell.emu.registers import DS, ES, FS, GS, R8, R9, R15, RAX, RBX, RCX, RDI, RDX, RIP, RSI, RSP, SS
from paracell.emu.stop import Reason

from ..model.encodings import Outcome, Scene
from .world import (
    DPL3,
    GDT,
    IDT,
    KERNEL_CS,
    KERNEL_CS32,
    KERNEL_SS,
    STACK0,
    TSS_AT,
    TSS_SELECTOR,
    USER_CS,
    USER_CS32,
    USER_SS,
    World,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..model.encodings import Instruction, Mode

HIGH = 0xE0 << 39  # linear addresses of 64-bit mode: the lowest GiB once more
HIGHER = HIGH + (1 << 30)  # and once more: cut to 32 bits, such an address is not mapped
TABLE, STACK, OPERAND, CODE, HANDLERS, SYSTEM = 0x4000, 0xA800, 0xC000, 0xD000, 0x12000, 0x13000
HIGH_TABLE = 0x6000
FIRST_COPY, COPIES, STRIDE, SLOT = 0x41000, 148, 0x3000, 32
TARGET, NEW_STACK, SYSTEM_STACK = CODE + 0x800, 0xA400, 0x21000
KERNEL_CS16, USER_CS16, SPARE_TSS, LDT_SELECTOR = 0x60, 0x6B, 0x70, 0x80
CODE16 = 0x00009B000000FFFF
CR0, CR3, CR4, EFER = 0x80000031, 0x1000, 1 << 5 | 1 << 9 | 1 << 16 | 1 << 18 | 1 << 22, 0xD01
FLAGS = 0x802  # OF, for INTO
OPEN_GATES = frozenset({1, 3, 4, 0x80})
PRESENT_GATE, OPEN_GATE, ABSENT_GATE = 0x8E, 0xEE, 0x6E
TSC, KERNEL_GS_BASE = 0x10, 0xC0000102
SELECTORS = {
    (64, 0): KERNEL_CS, (64, 3): USER_CS, (32, 0): KERNEL_CS32, (32, 3): USER_CS32, (16, 0): KERNEL_CS16, (16, 3): USER_CS16,
}  # fmt: skip
HLT, INT3, INT1 = b"\xf4", b"\xcc", b"\xf1"
_MOST = 200  # times that one encoding may leave TCG: more is a loop


class Stage:
    """One machine in one mode; used as a context manager."""

    def __init__(self, mode: Mode) -> None:
        self.mode = mode
        self.machine = Machine(16 << 20)
        self.world = world = World(machine=self.machine)
        self.cpu, self.memory = world.cpu, world.memory
        self.high, self.stack = (HIGH, HIGHER + STACK) if mode.bits == 64 else (0, STACK)
        self.cs, self.ss = SELECTORS[mode.bits, mode.cpl], USER_SS if mode.cpl else KERNEL_SS
        self._map()
        self._msr = {
            STAR: KERNEL_CS << 32 | (USER_CS32 & ~3) << 48, LSTAR: SYSTEM, SFMASK: 0x47700,
            SYSENTER_CS: KERNEL_CS, SYSENTER_EIP: SYSTEM, SYSENTER_ESP: SYSTEM_STACK,
        }  # fmt: skip
        self._places = iter(_places())
        self._round, self._rounds = self.machine._loop._round, 0
        self.machine._loop._round = self._counted_round  # type: ignore[method-assign]
        self._page, self._offset = FIRST_COPY, 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.machine.close()

    def _counted_round(self) -> None:
        self._rounds += 1
        if self._rounds > _MOST:
            self.machine.request_stop()
        self._round()

    def _map(self) -> None:
        memory, world = self.memory, self.world
        memory.write(CR3 + 8 * (HIGH >> 39), struct.pack("<Q", HIGH_TABLE | 7))
        memory.write(HIGH_TABLE, struct.pack("<2Q", 0x3007, 0x3007))
        entries = [page << 12 | 7 for page in range(512)]
        entries[0] = 0
        for copy in range(COPIES):
            page = FIRST_COPY + STRIDE * copy >> 12
            entries[page - 1 : page + 2] = OPERAND | 7, CODE | 7, 0  # CS:OPERAND is readable in 16-bit code too
        memory.write(TABLE, struct.pack("<512Q", *entries))
        memory.write(0x3000, struct.pack("<2Q", TABLE | 7, 0))
        for vector in range(256):
            kind = OPEN_GATE if vector in OPEN_GATES else ABSENT_GATE if vector == 0x82 else PRESENT_GATE
            world.gate(vector, KERNEL_CS, HANDLERS + 16 * vector, kind=kind)
        memory.write(HANDLERS, HLT * 0x1000)
        memory.write(SYSTEM, HLT * 0x1000)
        world.describe(KERNEL_CS16, CODE16)
        world.describe(USER_CS16, CODE16 | DPL3)

    def move(self, edge: int = 0) -> bool:
        """Go to a fresh address, so many bytes before a page's end if that is not 0; False where there is none left."""
        found = next(self._places, None)
        if found is None:
            return False
        self._page, self._offset = found
        if edge:
            self._offset = 4096 - edge
        return True

    def scene(self, instruction: Instruction) -> Scene:
        """Say what an encoding finds at the address in force."""
        high, base = self.high, self._base()
        start = self._page + self._offset - base
        stack, operand = self._bytes(instruction.stack), self._bytes(instruction.operand)
        return Scene(
            start=high + start, there=4096 - self._offset, target=high + TARGET, rsp=self.stack, new_rsp=high + NEW_STACK,
            system=SYSTEM, system_stack=SYSTEM_STACK, cs=self.cs, ss=self.ss, stack=stack, operand=operand, base=base, cr0=CR0, cr4=CR4,
            tr=TSS_SELECTOR, ldtr=LDT_SELECTOR,
        )  # fmt: skip

    def _base(self) -> int:
        """Give the base of CS: 16 bits of IP reach the code from there."""
        return self._page - CODE if self.mode.bits == 16 else 0

    def _bytes(self, kind: str) -> bytes:
        """Give what lies on the stack or at the operand."""
        target, rsp = self.high + TARGET, self.high + NEW_STACK
        if kind[:-1] in {"far", "iret", "data"}:
            size = int(kind[-1])
            values = {"far": (target, self.cs), "iret": (target, self.cs, 2, rsp, self.ss), "data": (0, self.ss)}
            data = b"".join((v & (1 << 8 * size) - 1).to_bytes(size, "little") for v in values[kind[:-1]])
        else:
            word = {"": 0, "flags": 2, "cr0": CR0 & 0xFFFF, "data": self.ss, "tss": SPARE_TSS, "compact": 0}
            data = {
                "gdtr": struct.pack("<HQ", 0xFFF, GDT),
                "idtr": struct.pack("<HQ", 0xFFF, IDT),
            }.get(kind) or word[kind].to_bytes(8, "little")
        return data.ljust(64, b"\0")

    def reset(self, instruction: Instruction, scene: Scene) -> None:
        """Put processor and memory where they were before."""
        cpu, q, memory, world, machine = self.cpu, self.cpu.q, self.memory, self.world, self.machine
        memory.write(STACK, scene.stack)
        memory.write(OPERAND, scene.operand)
        if instruction.operand == "compact":  # XCOMP_BV of a compacted XSAVE area
            memory.write(OPERAND + 512, struct.pack("<8Q", 0, 1 << 63, *[0] * 6))
        elif instruction.code[-1] in {0x2F, 0x1F, 0x0F}:
            memory.write(OPERAND + 512, bytes(64))
        world.describe(SPARE_TSS, TSS_AT << 16 & 0xFFFFFF0000 | 0x67 | 0x89 << 40, 0)
        memory.write(TSS_AT + 4, struct.pack("<3Q", STACK0, 0, 0))
        memory.write(TSS_AT + 102, b"\xff\xff")  # no I/O permission bitmap
        if (cpu.cr0, cpu.cr3, cpu.cr4, cpu.efer) != (CR0, CR3, CR4, EFER):
            cpu.cr0, cpu.cr3, cpu.cr4, cpu.efer = CR0, CR3, CR4, EFER
            cpu.sync_control()
        cpu.msr.clear()
        cpu.msr.update(self._msr)
        cpu.ldtr = Segment(LDT_SELECTOR, 0, 0, 0x82)
        cpu.gdtr, cpu.idtr, cpu.tr = Table(GDT, 0xFFF), Table(IDT, 0xFFF), Segment(TSS_SELECTOR, TSS_AT, 0x67, 0x8B)
        cpu.xcr0, cpu.cr2, cpu.interrupt_shadow, cpu.halted, cpu.nmi_blocked = 1, 0, False, False, False
        if cpu.pkru:
            cpu.set_pkru(0)
        if self.mode.bits == 16:
            base = self._base()
            world.describe(self.cs, CODE16 | (DPL3 if self.mode.cpl else 0) | (base & 0xFFFFFF) << 16)
        cpu.set_cs(parse(self.cs, world.descriptor(self.cs)), self.mode.cpl)
        data = parse(self.ss, world.descriptor(self.ss))
        for number in (ES, SS, DS, FS, GS):
            cpu.set_segment(number, data)
        cpu.rflags = FLAGS
        for register in range(16):
            q[register] = 0
        q[RDI] = q[R15] = q[RBX] = q[RSI] = self.high + OPERAND
        q[RSP], q[RIP] = scene.rsp, scene.start
        values = {
            "target": scene.target, "new_rsp": scene.new_rsp, "tsc": TSC, "kernel_gs_base": KERNEL_GS_BASE, "data": self.ss, "cr0": CR0,
            "cr3": CR3, "cr4": CR4, "dr7": 0x400, "tss": SPARE_TSS, "xcr0": 1, "port": 0x80, "one": 1, "ones": (1 << 64) - 1,
        }  # fmt: skip
        numbers = {"rax": RAX, "r8": R8, "rcx": RCX, "rdx": RDX, "r9": R9}
        for name, value in instruction.registers.items():
            q[numbers[name]] = values[value]
        machine.forget_events()

    def write(self, instruction: Instruction, code: bytes, scene: Scene) -> None:
        """Place the encoding among breakpoints."""
        fill = INT1 if instruction.code[0] in {0xCC, 0xCD} else INT3
        at = CODE + self._offset
        self.memory.write(CODE, fill * 0x1000)
        self.memory.write(at, code[: scene.there])

    def play(self, instruction: Instruction, code: bytes, scene: Scene) -> Outcome | str:
        """Run it; a string says what went wrong with the machine."""
        self.write(instruction, code, scene)
        self.reset(instruction, scene)
        self._rounds = 0
        stop = self.machine.run()
        if stop.reason is not Reason.HALTED:
            return f"{stop.reason.value}: {stop.report[0] if stop.report else ''}"
        return self._outcome(instruction, code, scene)

    def _outcome(self, instruction: Instruction, code: bytes, scene: Scene) -> Outcome | str:
        cpu, q = self.cpu, self.cpu.q
        rip = q[RIP] - 1
        cs = cpu.segments[1].selector
        if not HANDLERS <= rip < HANDLERS + 0x1000:
            link = q[RCX] if instruction.name == "syscall" else None
            return Outcome(-1, rip + 1, q[RSP], cs, link=link)
        if (rip - HANDLERS) & 15:
            return f"in the middle of the handler for vector {rip - HANDLERS >> 4}"
        vector = rip - HANDLERS >> 4
        with_error = not q[RSP] & 15  # the frame begins at a multiple of 16
        at = q[RSP] & 0xFFFFFF
        frame = struct.unpack("<6Q", self.memory.read(at, 48))
        error, (old_rip, old_cs, _, old_rsp, _) = (frame[0], frame[1:]) if with_error else (None, frame[:5])
        link = None
        if instruction.name.startswith("call ") and old_rsp != scene.rsp:
            size = (scene.rsp - old_rsp) // 2
            link = int.from_bytes(self.memory.read(old_rsp & 0xFFFFFF, size), "little") if 0 < size <= 8 else -1
        result = None
        if instruction.value is not None and old_rip != scene.start:
            result = q[instruction.destination(code, self.mode)]
            if self.mode.bits != 64:
                result &= 0xFFFFFFFF
        return Outcome(vector, old_rip, old_rsp, old_cs, error, cpu.cr2 if vector == 14 else None, link, result)


def _places() -> Iterator[tuple[int, int]]:
    """Give pages and offsets in them, all different, away from the target of far branches."""
    for slot in range(0, 4096 - 2 * SLOT, SLOT):
        if not 0x7C0 <= slot <= 0x840:
            for copy in range(COPIES):
                yield FIRST_COPY + STRIDE * copy, slot
