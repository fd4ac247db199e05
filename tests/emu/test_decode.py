"""Decoding without Capstone, against Capstone: what Python runs, and what a search for sensitive instructions passes over."""

from __future__ import annotations

import itertools
import random
from typing import TYPE_CHECKING

import pytest

from paracell.emu import decode, sensitive
from paracell.emu.system_decode import decode_system

if TYPE_CHECKING:
    from collections.abc import Iterator

OPCODES = [bytes(o) for o in (*([b] for b in range(256)), *([0x0F, b] for b in range(256)))]
REX = [b"", b"\x40", b"\x4f"]
TAIL = bytes.fromhex("f1e2d3c4b5a69788796a5b4c3d2e1f")  # immediates and displacements with either sign
SINGLE = [b"", *(bytes([b]) for b in (0x66, 0x67, 0x2E, 0x64, 0xF0, 0xF2, 0xF3))]
SEVERAL = [
    bytes.fromhex(p)
    for p in ["662e", "2e66", "6666", "6666662e", "6466", "3e65", "f366", "66f3", "64f3", "f3f3", "f0f2"]
]
FIELDS = [shape | reg << 3 for reg in range(8) for shape in (0x05, 0x44, 0xC3)]  # ModRM bytes
VMX = [
    bytes.fromhex(code)
    for code in ("0fc7", "660fc7", "66480fc7", "f30fc7", "f3410fc7", "660f3880", "660f3881", "660f3882", "66450f3880")
]
PRIVILEGES = [{"cpl": cpl, "iopl": iopl, "popf": popf} for cpl in (0, 3) for iopl in (0, 3) for popf in (False, True)]


def with_modrm(before: bytes, opcode: bytes) -> Iterator[bytes]:
    for modrm in range(256):
        sibs = (b"\x24", b"\x65", b"\xd5", b"\x0c") if modrm < 0xC0 and modrm & 7 == 4 else (b"",)
        for sib in sibs:
            yield (before + opcode + bytes([modrm]) + sib + TAIL)[:15]


@pytest.mark.parametrize("mode", [64, 32, 16])
def test_what_decode_system_knows_is_what_capstone_says(mode: int) -> None:
    befores = REX if mode == 64 else [b"", b"\x66"]
    known, seen = set(), set()
    for before, opcode in itertools.product(befores, [*OPCODES, b"\xf3\x6e", b"\xf3\x6c", *VMX]):
        for code in with_modrm(before, opcode):
            insn = decode_system(code, mode)
            if insn is not None and insn.bytes not in seen:
                seen.add(insn.bytes)
                assert insn == decode._capstone_decode(code, mode), code.hex(" ")
                assert decode_system(code[: insn.length - 1], mode) != insn
                known.add(insn.mnemonic)
    assert {"mov_to_cr", "lgdt", "outs", "ins", "mov"} <= known or mode == 16
    assert {
        "vmread",
        "vmwrite",
        "vmxon",
        "vmclear",
        "vmptrld",
        "vmptrst",
        "invept",
        "invvpid",
        "invpcid",
    } <= known or mode != 64


def by_capstone(code: bytes, mode: int, wanted: frozenset[str]) -> list[int]:
    return list(sensitive._sites_by_capstone(code, 0, mode, wanted, in_8086=False))


def wanted(mode: int, *, cpl: int, iopl: int, popf: bool) -> frozenset[str]:
    names = sensitive._ALWAYS
    if cpl > iopl:
        names |= sensitive._PORT_ACCESS
    if cpl == 0 or iopl or popf:
        names |= sensitive._POPF
    if iopl:
        names |= sensitive._PUSHF
    return names | (sensitive._NARROW if mode == 64 else sensitive._IRET)


def check(code: bytes, mode: int, privilege: dict[str, int]) -> None:
    names = wanted(mode, **privilege)  # type: ignore[arg-type]
    found = by_capstone(code, mode, names)
    assert list(sensitive._sites(code, 0, mode, names, len(code))) == found, (code.hex(" "), mode, privilege)
    # The regular expression that spares most blocks the search overlooks none.
    assert list(sensitive.sensitive_sites(code, 0, mode, **privilege)) in ([], found)  # type: ignore[arg-type]


@pytest.mark.parametrize("mode", [64, 32])
@pytest.mark.parametrize("before", [*SINGLE, SEVERAL], ids=lambda b: b.hex() if isinstance(b, bytes) else "several")
def test_the_search_finds_what_capstone_finds(mode: int, before: bytes | list[bytes]) -> None:
    chance = random.Random(mode)
    several = isinstance(before, list)
    befores = before if isinstance(before, list) else [before]
    for prefixes, rex, opcode in itertools.product(befores, (b"", b"\x41", b"\x4c")[: 3 if mode == 64 else 1], OPCODES):
        for modrm in chance.sample(FIELDS, 1) if several or rex else FIELDS:
            rest = bytes(chance.choices((0x25, 0x90, 0xF0, 0x9D, 0x11), k=9))
            check(prefixes + rex + opcode + bytes([modrm]) + rest + b"\x90\x90", mode, chance.choice(PRIVILEGES))


@pytest.mark.parametrize("mode", [64, 32, 16])
def test_the_search_finds_what_capstone_finds_in_any_bytes(mode: int) -> None:
    chance = random.Random(mode)
    for _ in range(3000):
        check(chance.randbytes(24), mode, chance.choice(PRIVILEGES))
