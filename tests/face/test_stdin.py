"""Standard input: how many port accesses it takes, and that a run with input can be repeated."""

from __future__ import annotations

import hashlib

import pytest

from paracell import Container, Kind

from .test_run import BUSYBOX, RUNTIMES, needs_busybox

DATA = hashlib.shake_256(b"stdin").digest(100_000)


@needs_busybox
@pytest.mark.parametrize("runtime", RUNTIMES)
def test_input_comes_in_bursts(runtime: str) -> None:
    """An IN and a REP INSB for 56 bytes; each of them takes microseconds here."""
    ends = []
    for _ in range(2):
        with Container(str(BUSYBOX), "sha256sum", runtime=runtime, stdin=DATA) as c:
            ports = c.record(Kind.PORT)
            ends.append(c.run())
        assert ends[-1].stdout == f"{hashlib.sha256(DATA).hexdigest()}  -\n"
        assert len(ports) < len(DATA) / 20
    assert ends[0] == ends[1]
