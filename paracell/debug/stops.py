"""What ``monitor stop-on`` waits for: a change of who runs and by which rights, or a kind of event.

gdb's own ``watch $ring`` steps instruction by instruction.  Here the run goes at full speed to the next event that can have changed
what is waited for, pauses behind its instruction, and goes on where nothing has changed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from attrs import frozen

from ..emu.events import Event, Kind, Who
from ..emu.sinks import Listener
from ..emu.stop import Reason
from .state import domain, ring

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..machine import Machine

_CALLS: Final = frozenset({Kind.SYSCALL, Kind.GATE_ENTER})
_NO_CHANGE: Final = frozenset(  # of ring, domain, keys or tables
    {Kind.PAGE_WALK, Kind.PORT, Kind.MSR, Kind.CPUID, Kind.HLT, Kind.IDLE, Kind.RDTSC, Kind.INVALIDATION, Kind.EPT_FILL}
)
_SWITCHES: Final = frozenset(Kind) - _NO_CHANGE
_STATES: Final[dict[str, Callable[[Machine], int | str]]] = {
    "ring": ring,
    "domain": domain,
    "pkru": lambda machine: int(machine.cpu.pkru),
    "cr3": lambda machine: int(machine.cpu.cr3),
}
_EVENTS: Final = {"vmexit": frozenset({Kind.VM_EXIT}), "fault": frozenset({Kind.EXCEPTION}), "syscall": _CALLS}
NAMES: Final = (*_STATES, *_EVENTS, "event")


@frozen
class Wait:
    """One thing that is waited for.

    Attributes:
        name: what the user called it.
        kinds: the events after which it may be there.
        state: what must have changed; None where the event itself is waited for.

    """

    name: str
    kinds: frozenset[Kind]
    state: Callable[[Machine], int | str] | None = None


def parse(words: list[str]) -> Wait:
    """Take what stands behind ``stop-on``; ``ValueError`` says what it may be."""
    name = words[0] if words else ""
    if name in _STATES and len(words) == 1:
        return Wait(name, _SWITCHES, _STATES[name])
    if name in _EVENTS and len(words) == 1:
        return Wait(name, _EVENTS[name])
    if name == "event" and len(words) == 2:
        kind = Kind.__members__.get(words[1].upper())
        if kind is None:
            raise ValueError(f"no such event: {words[1]}; there are {', '.join(k.name.lower() for k in Kind)}")
        return Wait(f"event {words[1].lower()}", frozenset({kind}))
    raise ValueError(f"stop-on {'|'.join(NAMES[:-1])}|event KIND, or off")


class StopOn:
    """What one session waits for."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self.waits: dict[str, Wait] = {}
        self._found: list[Event] = []
        self._before: dict[str, int | str] = {}
        self._kinds: frozenset[Kind] = frozenset()
        self._listener = Listener(self._on_event)

    def arm(self) -> None:
        """Begin to listen, and remember how things are."""
        self._found.clear()
        self._kinds = frozenset[Kind]().union(*(wait.kinds for wait in self.waits.values()))
        self._before = {wait.name: wait.state(self._machine) for wait in self.waits.values() if wait.state}
        if self.waits:
            self._machine.inner.add_sink(self._listener)

    def arm_again(self) -> None:
        """Begin anew: what was found belongs to another time."""
        self.disarm()
        self.arm()

    def disarm(self) -> None:
        """Listen no more."""
        self._before = {}
        if self._kinds:
            self._kinds = frozenset()
            self._machine.inner.remove_sink(self._listener)

    def met(self) -> list[str]:
        """Give a line for each that is there, now that the run has paused; none where nothing was armed."""
        found, lines = self._found[:], []
        self._found.clear()
        for wait in self.waits.values():
            if wait.state is not None:
                now, before = wait.state(self._machine), self._before.get(wait.name)
                if before is not None and now != before:
                    self._before[wait.name] = now
                    lines.append(f"{wait.name}: {_shown(before)} -> {_shown(now)}")
            else:
                lines += [f"{wait.name}: {self._line(event)}" for event in found if self._is(wait, event)]
        return lines

    def _is(self, wait: Wait, event: Event) -> bool:
        by_program = event.kind is not Kind.SYSCALL or event.who is Who.USER or wait.name != "syscall"
        return event.kind in wait.kinds and by_program

    def _line(self, event: Event) -> str:
        data = " ".join(f"{name}={value:#x}" for name, value in event.fields.items())
        return f"{event.kind.name.lower()} at {self._machine.symbols.name(event.rip)} {data}".rstrip()

    def _on_event(self, event: Event) -> None:
        if event.kind in self._kinds:
            self._found.append(event)
            self._machine.inner.request_stop(Reason.REACHED)


def _shown(value: int | str) -> str:
    return value if isinstance(value, str) else f"{value:#x}"
