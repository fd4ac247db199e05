"""EPTs under the outermost hypervisor: how many switches a page costs, which stores exit, and attacks with their controls."""

from __future__ import annotations

import io
import struct
from typing import TYPE_CHECKING, Any, Final

import pytest

from paracell.emu.checkpoint import Checkpoint
from paracell.emu.events import Kind
from paracell.emu.machine import Machine
from paracell.emu.nesting import NestedOptions
from paracell.emu.registers import RAX, RCX, RIP, RSP
from paracell.emu.stop import Reason
from paracell.vmx.exits import ExitReason
from paracell.vmx.fields import Field as F  # noqa: N817  (the tables have it on every line)

from ..vmx.entries import controls
from .test_ept import DATA, EPT, LOAD, MISCONFIGURED, RWX, SPARE, STORE, TABLES, WB, WITH_EPT, WITH_FLAGS, XU, EptHost
from .vmx_host import GUEST_IDT, SECONDARY, VMCALL, Log
from .world import CODE, TSS_AT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from paracell.emu.events import Event
    from paracell.emu.outer_stages import Stages

HLT, LAST_TABLE, A, D = "f4", EPT + 0x3000, 1 << 8, 1 << 9
GUEST_PDPT, GUEST_PD, GUEST_PT = TABLES[1], 0x60000, 0x61000  # L2's own; the last two for addresses from 1 GiB on
NEW: Final = 0x80000  # pages for new tables of EPT12
COUNTER, L2_ADDRESS = 0x6B000, 1 << 30
VIOLATION, VMRESUME = 48, 24


class NestedHost(EptHost):
    """L1 and L2 under L0."""

    def __init__(self, *, eager: bool = False, large_pages: bool = True) -> None:
        super().__init__(nested=NestedOptions(eager=eager, large_pages=large_pages))

    @property
    def stages(self) -> Stages:
        assert self.cpu.outer is not None
        return self.cpu.outer.stages

    def l1(self, code: str, **registers: int) -> None:
        """Run code of L1's, and HLT."""
        self.prepare("")
        self.memory.write(CODE, bytes.fromhex(code) + b"\xf4")
        self.memory.drop_stale_code()
        for number, name in ((RAX, "rax"), (RCX, "rcx")):
            self.cpu.q[number] = registers.get(name, 0)
        self.log.events.clear()
        assert self.machine is not None
        stop = self.machine.run()
        assert stop.reason is Reason.HALTED, stop.report[:1]
        assert self.cpu.q[RIP] == CODE + len(code) // 2 + 1

    def exits(self) -> list[tuple[int, int]]:
        """Which level has exited, and why, HLT aside."""
        return [(e.source, e.reason) for e in self.log.events if e.kind is Kind.VM_EXIT and e.reason != ExitReason.HLT]


def opened(host: Any) -> Any:
    """Have L2's tables and EPT12 as `test_ept` has them, and L2_ADDRESS by a table of small pages."""
    for table, below in zip(TABLES, (TABLES[1] | 0x27, TABLES[2] | 0x27, 0xA7), strict=True):
        host.memory.write(table, struct.pack("<2Q", below, 0x2000A7 if table == TABLES[2] else 0))
    host.memory.write(GUEST_PDPT + 8, struct.pack("<Q", GUEST_PD | 0x27))
    host.memory.write(GUEST_PD, struct.pack("<Q", GUEST_PT | 0x27))
    host.memory.write(GUEST_PT, bytes(0x1000))
    host.memory.write(DATA, b"d" * 0x1000 + b"s" * 0x1000)
    host.open()
    return host


@pytest.fixture(scope="module")
def module_host() -> Iterator[NestedHost]:
    host = NestedHost()
    yield host
    host.close()


@pytest.fixture(scope="module")
def eager_host() -> Iterator[NestedHost]:
    host = NestedHost(eager=True, large_pages=False)
    yield host
    host.close()


@pytest.fixture
def host(module_host: NestedHost) -> Iterator[NestedHost]:
    module_host.log = log = Log()
    assert module_host.machine is not None
    module_host.machine.add_sink(log)
    yield opened(module_host)
    module_host.machine.remove_sink(log)


# ---- how many switches -------------------------------------------------------------------------------------------------


