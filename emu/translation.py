"""Linear memory: what of the control registers decides translations, and how a miss of TCG's is filled."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from ..mmu import rights
from ..mmu.address import HALF, SIGNS
from ..mmu.registers import CR0, CR4, EFER
from ..mmu.rights import EXEC, READ, WRITE
from ..mmu.tlb import CAPACITY, NO_EPT, UNPAGED
from ..mmu.walk import (
    INDEX_MASK,
    SIZE,
    SMALL,
    Mode,
    Paging,
    Refusal,
    SecondStageFault,
    reserved_bits,
    walker,
)
from . import layout
from .engine import MEM_FETCH, MEM_READ, MEM_WRITE, SLOTS
from .faults import Unimplemented
from .limits import GUARDED
from .lookup import Lookup
from .memory import APIC_PAGE, HPET_PAGE, IO_APIC_PAGE, NOTHING
from .registers import RSP
from .smc import CodePages
from .tablesize import TableSizes

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..mmu.second import SecondStage
    from .cpu import Cpu
    from .engine import Engine
    from .memory import Memory

_LEVEL4: Final = Mode.LEVEL4  # a member read off the class takes 0.1 µs
_G: Final = rights.G
_SIZE_GLOBAL: Final = SIZE | rights.G
_new: Final = tuple.__new__
_PF: Final = 14
_FRAME: Final = 40  # bytes that an IRET pops
_NEED: Final = {MEM_READ: READ, MEM_WRITE: WRITE, MEM_FETCH: EXEC}


class Translation(Lookup):
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
        q = cpu.q
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
                        if entry & _SIZE_GLOBAL == SMALL and len(current) < CAPACITY:  # no refusal looks so
                            current[vpn] = entry
                        elif entry & SIZE and entry >= 0:
                            tlb.insert(vpn, entry, use_global=self.has_globals)
                    else:
                        entry = self._walk(gva, need)
                    if entry < 0:
                        address = entry_at(pointer + offset)[0]
                        if address >> 12 != vpn:
                            layout.check_fault(address, gva)
                        if (
                            not self.current_slot and 0 < address - q[RSP] < _FRAME
                        ):  # it may be an IRET's, with a page before it
                            self.popped(q[RSP], 1)
                        self.refusal = _new(Refusal, (entry, address, need, 0, 0))
                        if self.in_place and not cpu.breakpoints.watching:
                            exception[0] = _PF
                        return False
                    if not entry & SIZE:  # the EPT lets it be fetched, and not be read
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
        has_hpet = page == HPET_PAGE and devices.hpet is not None
        return page if page == IO_APIC_PAGE or has_hpet or devices.testdev.holds(page) else NOTHING
