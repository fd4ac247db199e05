"""Where Unicorn 2.1.4's x86 state keeps what we need: one declaration, checked against the library at every start.

Byte offsets from the start of ``CPUX86State`` (its general registers).
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

STATE: Final = 0x8A50  # of CPUX86State itself, in CPUState
TABLES: Final = -64  # by MMU index: bytes of a table of translations less those of an entry, and where it lies
RIP: Final = 128
EFLAGS: Final = 136
CC_DST: Final = 144
CC_SRC: Final = 152
CC_SRC2: Final = 160
CC_OP: Final = 168
DF: Final = 172
HFLAGS: Final = 176
HF_LMA: Final = 1 << 14  # of hflags: IA-32e mode
HF_CS64: Final = 1 << 15  # of hflags: 64-bit code
HF_GUEST: Final = 1 << 21  # of hflags: an SVM guest
# Bits of hflags that mean nothing to TCG, and keep blocks apart: CR0.AM; one instruction runs whose accesses are checked.
HF_AM: Final = 1 << 27
HF_STEP: Final = 1 << 31
SEGMENTS: Final = 184  # ES CS SS DS FS GS, 24 bytes each: selector u32, base u64 (at 8), limit u32, flags u32
CR: Final = 424
FPSTT: Final = 604
FPUS: Final = 608
FPUC: Final = 610
FPTAGS: Final = 612
FPREGS: Final = 624  # 8 × 16 bytes
FP_STATUS: Final = 776  # of the library of floating point: tininess, rounding mode, exceptions …, a byte each
SSE_STATUS: Final = 808
MXCSR: Final = 816
XMM: Final = 824  # 64 bytes each
ERROR_CODE: Final = 0x1508
EXCEPTION_IS_INT: Final = 0x150C
OLD_EXCEPTION: Final = 0x1578
INTERCEPT: Final = 0x1590  # SVM's, 64 bits: exit code 60H + n is bit n
CPUID, PAUSE_AND_CPUID = 1 << 0x12, 1 << 0x17 | 1 << 0x12  # in that word
INTERCEPTED: Final = 0x100  # added to an exit code, this is the exception that TCG gives before what it intercepts
VENDOR: Final = 0x15F0  # cpuid_vendor1 … 3, cpuid_version, then the feature words, 8 bytes each
FEATURES_1_ECX: Final = 0x1608
SIZE: Final = 0x1680

# Unicorn's register numbers, in the order of the encodings RAX RCX RDX RBX RSP RBP RSI RDI R8 … R15.
GENERAL_REGISTERS: Final = (35, 38, 40, 37, 44, 36, 43, 39, 106, 107, 108, 109, 110, 111, 112, 113)
_REG_RIP, _REG_FS_BASE, _REG_GS_BASE, _REG_MXCSR, _REG_XMM0 = 41, 250, 251, 249, 122
_REG_FPCW, _REG_ST0 = 246, 114


class UnicornMismatch(RuntimeError):
    """The Unicorn that is installed is not the one that the core was measured against."""

    def __init__(self, what: str) -> None:
        super().__init__(f"this Unicorn does not fit (2.1.4 is known to): {what}")


def verify(write: Callable[[int, bytes], None], raw: memoryview) -> None:
    """Write through the public API and look where it lands; `UnicornMismatch` on a difference."""

    def expect(name: str, number: int, value: bytes, offset: int) -> None:
        before = bytes(raw[offset : offset + len(value)])
        write(number, value)
        if bytes(raw[offset : offset + len(value)]) != value:
            raise UnicornMismatch(f"{name} is not {offset:#x} bytes into the CPU state")
        raw[offset : offset + len(value)] = before

    eight = struct.pack("<Q", 0x1234567890ABCDE0)
    expect("FS.base", _REG_FS_BASE, eight, SEGMENTS + 24 * 4 + 8)
    expect("GS.base", _REG_GS_BASE, eight, SEGMENTS + 24 * 5 + 8)
    expect("MXCSR", _REG_MXCSR, struct.pack("<I", 0x9FA0), MXCSR)
    for i in (0, 7, 15):
        expect(f"XMM{i}", _REG_XMM0 + i, bytes(range(i + 1, i + 17)), XMM + 64 * i)
    expect("FPCW", _REG_FPCW, struct.pack("<H", 0x027F), FPUC)
    for i in (0, 7):
        expect(f"ST{i}", _REG_ST0 + i, bytes(range(i + 1, i + 11)), FPREGS + 16 * i)
    for register, offset, value in ((_REG_FPCW, FP_STATUS, 0x0F7F), (_REG_MXCSR, SSE_STATUS, 0x7F80)):
        write(register, struct.pack("<I", value)[: 2 if register == _REG_FPCW else 4])
        if raw[offset + 1] != _TO_ZERO:
            raise UnicornMismatch(f"no rounding mode is {offset + 1:#x} bytes into the CPU state")
    write(_REG_FPCW, struct.pack("<H", 0x037F))
    write(_REG_MXCSR, struct.pack("<I", 0x1F80))


def forbid_random(raw: memoryview) -> None:
    """Take RDRAND and RDSEED away from TCG: CPUID does not offer them, for runs repeat; so they are #UD."""
    if bytes(raw[VENDOR : VENDOR + 12]) != b"GenuineIntel":
        raise UnicornMismatch(f"the vendor is not {VENDOR:#x} bytes into the CPU state")
    (word,) = struct.unpack_from("<Q", raw, FEATURES_1_ECX)
    if word & _KNOWN_1_ECX != _KNOWN_1_ECX:
        raise UnicornMismatch(f"CPUID.1:ECX is not {FEATURES_1_ECX:#x} bytes into the CPU state")
    struct.pack_into("<Q", raw, FEATURES_1_ECX, word & ~_RDRAND)


def check_fault(address: int, page: int) -> None:
    """Check that what `Places.fault_offset` leads to is on the page that the fill was asked for."""
    if address >> 12 != page >> 12:
        raise UnicornMismatch(f"fault address {address:#x} is not on page {page:#x}")


_TO_ZERO: Final = 3  # the library's number for that rounding mode
_RDRAND: Final = 1 << 30
_KNOWN_1_ECX: Final = _RDRAND | 0x2D82203  # SSE3 PCLMULQDQ SSSE3 CX16 SSE4.1 SSE4.2 MOVBE POPCNT AES
