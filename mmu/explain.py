"""A walk for readers: the steps taken, and the rights that came out or the entry and the bit that refused.

The walker itself (`walk.walk`) returns one integer; this module turns it and the entries it read into a `Walk`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from . import rights
from .address import canonical
from .entry import LEVEL_NAMES, Entry, Entry32
from .ept import XU, X
from .explain_ept import Traced, ept_exit
from .rights import EXEC, READ, WRITE, Context
from .walk import (
    FRAME_SHIFT,
    NOT_PRESENT,
    RESERVED,
    Memory,
    Mode,
    Paging,
    SecondStageFault,
    attributes,
    error_code,
    walk,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .explain_ept import EptExit, Stage
    from .registers import PFErr
    from .second import SecondStage


class Fault(NamedTuple):
    """A refused translation.

    Attributes:
        error: the error code.
        level: the level of the entry that decided.
        reason: the rule, in words.
        mask: the entry's bits that decided.

    """

    error: PFErr
    level: int
    reason: str
    mask: int


class Step(NamedTuple):
    """One level of a walk: the level, where its entry is (guest-physical behind an EPT), and the entry."""

    level: int
    address: int
    entry: Entry | Entry32


class Walk(NamedTuple):
    """A finished walk, explained: what `walk` returned, with its trail.

    Attributes:
        gva: the linear address.
        need: READ, WRITE or EXEC.
        context: who asked.
        steps: the entries read, top first.
        frame: physical address of the 4 KiB page, or None.
        fault: why not, or None.
        register: the PDPTE register that PAE paging began with.
        stages: behind an EPT, how the address of each step was translated, and behind them how the final one was.
        gpa: behind an EPT, the final guest-physical address, or None.
        exit: what the EPT refuses, or None.

    """

    gva: int
    need: int
    context: Context
    steps: tuple[Step, ...]
    frame: int | None
    fault: Fault | None
    register: Entry | None = None
    stages: tuple[Stage, ...] = ()
    gpa: int | None = None
    exit: EptExit | None = None
    ept_rights: int = READ | WRITE | EXEC

    @property
    def refused(self) -> bool:
        """The guest's tables or the EPT refuse the access."""
        return self.fault is not None or self.exit is not None

    @property
    def reads(self) -> int:
        """How many entries were read, of tables and of the EPT."""
        return len(self.steps) + sum(len(stage.steps) for stage in self.stages)

    @property
    def rights(self) -> int:
        """The READ, WRITE and EXEC bits that the asker has here; 0 where there is no translation."""
        fault = self.fault
        if fault is not None and (fault.error.RSVD or not fault.error.P):
            return 0
        if not self.steps:
            return self.ept_rights
        return rights.allowed(self.context, self.attribute_index) & self.ept_rights

    @property
    def attribute_index(self) -> int:
        """The attribute index (`rights`) that the entries read so far add up to."""
        return attributes([word for step in self.steps for word in (step.address, int(step.entry))])

    @property
    def physical(self) -> int | None:
        """The physical address that `gva` translates to, or None."""
        return None if self.frame is None else self.frame | self.gva & 0xFFF

    def as_dict(self) -> dict[str, Any]:
        """Give the walk as plain values, for JSON: `render.record`."""
        from .render import record  # noqa: PLC0415

        return record(self)

    def __str__(self) -> str:
        """Draw the walk as `render.lines` does, level by level, with carets under the bits that decided."""
        from .render import lines  # noqa: PLC0415  (a machine that explains nothing does not pay for it)

        return "\n".join(lines(self))

    def _repr_html_(self) -> str:
        """Draw it in a notebook."""
        from html import escape  # noqa: PLC0415  (a notebook's, and slow to import)

        return f"<pre>{escape(str(self))}</pre>"


class Still:
    """A memory in which a walk leaves no trace: accessed and dirty bits stay as they are."""

    def __init__(self, memory: Memory) -> None:
        self.read64 = memory.read64

    def write64(self, address: int, value: int) -> None:
        """Write nothing."""


def look(
    memory: Memory, paging: Paging, context: Context, gva: int, need: int, second: SecondStage | None = None
) -> Walk:
    """Walk for a reader: as `walk` would go now, without setting accessed and dirty bits."""
    trail: list[int] = []
    if second is not None:
        return _look_through(second, paging, context, gva, need)
    result = walk(Still(memory), paging, gva, need, rights.table(context), trail)
    return explain(paging, context, gva, need, result, trail)


_ANYTHING: Final = Context(user=False, wp=False)  # no SMAP, no keys: reads whatever is mapped


def physical(memory: Memory, paging: Paging, gva: int, second: SecondStage | None = None) -> int | None:
    """Give the physical address behind a linear one, whatever its page allows and without a trace; None where nothing is mapped."""
    if not paging.mode and second is None:
        return gva
    if paging.mode is Mode.LEVEL4 and not canonical(gva):
        return None
    return look(memory, paging, _ANYTHING, gva, READ, second).physical


