"""Perfetto traces of whole runs, read back by the format's protobufs, and by its trace processor where there is one.

What must hold is computed from the events of the same run, or read from the machine by other code.
"""

from __future__ import annotations

import io
import json
import os
import shutil
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any, Final

import pytest
from attrs import define, field, frozen
from perfetto.protos.perfetto.trace.perfetto_trace_pb2 import Trace, TrackEvent
from perfetto.trace_processor import TraceProcessor, TraceProcessorConfig

from paracell.compare.guest_memory import Host
from paracell.container import Container
from paracell.emu.clock import TSC_HZ
from paracell.emu.events import FIELDS, Kind, Who
from paracell.emu.sinks import Listener, open_trace
from paracell.emu.sinks.summary import Summary
from paracell.guest import shipped, syscalls
from paracell.guest.rootfs import init_block
from paracell.machine import Machine
from paracell.observers import Missing
from paracell.runtimes import RUNV
from paracell.tenants import Tenants

from .kernels import tar_of

if TYPE_CHECKING:
    from pathlib import Path

    from paracell.emu.events import Event
    from paracell.guest.multiboot import Module

BEGIN, END, INSTANT = TrackEvent.TYPE_SLICE_BEGIN, TrackEvent.TYPE_SLICE_END, TrackEvent.TYPE_INSTANT
PLACES: Final = [
    *((runtime, nested, "blocks") for runtime in ("native", "paracell", "pvm", "runv") for nested in (False, True)),
    ("paracell", False, "steady"),  # with plain code that takes time
]


@define
class Slice:
    """One slice that was read back."""

    track: int
    name: str
    begin: int
    depth: int
    parent: Slice | None
    end: int = -1


@define
class Read:
    """A trace that was read back: what nests, and in what order arrows and counters come."""

    tracks: dict[int, str] = field(factory=dict)
    parents: dict[int, int] = field(factory=dict)
    instants: int = 0
    slices: list[Slice] = field(factory=list)
    events: list[dict[str, Any]] = field(factory=list)
    departures: dict[int, tuple[int, Slice | None, int]] = field(factory=dict)  # track, its slice, time
    arrivals: dict[int, tuple[int, int]] = field(factory=dict)  # track, time
    bound: int | None = None  # as the counter stands
    counters: dict[str, list[tuple[int, int]]] = field(factory=lambda: defaultdict(list))


def read(data: bytes) -> Read:
    """Read a trace; on the way, check that each end has a begin on its track and that time goes forward."""
    trace = Trace()
    trace.ParseFromString(data)
    found, open_, last = Read(), defaultdict[int, list[Slice]](list), defaultdict[int, int](int)
    for packet in trace.packet:
        if packet.HasField("track_descriptor"):
            track = packet.track_descriptor
            assert track.uuid not in found.tracks
            found.tracks[track.uuid] = track.name or track.process.process_name
            found.parents[track.uuid] = track.parent_uuid
            assert track.parent_uuid == 0 or track.parent_uuid in found.tracks
            continue
        event, at = packet.track_event, packet.timestamp
        uuid = event.track_uuid
        assert at >= last[uuid]
        last[uuid] = at
        if event.type == TrackEvent.TYPE_COUNTER:
            name, parent = found.tracks[uuid], found.parents[uuid]
            found.counters[f"{found.tracks[parent]}: {name}"].append((at, event.counter_value))
            found.bound = event.counter_value if name == "bound pages" else found.bound
            continue
        stack, made = open_[uuid], None
        if event.type == BEGIN:
            made = Slice(uuid, event.name, at, len(stack), stack[-1] if stack else None)
            stack.append(made)
            found.slices.append(made)
        elif event.type == END:
            stack.pop().end = at
        else:
            assert event.type == INSTANT
            found.instants += 1
            assert stack, f"{event.name} lies in no slice"
        notes = {n.name: n.uint_value for n in event.debug_annotations if n.name != "symbol"}
        if notes:
            found.events.append({"kind": event.name, "uuid": uuid, "bound": found.bound, **notes})
        for flow in event.flow_ids:
            assert flow not in found.departures
            found.departures[flow] = uuid, made, at
        for flow in event.terminating_flow_ids:
            assert flow not in found.arrivals
            found.arrivals[flow] = uuid, at
    assert not any(open_.values())
    return found


@frozen
class Run:
    """One run: where, its Perfetto trace, its events, and what its memory held at each event."""

    place: tuple[str, bool, Any]
    data: bytes
    read: Read
    lines: bytes
    rows: list[dict[str, Any]]
    bound: list[int | None]

    @property
    def nested(self) -> bool:
        return self.place[1]


