"""Real-address mode and virtual-8086 mode: a selector is a paragraph's number (SDM volume 3, "8086 Emulation").

::

    base = selector × 16      real mode: limit and size stay what they were; virtual-8086 mode: 64 KiB, 16 bits, DPL 3

    interrupt table of real mode, 4 bytes a vector         its stack frame         a virtual-8086 task's, pushed at ring 0
      +2 CS                                                  +4 FLAGS                +32 GS   +28 FS   +24 DS   +20 ES
      +0 IP                                                  +2 CS                   +16 SS   +12 ESP  +8 EFLAGS, +4 CS, +0 EIP
                                                             +0 IP                   (and the error code below that)
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from .descriptors import UNUSABLE, Segment, intern
from .faults import GP, UD, StackFault
from .registers import AC, CS, DS, ES, FS, GS, IF, RF, RIP, RSP, SS, TF, U32

if TYPE_CHECKING:
    from .cpu import Cpu

V86_LIMIT, V86_ACCESS = 0xFFFF, 0xF3
_DATA: Final = 0x93  # present, writable, accessed: in real mode CS is so, too
_SIZES: Final = 0xD000  # AVL, D/B and G in `Segment.access`
_ALL_IOPL: Final = 3
_FRAME: Final = struct.Struct("<3H")


def paragraph(cpu: Cpu, number: int, selector: int) -> Segment:
    """Give what a segment register holds after a load of `selector` in either mode.

    Real mode leaves the limit alone: what protected mode has made larger stays so (SDM "Switching Back to Real-Address Mode").
    """
    if cpu.v86:
        return intern(Segment(selector, selector << 4, V86_LIMIT, V86_ACCESS))
    old = cpu.segments[number]
    limit = V86_LIMIT if old.access & UNUSABLE else old.limit
    return intern(Segment(selector, selector << 4, limit, old.access & _SIZES | _DATA))


def require_protected(cpu: Cpu) -> None:
    """Raise #UD in both modes: LLDT, LTR, SLDT, STR, LAR, LSL, VERR, VERW and ARPL are not recognised there."""
    if cpu.emulates_8086:
        raise UD


def require_iopl(cpu: Cpu) -> None:
    """Raise #GP(0) in virtual-8086 mode below IOPL 3: PUSHF, POPF, INT n, IRET (SDM "Sensitive Instructions")."""
    if cpu.v86 and cpu.iopl < _ALL_IOPL:
        raise GP(0)


def enter_real(cpu: Cpu, vector: int) -> None:
    """Go through the interrupt table of real mode, all or nothing (SDM "INT n/INTO/INT3/INT1", real-address mode).

    No error code is pushed.
    """
    base, limit = cpu.idtr
    at = 4 * vector
    if at + 3 > limit:
        raise GP(8 * vector + 2)
    stack, rsp = cpu.segment(SS), cpu.q[RSP]
    mask = stack.pointer_mask
    top = rsp - _FRAME.size & mask
    if top + _FRAME.size - 1 > stack.limit:
        raise StackFault(0)
    target = cpu.read_system(base + at, 4)
    frame = _FRAME.pack(cpu.q[RIP] & 0xFFFF, cpu.segments[CS].selector, cpu.rflags & 0xFFFF)
    cpu.write_bytes(stack.base + top & U32, frame, stack=True)
    cpu.q[RSP] = rsp & ~mask | top
    cpu.set_cs(paragraph(cpu, CS, target >> 16), 0)
    cpu.q[RIP] = target & 0xFFFF
    cpu.set_system_flags(IF | TF | AC | RF, 0)


def outer_words(cpu: Cpu) -> list[int]:
    """Give what an interrupt of a virtual-8086 task pushes above the ordinary frame, the lowest first."""
    return [cpu.segment(number).selector for number in (ES, DS, FS, GS)]


def leave_v86(cpu: Cpu) -> None:
    """Null the data segments behind an interrupt of a virtual-8086 task: they hold no descriptors."""
    for number in (ES, DS, FS, GS):
        cpu.set_segment(number, Segment(0, 0, 0, UNUSABLE))


def enter_v86(cpu: Cpu, popped: tuple[int, ...], flags: int) -> None:
    """Go to a virtual-8086 task by the nine words of IRET's frame (SDM "IRET", RETURN-TO-VIRTUAL-8086-MODE)."""
    rip, cs, _, rsp, ss, *data = popped
    if rip > V86_LIMIT:
        raise GP(0)
    cpu.rflags = flags
    cpu.set_cs(paragraph(cpu, CS, cs & 0xFFFF), 3)
    for number, selector in zip((SS, ES, DS, FS, GS), (ss, *data), strict=True):
        cpu.set_segment(number, paragraph(cpu, number, selector & 0xFFFF))
    cpu.q[RIP], cpu.q[RSP] = rip, rsp
