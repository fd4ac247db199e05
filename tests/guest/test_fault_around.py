"""How many page faults memory takes that is written for the first time: one for so many pages as `around=` says."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from paracell import runtimes
from paracell.container import Container
from paracell.emu.events import Kind, Who

if TYPE_CHECKING:
    from paracell.emu.events import Event

PAGES = 256  # in a MiB
PAGE_FAULT = 14


def faults(runtime: str, mebibytes: int, fault_around: int | None) -> int:
    """Count the page faults that the container kernel brings something in for, and a few returns from elsewhere."""

    def is_one(event: Event) -> bool:
        return event.kind is Kind.GATE_EXIT or (event.who is Who.USER and event.vector == PAGE_FAULT)

    # The PVM host keeps most of a shadow's misses to itself: each fault that it passes on has a return.
    kind = Kind.GATE_EXIT if runtime == runtimes.PVM.name else Kind.EXCEPTION
    with Container("touch", str(mebibytes), runtime=runtime, fault_around=fault_around, memory="64M") as c:
        events = c.record(kind)
        assert c.run().status == 0
        return sum(map(is_one, events))


@pytest.mark.parametrize("runtime", runtimes.RUNTIMES)
@pytest.mark.parametrize(("fault_around", "pages"), [(None, 4), (1, 1), (2, 2), (8, 8), (16, 16)])
def test_so_many_pages_come_with_a_fault(runtime: str, fault_around: int | None, pages: int) -> None:
    assert faults(runtime, 3, fault_around) - faults(runtime, 2, fault_around) == PAGES // pages


@pytest.mark.parametrize("around", [0, 3, 32])
def test_a_number_that_the_kernel_does_not_take(around: int) -> None:
    with Container("hello", runtime="native", append=f"around={around}", memory="64M") as c:
        end = c.run()
    assert end.status != 0
    assert f"around={around}: pages with a fault, a power of two up to 16" in end.stderr


def test_a_number_that_a_container_does_not_take() -> None:
    with pytest.raises(ValueError, match="3 pages with a fault; there are 1, 2, 4, 8, 16"):
        Container("hello", fault_around=3)
