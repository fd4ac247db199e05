"""What an event costs in virtual cycles: what `costs.toml` declares, or what a user says; and which event carries which cost."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from attrs import evolve, fields, frozen

from .events import Kind

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

FILE: Final = Path(__file__).with_name("costs.toml")
MOST_CYCLES: Final = 1 << 32  # of one event
# Not by `declared`: to parse the whole file would be two per cent of a short run.
_DECLARED: Final = {
    name: int(value)
    for name, value in re.findall(
        r"^\[hardware\.(\w+)\]\nvalue = (\d+)$", FILE.read_text(encoding="utf-8"), re.MULTILINE
    )
}


def check(what: str, cycles: object) -> int:
    """Give a number of cycles, and refuse what is none."""
    if not isinstance(cycles, int) or isinstance(cycles, bool) or not 0 <= cycles < MOST_CYCLES:
        raise ValueError(f"{what} a whole number of cycles from 0 to {MOST_CYCLES - 1}, not {cycles!r}")
    return cycles


@frozen
class Costs:
    """Cycles for each kind of event; docs/costs.md gives the source of each default, or says that it is ours.

    Attributes:
        wrpkru: WRPKRU, and an XRSTOR that loads PKRU.
        syscall: SYSCALL, SYSENTER.
        sysret: SYSRET, SYSEXIT.
        swapgs: SWAPGS.
        cr3: MOV to CR3.
        cr3_flush: what a MOV to CR3 costs more where it drops translations (no PCIDs, or bit 63 clear).
        invlpg: INVLPG.
        invpcid: INVPCID, of any type.
        exception: the delivery of an exception, of INT n, INT3, INTO or INT1.
        interrupt: the delivery of an interrupt or NMI.
        iret: IRET.
        walk: a page walk, that is, a miss of the TLB that `paracell.mmu.tlb` models.
        ept_read: each entry of an EPT that a page walk reads, in addition.
        rdtsc: RDTSC, RDTSCP.
        port: IN, OUT, and a whole INS or OUTS with its REP.
        msr: RDMSR, WRMSR.
        cpuid: CPUID.
        hlt: HLT, without the time asleep.
        vm_exit: a VM exit, and a VM entry that fails for its guest state or MSRs.
        vm_entry: a VM entry.
        l0_reflect: what the outermost hypervisor does to give its guest's guest's exit to its guest, besides exit and entry.
        l0_merge: what it does for VMLAUNCH and VMRESUME of its guest, besides exit and entry.
        l0_fill: what it does to map a page in a table of its own, besides exit and entry.
        l0_store: what it does for a store to a table that it protects, besides exit and entry.
        block: a translated block of plain code, while a timer is armed and the clock counts blocks (`Timekeeper`): no event's.

    Example:
        >>> Costs(wrpkru=60).wrpkru
        60

    """

    wrpkru: int = _DECLARED["wrpkru"]
    syscall: int = _DECLARED["syscall"]
    sysret: int = _DECLARED["sysret"]
    swapgs: int = _DECLARED["swapgs"]
    cr3: int = _DECLARED["cr3"]
    cr3_flush: int = _DECLARED["cr3_flush"]
    invlpg: int = _DECLARED["invlpg"]
    invpcid: int = _DECLARED["invpcid"]
    exception: int = _DECLARED["exception"]
    interrupt: int = _DECLARED["interrupt"]
    iret: int = _DECLARED["iret"]
    walk: int = _DECLARED["walk"]
    ept_read: int = _DECLARED["ept_read"]
    rdtsc: int = _DECLARED["rdtsc"]
    port: int = _DECLARED["port"]
    msr: int = _DECLARED["msr"]
    cpuid: int = _DECLARED["cpuid"]
    block: int = _DECLARED["block"]
    hlt: int = _DECLARED["hlt"]
    vm_exit: int = _DECLARED["vm_exit"]
    vm_entry: int = _DECLARED["vm_entry"]
    l0_reflect: int = _DECLARED["l0_reflect"]
    l0_merge: int = _DECLARED["l0_merge"]
    l0_fill: int = _DECLARED["l0_fill"]
    l0_store: int = _DECLARED["l0_store"]

    def __attrs_post_init__(self) -> None:
        for name in NAMES:
            check(f"{name} costs", getattr(self, name))

    def replace(self, changes: Mapping[str, object]) -> Self:
        """Give these costs with some changed.

        Raises:
            ValueError: there is no cost of that name, or the value is no number of cycles.

        Example:
            >>> DEFAULT.replace({"wrpkru": 60}).wrpkru
            60

        """
        for name in changes:
            if name not in NAMES:
                from .declared import declared  # noqa: PLC0415  (see _DECLARED)

                if name in declared().services:
                    raise ValueError(f"{name} is a service: no run charges it, only who prices one")
                raise ValueError(f"no such cost: {name}; there are {', '.join(NAMES)}")
        return evolve(self, **changes)  # type: ignore[arg-type]  # the class itself checks the values

    def with_settings(self, settings: Iterable[str]) -> Self:
        """Give these costs with some changed by texts ``NAME=CYCLES``, in order.

        Raises:
            ValueError: a text of another form, or what `replace` refuses.

        Example:
            >>> DEFAULT.with_settings(["wrpkru=60", "cr3=200"]).cr3
            200

        """
        changes: dict[str, object] = {}
        for setting in settings:
            name, equals, value = (part.strip() for part in setting.partition("="))
            if not (name and equals and value):
                raise ValueError(f"{setting!r} is no cost; write NAME=CYCLES")
            changes[name] = int(value) if value.isascii() and value.isdecimal() else value
        return self.replace(changes)

    @classmethod
    def from_toml(cls, path: str | Path) -> Self:
        """Read a TOML file with a line ``NAME = CYCLES`` for each cost that is not the default.

        Raises:
            ValueError: it is no TOML, or holds what `replace` refuses; the message begins with `path`.
            OSError: it cannot be read.

        """
        import tomllib  # noqa: PLC0415  (most starts need none)

        try:
            return cls().replace(tomllib.loads(Path(path).read_text(encoding="utf-8")))
        except ValueError as error:  # TOMLDecodeError and UnicodeDecodeError among them
            raise ValueError(f"{path}: {error}") from error


NAMES: Final = tuple(field.name for field in fields(Costs))
DEFAULT: Final = Costs()

# Which costs an event may carry.  Each cycle of the clock is one of `Clock.counted` or one of these, but for IDLE's: those are slept.
CHARGED: Final[dict[Kind, tuple[str, ...]]] = {
    Kind.SYSCALL: ("syscall",),
    Kind.SYSRET: ("sysret",),
    Kind.WRPKRU: ("wrpkru",),
    Kind.EXCEPTION: ("exception",),
    Kind.INTERRUPT: ("interrupt",),
    Kind.IRET: ("iret",),
    Kind.CR3_LOAD: ("cr3", "cr3_flush"),
    Kind.INVALIDATION: ("invlpg", "invpcid"),
    Kind.PAGE_WALK: ("walk", "ept_read"),
    Kind.PORT: ("port",),
    Kind.MSR: ("msr",),
    Kind.CPUID: ("cpuid",),
    Kind.HLT: ("hlt",),
    Kind.SWAPGS: ("swapgs",),
    Kind.GATE_ENTER: (),  # its WRPKRU has an event of its own
    Kind.GATE_EXIT: (),
    Kind.HYPERCALL: ("syscall",),
    Kind.IDLE: (),
    Kind.RDTSC: ("rdtsc",),
    Kind.VM_EXIT: ("vm_exit",),
    Kind.VM_ENTRY: ("vm_entry",),
    Kind.EPT_VIOLATION: (),
    Kind.REFLECTION: ("l0_reflect",),
    Kind.MERGE: ("l0_merge",),
    Kind.EPT_FILL: ("l0_fill",),
    Kind.TABLE_STORE: ("l0_store",),
    Kind.END: (),
}


_ONCE: Final = [tuple((name, 1) for name in CHARGED[kind]) for kind in Kind]


def charges(kind: Kind, data: tuple[int, ...]) -> tuple[tuple[str, int], ...]:
    """Give which costs an event of this kind, with the numbers ``FIELDS[kind]``, carries, and how often each; none for IDLE."""
    if kind is Kind.CR3_LOAD:
        return ("cr3", 1), ("cr3_flush", data[2])
    if kind is Kind.INVALIDATION:
        return (("invpcid" if data[0] else "invlpg", 1),)
    if kind is Kind.PAGE_WALK:
        return ("walk", 1), ("ept_read", data[5])
    return _ONCE[kind]


def charged(costs: Costs, kind: Kind, data: tuple[int, ...]) -> int | None:
    """Give what an event of this kind, with the numbers ``FIELDS[kind]``, costs; None for IDLE, which costs what was slept."""
    if kind is Kind.IDLE:
        return None
    return sum(times * int(getattr(costs, name)) for name, times in charges(kind, data))
