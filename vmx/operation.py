"""VMX operation of one processor: the VMXON pointer, the active VMCSs, the current one, and what the instructions do with them.

Each function follows "Operation" on its instruction's page, from where privilege and mode have been checked.  `VmFail` says that the
instruction failed; what that does to flags and to the current VMCS is `Operation.fail`'s.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from attrs import field, frozen

from ..mmu.address import U32, U64
from ..mmu.registers import RFLAGS
from .caps import REVISION
from .errors import InstructionError, VmFail
from .fields import READ_ONLY, Field
from .nonroot import NEVER, NonRoot
from .vmcs import SHADOW, Vmcs

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..mmu.walk import Memory
    from .caps import Capabilities
    from .rule import Rule

NO_VMCS: Final = U64  # as a pointer
_PAGE: Final = 4095
_CF, _ZF = RFLAGS.CF.mask, RFLAGS.ZF.mask


def _pairs(values: Iterable[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    return tuple((encoding, value) for encoding, value in values)


@frozen
class ActiveVmcs:
    """An active VMCS in a `VmxState`: fields are (encoding, value) for those that are not 0."""

    address: int
    shadow: bool
    launched: bool
    fields: tuple[tuple[int, int], ...] = field(converter=_pairs)


def _active(values: Iterable[ActiveVmcs | dict[str, Any]]) -> tuple[ActiveVmcs, ...]:
    return tuple(each if isinstance(each, ActiveVmcs) else ActiveVmcs(**each) for each in values)


@frozen
class VmxState:
    """VMX operation as a snapshot keeps it.

    Attributes:
        vmxon_pointer: the VMXON region's physical address.
        current: the current VMCS's, or all ones.
        active: every active VMCS.
        nonroot: a guest runs, by the current VMCS.
        expires: the cycle at which its preemption timer is 0.

    """

    vmxon_pointer: int
    current: int = NO_VMCS
    active: tuple[ActiveVmcs, ...] = field(default=(), converter=_active)
    nonroot: bool = False
    expires: int = NEVER


class Operation:
    """A processor in VMX operation.

    Attributes:
        caps: what the processor's VMX offers.
        vmxon_pointer: the physical address that VMXON was given.
        current: the current VMCS, or None.
        guest: non-root operation, or None while the host runs.
        shadow: the VMCS that a guest's VMREAD and VMWRITE reach, or None.
        refused: the rule that the last VM entry broke, or None.
        entered: the VMCS of the guest that was entered last, by VPID.
        active: the active ones, by the physical address of their region.

    """

    def __init__(self, caps: Capabilities, vmxon_pointer: int) -> None:
        self.caps = caps
        self.vmxon_pointer = vmxon_pointer
        self.current: Vmcs | None = None
        self.active: dict[int, Vmcs] = {}
        self.entered: dict[int, Vmcs] = {}
        self.guest: NonRoot | None = None
        self.shadow: Vmcs | None = None
        self.refused: Rule | None = None

    def save(self) -> VmxState:
        """Give what a snapshot keeps."""
        for vmcs in self.active.values():
            vmcs.settle()
        active = tuple(
            ActiveVmcs(v.address, v.shadow, v.launched, [(e, x) for e, x in v.items() if x])
            for v in self.active.values()
        )
        if self.guest is None:
            return VmxState(self.vmxon_pointer, self.pointer, active)
        return VmxState(self.vmxon_pointer, self.pointer, active, nonroot=True, expires=self.guest.expires)

    @classmethod
    def load(cls, caps: Capabilities, state: VmxState) -> Operation:
        """Take what `save` gave; ``ValueError`` where it does not fit together."""
        made = cls(caps, state.vmxon_pointer)
        for each in state.active:
            vmcs = made.active[each.address] = Vmcs(each.address, shadow=each.shadow, launched=each.launched)
            if not dict(each.fields).keys() <= vmcs.keys():
                raise ValueError("an active VMCS has a field that does not exist")
            vmcs.update(each.fields)
        if state.current != NO_VMCS and state.current not in made.active:
            raise ValueError("the current VMCS is not active")
        if state.nonroot and state.current == NO_VMCS:
            raise ValueError("a guest runs, and there is no current VMCS")
        made.current = made.active.get(state.current)
        if state.nonroot:
            made.guest = NonRoot(made.the_current(), state.expires)
            made.shadow = made.active.get(made._link_pointer())
        return made

    @property
    def pointer(self) -> int:
        """The current-VMCS pointer; all ones where there is no current VMCS."""
        return NO_VMCS if self.current is None else self.current.address

    def fail(self, error: InstructionError | None) -> int:
        """Note why an instruction failed, and give the arithmetic flags that say so: VMfailInvalid or VMfailValid."""
        if error is None or self.current is None:
            return _CF
        self.current[Field.INSTRUCTION_ERROR] = int(error)
        return _ZF

    def describe(self) -> list[str]:
        """Say for a report what the last VM entry broke, and what the current VMCS holds."""
        lines = [] if self.refused is None else [f"the last VM entry broke a rule: {self.refused}"]
        return [*lines, *(["no current VMCS"] if self.current is None else self.current.describe())]

    def the_current(self) -> Vmcs:
        """Give the current VMCS; VMfailInvalid where there is none."""
        if self.current is None:
            raise VmFail
        return self.current

    def link(self, memory: Memory) -> None:
        """Have a guest with VMCS shadowing reach the VMCS of the link pointer, which that makes active."""
        pointer = self._link_pointer()
        self.shadow = None if pointer == NO_VMCS else self._activate(memory, pointer)

    def _link_pointer(self) -> int:
        guest = self.guest
        return NO_VMCS if guest is None or not guest.shadows else guest.vmcs[Field.VMCS_LINK_POINTER]

    def _activate(self, memory: Memory, address: int) -> Vmcs:
        vmcs = self.active.get(address)
        if vmcs is None:
            vmcs = self.active[address] = Vmcs.read(memory, address)
        return vmcs

    def _accessed(self) -> Vmcs:
        """Give what VMREAD and VMWRITE reach: the current VMCS, or in a guest its shadow; VMfailInvalid where there is none."""
        if self.guest is None:
            return self.the_current()
        if self.shadow is None:
            raise VmFail
        return self.shadow

    def vmclear(self, memory: Memory, address: int) -> None:
        """VMCLEAR: write the VMCS to its region; it is active and current no more."""
        if address & _PAGE or self.caps.beyond(address):
            raise VmFail(InstructionError.VMCLEAR_ADDRESS)
        if address == self.vmxon_pointer:
            raise VmFail(InstructionError.VMCLEAR_VMXON_POINTER)
        vmcs = self.active.pop(address, None)
        if vmcs is not None:
            vmcs.write(memory)
            if vmcs is self.current:
                self.current = None

    def vmptrld(self, memory: Memory, address: int) -> None:
        """VMPTRLD: make a VMCS active and current."""
        if address & _PAGE or self.caps.beyond(address):
            raise VmFail(InstructionError.VMPTRLD_ADDRESS)
        if address == self.vmxon_pointer:
            raise VmFail(InstructionError.VMPTRLD_VMXON_POINTER)
        header = memory.read64(address) & U32
        if header & ~SHADOW != REVISION:
            raise VmFail(InstructionError.VMPTRLD_REVISION)
        vmcs = self._activate(memory, address)
        vmcs.shadow = bool(header & SHADOW)
        self.current = vmcs

    def vmread(self, encoding: int) -> int:
        """VMREAD: give a field, or its upper half."""
        vmcs = self._accessed()
        found = self.caps.fields.get(encoding)
        if found is None:
            raise VmFail(InstructionError.UNSUPPORTED_FIELD)
        which, high = found
        return vmcs[which] >> 32 if high else vmcs[which]

    def writable(self, encoding: int) -> tuple[Field, bool]:
        """Give the field that VMWRITE may write by this encoding, and whether its upper half is meant."""
        self._accessed()
        found = self.caps.fields.get(encoding)
        if found is None:
            raise VmFail(InstructionError.UNSUPPORTED_FIELD)
        if found[0].type == READ_ONLY and not self.caps.misc.VMWRITE_ANY:
            raise VmFail(InstructionError.READ_ONLY_FIELD)
        return found

    def vmwrite(self, where: tuple[Field, bool], value: int, *, wide: bool) -> None:
        """VMWRITE, to what `writable` gave; `value` has 64 bits if `wide`, else 32, which clear the upper half of a longer field."""
        which, high = where
        vmcs = self._accessed()
        if high:
            vmcs[which] = vmcs[which] & U32 | (value & U32) << 32
        else:
            mask = (1 << min(which.bits, 64 if wide else 32)) - 1
            vmcs[which] = value & mask


def vmxon_region_refused(memory: Memory, caps: Capabilities, address: int) -> bool:
    """Tell whether VMXON fails for its region: its address, or the revision identifier there."""
    return bool(address & _PAGE) or caps.beyond(address) or memory.read64(address) & U32 != REVISION
