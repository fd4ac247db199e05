from __future__ import annotations

import os
import subprocess
import sys
import tarfile
from typing import TYPE_CHECKING

import pytest

from paracell.cli import run_command

from .images import static_program

if TYPE_CHECKING:
    from pathlib import Path


def refused(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str]:
    """Run a command that must fail; give its status and its one line."""
    status = run_command([str(a) for a in arguments])
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("paracell: ")
    assert err.count("\n") == 1
    assert err.endswith("\n")
    return status, err


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tmp_path / "prog"
    path.write_bytes(static_program())
    path.chmod(0o755)
    return path


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        ([], "try paracell --help"),
        (["frobnicate"], "frobnicate"),
        (["run"], "PROGRAM"),
        (["run", "--runtime", "kvm", "x"], "kvm"),
        (["run", "--memory", "lots", "x"], "lots"),
        (["run", "--memory", "1000001", "x"], "whole pages"),
        (["run", "--memory", "0", "x"], "whole pages"),
        (["run", "--memory", "9999999T", "x"], "whole pages"),
        (["run", "--env", "FOO", "x"], "NAME=VALUE"),
        (["run", "--env", "=v", "x"], "NAME=VALUE"),
        (["run", "--nonsense", "x"], "nonsense"),
        (["boot"], "IMAGE"),
        (["walk", "snapshot"], "ADDRESS"),
        (["walk", "snapshot", "zzz"], "zzz"),
        (["walk", "snapshot", "-1"], "-1"),
        (["walk", "snapshot", "0", "--write", "--exec"], "exclude"),
        (["walk", "snapshot", "0", "--pkru", "0x100000000"], "32 bits"),
        (["walk"], "SNAPSHOT"),
        (["walk", "no-such-snapshot", "0"], "no-such-snapshot"),
        (["boot", "--memory", "none", "x"], "none"),
        (["boot", "no-such-image"], "no-such-image"),
        (["boot", "--module", "no-such-module", "x"], "no-such-module"),
        (["attack", "no-such-attack"], "no-such-attack"),
        (["attack", "--cost", "wrpkru", "wrpkru"], "wrpkru"),
        (["attack", "--costs", "no-such-file", "wrpkru"], "no-such-file"),
        (["fuzz"], "target"),
        (["fuzz", "-runs=10"], "target"),
        (["fuzz", "gates", "-runs=many"], "many"),
        (["fuzz", "gates", "-runs=-2"], "-runs"),
        (["fuzz", "gates", "-runs"], "-runs=…"),
        (["fuzz", "gates", "-seed=-1"], "-seed"),
        (["fuzz", "gates", "-jobs=0"], "-jobs"),
        (["fuzz", "gates", "--tries", "5"], "--tries"),
        (["fuzz", "gates", "-off=no-such-defence"], "no-such-defence"),
        (["fuzz", "argument"], "argument"),
        (["fuzz", "gates", "no/such/corpus"], "no/such/corpus"),
        (["fuzz", "gates", "-dict=no-such-file"], "no-such-file"),
        (["fuzz", "gates", "-merge=1"], "-merge"),
        (["fuzz", "gates", "-minimize_crash=1"], "-minimize_crash"),
        (["fuzz", "no-such-file.py:function"], "no-such-file.py"),
        (["fuzz", "no.such.module:function"], "no.such.module"),
        (["fuzz", "no/such/program"], "no/such/program"),
        (["fuzz", "os:no_such_function"], "no_such_function"),
        (["fuzz", "os:sep"], "os:sep"),
        (["fuzz", "gates", "-oracle=os:sep"], "os:sep"),
        (["replay"], "FILE"),
        (["replay", "no-such-finding"], "no-such-finding"),
        (["replay", __file__], "test_bad_input.py"),
        (["bench", "argument"], "argument"),
        (["bench", "--access", "no-such-image"], "no-such-image"),
        (["run", "--trace", "t.txt", "hello"], "t.txt"),
        (["run", "--cpu", "z80", "x"], "z80"),
        (["run", "--clock", "sundial", "x"], "sundial"),
        (["run", "--fault-around", "3", "x"], "--fault-around"),
    ],
)
def test_options(capsys: pytest.CaptureFixture[str], arguments: list[str], what: str) -> None:
    status, line = refused(capsys, *arguments)
    assert status == 2
    assert what in line


