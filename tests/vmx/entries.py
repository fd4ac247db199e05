"""VMCSs that pass every check of VM entry, to be broken by one change."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from paracell.emu.features import parse
from paracell.fuzz.entry_states import (
    BASE,
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
)
from paracell.vmx.caps import REVISION, Capabilities
from paracell.vmx.rule import Entered
from paracell.vmx.vmcs import Vmcs

from .memory import Words

if TYPE_CHECKING:
    from paracell.vmx.fields import Field

__all__ = [
    "BASE", "CAPS", "CR0", "CR4", "ENTRY", "EPT", "EXIT", "GUEST_32", "HOST_32", "ONES", "PDPT", "PIN", "PRIMARY", "SHADOW",
    "UNRESTRICTED", "V86", "VAPIC", "VIRTUAL_NMIS", "VMCS", "WRONG", "controls", "entry", "put",
]  # fmt: skip

_caps = parse("pks,+vmx").vmx
assert _caps is not None
CAPS: Final[Capabilities] = _caps


def put(vmcs: Vmcs, change: dict[Field, int]) -> None:
    """Write fields, as VMWRITE does."""
    vmcs.checked_in_long_mode = None
    for field, value in change.items():
        vmcs[field] = value


def entry(*changes: dict[Field, int], long_mode: bool = True, caps: Capabilities = CAPS) -> Entered:
    """Give the entry of `BASE` with changes, later ones first in force."""
    memory = Words()
    memory.write64(SHADOW, REVISION | 1 << 31)
    memory.write64(VMCS, REVISION)
    memory.write64(WRONG, REVISION + 1)
    memory.write64(VAPIC + 0x80, 0x50)
    memory.write64(PDPT, 0x1001)
    vmcs = Vmcs(VMCS)
    for change in (BASE, *changes):
        put(vmcs, change)
    return Entered(vmcs, caps, memory, long_mode=long_mode)
