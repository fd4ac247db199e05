"""A processor without a feature behaves as one that never had it.

The table here is written from the manual, not from the code: where CPUID tells of a feature (SDM "CPUID—CPU Identification"), which
bit of CR4 it has (SDM "Control Registers"), which instructions and MSRs come with it.
"""

from __future__ import annotations

import io
import struct
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple

import pytest

from paracell.emu.features import DEFAULT, FEATURES, MODELS, BadFeatures, Features, listing, parse
from paracell.emu.machine import Machine
from paracell.emu.registers import RAX, RBX, RCX, RDX, RIP
from paracell.mmu.walk import RESERVED

from .guest import GP, PF, UD, Guest
from .world import HANDLER

if TYPE_CHECKING:
    from collections.abc import Iterator

EAX, EBX, ECX, EDX = RAX, RBX, RCX, RDX
AREA: Final = 0x40000  # 64 bytes aligned, zero: for XSAVE and XRSTOR, INVPCID
EXTENDED: Final = 0x80000001


class Row(NamedTuple):
    """What the manual says of a feature: CPUID leaf, subleaf, register, bit; CR4's bit; instructions as code; MSRs."""

    place: tuple[int, int, int, int]
    cr4: int | None = None
    code: tuple[str, ...] = ()
    msrs: tuple[int, ...] = ()


ROWS: Final = {
    "de": Row((1, 0, EDX, 2), 3),
    "pse": Row((1, 0, EDX, 3), 4),
    "mce": Row((1, 0, EDX, 7), 6),
    "sep": Row((1, 0, EDX, 11), None, ("0f34", "0f35", "480f35"), (0x174, 0x175, 0x176)),
    "mtrr": Row(
        (1, 0, EDX, 12), None, (), (0xFE, *range(0x200, 0x210), 0x250, 0x258, 0x259, *range(0x268, 0x270), 0x2FF)
    ),
    "pge": Row((1, 0, EDX, 13), 7),
    "mca": Row((1, 0, EDX, 14), None, (), (0x179, 0x17A)),
    "pat": Row((1, 0, EDX, 16), None, (), (0x277,)),
    "pse36": Row((1, 0, EDX, 17)),
    "pcid": Row((1, 0, ECX, 17), 17),
    "x2apic": Row((1, 0, ECX, 21)),
    "tsc-deadline": Row((1, 0, ECX, 24), None, (), (0x6E0,)),
    "xsave": Row((1, 0, ECX, 26), 18, ("0f01d0", "0f01d1", "0fae23", "0fae2b")),
    "xsaveopt": Row((0xD, 1, EAX, 0), None, ("0fae33", "480fae33")),
    "xsavec": Row((0xD, 1, EAX, 1), None, ("0fc723", "480fc723")),
    "xgetbv1": Row((0xD, 1, EAX, 2)),
    "xsaves": Row((0xD, 1, EAX, 3), None, ("0fc72b", "0fc71b", "480fc72b", "480fc71b"), (0xDA0,)),
    "fsgsbase": Row((7, 0, EBX, 0), 16, ("f3480faec0", "f3480faec8", "f3480faed0", "f3480faed8")),
    "tsc-adjust": Row((7, 0, EBX, 1), None, (), (0x3B,)),
    "smep": Row((7, 0, EBX, 7), 20),
    "invpcid": Row((7, 0, EBX, 10), None, ("660f388203",)),
    "smap": Row((7, 0, EBX, 20), 21, ("0f01ca", "0f01cb")),
    "umip": Row((7, 0, ECX, 2), 11),
    "pku": Row((7, 0, ECX, 3), 22, ("0f01ee", "0f01ef")),
    "pks": Row((7, 0, ECX, 31), 24, (), (0x6E1,)),
    "arch-capabilities": Row((7, 0, EDX, 29), None, (), (0x10A,)),
    "nx": Row((EXTENDED, 0, EDX, 20)),
    "pdpe1gb": Row((EXTENDED, 0, EDX, 26)),
    "rdtscp": Row((EXTENDED, 0, EDX, 27), None, ("0f01f9",), (0xC0000103,)),
}


def without(name: str) -> Features:
    """Give the default processor without a feature, and without what needs it."""
    gone = {name}
    while more := {f for f in DEFAULT.names if gone & set(FEATURES[f].needs)} - gone:
        gone |= more
    return Features("test", 0, DEFAULT.names - gone, 52)


@lru_cache(maxsize=1)
def complete() -> Guest:
    return Guest(DEFAULT)


