"""The one file that touches Unicorn: a bare engine whose live processor state Python reads and writes in place.

Unicorn's binding costs 1.6 µs for each register.  Here the library is called through plain ``ctypes``, and the live
``CPUX86State`` is found once and then laid under a ``memoryview``: a register costs 30 ns, and a trap copies nothing::

    uc_struct ──cpu──▶ X86CPU ┬ CPUState …
                              └ CPUX86State: regs[16] eip eflags cc_dst cc_src cc_src2 cc_op df hflags … segs[6] …
                                ▲ Engine.q (64-bit words) and Engine.d (32-bit words) start here

Nothing of this is assumed: `calibrate` finds the state by values it wrote through the public API, `layout.verify` checks each
field, and a library that differs is refused with `UnicornMismatch`.
"""

from __future__ import annotations

import ctypes
import importlib.util
import threading
from collections import Counter
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from . import layout
from .calibrate import bounds, calibrate, find_state
from .callbacks import CPUID_INSN, EDGE, IN_INSN, LEAN, MMIO_READ, MMIO_WRITE, OUT_INSN, TOUCH, Prototypes
from .counting import MOST, UNLIMITED, Counting, Unit
from .layout import UnicornMismatch

if TYPE_CHECKING:
    from collections.abc import Callable

_ARCH_X86: Final = 4
_MODE_64: Final = 8
_CTL_USE_EXITS: Final = 4
_CTL_TLB_TYPE: Final = 12
_CTL_TB_FLUSH: Final = 10
_CTL_TCG_BUFFER_SIZE: Final = 13
# Each block of translated code calls functions of the library.  Over more than 2 GiB such calls are indirect, and whole programs run
# 1.3 to 1.7 times as long.  Unicorn would reserve 1 GiB for each engine, so that the second of a process lay too far away.
_CODE_BUFFER: Final = 128 << 20
_HOOK_INTR: Final = 1 << 0
_HOOK_INSN: Final = 1 << 1
_HOOK_CODE: Final = 1 << 2
_HOOK_MEM_READ: Final = 1 << 10
_HOOK_MEM_WRITE: Final = 1 << 11
_HOOK_INSN_INVALID: Final = 1 << 14
_HOOK_EDGE_GENERATED: Final = 1 << 15
_HOOK_BLOCK: Final = 1 << 3
_HOOK_TLB_FILL: Final = 1 << 17
_INS_SYSCALL: Final = 699
_INS_SYSENTER: Final = 700
_INS_CPUID: Final = 113
_INS_IN: Final = 218
_INS_OUT: Final = 500
_EFLAGS, _DF = layout.EFLAGS >> 3, layout.DF >> 2
_CC_SRC, _CC_OP = layout.CC_SRC >> 3, layout.CC_OP >> 2
_BLOCKS: Final = Unit.BLOCKS  # a member read off the class takes 0.1 µs


# Unicorn's kinds of accesses, which fills and `MEM` callbacks are told.
MEM_READ, MEM_WRITE, MEM_FETCH = 16, 17, 18

# TCG's three translation slots, as (hflags bits, mmu index mask for a flush).  See unicorn-facts: index 0 is
# "supervisor with SMAP", 1 user, 2 "supervisor without SMAP".
SLOTS: Final = ((3, 1 << 1), (1, 1 << 2), (1 | 1 << 23, 1 << 0))
SLOT_BITS: Final = 3 | 1 << 23


def library_path() -> Path:
    """Where the installed ``unicorn`` package keeps its shared library; the package itself is never executed."""
    spec = importlib.util.find_spec("unicorn")
    if spec is None or not spec.submodule_search_locations:
        raise UnicornMismatch("the package unicorn is not installed")
    folder = Path(spec.submodule_search_locations[0]) / "lib"
    for name in ("libunicorn.so.2", "libunicorn.2.dylib"):
        if (folder / name).exists():
            return folder / name
    raise UnicornMismatch(f"no libunicorn 2 in {folder}")


