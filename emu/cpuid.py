"""CPUID: exactly what is implemented (SDM "CPUID—CPU Identification").

The integer and vector sets are what Unicorn's TCG runs without VEX state: SSE to SSE4.2, AES, BMI; no AVX.  RDRAND and RDSEED are
not offered, for runs repeat.  VME is not, for there is no virtual-8086 mode.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from .clock import TSC_HZ

if TYPE_CHECKING:
    from .cpu import Cpu

Leaf = tuple[int, int, int, int]


def bits(*numbers: int) -> int:
    """Give a word with these bits set."""
    word = 0
    for number in numbers:
        word |= 1 << number
    return word


MAX_BASIC, MAX_EXTENDED = 0x16, 0x80000008
_CRYSTAL: Final = 25_000_000
_SIGNATURE: Final = 0x000806F8  # the family and model of a server processor that has PKS
# SSE3 PCLMULQDQ SSSE3 CX16 PCID SSE4.1 SSE4.2 x2APIC MOVBE POPCNT TSC-deadline AES XSAVE
_1_ECX: Final = bits(0, 1, 9, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26)
# FPU DE PSE TSC MSR PAE MCE CX8 APIC SEP MTRR PGE MCA CMOV PAT PSE36 CLFSH MMX FXSR SSE SSE2
_1_EDX: Final = bits(0, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 13, 14, 15, 16, 17, 19, 23, 24, 25, 26)
# FSGSBASE TSC_ADJUST BMI1 SMEP BMI2 ERMS INVPCID SMAP
_7_EBX: Final = bits(0, 1, 3, 7, 8, 9, 10, 20)
_7_ECX: Final = bits(2, 3, 31)  # UMIP PKU PKS
_EXT_ECX: Final = bits(0, 5)  # LAHF LZCNT
_EXT_EDX: Final = bits(20, 26, 27, 29)  # NX 1-GiB pages RDTSCP 64-bit
_SYSCALL: Final = 1 << 11
_APIC, _OSXSAVE, _OSPKE = 1 << 9, 1 << 27, 1 << 4
XSAVE_COMPONENTS: Final = 0x203
PKRU_OFFSET, PKRU_SIZE, LEGACY_AND_HEADER = 0xA80, 8, 576
_BRAND: Final = b"ParaCell emulated processor".ljust(48, b"\0")
# Leaf 4: data and instruction caches of 32 KiB in 8 ways, then 2 MiB in 16 ways; lines of 64 bytes.
_CACHES: Final[tuple[Leaf, ...]] = (
    (0x121, 7 << 22 | 63, 63, 0),
    (0x122, 7 << 22 | 63, 63, 0),
    (0x143, 15 << 22 | 63, 2047, 0),
)


def xsave_size(components: int) -> int:
    """Give the size of a standard-format XSAVE area for a set of components."""
    return PKRU_OFFSET + PKRU_SIZE if components & 1 << 9 else LEGACY_AND_HEADER


def compacted_size(components: int) -> int:
    """Give the size of a compacted XSAVE area."""
    return LEGACY_AND_HEADER + (PKRU_SIZE if components & 1 << 9 else 0)


def cpuid(cpu: Cpu, leaf: int, subleaf: int) -> Leaf:
    """Give (EAX, EBX, ECX, EDX); a basic leaf above the last one answers as the last one does."""
    if leaf & 0x80000000:
        return _extended(cpu, leaf)
    leaf = min(leaf, MAX_BASIC)
    if leaf == 0:
        return MAX_BASIC, 0x756E6547, 0x6C65746E, 0x49656E69
    if leaf == 1:
        ecx = _1_ECX | (_OSXSAVE if cpu.cr4 >> 18 & 1 else 0)
        edx = _1_EDX & ~(0 if cpu.devices.lapic.base >> 11 & 1 else _APIC)
        return _SIGNATURE, 8 << 8 | 1 << 16, ecx, edx
    if leaf == 2:
        return 0x00FEFF01, 0xF0, 0, 0
    if leaf == 4:
        return _CACHES[subleaf] if subleaf < len(_CACHES) else (0, 0, 0, 0)
    if leaf == 7 and subleaf == 0:
        return 0, _7_EBX, _7_ECX | (_OSPKE if cpu.cr4 >> 22 & 1 else 0), 0
    if leaf == 0xB:
        return (0, 1, subleaf | (subleaf + 1) << 8, 0) if subleaf < 2 else (0, 0, subleaf & 0xFF, 0)
    if leaf == 0xD:
        return _xsave(cpu, subleaf)
    if leaf == 0x15:
        return 1, TSC_HZ // _CRYSTAL, _CRYSTAL, 0
    if leaf == 0x16:
        return TSC_HZ // 1_000_000, TSC_HZ // 1_000_000, 100, 0
    return 0, 0, 0, 0


def _xsave(cpu: Cpu, subleaf: int) -> Leaf:
    if subleaf == 0:
        return XSAVE_COMPONENTS, xsave_size(cpu.xcr0), xsave_size(XSAVE_COMPONENTS), 0
    if subleaf == 1:
        return 0xF, compacted_size(cpu.xcr0 | cpu.xss), 0, 0  # XSAVEOPT XSAVEC XGETBV(1) XSAVES
    if subleaf == 9:
        return PKRU_SIZE, PKRU_OFFSET, 0, 0
    return 0, 0, 0, 0


def _extended(cpu: Cpu, leaf: int) -> Leaf:
    if leaf == 0x80000000:
        return MAX_EXTENDED, 0, 0, 0
    if leaf == 0x80000001:
        return 0, 0, _EXT_ECX, _EXT_EDX | (_SYSCALL if cpu.code64 else 0)
    if 0x80000002 <= leaf <= 0x80000004:
        part = _BRAND[16 * (leaf - 0x80000002) :][:16]
        a, b, c, d = (int.from_bytes(part[i : i + 4], "little") for i in range(0, 16, 4))
        return a, b, c, d
    if leaf == 0x80000006:
        return 0, 0, 2048 << 16 | 8 << 12 | 64, 0
    if leaf == 0x80000007:
        return 0, 0, 0, 1 << 8  # the TSC never stops
    if leaf == 0x80000008:
        return 52 | 48 << 8, 0, 0, 0
    return (0, 0, 0, 0) if leaf < MAX_EXTENDED else cpuid(cpu, MAX_BASIC, 0)
