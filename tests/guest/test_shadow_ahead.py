"""Shadow tables that are filled ahead with Pager: which page faults are left, and that nothing is mapped that may not be."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final, NamedTuple

import pytest
from attrs import define

from paracell.container import Container
from paracell.emu.events import Kind, Who
from paracell.guest import shipped
from paracell.runtimes import PVM

from .test_host_memory import address_in_host

if TYPE_CHECKING:
    from collections.abc import Iterator

    from paracell.emu.events import Event

PASSED: Final = 42  # the exit status of guest/linux
PAGER: Final = 0x70616765  # the hypercall
PAGE_FAULT, VMCALL = 0, 18  # exit reasons
USERS: Final = 1 << 47  # the end of the programs' addresses
OFFSET: Final = (1 << 39) - 1  # in the host's direct map
PRESENT, WRITABLE, ADDRESS = 1, 2, 0x000F_FFFF_FFFF_F000
FRAME: Final = "<QQQQB7x"  # guest/shadow/shadow.h: mappings, tables, next_unsynced, gpa, unsynced
GUEST_SLOTS: Final = range(288)  # of level 4; the others are the host's
ON_PVM: Final = [
    ("touch", "8"),
    ("lat", "-e", "fork", "10"),
    ("lat", "-e", "exec", "10"),
    ("lat", "-e", "refault", "600"),
]


class Faults(NamedTuple):
    """Page faults that came to the host behind the first request: that it answered by filling its tables, and the stores to tables."""

    fills: int
    stores: int


def pvm_faults(*program: str, options: str = "", pager: bool = True, nested: bool = False) -> Faults:
    """A fill goes back to the instruction that faulted.  Error code: bit 0, it was mapped; bit 1, it was a store."""
    with Container(
        *program, runtime="pvm", pager=pager, append=options, memory="64M", nested=nested, fault_around=4
    ) as container:
        told = container.record(Kind.EXCEPTION, Kind.IRET, Kind.SYSRET, Kind.HYPERCALL)
        assert container.run().status == (PASSED if "linux" in program[0] else 0)
    first = next((i for i, e in enumerate(told) if e.kind is Kind.HYPERCALL and e.nr == PAGER), 0)
    fills = stores = 0
    for event, behind in zip(told[first:], told[first + 1 :], strict=False):
        if event.kind is Kind.EXCEPTION and event.vector == 14:
            again = behind.kind is Kind.IRET and behind.to == event.rip
            fills += again and not event.error & 1
            stores += event.who is Who.KERNEL and event.error & 3 == 3
            assert not again or event.error & 1 == 0 or event.who is Who.KERNEL
    return Faults(fills, stores)


@pytest.mark.parametrize(
    ("program", "nested"),
    [*((program, False) for program in ON_PVM), (ON_PVM[0], True)],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "nested" if value else "bare",
)
@pytest.mark.parametrize("options", ["", "eager=1"], ids=["lazy", "eager"])
def test_pvm_fills_nothing_at_a_touch(program: tuple[str, ...], options: str, nested: bool) -> None:
    assert pvm_faults(*program, options=options, nested=nested).fills == 0


def test_the_control_fills_at_each_touch() -> None:
    without, with_pager = (pvm_faults("touch", "8", pager=on) for on in (False, True))
    assert without.fills > 2048
    assert with_pager.stores <= without.stores


@pytest.mark.parametrize("options", ["", "eager=1"], ids=["lazy", "eager"])
@pytest.mark.parametrize("area", ["memory", "signals"])
def test_programs_that_store_into_fresh_pages_by_system_calls(area: str, options: str) -> None:
    """Eager: nothing either.  Lazy: what their kernel maps in a system call, which goes back past the host, comes with one fault."""
    path = str(shipped.image(f"linux/{area}"))
    fills, control = (pvm_faults(path, options=options, pager=on).fills for on in (True, False))
    assert fills <= (0 if options else 8)
    assert control > 60


def runv_faults(*program: str, options: str, pager: bool = True, nested: bool = False) -> tuple[int, int, int]:
    """Page faults of the program's at a first exit and at a second one, at once behind the way back; and of its kernel's."""
    with Container(
        *program,
        runtime="runv",
        pager=pager,
        append=f"mmu=spt {options}",
        memory="64M",
        nested=nested,
        fault_around=1,
    ) as container:
        told = container.record(Kind.VM_EXIT)
        assert container.run().status == 0
    guest = 2 if nested else 1
    exits = [e for e in told if e.source == guest]
    first = next((i for i, e in enumerate(exits) if e.reason == VMCALL), 0)
    firsts = seconds = kernels = fault = 0
    for event in exits[first:]:
        if event.reason != PAGE_FAULT:
            continue
        if event.who is Who.KERNEL:
            kernels += 1
        elif event.qualification == fault:
            seconds, fault = seconds + 1, 0
        else:
            firsts, fault = firsts + 1, event.qualification
    return firsts, seconds, kernels


@pytest.mark.parametrize("nested", [False, True], ids=["bare", "nested"])
def test_runv_fills_nothing_at_a_touch_if_each_store_traps(nested: bool) -> None:
    firsts, seconds, kernels = runv_faults("touch", "4", options="eager=1", nested=nested)
    assert 1024 <= firsts < 1024 + 16
    assert seconds == 0
    assert kernels <= firsts + 16  # each a store of one entry


def test_runv_fills_once_behind_a_run_of_stores_if_the_first_alone_traps() -> None:
    """The host sees no store to a table that it has let go; its kernel's own pages are there, whatever the policy."""
    firsts, seconds, kernels = runv_faults("touch", "4", options="")
    assert seconds <= firsts
    assert kernels < 16
    _, _, without = runv_faults("touch", "4", options="", pager=False)
    assert without > 1024


