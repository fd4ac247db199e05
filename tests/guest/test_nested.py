"""Containers under the outermost hypervisor: what they print is what they print without it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

from paracell.container import Container
from paracell.emu.events import Kind
from paracell.emu.nesting import NestedOptions
from paracell.emu.stop import Reason
from paracell.runtimes import RUNTIMES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from paracell.emu.events import Event

EPT_VIOLATION: Final = 48  # an exit reason
SCRIPT = "for i in 1 2 3; do echo $((i * i)) | sed s/4/four/; done; sleep 1; find / | wc -l"
PROGRAMS = [("hello",), ("busybox", "sh", "-c", SCRIPT), ("lat", "pipe", "5"), ("lat", "-e", "signal", "5")]


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("program", PROGRAMS, ids=" ".join)
def test_containers_print_the_same(runtime: str, program: tuple[str, ...]) -> None:
    ends = []
    for nested in (False, True):
        with Container(*program, runtime=runtime, nested=nested) as container:
            exits = container.record(Kind.VM_EXIT)
            ends.append(container.run())
            assert bool(exits) is (nested or runtime == "runv")
    bare, nested_end = ends
    assert (nested_end.reason, nested_end.status, nested_end.stderr) == (Reason.EXIT, bare.status, bare.stderr)
    if program[0] != "lat":  # which prints times
        assert nested_end.stdout == bare.stdout


def pages(container: Container) -> Iterator[tuple[int, int, int]]:
    """For each page of the container's that its host maps: world switches, exits to the outermost hypervisor, stores to tables."""
    kinds = (Kind.VM_EXIT, Kind.VM_ENTRY, Kind.TABLE_STORE, Kind.EPT_FILL, Kind.REFLECTION)
    with container:
        told = container.record(*kinds)
        assert container.run().reason is Reason.EXIT
        window: list[Event] = []
        reflected = False
        for event in told:
            if event.kind is Kind.VM_EXIT and event.source == 2 and not reflected:
                window = []
            window.append(event)
            if event.kind is Kind.REFLECTION:
                reflected = event.reason == EPT_VIOLATION
            elif event.kind is Kind.VM_ENTRY and event.target == 2 and reflected:
                if window[-2].kind is not Kind.EPT_FILL:  # back from L1; the page is touched again
                    continue
                exits = sum(e.kind is Kind.VM_EXIT for e in window)
                entries = sum(e.kind is Kind.VM_ENTRY for e in window)
                yield exits + entries, exits, sum(e.kind is Kind.TABLE_STORE for e in window)
                reflected = False


@pytest.mark.parametrize("eager", [False, True])
def test_a_fresh_page_of_a_container_above_runv(eager: bool) -> None:
    """2n + 6 switches and n + 3 exits, for as many stores to RunV's EPT as trapped."""
    found = list(pages(Container("hello", runtime="runv", nested=NestedOptions(eager=eager))))
    assert len(found) > 20
    assert all((switches, exits) == (2 * n + 6, n + 3) for switches, exits, n in found)
    assert {n for _, _, n in found} == ({1, 2} if eager else {1})


def test_a_fresh_page_of_a_native_container_costs_no_switch() -> None:
    """EPT01 maps all of L1's memory; what exits is what no page costs."""
    with Container("hello", runtime="native", nested=True) as container:
        exits = container.record(Kind.VM_EXIT)
        assert container.run().reason is Reason.EXIT
    assert EPT_VIOLATION not in {event.reason for event in exits}
