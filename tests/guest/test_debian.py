"""Dynamic executables: programs of Debian's packages, and one of our own, print in a container what they print on Linux."""

from __future__ import annotations

import functools
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

import paracell
from paracell import runtimes
from paracell.observers import sites
from paracell.problem import Problem

if TYPE_CHECKING:
    from paracell.end import End
    from paracell.observers import Sites

REAL: Final = Path(__file__).parent / "real"
TOP: Final = Path(__file__).parents[2]
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
    command = [sys.executable, "-m", "tests.guest.real.roots", str(debian), name]
    made = subprocess.run(command, cwd=TOP, check=False, capture_output=True, text=True, timeout=ENOUGH)
    if made.returncode == SKIPPED:
        pytest.skip(made.stderr.splitlines()[0])
    assert made.returncode == 0, made.stderr
    return debian / name


@functools.cache  # both runtimes are compared with the same run
def _on_linux(root: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a program in a copy of the root file system, by chroot."""
    with tempfile.TemporaryDirectory() as folder:
        return _by_chroot(root, Path(folder) / "linux", command)


def _by_chroot(root: Path, copy: Path, command: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
    shutil.copytree(root, copy, symlinks=True)
    for name in ("dev", "tmp"):
        (copy / name).mkdir(exist_ok=True)
    if os.geteuid() == 0:
        for name, minor in (("null", 3), ("urandom", 9)):
            os.mknod(copy / "dev" / name, 0o666 | stat.S_IFCHR, os.makedev(1, minor))
    tools = ["chroot"] if os.geteuid() == 0 else ["unshare", "--map-root-user", "chroot"]
    enter = [shutil.which(tools[0]) or tools[0], *tools[1:], str(copy)]
    ran = subprocess.run(
        [*enter, *command],
        env=ENVIRONMENT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        text=True,
        timeout=60,
    )
    if ran.returncode == 125 or "Operation not permitted" in ran.stderr:
        pytest.skip("nobody may change the root directory here")
    return ran


def _in_container(runtime: str, root: Path, *command: str, memory: str = "512M", seed: int | None = None) -> End:
    with paracell.Container(
        *command, runtime=runtime, rootfs=str(root), environment=ENVIRONMENT, memory=memory, seed=seed
    ) as c:
        return c.run()


ROOT_OF: Final = {  # script in real/debian/ → root file system in which it runs
    **dict.fromkeys(("bash", "coreutils", "dash", "text"), "shell"),
    **dict.fromkeys(("lua", "tcl", "sqlite3"), "small"),
    **{name: name for name in ("perl", "tcc", "git", "python")},
}


@pytest.mark.parametrize(
    "runtime", [pytest.param(r, marks=pytest.mark.sweep) if r == "native" else r for r in runtimes.RUNTIMES]
)
@pytest.mark.parametrize("name", ROOT_OF)
def test_packages_of_debian(name: str, runtime: str, debian: Path) -> None:
    root = _root(debian, ROOT_OF[name])
    command = ("/bin/bash", "-c", (REAL / "debian" / f"{name}.sh").read_text())
    real = _on_linux(root, *command)
    ours = _in_container(runtime, root, *command)
    assert ours.stdout.splitlines() == real.stdout.splitlines(), ours.stderr
    assert ours.status == real.returncode


@pytest.mark.parametrize("runtime", runtimes.RUNTIMES)
def test_process_substitution(runtime: str, debian: Path) -> None:
    """It needs /dev/fd, which a chroot has not: what bash prints is known."""
    script = "cat <(echo one) <(echo two); echo three > >(cat); wait $!; [[ -p /dev/fd/0 ]] < <(:) && echo four"
    ours = _in_container(runtime, _root(debian, "shell"), "/bin/bash", "-c", script)
    assert ours.stdout.split() == ["one", "two", "three", "four"], ours.stderr


@pytest.fixture(scope="module", params=LIBRARIES)
def dynamic(request: pytest.FixtureRequest, debian: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root file system with real/dynamic.c and its plug-in, on either C library."""
    target, name = LIBRARIES[request.param]
    base, root = _root(debian, name), tmp_path_factory.mktemp("dynamic") / "root"
    shutil.copytree(base, root, symlinks=True)
    shared = ("-shared", "-fPIC", REAL / "plugin.c", "-o", root / "lib/plugin.so", "-lm")
    program = ("-dynamic", "-fPIE", "-pie", "-Wl,-z,lazy", REAL / "dynamic.c", "-o", root / "bin/dynamic", "-lm")
    for arguments in (shared, program):
        subprocess.run([*ZIG, target, *arguments], check=True, timeout=ENOUGH)
    return root


@pytest.mark.parametrize("runtime", runtimes.RUNTIMES)
def test_a_dynamic_executable(dynamic: Path, runtime: str) -> None:
    real = _on_linux(dynamic, "/bin/dynamic")
    ours = _in_container(runtime, dynamic, "/bin/dynamic")
    assert ours.stdout.splitlines() == real.stdout.splitlines(), ours.stderr
    assert (ours.status, real.returncode) == (7, 7)


@pytest.mark.parametrize("runtime", runtimes.RUNTIMES)
def test_the_seed_moves_every_part_of_a_program(dynamic: Path, runtime: str) -> None:
    def where(seed: int | None = None) -> list[int]:
        out = _in_container(runtime, dynamic, "/bin/dynamic", "where", seed=seed).stdout.splitlines()
        return [int(word, 16) for word in out[1].split()]

    fixed, again, one, one_again, two = where(), where(), where(1), where(1), where(2)
    assert fixed == again
    assert one == one_again
    assert all(len({*places}) == 3 for places in zip(fixed, one, two, strict=True))
    assert fixed[0] >> 20 == 0x5555555  # as on Linux without randomisation


def test_code_is_looked_through_once(dynamic: Path) -> None:
    """Three runs at three places are looked through as often as one, and their system calls go through the gate."""

    def after(times: int) -> Sites:
        loop = f"for i in {' '.join('x' * times)}; do dynamic where; done"
        with paracell.Container("/bin/dash", "-c", loop, rootfs=str(dynamic), environment=ENVIRONMENT, seed=1) as c:
            assert c.run().status == 0
            found = sites(c.inner)
            assert found is not None
            return found

    one, three = after(1), after(3)
    assert (one.found, one.rewritten) == (three.found, three.rewritten)
    assert three.gate_calls > one.gate_calls


def test_memory_both_writable_and_executable(debian: Path) -> None:
    script = "cd /tmp; echo 'int main(void) { return 3; }' > a.c; tcc -run a.c"
    root = _root(debian, "tcc")
    assert _in_container("native", root, "/bin/bash", "-c", script).status == 3
    ours = _in_container("paracell", root, "/bin/bash", "-c", script)
    assert ours.status == 1
    assert "refused memory that is both writable and executable" in ours.stderr
    assert "mprotect()" in ours.stderr


@pytest.mark.parametrize("runtime", runtimes.RUNTIMES)
def test_a_loader_that_is_missing(runtime: str, debian: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "bin").mkdir(parents=True)
    for name in ("dash", "ls"):
        shutil.copy(_root(debian, "shell") / "bin" / name, root / "bin")
    with pytest.raises(Problem, match=r"its loader /lib64/ld-linux-x86-64.so.2 is not in its root file system"):
        _in_container(runtime, root, "/bin/ls")
    busybox = shutil.which("busybox")
    if busybox is None:
        pytest.skip("busybox-static is not installed")
    ours = _in_container(runtime, root, busybox, "sh", "-c", "/bin/ls; echo $?")
    assert ours.stdout == "127\n"
    assert "/bin/ls: not found" in ours.stderr


def _both(source: str, folder: Path) -> tuple[bytes, subprocess.CompletedProcess[str], End]:
    """A static program of ours, its run on this computer and its run under ParaCell."""
    program = folder / "program"
    command = [*ZIG, LIBRARIES["musl"][0], "-static", str(REAL / source), "-o", str(program)]
    subprocess.run(command, check=True, timeout=ENOUGH)
    real = subprocess.run([program], capture_output=True, check=False, text=True, timeout=60)
    with paracell.Container(str(program)) as c:
        return program.read_bytes(), real, c.run()


def test_xrstor_in_all_its_forms(tmp_path: Path) -> None:
    _, real, ours = _both("xstate.c", tmp_path)
    if real.returncode < 0:
        pytest.skip("this computer's processor has no XSAVE")
    assert ours.stdout.splitlines() == real.stdout.splitlines(), ours.stderr
    assert ours.status == real.returncode == 0


def test_forbidden_sequences_in_harmless_code(tmp_path: Path) -> None:
    data, real, ours = _both("displaced.c", tmp_path)
    assert [
        data.count(bytes.fromhex(code)) for code in ("e80fc71800", "e90fc71800", "0f850fc71800", "b80000000f01ef")
    ] == [1, 1, 1, 1]
    assert ours.stdout == real.stdout, ours.stderr
    assert ours.status == real.returncode == 0


LANGUAGES: Final = {
    "exceptions.cc": ("g++", "-O1", "-pthread", "-o"),
    "threads.rs": ("rustc", "-O", "-o"),
    "goroutines.go": ("go", "build", "-o"),
}


def _answers(compiler: str) -> bool:
    """Tell whether a compiler is there and works; rustup's commands need a toolchain in the home directory."""
    ask = [compiler, "version" if compiler == "go" else "--version"]
    return shutil.which(compiler) is not None and not subprocess.run(ask, capture_output=True, check=False).returncode


@pytest.mark.parametrize("runtime", runtimes.RUNTIMES)
@pytest.mark.parametrize("source", LANGUAGES)
def test_other_languages(source: str, runtime: str, debian: Path, tmp_path: Path) -> None:
    compiler, *options = LANGUAGES[source]
    if not _answers(compiler):
        pytest.skip(f"{compiler} is not installed, or has no toolchain")
    root = tmp_path / "root"
    shutil.copytree(_root(debian, "small"), root, symlinks=True)  # where libstdc++ and libgcc are
    command = [compiler, *options, str(root / "bin/it"), str(REAL / "languages" / source)]
    subprocess.run(command, check=True, timeout=ENOUGH, cwd=tmp_path)
    real = _on_linux(root, "/bin/it")
    ours = _in_container(runtime, root, "/bin/it")
    assert ours.stdout.splitlines() == real.stdout.splitlines(), ours.stderr
    assert ours.status == real.returncode


# What a test of CPython's own may fail or lack, with the reason (docs/programs.md).
CPYTHON: Final[dict[str, tuple[str, ...]]] = {
    "test_grammar": (),
    "test_os": ("test_openpty",),  # there are no pseudo-terminals
    "test_threading": (),
    "test_subprocess": (),
    "test_socket": (),
}


@pytest.mark.sweep
@pytest.mark.parametrize("runtime", runtimes.RUNTIMES)
@pytest.mark.parametrize("name", CPYTHON)
def test_cpythons_own(name: str, runtime: str, debian: Path) -> None:
    root = _root(debian, "python-tests")
    ignored = [word for pattern in CPYTHON[name] for word in ("-i", f"*{pattern}*")]
    ours = _in_container(runtime, root, "/usr/bin/python3.11", "-m", "test", "-v", name, *ignored, memory="1G")
    assert ours.status == 0, ours.stdout[-5000:]
