"""The 16550 against its data sheet (PC16550D), and what a 16750 adds (TL16C750)."""

from __future__ import annotations

import pytest

from paracell.emu.clock import TSC_HZ, Clock
from paracell.emu.devices.uart import Uart

BASE = 0x3F8
DATA, IER, IIR, FCR, LCR, MCR, LSR, MSR, SCR = 0, 1, 2, 2, 3, 4, 5, 6, 7
OUT2, LOOP, DLAB = 8, 0x10, 0x80
RECEIVED, TIMEOUT, EMPTY, MODEM, NONE = 4, 0xC, 2, 0, 1
DR, THRE, TEMT, DCD, DDCD = 1, 0x20, 0x40, 0x80, 8


class Line:
    """A UART, and both ends of what it is plugged into."""

    def __init__(self) -> None:
        self.sent = bytearray()
        self.coming = bytearray()
        self.ended = False
        self.clock = Clock()
        self.uart = Uart(BASE, self.sent.extend, self.take, lambda: self.ended, lambda: None, self.clock)

    def take(self, count: int) -> bytes:
        taken, self.coming = bytes(self.coming[:count]), self.coming[count:]
        return taken

    def __getitem__(self, offset: int) -> int:
        return self.uart.read(BASE + offset, 1)

    def __setitem__(self, offset: int, value: int) -> None:
        self.uart.write(BASE + offset, 1, value)


@pytest.fixture
def line() -> Line:
    return Line()


def test_bytes_go_out_and_the_transmitter_is_empty(line: Line) -> None:
    for byte in b"out":
        line[DATA] = byte
    assert line.sent == b"out"
    assert line[LSR] == THRE | TEMT


def test_bytes_come_in(line: Line) -> None:
    line[FCR] = 1
    line.coming += b"in"
    assert line[LSR] & DR
    assert [line[DATA], line[DATA], line[DATA]] == [*b"in", 0]
    assert not line[LSR] & DR


def test_the_divisor_latch_hides_data_and_interrupt_enable(line: Line) -> None:
    line[IER] = 5
    line[LCR] = DLAB | 3
    line[DATA], line[IER] = 0x34, 0x12
    assert (line[DATA], line[IER]) == (0x34, 0x12)
    line[LCR] = 3
    assert line[IER] == 5
    assert line.sent == b""


@pytest.mark.parametrize(
    ("register", "written", "read"), [(IER, 0xFF, 0x0F), (LCR, 0x7F, 0x7F), (MCR, 0xFF, 0x1F), (SCR, 0xA5, 0xA5)]
)
def test_registers_keep_their_bits(line: Line, register: int, written: int, read: int) -> None:
    line[register] = written
    assert line[register] == read


def test_received_data_interrupts_while_there_is_some(line: Line) -> None:
    line[FCR] = 1
    line[MCR], line[IER] = OUT2, 1
    assert (line.uart.line(), line[IIR] & 0xF) == (False, NONE)
    line.coming += b"xy"
    assert (line.uart.line(), line[IIR] & 0xF) == (True, RECEIVED)
    line[DATA]
    assert (line.uart.line(), line[IIR] & 0xF) == (True, RECEIVED)
    line[DATA]
    assert (line.uart.line(), line[IIR] & 0xF) == (False, NONE)


def test_an_empty_transmitter_interrupts_until_it_is_told(line: Line) -> None:
    """Reading IIR, if this is its cause, or writing THR clears it."""
    line[MCR], line[IER] = OUT2, 2
    assert line.uart.line()
    assert [line[IIR], line[IIR]] == [EMPTY, NONE]
    assert not line.uart.line()
    line[DATA] = 1
    assert line.uart.line()


def test_received_data_outranks_an_empty_transmitter(line: Line) -> None:
    line[MCR], line[IER] = OUT2, 3
    line.coming += b"x"
    assert line.uart.line()
    assert line[IIR] == RECEIVED
    line[DATA]
    assert line[IIR] == EMPTY


def test_out2_gates_nothing(line: Line) -> None:
    line[MCR], line[IER] = 0, 2
    assert line.uart.line()


def test_iir_shows_whether_fifos_are_on(line: Line) -> None:
    assert line[IIR] & 0xC0 == 0
    line[FCR] = 1
    assert line[IIR] & 0xC0 == 0xC0


def test_fcr_clears_what_has_come(line: Line) -> None:
    line[FCR] = 1
    line.coming += b"old"
    assert line[LSR] & DR
    line[FCR] = 3
    assert not line[LSR] & DR


def test_a_fifo_of_sixteen_bytes_takes_no_more(line: Line) -> None:
    line[FCR] = 1
    line.coming += bytes(range(40))
    assert line[LSR] & DR
    assert len(line.coming) == 24
    assert [line[DATA] for _ in range(40)] == list(range(40))


def test_the_end_shows_as_a_fallen_carrier(line: Line) -> None:
    line[MCR], line[IER] = OUT2, 8
    assert line[MSR] & (DCD | DDCD) == DCD
    line.coming += b"z"
    line.ended = True
    assert line[MSR] & DCD  # a byte is still to be read
    assert not line.uart.line()
    line[DATA]
    assert (line.uart.line(), line[IIR]) == (True, MODEM)
    assert line[MSR] & (DCD | DDCD) == DDCD
    assert line[MSR] & (DCD | DDCD) == 0  # reading clears the change
    assert (line.uart.line(), line[IIR]) == (False, NONE)


