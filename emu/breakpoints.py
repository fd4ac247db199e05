"""Hardware breakpoints: DR0–DR3 under DR7 (SDM "Debug Registers", "Debug Exceptions").

An instruction breakpoint is a fault before its instruction, unless RFLAGS.RF is set; a data or I/O breakpoint is a trap after
it.  TCG tells of a data access while the instruction runs and can stop only between blocks; so while such a breakpoint is
set, the run loop lets TCG run one instruction at a time, and what was met meanwhile is delivered between two.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ..mmu.address import PAGE
from ..mmu.registers import CR4
from ..mmu.rights import READ, WRITE
from ..mmu.walk import INDEX_MASK
from .callbacks import CODE, MEM
from .decode import decode
from .engine import MEM_WRITE
from .registers import RDI, RF, RIP, RSI, RSP, SS

if TYPE_CHECKING:
    from collections.abc import Callable

    from .cpu import Cpu

_LENGTH: Final = (1, 2, 8, 4)
_EXECUTE, _WRITE, _PORT, _ACCESS = range(4)
_LAST: Final = PAGE - 1


class _Point(NamedTuple):
    """One enabled breakpoint: [first, end) in linear memory or in I/O space."""

    bit: int
    kind: int
    first: int
    end: int


class Breakpoints:
    """The hooks that stand for the debug registers.

    Attributes:
        watching: a data or I/O breakpoint is set.
        on_code: an instruction breakpoint is set.
        hits: DR6 bits of data and I/O breakpoints that were met; they trap after the instruction, or, where that loads SS,
            after the next one.
        before: DR6 bits of instruction breakpoints at RIP.
        on_hit: called when `hits` is no longer 0.

    """

    def __init__(self, cpu: Cpu) -> None:
        self._cpu = cpu
        self._hooks: list[int] = []
        self._set: list[_Point] = []
        self.watching = self.on_code = False
        self.hits = self.before = 0
        self.on_hit: Callable[[], None] = lambda: None
        self._code_callback, self._data_callback = CODE(self._on_code), MEM(self._on_data)

    def update(self) -> None:
        """Follow the debug registers after MOV to DR."""
        dr = self._cpu.dr
        wanted = []
        for i in range(4):
            kind, length = dr[7] >> 16 + 4 * i & 3, _LENGTH[dr[7] >> 18 + 4 * i & 3]
            first = dr[i] & -length
            if dr[7] >> 2 * i & 3:
                wanted.append(_Point(1 << i, kind, first, first + length))
        if wanted == self._set:
            return
        engine = self._cpu.engine
        self._cpu.translation.unhook(self._hooks)
        self._hooks.clear()
        self._set = wanted
        self._cpu.forget_transitions()
        self.watching = any(point.kind != _EXECUTE for point in wanted)
        self.on_code = any(point.kind == _EXECUTE for point in wanted)
        self._hooks += [
            engine.hook_code(point.first, self._code_callback) for point in wanted if point.kind == _EXECUTE
        ]
        if any(point.kind in {_WRITE, _ACCESS} for point in wanted):
            self._hooks.append(engine.hook_memory(self._data_callback))
        engine.drop_all_code()
        engine.stop()

    def touch(self, address: int, size: int, *, write: bool) -> None:
        """Compare a data access with the breakpoints."""
        for point in self._set:
            wanted = point.kind == _ACCESS or (write and point.kind == _WRITE)
            if wanted and address < point.end and point.first < address + size:
                self._hit(point.bit)

    def touch_port(self, port: int, size: int) -> None:
        """Compare an access to I/O space with the breakpoints: they need CR4.DE."""
        for point in self._set:
            if point.kind == _PORT and self._cpu.cr4 & CR4.DE.mask and port < point.end and point.first < port + size:
                self._hit(point.bit)

    def take(self) -> int:
        """Give `hits` to a #DB."""
        hits, self.hits = self.hits, 0
        return hits

    def _hit(self, bit: int) -> None:
        self.hits |= bit
        self.on_hit()

    def stops(self, address: int) -> bool:
        """Stop TCG before the instruction at a linear address if an instruction breakpoint is there; tells whether it did."""
        bits = 0
        for point in self._set:
            if point.kind == _EXECUTE and point.first == address:
                bits |= point.bit
        if not bits or self._cpu.system_flags & RF:
            return False
        self.before |= bits
        self._cpu.engine.stop()
        return True

    def _on_code(self, _engine: int, address: int, _size: int, _user: Any) -> None:
        self.stops(address)

    def _on_data(self, _engine: int, kind: int, pa: int, size: int, _value: int, _user: Any) -> None:
        """Look at an access that TCG is about to make: Unicorn gives the physical address, and breakpoints are linear ones."""
        try:
            at = pa & _LAST
            for point in self._set:
                first = point.first & _LAST
                if point.kind in {_WRITE, _ACCESS} and (
                    (first - at < size and at - first < point.end - point.first) or first + PAGE - at < size
                ):
                    page = linear_page(self._cpu, pa, write=kind == MEM_WRITE)
                    self.touch(page << 12 | at, size, write=kind == MEM_WRITE)
                    return
        except BaseException as error:  # noqa: BLE001  (the run loop raises it)
            self._cpu.fail(error)


def linear_page(cpu: Cpu, pa: int, *, write: bool) -> int:
    """Give the linear page through which TCG makes an access to a physical address: the one that the TLB has for it.

    Where it has several, the instruction's operands tell.
    """
    translation, frame, need = cpu.translation, pa >> 12, WRITE if write else READ
    table = translation.table
    found = {
        page
        for space in (translation.tlb.current, translation.tlb.shared)
        for page, entry in space.items()
        if entry >> 12 == frame and table[entry & INDEX_MASK] & need
    }
    if len(found) < 2:
        return found.pop() if found else frame
    insn = decode(cpu.code_at(cpu.q[RIP]), translation.code_size)
    addresses = [cpu.operand_address(insn, each) for each in insn.operands if each.kind == "mem"]
    pages = {address >> 12 for address in addresses if (address ^ pa) & _LAST == 0}
    stack = cpu.q[RSP] + cpu.segment_base(SS)
    implied = {address >> 12 for address in (cpu.q[RSI], cpu.q[RDI], stack, stack - 8)}
    return min(found & pages or found & implied or found)
