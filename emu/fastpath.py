"""The hottest traps, written out: WRPKRU, SYSCALL, SYSRET, page faults and IRETQ between contexts that have met before.

A handler of the table reaches its processor through attributes and is found by its instruction's bytes.  These callbacks have
everything they touch bound beforehand, which takes half the time.  They are valid only while a cached transition (`transitions`)
still matches; otherwise they call `rest`, the full implementation.  Lists and dicts that they captured must be mutated in place,
never replaced.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from ..mmu.address import HALF
from ..mmu.rights import EXEC, READ, WRITE
from ..mmu.walk import NOT_PRESENT, RIGHTS, plain_error
from .contexts import NOT_SLOT, SLOT_FLAGS, SMAP_SLOT
from .events import Kind
from .registers import (
    AC,
    ARITHMETIC,
    CC_OP,
    CC_SRC,
    CS_WORD,
    DF,
    DF_WORD,
    EFLAGS,
    HFLAGS,
    IF,
    IOPL,
    IS_INT,
    OLD_EXCEPTION,
    RF,
    SS_WORD,
    TF,
    U32,
    U64,
)
from .segments import forget_inner_segments
from .trapped import bind_take_site

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..mmu.walk import Refusal
    from .cpu import Cpu
    from .pending import Pending

_RAX, _RCX, _RDX, _RSP, _RSI, _RDI, _R11, _RIP = 0, 1, 2, 4, 6, 7, 11, 16
_TF_RF: Final = TF | RF
_OTHERS: Final = ~(ARITHMETIC | IOPL | DF | RF)
_RARE: Final = ~(ARITHMETIC | IF | 2)
_PKE: Final = 1 << 22
_WRPKRU, _SYSRETQ = b"\x0f\x01\xef", b"\x48\x0f\x07"
_IRETQ: Final = b"\x48\xcf"
_FRAME: Final = struct.Struct("<5Q")
_TF_RF_NT: Final = TF | RF | 1 << 14
_NO_KEYS: Final = ((0, 0), (0, 0))
_EVENTS: Final = Kind.WRPKRU, Kind.SYSCALL, Kind.SYSRET


def syscall(cpu: Cpu, pending: Pending, rest: Callable[[], None]) -> Callable[[], None]:
    """Make the callback for SYSCALL; TCG adds the instruction's two bytes to RIP when it returns."""
    q, d, segments, clock, translation = cpu.q, cpu.d, cpu.segments, cpu.clock, cpu.translation
    lazy_flags = cpu.engine.flags
    _, kind, _ = _EVENTS

    def on_syscall() -> None:
        path = cpu.syscall_path
        if path is None or pending.stepping:
            rest()
            return
        (hflags, code_from), (code, stack, cs, ss, after, slot, table, slot_by_pkru), target, keep = path
        if d[HFLAGS] != hflags or segments[1] is not code_from:
            rest()
            return
        try:
            cost = cpu.costs.syscall
            clock.cycles += cost
            if cpu.emit is not None:
                cpu.emit_event(kind, cost, (q[_RAX], q[_RDI], q[_RSI], q[_RDX]))
            flags = q[EFLAGS]
            lazy = (q[CC_SRC] if d[CC_OP] == 1 else lazy_flags()) & ARITHMETIC
            others = flags & _OTHERS | lazy | cpu.iopl << 12
            if d[DF_WORD] != 1:
                others |= DF
                d[DF_WORD] = 1
            q[_R11], q[_RCX] = others, q[_RIP] + 2 & U64
            q[EFLAGS] = flags & keep
            d[CS_WORD], d[SS_WORD] = cs, ss
            d[HFLAGS] = after
            segments[1], segments[2] = code, stack
            cpu.cpl = 0
            cpu.interrupt_shadow = False
            if slot != translation.current_slot:  # as `Contexts.enter`, without a call
                translation.previous_slot, translation.current_slot, translation.table = (
                    translation.current_slot,
                    slot,
                    table,
                )
            translation.slot_by_pkru = slot_by_pkru
            if clock.cycles < pending.attention_at:
                q[_RIP] = target - 2 & U64
                return
            q[_RIP] = target
            pending.deliver()
        except BaseException as error:  # noqa: BLE001  (the run loop raises it)
            cpu.fail(error)
        q[_RIP] = q[_RIP] - 2 & U64

    return on_syscall


