"""One linear address's page tables in a small memory, and the walkers of `paracell.mmu` put to an access of it."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from ...mmu.rights import EXEC, READ, WRITE, Context, table
from ...mmu.walk import FRAME_SHIFT, RIGHTS, Mode, Paging, attributes, error_code, reserved_bits, walk, walker
from ...pku.rights import denied
from .paging import BITS32, LEVEL4, PAE, SHIFTS, Access, Outcome, State

MODES: Final = {BITS32: Mode.BITS32, PAE: Mode.PAE, LEVEL4: Mode.LEVEL4}
TABLES: Final = (0x1000, 0x5000, 0x9000, 0xC000)  # one for each level, top first; pages between them stay empty
SIZE: Final = 0x10000


class Memory:
    """64 KiB, all zero but for the entries that are put there."""

    def __init__(self) -> None:
        self.words = memoryview(bytearray(SIZE)).cast("Q")
        self.halves = self.words.cast("B").cast("I")
        self.low = SIZE

    def read64(self, address: int) -> int:
        """Read a word; ones where there is no memory."""
        return self.words[address >> 3] if address < SIZE else (1 << 64) - 1

    def write64(self, address: int, value: int) -> None:
        """Write a word."""
        self.words[address >> 3] = value


class Tables:
    """The entries that one linear address meets, each at the index that the address gives it."""

    def __init__(self, mode: str, linear: int) -> None:
        self.mode = mode
        self.linear = linear
        self.memory = Memory()
        shifts = SHIFTS[mode]
        mask = 0x3FF if mode == BITS32 else 0x1FF
        self.slots = [base // self._width + (linear >> s & mask) for base, s in zip(TABLES, shifts, strict=False)]
        self._view = self.memory.halves if mode == BITS32 else self.memory.words

    @property
    def _width(self) -> int:
        return 4 if self.mode == BITS32 else 8

    def outcome(self, state: State, access: Access, entries: tuple[int, ...], *, quick: bool = False) -> Outcome:
        """Let the walker go; give what it did in the model's terms.  `quick` takes the one that the machine's TLB calls."""
        view, slots = self._view, self.slots
        first = 0
        if self.mode == PAE:
            first, pdptes = 1, tuple(entries[0] if i == self.linear >> 30 else 0 for i in range(4))
        else:
            pdptes = (0, 0, 0, 0)
        for slot, entry in zip(slots[first:], entries[first:], strict=True):
            view[slot] = entry
        paging, context, rights = _registers(state, access, pdptes)
        need = WRITE if access.write else EXEC if access.fetch else READ
        trail: list[int] = []
        if quick:
            got = walker(self.memory, paging)(self.linear, need, rights)
            if got == RIGHTS:  # the error code asks for what the walk has met
                walk(self.memory, paging, self.linear, need, rights, trail)
        else:
            got = walk(self.memory, paging, self.linear, need, rights, trail)
        after = entries[:first] + tuple(view[slot] for slot in slots[first:])
        if got >= 0:
            return Outcome(got >> FRAME_SHIFT << 12 | self.linear & 0xFFF, None, after)
        return Outcome(
            None, int(error_code(paging, context, need, got, attributes(trail) if got == RIGHTS else 0)), after
        )


@lru_cache(maxsize=4096)
def _registers(state: State, access: Access, pdptes: tuple[int, int, int, int]) -> tuple[Paging, Context, bytes]:
    mode = MODES[state.mode]
    four = mode is Mode.LEVEL4
    fetch_bit = state.smep or (state.nxe and mode is not Mode.BITS32)
    reserved = reserved_bits(mode, nxe=state.nxe, maxphyaddr=state.maxphyaddr)
    root = TABLES[1] if mode is Mode.PAE else TABLES[0]
    paging = Paging(mode, root, reserved, fetch_bit, state.pse, pdptes)
    context = Context(
        user=access.user,
        wp=state.wp,
        smep=state.smep,
        smap=state.smap and not access.user and (access.implicit or not state.ac),
        user_keys=denied(state.pkru, user=access.user, wp=state.wp) if four and state.pke else (0, 0),
        supervisor_keys=denied(state.pkrs, user=False, wp=state.wp) if four and state.pks else (0, 0),
    )
    return paging, context, table(context)
