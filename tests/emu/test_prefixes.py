"""Every instruction that the machine traps or hooks, behind every prefix, against a reading of the manual (`tests.model`).

The normal run takes a slice: no prefix and each single one, at another address each, in every mode.  The sweep takes all pairs, all places
at a page's end, and addresses where other encodings stood before.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest

from ..model.encodings import LEGACY, LONGEST, REX, Mode, Outcome, expect
from ..model.instructions import INSTRUCTIONS, INT3_ABSENT
from .stage import ABSENT_GATE, TARGET, Stage

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ..model.encodings import Instruction, Scene

MODES = [Mode(bits, cpl) for bits in (64, 32, 16) for cpl in (3, 0)]
RENEW = 200  # encodings: each hook that the machine has set makes the next translation slower
SHOWN = 60

Case = tuple["Instruction", bytes, int]  # its prefixes; how many bytes before a page's end it stands, or 0


def pool(mode: Mode) -> tuple[int, ...]:
    """Give the prefixes: in 32-bit and 16-bit code 40 to 4F are instructions."""
    return (*LEGACY, *REX) if mode.bits == 64 else LEGACY


def prefixed(mode: Mode, count: int) -> Iterator[bytes]:
    """Give each sequence of so many prefixes."""
    return (bytes(p) for p in itertools.product(pool(mode), repeat=count))


def tell(outcome: Outcome | str, scene: Scene) -> str:
    """Say it relative to the instruction's first byte."""
    if isinstance(outcome, str):
        return outcome
    what = "halts" if outcome.vector < 0 else f"vector {outcome.vector}"
    parts = [what if outcome.error is None else f"{what}({outcome.error:#x})"]
    for name, value, base in (
        ("rip", outcome.rip, scene.start), ("rsp", outcome.rsp, scene.rsp), ("link", outcome.link, scene.start),
        ("cr2", outcome.address, scene.base + scene.start), ("result", outcome.result, 0),
    ):  # fmt: skip
        if value is not None:
            parts.append(f"{name} {value - base:+d}" if abs(value - base) < 0x10000 else f"{name} {value:#x}")
    return " ".join([*parts, f"cs {outcome.cs:#x}"])


def differences(mode: Mode, cases: Iterable[Case], *, moving: bool = True) -> list[str]:
    """Run each case; give a line for each that did not do what the manual says."""
    stage, wrong = Stage(mode), []
    for number, (instruction, prefixes, edge) in enumerate(cases):
        if number % RENEW == RENEW - 1:
            stage.machine.close()
            stage = Stage(mode)
        if moving or edge or not number % RENEW:
            stage.move(edge)
        scene = stage.scene(instruction)
        code = instruction.encode(prefixes, mode, stage.high + TARGET, stage.cs)
        wanted, got = expect(instruction, mode, scene, code), stage.play(instruction, code, scene)
        if got != wanted:
            at = f" cut to {edge}" if 0 < edge < len(code) else " at the page's end" if edge else ""
            line = f"{code.hex(' ')} ({instruction.name}){at}: expected {tell(wanted, scene)}, got {tell(got, scene)}"
            wrong.append(line)
        if isinstance(got, str):
            stage.machine.close()
            stage = Stage(mode)
    stage.machine.close()
    return wrong


def report(mode: Mode, wrong: list[str]) -> str:
    return "\n".join([f"{mode}: {len(wrong)} encodings", *wrong[:SHOWN]])


def ends(mode: Mode, prefixes: Iterable[bytes]) -> Iterator[Case]:
    """At a page's end behind which nothing can be fetched: whole, and cut at each byte."""
    for instruction, before in itertools.product(INSTRUCTIONS, prefixes):
        code = instruction.encode(before, mode, TARGET, 8)
        for edge in range(1, min(len(code), LONGEST) + 1):
            yield instruction, before, edge


def singles(mode: Mode) -> list[bytes]:
    return [b"", *prefixed(mode, 1)]


@pytest.mark.parametrize("mode", MODES, ids=str)
def test_one_prefix(mode: Mode) -> None:
    wrong = differences(mode, ((i, p, 0) for i in INSTRUCTIONS for p in singles(mode)))
    assert not wrong, report(mode, wrong)


@pytest.mark.parametrize("mode", MODES, ids=str)
def test_no_prefix_at_a_pages_end(mode: Mode) -> None:
    wrong = differences(mode, ends(mode, [b""]))
    assert not wrong, report(mode, wrong)


@pytest.mark.parametrize("mode", MODES, ids=str)
def test_fifteen_bytes_and_sixteen(mode: Mode) -> None:
    def cases() -> Iterator[Case]:
        for instruction in INSTRUCTIONS:
            length = len(instruction.encode(b"", mode, TARGET, 8))
            for size in (LONGEST - 1, LONGEST, LONGEST + 1):
                yield instruction, bytes([0x3E] * (size - length)), 0
            yield instruction, bytes([0x3E] * (LONGEST + 1 - length)), LONGEST

    wrong = differences(mode, cases())
    assert not wrong, report(mode, wrong)


@pytest.mark.parametrize("mode", MODES, ids=str)
def test_int3_through_an_absent_gate(mode: Mode) -> None:
    with Stage(mode) as stage:
        stage.world.gate(3, kind=ABSENT_GATE)
        for prefixes in singles(mode):
            code = INT3_ABSENT.encode(prefixes, mode, 0, 0)
            stage.move()
            scene = stage.scene(INT3_ABSENT)
            assert stage.play(INT3_ABSENT, code, scene) == expect(INT3_ABSENT, mode, scene, code), code.hex(" ")


@pytest.mark.sweep
@pytest.mark.parametrize("mode", MODES, ids=str)
def test_two_prefixes(mode: Mode) -> None:
    wrong = differences(mode, ((i, p, 0) for i in INSTRUCTIONS for p in prefixed(mode, 2)))
    assert not wrong, report(mode, wrong)


@pytest.mark.sweep
@pytest.mark.parametrize("mode", MODES, ids=str)
def test_where_other_encodings_stood_before(mode: Mode) -> None:
    pairs = [b"", *prefixed(mode, 1), *prefixed(mode, 2)]
    wrong = differences(mode, ((i, p, 0) for p in pairs for i in INSTRUCTIONS), moving=False)
    assert not wrong, report(mode, wrong)


@pytest.mark.sweep
@pytest.mark.parametrize("mode", MODES, ids=str)
def test_one_prefix_at_a_pages_end(mode: Mode) -> None:
    wrong = differences(mode, ends(mode, prefixed(mode, 1)))
    assert not wrong, report(mode, wrong)
