"""ACPI's tables as a kernel reads them (ACPI Specification 6.5, chapter 5), and the BIOS data area."""

from __future__ import annotations

import struct
from itertools import pairwise

import pytest

from paracell.emu.clock import TSC_HZ
from paracell.emu.descriptors import Segment, Table
from paracell.emu.features import parse
from paracell.emu.machine import Machine
from paracell.emu.registers import RIP, RSP
from paracell.emu.state import State
from paracell.emu.stop import Reason
from paracell.guest import shipped
from paracell.guest.firmware import pieces
from paracell.guest.image import load
from paracell.guest.multiboot import memory_map

MIB = 1 << 20
REQUIRED = {b"FACP": 276 - 8, b"APIC": 44}  # tables that must be there, and their least length
IO, BYTE, WORD, DWORD = 1, 1, 2, 3


def placed(*, hpet: bool) -> bytes:
    made = bytearray(MIB)
    for paddr, data in pieces(hpet=hpet):
        made[paddr : paddr + len(data)] = data
    return bytes(made)


@pytest.fixture(scope="module", params=[False, True], ids=["", "hpet"])
def memory(request: pytest.FixtureRequest) -> bytes:
    return placed(hpet=request.param)


def find_rsdp(memory: bytes) -> int:
    """On a 16-byte border of the last 128 KiB below 1 MiB, as "Finding the RSDP on IA-PC Systems" has it."""
    return next(at for at in range(0xE0000, MIB, 16) if memory[at : at + 8] == b"RSD PTR ")


def tables(memory: bytes, wide: bool) -> dict[bytes, bytes]:
    rsdp = find_rsdp(memory)
    root = struct.unpack_from("<Q", memory, rsdp + 24)[0] if wide else struct.unpack_from("<I", memory, rsdp + 16)[0]
    signature, length = struct.unpack_from("<4sI", memory, root)
    assert signature == (b"XSDT" if wide else b"RSDT")
    assert sum(memory[root : root + length]) % 256 == 0
    entries = struct.unpack(
        f"<{(length - 36) // (8 if wide else 4)}{'Q' if wide else 'I'}", memory[root + 36 : root + length]
    )
    found = {}
    for at in entries:
        name, size = struct.unpack_from("<4sI", memory, at)
        found[name] = memory[at : at + size]
    return found


def test_the_root_pointer(memory: bytes) -> None:
    at = find_rsdp(memory)
    assert sum(memory[at : at + 20]) % 256 == 0
    assert struct.unpack_from("<I", memory, at + 20) == (36,)
    assert sum(memory[at : at + 36]) % 256 == 0


@pytest.mark.parametrize("wide", [False, True])
def test_the_tables(memory: bytes, wide: bool) -> None:
    found = tables(memory, wide)
    assert found == tables(memory, not wide)
    for name, length in REQUIRED.items():
        assert len(found[name]) >= length
    for data in found.values():
        assert sum(data) % 256 == 0


@pytest.mark.parametrize("hpet", [False, True])
def test_pieces_do_not_meet_and_lie_where_a_kernel_leaves_them_alone(hpet: bool) -> None:
    spans = sorted((p.paddr, p.paddr + len(p.data)) for p in pieces(hpet=hpet))
    assert all(end <= start for (_, end), (start, _) in pairwise(spans))
    kept = [(base, base + size) for base, size, kind in memory_map([(0, 64 * MIB)]) if kind == 2] + [(0x400, 0x500)]
    assert all(any(a <= start and end <= b for a, b in kept) for start, end in spans)


def test_the_fadt(memory: bytes) -> None:
    fadt = tables(memory, wide=True)[b"FACP"]

    def word(form: str, at: int) -> int:
        return int(struct.unpack_from(form, fadt, at)[0])

    assert fadt[8] == 5
    assert word("<I", 48) == fadt[52] == 0  # no SMI command: ACPI mode from the beginning
    assert word("<H", 46) == 9
    assert (word("<I", 56), word("<I", 64), word("<I", 76)) == (0x600, 0x604, 0x608)
    assert (fadt[88], fadt[89], fadt[91]) == (4, 2, 4)
    assert word("<I", 112) >> 8 & 1  # a 32-bit timer
    assert word("<I", 112) >> 10 & 1  # a reset register
    assert (struct.unpack_from("<BBBBQ", fadt, 116), fadt[128]) == ((IO, 8, 0, BYTE, 0xCF9), 6)
    for at, port, bits in ((148, 0x600, 32), (172, 0x604, 16), (208, 0x608, 32)):
        assert struct.unpack_from("<BBBBQ", fadt, at) == (IO, bits, 0, {16: WORD, 32: DWORD}[bits], port)
    facs, dsdt = word("<I", 36), word("<I", 40)
    assert (word("<Q", 132), word("<Q", 140)) == (facs, dsdt)
    assert (facs % 64, struct.unpack_from("<4sI", memory, facs)) == (0, (b"FACS", 64))
    name, length = struct.unpack_from("<4sI", memory, dsdt)
    assert name == b"DSDT"
    assert sum(memory[dsdt : dsdt + length]) % 256 == 0
    # Name (_S5, Package (4) {0, 0, 0, 0}): NameOp, NameSeg, PackageOp, PkgLength, NumElements, four times ZeroOp
    assert memory[dsdt + 36 : dsdt + length] == bytes.fromhex("08 5f53355f 12 06 04 00000000")


