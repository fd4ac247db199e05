"""Programs for the command line to refuse."""

from __future__ import annotations

import struct

INTERP = 3
CODE = bytes.fromhex("b83c000000 bf07000000 0f05")  # mov eax,60; mov edi,7; syscall


def static_program(
    code: bytes = CODE,
    *,
    bits: int = 64,
    machine: int = 62,
    interpreter: bytes = b"",
    memsz: int | None = None,
    vaddr: int = 0x400000,
) -> bytes:
    """A static executable that exits with status 7, unless the arguments say or spoil something."""
    kinds = (1, INTERP) if interpreter else (1,)
    header, size = (64, 56) if bits == 64 else (52, 32)
    at = header + size * len(kinds)
    out = b"\x7fELF" + bytes([bits // 32, 1, 1]) + bytes(9)
    form = "<HHIQQQIHHHHHH" if bits == 64 else "<HHIIIIIHHHHHH"
    start = vaddr + at
    out += struct.pack(form, 2, machine, 1, start % (1 << bits), header, 0, 0, header, size, len(kinds), 0, 0, 0)
    for kind in kinds:
        where = at, start % (1 << bits), start % (1 << bits), len(code), len(code) if memsz is None else memsz
        if kind == INTERP:
            where = at + len(code), 0, 0, len(interpreter), len(interpreter)
        if bits == 64:
            out += struct.pack("<IIQQQQQQ", kind, 5, *where, 4096)
        else:
            out += struct.pack("<IIIIIIII", kind, *where, 5, 4096)
    return out + code + interpreter
