"""VM entry: from the host to the guest, or back at once where a check fails (SDM "VM Entries")."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..mmu.registers import CR0, RFLAGS
from ..vmx.control_checks import CONTROLS
from ..vmx.controls import Primary, Secondary
from ..vmx.errors import InstructionError, VmFail
from ..vmx.exits import ExitReason
from ..vmx.fields import Field
from ..vmx.guest_checks import GUEST
from ..vmx.host_checks import HOST
from ..vmx.nonroot import NonRoot
from ..vmx.rule import Entered, first_broken
from ..vmx.words import PendingDebug
from .faults import Unimplemented
from .inject import deliver_pending_debug, inject
from .state import load
from .vmexit import enter_event, fail_entry, set_guest
from .vmlists import load_msrs
from .vmstate import guest_state

if TYPE_CHECKING:
    from ..mmu.word import Bits, Word
    from ..vmx.operation import Operation
    from ..vmx.vmcs import Vmcs
    from .cpu import Cpu

# Controls that are offered and checked, and whose work is not built: an entry that sets one stops the run.
NOT_BUILT: Final[dict[type[Word], tuple[Bits, ...]]] = {
    Primary: (
        Primary.TPR_SHADOW,
        Primary.MONITOR_TRAP_FLAG,
    ),
    Secondary: (
        Secondary.EPT,
        Secondary.UNRESTRICTED_GUEST,
        Secondary.VMCS_SHADOWING,
        Secondary.PML,
        Secondary.XSAVES,
        Secondary.MODE_BASED_EXECUTE,
    ),
}


def enter(cpu: Cpu, operation: Operation, vmcs: Vmcs) -> None:
    """Enter the guest: `VmFail` for controls and host state; a failed entry for guest state and MSRs."""
    entered = Entered(vmcs, operation.caps, cpu.memory, long_mode=cpu.long_mode)
    # Of what is in no field, these rules ask for the mode, and for VTPR in memory.
    if vmcs.checked_in_long_mode is not entered.long_mode or entered.primary.TPR_SHADOW:
        for rules, error in ((CONTROLS, InstructionError.ENTRY_CONTROLS), (HOST, InstructionError.ENTRY_HOST_STATE)):
            operation.refused = first_broken(rules, entered)
            if operation.refused is not None:
                raise VmFail(error)
        vmcs.checked_in_long_mode = entered.long_mode
    operation.refused = first_broken(GUEST, entered)
    if operation.refused is not None:
        fail_entry(cpu, vmcs, ExitReason.INVALID_GUEST_STATE, operation.refused.qualification)
        return
    _require_built(entered)
    nmi_blocked = cpu.nmi_blocked
    enter_event(cpu)
    load(cpu, guest_state(cpu, entered, halts=not entered.event.VALID), in_vmx=True)
    guest = NonRoot(vmcs)
    if not guest.vpid:
        cpu.translation.flush_all()
    failed = load_msrs(cpu, vmcs[Field.ENTRY_MSR_LOAD_ADDRESS], vmcs[Field.ENTRY_MSR_LOAD_COUNT])
    if failed:
        cpu.nmi_blocked = nmi_blocked
        fail_entry(cpu, vmcs, ExitReason.MSR_LOADING, failed)
        return
    vmcs.launched = True
    if guest.pin.PREEMPTION_TIMER:
        guest.expires = cpu.clock.now + (vmcs[Field.PREEMPTION_TIMER_VALUE] << operation.caps.misc.TIMER_RATE)
    set_guest(cpu, guest)
    if cpu.halted:
        cpu.engine.stop()  # the run loop waits
    if entered.event.VALID:
        inject(cpu, vmcs, entered.event)
    else:
        deliver_pending_debug(cpu, PendingDebug(vmcs[Field.GUEST_PENDING_DEBUG]))


def _require_built(entered: Entered) -> None:
    """Stop where the guest needs what is not built."""
    for word, value in ((Primary, entered.primary), (Secondary, entered.secondary)):
        for bits in NOT_BUILT[word]:
            if value & bits.mask:
                raise Unimplemented(f"VM entry with {word.__name__}.{bits.name}")
    if entered[Field.GUEST_RFLAGS] & RFLAGS.VM.mask or not entered[Field.GUEST_CR0] & CR0.PE.mask:
        raise Unimplemented("VM entry to virtual-8086 or real mode")
    if entered[Field.GUEST_PENDING_DEBUG] and entered.event.VALID:
        raise Unimplemented("VM entry with pending debug exceptions that injects an event")
