"""One pool of host memory: quotas, reserves, pages that are given back, and none that gets lost."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

import pytest
from attrs import frozen

from paracell.emu.stop import Reason
from paracell.guest import shipped
from paracell.guest.elf import parse
from paracell.guest.rootfs import init_block
from paracell.machine import Machine
from paracell.runtimes import PARACELL

from .kernels import Typed

if TYPE_CHECKING:
    from collections.abc import Sequence

MEMORY: Final = 32 << 20
PAGE: Final = 4096
BASE: Final = 0xFFFFFFFFC0000000  # guest/host/core/layout.h
U64: Final = 0xFFFFFFFFFFFFFFFF
ENOMEM, EBUSY, EINVAL = -12 & U64, -16 & U64, -22 & U64


def address_in_host(image: str, name: str, size: int) -> int:
    """Give the physical address of a variable of a host's, of so many bytes: names of static ones can come twice."""
    found = [s for s in parse(shipped.image(image).read_bytes(), image).symbols() if (s.name, s.size) == (name, size)]
    assert len(found) == 1
    return found[0].address - BASE


def host_pages(machine: Machine) -> tuple[int, int, int]:
    """Give the host's pages: all, free, held; none is lost."""
    at = machine.symbols["host_memory"] - BASE
    whole, free, held = struct.unpack("<QQQ", machine.memory[at : at + 24])
    assert free + held == whole
    return whole, free, held


@frozen
class Ran:
    """What the containers said, what the host said, and its pages at the end: all, free, held."""

    said: list[tuple[str, int]]
    err: str
    pages: tuple[int, int, int]


def run(cases: Sequence[str], options: str = "") -> Ran:
    """Run one container after the other, two at a time, each with a case of guest/attacks/host/memory.c."""
    modules = [
        module
        for case in cases
        for module in PARACELL.modules(bytes(PAGE), init_block([case], []), kernel="hostile.elf")
    ]
    console = Typed(b"")
    with Machine.boot(PARACELL.image, modules=modules, append=options, memory=MEMORY, console=console) as machine:
        end = machine.run()
        assert end.reason is Reason.EXIT, str(end)
        pages = host_pages(machine)
    lines = [line.rpartition(" ") for line in console.sent[0].decode().splitlines()]
    ran = Ran([(what, int(value, 16)) for what, _, value in lines], console.sent[1].decode(), pages)
    assert "panic" not in ran.err
    return ran


def test_what_is_given_back_and_what_is_not() -> None:
    assert run(["unbind"]).said == [
        ("not bound", EINVAL),
        ("mapped twice", EBUSY),
        ("mapped once", EBUSY),
        ("still holds", 7),
        ("not mapped", 0),
        ("twice", EINVAL),
        ("a fresh page holds", 0),
        ("its space is gone", 0),
        ("the image", EBUSY),
        ("a module", EBUSY),
        ("not aligned", EINVAL),
        ("out of range", EINVAL),
        ("far out of range", EINVAL),
    ]


@pytest.mark.parametrize("limit", [4, 8])
def test_a_quota_is_kept_and_its_end_is_an_error(limit: int) -> None:
    ran = run(["quota"], f"limit={limit}")
    said = dict(ran.said)
    most = (limit << 20) // PAGE
    assert said["result"] == ENOMEM
    assert said["in a table that is there"] == 0
    assert most * 0.9 < said["tables"] < most
    assert ran.pages[2] == most  # the last container is not torn down: it holds all that it may
    assert not ran.err


def test_a_limit_that_is_too_small_is_one_line_for_each_container() -> None:
    ran = run(["unbind", "unbind", "unbind"], "limit=1 reserve=0")
    lines = ran.err.splitlines()
    assert [line.partition("boot")[0] for line in lines] == [f"paracell: container {n} is killed: " for n in range(3)]
    assert all("boot: kernel and modules do not fit into its memory" in line for line in lines)


def test_empty_tables_are_reclaimed() -> None:
    said = dict(run(["reclaim"], "limit=4").said)
    assert said["result"] == 0
    assert said["last"] == said["wanted"]


OVERCOMMIT: Final = "limit=24 reserve=2"


def test_two_containers_share_one_pool() -> None:
    """Each touches more than half of all memory: the second can only if the first has given it back."""
    ran = run(["lend", "borrow"], OVERCOMMIT)
    said = dict(ran.said)
    assert said["given back"] == said["had"] > ran.pages[0] / 2
    assert not ran.err


def test_what_is_kept_is_nobody_elses() -> None:
    ran = run(["keep", "borrow"], OVERCOMMIT)
    assert "had" not in dict(ran.said)
    assert "container 1 is killed: no host memory for a page that it touched" in ran.err


def test_a_reserve_can_always_be_had() -> None:
    """By itself each container has its part in reserve, so that nobody can want in vain."""
    ran = run(["keep", "borrow"])
    assert dict(ran.said)["had"] > 0
    assert not ran.err


def test_nothing_is_lost_when_containers_follow_each_other() -> None:
    """The host stops if one that has ended still holds a page; the last one is alone with the pool."""
    ran = run(["quota", "unbind", "quota", "lend"], "limit=8")
    tables = [value for what, value in ran.said if what == "tables"]
    assert tables[0] == tables[1]
    assert ("not mapped", 0) in ran.said
    assert not ran.err
