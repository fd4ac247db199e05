"""Segment limits in real and virtual-8086 mode against a model: random segments, offsets and sizes, each access run by TCG."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Final, NamedTuple

import pytest
from attrs import evolve

from paracell.emu.descriptors import Segment
from paracell.emu.registers import DS, ES, FS, GS, RAX, RBP, RBX, RCX, RDI, RSI, RSP, SS

from .mode8086 import TOP, Real, Virtual

if TYPE_CHECKING:
    from collections.abc import Iterator

COUNT: Final = 200
PREFIX: Final = {ES: "26", SS: "36", DS: "3e", FS: "64", GS: "65"}
LIMITS: Final = (0xFFFF, 0xFFFF, 0xFFFF, 0x1FFF, 0x7FFE, 0xFFFE, 0, 0xFFFFF, 0xFFFFFFFF)
DATA_SEGMENTS: Final = tuple(PREFIX)


class Access(NamedTuple):
    """One access: instruction, segment register, offset, bytes, and whether it stores."""

    code: str
    number: int
    offset: int
    size: int
    stores: bool


@pytest.fixture(scope="module", params=[Real, Virtual])
def machine(request: pytest.FixtureRequest) -> Iterator[Real]:
    found: Real = request.param()
    yield found
    found.machine.close()


def random_access(chance: random.Random) -> Access:
    """Choose MOV, or an operation of the stack, with an offset that is often near 64 KiB."""
    size, number = chance.choice([1, 2, 4]), chance.choice(DATA_SEGMENTS)
    near = chance.choice([0, 0x1FFF, 0x7FFE, 0xFFFF, 0x10000, chance.randrange(0x10000)])
    offset = near + chance.randrange(-4, 5) & 0xFFFF
    stores = chance.random() < 0.5
    operand = "66" if size == 4 else ""
    opcode = {(1, False): "8a", (2, False): "8b", (4, False): "8b", (1, True): "88", (2, True): "89", (4, True): "89"}[
        size, stores
    ]
    if chance.random() < 0.3:  # a 32-bit address: [ebx]
        offset = near + chance.randrange(-4, 5) & 0x1FFFF
        return Access(f"{PREFIX[number]}67{operand}{opcode}03", number, offset, size, stores)
    return Access(f"{PREFIX[number]}{operand}{opcode}07", number, offset, size, stores)  # [bx]


def run(machine: Real, segments: list[Segment], access: Access, at: int, before: bytes) -> tuple[int | None, int]:
    """Give the vector that came, or None, and RAX."""
    machine.reset()
    machine.memory.write(at, before)
    state = machine.cpu.state()
    registers = list(state.registers)
    registers[RAX], registers[RBX] = 0x44332211, access.offset
    machine.cpu.load(evolve(state, segments=segments, registers=registers))
    found = machine.run(access.code + ("cc" if isinstance(machine, Virtual) else ""))
    vector = None if found == 3 and isinstance(machine, Virtual) else found
    return vector, machine.cpu.q[RAX]


@pytest.mark.parametrize("seed", range(2))
def test_random_accesses(machine: Real, seed: int) -> None:
    chance = random.Random(seed)
    faults = 0
    for _ in range(COUNT):
        virtual = isinstance(machine, Virtual)
        access = random_access(chance)
        machine.reset()
        segments = list(machine.cpu.state().segments)
        for number in DATA_SEGMENTS:
            selector = chance.choice([0x3000, 0x3001, 0x6000, 0x7100, chance.randrange(0x6000, 0x9000)])
            limit = 0xFFFF if virtual or number == SS else chance.choice(LIMITS)
            segments[number] = Segment(selector, selector << 4, limit, 0xF3 if virtual else 0x93)
        segment = segments[access.number]
        beyond = access.offset + access.size - 1 > segment.limit
        at = segment.base + access.offset
        before = bytes(chance.randrange(256) for _ in range(access.size))
        if abs(at - segments[SS].base - TOP) < 16:
            continue  # where the interrupt's frame will be
        vector, rax = run(machine, segments, access, at, before)
        faults += beyond
        what = f"{access} in {segment}"
        if beyond:
            assert vector == (12 if access.number == SS else 13), what
            assert bytes(machine.memory.ram[at : at + access.size]) == before, what
            assert rax == 0x44332211, what
        else:
            assert vector is None, what
            after = bytes(machine.memory.ram[at : at + access.size])
            if access.stores:
                assert after == bytes.fromhex("11223344")[: access.size], what
            else:
                assert rax.to_bytes(8, "little")[: access.size] == before, what
    assert COUNT // 10 < faults < COUNT * 9 // 10


@pytest.mark.parametrize("register", [RSI, RDI, RBP, RSP, RCX])
def test_nothing_of_this_depends_on_other_registers(machine: Real, register: int) -> None:
    machine.reset()
    state = machine.cpu.state()
    registers = list(state.registers)
    registers[register] = 0xFFFF if register != RSP else TOP
    machine.cpu.load(evolve(state, registers=registers))
    assert machine.run("8a1e1000 cc") == 3


def test_pages_behind_segments_are_given_back(machine: Real) -> None:
    """A load of another segment frees the page behind the old one."""
    machine.reset()
    limits = machine.cpu.limits
    pages = set(limits.pages)
    assert {(segment.base >> 12) + 0x10 for segment in machine.cpu.segments} == pages
    assert machine.run("b80060 8ec0 cc") == 3
    real = machine.cpu.emulates_8086
    assert limits.pages == ({(segment.base >> 12) + 0x10 for segment in machine.cpu.segments} if real else set())
    machine.reset()
    assert set(limits.pages) == pages
    assert not limits.granted
