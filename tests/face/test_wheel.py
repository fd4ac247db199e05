from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from paracell.guest.build import sources

ROOT = Path(__file__).parents[2]
SOURCES = "paracell/guest/images/debug/sources/"
ROOMS = ("emu", "guest", "mmu", "pager", "pku", "vmx")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("hatchling", reason="the wheel's builder is not installed")
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (found,) = folder.glob("*.whl")
    return found


@pytest.mark.slow
def test_the_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        text = archive.read(next(n for n in names if n.endswith("entry_points.txt"))).decode()
    assert "paracell = paracell.__main__:main" in text
    assert {n.split("/")[0] for n in names} == {"paracell", next(n.split("/")[0] for n in names if ".dist-info" in n)}
    assert "paracell/py.typed" in names
    modules = {p.relative_to(ROOT).as_posix() for r in ROOMS for p in (ROOT / r).rglob("*.py")} - {"guest/build.py"}
    assert {f"paracell/{m}" for m in modules} <= names
    assert "paracell/emu/costs.toml" in names
    folders = ("paracell/compare/workloads", "paracell/labs", "paracell/show/web")
    carried = {
        p.relative_to(ROOT).as_posix()
        for folder in folders
        for p in (ROOT / folder).rglob("*")
        if p.is_file() and p.suffix != ".pyc"
    }
    assert carried <= names
    assert not [n for n in names if "/labs/" in n and n.endswith("mistakes.py")]  # where solutions are
    code = {n for n in names if n.endswith((".c", ".h", ".S", ".ld", ".def", ".pyc")) or "/tests/" in n}
    assert {n for n in code if not n.startswith(SOURCES)} == set()
    assert {n.removeprefix(SOURCES) for n in code} == set(sources())


@pytest.mark.slow
def test_the_wheel_holds_every_image(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        images = {n for n in names if n.startswith("paracell/guest/images/") and not n.startswith(SOURCES)}
        assert images
        assert all(archive.read(n).startswith(b"\x7fELF") for n in images)
    built = {
        f"paracell/guest/images/{p.relative_to(ROOT / 'guest/images').as_posix()}"
        for p in (ROOT / "guest/images").rglob("*")
        if p.is_file()
    }
    assert images == built
    for name in ("native.elf", "paracell-host.elf", "paracell-kernel.elf", "programs/hello", "debug/native.elf"):
        assert f"paracell/guest/images/{name}" in images


@pytest.mark.slow
def test_an_unpacked_wheel_runs_without_the_tree(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    done = subprocess.run(
        [sys.executable, "-m", "paracell", "--version"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("paracell, version ")
    completed = subprocess.run(
        [sys.executable, "-m", "paracell"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "_PARACELL_COMPLETE": "bash_complete", "COMP_WORDS": "paracell run hel", "COMP_CWORD": "2"},
    )
    assert completed.stdout == "plain,hello\n"
    where = subprocess.run(
        [sys.executable, "-c", "import paracell.guest.elf as m; print(m.__file__)"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert Path(where.stdout.strip()).is_relative_to(tmp_path)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("gdb") is None, reason="no gdb on this computer")
def test_an_unpacked_wheel_has_sources_for_gdb(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    asked = ["break sys_getpid", "continue", "list", "bt", "finish", "info locals"]
    commands = [word for each in asked for word in ("--ex", each)]
    done = subprocess.run(
        [sys.executable, "-m", "paracell", "debug", "--batch", *commands, "null", "3"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
        timeout=100,
    )
    assert "i64 sys_getpid(void) { return current->process->pid; }" in done.stdout, done
    assert " in _start () at guest/programs/lib/start.S:" in done.stdout
    assert "result = 1" in done.stdout
