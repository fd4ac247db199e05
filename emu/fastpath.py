"""TCG's hottest callbacks, written out: SYSCALL, page faults, and traps at known sites.

A handler of the table reaches its processor through attributes and is found by its instruction's bytes.  These callbacks have
everything they touch bound beforehand, which takes half the time: a trapped instruction is found by its RIP and is a closure
(`trapped`), a SYSCALL or a page fault follows a cached transition (`transitions`).  Where those do not match, they call `rest`, the
full implementation.  Lists and dicts that they captured must be mutated in place, never replaced; what belongs to one side of a
virtual machine is bound anew when the other side runs (`Cpu.take_known`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..mmu.address import SIGNS
from ..mmu.rights import EXEC, WRITE
from ..mmu.walk import NOT_PRESENT, RIGHTS, plain_error
from .events import Kind
from .layout import INTERCEPTED
from .registers import (
    ARITHMETIC,
    CC_OP,
    CC_SRC,
    CS_WORD,
    DF,
    DF_WORD,
    EFLAGS,
    HFLAGS,
    IOPL,
    IS_INT,
    OLD_EXCEPTION,
    R11,
    RAX,
    RCX,
    RDI,
    RDX,
    RF,
    RIP,
    RSI,
    SS_WORD,
    TF,
    U32,
    U64,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..mmu.walk import Refusal
    from .cpu import Cpu
    from .known import Known
    from .pending import Pending

_TF_RF: Final = TF | RF
_TF_RF_NT: Final = TF | RF | 1 << 14
_OTHERS: Final = ~(ARITHMETIC | IOPL | DF | RF)
_NO_KEYS: Final = ((0, 0), (0, 0))
_SYSCALL: Final = Kind.SYSCALL  # a member read off the class takes 0.1 µs


def syscall(cpu: Cpu, pending: Pending, rest: Callable[[], None]) -> Callable[[], None]:
    """Make the callback for SYSCALL; TCG adds the instruction's two bytes to RIP when it returns."""
    q, d, segments, clock, translation = cpu.q, cpu.d, cpu.segments, cpu.clock, cpu.translation
    lazy_flags = cpu.engine.flags

    def on_syscall() -> None:
        path = cpu.syscall_path
        if path is None or pending.stepping:
            rest()
            return
        hflags, code_from, code, stack, cs, ss, after, slot, table, slot_by_pkru, target, keep, iopl = path
        if d[HFLAGS] != hflags or segments[1] is not code_from:
            path = cpu.other_syscall_path
            if path is None or d[HFLAGS] != path[0] or segments[1] is not path[1]:
                rest()
                return
            cpu.other_syscall_path, cpu.syscall_path = cpu.syscall_path, path
            hflags, code_from, code, stack, cs, ss, after, slot, table, slot_by_pkru, target, keep, iopl = path
        try:
            cost = cpu.costs.syscall
            clock.cycles += cost
            if cpu.emit is not None:
                cpu.emit_event(_SYSCALL, cost, (q[RAX], q[RDI], q[RSI], q[RDX]))
            flags = q[EFLAGS]
            lazy = (q[CC_SRC] if d[CC_OP] == 1 else lazy_flags()) & ARITHMETIC
            others = flags & _OTHERS | lazy | iopl
            if d[DF_WORD] != 1:
                others |= DF
                d[DF_WORD] = 1
            q[R11] = others
            q[RCX] = q[RIP] + 2 & U64
            q[EFLAGS] = flags & keep
            d[CS_WORD], d[SS_WORD], d[HFLAGS] = cs, ss, after
            segments[1], segments[2] = code, stack
            cpu.cpl, cpu.interrupt_shadow = 0, False
            now = translation.current_slot
            if slot != now:  # as `Contexts.enter`, without a call
                translation.previous_slot = now
                translation.current_slot = slot
                translation.table = table
            translation.slot_by_pkru = slot_by_pkru
            q[RIP] = target
            if clock.cycles < pending.attention_at:
                return
            q[RIP] = target + 2 & U64
            pending.deliver()
        except BaseException as error:  # noqa: BLE001  (the run loop raises it)
            cpu.fail(error)
        q[RIP] = q[RIP] - 2 & U64

    return on_syscall


