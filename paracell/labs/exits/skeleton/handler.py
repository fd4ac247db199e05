"""Lab 7: a VM exit handler.  You write ``Handler.handle``."""

from __future__ import annotations

from typing import Final, Protocol

LEAVES: Final = {0: (0xD, 0x756E6547, 0x6C65746E, 0x49656E69), 0x40000000: (0x40000000, 0x6462614C, 0x37, 0)}
"""What CPUID says, by leaf: EAX, EBX, ECX, EDX."""


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
        """Handle one exit; True lets the guest go on, False ends it."""
        raise NotImplementedError
