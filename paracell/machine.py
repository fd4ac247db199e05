"""A machine and its guest, as a program or a notebook drives them: boot, run to somewhere, look, go back, go on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, Self, TypeAlias

from attrs import field, frozen

from . import runtimes
from .capture import Capture
from .console import interruptible
from .emu.events import Event, Kind, Who
from .emu.features import DEFAULT, Features, parse
from .emu.machine import Machine as Inner
from .emu.sinks import Listener
from .emu.stop import Reason
from .guest.image import Image, load
from .mmu.address import PAGE, U32, Address, canonical
from .mmu.rights import EXEC, READ, WRITE
from .mmu.walk import Mode
from .processor import Processor
from .settings import costs_of, memory_size

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path
    from types import TracebackType

    from .emu.cost import Costs
    from .emu.devices import ConsolePorts
    from .emu.machine import ClockKind
    from .emu.memory import Memory
    from .emu.stop import Stop
    from .emu.symbols import Named, Symbols
    from .guest.multiboot import Module
    from .mmu.explain import Walk
    from .record import Recording
    from .runtimes import Runtime

Access: TypeAlias = Literal["read", "write", "fetch"]
MEMORY: Final = 1 << 30  # bytes, of a machine unless it is told otherwise
_NEEDS: Final = {"read": READ, "write": WRITE, "fetch": EXEC}


class NoWalk(ValueError):
    """A linear address for which the processor reads no page table: paging is off, or the address is not canonical.

    Attributes:
        address: the linear address.

    """

    def __init__(self, why: str, address: int) -> None:
        super().__init__(why)
        self.address = address


class Refused(LookupError):
    """An access that the page tables or the keys do not allow.

    Attributes:
        walk: the walk, with its fault.

    """

    def __init__(self, walk: Walk) -> None:
        picture = str(walk).splitlines()
        super().__init__(f"{picture[0]}: {picture[-1].strip()}")
        self.walk = walk


@frozen
class End:
    """How a run ended, or why it paused.

    Attributes:
        reason: why: EXIT, or REACHED and LIMIT where `Machine.run_until` got there.
        value: what the guest wrote to the exit port; for a container the status of its first program, 128 + n for signal n.
        cycles: virtual cycles since the machine was switched on.
        stdout: what the guest has written to its first serial line, from the beginning.
        stderr: the same for the second line.
        event: the event that `Machine.run_until` was told to wait for, or None.
        report: lines that describe the processor, where the guest did not end the run itself.

    """

    reason: Reason
    value: int
    cycles: int
    stdout: str = field(default="", repr=False)
    stderr: str = field(default="", repr=False)
    event: Event | None = None
    report: tuple[str, ...] = field(default=(), repr=False)

    @property
    def status(self) -> int:
        """The low 8 bits of `value`: what a shell calls the exit status."""
        return self.value & 0xFF

    def __str__(self) -> str:
        """Show the reason, and the report if there is one."""
        return "\n".join([f"{self.reason}, status {self.status}, {self.cycles:,} cycles", *self.report])


class Checkpoint:
    """A state of a machine to go back to, with what its console had written and read; `Machine.checkpoint` makes it."""

    def __init__(self, machine: Machine) -> None:
        from .emu.checkpoint import Checkpoint as State

        self._state = State(machine.inner)
        self._captured = machine.captured
        self._console = machine.captured.save() if machine.captured else None

    def restore(self) -> None:
        """Go back.  This takes a few microseconds, and time for each page that has been written since."""
        self._state.restore()
        if self._captured and self._console:
            self._captured.load(self._console)


class Machine:
    """A PC with one x86-64 processor, and its guest.

    `Machine.boot` and `Machine.restore` make one, and a `Container` is one.  As a context manager it closes itself.

    Attributes:
        inner: the emulated machine, a `paracell.emu.machine.Machine`.
        cpu: its registers.
        memory: guest-physical memory: ``memory[gpa:end]`` gives and takes bytes.
        symbols: names for linear addresses: ``symbols["hello!main"]`` gives an address, ``symbols.name(address)`` a name.
        captured: the console that keeps what the guest writes; None where the machine was given another.

    Example:
        >>> import paracell
        >>> with paracell.Container("hello") as c:
        ...     end = c.run_until(paracell.Kind.HYPERCALL)
        ...     print(end.event.who.name, c.symbols.name(end.event.rip).startswith("paracell-kernel.elf!"))
        KERNEL True

    """

    def __init__(self, inner: Inner, console: ConsolePorts) -> None:
        self.inner = inner
        self.cpu = Processor(inner)
        self.memory: Memory = inner.memory
        self.symbols: Symbols = inner.symbols
        self.captured = console if isinstance(console, Capture) else None

    # ---- making one -------------------------------------------------------------------------------------------

    @staticmethod
    def boot(
        image: str | Path | Image,
        *,
        modules: Sequence[Module] = (),
        append: str = "",
        memory: int | str = MEMORY,
        runtime: str | Runtime | None = None,
        cpu: str | Features = DEFAULT,
        clock: ClockKind = "blocks",
        costs: Costs | Mapping[str, object] | None = None,
        stdin: bytes | str = b"",
        console: ConsolePorts | None = None,
    ) -> Machine:
        """Load a kernel as a boot loader does; its first instruction is next.

        Args:
            image: a multiboot-1 or 64-bit ELF kernel, or its path.
            modules: files that the loader puts beside it.
            append: the kernel's command line.
            memory: bytes, or a text such as ``64M``.
            runtime: the runtime that the image belongs to, for the meaning of events; None for another kernel.
            cpu: the processor: its features, or a text as ``--cpu`` takes it.
            clock: what passes time besides events while a timer is armed: ``blocks`` or, slower, ``exact``.
            costs: cycles of each kind of event; a mapping names only those that are not the default.
            stdin: what the guest can read from its first serial line.
            console: what the serial lines are plugged into, instead of a console that captures.

        Raises:
            BadImage: no such kernel, or it does not fit.
            OSError: it cannot be read.
            ValueError: a setting is wrong.

        """
        plug = console or Capture(stdin)
        return Machine(power_on(image, modules, append, memory, runtime, cpu, clock, costs, plug), plug)

    @staticmethod
    def restore(
        path: str | Path,
        *,
        runtime: str | Runtime | None = None,
        costs: Costs | Mapping[str, object] | None = None,
        stdin: bytes | str = b"",
        console: ConsolePorts | None = None,
    ) -> Machine:
        """Make the machine that `save` or ``paracell run --snapshot`` wrote.

        Args:
            path: of the snapshot.
            runtime: the runtime of the container inside, for the meaning of events and the names of its images.
            costs: cycles of each kind of event; a mapping names only those that are not the default.
            stdin: what the guest can read from its first serial line from now on.
            console: what the serial lines are plugged into, instead of a console that captures.

        Raises:
            BadSnapshot: no snapshot, or a damaged one.
            OSError: it cannot be read.
            ValueError: a setting is wrong.

        """
        plug = console or Capture(stdin)
        wanted, belongs = costs_of(costs), None if runtime is None else runtimes.named(runtime)
        with open(path, "rb") as file:  # noqa: PTH123 -- the path goes into OSError as the user wrote it
            inner = Inner.restore(file, plug)
        inner.cpu.costs = wanted
        if belongs is not None:
            inner.symbols.add(belongs.boots, belongs.load().symbols)
            belongs.attach(inner)
        return Machine(inner, plug)

    def save(self, path: str | Path) -> None:
        """Write the whole machine to a file that appears whole or not at all; pages of zeros take no space."""
        from .output import whole_file

        with whole_file(str(path)) as file:
            self.inner.save(file)

    def close(self) -> None:
        """Free the emulator's memory.  The machine cannot be used after that."""
        self.inner.close()

    def __enter__(self) -> Self:
        """Give the machine."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        """Close the machine."""
        self.close()

    # ---- running ----------------------------------------------------------------------------------------------

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
            instructions: run at most so many.  While a timer is armed each of them passes a cycle, as with ``clock="exact"``; with
                that clock, or with no timer, such a run differs in nothing from another.

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
        return self._end(self.inner.run(instructions))

    def _run(self, instructions: int = 0) -> Stop:
        """Run with Ctrl-C in hand."""
        with interruptible(self.inner.request_stop) as caught:
            stop = self.inner.run(instructions)
        if caught and stop.reason is Reason.INTERRUPTED:
            raise KeyboardInterrupt
        return stop

    def _end(self, stop: Stop, event: Event | None = None) -> End:
        return End(stop.reason, stop.value, self.cycles, self.stdout, self.stderr, event, stop.report)

    @property
    def cycles(self) -> int:
        """Virtual cycles since the machine was switched on; `paracell.emu.clock.TSC_HZ` of them are a second of its time."""
        return self.inner.clock.now

    @property
    def costs(self) -> Costs:
        """What each kind of event costs in virtual cycles; can be set between two runs."""
        return self.inner.cpu.costs

    @costs.setter
    def costs(self, costs: Costs | Mapping[str, object]) -> None:
        self.inner.cpu.costs = costs_of(costs)

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

    # ---- looking ----------------------------------------------------------------------------------------------

    @property
    def who(self) -> Who:
        """Who runs: the program, its kernel, or the host."""
        cpu = self.inner.cpu
        return cpu.who_is(cpu) if cpu.who_is else Who.USER if cpu.cpl == 3 else Who.KERNEL

    def walk(self, gva: int, access: Access = "read", *, user: bool | None = None, pkru: int | None = None) -> Walk:
        """Walk the page tables as the processor would now, and leave no trace: no accessed or dirty bit, no TLB entry, no event.

        Args:
            gva: the linear address.
            access: ``read``, ``write`` or ``fetch``.
            user: a user-mode access, or a supervisor's; None for what CPL makes of it.
            pkru: the PKRU of the access, if not the processor's.

        Returns:
            The steps, and the frame or the fault; ``str`` of it is a picture with the deciding bits marked.

        Raises:
            NoWalk: paging is off, or the address is not canonical.
            ValueError: another access, a PKRU of more than 32 bits, or an address that is too wide for the mode.

        Example:
            >>> import paracell
            >>> with paracell.Container("hello") as c:
            ...     end = c.run_until("hello!main")
            ...     print(str(c.walk(c.symbols["gk_secret"], user=True)).splitlines()[-1].strip())
            #PF, error code 0x25 (P|U|PK): PTE.PKEY is 1 and PKRU.AD1 is 1

        """
        if access not in _NEEDS:
            raise ValueError(f"no such access: {access!r}; there are {', '.join(_NEEDS)}")
        if pkru is not None and not 0 <= pkru <= U32:
            raise ValueError(f"PKRU {pkru:#x} does not fit into 32 bits")
        translation = self.inner.cpu.translation
        _check_walk(translation.paging.mode, gva)
        return translation.explain(gva, _NEEDS[access], user=user, pkru=pkru)

    def translate(self, gva: int) -> Address | None:
        """Give the physical address behind a linear one, whatever its page allows; None where nothing is mapped.

        Example:
            >>> import paracell
            >>> with paracell.Container("hello") as c:
            ...     end = c.run_until("hello!main")
            ...     secret = c.translate(c.symbols["gk_secret"])
            ...     c.memory[secret:secret + 8].hex()
            '0100eeffc0e7c25e'

        """
        found = self.inner.cpu.translation.physical(gva)
        return None if found is None else Address(found)

    def read(self, gva: int, size: int, *, user: bool | None = None, pkru: int | None = None) -> bytes:
        """Read linear memory as the processor could now, without a trace.

        Args:
            gva: the linear address.
            size: how many bytes.
            user: a user-mode access, or a supervisor's; None for what CPL makes of it.
            pkru: the PKRU of the access, if not the processor's.

        Raises:
            Refused: a page does not allow it; `Refused.walk` shows why.
            NoWalk: as for `walk`.
            OutOfRange: a page is mapped to where no memory is.

        """
        pieces = self._pieces(gva, size, "read", user, pkru)
        return b"".join(self.memory.read(at, count) for at, count in pieces)

    def write(self, gva: int, data: bytes, *, user: bool | None = None, pkru: int | None = None) -> None:
        """Write linear memory as the processor could now: all of it or nothing.  Raises what `read` raises."""
        done = 0
        for at, count in self._pieces(gva, len(data), "write", user, pkru):
            self.memory.write(at, data[done : done + count])
            done += count

    def _pieces(
        self, gva: int, size: int, access: Access, user: bool | None, pkru: int | None
    ) -> list[tuple[int, int]]:
        """Translate a range page by page into physical (address, size)."""
        pieces = []
        paging = self.inner.cpu.translation.paging.mode is not Mode.NONE
        while size:
            count = min(size, PAGE - gva % PAGE)
            if paging:
                walk = self.walk(gva, access, user=user, pkru=pkru)
                if walk.physical is None:
                    raise Refused(walk)
                pieces.append((walk.physical, count))
            else:
                pieces.append((gva, count))
            gva, size = gva + count, size - count
        return pieces

    def add_symbols(self, image: str, symbols: Callable[[], Iterable[Named]]) -> None:
        """Add the names of an image that the machine does not know; the function is called when the first name is asked for."""
        self.symbols.add(image, symbols)

    # ---- going back -------------------------------------------------------------------------------------------

    def checkpoint(self) -> Checkpoint:
        """Remember this moment, to go back to as often as wanted.

        Example:
            >>> import paracell
            >>> with paracell.Container("hello") as c:
            ...     end = c.run_until("hello!main")
            ...     start = c.checkpoint()
            ...     first = c.run()
            ...     start.restore()
            ...     again = c.run()
            ...     print(first == again)
            True

        """
        return Checkpoint(self)

    def __repr__(self) -> str:
        """Show where it stands."""
        if not self.inner.engine.handle:
            return f"<{type(self).__name__}, closed>"
        return f"<{type(self).__name__} at {self.symbols.name(self.cpu.rip)}, {self.cycles:,} cycles>"


def power_on(
    image: str | Path | Image,
    modules: Sequence[Module],
    append: str,
    memory: int | str,
    runtime: str | Runtime | None,
    cpu: str | Features,
    clock: ClockKind,
    costs: Costs | Mapping[str, object] | None,
    console: ConsolePorts,
) -> Inner:
    """Make a machine with an image, its modules and its names: how every run of ours begins."""
    size, wanted = memory_size(memory), costs_of(costs)
    features = cpu if isinstance(cpu, Features) else parse(cpu)
    belongs = None if runtime is None else runtimes.named(runtime)
    kernel = image if isinstance(image, Image) else load(image)
    inner = Inner(size, console, features=features, clock=clock, costs=wanted)
    inner.load(kernel, append, modules)
    if belongs is not None:
        belongs.attach(inner)
    return inner


def _check_walk(mode: Mode, gva: int) -> None:
    """Raise where the processor reads no page table."""
    if mode is Mode.NONE:
        raise NoWalk("paging is off: linear addresses are physical", gva)
    if mode is Mode.LEVEL4 and not canonical(gva):
        raise NoWalk(f"not canonical, a general-protection or stack fault and no walk: {gva:#x}", gva)
    if mode is not Mode.LEVEL4 and gva > U32:
        raise ValueError(f"the machine is not in 64-bit mode, its linear addresses have 32 bits: {gva:#x}")
