"""When a container's pages become host memory: static memory, and 2 MiB that stay together."""

from __future__ import annotations

import shutil
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from paracell import Container
from paracell.emu.events import Kind
from paracell.guest import shipped
from paracell.guest.rootfs import init_block
from paracell.machine import Machine
from paracell.pager.policies import POLICIES, check
from paracell.runtimes import RUNV

from .kernels import Typed, tar_of
from .test_host_memory import address_in_host, host_pages

if TYPE_CHECKING:
    from collections.abc import Sequence

DIRECT: Final = 0xFFFF900000000000  # guest/host/core/layout.h
LARGE: Final = 2  # guest/host/core/binding.c
MEMORY: Final = 64 << 20
PAGE: Final = 4096
BUSYBOX: Final = shutil.which("busybox")
TOUCH: Final = shipped.image("programs/touch")
needs_busybox = pytest.mark.skipif(BUSYBOX is None, reason="busybox-static is not installed")


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
            whole, _, held[policy] = host_pages(container)
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
            held[policy] = host_pages(container)[2]
    tables = held["static"] - held["static-2m"]
    assert 20 < tables <= 32, (
        "a leaf table of the EPT for each 2 MiB of 64, but for where the kernel and its modules lie"
    )


def in_a_queue(scripts: Sequence[str], options: str) -> tuple[str, Machine]:
    """Run one container after the other under RunV, two at a time; what they wrote, and the machine behind its end."""
    rootfs = tar_of({"bin/busybox": Path(BUSYBOX or "").read_bytes(), "bin/touch": TOUCH.read_bytes()})
    modules = [
        m for script in scripts for m in RUNV.modules(rootfs, init_block(["/bin/busybox", "sh", "-c", script], []))
    ]
    console = Typed(b"")
    machine = Machine.boot(RUNV.image, modules=modules, append=options, memory=MEMORY, runtime=RUNV, console=console)
    machine.run()
    assert not console.sent[1], console.sent[1].decode()
    return console.sent[0].decode(), machine


@needs_busybox
def test_what_came_back_in_one_piece_goes_out_in_one_piece() -> None:
    """The third container's memory is that of the first one, of which all is 2 MiB; the second one is still there."""
    out, machine = in_a_queue(["echo 1", "/bin/busybox sleep 9; echo 2", "echo 3"], "policy=static-2m")
    with machine:
        host_pages(machine)
        bound = _bound_in_slot_0(machine)
    assert out.split() == ["1", "3", "2"]
    assert (
        sum(entry & LARGE for entry in bound) >= 10 * 512 * LARGE
    )  # of 32 MiB, but for the kernel, modules and tables


def _bound_in_slot_0(machine: Machine) -> list[int]:
    """Give what the host has bound for the last container in its first slot: host-physical addresses, with flags."""
    slots = address_in_host("runv-host.elf", "slots", 16)
    array = int.from_bytes(machine.memory[slots : slots + 8], "little") - DIRECT
    pages = MEMORY // PAGE
    return list(struct.unpack(f"<{pages}Q", machine.memory[array : array + 8 * pages]))


@needs_busybox
def test_what_was_split_is_one_piece_again() -> None:
    """2 MiB go page by page to the balloon, come back, and are touched: the table that had mapped the pages is not lost."""
    script = "/bin/touch 12; /bin/busybox sleep 4; /bin/touch 12; echo done"
    out, machine = in_a_queue(
        [script, script, "echo done"], "policy=balloon ept=2m balloon=60 balloon_at=1 balloon_until=2"
    )
    with machine:
        host_pages(machine)
    assert out == "done\n" * 3


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
