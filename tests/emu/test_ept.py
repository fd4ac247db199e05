"""Guests with an EPT: what exits and what it tells, what is cached, logs (SDM "The Extended Page Table Mechanism (EPT)")."""

from __future__ import annotations

import io
import struct
from typing import TYPE_CHECKING, Any, Final

import pytest

from paracell.emu.checkpoint import Checkpoint
from paracell.emu.cost import Costs
from paracell.emu.events import Kind
from paracell.emu.machine import Machine
from paracell.emu.registers import RAX, RIP
from paracell.emu.stop import Reason
from paracell.vmx.fields import Field as F  # noqa: N817  (the tables have it on every line)

from ..vmx.entries import controls
from .vmx_host import ERROR_CODE, GUEST, GUEST_IDT, GUEST_STACK, HARDWARE, PRIMARY, RING_3, SECONDARY, VALID, Host, Log
from .world import CODE, GDT, UNMAPPED

if TYPE_CHECKING:
    from collections.abc import Iterator

R, W, X, RWX, XU, EPT_A, EPT_D, WB = 1, 2, 4, 7, 1 << 10, 1 << 8, 1 << 9, 6 << 3
EPT, OTHER_EPT, DATA, SPARE, LOG = 0x70000, 0x78000, 0x64000, 0x65000, 0x66000
LINEAR, FINAL, USER, RW = 1 << 7, 1 << 8, 1 << 9, 1 << 10
TABLES: Final = (0x7C000, 0x7D000, 0x7E000)  # the guest's
TABLE: Final = TABLES[2]  # its page directory: one entry for its first 2 MiB
VIOLATION, MISCONFIGURED, PML_FULL, VMCALL = 48, 49, 62, 18
LOAD, STORE, JUMP = "8a00", "8800", "ffe0"  # mov al, [rax]; mov [rax], al; jmp rax
WITH_EPT: Final = {**controls(SECONDARY, 1, 5), F.EPT_POINTER: EPT | 0x1E, F.VPID: 7, F.GUEST_CR3: TABLES[0]}
WITH_FLAGS: Final = {**WITH_EPT, F.EPT_POINTER: EPT | 0x5E}
WITH_LOG: Final = {**WITH_FLAGS, **controls(SECONDARY, 1, 5, 17), F.PML_ADDRESS: LOG, F.GUEST_PML_INDEX: 511}
MODE_BASED: Final = {**WITH_EPT, **controls(SECONDARY, 1, 5, 22)}


class EptHost(Host):
    """A host whose guests have an EPT: the first 2 MiB by pages of 4 KiB, the next by one of 2 MiB, both where they are."""

    def open(self, rights: int = RWX | XU, at: int = EPT) -> None:
        """Map everything anew, and forget what was cached."""
        write = self.cpu.software_memory.write64
        for table in (at, at + 0x1000, at + 0x2000):
            write(table, table + 0x1000 | RWX | XU)
        write(at + 0x2008, 0x200000 | rights | WB | 1 << 7)
        for page in range(512):
            write(at + 0x3000 + 8 * page, page << 12 | rights | WB)
        invalidate = self.cpu.outer or self.cpu.translation
        invalidate.invept(None)
        invalidate.invvpid(2, 0, 0)

    def put(self, gpa: int, entry: int, at: int = EPT) -> None:
        """Write the last entry for a page."""
        self.cpu.software_memory.write64(at + 0x3000 + (gpa >> 9 & 0xFF8), entry)

    def get(self, gpa: int) -> int:
        return int(self.memory.read64(EPT + 0x3000 + (gpa >> 9 & 0xFF8)))

    def refused(self, code: str, *changes: dict[F, int], **registers: int) -> tuple[int, int, int, int]:
        """Run a guest that exits at its first instruction: reason, qualification, guest-physical and guest-linear address."""
        told = self.guest(code, *changes, **registers)
        assert told["vectoring"] == told["event"] == 0
        assert told["vmcs"][F.GUEST_RFLAGS] & 1 << 16  # as for a fault
        return self.where(told)

    @staticmethod
    def where(told: dict[str, Any]) -> tuple[int, int, int, int]:
        v = told["vmcs"]
        return told["reason"], told["qualification"], v[F.GUEST_PHYSICAL_ADDRESS], v[F.GUEST_LINEAR_ADDRESS]


