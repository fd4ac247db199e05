"""Run a program in a container, on the native kernel or under ParaCell, on QEMU or on our own machine."""

from __future__ import annotations

import io
import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest
from attrs import frozen

from paracell import runtimes
from paracell.emu.cost import DEFAULT, Costs
from paracell.emu.features import DEFAULT as PROCESSOR
from paracell.emu.stop import Reason
from paracell.guest import shipped
from paracell.guest.rootfs import init_block
from paracell.machine import Machine

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from paracell.emu.devices import ConsolePorts
    from paracell.emu.features import Features
    from paracell.emu.machine import Machine as Inner
    from paracell.emu.nesting import NestedOptions
    from paracell.guest.multiboot import Module
    from paracell.runtimes import Runtime

QEMU = shutil.which("qemu-system-x86_64")
needs_qemu = pytest.mark.skipif(QEMU is None, reason="qemu-system-x86_64 is not installed")
STATUS_BITS = 127  # QEMU's exit device shifts the status left by one, and a process keeps eight bits


_QEMU_MARKS = [needs_qemu, pytest.mark.qemu]
MACHINES = [
    made
    for name, runtime in runtimes.RUNTIMES.items()
    for made in (pytest.param(f"qemu-{name}", marks=_QEMU_MARKS), pytest.param(f"emulator-{name}"))
    if "vmx" not in runtime.needs or "emulator" in str(made.values)  # QEMU's TCG has no VMX
]
# A runtime's second form: its name, and what the command line has then.
FORMS: Final = {"spt": ("runv", "mmu=spt"), "touch": ("paracell", "policy=touch")}
OURS = [f"emulator-{name}" for name in (*runtimes.RUNTIMES, *FORMS)]
MACHINES += [pytest.param(f"emulator-{form}") for form in FORMS]
MEMORY = 256 << 20


@frozen
class Outcome:
    """How a container ended: its status modulo 128, what it wrote, and what it or its kernel complained about."""

    status: int
    out: bytes
    err: bytes


class Typed:
    """A console with all of its input there from the beginning."""

    def __init__(self, typed: bytes) -> None:
        self._left = typed
        self.ended = not typed
        self.paced = self.listens = False
        self.sent = (bytearray(), bytearray(), bytearray())

    def write(self, stream: int, data: bytes) -> None:
        self.sent[stream].extend(data)

    def read(self, count: int) -> bytes:
        data, self._left = self._left[:count], self._left[count:]
        self.ended = not self._left
        return data

    def control(self, count: int) -> bytes:
        del count
        return b""

    def wait(self, seconds: float | None) -> bool:
        del seconds
        return True


def tar_of(files: Mapping[str, bytes]) -> bytes:
    """A root file system with these files, all executable, and nothing else."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for name in sorted({str(p) for f in files for p in Path(f).parents} - {"."}):
            folder = tarfile.TarInfo(name)
            folder.type, folder.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(folder)
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.mode, info.size = 0o755, len(data)
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


def form_of(machine: str, options: str = "") -> tuple[Runtime, str]:
    """Give the runtime of a machine's name, and the command line: of ``emulator-`` and a runtime or a form, or the second alone."""
    name, more = FORMS.get(machine.removeprefix("emulator-"), (machine.removeprefix("emulator-"), ""))
    return runtimes.named(name), f"{options} {more}".strip()


def boot(
    machine: str,
    rootfs: bytes,
    argv: Sequence[str],
    *,
    env: Sequence[str] = (),
    settings: Sequence[str] = (),
    options: str = "",
    console: ConsolePorts,
    memory: int = MEMORY,
    costs: Costs = DEFAULT,
    cpu: str | Features = PROCESSOR,
    nested: NestedOptions | bool = False,
) -> Inner:
    """Our own machine with a container in it, before its first instruction; `machine` is as `form_of` takes it."""
    runtime, line = form_of(machine, options)
    modules = runtime.modules(rootfs, init_block(argv, env, settings))
    booted = Machine.boot(
        runtime.image,
        modules=modules,
        append=line,
        memory=memory,
        runtime=runtime,
        costs=costs,
        console=console,
        cpu=cpu,
        nested=nested,
    )
    return booted.inner


def run(
    machine: str,
    folder: Path,
    rootfs: bytes,
    argv: Sequence[str],
    *,
    env: Sequence[str] = (),
    settings: Sequence[str] = (),
    options: str = "",
    typed: bytes = b"",
) -> Outcome:
    """Boot a kernel with a root file system and run a program in it.

    `folder` takes the files that QEMU needs; `typed` is for our own machine only, since QEMU knows no end of input.
    """
    engine, _, name = machine.partition("-")
    if engine == "qemu":
        assert not typed
        runtime = runtimes.named(name)
        return _run_on_qemu(folder, runtime, runtime.modules(rootfs, init_block(argv, env, settings)), options)
    console = Typed(typed)
    ours = boot(machine, rootfs, argv, env=env, settings=settings, options=options, console=console)
    stop = ours.run()
    assert stop.reason is Reason.EXIT, "\n".join(stop.report)
    return Outcome(stop.value & STATUS_BITS, *map(bytes, console.sent[:2]))


def _run_on_qemu(folder: Path, runtime: Runtime, modules: Sequence[Module], options: str) -> Outcome:
    assert QEMU is not None
    for module in modules:
        (folder / module.name).write_bytes(module.data)
    out, err = folder / "out", folder / "err"
    command = [QEMU, "-accel", "tcg", "-cpu", "max", "-m", str(MEMORY >> 20), "-display", "none", "-no-reboot"]
    command += ["-kernel", str(runtime.image), "-append", f"{options} input=0".strip()]
    command += ["-initrd", ",".join(str(folder / module.name) for module in modules)]
    command += ["-serial", f"file:{out}", "-serial", f"file:{err}", "-device", "isa-debug-exit,iobase=0xf4,iosize=4"]
    status = subprocess.run(command, check=False, timeout=300, stdin=subprocess.DEVNULL).returncode
    assert status & 1, f"the kernel never reached its exit: {err.read_bytes()!r}"
    return Outcome(status >> 1, out.read_bytes(), err.read_bytes())


def run_shipped(
    machine: str, folder: Path, name: str, *arguments: str, options: str = "", typed: bytes = b""
) -> Outcome:
    """Run one of our own programs, alone in its file system."""
    path = shipped.program(name)
    assert path is not None
    rootfs = tar_of({f"bin/{name}": path.read_bytes()})
    return run(machine, folder, rootfs, [f"/bin/{name}", *arguments], options=options, typed=typed)
