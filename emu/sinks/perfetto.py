"""Perfetto: a track for each domain, nested slices for who waits for whom, arrows from exit to entry, and counters.

The file opens in Perfetto's trace viewer and in its trace_processor.  `frames` says what the slices are; an event with a cost is a
slice inside of them, one without is an instant.  Each change of who runs is an arrow from the event that left to what begins, or goes on,
on the other track.  Counters are exact: cycles of each kind of event so far, PKRU, and the pages that are bound.
"""

from __future__ import annotations

from functools import partial
from typing import IO, TYPE_CHECKING, Any, Final, NamedTuple

from perfetto.protos.perfetto.trace.perfetto_trace_pb2 import Trace, TrackDescriptor, TrackEvent

from ..clock import TSC_HZ
from ..events import FIELDS, Kind, Who
from .captions import caption
from .crossings import Steps
from .frames import NAMES, Frames, Track

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..events import Event
    from .crossings import Step

_SEQUENCE: Final = 1
_BATCH: Final = 4096  # packets that wait to be written
_KEPT: Final = 1 << 14  # different events: programs loop, so most differ from an earlier one in their time alone
_U64: Final = (1 << 64) - 1
_MACHINE, _PKRU, _PLAIN, _KINDS, _CONTAINERS = (
    1,
    4,
    5,
    10,
    100,
)  # numbers of tracks; of a container, a hundred from here on
_MACHINES: Final = {Who.HOST: 2, Who.OUTER: 3}
_CONTAINER_S: Final = {Who.USER: 1, Who.KERNEL: 2}
_BOUND: Final = 3
_PLACE: Final = {Who.USER: 0, Who.KERNEL: 1, Who.HOST: 0, Who.OUTER: 1}  # among its sisters
_LAST_PLACE: Final = 9  # counters stand below


class Memory(NamedTuple):
    """What is known of containers when an event comes.

    Attributes:
        container: the number of the one whose turn it is.
        bound: how many pages of host memory stand behind its own; None where no host tells.

    """

    container: int = 0
    bound: int | None = None


_NOTHING: Final = Memory()


def _nothing(_: Event) -> Memory:
    return _NOTHING


