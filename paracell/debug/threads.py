"""The containers of a host as gdb's threads: one has the processor, and each other one sleeps on its own stack in the host.

::

    switch_context:  push …; mov %rsp, (%rdi); mov %rsi, %rsp; pop …; ret        (guest/kernel/task/switch.S)
                                                               ▲
                             where a container that sleeps goes on; its RSP is host_rsp of struct container

A thread's number is the container's and one more.  A machine without a host of ours has thread 1, its processor.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from attrs import evolve, frozen

from ..host_variables import HOST_DIRECT, RUNNING, HostVariables
from ..runtimes import MAX_CONTAINERS

if TYPE_CHECKING:
    from ..machine import Machine

# struct container, guest/host/core/host.h, and struct vcpu of the runtimes within it.
HOST_RSP: Final = 88
VCPU: Final = 608
TEMPLATE, SPACES, CURRENT = 0, 8, 4120  # guest/host/paracell/vcpu.h
MAX_SPACES: Final = 512
SWITCHER: Final = 728  # guest/pvm/vcpu.h
VMCS: Final = 136  # guest/runv/vcpu.h
BOOT_STACK: Final = 16384  # bytes: guest/x86/boot.S
_WORD: Final = 8
_LONGEST: Final = 64  # bytes of switch_context
_SWITCH: Final = bytes.fromhex("4889f4")  # mov %rsi, %rsp


@frozen
class Asleep:
    """A container that does not run.

    Attributes:
        rip, rsp: where its turn will begin.
        host: the physical address of the top-level table that has the host alone.
        space: the physical address of its top-level table under ParaCell, else 0.
        switcher: that of its struct switcher under PVM, else 0.
        vmcs: that of its VMCS under RunV, else 0.

    """

    rip: int
    rsp: int
    host: int
    space: int = 0
    switcher: int = 0
    vmcs: int = 0


class Threads:
    """The containers of one machine.

    Attributes:
        host: the variables of the machine's host, or None.
        leaves: where the one that runs begins to sleep: at the change of stacks; 0 without a host.

    """

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._boot_stack = range(0)
        self.leaves = 0
        host = HostVariables.of(machine.inner)
        self.host = host if host is not None and self._find(host) else None

    def _find(self, host: HostVariables) -> bool:
        """Find the switch of stacks, and the boot stack, while the code is what was loaded; False where it is no host of ours."""
        symbols = self._machine.symbols
        code, boot = (symbols.address(f"{host.image}!{name}") for name in ("switch_context", "boot_stack_top"))
        if code is None or boot is None or f"{host.image}!boot_pml4" not in symbols:
            return False
        self._boot_stack = range(boot - BOOT_STACK, boot)
        offset = host.read(code, _LONGEST).find(_SWITCH)
        self.leaves = code + offset
        return offset >= 0

    def all(self) -> list[int]:
        """Give the number of each thread that there is."""
        host, current = self.host, self.current()
        if host is None:
            return [current]
        begun = {n + 1 for n in range(MAX_CONTAINERS) if host.container(n)[2] in RUNNING}
        return sorted(begun | {current})

    def current(self) -> int:
        """Give the thread that has the processor.

        In the host that is whose stack it stands on: `self` changes before the stack does, and for a moment where something is done for
        each container.  On the boot stack it is the first one, whatever is being loaded.
        """
        host = self.host
        if host is None:
            return 1
        below = self._machine.cpu.rsp - 1
        if self._in_host and below in host.containers:
            return (below - host.containers.start) // host.size + 1
        return 1 if self._in_host and below in self._boot_stack else host.turn() + 1

    @property
    def _in_host(self) -> bool:
        """The host runs: a guest of RunV's may have the same addresses."""
        cpu = self._machine.inner.cpu
        return (cpu.guest is None or cpu.guest.of_l0) and cpu.cpl == 0

    def is_at_switch(self, thread: int) -> bool:
        """Tell whether a thread has the processor, and is at `leaves` or `resumes`."""
        return self._in_host and self.current() == thread and self._machine.cpu.rip in {self.leaves, self.resumes}

    def says(self, thread: int) -> str:
        """Say what a thread is, in QEMU's words as far as it has any."""
        state = "halted" if self._machine.inner.cpu.halted else "running"
        if self.host is None:
            return f"CPU#0 [{state}]"
        return f"container {thread - 1}, " + (f"CPU#0 [{state}]" if thread == self.current() else "asleep in the host")

    # ---- those that sleep -------------------------------------------------------------------------------------

    def asleep(self, thread: int) -> Asleep | None:
        """Give where a thread sleeps; None for the one that has the processor."""
        host = self.host
        if host is None or thread == self.current():
            return None
        place, symbols = host.place(thread - 1), self._machine.symbols
        vcpu = place + VCPU
        found = Asleep(self.resumes, host.word(place + HOST_RSP), symbols[f"{host.image}!boot_pml4"])
        if f"{host.image}!switcher" in symbols:
            return evolve(found, switcher=host.physical(vcpu + SWITCHER))
        if f"{host.image}!vm_exit" in symbols:
            return evolve(found, vmcs=self._pointed(vcpu + VMCS))
        space = host.word(vcpu + CURRENT)
        return evolve(
            found,
            space=self._pointed(vcpu + SPACES + _WORD * (space - 1) if 0 < space <= MAX_SPACES else vcpu + TEMPLATE),
        )

    def _pointed(self, address: int) -> int:
        """Give the physical address that a pointer of the host's holds; 0 where it points to no memory."""
        assert self.host is not None
        place = self.host.word(address) - HOST_DIRECT
        return place if place >= 0 and self._machine.memory.is_ram(place) else 0

    @property
    def resumes(self) -> int:
        """Where each container that sleeps goes on."""
        return self.leaves + len(_SWITCH)


__all__ = ["Asleep", "Threads"]
