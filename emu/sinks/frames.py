"""A call stack across domains: the program calls its kernel, the kernel its host, the host the outermost hypervisor.

::

    program           ┌ program ──────────────────────────────────────────────────┐
                      │   ┌ write ─────────────────────────────────────────────┐  │     a wait: whom it called has the processor
    container kernel      └▶┌ write ─────────────────────────────────────────┐▶┘        a frame: from being called to the return
                            │      ┌ IO_INSTRUCTION ───────────┐             │
    host                           └▶┌ IO_INSTRUCTION ───────┐▶┘

A frame lasts until its domain returns to one below; what lies above it ends with it.  So frames and waits nest on each track, whatever the
software does: a kernel that switches from one process to another on its way back ends the frame of the first one's call, and begins
nothing that the machine did not begin.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from attrs import define

from ..events import Kind, Who
from .crossings import CROSSES, LEVELS

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..events import Event
    from .crossings import Step

NAMES: Final = {Who.USER: "program", Who.KERNEL: "container kernel", Who.HOST: "host", Who.OUTER: "L0"}
_OPENS: Final = frozenset({Kind.EXCEPTION, Kind.INTERRUPT, Kind.VM_EXIT})  # within one domain
_CLOSES: Final = frozenset({Kind.IRET, Kind.VM_ENTRY})
_OWN: Final = {Who.USER, Who.KERNEL}  # each container has its own


class Track(NamedTuple):
    """Where a slice is drawn: a domain, and of which container; 0 for the host and below."""

    who: Who
    container: int


class Drawing(Protocol):
    """Takes slices, in order of time; on each track they nest."""

    def begin(self, track: Track, at: int, name: str, flow: int = 0) -> None:
        """Begin a slice; an arrow of number `flow` ends there, if it is not 0."""

    def end(self, track: Track, at: int) -> None:
        """End the slice that was begun last on this track and has not ended."""

    def resume(self, track: Track, at: int, flow: int) -> None:
        """A frame on this track runs again; the arrow `flow` ends there."""

    def event(self, track: Track, start: int, event: Event, flow: int) -> None:
        """One event from cycle `start` to `event.at`; the arrow `flow` begins there, if it is not 0."""


@define
class _Frame:
    track: Track
    name: str  # what called it; empty where nothing did
    waits: bool = False  # a wait is open on its track
    own: bool = True  # it has a slice; not where it serves a wait of its own domain


def track_of(who: Who, container: int) -> Track:
    """Give the track of a domain."""
    return Track(who, container if who in _OWN else 0)


class Frames:
    """Turns steps, whose tags are numbers of containers, into slices."""

    def __init__(self, drawing: Drawing, caption: Callable[[Event], str], since: int = 0) -> None:
        """Begin with an empty stack, at cycle `since`; `caption` names what an event begins."""
        self._draw, self._caption = drawing, caption
        self._stack: list[_Frame] = []
        self._last = since
        self._flow = 0

    def step(self, step: Step) -> None:
        """Take one event, and the crossing that it is."""
        event, stack, draw = step.event, self._stack, self._draw
        track, to = track_of(step.who, step.tag), track_of(step.to, step.next_tag)
        if not stack:
            self._push(track, self._last, "")
        start = max(event.at - event.cost, self._last)
        self._last = event.at
        if to == track:
            if event.kind in _OPENS:
                draw.begin(track, start, self._caption(event))
                stack[-1].waits = True
                stack.append(_Frame(track, "", own=False))
            draw.event(track, start, event, 0)
            if event.kind in _CLOSES and not stack[-1].own:
                self._pop(event.at)
                self._wake(event.at)
            return
        self._flow += 1
        if LEVELS[to.who] > LEVELS[track.who]:
            self._call(step, track, to, start)
        else:
            draw.event(track, start, event, self._flow)
            self._return(to, event.at)

    def close(self) -> None:
        """End everything."""
        while self._stack:
            self._pop(self._last)

    def _call(self, step: Step, track: Track, to: Track, start: int) -> None:
        """Go from one domain to one that serves it."""
        event = step.event
        known = event.kind in CROSSES
        name = self._caption(step.gate or event) if known else NAMES[to.who]
        if not known:
            self._draw.event(track, start, event, self._flow)
        self._draw.begin(track, start if known else event.at, name)
        self._stack[-1].waits = True
        if known:
            self._draw.event(track, start, event, self._flow)
        self._push(to, event.at, name, self._flow)

    def _return(self, to: Track, at: int) -> None:
        """Go from one domain to one that it serves: back into its frame, or into a new one for the same cause."""
        name = ""
        while self._stack and not self._below(self._stack[-1].track, to):
            name = self._pop(at).name
        if self._stack and self._stack[-1].track == to:
            self._wake(at)
            self._draw.resume(to, at, self._flow)
        else:
            self._push(to, at, name if self._stack else "", self._flow)

    @staticmethod
    def _below(track: Track, to: Track) -> bool:
        """Tell whether a frame may stay under one on `to`."""
        return LEVELS[track.who] <= LEVELS[to.who] and (track.who not in _OWN or track.container == to.container)

    def _push(self, track: Track, at: int, name: str, flow: int = 0) -> None:
        self._draw.begin(track, at, name or NAMES[track.who], flow)
        self._stack.append(_Frame(track, name))

    def _pop(self, at: int) -> _Frame:
        frame = self._stack.pop()
        if frame.waits:
            self._draw.end(frame.track, at)
        if frame.own:
            self._draw.end(frame.track, at)
        return frame

    def _wake(self, at: int) -> None:
        """End the wait of the frame that runs again."""
        frame = self._stack[-1]
        if frame.waits:
            self._draw.end(frame.track, at)
            frame.waits = False
