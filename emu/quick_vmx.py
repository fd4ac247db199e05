"""VM exits and entries between two sides that have met before, written out: what `vmexit.exit_guest` and `vmentry.enter` do then.

A guest that exits for the same reason a million times changes few of its registers, and its host none.  What is left is a few stores, with
all that they touch bound beforehand (`fastpath`).  Where anything is unusual, nothing is done: the full implementation has the case.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..mmu.address import SIGNS
from ..mmu.registers import EFER
from ..vmx.fields import Field
from ..vmx.nonroot import NMI_EVENT
from ..vmx.operation import NO_VMCS
from ..vmx.words import Interruption
from .contexts import SLOT_FLAGS, SMAP_SLOT
from .events import Kind
from .layout import CPUID, INTERCEPT, PAUSE_AND_CPUID
from .registers import AC, ARITHMETIC, CC_OP, CC_SRC, DF, DF_WORD, EFLAGS, HFLAGS, IF, RF, RIP, RSP
from .vmlate import leave_late
from .vmstate import save_by_control
from .world import CR0_KEPT, CR0_LOADED, LMA_LME, NOT_OURS, SEGMENTS, TCG_CR0, TCG_CR4, capture

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..vmx.exits import VmExit
    from ..vmx.operation import Operation
    from ..vmx.vmcs import Vmcs
    from .cpu import Cpu
    from .world import World

    Enter = Callable[[Operation, Vmcs], bool]
    Leave = Callable[[VmExit], bool]

_VM_EXIT, _VM_ENTRY = Kind.VM_EXIT, Kind.VM_ENTRY  # a member read off the class takes 0.1 µs
_INTERCEPT: Final = INTERCEPT >> 3
_USUAL: Final = ~(ARITHMETIC | DF | IF | AC | 2)  # no bit of RFLAGS beside these
_VALID: Final = Interruption.VALID.mask
_LMA: Final = EFER.LMA.mask
_EFER: Final = ~LMA_LME
(
    _RIP, _RSP, _RFLAGS, _INJECT, _INTERRUPTIBILITY, _ACTIVITY, _PENDING, _LINK, _TSC_OFFSET, _HOST_RIP, _HOST_RSP, _REASON,
    _QUALIFICATION,
) = (
    Field.GUEST_RIP, Field.GUEST_RSP, Field.GUEST_RFLAGS, Field.ENTRY_INTERRUPTION_INFO, Field.GUEST_INTERRUPTIBILITY,
    Field.GUEST_ACTIVITY, Field.GUEST_PENDING_DEBUG, Field.VMCS_LINK_POINTER, Field.TSC_OFFSET, Field.HOST_RIP, Field.HOST_RSP,
    Field.EXIT_REASON, Field.EXIT_QUALIFICATION,
)  # fmt: skip
_put: Final = dict.__setitem__


def bind(cpu: Cpu) -> tuple[Enter, Leave]:  # noqa: PLR0915  (each call would take 0.1 µs)
    """Make the two functions; each tells whether it has done its work."""
    q, d, dr, segments, clock, translation = cpu.q, cpu.d, cpu.dr, cpu.segments, cpu.clock, cpu.translation
    tlb, slots, breakpoints, lazy_flags = translation.tlb, translation.slots, cpu.breakpoints, cpu.engine.flags
    held = cpu.engine.raw[SEGMENTS]

    def go(world: World, rip: int, rsp: int, rflags: int) -> None:
        """As `world.put`, for a side whose translations are still there."""
        (
            cr0, cpu.cr3, cpu.cr4, cpu.efer, cpu.pdptes, cpu.pkrs, cpu.cpl, cpu.gdtr, cpu.idtr, cpu.ldtr, cpu.tr
        ) = world.registers  # fmt: skip
        cpu.cr0 = q[TCG_CR0] = cpu.cr0 & CR0_KEPT | cr0 & CR0_LOADED
        q[TCG_CR4] = world.control
        segments[:] = world.segments
        held[:] = world.raw
        (
            _, tlb.tag, tlb.current, tlb.shared, translation.paging, translation.walk4, translation.walkers, translation.has_globals,
            translation.vpid, translation.eptp, translation.second, translation.code_size, translation.address_space,
            translation.current_modes,
        ) = world.space  # fmt: skip
        cpu.take_known(world.known)
        q[RIP], q[RSP] = rip, rsp
        q[CC_SRC], d[CC_OP] = rflags & ARITHMETIC, 1
        d[DF_WORD] = 0xFFFFFFFF if rflags & DF else 1
        q[EFLAGS] = rflags & (IF | AC) | 2
        translation.slot_by_pkru = slot_by_pkru = world.slot_by_pkru
        number = slot_by_pkru.get(cpu.pkru)
        if number is None or (number == SMAP_SLOT and rflags & AC):
            translation.switch()
            number = translation.current_slot
        elif number != translation.current_slot:
            translation.previous_slot, translation.current_slot = translation.current_slot, number
            translation.table = slots[number].table
        d[HFLAGS] = d[HFLAGS] & NOT_OURS | world.hflags | SLOT_FLAGS[number]
        world.epoch = cpu.epoch

    def leave(exit_: VmExit) -> bool:
        """Exit from the guest."""
        guest = cpu.guest
        if guest is None or not guest.plain:
            return False
        vmcs = guest.vmcs
        world, host = vmcs.guest, vmcs.host
        if (
            world is None or host is None or vmcs.controls is not guest or host.space[0] != tlb.gone
            or exit_.pending or exit_.event == NMI_EVENT or cpu.interrupt_shadow or cpu.nmi_blocked or cpu.halted
            or breakpoints.hits or dr[7] != host.dr7 or host.msrs != cpu.switched_msrs
            or not (guest.loads_all or (cpu.pkrs == host.registers.pkrs and not (cpu.efer ^ host.registers.efer) & _EFER))
        ):  # fmt: skip
            return False
        registers = world.registers
        # Whatever changes more than these counts as an epoch.
        if world.epoch == cpu.epoch and cpu.cr3 == registers.cr3 and cpu.cpl == registers.cpl:
            world.segments, world.raw = tuple(segments), bytes(held)
            world.slot_by_pkru = translation.slot_by_pkru
        else:
            if bool(cpu.efer & _LMA) is not guest.long or cpu.iopl or cpu.emulates_8086:
                return False
            capture(cpu, world)
            save_by_control(vmcs, world, guest)
        if vmcs.late is None:
            leave_late(vmcs, world)
        vmcs.update(exit_.fields or exit_.as_fields())
        flags = q[EFLAGS] & ~(ARITHMETIC | DF) | (q[CC_SRC] if d[CC_OP] == 1 else lazy_flags()) & ARITHMETIC
        if d[DF_WORD] != 1:
            flags |= DF
        _put(vmcs, _RIP, q[RIP])
        _put(vmcs, _RSP, q[RSP])
        _put(vmcs, _RFLAGS, flags | (RF if exit_.fault else 0))
        if not vmcs.calm:
            _put(vmcs, _INTERRUPTIBILITY, 0)
            _put(vmcs, _ACTIVITY, 0)
            _put(vmcs, _PENDING, 0)
            _put(vmcs, _INJECT, vmcs[_INJECT] & ~_VALID)
            vmcs.calm = vmcs[_LINK] == NO_VMCS
        cpu.tsc.offset = 0
        if cpu.outer is None:
            cost = cpu.costs.vm_exit
            clock.cycles += cost
            if cpu.emit is not None:
                cpu.emit_event(_VM_EXIT, cost, (1, 0, vmcs[_REASON], vmcs[_QUALIFICATION], exit_.gpa or 0))
            q[_INTERCEPT] = 0
        else:
            cpu.outer.left(vmcs[_REASON], vmcs[_QUALIFICATION], exit_.gpa or 0)
            q[_INTERCEPT] = CPUID
        cpu.guest = guest.outer
        if cpu.vmx is not None:
            cpu.vmx.guest = None
        go(host, vmcs[_HOST_RIP], vmcs[_HOST_RSP], 2)
        return True

    def enter(operation: Operation, vmcs: Vmcs) -> bool:
        """Enter the guest."""
        guest, world, host = vmcs.controls, vmcs.guest, vmcs.host
        if guest is None or world is None or host is None or not (vmcs.calm and guest.plain):
            return False
        rip, rflags = vmcs[_RIP], vmcs[_RFLAGS]
        if (
            rip >> 47 not in SIGNS or rflags & _USUAL or not rflags & 2 or not world.code64 or cpu.nmi_blocked
            or vmcs.checked_in_long_mode is not True or host.epoch != cpu.epoch or host.registers.cr3 != cpu.cr3
            or not (guest.loads_all or (cpu.pkrs == world.registers.pkrs and not (cpu.efer ^ world.registers.efer) & _EFER))
            or world.space[0] != tlb.gone or world.forgotten != translation.forgotten
            or operation.entered.get(world.vpid) is not vmcs or dr[7] != world.dr7 or world.msrs != cpu.switched_msrs
        ):  # fmt: skip
            return False
        host.known = cpu.known
        if cpu.outer is None:
            cost = cpu.costs.vm_entry
            clock.cycles += cost
            if cpu.emit is not None:
                cpu.emit_event(_VM_ENTRY, cost, (0, 1))
        else:
            cpu.outer.entered(guest)
        go(world, rip, vmcs[_RSP], rflags)
        cpu.interrupt_shadow = 0
        cpu.tsc.offset = vmcs[_TSC_OFFSET] if guest.offsets_tsc else 0
        cpu.guest = operation.guest = guest
        q[_INTERCEPT] = PAUSE_AND_CPUID if guest.pauses else CPUID
        if guest.windows:
            cpu.request_attention()
        return True

    return enter, leave
