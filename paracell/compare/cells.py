"""What `paracell compare` measures, one cell at a time: an operation, an application or a policy's memory, in one setting.

A cell is one run of one container, and says everything that decides what comes of it.  So a result can be kept in a file, and used
again as long as `Cell.key` is the same: the images, the emulator and the options have not changed.
"""

from __future__ import annotations

import hashlib
import json
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

from attrs import asdict, frozen

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

FORMAT: Final = 1
AROUND: Final = 1  # pages that come with a page fault: as on Linux, on which everything published was measured
MEMORY: Final = "64M"
SECOND: Final = 2_500_000_000
# Operations of `lat`, and how many turns are counted.
TURNS: Final = {
    "null": 200, "read": 200, "write": 200, "stat": 100, "open": 100, "select": 20, "fork": 20, "exec": 10, "sh": 5,
    "thread": 40, "pipe": 100, "unix": 50, "self": 100, "switch": 100, "cold": 256, "fault": 256, "refault": 256,
    "filefault": 256, "mmap": 20, "install": 100, "signal": 100, "prot": 50, "sleep": 10,
}  # fmt: skip
# The quick form: operations, applications and where they run, workloads for memory and the shares of files.
QUICK: Final = ("null", "fork", "pipe", "cold", "refault", "mmap", "signal", "sleep")
QUICK_APPLICATIONS: Final = ("grow", "serve")
QUICK_MEMORY: Final = ("agent-edit-test", "grow")
RUNTIMES: Final = ("native", "paracell", "pvm", "runv")
# A setting's place → what it means.
PLACES: Final = {
    "bare": "no outermost hypervisor",
    "nested": "an outermost hypervisor, which has the machine's memory from the start, in pages of 2 MiB",
    "nested-cold": "the same, but it finds memory for each page of 4 KiB when that is first touched",
}
# Policies, and the runtime that each is measured under: the one that was published with it.
POLICIES: Final = {
    "touch": "runv", "pager": "paracell", "static": "runv", "static-2m": "runv", "balloon": "runv",
    "balloon-huge": "runv", "report-4k": "runv", "report-2m": "runv", "hyperalloc": "runv",
}  # fmt: skip
# Files beside this one that make a report of results, and change none.
_TELLING: Final = frozenset({"figures", "page", "plot", "published", "report", "sweep", "table"})
KEEPS: Final = (0, 2, 5, 10, 15)  # per cent of a tool's pages that stay as files
QUICK_KEEPS: Final = (0, 5, 15)


@frozen
class Cell:
    """One run.

    Attributes:
        kind: ``operation``, ``application`` or ``memory``.
        row: the operation of `lat`, or the workload.
        runtime: its name.
        place: one of `PLACES`.
        policy: the memory policy, or "" for the runtime's own.
        turns: of the operation.
        quick: a workload's short form.
        keep: of a workload, per cent of a tool's pages that stay as files.

    """

    kind: str
    row: str
    runtime: str
    place: str = "bare"
    policy: str = ""
    turns: int = 0
    quick: bool = False
    keep: int = 0

    @property
    def name(self) -> str:
        """A name for people and for the file of its result."""
        parts = (self.kind, self.row, self.runtime, self.place, self.policy, f"keep{self.keep}" if self.keep else "")
        return "-".join((*(part for part in parts if part), *(("quick",) if self.quick else ())))

    @property
    def key(self) -> str:
        """A hash of everything that decides the result, as it was when this process first asked."""
        return _key(self)


@cache
def _key(cell: Cell) -> str:
    decides = [FORMAT, asdict(cell), AROUND, MEMORY, _files(), _workload(cell.row, quick=cell.quick, keep=cell.keep)]
    return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()


def _digest(paths: Iterable[Path]) -> str:
    found = hashlib.sha256()
    for path in sorted(paths):
        data = path.read_bytes()
        found.update(f"{path.name} {len(data)}\n".encode() + data)
    return found.hexdigest()


