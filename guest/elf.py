"""ELF files as they are found in the wild: read with suspicion, refused in one line.

::

    file    ┌────────┬─────────────────┬── … ──┬──────── p_offset ─ p_filesz ──┬── … ──┬ symbols ┐
            │ header │ program headers │       │  a segment's bytes            │       │         │
    memory                          p_vaddr ── │  the same bytes, then zeroes  │ ── p_memsz
"""

from __future__ import annotations

import os
import struct
from enum import IntEnum
from itertools import pairwise
from typing import TYPE_CHECKING, Final, NamedTuple

from attrs import field, frozen

if TYPE_CHECKING:
    from collections.abc import Iterator

MAGIC: Final = b"\x7fELF"
PAGE: Final = 4096
_LIMIT: Final = 1 << 64

# e_type e_machine e_version e_entry e_phoff e_shoff e_flags e_ehsize e_phentsize e_phnum e_shentsize e_shnum e_shstrndx
_HEADER: Final = {32: struct.Struct("<HHIIIIIHHHHHH"), 64: struct.Struct("<HHIQQQIHHHHHH")}
_SECTION: Final = {32: struct.Struct("<IIIIIIIIII"), 64: struct.Struct("<IIQQQQIIQQ")}
_PROGRAM: Final = {32: struct.Struct("<IIIIIIII"), 64: struct.Struct("<IIQQQQQQ")}
_SYMBOL: Final = {32: struct.Struct("<IIIBBH"), 64: struct.Struct("<IBBHQQ")}
_SHT_SYMTAB: Final = 2
_MAX_SEGMENTS: Final = 1024


class BadImage(ValueError):
    """A file that cannot be loaded.

    Attributes:
        path: the file.
        what: what is wrong with it.
        where: the place inside the file, or "".

    """

    def __init__(self, path: str, what: str, where: str = "") -> None:
        super().__init__(f"{what}: {path}" + (f" ({where})" if where else ""))
        self.path = path
        self.what = what
        self.where = where


class Machine(IntEnum):
    """The values of e_machine that we know."""

    I386 = 3
    X86_64 = 62


class Type(IntEnum):
    """The values of e_type that can be run."""

    EXEC = 2
    DYN = 3


class SegmentType(IntEnum):
    """The values of p_type that matter here."""

    LOAD = 1
    DYNAMIC = 2
    INTERP = 3
    NOTE = 4


class Symbol(NamedTuple):
    """A name for `size` bytes at `address`; a size of 0 says that nobody recorded it."""

    address: int
    size: int
    name: str


def _length(data: memoryview) -> str:
    return f"{len(data)} bytes"


@frozen
class Segment:
    """One PT_LOAD.

    Attributes:
        paddr: physical address to place it at.
        vaddr: linear address its code believes in.
        data: its bytes in the file.
        memsz: its size in memory, `data` first and zeroes after.
        flags: 1 execute, 2 write, 4 read.
        offset: where `data` begins in the file.

    """

    paddr: int
    vaddr: int
    data: memoryview = field(repr=_length, eq=bytes)
    memsz: int
    flags: int = 7
    offset: int = 0

    @property
    def end(self) -> int:
        """The first physical address behind it."""
        return self.paddr + self.memsz


