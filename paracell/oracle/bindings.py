"""Who has which page of memory: the rules of Pager, seen by page tables and requests, and by nothing that the host keeps.

What it looks at (docs/pager.md): a page that the host binds was not bound, was nobody's, is mapped where the container kernel sees its
memory, and is zero; a page that goes back is mapped there no more; who runs in a container uses only pages that are bound to it.
Containers are told apart by the table of their direct map.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from attrs import define

from ..emu.events import Event, Kind, Who
from ..host_variables import HOST_BASE
from ..mmu.address import PAGE
from .rules import Rule

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..emu.machine import Machine

HC_UNBIND, HC_PAGER = 11, 12  # pku/xgate/hypercall.h
_DIRECT_SLOT: Final = 273  # of level 4: the container kernel's view of its memory
_IMAGE_SLOT, _IMAGE_ENTRY = 511, 510  # of levels 4 and 3: its image
_PRESENT, _ADDRESS, _ORDER = 1, 0x000F_FFFF_FFFF_F000, 15


@define
class _Request:
    """What has been asked for, before the host looks at it: words of blocks."""

    table: int
    unbinds: tuple[int, ...]
    binds: tuple[int, ...]
    alone: bool = False  # a page by HC_UNBIND, which answers 0 if it has done it


class BindingWatch:
    """The pages of each container, from the moment when it is told to begin.

    Attributes:
        requests: how many have been answered.

    """

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._tables: dict[int, int] = {}  # direct maps, and a CR3 that each has been seen with
        self._image: dict[int, frozenset[int]] = {}
        self._start: dict[int, dict[int, int]] = {}  # guest-physical → host-physical, for each direct map
        self._owner_at_start: dict[int, int] = {}
        self._bound: dict[int, dict[int, int]] = {}
        self._owner: dict[int, int] = {}
        self._asked: _Request | None = None
        self._changed = False
        self.requests = 0

    def meet(self, event: Event) -> None:
        """Note a container that runs, before the beginning."""
        if event.kind is Kind.HYPERCALL:
            table = self._running()
            if table:
                self._tables[table] = self._machine.cpu.cr3 & _ADDRESS

    def begin(self) -> None:
        """Take what each container has mapped now as what it has."""
        table = self._running()
        if table:
            self._tables[table] = self._machine.cpu.cr3 & _ADDRESS
        for table, root in self._tables.items():
            self._start[table] = dict(self._leaves(table, 3))
            image = self._word(self._word(root + 8 * _IMAGE_SLOT) & _ADDRESS, _IMAGE_ENTRY)
            self._image[table] = frozenset(hpa for _, hpa in self._leaves(image & _ADDRESS, 2))
            self._owner_at_start |= dict.fromkeys(self._start[table].values(), table)
        self._changed = True
        self.again()

    def again(self) -> None:
        """Forget what has come since the beginning."""
        self._asked = None
        if self._changed:
            self._bound = {table: dict(pages) for table, pages in self._start.items()}
            self._owner = dict(self._owner_at_start)
            self._changed = False

    def listen(self, event: Event) -> str | None:
        """Follow one event, and say what is wrong with it."""
        if event.kind is Kind.PAGE_WALK:
            _, _, frame, refused, *_ = event.data
            if event.who in {Who.USER, Who.KERNEL} and not refused:
                return self._used(frame & _ADDRESS, event.data[0])
        elif event.kind is Kind.HYPERCALL and event.nr == HC_PAGER:
            self._asked = self._read_request(event.arg0, event.arg1)
        elif event.kind is Kind.HYPERCALL and event.nr == HC_UNBIND:
            self._asked = _Request(self._running(), (event.arg0,), (), alone=True)
        elif event.kind is Kind.SYSRET and event.who is Who.HOST and self._asked is not None:
            request, self._asked = self._asked, None
            if request.table == self._running():
                return self._answered(request, event.value)
        return None

    def _word(self, table: int, index: int = 0) -> int:
        return self._machine.memory.read64(table + 8 * index)

    def _running(self) -> int:
        return self._word(self._machine.cpu.cr3 & _ADDRESS, _DIRECT_SLOT) & _ADDRESS

    def _leaves(self, table: int, level: int, start: int = 0) -> Iterator[tuple[int, int]]:
        for index, entry in enumerate(struct.unpack("<512Q", self._machine.memory.read(table, PAGE))):
            at = start + (index << 12 + 9 * (level - 1))
            if not entry & _PRESENT:
                continue
            if level == 1:
                yield at, entry & _ADDRESS
            else:
                yield from self._leaves(entry & _ADDRESS, level - 1, at)

    def _mapped(self, table: int, gpa: int) -> int:
        """Give the page that the direct map has there, or 0."""
        for shift in (30, 21, 12):
            entry = self._word(table, gpa >> shift & 511)
            if not entry & _PRESENT:
                return 0
            table = entry & _ADDRESS
        return table

    def _read_request(self, gpa: int, counts: int) -> _Request | None:
        """Read the words; None for a list that no host takes."""
        table, unbinds, binds = self._running(), counts >> 32, counts & 0xFFFF_FFFF
        at = self._bound.get(table, {}).get(gpa)
        if at is None or unbinds + binds > PAGE // 8:
            return None
        words = struct.unpack(f"<{unbinds + binds}Q", self._machine.memory.read(at, 8 * (unbinds + binds)))
        return _Request(table, words[:unbinds], words[unbinds:])

    def _answered(self, request: _Request, done: int) -> str | None:
        table, bound = request.table, self._bound[request.table]
        if request.alone and done:
            return None
        self._changed = True
        self.requests += 1
        gone = {gpa for word in request.unbinds for gpa in _pages(word)}
        for gpa in gone:
            self._owner.pop(bound.pop(gpa, 0), None)
        for word in request.binds[:done]:
            for gpa in _pages(word):
                wrong = self._binds(table, gpa)
                if wrong:
                    return wrong
        for gpa in gone - bound.keys():
            if self._mapped(table, gpa):
                return f"page {gpa:#x} was given back and is mapped"
        return None

    def _binds(self, table: int, gpa: int) -> str | None:
        bound, hpa = self._bound[table], self._mapped(table, gpa)
        owner = self._owner.get(hpa)
        if gpa in bound:
            return f"page {gpa:#x} was bound twice"
        if owner is not None:
            return f"page {gpa:#x} was bound to {'another page of its own' if owner == table else 'a page of another container'}"
        if not hpa:
            return f"page {gpa:#x} was bound and is not mapped"
        if any(self._machine.memory.read(hpa, PAGE)):
            return f"page {gpa:#x} was bound and is not cleared"
        bound[gpa] = hpa
        self._owner[hpa] = table
        return None

    def _used(self, hpa: int, gva: int) -> str | None:
        if (
            gva >= HOST_BASE or not self._start
        ):  # what the processor reads there is the host's affair: descriptor tables
            return None
        table = self._running()
        if self._owner.get(hpa) == table or table not in self._image or hpa in self._image[table]:
            return None
        return f"{gva:#x} led to a page that is not bound to who runs"


class Bindings(Rule):
    """Pages are bound, used and given back as Pager's rules say (docs/pager.md).

    `watch` is one that has met the containers already; else the one that runs when the rule begins is the only one known.
    """

    def __init__(self, watch: BindingWatch | None = None) -> None:
        self.watch = watch

    def begin(self, machine: Machine) -> None:
        """Take what each container has mapped now as what it has."""
        self.watch = self.watch or BindingWatch(machine)
        self.watch.begin()

    def again(self) -> None:
        """Forget what has come since the beginning."""
        assert self.watch is not None
        self.watch.again()

    def event(self, machine: Machine, event: Event) -> str | None:
        """Follow one event."""
        del machine
        assert self.watch is not None
        return self.watch.listen(event)


def _pages(word: int) -> Iterator[int]:
    """Give the pages of a block."""
    start = word & _ADDRESS
    yield from range(start, start + (PAGE << (word & _ORDER)), PAGE)