@pytest.fixture(scope="module", params=[False, True], ids=["bare", "nested"])
def module_host(request: pytest.FixtureRequest) -> Iterator[EptHost]:
    host = EptHost(nested=request.param)
    yield host
    host.close()


@pytest.fixture
def host(module_host: EptHost) -> EptHost:
    for table, below in zip(TABLES, (TABLES[1] | 0x27, TABLES[2] | 0x27, 0xA7), strict=True):
        module_host.memory.write(table, struct.pack("<2Q", below, 0x2000A7 if table == TABLE else 0))
    module_host.memory.write(DATA, bytes(0x3000))
    module_host.memory.write(DATA + 0x123, b"d")
    module_host.memory.write(SPARE + 0x123, b"s")
    module_host.memory.write(LOG, bytes(0x1000))
    module_host.open()
    module_host.cpu.cr2 = 0
    module_host.cpu.nmi_blocked = False
    return module_host


# ---- what exits --------------------------------------------------------------------------------------------------------


def test_an_open_ept_lets_everything_pass(host: EptHost) -> None:
    assert host.guest(LOAD + STORE, WITH_EPT, rax=DATA + 0x123)["reason"] == VMCALL
    assert host.guest("8a8000002000", WITH_EPT, rax=DATA)["reason"] == VMCALL  # a page of 2 MiB


@pytest.mark.parametrize(("code", "need", "allows"), [(LOAD, R, X), (LOAD, R, 0), (STORE, W, R | X), (STORE, W, R)])
def test_a_page_that_the_ept_refuses(host: EptHost, code: str, need: int, allows: int) -> None:
    host.put(DATA, DATA | allows | WB)
    at = DATA + 0x123
    expected = VIOLATION, need | allows << 3 | LINEAR | FINAL | USER | RW, at, at
    assert host.refused(code, WITH_EPT, rax=at) == expected
    assert host.cpu.vmx is not None
    # The same by an access that Python makes for the guest: SGDT, LGDT.
    python = "0f0100" if need == W else "0f0110"
    assert host.refused(python, WITH_EPT, rax=at) == expected


@pytest.mark.parametrize(
    ("code", "writes"),
    [
        ("8000ff", True),  # add byte [rax], -1
        ("8038ff", False),  # cmp
        ("f04801 08".replace(" ", ""), True),  # lock add [rax], rcx
        ("480308", False),  # add rcx, [rax]
        ("8608", True),  # xchg [rax], cl
        ("660fb108", True),  # cmpxchg [rax], cx
        ("f610", True),  # not
        ("f620", False),  # mul
        ("fe08", True),  # dec
        ("0fba2800", True),  # bts [rax], 0
        ("0fba2000", False),  # bt
        ("480fc708", True),  # cmpxchg16b
    ],
)
def test_what_is_read_to_be_written_is_a_write(host: EptHost, code: str, writes: bool) -> None:
    host.put(DATA, DATA)
    reason, qualification, *_ = host.refused(code, WITH_EPT, rax=DATA)
    assert (reason, qualification >> 1 & 1) == (VIOLATION, writes)


def test_a_fetch_that_the_ept_refuses(host: EptHost) -> None:
    host.put(DATA, DATA | R | W | WB)
    told = host.guest(JUMP, WITH_EPT, rax=DATA + 0x123)
    assert host.where(told) == (
        VIOLATION, X | (R | W) << 3 | LINEAR | FINAL | USER | RW, DATA + 0x123, DATA + 0x123
    )  # fmt: skip
    assert told["vmcs"][F.GUEST_RIP] == DATA + 0x123


def test_an_instruction_across_a_border_whose_second_page_is_refused(host: EptHost) -> None:
    host.memory.write(DATA + 0xFFE, bytes.fromhex("48b8"))  # mov rax, imm64
    host.put(DATA + 0x1000, DATA + 0x1000 | R | WB)
    told = host.guest(JUMP, WITH_EPT, rax=DATA + 0xFFE)
    assert host.where(told)[2:] == (DATA + 0x1000, DATA + 0x1000)
    assert told["vmcs"][F.GUEST_RIP] == DATA + 0xFFE