@frozen
class Elf:
    """A well-formed ELF file of ours: little-endian, for x86.

    Attributes:
        path: where it came from, for messages.
        data: the whole file.
        bits: 32 or 64.
        type: EXEC or DYN.
        machine: I386 or X86_64.
        entry: linear address of the first instruction.
        segments: the PT_LOADs in the order of the file.
        interpreter: the path of the dynamic loader that is asked for, or "".

    """

    path: str
    data: memoryview = field(repr=_length, eq=bytes)
    bits: int
    type: Type
    machine: Machine
    entry: int
    segments: tuple[Segment, ...]
    interpreter: str

    def symbols(self) -> tuple[Symbol, ...]:
        """Give the names in its symbol tables, by address; () when it was stripped or the tables make no sense."""
        return tuple(sorted(set(_symbols(self.data, self.bits))))

    def notes(self) -> Iterator[tuple[bytes, int, bytes]]:
        """Give the notes of its PT_NOTE segments, as (owner, type, contents); a note that is cut ends its segment."""
        for kind, offset, size in _program_headers(self.data, self.bits):
            at, end = offset, min(offset + size, len(self.data))
            while kind == SegmentType.NOTE and at + 12 <= end:
                owner, contents, number = struct.unpack_from("<III", self.data, at)
                start = at + 12 + -(-owner // 4) * 4
                if start + contents > end:
                    break
                yield (
                    bytes(self.data[at + 12 : at + 12 + owner]).rstrip(b"\0"),
                    number,
                    bytes(self.data[start : start + contents]),
                )
                at = start + -(-contents // 4) * 4


def parse(data: bytes | memoryview, path: str) -> Elf:
    """Read the headers of an ELF file; `BadImage` if it is not one that an x86-64 could run."""
    view = memoryview(data)
    if bytes(view[:4]) != MAGIC:
        raise BadImage(path, "not an ELF file")
    bits = {1: 32, 2: 64}.get(view[4]) if len(view) > 5 else None
    if bits is None or len(view) < 16 + _HEADER[bits].size:
        raise BadImage(path, "truncated ELF file" if len(view) < 64 else "ELF class unknown", "file header")
    if view[5] != 1:
        raise BadImage(path, "not x86-64 (big-endian ELF)", "file header")
    kind, machine, _, entry, phoff, _, _, _, phentsize, phnum, _, _, _ = _HEADER[bits].unpack_from(view, 16)
    if machine not in set(Machine):
        raise BadImage(path, f"not x86-64 (ELF machine {machine})", "file header")
    if kind not in set(Type):
        raise BadImage(path, f"not an executable (ELF type {kind})", "file header")
    segments, interpreter = _segments(view, path, bits, phoff, phentsize, phnum)
    return Elf(path, view, bits, Type(kind), Machine(machine), entry, segments, interpreter)


def _segments(
    view: memoryview, path: str, bits: int, phoff: int, size: int, count: int
) -> tuple[tuple[Segment, ...], str]:
    layout = _PROGRAM[bits]
    if count > _MAX_SEGMENTS or (count and size != layout.size):
        raise BadImage(path, "absurd program headers", f"{count} of {size} bytes")
    if phoff + count * size > len(view):
        raise BadImage(path, "truncated ELF file", "program headers")
    segments, interpreter = [], ""
    for number in range(count):
        words = layout.unpack_from(view, phoff + number * size)
        if bits == 64:
            kind, flags, offset, vaddr, paddr, filesz, memsz, _ = words
        else:
            kind, offset, vaddr, paddr, filesz, memsz, flags, _ = words
        if kind == SegmentType.INTERP:
            interpreter = _string(view[offset : offset + filesz], path, f"program header {number}")
        if kind != SegmentType.LOAD or memsz == 0:
            continue
        where = f"program header {number}"
        if offset + filesz > len(view):
            raise BadImage(path, "truncated ELF file", where)
        if filesz > memsz:
            raise BadImage(path, "absurd segment: more bytes in the file than in memory", where)
        if max(vaddr, paddr) + memsz > _LIMIT:
            raise BadImage(path, "absurd segment: past the end of the address space", where)
        segments.append(Segment(paddr, vaddr, view[offset : offset + filesz], memsz, flags & 7, offset))
    return tuple(segments), interpreter


def _string(data: memoryview, path: str, where: str) -> str:
    text, end, rest = bytes(data).partition(b"\0")
    if not text or not end or rest:
        raise BadImage(path, "absurd name of a dynamic loader", where)
    return os.fsdecode(text)


def _program_headers(view: memoryview, bits: int) -> Iterator[tuple[int, int, int]]:
    """Give type, offset and size in the file of each program header, in a file that `parse` has taken."""
    header = _HEADER[bits].unpack_from(view, 16)
    for number in range(header[9]):
        words = _PROGRAM[bits].unpack_from(view, header[4] + number * _PROGRAM[bits].size)
        yield (words[0], words[2], words[5]) if bits == 64 else (words[0], words[1], words[4])


def check_overlap(path: str, spans: list[tuple[int, int]]) -> None:
    """`BadImage` if two of the spans (address, size) share a byte."""
    for (a, size), (b, _) in pairwise(sorted(spans)):
        if a + size > b:
            raise BadImage(path, "overlapping segments", f"{a:#x} and {b:#x}")


def _symbols(view: memoryview, bits: int) -> Iterator[Symbol]:
    header = _HEADER[bits].unpack_from(view, 16)
    shoff, shentsize, shnum = header[5], header[10], header[11]
    layout = _SECTION[bits]
    if shentsize != layout.size or shoff + shnum * shentsize > len(view):
        return
    sections = [layout.unpack_from(view, shoff + i * shentsize) for i in range(shnum)]
    for _, kind, _, _, offset, size, link, _, _, entsize in sections:
        if kind != _SHT_SYMTAB or entsize != _SYMBOL[bits].size or offset + size > len(view) or link >= shnum:
            continue
        strings = bytes(view[sections[link][4] : sections[link][4] + sections[link][5]])
        for words in _SYMBOL[bits].iter_unpack(view[offset : offset + size - size % entsize]):
            if bits == 64:
                name, info, _, section, value, length = words
            else:
                name, value, length, info, _, section = words
            end = strings.find(b"\0", name)
            # Functions, objects, and the labels of assembly files; neither what is undefined nor absolute numbers.
            if end > name and info & 15 <= 2 and section not in (0, 0xFFF1):
                yield Symbol(value, length, strings[name:end].decode("ascii", "replace"))
