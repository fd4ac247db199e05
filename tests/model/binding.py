"""A second opinion on who has which page: it follows the events of a ParaCell run with Pager, and looks at nothing but physical memory.

It reads requests and page tables by itself, and shares no code with the host.  What must hold (docs/pager.md):

- a page that is bound is nobody's before, is mapped where the container kernel sees memory, and is zero;
- a page that is unbound is mapped there no more;
- whoever runs in a container uses only pages that are bound to it, or that it had when it began.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from attrs import define, field

from paracell.emu.events import Kind, Who

if TYPE_CHECKING:
    from collections.abc import Iterator

    from paracell.emu.events import Event
    from paracell.emu.machine import Machine

PAGE: Final = 4096
DIRECT_SLOT: Final = 273  # of level 4: 0xffff888000000000, the container kernel's direct map
IMAGE_SLOT, IMAGE_ENTRY = 511, 510  # its image: 0xffffffff80000000
HOST_IMAGE: Final = 0xFFFF_FFFF_C000_0000
HC_PAGER: Final = 12
PRESENT, ADDRESS = 1, 0x000F_FFFF_FFFF_F000


class WrongBinding(AssertionError):
    """What the host did, and what it should have done."""


@define
class Container:
    """What is known of one: by the table of its direct map."""

    table: int
    begun: bool = False  # its first request, which binds that request's own page, has been answered
    bound: dict[int, int] = field(factory=dict)  # guest-physical page → host-physical page
    image: frozenset[int] = frozenset()  # host-physical pages


@define
class Bindings:
    """The state of all bindings, as the events of a run make it.  It is a sink."""

    machine: Machine
    containers: dict[int, Container] = field(factory=dict)
    owner: dict[int, Container] = field(factory=dict)
    asked: tuple[Container, list[int], list[int]] | None = None
    requests: int = 0

    def emit(self, event: Event) -> None:
        """Follow one event."""
        if event.kind is Kind.HYPERCALL and event.nr == HC_PAGER:
            self._request(event.arg0, event.arg1)
        elif self.asked is not None and event.who is Who.HOST and event.kind in {Kind.SYSRET, Kind.IRET, Kind.CR3_LOAD}:
            self._answer()
        elif event.kind is Kind.PAGE_WALK and event.who in {Who.USER, Who.KERNEL} and not event.refused:
            self._used(event.frame & ADDRESS, event.gva)

    def close(self) -> None:
        """Nothing is buffered."""

    def _word(self, hpa: int) -> int:
        return self.machine.memory.read64(hpa)

    def _running(self) -> Container:
        table = self._word((self.machine.cpu.cr3 & ADDRESS) + 8 * DIRECT_SLOT) & ADDRESS
        if table not in self.containers:
            self.containers[table] = Container(table)
        return self.containers[table]

    def leaf_at(self, container: Container, gpa: int) -> int:
        """Give the address of a page's entry in the container's direct map; 0 without a table for it."""
        table = container.table
        for shift in (30, 21):
            entry = self._word(table + 8 * (gpa >> shift & 511))
            if not entry & PRESENT:
                return 0
            table = entry & ADDRESS
        return table + 8 * (gpa >> 12 & 511)

    def _leaf(self, container: Container, gpa: int) -> int:
        at = self.leaf_at(container, gpa)
        entry = self._word(at) if at else 0
        return entry & ADDRESS if entry & PRESENT else 0

    def _leaves(self, table: int, level: int, offset: int = 0) -> Iterator[tuple[int, int]]:
        for index in range(512):
            entry, at = self._word(table + 8 * index), offset + (index << 12 + 9 * (level - 1))
            if entry & PRESENT:
                if level == 1:
                    yield at, entry & ADDRESS
                else:
                    yield from self._leaves(entry & ADDRESS, level - 1, at)

    def _begin(self, container: Container) -> None:
        image = self._word((self.machine.cpu.cr3 & ADDRESS) + 8 * IMAGE_SLOT) & ADDRESS
        container.bound = dict(self._leaves(container.table, 3))
        container.image = frozenset(hpa for _, hpa in self._leaves(self._word(image + 8 * IMAGE_ENTRY) & ADDRESS, 2))
        self.owner |= dict.fromkeys(container.bound.values(), container)
        container.begun = True

    def _request(self, gpa: int, counts: int) -> None:
        container = self._running()
        self.requests += 1
        if not container.begun:
            self.asked = (container, [], [])
            return
        unbinds, binds = counts >> 32, counts & 0xFFFFFFFF
        at = self._leaf(container, gpa)
        if not at or unbinds + binds > PAGE // 8:
            return  # the host refuses it
        words = struct.unpack(f"<{unbinds + binds}Q", self.machine.memory.read(at, 8 * (unbinds + binds)))
        self.asked = (container, [*self._pages(words[:unbinds])], [*self._pages(words[unbinds:])])

    @staticmethod
    def _pages(words: tuple[int, ...]) -> Iterator[int]:
        for word in words:
            yield from (((word & ~(PAGE - 1)) + i * PAGE) for i in range(1 << (word & 15)))

    def _answer(self) -> None:
        assert self.asked is not None
        container, unbinds, binds = self.asked
        self.asked = None
        if not container.begun:
            self._begin(container)
        again = {*binds}
        for gpa in unbinds:
            self.owner.pop(container.bound.pop(gpa, 0), None)
            if gpa not in again and self._leaf(container, gpa):
                raise WrongBinding(f"{gpa:#x} has been unbound and is mapped in the direct map")
        for gpa in binds:
            hpa = self._leaf(container, gpa)
            if not hpa:
                continue  # the host had no memory for it
            if hpa in self.owner:
                raise WrongBinding(f"{gpa:#x} is bound to {hpa:#x}, which is somebody's")
            if any(self.machine.memory.read(hpa, PAGE)):
                raise WrongBinding(f"{gpa:#x} is bound to {hpa:#x}, which is not cleared")
            container.bound[gpa] = hpa
            self.owner[hpa] = container

    def _used(self, hpa: int, gva: int) -> None:
        if gva >= HOST_IMAGE:
            return  # the processor itself: descriptor tables
        container = self._running()
        if container.begun and hpa not in container.image and self.owner.get(hpa) is not container:
            raise WrongBinding(f"{gva:#x} leads to {hpa:#x}, which is not bound to whoever runs")
