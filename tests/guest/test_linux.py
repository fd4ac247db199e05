"""Each area of the system-call interface: one static program, on this computer's Linux and in the container, the same output.

The programs (``guest/linux/``) were written by someone who knew Linux and not the container kernel.
"""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from paracell.guest import shipped

from .kernels import MACHINES, run, tar_of

if TYPE_CHECKING:
    from pathlib import Path

TYPED = {"terminal"}  # test_linux_terminal.py
AREAS = sorted({p.stem for p in (shipped.IMAGES.parent / "linux").glob("*.c")} - TYPED)
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="there is no Linux here to compare with")


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("area", AREAS)
def test_as_on_linux(area: str, machine: str, tmp_path: Path) -> None:
    program = shipped.image(f"linux/{area}")
    folder = tmp_path / "host"
    folder.mkdir()
    real = subprocess.run([program], cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=60)
    ours = run(machine, tmp_path, tar_of({f"bin/{area}": program.read_bytes()}), [f"/bin/{area}"])
    assert ours.out.decode().splitlines() == real.stdout.decode().splitlines()
    assert ours.status == real.returncode
