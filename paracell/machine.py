"""A machine and its guest, as a program or a notebook drives them: boot, run to somewhere, look, go back, go on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Self

from . import runtimes
from .capture import Capture
from .emu.features import DEFAULT, Features, parse
from .emu.machine import Machine as Inner
from .guest.image import Image, load
from .runs import Runs
from .settings import costs_of, memory_size

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path
    from types import TracebackType

    from .emu.cost import Costs
    from .emu.devices import ConsolePorts
    from .emu.machine import ClockKind
    from .emu.nesting import NestedOptions
    from .guest.multiboot import Module
    from .runtimes import Runtime

MEMORY: Final = 1 << 30  # bytes, of a machine unless it is told otherwise


class Checkpoint:
    """A state of a machine to go back to, with what its console had written and read; `Machine.checkpoint` makes it."""

    def __init__(self, machine: Machine) -> None:
        from .emu.checkpoint import Checkpoint as State

        self._state = State(machine.inner)
        self._captured = machine.captured
        self._console = machine.captured.save() if machine.captured else None
        self._machine, self._ended = machine, machine.ended

    def restore(self) -> None:
        """Go back.  This takes a few microseconds, and time for each page that has been written since."""
        self._state.restore()
        self._machine.ended = self._ended
        if self._captured and self._console:
            self._captured.load(self._console)


class Machine(Runs):
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
        nested: NestedOptions | bool = False,
        bios: bool = False,
        hpet: bool = False,
    ) -> Machine:
        """Load a kernel as a boot loader does; its first instruction is next.

        Args:
            image: a Linux, multiboot-1, PVH or 64-bit ELF kernel, or its path.
            modules: files that the loader puts beside it.
            append: the kernel's command line.
            memory: bytes, or a text such as ``64M``.
            runtime: the runtime that the image belongs to, for the meaning of events; None for another kernel.
            cpu: the processor: its features, or a text as ``--cpu`` takes it.
            clock: what passes time besides events while a timer is armed: ``blocks`` or, slower, ``exact``; ``steady``: blocks, and always.
            costs: cycles of each kind of event; a mapping names only those that are not the default.
            stdin: what the guest can read from its first serial line.
            console: what the serial lines are plugged into, instead of a console that captures.
            nested: run everything in a virtual machine of an outermost hypervisor, which works by these options, or as usual.
            bios: leave interrupts as a PC's BIOS does: the interrupt table of real mode, and a timer that ticks;
                VMX, if the processor has it, is switched on and locked.
            hpet: give the machine a high-precision event timer.

        Raises:
            BadImage: no such kernel, or it does not fit.
            OSError: it cannot be read.
            ValueError: a setting is wrong.

        """
        plug = console or Capture(stdin)
        inner = power_on(
            image, modules, append, memory, runtime, cpu, clock, costs, plug, nested=nested, bios=bios, hpet=hpet
        )
        return Machine(inner, plug)

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
    *,
    nested: NestedOptions | bool = False,
    bios: bool = False,
    hpet: bool = False,
) -> Inner:
    """Make a machine with an image, its modules and its names: how every run of ours begins."""
    size, wanted = memory_size(memory), costs_of(costs)
    features = cpu if isinstance(cpu, Features) else parse(cpu)
    belongs = None if runtime is None else runtimes.named(runtime)
    if belongs is not None:
        features = belongs.processor(features)
    kernel = image if isinstance(image, Image) else load(image)
    inner = Inner(size, console, features=features, clock=clock, costs=wanted, nested=nested, hpet=hpet)
    inner.load(kernel, append, modules, firmware=belongs is None, bios=bios)  # a container's kernel asks for none
    if belongs is not None:
        belongs.attach(inner)
    return inner
