"""The binding state of runs with Pager, followed by an independent model; and bugs, each planted once and found."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest
from attrs import define

from paracell.container import Container
from paracell.emu.events import Kind, Who
from paracell.guest.rootfs import init_block
from paracell.machine import Machine
from paracell.runtimes import PARACELL

from ..model.binding import Bindings, WrongBinding
from .kernels import Typed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from paracell.emu.events import Event

PRESENT_WRITABLE_USER: Final = 7
SCRIPT: Final = "for i in 1 2 3 4; do (echo $i; ls / | wc -l) | cat; done; find / -type f | sort | head -20"
PROGRAMS: Final = [
    ("hello",),
    ("touch", "4"),
    ("busybox", "sh", "-c", SCRIPT),
    ("lat", "-e", "exec", "10"),
    ("lat", "-e", "refault", "600"),
]


@pytest.mark.parametrize("options", ["", "batch=1 high=2 low=1", "batch=64 high=128"])
@pytest.mark.parametrize("program", PROGRAMS, ids=" ".join)
def test_a_run_and_the_model_agree(program: Sequence[str], options: str) -> None:
    with Container(*program, pager=True, append=options, memory="48M") as container:
        model = Bindings(container.inner)
        container.inner.add_sink(model)
        assert container.run().status == 0
    assert model.requests > 4
    assert model.owner


@define
class Planted:
    """A sink before the model's: once, it changes an entry of the direct map behind a request, as a host with a bug would."""

    model: Bindings
    unbound: bool  # an entry that was cleared, or one that was set
    done: bool = False

    def emit(self, event: Event) -> None:
        """Look for a request that has such an entry."""
        if self.done or event.kind is not Kind.SYSRET or event.who is not Who.HOST or self.model.asked is None:
            return
        container, unbinds, binds = self.model.asked
        pages = [gpa for gpa in unbinds if gpa not in binds] if self.unbound else binds
        if pages and container.begun:
            at, taken = self.model.leaf_at(container, pages[0]), next(iter(self.model.owner))
            self.model.machine.memory.write64(at, taken | PRESENT_WRITABLE_USER)
            self.done = True

    def close(self) -> None:
        """Nothing is buffered."""


@pytest.mark.parametrize(("unbound", "says"), [(False, "which is somebody's"), (True, "is mapped in the direct map")])
def test_a_page_of_somebody_elses_is_seen(unbound: bool, says: str) -> None:
    with Container("lat", "-e", "refault", "2000", pager=True, memory="48M") as container:
        model = Bindings(container.inner)
        container.inner.add_sink(Planted(model, unbound))
        container.inner.add_sink(model)
        with pytest.raises(WrongBinding, match=says):
            container.run()


def hostile(case: str, *off: str) -> Bindings:
    """Run a hostile container kernel, some of whose host's defences are off."""
    modules = PARACELL.modules(bytes(4096), init_block([case], []), kernel="hostile.elf")
    switches = " ".join(f"off={d}" for d in off)
    with Machine.boot(
        PARACELL.image, modules=modules, append=switches, memory=32 << 20, runtime=PARACELL, console=Typed(b"")
    ) as machine:
        model = Bindings(machine.inner)
        machine.inner.add_sink(model)
        machine.run()
    return model


def test_requests_of_every_kind() -> None:
    assert hostile("pager-requests").requests == 8


@pytest.mark.parametrize(
    ("case", "off", "says"),
    [
        ("pager-requests", "zero", "is not cleared"),
        ("pager-mapped", "mapped", "is not bound to whoever runs"),
    ],
)
def test_a_defence_that_is_off_is_seen(case: str, off: str, says: str) -> None:
    with pytest.raises(WrongBinding, match=says):
        hostile(case, off)