def interrupt(
    cpu: Cpu,
    pending: Pending,
    rest: Callable[[int], None],
    refused: Callable[[Refusal], None],
) -> Callable[[int, int], None]:
    """Make the callback for TCG's exceptions: an IRETQ that was seen before here, a refused fill by `refused`, anything else by `rest`."""
    engine, take_site, deliver = cpu.engine, bind_take_site(cpu), page_fault(cpu)
    _, _, _, _, invalid_error, exit_request, tcg_exit_request, _ = engine.places
    q, d, translation, iret_paths = cpu.q, cpu.d, cpu.translation, cpu.iret_paths
    ram, where, clock, breakpoints = cpu.memory.ram, translation.where, cpu.clock, cpu.breakpoints
    probe_with, take_iret, frame = translation.probe_with, cpu.take_iret, _FRAME.unpack_from

    def on_interrupt(_engine: int, vector: int) -> None:
        if vector != 13 or d[IS_INT]:
            refusal = translation.refusal
            if refusal is None:
                rest(vector)
                return
            translation.refusal = None
            try:
                invalid_error[0] = exit_request[0] = tcg_exit_request[0] = 0  # as `Engine.go_on`, without a call
                if engine.leaving:
                    engine.go_on()
                if refusal[2] == EXEC or not deliver(refusal):
                    refused(refusal)
                elif clock.cycles >= pending.attention_at:
                    pending.deliver()
            except BaseException as error:  # noqa: BLE001  (the run loop raises it)
                cpu.fail(error)
            return
        place = where.get(q[_RIP])
        if place is None or q[EFLAGS] & _TF_RF_NT or breakpoints.watching:
            rest(vector)
            return
        if ram[place : place + 2] != _IRETQ:
            try:
                if not take_site(q[_RIP]):
                    rest(vector)
                    return
                d[OLD_EXCEPTION] = U32
                if clock.cycles >= pending.attention_at:
                    pending.deliver()
            except BaseException as error:  # noqa: BLE001  (the run loop raises it)
                cpu.fail(error)
            return
        at = probe_with(q[_RSP], 40, READ, translation.table)
        if at < 0:
            rest(vector)
            return
        rip, cs, image, rsp, ss = frame(ram, at)
        known = iret_paths.get((cs & 0xFFFF) << 16 | ss & 0xFFFF)
        try:
            old = cpu.cpl
            if known is None or not take_iret(known, rip, image, rsp):
                rest(vector)
                return
            d[OLD_EXCEPTION], cpu.nmi_blocked = U32, False
            if cpu.cpl != old:
                forget_inner_segments(cpu, cpu.cpl)
            if clock.cycles >= pending.attention_at:
                pending.deliver()
        except BaseException as error:  # noqa: BLE001  (the run loop raises it)
            cpu.fail(error)

    return on_interrupt


def page_fault(cpu: Cpu) -> Callable[[Refusal], bool]:
    """Make the delivery of a #PF that TCG met: through a gate that was gone through before."""
    translation, gate_paths, take_gate, breakpoints = (
        cpu.translation, cpu.gate_paths, cpu.take_gate, cpu.breakpoints
    )  # fmt: skip
    slots = translation.slots

    def deliver(refusal: Refusal) -> bool:
        """Deliver it; do nothing, and say so, where it is not the usual case."""
        result, address, need, _, _ = refusal
        path = gate_paths.get(14)
        if path is None or (address + HALF & U64) >> 48:
            return False
        context = slots[translation.current_slot].context
        if context is None:
            return False
        if result != NOT_PRESENT and (result != RIGHTS or context[4:] != _NO_KEYS):
            return False
        if need == EXEC:
            error = plain_error(need, result, user=context[0], fetch_bit=translation.paging.fetch_bit)
        else:  # as there, without a call
            error = (result == RIGHTS) | (need == WRITE) << 1 | context[0] << 2
        if not take_gate(path, error, RF, address):
            return False
        cpu.cr2 = address
        cpu.interrupt_shadow = False
        breakpoints.hits = 0
        return True

    return deliver


