"""Each area of the system-call interface: one static program, on this computer's Linux and in the container, the same output.

The programs (``guest/linux/``) were written by someone who knew Linux and not the container kernel.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from paracell.emu.events import Kind
from paracell.emu.stop import Reason
from paracell.guest import shipped
from paracell.runtimes import NATIVE

from .kernels import MACHINES, Typed, boot, run, tar_of

if TYPE_CHECKING:
    from paracell.emu.events import Event

TYPED = {"terminal"}  # test_linux_terminal.py
NOT_ON_QEMU = {
    "prefixes": "QEMU 7.2 ignores LOCK where it is undefined, and prefers a page fault to #GP for 16 bytes",
    "processor": "QEMU 7.2 knows no canonical addresses for data, and FCOMI leaves OF, SF and AF",
}
# The container's processor is Intel's: AMD's obey LOCK VERW, say #UD for VMREAD later, and leave RIP at an INT1.
NOT_ON_AMD = {"prefixes": {"int1", "verw m16", "vmread"}}
IS_AMD = sys.platform == "linux" and "AuthenticAMD" in Path("/proc/cpuinfo").read_text(encoding="ascii")
AREAS = sorted({p.stem for p in (shipped.IMAGES.parent / "linux").glob("*.c")} - TYPED)
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="there is no Linux here to compare with")


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("area", AREAS)
def test_as_on_linux(area: str, machine: str, tmp_path: Path) -> None:
    if area in NOT_ON_QEMU and "qemu" in machine:
        pytest.skip(NOT_ON_QEMU[area])
    program = shipped.image(f"linux/{area}")
    folder = tmp_path / "host"
    folder.mkdir()
    real = subprocess.run([program], cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=60)
    ours = run(machine, tmp_path, tar_of({f"bin/{area}": program.read_bytes()}), [f"/bin/{area}"])
    left_out = NOT_ON_AMD.get(area, set()) if IS_AMD else set()
    assert without(left_out, ours.out.decode()) == without(left_out, real.stdout.decode())
    assert ours.status == real.returncode


def without(instructions: set[str], told: str) -> list[str]:
    """Give the lines of `prefixes` that are not about these instructions: named by a section, a line of its own, or before a colon."""
    kept, name = [], ""
    for line in told.splitlines():
        first = line.partition(":")[0]
        if line.startswith("-- ") or first == line:
            name = first.removeprefix("-- ")
        if not instructions & {name, first}:
            kept.append(line)
    return kept


class Asked:
    """The numbers of the system calls that are made."""

    def __init__(self) -> None:
        self.numbers: set[int] = set()

    def emit(self, event: Event) -> None:
        """Take one event."""
        if event.kind is Kind.SYSCALL:
            self.numbers.add(event.data[0])

    def close(self) -> None:
        """Nothing is buffered."""


def test_each_call_that_is_offered_is_asked_for() -> None:
    asked = Asked()
    for area in [*AREAS, *TYPED]:
        program = shipped.image(f"linux/{area}").read_bytes()
        machine = boot(NATIVE.name, tar_of({f"bin/{area}": program}), [f"/bin/{area}"], console=Typed(b""))
        machine.add_sink(asked)
        assert machine.run().reason is Reason.EXIT
        machine.close()
    table = (shipped.IMAGES.parent / "kernel" / "syscall" / "syscalls.def").read_text()
    offered = {int(number): name for number, name in re.findall(r"^SYSCALL\((\d+), (\w+)", table, re.MULTILINE)}
    assert [name for number, name in offered.items() if number not in asked.numbers] == []
