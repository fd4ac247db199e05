"""The 8254 against its data sheet (Intel 8254), and port 0x61."""

from __future__ import annotations

import pytest

from paracell.emu.clock import TSC_HZ, Clock
from paracell.emu.devices.pit import PIT_HZ, Pit

CONTROL, SPEAKER = 0x43, 0x61


class Timer:
    """A PIT with a clock to turn by hand, in ticks of 1,193,182 a second."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.pit = Pit(self.clock)

    def at(self, ticks: int) -> None:
        self.clock.cycles = -(-ticks * TSC_HZ // PIT_HZ)

    def program(self, counter: int, mode: int, count: int, access: int = 3) -> None:
        self.pit.write(CONTROL, 1, counter << 6 | access << 4 | mode << 1)
        for value in {1: [count], 2: [count >> 8], 3: [count & 0xFF, count >> 8]}[access]:
            self.pit.write(0x40 + counter, 1, value & 0xFF)

    def word(self, counter: int) -> int:
        return self.pit.read(0x40 + counter, 1) | self.pit.read(0x40 + counter, 1) << 8

    def status(self, counter: int) -> int:
        self.pit.write(CONTROL, 1, 0xE0 | 2 << counter)
        return self.pit.read(0x40 + counter, 1)


@pytest.fixture
def timer() -> Timer:
    return Timer()


def test_mode_0_interrupts_once_on_terminal_count(timer: Timer) -> None:
    timer.program(0, 0, 1000)
    timer.at(999)
    assert not timer.pit.fired()
    assert timer.status(0) >> 7 == 0  # OUT is low
    timer.at(1000)
    assert timer.pit.fired()
    assert timer.status(0) >> 7 == 1
    assert timer.pit.next is None
    timer.at(1_000_000)
    assert not timer.pit.fired()


@pytest.mark.parametrize("mode", [2, 3, 6, 7])
def test_modes_2_and_3_interrupt_every_period(timer: Timer, mode: int) -> None:
    """Bit 2 of the mode does not matter for 2 and 3."""
    timer.program(0, mode, 1000)
    edges = []
    for tick in range(5001):
        timer.at(tick)
        if timer.pit.fired():
            edges.append(tick)
    assert edges == [1000, 2000, 3000, 4000, 5000]
    assert timer.status(0) >> 1 & 7 == mode & 3


def test_a_count_of_0_is_65536(timer: Timer) -> None:
    timer.program(0, 2, 0)
    timer.at(65535)
    assert not timer.pit.fired()
    timer.at(65536)
    assert timer.pit.fired()


@pytest.mark.parametrize(
    ("mode", "at", "shown"), [(0, 300, 700), (2, 300, 700), (2, 1300, 700), (3, 300, 400), (0, 1001, 0xFFFF)]
)
def test_the_count_goes_down(timer: Timer, mode: int, at: int, shown: int) -> None:
    """By one a tick, by two in mode 3; in mode 0 it wraps."""
    timer.program(0, mode, 1000)
    timer.at(at)
    assert timer.word(0) == shown


def test_a_latched_count_stays_until_it_is_read(timer: Timer) -> None:
    timer.program(0, 2, 1000)
    timer.at(100)
    timer.pit.write(CONTROL, 1, 0)
    timer.at(200)
    timer.pit.write(CONTROL, 1, 0)  # ignored: one waits
    timer.at(300)
    assert timer.word(0) == 900
    assert timer.word(0) == 700


def test_read_back_latches_several_counters_and_their_status(timer: Timer) -> None:
    timer.program(0, 2, 1000)
    timer.program(2, 3, 500)
    timer.at(100)
    timer.pit.write(CONTROL, 1, 0xC0 | 2 | 8)  # count and status of 0 and 2
    timer.at(400)
    assert timer.pit.read(0x40, 1) == 0x80 | 0x34  # the status comes first: OUT high, two bytes, mode 2
    assert timer.word(0) == 900
    assert timer.pit.read(0x42, 1) & 0x7F == 0x36
    assert timer.word(2) == 300


def test_null_count_until_the_count_is_loaded(timer: Timer) -> None:
    timer.pit.write(CONTROL, 1, 0x34)
    assert timer.status(0) >> 6 & 1 == 1
    timer.pit.write(0x40, 1, 100)
    assert timer.status(0) >> 6 & 1 == 1  # half of it
    timer.pit.write(0x40, 1, 0)
    assert timer.status(0) >> 6 & 1 == 0


@pytest.mark.parametrize(("access", "count", "loaded"), [(1, 0x34, 0x34), (2, 0x1200, 0x1200), (3, 0x1234, 0x1234)])
def test_access_by_low_byte_high_byte_or_both(timer: Timer, access: int, count: int, loaded: int) -> None:
    timer.program(0, 2, count, access)
    if access == 3:
        assert timer.word(0) == loaded
    else:
        assert timer.pit.read(0x40, 1) == (loaded if access == 1 else loaded >> 8)
    timer.at(loaded)
    assert timer.pit.fired()


def test_a_control_word_stops_the_counter(timer: Timer) -> None:
    timer.program(0, 2, 1000)
    timer.pit.write(CONTROL, 1, 0x34)
    timer.at(10_000)
    assert not timer.pit.fired()


def test_port_61_shows_counter_2_and_refresh(timer: Timer) -> None:
    timer.pit.write(SPEAKER, 1, 0)
    timer.program(2, 0, 1000)
    timer.at(5000)
    timer.pit.write(SPEAKER, 1, 1)  # the gate opens: it counts from here
    timer.at(5999)
    assert timer.pit.read(SPEAKER, 1) & 0x23 == 1
    timer.at(6000)
    assert timer.pit.read(SPEAKER, 1) & 0x23 == 0x21
    seen = set()
    for tick in range(100):
        timer.at(6000 + tick)
        seen.add(timer.pit.read(SPEAKER, 1) & 0x10)
    assert seen == {0, 0x10}


def test_its_state_goes_and_comes(timer: Timer) -> None:
    timer.program(0, 2, 1000)
    timer.program(2, 3, 700)
    timer.at(123)
    timer.pit.write(CONTROL, 1, 0xC0 | 2)
    other = Timer()
    other.clock.cycles = timer.clock.cycles
    other.pit.load(timer.pit.save())
    assert other.pit.save() == timer.pit.save()
    assert other.pit.read(0x40, 1) == timer.pit.read(0x40, 1)
    assert other.word(0) == timer.word(0)
