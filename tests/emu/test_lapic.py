"""The local APIC against its chapter of the manual (SDM "Advanced Programmable Interrupt Controller"): timer modes, priorities, faces."""

from __future__ import annotations

import pytest

from paracell.emu.clock import Clock, Tsc
from paracell.emu.devices.lapic import Lapic
from paracell.emu.features import parse

TPR, PPR, EOI, LDR, DFR, SVR, ISR, IRR, ESR, ICR, ICR2 = (
    0x80, 0xA0, 0xB0, 0xD0, 0xE0, 0xF0, 0x100, 0x200, 0x280, 0x300, 0x310,
)  # fmt: skip
LVT_TIMER, LVT_LINT0, LVT_ERROR, INITIAL, CURRENT, DIVIDE = 0x320, 0x350, 0x370, 0x380, 0x390, 0x3E0
MASKED, PERIODIC, DEADLINE = 1 << 16, 1 << 17, 2 << 17
DIVIDE_BY_1 = 0xB
BASE, ENABLE, X2APIC, BSP = 0xFEE00000, 1 << 11, 1 << 10, 1 << 8


class Apic:
    """A local APIC, switched on, with a clock to turn by hand."""

    def __init__(self, cpu: str = "pks") -> None:
        self.clock = Clock()
        self.tsc = Tsc(self.clock)
        self.changes = 0
        self.lapic = Lapic(self.clock, self.tsc, self.changed, parse(cpu))
        self[SVR] = 0x1FF
        self[DIVIDE] = DIVIDE_BY_1

    def changed(self) -> None:
        self.changes += 1

    def __setitem__(self, register: int, value: int) -> None:
        self.lapic.mmio_write(register, value)

    def __getitem__(self, register: int) -> int:
        return self.lapic.mmio_read(register)

    def requests(self) -> list[int]:
        return [v for v in range(256) if self.lapic.irr >> v & 1]

    def pass_to(self, cycle: int) -> list[int]:
        """Let time pass as the machine does, from one deadline to the next; the cycles at which the timer interrupted."""
        fired = []
        while self.lapic.due is not None and self.lapic.due <= cycle:
            self.clock.cycles = max(self.clock.cycles, self.lapic.due)
            self.lapic.service()
            if self.lapic.irr:
                fired.append(self.clock.cycles)
                self.lapic.acknowledge()
                self[EOI] = 0
        self.clock.cycles = max(self.clock.cycles, cycle)
        return fired


@pytest.fixture
def apic() -> Apic:
    return Apic()


# ---- "APIC Timer" -----------------------------------------------------------------------------------------------------


def test_one_shot_fires_once(apic: Apic) -> None:
    apic[LVT_TIMER] = 0x40
    apic.clock.cycles = 50
    apic[INITIAL] = 100
    assert [apic[CURRENT]] == [100]
    apic.clock.cycles = 120
    assert apic[CURRENT] == 30
    assert apic.pass_to(1000) == [150]
    assert (apic[CURRENT], apic[INITIAL], apic.lapic.due) == (0, 100, None)


def test_periodic_fires_every_so_many_cycles(apic: Apic) -> None:
    apic[LVT_TIMER] = PERIODIC | 0x40
    apic[INITIAL] = 100
    assert apic.pass_to(350) == [100, 200, 300]
    assert apic[CURRENT] == 50


@pytest.mark.parametrize(("code", "divisor"), [(0, 2), (1, 4), (2, 8), (3, 16), (8, 32), (9, 64), (10, 128), (11, 1)])
def test_the_divide_configuration(apic: Apic, code: int, divisor: int) -> None:
    """SDM figure "Divide Configuration Register": bits 0, 1 and 3."""
    apic[DIVIDE] = code
    apic[LVT_TIMER] = 0x40
    apic[INITIAL] = 10
    apic.clock.cycles = 4 * divisor - 1
    assert apic[CURRENT] == 7
    assert apic.pass_to(10_000) == [10 * divisor]


def test_a_write_of_0_to_the_initial_count_stops_the_timer(apic: Apic) -> None:
    apic[LVT_TIMER] = PERIODIC | 0x40
    apic[INITIAL] = 100
    apic[INITIAL] = 0
    assert apic.pass_to(1000) == []
    assert apic[CURRENT] == 0


