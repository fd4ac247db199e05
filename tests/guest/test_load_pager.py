"""Load on hosts that bind memory ahead: whatever happens in containers, each page of the host's is free or held, and none is lost."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest
from attrs import frozen

from paracell import runtimes
from paracell.emu.events import Event, Kind
from paracell.emu.sinks import Listener
from paracell.emu.stop import Reason
from paracell.guest import shipped
from paracell.guest.rootfs import init_block
from paracell.machine import Machine
from paracell.settings import kernel_options

from .kernels import Typed, tar_of
from .test_host_memory import BASE, PAGE, address_in_host

if TYPE_CHECKING:
    from collections.abc import Sequence

    from paracell.guest.multiboot import Module

BUSYBOX: Final = shutil.which("busybox")
needs_busybox = pytest.mark.skipif(BUSYBOX is None, reason="busybox-static is not installed")
on_each = pytest.mark.parametrize("runtime", ["paracell", "runv", "pvm"])
sweep = pytest.mark.sweep
OFFSET: Final = (1 << 39) - 1  # in the host's direct map
LENT: Final = 1
ADDRESS: Final = 0x000F_FFFF_FFFF_F000
MEMORY: Final = 64 << 20


@frozen
class Ran:
    """What containers said, and what their host had at the end: pages in all, free and held, and bound to containers."""

    out: str
    err: str
    whole: int
    free: int
    held: int
    bound: int
    lowest: int  # free pages, at the time when there were fewest


def pages_of(machine: Machine, image: str) -> tuple[int, int, int, int]:
    """Count a host's pages by what it keeps: the list of free ones, those that were never used, the containers' bindings."""
    word = machine.inner.memory.read64

    def variable(name: str, size: int = 8) -> int:
        return address_in_host(image, name, size)

    whole, free, held = (word(variable("host_memory", 24) + 8 * i) for i in range(3))
    frontier, end = word(variable("frontier")), word(variable("end"))
    given_back = set()
    at = word(variable("free_list"))
    while at:
        assert at & OFFSET not in given_back
        given_back.add(at & OFFSET)
        at = word(at & OFFSET)
    assert len(given_back) + end - frontier == free
    slot = (
        word(word(variable("self")) - BASE) >> 32
    )  # of the last one, which has not given back; its struct begins with number, slot
    array = word(variable("slots", 16) + 8 * slot) & OFFSET
    entries = (word(array + 8 * page) for page in range(MEMORY // PAGE))
    bound = [entry & ADDRESS for entry in entries if entry and not entry & LENT]
    assert len(bound) == len(set(bound))
    assert given_back.isdisjoint(bound)
    assert max(bound) >> 12 < frontier
    return whole, free, held, len(bound)


def run(runtime: str, programs: Sequence[Sequence[str]], options: str = "") -> Ran:
    """Run containers on one host to their end; the programs are shells' or shipped ones."""
    files = {"bin/fill": shipped.image("programs/touch").read_bytes()}
    if BUSYBOX:
        files["bin/busybox"] = Path(BUSYBOX).read_bytes()
    chosen, console = runtimes.named(runtime), Typed(b"")
    modules: list[Module] = []
    for program in programs:
        own = files if program[0].endswith("busybox") else {program[0].lstrip("/"): _shipped(program[0])}
        modules += chosen.modules(tar_of({**own, "tmp/x": b""}), init_block(program, ["PATH=/bin"]))
    with Machine.boot(
        chosen.image,
        modules=modules,
        append=kernel_options(options, policy="pager"),
        memory=MEMORY,
        runtime=chosen,
        console=console,
    ) as machine:
        free_pages, lowest = address_in_host(chosen.boots, "host_memory", 24) + 8, [MEMORY]

        def look(event: Event) -> None:
            if event.kind is Kind.HYPERCALL or event.kind is Kind.VM_EXIT:
                lowest[0] = min(lowest[0], machine.inner.memory.read64(free_pages))

        machine.inner.add_sink(Listener(look))
        end = machine.run()
        assert end.reason is Reason.EXIT, str(end)
        whole, free, held, bound = pages_of(machine, chosen.boots)
    out, err = (bytes(console.sent[i]).decode(errors="replace") for i in range(2))
    assert free + held == whole
    assert bound <= held
    assert "panic" not in err
    assert "missing" not in err
    return Ran(out, err, whole, free, held, bound, lowest[0])


def _shipped(path: str) -> bytes:
    return shipped.image(f"programs/{path.rpartition('/')[2]}").read_bytes()


def shell(script: str) -> list[str]:
    return ["/bin/busybox", "sh", "-c", script]


@needs_busybox
@on_each
@pytest.mark.parametrize("count", [100, pytest.param(10_000, marks=sweep)])
def test_processes_one_after_another(count: int, runtime: str) -> None:
    script = f"i=0; while [ $i -lt {count} ]; do (exit 7); [ $? = 7 ] && i=$((i + 1)); done; echo $i"
    ran = run(runtime, [shell(script)])
    assert ran.out == f"{count}\n"
    few = run(runtime, [shell("(exit 7); echo 1")])
    assert ran.held < few.held + 300  # kernel stacks, tables, lists: as many as live at once, however many come and go


@needs_busybox
@on_each
def test_a_full_memory(runtime: str) -> None:
    """A program that wants more than there is ends, and the next one has what it had."""
    ran = run(runtime, [shell("fill 100; echo $?; fill 8; echo $?")])
    assert ran.out == "137\n0\n"


@needs_busybox
@on_each
def test_a_fork_bomb(runtime: str) -> None:
    script = "mkfifo p; (while :; do (: <p) & done) 2>err; grep -c fork err; kill -9 -1; (echo and forks)"
    ran = run(runtime, [shell(script)])
    assert ran.out.splitlines()[-2:] == ["1", "and forks"]
    assert ran.free > ran.whole / 3


@needs_busybox
@on_each
def test_a_host_with_one_per_cent_free(runtime: str) -> None:
    """Both containers fill their files until the host has next to nothing; programs run or are killed, and both go on."""
    script = "cat /dev/zero >big 2>/dev/null; for i in 1 2 3 4; do (exit $i); done; fill 4; rm big; sleep 0.1; fill 4; echo $?"
    ran = run(runtime, [shell(script)] * 2, "limit=60 reserve=2")
    assert ran.out == "0\n0\n"  # once there is memory again
    assert "is killed" not in ran.err
    assert ran.lowest < ran.whole / 100


@on_each
@pytest.mark.parametrize("again", [16, pytest.param(996, marks=sweep)])
def test_containers_one_after_another(again: int, runtime: str) -> None:
    """Two at a time; a host that misses a page of one that has ended stops."""
    ran = run(runtime, [["/bin/hello"]] * 4, f"again={again}")
    assert ran.out.count("Hello") == again + 4
    first = run(runtime, [["/bin/hello"]] * 4)
    assert (ran.whole, ran.held) == (first.whole, first.held)