@pytest.fixture(params=ROWS)
def lacking(request: pytest.FixtureRequest) -> Iterator[tuple[str, Guest]]:
    guest = Guest(without(request.param))
    yield request.param, guest
    guest.close()


def test_every_feature_has_a_row() -> None:
    assert ROWS.keys() == FEATURES.keys() - {"vmx"}  # which no model has: test_vmx.py


def test_without_a_feature(lacking: tuple[str, Guest]) -> None:
    """Each with its control: the processor that has the feature."""
    name, guest = lacking
    row, whole = ROWS[name], complete()
    leaf, subleaf, register, bit = row.place
    assert (guest.cpuid(leaf, subleaf)[register] >> bit & 1, whole.cpuid(leaf, subleaf)[register] >> bit & 1) == (0, 1)
    if row.cr4 is not None:
        code = "0f20e00f22e0".replace(
            "0f22e0", f"480fbae8{row.cr4:02x}0f22e0"
        )  # mov rax, cr4; bts rax, n; mov cr4, rax
        assert (guest.vector(code), whole.vector(code)) == (GP, None)
    for code in row.code:
        assert guest.vector(code, rbx=AREA) == UD, code
        whole.memory.write(AREA, bytes(1024))
        # SYSENTER and SYSEXIT with a null selector are #GP, XRSTORS of an area that is not compacted, too.
        assert whole.vector(code, rbx=AREA) in {None, GP}, code
    for number in row.msrs:
        assert (guest.rdmsr(number), whole.rdmsr(number)) == (GP, None), hex(number)
        assert guest.wrmsr(number, 0) == GP, hex(number)


# ---- what is more than a bit, an instruction or an MSR -----------------------------------------------------------------


def test_without_nx_the_bit_is_reserved_in_efer_and_in_entries() -> None:
    guest = Guest(without("nx"))
    assert guest.wrmsr(0xC0000080, 0xD01) == GP
    assert complete().wrmsr(0xC0000080, 0xD01) is None
    complete().wrmsr(0xC0000080, 0x501)
    assert guest.wrmsr(0xC0000080, 0x501) is None
    guest.memory.write(0x3008, struct.pack("<Q", 0x200000 | 0x83 | 1 << 63))
    guest.cpu.translation.flush_all()
    assert guest.vector("8b03", rbx=0x200000) == PF
    guest.close()


def test_without_pku_xsave_has_no_such_component() -> None:
    guest = Guest(without("pku"))
    assert [guest.vector("0f01d1", rax=value) for value in (3, 0x203)] == [None, GP]
    assert [complete().vector("0f01d1", rax=value) for value in (3, 0x203)] == [None, None]
    assert guest.cpuid(0xD) == {RAX: 3, RBX: 576, RCX: 576, RDX: 0}
    assert guest.cpuid(0xD, 9) == {RAX: 0, RBX: 0, RCX: 0, RDX: 0}
    guest.close()


def test_without_xsave_its_leaf_is_empty_and_without_xgetbv1_ecx_1_is_refused() -> None:
    guest = Guest(without("xsave"))
    assert {sum(guest.cpuid(0xD, subleaf).values()) for subleaf in range(11)} == {0}
    guest.close()
    guest = Guest(without("xgetbv1"))
    assert [guest.vector("0f01d0", rcx=n) for n in (0, 1)] == [None, GP]
    assert complete().vector("0f01d0", rcx=1) is None
    guest.close()


def test_without_x2apic_its_enable_bit_is_reserved() -> None:
    guest = Guest(without("x2apic"))
    assert guest.wrmsr(0x1B, 0xFEE00D00) == GP
    assert guest.rdmsr(0x802) == GP
    guest.close()


def test_without_tsc_deadline_the_timer_has_two_modes() -> None:
    guest = Guest(without("tsc-deadline"))
    for features, kept in ((guest, 0x20000), (complete(), 0x60000)):
        assert features.machine is not None
        lapic = features.machine.devices.lapic
        lapic.mmio_write(0xF0, 0x1FF)
        lapic.mmio_write(0x320, 0x60020)
        assert lapic.mmio_read(0x320) == kept | 0x20
        lapic.mmio_write(0x320, 0x10000)
    guest.close()