def traced(machine: Machine, host: Host | None) -> tuple[bytes, bytes, list[int | None]]:
    """Run a machine with both traces, the table, and another look at its bound pages."""
    made, lines, bound = io.BytesIO(), io.BytesIO(), list[int | None]()
    inner = machine.inner

    def look(event: Event) -> None:
        pages = host.pages() if host and event.who in {Who.USER, Who.KERNEL} else None
        bound.append(pages.bound.bit_count() if pages else None)

    options: dict[str, Any] = {"call": syscalls.name, "nested": inner.cpu.outer is not None}
    sinks = [
        open_trace(".pftrace", made, inner.symbols, memory=Tenants(inner), **options),
        open_trace(".jsonl", lines, inner.symbols),
        Summary(),
        Missing(inner.cpu),
        Listener(look),
    ]
    for sink in sinks:
        inner.add_sink(sink)
    machine.run()
    for sink in sinks:
        sink.close()
    return made.getvalue(), lines.getvalue(), bound


def rows_of(lines: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in lines.splitlines()]


@pytest.fixture(
    scope="module",
    params=PLACES,
    ids=lambda place: place[0] + "-nested" * place[1] + "-steady" * (place[2] != "blocks"),
)
def run(request: pytest.FixtureRequest) -> Run:
    runtime, nested, clock = request.param
    with Container("hello", runtime=runtime, nested=nested, clock=clock, memory="32M") as container:
        host = None if runtime == "native" else Host(container)
        data, lines, bound = traced(container, host)
        return Run(request.param, data, read(data), lines, rows_of(lines), bound)


def nanoseconds(cycles: int) -> int:
    return cycles * 1_000_000_000 // TSC_HZ


def test_slices_nest(run: Run) -> None:
    """No slice outlives its parent; the program's calls lie in the program, and what serves them in the kernel below."""
    for each in run.read.slices:
        assert each.begin <= each.end
        if each.parent:
            assert each.parent.begin <= each.begin
            assert each.end <= each.parent.end
    names = {(run.read.tracks[s.track], s.depth, s.name) for s in run.read.slices}
    assert {("program", 0, "program"), ("program", 1, "write"), ("container kernel", 0, "write")} <= names
    assert any(depth == 1 and name.startswith("#PF 0x") for track, depth, name in names if track == "program")


def test_each_event_is_there_once_in_order(run: Run) -> None:
    assert len(run.read.events) == len(run.rows)
    for drawn, row in zip(run.read.events, run.rows, strict=True):
        kind = Kind[row["kind"].upper()]
        expected = {"kind": row["kind"], "at": row["at"], "cost": row["cost"]}
        expected |= {name: row[name] & (1 << 64) - 1 for name in FIELDS[kind]}
        assert {name: drawn[name] for name in expected} == expected


def test_events_stand_on_the_track_of_who_ran(run: Run) -> None:
    """But for what is told behind the crossing: a gate's WRPKRU, the walks of a delivery, and what L0 does for its guest."""
    names = {"user": "program", "kernel": "container kernel", "host": "host", "outer": "L0"}
    odd: Counter[str] = Counter()
    for drawn, row in zip(run.read.events, run.rows, strict=True):
        if run.read.tracks[drawn["uuid"]] != names[row["who"]]:
            odd[row["kind"]] += 1
    expected = {"wrpkru", "page_walk", "gate_exit"} | ({"port", "cpuid", "msr", "cr3_load"} if run.nested else set())
    assert set(odd) <= expected
    gates = Counter(row["kind"] for row in run.rows)
    if any(row["kind"] == "gate_enter" for row in run.rows):
        assert odd["wrpkru"] == gates["gate_enter"] + gates["gate_exit"]


def test_an_arrow_for_each_change_of_domain(run: Run) -> None:
    """Each leads from the end of an event to another track at the same moment, and the next one begins where it ends."""
    departures, arrivals = run.read.departures, run.read.arrivals
    assert list(departures) == list(arrivals) == list(range(1, len(departures) + 1))
    at = None
    for number, (track, made, when) in departures.items():
        to, then = arrivals[number]
        assert to != track
        assert then == (made.end if made else when)
        assert at in {None, track}
        at = to


def test_exits_pair_with_entries(run: Run) -> None:
    """Every exit to another domain has its arrow, as often as the events tell of it."""
    left: Counter[str] = Counter()
    for _, made, _ in run.read.departures.values():
        left[made.name if made else ""] += 1
    told = Counter(row["kind"] for row in run.rows)
    for kind in ("vm_exit", "hypercall"):
        assert left[kind] == told[kind]
    if told["gate_enter"]:
        assert left["wrpkru"] == told["gate_enter"] + told["gate_exit"]
    else:
        assert left["syscall"] == told["syscall"]
    assert left["vm_entry"] == told["vm_entry"]


def test_cycles_by_kind_are_the_sums_of_the_events(run: Run) -> None:
    sums: Counter[str] = Counter()
    steps: dict[str, list[tuple[int, int]]] = defaultdict(list)
    last = 0
    for row in run.rows:
        parts = (row["kind"].replace("_", " "), row["cost"]), ("plain code", row["at"] - row["cost"] - last)
        for name, cycles in parts:
            if cycles:
                sums[name] += cycles
                steps[f"machine: cycles: {name}"].append((nanoseconds(row["at"]), sums[name]))
        last = row["at"]
    told = {name: values for name, values in run.read.counters.items() if ": cycles: " in name}
    assert told == steps
    assert sum(values[-1][1] for values in told.values()) == last
    assert ("plain code" in sums) == (run.place[2] == "steady")


