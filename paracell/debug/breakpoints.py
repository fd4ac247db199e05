"""Breakpoints that the guest cannot see: no INT3 is in its memory and no debug register is set; the run pauses at addresses."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..machine import Machine

SOFTWARE, HARDWARE = 0, 1  # numbers of the packets Z0 and Z1


class Breakpoints:
    """The breakpoints of one session: those of gdb, by kind, and those that ``monitor break`` has set.

    Attributes:
        own: address → the CR3 under which alone it counts, or None, of those that ``monitor break`` has set.
        physical: physical addresses of others of its.
        turn: an address, and whether the machine is to pause there now: while a container that does not run is waited for.

    """

    def __init__(self) -> None:
        self._kinds: dict[int, set[int]] = {}
        self.own: dict[int, int | None] = {}
        self.physical: set[int] = set()
        self.turn: tuple[int, Callable[[], bool]] | None = None

    def insert(self, kind: int, address: int) -> None:
        """Set one; to set it again changes nothing."""
        self._kinds.setdefault(address, set()).add(kind)

    def remove(self, kind: int, address: int) -> None:
        """Take one back, if it is set."""
        kinds = self._kinds.get(address, set())
        kinds.discard(kind)
        if not kinds:
            self._kinds.pop(address, None)

    @property
    def places(self) -> frozenset[int]:
        """Every linear address that has one."""
        return frozenset(self._kinds) | frozenset(self.own) | frozenset({self.turn[0]} if self.turn else ())

    @property
    def physical_places(self) -> frozenset[int]:
        """Every physical address that has one."""
        return frozenset(self.physical)

    def met(self, machine: Machine) -> str | None:
        """Tell of the breakpoint at the instruction that is next: how a stop reply names it, "" where gdb has not set it; or None."""
        at = machine.inner.cpu.linear_rip
        kinds = self._kinds.get(at)
        if kinds:
            return "swbreak:;" if SOFTWARE in kinds else "hwbreak:;"
        if at in self.own and self.own[at] in {None, int(machine.cpu.cr3)}:
            return ""
        if self.turn is not None and at == self.turn[0] and self.turn[1]():
            return ""
        return "" if self.physical and machine.translate(at) in self.physical else None

    def clear(self) -> None:
        """Take all back."""
        self._kinds.clear()
        self.own.clear()
        self.physical.clear()