def test_a_new_initial_count_starts_afresh(apic: Apic) -> None:
    apic[LVT_TIMER] = 0x40
    apic[INITIAL] = 100
    apic.clock.cycles = 60
    apic[INITIAL] = 200
    assert apic.pass_to(1000) == [260]


@pytest.mark.parametrize("mode", [0, PERIODIC])
def test_a_masked_timer_counts_and_says_nothing(apic: Apic, mode: int) -> None:
    apic[LVT_TIMER] = mode | MASKED | 0x40
    apic[INITIAL] = 100
    assert apic.pass_to(250) == []
    assert apic[CURRENT] == (50 if mode else 0)


@pytest.mark.parametrize("change", [PERIODIC | 0x40, 0x40, PERIODIC | MASKED | 0x40])
def test_an_expired_one_shot_timer_stays_at_0_in_any_mode(apic: Apic, change: int) -> None:
    apic[LVT_TIMER] = 0x40
    apic[INITIAL] = 100
    assert apic.pass_to(150) == [100]
    apic[LVT_TIMER] = change
    apic[DIVIDE] = 10  # by 128: 150 cycles are hardly one count
    assert (apic[CURRENT], apic[INITIAL], apic.lapic.due) == (0, 100, None)
    assert apic.pass_to(100_000) == []
    apic[INITIAL] = 2
    assert apic.lapic.due == 100_000 + 2 * 128


@pytest.mark.parametrize(("first", "then"), [(0, PERIODIC), (PERIODIC, 0)])
@pytest.mark.parametrize("start", [30, 730])
def test_a_timer_counts_on_in_its_other_mode(apic: Apic, first: int, then: int, start: int) -> None:
    apic[LVT_TIMER] = first | 0x40
    apic[INITIAL] = 100 if first else 1000
    apic.pass_to(start)
    count = apic[CURRENT]
    apic[LVT_TIMER] = then | 0x40
    assert apic[CURRENT] == count
    fired = apic.pass_to(2200)
    assert fired == ([start + count, start + count + 1000] if then else [start + count])


@pytest.mark.parametrize("mode", [0, PERIODIC])
def test_a_timer_counts_on_at_another_rate(apic: Apic, mode: int) -> None:
    apic[LVT_TIMER] = mode | 0x40
    apic[INITIAL] = 100
    apic.clock.cycles = 40
    apic[DIVIDE] = 0  # by 2
    assert apic[CURRENT] == 60
    assert apic.pass_to(300)[0] == 40 + 2 * 60


# ---- "TSC-Deadline Mode" ----------------------------------------------------------------------------------------------


def test_a_deadline_fires_when_the_tsc_has_come_to_it(apic: Apic) -> None:
    apic[LVT_TIMER] = DEADLINE | 0x40
    apic.lapic.set_deadline(700)
    assert apic.lapic.deadline_tsc == 700
    assert apic.pass_to(1000) == [700]
    assert (apic.lapic.deadline_tsc, apic.lapic.due) == (0, None)  # it disarms itself


@pytest.mark.parametrize("tsc", [10**9, 5, (1 << 64) - 3000, 0])
def test_a_deadline_follows_a_tsc_that_was_written(apic: Apic, tsc: int) -> None:
    apic[LVT_TIMER] = DEADLINE | 0x40
    apic.clock.cycles = 777
    apic.tsc.write(tsc)
    assert apic.tsc.read() == tsc
    apic.lapic.set_deadline(tsc + 1000)
    assert apic.lapic.due == 777 + 1000
    assert apic.pass_to(10_000) == [1777]


def test_the_tsc_is_written_while_a_deadline_waits(apic: Apic) -> None:
    apic[LVT_TIMER] = DEADLINE | 0x40
    apic.lapic.set_deadline(5000)
    apic.tsc.write(4000)
    assert apic.lapic.due == 1000
    apic.tsc.set_adjust(0)
    assert apic.lapic.due == 5000
    changes = apic.changes
    apic.clock.cycles = 10
    apic.tsc.write(6000)  # past it already
    assert apic.lapic.due == 10
    assert apic.changes == changes + 1
    assert apic.pass_to(10) == [10]


def test_a_deadline_in_the_past_fires_at_once(apic: Apic) -> None:
    apic[LVT_TIMER] = DEADLINE | 0x40
    apic.clock.cycles = 1000
    apic.lapic.set_deadline(1)
    assert apic.pass_to(1000) == [1000]