def test_the_madt(memory: bytes) -> None:
    madt = tables(memory, wide=True)[b"APIC"]
    assert struct.unpack_from("<II", madt, 36) == (0xFEE00000, 1)
    entries, at = [], 44
    while at < len(madt):
        entries.append(madt[at : at + madt[at + 1]])
        at += madt[at + 1]
    assert at == len(madt)
    by_type = {kind: [e for e in entries if e[0] == kind] for kind in range(5)}
    assert [struct.unpack("<BBBBI", e)[3:] for e in by_type[0]] == [(0, 1)]  # one processor, APIC ID 0, enabled
    assert [struct.unpack("<BBBBII", e)[4:] for e in by_type[1]] == [(0xFEC00000, 0)]
    assert {struct.unpack("<BBBBIH", e)[3:] for e in by_type[2]} == {(0, 2, 0), (9, 9, 0b1101)}
    assert [struct.unpack("<BBBHB", e)[2:] for e in by_type[4]] == [(0xFF, 0, 1)]


def test_the_table_of_the_hpet() -> None:
    """IA-PC HPET Specification 1.0a, "The ACPI 2.0 HPET Description Table": its address, and what its capabilities say."""
    assert b"HPET" not in tables(placed(hpet=False), wide=True)
    table = tables(placed(hpet=True), wide=True)[b"HPET"]
    machine = Machine(16 * MIB, hpet=True)
    capabilities = machine.devices.mmio_read(0xFED00000, 4)
    machine.close()
    assert (len(table), table[8]) == (56, 1)
    assert struct.unpack_from("<IBBBBQB", table, 36) == (capabilities, 0, 64, 0, 0, 0xFED00000, 0)


def test_the_bios_data_area(memory: bytes) -> None:
    assert struct.unpack_from("<2H", memory, 0x400) == (0x3F8, 0x2F8)
    (segment,), (kib,) = struct.unpack_from("<H", memory, 0x40E), struct.unpack_from("<H", memory, 0x413)
    assert (segment << 4, kib) == (0x9FC00, 639)
    assert memory[segment << 4] == 1  # KiB of the extended area


def test_a_machine_without_firmware_has_none() -> None:
    machine = Machine(16 * MIB)
    assert not machine.memory.used
    machine.close()


@pytest.mark.parametrize(
    ("cpu", "bios", "expected"), [("pks,+vmx", True, 5), ("pks,+vmx", False, 0), ("pks", True, None)]
)
@pytest.mark.parametrize("nested", [False, True])
def test_a_bios_switches_vmx_on_and_locks_it(cpu: str, bios: bool, expected: int | None, nested: bool) -> None:
    """A kernel reads it; None is #GP."""
    machine = Machine(2 * MIB, features=parse(cpu), nested=nested)
    try:
        machine.load(load(shipped.image("modes.elf")), firmware=True, bios=bios)
        # mov ecx, 3Ah; rdmsr; out F4h, al; without an interrupt table #GP is a triple fault
        machine.memory.write(0x7C00, bytes.fromhex("b93a000000 0f32 e6f4"))
        machine.cpu.q[RIP] = 0x7C00
        stop = machine.run()
        if expected is None:
            assert stop.reason is Reason.TRIPLE_FAULT
        else:
            assert (stop.reason, stop.value) == (Reason.EXIT, expected)
    finally:
        machine.close()


def test_a_bios_leaves_interrupts() -> None:
    """In real mode a HLT ends with the timer's tick, which counts; what the second 8259 delivers is ended, and INT n returns."""
    machine = Machine(2 * MIB)
    try:
        machine.load(load(shipped.image("modes.elf")), firmware=True, bios=True)
        data = Segment(0, 0, 0xFFFF, 0x93)
        machine.memory.write(0x7C00, bytes.fromhex("fb f4 f4 cd10 cd73 66a16c04 e7f4"))
        registers = (0,) * 4 + (0x7000,) + (0,) * 11
        machine.cpu.load(State(rip=0x7C00, cr0=0x10, idtr=Table(0, 0x3FF), segments=(data,) * 6, registers=registers))
        stop = machine.run()
        assert (stop.reason, stop.value, machine.cpu.q[RSP]) == (Reason.EXIT, 2, 0x7000)
        assert machine.clock.now * 10 // TSC_HZ == 1  # two ticks of 55 ms
    finally:
        machine.close()
