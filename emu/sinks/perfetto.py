"""Perfetto: tracks for user, container kernel, host and outermost hypervisor; slices for what runs, instants for what happens.

The file opens in the Perfetto trace viewer and in its trace_processor.  A slice lasts from one change of who runs to the next.
"""

from __future__ import annotations

from typing import IO, TYPE_CHECKING, Any, Final

from perfetto.protos.perfetto.trace.perfetto_trace_pb2 import TrackDescriptor, TrackEvent
from perfetto.trace_builder.proto_builder import TraceProtoBuilder

from ..clock import TSC_HZ
from ..events import FIELDS, Who

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..events import Event

_SEQUENCE: Final = 1
_PROCESS: Final = 100
_TRACKS: Final = {Who.USER: 1, Who.KERNEL: 2, Who.HOST: 3, Who.OUTER: 4}
_NAMES: Final = {
    Who.USER: "container user",
    Who.KERNEL: "container kernel",
    Who.HOST: "host",
    Who.OUTER: "outermost hypervisor",
}


class Perfetto:
    """Collects the trace and writes it when it is closed."""

    def __init__(self, file: IO[bytes], name: Callable[[int], str]) -> None:
        self._file, self._name = file, name
        self._builder: Any = TraceProtoBuilder()
        self._running: Who | None = None
        self._last = 0
        process = self._packet(0).track_descriptor
        process.uuid = _PROCESS
        process.process.pid = 1
        process.process.process_name = "ParaCell"
        for who, uuid in _TRACKS.items():
            track: TrackDescriptor = self._packet(0).track_descriptor
            track.uuid, track.parent_uuid = uuid, _PROCESS
            track.name = _NAMES[who]

    def _packet(self, at: int) -> Any:
        packet = self._builder.add_packet()
        packet.timestamp = at * 1_000_000_000 // TSC_HZ
        packet.trusted_packet_sequence_id = _SEQUENCE
        return packet

    def _event(self, at: int, who: Who, kind: int) -> Any:
        event = self._packet(at).track_event
        event.type, event.track_uuid = kind, _TRACKS[who]
        return event

    def emit(self, event: Event) -> None:
        """Take one event."""
        start = max(event.at - event.cost, self._last)
        if event.who is not self._running:
            if self._running is not None:
                self._event(start, self._running, TrackEvent.TYPE_SLICE_END)
            self._event(start, event.who, TrackEvent.TYPE_SLICE_BEGIN).name = _NAMES[event.who]
            self._running = event.who
        instant = self._event(start, event.who, TrackEvent.TYPE_INSTANT)
        instant.name = event.kind.name.lower()
        note = instant.debug_annotations.add()
        note.name, note.string_value = "symbol", self._name(event.rip)
        for name, value in zip(FIELDS[event.kind], event.data, strict=False):
            note = instant.debug_annotations.add()
            note.name, note.uint_value = name, value & (1 << 64) - 1
        self._last = event.at

    def close(self) -> None:
        """End the last slice and write the file."""
        if self._running is not None:
            self._event(self._last, self._running, TrackEvent.TYPE_SLICE_END)
            self._running = None
        self._file.write(self._builder.serialize())
