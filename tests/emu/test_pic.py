"""The two 8259As against their data sheet (Intel 8259A)."""

from __future__ import annotations

import pytest

from paracell.emu.devices.pic import Pic

MASTER, SLAVE = 0x20, 0xA0
EOI, SPECIFIC_EOI, READ_IRR, READ_ISR, POLL = 0x20, 0x60, 0x0A, 0x0B, 0x0C


def pic(*, auto: bool = False) -> Pic:
    """Give the pair as a PC's kernel programs it: vectors 0x20 and 0x28, nothing masked."""
    made = Pic()
    for base, vector, icw3 in ((MASTER, 0x20, 4), (SLAVE, 0x28, 2)):
        made.write(base, 1, 0x11)
        for value in (vector, icw3, 3 if auto else 1):
            made.write(base + 1, 1, value)
        made.write(base + 1, 1, 0)
    return made


def pulse(pic: Pic, irq: int) -> None:
    pic.set_line(irq, level=False)
    pic.set_line(irq, level=True)


def test_after_reset_everything_is_masked() -> None:
    made = Pic()
    pulse(made, 0)
    assert not made.waiting()


def test_priorities_nest() -> None:
    made = pic()
    for irq in (5, 3):
        pulse(made, irq)
    assert made.acknowledge() == 0x23
    assert not made.waiting()  # 5 is below what is in service
    pulse(made, 1)
    assert made.acknowledge() == 0x21
    made.write(MASTER, 1, READ_ISR)
    assert made.read(MASTER, 1) == 1 << 1 | 1 << 3
    made.write(MASTER, 1, EOI)  # the highest in service
    assert made.read(MASTER, 1) == 1 << 3
    made.write(MASTER, 1, SPECIFIC_EOI | 3)
    assert made.acknowledge() == 0x25
    made.write(MASTER, 1, READ_IRR)
    assert made.read(MASTER, 1) == 0


def test_a_request_is_an_edge() -> None:
    made = pic()
    made.set_line(4, level=True)
    assert made.acknowledge() == 0x24
    made.write(MASTER, 1, EOI)
    made.set_line(4, level=True)
    assert not made.waiting()  # it never went low
    pulse(made, 4)
    assert made.waiting()
    made.set_line(4, level=False)
    assert not made.waiting()  # a request that goes before it is acknowledged was none


def test_a_request_that_has_gone_is_the_spurious_irq_7() -> None:
    made = pic()
    assert made.acknowledge() == 0x27
    made.write(MASTER, 1, READ_ISR)
    assert made.read(MASTER, 1) == 0


def test_a_mask_holds_a_request_and_does_not_forget_it() -> None:
    made = pic()
    made.write(MASTER + 1, 1, 1 << 3)
    assert made.read(MASTER + 1, 1) == 1 << 3
    pulse(made, 3)
    assert not made.waiting()
    made.write(MASTER + 1, 1, 0)
    assert made.acknowledge() == 0x23


def test_the_slave_comes_through_irq_2() -> None:
    made = pic()
    pulse(made, 12)
    pulse(made, 3)
    assert made.acknowledge() == 0x2C  # IRQ 2 of the master is above IRQ 3
    assert not made.waiting()
    pulse(made, 8)
    made.write(SLAVE, 1, EOI)
    made.write(MASTER, 1, EOI)
    assert made.acknowledge() == 0x28
    made.write(SLAVE, 1, EOI)
    made.write(MASTER, 1, EOI)
    assert made.acknowledge() == 0x23


def test_a_slave_masked_at_the_master_is_silent() -> None:
    made = pic()
    made.write(MASTER + 1, 1, 1 << 2)
    pulse(made, 9)
    assert not made.waiting()


def test_initialisation_forgets_requests_masks_and_modes() -> None:
    made = pic()
    made.write(MASTER + 1, 1, 0xFF)
    made.write(MASTER, 1, READ_ISR)
    made.write(MASTER, 1, 0x68)  # special mask mode
    made.write(MASTER, 1, 0xC2)  # IRQ 2 is lowest
    pulse(made, 6)
    made.write(MASTER, 1, 0x11)
    for value in (0x40, 4, 1):
        made.write(MASTER + 1, 1, value)
    assert made.read(MASTER + 1, 1) == 0
    assert not made.waiting()
    pulse(made, 6)
    pulse(made, 4)
    assert made.read(MASTER, 1) == 1 << 6 | 1 << 4  # IRR, again
    assert made.acknowledge() == 0x44  # the lowest number first, again


@pytest.mark.parametrize(
    ("icw1", "words"), [(0x10, [0x20, 4]), (0x11, [0x20, 4, 1]), (0x12, [0x20]), (0x13, [0x20, 1])]
)
def test_how_many_words_initialise_it(icw1: int, words: list[int]) -> None:
    """ICW3 only in cascade, ICW4 only if ICW1 asks for it; what follows is the mask."""
    made = Pic()
    made.write(MASTER, 1, icw1)
    for value in words:
        made.write(MASTER + 1, 1, value)
    made.write(MASTER + 1, 1, 0x5A)
    assert made.read(MASTER + 1, 1) == 0x5A


def test_automatic_end_of_interrupt() -> None:
    made = pic(auto=True)
    pulse(made, 3)
    assert made.acknowledge() == 0x23
    pulse(made, 5)
    assert made.acknowledge() == 0x25  # nothing is in service


def test_rotation_in_automatic_mode() -> None:
    made = pic(auto=True)
    made.write(MASTER, 1, 0x80)
    for expected in (3, 5, 3, 5):
        pulse(made, 3)
        pulse(made, 5)
        assert made.acknowledge() == 0x20 + expected
    made.write(MASTER, 1, 0x00)


@pytest.mark.parametrize(("command", "first"), [(0xA0, 4), (0xE3, 4), (0xC5, 6), (0xC7, 0)])
def test_rotation(command: int, first: int) -> None:
    """After a rotating end of interrupt its level is the lowest; a set-priority command names the lowest."""
    made = pic()
    if command not in {0xC5, 0xC7}:
        pulse(made, 3)
        made.acknowledge()
    made.write(MASTER, 1, command)
    for irq in (0, 1, 3, 4, 5, 6, 7):
        pulse(made, irq)
    assert made.acknowledge() == 0x20 + first


def test_special_mask_mode_lets_lower_levels_through() -> None:
    made = pic()
    pulse(made, 3)
    made.acknowledge()
    made.write(MASTER + 1, 1, 1 << 3)
    pulse(made, 6)
    assert not made.waiting()
    made.write(MASTER, 1, 0x68)
    assert made.acknowledge() == 0x26
    made.write(MASTER, 1, 0x48)
    pulse(made, 7)
    assert not made.waiting()


def test_poll() -> None:
    made = pic()
    made.write(MASTER, 1, POLL)
    assert made.read(MASTER, 1) & 0x80 == 0
    pulse(made, 5)
    made.write(MASTER, 1, POLL)
    assert made.read(MASTER, 1) == 0x85
    made.write(MASTER, 1, READ_ISR)
    assert made.read(MASTER, 1) == 1 << 5


def test_its_state_goes_and_comes() -> None:
    made, other = pic(), Pic()
    pulse(made, 12)
    made.acknowledge()
    made.write(MASTER, 1, READ_ISR)
    made.write(SLAVE, 1, 0x68)
    other.load(made.save())
    assert other.save() == made.save()
    assert other.read(MASTER, 1) == 4
