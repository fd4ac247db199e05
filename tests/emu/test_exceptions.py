from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from paracell.emu.descriptors import UNUSABLE, Segment, Table, parse
from paracell.emu.exceptions import deliver, interrupt, nmi, software_interrupt
from paracell.emu.faults import DB, GP, NP, TS, UD, Fault, StackFault, TripleFault, Unimplemented
from paracell.emu.idt import enter
from paracell.emu.registers import CS, RIP, RSP, SS

from .world import (
    ACCESSED,
    CODE,
    CODE32,
    CODE64,
    DATA,
    DPL3,
    HANDLER,
    IDT,
    KERNEL_CS,
    KERNEL_SS,
    NONCANONICAL,
    PRESENT,
    SPARE,
    STACK0,
    STACK3,
    SUPERVISOR,
    TSS_AT,
    TSS_SELECTOR,
    UNMAPPED,
    USER_CS,
    USER_SS,
    World,
    worlds,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

TF, IF, IOPL3, NT, RF, AC = 1 << 8, 1 << 9, 3 << 12, 1 << 14, 1 << 16, 1 << 18
INTERRUPT, TRAP, INTERRUPT3, TASK = 0x8E, 0x8F, 0xEE, 0x85
CONFORMING = 4 << 40


@pytest.fixture(params=["cold", "warm"])
def long(request: pytest.FixtureRequest) -> Iterator[World]:
    yield from worlds(long=True, warm=request.param == "warm")


@pytest.fixture
def flat() -> Iterator[World]:
    yield from worlds(long=False)


def page_fault(address: int = 0x1234567, error: int = 7) -> Fault:
    return Fault(14, error, address)


# ---- long mode --------------------------------------------------------------------------------------------------


def test_page_fault_from_ring_3(long: World) -> None:
    long.gate(14)
    long.at_ring(3)
    cpu = long.cpu
    cpu.rflags = 0x8D7 | IF | IOPL3 | AC
    deliver(cpu, page_fault())
    assert cpu.cr2 == 0x1234567
    assert cpu.cpl == 0
    assert (cpu.q[RIP], cpu.q[RSP]) == (HANDLER, STACK0 - 48)
    frame = (7, CODE, USER_CS, 0x8D7 | IF | IOPL3 | AC | RF, STACK3, USER_SS)
    assert long.words(STACK0 - 48, 6) == frame
    assert cpu.segments[CS] == parse(KERNEL_CS, CODE64)
    assert cpu.segment(SS).selector == 0
    assert cpu.segment(SS).access & UNUSABLE
    assert cpu.rflags == 0x8D7 | IOPL3 | AC


def test_same_ring_aligns_the_stack_and_keeps_ss(long: World) -> None:
    long.gate(6, kind=TRAP)
    cpu = long.cpu
    cpu.q[RSP] = STACK0 - 5
    cpu.rflags = 2 | IF | TF | NT
    deliver(cpu, UD())
    assert cpu.q[RSP] == STACK0 - 16 - 40
    assert long.words(cpu.q[RSP], 5) == (CODE, KERNEL_CS, 2 | IF | TF | NT | RF, STACK0 - 5, KERNEL_SS)
    assert cpu.segment(SS).selector == KERNEL_SS
    assert cpu.rflags == 2 | IF  # a trap gate leaves IF


@pytest.mark.parametrize("cpl", [0, 3])
def test_ist_is_used_at_any_ring(long: World, cpl: int) -> None:
    long.memory.write(TSS_AT + 36 + 16, (0x28008).to_bytes(8, "little"))
    long.gate(14, ist=3)
    long.at_ring(cpl)
    deliver(long.cpu, page_fault())
    assert long.cpu.q[RSP] == 0x28000 - 48
    assert long.cpu.segment(SS).selector == (0 if cpl else KERNEL_SS)


def test_stack_is_written_with_the_new_privilege(long: World) -> None:
    long.memory.write(TSS_AT + 4, (SUPERVISOR + 0x1000).to_bytes(8, "little"))
    long.gate(14)
    long.at_ring(3)
    deliver(long.cpu, page_fault())
    assert long.words(SUPERVISOR + 0x1000 - 40, 1) == (CODE,)


def test_conforming_handler_stays_in_its_ring(long: World) -> None:
    long.describe(SPARE, CODE64 | CONFORMING)
    long.gate(6, selector=SPARE)
    long.at_ring(3)
    deliver(long.cpu, UD())
    assert (long.cpu.cpl, long.cpu.q[RSP]) == (3, STACK3 - 40)
    assert long.cpu.segments[CS].selector == SPARE | 3


def test_handler_gets_its_accessed_bit(long: World) -> None:
    long.describe(SPARE, CODE64 & ~ACCESSED)
    long.gate(6, selector=SPARE)
    deliver(long.cpu, UD())
    assert long.descriptor(SPARE) == CODE64


def test_compatibility_code_enters_64_bit_mode(long: World) -> None:
    long.gate(6)
    long.at_ring(3, compatible=True)
    assert not long.in_64_bit_mode()
    deliver(long.cpu, UD())
    assert long.in_64_bit_mode()
    assert long.cpu.translation.code_size == 64


@pytest.mark.parametrize("external", [0, 1])
@pytest.mark.parametrize(
    ("setup", "fault", "error"),
    [
        ("limit", GP, 32 * 8 + 2),
        ("kind", GP, 32 * 8 + 2),
        ("task", GP, 32 * 8 + 2),
        ("absent", NP, 32 * 8 + 2),
        ("null", GP, 0),
        ("outside", GP, 0x1000),
        ("data", GP, KERNEL_SS),
        ("outer", GP, USER_CS & ~3),
        ("code32", GP, SPARE),
        ("code absent", NP, SPARE),
        ("target", GP, 0),
        ("tss", TS, TSS_SELECTOR),
        ("stack", StackFault, 0),
        ("wrap", StackFault, 0),
    ],
)
def test_bad_gates(long: World, setup: str, fault: type[Fault], error: int, external: int) -> None:
    cpu = long.cpu
    long.at_ring(0 if setup == "outer" else 3)
    long.describe(SPARE, CODE32 if setup == "code32" else CODE64 & ~PRESENT)
    kind = {"kind": 0x8C, "task": TASK, "absent": 0x0E}.get(setup, INTERRUPT)
    selector = {
        "null": 3,
        "outside": 0x1000,
        "data": KERNEL_SS,
        "outer": USER_CS,
        "code32": SPARE,
        "code absent": SPARE,
    }
    target = NONCANONICAL if setup == "target" else HANDLER
    long.gate(32, kind=kind, selector=selector.get(setup, KERNEL_CS), target=target)
    if setup == "limit":
        cpu.idtr = Table(IDT, 32 * 16 + 14)
    if setup == "tss":
        cpu.tr = Segment(TSS_SELECTOR, TSS_AT, 10, 0x8B)
    if setup == "stack":
        long.memory.write(TSS_AT + 4, NONCANONICAL.to_bytes(8, "little"))
    if setup == "wrap":
        long.memory.write(TSS_AT + 4, ((1 << 64) - (1 << 47) + 16).to_bytes(8, "little"))
    before = bytes(cpu.engine.raw[:184]), cpu.cpl, list(cpu.segments), cpu.rflags
    with pytest.raises(fault) as caught:
        enter(cpu, 32, None, rf=0, external=external)
    assert caught.value.error == error | external
    assert (bytes(cpu.engine.raw[:184]), cpu.cpl, list(cpu.segments), cpu.rflags) == before


def test_failed_push_changes_nothing(long: World) -> None:
    cpu = long.cpu
    long.memory.write(TSS_AT + 4, (UNMAPPED + 32).to_bytes(8, "little"))
    long.gate(32)
    long.at_ring(3)
    cpu.rflags = 0x8D7 | IF
    with pytest.raises(Fault) as caught:
        enter(cpu, 32, None, rf=0, external=1)
    assert (caught.value.vector, caught.value.error, caught.value.address) == (14, 2, UNMAPPED)
    assert (cpu.cpl, cpu.q[RIP], cpu.q[RSP], cpu.rflags) == (3, CODE, STACK3, 0x8D7 | IF)
    assert (cpu.segments[CS].selector, cpu.segment(SS).selector) == (USER_CS, USER_SS)
    with pytest.raises(Fault) as caught:
        cpu.read(SUPERVISOR, 8)  # and the translation context is ring 3's again
    assert caught.value.error == 5


def test_pushed_frame_is_a_write(long: World) -> None:
    long.gate(14)
    long.at_ring(3)
    long.memory.dirty.clear()
    long.memory.code[STACK0 - 4096 >> 12] = STACK0 - 4096 >> 12
    deliver(long.cpu, page_fault())
    assert STACK0 - 4096 >> 12 in long.memory.dirty
    assert long.memory.stale == [(STACK0 - 48, 48)]


def test_gate_outside_the_descriptor_table(long: World) -> None:
    long.gate(6)
    long.cpu.gdtr = Table(long.cpu.gdtr.base, KERNEL_CS + 6)
    with pytest.raises(GP) as caught:
        enter(long.cpu, 6, None, rf=0, external=1)
    assert caught.value.error == KERNEL_CS | 1


@pytest.mark.parametrize("cpl", [0, 3])
def test_resume_flag_is_cleared(long: World, cpl: int) -> None:
    long.gate(3, kind=INTERRUPT3)
    long.at_ring(cpl)
    long.cpu.rflags = 2 | RF
    software_interrupt(long.cpu, 3, 1)
    assert long.words(long.cpu.q[RSP], 3)[2] == 2 | RF
    assert long.cpu.rflags == 2


# ---- which exception --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "second", "delivered"),
    [
        (UD(), 11, 11),
        (GP(0), 11, 8),
        (page_fault(), 11, 8),
        (TS(0), 11, 8),
        (Fault(0), 11, 8),
        (Fault(18), 11, 11),
        (DB(1), 11, 11),
        (UD(), 14, 14),
        (GP(0), 14, 14),
        (page_fault(), 14, 8),
    ],
)
def test_second_fault(long: World, first: Fault, second: int, delivered: int) -> None:
    """The first one's gate is absent (#NP), or it wants a stack that is not mapped (#PF)."""
    if second == 11:
        long.gate(first.vector, kind=0x0E)
    else:
        long.memory.write(TSS_AT + 36, (UNMAPPED + 0x100).to_bytes(8, "little"))
        long.gate(first.vector, ist=1)
    for vector in {8, second} - {first.vector}:
        long.gate(vector, target=HANDLER + vector)
    deliver(long.cpu, first)
    assert long.cpu.q[RIP] == HANDLER + delivered
    error = {8: 0, 11: first.vector * 8 + 3, 14: 2}[delivered]
    assert long.words(long.cpu.q[RSP], 1) == (error,)
    if second == 14:
        assert long.cpu.cr2 == UNMAPPED + 0x100 - (40 if first.error is None else 48)