def test_a_vmx_offset_is_not_the_timers(apic: Apic) -> None:
    """The offset changes what software reads in a guest, not the counter."""
    apic[LVT_TIMER] = DEADLINE | 0x40
    apic.tsc.offset = 10**6
    assert apic.tsc.read() == 10**6
    apic.lapic.set_deadline(700)
    assert apic.lapic.due == 700


def test_a_deadline_of_0_disarms(apic: Apic) -> None:
    apic[LVT_TIMER] = DEADLINE | 0x40
    apic.lapic.set_deadline(700)
    apic.lapic.set_deadline(0)
    assert apic.pass_to(1000) == []


@pytest.mark.parametrize("mode", [0, PERIODIC])
def test_other_modes_ignore_deadlines(apic: Apic, mode: int) -> None:
    apic[LVT_TIMER] = mode | 0x40
    apic.lapic.set_deadline(700)
    assert (apic.lapic.deadline_tsc, apic.lapic.due) == (0, None)


def test_deadline_mode_ignores_the_counts(apic: Apic) -> None:
    apic[LVT_TIMER] = DEADLINE | 0x40
    apic.lapic.set_deadline(700)
    apic[INITIAL] = 5
    assert (apic[INITIAL], apic[CURRENT]) == (0, 0)
    assert apic.pass_to(1000) == [700]


def test_a_change_of_mode_disarms(apic: Apic) -> None:
    apic[LVT_TIMER] = 0x40
    apic[INITIAL] = 100
    apic[LVT_TIMER] = DEADLINE | 0x40
    assert apic.pass_to(500) == []
    apic.lapic.set_deadline(700)
    apic[LVT_TIMER] = 0x40
    assert apic.lapic.deadline_tsc == 0
    assert apic.pass_to(2000) == []


def test_a_processor_without_the_mode_ignores_bit_18(apic: Apic) -> None:
    old = Apic("x86-64")
    old[LVT_TIMER] = DEADLINE | 0x40
    assert old[LVT_TIMER] == 0x40
    apic[LVT_TIMER] = DEADLINE | 0x40
    assert apic[LVT_TIMER] == DEADLINE | 0x40


# ---- "Interrupt, Task, and Processor Priority", "Signaling Interrupt Servicing Completion" ----------------------------


def test_a_request_waits_until_its_class_is_above_the_processors(apic: Apic) -> None:
    for tpr, waits in ((0x00, True), (0x3F, True), (0x40, False), (0x4F, False), (0xFF, False)):
        apic[TPR] = tpr
        apic.lapic.irr = 1 << 0x41
        assert apic.lapic.waiting() is waits, hex(tpr)


def test_the_highest_vector_is_served_first_and_eoi_ends_it(apic: Apic) -> None:
    for vector in (0x31, 0x52, 0x51):
        apic[ICR] = 1 << 18 | vector
    assert apic.requests() == [0x31, 0x51, 0x52]
    assert apic.lapic.acknowledge() == 0x52
    assert apic[PPR] == 0x50
    assert not apic.lapic.waiting()  # 0x51 is of the same class
    assert apic[ISR + 0x20] == 1 << 0x12
    assert apic[IRR + 0x20] == 1 << 0x11
    apic[EOI] = 0
    assert (apic.lapic.waiting(), apic.lapic.acknowledge(), apic[PPR]) == (True, 0x51, 0x50)
    apic[EOI] = 0
    apic[EOI] = 0  # one too many does nothing
    assert (apic[PPR], apic.lapic.waiting()) == (0, True)


def test_processor_priority_is_the_greater_of_task_and_service(apic: Apic) -> None:
    apic.lapic.isr = 1 << 0x63
    for tpr, ppr in ((0x00, 0x60), (0x5F, 0x60), (0x6A, 0x6A), (0x72, 0x72)):
        apic[TPR] = tpr
        assert apic[PPR] == ppr


# ---- "Spurious Interrupt", software enable ----------------------------------------------------------------------------


