"""Crossings worked out once: SYSCALL, SYSRET, IDT gates and IRETQ between the same contexts are then a few stores.

The instruction's whole operation is run the first time, and what it led to is kept.  It holds as long as what it was worked
out from: TCG's mode and slot, the code segment and, where descriptors were read, their words are compared each time; a
change of anything else (an MSR, a control register, a table register, IOPL, the context that a slot holds) has
`Cpu.forget_transitions` called.  Gates and IRETQ know physical addresses of descriptors and of the TSS, too: they go when a translation of
one of `Cpu.transition_pages` does (`Cpu.forget_descriptors`), so MOV to CR3 spares them where those pages are global.
Whatever is unusual (RFLAGS.AC, TF, NT …) is left to the full implementation each time.

What the functions here and in `fastpath` have bound is theirs for ever: the lists, dicts and sets of the processor, of its memory
and of its translation are changed in place and never replaced (tests/emu/test_bound.py looks).
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from ..mmu.address import SIGNS
from ..mmu.rights import READ, WRITE
from .contexts import NOT_SLOT, SLOT_FLAGS
from .descriptors import ACCESSED
from .events import Kind
from .layout import HF_CS64
from .registers import AC, ARITHMETIC, CC_OP, CC_SRC, CS_WORD, DF, DF_WORD, EFLAGS, HFLAGS, IF, IOPL, RF, SS_WORD

if TYPE_CHECKING:
    from collections.abc import Callable

    from .cpu import Cpu
    from .descriptors import Segment
    from .idt import Gate

_EXCEPTION, _IRET = Kind.EXCEPTION, Kind.IRET  # a member read off the class takes 0.1 µs
_RSP, _RIP = 4, 16
RARE: Final = ~(ARITHMETIC | IF | DF | RF | 2)
_FRAME: Final = struct.Struct("<5Q")
_FRAME_AND_ERROR: Final = struct.Struct("<6Q")


# Plain tuples, for Python takes those apart twice as fast as named ones.
# Where a crossing starts: TCG's hflags, which name the slot and so the whole context (in ring 0, PKRU perhaps not), and CS.
Origin = tuple[int, "Segment"]
# Where it leads: CS, SS, their selectors, TCG's hflags, and the translation context (slot, rights, slot_by_pkru).
End = tuple["Segment", "Segment", int, int, int, int, bytes, dict[int, int]]
# SYSCALL: also the new RIP less the two bytes that TCG adds, the bits of EFLAGS that it leaves, and IOPL's bits.
SyscallPath = tuple[int, "Segment", "Segment", "Segment", int, int, int, int, bytes, dict[int, int], int, int, int]
SysretPath = tuple[int, "Segment", "Segment", "Segment", int, int, int, int, bytes, dict[int, int]]
# A gate of the IDT: RIP, and the bits of EFLAGS that it leaves; index in `Memory.words` and the two words of its descriptor; index and
# word of the code descriptor; physical address, bytes (none where the stack stays) and value of the TSS's stack pointer; whether CPL,
# and with it SS, changes; CPL.
GatePath = tuple[Origin, End, int, int, int, int, int, int, int, int, bytes, int, bool, int]
# IRETQ to a pair of selectors: index and word of both descriptors (index 0 for a null SS); CPL.
IretPath = tuple[Origin, End, int, int, int, int, int]


def origin(cpu: Cpu) -> Origin:
    """Note where a crossing starts."""
    return cpu.d[HFLAGS], cpu.segments[1]


def end(cpu: Cpu) -> End:
    """Note where it has led."""
    code, stack = cpu.segments[1], cpu.segments[2]
    return code, stack, code.selector, stack.selector, cpu.d[HFLAGS], *cpu.translation.capture()


def keep_gate(
    cpu: Cpu,
    key: int,
    start: Origin,
    found: Gate,
    gate: tuple[int, int, int],
    code: tuple[int, int],
    stack: tuple[int, int] | None,
    level: int,
) -> None:
    """Keep a way through the IDT that has just been gone, from 64-bit code.

    Args:
        cpu: the processor, behind the gate.
        key: the vector, with bit 8 set for INT n.
        start: where it came from.
        found: the gate.
        gate: linear address and two words of its descriptor.
        code: linear address and word of the code descriptor.
        stack: linear address and value of the TSS's stack pointer; None where the stack stayed.
        level: the CPL it came from.

    """
    at, low, high = gate
    code_at, raw = code
    if not start[0] & HF_CS64 or found.selector & 4 or cpu.breakpoints.watching or cpu.guest is not None:
        return  # (a guest's exceptions may exit)
    probe = cpu.translation.probe
    gate_place, code_place = probe(at, 16, READ, system=True), probe(code_at, 8, READ, system=True)
    stack_place, kept = 0, b""
    if stack is not None:
        stack_place, kept = probe(stack[0], 8, READ, system=True), stack[1].to_bytes(8, "little")
        cpu.transition_pages.add(stack[0] >> 12)
    if min(gate_place, code_place, stack_place) < 0 or (gate_place | code_place) & 7:
        return
    cpu.transition_pages.update((at >> 12, code_at >> 12))
    known = (
        gate_place >> 3,
        low,
        high,
        code_place >> 3,
        raw | ACCESSED,
        stack_place,
        kept,
        int.from_bytes(kept, "little"),
    )
    cpu.gate_paths[key] = start, end(cpu), found.target, ~found.clear, *known, cpu.cpl != level, cpu.cpl


def keep_iret(cpu: Cpu, start: Origin, cs: int, ss: int) -> None:
    """Keep an IRETQ from ring 0 that has just been gone, from and to 64-bit code; `ss` may be null."""
    base = cpu.gdtr.base
    at, stack_at = base + (cs & 0xFFF8), base + (ss & 0xFFF8)
    null = not ss & 0xFFFC
    if not start[0] & cpu.d[HFLAGS] & HF_CS64 or (cs | ss) & 4 or cpu.breakpoints.watching:
        return
    probe, words = cpu.translation.probe, cpu.memory.words
    place = probe(at, 8, READ, system=True)
    stack_place = 0 if null else probe(stack_at, 8, READ, system=True)
    if min(place, stack_place) < 0 or (place | stack_place) & 7:
        return
    cpu.transition_pages.add(at >> 12)
    if not null:
        cpu.transition_pages.add(stack_at >> 12)
    place, stack_place = place >> 3, stack_place >> 3
    known = place, words[place], stack_place, words[stack_place] if stack_place else 0
    cpu.iret_paths[cs << 16 | ss] = start, end(cpu), *known, cs & 3


def bind_take_gate(cpu: Cpu) -> Callable[..., bool]:
    """Make `Cpu.take_gate`, with all that it touches bound beforehand: half the time of attributes."""
    q, d, segments, memory, translation, clock = (
        cpu.q, cpu.d, cpu.segments, cpu.memory, cpu.translation, cpu.clock
    )  # fmt: skip
    words, ram, dirty, holds_code = memory.words, memory.ram, memory.dirty, memory.code
    lazy_flags, probe_with = cpu.engine.flags, translation.probe_with
    plain, with_error = _FRAME.pack_into, _FRAME_AND_ERROR.pack_into

    def take_gate(path: GatePath, error: int | None, rf: int, fault: int = -1) -> bool:
        """Go through a gate as before; do nothing, and say so, where anything differs.

        `fault` is the address of a page fault whose event is still to come, for it must not come if nothing is done.
        """
        start, to, target, keep, gate_at, low, high, code_at, raw, stack_at, kept, pointer, inner, cpl = path
        hflags, code_from = start
        flags, top = q[EFLAGS], q[_RSP]
        if (
            d[HFLAGS] != hflags or segments[1] is not code_from or flags & AC
            or words[gate_at] != low or words[gate_at + 1] != high or words[code_at] != raw
        ):  # fmt: skip
            return False
        rsp = top
        if kept:
            if ram[stack_at : stack_at + 8] != kept:
                return False
            top = pointer
        size = 40 if error is None else 48
        top = (top & ~15) - size
        code, stack, cs, ss, after, slot, table, slot_by_pkru = to
        place = probe_with(top, size, WRITE, table)
        if place < 0:
            return False
        if fault >= 0:
            cost = cpu.costs.exception
            clock.cycles += cost
            if cpu.emit is not None:
                cpu.emit_event(_EXCEPTION, cost, (14, error or 0, fault))
        lazy = (q[CC_SRC] if d[CC_OP] == 1 else lazy_flags()) & ARITHMETIC
        image = flags & ~(ARITHMETIC | DF | IOPL) | lazy | cpu.iopl << 12 | rf
        if d[DF_WORD] != 1:
            image |= DF
        if error is None:
            plain(ram, place, q[_RIP], d[CS_WORD], image, rsp, d[SS_WORD])
        else:
            with_error(ram, place, error, q[_RIP], d[CS_WORD], image, rsp, d[SS_WORD])
        frame = place >> 12
        if frame not in dirty or frame in holds_code:
            memory.written(place, size)
        q[CC_SRC], d[CC_OP] = lazy, 1  # TCG will ask for them
        q[_RSP], q[_RIP] = top, target
        q[EFLAGS] = flags & keep
        segments[1] = code
        d[CS_WORD] = cs
        if inner:
            segments[2] = stack
            d[SS_WORD] = ss
            cpu.cpl = cpl
        d[HFLAGS] = after
        if slot != translation.current_slot:  # as `Contexts.enter`, without a call
            translation.previous_slot, translation.current_slot, translation.table = (
                translation.current_slot,
                slot,
                table,
            )
        translation.slot_by_pkru = slot_by_pkru
        return True

    return take_gate


def bind_take_iret(cpu: Cpu) -> Callable[[IretPath, int, int, int], bool]:
    """Make `Cpu.take_iret`, the same way."""
    q, d, segments, translation, words, clock = (
        cpu.q, cpu.d, cpu.segments, cpu.translation, cpu.memory.words, cpu.clock
    )  # fmt: skip
    slots, breakpoints = translation.slots, cpu.breakpoints

    def take_iret(known: IretPath, rip: int, image: int, rsp: int) -> bool:
        """IRETQ from ring 0 as before, but for the data segments; do nothing, and say so, where anything differs."""
        start, to, code_at, raw, stack_at, stack_raw, cpl = known
        hflags, code_from = start
        if (
            d[HFLAGS] != hflags or segments[1] is not code_from
            or image & RARE or rip >> 47 not in SIGNS or words[code_at] != raw or (stack_at and words[stack_at] != stack_raw)
        ):  # fmt: skip
            return False
        code, stack, cs, ss, after, slot, table, slot_by_pkru = to
        number = slot_by_pkru.get(cpu.pkru)  # ring 0 may have one slot for many PKRUs
        if number is None:
            return False
        if number != slot:
            after, table = after & NOT_SLOT | SLOT_FLAGS[number], slots[number].table
        cost = cpu.costs.iret
        if image & RF:  # as `Cpu.resume`, without a call
            if breakpoints.on_code:
                return False
            cpu.resumed_at, cpu.resumed_rip = clock.cycles + cost, rip
        clock.cycles += cost
        if cpu.emit is not None:
            cpu.emit_event(_IRET, cost, (rip,))
        q[_RIP], q[_RSP] = rip, rsp
        q[CC_SRC] = image & ARITHMETIC
        d[CC_OP] = 1
        d[DF_WORD] = 0xFFFFFFFF if image & DF else 1
        q[EFLAGS] = image & IF | 2
        segments[1], segments[2] = code, stack
        d[CS_WORD], d[SS_WORD] = cs, ss
        d[HFLAGS] = after
        cpu.cpl = cpl
        cpu.interrupt_shadow = False
        if number != translation.current_slot:
            translation.previous_slot, translation.current_slot, translation.table = (
                translation.current_slot,
                number,
                table,
            )
        translation.slot_by_pkru = slot_by_pkru
        return True

    return take_iret
