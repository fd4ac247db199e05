"""What the other processes of a container can do to its first one: nothing that it has no handler for (pid_namespaces(7))."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from paracell.guest import shipped

from .kernels import MACHINES, run, tar_of

if TYPE_CHECKING:
    from pathlib import Path

SIGTERM = 15


@pytest.mark.parametrize("machine", MACHINES)
def test_a_child_neither_ends_nor_stops_it(machine: str, tmp_path: Path) -> None:
    """It ends itself all the same: what a process sends itself works as outside of a container."""
    rootfs = tar_of({"bin/first": shipped.image("attacks/first").read_bytes()})
    done = run(machine, tmp_path, rootfs, ["/bin/first"])
    assert done.out.decode().split() == ["caught", "1", "caught", "1", "caught", "2"]
    assert done.status == (128 + SIGTERM) & 127