def test_a_software_disabled_apic_masks_its_lvt_and_keeps_it_masked(apic: Apic) -> None:
    apic[LVT_TIMER] = 0x40
    apic[SVR] = 0xFF
    assert apic[LVT_TIMER] & MASKED
    apic[LVT_TIMER] = 0x40
    assert apic[LVT_TIMER] & MASKED
    apic[SVR] = 0x1FF
    assert apic[LVT_TIMER] & MASKED  # until software clears it
    apic[LVT_TIMER] = 0x40
    assert not apic[LVT_TIMER] & MASKED


# ---- "Error Handling" -------------------------------------------------------------------------------------------------


def test_an_illegal_vector_is_an_error_that_a_write_to_esr_shows(apic: Apic) -> None:
    apic[ICR] = 1 << 18 | 0x0F
    assert apic.requests() == []
    assert apic[ESR] == 0
    apic[ESR] = 0
    assert apic[ESR] == 1 << 5  # send illegal vector
    apic[ESR] = 0
    assert apic[ESR] == 0


def test_an_illegal_vector_in_the_lvt_is_a_received_one(apic: Apic) -> None:
    apic[LVT_TIMER] = 0x05
    apic[INITIAL] = 10
    apic.pass_to(20)
    apic[ESR] = 0
    assert apic[ESR] == 1 << 6
    assert apic.requests() == []


def test_an_error_interrupts_through_its_own_entry(apic: Apic) -> None:
    apic[LVT_ERROR] = 0x77
    apic[ICR] = 1 << 18 | 3
    assert apic.requests() == [0x77]


@pytest.mark.parametrize("register", [0x00, 0x10, 0x40, 0x70, 0x290, 0x2E0, 0x3A0, 0x3D0, 0x3F0, 0x400, 0xFF0])
def test_reserved_registers_are_errors(apic: Apic, register: int) -> None:
    """SDM "Error Status Register": bit 7."""
    assert apic[register] == 0
    apic[ESR] = 0
    assert apic[ESR] == 1 << 7
    apic[register] = 5
    apic[ESR] = 0
    assert apic[ESR] == 1 << 7


def test_the_registers_of_the_page_are_no_errors(apic: Apic) -> None:
    for register in (
        0x20,
        0x30,
        TPR,
        0x90,
        PPR,
        EOI,
        0xC0,
        LDR,
        DFR,
        SVR,
        *range(0x100, 0x290, 16),
        *range(0x300, 0x3A0, 16),
        DIVIDE,
    ):
        assert apic[register] >= 0
    apic[ESR] = 0
    assert apic[ESR] == 0


def test_errors_gather_until_esr_is_written(apic: Apic) -> None:
    """The interrupt for a kind of error comes once, until then."""
    apic[LVT_ERROR] = 0x77
    apic[ICR2] = 5 << 24
    apic[ICR] = 3  # an illegal vector, to another APIC
    assert apic.requests() == [0x77]
    assert apic.lapic.acknowledge() == 0x77
    apic[ICR] = 3
    assert apic.requests() == []
    apic[0x400] = 0
    assert apic.requests() == [0x77]
    assert apic[ESR] == 0
    apic[ESR] = 0xFFFFFFFF
    assert apic[ESR] == 1 << 5 | 1 << 7
    assert apic.lapic.acknowledge() == 0x77
    apic[ICR] = 3
    assert apic.requests() == [0x77]
    assert apic[ESR] == 1 << 5 | 1 << 7
    apic[ESR] = 0
    assert apic[ESR] == 1 << 5


@pytest.mark.parametrize("size", [1, 2, 4, 8, 16])
@pytest.mark.parametrize("byte", [0, 1, 2, 3, 4, 12])
def test_a_read_of_another_size(apic: Apic, size: int, byte: int) -> None:
    version = (0x50014).to_bytes(16, "little")[byte : byte + size]
    assert apic.lapic.mmio_read(0x30 + byte, size) == int.from_bytes(version, "little")


# ---- "Issuing Interprocessor Interrupts" ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("low", "high", "taken"),
    [
        (0x40, 0, True), (0x40, 1 << 24, False), (0x40, 0xFF << 24, True),  # physical: ID 0, another, everybody
        (1 << 18 | 0x40, 9 << 24, True), (2 << 18 | 0x40, 0, True), (3 << 18 | 0x40, 0, False),  # shorthands
        (1 << 11 | 0x40, 2 << 24, True), (1 << 11 | 0x40, 4 << 24, False),  # logical, flat
    ],
)  # fmt: skip
def test_destinations(apic: Apic, low: int, high: int, taken: bool) -> None:
    apic[LDR] = 2 << 24
    apic[ICR2] = high
    apic[ICR] = low
    assert apic.requests() == ([0x40] if taken else [])


