"""IN, OUT, INS and OUTS, with the I/O permission bitmap (SDM "I/O Permission Bit Map")."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..descriptors import UNUSABLE
from ..events import Kind
from ..faults import GP
from ..limits import check_room
from ..registers import DF, DS, ES, RCX, RDI, RDX, RSI, U32
from ..table import instruction

if TYPE_CHECKING:
    from ..cpu import Cpu
    from ..insn import Insn

_AT_ONCE: Final = 1 << 16


def check_port(cpu: Cpu, port: int, size: int) -> None:
    """Raise #GP(0) unless CPL ≤ IOPL, but in virtual-8086 mode, or the TSS's bitmap allows every byte of the access."""
    if cpu.cpl <= cpu.iopl and not cpu.v86:
        return
    tr = cpu.tr
    if tr.access & UNUSABLE or not tr.access & 8 or tr.limit < 103:
        raise GP(0)
    bitmap = cpu.read_system(tr.base + 102, 2)
    at = bitmap + (port >> 3)
    if at + 1 > tr.limit:
        raise GP(0)
    bits = cpu.read_system(tr.base + at, 2) >> (port & 7)
    if bits & (1 << size) - 1:
        raise GP(0)


@instruction("in")
def port_in(cpu: Cpu, insn: Insn) -> None:
    """IN: AL, AX or EAX from a port."""
    data, source = insn.operands
    port = source.value if source.kind == "imm" else cpu.q[RDX] & 0xFFFF
    check_port(cpu, port, data.size)
    if cpu.breakpoints.watching:
        cpu.breakpoints.touch_port(port, data.size)
    value = cpu.devices.port_read(port, data.size)
    cpu.put(insn, data, value)
    cpu.next(insn)
    cpu.event(Kind.PORT, port, 0, value, cost=cpu.costs.port)


@instruction("out")
def port_out(cpu: Cpu, insn: Insn) -> None:
    """OUT: AL, AX or EAX to a port."""
    target, data = insn.operands
    port = target.value if target.kind == "imm" else cpu.q[RDX] & 0xFFFF
    check_port(cpu, port, data.size)
    if cpu.breakpoints.watching:
        cpu.breakpoints.touch_port(port, data.size)
    value = cpu.get(insn, data)
    cpu.next(insn)
    cpu.event(Kind.PORT, port, 1, value, cost=cpu.costs.port)
    cpu.devices.port_write(port, data.size, value)


def width(insn: Insn) -> int:
    """Give how many bytes an element of INS or OUTS has."""
    return {0x6C: 1, 0x6E: 1}.get(insn.bytes[-1], min(insn.opsize, 32) // 8)


def string_segment(insn: Insn) -> int:
    """Give the segment of the memory operand of INS or OUTS."""
    return next((o.segment for o in insn.operands if o.kind == "mem"), DS) if insn.mnemonic == "outs" else ES


def _step(cpu: Cpu, size: int) -> int:
    return -size if cpu.rflags & DF else size


def _take_block(cpu: Cpu, port: int, base: int, count: int, mask: int) -> int:
    """Let a device that gives a string at once fill memory, as far as its page goes; give what is left."""
    start = base + (cpu.q[RDI] & mask)
    part = min(count, 4096 - (start & 4095))
    cpu.check_write(start, part)
    data = cpu.devices.port_read_block(port, part)
    if data is None:
        return count
    cpu.write_bytes(start, data)
    cpu.q[RDI] = cpu.q[RDI] + part & mask
    cpu.q[RCX] = cpu.q[RCX] - part & mask
    return count - part


def _give_block(cpu: Cpu, port: int, base: int, count: int, mask: int) -> int:
    """Hand a string to a device that takes it at once, as far as its page goes; give what is left."""
    start = base + (cpu.q[RSI] & mask)
    part = min(count, 4096 - (start & 4095))
    if not cpu.devices.port_write_block(port, cpu.read_bytes(start, part)):
        return count
    cpu.q[RSI] = cpu.q[RSI] + part & mask
    cpu.q[RCX] = cpu.q[RCX] - part & mask
    return count - part


@instruction("ins", "outs")
def port_string(cpu: Cpu, insn: Insn) -> None:
    """INS and OUTS, with REP one trap for the whole string, or for 65,536 elements of it: interrupts come in between."""
    port = cpu.q[RDX] & 0xFFFF
    size = width(insn)
    check_port(cpu, port, size)
    mask = (1 << 8 * insn.address_size) - 1
    count = cpu.q[RCX] & mask if insn.rep else 1
    step = _step(cpu, size)
    out = insn.mnemonic == "outs"
    register = RSI if out else RDI
    segment = string_segment(insn)
    base = cpu.segment_base(segment)
    last, later = 0, max(count - _AT_ONCE, 0)
    count -= later
    watching = cpu.breakpoints.watching
    if size == 1 and step == 1 and count > 1 and not (watching or cpu.emulates_8086):
        count = (_give_block if out else _take_block)(cpu, port, base, count, mask)
    while count:
        offset = cpu.q[register] & mask
        check_room(cpu, segment, offset, size)
        address = base + offset
        if watching:
            cpu.breakpoints.touch_port(port, size)
        if out:
            last = cpu.read(address, size)
            cpu.devices.port_write(port, size, last)
        else:
            cpu.check_write(address, size)
            last = cpu.devices.port_read(port, size)
            cpu.write(address, size, last)
        # Progress is visible after each element: a fault in the middle restarts where it was.
        kept = 0 if mask == U32 else ~mask  # 32-bit operations clear the upper half, 16-bit ones leave the rest
        cpu.q[register] = cpu.q[register] + step & mask | cpu.q[register] & kept
        if insn.rep:
            cpu.q[RCX] = cpu.q[RCX] - 1 & mask | cpu.q[RCX] & kept
        count -= 1
        if count and cpu.breakpoints.hits:
            return  # a breakpoint traps after each element
    if not later:
        cpu.next(insn)
    cpu.event(Kind.PORT, port, int(out), last, cost=cpu.costs.port)