def store(at: int, value: int) -> str:
    """MOV RAX, value; MOV [at], RAX."""
    return (b"\x48\xb8" + struct.pack("<Q", value) + b"\x48\xa3" + struct.pack("<Q", at)).hex()


def chain(levels: int) -> tuple[int, str]:
    """Give a guest-physical address for which so many levels of EPT12 are new, and L1's stores that map it to DATA, top down."""
    gpa = {1: DATA, 2: 0x600000, 3: 1 << 32, 4: 1 << 40}[levels]
    at = {1: LAST_TABLE, 2: EPT + 0x2000, 3: EPT + 0x1000, 4: EPT}[levels]
    stores = ""
    for level in range(levels, 0, -1):
        below = DATA | WB if level == 1 else NEW + 0x4000 * levels + 0x1000 * level
        stores += store(at + (gpa >> 9 * level & 0xFF8), below | RWX)
        at = below
    return gpa, stores


def fault(host: EptHost, levels: int) -> Log:
    """Have L2 touch a page that EPT12 does not map, L1 map it, and L2 go on; the events of that."""
    gpa, stores = chain(levels)
    host.put(DATA, 0)
    warm = L2_ADDRESS + 0x1000
    host.memory.write(GUEST_PT, struct.pack("<2Q", gpa | 0x67, SPARE | 0x67))
    log = Log()
    assert host.machine is not None
    host.prepare("8a02" + "8a01" + VMCALL, WITH_EPT, rdx=warm, rcx=L2_ADDRESS)  # mov al, [rdx]; mov al, [rcx]
    host.memory.write(COUNTER, b"\1")
    once = "fe0c25" + struct.pack("<I", COUNTER).hex() + "7901" + HLT  # dec byte [COUNTER]; jns; hlt
    host.memory.write(0x11000, bytes.fromhex(once + stores + "0f01c3"))
    host.memory.drop_stale_code()
    host.machine.add_sink(log)
    assert host.machine.run().reason is Reason.HALTED
    host.machine.remove_sink(log)
    host.memory.write(0x11000, bytes.fromhex(HLT))
    host.memory.drop_stale_code()
    assert host.cpu.q[RAX] & 0xFF == ord("d")
    first = next(
        i for i, e in enumerate(log.events) if e.kind is Kind.VM_EXIT and e.reason == VIOLATION and e.gpa == gpa
    )
    last = next(i for i, e in enumerate(log.events) if e.kind is Kind.VM_EXIT and e.reason == ExitReason.VMCALL)
    log.events = log.events[first:last]
    return log


def counted(log: Log) -> tuple[int, int, int]:
    """World switches; exits to L0; stores to tables that trapped."""
    exits = sum(e.kind is Kind.VM_EXIT for e in log.events)
    entries = sum(e.kind is Kind.VM_ENTRY for e in log.events)
    return exits + entries, exits, sum(e.kind is Kind.TABLE_STORE for e in log.events)


@pytest.mark.parametrize("levels", [1, 2, 3, 4])
def test_a_fresh_page_costs_2n_plus_6_switches_where_tables_are_protected_at_once(
    eager_host: NestedHost, levels: int
) -> None:
    switches, exits, stores = counted(fault(opened(eager_host), levels))
    assert stores == levels
    assert (switches, exits) == (2 * levels + 6, levels + 3)


@pytest.mark.parametrize("levels", [1, 2, 3, 4])
def test_a_new_chain_of_tables_traps_once_where_tables_are_protected_when_walked(host: NestedHost, levels: int) -> None:
    switches, exits, stores = counted(fault(host, levels))
    assert stores == 1
    assert (switches, exits) == (2 * stores + 6, stores + 3)


def test_the_steps_of_a_fresh_page(host: NestedHost) -> None:
    kinds = {Kind.VM_EXIT, Kind.VM_ENTRY, Kind.REFLECTION, Kind.TABLE_STORE, Kind.MERGE, Kind.EPT_FILL}
    steps = [(e.kind, *e.data[:3]) for e in fault(host, 1).events if e.kind in kinds]
    assert [step[:4] if step[0] is Kind.VM_EXIT else step[:3] for step in steps] == [
        (Kind.VM_EXIT, 2, 0, VIOLATION), (Kind.REFLECTION, VIOLATION), (Kind.VM_ENTRY, 0, 1),
        (Kind.VM_EXIT, 1, 0, VIOLATION), (Kind.TABLE_STORE, LAST_TABLE), (Kind.VM_ENTRY, 0, 1),
        (Kind.VM_EXIT, 1, 0, VMRESUME), (Kind.MERGE,), (Kind.VM_ENTRY, 0, 2),
        (Kind.VM_EXIT, 2, 0, VIOLATION), (Kind.EPT_FILL, DATA, DATA), (Kind.VM_ENTRY, 0, 2),
    ]  # fmt: skip


