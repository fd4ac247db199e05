from __future__ import annotations

import io
import struct
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection
from hypothesis import given, settings
from hypothesis import strategies as st

from paracell.guest.elf import BadImage, parse
from paracell.guest.program import check_program

from .elves import BASE, Load, make_elf

MEMORY = 64 << 20


def refuse(data: bytes, memory: int = MEMORY) -> str:
    with pytest.raises(BadImage) as caught:
        check_program(data, "prog", memory)
    assert "prog" in str(caught.value)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_segments_of_a_good_program() -> None:
    text, data = Load(data=b"code"), Load(vaddr=BASE + 0x2010, data=b"data", memsz=100, flags=6)
    elf = check_program(make_elf(text, data), "prog", MEMORY)
    assert [(s.vaddr, bytes(s.data), s.memsz, s.flags) for s in elf.segments] == [
        (BASE, b"code", 4, 5),
        (BASE + 0x2010, b"data", 100, 6),
    ]
    assert elf.entry == BASE


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not an ELF"),
        (b"#!/bin/sh\n", "not an ELF"),
        (b"\x7fELF", "truncated"),
        (make_elf(Load())[:40], "truncated"),
        (make_elf(Load())[:100], "truncated"),
        (make_elf(Load())[:-1], "truncated"),
        (make_elf(Load(), bits=32, machine=3), "32-bit"),
        (make_elf(Load(), machine=183), "not x86-64"),
        (make_elf(Load(), machine=3), "not x86-64"),
        (make_elf(Load(), kind=1), "not an executable"),
        (make_elf(Load(), Load(kind=3)), "absurd name of a dynamic loader"),
        (make_elf(), "nothing to load"),
        (make_elf(Load(kind=4)), "nothing to load"),
        (make_elf(Load(), Load(vaddr=BASE + 32)), "overlapping"),
        (make_elf(Load(vaddr=0)), "outside user space"),
        (make_elf(Load(vaddr=0x7FFF_FFFF_E000, memsz=0x3000)), "outside user space"),
        (make_elf(Load(vaddr=0xFFFF_8000_0000_0000)), "outside user space"),
        (make_elf(Load(vaddr=(1 << 64) - 4096, memsz=8192)), "past the end"),
        (make_elf(Load(memsz=8)), "absurd segment"),
        (make_elf(Load(memsz=MEMORY + 1)), "needs 64 MiB"),
        (make_elf(Load(memsz=1 << 40)), "needs 1048576 MiB"),
    ],
)
def test_refusals(data: bytes, message: str) -> None:
    assert message in refuse(data)


def test_big_endian_and_odd_program_headers() -> None:
    good = bytearray(make_elf(Load()))
    assert "big-endian" in refuse(bytes(good[:5] + b"\2" + good[6:]))
    struct.pack_into("<H", good, 54, 32)
    assert "absurd program headers" in refuse(bytes(good))


def test_file_offset_must_fit_the_address() -> None:
    shifted = bytearray(make_elf(Load(data=bytes(5000))))
    struct.pack_into("<Q", shifted, 64 + 8, 64)  # p_offset
    assert "do not agree" in refuse(bytes(shifted))


@pytest.mark.parametrize("bits", [32, 64])
def test_symbols_are_sorted_and_agree_with_pyelftools(bits: int) -> None:
    data = make_elf(
        Load(), bits=bits, machine=3 if bits == 32 else 62, symbols=(("later", BASE + 8, 4), ("main", BASE, 8))
    )
    ours = parse(data, "prog").symbols()
    assert [(s.name, s.address, s.size) for s in ours] == [("main", BASE, 8), ("later", BASE + 8, 4)]
    theirs = next(ELFFile(io.BytesIO(data)).iter_sections("SHT_SYMTAB"))
    assert isinstance(theirs, SymbolTableSection)
    assert {(s.name, s["st_value"]) for s in theirs.iter_symbols() if s.name} == {(s.name, s.address) for s in ours}


@pytest.mark.skipif(not Path("/bin/busybox").exists(), reason="no static busybox on this computer")
def test_a_real_program_as_pyelftools_sees_it() -> None:
    data = Path("/bin/busybox").read_bytes()
    theirs = [s.header for s in ELFFile(io.BytesIO(data)).iter_segments() if s["p_type"] == "PT_LOAD"]
    ours = parse(data, "busybox").segments
    assert [(s.vaddr, s.memsz, s.offset, len(s.data)) for s in ours] == [
        (h["p_vaddr"], h["p_memsz"], h["p_offset"], h["p_filesz"]) for h in theirs
    ]


GOOD = make_elf(Load(), Load(vaddr=BASE + 0x3000, flags=6), symbols=(("main", BASE, 8),))
WORD = st.sampled_from(
    [0, 1, 2, 0x38, 0x40, 0xFF, 0xFFFF, 1 << 31, (1 << 63) - 1, 1 << 63, (1 << 64) - 1]
) | st.integers(0, 1 << 64)


@given(st.binary(max_size=256))
def test_fuzz_bytes(tail: bytes) -> None:
    for head in (b"", b"\x7fELF", GOOD[:16], GOOD[:64]):
        try_program(head + tail)


@settings(max_examples=400)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 180) | st.integers(len(GOOD) - 200, len(GOOD) - 8), WORD, st.sampled_from([1, 2, 4, 8])
        ),
        max_size=6,
    )
)
def test_fuzz_fields(changes: list[tuple[int, int, int]]) -> None:
    data = bytearray(GOOD)
    for at, value, size in changes:
        data[at : at + size] = (value % (1 << 64)).to_bytes(8, "little")[:size]
    try_program(bytes(data))


@given(st.integers(0, len(GOOD)))
def test_fuzz_truncation(length: int) -> None:
    try_program(GOOD[:length])


def try_program(data: bytes) -> None:
    """A program is refused by name or comes out within bounds; nothing else can happen."""
    try:
        elf = check_program(data, "prog", MEMORY)
    except BadImage:
        return
    assert sum(s.memsz for s in elf.segments) <= MEMORY
    assert all(len(s.data) <= s.memsz for s in elf.segments)
    assert all(s.address >= 0 for s in elf.symbols())
