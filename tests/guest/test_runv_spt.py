"""RunV with shadow paging in place of EPT (mmu=spt): what a page costs, bare and nested; two containers; what it does not have."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest
from attrs import evolve, frozen

from paracell.attacks import ATTACKS, run
from paracell.container import Container
from paracell.emu.events import Kind
from paracell.emu.stop import Reason

from .test_runv import Ran

if TYPE_CHECKING:
    from collections.abc import Iterator

    from paracell.emu.events import Event

USERS: Final = 1 << 47  # the end of the programs' addresses
EXCEPTION, VMRESUME, INVVPID = 0, 24, 53  # exit reasons
SPT: Final = "mmu=spt"
SCRIPT: Final = "for i in 1 2 3 4 5 6; do echo $i | cat; done"


@frozen
class Fresh:
    """What came from a program's first touch of a page until it had the page."""

    switches: int
    exits: int  # to whoever is outermost
    between: int  # page faults of the kernel's: stores to its tables, and its own first touch of the page, to clear it
    flushes: int  # INVVPIDs that exited


def fresh_pages(nested: bool, options: str) -> Iterator[Fresh]:
    """A page fault exits and is given to the kernel, which stores to its tables; the next one exits, and the host fills its own."""
    with Container(
        *("touch", "4"), runtime="runv", append=f"{SPT} {options}", nested=nested, fault_around=1, memory="64M"
    ) as container:
        told = container.record(Kind.VM_EXIT, Kind.VM_ENTRY)
        assert container.run().status == 0
    guest, touched = 2 if nested else 1, 0
    window: list[Event] = []
    for event in told:
        window.append(event)
        if event.kind is not Kind.VM_EXIT or (event.source == 1 and event.reason in {VMRESUME, INVVPID} and nested):
            continue
        if event.source != guest or event.reason != EXCEPTION:
            touched = 0  # a timer or a port came between
        elif event.qualification < USERS:
            faults = [e for e in window if e.kind is Kind.VM_EXIT and e.source == guest]
            if event.qualification == touched and len(faults) > 2:
                exits = [e for e in window if e.kind is Kind.VM_EXIT and e.target == 0]
                flushes = sum(e.reason == INVVPID and e.source == 1 for e in exits)
                # The way back into the guest is not there yet: L1's VMRESUME and two entries, or one.
                yield Fresh(len(window) + 1 + 2 * nested, len(exits) + nested, len(faults) - 2, flushes)
            touched, window = event.qualification, [event]


@pytest.mark.parametrize("options", ["eager=1", "eager=0"])
def test_a_fresh_page_costs_2n_plus_4_switches(options: str) -> None:
    """For n page faults of the kernel's in between, as docs/vmx.md derives it."""
    found = set(fresh_pages(False, options))
    assert found == {Fresh(2 * f.between + 4, f.between + 2, f.between, 0) for f in found}
    assert min(f.between for f in found) == (2 if options == "eager=1" else 1)


@pytest.mark.parametrize("options", ["eager=1", "eager=0"])
def test_above_an_outermost_hypervisor_it_costs_4n_plus_8_switches(options: str) -> None:
    """Each exit goes to L0 and from there to L1, and back the same way; L1's INVVPID exits, too."""
    found = set(fresh_pages(True, options))
    assert found == {
        Fresh(4 * f.between + 8 + 2 * f.flushes, 2 * f.between + 4 + f.flushes, f.between, f.flushes) for f in found
    }
    assert min(f.between for f in found) == (2 if options == "eager=1" else 1)


def test_two_containers_share_the_host() -> None:
    ran = Ran([("hello",), ("lat", "pipe", "20"), ("segv",), ("hello",)], SPT, 96 << 20)
    assert ran.status == 0
    assert ran.out.count("Hello from a container.") == 2
    assert "SIGSEGV" in ran.err
    whole, free, held = ran.pages
    assert free + held == whole


def test_a_page_fault_exits_and_no_ept_is_there() -> None:
    ran = Ran([("hello",)], SPT)
    assert not ran.of(Kind.EPT_VIOLATION)
    assert [e for e in ran.of(Kind.VM_EXIT) if e.reason == EXCEPTION]


@pytest.mark.parametrize("memory", ["24M", "14M"])
def test_little_memory_for_shadow_tables_will_do(memory: str) -> None:
    """Tables are dropped and made again; the program does not notice."""
    with Container("busybox", "sh", "-c", SCRIPT, runtime="runv", append=SPT, memory=memory) as container:
        end = container.run()
    assert (end.status, end.stdout) == (0, "1\n2\n3\n4\n5\n6\n")


def test_real_mode_is_not_there_and_the_host_says_so() -> None:
    attack = next(a for a in ATTACKS if a.name == "runv-realmode")
    outcome = run(evolve(attack, options=f" {SPT}"))
    assert outcome.stop.reason is Reason.EXIT
    assert "container 0 is killed: mmu=spt has no real mode; at" in outcome.err
