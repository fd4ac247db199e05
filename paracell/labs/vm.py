"""A virtual machine for labs: a guest on the machine's own VMX, and a host in Python that runs between two entries.

::

    guest-linear = guest-physical          physical (without an EPT)
    0x1000  code                           GUEST + the same
    0x2000  GDT     0x3000  IDT
    0x4000  handlers of exceptions         each OUTs its vector to port E9H, steps over two bytes, and returns
    0x8000  stack (its top)
    0x9000  page tables (PML4, PDPT, PD)   one page of 2 MiB
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from ..emu.features import parse
from ..emu.msr_index import IA32_FEATURE_CONTROL
from ..emu.stop import Reason
from ..vmx.caps import REVISION
from ..vmx.controls import Primary, Secondary
from ..vmx.fields import Field
from .bench import KERNEL, Bench

if TYPE_CHECKING:
    from ..vmx.vmcs import Vmcs

GUEST: Final = 0x80_0000  # where the guest's first 2 MiB are
CODE, GDT, IDT, HANDLERS, STACK, TABLES = 0x1000, 0x2000, 0x3000, 0x4000, 0x8000, 0x9000
_VMXON, _VMCS, _POINTER = 0x1A000, 0x1B000, 0x1C000  # pages below the bench's FREE
_LAUNCH, _RESUME = bytes.fromhex("0f01c2"), bytes.fromhex("0f01c3")
_EXITED: Final = KERNEL + 0x4800 + 0x40  # a HLT of ours, behind those of the bench
_ENTRY_FAILED: Final = 1 << 31
_CR0, _CR4, _EFER, _PAT = 0x80000031, 0x2020, 0xD01, 0x0007040600070406
_DESCRIPTORS: Final = (0, 0x00AF9B000000FFFF, 0x00CF93000000FFFF)
_CONTROLS: Final = {
    # The least that the TRUE capability MSRs allow (SDM "VMX Controls: Default Settings"), with a 64-bit host and guest.
    Field.PIN_CONTROLS: 0x16,
    Field.PRIMARY_CONTROLS: 0x04006172
    | Primary.HLT_EXITING.mask
    | Primary.UNCONDITIONAL_IO_EXITING.mask
    | Primary.SECONDARY_CONTROLS.mask,
    Field.EXIT_CONTROLS: 0x36DFB | 1 << 9,
    Field.ENTRY_CONTROLS: 0x11FB | 1 << 9 | 1 << 15,
    Field.VMCS_LINK_POINTER: (1 << 64) - 1,
}
_HOST: Final = {
    Field.HOST_CR0: 0x80010033,
    Field.HOST_CR4: 0x402020,
    Field.HOST_EFER: _EFER,
    Field.HOST_PAT: _PAT,
    Field.HOST_CS_SELECTOR: 0x08,
    Field.HOST_SS_SELECTOR: 0x10,
    Field.HOST_TR_SELECTOR: 0x28,
    Field.HOST_TR_BASE: KERNEL + 0x2000,
    Field.HOST_GDTR_BASE: KERNEL,
    Field.HOST_IDTR_BASE: KERNEL + 0x1000,
    Field.HOST_RIP: _EXITED,
    Field.HOST_RSP: KERNEL + 0x4000,
}
_STATE: Final = {
    Field.GUEST_CR0: _CR0,
    Field.GUEST_CR4: _CR4,
    Field.GUEST_EFER: _EFER,
    Field.GUEST_PAT: _PAT,
    Field.GUEST_CS_SELECTOR: 0x08,
    Field.GUEST_CS_LIMIT: 0xFFFFFFFF,
    Field.GUEST_CS_ACCESS: 0xA09B,
    Field.GUEST_SS_SELECTOR: 0x10,
    Field.GUEST_SS_LIMIT: 0xFFFFFFFF,
    Field.GUEST_SS_ACCESS: 0xC093,
    Field.GUEST_DS_SELECTOR: 0x10,
    Field.GUEST_DS_LIMIT: 0xFFFFFFFF,
    Field.GUEST_DS_ACCESS: 0xC093,
    Field.GUEST_ES_ACCESS: 0x10000,
    Field.GUEST_FS_ACCESS: 0x10000,
    Field.GUEST_GS_ACCESS: 0x10000,
    Field.GUEST_LDTR_ACCESS: 0x10000,
    Field.GUEST_TR_SELECTOR: 0x18,
    Field.GUEST_TR_LIMIT: 0x67,
    Field.GUEST_TR_ACCESS: 0x8B,
    Field.GUEST_GDTR_BASE: GDT,
    Field.GUEST_GDTR_LIMIT: 0xFFF,
    Field.GUEST_IDTR_BASE: IDT,
    Field.GUEST_IDTR_LIMIT: 0xFFF,
    Field.GUEST_RSP: STACK,
    Field.GUEST_RFLAGS: 2,
    Field.GUEST_DR7: 0x400,
}
_WITH_ERROR: Final = frozenset({8, 10, 11, 12, 13, 14, 17, 21})


class Vm:
    """A guest that stands before its first instruction.

    Attributes:
        bench: the machine below.
        vmcs: the current VMCS.
        entries: how many times the guest was entered.

    """

    def __init__(self, code: bytes, size: int = 64 << 20, *, ept: int | None = None) -> None:
        """Make it; `ept` is the physical address of the EPT's top table, without which guest-physical 0 is at `GUEST`."""
        self.bench = bench = Bench(size, parse("pks,+vmx"))
        self.entries = 0
        self._write_guest(code, GUEST if ept is None else 0)
        cpu = bench.machine.inner.cpu
        cpu.msr[IA32_FEATURE_CONTROL] = 5
        cpu.set_cr4(cpu.cr4 | 1 << 13)
        bench.map(_POINTER, _POINTER | 0x67)
        for name, region in (("f30fc737", _VMXON), ("660fc737", _VMCS), ("0fc737", _VMCS)):  # VMXON, VMCLEAR, VMPTRLD
            bench.memory.write(region, struct.pack("<2Q", REVISION, 0))
            bench.memory.write64(_POINTER, region)
            out = bench.run(bytes.fromhex(name), user=False, rdi=_POINTER)
            assert out.vector is None
        bench.memory.write(0x14840, b"\xf4")
        assert cpu.vmx is not None
        assert cpu.vmx.current is not None
        self.vmcs: Vmcs = cpu.vmx.current
        for fields in (_CONTROLS, _HOST, _STATE):
            for field, value in fields.items():
                self.vmcs[field] = value
        self.vmcs[Field.HOST_CR3], self.vmcs[Field.GUEST_CR3] = bench.root, TABLES
        if ept is None:
            self.vmcs[Field.GUEST_CR3] += GUEST
        else:
            self.vmcs[Field.SECONDARY_CONTROLS] = Secondary.EPT.mask
            self.vmcs[Field.EPT_POINTER] = ept | 3 << 3 | 6  # four levels, write-back
        self.vmcs[Field.GUEST_RIP] = CODE
        self.vmcs.checked_in_long_mode = None

    def _write_guest(self, code: bytes, base: int) -> None:
        write = self.bench.memory.write
        write(GUEST + CODE, code)
        write(GUEST + GDT, struct.pack("<3Q", *_DESCRIPTORS))
        for vector in range(32):
            handler = HANDLERS + 32 * vector
            write(GUEST + IDT + 16 * vector, struct.pack("<QQ", handler & 0xFFFF | 8 << 16 | 0x8E << 40, 0))
            # mov $vector, %al; out %al, $0xe9; [add $8, %rsp;] addq $2, (%rsp); iretq
            skip = "4883c408" if vector in _WITH_ERROR else ""
            write(GUEST + handler, bytes.fromhex(f"b0{vector:02x}e6e9{skip}4883042402" + "48cf"))
        for level, entry in enumerate((TABLES + 0x1000 | 0x67, TABLES + 0x2000 | 0x67, 0xE7)):
            write(GUEST + TABLES + 0x1000 * level, struct.pack("<Q", base + entry))

    def enter(self) -> int:
        """Run the guest until it exits; gives the basic exit reason.

        Raises:
            RuntimeError: the VM entry failed.

        """
        bench, cpu = self.bench, self.bench.machine.inner.cpu
        bench.memory.write(0x14100, (_RESUME if self.vmcs.launched else _LAUNCH) + b"\xcc")
        bench.memory.drop_stale_code()
        kept = [cpu.q[number] for number in range(16)]
        bench.stand(0x100, user=False)
        for number, value in enumerate(kept):
            if number != 4:  # RSP
                cpu.q[number] = value
        self.entries += 1
        end = bench.machine.run()
        if end.reason is not Reason.HALTED or bench.machine.cpu.rip != _EXITED + 1:
            raise RuntimeError(f"the VM entry failed, VM-instruction error {self.vmcs[Field.INSTRUCTION_ERROR]}")
        reason = self.vmcs[Field.EXIT_REASON]
        if reason & _ENTRY_FAILED:
            raise RuntimeError(f"the VM entry failed for what is in the VMCS, exit reason {reason:#x}")
        return reason & 0xFFFF

    def close(self) -> None:
        """Free the machine."""
        self.bench.close()
