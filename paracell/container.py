"""A container: a program, its files, its kernel, and the machine that runs them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import runtimes
from .bundle import MEMORY, prepare
from .capture import Capture
from .emu.clock import TSC_HZ
from .emu.features import DEFAULT
from .machine import Machine, power_on
from .pager.policies import check
from .problem import Problem
from .settings import kernel_options, memory_size
from .volumes import Volume

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .emu.cost import Costs
    from .emu.devices import ConsolePorts
    from .emu.features import Features
    from .emu.machine import ClockKind
    from .emu.nesting import NestedOptions
    from .runtimes import Runtime


class Container(Machine):
    """An x86-64 Linux program in a container; its kernel's first instruction is next.

    Attributes:
        runtime: how it runs.
        volumes: what was carried in.
        left_out: what its root file system lacks, and those of the containers beside it, a line each.
        program: the name of its first program's file, and the file's bytes.

    Example:
        >>> import paracell
        >>> with paracell.Container("busybox", "sh", "-c", "echo $HOME", runtime="native") as c:
        ...     print(c.run().stdout, end="")
        /

    """

    def __init__(
        self,
        program: str | None = None,
        *arguments: str,
        runtime: str | Runtime = runtimes.DEFAULT,
        rootfs: str | None = None,
        environment: Mapping[str, str] | None = None,
        volumes: Sequence[str | Volume] = (),
        user: str | None = None,
        cwd: str | None = None,
        memory: int | str = MEMORY,
        append: str = "",
        seed: int | None = None,
        fault_around: int | None = None,
        pager: bool | None = None,
        memory_policy: str | None = None,
        cpu: str | Features = DEFAULT,
        clock: ClockKind = "blocks",
        costs: Costs | Mapping[str, object] | None = None,
        stdin: bytes | str = b"",
        console: ConsolePorts | None = None,
        nested: NestedOptions | bool = False,
        beside: Sequence[Sequence[str]] = (),
    ) -> None:
        """Make it.

        Args:
            program: looked up in the root file system, then among the shipped programs, then on this computer; None for what the
                image says.
            arguments: for the program, its own name excluded.
            runtime: ``native``, ``paracell``, or a row of `runtimes.RUNTIMES`.
            rootfs: the container's files: a directory, a tar, an OCI image layout or what ``docker save`` wrote; ``PATH:REFERENCE``
                names one of several images.  None for a small one that ParaCell makes.
            environment: added to PATH and HOME.
            volumes: ``HOST:GUEST[:ro]``, files of this computer to carry in; `write_volumes` brings back what changed.
            user: whose the program is, ``NAME|UID[:GROUP|GID]`` by the container's own /etc/passwd; None for root or what an image says.
            cwd: the working directory, which is made if it is missing; None for ``/`` or what an image says.
            memory: bytes, or a text such as ``64M``.
            append: the kernel's command line.
            seed: of the container's random numbers, and of where a program's parts lie in memory; None for numbers
                and places that are always the same.
            fault_around: how many pages of memory without a file come with a page fault: 1, 2, 4, 8 or 16; None for 4.
            pager: short for the memory policy ``pager``, or, if it is False, ``touch``.
            memory_policy: when pages become host memory and when they stop being it, one of `pager.policies.POLICIES`; None for what
                the runtime does by itself: ``pager`` under ParaCell, ``touch`` under the others.
            cpu: the processor: its features, or a text as ``--cpu`` takes it.
            clock: what passes time besides events while a timer is armed: ``blocks`` or, slower, ``exact``; ``steady``: blocks, and always.
            costs: cycles of each kind of event; a mapping names only those that are not the default.
            stdin: what the program can read.
            console: what the serial lines are plugged into, instead of a console that captures.
            nested: run everything in a virtual machine of an outermost hypervisor, which works by these options, or as usual.
            beside: programs, each with its arguments, for more containers on the same host, up to three: each gets an equal share of
                the memory and a small root file system of its own, and writes to the same console.  Two run at a time.

        Raises:
            Problem: a program is not there, or may not be executed; or there is no room for so many containers.
            BadImage, BadRootfs: the program or the files are not what they should be.
            OSError: something cannot be read.
            ValueError: a setting is wrong.

        """
        self.runtime = runtimes.named(runtime)
        size, plug = memory_size(memory), console or Capture(stdin)
        policy = _policy(memory_policy, self.runtime.name, pager=pager)
        line = kernel_options(append, seed=seed, fault_around=fault_around, policy=policy)
        wanted = [Volume.parse(v) if isinstance(v, str) else v for v in volumes]
        others = _of_others(self.runtime, beside)
        share = size // (1 + len(others))
        bundle = prepare(self.runtime, program, arguments, environment, rootfs, share, wanted, user, cwd)
        bundles = [bundle, *(prepare(self.runtime, *words, memory=share) for words in others)]
        modules = [module for each in bundles for module in each.modules]
        self.volumes, self.left_out = bundle.volumes, tuple(line for each in bundles for line in each.left_out)
        self.program = bundle.program[0], bundle.data
        inner = power_on(self.runtime.load(), modules, line, size, self.runtime, cpu, clock, costs, plug, nested=nested)
        super().__init__(inner, plug)
        self.symbols.add(*bundle.program)

    def write_volumes(self, returned: bytes | None = None) -> None:
        """Write what the container changed in its volumes to this computer, once it has ended with status 0.

        Args:
            returned: what came on the debug console, for a container with a console of another kind.

        Raises:
            Problem: files have changed on this computer meanwhile, or the container kernel sent no whole archive.
            OSError: something cannot be written.  In each case all files are as they were.

        """
        from .write_back import write_back

        archive = returned if returned is not None else bytes(self.captured.sent[2]) if self.captured else b""
        write_back(archive, self.volumes, self.cycles / TSC_HZ)


def _of_others(runtime: Runtime, beside: Sequence[Sequence[str]]) -> list[tuple[str, Sequence[str]]]:
    """Give the program and the arguments of each container beside the first."""
    if beside and runtime.kernel is None:
        raise Problem(f"no container runs beside another under {runtime.name}, which has no host")
    if len(beside) >= runtimes.MAX_CONTAINERS:
        raise Problem(f"{len(beside) + 1} containers: a host has room for {runtimes.MAX_CONTAINERS}")
    if not all(words and not isinstance(words, str) for words in beside):
        raise ValueError(f"a container beside the first one is given by its program and arguments: {list(beside)}")
    return [(words[0], words[1:]) for words in beside]


def _policy(name: str | None, runtime: str, *, pager: bool | None) -> str | None:
    """Give the memory policy that is meant; native does without Pager anyway."""
    if pager is not None and name is not None:
        raise ValueError(f"a memory policy, {name}, and pager besides: one of them is enough")
    if pager is not None and not (runtime == "native" and not pager):
        name = "pager" if pager else "touch"
    return None if name is None else check(name, runtime)
