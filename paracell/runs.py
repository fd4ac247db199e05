"""How a machine runs under a program or a notebook: to somewhere, event by event, instruction by instruction."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import PurePath
from typing import TYPE_CHECKING

from .capture import Capture
from .emu.events import Event, Kind
from .emu.sinks import Listener
from .emu.stop import ENDS, Reason
from .end import End
from .signals import Interrupted, interruptible
from .view import View

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from .emu.devices import ConsolePorts
    from .emu.machine import Machine as Inner
    from .emu.stop import Stop
    from .record import Recording


class Runs(View):
    """A machine that its user runs.

    Attributes:
        captured: the console that keeps what the guest writes; None where the machine was given another.
        ended: where the guest has ended, its time and RIP, and how; None unless the last run came to that.

    """

    def __init__(self, inner: Inner, console: ConsolePorts) -> None:
        super().__init__(inner)
        self.captured = console if isinstance(console, Capture) else None
        self.ended: tuple[tuple[int, int], Stop] | None = None

    def run(self) -> End:
        """Run until the guest ends or cannot go on.  Ctrl-C pauses it: ``KeyboardInterrupt``, and `run` goes on.

        Example:
            >>> import paracell
            >>> with paracell.Container("hello", runtime="native") as c:
            ...     end = c.run()
            >>> end.reason, end.status, end.stdout.splitlines()[0]
            (<Reason.EXIT: 'exit'>, 0, 'Hello from a container.')

        """
        return self._end(self._run())

    def run_until(
        self, *conditions: str | int | Kind | Callable[[Event], bool], instructions: int | None = None
    ) -> End:
        """Run until the first of some conditions holds; the guest does not see that its run pauses.

        Args:
            conditions: each is

                - a symbol (``"main"``, ``"hello!main"``) or a linear address: before the instruction there, in any address
                  space.  If the machine stands there already, the next time it comes there.  A string instruction with a
                  REP prefix comes there once for each repetition.
                - a kind of event, or a function that is asked about each event: behind the instruction that the event
                  belongs to, or, where that is no control transfer, behind the rest of its block of instructions.
            instructions: run at most so many; a run in such pieces is the run in one.

        Returns:
            Why it paused: REACHED, LIMIT for `instructions`, or how the guest ended before.

        Raises:
            KeyError: no such symbol.
            ValueError: no condition at all.

        Example:
            >>> import paracell
            >>> with paracell.Container("hello") as c:
            ...     end = c.run_until("hello!main", instructions=100_000_000)
            ...     print(end.reason, c.symbols.name(c.cpu.rip))
            reached hello!main

        """
        if not conditions and instructions is None:
            raise ValueError("run_until needs a condition")
        if instructions is not None and instructions <= 0:
            raise ValueError(f"instructions is a positive number, not {instructions}")
        kinds = {c for c in conditions if isinstance(c, Kind)}
        asked = [c for c in conditions if not isinstance(c, (str, int))]
        places = [c for c in conditions if isinstance(c, int) and not isinstance(c, Kind)]
        places += [self.symbols[c] for c in conditions if isinstance(c, str)]
        found: list[Event] = []

        def listen(event: Event) -> None:
            if not found and (event.kind in kinds or any(ask(event) for ask in asked)):
                found.append(event)
                self.inner.request_stop(Reason.REACHED)

        sink = Listener(listen)
        if kinds or asked:
            self.inner.add_sink(sink)
        self.inner.pause_at(places)
        try:
            stop = self._run(instructions or 0)
        finally:
            self.inner.pause_at(())
            if kinds or asked:
                self.inner.remove_sink(sink)
        return self._end(stop, found[0] if found and stop.reason is Reason.REACHED else None)

    def step(self, instructions: int = 1) -> End:
        """Run one instruction, or so many; they pass time as those of `run_until` do.

        An exception or interrupt that comes instead is delivered, and counts as one.

        Example:
            >>> import paracell
            >>> with paracell.Container("hello") as c:
            ...     end = c.run_until("hello!main")
            ...     before = c.cpu.rip
            ...     end = c.step()
            ...     print(0 < c.cpu.rip - before < 16)
            True

        """
        return self._end(self._past_end() or self._ran(self.inner.run(instructions)))

    @property
    def _place(self) -> tuple[int, int]:
        return self.cycles, self.cpu.rip

    def _ran(self, stop: Stop) -> Stop:
        """Keep in mind how the guest has ended, where it has."""
        self.ended = (self._place, stop) if stop.reason in ENDS else None
        return stop

    def _past_end(self) -> Stop | None:
        """Give how the guest ended, if it has, and has not been put back since: after its end there is nothing to run."""
        return self.ended[1] if self.ended is not None and self.ended[0] == self._place else None

    def _run(self, instructions: int = 0) -> Stop:
        """Run with Ctrl-C in hand."""
        past = self._past_end()
        if past is not None:
            return past
        with interruptible(self.inner.request_stop) as caught:
            stop = self._ran(self.inner.run(instructions))
        if caught and stop.reason is Reason.INTERRUPTED:
            raise Interrupted(caught[0])
        return stop

    def _end(self, stop: Stop, event: Event | None = None) -> End:
        return End(stop.reason, stop.value, self.cycles, self.stdout, self.stderr, event, stop.report)

    @property
    def stdout(self) -> str:
        """What the guest has written to its first serial line; bytes that are no UTF-8 come as surrogates."""
        return self.captured.text(0) if self.captured else ""

    @property
    def stderr(self) -> str:
        """What the guest has written to its second serial line."""
        return self.captured.text(1) if self.captured else ""

    # ---- events -----------------------------------------------------------------------------------------------

    def record(self, *kinds: Kind) -> Recording:
        """Keep the events of these kinds, or all, from now on, in a list that grows.

        Example:
            >>> import paracell
            >>> with paracell.Container("null", "10") as c:
            ...     calls = c.record(paracell.Kind.GATE_ENTER)
            ...     end = c.run()
            ...     print(len(calls) >= 10, calls[0].cost)
            True 0

        """
        from .record import Recording

        return Recording(self.inner, kinds)

    @contextmanager
    def trace(self, path: str | Path) -> Iterator[None]:
        """Write every event of a block to a file, as ``paracell run --trace`` does; it appears when the block ends well.

        Args:
            path: of the file, ``.jsonl`` or ``.pftrace``.

        Raises:
            ValueError: another suffix.
            OSError: it cannot be written.

        Example:
            >>> import json, paracell, pathlib, tempfile
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     path = pathlib.Path(folder, "null.jsonl")
            ...     with paracell.Container("null", "10") as c, c.trace(path):
            ...         end = c.run()
            ...     json.loads(path.read_text().splitlines()[-1])["kind"]
            'end'

        """
        from .observers import trace_sink
        from .output import whole_file

        with whole_file(str(path)) as file:
            sink = trace_sink(self.inner, PurePath(path).suffix, file)
            self.inner.add_sink(sink)
            try:
                yield
            finally:
                self.inner.remove_sink(sink)
            sink.close()

    def events(self, *kinds: Kind) -> Iterator[Event]:
        """Run on, and give each event of these kinds, or each event at all, as it comes, until the guest ends.

        The machine stands still while the caller has the event: behind its instruction, or, where that is no control transfer,
        behind the rest of its block of instructions, whose events come next.

        Example:
            >>> import paracell
            >>> with paracell.Container("hello", runtime="native") as c:
            ...     for event in c.events(paracell.Kind.SYSCALL):
            ...         print(event.who.name, event.nr, event.nr == c.cpu.rax)
            ...         break
            USER 1 True

        """
        waiting: list[Event] = []

        def listen(event: Event) -> None:
            if not kinds or event.kind in kinds:
                waiting.append(event)
                self.inner.request_stop(Reason.REACHED)

        sink = Listener(listen)
        self.inner.add_sink(sink)
        try:
            while True:
                stop = self._run()
                while waiting:
                    yield waiting.pop(0)
                if stop.reason is not Reason.REACHED:
                    return
        finally:
            self.inner.remove_sink(sink)