def test_pkru_is_what_was_last_written(run: Run) -> None:
    changes: list[tuple[int, int]] = []
    for row in run.rows:
        if row["kind"] == "wrpkru" and (not changes or changes[-1][1] != row["new"]):
            changes.append((nanoseconds(row["at"]), row["new"]))
    assert run.read.counters["machine: PKRU"] == changes


def test_bound_pages_are_those_of_the_host(run: Run) -> None:
    """Counted anew at each event of the container's, by the code that `paracell compare` has for it."""
    told = [
        (drawn["bound"], pages) for drawn, pages in zip(run.read.events, run.bound, strict=True) if pages is not None
    ]
    assert [bound for bound, _ in told] == [pages for _, pages in told]
    assert len({pages for _, pages in told}) > 10 or run.place[0] == "native"


def test_no_tool_changes_what_happens(run: Run) -> None:
    """The events of a run that only they are written of, and of one with every tool: the same bytes."""
    runtime, nested, clock = run.place
    lines = io.BytesIO()
    with Container("hello", runtime=runtime, nested=nested, clock=clock, memory="32M") as container:
        sink = open_trace(".jsonl", lines, container.symbols)
        container.inner.add_sink(sink)
        container.run()
        sink.close()
    assert lines.getvalue() == run.lines


def test_a_part_of_a_run(tmp_path: Path) -> None:
    """It begins where it was asked for: what was before is nobody's time."""
    path = tmp_path / "part.pftrace"
    with Container("hello", memory="32M", clock="steady") as container:
        container.run_until("hello!main")
        start = container.cycles
        with container.trace(path):
            container.run()
        end = container.cycles
    found = read(path.read_bytes())
    assert found.slices[0].begin == nanoseconds(start)
    assert found.tracks[found.slices[0].track] == "program"
    assert sum(values[-1][1] for name, values in found.counters.items() if ": cycles: " in name) == end - start


@pytest.mark.parametrize("nested", [False, True])
def test_the_same_run_gives_the_same_bytes(nested: bool) -> None:
    def once() -> bytes:
        with Container("hello", nested=nested, memory="32M") as container:
            return traced(container, None)[0]

    assert once() == once()


def test_two_containers() -> None:
    """Each has its own tracks, and its own count of bound pages."""
    modules: list[Module] = []
    for _ in range(2):
        rootfs = tar_of({"bin/it": shipped.image("programs/null").read_bytes()})
        modules += RUNV.modules(rootfs, init_block(["/bin/it", "3"], []))
    with Machine.boot(RUNV.load(), modules=modules, memory="64M", runtime=RUNV) as machine:
        found = read(traced(machine, None)[0])
    names = Counter(found.tracks.values())
    assert {name: names[name] for name in ("container", "container 1", "program", "container kernel", "host")} == {
        "container": 1, "container 1": 1, "program": 2, "container kernel": 2, "host": 1,
    }  # fmt: skip
    calls = Counter(found.tracks[found.parents[s.track]] for s in found.slices if s.name == "getpid" and s.depth == 1)
    assert calls == {"container": 3, "container 1": 3}
    assert found.counters["container: bound pages"]
    assert found.counters["container 1: bound pages"]


def test_a_kernel_that_is_booted() -> None:
    """Without a runtime, rings say who runs; a virtual machine's host and guest are one track, and its exits are waits there."""
    alone = io.BytesIO()
    with Machine.boot(shipped.image("ept.elf"), cpu="pks,+vmx", memory="64M") as machine:
        sink = open_trace(".jsonl", alone, machine.symbols)
        machine.inner.add_sink(sink)
        machine.run()
        sink.close()
    with Machine.boot(shipped.image("ept.elf"), cpu="pks,+vmx", memory="64M") as machine:
        data, lines, _ = traced(machine, None)
    assert alone.getvalue() == lines
    found, rows = read(data), rows_of(lines)
    assert len(found.events) == len(rows)
    told = Counter(row["kind"] for row in rows)
    assert told["vm_exit"]
    inside = [s for s in found.slices if s.name == "vm_exit" and s.parent and s.parent.name.isupper()]
    assert len(inside) == told["vm_exit"]


@pytest.fixture
def processor() -> Any:
    path = os.environ.get("PARACELL_TRACE_PROCESSOR") or shutil.which("trace_processor_shell")
    if path is None:
        pytest.skip("no trace_processor_shell here")
    return TraceProcessorConfig(bin_path=path)


def test_the_trace_processor_reads_it(processor: Any, tmp_path: Path) -> None:
    with Container("hello", memory="32M") as container:
        data, _, _ = traced(container, Host(container))
    (tmp_path / "hello.pftrace").write_bytes(data)
    found = read(data)
    with TraceProcessor(trace=str(tmp_path / "hello.pftrace"), config=processor) as trace:

        def number(query: str) -> int:
            return int(next(iter(trace.query(query))).n)

        assert number("select count(*) as n from slice") == len(found.slices) + found.instants
        assert number("select count(*) as n from flow") == len(found.departures)
        assert number("select count(*) as n from stats where severity = 'error' and value > 0") == 0
