"""Floors of crossings: callbacks that do the architectural effect and nothing else, around as many guest instructions.

No check is made, no time passes, no event is told of; what is left is what the operation sections of the manual have the processor
read and write: registers, the whole of RFLAGS, CPL; for a page fault the walk, the gate, the code descriptor, the translation of the
stack and the frame; for IRETQ the frame and two descriptors.  And the slot changes, for the rights do.
"""

from __future__ import annotations

import ctypes
import struct
import time
from typing import TYPE_CHECKING, Any, Final

from ..emu import layout
from ..emu.engine import MEM_FETCH, SLOT_BITS, SLOTS, Engine
from ..emu.registers import (
    ARITHMETIC,
    CC_OP,
    CC_SRC,
    CS_WORD,
    DF,
    DF_WORD,
    EFLAGS,
    HFLAGS,
    OLD_EXCEPTION,
    R11,
    RAX,
    RCX,
    RDI,
    RIP,
    RSP,
    SS_WORD,
    U32,
)
from ..signals import stopping

if TYPE_CHECKING:
    from collections.abc import Callable

_USER_CODE, _KERNEL_CODE, _STACK, _TABLES, _SIZE = 0x100000, 0x110000, 0x1F0000, 0x20000, 0x400000
_IDT, _GDT = 0x30000, 0x31000
_REFUSED: Final = 0x300000
_USER, _KERNEL = (_SLOT_FLAGS := tuple(flags for flags, _ in SLOTS))[:2]
_MODE: Final = layout.HF_LMA | layout.HF_CS64 | 1 << 4 | 1 << 5 | 1 << 7
_FRAME6, _FRAME5 = struct.Struct("<6Q"), struct.Struct("<5Q")
# Five instructions: mov rax, [rsp-32]; add rax, 1; mov [rsp-32], rax; test rax, rax; add rax, 1
_FIVE: Final = "488b4424e0" + "4883c001" + "48894424e0" + "4885c0" + "4883c001"
# 17 instructions in three blocks, as kernels have them: five and a call; four and RET; five and a jump over what was called.
_FOUR: Final = _FIVE[:-8]
_SEVENTEEN: Final = _FIVE + "e817000000" + _FIVE + "eb12" + _FOUR + "c3"
_AGAIN: Final = "48ffcf" + "0f85"  # dec rdi; jnz …
_SYSCALL, _SYSRETQ, _WRPKRU, _IRETQ, _HLT = "0f05", "480f07", "0f01ef", "48cf", "f4"
# What one turn of each row runs in the guest, counted with the exact clock; in 26 and 31 blocks.
NULL_INSTRUCTIONS: Final = 148
XGATE_INSTRUCTIONS: Final = 173


