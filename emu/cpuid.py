"""CPUID: exactly what is implemented (SDM "CPUID—CPU Identification").

The feature bits are the model's (`features`).  Its integer and vector sets are what Unicorn's TCG runs without VEX state: SSE to
SSE4.2, AES, BMI; no AVX.  No model offers RDRAND and RDSEED, for runs repeat, nor VME: virtual-8086 mode has no virtual interrupt flag.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from .clock import TSC_HZ
from .features import EAX, EBX, ECX, EDX

if TYPE_CHECKING:
    from .cpu import Cpu

Leaf = tuple[int, int, int, int]


MAX_BASIC, MAX_EXTENDED = 0x16, 0x80000008
_CRYSTAL: Final = 25_000_000
_SYSCALL: Final = 1 << 11
_APIC, _OSXSAVE, _OSPKE = 1 << 9, 1 << 27, 1 << 4
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
    leaf, features = min(leaf, MAX_BASIC), cpu.features
    if leaf == 0:
        return MAX_BASIC, 0x756E6547, 0x6C65746E, 0x49656E69
    if leaf == 1:
        ecx = features.cpuid(1, 0, ECX) | (_OSXSAVE if cpu.cr4 >> 18 & 1 else 0)
        edx = features.cpuid(1, 0, EDX) | (_APIC if cpu.devices.lapic.base >> 11 & 1 else 0)
        return features.signature, 8 << 8 | 1 << 16, ecx, edx
    if leaf == 2:
        return 0x00FEFF01, 0xF0, 0, 0
    if leaf == 4:
        return _CACHES[subleaf] if subleaf < len(_CACHES) else (0, 0, 0, 0)
    if leaf == 7 and subleaf == 0:
        ecx = features.cpuid(7, 0, ECX) | (_OSPKE if cpu.cr4 >> 22 & 1 else 0)
        return 0, features.cpuid(7, 0, EBX), ecx, features.cpuid(7, 0, EDX)
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
    components = cpu.features.xcr0
    if not components:
        return 0, 0, 0, 0
    if subleaf == 0:
        return components, xsave_size(cpu.xcr0), xsave_size(components), 0
    if subleaf == 1:
        size = compacted_size(cpu.xcr0 | cpu.xss) if "xsaves" in cpu.features else 0
        return cpu.features.cpuid(0xD, 1, EAX), size, 0, 0
    if subleaf == 9 and components >> 9 & 1:
        return PKRU_SIZE, PKRU_OFFSET, 0, 0
    return 0, 0, 0, 0


def _extended(cpu: Cpu, leaf: int) -> Leaf:
    if leaf == 0x80000000:
        return MAX_EXTENDED, 0, 0, 0
    if leaf == 0x80000001:
        ecx, edx = cpu.features.cpuid(leaf, 0, ECX), cpu.features.cpuid(leaf, 0, EDX)
        return 0, 0, ecx, edx | (_SYSCALL if cpu.code64 else 0)
    if 0x80000002 <= leaf <= 0x80000004:
        part = _BRAND[16 * (leaf - 0x80000002) :][:16]
        a, b, c, d = (int.from_bytes(part[i : i + 4], "little") for i in range(0, 16, 4))
        return a, b, c, d
    if leaf == 0x80000006:
        return 0, 0, 2048 << 16 | 8 << 12 | 64, 0
    if leaf == 0x80000007:
        return 0, 0, 0, 1 << 8  # the TSC never stops
    if leaf == 0x80000008:
        return cpu.features.maxphyaddr | 48 << 8, 0, 0, 0
    return (0, 0, 0, 0) if leaf < MAX_EXTENDED else cpuid(cpu, MAX_BASIC, 0)
