"""PVH, the way into an uncompressed kernel that names its 32-bit entry in an ELF note.

::

    0x7000 stack ─ 0x9000 hvm_start_info, memory map, module list, strings ──── 1 MiB ── image ── modules, page-aligned ──→

The kernel is entered in 32-bit flat protected mode, paging and interrupts off, with the start information in EBX.

Source: Xen, docs/misc/pvh.pandoc and xen/include/public/arch-x86/hvm/start_info.h.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from .elf import PAGE, BadImage
from .multiboot import Boot, Module, Piece, check_fits, memory_map

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .image import Image

_MAGIC: Final = 0x336EC578
_STACK: Final = 0x7000
_INFORMATION: Final = 0x9000
_LOW_END: Final = 0x9FC00
_HEAD, _MAP_ENTRY, _MODULE = struct.Struct("<4I4QII"), struct.Struct("<QQII"), struct.Struct("<4Q")


def plan(
    image: Image, regions: Sequence[tuple[int, int]], cmdline: str, modules: Sequence[Module], rsdp: int = 0
) -> Boot:
    """Lay out image, modules and start information in RAM.

    Args:
        image: what to boot.
        regions: RAM as (address, size), ascending, the first at 0.
        cmdline: all of the kernel's command line.
        modules: placed in this order behind the image; Linux takes the first for its initrd.
        rsdp: physical address of ACPI's root pointer, or 0.

    Raises:
        BadImage: it does not fit.

    """
    check_fits(image, regions)
    low = regions[0][1]
    pieces = [Piece(s.paddr, s.data) for s in image.segments if s.data]
    end = _page(max(image.end if image.end <= low else 0, 1 << 20))
    placed = []
    for module in modules:
        start, end = end, _page(end + len(module.data))
        if end > low:
            raise BadImage(module.name, f"does not fit into {low >> 20} MiB of memory", f"module at {start:#x}")
        pieces.append(Piece(start, module.data))
        placed.append((start, len(module.data), module.name))
    block = _information(regions, cmdline, placed, rsdp)
    clash = any(s.paddr < _INFORMATION + len(block) and s.end > _INFORMATION for s in image.segments)
    if clash or _INFORMATION + len(block) > _LOW_END:
        raise BadImage(image.path, "no room for the start information", f"{len(block)} bytes at {_INFORMATION:#x}")
    pieces.append(Piece(_INFORMATION, block))
    return Boot(tuple(pieces), image.entry, 0, _INFORMATION, _STACK, None, end)


def _information(
    regions: Sequence[tuple[int, int]], cmdline: str, modules: list[tuple[int, int, str]], rsdp: int
) -> bytes:
    entries = memory_map(regions)
    map_at = _INFORMATION + _HEAD.size
    modules_at = map_at + _MAP_ENTRY.size * len(entries)
    line_at = modules_at + _MODULE.size * len(modules)
    strings = _string(cmdline)
    listed = b""
    for start, size, name in modules:
        listed += _MODULE.pack(start, size, line_at + len(strings), 0)
        strings += _string(name)
    head = _HEAD.pack(_MAGIC, 1, 0, len(modules), modules_at if modules else 0, line_at, rsdp, map_at, len(entries), 0)
    return head + b"".join(_MAP_ENTRY.pack(*each, 0) for each in entries) + listed + strings


def _string(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape") + b"\0"


def _page(address: int) -> int:
    return -(-address // PAGE) * PAGE
