"""The permutation image carries its own model: its verdict on our machine, and on QEMU."""

from __future__ import annotations

import re

import pytest

from .probe import QEMU, on_paracell, on_qemu

needs_qemu = pytest.mark.skipif(QEMU is None, reason="qemu-system-x86_64 is not installed")
CLOSING = re.compile(r"permute: (\d+) cases, (\d+) failed")


def _verdict(lines: list[str]) -> tuple[int, int]:
    found = CLOSING.fullmatch(lines[-1])
    assert found, lines[-1]
    return int(found[1]), int(found[2])


def test_no_case_fails() -> None:
    cases, failed = _verdict(lines := on_paracell("strict=1 count=30000", "permute.elf"))
    assert cases > 25_000
    assert failed == 0, "\n".join(lines)


@pytest.mark.qemu
@needs_qemu
def test_no_case_fails_on_qemu() -> None:
    cases, failed = _verdict(lines := on_qemu("count=2000000", "permute.elf"))
    assert cases > 1_500_000
    assert failed == 0, "\n".join(lines)


@pytest.mark.qemu
@needs_qemu
def test_the_image_notices_what_qemu_leaves_out() -> None:
    """QEMU 7.2's error code of a reserved bit lacks P: the image can fail, and says where."""
    lines = on_qemu("strict=1 count=20000", "permute.elf", status=3)
    assert _verdict(lines)[1] > 1000
    for line in lines[:-1]:
        found = re.search(r"error code ([0-9a-f]+) expected ([0-9a-f]+)$", line)
        assert found, line
        assert int(found[1], 16) | 1 == int(found[2], 16)
        assert int(found[2], 16) & 8
