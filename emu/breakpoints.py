"""Hardware breakpoints: DR0–DR3 under DR7 (SDM "Debug Registers", "Debug Exceptions").

An instruction breakpoint is a fault before its instruction, unless RFLAGS.RF is set; a data breakpoint is a trap after it.
TCG tells of a data access while the instruction runs and can stop only between blocks; so while a data breakpoint is
set, the run loop counts instructions, which makes every instruction a place to stop.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from .cpu import Cpu

_LENGTH: Final = (1, 2, 8, 4)
_EXECUTE, _WRITE, _PORT, _ACCESS = range(4)
_RF: Final = 1 << 16


class Breakpoints:
    """The hooks that stand for the debug registers.

    Attributes:
        data: a data breakpoint is set.
        hits: DR6 bits of breakpoints that were met and not yet delivered.

    """

    def __init__(self, cpu: Cpu) -> None:
        self._cpu = cpu
        self._hooks: list[int] = []
        self._set: tuple[tuple[int, int, int, int], ...] = ()
        self.data = False
        self.hits = 0

    def update(self) -> None:
        """Follow the debug registers after MOV to DR."""
        dr = self._cpu.dr
        wanted = tuple(
            (i, dr[i], dr[7] >> 16 + 4 * i & 3, _LENGTH[dr[7] >> 18 + 4 * i & 3])
            for i in range(4)
            if dr[7] >> 2 * i & 3
        )
        if wanted == self._set:
            return
        engine = self._cpu.engine
        for hook in self._hooks:
            engine.unhook(hook)
        self._hooks.clear()
        self._set = wanted
        self.data = any(kind in {_WRITE, _ACCESS} for _, _, kind, _ in wanted)
        for number, address, kind, length in wanted:
            if kind == _EXECUTE:
                self._hooks.append(engine.hook_code(address, self._on_code(number)))
            elif kind != _PORT:
                begin = address & -length
                callback = self._on_data(number)
                self._hooks.append(engine.hook_data(begin - 7, begin + length - 1, callback, read=kind == _ACCESS))
        engine.drop_all_code()
        engine.stop()

    def _on_code(self, number: int) -> Any:
        def hit(*_: Any) -> None:
            if not self._cpu.system_flags & _RF:
                self.hits |= 1 << number
                self._cpu.engine.stop()

        return hit

    def _on_data(self, number: int) -> Any:
        def hit(_engine: int, _kind: int, address: int, size: int, _value: int, _user: Any) -> None:
            # The hook's range begins early, so that a wide access from below is seen: does it really touch the bytes?
            index, start, _, length = next(b for b in self._set if b[0] == number)
            start &= -length
            if address < start + length and start < address + size:
                self.hits |= 1 << index
                self._cpu.engine.stop()

        return hit