def test_a_page_that_may_be_fetched_only(host: EptHost) -> None:
    host.memory.write(DATA + 0x123, bytes.fromhex("0f01c1"))
    host.memory.drop_stale_code()
    host.put(DATA, DATA | X | WB)
    told = host.guest(JUMP, WITH_EPT, rax=DATA + 0x123)
    assert (told["reason"], told["vmcs"][F.GUEST_RIP]) == (VMCALL, DATA + 0x123)
    assert host.refused(LOAD, WITH_EPT, rax=DATA)[0] == VIOLATION


@pytest.mark.parametrize(
    ("allows", "flags", "qualification"),
    [(0, False, R), (0, True, R | W), (R | X, True, R | W | (R | X) << 3), (X, False, R | X << 3)],
)
def test_a_guest_table_that_the_ept_refuses(host: EptHost, allows: int, flags: bool, qualification: int) -> None:
    host.put(TABLE, TABLE | allows | WB)
    told = host.guest(LOAD, WITH_FLAGS if flags else WITH_EPT, rax=DATA)
    assert host.where(told) == (VIOLATION, qualification | LINEAR, TABLE, GUEST)  # at the first fetch


@pytest.mark.parametrize("entry", [W, W | X, R | 2 << 3, R | 3 << 3, R | 7 << 3])
def test_misconfigurations(host: EptHost, entry: int) -> None:
    host.put(DATA, DATA | entry)
    told = host.guest(LOAD, WITH_EPT, rax=DATA + 0x123)
    assert (told["reason"], told["qualification"]) == (MISCONFIGURED, 0)
    assert told["vmcs"][F.GUEST_PHYSICAL_ADDRESS] == DATA + 0x123


def test_a_fault_of_the_guest_comes_first(host: EptHost) -> None:
    host.put(DATA, DATA)
    told = host.guest(LOAD, WITH_EPT, {F.EXCEPTION_BITMAP: 1 << 14}, rax=UNMAPPED)
    assert (told["reason"], told["qualification"]) == (0, UNMAPPED)


def test_behind_sti(host: EptHost) -> None:
    """The exit tells of the shadow of STI: the instruction has not run."""
    host.put(DATA, DATA)
    told = host.guest("fb" + LOAD, WITH_EPT, rax=DATA)
    assert (told["reason"], told["at"], told["vmcs"][F.GUEST_INTERRUPTIBILITY]) == (VIOLATION, 1, 1)


# ---- while an event is delivered ---------------------------------------------------------------------------------------


def test_an_exception_whose_gate_is_refused(host: EptHost) -> None:
    host.put(GUEST_IDT, GUEST_IDT)
    told = host.guest("0f0b", WITH_EPT)
    assert host.where(told)[0::2] == (VIOLATION, GUEST_IDT + 16 * 6)
    assert told["vectoring"] == VALID | HARDWARE | 6
    assert told["at"] == 0
    assert told["vmcs"][F.GUEST_RFLAGS] & 1 << 16


def test_a_page_fault_whose_stack_is_refused(host: EptHost) -> None:
    host.put(GUEST_STACK - 0x1000, GUEST_STACK - 0x1000 | R | X | WB)
    told = host.guest(LOAD, WITH_EPT, RING_3, {F.GUEST_GS_BASE: 0, F.GUEST_TR_BASE: 0xB000}, rax=UNMAPPED)
    assert told["reason"] == VMCALL  # from ring 3 the stack is the TSS's
    told = host.guest(LOAD, WITH_EPT, rax=UNMAPPED)
    assert host.where(told) == (
        VIOLATION, W | (R | X) << 3 | LINEAR | FINAL | USER | RW, GUEST_STACK - 48, GUEST_STACK - 48
    )  # fmt: skip
    assert (told["vectoring"], told["at"]) == (VALID | HARDWARE | ERROR_CODE | 14, 0)
    assert told["vmcs"][F.IDT_VECTORING_ERROR_CODE] == 0
    assert host.cpu.cr2 == UNMAPPED
    assert told["vmcs"][F.GUEST_RSP] == GUEST_STACK


def test_a_software_interrupt_whose_gate_is_refused(host: EptHost) -> None:
    host.put(GUEST_IDT, GUEST_IDT)
    told = host.guest("cd03", WITH_EPT)
    assert (told["reason"], told["vectoring"], told["length"], told["at"]) == (VIOLATION, VALID | 4 << 8 | 3, 2, 0)
    told = host.guest("cc", WITH_EPT)
    assert (told["reason"], told["vectoring"], told["length"], told["at"]) == (VIOLATION, VALID | 6 << 8 | 3, 1, 0)
    told = host.guest("f1", WITH_EPT)
    assert (told["reason"], told["vectoring"], told["length"], told["at"]) == (VIOLATION, VALID | 5 << 8 | 1, 1, 0)


