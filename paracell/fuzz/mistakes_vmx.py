"""Mistakes in the checks of VM entry, for the target `vmentry`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from ..emu import vmentry
from ..vmx import control_checks, guest_checks, segment_checks
from ..vmx.caps import Capabilities
from ..vmx.vmcs import Vmcs
from .mistakes import Mistake

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ..vmx.rule import Rule


def _without(text: str) -> Callable[[Any], tuple[Rule, ...]]:
    """Leave one rule out of a list of them."""

    def make(rules: tuple[Rule, ...]) -> tuple[Rule, ...]:
        left = tuple(rule for rule in rules if not rule.text.startswith(text))
        assert len(left) == len(rules) - 1
        return left

    return make


def _one_more(right: Callable[[Capabilities, int], bool]) -> Callable[[Capabilities, int], bool]:
    return lambda caps, address: bool(address >> caps.maxphyaddr + 1) if address else right(caps, address)


def _keep(right: Callable[[Vmcs], None]) -> Callable[[Vmcs], None]:
    """Have a write to a control drop what was made of the guest and the controls, and not that they were found right."""

    def wrong(vmcs: Vmcs) -> None:
        found_right = vmcs.checked_in_long_mode
        right(vmcs)
        vmcs.checked_in_long_mode = found_right

    return wrong


VM_ENTRY: Final[Mapping[str, Mistake]] = {
    "entry-length": Mistake("an injected instruction may have 16 bytes", control_checks, "_LONGEST", lambda _: 16),
    "entry-limit": Mistake("a limit of GDTR or IDTR may be 10000H", guest_checks, "_LIMIT_16", lambda _: 0x10000),
    "entry-width": Mistake("an address may have one bit beyond the width", Capabilities, "beyond", _one_more),
    "entry-tss": Mistake("TR may be an available TSS", segment_checks, "_TSS16", lambda _: 9),
    "entry-link": Mistake(
        "the VMCS link pointer is not looked at", vmentry, "GUEST", _without("the VMCS link pointer")
    ),
    "entry-busy": Mistake("a halted processor may be behind STI", vmentry, "GUEST", _without("behind STI or MOV SS")),
    "entry-again": Mistake("controls that were found right are not checked again once written", Vmcs, "forget", _keep),
}
