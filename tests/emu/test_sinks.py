"""Sinks and the lens before them: what each gets, in any order of adding them."""

from __future__ import annotations

from itertools import permutations
from typing import TYPE_CHECKING

import pytest

from paracell.emu.events import FIELDS, Event, Kind, Who
from paracell.emu.machine import Machine
from paracell.emu.sinks import Listener, fan_out

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from paracell.emu.cpu import Cpu

SEEN = (Kind.WRPKRU, (0, 4))
MEANT = [SEEN, (Kind.GATE_EXIT, (7,))]


class Doubling:
    """A lens that adds an event to each, and knows who runs."""

    def who_is(self, cpu: Cpu) -> Who:
        return Who(cpu.cpl)

    def bind(self, emit: Callable[[Event], None]) -> Callable[[Event], None]:
        def read(event: Event) -> None:
            emit(event)
            emit(event._replace(kind=Kind.GATE_EXIT, data=(7,)))

        return read


@pytest.fixture
def machine() -> Iterator[Machine]:
    made = Machine(1 << 20)
    yield made
    made.close()


@pytest.mark.parametrize("order", list(permutations(["lens", "first", "second"])))
def test_the_order_does_not_matter(machine: Machine, order: tuple[str, ...]) -> None:
    seen: dict[str, list[tuple[Kind, tuple[int, ...]]]] = {"first": [], "second": []}
    for what in order:
        if what == "lens":
            machine.lens = Doubling()
        else:
            machine.add_sink(Listener(lambda e, to=seen[what]: to.append((e.kind, e.data))))  # type: ignore[misc]
    machine.cpu.event(*SEEN[:1], *SEEN[1])
    assert seen == {"first": MEANT, "second": MEANT}


def test_the_lens_says_who_runs(machine: Machine) -> None:
    seen: list[Event] = []
    machine.add_sink(Listener(seen.append))
    machine.cpu.event(Kind.HLT)
    machine.lens = Doubling()
    machine.cpu.event(Kind.HLT)
    machine.lens = None
    machine.cpu.event(Kind.HLT)
    assert [e.who for e in seen] == [Who.KERNEL, Who.HOST, Who.HOST, Who.KERNEL]


def test_without_a_sink_nobody_is_told(machine: Machine) -> None:
    def listening() -> bool:
        return machine.cpu.emit is not None

    machine.lens = Doubling()
    assert not listening()
    sink = Listener(lambda _: None)
    machine.add_sink(sink)
    assert listening()
    machine.remove_sink(sink)
    assert not listening()
    with pytest.raises(ValueError, match="not in list"):
        machine.remove_sink(sink)


def test_one_way_for_several() -> None:
    assert fan_out([]) is None
    got: list[int] = []
    event = Event(Kind.HLT, 1, 2, 3, Who.USER, ())
    send = fan_out([lambda _: got.append(1), lambda _: got.append(2), lambda _: got.append(3)])
    assert send is not None
    send(event)
    assert got == [1, 2, 3]


@pytest.mark.parametrize("kind", Kind)
def test_each_number_of_an_event_has_a_name(kind: Kind) -> None:
    event = Event(kind, 100, 10, 0x1000, Who.USER, tuple(range(5, 5 + len(FIELDS[kind]))))
    assert [getattr(event, name) for name in FIELDS[kind]] == list(event.data)
    record = event.as_dict()
    assert list(record)[:5] == ["at", "cost", "who", "kind", "rip"]
    assert record["kind"] == kind.name.lower()
    assert [record[name] for name in FIELDS[kind]] == list(event.data)
    assert kind.name in repr(event)
    assert all(f"{name}={value:#x}" in repr(event) for name, value in event.fields.items())
    with pytest.raises(AttributeError, match=f"{kind.name} has no field nonsense"):
        event.nonsense  # noqa: B018
