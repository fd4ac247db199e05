"""Tests of lab 10: a strict host for the student's kernel, a hostile kernel for the student's host, and containers that are measured."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from ...container import Container
from ...emu.cost import DEFAULT, Costs
from ...emu.events import Event, Kind, Who
from ..grade import Student, expect, test

if TYPE_CHECKING:
    from random import Random

PRICED: Final = ("exception", "iret", "wrpkru", "syscall", "sysret")
SERVED: Final = frozenset({Kind.EXCEPTION, Kind.IRET, Kind.HYPERCALL, Kind.SYSRET})
PAGER, MMAP, PAGE_FAULT, MIB, PAGE = 12, 9, 14, 1 << 20, 4096
EXITS: Final = frozenset({60, 231})
MOST: Final = 512  # words of a request
SHOWN: Final = 16  # numbers of a list


def listed(pages: list[Any]) -> str:
    """Show a list of pages, its beginning and its end if it is long."""
    if len(pages) <= SHOWN:
        return repr(pages)
    return f"[{', '.join(map(repr, pages[:4]))}, … {', '.join(map(repr, pages[-2:]))}: {len(pages)} numbers]"


class Strict:
    """A host that notices whatever an honest kernel does not do."""

    def __init__(self, size: int, free: int) -> None:
        self.size, self.free = size, free
        self.bound: set[int] = set()
        self.requests: list[tuple[list[int], list[int], int]] = []

    def request(self, unbind: Any, bind: Any) -> int:
        """Check a request, and do it."""
        unbind, bind = list(unbind), list(bind)
        text = f"request({listed(unbind)}, {listed(bind)})"
        for page in unbind + bind:
            expect(type(page) is int and 0 <= page < self.size, f"{text}: {page!r} is no page of the container's")
        expect(len(set(unbind + bind)) == len(unbind + bind), f"{text}: a page is named twice")
        expect(set(unbind) <= self.bound, f"{text}: {listed(sorted(set(unbind) - self.bound))} are not bound")
        expect(not set(bind) & self.bound, f"{text}: {listed(sorted(set(bind) & self.bound))} are bound already")
        expect(len(unbind) + len(bind) <= MOST, f"{text}: more than {MOST} pages")
        self.bound -= set(unbind)
        self.free += len(unbind)
        count = min(self.free, len(bind))
        self.bound |= set(bind[:count])
        self.free -= count
        self.requests.append((unbind, bind, count))
        return count


class Model:
    """What a `Supply` must do, whichever pages it asks for."""

    def __init__(self, student: Student, size: int, batch: int, high: int, free: int) -> None:
        self.host, self.size, self.batch, self.high = Strict(size, free), size, batch, high
        self.supply = student.function("batch", "Supply")(self.host, size, batch, high)
        self.idle: list[int] = []
        self.waiting: list[int] = []
        self.used: list[int] = []
        self.text = f"Supply(host, size={size}, batch={batch}, high={high})"

    def alloc(self) -> None:
        """Have the student's supply give a page, and check which."""
        before = len(self.host.requests)
        unbound = self.size - len(self.host.bound)
        got = self.supply.alloc()
        made = self.host.requests[before:]
        if self.idle:
            expect(not made, f"{self.text}: alloc() made a request although {len(self.idle)} pages are idle")
        elif made or self.waiting or unbound:  # a request of nothing may be left out
            expect(len(made) == 1, f"{self.text}: alloc() made {len(made)} requests, with no idle page; one is right")
            unbind, bind, count = made[0]
            right = sorted(unbind) == sorted(self.waiting)
            expect(
                right,
                f"{self.text}: a request unbinds {listed(unbind)}; the pages that wait are {listed(self.waiting)}",
            )
            wanted = min(self.batch, unbound)
            expect(len(bind) == wanted, f"{self.text}: a request binds {len(bind)} pages; {wanted} is right")
            self.waiting = []
            self.idle = bind[:count][::-1]
        page = self.idle.pop() if self.idle else None
        expect(
            got == page and got is not True, f"{self.text}: alloc() gave {got!r}, and not {page}: idle were {self.idle}"
        )
        if page is not None:
            self.used.append(page)

    def free(self, which: int) -> None:
        """Have the student's supply take a page."""
        before, page = len(self.host.requests), self.used.pop(which)
        self.supply.free(page)
        expect(len(self.host.requests) == before, f"{self.text}: free({page}) made a request; unbinds are in no hurry")
        self.idle.append(page)
        if len(self.idle) > self.high:
            self.waiting += self.idle[: self.batch]
            del self.idle[: self.batch]


