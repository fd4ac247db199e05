"""The high-precision event timer against its specification (IA-PC HPET 1.0a), by hand and through a machine."""

from __future__ import annotations

import io
import struct
from typing import TYPE_CHECKING

import pytest

from paracell.emu.clock import TSC_HZ, Clock, Tsc
from paracell.emu.devices import Devices, NoConsole
from paracell.emu.machine import Machine
from paracell.emu.registers import RAX, RBX, RCX, RIP
from paracell.emu.stop import Reason
from paracell.emu.timekeeper import FAR

from .world import CODE, World

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = 0xFED00000
ID, CONFIG, STATUS, COUNTER, TIMER, COMPARATOR, EACH = 0, 0x10, 0x20, 0xF0, 0x100, 0x108, 0x20
LEVEL, ENABLE, PERIODIC, SETS, NARROW = 1 << 1, 1 << 2, 1 << 3, 1 << 6, 1 << 8
TICK = 25  # cycles: 10 ns at 2.5 GHz
ONES = (1 << 64) - 1


def route(irq: int) -> int:
    return irq << 9


class Board:
    """A machine's devices with a clock to turn by hand."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.devices = Devices(self.clock, NoConsole(), 64 << 20, tsc=Tsc(self.clock), hpet=True)
        self.devices.mmio_write(0xFEE000F0, 4, 0x1FF)
        for irq in (10, 11):
            self.entry(irq, 0x40 + irq)

    def entry(self, irq: int, low: int) -> None:
        self.devices.mmio_write(0xFEC00000, 4, 0x10 + 2 * irq)
        self.devices.mmio_write(0xFEC00010, 4, low)

    def __getitem__(self, register: int) -> int:
        return self.devices.mmio_read(PAGE + register, 8)

    def __setitem__(self, register: int, value: int) -> None:
        self.devices.mmio_write(PAGE + register, 8, value)

    def at(self, ticks: int) -> None:
        self.clock.cycles = ticks * TICK
        self.devices.service()

    def vectors(self) -> list[int | None]:
        """The interrupts that the processor takes now, each ended."""
        taken = []
        while self.devices.interrupt_waiting():
            taken.append(self.devices.pending())
            self.devices.mmio_write(0xFEE000B0, 4, 0)
        return taken

    def due(self) -> int | None:
        """The tick at which the devices want service."""
        at = self.devices.deadline()
        return None if at is None or at == FAR else at // TICK


@pytest.fixture
def board() -> Board:
    return Board()


def test_registers_after_reset(board: Board) -> None:
    capabilities = board[ID]
    assert capabilities >> 32 == 10_000_000  # femtoseconds; the specification allows up to 0x05F5E100
    assert capabilities & 0xFFFFFFFF == 0x80862201  # 64 bits, three timers, no LegacyReplacement route
    assert board[CONFIG] == board[STATUS] == board[COUNTER] == 0
    for number in range(3):
        assert board[TIMER + EACH * number] == 0xC00 << 32 | 1 << 5 | 1 << 4
        assert board[COMPARATOR + EACH * number] == ONES
    assert board[TIMER + EACH * 3] == board[8] == board[0x110] == 0


def test_what_can_be_written(board: Board) -> None:
    for register in (ID, CONFIG, STATUS, TIMER):
        board[register] = ONES
    assert board[ID] & 0xFFFFFFFF == 0x80862201
    assert board[CONFIG] == 1
    assert board[TIMER] & 0xFFFFFFFF == NARROW | PERIODIC | ENABLE | LEVEL | 1 << 5 | 1 << 4  # IRQ 31 is no route of it
    board[TIMER] = route(11)
    assert board[TIMER] >> 9 & 0x1F == 11
    board[TIMER] = route(9)
    assert board[TIMER] >> 9 & 0x1F == 11


def test_the_counter_runs_stands_and_is_set(board: Board) -> None:
    board.at(7)
    assert board[COUNTER] == 0
    board[CONFIG] = 1
    board.at(107)
    assert board[COUNTER] == 100
    assert board.devices.mmio_read(PAGE + COUNTER, 4) == 100
    board[CONFIG] = 0
    board.at(200)
    assert board[COUNTER] == 100
    board[COUNTER] = ONES - 9
    board[CONFIG] = 1
    board.at(220)
    assert board[COUNTER] == 10
    assert TICK * 100_000_000 == TSC_HZ


def test_halves_of_registers(board: Board) -> None:
    board.devices.mmio_write(PAGE + COUNTER + 4, 4, 0x12345678)
    board.devices.mmio_write(PAGE + COUNTER, 4, 0x9ABCDEF0)
    assert board[COUNTER] == 0x123456789ABCDEF0
    assert board.devices.mmio_read(PAGE + COUNTER + 4, 4) == 0x12345678
    assert board.devices.mmio_read(PAGE + ID + 4, 4) == 10_000_000


def test_one_shot_by_an_edge(board: Board) -> None:
    board[TIMER] = ENABLE | route(10)
    board[COMPARATOR] = 100
    assert board.due() is None
    board[CONFIG] = 1
    assert board.due() == 100
    board.at(99)
    assert board.vectors() == []
    board.at(100)
    assert board.vectors() == [0x4A]
    assert (board[STATUS], board.due()) == (0, None)  # 2^64 ticks are farther than any clock comes
    board.at(1000)
    board[COMPARATOR] = board[COUNTER]
    assert board.vectors() == [0x4A]  # they are equal
    board[COMPARATOR] = board[COUNTER] - 1
    assert board.vectors() == []


def test_each_timer_has_its_own_and_an_edge_may_follow_an_edge(board: Board) -> None:
    for number, (irq, ticks) in enumerate([(10, 50), (11, 60), (10, 70)]):
        board[TIMER + EACH * number] = ENABLE | route(irq)
        board[COMPARATOR + EACH * number] = ticks
    board[CONFIG] = 1
    taken = []
    for ticks in (50, 60, 70):
        board.at(ticks)
        taken += board.vectors()
    assert taken == [0x4A, 0x4B, 0x4A]


def test_a_narrow_timer_comes_again_when_32_bits_have_gone_round(board: Board) -> None:
    board[TIMER] = ENABLE | NARROW | route(11)
    board[COMPARATOR] = 5 << 32 | 100
    assert board[COMPARATOR] == 100
    board[CONFIG] = 1
    for round_ in range(3):
        assert board.due() == (round_ << 32) + 100
        board.at((round_ << 32) + 100)
        assert board.vectors() == [0x4B]


def test_a_level_stays_until_its_status_is_cleared(board: Board) -> None:
    board.entry(10, 0x4A | 1 << 15)
    board[TIMER + EACH] = ENABLE | LEVEL | route(10)
    board[COMPARATOR + EACH] = 100
    board[CONFIG] = 1
    board.at(100)
    assert board[STATUS] == 2
    assert board.devices.pending() == 0x4A
    board[STATUS] = 5
    assert board[STATUS] == 2
    board.devices.mmio_write(0xFEE000B0, 4, 0)
    assert board.devices.pending() == 0x4A  # it asks again
    board[STATUS] = 2
    assert board[STATUS] == 0
    board.devices.mmio_write(0xFEE000B0, 4, 0)
    assert board.vectors() == []


def test_the_status_comes_without_the_interrupt(board: Board) -> None:
    board[TIMER] = LEVEL | route(10)
    board[COMPARATOR] = 100
    board[CONFIG] = 1
    assert board.due() is None
    board.at(101)
    assert (board[STATUS], board.vectors()) == (1, [])
    board[TIMER] = LEVEL | ENABLE | route(10)
    assert board.vectors() == [0x4A]
    board[TIMER] = ENABLE | route(10)
    assert board[STATUS] == 0


def test_halting_lowers_a_level(board: Board) -> None:
    board.entry(10, 0x4A | 1 << 15 | 1 << 16)
    board[TIMER] = ENABLE | LEVEL | route(10)
    board[COMPARATOR] = 100
    board[CONFIG] = 1
    board.at(100)
    board[CONFIG] = 0
    board.entry(10, 0x4A | 1 << 15)
    assert not board.devices.interrupt_waiting()
    board[CONFIG] = 1
    assert board.devices.pending() == 0x4A


def test_a_periodic_timer(board: Board) -> None:
    """The first write behind VAL_SET_CNF is where it begins, the last one its period."""
    board[CONFIG] = 1
    board[TIMER] = ENABLE | PERIODIC | SETS | route(10)
    assert not board[TIMER] & SETS
    board[COMPARATOR] = 150
    board[COMPARATOR] = 100
    for ticks in (150, 250, 350):
        assert (board[COMPARATOR], board.due()) == (ticks, ticks)
        board.at(ticks)
        assert board.vectors() == [0x4A]
    board[COMPARATOR] = 1000  # from the next match on
    board.at(450)
    assert (board.vectors(), board[COMPARATOR]) == ([0x4A], 1450)
    board.at(5000)
    assert (board.vectors(), board[COMPARATOR]) == ([0x4A], 5450)  # what nobody served in time is one edge


@pytest.mark.parametrize("sets_again", [False, True])
def test_a_periodic_timer_by_halves(board: Board, sets_again: bool) -> None:
    """A store of 64 bits arrives as two; software that stores 32 may set VAL_SET_CNF for each."""
    write = board.devices.mmio_write
    board[CONFIG] = 1
    board[TIMER] = ENABLE | PERIODIC | SETS | route(10)
    write(PAGE + COMPARATOR, 4, 150)
    if sets_again:
        board[TIMER] = ENABLE | PERIODIC | SETS | route(10)
    write(PAGE + COMPARATOR + 4, 4, 0)
    write(PAGE + COMPARATOR, 4, 100)
    write(PAGE + COMPARATOR + 4, 4, 0)
    assert (board[COMPARATOR], board.due()) == (150, 150)
    board.at(150)
    assert board[COMPARATOR] == 250


def test_a_periodic_timer_by_lower_halves_alone(board: Board) -> None:
    board[CONFIG] = 1
    board[TIMER] = ENABLE | PERIODIC | NARROW | SETS | route(10)
    for value in (150, 100):
        board.devices.mmio_write(PAGE + COMPARATOR, 4, value)
    assert board.due() == 150
    board.at(150)
    assert board.due() == 250


def test_a_machine_without_it(board: Board) -> None:
    """Nobody answers, and nothing of it is in the devices' state."""
    del board
    clock = Clock()
    devices = Devices(clock, NoConsole(), 64 << 20, tsc=Tsc(clock))
    devices.mmio_write(PAGE + CONFIG, 8, 1)
    assert devices.mmio_read(PAGE + ID, 8) == ONES
    assert devices.deadline() is None
    assert "hpet" not in devices.save()


