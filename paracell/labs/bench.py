"""A processor on which a lab tries single accesses and short pieces of code under page tables of its own making.

::

    linear                          physical
    0 … 1 << 46                     the lab's own tables say
    slot 511 of the top table       the bench's pages, the same under every top table that `install` was given:
      KERNEL + 0x0000  GDT            0x10000      supervisor's
      KERNEL + 0x1000  IDT            0x11000
      KERNEL + 0x2000  TSS            0x12000
      KERNEL + 0x3000  stack          0x13000
      KERNEL + 0x4000  code, ring 0   0x14000
      USER_CODE        code, ring 3   0x15000      everybody's
      USER_STACK       its stack      0x16000

    physical memory from FREE on is the lab's
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from attrs import evolve, frozen

from ..capture import Capture
from ..emu.descriptors import Segment, Table, parse
from ..emu.features import DEFAULT
from ..emu.machine import Machine as Inner
from ..emu.registers import SS
from ..emu.stop import Reason
from ..machine import Machine

if TYPE_CHECKING:
    from ..emu.features import Features

Access: TypeAlias = Literal["read", "write", "fetch"]
KERNEL: Final = 0xFFFF_FF80_0000_0000
USER_CODE: Final = KERNEL + 0x5000
USER_STACK: Final = KERNEL + 0x7000  # its top
FREE: Final = 0x20000
_TABLES, _PAGES = 0x1000, 0x10000  # the bench's own three tables, and its pages
_GDT, _IDT, _TSS, _STACK, _CODE = (KERNEL + 0x1000 * page for page in (0, 1, 2, 4, 4))  # of a stack, its top
_HANDLERS: Final = _CODE + 0x800
_OPEN: Final = 0x67  # present, writable, everybody's, accessed, dirty
_CS0, _SS0, _SS3, _CS3, _TR = 0x08, 0x10, 0x1B, 0x23, 0x28
_DESCRIPTORS: Final = (0, 0x00AF9B000000FFFF, 0x00CF93000000FFFF, 0x00CFF3000000FFFF, 0x00AFFB000000FFFF)
_WITH_ERROR: Final = frozenset({8, 10, 11, 12, 13, 14, 17, 21})
_BREAKPOINT: Final = 3
_STUBS: Final = {"read": "8a07 cc", "write": "8807 cc", "fetch": "ffe7"}  # mov (%rdi),%al; mov %al,(%rdi); jmp *%rdi
PAGE_FAULT: Final = 14
LANDING: Final = b"\xcc"  # INT3: what must stand where a fetch is to succeed


@frozen
class Outcome:
    """How a piece of code ended.

    Attributes:
        vector: of the exception that ended it; None for the INT3 at its end.
        error: the exception's error code; None where it has none.
        address: CR2, for a page fault.
        rip: where the exception came.
        rsp: the stack pointer there.

    """

    vector: int | None
    error: int | None
    address: int | None
    rip: int
    rsp: int


class Bench:
    """A machine in 64-bit mode, with interrupts off and EFER.NXE, CR0.WP and CR4.PKE set.

    Attributes:
        machine: the machine, as a `paracell.Machine`.
        memory: its physical memory.
        root: the physical address of the top table that CR3 holds.
        tables: where `map` takes its next table from.

    """

    def __init__(self, size: int = 64 << 20, features: Features = DEFAULT) -> None:
        inner = Inner(size, Capture(), features=features)
        self.machine = Machine(inner, Capture())
        self.memory = inner.memory
        self._cpu = inner.cpu
        self._make_pages()
        self.root, self.tables = 0xF000, FREE
        self.install(self.root)
        cpu = inner.cpu
        cpu.load(
            evolve(
                cpu.state(),
                cr3=self.root,
                cr0=0x80010033,
                cr4=0x20 | 1 << 22,
                efer=0xD01,
                gdtr=Table(_GDT, 0xFFF),
                idtr=Table(_IDT, 0xFFF),
                tr=Segment(_TR, _TSS, 0x67, 0x8B),
            )
        )

    def _make_pages(self) -> None:
        memory = self.memory
        for level in range(2):
            memory.write64(_TABLES + 0x1000 * level, _TABLES + 0x1000 * (level + 1) | _OPEN)
        for page in range(7):
            memory.write64(_TABLES + 0x2000 + 8 * page, _PAGES + 0x1000 * page | (_OPEN if page > 4 else _OPEN & ~4))
        memory.write(_PAGES, struct.pack("<5Q", *_DESCRIPTORS))
        memory.write(_PAGES + 0x2004, struct.pack("<Q", _STACK))
        for vector in range(32):
            handler = _HANDLERS + vector
            kind = 0xEE if vector == _BREAKPOINT else 0x8E
            low = handler & 0xFFFF | _CS0 << 16 | kind << 40 | (handler >> 16 & 0xFFFF) << 48
            memory.write(_PAGES + 0x1000 + 16 * vector, struct.pack("<QQ", low, handler >> 32))
        memory.write(_PAGES + 0x4800, b"\xf4" * 32)
        for page in (0x4000, 0x5000):
            for number, code in enumerate(_STUBS.values()):
                memory.write(_PAGES + page + 16 * number, bytes.fromhex(code))

    # ---- tables -----------------------------------------------------------------------------------------------

    def install(self, root: int) -> None:
        """Put the bench's own pages into the top table at `root`, which is 4 KiB of physical memory."""
        self.memory.write64(root + 8 * 511, _TABLES | _OPEN)

    def map(self, address: int, entry: int) -> None:
        """Set the last entry for a linear address under the present root; tables that are missing are taken from `tables` on."""
        at = self.root
        for shift in (39, 30, 21):
            slot = at + 8 * (address >> shift & 511)
            if not self.memory.read64(slot):
                self.memory.write64(slot, self.tables | _OPEN)
                self.tables += 0x1000
            at = self.memory.read64(slot) & ~0xFFF
        self.memory.write64(at + 8 * (address >> 12 & 511), entry)

    def use(self, root: int) -> None:
        """Load CR3 with an installed top table; this drops every translation, as MOV to CR3 does."""
        self.root = root
        self.machine.cpu.cr3 = root

    def invlpg(self, address: int) -> None:
        """Drop the translations of one page, as INVLPG does."""
        self._cpu.translation.invlpg(address)

    # ---- running ----------------------------------------------------------------------------------------------

    def access(self, address: int, access: Access, *, user: bool) -> Outcome:
        """Make one access of one byte at ring 3 or ring 0.

        A fetch is a jump: where it is allowed, `LANDING` must stand there.
        """
        self.stand(16 * tuple(_STUBS).index(access), user=user)
        self.machine.cpu.rdi = address
        return self.go()

    def run(self, code: bytes, *, user: bool, **registers: int) -> Outcome:
        """Run up to 1.5 KiB of code, with INT3 behind it, at ring 3 or ring 0; registers that are not named keep their values."""
        at = _PAGES + (0x5100 if user else 0x4100)
        self.memory.write(at, code + LANDING)
        self.memory.drop_stale_code()
        self.stand(0x100, user=user)
        for name, value in registers.items():
            setattr(self.machine.cpu, name, value)
        return self.go()

    def stand(self, offset: int = 0, *, user: bool) -> None:
        """Stand in the bench's code of a ring, with a fresh stack."""
        cpu = self._cpu
        cs, ss = (_CS3, _SS3) if user else (_CS0, _SS0)
        cpu.set_cs(parse(cs, _DESCRIPTORS[cs >> 3]), 3 if user else 0)
        cpu.set_segment(SS, parse(ss, _DESCRIPTORS[ss >> 3]))
        view = self.machine.cpu
        view.rip, view.rsp = (USER_CODE if user else _CODE) + offset, USER_STACK if user else _STACK
        cpu.halted = False

    def resume(self) -> Outcome:
        """Go on where the last exception came: IRETQ with the frame that it pushed."""
        cpu, view = self._cpu, self.machine.cpu
        rip, cs, flags, rsp, ss = self._frame()
        cpu.set_cs(parse(cs, _DESCRIPTORS[cs >> 3]), cs & 3)
        cpu.set_segment(SS, parse(ss, _DESCRIPTORS[ss >> 3]))
        view.rip, view.rsp, view.rflags = rip, rsp, flags
        cpu.halted = False
        return self.go()

    def _frame(self) -> tuple[int, int, int, int, int]:
        at = (self.machine.cpu.rsp - KERNEL) + _PAGES + (8 if self._vector in _WITH_ERROR else 0)
        words: tuple[int, int, int, int, int] = struct.unpack("<5Q", self.memory.read(at, 40))
        return words

    @property
    def _vector(self) -> int:
        return self.machine.cpu.rip - 1 - _HANDLERS

    def go(self) -> Outcome:
        """Run to the next exception."""
        end = self.machine.run()
        vector = self._vector
        if end.reason is not Reason.HALTED or not 0 <= vector < 32:
            raise RuntimeError(f"the bench did not come to a handler: {end}")
        error = None
        if vector in _WITH_ERROR:
            error = self.memory.read64(self.machine.cpu.rsp - KERNEL + _PAGES)
        rip, _, _, rsp, _ = self._frame()
        address = int(self.machine.cpu.cr2) if vector == PAGE_FAULT else None
        return Outcome(None if vector == _BREAKPOINT else vector, error, address, rip, rsp)

    def close(self) -> None:
        """Free the machine."""
        self.machine.close()