def test_loopback(line: Line) -> None:
    """What is sent comes back; DTR, RTS, OUT1 and OUT2 are DSR, CTS, RI and DCD."""
    line.coming += b"far"
    line[FCR] = 1
    for outputs, inputs in ((0, 0), (1, 0x20), (2, 0x10), (4, 0x40), (8, 0x80), (0xF, 0xF0)):
        line[MCR] = LOOP | outputs
        assert line[MSR] == inputs
    line[DATA] = 0x41
    assert line[DATA] == 0x41
    assert line.sent == b""
    line[MCR] = OUT2
    assert line[DATA] == ord("f")


def test_a_block_goes_at_once_or_not_at_all(line: Line) -> None:
    assert line.uart.write_block(b"block")
    assert line.sent == b"block"
    line[LCR] = DLAB
    assert not line.uart.write_block(b"no")
    line[LCR], line[MCR] = 3, LOOP
    assert not line.uart.write_block(b"no")
    assert line.sent == b"block"


def test_its_state_goes_and_comes(line: Line) -> None:
    line[LCR] = DLAB | 3
    line[DATA], line[IER] = 1, 0
    line[LCR], line[MCR], line[IER], line[FCR], line[SCR] = 3, OUT2, 3, 1, 0x77
    line.coming += b"abc"
    line[DATA]
    other = Line()
    other.uart.load(line.uart.save())
    assert other.uart.save() == line.uart.save()
    assert (other[DATA], other[SCR], other[IIR]) == (ord("b"), 0x77, 0xC0 | RECEIVED)


def test_hardware_flow_control_holds_bytes_back_until_rts(line: Line) -> None:
    line.uart.flow_control = True
    line.coming += b"early"
    line[FCR] = 7
    line[IER] = 1
    line[MCR] = OUT2
    assert not line[LSR] & DR
    assert not line.uart.line()
    line[MCR] = OUT2 | 2
    assert line.uart.line()
    assert bytes(line[DATA] for _ in range(5)) == b"early"


@pytest.mark.parametrize("divisor", [1, 12])
def test_without_fifos_one_byte_comes_at_a_time(line: Line, divisor: int) -> None:
    """An edge for each, as far apart as ten bits take at 115,200 / divisor baud."""
    line[LCR] = DLAB
    line[DATA] = divisor
    line[LCR] = 3
    line.coming += b"xyz"
    line[IER] = 1
    character = 10 * divisor * TSC_HZ // 115_200
    for number, byte in enumerate(b"xyz"):
        assert line.uart.line()
        assert bytes(line.coming) == b"xyz"[number + 1 :]
        assert line[DATA] == byte
        assert not line.uart.line()
        assert not line[LSR] & DR
        due = line.uart.due
        assert due == line.clock.now + character
        line.clock.cycles = due - 1
        line.uart.service()
        assert not line[LSR] & DR
        line.clock.cycles = due
        line.uart.service()
    assert not line[LSR] & DR
    assert line.uart.due is None


def test_fifos_need_no_time(line: Line) -> None:
    line[FCR], line[IER] = 1, 1
    line.coming += b"xy"
    assert [line[DATA], line[DATA]] == list(b"xy")
    assert line.uart.due is None


def of_64_bytes(line: Line, trigger: int) -> None:
    line[LCR] = DLAB
    line[FCR] = 0x21 | trigger << 6
    line[LCR] = 3
    line[IER] = 1


def test_a_fifo_of_64_bytes_is_chosen_while_dlab_is_set_only(line: Line) -> None:
    line[FCR] = 0x21
    assert line[IIR] & 0xE0 == 0xC0
    of_64_bytes(line, 0)
    assert line[IIR] & 0xE0 == 0xE0
    line[FCR] = 0xC1  # without DLAB the size stays
    line.coming += bytes(100)
    assert line[IIR] == 0xE0 | RECEIVED
    assert len(line.coming) == 36
    line[FCR] = 0
    assert line[IIR] & 0xE0 == 0


@pytest.mark.parametrize(("size", "levels"), [(16, (1, 4, 8, 14)), (64, (1, 16, 32, 56))])
def test_iir_tells_whether_the_trigger_level_is_reached(size: int, levels: tuple[int, ...]) -> None:
    for trigger, level in enumerate(levels):
        line = Line()
        of_64_bytes(line, trigger)
        if size == 16:
            line[FCR], line[IER] = 0, 0
            line[FCR], line[IER] = 1 | trigger << 6, 1
        for count in range(1, size + 1):
            line.coming += b"x"
            assert line[IIR] & 0xF == (RECEIVED if count >= level else TIMEOUT), (level, count)
            assert line.uart.line()


def test_a_block_is_read_at_once_or_not_at_all(line: Line) -> None:
    of_64_bytes(line, 3)
    line.coming += bytes(range(200))
    assert line.uart.read_block(56) == bytes(range(56))
    assert line.uart.read_block(100) == bytes(range(56, 156))  # while a byte is read the next comes in
    assert line.uart.read_block(60) is None
    assert line.uart.read_block(44) == bytes(range(156, 200))
    assert not line.uart.line()
    line.coming += b"x"
    line[LCR] = DLAB
    assert line.uart.read_block(1) is None


@pytest.mark.parametrize("block", [False, True])
def test_each_change_of_the_interrupt_line_is_told(block: bool) -> None:
    told: list[bool] = []
    line = Line()
    line.uart = Uart(BASE, line.sent.extend, line.take, lambda: False, lambda: told.append(line.uart.line()))
    of_64_bytes(line, 3)
    told.clear()
    line.coming += b"abc"
    line.uart.line()  # as whoever learns that there is input does
    if block:
        assert line.uart.read_block(3) == b"abc"
    else:
        assert bytes(line[DATA] for _ in range(3)) == b"abc"
    assert told == [False]
