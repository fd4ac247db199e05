"""What VM entries and exits load, save and keep, on TCG: translations by VPID, guest state, lists of MSRs, snapshots."""

from __future__ import annotations

import io
import struct

import pytest

from paracell.emu.events import Kind, Who
from paracell.emu.machine import Machine
from paracell.emu.registers import RAX, RCX, RDX, RIP, RSP
from paracell.emu.stop import Reason
from paracell.vmx.fields import Field as F  # noqa: N817  (the tables have it on every line)

from ..vmx.entries import controls
from .test_vmx import FIRST
from .vmx_host import GUEST, GUEST_STACK, HLT, PRIMARY, SECONDARY, VALID, VMCALL, Host, Log, host, module_host
from .world import CODE, GDT, IDT, TSS_AT

__all__ = ("host", "module_host")

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
    host.interrupt(0x55)
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
