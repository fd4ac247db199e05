"""Real-address and virtual-8086 mode, case by case, on our machine, on QEMU and on Bochs: the image of guest/probe/modes."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Final

import pytest

from paracell.bench import bochs
from paracell.guest import shipped
from paracell.guest.image import load
from paracell.guest.multiboot import plan

from ..qemu.probe import QEMU, on_paracell, on_qemu

if TYPE_CHECKING:
    from pathlib import Path

IMAGE: Final = "modes.elf"
MODES: Final = ("real", "v86/0", "v86/3")
STACK_CASES: Final = ("%sp; popw", "(%bp)")  # the limit that they reach beyond is that of SS


def _without_int1(lines: list[str]) -> list[str]:
    """QEMU 7.2 takes INT1 for an undefined instruction."""
    return [line for line in lines if not line.startswith(".byte 0xf1 ")]


@pytest.mark.qemu
@pytest.mark.skipif(QEMU is None, reason="qemu-system-x86_64 is not installed")
def test_qemu_prints_what_we_print() -> None:
    ours, theirs = on_paracell("", IMAGE), on_qemu("", IMAGE)
    assert _without_int1(ours) == _without_int1(theirs)
    assert len(ours) > 300


def test_int1_is_a_debug_exception_in_every_mode() -> None:
    lines = [line for line in on_paracell("", IMAGE) if line.startswith(".byte 0xf1 ")]
    assert [line.partition(": ")[2].split()[0] for line in lines] == ["v1"] * len(MODES)


def test_what_reaches_beyond_a_limit_faults() -> None:
    *lines, last = on_paracell("limits=1", IMAGE)
    assert last == "modes: 11 cases"
    assert len(lines) == 11 * len(MODES)
    for line in lines:
        text, _, outcome = line.partition(" | ")
        mode, _, what = outcome.partition(": ")
        assert mode in MODES
        vector = 12 if any(part in text for part in STACK_CASES) else 13
        assert what.startswith(f"v{vector:x} " if mode == "real" else f"v{vector:x} e0 "), line


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("bochs") is None, reason="bochs is not installed")
def test_bochs_knows_the_same_limits(tmp_path: Path) -> None:
    """Bochs 2.7 checks the limit of an IRET within virtual-8086 mode only behind it (the manual: before anything is popped)."""
    boot = plan(load(shipped.image(IMAGE)), [(0, 64 << 20)], "limits=1")
    theirs, ours = bochs.run(boot, 64, tmp_path).splitlines(), on_paracell("limits=1", IMAGE)
    different = [line for line, other in zip(ours, theirs, strict=True) if line != other]
    assert [line.partition(": ")[0] for line in different] == ["pushl $2; pushl $0x1000; pushl $0x10114; iretl | v86/3"]