def test_triple_fault_tells_the_story(long: World) -> None:
    long.gate(14, kind=0x0E)
    long.gate(8, kind=0x0E)
    with pytest.raises(TripleFault) as caught:
        deliver(long.cpu, page_fault())
    story = [(f.vector, f.error) for f in caught.value.faults]
    assert story == [(14, 7), (11, 14 * 8 + 3), (8, 0), (11, 8 * 8 + 3)]
    assert "#PF(0x7) at 0x1234567, then #NP" in str(caught.value)


def test_fault_of_an_interrupt_is_delivered_for_itself(long: World) -> None:
    long.gate(32, kind=0x0E)
    long.gate(11)
    interrupt(long.cpu, 32)
    assert long.words(long.cpu.q[RSP], 4) == (32 * 8 + 3, CODE, KERNEL_CS, 2 | RF)


def test_interrupts_push_no_rf(long: World) -> None:
    long.gate(32)
    long.cpu.halted = True
    interrupt(long.cpu, 32)
    assert long.words(long.cpu.q[RSP], 3) == (CODE, KERNEL_CS, 2)
    assert not long.cpu.halted


def test_nmi_blocks_nmi(long: World) -> None:
    long.gate(2)
    nmi(long.cpu)
    assert long.cpu.nmi_blocked
    assert long.cpu.q[RIP] == HANDLER


