"""Every opcode of the one-byte and two-byte maps, with every prefix, and those that trap with every pair of prefixes.

The order is fixed, so that the number of a try names its encoding.
"""

from __future__ import annotations

from itertools import product
from typing import Final

_LEGACY: Final = (0x66, 0x67, 0xF0, 0xF2, 0xF3, 0x2E, 0x36, 0x3E, 0x26, 0x64, 0x65)
_REX: Final = range(0x40, 0x50)
PREFIXES: Final = tuple(bytes((p,)) for p in (*_LEGACY, *_REX))
_PLAIN: Final = (b"", *PREFIXES)

# What crosses to another privilege level, or that the processor's software part runs: opcode and what must follow.
_TRAPPING: Final = tuple(
    bytes.fromhex(code)
    for code in (
        "0f05", "0f34", "0f35", "0f07", "0fa2", "cc", "cd03", "cd80", "f1", "ce", "cf", "cb", "ca0800", "f4", "fa", "fb",
        "9c", "9d", "0f06", "0f08", "0f09", "0f0b", "0f30", "0f31", "0f32", "0f33", "0f01c1", "0f01c8", "0f01ca", "0f01cb",
        "0f01d0", "0f01d1", "0f01ee", "0f01f8", "0f01f9", "0f20c0", "0f22d8", "0f0007", "0f0117", "0f013f", "8ed0", "8ec0",
        "ff2f", "ff1f", "0fc7f8", "ec", "ee", "6c", "6e", "0fae20", "0fb207",
    )
)  # fmt: skip
_GROUPS: Final = {
    b"\x0f\x00",
    b"\x0f\x01",
    b"\x0f\xae",
    b"\x0f\xc7",
    b"\xf6",
    b"\xf7",
    b"\xfe",
    b"\xff",
    b"\x80",
    b"\x8f",
}
_MEMORY_AT_RDI: Final = 7  # ModRM of [RDI], without its middle field


def _opcodes() -> tuple[bytes, ...]:
    """Give each opcode with a ModRM byte of [RDI] behind it: all eight middle fields where they choose the instruction."""
    skip = {*_LEGACY, *_REX, 0x0F}
    plain = [bytes((o,)) for o in range(256) if o not in skip] + [bytes((0x0F, o)) for o in range(256)]
    return tuple(
        opcode + bytes((_MEMORY_AT_RDI | middle << 3,))
        for opcode in plain
        for middle in range(8 if opcode in _GROUPS else 1)
    )


OPCODES: Final = _opcodes()
ENCODINGS: Final = (
    *(prefix + code for code, prefix in product(_TRAPPING, _PLAIN)),
    *(prefix + code for code, prefix in product(OPCODES, _PLAIN)),
    *(first + second + code for code, first, second in product(_TRAPPING, PREFIXES, PREFIXES)),
)
