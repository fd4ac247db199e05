"""Programs of many kinds, small ones: what crosses every boundary that there is."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Final

from paracell import runtimes
from paracell.emu.cost import DEFAULT
from paracell.emu.features import DEFAULT as PROCESSOR
from paracell.guest import shipped

from .kernels import Typed, boot, tar_of

if TYPE_CHECKING:
    from paracell.emu.cost import Costs
    from paracell.emu.features import Features
    from paracell.emu.machine import Machine

BUSYBOX: Final = Path(shutil.which("busybox") or "/bin/busybox")
RUNTIMES: Final = tuple(runtimes.RUNTIMES)
OPERATIONS: Final = (
    "null", "fork", "exec", "thread", "pipe", "self", "switch", "fault", "refault", "mmap", "install", "signal", "prot",
)  # fmt: skip
SCRIPT: Final = """
sleep 0.01; for i in 1 2 3; do echo $i | cat; done | sort -r | head -2
trap 'echo caught' USR1; kill -USR1 $$; (sleep 0.02; exit 3) & wait $!; echo $?
sh -c 'while :; do :; done' & sleep 0.002; kill $!; wait $!; echo $?; expr 6 '*' 7
"""
SAID: Final = b"3\n2\ncaught\n3\n143\n42\n"
# A shell script, or an area of the system-call interface (guest/linux), or a shipped program with its arguments.
PROGRAMS: Final[dict[str, tuple[str, ...]]] = {
    "hello": ("hello",),
    "segv": ("segv",),
    **{f"lat {name}": ("lat", name, "3") for name in OPERATIONS},
    **{f"lat -e {name}": ("lat", "-e", name, "3") for name in OPERATIONS},
    **{area: (f"linux/{area}",) for area in ("signals", "threads", "processes", "keys", "faults", "polling")},
    **({"script": ("busybox", "sh", "-c", SCRIPT)} if BUSYBOX.is_file() else {}),
}


def _binary(name: str) -> bytes:
    if name == "busybox":
        return BUSYBOX.read_bytes()
    path = shipped.image(name) if "/" in name else shipped.program(name)
    assert path is not None
    return path.read_bytes()


def machine_with(
    runtime: str, program: str, costs: Costs = DEFAULT, cpu: str | Features = PROCESSOR
) -> tuple[Machine, Typed]:
    """A machine before its first instruction, and its console; `program` is a name of `PROGRAMS`, or a command."""
    name, *arguments = PROGRAMS.get(program) or program.split()
    path, console = f"bin/{name.rpartition('/')[2]}", Typed(b"")
    rootfs = tar_of({path: _binary(name), "tmp/x": b""})
    argv = [f"/{path}", *arguments]
    return boot(runtime, rootfs, argv, console=console, memory=64 << 20, costs=costs, cpu=cpu), console
