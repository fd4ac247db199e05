"""What a detailed trace keeps besides each event: registers, call stack, page walk, changed VMCS fields, the container's number.

It only reads, and walks without a trace, so that the run and its events are those of an ordinary trace.

::

    "detail": {"registers": {"rax": 1, …},            those that differ from the line before
               "stack": ["kernel!sys_write+0x12", …],  innermost first
               "walk": {…},                            of a page walk, a page fault, an EPT violation: see `walk_record`
               "vmcs": [{"name", "at", "changed": {"GUEST_RIP": [old, new], …}}],   at exits and entries
               "container": 0}                         of the host's, where it has them
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from .emu import layout
from .emu.events import Kind
from .emu.msr_index import IA32_KERNEL_GS_BASE
from .emu.registers import FS, GENERAL, GS
from .mmu.explain import look
from .mmu.rights import EXEC, READ, WRITE
from .mmu.walk import Mode
from .stack import frames
from .tenants import Turns
from .vmx.fields import Field

if TYPE_CHECKING:
    from .emu.cpu import Cpu
    from .emu.events import Event
    from .emu.machine import Machine
    from .mmu.explain import Walk
    from .vmx.vmcs import Vmcs

_CROSSINGS: Final = frozenset({Kind.VM_EXIT, Kind.VM_ENTRY, Kind.REFLECTION, Kind.MERGE})
_FIELDS: Final = tuple((int(field), field.name) for field in Field)
_PAGE_FAULT: Final = 14
_WRITE_FAULT, _USER_FAULT, _FETCH_FAULT = 2, 4, 16  # bits of its error code
_VIOLATION_WRITES, _VIOLATION_FETCHES = 2, 4  # of an exit qualification


def registers(cpu: Cpu) -> dict[str, int]:
    """Give the registers by name, as they are at this moment."""
    q, d = cpu.q, cpu.d
    found = {name: int(q[number]) for number, name in enumerate((*GENERAL, "rip"))}
    found["rflags"] = int(cpu.rflags)
    for number, name in enumerate(("es", "cs", "ss", "ds", "fs", "gs")):
        found[name] = int(d[layout.SEGMENTS + 24 * number >> 2]) & 0xFFFF
    found["fs_base"] = int(q[layout.SEGMENTS + 24 * FS + 8 >> 3])
    found["gs_base"] = int(q[layout.SEGMENTS + 24 * GS + 8 >> 3])
    found["k_gs_base"] = cpu.msr.get(IA32_KERNEL_GS_BASE, 0)
    found |= {"cr0": cpu.cr0, "cr2": cpu.cr2, "cr3": cpu.cr3, "cr4": cpu.cr4, "efer": cpu.efer}
    guest = cpu.guest
    found |= {"pkru": cpu.pkru, "pkrs": cpu.pkrs, "cpl": cpu.cpl, "guest_level": 0 if guest is None else guest.level}
    return found


def walk_record(walk: Walk) -> dict[str, Any]:
    """Give a walk as plain values without the fields of its entries, which follow from them."""
    record = walk.as_dict()
    for step in (*record["steps"], *(step for stage in record["ept"] for step in stage["steps"])):
        del step["fields"]
    for refusal in (record["fault"], record["exit"]):
        if refusal is not None:
            refusal["bits"] = [name for name, value in refusal["bits"].items() if value]
    return record


class Detail:
    """Looks at a machine when an event comes."""

    def __init__(self, machine: Machine) -> None:
        self._machine, self._cpu = machine, machine.cpu
        self._registers: dict[str, int] = {}
        self._vmcs: dict[int, dict[int, int]] = {}
        self._turns = Turns(machine)

    def __call__(self, event: Event) -> dict[str, Any]:
        """Give what is kept besides this event; without what there is not."""
        now, before = registers(self._cpu), self._registers
        self._registers = now
        found: dict[str, Any] = {"registers": {name: value for name, value in now.items() if before.get(name) != value}}
        name = self._machine.symbols.name
        found["stack"] = [name(at) for at in frames(self._machine, event.rip, now["rsp"], now["rbp"])]
        walk = self._walk(event)
        if walk is not None:
            found["walk"] = walk_record(walk)
        if event.kind in _CROSSINGS:
            found["vmcs"] = self._changes()
        self._turns.see(event)
        if self._turns.container is not None:
            found["container"] = self._turns.container[0]
        return found

    # ---- walks ------------------------------------------------------------------------------------------------

    def _walk(self, event: Event) -> Walk | None:
        """Walk again for what the event is about."""
        data = event.data
        if event.kind is Kind.PAGE_WALK:
            gva, need, frame, refused = data[:4]
            found = self._explain(gva, need)
            if found is not None and (found.refused != bool(refused) or (found.frame or 0) != frame):
                # An access of the processor's own to a system structure, such as a descriptor.
                translation = self._cpu.translation
                system = translation.context(user=False, system=True)
                found = look(self._machine.memory, translation.paging, system, gva, need, translation.second)
            return found
        if event.kind is Kind.EXCEPTION and data[0] == _PAGE_FAULT:
            error, gva = data[1:3]
            need = EXEC if error & _FETCH_FAULT else WRITE if error & _WRITE_FAULT else READ
            return self._explain(gva, need, user=bool(error & _USER_FAULT))
        if event.kind is Kind.EPT_VIOLATION and event.qualification:
            qualification, gva = data[2:4]
            need = EXEC if qualification & _VIOLATION_FETCHES else WRITE if qualification & _VIOLATION_WRITES else READ
            return self._explain(gva, need)
        return None

    def _explain(self, gva: int, need: int, *, user: bool | None = None) -> Walk | None:
        translation = self._cpu.translation
        if translation.paging.mode is Mode.NONE and translation.second is None:
            return None
        return translation.explain(gva, need, user=user)

    # ---- virtual machines -------------------------------------------------------------------------------------

    def _changes(self) -> list[dict[str, Any]]:
        """Give the fields of each VMCS that differ from when it was last looked at; all that are not 0, the first time."""
        vmx, outer = self._cpu.vmx, self._cpu.outer
        known: list[tuple[str, Vmcs | None]] = [
            ("VMCS01", None if outer is None else outer.vmcs01),
            ("VMCS12" if outer is not None else "VMCS", None if vmx is None else vmx.current),
        ]
        found = []
        for name, vmcs in known:
            if vmcs is None:
                continue
            now = {number: vmcs[number] for number, _ in _FIELDS}
            before = self._vmcs.get(vmcs.address, {})
            self._vmcs[vmcs.address] = now
            changed = {
                field: [before.get(number, 0), now[number]]
                for number, field in _FIELDS
                if before.get(number, 0) != now[number]
            }
            found.append({"name": name, "at": vmcs.address, "changed": changed})
        return found
