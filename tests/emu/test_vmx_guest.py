"""Guests that run and exit, through TCG: reasons, qualifications, what exits and what does not (SDM "VMX Non-Root Operation")."""

from __future__ import annotations

import io
import struct
from typing import TYPE_CHECKING, Any, Final

import pytest

from paracell.emu.events import Kind, Who
from paracell.emu.machine import Machine
from paracell.emu.registers import RAX, RCX, RDI, RDX, RIP, RSI, RSP
from paracell.emu.stop import Reason
from paracell.vmx.fields import Field as F  # noqa: N817  (the tables have it on every line)

from ..vmx.entries import BASE, controls, put
from .test_vmx import FIRST, Root
from .test_vmx_entry import HOST
from .world import CODE, GDT, IDT, STACK3, TSS_AT, UNMAPPED

if TYPE_CHECKING:
    from collections.abc import Iterator

    from paracell.emu.events import Event
    from paracell.emu.nesting import NestedOptions

GUEST, GUEST_STACK, GUEST_IDT, HANDLER, BITMAPS = 0x14000, 0x24000, 0x16000, 0x17000, 0x52000
VMCALL, HLT = "0f01c1", "f4"
VALID, HARDWARE, ERROR_CODE = 1 << 31, 3 << 8, 1 << 11
STATE: Final = {
    F.GUEST_RIP: GUEST, F.GUEST_RSP: GUEST_STACK, F.GUEST_GDTR_BASE: GDT, F.GUEST_GDTR_LIMIT: 0xFFF, F.GUEST_IDTR_BASE: GUEST_IDT,
    F.GUEST_IDTR_LIMIT: 0xFFF, F.GUEST_TR_SELECTOR: 0x40, F.GUEST_TR_BASE: TSS_AT, F.GUEST_TR_LIMIT: 0x67,
    F.IO_BITMAP_A: BITMAPS, F.IO_BITMAP_B: BITMAPS + 0x1000, F.MSR_BITMAP: BITMAPS + 0x2000,
}  # fmt: skip
RING_3: Final = {
    F.GUEST_CS_SELECTOR: 0x33, F.GUEST_CS_ACCESS: 0xA0FB, F.GUEST_SS_SELECTOR: 0x2B, F.GUEST_SS_ACCESS: 0xC0F3,
    F.GUEST_DS_SELECTOR: 0x2B, F.GUEST_DS_ACCESS: 0xC0F3, F.GUEST_RSP: STACK3,
}  # fmt: skip
GP_EXITS, UD_EXITS = {F.EXCEPTION_BITMAP: 1 << 13}, {F.EXCEPTION_BITMAP: 1 << 6}


class Log:
    def __init__(self) -> None:
        self.events: list[Event] = []

    def emit(self, event: Event) -> None:
        self.events.append(event)

    def close(self) -> None:
        pass


class Host(Root):
    """A host that enters a guest once and halts when that exits; itself in `depth` virtual machines."""

    def __init__(self, *, nested: NestedOptions | bool = False) -> None:
        super().__init__(nested=nested)
        self.depth = int(bool(nested))
        self.log = Log()
        self.memory.write(0x11000, bytes.fromhex(HLT))
        self.memory.write(0x3000, struct.pack("<Q", 0x87))  # ring 3 may use it
        for vector in range(32):
            target = HANDLER + 16 * vector
            gate = target & 0xFFFF | 8 << 16 | (0xEE if vector == 3 else 0x8E) << 40 | target >> 16 << 48
            self.memory.write(GUEST_IDT + 16 * vector, struct.pack("<2Q", gate, 0))
            self.memory.write(HANDLER + 16 * vector, bytes.fromhex(VMCALL))

    def guest(self, code: str, *changes: dict[F, int], **registers: int) -> dict[str, Any]:
        """Run a guest until it exits; what the VMCS then says."""
        self.prepare(code, *changes, **registers)
        assert self.machine is not None
        stop = self.machine.run()
        assert stop.reason is Reason.HALTED, stop.report[:1]
        assert self.cpu.q[RIP] == 0x11001
        assert self.cpu.vmx is not None
        assert self.cpu.vmx.guest is None
        return self.told()

    def prepare(self, code: str, *changes: dict[F, int], **registers: int) -> None:
        self.enter()
        cpu = self.cpu
        cpu.halted = False
        if cpu.outer is not None:
            cpu.outer.wake()
        assert cpu.vmx is not None
        assert cpu.vmx.current is not None
        for change in (BASE, HOST, STATE, *changes):
            put(cpu.vmx.current, change)
        self.memory.write(GUEST, bytes.fromhex(code + VMCALL))
        self.memory.write(CODE, bytes.fromhex("0f01c2"))
        self.memory.drop_stale_code()
        self.at_ring(0)
        for number, name in ((RAX, "rax"), (RCX, "rcx"), (RDX, "rdx")):
            cpu.q[number] = registers.get(name, 0)

    def told(self) -> dict[str, Any]:
        vmx = self.cpu.vmx
        assert vmx is not None
        assert vmx.current is not None
        v = vmx.current
        return {
            "reason": v[F.EXIT_REASON], "qualification": v[F.EXIT_QUALIFICATION], "length": v[F.EXIT_INSTRUCTION_LENGTH],
            "info": v[F.EXIT_INSTRUCTION_INFO], "at": v[F.GUEST_RIP] - GUEST, "event": v[F.EXIT_INTERRUPTION_INFO],
            "error": v[F.EXIT_ERROR_CODE], "vectoring": v[F.IDT_VECTORING_INFO], "vmcs": v,
        }  # fmt: skip


