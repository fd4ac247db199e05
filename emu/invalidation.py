"""What an invalidation drops, of the Python TLB, of TCG's slots, and of what is known about trapped instructions.

SDM "Operations that Invalidate TLBs and Paging-Structure Caches".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..mmu.entry import reserved_pdpte
from ..mmu.registers import CR4
from ..mmu.rights import READ
from ..mmu.tlb import Tlb
from ..mmu.walk import Refusal, SecondStageFault
from .contexts import Contexts
from .faults import GP
from .second_stage import second_stage_exit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ..mmu.walk import Paging
    from .cpu import Cpu
    from .engine import Engine
    from .memory import Memory

_PCIDE: Final = CR4.PCIDE.mask
_FEW: Final = 40  # pages: dropped from TCG's slots one by one, which takes as long as filling that many again
_KNOWN_ROOTS: Final = 64


class Invalidation(Contexts):
    """The part of the processor's view of linear memory that forgets.

    Attributes:
        tlb: the Python-side TLB.
        forgotten: counts what drops translations of the other side of a virtual machine.
        where, where_pages, sites: those of the present side (`Known`).

    """

    def __init__(self, cpu: Cpu, engine: Engine, memory: Memory) -> None:
        super().__init__(cpu, engine)
        self.memory = memory
        self.tlb = Tlb()
        self.forgotten = 0
        known = cpu.known
        self.where, self.where_pages, self.sites = known.where, known.where_pages, known.sites
        self.walk4: Callable[[int, int, bytes], int] | None = None
        self.walkers: dict[int, tuple[Paging, Callable[[int, int, bytes], int]]] = {}

    if TYPE_CHECKING:
        vpid: int
        eptp: int
        refusal: Refusal | None

        def configure(self) -> None:
            """Recompute mode and root from CR0, CR3, CR4 and EFER; the context follows (`Translation`)."""

        def make_walker(self, paging: Paging) -> Callable[[int, int, bytes], int]:
            """Make what translates a page that is not cached (`Translation`)."""

        def select_space(self) -> None:
            """Tell the contexts of mode, address space and control bits (`Translation`)."""

    def load_cr3(self, *, keep: bool) -> None:
        """Take a new CR3; its PCID's translations go unless `keep`."""
        if self.walk4 is None:
            self.configure()
            if not keep:
                self.tlb.flush_current()
                self._forget()
            return
        self._take_root(self.cpu.cr3 & 0xFFFFFFFFFF000)
        if self.cpu.cr4 & _PCIDE and self.cpu.cr3 & 0xFFF != self.tlb.tag.pcid:
            self._take_pcid(self.cpu.cr3 & 0xFFF)
        if not keep:
            self._drop_local()
        kept, where_pages = self.tlb.shared, self.where_pages
        if not where_pages.keys() <= kept.keys():
            for page in [page for page in where_pages if page not in kept]:
                self._forget_page(page)
        if not self.cpu.transition_pages <= kept.keys():
            self.cpu.forget_descriptors()

    def _take_root(self, root: int) -> None:
        """Have walks begin at other tables."""
        known = self.walkers.get(root)
        if known is None:
            if len(self.walkers) >= _KNOWN_ROOTS:
                self.walkers.clear()
            paging = self.paging._replace(root=root)
            known = self.walkers[root] = paging, self.make_walker(paging)
        self.paging, self.walk4 = known

    def _take_pcid(self, pcid: int) -> None:
        """Go to the translations of another PCID, and to its slots, which other PCIDs do not touch."""
        old = self.tlb.tag.pcid
        if self.tlb.select(pcid, self.vpid, self.eptp):
            self.engine.flush_slots()
        self.select_space()
        self.cpu.change_space(old, pcid)
        self.switch()

    def _drop_local(self) -> None:
        """Drop what is not global of the current PCID, from TCG's slots too, page by page if there are few.

        TCG has been given nothing that is not global but through `tlb.current`, so that names the pages, unless the VPID has others under
        another EPT.
        """
        local, flush_page = self.tlb.current, self.engine.flush_page
        if len(local) > _FEW or local.overflowed or not self.tlb.is_alone:
            self.engine.flush_slots()
        else:
            for page in local:
                flush_page(page << 12)
        self.tlb.flush_current()

    def remember(self, rip: int, linear: int, physical: int) -> None:
        """Note where a trapped instruction is."""
        if rip not in self.where:
            self.where_pages.setdefault(linear >> 12, set()).add(rip)
        self.where[rip] = physical

    def keep_site(self, rip: int, physical: int, length: int, closure: Callable[[], bool]) -> None:
        """Keep the closure of a trapped instruction that `remember` has noted."""
        words, at = self.memory.words, physical >> 3
        more = at + 1 if physical & 7 > 8 - length else 0
        self.sites[rip] = at, words[at], more, words[more] if more else 0, closure

    def forget_site(self, rip: int) -> None:
        """Forget a trapped instruction: the words that hold it have changed."""
        del self.where[rip], self.sites[rip]

    def _forget_page(self, page: int) -> None:
        """Forget what trapped instructions there are on a linear page."""
        for rip in self.where_pages.pop(page, ()):
            self.where.pop(rip, None)
            self.sites.pop(rip, None)

    def _forget(self) -> None:
        self.forget_code()
        self.engine.flush_slots()

    def forget_code(self) -> None:
        """Forget where trapped instructions are: a translation, or what a code segment means, has changed."""
        self.cpu.forget_transitions()
        self.where.clear()
        self.where_pages.clear()
        self.sites.clear()

    def unhook(self, hooks: Iterable[int]) -> None:
        """Take hooks back.

        Unicorn looks up the blocks that had them: fetches that nobody made, whose refusals must neither be delivered nor end a run.
        """
        engine, refusal = self.engine, self.refusal
        places = engine.places
        words = places.invalid_error, places.exit_request, places.tcg_exit_request, places.exception_index
        before = [word[0] for word in words]
        for hook in hooks:
            engine.unhook(hook)
        for word, value in zip(words, before, strict=True):
            word[0] = value
        self.refusal = refusal

    def invlpg(self, gva: int) -> None:
        """Drop one page of the current PCID and among the global ones.

        TCG's slots have been given nothing but through those two, unless the VPID has others under another EPT.
        """
        page, local, kept = gva >> 12, self.tlb.current, self.tlb.shared
        known = page in local or page in kept or local.overflowed or kept.overflowed or not self.tlb.is_alone
        if self.tlb.invalidate(page):
            self._forget()
            return
        if page in self.where_pages:
            self._forget_page(page)
        if page in self.cpu.transition_pages:
            self.cpu.forget_descriptors()
        if known:
            self.engine.flush_page(gva)

    def popped(self, gva: int, size: int) -> None:
        """Drop what TCG's helper has read of a stack before it trapped, by another slot's index (`Contexts._longest_unused`)."""
        if self.current_slot == 0:
            self.engine.flush_page(gva)
            self.engine.flush_page(gva + size - 1)

    def drop_frame(self, frame: int) -> None:
        """Drop what leads to one physical page in the current address space: a right to it is taken back."""
        for space in (self.tlb.current, self.tlb.shared):
            for page in [page for page, entry in space.items() if entry >> 12 == frame]:
                del space[page]
                self._forget_page(page)
                if page in self.cpu.transition_pages:
                    self.cpu.forget_descriptors()
                self.engine.flush_page(page << 12)
        if self.second is not None:
            self.second.mappings.drop(frame << 12)

    def drop_used(self, gva: int) -> None:
        """Drop what translated a page of the current address space: an EPT violation does."""
        page = gva >> 12
        if self.tlb.drop_used(page):
            self._forget()
            return
        if page in self.where_pages:
            self._forget_page(page)
        if page in self.cpu.transition_pages:
            self.cpu.forget_descriptors()
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

    def invvpid(self, kind: int, vpid: int, gva: int) -> None:
        """INVVPID's four types."""
        if kind == 0:
            self.tlb.invalidate_vpid(gva >> 12, vpid)
        elif kind == 2:
            self.tlb.flush_vpids()
        else:
            self.tlb.flush_vpid(vpid, keep_global=kind == 3)
        self.forgotten += 1
        self._forget()

    def invept(self, eptp: int | None) -> None:
        """INVEPT of one EPT, by its root, or of all."""
        self.tlb.flush_ept(eptp)
        self.forgotten += 1
        self._forget()

    def flush_all(self) -> None:
        """Drop every translation of the guest's, global ones too."""
        self.tlb.flush_all()
        self._forget()

    def reset(self) -> None:
        """Drop every translation of everybody's: memory or the whole state has been replaced."""
        self.tlb.empty()
        self.forgotten += 1
        self._forget()

    def load_pdptes(self, cr3: int) -> None:
        """Load the PDPTE registers of PAE paging; #GP on a reserved bit (SDM "PDPTE Registers")."""
        at = cr3 & 0xFFFFFFE0
        read = self.memory.read64 if self.second is None else self.second.read_register
        try:
            entries = read(at), read(at + 8), read(at + 16), read(at + 24)
        except SecondStageFault as fault:
            raise second_stage_exit(self.cpu, Refusal(fault.result, 0, READ, fault.gpa, fault.qualification)) from None
        for entry in entries:
            if entry & 1 and entry & reserved_pdpte(self.cpu.features.maxphyaddr):
                raise GP(0)
        self.cpu.pdptes = entries
