"""VM entries near the border of validity on our machine and on Bochs: the same image, the same cases, line by line.

guest/probe/entries makes the cases.  Where Bochs 2.7 and we differ, the manual has decided; `EXPLAINED` has what Bochs does otherwise.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Final

import pytest

from paracell.bench import bochs
from paracell.guest import shipped
from paracell.guest.image import load
from paracell.guest.multiboot import plan

if TYPE_CHECKING:
    from pathlib import Path

MEMORY: Final = 64
needs_bochs = pytest.mark.skipif(shutil.which("bochs") is None, reason="bochs is not installed")
IMAGE: Final = "entries.elf"
ALL: Final = (1 << 64) - 1
# Bits that are not flipped: the monitor trap flag, which Bochs 2.7 does not have although it offers it.
LEFT_OUT: Final = {"primary": 1 << 27}
# Lines of ours where Bochs 2.7 says otherwise.  It does not look at bits 63:32 of the pending debug exceptions, nor at
# bits 63:48 of RIP in 64-bit mode, nor, where entries load it, at IA32_DEBUGCTL: the manual has them reserved (SDM "Checks on
# Guest Non-Register State", "… RIP, RFLAGS, and SSP", "… Control Registers, Debug Registers, and MSRs").  And it delivers no
# pending debug exception whose bit 12 stands without one of bits 3:0 (SDM "Delivery of Pending Debug Exceptions after VM Entry").
EXPLAINED: Final = (
    re.compile(r"6822\^[0-9a-f]{9,} .*= 80000021\.0"),
    re.compile(r"681e\^[0-9a-f]{12,} .*= 80000021\.0"),
    re.compile(r"(?=.*\b4012\^4 )(?=.*\b2802\^).*= 80000021\.0"),
    re.compile(r"6822\^1000 .*= 0\.0\.80000301\.0"),
)


def on_bochs(options: str, folder: Path) -> list[str]:
    boot = plan(load(shipped.image(IMAGE)), [(0, MEMORY << 20)], options)
    return bochs.run(boot, MEMORY, folder, ips=1_000_000).splitlines()


def on_paracell(options: str, width: int) -> list[str]:
    command = [sys.executable, "-m", "paracell", "boot", str(shipped.image(IMAGE)), "--append", options]
    command += ["--memory", f"{MEMORY}M", "--cpu", f"pks,+vmx,maxphyaddr={width}"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=900)
    assert done.returncode == 1, done.stderr
    return done.stdout.splitlines()


def in_common(ours: list[int], theirs: list[int]) -> str:
    """Give the options for the bits that both processors treat alike: what both offer, and what neither does."""

    def controls(at: int) -> int:
        either, both = ours[at] >> 32 | theirs[at] >> 32, ours[at] >> 32 & theirs[at] >> 32
        must = (ours[at] | theirs[at]) & 0xFFFFFFFF
        return (both | ~either | must) & 0xFFFFFFFF

    # After the width come IA32_VMX_BASIC and the others: SECONDARY is number 11 of them, the TRUE ones are 13 to 16.
    bits = {
        "pin": controls(14), "primary": controls(15), "exit": controls(16), "entry": controls(17), "secondary": controls(12),
        "cr4": ours[10] & theirs[10] | ~(ours[10] | theirs[10]) & ALL, "efer": 0x801, "width": theirs[0],
    }  # fmt: skip
    return " ".join(f"{name}={value & ~LEFT_OUT.get(name, 0)}" for name, value in bits.items())


def is_explained(line: str) -> bool:
    return any(each.search(line) for each in EXPLAINED)


def differences(count: int, seed: int, folder: Path) -> list[str]:
    theirs = [int(word, 16) for word in on_bochs("caps=1", folder)[0].split()]
    width = theirs[0]
    ours = [int(word, 16) for word in on_paracell("caps=1", width)[0].split()]
    options = f"{in_common(ours, theirs)} seed={seed} count={count}"
    mine, his = on_paracell(options, width), on_bochs(options, folder)
    assert len(mine) == len(his) == count
    return [f"{a}  Bochs: {b}" for a, b in zip(mine, his, strict=True) if a != b and not is_explained(a)]


@needs_bochs
def test_bochs_says_what_we_say(tmp_path: Path) -> None:
    found = differences(1500, 1, tmp_path)
    assert not found, "\n".join(found[:20])


@needs_bochs
@pytest.mark.sweep
@pytest.mark.parametrize("seed", range(2, 12))
def test_a_hundred_thousand_cases(seed: int, tmp_path: Path) -> None:
    found = differences(10_000, seed, tmp_path)
    assert not found, "\n".join(found[:20])
