"""Translation contexts, and which of them TCG's three slots hold.

TCG has three translation slots, chosen by bits of ``hflags`` alone.  A *context* is everything that decides a translation
besides the tables: VPID, EPT, PCID, privilege, keys.  Each slot holds one context; going back to one that has a slot costs nothing::

    CPL 3, PKRU=user  ─┐      ┌ slot 0
    CPL 3, PKRU=kernel ┼──────┼ slot 1     a fourth context takes the slot used least recently
    CPL 0             ─┘      └ slot 2
"""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING, Any, Final

from ..mmu import rights
from ..mmu.registers import CR0, CR4
from ..mmu.rights import Context
from ..mmu.walk import Mode, Paging
from ..pku.rights import denied
from .engine import SLOT_BITS, SLOTS
from .registers import AC, EFLAGS, HFLAGS

if TYPE_CHECKING:
    from ..mmu.second import SecondStage
    from .cpu import Cpu
    from .engine import Engine

SMAP_SLOT: Final = 2  # the one that TCG leaves by itself when RFLAGS.AC is set
NOT_SLOT: Final = 0xFFFFFFFF & ~SLOT_BITS
SLOT_FLAGS: Final = tuple(flags for flags, _ in SLOTS)
IDENTITY: Final = bytes([0x77]) * 512
_UNPAGED: Final = rights.table(Context(user=False))  # what only an EPT limits
_SHARERS: Final = 64  # PKRUs that one slot stands for: a guest can make up four billion
_KEPT: Final = 4096  # address spaces and modes that are kept in mind: a guest chooses PKRSs, PCIDs and EPTs, too


class Slot:
    """What one TCG slot holds: a table of rights, and the PKRUs that name it in `slot_by_pkru`.

    With SMAP on and AC clear, the supervisor may not touch user pages whatever PKRU says.  Supervisor contexts that differ only in
    PKRU therefore share one slot; its `context` is None.

    Attributes:
        common: it is the supervisor's of every PCID: where the kernel's pages are global, it holds hardly anything else.
        local: it was given a page that is not global, so it must be emptied when the PCID changes.

    """

    __slots__ = ("common", "context", "local", "pkrus", "slot_by_pkru", "system", "table")

    def __init__(self) -> None:
        self.slot_by_pkru: dict[int, int] | None = None
        self.pkrus: list[int] = []
        self.table = IDENTITY
        self.context: Context | None = Context(user=False)
        self.system: bytes | None = None
        self.common = self.local = False


