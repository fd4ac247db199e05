"""Guest state that a VM exit does not write to the VMCS: most of it nobody reads before the guest is entered again.

Each field has a function that finds it in the side that the exit has put away (`world`); `Vmcs` asks when software reads it.
"""

from __future__ import annotations

import struct
from functools import partial
from typing import TYPE_CHECKING, Final

from ..vmx.fields import Field
from .descriptors import UNUSABLE, Segment
from .registers import SEGMENT_NAMES

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..vmx.vmcs import Vmcs
    from .world import World

    Read = Callable[[World], int]

_FS: Final = 4
_ACCESS: Final = 0x1F0FF  # of access rights that are kept
_HELD: Final = struct.Struct("<I4xQ8x")  # of a segment register in TCG: selector and base


def _segment(world: World, number: int) -> Segment:
    """Give a segment register; what the guest nulled or rebased without a trap is in TCG's words (`Cpu.segment`)."""
    kept = world.segments[number]
    selector, base = _HELD.unpack_from(world.raw, _HELD.size * number)
    if selector & 0xFFFF != kept.selector:
        kept = Segment(selector & 0xFFFF, 0, 0, UNUSABLE)
    return Segment(kept.selector, base, kept.limit, kept.access) if number >= _FS and base != kept.base else kept


def _parts(name: str, find: Callable[[World], Segment]) -> dict[int, Read]:
    """Give the functions of a segment register's four fields."""
    return {
        Field[f"GUEST_{name}_SELECTOR"]: lambda world: find(world).selector,
        Field[f"GUEST_{name}_BASE"]: lambda world: find(world).base,
        Field[f"GUEST_{name}_LIMIT"]: lambda world: find(world).limit,
        Field[f"GUEST_{name}_ACCESS"]: lambda world: find(world).access & _ACCESS,
    }


def _numbered(number: int) -> Callable[[World], Segment]:
    return lambda world: _segment(world, number)


_LATE: Final[dict[int, Read]] = {
    **{
        field: read
        for number, name in enumerate(SEGMENT_NAMES)
        for field, read in _parts(name, _numbered(number)).items()
    },
    **_parts("LDTR", lambda world: world.registers.ldtr),
    **_parts("TR", lambda world: world.registers.tr),
    Field.GUEST_GDTR_BASE: lambda world: world.registers.gdtr.base,
    Field.GUEST_GDTR_LIMIT: lambda world: world.registers.gdtr.limit,
    Field.GUEST_IDTR_BASE: lambda world: world.registers.idtr.base,
    Field.GUEST_IDTR_LIMIT: lambda world: world.registers.idtr.limit,
    Field.GUEST_CR0: lambda world: world.registers.cr0,
    Field.GUEST_CR3: lambda world: world.registers.cr3,
    Field.GUEST_CR4: lambda world: world.registers.cr4,
    Field.GUEST_PKRS: lambda world: world.registers.pkrs,
    Field.GUEST_SYSENTER_CS: lambda world: world.msrs[0],
    Field.GUEST_SYSENTER_ESP: lambda world: world.msrs[1],
    Field.GUEST_SYSENTER_EIP: lambda world: world.msrs[2],
}


def leave_late(vmcs: Vmcs, world: World) -> None:
    """Take what an exit does not write out of a VMCS; it is read from the side that has been put away from now on."""
    for field in _LATE:
        del vmcs[field]
    vmcs.late = partial(_read, world)


def _read(world: World, field: int) -> int:
    return _LATE[field](world)
