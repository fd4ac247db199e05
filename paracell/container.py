"""A container: a program, its files, its kernel, and the machine that runs them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import runtimes
from .bundle import MEMORY, prepare
from .capture import Capture
from .emu.features import DEFAULT
from .machine import Machine, power_on
from .settings import memory_size

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .emu.cost import Costs
    from .emu.devices import ConsolePorts
    from .emu.features import Features
    from .emu.machine import ClockKind
    from .runtimes import Runtime


class Container(Machine):
    """A static x86-64 Linux program in a container; its kernel's first instruction is next.

    Attributes:
        runtime: how it runs.

    Example:
        >>> import paracell
        >>> with paracell.Container("busybox", "sh", "-c", "echo $HOME", runtime="native") as c:
        ...     print(c.run().stdout, end="")
        /

    """

    def __init__(
        self,
        program: str,
        *arguments: str,
        runtime: str | Runtime = runtimes.DEFAULT,
        rootfs: str | None = None,
        environment: Mapping[str, str] | None = None,
        memory: int | str = MEMORY,
        append: str = "",
        cpu: str | Features = DEFAULT,
        clock: ClockKind = "blocks",
        costs: Costs | Mapping[str, object] | None = None,
        stdin: bytes | str = b"",
        console: ConsolePorts | None = None,
    ) -> None:
        """Make it.

        Args:
            program: looked up in the root file system, then among the shipped programs, then on this computer.
            arguments: for the program, its own name excluded.
            runtime: ``native``, ``paracell``, or a row of `runtimes.RUNTIMES`.
            rootfs: a directory or tar with the container's files; None for a small one that ParaCell makes.
            environment: added to PATH and HOME.
            memory: bytes, or a text such as ``64M``.
            append: the kernel's command line.
            cpu: the processor: its features, or a text as ``--cpu`` takes it.
            clock: what passes time besides events while a timer is armed: ``blocks`` or, slower, ``exact``.
            costs: cycles of each kind of event; a mapping names only those that are not the default.
            stdin: what the program can read.
            console: what the serial lines are plugged into, instead of a console that captures.

        Raises:
            Problem: the program is not there, or may not be executed.
            BadImage, BadRootfs: the program or the files are not what they should be.
            OSError: something cannot be read.
            ValueError: a setting is wrong.

        """
        self.runtime = runtimes.named(runtime)
        size, plug = memory_size(memory), console or Capture(stdin)
        bundle = prepare(self.runtime, program, arguments, environment, rootfs, size)
        inner = power_on(self.runtime.load(), bundle.modules, append, size, self.runtime, cpu, clock, costs, plug)
        super().__init__(inner, plug)
        self.symbols.add(*bundle.program)