@test(15, "Supply: batches, one request each")
def batches(student: Student) -> None:
    for batch in (1, 4, 16):
        model = Model(student, 100, batch, 64, 1000)
        for _ in range(101):
            model.alloc()  # the last one finds nothing


@test(20, "Supply: pages that come back, and a host with little memory")
def returns(student: Student) -> None:
    random = student.random
    for _ in range(20):
        size, batch = random.randrange(20, 200), random.choice([1, 4, 8, 16])
        model = Model(student, size, batch, random.choice([batch, 2 * batch, 4 * batch]), random.randrange(5, 250))
        for _ in range(300):
            if model.used and random.random() < 0.48:
                model.free(random.randrange(len(model.used)))
            else:
                model.alloc()
        while model.used:
            model.free(0)
        for _ in range(size):
            model.alloc()


@test(25, "Binder: a hostile kernel")
def hostile(student: Student) -> None:
    refuses, random = student.get("batch", "Hostile"), student.random
    for _ in range(40):
        size, free = random.randrange(10, 1200), random.randrange(5, 2000)
        binder, right = student.function("batch", "Binder")(size, free), Strict(size, free)
        for _ in range(30):
            unbound = [page for page in range(size) if page not in right.bound]
            some = random.randrange(1, 40)
            unbind = random.sample(sorted(right.bound), min(len(right.bound), some * random.randrange(2)))
            bind = random.sample(unbound, min(len(unbound), some))
            wrong = attack(random, size, unbind, bind, right.bound) if random.random() < 0.4 else None
            asked = f"request({listed(unbind)}, {listed(bind)}), bound {len(right.bound)}, free {right.free}"
            if wrong is not None:
                try:
                    got = binder.request(list(unbind), list(bind))
                except refuses as error:
                    expect(bool(str(error)), f"{asked}: Hostile without a text")
                    expect(
                        binder.free == right.free,
                        f"{asked} was refused, but `free` is {binder.free}, and was {right.free}",
                    )
                    continue
                expect(False, f"Hostile is right, because {wrong}; {asked} gave {got!r}")
            wanted = right.request(unbind, bind)
            try:
                got = binder.request(list(unbind), list(bind))
            except refuses as error:
                expect(
                    False,
                    f"an honest request was refused: {error}; did one that was refused before change something?  {asked}",
                )
            expect(got == wanted, f"{asked} gave {got!r}, and not {wanted}")
            expect(binder.free == right.free, f"{asked}: `free` is {binder.free} now, and not {right.free}")


def attack(random: Random, size: int, unbind: list[Any], bind: list[Any], bound: set[int]) -> str | None:
    """Spoil a request; gives what is wrong with it, or None where this one could not be spoiled so."""
    kind = random.randrange(8)
    if kind == 0:
        bind.append(random.choice([size, -1, 1 << 40, size + 5]))
        return f"{bind[-1]} is no page of the container's"
    if kind == 1:
        bind.append(random.choice([None, "7", 1.0, 2.5, True]))
        return f"{bind[-1]!r} is no page number"
    if kind == 2 and bind:
        bind.append(bind[0])
        return f"page {bind[0]} is bound twice"
    if kind == 3 and bound - set(unbind):
        bind.append(random.choice(sorted(bound - set(unbind))))
        return f"page {bind[-1]} is bound already"
    if kind == 4 and unbind:
        bind.append(unbind[0])
        return f"page {bind[-1]}, which it unbinds, is bound in the same request"
    if kind == 5 and unbind:
        unbind.append(unbind[-1])
        return f"page {unbind[-1]} is unbound twice"
    if kind == 6 and len(bound) < size:
        unbind.append(next(page for page in range(size) if page not in bound))
        return f"page {unbind[-1]}, which is not bound, is unbound"
    if kind == 7 and size > MOST + 1:
        unbound = [page for page in range(size) if page not in bound]
        if len(unbound) > MOST:
            bind[:] = unbound[: MOST + 1 - len(unbind)]
            return f"it has more than {MOST} pages"
    return None