def invalid(cpu: Cpu, pending: Pending, rest: Callable[[], bool]) -> Callable[[], bool]:
    """Make the callback for what TCG does not know: WRPKRU and SYSRET here, anything else by `rest`."""
    q, d, segments, clock, translation = cpu.q, cpu.d, cpu.segments, cpu.clock, cpu.translation
    ram, where, slots, take_site = cpu.memory.ram, translation.where, translation.slots, bind_take_site(cpu)
    (wrpkru, _, sysret), not_slot, slot_flags = _EVENTS, NOT_SLOT, SLOT_FLAGS

    def on_invalid() -> bool:
        rip, flags = q[_RIP], q[EFLAGS]
        place = where.get(rip)
        if place is None or flags & _TF_RF:
            return rest()
        code = ram[place : place + 3]
        try:
            if code == _WRPKRU:
                pkru = q[_RAX] & U32
                number = translation.slot_by_pkru.get(pkru)
                if (
                    number is None or (number == SMAP_SLOT and flags & AC)
                    or not cpu.cr4 & _PKE or (q[_RCX] | q[_RDX]) & U32
                ):  # fmt: skip
                    return rest()
                clock.cycles += cpu.costs.wrpkru
                old, cpu.pkru = cpu.pkru, pkru
                if cpu.emit is not None:
                    cpu.emit_event(wrpkru, cpu.costs.wrpkru, (old, pkru))  # by whom it makes of who runs
                now = translation.current_slot
                if number != now:
                    translation.previous_slot, translation.current_slot = now, number
                    translation.table = slots[number].table
                    d[HFLAGS] = d[HFLAGS] & not_slot | slot_flags[number]
                q[_RIP] = rip + 3
            elif code == _SYSRETQ:
                path, flags, target = cpu.sysret_path, q[_R11], q[_RCX]
                if path is None or flags & _RARE or (target + HALF & U64) >> 48:
                    return rest()
                (hflags, code_from), (user, stack, cs, ss, after, slot, table, slot_by_pkru), _, _ = path
                number = slot_by_pkru.get(cpu.pkru)  # ring 0 may have one slot for many PKRUs
                if d[HFLAGS] != hflags or segments[1] is not code_from or number is None:
                    return rest()
                if number != slot:
                    after, table = after & not_slot | slot_flags[number], slots[number].table
                cost = cpu.costs.sysret
                clock.cycles += cost
                if cpu.emit is not None:
                    cpu.emit_event(sysret, cost, (q[_RAX],))
                q[_RIP], q[CC_SRC] = target, flags & ARITHMETIC
                d[CC_OP] = d[DF_WORD] = 1
                q[EFLAGS] = flags & IF | 2
                d[CS_WORD], d[SS_WORD] = cs, ss
                segments[1], segments[2] = user, stack
                d[HFLAGS], cpu.cpl, cpu.interrupt_shadow = after, 3, False
                if number != translation.current_slot:
                    translation.previous_slot, translation.current_slot, translation.table = (
                        translation.current_slot,
                        number,
                        table,
                    )
                translation.slot_by_pkru = slot_by_pkru
            elif not take_site(rip):
                return rest()
            if clock.cycles >= pending.attention_at:
                pending.deliver()
        except BaseException as error:  # noqa: BLE001  (the run loop raises it)
            cpu.fail(error)
        return True

    return on_invalid
