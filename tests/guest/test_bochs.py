"""The same images on Bochs, which executes one instruction after another and has protection keys: a third opinion."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from paracell.bench import bochs
from paracell.bench.bochs import BochsError
from paracell.guest import shipped
from paracell.guest.multiboot import plan
from paracell.guest.rootfs import init_block
from paracell.runtimes import NATIVE, RUNV

from .kernels import OURS, form_of, run, tar_of

if TYPE_CHECKING:
    from pathlib import Path

    from paracell.runtimes import Runtime

MEMORY = 64 << 20
needs_bochs = pytest.mark.skipif(shutil.which("bochs") is None, reason="bochs is not installed")


PROGRAMS = ["programs/hello", "linux/syscalls"]


def _on_bochs(runtime: Runtime, rootfs: bytes, folder: Path, options: str = "") -> bytes:
    boot = plan(runtime.load(), [(0, MEMORY)], options, runtime.modules(rootfs, init_block(["/bin/it"], [])))
    return bochs.run(boot, MEMORY >> 20, folder).encode()


@needs_bochs
@pytest.mark.parametrize("machine", OURS)
@pytest.mark.parametrize("name", PROGRAMS)
def test_bochs_prints_what_we_print(machine: str, name: str, tmp_path: Path) -> None:
    rootfs = tar_of({"bin/it": shipped.image(name).read_bytes()})
    ours = run(machine, tmp_path, rootfs, ["/bin/it"])
    runtime, options = form_of(machine)
    assert _on_bochs(runtime, rootfs, tmp_path, options) == ours.out


@needs_bochs
@pytest.mark.parametrize("name", PROGRAMS)
def test_a_virtual_machine_on_bochs_prints_what_native_prints(name: str, tmp_path: Path) -> None:
    rootfs = tar_of({"bin/it": shipped.image(name).read_bytes()})
    assert _on_bochs(RUNV, rootfs, tmp_path) == run("native", tmp_path, rootfs, ["/bin/it"]).out


def test_a_64_bit_image_is_refused() -> None:
    boot = plan(NATIVE.load(), [(0, MEMORY)])
    with pytest.raises(ValueError, match="64-bit mode"):
        bochs.rom(type(boot)(boot.pieces, boot.entry, boot.eax, boot.ebx, boot.esp, 0x1000, boot.end))


def test_without_bochs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BochsError, match="not installed"):
        bochs.run(plan(NATIVE.load(), [(0, MEMORY)]), 64, tmp_path)
