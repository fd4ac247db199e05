"""The scanner against a plain reading of the opcode map, and against a disassembler."""

from __future__ import annotations

from itertools import pairwise

import capstone
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paracell.pku.scan import Hit, scan, scan_pages

# Mostly bytes that matter, so that sequences and near misses are frequent.
CODE = st.lists(
    st.one_of(
        st.sampled_from([0x0F, 0x0F, 0x01, 0xEF, 0xAE, 0xC7, 0x28, 0x6C, 0xAF, 0xE8, 0x18, 0x48, 0x66, 0xF3]),
        st.integers(0, 255),
    ),
    max_size=64,
).map(bytes)
BASE = 0x7FFF_F000


def plain(code: bytes) -> list[Hit]:
    """Read the opcode map at every offset."""
    hits = []
    for i in range(len(code) - 2):
        first, second, modrm = code[i : i + 3]
        memory, digit = modrm >> 6 != 3, modrm >> 3 & 7
        if first == 0x0F and second == 0x01 and modrm == 0xEF:
            hits.append(Hit(BASE + i, "wrpkru"))
        elif first == 0x0F and second == 0xAE and memory and digit == 5:
            hits.append(Hit(BASE + i, "xrstor"))
        elif first == 0x0F and second == 0xC7 and memory and digit == 3:
            hits.append(Hit(BASE + i, "xrstors"))
    return hits


@settings(max_examples=500)
@given(CODE)
def test_every_offset(code: bytes) -> None:
    assert list(scan(BASE, code)) == plain(code)


def test_every_third_byte() -> None:
    for second in (0x01, 0xAE, 0xC7):
        for modrm in range(256):
            code = bytes([0x90, 0x0F, second, modrm])
            assert list(scan(BASE, code)) == plain(code)


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("0f01ef", ["wrpkru"]),
        ("480fae29", ["xrstor"]),  # xrstor64 (%rcx)
        ("0faeac2400100000", ["xrstor"]),
        ("0faee8", []),  # lfence
        ("0fae21", []),  # xsave (%rcx)
        ("0f01ee", []),  # rdpkru
        ("0fc719", ["xrstors"]),
        ("0fc709", []),  # cmpxchg8b (%rcx)
        ("b80f01ef90", ["wrpkru"]),  # inside a mov's immediate
        ("0f0f01ef", ["wrpkru"]),
    ],
)
def test_what_is_dangerous_and_what_only_looks_so(code: str, expected: list[str]) -> None:
    assert [hit.instruction for hit in scan(0, bytes.fromhex(code))] == expected


@settings(max_examples=500)
@given(CODE)
def test_nothing_that_a_disassembler_sees_is_missed(code: bytes) -> None:
    hits = {hit.address - BASE for hit in scan(BASE, code)}
    decoder = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
    for start in range(len(code)):
        insn = next(decoder.disasm(code[start : start + 15], 0, 1), None)
        if insn is not None and insn.mnemonic.split()[-1] in {"wrpkru", "xrstor", "xrstor64", "xrstors", "xrstors64"}:
            assert hits & set(range(start, start + insn.size))


@given(CODE, st.sets(st.integers(0, 64)))
def test_borders_between_neighbours_hide_nothing(code: bytes, cuts: set[int]) -> None:
    edges = [0, *sorted(cut for cut in cuts if cut < len(code)), len(code)]
    pages = [(BASE + a, code[a:b]) for a, b in pairwise(edges)]
    assert list(scan_pages(pages)) == plain(code)


def test_a_sequence_may_span_three_pages() -> None:
    assert list(scan_pages([(0, b"\x0f"), (1, b"\x01"), (2, b"\xef")])) == [Hit(0, "wrpkru")]


def test_pages_apart_are_no_neighbours() -> None:
    assert list(scan_pages([(0x1000, b"\x90\x0f\x01"), (0x2000, b"\xef")])) == []
    assert list(scan_pages([(0x1000, b"\x90\x0f\x01"), (0x1003, b"\xef")])) == [Hit(0x1001, "wrpkru")]
