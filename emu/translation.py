"""Translation contexts: which rights TCG's three slots hold, and how a miss is filled.

TCG has three translation slots, chosen by bits of ``hflags`` alone.  A *context* is everything that decides a translation
besides the tables: PCID, privilege, keys.  Each slot holds one context; going back to one that has a slot costs nothing::

    CPL 3, PKRU=user  ─┐      ┌ slot 0
    CPL 3, PKRU=kernel ┼──────┼ slot 1     a fourth context takes the slot used least recently
    CPL 0             ─┘      └ slot 2
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

from ..mmu import rights
from ..mmu.entry import reserved_pdpte
from ..mmu.explain import Walk, look
from ..mmu.registers import CR0, CR4, EFER
from ..mmu.rights import EXEC, READ, WRITE, Context
from ..mmu.tlb import CAPACITY, Tlb
from ..mmu.walk import (
    INDEX_MASK,
    LEVEL_SHIFT,
    RIGHTS,
    Mode,
    Paging,
    attributes,
    error_code,
    reserved_bits,
    walk,
    walker,
)
from ..pku.rights import denied
from . import layout
from .engine import FETCH, SLOT_BITS, SLOTS
from .events import Kind
from .faults import GP, PF, Fault
from .memory import APIC_PAGE, NOTHING

if TYPE_CHECKING:
    from collections.abc import Callable

    from .cpu import Cpu
    from .engine import Engine
    from .memory import Memory

_HFLAGS: Final = layout.HFLAGS >> 2
_EFLAGS: Final = layout.EFLAGS >> 3
_AC: Final = 1 << 18
_LEVEL4: Final = Mode.LEVEL4  # a member read off the class takes 0.1 µs
_LOW_HALF: Final = 1 << 47
_SMALL: Final = 1 << LEVEL_SHIFT  # of a 4 KiB page
_SMALL_GLOBAL: Final = 7 << LEVEL_SHIFT | rights.G
_NEED: Final = {16: READ, 17: WRITE, 18: EXEC}
_SMAP_SLOT: Final = 2
_NOT_SLOT: Final = 0xFFFFFFFF & ~SLOT_BITS
_SLOT_FLAGS: Final = tuple(flags for flags, _ in SLOTS)
_IDENTITY: Final = bytes([0x77]) * 512
NOT_CANONICAL: Final = -4  # beside what `walk` gives
MAXPHYADDR: Final = 52


class Slot:
    """What one TCG slot holds: the rights table of its context, and the family (PKRU → slot) that names it."""

    __slots__ = ("context", "family", "pkru", "system", "table")

    def __init__(self) -> None:
        self.family: dict[int, int] | None = None
        self.pkru = 0
        self.table = _IDENTITY
        self.context = Context(user=False)
        self.system: bytes | None = None


class Translation:
    """The processor's view of linear memory.

    Attributes:
        paging: mode, root and reserved bits now in force.
        tlb: the Python-side TLB.
        refused: what `walk` gave when it last refused an access.
        fault: (address, need) of a fill that was refused and stopped TCG.
        code_size: 64, 32 or 16: how instruction bytes decode.
        where_pages: the linear pages that `where` speaks of.
        slots: what each of the three holds.
        now, before: the number of the slot in use, and of the one before it.
        table: the rights of the context in use.
        family: PKRU → slot, for contexts that differ from this one in PKRU alone.
        where: RIP → physical address of trapped instructions, until a translation changes.

    """

    def __init__(self, cpu: Cpu, engine: Engine, memory: Memory) -> None:
        self.cpu = cpu
        self.engine = engine
        self.memory = memory
        self.tlb = Tlb()
        self.paging = Paging(Mode.NONE, 0)
        self._walk4: Callable[[int, int, bytes], int] | None = None
        self.fault: tuple[int, int] | None = None
        self.code_size = 32
        self.slots = (Slot(), Slot(), Slot())
        self.now = 0
        self.before = 1
        self.table = _IDENTITY
        self._globals = False
        self._bases: dict[tuple[Any, ...], int] = {}
        self._base = 0
        self._families: dict[tuple[int, int, int], dict[int, int]] = {}
        self.family: dict[int, int] = {}
        self._modes: dict[int, dict[int, int]] = {}  # CPL 3 or RFLAGS.AC → family, while the rest stays
        self._q = engine.q
        self._d = engine.d
        self.refused = -1
        self.where: dict[int, int] = {}
        self.where_pages: set[int] = set()
        self._address_offset = layout.fault_offset(engine)

    # ---- which context ----------------------------------------------------------------------------------------

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
        masks = reserved_bits(mode, nxe=nxe, maxphyaddr=MAXPHYADDR) if mode else ()
        self.paging = Paging(mode, root, masks, fetch_bit, bool(cr4 & CR4.PSE.mask), cpu.pdptes)
        self._walk4 = walker(self.memory, self.paging) if mode is _LEVEL4 else None
        self._globals = bool(cr4 & CR4.PGE.mask)
        pcid = cpu.cr3 & 0xFFF if cr4 & CR4.PCIDE.mask else 0
        self.tlb.select(pcid)
        flags = (
            cr0 & CR0.WP.mask,
            cr4 & (CR4.SMEP.mask | CR4.SMAP.mask | CR4.PKE.mask | CR4.PKS.mask),
            efer & EFER.NXE.mask,
        )
        self._base = self._bases.setdefault((mode, pcid, *flags), len(self._bases))
        self._modes = {}
        self.code_size = 64 if cpu.code64 else (32 if cpu.segments[1].access & 0x4000 else 16)
        self.forget_code()
        self.switch()

    def context(self, *, user: bool, system: bool = False) -> Context:
        """Give the context of an access by the current mode (SDM "Access Rights")."""
        cpu = self.cpu
        cr4 = cpu.cr4
        wp = bool(cpu.cr0 & CR0.WP.mask)
        keys4 = self.paging.mode is Mode.LEVEL4
        user_keys = denied(cpu.pkru, user=user, wp=wp) if keys4 and cr4 & CR4.PKE.mask else (0, 0)
        supervisor_keys = denied(cpu.pkrs, user=False, wp=wp) if keys4 and cr4 & CR4.PKS.mask else (0, 0)
        smap = bool(cr4 & CR4.SMAP.mask) and not user and (system or not self.engine.q[_EFLAGS] & _AC)
        return Context(user, wp, bool(cr4 & CR4.SMEP.mask), smap, user_keys, supervisor_keys)

    def switch(self) -> None:
        """Give the current context a slot: called after every change of CPL, PKRU, PKRS, RFLAGS.AC or control bits."""
        cpu = self.cpu
        mode = 3 if cpu.cpl == 3 else self._q[_EFLAGS] & _AC
        family = self._modes.get(mode)
        if family is None:
            family = self._modes[mode] = self._families.setdefault((self._base, mode, cpu.pkrs), {})
        self.family = family
        number = family.get(cpu.pkru)
        if number is None or number == _SMAP_SLOT:
            self.switch_keys(cpu.pkru)
        elif number != self.now:
            self._enter(number)

    def switch_supervisor_keys(self) -> None:
        """The same where PKRS has changed."""
        self._modes = {}
        self.cpu.forget_ways()
        self.switch()

    def switch_keys(self, pkru: int) -> None:
        """The same where only PKRU has changed: the way through a gate."""
        number = self.family.get(pkru)
        if number is None or (number == _SMAP_SLOT and self._q[_EFLAGS] & _AC):
            number = self._assign(pkru)
        if number != self.now:  # as `_enter`, without a call
            self.before, self.now = self.now, number
            self.table = self.slots[number].table
            d = self._d
            d[_HFLAGS] = d[_HFLAGS] & _NOT_SLOT | _SLOT_FLAGS[number]

    def here(self) -> tuple[int, bytes, dict[int, int]]:
        """Give the current context, for `go`."""
        return self.now, self.table, self.family

    def go(self, number: int, table: bytes, family: dict[int, int]) -> None:
        """Take a context that `here` gave; TCG's hflags are the caller's.  `Cpu.forget_ways` says when it no longer holds."""
        if number != self.now:
            self.before, self.now = self.now, number
            self.table = table
        self.family = family

    def _enter(self, number: int) -> None:
        self.before, self.now = self.now, number
        self.table = self.slots[number].table
        d = self._d
        d[_HFLAGS] = d[_HFLAGS] & _NOT_SLOT | _SLOT_FLAGS[number]

    def _assign(self, pkru: int) -> int:
        """Put a context into the slot used least recently; one with AC set may not live where AC moves TCG away."""
        number = 3 - self.now - self.before
        if number == _SMAP_SLOT and self.engine.q[_EFLAGS] & _AC:
            number = self.before
        slot = self.slots[number]
        self.cpu.forget_ways()
        if slot.family is not None:
            slot.family.pop(slot.pkru, None)
            self.engine.flush_slots(SLOTS[number][1])
        old = self.family.get(pkru)
        if old is not None:
            self.slots[old].family = None
            self.engine.flush_slots(SLOTS[old][1])
        slot.family, slot.pkru = self.family, pkru
        slot.context = self.context(user=self.cpu.cpl == 3)
        slot.table = rights.table(slot.context) if self.paging.mode else _IDENTITY
        slot.system = None
        self.family[pkru] = number
        if number == self.now:
            self.table = slot.table
        return number

    @property
    def ac_moves(self) -> bool:
        """The slot in use is the one that TCG leaves by itself when RFLAGS.AC is set."""
        return self.now == _SMAP_SLOT

    # ---- misses -----------------------------------------------------------------------------------------------

    def bind_fill(self) -> Callable[[int, int, int, int], bool]:
        """Make the callback that answers TCG's misses, with all that it touches bound beforehand."""
        cpu, memory, tlb, engine = self.cpu, self.memory, self.tlb, self.engine
        dirty, code, low, shared = memory.dirty, memory.code, memory.low, tlb.shared
        entry_at, offset = engine.entry, self._address_offset

        def fill(_engine: int, gva: int, kind: int, pointer: int) -> bool:
            """Answer a miss from the TLB or by a walk; False makes it a page fault."""
            need = _NEED[kind]
            try:
                vpn = gva >> 12
                current = tlb.current
                entry = current.get(vpn)
                if entry is None and self._globals:
                    entry = shared.get(vpn)
                table = self.table
                if entry is None or not table[entry & INDEX_MASK] & need:
                    walk4 = self._walk4
                    if walk4 is not None and cpu.emit is None and gva < _LOW_HALF:
                        # As `_walk`, written out for what most misses are.
                        entry = walk4(gva, need, table)
                        if entry < 0:
                            self.refused = entry
                        elif entry & _SMALL_GLOBAL == _SMALL and len(current) < CAPACITY:
                            current[vpn] = entry
                        else:
                            tlb.insert(vpn, entry, use_global=self._globals)
                    else:
                        entry = self._walk(gva, need)
                    if entry < 0:
                        address = entry_at(pointer + offset)[0]
                        layout.check_fault(address, gva)
                        self.fault = (address, need)
                        return False
                perms = table[entry & INDEX_MASK] & 7
                frame = entry >> 12
                if perms & WRITE and frame not in dirty:
                    if need == WRITE:
                        dirty.add(frame)
                    else:
                        perms &= ~WRITE
                if need == EXEC:
                    code.add(frame)
                elif frame not in code:
                    perms &= ~EXEC
                page = frame << 12
                if page >= low and not memory.is_ram(page) and page != APIC_PAGE:
                    page = NOTHING
                view = entry_at(pointer)
                view[0] = page
                view[1] = perms
            except BaseException as error:  # noqa: BLE001  (the run loop raises it)
                cpu.keep(error)
                return False
            return True

        return fill

    def _walk(self, gva: int, need: int, table: bytes | None = None) -> int:
        """Walk and cache; negative where refused.  Non-canonical addresses are refused before any table is read."""
        paging = self.paging
        mode = paging.mode
        if mode is _LEVEL4:
            if 0x7FFF_FFFF_FFFF < gva < 0xFFFF_8000_0000_0000:
                return NOT_CANONICAL
        elif not mode:
            return gva & 0xFFFFF000 | 0x20F
        if self._walk4 is not None:
            entry = self._walk4(gva, need, table or self.table)
        else:
            entry = walk(self.memory, paging, gva, need, table or self.table)
        cpu = self.cpu
        if entry < 0:
            self.refused = entry
        else:
            self.tlb.insert(gva >> 12, entry, use_global=self._globals)
        if cpu.emit is not None:
            cpu.event(Kind.PAGE_WALK, gva, need, max(entry, 0) & ~0xFFF, -min(entry, 0))
        return entry

    # ---- Python's own accesses --------------------------------------------------------------------------------

    def locate(self, gva: int, *, write: bool, system: bool = False, user: bool | None = None) -> int:
        """Give the physical address of a data access; raises #PF (the address is canonical already)."""
        need = WRITE if write else READ
        if system:
            context = self.context(user=False, system=True)
            table = rights.table(context) if self.paging.mode else _IDENTITY
        elif user is not None:
            context = self.context(user=user)
            table = rights.table(context) if self.paging.mode else _IDENTITY
        else:
            context, table = self.slots[self.now].context, self.table
        entry = self._lookup(gva, need, table)
        if entry < 0:
            raise self.page_fault(gva, need, context)
        return entry & ~0xFFF | gva & 0xFFF

    def _system_rights(self, slot: Slot) -> bytes:
        """Give the rights of implicit supervisor accesses: the same as long as the slot keeps its context."""
        context = self.context(user=False, system=True)
        slot.system = rights.table(context) if self.paging.mode else _IDENTITY
        return slot.system

    def quick(self, gva: int, size: int, need: int, *, system: bool = False) -> int:
        """Give the physical address of an access that needs no walk: cached, allowed, in one page of RAM; else -1."""
        entry = self.tlb.current.get(gva >> 12)
        if entry is None:
            entry = self.tlb.shared.get(gva >> 12) if self._globals else None
            if entry is None:
                return -1
        if system:
            slot = self.slots[self.now]
            table = slot.system or self._system_rights(slot)
        else:
            table = self.table
        at = gva & 0xFFF
        pa = entry & ~0xFFF | at
        if at + size > 0x1000 or pa >= self.memory.low or not table[entry & INDEX_MASK] & need:
            return -1
        return pa

    def reach(self, gva: int, size: int, need: int, table: bytes) -> int:
        """As `quick`, with the rights of another context."""
        vpn, at = gva >> 12, gva & 0xFFF
        entry = self.tlb.current.get(vpn)
        if entry is None:
            entry = self.tlb.shared.get(vpn) if self._globals else None
            if entry is None:
                return -1
        pa = entry & ~0xFFF | at
        return pa if at + size <= 0x1000 and pa < self.memory.low and table[entry & INDEX_MASK] & need else -1

    def _lookup(self, gva: int, need: int, table: bytes) -> int:
        vpn = gva >> 12
        entry = self.tlb.current.get(vpn)
        if entry is None and self._globals:
            entry = self.tlb.shared.get(vpn)
        if entry is None or not table[entry & INDEX_MASK] & need:
            return self._walk(gva, need, table)
        return entry

    def fetch(self, gva: int) -> int | None:
        """Give the physical address of an instruction byte, or None where it cannot be fetched from RAM."""
        entry = self._lookup(gva, EXEC, self.table)
        if entry < 0:
            return None
        pa = entry & ~0xFFF | gva & 0xFFF
        return pa if self.memory.is_ram(pa) else None

    def explain(self, gva: int, need: int, *, user: bool | None = None) -> Walk:
        """Walk once more, for a reader: the steps, and the entry and bit that decided."""
        context = self.slots[self.now].context if user is None else self.context(user=user)
        return self._explain(gva, need, context)

    def _explain(self, gva: int, need: int, context: Context) -> Walk:
        return look(self.memory, self.paging, context, gva, need)

    def page_fault(self, gva: int, need: int, context: Context | None = None) -> Fault:
        """Give the fault of a refused access; #GP where the address is not canonical."""
        paging = self.paging
        if paging.mode is Mode.LEVEL4 and (gva + (1 << 47) & (1 << 64) - 1) >> 48:
            return GP(0)
        context = context or self.slots[self.now].context
        result, index = self.refused, 0
        if result == RIGHTS and (any(context.user_keys) or any(context.supervisor_keys)):
            trail: list[int] = []
            walk(self.memory, paging, gva, need, rights.table(context), trail)
            index = attributes(trail)
        return PF(
            int(error_code(paging, context, need, result, index)), gva, partial(self._explain, gva, need, context)
        )

    # ---- invalidation -----------------------------------------------------------------------------------------

    def load_cr3(self, *, keep: bool) -> None:
        """Take a new CR3; its PCID's translations go unless `keep`."""
        self.configure()
        if not keep:
            self.tlb.flush_current()
            self._forget()
        elif not self.cpu.cr4 & CR4.PCIDE.mask:
            self._forget()

    def _forget(self) -> None:
        self.forget_code()
        self.engine.flush_slots()

    def forget_code(self) -> None:
        """Forget where trapped instructions are: a translation, or what a code segment means, has changed."""
        self.cpu.forget_ways()
        self.where.clear()
        self.where_pages.clear()

    def invlpg(self, gva: int) -> None:
        """Drop one page of the current PCID and among the global ones."""
        if self.tlb.invalidate(gva >> 12):
            self._forget()
        else:
            if gva >> 12 in self.where_pages:
                self.forget_code()
            else:
                self.cpu.forget_ways()
            self.engine.flush_page(gva)

    def invpcid(self, kind: int, pcid: int, gva: int) -> None:
        """INVPCID's four types."""
        if kind == 0:
            self.tlb.invalidate(gva >> 12, pcid)
        elif kind == 1:
            self.tlb.flush_pcid(pcid)
        elif kind == 2:
            self.tlb.flush_all()
        else:
            self.tlb.flush_nonglobal()
        self._forget()

    def flush_all(self) -> None:
        """Drop every translation, global ones too."""
        self.tlb.flush_all()
        self._forget()

    def load_pdptes(self, cr3: int) -> None:
        """Load the PDPTE registers of PAE paging; #GP on a reserved bit (SDM "PDPTE Registers")."""
        at = cr3 & 0xFFFFFFE0
        read = self.memory.read64
        entries = read(at), read(at + 8), read(at + 16), read(at + 24)
        for entry in entries:
            if entry & 1 and entry & reserved_pdpte(MAXPHYADDR):
                raise GP(0)
        self.cpu.pdptes = entries


__all__ = ["FETCH", "Slot", "Translation"]