@pytest.fixture(scope="module", params=[False, True], ids=["bare", "nested"])
def module_host(request: pytest.FixtureRequest) -> Iterator[Host]:
    host = Host(nested=request.param)
    yield host
    host.close()


@pytest.fixture
def host(module_host: Host) -> Host:
    module_host.memory.write(BITMAPS, bytes(0x3000))
    module_host.cpu.cr2 = 0
    module_host.cpu.dr[7] = 0x400
    return module_host


PRIMARY, SECONDARY = F.PRIMARY_CONTROLS, F.SECONDARY_CONTROLS
ALWAYS: Final = [
    # code, reason, qualification, instruction information
    ("0fa2", 10, 0, 0),
    ("0f08", 13, 0, 0),
    (VMCALL, 18, 0, 0),
    ("0f01c2", 20, 0, 0),
    ("0f01c3", 24, 0, 0),
    ("0f01c4", 26, 0, 0),
    ("660fc77010", 19, 0x10, 0x00418100),  # vmclear [rax+16]
    ("0fc734c8", 21, 0, 0x00058103),  # vmptrld [rax+rcx*8]
    ("0fc77b08", 22, 8, 0x01C18100),  # vmptrst [rbx+8]
    ("f30fc730", 27, 0, 0x00418100),  # vmxon [rax]
    ("0f78ca", 23, 0, 0x10000410),  # vmread rdx, rcx
    ("0f7808", 23, 0, 0x10418100),  # vmread [rax], rcx
    ("0f79ca", 25, 0, 0x10000410),  # vmwrite rcx, rdx
    ("660f388008", 50, 0, 0x10418100),  # invept rcx, [rax]
    ("660f388108", 53, 0, 0x10418100),  # invvpid rcx, [rax]
]


