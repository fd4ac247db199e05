"""The meter of memory: it says what page tables and lists say, and a run is the same with it."""

from __future__ import annotations

import shutil
import struct
from itertools import cycle
from typing import TYPE_CHECKING, Final

import pytest

from paracell.compare.guest_memory import Host, free_pages
from paracell.compare.meter import Curve, Meter, Sample, sample, saved
from paracell.container import Container
from paracell.emu.clock import TSC_HZ
from paracell.emu.events import Kind, Who

from ..model import memory_use
from ..model.memory_use import KERNEL_DIRECT, PAGE, STRUCT_PAGE

if TYPE_CHECKING:
    from collections.abc import Callable

    from paracell.compare.guest_memory import Pages
    from paracell.emu.events import Event

needs_busybox = pytest.mark.skipif(shutil.which("busybox") is None, reason="busybox-static is not installed")
SCRIPT: Final = "for i in 1 2 3; do (echo $i; ls / | wc -l) | cat; done; find / -type f | sort | head -5"
PROGRAMS: Final = {"refault": ("lat", "-e", "refault", "3000"), "shell": ("busybox", "sh", "-c", SCRIPT)}
CALLS: Final = {"refault": 4, "shell": 90}
SETUPS: Final = [("paracell", True), ("paracell", False), ("runv", True), ("runv", False)]
setups = pytest.mark.parametrize(("runtime", "pager"), SETUPS)


def ours(container: Container) -> tuple[int, int, int, int, int]:
    """What the meter would say now."""
    pages = Host(container).pages()
    assert pages is not None
    seen = sample(0, pages)
    return seen.bound, seen.used, seen.inner, seen.lag, seen.lists


def every(number: int) -> Callable[[Event], bool]:
    """A condition for `run_until`: a program calls its kernel, and nobody is in the middle of a list."""
    turns = cycle(range(number))

    def is_one(event: Event) -> bool:
        called = event.kind is Kind.GATE_ENTER or (event.kind is Kind.SYSCALL and event.who is Who.USER)
        return called and next(turns) == 0

    return is_one


@needs_busybox
@setups
@pytest.mark.parametrize("program", PROGRAMS)
def test_it_says_what_tables_and_lists_say(program: str, runtime: str, pager: bool) -> None:
    with Container(*PROGRAMS[program], runtime=runtime, pager=pager, memory="48M") as container:
        seen, asked = [], every(CALLS[program])
        while container.run_until(asked).event is not None:
            use = memory_use.look(container)
            assert ours(container) == use.counts()
            seen.append(use.counts())
    assert len(seen) > 4
    assert any(inner or lag for _, _, inner, lag, _ in seen)
    assert any(lists for *_, lists in seen)


@pytest.mark.parametrize("mistake", ["a free page", "a bound page", "a listed page"])
def test_a_mistake_is_seen(mistake: str) -> None:
    """Each in one word of what the meter reads."""
    with Container("lat", "-e", "refault", "300", memory="48M") as container:
        container.run_until("lat!main")
        pages = Host(container).pages()
        assert pages is not None
        assert ours(container) == memory_use.look(container).counts()
        _plant(container, pages, mistake)
        assert ours(container) != memory_use.look(container).counts()


