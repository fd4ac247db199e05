"""Containers under the outermost hypervisor: what they print is what they print without it."""

from __future__ import annotations

import pytest

from paracell.container import Container
from paracell.emu.events import Kind
from paracell.emu.stop import Reason
from paracell.runtimes import RUNTIMES

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
            assert bool(exits) is nested
    bare, nested_end = ends
    assert (nested_end.reason, nested_end.status, nested_end.stderr) == (Reason.EXIT, bare.status, bare.stderr)
    if program[0] != "lat":  # which prints times
        assert nested_end.stdout == bare.stdout