class Perfetto:
    """Writes the trace as it comes; each event waits for the next one, or two, for they say who runs behind it."""

    def __init__(
        self,
        file: IO[bytes],
        name: Callable[[int], str],
        call: Callable[[int], str] = hex,
        memory: Callable[[Event], Memory] | None = None,
        *,
        nested: bool = False,
        since: int = 0,
    ) -> None:
        """Begin.

        Args:
            file: what the trace is written to.
            name: gives the name of an address.
            call: gives the name of a system call by its number.
            memory: tells of containers when an event comes; None where nobody knows.
            nested: whether the machine has an outermost hypervisor.
            since: the cycle at which the trace begins.

        """
        self._file, self._name, self._memory = file, name, memory or _nothing
        self._trace: Any = Trace()
        self._cycles: dict[Kind | None, int] = {}
        self._counted: dict[int, int] = {}  # by track: what the viewer knows
        self._containers: set[int] = set()
        self._numbers: dict[Track, int] = {}
        self._known: dict[tuple[Kind, int, int, tuple[int, ...]], bytes] = {}
        self._last = since
        self._frames = Frames(self, partial(caption, call=call), since)
        self._steps = Steps(self._step, nested=nested)
        self._describe(_MACHINE, "machine", process=1)
        for who in (Who.HOST, Who.OUTER):
            self._describe(_MACHINES[who], NAMES[who], parent=_MACHINE, place=_PLACE[who])

    # ---- what comes in ----------------------------------------------------------------------------------------

    def emit(self, event: Event) -> None:
        """Take one event."""
        self._steps.emit(event, self._memory(event))

    def close(self) -> None:
        """End all slices and write what is left."""
        self._steps.close()
        self._frames.close()
        self._flush()

    def _step(self, step: Step) -> None:
        event, memory = step.event, step.tag
        self._frames.step(step._replace(tag=memory.container, next_tag=step.next_tag.container))
        if event.cost:
            self._add(event.kind, event.cost, event.at)
        if plain := event.at - event.cost - self._last:
            self._add(None, plain, event.at)
        if event.kind is Kind.WRPKRU:
            self._count(_PKRU, "PKRU", event.at, event.data[1])
        if memory.bound is not None:
            base = self._container(memory.container)
            self._count(base + _BOUND, "bound pages", event.at, memory.bound, parent=base)
        self._last = event.at

    def _add(self, kind: Kind | None, cycles: int, at: int) -> None:
        """Count cycles of a kind of event, or of plain code."""
        total = self._cycles[kind] = self._cycles.get(kind, 0) + cycles
        what = "plain code" if kind is None else kind.name.lower().replace("_", " ")
        self._count(_PLAIN if kind is None else _KINDS + kind, f"cycles: {what}", at, total)

    # ---- the drawing of `frames` ------------------------------------------------------------------------------

    def begin(self, track: Track, at: int, name: str, flow: int = 0) -> None:
        """Begin a slice."""
        event = self._event(track, at, TrackEvent.TYPE_SLICE_BEGIN)
        event.name = name
        if flow:
            event.terminating_flow_ids.append(flow)

    def end(self, track: Track, at: int) -> None:
        """End the slice that was begun last."""
        self._event(track, at, TrackEvent.TYPE_SLICE_END)

    def resume(self, track: Track, at: int, flow: int) -> None:
        """Mark where a frame runs again."""
        event = self._event(track, at, TrackEvent.TYPE_INSTANT)
        event.name = "resumes"
        event.terminating_flow_ids.append(flow)

    def event(self, track: Track, start: int, event: Event, flow: int) -> None:
        """Draw one event: a slice, or an instant where it takes no time."""
        kind, at, cost, rip, _, data = event
        known = self._known.get((kind, cost, rip, data))
        if known is None:
            known = self._describe_event(event)
        number = self._number(track)
        made = self._at(start)
        made.ParseFromString(known)
        made.type = TrackEvent.TYPE_SLICE_BEGIN if at > start else TrackEvent.TYPE_INSTANT
        made.track_uuid = number
        if flow:
            made.flow_ids.append(flow)
        note = made.debug_annotations.add()
        note.name, note.uint_value = "at", at
        if at > start:
            self.end(track, at)

    def _describe_event(self, event: Event) -> bytes:
        """Give what an event's packet has in common with others of the same event at another time."""
        if len(self._known) >= _KEPT:
            self._known.clear()
        made = TrackEvent(name=event.kind.name.lower())
        note = made.debug_annotations.add()
        note.name, note.string_value = "symbol", self._name(event.rip)
        for name, value in (("cost", event.cost), *zip(FIELDS[event.kind], event.data, strict=False)):
            note = made.debug_annotations.add()
            note.name, note.uint_value = name, value & _U64
        known: bytes = made.SerializeToString(deterministic=True)
        self._known[event.kind, event.cost, event.rip, event.data] = known
        return known

    # ---- packets ----------------------------------------------------------------------------------------------

    def _packet(self) -> Any:
        if len(self._trace.packet) >= _BATCH:
            self._flush()
        packet = self._trace.packet.add()
        packet.trusted_packet_sequence_id = _SEQUENCE
        return packet

    def _at(self, at: int) -> Any:
        packet = self._packet()
        packet.timestamp = at * 1_000_000_000 // TSC_HZ
        return packet.track_event

    def _flush(self) -> None:
        """Write the packets that wait: a trace is its packets, one behind the other."""
        self._file.write(self._trace.SerializeToString(deterministic=True))
        self._trace.Clear()

    def _number(self, track: Track) -> int:
        number = self._numbers.get(track)
        if number is None:
            number = _MACHINES.get(track.who) or self._container(track.container) + _CONTAINER_S[track.who]
            self._numbers[track] = number
        return number

    def _event(self, track: Track, at: int, kind: int) -> Any:
        number = self._number(track)  # first: it may have to be described
        event = self._at(at)
        event.type, event.track_uuid = kind, number
        return event

    def _count(self, number: int, name: str, at: int, value: int, parent: int = _MACHINE) -> None:
        """Set a counter; nothing is written where it is that already."""
        known = self._counted.get(number)
        if known == value:
            return
        if known is None:
            self._describe(number, name, parent=parent, place=_LAST_PLACE, counter=True)
        self._counted[number] = value
        event = self._at(at)
        event.type, event.track_uuid, event.counter_value = TrackEvent.TYPE_COUNTER, number, value

    def _container(self, number: int) -> int:
        """Give the number of a container's track, which is described when it is first met."""
        base = _CONTAINERS * (number + 1)
        if number not in self._containers:
            self._containers.add(number)
            self._describe(base, f"container {number}" if number else "container", process=number + 2)
            for who in (Who.USER, Who.KERNEL):
                self._describe(base + _CONTAINER_S[who], NAMES[who], parent=base, place=_PLACE[who])
        return base

    def _describe(
        self, number: int, name: str, *, parent: int = 0, place: int = 0, process: int = 0, counter: bool = False
    ) -> None:
        track = self._packet().track_descriptor
        track.uuid = number
        if process:
            track.process.pid, track.process.process_name = process, name
            track.child_ordering = TrackDescriptor.EXPLICIT
        else:
            track.name, track.parent_uuid, track.sibling_order_rank = name, parent, place
        if counter:
            track.counter.SetInParent()
