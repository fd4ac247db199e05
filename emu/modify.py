"""Instructions that read a memory operand and then write it: what such a one is refused counts as a write (SDM "EPT Violations")."""

from __future__ import annotations

from typing import Final

from .prefixes import prefixes

_ALL: Final = frozenset(range(8))
# Opcode → the values of ModR/M.reg with which it is one (SDM volume 2, "Opcode Map").
_ONE_BYTE: Final = {
    **dict.fromkeys((first + low for first in range(0, 0x38, 8) for low in (0, 1)), _ALL),  # ADD to XOR, to memory
    **dict.fromkeys((0x80, 0x81, 0x83), _ALL - {7}),  # the same with an immediate, but for CMP
    **dict.fromkeys((0x86, 0x87), _ALL),  # XCHG
    **dict.fromkeys((0xC0, 0xC1, 0xD0, 0xD1, 0xD2, 0xD3), _ALL),  # shifts
    **dict.fromkeys((0xF6, 0xF7), frozenset({2, 3})),  # NOT, NEG
    **dict.fromkeys((0xFE, 0xFF), frozenset({0, 1})),  # INC, DEC
}
_TWO_BYTES: Final = {
    **dict.fromkeys((0xA4, 0xA5, 0xAC, 0xAD), _ALL),  # SHLD, SHRD
    **dict.fromkeys((0xAB, 0xB3, 0xBB), _ALL),  # BTS, BTR, BTC
    0xBA: frozenset({5, 6, 7}),  # the same with an immediate
    **dict.fromkeys((0xB0, 0xB1, 0xC0, 0xC1), _ALL),  # CMPXCHG, XADD
    0xC7: frozenset({1}),  # CMPXCHG8B, CMPXCHG16B
}


def modifies(code: bytes, mode: int) -> bool:
    """Tell whether the instruction that `code` begins with is one; `mode` is 64, 32 or 16."""
    rest = code[prefixes(code, mode) :]
    two = rest[:1] == b"\x0f"
    rest = rest[1:] if two else rest
    if len(rest) < 2:
        return False
    return rest[1] >> 3 & 7 in (_TWO_BYTES if two else _ONE_BYTE).get(rest[0], ())
