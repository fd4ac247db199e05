"""How the machine goes back under a debugger: by an instruction, or to the last place at which it would have stopped.

To go back to a stop is to run each piece of history again, the last one first, and to take the last stop that is in it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from attrs import evolve

from ..emu.stop import Reason
from .control import SIGINT, Control, Halt

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..emu.moments import Place
    from .history import History

_RUNS: Final = frozenset({Reason.LIMIT, Reason.REACHED, Reason.INTERRUPTED})


def step_back(control: Control, history: History, interrupted: Callable[[int], bool]) -> Halt:
    """Go back by one instruction of the thread that runs: over others, to where it left the processor."""
    if history.place <= history.begin:
        return _at_begin(history)
    thread = control.threads.current()
    history.go_to(max(history.one_back(history.place), history.begin))
    if control.threads.current() == thread:
        return Halt()
    with control.waiting(control.threads.leaves, thread):
        return go_back(control, history, interrupted)


def go_back(control: Control, history: History, interrupted: Callable[[int], bool]) -> Halt:
    """Go back to the last place where `Control.go_on` would have stopped: before the instruction that it would have stopped behind.

    Ctrl-C leaves the machine where the search has come to.
    """
    start = history.place
    at, halt = history.begin, _at_begin(history)
    with control.armed(), control.interruptible(interrupted):
        for end in history.pieces_before(start, control.watched_frames):
            found = _last_of(control, history, end)
            if found is not None:
                at, halt = found
                break
            if control.was_interrupted:
                at, halt = end, Halt(SIGINT)
                break
    history.go_to(at)
    return halt


def _at_begin(history: History) -> Halt:
    short = ("history begins here: what lay before had to give way (--history)",) if history.shortened else ()
    return Halt(why="replaylog:begin;", lines=short)


def _last_of(control: Control, history: History, end: Place) -> tuple[Place, Halt] | None:
    """Run up to `end`, and give the last place on the way where there was something to stop for."""
    begin = history.place
    found = _breakpoint(control, begin)
    control.stop_on.arm_again()
    while True:
        control.watchpoints.arm_again()
        stop = history.advance(end)
        at = history.place
        if at < end and stop.reason is Reason.REACHED:
            found = _breakpoint(control, at) or found
        watched, lines = control.watchpoints.seen and control.watched(), tuple(control.stop_on.met())
        if watched or lines:
            before = max(history.one_back(at), begin)
            found = before, evolve(watched or Halt(), lines=(*(watched.lines if watched else ()), *lines))
        if control.was_interrupted:
            return None
        if at >= end or stop.reason not in _RUNS:
            return found


def _breakpoint(control: Control, place: Place) -> tuple[Place, Halt] | None:
    met = control.breakpoints.met(control.machine)
    return None if met is None else (place, Halt(why=met))