AT = 0x600000  # linear
EXIT = "e6f4 ebfe"


@pytest.fixture(params=[False, True], ids=["bare", "nested"])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    machine = Machine(16 << 20, hpet=True, nested=request.param)
    made = World(machine=machine)
    made.memory.write(0x3018, struct.pack("<Q", 0xFEC00083))
    made.cpu.set_cr4(made.cpu.cr4 | 1 << 9)
    yield made
    machine.close()


BLOCK = AT + 0x100000
# mov dword [rbx+10h], 1; mov rcx, [rbx+0F0h]; add rcx, 2000; mov rax, [rbx+0F0h]; cmp rax, rcx; jb back to the read
WAIT = "c7431001000000 488b8bf0000000 4881c1d0070000 488b83f0000000 4839c8 72f4"


def test_software_that_waits_for_its_counter_goes_on(world: World) -> None:
    """Nothing else makes time pass here: no timer is armed, and the loop makes no event."""
    machine = world.machine
    assert machine is not None
    world.cpu.q[RBX] = BLOCK
    world.memory.write(CODE, bytes.fromhex(WAIT + EXIT))
    world.cpu.q[RIP] = CODE
    stop = machine.run(1000)
    assert stop.reason is Reason.LIMIT
    saved = io.BytesIO()
    machine.save(saved)
    first = machine.run()
    ended = machine.clock.now, world.cpu.q[RAX], world.cpu.q[RCX]
    saved.seek(0)
    other = Machine.restore(saved)
    try:
        assert other.run() == first
        assert (other.clock.now, other.cpu.q[RAX], other.cpu.q[RCX]) == ended
    finally:
        other.close()
    assert first.reason is Reason.EXIT
    assert world.cpu.q[RCX] <= world.cpu.q[RAX] < world.cpu.q[RCX] + 10


def test_a_store_of_64_bits(world: World) -> None:
    """To a periodic timer's comparator behind VAL_SET_CNF, and then its period."""
    machine = world.machine
    assert machine is not None
    world.cpu.q[RBX], world.cpu.q[RAX], world.cpu.q[RCX] = BLOCK, 0x5_0000_0005, 0x1_0000_0000
    # mov dword [rbx+100h], ENABLE | PERIODIC | SETS; mov [rbx+108h], rax; mov [rbx+108h], rcx; mov rax, [rbx+108h]
    code = "c783000100004c000000 48898308010000 48898b08010000 488b8308010000"
    world.memory.write(CODE, bytes.fromhex(code + EXIT))
    world.cpu.q[RIP] = CODE
    assert machine.run().reason is Reason.EXIT
    assert world.cpu.q[RAX] == 0x5_0000_0005
    assert machine.devices.save()["hpet"]["timers"][0]["period"] == 0x1_0000_0000