@define
class Mapped:
    """A sink: at some exceptions behind the first request, it looks through the shadow tables that the processor has."""

    container: Container
    begun: bool = False
    exceptions: int = 0
    leaves: int = 0

    def emit(self, event: Event) -> None:
        """Follow one event."""
        self.begun |= event.kind is Kind.HYPERCALL and event.nr == PAGER
        if self.begun and event.kind is Kind.EXCEPTION:
            self.exceptions += 1
            if self.exceptions % 16 == 0:
                self.look()

    def close(self) -> None:
        """Nothing is buffered."""

    def _word(self, hpa: int) -> int:
        return self.container.inner.memory.read64(hpa)

    def _leaves(self, table: int, level: int, slots: range) -> Iterator[int]:
        words = struct.unpack("<512Q", self.container.inner.memory.read(table, 4096))
        for slot in slots:
            if words[slot] & PRESENT:
                if level == 1:
                    yield words[slot]
                else:
                    yield from self._leaves(words[slot] & ADDRESS, level - 1, range(512))

    def look(self) -> None:
        """Each leaf leads to a page that is bound; one that has shadows, and is not let go, is not writable."""
        memory = self.container.inner.memory
        frames, slot = (
            self._word(address_in_host(PVM.boots, name, size)) & OFFSET for name, size in (("frames", 8), ("slots", 16))
        )
        bound = {w & ADDRESS for w in struct.unpack(f"<{16384}Q", memory.read(slot, 8 * 16384)) if w}
        for leaf in self._leaves(self.container.inner.cpu.cr3 & ADDRESS, 4, GUEST_SLOTS):
            hpa = leaf & ADDRESS
            assert hpa in bound
            _, tables, _, _, unsynced = struct.unpack(FRAME, memory.read(frames + 40 * (hpa >> 12), 40))
            assert not (leaf & WRITABLE and tables and not unsynced)
            self.leaves += 1


@pytest.mark.parametrize("options", ["", "eager=1"], ids=["lazy", "eager"])
@pytest.mark.parametrize("program", [("lat", "-e", "refault", "1200"), ("lat", "-e", "exec", "20")], ids=" ".join)
def test_what_is_mapped_is_bound_and_tables_are_read_only(program: tuple[str, ...], options: str) -> None:
    with Container(*program, runtime="pvm", pager=True, append=options, memory="64M") as container:
        mapped = Mapped(container)
        container.inner.add_sink(mapped)
        assert container.run().status == 0
    assert mapped.leaves > 1000


@pytest.mark.parametrize("memory", ["24M", "14M"])
@pytest.mark.parametrize(("runtime", "options"), [("pvm", ""), ("pvm", "eager=1"), ("runv", "mmu=spt")])
def test_little_memory_for_shadow_tables_will_do(runtime: str, options: str, memory: str) -> None:
    """What cannot be made ahead is made at a fault."""
    with Container(
        str(shipped.image("linux/processes")),
        runtime=runtime,
        append=options,
        memory=memory,
        pager=True,
    ) as container:
        assert container.run().status == PASSED
