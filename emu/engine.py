"""The one file that touches Unicorn: a bare engine whose live processor state Python reads and writes in place.

Unicorn's binding costs 1.6 µs for each register.  Here the library is called through plain ``ctypes``, and the live
``CPUX86State`` is found once and then laid under a ``memoryview``: a register costs 30 ns, and a trap copies nothing::

    uc_struct ──cpu──▶ X86CPU ┬ CPUState …
                              └ CPUX86State: regs[16] eip eflags cc_dst cc_src cc_src2 cc_op df hflags … segs[6] …
                                ▲ Engine.q (64-bit words) and Engine.d (32-bit words) start here

Nothing of this is assumed: `Engine` finds the state by values it wrote through the public API, `layout.verify` checks each
field, and a library that differs is refused with `UnicornMismatch`.
"""

from __future__ import annotations

import ctypes
import importlib.util
import itertools
import struct
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from . import layout
from .callbacks import CODE, CPUID_INSN, EDGE, IN_INSN, LEAN, MEM, MMIO_READ, MMIO_WRITE, OUT_INSN, Prototypes
from .layout import UnicornMismatch
from .peek import find_pointed_at, read_around

if TYPE_CHECKING:
    from collections.abc import Callable

_ARCH_X86: Final = 4
_MODE_64: Final = 8
_CTL_USE_EXITS: Final = 4
_CTL_TLB_TYPE: Final = 12
_CTL_TB_FLUSH: Final = 10
_HOOK_INTR: Final = 1 << 0
_HOOK_INSN: Final = 1 << 1
_HOOK_CODE: Final = 1 << 2
_HOOK_MEM_READ: Final = 1 << 10
_HOOK_MEM_WRITE: Final = 1 << 11
_HOOK_INSN_INVALID: Final = 1 << 14
_HOOK_EDGE_GENERATED: Final = 1 << 15
_HOOK_TLB_FILL: Final = 1 << 17
_INS_SYSCALL: Final = 699
_INS_SYSENTER: Final = 700
_INS_CPUID: Final = 113
_INS_IN: Final = 218
_INS_OUT: Final = 500
_EFLAGS, _DF = layout.EFLAGS >> 3, layout.DF >> 2
_CC_SRC, _CC_OP = layout.CC_SRC >> 3, layout.CC_OP >> 2
_COUNT_MARK: Final = 0x5EA1C0DE
_UNLIMITED: Final = 1 << 62  # instructions
_NOWHERE: Final = 0xFFFF_FFFF_FFFF_FFFF  # no instruction begins there
_HOOK_BEGIN, _HOOK_END = 24, 32  # in Unicorn's struct hook: the addresses it is for
_COUNTING: Final = 1 << 30  # of hflags: TCG means nothing by it, but keeps blocks with it and without it apart
_SERIAL: Final = itertools.count(1)


FETCH: Final = 18
WRITE: Final = 17
READ: Final = 16

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
_HANDLE_SIZE: Final = 8192  # of `uc_struct`, as far as we look


