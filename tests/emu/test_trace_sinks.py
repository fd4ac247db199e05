"""What each sink makes of each kind of event."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from perfetto.protos.perfetto.trace.perfetto_trace_pb2 import Trace, TrackEvent

from paracell.emu.events import FIELDS, Event, Kind, Who
from paracell.emu.sinks import SUFFIXES, open_trace
from paracell.emu.sinks.jsonl import JsonLines
from paracell.emu.sinks.summary import Line, Summary
from paracell.emu.symbols import Symbols

BIG = (1 << 64) - 1


def event(kind: Kind, at: int = 1000, cost: int = 10, who: Who = Who.USER, first: int = 7) -> Event:
    """An event whose numbers are first, first + 1, …."""
    return Event(kind, at, cost, 0x401000, who, tuple(range(first, first + len(FIELDS[kind]))))


def test_each_kind_has_names_for_its_numbers() -> None:
    assert set(FIELDS) == set(Kind)
    assert [int(kind) for kind in Kind] == list(range(len(Kind)))  # sinks index lists by it
    for names in FIELDS.values():
        assert len(set(names)) == len(names)
        assert not {"at", "cost", "who", "kind", "rip", "symbol"} & set(names)


# ---- JSON Lines -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("who", Who)
def test_a_line_of_json(kind: Kind, who: Who) -> None:
    file = io.BytesIO()
    sink = JsonLines(file, lambda rip: f"image!{rip:#x}")
    sink.emit(event(kind, who=who))
    sink.close()
    (line,) = file.getvalue().splitlines()
    found = json.loads(line)
    numbers = {name: 7 + i for i, name in enumerate(FIELDS[kind])}
    assert found == {
        "at": 1000, "cost": 10, "who": who.name.lower(), "kind": kind.name.lower(), "rip": 0x401000, "symbol": "image!0x401000",
    } | numbers  # fmt: skip


def test_names_are_quoted_and_asked_for_once() -> None:
    asked: list[int] = []

    def name(rip: int) -> str:
        asked.append(rip)
        return 'a"b\\c\udc80'

    file = io.BytesIO()
    sink = JsonLines(file, name)
    for at in range(5000):
        sink.emit(event(Kind.IRET, at=at, first=BIG))
    assert 0 < file.getvalue().count(b"\n") < 5000  # it writes in batches
    sink.close()
    lines = [json.loads(line) for line in file.getvalue().splitlines()]
    assert [line["at"] for line in lines] == list(range(5000))
    assert {(line["symbol"], line["to"]) for line in lines} == {('a"b\\c?', BIG)}
    assert asked == [0x401000]


# ---- Perfetto -------------------------------------------------------------------------------------------------


def _perfetto(*events: Event) -> list[Any]:
    """The packets of a trace with these events, read back by the format's own library."""
    file = io.BytesIO()
    sink = open_trace(".pftrace", file, Symbols())
    for each in events:
        sink.emit(each)
    sink.close()
    trace = Trace()
    trace.ParseFromString(file.getvalue())
    return list(trace.packet)


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("cost", [0, 10])
def test_an_event_of_perfetto(kind: Kind, cost: int) -> None:
    numbers = (BIG, *range(1, len(FIELDS[kind])))[: len(FIELDS[kind])]
    packets = _perfetto(Event(kind, 2510, cost, 0x401000, Who.USER, numbers))
    (made,) = (p for p in packets if p.track_event.name == kind.name.lower() and p.track_event.debug_annotations)
    expected = TrackEvent.TYPE_SLICE_BEGIN if cost else TrackEvent.TYPE_INSTANT
    assert (made.timestamp, made.track_event.type) == ((2510 - cost) * 2 // 5, expected)  # ns, at 2.5 GHz
    notes = {note.name: note for note in made.track_event.debug_annotations}
    assert list(notes) == ["symbol", "cost", *FIELDS[kind], "at"]
    assert [notes[name].uint_value for name in ("at", "cost", *FIELDS[kind])] == [2510, cost, *numbers]
    assert notes["symbol"].string_value == "0x401000"


def test_an_empty_trace_opens() -> None:
    assert not any(p.HasField("track_event") for p in _perfetto())


# ---- the summary ----------------------------------------------------------------------------------------------


def test_the_summary() -> None:
    sink = Summary()
    for each in (event(Kind.SYSCALL, cost=82, first=39), event(Kind.GATE_ENTER, cost=0, first=39), event(Kind.IDLE, cost=818),
                 event(Kind.SYSCALL, cost=82, first=1), event(Kind.GATE_EXIT, cost=0), event(Kind.PAGE_WALK, cost=0)):  # fmt: skip
        sink.emit(each)
    sink.close()
    assert sink.count(Kind.SYSCALL) == 2
    assert sink.count(Kind.IRET) == 0
    assert sink.syscalls == {39: 2, 1: 1}
    assert sink.lines() == [
        Line("idle", 1, 818, 818 / 982),
        Line("syscall", 2, 164, 164 / 982),
        Line("gate_enter", 1, 0, 0),
        Line("gate_exit", 1, 0, 0),
        Line("page_walk", 1, 0, 0),
    ]
    with_plain_code = sink.lines(18)
    assert with_plain_code[2] == Line("plain code", 0, 18, 18 / 1000)
    assert sum(line.share for line in with_plain_code) == pytest.approx(1)


def test_a_summary_of_nothing() -> None:
    assert Summary().lines() == []
    assert Summary().lines(5) == [Line("plain code", 0, 5, 1)]


@pytest.mark.parametrize("suffix", ["", ".json", ".PFTRACE"])
def test_another_suffix(suffix: str) -> None:
    with pytest.raises(ValueError, match=r"a trace is \.jsonl or \.pftrace, not "):
        open_trace(suffix, io.BytesIO(), Symbols())
    assert SUFFIXES == (".jsonl", ".pftrace")
