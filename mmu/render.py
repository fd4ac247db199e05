"""A `Walk` as lines for a terminal and as a record for programs.

::

    0x0000000000405010, user write
      level  entry at        entry               XD KEY G PS D A PCD PWT US RW P  leads to
      PML4E  0x000000001000  0x0000000000002027  --   0 - -- - A --- --- US RW P  table 0x2000
      …
      PTE    0x000000004028  0x0000000000005025  --   0 - -- - A --- --- US -- P  4 KiB page
                                                                        ^^
      #PF, error code 0x7 (P|W|U): PTE.RW is 0

The carets stand under the bits that decided: under a flag where there is one, else under the digits of the entry.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from .address import PAGE
from .entry import FRAME, LEVEL_NAMES, Entry, Entry32
from .ept import NAMES, EptEntry
from .rights import EXEC, READ, WRITE

if TYPE_CHECKING:
    from .explain import Step, Walk
    from .explain_ept import EptExit, EptStep, Stage

ACCESS_NAMES: Final = {READ: "read", WRITE: "write", EXEC: "fetch"}
SIZES: Final = {1: "4 KiB", 2: "2 MiB", 3: "1 GiB"}
_FLAGS: Final = ("XD", "PKEY", "G", "PS", "D", "A", "PCD", "PWT", "US", "RW", "P")
_EPT_FLAGS: Final = ("XU", "D", "A", "PS", "X", "W", "R")
_INDENT: Final = "  "


def access(walk: Walk) -> str:
    """Name who wanted what: ``user write``."""
    return f"{'user' if walk.context.user else 'supervisor'} {ACCESS_NAMES[walk.need]}"


def lines(walk: Walk) -> list[str]:
    """Give the walk level by level, and its outcome last."""
    out = [f"{walk.gva:#018x}, {access(walk)}"]
    fault = walk.fault
    titles = f"{_INDENT}{'level':<6} {'entry at':<15} {'entry':<19} {' '.join(map(_title, _FLAGS))}  leads to"
    if walk.steps:
        out.append(titles)
    if walk.register is not None:
        out.append(f"{_INDENT}{'PDPTE':<6} {'in a register':<15} {_hex(walk.register)}")
        if fault is not None and not walk.steps:
            out.append(_carets(_INDENT + " " * 23, "", walk.register, fault.mask))
    for number, step in enumerate(walk.steps):
        if number < len(walk.stages):
            out += _stage(walk, walk.stages[number])
        before = f"{_INDENT}{LEVEL_NAMES[step.level]:<6} {step.address:#014x}  "
        flags = " ".join(_flag(step, name) for name in _FLAGS)
        out.append(f"{before}{_hex(step.entry)}  {flags}  {_target(walk, step)}".rstrip())
        if fault is not None and fault.level == step.level:
            out.append(_carets(" " * len(before), flags, step.entry, fault.mask))
    for stage in walk.stages[len(walk.steps) :]:
        out += _stage(walk, stage)
    if walk.exit is not None:
        out.append(f"{_INDENT}{_exit(walk.exit)}")
    elif fault is None:
        guest = "" if walk.gpa is None else f"guest-physical {walk.gpa:#x}, "
        out.append(f"{_INDENT}{guest}physical {walk.physical:#x}; {_may(walk)}")
    else:
        bits = "|".join(fault.error.set_fields())
        out.append(f"{_INDENT}#PF, error code {int(fault.error):#x}{bits and f' ({bits})'}: {fault.reason}")
    return out


def _stage(walk: Walk, stage: Stage) -> list[str]:
    """Give the EPT's entries that translate a guest-physical address."""
    out = [f"{_INDENT * 2}guest-physical {stage.gpa:#x}"]
    decided = walk.exit if walk.exit is not None and stage is _refused_stage(walk) else None
    for step in stage.steps:
        before = f"{_INDENT * 2}{NAMES[step.level]:<9}  {step.address:#014x}  "
        flags = " ".join(_flag_of(step, name) for name in _EPT_FLAGS)
        last = step is stage.steps[-1]
        out.append(
            f"{before}{int(step.entry):#018x}  {flags}  {_ept_target(step, decided if last else None, last=last)}"
        )
        if decided is not None and decided.level == step.level:
            out.append(_carets(" " * len(before), flags, step.entry, decided.mask, _EPT_FLAGS))
    return out


def _refused_stage(walk: Walk) -> Stage | None:
    """Give the stage of the address that the EPT refuses."""
    exit_ = walk.exit
    return None if exit_ is None else next(s for s in reversed(walk.stages) if s.gpa & ~7 == exit_.gpa & ~7)


def _flag_of(step: EptStep, name: str) -> str:
    return name if int(step.entry) & EptEntry.fields[name].mask else "-" * len(name)


