"""Kernel images: multiboot 1 (ELF or flat, by its own address fields), Linux's bzImage, ELF with a PVH entry, plain 64-bit ELF.

::

    multiboot header, in the first 8 KiB, 4-byte aligned
    0 magic  4 flags  8 checksum  │ with flags bit 16: 12 header_addr  16 load_addr  20 load_end  24 bss_end  28 entry

Source: Multiboot Specification 0.6.96, "The layout of Multiboot header".
"""

from __future__ import annotations

import struct
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from attrs import field, frozen

from . import setup_header
from .elf import MAGIC, BadImage, Elf, Machine, Segment, Symbol, check_overlap, parse
from .files import read_regular

if TYPE_CHECKING:
    from pathlib import Path

_HEADER_MAGIC: Final = 0x1BADB002
_SEARCHED: Final = 8192
_REQUIRED_UNKNOWN: Final = 0xFFF8  # page-aligned modules, memory information and a video mode wish are known
_ADDRESSES: Final = 1 << 16
_PHYS32_ENTRY, _GUEST_OS = 18, 6  # XEN_ELFNOTE_PHYS32_ENTRY, XEN_ELFNOTE_GUEST_OS


class Kind(StrEnum):
    """How an image wants to be entered."""

    MULTIBOOT = "multiboot"  # 32-bit flat protected mode
    ELF64 = "elf64"  # 64-bit mode
    LINUX = "linux"  # 64-bit mode, by Linux's boot protocol
    PVH = "pvh"  # 32-bit flat protected mode


@frozen
class Image:
    """A kernel image, checked in itself but not yet against a machine's memory.

    Attributes:
        path: where it came from.
        kind: how it is entered.
        entry: the physical address to enter at; for ELF64 the linear one.
        segments: what to place, by physical address, disjoint.
        elf: the file as ELF, for its symbols; None for a flat multiboot image and a bzImage.
        setup: a bzImage's setup header.
        linux: it is Linux, whose serial driver sets RTS when somebody reads.

    """

    path: str
    kind: Kind
    entry: int
    segments: tuple[Segment, ...]
    elf: Elf | None = field(default=None, repr=False)
    setup: setup_header.SetupHeader | None = None
    linux: bool = False

    @property
    def start(self) -> int:
        """The lowest physical address of the image."""
        return self.segments[0].paddr

    @property
    def end(self) -> int:
        """The first physical address behind the image."""
        return max(s.end for s in self.segments)

    def symbols(self) -> tuple[Symbol, ...]:
        """Give its names by linear address."""
        return self.elf.symbols() if self.elf else ()


def load(path: str | Path) -> Image:
    """Read a kernel image; `BadImage` for what is none, `OSError` for what cannot be read."""
    return parse_image(read_regular(path), str(path))


def parse_image(data: bytes, path: str) -> Image:
    """Understand the bytes of a kernel image; `BadImage` if that fails."""
    elf = parse(data, path) if data[:4] == MAGIC else None
    offset = _find_header(data)
    if offset is not None:
        image = _multiboot(data, path, offset, elf)
    elif elf is None:
        if not setup_header.is_bzimage(data):
            raise BadImage(path, "neither multiboot nor Linux nor ELF")
        image = _linux(data, path)
    elif (start := _note(elf, _PHYS32_ENTRY)) is not None and len(start) in {4, 8}:
        linux = (_note(elf, _GUEST_OS) or b"").startswith(b"linux")
        entry = int.from_bytes(start, "little")
        image = _entered(Image(path, Kind.PVH, entry, _by_address(elf.segments), elf, linux=linux))
    elif elf.machine != Machine.X86_64 or elf.bits != 64:
        raise BadImage(path, "32-bit ELF without a multiboot header")
    else:
        image = Image(path, Kind.ELF64, elf.entry, _by_address(elf.segments), elf)
    if not image.segments:
        raise BadImage(path, "nothing to load", "program headers")
    check_overlap(path, [(s.paddr, s.memsz) for s in image.segments])
    return image


def _by_address(segments: tuple[Segment, ...]) -> tuple[Segment, ...]:
    return tuple(sorted(segments, key=lambda s: s.paddr))


def _find_header(data: bytes) -> int | None:
    magic = struct.pack("<I", _HEADER_MAGIC)
    at = data.find(magic, 0, _SEARCHED)
    while at >= 0:
        if (
            at % 4 == 0
            and at + 12 <= min(len(data), _SEARCHED)
            and sum(struct.unpack_from("<III", data, at)) % (1 << 32) == 0
        ):
            return at
        at = data.find(magic, at + 1, _SEARCHED)
    return None


def _multiboot(data: bytes, path: str, offset: int, elf: Elf | None) -> Image:
    (flags,) = struct.unpack_from("<I", data, offset + 4)
    where = f"multiboot header at offset {offset:#x}"
    if flags & _REQUIRED_UNKNOWN:
        raise BadImage(path, f"requires multiboot features that are unknown (flags {flags:#x})", where)
    if flags & _ADDRESSES:
        return _by_fields(data, path, offset, elf)
    if elf is None:
        raise BadImage(path, "multiboot image that is no ELF and gives no addresses", where)
    entry = elf.entry
    for segment in elf.segments:  # the entry is linear, and the processor starts without paging
        if segment.vaddr <= elf.entry < segment.vaddr + segment.memsz:
            entry += segment.paddr - segment.vaddr
            break
    return _entered(Image(path, Kind.MULTIBOOT, entry, _by_address(elf.segments), elf))


def _by_fields(data: bytes, path: str, offset: int, elf: Elf | None) -> Image:
    where = f"multiboot header at offset {offset:#x}"
    if offset + 32 > len(data):
        raise BadImage(path, "truncated multiboot header", where)
    header, start, end, bss_end, entry = struct.unpack_from("<5I", data, offset + 12)
    first = offset - (header - start)
    size = end - start if end else len(data) - first
    if header < start or first < 0 or size <= 0:
        raise BadImage(path, "absurd addresses", where)
    if first + size > len(data):
        raise BadImage(path, "truncated multiboot image", where)
    memsz = bss_end - start if bss_end else size
    if memsz < size:
        raise BadImage(path, "absurd addresses: bss ends before the data", where)
    segment = Segment(start, start, memoryview(data)[first : first + size], memsz)
    return _entered(Image(path, Kind.MULTIBOOT, entry, (segment,), elf))


def _note(elf: Elf, kind: int) -> bytes | None:
    """Give the contents of a note of Xen's; None where there is none."""
    return next((value for owner, number, value in elf.notes() if owner == b"Xen" and number == kind), None)


def _linux(data: bytes, path: str) -> Image:
    setup = setup_header.read_header(data, path)
    at = setup.preferred
    kernel = Segment(at, at, memoryview(data)[setup.code :], setup.init_size)
    return Image(path, Kind.LINUX, at + setup_header.ENTRY_64, (kernel,), None, setup, linux=True)


def _entered(image: Image) -> Image:
    if not any(s.paddr <= image.entry < s.end for s in image.segments) or image.entry >= 1 << 32:
        raise BadImage(image.path, "entry point outside the image", f"entry {image.entry:#x}")
    return image
