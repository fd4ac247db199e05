from __future__ import annotations

import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from paracell.guest import shipped
from paracell.guest.build import ROOT, BuildError, build
from paracell.guest.image import Kind, load

if TYPE_CHECKING:
    from pathlib import Path

pytest.importorskip("ziglang")


def test_same_bytes_in_another_place(tmp_path: Path) -> None:
    tree = tmp_path / "some" / "where"
    for room in ("guest", "pager", "pku"):
        shutil.copytree(ROOT / room, tree / room, ignore=shutil.ignore_patterns("images"))
    names = ["native.elf", "paracell-kernel.elf", "paracell-host.elf", "programs/hello"]
    subprocess.run([sys.executable, tree / "guest" / "build.py", *names], check=True, cwd=tmp_path)
    for name in names:
        ours = build([name], tmp_path / "again")[0]
        theirs = tree / "guest" / "images" / name
        assert ours.read_bytes() == theirs.read_bytes()
        assert str(ROOT).encode() not in ours.read_bytes()


def test_only_what_changed_is_built(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    build(["programs/null"], tmp_path)
    assert "building programs/null" in capsys.readouterr().err
    build(["programs/null"], tmp_path)
    assert not capsys.readouterr().err


def test_unknown_image(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="no such image") as caught:
        build(["programs/none"], tmp_path)
    assert caught.value.name == "programs/none"


def test_kernel_is_multiboot_with_symbols() -> None:
    image = load(shipped.image("native.elf"))
    assert image.kind is Kind.MULTIBOOT
    assert {"syscall_entry", "trap", "vm_fault"} <= {s.name for s in image.symbols()}


def test_no_privileged_instruction_in_the_portable_kernel() -> None:
    """The container kernel runs at ring 3 under ParaCell: only the platform may touch the machine."""
    words = ("cli", "sti", "hlt", "rdmsr", "wrmsr", "invlpg", "%cr", "lgdt", "lidt", "iret", "outb", "inb", "swapgs")
    for source in sorted((ROOT / "guest" / "kernel").rglob("*.c")):
        code = [line for line in source.read_text().splitlines() if "asm" in line]
        assert not [line for line in code if any(w in line for w in words)], source.name
