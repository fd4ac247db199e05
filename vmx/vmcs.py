"""A virtual-machine control structure: an object while it is active, a region of memory while it is not.

::

    region │ 0: revision, bit 31: shadow │ 4: VMX-abort indicator │ 8: the fields in the order of `Field`, 8 bytes each

Software must not look at the region's data while the VMCS is active (SDM "Software Use of Virtual-Machine Control Structures"):
VMPTRLD of one that is not active reads the region, VMCLEAR writes it, and in between the object is the truth.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from .fields import Field

if TYPE_CHECKING:
    from ..mmu.walk import Memory

SHADOW: Final = 1 << 31  # in a region's first word
_DATA: Final = 8
_FIELDS: Final = tuple(Field)
_MASKS: Final = {field: (1 << field.bits) - 1 for field in Field}


class Vmcs(dict[int, int]):
    """One VMCS that is active: ``vmcs[Field.GUEST_RIP]``.

    Attributes:
        address: the physical address of its region.
        shadow: its shadow-VMCS indicator.
        checked_in_long_mode: in which mode controls and host state were found right, if they have not been written since; else None.
        launched: its launch state: VMRESUME may enter, VMLAUNCH may not.

    """

    def __init__(self, address: int, *, shadow: bool = False, launched: bool = False) -> None:
        super().__init__(dict.fromkeys(map(int, _FIELDS), 0))
        self.address = address
        self.shadow = shadow
        self.launched = launched
        self.checked_in_long_mode: bool | None = None

    @classmethod
    def read(cls, memory: Memory, address: int) -> Vmcs:
        """Make the VMCS whose region is at `address`; what is there of a field beyond its width does not count."""
        vmcs = cls(address, shadow=bool(memory.read64(address) & SHADOW))
        for number, field in enumerate(_FIELDS):
            vmcs[int(field)] = memory.read64(address + _DATA + 8 * number) & _MASKS[field]
        return vmcs

    def write(self, memory: Memory) -> None:
        """Write every field to the region, as VMCLEAR does; the launch state becomes clear."""
        self.launched = False
        for number, field in enumerate(_FIELDS):
            memory.write64(self.address + _DATA + 8 * number, self[field])

    def describe(self) -> list[str]:
        """Give the fields that are not 0, by name, for a report."""
        state = ("launched" if self.launched else "clear") + (", shadow" if self.shadow else "")
        fields = (f"  {field.name:26} {self[field]:#x}" for field in _FIELDS if self[field])
        return [f"VMCS at {self.address:#x}, {state}:", *fields]
