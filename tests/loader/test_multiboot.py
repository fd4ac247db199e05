from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paracell.guest.elf import BadImage
from paracell.guest.image import Image, Kind, parse_image
from paracell.guest.multiboot import Boot, Module, plan

from .elves import Load, make_elf, multiboot_header

if TYPE_CHECKING:
    from collections.abc import Sequence

MIB = 1 << 20
RAM = [(0, 64 * MIB)]


def kernel(data: bytes = b"", **changes: int) -> bytes:
    """A 32-bit ELF kernel at 1 MiB with a multiboot header in front."""
    return make_elf(
        Load(vaddr=MIB, data=multiboot_header() + data, memsz=changes.pop("memsz", 8192)),
        bits=32,
        machine=3,
        entry=MIB + 12,
    )


def contents(boot: Boot, size: int = 64 * MIB) -> bytearray:
    """The memory that a boot leaves."""
    memory = bytearray(size)
    for paddr, data in boot.pieces:
        memory[paddr : paddr + len(data)] = data
    return memory


def string(memory: bytearray, at: int) -> str:
    return bytes(memory[at : memory.index(0, at)]).decode()


def test_boot_information() -> None:
    modules = [Module("one", b"A" * 5000), Module("two words", b"B")]
    boot = plan(parse_image(kernel(b"\xf4"), "/somewhere/kernel.elf"), RAM, "key=value", modules)
    memory = contents(boot)
    assert (boot.entry, boot.eax, boot.cr3) == (MIB + 12, 0x2BADB002, None)
    flags, lower, upper, _, cmdline, count, mods = struct.unpack_from("<7I", memory, boot.ebx)
    assert flags & 0b1001001 == 0b1001001
    assert (lower, upper, count) == (0x9FC00 >> 10, 63 * 1024, 2)
    assert string(memory, cmdline) == "kernel.elf key=value"
    for i, (name, data) in enumerate(modules):
        start, end, text, _ = struct.unpack_from("<4I", memory, mods + 16 * i)
        assert start % 4096 == 0
        assert start >= MIB + 8192
        assert bytes(memory[start:end]) == data
        assert string(memory, text) == name
    assert boot.end % 4096 == 0


def memory_map(boot: Boot) -> list[tuple[int, int, int]]:
    memory = contents(boot)
    length, at = struct.unpack_from("<II", memory, boot.ebx + 44)
    entries = []
    for entry in range(at, at + length, 24):
        size, base, span, kind = struct.unpack_from("<IQQI", memory, entry)
        assert size == 20
        entries.append((base, span, kind))
    return entries


@pytest.mark.parametrize("regions", [RAM, [(0, 3 << 30), (4 << 30, MIB)]])
def test_memory_map_covers_ram_and_nothing_else(regions: Sequence[tuple[int, int]]) -> None:
    available = [(b, s) for b, s, kind in memory_map(plan(parse_image(kernel(), "k"), regions)) if kind == 1]
    high = [(b, b + s) for b, s in available if b >= MIB]
    assert high == [(max(base, MIB), base + size) for base, size in regions]
    assert all(b + s <= 0xA0000 for b, s in available if b < MIB)


def test_entry_of_a_linked_high_kernel_is_physical() -> None:
    data = make_elf(
        Load(vaddr=0xC0100000, paddr=MIB, data=multiboot_header() + b"\xf4"), bits=32, machine=3, entry=0xC010000C
    )
    assert parse_image(data, "k").entry == MIB + 12


def test_address_fields_rule_over_elf_headers() -> None:
    at = 4096  # where `Load` puts the data of a page-aligned address
    header = multiboot_header(addresses=(MIB, MIB, MIB + 48, MIB + 100, MIB + 32))
    data = make_elf(Load(vaddr=MIB, data=header + b"\xf4" * 16))
    assert data[at : at + 32] == header
    image = parse_image(data, "k")
    assert (image.kind, image.entry) == (Kind.MULTIBOOT, MIB + 32)
    assert [(s.paddr, bytes(s.data), s.memsz) for s in image.segments] == [(MIB, header + b"\xf4" * 16, 100)]


def test_flat_image_by_address_fields() -> None:
    data = multiboot_header(addresses=(MIB, MIB, 0, 0, MIB + 32)) + b"\xf4" * 4
    assert bytes(parse_image(data, "k").segments[0].data) == data
    with pytest.raises(BadImage, match="gives no addresses"):
        parse_image(multiboot_header() + b"\xf4", "k")


