"""VMX instructions as a guest runs them: order of checks, flags, error numbers, faults (SDM "VMX Instruction Reference")."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

import pytest

from paracell.emu import faults
from paracell.emu.decode import decode
from paracell.emu.features import DEFAULT, parse
from paracell.emu.registers import RAX, RBX, RCX, RDX, RIP
from paracell.vmx.caps import REVISION
from paracell.vmx.fields import Field

from .guest import GP, UD, Guest
from .world import CODE, UNMAPPED

if TYPE_CHECKING:
    from collections.abc import Iterator

    from paracell.emu.nesting import NestedOptions

VMXON, FIRST, SECOND = 0x40000, 0x41000, 0x42000
POINTER: Final = 0x50000  # the m64 that [rbx] is
CF, PF, AF, ZF, SF, OF = 1, 4, 0x10, 0x40, 0x80, 0x800
ARITHMETIC: Final = CF | PF | AF | ZF | SF | OF
INSTRUCTIONS: Final = {
    "vmxon": "f30fc733", "vmclear": "660fc733", "vmptrld": "0fc733", "vmptrst": "0fc73b", "vmread": "0f78c2", "vmwrite": "0f79c2",
    "vmxoff": "0f01c4", "vmcall": "0f01c1", "vmlaunch": "0f01c2", "vmresume": "0f01c3", "invept": "660f388013", "invvpid": "660f388113",
}  # fmt: skip
FEATURE_CONTROL, VMXE, NE = 0x3A, 1 << 13, 1 << 5


class Root(Guest):
    """A processor with VMX, ready for VMXON; `run` gives the arithmetic flags, or raises the fault."""

    def __init__(self, *, nested: NestedOptions | bool = False) -> None:
        super().__init__(parse("pks,+vmx"), nested=nested)
        self.cr4 |= VMXE
        for at in (VMXON, FIRST, SECOND):
            self.memory.write(at, struct.pack("<2Q", REVISION, 0))

    def ready(self) -> None:
        """Be as before VMXON: of a processor at ring 0 that may run it."""
        cpu = self.cpu
        cpu.vmx = None
        cpu.msr.clear()
        cpu.msr[FEATURE_CONTROL] = 5
        cpu.set_cr0(0x80000031)
        cpu.set_cr4(self.cr4)
        self.at_ring(0)

    def run(self, name: str, operand: int | None = None, **registers: int) -> int:
        cpu = self.cpu
        code = bytes.fromhex(INSTRUCTIONS[name])
        if operand is not None:
            self.memory.write(POINTER, struct.pack("<2Q", operand, 0))
        cpu.q[RIP], cpu.q[RBX] = CODE, POINTER
        for number, register in ((RAX, "rax"), (RBX, "rbx"), (RCX, "rcx"), (RDX, "rdx")):
            if register in registers:
                cpu.q[number] = registers[register]
        cpu.rflags = ARITHMETIC | 2
        before = cpu.state()
        try:
            self.do(code.hex())
        except faults.Fault:
            assert cpu.state() == before
            raise
        assert cpu.q[RIP] == CODE + len(code)
        assert cpu.rflags & ~ARITHMETIC == 2
        return cpu.rflags & ARITHMETIC

    def enter(self, *, current: bool = True) -> None:
        self.ready()
        assert self.run("vmxon", VMXON) == 0
        if current:
            assert self.run("vmclear", FIRST) == 0
            assert self.run("vmptrld", FIRST) == 0

    def failed(self) -> int:
        """Read the VM-instruction error."""
        assert self.run("vmread", rax=int(Field.INSTRUCTION_ERROR)) == 0
        return int(self.cpu.q[RDX])


@pytest.fixture(scope="module")
def module_root() -> Iterator[Root]:
    root = Root()
    yield root
    root.close()


@pytest.fixture
def root(module_root: Root) -> Root:
    module_root.ready()
    return module_root


# ---- without the feature, and outside VMX operation --------------------------------------------------------------------


def test_without_vmx() -> None:
    guest = Guest(DEFAULT)
    assert not guest.cpuid(1)[RCX] >> 5 & 1
    for code in INSTRUCTIONS.values():
        assert guest.vector(code, rbx=POINTER) == UD, code
    for number in (FEATURE_CONTROL, *range(0x480, 0x493)):
        assert guest.rdmsr(number) == GP
        assert guest.wrmsr(number, 0) == GP
    guest.close()


def test_with_vmx(root: Root) -> None:
    assert root.cpuid(1)[RCX] >> 5 & 1
    caps = root.cpu.features.vmx
    assert caps is not None
    for number in range(0x480, 0x491):
        assert root.rdmsr(number) is None
        assert root.cpu.q[RAX] | root.cpu.q[RDX] << 32 == caps.msrs[number]
        assert root.wrmsr(number, caps.msrs[number]) == GP
    assert root.rdmsr(0x491) == GP  # IA32_VMX_VMFUNC: no VM functions


def test_outside_vmx_operation_each_but_vmxon_is_undefined(root: Root) -> None:
    for name, code in INSTRUCTIONS.items():
        if name != "vmxon":
            assert root.vector(code, rbx=POINTER) == UD, name
    for cpl in (0, 3):
        root.at_ring(cpl)
        with pytest.raises(faults.UD):
            root.do(INSTRUCTIONS["vmxoff"])


def test_feature_control(root: Root) -> None:
    root.cpu.msr.clear()
    assert root.rdmsr(FEATURE_CONTROL) is None
    assert root.cpu.q[RAX] == 0
    assert [root.wrmsr(FEATURE_CONTROL, value) for value in (2, 8, 1 << 63, 4, 0, 5)] == [GP, GP, GP, None, None, None]
    assert [root.wrmsr(FEATURE_CONTROL, value) for value in (5, 0)] == [GP, GP]
    assert root.rdmsr(FEATURE_CONTROL) is None
    assert root.cpu.q[RAX] == 5


# ---- VMXON -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("control", [0, 1, 4])
def test_vmxon_needs_feature_control(root: Root, control: int) -> None:
    root.cpu.msr[FEATURE_CONTROL] = control
    with pytest.raises(faults.GP):
        root.run("vmxon", VMXON)


def test_vmxon_by_mode_and_privilege(root: Root) -> None:
    root.cpu.set_cr4(root.cr4 & ~VMXE)
    root.at_ring(3)
    with pytest.raises(faults.UD):  # before the privilege level
        root.run("vmxon", VMXON)
    root.ready()
    root.at_ring(3)
    with pytest.raises(faults.GP):
        root.run("vmxon", VMXON)
    root.at_ring(0, compatible=True)
    with pytest.raises(faults.UD):
        root.run("vmxon", VMXON)
    root.ready()
    root.cpu.set_cr0(0x80000011)
    with pytest.raises(faults.GP):
        root.run("vmxon", VMXON, rbx=UNMAPPED)  # before the operand
    root.ready()
    with pytest.raises(faults.PF):
        root.run("vmxon", rbx=UNMAPPED)


@pytest.mark.parametrize("region", [VMXON + 8, VMXON | 1 << 52, 1 << 63, 0x43000, 1 << 32, 0x200000])
def test_vmxon_regions_that_are_refused(root: Root, region: int) -> None:
    root.memory.write(0x43000, struct.pack("<Q", REVISION | 1 << 31))
    assert root.run("vmxon", region) == CF
    assert root.cpu.vmx is None


def test_vmxon_in_root_operation(root: Root) -> None:
    root.enter(current=False)
    assert root.run("vmxon", VMXON) == CF
    root.enter()
    assert root.run("vmxon", VMXON + 1) == ZF
    assert root.failed() == 15
    root.at_ring(3)
    with pytest.raises(faults.GP):
        root.run("vmxon", VMXON)


# ---- in root operation -------------------------------------------------------------------------------------------------


def test_at_ring_3_and_in_compatibility_mode(root: Root) -> None:
    root.enter()
    for name in INSTRUCTIONS:
        root.at_ring(3)
        with pytest.raises(faults.GP):
            root.run(name)
        root.at_ring(3, compatible=True)
        if name != "vmxoff":
            with pytest.raises(faults.UD):
                root.run(name)


def test_fixed_bits(root: Root) -> None:
    root.enter()
    assert root.vector("0f22c0", rax=0x80000011) == GP
    assert root.vector("0f22c0", rax=0x80000033) is None
    assert root.vector("0f22e0", rax=root.cr4 & ~VMXE) == GP
    assert root.vector("0f22e0", rax=root.cr4 ^ 1 << 7) is None
    assert root.vector(INSTRUCTIONS["vmxoff"] + "0f22c0", rax=0x80000011) is None
    assert root.cpu.cr0 == 0x80000011


def test_paging_can_be_left_from_compatibility_mode_but_not_in_vmx_operation(root: Root) -> None:
    root.enter()
    cpu = root.cpu
    root.at_ring(0, compatible=True)
    cpu.q[RAX] = 0x31
    inside = cpu.state()
    with pytest.raises(faults.GP):
        root.do("0f22c0")
    cpu.q[RAX] = 0x80000030
    with pytest.raises(faults.GP):
        root.do("0f22c0")
    cpu.load(inside)
    cpu.vmx = None
    root.do("0f22c0")
    assert cpu.cr0 == 0x31
    cpu.load(inside)


def test_instructions_fail_as_the_manual_says(root: Root) -> None:
    cases: tuple[tuple[str, int | None, dict[str, int], int], ...] = (
        ("vmcall", None, {}, 1),
        ("vmclear", FIRST + 1, {}, 2),
        ("vmclear", FIRST | 1 << 60, {}, 2),
        ("vmclear", VMXON, {}, 3),
        ("vmresume", None, {}, 5),
        ("vmptrld", FIRST + 8, {}, 9),
        ("vmptrld", VMXON, {}, 10),
        ("vmptrld", 0x60000, {}, 11),
        ("vmread", None, {"rax": 0x2016}, 12),
        ("vmread", None, {"rax": 1 << 32}, 12),
        ("vmwrite", None, {"rax": 0x2016}, 12),
        ("invvpid", 1, {"rdx": 4}, 28),
        ("invvpid", 0, {"rdx": 1}, 28),
        ("invvpid", 0x10001, {"rdx": 2}, 28),
        ("invept", 0x1000 | 0x1E, {"rdx": 0}, 28),
        ("invept", 0x1000 | 0x1E, {"rdx": 3}, 28),
        ("invept", 0x1000 | 0x1D, {"rdx": 1}, 28),
        ("invept", 0x1000 | 0x16, {"rdx": 1}, 28),
        ("invept", 0x1000 | 0x9E, {"rdx": 1}, 28),
        ("invept", 1 << 52 | 0x1E, {"rdx": 1}, 28),
    )
    root.enter()
    for name, operand, registers, number in cases:
        assert root.run(name, operand, **registers) == ZF, (name, operand)
        assert root.failed() == number, (name, operand)
    root.enter(current=False)
    for name, operand, registers, _ in cases:
        assert root.run(name, operand, **registers) == CF, (name, operand)


def test_invvpid_of_an_address_that_is_not_canonical(root: Root) -> None:
    root.enter()
    root.memory.write(POINTER, struct.pack("<2Q", 1, 1 << 47))
    assert root.run("invvpid", rdx=0) == ZF
    assert root.failed() == 28
    assert root.run("invvpid", rdx=1) == 0


def test_invalidations_that_succeed(root: Root) -> None:
    root.enter()
    for kind in range(4):
        assert root.run("invvpid", 1, rdx=kind) == 0
    assert root.run("invvpid", 0, rdx=2) == 0
    for eptp in (0x1000 | 0x1E, 0x1000 | 0x58 | 6, 0x1000 | 0x18):
        assert root.run("invept", eptp, rdx=1) == 0
    assert root.run("invept", (1 << 64) - 1, rdx=2) == 0  # the EPTP does not count


def test_vmptrst(root: Root) -> None:
    root.enter(current=False)
    assert root.run("vmptrst", 5) == 0
    assert root.words(POINTER, 1) == ((1 << 64) - 1,)
    root.run("vmptrld", FIRST)
    assert root.run("vmptrst") == 0
    assert root.words(POINTER, 1) == (FIRST,)
    root.run("vmclear", FIRST)
    assert root.run("vmptrst") == 0
    assert root.words(POINTER, 1) == ((1 << 64) - 1,)


def test_two_vmcss(root: Root) -> None:
    root.enter()
    assert root.run("vmwrite", rax=int(Field.GUEST_RIP), rdx=1) == 0
    assert root.run("vmptrld", SECOND) == 0
    assert root.run("vmwrite", rax=int(Field.GUEST_RIP), rdx=2) == 0
    assert root.run("vmptrld", FIRST) == 0
    assert root.run("vmread", rax=int(Field.GUEST_RIP)) == 0
    assert root.cpu.q[RDX] == 1
    assert root.run("vmclear", SECOND) == 0
    root.memory.write(0x45000, root.memory.read(SECOND, 4096))
    assert root.run("vmptrld", 0x45000) == 0
    assert root.run("vmread", rax=int(Field.GUEST_RIP)) == 0
    assert root.cpu.q[RDX] == 2


@pytest.mark.parametrize("code", ["0f7803", "0f7903"])
def test_a_fault_of_the_operand_leaves_the_flags(root: Root, code: str) -> None:
    root.enter()
    root.cpu.q[RBX], root.cpu.q[RAX], root.cpu.rflags = UNMAPPED, int(Field.GUEST_RIP), 0x2 | CF | SF
    with pytest.raises(faults.PF):
        root.do(code)
    assert root.cpu.rflags == 0x2 | CF | SF


def test_a_field_that_is_not_there_comes_before_the_operand_of_vmwrite(root: Root) -> None:
    root.enter()
    root.cpu.q[RBX], root.cpu.q[RAX] = UNMAPPED, 0x2016
    root.do("0f7903")
    assert root.cpu.rflags & ARITHMETIC == ZF


def test_through_tcg(root: Root) -> None:
    """The same instructions where a guest runs them, in a row, with memory operands."""
    root.enter()
    root.memory.write(POINTER, struct.pack("<Q", 0x1122334455667788))
    code = "0f79030f7843080f78c2"  # vmwrite rax, [rbx]; vmread [rbx+8], rax; vmread rdx, rax
    assert root.vector(code, rax=int(Field.TSC_OFFSET), rbx=POINTER) is None
    assert root.words(POINTER, 2) == (0x1122334455667788,) * 2
    assert root.cpu.q[RDX] == 0x1122334455667788


@pytest.mark.parametrize(
    ("code", "mode", "mnemonic"),
    [
        ("660fc737", 16, "vmclear"),
        ("0fc737", 16, "vmptrld"),
        ("660fc73f", 16, "invalid"),
        ("660fc73b", 64, "invalid"),
        ("f30fc737", 16, "vmxon"),
        ("660f388007", 16, "invept"),
        ("660f388107", 16, "invvpid"),
        ("0f388103", 64, "invalid"),
        ("660f78c2", 64, "invalid"),
        ("f20fc733", 64, "invalid"),
        ("660f01d4", 64, "invalid"),
    ],
)
def test_encodings(code: str, mode: int, mnemonic: str) -> None:
    raw = bytes.fromhex(code)
    insn = decode(raw + bytes(15 - len(raw)), mode)
    assert insn.mnemonic == mnemonic
    assert mnemonic == "invalid" or insn.length == len(raw)


# ---- VMLAUNCH and VMRESUME ---------------------------------------------------------------------------------------------


def test_the_basic_checks_of_vm_entry(root: Root) -> None:
    root.enter(current=False)
    assert root.run("vmlaunch") == CF
    root.memory.write(0x44000, struct.pack("<Q", REVISION | 1 << 31))
    assert root.run("vmptrld", 0x44000) == 0
    assert root.run("vmlaunch") == CF  # a shadow VMCS
    root.enter()
    assert root.run("vmresume") == ZF
    assert root.failed() == 5
    assert root.cpu.vmx is not None
    assert root.cpu.vmx.current is not None
    root.cpu.vmx.current.launched = True
    assert root.run("vmlaunch") == ZF
    assert root.failed() == 4
    root.cpu.interrupt_shadow, root.cpu.shadow_at = 2, CODE
    assert root.run("vmlaunch") == ZF
    assert root.failed() == 26  # before the launch state
    root.cpu.interrupt_shadow = 0
