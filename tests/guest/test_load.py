"""Load that a kernel must live through: it says what it cannot do, and goes on."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from .kernels import OURS, Outcome, run, tar_of

BUSYBOX = shutil.which("busybox")
pytestmark = pytest.mark.skipif(BUSYBOX is None, reason="busybox-static is not installed")
on_both = pytest.mark.parametrize("machine", OURS)


def shell(machine: str, folder: Path, script: str) -> Outcome:
    assert BUSYBOX is not None
    rootfs = tar_of({"bin/busybox": Path(BUSYBOX).read_bytes()})
    return run(machine, folder, rootfs, ["/bin/busybox", "sh", "-c", script], env=["PATH=/bin"])


@on_both
def test_a_fork_bomb_meets_a_limit(machine: str, tmp_path: Path) -> None:
    script = "mkfifo p; (while :; do (: <p) & done) 2>err; grep -c fork err; kill -9 -1; (echo and forks)"
    ran = shell(machine, tmp_path, script)
    assert ran.out.decode().splitlines()[-2:] == ["1", "and forks"]


@on_both
def test_ten_thousand_files_opened_and_closed(machine: str, tmp_path: Path) -> None:
    script = (
        "i=0; while [ $i -lt 2500 ]; do : >f$((i % 50)) 3>g 4>h 5>i; i=$((i + 1)); done; ls | grep -c ^f; echo alive"
    )
    assert shell(machine, tmp_path, script).out.decode().splitlines()[-2:] == ["50", "alive"]


@on_both
def test_a_full_file_system(machine: str, tmp_path: Path) -> None:
    script = "dd if=/dev/zero of=big bs=64k count=4000 2>&1 | grep -c 'No space left'; rm big; echo x >y; cat y"
    assert shell(machine, tmp_path, script).out.decode().splitlines() == ["1", "x"]


@on_both
@pytest.mark.parametrize("megabytes", [10, pytest.param(100, marks=pytest.mark.sweep)])
def test_many_megabytes_through_a_pipe(megabytes: int, machine: str, tmp_path: Path) -> None:
    script = f"dd if=/dev/zero bs=64k count={megabytes << 4} 2>/dev/null | wc -c"
    assert shell(machine, tmp_path, script).out.decode().strip() == str(megabytes << 20)


@on_both
def test_kill_everything(machine: str, tmp_path: Path) -> None:
    script = "sleep 1000 & sleep 1000 & cat </dev/zero >/dev/null & kill -9 -1; wait; echo $(ls /proc | grep -c '^[0-9]') left"
    assert (
        shell(machine, tmp_path, script).out.decode().splitlines()[-1] == "4 left"
    )  # the first process, a subshell, ls, grep


@on_both
def test_deep_recursion_ends_one_process(machine: str, tmp_path: Path) -> None:
    script = "(f() { f; }; f) 2>/dev/null; echo $?; echo alive"
    status, word = shell(machine, tmp_path, script).out.decode().split()
    assert (int(status) > 128 or status == "2", word) == (True, "alive")
