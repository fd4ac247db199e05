"""The checks of VM entry on the host-state area: what is broken is VMfailValid(8).

SDM "Checks on VMX Controls and Host-State Area".
"""

from __future__ import annotations

from typing import Final

from ..mmu.address import U32, canonical
from ..mmu.registers import CR4, EFER
from .fields import Field
from .rule import Entered, Rule, bad_pat, not_canonical

_REGISTERS: Final = "Checks on Host Control Registers, MSRs, and SSP"
_SEGMENTS: Final = "Checks on Host Segment and Descriptor-Table Registers"
_SIZE: Final = "Checks Related to Address-Space Size"
_SELECTORS: Final = tuple(Field[f"HOST_{name}_SELECTOR"] for name in ("CS", "SS", "DS", "ES", "FS", "GS", "TR"))
_LMA_LME: Final = EFER.LMA.mask | EFER.LME.mask


def _efer_wrong(e: Entered) -> bool:
    efer = e[Field.HOST_EFER]
    wanted = _LMA_LME if e.exit.HOST_ADDRESS_SPACE_SIZE else 0
    return bool(e.exit.LOAD_EFER) and (bool(efer & ~e.caps.efer_known) or efer & _LMA_LME != wanted)


HOST: Final = (
    Rule(_REGISTERS, "VMX operation supports CR0", lambda e: not e.caps.cr0_supported(e[Field.HOST_CR0])),
    Rule(_REGISTERS, "VMX operation supports CR4", lambda e: not e.caps.cr4_supported(e[Field.HOST_CR4])),
    Rule(_REGISTERS, "CR3 is within the physical-address width", lambda e: e.caps.beyond(e[Field.HOST_CR3])),
    Rule(
        _REGISTERS,
        "IA32_SYSENTER_ESP and IA32_SYSENTER_EIP are canonical",
        not_canonical(Field.HOST_SYSENTER_ESP, Field.HOST_SYSENTER_EIP),
    ),
    Rule(
        _REGISTERS,
        "WRMSR would take the IA32_PAT that is loaded",
        lambda e: bool(e.exit.LOAD_PAT) and bad_pat(e[Field.HOST_PAT]),
    ),
    Rule(_REGISTERS, "the IA32_EFER that is loaded has LMA and LME as the host's address-space size", _efer_wrong),
    Rule(
        _REGISTERS,
        "bits 63:32 of the IA32_PKRS that is loaded are 0",
        lambda e: bool(e.exit.LOAD_PKRS) and e[Field.HOST_PKRS] > U32,
    ),
    Rule(_SEGMENTS, "RPL and TI of each selector are 0", lambda e: any(e[field] & 7 for field in _SELECTORS)),
    Rule(
        _SEGMENTS,
        "CS and TR are not null",
        lambda e: not (e[Field.HOST_CS_SELECTOR] and e[Field.HOST_TR_SELECTOR]),
    ),
    Rule(
        _SEGMENTS,
        "SS is not null for a 32-bit host",
        lambda e: not (e.exit.HOST_ADDRESS_SPACE_SIZE or e[Field.HOST_SS_SELECTOR]),
    ),
    Rule(
        _SEGMENTS,
        "the bases of FS, GS, TR, GDTR and IDTR are canonical",
        not_canonical(*(Field[f"HOST_{name}_BASE"] for name in ("FS", "GS", "TR", "GDTR", "IDTR"))),
    ),
    Rule(
        _SIZE,
        "outside IA-32e mode neither guest nor host has 64 bits",
        lambda e: not e.long_mode and bool(e.entry.IA32E_MODE_GUEST or e.exit.HOST_ADDRESS_SPACE_SIZE),
    ),
    Rule(_SIZE, "in IA-32e mode the host has 64 bits", lambda e: e.long_mode and not e.exit.HOST_ADDRESS_SPACE_SIZE),
    Rule(
        _SIZE,
        "a 32-bit host has no 64-bit guest, no PCIDs, and 32 bits of RIP",
        lambda e: (
            not e.exit.HOST_ADDRESS_SPACE_SIZE
            and bool(e.entry.IA32E_MODE_GUEST or e[Field.HOST_CR4] & CR4.PCIDE.mask or e[Field.HOST_RIP] > U32)
        ),
    ),
    Rule(
        _SIZE,
        "a 64-bit host has CR4.PAE",
        lambda e: bool(e.exit.HOST_ADDRESS_SPACE_SIZE) and not e[Field.HOST_CR4] & CR4.PAE.mask,
    ),
    Rule(
        _SIZE,
        "the RIP of a 64-bit host is canonical",
        lambda e: bool(e.exit.HOST_ADDRESS_SPACE_SIZE) and not canonical(e[Field.HOST_RIP]),
    ),
)
