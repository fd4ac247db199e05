"""How an image is put into memory and entered: the work of a boot loader, as a value.

::

    0 ──── 0x7000 ─ 0x9000 ───────────────── 0x9fc00 ─ 1 MiB ── image ── modules, page-aligned ──→
           tables   boot information, strings           (wherever its headers say)

If the image itself wants that place, the boot information goes behind the modules.

The tables are 4-level page tables for a plain ELF64 kernel, which is entered in 64-bit mode with the first 4 GiB of physical
memory at 0 and at 0xffff800000000000, and the first 2 GiB at 0xffffffff80000000, all writable, supervisor, 1 GiB pages.
A multiboot image is entered in 32-bit flat protected mode with paging off.  Both find EAX = 0x2BADB002 and the boot information in EBX.

Source: Multiboot Specification 0.6.96, "Machine state" and "Boot information format".
"""

from __future__ import annotations

import struct
from pathlib import PurePath
from typing import TYPE_CHECKING, Final, NamedTuple

from attrs import frozen

from .elf import PAGE, BadImage
from .image import Kind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .image import Image

LOADER_MAGIC: Final = 0x2BADB002
_TABLES: Final = 0x7000
_INFORMATION: Final = 0x9000
_LOW_END: Final = 0x9FC00
_HIGH: Final = 0x100000
_FOUR_GIB: Final = 1 << 32
_MEMORY, _DEVICE, _CMDLINE, _MODULES, _MMAP, _NAME = 1 << 0, 1 << 1, 1 << 2, 1 << 3, 1 << 6, 1 << 9
_AVAILABLE, _RESERVED = 1, 2
_WRITABLE_TABLE, _WRITABLE_GIB = 0x3, 0x83  # P RW, and PS for a page of 1 GiB
_INFORMATION_SIZE: Final = 120


class Module(NamedTuple):
    """A file that the loader puts beside the image; `name` is its command line."""

    name: str
    data: bytes


class Piece(NamedTuple):
    """Bytes for a physical address."""

    paddr: int
    data: bytes | memoryview


@frozen
class Boot:
    """Everything to write and to set before the first instruction.

    Attributes:
        pieces: what to write, into memory that is zero.
        entry: the first instruction.
        eax: the loader's magic number.
        ebx: physical address of the boot information.
        esp: top of a small stack below the tables; multiboot promises none, and ELF64 may need it.
        cr3: page tables for 64-bit mode, or None for 32-bit flat protected mode with paging off.
        end: the first page behind everything that was placed.
        esi: physical address of Linux's zero page.
        gdt: address and size of a descriptor table whose selectors 0x10 and 0x18 are loaded; None where none is promised.

    """

    pieces: tuple[Piece, ...]
    entry: int
    eax: int
    ebx: int
    esp: int
    cr3: int | None
    end: int
    esi: int = 0
    gdt: tuple[int, int] | None = None


def plan(image: Image, regions: Sequence[tuple[int, int]], cmdline: str = "", modules: Sequence[Module] = ()) -> Boot:
    """Lay out image, modules and boot information in RAM.

    Args:
        image: what to boot.
        regions: RAM as (address, size), ascending, the first at 0.
        cmdline: goes behind the image's name, as other loaders have it.
        modules: placed in this order behind the image.

    Raises:
        BadImage: it does not fit.

    """
    check_fits(image, regions)
    low = regions[0][1]
    pieces = [Piece(s.paddr, s.data) for s in image.segments if s.data]
    end = _page(max(image.end if image.end <= low else 0, _HIGH))
    placed: list[tuple[int, int, bytes]] = []
    for module in modules:
        start, end = end, _page(end + len(module.data))
        if end > low:
            raise BadImage(module.name, f"does not fit into {low >> 20} MiB of memory", f"module at {start:#x}")
        pieces.append(Piece(start, module.data))
        placed.append((start, start + len(module.data), _string(module.name)))
    line = _string(f"{PurePath(image.path).name} {cmdline}".strip())
    at = _INFORMATION
    size = len(_information(at, regions, line, placed))
    if at + size > _LOW_END or not _free(image, at, size):
        at, end = end, _page(end + size)
        if end > low:
            raise BadImage(
                image.path, f"no room for the boot information in {low >> 20} MiB of memory", f"{size} bytes"
            )
    pieces.append(Piece(at, _information(at, regions, line, placed)))
    cr3 = None
    if image.kind is Kind.ELF64:
        cr3 = _TABLES
        tables = _long_mode_tables()
        if not _free(image, cr3, len(tables)):
            raise BadImage(image.path, "loads where its first page tables go", f"{cr3:#x}")
        pieces.append(Piece(cr3, tables))
    return Boot(tuple(pieces), image.entry, LOADER_MAGIC, at, _TABLES, cr3, end)


