"""Exception flags of x87 and SSE, FISTTP, FIST and FCOMI, against exact arithmetic (SDM "x87 FPU Floating-Point Exception Handling")."""

from __future__ import annotations

import itertools
import math
import struct
from fractions import Fraction
from typing import TYPE_CHECKING, Final, NamedTuple

import pytest

from paracell.emu.features import DEFAULT
from paracell.emu.registers import RAX, RBX

from .guest import NM, Guest

if TYPE_CHECKING:
    from collections.abc import Iterator

FIRST, RESULT, CONTROL, AREA, TABLE = 0x50000, 0x50020, 0x50040, 0x50100, 0x60000
IE, ZE, OE, UE, PE, SF, C1 = 1, 4, 8, 0x10, 0x20, 0x40, 0x200
CF, PF, AF, ZF, SIGN, OF = 1, 4, 0x10, 0x40, 0x80, 0x800
NEAREST, DOWN, UP, TRUNCATE = range(4)
FINITE: Final = (
    0.0, 1.0, -1.0, 0.5, 1.5, 2.5, -2.5, 3.25, -0.75, 32766.5, 32767.5, 32768.0, -32768.0, -32768.5, -32769.0, 65536.25, 2147483647.0,
    2147483647.5, 2147483648.0, -2147483648.0, -2147483649.0, 2.0**62, 2.0**63, -(2.0**63), 1e30, -1e300, 5e-324,
)  # fmt: skip


class Number(NamedTuple):
    """80 bits, and the value; None for a quiet NaN, a signalling one, or a format that is none, all of which are no numbers."""

    bits: bytes
    value: float | None
    signals: bool = False


def number(value: float) -> Number:
    """Give a number in the double extended format."""
    sign = 0x8000 if math.copysign(1.0, value) < 0 else 0
    if value == 0 or math.isinf(value):
        return Number(struct.pack("<QH", 0 if value == 0 else 1 << 63, sign | (0 if value == 0 else 0x7FFF)), value)
    mantissa, exponent = math.frexp(abs(value))
    return Number(struct.pack("<QH", int(mantissa * (1 << 64)), sign | exponent + 16382), value)


NUMBERS: Final = [
    *map(number, FINITE),
    number(math.inf), number(-math.inf), number(-0.0),
    Number(struct.pack("<QH", 3 << 62, 0x7FFF), None),
    Number(struct.pack("<QH", 1 << 63 | 5, 0x7FFF), None, signals=True),
    Number(struct.pack("<QH", 5, 0x4000), None, signals=True),  # an unnormal: unsupported
]  # fmt: skip


def loop(guest: Guest, code: str, times: int) -> int | None:
    """Run code so many times, with RBX at the table first."""
    back = 0xFE - len(bytes.fromhex(code)) - 2
    return guest.vector(f"{code} ffc9 75{back:02x}", rbx=TABLE, rcx=times)


@pytest.fixture(scope="module")
def guest() -> Iterator[Guest]:
    made = Guest(DEFAULT)
    made.cpu.set_cr4(made.cr4 | 1 << 9 | 1 << 18)
    made.cr4, made.cpu.xcr0 = made.cpu.cr4, 3
    yield made
    made.close()


def stored(value: float | None, size: int, mode: int) -> tuple[int, int]:
    """Give the integer that is stored, and the flags and C1 that go with it."""
    indefinite = 1 << 8 * size - 1
    if value is None or math.isinf(value):
        return indefinite, IE
    exact = Fraction(value)
    result = (round, math.floor, math.ceil, math.trunc)[mode](exact)
    if not -indefinite <= result < indefinite:
        return indefinite, IE
    up = C1 if abs(result) > abs(exact) else 0
    return result & 2 * indefinite - 1, 0 if result == exact else PE | up


FISTS: Final = {
    "fisttp m16": ("df0b", 2, True), "fisttp m32": ("db0b", 4, True), "fisttp m64": ("dd0b", 8, True),
    "fist m16": ("df13", 2, False), "fistp m16": ("df1b", 2, False),
    "fist m32": ("db13", 4, False), "fistp m32": ("db1b", 4, False), "fistp m64": ("df3b", 8, False),
}  # fmt: skip


