"""MOVBE and CRC32, which TCG takes for SSE instructions where CR0.TS or CR0.EM is set (SDM instruction pages of those names)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..faults import UD
from ..table import instruction

if TYPE_CHECKING:
    from ..cpu import Cpu
    from ..insn import Insn

_CASTAGNOLI: Final = 0x82F63B78  # 11EDC6F41H, its bits the other way round


@instruction("movbe")
def movbe(cpu: Cpu, insn: Insn) -> None:
    """MOVBE: load or store with the bytes the other way round; #UD with two registers."""
    target, source = insn.operands
    if "mem" not in {target.kind, source.kind}:
        raise UD
    size = insn.opsize >> 3
    cpu.put(insn, target, int.from_bytes(cpu.get(insn, source).to_bytes(size, "little"), "big"))
    cpu.next(insn)


@instruction("crc32")
def crc32(cpu: Cpu, insn: Insn) -> None:
    """CRC32: the remainder after the source's bytes, low byte first."""
    target, source = insn.operands
    remainder = cpu.q[target.number] & 0xFFFFFFFF
    for byte in cpu.get(insn, source).to_bytes(source.size, "little"):
        remainder ^= byte
        for _ in range(8):
            remainder = remainder >> 1 ^ (_CASTAGNOLI if remainder & 1 else 0)
    cpu.q[target.number] = remainder
    cpu.next(insn)
