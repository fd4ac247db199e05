"""Moments of one machine in memory, in the order of its time: each keeps only the pages that were written since the one before.

::

    first                      second               third                 now
    every page that is not 0   pages written since  pages written since   `Memory.mark` collects what is written

What a page held at a moment is what the latest of it and those before it has.  A moment in the middle is given up by handing the next
one its pages, as far as that has none of its own: so old moments can be made rarer.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from typing import TYPE_CHECKING, Any, Final

from attrs import define, field

from ..mmu.address import PAGE
from .checkpoint import Apart

if TYPE_CHECKING:
    from .machine import Machine

Place = tuple[int, int]  # as `Machine.progress`, and what moments are sorted by
_ZERO: Final = bytes(PAGE)
_ENTRY: Final = 120  # bytes that a translation takes here
_FIXED: Final = 64 << 10  # bytes of processor and devices


@define(order=False, eq=False)
class Moment:
    """The state of a machine at one moment.

    Attributes:
        place: when that was.
        pages: by physical page number, what was written since the moment before.
        note: what the caller keeps beside.
        stays: a moment that cannot be come to from the one before.

    """

    place: Place
    pages: dict[int, bytes]
    apart: Apart
    tlb: Any
    waits: tuple[Any, ...]
    note: Any
    stays: bool = False
    entries: int = field(default=0)

    def __lt__(self, other: Moment) -> bool:
        """Sort by time; two at one place in the order of their making."""
        return self.place < other.place

    @property
    def size(self) -> int:
        """About how many bytes of this computer's memory it takes."""
        return len(self.pages) * (PAGE + _ENTRY) + self.entries * _ENTRY + _FIXED


