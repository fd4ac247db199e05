"""A container that a fuzzer has, and a neighbour: booted, found in memory, and looked after.

The neighbour (guest/attacks/neighbour.c) is a program on the honest container kernel of its runtime.  It keeps a secret that it touches
no more, and counts; that it goes on counting is how a host shows that it and its other containers live.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..attacks import HOST_SECRET, symbols_of
from ..emu.events import Event, Kind
from ..emu.registers import RIP
from ..emu.stop import Reason
from ..host_variables import HOST_BASE
from ..oracle import HostException, Rule, Secrets

if TYPE_CHECKING:
    from ..emu.machine import Machine
    from ..emu.stop import Stop
    from ..runtimes import Runtime

NEIGHBOUR: Final = "neighbour"
_SECRET: Final = (0x5EC2E7C0FFEE0002).to_bytes(8, "little") * 512
_IOPL, _IF = 0x3000, 0x200
_LOOP: Final = 18  # bytes of it


def physical(machine: Machine, address: int) -> int | None:
    """Give the physical address that a linear one has for who runs."""
    return machine.cpu.translation.physical(address)


class Neighbour:
    """The neighbour's pages.

    Attributes:
        secret: the physical address of its secret.
        beats: the physical address of its count.

    """

    def __init__(self) -> None:
        symbols = symbols_of(f"attacks/{NEIGHBOUR}")
        loop = symbols["neighbour_run"]
        self._loop = range(loop, loop + _LOOP)
        self._at = symbols["neighbour_secret"], symbols["neighbour_beats"]
        self.secret = self.beats = 0

    def runs(self, machine: Machine) -> bool:
        """Tell whether the neighbour runs, and keep where its pages are."""
        cpu = machine.cpu
        if cpu.q[RIP] not in self._loop or cpu.cpl != 3:
            return False
        secret, beats = (physical(machine, at) for at in self._at)
        if secret is None or beats is None:
            return False
        self.secret, self.beats = secret, beats
        return True


class Whole(Rule):
    """The neighbour's secret and the host's are what they were."""

    def __init__(self, neighbour: Neighbour, host_secret: int) -> None:
        self._pages = (
            (neighbour.secret, _SECRET, "the neighbour's secret"),
            (host_secret, HOST_SECRET.to_bytes(8, "little") + bytes(4088), "the host's secret"),
        )

    def end(self, machine: Machine, stop: Stop) -> str | None:
        """Compare the pages."""
        del stop
        for at, page, name in self._pages:
            if machine.memory.read(at, len(page)) != page:
                return f"{name} was changed"
        return None


class NoHostFlags(Rule):
    """What runs in ring 3 has no I/O privilege and cannot hold interrupts off: RFLAGS.IOPL is 0, RFLAGS.IF is 1."""

    def event(self, machine: Machine, event: Event) -> str | None:
        """Look at RFLAGS where an event is."""
        return None if event.kind is Kind.PAGE_WALK else self._look(machine)

    def end(self, machine: Machine, stop: Stop) -> str | None:
        """Look at RFLAGS where the run has stopped."""
        del stop
        return self._look(machine)

    @staticmethod
    def _look(machine: Machine) -> str | None:
        cpu = machine.cpu
        if cpu.cpl == 3 and cpu.rflags & (_IOPL | _IF) != _IF:
            return f"ring 3 runs with RFLAGS {cpu.rflags:#x}"
        return None


def lived(stop: Stop) -> str | None:
    """Say how a machine ended that should have gone on; None where it does."""
    return None if stop.reason in {Reason.LIMIT, Reason.INTERRUPTED} else f"the machine ended: {stop.reason}"


def rules_beside(machine: Machine, runtime: Runtime, neighbour: Neighbour) -> list[Rule]:
    """Give the rules for a host that must keep two containers apart: no exception of its own, nobody's secret reached or changed."""
    at = symbols_of(runtime.boots)["host_secret"]
    host_secret = physical(machine, at) or at - HOST_BASE  # in a virtual machine the tables are the guest's
    pages = {neighbour.secret >> 12: "the neighbour's secret", host_secret >> 12: "the host's secret"}
    return [HostException(), Secrets(pages), Whole(neighbour, host_secret)]
