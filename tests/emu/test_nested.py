"""The outermost hypervisor: what it keeps for itself, and interrupts that it takes for its guest."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

import pytest

from paracell.emu.events import Kind
from paracell.emu.memory import FOUR_GIB, HOLE, Memory
from paracell.emu.nesting import NestedOptions
from paracell.emu.registers import RAX, RDX, RIP
from paracell.emu.stop import Reason
from paracell.vmx.exits import ExitReason
from paracell.vmx.fields import Field as F  # noqa: N817  (the tables have it on every line)

from ..vmx.entries import controls
from .vmx_host import GUEST_IDT, HANDLER, PRIMARY, VMCALL, Host, Log
from .world import CODE, IDT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from paracell.emu.clock import Tsc
    from paracell.emu.events import Event
    from paracell.emu.outer import Outer

IF: Final = 1 << 9
VECTOR: Final = 0x55
UMIP: Final = 1 << 11


@pytest.fixture(scope="module")
def module_host() -> Iterator[Host]:
    host = Host(nested=True)
    yield host
    host.close()


@pytest.fixture
def host(module_host: Host) -> Iterator[Host]:
    module_host.log = log = Log()
    assert module_host.machine is not None
    module_host.machine.add_sink(log)
    yield module_host
    module_host.machine.remove_sink(log)


def outer(host: Host) -> Outer:
    assert host.cpu.outer is not None
    return host.cpu.outer


def switches(host: Host) -> list[tuple[int, int, int]]:
    """Who left, who went on, and why an exit was made (-1 for an entry)."""
    kinds = {Kind.VM_EXIT: True, Kind.VM_ENTRY: False}
    return [(e.source, e.target, e.reason if kinds[e.kind] else -1) for e in host.log.events if e.kind in kinds]


def test_the_first_that_l1_reads_of_cr0_and_cr4_is_what_they_hold(host: Host) -> None:
    """Before L1 has exited once, and behind a state that was loaded, too."""
    cpu = host.cpu
    cpu.load(cpu.state())
    assert (outer(host).l1.cr0_shadow, outer(host).l1.cr4_shadow) == (cpu.cr0, cpu.cr4)
    assert cpu.cr0


# ---- memory that is L0's -----------------------------------------------------------------------------------------------


def test_l0_keeps_memory_behind_l1s(host: Host) -> None:
    memory = host.memory
    assert memory.offered == 16 << 20
    assert memory.regions() == [(0, 16 << 20)]
    assert memory.is_ram(memory.offered)
    assert not memory.is_offered(memory.offered)
    seen = outer(host).memory
    before = memory.read64(memory.offered)
    seen.write64(memory.offered, before ^ 1)
    assert memory.read64(memory.offered) == before
    assert seen.read64(memory.offered) == (1 << 64) - 1


def secret(host: Host) -> int:
    """A page of L0's that looks like anything that VMX instructions take: a VMCS, a list of MSRs, and bitmaps that let pass."""
    at = host.memory.offered + 0x8000
    host.memory.write(at, bytes(0x2000))
    return at


def test_no_vmx_instruction_of_l1_takes_a_region_of_l0s(host: Host) -> None:
    at = secret(host)
    header = host.memory.read64(0x40000)  # of the VMXON region
    host.memory.write(at, struct.pack("<Q", header))
    host.ready()
    assert host.run("vmxon", at) == 1  # VMfailInvalid: the revision there is not the processor's
    host.enter()
    assert host.run("vmptrld", at) == 0x40
    assert host.failed() == 11
    assert host.run("vmclear", at) == 0
    assert host.memory.read(at, 8) == struct.pack("<Q", header)  # nothing was written


def test_bitmaps_of_l1_in_memory_of_l0s_read_as_ones(host: Host) -> None:
    at = secret(host)
    told = host.guest("0f32", controls(PRIMARY, 28), {F.MSR_BITMAP: at}, rcx=0x174)
    assert told["reason"] == ExitReason.RDMSR
    told = host.guest("e421", controls(PRIMARY, 25), {F.IO_BITMAP_A: at, F.IO_BITMAP_B: at})
    assert told["reason"] == ExitReason.IO


@pytest.mark.parametrize("l0s", [False, True])
def test_lists_of_msrs_of_l1_in_memory_of_l0s(host: Host, l0s: bool) -> None:
    """The control is the same list in L1's own memory: that loads the MSR."""
    at = secret(host) if l0s else 0x58000
    host.memory.write(at, struct.pack("<4Q", 0x174, 0x1234, 0, 0))
    told = host.guest("", {F.ENTRY_MSR_LOAD_ADDRESS: at, F.ENTRY_MSR_LOAD_COUNT: 1})
    assert told["reason"] == (ExitReason.MSR_LOADING | 1 << 31 if l0s else ExitReason.VMCALL)
    if not l0s:
        assert host.cpu.guest is outer(host).l1


# ---- interrupts --------------------------------------------------------------------------------------------------------


