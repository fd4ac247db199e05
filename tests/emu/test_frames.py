"""Steps, and the frames and waits that they make: each shape of crossing, from events written by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paracell.emu.events import FIELDS, Event, Kind, Who
from paracell.emu.sinks.captions import caption
from paracell.emu.sinks.crossings import steps
from paracell.emu.sinks.frames import Frames

if TYPE_CHECKING:
    from paracell.emu.sinks.frames import Track

U, K, H, L = Who.USER, Who.KERNEL, Who.HOST, Who.OUTER
SHORT = {U: "program", K: "kernel", H: "host", L: "L0"}


class Picture:
    """Draws slices as text: ``<`` begins, ``>`` ends, indented by how deep its track is."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.open: dict[Track, list[str]] = {}
        self.arrows: dict[int, list[str]] = {}

    def _name(self, track: Track) -> str:
        return SHORT[track.who] + (str(track.container) if track.container else "")

    def begin(self, track: Track, at: int, name: str, flow: int = 0) -> None:
        self.lines.append(f"{self._name(track)} {at} < {name}")
        self.open.setdefault(track, []).append(name)
        if flow:
            self.arrows[flow].append(self._name(track))

    def end(self, track: Track, at: int) -> None:
        self.lines.append(f"{self._name(track)} {at} > {self.open[track].pop()}")

    def resume(self, track: Track, at: int, flow: int) -> None:
        del at
        self.arrows[flow].append(self._name(track))

    def event(self, track: Track, start: int, event: Event, flow: int) -> None:
        del start
        assert self.open.get(track), f"{event} lies in no frame"
        if flow:
            assert flow not in self.arrows
            self.arrows[flow] = [self._name(track)]


def event(kind: Kind, who: Who, *numbers: int, at: int, cost: int = 10, rip: int = 0x1000) -> Event:
    return Event(kind, at, cost, rip, who, (*numbers, *[0] * (len(FIELDS[kind]) - len(numbers))))


def draw(*events: Event, containers: list[int] | None = None, nested: bool = False) -> Picture:
    picture = Picture()
    frames = Frames(picture, lambda e: caption(e, lambda nr: f"call {nr}"))
    numbers = containers or [0] * len(events)
    for i, step in enumerate(steps(events, nested=nested)):
        frames.step(step._replace(tag=numbers[i], next_tag=numbers[min(i + 1, len(numbers) - 1)]))
    frames.close()
    assert not any(picture.open.values())
    assert all(len(ends) == 2 for ends in picture.arrows.values())
    return picture


def test_a_system_call() -> None:
    picture = draw(
        event(Kind.SYSCALL, U, 1, at=10),
        event(Kind.PORT, K, at=20),
        event(Kind.SYSRET, K, at=30),
        event(Kind.RDTSC, U, at=40),
    )
    assert picture.lines == [
        "program 0 < program",
        "program 0 < call 1",
        "kernel 10 < call 1",
        "kernel 30 > call 1",
        "program 30 > call 1",
        "program 40 > program",
    ]
    assert list(picture.arrows.values()) == [["program", "kernel"], ["kernel", "program"]]


def test_a_gate_belongs_to_whom_it_lets_through() -> None:
    """The events of a WRPKRU that is a gate come when the other side runs; the host's return before it is no call of the kernel's."""
    events = [
        event(Kind.IRET, H, at=10),
        event(Kind.WRPKRU, K, at=20),
        event(Kind.GATE_ENTER, K, 39, at=20, cost=0),
        event(Kind.WRPKRU, U, at=30),
        event(Kind.GATE_EXIT, U, at=30, cost=0),
        event(Kind.WRPKRU, U, at=40),  # and one that is no gate
        event(Kind.RDTSC, U, at=50),
    ]
    assert [(s.who, s.to) for s in steps(events)] == [(H, U), (U, K), (K, K), (K, U), (U, U), (U, U), (U, U)]
    assert [line for line in draw(*events).lines if "39" in line] == [
        "program 10 < call 39", "kernel 20 < call 39", "kernel 30 > call 39", "program 30 > call 39",
    ]  # fmt: skip


def test_a_fault_that_the_host_hands_on() -> None:
    """As ParaCell does: program, host, container kernel, host, program."""
    picture = draw(
        event(Kind.EXCEPTION, U, 14, 6, 0x5000, at=10),
        event(Kind.SYSRET, H, at=20),
        event(Kind.HYPERCALL, K, 4, at=30),
        event(Kind.IRET, H, at=40),
        event(Kind.RDTSC, U, at=50),
    )
    assert picture.lines == [
        "program 0 < program",
        "program 0 < #PF 0x5000",
        "host 10 < #PF 0x5000",
        "host 20 > #PF 0x5000",
        "kernel 20 < #PF 0x5000",
        "kernel 20 < hypercall 0x4",
        "host 30 < hypercall 0x4",
        "host 40 > hypercall 0x4",
        "kernel 40 > hypercall 0x4",
        "kernel 40 > #PF 0x5000",
        "program 40 > #PF 0x5000",
        "program 50 > program",
    ]