def test_bare_a_fresh_page_costs_two_switches() -> None:
    bare = EptHost()
    for levels in (1, 2, 3, 4):
        assert counted(fault(opened(bare), levels)) == (2, 1, 0)
    bare.close()


def test_walks_have_as_many_steps_as_pages_of_both_are_small(host: NestedHost) -> None:
    """L1 maps it in 2 MiB, under an EPT01 of 2 MiB, where its tables are found already: three levels for the page."""
    host.cpu.translation.reset()
    host.l1("8a00", rax=0x200000)
    walk = next(e for e in host.log.events if e.kind is Kind.PAGE_WALK and e.gva == 0x200000)
    assert walk.reads == 3
    assert walk.ept_reads == 3


# ---- shadow paging of L1's ---------------------------------------------------------------------------------------------

ACTIONS, ACTION_TABLE, PAGE_FAULT_HANDLER, GUEST_TABLES = 0x90000, 0x6C800, 0x18000, 0x98000
RESUME: Final = "0f01c3"
INJECT_PF: Final = 0x80000B0E  # a hardware exception with an error code


def r8(value: int) -> str:
    return "49b8" + struct.pack("<Q", value).hex()


def r9(value: int) -> str:
    return "49b9" + struct.pack("<Q", value).hex()


def vmwrite(field: F, value: int) -> str:
    return r8(field) + r9(value) + "450f79c1"


def shadow_fault(host: EptHost, stores: int) -> Log:
    """L2 touches a page: a #PF, which L1 gives it; its handler writes its tables, which L1 has read-only in the shadow; then L1 follows."""
    table = L2_ADDRESS + 0x8000  # where L2 sees its tables
    host.memory.write(GUEST_PT + 8 * 8, struct.pack("<8Q", *(GUEST_TABLES + 0x1000 * i | 0x65 for i in range(8))))
    host.memory.write(GUEST_TABLES, bytes(0x8000))
    body = "".join("48bb" + struct.pack("<Q", table + 0x1000 * i).hex() + "488913" for i in range(stores))
    actions = [
        vmwrite(F.ENTRY_INTERRUPTION_INFO, INJECT_PF) + vmwrite(F.ENTRY_ERROR_CODE, 0) + RESUME,
        # mov [r9], rdx; RIP += 3
        *(
            r9(GUEST_TABLES + 0x1000 * i) + "498911" + r8(F.GUEST_RIP) + "450f78c2" + "4983c203" + "450f79c2" + RESUME
            for i in range(stores)
        ),
        r9(GUEST_PT) + "49ba" + struct.pack("<Q", DATA | 0x67).hex() + "4d8911" + RESUME,
        HLT,
    ]
    log = Log()
    assert host.machine is not None
    by_vpid = {
        **controls(SECONDARY, 5),
        F.VPID: 7,
        F.GUEST_CR0: 0x80010031,  # with WP: shadow paging needs it
        F.GUEST_CR3: TABLES[0],
        F.EXCEPTION_BITMAP: 1 << 14,
    }
    host.prepare("8a01" + VMCALL, by_vpid, rcx=L2_ADDRESS, rdx=0x77)
    host.memory.write(PAGE_FAULT_HANDLER, bytes.fromhex(body + "4883c408" + "48cf"))  # add rsp, 8; iretq
    gate = PAGE_FAULT_HANDLER & 0xFFFF | 8 << 16 | 0x8E << 40 | PAGE_FAULT_HANDLER >> 16 << 48
    before = host.memory.read(GUEST_IDT + 16 * 14, 16)
    host.memory.write(GUEST_IDT + 16 * 14, struct.pack("<2Q", gate, 0))
    for i, action in enumerate(actions):
        host.memory.write(ACTIONS + 0x80 * i, bytes.fromhex(action))
        host.memory.write(ACTION_TABLE + 8 * i, struct.pack("<Q", ACTIONS + 0x80 * i))
    host.memory.write(COUNTER, bytes(8))
    counter, jump = struct.pack("<I", COUNTER).hex(), struct.pack("<I", ACTION_TABLE).hex()
    host.memory.write(0x11000, bytes.fromhex(f"4c8b0425{counter}48ff0425{counter}42ff24c5{jump}"))
    host.memory.drop_stale_code()
    host.machine.add_sink(log)
    assert host.machine.run().reason is Reason.HALTED
    host.machine.remove_sink(log)
    host.memory.write(0x11000, bytes.fromhex(HLT))
    host.memory.write(GUEST_IDT + 16 * 14, before)
    host.memory.drop_stale_code()
    assert host.cpu.q[RAX] & 0xFF == ord("d")
    assert [host.memory.read64(GUEST_TABLES + 0x1000 * i) for i in range(5)] == [0x77] * stores + [0] * (5 - stores)
    first = next(i for i, e in enumerate(log.events) if e.kind is Kind.VM_EXIT and e.reason == 0)
    last = next(i for i, e in enumerate(log.events) if e.kind is Kind.VM_EXIT and e.reason == ExitReason.VMCALL)
    log.events = log.events[first:last]
    return log