class Contexts:
    """The contexts of one processor.

    Attributes:
        paging: mode, root and reserved bits now in force.
        second: the second stage of translation, or None.
        slots: what each of the three holds.
        current_slot, previous_slot: the number of the slot in use, and of the one before it.
        table: the rights of the context in use.
        slot_by_pkru: PKRU → slot, for contexts that differ from this one in PKRU alone.

    """

    def __init__(self, cpu: Cpu, engine: Engine) -> None:
        self.cpu = cpu
        self.engine = engine
        self.paging = Paging(Mode.NONE, 0)
        self.second: SecondStage | None = None
        self.slots = (Slot(), Slot(), Slot())
        self.current_slot = 0
        self.previous_slot = 1
        self.table = IDENTITY
        self.slot_by_pkru: dict[int, int] = {}
        self._address_spaces: dict[tuple[Any, ...], int] = {}
        self._numbers = count()  # none comes twice: a slot may still hold what belongs to a forgotten one
        self.address_space = 0
        self._common_space = 0  # the supervisor's; outside VMX operation the same for all PCIDs
        self._common_pcid = 0  # the one that `Slot.local` is about
        self._slots_by_mode: dict[tuple[int, int, int], dict[int, int]] = {}
        self.current_modes: dict[int, dict[int, int]] = {}  # CPL 3 or RFLAGS.AC → slot_by_pkru, while the rest stays
        self._q = engine.q
        self._d = engine.d

    def select(self, key: tuple[Any, ...], pcid: int) -> None:
        """Take note of everything that contexts depend on besides privilege and keys: mode, VPID, EPT, control bits, and PCID.

        In VMX operation sides come and go with more than a PCID: there the supervisor's contexts have their PCID, too.
        """
        self.address_space = self._common_space = self._number((pcid, *key))
        if self._one_side:
            self._common_space = self._number(key)
            if pcid != self._common_pcid:
                self._common_pcid = pcid
                for number, slot in enumerate(self.slots):
                    if slot.common and slot.local:
                        slot.local = False
                        self.engine.flush_slots(SLOTS[number][1])
        self.current_modes = {}

    @property
    def _one_side(self) -> bool:
        cpu = self.cpu
        return cpu.vmx is None and cpu.guest is None and cpu.outer is None

    def _number(self, key: tuple[Any, ...]) -> int:
        number = self._address_spaces.get(key)
        if number is None:
            if len(self._address_spaces) >= _KEPT:
                self._address_spaces.clear()
                self._slots_by_mode.clear()
            number = self._address_spaces[key] = next(self._numbers)
        return number

    def context(self, *, user: bool, system: bool = False, pkru: int | None = None) -> Context:
        """Give the context of an access by the current mode, and by another PKRU if one is given (SDM "Access Rights")."""
        cpu = self.cpu
        cr4 = cpu.cr4
        wp = bool(cpu.cr0 & CR0.WP.mask)
        keys4 = self.paging.mode is Mode.LEVEL4
        rights_of = cpu.pkru if pkru is None else pkru
        user_keys = denied(rights_of, user=user, wp=wp) if keys4 and cr4 & CR4.PKE.mask else (0, 0)
        supervisor_keys = denied(cpu.pkrs, user=False, wp=wp) if keys4 and cr4 & CR4.PKS.mask else (0, 0)
        smap = bool(cr4 & CR4.SMAP.mask) and not user and (system or not self.engine.q[EFLAGS] & AC)
        return Context(user, wp, bool(cr4 & CR4.SMEP.mask), smap, user_keys, supervisor_keys)

    def rights_of(self, context: Context) -> bytes:
        """Give the rights that a context has of each attribute index."""
        if self.paging.mode:
            return rights.table(context)
        return IDENTITY if self.second is None else _UNPAGED

    def switch(self) -> None:
        """Give the current context a slot: called after every change of CPL, PKRU, PKRS, RFLAGS.AC or control bits."""
        cpu = self.cpu
        mode = 3 if cpu.cpl == 3 else self._q[EFLAGS] & AC
        slot_by_pkru = self.current_modes.get(mode)
        if slot_by_pkru is None:
            if len(self._slots_by_mode) > _KEPT:
                self._slots_by_mode.clear()
            space = self.address_space if mode else self._common_space
            slot_by_pkru = self.current_modes[mode] = self._slots_by_mode.setdefault((space, mode, cpu.pkrs), {})
        self.slot_by_pkru = slot_by_pkru
        number = slot_by_pkru.get(cpu.pkru)
        if number is None or number == SMAP_SLOT:
            self.switch_keys(cpu.pkru)
        elif number != self.current_slot:
            self._use(number)

    def switch_supervisor_keys(self) -> None:
        """The same where PKRS has changed."""
        self.current_modes = {}
        self.cpu.forget_transitions()
        self.switch()

    def switch_keys(self, pkru: int) -> None:
        """The same where only PKRU has changed: the way through a gate."""
        number = self.slot_by_pkru.get(pkru)
        if number is None or (number == SMAP_SLOT and self._q[EFLAGS] & AC):
            number = self._assign(pkru)
        if number != self.current_slot:  # as `_use`, without a call
            self.previous_slot, self.current_slot = self.current_slot, number
            self.table = self.slots[number].table
            d = self._d
            d[HFLAGS] = d[HFLAGS] & NOT_SLOT | SLOT_FLAGS[number]

    def capture(self) -> tuple[int, bytes, dict[int, int]]:
        """Give the current context, for `enter`."""
        return self.current_slot, self.table, self.slot_by_pkru

    def enter(self, number: int, table: bytes, slot_by_pkru: dict[int, int]) -> None:
        """Take a context that `capture` gave; TCG's hflags are the caller's.  `Cpu.forget_transitions` says when it no longer holds."""
        if number != self.current_slot:
            self.previous_slot, self.current_slot = self.current_slot, number
            self.table = table
        self.slot_by_pkru = slot_by_pkru

    def _use(self, number: int) -> None:
        self.previous_slot, self.current_slot = self.current_slot, number
        self.table = self.slots[number].table
        d = self._d
        d[HFLAGS] = d[HFLAGS] & NOT_SLOT | SLOT_FLAGS[number]

    def _assign(self, pkru: int) -> int:
        """Put a context into the slot used least recently of those where it may live."""
        context = self.context(user=self.cpu.cpl == 3)
        table = self.rights_of(context)
        number = self._same_rights(table)
        if number is not None:
            self.slots[number].pkrus.append(pkru)
            self.slots[number].context = self.slots[number].system = None
            self.slot_by_pkru[pkru] = number
            return number
        number = self._longest_unused()
        slot = self.slots[number]
        self.cpu.forget_transitions()
        self._empty(number)
        old = self.slot_by_pkru.get(pkru)
        if old is not None:
            self._empty(old)
        slot.slot_by_pkru, slot.pkrus = self.slot_by_pkru, [pkru]
        slot.context, slot.table, slot.system = context, table, None
        slot.common = self._one_side and self.cpu.cpl != 3 and not self.engine.q[EFLAGS] & AC
        slot.local = False
        self.slot_by_pkru[pkru] = number
        if number == self.current_slot:
            self.table = slot.table
        return number

    def _longest_unused(self) -> int:
        """Give the slot that was used least recently, of those where the current context may live.

        One with AC set may not live where AC moves TCG away.  TCG's helpers reach the stack of an IRET or RETF, which it begins before
        it traps, as a supervisor does, and from slot 0 that is by the index of slot 1: no supervisor lives there, and what a program
        leaves so is dropped (`Invalidation.popped`).
        """
        current, previous = self.current_slot, self.previous_slot
        homes = [number for number in (3 - current - previous, previous, current) if number or self.cpu.cpl == 3]
        if self.engine.q[EFLAGS] & AC:
            homes.remove(SMAP_SLOT)
        return homes[0]

    def _same_rights(self, table: bytes) -> int | None:
        """Give the slot of a supervisor's context that differs from this one in PKRU and in no right."""
        if self.cpu.cpl == 3 or self.engine.q[EFLAGS] & AC:
            return None
        for number, slot in enumerate(self.slots):
            if slot.slot_by_pkru is self.slot_by_pkru and slot.table is table and len(slot.pkrus) < _SHARERS:
                return number
        return None

    def _empty(self, number: int) -> None:
        slot = self.slots[number]
        if slot.slot_by_pkru is None:
            return
        for pkru in slot.pkrus:
            slot.slot_by_pkru.pop(pkru, None)
        slot.slot_by_pkru = None
        self.engine.flush_slots(SLOTS[number][1])

    @property
    def current(self) -> Context:
        """The context in use."""
        return self.slots[self.current_slot].context or self.context(user=self.cpu.cpl == 3)

    @property
    def ac_moves(self) -> bool:
        """The slot in use is the one that TCG leaves by itself when RFLAGS.AC is set."""
        return self.current_slot == SMAP_SLOT