def run_l1(host: Host, code: str, flags: int) -> list[Event]:
    """Run code of L1's up to its HLT, with an interrupt pending."""
    host.prepare("")
    host.gate(VECTOR, target=HANDLER)
    host.memory.write(HANDLER, bytes.fromhex("48c7c2340000004883c40848cf")[:7] + b"\xf4")  # mov rdx, 0x34; hlt
    host.memory.write(CODE, bytes.fromhex(code))
    host.memory.drop_stale_code()
    host.cpu.rflags = flags
    host.log.events.clear()
    host.interrupt(VECTOR)
    assert host.machine is not None
    assert host.machine.run().reason is Reason.HALTED
    host.machine.devices.lapic.msr_write(0x80B, 0)
    host.memory.write(HANDLER, bytes.fromhex(VMCALL))
    host.memory.drop_stale_code()
    return host.log.events


def test_l0_takes_an_interrupt_and_gives_it_to_l1(host: Host) -> None:
    run_l1(host, "90f4", IF | 2)
    assert host.cpu.q[RDX] == 0x34
    assert switches(host) == [(1, 0, 1), (0, 1, -1), (1, 0, 12)]


def test_l0_waits_for_a_window_where_l1_takes_no_interrupt(host: Host) -> None:
    run_l1(host, "fb9090f4", 2)  # sti; nop; nop; hlt
    assert host.cpu.q[RDX] == 0x34
    assert switches(host) == [(1, 0, 1), (0, 1, -1), (1, 0, 7), (0, 1, -1), (1, 0, 12)]
    (event,) = (e for e in host.log.events if e.kind is Kind.INTERRUPT)
    assert event.vector == VECTOR


@pytest.mark.parametrize("flags", [2, 2 | IF])
def test_an_interrupt_for_l1_exits_from_l2(host: Host, flags: int) -> None:
    host.prepare("90", controls(F.PIN_CONTROLS, 0), {F.GUEST_RFLAGS: flags})
    host.log.events.clear()
    host.interrupt(VECTOR)
    assert host.machine is not None
    assert host.machine.run().reason is Reason.HALTED
    assert host.told()["reason"] == ExitReason.EXTERNAL_INTERRUPT
    # It waits while L1 has IF clear; L1 enters L2; L2 exits at once.  L0 holds it still, for L1 has not taken it.
    assert switches(host) == [(1, 0, 1), (0, 1, -1), (1, 0, 20), (0, 2, -1), (2, 0, 1), (0, 1, -1), (1, 0, 12)]
    assert outer(host).save().waits
    acknowledge(host)


def acknowledge(host: Host) -> None:
    """Let L1 take what waits."""
    host.cpu.halted = False
    outer(host).wake()
    run_l1(host, "fb9090f4", 2)
    assert not outer(host).save().waits


def test_l0_gives_an_interrupt_to_l2_where_l1_lets_it(host: Host) -> None:
    host.memory.write(GUEST_IDT + 16 * VECTOR, host.memory.read(GUEST_IDT + 16 * 14, 16))
    host.prepare("90", {F.GUEST_RFLAGS: 2 | IF})
    host.log.events.clear()
    host.interrupt(VECTOR)
    assert host.machine is not None
    assert host.machine.run().reason is Reason.HALTED
    host.machine.devices.lapic.msr_write(0x80B, 0)
    told = host.told()
    assert (told["reason"], told["vmcs"][F.GUEST_RIP]) == (18, HANDLER + 16 * 14)
    held = [(1, 0, 1), (0, 1, -1)]  # L1 has IF clear; then L2's window opens
    assert switches(host) == [
        *held, (1, 0, 20), (0, 2, -1), (2, 0, 7), (0, 2, -1), (2, 0, 18), (0, 1, -1), (1, 0, 12)
    ]  # fmt: skip


# ---- what is added up --------------------------------------------------------------------------------------------------


def test_offsets_of_the_time_stamp_counter_add_up(host: Host) -> None:
    """L0's for L1, and L1's for L2."""
    tsc: Tsc = host.cpu.tsc
    outer(host).vmcs01[F.TSC_OFFSET] = tsc.outer_offset = 1 << 40
    told = host.guest("0f31", controls(PRIMARY, 3), {F.TSC_OFFSET: 1 << 41})
    assert told["reason"] == 18
    assert host.cpu.q[RDX] == 0x300
    assert tsc.read() >> 40 == 1  # L1's again
    assert tsc.cycle_of(tsc.read() + 100) == host.cpu.clock.now + 100
    told = host.guest("0f31")
    assert host.cpu.q[RDX] == 0x100
    outer(host).vmcs01[F.TSC_OFFSET] = tsc.outer_offset = 0