@pytest.mark.parametrize("has", [True, False])
def test_pages_of_1_gib(has: bool) -> None:
    guest = Guest(DEFAULT if has else without("pdpe1gb"))
    guest.memory.write(0x2008, struct.pack("<Q", 0x40000000 | 0x83))
    assert guest.vector("8b03", rbx=0x40000000) == (None if has else PF)
    assert (guest.cpu.cr2 == 0x40000000) is not has
    guest.close()


@pytest.mark.parametrize(("names", "width", "bits"), [("", 52, 1 << 21), ("", 36, 0x3E0000), ("pse36", 52, 0x3FE000)])
def test_a_4_mib_page_without_pse36_has_32_bits_of_address(names: str, width: int, bits: int) -> None:
    features = Features("test", 0, DEFAULT.names - set(names.split()), width)
    machine = Machine(16 << 20, features=features)
    cpu = machine.cpu
    cpu.cr4, cpu.cr0 = 1 << 4, 0x80000011
    cpu.sync_control()
    for bit in range(12, 22):
        machine.memory.write(0, struct.pack("<I", 0x83 | 1 << bit))
        refused = cpu.translation._walk(0x1000, 1) == RESERVED
        assert refused is bool(bits >> bit & 1), bit
        cpu.translation.flush_all()
    machine.close()


@pytest.mark.parametrize("width", [36, 39, 46, 52])
def test_physical_addresses_have_so_many_bits(width: int) -> None:
    """SDM "Reserved Bits": from MAXPHYADDR to 51, at every level; in CR3 and the MTRRs, too."""
    guest = Guest(Features("test", 0, DEFAULT.names, width))
    assert guest.cpuid(0x80000008)[RAX] == 48 << 8 | width
    entries = {0x1000: (4, 0x2007), 0x2000: (3, 0x3007), 0x3008: (2, 0x200083)}  # of the page at 2 MiB
    for at, (level, entry) in entries.items():
        for bit in range(21, 52):
            guest.memory.write(at, struct.pack("<Q", entry | 1 << bit))
            fault = guest.cpu.translation.explain(0x200000, 1).fault  # below, a table that is not there reads as ones
            refused = fault is not None and fault.level == level and bool(fault.error.RSVD)
            assert refused is (bit >= width), (level, bit)
        guest.memory.write(at, struct.pack("<Q", entry))
        guest.cpu.translation.flush_all()
    if width < 52:  # and as the guest sees it: P and RSVD in the error code
        guest.memory.write(0x3008, struct.pack("<Q", 0x200083 | 1 << width))
        assert guest.vector("8b03", rbx=0x200000) == PF
        assert guest.memory.read64(guest.cpu.q[4]) == 9  # at RSP
        guest.memory.write(0x3008, struct.pack("<Q", 0x200083))
    assert guest.vector("0f22d8", rax=0x1000 | 1 << width) == GP
    assert guest.wrmsr(0x201, 1 << width - 1 | 0x800) is None
    assert guest.wrmsr(0x201, 1 << width) == GP
    guest.close()


def test_cpuid_of_the_default_processor() -> None:
    """All its feature words, from the manual: no more than what is implemented (docs/machine.md)."""

    def word(*bits: int) -> int:
        return sum(1 << bit for bit in bits)

    guest = complete()
    first, seventh, extended = guest.cpuid(1), guest.cpuid(7), guest.cpuid(EXTENDED)
    assert first[RCX] & ~(1 << 27) == word(0, 1, 9, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26)
    assert first[RDX] == word(0, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 13, 14, 15, 16, 17, 19, 23, 24, 25, 26)
    assert seventh[RBX] == word(0, 1, 3, 7, 8, 9, 10, 20)
    assert seventh[RCX] & ~(1 << 4) == word(2, 3, 31)
    assert extended[RCX] == word(0, 5)
    assert extended[RDX] == word(11, 20, 26, 27, 29)
    assert guest.cpuid(0xD, 1)[RAX] == 0xF


def test_cr4_bits_of_features_that_no_model_has_are_reserved() -> None:
    """VME, PVI (without CPUID's VME), LA57, VMXE, SMXE, CET, UINTR, LASS, LAM_SUP."""
    for bit in (0, 1, 12, 13, 14, 15, 19, 23, 25, 26, 27, 28, 29, 31, 32, 63):
        assert complete().vector(f"0f20e0480fbae8{bit:02x}0f22e0") == GP, bit


# ---- the value itself --------------------------------------------------------------------------------------------------