def test_a_fault_within_one_domain() -> None:
    picture = draw(
        event(Kind.SYSCALL, U, 0, at=10),
        event(Kind.EXCEPTION, K, 14, 2, 0x7000, at=20),
        event(Kind.PORT, K, at=30),
        event(Kind.IRET, K, at=40),
        event(Kind.SYSRET, K, at=50),
        event(Kind.RDTSC, U, at=60),
    )
    assert "kernel 10 < #PF 0x7000" in picture.lines
    assert picture.lines.index("kernel 40 > #PF 0x7000") < picture.lines.index("kernel 50 > call 0")
    assert len(picture.arrows) == 2


def test_what_delivers_a_fault_is_drawn_behind_it() -> None:
    walk = event(Kind.PAGE_WALK, U, 0xFFFF_FFFF_8000_0000, at=10, cost=0)
    events = [event(Kind.EXCEPTION, U, 14, at=10), walk, event(Kind.IRET, K, at=20, rip=0x2000)]
    assert [(s.who, s.to) for s in steps(events)] == [(U, K), (K, K), (K, K)]
    elsewhere = walk._replace(rip=0x3000)  # the program's own
    assert next((s.who, s.to) for s in steps([events[0], elsewhere, events[2]])) == (U, U)


def test_a_kernel_that_comes_back_to_another_process() -> None:
    """It was called once and returns once; the second return has no call, and ends nothing of the program's."""
    picture = draw(
        event(Kind.SYSCALL, U, 61, at=10),
        event(Kind.CR3_LOAD, K, at=20),
        event(Kind.IRET, K, at=30),
        event(Kind.SYSCALL, U, 60, at=40),
        event(Kind.SYSRET, K, at=50),  # from call 61
        event(Kind.RDTSC, U, at=60),
    )
    assert [line for line in picture.lines if line.startswith("kernel")] == [
        "kernel 10 < call 61", "kernel 30 > call 61", "kernel 40 < call 60", "kernel 50 > call 60",
    ]  # fmt: skip


def test_a_nested_exit_that_is_reflected() -> None:
    picture = draw(
        event(Kind.VM_EXIT, K, 2, 0, 48, at=10),
        event(Kind.REFLECTION, L, at=20),
        event(Kind.VM_ENTRY, L, 0, 1, at=30),
        event(Kind.VM_EXIT, H, 1, 0, 30, at=40),
        event(Kind.PORT, H, at=50),  # by L0, in the name of its guest
        event(Kind.VM_ENTRY, L, 0, 1, at=60),
        event(Kind.VM_EXIT, H, 1, 0, 24, at=70),
        event(Kind.VM_ENTRY, L, 0, 2, at=80),
        event(Kind.RDTSC, K, at=90),
        nested=True,
    )
    assert picture.lines == [
        "kernel 0 < container kernel",
        "kernel 0 < EPT_VIOLATION",
        "L0 10 < EPT_VIOLATION",
        "L0 30 > EPT_VIOLATION",
        "host 30 < EPT_VIOLATION",
        "host 30 < IO",
        "L0 40 < IO",
        "L0 60 > IO",
        "host 60 > IO",
        "host 60 < VMRESUME",
        "L0 70 < VMRESUME",
        "L0 80 > VMRESUME",
        "host 80 > VMRESUME",
        "host 80 > EPT_VIOLATION",
        "kernel 80 > EPT_VIOLATION",
        "kernel 90 > container kernel",
    ]


def test_another_container_s_turn() -> None:
    """What the first one had open ends, and begins again when it runs again."""
    picture = draw(
        event(Kind.HYPERCALL, K, 1, at=10),
        event(Kind.PORT, H, at=20),
        event(Kind.SYSRET, H, at=30),
        event(Kind.HYPERCALL, K, 1, at=40),
        event(Kind.SYSRET, H, at=50),
        event(Kind.RDTSC, K, at=60),
        containers=[0, 0, 1, 1, 0, 0],
    )
    assert [line for line in picture.lines if "kernel1" in line] == [
        "kernel1 30 < container kernel",
        "kernel1 30 < hypercall 0x1",
        "kernel1 50 > hypercall 0x1",
        "kernel1 50 > container kernel",
    ]
    assert picture.lines.index("kernel 30 > container kernel") < picture.lines.index("kernel1 30 < container kernel")


def test_a_change_that_no_event_tells_of() -> None:
    """A far return in a boot loader: the arrow begins at the last event before it."""
    picture = draw(event(Kind.PORT, U, at=10), event(Kind.PORT, K, at=20))
    assert picture.lines == [
        "program 0 < program", "program 10 < container kernel", "kernel 10 < container kernel",
        "kernel 20 > container kernel", "program 20 > container kernel", "program 20 > program",
    ]  # fmt: skip
    assert list(picture.arrows.values()) == [["program", "kernel"]]
