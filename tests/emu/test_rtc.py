"""The real-time clock against its data sheet (MC146818A)."""

from __future__ import annotations

import pytest

from paracell.emu.clock import TSC_HZ, Clock
from paracell.emu.devices.rtc import Rtc

SECONDS, SECONDS_ALARM, MINUTES, MINUTES_ALARM, HOURS, HOURS_ALARM, WEEKDAY, DAY, MONTH, YEAR = range(10)
A, B, C, D, CENTURY = 0xA, 0xB, 0xC, 0xD, 0x32
SET, PIE, AIE, UIE, DM, H24 = 0x80, 0x40, 0x20, 0x10, 4, 2
IRQF, PF, AF, UF = 0x80, 0x40, 0x20, 0x10


class Chip:
    """An RTC with a clock to turn by hand, in seconds."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.rtc = Rtc(self.clock, 64 << 20, lambda: None)

    def at(self, seconds: float) -> None:
        self.clock.cycles = round(seconds * TSC_HZ)
        self.rtc.service()

    def __getitem__(self, register: int) -> int:
        self.rtc.write(0x70, 1, register)
        return self.rtc.read(0x71, 1)

    def __setitem__(self, register: int, value: int) -> None:
        self.rtc.write(0x70, 1, register)
        self.rtc.write(0x71, 1, value)

    def interrupt(self) -> tuple[bool, int | None]:
        """The line, and when it may rise next."""
        return self.rtc.line(), self.rtc.due

    def time(self) -> tuple[int, ...]:
        return tuple(self[register] for register in (CENTURY, YEAR, MONTH, DAY, WEEKDAY, HOURS, MINUTES, SECONDS))


@pytest.fixture
def chip() -> Chip:
    return Chip()


def test_it_begins_at_the_stated_date_and_goes_by_virtual_time(chip: Chip) -> None:
    assert chip.time() == (0x20, 0x26, 1, 1, 5, 0, 0, 0)  # a Thursday; BCD, 24 hours
    chip.at(59.9)
    assert chip.time()[-2:] == (0, 0x59)
    chip.at(3600 * 37 + 60 * 23 + 45)
    assert chip.time() == (0x20, 0x26, 1, 2, 6, 0x13, 0x23, 0x45)


@pytest.mark.parametrize(
    ("mode", "hour", "shown"),
    [
        (H24, 0, 0), (H24, 23, 0x23), (H24 | DM, 23, 23), (0, 0, 0x12), (0, 11, 0x11), (0, 12, 0x92), (0, 13, 0x81),
        (0, 23, 0x91), (DM, 0, 12), (DM, 12, 0x8C), (DM, 23, 0x8B),
    ],
)  # fmt: skip
def test_hours_in_each_format(chip: Chip, mode: int, hour: int, shown: int) -> None:
    chip[B] = mode
    chip.at(3600 * hour)
    assert chip[HOURS] == shown
    chip.at(0)
    chip[B] = mode | SET
    chip[HOURS] = shown
    chip[B] = mode
    chip[B] = H24 | DM
    assert chip[HOURS] == hour


def test_setting_the_time(chip: Chip) -> None:
    chip.at(100)
    chip[B] = SET | H24
    assert chip[SECONDS] == 0x40
    chip.at(105)
    assert chip[SECONDS] == 0x40  # updates are off
    for register, value in ((CENTURY, 0x19), (YEAR, 0x99), (MONTH, 0x12), (DAY, 0x31), (HOURS, 0x23), (MINUTES, 0x59)):
        chip[register] = value
    chip[SECONDS] = 0x58
    chip[B] = H24
    assert chip.time() == (0x19, 0x99, 0x12, 0x31, 6, 0x23, 0x59, 0x58)
    chip.at(107)
    assert chip.time() == (0x20, 0, 1, 1, 7, 0, 0, 0)


def test_update_in_progress_goes_before_the_seconds(chip: Chip) -> None:
    """UIP is set 244 µs before the update, which takes 1984 µs: who sees it clear has 244 µs."""
    assert not chip[A] & 0x80
    chip.at(1 - 0.0023)
    assert not chip[A] & 0x80
    chip.at(1 - 0.0022)
    assert chip[A] & 0x80
    chip.at(1)
    assert not chip[A] & 0x80
    chip[B] = SET | H24
    chip.at(2 - 0.001)
    assert not chip[A] & 0x80


def test_the_update_interrupt(chip: Chip) -> None:
    assert chip.interrupt() == (False, None)
    chip[B] = UIE | H24
    assert chip.interrupt() == (False, TSC_HZ)
    chip.at(0.99)
    assert chip.interrupt() == (False, TSC_HZ)
    chip.at(1)
    assert chip.interrupt() == (True, None)  # until C is read, no other can come
    assert chip[C] & ~PF == IRQF | UF
    assert chip.interrupt() == (False, 2 * TSC_HZ)
    assert chip[C] == 0


def test_flags_without_interrupts(chip: Chip) -> None:
    chip.at(1.5)
    assert chip[C] & (IRQF | UF) == UF
    assert chip.rtc.due is None


@pytest.mark.parametrize(("rate", "hertz"), [(1, 256), (2, 128), (3, 8192), (6, 1024), (10, 64), (15, 2)])
def test_the_periodic_interrupt(chip: Chip, rate: int, hertz: int) -> None:
    chip[A] = 0x20 | rate
    chip[B] = PIE | H24
    came = 0
    while chip.rtc.due is not None and chip.rtc.due <= TSC_HZ:
        chip.at(chip.rtc.due / TSC_HZ)
        assert chip.rtc.line()
        came += 1
        assert chip[C] & (IRQF | PF) == IRQF | PF
    assert came == hertz


def test_no_rate_no_interrupt(chip: Chip) -> None:
    chip[A] = 0x20
    chip[B] = PIE | H24
    assert chip.rtc.due is None


def test_the_alarm(chip: Chip) -> None:
    for register, value in ((HOURS_ALARM, 0), (MINUTES_ALARM, 1), (SECONDS_ALARM, 0x30)):
        chip[register] = value
    chip[B] = AIE | H24
    for second in range(90):
        chip.at(second)
        assert not chip.rtc.line()
    chip.at(90)
    assert chip[C] & (IRQF | AF) == IRQF | AF
    chip[SECONDS_ALARM] = chip[MINUTES_ALARM] = chip[HOURS_ALARM] = 0xFF  # each second
    chip.at(91)
    assert chip[C] & AF


def test_a_long_look_away_misses_no_alarm(chip: Chip) -> None:
    chip[HOURS_ALARM], chip[MINUTES_ALARM], chip[SECONDS_ALARM] = 2, 0, 0
    chip.clock.cycles = 3 * 3600 * TSC_HZ
    assert chip[C] & AF


def test_set_clears_uie_and_stops_updates(chip: Chip) -> None:
    chip[B] = UIE | H24
    chip[B] = SET | UIE | H24
    assert not chip[B] & UIE
    assert chip.rtc.due is None


def test_status_and_memory(chip: Chip) -> None:
    assert chip[D] == 0x80
    chip[D] = 0
    assert chip[D] == 0x80
    chip[0x7F] = 0x5A
    assert chip[0x7F] == 0x5A
    assert chip[0xFF] == 0x5A  # bit 7 of the index is the NMI's
    assert (chip[0x15] | chip[0x16] << 8, chip[0x17] | chip[0x18] << 8) == (640, 63 * 1024)
    assert chip[0x34] | chip[0x35] << 8 == 48 << 4


def test_a_date_that_is_none_leaves_the_clock_going(chip: Chip) -> None:
    chip[MONTH] = 0x13
    assert chip[MONTH] == 1


def test_a_snapshot_goes_on(chip: Chip) -> None:
    chip[B] = UIE | H24
    chip[0x40] = 7
    chip.at(0.5)
    other = Chip()
    other.clock.cycles = chip.clock.cycles
    other.rtc.load(chip.rtc.save())
    for each in (chip, other):
        each.at(1)
    assert other.rtc.save() == chip.rtc.save()
    assert other[C] & ~PF == IRQF | UF
    assert other[0x40] == 7
