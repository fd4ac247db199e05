"""A page walk as the page draws it: each entry with its flags, and which of them decided.

It begins with what `mmu.render.record` gives, from a walk or out of a trace, so the walker, its reasons and its bits are those of
``paracell walk``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from ..mmu.entry import Entry
from ..mmu.ept import EptEntry

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ..mmu.word import Word

_FLAGS: Final = ("P", "RW", "US", "PWT", "PCD", "A", "D", "PS", "G", "XD")
_EPT_FLAGS: Final = ("R", "W", "X", "XU", "A", "D", "PS")
_FRAME: Final = 0x000F_FFFF_FFFF_F000
_SIZES: Final = {"PTE": "4 KiB page", "PDE": "2 MiB page", "PDPTE": "1 GiB page"}


def drawn(record: Mapping[str, Any]) -> dict[str, Any]:
    """Give the picture of a walk, as plain values without wide numbers.

    Args:
        record: what `mmu.render.record` gives; the fields of entries are not needed.

    Raises:
        KeyError, TypeError, ValueError: it is no such record.

    """
    fault, leave = record["fault"], record["exit"]
    steps = [_step(step, _FLAGS, Entry, fault) for step in record["steps"]]
    stages = [
        {"gpa": hex(stage["guest_physical"]), "steps": [_step(step, _EPT_FLAGS, EptEntry) for step in stage["steps"]]}
        for stage in record["ept"]
    ]
    if leave is not None:
        _mark_refusal(record["ept"], stages, leave)
    for index, step in enumerate(steps):
        step["leads"] = _leads(step, last=index == len(steps) - 1, refused=fault is not None or leave is not None)
    return {
        "address": hex(record["address"]),
        "access": str(record["access"]),
        "steps": steps,
        "stages": stages,
        "pdpte": None if record["pdpte"] is None else hex(record["pdpte"]),
        "refused": fault is not None or leave is not None,
        "outcome": _outcome(record),
    }


def _step(
    step: Mapping[str, Any], flags: Sequence[str], word: type[Word], fault: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Give one entry: where it is, its bits, and, of the level that a fault names, those that decided."""
    entry, at = int(step["entry"]), int(step["at"])
    mask = fault["mask"] if fault is not None and fault["level"] == step["level"] else 0
    made: dict[str, Any] = {
        "level": str(step["level"]),
        "at": hex(at),
        "index": at >> 3 & 511,
        "entry": f"{entry:#018x}",
        "flags": [[name, int(bool(entry & word.fields[name].mask))] for name in flags],
        "decided": [name for name in flags if mask & word.fields[name].mask],
        "mask": hex(mask) if mask else "",
    }
    if word is Entry and entry & 1:
        made["key"] = entry >> Entry.PKEY.shift & 15
        made["keyDecided"] = bool(mask & Entry.PKEY.mask)
    return made


def _mark_refusal(
    stages: Sequence[Mapping[str, Any]], pictures: list[dict[str, Any]], leave: Mapping[str, Any]
) -> None:
    """Mark the bits of the EPT's entry that refused: in the last stage that translates the refused address."""
    for stage, picture in zip(reversed(stages), reversed(pictures), strict=True):
        if stage["guest_physical"] & ~7 == leave["guest_physical"] & ~7:
            for step in picture["steps"]:
                if step["level"] == leave["level"]:
                    mask = leave["mask"]
                    step["decided"] = [name for name in _EPT_FLAGS if mask & EptEntry.fields[name].mask]
                    step["mask"] = hex(mask)
            return


def _leads(step: Mapping[str, Any], *, last: bool, refused: bool) -> str:
    entry = int(step["entry"], 16)
    if not entry & 1:
        return "nothing"
    if not last:
        return f"table {entry & _FRAME:#x}"
    if refused and ["PS", 1] not in step["flags"] and step["level"] != "PTE":
        return f"table {entry & _FRAME:#x}"
    return _SIZES.get(step["level"], "page")


def _outcome(record: Mapping[str, Any]) -> str:
    fault, leave = record["fault"], record["exit"]
    if leave is not None:
        bits = f", qualification {leave['qualification']:#x}" if leave["qualification"] else ""
        return f"{leave['name']} at guest-physical {leave['guest_physical']:#x}{bits}: {leave['reason']}"
    if fault is not None:
        return f"#PF, error code {fault['error']:#x}: {fault['reason']}"
    guest = "" if record["guest_physical"] is None else f"guest-physical {record['guest_physical']:#x}, "
    allowed = ", ".join(str(name) for name in record["allowed"])
    return f"{guest}physical {record['physical']:#x}; may {allowed}"