def _ept_target(step: EptStep, decided: EptExit | None, *, last: bool) -> str:
    if decided is not None and decided.level == step.level and not decided.reason.endswith(" is 0"):
        return "nothing"
    address = int(step.entry) & FRAME
    if not last:
        return f"table {address:#x}"
    return f"{SIZES.get(step.level, 'no')} page at {address:#x}, type {step.entry.TYPE}"


def _exit(exit_: EptExit) -> str:
    if not exit_.qualification:
        return f"{exit_.name} at guest-physical {exit_.gpa:#x}: {exit_.reason}"
    bits = "|".join(exit_.qualification.set_fields())
    return (
        f"{exit_.name} at guest-physical {exit_.gpa:#x}, exit qualification {int(exit_.qualification):#x} ({bits}):"
        f" {exit_.reason}"
    )


def record(walk: Walk) -> dict[str, Any]:
    """Give the walk as plain values, for JSON."""
    fault = walk.fault
    return {
        "address": walk.gva,
        "access": access(walk),
        "pdpte": None if walk.register is None else int(walk.register),
        "steps": [
            {
                "level": LEVEL_NAMES[step.level],
                "at": step.address,
                "entry": int(step.entry),
                "fields": step.entry.as_dict(),
            }
            for step in walk.steps
        ],
        "physical": walk.physical,
        "guest_physical": walk.gpa,
        "ept": [
            {
                "guest_physical": stage.gpa,
                "steps": [
                    {"level": NAMES[s.level], "at": s.address, "entry": int(s.entry), "fields": s.entry.as_dict()}
                    for s in stage.steps
                ],
            }
            for stage in walk.stages
        ],
        "allowed": [name for bit, name in ACCESS_NAMES.items() if walk.rights & bit],
        "fault": None
        if fault is None
        else {
            "error": int(fault.error),
            "bits": fault.error.as_dict(),
            "level": LEVEL_NAMES[fault.level],
            "mask": fault.mask,
            "reason": fault.reason,
        },
        "exit": None
        if walk.exit is None
        else {
            "name": walk.exit.name,
            "guest_physical": walk.exit.gpa,
            "qualification": int(walk.exit.qualification),
            "bits": walk.exit.qualification.as_dict(),
            "level": NAMES.get(walk.exit.level),
            "mask": walk.exit.mask,
            "reason": walk.exit.reason,
        },
    }


def _may(walk: Walk) -> str:
    who = "user" if walk.context.user else "supervisor"
    return f"{who} may {', '.join(name for bit, name in ACCESS_NAMES.items() if walk.rights & bit)}"


def _hex(entry: Entry | Entry32) -> str:
    return f"{int(entry):#018x}"


def _title(name: str) -> str:
    return "KEY" if name == "PKEY" else name


def _flag(step: Step, name: str) -> str:
    """Show one flag in its column: its name, dashes, or the key's number."""
    bits = step.entry.fields.get(name)
    width = len(_title(name))
    value = 0 if bits is None else int(step.entry) >> bits.shift & (1 << bits.width) - 1
    if name == "PS" and step.level == 1:
        return "--"  # PAT: memory types make no difference here
    if name == "PKEY":
        return f"{value:>{width}}"
    return name if value else "-" * width


def _target(walk: Walk, step: Step) -> str:
    """Say what the entry leads to: the next table, a page, or nothing."""
    fault = walk.fault
    if not step.entry & 1 or (fault is not None and fault.error.RSVD and step is walk.steps[-1]):
        return "nothing"
    unread = (
        walk.exit is not None and step.level > 1 and not int(step.entry) & Entry.PS.mask
    )  # the EPT hides the next table
    if step is not walk.steps[-1] or unread:
        return f"table {int(step.entry) & _frame_mask(step):#x}"
    wide = isinstance(step.entry, Entry32) and step.level == 2
    size, inside = ("4 MiB", 4 << 20) if wide else (SIZES[step.level], PAGE << 9 * (step.level - 1))
    if walk.physical is None:
        return f"{size} page"
    if walk.gpa is None:
        return f"{size} page at {walk.physical & -inside:#x}"
    return f"{size} page at guest-physical {walk.gpa & -inside:#x}"


def _frame_mask(step: Step) -> int:
    return FRAME if isinstance(step.entry, Entry) else Entry32.FRAME.mask


def _carets(
    before: str, flags: str, entry: Entry | Entry32 | EptEntry, mask: int, names: tuple[str, ...] = _FLAGS
) -> str:
    """Draw carets under the flags in `mask`, or under the entry's hexadecimal digits where it has no flag."""
    columns = [name for name in names if (bits := entry.fields.get(name)) is not None and bits.mask & mask]
    covered = sum(entry.fields[name].mask for name in columns)
    if not flags or mask & ~covered:
        digits = "".join("^" if mask >> 4 * i & 15 else " " for i in range(15, -1, -1))
        return f"{before}  {digits}".rstrip()
    marks = " ".join(("^" if name in columns else " ") * len(_title(name)) for name in names)
    return f"{before}{' ' * 18}  {marks}".rstrip()
