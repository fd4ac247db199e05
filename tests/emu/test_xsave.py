"""The XSAVE area and the instructions that read and write it (SDM volume 1, "Managing State Using the XSAVE Feature Set")."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

import pytest

from paracell.emu.features import DEFAULT
from paracell.emu.registers import RBX, RDX

from .guest import GP, NM, UD, Guest

if TYPE_CHECKING:
    from collections.abc import Iterator

AREA, VALUES, SIZE = 0x40000, 0x48000, 0xA88
X87, SSE, PKRU, ALL = 1, 2, 1 << 9, 0x203
XSAVE, XRSTOR, XSAVEOPT, XSAVEC, XSAVES, XRSTORS = (
    "480fae23", "480fae2b", "480fae33", "480fc723", "480fc72b", "480fc71b",
)  # fmt: skip
COMPACT: Final = 1 << 63
XMM3, XMM9 = bytes(range(16)), bytes(range(100, 116))
ONE: Final = bytes(7) + b"\x80\xff\x3f"  # 1.0 in 80 bits
MASK: Final = 0xFFFF
SET: Final = (
    "dbe3" "d9e8" "d92c2500850400"  # fninit; fld1; fldcw [VALUES + 0x500]
    "f30f6f1c2500800400" "f3440f6f0c2510800400"  # movdqu xmm3, [VALUES]; movdqu xmm9, [VALUES + 16]
    "0fae142504850400"  # ldmxcsr [VALUES + 0x504]
)  # fmt: skip


class Extended(Guest):
    def __init__(self) -> None:
        super().__init__(DEFAULT)
        self.cr4 |= 1 << 9  # OSFXSR: SSE instructions
        self.memory.write(VALUES, XMM3 + XMM9)
        self.memory.write(VALUES + 0x500, struct.pack("<HHI", 0x27F, 0, 0x1F00))
        assert self.run("0f01d1", ALL) is None  # xsetbv
        self.clear()

    def run(self, code: str, mask: int) -> int | None:
        """Run with EDX:EAX = mask and RBX at the area."""
        return self.vector(code, rax=mask & 0xFFFFFFFF, rdx=mask >> 32, rbx=AREA)

    def set(self) -> None:
        """Put x87, SSE and PKRU into a state that is not the first one."""
        assert self.vector(SET) is None
        self.cpu.set_pkru(0x55555550)

    def initialise(self) -> None:
        self.clear()
        assert self.run(XRSTOR, ALL) is None

    def clear(self, fill: int = 0) -> None:
        self.memory.write(AREA, bytes([fill]) * 0x1000)
        self.memory.write(AREA + 24, struct.pack("<I", 0x1F80))
        self.memory.write(AREA + 512, bytes(64))

    def area(self, at: int, size: int) -> bytes:
        return self.memory.read(AREA + at, size)

    def header(self) -> tuple[int, int]:
        state, compact = struct.unpack("<2Q", self.area(512, 16))
        return state, compact

    def put_header(self, state: int, compact: int = 0, rest: bytes = b"") -> None:
        self.memory.write(AREA + 512, struct.pack("<2Q", state, compact) + rest)

    def components(self) -> tuple[bytes, bytes, int, int]:
        """Give ST0 with the control word, XMM3 with XMM9, MXCSR and PKRU, as XSAVE shows them."""
        pkru = self.cpu.pkru
        before = self.memory.read(AREA, 0x1000)
        self.clear()
        assert self.run(XSAVE, ALL) is None
        found = (
            self.area(0, 2) + self.area(32, 10), self.area(160 + 48, 16) + self.area(160 + 144, 16),
            struct.unpack("<I", self.area(24, 4))[0], pkru,
        )  # fmt: skip
        self.memory.write(AREA, before)
        return found


FIRST: Final = (b"\x7f\x03" + bytes(10), bytes(32), 0x1F80, 0)
SECOND: Final = (b"\x7f\x02" + ONE, XMM3 + XMM9, 0x1F00, 0x55555550)


@pytest.fixture
def guest() -> Iterator[Extended]:
    guest = Extended()
    yield guest
    guest.close()


def test_the_standard_area(guest: Extended) -> None:
    """SDM "Legacy Region of an XSAVE Area", "XSAVE Header", "Extended Region …"."""
    guest.set()
    guest.clear(0xEE)
    assert guest.run(XSAVE, ALL) is None
    fcw, fsw, tags = struct.unpack("<HHB", guest.area(0, 5))
    assert (fcw, fsw >> 11 & 7, tags) == (0x27F, 7, 0x80)  # one register in use, the eighth
    assert guest.area(24, 8) == struct.pack("<2I", 0x1F00, MASK)
    assert guest.area(32, 10) == ONE
    assert guest.area(160 + 48, 16) == XMM3
    assert guest.area(160 + 144, 16) == XMM9
    assert guest.header() == (ALL, 0)
    assert guest.area(0xA80, 8) == struct.pack("<2I", 0x55555550, 0)
    assert guest.area(576, 0xA80 - 576) == b"\xee" * (0xA80 - 576)  # AVX's and MPX's places
    assert guest.area(0xA88, 8) == b"\xee" * 8


@pytest.mark.parametrize("mask", [0, X87, SSE, PKRU, X87 | PKRU, ALL, (1 << 64) - 1])
def test_only_what_is_asked_for_is_written(guest: Extended, mask: int) -> None:
    guest.set()
    guest.clear(0xEE)
    guest.put_header(ALL)
    assert guest.run(XSAVE, mask) is None
    assert (guest.area(32, 10) == ONE) is bool(mask & X87)
    assert (guest.area(160 + 48, 16) == XMM3) is bool(mask & SSE)
    assert (guest.area(0xA80, 4) == struct.pack("<I", 0x55555550)) is bool(mask & PKRU)
    assert guest.header()[0] == ALL  # other bits stay as they were


def test_the_first_state_is_not_in_use(guest: Extended) -> None:
    guest.initialise()
    guest.put_header(ALL)
    assert guest.run(XSAVE, ALL) is None
    assert guest.header() == (0, 0)
    assert guest.vector("0f01d0", rcx=1) is None
    assert guest.cpu.q[0] == 0  # XGETBV(1)
    guest.set()
    assert guest.vector("0f01d0", rcx=1) is None
    assert guest.cpu.q[0] == ALL


def test_xsaveopt_leaves_out_what_is_in_its_first_state(guest: Extended) -> None:
    guest.initialise()
    guest.cpu.set_pkru(4)
    guest.clear(0xEE)
    guest.put_header(ALL)
    assert guest.run(XSAVEOPT, ALL) is None
    assert guest.header() == (PKRU, 0)
    assert guest.area(32, 16) == guest.area(160, 16) == b"\xee" * 16
    assert guest.area(0xA80, 4) == struct.pack("<I", 4)


@pytest.mark.parametrize("code", [XSAVEC, XSAVES])
def test_the_compacted_area(guest: Extended, code: str) -> None:
    """PKRU stands at once behind the header; XCOMP_BV says what was asked for."""
    guest.set()
    guest.clear(0xEE)
    assert guest.run(code, SSE | PKRU) is None
    assert guest.header() == (SSE | PKRU, COMPACT | SSE | PKRU)
    assert guest.area(576, 8) == struct.pack("<2I", 0x55555550, 0)
    assert guest.area(160 + 48, 16) == XMM3
    assert guest.area(32, 10) == b"\xee" * 10
    assert guest.area(0xA80, 8) == b"\xee" * 8


@pytest.mark.parametrize(
    ("save", "restore"), [(XSAVE, XRSTOR), (XSAVEOPT, XRSTOR), (XSAVEC, XRSTOR), (XSAVES, XRSTORS), (XSAVEC, XRSTORS)]
)
def test_what_was_saved_is_restored(guest: Extended, save: str, restore: str) -> None:
    guest.set()
    guest.clear()
    assert guest.run(save, ALL) is None
    kept = guest.memory.read(AREA, 0x1000)
    guest.initialise()
    assert guest.components() == FIRST
    guest.memory.write(AREA, kept)
    assert guest.run(restore, ALL) is None
    assert guest.components() == SECOND


@pytest.mark.parametrize("mask", [0, X87, SSE, PKRU, X87 | SSE, ALL])
def test_a_component_that_the_area_lacks_takes_its_first_state(guest: Extended, mask: int) -> None:
    """XSTATE_BV is 0: each component asked for is initialised, no other changes.  MXCSR comes from memory even so."""
    guest.set()
    guest.clear()
    guest.memory.write(AREA + 24, struct.pack("<I", 0x1FC0))
    assert guest.run(XRSTOR, mask) is None
    x87, sse, mxcsr, pkru = guest.components()
    assert x87 == (FIRST if mask & X87 else SECOND)[0]
    assert sse == (FIRST if mask & SSE else SECOND)[1]
    assert mxcsr == (0x1FC0 if mask & SSE else SECOND[2])
    assert pkru == (FIRST if mask & PKRU else SECOND)[3]


def test_compacted_without_sse_takes_mxcsrs_first_value(guest: Extended) -> None:
    guest.set()
    guest.clear()
    guest.memory.write(AREA + 24, struct.pack("<I", 0x1FC0))
    guest.put_header(0, COMPACT | ALL)
    assert guest.run(XRSTOR, ALL) is None
    assert guest.components() == FIRST


@pytest.mark.parametrize(
    ("state", "compact", "rest", "code"),
    [
        (1 << 2, 0, b"", XRSTOR), (1 << 62, 0, b"", XRSTOR),  # not in XCR0
        (0, 1, b"", XRSTOR), (0, 0, b"\x01", XRSTOR), (0, 0, bytes(7) + b"\x80", XRSTOR),  # bytes 23:8 of the header
        (0, COMPACT | 4, b"", XRSTOR), (SSE, COMPACT | PKRU, b"", XRSTOR),  # not in XCR0; not in XCOMP_BV
        (0, COMPACT | ALL, b"\x01", XRSTOR), (0, COMPACT | ALL, bytes(47) + b"\x01", XRSTOR),  # bytes 63:16
        (0, 0, b"", XRSTORS), (ALL, 0, b"", XRSTORS),  # XRSTORS takes compacted areas only
    ],
)  # fmt: skip
def test_headers_that_are_refused(guest: Extended, state: int, compact: int, rest: bytes, code: str) -> None:
    guest.set()
    guest.clear()
    guest.put_header(state, compact, rest)
    assert guest.run(code, ALL) == GP
    assert guest.components() == SECOND  # nothing has changed


def test_reserved_bits_of_mxcsr_in_the_area(guest: Extended) -> None:
    guest.set()
    guest.clear()
    guest.memory.write(AREA + 24, struct.pack("<I", 0x1F80 | 1 << 16))
    assert guest.run(XRSTOR, ALL) == GP
    assert guest.components() == SECOND
    assert guest.run(XRSTOR, X87) is None  # not looked at


@pytest.mark.parametrize("code", [XSAVE, XRSTOR, XSAVEOPT, XSAVEC, XSAVES, XRSTORS])
def test_what_all_of_them_check(guest: Extended, code: str) -> None:
    """A multiple of 64; no device-not-available; CR4.OSXSAVE; memory."""
    guest.put_header(0, COMPACT if code == XRSTORS else 0)
    assert guest.run(code, ALL) is None
    assert guest.vector(code, rax=ALL, rbx=AREA + 32) == GP
    guest.cpu.set_cr0(guest.cpu.cr0 | 8)
    assert guest.run(code, ALL) == NM
    guest.cpu.set_cr0(guest.cpu.cr0 & ~8)
    guest.cr4 &= ~(1 << 18)
    assert guest.run(code, ALL) == UD


@pytest.mark.parametrize(
    ("value", "legal"),
    [(1, True), (3, True), (ALL, True), (0x201, True), (0, False), (2, False), (7, False), (1 << 63 | 1, False)],
)
def test_xsetbv(guest: Extended, value: int, legal: bool) -> None:
    """XCR0 keeps x87, and takes only what CPUID offers."""
    assert guest.run("0f01d1", value) == (None if legal else GP)
    assert guest.cpu.xcr0 == (value if legal else ALL)
    assert guest.vector("0f01d1", rcx=1, rax=1) == GP  # there is no XCR1
    assert guest.cpuid(0xD)[RBX] == (SIZE if guest.cpu.xcr0 & PKRU else 576)
    assert guest.cpuid(0xD)[RDX] == 0


def test_pkru_by_xrstor_counts_at_once(guest: Extended) -> None:
    guest.clear()
    guest.put_header(PKRU)
    guest.memory.write(AREA + 0xA80, struct.pack("<I", 0xC))
    assert guest.run(XRSTOR, PKRU) is None
    assert guest.cpu.pkru == 0xC
    assert guest.cpu.translation.context(user=True).user_keys == (1 << 1, 1 << 1)
