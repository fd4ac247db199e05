"""Cached transitions are of use only when they hit: at least these shares of all crossings, over programs as people run them.

Nothing is counted in the machine itself: the cached ways and the full handlers are wrapped here, and events say how many
crossings there were.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Final

import pytest

from paracell.emu import cpu as cpu_module
from paracell.emu import fastpath
from paracell.emu.events import Kind
from paracell.emu.table import HANDLERS

from .programs import BUSYBOX, machine_with

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from paracell.emu.events import Event

CALLS = ["lat -e null 300", "lat -e self 100", "lat -e install 100"]
FAULTS = ["lat -e fault 512", "lat -e refault 512", "lat -e signal 100", "lat -e prot 50"]
SWITCHES = ["lat -e pipe 50", "lat -e fork 10", "lat -e exec 5", *(["script"] if BUSYBOX.is_file() else [])]
# Percent, as measured and rounded down to five.  A page fault counts as one of "gate" where its own short cut misses and the gate's hits.
LEAST: Final[dict[tuple[str, str], dict[str, int]]] = {
    ("native", "calls"): {"syscall": 95, "sysret": 95},
    ("native", "faults"): {"gate": 95, "iret": 95, "page fault": 75, "syscall": 95, "sysret": 90, "wrpkru": 95},
    ("native", "switches"): {"gate": 85, "iret": 95, "page fault": 50, "syscall": 95, "sysret": 95, "wrpkru": 95},
    ("paracell", "calls"): {"wrpkru": 95},
    ("paracell", "faults"): {
        "gate": 70,
        "iret": 95,
        "page fault": 60,
        "syscall": 75,
        "sysret": 95,
        "wrpkru": 95,
    },
    ("paracell", "switches"): {
        "gate": 85,
        "iret": 95,
        "page fault": 40,  # programs' alone: with Pager the kernel makes none; and each new process of lat begins with misses
        "syscall": 90,
        "sysret": 95,
        "wrpkru": 95,
    },
}


class Rates:
    """How often each short cut was taken, and how often it could have been."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.taken: Counter[str] = Counter()
        self.all: Counter[str] = Counter()
        self._whole: Counter[str] = Counter()
        for module, name, made in (
            (cpu_module, "bind_take_gate", "gate"),
            (cpu_module, "bind_take_iret", "iret"),
            (fastpath, "page_fault", "page fault"),
        ):
            patch.setattr(module, name, self._counted(getattr(module, name), made))
        for name, called in (("syscall", "syscall"), ("sysretq", "sysret"), ("wrpkru", "wrpkru")):
            patch.setitem(HANDLERS, name, self._noted(HANDLERS[name], called))

    def _counted(self, make: Callable[..., Callable[..., bool]], name: str) -> Callable[..., Callable[..., bool]]:
        def made(*bound: Any) -> Callable[..., bool]:
            take = make(*bound)

            def taking(*arguments: Any) -> bool:
                taken = take(*arguments)
                self.taken[name] += taken
                return taken

            return taking

        return made

    def _noted(self, handler: Callable[..., None], name: str) -> Callable[..., None]:
        def noting(*arguments: Any) -> None:
            self._whole[name] += 1
            handler(*arguments)

        return noting

    def emit(self, event: Event) -> None:
        kind = event.kind
        if kind in {Kind.EXCEPTION, Kind.INTERRUPT}:
            self.all["gate"] += 1
            if kind is Kind.EXCEPTION and event.data[0] == 14:
                self.all["page fault"] += 1
        elif kind is Kind.HYPERCALL:
            self.all["syscall"] += 1
        elif kind in {Kind.IRET, Kind.SYSCALL, Kind.SYSRET, Kind.WRPKRU}:
            self.all[kind.name.lower()] += 1

    def close(self) -> None:
        """Nothing is left to do."""

    def percent(self) -> dict[str, int]:
        for name in ("syscall", "sysret", "wrpkru"):
            self.taken[name] = self.all[name] - self._whole[name]
        return {name: 100 * self.taken[name] // times for name, times in sorted(self.all.items()) if times >= 100}


@pytest.fixture
def rates() -> Iterator[Rates]:
    with pytest.MonkeyPatch.context() as patch:
        yield Rates(patch)


@pytest.mark.parametrize("runtime", sorted({runtime for runtime, _ in LEAST}))
@pytest.mark.parametrize(
    ("what", "programs"),
    [("calls", CALLS), ("faults", FAULTS), ("switches", SWITCHES)],
    ids=["calls", "faults", "switches"],
)
def test_hit_rates(rates: Rates, runtime: str, what: str, programs: list[str]) -> None:
    for program in programs:
        machine, _ = machine_with(runtime, program)
        machine.add_sink(rates)
        assert machine.run().reason == "exit"
        machine.close()
    percent, least = rates.percent(), LEAST[runtime, what]
    assert least.keys() <= percent.keys()
    assert not {name: share for name, share in percent.items() if share < least.get(name, 0)}, percent
