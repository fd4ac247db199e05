"""VMX non-root operation: which controls are in force while a guest runs, and which events and accesses they make exit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from .controls import Entry, Exit, Pin, Primary, Secondary
from .fields import Field
from .words import EventType, Interruption

if TYPE_CHECKING:
    from ..mmu.walk import Memory
    from .vmcs import Vmcs

NEVER: Final = 1 << 63  # a cycle that no clock reaches
_VALID: Final = Interruption.VALID.mask
_HAS_ERROR: Final = Interruption.DELIVER_ERROR_CODE.mask
_TYPE: Final = Interruption.TYPE.shift
_PAGE_FAULT: Final = 14
_UPPER_PORTS: Final = 0x8000
ENCODINGS: Final = 0x8000  # what a VMREAD or VMWRITE bitmap covers
_LOW_MSRS, _HIGH_MSRS, _COVERED = 0, 0xC0000000, 0x2000  # what an MSR bitmap covers

_COUNTS: Final = Field.ENTRY_MSR_LOAD_COUNT, Field.EXIT_MSR_LOAD_COUNT, Field.EXIT_MSR_STORE_COUNT


def event_info(kind: EventType, vector: int, error: int | None = None) -> int:
    """Give the interruption information of an event."""
    return _VALID | kind << _TYPE | vector | (0 if error is None else _HAS_ERROR)


NMI_EVENT: Final = event_info(EventType.NMI, 2)


class NonRoot:
    """The controls of one stay in non-root operation; software cannot change them meanwhile.

    Attributes:
        vmcs: the current VMCS.
        vpid: what translations are tagged with; 0 without VPIDs.
        pin, primary, secondary, entry, exit: its controls; `secondary` is 0 where the primary ones do not activate it.
        windows: something may exit between two instructions: an interrupt window, an NMI window, or the monitor trap flag.
        traps: the monitor trap flag.
        shadows: VMREAD and VMWRITE may reach the VMCS of the link pointer.
        boundary: an instruction, or the delivery of an event, has ended since the entry.
        virtual_nmis: NMI blocking is that of virtual NMIs.
        iret_unblocks: IRET ends the blocking of NMIs, or of virtual NMIs.
        acknowledges: an exit for an external interrupt takes it from the interrupt controller.
        pauses: PAUSE exits.
        offsets_tsc: the TSC offset counts.
        long: entries are to IA-32e mode.
        keeps: what an exit saves is what the next entry loads, so the guest may be gone back to without a look at its fields.
        plain: besides that, entries and exits do nothing more: no lists of MSRs, no timer, no TPR shadow, no monitor trap flag, and
            with a VPID no flush.
        loads_all: entries and exits load EFER and PKRS.
        cr0_mask, cr0_shadow, cr4_mask, cr4_shadow: which bits of CR0 and CR4 the host owns, and what the guest reads of them.
        expires: the cycle at which the preemption timer is 0, or `NEVER`.
        flushes: entries and exits drop the translations of VPID 0.
        eptp: the EPT pointer, or None without an EPT.
        has_pdptes: PDPTEs are in the VMCS.
        logs: there is a page-modification log.
        discards_log: there is one that nobody reads.
        outer: non-root operation in which the host itself runs, under another hypervisor; None for a host in root operation.
        of_l0: the guest is the machine's kernel, in a virtual machine of the outermost hypervisor.
        level: how many virtual machines the guest is in.
        shows_vmcs: VMREAD and VMWRITE of the outermost hypervisor's guest do not exit: VMCS12 is VMCS01's shadow VMCS.

    """

    outer: NonRoot | None = None
    of_l0 = shows_vmcs = discards_log = False
    level = 1

    def __init__(self, vmcs: Vmcs, expires: int = NEVER) -> None:
        self.vmcs = vmcs
        self.expires = expires
        self.pin = pin = Pin(vmcs[Field.PIN_CONTROLS])
        self.primary = primary = Primary(vmcs[Field.PRIMARY_CONTROLS])
        self.secondary = Secondary(vmcs[Field.SECONDARY_CONTROLS] if primary.SECONDARY_CONTROLS else 0)
        self.entry = entry = Entry(vmcs[Field.ENTRY_CONTROLS])
        self.exit = exit_ = Exit(vmcs[Field.EXIT_CONTROLS])
        self.vpid = vmcs[Field.VPID] if self.secondary.VPID else 0
        self.flushes = not self.vpid
        self.eptp = vmcs[Field.EPT_POINTER] if self.secondary.EPT else None
        self.has_pdptes = self.eptp is not None
        self.logs = bool(self.secondary.PML)
        self.shadows = bool(self.secondary.VMCS_SHADOWING)
        self.traps, self.boundary = bool(primary.MONITOR_TRAP_FLAG), False
        self.windows = self.traps or bool(primary.INTERRUPT_WINDOW_EXITING or primary.NMI_WINDOW_EXITING)
        self.virtual_nmis = bool(pin.VIRTUAL_NMIS)
        self.iret_unblocks = self.virtual_nmis or not pin.NMI_EXITING
        self.acknowledges = bool(exit_.ACKNOWLEDGE_INTERRUPT)
        self.pauses, self.offsets_tsc = bool(primary.PAUSE_EXITING), bool(primary.TSC_OFFSETTING)
        self.long = bool(entry.IA32E_MODE_GUEST)
        self.keeps = (
            entry.LOAD_DEBUG_CONTROLS == exit_.SAVE_DEBUG_CONTROLS
            and entry.LOAD_PAT == exit_.SAVE_PAT
            and entry.LOAD_EFER == exit_.SAVE_EFER
        )
        self.loads_all = bool(entry.LOAD_EFER and exit_.LOAD_EFER and entry.LOAD_PKRS and exit_.LOAD_PKRS)
        self.plain = (
            self.keeps
            and self.vpid != 0
            and not (pin.PREEMPTION_TIMER or primary.TPR_SHADOW or self.traps)
            and not any(vmcs[count] for count in _COUNTS)
        )
        self.cr0_mask, self.cr0_shadow = vmcs[Field.CR0_MASK], vmcs[Field.CR0_READ_SHADOW]
        self.cr4_mask, self.cr4_shadow = vmcs[Field.CR4_MASK], vmcs[Field.CR4_READ_SHADOW]

    def exception_exits(self, vector: int, error: int | None) -> bool:
        """Tell whether an exception exits (SDM "Exception Bitmap"): #PF by its error code, too."""
        wanted = bool(self.vmcs[Field.EXCEPTION_BITMAP] >> vector & 1)
        if vector != _PAGE_FAULT:
            return wanted
        matches = (error or 0) & self.vmcs[Field.PFEC_MASK] == self.vmcs[Field.PFEC_MATCH]
        return wanted == matches

    def io_exits(self, memory: Memory, port: int, size: int) -> bool:
        """Tell whether an access to `size` ports exits (SDM "I/O-Bitmap Addresses"): one that wraps around does."""
        if not self.primary.IO_BITMAPS:
            return bool(self.primary.UNCONDITIONAL_IO_EXITING)
        return port + size > 0x10000 or any(self._io_bit(memory, at) for at in range(port, port + size))

    def _io_bit(self, memory: Memory, port: int) -> int:
        bitmap = self.vmcs[Field.IO_BITMAP_B if port >= _UPPER_PORTS else Field.IO_BITMAP_A]
        return memory.read64(bitmap + (port % _UPPER_PORTS >> 6) * 8) >> port % 64 & 1

    def msr_exits(self, memory: Memory, which: int, *, write: bool) -> bool:
        """Tell whether an access to an MSR exits (SDM "MSR-Bitmap Address"): one that the bitmaps do not cover does."""
        if not self.primary.MSR_BITMAPS:
            return True
        for number, first in enumerate((_LOW_MSRS, _HIGH_MSRS)):
            if first <= which < first + _COVERED:
                bitmap = self.vmcs[Field.MSR_BITMAP] + 0x400 * number + (0x800 if write else 0)
                offset = which - first
                return bool(memory.read64(bitmap + (offset >> 6) * 8) >> offset % 64 & 1)
        return True

    def vmcs_access_exits(self, memory: Memory, encoding: int, *, write: bool) -> bool:
        """Tell whether VMREAD or VMWRITE exits (SDM "VMCS Shadowing Bitmap Addresses"): one that the bitmaps do not cover does."""
        if not self.shadows or encoding >= ENCODINGS:
            return True
        bitmap = self.vmcs[Field.VMWRITE_BITMAP if write else Field.VMREAD_BITMAP]
        return bool(memory.read64(bitmap + (encoding >> 6) * 8) >> encoding % 64 & 1)

    def cr3_load_exits(self, value: int) -> bool:
        """Tell whether a load of CR3 exits (SDM "CR3-Target Controls")."""
        if not self.primary.CR3_LOAD_EXITING:
            return False
        targets = (Field.CR3_TARGET0, Field.CR3_TARGET1, Field.CR3_TARGET2, Field.CR3_TARGET3)
        return all(self.vmcs[target] != value for target in targets[: self.vmcs[Field.CR3_TARGET_COUNT]])
