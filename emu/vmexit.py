"""VM exits: from the guest back to the host (SDM "VM Exits")."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..vmx.controls import Exit
from ..vmx.exits import ENTRY_FAILED
from ..vmx.fields import Field
from ..vmx.nonroot import NonRoot, event_info
from ..vmx.words import EventType, Interruption
from .events import Kind
from .layout import HF_GUEST, INTERCEPT
from .registers import HFLAGS
from .state import load
from .vmlists import ABORT_MSRS, ABORT_SAVING, abort, load_msrs, store_msrs
from .vmstate import host_state, save_guest

if TYPE_CHECKING:
    from ..vmx.exits import ExitReason, VmExit
    from ..vmx.vmcs import Vmcs
    from .cpu import Cpu

HOST, GUEST = 0, 1  # in events: who leaves and who goes on
_NMI: Final = 2
_SAVE_TIMER: Final = Exit.SAVE_PREEMPTION_TIMER.mask
# TCG's intercept word: bit n is SVM's exit code 60H + n.  TCG gives the exit code + 100H as an exception before the instruction.
_CPUID, _PAUSE = 1 << 0x12, 1 << 0x17


def set_guest(cpu: Cpu, guest: NonRoot | None) -> None:
    """Enter or leave non-root operation, as far as TCG and what is known of code are concerned.

    TCG keeps blocks apart by this bit of hflags, so a block of the host's is never one of the guest's, although RIPs may be the same.
    """
    cpu.guest = guest
    if cpu.vmx is not None:
        cpu.vmx.guest = guest
    cpu.d[HFLAGS] = cpu.d[HFLAGS] & ~HF_GUEST | (0 if guest is None else HF_GUEST)
    wanted = _CPUID | (_PAUSE if guest is not None and guest.primary.PAUSE_EXITING else 0)
    cpu.q[INTERCEPT >> 3] = 0 if guest is None else wanted
    translation = cpu.translation
    translation.forget_code()
    vpid = 0 if guest is None else guest.vpid
    if translation.vpid != vpid:
        translation.vpid = vpid
        translation.configure()
    if cpu.devices is not None:
        cpu.devices.changed()  # the preemption timer is a deadline like theirs


def enter_event(cpu: Cpu) -> None:
    """Spend the time of an entry, and tell of it."""
    cpu.event(Kind.VM_ENTRY, HOST, GUEST, cost=cpu.costs.vm_entry)


def leave(cpu: Cpu, exit_: VmExit) -> None:
    """Exit from the guest: record why, save its state, load the host's."""
    guest = cpu.guest
    assert guest is not None
    vmcs = guest.vmcs
    save_guest(cpu, vmcs, fault=exit_.fault)
    vmcs[Field.EXIT_REASON] = int(exit_.reason)
    vmcs[Field.EXIT_QUALIFICATION] = exit_.qualification
    vmcs[Field.EXIT_INTERRUPTION_INFO], vmcs[Field.EXIT_ERROR_CODE] = exit_.event, exit_.error
    vmcs[Field.IDT_VECTORING_INFO] = exit_.vectoring
    vmcs[Field.IDT_VECTORING_ERROR_CODE] = exit_.vectoring_error
    vmcs[Field.EXIT_INSTRUCTION_LENGTH], vmcs[Field.EXIT_INSTRUCTION_INFO] = exit_.length, exit_.info
    vmcs[Field.ENTRY_INTERRUPTION_INFO] &= ~Interruption.VALID.mask
    if guest.pin.PREEMPTION_TIMER and vmcs[Field.EXIT_CONTROLS] & _SAVE_TIMER:
        left = max(guest.expires - cpu.clock.now, 0)
        vmcs[Field.PREEMPTION_TIMER_VALUE] = left >> cpu.vmx.caps.misc.TIMER_RATE if cpu.vmx is not None else 0
    cpu.tsc.offset = 0
    failed = store_msrs(cpu, vmcs[Field.EXIT_MSR_STORE_ADDRESS], vmcs[Field.EXIT_MSR_STORE_COUNT])
    if failed:
        abort(cpu, vmcs, ABORT_SAVING, f"entry {failed} of the VM-exit MSR-store list cannot be stored")
    _tell(cpu, vmcs)
    is_nmi = exit_.event == event_info(EventType.NMI, _NMI)
    if guest.pin.VIRTUAL_NMIS or is_nmi:
        cpu.nmi_blocked = is_nmi
    set_guest(cpu, None)
    load_host(cpu, vmcs)


def _tell(cpu: Cpu, vmcs: Vmcs) -> None:
    """Spend the time of an exit, and tell of it."""
    reason, qualification = vmcs[Field.EXIT_REASON], vmcs[Field.EXIT_QUALIFICATION]
    cpu.event(
        Kind.VM_EXIT, GUEST, HOST, reason, qualification, vmcs[Field.GUEST_PHYSICAL_ADDRESS], cost=cpu.costs.vm_exit
    )


def fail_entry(cpu: Cpu, vmcs: Vmcs, reason: ExitReason, qualification: int) -> None:
    """End an entry as a VM exit that saves no guest state (SDM "VM-Entry Failures During or After Loading Guest State")."""
    vmcs[Field.EXIT_REASON] = reason | ENTRY_FAILED
    vmcs[Field.EXIT_QUALIFICATION] = qualification
    _tell(cpu, vmcs)
    load_host(cpu, vmcs)


def load_host(cpu: Cpu, vmcs: Vmcs) -> None:
    """Load the host state, and the MSRs of the VM-exit MSR-load list (SDM "Loading Host State", "Loading MSRs")."""
    load(cpu, host_state(cpu, vmcs), in_vmx=True)
    if not NonRoot(vmcs).secondary.VPID:
        cpu.translation.flush_all()
    failed = load_msrs(cpu, vmcs[Field.EXIT_MSR_LOAD_ADDRESS], vmcs[Field.EXIT_MSR_LOAD_COUNT])
    if failed:
        abort(cpu, vmcs, ABORT_MSRS, f"entry {failed} of the VM-exit MSR-load list cannot be loaded")