@pytest.mark.parametrize("stores", [1, 2, 3, 4])
def test_a_fresh_page_under_shadow_paging_costs_4n_plus_8_switches(host: NestedHost, stores: int) -> None:
    switches, exits, _ = counted(shadow_fault(host, stores))
    assert (switches, exits) == (4 * stores + 8, 2 * stores + 4)


def test_bare_shadow_paging_costs_2n_plus_4_switches() -> None:
    bare = EptHost()
    for stores in (1, 2, 3, 4):
        switches, exits, _ = counted(shadow_fault(opened(bare), stores))
        assert (switches, exits) == (2 * stores + 4, stores + 2)
    bare.close()


# ---- stores to tables --------------------------------------------------------------------------------------------------


def shadowed(host: NestedHost) -> None:
    """Have EPT12's tables protected."""
    assert host.guest(LOAD, WITH_EPT, rax=DATA)["reason"] == ExitReason.VMCALL


@pytest.mark.parametrize(
    ("code", "word"),
    [
        ("488901", 0x1111),  # mov [rcx], rax
        ("8801", DATA | XU | 0x11),  # mov [rcx], al
        ("488701", 0x1111),  # xchg [rcx], rax
        ("4889cf48ab", 0x1111),  # mov rdi, rcx; stosq
        ("f0480109", None),  # lock add [rcx], rcx
    ],
)
def test_a_store_to_a_table_exits_and_is_done(host: NestedHost, code: str, word: int | None) -> None:
    shadowed(host)
    at = LAST_TABLE + (DATA >> 9 & 0xFF8)
    before = host.memory.read64(at)
    host.l1(code, rcx=at, rax=0x1111)
    after = host.memory.read64(at)
    assert after == word if word is not None else after != before
    assert host.exits() == [(1, VIOLATION)]
    assert protected(host, LAST_TABLE)


def protected(host: NestedHost, page: int) -> bool:
    leaf = host.stages.ept01.leaf(page)
    assert leaf is not None
    return not leaf.entry & 2


def test_a_string_of_stores_exits_once(host: NestedHost) -> None:
    shadowed(host)
    host.l1("4889cfb903000000f348ab", rcx=LAST_TABLE + 0x800, rax=0x2222)  # mov rdi, rcx; mov ecx, 3; rep stosq
    assert struct.unpack("<4Q", host.memory.read(LAST_TABLE + 0x800, 32))[:3] == (0x2222,) * 3
    assert host.exits() == [(1, VIOLATION)]


def test_a_store_across_two_tables(host: NestedHost) -> None:
    shadowed(host)
    host.l1("488901", rcx=LAST_TABLE - 4, rax=0)
    assert host.memory.read64(LAST_TABLE) == 0x37 & ~0xFFFFFFFF
    assert host.exits() == [(1, VIOLATION)]
    assert sum(e.kind is Kind.TABLE_STORE for e in host.log.events) == 2


