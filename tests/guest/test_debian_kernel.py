"""Debian's kernel for virtual machines, unmodified, to a busybox shell that takes its input."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from paracell.emu.stop import Reason
from paracell.guest.multiboot import Module
from paracell.machine import Machine

if TYPE_CHECKING:
    from paracell.end import End

BUSYBOX = shutil.which("busybox")
BUILD = Path(__file__).parent / "real" / "build.py"
SKIPPED = 77  # build.py: no apt here, or no archive that it reaches
ENOUGH = 600  # seconds to fetch one package

pytestmark = [
    pytest.mark.skipif(BUSYBOX is None, reason="busybox-static is not installed"),
    pytest.mark.slow,
]

INIT = """\
#!/bin/busybox sh
/bin/busybox --install -s /bin
mkdir -p /proc
mount -t proc proc /proc
exec sh -i
"""
SCRIPT = """\
echo $((6 * 7)) is the answer
uname -s -m
date -u +%Y-%m-%d
grep -c ^processor /proc/cpuinfo
grep -o -w pku /proc/cpuinfo
grep -c 'IO-APIC .* ttyS0' /proc/interrupts
busybox sh -c 'seq 1 100 | sort -n | tail -n 1 && sleep 2 && echo slept'
poweroff -f
"""


@pytest.fixture(scope="session")
def vmlinuz(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Debian's kernel: PARACELL_REAL has it, or apt does."""
    folder = Path(os.environ.get("PARACELL_REAL") or tmp_path_factory.getbasetemp().parent / "linux")
    if (folder / "vmlinuz").is_file():
        return folder / "vmlinuz"
    command = [sys.executable, str(BUILD), str(folder), "vmlinuz"]
    made = subprocess.run(command, check=False, capture_output=True, text=True, timeout=ENOUGH)
    if made.returncode == SKIPPED:
        pytest.skip(f"Debian's kernel cannot be had: {made.stderr.splitlines()[0]}")
    assert made.returncode == 0, made.stderr
    return folder / "vmlinuz"


def initrd(folder: Path, init: str) -> bytes:
    """A compressed cpio archive with busybox and /init."""
    assert BUSYBOX is not None
    (folder / "bin").mkdir(parents=True)
    shutil.copy(BUSYBOX, folder / "bin" / "busybox")
    (folder / "init").write_text(init)
    (folder / "init").chmod(0o755)
    names = "".join(f"{p.relative_to(folder)}\n" for p in sorted(folder.rglob("*")))
    command = [BUSYBOX, "cpio", "-o", "-H", "newc"]
    return subprocess.run(command, input=names.encode(), cwd=folder, check=True, capture_output=True).stdout


def boot(vmlinuz: Path, folder: Path, script: str) -> End:
    files = [Module("initrd", initrd(folder / "root", INIT))]
    with Machine.boot(
        vmlinuz, modules=files, append="console=ttyS0 panic=-1 no_timer_check", memory="512M", stdin=script
    ) as machine:
        return machine.run()


def test_a_shell_on_debians_kernel(vmlinuz: Path, tmp_path: Path) -> None:
    end = boot(vmlinuz, tmp_path, SCRIPT)
    lines = [line.strip() for line in end.stdout.replace("\r", "").splitlines()]
    for expected in ("42 is the answer", "Linux x86_64", "2026-01-01", "pku", "100", "slept"):
        assert expected in lines, end.stdout
    assert lines.count("1") == 2, end.stdout  # one processor; the serial line's interrupt comes through the I/O APIC
    assert end.reason is Reason.SHUTDOWN
    assert "Kernel panic" not in end.stdout
    for complaint in ("BUG", "WARNING", "Warning", "Call Trace"):
        assert complaint not in end.stdout