@cache
def _files() -> str:
    """Give a digest of the images and of the emulator: all rooms' Python, the table of costs, and what measures."""
    from importlib.metadata import version

    from ..guest import shipped

    top, images = Path(__file__).parents[1], shipped.IMAGES
    rooms = ("emu", "mmu", "pku", "vmx", "pager", "guest")
    code = [path for room in rooms for path in (top / room).rglob("*.py")]
    measuring = [path for path in Path(__file__).parent.glob("*.py") if path.stem not in _TELLING]
    run = [*images.glob("*.elf"), *(path for path in (images / "programs").iterdir() if path.is_file())]
    ours = _digest([*code, *top.glob("*.py"), *measuring, top / "emu" / "costs.toml", *run])
    return f"{ours} unicorn {version('unicorn')}"


@cache
def _workload(row: str, *, quick: bool, keep: int) -> list[str]:
    """Give what a workload is: its command, its memory, and the digests of what it carries in, by name; nothing for an operation."""
    if row in TURNS:
        return []
    from .workloads import named

    workload = named(row, quick=quick, keep=keep)
    if workload.missing():
        return ["missing"]
    carried = [f"{volume.guest} {_digest([volume.host])}" for volume in workload.volumes()]
    return [workload.program, *workload.arguments, workload.memory, *carried]


def plan(
    *,
    quick: bool = False,
    rows: Sequence[str] = (),
    runtimes: Sequence[str] = RUNTIMES,
    places: Sequence[str] = tuple(PLACES),
    policies: Sequence[str] = tuple(POLICIES),
) -> list[Cell]:
    """Give the cells of a comparison, in the order of its report.

    Args:
        quick: a few operations and workloads, and these in their short forms.
        rows: operations and workloads, if not those of the form that is asked for.
        runtimes: some of `RUNTIMES`.
        places: some of `PLACES`.
        policies: some of `POLICIES`.

    Raises:
        ValueError: there is no such row, runtime, place or policy.

    """
    from .workloads import workloads

    known = [workload.name for workload in workloads(quick=quick)]
    for what, given, there in (
        ("row", rows, (*TURNS, *known)),
        ("runtime", runtimes, RUNTIMES),
        ("place", places, tuple(PLACES)),
        ("policy", policies, tuple(POLICIES)),
    ):
        for name in given:
            if name not in there:
                raise ValueError(f"no such {what} to compare: {name}; there are {', '.join(there)}")

    def wanted(short: Sequence[str], every: Sequence[str]) -> list[str]:
        return [row for row in (rows or (short if quick else every)) if row in every]

    return [
        *_operations(wanted(QUICK, tuple(TURNS)), runtimes, places),
        *_applications(wanted(QUICK_APPLICATIONS, known), runtimes, places, quick=quick),
        *_memory(wanted(QUICK_MEMORY, known), runtimes, policies, quick=quick),
    ]


def _settings(runtimes: Sequence[str], places: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Give each runtime in each place; native is there for orientation, and bare."""
    for place in places:
        for runtime in runtimes:
            if runtime != "native" or place == "bare":
                yield runtime, place


def _operations(rows: Sequence[str], runtimes: Sequence[str], places: Sequence[str]) -> Iterator[Cell]:
    for row in rows:
        for runtime, place in _settings(runtimes, places):
            yield Cell("operation", row, runtime, place, turns=TURNS[row])


def _applications(
    rows: Sequence[str], runtimes: Sequence[str], places: Sequence[str], *, quick: bool
) -> Iterator[Cell]:
    """Give applications; in the quick form not where each page is an exit to the outermost hypervisor."""
    from .workloads import KEEP

    for row in rows:
        for runtime, place in _settings(runtimes, places):
            if not (quick and place == "nested-cold"):
                yield Cell("application", row, runtime, place, quick=quick, keep=KEEP)


def _memory(rows: Sequence[str], runtimes: Sequence[str], policies: Sequence[str], *, quick: bool) -> Iterator[Cell]:
    """Give each workload under each policy, and the agents' with other shares of files for the two that the claim is about."""
    from .workloads import KEEP

    for row in rows:
        for policy in policies:
            runtime = POLICIES[policy]
            if runtime not in runtimes:
                continue
            swept = (
                (QUICK_KEEPS if quick else KEEPS)
                if row.startswith("agent-") and policy in {"pager", "hyperalloc"}
                else (KEEP,)
            )
            for keep in sorted({KEEP, *swept}):
                yield Cell("memory", row, runtime, "bare", policy, quick=quick, keep=keep)
