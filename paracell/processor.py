"""The processor as a reader sees it: architectural words with named fields."""

from __future__ import annotations

from typing import TYPE_CHECKING, overload

from .emu import registers
from .emu.report import describe
from .mmu.address import Address
from .mmu.registers import CR0, CR3, CR4, DR6, DR7, EFER, RFLAGS
from .pku.registers import PKRS, PKRU

if TYPE_CHECKING:
    from .emu.descriptors import Segment, Table
    from .emu.machine import Machine


class General:
    """A general register or RIP: 64 bits, read and written."""

    def __init__(self, number: int) -> None:
        self._number = number

    @overload
    def __get__(self, processor: None, owner: type) -> General: ...
    @overload
    def __get__(self, processor: Processor, owner: type) -> Address: ...
    def __get__(self, processor: Processor | None, owner: type) -> Address | General:
        """Give the register's value, or from the class this description."""
        return self if processor is None else Address(processor.machine.cpu.q[self._number])

    def __set__(self, processor: Processor, value: int) -> None:
        """Set the register; ``ValueError`` where `value` does not fit."""
        processor.machine.cpu.q[self._number] = _fits(value, 64)


class Processor:
    """The registers of a machine that stands still.

    General registers and RIP are numbers that show themselves in hexadecimal; the others are words whose fields have the manual's
    names.  All of them can be set, but segment and table registers and CPL.  To set one takes effect on translations at once, as
    a debugger's write does: no check of the processor's is made, no event comes, and no time passes.

    Example:
        >>> import paracell
        >>> with paracell.Container("hello") as c:
        ...     end = c.run_until("hello!main")
        ...     print(c.cpu.cpl, c.cpu.cr4.PKE, c.cpu.pkru.AD1, c.cpu.rip == c.symbols["hello!main"])
        3 1 1 True

    """

    rax, rcx, rdx, rbx = General(0), General(1), General(2), General(3)
    rsp, rbp, rsi, rdi = General(4), General(5), General(6), General(7)
    r8, r9, r10, r11 = General(8), General(9), General(10), General(11)
    r12, r13, r14, r15 = General(12), General(13), General(14), General(15)
    rip = General(registers.RIP)

    def __init__(self, machine: Machine) -> None:
        self.machine = machine

    # ---- flags and control registers --------------------------------------------------------------------------

    @property
    def rflags(self) -> RFLAGS:
        """RFLAGS."""
        return RFLAGS(self.machine.cpu.rflags)

    @rflags.setter
    def rflags(self, value: int) -> None:
        self.machine.cpu.rflags = _fits(value, 64)

    @property
    def cr0(self) -> CR0:
        """CR0."""
        return CR0(self.machine.cpu.cr0)

    @cr0.setter
    def cr0(self, value: int) -> None:
        self.machine.cpu.set_cr0(_fits(value, 64))
        self.machine.cpu.translation.flush_all()

    @property
    def cr2(self) -> Address:
        """CR2: the linear address of the last page fault."""
        return Address(self.machine.cpu.cr2)

    @cr2.setter
    def cr2(self, value: int) -> None:
        self.machine.cpu.cr2 = _fits(value, 64)

    @property
    def cr3(self) -> CR3:
        """CR3: the top page table and, with CR4.PCIDE, the PCID.  To set it drops translations as MOV to CR3 does."""
        return CR3(self.machine.cpu.cr3)

    @cr3.setter
    def cr3(self, value: int) -> None:
        self.machine.cpu.cr3 = _fits(value, 64)
        self.machine.cpu.translation.load_cr3(keep=False)

    @property
    def cr4(self) -> CR4:
        """CR4."""
        return CR4(self.machine.cpu.cr4)

    @cr4.setter
    def cr4(self, value: int) -> None:
        self.machine.cpu.set_cr4(_fits(value, 64))
        self.machine.cpu.translation.flush_all()

    @property
    def efer(self) -> EFER:
        """IA32_EFER."""
        return EFER(self.machine.cpu.efer)

    @efer.setter
    def efer(self, value: int) -> None:
        self.machine.cpu.set_efer(_fits(value, 64))
        self.machine.cpu.translation.flush_all()

    @property
    def pkru(self) -> PKRU:
        """PKRU: what may be done to user pages, by key."""
        return PKRU(self.machine.cpu.pkru)

    @pkru.setter
    def pkru(self, value: int) -> None:
        self.machine.cpu.set_pkru(_fits(value, 32))

    @property
    def pkrs(self) -> PKRS:
        """IA32_PKRS: what may be done to supervisor pages, by key."""
        return PKRS(self.machine.cpu.pkrs)

    @pkrs.setter
    def pkrs(self, value: int) -> None:
        self.machine.cpu.set_pkrs(_fits(value, 32))

    # ---- what cannot be set -----------------------------------------------------------------------------------

    @property
    def cpl(self) -> int:
        """The current privilege level, 0 to 3."""
        return self.machine.cpu.cpl

    @property
    def cr8(self) -> int:
        """CR8: bits 7:4 of the task priority."""
        return self.machine.cpu.cr8

    @property
    def dr6(self) -> DR6:
        """DR6."""
        return DR6(self.machine.cpu.dr[6])

    @property
    def dr7(self) -> DR7:
        """DR7."""
        return DR7(self.machine.cpu.dr[7])

    @property
    def gdtr(self) -> Table:
        """GDTR: base and limit."""
        return self.machine.cpu.gdtr

    @property
    def idtr(self) -> Table:
        """IDTR: base and limit."""
        return self.machine.cpu.idtr

    @property
    def segments(self) -> dict[str, Segment]:
        """The segment registers with their hidden parts, by name: es, cs, ss, ds, fs, gs, ldtr, tr."""
        cpu = self.machine.cpu
        named = {name: cpu.segment(number) for number, name in enumerate(("es", "cs", "ss", "ds", "fs", "gs"))}
        return named | {"ldtr": cpu.ldtr, "tr": cpu.tr}

    def __str__(self) -> str:
        """Show registers, control state, and the instruction at RIP, in lines."""
        return "\n".join(describe(self.machine))

    def __repr__(self) -> str:
        """Show where the processor stands, and with what rights."""
        return f"<Processor at {self.machine.symbols.name(self.rip)}, CPL {self.cpl}, {self.pkru!r}>"

    def _repr_html_(self) -> str:
        """Show it in a notebook."""
        from html import escape

        return f"<pre>{escape(str(self))}</pre>"


def _fits(value: int, bits: int) -> int:
    if not 0 <= value < 1 << bits:
        raise ValueError(f"{value:#x} does not fit into {bits} bits")
    return int(value)