def _look_through(second: SecondStage, paging: Paging, context: Context, gva: int, need: int) -> Walk:
    """Walk for a reader through both stages."""
    traced, trail = Traced(second), list[int]()
    refusal: SecondStageFault | None = None
    result = 0
    try:
        result = traced.translate(paging, gva, need, rights.table(context), trail)
    except SecondStageFault as fault:
        refusal = fault
    found = explain(paging, context, gva, need, result, trail)
    stages = [traced.of(step.address & ~7) for step in found.steps]
    is_final = found.fault is None if refusal is None else refusal.final
    # Behind those: the final address, or that of an entry which could not be read.
    if traced.stages and (is_final or traced.stages[-1].gpa not in {stage.gpa for stage in stages}):
        stages.append(traced.stages[-1])
    if not is_final:
        return found._replace(
            stages=tuple(stages),
            exit=None if refusal is None else ept_exit(second.root, refusal, traced.stages[-1]),
            frame=None,
            ept_rights=0,
        )
    users = not found.steps or found.attribute_index & rights.U
    return found._replace(
        stages=tuple(stages),
        gpa=stages[-1].gpa & ~0xFFF | gva & 0xFFF,
        exit=None if refusal is None else ept_exit(second.root, refusal, stages[-1]),
        frame=None if refusal is not None else found.frame,
        ept_rights=stages[-1].rights(fetch_bit=XU if users and second.root.mode_based else X),
    )


def explain(paging: Paging, context: Context, gva: int, need: int, result: int, trail: Sequence[int]) -> Walk:
    """Turn what `walk` returned into a `Walk`."""
    pae = paging.mode is Mode.PAE
    top = 2 if pae else int(paging.mode)
    kind = Entry32 if paging.mode is Mode.BITS32 else Entry
    steps = tuple(Step(top - i // 2, trail[i], kind(trail[i + 1])) for i in range(0, len(trail), 2))
    register = Entry(paging.pdptes[gva >> 30 & 3]) if pae else None
    if result >= 0:
        return Walk(gva, need, context, steps, result >> FRAME_SHIFT << FRAME_SHIFT, None, register)
    index = attributes(trail) if trail else 0
    level, mask, reason = _decider(paging, context, need, result, index, steps)
    fault = Fault(error_code(paging, context, need, result, index), level, reason, mask)
    return Walk(gva, need, context, steps, None, fault, register)


def _decider(
    paging: Paging, context: Context, need: int, result: int, index: int, steps: tuple[Step, ...]
) -> tuple[int, int, str]:
    """Give the level of the entry that decided, its bits that did, and the rule."""
    if not steps:
        return 3, Entry.P.mask, "PDPTE.P is 0"
    level, _, entry = steps[-1]
    name = LEVEL_NAMES[level]
    if result == NOT_PRESENT:
        return level, Entry.P.mask, f"{name}.P is 0"
    if result == RESERVED:
        return level, *_reserved_reason(paging, steps[-1])

    def first(bit: int, *, value: bool, field: str) -> tuple[int, int, str]:
        at = next(step.level for step in steps if bool(int(step.entry) & bit) is value)
        return at, bit, f"{LEVEL_NAMES[at]}.{field} is {value:d}"

    if context.user and not index & rights.U:
        at, bit, reason = first(Entry.US.mask, value=False, field="US")
        return at, bit, f"{reason}: a supervisor page"
    if need == EXEC:
        if not index & rights.X:
            return first(Entry.XD.mask, value=True, field="XD")
        return level, Entry.US.mask, "CR4.SMEP is 1: a supervisor fetches from a user page"
    if not context.user and index & rights.U and context.smap:
        return level, Entry.US.mask, "CR4.SMAP is 1: a supervisor access to a user page, not opened by RFLAGS.AC"
    if need == WRITE and not index & rights.W and (context.user or context.wp):
        at, bit, reason = first(Entry.RW.mask, value=False, field="RW")
        return at, bit, reason if context.user else f"{reason} and CR0.WP is 1"
    key = entry >> Entry.PKEY.shift & 15
    register, keys = ("PKRU", context.user_keys) if index & rights.U else ("PKRS", context.supervisor_keys)
    field = "AD" if keys[0] >> key & 1 else "WD"
    return level, Entry.PKEY.mask, f"{name}.PKEY is {key} and {register}.{field}{key} is 1"


def _reserved_reason(paging: Paging, step: Step) -> tuple[int, str]:
    """Give the reserved bits that an entry has set, and say so."""
    level, _, entry = step
    sizes = paging.pse if paging.mode is Mode.BITS32 else level < 4
    page = level == 1 or (sizes and entry & Entry.PS.mask)
    bits = entry & paging.reserved[level + 4 if page else level]
    names = ", ".join(str(i) for i in range(64) if bits >> i & 1)
    return bits, f"{LEVEL_NAMES[level]} has reserved bits set: {names}"
