from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from paracell.emu.descriptors import UNUSABLE, Segment, parse
from paracell.emu.exceptions import deliver
from paracell.emu.faults import GP, NP, TS, UD, Fault, StackFault, Unimplemented
from paracell.emu.instructions.syscall import (
    KERNEL_GS_BASE,
    LSTAR,
    SFMASK,
    STAR,
    SYSENTER_CS,
    SYSENTER_EIP,
    SYSENTER_ESP,
)
from paracell.emu.registers import CS, DS, ES, FS, GS, R11, RAX, RCX, RDX, RIP, RSP, SS

from .world import (
    ACCESSED,
    CODE,
    CODE32,
    CODE64,
    DATA,
    DPL3,
    HANDLER,
    KERNEL_CS,
    KERNEL_CS32,
    KERNEL_SS,
    NONCANONICAL,
    PRESENT,
    SPARE,
    STACK0,
    STACK3,
    TSS_AT,
    TSS_SELECTOR,
    UNMAPPED,
    USER_CS,
    USER_CS32,
    USER_SS,
    World,
    worlds,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

TF, IF, IOPL3, NT, RF, VM, AC, VIF, ID = 1 << 8, 1 << 9, 3 << 12, 1 << 14, 1 << 16, 1 << 17, 1 << 18, 1 << 19, 1 << 21
TARGET = 0x14000
IRETQ, IRETD, IRETW = "48cf", "cf", "66cf"
CONFORMING = 4 << 40
SPARE2 = SPARE + 0x10
STAR_VALUE = KERNEL_CS << 32 | (USER_CS32 | 3) << 48
ONES = (1 << 64) - 1


@pytest.fixture(params=["cold", "warm"])
def long(request: pytest.FixtureRequest) -> Iterator[World]:
    yield from worlds(long=True, warm=request.param == "warm")


@pytest.fixture
def flat() -> Iterator[World]:
    yield from worlds(long=False)


def untouched(world: World, cpl: int = 0) -> bool:
    cpu = world.cpu
    return cpu.q[RIP] == CODE and cpu.cpl == cpl and cpu.segments[CS].selector in {KERNEL_CS, USER_CS}


def returned_flags(world: World) -> int:
    """RFLAGS after IRET: RF is kept where an instruction breakpoint or an interrupt will ask for it, and nowhere else."""
    cpu = world.cpu
    return cpu.rflags | (RF if cpu.resumes else 0)


# ---- IRET in long mode ------------------------------------------------------------------------------------------


def test_iretq_undoes_a_page_fault(long: World) -> None:
    cpu = long.cpu
    long.gate(14)
    long.at_ring(3)
    cpu.rflags = flags = 0x8D7 | IF | AC | ID
    deliver(cpu, Fault(14, 7, 0x1234))
    cpu.q[RSP] += 8
    cpu.nmi_blocked = True
    long.do(IRETQ)
    assert (cpu.cpl, cpu.q[RIP], cpu.q[RSP]) == (3, CODE, STACK3)
    assert returned_flags(long) == flags | RF
    assert (cpu.segments[CS].selector, cpu.segment(SS).selector) == (USER_CS, USER_SS)
    assert not cpu.nmi_blocked


def test_iretq_to_the_same_ring_loads_ss_too(long: World) -> None:
    long.push(TARGET, KERNEL_CS, 2, 0x12345, 0)
    long.do(IRETQ)
    assert (long.cpu.q[RIP], long.cpu.q[RSP]) == (TARGET, 0x12345)
    assert long.cpu.segment(SS).access & UNUSABLE


def test_iret_to_compatibility_mode(long: World) -> None:
    cpu = long.cpu
    long.push(TARGET, USER_CS32, 2, 0xDEAD00012345, USER_SS)
    long.do(IRETQ)
    assert not long.in_64_bit_mode()
    assert cpu.translation.code_size == 32
    assert (cpu.cpl, cpu.q[RIP], cpu.q[RSP]) == (3, TARGET, 0x12345)


def test_iretd_in_64_bit_mode(long: World) -> None:
    long.push(TARGET, USER_CS, 2, 0xFFFFF000, USER_SS, size=4)
    long.do(IRETD)
    assert (long.cpu.q[RIP], long.cpu.q[RSP], long.cpu.cpl) == (TARGET, 0xFFFFF000, 3)


def test_iretw_in_64_bit_mode(long: World) -> None:
    long.push(0x4000, KERNEL_CS, 2, 0x8000, KERNEL_SS, size=2)
    long.do(IRETW)
    assert (long.cpu.q[RIP], long.cpu.q[RSP]) == (0x4000, 0x8000)


def test_compatibility_code_pops_three_words_for_its_own_ring(long: World) -> None:
    long.at_ring(3, compatible=True)
    long.push(TARGET, USER_CS32, 2, size=4)
    long.do(IRETD)
    assert (long.cpu.q[RIP], long.cpu.q[RSP], long.cpu.cpl) == (TARGET, STACK3, 3)
    assert long.cpu.segment(SS).selector == USER_SS


@pytest.mark.parametrize(
    ("cpl", "iopl", "code", "changed"),
    [
        (0, 0, IRETQ, 0xFD5 | IOPL3 | NT | RF | AC | ID | VIF | 1 << 20),
        (3, 3, IRETQ, 0xFD5 | NT | RF | AC | ID),
        (3, 0, IRETQ, 0xDD5 | NT | RF | AC | ID),
        (3, 0, IRETW, 0xDD5 | NT),
        (0, 0, IRETW, 0xFD5 | IOPL3 | NT),
    ],
)
def test_flags_that_iret_may_change(long: World, cpl: int, iopl: int, code: str, changed: int) -> None:
    cpu = long.cpu
    long.at_ring(cpl)
    cpu.q[RSP] = 0x9FF0
    cs, ss = (USER_CS, USER_SS) if cpl else (KERNEL_CS, KERNEL_SS)
    cpu.rflags = before = 2 | iopl << 12
    size = 8 if code == IRETQ else 2
    image = 0x3FFFFF & (1 << 8 * size) - 1
    long.push(0x4000, cs, image, 0x8000, ss, size=size)
    long.do(code)
    assert returned_flags(long) == before | changed & image


def test_data_segments_of_the_inner_ring_are_forgotten(long: World) -> None:
    cpu = long.cpu
    conforming = parse(SPARE, CODE64 | CONFORMING)
    for number, segment in ((DS, parse(KERNEL_SS, DATA)), (ES, parse(USER_SS, DATA | DPL3)), (GS, conforming)):
        cpu.set_segment(number, segment)
    long.push(TARGET, USER_CS, 2, STACK3, USER_SS)
    long.do(IRETQ)
    assert cpu.segment(DS).selector == 0
    assert cpu.segment(DS).access == UNUSABLE
    assert cpu.segment(ES).selector == USER_SS
    assert cpu.segment(GS) == conforming


@pytest.mark.parametrize("number", [ES, DS, FS, GS])
@pytest.mark.parametrize("code", ["48cf", "48cb"])
@pytest.mark.parametrize(
    ("selector", "left"),
    [(0, 0), (1, 0), (2, 0), (3, 0), (KERNEL_SS, 0), (KERNEL_CS, 0), (USER_SS, USER_SS), (SPARE, SPARE)],
)
def test_each_selector_on_the_way_to_ring_3(long: World, number: int, code: str, selector: int, left: int) -> None:
    """SDM "IRET", "RET": a null selector becomes 0, whatever its RPL; and so does one that ring 3 may not have; a base stays."""
    cpu = long.cpu
    long.describe(SPARE, CODE64 | CONFORMING)
    access = parse(selector, long.descriptor(selector)).access if selector & ~3 else UNUSABLE
    cpu.set_segment(number, Segment(selector, 0x1234, 0xFFFF, access))
    long.push(*((TARGET, USER_CS, 2, STACK3, USER_SS) if code == IRETQ else (TARGET, USER_CS, STACK3, USER_SS)))
    long.do(code)
    assert cpu.segment(number).selector == left
    assert cpu.segment(number).base == 0x1234
    assert (cpu.segment(number).access == UNUSABLE) is (left == 0)


@pytest.mark.parametrize(
    ("cs", "raw", "ss", "stack", "rip", "fault", "error"),
    [
        (0, CODE64, KERNEL_SS, 0, TARGET, GP, 0),
        (3, CODE64, KERNEL_SS, 0, TARGET, GP, 0),
        (0x1000, CODE64, KERNEL_SS, 0, TARGET, GP, 0x1000),
        (SPARE, DATA, KERNEL_SS, 0, TARGET, GP, SPARE),
        (SPARE, CODE64 | DPL3, KERNEL_SS, 0, TARGET, GP, SPARE),
        (SPARE | 3, CODE64, USER_SS, 0, TARGET, GP, SPARE),
        (SPARE, CODE64 | CONFORMING | DPL3, KERNEL_SS, 0, TARGET, GP, SPARE),
        (SPARE, CODE64 | 1 << 54, KERNEL_SS, 0, TARGET, GP, SPARE),  # L and D
        (SPARE, CODE64 & ~PRESENT, KERNEL_SS, 0, TARGET, NP, SPARE),
        (SPARE, CODE64, KERNEL_SS, 0, NONCANONICAL, GP, 0),
        (SPARE, CODE32, 0, 0, TARGET, GP, 0),  # no null SS for compatibility mode
        (USER_CS, 0, 3, 0, TARGET, GP, 0),  # nor at ring 3
        (SPARE, CODE64, 1, 0, TARGET, GP, 0),
        (SPARE, CODE64, USER_SS, 0, TARGET, GP, USER_SS & ~3),
        (USER_CS, 0, KERNEL_SS, 0, TARGET, GP, KERNEL_SS),
        (SPARE, CODE64, SPARE2, DATA & ~(2 << 40), TARGET, GP, SPARE2),
        (SPARE, CODE64, SPARE2, DATA & ~PRESENT, TARGET, StackFault, SPARE2),
        (USER_CS32, 0, USER_SS, 0, 1 << 32, GP, 0),
    ],
)
def test_refused_iret(
    long: World, cs: int, raw: int, ss: int, stack: int, rip: int, fault: type[Fault], error: int
) -> None:
    if cs & ~3 == SPARE:
        long.describe(SPARE, raw)
    if stack:
        long.describe(SPARE2, stack)
    long.push(rip, cs, 2, STACK3, ss)
    with pytest.raises(fault) as caught:
        long.do(IRETQ)
    assert caught.value.error == error
    assert untouched(long)
    assert long.cpu.q[RSP] == STACK0 - 40


def test_iret_cannot_go_inwards(long: World) -> None:
    long.at_ring(3)
    long.push(TARGET, KERNEL_CS, 2, STACK0, KERNEL_SS)
    with pytest.raises(GP) as caught:
        long.do(IRETQ)
    assert caught.value.error == KERNEL_CS


def test_nested_task_in_long_mode(long: World) -> None:
    long.cpu.rflags = 2 | NT
    long.cpu.nmi_blocked = True
    with pytest.raises(GP):
        long.do(IRETQ)
    assert not long.cpu.nmi_blocked  # unblocked even by an IRET that faults


@pytest.mark.parametrize(("rsp", "fault"), [(NONCANONICAL, 12), (UNMAPPED - 8, 14)])
def test_stack_of_iret_cannot_be_read(long: World, rsp: int, fault: int) -> None:
    long.cpu.q[RSP] = rsp
    with pytest.raises(Fault) as caught:
        long.do(IRETQ)
    assert caught.value.vector == fault
    assert caught.value.error == 0
    assert untouched(long)


# ---- IRET in 32-bit protected mode ------------------------------------------------------------------------------


def test_flat_iret_to_ring_3_and_back(flat: World) -> None:
    cpu = flat.cpu
    flat.push(TARGET, USER_CS, 2 | IF, STACK3, USER_SS, size=4)
    flat.do(IRETD)
    assert (cpu.cpl, cpu.q[RIP], cpu.q[RSP], cpu.rflags) == (3, TARGET, STACK3, 2 | IF)
    flat.gate(6)
    deliver(cpu, UD())
    flat.do(IRETD)
    assert (cpu.cpl, cpu.q[RIP], cpu.q[RSP]) == (3, TARGET, STACK3)


def test_flat_iret_to_the_same_ring(flat: World) -> None:
    flat.push(TARGET, KERNEL_CS, 2 | AC, size=4)
    flat.do(IRETD)
    assert (flat.cpu.q[RIP], flat.cpu.q[RSP], flat.cpu.rflags) == (TARGET, STACK0, 2 | AC)


def test_flat_iret_does_not_guess(flat: World) -> None:
    flat.cpu.rflags = 2 | NT
    flat.push(TARGET, KERNEL_CS, 2, size=4)
    with pytest.raises(Unimplemented, match="task return"):
        flat.do(IRETD)


def test_flat_iret_beyond_the_stack(flat: World) -> None:
    flat.cpu.set_segment(SS, parse(SPARE, 0x0040930000000000 | STACK0 - 1 & 0xFFFF | (STACK0 - 1 & 0xF0000) << 32))
    flat.push(TARGET, KERNEL_CS, 2, size=4)
    flat.do(IRETD)
    flat.cpu.q[RIP] = CODE
    flat.push(TARGET, USER_CS, 2, size=4)  # an outer ring wants two words more
    with pytest.raises(StackFault) as caught:
        flat.do(IRETD)
    assert caught.value.error == 0


# ---- far RET ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("code", "size", "extra"), [("48cb", 8, 0), ("cb", 4, 0), ("66cb", 2, 0), ("48ca1000", 8, 16)])
def test_far_return(long: World, code: str, size: int, extra: int) -> None:
    long.push(0x4000, KERNEL_CS, size=size)
    long.do(code)
    assert (long.cpu.q[RIP], long.cpu.q[RSP]) == (0x4000, STACK0 + extra)


def test_far_return_to_ring_3(long: World) -> None:
    long.push(TARGET, USER_CS, 0xAA, 0xBB, STACK3, USER_SS)
    long.do("48ca1000")
    assert (long.cpu.cpl, long.cpu.q[RIP], long.cpu.q[RSP]) == (3, TARGET, STACK3 + 16)
    assert long.cpu.segment(SS).selector == USER_SS


def test_far_return_from_64_bit_to_compatibility_mode(long: World) -> None:
    long.push(TARGET, KERNEL_CS32)
    long.do("48cb")
    assert not long.in_64_bit_mode()
    assert long.cpu.translation.code_size == 32
    long.push(TARGET, KERNEL_CS, size=4)
    long.do("cb")
    assert long.in_64_bit_mode()
    assert long.cpu.translation.code_size == 64


def test_bases_count_outside_64_bit_mode_only(long: World) -> None:
    long.describe(SPARE, DATA | 0x1000 << 16)
    long.cpu.q[RAX] = SPARE
    long.do("8ed8")  # mov ds, eax
    assert long.cpu.segment_base(DS) == 0
    long.push(TARGET, KERNEL_CS32)
    long.do("48cb")
    assert long.cpu.segment_base(DS) == 0x1000
    long.push(TARGET, KERNEL_CS, size=4)
    long.do("cb")
    assert long.cpu.segment_base(DS) == 0


# ---- far JMP and CALL -------------------------------------------------------------------------------------------


def far_pointer(world: World, selector: int, offset: int, size: int = 8) -> None:
    world.memory.write(0x5000, offset.to_bytes(size, "little") + selector.to_bytes(2, "little"))
    world.cpu.q[RAX] = 0x5000


@pytest.mark.parametrize(("code", "size"), [("48ff28", 8), ("ff28", 4), ("66ff28", 2)])
def test_far_jump_through_memory(long: World, code: str, size: int) -> None:
    long.describe(SPARE, CODE64 & ~ACCESSED)
    far_pointer(long, SPARE | 3 if size == 0 else SPARE, 0x4000, size)
    long.do(code)
    assert long.cpu.q[RIP] == 0x4000
    assert long.cpu.segments[CS].selector == SPARE
    assert long.descriptor(SPARE) == CODE64


@pytest.mark.parametrize(("code", "size"), [("48ff18", 8), ("ff18", 4), ("66ff18", 2)])
def test_far_call_pushes_cs_and_rip(long: World, code: str, size: int) -> None:
    far_pointer(long, KERNEL_CS, 0x4000, size)
    long.do(code)
    assert long.cpu.q[RIP] == 0x4000
    back = CODE + len(code) // 2 & (1 << 8 * size) - 1
    assert long.words(STACK0 - 2 * size, 2, size) == (back, KERNEL_CS)


def test_direct_far_jump(flat: World) -> None:
    flat.do("ea" + TARGET.to_bytes(4, "little").hex() + KERNEL_CS32.to_bytes(2, "little").hex())
    assert (flat.cpu.q[RIP], flat.cpu.segments[CS].selector) == (TARGET, KERNEL_CS32)


def test_far_jump_into_64_bit_mode(long: World) -> None:
    long.at_ring(0, compatible=True)
    long.do("ea" + TARGET.to_bytes(4, "little").hex() + KERNEL_CS.to_bytes(2, "little").hex())
    assert long.in_64_bit_mode()
    assert long.cpu.translation.code_size == 64


def test_conforming_code_keeps_the_ring(long: World) -> None:
    long.describe(SPARE, CODE64 | CONFORMING)
    long.at_ring(3)
    far_pointer(long, SPARE, TARGET)
    long.do("48ff28")
    assert long.cpu.cpl == 3
    assert long.cpu.segments[CS].selector == SPARE | 3


@pytest.mark.parametrize("code", ["48ff28", "48ff18"])
@pytest.mark.parametrize(
    ("selector", "raw", "offset", "cpl", "fault", "error"),
    [
        (3, 0, TARGET, 0, GP, 0),
        (0x1000, 0, TARGET, 0, GP, 0x1000),
        (SPARE, DATA, TARGET, 0, GP, SPARE),
        (SPARE, CODE64, TARGET, 3, GP, SPARE),
        (SPARE | 3, CODE64, TARGET, 0, GP, SPARE),
        (SPARE, CODE64 | DPL3, TARGET, 0, GP, SPARE),
        (SPARE, CODE64 | CONFORMING | DPL3, TARGET, 0, GP, SPARE),
        (SPARE, CODE64 | 1 << 54, TARGET, 0, GP, SPARE),
        (SPARE, CODE64 & ~PRESENT, TARGET, 0, NP, SPARE),
        (SPARE, CODE64, NONCANONICAL, 0, GP, 0),
        (SPARE, CODE32, 1 << 32, 0, GP, 0),
        (SPARE, 0x0000890000000067, TARGET, 0, GP, SPARE),  # a TSS: no tasks in IA-32e mode
        (SPARE, 0x0000840000000000, TARGET, 0, GP, SPARE),  # no 16-bit call gates either
    ],
)
def test_refused_far_branch(
    long: World, code: str, selector: int, raw: int, offset: int, cpl: int, fault: type[Fault], error: int
) -> None:
    if selector & ~3 == SPARE:
        long.describe(SPARE, raw)
    long.at_ring(cpl)
    far_pointer(long, selector, offset)
    rsp = long.cpu.q[RSP]
    with pytest.raises(fault) as caught:
        long.do(code)
    assert caught.value.error == error
    assert untouched(long, cpl)
    assert long.cpu.q[RSP] == rsp


def test_far_branch_to_a_task_is_not_guessed(flat: World) -> None:
    flat.describe(SPARE, 0x0000890000000067)
    far_pointer(flat, SPARE, 0, 4)
    with pytest.raises(Unimplemented):
        flat.do("ff28")


# ---- call gates -------------------------------------------------------------------------------------------------


def call_gate(selector: int, target: int = HANDLER, dpl: int = 3, kind: int = 0x8C, count: int = 0) -> int:
    access = kind | dpl << 5
    return target & 0xFFFF | selector << 16 | count << 32 | access << 40 | (target >> 16 & 0xFFFF) << 48


def test_64_bit_call_gate(long: World) -> None:
    cpu = long.cpu
    long.describe(SPARE, call_gate(KERNEL_CS), 0)
    long.at_ring(3)
    far_pointer(long, SPARE | 3, 0xDEAD)
    long.do("48ff18")
    assert (cpu.cpl, cpu.q[RIP], cpu.q[RSP]) == (0, HANDLER, STACK0 - 32)
    assert long.words(STACK0 - 32, 4) == (CODE + 3, USER_CS, STACK3, USER_SS)
    assert cpu.segment(SS).selector == 0
    long.do("48cb")
    assert (cpu.cpl, cpu.q[RIP], cpu.q[RSP]) == (3, CODE + 3, STACK3)


def test_call_gate_to_the_same_ring(long: World) -> None:
    long.describe(SPARE, call_gate(KERNEL_CS, dpl=0), 0)
    far_pointer(long, SPARE, 0, 4)
    long.do("ff18")
    assert long.words(STACK0 - 16, 2) == (CODE + 2, KERNEL_CS)


@pytest.mark.parametrize(
    ("gate", "high", "fault", "error"),
    [
        (call_gate(KERNEL_CS, dpl=0), 0, GP, SPARE),
        (call_gate(KERNEL_CS, kind=0x0C), 0, NP, SPARE),
        (call_gate(KERNEL_CS), 1 << 40, GP, SPARE),
        (call_gate(0), 0, GP, 0),
        (call_gate(0x1000), 0, GP, 0x1000),
        (call_gate(KERNEL_SS), 0, GP, KERNEL_SS),
        (call_gate(KERNEL_CS32), 0, GP, KERNEL_CS32),
        (call_gate(SPARE2), 0, NP, SPARE2),
        (call_gate(KERNEL_CS), 0x8000, GP, 0),
    ],
)
def test_refused_call_gate(long: World, gate: int, high: int, fault: type[Fault], error: int) -> None:
    long.describe(SPARE, gate, high)
    long.describe(SPARE2, CODE64 & ~PRESENT)
    long.at_ring(3)
    far_pointer(long, SPARE, 0)
    with pytest.raises(fault) as caught:
        long.do("48ff18")
    assert caught.value.error == error
    assert untouched(long, 3)


def test_jump_through_a_gate_cannot_change_the_ring(long: World) -> None:
    long.describe(SPARE, call_gate(KERNEL_CS), 0)
    long.at_ring(3)
    far_pointer(long, SPARE, 0)
    with pytest.raises(GP) as caught:
        long.do("48ff28")
    assert caught.value.error == KERNEL_CS


def test_call_gate_without_a_stack(long: World) -> None:
    long.describe(SPARE, call_gate(KERNEL_CS), 0)
    long.at_ring(3)
    far_pointer(long, SPARE, 0)
    long.memory.write(TSS_AT + 4, NONCANONICAL.to_bytes(8, "little"))
    with pytest.raises(StackFault) as caught:
        long.do("48ff18")
    assert caught.value.error == 0
    long.cpu.tr = Segment(TSS_SELECTOR, TSS_AT, 10, 0x8B)
    with pytest.raises(TS) as short:
        long.do("48ff18")
    assert short.value.error == TSS_SELECTOR


def test_32_bit_call_gate_copies_parameters(flat: World) -> None:
    cpu = flat.cpu
    flat.describe(SPARE, call_gate(KERNEL_CS, count=2))
    flat.at_ring(3)
    flat.push(0x111, 0x222, size=4)
    far_pointer(flat, SPARE | 3, 0, 4)
    flat.do("ff18")
    assert (cpu.cpl, cpu.q[RIP], cpu.q[RSP]) == (0, HANDLER, STACK0 - 24)
    assert flat.words(STACK0 - 24, 6, 4) == (CODE + 2, USER_CS, 0x111, 0x222, STACK3 - 8, USER_SS)
    flat.do("ca0800")
    assert (cpu.cpl, cpu.q[RIP], cpu.q[RSP]) == (3, CODE + 2, STACK3)


# ---- SYSCALL and SYSRET -----------------------------------------------------------------------------------------


def with_syscall(world: World) -> None:
    world.cpu.msr.update({STAR: STAR_VALUE, LSTAR: TARGET, SFMASK: IF | TF | AC})


def test_syscall_and_sysret(long: World) -> None:
    cpu = long.cpu
    with_syscall(long)
    long.at_ring(3)
    cpu.rflags = flags = 0x8D7 | IF | AC
    long.do("0f05")
    assert (cpu.cpl, cpu.q[RIP], cpu.q[RCX], cpu.q[R11]) == (0, TARGET, CODE + 2, flags)
    assert cpu.rflags == 0x8D7
    assert (cpu.segments[CS].selector, cpu.segment(SS).selector) == (KERNEL_CS, KERNEL_CS + 8)
    assert cpu.segments[CS].access & 0x60FF == 0x209B
    long.do("480f07")
    assert (cpu.cpl, cpu.q[RIP], cpu.rflags, cpu.q[RSP]) == (3, CODE + 2, flags, STACK3)
    assert (cpu.segments[CS].selector, cpu.segment(SS).selector) == (USER_CS, USER_SS)
    assert cpu.segment(SS).dpl == 3


def test_sysret_to_compatibility_mode(long: World) -> None:
    with_syscall(long)
    long.cpu.q[RCX], long.cpu.q[R11] = 0xDEAD00000000 | TARGET, ONES
    long.do("0f07")
    assert (long.cpu.q[RIP], long.cpu.segments[CS].selector, long.cpu.cpl) == (TARGET, USER_CS32, 3)
    assert not long.in_64_bit_mode()
    assert long.cpu.rflags == 0x3C7FD7


def test_sysret_to_a_bad_address_faults_at_ring_0(long: World) -> None:
    with_syscall(long)
    long.cpu.q[RCX] = NONCANONICAL
    with pytest.raises(GP):
        long.do("480f07")
    assert untouched(long)


@pytest.mark.parametrize(("code", "name"), [("0f05", "syscall"), ("0f07", "sysret")])
def test_syscall_wants_sce_and_64_bit_mode(long: World, code: str, name: str) -> None:
    assert name
    long.cpu.set_efer(0x500)
    with pytest.raises(UD):
        long.do(code)
    long.cpu.set_efer(0x501)
    long.at_ring(0, compatible=True)
    with pytest.raises(UD):
        long.do(code)


@pytest.mark.parametrize("code", ["480f07", "480f35", "0f01f8"])
def test_ring_0_only(long: World, code: str) -> None:
    long.cpu.msr[SYSENTER_CS] = KERNEL_CS
    long.at_ring(3)
    with pytest.raises(GP):
        long.do(code)


def test_two_star_values_do_not_mix(long: World) -> None:
    with_syscall(long)
    long.do("0f05")
    long.cpu.msr[STAR] = 0x83 << 32
    long.do("0f05")
    assert (long.cpu.segments[CS].selector, long.cpu.segment(SS).selector) == (0x80, 0x8B)


# ---- SYSENTER, SYSEXIT, SWAPGS ----------------------------------------------------------------------------------


def test_sysenter_and_sysexit(long: World) -> None:
    cpu = long.cpu
    cpu.msr.update({SYSENTER_CS: KERNEL_CS | 3, SYSENTER_ESP: STACK0, SYSENTER_EIP: TARGET})
    long.at_ring(3)
    cpu.rflags = 2 | IF | ID
    long.do("0f34")
    assert (cpu.cpl, cpu.q[RIP], cpu.q[RSP], cpu.rflags) == (0, TARGET, STACK0, 2 | ID)
    assert (cpu.segments[CS].selector, cpu.segment(SS).selector) == (KERNEL_CS, KERNEL_SS)
    cpu.q[RCX], cpu.q[RDX] = STACK3, CODE
    long.do("480f35")
    assert (cpu.cpl, cpu.q[RIP], cpu.q[RSP]) == (3, CODE, STACK3)
    assert (cpu.segments[CS].selector, cpu.segment(SS).selector) == (KERNEL_CS + 35, KERNEL_CS + 43)


def test_sysexit_to_compatibility_mode(long: World) -> None:
    cpu = long.cpu
    cpu.msr[SYSENTER_CS] = KERNEL_CS
    cpu.q[RCX], cpu.q[RDX] = 0xF00000000 | STACK3, 0xF00000000 | CODE
    long.do("0f35")
    assert (cpu.cpl, cpu.q[RIP], cpu.q[RSP], cpu.code64) == (3, CODE, STACK3, False)
    assert cpu.segments[CS].selector == KERNEL_CS + 16 | 3


def test_sysenter_in_32_bit_mode(flat: World) -> None:
    flat.cpu.msr.update({SYSENTER_CS: KERNEL_CS, SYSENTER_ESP: STACK0, SYSENTER_EIP: TARGET})
    flat.at_ring(3)
    flat.do("0f34")
    assert (flat.cpu.cpl, flat.cpu.q[RIP], flat.cpu.q[RSP]) == (0, TARGET, STACK0)
    assert flat.cpu.segments[CS].access & 0x6000 == 0x4000


@pytest.mark.parametrize(("code", "register"), [("480f35", RCX), ("480f35", RDX)])
def test_sysexit_to_a_bad_address(long: World, code: str, register: int) -> None:
    long.cpu.msr[SYSENTER_CS] = KERNEL_CS
    long.cpu.q[register] = NONCANONICAL
    with pytest.raises(GP):
        long.do(code)


@pytest.mark.parametrize("code", ["0f34", "0f35"])
def test_sysenter_without_its_segment(long: World, code: str) -> None:
    long.cpu.msr[SYSENTER_CS] = 3
    with pytest.raises(GP):
        long.do(code)


def test_swapgs(long: World) -> None:
    cpu = long.cpu
    cpu.set_segment_base(GS, 0x1111)
    cpu.msr[KERNEL_GS_BASE] = 0x2222
    long.do("0f01f8")
    assert (cpu.segment_base(GS), cpu.msr[KERNEL_GS_BASE]) == (0x2222, 0x1111)
    long.at_ring(0, compatible=True)
    with pytest.raises(UD):
        long.do("0f01f8")
