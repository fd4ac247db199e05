"""What people run, unmodified: a shell script of two hundred lines, Lua, SQLite, threads."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from .kernels import OURS, run, tar_of

REAL = Path(__file__).parent / "real"
BUSYBOX = shutil.which("busybox")
EMULATORS = OURS
PARACELL_FIRST = [m if m == "emulator-paracell" else pytest.param(m, marks=pytest.mark.sweep) for m in EMULATORS]
SKIPPED = 77  # build.py: no apt here, or no archive that it reaches
ENOUGH = 900  # seconds for the sources of two programs to be fetched and built

needs_busybox = pytest.mark.skipif(BUSYBOX is None, reason="busybox-static is not installed")


def _busybox() -> bytes:
    assert BUSYBOX is not None
    return Path(BUSYBOX).read_bytes()


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with static programs from other people's sources: PARACELL_REAL, or built here."""
    if given := os.environ.get("PARACELL_REAL"):
        return Path(given)
    folder = tmp_path_factory.getbasetemp().parent / "real"
    made = subprocess.run(
        [sys.executable, REAL / "build.py", folder, "lua", "sqlite3", "threads"],
        check=False,
        capture_output=True,
        text=True,
        timeout=ENOUGH,
    )
    if made.returncode == SKIPPED:
        pytest.skip(made.stderr.splitlines()[0])
    assert made.returncode == 0, made.stderr
    return folder


@needs_busybox
@pytest.mark.parametrize("machine", PARACELL_FIRST)
def test_a_script_of_two_hundred_lines(machine: str, tmp_path: Path) -> None:
    host = tmp_path / "host"
    host.mkdir()
    script = REAL / "script.sh"
    assert BUSYBOX is not None
    real = subprocess.run([BUSYBOX, "sh", script], cwd=host, capture_output=True, check=False, env={"PATH": "/bin"})
    rootfs = tar_of({"bin/busybox": _busybox(), "work/script.sh": script.read_bytes()})
    command = "mkdir /work/here; cd /work/here; . /work/script.sh"
    ours = run(machine, tmp_path, rootfs, ["/bin/busybox", "sh", "-c", command], env=["PATH=/bin"])
    assert ours.out.decode().splitlines() == real.stdout.decode().splitlines()
    assert ours.status == real.returncode


CASES = {
    "lua": (["lua", "/script.lua"], ["script.lua"]),
    "sqlite3": (["sqlite3", "-init", "/dev/null", "-batch", "t.db", ".read /script.sql"], ["script.sql"]),
    "threads": (["threads"], []),
}


@pytest.mark.parametrize("machine", EMULATORS)
@pytest.mark.parametrize("name", CASES)
def test_other_peoples_programs(name: str, machine: str, programs: Path, tmp_path: Path) -> None:
    command, files = CASES[name]
    host = tmp_path / "host"
    host.mkdir()
    local = [str(programs / name), *(a.replace("/script", f"{REAL}/script") for a in command[1:])]
    real = subprocess.run(local, cwd=host, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    content = {f"bin/{name}": (programs / name).read_bytes()} | {f: (REAL / f).read_bytes() for f in files}
    ours = run(machine, tmp_path, tar_of(content), [f"/bin/{name}", *command[1:]], env=["PATH=/bin"])
    assert ours.out.decode().splitlines() == real.stdout.decode().splitlines()
    assert ours.status == real.returncode