def test_program_not_found(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for name in ("no-such-program-anywhere", str(tmp_path / "missing"), "", str(tmp_path / "a" / "b")):
        status, line = refused(capsys, "run", "--", name)
        assert status == 127
        assert name in line


def test_program_that_cannot_be_executed(capsys: pytest.CaptureFixture[str], tmp_path: Path, program: Path) -> None:
    program.chmod(0o644)
    for path in (program, tmp_path):
        status, line = refused(capsys, "run", path)
        assert status == 126
        assert str(path) in line
    tree = tmp_path / "root"
    (tree / "bin").mkdir(parents=True)
    (tree / "bin/prog").write_bytes(static_program())
    assert refused(capsys, "run", "--rootfs", tree, "prog")[0] == 126
    assert refused(capsys, "run", "--rootfs", tree, "/bin")[0] == 126


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (static_program()[:70], "truncated"),
        (b"echo hello", "not an ELF file"),
        (b"", "not an ELF file"),
        (static_program(machine=183), "not x86-64"),
        (static_program(bits=32, machine=3), "32-bit"),
        (static_program(interpreter=b"no end"), "absurd name of a dynamic loader"),
        (static_program(memsz=1 << 33), "memory"),
        (static_program(vaddr=0xFFFF800000000000), "absurd segment"),
    ],
)
def test_program_of_the_wrong_kind(capsys: pytest.CaptureFixture[str], program: Path, data: bytes, what: str) -> None:
    program.write_bytes(data)
    status, line = refused(capsys, "run", program)
    assert status == 126  # as under a shell
    assert what in line
    assert str(program) in line


def test_a_program_is_named_as_it_was_typed(
    capsys: pytest.CaptureFixture[str], program: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(program.parent)
    program.write_bytes(b"none")
    for name in ("./prog", "../" + program.parent.name + "/prog"):
        status, line = refused(capsys, "run", name)
        assert (status, line.endswith(f": {name}\n")) == (126, True), line
    tree = program.parent / "tree"
    (tree / "bin").mkdir(parents=True)
    program.rename(tree / "bin/inside")
    assert refused(capsys, "run", "--rootfs", "tree", "inside")[1].endswith(": tree:/bin/inside\n")


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"#! /no/such/shell -e\n", "/no/such/shell"),
        (static_program(interpreter=b"/no/such/ld.so\0"), "dynamically linked"),
    ],
)
def test_an_interpreter_that_is_not_there(
    capsys: pytest.CaptureFixture[str], program: Path, data: bytes, what: str
) -> None:
    program.write_bytes(data)
    status, line = refused(capsys, "run", program)
    assert status == 127
    assert what in line
    assert f": {program}" in line


def test_rootfs(capsys: pytest.CaptureFixture[str], tmp_path: Path, program: Path) -> None:
    bad = tmp_path / "bad.tar"
    with tarfile.open(bad, "w") as tar:
        info = tarfile.TarInfo("etc/../../up")
        tar.addfile(info)
    garbage = tmp_path / "garbage.tar"
    garbage.write_bytes(b"no tar" * 1000)
    large = tmp_path / "large"
    large.mkdir()
    with (large / "file").open("wb") as file:
        file.truncate(300 << 20)
    for root, what in (
        (bad, ".."), (garbage, "not a tar"), (large, "--memory 310M is the least"), (tmp_path / "none", "No such file"),
        ("/proc", "proc file system"),
    ):  # fmt: skip
        status, line = refused(capsys, "run", "--rootfs", root, program)
        assert status == 2
        assert what in line
        assert str(root) in line


def test_kernel_images(capsys: pytest.CaptureFixture[str], tmp_path: Path, program: Path) -> None:
    program.write_bytes(b"MZ")
    for path, what in (
        (program, "neither multiboot nor Linux nor ELF"),
        (tmp_path / "none", "No such file"),
        (tmp_path, "Is a directory"),
    ):
        status, line = refused(capsys, "boot", path)
        assert status == 2
        assert what in line
        assert str(path) in line
    os.mkfifo(tmp_path / "pipe")
    assert refused(capsys, "boot", tmp_path / "pipe")[0] == 2
    assert refused(capsys, "boot", "/dev/zero")[0] == 2


def test_start_up_errors_need_no_terminal_and_leave_no_traceback(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "paracell", "boot", tmp_path / "none"],
        capture_output=True,
        text=True,
        check=False,
        close_fds=True,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"paracell: No such file or directory: {tmp_path / 'none'}\n"