def _plant(container: Container, pages: Pages, mistake: str) -> None:
    addresses = memoryview(pages.addresses).cast("Q")
    if mistake == "a bound page":
        array = int.from_bytes(container.memory[(at := pages_of_host(container)) : at + 8], "little")
        page = next(page for page in range(len(addresses) - 1, 0, -1) if addresses[page])
        container.memory.write64(array - memory_use.HOST_DIRECT + 8 * page, 0)
        return
    wanted = 1 if mistake == "a free page" else 2
    array = pages.word("pages") - KERNEL_DIRECT
    for page in range(pages.word("frontier") - 1, 0, -1):
        gpa = array + STRUCT_PAGE * page + 5
        at = (addresses[gpa // PAGE] & -PAGE) + gpa % PAGE
        if addresses[page] and container.memory[at : at + 1] == bytes([wanted]):
            container.memory.write(at, b"\3")
            return
    pytest.fail(f"there is no {mistake} that is bound")


def pages_of_host(container: Container) -> int:
    """Where the host keeps the address of its record of what is bound: guest/host/core/host.h, struct container."""
    return container.symbols["paracell-host.elf!containers"] - memory_use.HOST_BASE + 48


@pytest.mark.parametrize("nested", [False, True], ids=["bare", "nested"])
@pytest.mark.parametrize("runtime", ["paracell", "runv", "pvm"])
def test_a_run_is_the_same_with_it(runtime: str, nested: bool) -> None:
    runs = []
    for with_meter in (False, True):
        with Container("lat", "-e", "fork", "3", runtime=runtime, nested=nested, memory="48M") as container:
            told = container.record()
            if with_meter:
                curve = Meter(container, period=5_000).run()
            else:
                container.run()
            runs.append((list(told), container.stdout, container.cycles))
    assert runs[0] == runs[1]
    assert len(curve.samples) > 10
    assert curve.end == runs[0][2]


@needs_busybox
@pytest.mark.parametrize("runtime", ["paracell", "runv", "pvm"])
def test_a_sleep_is_one_sample_of_its_beginning(runtime: str) -> None:
    """What held before a sleep holds during it, and most of the time is sleep."""
    with Container("busybox", "sleep", "5", runtime=runtime, memory="48M") as container:
        curve = Meter(container).run()
    samples, ends = curve.samples, [*(seen.at for seen in curve.samples[1:]), curve.end]
    longest = max(range(len(samples)), key=lambda i: ends[i] - samples[i].at)
    assert ends[longest] - samples[longest].at >= 5 * TSC_HZ
    assert len(samples) < 8


def test_parts_add_up() -> None:
    with Container("lat", "-e", "refault", "300", memory="48M") as container:
        curve = Meter(container, period=100_000).run()
    for seen in curve.samples:
        assert seen.bound == seen.used + seen.inner + seen.lag + seen.lists
        assert min(seen.used, seen.inner, seen.lag, seen.lists, seen.tables) >= 0
    assert 0 < curve.waste < 0.5


def test_both_means_and_both_savings() -> None:
    """Four pages for a time of 3 and 12 for a time of 1, of which 2 are used; beside one that has 2 bound throughout."""
    other = Curve((Sample(10, 4, 2, 2, 0, 0, 1), Sample(40, 12, 2, 0, 10, 0, 1)), 50)
    lean = Curve((Sample(10, 2, 2, 0, 0, 0, 1),), 50)
    assert other.waste == pytest.approx((3 * 2 / 4 + 10 / 12) / 4)
    assert other.waste_of_means == pytest.approx(1 - 80 / 240)
    assert (other.bound_time, other.used_time, other.time) == (240, 80, 40)
    assert saved(lean, other).waste == pytest.approx(other.waste)
    assert saved(lean, other).bound == pytest.approx(1 - 80 / 240)
    assert other.mean("lag") == pytest.approx(2.5)


@pytest.mark.parametrize(
    ("runtime", "period", "says"),
    [
        ("native", 1, "native has no host: no memory is bound, and there is nothing to measure"),
        ("paracell", 0, "a period is a positive number of cycles, not 0"),
    ],
)
def test_what_cannot_be_measured(runtime: str, period: int, says: str) -> None:
    with Container("hello", runtime=runtime, memory="48M") as container, pytest.raises(ValueError, match=f"^{says}$"):
        Meter(container, period)


def test_pages_that_llfree_has_free_are_as_many_as_its_children_count() -> None:
    """The meter reads the fields, a bit for each page; the children's words count, too."""
    with Container("lat", "-e", "refault", "3000", memory_policy="hyperalloc", memory="48M") as container:
        seen, asked = set(), every(4)
        while container.run_until(asked).event is not None:
            pages = Host(container).pages()
            assert pages is not None
            _, _, trees, children = struct.unpack("<4Q", pages.read(pages.place["llfree"], 32))
            words = memoryview(pages.read(children - KERNEL_DIRECT, 2 * 8 * trees)).cast("H")
            free, _ = free_pages(pages)
            assert free.bit_count() == sum(word & 0x3FF for word in words)
            seen.add(free)
    assert len(seen) > 2
