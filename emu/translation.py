"""Linear memory: how a miss of TCG's is filled, how Python itself reaches it, and what an invalidation drops."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

from ..mmu import rights
from ..mmu.address import HALF, SIGNS
from ..mmu.explain import Still, Walk, look, physical
from ..mmu.registers import CR0, CR4, EFER
from ..mmu.rights import EXEC, READ, WRITE, Context
from ..mmu.tlb import CAPACITY, NO_EPT, UNPAGED
from ..mmu.walk import (
    INDEX_MASK,
    LEVEL_SHIFT,
    NOT_CANONICAL,
    NOT_PRESENT,
    RIGHTS,
    Mode,
    Paging,
    Refusal,
    SecondStageFault,
    attributes,
    error_code,
    reserved_bits,
    walk,
    walker,
)
from . import layout
from .engine import SLOTS
from .events import Kind
from .faults import GP, PF, Fault, Unimplemented
from .invalidation import Invalidation
from .limits import GUARDED
from .memory import APIC_PAGE, IO_APIC_PAGE, NOTHING
from .second_stage import second_stage_exit
from .smc import CodePages
from .tablesize import TableSizes

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..mmu.second import SecondStage
    from ..vmx.exits import VmExit
    from .contexts import Slot
    from .cpu import Cpu
    from .engine import Engine
    from .memory import Memory

_LEVEL4, _PAGE_WALK = Mode.LEVEL4, Kind.PAGE_WALK  # a member read off the class takes 0.1 µs
_SIZE: Final = 7 << LEVEL_SHIFT
_SMALL: Final = 1 << LEVEL_SHIFT  # of a 4 KiB page
_G: Final = rights.G
_SMALL_GLOBAL: Final = 7 << LEVEL_SHIFT | rights.G
_new: Final = tuple.__new__
_PF: Final = 14
_NEED: Final = {16: READ, 17: WRITE, 18: EXEC}


class Translation(Invalidation):
    """The processor's view of linear memory.

    Attributes:
        vpid, eptp: with which virtual processor and EPT translations are tagged.
        code_pages: which frames TCG's TLB may run, and which it may write.
        refusal: the fill that was refused and stopped TCG, until the run loop takes it.
        code_size: 64, 32 or 16: how instruction bytes decode.
        in_place: a page fault of TCG's comes back as an exception, and the interrupt callback delivers it; else TCG is left.

    """

    def __init__(self, cpu: Cpu, engine: Engine, memory: Memory) -> None:
        super().__init__(cpu, engine, memory)
        self.vpid, self.eptp = 0, NO_EPT
        self.code_pages = CodePages(engine, memory)
        self.refusal: Refusal | None = None
        self.code_size = 32
        self.has_globals = False
        self.in_place = False
        self.probe_with = self.bind_probe()
        self._address_offset = engine.places.fault_offset

    def configure(self) -> None:
        """Recompute mode and root from CR0, CR3, CR4 and EFER; the context follows."""
        cpu = self.cpu
        cr0, cr4, efer = cpu.cr0, cpu.cr4, cpu.efer
        nxe = bool(efer & EFER.NXE.mask)
        if not cr0 & CR0.PG.mask:
            mode, root = Mode.NONE, 0
        elif efer & EFER.LMA.mask:
            mode, root = Mode.LEVEL4, cpu.cr3 & 0xFFFFFFFFFF000
        elif cr4 & CR4.PAE.mask:
            mode, root = Mode.PAE, cpu.cr3 & 0xFFFFFFE0
        else:
            mode, root = Mode.BITS32, cpu.cr3 & 0xFFFFF000
        fetch_bit = bool((nxe and cr4 & CR4.PAE.mask) or cr4 & CR4.SMEP.mask)
        features = cpu.features
        # Without PSE-36, a 4 MiB page has 32 bits of address.
        width = 32 if mode is Mode.BITS32 and "pse36" not in features else features.maxphyaddr
        masks = reserved_bits(mode, nxe=nxe, maxphyaddr=width, page1g="pdpe1gb" in features) if mode else ()
        self.paging = Paging(mode, root, masks, fetch_bit, bool(cr4 & CR4.PSE.mask), cpu.pdptes)
        self.walk4 = self.make_walker(self.paging) if mode is _LEVEL4 else None
        self.walkers = {}  # a new one, for `space` may have given the old one away
        self.has_globals = bool(mode and cr4 & CR4.PGE.mask)
        pcid = cpu.cr3 & 0xFFF if cr4 & CR4.PCIDE.mask else 0 if mode else UNPAGED
        if self.tlb.select(pcid, self.vpid, self.eptp):
            self.engine.flush_slots()
        self.select_space()
        self.code_size = 64 if cpu.code64 else (32 if cpu.segments[1].access & 0x4000 else 16)
        self.forget_code()
        self.switch()

    def take_second_stage(self, vpid: int, second: SecondStage | None) -> None:
        """Take another VPID, and another second stage or none; `configure` must follow."""
        if second is not None:
            mappings = self.tlb.guest_physical(second.root.address)
            if mappings is not second.mappings:
                second = second.again(mappings)
        self.vpid, self.second = vpid, second
        self.eptp = NO_EPT if second is None else second.root.address

    def make_walker(self, paging: Paging) -> Callable[[int, int, bytes], int]:
        """Make what translates a page that is not cached, for one set of 4-level tables."""
        return walker(self.memory, paging) if self.second is None else self.second.walker(paging)

    def select_space(self) -> None:
        """Tell the contexts of everything that they depend on besides privilege and keys."""
        cpu = self.cpu
        flags = (
            cpu.cr0 & CR0.WP.mask,
            cpu.cr4 & (CR4.SMEP.mask | CR4.SMAP.mask | CR4.PKE.mask | CR4.PKS.mask),
            cpu.efer & EFER.NXE.mask,
        )
        vpid, eptp, pcid = self.tlb.tag
        self.select((self.paging.mode, vpid, eptp, *flags), pcid)

    def space(self) -> tuple[Any, ...]:
        """Give everything that `configure` has derived, for `take_space`."""
        tlb = self.tlb
        return (
            tlb.gone, tlb.tag, tlb.current, tlb.shared, self.paging, self.walk4, self.walkers, self.has_globals,
            self.vpid, self.eptp, self.second, self.code_size, self.address_space, self.current_modes,
        )  # fmt: skip

    def take_space(self, space: tuple[Any, ...]) -> bool:
        """Take what `space` gave instead of deriving it; `switch` must follow.  Does nothing, and says so, if they have gone."""
        tlb = self.tlb
        if space[0] != tlb.gone:
            return False
        (
            _, tlb.tag, tlb.current, tlb.shared, self.paging, self.walk4, self.walkers, self.has_globals,
            self.vpid, self.eptp, self.second, self.code_size, self.address_space, self.current_modes,
        ) = space  # fmt: skip
        return True

    # ---- misses -----------------------------------------------------------------------------------------------

    def bind_fill(self) -> Callable[[int, int, int, int], bool]:  # noqa: PLR0915  (each call would take 0.1 µs)
        """Make the callback that answers TCG's misses, with all that it touches bound beforehand."""
        cpu, memory, tlb, engine = self.cpu, self.memory, self.tlb, self.engine
        dirty, code, low = memory.dirty, memory.code, memory.low
        writable, grant = self.code_pages.writable, self.code_pages.grant
        entry_at, exception, offset = engine.entry, engine.places.exception_index, self._address_offset
        outgrown = TableSizes(engine, SLOTS).outgrown
        refills = 1024  # until a table is looked at
        guarded, granted, slots = cpu.limits.pages, cpu.limits.granted, self.slots

        def fill(_engine: int, gva: int, kind: int, pointer: int) -> bool:  # noqa: PLR0915  (the same)
            """Answer a miss from the TLB or by a walk; False makes it a page fault."""
            nonlocal refills
            need = _NEED[kind]
            try:
                vpn = gva >> 12
                if guarded and need != EXEC and vpn in guarded and vpn not in granted:
                    self.refusal = _new(Refusal, (GUARDED, entry_at(pointer + offset)[0], need, 0, 0))
                    if self.in_place and not cpu.breakpoints.watching:
                        exception[0] = _PF
                    return False
                current = tlb.current
                entry = current.get(vpn)
                if entry is None and self.has_globals:
                    entry = tlb.shared.get(vpn)
                table = self.table
                if entry is None or not table[entry & INDEX_MASK] & need:
                    walk4 = self.walk4
                    if (
                        walk4 is not None
                        and cpu.emit is None
                        and not cpu.costs.walk
                        and not cpu.costs.ept_read
                        and (gva < HALF or gva >> 47 in SIGNS)
                    ):
                        # As `_walk`, written out for what most misses are.
                        entry = walk4(gva, need, table)
                        if entry & _SMALL_GLOBAL == _SMALL and len(current) < CAPACITY:  # no refusal looks so
                            current[vpn] = entry
                        elif entry & _SIZE and entry >= 0:
                            tlb.insert(vpn, entry, use_global=self.has_globals)
                    else:
                        entry = self._walk(gva, need)
                    if entry < 0:
                        address = entry_at(pointer + offset)[0]
                        if address >> 12 != vpn:
                            layout.check_fault(address, gva)
                        self.refusal = _new(Refusal, (entry, address, need, 0, 0))
                        if self.in_place and not cpu.breakpoints.watching:
                            exception[0] = _PF
                        return False
                    if not entry & _SIZE:  # the EPT lets it be fetched, and not be read
                        slots[self.current_slot].local = True
                        view = entry_at(pointer)
                        view[0], view[1] = entry >> 12 << 12, grant(entry >> 12, vpn, EXEC, EXEC)
                        return True
                else:  # TCG has lost it for want of room, or because everything went
                    refills -= 1
                    if not refills:
                        refills = outgrown(self.current_slot)
                if not (entry & _G and self.has_globals):
                    slots[self.current_slot].local = True
                perms = table[entry & INDEX_MASK] & 7
                frame = entry >> 12
                if perms & WRITE and frame not in dirty:
                    if need == WRITE:
                        dirty.add(frame)
                    else:
                        perms &= ~WRITE
                if need != EXEC and (writable.get(frame) == vpn or not (perms & WRITE or frame in code)):
                    perms &= ~EXEC
                else:
                    perms = grant(frame, vpn, need, perms)
                    if guarded and need == EXEC and vpn in guarded:
                        perms &= EXEC
                page = frame << 12
                if page >= low and not memory.is_ram(page):
                    page = self._device_page(page, need, gva)
                view = entry_at(pointer)
                view[0], view[1] = page, perms
            except SecondStageFault as fault:
                address = entry_at(pointer + offset)[0]
                self.refusal = self.refuse(fault, address if address >> 12 == gva >> 12 else gva, need)
                if self.in_place and not cpu.breakpoints.watching:
                    exception[0] = _PF
                return False
            except BaseException as error:  # noqa: BLE001  (the run loop raises it)
                cpu.fail(error)
                return False
            return True

        return fill

    def _device_page(self, page: int, need: int, gva: int) -> int:
        """Give the page by which Unicorn knows what answers at a physical page that is not RAM."""
        if need == EXEC:
            raise Unimplemented(f"code outside RAM, at {gva:#x}")
        devices = self.cpu.devices
        if devices is None:
            return NOTHING
        if page == devices.lapic.page:
            return APIC_PAGE
        return page if page == IO_APIC_PAGE or devices.testdev.holds(page) else NOTHING

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
        if entry >= 0 and entry & _SIZE:
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