class Effects:
    """One engine with two translation slots, user and kernel, over memory that is mapped to itself."""

    def __init__(self) -> None:
        self.engine = Engine()
        self._ram = (ctypes.c_char * (_SIZE + 4096))()
        self._base = ctypes.addressof(self._ram) + 4095 & ~4095
        self.engine.map_ram(0, _SIZE, self._base)
        self._memory = memoryview((ctypes.c_char * _SIZE).from_address(self._base)).cast("B")
        self._words = self._memory.cast("Q")
        for level in range(4):  # tables whose walk ends with an entry that is not present
            at = _TABLES + 4096 * level
            self._words[at >> 3 : (at >> 3) + 512] = memoryview(
                struct.pack("<512Q", *[at + 4096 | 0x27 if level < 3 else 0] * 512)
            ).cast("Q")
        self.pkru = self.cr2 = self.cpl = self.iopl = 0
        self.shadow = False
        self._tlb = {_STACK - 4096 >> 12: _STACK - 4096, _STACK >> 12: _STACK}
        self._words[_IDT + 14 * 16 >> 3] = _KERNEL_CODE & 0xFFFF | 8 << 16 | 0x8E << 40 | (_KERNEL_CODE >> 16) << 48
        engine = self.engine
        engine.d[HFLAGS] = engine.d[HFLAGS] & ~SLOT_BITS | _MODE | _USER
        self._invalid: Callable[[], bool] = lambda: False

    def close(self) -> None:
        """Free the engine."""
        self.engine.close()

    # ---- the effects ------------------------------------------------------------------------------------------

    def _callbacks(self, invalid: Callable[[], bool]) -> None:
        engine, words = self.engine, self._words
        q, d, flags, entry = engine.q, engine.d, engine.flags, engine.entry
        exception, kernel = engine.places.exception_index, d[HFLAGS] & ~SLOT_BITS | _KERNEL

        def fill(_engine: int, gva: int, kind: int, pointer: int) -> bool:
            if gva == _REFUSED:
                at = _TABLES
                for shift in (39, 30, 21, 12):
                    at = words[at + (gva >> shift & 511) * 8 >> 3] & ~0xFFF
                self.cr2 = gva
                exception[0] = 14
                return False
            view = entry(pointer)
            view[0] = gva
            view[1] = 7 if kind == MEM_FETCH else 3  # stores to a page that can hold code are slow
            return True

        def syscall() -> None:
            lazy = (q[CC_SRC] if d[CC_OP] == 1 else flags()) & ARITHMETIC
            q[RCX] = q[RIP] + 2
            q[R11] = q[EFLAGS] & ~ARITHMETIC | lazy | self.iopl << 12 | (0 if d[DF_WORD] == 1 else DF)
            q[EFLAGS] &= ~0x47700
            d[DF_WORD] = 1
            self.cpl, self.shadow = 0, False
            q[RIP] = _KERNEL_CODE - 2
            d[CS_WORD], d[SS_WORD] = 8, 16
            d[HFLAGS] = kernel

        def nothing(*_: Any) -> None:
            return None

        engine.install(
            interrupt=self._interrupt(),
            invalid=invalid,
            fill=fill,
            syscall=syscall,
            sysenter=nothing,
            cpuid=lambda *_: 0,
            port_in=lambda *_: 0,
            port_out=nothing,
            block=nothing,
        )

    def _interrupt(self) -> Callable[[int, int], None]:
        """Make the callback for page faults, IRETQ and the HLT at the loop's end."""
        engine, memory, words, tlb = self.engine, self._memory, self._words, self._tlb
        q, d, flags, go_on = engine.q, engine.d, engine.flags, engine.go_on
        kernel, user = d[HFLAGS] & ~SLOT_BITS | _KERNEL, d[HFLAGS]

        def interrupt(_engine: int, vector: int) -> None:
            if vector == 14:
                go_on()
                lazy = (q[CC_SRC] if d[CC_OP] == 1 else flags()) & ARITHMETIC
                low, high = words[_IDT + 14 * 16 >> 3], words[(_IDT + 14 * 16 >> 3) + 1]
                self.descriptor = words[_GDT + (low >> 16 & 0xFFF8) >> 3]
                rsp = q[RSP]
                top = (rsp & ~15) - 48
                image = q[EFLAGS] & ~ARITHMETIC | lazy | self.iopl << 12 | (0 if d[DF_WORD] == 1 else DF)
                at = tlb[top >> 12] | top & 0xFFF
                _FRAME6.pack_into(memory, at, 4, q[RIP], d[CS_WORD], image, rsp, d[SS_WORD])
                q[RSP], q[RIP] = top, low & 0xFFFF | low >> 32 & 0xFFFF0000 | (high & 0xFFFFFFFF) << 32
                self.cpl, self.shadow = 0, False
                q[EFLAGS] &= ~0x4700
                q[CC_SRC] = lazy
                d[CC_OP] = 1
                d[CS_WORD], d[SS_WORD] = 8, 16
                d[HFLAGS] = kernel
                return
            d[OLD_EXCEPTION] = U32
            if q[RIP] < _KERNEL_CODE:
                engine.stop()  # HLT, at the loop's end
                return
            top = q[RSP]
            rip, cs, image, rsp, ss = _FRAME5.unpack_from(memory, tlb[top >> 12] | top & 0xFFF)
            self.descriptor, self.stack = words[_GDT + (cs & 0xFFF8) >> 3], words[_GDT + (ss & 0xFFF8) >> 3]
            self.cpl, self.shadow = cs & 3, False
            d[DF_WORD] = U32 if image & DF else 1
            q[RIP], q[RSP] = rip, rsp
            q[CC_SRC] = image & ARITHMETIC
            d[CC_OP] = 1
            q[EFLAGS] = image & 0x200 | 2
            d[CS_WORD], d[SS_WORD] = cs, ss
            d[HFLAGS] = user

        return interrupt

    def system_calls(self, count: int) -> float:
        """Seconds for SYSCALL, SYSRET and what a null system call of `native` runs beside."""
        q, d = self.engine.q, self.engine.d
        user = d[HFLAGS]

        def sysret() -> bool:
            q[RIP], q[CC_SRC] = q[RCX], q[R11] & ARITHMETIC
            d[CC_OP] = 1
            d[DF_WORD] = U32 if q[R11] & DF else 1
            q[EFLAGS] = q[R11] & 0x200 | 2
            self.cpl, self.shadow = 3, False
            d[CS_WORD], d[SS_WORD] = 0x33, 0x2B
            d[HFLAGS] = user
            return True

        self._callbacks(sysret)
        half = _SEVENTEEN * (NULL_INSTRUCTIONS // 34)
        return self._loop(half + _SYSCALL, half + _SYSRETQ, count)

    def gates(self, count: int) -> float:
        """Seconds for two WRPKRU and what a null system call through the XGate runs beside."""
        q, d = self.engine.q, self.engine.d
        slots = {0: _SLOT_FLAGS[0], 0xC: _SLOT_FLAGS[1]}

        def wrpkru() -> bool:
            self.pkru = pkru = q[RAX] & U32
            d[HFLAGS] = d[HFLAGS] & ~SLOT_BITS | slots[pkru]
            q[RIP] += 3
            return True

        self._callbacks(wrpkru)
        half = _SEVENTEEN * (XGATE_INSTRUCTIONS // 34)
        enter, leave = "b80c000000" + "31c9" + "31d2" + _WRPKRU, "31c0" + "31c9" + "31d2" + _WRPKRU
        return self._loop(half + enter + half + leave, "", count)

    def page_faults(self, count: int) -> float:
        """Seconds for a page fault, its handler that skips the load, as that of guest/bench does, and IRETQ."""
        self._callbacks(lambda: False)
        load = "488b03"  # mov rax, [rbx]
        return self._loop(load, "4883c408" + "4883042403" + _IRETQ, count)  # add rsp, 8; add qword [rsp], 3; iretq

    def _loop(self, body: str, kernel: str, count: int) -> float:
        """Run the body `count` times, with this code in the kernel; seconds of processor time for one turn."""
        turn = bytes.fromhex(body + _AGAIN)
        code = turn + struct.pack("<i", -len(turn) - 4) + bytes.fromhex(_HLT)
        self._memory[_USER_CODE : _USER_CODE + len(code)] = code
        handler = bytes.fromhex(kernel)
        self._memory[_KERNEL_CODE : _KERNEL_CODE + len(handler)] = handler
        engine = self.engine
        engine.q[RDI], engine.q[RSP], engine.q[3] = count, _STACK, _REFUSED
        with stopping(engine.stop_from_outside):
            start = time.thread_time()
            error = engine.run(_USER_CODE)
            seconds = time.thread_time() - start
        if error or engine.q[RDI]:
            raise RuntimeError(f"the floor's loop ended early: error {error}, {engine.q[RDI]} turns to go")
        return seconds / count


def floor(measure: Callable[[Effects, int], float], count: int = 20_000) -> float:
    """Measure one of the floors on an engine of its own."""
    effects = Effects()
    try:
        return measure(effects, count)
    finally:
        effects.close()
