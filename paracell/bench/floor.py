"""Floors: what Unicorn and ctypes cost by themselves, on an engine that has no machine around it."""

from __future__ import annotations

import ctypes
import time
from typing import TYPE_CHECKING, Any, Final

from ..emu import layout
from ..emu.callbacks import Prototypes
from ..emu.engine import MEM_FETCH, SLOT_BITS, SLOTS, Engine
from ..emu.registers import RCX, RDI, RIP, RSI, RSP
from ..signals import stopping

if TYPE_CHECKING:
    from ..guest.elf import Symbol
    from ..guest.image import Image

_CODE: Final = 0x100000
_STACK: Final = 0x1F0000
_DATA: Final = 0x200000
_SIZE: Final = 0x600000
_LONG_MODE: Final = 1 << 14 | 1 << 15
_EXCEPTION: Final = layout.OLD_EXCEPTION >> 2
_TRAPS: Final = bytes.fromhex("0f01ef 0f01ef ffc9 75f6 f4".replace(" ", ""))  # 1: wrpkru; wrpkru; dec ecx; jnz 1b; hlt
_HLT: Final = b"\xf4"
# Unicorn's own prototypes: handle first, the user's pointer last.
_DOCUMENTED: Final = Prototypes(
    ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_uint32, ctypes.c_void_p),
    ctypes.CFUNCTYPE(ctypes.c_bool, ctypes.c_void_p, ctypes.c_void_p),
    ctypes.CFUNCTYPE(ctypes.c_bool, ctypes.c_void_p, ctypes.c_uint64, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p),
    ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p),
)


class Bare:
    """An engine with the smallest callbacks: a fill that maps everything to itself, traps that step RIP by three bytes."""

    def __init__(self) -> None:
        self.engine = Engine()
        self._ram = (ctypes.c_char * (_SIZE + 4096))()
        self._base = ctypes.addressof(self._ram) + 4095 & ~4095
        self.engine.map_ram(0, _SIZE, self._base)
        engine, q, d = self.engine, self.engine.q, self.engine.d
        entry = engine.entry

        def fill(_engine: int, gva: int, kind: int, pointer: int, _user: Any) -> bool:
            view = entry(pointer)
            view[0] = gva
            view[1] = 7 if kind == MEM_FETCH else 3  # stores to a page that can hold code are slow
            return True

        def step(_engine: int, _user: Any) -> bool:
            d[_EXCEPTION] = 0xFFFFFFFF
            q[RIP] += 3
            return True

        def leave(_engine: int, _vector: int, _user: Any) -> None:
            d[_EXCEPTION] = 0xFFFFFFFF
            engine.stop()

        def nothing(*_: Any) -> None:
            return None

        engine.install(
            interrupt=leave,
            invalid=step,
            fill=fill,
            syscall=nothing,
            sysenter=nothing,
            cpuid=lambda *_: 0,
            port_in=lambda *_: 0,
            port_out=nothing,
            block=nothing,
            prototypes=_DOCUMENTED,
        )
        hflags = layout.HFLAGS >> 2
        d[hflags] = d[hflags] & ~SLOT_BITS | _LONG_MODE | SLOTS[0][0]

    def time(self, code: bytes, **registers: int) -> float:
        """Run `code`, then HLT, with these of ``rcx rdi rsi`` set; seconds of processor time."""
        ctypes.memmove(self._base + _CODE, code + _HLT, len(code) + 1)
        self.engine.drop_all_code()
        q = self.engine.q
        for name, number in (("rcx", RCX), ("rdi", RDI), ("rsi", RSI)):
            q[number] = registers.get(name, 0)
        # The loops end in RET: send that to an HLT of its own.
        ctypes.memmove(self._base + _STACK, (_CODE - 16).to_bytes(8, "little"), 8)
        ctypes.memmove(self._base + _CODE - 16, _HLT, 1)
        q[RSP] = _STACK
        q[RIP] = _CODE
        with stopping(self.engine.stop_from_outside):
            start = time.thread_time()
            self.engine.run(_CODE)
            return time.thread_time() - start

    def two_traps(self, count: int) -> float:
        """Seconds for one pair of traps that only step RIP."""
        return self.time(_TRAPS, rcx=count) / count

    def loop(self, code: bytes, count: int) -> float:
        """Seconds for one turn of a loop that counts RDI down."""
        return self.time(code, rdi=count) / count

    def refill(self, touch: bytes, pages: int, rounds: int) -> float:
        """Seconds for one fill by the bare callback, the load that caused it included."""
        total = 0.0
        for _ in range(rounds):
            self.engine.flush_slots()
            total += self.time(touch, rdi=_DATA, rsi=pages)
        return total / (rounds * pages)


def function(image: Image, name: str) -> bytes:
    """Give the machine code of a function of `image`."""
    symbol: Symbol = next(s for s in image.symbols() if s.name == name)
    for segment in image.segments:
        if segment.vaddr <= symbol.address < segment.vaddr + len(segment.data):
            at = symbol.address - segment.vaddr
            return bytes(segment.data[at : at + symbol.size])
    raise LookupError(name)