@pytest.mark.parametrize("name", FISTS)
def test_integers_are_stored_with_their_flags(guest: Guest, name: str) -> None:
    code, size, truncates = FISTS[name]
    in_python = truncates or size == 2  # TCG leaves C1 alone
    cases = list(itertools.product(NUMBERS, range(4)))
    table = b"".join(n.bits + struct.pack("<H", 0x37F | mode << 10) + b"\x55" * 20 for n, mode in cases)
    guest.memory.write(TABLE, table)
    # fninit; fldcw [rbx + 10]; fld1; fld tbyte [rbx]; add rbx, 12; the instruction; fnstsw ax; mov [rbx + 8], ax; add rbx, 20; dec ecx; jnz
    assert loop(guest, f"dbe3 d96b0a d9e8 db2b 4883c30c {code} dfe0 66894308 4883c314", len(cases)) is None
    wrong = []
    for (number_, mode), at in zip(cases, range(TABLE, TABLE + 32 * len(cases), 32), strict=True):
        stored_, status = guest.memory.read(at + 12, 8), int.from_bytes(guest.memory.read(at + 20, 2), "little")
        result, flags = stored(number_.value, size, TRUNCATE if truncates else mode)
        mask = 0xFF | (C1 if in_python else 0)
        flags &= mask & (~C1 if truncates else -1)
        top = 6 if name.startswith("fist ") else 7
        if (stored_, status & mask, status >> 11 & 7) != (
            result.to_bytes(size, "little") + b"\x55" * (8 - size),
            flags,
            top,
        ):
            wrong.append(f"{number_.value} RC {mode}: {stored_.hex()} status {status:#x}, not {result:#x} {flags:#x}")
    assert not wrong, "\n".join(wrong)


def test_fisttp_from_an_empty_register(guest: Guest) -> None:
    assert guest.vector("dbe3 db0b dfe0", rbx=RESULT) is None
    assert guest.cpu.q[RAX] & 0x7F == IE | SF
    assert guest.memory.read(RESULT, 4) == bytes([0, 0, 0, 0x80])


def test_fisttp_that_cannot_store_changes_nothing(guest: Guest) -> None:
    assert guest.vector("dbe3 d9eb db0b", rbx=0x400000) == 14
    assert guest.vector("dfe0") is None
    assert guest.cpu.q[RAX] == 7 << 11


def compared(a: Number, b: Number, *, unordered: bool) -> tuple[int, int]:
    """Give ZF, PF and CF, and IE."""
    if a.value is None or b.value is None:
        return ZF | PF | CF, IE if not unordered or a.signals or b.signals else 0
    return (CF if a.value < b.value else ZF if a.value == b.value else 0), 0


@pytest.mark.parametrize(
    ("code", "unordered"),
    [("dbf1", False), ("dff1", False), ("dbe9", True), ("dfe9", True)],
    ids=["fcomi", "fcomip", "fucomi", "fucomip"],
)
@pytest.mark.parametrize(
    "before", ["68d7080000 9d", "6802000000 9d", "b8ffffff7f 83c001", "31c0 83f801", "c1e007 a801"]
)
def test_fcomi(guest: Guest, code: str, unordered: bool, before: str) -> None:
    """`before` sets RFLAGS by POPF, an addition that overflows, a comparison, a shift and a test."""
    cases = list(itertools.product([NUMBERS[i] for i in (0, 1, 2, 23, -1, -2, -3, -4, -6)], repeat=2))
    guest.memory.write(TABLE, b"".join(b.bits + a.bits + bytes(12) for a, b in cases))
    # fninit; fld tbyte [rbx]; fld tbyte [rbx + 10]; …; the instruction; pushf; pop [rbx + 20]; fnstsw [rbx + 28]; add rbx, 32
    assert loop(guest, f"dbe3 db2b db6b0a {before} {code} 9c 8f4314 dd7b1c 4883c320", len(cases)) is None
    wrong = []
    for (a, b), at in zip(cases, range(TABLE, TABLE + 32 * len(cases), 32), strict=True):
        rflags, status = struct.unpack("<QH", guest.memory.read(at + 20, 10))
        if (rflags & (CF | PF | AF | ZF | SIGN | OF), status & 0x7F) != compared(a, b, unordered=unordered):
            wrong.append(f"{a.value} and {b.value}: flags {rflags:#x} status {status:#x}")
    assert not wrong, "\n".join(wrong)


X87_FLAGS: Final = {
    "1 / 3": ("d9e8 d9e8 d9e8 d9e8 dec1 dec1 def9", PE), "1 / 0": ("d9e8 d9ee def9", ZE), "∞ - ∞": ("db2c2510000500 d9c0 dee9", IE),
    "square root of -1": ("d9e8 d9e0 d9fa", IE), "1 + 1": ("d9e8 d9e8 dec1", 0), "rounded": ("d9eb d9fc", PE),
    "too big for a double": ("d9e8 db2c2500000500 d9c9 d9fd dd1b", OE | PE),  # 1 times 2 to the power of the number, fstp m64
}  # fmt: skip
X87_READERS: Final = {
    "fnstsw ax": "dfe0", "fnstsw m": "dd3c2500010500 668b042500010500", "fnstenv": "d9342500010500 668b042504010500",
    "fnsave": "dd342500010500 668b042504010500", "fxsave": "0fae042500010500 668b042502010500",
    "fxsave64": "480fae042500010500 668b042502010500",
    "xsave": "b803000000 31d2 0fae242500010500 668b042502010500",
}  # fmt: skip