def test_an_msr_that_l1_leaves_to_l2_is_l0s_to_write(host: Host) -> None:
    """L2 writes IA32_SYSENTER_CS, for which neither wants an exit, and IA32_PAT, for which L0 does and L1 does not."""
    host.log.events.clear()
    bitmaps = controls(PRIMARY, 28)
    host.memory.write(0x52000, bytes(0x3000))
    told = host.guest("0f30", bitmaps, rcx=0x174, rax=0x1234)
    assert told["vmcs"][F.GUEST_SYSENTER_CS] == 0x1234
    assert (2, 0, 32) not in switches(host)
    host.guest("0f30", bitmaps, rcx=0x277, rax=0x07040600, rdx=0x07040600)
    assert (2, 0, 32) in switches(host)
    assert (2, 0, 18) in switches(host)
    assert host.cpu.msr[0x277] == 0x0704060007040600


def test_a_fault_of_l2_in_l0s_work_is_l2s(host: Host) -> None:
    """IA32_PAT does not take 2: L0 does the WRMSR, and injects #GP into L2, whose handler exits."""
    told = host.guest("0f30", controls(PRIMARY, 28), rcx=0x277, rax=2)
    assert (told["reason"], told["vmcs"][F.GUEST_RIP]) == (18, HANDLER + 16 * 13)


def test_a_triple_fault_of_l1_ends_the_run(host: Host) -> None:
    host.prepare("")
    gate = host.memory.read(IDT, 0x1000)
    host.memory.write(IDT, bytes(0x1000))
    host.memory.write(CODE, bytes.fromhex("0f0b"))
    host.memory.drop_stale_code()
    assert host.machine is not None
    stop = host.machine.run()
    assert stop.reason is Reason.TRIPLE_FAULT
    assert "#UD" in stop.report[0]
    assert "under the outermost hypervisor: L1 runs" in stop.report
    host.memory.write(IDT, gate)


def test_l1_reads_what_it_has_written_to_cr4(host: Host) -> None:
    """MOV to CR4 exits where L0 keeps a bit, and reads give L1's own value."""
    host.prepare("")
    host.log.events.clear()
    host.memory.write(CODE, bytes.fromhex("0f20e00d000800000f22e00f20e2f4"))
    host.memory.drop_stale_code()
    assert host.machine is not None
    assert host.machine.run().reason is Reason.HALTED
    assert host.cpu.q[RIP] > CODE
    assert host.cpu.q[RDX] == host.cpu.cr4 == host.cpu.q[RAX]
    assert host.cpu.cr4 & UMIP
    assert (1, 0, 28) in switches(host)


def test_a_vmread_of_l1_has_no_hook(host: Host) -> None:
    """TCG ends a block in the middle of what it does not know, and the block has a byte that may be an IN."""
    host.prepare("")
    code = "b8ec440000" + "0f78c2" + "f4"  # mov eax, 0x44ec; vmread rdx, rax; hlt
    host.memory.write(CODE, bytes.fromhex(code))
    host.memory.drop_stale_code()
    host.log.events.clear()
    assert host.machine is not None
    assert host.machine.run().reason is Reason.HALTED
    assert host.cpu.q[RIP] == CODE + len(code) // 2
    assert CODE + 5 not in host.machine.traps.sites._hooked
    assert (1, 0, ExitReason.VMREAD) not in switches(host)  # VMCS12 is VMCS01's shadow VMCS


def test_without_a_shadow_vmcs_each_vmread_exits() -> None:
    host = Host(nested=NestedOptions(shadow_vmcs=False))
    assert host.machine is not None
    host.machine.add_sink(host.log)
    host.prepare("")
    host.memory.write(
        CODE, bytes.fromhex("b802440000" + "0f78c2" + "0f79c2" + "f4")
    )  # VMREAD and VMWRITE of the exit reason
    host.memory.drop_stale_code()
    assert host.machine.run().reason is Reason.HALTED
    assert [why for _, _, why in switches(host) if why in {ExitReason.VMREAD, ExitReason.VMWRITE}] == [23, 25]
    host.close()


@pytest.mark.parametrize(
    ("offered", "pages", "regions"),
    [
        (16 << 20, [16 << 20, (16 << 20) + 4096], [(0, 16 << 20)]),
        (HOLE - 4096, [HOLE - 4096, FOUR_GIB], [(0, HOLE - 4096)]),
        (HOLE, [FOUR_GIB, FOUR_GIB + 4096], [(0, HOLE)]),
        (HOLE + 8192, [FOUR_GIB + 8192, FOUR_GIB + 12288], [(0, HOLE), (FOUR_GIB, 8192)]),
    ],
)
def test_memory_that_l0_keeps_lies_behind_l1s(offered: int, pages: list[int], regions: list[tuple[int, int]]) -> None:
    memory = Memory(offered, 8192)
    assert list(memory.kept_pages()) == pages
    assert memory.regions() == regions
    assert all(memory.is_ram(page) and not memory.is_offered(page) for page in pages)
    assert memory.is_offered(offered - 4096 if offered <= HOLE else FOUR_GIB + offered - HOLE - 4096)
