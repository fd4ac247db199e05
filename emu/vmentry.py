"""VM entry: from the host to the guest, or back at once where a check fails (SDM "VM Entries").

A guest that is gone back to as it was left is not checked again: what an exit has saved is guest state as it must be, and the controls
that were found right stay so until they are written.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..mmu.address import SIGNS
from ..mmu.registers import EFER, RFLAGS
from ..vmx.control_checks import CONTROLS, EVENT
from ..vmx.errors import InstructionError, VmFail
from ..vmx.exits import ExitReason
from ..vmx.fields import Field
from ..vmx.guest_checks import AT_EACH_ENTRY, GUEST
from ..vmx.host_checks import HOST
from ..vmx.nonroot import NonRoot
from ..vmx.operation import NO_VMCS
from ..vmx.rule import Entered, first_broken
from ..vmx.words import AccessRights, Activity, EventType, Interruptibility, Interruption
from .inject import begin
from .known import Known
from .quick_vmx import bind
from .registers import U32
from .single_step import by_branch
from .state import MOV_SS_SHADOW
from .vmexit import enter_event, fail_entry, set_guest
from .vmlists import load_msrs
from .vmstate import guest_world, still_holds
from .world import put, signature

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..vmx.operation import Operation
    from ..vmx.rule import Rule
    from ..vmx.vmcs import Vmcs
    from .cpu import Cpu
    from .world import World

_UNUSUAL: Final = ~(RFLAGS.mask() & ~RFLAGS.VM.mask)  # in RFLAGS, and bit 1, which is always 1
_VALID: Final = Interruption.VALID.mask
_SHADOW, _NMI_BLOCKED = Interruptibility.STI.mask | Interruptibility.MOV_SS.mask, Interruptibility.NMI.mask
_HLT: Final = int(Activity.HLT)
_CODE64, _LMA = AccessRights.L.mask, EFER.LMA.mask
(
    _RIP, _RSP, _RFLAGS, _EVENT, _INTERRUPTIBILITY, _ACTIVITY, _PENDING, _LINK, _LOADS, _LOAD_ADDRESS, _TSC_OFFSET, _TIMER
) = (
    Field.GUEST_RIP, Field.GUEST_RSP, Field.GUEST_RFLAGS, Field.ENTRY_INTERRUPTION_INFO, Field.GUEST_INTERRUPTIBILITY,
    Field.GUEST_ACTIVITY, Field.GUEST_PENDING_DEBUG, Field.VMCS_LINK_POINTER, Field.ENTRY_MSR_LOAD_COUNT,
    Field.ENTRY_MSR_LOAD_ADDRESS, Field.TSC_OFFSET, Field.PREEMPTION_TIMER_VALUE,
)  # fmt: skip


def enter(cpu: Cpu, operation: Operation, vmcs: Vmcs) -> None:
    """Enter the guest: `VmFail` for controls and host state; a failed entry for guest state and MSRs."""
    guest: NonRoot | None = vmcs.controls
    if cpu.outer is not None and guest is not None:
        cpu.outer.prepare(guest, vmcs)
    if cpu.quick_vmx is None:
        cpu.quick_vmx = bind(cpu)
    elif cpu.quick_vmx[0](operation, vmcs):
        return
    world: World | None = vmcs.guest
    if (
        guest is None
        or world is None
        or not guest.plain
        or vmcs[_EVENT] & _VALID
        or vmcs.checked_in_long_mode is not cpu.long_mode
        or not _is_usual(vmcs, world)
        or not (guest.loads_all or still_holds(cpu, world, guest))
    ):
        _enter_anew(cpu, operation, vmcs)
        return
    _keep_host(cpu, vmcs)
    _know_guest(cpu, operation, vmcs, world)
    if cpu.outer is None:
        cost = cpu.costs.vm_entry
        cpu.clock.cycles += cost
        if cpu.emit is not None:
            enter_event(cpu, cost)
    else:
        cpu.outer.entered(guest)
    put(cpu, world, vmcs[_RIP], vmcs[_RSP], vmcs[_RFLAGS])
    cpu.interrupt_shadow, cpu.nmi_blocked = 0, False
    cpu.tsc.offset = vmcs[_TSC_OFFSET] if guest.offsets_tsc else 0
    set_guest(cpu, guest)


def _enter_anew(cpu: Cpu, operation: Operation, vmcs: Vmcs) -> None:
    """Enter a guest that must be looked at."""
    _keep_host(cpu, vmcs)
    guest = _controls(cpu, operation, vmcs)
    event = Interruption(vmcs[_EVENT])
    world = _checked_guest(cpu, operation, vmcs, guest, event)
    if world is None:
        rule = operation.refused
        fail_entry(cpu, vmcs, guest, ExitReason.INVALID_GUEST_STATE, 0 if rule is None else rule.qualification)
        return
    _know_guest(cpu, operation, vmcs, world)
    nmi_blocked = cpu.nmi_blocked
    if cpu.outer is None:
        cpu.clock.cycles += cpu.costs.vm_entry
        enter_event(cpu, cpu.costs.vm_entry)
    put(cpu, world, vmcs[_RIP], vmcs[_RSP], vmcs[_RFLAGS])
    interruptibility = vmcs[_INTERRUPTIBILITY]
    cpu.interrupt_shadow = interruptibility & _SHADOW
    cpu.nmi_blocked = bool(interruptibility & _NMI_BLOCKED)
    vectoring = event & _VALID and event.TYPE != EventType.OTHER
    cpu.halted = vmcs[_ACTIVITY] == _HLT and not vectoring
    cpu.tsc.offset = vmcs[_TSC_OFFSET] if guest.offsets_tsc else 0
    if guest.flushes:
        cpu.translation.flush_all()
    failed = vmcs[_LOADS] and load_msrs(cpu, vmcs[_LOAD_ADDRESS], vmcs[_LOADS])
    if failed:
        cpu.nmi_blocked = nmi_blocked
        fail_entry(cpu, vmcs, guest, ExitReason.MSR_LOADING, failed)
        return
    if cpu.outer is not None:
        cpu.outer.entered(guest)
    vmcs.launched = True
    if guest.pin.PREEMPTION_TIMER:
        guest.expires = cpu.clock.now + (vmcs[_TIMER] << operation.caps.misc.TIMER_RATE)
    guest.boundary = False
    set_guest(cpu, guest)
    if guest.shadows:
        operation.link(cpu.software_memory)
    if cpu.halted or by_branch(cpu):
        cpu.engine.stop()  # the run loop waits, or lets TCG run single instructions
    if cpu.interrupt_shadow:
        cpu.request_attention()
        if cpu.interrupt_shadow & MOV_SS_SHADOW:
            cpu.pass_breakpoint()
    if event & _VALID or vmcs[_PENDING]:
        begin(cpu, vmcs, event)


def _keep_host(cpu: Cpu, vmcs: Vmcs) -> None:
    """Have the exit go back to the host as it is known now, if that is the one that the VMCS's fields tell of."""
    host: World | None = vmcs.host
    if host is not None:
        # Whatever changes one of the others, too, counts as an epoch.
        if host.registers.cr3 == cpu.cr3 and (host.epoch == cpu.epoch or signature(host.registers) == signature(cpu)):
            host.known = cpu.known
        else:
            vmcs.host = None


