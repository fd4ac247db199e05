"""Every rule of VM entry, each broken alone, by a table written from the manual (SDM volume 3C, "VM Entries")."""

from __future__ import annotations

from typing import Final, NamedTuple

import pytest

from paracell.vmx.control_checks import CONTROLS
from paracell.vmx.fields import Field as F  # noqa: N817  (the tables have it on every line)
from paracell.vmx.guest_checks import GUEST
from paracell.vmx.host_checks import HOST
from paracell.vmx.rule import first_broken

from .entries import (
    CR0,
    CR4,
    ENTRY,
    EPT,
    EXIT,
    GUEST_32,
    HOST_32,
    ONES,
    PDPT,
    PIN,
    PRIMARY,
    SHADOW,
    UNRESTRICTED,
    V86,
    VAPIC,
    VIRTUAL_NMIS,
    VMCS,
    WRONG,
    controls,
    entry,
)

RULES: Final = (*CONTROLS, *HOST, *GUEST)
WIDE, NONCANONICAL, HIGH = 1 << 52, 1 << 47, 1 << 32
VALID, ERROR_CODE = 1 << 31, 1 << 11
EXTERNAL, NMI, EXCEPTION, SOFTWARE, OTHER = (kind << 8 | VALID for kind in (0, 2, 3, 4, 7))
IF, TF, VM = 1 << 9, 1 << 8, 1 << 17
SHADOWING: Final = controls(F.SECONDARY_CONTROLS, 14)
PML: Final = {**EPT, **controls(F.SECONDARY_CONTROLS, 1, 17)}
TPR: Final = {**controls(F.PRIMARY_CONTROLS, 21), F.VIRTUAL_APIC_ADDRESS: VAPIC}
REAL: Final = {**UNRESTRICTED, **GUEST_32, F.GUEST_CR0: 0x20, F.GUEST_CR4: 1 << 13}
RING_3: Final = {
    F.GUEST_CS_SELECTOR: 11, F.GUEST_CS_ACCESS: 0xA0FB, F.GUEST_SS_SELECTOR: 19, F.GUEST_SS_ACCESS: 0xC0F3,
    F.GUEST_DS_SELECTOR: 19, F.GUEST_DS_ACCESS: 0xC0F3,
}  # fmt: skip


class Row(NamedTuple):
    """What a rule's text begins with, and changes that break it; `good` ones break nothing."""

    rule: str
    bad: tuple[dict[F, int], ...] = ()
    good: tuple[dict[F, int], ...] = ()
    long_mode: bool = True


def area(count: F, address: F, first: int) -> Row:
    """Make the row of a list of MSRs."""
    text = {0x400E: "the VM-exit MSR-store", 0x4010: "the VM-exit MSR-load", 0x4014: "the VM-entry MSR-load"}[count]
    return Row(
        text,
        ({count: 1, address: first + 8}, {count: 1, address: WIDE}, {count: 2, address: WIDE - 16}),
        ({count: 0, address: ONES}, {count: 1, address: WIDE - 16}, {count: 512, address: first}),
    )