@pytest.mark.parametrize("info", [VALID | 0x20, VALID | 2 << 8 | 2, VALID | HARDWARE | 6])
def test_an_injected_event_whose_gate_is_refused(host: EptHost, info: int) -> None:
    host.put(GUEST_IDT, GUEST_IDT)
    told = host.guest("90", WITH_EPT, {F.ENTRY_INTERRUPTION_INFO: info, F.GUEST_RFLAGS: 0x202})
    assert (told["reason"], told["vectoring"], told["at"]) == (VIOLATION, info, 0)
    assert not told["vmcs"][F.ENTRY_INTERRUPTION_INFO] & VALID


def test_iret_that_ends_the_blocking_of_nmis(host: EptHost) -> None:
    host.put(DATA, DATA)
    blocked = {F.GUEST_RSP: DATA, F.GUEST_INTERRUPTIBILITY: 8}
    told = host.guest("48cf", WITH_EPT, blocked)
    assert told["reason"] == VIOLATION
    assert told["qualification"] >> 12 == 1
    assert told["vmcs"][F.GUEST_INTERRUPTIBILITY] == 0
    assert host.guest("48cf", WITH_EPT, {F.GUEST_RSP: DATA})["qualification"] >> 12 == 0


# ---- what is cached, and until when ------------------------------------------------------------------------------------


def seen(host: EptHost, *changes: dict[F, int]) -> str:
    """What the guest reads at DATA + 0x123, or that it exits."""
    told = host.guest(LOAD, WITH_EPT, *changes, rax=DATA + 0x123)
    return "refused" if told["reason"] != VMCALL else chr(host.cpu.q[RAX] & 0xFF)


def test_a_mapping_stays_until_invept(host: EptHost) -> None:
    assert seen(host) == "d"
    host.put(DATA, SPARE | RWX | WB)
    assert seen(host) == "d"
    assert host.run("invvpid", 7, rdx=1) == 0
    assert seen(host) == "d"  # by the guest-physical mapping, which no INVVPID drops
    assert host.run("invept", OTHER_EPT | 0x1E, rdx=1) == 0
    assert seen(host) == "d"
    assert host.run("invept", EPT | 0x5E, rdx=1) == 0
    assert seen(host) == "s"
    host.put(DATA, DATA | RWX | WB)
    assert seen(host) == "s"
    assert host.run("invept", 0, rdx=2) == 0
    assert seen(host) == "d"


def test_a_right_that_goes_stays_until_invept(host: EptHost) -> None:
    assert host.guest(STORE, WITH_EPT, rax=DATA)["reason"] == VMCALL
    host.put(DATA, DATA | R | WB)
    assert host.guest(STORE, WITH_EPT, rax=DATA)["reason"] == VMCALL
    assert host.run("invept", 0, rdx=2) == 0
    assert host.guest(STORE, WITH_EPT, rax=DATA)["reason"] == VIOLATION


def test_a_right_that_comes_is_seen_at_once(host: EptHost) -> None:
    host.put(DATA, DATA | R | WB)
    assert seen(host) == "d"
    host.put(DATA, DATA | RWX | WB)
    assert host.guest(STORE, WITH_EPT, rax=DATA)["reason"] == VMCALL


def test_what_is_not_present_is_not_cached(host: EptHost) -> None:
    host.put(DATA, 0)
    assert seen(host) == "refused"
    host.put(DATA, DATA | RWX | WB)
    assert seen(host) == "d"


def test_a_violation_drops_what_it_used(host: EptHost) -> None:
    host.put(DATA, DATA | R | WB)
    assert seen(host) == "d"
    host.put(DATA, SPARE | R | WB)
    assert seen(host) == "d"
    assert host.guest(STORE, WITH_EPT, rax=DATA)["reason"] == VIOLATION
    assert seen(host) == "s"


