"""PVM: what a page fault costs in crossings between guest and host, counted in traces."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import pytest

from paracell.emu.events import Kind, Who
from paracell.emu.stop import Reason
from paracell.guest import shipped
from paracell.guest.rootfs import init_block
from paracell.machine import Machine
from paracell.runtimes import PVM

from .kernels import Typed, boot, tar_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from paracell.emu.events import Event
    from paracell.guest.multiboot import Module

COUNTED: Final = range(0x210000000000, 0x220000000000)  # of guest/programs/levels.c
LEVELS: Final = (4, 3, 2, 1)
ROOT: Final = 0xFFFFFFFFFF000  # of CR3
KERNEL_HALF: Final = 1 << 63


class Fault(NamedTuple):
    """One page fault of the program, up to its return.

    Attributes:
        switches: loads of CR3 from the host's root or to it.
        stores: to the guest's page tables, that trapped.
        strays: shadow entries that were missing or had to be given back, of pages of the container kernel's.

    """

    switches: int
    stores: int
    strays: int
    vm_exits: int


class Events:
    """A sink that keeps everything."""

    def __init__(self) -> None:
        self.all: list[Event] = []

    def emit(self, event: Event) -> None:
        """Take one event."""
        self.all.append(event)

    def close(self) -> None:
        """Nothing is buffered."""


def faults(options: str, *, nested: bool = False) -> Iterator[Fault]:
    """Run the program, and tell of the faults of its second round."""
    events = Events()
    rootfs = tar_of({"bin/levels": shipped.image("programs/levels").read_bytes()})
    machine = boot(
        PVM.name, rootfs, ["/bin/levels"], options=options, console=Typed(b""), memory=64 << 20, nested=nested
    )
    machine.add_sink(events)
    assert machine.run().reason is Reason.EXIT
    host = machine.symbols.address("boot_pml4")
    machine.close()
    told = iter(events.all)
    for event in told:
        if event.kind is Kind.EXCEPTION and event.who is Who.USER and event.address in COUNTED:
            yield count(told, host, event.address)


def count(told: Iterator[Event], host: int | None, address: int) -> Fault:
    """Count until the program has its page: the first of its own events that is no fault there is behind it."""
    switches = stores = strays = vm_exits = 0
    for event in told:
        if event.kind is Kind.CR3_LOAD:
            switches += (event.old & ROOT == host) != (event.new & ROOT == host)
        elif event.kind is Kind.EXCEPTION and event.who is Who.KERNEL:
            assert event.vector == 14
            assert event.address >= KERNEL_HALF
            if event.error == 7:  # a page that is there, and written
                stores += 1
            else:
                strays += 1
        elif event.kind is Kind.VM_EXIT:
            vm_exits += 1
        elif event.who is Who.USER and event.kind is not Kind.PAGE_WALK and event.data[-1] != address:
            break
    return Fault(switches, stores, strays, vm_exits)


@pytest.mark.parametrize("nested", [False, True])
def test_eager_every_store_to_a_table_traps(nested: bool) -> None:
    """With n entries written, 2n + 4 switches: the fault and its injection, each store and its emulation, the return and its prefault.

    The outermost hypervisor has no part in any of them.
    """
    assert list(faults("eager=1", nested=nested)) == [Fault(2 * n + 4, n, 0, 0) for n in LEVELS]


@pytest.mark.parametrize("nested", [False, True])
def test_lazy_a_new_chain_of_tables_traps_once(nested: bool) -> None:
    """A table is protected when it is first shadowed: what is linked in one go traps at its first entry."""
    assert list(faults("eager=0", nested=nested)) == [Fault(6, 1, 0, 0)] * len(LEVELS)


@pytest.mark.parametrize(("options", "stores"), [("eager=1 prefault=0", LEVELS), ("prefault=0", (1, 1, 1, 1))])
def test_without_prefault_the_program_faults_once_more(options: str, stores: tuple[int, ...]) -> None:
    """It comes back to a shadow that still has nothing."""
    for fault, n in zip(faults(options), stores, strict=True):
        assert fault.stores == n
        assert fault.switches == 2 * n + 6


def container(name: str, *arguments: str) -> tuple[Module, ...]:
    """The modules of one container with one program."""
    program = shipped.image(name)
    rootfs = tar_of({"bin/it": program.read_bytes(), "tmp/x": b""})
    return PVM.modules(rootfs, init_block(["/bin/it", *arguments], []))


def outcome(modules: tuple[Module, ...]) -> tuple[bytes, bytes]:
    """Run containers on one host to their end: what they wrote, and what kernels and host had to say."""
    console = Typed(b"")
    with Machine.boot(PVM.image, modules=modules, memory=96 << 20, console=console) as machine:
        assert machine.run().reason is Reason.EXIT
    return bytes(console.sent[0]), bytes(console.sent[1])


def test_containers_share_a_host() -> None:
    """Two at once and a third behind them, with address spaces, threads and signals of their own; their lines are mixed."""
    programs = [("linux/processes",), ("linux/signals",), ("linux/threads",)]
    alone = [outcome(container(*program))[0] for program in programs]
    out, err = outcome(sum((container(*program) for program in programs), ()))
    assert b"killed" not in err
    assert b"panic" not in err
    assert sorted(out) == sorted(b"".join(alone))