@pytest.mark.parametrize("reader", X87_READERS)
@pytest.mark.parametrize("name", X87_FLAGS)
def test_what_x87_raises_is_in_the_status_word(guest: Guest, name: str, reader: str) -> None:
    program, flags = X87_FLAGS[name]
    guest.memory.write(FIRST, number(5000.0).bits)
    guest.memory.write(FIRST + 16, number(math.inf).bits)
    read = X87_READERS[reader]
    assert guest.vector(f"dbe3 {program} {read}", rbx=RESULT) is None
    assert guest.cpu.q[RAX] & 0x3F == flags
    guest.memory.write(AREA, bytes(512))
    assert guest.vector(f"dbe3 {program} dbe2 {read}", rbx=RESULT) is None  # fnclex
    assert guest.cpu.q[RAX] & 0x3F == 0
    assert guest.vector(f"dbe3 {program} dbe3 {read}", rbx=RESULT) is None  # fninit
    assert guest.cpu.q[RAX] & 0x3F == 0


SSE_FLAGS: Final = {
    "1 / 3": ("f20f5ec1", 1.0, 3.0, PE), "1 / 0": ("f20f5ec1", 1.0, 0.0, ZE), "0 / 0": ("f20f5ec1", 0.0, 0.0, IE),
    "huge * huge": ("f20f59c1", 1e300, 1e300, OE | PE), "tiny * tiny": ("f20f59c1", 1e-300, 1e-300, UE | PE),
    "1 + 1": ("f20f58c1", 1.0, 1.0, 0),
    "compared with a NaN": ("660f2fc1", math.nan, 1.0, IE), "2.5 to an integer": ("f20f2dc8", 2.5, 0.0, PE),
}  # fmt: skip
SSE_READERS: Final = {
    "stmxcsr": "0fae1c2500010500 8b042500010500", "fxsave": "0fae042500010500 8b042518010500",
    "xsave": "b803000000 31d2 0fae242500010500 8b042518010500",
}  # fmt: skip


@pytest.mark.parametrize("reader", SSE_READERS)
@pytest.mark.parametrize("name", SSE_FLAGS)
def test_what_sse_raises_is_in_mxcsr(guest: Guest, name: str, reader: str) -> None:
    operation, a, b, flags = SSE_FLAGS[name]
    guest.memory.write(FIRST, struct.pack("<dd", a, b))
    guest.memory.write(CONTROL, struct.pack("<I", 0x1F80))
    load, read = "0fae142540000500 f20f10042500000500 f20f100c2508000500", SSE_READERS[reader]
    assert guest.vector(f"{load} {operation} {read}") is None
    assert guest.cpu.q[RAX] & 0xFFFFFFFF == 0x1F80 | flags
    assert guest.vector(f"{load} {operation} 0fae142540000500 {read}") is None  # ldmxcsr takes them back
    assert guest.cpu.q[RAX] & 0xFFFFFFFF == 0x1F80


def test_another_state_has_flags_of_its_own(guest: Guest) -> None:
    """As a kernel switches between two programs: FXSAVE, FXRSTOR."""
    guest.memory.write(AREA + 0x400, bytes(512))
    # fninit; the square root of -1; fxsave [AREA]; fninit; fxsave [AREA + 0x400]; fxrstor [AREA]; 1 / 0; fxrstor [AREA + 0x400]; fnstsw ax
    program = "dbe3 d9e8 d9e0 d9fa 0fae042500010500 dbe3 0fae042500050500 0fae0c2500010500 d9e8 d9ee def9 0fae0c2500050500 dfe0"
    assert guest.vector(program) is None
    assert guest.cpu.q[RAX] & 0x3F == 0
    assert guest.vector("0fae0c2500010500 dfe0") is None
    assert guest.cpu.q[RAX] & 0x3F == IE


def test_other_code_where_a_flag_was_read(guest: Guest) -> None:
    """The hook stands on the address."""
    assert guest.vector("dbe3") is None
    for code, expected in (("dfe0", 0), ("89c8", 7), ("dfe0", 0), ("db0b90", 5), ("dbe3", 5)):
        assert guest.vector("90" + code + "90", rax=5, rcx=7, rbx=RESULT) is None
        assert guest.cpu.q[RAX] & 0x3F == expected, code
    assert guest.cpu.q[RBX] == RESULT


@pytest.mark.parametrize("bit", [1 << 2, 1 << 3])
def test_fisttp_where_there_is_no_x87(guest: Guest, bit: int) -> None:
    guest.cpu.set_cr0(guest.cpu.cr0 | bit)
    try:
        assert guest.vector("db0b", rbx=RESULT) == NM
    finally:
        guest.cpu.set_cr0(guest.cpu.cr0 & ~bit)