def test_plain_elf64_is_entered_in_long_mode() -> None:
    boot = plan(parse_image(make_elf(Load(vaddr=MIB)), "k"), RAM)
    root = boot.cr3
    assert root is not None
    memory = contents(boot)

    def translate(address: int) -> int:
        top: int = struct.unpack_from("<Q", memory, root + (address >> 39 & 511) * 8)[0]
        leaf: int = struct.unpack_from("<Q", memory, (top & ~0xFFF) + (address >> 30 & 511) * 8)[0]
        assert top & 1
        assert leaf & 0x81 == 0x81
        return leaf & ~0xFFF | address & 0x3FFFFFFF

    for address in (0, MIB, 0x7FFFFFFF, 0xFFFFFFFF):
        assert translate(address) == address
        assert translate(0xFFFF800000000000 + address) == address
    assert translate(0xFFFFFFFF80100000) == MIB


def test_boot_information_goes_elsewhere_when_the_image_is_there() -> None:
    image = parse_image(
        make_elf(Load(vaddr=0x8000, data=multiboot_header(), memsz=0x4000), bits=32, machine=3, entry=0x800C), "k"
    )
    boot = plan(image, RAM, "x")
    assert boot.ebx >= MIB
    assert string(contents(boot), struct.unpack_from("<I", contents(boot), boot.ebx + 16)[0]) == "k x"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "neither multiboot nor Linux nor ELF"),
        (b"MZ" * 100, "neither multiboot nor Linux nor ELF"),
        (make_elf(Load(), bits=32, machine=3), "without a multiboot header"),
        (make_elf(Load(vaddr=MIB, data=multiboot_header(flags=8)), bits=32, machine=3), "multiboot features"),
        (make_elf(Load(vaddr=MIB, data=multiboot_header()), bits=32, machine=3, entry=5), "entry point"),
        (multiboot_header(addresses=(MIB, MIB, MIB + 64, 0, MIB)), "truncated"),
        (multiboot_header(addresses=(MIB, MIB, 0, 0, MIB))[:20], "truncated"),
        (multiboot_header(addresses=(MIB, MIB + 4, 0, 0, MIB)), "absurd"),
        (multiboot_header(addresses=(MIB, MIB, MIB + 32, MIB + 8, MIB)), "absurd"),
        (make_elf(Load(vaddr=MIB, data=multiboot_header()), Load(vaddr=MIB + 4), bits=32, machine=3), "overlapping"),
    ],
)
def test_refusals(data: bytes, message: str) -> None:
    with pytest.raises(BadImage, match=message) as caught:
        parse_image(data, "k")
    assert "\n" not in str(caught.value)


def test_what_does_not_fit_into_memory_is_refused() -> None:
    def fits(image: Image, modules: Sequence[Module] = (), line: str = "") -> Boot:
        return plan(image, RAM, line, modules)

    with pytest.raises(BadImage, match="memory that is not there"):
        fits(parse_image(kernel(memsz=65 * MIB), "k"))
    with pytest.raises(BadImage, match="memory that is not there"):
        fits(parse_image(make_elf(Load(vaddr=0xFFFFFFFF80000000)), "k"))
    with pytest.raises(BadImage, match=r"MiB of memory: big"):
        fits(parse_image(kernel(), "k"), [Module("big", bytes(63 * MIB))])
    assert fits(parse_image(kernel(), "k"), line="x" * MIB).ebx >= MIB


GOOD = kernel(b"\xf4" * 32)


@settings(max_examples=400)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 90) | st.integers(4096, 4096 + 48), st.integers(0, (1 << 32) - 1), st.sampled_from([1, 2, 4])
        ),
        max_size=5,
    ),
    st.integers(0, 11),
)
def test_fuzz_elf(changes: list[tuple[int, int, int]], flags: int) -> None:
    data = bytearray(GOOD)
    if flags > 7:
        data[4096:4108] = multiboot_header(flags=0x10000)
    for at, value, size in changes:
        data[at : at + size] = value.to_bytes(4, "little")[:size]
    try_image(bytes(data))


@given(st.tuples(*[st.integers(0, (1 << 32) - 1) | st.integers(MIB - 64, MIB + 128)] * 5), st.binary(max_size=64))
def test_fuzz_address_fields(addresses: tuple[int, int, int, int, int], tail: bytes) -> None:
    try_image(multiboot_header(addresses=addresses) + tail)


def try_image(data: bytes) -> None:
    """An image is refused by name or lands inside RAM; nothing else can happen."""
    try:
        boot = plan(parse_image(data, "k"), RAM)
    except BadImage:
        return
    assert all(paddr >= 0 and paddr + len(piece) <= 64 * MIB for paddr, piece in boot.pieces)
    assert boot.end <= 64 * MIB