@pytest.mark.parametrize(("dr6", "rf"), [(1 << 14, 0), (1, 0), (1 << 13, RF)])
def test_debug_exception(long: World, dr6: int, rf: int) -> None:
    cpu = long.cpu
    cpu.dr[7] = 0x400 | 1 << 13
    long.gate(1)
    deliver(cpu, DB(dr6))
    assert cpu.dr[6] == 0xFFFF0FF0 | dr6
    assert cpu.dr[7] == 0x400
    assert long.words(cpu.q[RSP], 3) == (CODE, KERNEL_CS, 2 | rf)


# ---- software interrupts ----------------------------------------------------------------------------------------


def test_software_interrupt_needs_the_gates_dpl(long: World) -> None:
    long.gate(0x80)
    long.gate(0x81, kind=INTERRUPT3)
    long.at_ring(3)
    cpu = long.cpu
    cpu.q[RIP] += 2
    with pytest.raises(GP) as caught:
        software_interrupt(cpu, 0x80, 2)
    assert caught.value.error == 0x80 * 8 + 2  # EXT is clear
    assert cpu.q[RIP] == CODE
    cpu.q[RIP] += 2
    software_interrupt(cpu, 0x81, 2)
    assert long.words(cpu.q[RSP], 3) == (CODE + 2, USER_CS, 2)