def test_mappings_belong_to_an_ept_and_a_vpid(host: EptHost) -> None:
    host.open(at=OTHER_EPT)
    host.put(DATA, SPARE | RWX | WB, at=OTHER_EPT)
    other = {F.EPT_POINTER: OTHER_EPT | 0x1E}
    assert [seen(host), seen(host, other), seen(host)] == ["d", "s", "d"]
    # The guest's own table changes: each VPID has its own combined mappings, INVVPID drops those of all EPTs.
    assert [seen(host, {F.VPID: 8}), seen(host, {F.VPID: 8, **other})] == ["d", "s"]
    host.memory.write(TABLE, struct.pack("<Q", 0x2000A7))  # the guest's first 2 MiB are elsewhere
    host.memory.write(0x200000 + DATA + 0x123, b"x")
    host.memory.write(0x200000 + GUEST, bytes.fromhex(LOAD + "0f01c1"))
    assert seen(host) == "d"
    assert host.run("invvpid", 8, rdx=1) == 0
    assert seen(host) == "d"
    assert [seen(host, {F.VPID: 8}), seen(host, {F.VPID: 8, **other})] == ["x", "x"]
    host.memory.write(TABLE, struct.pack("<Q", 0xA7))


@pytest.mark.parametrize("code", ["0f0138", "0f22da"])  # invlpg [rax]; mov cr3, rdx
def test_what_a_guest_invalidates_goes_under_every_ept(host: EptHost, code: str) -> None:
    host.open(at=OTHER_EPT)
    other = {F.EPT_POINTER: OTHER_EPT | 0x1E}
    assert seen(host) == "d"
    host.memory.write(TABLE, struct.pack("<Q", 0x2000A7))
    host.memory.write(0x200000 + DATA + 0x123, b"x")
    host.memory.write(0x200000 + GUEST, bytes.fromhex(code + "0f01c1"))
    assert host.guest(code, WITH_EPT, other, rax=DATA, rdx=TABLES[0])["reason"] == VMCALL
    host.memory.write(0x200000 + GUEST, bytes.fromhex(LOAD + "0f01c1"))
    host.memory.drop_stale_code()
    assert seen(host) == "x"


def test_without_vpids_entries_drop_combined_mappings(host: EptHost) -> None:
    """They do not drop guest-physical ones."""
    without = {**controls(SECONDARY, 1)}
    assert seen(host, without) == "d"
    host.put(DATA, SPARE | RWX | WB)
    assert seen(host, without) == "d"
    host.memory.write(TABLE, struct.pack("<Q", 0x2000A7))
    host.memory.write(0x200000 + DATA + 0x123, b"x")
    host.memory.write(0x200000 + GUEST, bytes.fromhex(LOAD + "0f01c1"))
    assert seen(host, without) == "x"


# ---- accessed and dirty flags, and the log -----------------------------------------------------------------------------


def test_accessed_and_dirty_flags(host: EptHost) -> None:
    assert host.guest(LOAD, WITH_EPT, rax=DATA)["reason"] == VMCALL
    assert not host.get(DATA) & (EPT_A | EPT_D)
    host.open()
    assert host.guest(LOAD, WITH_FLAGS, rax=DATA)["reason"] == VMCALL
    assert host.get(DATA) & (EPT_A | EPT_D) == EPT_A
    assert host.get(TABLE) & (EPT_A | EPT_D) == EPT_A | EPT_D
    assert host.memory.read64(EPT) & (EPT_A | EPT_D) == EPT_A
    assert host.guest(STORE, WITH_FLAGS, rax=DATA)["reason"] == VMCALL
    assert host.get(DATA) & (EPT_A | EPT_D) == EPT_A | EPT_D
    host.put(DATA, DATA | RWX | WB)  # without INVEPT nobody looks again
    assert host.guest(STORE, WITH_FLAGS, rax=DATA)["reason"] == VMCALL
    assert not host.get(DATA) & (EPT_A | EPT_D)


def logged(host: EptHost) -> list[int]:
    """What the log holds, newest first."""
    vmx = host.cpu.vmx
    assert vmx is not None
    assert vmx.current is not None
    index = vmx.current[F.GUEST_PML_INDEX]
    return [host.memory.read64(LOG + 8 * i) for i in range((index + 1) % 0x10000, 512)]


def test_the_log_of_modified_pages(host: EptHost) -> None:
    assert host.guest(STORE, WITH_LOG, rax=DATA + 0x123)["reason"] == VMCALL
    pages = logged(host)
    assert pages[0] == DATA
    assert sorted(pages[1:]) == list(TABLES)  # the guest's tables, which are used as if written
    assert host.guest(STORE + LOAD, WITH_LOG, rax=DATA + 0x123)["reason"] == VMCALL
    assert logged(host) == []


