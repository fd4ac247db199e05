"""A host on TCG that enters a guest and reads from the VMCS why it has exited; bare, and itself in a virtual machine."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, Final

import pytest

from paracell.emu.registers import RAX, RCX, RDX, RIP
from paracell.emu.stop import Reason
from paracell.vmx.fields import Field as F  # noqa: N817  (the tables have it on every line)

from ..vmx.entries import BASE, put
from .test_vmx import Root
from .test_vmx_entry import HOST
from .world import CODE, GDT, STACK3, TSS_AT

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
PRIMARY, SECONDARY = F.PRIMARY_CONTROLS, F.SECONDARY_CONTROLS


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

    def interrupt(self, vector: int) -> None:
        """Have the local APIC send its own processor an interrupt."""
        assert self.machine is not None
        lapic = self.machine.devices.lapic
        lapic.set_base(0xFEE00000 | 0xD00)
        lapic.msr_write(0x80F, 0x1FF)
        lapic.msr_write(0x83F, vector)
        self.machine.devices.changed()

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