def _know_guest(cpu: Cpu, operation: Operation, vmcs: Vmcs, world: World) -> None:
    """Forget what is known of a guest's code where the host, or another guest with its VPID, may have dropped its translations."""
    vpid, entered = world.vpid, operation.entered
    if world.forgotten != cpu.translation.forgotten or entered.get(vpid) is not vmcs:
        world.known = Known()
        entered[vpid] = vmcs


def _controls(cpu: Cpu, operation: Operation, vmcs: Vmcs) -> NonRoot:
    """Check controls and host state, if they have been written since they were found right."""
    guest: NonRoot | None = vmcs.controls
    # Of what is in no field, these rules ask for the mode, and for VTPR in memory.
    if vmcs.checked_in_long_mode is not cpu.long_mode or (guest is not None and guest.primary.TPR_SHADOW):
        entered = Entered(vmcs, operation.caps, cpu.software_memory, long_mode=cpu.long_mode)
        _require(operation, entered, CONTROLS, InstructionError.ENTRY_CONTROLS)
        _require(operation, entered, HOST, InstructionError.ENTRY_HOST_STATE)
        vmcs.checked_in_long_mode = entered.long_mode
    if guest is None:
        guest = vmcs.controls = NonRoot(vmcs) if cpu.outer is None else cpu.outer.merge(vmcs)
    return guest


def _checked_guest(cpu: Cpu, operation: Operation, vmcs: Vmcs, guest: NonRoot, event: Interruption) -> World | None:
    """Give the guest's side; None where a rule is broken, which `Operation.refused` tells."""
    world: World | None = vmcs.guest
    if world is not None and not still_holds(cpu, world, guest):
        world = None
        vmcs.drop_guest()
    entered = Entered(vmcs, operation.caps, cpu.software_memory, long_mode=cpu.long_mode)
    if event & _VALID:
        _require(operation, entered, EVENT, InstructionError.ENTRY_CONTROLS)
    operation.refused = first_broken(GUEST if world is None else AT_EACH_ENTRY, entered)
    if operation.refused is not None:
        return None
    return guest_world(cpu, entered, guest) if world is None else world


def _require(operation: Operation, entered: Entered, rules: Iterable[Rule], error: InstructionError) -> None:
    """Fail where a rule of controls or host state is broken."""
    operation.refused = first_broken(rules, entered)
    if operation.refused is not None:
        raise VmFail(error)


def _is_usual(vmcs: Vmcs, world: World) -> bool:
    """Tell whether no rule of `AT_EACH_ENTRY` can be broken."""
    rip, rflags = vmcs[_RIP], vmcs[_RFLAGS]
    code64 = world.registers.efer & _LMA and world.segments[1].access & _CODE64
    return (
        not (vmcs[_INTERRUPTIBILITY] or vmcs[_ACTIVITY] or vmcs[_PENDING])
        and (rip >> 47 in SIGNS if code64 else rip <= U32)
        and rflags & _UNUSUAL == 2
        and vmcs[_LINK] == NO_VMCS
    )
