"""What a run showed that no run before it did: translated code, and what the events say.

Nothing here slows the guest down.  Unicorn tells of each block that it translates, which is once for each block, and of the block
that ran before it.  An input that runs new code so tells of it the first time, and that is all that a fuzzer wants to know.

The features of an input depend on what has run before in this process.  What does not depend on it is which input shows a feature
*first*: so the inputs can be shared out over processes, and whoever puts their features together in the order of the inputs has the
same as one process.  For that reason a feature is never made of something that an earlier run may have hidden, such as the
block before the one that was translated.  A target may add to them (`Target.features`): what it gives must be all that a run showed.
"""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Any, Final

from ..emu.callbacks import EDGE
from ..emu.events import Event, Kind
from ..emu.sinks import Listener

if TYPE_CHECKING:
    from collections.abc import Hashable

    from .target import Target

_MOST: Final = 512  # numbers of calls; what is above is one feature, for an input may hold any number
_KEYS: Final = 0xF  # of PKRU: keys 0 and 1
_CALLS: Final = frozenset({Kind.SYSCALL, Kind.GATE_ENTER, Kind.HYPERCALL})


def feature_of(event: Event) -> tuple[int, ...]:
    """Give what is told apart in an event: a walk's outcome, the reason of an exit, the change of the keys, a call's number."""
    kind, who, data = event.kind, event.who, event.data
    if kind is Kind.PAGE_WALK:
        return kind, who, data[1], data[3]
    if kind is Kind.WRPKRU:
        return kind, who, data[0] & _KEYS, data[1] & _KEYS
    if kind in _CALLS:
        return kind, who, min(data[0], _MOST)
    if kind is Kind.EXCEPTION:
        return kind, who, data[0], data[1]
    if kind is Kind.VM_EXIT:
        return kind, who, *data[:3]
    if kind is Kind.EPT_VIOLATION:
        return kind, who, data[0], data[2]
    if kind in {Kind.INTERRUPT, Kind.REFLECTION}:
        return kind, who, data[0]
    return kind, who


class Coverage:
    """Collects what is new in each run of a target."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._seen: set[Hashable] = set()
        self._new: list[Hashable] = []
        self._last: tuple[int, int] = (-1, -1)
        self._sink: Listener | None = None
        self._own = target.own_code
        self._hooks: list[int] = []
        machine = target.machine
        if machine is None:
            return
        self._sink = Listener(self._listen)
        machine.add_sink(self._sink)
        self._hooks.append(machine.engine.hook_translated(EDGE(self._translated)))
        # What has been translated already would be told of only once it was dropped; and of the first block Unicorn does not tell.
        machine.engine.drop_all_code()
        self._seen.add(machine.cpu.linear_rip)

    def take(self) -> list[Hashable]:
        """Give what the run since the last call has shown for the first time in this process."""
        seen = self._seen
        for feature in self._target.features():
            if feature not in seen:
                seen.add(feature)
                self._new.append(feature)
        new, self._new = self._new, []
        self._last = (-1, -1)
        return new

    def _translated(self, _engine: int, block: int, _before: int, _user: Any) -> None:
        at = ctypes.c_uint64.from_address(block).value  # uc_tb.pc
        if at not in self._own and at not in self._seen:
            self._seen.add(at)
            self._new.append(at)

    def _note(self, feature: Hashable) -> None:
        self._seen.add(feature)
        self._new.append(feature)

    def _listen(self, event: Event) -> None:
        feature = feature_of(event)
        if feature not in self._seen:
            self._note(feature)
        if event.kind is not Kind.PAGE_WALK:  # a TLB decides whether there is one
            now = event.kind, event.who
            crossing = *self._last, *now
            self._last = now
            if crossing not in self._seen:
                self._note(crossing)

    def close(self) -> None:
        """Listen no more."""
        machine = self._target.machine
        if machine is not None and self._sink is not None:
            machine.remove_sink(self._sink)
            for hook in self._hooks:
                machine.engine.unhook(hook)
            self._hooks.clear()