def test_parsing() -> None:
    assert parse("pks") == DEFAULT
    chosen = parse("pku,-pcid,+umip,maxphyaddr=40")
    assert chosen.names == MODELS["pku"].names - {"pcid"} | {"umip"}
    assert (chosen.model, chosen.maxphyaddr, chosen.signature) == ("pku", 40, MODELS["pku"].signature)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("486", "'486' is no processor; there are pks, pku, pcid, x86-64"),
        ("", "'' is no processor"),
        ("pks,+avx", "'avx' is no feature"),
        ("pks,-avx", "'avx' is no feature"),
        ("pks,avx", "'avx' is no +FEATURE"),
        ("pks,", "'' is no +FEATURE"),
        ("pks,-xsave", "the processor feature pku needs xsave"),
        ("pks,-pse", "the processor feature pse36 needs pse"),
        ("pks,-mce", "the processor feature mca needs mce"),
        ("pks,-xsavec", "the processor feature xsaves needs xsavec"),
        ("x86-64,+pku", "the processor feature pku needs xsave"),
        ("pks,maxphyaddr=53", "maxphyaddr is from 36 to 52, not 53"),
        ("pks,maxphyaddr=35", "maxphyaddr is from 36 to 52, not 35"),
        ("pks,maxphyaddr=0x30", "'maxphyaddr=0x30' is no +FEATURE"),
    ],
)
def test_processors_that_cannot_be(text: str, message: str) -> None:
    with pytest.raises(BadFeatures) as caught:
        parse(text)
    assert message in str(caught.value)


def test_models_are_what_they_are_called() -> None:
    assert set(DEFAULT.names) == set(FEATURES) - {"vmx"}
    assert ("pku" in MODELS["pku"], "pks" in MODELS["pku"]) == (True, False)
    assert ("pcid" in MODELS["pcid"], "pku" in MODELS["pcid"]) == (True, False)
    text = listing()
    assert all(name in text for name in (*FEATURES, *MODELS))
    assert max(map(len, text.splitlines())) <= 100


def test_memory_must_fit_into_physical_addresses() -> None:
    with pytest.raises(BadFeatures, match="65536 MiB of memory do not fit into 36-bit physical addresses"):
        Machine(64 << 30, features=MODELS["x86-64"])  # 1 GiB of it lies above the hole


def test_a_snapshot_carries_the_features() -> None:
    features = parse("pcid,-smep,maxphyaddr=41")
    machine = Machine(16 << 20, features=features)
    file = io.BytesIO()
    machine.save(file)
    file.seek(0)
    again = Machine.restore(file)
    assert again.cpu.features == features
    assert again.cpu.translation.cpu.features.maxphyaddr == 41
    machine.close()
    again.close()


# ---- the time-stamp counter, as a guest sees it ------------------------------------------------------------------------


@pytest.mark.parametrize("enable", ["68020200009d", "fb"], ids=["popf", "sti"])
def test_a_guest_that_writes_its_tsc_gets_its_deadline_in_time(enable: str) -> None:
    """TSC := 10^9, then a deadline 5,000 later: the timer breaks a loop 5,000 cycles from then, not at cycle 10^9."""
    guest = complete()
    assert guest.machine is not None
    cpu, lapic = guest.cpu, guest.machine.devices.lapic
    lapic.mmio_write(0xF0, 0x1FF)
    lapic.mmio_write(0x320, 2 << 17 | 0x40)
    guest.gate(0x40, target=HANDLER + 0x20)
    guest.memory.write(HANDLER + 0x20, b"\xf4")
    assert guest.wrmsr(0x10, 10**9) is None
    before = cpu.clock.cycles
    assert guest.rdmsr(0x10) is None
    assert 0 <= (cpu.q[RDX] << 32 | cpu.q[RAX]) - 10**9 <= cpu.clock.cycles - before
    assert guest.rdmsr(0x3B) is None  # IA32_TSC_ADJUST says what was added
    adjust = cpu.q[RDX] << 32 | cpu.q[RAX]
    assert adjust + cpu.clock.cycles == cpu.tsc.read()
    deadline = cpu.tsc.read() + 5000
    due = deadline - adjust
    guest.vector("0f30" + enable + "ebfe", rcx=0x6E0, rax=deadline)  # wrmsr; interrupts on; jmp to itself
    lapic.mmio_write(0xB0, 0)  # end of interrupt
    assert cpu.q[RIP] == HANDLER + 0x21
    assert due <= cpu.clock.cycles < due + 2000
    assert guest.wrmsr(0x3B, 0) is None  # and back: the counter is the clock again
    assert cpu.tsc.read() == cpu.clock.cycles
