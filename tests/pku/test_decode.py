"""The container's own decoder of lengths (pku/xgate/decode.c) against Capstone: every opcode behind every prefix and every pair of them.

A wrong length moves the certainty that an address is an instruction, and with it what the container rewrites.
"""

from __future__ import annotations

import ctypes
import itertools
import subprocess
import sys
from typing import TYPE_CHECKING

import capstone
import pytest

from paracell.guest.build import DECLARED, ROOT

from ..model.encodings import LEGACY, REX

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytest.importorskip("ziglang")
PREFIXES = (*LEGACY, *REX)
PAIRS = tuple(bytes(p) for n in range(3) for p in itertools.product(PREFIXES, repeat=n))
# ModRM (and SIB) of each shape; the tail is long enough for any immediate.
SHAPES = tuple(
    bytes([*shape, *range(0x11, 0x1C)])
    for shape in ((0xC1,), (0x00,), (0x05,), (0x04, 0x25), (0x44, 0x08), (0x90,), (0xC8,))
)
OPCODES = tuple(bytes(o) for o in (*([b] for b in range(256)), *([0x0F, b] for b in range(256)))
                if o[0] not in {*PREFIXES, 0xC4, 0xC5, 0x62} and o not in ([0x0F], [0x0F, 0x38], [0x0F, 0x3A]))  # fmt: skip
OTHERS = {"ud0", "ud1"}  # Capstone leaves out their ModRM byte (SDM "UD—Undefined Instruction")


@pytest.fixture(scope="module")
def length(tmp_path_factory: pytest.TempPathFactory) -> Callable[[bytes], int]:
    library: Path = tmp_path_factory.mktemp("decode") / "decode.so"
    includes = next(image.includes for image in DECLARED if image.name == "paracell-kernel.elf")
    subprocess.run(
        [sys.executable, "-m", "ziglang", "cc", "-shared", "-fPIC", "-O1", "-std=gnu11", *(f"-I{i}" for i in includes),
         "-o", str(library), "pku/xgate/decode.c"],
        cwd=ROOT, check=True,
    )  # fmt: skip
    function = ctypes.CDLL(str(library)).instruction_length
    function.argtypes = [ctypes.c_char_p, ctypes.c_uint64, ctypes.POINTER(ctypes.c_uint32)]

    def call(code: bytes) -> int:
        return int(function(code, len(code), ctypes.byref(ctypes.c_uint32())))

    return call


def encodings(prefixes: bytes) -> Iterator[bytes]:
    for opcode in OPCODES:
        for shape in SHAPES:
            yield prefixes + opcode + shape


def wrong(length: Callable[[bytes], int], all_prefixes: tuple[bytes, ...]) -> list[str]:
    md = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
    found = []
    for prefixes in all_prefixes:
        for code in encodings(prefixes):
            ours = length(code[:15])
            theirs = next(((size, name) for _, size, name, _ in md.disasm_lite(code[:15], 0, 1)), None)
            if ours and theirs and ours != theirs[0] and theirs[1] not in OTHERS:
                found.append(f"{code[: theirs[0]].hex(' ')} {theirs[1]} is {theirs[0]} bytes, not {ours}")
    return found


def test_lengths_behind_one_prefix(length: Callable[[bytes], int]) -> None:
    assert wrong(length, tuple(p for p in PAIRS if len(p) < 2)) == []


@pytest.mark.sweep
def test_lengths_behind_two_prefixes(length: Callable[[bytes], int]) -> None:
    assert wrong(length, PAIRS) == []


KNOWN = ("b827000000", "41b827000000", "0f05", "66666648e800000000", "6690", "f30f1efa", "64488b042500000000")


@pytest.mark.parametrize("code", KNOWN)
def test_what_compilers_write_is_known(length: Callable[[bytes], int], code: str) -> None:
    assert length(bytes.fromhex(code).ljust(15, b"\x90")) == len(code) // 2


@pytest.mark.parametrize("code", ["4841b827000000", "482eb827000000", "4866b82700", "66e800000000", "670f05", "0f2205"])
def test_what_is_uncertain(length: Callable[[bytes], int], code: str) -> None:
    assert length(bytes.fromhex(code).ljust(15, b"\x90")) == 0
