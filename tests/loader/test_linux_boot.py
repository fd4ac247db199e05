"""Linux's 64-bit boot protocol and PVH, against what Linux's boot.rst and Xen's start_info.h promise."""

from __future__ import annotations

import struct
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paracell.guest.elf import BadImage
from paracell.guest.image import Image, Kind, parse_image
from paracell.guest.loader import plan
from paracell.guest.multiboot import Boot, Module

from .elves import Load, make_elf

MIB = 1 << 20
RAM = [(0, 64 * MIB)]
PREFERRED, INIT_SIZE = 16 * MIB, 2 * MIB


def bzimage(code: bytes = b"\xf4" * 0x300, **changes: int) -> bytes:
    """A kernel with one setup sector and a header of protocol 2.15; `changes` are its fields by offset, as ``at_211=0``."""
    image = bytearray(1024)
    fields = {
        (0x1F1, "<B"): 1, (0x1F4, "<I"): -(-len(code) // 16), (0x1FE, "<H"): 0xAA55, (0x200, "<H"): 0x6AEB,
        (0x206, "<H"): 0x20F, (0x211, "<B"): 1, (0x22C, "<I"): 0x7FFFFFFF, (0x230, "<I"): 0x200000,
        (0x236, "<H"): 1, (0x238, "<I"): 255, (0x258, "<Q"): PREFERRED, (0x260, "<I"): INIT_SIZE,
    }  # fmt: skip
    image[0x202:0x206] = b"HdrS"
    for (at, form), value in fields.items():
        struct.pack_into(form, image, at, changes.get(f"at_{at:x}", value))
    return bytes(image) + code


def contents(boot: Boot) -> bytearray:
    memory = bytearray(64 * MIB)
    for paddr, data in boot.pieces:
        memory[paddr : paddr + len(data)] = data
    return memory


def string(memory: bytearray, at: int) -> str:
    return bytes(memory[at : memory.index(0, at)]).decode()


def test_the_zero_page() -> None:
    initrd = bytes(range(256)) * 20
    data = bzimage()
    boot = plan(parse_image(data, "vmlinuz"), RAM, "console=ttyS0 x", [Module("initrd", initrd)], rsdp=0xF0000)
    memory = contents(boot)
    page = memory[boot.esi : boot.esi + 4096]
    assert boot.entry == PREFERRED + 0x200
    assert bytes(memory[PREFERRED : PREFERRED + 0x300]) == data[1024:]
    assert page[0x1F1:0x210] == data[0x1F1:0x210]  # the kernel's own header
    assert page[0x210] == 0xFF  # type_of_loader: undefined
    line, at, size = (struct.unpack_from("<I", page, where)[0] for where in (0x228, 0x218, 0x21C))
    assert string(memory, line) == "console=ttyS0 x"
    assert (at % 4096, size, bytes(memory[at : at + size])) == (0, len(initrd), initrd)
    assert at >= PREFERRED + INIT_SIZE
    assert struct.unpack_from("<Q", page, 0x70) == (0xF0000,)
    entries = [struct.unpack_from("<QQI", page, 0x2D0 + 20 * n) for n in range(page[0x1E8])]
    assert (0, 0x9FC00, 1) in entries
    assert (MIB, 63 * MIB, 1) in entries
    assert all(b + s <= MIB for b, s, kind in entries if kind != 1)


def test_the_state_at_the_entry() -> None:
    """Identity-mapped below 4 GiB, and the two descriptors that the protocol names."""
    boot = plan(parse_image(bzimage(), "vmlinuz"), RAM)
    memory = contents(boot)
    assert boot.cr3 is not None

    def translate(gva: int) -> int:
        table = boot.cr3 or 0
        for shift in (39, 30, 21):
            (entry,) = struct.unpack_from("<Q", memory, table + 8 * (gva >> shift & 511))
            assert entry & 3 == 3
            if entry & 0x80:
                return int(entry & ~0xFFF & (1 << 52) - 1 | gva & (1 << shift) - 1)
            table = entry & ~0xFFF
        raise AssertionError("no page")

    for gva in (0, boot.entry, boot.esi, 0xFEE00000, 0xFFFFFFFF):
        assert translate(gva) == gva
    assert boot.gdt is not None
    code, data = struct.unpack_from("<2Q", memory, boot.gdt[0] + 0x10)
    assert (code >> 40 & 0xFF, code >> 53 & 1, data >> 40 & 0xFF) == (0x9B, 1, 0x93)  # execute/read; L; read/write
    assert boot.gdt[1] >= 0x20


def test_the_initrd_stays_where_the_kernel_can_reach_it() -> None:
    boot = plan(parse_image(bzimage(at_22c=32 * MIB - 1), "vmlinuz"), RAM, "", [Module("initrd", bytes(5000))])
    assert struct.unpack_from("<I", contents(boot), boot.esi + 0x218) == (32 * MIB - 2 * 4096,)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (bzimage(at_206=0x20B), r"without a 64-bit entry \(boot protocol 2.11\)"),
        (bzimage(at_236=0), "without a 64-bit entry"),
        (bzimage(at_211=0), "zImage"),
        (bzimage()[:0x240], "truncated Linux kernel"),
        (bzimage()[:1100], "truncated Linux kernel"),
        (bzimage(at_1f4=1 << 20), "truncated Linux kernel"),
        (bzimage(at_1f1=200), "truncated Linux kernel"),
        (bzimage(at_258=0x8000), "absurd address"),
    ],
)
def test_refusals(data: bytes, message: str) -> None:
    with pytest.raises(BadImage, match=message) as caught:
        parse_image(data, "k")
    assert caught.value.path == "k"


