"""Dynamic executables: programs of Debian's packages, and one of our own, print in a container what they print on Linux."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

import paracell
from paracell import runtimes

if TYPE_CHECKING:
    from paracell.end import End

REAL: Final = Path(__file__).parent / "real"
SKIPPED: Final = 77  # roots.py: no apt here, or no archive that it reaches
ENOUGH: Final = 1800  # seconds for packages to be fetched and unpacked
ENVIRONMENT: Final = {"PATH": "/usr/bin:/bin", "HOME": "/tmp", "LC_ALL": "C", "PYTHONHASHSEED": "0"}
ZIG: Final = (sys.executable, "-m", "ziglang", "cc", "-O1", "-w", "-fno-sanitize=all", "-target")
LIBRARIES: Final = {"glibc": ("x86_64-linux-gnu.2.36", "shell"), "musl": ("x86_64-linux-musl", "musl")}

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="there is no Linux here to compare with")


@pytest.fixture(scope="session")
def debian(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the root file systems, by name: PARACELL_ROOTS, or one of this session's."""
    given = os.environ.get("PARACELL_ROOTS")
    return Path(given) if given else tmp_path_factory.getbasetemp().parent / "roots"


def _root(debian: Path, name: str) -> Path:
    command = [sys.executable, REAL / "roots.py", debian, name]
    made = subprocess.run(command, check=False, capture_output=True, text=True, timeout=ENOUGH)
    if made.returncode == SKIPPED:
        pytest.skip(made.stderr.splitlines()[0])
    assert made.returncode == 0, made.stderr
    return debian / name


def _on_linux(root: Path, folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a program in a copy of the root file system, by chroot."""
    copy = folder / "linux"
    shutil.copytree(root, copy, symlinks=True)
    for name in ("dev", "tmp"):
        (copy / name).mkdir(exist_ok=True)
    if os.geteuid() == 0:
        os.mknod(copy / "dev/null", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    enter = (
        [shutil.which("chroot"), copy]
        if os.geteuid() == 0
        else [shutil.which("unshare"), "--map-root-user", "chroot", copy]
    )
    ran = subprocess.run(
        [*enter, *command], env=ENVIRONMENT, stdin=subprocess.DEVNULL, capture_output=True, check=False, text=True, timeout=60
    )
    shutil.rmtree(copy)
    if ran.returncode == 125 or "Operation not permitted" in ran.stderr:
        pytest.skip("nobody may change the root directory here")
    return ran


def _in_container(runtime: str, root: Path, *command: str, memory: str = "512M", **more: int) -> End:
    with paracell.Container(
        *command, runtime=runtime, rootfs=str(root), environment=ENVIRONMENT, memory=memory, **more
    ) as c:
        return c.run()


ROOT_OF: Final = {  # script in real/debian/ → root file system in which it runs
    **dict.fromkeys(("bash", "coreutils", "dash", "text"), "shell"),
    **dict.fromkeys(("lua", "tcl", "sqlite3"), "small"),
    **{name: name for name in ("perl", "tcc", "git", "python")},
}


@pytest.mark.parametrize("runtime", runtimes.RUNTIMES)
@pytest.mark.parametrize("name", ROOT_OF)
def test_packages_of_debian(name: str, runtime: str, debian: Path, tmp_path: Path) -> None:
    root = _root(debian, ROOT_OF[name])
    command = ("/bin/bash", "-c", (REAL / "debian" / f"{name}.sh").read_text())
    real = _on_linux(root, tmp_path, *command)
    ours = _in_container(runtime, root, *command)
    assert ours.stdout.splitlines() == real.stdout.splitlines(), ours.stderr
    assert ours.status == real.returncode
