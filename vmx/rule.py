"""What a rule of VM entry is, and what it is asked about."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from attrs import frozen

from ..mmu.address import canonical
from .controls import Entry, Exit, Pin, Primary, Secondary
from .fields import Field
from .words import AccessRights, Interruption

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ..mmu.walk import Memory
    from .caps import Capabilities
    from .vmcs import Vmcs

PAGE_OFFSET: Final = 0xFFF
_ACCESS: Final = {name: Field[f"GUEST_{name}_ACCESS"] for name in ("CS", "SS", "DS", "ES", "FS", "GS", "TR", "LDTR")}
_PAT_TYPES: Final = frozenset({0, 1, 4, 5, 6, 7})


class Entered:
    """A VM entry that is being checked: the VMCS, and on what processor.

    Attributes:
        vmcs: the current VMCS.
        caps: what the processor offers.
        memory: physical memory, for what the fields point to.
        long_mode: the processor is in IA-32e mode, as it executes VMLAUNCH or VMRESUME.
        pin, primary, secondary, exit, entry: the controls; `secondary` is 0 where the primary controls do not activate it.
        event: the event to inject.

    """

    def __init__(self, vmcs: Vmcs, caps: Capabilities, memory: Memory, *, long_mode: bool) -> None:
        self.vmcs, self.caps, self.memory, self.long_mode = vmcs, caps, memory, long_mode
        self.pin = Pin(vmcs[Field.PIN_CONTROLS])
        self.primary = Primary(vmcs[Field.PRIMARY_CONTROLS])
        self.secondary = Secondary(vmcs[Field.SECONDARY_CONTROLS] if self.primary.SECONDARY_CONTROLS else 0)
        self.exit = Exit(vmcs[Field.EXIT_CONTROLS])
        self.entry = Entry(vmcs[Field.ENTRY_CONTROLS])
        self.event = Interruption(vmcs[Field.ENTRY_INTERRUPTION_INFO])

    def __getitem__(self, field: Field) -> int:
        """Give a field."""
        return self.vmcs[field]

    def injects(self, *types: int) -> bool:
        """Tell whether this entry injects an event of one of these types."""
        return bool(self.event.VALID) and self.event.TYPE in types

    def access(self, name: str) -> AccessRights:
        """Give the guest's access rights of a segment register, by its name."""
        return AccessRights(self.vmcs[_ACCESS[name]])

    def usable(self, name: str) -> bool:
        """Tell whether a segment register of the guest is usable."""
        return not self.access(name).UNUSABLE

    def misplaced(self, field: Field, aligned: int = PAGE_OFFSET) -> bool:
        """Tell whether the physical address in a field is not aligned, or beyond the physical-address width."""
        address = self.vmcs[field]
        return bool(address & aligned) or self.caps.beyond(address)


@frozen
class Rule:
    """A condition that VM entry checks.

    Attributes:
        section: the title of its section in the SDM, volume 3C, "VM Entries".
        text: what must hold, in short.
        broken: tells whether it does not hold.
        qualification: the exit qualification where a rule of guest state is broken.

    """

    section: str
    text: str
    broken: Callable[[Entered], bool]
    qualification: int = 0

    def __str__(self) -> str:
        """Say which rule it is, for a report."""
        return f"{self.text} (SDM {self.section!r})"


def first_broken(rules: Iterable[Rule], entered: Entered) -> Rule | None:
    """Give the first rule that does not hold, or None."""
    return next((rule for rule in rules if rule.broken(entered)), None)


def not_canonical(*fields: Field) -> Callable[[Entered], bool]:
    """Make the condition that one of some fields is no canonical address."""
    return lambda e: not all(canonical(e[field]) for field in fields)


def bad_pat(value: int) -> bool:
    """Tell whether WRMSR would refuse a value for IA32_PAT."""
    return any(value >> 8 * i & 0xFF not in _PAT_TYPES for i in range(8))