CONTROL_ROWS: Final = (
    Row("the reserved bits of the pin-based", ({F.PIN_CONTROLS: PIN & ~2}, {F.PIN_CONTROLS: PIN | 1 << 7})),
    Row(
        "the reserved bits of the primary",
        ({F.PRIMARY_CONTROLS: PRIMARY & ~2}, controls(F.PRIMARY_CONTROLS, 0), controls(F.PRIMARY_CONTROLS, 17)),
        ({F.PRIMARY_CONTROLS: PRIMARY}, {F.PRIMARY_CONTROLS: PRIMARY | 1 << 15 | 1 << 16}),
    ),
    Row(
        "the reserved bits of the secondary",
        ({F.SECONDARY_CONTROLS: 1}, {F.SECONDARY_CONTROLS: 1 << 9}),
        ({F.SECONDARY_CONTROLS: 1, F.PRIMARY_CONTROLS: PRIMARY},),
    ),
    Row("the CR3-target count", ({F.CR3_TARGET_COUNT: 5},), ({F.CR3_TARGET_COUNT: 4},)),
    Row(
        "the I/O-bitmap",
        tuple(
            {**controls(F.PRIMARY_CONTROLS, 25), field: value}
            for field in (F.IO_BITMAP_A, F.IO_BITMAP_B)
            for value in (0x800, WIDE)
        ),
        ({F.IO_BITMAP_A: 1},),
    ),
    Row(
        "the MSR-bitmap",
        tuple({**controls(F.PRIMARY_CONTROLS, 28), F.MSR_BITMAP: v} for v in (1, WIDE)),
        ({F.MSR_BITMAP: 1},),
    ),
    Row(
        "the virtual-APIC address",
        ({**TPR, F.VIRTUAL_APIC_ADDRESS: VAPIC + 8}, {**TPR, F.VIRTUAL_APIC_ADDRESS: WIDE}),
        (TPR, {F.VIRTUAL_APIC_ADDRESS: 1}),
    ),
    Row("bits 31:4 of the TPR threshold", ({**TPR, F.TPR_THRESHOLD: 0x10},), ({F.TPR_THRESHOLD: 0x10},)),
    Row(
        "the TPR threshold is not above",
        ({**TPR, F.TPR_THRESHOLD: 6},),
        ({**TPR, F.TPR_THRESHOLD: 5}, {F.TPR_THRESHOLD: 6}),
    ),
    Row("virtual NMIs need", (controls(F.PIN_CONTROLS, 5),), (controls(F.PIN_CONTROLS, 3), VIRTUAL_NMIS)),
    Row(
        "NMI-window exiting",
        (controls(F.PRIMARY_CONTROLS, 22),),
        ({**VIRTUAL_NMIS, **controls(F.PRIMARY_CONTROLS, 22)},),
    ),
    Row("the VPID", (controls(F.SECONDARY_CONTROLS, 5),), ({**controls(F.SECONDARY_CONTROLS, 5), F.VPID: 1},)),
    Row(
        "the EPTP",
        tuple({**EPT, F.EPT_POINTER: v} for v in (0x701D, 0x7016, 0x709E, 0x781E, WIDE | 0x1E, 0x7026)),
        (EPT, {**EPT, F.EPT_POINTER: 0x705E}, {**EPT, F.EPT_POINTER: 0x18}, {F.EPT_POINTER: ONES}),
    ),
    Row("PML needs EPT", (controls(F.SECONDARY_CONTROLS, 17),), (PML,)),
    Row("the PML address", ({**PML, F.PML_ADDRESS: 8}, {**PML, F.PML_ADDRESS: WIDE}), ({F.PML_ADDRESS: 8},)),
    Row("unrestricted guest needs", (controls(F.SECONDARY_CONTROLS, 7),), (UNRESTRICTED,)),
    Row(
        "mode-based execute control",
        (controls(F.SECONDARY_CONTROLS, 22),),
        ({**EPT, **controls(F.SECONDARY_CONTROLS, 1, 22)},),
    ),
    Row(
        "the VMREAD-bitmap",
        tuple({**SHADOWING, field: value} for field in (F.VMREAD_BITMAP, F.VMWRITE_BITMAP) for value in (1, WIDE)),
        (SHADOWING, {F.VMREAD_BITMAP: 1}),
    ),
    Row("the reserved bits of the VM-exit", ({F.EXIT_CONTROLS: EXIT & ~1 | 1 << 9}, controls(F.EXIT_CONTROLS, 12))),
    Row(
        "saving the preemption timer",
        (controls(F.EXIT_CONTROLS, 22),),
        ({**controls(F.EXIT_CONTROLS, 22), **controls(F.PIN_CONTROLS, 6)},),
    ),
    area(F.EXIT_MSR_STORE_COUNT, F.EXIT_MSR_STORE_ADDRESS, 0x8000),
    area(F.EXIT_MSR_LOAD_COUNT, F.EXIT_MSR_LOAD_ADDRESS, 0x8000),
    Row(
        "the reserved bits of the VM-entry",
        ({F.ENTRY_CONTROLS: ENTRY & ~1 | 1 << 9}, controls(F.ENTRY_CONTROLS, 10), controls(F.ENTRY_CONTROLS, 11)),
    ),
    Row(
        "the type of the injected",
        ({F.ENTRY_INTERRUPTION_INFO: VALID | 1 << 8},),
        ({F.ENTRY_INTERRUPTION_INFO: 1 << 8},),
    ),
    Row(
        "the vector of the injected",
        (
            {F.ENTRY_INTERRUPTION_INFO: NMI | 3},
            {F.ENTRY_INTERRUPTION_INFO: EXCEPTION | 32},
            {F.ENTRY_INTERRUPTION_INFO: OTHER | 1},
        ),
        (
            {F.ENTRY_INTERRUPTION_INFO: NMI | 2},
            {F.ENTRY_INTERRUPTION_INFO: EXCEPTION | 31},
            {F.ENTRY_INTERRUPTION_INFO: OTHER},
        ),
    ),
    Row(
        "an error code is delivered",
        (
            {F.ENTRY_INTERRUPTION_INFO: EXCEPTION | 13},
            {F.ENTRY_INTERRUPTION_INFO: EXCEPTION | ERROR_CODE | 6},
            {F.ENTRY_INTERRUPTION_INFO: EXCEPTION | ERROR_CODE | 21},
            {F.ENTRY_INTERRUPTION_INFO: NMI | ERROR_CODE | 2},
            {**REAL, F.ENTRY_INTERRUPTION_INFO: EXCEPTION | ERROR_CODE | 13},
        ),
        (
            *({F.ENTRY_INTERRUPTION_INFO: EXCEPTION | ERROR_CODE | vector} for vector in (8, 10, 11, 12, 13, 14, 17)),
            {**REAL, F.ENTRY_INTERRUPTION_INFO: EXCEPTION | 13},
            {**UNRESTRICTED, F.ENTRY_INTERRUPTION_INFO: EXCEPTION | ERROR_CODE | 13},
        ),
    ),
    Row(
        "the reserved bits of the interruption",
        tuple({F.ENTRY_INTERRUPTION_INFO: EXCEPTION | 6 | 1 << bit} for bit in range(12, 31)),
    ),
    Row(
        "bits 31:16 of the error code",
        tuple(
            {F.ENTRY_INTERRUPTION_INFO: EXCEPTION | ERROR_CODE | 13, F.ENTRY_ERROR_CODE: 1 << bit} for bit in (16, 31)
        ),
        (
            {F.ENTRY_INTERRUPTION_INFO: EXCEPTION | ERROR_CODE | 13, F.ENTRY_ERROR_CODE: 0xFFFF},
            {F.ENTRY_ERROR_CODE: ONES >> 32},
        ),
    ),
    Row(
        "the instruction length",
        tuple({F.ENTRY_INTERRUPTION_INFO: VALID | kind << 8 | 3, F.ENTRY_INSTRUCTION_LENGTH: 16} for kind in (4, 5, 6)),
        tuple({F.ENTRY_INTERRUPTION_INFO: SOFTWARE | 3, F.ENTRY_INSTRUCTION_LENGTH: length} for length in (0, 15)),
    ),
    area(F.ENTRY_MSR_LOAD_COUNT, F.ENTRY_MSR_LOAD_ADDRESS, 0x8000),
)
HOST_ROWS: Final = (
    Row(
        "VMX operation supports CR0",
        tuple({F.HOST_CR0: v} for v in (CR0 & ~1, CR0 & ~0x20, CR0 & ~(1 << 31), CR0 | HIGH)),
    ),
    Row("VMX operation supports CR4", ({F.HOST_CR4: CR4 & ~(1 << 13)}, {F.HOST_CR4: CR4 | 1 << 12})),
    Row("CR3 is within", ({F.HOST_CR3: WIDE}, {F.HOST_CR3: 1 << 63}), ({F.HOST_CR3: WIDE - 1},)),
    Row("IA32_SYSENTER_ESP", ({F.HOST_SYSENTER_ESP: NONCANONICAL}, {F.HOST_SYSENTER_EIP: NONCANONICAL})),
    Row(
        "WRMSR would take the IA32_PAT",
        tuple({**controls(F.EXIT_CONTROLS, 19), F.HOST_PAT: v << 8 * i} for v in (2, 3, 8, 0x81) for i in (0, 7)),
        ({**controls(F.EXIT_CONTROLS, 19), F.HOST_PAT: 0x0706050401000000}, {F.HOST_PAT: 2}),
    ),
    Row(
        "the IA32_EFER that is loaded has",
        tuple({**controls(F.EXIT_CONTROLS, 21), F.HOST_EFER: v} for v in (0, 0x100, 0x400, 0xD03, 0x501 | HIGH)),
        ({**controls(F.EXIT_CONTROLS, 21), F.HOST_EFER: 0x501}, {F.HOST_EFER: 0}),
    ),
    Row("bits 63:32 of the IA32_PKRS", ({**controls(F.EXIT_CONTROLS, 29), F.HOST_PKRS: HIGH},), ({F.HOST_PKRS: HIGH},)),
    Row(
        "RPL and TI",
        tuple(
            {F[f"HOST_{n}_SELECTOR"]: 0x10 | bit}
            for n in ("CS", "SS", "DS", "ES", "FS", "GS", "TR")
            for bit in (1, 2, 4)
        ),
    ),
    Row("CS and TR", ({F.HOST_CS_SELECTOR: 0}, {F.HOST_TR_SELECTOR: 0})),
    Row("SS is not null", (), ({F.HOST_SS_SELECTOR: 0},)),
    Row("SS is not null", ({**HOST_32, F.HOST_SS_SELECTOR: 0},), (HOST_32,), long_mode=False),
    Row(
        "the bases of FS, GS, TR",
        tuple({F[f"HOST_{n}_BASE"]: NONCANONICAL} for n in ("FS", "GS", "TR", "GDTR", "IDTR")),
    ),
    Row("outside IA-32e mode neither", ({},), (), long_mode=False),
    Row("in IA-32e mode the host", (HOST_32,), ()),
    Row(
        "a 32-bit host has",
        ({**HOST_32, F.HOST_CR4: CR4 | 1 << 17}, {**HOST_32, F.HOST_RIP: HIGH}),
        ({**HOST_32, F.HOST_RIP: HIGH - 1},),
        long_mode=False,
    ),
    Row("a 64-bit host has", ({F.HOST_CR4: CR4 & ~0x20},), ({F.HOST_CR4: CR4 | 1 << 17},)),
    Row("the RIP of a 64-bit host", ({F.HOST_RIP: NONCANONICAL}, {F.HOST_RIP: 1 << 63})),
)


