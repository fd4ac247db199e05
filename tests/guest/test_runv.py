"""RunV: when pages are bound, what exits, two containers beside each other, and how one that does wrong ends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

from paracell.emu.events import Kind, Who
from paracell.emu.stop import Reason
from paracell.guest import shipped
from paracell.guest.rootfs import init_block
from paracell.machine import Machine
from paracell.runtimes import RUNV

from .kernels import Typed, tar_of
from .test_host_memory import host_pages

if TYPE_CHECKING:
    from collections.abc import Sequence

    from paracell.emu.events import Event
    from paracell.guest.multiboot import Module

MEMORY: Final = 64 << 20
PAGE: Final = 4096
LARGE: Final = 2 << 20
HLT, EPT_VIOLATION = 12, 48  # exit reasons
PROGRAM: Final = ("lat", "pipe", "20")
TOUCH: Final = ("touch", "16")
SLEEPS: Final = ("linux/limits",)


def container(command: Sequence[str]) -> Sequence[Module]:
    """Make the modules of one container."""
    name, *arguments = command
    rootfs = tar_of({"bin/it": shipped.image(name if "/" in name else f"programs/{name}").read_bytes()})
    return RUNV.modules(rootfs, init_block(["/bin/it", *arguments], []))


class Ran:
    """What containers said and did; `pages` of the host at the end: all, free, held."""

    def __init__(self, commands: Sequence[Sequence[str]], options: str = "", memory: int = MEMORY) -> None:
        modules = [m for command in commands for m in container(command)]
        console = Typed(b"")
        self.events: list[Event] = []
        with Machine.boot(
            RUNV.image, modules=modules, append=options, memory=memory, runtime=RUNV, console=console
        ) as machine:
            machine.inner.add_sink(self)
            end = machine.run()
            assert end.reason is Reason.EXIT, str(end)
            self.pages = host_pages(machine)
        self.status, self.out, self.err = end.status, console.sent[0].decode(), console.sent[1].decode()

    def emit(self, event: Event) -> None:
        """Take one event."""
        self.events.append(event)

    def close(self) -> None:
        """Nothing is buffered."""

    def of(self, kind: Kind) -> list[Event]:
        """Give the events of a kind."""
        return [e for e in self.events if e.kind is kind]


def test_a_page_is_bound_when_it_is_first_touched_and_never_again() -> None:
    ran = Ran([PROGRAM])
    touched = [event.gpa // PAGE for event in ran.of(Kind.EPT_VIOLATION)]
    assert len(touched) > 30
    assert len(touched) == len(set(touched))


def test_pages_of_2_mib_are_an_option() -> None:
    small, large = Ran([TOUCH]), Ran([TOUCH], "ept=2m")
    assert (large.status, large.out) == (small.status, small.out)
    assert len(large.of(Kind.EPT_VIOLATION)) < len(small.of(Kind.EPT_VIOLATION)) / 10
    ranges = [
        r for event in large.of(Kind.EPT_VIOLATION) if (r := event.gpa // LARGE) > 1
    ]  # in the others something is bound
    assert len(ranges) == len(set(ranges)) > 3


def test_pages_of_2_mib_where_too_few_lie_together() -> None:
    ran = Ran([TOUCH], "ept=2m", 24 << 20)
    assert ran.status == 0
    assert len(ran.of(Kind.EPT_VIOLATION)) > 5


def test_the_host_runs_in_root_operation_and_the_kernel_in_the_guest() -> None:
    ran = Ran([("hello",)])
    kinds = {who: {e.kind for e in ran.events if e.who is who} for who in Who if who is not Who.HOST}
    assert Kind.SYSCALL in kinds[Who.USER]
    assert Kind.SYSRET in kinds[Who.KERNEL]
    assert {e.who for e in ran.of(Kind.PORT)} == {Who.HOST}  # each of the guest's has exited
    assert {e.who for e in ran.of(Kind.VM_ENTRY)} == {Who.HOST}
    assert not [e for e in ran.of(Kind.CR3_LOAD) if e.who is Who.HOST][2:]  # the host never changes its tables


def test_two_containers_share_the_host_and_end_one_by_one() -> None:
    ran = Ran([("hello",), PROGRAM, ("segv",), ("hello",)], memory=96 << 20)
    assert ran.status == 0
    assert ran.out.count("Hello from a container.") == 2
    assert "SIGSEGV" in ran.err
    whole, free, held = ran.pages
    assert free + held == whole
    assert 0 < held < whole  # those of the last one, which nobody takes away any more


def test_an_idle_container_lets_the_other_one_run() -> None:
    """The other one begins when the first one sleeps for the first time, and has ended when that sleeps again."""
    alone, beside = Ran([SLEEPS]), Ran([SLEEPS, ("hello",)], memory=96 << 20)
    between = []
    for ran in (alone, beside):
        first, second, *_ = (i for i, e in enumerate(ran.events) if e.kind is Kind.VM_EXIT and e.reason == HLT)
        between.append(second - first)
    assert between[1] > 10 * between[0]
    before, hello, behind = beside.out.partition("Hello from a container.\n")
    assert alone.out.startswith(before)
    assert hello
    assert alone.out.endswith(behind[-100:])


@pytest.mark.parametrize("features", ["pks,-x2apic,-tsc-deadline", "pku", "pks,-rdtscp,-invpcid"])
def test_what_the_processor_lacks_the_host_emulates_or_hides(features: str) -> None:
    modules = container(PROGRAM)
    console = Typed(b"")
    with Machine.boot(RUNV.image, modules=modules, memory=MEMORY, runtime=RUNV, console=console, cpu=features) as m:
        assert m.run().status == 0
    said, _, cycles = console.sent[0].decode().partition(":")
    assert said == Ran([PROGRAM]).out.partition(":")[0]
    assert cycles.endswith("cycles each (20 times)\n")


def test_a_processor_without_vmx_is_one_line() -> None:
    console = Typed(b"")
    modules = container(("hello",))
    with Machine.boot(RUNV.image, modules=modules, memory=MEMORY, console=console) as m:  # a model without VMX
        end = m.run()
    assert end.status == 255
    assert console.sent[1].decode() == "paracell: kernel panic: this processor has no VMX\n"
