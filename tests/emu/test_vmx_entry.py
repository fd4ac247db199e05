"""VMLAUNCH and VMRESUME that fail: by an error number, or as a VM exit that loads host state (SDM "VM Entries", "VM Exits")."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import pytest
from attrs import evolve

from paracell.emu.descriptors import UNUSABLE, Segment, Table, null_stack
from paracell.emu.faults import Unimplemented
from paracell.emu.registers import RIP, RSP
from paracell.emu.stop import Reason
from paracell.vmx.fields import Field as F  # noqa: N817  (the tables have it on every line)

from ..vmx.entries import BASE, GUEST_32, HOST_32, V86, controls, put
from .test_vmx import FIRST, ZF, Root
from .world import CODE

if TYPE_CHECKING:
    from collections.abc import Iterator

MSRS = 0x51000
HOST = {
    F.HOST_CR3: 0x1000, F.HOST_RIP: 0x11000, F.HOST_RSP: 0x21000, F.HOST_CS_SELECTOR: 8, F.HOST_SS_SELECTOR: 16,
    F.HOST_DS_SELECTOR: 0, F.HOST_ES_SELECTOR: 16, F.HOST_FS_SELECTOR: 0, F.HOST_GS_SELECTOR: 16, F.HOST_TR_SELECTOR: 0x40,
    F.HOST_FS_BASE: 0xFFFF800000001000, F.HOST_GS_BASE: 0x7000, F.HOST_TR_BASE: 0xB000, F.HOST_GDTR_BASE: 0x8000,
    F.HOST_IDTR_BASE: 0x9000, F.HOST_SYSENTER_CS: 8, F.HOST_SYSENTER_ESP: 0x1234, F.HOST_SYSENTER_EIP: 0xFFFF800000005678,
}  # fmt: skip


@pytest.fixture(scope="module")
def module_root() -> Iterator[Root]:
    root = Root()
    yield root
    root.close()


@pytest.fixture
def root(module_root: Root) -> Root:
    module_root.enter()
    cpu = module_root.cpu
    cpu.dr[7] = 0x400
    return module_root


def launch(root: Root, *changes: dict[F, int]) -> int:
    operation = root.cpu.vmx
    assert operation is not None
    assert operation.current is not None
    for change in (BASE, HOST, *changes):
        put(operation.current, change)
    return root.run("vmlaunch")


def field(root: Root, which: F) -> int:
    operation = root.cpu.vmx
    assert operation is not None
    return operation.vmread(which)


def exit_of(root: Root, *changes: dict[F, int]) -> None:
    """Fail an entry for its guest state."""
    operation = root.cpu.vmx
    assert operation is not None
    assert operation.current is not None
    for change in (BASE, HOST, {F.GUEST_RFLAGS: 0}, *changes):
        put(operation.current, change)
    root.cpu.q[RIP] = CODE
    root.do("0f01c2")
    assert root.cpu.q[RIP] == operation.current[F.HOST_RIP]


def test_error_numbers(root: Root) -> None:
    assert launch(root, {F.CR3_TARGET_COUNT: 5}) == ZF
    assert root.failed() == 7
    assert launch(root, {F.CR3_TARGET_COUNT: 0, F.HOST_CR4: 0, F.GUEST_RFLAGS: 0}) == ZF
    assert root.failed() == 8
    assert root.cpu.vmx is not None
    assert root.cpu.vmx.describe()[0] == (
        "the last VM entry broke a rule: VMX operation supports CR4 "
        "(SDM 'Checks on Host Control Registers, MSRs, and SSP')"
    )


def test_a_failed_entry_loads_host_state(root: Root) -> None:
    cpu = root.cpu
    cpu.dr[7] = 0x700
    cpu.msr[0x277] = 0x0606060606060606
    cpu.nmi_blocked = True
    before = cpu.state()
    exit_of(root)
    assert before.vmx is not None
    data = Segment(16, 0, 0xFFFFFFFF, 0xC093)
    null = Segment(0, 0, 0, UNUSABLE)
    wanted = evolve(
        before,
        registers=[0x21000 if number == RSP else cpu.q[number] for number in range(16)],
        rip=0x11000,
        rflags=2,
        cr3=0x1000,
        cr4=BASE[F.HOST_CR4],
        efer=before.efer,
        dr=(*before.dr[:7], 0x400),
        gdtr=Table(0x8000, 0xFFFF),
        idtr=Table(0x9000, 0xFFFF),
        ldtr=null,
        tr=Segment(0x40, 0xB000, 0x67, 0x8B),
        segments=(
            data,
            Segment(8, 0, 0xFFFFFFFF, 0xA09B),
            data,
            null,
            Segment(0, 0xFFFF800000001000, 0, UNUSABLE),
            Segment(16, 0x7000, 0xFFFFFFFF, 0xC093),
        ),
        msrs=before.msrs | {0x174: 8, 0x175: 0x1234, 0x176: 0xFFFF800000005678, 0x1D9: 0},
        vmx=cpu.state().vmx,
    )
    assert cpu.state() == wanted
    assert (field(root, F.EXIT_REASON), field(root, F.EXIT_QUALIFICATION)) == (1 << 31 | 33, 0)
    assert cpu.vmx is not None
    assert cpu.vmx.current is not None
    assert not cpu.vmx.current.launched


def test_controls_of_what_is_loaded(root: Root) -> None:
    exit_of(
        root,
        controls(F.EXIT_CONTROLS, 19, 21, 29),
        {F.HOST_PAT: 1, F.HOST_EFER: 0x500, F.HOST_PKRS: 0x55, F.HOST_SS_SELECTOR: 0},
    )
    state = root.cpu.state()
    assert (state.msrs[0x277], state.efer, state.pkrs) == (1, 0x500, 0x55)
    assert state.segments[2] == null_stack(0)


def test_bits_of_cr0_that_an_exit_keeps(root: Root) -> None:
    root.cpu.set_cr0(0xE0000031)
    exit_of(root, {F.HOST_CR0: 0x8005003B})
    assert root.cpu.cr0 == 0xE005003B


def test_qualifications(root: Root) -> None:
    exit_of(root, {F.GUEST_RFLAGS: 2, F.VMCS_LINK_POINTER: 0x10})
    assert field(root, F.EXIT_QUALIFICATION) == 4


def test_the_msr_load_list_of_an_exit(root: Root) -> None:
    root.memory.write(MSRS, struct.pack("<4Q", 0xC0000081, 0x1234, 0xC0000102, 0x5678))
    exit_of(root, {F.EXIT_MSR_LOAD_ADDRESS: MSRS, F.EXIT_MSR_LOAD_COUNT: 2})
    assert (root.cpu.msr[0xC0000081], root.cpu.msr[0xC0000102]) == (0x1234, 0x5678)


@pytest.mark.parametrize(
    ("which", "value"),
    [(0xC0000100, 0), (0xC0000101, 0), (0x808, 0), (0x1234, 0), (1 << 32 | 0xC0000081, 0), (0xC0000082, 1 << 47)],
)
def test_an_msr_that_cannot_be_loaded_is_a_vmx_abort(root: Root, which: int, value: int) -> None:
    root.memory.write(MSRS, struct.pack("<4Q", 0xC0000081, 0x1234, which, value))
    with pytest.raises(Unimplemented, match="VMX abort 4: entry 2"):
        launch(root, {F.GUEST_RFLAGS: 0, F.EXIT_MSR_LOAD_ADDRESS: MSRS, F.EXIT_MSR_LOAD_COUNT: 2})
    assert root.words(FIRST + 4, 1, size=4) == (4,)


def test_the_report_of_a_vmx_abort(root: Root) -> None:
    """Through TCG, as a user sees it."""
    cpu, machine = root.cpu, root.machine
    assert machine is not None
    abort = {F.GUEST_RFLAGS: 0, F.EXIT_MSR_LOAD_ADDRESS: MSRS, F.EXIT_MSR_LOAD_COUNT: 1}
    root.memory.write(MSRS, struct.pack("<2Q", 0xC0000100, 0))
    with pytest.raises(Unimplemented, match="VMX abort 4: entry 1"):
        launch(root, abort)
    root.memory.write(CODE, bytes.fromhex("0f01c2"))
    root.memory.drop_stale_code()
    root.at_ring(0)
    cpu.q[RIP] = CODE
    stop = machine.run()
    assert stop.reason is Reason.UNIMPLEMENTED
    assert "VMX abort 4: entry 1" in stop.report[0]
    assert any(line.startswith("VMCS at 0x41000, clear") for line in stop.report)
    assert any("GUEST_RIP" in line for line in stop.report)


def test_the_host_goes_on_after_a_failed_entry(root: Root) -> None:
    """The same through TCG: the host's code at HOST_RIP runs, with its stack."""
    cpu, machine = root.cpu, root.machine
    assert machine is not None
    exit_of(root)
    root.at_ring(0)
    root.memory.write(CODE, bytes.fromhex("0f01c2"))
    root.memory.write(0x11000, bytes.fromhex("6a0558f4"))  # push 5; pop rax; hlt
    root.memory.drop_stale_code()
    assert machine.run().reason is Reason.HALTED
    assert (cpu.q[RIP], cpu.q[0], cpu.q[RSP]) == (0x11004, 5, 0x21000)


