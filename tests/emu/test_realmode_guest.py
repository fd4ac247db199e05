"""Virtual machines whose guest is in virtual-8086 or real mode (SDM "VMX Non-Root Operation", "Unrestricted Guests")."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, Final

import pytest

from paracell.emu.registers import IF
from paracell.vmx.fields import Field as F  # noqa: N817  (the tables have it on every line)

from ..vmx.entries import BASE, GUEST_32, V86, controls
from .vmx_host import ERROR_CODE, GP_EXITS, GUEST, HARDWARE, UD_EXITS, VALID, Host

if TYPE_CHECKING:
    from collections.abc import Iterator

PDPT: Final = 0x6000
SELECTOR, STACK = GUEST >> 4, 0x8000
NAMES: Final = ("CS", "SS", "DS", "ES", "FS", "GS")
IN_V86: Final = {
    **V86, F.GUEST_CR3: PDPT, F.GUEST_RIP: 0, F.GUEST_RSP: STACK,
    **{F[f"GUEST_{name}_SELECTOR"]: SELECTOR for name in NAMES}, **{F[f"GUEST_{name}_BASE"]: GUEST for name in NAMES},
}  # fmt: skip


@pytest.fixture(scope="module")
def module_host() -> Iterator[Host]:
    host = Host()
    yield host
    host.close()


@pytest.fixture
def host(module_host: Host) -> Host:
    module_host.memory.write(PDPT, struct.pack("<4Q", 0x3001, 0, 0, 0))
    module_host.memory.write(GUEST, bytes(0x100))
    return module_host


def v86(host: Host, code: str, *changes: dict[F, int]) -> dict[str, Any]:
    return host.guest(code, GUEST_32, IN_V86, *changes)


@pytest.mark.parametrize(("code", "reason"), [("0fa2", 10), ("0f01c1", 18), ("e480", 30), ("0f31", 16), ("f390", 40)])
def test_v86_exits(host: Host, code: str, reason: int) -> None:
    told = v86(host, "90" + code, controls(F.PRIMARY_CONTROLS, 12, 24, 30))
    assert (told["reason"], told["vmcs"][F.GUEST_RIP]) == (reason, 1)
    assert told["vmcs"][F.GUEST_RFLAGS] & 0x20000


@pytest.mark.parametrize("code", ["f4", "fa", "9c", "cd21", "0f22c0", "0f30"])
def test_in_v86_privilege_comes_before_exits(host: Host, code: str) -> None:
    told = v86(host, "90" + code, controls(F.PRIMARY_CONTROLS, 7), GP_EXITS)
    assert (told["reason"], told["event"], told["error"]) == (0, VALID | HARDWARE | ERROR_CODE | 13, 0)
    assert (told["vmcs"][F.GUEST_RIP], told["vmcs"][F.GUEST_CS_ACCESS]) == (1, 0xF3)


@pytest.mark.parametrize("code", ["0f01c4", "0f00c0", "0f78ca"])
def test_in_v86_some_are_not_recognised(host: Host, code: str) -> None:
    told = v86(host, code, controls(F.SECONDARY_CONTROLS, 2), UD_EXITS)
    assert (told["reason"], told["event"]) == (0, VALID | HARDWARE | 6)


def test_v86_again_and_again(host: Host) -> None:
    """A guest that is gone back to as it was left is in virtual-8086 mode still."""
    cpu = host.cpu
    told = v86(host, "0fa2 9090 0fa2 50 1f 0fa2", {F.GUEST_RFLAGS: 0x23002})
    vmcs = told["vmcs"]
    for rip in (4, 10):
        vmcs[F.GUEST_RIP] += 2
        host.memory.write(0x10000, bytes.fromhex("0f01c3"))  # vmresume
        host.memory.drop_stale_code()
        cpu.halted = False
        host.at_ring(0)
        assert host.machine is not None
        cpu.q[0] = 0x1234
        host.machine.run()
        assert (vmcs[F.EXIT_REASON], vmcs[F.GUEST_RIP]) == (10, rip - (rip > 4) * 2)
        assert not cpu.v86
        assert not cpu.emulates_8086
    assert (vmcs[F.GUEST_DS_SELECTOR], vmcs[F.GUEST_DS_BASE], vmcs[F.GUEST_RSP]) == (0x1234, 0x12340, STACK)


# ---- real mode -----------------------------------------------------------------------------------------------------------

EPT_POINTER, HOLE = 0x70000, 0x600000  # a guest-physical page that the EPT does not map
IVT_HANDLER: Final = 0x17000 >> 4  # IP is 16 × vector
REAL: Final = {
    F.PRIMARY_CONTROLS: BASE[F.PRIMARY_CONTROLS] | 1 << 31, F.SECONDARY_CONTROLS: 1 << 1 | 1 << 7, F.EPT_POINTER: EPT_POINTER | 0x1E,
    F.GUEST_CR0: 0x30, F.GUEST_CR4: 0x2000, F.GUEST_EFER: 0, F.GUEST_RFLAGS: 2, F.GUEST_RIP: 0, F.GUEST_RSP: STACK,
    F.ENTRY_CONTROLS: GUEST_32[F.ENTRY_CONTROLS], F.GUEST_IDTR_BASE: 0, F.GUEST_IDTR_LIMIT: 0x3FF,
    **{F[f"GUEST_{name}_SELECTOR"]: SELECTOR for name in NAMES}, **{F[f"GUEST_{name}_BASE"]: GUEST for name in NAMES},
    **{F[f"GUEST_{name}_LIMIT"]: 0xFFFF for name in NAMES}, **{F[f"GUEST_{name}_ACCESS"]: 0x93 for name in NAMES},
}  # fmt: skip


@pytest.fixture
def real_host(host: Host) -> Host:
    """The first 16 MiB are mapped to themselves, by pages of 2 MiB, but for one."""
    memory = host.memory
    memory.write(EPT_POINTER, struct.pack("<Q", EPT_POINTER + 0x1007))
    memory.write(EPT_POINTER + 0x1000, struct.pack("<Q", EPT_POINTER + 0x2007))
    memory.write(
        EPT_POINTER + 0x2000, struct.pack("<8Q", *(0 if at << 21 == HOLE else at << 21 | 0xB7 for at in range(8)))
    )
    for vector in range(256):
        memory.write(4 * vector, struct.pack("<2H", 16 * vector, IVT_HANDLER))
    memory.write(IVT_HANDLER << 4, bytes.fromhex("0f01c1") + bytes(0xFFD))
    for vector in range(32):
        memory.write((IVT_HANDLER << 4) + 16 * vector, bytes.fromhex("0f01c1"))
    return host


def real(host: Host, code: str, *changes: dict[F, int], **registers: int) -> dict[str, Any]:
    return host.guest(code, REAL, *changes, **registers)


def test_a_real_mode_guest_runs(real_host: Host) -> None:
    told = real(real_host, "b80090 8ed8 c70600007856 8b1e0000 8ec3 50 07 9c 58")
    vmcs = told["vmcs"]
    assert (told["reason"], real_host.cpu.q[3] & 0xFFFF, real_host.cpu.q[0]) == (18, 0x5678, 2)
    assert (vmcs[F.GUEST_DS_SELECTOR], vmcs[F.GUEST_DS_BASE], vmcs[F.GUEST_DS_LIMIT]) == (0x9000, 0x90000, 0xFFFF)
    assert (vmcs[F.GUEST_CS_ACCESS], vmcs[F.GUEST_CR0], real_host.cpu.emulates_8086) == (0x93, 0x30, False)


def test_a_real_mode_guest_takes_interrupts_by_its_table(real_host: Host) -> None:
    vmcs = real(real_host, "fb cd13")["vmcs"]
    assert (vmcs[F.GUEST_CS_SELECTOR], vmcs[F.GUEST_RIP], vmcs[F.GUEST_RSP]) == (IVT_HANDLER, 0x130, STACK - 6)
    frame = struct.unpack("<3H", real_host.memory.ram[GUEST + STACK - 6 : GUEST + STACK])
    assert frame == (3, SELECTOR, 2 | IF)


@pytest.mark.parametrize(
    ("event", "vector"),
    [(VALID | 0x21, 0x21), (VALID | HARDWARE | 13, 13), (VALID | 2 << 8 | 2, 2), (VALID | 4 << 8 | 0x13, 0x13)],
)
def test_events_are_injected_by_the_table(real_host: Host, event: int, vector: int) -> None:
    real_host.memory.write((IVT_HANDLER << 4) + 16 * vector, bytes.fromhex("0f01c1"))
    change = {F.ENTRY_INTERRUPTION_INFO: event, F.GUEST_RFLAGS: 2 | IF, F.ENTRY_INSTRUCTION_LENGTH: 2}
    vmcs = real(real_host, "9090", change)["vmcs"]
    assert (vmcs[F.EXIT_REASON], vmcs[F.GUEST_RIP], vmcs[F.GUEST_RSP]) == (18, 16 * vector, STACK - 6)
    ip = 2 if event & 4 << 8 else 0
    assert struct.unpack("<3H", real_host.memory.ram[GUEST + STACK - 6 : GUEST + STACK]) == (ip, SELECTOR, 2 | IF)


def test_an_error_code_is_not_for_real_mode(real_host: Host) -> None:
    real_host.prepare("90", REAL, {F.ENTRY_INTERRUPTION_INFO: VALID | HARDWARE | ERROR_CODE | 13})
    assert real_host.machine is not None
    real_host.machine.run()
    assert real_host.told()["vmcs"][F.INSTRUCTION_ERROR] == 7


@pytest.mark.parametrize("code", ["a1ffff", "66b800000080 0f22c0", "0f34", "67a100000100"])
def test_exceptions_exit_without_an_error_code(real_host: Host, code: str) -> None:
    told = real(real_host, code, GP_EXITS)
    assert (told["reason"], told["event"], told["error"]) == (0, VALID | HARDWARE | 13, 0)
    told = real(real_host, code)
    assert (told["reason"], told["vmcs"][F.GUEST_RIP]) == (18, 13 * 16)


@pytest.mark.parametrize(
    ("code", "control", "reason", "qualification"),
    [
        ("0fa2", (), 10, 0), ("f4", (7,), 12, 0), ("e480", (24,), 30, 0x800048), ("0f20c0", (), 18, 0), ("0f01c4", (), 0, 0),
        ("0f22d8", (15,), 28, 3), ("0f32", (), 31, 0),
    ],
)  # fmt: skip
def test_what_exits_from_real_mode(
    real_host: Host, code: str, control: tuple[int, ...], reason: int, qualification: int
) -> None:
    change = {F.PRIMARY_CONTROLS: REAL[F.PRIMARY_CONTROLS] | sum(1 << bit for bit in control)}
    told = real(real_host, code, change, UD_EXITS)
    assert (told["reason"], told["qualification"]) == (reason, qualification)


def test_no_table_is_a_triple_fault(real_host: Host) -> None:
    assert real(real_host, "cc", {F.GUEST_IDTR_LIMIT: 0})["reason"] == 2


def test_an_ept_violation_in_real_mode(real_host: Host) -> None:
    told = real(real_host, "a05034", {F.GUEST_DS_BASE: HOLE, F.GUEST_DS_SELECTOR: 0})
    vmcs = told["vmcs"]
    assert (told["reason"], told["qualification"] & 0x187) == (48, 0x181)
    assert (vmcs[F.GUEST_PHYSICAL_ADDRESS], vmcs[F.GUEST_LINEAR_ADDRESS]) == (HOLE + 0x3450, HOLE + 0x3450)


def test_cr0_is_the_guests_own(real_host: Host) -> None:
    """PE may be set and cleared; NE may not be cleared; what the mask owns exits."""
    told = real(real_host, "0f20c0 0c01 0f22c0 24fe 0f22c0")
    assert (told["reason"], told["vmcs"][F.GUEST_CR0]) == (18, 0x30)
    told = real(real_host, "0f20c0 24df 0f22c0", GP_EXITS)
    assert (told["reason"], told["event"]) == (0, VALID | HARDWARE | 13)
    told = real(real_host, "0f20c0 0c01 0f22c0", {F.CR0_MASK: 1, F.CR0_READ_SHADOW: 0})
    assert (told["reason"], told["qualification"]) == (28, 0)
    told = real(real_host, "b80100 0f01f0", {F.CR0_MASK: 1, F.CR0_READ_SHADOW: 0})
    assert (told["reason"], told["qualification"]) == (28, 1 << 16 | 0x30)


def test_from_real_mode_to_64_bit_mode(real_host: Host) -> None:
    """PE, PAE, EFER.LME and PG, then a far jump: the next exit tells of an IA-32e mode guest."""
    gdt = struct.pack("<3Q", 0, 0x00AF9B000000FFFF, 0x00CF93000000FFFF)
    real_host.memory.write(GUEST + 0x200, gdt + struct.pack("<HI", 0x17, GUEST + 0x200))
    real_host.memory.write(GUEST + 0x100, bytes.fromhex("48b8 efcdab8967452301 0fa2"))
    code = (
        "0f01161802"  # lgdt [218h]
        "66b820200000 0f22e0 66b800100000 0f22d8"  # CR4.PAE, VMXE; CR3
        "66b9800000c0 66b800010000 6631d2 0f30"  # EFER.LME
        "66b831000080 0f22c0"  # CR0
        f"66ea {(GUEST + 0x100).to_bytes(4, 'little').hex()} 0800"
    )
    change = {F.PRIMARY_CONTROLS: REAL[F.PRIMARY_CONTROLS] | 1 << 28}
    told = real(real_host, code, change)
    vmcs = told["vmcs"]
    assert (told["reason"], vmcs[F.GUEST_RIP], real_host.cpu.q[0]) == (10, GUEST + 0x10A, 0x0123456789ABCDEF)
    assert vmcs[F.ENTRY_CONTROLS] & 1 << 9
    assert (vmcs[F.GUEST_CR0], vmcs[F.GUEST_CS_ACCESS]) == (0x80000031, 0xA09B)
