"""ACPI's fixed hardware (ACPI Specification 6.5, chapter 4), and the ways to reset (ICH9 data sheet; the PS/2's 8042)."""

from __future__ import annotations

import pytest

from paracell.emu.clock import TSC_HZ, Clock
from paracell.emu.devices.power import TIMER_HZ, Power
from paracell.emu.devices.reset import KeyboardController, Reset
from paracell.emu.faults import Unimplemented

STS, EN, CNT, TMR = 0x600, 0x602, 0x604, 0x608
SCI_EN, SLP_EN = 1, 1 << 13
WRAP = 1 << 31  # ticks


class Board:
    """The three devices with a clock to turn by hand, and how they ended the machine."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.ended: list[str] = []
        self.power = Power(self.clock, self.end, lambda: None)
        self.reset, self.keyboard = Reset(self.end), KeyboardController(self.end)

    def end(self, reason: str, _value: int) -> None:
        self.ended.append(reason)

    def at(self, ticks: int) -> None:
        self.clock.cycles = -(-ticks * TSC_HZ // TIMER_HZ)
        self.power.service()

    def raised(self) -> tuple[bool, bool]:
        """The line, and whether an event is to come."""
        return self.power.line(), self.power.due is not None


@pytest.fixture
def board() -> Board:
    return Board()


def test_the_timer_counts_at_its_rate_and_wraps(board: Board) -> None:
    assert board.power.read(TMR, 4) == 0
    board.at(TIMER_HZ)
    assert board.power.read(TMR, 4) == TIMER_HZ
    board.at((1 << 32) + 5)
    assert board.power.read(TMR, 4) == 5
    board.at(0x123456)
    assert [board.power.read(TMR + i, 1) for i in range(4)] == [0x56, 0x34, 0x12, 0]
    assert board.power.read(TMR + 2, 2) == 0x12


def test_the_timers_event(board: Board) -> None:
    board.power.write(EN, 2, 1)
    assert board.raised() == (False, True)
    board.at(WRAP - 1)
    assert board.raised() == (False, True)
    board.at(WRAP)
    assert board.raised() == (True, False)
    assert board.power.read(STS, 2) == 1
    board.power.write(STS, 2, 0)
    assert board.raised() == (True, False)
    board.power.write(STS, 2, 1)
    assert board.raised() == (False, True)
    board.at(2 * WRAP)
    assert board.raised() == (True, False)


def test_status_without_enable(board: Board) -> None:
    board.at(WRAP)
    assert board.power.read(STS, 2) == 1
    assert board.raised() == (False, False)
    board.power.write(EN, 2, 1)
    assert board.raised() == (True, False)


def test_writes_of_one_register_leave_the_other(board: Board) -> None:
    board.power.write(EN, 2, 0xFFFF)
    assert board.power.read(EN, 2) == 0x0521  # the bits that the specification has
    board.power.write(STS, 2, 0xFFFF)
    assert board.power.read(EN, 2) == 0x0521
    board.power.write(STS, 4, 0)
    assert board.power.read(STS, 4) == 0


def test_soft_off(board: Board) -> None:
    assert board.power.read(CNT, 2) & SCI_EN
    board.power.write(CNT, 2, 1 << 10)
    assert not board.ended
    board.power.write(CNT, 2, 0)
    board.power.write(CNT, 2, SLP_EN)
    assert board.ended == ["shutdown"]
    assert board.power.read(CNT, 2) == SCI_EN  # SLP_EN reads 0


def test_soft_off_by_the_high_byte(board: Board) -> None:
    board.power.write(CNT + 1, 1, SLP_EN >> 8)
    assert board.ended == ["shutdown"]


def test_other_sleeping_states_are_not_implemented(board: Board) -> None:
    with pytest.raises(Unimplemented, match="SLP_TYP 1"):
        board.power.write(CNT, 2, SLP_EN | 1 << 10)


@pytest.mark.parametrize(
    ("values", "ends"), [([4], 1), ([2], 0), ([6], 1), ([2, 6], 1), ([4, 4], 1), ([0, 4], 1), ([0xE], 1), ([8], 0)]
)
def test_the_reset_control_register(board: Board, values: list[int], ends: int) -> None:
    for value in values:
        board.reset.write(0xCF9, 1, value)
    assert board.ended == ["reset"] * ends
    assert board.reset.read(0xCF9, 1) == values[-1] & 0xE


def test_port_92(board: Board) -> None:
    value = board.reset.read(0x92, 1)
    assert value == 2  # A20 is on
    board.reset.write(0x92, 1, value & ~1)
    assert not board.ended
    board.reset.write(0x92, 1, value | 1)
    assert board.ended == ["reset"]


@pytest.mark.parametrize("command", [0xFE, 0xF0])
def test_the_keyboard_controller_pulses_reset(board: Board, command: int) -> None:
    board.keyboard.write(0x64, 1, command)
    assert board.ended == ["reset"]


def test_the_keyboard_controllers_output_port(board: Board) -> None:
    board.keyboard.write(0x64, 1, 0xD0)
    assert board.keyboard.read(0x64, 1) & 3 == 1
    port = board.keyboard.read(0x60, 1)
    assert port & 3 == 3
    board.keyboard.write(0x64, 1, 0xD1)
    board.keyboard.write(0x60, 1, port)
    assert not board.ended
    board.keyboard.write(0x64, 1, 0xD1)
    board.keyboard.write(0x60, 1, port & ~1)
    assert board.ended == ["reset"]


def test_the_keyboard_controller_tests_itself_and_finds_nobody(board: Board) -> None:
    assert board.keyboard.read(0x64, 1) == 0x14  # system flag, keyboard not locked
    for command, answer in ((0xAA, 0x55), (0xAB, 1), (0xA9, 1)):
        board.keyboard.write(0x64, 1, command)
        assert board.keyboard.read(0x64, 1) & 0xB == 9
        assert board.keyboard.read(0x60, 1) == answer
        assert not board.keyboard.read(0x64, 1) & 1
    board.keyboard.write(0x60, 1, 0xF5)  # to a keyboard that is not there
    assert not board.keyboard.read(0x64, 1) & 1


def test_the_keyboard_controllers_command_byte(board: Board) -> None:
    board.keyboard.write(0x64, 1, 0x60)
    board.keyboard.write(0x60, 1, 0x47)
    board.keyboard.write(0x64, 1, 0x20)
    assert board.keyboard.read(0x60, 1) == 0x47


def test_snapshots_go_on(board: Board) -> None:
    board.power.write(EN, 2, 1)
    board.reset.write(0xCF9, 1, 2)
    board.keyboard.write(0x64, 1, 0xD1)
    other = Board()
    for name in ("power", "reset", "keyboard"):
        getattr(other, name).load(getattr(board, name).save())
    other.at(WRAP)
    assert other.raised() == (True, False)
    assert other.reset.read(0xCF9, 1) == 2
    other.keyboard.write(0x60, 1, 0)
    assert other.ended == ["reset"]
