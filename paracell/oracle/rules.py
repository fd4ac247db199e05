"""The rules that ship, but for Pager's (`bindings`), and what a rule is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..emu.events import Event, Kind, Who
from ..emu.registers import RIP
from ..mmu.rights import EXEC, READ, WRITE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ..emu.machine import Machine
    from ..emu.stop import Stop

_KERNEL_KEY: Final = 1 << 2  # PKRU.AD1
_WAYS: Final = {READ: "read", WRITE: "written", EXEC: "run"}


class Rule:
    """Something that must hold; each method that finds it broken says how, in words."""

    def begin(self, machine: Machine) -> None:
        """Take what is so now as right; called once, before the first event."""

    def again(self) -> None:
        """Forget what has come since `begin`: the machine has gone back to where it stood then."""

    def event(self, machine: Machine, event: Event) -> str | None:
        """Follow one event; it has just happened, and the machine is in the state that it left."""
        del machine, event
        return None

    def end(self, machine: Machine, stop: Stop) -> str | None:
        """Look at a run that has stopped."""
        del machine, stop
        return None


class _Function(Rule):
    def __init__(self, function: Callable[[Machine, Event], str | None]) -> None:
        self._function = function
        self.__doc__ = function.__doc__

    def event(self, machine: Machine, event: Event) -> str | None:
        return self._function(machine, event)


def rule(function: Callable[[Machine, Event], str | None]) -> Rule:
    """Make a rule of a function of the machine and an event that says what is wrong, or None."""
    return _Function(function)


class HostException(Rule):
    """The host takes no exception of its own: whatever a container does, its code runs as it was written."""

    def event(self, machine: Machine, event: Event) -> str | None:
        """See an exception while the host runs."""
        del machine
        return "the host took an exception" if event.kind is Kind.EXCEPTION and event.who is Who.HOST else None


class KernelRights(Rule):
    """Nobody holds the container kernel's key rights outside of its code, of the linear addresses `text`."""

    def __init__(self, text: range) -> None:
        self._text = text

    def event(self, machine: Machine, event: Event) -> str | None:
        """Look at PKRU where an event is, but for walks: those do not change it."""
        return None if event.kind is Kind.PAGE_WALK else self._look(machine, event.rip)

    def end(self, machine: Machine, stop: Stop) -> str | None:
        """Look at PKRU where the run has stopped."""
        del stop
        return self._look(machine, machine.cpu.q[RIP])

    def _look(self, machine: Machine, rip: int) -> str | None:
        cpu = machine.cpu
        if cpu.cpl == 3 and not cpu.pkru & _KERNEL_KEY and rip not in self._text:
            return "the container kernel's rights outside of its code"
        return None


class Secrets(Rule):
    """No access reaches certain physical pages: `pages` names each by its frame's number.

    It sees walks, so no TLB may hold a translation to such a page from before; whoever goes on after one was reached flushes them.
    """

    def __init__(self, pages: Mapping[int, str]) -> None:
        self._pages = dict(pages)

    def event(self, machine: Machine, event: Event) -> str | None:
        """See a walk to such a page that was not refused."""
        del machine
        if event.kind is not Kind.PAGE_WALK:
            return None
        _, need, frame, refused, *_ = event.data
        name = self._pages.get(frame >> 12)
        return None if name is None or refused else f"{name} was {_WAYS[need]}"
