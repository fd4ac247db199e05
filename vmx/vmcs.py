"""A virtual-machine control structure: an object while it is active, a region of memory while it is not.

::

    region │ 0: revision, bit 31: shadow │ 4: VMX-abort indicator │ 8: the fields in the order of `Field`, 8 bytes each

Software must not look at the region's data while the VMCS is active (SDM "Software Use of Virtual-Machine Control Structures"):
VMPTRLD of one that is not active reads the region, VMCLEAR writes it, and in between the object is the truth.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from .controls import Primary
from .fields import CONTROL, GUEST, HOST, Field

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..mmu.walk import Memory

SHADOW: Final = 1 << 31  # in a region's first word
_DATA: Final = 8
_FIELDS: Final = tuple(Field)
_MASKS: Final = {field: (1 << field.bits) - 1 for field in Field}
# What VM entry looks at each time; all else is looked at again only when it has been written.
EACH_ENTRY: Final = frozenset(
    {
        Field.GUEST_RIP, Field.GUEST_RSP, Field.GUEST_RFLAGS, Field.GUEST_INTERRUPTIBILITY, Field.GUEST_ACTIVITY,
        Field.GUEST_PENDING_DEBUG, Field.PREEMPTION_TIMER_VALUE, Field.VMCS_LINK_POINTER, Field.TSC_OFFSET,
        Field.GUEST_PML_INDEX, Field.ENTRY_INTERRUPTION_INFO, Field.ENTRY_ERROR_CODE, Field.ENTRY_INSTRUCTION_LENGTH,
        Field.HOST_RSP,
    }
)  # fmt: skip
# Of these, what has no rule that is worth a look beforehand.
PLAIN_AT_ENTRY: Final = frozenset(
    {
        Field.GUEST_RIP,
        Field.GUEST_RSP,
        Field.GUEST_RFLAGS,
        Field.TSC_OFFSET,
        Field.HOST_RSP,
        Field.PREEMPTION_TIMER_VALUE,
    }
)
_PRIMARY, _WINDOW = int(Field.PRIMARY_CONTROLS), Primary.INTERRUPT_WINDOW_EXITING.mask
_TYPE: Final = 10  # the lowest bit of a field's type, in its encoding
_put: Final = dict.__setitem__


class Vmcs(dict[int, int]):
    """One VMCS that is active: ``vmcs[Field.GUEST_RIP]``.

    Most of the guest state that an exit saves is never read, so an exit may leave it to `late`, and its fields out of the dictionary.

    Attributes:
        address: the physical address of its region.
        shadow: its shadow-VMCS indicator.
        launched: its launch state: VMRESUME may enter, VMLAUNCH may not.
        checked_in_long_mode: in which mode controls and host state were found right, if they have not been written since; else None.
        guest, host, controls: what the processor has made of the guest state, the host state and the controls, if they have not
            been written since; else None.
        calm: no event is held off or injected, and no VMCS is linked; False where one of those may have been written.
        late: gives the fields that are not in the dictionary, from `guest`; or None where all are.

    """

    def __init__(self, address: int, *, shadow: bool = False, launched: bool = False) -> None:
        super().__init__(dict.fromkeys(map(int, _FIELDS), 0))
        self.address = address
        self.shadow = shadow
        self.launched = launched
        self.checked_in_long_mode: bool | None = None
        self.guest: Any = None
        self.host: Any = None
        self.controls: Any = None
        self.calm = False
        self.late: Callable[[int], int] | None = None

    def __missing__(self, field: int) -> int:
        """Give what the last exit has left for later."""
        if self.late is None:
            raise KeyError(field)
        return self.late(field)

    def __setitem__(self, field: int, value: int) -> None:
        """Write a field, as software does; what was made of it is worth nothing any more, unless the value stays."""
        self.store(field, value)

    def store(self, field: int, value: int) -> None:
        """The same as a call, which is quicker."""
        before = self[field]
        if value == before:
            return
        kind = field >> _TYPE & 3
        if field in EACH_ENTRY:
            if field not in PLAIN_AT_ENTRY:
                self.calm = False
        elif kind == GUEST:
            self.drop_guest()
        elif kind == HOST:
            self.host = self.checked_in_long_mode = None
        elif field == _PRIMARY and value ^ before == _WINDOW:
            self.controls = None  # hosts open and close the window all the time, and no rule asks for it
        elif kind == CONTROL:
            self.forget()
        _put(self, field, value)

    def drop_guest(self) -> None:
        """Forget the guest's side; what the last exit has left in it for later is written first."""
        self.settle()
        self.guest = None

    def forget(self) -> None:
        """Forget what was made of the fields: all of it depends on controls."""
        self.drop_guest()
        self.host = self.controls = self.checked_in_long_mode = None

    def settle(self) -> None:
        """Have every field in the dictionary."""
        late = self.late
        if late is not None:
            self.late = None
            for field in _FIELDS:
                if field not in self:
                    _put(self, field, late(field))

    @classmethod
    def read(cls, memory: Memory, address: int) -> Vmcs:
        """Make the VMCS whose region is at `address`; what is there of a field beyond its width does not count."""
        vmcs = cls(address, shadow=bool(memory.read64(address) & SHADOW))
        for number, field in enumerate(_FIELDS):
            _put(vmcs, int(field), memory.read64(address + _DATA + 8 * number) & _MASKS[field])
        return vmcs

    def write(self, memory: Memory) -> None:
        """Write every field to the region, as VMCLEAR does; the launch state becomes clear."""
        self.settle()
        self.launched = False
        for number, field in enumerate(_FIELDS):
            memory.write64(self.address + _DATA + 8 * number, self[field])

    def describe(self) -> list[str]:
        """Give the fields that are not 0, by name, for a report."""
        state = ("launched" if self.launched else "clear") + (", shadow" if self.shadow else "")
        fields = (f"  {field.name:26} {self[field]:#x}" for field in _FIELDS if self[field])
        return [f"VMCS at {self.address:#x}, {state}:", *fields]
