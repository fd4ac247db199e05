"""The second stage's part of a walk for readers: what was read of the EPT, and which bit of it refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from .ept import NAMES, XU, EptEntry, Qualification, R, W, X, reserved_bits_of
from .rights import EXEC, READ, WRITE
from .second import SecondStage
from .tlb import GuestPhysical
from .walk import MISCONFIGURATION, VIOLATION, SecondStageFault

if TYPE_CHECKING:
    from .ept import Root

RESULTS: Final = {
    VIOLATION: "EPT violation",
    MISCONFIGURATION: "EPT misconfiguration",
}
_TYPES: Final = EptEntry.TYPE.mask


class EptStep(NamedTuple):
    """One level of an EPT: the level, where its entry is, and the entry."""

    level: int
    address: int
    entry: EptEntry


class Stage(NamedTuple):
    """A guest-physical address, and the entries that translate it."""

    gpa: int
    steps: tuple[EptStep, ...]

    def rights(self, *, fetch_bit: int = X) -> int:
        """Give the READ, WRITE and EXEC bits that all entries allow; `fetch_bit` is the one that stands for EXEC."""
        every = R | W | X | XU
        for step in self.steps:
            every &= step.entry
        return (READ if every & R else 0) | (WRITE if every & W else 0) | (EXEC if every & fetch_bit else 0)


class EptExit(NamedTuple):
    """A translation that the EPT refuses: a VM exit.

    Attributes:
        name: "EPT violation" or "EPT misconfiguration".
        gpa: the guest-physical address.
        qualification: the exit qualification; 0 for a misconfiguration.
        level: the level of the EPT's entry that decided; 0 where it is the address itself.
        reason: the rule, in words.
        mask: the entry's bits that decided.

    """

    name: str
    gpa: int
    qualification: Qualification
    level: int
    reason: str
    mask: int


class Traced(SecondStage):
    """A second stage for a reader: it leaves no trace, reads the EPT for each address, and keeps what it read.

    Attributes:
        stages: each address that was translated, in the order of the accesses.

    """

    def __init__(self, of: SecondStage) -> None:
        super().__init__(of.memory, of.root, GuestPhysical(), still=True)
        self.stages: list[Stage] = []

    def _walk(self, gpa: int, need: int, kind: int, trail: list[int] | None = None) -> int:
        trail = []
        try:
            return super()._walk(gpa, need, kind, trail)
        finally:
            steps = [EptStep(4 - i // 2, trail[i], EptEntry(trail[i + 1])) for i in range(0, len(trail), 2)]
            self.stages.append(Stage(gpa, tuple(steps)))

    def of(self, gpa: int) -> Stage:
        """Give how an address was translated."""
        return next(stage for stage in self.stages if stage.gpa == gpa)


def ept_exit(root: Root, fault: SecondStageFault, stage: Stage) -> EptExit:
    """Explain what the second stage has refused."""
    level, mask, reason = _decider(root, fault, stage)
    return EptExit(RESULTS[fault.result], fault.gpa, Qualification(fault.qualification), level, reason, mask)


def _decider(root: Root, fault: SecondStageFault, stage: Stage) -> tuple[int, int, str]:
    """Give the level of the entry that decided, its bits that did, and the rule."""
    if not stage.steps:
        return 0, 0, "four levels translate addresses of 48 bits"
    level, _, last = stage.steps[-1]
    name = NAMES[level]
    if fault.result == MISCONFIGURATION:
        if last & (R | W) == W:
            return level, R | W, f"{name} may be written and not read"
        bits = reserved_bits_of(root, level, last)
        if bits:
            names = ", ".join(str(i) for i in range(64) if bits >> i & 1)
            return level, bits, f"{name} has reserved bits set: {names}"
        return level, _TYPES, f"{name} has a reserved memory type: {last.TYPE}"
    present = R | W | X | XU if root.mode_based else R | W | X
    if not last & present:
        return level, present, f"{name} is not present"
    for bit, field in ((R, "R"), (W, "W"), (X, "X"), (XU, "XU")):
        if bit == XU or fault.qualification & bit:
            for step in stage.steps:
                if not step.entry & bit and not (bit == X and _by_user(root, fault)):
                    return step.level, bit, f"{NAMES[step.level]}.{field} is 0"
    raise AssertionError("a violation has a reason")


def _by_user(root: Root, fault: SecondStageFault) -> bool:
    """Tell whether a fetch is from a page of the guest's users, and XU decides."""
    return root.mode_based and bool(fault.qualification & Qualification.USER_PAGE.mask)
