"""Random accesses of a virtual machine through two stages of translation, here and on Bochs: `guest/probe/ept` says what its lines mean."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Final

import pytest

from paracell.bench import bochs
from paracell.emu.stop import Reason
from paracell.guest import image, shipped
from paracell.guest.multiboot import plan
from paracell.machine import Machine

if TYPE_CHECKING:
    from pathlib import Path

MEMORY: Final = 64 << 20
GROUPS: Final = 4  # of 100 cases
EPT_VIOLATION, EPT_MISCONFIGURATION, VMCALL, EXCEPTION = "30", "31", "12", "0"


def ours(options: str) -> str:
    kernel = image.load(shipped.image("ept.elf"))
    with Machine.boot(kernel, append=options, memory=MEMORY, cpu="pks,+vmx") as machine:
        assert machine.inner.run().reason is Reason.EXIT
        assert machine.captured is not None
        return machine.captured.text(0)


def test_every_kind_of_outcome_is_met() -> None:
    lines = ours("count=1 show=1").splitlines()
    reasons = {line.split("->")[1].split()[0] for line in lines}
    assert len(lines) == 100
    assert reasons == {EPT_VIOLATION, EPT_MISCONFIGURATION, VMCALL, EXCEPTION}


@pytest.mark.skipif(shutil.which("bochs") is None, reason="bochs is not installed")
def test_bochs_says_the_same(tmp_path: Path) -> None:
    options = f"count={GROUPS} relaxed=1"
    boot = plan(image.load(shipped.image("ept.elf")), [(0, MEMORY)], options)
    theirs = bochs.run(boot, MEMORY >> 20, tmp_path)
    assert len(theirs.splitlines()) == GROUPS
    assert theirs == ours(options)