def guest_access(name: str, value: int, **more: int) -> dict[F, int]:
    """Give a segment register of the guest: access rights, and `selector`, `limit` or `base`."""
    fields = {F[f"GUEST_{name}_{what.upper()}"]: content for what, content in more.items()}
    return {F[f"GUEST_{name}_ACCESS"]: value, F[f"GUEST_{name}_LIMIT"]: 0xFFFFFFFF} | fields


SIX: Final = ("CS", "SS", "DS", "ES", "FS", "GS")
DATA: Final = ("DS", "ES", "FS", "GS")
SYSTEM_ROWS: Final = tuple(
    row
    for name, kind in (("TR", 0x8B), ("LDTR", 0x82))
    for row in (
        Row(
            f"TI of {name}",
            ({F[f"GUEST_{name}_SELECTOR"]: 4},),
            ({F.GUEST_LDTR_SELECTOR: 4, F.GUEST_LDTR_ACCESS: 0x10000},),
        ),
        Row(
            f"the base of {name}",
            ({F[f"GUEST_{name}_BASE"]: NONCANONICAL},),
            ({F.GUEST_LDTR_BASE: NONCANONICAL, F.GUEST_LDTR_ACCESS: 0x10000},),
        ),
        Row(f"{name} is a system", ({F[f"GUEST_{name}_ACCESS"]: kind | 0x10},)),
        Row(f"{name} is present", ({F[f"GUEST_{name}_ACCESS"]: kind & ~0x80},)),
        Row(
            f"the reserved bits of the access rights of {name}",
            tuple({F[f"GUEST_{name}_ACCESS"]: kind | 1 << b} for b in (8, 11, 17, 31)),
        ),
        Row(
            f"the granularity of {name}",
            (guest_access(name, kind | 0x8000, limit=0xFFE), guest_access(name, kind, limit=0x100FFF)),
            (guest_access(name, kind | 0x8000, limit=0xFFF), guest_access(name, kind | 0x8000)),
        ),
    )
)
GUEST_ROWS: Final = (
    Row(
        "VMX operation supports CR0",
        ({F.GUEST_CR0: CR0 & ~0x20}, {F.GUEST_CR0: CR0 | HIGH}, {**GUEST_32, F.GUEST_CR0: 0x31}),
        (REAL, {**UNRESTRICTED, **GUEST_32, F.GUEST_CR0: 0x21}, {F.GUEST_CR0: CR0 | 1 << 29}),
    ),
    Row("paging needs protected", ({**UNRESTRICTED, F.GUEST_CR0: CR0 & ~1},)),
    Row("VMX operation supports CR4", ({F.GUEST_CR4: CR4 & ~(1 << 13)}, {F.GUEST_CR4: CR4 | 1 << 12})),
    Row(
        "the reserved bits of the IA32_DEBUGCTL",
        (
            {**controls(F.ENTRY_CONTROLS, 2), F.GUEST_DEBUGCTL: 4},
            {**controls(F.ENTRY_CONTROLS, 2), F.GUEST_DEBUGCTL: 1 << 63},
        ),
        ({F.GUEST_DEBUGCTL: 4}, {**controls(F.ENTRY_CONTROLS, 2), F.GUEST_DEBUGCTL: 3}),
    ),
    Row("an IA-32e mode guest", ({F.GUEST_CR4: 1 << 13}, {**UNRESTRICTED, F.GUEST_CR0: 0x21})),
    Row("PCIDs need", ({**GUEST_32, F.GUEST_CR4: CR4 | 1 << 17},), ({F.GUEST_CR4: CR4 | 1 << 17},)),
    Row("CR3 is within", ({F.GUEST_CR3: WIDE}, {F.GUEST_CR3: 1 << 63}), ({F.GUEST_CR3: WIDE - 1},)),
    Row("bits 63:32 of the DR7", ({**controls(F.ENTRY_CONTROLS, 2), F.GUEST_DR7: HIGH},), ({F.GUEST_DR7: HIGH},)),
    Row("IA32_SYSENTER_ESP", ({F.GUEST_SYSENTER_ESP: NONCANONICAL}, {F.GUEST_SYSENTER_EIP: NONCANONICAL})),
    Row("WRMSR would take the IA32_PAT", ({**controls(F.ENTRY_CONTROLS, 14), F.GUEST_PAT: 2},), ({F.GUEST_PAT: 2},)),
    Row(
        "the IA32_EFER that is loaded goes",
        (
            *({**controls(F.ENTRY_CONTROLS, 15), F.GUEST_EFER: v} for v in (0, 0x100, 0x400, 0x503)),
            {**GUEST_32, F.ENTRY_CONTROLS: ENTRY | 1 << 15, F.GUEST_EFER: 0x100},
        ),
        (
            {**controls(F.ENTRY_CONTROLS, 15)},
            {**REAL, F.ENTRY_CONTROLS: ENTRY | 1 << 15, F.GUEST_EFER: 0x100},  # LME without paging
        ),
    ),
    Row(
        "bits 63:32 of the IA32_PKRS",
        ({**controls(F.ENTRY_CONTROLS, 22), F.GUEST_PKRS: HIGH},),
        ({F.GUEST_PKRS: HIGH},),
    ),
    Row(
        "the RPLs of CS and SS",
        ({**RING_3, F.GUEST_CS_SELECTOR: 8},),
        (RING_3, {**RING_3, **UNRESTRICTED, F.GUEST_CS_SELECTOR: 8}),
    ),
    Row("in virtual-8086 mode a base", tuple({**V86, F[f"GUEST_{n}_BASE"]: 0x12344} for n in SIX), (V86,)),
    Row(
        "the bases of FS and GS",
        ({F.GUEST_FS_BASE: NONCANONICAL}, {F.GUEST_GS_BASE: NONCANONICAL}),
        ({F.GUEST_FS_BASE: 1 << 46},),
    ),
    Row("bits 63:32 of the base of CS", ({F.GUEST_CS_BASE: HIGH},)),
    Row("bits 63:32 of the bases", ({F.GUEST_SS_BASE: HIGH}, {F.GUEST_DS_BASE: HIGH}), ({F.GUEST_ES_BASE: HIGH},)),
    Row("in virtual-8086 mode a limit", tuple({**V86, F[f"GUEST_{n}_LIMIT"]: 0xFFFE} for n in SIX)),
    Row(
        "in virtual-8086 mode access",
        tuple({**V86, F[f"GUEST_{n}_ACCESS"]: 0x93} for n in SIX if n not in {"CS", "SS"}),
    ),
    Row(
        "CS is accessed code",
        ({F.GUEST_CS_ACCESS: 0xA09A}, {F.GUEST_CS_ACCESS: 0xA093}, {**UNRESTRICTED, F.GUEST_CS_ACCESS: 0xA091}),
        ({F.GUEST_CS_ACCESS: 0xA099}, {F.GUEST_CS_ACCESS: 0xA09F}, {**UNRESTRICTED, F.GUEST_CS_ACCESS: 0xC093}),
    ),
    Row(
        "SS is accessed",
        tuple({F.GUEST_SS_ACCESS: 0xC090 | kind} for kind in (0, 1, 2, 5, 9, 11)),
        ({F.GUEST_SS_ACCESS: 0xC097},),
    ),
    Row(
        "DS, ES, FS and GS are accessed",
        tuple(guest_access(n, 0xC090 | kind) for n in DATA for kind in (0, 2, 9, 10, 13)),
        tuple(guest_access(n, 0xC090 | kind) for n in DATA for kind in (1, 3, 5, 7, 11, 15)),
    ),
    Row("S of code and data", tuple(guest_access(n, 0xA08B if n == "CS" else 0xC083) for n in SIX)),
    Row(
        "the DPL of CS goes",
        ({F.GUEST_CS_ACCESS: 0xA0FB}, {F.GUEST_CS_ACCESS: 0xA0FF}, {**RING_3, F.GUEST_CS_ACCESS: 0xA09B}),
        ({**RING_3, F.GUEST_CS_ACCESS: 0xA09F}, {**RING_3, F.GUEST_CS_ACCESS: 0xA0FF}),
    ),
    Row(
        "the DPL of SS is its RPL",
        ({F.GUEST_SS_ACCESS: 0xC0F3, F.GUEST_CS_ACCESS: 0xA0FB}, {**RING_3, **REAL, F.GUEST_CS_ACCESS: 0xC0FB}),
        ({**UNRESTRICTED, F.GUEST_SS_ACCESS: 0xC0F3, F.GUEST_CS_ACCESS: 0xA0FB}, {F.GUEST_SS_ACCESS: 0x10000}),
    ),
    Row(
        "the DPLs of DS",
        tuple(guest_access(n, 0xC093, selector=0x13) for n in DATA),
        (
            *(guest_access(n, 0xC09F, selector=0x13) for n in DATA),
            {**UNRESTRICTED, **guest_access("DS", 0xC093, selector=0x13)},
            guest_access("ES", 0x1C093, selector=0x13),
        ),
    ),
    Row("code and data are present", tuple(guest_access(n, 0xA01B if n == "CS" else 0xC013) for n in SIX)),
    Row(
        "the reserved bits of access",
        tuple(guest_access(n, (0xA09B if n == "CS" else 0xC093) | 1 << bit) for n in SIX for bit in (8, 11, 17, 31)),
    ),
    Row("64-bit code has D", ({F.GUEST_CS_ACCESS: 0xE09B},), ({**GUEST_32, F.GUEST_CS_ACCESS: 0xE09B},)),
    Row(
        "granularity goes",
        (
            *(guest_access(n, 0xA09B if n == "CS" else 0xC093, limit=0xFFFFF000) for n in SIX),
            *(guest_access(n, 0x209B if n == "CS" else 0x4093, limit=0x100000) for n in SIX),
        ),
        tuple(guest_access(n, 0x209B if n == "CS" else 0x4093, limit=0xFFFFF) for n in SIX),
    ),
    Row(
        "TR is a busy TSS",
        ({F.GUEST_TR_ACCESS: 0x83}, {F.GUEST_TR_ACCESS: 0x89}, {**GUEST_32, F.GUEST_TR_ACCESS: 0x89}),
        ({**GUEST_32, F.GUEST_TR_ACCESS: 0x83},),
    ),
    Row("TR is usable", ({F.GUEST_TR_ACCESS: 0x1008B},)),
    Row("LDTR is an LDT", ({F.GUEST_LDTR_ACCESS: 0x83},), ({F.GUEST_LDTR_ACCESS: 0x10000},)),
    *SYSTEM_ROWS,
    Row("the bases of GDTR", ({F.GUEST_GDTR_BASE: NONCANONICAL}, {F.GUEST_IDTR_BASE: NONCANONICAL})),
    Row(
        "bits 31:16 of the limits",
        ({F.GUEST_GDTR_LIMIT: 0x10000}, {F.GUEST_IDTR_LIMIT: 1 << 31}),
        ({F.GUEST_GDTR_LIMIT: 0xFFFF},),
    ),
    Row(
        "RIP has 32 bits",
        (
            {F.GUEST_RIP: 1 << 48},
            {F.GUEST_RIP: 1 << 63},
            {F.GUEST_CS_ACCESS: 0xC09B, F.GUEST_RIP: HIGH},
            {**GUEST_32, F.GUEST_RIP: HIGH},
        ),
        ({F.GUEST_RIP: NONCANONICAL}, {F.GUEST_RIP: ONES}, {F.GUEST_RIP: 0xFFFF << 48}),
    ),
    Row(
        "the reserved bits of RFLAGS",
        tuple({F.GUEST_RFLAGS: 2 ^ 1 << bit} for bit in (1, 3, 5, 15, 22, 63)),
        ({F.GUEST_RFLAGS: 0x3C7FD7 & ~TF},),
    ),
    Row("virtual-8086 mode is in", ({**V86, **UNRESTRICTED, F.GUEST_CR0: 0x20},)),
    Row(
        "an external interrupt is injected with",
        ({F.ENTRY_INTERRUPTION_INFO: EXTERNAL | 32},),
        ({F.ENTRY_INTERRUPTION_INFO: EXTERNAL | 32, F.GUEST_RFLAGS: IF | 2},),
    ),
    Row(
        "the activity state is",
        ({F.GUEST_ACTIVITY: 2}, {F.GUEST_ACTIVITY: 3}, {F.GUEST_ACTIVITY: 4}),
        ({F.GUEST_ACTIVITY: 1},),
    ),
    Row("the processor halts", ({**RING_3, F.GUEST_ACTIVITY: 1},)),
    Row(
        "behind STI or MOV SS",
        (
            {F.GUEST_ACTIVITY: 1, F.GUEST_INTERRUPTIBILITY: 2},
            {F.GUEST_ACTIVITY: 1, F.GUEST_INTERRUPTIBILITY: 1, F.GUEST_RFLAGS: IF | 2},
        ),
        ({F.GUEST_ACTIVITY: 1, F.GUEST_INTERRUPTIBILITY: 8},),
    ),
    Row(
        "the injected event is one that",
        (
            {F.GUEST_ACTIVITY: 1, F.ENTRY_INTERRUPTION_INFO: SOFTWARE | 1},
            {F.GUEST_ACTIVITY: 1, F.ENTRY_INTERRUPTION_INFO: EXCEPTION | 6},
        ),
        (
            {F.GUEST_ACTIVITY: 1, F.ENTRY_INTERRUPTION_INFO: EXTERNAL | 32, F.GUEST_RFLAGS: IF | 2},
            {F.GUEST_ACTIVITY: 1, F.ENTRY_INTERRUPTION_INFO: NMI | 2},
            {F.GUEST_ACTIVITY: 1, F.ENTRY_INTERRUPTION_INFO: EXCEPTION | 1},
            {F.GUEST_ACTIVITY: 1, F.ENTRY_INTERRUPTION_INFO: EXCEPTION | 18},
            {F.GUEST_ACTIVITY: 1, F.ENTRY_INTERRUPTION_INFO: OTHER},
        ),
    ),
    Row("the reserved bits of the interruptibility", tuple({F.GUEST_INTERRUPTIBILITY: 1 << bit} for bit in (4, 5, 31))),
    Row("STI and MOV SS", ({F.GUEST_INTERRUPTIBILITY: 3, F.GUEST_RFLAGS: IF | 2},)),
    Row("STI holds", ({F.GUEST_INTERRUPTIBILITY: 1},), ({F.GUEST_INTERRUPTIBILITY: 1, F.GUEST_RFLAGS: IF | 2},)),
    Row(
        "an external interrupt is injected where",
        tuple(
            {F.ENTRY_INTERRUPTION_INFO: EXTERNAL | 32, F.GUEST_RFLAGS: IF | 2, F.GUEST_INTERRUPTIBILITY: bits}
            for bits in (1, 2)
        ),
    ),
    Row(
        "an NMI is injected where MOV SS",
        ({F.ENTRY_INTERRUPTION_INFO: NMI | 2, F.GUEST_INTERRUPTIBILITY: 2},),
        ({F.ENTRY_INTERRUPTION_INFO: NMI | 2, F.GUEST_INTERRUPTIBILITY: 1, F.GUEST_RFLAGS: IF | 2},),
    ),
    Row("SMIs are not", ({F.GUEST_INTERRUPTIBILITY: 4},)),
    Row(
        "an NMI is injected where no",
        ({**VIRTUAL_NMIS, F.ENTRY_INTERRUPTION_INFO: NMI | 2, F.GUEST_INTERRUPTIBILITY: 8},),
        ({F.ENTRY_INTERRUPTION_INFO: NMI | 2, F.GUEST_INTERRUPTIBILITY: 8},),
    ),
    Row(
        "the reserved bits of the pending",
        tuple({F.GUEST_PENDING_DEBUG: 1 << bit} for bit in (4, 11, 13, 15, 16, 17, 63)),
        ({F.GUEST_PENDING_DEBUG: 0x500F},),
    ),
    Row(
        "a pending single step",
        (
            {F.GUEST_INTERRUPTIBILITY: 2, F.GUEST_RFLAGS: TF | 2},
            {F.GUEST_INTERRUPTIBILITY: 2, F.GUEST_PENDING_DEBUG: 1 << 14},
            {F.GUEST_ACTIVITY: 1, F.GUEST_RFLAGS: TF | 2},
            {F.GUEST_INTERRUPTIBILITY: 2, F.GUEST_RFLAGS: TF | 2, F.GUEST_DEBUGCTL: 2, F.GUEST_PENDING_DEBUG: 1 << 14},
        ),
        (
            {F.GUEST_INTERRUPTIBILITY: 2, F.GUEST_RFLAGS: TF | 2, F.GUEST_PENDING_DEBUG: 1 << 14},
            {F.GUEST_INTERRUPTIBILITY: 2, F.GUEST_RFLAGS: TF | 2, F.GUEST_DEBUGCTL: 2},
            {F.GUEST_RFLAGS: TF | 2},
        ),
    ),
    Row(
        "the VMCS link pointer",
        (
            *({F.VMCS_LINK_POINTER: v} for v in (0x10, WIDE, VMCS, WRONG, SHADOW, 1 << 40)),
            {**SHADOWING, F.VMCS_LINK_POINTER: VMCS + 0x8000},
        ),
        ({**SHADOWING, F.VMCS_LINK_POINTER: SHADOW},),
    ),
    Row(
        "the reserved bits of the PDPTEs",
        (
            {**GUEST_32, **EPT, F.GUEST_PDPTE2: 1 << 1 | 1},
            {**GUEST_32, **EPT, F.GUEST_PDPTE0: WIDE | 1},
            {**GUEST_32, F.GUEST_CR3: PDPT + 0x20},
        ),
        ({**GUEST_32, **EPT, F.GUEST_PDPTE2: 2}, {F.GUEST_CR3: PDPT + 0x20}, {**GUEST_32, F.GUEST_CR3: PDPT}),
    ),
)


