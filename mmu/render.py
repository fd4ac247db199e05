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

from .entry import FRAME, LEVEL_NAMES, Entry, Entry32
from .rights import EXEC, READ, WRITE

if TYPE_CHECKING:
    from .explain import Step, Walk

ACCESS_NAMES: Final = {READ: "read", WRITE: "write", EXEC: "fetch"}
SIZES: Final = {1: "4 KiB", 2: "2 MiB", 3: "1 GiB"}
_FLAGS: Final = ("XD", "PKEY", "G", "PS", "D", "A", "PCD", "PWT", "US", "RW", "P")
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
    for step in walk.steps:
        before = f"{_INDENT}{LEVEL_NAMES[step.level]:<6} {step.address:#014x}  "
        flags = " ".join(_flag(step, name) for name in _FLAGS)
        out.append(f"{before}{_hex(step.entry)}  {flags}  {_target(walk, step)}".rstrip())
        if fault is not None and fault.level == step.level:
            out.append(_carets(" " * len(before), flags, step.entry, fault.mask))
    if fault is None:
        out.append(f"{_INDENT}physical {walk.physical:#x}; {_may(walk)}")
    else:
        bits = "|".join(fault.error.set_fields())
        out.append(f"{_INDENT}#PF, error code {int(fault.error):#x}{bits and f' ({bits})'}: {fault.reason}")
    return out


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
    if step is not walk.steps[-1]:
        return f"table {int(step.entry) & _frame_mask(step):#x}"
    small = isinstance(step.entry, Entry32) and step.level == 2
    size = "4 MiB" if small else SIZES[step.level]
    return f"{size} page" if walk.frame is None else f"{size} page, frame {walk.frame:#x}"


def _frame_mask(step: Step) -> int:
    return FRAME if isinstance(step.entry, Entry) else Entry32.FRAME.mask


def _carets(before: str, flags: str, entry: Entry | Entry32, mask: int) -> str:
    """Draw carets under the flags in `mask`, or under the entry's hexadecimal digits where it has no flag."""
    columns = [name for name in _FLAGS if (bits := entry.fields.get(name)) is not None and bits.mask & mask]
    covered = sum(entry.fields[name].mask for name in columns)
    if not flags or mask & ~covered:
        digits = "".join("^" if mask >> 4 * i & 15 else " " for i in range(15, -1, -1))
        return f"{before}  {digits}".rstrip()
    marks = " ".join(("^" if name in columns else " ") * len(_title(name)) for name in _FLAGS)
    return f"{before}{' ' * 18}  {marks}".rstrip()
