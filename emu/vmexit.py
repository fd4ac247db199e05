"""VM exits: from the guest back to the host (SDM "VM Exits")."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..mmu.registers import CR4, EFER
from ..vmx.exits import ENTRY_FAILED
from ..vmx.fields import Field
from ..vmx.nonroot import NEVER, NMI_EVENT, NonRoot
from ..vmx.words import Activity, Interruptibility, Interruption
from .events import Kind
from .layout import CPUID, HF_GUEST, INTERCEPT, PAUSE_AND_CPUID
from .pending_debug import held_by_mov_ss
from .registers import HFLAGS, RF, RIP, RSP
from .second_stage import second_stage_of
from .vmlate import leave_late
from .vmlists import ABORT_MSRS, ABORT_SAVING, abort, load_msrs, store_msrs
from .vmstate import guest_loads, host_still_holds, host_world, save_by_control, save_pdptes
from .world import World, capture, put

if TYPE_CHECKING:
    from ..vmx.exits import ExitReason, VmExit
    from ..vmx.vmcs import Vmcs
    from .cpu import Cpu

HOST, GUEST = 0, 1  # in events: who leaves and who goes on
_NMI_BLOCKED: Final = Interruptibility.NMI.mask
_NO_EVENT: Final = ~Interruption.VALID.mask
_HLT, _ACTIVE = int(Activity.HLT), int(Activity.ACTIVE)
_LMA, _PAE = EFER.LMA.mask, CR4.PAE.mask
_VM_EXIT, _VM_ENTRY = Kind.VM_EXIT, Kind.VM_ENTRY  # a member read off the class takes 0.1 µs
(
    _REASON, _QUALIFICATION, _INJECT, _RIP, _RSP, _RFLAGS,
    _INTERRUPTIBILITY, _ACTIVITY, _PENDING, _ENTRY_CONTROLS, _TIMER, _STORES, _STORE_ADDRESS, _LOADS, _LOAD_ADDRESS,
    _HOST_RIP, _HOST_RSP,
) = (
    Field.EXIT_REASON, Field.EXIT_QUALIFICATION, Field.ENTRY_INTERRUPTION_INFO,
    Field.GUEST_RIP, Field.GUEST_RSP, Field.GUEST_RFLAGS, Field.GUEST_INTERRUPTIBILITY, Field.GUEST_ACTIVITY,
    Field.GUEST_PENDING_DEBUG, Field.ENTRY_CONTROLS, Field.PREEMPTION_TIMER_VALUE, Field.EXIT_MSR_STORE_COUNT,
    Field.EXIT_MSR_STORE_ADDRESS, Field.EXIT_MSR_LOAD_COUNT, Field.EXIT_MSR_LOAD_ADDRESS,
    Field.HOST_RIP, Field.HOST_RSP,
)  # fmt: skip
_put: Final = dict.__setitem__


def set_guest(cpu: Cpu, guest: NonRoot | None) -> None:
    """Enter or leave non-root operation, as far as TCG's intercepts and the preemption timer are concerned."""
    before, cpu.guest = cpu.guest, guest
    if cpu.vmx is not None:
        cpu.vmx.guest = None if guest is None or guest.of_l0 else guest
    cpu.q[INTERCEPT >> 3] = 0 if guest is None else PAUSE_AND_CPUID if guest.pauses else CPUID
    if guest is not None and guest.windows:
        cpu.request_attention()
    timed = before if guest is None else guest
    if cpu.devices is not None and timed is not None and timed.expires != NEVER:
        cpu.devices.changed()  # the preemption timer is a deadline like theirs


def resume_guest(cpu: Cpu, guest: NonRoot | None) -> None:
    """Follow VMX operation that was restored.

    TCG keeps blocks apart by this bit of hflags, so a block of the host's is never one of the guest's, although RIPs may be the same.
    """
    set_guest(cpu, guest)
    if cpu.devices is not None:
        cpu.devices.changed()
    cpu.d[HFLAGS] = cpu.d[HFLAGS] & ~HF_GUEST | (0 if guest is None else HF_GUEST)
    translation = cpu.translation
    translation.forget_code()
    if guest is None:
        translation.take_second_stage(0, None)
    else:
        translation.take_second_stage(guest.vpid, second_stage_of(cpu, guest))
    translation.configure()


def enter_event(cpu: Cpu, cost: int) -> None:
    """Tell of an entry whose time has been spent."""
    cpu.emit_event(_VM_ENTRY, cost, (HOST, GUEST))


def leave(cpu: Cpu, exit_: VmExit) -> None:
    """Exit from the guest: to its host, or to the outermost hypervisor."""
    if cpu.outer is None:
        exit_guest(cpu, exit_)
    else:
        cpu.outer.take(exit_)