def test_a_log_looks_at_dirty_flags_anew(host: EptHost) -> None:
    """For each combined mapping that is new; those go where there is no VPID."""
    without = {**WITH_LOG, **controls(SECONDARY, 1, 17)}
    assert host.guest(STORE, without, rax=DATA)["reason"] == VMCALL
    host.put(DATA, DATA | RWX | WB)
    assert host.guest(STORE, without, rax=DATA)["reason"] == VMCALL
    assert logged(host) == [DATA]


def test_a_log_that_is_full(host: EptHost) -> None:
    assert host.guest("90", WITH_LOG)["reason"] == VMCALL
    full = {F.GUEST_PML_INDEX: 0xFFFF}
    told = host.guest(STORE, WITH_LOG, full, rax=DATA)
    assert (told["reason"], told["qualification"], told["at"]) == (PML_FULL, 0, 0)
    assert not host.get(DATA) & (EPT_A | EPT_D)
    assert host.guest(STORE, WITH_LOG, {F.GUEST_PML_INDEX: 0}, rax=DATA)["reason"] == VMCALL
    assert (host.memory.read64(LOG), told["vmcs"][F.GUEST_PML_INDEX]) == (DATA, 0xFFFF)


def test_a_full_log_and_a_page_that_is_read(host: EptHost) -> None:
    """An accessed flag needs room in the log as a dirty flag does, and logs nothing."""
    assert host.guest("90", WITH_LOG)["reason"] == VMCALL
    for index, reason in ((0xFFFF, PML_FULL), (0x200, PML_FULL), (0, VMCALL), (0xFFFF, VMCALL)):
        told = host.guest(LOAD, WITH_LOG, {F.GUEST_PML_INDEX: index}, rax=DATA)
        assert (told["reason"], told["vmcs"][F.GUEST_PML_INDEX]) == (reason, index)
        assert bool(host.get(DATA) & EPT_A) == (reason == VMCALL)


# ---- mode-based execute control ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("user_page", [False, True])
@pytest.mark.parametrize("allows", [R | X, R | XU])
def test_who_may_fetch(host: EptHost, user_page: bool, allows: int) -> None:
    """By the page, not by the privilege level."""
    host.memory.write(TABLE, struct.pack("<Q", 0xA7 if user_page else 0xA3))
    host.memory.write(DATA, bytes.fromhex("0f01c1"))
    host.memory.drop_stale_code()
    host.put(DATA, DATA | allows | WB)
    told = host.guest(JUMP, MODE_BASED, rax=DATA)
    if user_page == (allows == R | XU):
        assert told["reason"] == VMCALL
    else:
        entry = (allows & 7) << 3 | (1 << 6 if allows & XU else 0)
        kind = X | LINEAR | FINAL | RW | (USER if user_page else 0)
        assert host.where(told) == (VIOLATION, entry | kind, DATA, DATA)


# ---- PAE paging --------------------------------------------------------------------------------------------------------

PDPT, DIRECTORY = 0x67000, 0x68000
PAE: Final = {
    **WITH_EPT, F.ENTRY_CONTROLS: 0x11FB, F.GUEST_CS_ACCESS: 0xC09B, F.GUEST_EFER: 0, F.GUEST_CR3: PDPT,
    F.GUEST_PDPTE0: DIRECTORY | 1, F.GUEST_PDPTE1: 0, F.GUEST_PDPTE2: 0, F.GUEST_PDPTE3: 0,
}  # fmt: skip


def pae(host: EptHost) -> None:
    host.memory.write(DIRECTORY, struct.pack("<Q", 0xA3))
    host.memory.write(PDPT, struct.pack("<4Q", DIRECTORY | 1, 0, DIRECTORY | 1, 0))


def test_a_pae_guest_begins_with_the_pdptes_in_its_fields(host: EptHost) -> None:
    pae(host)
    told = host.guest(LOAD, PAE, rax=DATA + 0x123)
    assert told["reason"] == VMCALL
    v = told["vmcs"]
    assert [v[f] for f in (F.GUEST_PDPTE0, F.GUEST_PDPTE1, F.GUEST_PDPTE2)] == [DIRECTORY | 1, 0, 0]
    # Loaded by MOV to CR3, they are in the fields after the exit.
    told = host.guest("0f22da" + LOAD, PAE, controls(PRIMARY, 31), rax=DATA + 0x123 | 2 << 30, rdx=PDPT)
    assert (told["reason"], told["vmcs"][F.GUEST_PDPTE2], chr(host.cpu.q[RAX] & 0xFF)) == (VMCALL, DIRECTORY | 1, "d")