def test_a_fault_behind_a_store_finds_its_page_protected(host: NestedHost) -> None:
    """XCHG with what is not mapped; PUSH of what is not mapped, to a table."""
    shadowed(host)
    host.prepare("")
    host.memory.write(CODE, bytes.fromhex("ff3425" + struct.pack("<I", 0x800000).hex()))  # push [0x800000]
    host.gate(14, target=0x12000, ist=1)
    host.memory.write(TSS_AT + 36, struct.pack("<Q", 0x22000))
    host.memory.write(0x12000, bytes.fromhex(HLT))
    host.memory.drop_stale_code()
    host.cpu.q[RSP] = LAST_TABLE + 0x900
    assert host.machine is not None
    assert host.machine.run().reason is Reason.HALTED
    assert host.cpu.q[RIP] == 0x12001
    assert protected(host, LAST_TABLE)


def test_an_exception_frame_in_a_table(host: NestedHost) -> None:
    """The delivery of the event is what exits, and is done again."""
    shadowed(host)
    host.prepare("")
    host.memory.write(CODE, bytes.fromhex("0f0b"))
    host.gate(6, target=0x12000)
    host.memory.write(0x12000, bytes.fromhex(HLT))
    host.memory.drop_stale_code()
    host.cpu.q[RSP] = LAST_TABLE + 0x900
    host.log.events.clear()
    assert host.machine is not None
    assert host.machine.run().reason is Reason.HALTED
    assert (host.cpu.q[RIP], host.cpu.q[RSP]) == (0x12001, LAST_TABLE + 0x900 - 40)
    assert host.memory.read64(LAST_TABLE + 0x900 - 40) == CODE
    assert host.exits() == [(1, VIOLATION)]
    assert not protected(host, LAST_TABLE)


def test_a_page_that_is_written_as_no_table_is_is_none(host: NestedHost) -> None:
    """Several words at once; what it held is still what EPT12 says, when L2 comes again."""
    shadowed(host)
    host.l1("0f0101", rcx=LAST_TABLE + (DATA >> 9 & 0xFF8) - 4)  # sgdt [rcx]: ten bytes
    assert host.exits() == [(1, VIOLATION)]
    assert not protected(host, LAST_TABLE)
    assert host.guest(LOAD, WITH_EPT, rax=SPARE)["reason"] == ExitReason.VMCALL
    assert protected(host, LAST_TABLE)


def test_a_page_that_is_no_table_any_more_is_written_without_an_exit(host: NestedHost) -> None:
    shadowed(host)
    host.l1("488901", rcx=EPT + 0x2000, rax=0)  # unlinks the last table
    assert host.exits() == [(1, VIOLATION)]
    host.l1("488901", rcx=LAST_TABLE, rax=0)
    assert host.exits() == []


def test_l2_writes_a_table_that_l1_lets_it_see(host: NestedHost) -> None:
    """The store is L0's to let pass; what L2 gains is no more than L1's memory."""
    host.put(SPARE, LAST_TABLE | RWX | WB)
    host.cpu.software_memory.write64(LAST_TABLE + 8 * 0x100, 0)
    entry = DATA | RWX | WB
    code = "488901" + "8a042500001000"  # mov [rcx], rax; mov al, [0x100000]
    told = host.guest(code, WITH_EPT, rcx=SPARE + 8 * 0x100, rax=entry)
    assert told["reason"] == ExitReason.VMCALL
    assert host.cpu.q[RAX] & 0xFF == ord("d")
    assert host.memory.read64(LAST_TABLE + 8 * 0x100) == entry


def test_vmclear_writes_a_table(host: NestedHost) -> None:
    """What the silicon writes for L1 counts as L1's store."""
    shadowed(host)
    assert host.cpu.outer is not None
    host.cpu.outer.memory.write64(LAST_TABLE + (DATA >> 9 & 0xFF8), 0)
    host.cpu.outer.invept(None)
    assert host.refused(LOAD, WITH_EPT, rax=DATA)[0] == VIOLATION


# ---- attacks -----------------------------------------------------------------------------------------------------------


def secret(host: NestedHost) -> int:
    """A page of L0's memory that holds no table, with something in it."""
    at = host.memory.offered + (8 << 20)
    host.memory.write(at, b"\x5a" * 0x1000)
    return at