def test_a_32_bit_host_and_a_virtual_8086_guest(root: Root) -> None:
    """From compatibility mode VMX instructions are #UD, so the host that enters is a 32-bit one by its own right."""
    cpu = root.cpu
    before = cpu.state()
    long32 = evolve(
        before, efer=0x800, cr3=0x6000, segments=[Segment(16, 0, 0xFFFFFFFF, 0xC093), Segment(24, 0, 0xFFFFFFFF, 0xC09B),
        *[Segment(16, 0, 0xFFFFFFFF, 0xC093)] * 4],
    )  # fmt: skip
    root.memory.write(0x6000, struct.pack("<4Q", 0x3001, 0, 0, 0))
    cpu.load(long32)
    cpu.translation.flush_all()
    assert cpu.vmx is not None
    assert cpu.vmx.current is not None
    for change in (
        BASE,
        HOST,
        HOST_32,
        GUEST_32,
        V86,
        {F.GUEST_RFLAGS: 0x20000, F.HOST_CR3: 0x6000, F.HOST_SYSENTER_EIP: 0},
    ):
        put(cpu.vmx.current, change)
    root.do("0f01c2")
    after = cpu.state()
    assert field(root, F.EXIT_REASON) == 1 << 31 | 33
    assert (after.efer, after.pdptes, after.segments[1].access) == (0x800, (0x3001, 0, 0, 0), 0xC09B)
    cpu.load(before)
    cpu.translation.flush_all()
