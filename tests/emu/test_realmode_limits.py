"""Limits of segments in real-address mode, through TCG (SDM volume 3, "8086 Emulation")."""

from __future__ import annotations

from typing import Final

import pytest
from attrs import evolve

from paracell.emu.descriptors import Segment
from paracell.emu.registers import DS, RAX, RBX, RCX, RDI, RIP, RSI, RSP
from paracell.emu.stop import Reason

from .mode8086 import CODE, DATA, EXTRA, STACK, START, Real, module_real, q, real

__all__ = ("module_real", "real")

LOADS: Final = (
    "a1ffff",
    "8b1effff",
    "668b1efdff",
    "0f1006f1ff",
    "df2ef9ff",
    "ff36ffff",
    "c51efdff",
    "0f0116fbff",
    "8c1effff",
    "ff06ffff",
)


@pytest.mark.parametrize(
    "code", [*LOADS, "a7", "a5", "ad", "67a1ffff0000", "67a100000100", "67c7050000ff7f3412", "67ff35000001 00"]
)
def test_data_beyond_the_limit(real: Real, code: str) -> None:
    real.cpu.q[RSI] = real.cpu.q[RDI] = 0xFFFF
    before = real.cpu.segments[DS]
    assert real.run("90 90" + code) == 13
    assert real.frame() == (START + 2, CODE, 2)
    assert (real.cpu.segments[DS], q(real, RAX), q(real, RBX)) == (before, 0, 0)
    assert real.word(DATA, 0xFFFF) == 0


WITHIN: Final = (
    "a1feff",
    "8a1effff",
    "668b1efcff",
    "0f1006f0ff",
    "c51efcff",
    "8c1efeff",
    "ff36feff",
    "67a1feff0000",
    "678d0500000100",
)


@pytest.mark.parametrize("code", WITHIN)
def test_data_at_the_limit(real: Real, code: str) -> None:
    assert real.run(code) is None


@pytest.mark.parametrize(
    ("code", "rsp"),
    [("50", 1), ("6650", 3), ("60", 0xF), ("9c", 1), ("e80000", 1), ("58", 0xFFFF), ("61", 0xFFF1), ("c3", 0xFFFF), ("9d", 0xFFFF),
     ("1f", 0xFFFF), ("0e", 1), ("6a00", 1), ("c8040000", 1), ("cf", 0xFFFB), ("cb", 0xFFFD), ("36a1ffff", 0x800), ("8b46ff", 0x800)],
)  # fmt: skip
def test_the_stack_beyond_its_limit(real: Real, code: str, rsp: int) -> None:
    """#SS, whose own frame has no room where SP is odd and small: then a double and a triple fault."""
    real.cpu.q[RSP] = rsp
    real.memory.write((CODE << 4) + START, bytes.fromhex(code))
    real.memory.drop_stale_code()
    if rsp & 0xFFFF < 6:
        stop = real.machine.run()
        assert stop.reason is Reason.TRIPLE_FAULT
        assert stop.report[0].startswith("triple fault: #SS(0x0), then")
    else:
        assert real.run(code) == 12
        assert (real.frame(), q(real, RSP)) == ((START, CODE, 2), rsp - 6)


def test_the_stack_wraps_where_its_words_fit(real: Real) -> None:
    real.cpu.q[RSP] = 0
    assert real.run("b83412 50 5b 60 61") is None
    assert (q(real, RSP), q(real, RBX), real.word(STACK, 0xFFFE)) == (0, 0x1234, 0x1234)


def test_a_string_ends_at_the_limit(real: Real) -> None:
    """REP MOVSW up to the odd last byte: what came before is done, and the registers tell where."""
    real.cpu.q[RSI], real.cpu.q[RDI], real.cpu.q[RCX] = 0xFFF9, 0x10, 8
    real.memory.write((DATA << 4) + 0xFFF9, b"abcdefgh")
    assert real.run("f3a5") == 13
    assert (q(real, RSI), q(real, RDI), q(real, RCX), real.frame()[0]) == (0xFFFF, 0x16, 5, START)
    assert real.memory.ram[(EXTRA << 4) + 0x10 : (EXTRA << 4) + 0x18] == b"abcdef\0\0"


def test_guarded_pages_can_be_used_through_other_segments(real: Real) -> None:
    """ES begins where the page behind DS does: all of it works, instruction by instruction."""
    code = "b80140 8ec0 b90002 31ff 26880d 268a05 47 e2f7 a1feff"
    real.cpu.q[RSI] = 0
    assert real.run(code) is None
    first = (0x4001 << 4) + 0
    assert list(real.memory.ram[first : first + 3]) == [0, 0xFF, 0xFE]
    real.cpu.q[RIP] = START


def test_a_guarded_page_runs_code(real: Real) -> None:
    real.memory.write((DATA << 4) + 0x10010, bytes.fromhex("b87700 a30200 f4"))
    assert real.run("ea 1000 0040") is None
    assert (q(real, RAX), real.word(DATA, 2)) == (0x77, 0x77)


def test_a_smaller_limit_of_protected_mode_counts(real: Real) -> None:
    segments = list(real.cpu.state().segments)
    segments[DS] = Segment(DATA, DATA << 4, 0x1FFF, 0x93)
    real.cpu.load(evolve(real.cpu.state(), segments=segments))
    assert real.run("a1fe1f") is None
    for code in ("a1ff1f", "a10020", "a100f0", "b83412 8ed8 a10020"):
        real.reset()
        real.cpu.load(evolve(real.cpu.state(), segments=segments))
        assert real.run(code) == 13


def test_code_that_runs_over_the_limit(real: Real) -> None:
    real.memory.write((CODE << 4) + 0xFFFC, bytes.fromhex("40 40 40 b8 34 12"))
    assert real.run("bbfcff ffe3") == 13
    assert (q(real, RAX), real.frame()[0]) == (3, 0xFFFF)
    real.reset()
    real.memory.write((CODE << 4) + 0xFFFC, bytes.fromhex("40 40 40 40 40"))
    assert real.run("bbfcff ffe3") == 13
    assert (q(real, RAX), real.frame()[0]) == (4, 0)


def test_a_near_branch_beyond_the_limit_is_reported(real: Real) -> None:
    real.memory.write((CODE << 4) + START, bytes.fromhex("66e9 00000200"))
    real.memory.drop_stale_code()
    stop = real.machine.run()
    assert (stop.reason, stop.report[0]) == (
        Reason.UNIMPLEMENTED,
        "not implemented: a near branch beyond the limit of CS",
    )