_ZERO: Final = ctypes.c_uint64(0)
_AGAIN: Final = 0.05  # s


class Engine:
    """One Unicorn instance over one block of guest-physical RAM.

    Attributes:
        q: the live CPU state as 64-bit words (``q[0..15]`` general registers in x86 order, ``q[16]`` RIP).
        d: the same bytes as 32-bit words.
        raw: the same bytes.
        flags: gives the six arithmetic flags, which TCG keeps lazily as an operation and its operands; other bits are garbage.
        no_block_seen: Unicorn has not told of a new block since the start, or since all code was dropped.
        places: what `calibrate` has found.
        counting: what TCG counts.
        running: `run` has been entered and not left.
        leaving: `stop_after_block` has been called, and TCG runs still.

    """

    def __init__(self) -> None:
        self._lib: Any = ctypes.CDLL(str(library_path()))
        self._declare()
        handle = ctypes.c_void_p()
        self._check(self._lib.uc_open(_ARCH_X86, _MODE_64, ctypes.byref(handle)), "uc_open")
        self.handle: int = handle.value or 0
        self._pointer, self._count = handle, ctypes.c_size_t()
        self._callbacks: dict[int, Any] = {}  # by hook
        self._unhooked: dict[int, Any] = {}  # callbacks that translated code may still call, by `id`
        self._device_callbacks: list[Any] = []
        self._hook_addresses: dict[int, int] = {}  # of hooks on single instructions
        self._hooked: Counter[int] = Counter()  # how many each address has
        self._ctl(_CTL_TCG_BUFFER_SIZE, ctypes.c_uint32(_CODE_BUFFER))
        self._ctl(_CTL_TLB_TYPE, ctypes.c_int(1))
        self._ctl(_CTL_USE_EXITS, ctypes.c_int(1))
        self._lay_views(find_state(self.handle, self._write_register))
        layout.verify(self._write_register, self.raw)
        layout.forbid_random(self.raw)
        self._views: dict[int, memoryview] = {}
        self._stopped = self.leaving = self.running = False
        self.no_block_seen = True
        self.places = calibrate(self)
        self.drop_all_code()
        self.counting = Counting(self.places, self.d, lambda: bounds(self.hook(_HOOK_BLOCK, TOUCH(self._on_block))))

    def _declare(self) -> None:
        lib, ptr, u64 = self._lib, ctypes.c_void_p, ctypes.c_uint64
        self._start = lib.uc_emu_start  # takes ctypes objects made beforehand: half the cost of converting numbers
        lib.uc_emu_stop.argtypes = [ptr]
        lib.uc_reg_write.argtypes = [ptr, ctypes.c_int, ptr]
        lib.uc_mem_map_ptr.argtypes = [ptr, u64, ctypes.c_size_t, ctypes.c_uint32, ptr]
        lib.uc_mmio_map.argtypes = [ptr, u64, ctypes.c_size_t, MMIO_READ, ptr, MMIO_WRITE, ptr]
        lib.uc_hook_del.argtypes = [ptr, ctypes.c_size_t]
        lib.uc_mem_unmap.argtypes = [ptr, u64, ctypes.c_size_t]
        lib.uc_close.argtypes = [ptr]
        try:
            # Exported by the wheel's library though not in its header: the exact tools for one page and one slot.
            self._flush_slots = lib.tlb_flush_by_mmuidx_x86_64
            self._flush_page = lib.tlb_flush_page_x86_64
            self._drop_code = lib.tb_invalidate_phys_range_x86_64
            self._fp_status, self._mxcsr_status = lib.update_fp_status_x86_64, lib.update_mxcsr_status_x86_64
        except AttributeError as error:
            raise UnicornMismatch(f"libunicorn exports no {error}") from error
        self._flush_slots.argtypes = [ptr, ctypes.c_uint16]
        self._flush_page.argtypes = [ptr, u64]
        self._drop_code.argtypes = [ptr, u64, u64]
        self._fp_status.argtypes = self._mxcsr_status.argtypes = [ptr]
        for call in (self._flush_slots, self._flush_page, self._drop_code):
            call.restype = None

    @staticmethod
    def _check(code: int, what: str) -> None:
        if code:
            raise UnicornMismatch(f"{what} failed with Unicorn error {code}")

    def _ctl(self, kind: int, *arguments: Any) -> None:
        word = kind | len(arguments) << 26 | 1 << 30
        self._check(self._lib.uc_ctl(ctypes.c_void_p(self.handle), ctypes.c_int(word), *arguments), f"uc_ctl {kind}")

    def _write_register(self, number: int, value: bytes) -> None:
        self._check(self._lib.uc_reg_write(self.handle, number, value), f"uc_reg_write {number}")

    def _lay_views(self, cpu_state: int) -> None:
        self.cpu_state = cpu_state
        self.state = cpu_state + layout.STATE
        self._begin = ctypes.c_uint64.from_address(self.state + layout.RIP)
        self.flags = self._lazy_flags()
        block = (ctypes.c_char * layout.SIZE).from_address(self.state)
        self.raw = memoryview(block).cast("B")
        self.q = self.raw.cast("Q")
        self.d = self.raw.cast("I")

    # ---- memory -----------------------------------------------------------------------------------------------

    def map_ram(self, address: int, size: int, host_pointer: int) -> None:
        """Map host memory as guest-physical RAM, with every right: the page tables decide, not Unicorn."""
        self._check(self._lib.uc_mem_map_ptr(self.handle, address, size, 7, host_pointer), "uc_mem_map_ptr")

    def unmap(self, address: int, size: int) -> None:
        """Take a mapping away."""
        self._check(self._lib.uc_mem_unmap(self.handle, address, size), "uc_mem_unmap")

    def map_mmio(self, address: int, size: int, read: Callable[..., int], write: Callable[..., None]) -> None:
        """Map a device region: ``read(handle, offset, size, _)``, ``write(handle, offset, size, value, _)``."""
        r, w = MMIO_READ(read), MMIO_WRITE(write)
        self._device_callbacks += r, w
        self._check(self._lib.uc_mmio_map(self.handle, address, size, r, None, w, None), "uc_mmio_map")

    # ---- hooks ------------------------------------------------------------------------------------------------

    def hook(self, kind: int, callback: Any, *extra: Any, begin: int = 1, end: int = 0) -> int:
        """Install a hook for addresses from `begin` to `end`; all addresses where those are 1 and 0."""
        hook = ctypes.c_size_t()
        code = self._lib.uc_hook_add(
            ctypes.c_void_p(self.handle),
            ctypes.byref(hook),
            ctypes.c_int(kind),
            callback,
            None,
            ctypes.c_uint64(begin),
            ctypes.c_uint64(end),
            *extra,
        )
        self._check(code, f"uc_hook_add {kind}")
        self._callbacks[hook.value] = callback
        return hook.value

    def install(
        self,
        *,
        interrupt: Callable[..., None],
        invalid: Callable[..., bool],
        fill: Callable[..., bool],
        syscall: Callable[..., None],
        sysenter: Callable[..., None],
        cpuid: Callable[..., int],
        port_in: Callable[..., int],
        port_out: Callable[..., None],
        block: Callable[..., None],
        prototypes: Prototypes = LEAN,
    ) -> None:
        """Install the callbacks that every machine has; all before the first run, as Unicorn demands."""
        self.hook(_HOOK_INTR, prototypes.interrupt(interrupt))
        self.hook(_HOOK_INSN_INVALID, prototypes.invalid(invalid))
        self.hook(_HOOK_TLB_FILL, prototypes.fill(fill))
        self.hook(_HOOK_INSN, prototypes.insn(syscall), ctypes.c_int(_INS_SYSCALL))
        self.hook(_HOOK_INSN, prototypes.insn(sysenter), ctypes.c_int(_INS_SYSENTER))
        self.hook(_HOOK_INSN, CPUID_INSN(cpuid), ctypes.c_int(_INS_CPUID))
        self.hook(_HOOK_INSN, IN_INSN(port_in), ctypes.c_int(_INS_IN))
        self.hook(_HOOK_INSN, OUT_INSN(port_out), ctypes.c_int(_INS_OUT))
        self.hook(_HOOK_EDGE_GENERATED, EDGE(block))

    def hook_code(self, address: int, callback: Any) -> int:
        """Call ``callback(handle, address, size, _)``, a `CODE`, before each execution of the instruction at `address`."""
        hook = self.hook(_HOOK_CODE, callback, begin=address, end=address)
        self._hook_addresses[hook] = address
        self._hooked[address] += 1
        return hook

    def hook_before(self, address: int, callback: Callable[[], None]) -> int:
        """Call ``callback()`` before each execution of the instruction at `address`: cheaper than `hook_code`."""
        return self.hook_code(address, TOUCH(callback))

    def hook_translated(self, callback: Any) -> int:
        """Call ``callback(handle, block, block before, _)``, an `EDGE`, when a block has been translated and is about to run."""
        return self.hook(_HOOK_EDGE_GENERATED, callback)

    def hook_blocks(self, places: range, callback: Callable[[], None]) -> int:
        """Call ``callback()`` before each execution of a block that begins in `places`, once all code was dropped."""
        return self.hook(_HOOK_BLOCK, TOUCH(callback), begin=places.start, end=places.stop - 1)

    def hook_memory(self, callback: Any) -> int:
        """Call ``callback(handle, kind, physical address, size, value, _)``, a `MEM`, before each data access."""
        return self.hook(_HOOK_MEM_WRITE | _HOOK_MEM_READ, callback)

    def may_run(self, begin: int, size: int) -> bool:
        """Tell whether a block that was just translated obeys its hooks; if not, drop it, and the next time it will."""
        unchecked = self.places.no_exit_request
        plain = self._hooked.keys().isdisjoint(range(begin, begin + size))
        if unchecked[0] and not plain:
            unchecked[0] = 0
            return False
        unchecked[0] = self.counting.unit is _BLOCKS
        return True

    def unhook(self, hook: int) -> None:
        """Remove a hook made by one of the methods above, but for `install`."""
        self._check(self._lib.uc_hook_del(self.handle, hook), "uc_hook_del")
        address = self._hook_addresses.pop(hook, None)
        if address is not None:
            self._hooked[address] -= 1
            if not self._hooked[address]:
                del self._hooked[address]
        callback = self._callbacks.pop(hook)
        self._unhooked[id(callback)] = callback

    # ---- running ----------------------------------------------------------------------------------------------

    def run(self, rip: int, limit: int = 0, unit: Unit = _BLOCKS) -> int:
        """Run from `rip` until something stops it, or before more than `limit` of `unit` have run; Unicorn's error code.

        0 is no limit.  `counting.counter` has what was counted, to the last block or instruction.
        """
        counting = self.counting
        counting.select(unit)
        counting.begin()
        self._stopped = False
        error = 0
        self.running = True
        if not self.leaving:
            error = self.start(rip, min(limit, MOST) if limit else UNLIMITED)
            if not (error or self._stopped):
                counting.take_back()  # TCG has left by the limit
        self.leaving = self.running = False
        return error

    def start(self, rip: int, limit: int) -> int:
        """Enter TCG; nothing but `run` and `calibrate` does."""
        q, d = self.q, self.d
        # TCG takes the flags from its EFLAGS word when it starts, and keeps them lazily only while it runs.
        flags = (q[_CC_SRC] if d[_CC_OP] == 1 else self.flags()) & 0x8D5
        q[_EFLAGS] = q[_EFLAGS] & ~0xCD5 | flags | (0 if d[_DF] == 1 else 0x400)
        if limit != self._count.value:
            self._count.value = limit
        q[16] = rip  # where `_begin` lies
        error: int = self._start(self._pointer, self._begin, _ZERO, _ZERO, self._count)
        return error

    def _on_block(self) -> None:
        if not self.counting.count_block():
            self.stop()

    def set_limit(self, limit: int) -> None:
        """Give the clock's count of this run another limit, from its start."""
        timed = self.counting.timed
        timed[1] = limit
        if self.leaving:
            timed[1] = 0

    def stop(self) -> None:
        """Leave `run` before the next instruction; for callbacks that come before an instruction, or between two blocks."""
        self._stopped = True
        self._lib.uc_emu_stop(self.handle)

    def stop_after_block(self) -> None:
        """Leave `run` at the end of the block that runs, or of the instruction if only those are counted; for callbacks within a block."""
        self.leaving = True
        self.counting.timed[1] = 0

    def stop_from_outside(self) -> None:
        """Leave `run` at the end of the block that runs, or of the instruction if those are counted; for other threads too.

        TCG sets the limit when it starts, so the request is made again until `run` has been left.
        """
        self.leaving = True
        self.counting.counter[1] = 0
        if self.running:
            again = threading.Timer(_AGAIN, self._stop_again)
            again.daemon = True
            again.start()

    def _stop_again(self) -> None:
        if self.leaving and self.running:
            self.stop_from_outside()

    def go_on(self) -> None:
        """Do not leave `run` for the fill that was refused; for the interrupt callback that the refused fill has asked for."""
        places = self.places
        places.invalid_error[0] = places.exit_request[0] = places.tcg_exit_request[0] = 0

    def entry(self, pointer: int) -> memoryview:
        """Two words of Unicorn's stack at `pointer`: its ``uc_tlb_entry`` (physical page, rights); kept by address."""
        view = self._views.get(pointer)
        if view is None:
            block = (ctypes.c_char * 16).from_address(pointer)
            view = self._views[pointer] = memoryview(block).cast("B").cast("Q")
        return view

    def _lazy_flags(self) -> Callable[[], int]:
        """Make `flags`; its operands stand in the state and it takes no time to speak of, so it keeps the GIL: 0.35 µs, not 1."""
        try:
            compute = ctypes.PyDLL(str(library_path())).helper_cc_compute_all_x86_64
        except AttributeError as error:
            raise UnicornMismatch(f"libunicorn exports no {error}") from error
        operands = [
            ctypes.c_uint64.from_address(self.state + at) for at in (layout.CC_DST, layout.CC_SRC, layout.CC_SRC2)
        ]
        return partial(compute, *operands, ctypes.c_int.from_address(self.state + layout.CC_OP))

    def update_fpu(self) -> None:
        """Have TCG take its rounding modes from the control words that Python has written."""
        self._fp_status(self.state)
        self._mxcsr_status(self.state)

    # ---- what TCG has cached ----------------------------------------------------------------------------------

    def flush_slots(self, mask: int = 7) -> None:
        """Empty the translation slots whose MMU index bits are set in `mask`."""
        self._flush_slots(self.cpu_state, mask)

    def flush_page(self, address: int) -> None:
        """Drop one 4 KiB page from all three slots."""
        self._flush_page(self.cpu_state, address)

    def drop_code(self, begin: int, end: int) -> None:
        """Forget translated code in the RAM range [begin, end): Python has written there."""
        self._drop_code(self.handle, begin, end)

    def drop_all_code(self) -> None:
        """Forget all translated code, as after a new hook."""
        self._ctl(_CTL_TB_FLUSH)
        self.no_block_seen = True
        self.places.no_exit_request[0] = 0  # the first ones run before they can be looked at
        if not self.running:
            self._unhooked.clear()

    def close(self) -> None:
        """Free the engine; the views are dead afterwards."""
        if self.handle:
            self.q.release()
            self.d.release()
            self.raw.release()
            self._lib.uc_close(self.handle)
            self.handle = 0