class Measured:
    """A container that writes to each page of a mapping, and what that took."""

    def __init__(self, random: Random, policy: str, around: int, batch: int = 16) -> None:
        self.costs: Costs = DEFAULT.replace({name: random.randrange(10, 900) for name in PRICED})
        with Container(
            "touch",
            "1",
            memory="64M",
            costs=self.costs,
            memory_policy=policy,
            fault_around=around,
            append=f"batch={batch}" if policy == "pager" else "",
        ) as container:
            container.run_until("touch!main")
            with container.record() as events:
                container.run_until(lambda event: event.kind is Kind.GATE_ENTER and event.nr in EXITS)
        calls = iter(events)
        next(event for event in calls if event.kind is Kind.GATE_ENTER and event.nr == MMAP)
        self.begin = next(event for event in calls if event.kind is Kind.GATE_EXIT).value // PAGE
        faults = [event for event in events if event.kind is Kind.EXCEPTION and event.vector == PAGE_FAULT]
        in_mapping = range(self.begin, self.begin + MIB // PAGE)
        assert all(event.address // PAGE in in_mapping for event in faults if event.who is Who.USER)
        self.faults = sum(event.who is Who.USER for event in faults)
        self.below = sum(event.who is Who.KERNEL for event in faults)
        self.binds = sum(e.arg1 & 0xFFFFFFFF for e in events if e.kind is Kind.HYPERCALL and e.nr == PAGER)
        self.cycles = sum(event.cost for event in events if self._serves(event))

    @staticmethod
    def _serves(event: Event) -> bool:
        """Tell whether an event is one of the hand-out's table: the program's own system calls are not."""
        return event.kind in SERVED or (event.kind is Kind.WRPKRU and event.who is Who.HOST)

    @property
    def text(self) -> str:
        """Say what it cost."""
        return f"costs { ({name: getattr(self.costs, name) for name in PRICED}) }"


@test(20, "page_faults and reactive: a page at its first touch", seconds=30)
def first_touch(student: Student) -> None:
    page_faults, reactive = student.function("batch", "page_faults"), student.function("batch", "reactive")
    expect(
        page_faults(3, 9, 4) == 3, f"page_faults(3, 9, 4), the picture of the hand-out, gave {page_faults(3, 9, 4)!r}"
    )
    expect(page_faults(4, 1, 16) == 1, f"page_faults(4, 1, 16) gave {page_faults(4, 1, 16)!r}")
    for around in (1, 4, 16):
        run = Measured(student.random, "touch", around)
        got = page_faults(run.begin, MIB // PAGE, around)
        text = f"page_faults({run.begin}, {MIB // PAGE}, {around})"
        expect(got == run.faults, f"{text} gave {got!r}; the program took {run.faults}")
        cycles = reactive(run.faults, run.below, run.costs)
        expect(
            cycles == run.cycles,
            f"reactive({run.faults}, {run.below}, {run.text}) gave {cycles!r}; the machine took {run.cycles}",
        )


@test(20, "ahead: pages by requests", seconds=30)
def by_requests(student: Student) -> None:
    ahead = student.function("batch", "ahead")
    for around, batch in ((1, 16), (4, 4), (8, 32)):
        run = Measured(student.random, "pager", around, batch)
        assert not run.below
        got = ahead(run.faults, run.binds, batch, run.costs)
        text = f"ahead({run.faults}, {run.binds}, {batch}, {run.text})"
        expect(got == run.cycles, f"{text} gave {got!r}; the machine took {run.cycles}")
