"""The CRT controller's registers (MC6845 data sheet)."""

from __future__ import annotations

import pytest

from paracell.emu.devices.crtc import Crtc

INDEX, DATA = 0x3D4, 0x3D5


@pytest.fixture
def crtc() -> Crtc:
    return Crtc()


def test_the_cursor_stands_where_it_was_put(crtc: Crtc) -> None:
    for register, value in ((14, 0x07), (15, 0xCF)):
        crtc.write(INDEX, 1, register)
        assert crtc.read(DATA, 1) == 0
        crtc.write(DATA, 1, value)
    for register, value in ((14, 0x07), (15, 0xCF)):
        crtc.write(INDEX, 1, register)
        assert (crtc.read(INDEX, 1), crtc.read(DATA, 1)) == (register, value)


def test_a_word_writes_index_and_register(crtc: Crtc) -> None:
    crtc.write(INDEX, 2, 0x120A)
    assert (crtc.read(INDEX, 1), crtc.read(DATA, 1)) == (0x0A, 0x12)


def test_registers_that_are_not_there_read_0(crtc: Crtc) -> None:
    crtc.write(INDEX, 1, 0xFF)
    crtc.write(DATA, 1, 0xFF)
    assert (crtc.read(INDEX, 1), crtc.read(DATA, 1)) == (0x1F, 0)


def test_a_snapshot_goes_on(crtc: Crtc) -> None:
    crtc.write(INDEX, 2, 0x120F)
    other = Crtc()
    other.load(crtc.save())
    assert (other.read(INDEX, 1), other.read(DATA, 1)) == (0x0F, 0x12)