def test_an_nmi_by_ipi(apic: Apic) -> None:
    apic[ICR] = 1 << 18 | 4 << 8
    assert apic.lapic.nmi
    assert apic.requests() == []


# ---- "Local APIC Status and Location", "x2APIC" -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "legal"),
    [
        (ENABLE, ENABLE | X2APIC, True), (ENABLE | X2APIC, 0, True), (0, ENABLE, True), (ENABLE, 0, True),
        (ENABLE | X2APIC, ENABLE, False), (0, ENABLE | X2APIC, False), (ENABLE, X2APIC, False), (0, X2APIC, False),
    ],
)  # fmt: skip
def test_transitions_of_its_base(apic: Apic, old: int, new: int, legal: bool) -> None:
    """SDM "x2APIC State Transitions"."""
    if old & X2APIC:
        apic.lapic.set_base(BASE | BSP | ENABLE | X2APIC)
    elif not old:
        apic.lapic.set_base(BASE | BSP)
    assert apic.lapic.set_base(BASE | BSP | new) is legal
    assert apic.lapic.base == BASE | BSP | (new if legal else old)


@pytest.mark.parametrize("bit", [0, 1, 7, 9, 52, 63])
def test_reserved_bits_of_its_base(apic: Apic, bit: int) -> None:
    assert not apic.lapic.set_base(BASE | BSP | ENABLE | 1 << bit)


def test_off_it_forgets_and_its_page_is_dead(apic: Apic) -> None:
    apic[LVT_TIMER] = 0x40
    apic[INITIAL] = 100
    apic.lapic.set_base(BASE | BSP)
    assert (apic[SVR], apic.lapic.due) == (0xFFFFFFFF, None)
    apic[SVR] = 0x1FF
    apic.lapic.set_base(BASE | BSP | ENABLE)
    assert apic[SVR] == 0xFF


def test_the_msrs_are_the_other_face(apic: Apic) -> None:
    lapic = apic.lapic
    assert lapic.msr_read(0x802) is None
    lapic.set_base(BASE | BSP | ENABLE | X2APIC)
    assert lapic.msr_write(0x808, 0x50)
    assert (lapic.msr_read(0x808), lapic.msr_read(0x80A), lapic.msr_read(0x802)) == (0x50, 0x50, 0)
    assert lapic.msr_write(0x83F, 0x61)  # SELF IPI
    assert apic.requests() == [0x61]
    for msr, value in (
        (0x80B, 1),
        (0x808, 0x100),
        (0x80F, 0x2000),
        (0x832, 1 << 12),
        (0x83F, 0x100),
        (0x802, 0),
        (0x80D, 0),
    ):
        assert not lapic.msr_write(msr, value), hex(msr)
    for msr in (0x800, 0x80B, 0x80E, 0x83F, 0x831):
        assert lapic.msr_read(msr) is None, hex(msr)


# ---- interrupts of the 8259 -------------------------------------------------------------------------------------------


def test_virtual_wire_mode(apic: Apic) -> None:
    """The 8259 reaches the processor where the APIC is off, or LINT0 is open as ExtINT."""
    assert not apic.lapic.takes_external()
    apic[LVT_LINT0] = 7 << 8
    assert apic.lapic.takes_external()
    apic[LVT_LINT0] = MASKED | 7 << 8
    assert not apic.lapic.takes_external()
    apic.lapic.set_base(BASE | BSP)
    assert apic.lapic.takes_external()


def test_its_state_goes_and_comes(apic: Apic) -> None:
    apic[LVT_TIMER] = PERIODIC | 0x40
    apic[INITIAL] = 100
    apic[TPR] = 0x20
    apic[ICR] = 1 << 18 | 3
    apic.lapic.irr = 1 << 0x99
    other = Apic()
    other.lapic.load(apic.lapic.save())
    assert other.lapic.save() == apic.lapic.save()
    assert other.pass_to(0) == apic.pass_to(0)
    assert (other[TPR], other.lapic.due) == (0x20, 100)
