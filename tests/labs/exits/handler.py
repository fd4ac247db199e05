"""Lab 7: a VM exit handler.  A solution."""

from __future__ import annotations

from typing import Final, Protocol

LEAVES: Final = {0: (0xD, 0x756E6547, 0x6C65746E, 0x49656E69), 0x40000000: (0x40000000, 0x6462614C, 0x37, 0)}
"""What CPUID says, by leaf: EAX, EBX, ECX, EDX."""


REGISTERS: Final = ("rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", *(f"r{number}" for number in range(8, 16)))
GP: Final = 1 << 31 | 1 << 11 | 3 << 8 | 13
OTHERS: Final = {28: 0x3F, 30: 0x30}  # of the qualification: what is not MOV to CR0; string instructions
U32, U64 = (1 << 32) - 1, (1 << 64) - 1


class Vm(Protocol):
    """The guest as it has left: its fields in the VMCS, and its general registers."""

    rax: int
    rbx: int
    rcx: int
    rdx: int
    rsp: int
    rbp: int
    rsi: int
    rdi: int
    r8: int  # and so on to r15

    def read(self, field: str) -> int:
        """Read a field of the VMCS: ``GUEST_RIP``, ``EXIT_REASON``, ``EXIT_QUALIFICATION``, ``EXIT_INSTRUCTION_LENGTH`` …."""

    def write(self, field: str, value: int) -> None:
        """Write a field of the VMCS."""


class Handler:
    """The host of one guest.

    Attributes:
        console: the characters that the guest has sent to port 3F8H.
        msrs: the MSRs that the guest has, by number.
        why: for a guest that is ended by you: a line that says why.

    """

    def __init__(self) -> None:
        self.console = bytearray()
        self.msrs = {0xC0000103: 0}
        self.why = ""

    def handle(self, vm: Vm) -> bool:
        """Dispatch by the reason, and skip the instruction unless it faults."""
        reason = vm.read("EXIT_REASON") & 0xFFFF
        known = {10: self.cpuid, 18: self.call, 28: self.control, 30: self.port, 31: self.rdmsr, 32: self.wrmsr}
        if reason == 12:
            return False
        if reason not in known or vm.read("EXIT_QUALIFICATION") & OTHERS.get(reason, 0):
            self.why = f"exit reason {reason} at {vm.read('GUEST_RIP'):#x}"
            return False
        if known[reason](vm):
            vm.write("GUEST_RIP", vm.read("GUEST_RIP") + vm.read("EXIT_INSTRUCTION_LENGTH"))
        else:
            vm.write("ENTRY_INTERRUPTION_INFO", GP)
            vm.write("ENTRY_ERROR_CODE", 0)
        return True

    def cpuid(self, vm: Vm) -> bool:
        """Answer from the table."""
        vm.rax, vm.rbx, vm.rcx, vm.rdx = LEAVES.get(vm.rax & U32, (0, 0, 0, 0))
        return True

    def call(self, vm: Vm) -> bool:
        """Do a hypercall."""
        vm.rax = (vm.rbx + vm.rcx if vm.rax == 1 else -1000) & U64
        return True

    def port(self, vm: Vm) -> bool:
        """Be a serial line, and nothing else."""
        said = vm.read("EXIT_QUALIFICATION")
        port, size = said >> 16 & 0xFFFF, (said & 7) + 1
        mask = (1 << 8 * size) - 1
        if not said & 8:
            if (port, size) == (0x3F8, 1):
                self.console.append(vm.rax & 0xFF)
            return True
        value = 0x20 if (port, size) == (0x3FD, 1) else mask
        vm.rax = value if size == 4 else vm.rax & ~mask | value
        return True

    def rdmsr(self, vm: Vm) -> bool:
        """Read an MSR, if there is one."""
        value = self.msrs.get(vm.rcx & U32)
        if value is None:
            return False
        vm.rax, vm.rdx = value & U32, value >> 32
        return True

    def wrmsr(self, vm: Vm) -> bool:
        """Write an MSR, if there is one."""
        if vm.rcx & U32 not in self.msrs:
            return False
        self.msrs[vm.rcx & U32] = (vm.rdx & U32) << 32 | vm.rax & U32
        return True

    def control(self, vm: Vm) -> bool:
        """Show the guest what it wrote, and keep what the host owns."""
        value = getattr(vm, REGISTERS[vm.read("EXIT_QUALIFICATION") >> 8 & 15])
        mask = vm.read("CR0_MASK")
        vm.write("CR0_READ_SHADOW", value)
        vm.write("GUEST_CR0", vm.read("GUEST_CR0") & mask | value & ~mask)
        return True