@pytest.mark.parametrize("l0s", [False, True])
def test_l1_reaches_no_memory_of_l0s(host: NestedHost, l0s: bool) -> None:
    """By its own page tables; the control reaches its own memory by the same entry."""
    at = secret(host) if l0s else 0xC00000
    if not l0s:
        host.memory.write(at, b"\x5a" * 0x1000)
    host.memory.write(0x3010, struct.pack("<Q", at & -0x200000 | 0x83))
    gva = 0x400000 + (at & 0x1FFFFF)
    host.l1("8a01" + "c60107" + "8a21", rcx=gva)  # mov al, [rcx]; mov byte [rcx], 7; mov ah, [rcx]
    assert host.cpu.q[RAX] & 0xFFFF == (0xFFFF if l0s else 0x075A)
    assert host.memory.read(at, 1) == (b"\x5a" if l0s else b"\x07")
    host.memory.write(0x3010, struct.pack("<Q", 0))
    host.cpu.translation.reset()


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("l0s", [False, True])
def test_an_entry_of_ept12_that_maps_memory_of_l0s(host: NestedHost, l0s: bool, large: bool) -> None:
    at = secret(host) if l0s else 0xC00000
    if not l0s:
        host.memory.write(at, b"\x5a" * 0x1000)
    if large:
        host.cpu.software_memory.write64(EPT + 0x2008, at & -0x200000 | RWX | WB | 1 << 7)
        gva = 0x200000 + (at & 0x1FFFFF)
    else:
        host.put(DATA, at | RWX | WB)
        gva = DATA
    told = host.guest("8a01" + "c60107" + "8a21", WITH_EPT, rcx=gva)
    assert told["reason"] == ExitReason.VMCALL
    assert host.cpu.q[RAX] & 0xFFFF == (0xFFFF if l0s else 0x075A)
    assert host.memory.read(at, 1) == (b"\x5a" if l0s else b"\x07")


@pytest.mark.parametrize("l0s", [False, True])
def test_a_table_of_ept12_in_memory_of_l0s(host: NestedHost, l0s: bool) -> None:
    """L0's own tables would make good ones: EPT01's map everything of L1's where it is.  There are none, so entries read as ones."""
    table = host.stages.ept01.root if l0s else OTHER_ROOT
    host.memory.write(OTHER_ROOT, host.memory.read(EPT, 0x1000))
    told = host.guest(LOAD, WITH_EPT, {F.EPT_POINTER: table | 0x1E}, rax=DATA)
    assert told["reason"] == (MISCONFIGURED if l0s else ExitReason.VMCALL)
    host.cpu.software_memory.write64(EPT + 0x2000, (host.stages.ept01.root if l0s else LAST_TABLE) | RWX)
    told = host.guest(LOAD, WITH_EPT, rax=DATA)
    assert told["reason"] == (MISCONFIGURED if l0s else ExitReason.VMCALL)


OTHER_ROOT: Final = 0x6C000


@pytest.mark.parametrize("l0s", [False, True])
def test_an_entry_of_ept12_that_is_changed_after_its_check(host: NestedHost, l0s: bool) -> None:
    """L2 has used the page; L1 has its entry lead elsewhere, and invalidates, so that L0 must look again."""
    at = secret(host) if l0s else SPARE
    assert host.guest(LOAD, WITH_EPT, rax=DATA)["reason"] == ExitReason.VMCALL
    assert host.cpu.q[RAX] & 0xFF == ord("d")
    host.l1("488901", rcx=LAST_TABLE + (DATA >> 9 & 0xFF8), rax=at | RWX | WB)
    assert host.cpu.outer is not None
    host.cpu.outer.invept(EPT)
    assert host.guest(LOAD, WITH_EPT, rax=DATA)["reason"] == ExitReason.VMCALL
    assert host.cpu.q[RAX] & 0xFF == (0xFF if l0s else ord("s"))


def test_an_entry_that_is_changed_and_not_invalidated_may_stay(host: NestedHost) -> None:
    """As without L0: a missing INVEPT shows, every time."""
    host.guest(LOAD, WITH_EPT, rax=DATA)
    host.l1("488901", rcx=LAST_TABLE + (DATA >> 9 & 0xFF8), rax=SPARE | RWX | WB)
    host.guest(LOAD, WITH_EPT, rax=DATA)
    assert host.cpu.q[RAX] & 0xFF == ord("d")