class Engine:
    """One Unicorn instance over one block of guest-physical RAM.

    Attributes:
        q: the live CPU state as 64-bit words (``q[0..15]`` general registers in x86 order, ``q[16]`` RIP).
        d: the same bytes as 32-bit words.
        raw: the same bytes.
        flags: gives the six arithmetic flags, which TCG keeps lazily as an operation and its operands; other bits are garbage.
        no_block_seen: Unicorn has not told of a new block since the start, or since all code was dropped.

    """

    def __init__(self) -> None:
        self._lib: Any = ctypes.CDLL(str(library_path()))
        self._declare()
        handle = ctypes.c_void_p()
        self._check(self._lib.uc_open(_ARCH_X86, _MODE_64, ctypes.byref(handle)), "uc_open")
        self.handle: int = handle.value or 0
        self._pointer, self._count, self._limit = handle, ctypes.c_size_t(), 0
        self._keep: list[Any] = []
        self._ctl(_CTL_TLB_TYPE, ctypes.c_int(1))
        self._ctl(_CTL_USE_EXITS, ctypes.c_int(1))
        self._find_state()
        layout.verify(self._write_register, self.raw)
        layout.forbid_random(self.raw)
        self._views: dict[int, memoryview] = {}
        self._saved_hooks = 0
        self._unlimited = 0  # until the hook that counts has been found: then it must stay
        self.no_block_seen = True

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

    def _find_state(self) -> None:
        """Find CPUState and CPUX86State behind the handle by sixteen values that occur nowhere else."""
        # Another sixteen each time: memory that an earlier engine has freed still holds its own.
        first = 16 * next(_SERIAL)
        marks = [(0x51EA << 48 | 0x9E3779B97F4A7C15 * i) & (1 << 64) - 1 for i in range(first, first + 16)]
        for number, mark in zip(layout.GENERAL_REGISTERS, marks, strict=True):
            self._write_register(number, struct.pack("<Q", mark))
        pattern = struct.pack("<16Q", *marks)
        found = find_pointed_at(self.handle, pattern, layout.STATE)
        if found is None:
            raise UnicornMismatch("the live CPU state was not found behind the engine's handle")
        self.cpu_state = found
        self.state = self.cpu_state + layout.STATE
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

    def map_mmio(self, address: int, size: int, read: Callable[..., int], write: Callable[..., None]) -> None:
        """Map a device region: ``read(handle, offset, size, _)``, ``write(handle, offset, size, value, _)``."""
        r, w = MMIO_READ(read), MMIO_WRITE(write)
        self._keep += [r, w]
        self._check(self._lib.uc_mmio_map(self.handle, address, size, r, None, w, None), "uc_mmio_map")

    # ---- hooks ------------------------------------------------------------------------------------------------

    def _hook(self, kind: int, callback: Any, *extra: Any, begin: int = 1, end: int = 0) -> int:
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
        self._keep.append(callback)
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
        self._hook(_HOOK_INTR, prototypes.interrupt(interrupt))
        self._hook(_HOOK_INSN_INVALID, prototypes.invalid(invalid))
        self._hook(_HOOK_TLB_FILL, prototypes.fill(fill))
        self._hook(_HOOK_INSN, prototypes.insn(syscall), ctypes.c_int(_INS_SYSCALL))
        self._hook(_HOOK_INSN, prototypes.insn(sysenter), ctypes.c_int(_INS_SYSENTER))
        self._hook(_HOOK_INSN, CPUID_INSN(cpuid), ctypes.c_int(_INS_CPUID))
        self._hook(_HOOK_INSN, IN_INSN(port_in), ctypes.c_int(_INS_IN))
        self._hook(_HOOK_INSN, OUT_INSN(port_out), ctypes.c_int(_INS_OUT))
        self._hook(_HOOK_EDGE_GENERATED, EDGE(block))

    def hook_code(self, address: int, callback: Callable[..., None]) -> int:
        """Call ``callback(handle, address, size, _)`` before each execution of the instruction at `address`."""
        return self._hook(_HOOK_CODE, CODE(callback), begin=address, end=address)

    def hook_data(self, begin: int, end: int, callback: Callable[..., None], *, read: bool) -> int:
        """Call ``callback(handle, kind, address, size, value, _)`` on data accesses in [begin, end]."""
        kind = _HOOK_MEM_WRITE | (_HOOK_MEM_READ if read else 0)
        return self._hook(kind, MEM(callback), begin=begin, end=end)

    def unhook(self, hook: int) -> None:
        """Remove a hook made by `hook_code` or `hook_data`."""
        self._check(self._lib.uc_hook_del(self.handle, hook), "uc_hook_del")

    def calibrate(
        self, fill: Callable[..., bool], programs: tuple[str, ...], page: int, wanted: int, seen: list[set[int]]
    ) -> int:
        """Run each program (hexadecimal code) with RDI = `wanted` on a scratch page, and give the place all `seen` share."""
        scratch = (ctypes.c_char * 8192)()
        pointer = ctypes.addressof(scratch) + 4095 & ~4095
        self.map_ram(page, 4096, pointer)
        hook = self._hook(_HOOK_TLB_FILL, LEAN.fill(fill))
        before = bytes(self.raw)
        self.d[layout.HFLAGS >> 2] = self.d[layout.HFLAGS >> 2] & ~SLOT_BITS | 1 << 14 | 1 << 15 | SLOTS[0][0]
        for at, program in enumerate(programs):
            code = bytes.fromhex(program)
            ctypes.memmove(pointer + 64 * at, code, len(code))
            self.q[7] = wanted
            self.run(page + 64 * at)
        common = set.intersection(*seen) if len(seen) == len(programs) else set()
        self.drop_all_code()  # what was translated before the counting hook would not count
        self.run(page, _COUNT_MARK)
        self._find_counter()
        self._find_code_hooks()
        self.run(page, _COUNT_MARK)
        self._find_counting_hook()
        self.raw[:] = before
        self.unhook(hook)
        self.flush_slots()
        self.drop_all_code()
        self._check(self._lib.uc_mem_unmap(self.handle, page, 4096), "uc_mem_unmap")
        if not common:
            raise UnicornMismatch("the exact address of a page fault was not found")
        return max(common)

    def _find_code_hooks(self) -> None:
        """Find the head of Unicorn's list of hooks on code: what changes when the first one is added."""
        self.run(self.q[16])  # without a limit: the counting hook goes
        before = read_around(self.handle, _HANDLE_SIZE)
        hook = self._hook(_HOOK_CODE, CODE(lambda *_: None), begin=1, end=1)
        after = read_around(self.handle, _HANDLE_SIZE)
        places = [i for i in range(0, len(before), 8) if before[i : i + 8] != after[i : i + 8]]
        heads = [i for i in places if before[i : i + 8] == bytes(8) and after[i : i + 8] == after[i + 8 : i + 16]]
        self.unhook(hook)
        if len(heads) != 1:
            raise UnicornMismatch("the list of code hooks was not found")
        block = (ctypes.c_uint64 * 1).from_address(self.handle + heads[0])
        self._code_hooks = memoryview(block).cast("B").cast("Q")

    def _find_counting_hook(self) -> None:
        """Find the addresses that Unicorn's hook for counting is for: the first hook in the list, for all addresses (1 to 0)."""
        item = self._code_hooks[0]
        if not item:
            raise UnicornMismatch("no hook counts instructions")
        hook = ctypes.c_uint64.from_address(item + 8).value
        block = (ctypes.c_uint64 * 2).from_address(hook + _HOOK_BEGIN)
        if tuple(block) != (1, 0):
            raise UnicornMismatch("the hook that counts instructions was not found")
        self._counted = memoryview(block).cast("B").cast("Q")
        self._unlimited = _UNLIMITED
        self.counting = False

    @property
    def counting(self) -> bool:
        """Whether retired instructions are counted.

        Blocks that count and blocks that do not live side by side, so that a change costs nothing: Unicorn's hook for counting
        stays, but only what is translated while this is on has it inside.
        """
        return bool(self.d[layout.HFLAGS >> 2] & _COUNTING)

    @counting.setter
    def counting(self, on: bool) -> None:
        self._counted[0], self._counted[1] = (1, 0) if on else (_NOWHERE, _NOWHERE)
        hflags = self.d[layout.HFLAGS >> 2]
        self.d[layout.HFLAGS >> 2] = hflags | _COUNTING if on else hflags & ~_COUNTING

    def _find_counter(self) -> None:
        """Find Unicorn's count of instructions: it stands beside the limit that the last `run` was given."""
        head = read_around(self.handle, _HANDLE_SIZE)
        at = head.find(struct.pack("<Q", _COUNT_MARK)) - 8
        if at < 0:
            raise UnicornMismatch("the counter of retired instructions was not found")
        block = (ctypes.c_uint64 * 2).from_address(self.handle + at)
        self.counter = memoryview(block).cast("B").cast("Q")  # [0] retired, [1] the limit

    # ---- running ----------------------------------------------------------------------------------------------

    def run(self, rip: int, count: int = 0) -> int:
        """Run from `rip` until something stops it (or after `count` instructions); Unicorn's error code."""
        q, d = self.q, self.d
        # TCG takes the flags from its EFLAGS word when it starts, and keeps them lazily only while it runs.
        flags = (q[_CC_SRC] if d[_CC_OP] == 1 else self.flags()) & 0x8D5
        q[_EFLAGS] = q[_EFLAGS] & ~0xCD5 | flags | (0 if d[_DF] == 1 else 0x400)
        if self._saved_hooks:  # `stop_after_block` came while nothing ran
            self._restore_hooks()
        if self._unlimited and bool(count) != self.counting:
            self.counting = bool(count)
        count = count or self._unlimited
        if count != self._limit:
            self._limit = self._count.value = count
        q[16] = rip  # where `_begin` lies
        result: int = self._start(self._pointer, self._begin, _ZERO, _ZERO, self._count)
        if self._saved_hooks:
            self._restore_hooks()
        return result

    def _restore_hooks(self) -> None:
        self._code_hooks[0], self._saved_hooks = self._saved_hooks, 0

    def stop(self) -> None:
        """Leave `run` before the next instruction; for callbacks that come between two blocks."""
        self._lib.uc_emu_stop(self.handle)

    def stop_after_block(self) -> None:
        """Leave `run` at the end of the block that runs; for callbacks within a block, and for other threads.

        Unicorn trusts a hook on code to have set RIP, if there is any such hook; but the next block need not have one.  So the list of
        those hooks is empty while TCG leaves.
        """
        if not self._saved_hooks and not self.counting:
            self._saved_hooks, self._code_hooks[0] = self._code_hooks[0], 0
        self._lib.uc_emu_stop(self.handle)

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

    def close(self) -> None:
        """Free the engine; the views are dead afterwards."""
        if self.handle:
            self.q.release()
            self.d.release()
            self.raw.release()
            self._lib.uc_close(self.handle)
            self.handle = 0
