"""What lies outside of the machine, when its time goes back and forth: each byte goes out once, and each comes in again as it came.

The guest's output and its events are counted.  What is counted again, for the same instructions run again, has gone out already.
Whatever the guest asks its console for has a number, and what was not the usual answer is kept by that number.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from ..emu.devices import ConsolePorts
    from ..emu.events import Event
    from ..emu.sinks import Sink

_STREAMS: Final = 3

Counts = tuple[int, ...]


class ReplayedConsole:
    """Stands between the guest and its console."""

    def __init__(self, console: ConsolePorts) -> None:
        self._console = console
        self._sent = [0] * _STREAMS  # bytes, up to the present
        self._furthest = [0] * _STREAMS  # up to the furthest moment there was
        self._asked = self._known = 0  # questions, up to the present and the furthest moment
        self._read: dict[int, tuple[int, bytes]] = {}  # question → line, and what came in on it
        self._changes: dict[str, tuple[list[int], list[bool]]] = {}  # question → from when on what the answer is
        self._again: tuple[bytes, bytes] = (b"", b"")  # came in once already, in a time that is no more

    # ---- the console's side -----------------------------------------------------------------------------------

    def write(self, stream: int, data: bytes) -> None:
        """Pass on what has not gone out before."""
        before = self._sent[stream]
        self._sent[stream] = after = before + len(data)
        new = after - self._furthest[stream]
        if new > 0:
            self._furthest[stream] = after
            self._console.write(stream, data[-new:])

    def read(self, count: int) -> bytes:
        """Give what comes in on COM1."""
        return self._bytes(0, count)

    def control(self, count: int) -> bytes:
        """Give what comes in on COM2."""
        return self._bytes(1, count)

    def wait(self, seconds: float | None) -> bool:
        """Sleep, where nobody knows yet what comes then."""
        return self._flag("wait", seconds)

    @property
    def ended(self) -> bool:
        """No byte will come any more."""
        return self._flag("ended")

    @property
    def listens(self) -> bool:
        """Something may come in on COM2."""
        return self._flag("listens")

    @property
    def paced(self) -> bool:
        """Time is the machine's own."""
        return False

    def _bytes(self, line: int, count: int) -> bytes:
        self._asked += 1
        if self._asked <= self._known:
            return self._read.get(self._asked, (line, b""))[1]
        self._known = self._asked
        again = self._again[line][:count]
        if again:
            first, second = self._again
            self._again = (first[count:], second) if line == 0 else (first, second[count:])
        data = again or (self._console.control(count) if line else self._console.read(count))
        if data:
            self._read[self._asked] = line, data
        return data

    def _flag(self, name: str, seconds: float | None = None) -> bool:
        self._asked += 1
        since, answers = self._changes.setdefault(name, ([], []))
        if self._asked <= self._known:
            return answers[bisect_right(since, self._asked) - 1]
        self._known = self._asked
        if any(self._again):
            answer = name != "ended"
        else:
            answer = self._console.wait(seconds) if name == "wait" else bool(getattr(self._console, name))
        if not answers or answers[-1] is not answer:
            since.append(self._asked)
            answers.append(answer)
        return answer

    # ---- the side of time -------------------------------------------------------------------------------------

    def save(self) -> Counts:
        """Give where the present is."""
        return *self._sent, self._asked

    def load(self, counts: Counts) -> None:
        """Go to another moment."""
        *self._sent, self._asked = counts

    def cut(self) -> None:
        """The present is the furthest moment from now on; what came in behind it comes in again."""
        again = [b"", b""]
        for number in sorted(key for key in self._read if key > self._asked):
            line, data = self._read.pop(number)
            again[line] += data
        self._again = again[0] + self._again[0], again[1] + self._again[1]
        for since, answers in self._changes.values():
            kept = bisect_right(since, self._asked)
            del since[kept:], answers[kept:]
        self._known = self._asked
        self._furthest = list(self._sent)


class ReplayedSink:
    """Stands before a sink: an event of instructions that run again is none."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self.count = self._furthest = 0

    def emit(self, event: Event) -> None:
        """Pass on what has not been told before."""
        self.count += 1
        if self.count > self._furthest:
            self._furthest = self.count
            self._sink.emit(event)

    def close(self) -> None:
        """End the stream."""
        self._sink.close()

    def cut(self) -> None:
        """The present is the furthest moment from now on."""
        self._furthest = self.count
