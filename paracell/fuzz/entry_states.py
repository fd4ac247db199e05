"""VMCSs that pass every check of VM entry, by the numbers of the manual: where a fuzzer or a test begins to break them."""

from __future__ import annotations

from typing import Final

from ..vmx.fields import Field as F  # noqa: N817  (the tables have it on every line)

VMCS, SHADOW, WRONG, VAPIC, PDPT = 0x2000, 0x3000, 0x4000, 0x5000, 0x6000
ONES: Final = (1 << 64) - 1
# Bits that must be 1 by the TRUE capability MSRs.
PIN, PRIMARY, EXIT, ENTRY = 0x16, 0x04006172, 0x36DFB, 0x11FB
HOST_64, GUEST_64 = 1 << 9, 1 << 9
CR0, CR4, EFER = 0x80000031, 0x2020, 0xD01

BASE: Final = {
    F.PIN_CONTROLS: PIN, F.PRIMARY_CONTROLS: PRIMARY | 1 << 31, F.EXIT_CONTROLS: EXIT | HOST_64, F.ENTRY_CONTROLS: ENTRY | GUEST_64,
    F.VMCS_LINK_POINTER: ONES,
    F.HOST_CR0: CR0, F.HOST_CR3: 0x1000, F.HOST_CR4: CR4, F.HOST_EFER: EFER, F.HOST_PAT: 0x0007040600070406,
    F.HOST_CS_SELECTOR: 8, F.HOST_SS_SELECTOR: 16, F.HOST_TR_SELECTOR: 24, F.HOST_RIP: 0x100000, F.HOST_RSP: 0x200000,
    F.GUEST_CR0: CR0, F.GUEST_CR3: 0x1000, F.GUEST_CR4: CR4, F.GUEST_EFER: EFER, F.GUEST_PAT: 0x0007040600070406,
    F.GUEST_CS_SELECTOR: 8, F.GUEST_CS_LIMIT: 0xFFFFFFFF, F.GUEST_CS_ACCESS: 0xA09B,
    F.GUEST_SS_SELECTOR: 16, F.GUEST_SS_LIMIT: 0xFFFFFFFF, F.GUEST_SS_ACCESS: 0xC093,
    F.GUEST_DS_SELECTOR: 16, F.GUEST_DS_LIMIT: 0xFFFFFFFF, F.GUEST_DS_ACCESS: 0xC093,
    F.GUEST_ES_ACCESS: 0x10000, F.GUEST_FS_ACCESS: 0x10000, F.GUEST_GS_ACCESS: 0x10000,
    F.GUEST_LDTR_ACCESS: 0x82, F.GUEST_LDTR_LIMIT: 0xFFFF, F.GUEST_TR_SELECTOR: 24, F.GUEST_TR_ACCESS: 0x8B, F.GUEST_TR_LIMIT: 0x67,
    F.GUEST_RIP: 0x100000, F.GUEST_RFLAGS: 2, F.GUEST_DR7: 0x400,
}  # fmt: skip
# On top of it: a 32-bit guest with PAE paging, a 32-bit host, and a guest in virtual-8086 mode.
GUEST_32: Final = {
    F.ENTRY_CONTROLS: ENTRY, F.GUEST_CS_ACCESS: 0xC09B, F.GUEST_EFER: 0, F.GUEST_CR3: PDPT,
}  # fmt: skip
HOST_32: Final = {**GUEST_32, F.EXIT_CONTROLS: EXIT, F.HOST_EFER: 0}
V86: Final = {
    **GUEST_32, F.GUEST_RFLAGS: 0x20002,
    **{F[f"GUEST_{name}_SELECTOR"]: 0x1234 for name in ("CS", "SS", "DS", "ES", "FS", "GS")},
    **{F[f"GUEST_{name}_BASE"]: 0x12340 for name in ("CS", "SS", "DS", "ES", "FS", "GS")},
    **{F[f"GUEST_{name}_LIMIT"]: 0xFFFF for name in ("CS", "SS", "DS", "ES", "FS", "GS")},
    **{F[f"GUEST_{name}_ACCESS"]: 0xF3 for name in ("CS", "SS", "DS", "ES", "FS", "GS")},
}  # fmt: skip


def controls(word: F, *bits: int) -> dict[F, int]:
    """Set bits in a word of controls of `BASE`."""
    return {word: BASE.get(word, 0) | sum(1 << bit for bit in bits)}


EPT: Final = {**controls(F.SECONDARY_CONTROLS, 1), F.EPT_POINTER: 0x7000 | 0x1E}
UNRESTRICTED: Final = {**EPT, **controls(F.SECONDARY_CONTROLS, 1, 7)}
VIRTUAL_NMIS: Final = controls(F.PIN_CONTROLS, 3, 5)
