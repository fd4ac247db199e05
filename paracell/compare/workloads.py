"""The workloads that systems are compared by: programs and scripts, the same for all of them.

Each is files that a user reads and changes (`paracell/compare/workloads/`), played by a shipped program or by programs of this
computer.  docs/workloads.md says what each does, and where its figures come from.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from attrs import evolve, frozen

from ..guest import shipped

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ..container import Container
    from ..volumes import Volume

FILES: Final = Path(__file__).parent / "workloads"
KEEP: Final = 5  # per cent of a tool's pages that stay as files, unless somebody sweeps it
MOST_KEEP: Final = 50  # guest/programs/agent.c


@frozen
class Workload:
    """A program, what it is given, and what it needs.

    Attributes:
        name: what people call it.
        says: what it does, in one line.
        program: the first process: a shipped program, or one of this computer.
        arguments: for it.
        files: absolute path in the container → file of this computer, to be read only.
        memory: of the machine, a text such as ``512M``.
        needs: programs of this computer that it takes along.

    """

    name: str
    says: str
    program: str
    arguments: tuple[str, ...]
    files: Mapping[str, Path]
    memory: str
    needs: tuple[str, ...] = ()

    def missing(self) -> str | None:
        """Give one line that says what this computer lacks for it; None where it can run."""
        from .host_programs import find

        absent = [command for command in self.needs if find(command) is None]
        return f"workload {self.name}: no {', no '.join(absent)} on this computer" if absent else None

    def volumes(self) -> list[Volume]:
        """Give all that is carried into its container; ``LookupError`` with the line of `missing`."""
        from ..volumes import Volume
        from .host_programs import files_of

        absent = self.missing()
        if absent is not None:
            raise LookupError(absent)
        files = dict(self.files)
        for command in self.needs:
            files |= files_of(command)
        return [Volume(path, guest, read_only=True) for guest, path in sorted(files.items())]

    def container(self, **options: Any) -> Container:
        """Make a container that is about to run it.

        Args:
            options: those of `Container`: ``runtime``, ``memory_policy``, ``nested`` …; ``memory`` too, if another one is wanted.

        Raises:
            LookupError: this computer lacks something; the line of `missing`.

        Example:
            >>> with named("grow", quick=True).container(runtime="paracell", memory_policy="touch") as c:
            ...     print(c.run().stdout.splitlines()[0])
            turn 1: 16 MiB, sum 24576

        """
        from ..container import Container

        options = {"memory": self.memory, **options}
        return Container(self.program, *self.arguments, volumes=self.volumes(), **options)


def _agent(trace: str, says: str, keep: int, *, quick: bool) -> Workload:
    small = ("scale=20", "seconds=60") if quick else ()
    guest = f"/work/{trace}.trace"
    path = FILES / "agent" / f"{trace}.trace"
    return Workload(
        f"agent-{trace}", says, "agent", (guest, f"keep={keep}", *small), {guest: path}, "128M" if quick else "512M"
    )


def _script(
    name: str, says: str, arguments: tuple[object, ...], memory: str, *needs: str, script: str = ""
) -> Workload:
    """Make a workload that busybox's shell plays."""
    script = f"{script or name}.sh"
    words = ("sh", f"/work/{script}", *(str(argument) for argument in arguments))
    return Workload(name, says, "busybox", words, {f"/work/{script}": FILES / script}, memory, ("busybox", *needs))


def workloads(*, quick: bool = False, keep: int = KEEP) -> Iterator[Workload]:
    """Give all of them.

    Args:
        quick: the short forms: a minute of an agent's trace, 128 MiB.
        keep: per cent of the pages of a tool that stay as files when it is over, 0 to 50.

    Raises:
        ValueError: no such share.

    """
    if not 0 <= keep <= MOST_KEEP:
        raise ValueError(f"the share of pages kept as files is between 0 and {MOST_KEEP} per cent, not {keep}")
    yield _agent("explore", "an agent that finds its way in a repository", keep, quick=quick)
    yield _agent("edit-test", "an agent that edits and tests in turns", keep, quick=quick)
    yield _agent("install", "an agent that installs packages", keep, quick=quick)
    yield _agent("long-test", "an agent that runs a long suite of tests", keep, quick=quick)
    yield _agent("git", "an agent that searches a history", keep, quick=quick)
    memory = "128M" if quick else "512M"
    jobs = (2, 4, 20, keep) if quick else (4, 24, 100, keep)
    build = _script("build", "compilers in parallel, a link, a clean", jobs, memory)
    yield evolve(build, files={**build.files, "/bin/agent": shipped.image("programs/agent")})
    turns = (8, 1) if quick else (120, 8)
    yield _script("swe", "a shell that looks round, edits and tests", turns, memory)
    yield _script("swe-git", "the same, with commits", (*turns, "git"), memory, "git", script="swe")
    tests = _script(
        "swe-python", "the same, with tests in Python", (*turns, "python3"), memory, "python3", script="swe"
    )
    yield evolve(tests, files={**tests.files, "/work/check.py": FILES / "check"})
    rows = (400, 1) if quick else (20000, 4)
    yield _script("sqlite", "a database that grows, is asked and shrinks", rows, memory, "sqlite3")
    growth = ("16", "2", "6") if quick else ("192", "4", "6")
    yield Workload("grow", "memory touched cold, used, given back; again", "grow", growth, {}, memory)
    traffic = ("3", "4") if quick else ("12", "40")
    yield Workload("serve", "a server and its clients: sockets, epoll, timers", "serve", traffic, {}, memory)


def named(name: str, *, quick: bool = False, keep: int = KEEP) -> Workload:
    """Give one by its name; ``ValueError`` for a name that there is not, and what `workloads` raises.

    Example:
        >>> named("agent-git").arguments
        ('/work/git.trace', 'keep=5')

    """
    every = {workload.name: workload for workload in workloads(quick=quick, keep=keep)}
    if name not in every:
        raise ValueError(f"no such workload: {name}; there are {', '.join(every)}")
    return every[name]
