"""VMCS01 and VMCS02: by which controls the outermost hypervisor, L0, runs the machine's kernel, L1, and a guest of L1's, L2.

::

    VMCS01   L0's for L1     what L0 keeps to itself, whoever runs
    VMCS12   L1's for L2     what L1 has written
    VMCS02   L0's for L2     an exit that either wants; everything else is VMCS12's

VMCS02 has no fields of its own: its guest-state area is VMCS12's, and its controls are worked out at each entry.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..mmu.address import U64
from ..mmu.registers import CR0, CR4
from .controls import Pin, Primary, Secondary
from .eptp import Eptp, ept_of
from .fields import Field
from .nonroot import ENCODINGS, NEVER, NonRoot
from .vmcs import Vmcs
from .vpids import L1_VPID

if TYPE_CHECKING:
    from ..mmu.walk import Memory

# What L1 may change without an exit, as under Linux' KVM (KVM_POSSIBLE_CR0_GUEST_BITS, KVM_POSSIBLE_CR4_GUEST_BITS).
_CR0_L1: Final = CR0.TS.mask | CR0.WP.mask
_CR4_L1: Final = sum(
    CR4.fields[name].mask for name in ("PVI", "DE", "PCE", "OSFXSR", "OSXMMEXCPT", "PGE", "TSD", "FSGSBASE")
)
_TSC: Final = 0x10
# MSRs that L1 reads and writes without an exit, as under KVM: IA32_SYSENTER_*, STAR, LSTAR, CSTAR, SFMASK, the bases, IA32_PKRS.
_MSRS_L1: Final = (*range(0x174, 0x177), 0x6E1, *range(0xC0000081, 0xC0000085), *range(0xC0000100, 0xC0000103))
_WRITES, _HIGH_MSRS = 0x800, 0xC0000000  # bytes into an MSR bitmap; the first MSR of its upper half
_BITMAP: Final = 4096


def eptp_of(root: int, *, dirty: bool = False) -> int:
    """Give the EPT pointer of a root of L0's."""
    return Eptp(root).replace(MEMORY_TYPE=6, WALK_LENGTH_LESS_1=3, ACCESSED_DIRTY=int(dirty))


def vmcs01(address: int, bitmap: int, root: int) -> Vmcs:
    """Make VMCS01, whose region is at `address`, whose MSR bitmap at `bitmap`, and whose EPT has its root at `root`."""
    made = Vmcs(address, launched=True)
    made[Field.PIN_CONTROLS] = Pin.EXTERNAL_INTERRUPT_EXITING.mask
    made[Field.PRIMARY_CONTROLS] = sum(
        bits.mask
        for bits in (
            Primary.TSC_OFFSETTING,
            Primary.HLT_EXITING,
            Primary.CR8_LOAD_EXITING,
            Primary.CR8_STORE_EXITING,
            Primary.UNCONDITIONAL_IO_EXITING,
            Primary.MSR_BITMAPS,
            Primary.SECONDARY_CONTROLS,
        )
    )
    made[Field.SECONDARY_CONTROLS] = sum(
        bits.mask
        for bits in (
            Secondary.EPT,
            Secondary.RDTSCP,
            Secondary.VPID,
            Secondary.UNRESTRICTED_GUEST,
            Secondary.INVPCID,
            Secondary.XSAVES,
        )
    )
    made[Field.EPT_POINTER] = eptp_of(root)
    made[Field.VPID] = L1_VPID
    made[Field.MSR_BITMAP] = bitmap
    made[Field.CR0_MASK], made[Field.CR4_MASK] = U64 & ~_CR0_L1, U64 & ~_CR4_L1
    return made


def msr_bitmap() -> bytes:
    """Give VMCS01's MSR bitmap: what is not L1's exits; so does a write of the time-stamp counter."""
    bitmap = bytearray(b"\xff" * _BITMAP)
    for which in (_TSC, *_MSRS_L1):
        at = which & 0x1FFF | (_BITMAP * 2 if which >= _HIGH_MSRS else 0)
        for bit in (at, at + 8 * _WRITES) if which != _TSC else (at,):
            bitmap[bit >> 3] &= ~(1 << (bit & 7))
    return bytes(bitmap)