def test_pdptes_that_the_ept_refuses(host: EptHost) -> None:
    """They are read for no linear address, and not as a write."""
    pae(host)
    for flags in (PAE, PAE | {F.EPT_POINTER: EPT | 0x5E}):
        host.open()
        host.put(PDPT, PDPT | R | WB)
        assert host.guest("0f22da", flags, rdx=PDPT)["reason"] == VMCALL
        assert not host.get(PDPT) & EPT_D
        host.put(PDPT, PDPT)
        assert host.run("invept", 0, rdx=2) == 0
        told = host.guest("0f22da", flags, rdx=PDPT + 0x20)
        assert (told["reason"], told["qualification"], told["at"]) == (VIOLATION, R, 0)
        assert told["vmcs"][F.GUEST_PHYSICAL_ADDRESS] == PDPT + 0x20
        assert told["vmcs"][F.GUEST_CR3] == PDPT


# ---- without paging ----------------------------------------------------------------------------------------------------

UNPAGED: Final = {
    **controls(SECONDARY, 1, 5, 7), F.EPT_POINTER: EPT | 0x1E, F.VPID: 7, F.ENTRY_CONTROLS: 0x11FB, F.GUEST_CS_ACCESS: 0xC09B,
    F.GUEST_EFER: 0, F.GUEST_CR0: 0x31, F.GUEST_CR3: 0, F.GUEST_CR4: 0x2000,
}  # fmt: skip


def test_an_unpaged_guest(host: EptHost) -> None:
    """Its linear addresses are guest-physical ones, of pages that may do anything."""
    told = host.guest(LOAD, UNPAGED, rax=DATA + 0x123)
    assert (told["reason"], chr(host.cpu.q[RAX] & 0xFF)) == (VMCALL, "d")
    host.put(DATA, DATA | R | X | WB)
    host.cpu.translation.invept(None)
    kind = LINEAR | FINAL | USER | RW
    expected = VIOLATION, W | (R | X) << 3 | kind, DATA + 0x123, DATA + 0x123
    assert host.refused(STORE, UNPAGED, rax=DATA + 0x123) == expected
    host.put(DATA, DATA | R | WB)
    host.cpu.translation.invept(None)
    told = host.guest(JUMP, UNPAGED, rax=DATA + 0x123)
    assert host.where(told) == (VIOLATION, X | R << 3 | kind, DATA + 0x123, DATA + 0x123)


def test_what_was_translated_with_paging_is_not_used_without(host: EptHost) -> None:
    host.memory.write(TABLE, struct.pack("<Q", 0x2000A7))
    host.memory.write(0x200000 + DATA + 0x123, b"x")
    host.memory.write(0x200000 + GUEST, bytes.fromhex(LOAD + "0f01c1"))
    assert seen(host) == "x"
    assert seen(host, UNPAGED) == "d"
    assert seen(host) == "x"


# ---- the whole machine -------------------------------------------------------------------------------------------------


def test_a_store_behind_an_exit_goes_on(host: EptHost) -> None:
    """What a host does: it opens the page and enters again; the instruction runs once."""
    host.put(DATA, 0)
    code = "fe00"  # inc byte [rax]
    assert host.guest(code, WITH_EPT, rax=DATA)["reason"] == VIOLATION
    host.put(DATA, DATA | RWX | WB)
    host.memory.write(CODE, bytes.fromhex("0f01c3"))  # vmresume
    host.memory.drop_stale_code()
    host.at_ring(0)
    host.cpu.halted, host.cpu.q[RAX] = False, DATA
    assert host.machine is not None
    assert host.machine.run().reason is Reason.HALTED
    assert host.told()["reason"] == VMCALL
    assert host.memory.read(DATA, 1) == b"\x01"
    assert host.cpu.q[RIP] == 0x11001