def test_what_does_not_fit_is_refused() -> None:
    image = parse_image(bzimage(), "vmlinuz")

    def refused(message: str, image: Image = image, line: str = "", *modules: Module) -> None:
        with pytest.raises(BadImage, match=message):
            plan(image, RAM, line, modules)

    refused("needs memory that is not there", parse_image(bzimage(at_260=60 * MIB), "vmlinuz"))
    refused("takes a command line of 255 bytes", line="x" * 256)
    refused("does not fit into 64 MiB", image, "", Module("big", bytes(47 * MIB)))
    refused("one initrd", image, "", Module("a", b""), Module("b", b""))


@settings(max_examples=300)
@given(st.lists(st.tuples(st.integers(0x1F1, 0x268), st.integers(0, 255)), max_size=6), st.integers(0, 0x700))
def test_fuzz_setup_header(changes: list[tuple[int, int]], length: int) -> None:
    data = bytearray(bzimage())
    for at, value in changes:
        data[at] = value
    try:
        boot = plan(parse_image(bytes(data[:length]), "k"), RAM, "x", [Module("i", b"abc")])
    except BadImage:
        return
    spans = sorted((p.paddr, p.paddr + len(p.data)) for p in boot.pieces)
    assert all(a[1] <= b[0] for a, b in pairwise(spans))
    assert spans[-1][1] <= 64 * MIB


def note(owner: bytes, kind: int, value: bytes) -> bytes:
    owner += b"\0"
    return struct.pack("<III", len(owner), len(value), kind) + owner.ljust(-(-len(owner) // 4) * 4, b"\0") + value


def pvh(notes: bytes, bits: int = 64) -> bytes:
    return make_elf(Load(vaddr=MIB), Load(vaddr=0, data=notes, kind=4), bits=bits, machine=62 if bits == 64 else 3)


@pytest.mark.parametrize("width", [4, 8])
@pytest.mark.parametrize("bits", [32, 64])
def test_pvh(width: int, bits: int) -> None:
    notes = (
        note(b"GNU", 3, bytes(20))
        + note(b"Xen", 6, b"linux\0\0\0")
        + note(b"Xen", 18, (MIB + 4).to_bytes(width, "little"))
    )
    image = parse_image(pvh(notes, bits), "vmlinux")
    assert (image.kind, image.entry, image.linux) == (Kind.PVH, MIB + 4, True)
    boot = plan(image, RAM, "key=value", [Module("initrd", b"A" * 5000), Module("two", b"B")], rsdp=0xF0010)
    memory = contents(boot)
    assert (boot.entry, boot.cr3) == (MIB + 4, None)
    magic, version, _, count, modules, line, rsdp, table, entries, _ = struct.unpack_from("<4I4QII", memory, boot.ebx)
    assert (magic, version, count, rsdp) == (0x336EC578, 1, 2, 0xF0010)
    assert string(memory, line) == "key=value"
    found = [struct.unpack_from("<4Q", memory, modules + 32 * n) for n in range(count)]
    assert [bytes(memory[a : a + size]) for a, size, _, _ in found] == [b"A" * 5000, b"B"]
    assert [string(memory, text) for _, _, text, _ in found] == ["initrd", "two"]
    assert all(a % 4096 == 0 for a, *_ in found)
    ram = [struct.unpack_from("<QQII", memory, table + 24 * n) for n in range(entries)]
    assert (MIB, 63 * MIB, 1, 0) in ram


@pytest.mark.parametrize(
    ("notes", "kind"),
    [
        (note(b"GNU", 18, bytes(4)), Kind.ELF64),  # somebody else's
        (note(b"Xen", 18, bytes(2)), Kind.ELF64),  # no address
        (note(b"Xen", 18, (MIB).to_bytes(8, "little"))[:-1], Kind.ELF64),  # cut
        (struct.pack("<III", 1 << 31, 1 << 31, 18), Kind.ELF64),
    ],
)
def test_notes_that_name_no_entry(notes: bytes, kind: Kind) -> None:
    assert parse_image(pvh(notes), "k").kind is kind


def test_a_pvh_entry_outside_the_image_is_refused() -> None:
    with pytest.raises(BadImage, match="entry point outside the image"):
        parse_image(pvh(note(b"Xen", 18, bytes(8))), "k")
