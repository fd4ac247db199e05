"""What the numbers of an event mean, in the manuals' names: shown beside each number."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Final

from ..emu import msr_index
from ..emu.events import Event, Kind
from ..emu.faults import VECTOR_NAMES
from ..guest import syscalls
from ..mmu.ept import Qualification
from ..mmu.registers import PFErr
from ..mmu.render import ACCESS_NAMES
from ..mmu.walk import LOG_FULL, MISCONFIGURATION, NOT_CANONICAL, NOT_PRESENT, RESERVED, RIGHTS, VIOLATION
from ..pku.registers import PKRU
from ..vmx.exits import ENTRY_FAILED, ExitReason

if TYPE_CHECKING:
    from collections.abc import Callable

GROUPS: Final[dict[str, tuple[Kind, ...]]] = {
    "calls": (Kind.SYSCALL, Kind.SYSRET, Kind.GATE_ENTER, Kind.GATE_EXIT, Kind.HYPERCALL, Kind.SWAPGS),
    "keys": (Kind.WRPKRU,),
    "faults": (Kind.EXCEPTION, Kind.EPT_VIOLATION),
    "interrupts": (Kind.INTERRUPT, Kind.IRET, Kind.HLT, Kind.IDLE),
    "VM exits": (Kind.VM_EXIT, Kind.VM_ENTRY, Kind.REFLECTION, Kind.MERGE),
    "translation": (Kind.PAGE_WALK, Kind.CR3_LOAD, Kind.INVALIDATION, Kind.EPT_FILL, Kind.TABLE_STORE),
    "instructions": (Kind.PORT, Kind.MSR, Kind.CPUID, Kind.RDTSC, Kind.END),
}
_U64: Final = 1 << 64
_ERRNOS: Final = 4096
_REFUSALS: Final = {
    -NOT_PRESENT: "not present",
    -RESERVED: "reserved bit",
    -RIGHTS: "rights",
    -NOT_CANONICAL: "not canonical",
    -VIOLATION: "EPT violation",
    -MISCONFIGURATION: "EPT misconfiguration",
    -LOG_FULL: "page-modification log full",
    0: "no",
}
_MSRS: Final = {value: name for name, value in vars(msr_index).items() if isinstance(value, int) and name.isupper()}
_PAGE_FAULT: Final = 14


def _exit_reason(value: int, _: Event) -> str:
    basic = value & 0xFFFF
    name = ExitReason(basic).name if basic in set(ExitReason) else f"reason {basic}"
    return f"{name}, entry failed" if value & ENTRY_FAILED else name


def _vector(value: int, event: Event) -> str:
    return VECTOR_NAMES.get(value, "") if event.kind is Kind.EXCEPTION else ""


def _error(value: int, event: Event) -> str:
    return "|".join(PFErr(value).set_fields()) if event.data[0] == _PAGE_FAULT else ""


def _result(value: int, event: Event) -> str:
    if event.kind in {Kind.SYSRET, Kind.GATE_EXIT} and value > _U64 - _ERRNOS:
        return f"-{errno.errorcode.get(_U64 - value, str(_U64 - value))}"
    return ""


def _number(value: int, event: Event) -> str:
    return "" if event.kind is Kind.HYPERCALL else syscalls.name(value)


def _qualification(value: int, event: Event) -> str:
    of_ept = event.kind is Kind.EPT_VIOLATION or event.data[2] & 0xFFFF == ExitReason.EPT_VIOLATION
    return "|".join(Qualification(value).set_fields()) if of_ept else ""


def _keys(value: int, event: Event) -> str:
    return ", ".join(PKRU(value).lines()[:3]) if event.kind is Kind.WRPKRU else ""


_WORDS: Final[dict[str, Callable[[int, Event], str]]] = {
    "nr": _number,
    "vector": _vector,
    "error": _error,
    "value": _result,
    "reason": _exit_reason,
    "qualification": _qualification,
    "old": _keys,
    "new": _keys,
    "need": lambda value, _: ACCESS_NAMES.get(value, ""),
    "refused": lambda value, _: _REFUSALS.get(value, ""),
    "source": lambda value, _: f"L{value}",
    "target": lambda value, _: f"L{value}",
    "write": lambda value, _: "write" if value else "read",
    "msr": lambda value, _: _MSRS.get(value, ""),
}


def words(event: Event, name: str, value: int) -> str:
    """Say what one of an event's numbers means; "" where that is all there is to say."""
    say = _WORDS.get(name)
    return "" if say is None else say(value, event)


def label(event: Event) -> str:
    """Name an event in a few words: ``exception #PF``, ``syscall write``."""
    kind, fields = event.kind, event.fields
    name = kind.name.lower().replace("_", " ")
    more = ""
    if kind in {Kind.SYSCALL, Kind.GATE_ENTER}:
        more = syscalls.name(event.nr)
    elif kind is Kind.HYPERCALL:
        more = str(event.nr)
    elif kind in {Kind.EXCEPTION, Kind.INTERRUPT}:
        more = _vector(event.vector, event) or str(event.vector)
    elif kind in {Kind.VM_EXIT, Kind.REFLECTION}:
        more = _exit_reason(event.reason, event)
    elif kind is Kind.PAGE_WALK:
        more = ACCESS_NAMES.get(event.need, "") + (", refused" if event.refused else "")
    elif kind is Kind.PORT:
        more = f"{'out' if event.write else 'in'} {event.port:#x}"
    elif kind is Kind.MSR:
        more = f"{'write' if event.write else 'read'} {_MSRS.get(event.msr, hex(event.msr))}"
    elif "value" in fields:
        more = _result(event.value, event)
    return f"{name} {more}".rstrip()
