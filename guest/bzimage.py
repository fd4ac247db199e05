"""What a Linux kernel wants to find in memory by the 64-bit boot protocol.

::

    0x10000 tables ─ 0x16000 GDT ─ 0x17000 zero page ─ 0x18000 command line ── kernel, init_size bytes ── initrd, as high as it may

The kernel is entered in 64-bit mode 0x200 bytes into the protected-mode part, interrupts off, with the first 4 GiB of memory at their own
addresses, CS = 0x10, DS, ES and SS = 0x18, and the zero page in RSI.

Source: Linux, Documentation/arch/x86/boot.rst, "64-bit Boot Protocol", and zero-page.rst.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from .elf import PAGE, BadImage
from .multiboot import Boot, Module, Piece, check_fits, memory_map
from .setup_header import START

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .image import Image
    from .setup_header import SetupHeader

_NO_NAME: Final = 0xFF  # type_of_loader: without a number of its own
_MOST_ENTRIES: Final = 128  # of the memory map
_TABLES, _GDT, _ZERO_PAGE, _CMDLINE = 0x10000, 0x16000, 0x17000, 0x18000
_PRESENT_WRITABLE, _WRITABLE_2M = 0x3, 0x83
CODE, DATA = 0x10, 0x18
_DESCRIPTORS: Final = struct.pack("<4Q", 0, 0, 0x00AF9B000000FFFF, 0x00CF93000000FFFF)
_LOW: Final = 1 << 32


def plan(
    image: Image, regions: Sequence[tuple[int, int]], cmdline: str, modules: Sequence[Module], rsdp: int = 0
) -> Boot:
    """Lay out kernel, initrd, zero page and command line in RAM.

    Args:
        image: a bzImage.
        regions: RAM as (address, size), ascending, the first at 0.
        cmdline: all of the kernel's command line.
        modules: at most one, the initrd.
        rsdp: physical address of ACPI's root pointer, or 0.

    Raises:
        BadImage: it does not fit.

    """
    setup, low = image.setup, regions[0][1]
    assert setup is not None
    check_fits(image, regions[:1])
    kernel = image.segments[0]
    line = cmdline.encode("utf-8", "surrogateescape") + b"\0"
    if len(line) - 1 > setup.cmdline_size:
        raise BadImage(
            image.path, f"takes a command line of {setup.cmdline_size} bytes", f"this one has {len(line) - 1}"
        )
    if len(modules) > 1:
        raise BadImage(image.path, "Linux takes one initrd and no other module", f"{len(modules)} files")
    pieces = [
        Piece(kernel.paddr, kernel.data),
        Piece(_TABLES, _tables()),
        Piece(_GDT, _DESCRIPTORS),
        Piece(_CMDLINE, line),
    ]
    at, end = 0, kernel.end
    if modules:
        initrd = modules[0]
        end = min(low, setup.initrd_max + 1)
        at = (end - len(initrd.data)) // PAGE * PAGE
        if at < kernel.end:
            raise BadImage(
                initrd.name,
                f"does not fit into {low >> 20} MiB of memory beside the kernel",
                f"{len(initrd.data)} bytes",
            )
        pieces.append(Piece(at, initrd.data))
    pieces.append(Piece(_ZERO_PAGE, _zero_page(setup, regions, at, len(modules[0].data) if modules else 0, rsdp)))
    return Boot(
        tuple(pieces),
        image.entry,
        0,
        0,
        _TABLES,
        _TABLES,
        -(-end // PAGE) * PAGE,
        _ZERO_PAGE,
        (_GDT, len(_DESCRIPTORS)),
    )


def _zero_page(setup: SetupHeader, regions: Sequence[tuple[int, int]], initrd: int, size: int, rsdp: int) -> bytes:
    """Build ``struct boot_params``: the setup header with the loader's fields filled in, and the memory map."""
    page = bytearray(PAGE)
    page[START : START + len(setup.raw)] = setup.raw
    struct.pack_into("<Q", page, 0x70, rsdp)
    page[0x210] = _NO_NAME
    struct.pack_into("<II", page, 0x218, initrd, size)
    struct.pack_into("<I", page, 0x228, _CMDLINE)
    entries = memory_map(regions)[:_MOST_ENTRIES]
    page[0x1E8] = len(entries)
    for number, entry in enumerate(entries):
        struct.pack_into("<QQI", page, 0x2D0 + 20 * number, *entry)
    return bytes(page)


def _tables() -> bytes:
    """Map the first 4 GiB by pages of 2 MiB: a PML4, a PDPT, four page directories."""
    top, pointers = [0] * 512, [0] * 512
    top[0] = _TABLES + PAGE | _PRESENT_WRITABLE
    for gib in range(4):
        pointers[gib] = _TABLES + (2 + gib) * PAGE | _PRESENT_WRITABLE
    pages = [address | _WRITABLE_2M for address in range(0, _LOW, 1 << 21)]
    return struct.pack("<3072Q", *top, *pointers, *pages)
