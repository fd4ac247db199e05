"""How Python itself reaches linear memory: walks, accesses, fetches, the faults of refused ones, and explanations."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from ..mmu import rights
from ..mmu.address import SIGNS
from ..mmu.explain import Still, Walk, look, physical
from ..mmu.rights import EXEC, READ, WRITE, Context
from ..mmu.walk import (
    INDEX_MASK,
    NOT_CANONICAL,
    NOT_PRESENT,
    RIGHTS,
    SIZE,
    Mode,
    Refusal,
    SecondStageFault,
    attributes,
    error_code,
    walk,
)
from .events import Kind
from .faults import GP, PF, Fault, Unimplemented
from .invalidation import Invalidation
from .second_stage import second_stage_exit

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..vmx.exits import VmExit
    from .contexts import Slot

_LEVEL4, _PAGE_WALK = Mode.LEVEL4, Kind.PAGE_WALK  # a member read off the class takes 0.1 µs


class Lookup(Invalidation):
    """The part of the processor's view of linear memory that looks things up."""

    if TYPE_CHECKING:
        has_globals: bool

    def _walk(self, gva: int, need: int, table: bytes | None = None) -> int:
        """Walk and cache; negative where refused.  Non-canonical addresses are refused before any table is read."""
        paging, second = self.paging, self.second
        mode = paging.mode
        if mode is _LEVEL4:
            if gva >> 47 not in SIGNS:
                return NOT_CANONICAL
        elif not mode and second is None:
            return gva & 0xFFFFF000 | 0x20F
        cpu = self.cpu
        if cpu.emit is not None or cpu.costs.walk or cpu.costs.ept_read:
            entry = self._told_walk(gva, need, table or self.table)
        elif self.walk4 is not None:
            entry = self.walk4(gva, need, table or self.table)
        elif second is not None:
            entry = second.translate(paging, gva, need, table or self.table)
        else:
            entry = walk(self.memory, paging, gva, need, table or self.table)
        if entry >= 0 and entry & SIZE:
            self.tlb.insert(gva >> 12, entry, use_global=self.has_globals)
        return entry

    def _told_walk(self, gva: int, need: int, table: bytes) -> int:
        """Walk, and tell of it: how many entries were read of the tables, and how many of the EPT."""
        cpu, second = self.cpu, self.second
        entry, trail, entries = NOT_PRESENT, list[int](), 0
        try:
            if second is None:
                entry = walk(self.memory, self.paging, gva, need, table, trail)
            else:
                second.entries = 0
                entry = second.translate(self.paging, gva, need, table, trail)
        except SecondStageFault as fault:
            entry = fault.result
            raise
        finally:
            if second is not None:
                entries = second.entries
            cpu.event(
                _PAGE_WALK,
                gva,
                need,
                max(entry, 0) & ~0xFFF,
                -min(entry, 0),
                len(trail) >> 1,
                entries,
                cost=cpu.costs.walk + entries * cpu.costs.ept_read,
            )
        return entry

    # ---- what the second stage refuses ------------------------------------------------------------------------

    def refuse(self, fault: SecondStageFault, gva: int, need: int) -> Refusal:
        """Drop what translated a linear address whose final address the second stage refuses, and say what was refused."""
        gpa = fault.gpa
        if fault.final:
            self.drop_used(gva)
            gpa = gpa & ~0xFFF | gva & 0xFFF  # a fill knows the page only
        return Refusal(fault.result, gva, need, gpa, fault.qualification)

    # ---- Python's own accesses --------------------------------------------------------------------------------

    def locate(self, gva: int, *, write: bool, system: bool = False, user: bool | None = None) -> int:
        """Give the physical address of a data access; raises #PF (the address is canonical already)."""
        need = WRITE if write else READ
        if system:
            context = self.context(user=False, system=True)
            table = self.rights_of(context)
        elif user is not None:
            context = self.context(user=user)
            table = self.rights_of(context)
        else:
            context, table = self.current, self.table
        try:
            entry = self._lookup(gva, need, table)
        except SecondStageFault as fault:
            raise second_stage_exit(self.cpu, self.refuse(fault, gva, need)) from None
        if entry < 0:
            raise self.page_fault(Refusal(entry, gva, need), context)
        return entry & ~0xFFF | gva & 0xFFF

    def _system_rights(self, slot: Slot) -> bytes:
        """Give the rights of implicit supervisor accesses: the same as long as the slot keeps its context."""
        context = self.context(user=False, system=True)
        slot.system = self.rights_of(context)
        return slot.system

    def probe(self, gva: int, size: int, need: int, *, system: bool = False) -> int:
        """Give the physical address of an access that needs no walk: cached, allowed, in one page of RAM; else -1."""
        entry = self.tlb.current.get(gva >> 12)
        if entry is None:
            entry = self.tlb.shared.get(gva >> 12) if self.has_globals else None
            if entry is None:
                return -1
        if system:
            slot = self.slots[self.current_slot]
            table = slot.system or self._system_rights(slot)
        else:
            table = self.table
        at = gva & 0xFFF
        pa = entry & ~0xFFF | at
        if at + size > 0x1000 or pa >= self.memory.low or not table[entry & INDEX_MASK] & need:
            return -1
        return pa

    def bind_probe(self) -> Callable[[int, int, int, bytes], int]:
        """Make `probe_with`: as `probe`, with the rights of another context, and with all that it touches bound."""
        tlb, low = self.tlb, self.memory.low

        def probe_with(gva: int, size: int, need: int, table: bytes) -> int:
            vpn, at = gva >> 12, gva & 0xFFF
            entry = tlb.current.get(vpn)
            if entry is None:
                entry = tlb.shared.get(vpn) if self.has_globals else None
                if entry is None:
                    return -1
            pa = entry & ~0xFFF | at
            return pa if at + size <= 0x1000 and pa < low and table[entry & INDEX_MASK] & need else -1

        return probe_with

    def _cached(self, vpn: int) -> int | None:
        entry = self.tlb.current.get(vpn)
        return self.tlb.shared.get(vpn) if entry is None and self.has_globals else entry

    def _glance(self, gva: int) -> int:
        """Walk for a fetch, and leave no trace: no accessed bit, no TLB entry, no event."""
        mode, second = self.paging.mode, self.second
        if not mode and second is None:
            return gva & 0xFFFFF000
        if mode is _LEVEL4 and gva >> 47 not in SIGNS:
            return NOT_CANONICAL
        if second is None:
            return walk(Still(self.memory), self.paging, gva, EXEC, self.table, [])
        try:
            return second.still().translate(self.paging, gva, EXEC, self.table)
        except SecondStageFault as fault:
            return fault.result

    def _lookup(self, gva: int, need: int, table: bytes) -> int:
        vpn = gva >> 12
        entry = self.tlb.current.get(vpn)
        if entry is None and self.has_globals:
            entry = self.tlb.shared.get(vpn)
        if entry is None or not table[entry & INDEX_MASK] & need:
            return self._walk(gva, need, table)
        return entry

    def fetch(self, gva: int) -> int | None:
        """Give the physical address of an instruction byte, or None where it cannot be fetched from RAM.

        This leaves no trace: Python also looks at code that the processor does not come to.
        """
        entry = self._cached(gva >> 12)
        if entry is None or not self.table[entry & INDEX_MASK] & EXEC:
            entry = self._glance(gva)
        if entry < 0:
            return None
        pa = entry & ~0xFFF | gva & 0xFFF
        return pa if self.memory.is_ram(pa) else None

    def fetch_fault(self, gva: int) -> Fault | VmExit:
        """Give the fault, or the VM exit, of fetching at an address that `fetch` has refused."""
        try:
            entry = self._walk(gva, EXEC)
        except SecondStageFault as fault:
            return second_stage_exit(self.cpu, self.refuse(fault, gva, EXEC))
        if entry >= 0:
            raise Unimplemented(f"code outside RAM, at {gva:#x}")
        return self.page_fault(Refusal(entry, gva, EXEC))

    def explain(self, gva: int, need: int, *, user: bool | None = None, pkru: int | None = None) -> Walk:
        """Walk once more, for a reader: the steps, and the entry and bit that decided.

        Args:
            gva: a canonical linear address.
            need: READ, WRITE or EXEC.
            user: a user-mode access, or a supervisor's; None for what CPL makes of it.
            pkru: the PKRU of the access, if not the processor's.

        """
        if user is None and pkru is None:
            context = self.current
        else:
            context = self.context(user=self.cpu.cpl == 3 if user is None else user, pkru=pkru)
        return self._explain(gva, need, context)

    def _explain(self, gva: int, need: int, context: Context) -> Walk:
        return look(self.memory, self.paging, context, gva, need, self.second)

    def physical(self, gva: int) -> int | None:
        """Give the physical address behind a linear one, whatever its page allows and without a trace; None where nothing is mapped."""
        return physical(self.memory, self.paging, gva, self.second)

    def page_fault(self, refusal: Refusal, context: Context | None = None) -> Fault:
        """Give the fault of a refused access; #GP where the address is not canonical."""
        paging = self.paging
        result, gva, need, _, _ = refusal
        if result == NOT_CANONICAL:
            return GP(0)
        context = context or self.current
        index = 0
        if result == RIGHTS and (any(context.user_keys) or any(context.supervisor_keys)):
            trail: list[int] = []
            walk(self.second or self.memory, paging, gva, need, rights.table(context), trail)
            index = attributes(trail)
        return PF(
            int(error_code(paging, context, need, result, index)), gva, partial(self._explain, gva, need, context)
        )