def exit_guest(cpu: Cpu, exit_: VmExit) -> None:
    """Record why the guest has exited, save its state, load the host's."""
    quick = cpu.quick_vmx
    if quick is not None and quick[1](exit_):
        return
    guest = cpu.guest
    assert guest is not None
    vmcs = guest.vmcs
    _save(cpu, vmcs, guest, exit_.pending, fault=exit_.fault)
    vmcs.update(exit_.fields or exit_.as_fields())
    _put(vmcs, _INJECT, vmcs[_INJECT] & _NO_EVENT)
    if guest.expires != NEVER and guest.exit.SAVE_PREEMPTION_TIMER:
        left = max(guest.expires - cpu.clock.now, 0)
        _put(vmcs, _TIMER, left >> cpu.vmx.caps.misc.TIMER_RATE if cpu.vmx is not None else 0)
    cpu.tsc.offset = 0  # before the list is stored
    if not guest.plain and vmcs[_STORES]:
        failed = store_msrs(cpu, vmcs[_STORE_ADDRESS], vmcs[_STORES])
        if failed:
            abort(cpu, vmcs, ABORT_SAVING, f"entry {failed} of the VM-exit MSR-store list cannot be stored")
    _tell(cpu, vmcs, exit_.gpa or 0)
    is_nmi = exit_.event == NMI_EVENT
    if guest.virtual_nmis or is_nmi:
        cpu.nmi_blocked = is_nmi
    set_guest(cpu, guest.outer)
    load_host(cpu, vmcs, guest)


def _save(cpu: Cpu, vmcs: Vmcs, guest: NonRoot, pending: int | None, *, fault: bool) -> None:
    """Write the guest's state to the VMCS, or leave it for later (SDM "Saving Guest State"); `pending` and `fault` as in `VmExit`."""
    world = vmcs.guest
    if world is None:
        world = World(cpu.known, guest=True, vpid=guest.vpid, second=cpu.translation.second)
        world.loads = guest_loads(guest)
    capture(cpu, world)
    vmcs.calm = False
    q = cpu.q
    _put(vmcs, _RIP, q[RIP])
    _put(vmcs, _RSP, q[RSP])
    _put(vmcs, _RFLAGS, cpu.rflags | (RF if fault else 0))
    _put(vmcs, _INTERRUPTIBILITY, cpu.interrupt_shadow | (_NMI_BLOCKED if cpu.nmi_blocked else 0))
    _put(vmcs, _ACTIVITY, _HLT if cpu.halted else _ACTIVE)
    _put(vmcs, _PENDING, (cpu.interrupt_shadow and held_by_mov_ss(cpu)) if pending is None else pending)
    cpu.breakpoints.hits = 0
    save_by_control(vmcs, world, guest)
    if guest.has_pdptes and cpu.cr4 & _PAE and not cpu.efer & _LMA:
        save_pdptes(vmcs, world)
    long = bool(cpu.efer & _LMA)
    if long != guest.long:
        vmcs[_ENTRY_CONTROLS] = guest.entry.replace(IA32E_MODE_GUEST=long)
    if vmcs.late is None:
        leave_late(vmcs, world)
    # PDPTEs that are in memory are loaded at each entry.
    if guest.keeps and vmcs.controls is guest and (long or not cpu.cr4 & _PAE):
        vmcs.guest = world
    else:
        vmcs.drop_guest()


def _tell(cpu: Cpu, vmcs: Vmcs, gpa: int = 0) -> None:
    """Spend the time of an exit, and tell of it."""
    if cpu.outer is not None:
        cpu.outer.left(vmcs[_REASON], vmcs[_QUALIFICATION], gpa)
        return
    cost = cpu.costs.vm_exit
    cpu.clock.cycles += cost
    if cpu.emit is not None:
        cpu.emit_event(_VM_EXIT, cost, (GUEST, HOST, vmcs[_REASON], vmcs[_QUALIFICATION], gpa))


def fail_entry(cpu: Cpu, vmcs: Vmcs, guest: NonRoot, reason: ExitReason, qualification: int) -> None:
    """End an entry as a VM exit that saves no guest state (SDM "VM-Entry Failures During or After Loading Guest State")."""
    _put(vmcs, _REASON, reason | ENTRY_FAILED)
    _put(vmcs, _QUALIFICATION, qualification)
    _tell(cpu, vmcs)
    load_host(cpu, vmcs, guest)


def load_host(cpu: Cpu, vmcs: Vmcs, guest: NonRoot) -> None:
    """Load the host state, and the MSRs of the VM-exit MSR-load list (SDM "Loading Host State", "Loading MSRs")."""
    world: World | None = vmcs.host
    if world is None or not (guest.loads_all or host_still_holds(cpu, world, guest)):
        world = host_world(cpu, vmcs, guest)
        put(cpu, world, vmcs[_HOST_RIP], vmcs[_HOST_RSP], 2)
        if guest.exit.HOST_ADDRESS_SPACE_SIZE:
            capture(cpu, world)
            vmcs.host = world
    else:
        put(cpu, world, vmcs[_HOST_RIP], vmcs[_HOST_RSP], 2)
    cpu.interrupt_shadow = cpu.tsc.offset = 0
    cpu.halted = False
    if guest.flushes:
        cpu.translation.flush_all()
    if not guest.plain and vmcs[_LOADS]:
        failed = load_msrs(cpu, vmcs[_LOAD_ADDRESS], vmcs[_LOADS])
        if failed:
            abort(cpu, vmcs, ABORT_MSRS, f"entry {failed} of the VM-exit MSR-load list cannot be loaded")