def test_a_guest_cannot_use_up_l0s_memory(host: NestedHost) -> None:
    """Every EPT12 has tables of its own; L0 drops what it has no room for."""
    free = host.stages.save().free
    for number in range(40):
        root = 0x100000 + 0x1000 * number
        host.memory.write(root, host.memory.read(EPT, 0x1000))
        told = host.guest(STORE, WITH_FLAGS, {F.EPT_POINTER: root | 0x5E}, rax=DATA)
        assert told["reason"] == ExitReason.VMCALL
    assert len(free) - len(host.stages.save().free) < 200
    pool = host.stages._pool
    kept = pool.free
    pool.free = kept[:3]
    host.memory.write(0x200000, b"z")
    for page in (DATA, 0x200000):
        assert host.guest(LOAD, WITH_EPT, rax=page)["reason"] == ExitReason.VMCALL
    assert host.cpu.q[RAX] & 0xFF == ord("z")
    pool.free = (*kept[3:], *pool.free)


# ---- snapshots ---------------------------------------------------------------------------------------------------------


def test_a_snapshot_holds_the_tables(host: NestedHost) -> None:
    shadowed(host)
    assert host.machine is not None
    file = io.BytesIO()
    host.machine.save(file)
    file.seek(0)
    other = Machine.restore(file)
    assert other.cpu.outer is not None
    assert host.cpu.outer is not None
    assert other.cpu.outer.save() == host.cpu.outer.save()
    again = NestedHost.__new__(NestedHost)
    again.__dict__.update(host.__dict__, machine=other, cpu=other.cpu, memory=other.memory)
    again.log = Log()
    other.add_sink(again.log)
    assert again.guest(LOAD, WITH_EPT, rax=DATA)["reason"] == ExitReason.VMCALL
    assert not [e for e in again.log.events if e.kind is Kind.EPT_FILL]
    again.l1("488901", rcx=LAST_TABLE, rax=0)
    assert again.exits() == [(1, VIOLATION)]
    other.close()


def test_a_checkpoint_holds_the_tables(host: NestedHost) -> None:
    assert host.machine is not None
    for entry in (0, DATA | RWX | WB):
        host.put(DATA, entry)
    host.cpu.outer.invept(None)  # type: ignore[union-attr]
    point = Checkpoint(host.machine)
    for _ in range(2):
        shadowed(host)
        assert [e for e in host.log.events if e.kind is Kind.EPT_FILL]
        host.log.events.clear()
        point.restore()


class Stopper(Log):
    """Stops a machine at its first EPT violation."""

    def __init__(self, machine: Machine) -> None:
        super().__init__()
        self._machine = machine

    def emit(self, event: Event) -> None:
        if event.kind is Kind.VM_EXIT and event.reason == VIOLATION and not self.events:
            self.events.append(event)
            self._machine.request_stop()


def test_a_snapshot_while_a_store_is_let_pass(host: NestedHost) -> None:
    """The run that goes on from it has no exit more, and takes no cycle more."""
    shadowed(host)
    assert host.machine is not None
    ends = []
    for stopped in (False, True):
        host.prepare("")
        host.memory.write(CODE, bytes.fromhex("4889cfb903000000f348ab" + HLT))  # mov rdi, rcx; mov ecx, 3; rep stosq
        host.memory.drop_stale_code()
        host.cpu.q[RCX], host.cpu.q[RAX] = LAST_TABLE + 0xA00, 0
        host.cpu.outer.invept(None)  # type: ignore[union-attr]
        before, machine = host.cpu.clock.now, host.machine
        if stopped:
            stopper = Stopper(machine)
            machine.add_sink(stopper)
            assert machine.run().reason is Reason.INTERRUPTED
            machine.remove_sink(stopper)
            file = io.BytesIO()
            machine.save(file)
            file.seek(0)
            machine = Machine.restore(file)
            assert machine.cpu.outer is not None
            assert machine.cpu.outer.stages.save().granted
        log = Log()
        machine.add_sink(log)
        assert machine.run().reason is Reason.HALTED
        machine.remove_sink(log)
        ends.append((machine.clock.now - before, machine.memory.read(LAST_TABLE + 0xA00, 24)))
        assert [e.reason for e in log.events if e.kind is Kind.VM_EXIT and e.reason != ExitReason.HLT] == [VIOLATION][
            stopped:
        ]
        if stopped:
            machine.close()
        host.memory.write(LAST_TABLE + 0xA00, bytes(range(24)))
        host.open()
        shadowed(host)
    assert ends[0] == ends[1]