def interrupt(
    cpu: Cpu,
    pending: Pending,
    rest: Callable[[int], None],
    refused: Callable[[Refusal], None],
    deliver: Callable[[Refusal], bool],
) -> Callable[[int, int], None]:
    """Make the callback for TCG's exceptions: a known site here, a refused fill by `deliver` or `refused`, anything else by `rest`."""
    places = cpu.engine.places
    invalid_error, exit_request, tcg_exit_request = places.invalid_error, places.exit_request, places.tcg_exit_request
    q, d, translation = cpu.q, cpu.d, cpu.translation
    words, sites, clock, breakpoints = cpu.memory.words, translation.sites, cpu.clock, cpu.breakpoints

    def rebind(known: Known) -> None:
        nonlocal sites
        sites = known.sites

    cpu.on_other_side.append(rebind)

    def on_interrupt(_engine: int, vector: int) -> None:
        if (vector != 13 and vector < INTERCEPTED) or d[IS_INT]:
            refusal = translation.refusal
            if refusal is None:
                rest(vector)
                return
            translation.refusal = None
            try:
                invalid_error[0] = exit_request[0] = tcg_exit_request[0] = 0  # as `Engine.go_on`, without a call
                if refusal[2] == EXEC or pending.stepping or cpu.nmi_blocked or not deliver(refusal):
                    refused(refusal)
                elif clock.cycles >= pending.attention_at:
                    pending.deliver()
            except BaseException as error:  # noqa: BLE001  (the run loop raises it)
                cpu.fail(error)
            return
        rip = q[RIP]
        try:
            at, code, more, further, run = sites[rip]
        except KeyError:
            rest(vector)
            return
        if q[EFLAGS] & _TF_RF_NT or breakpoints.watching:
            rest(vector)
            return
        try:
            if words[at] != code or (more and words[more] != further):
                translation.forget_site(rip)
                rest(vector)
                return
            if not run():
                rest(vector)
                return
            d[OLD_EXCEPTION] = U32
            if clock.cycles >= pending.attention_at:
                pending.deliver()
        except BaseException as error:  # noqa: BLE001  (the run loop raises it)
            cpu.fail(error)

    return on_interrupt


def page_fault(cpu: Cpu) -> Callable[[Refusal], bool]:
    """Make the delivery of a #PF that TCG met: through a gate that was gone through before."""
    translation, take_gate, breakpoints = cpu.translation, cpu.take_gate, cpu.breakpoints
    slots = translation.slots

    def deliver(refusal: Refusal) -> bool:
        """Deliver it; do nothing, and say so, where it is not the usual case."""
        result, address, need, _, _ = refusal
        path = cpu.gate_paths.get(14)
        if path is None or address >> 47 not in SIGNS:
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
    """Make the callback for what TCG does not know, WRPKRU and SYSRET above all: a known site here, anything else by `rest`."""
    q, clock, words, translation = cpu.q, cpu.clock, cpu.memory.words, cpu.translation
    sites = translation.sites

    def rebind(known: Known) -> None:
        nonlocal sites
        sites = known.sites

    cpu.on_other_side.append(rebind)

    def on_invalid() -> bool:
        rip = q[RIP]
        try:
            at, code, more, further, run = sites[rip]
        except KeyError:
            return rest()
        if q[EFLAGS] & _TF_RF:
            return rest()
        try:
            if words[at] != code or (more and words[more] != further):
                translation.forget_site(rip)
                return rest()
            if not run():
                return rest()
            if clock.cycles >= pending.attention_at:
                pending.deliver()
        except BaseException as error:  # noqa: BLE001  (the run loop raises it)
            cpu.fail(error)
        return True

    return on_invalid
