"""Linux' KVM as the hypervisor: Debian's kernel loads kvm_intel, and a monitor of ours runs virtual machines over /dev/kvm."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from paracell.emu.stop import Reason
from paracell.guest.multiboot import Module
from paracell.machine import Machine

from .test_debian_kernel import BUILD, BUSYBOX, ENOUGH, SKIPPED, initrd

pytestmark = [
    pytest.mark.skipif(BUSYBOX is None, reason="busybox-static is not installed"),
    pytest.mark.slow,
]

NAMES: Final = ("kvm", "vmm")
INIT: Final = """\
#!/bin/busybox sh
/bin/busybox --install -s /bin
mkdir -p /dev /sys
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
for module in irqbypass kvm kvm-intel; do insmod /lib/$module.ko; done
cd /sys/module/kvm_intel/parameters
echo ept=$(cat ept) unrestricted_guest=$(cat unrestricted_guest) vpid=$(cat vpid) pml=$(cat pml)
cd /
/vmm
echo status $?
for options in vpid=0 eptad=0 ept=0; do
    rmmod kvm-intel
    insmod /lib/kvm-intel.ko $options
    echo with $options
    [ $options = ept=0 ] && /vmm long || /vmm
    echo status $?
done
poweroff -f
"""
OFFERED: Final = "ept=Y unrestricted_guest=Y vpid=Y pml=Y"
VERSION: Final = "KVM's interface 12\n"
REAL_MODE: Final = """\
real mode, until it halts
real mode
  in 0x60: 41
  out 0x62: 0x2a
  write of 4 bytes at 0xd0010: 0x12345678
  read of 4 bytes at 0xd0020: 0x5152535455565758
  out 0x62: 0x55565758
  out 0x62: 0x1b
  halted
and again
  out 0x62: 0x1c
  halted
five ticks of KVM's timer
  out 0x62: 0x5
"""
LONG_MODE: Final = """\
64-bit mode, until it halts
  out 0x62: 0x214d4d56
  out 0x62: 0x47e0000
  out 0x62: 0x2
  out 0x62: 0x50
  out 0x62: 0x2
  out 0x62: 0x4d
  out 0x62: 0x4d
  out 0x62: 0xd00
  write of 8 bytes at 0xd0030: 0x1122334455667788
  read of 8 bytes at 0xd0040: 0x5152535455565758
  out 0x62: 0x51525354
  out 0x62: 0xfffffc18
  out 0x62: 0x1
  halted
dirty pages: 65, then 0
a triple fault
  shut down
"""
VMS: Final = VERSION + REAL_MODE + LONG_MODE
LONG: Final = VERSION + LONG_MODE


@pytest.fixture(scope="session")
def fetched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with Debian's kernel, its modules of KVM, and the monitor: PARACELL_REAL has them, or apt does."""
    folder = Path(os.environ.get("PARACELL_REAL") or tmp_path_factory.getbasetemp().parent / "linux")
    command = [sys.executable, str(BUILD), str(folder), *NAMES]
    made = subprocess.run(command, check=False, capture_output=True, text=True, timeout=ENOUGH)
    if made.returncode == SKIPPED:
        pytest.skip(f"Debian's kernel and KVM cannot be had: {made.stderr.splitlines()[0]}")
    assert made.returncode == 0, made.stderr
    return folder


@pytest.mark.parametrize("nested", [False, True], ids=["bare", "nested"])
def test_debians_kvm_runs_virtual_machines(fetched: Path, tmp_path: Path, nested: bool) -> None:
    root = tmp_path / "root"
    shutil.unpack_archive(fetched / "kvm", root / "lib", "tar")
    vmlinuz = (root / "lib" / "vmlinuz").rename(tmp_path / "vmlinuz")
    shutil.copy(fetched / "vmm", root / "vmm")
    files = [Module("initrd", initrd(root, INIT))]
    append = "console=ttyS0 panic=-1 no_timer_check quiet"
    with Machine.boot(vmlinuz, modules=files, append=append, memory="512M", cpu="pks,+vmx", nested=nested) as machine:
        end = machine.run()
    said = end.stdout.replace("\r", "")
    ran = [
        f"{VMS}status 0\n",
        f"with vpid=0\n{VMS}status 0\n",
        f"with eptad=0\n{VMS}status 0\n",
        f"with ept=0\n{LONG}status 0\n",
    ]
    assert f"{OFFERED}\n{''.join(ran)}" in said
    for complaint in ("BUG", "WARNING", "Call Trace", "differ", "insmod:", "rmmod:"):
        assert complaint not in said, said
    assert end.reason is Reason.SHUTDOWN
