"""ELF and multiboot files made to measure."""

from __future__ import annotations

import struct
from typing import NamedTuple

BASE = 0x400000


class Load(NamedTuple):
    """One program header of `make_elf`; the bytes go wherever they fit, congruent to `vaddr` below a page."""

    vaddr: int = BASE
    data: bytes = b"\x90" * 64
    memsz: int | None = None
    paddr: int | None = None
    kind: int = 1
    flags: int = 5


def make_elf(
    *loads: Load,
    bits: int = 64,
    machine: int = 62,
    kind: int = 2,
    entry: int | None = None,
    symbols: tuple[tuple[str, int, int], ...] = (),
) -> bytes:
    """Build an ELF file with these segments, and a symbol table when `symbols` (name, address, size) are given."""
    header = 64 if bits == 64 else 52
    size = 56 if bits == 64 else 32
    out = bytearray(header + size * len(loads))
    table = b""
    for load in loads:
        out += bytes((load.vaddr - len(out)) % 4096)
        memsz = len(load.data) if load.memsz is None else load.memsz
        paddr = load.vaddr if load.paddr is None else load.paddr
        where = len(out), load.vaddr, paddr, len(load.data), memsz
        if bits == 64:
            table += struct.pack("<IIQQQQQQ", load.kind, load.flags, *where, 4096)
        else:
            table += struct.pack("<IIIIIIII", load.kind, *where, load.flags, 4096)
        out += load.data
    sections = 0
    if symbols:
        strings, entries = b"\0", bytes(24 if bits == 64 else 16)
        for name, address, length in symbols:
            if bits == 64:
                entries += struct.pack("<IBBHQQ", len(strings), 0x12, 0, 1, address, length)
            else:
                entries += struct.pack("<IIIBBH", len(strings), address, length, 0x12, 0, 1)
            strings += name.encode() + b"\0"
        at, sections = len(out), 3
        out += entries + strings
        shoff = len(out)
        form = "<IIQQQQIIQQ" if bits == 64 else "<IIIIIIIIII"
        out += struct.pack(form, *[0] * 10)
        out += struct.pack(form, 0, 2, 0, 0, at, len(entries), 2, 0, 8, 24 if bits == 64 else 16)
        out += struct.pack(form, 0, 3, 0, 0, at + len(entries), len(strings), 0, 0, 1, 0)
    else:
        shoff = 0
    start = (loads[0].vaddr if loads else 0) if entry is None else entry
    form = "<HHIQQQIHHHHHH" if bits == 64 else "<HHIIIIIHHHHHH"
    head = struct.pack(
        form, kind, machine, 1, start, header, shoff, 0, header, size, len(loads), 64 if bits == 64 else 40, sections, 0
    )
    out[:header] = b"\x7fELF" + bytes([bits // 32, 1, 1]) + bytes(9) + head
    out[header : header + len(table)] = table
    return bytes(out)


def multiboot_header(flags: int = 3, addresses: tuple[int, int, int, int, int] | None = None) -> bytes:
    """Give a multiboot-1 header, with its address fields if `addresses` (header, load, load end, bss end, entry) are given."""
    flags |= 0x10000 if addresses else 0
    head = struct.pack("<III", 0x1BADB002, flags, -(0x1BADB002 + flags) % (1 << 32))
    return head + (struct.pack("<5I", *addresses) if addresses else b"")
