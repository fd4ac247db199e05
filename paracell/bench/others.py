"""The referees: the same images on QEMU and on Bochs, and kvm-unit-tests' `access`."""

from __future__ import annotations

import re
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ..bundle import Bundle, prepare
from ..guest.multiboot import plan
from ..runtimes import NATIVE
from . import bochs
from .measure import MEMORY, PROGRAM, Pair, Unmeasured, compare, run_bundle, slope, spent_by_children, timed

if TYPE_CHECKING:
    from collections.abc import Callable

_QEMU: Final = (
    *("qemu-system-x86_64", "-accel", "tcg", "-cpu", "max", "-m", "128", "-display", "none", "-serial", "null"),
    *("-serial", "null", "-no-reboot", "-device", "isa-debug-exit,iobase=0xf4,iosize=4"),
)


# What the image asks of a machine: an environment text as its first module.
_ENVIRONMENT: Final = b"NR_CPUS=1\nMEMSIZE=512\nTEST_DEVICE=0\nBOOTLOADER=1\n"
_QEMU_ACCESS: Final = (
    *("qemu-system-x86_64", "-accel", "tcg", "-cpu", "max", "-m", "512", "-display", "none", "-no-reboot"),
    *("-device", "isa-debug-exit,iobase=0xf4,iosize=4"),
)


def access_cases(path: str) -> Pair:
    """Seconds for one case of kvm-unit-tests' `access`, measured once: it takes minutes."""
    _need_qemu()
    with tempfile.TemporaryDirectory() as folder:
        environment, console = Path(folder, "env"), Path(folder, "console")
        environment.write_bytes(_ENVIRONMENT)
        ours = [*PROGRAM, "boot", path, "--module", str(environment), "--memory", "512M"]
        theirs = [*_QEMU_ACCESS, "-serial", f"file:{console}", "-kernel", path, "-initrd", str(environment)]
        with console.open("wb") as file:
            seconds = timed(ours, ok=(1, 3), stdout=file)
        here = seconds / cases(console)
        seconds = timed(theirs, ok=(1, 3))
        there = seconds / cases(console)
    return Pair(here, there, here / there)


def _need_qemu() -> None:
    if shutil.which(_QEMU[0]) is None:
        raise Unmeasured("QEMU is not installed")


def cases(console: Path) -> int:
    """Read from the image's summary how many cases it ran."""
    found = re.findall(rb"(\d+) tests, \d+ failures", console.read_bytes())
    if not found:
        raise Unmeasured("the image printed no summary: it is not kvm-unit-tests' access_test")
    return int(found[-1])


def qemu(kernel: Path, *more: str) -> float:
    """Seconds of processor time that QEMU's TCG needs for an image, its own start included."""
    _need_qemu()
    return timed([*_QEMU, "-kernel", str(kernel), *more], ok=(1,))


def on_qemu(bundle: Bundle, folder: Path) -> float:
    """Seconds of processor time that a container needs on QEMU; `folder` takes its modules."""
    files = [folder / module.name for module in bundle.modules]
    for file, module in zip(files, bundle.modules, strict=True):
        file.write_bytes(module.data)
    return qemu(bundle.runtime.image, "-initrd", ",".join(map(str, files)))


def on_bochs(bundle: Bundle, folder: Path) -> float:
    """Seconds of processor time that a container needs on Bochs; `folder` takes its disk."""
    boot = plan(bundle.runtime.load(), [(0, MEMORY)], "", bundle.modules)
    start = spent_by_children()
    try:
        bochs.run(boot, MEMORY >> 20, folder)
    except bochs.BochsError as error:
        raise Unmeasured(str(error)) from error
    return spent_by_children() - start


def beside(other: Callable[[Bundle, Path], float], program: str, count: int, more: int) -> Pair:
    """Seconds for one turn of a shipped program in the native container, here and elsewhere, where it takes `more` times the turns.

    `program` is its name and its arguments but the last, which is the number of turns.
    """
    name, *arguments = program.split()
    with tempfile.TemporaryDirectory() as folder:

        def contained(turns: int) -> Bundle:
            return prepare(NATIVE, name, [*arguments, str(turns)], memory=MEMORY)

        return compare(
            lambda: slope(lambda n: run_bundle(contained(n)), 1, count),
            lambda: slope(lambda n: other(contained(n), Path(folder)), 1, more * count),
        )
