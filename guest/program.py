"""What `paracell run` asks of a program before a container is made for it: an x86-64 Linux executable that fits."""

from __future__ import annotations

from typing import Final

from .elf import PAGE, BadImage, Elf, Machine, Type, check_overlap, parse

USER_LIMIT: Final = 0x7FFF_FFFF_F000
_LOWEST: Final = 0x1_0000


class BadProgram(BadImage):
    """A file that is no program which a container can start."""


def check_program(data: bytes, path: str, memory: int) -> Elf:
    """Parse a program and check that a container of `memory` bytes could start it; `BadProgram` if not."""
    try:
        return _check(data, path, memory)
    except BadImage as error:
        raise BadProgram(error.path, error.what, error.where) from error


def _check(data: bytes, path: str, memory: int) -> Elf:
    elf = parse(data, path)
    if elf.bits == 32:
        raise BadImage(path, "32-bit program; only x86-64 programs run", "file header")
    if elf.machine != Machine.X86_64:
        raise BadImage(path, "not x86-64", "file header")
    if not elf.segments:
        raise BadImage(path, "nothing to load", "program headers")
    for segment in elf.segments:
        where = f"segment at {segment.vaddr:#x}"
        if segment.vaddr + segment.memsz > USER_LIMIT or (elf.type == Type.EXEC and segment.vaddr < _LOWEST):
            raise BadImage(path, "absurd segment: outside user space", where)
        if (segment.offset - segment.vaddr) % PAGE:
            raise BadImage(path, "absurd segment: its file offset and address do not agree below a page", where)
    check_overlap(path, [(s.vaddr, s.memsz) for s in elf.segments])
    size = sum(-(-s.memsz // PAGE) * PAGE for s in elf.segments)
    if size > memory:
        raise BadImage(path, f"needs {size >> 20} MiB of memory, and there are {memory >> 20} MiB", "program headers")
    return elf