@pytest.mark.parametrize(
    ("rules", "row"),
    [
        (rules, row)
        for rules, rows in ((CONTROLS, CONTROL_ROWS), (HOST, HOST_ROWS), (GUEST, GUEST_ROWS))
        for row in rows
    ],
    ids=lambda value: value.rule if isinstance(value, Row) else "",
)
def test_each_rule_broken_alone(rules: tuple[object, ...], row: Row) -> None:
    (rule,) = [rule for rule in RULES if rule in rules and rule.text.startswith(row.rule)]
    for change in row.bad:
        e = entry(change, long_mode=row.long_mode)
        e.memory.write64(PDPT + 0x20, 1 << 63 | 1)
        assert [each.text for each in RULES if each.broken(e)] == [rule.text], change
    for change in row.good:
        e = entry(change, long_mode=row.long_mode)
        e.memory.write64(PDPT + 0x20, 1 << 63 | 1)
        assert [each.text for each in RULES if each.broken(e)] == [], change


def test_every_rule_has_a_row_that_breaks_it() -> None:
    for rules, rows in ((CONTROLS, CONTROL_ROWS), (HOST, HOST_ROWS), (GUEST, GUEST_ROWS)):
        for rule in rules:
            assert any(rule.text.startswith(row.rule) and row.bad for row in rows), rule.text


def test_the_base_breaks_nothing() -> None:
    assert first_broken(RULES, entry()) is None


def test_qualifications() -> None:
    assert {rule.text[:21]: rule.qualification for rule in GUEST if rule.qualification} == {
        "the VMCS link pointer": 4,
        "the reserved bits of ": 2,
    }


def test_a_rule_says_where_it_stands() -> None:
    (rule,) = [rule for rule in RULES if rule.text == "the VPID is not 0"]
    assert str(rule) == "the VPID is not 0 (SDM 'VM-Execution Control Fields')"
