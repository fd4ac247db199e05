"""The second stages of translation that the outermost hypervisor keeps: EPT01 for L1, an EPT02 for each EPT of L1's.

What either refuses comes here: L0 maps the page; or EPT12 refuses it, and L1 hears of it; or it is a store to a table that L0 protects.
Such a store is let pass alone: its page is made writable, TCG runs one instruction, and the page is protected again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from attrs import field, frozen

from ..mmu.ept import XU, Qualification, X, reserved
from ..mmu.walk import LOG_FULL, SecondStageFault
from ..vmx.ept01 import Ept01
from ..vmx.merge import Merged, eptp_of
from ..vmx.pml import page_log
from ..vmx.pool import PAGE, Pool
from ..vmx.shadow_ept import Shadow, ShadowState, changed_slots
from .events import Kind
from .faults import During, Unimplemented
from .inject import inject
from .memory import NOTHING
from .registers import RIP
from .second_stage import REASONS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..mmu.ept import Root
    from ..vmx.exits import VmExit
    from ..vmx.merge import UnderL0
    from .cpu import Cpu
    from .nesting import NestedOptions
    from .outer import Outer
    from .traps import Traps

_DATA: Final = Qualification.READ.mask | Qualification.WRITE.mask
_FETCH, _WRITE = Qualification.FETCH.mask, Qualification.WRITE.mask
_LINEAR, _USER = Qualification.LINEAR_VALID.mask, Qualification.USER_PAGE.mask
_KIND: Final = _LINEAR | Qualification.FINAL.mask | _USER | Qualification.RW_PAGE.mask | Qualification.XD_PAGE.mask


def _ints(values: Iterable[int]) -> tuple[int, ...]:
    return tuple(values)


def _pages(values: Iterable[Iterable[Any]]) -> tuple[tuple[int, str], ...]:
    return tuple((page, before) for page, before in values)


def _shadow(value: ShadowState | dict[str, Any]) -> ShadowState:
    return value if isinstance(value, ShadowState) else ShadowState(**value)


@frozen
class StagesState:
    """The second stages as a snapshot keeps them, besides memory.

    Attributes:
        free: pages of L0's that hold no table.
        shadow: what stands for what.
        protected: pages of L1's from whose stores L0 protects itself.
        granted: those that the instruction at RIP `at` may write all the same, and what they held before, in hexadecimal.

    """

    free: tuple[int, ...] = field(converter=_ints)
    shadow: ShadowState = field(converter=_shadow)
    protected: tuple[int, ...] = field(converter=_ints)
    granted: tuple[tuple[int, str], ...] = field(default=(), converter=_pages)
    at: int = 0


class Stages:
    """EPT01 and the EPT02s of one machine.

    Attributes:
        ept01, shadow: the tables.

    """

    def __init__(self, cpu: Cpu, traps: Traps, outer: Outer, pages: Iterable[int], options: NestedOptions) -> None:
        self._cpu, self._traps, self._outer = cpu, traps, outer
        memory = cpu.memory
        self._pool = pool = Pool(memory, pages)

        def is_l0s(address: int) -> bool:
            return memory.is_ram(address) and not memory.is_offered(address)

        self._is_l0s = is_l0s
        large, backed = options.large_pages, options.backed
        flush = cpu.translation.invept
        self.ept01 = Ept01(memory, pool, memory.regions(), NOTHING, flush, large=large, backed=backed)
        marked = type(outer.memory)(memory, memory.is_offered)  # L0's own marks are no stores of L1's
        self.shadow = Shadow(memory, marked, pool, self.ept01, is_l0s, eager=options.eager)
        outer.memory.watched, outer.memory.on_write = self.ept01.protected, self._written
        self._granted: dict[int, bytes] = {}  # pages that one instruction may write → what they held before
        self._at = 0  # its RIP

    def save(self) -> StagesState:
        """Give what a snapshot keeps."""
        granted = [(page, before.hex()) for page, before in self._granted.items()]
        return StagesState(self._pool.free, self.shadow.save(), tuple(sorted(self.ept01.protected)), granted, self._at)

    def load(self, state: StagesState) -> None:
        """Take what `save` gave, with memory as it was then."""
        self._granted = {page: bytes.fromhex(before) for page, before in state.granted}
        self._at = state.at
        self._pool.free = state.free
        self.ept01.protected.clear()
        self.ept01.protected.update(state.protected)
        self.shadow.load(state.shadow, reserved(self._cpu.features.maxphyaddr))

    def eptp02(self, guest: Merged) -> int | None:
        """Give the EPT pointer by which L2 runs."""
        root12 = guest.root12
        if root12 is None:
            return guest.outer.eptp
        return eptp_of(self.shadow.root(root12).address, dirty=root12.dirty)

    # ---- violations -----------------------------------------------------------------------------------------------------

    def take(self, guest: UnderL0, exit_: VmExit) -> bool:
        """Deal with an EPT violation; False, with the exit made L1's, where EPT12 refuses the access."""
        assert exit_.gpa is not None
        root12 = guest.root12 if isinstance(guest, Merged) else None
        if root12 is not None:
            return self._take_l2s(guest, root12, exit_, exit_.gpa)
        leaf = self.ept01.leaf(exit_.gpa)
        if leaf is not None:
            page = exit_.gpa & -PAGE
            if page not in self.ept01.protected:
                raise Unimplemented(f"an EPT violation at {page:#x}, which EPT01 maps")
            self._outer.left(exit_.reason, exit_.qualification, exit_.gpa)
            self._grant(page)
            self._let_store(exit_)
            return True
        self.settle()
        self._outer.left(exit_.reason, exit_.qualification, exit_.gpa)
        leaf = self.ept01.fill(exit_.gpa, is_l0s=self._is_l0s(exit_.gpa))
        self._tell_fill(exit_.gpa, leaf.entry, leaf.level)
        self._go_on(exit_)
        return True

    def _take_l2s(self, guest: UnderL0, root12: Root, exit_: VmExit, gpa: int) -> bool:
        qualification = exit_.qualification
        need, kind = qualification & _DATA, qualification & _KIND
        if qualification & _FETCH:
            need = XU if root12.mode_based and qualification & _USER else X
        inner = guest.inner
        log = None if inner is None else page_log(inner, self._outer.memory)
        try:
            filled = self.shadow.fill(root12, gpa, need, kind, log)
        except SecondStageFault as fault:
            self.settle()
            exit_.reason, exit_.qualification = REASONS[fault.result], fault.qualification
            exit_.gpa = None if fault.result == LOG_FULL else fault.gpa
            if not fault.qualification & _LINEAR:
                exit_.linear = None
            return False
        if filled.allowed:
            self.settle()
        self._outer.left(exit_.reason, qualification, gpa)
        if filled.allowed:
            self._tell_fill(gpa, filled.page, filled.level)
            self._go_on(exit_)
        else:
            self._grant(filled.page)
            self.shadow.fill(root12, gpa, need, kind, log)
            self._let_store(exit_)
        return True

    def _tell_fill(self, gpa: int, page: int, level: int) -> None:
        self._outer.tell(Kind.EPT_FILL, gpa, page & -PAGE, level, cost=self._cpu.costs.l0_fill)

    def _go_on(self, exit_: VmExit) -> None:
        """Have the guest make the access again, and the event delivered whose delivery made it."""
        if exit_.nmi_unblocking:
            self._cpu.nmi_blocked = True
        self._outer.resume()
        self._deliver_again(exit_)

    def _deliver_again(self, exit_: VmExit) -> None:
        if exit_.vectoring:
            inject(self._cpu, During(exit_.vectoring, exit_.vectoring_error, exit_.length))

    # ---- stores to protected tables -------------------------------------------------------------------------------------

    def _grant(self, page: int) -> None:
        if page not in self._granted:
            self._granted[page] = self._cpu.memory.read(page, PAGE)
            self.ept01.grant(page, write=True)

    def _let_store(self, exit_: VmExit) -> None:
        """Have the access made again, alone."""
        cpu = self._cpu
        if exit_.nmi_unblocking:
            cpu.nmi_blocked = True
        self._at = cpu.q[RIP]
        if exit_.vectoring:
            self._deliver_again(exit_)
            self.settle()
            return
        self._traps.pending.step()
        cpu.request_attention()

    def stepped(self) -> None:
        """Between two instructions: the one that was let pass may have ended."""
        if not self._granted or self._traps.pending.stepping:
            return
        if self._cpu.q[RIP] == self._at:  # another turn of a string instruction, or it has not begun
            self._traps.pending.step()
            self._cpu.request_attention()
        else:
            self.settle()

    def settle(self) -> None:
        """Protect again what one instruction was let write, and follow what it has written."""
        if not self._granted:
            return
        granted, self._granted = self._granted, {}
        memory, shadow = self._cpu.memory, self.shadow
        for page, before in granted.items():
            if page in self.ept01.protected:
                self.ept01.grant(page, write=False)
            shadow.drop_maps(page)
            self._cpu.translation.drop_frame(page >> 12)
            after = memory.read(page, PAGE)
            if after != before:
                shadow.stored(page, changed_slots(before, after))
            self._outer.tell(Kind.TABLE_STORE, page, cost=self._cpu.costs.l0_store)
        self._outer.resume()

    def _written(self, address: int, old: int, new: int) -> None:
        """Follow a store that L0 or the silicon makes for L1 to a protected table: a VMCLEAR there, a list of MSRs."""
        page = address & -PAGE
        self.shadow.stored(page, {address - page >> 3: new} if old != new else {})