@pytest.mark.parametrize(("code", "reason", "qualification", "info"), ALWAYS)
def test_what_always_exits(host: Host, code: str, reason: int, qualification: int, info: int) -> None:
    told = host.guest("90" + code)
    assert (told["reason"], told["qualification"], told["info"]) == (reason, qualification, info)
    assert (told["at"], told["length"], told["event"], told["vectoring"]) == (1, len(code) // 2, 0, 0)


BY_CONTROL: Final = [
    # code, control, reason, qualification; without the control the guest goes on to its VMCALL
    ("0f0138", (PRIMARY, 9), 14, 0),  # invlpg [rax]
    ("0f31", (PRIMARY, 12), 16, 0),
    ("f390", (PRIMARY, 30), 40, 0),
    ("0f09", (SECONDARY, 6), 54, 0),
    ("0f20d9", (PRIMARY, 16), 28, 0x113),  # mov rcx, cr3
    ("440f20c1", (PRIMARY, 20), 28, 0x118),  # mov rcx, cr8
    ("440f22c0", (PRIMARY, 19), 28, 0x8),  # mov cr8, rax
    ("0f21f9", (PRIMARY, 23), 29, 0x117),  # mov rcx, dr7
    ("0f23c1", (PRIMARY, 23), 29, 0x100),  # mov dr0, rcx
    ("e480", (PRIMARY, 24), 30, 0x800048),
    ("66ed", (PRIMARY, 24), 30, 0x9),
    ("e680", (PRIMARY, 24), 30, 0x800040),
    ("ef", (PRIMARY, 24), 30, 0x3),
    ("0f0103", (SECONDARY, 2), 46, 0),  # sgdt [rbx]
    ("0f00c9", (SECONDARY, 2), 47, 0),  # str ecx
]


@pytest.mark.parametrize(("code", "control", "reason", "qualification"), BY_CONTROL)
def test_what_exits_by_a_control(
    host: Host, code: str, control: tuple[F, int], reason: int, qualification: int
) -> None:
    told = host.guest(code, controls(*control))
    assert (told["reason"], told["qualification"], told["at"]) == (reason, qualification, 0)
    told = host.guest(code)
    assert (told["reason"], told["at"]) == (18, len(code) // 2)


def test_hlt(host: Host) -> None:
    assert host.guest(HLT, controls(PRIMARY, 7))["reason"] == 12
    told = host.guest(HLT, controls(PRIMARY, 7), RING_3, GP_EXITS)  # the privilege level outranks the exit
    assert (told["reason"], told["event"], told["error"]) == (0, VALID | HARDWARE | ERROR_CODE | 13, 0)


def test_at_ring_3_cpuid_and_vmx_instructions_exit_and_invd_faults(host: Host) -> None:
    assert host.guest("0fa2", RING_3)["reason"] == 10
    assert host.guest("0f01c4", RING_3)["reason"] == 26
    assert host.guest("0f08", RING_3, GP_EXITS)["event"] == VALID | HARDWARE | ERROR_CODE | 13


@pytest.mark.parametrize(("control", "code"), [((SECONDARY, 3), "0f01f9"), ((SECONDARY, 12), "660f388208")])
def test_instructions_that_a_control_enables(host: Host, control: tuple[F, int], code: str) -> None:
    assert host.guest(code, UD_EXITS)["event"] == VALID | HARDWARE | 6
    assert host.guest(code, UD_EXITS, controls(*control), rax=0x53000, rcx=2)["reason"] == 18


def test_rdtscp_with_rdtsc_exiting(host: Host) -> None:
    assert host.guest("0f01f9", {**controls(PRIMARY, 12, 31), **controls(SECONDARY, 3)})["reason"] == 51


# ---- bitmaps -----------------------------------------------------------------------------------------------------------


def bit(host: Host, at: int, number: int) -> None:
    host.memory.write(at + number // 8, bytes([1 << number % 8]))


@pytest.mark.parametrize(
    ("port", "size", "code"), [(0x80, 1, "ee"), (0x8123, 1, "ee"), (0x80, 4, "ef"), (0x7FFD, 4, "ef")]
)
def test_the_io_bitmaps(host: Host, port: int, size: int, code: str) -> None:
    io = controls(PRIMARY, 25)
    assert host.guest(code, io, rdx=port)["reason"] == 18
    for number in range(size):
        host.memory.write(BITMAPS, bytes(0x2000))
        bit(host, BITMAPS, port + number)
        told = host.guest(code, io, rdx=port)
        assert (told["reason"], told["qualification"]) == (30, port << 16 | size - 1)
    host.memory.write(BITMAPS, bytes(0x2000))
    bit(host, BITMAPS, port - 1)
    bit(host, BITMAPS, port + size)
    assert host.guest(code, io, rdx=port)["reason"] == 18


STRINGS: Final = [
    # code, bytes of an element, IN, REP, instruction information, of which INS leaves the segment open; through a 32-bit address
    ("6c", 1, 1, 0, 2 << 7, False),
    ("666d", 2, 1, 0, 2 << 7, False),
    ("f36d", 4, 1, 1, 2 << 7, False),
    ("67f36c", 1, 1, 1, 1 << 7, True),
    ("6e", 1, 0, 0, 2 << 7 | 3 << 15, False),
    ("666f", 2, 0, 0, 2 << 7 | 3 << 15, False),
    ("f36e", 1, 0, 1, 2 << 7 | 3 << 15, False),
    ("656f", 4, 0, 0, 2 << 7 | 5 << 15, False),
    ("67646f", 4, 0, 0, 1 << 7 | 4 << 15, True),
]


@pytest.mark.parametrize(("code", "size", "into", "rep", "info", "narrow"), STRINGS)
@pytest.mark.parametrize("count", [0, 1, 3])
def test_strings_of_ports(
    host: Host, code: str, size: int, into: int, rep: int, info: int, narrow: bool, count: int
) -> None:
    bases = {F.GUEST_FS_BASE: 0x100000, F.GUEST_GS_BASE: 0xFFFF800000000000}
    base = {4: 0x100000, 5: 0xFFFF800000000000}.get(info >> 15, 0)
    for control in (controls(PRIMARY, 24), controls(PRIMARY, 25)):
        bit(host, BITMAPS, 0x80)
        host.prepare("90" + code, control, bases, rcx=count, rdx=0x10080)
        host.cpu.q[RSI], host.cpu.q[RDI] = 0x100000000 | 0x25000, 0x100000000 | 0x26000
        assert host.machine is not None
        assert host.machine.run().reason is Reason.HALTED
        told = host.told()
        assert (told["reason"], told["at"], told["length"], told["info"]) == (30, 1, len(code) // 2, info)
        assert told["qualification"] == 0x80 << 16 | rep << 5 | 1 << 4 | into << 3 | size - 1
        offset = 0x26000 if into else 0x25000
        assert told["vmcs"][F.GUEST_LINEAR_ADDRESS] == base + offset + (0 if narrow else 1 << 32)
        assert host.cpu.q[RCX] == count


def test_strings_of_ports_that_do_not_exit(host: Host) -> None:
    host.memory.write(0x25000, b"ab")
    host.prepare("f36e", controls(PRIMARY, 25), rcx=2, rdx=0x80)
    host.cpu.q[RSI] = 0x25000
    assert host.machine is not None
    assert host.machine.run().reason is Reason.HALTED
    assert (host.told()["reason"], host.cpu.q[RSI], host.cpu.q[RCX]) == (18, 0x25002, 0)


def test_the_privilege_to_use_a_port_outranks_the_exit(host: Host) -> None:
    for code in ("6c", "f36f", "ec"):
        told = host.guest(code, controls(PRIMARY, 24), RING_3, GP_EXITS, rdx=0x3F8)
        assert (told["reason"], told["event"]) == (0, VALID | HARDWARE | ERROR_CODE | 13)


def test_ports_that_wrap_around_exit(host: Host) -> None:
    assert host.guest("ef", controls(PRIMARY, 25), rdx=0xFFFE)["reason"] == 30


@pytest.mark.parametrize(("msr", "offset"), [(0x174, 0), (0xC0000081, 0x400)])
@pytest.mark.parametrize(("code", "reason", "area"), [("0f32", 31, 0), ("0f30", 32, 0x800)])
def test_the_msr_bitmaps(host: Host, msr: int, offset: int, code: str, reason: int, area: int) -> None:
    bitmaps = controls(PRIMARY, 28)
    assert host.guest(code, rcx=msr)["reason"] == reason  # without bitmaps every access exits
    assert host.guest(code, bitmaps, rcx=msr)["reason"] == 18
    bit(host, BITMAPS + 0x2000 + offset + area, msr & 0x1FFF)
    assert host.guest(code, bitmaps, rcx=msr)["reason"] == reason


def test_msrs_that_no_bitmap_covers_exit(host: Host) -> None:
    for msr in (0x2000, 0xBFFFFFFF, 0xC0002000):
        assert host.guest("0f32", controls(PRIMARY, 28), rcx=msr)["reason"] == 31


# ---- control registers -------------------------------------------------------------------------------------------------


def test_masks_and_shadows_of_cr0(host: Host) -> None:
    owned = {F.CR0_MASK: 1 << 3 | 1 << 18, F.CR0_READ_SHADOW: 1 << 18}
    told = host.guest("0f20c0", owned)  # mov rax, cr0
    assert (told["reason"], host.cpu.q[RAX]) == (18, 0x80000031 | 1 << 18)
    told = host.guest("0f22c0", owned, rax=0x80000033 | 1 << 18)  # as the shadow, and MP is free
    assert (told["reason"], told["vmcs"][F.GUEST_CR0]) == (18, 0x80000033)
    told = host.guest("0f22c0", owned, rax=0x80000031)
    assert (told["reason"], told["qualification"]) == (28, 0)
    told = host.guest("0f06", owned)  # CLTS: the shadow has TS clear
    assert told["reason"] == 18
    told = host.guest("0f06", owned, {F.CR0_READ_SHADOW: 1 << 3})
    assert (told["reason"], told["qualification"]) == (28, 0x20)
    told = host.guest("0f01f0", owned, rax=9)  # lmsw ax: TS differs from the shadow
    assert (told["reason"], told["qualification"]) == (28, 9 << 16 | 0x30)
    told = host.guest("0f01f0", owned, rax=3)
    assert (told["reason"], told["vmcs"][F.GUEST_CR0]) == (18, 0x80000033)
    host.guest("0f01e0", owned, {F.CR0_READ_SHADOW: 1 << 3})  # smsw eax
    assert host.cpu.q[RAX] == 0x80000039


def test_masks_and_shadows_of_cr4(host: Host) -> None:
    owned = {F.CR4_MASK: 1 << 13}
    host.guest("0f20e0", owned)
    assert host.cpu.q[RAX] == 0x20
    told = host.guest("0f22e0", owned, rax=0xA0)
    assert (told["reason"], told["vmcs"][F.GUEST_CR4]) == (18, 0x20A0)
    told = host.guest("0f22e0", owned, rax=0x2020)
    assert (told["reason"], told["qualification"]) == (28, 4)


def test_cr3_targets(host: Host) -> None:
    load = controls(PRIMARY, 15)
    assert host.guest("0f22d8", load, rax=0x1000)["qualification"] == 3
    targets = {F.CR3_TARGET_COUNT: 2, F.CR3_TARGET1: 0x1000, F.CR3_TARGET2: 0x5000}
    assert host.guest("0f22d8", load, targets, rax=0x1000)["reason"] == 18
    assert host.guest("0f22d8", load, targets, rax=0x5000)["reason"] == 28


# ---- exceptions --------------------------------------------------------------------------------------------------------


def test_a_page_fault_that_exits_leaves_cr2(host: Host) -> None:
    told = host.guest("a3" + struct.pack("<Q", UNMAPPED + 5).hex(), {F.EXCEPTION_BITMAP: 1 << 14})
    assert (told["reason"], told["qualification"], told["event"], told["error"]) == (
        0, UNMAPPED + 5, VALID | HARDWARE | ERROR_CODE | 14, 2,
    )  # fmt: skip
    assert host.cpu.cr2 == 0
    assert told["vmcs"][F.GUEST_RFLAGS] == 0x10002  # RF, as a fault would push it


@pytest.mark.parametrize(
    ("bitmap", "mask", "match", "exits"),
    [
        (1, 0, 0, True),
        (1, 2, 2, True),
        (1, 2, 0, False),
        (0, 2, 0, True),
        (0, 0, 0, False),
        (1, 0, 1, False),
        (0, 0, 1, True),
    ],
)
def test_page_faults_by_error_code(host: Host, bitmap: int, mask: int, match: int, exits: bool) -> None:
    change = {F.EXCEPTION_BITMAP: bitmap << 14, F.PFEC_MASK: mask, F.PFEC_MATCH: match}
    told = host.guest("a3" + struct.pack("<Q", UNMAPPED).hex(), change)
    assert told["reason"] == (0 if exits else 18)
    if not exits:
        assert told["vmcs"][F.GUEST_RIP] == HANDLER + 14 * 16
        assert host.cpu.cr2 == UNMAPPED


def test_breakpoints_are_software_exceptions(host: Host) -> None:
    told = host.guest("90cc", {F.EXCEPTION_BITMAP: 1 << 3})
    assert (told["reason"], told["at"], told["length"], told["event"]) == (0, 1, 1, VALID | 6 << 8 | 3)
    assert host.guest("cd03", {F.EXCEPTION_BITMAP: 1 << 3})["vmcs"][F.EXIT_INSTRUCTION_LENGTH] == 2
    assert host.guest("cd06", UD_EXITS)["vmcs"][F.GUEST_RIP] == HANDLER + 6 * 16  # INT n is no exception


def test_faults_on_the_way(host: Host) -> None:
    """#UD through an IDT that ends before it: #GP, which exits with #UD as vectoring; else #DF; else a triple fault."""
    short = {F.GUEST_IDTR_LIMIT: 0}
    told = host.guest("0f0b", short, GP_EXITS)
    assert (told["event"], told["error"], told["vectoring"]) == (
        VALID | HARDWARE | ERROR_CODE | 13,
        6 * 8 + 3,
        VALID | HARDWARE | 6,
    )
    told = host.guest("0f0b", short, {F.EXCEPTION_BITMAP: 1 << 8})
    assert (told["event"], told["vectoring"]) == (VALID | HARDWARE | ERROR_CODE | 8, 0)
    assert host.guest("0f0b", short)["reason"] == 2


def test_int_n_that_cannot_be_delivered_is_vectoring(host: Host) -> None:
    for code, event in (("cd80", 4 << 8 | 0x80), ("cc", 6 << 8 | 3), ("f1", 5 << 8 | 1)):
        told = host.guest("90" + code, {F.GUEST_IDTR_LIMIT: 0}, GP_EXITS)
        assert (told["event"], told["vectoring"]) == (VALID | HARDWARE | ERROR_CODE | 13, VALID | event), code
        assert (told["at"], told["length"]) == (1, len(code) // 2)


@pytest.mark.parametrize(("bits", "left"), [((), 0), ((3,), 8), ((3, 5), 0)])
def test_iret_and_blocking_by_nmi(host: Host, bits: tuple[int, ...], left: int) -> None:
    """IRET to the next instruction: it unblocks NMIs, or virtual ones, but where NMIs exit and there are no virtual ones."""
    frame = struct.pack("<5Q", GUEST + 2, 8, 2, GUEST_STACK, 16)
    host.memory.write(GUEST_STACK, frame)
    told = host.guest("48cf", controls(F.PIN_CONTROLS, *bits), {F.GUEST_INTERRUPTIBILITY: 8})
    assert (told["reason"], told["at"], told["vmcs"][F.GUEST_INTERRUPTIBILITY]) == (18, 2, left)


IF: Final = 1 << 9


@pytest.mark.parametrize(
    ("code", "flags", "at"),
    [
        ("90", 2 | IF, 0),  # open at the entry
        ("90fb9090", 2, 3),  # behind STI, one instruction later
        ("90fbfa90", 2, None),  # STI, CLI: never
        ("68020200009d90", 2, 6),  # push 0x202; popf
        ("8ed09090", 2 | IF, 0),
    ],
)
def test_the_interrupt_window(host: Host, code: str, flags: int, at: int | None) -> None:
    told = host.guest(code, controls(PRIMARY, 2), {F.GUEST_RFLAGS: flags}, rax=16)
    assert (told["reason"], told["at"]) == ((7, at) if at is not None else (18, len(code) // 2))


def test_mov_ss_and_sti_hold_the_windows_off(host: Host) -> None:
    for held in (1, 2):
        change = {F.GUEST_RFLAGS: 2 | IF, F.GUEST_INTERRUPTIBILITY: held}
        told = host.guest("9090", controls(PRIMARY, 2), change)
        assert (told["reason"], told["at"], told["vmcs"][F.GUEST_INTERRUPTIBILITY]) == (7, 1, 0)


def test_the_nmi_window(host: Host) -> None:
    virtual = {**controls(PRIMARY, 22), **controls(F.PIN_CONTROLS, 3, 5)}
    assert host.guest("90", virtual)["reason"] == 8
    host.memory.write(GUEST_STACK, struct.pack("<5Q", GUEST + 3, 8, 2, GUEST_STACK, 16))
    told = host.guest("9048cf90", virtual, {F.GUEST_INTERRUPTIBILITY: 8})  # IRET unblocks virtual NMIs
    assert (told["reason"], told["at"]) == (8, 3)
    assert host.guest("90", virtual, {F.GUEST_INTERRUPTIBILITY: 8})["reason"] == 18


# ---- VPIDs -------------------------------------------------------------------------------------------------------------


def by_vpid(vpid: int) -> dict[F, int]:
    return {**controls(SECONDARY, 5), F.VPID: vpid}


@pytest.mark.parametrize(
    ("changes", "descriptor", "kind", "stale"),
    [
        ({}, None, None, False),  # without VPIDs entries and exits drop everything
        (by_vpid(1), None, None, True),
        (by_vpid(1), (1, 0x200000), 0, False),
        (by_vpid(1), (1, 0x1000), 0, True),  # another address
        (by_vpid(1), (1, 0), 1, False),
        (by_vpid(1), (2, 0), 1, True),  # another VPID
        (by_vpid(1), (0, 0), 2, False),
        (by_vpid(1), (1, 0), 3, False),
    ],
)
def test_translations_of_a_vpid(
    host: Host, changes: dict[F, int], descriptor: tuple[int, int] | None, kind: int | None, stale: bool
) -> None:
    """A guest reads a page; the host moves it, may invalidate, and enters again: what is not invalidated is there still."""
    read = "488b042500002000"  # mov rax, [0x200000]
    host.memory.write(0x200000, struct.pack("<Q", 0x1111))
    host.memory.write(0x600000, struct.pack("<Q", 0x2222))
    host.cpu.translation.reset()
    host.guest(read, changes)
    assert host.cpu.q[RAX] == 0x1111
    assert host.cpu.translation.tlb.tag.vpid == host.depth
    host.memory.write(0x3008, struct.pack("<Q", 0x600083))
    if descriptor is not None and kind is not None:
        host.memory.write(0x50000, struct.pack("<2Q", *descriptor))
        assert host.run("invvpid", rdx=kind) == 0
    host.guest(read, changes)
    assert host.cpu.q[RAX] == (0x1111 if stale else 0x2222)
    host.memory.write(0x3008, struct.pack("<Q", 0x200083))
    host.cpu.translation.reset()


def test_each_vpid_has_its_own_translations_and_the_hosts_stay(host: Host) -> None:
    read = "488b042500002000"
    host.memory.write(0x200000, struct.pack("<Q", 0x1111))
    host.memory.write(0x600000, struct.pack("<Q", 0x2222))
    host.cpu.translation.reset()
    host.guest(read, by_vpid(1))
    host.memory.write(0x3008, struct.pack("<Q", 0x600083))
    host.guest(read, by_vpid(2))
    assert host.cpu.q[RAX] == 0x2222
    host.guest("0f20d80f22d8" + read, by_vpid(1))  # the guest's own load of CR3 drops its own
    assert host.cpu.q[RAX] == 0x2222
    assert CODE >> 12 in host.cpu.translation.tlb.current  # the host's code, over three entries and exits
    host.memory.write(0x3008, struct.pack("<Q", 0x200083))
    host.cpu.translation.reset()


# ---- the preemption timer ----------------------------------------------------------------------------------------------

TIMER: Final = {**controls(F.PIN_CONTROLS, 6), **controls(F.EXIT_CONTROLS, 22)}


def test_a_timer_of_0_exits_before_the_first_instruction(host: Host) -> None:
    told = host.guest("90", TIMER)
    assert (told["reason"], told["at"], told["vmcs"][F.PREEMPTION_TIMER_VALUE]) == (52, 0, 0)


@pytest.mark.parametrize("flags", [2, 2 | IF])
def test_a_timer_ends_a_loop(host: Host, flags: int) -> None:
    log = Log()
    assert host.machine is not None
    host.machine.add_sink(log)
    told = host.guest("ebfe", TIMER, {F.PREEMPTION_TIMER_VALUE: 5000, F.GUEST_RFLAGS: flags})
    assert (told["reason"], told["at"], told["vmcs"][F.PREEMPTION_TIMER_VALUE]) == (52, 0, 0)
    guest = host.depth + 1
    (entry,) = (e for e in log.events if e.kind is Kind.VM_ENTRY and e.target == guest)
    (exit_,) = (e for e in log.events if e.kind is Kind.VM_EXIT and e.source == guest)
    assert 5000 <= exit_.at - exit_.cost - entry.at < 5000 + 8  # a block has four cycles


def test_a_timer_wakes_a_halted_guest(host: Host) -> None:
    told = host.guest(HLT, TIMER, {F.PREEMPTION_TIMER_VALUE: 1 << 20})
    assert (told["reason"], told["at"], told["vmcs"][F.GUEST_ACTIVITY]) == (52, 1, 1)


def test_what_is_left_of_a_timer_is_saved(host: Host) -> None:
    told = host.guest("0f31", TIMER, {F.PREEMPTION_TIMER_VALUE: 5000})
    gone = 5000 - told["vmcs"][F.PREEMPTION_TIMER_VALUE]
    assert told["reason"] == 18
    assert host.cpu.costs.rdtsc <= gone <= host.cpu.costs.rdtsc + 3 * host.cpu.costs.block
    told = host.guest("0f31", controls(F.PIN_CONTROLS, 6), {F.PREEMPTION_TIMER_VALUE: 5000})
    assert told["vmcs"][F.PREEMPTION_TIMER_VALUE] == 5000


# ---- pending debug exceptions ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("pending", "dr6"), [(0x4000, 0x4000), (0x1002, 2), (0x5003, 0x4003)])
def test_pending_debug_exceptions(host: Host, pending: int, dr6: int) -> None:
    told = host.guest("90", {F.GUEST_PENDING_DEBUG: pending, F.EXCEPTION_BITMAP: 2})
    assert (told["reason"], told["qualification"], told["event"], told["at"]) == (0, dr6, VALID | HARDWARE | 1, 0)
    told = host.guest("90", {F.GUEST_PENDING_DEBUG: pending})
    assert (told["reason"], told["vmcs"][F.GUEST_RIP]) == (18, HANDLER + 16)
    assert host.cpu.dr[6] & 0xF00F == dr6
    host.cpu.dr[6] = 0xFFFF0FF0


def test_breakpoints_that_are_not_enabled_are_not_pending(host: Host) -> None:
    assert host.guest("90", {F.GUEST_PENDING_DEBUG: 3, F.EXCEPTION_BITMAP: 2})["reason"] == 18


def test_mov_ss_holds_a_pending_breakpoint_for_an_instruction(host: Host) -> None:
    change = {F.GUEST_PENDING_DEBUG: 0x1001, F.GUEST_INTERRUPTIBILITY: 2, F.EXCEPTION_BITMAP: 2}
    told = host.guest("9090", change)
    assert (told["reason"], told["qualification"], told["at"]) == (0, 1, 1)
    change |= {F.GUEST_PENDING_DEBUG: 0x5001, F.GUEST_RFLAGS: 0x102}
    told = host.guest("9090", change)
    assert (told["qualification"], told["at"], told["vmcs"][F.GUEST_INTERRUPTIBILITY]) == (0x4001, 1, 0)


# ---- injection ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("event", "error", "length", "pushed"),
    [
        (HARDWARE | ERROR_CODE | 13, 0x1234, 0, (0x1234, GUEST, 8, 0x10002, GUEST_STACK, 16)),
        (HARDWARE | 6, 0, 0, (GUEST, 8, 0x10002, GUEST_STACK, 16)),
        (4 << 8 | 5, 0, 2, (GUEST + 2, 8, 2, GUEST_STACK, 16)),
        (6 << 8 | 3, 0, 1, (GUEST + 1, 8, 2, GUEST_STACK, 16)),
        (2 << 8 | 2, 0, 0, (GUEST, 8, 2, GUEST_STACK, 16)),
    ],
)
def test_an_injected_event(host: Host, event: int, error: int, length: int, pushed: tuple[int, ...]) -> None:
    change = {F.ENTRY_INTERRUPTION_INFO: VALID | event, F.ENTRY_ERROR_CODE: error, F.ENTRY_INSTRUCTION_LENGTH: length}
    told = host.guest("", change, {F.EXCEPTION_BITMAP: 0xFFFFFFFF})
    vmcs = told["vmcs"]
    assert (told["reason"], vmcs[F.GUEST_RIP]) == (18, HANDLER + 16 * (event & 0xFF))
    assert host.words(vmcs[F.GUEST_RSP], len(pushed)) == pushed
    assert vmcs[F.GUEST_RSP] == GUEST_STACK - 8 * len(pushed)
    assert vmcs[F.ENTRY_INTERRUPTION_INFO] == event  # no longer valid
    assert vmcs[F.GUEST_INTERRUPTIBILITY] == (8 if event & 0xFF == 2 else 0)


def test_an_injected_event_that_cannot_be_delivered_is_vectoring(host: Host) -> None:
    event = VALID | 4 << 8 | 0x80
    told = host.guest(
        "", {F.ENTRY_INTERRUPTION_INFO: event, F.ENTRY_INSTRUCTION_LENGTH: 2, F.GUEST_IDTR_LIMIT: 0xFF}, GP_EXITS
    )
    assert (told["event"], told["vectoring"], told["at"]) == (VALID | HARDWARE | ERROR_CODE | 13, event, 0)


# ---- state -------------------------------------------------------------------------------------------------------------


def test_what_an_exit_saves_is_what_an_entry_loaded(host: Host) -> None:
    change = {
        F.GUEST_FS_BASE: 0xFFFF800000005000, F.GUEST_GS_BASE: 0x6000, F.GUEST_SYSENTER_CS: 0x10, F.GUEST_SYSENTER_ESP: 0x7000,
        F.GUEST_SYSENTER_EIP: 0xFFFF800000007000, F.GUEST_PAT: 0x0606060606060606, F.GUEST_EFER: 0x500, F.GUEST_RFLAGS: 0x246,
        F.GUEST_LDTR_SELECTOR: 0x50, F.GUEST_LDTR_BASE: 0x8800, F.GUEST_DR7: 0x403, **controls(F.ENTRY_CONTROLS, 2, 14, 15),
        **controls(F.EXIT_CONTROLS, 2, 18, 20),
    }  # fmt: skip
    host.prepare("", change)
    vmx, machine = host.cpu.vmx, host.machine
    assert vmx is not None
    assert machine is not None
    assert vmx.current is not None
    before = dict(vmx.current)
    assert machine.run().reason is Reason.HALTED
    changed = {field for field in F if vmx.current[field] != before[field]}
    assert changed == {F.EXIT_REASON, F.EXIT_INSTRUCTION_LENGTH}
    assert host.cpu.dr[7] == 0x400


def test_the_guest_sees_the_tsc_with_its_offset(host: Host) -> None:
    host.guest("0f31", {**controls(PRIMARY, 3), F.TSC_OFFSET: 1 << 40})
    assert host.cpu.q[RDX] == 1 << 8
    assert host.cpu.tsc.offset == 0


def test_msr_lists(host: Host) -> None:
    host.memory.write(0x53000, struct.pack("<2Q", 0xC0000082, 0x1111))
    host.memory.write(0x54000, struct.pack("<2Q", 0xC0000082, 0))
    host.memory.write(0x55000, struct.pack("<2Q", 0xC0000082, 0x2222))
    lists = {
        F.ENTRY_MSR_LOAD_ADDRESS: 0x53000, F.ENTRY_MSR_LOAD_COUNT: 1, F.EXIT_MSR_STORE_ADDRESS: 0x54000,
        F.EXIT_MSR_STORE_COUNT: 1, F.EXIT_MSR_LOAD_ADDRESS: 0x55000, F.EXIT_MSR_LOAD_COUNT: 1,
    }  # fmt: skip
    assert host.guest("", lists)["reason"] == 18
    assert host.words(0x54008, 1) == (0x1111,)
    assert host.cpu.msr[0xC0000082] == 0x2222
    host.memory.write(0x53000, struct.pack("<2Q", 0xC0000082, 1 << 47))
    told = host.guest("", lists)
    assert (told["reason"], told["qualification"]) == (1 << 31 | 34, 1)


def test_the_shadow_of_sti_ends_with_its_instruction(host: Host) -> None:
    assert host.guest("fb")["vmcs"][F.GUEST_INTERRUPTIBILITY] == 1
    assert host.guest("fb90")["vmcs"][F.GUEST_INTERRUPTIBILITY] == 0


def test_one_address_has_the_hosts_code_and_the_guests(host: Host) -> None:
    """The same RIP, and other bytes by another page table: TCG's blocks and what Python knows of code belong to one side."""
    host.memory.write(0x6000, struct.pack("<Q", 0x7007))
    host.memory.write(0x7000, struct.pack("<Q", 0xC007))
    host.memory.write(0xC000, struct.pack("<2Q", 0x800083, 0x200083))
    for page in (GUEST_STACK - 0x1000, TSS_AT, GDT, IDT):
        host.memory.write(0x800000 + page, host.memory.read(page, 0x1000))
    host.memory.write(0x800000 + 0x11000, bytes.fromhex("48c7c134120000" + VMCALL))  # mov rcx, 0x1234
    told = host.guest("", {F.GUEST_CR3: 0x6000, F.GUEST_RIP: 0x11000})
    assert (told["reason"], host.cpu.q[RCX], told["vmcs"][F.GUEST_RIP]) == (18, 0x1234, 0x11007)


def test_a_snapshot_of_a_guest(host: Host) -> None:
    host.prepare("9090")
    assert host.machine is not None
    assert host.machine.run(2).reason is Reason.LIMIT
    assert host.cpu.guest is not None
    file = io.BytesIO()
    host.machine.save(file)
    file.seek(0)
    other = Machine.restore(file)
    assert other.cpu.guest is not None
    assert other.run().reason is Reason.HALTED
    assert other.cpu.vmx is not None
    assert other.cpu.vmx.active[FIRST][F.EXIT_REASON] == 18
    assert (other.cpu.q[RIP], other.cpu.q[RSP]) == (0x11001, 0x21000)
    other.close()
    assert host.machine.run().reason is Reason.HALTED


def test_events_and_time(host: Host) -> None:
    assert host.machine is not None
    log = Log()
    host.machine.add_sink(log)
    before = host.cpu.clock.cycles
    host.guest("0fa2")
    kinds = {Kind.VM_ENTRY, Kind.VM_EXIT, Kind.MERGE, Kind.REFLECTION}
    found = [(e.kind, e.data, e.cost) for e in log.events if e.kind in kinds]
    if not host.depth:
        assert found == [(Kind.VM_ENTRY, (0, 1), 550), (Kind.VM_EXIT, (1, 0, 10, 0, 0), 600)]
        assert host.cpu.clock.cycles - before == 1150
        return
    assert found == [
        (Kind.VM_ENTRY, (0, 1), 550),  # the test has woken the host
        (Kind.VM_EXIT, (1, 0, 20, 0, 0), 600), (Kind.MERGE, (), 10000), (Kind.VM_ENTRY, (0, 2), 550),
        (Kind.VM_EXIT, (2, 0, 10, 0, 0), 600), (Kind.REFLECTION, (10,), 6300), (Kind.VM_ENTRY, (0, 1), 550),
        (Kind.VM_EXIT, (1, 0, 12, 0, 0), 600),
    ]  # fmt: skip
    assert [e.who for e in log.events if e.kind in kinds - {Kind.VM_EXIT}] == [Who.OUTER] * 5
    assert host.cpu.clock.cycles - before == 550 + 1150 * 2 + 600 + 16300


def test_interrupts_exit_whatever_if_says(host: Host) -> None:
    """A self-IPI by x2APIC, from the host, which is pending at the entry."""
    assert host.machine is not None
    host.prepare("90", controls(F.PIN_CONTROLS, 0))
    host.machine.devices.lapic.set_base(0xFEE00000 | 0xD00)
    host.machine.devices.lapic.msr_write(0x80F, 0x1FF)
    host.machine.devices.lapic.msr_write(0x83F, 0x55)
    host.machine.devices.changed()
    assert host.machine.run().reason is Reason.HALTED
    told = host.told()
    assert (told["reason"], told["event"], told["at"]) == (1, 0, 0)
    assert host.guest("90", controls(F.PIN_CONTROLS, 0), controls(F.EXIT_CONTROLS, 15))["event"] == VALID | 0x55


def test_controls_and_host_state_are_checked_again_when_they_were_written(host: Host) -> None:
    """By VMWRITE: what was right at the last entry is taken for right otherwise."""
    for field, value, error in ((F.CR3_TARGET_COUNT, 5, 7), (F.HOST_CS_SELECTOR, 9, 8)):
        host.guest("")
        assert host.run("vmwrite", rax=int(field), rdx=value) == 0
        assert host.run("vmresume") == 0x40
        assert host.failed() == error


def test_the_shadow_of_mov_ss_ends_with_its_instruction(host: Host) -> None:
    """Also where nothing happens before VMLAUNCH that would tell: error 26 is for the one right behind MOV SS."""
    assert host.machine is not None
    for code, reason in (("8ed190", 18), ("8ed1", 0)):  # mov ss, ecx; nop
        host.prepare("", rcx=0x10)
        host.memory.write(CODE, bytes.fromhex(code + "0f01c2" + HLT))
        host.memory.drop_stale_code()
        assert host.machine.run().reason is Reason.HALTED
        assert host.told()["reason"] == reason
    assert host.told()["vmcs"][F.INSTRUCTION_ERROR] == 26


def test_a_second_entry_needs_vmresume(host: Host) -> None:
    host.guest("")
    assert host.run("vmlaunch") == 0x40
    assert host.failed() == 4
    host.memory.write(CODE, bytes.fromhex("0f01c3"))
    host.memory.drop_stale_code()
    host.at_ring(0)
    host.cpu.halted = False
    assert host.machine is not None
    assert host.machine.run().reason is Reason.HALTED
    assert host.told()["reason"] == 18


def test_the_same_code_is_the_hosts_and_the_guests(host: Host) -> None:
    """With INVD, which only exits in a guest: what is known of it on one side is not taken for the other's when that goes on."""
    code = bytes.fromhex("0f08" + "48ffc9" + "7403" + "0f01c3" + HLT)  # 1: invd; dec rcx; jz 2f; vmresume; 2: hlt
    host.prepare("", {**controls(SECONDARY, 5), F.VPID: 9})
    for place in (GUEST, 0x11000):
        host.memory.write(place, code + bytes(16))
    host.memory.drop_stale_code()
    host.cpu.q[RCX] = 6
    assert host.machine is not None
    assert host.machine.run().reason is Reason.HALTED
    assert host.cpu.q[RCX] == 0
    assert host.told()["reason"] == 13
    assert host.told()["at"] == 0


def test_a_quick_exit_does_not_hide_what_a_later_one_saves(host: Host) -> None:
    """The shadow of STI at an exit that needs the full implementation, after entries that did not: it is there at the next entry."""
    host.prepare(
        "0f01c1" * 4 + "fbf4", {**controls(SECONDARY, 5), F.VPID: 9}, controls(PRIMARY, 7), {F.GUEST_RFLAGS: 2}
    )
    # mov rdx, GUEST_RIP; vmread rax, rdx; add rax, 3; vmwrite rdx, rax; dec rcx; jz +3; vmresume; hlt
    step = "48c7c21e680000" + "0f78d0" + "4883c003" + "0f79d0" + "48ffc9" + "7403" + "0f01c3" + HLT
    host.memory.write(0x11000, bytes.fromhex(step))
    host.memory.drop_stale_code()
    host.cpu.q[RCX] = 5
    assert host.machine is not None
    assert host.machine.run().reason is Reason.HALTED
    told = host.told()
    assert (told["reason"], told["vmcs"][F.GUEST_INTERRUPTIBILITY]) == (12, 1)
    assert not told["vmcs"].calm