class UnderL0(NonRoot):
    """A guest that L0 has entered: L1 by VMCS01.

    L0 takes interrupts for L1, which may have them held off; then an interrupt window tells L0 when it can go on.

    Attributes:
        inner: the controls by which L1 runs the guest, VMCS12's; None where L1 is the guest.
        held: an interrupt is held off.

    """

    inner: NonRoot | None = None
    of_l0 = True
    held = False

    def vmcs_access_exits(self, memory: Memory, encoding: int, *, write: bool) -> bool:  # noqa: ARG002
        """Tell whether VMREAD or VMWRITE exits; bitmaps of L0's would be clear."""
        return not self.shows_vmcs or encoding >= ENCODINGS

    def hold_interrupt(self, *, waits: bool) -> None:
        """Say whether L0 has an interrupt in hand: then it exits through a window, or at once where L1 wants that of L2."""
        inner, self.held = self.inner, waits
        window = waits and not (inner is not None and inner.pin.EXTERNAL_INTERRUPT_EXITING)
        wanted = inner is not None and bool(inner.primary.INTERRUPT_WINDOW_EXITING)
        self.pin = self.pin.replace(EXTERNAL_INTERRUPT_EXITING=int(not window))
        self.primary = self.primary.replace(INTERRUPT_WINDOW_EXITING=int(window or wanted))
        primary = self.primary
        self.windows = self.traps or bool(primary.INTERRUPT_WINDOW_EXITING or primary.NMI_WINDOW_EXITING)

    def show_registers(self, cr0: int, cr4: int) -> None:
        """Have L1 read what it has written: the registers hold just that, for no bit that L0 adds to them can be seen."""
        self.cr0_shadow, self.cr4_shadow = cr0, cr4


class Merged(UnderL0):
    """L2 by VMCS02.

    Attributes:
        inner: what L1 has asked for.
        outer: L1's stay, to which a reflected exit leads; it has what L0 keeps to itself.
        vpid12: the VPID that L1 has given it; `vpid` is the one that stands for it.
        root12: L1's EPT, or None; `eptp` is that of the EPT02 that stands for it, or EPT01's.

    """

    inner: NonRoot
    outer: UnderL0
    of_l0 = False
    level = 2

    def __init__(self, vmcs12: Vmcs, outer: UnderL0, memory12: Memory, maxphyaddr: int, expires: int = NEVER) -> None:
        super().__init__(vmcs12, expires)
        self.root12 = ept_of(self, maxphyaddr)
        self.eptp = outer.eptp
        # L0 logs, when it marks pages of EPT12 as dirty; the silicon is to look at dirty flags as often as with a log.
        self.discards_log, self.logs = self.logs, False
        self.inner, self.outer = NonRoot(vmcs12), outer
        self.vpid12 = self.vpid
        self.flushes = not self.vpid12
        self._memory12 = memory12  # to which VMCS12's addresses belong
        self.acknowledges = False
        self.pin = Pin(self.pin | Pin.EXTERNAL_INTERRUPT_EXITING.mask)
        wanted = outer.primary
        if self.primary.TPR_SHADOW:  # then CR8 is the virtual-APIC page's
            wanted = wanted.replace(CR8_LOAD_EXITING=0, CR8_STORE_EXITING=0)
        self.primary = Primary(self.primary | wanted)

    def io_exits(self, memory: Memory, port: int, size: int) -> bool:
        """Tell whether either wants an access to ports."""
        return self.outer.io_exits(memory, port, size) or self.inner.io_exits(self._memory12, port, size)

    def msr_exits(self, memory: Memory, which: int, *, write: bool) -> bool:
        """Tell whether either wants an access to an MSR."""
        return self.outer.msr_exits(memory, which, write=write) or self.inner.msr_exits(
            self._memory12, which, write=write
        )

    def vmcs_access_exits(self, memory: Memory, encoding: int, *, write: bool) -> bool:  # noqa: ARG002
        """Tell whether L1 wants a VMREAD or VMWRITE of L2."""
        return self.inner.vmcs_access_exits(self._memory12, encoding, write=write)
