"""What the tests of lab 3 hold a student's measurements against; it does not come into the student's folder, for it says how."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ...container import Container
from ...emu.events import Kind, Who

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ...emu.events import Event

_GETPID: Final = 39
_CALLS: Final = 6
_MOST_STEPS: Final = 5000


def begins(runtime: str) -> Callable[[Event], bool]:
    """Tell the first event of a getpid."""
    kind = Kind.GATE_ENTER if runtime == "paracell" else Kind.SYSCALL
    by = Who.KERNEL if runtime == "paracell" else Who.USER
    return lambda event: event.kind is kind and event.who is by and event.nr == _GETPID


def one_call(runtime: str, costs: Mapping[str, int]) -> list[Event]:
    """Give the events between two calls of one run: a whole call, from behind its begin to behind the next one's."""
    begin = begins(runtime)
    with Container("null", str(_CALLS), runtime=runtime, memory="64M", costs=costs) as c, c.record() as events:
        c.run()
    at = [number for number, event in enumerate(events) if begin(event)]
    return events[at[2] + 1 : at[3] + 1]


def walk_along(runtime: str) -> list[str]:
    """Step through a call, and note who runs."""
    with Container("null", str(_CALLS), runtime=runtime, memory="64M") as c:
        for _ in range(3):
            c.run_until(begins(runtime))
        names = ["USER", c.who.name]
        for _ in range(_MOST_STEPS):
            c.step()
            if c.who.name != names[-1]:
                names.append(c.who.name)
            if c.who is Who.USER:
                break
    return names