def test_privilege_is_looked_at_before_presence(long: World) -> None:
    long.gate(0x80, kind=0x0E)
    long.at_ring(3)
    with pytest.raises(GP):
        software_interrupt(long.cpu, 0x80, 2)


def test_int1_asks_no_dpl_and_leaves_dr6(long: World) -> None:
    long.gate(1)
    long.at_ring(3)
    long.do("f1")
    assert long.words(long.cpu.q[RSP], 2) == (CODE + 1, USER_CS)
    assert long.cpu.dr[6] == 0xFFFF0FF0


# ---- 32-bit protected mode --------------------------------------------------------------------------------------


def test_flat_same_ring(flat: World) -> None:
    flat.gate(14)
    cpu = flat.cpu
    cpu.rflags = 2 | IF
    deliver(cpu, page_fault())
    assert cpu.q[RSP] == STACK0 - 16
    assert flat.words(STACK0 - 16, 4, 4) == (7, CODE, KERNEL_CS, 2 | IF | RF)
    assert cpu.rflags == 2


def test_flat_inner_ring(flat: World) -> None:
    flat.gate(0x80, kind=0xEF)
    flat.at_ring(3)
    cpu = flat.cpu
    cpu.rflags = 2 | IF
    cpu.q[RIP] += 2
    software_interrupt(cpu, 0x80, 2)
    assert (cpu.cpl, cpu.q[RIP], cpu.q[RSP]) == (0, HANDLER, STACK0 - 20)
    assert flat.words(STACK0 - 20, 5, 4) == (CODE + 2, USER_CS, 2 | IF, STACK3, USER_SS)
    assert cpu.segment(SS) == parse(KERNEL_SS, DATA)
    assert cpu.rflags == 2 | IF


def test_16_bit_gate_pushes_words(flat: World) -> None:
    flat.gate(6, kind=0x86, target=0xFFFF2000)
    deliver(flat.cpu, UD())
    assert flat.cpu.q[RIP] == 0x2000
    assert flat.words(STACK0 - 6, 3, 2) == (CODE & 0xFFFF, KERNEL_CS, 2)


def test_task_gate_is_not_guessed(flat: World) -> None:
    flat.gate(6, kind=TASK)
    with pytest.raises(Unimplemented, match="task gate"):
        deliver(flat.cpu, UD())


@pytest.mark.parametrize("external", [0, 1])
@pytest.mark.parametrize(
    ("selector", "raw", "fault", "error"),
    [
        (0, DATA, TS, 0),
        (SPARE, DATA | DPL3, TS, SPARE),
        (SPARE, CODE32, TS, SPARE),
        (SPARE | 3, DATA, TS, SPARE),
        (0x1000, DATA, TS, 0x1000),
        (SPARE, DATA & ~PRESENT, StackFault, SPARE),
        (SPARE, 0x0040930000000010, StackFault, SPARE),  # no room
    ],
)
def test_bad_inner_stack(flat: World, selector: int, raw: int, fault: type[Fault], error: int, external: int) -> None:
    flat.describe(SPARE, raw)
    flat.memory.write(TSS_AT + 8, selector.to_bytes(2, "little"))
    flat.gate(32)
    flat.at_ring(3)
    with pytest.raises(fault) as caught:
        enter(flat.cpu, 32, None, rf=0, external=external)
    assert caught.value.error == error | external
    assert (flat.cpu.cpl, flat.cpu.q[RSP], flat.cpu.q[RIP]) == (3, STACK3, CODE)


def test_target_beyond_the_limit(flat: World) -> None:
    flat.describe(SPARE, 0x00409B000000_0FFF)
    flat.gate(32, selector=SPARE)
    with pytest.raises(GP) as caught:
        enter(flat.cpu, 32, None, rf=0, external=1)
    assert caught.value.error == 1


def test_no_room_on_the_same_stack(flat: World) -> None:
    flat.gate(32)
    flat.cpu.set_segment(SS, parse(SPARE, 0x0040930000001000))
    with pytest.raises(StackFault) as caught:
        enter(flat.cpu, 32, None, rf=0, external=0)
    assert caught.value.error == 0


def test_expand_down_stack(flat: World) -> None:
    flat.gate(32)
    flat.cpu.set_segment(SS, parse(SPARE, 0x0040970000000000 | (STACK0 - 13) & 0xFFFF | (STACK0 - 13 & 0xF0000) << 32))
    enter(flat.cpu, 32, None, rf=0, external=0)
    assert flat.cpu.q[RSP] == STACK0 - 12
    with pytest.raises(StackFault):
        enter(flat.cpu, 32, None, rf=0, external=0)