def check_fits(image: Image, regions: Sequence[tuple[int, int]]) -> None:
    """`BadImage` unless each segment lies in RAM."""
    for segment in image.segments:
        if not any(base <= segment.paddr and segment.end <= base + size for base, size in regions):
            need = f"{segment.paddr:#x} to {segment.end:#x}"
            raise BadImage(image.path, f"needs memory that is not there ({regions[0][1] >> 20} MiB are)", need)


def _free(image: Image, start: int, size: int) -> bool:
    return all(s.end <= start or start + size <= s.paddr for s in image.segments)


def _page(address: int) -> int:
    return -(-address // PAGE) * PAGE


def _string(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape") + b"\0"


def memory_map(regions: Sequence[tuple[int, int]]) -> list[tuple[int, int, int]]:
    """Give RAM as (address, size, type) with the PC's holes below 1 MiB; type 1 is available, 2 reserved."""
    entries = [(0, _LOW_END, _AVAILABLE), (_LOW_END, 0xA0000 - _LOW_END, _RESERVED), (0xF0000, 0x10000, _RESERVED)]
    entries += [
        (max(base, _HIGH), base + size - max(base, _HIGH), _AVAILABLE) for base, size in regions if base + size > _HIGH
    ]
    return entries


def _information(
    at: int, regions: Sequence[tuple[int, int]], line: bytes, modules: list[tuple[int, int, bytes]]
) -> bytes:
    """Build the block for address `at`: the structure, the memory map, the module list, then the strings."""
    entries = b"".join(struct.pack("<IQQI", 20, *entry) for entry in memory_map(regions))
    map_at = at + _INFORMATION_SIZE
    modules_at = map_at + len(entries)
    strings_at = modules_at + 16 * len(modules)
    name = b"paracell\0"
    strings = name + line
    listed = b""
    for start, end, text in modules:
        listed += struct.pack("<IIII", start, end, strings_at + len(strings), 0)
        strings += text
    flags = _MEMORY | _DEVICE | _CMDLINE | _MODULES | _MMAP | _NAME
    upper = max(regions[0][1] - _HIGH, 0) >> 10
    head = struct.pack(
        "<7I", flags, _LOW_END >> 10, upper, 0x8000FFFF, strings_at + len(name), len(modules), modules_at
    )
    tail = struct.pack("<6I", len(entries), map_at, 0, 0, 0, strings_at)
    block = (head + bytes(16) + tail).ljust(_INFORMATION_SIZE, b"\0")
    return block + entries + listed + strings


def _long_mode_tables() -> bytes:
    """Two pages: a PML4, and one PDPT that every window shares through its first four or last two entries."""
    pml4, pdpt = [0] * 512, [0] * 512
    for slot in (0, 256, 511):
        pml4[slot] = (_TABLES + PAGE) | _WRITABLE_TABLE
    for gib in range(4):
        pdpt[gib] = gib << 30 | _WRITABLE_GIB
    pdpt[510], pdpt[511] = pdpt[0], pdpt[1]
    return struct.pack("<1024Q", *pml4, *pdpt)
