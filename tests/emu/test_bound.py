"""What callbacks have bound is what the processor uses: containers are changed in place and never replaced.

`transitions` states the rule; this looks into the closures of everything that is installed.
"""

from __future__ import annotations

import io
from types import FunctionType, MethodType
from typing import TYPE_CHECKING, Any, NamedTuple

from paracell.bundle import prepare
from paracell.emu.checkpoint import Checkpoint
from paracell.emu.engine import Engine
from paracell.emu.machine import Machine
from paracell.emu.state import capture
from paracell.emu.stop import Reason
from paracell.runtimes import PARACELL

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pytest

MEMORY = 64 << 20
CONTAINERS = (list, dict, set, tuple, memoryview)


class Captured(NamedTuple):
    """A container in a closure, and the attribute that it was when the closure was made."""

    function: str
    variable: str
    container: Any
    owner: Any
    attribute: str


class Bound:
    """A machine whose installed callbacks are known."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, make: Callable[[], Machine]) -> None:
        installed: list[Callable[..., Any]] = []
        install = Engine.install

        def noting(engine: Engine, **callbacks: Any) -> None:
            installed.extend(callbacks.values())
            install(engine, **callbacks)

        with monkeypatch.context() as patch:
            patch.setattr(Engine, "install", noting)
            self.machine = make()
        cpu = self.machine.cpu
        functions = [*installed, cpu.take_gate, cpu.take_iret, self.machine.traps._page_fault]
        self.captured = [found for function in functions for found in self._captures(function, set())]
        keep = cpu.translation.keep_site

        def keep_and_note(rip: int, physical: int, length: int, closure: Callable[[], bool]) -> None:
            self.captured += self._captures(closure, set())
            keep(rip, physical, length, closure)

        monkeypatch.setattr(cpu.translation, "keep_site", keep_and_note)

    def _owners(self) -> Iterator[Any]:
        machine, cpu = self.machine, self.machine.cpu
        yield from (cpu, cpu.translation, cpu.memory, cpu.engine, cpu.engine.counting, machine.clock, machine.devices)
        yield from (cpu.translation.tlb, cpu.translation.code_pages, machine.traps.pending, cpu.breakpoints)
        yield cpu.limits

    def _captures(self, function: Any, seen: set[int]) -> Iterator[Captured]:
        """Walk a closure, and those of the functions in it."""
        if isinstance(function, MethodType):
            function = function.__func__
        if not isinstance(function, FunctionType) or id(function) in seen:
            return
        seen.add(id(function))
        names = function.__code__.co_freevars
        for variable, cell in zip(names, function.__closure__ or (), strict=True):
            content = cell.cell_contents
            if isinstance(content, CONTAINERS):
                for owner in self._owners():
                    for attribute, value in vars(owner).items():
                        if value is content:
                            yield Captured(function.__qualname__, variable, content, owner, attribute)
            yield from self._captures(content, seen)

    def check(self, after: str) -> None:
        """Compare identities."""
        replaced = [c[:2] for c in self.captured if getattr(c.owner, c.attribute) is not c.container]
        assert not replaced, f"after {after}: {replaced}"


def made() -> Machine:
    """A machine with a container that will fork and switch address spaces."""
    bundle = prepare(PARACELL, "lat", ["fork", "2"], memory=MEMORY)
    machine = Machine(MEMORY)
    machine.load(bundle.runtime.load(), "", bundle.modules)
    return machine


def test_nothing_that_is_bound_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    bound = Bound(monkeypatch, made)
    machine, cpu = bound.machine, bound.machine.cpu
    assert machine.run(200_000).reason is Reason.LIMIT
    bound.check("a run")
    checkpoint = Checkpoint(machine)
    assert machine.run(50_000).reason is Reason.LIMIT
    checkpoint.restore()
    bound.check("a checkpoint's restore")
    cpu.load(capture(cpu))
    bound.check("the load of a state")
    cpu.translation.reset()
    cpu.forget_transitions()
    bound.check("invalidations")
    assert machine.run().reason is Reason.EXIT
    bound.check("the end")
    cpu.reset()
    bound.check("reset")
    known = {captured.attribute for captured in bound.captured}
    assert {
        "segments",
        "iret_paths",
        "pages",
        "granted",
        "sites",
        "dirty",
        "code",
        "slots",
        "words",
        "q",
        "d",
    } <= known
    machine.close()


def test_nor_by_a_snapshot(monkeypatch: pytest.MonkeyPatch) -> None:
    first = made()
    assert first.run(200_000).reason is Reason.LIMIT
    file = io.BytesIO()
    first.save(file)
    first.close()
    file.seek(0)
    bound = Bound(monkeypatch, lambda: Machine.restore(file))
    bound.check("a restore")
    assert bound.machine.run().reason is Reason.EXIT
    bound.check("a run behind it")
    bound.machine.close()
