"""Run a program in a container on the native kernel, on whatever machine is at hand."""

from __future__ import annotations

import io
import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from attrs import frozen

from paracell.guest import shipped
from paracell.guest.rootfs import init_block

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

QEMU = shutil.which("qemu-system-x86_64")
needs_qemu = pytest.mark.skipif(QEMU is None, reason="qemu-system-x86_64 is not installed")
STATUS_BITS = 127  # QEMU's exit device shifts the status left by one, and a process keeps eight bits


@frozen
class Outcome:
    """How a container ended: its status modulo 128, what it wrote, and what it or its kernel complained about."""

    status: int
    out: bytes
    err: bytes


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


def run(folder: Path, rootfs: bytes, argv: Sequence[str], env: Sequence[str] = (), options: str = "") -> Outcome:
    """Boot the native kernel with a root file system and run a program in it; `folder` takes the files that this needs."""
    assert QEMU is not None
    (folder / "rootfs").write_bytes(rootfs)
    (folder / "init").write_bytes(init_block(argv, env))
    out, err = folder / "out", folder / "err"
    command = [QEMU, "-accel", "tcg", "-cpu", "max", "-m", "256", "-kernel", str(shipped.image("native.elf"))]
    command += [
        "-initrd",
        f"{folder / 'rootfs'},{folder / 'init'}",
        "-append",
        options,
        "-display",
        "none",
        "-no-reboot",
    ]
    command += ["-serial", f"file:{out}", "-serial", f"file:{err}", "-device", "isa-debug-exit,iobase=0xf4,iosize=4"]
    status = subprocess.run(command, check=False, timeout=300, stdin=subprocess.DEVNULL).returncode
    assert status & 1, f"the kernel never reached its exit: {err.read_bytes()!r}"
    return Outcome(status >> 1, out.read_bytes(), err.read_bytes())


def run_shipped(folder: Path, name: str, *arguments: str, options: str = "") -> Outcome:
    """Run one of our own programs, alone in its file system."""
    path = shipped.program(name)
    assert path is not None
    return run(folder, tar_of({f"bin/{name}": path.read_bytes()}), [f"/bin/{name}", *arguments], options=options)