def test_a_table_of_descriptors_that_is_refused(host: EptHost) -> None:
    host.put(GDT, GDT)
    told = host.guest("8ed8", WITH_EPT, rax=0x10)  # mov ds, ax
    assert host.where(told) == (VIOLATION, R | LINEAR | FINAL | USER | RW, GDT + 0x10, GDT + 0x10)


def test_a_snapshot_of_a_guest(host: EptHost) -> None:
    """What was cached is not in it, so the restored guest sees the EPT as it is."""
    host.prepare("90" + LOAD, WITH_EPT, rax=DATA + 0x123)
    assert host.machine is not None
    assert host.machine.run(2).reason is Reason.LIMIT
    file = io.BytesIO()
    host.machine.save(file)
    file.seek(0)
    other = Machine.restore(file)
    assert other.cpu.translation.second is not None
    other.memory.write(EPT + 0x3000 + (DATA >> 9), struct.pack("<Q", SPARE | RWX | WB))
    assert other.run().reason is Reason.HALTED
    assert chr(other.cpu.q[RAX] & 0xFF) == "s"
    other.close()
    assert host.machine.run().reason is Reason.HALTED
    assert chr(host.cpu.q[RAX] & 0xFF) == "d"


def test_a_checkpoint_keeps_what_is_cached(host: EptHost) -> None:
    host.prepare(LOAD + "90" + LOAD, WITH_EPT, rax=DATA + 0x123)
    machine = host.machine
    assert machine is not None
    assert machine.run(3).reason is Reason.LIMIT
    before = host.cpu.translation.tlb.save()
    checkpoint = Checkpoint(machine, exact=True)
    assert machine.run().reason is Reason.HALTED
    host.open()
    checkpoint.restore()
    assert host.cpu.translation.tlb.save() == before
    assert machine.run().reason is Reason.HALTED
    assert host.told()["reason"] == VMCALL


@pytest.mark.parametrize("exact", [True, False])
def test_what_an_entry_of_the_ept_led_to_goes_back_with_it(host: EptHost, *, exact: bool) -> None:
    host.prepare(LOAD, WITH_EPT, rax=DATA + 0x123)
    machine = host.machine
    assert machine is not None
    checkpoint = Checkpoint(machine, exact=exact)
    host.put(DATA, SPARE | RWX | WB)
    read = ""
    for _ in range(2):
        assert machine.run().reason is Reason.HALTED
        read += chr(host.cpu.q[RAX] & 0xFF)
        checkpoint.restore()
    assert read == "sd"


def test_events(host: EptHost) -> None:
    log = Log()
    assert host.machine is not None
    host.machine.add_sink(log)
    host.put(DATA, DATA)
    host.refused(LOAD, WITH_EPT, rax=DATA + 0x123)
    host.machine.remove_sink(log)
    violation = [e for e in log.events if e.kind is Kind.EPT_VIOLATION][-1]  # nested, L0 fills what it lacks before
    assert (violation.refused, violation.gpa, violation.gva) == (5, DATA + 0x123, DATA + 0x123)
    left = [e for e in log.events if e.kind is Kind.VM_EXIT and e.reason == VIOLATION][-1]
    assert (left.reason, left.gpa, left.qualification) == (VIOLATION, DATA + 0x123, violation.qualification)
    if host.cpu.outer is not None:
        return  # the fills before them have cached what these walks read
    walks = [e for e in log.events if e.kind is Kind.PAGE_WALK and e.ept_reads]
    assert [(e.gva & ~0xFFF, e.reads, e.ept_reads) for e in walks[:1]] == [(GUEST, 3, 16)]  # a page of 2 MiB
    assert (walks[-1].refused, walks[-1].reads, walks[-1].ept_reads) == (5, 3, 4)


def test_what_an_entry_of_the_ept_costs(host: EptHost) -> None:
    """Also where nobody listens."""
    cpu = host.cpu
    cycles = []
    for costs in (Costs(), Costs(ept_read=10), Costs(walk=1, ept_read=10)):
        host.open()
        host.put(DATA, 0)
        cpu.costs = costs
        before = cpu.clock.cycles
        host.guest(LOAD, WITH_EPT, rax=DATA + 0x123)
        cycles.append(cpu.clock.cycles - before)
    cpu.costs = Costs()
    # Four entries for each of three tables, the code's page, the data's; the IDT and the like are not touched.
    assert cycles[1] - cycles[0] == 10 * (3 * 4 + 4 + 4)
    assert cycles[2] - cycles[1] == 2