class Moments:
    """The moments of `machine` that are kept, the first one being now.

    Attributes:
        kept: sorted by place; there is always one.
        size: about how many bytes they take.

    """

    def __init__(self, machine: Machine, note: Any = None) -> None:
        self._machine = machine
        memory = machine.memory
        used = list(memory.used)
        self._written = memory.mark()
        pages = {f: page for f in used if memory.is_ram(f * PAGE) and (page := self._page(f)) != _ZERO}
        first = self._make(pages, note)
        self.kept = [first]
        self._base = first  # what memory was last equal to
        self.size = first.size

    # ---- making them ------------------------------------------------------------------------------------------

    @property
    def is_clean(self) -> bool:
        """Nothing waits between two instructions that a state has no place for."""
        pending, cpu = self._machine.traps.pending, self._machine.cpu
        return not (pending.stepping or pending.resuming or pending.nmi or cpu.breakpoints.hits or cpu.limits.granted)

    def take(self, note: Any = None, *, stays: bool = False) -> Moment:
        """Keep this moment, which must lie behind the one that was taken or gone to last; with `stays`, what lay behind it goes."""
        memory, place = self._machine.memory, self._machine.progress
        if stays:
            self.cut(place)
        memory.spread()
        pages = {frame: self._page(frame) for frame in self._written if memory.is_ram(frame * PAGE)}
        moment = self._make(pages, note)
        moment.stays = stays
        self._written.clear()
        insort(self.kept, moment)
        self.size += moment.size
        self._base = moment
        return moment

    def _page(self, frame: int) -> bytes:
        return self._machine.memory.ram[frame * PAGE : (frame + 1) * PAGE]

    def _make(self, pages: dict[int, bytes], note: Any) -> Moment:
        machine = self._machine
        cpu, pending = machine.cpu, machine.traps.pending
        tlb = cpu.translation.tlb.save()
        waits = (
            *(pending.nmi, pending.stepping, pending.resuming),
            *(cpu.breakpoints.hits, cpu.resumed_at, cpu.resumed_rip, cpu.shadow_at, tuple(cpu.segments)),
        )
        moment = Moment(machine.progress, pages, Apart.of(machine), tlb, waits, note)
        moment.entries = sum(len(entries) for kept in tlb[1:] for entries, _ in kept.values())
        machine.engine.flush_slots()  # TCG is to ask before it writes again
        return moment

    # ---- going to them ----------------------------------------------------------------------------------------

    def before(self, place: Place) -> Moment:
        """Give the last moment that is not behind `place`, or the first of all."""
        index = bisect_right(self.kept, place, key=lambda moment: moment.place)
        return self.kept[max(index - 1, 0)]

    def last_below(self, place: Place) -> Moment:
        """Give the last moment before `place`, or the first of all."""
        index = bisect_left(self.kept, place, key=lambda moment: moment.place)
        return self.kept[max(index - 1, 0)]

    def may_write(self, frames: frozenset[int], place: Place) -> bool:
        """Tell whether one of these pages can have been written between `last_below` of a place and the place."""
        index = bisect_left(self.kept, place, key=lambda moment: moment.place)
        return index == len(self.kept) or not frames.isdisjoint(self.kept[index].pages)

    def ahead(self) -> Moment | None:
        """Give the next moment behind the present that cannot be come to from the one before."""
        return next((m for m in self.kept[self.kept.index(self._base) + 1 :] if m.stays), None)

    def is_ahead(self, moment: Moment) -> bool:
        """Tell whether the present has not been at a moment yet."""
        return self.kept.index(moment) > self.kept.index(self._base)

    def is_base(self, moment: Moment) -> bool:
        """Tell whether the present began there."""
        return moment is self._base

    def restore(self, moment: Moment) -> None:
        """Go to a moment that is kept."""
        machine, kept = self._machine, self.kept
        cpu, memory = machine.cpu, machine.memory
        here, there = kept.index(self._base), kept.index(moment)
        frames = self._written | memory.dirty
        for between in kept[min(here, there) + 1 : max(here, there) + 1]:
            frames |= between.pages.keys()
        self._put(frames, there)
        memory.drop_stale_code()
        moment.apart.put(machine)
        memory.tell(frames)  # other checkpoints
        cpu.translation.tlb.load(moment.tlb)
        memory.spread()
        machine.engine.flush_slots()
        cpu.translation.forget_code()
        self._written.clear()
        self._base = moment
        machine.progress = moment.place
        pending = machine.traps.pending
        nmi, stepping, resuming, hits, cpu.resumed_at, cpu.resumed_rip, cpu.shadow_at, segments = moment.waits
        cpu.segments[:] = segments
        pending.nmi, pending.resuming, cpu.breakpoints.hits = nmi, resuming, hits
        if stepping:
            pending.step()

    def _put(self, frames: set[int], number: int) -> None:
        """Give pages what they held at a moment."""
        memory, missing = self._machine.memory, {f for f in frames if self._machine.memory.is_ram(f * PAGE)}
        for moment in reversed(self.kept[: number + 1]):
            for frame in missing & moment.pages.keys():
                self._store(frame, moment.pages[frame])
            missing -= moment.pages.keys()
        for frame in missing:
            self._store(frame, _ZERO)
        memory.dirty |= frames

    def _store(self, frame: int, page: bytes) -> None:
        memory, at = self._machine.memory, frame * PAGE
        if frame in memory.code:
            memory.write(at, page)
        else:
            memory.ram[at : at + PAGE] = page

    # ---- giving them up ---------------------------------------------------------------------------------------

    def cut(self, place: Place) -> None:
        """Give up what lies behind a place, for it will be no more; the present must be there, and stay so."""
        while len(self.kept) > 1 and self.kept[-1].place > place:
            moment = self.kept.pop()
            self.size -= moment.size
            if moment is self._base:  # memory is to stay what it is
                self._written |= moment.pages.keys()
                self._base = self.kept[-1]

    def drop(self, moment: Moment) -> None:
        """Give up one that is neither the last one nor where the present began; what it alone holds goes to the next."""
        index = self.kept.index(moment)
        behind = self.kept[index + 1]
        self.size -= moment.size + behind.size
        behind.pages = moment.pages | behind.pages
        self.size += behind.size
        del self.kept[index]

    def may_drop(self, moment: Moment) -> bool:
        """Tell whether one can be given up without a loss but of time; the first one only with what lies before the second."""
        return moment is not self._base and not moment.stays and moment is not self.kept[-1]


__all__ = ["Moment", "Moments", "Place"]
