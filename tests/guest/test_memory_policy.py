"""When a container's pages become host memory: static memory, and 2 MiB that stay together."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

import pytest

from paracell import Container
from paracell.emu.events import Kind
from paracell.guest.rootfs import init_block
from paracell.machine import Machine
from paracell.pager.policies import POLICIES, check
from paracell.runtimes import RUNV

from .kernels import Typed

if TYPE_CHECKING:
    from paracell.machine import Machine as Anything

BASE: Final = 0xFFFFFFFFC0000000  # guest/host/core/layout.h
PAGE: Final = 4096


def pool(machine: Anything) -> tuple[int, int, int]:
    """Give the host's pages: all, free, held."""
    at = machine.symbols["host_memory"] - BASE
    whole, free, held = struct.unpack("<QQQ", machine.memory[at : at + 24])
    assert free + held == whole
    return whole, free, held


@pytest.mark.parametrize(("policy", "runtime"), [(p.name, r) for p in POLICIES.values() for r in p.runtimes])
def test_a_program_runs_the_same(policy: str, runtime: str) -> None:
    with Container("hello", runtime="native", memory="32M") as container:
        expected = container.run()
    with Container("hello", runtime=runtime, memory_policy=policy, memory="32M") as container:
        end = container.run()
    assert (end.status, end.stdout, end.stderr) == (0, expected.stdout, "")


@pytest.mark.parametrize("runtime", POLICIES["static"].runtimes)
def test_static_memory_is_all_there_from_the_start(runtime: str) -> None:
    """Nothing is bound later; the control is a page that is bound when it is touched."""
    held, violations = {}, {}
    for policy in ("static", "touch"):
        with Container("touch", "4", runtime=runtime, memory_policy=policy, memory="32M") as container:
            told = container.record(Kind.EPT_VIOLATION)
            assert container.run().status == 0
            whole, _, held[policy] = pool(container)
            violations[policy] = len(told)
    assert held["static"] > whole * 0.9, "the rest is kept for tables"
    assert held["touch"] < held["static"] / 3
    assert not violations["static"]
    assert bool(violations["touch"]) == (runtime == "runv")


def test_two_mebibytes_at_a_time_are_one_entry_each() -> None:
    """Page by page there is a table for each of them besides."""
    held = {}
    for policy in ("static", "static-2m"):
        with Container("hello", runtime="runv", memory_policy=policy, memory="64M") as container:
            assert container.run().status == 0
            held[policy] = pool(container)[2]
    tables = held["static"] - held["static-2m"]
    assert 20 < tables <= 32, (
        "a leaf table of the EPT for each 2 MiB of 64, but for where the kernel and its modules lie"
    )


def test_what_came_back_in_one_piece_goes_out_in_one_piece() -> None:
    """Three containers, two at a time: the third one's memory is the first one's."""
    modules = [m for _ in range(3) for m in RUNV.modules(bytes(PAGE), init_block(["/nothing"], []))]
    console = Typed(b"")
    with Machine.boot(
        RUNV.image, modules=modules, append="policy=static-2m", memory=64 << 20, runtime=RUNV, console=console
    ) as machine:
        machine.run()
        pool(machine)
    assert console.sent[1].decode().count("cannot run /nothing") == 3


@pytest.mark.parametrize(
    ("policy", "runtime", "says"),
    [
        ("nothing", "runv", "no such memory policy: nothing; there are touch, pager"),
        ("static-2m", "paracell", "memory policy static-2m: paracell cannot work by it; runv can"),
        ("touch", "native", "memory policy touch: native has no host that could bind pages; paracell, pvm, runv can"),
    ],
)
def test_a_policy_that_cannot_be(policy: str, runtime: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        check(policy, runtime)
    with pytest.raises(ValueError, match=says):
        Container("hello", runtime=runtime, memory_policy=policy)


def test_a_policy_and_pager_besides() -> None:
    with pytest.raises(ValueError, match="one of them is enough"):
        Container("hello", pager=True, memory_policy="touch")


def test_a_host_that_does_not_know_the_policy_says_so() -> None:
    with Container("hello", append="policy=wishful") as container:
        assert container.run().stderr == "paracell: kernel panic: option policy= names no memory policy\n"
